//! `kinora store cat CID`: the bytes of a stored file.

use crate::data_folder::DataFolder;
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
    data: DataFolder,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = super::existing(&args.data)?;
    let object = store
        .get(&args.cid)?
        .with_context(|| format!("{}: not in this store", args.cid))?;
    let mut content = object.reader().with_context(|| args.cid.to_string())?;
    stdout::copy(&mut content)?;
    Ok(Outcome::Done)
}
