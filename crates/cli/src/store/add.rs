//! `kinora store add FILE`: puts a file into the store and prints its CID.

use super::Place;
use crate::{Outcome, shown, stdout};
use ::store::PutOptions;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::PathBuf;

/// Put a file into the store and print its CID
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cid=$(kinora store add holiday.mp4)    then /ipfs/$cid on a server with the same data folder")]
pub struct Args {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object: cid, size, new
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let file = open(&args)?;
    let store = args.place.open()?;
    let stored = super::keep(&store, file, &PutOptions::default())
        .with_context(|| shown::path(&args.file))?;
    let cid = stored.cid.to_string();
    if args.json {
        stdout::json(&serde_json::json!({ "cid": cid, "size": stored.size, "new": stored.new }))?;
    } else {
        stdout::text(&format!("{cid}\n"))?;
    }
    Ok(Outcome::Done)
}

fn open(args: &Args) -> Result<File> {
    let file = File::open(&args.file).with_context(|| shown::path(&args.file))?;
    if file
        .metadata()
        .with_context(|| shown::path(&args.file))?
        .is_dir()
    {
        bail!("{}: is a folder; give one file", shown::path(&args.file));
    }
    Ok(file)
}
