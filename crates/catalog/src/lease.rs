//! Work, computed: what is wanted and not there, given out under leases.
//!
//! A lease is a row with a holder and an end. Who holds it works; when the holder dies the end
//! passes and somebody else may take the work. The failed have a message in their row and are
//! not given out again until asked for.

use crate::sql::{Sql, Transaction, params};

use crate::{Catalog, Result, variant};

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkKind {
    /// Look at what is in the file.
    Probe,
    /// Take a picture out of it.
    Thumbnail,
    /// Cut its stream.
    Stream,
    /// Make the stream of a live source; the name stands where others have an asset.
    Live,
    /// Make a variant; it has several of an asset.
    Render,
}

/// Work that may be asked for together. Short work has its own lane, so that a new upload's
/// verdicts do not wait behind an hour of encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Probes and thumbnails: seconds.
    Quick,
    /// Streams: minutes to hours.
    Long,
    /// Live sources: as long as they go on, so each has somebody of its own.
    Live,
    /// Variants: minutes to hours, and with pauses between them.
    Render,
}

/// One piece of work that its holder now has a lease on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Work {
    /// What is to be done.
    pub kind: WorkKind,
    /// On which asset.
    pub asset: String,
    /// The variant's key, where one is made.
    pub variant: Option<String>,
}

impl Work {
    /// What tells it from other work of its kind: the asset, and the variant after a dot.
    pub fn name(&self) -> String {
        match &self.variant {
            Some(key) => format!("{}.{key}", self.asset),
            None => self.asset.clone(),
        }
    }

    fn lease_name(&self) -> String {
        self.kind.lease_name(&self.name())
    }
}

impl WorkKind {
    /// The name of the lease on this kind of work on what is called so.
    pub fn lease_name(self, name: &str) -> String {
        let kind = match self {
            Self::Probe => "probe",
            Self::Thumbnail => "thumbnail",
            Self::Stream => "stream",
            Self::Live => "live",
            Self::Render => "render",
        };
        format!("{kind}:{name}")
    }

    /// What is most urgent of this and has no live lease.
    fn most_urgent(
        self,
        catalog: &Catalog,
        transaction: &Transaction<'_>,
        now_ms: i64,
    ) -> Sql<Option<Work>> {
        let work = |asset, variant| Work {
            kind: self,
            asset,
            variant,
        };
        let Some((wanted, table)) = self.wanted() else {
            let urgent = variant::most_urgent(catalog, transaction, now_ms)?;
            return Ok(urgent.map(|(asset, key)| work(asset, Some(key))));
        };
        let wanted = format!("{wanted}{}", transaction.claiming(table));
        let asset = transaction.row(&wanted, params![now_ms, catalog.home], |row| row.get(0))?;
        Ok(asset.map(|asset| work(asset, None)))
    }

    /// The oldest asset of this server (?2) that wants this and has no live lease (?1: now), of work
    /// that an asset has one of; and the table whose row is claimed.
    fn wanted(self) -> Option<(&'static str, &'static str)> {
        let sql = match self {
            Self::Render => return None,
            Self::Probe => {
                "SELECT a.id FROM assets a
                 WHERE a.home = ?2 AND a.deleted = 0 AND a.probe IS NULL AND a.probe_error IS NULL
                   AND NOT EXISTS (SELECT 1 FROM leases l
                                   WHERE l.work = 'probe:' || a.id AND l.until > ?1)
                 ORDER BY a.created, a.id LIMIT 1"
            }
            Self::Thumbnail => {
                "SELECT a.id FROM assets a
                 WHERE a.home = ?2 AND a.deleted = 0 AND a.probe IS NOT NULL AND a.probe_error IS NULL
                   AND a.thumbnail IS NULL AND a.thumbnail_error IS NULL
                   AND NOT EXISTS (SELECT 1 FROM leases l
                                   WHERE l.work = 'thumbnail:' || a.id AND l.until > ?1)
                 ORDER BY a.created, a.id LIMIT 1"
            }
            Self::Stream => {
                "SELECT a.id FROM streams s JOIN assets a ON a.id = s.asset
                 WHERE a.home = ?2 AND a.deleted = 0 AND a.probe IS NOT NULL AND a.probe_error IS NULL
                   AND s.cancelled = 0 AND s.finished IS NULL AND s.error IS NULL
                   AND NOT EXISTS (SELECT 1 FROM leases l
                                   WHERE l.work = 'stream:' || a.id AND l.until > ?1)
                 ORDER BY s.created, a.id LIMIT 1"
            }
            Self::Live => {
                "SELECT s.name FROM lives s
                 WHERE s.home = ?2 AND s.cancelled = 0 AND s.ended IS NULL
                   AND NOT EXISTS (SELECT 1 FROM leases l
                                   WHERE l.work = 'live:' || s.name AND l.until > ?1)
                 ORDER BY s.created, s.name LIMIT 1"
            }
        };
        Some((sql, if self == Self::Live { "s" } else { "a" }))
    }
}

