//! `kinora boards`: the table that every verdict is made by.

use crate::table::Table;
use crate::{Outcome, stdout, units};
use anyhow::Result;
use boards::Rate;
use std::path::PathBuf;

/// List the boards: what each decodes and what is rendered for it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora boards
  kinora boards --boards mine.toml       with your own rows over the built-in ones")]
pub struct Args {
    #[command(flatten)]
    rows: Rows,
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
