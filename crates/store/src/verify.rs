//! Checking the store against itself: every object's file against its row, and if asked for every
//! byte against its CID.
//!
//! Nothing is changed. A missing or damaged object is repaired by putting its content again;
//! files without a row are swept at the next start.

use std::{collections::BTreeMap, path::PathBuf};

use cid::Cid;

use crate::{
    Error, Stat, Store, meta,
    unixfs::{self, Block, CHUNK, Importer},
};

/// What is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no file.
    Missing,
    /// The file has another size.
    Size {
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// The file could not be read.
    Unreadable {
        /// The system's reason.
        reason: String,
    },
    /// The bytes are not those the CID names.
    Damaged {
        /// Start of the first chunk that differs, in bytes.
        offset: u64,
    },
    /// The bytes are right, but the recorded blocks are not theirs.
    Blocks,
    /// The file has no row: left by a crash, or not the store's. No harm to any object.
    Orphan,
}

/// One finding of [`Store::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object; `None` for a file whose name is no CID.
    pub cid: Option<Cid>,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: Fault,
}

/// What [`Store::verify`] saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Objects looked at.
    pub objects: u64,
    /// Bytes of content they have.
    pub bytes: u64,
    /// What is not as it should be, in the order of finding.
    pub findings: Vec<Finding>,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Objects done.
    pub objects: u64,
    /// Objects in all.
    pub total_objects: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl Verified {
    /// Whether every object is there whole; orphans do not count.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|f| f.fault == Fault::Orphan)
    }
}

impl Store {
    /// Checks all objects: that the file is there and has its size, and if `deep` that its bytes
    /// and the recorded blocks are what the CID says. Calls `on_progress` after each object.
    pub fn verify(
        &self,
        deep: bool,
        mut on_progress: impl FnMut(VerifyProgress),
    ) -> Result<Verified, Error> {
        let objects = self.ls()?;
        let mut progress = VerifyProgress {
            objects: 0,
            total_objects: objects.len() as u64,
            bytes: 0,
            total_bytes: objects.iter().map(|o| o.size).sum(),
        };
        let mut verified = Verified::default();
        for object in &objects {
            if let Some(fault) = self.fault(object, deep)? {
                // Collected since it was listed? Then nothing is wrong with it.
                if self.stat(&object.cid)?.is_some() {
                    verified.findings.push(Finding {
                        cid: Some(object.cid),
                        path: self.disk().path(&object.cid),
                        fault,
                    });
                }
            }
            progress.objects += 1;
            progress.bytes += object.size;
            on_progress(progress);
        }
        verified.objects = progress.objects;
        verified.bytes = progress.bytes;
        verified
            .findings
            .extend(self.orphans(0)?.into_iter().map(|(path, cid)| Finding {
                cid,
                path,
                fault: Fault::Orphan,
            }));
        Ok(verified)
    }

    fn fault(&self, object: &Stat, deep: bool) -> Result<Option<Fault>, Error> {
        let Some(found) = self.disk().size(&object.cid)? else {
            return Ok(Some(Fault::Missing));
        };
        if found != object.size {
            return Ok(Some(Fault::Size {
                found,
                expected: object.size,
            }));
        }
        if deep {
            self.deep_fault(object)
        } else {
            Ok(None)
        }
    }

    fn deep_fault(&self, object: &Stat) -> Result<Option<Fault>, Error> {
        let unreadable = |reason: &dyn ToString| {
            Ok(Some(Fault::Unreadable {
                reason: reason.to_string(),
            }))
        };
        let mut file = match self.disk().object(&object.cid) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Some(Fault::Missing)),
            Err(Error::Io { source, .. }) => return unreadable(&source),
            Err(error) => return Err(error),
        };
        let mut importer = Importer::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match unixfs::read_full(&mut file, &mut buffer) {
                Ok(0) => break,
                Ok(n) => importer.update(&buffer[..n]),
                Err(error) => return unreadable(&error),
            }
        }
        let dag = importer.finish();
        let recorded = by_cid(self.meta().read(|c| meta::blocks(c, &object.cid))?);
        if dag.root == object.cid {
            // A lone leaf has no row of its own.
            let whole = dag.blocks.len() == 1 || by_cid(dag.blocks) == recorded;
            return Ok((!whole).then_some(Fault::Blocks));
        }
        // The recorded leaves tell where the difference starts.
        let offset = dag
            .blocks
            .iter()
            .find(|block| block.node.is_none() && !recorded.contains_key(&block.cid))
            .map_or(0, |block| block.offset);
        Ok(Some(Fault::Damaged { offset }))
    }
}

/// A chunk that occurs twice is recorded once, where it first stands.
fn by_cid(blocks: Vec<Block>) -> BTreeMap<Cid, Block> {
    let mut map = BTreeMap::new();
    for block in blocks {
        map.entry(block.cid).or_insert(block);
    }
    map
}
