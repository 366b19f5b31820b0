//! Pins: names of the caller's choosing that hold objects, as `asset/ID/original`.
//!
//! One pin holds one object; an object goes when no pin and no published name holds it. A pin is
//! also the checkpoint of the work that set it: what `pins("stream/ID/720p/")` lists is done.

use cid::Cid;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::{Error, Store, meta};

/// Longest pin or name, in bytes.
const MAX_NAME: usize = 1024;

/// A pin and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// The object.
    pub cid: Cid,
}

impl Store {
    /// Sets a pin, moving it if it held something else.
    pub fn pin(&self, name: &str, cid: &Cid) -> Result<(), Error> {
        check(name)?;
        self.meta().write(|tx| {
            let fail = |e| self.meta().error(e);
            let Some(row) = meta::object(tx, cid).map_err(fail)? else {
                return Err(Error::NotHeld {
                    cid: Box::new(*cid),
                });
            };
            set(tx, name, row.id).map_err(fail)
        })
    }

    /// Removes a pin; `false` if there was none. What it held goes with a later
    /// [`Store::collect`].
    pub fn unpin(&self, name: &str) -> Result<bool, Error> {
        self.meta().write(|tx| {
            let fail = |e| self.meta().error(e);
            let Some(held) = holder(tx, name).map_err(fail)? else {
                return Ok(false);
            };
            meta::touch(tx, held).map_err(fail)?;
            tx.execute("DELETE FROM pins WHERE name = ?1", [name])
                .map_err(fail)?;
            Ok(true)
        })
    }

    /// Removes all pins whose names start with `prefix` and says how many there were.
    pub fn unpin_prefix(&self, prefix: &str) -> Result<usize, Error> {
        let now = meta::millis(std::time::SystemTime::now());
        self.meta().write(|tx| {
            tx.execute(
                "UPDATE objects SET touched = max(touched, ?2) WHERE id IN
                 (SELECT object FROM pins WHERE name >= ?1 AND name < ?1 || char(1114111))",
                (prefix, now),
            )
            .and_then(|_| {
                tx.execute(
                    "DELETE FROM pins WHERE name >= ?1 AND name < ?1 || char(1114111)",
                    [prefix],
                )
            })
            .map_err(|e| self.meta().error(e))
        })
    }

    /// The pins whose names start with `prefix`, by name.
    pub fn pins(&self, prefix: &str) -> Result<Vec<Pin>, Error> {
        self.meta().read(|c| {
            c.prepare_cached(
                "SELECT p.name, o.cid FROM pins p JOIN objects o ON o.id = p.object
                 WHERE p.name >= ?1 AND p.name < ?1 || char(1114111) ORDER BY p.name",
            )?
            .query_map([prefix], |row| {
                Ok(Pin {
                    name: row.get(0)?,
                    cid: meta::cid_column(row, 1)?,
                })
            })?
            .collect()
        })
    }
}

/// Refuses what could not be listed by prefix or shown on one line. U+10FFFF, no character at
/// all, ends the range of a prefix in the queries above.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    let bad = |c: char| c.is_control() || c == char::MAX;
    if name.is_empty() || name.len() > MAX_NAME || name.contains(bad) {
        return Err(Error::Name { name: name.into() });
    }
    Ok(())
}

pub(crate) fn set(tx: &Transaction<'_>, name: &str, object: i64) -> rusqlite::Result<()> {
    if let Some(held) = holder(tx, name)? {
        if held == object {
            return Ok(());
        }
        meta::touch(tx, held)?;
    }
    tx.prepare_cached(
        "INSERT INTO pins (name, object) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET object = excluded.object",
    )?
    .execute((name, object))?;
    Ok(())
}

fn holder(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT object FROM pins WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}
