//! The metadata database: which objects and blocks are held, and what holds them.
//!
//! SQLite in WAL mode with `synchronous=FULL`, so a transaction that returned survives a power
//! cut. Several processes may have it open: one writer at a time, by SQLite's own write lock,
//! which is also what keeps a put's rename and a collection's unlink apart (see `embedded.rs`).
//! This file owns the schema, the connections and the questions about objects and blocks; pins
//! and names have their SQL in their own files.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cid::Cid;
use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params,
};

use crate::{
    Error, Stat,
    unixfs::{self, Block},
};

/// One entry per schema version; `user_version` counts those that have been applied. Entries are
/// only ever added.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE objects (
        id      INTEGER PRIMARY KEY,
        cid     BLOB    NOT NULL UNIQUE,   -- binary CIDv1 of the whole content
        size    INTEGER NOT NULL,
        mime    TEXT,
        created INTEGER NOT NULL,          -- Unix time in ms
        touched INTEGER NOT NULL           -- last time something put it or let go of it
    );
    -- Blocks of objects that have more than one; an object of one chunk is its own block.
    CREATE TABLE blocks (
        cid    BLOB    NOT NULL,
        object INTEGER NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
        offset INTEGER NOT NULL,           -- slice of the content that the block covers
        length INTEGER NOT NULL,
        node   BLOB                        -- encoded dag-pb node; NULL for a leaf
    );
    CREATE UNIQUE INDEX blocks_cid ON blocks (cid, object);
    CREATE INDEX blocks_object ON blocks (object);

    CREATE TABLE pins (
        name   TEXT    PRIMARY KEY,
        object INTEGER NOT NULL REFERENCES objects (id)
    ) WITHOUT ROWID;
    CREATE INDEX pins_object ON pins (object);

    -- A name keeps its row when it is unpublished, so its sequence never falls.
    CREATE TABLE names (
        name TEXT    PRIMARY KEY,
        seq  INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE versions (
        name      TEXT    NOT NULL REFERENCES names (name),
        seq       INTEGER NOT NULL,
        object    INTEGER NOT NULL REFERENCES objects (id),
        published INTEGER NOT NULL,        -- Unix time in ms
        PRIMARY KEY (name, seq)
    ) WITHOUT ROWID;
    CREATE INDEX versions_object ON versions (object);

    CREATE TABLE settings (
        key   TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
",
    "
    -- What its owner keeps with a pin; the store does not read it.
    ALTER TABLE pins ADD COLUMN note TEXT;
",
    "
    -- A node object is one dag-pb block without content of its own: its row in blocks is all of it.
    ALTER TABLE objects ADD COLUMN node INTEGER NOT NULL DEFAULT 0;
    -- What a node object links to, which is held as long as it is.
    CREATE TABLE links (
        object INTEGER NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
        child  BLOB    NOT NULL,           -- binary CIDv1, held here or not
        PRIMARY KEY (object, child)
    ) WITHOUT ROWID;
    CREATE INDEX links_child ON links (child);
",
    "
    -- The IPNS name of a name, as a multihash, to find it by.
    ALTER TABLE names ADD COLUMN ipns BLOB;
    CREATE UNIQUE INDEX names_ipns ON names (ipns);
    -- Records that others signed, by the multihash of their key.
    CREATE TABLE records (
        ipns   BLOB PRIMARY KEY,
        record BLOB NOT NULL
    ) WITHOUT ROWID;
",
    "
    -- Whether the backend has a copy: 0 no, 1 begun, 2 yes; and whether the file is here.
    ALTER TABLE objects ADD COLUMN copied INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE objects ADD COLUMN here   INTEGER NOT NULL DEFAULT 1;
    -- What is left of objects that are no more here: the file, the backend's copy.
    CREATE TABLE removals (
        cid  BLOB    PRIMARY KEY,
        file INTEGER NOT NULL,
        copy INTEGER NOT NULL
    ) WITHOUT ROWID;
    -- The backend whose copies those columns speak of.
    CREATE TABLE backend (
        one     INTEGER PRIMARY KEY CHECK (one = 1),
        name    TEXT NOT NULL,
        says    TEXT,                      -- what it is, once it has answered
        trouble TEXT                       -- why it does not get on, NULL while it does
    );
    -- Tells this store from others where they may meet.
    CREATE TABLE identity (
        one  INTEGER PRIMARY KEY CHECK (one = 1),
        name TEXT NOT NULL
    );
    INSERT INTO identity VALUES (1, lower(hex(randomblob(16))));
",
];

/// `objects.copied` of an object that the backend has.
pub(crate) const COPIED: i64 = 2;

/// How long a process waits for another one's transaction.
const BUSY: Duration = Duration::from_secs(20);

pub(crate) struct Meta {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Idle reading connections; one is opened whenever none is idle.
    readers: Mutex<Vec<Connection>>,
}

/// Where a block's content lies.
pub(crate) struct Located {
    /// CID of the object whose file holds it.
    pub object: Cid,
    /// Size of that file.
    pub object_size: u64,
    pub offset: u64,
    pub length: u64,
    /// Known only for the object as a whole.
    pub mime: Option<String>,
    pub created: SystemTime,
    /// Whether the backend has a copy, and whether the folder has the file.
    pub copied: bool,
    pub here: bool,
}

/// A row of `objects`.
pub(crate) struct ObjectRow {
    pub id: i64,
    pub cid: Cid,
    pub size: u64,
    /// One dag-pb block, without a file.
    pub node: bool,
    /// Whether the backend has a copy, or may have one.
    pub copied: bool,
    /// Whether its file is meant to be in the folder.
    pub here: bool,
}

impl Meta {
    /// Opens the database and brings its schema up to date. The caller keeps other openers away.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::database(path, source);
        let mut writer = Connection::open(path).map_err(fail)?;
        writer.busy_timeout(BUSY).map_err(fail)?;
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA journal_size_limit = 16777216;",
            )
            .map_err(fail)?;
        migrate(path, &mut writer)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
        })
    }

    /// Turns SQLite's error into the store's.
    pub fn error(&self, source: rusqlite::Error) -> Error {
        Error::database(&self.path, source)
    }

    /// Runs a question on a connection that cannot write.
    pub fn read<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.reader().map_err(|e| self.error(e))?,
        };
        let answer = question(&connection).map_err(|e| self.error(e));
        lock(&self.readers).push(connection);
        answer
    }

    /// Runs `work` inside the write lock and commits if it succeeds.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = lock(&self.writer);
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.error(e))?;
        let value = work(&tx)?;
        tx.commit().map_err(|e| self.error(e))?;
        Ok(value)
    }

    /// Runs `work` inside the write lock without writing: nothing is committed, nothing synced.
    pub fn locked<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = lock(&self.writer);
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| self.error(e))?;
        work(&tx)
    }

    fn reader(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), Error> {
    let fail = |source| Error::database(path, source);
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(fail)?;
    if found > known {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(fail)?;
    for step in &MIGRATIONS[found.max(0) as usize..] {
        tx.execute_batch(step).map_err(fail)?;
    }
    tx.pragma_update(None, "user_version", known)
        .map_err(fail)?;
    tx.commit().map_err(fail)
}

/// A panic under the lock leaves a transaction that SQLite rolled back, so the connection is fine.
fn lock<T>(mutex: &Mutex<T>) -> impl std::ops::DerefMut<Target = T> + '_ {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of a CID in the database: its binary form as version 1, so that `Qm…` and `bafy…` of
/// the same block are one.
pub(crate) fn key(cid: &Cid) -> Vec<u8> {
    Cid::new_v1(cid.codec(), *cid.hash()).to_bytes()
}

/// Time as the database counts it.
pub(crate) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

pub(crate) fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.max(0) as u64)
}

