//! Streams wanted of assets, their rungs, and the segments that are there.
//!
//! A stream is finished when its last segment of every rung is a row; until then its rows say
//! exactly what a worker need not make again.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::{Catalog, Result, WorkKind};

/// A wanted stream as it stands.
#[derive(Debug, Clone)]
pub struct Stream {
    /// What the rungs were cut from and by, in the ladder's own JSON; `None` before the first run.
    pub plan: Option<String>,
    /// Its removal was asked for.
    pub cancelled: bool,
    /// The master playlist is out: a player can start.
    pub published: bool,
    /// A worker holds a lease on it now.
    pub leased: bool,
    /// When the last segment came, in milliseconds since 1970.
    pub finished_ms: Option<i64>,
    /// Why the last run ended early.
    pub error: Option<String>,
    /// The rungs, best first.
    pub rungs: Vec<Rung>,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// Wanted, nobody works on it.
    Waiting,
    /// A worker makes it.
    Running,
    /// Every segment is there.
    Done,
    /// A run ended early; asking again continues it.
    Failed,
    /// It is being removed.
    Cancelled,
}

/// One rung of a stream.
#[derive(Debug, Clone)]
pub struct Rung {
    /// The rung's name, `720p`.
    pub name: String,
    /// Its facts, in the ladder's own JSON.
    pub facts: String,
    /// Codecs of its segments (RFC 6381); empty before the first.
    pub codecs: String,
    /// CID and size of the initialisation section (CMAF only).
    pub init: Option<(String, u64)>,
    /// How many segments are there.
    pub segments: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Their duration in seconds.
    pub duration_s: f64,
}

/// One stored segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its number in the rung, from 0.
    pub number: u64,
    /// Its CID.
    pub cid: String,
    /// Its size.
    pub bytes: u64,
    /// Start on the stream's clock, in seconds.
    pub start_s: f64,
    /// Measured duration in seconds.
    pub duration_s: f64,
}

/// What asking for a stream changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamAsked {
    /// It was not wanted before.
    New,
    /// It had failed and is tried again.
    Retried,
    /// It is there or on its way.
    Already,
    /// It is being removed; ask again when it is gone.
    Leaving,
}

impl Stream {
    /// Where the stream stands.
    pub fn state(&self) -> StreamState {
        match self {
            Self {
                cancelled: true, ..
            } => StreamState::Cancelled,
            Self {
                finished_ms: Some(_),
                ..
            } => StreamState::Done,
            Self { error: Some(_), .. } => StreamState::Failed,
            Self { leased: true, .. } => StreamState::Running,
            _ => StreamState::Waiting,
        }
    }
}

