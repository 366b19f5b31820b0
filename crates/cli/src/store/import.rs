//! `kinora store import FILE`: the blocks of a CAR file, checked one by one, and pins on its roots.

use super::Place;
use crate::{Outcome, shown, stdout, talk, units};
use ::store::{Imported, Pinning, Store, ipns};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Take the content of a CAR file into the store
#[derive(clap::Args)]
#[command(after_help = "\
Every block is checked against its CID. When one is wrong or missing nothing is pinned, and what
came before it goes with the next collection. Each root is pinned as car/CID.

Examples:
  kinora store import stream.car
  curl https://media.example/ipfs/bafybei…?format=car | kinora store import -
  kinora store import stream.car --record k51….ipns-record     with the name that stands for it")]
pub struct Args {
    /// The CAR file, or - for standard input
    file: PathBuf,
    /// Pin the root under this name, or several roots as NAME/CID
    #[arg(long, value_name = "NAME")]
    pin: Option<String>,
    /// Pin nothing; blocks may be missing then
    #[arg(long, conflicts_with = "pin")]
    no_pin: bool,
    /// Keep this IPNS record too; its file is called after its name, as gateways give it out
    #[arg(long, value_name = "FILE")]
    record: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object: roots, pins, blocks, new, bytes
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let shown = shown::path(&args.file);
    let (car, length): (Box<dyn Read>, u64) = if args.file.as_os_str() == "-" {
        (Box::new(std::io::stdin().lock()), 0)
    } else {
        let file = File::open(&args.file).with_context(|| shown.clone())?;
        let length = file.metadata().with_context(|| shown.clone())?.len();
        (Box::new(file), length)
    };
    let store = args.place.open()?;
    let pinning = match &args.pin {
        Some(name) => Pinning::Named(name),
        None if args.no_pin => Pinning::None,
        None => Pinning::ByCid,
    };
    let bar = talk::bar(
        length,
        "{bar:30} {decimal_bytes}/{decimal_total_bytes}, {eta} left",
    );
    let car = BufReader::with_capacity(1 << 20, car);
    let imported = store
        .import(car, pinning, |bytes| bar.set_position(bytes))
        .with_context(|| shown.clone())?;
    bar.finish_and_clear();
    for file in &args.record {
        keep_record(&store, file).with_context(|| shown::path(file))?;
    }
    tell(&imported, args.json)?;
    Ok(Outcome::Done)
}

fn tell(imported: &Imported, json: bool) -> Result<()> {
    let roots: Vec<_> = imported.roots.iter().map(ToString::to_string).collect();
    if json {
        return stdout::json(&serde_json::json!({
            "roots": roots,
            "pins": imported.pins,
            "blocks": imported.blocks,
            "new": imported.new,
            "bytes": imported.bytes,
        }));
    }
    talk::say(&format!(
        "{} blocks, {} of them new, {}",
        imported.blocks,
        imported.new,
        units::bytes(imported.bytes)
    ));
    if imported.pins.is_empty() {
        talk::say("nothing is pinned: it goes with a collection unless something else holds it");
    }
    stdout::text(
        &roots
            .iter()
            .map(|root| format!("{root}\n"))
            .collect::<String>(),
    )
}

/// Keeps a record that is worth keeping now.
fn keep_record(store: &Store, file: &Path) -> Result<()> {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.split('.').next())
        .and_then(ipns::Name::parse)
        .context("the file is not called after an IPNS name, as k51….ipns-record")?;
    // A little more than a record may have, so that one that is too long is told as that.
    let mut record = Vec::new();
    let most = ipns::MAX_RECORD as u64 + 1;
    File::open(file)?.take(most).read_to_end(&mut record)?;
    if let Err(invalid) = ipns::Record::verify(&name, &record, SystemTime::now()) {
        bail!("{invalid}");
    }
    store.keep_record(&name, &record)?;
    Ok(())
}
