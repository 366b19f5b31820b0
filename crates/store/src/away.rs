//! Content that is not in the folder: read from the backend leaf by leaf, or brought back whole.
//!
//! Every leaf is checked against its CID before anybody sees it. What a range touches is all that
//! is fetched; who needs a file gets the object back into the folder, where it stays until the
//! mirror needs the room.

use bytes::Bytes;
use cid::Cid;
use rusqlite::Connection;

use crate::{
    Error, PutOptions, Store,
    backend::{Failure, Leaf},
    dag,
    meta::{self, Located},
    unixfs::{self, CHUNK, RAW},
};

impl Store {
    /// The bytes of a leaf, from the backend.
    pub(crate) fn read_away(&self, leaf: &Leaf) -> Result<Bytes, Error> {
        let Some(remote) = self.remote() else {
            return Err(self.elsewhere(&leaf.object)?);
        };
        let fail = |failure| remote.error(failure);
        match remote.backend.read(leaf).map_err(fail)? {
            Some(bytes) if unixfs::names(&leaf.cid, &bytes) => Ok(bytes),
            Some(_) => Err(fail(Failure::Refused(format!(
                "what it gives for {} is something else",
                leaf.cid
            )))),
            None => Err(fail(Failure::Refused(format!(
                "{} is not there any more",
                leaf.object
            )))),
        }
    }

    /// Brings an object back into the folder, checked, if it is not there. What its backend loses
    /// from then on is still here.
    pub(crate) fn bring_back(&self, located: &Located) -> Result<(), Error> {
        let object = located.object;
        let leaves = self.leaves(&object, located.object_size)?;
        let bytes = |leaf: &Leaf| self.read_away(leaf);
        if let [leaf] = leaves.as_slice() {
            // A lone leaf may be longer than a chunk of ours, so it is named here and not hashed anew.
            return self.put_own(&object, bytes(leaf)?).map(|_| ());
        }
        let mut writer = self.writer(&PutOptions::default())?;
        for leaf in &leaves {
            writer.add(&bytes(leaf)?)?;
        }
        writer.finish().map(|_| ())
    }

    /// Whether what other stores keep can be read.
    pub fn reads_others(&self) -> bool {
        self.remote()
            .is_some_and(|remote| remote.backend.reads_others())
    }

    /// Takes an object over that another store keeps, checked against its CID. `false` if there is
    /// none. Nothing holds it here: it stays for the grace that [`Store::collect`] is given.
    pub fn take_over(&self, object: &Cid) -> Result<bool, Error> {
        let Some(remote) = self.remote() else {
            return Ok(false);
        };
        let mut writer = self.writer(&PutOptions::default())?;
        let mut failed = None;
        let read = remote.backend.read_other(object, &mut |bytes| {
            writer.add(&bytes).map_err(|error| {
                failed = Some(error);
                Failure::Local("it cannot be kept")
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if !read.map_err(|failure| remote.error(failure))? {
            return Ok(false);
        }
        let stored = writer.finish()?;
        if stored.cid != *object {
            let text = format!("what another store has as {object} is something else");
            return Err(remote.error(Failure::Refused(text)));
        }
        Ok(true)
    }

    /// All leaves of an object that is a file, in order.
    pub(crate) fn leaves(&self, object: &Cid, size: u64) -> Result<Vec<Leaf>, Error> {
        let leaves = self.meta().read(|c| leaves(c, object, size))?;
        leaves.ok_or_else(|| self.damaged(object, "its recorded blocks are not its own"))
    }

    /// The error of an object that is with a backend which is not at hand.
    fn elsewhere(&self, object: &Cid) -> Result<Error, Error> {
        let backend = self.meta().read(meta::backend_name)?;
        Ok(match backend {
            Some(backend) => Error::Elsewhere {
                cid: Box::new(*object),
                backend,
            },
            None => self.damaged(object, "its file is missing"),
        })
    }
}

/// Goes down the recorded nodes level by level. `None` if they do not make up the object.
fn leaves(c: &Connection, object: &Cid, size: u64) -> rusqlite::Result<Option<Vec<Leaf>>> {
    let mut level = vec![*object];
    while level.first().is_some_and(|cid| cid.codec() != RAW) {
        let mut below = Vec::with_capacity(level.len());
        for cid in level {
            let links = meta::node(c, &cid)?.and_then(|node| dag::links(&cid, &node).ok());
            let Some(links) = links else { return Ok(None) };
            below.extend(links);
        }
        level = below;
    }
    let chunk = if level.len() == 1 { size } else { CHUNK as u64 };
    let mut offset = 0;
    let mut leaves = Vec::with_capacity(level.len());
    for cid in level {
        let length = chunk.min(size - offset);
        leaves.push(Leaf {
            object: *object,
            cid,
            offset,
            length,
        });
        offset += length;
    }
    Ok((offset == size).then_some(leaves))
}
