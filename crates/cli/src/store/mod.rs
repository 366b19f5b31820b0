//! `kinora store …`: the content-addressed store in the data folder, without a server.
//!
//! One file per subcommand. A running server may use the same folder meanwhile.

mod add;
mod cat;
mod export;
mod gc;
mod import;
mod ls;
mod names;
mod pin;
mod sync;
mod verify;

use crate::Outcome;
use crate::data_folder::DataFolder;
use ::store::{PutOptions, Store, Stored, backend};
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
    Pin(pin::Args),
    Names(names::Args),
    Import(import::Args),
    Export(export::Args),
    Gc(gc::Args),
    Sync(sync::Args),
    Verify(verify::Args),
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Command::Add(args) => add::run(args),
        Command::Cat(args) => cat::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Pin(args) => pin::run(args),
        Command::Names(args) => names::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Gc(args) => gc::run(args),
        Command::Sync(args) => sync::run(args),
        Command::Verify(args) => verify::run(args),
    }
}

/// Where a store lies and where its bytes go.
#[derive(clap::Args)]
pub struct Place {
    #[command(flatten)]
    pub data: DataFolder,
    /// Where the store keeps its bytes: a folder, or in addition to its own s3://… or kubo+http://… [default: in the data folder]
    #[arg(
        long = "store",
        value_name = "URL",
        env = "KINORA_STORE",
        hide_env_values = true
    )]
    pub url: Option<String>,
}

impl Place {
    /// Opens the store, making it when it is not there.
    pub fn open(&self) -> Result<Store> {
        let folder = self.data.path()?.join("store");
        Store::open_url(&folder, self.url.as_deref()).with_context(|| crate::shown::path(&folder))
    }

    /// Opens the store to read it: a mistyped folder is an error, not a new store.
    pub fn existing(&self) -> Result<Store> {
        let folder = match self
            .url
            .as_deref()
            .map(backend::folder)
            .transpose()?
            .flatten()
        {
            Some(folder) => folder,
            None => self.data.path()?.join("store"),
        };
        if !folder.is_dir() {
            bail!("{}: no store there", crate::shown::path(&folder));
        }
        self.open()
    }
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
