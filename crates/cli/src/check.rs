//! `kinora check FILE`: per board, whether a file plays there, and what to do where it does not.

use crate::boards::Rows;
use crate::probe::Limit;
use crate::stdout::{Colour, paint};
use crate::{Cli, Outcome, shown, stdout, units};
use anyhow::{Context, Result};
use boards::{Board, Facts, Policy, Table, verdict};
use clap::error::ErrorKind;
use clap::{CommandFactory, ValueEnum};
use media::Probe;
use serde_json::Value;
use std::path::PathBuf;

/// Say per board whether a file plays, is rendered first, or is rejected, and why
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora check holiday.mp4
  kinora check holiday.mp4 --board pi4-64 --json
  kinora check holiday.mp4 --policy gate || echo 'not for every board as it is'

Ends with 3 when a board that was asked about rejects the file.")]
pub struct Args {
    /// The file
    file: PathBuf,
    /// Only this board (may be given more than once); `kinora boards` lists them
    #[arg(long, value_name = "BOARD")]
    board: Vec<String>,
    /// What is done about a file that a board cannot play as it is
    #[arg(long, value_enum, default_value_t = PolicyName::Render)]
    policy: PolicyName,
    /// Let software decoding count on boards that have hardware decoders
    #[arg(long)]
    allow_software: bool,
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    limit: Limit,
    /// Print a JSON array, one object for each board
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    /// Render a variant that the board plays
    Render,
    /// Render nothing: reject the file, with a command that makes it fit
    Gate,
}

pub fn run(args: Args) -> Result<Outcome> {
    let table = args.rows.read()?;
    // A board of no such name is a wrong call, whatever the file holds.
    let asked = asked(&table, &args.board)?;
    let facts = facts(&args.limit.probe(&args.file)?)?;
    let policy = Policy {
        render: args.policy == PolicyName::Render,
        allow_software: args.allow_software,
    };
    let name = args.file.to_string_lossy();
    let verdicts: Vec<_> = asked
        .into_iter()
        .map(|board| verdict(&facts, board, policy, &name))
        .collect();
    if args.json {
        stdout::json(&verdicts)?;
    } else {
        let values: Result<Vec<Value>, _> = verdicts.iter().map(serde_json::to_value).collect();
        stdout::text(&page(&values?))?;
    }
    let rejected = verdicts
        .iter()
        .any(|verdict| verdict.verdict == boards::Outcome::Reject);
    Ok(if rejected {
        Outcome::Rejected
    } else {
        Outcome::Done
    })
}

/// The boards asked for, each once, in the table's order; all when none was named.
fn asked<'t>(table: &'t Table, names: &[String]) -> Result<Vec<&'t Board>> {
    if names.is_empty() {
        return Ok(table.boards().iter().collect());
    }
    for name in names {
        if table.get(name).is_none() {
            let known: Vec<&str> = table
                .boards()
                .iter()
                .map(|board| board.id.as_str())
                .collect();
            let message = format!(
                "no such board: {} (known: {})",
                shown::text(name),
                known.join(", ")
            );
            return Err(usage(message).into());
        }
    }
    let named = |board: &&Board| {
        names
            .iter()
            .any(|name| table.get(name).is_some_and(|found| found.id == board.id))
    };
    Ok(table.boards().iter().filter(named).collect())
}

/// A wrong call of this command, as clap says it.
fn usage(message: String) -> clap::Error {
    let mut cli = Cli::command();
    cli.build();
    match cli.find_subcommand_mut("check") {
        Some(check) => check.error(ErrorKind::InvalidValue, message),
        None => cli.error(ErrorKind::InvalidValue, message),
    }
}

/// What a probe says, as the boards' room reads it: the one form between the two is the JSON.
fn facts(probe: &Probe) -> Result<Facts> {
    serde_json::to_value(probe)
        .and_then(serde_json::from_value)
        .context("read the probe")
}

