//! Names that move: each publication gets the next sequence number, whatever came before.
//!
//! A name holds its last [`KEEP`] versions, because a player that fetched the one before last
//! still asks for it; older ones go with the next collection, so a playlist that is rewritten
//! with each segment does not fill the disk. Publishing is a transaction in our own database:
//! compare-and-set does not depend on what a backend makes of conditional writes.

use std::time::SystemTime;

use cid::Cid;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::{Error, Store, fault, meta, pins};

/// Versions of a name that stay alive.
pub const KEEP: u64 = 5;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRecord {
    /// The object.
    pub cid: Cid,
    /// Rises with each publication, starting at 1; never falls, not even after
    /// [`Store::unpublish`].
    pub seq: u64,
    /// When this version was published.
    pub published: SystemTime,
}

impl Store {
    /// Points a name at an object and returns its sequence. With `expect` it does so only if the
    /// name is at that sequence, 0 meaning that it has no version. Publishing what the name
    /// already stands for changes nothing.
    pub fn publish(&self, name: &str, cid: &Cid, expect: Option<u64>) -> Result<u64, Error> {
        pins::check(name)?;
        self.own(cid)?;
        self.meta().write(|tx| {
            let row = meta::object(tx, cid).map_err(|e| self.meta().error(e))?;
            let Some(row) = row else {
                return Err(Error::NotHeld {
                    cid: Box::new(*cid),
                });
            };
            publish(tx, self, name, row.id, expect)
        })
    }

    /// What a name stands for now.
    pub fn resolve(&self, name: &str) -> Result<Option<NameRecord>, Error> {
        Ok(self.versions(name)?.into_iter().next())
    }

    /// The versions of a name that are kept, newest first.
    pub fn versions(&self, name: &str) -> Result<Vec<NameRecord>, Error> {
        self.meta().read(|c| {
            c.prepare_cached(
                "SELECT o.cid, v.seq, v.published FROM versions v JOIN objects o ON o.id = v.object
                 WHERE v.name = ?1 ORDER BY v.seq DESC",
            )?
            .query_map([name], |row| {
                Ok(NameRecord {
                    cid: meta::cid_column(row, 0)?,
                    seq: row.get(1)?,
                    published: meta::from_millis(row.get(2)?),
                })
            })?
            .collect()
        })
    }

    /// The published names that start with `prefix`, by name.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.meta().read(|c| {
            c.prepare_cached(
                "SELECT DISTINCT name FROM versions
                 WHERE name >= ?1 AND name < ?1 || char(1114111) ORDER BY name",
            )?
            .query_map([prefix], |row| row.get(0))?
            .collect()
        })
    }

    /// Takes a name down with all its versions; `false` if it had none. Only its sequence stays,
    /// so that a later publication is newer than anything a cache has seen.
    pub fn unpublish(&self, name: &str) -> Result<bool, Error> {
        self.meta().write(|tx| {
            drop_versions(tx, name, i64::MAX)
                .map(|dropped| dropped > 0)
                .map_err(|e| self.meta().error(e))
        })
    }
}

pub(crate) fn publish(
    tx: &Transaction<'_>,
    store: &Store,
    name: &str,
    object: i64,
    expect: Option<u64>,
) -> Result<u64, Error> {
    let fail = |e| store.meta().error(e);
    let current = newest(tx, name).map_err(fail)?;
    let found = current.map_or(0, |(seq, _)| seq);
    if let Some(expected) = expect {
        if expected != found {
            return Err(Error::Conflict {
                name: name.into(),
                expected,
                found,
            });
        }
    }
    match current {
        Some((seq, held)) if held == object => Ok(seq),
        _ => {
            let seq = append(tx, store, name, object).map_err(fail)?;
            fault::point("playlist-rows");
            Ok(seq)
        }
    }
}

/// Sequence and object of the current version.
fn newest(connection: &Connection, name: &str) -> rusqlite::Result<Option<(u64, i64)>> {
    connection
        .prepare_cached(
            "SELECT seq, object FROM versions WHERE name = ?1 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn append(tx: &Transaction<'_>, store: &Store, name: &str, object: i64) -> rusqlite::Result<u64> {
    let seq: u64 = tx
        .prepare_cached(
            "INSERT INTO names (name, seq, ipns) VALUES (?1, 1, ?2)
             ON CONFLICT (name) DO UPDATE SET seq = seq + 1 RETURNING seq",
        )?
        .query_row((name, store.ipns_name(name).to_bytes()), |row| row.get(0))?;
    tx.prepare_cached(
        "INSERT INTO versions (name, seq, object, published) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((name, seq, object, meta::millis(SystemTime::now())))?;
    drop_versions(tx, name, seq as i64 - KEEP as i64)?;
    Ok(seq)
}

/// Drops the versions up to a sequence and starts the grace of what they held.
fn drop_versions(tx: &Transaction<'_>, name: &str, up_to: i64) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "UPDATE objects SET touched = max(touched, ?3) WHERE id IN
         (SELECT object FROM versions WHERE name = ?1 AND seq <= ?2)",
    )?
    .execute((name, up_to, meta::millis(SystemTime::now())))?;
    tx.prepare_cached("DELETE FROM versions WHERE name = ?1 AND seq <= ?2")?
        .execute((name, up_to))
}
