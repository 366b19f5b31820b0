//! Work, computed: what is wanted and not there, given out under leases.
//!
//! A lease is a row with a holder and an end. Who holds it works; when the holder dies the end
//! passes and somebody else may take the work. The failed have a message in their row and are
//! not given out again until asked for.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::{Catalog, Result};

/// A kind of work on one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkKind {
    /// Look at what is in the file.
    Probe,
    /// Take a picture out of it.
    Thumbnail,
    /// Cut its stream.
    Stream,
}

/// Work that may be asked for together. Short work has its own lane, so that a new upload's
/// verdicts do not wait behind an hour of encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Probes and thumbnails: seconds.
    Quick,
    /// Streams: minutes to hours.
    Long,
}

/// One piece of work that its holder now has a lease on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What is to be done.
    pub kind: WorkKind,
    /// On which asset.
    pub asset: String,
}

impl WorkKind {
    /// The name of the lease on this kind of work on `asset`.
    pub fn lease_name(self, asset: &str) -> String {
        let kind = match self {
            Self::Probe => "probe",
            Self::Thumbnail => "thumbnail",
            Self::Stream => "stream",
        };
        format!("{kind}:{asset}")
    }

    /// The oldest asset that wants this and has no live lease (?1: now).
    fn wanted(self) -> &'static str {
        match self {
            Self::Probe => {
                "SELECT a.id FROM assets a
                 WHERE a.deleted = 0 AND a.probe IS NULL AND a.probe_error IS NULL
                   AND NOT EXISTS (SELECT 1 FROM leases l
                                   WHERE l.work = 'probe:' || a.id AND l.until > ?1)
                 ORDER BY a.created, a.id LIMIT 1"
            }
            Self::Thumbnail => {
                "SELECT a.id FROM assets a
                 WHERE a.deleted = 0 AND a.probe IS NOT NULL AND a.probe_error IS NULL
                   AND a.thumbnail IS NULL AND a.thumbnail_error IS NULL
                   AND NOT EXISTS (SELECT 1 FROM leases l
                                   WHERE l.work = 'thumbnail:' || a.id AND l.until > ?1)
                 ORDER BY a.created, a.id LIMIT 1"
            }
            Self::Stream => {
                "SELECT a.id FROM streams s JOIN assets a ON a.id = s.asset
                 WHERE a.deleted = 0 AND a.probe IS NOT NULL AND a.probe_error IS NULL
                   AND s.cancelled = 0 AND s.finished IS NULL AND s.error IS NULL
                   AND NOT EXISTS (SELECT 1 FROM leases l
                                   WHERE l.work = 'stream:' || a.id AND l.until > ?1)
                 ORDER BY s.created, a.id LIMIT 1"
            }
        }
    }
}

impl Lane {
    /// What the lane takes, most urgent first.
    fn kinds(self) -> &'static [WorkKind] {
        match self {
            Self::Quick => &[WorkKind::Probe, WorkKind::Thumbnail],
            Self::Long => &[WorkKind::Stream],
        }
    }
}

fn take(
    transaction: &Transaction<'_>,
    kind: WorkKind,
    holder: &str,
    now_ms: i64,
    until_ms: i64,
) -> rusqlite::Result<Option<Work>> {
    let asset: Option<String> = transaction
        .prepare_cached(kind.wanted())?
        .query_row([now_ms], |row| row.get(0))
        .optional()?;
    let Some(asset) = asset else {
        return Ok(None);
    };
    transaction.execute(
        "INSERT INTO leases (work, holder, until) VALUES (?1, ?2, ?3)
         ON CONFLICT (work) DO UPDATE SET holder = excluded.holder, until = excluded.until",
        params![kind.lease_name(&asset), holder, until_ms],
    )?;
    Ok(Some(Work { kind, asset }))
}

impl Catalog {
    /// Gives `holder` a lease until `until_ms` on the most urgent work of the lane.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn claim(
        &self,
        lane: Lane,
        holder: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Option<Work>> {
        self.write("claim work", |transaction| {
            for &kind in lane.kinds() {
                let work = take(transaction, kind, holder, now_ms, until_ms)?;
                if work.is_some() {
                    return Ok(work);
                }
            }
            Ok(None)
        })
    }

    /// Moves the end of a lease. False when somebody else holds it by now.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn renew(&self, work: &Work, holder: &str, until_ms: i64) -> Result<bool> {
        self.write("renew a lease", |transaction| {
            let changed = transaction.execute(
                "UPDATE leases SET until = ?3 WHERE work = ?1 AND holder = ?2",
                params![work.kind.lease_name(&work.asset), holder, until_ms],
            )?;
            Ok(changed > 0)
        })
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn release(&self, work: &Work, holder: &str) -> Result<()> {
        self.write("release a lease", |transaction| {
            transaction.execute(
                "DELETE FROM leases WHERE work = ?1 AND holder = ?2",
                params![work.kind.lease_name(&work.asset), holder],
            )?;
            Ok(())
        })
    }

    /// Ends every lease. Only for a process that knows that it is alone, as the one holding the
    /// data folder's lock does: then the holders are dead, and waiting for the end is waste.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn end_all_leases(&self) -> Result<usize> {
        self.write("end the leases", |transaction| {
            transaction.execute("DELETE FROM leases", [])
        })
    }
}