/// Verdicts, in their JSON form, for people.
pub fn page(verdicts: &[Value]) -> String {
    let text =
        |verdict: &Value, name: &str| verdict[name].as_str().map(shown::text).unwrap_or_default();
    let width = |name: &str| {
        verdicts
            .iter()
            .map(|verdict| text(verdict, name).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (boards, names) = (width("board"), width("name"));
    let mut page = String::new();
    for verdict in verdicts {
        let word = text(verdict, "verdict");
        let colour = match word.as_str() {
            "plays" => Colour::Green,
            "render" => Colour::Yellow,
            _ => Colour::Red,
        };
        let word = paint(colour, &format!("{word:<6}"));
        let line = format!(
            "{word}  {:<boards$}  {:<names$}  {}",
            text(verdict, "board"),
            text(verdict, "name"),
            how(verdict)
        );
        page.push_str(line.trim_end());
        page.push('\n');
        let mut below = |line: &str| page.push_str(&format!("        {}\n", shown::text(line)));
        texts(verdict, "reasons").for_each(&mut below);
        if verdict["verdict"] == "reject" {
            let decodes: Vec<&str> = texts(verdict, "decodes").collect();
            below(&format!("the board decodes {}", decodes.join("; ")));
        }
        verdict["command"].as_str().into_iter().for_each(below);
    }
    page
}

fn texts<'v>(verdict: &'v Value, name: &str) -> impl Iterator<Item = &'v str> {
    verdict[name]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// What plays it, or what is made of it.
fn how(verdict: &Value) -> String {
    if let Some(decoder) = verdict["decoder"].as_str() {
        return match verdict["hwdec"].as_str() {
            Some(hwdec) => shown::text(&format!("{decoder}, {hwdec}")),
            None => shown::text(decoder),
        };
    }
    let variant = &verdict["variant"];
    if verdict["verdict"] != "render" || variant.is_null() {
        return String::new();
    }
    if variant["copied"] == true {
        return "as it is, in another container".into();
    }
    let size = match (variant["width"].as_u64(), variant["height"].as_u64()) {
        (Some(width), Some(height)) => format!(" {width}x{height}"),
        _ => String::new(),
    };
    let codec = variant["codec"].as_str().unwrap_or("a variant");
    let rate = variant["fps"]
        .as_str()
        .map(|fps| format!(" {} fps", units::frame_rate(fps)));
    shown::text(&format!("to {codec}{size}{}", rate.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_asked_for() {
        let table = Table::builtin();
        #[track_caller]
        fn check(table: &Table, names: &[&str], expected: Result<&[&str], &str>) {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = asked(table, &names);
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(
                        found
                            .iter()
                            .map(|board| board.id.as_str())
                            .collect::<Vec<_>>(),
                        expected
                    );
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}")
                }
                (found, _) => panic!("{:?}", found.map(|boards| boards.len())),
            }
        }
        check(&table, &["pi5", "PI2", "pi5"], Ok(&["pi2", "pi5"]));
        check(&table, &["generic-arm64"], Ok(&["arm64"]));
        check(
            &table,
            &["pi5", "amiga"],
            Err("no such board: amiga (known: pi2, pi3,"),
        );
        assert_eq!(asked(&table, &[]).unwrap().len(), table.boards().len());
    }

    #[test]
    fn verdicts_for_people() {
        #[track_caller]
        fn check(changes: Value, expected: &str) {
            let mut verdict = serde_json::json!({
                "board": "pi2", "name": "Pi 2", "verdict": "render", "decoder": null, "hwdec": null,
                "reasons": ["codec: hevc is not decoded"], "decodes": ["h264 up to 1920x1080"],
                "variant": { "codec": "h264", "copied": false, "width": 1920, "height": 1080, "fps": "24/1" },
                "command": null,
            });
            for (name, value) in changes.as_object().expect("an object") {
                verdict[name] = value.clone();
            }
            assert_eq!(page(&[verdict]), expected);
        }
        check(
            serde_json::json!({ "verdict": "plays", "decoder": "hardware", "hwdec": "drm-copy", "reasons": [], "variant": null }),
            "plays   pi2  Pi 2  hardware, drm-copy\n",
        );
        check(
            serde_json::json!({ "command": "ffmpeg -i a" }),
            "render  pi2  Pi 2  to h264 1920x1080 24 fps\n        codec: hevc is not decoded\n        ffmpeg -i a\n",
        );
        check(
            serde_json::json!({ "variant": { "copied": true }, "reasons": [] }),
            "render  pi2  Pi 2  as it is, in another container\n",
        );
        check(
            serde_json::json!({ "verdict": "reject", "command": "ffmpeg -i 'a\nb'" }),
            "reject  pi2  Pi 2\n        codec: hevc is not decoded\n        \
             the board decodes h264 up to 1920x1080\n        ffmpeg -i 'a\\nb'\n",
        );
    }
}
