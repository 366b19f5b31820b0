//! `kinora store names`: what has a name that moves, and the IPNS name others resolve it by.

use super::Place;
use crate::table::Table;
use crate::{Outcome, shown, stdout};
use anyhow::Result;

/// List the names, with the IPNS names that others resolve them by
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  kinora store names stream/42     then /ipns/k51… on a server with the same data folder")]
pub struct Args {
    /// Only names that start so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    place: Place,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = args.place.existing()?;
    let mut rows = Vec::new();
    let mut table = Table::new(["NAME", "VERSION", "CID", "IPNS NAME"]);
    for name in store.names(&args.prefix)? {
        // Taken down since they were listed?
        let Some(current) = store.resolve(&name)? else {
            continue;
        };
        let ipns = store.ipns_name(&name).to_string();
        rows.push(serde_json::json!({
            "name": name,
            "sequence": current.seq,
            "cid": current.cid.to_string(),
            "ipns": ipns,
        }));
        table.row([
            shown::text(&name),
            current.seq.to_string(),
            current.cid.to_string(),
            ipns,
        ]);
    }
    if args.json {
        stdout::json(&rows)?;
    } else {
        stdout::text(&table.to_string())?;
    }
    Ok(Outcome::Done)
}
