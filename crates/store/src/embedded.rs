//! The store on this machine: one folder with object files and the metadata database.
//!
//! Opening it brings the schema up to date and sweeps what crashes left: drafts of dead writers,
//! and files without a row. Several processes may have the same folder open. Getting, listing and
//! stating are here; putting, pins, names, collecting and verifying have their own files.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use cid::Cid;

use crate::{
    Error,
    disk::{self, Disk},
    meta::{self, Located, Meta},
    unixfs::{self, IDENTITY, RAW},
};

/// A file without a row is left alone this long, so that a folder which is being restored from a
/// backup, files first and database last, survives a start.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// How far the mark of the last sweep moves at least.
const SWEEP_STEP: Duration = Duration::from_secs(600);

/// A content-addressed store. Clones share one set of connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Disk,
    meta: Meta,
}

/// Content that is held, with its file open: it stays readable even if it is collected meanwhile.
#[derive(Debug)]
pub struct Object {
    /// The CID that was asked for.
    pub cid: Cid,
    /// Bytes of content.
    pub size: u64,
    /// Media type recorded when it was put.
    pub mime: Option<String>,
    /// The file that holds it.
    pub file: File,
    /// Where the content starts in the file: 0 for an object, more for a block inside one.
    pub offset: u64,
}

/// What is known of an object without touching its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its CID.
    pub cid: Cid,
    /// Bytes of content.
    pub size: u64,
    /// Media type recorded when it was put.
    pub mime: Option<String>,
    /// When it was first put.
    pub created: SystemTime,
}

impl Object {
    /// The content from its start to its end.
    pub fn reader(&self) -> io::Result<impl Read + '_> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.size))
    }
}

impl Store {
    /// Opens the store in `root`, making it if there is none.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, Error> {
        let root = root.as_ref();
        disk::create_dir(root)?;
        // Schema changes, the switch to WAL and sweeping are for one process at a time.
        let alone = disk::lock_folder(root)?;
        let disk = Disk::open(root)?;
        let meta = Meta::open(&root.join("meta.db"))?;
        let store = Self {
            inner: Arc::new(Inner { disk, meta }),
        };
        store.disk().sweep_drafts()?;
        store.sweep_orphans(SystemTime::now())?;
        drop(alone);
        Ok(store)
    }

    /// The folder it lives in.
    pub fn root(&self) -> &Path {
        self.disk().root()
    }

    /// Opens content by the CID of an object, or of a block inside one. `None` if it is not held.
    /// Identity CIDs carry their content themselves and are not objects; see [`Store::get_block`].
    pub fn get(&self, cid: &Cid) -> Result<Option<Object>, Error> {
        Ok(self.open_content(cid)?.map(|(object, _)| object))
    }

    /// Opens content, and tells with it where it lies.
    pub(crate) fn open_content(&self, cid: &Cid) -> Result<Option<(Object, Located)>, Error> {
        let Some(located) = self.locate(cid)? else {
            return Ok(None);
        };
        let Some(file) = self.disk().object(&located.object)? else {
            // Collected between the question and the opening, or else lost.
            return match self.locate(cid)? {
                None => Ok(None),
                Some(located) => Err(self.damaged(&located.object, "its file is missing")),
            };
        };
        let size = file
            .metadata()
            .map_err(|e| Error::io("reading", self.disk().path(&located.object), e))?
            .len();
        if size != located.object_size {
            return Err(self.damaged(&located.object, "its file has another size"));
        }
        let object = Object {
            cid: *cid,
            size: located.length,
            mime: located.mime.clone(),
            file,
            offset: located.offset,
        };
        Ok(Some((object, located)))
    }

    /// The bytes of one block, checked against the CID. Leaves are read from the object's file,
    /// inner nodes from the database, identity CIDs from the CID.
    pub fn get_block(&self, cid: &Cid) -> Result<Option<Bytes>, Error> {
        if cid.hash().code() == IDENTITY {
            return Ok(Some(Bytes::copy_from_slice(cid.hash().digest())));
        }
        let block = if cid.codec() == RAW {
            let Some((object, located)) = self.open_content(cid)? else {
                return Ok(None);
            };
            let mut bytes = vec![0; object.size as usize];
            object
                .file
                .read_exact_at(&mut bytes, object.offset)
                .map_err(|e| Error::io("reading", self.disk().path(&located.object), e))?;
            bytes
        } else {
            match self.meta().read(|c| meta::node(c, cid))? {
                Some(node) => node,
                None => return Ok(None),
            }
        };
        if !unixfs::names(cid, &block) {
            let holder = self.locate(cid)?.map_or(*cid, |located| located.object);
            return Err(self.damaged(&holder, "a block is not what its CID says"));
        }
        Ok(Some(block.into()))
    }

    /// What is known of an object, or of a block inside one; touches no file.
    pub fn stat(&self, cid: &Cid) -> Result<Option<Stat>, Error> {
        Ok(self.locate(cid)?.map(|located| Stat {
            cid: *cid,
            size: located.length,
            mime: located.mime,
            created: located.created,
        }))
    }

    /// All objects, oldest first.
    pub fn ls(&self) -> Result<Vec<Stat>, Error> {
        self.meta().read(meta::objects)
    }

    pub(crate) fn locate(&self, cid: &Cid) -> Result<Option<Located>, Error> {
        self.meta().read(|c| meta::locate(c, cid))
    }

    pub(crate) fn damaged(&self, cid: &Cid, what: &'static str) -> Error {
        Error::Damaged {
            cid: Box::new(*cid),
            path: self.disk().path(cid),
            what,
        }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.inner.meta
    }

    /// Removes files that no row knows. Folders untouched since the last sweep have none.
    pub(crate) fn sweep_orphans(&self, now: SystemTime) -> Result<usize, Error> {
        let since = self
            .meta()
            .read(|c| meta::setting(c, "swept"))?
            .unwrap_or(0);
        let before = now
            .checked_sub(ORPHAN_AGE)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let mut removed = 0;
        for (path, _) in self.orphans(since)? {
            let old = path
                .symlink_metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|modified| modified < before);
            if old && self.remove_orphan(&path)? {
                removed += 1;
            }
        }
        // What was too young is looked at again next time. A mark that hardly moves is not worth a
        // synced write at each start of a command.
        let swept = meta::millis(before);
        if swept - since > SWEEP_STEP.as_millis() as i64 {
            self.meta().write(|tx| {
                meta::set_setting(tx, "swept", swept).map_err(|e| self.meta().error(e))
            })?;
        }
        Ok(removed)
    }

    /// Files in folders changed since `since` that no row knows.
    pub(crate) fn orphans(&self, since: i64) -> Result<Vec<(PathBuf, Option<Cid>)>, Error> {
        let files = self.disk().list(since)?;
        self.meta().read(|c| {
            let mut orphans = Vec::new();
            for (path, cid) in files {
                let known = match &cid {
                    Some(cid) => meta::object(c, cid)?.is_some(),
                    None => false,
                };
                if !known {
                    orphans.push((path, cid));
                }
            }
            Ok(orphans)
        })
    }

    /// Unlinks a file that has no row, with putters kept out: one may be about to record it.
    fn remove_orphan(&self, path: &Path) -> Result<bool, Error> {
        let cid = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| Cid::try_from(name).ok());
        // Not our kind of file: somebody else's, and left to them.
        let Some(cid) = cid else { return Ok(false) };
        self.meta().locked(|c| {
            let known = meta::object(c, &cid).map_err(|e| self.meta().error(e))?;
            if known.is_none() {
                disk::remove_file(path)?;
            }
            Ok(known.is_none())
        })
    }
}
