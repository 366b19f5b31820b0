//! Collection of objects that nothing holds, and leases that keep it off.
//!
//! Rows go first, in one transaction per batch that also notes the files to be removed, then the
//! files: after a crash in between, the next start does it. Each file is unlinked inside the write
//! lock after a last look that its row has not come back, so a put of the same content at that
//! moment keeps its file. Readers that have the file open keep reading it. A backend's copies are removed later,
//! by the mirror.
//!
//! A [`Lease`] is a locked file in `tmp/` that says since when. What was put or let go of since
//! then stays; so it serves an import whose root comes last as well as a reader of what was held
//! when it came. The lock dies with its process, and so does the lease.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension};

use crate::{Error, Store, disk::Draft, fault, meta};

/// Objects per transaction, so that putters never wait long.
const BATCH: usize = 256;

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Objects removed.
    pub objects: u64,
    /// Bytes of content they had.
    pub bytes: u64,
}

/// Whether nothing needs the object `o`: no pin, no name, and no link to it or to a block in it. A
/// link goes with the node that has it, so a graph goes from its root down.
const UNHELD: &str = "
    NOT EXISTS (SELECT 1 FROM pins WHERE object = o.id)
    AND NOT EXISTS (SELECT 1 FROM versions WHERE object = o.id)
    AND NOT EXISTS (SELECT 1 FROM links WHERE child = o.cid)
    AND NOT EXISTS (SELECT 1 FROM blocks b JOIN links l ON l.child = b.cid WHERE b.object = o.id)";

/// Keeps what is put or let go of from now on until it is dropped.
#[derive(Debug)]
pub struct Lease {
    _file: Draft,
}

impl Store {
    /// A lease from now on. Take it before the first block of something larger is put, or before
    /// looking for what is to be read.
    pub fn lease(&self) -> Result<Lease, Error> {
        // Inside the write lock, because what lets go of something notes the time and commits after:
        // under way now, it would note an earlier time than the lease has for what is there still.
        self.meta().locked(|_| {
            let since = meta::millis(SystemTime::now());
            self.disk().lease(since).map(|file| Lease { _file: file })
        })
    }

    /// Removes the objects that nothing holds, and that for at least `grace` nobody put or let go
    /// of. The grace covers a put whose pin is still to come and readers of what was just
    /// unpinned; it should exceed a playlist's window by a minute.
    pub fn collect(&self, grace: Duration) -> Result<Collected, Error> {
        let before = before(grace);
        let mut collected = Collected::default();
        loop {
            let pass = self.collect_pass(before, &mut collected)?;
            // What went may have been all that held others.
            if pass == 0 {
                self.changed();
                return Ok(collected);
            }
        }
    }

    /// What [`Store::collect`] would remove. Writers wait meanwhile: it is done and taken back.
    pub fn collectable(&self, grace: Duration) -> Result<Collected, Error> {
        let before = before(grace);
        let mut collected = Collected::default();
        self.meta().locked(|c| {
            let leased = self.disk().oldest_lease()?;
            let fail = |e| self.meta().error(e);
            let (mut last, mut found) = (0, false);
            loop {
                let batch = candidates(c, before, last).map_err(fail)?;
                let gone = forget(c, before, leased, &batch).map_err(fail)?;
                for object in &gone {
                    collected.add(object);
                }
                found |= !gone.is_empty();
                match batch.last() {
                    Some(&end) => last = end,
                    None if found => (last, found) = (0, false),
                    None => return Ok(()),
                }
            }
        })?;
        Ok(collected)
    }

    /// Looks at each object once, outside the write lock, and removes what can go.
    fn collect_pass(&self, before: i64, collected: &mut Collected) -> Result<u64, Error> {
        let (mut last, start) = (0, collected.objects);
        loop {
            let batch = self.meta().read(|c| candidates(c, before, last))?;
            let Some(&end) = batch.last() else {
                return Ok(collected.objects - start);
            };
            last = end;
            let gone = self.forget(before, &batch)?;
            for object in &gone {
                collected.add(object);
            }
            fault::point("sweep-forgotten");
            let files = gone.iter().map(|object| object.cid);
            self.remove_files(&files.collect::<Vec<_>>())?;
        }
    }

    /// Forgets those that can still go and queues the removal of their copies. Leases are looked
    /// for inside the write lock: what is put or let go of under one that is not seen comes later.
    fn forget(&self, before: i64, batch: &[i64]) -> Result<Vec<meta::ObjectRow>, Error> {
        self.meta().write(|tx| {
            let leased = self.disk().oldest_lease()?;
            let gone = || -> rusqlite::Result<_> {
                let gone = forget(tx, before, leased, batch)?;
                for object in &gone {
                    meta::remove(tx, &object.cid, object.copied)?;
                }
                Ok(gone)
            };
            gone().map_err(|e| self.meta().error(e))
        })
    }
}

impl Collected {
    fn add(&mut self, object: &meta::ObjectRow) {
        self.objects += 1;
        self.bytes += object.size;
    }
}

fn before(grace: Duration) -> i64 {
    SystemTime::now().checked_sub(grace).map_or(0, meta::millis)
}

/// The next objects, by id, that could go.
fn candidates(c: &Connection, before: i64, after: i64) -> rusqlite::Result<Vec<i64>> {
    c.prepare_cached(&format!(
        "SELECT id FROM objects o WHERE id > ?1 AND touched <= ?2 AND {UNHELD}
         ORDER BY id LIMIT {BATCH}"
    ))?
    .query_map((after, before), |row| row.get(0))?
    .collect()
}

/// Deletes the rows of those that can go.
fn forget(
    c: &Connection,
    before: i64,
    leased: Option<i64>,
    batch: &[i64],
) -> rusqlite::Result<Vec<meta::ObjectRow>> {
    let mut delete = c.prepare_cached(&format!(
        "DELETE FROM objects AS o WHERE id = ?1 AND touched <= ?2 AND touched < ?3 AND {UNHELD}
         RETURNING id, cid, size, node, copied, here"
    ))?;
    let mut gone = Vec::new();
    for id in batch {
        let args = (id, before, leased.unwrap_or(i64::MAX));
        gone.extend(delete.query_row(args, meta::object_row).optional()?);
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::PutOptions;

    /// A pin that goes while a lease begins: found under the lease, or gone for everybody.
    #[test]
    fn what_is_let_go_of_while_a_lease_begins_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let options = PutOptions {
            pin: Some("asset/1"),
            ..PutOptions::default()
        };
        store.put_bytes(b"held until now", &options).unwrap();
        let mut other = Connection::open(dir.path().join("meta.db")).unwrap();
        let leaving = other
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .unwrap();
        leaving
            .execute_batch(&format!(
                "UPDATE objects SET touched = {}; DELETE FROM pins",
                meta::millis(SystemTime::now())
            ))
            .unwrap();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                // Later than the row says, and before it is committed.
                thread::sleep(Duration::from_millis(5));
                let lease = store.lease().unwrap();
                (store.pins("").unwrap(), lease)
            });
            thread::sleep(Duration::from_millis(50));
            leaving.commit().unwrap();
            let (found, lease) = reader.join().unwrap();
            store.collect(Duration::ZERO).unwrap();
            for pin in found {
                let object = store.get(&pin.cid).unwrap();
                assert!(object.is_some(), "{} was found under a lease", pin.name);
            }
            drop(lease);
        });
    }
}
