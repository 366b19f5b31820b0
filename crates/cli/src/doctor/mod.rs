//! `kinora doctor`: what this machine can do, found out by doing it.

mod encoders;

use crate::table::Table;
use crate::{Outcome, stdout};
use anyhow::{Result, bail};
use clap::Subcommand;
use serde::Serialize;

/// Find out what works on this machine
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  kinora doctor
  kinora doctor encoders

Ends with 1 when something is missing that Kinora cannot do without."
)]
pub struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Part {
    Encoders(encoders::Args),
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    /// Whether it is as it should be.
    well: bool,
    /// Whether Kinora can do without it.
    needed: bool,
    says: String,
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.part {
        Some(Part::Encoders(args)) => encoders::run(&args),
        None => overview(args.json),
    }
}

fn overview(json: bool) -> Result<Outcome> {
    let findings = findings();
    if json {
        stdout::json(&findings)?;
    } else {
        let mut table = Table::new(["", "", ""]);
        for finding in &findings {
            let mark = match (finding.well, finding.needed) {
                (true, _) => "ok",
                (false, true) => "MISSING",
                (false, false) => "without",
            };
            table.row([
                mark.to_owned(),
                finding.what.to_owned(),
                finding.says.clone(),
            ]);
        }
        stdout::text(table.to_string().trim_start())?;
    }
    let sick = findings.iter().any(|f| f.needed && !f.well);
    if sick {
        bail!("something is missing that Kinora cannot do without");
    }
    Ok(Outcome::Done)
}

fn findings() -> Vec<Finding> {
    let mut findings = vec![Finding {
        what: "FFmpeg's libraries",
        well: true,
        needed: true,
        says: media::library_version().to_owned(),
    }];
    let trials = encoders::trials();
    for (codec, what, needed) in [
        ("h264", "H.264 encoder", true),
        ("hevc", "HEVC encoder", false),
        ("av1", "AV1 encoder", false),
    ] {
        let chosen = trials.iter().find(|t| t.codec == codec && t.chosen);
        let says = match chosen {
            Some(trial) => {
                let speed = trial.pictures_per_s.unwrap_or_default();
                format!(
                    "{}, {speed:.0} pictures of 640x360 per second",
                    trial.encoder
                )
            }
            None => format!("none works; `kinora doctor encoders` says why. No rungs in {codec}"),
        };
        findings.push(Finding {
            what,
            well: chosen.is_some(),
            needed,
            says,
        });
    }
    for (filter, what, without) in [
        (
            "zscale",
            "HDR to SDR",
            "high dynamic range is kept, and looks pale",
        ),
        ("bwdif", "deinterlacing", "interlaced video keeps its combs"),
    ] {
        let well = media::has_filter(filter);
        findings.push(Finding {
            what,
            well,
            needed: false,
            says: match well {
                true => format!("by {filter}"),
                false => format!("FFmpeg's filter {filter} is not there: {without}"),
            },
        });
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    findings.push(Finding {
        what: "cores",
        well: true,
        needed: true,
        says: cores.to_string(),
    });
    findings
}
