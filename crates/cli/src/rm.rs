//! `kinora rm ID`: removes an asset, its stream and whatever only they kept alive.

use crate::client::{ServerAddress, asset_path};
use crate::{Outcome, stdout};
use anyhow::Result;

/// Remove an asset and its stream from a running server
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  kinora rm 4k2x8")]
pub struct Args {
    /// The asset, as `kinora ls` names it
    id: String,
    #[command(flatten)]
    server: ServerAddress,
    /// Print one JSON object: the id of what is gone
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    args.server.client().delete(&asset_path(&args.id))?;
    if args.json {
        stdout::json(&serde_json::json!({ "id": args.id }))?;
    }
    Ok(Outcome::Done)
}
