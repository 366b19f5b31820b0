//! `kinora probe FILE`: what is in a file, read in this process.

use crate::{Outcome, guard, shown, stdout, units};
use anyhow::{Context, Result};
use media::{OpenOptions, Probe};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Say what is in a file
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora probe holiday.mp4
  kinora probe holiday.mp4 --json | jq '.video[0].codec'")]
pub struct Args {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    limit: Limit,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How long a file may keep libav busy.
#[derive(clap::Args)]
pub struct Limit {
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
}

pub fn run(args: Args) -> Result<Outcome> {
    let probe = args.limit.probe(&args.file)?;
    if args.json {
        stdout::json(&probe)?
    } else {
        stdout::text(&page(&args.file, &probe)?)?
    }
    Ok(Outcome::Done)
}

impl Limit {
    /// Probes a file under guard.
    pub fn probe(&self, file: &Path) -> Result<Probe> {
        let _guard = guard::over(file, Duration::from_secs(self.timeout)).context("guard")?;
        Ok(media::probe(file, &OpenOptions::default())?)
    }
}

fn page(file: &Path, probe: &Probe) -> Result<String> {
    let mut page = format!("{}\n", shown::path(file));
    let mut head = vec![probe.container.to_owned()];
    head.extend(probe.picture.then(|| "a picture".to_owned()));
    head.extend(probe.duration_s.map(units::time));
    head.extend(probe.bit_rate.map(units::bit_rate));
    head.push(units::bytes(probe.size));
    writeln!(page, "  {}", head.join(", "))?;
    for video in &probe.video {
        let mut words = vec![codec(video.codec, video.profile.as_deref())];
        words.push(format!("{}x{}", video.width, video.height));
        words.extend(video.fps.as_ref().map(|fps| {
            let rate = units::frame_rate(&fps.to_string());
            if video.variable_rate {
                format!("{rate} fps, variable")
            } else {
                format!("{rate} fps")
            }
        }));
        words.extend(video.pix_fmt.map(str::to_owned));
        words.extend(
            video
                .hdr
                .as_ref()
                .and_then(|hdr| serde_json::to_value(hdr).ok()?.as_str().map(str::to_owned)),
        );
        if video.rotation != 0 {
            words.push(format!("shown turned by {} degrees", video.rotation));
        }
        let kind = if video.attached_picture {
            "cover"
        } else {
            "video"
        };
        writeln!(page, "  {kind:<8} {}", words.join(", "))?;
    }
    for audio in &probe.audio {
        let mut words = vec![codec(audio.codec, audio.profile.as_deref())];
        words.push(
            audio
                .channel_layout
                .clone()
                .unwrap_or_else(|| format!("{} channels", audio.channels)),
        );
        words.extend(audio.sample_rate.map(|rate| format!("{rate} Hz")));
        words.extend(audio.language.as_deref().map(shown::text));
        writeln!(page, "  {:<8} {}", "audio", words.join(", "))?;
    }
    for subtitle in &probe.subtitles {
        let mut words = vec![subtitle.codec.to_owned()];
        words.extend(subtitle.language.as_deref().map(shown::text));
        writeln!(page, "  {:<8} {}", "text", words.join(", "))?;
    }
    Ok(page)
}

fn codec(codec: &str, profile: Option<&str>) -> String {
    profile.map_or_else(|| codec.to_owned(), |profile| format!("{codec} {profile}"))
}
