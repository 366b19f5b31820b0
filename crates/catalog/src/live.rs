//! Streams of live sources. The row says that one is wanted and by which name; what came of it is
//! in the store under that name. A live source is its server's alone: no other knows of it.

use crate::sql::{Row, Sql, params};

use crate::{Catalog, Result, WorkKind};

/// A live stream as it stands.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its name, in every address of it.
    pub name: String,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// Where it comes from and how it is made, in the server's own JSON.
    pub facts: String,
    /// Its removal was asked for.
    pub cancelled: bool,
    /// It was told to end and to stay.
    pub ending: bool,
    /// When it came to its end, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
    /// A worker holds a lease on it now.
    pub leased: bool,
}

/// Where a live stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveState {
    /// Wanted, nobody works on it.
    Waiting,
    /// A worker makes it.
    Running,
    /// It came to its end and can be watched as a whole.
    Ended,
    /// It is being removed.
    Cancelled,
}

impl Live {
    /// Where the stream stands.
    pub fn state(&self) -> LiveState {
        match self {
            Self {
                cancelled: true, ..
            } => LiveState::Cancelled,
            Self {
                ended_ms: Some(_), ..
            } => LiveState::Ended,
            Self { leased: true, .. } => LiveState::Running,
            _ => LiveState::Waiting,
        }
    }
}

const SELECT: &str = "SELECT s.name, s.created, s.facts, s.cancelled, s.ending, s.ended,
    EXISTS (SELECT 1 FROM leases l WHERE l.work = 'live:' || s.name AND l.until > ?1)
    FROM lives s WHERE s.home = ?2";

fn from_row(row: &Row<'_>) -> Sql<Live> {
    Ok(Live {
        name: row.get(0)?,
        created_ms: row.get(1)?,
        facts: row.get(2)?,
        cancelled: row.get::<i64>(3)? != 0,
        ending: row.get::<i64>(4)? != 0,
        ended_ms: row.get(5)?,
        leased: row.get(6)?,
    })
}

impl Catalog {
    /// Asks for a stream of a live source. Asking again in the same words changes nothing. False when
    /// the name is another stream's, or one's that is being removed.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn want_live(&self, name: &str, facts: &str, now_ms: i64) -> Result<bool> {
        self.write("ask for a live stream", |transaction| {
            transaction.execute(
                "INSERT INTO lives (name, created, facts, home) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO NOTHING",
                params![name, now_ms, facts, self.home],
            )?;
            transaction.one(
                "SELECT EXISTS (SELECT 1 FROM lives
                                WHERE name = ?1 AND facts = ?2 AND cancelled = 0 AND home = ?3)",
                params![name, facts, self.home],
                |row| row.get(0),
            )
        })
    }

    /// The live stream called `name`.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn live(&self, name: &str, now_ms: i64) -> Result<Option<Live>> {
        self.read("read a live stream", |transaction| {
            transaction.row(
                &format!("{SELECT} AND s.name = ?3"),
                params![now_ms, self.home, name],
                from_row,
            )
        })
    }

    /// All live streams, newest first.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn lives(&self, now_ms: i64) -> Result<Vec<Live>> {
        self.read("list the live streams", |transaction| {
            transaction.rows(
                &format!("{SELECT} ORDER BY s.created DESC, s.name"),
                params![now_ms, self.home],
                from_row,
            )
        })
    }

    /// Tells a live stream to end and to stay. False when there is none that could.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn end_live(&self, name: &str) -> Result<bool> {
        self.write("end a live stream", |transaction| {
            let changed = transaction.execute(
                "UPDATE lives SET ending = 1 WHERE name = ?1 AND cancelled = 0 AND home = ?2",
                params![name, self.home],
            )?;
            Ok(changed > 0)
        })
    }

    /// Asks for a live stream's removal. False when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn cancel_live(&self, name: &str) -> Result<bool> {
        self.write("cancel a live stream", |transaction| {
            let changed = transaction.execute(
                "UPDATE lives SET cancelled = 1 WHERE name = ?1 AND home = ?2",
                params![name, self.home],
            )?;
            Ok(changed > 0)
        })
    }

    /// Writes that a live stream came to its end.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn finish_live(&self, name: &str, now_ms: i64) -> Result<()> {
        self.write("finish a live stream", |transaction| {
            transaction.execute(
                "UPDATE lives SET ended = ?2 WHERE name = ?1",
                params![name, now_ms],
            )?;
            Ok(())
        })
    }

    /// Drops a cancelled live stream's row. Called last, when nothing hangs on it any more.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn forget_live(&self, name: &str) -> Result<()> {
        self.write("forget a live stream", |transaction| {
            transaction.execute(
                "DELETE FROM lives WHERE name = ?1 AND cancelled = 1",
                params![name],
            )?;
            transaction.execute(
                "DELETE FROM leases WHERE work = ?1",
                params![WorkKind::Live.lease_name(name)],
            )?;
            Ok(())
        })
    }
}
