//! `kinora ladder INPUT -o DIR`: a file becomes an adaptive HLS stream in a folder, without a server.

use crate::guard::{self, Guard};
use crate::pictures::PicturesArgs;
use crate::publish::{Place, PlaceArgs};
use crate::rungs::RungsArgs;
use crate::table::Table;
use crate::{Outcome, shown, stdout, talk, units};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use indicatif::ProgressBar;
use ladder::playlist::Content;
use ladder::{Container, Options, Part, Plan, Progress, Rendition, Report, Segment, Sink};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Make an adaptive HLS stream of a file or a pipe, in a folder that any web server can serve or in
/// the store
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora ladder holiday.mp4 -o stream/
  kinora ladder holiday.mp4 -o stream/ --container cmaf --segment 6 --codec h264,av1
  kinora ladder slides.mp4 -o stream/ --per-title
  kinora ladder rtmp://camera.local/live -o stream/ --live-window 60 --part 0.5
  render | kinora ladder - --raw rgb24 --size 1920x1080 --fps 30 --audio song.flac -o stream/
  kinora ladder holiday.mp4 --store --name holiday --json | jq '.rungs[].cids'

Playlists and segments can be played while they are written. After Ctrl-C the finished segments
and the playlists that name them stay; the command ends with 130. After that, a kill or a full disk
the same command goes on where it was.")]
pub struct Args {
    #[command(flatten)]
    pictures: PicturesArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    rungs: RungsArgs,
    /// How segments are packed
    #[arg(long, value_enum, default_value_t = ContainerName::Ts)]
    container: ContainerName,
    /// Duration of a segment in seconds, 1 to 30
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = segment_s)]
    segment: f64,
    /// Encoder preset: ultrafast, superfast, veryfast, faster, fast, medium, slow
    #[arg(long, value_name = "PRESET", default_value = "veryfast")]
    preset: String,
    /// FFmpeg's name of the H.264 encoder [default: the first hardware encoder that works, else
    /// libx264]
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
    /// Encode the source's own size too, even where the source fits as it is
    #[arg(long)]
    no_copy: bool,
    /// Threads that decode and encode [default: as many as cores and memory allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Give up when nothing gets done for this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
    /// Print one JSON object when the stream is made
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ContainerName {
    /// MPEG transport stream
    Ts,
    /// Fragmented MP4 (CMAF)
    Cmaf,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Made<'a> {
    input: &'a str,
    master: PathBuf,
    duration_s: f64,
    encoder: &'a str,
    rungs: Vec<MadeRung<'a>>,
    /// The sound, where it is a rendition of its own.
    audio: Option<MadeAudio<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct MadeRung<'a> {
    name: &'a str,
    width: u32,
    height: u32,
    /// What the encoder is asked for; for a copied rung, what the source has.
    bit_rate: u64,
    /// The measured peak and average, as the master playlist gives them for this rung alone.
    bandwidth: u64,
    average_bandwidth: u64,
    segments: usize,
    copied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cids: Option<Vec<String>>,
}

#[derive(Serialize)]
struct MadeAudio<'a> {
    name: &'a str,
    bandwidth: u64,
    average_bandwidth: u64,
    segments: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cids: Option<Vec<String>>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let cancel = guard::interrupted().context("wait for Ctrl-C")?;
    let input = args.pictures.open(cancel)?;
    let guard =
        guard::over(args.pictures.name(), Duration::from_secs(args.timeout)).context("guard")?;
    let mut output = Output::new(&args, guard)?;
    let mut options = Options {
        segment_s: args.segment,
        container: match args.container {
            ContainerName::Ts => Container::Ts,
            ContainerName::Cmaf => Container::Cmaf,
        },
        preset: args.preset.clone(),
        copy_source: !args.no_copy,
        encoder: args.encoder.clone(),
        workers: args.workers.map(usize::from),
        ..Options::default()
    };
    let file = match &input {
        ladder::Input::File(file) => Some(file.clone()),
        _ => None,
    };
    args.rungs.set(&mut options)?;
    output.place.made_by(file.as_deref(), &mut options)?;
    args.pictures.set(&mut options);
    let cancel = args.pictures.cancel(cancel);
    let outcome = ladder::run(input, &options, &mut output, cancel);
    output.bar.finish_and_clear();
    output.place.farewell();
    let report = match outcome {
        Ok(report) => report,
        Err(ladder::Error::Cancelled) => {
            talk::say(&format!(
                "stopped; {} finished segments stay, {}",
                output.segments(),
                shown::path(&output.place.master())
            ));
            return Ok(Outcome::Interrupted);
        }
        Err(error @ ladder::Error::Sink(_)) => {
            return Err(error).with_context(|| shown::path(args.pictures.name()));
        }
        Err(error) => return Err(error.into()),
    };
    for warning in &report.warnings {
        talk::say(&format!("{}: {warning}", args.pictures.name().display()));
    }
    let input = args.pictures.name().to_string_lossy();
    let made = output.made(&input, output.place.master(), &report);
    if args.json {
        stdout::json(&made)?
    } else {
        stdout::text(&page(&made))?
    }
    Ok(Outcome::Done)
}

