//! The tables, and how an older file becomes a newer one.
//!
//! One SQL text per version; the database counts how many have run. Types are those that
//! SQLite and PostgreSQL share (TEXT, BIGINT, DOUBLE PRECISION); times are milliseconds since
//! 1970. States are never stored: they are read off the columns.

use crate::sql::Database;
use crate::{Error, Result};

/// Version n is reached by running the first n texts.
const MIGRATIONS: &[&str] = &[
    "
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
",
    "
    -- What is there of a stream is what the store has pinned of it. These say how far that is.
    DROP TABLE segments;
    DROP TABLE rungs;
    CREATE TABLE rungs (
        asset TEXT NOT NULL REFERENCES streams (asset) ON DELETE CASCADE,
        name TEXT NOT NULL,
        position BIGINT NOT NULL,
        facts TEXT NOT NULL,
        segments BIGINT NOT NULL DEFAULT 0,
        bytes BIGINT NOT NULL DEFAULT 0,
        duration DOUBLE PRECISION NOT NULL DEFAULT 0,
        PRIMARY KEY (asset, name)
    );
",
    "
    -- A row means: a stream of this live source is wanted. ending: it was told to end and to stay;
    -- ended: it did, or its source came to its end.
    CREATE TABLE lives (
        name TEXT PRIMARY KEY,
        created BIGINT NOT NULL,
        facts TEXT NOT NULL,
        cancelled BIGINT NOT NULL DEFAULT 0,
        ending BIGINT NOT NULL DEFAULT 0,
        ended BIGINT
    );
",
    "
    -- Who may do what. hash: SHA-256 of a secret that only its holder has. used: within a minute.
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        board TEXT,
        created BIGINT NOT NULL,
        used BIGINT
    );

    -- A browser that signed in with a token; its cookie is the secret.
    CREATE TABLE sessions (
        hash TEXT PRIMARY KEY,
        token TEXT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
        created BIGINT NOT NULL,
        expires BIGINT NOT NULL
    );

    -- A device that waits for a token (RFC 8628). code: what a person types. pause: milliseconds
    -- between two questions. granted: null until a person answered.
    CREATE TABLE devices (
        hash TEXT PRIMARY KEY,
        code TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        board TEXT,
        address TEXT NOT NULL,
        created BIGINT NOT NULL,
        expires BIGINT NOT NULL,
        pause BIGINT NOT NULL,
        polled BIGINT,
        granted BIGINT
    );
",
    "
    -- A board kind that variants are kept ready for. policy: null for what the server does by default.
    CREATE TABLE boards (
        id TEXT PRIMARY KEY,
        policy TEXT,
        since BIGINT NOT NULL
    );

    -- priority: higher is rendered first. paused: nothing is rendered of it.
    ALTER TABLE assets ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE assets ADD COLUMN paused BIGINT NOT NULL DEFAULT 0;
    DROP INDEX assets_by_time;
    CREATE INDEX assets_by_time ON assets (created DESC, id);
    CREATE INDEX assets_to_look_at ON assets (created) WHERE probe IS NULL;
    CREATE INDEX assets_deleted ON assets (deleted) WHERE deleted = 1;

    -- What is to be played in an original's place. key: a name of spec, which is everything that
    -- decides the result. cid: it is there, pinned. starts: workers begun on it that came to no end.
    CREATE TABLE variants (
        asset TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        spec TEXT NOT NULL,
        wished BIGINT NOT NULL,
        starts BIGINT NOT NULL DEFAULT 0,
        cancelled BIGINT NOT NULL DEFAULT 0,
        cid TEXT,
        size BIGINT,
        probe TEXT,
        how TEXT,
        finished BIGINT,
        error TEXT,
        log TEXT,
        PRIMARY KEY (asset, key)
    );
    CREATE INDEX variants_missing ON variants (wished) WHERE cid IS NULL;

    -- Which variant a board wants of an asset; fallback: what it plays until that is there.
    CREATE TABLE wishes (
        asset TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
        board TEXT NOT NULL,
        key TEXT NOT NULL,
        fallback TEXT,
        PRIMARY KEY (asset, board)
    );

    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
",
    "
    -- An upload whose bytes the server fetches. validator: ETag or date of what came so far. error:
    -- it is not tried any more.
    CREATE TABLE remotes (
        upload TEXT PRIMARY KEY REFERENCES uploads (id) ON DELETE CASCADE,
        url TEXT NOT NULL,
        validator TEXT,
        tries BIGINT NOT NULL DEFAULT 0,
        error TEXT
    );

    -- What screens play. facts: the items in their order, as the server writes them.
    CREATE TABLE playlists (
        name TEXT PRIMARY KEY,
        version BIGINT NOT NULL,
        facts TEXT NOT NULL
    );
",
    "
    -- home: the server that has it, by the name of its store; empty where a catalog has one server.
    -- shared: the other servers can read the original.
    ALTER TABLE assets ADD COLUMN home TEXT NOT NULL DEFAULT '';
    ALTER TABLE assets ADD COLUMN shared BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE uploads ADD COLUMN home TEXT NOT NULL DEFAULT '';
    ALTER TABLE lives ADD COLUMN home TEXT NOT NULL DEFAULT '';
    ALTER TABLE variants ADD COLUMN home TEXT NOT NULL DEFAULT '';
",
];

/// Runs the texts that the database has not seen, each in its own transaction. `place` is what the
/// database is called.
pub(crate) fn migrate(database: &Database, place: &str) -> Result<()> {
    let wrap = |source| Error::Open {
        place: place.to_owned(),
        source,
    };
    let known = MIGRATIONS.len() as i64;
    loop {
        let found = database
            .write(|transaction| {
                let found = transaction.version()?;
                let text = usize::try_from(found).ok().and_then(|n| MIGRATIONS.get(n));
                if let Some(text) = text {
                    transaction.migrate(text, found + 1)?;
                }
                Ok(found)
            })
            .map_err(wrap)?;
        if found > known {
            return Err(Error::TooNew {
                place: place.to_owned(),
                found,
                known,
            });
        }
        if found == known {
            return Ok(());
        }
    }
}