/// Reads a CID that this crate wrote.
pub(crate) fn cid_column(row: &Row<'_>, index: usize) -> rusqlite::Result<Cid> {
    let bytes = row.get_ref(index)?.as_blob()?;
    Cid::try_from(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            index,
            rusqlite::types::Type::Blob,
            Box::new(error),
        )
    })
}

/// Finds an object, or else a block inside one.
pub(crate) fn locate(connection: &Connection, cid: &Cid) -> rusqlite::Result<Option<Located>> {
    let key = key(cid);
    let whole = connection
        .prepare_cached(
            "SELECT cid, size, mime, created, copied, here FROM objects WHERE cid = ?1 AND node = 0",
        )?
        .query_row([&key], |row| {
            Ok(Located {
                object: cid_column(row, 0)?,
                object_size: row.get(1)?,
                offset: 0,
                length: row.get(1)?,
                mime: row.get(2)?,
                created: from_millis(row.get(3)?),
                copied: row.get::<_, i64>(4)? == COPIED,
                here: row.get(5)?,
            })
        })
        .optional()?;
    if whole.is_some() {
        return Ok(whole);
    }
    connection
        .prepare_cached(
            "SELECT o.cid, o.size, b.offset, b.length, o.created, o.copied, o.here
             FROM blocks b JOIN objects o ON o.id = b.object
             WHERE b.cid = ?1 AND o.node = 0 LIMIT 1",
        )?
        .query_row([&key], |row| {
            Ok(Located {
                object: cid_column(row, 0)?,
                object_size: row.get(1)?,
                offset: row.get(2)?,
                length: row.get(3)?,
                mime: None,
                created: from_millis(row.get(4)?),
                copied: row.get::<_, i64>(5)? == COPIED,
                here: row.get(6)?,
            })
        })
        .optional()
}

