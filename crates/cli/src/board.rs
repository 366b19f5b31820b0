//! `kinora board`: which board this machine is taken for, and why.

use crate::boards::Rows;
use crate::{Outcome, shown, stdout};
use anyhow::Result;
use boards::{Detection, How, detect};
use std::path::Path;

/// Say which board this machine is, and why
#[derive(clap::Args)]
#[command(after_help = "\
DEVICE_TYPE in the environment names the board where detection cannot know it:
  DEVICE_TYPE=pi4-64 kinora board")]
pub struct Args {
    #[command(flatten)]
    rows: Rows,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let table = args.rows.read()?;
    let label = std::env::var("DEVICE_TYPE").ok();
    let found = detect(
        Path::new("/"),
        label.as_deref(),
        std::env::consts::ARCH,
        &table,
    );
    if args.json {
        stdout::json(&found)?;
        return Ok(Outcome::Done);
    }
    let name = table
        .get(&found.board_id)
        .map_or("", |board| board.name.as_str());
    stdout::text(&format!(
        "{}  {name}\n  {}\n",
        found.board_id,
        why(&found, label.as_deref())
    ))?;
    Ok(Outcome::Done)
}

fn why(found: &Detection, label: Option<&str>) -> String {
    match found.how {
        How::Label => format!("because DEVICE_TYPE is {:?}", label.unwrap_or_default()),
        How::DeviceTree => {
            format!(
                "because its device tree says {:?}",
                shown::text(found.model.as_deref().unwrap_or_default())
            )
        }
        How::Architecture => format!("because its processor is {}", std::env::consts::ARCH),
        How::Fallback => "because nothing tells what it is: the most careful row is taken".into(),
    }
}
