//! `kinora store pin ls|add|rm`: what is held, and by whom.

use super::Place;
use crate::table::Table;
use crate::{Outcome, shown, stdout, units};
use ::store::{Cid, Pin, owner};
use anyhow::{Result, bail};
use clap::Subcommand;

/// See and change what is held, and by whom
#[derive(clap::Args)]
#[command(after_help = "\
A pin is a name that holds one stored file, or a whole directory of them. The first two parts of
its name are its owner: all of stream/42 goes with that stream.

Examples:
  kinora store pin ls stream/42
  kinora store pin add keep/holiday bafybei…
  kinora store pin rm keep/holiday")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the pins, or those of one owner
    Ls {
        /// The first two parts of the pins' names, as stream/42
        owner: Option<String>,
        #[command(flatten)]
        place: Place,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Hold a stored file under a name, which lets go of what that held before
    Add {
        /// The name, in parts with slashes between them
        name: String,
        /// The file's or directory's CID
        cid: Cid,
        #[command(flatten)]
        place: Place,
        /// Print one JSON object: name, cid
        #[arg(long)]
        json: bool,
    },
    /// Let go; what nothing else holds goes with the next collection
    Rm {
        /// The pin's name
        name: String,
        /// Let go of all pins that this owner has
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        place: Place,
        /// Print one JSON object: removed
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Command::Ls { owner, place, json } => ls(owner.as_deref(), &place, json),
        Command::Add {
            name,
            cid,
            place,
            json,
        } => add(&name, &cid, &place, json),
        Command::Rm {
            name,
            all,
            place,
            json,
        } => rm(&name, all, &place, json),
    }
}

fn ls(of: Option<&str>, place: &Place, json: bool) -> Result<Outcome> {
    let store = place.existing()?;
    let pins = match of {
        Some(owner) => store.pins_of(owner)?,
        None => store.pins("")?,
    };
    if json {
        let row = |pin: &Pin| {
            serde_json::json!({
                "name": pin.name,
                "owner": owner(&pin.name),
                "cid": pin.cid.to_string(),
                "size": pin.size,
            })
        };
        stdout::json(&pins.iter().map(row).collect::<Vec<_>>())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(["PIN", "SIZE", "CID"]);
    for pin in &pins {
        table.row([
            shown::text(&pin.name),
            units::bytes(pin.size),
            pin.cid.to_string(),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}

fn add(name: &str, cid: &Cid, place: &Place, json: bool) -> Result<Outcome> {
    place.existing()?.pin(name, cid)?;
    if json {
        stdout::json(&serde_json::json!({ "name": name, "cid": cid.to_string() }))?;
    }
    Ok(Outcome::Done)
}

fn rm(name: &str, all: bool, place: &Place, json: bool) -> Result<Outcome> {
    let store = place.existing()?;
    let removed = if all {
        store.unpin_all(name)?
    } else {
        usize::from(store.unpin(name)?)
    };
    if json {
        stdout::json(&serde_json::json!({ "removed": removed }))?;
    } else if removed == 0 {
        bail!("{}: no such pin", shown::text(name));
    }
    Ok(Outcome::Done)
}
