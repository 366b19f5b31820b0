//! How fast `put` is beside the same writes and syncs without hashing.
//!
//! Usage: `put_rate [FOLDER [SIZE_BYTES [COUNT]]]`; the folder's disk is what is measured. Both
//! sides take turns object by object, so that they see the same disk. Prints one JSON object.
//! The plain side is told the CIDs beforehand. It writes the file in one go, syncs it, renames it
//! to the same kind of place, syncs the folder, and commits the same rows to the same tables.
#![allow(clippy::print_stdout, reason = "stdout is this program's output")]

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use store::{
    PutOptions, Store,
    unixfs::{Dag, Importer},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut number = |default: usize| -> Result<usize> {
        let given = args.next().map(|text| text.to_string_lossy().parse());
        Ok(given.transpose()?.unwrap_or(default))
    };
    let size = number(4 << 20)?;
    let count = number(64)?;

    let dir = tempfile::tempdir_in(parent)?;
    let store = Store::open(dir.path().join("store"))?;
    let mut plain = Plain::open(dir.path().join("plain"))?;
    let mut content: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for round in 0..count + 2 {
        stamp(&mut content, round * 2);
        let mut importer = Importer::new();
        importer.update(&content);
        let dag = importer.finish();
        let start = Instant::now();
        plain.put(&content, &dag, &format!("rate/{round}"))?;
        let plain_took = start.elapsed();

        stamp(&mut content, round * 2 + 1);
        let name = format!("rate/{round}");
        let options = PutOptions {
            pin: Some(&name),
            ..PutOptions::default()
        };
        let start = Instant::now();
        store.put(content.as_slice(), &options)?;
        let store_took = start.elapsed();
        // The first two warm up folders, connections and the allocator.
        if round >= 2 {
            ours += store_took;
            theirs += plain_took;
        }
    }
    let rate = |took: Duration| (size * count) as f64 / took.as_secs_f64() / 1e6;
    println!(
        "{{\"size\":{size},\"count\":{count},\"put_mb_s\":{:.1},\"plain_mb_s\":{:.1},\"ratio\":{:.3}}}",
        rate(ours),
        rate(theirs),
        rate(ours) / rate(theirs)
    );
    Ok(())
}

/// Makes this round's content differ from all others.
fn stamp(content: &mut [u8], number: usize) {
    let stamp = number.to_le_bytes();
    let len = content.len().min(stamp.len());
    content[..len].copy_from_slice(&stamp[..len]);
}

/// The same writes without a hash, in the folders and tables of a store of its own.
struct Plain {
    root: PathBuf,
    database: rusqlite::Connection,
}

impl Plain {
    fn open(root: PathBuf) -> Result<Self> {
        drop(Store::open(&root)?);
        let database = rusqlite::Connection::open(root.join("meta.db"))?;
        database.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        Ok(Self { root, database })
    }

    fn put(&mut self, content: &[u8], dag: &Dag, pin: &str) -> Result<()> {
        let name = dag.root.to_string();
        let shard = self.root.join("obj").join(&name[name.len() - 2..]);
        let draft = self.root.join("tmp/draft");
        let mut file = File::create(&draft)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&draft, shard.join(name))?;
        File::open(shard)?.sync_all()?;
        let tx = self.database.transaction()?;
        tx.prepare_cached(
            "INSERT INTO objects (cid, size, created, touched) VALUES (?1, ?2, 0, 0)",
        )?
        .execute((dag.root.to_bytes(), dag.size))?;
        let object = tx.last_insert_rowid();
        if dag.blocks.len() > 1 {
            let mut insert =
                tx.prepare_cached("INSERT OR IGNORE INTO blocks VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for block in &dag.blocks {
                let cid = block.cid.to_bytes();
                insert.execute((cid, object, block.offset, block.length, &block.node))?;
            }
        }
        tx.prepare_cached("INSERT INTO pins VALUES (?1, ?2)")?
            .execute((pin, object))?;
        Ok(tx.commit()?)
    }
}
