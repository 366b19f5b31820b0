//! Collection of objects that nothing holds.
//!
//! Rows go first, in one transaction per batch, then the files: a crash in between leaves files
//! without rows, which the next start sweeps. Each file is unlinked inside the write lock after a
//! last look that its row has not come back, so a put of the same content at that moment keeps
//! its file. Readers that have the file open keep reading it.

use std::time::{Duration, SystemTime};

use crate::{Error, Store, meta};

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

impl Store {
    /// Removes the objects that no pin and no name holds, and that for at least `grace` nobody
    /// put or let go of. The grace covers a put whose pin is still to come and readers of what was
    /// just unpinned; it should exceed a playlist's window by a minute.
    pub fn collect(&self, grace: Duration) -> Result<Collected, Error> {
        let before = SystemTime::now().checked_sub(grace).map_or(0, meta::millis);
        let mut collected = Collected::default();
        loop {
            let batch = self.forget(before)?;
            for object in &batch {
                self.meta().locked(|c| {
                    let back = meta::object(c, &object.cid).map_err(|e| self.meta().error(e))?;
                    match back {
                        Some(_) => Ok(()),
                        None => self.disk().remove(&object.cid),
                    }
                })?;
                collected.objects += 1;
                collected.bytes += object.size;
            }
            if batch.len() < BATCH {
                return Ok(collected);
            }
        }
    }

    fn forget(&self, before: i64) -> Result<Vec<meta::ObjectRow>, Error> {
        self.meta().write(|tx| {
            tx.prepare_cached(
                "DELETE FROM objects WHERE id IN (
                     SELECT id FROM objects o WHERE touched <= ?1
                     AND NOT EXISTS (SELECT 1 FROM pins WHERE object = o.id)
                     AND NOT EXISTS (SELECT 1 FROM versions WHERE object = o.id)
                     LIMIT ?2)
                 RETURNING id, cid, size",
            )
            .and_then(|mut statement| {
                statement
                    .query_map((before, BATCH as i64), meta::object_row)?
                    .collect()
            })
            .map_err(|e| self.meta().error(e))
        })
    }
}
