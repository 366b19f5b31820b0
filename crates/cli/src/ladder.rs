//! `kinora ladder INPUT -o DIR`: a file becomes an adaptive HLS stream in a folder, without a server.

use crate::data_folder::DataFolder;
use crate::guard::{self, Guard};
use crate::table::Table;
use crate::{Outcome, shown, stdout, store, talk, units};
use ::store::{PutOptions, Store};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use indicatif::ProgressBar;
use ladder::playlist::Content;
use ladder::{Container, DirSink, Options, Plan, Progress, Rendition, Report, Segment, Sink};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Make an adaptive HLS stream of a file, in a folder that any web server can serve
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora ladder holiday.mp4 -o stream/
  kinora ladder holiday.mp4 -o stream/ --container cmaf --segment 6
  kinora ladder holiday.mp4 -o stream/ --store --json | jq '.rungs[].cids'

Playlists and segments can be played while they are written. After Ctrl-C the finished segments
and the playlists that name them stay; the command ends with 130.")]
pub struct Args {
    /// The file
    input: PathBuf,
    /// The folder to write: DIR/master.m3u8, DIR/RUNG/playlist.m3u8 and the segments
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
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
    /// Put the segments into the content-addressed store too, and tell their CIDs
    #[arg(long)]
    store: bool,
    #[command(flatten)]
    data: DataFolder,
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
    cids: Option<&'a [String]>,
}

#[derive(Serialize)]
struct MadeAudio<'a> {
    name: &'a str,
    bandwidth: u64,
    average_bandwidth: u64,
    segments: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cids: Option<&'a [String]>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let cancel = guard::interrupted().context("wait for Ctrl-C")?;
    let store = if args.store {
        Some(store::open(&args.data)?)
    } else {
        None
    };
    let guard = guard::over(&args.input, Duration::from_secs(args.timeout)).context("guard")?;
    let mut output = Output::new(&args, store, guard);
    let options = Options {
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
    let outcome = ladder::run(&args.input, &options, &mut output, cancel);
    output.bar.finish_and_clear();
    let report = match outcome {
        Ok(report) => report,
        Err(ladder::Error::Cancelled) => {
            talk::say(&format!(
                "stopped; {} finished segments stay in {}",
                output.segments(),
                args.output.display()
            ));
            return Ok(Outcome::Interrupted);
        }
        Err(error @ ladder::Error::Sink(_)) => {
            return Err(error).with_context(|| shown::path(&args.input));
        }
        Err(error) => return Err(error.into()),
    };
    for warning in &report.warnings {
        talk::say(&format!("{}: {warning}", args.input.display()));
    }
    let input = args.input.to_string_lossy();
    let made = output.made(&input, args.output.join("master.m3u8"), &report);
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

/// The folder, the store where asked, the progress bar and the watchdog's steps.
struct Output {
    folder: DirSink,
    store: Option<Store>,
    cids: BTreeMap<String, Vec<String>>,
    bit_rates: BTreeMap<String, u64>,
    mime: &'static str,
    bar: ProgressBar,
    guard: Guard,
    furthest: f64,
}

impl Output {
    fn new(args: &Args, store: Option<Store>, guard: Guard) -> Self {
        let bar = talk::bar(1000, "{prefix}  {bar:30} {percent:>3} %  {msg}")
            .with_prefix(shown::path(&args.input));
        let mime = match args.container {
            ContainerName::Ts => "video/mp2t",
            ContainerName::Cmaf => "video/iso.segment",
        };
        Self {
            folder: DirSink::new(&args.output),
            store,
            cids: BTreeMap::new(),
            bit_rates: BTreeMap::new(),
            mime,
            bar,
            guard,
            furthest: 0.0,
        }
    }

    fn segments(&self) -> usize {
        self.folder
            .renditions()
            .iter()
            .map(|rendition| rendition.segments.len())
            .sum()
    }

    /// Puts bytes of a rendition into the store, where there is one.
    fn keep(&mut self, rendition: &str, mime: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let cid = store::keep(
            store,
            bytes,
            &PutOptions {
                mime: Some(mime),
                ..PutOptions::default()
            },
        )
        .map_err(io::Error::other)?
        .cid;
        self.cids
            .entry(rendition.to_owned())
            .or_default()
            .push(cid.to_string());
        Ok(())
    }

    fn made<'a>(&'a self, input: &'a str, master: PathBuf, report: &'a Report) -> Made<'a> {
        let renditions = self.folder.renditions();
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
                    cids: self.cids_of(rendition),
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
            cids: self.cids_of(rendition),
        })
    }

    fn cids_of(&self, rendition: &Rendition) -> Option<&[String]> {
        self.store.as_ref()?;
        Some(self.cids.get(&rendition.name).map_or(&[], Vec::as_slice))
    }
}

impl Sink for Output {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.bit_rates = plan
            .rungs
            .iter()
            .map(|rung| (rung.name.clone(), rung.bit_rate.into()))
            .collect();
        self.folder.plan(plan)
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.keep(rung, "video/mp4", bytes)?;
        self.folder.init(rung, bytes)
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        self.guard.step();
        self.keep(&segment.rung, self.mime, &segment.bytes)?;
        self.folder.segment(segment)
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        // Reports come by the clock; only work done is a step.
        if progress.fraction > self.furthest {
            self.furthest = progress.fraction;
            self.guard.step();
        }
        self.bar.set_position((progress.fraction * 1000.0) as u64);
        let left = progress
            .eta_s
            .map(|eta| format!(", {} left", units::time(eta)))
            .unwrap_or_default();
        self.bar
            .set_message(format!("{:.1}x{left}", progress.speed));
        Ok(())
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        self.folder.end(report)
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