/// The encoded node of an inner block.
pub(crate) fn node(connection: &Connection, cid: &Cid) -> rusqlite::Result<Option<Vec<u8>>> {
    let found: Option<Option<Vec<u8>>> = connection
        .prepare_cached("SELECT node FROM blocks WHERE cid = ?1 LIMIT 1")?
        .query_row([key(cid)], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

pub(crate) fn object(connection: &Connection, cid: &Cid) -> rusqlite::Result<Option<ObjectRow>> {
    connection
        .prepare_cached("SELECT id, cid, size, node, copied, here FROM objects WHERE cid = ?1")?
        .query_row([key(cid)], object_row)
        .optional()
}

/// An object whose content is a file.
pub(crate) fn file(connection: &Connection, cid: &Cid) -> rusqlite::Result<Option<ObjectRow>> {
    Ok(object(connection, cid)?.filter(|row| !row.node))
}

pub(crate) fn object_row(row: &Row<'_>) -> rusqlite::Result<ObjectRow> {
    Ok(ObjectRow {
        id: row.get(0)?,
        cid: cid_column(row, 1)?,
        size: row.get(2)?,
        node: row.get(3)?,
        copied: row.get::<_, i64>(4)? != 0,
        here: row.get(5)?,
    })
}

/// All objects, oldest first.
pub(crate) fn objects(connection: &Connection) -> rusqlite::Result<Vec<Stat>> {
    connection
        .prepare_cached(
            "SELECT cid, size, mime, created, node, here, copied FROM objects ORDER BY created, id",
        )?
        .query_map([], stat_row)?
        .collect()
}

/// What is known of a node object.
pub(crate) fn node_stat(connection: &Connection, cid: &Cid) -> rusqlite::Result<Option<Stat>> {
    connection
        .prepare_cached(
            "SELECT cid, size, mime, created, node, here, copied FROM objects WHERE cid = ?1 AND node = 1",
        )?
        .query_row([key(cid)], stat_row)
        .optional()
}

fn stat_row(row: &Row<'_>) -> rusqlite::Result<Stat> {
    Ok(Stat {
        cid: cid_column(row, 0)?,
        size: row.get(1)?,
        mime: row.get(2)?,
        created: from_millis(row.get(3)?),
        node: row.get(4)?,
        here: row.get(5)?,
        copied: row.get::<_, i64>(6)? == COPIED,
    })
}

/// The recorded blocks of an object: all but a lone leaf, which needs no record.
pub(crate) fn blocks(connection: &Connection, cid: &Cid) -> rusqlite::Result<Vec<Block>> {
    connection
        .prepare_cached(
            "SELECT b.cid, b.offset, b.length, b.node
             FROM blocks b JOIN objects o ON o.id = b.object WHERE o.cid = ?1",
        )?
        .query_map([key(cid)], |row| {
            Ok(Block {
                cid: cid_column(row, 0)?,
                offset: row.get(1)?,
                length: row.get(2)?,
                node: row.get(3)?,
            })
        })?
        .collect()
}

/// Records an object whose file stands, or touches the row it has. A media type once known is
/// kept: answers for a CID are cached for ever.
pub(crate) fn insert(
    tx: &Transaction<'_>,
    dag: &unixfs::Dag,
    mime: Option<&str>,
) -> rusqlite::Result<i64> {
    let now = millis(SystemTime::now());
    let known = match object(tx, &dag.root)? {
        Some(row) if row.node => {
            become_file(tx, row.id, dag.size)?;
            false
        }
        row => row.is_some(),
    };
    let id = tx
        .prepare_cached(
            "INSERT INTO objects (cid, size, mime, created, touched)
             VALUES (:cid, :size, :mime, :now, :now)
             ON CONFLICT (cid) DO UPDATE
             SET touched = max(touched, :now), mime = coalesce(mime, :mime), here = 1
             RETURNING id",
        )?
        .query_row(
            named_params! {":cid": key(&dag.root), ":size": dag.size, ":mime": mime, ":now": now},
            |row| row.get(0),
        )?;
    if !known && dag.blocks.len() > 1 {
        let mut insert = tx.prepare_cached(
            "INSERT OR IGNORE INTO blocks (cid, object, offset, length, node)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for block in &dag.blocks {
            insert.execute((
                key(&block.cid),
                id,
                block.offset,
                block.length,
                block.node.as_deref(),
            ))?;
        }
    }
    Ok(id)
}

/// The content below a node object has come whole: its blocks are recorded from it, and links are
/// no longer needed to hold them.
fn become_file(tx: &Transaction<'_>, id: i64, size: u64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM blocks WHERE object = ?1", [id])?;
    tx.execute("DELETE FROM links WHERE object = ?1", [id])?;
    tx.execute(
        "UPDATE objects SET node = 0, size = ?2, copied = 0 WHERE id = ?1",
        (id, size),
    )?;
    Ok(())
}

/// Records one dag-pb block as an object and what it links to.
pub(crate) fn insert_node(
    tx: &Transaction<'_>,
    cid: &Cid,
    node: &[u8],
    children: &BTreeSet<Vec<u8>>,
) -> rusqlite::Result<i64> {
    let now = millis(SystemTime::now());
    let id: i64 = tx
        .prepare_cached(
            "INSERT INTO objects (cid, size, created, touched, node) VALUES (?1, ?2, ?3, ?3, 1)
             RETURNING id",
        )?
        .query_row((key(cid), node.len(), now), |row| row.get(0))?;
    tx.prepare_cached(
        "INSERT INTO blocks (cid, object, offset, length, node) VALUES (?1, ?2, 0, 0, ?3)",
    )?
    .execute((key(cid), id, node))?;
    let mut link = tx.prepare_cached("INSERT INTO links (object, child) VALUES (?1, ?2)")?;
    for child in children {
        link.execute((id, child))?;
    }
    Ok(id)
}

/// Touches the object that is this block or has it; whether there is one.
pub(crate) fn touch_holder(tx: &Transaction<'_>, cid: &Cid) -> rusqlite::Result<bool> {
    let touched = tx
        .prepare_cached(
            "UPDATE objects SET touched = max(touched, ?2) WHERE id =
             coalesce((SELECT id FROM objects WHERE cid = ?1),
                      (SELECT object FROM blocks WHERE cid = ?1 LIMIT 1))",
        )?
        .execute((key(cid), millis(SystemTime::now())))?;
    Ok(touched > 0)
}

/// Starts an object's grace anew because something lets go of it now.
pub(crate) fn touch(tx: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE objects SET touched = max(touched, ?2) WHERE id = ?1")?
        .execute((id, millis(SystemTime::now())))?;
    Ok(())
}

/// The backend that `objects.copied` speaks of.
pub(crate) fn backend_name(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT name FROM backend", [], |row| row.get(0))
        .optional()
}

/// A pin or a name that holds an object, the first by its name.
pub(crate) fn held_by(connection: &Connection, cid: &Cid) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "SELECT min(h.name) FROM objects o JOIN
             (SELECT name, object FROM pins UNION ALL SELECT name, object FROM versions) h
             ON h.object = o.id WHERE o.cid = ?1",
        )?
        .query_row([key(cid)], |row| row.get(0))
}

