//! `kinora store sync`: copies to the backend what it does not have, and tells how that stands.

use super::Place;
use crate::{Outcome, shown, stdout, talk, units};
use ::store::BackendStatus;
use anyhow::{Result, bail};

/// Copy to the store's backend what it does not have yet, or see how that stands
#[derive(clap::Args)]
#[command(after_help = "\
A running server copies by itself; --status tells how far it is. Nothing waits for the backend: what
it cannot take now stays in the folder and is copied later.

Examples:
  kinora store sync --store 's3://media/kinora?endpoint=https://s3.example.org&region=eu'
  kinora store sync --status --json
  kinora store sync --fetch                 before leaving a backend")]
pub struct Args {
    /// Only tell how the copies stand
    #[arg(long, conflicts_with = "fetch")]
    status: bool,
    /// Bring back into the folder what only the backend has
    #[arg(long)]
    fetch: bool,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = args.place.existing()?;
    let mut another = false;
    let mut outcome = Ok(());
    if args.fetch {
        let bar = talk::bar(0, "{pos} files brought back");
        outcome = store.fetch(|fetched| bar.set_position(fetched)).map(|_| ());
        bar.finish_and_clear();
    } else if !args.status {
        let bar = talk::bar(0, "{bar:30} {pos}/{len} files copied");
        let synced = store.sync(|status| {
            bar.set_length(status.copied + status.pending);
            bar.set_position(status.copied);
        });
        bar.finish_and_clear();
        another = matches!(synced, Ok(false));
        outcome = synced.map(|_| ());
    }
    let Some(status) = store.backend_status()? else {
        outcome?;
        bail!("this store has no backend: choose one with --store URL or KINORA_STORE");
    };
    if args.json {
        stdout::json(&json(&status, another))?;
    } else {
        stdout::text(&lines(&status, another))?;
    }
    outcome?;
    Ok(Outcome::Done)
}

fn json(status: &BackendStatus, another: bool) -> serde_json::Value {
    serde_json::json!({
        "backend": status.backend,
        "says": status.says,
        "trouble": status.trouble,
        "copied": status.copied,
        "pending": status.pending,
        "pending_bytes": status.pending_bytes,
        "away": status.away,
        "removals": status.removals,
        "another_process_copies": another,
    })
}

fn lines(status: &BackendStatus, another: bool) -> String {
    let mut lines = match &status.says {
        Some(says) => format!("{} ({})\n", shown::text(&status.backend), shown::text(says)),
        None => format!("{}\n", shown::text(&status.backend)),
    };
    let BackendStatus {
        copied,
        pending,
        away,
        removals,
        ..
    } = status;
    let bytes = units::bytes(status.pending_bytes);
    lines += &format!("copied: {copied} files, {away} of them only there\n");
    lines += &format!("to be copied: {pending} files, {bytes}; to be removed: {removals}\n");
    if let Some(trouble) = &status.trouble {
        lines += &format!("trouble: {}\n", shown::text(trouble));
    }
    if another {
        lines += "another process, as a server is, copies them\n";
    }
    lines
}
