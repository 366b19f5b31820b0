//! `kinora variants …`: what boards are to play, what is rendered for them, and a word on that.

use std::fmt::Write;

use anyhow::Result;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{ServerAddress, asset_path, path_below};
use crate::table::Table;
use crate::{Outcome, shown, stdout, units};

/// See and steer what a running server renders for its boards
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    /// Render nothing until it is resumed; what is being made is begun anew then
    Pause(Steer),
    /// Go on rendering
    Resume(Steer),
    /// Stop what is not there yet, and leave it until it is asked for again
    Cancel(SteerBoard),
    /// Try again what failed or was cancelled
    Retry(SteerBoard),
    Priority(Priority),
    Url(Url),
}

/// List what is rendered, waits or failed, or what each board plays of one asset
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora variants ls
  kinora variants ls 4k2x8
  kinora variants ls --json | jq -r '.variants[] | select(.state == \"failed\") | .error'")]
struct Ls {
    /// One asset only, as `kinora ls` names it
    id: Option<String>,
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Steer {
    /// One asset only, as `kinora ls` names it
    id: Option<String>,
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct SteerBoard {
    #[command(flatten)]
    steer: Steer,
    /// Only what this board wants
    #[arg(long, value_name = "BOARD")]
    board: Option<String>,
}

/// Render an asset's variants before those of a lower priority
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora variants priority 10 4k2x8
  kinora variants priority 0               all of them alike again")]
struct Priority {
    /// Higher is earlier; 0 is where everything begins
    #[arg(allow_negative_numbers = true)]
    priority: i32,
    #[command(flatten)]
    steer: Steer,
}

/// Print the address of what a board is to play of an asset now
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  mpv $(kinora variants url 4k2x8 pi4-64)")]
struct Url {
    /// The asset, as `kinora ls` names it
    id: String,
    /// The board, as `kinora boards` names it
    board: String,
    #[command(flatten)]
    server: ServerAddress,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What one board plays of an asset.
#[derive(Deserialize)]
pub struct Variant {
    pub board: String,
    pub state: String,
    pub url: Option<String>,
    pub size: Option<u64>,
    pub error: Option<String>,
    pub log: Option<String>,
    pub progress: Option<Progress>,
    pub how: Option<How>,
}

/// How a variant was made.
#[derive(Deserialize)]
pub struct How {
    /// What an operator should know of it.
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
pub struct Progress {
    fraction: f64,
    eta_s: Option<f64>,
    waiting: Option<String>,
}

#[derive(Deserialize)]
struct Rendering {
    paused: bool,
    unfinished: u64,
    done: u64,
    failed: u64,
    cancelled: u64,
    variants: Vec<Rendered>,
}

#[derive(Deserialize)]
struct Rendered {
    asset: String,
    name: String,
    boards: Vec<String>,
    state: String,
    progress: Option<Progress>,
    error: Option<String>,
    priority: i32,
    paused: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Command::Ls(args) => ls(args),
        Command::Pause(steer) => change(&steer, &json!({ "paused": true })),
        Command::Resume(steer) => change(&steer, &json!({ "paused": false })),
        Command::Cancel(args) => {
            let body = json!({ "cancel": true, "board": args.board });
            change(&args.steer, &body)
        }
        Command::Retry(args) => {
            let body = json!({ "retry": true, "board": args.board });
            change(&args.steer, &body)
        }
        Command::Priority(args) => change(&args.steer, &json!({ "priority": args.priority })),
        Command::Url(args) => url(&args),
    }
}

fn path(id: Option<&str>) -> String {
    match id {
        Some(id) => format!("{}/variants", asset_path(id)),
        None => "/api/variants".to_owned(),
    }
}

fn ls(args: Ls) -> Result<Outcome> {
    let answer: Value = args.server.client().get(&path(args.id.as_deref()))?;
    if args.json {
        stdout::json(&answer)?;
    } else if args.id.is_some() {
        let variants: Vec<Variant> = serde_json::from_value(answer)?;
        stdout::text(&page(&variants))?;
    } else {
        stdout::text(&overview(&serde_json::from_value(answer)?)?)?;
    }
    Ok(Outcome::Done)
}

fn change(steer: &Steer, body: &Value) -> Result<Outcome> {
    let client = steer.server.client();
    let answer: Value = client.patch_json(&path(steer.id.as_deref()), body)?;
    if steer.json {
        stdout::json(&answer)?;
    }
    Ok(Outcome::Done)
}

fn url(args: &Url) -> Result<Outcome> {
    let client = args.server.client();
    let below = format!("{}/variants/", asset_path(&args.id));
    // Asked for by its own address, so that the server says what is missing.
    let location = client.location(&path_below(&below, &args.board))?;
    if args.json {
        stdout::json(&json!({ "url": client.url(&location) }))?;
    } else {
        stdout::text(&format!("{}\n", client.url(&location)))?;
    }
    Ok(Outcome::Done)
}

/// What each board plays, as a table, and below it why some cannot.
pub fn page(variants: &[Variant]) -> String {
    let mut table = Table::new(["BOARD", "PLAYS", "SIZE"]);
    let mut below = String::new();
    for variant in variants {
        table.row([
            variant.board.clone(),
            state(&variant.state, variant.progress.as_ref()),
            variant.size.map_or_else(|| "-".into(), units::bytes),
        ]);
        if let Some(error) = &variant.error {
            let _ = writeln!(below, "\n{}: {}", variant.board, shown::text(error));
            for line in variant.log.iter().flat_map(|log| log.lines()) {
                let _ = writeln!(below, "  {}", shown::text(line));
            }
        }
        for warning in variant.how.iter().flat_map(|how| &how.warnings) {
            let _ = writeln!(below, "\n{}: {}", variant.board, shown::text(warning));
        }
    }
    format!("{table}{below}")
}

fn overview(all: &Rendering) -> Result<String> {
    let mut page = format!(
        "{} to make, {} there, {} failed, {} cancelled{}\n",
        all.unfinished,
        all.done,
        all.failed,
        all.cancelled,
        if all.paused { "; all is paused" } else { "" }
    );
    if all.variants.is_empty() {
        return Ok(page);
    }
    let mut table = Table::new(["ASSET", "NAME", "BOARDS", "STATE", "PRIORITY"]);
    for one in &all.variants {
        let mut state = state(&one.state, one.progress.as_ref());
        if one.paused && one.state == "waiting" {
            state = "paused".into();
        }
        table.row([
            one.asset.clone(),
            shown::text(&one.name),
            one.boards.join(" "),
            state,
            one.priority.to_string(),
        ]);
    }
    write!(page, "\n{table}")?;
    for one in &all.variants {
        if let Some(error) = &one.error {
            write!(page, "\n{}: {}", one.asset, shown::text(error))?;
        }
    }
    if !page.ends_with('\n') {
        page.push('\n');
    }
    Ok(page)
}

/// `running 40 %, 3:20 left`
fn state(state: &str, progress: Option<&Progress>) -> String {
    let Some(progress) = progress.filter(|_| state == "running") else {
        return state.to_owned();
    };
    if progress.waiting.is_some() {
        return "waiting for room on the disk".into();
    }
    let left = progress
        .eta_s
        .map(|left| format!(", {} left", units::time(left)))
        .unwrap_or_default();
    format!("running {:.0} %{left}", progress.fraction * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_board_plays() {
        let variants: Vec<Variant> = serde_json::from_value(json!([
            { "board": "pi3", "state": "running", "progress": { "fraction": 0.404, "eta_s": 200.0 } },
            { "board": "x86", "state": "failed", "error": "a.mp4: too\ndark", "log": "one\ntwo" },
            { "board": "pi5", "state": "original", "size": 1000 },
            { "board": "pi2", "state": "done", "how": { "kind": "rewrapped", "warnings": ["no\nsound"] } },
        ]))
        .unwrap();
        let page = page(&variants);
        assert!(page.contains("pi3    running 40 %, 3:20 left  -"), "{page}");
        assert!(
            page.ends_with("x86: a.mp4: too\\ndark\n  one\n  two\n\npi2: no\\nsound\n"),
            "{page}"
        );
    }
}