fn segment_s(text: &str) -> Result<f64> {
    let seconds: f64 = text.parse().context("not a number of seconds")?;
    if !(1.0..=30.0).contains(&seconds) {
        bail!("between 1 and 30 seconds");
    }
    Ok(seconds)
}

/// The places of the stream, the progress bar and the watchdog's steps.
struct Output {
    place: Place,
    bit_rates: BTreeMap<String, u64>,
    bar: ProgressBar,
    guard: Guard,
    furthest: f64,
}

impl Output {
    fn new(args: &Args, guard: Guard) -> Result<Self> {
        let bar = talk::bar(1000, "{prefix}  {bar:30} {percent:>3} %  {msg}")
            .with_prefix(shown::path(args.pictures.name()));
        Ok(Self {
            place: args.place.open(args.pictures.name())?,
            bit_rates: BTreeMap::new(),
            bar,
            guard,
            furthest: 0.0,
        })
    }

    fn segments(&self) -> usize {
        let renditions = self.place.renditions().iter();
        renditions.map(|rendition| rendition.segments.len()).sum()
    }

    fn made<'a>(&'a self, input: &'a str, master: PathBuf, report: &'a Report) -> Made<'a> {
        let renditions = self.place.renditions();
        Made {
            input,
            master,
            duration_s: report.duration_s,
            encoder: &report.encoder,
            rungs: renditions
                .iter()
                .filter_map(|rendition| self.rung(rendition, report))
                .collect(),
            audio: renditions
                .iter()
                .find(|rendition| rendition.is_audio())
                .map(|rendition| MadeAudio {
                    name: &rendition.name,
                    bandwidth: rendition.peak_bandwidth(),
                    average_bandwidth: rendition.average_bandwidth(),
                    segments: rendition.segments.len(),
                    cids: self.place.cids(&rendition.name),
                }),
            warnings: &report.warnings,
        }
    }

    fn rung<'a>(&'a self, rendition: &'a Rendition, report: &Report) -> Option<MadeRung<'a>> {
        let Content::Video { width, height, .. } = rendition.content else {
            return None;
        };
        let copied = report
            .renditions
            .iter()
            .any(|made| made.name == rendition.name && made.copied);
        let average_bandwidth = rendition.average_bandwidth();
        let planned = self.bit_rates.get(&rendition.name).copied();
        Some(MadeRung {
            name: &rendition.name,
            width,
            height,
            bit_rate: planned.unwrap_or(average_bandwidth),
            bandwidth: rendition.peak_bandwidth(),
            average_bandwidth,
            segments: rendition.segments.len(),
            copied,
            cids: self.place.cids(&rendition.name),
        })
    }
}

impl Sink for Output {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        for decision in &plan.decisions {
            talk::say(decision);
        }
        self.bit_rates = plan
            .rungs
            .iter()
            .map(|rung| (rung.name.clone(), rung.bit_rate.into()))
            .collect();
        self.place.plan(plan)
    }

    fn done(&mut self) -> HashMap<(String, u32), u64> {
        self.place.done()
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.place.init(rung, bytes)
    }

    fn part(&mut self, part: Part) -> io::Result<()> {
        self.place.part(part)
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        self.guard.step();
        self.place.segment(segment)
    }

    fn notice(&mut self, text: &str) -> io::Result<()> {
        self.guard.step();
        self.bar.suspend(|| talk::say(text));
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        // Reports come by the clock; only work done is a step.
        if progress.media_s > self.furthest {
            self.furthest = progress.media_s;
            self.guard.step();
        }
        let (done, speed) = (units::time(progress.media_s), progress.speed);
        let message = match (progress.fraction, progress.eta_s) {
            (None, _) => format!("{done} made, {speed:.1}x"),
            (Some(_), None) => format!("{speed:.1}x"),
            (Some(_), Some(eta)) => format!("{speed:.1}x, {} left", units::time(eta)),
        };
        if let Some(fraction) = progress.fraction {
            self.bar.set_position((fraction * 1000.0) as u64);
        }
        self.bar.set_message(message);
        Ok(())
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        self.place.end(report)
    }
}

fn page(made: &Made<'_>) -> String {
    let mut table = Table::new(["RUNG", "SIZE", "AVERAGE", "PEAK", "SEGMENTS", ""]);
    for rung in &made.rungs {
        table.row([
            rung.name.to_owned(),
            format!("{}x{}", rung.width, rung.height),
            units::bit_rate(rung.average_bandwidth),
            units::bit_rate(rung.bandwidth),
            rung.segments.to_string(),
            if rung.copied {
                "copied, not encoded".into()
            } else {
                String::new()
            },
        ]);
    }
    format!("{}\n{table}", shown::path(Path::new(&made.master)))
}
