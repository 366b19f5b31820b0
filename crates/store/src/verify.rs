//! Checking the store against itself: every object's file, or its copy with the backend, against
//! its row, and if asked for every byte against its CID.
//!
//! No file is changed. A missing or damaged object is repaired by putting its content again, a copy
//! by the mirror; files without a row are swept at the next start.

use std::{collections::BTreeMap, path::PathBuf};

use cid::Cid;

use crate::{
    Error, Stat, Store,
    backend::Failure,
    meta,
    mirror::Remote,
    unixfs::{self, Block, CHUNK, Importer, RAW},
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

/// Where an object lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// With the backend of this URL.
    Backend(String),
}

/// One finding of [`Store::verify`] or [`Store::verify_backend`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object; `None` for a file whose name is no CID.
    pub cid: Option<Cid>,
    /// Where that is.
    pub place: Place,
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
    /// Of these objects, those that are somewhere else and were not looked at.
    pub elsewhere: u64,
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

/// What came of looking at an object.
enum Looked {
    At(Option<Fault>),
    /// It is not where this check looks.
    Past,
}

impl Verified {
    /// Whether every object is there whole; orphans do not count.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|f| f.fault == Fault::Orphan)
    }
}

impl Store {
    /// Checks what is in the folder: that each object's file is there and has its size, and if
    /// `deep` that its bytes and the recorded blocks are what the CID says. Calls `on_progress`
    /// after each object.
    pub fn verify(
        &self,
        deep: bool,
        on_progress: impl FnMut(VerifyProgress),
    ) -> Result<Verified, Error> {
        let place = |cid: &Cid| Place::File(self.disk().path(cid));
        let mut verified = self.verify_each(on_progress, place, |object| match object.here {
            true => self.fault(object, deep).map(Looked::At),
            false => Ok(Looked::Past),
        })?;
        verified
            .findings
            .extend(self.orphans()?.into_iter().map(|(path, cid)| Finding {
                cid,
                place: Place::File(path),
                fault: Fault::Orphan,
            }));
        Ok(verified)
    }

    /// Checks the backend's copies: that they are there, and if `deep` every byte of them, which
    /// moves all of it. A copy that is lost or damaged is made again by the mirror if the folder
    /// has the file.
    pub fn verify_backend(
        &self,
        deep: bool,
        on_progress: impl FnMut(VerifyProgress),
    ) -> Result<Verified, Error> {
        let Some(remote) = self.remote() else {
            return Ok(Verified::default());
        };
        let verified = self.verify_each(
            on_progress,
            |_| Place::Backend(remote.name.clone()),
            |object| match object.copied && !object.node {
                true => self.backend_fault(remote, object, deep).map(Looked::At),
                false => Ok(Looked::Past),
            },
        )?;
        for finding in &verified.findings {
            finding.cid.map_or(Ok(()), |cid| self.not_copied(&cid))?;
        }
        self.changed();
        Ok(verified)
    }

    fn verify_each(
        &self,
        mut on_progress: impl FnMut(VerifyProgress),
        place: impl Fn(&Cid) -> Place,
        look: impl Fn(&Stat) -> Result<Looked, Error>,
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
            match look(object)? {
                Looked::Past => verified.elsewhere += 1,
                Looked::At(None) => {}
                // Collected or moved since it was listed? Then nothing is wrong with it.
                Looked::At(Some(_)) if self.stat(&object.cid)?.as_ref() != Some(object) => {}
                Looked::At(Some(fault)) => verified.findings.push(Finding {
                    cid: Some(object.cid),
                    place: place(&object.cid),
                    fault,
                }),
            }
            progress.objects += 1;
            progress.bytes += object.size;
            on_progress(progress);
        }
        verified.objects = progress.objects;
        verified.bytes = progress.bytes;
        Ok(verified)
    }

    fn backend_fault(
        &self,
        remote: &Remote,
        object: &Stat,
        deep: bool,
    ) -> Result<Option<Fault>, Error> {
        let held = remote.backend.has(&object.cid, object.size);
        if !held.map_err(|failure| remote.error(failure))? {
            return Ok(Some(Fault::Missing));
        }
        if !deep {
            return Ok(None);
        }
        for leaf in self.leaves(&object.cid, object.size)? {
            match self.read_away(&leaf) {
                Ok(_) => {}
                Err(Error::Backend {
                    failure: Failure::Refused(_),
                    ..
                }) => {
                    return Ok(Some(Fault::Damaged {
                        offset: leaf.offset,
                    }));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn fault(&self, object: &Stat, deep: bool) -> Result<Option<Fault>, Error> {
        if object.node {
            let node = self.meta().read(|c| meta::node(c, &object.cid))?;
            let whole = node.is_some_and(|node| unixfs::names(&object.cid, &node));
            return Ok((!whole).then_some(Fault::Blocks));
        }
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
        // A raw block may be longer than a chunk of ours.
        if object.cid.codec() == RAW && dag.size > CHUNK as u64 {
            return self.long_block_fault(object);
        }
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

    fn long_block_fault(&self, object: &Stat) -> Result<Option<Fault>, Error> {
        match self.get_leaf_here(&object.cid) {
            Ok(Some(_)) => Ok(None),
            Ok(None) => Ok(Some(Fault::Missing)),
            Err(Error::Damaged { .. }) => Ok(Some(Fault::Damaged { offset: 0 })),
            Err(error) => Err(error),
        }
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
