//! `kinora store cat CID`: the bytes of a stored file.

use super::Place;
use crate::{Outcome, stdout};
use ::store::Cid;
use anyhow::{Context, Result};

/// Write a stored file to standard output
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  kinora store cat bafybei… > holiday.mp4")]
pub struct Args {
    /// The file's CID
    cid: Cid,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = args.place.existing()?;
    let mut content = store
        .read(&args.cid)?
        .with_context(|| format!("{}: not in this store", args.cid))?;
    stdout::copy(&mut content)?;
    Ok(Outcome::Done)
}
