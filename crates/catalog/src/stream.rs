//! Streams wanted of assets, and how far their rungs are.
//!
//! Which segments are there is what the store has pinned; the rows here are for those who look at
//! many assets at once, and are written anew from what is pinned whenever a stream is taken up.

use crate::sql::{Sql, Transaction, params};

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
    /// How many segments are there.
    pub segments: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Their duration in seconds.
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

pub(crate) fn of(transaction: &Transaction<'_>, asset: &str, now_ms: i64) -> Sql<Option<Stream>> {
    let lease = WorkKind::Stream.lease_name(asset);
    let stream = transaction.row(
        "SELECT plan, cancelled, finished, error, published,
                    EXISTS (SELECT 1 FROM leases WHERE work = ?2 AND until > ?3)
             FROM streams WHERE asset = ?1",
        params![asset, lease, now_ms],
        |row| {
            Ok(Stream {
                plan: row.get(0)?,
                cancelled: row.get::<i64>(1)? != 0,
                finished_ms: row.get(2)?,
                error: row.get(3)?,
                published: row.get::<i64>(4)? != 0,
                leased: row.get(5)?,
                rungs: Vec::new(),
            })
        },
    )?;
    let Some(mut stream) = stream else {
        return Ok(None);
    };
    stream.rungs = transaction.rows(
        "SELECT name, facts, segments, bytes, duration FROM rungs
             WHERE asset = ?1 ORDER BY position",
        params![asset],
        |row| {
            Ok(Rung {
                name: row.get(0)?,
                facts: row.get(1)?,
                segments: row.get::<i64>(2)?.unsigned_abs(),
                bytes: row.get::<i64>(3)?.unsigned_abs(),
                duration_s: row.get(4)?,
            })
        },
    )?;
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
                params![asset],
            )?;
            if retried > 0 {
                return Ok(StreamAsked::Retried);
            }
            let cancelled: i64 = transaction.one(
                "SELECT cancelled FROM streams WHERE asset = ?1",
                params![asset],
                |row| row.get(0),
            )?;
            Ok(if cancelled == 0 {
                StreamAsked::Already
            } else {
                StreamAsked::Leaving
            })
        })
    }

    /// Forgets that a stream is wanted of an asset in which there is nothing to stream.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn unwant_stream(&self, asset: &str) -> Result<()> {
        self.write("forget that a stream is wanted", |transaction| {
            transaction.execute("DELETE FROM streams WHERE asset = ?1", params![asset])?;
            Ok(())
        })
    }

    /// Asks for the stream's removal: from here on nobody works on it and nobody is shown it.
    /// False when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn cancel_stream(&self, asset: &str) -> Result<bool> {
        self.write("cancel a stream", |transaction| {
            let changed = transaction.execute(
                "UPDATE streams SET cancelled = 1 WHERE asset = ?1",
                params![asset],
            )?;
            Ok(changed > 0)
        })
    }

    /// Assets of this server whose stream's removal was asked for and not finished.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn cancelled_streams(&self) -> Result<Vec<String>> {
        self.read("list what is cancelled", |transaction| {
            transaction.rows(
                "SELECT s.asset FROM streams s JOIN assets a ON a.id = s.asset
                 WHERE s.cancelled = 1 AND a.home = ?1",
                params![self.home],
                |row| row.get(0),
            )
        })
    }

    /// Drops the rows of a cancelled stream of this server. Called last, when nothing hangs on the
    /// rows any more; another server does it for its own.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn forget_stream(&self, asset: &str) -> Result<()> {
        self.write("forget a stream", |transaction| {
            transaction.execute(
                "DELETE FROM streams WHERE asset = ?1 AND cancelled = 1
                   AND EXISTS (SELECT 1 FROM assets a WHERE a.id = streams.asset AND a.home = ?2)",
                params![asset, self.home],
            )?;
            Ok(())
        })
    }

    /// Writes the plan of a run and its rungs (name, facts), best first. The same plan as before
    /// keeps what is there; another one begins with nothing.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_plan(&self, asset: &str, plan: &str, rungs: &[(String, String)]) -> Result<()> {
        self.write("write a stream's plan", |transaction| {
            let same = transaction.execute("UPDATE streams SET error = NULL WHERE asset = ?1 AND plan = ?2", params![asset, plan])?;
            if same > 0 {
                return Ok(());
            }
            transaction.execute("DELETE FROM rungs WHERE asset = ?1", params![asset])?;
            transaction.execute("UPDATE streams SET plan = ?2, error = NULL, finished = NULL, published = 0 WHERE asset = ?1", params![asset, plan])?;
            for (position, (name, facts)) in rungs.iter().enumerate() {
                transaction.execute("INSERT INTO rungs (asset, name, position, facts) VALUES (?1, ?2, ?3, ?4)", params![asset, name, position as i64, facts])?;
            }
            Ok(())
        })
    }

    /// Writes how far a rung is: segments that its playlist names, their size and their duration.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_rung(
        &self,
        asset: &str,
        rung: &str,
        segments: u64,
        bytes: u64,
        duration_s: f64,
    ) -> Result<()> {
        self.write("write how far a rung is", |transaction| {
            transaction.execute(
                "UPDATE rungs SET segments = ?3, bytes = ?4, duration = ?5
                     WHERE asset = ?1 AND name = ?2",
                params![asset, rung, segments as i64, bytes as i64, duration_s],
            )?;
            Ok(())
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
                params![asset],
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
