//! `kinora boards`: the table that every verdict is made by, and which of its boards a running server
//! keeps variants ready for.

use crate::check::PolicyName;
use crate::client::{ServerAddress, path_below};
use crate::table::Table;
use crate::{Outcome, shown, stdout, units};
use anyhow::Result;
use boards::Rate;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// List the boards: what each decodes and what is rendered for it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora boards
  kinora boards --boards mine.toml       with your own rows over the built-in ones
  kinora boards enrol pi4-64             a running server keeps variants ready for them")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    rows: Rows,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Enrol(Enrol),
    Remove(Remove),
    Enrolled(Enrolled),
}

/// Have a running server keep variants ready for a board kind, or change its policy
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora boards enrol pi4-64
  kinora boards enrol pi3 --policy gate")]
struct Enrol {
    /// The board, as `kinora boards` names it
    board: String,
    /// What is done about files that it cannot play [default: what the server does]
    #[arg(long, value_enum)]
    policy: Option<PolicyName>,
    #[command(flatten)]
    server: ServerAddress,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Keep no variants ready for a board kind any more; those that only it played are removed
#[derive(clap::Args)]
struct Remove {
    /// The board, as `kinora boards` names it
    board: String,
    #[command(flatten)]
    server: ServerAddress,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// List the board kinds that a running server keeps variants ready for
#[derive(clap::Args)]
struct Enrolled {
    #[command(flatten)]
    server: ServerAddress,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// The table of boards, with a user's rows.
#[derive(clap::Args)]
pub struct Rows {
    /// A file in the form of boards.toml: its rows replace or extend the built-in ones
    #[arg(long, value_name = "FILE")]
    boards: Option<PathBuf>,
}

impl Rows {
    pub fn read(&self) -> Result<boards::Table> {
        let builtin = boards::Table::builtin();
        match &self.boards {
            Some(file) => Ok(builtin.with_file(file)?),
            None => Ok(builtin),
        }
    }
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Some(Command::Enrol(args)) => enrol(args),
        Some(Command::Remove(args)) => remove(args),
        Some(Command::Enrolled(args)) => enrolled(args),
        None => list(args),
    }
}

fn enrol(args: Enrol) -> Result<Outcome> {
    let policy = args.policy.map(|policy| match policy {
        PolicyName::Gate => "gate",
        PolicyName::Render => "render",
    });
    let path = path_below("/api/boards/", &args.board);
    args.server
        .client()
        .put_json(&path, &json!({ "policy": policy }))?;
    if args.json {
        stdout::json(&json!({ "board": args.board, "policy": policy }))?;
    }
    Ok(Outcome::Done)
}

fn remove(args: Remove) -> Result<Outcome> {
    let path = path_below("/api/boards/", &args.board);
    args.server.client().delete(&path)?;
    if args.json {
        stdout::json(&json!({ "board": args.board }))?;
    }
    Ok(Outcome::Done)
}

fn enrolled(args: Enrolled) -> Result<Outcome> {
    let boards: Vec<Value> = args.server.client().get("/api/boards")?;
    let boards = boards.into_iter();
    let boards: Vec<Value> = boards
        .filter(|board| board["enrolled"].is_object())
        .collect();
    if args.json {
        stdout::json(&boards)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(["BOARD", "NAME", "TARGET", "POLICY", "SINCE"]);
    let text = |value: &Value| shown::text(value.as_str().unwrap_or("-"));
    for board in &boards {
        let enrolled = &board["enrolled"];
        let policy = match (enrolled["policy"].as_str(), enrolled["renders"].as_bool()) {
            (Some(own), _) => shown::text(own),
            (None, Some(true)) => "render (default)".into(),
            (None, _) => "gate (default)".into(),
        };
        table.row([
            text(&board["id"]),
            text(&board["name"]),
            text(&board["target"]),
            policy,
            text(&enrolled["since"]),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}

fn list(args: Args) -> Result<Outcome> {
    let rows = args.rows.read()?;
    if args.json {
        stdout::json(&rows.boards())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(["BOARD", "NAME", "DECODES", "BY", "TARGET", "OUTPUT"]);
    for board in rows.boards() {
        let target = &board.target;
        let target = limit(&target.codec, target.width, target.height, &target.fps);
        for (at, decode) in board.decodes.iter().enumerate() {
            // What is said of the board stands beside its first row only.
            let once = |text: &str| {
                if at == 0 {
                    text.to_owned()
                } else {
                    String::new()
                }
            };
            let by = decode.hwdec.as_deref().unwrap_or("software");
            table.row([
                once(&board.id),
                once(&board.name),
                limit(
                    &decode.codec,
                    decode.max_width,
                    decode.max_height,
                    &decode.max_fps,
                ),
                by.to_owned(),
                once(&target),
                once(&board.output.vo),
            ]);
        }
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}

/// `hevc 3840x2160@60`
fn limit(codec: &str, width: u32, height: u32, fps: &Rate) -> String {
    format!(
        "{codec} {width}x{height}@{}",
        units::frame_rate(&fps.to_string())
    )
}
