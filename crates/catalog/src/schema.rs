//! The tables, and how an older file becomes a newer one.
//!
//! One SQL text per version; `user_version` counts how many have run. Types are those that
//! SQLite and PostgreSQL share (TEXT, BIGINT, DOUBLE PRECISION); times are milliseconds since
//! 1970. States are never stored: they are read off the columns.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::{Error, Result};

/// Version n is reached by running the first n texts.
const MIGRATIONS: &[&str] = &["
    -- One row per uploaded original. probe: the probe JSON, null until it was looked at.
    -- deleted: removal was asked for; the row goes when nothing hangs on it any more.
    CREATE TABLE assets (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        size BIGINT NOT NULL,
        cid TEXT NOT NULL,
        created BIGINT NOT NULL,
        probe TEXT,
        probe_error TEXT,
        thumbnail TEXT,
        thumbnail_error TEXT,
        deleted BIGINT NOT NULL DEFAULT 0
    );
    CREATE INDEX assets_by_time ON assets (created);

    -- A row means: a stream of this asset is wanted (unless cancelled: then it is being removed).
    -- plan: what the rungs were cut from and by; segments of another plan cannot be joined.
    -- published: the master playlist is out.
    CREATE TABLE streams (
        asset TEXT PRIMARY KEY REFERENCES assets (id) ON DELETE CASCADE,
        created BIGINT NOT NULL,
        cancelled BIGINT NOT NULL DEFAULT 0,
        plan TEXT,
        published BIGINT NOT NULL DEFAULT 0,
        finished BIGINT,
        error TEXT
    );

    CREATE TABLE rungs (
        asset TEXT NOT NULL REFERENCES streams (asset) ON DELETE CASCADE,
        name TEXT NOT NULL,
        position BIGINT NOT NULL,
        facts TEXT NOT NULL,
        codecs TEXT NOT NULL DEFAULT '',
        init TEXT,
        init_bytes BIGINT,
        PRIMARY KEY (asset, name)
    );

    CREATE TABLE segments (
        asset TEXT NOT NULL,
        rung TEXT NOT NULL,
        number BIGINT NOT NULL,
        cid TEXT NOT NULL,
        bytes BIGINT NOT NULL,
        start DOUBLE PRECISION NOT NULL,
        duration DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (asset, rung, number),
        FOREIGN KEY (asset, rung) REFERENCES rungs (asset, name) ON DELETE CASCADE
    );

    -- How far an upload has come is the length of its file. complete: every byte is there;
    -- asset: what became of it.
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        protocol TEXT NOT NULL,
        name TEXT NOT NULL,
        metadata TEXT NOT NULL,
        length BIGINT,
        created BIGINT NOT NULL,
        expires BIGINT NOT NULL,
        complete BIGINT NOT NULL DEFAULT 0,
        asset TEXT
    );

    CREATE TABLE leases (
        work TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        until BIGINT NOT NULL
    );
"];

/// Settings of one connection. FULL makes a commit survive a power cut, not only a crash.
pub(crate) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Rows are few and small; two megabytes of page cache would be most of an idle server.
    connection.pragma_update(None, "cache_size", -256)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Runs the texts that `path` has not seen, each in its own transaction.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let wrap = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let known = MIGRATIONS.len() as i64;
    loop {
        let step = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(wrap)?;
        let found: i64 = step
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(wrap)?;
        if found > known {
            return Err(Error::TooNew {
                path: path.to_owned(),
                found,
                known,
            });
        }
        let Some(text) = usize::try_from(found).ok().and_then(|n| MIGRATIONS.get(n)) else {
            return Ok(());
        };
        step.execute_batch(text).map_err(wrap)?;
        step.pragma_update(None, "user_version", found + 1)
            .map_err(wrap)?;
        step.commit().map_err(wrap)?;
    }
}
