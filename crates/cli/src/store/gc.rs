//! `kinora store gc`: gives back the space of what nothing holds.

use super::Place;
use crate::{Outcome, stdout, units};
use anyhow::Result;
use std::time::Duration;

/// Remove the stored files that no pin and no name holds
#[derive(clap::Args)]
#[command(after_help = "\
A running server does this by itself every two minutes. What was put, unpinned or replaced less than
--grace ago stays, and so does what a running import or reader needs.

Example:
  kinora store gc --dry-run")]
pub struct Args {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// How long something stays after the last thing that held it: seconds, or with m, h, d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    grace: Duration,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object: objects, bytes, dry_run
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = args.place.existing()?;
    let collected = if args.dry_run {
        store.collectable(args.grace)?
    } else {
        store.collect(args.grace)?
    };
    if args.json {
        stdout::json(&serde_json::json!({
            "objects": collected.objects,
            "bytes": collected.bytes,
            "dry_run": args.dry_run,
        }))?;
        return Ok(Outcome::Done);
    }
    let would = if args.dry_run { "would be " } else { "" };
    let count = collected.objects;
    let bytes = units::bytes(collected.bytes);
    stdout::text(&format!("{count} files, {bytes} {would}removed\n"))?;
    Ok(Outcome::Done)
}

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|_| unit > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "a time is a number of seconds, or has m, h or d after it".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let check = |text, seconds: Option<u64>| {
            assert_eq!(time(text).ok(), seconds.map(Duration::from_secs), "{text}");
        };
        check("0", Some(0));
        check("90s", Some(90));
        check("15m", Some(900));
        check("1h", Some(3600));
        check("2d", Some(172_800));
        for wrong in ["", "h", "1w", "-1", "1.5h", "99999999999999999999d"] {
            check(wrong, None);
        }
    }
}
