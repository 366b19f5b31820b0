//! `kinora doctor encoders`: which encoders really work on this machine, tried one after another.
//!
//! FFmpeg lists the same encoders everywhere; only encoding shows which are there.

use crate::table::Table;
use crate::{Outcome, stdout};
use anyhow::Result;
use serde::Serialize;

/// Pictures of a trial: two seconds.
const PICTURES: i64 = 50;

/// Try every encoder: which work, how fast, and why not
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora doctor encoders
  kinora doctor encoders --json | jq '.[] | select(.works)'

A trial is 50 pictures of 640x360. The first of a codec that works is the one that is taken unless
another is asked for; for HEVC and AV1 that is the software encoder, whose bytes repeat.")]
pub struct Args {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// What came of one encoder.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// `h264`, `hevc`, `av1`.
    pub codec: &'static str,
    /// FFmpeg's name.
    pub encoder: &'static str,
    /// Whether it encoded the pictures.
    pub works: bool,
    /// Whether rungs of this codec are made with it, if nothing else is asked for.
    pub chosen: bool,
    /// Pictures of 640x360 per second, on one thread where the encoder has any.
    pub pictures_per_s: Option<f64>,
    /// Which build it is.
    pub build: Option<String>,
    /// Why it is of no use.
    pub reason: Option<String>,
}

pub fn run(args: &Args) -> Result<Outcome> {
    let trials = trials();
    if args.json {
        stdout::json(&trials)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(["CODEC", "ENCODER", "WORKS", "PICTURES/S", ""]);
    for trial in &trials {
        let works = match (trial.works, trial.chosen) {
            (true, true) => "yes, chosen",
            (true, false) => "yes",
            (false, _) => "no",
        };
        let speed = trial.pictures_per_s.map(|speed| format!("{speed:.0}"));
        let said = trial.reason.clone().or_else(|| trial.build.clone());
        table.row([
            trial.codec.to_owned(),
            trial.encoder.to_owned(),
            works.to_owned(),
            speed.unwrap_or_default(),
            said.unwrap_or_default(),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}

/// Tries all of them.
pub fn trials() -> Vec<Trial> {
    let codecs = [
        ("h264", media::H264_ENCODERS, ladder::Codec::H264),
        ("hevc", media::HEVC_ENCODERS, ladder::Codec::Hevc),
        ("av1", media::AV1_ENCODERS, ladder::Codec::Av1),
    ];
    let mut trials = Vec::new();
    for (codec, encoders, ladder_codec) in codecs {
        let from = trials.len();
        trials.extend(encoders.map(|encoder| trial(codec, encoder)));
        let preferred = ladder::encoders(ladder_codec);
        let own: &mut [Trial] = &mut trials[from..];
        let first = own
            .iter_mut()
            .find(|trial| trial.works && preferred.contains(&trial.encoder));
        if let Some(first) = first {
            first.chosen = true;
        }
    }
    trials
}

fn trial(codec: &'static str, encoder: &'static str) -> Trial {
    let outcome = media::trial_speed(encoder, PICTURES);
    let works = outcome.is_ok();
    let build = works.then(|| media::encoder_build(encoder).ok()).flatten();
    Trial {
        codec,
        encoder,
        works,
        chosen: false,
        // Its own name stands beside it.
        reason: outcome.as_ref().err().map(|error| {
            let text = error.to_string();
            let own = text
                .split_once(": ")
                .filter(|(name, _)| name.starts_with(encoder));
            own.map_or(text.clone(), |(_, reason)| reason.to_owned())
        }),
        pictures_per_s: outcome.ok().map(|speed| (speed * 10.0).round() / 10.0),
        build,
    }
}
