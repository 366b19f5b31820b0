//! Pins: names of the caller's choosing that hold objects, as `asset/ID/original`. The first two
//! parts of the name are the pin's owner, as `asset/ID`: with it, all its pins go.
//!
//! One pin holds one object; an object goes when no pin and no published name holds it. A pin is
//! also the checkpoint of the work that set it: what `pins("stream/ID/720p/")` lists is done, and
//! the note of each says what the work must know of it to go on.

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
    /// Bytes of its content.
    pub size: u64,
    /// What its owner keeps with it ([`crate::PutOptions::note`]).
    pub note: Option<String>,
}

impl Store {
    /// Sets a pin without a note, moving it if it held something else.
    pub fn pin(&self, name: &str, cid: &Cid) -> Result<(), Error> {
        self.pin_noted(name, cid, None)
    }

    /// Sets a pin with its owner's note, as a put with [`crate::PutOptions::note`] does.
    pub fn pin_noted(&self, name: &str, cid: &Cid, note: Option<&str>) -> Result<(), Error> {
        check(name)?;
        self.own(cid)?;
        self.meta().write(|tx| {
            let fail = |e| self.meta().error(e);
            let Some(row) = meta::object(tx, cid).map_err(fail)? else {
                return Err(Error::NotHeld {
                    cid: Box::new(*cid),
                });
            };
            set(tx, name, row.id, note).map_err(fail)
        })
    }

    /// Removes a pin; `false` if there was none. What it held goes with a later
    /// [`Store::collect`].
    pub fn unpin(&self, name: &str) -> Result<bool, Error> {
        self.meta().write(|tx| {
            let fail = |e| self.meta().error(e);
            let Some((held, _)) = pinned(tx, name).map_err(fail)? else {
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
        self.meta().write(|tx| {
            let now = meta::millis(std::time::SystemTime::now());
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

    /// The pins of an owner, by name: the one that is called like it, and those below.
    pub fn pins_of(&self, owner: &str) -> Result<Vec<Pin>, Error> {
        let mut pins = self.pins(owner)?;
        pins.retain(|pin| is_of(&pin.name, owner));
        Ok(pins)
    }

    /// Removes all pins of an owner and says how many there were.
    pub fn unpin_all(&self, owner: &str) -> Result<usize, Error> {
        let own = usize::from(self.unpin(owner)?);
        Ok(own + self.unpin_prefix(&format!("{owner}/"))?)
    }

    /// The pins whose names start with `prefix`, by name.
    pub fn pins(&self, prefix: &str) -> Result<Vec<Pin>, Error> {
        self.meta().read(|c| {
            c.prepare_cached(
                "SELECT p.name, o.cid, o.size, p.note FROM pins p JOIN objects o ON o.id = p.object
                 WHERE p.name >= ?1 AND p.name < ?1 || char(1114111) ORDER BY p.name",
            )?
            .query_map([prefix], |row| {
                Ok(Pin {
                    name: row.get(0)?,
                    cid: meta::cid_column(row, 1)?,
                    size: row.get(2)?,
                    note: row.get(3)?,
                })
            })?
            .collect()
        })
    }
}

/// Whether a pin is an owner's: `stream/1` does not own `stream/10/original`.
fn is_of(pin: &str, owner: &str) -> bool {
    let below = pin.strip_prefix(owner);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The owner in a pin's name: its first two parts, or all of it.
pub fn owner(pin: &str) -> &str {
    let second = pin.match_indices('/').nth(1);
    second.map_or(pin, |(end, _)| &pin[..end])
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

pub(crate) fn set(
    tx: &Transaction<'_>,
    name: &str,
    object: i64,
    note: Option<&str>,
) -> rusqlite::Result<()> {
    let before = pinned(tx, name)?;
    if let Some((held, noted)) = before {
        if held == object && noted.as_deref() == note {
            return Ok(());
        }
        meta::touch(tx, held)?;
    }
    tx.prepare_cached(
        "INSERT INTO pins (name, object, note) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET object = excluded.object, note = excluded.note",
    )?
    .execute((name, object, note))?;
    Ok(())
}

/// The object that a pin holds, and its note.
fn pinned(connection: &Connection, name: &str) -> rusqlite::Result<Option<(i64, Option<String>)>> {
    connection
        .prepare_cached("SELECT object, note FROM pins WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}
