//! `kinora playlist …`: what screens play, on a running server.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{ServerAddress, path_below};
use crate::table::Table;
use crate::{Outcome, shown, stdout};

/// Say what screens play, and when
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    Show(Show),
    Set(Set),
    Add(Add),
    Now(Now),
    Rm(Rm),
}

/// List the playlists
#[derive(clap::Args)]
struct Ls {
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON array
    #[arg(long)]
    json: bool,
}

/// Print a playlist as `kinora playlist set` takes it
#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    which: Which,
}

/// Write a playlist from a JSON file
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  kinora playlist set hall hall.json      with, for instance, in the file:
  { \"time_zone\": \"Europe/Berlin\", \"items\": [
      { \"asset\": \"4k2x8\" },
      { \"asset\": \"9mw3p\", \"duration_s\": 20, \"from\": \"2026-12-01\", \"to\": \"2026-12-24\",
        \"days\": [\"mon\", \"fri\"], \"hours\": [{ \"from\": \"22:00\", \"to\": \"06:00\" }] } ] }")]
struct Set {
    #[command(flatten)]
    which: Which,
    /// The file; - reads standard input
    file: PathBuf,
}

/// Put an asset at a playlist's end
#[derive(clap::Args)]
struct Add {
    #[command(flatten)]
    which: Which,
    /// The asset, as `kinora ls` names it
    asset: String,
    /// Seconds that an image is shown
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    duration: u32,
}

/// Say what plays now, or at another time
#[derive(clap::Args)]
struct Now {
    #[command(flatten)]
    which: Which,
    /// The time, as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print the server's JSON object
    #[arg(long)]
    json: bool,
}

/// Remove a playlist; the default one is empty then
#[derive(clap::Args)]
struct Rm {
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
struct Which {
    /// The playlist; `default` is that of screens which were not told another
    name: String,
    #[command(flatten)]
    server: ServerAddress,
}

impl Which {
    fn path(&self) -> String {
        path_below("/api/playlists/", &self.name)
    }
}

/// What people are shown of a playlist.
#[derive(Deserialize)]
struct Playlist {
    name: String,
    time_zone: String,
    items: Vec<Value>,
}

#[derive(Deserialize)]
struct Playing {
    items: Vec<Item>,
    until: String,
}

#[derive(Deserialize)]
struct Item {
    asset: String,
    name: String,
    duration_s: u32,
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Command::Ls(args) => ls(&args)?,
        Command::Show(args) => stdout::json(&program(&args.which)?)?,
        Command::Set(args) => set(&args)?,
        Command::Add(args) => add(&args)?,
        Command::Now(args) => now(&args)?,
        Command::Rm(args) => args.which.server.client().delete(&args.which.path())?,
    }
    Ok(Outcome::Done)
}

fn ls(args: &Ls) -> Result<()> {
    let all: Value = args.server.client().get("/api/playlists")?;
    if args.json {
        return stdout::json(&all);
    }
    let mut table = Table::new(["NAME", "ITEMS", "TIME ZONE"]);
    let all: Vec<Playlist> = serde_json::from_value(all)?;
    for list in all {
        table.row([list.name, list.items.len().to_string(), list.time_zone]);
    }
    stdout::text(&table.to_string())
}

/// The playlist without what the server alone says of it.
fn program(which: &Which) -> Result<Value> {
    let list: Value = which.server.client().get(&which.path())?;
    Ok(json!({ "time_zone": list["time_zone"], "items": list["items"] }))
}

fn set(args: &Set) -> Result<()> {
    let text = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.context("standard input")?;
        text
    } else {
        std::fs::read_to_string(&args.file).with_context(|| shown::path(&args.file))?
    };
    let program: Value = serde_json::from_str(&text).with_context(|| shown::path(&args.file))?;
    let client = args.which.server.client();
    client.put_json(&args.which.path(), &program)
}

fn add(args: &Add) -> Result<()> {
    let client = args.which.server.client();
    // A playlist that is not there yet begins with this.
    let all: Vec<Value> = client.get("/api/playlists")?;
    let there = all
        .into_iter()
        .find(|list| list["name"] == args.which.name.as_str());
    let mut list =
        there.unwrap_or_else(|| json!({ "version": 0, "time_zone": "UTC", "items": [] }));
    let item = json!({ "asset": args.asset, "duration_s": args.duration });
    list["items"]
        .as_array_mut()
        .context("no items in the answer")?
        .push(item);
    let program = json!({ "time_zone": list["time_zone"], "items": list["items"] });
    let version = format!("\"{}\"", list["version"]);
    client.put_json_over(&args.which.path(), &version, &program)
}

fn now(args: &Now) -> Result<()> {
    let mut path = format!("{}/now", args.which.path());
    if let Some(at) = &args.at {
        path.push_str(&path_below("?at=", at));
    }
    let playing: Value = args.which.server.client().get(&path)?;
    if args.json {
        return stdout::json(&playing);
    }
    let playing: Playing = serde_json::from_value(playing)?;
    let mut table = Table::new(["ASSET", "NAME", "SECONDS"]);
    for item in playing.items {
        table.row([
            item.asset,
            shown::text(&item.name),
            item.duration_s.to_string(),
        ]);
    }
    stdout::text(&format!("{table}until {}\n", playing.until))
}
