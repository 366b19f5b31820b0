//! `kinora show ID`: one asset of a running server, whole.

use crate::client::{Asset, Client, ServerAddress, asset_path};
use crate::table::Table;
use crate::{Outcome, check, shown, stdout, units, variants};
use anyhow::Result;
use serde_json::Value;
use std::fmt::Write;

/// Show one asset of a running server: what is in it, what plays it, its stream
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  kinora show $(kinora ls --json | jq -r '.[0].id')")]
pub struct Args {
    /// The asset, as `kinora ls` names it
    id: String,
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let client = args.server.client();
    let asset: Value = client.get(&asset_path(&args.id))?;
    if args.json {
        stdout::json(&asset)?;
    } else {
        stdout::text(&page(&serde_json::from_value(asset)?, &client)?)?;
    }
    Ok(Outcome::Done)
}

fn page(asset: &Asset, client: &Client) -> Result<String> {
    let mut page = format!("{}\n", asset.shown_name());
    let mut line = |name: &str, value: &str| writeln!(page, "  {name:<8} {value}");
    line("id", &asset.id)?;
    line("size", &units::bytes(asset.size))?;
    line("added", &asset.created)?;
    line("state", &asset.state)?;
    if let Some(error) = &asset.error {
        line("error", &shown::text(error))?;
    }
    if let Some(cid) = &asset.cid {
        line("cid", cid)?;
    }
    if let Some(video) = asset.video() {
        line("video", &video)?;
    }
    if let Some(length) = asset.duration_s() {
        line("length", &units::time(length))?;
    }
    if let Some(stream) = &asset.stream {
        line("stream", &asset.stream_state())?;
        if let Some(error) = &stream.error {
            line("", &shown::text(error))?;
        }
        if let Some(url) = &stream.url {
            line("", &client.url(url))?;
        }
        if !stream.rungs.is_empty() {
            let mut table = Table::new(["  RUNG", "SIZE", "BIT RATE", "SEGMENTS"]);
            for rung in &stream.rungs {
                table.row([
                    format!("  {}", rung.name),
                    format!("{}x{}", rung.width, rung.height),
                    if rung.copied {
                        "copied".into()
                    } else {
                        rung.bit_rate.map_or_else(|| "-".into(), units::bit_rate)
                    },
                    rung.segments.to_string(),
                ]);
            }
            write!(page, "\n{table}")?;
        }
    }
    if !asset.variants.is_empty() {
        write!(page, "\n{}", variants::page(&asset.variants))?;
    }
    if !asset.verdicts.is_empty() {
        write!(page, "\n{}", check::page(&asset.verdicts))?;
    }
    Ok(page)
}
