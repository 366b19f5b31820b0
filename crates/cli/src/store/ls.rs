//! `kinora store ls`: what is in the store.

use super::Place;
use crate::table::Table;
use crate::{Outcome, shown, stdout, units};
use anyhow::Result;

/// List the stored files
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  kinora store ls --json | jq -r '.[].cid'")]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = args.place.existing()?;
    let objects = store.ls()?;
    if args.json {
        let rows: Vec<_> = objects
            .iter()
            .map(|object| serde_json::json!({ "cid": object.cid.to_string(), "size": object.size, "mime": object.mime }))
            .collect();
        stdout::json(&rows)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(["CID", "SIZE", "TYPE"]);
    for object in &objects {
        let mime = object.mime.as_deref().unwrap_or("-");
        table.row([
            object.cid.to_string(),
            units::bytes(object.size),
            shown::text(mime),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}
