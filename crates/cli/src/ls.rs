//! `kinora ls`: the assets of a running server.

use crate::client::{Asset, ServerAddress, path_below};
use crate::table::Table;
use crate::{Outcome, stdout, units};
use anyhow::Result;
use serde_json::Value;

/// List the assets of a running server
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora ls
  kinora ls holiday
  kinora ls --json | jq -r '.[].id'")]
pub struct Args {
    /// Only those whose name contains this
    search: Option<String>,
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON array
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let mut path = "/api/assets?limit=1000".to_owned();
    if let Some(search) = &args.search {
        path = path_below(&format!("{path}&search="), search);
    }
    let assets: Vec<Value> = args.server.client().get_pages(&path)?;
    if args.json {
        stdout::json(&assets)?;
        return Ok(Outcome::Done);
    }
    let assets: Vec<Asset> = serde_json::from_value(assets.into())?;
    let mut table = Table::new([
        "ID", "NAME", "SIZE", "LENGTH", "VIDEO", "STATE", "STREAM", "BOARDS",
    ]);
    for asset in &assets {
        table.row([
            asset.id.clone(),
            asset.shown_name(),
            units::bytes(asset.size),
            asset.duration_s().map_or_else(|| "-".into(), units::time),
            asset.video().unwrap_or_else(|| "-".into()),
            asset.state.clone(),
            asset.stream_state(),
            asset.boards_state(),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}