impl Lane {
    /// What the lane takes, most urgent first.
    fn kinds(self) -> &'static [WorkKind] {
        match self {
            Self::Quick => &[WorkKind::Probe, WorkKind::Thumbnail],
            Self::Long => &[WorkKind::Stream],
            Self::Live => &[WorkKind::Live],
            Self::Render => &[WorkKind::Render],
        }
    }
}

/// Takes the most urgent work of a kind. What another server took since the look at what is wanted
/// has its lease by now, and the next look passes it over.
fn take(
    catalog: &Catalog,
    transaction: &Transaction<'_>,
    kind: WorkKind,
    holder: &str,
    now_ms: i64,
    until_ms: i64,
) -> Sql<Option<Work>> {
    let work = loop {
        let Some(work) = kind.most_urgent(catalog, transaction, now_ms)? else {
            return Ok(None);
        };
        let taken = transaction.execute(
            "INSERT INTO leases (work, holder, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (work) DO UPDATE SET holder = excluded.holder, until = excluded.until
             WHERE leases.until <= ?4",
            params![work.lease_name(), holder, until_ms, now_ms],
        )?;
        if taken > 0 {
            break work;
        }
    };
    store::fault::point("lease-rows");
    if let Some(key) = &work.variant {
        variant::start(transaction, &work.asset, key)?;
    }
    Ok(Some(work))
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
        self.work("claim work", |transaction| {
            for &kind in lane.kinds() {
                let work = take(self, transaction, kind, holder, now_ms, until_ms)?;
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
        self.work("renew a lease", |transaction| {
            let changed = transaction.execute(
                "UPDATE leases SET until = ?3 WHERE work = ?1 AND holder = ?2",
                params![work.lease_name(), holder, until_ms],
            )?;
            Ok(changed > 0)
        })
    }

    /// Gives a lease that `from` has just taken to `to`, who is at that work already: its lease ran
    /// out without its knowing, as while the machine slept, and nobody else has taken it.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn hand_over(&self, work: &Work, from: &str, to: &str) -> Result<()> {
        self.work("hand a lease over", |transaction| {
            if let Some(key) = &work.variant {
                variant::unstart(transaction, &work.asset, key)?;
            }
            transaction.execute(
                "UPDATE leases SET holder = ?3 WHERE work = ?1 AND holder = ?2",
                params![work.lease_name(), from, to],
            )?;
            Ok(())
        })
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn release(&self, work: &Work, holder: &str) -> Result<()> {
        self.work("release a lease", |transaction| {
            transaction.execute(
                "DELETE FROM leases WHERE work = ?1 AND holder = ?2",
                params![work.lease_name(), holder],
            )?;
            Ok(())
        })
    }

    /// Ends every lease of this server; where a catalog has one, that is every lease. Only for a
    /// process that knows that it is alone with its data folder, as the one holding its lock does:
    /// then the holders are dead, and waiting for the end is waste.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn end_leases(&self) -> Result<usize> {
        self.write("end the leases", |transaction| {
            transaction.execute(
                "DELETE FROM leases WHERE substr(holder, 1, length(?1)) = ?1",
                params![self.home],
            )
        })
    }

    /// What a holder of leases is called, who is `name` among those of this server.
    pub fn holder(&self, name: &str) -> String {
        format!("{}/{name}", self.home)
    }
}
