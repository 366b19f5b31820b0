//! `kinora fsck`: whether catalog, store and disk agree, and putting right what can be.

use crate::database::Database;
use crate::store::Place;
use crate::{Outcome, shown, stdout, units};
use anyhow::{Result, bail};
use serde_json::Value;
use server::{Broken, Fsck};

/// Check the data folder of a server that does not run, and repair it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora fsck                 what is wrong, if anything is; nothing is changed
  kinora fsck --repair

Ends with 1 when something is wrong and was not repaired. What a kill left over is repaired by the
next start of the server too. An original whose bytes are lost comes back by adding the same file.")]
pub struct Args {
    /// Put right what can be without loss; variants, thumbnails and streams that are lost are made
    /// again by the server
    #[arg(long)]
    repair: bool,
    /// Only look whether files are there and have their sizes, instead of reading every byte
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    database: Database,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let data = args.place.data.path()?;
    // A mistyped folder is an error, not a new one.
    if !["lock", "catalog.db"]
        .iter()
        .any(|name| data.join(name).is_file())
    {
        bail!("{}: no server's data folder", shown::path(&data));
    }
    let checked = Fsck {
        data: data.clone(),
        store: args.place.url.clone(),
        database: args.database.url.clone(),
        repair: args.repair,
        deep: !args.quick,
    }
    .run()?;
    if args.json {
        let mut json = serde_json::to_value(&checked)?;
        json["whole"] = Value::Bool(checked.is_whole());
        stdout::json(&json)?;
    } else {
        let lines: String = checked.findings.iter().map(line).collect();
        stdout::text(&format!(
            "{lines}{} originals, {} variants, {} objects, {}\n",
            checked.originals,
            checked.variants,
            checked.objects,
            units::bytes(checked.bytes)
        ))?;
    }
    if !checked.is_whole() {
        let repairable = checked.findings.iter().any(|b| b.repairable && !b.repaired);
        let hint = if repairable { " (--repair)" } else { "" };
        bail!(
            "{}: not everything is as it should be{hint}",
            shown::path(&data)
        );
    }
    Ok(Outcome::Done)
}

fn line(broken: &Broken) -> String {
    let what = serde_json::to_value(broken.what).unwrap_or_default();
    let done = if broken.repaired { " (repaired)" } else { "" };
    format!(
        "{}: {}: {}{done}\n",
        what.as_str().unwrap_or_default(),
        shown::text(&broken.of),
        shown::text(&broken.detail)
    )
}