/// Files that are to be removed.
pub(crate) fn files_to_remove(connection: &Connection) -> rusqlite::Result<Vec<Cid>> {
    connection
        .prepare_cached("SELECT cid FROM removals WHERE file = 1")?
        .query_map([], |row| cid_column(row, 0))?
        .collect()
}

/// These files are removed.
pub(crate) fn files_removed(tx: &Transaction<'_>, cids: &[Cid]) -> rusqlite::Result<()> {
    removed(tx, "UPDATE removals SET file = 0 WHERE cid = ?1", cids)
}

/// These copies are removed.
pub(crate) fn copies_removed(tx: &Transaction<'_>, cids: &[Cid]) -> rusqlite::Result<()> {
    removed(tx, "UPDATE removals SET copy = 0 WHERE cid = ?1", cids)
}

fn removed(tx: &Transaction<'_>, sql: &str, cids: &[Cid]) -> rusqlite::Result<()> {
    let mut done = tx.prepare_cached(sql)?;
    for cid in cids {
        done.execute([key(cid)])?;
    }
    tx.execute("DELETE FROM removals WHERE file = 0 AND copy = 0", [])?;
    Ok(())
}

/// Notes that an object's file, and its copy if there may be one, are to be removed.
pub(crate) fn remove(tx: &Transaction<'_>, cid: &Cid, copy: bool) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO removals (cid, file, copy) VALUES (?1, 1, ?2)
         ON CONFLICT (cid) DO UPDATE SET file = 1, copy = max(copy, excluded.copy)",
    )?
    .execute((key(cid), copy))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        drop(Meta::open(&path).unwrap());
        let later = MIGRATIONS.len() as i64 + 1;
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", later)
            .unwrap();
        assert!(matches!(Meta::open(&path), Err(Error::Newer { found, .. }) if found == later));
    }

    #[test]
    fn commits_are_synced_and_readers_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Meta::open(&dir.path().join("meta.db")).unwrap();
        let pragma = |tx: &Connection, name| -> String {
            tx.query_row(&format!("PRAGMA {name}"), [], |row| {
                row.get_ref(0).map(|v| match v {
                    rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                    other => other.as_str().unwrap_or("?").to_owned(),
                })
            })
            .unwrap()
        };
        meta.write(|tx| {
            assert_eq!(pragma(tx, "synchronous"), "2");
            assert_eq!(pragma(tx, "foreign_keys"), "1");
            assert_eq!(pragma(tx, "journal_mode"), "wal");
            Ok(())
        })
        .unwrap();
        assert!(meta.read(|c| c.execute("DELETE FROM objects", [])).is_err());
    }
}
