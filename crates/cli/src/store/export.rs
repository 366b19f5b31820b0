//! `kinora store export CID`: a file, directory or stream with all its blocks, as a CAR file.

use super::Place;
use crate::stdout::Closed;
use crate::{Outcome, shown, stdout, talk, units};
use ::store::{Cid, Error, Exported, Store};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Write content with all its blocks to a CAR file
#[derive(clap::Args)]
#[command(after_help = "\
The CAR has version 1, one root, and each block once, depth first. Anybody can check it without
trusting whoever it came from.

Examples:
  kinora store export bafybei… -o holiday.car
  kinora store export bafybei… | ssh other kinora store import -")]
pub struct Args {
    /// The content's CID
    cid: Cid,
    /// Where to write; without it to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object to standard output, with --output: cid, blocks, bytes
    #[arg(long, requires = "output")]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = args.place.existing()?;
    let exported = match &args.output {
        Some(file) => to_file(&store, &args.cid, file)?,
        None => to_stdout(&store, &args.cid)?,
    };
    if args.json {
        stdout::json(&serde_json::json!({
            "cid": args.cid.to_string(),
            "blocks": exported.blocks,
            "bytes": exported.bytes,
        }))?;
    } else {
        let bytes = units::bytes(exported.bytes);
        talk::say(&format!("{} blocks, {bytes}", exported.blocks));
    }
    Ok(Outcome::Done)
}

/// Writes aside first: a CAR that stands under its name is whole.
fn to_file(store: &Store, cid: &Cid, file: &Path) -> Result<Exported> {
    let mut aside = file.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    let written = File::create(&aside)
        .with_context(|| shown::path(&aside))
        .and_then(|output| {
            let exported = export(store, cid, &output).with_context(|| shown::path(file))?;
            output.sync_all().with_context(|| shown::path(&aside))?;
            std::fs::rename(&aside, file).with_context(|| shown::path(file))?;
            Ok(exported)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    written
}

fn to_stdout(store: &Store, cid: &Cid) -> Result<Exported> {
    let output = std::io::stdout().lock();
    if output.is_terminal() {
        bail!("a CAR is not for a terminal: name a file with -o, or send it on");
    }
    match export(store, cid, output) {
        Err(error) => match error.downcast_ref::<Error>() {
            Some(Error::Sink(reason)) if reason.kind() == ErrorKind::BrokenPipe => {
                Err(Closed.into())
            }
            _ => Err(error),
        },
        exported => exported,
    }
}

fn export(store: &Store, cid: &Cid, output: impl Write) -> Result<Exported> {
    let bar = talk::bar(0, "{decimal_bytes} written, {decimal_bytes_per_sec}");
    let output = BufWriter::with_capacity(1 << 20, output);
    let exported = store.export(cid, output, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    Ok(exported?)
}
