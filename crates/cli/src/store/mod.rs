//! `kinora store …`: the content-addressed store in the data folder, without a server.
//!
//! One file per subcommand. A running server may use the same folder meanwhile.

mod add;
mod cat;
mod ls;
mod verify;

use crate::Outcome;
use crate::data_folder::DataFolder;
use ::store::{PutOptions, Store, Stored};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::io::Read;

/// Put files into the content-addressed store and read them, without a server
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(add::Args),
    Cat(cat::Args),
    Ls(ls::Args),
    Verify(verify::Args),
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Command::Add(args) => add::run(args),
        Command::Cat(args) => cat::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Verify(args) => verify::run(args),
    }
}

/// Opens the store in the data folder, making it when it is not there.
pub fn open(data: &DataFolder) -> Result<Store> {
    let folder = data.path()?.join("store");
    Store::open(&folder).with_context(|| crate::shown::path(&folder))
}

/// Opens the store in the data folder to read it: a mistyped folder is an error, not a new store.
pub fn existing(data: &DataFolder) -> Result<Store> {
    let folder = data.path()?.join("store");
    if !folder.is_dir() {
        bail!("{}: no store there", crate::shown::path(&folder));
    }
    open(data)
}

/// Files put in by hand are held by a pin of this beginning and their CID.
const PIN: &str = "by-hand/";

/// Puts content into the store, to stay until its pin is taken off.
pub fn keep(
    store: &Store,
    content: impl Read,
    options: &PutOptions<'_>,
) -> Result<Stored, ::store::Error> {
    let stored = store.put(content, options)?;
    store.pin(&format!("{PIN}{}", stored.cid), &stored.cid)?;
    Ok(stored)
}