pub(crate) fn of(
    transaction: &Transaction<'_>,
    asset: &str,
    now_ms: i64,
) -> rusqlite::Result<Option<Stream>> {
    let lease = WorkKind::Stream.lease_name(asset);
    let stream = transaction
        .prepare_cached(
            "SELECT plan, cancelled, finished, error, published,
                    EXISTS (SELECT 1 FROM leases WHERE work = ?2 AND until > ?3)
             FROM streams WHERE asset = ?1",
        )?
        .query_row(params![asset, lease, now_ms], |row| {
            Ok(Stream {
                plan: row.get(0)?,
                cancelled: row.get::<_, i64>(1)? != 0,
                finished_ms: row.get(2)?,
                error: row.get(3)?,
                published: row.get::<_, i64>(4)? != 0,
                leased: row.get(5)?,
                rungs: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut stream) = stream else {
        return Ok(None);
    };
    stream.rungs = transaction
        .prepare_cached(
            "SELECT r.name, r.facts, r.init, r.init_bytes, r.codecs,
                    COUNT(s.number), COALESCE(SUM(s.bytes), 0), COALESCE(SUM(s.duration), 0.0)
             FROM rungs r LEFT JOIN segments s ON s.asset = r.asset AND s.rung = r.name
             WHERE r.asset = ?1
             GROUP BY r.name, r.facts, r.init, r.init_bytes, r.codecs, r.position
             ORDER BY r.position",
        )?
        .query_map([asset], |row| {
            let init: Option<String> = row.get(2)?;
            let init_bytes: Option<i64> = row.get(3)?;
            Ok(Rung {
                name: row.get(0)?,
                facts: row.get(1)?,
                init: init.zip(init_bytes.map(i64::unsigned_abs)),
                codecs: row.get(4)?,
                segments: row.get::<_, i64>(5)?.unsigned_abs(),
                bytes: row.get::<_, i64>(6)?.unsigned_abs(),
                duration_s: row.get(7)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(stream))
}

impl Catalog {
    /// Asks for a stream of the asset, or asks again after a failure.
    ///
    /// # Errors
    /// [`crate::Error::Sql`], also when there is no such asset.
    pub fn want_stream(&self, asset: &str, now_ms: i64) -> Result<StreamAsked> {
        self.write("ask for a stream", |transaction| {
            let made = transaction.execute(
                "INSERT INTO streams (asset, created) VALUES (?1, ?2)
                 ON CONFLICT (asset) DO NOTHING",
                params![asset, now_ms],
            )?;
            if made > 0 {
                return Ok(StreamAsked::New);
            }
            let retried = transaction.execute(
                "UPDATE streams SET error = NULL
                 WHERE asset = ?1 AND error IS NOT NULL AND cancelled = 0",
                [asset],
            )?;
            if retried > 0 {
                return Ok(StreamAsked::Retried);
            }
            let cancelled: i64 = transaction.query_row(
                "SELECT cancelled FROM streams WHERE asset = ?1",
                [asset],
                |row| row.get(0),
            )?;
            Ok(if cancelled == 0 {
                StreamAsked::Already
            } else {
                StreamAsked::Leaving
            })
        })
    }

    /// Asks for the stream's removal: from here on nobody works on it and nobody is shown it.
    /// False when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn cancel_stream(&self, asset: &str) -> Result<bool> {
        self.write("cancel a stream", |transaction| {
            let changed = transaction
                .execute("UPDATE streams SET cancelled = 1 WHERE asset = ?1", [asset])?;
            Ok(changed > 0)
        })
    }

    /// Assets whose stream's removal was asked for and not finished.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn cancelled_streams(&self) -> Result<Vec<String>> {
        self.read("list what is cancelled", |transaction| {
            transaction
                .prepare_cached("SELECT asset FROM streams WHERE cancelled = 1")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Drops a cancelled stream's rows. Called last, when nothing hangs on the rows any more.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn forget_stream(&self, asset: &str) -> Result<()> {
        self.write("forget a stream", |transaction| {
            transaction.execute(
                "DELETE FROM streams WHERE asset = ?1 AND cancelled = 1",
                [asset],
            )?;
            Ok(())
        })
    }

    /// Writes the plan of a run and its rungs (name, facts), best first. The same plan as before
    /// keeps what is there; another plan drops the old rungs and their segments, because
    /// segments of two plans cannot be played as one stream. True when something was dropped.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_plan(&self, asset: &str, plan: &str, rungs: &[(String, String)]) -> Result<bool> {
        self.write("write a stream's plan", |transaction| {
            let same = transaction.execute(
                "UPDATE streams SET error = NULL WHERE asset = ?1 AND plan = ?2",
                params![asset, plan],
            )?;
            if same > 0 {
                return Ok(false);
            }
            let dropped = transaction.execute("DELETE FROM rungs WHERE asset = ?1", [asset])?;
            transaction.execute(
                "UPDATE streams SET plan = ?2, error = NULL, finished = NULL, published = 0 WHERE asset = ?1",
                params![asset, plan],
            )?;
            for (position, (name, facts)) in rungs.iter().enumerate() {
                transaction.execute(
                    "INSERT INTO rungs (asset, name, position, facts) VALUES (?1, ?2, ?3, ?4)",
                    params![asset, name, position as i64, facts],
                )?;
            }
            Ok(dropped > 0)
        })
    }

    /// Writes a rung's initialisation section.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_init(&self, asset: &str, rung: &str, cid: &str, bytes: u64) -> Result<()> {
        self.write("write an initialisation section", |transaction| {
            transaction.execute(
                "UPDATE rungs SET init = ?3, init_bytes = ?4 WHERE asset = ?1 AND name = ?2",
                params![asset, rung, cid, bytes as i64],
            )?;
            Ok(())
        })
    }

    /// Writes that a segment is there. The block must already be stored and pinned.
    ///
    /// # Errors
    /// [`crate::Error::Sql`], also when the rung is not in the plan.
    pub fn add_segment(
        &self,
        asset: &str,
        rung: &str,
        codecs: &str,
        segment: &Segment,
    ) -> Result<()> {
        self.write("write a segment", |transaction| {
            transaction
                .prepare_cached(
                    "UPDATE rungs SET codecs = ?3
                     WHERE asset = ?1 AND name = ?2 AND codecs <> ?3",
                )?
                .execute([asset, rung, codecs])?;
            transaction
                .prepare_cached(
                    "INSERT INTO segments (asset, rung, number, cid, bytes, start, duration)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (asset, rung, number) DO UPDATE SET
                         cid = excluded.cid, bytes = excluded.bytes,
                         start = excluded.start, duration = excluded.duration",
                )?
                .execute(params![
                    asset,
                    rung,
                    segment.number as i64,
                    segment.cid,
                    segment.bytes as i64,
                    segment.start_s,
                    segment.duration_s
                ])?;
            Ok(())
        })
    }

    /// The stored segments of one rung, in order.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn segments(&self, asset: &str, rung: &str) -> Result<Vec<Segment>> {
        self.read("list the segments", |transaction| {
            transaction
                .prepare_cached(
                    "SELECT number, cid, bytes, start, duration FROM segments
                     WHERE asset = ?1 AND rung = ?2 ORDER BY number",
                )?
                .query_map([asset, rung], |row| {
                    Ok(Segment {
                        number: row.get::<_, i64>(0)?.unsigned_abs(),
                        cid: row.get(1)?,
                        bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                        start_s: row.get(3)?,
                        duration_s: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    /// Writes that the master playlist is out.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_published(&self, asset: &str) -> Result<()> {
        self.write("publish a stream", |transaction| {
            transaction.execute(
                "UPDATE streams SET published = 1 WHERE asset = ?1 AND published = 0",
                [asset],
            )?;
            Ok(())
        })
    }

    /// Writes that every segment is there.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn finish_stream(&self, asset: &str, now_ms: i64) -> Result<()> {
        self.write("finish a stream", |transaction| {
            transaction.execute(
                "UPDATE streams SET finished = ?2, error = NULL WHERE asset = ?1",
                params![asset, now_ms],
            )?;
            Ok(())
        })
    }

    /// Writes why the run ended early. The segments stay, so that asking again goes on there.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn fail_stream(&self, asset: &str, error: &str) -> Result<()> {
        self.write("write why a stream failed", |transaction| {
            transaction.execute(
                "UPDATE streams SET error = ?2 WHERE asset = ?1 AND finished IS NULL",
                params![asset, error],
            )?;
            Ok(())
        })
    }
}
