//! `kinora ls`: the assets of a running server.

use crate::client::{Asset, ServerAddress};
use crate::table::Table;
use crate::{Outcome, stdout, units};
use anyhow::Result;
use serde_json::Value;

/// List the assets of a running server
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora ls
  kinora ls --json | jq -r '.[].id'")]
pub struct Args {
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON array
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let assets: Value = args.server.client().get("/api/assets")?;
    if args.json {
        stdout::json(&assets)?;
        return Ok(Outcome::Done);
    }
    let assets: Vec<Asset> = serde_json::from_value(assets)?;
    let mut table = Table::new(["ID", "NAME", "SIZE", "LENGTH", "VIDEO", "STATE", "STREAM"]);
    for asset in &assets {
        table.row([
            asset.id.clone(),
            asset.shown_name(),
            units::bytes(asset.size),
            asset.duration_s().map_or_else(|| "-".into(), units::time),
            asset.video().unwrap_or_else(|| "-".into()),
            asset.state.clone(),
            asset.stream_state(),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}
