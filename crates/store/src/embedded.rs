//! The store on this machine: one folder with object files and the metadata database.
//!
//! Opening it brings the schema up to date and finishes what crashes left, which it knows without
//! searching: drafts of dead writers, and files whose rows are gone. Several processes may have the same folder open. Getting, listing and
//! stating are here; putting, pins, names, collecting and verifying have their own files.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use cid::Cid;
use rusqlite::Connection;

use crate::{
    Error,
    backend::{Chosen, Leaf, Location},
    disk::{self, Disk},
    keys::Keys,
    meta::{self, Located, Meta},
    mirror::Remote,
    put::Buffers,
    unixfs::{self, IDENTITY, RAW},
};

/// What is as long as a segment is brought back whole when it is asked for; of what is longer, only
/// the blocks that are.
const BROUGHT_BACK: u64 = 16 << 20;

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.root())
            .finish_non_exhaustive()
    }
}

/// A content-addressed store. Clones share one set of connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Disk,
    meta: Meta,
    keys: Keys,
    remote: Option<Remote>,
    buffers: Buffers,
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
    /// Whether it is a dag-pb block put by itself ([`Store::put_block`]); `size` is then that of
    /// the block, and [`Store::get`] does not find it.
    pub node: bool,
    /// Whether its content is in the folder; what is not is with the backend alone.
    pub here: bool,
    /// Whether the backend has a copy.
    pub copied: bool,
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
        Self::open_with(root.as_ref(), None)
    }

    /// Opens the store that a URL names ([`crate::backend`]), making it if there is none. What the
    /// URL leaves open is in `root`: of a backend's store all but the copies of the bytes.
    pub fn open_url(root: impl AsRef<Path>, url: Option<&str>) -> Result<Self, Error> {
        let Some(url) = url else {
            return Self::open(root);
        };
        let location = Location::parse(url)?;
        let root = location.folder.as_deref().unwrap_or(root.as_ref());
        Self::open_with(root, location.backend)
    }

    fn open_with(root: &Path, backend: Option<Chosen>) -> Result<Self, Error> {
        disk::create_dir(root)?;
        // Schema changes, the switch to WAL and sweeping are for one process at a time.
        let alone = disk::lock_folder(root)?;
        let disk = Disk::open(root)?;
        let meta = Meta::open(&root.join("meta.db"))?;
        let (keys, new_seed) = Keys::open(root)?;
        let store = Self {
            inner: Arc::new(Inner {
                disk,
                meta,
                keys,
                remote: backend.map(Remote::new),
                buffers: Buffers::default(),
            }),
        };
        store.index_names(new_seed)?;
        if let Some(remote) = store.remote() {
            store.adopt_backend(&remote.name)?;
        }
        store.sweep()?;
        drop(alone);
        Ok(store)
    }

    /// A name that no other store has.
    pub fn identity(&self) -> Result<String, Error> {
        self.meta()
            .read(|c| c.query_row("SELECT name FROM identity", [], |row| row.get(0)))
    }

    /// The folder it lives in.
    pub fn root(&self) -> &Path {
        self.disk().root()
    }

    /// Opens content by the CID of an object, or of a block inside one. `None` if it is not held.
    /// What only the backend has is brought back first, whole; [`Store::get_block`] fetches one
    /// block alone. Identity CIDs carry their content themselves and are not objects.
    pub fn get(&self, cid: &Cid) -> Result<Option<Object>, Error> {
        loop {
            let Some(located) = self.locate(cid)? else {
                return Ok(None);
            };
            if self.is_away(&located)? {
                if let Err(error) = self.bring_back(&located) {
                    // Collected while it was on its way?
                    return match self.locate(cid)? {
                        Some(_) => Err(error),
                        None => Ok(None),
                    };
                }
            }
            // What was sent away between the question and the opening is brought back again.
            if let Some((object, _)) = self.open_content(cid)? {
                return Ok(Some(object));
            }
        }
    }

    /// The same for whoever can do with blocks: `None` also for what only the backend has, if it
    /// is long or the folder has no room for it.
    pub(crate) fn get_at_hand(&self, cid: &Cid) -> Result<Option<Object>, Error> {
        match self.locate(cid)? {
            Some(located) if self.is_away(&located)? => {
                if located.object_size > BROUGHT_BACK {
                    return Ok(None);
                }
                match self.get(cid) {
                    Err(error) if error.is_full() => Ok(None),
                    got => got,
                }
            }
            _ => self.get(cid),
        }
    }

    /// Whether content is with the backend and not in the folder.
    pub(crate) fn is_away(&self, located: &Located) -> Result<bool, Error> {
        let size = self.disk().size(&located.object)?;
        Ok(located.copied && size != Some(located.object_size))
    }

    /// Opens content that is in the folder, and tells with it where it lies. `None` if it is not
    /// held or elsewhere.
    pub(crate) fn open_content(&self, cid: &Cid) -> Result<Option<(Object, Located)>, Error> {
        let Some(located) = self.locate(cid)? else {
            return Ok(None);
        };
        let Some(file) = self.disk().object(&located.object)? else {
            // Collected or sent away between the question and the opening, or else lost.
            return match self.locate(cid)? {
                None => Ok(None),
                Some(located) if located.copied => Ok(None),
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
        if cid.codec() == RAW {
            return self.get_leaf(cid);
        }
        match self.meta().read(|c| meta::node(c, cid))? {
            Some(node) if unixfs::names(cid, &node) => Ok(Some(node.into())),
            Some(_) => Err(self.damaged(cid, "a block is not what its CID says")),
            None => Ok(None),
        }
    }

    /// The bytes of a raw block: from the folder, or else, if they are not there or not right, from
    /// the backend.
    fn get_leaf(&self, cid: &Cid) -> Result<Option<Bytes>, Error> {
        let here = self.get_leaf_here(cid);
        if let Ok(Some(_)) = here {
            return here;
        }
        match self.locate(cid)? {
            Some(located) if located.copied => self
                .read_away(&Leaf {
                    object: located.object,
                    cid: *cid,
                    offset: located.offset,
                    length: located.length,
                })
                .map(Some),
            _ => here,
        }
    }

    pub(crate) fn get_leaf_here(&self, cid: &Cid) -> Result<Option<Bytes>, Error> {
        let Some((object, located)) = self.open_content(cid)? else {
            return Ok(None);
        };
        let mut bytes = vec![0; object.size as usize];
        object
            .file
            .read_exact_at(&mut bytes, object.offset)
            .map_err(|e| Error::io("reading", self.disk().path(&located.object), e))?;
        if !unixfs::names(cid, &bytes) {
            return Err(self.damaged(&located.object, "a block is not what its CID says"));
        }
        Ok(Some(bytes.into()))
    }

    /// What is known of an object, or of a block inside one; touches no file.
    pub fn stat(&self, cid: &Cid) -> Result<Option<Stat>, Error> {
        match self.locate(cid)? {
            Some(located) => Ok(Some(Stat {
                cid: *cid,
                size: located.length,
                mime: located.mime,
                created: located.created,
                node: false,
                here: located.here,
                copied: located.copied,
            })),
            None => self.meta().read(|c| meta::node_stat(c, cid)),
        }
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

    pub(crate) fn buffers(&self) -> &Buffers {
        &self.inner.buffers
    }

    pub(crate) fn remote(&self) -> Option<&Remote> {
        self.inner.remote.as_ref()
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Finishes what killed processes had begun: drafts that were not recorded, and files whose
    /// rows are gone.
    fn sweep(&self) -> Result<(), Error> {
        for dead in self.disk().dead_drafts()? {
            if let Some(cid) = dead.cid {
                self.meta().locked(|c| match self.wanted(c, &cid)? {
                    true => Ok(()),
                    false => dead.withdraw(self.disk(), &cid),
                })?;
            }
            dead.remove()?;
        }
        let files = self.meta().read(meta::files_to_remove)?;
        self.remove_files(&files)
    }

    /// Removes the files of objects that were forgotten or sent away, each inside the write lock
    /// after a look that it was not put again.
    pub(crate) fn remove_files(&self, cids: &[Cid]) -> Result<(), Error> {
        if cids.is_empty() {
            return Ok(());
        }
        for cid in cids {
            self.meta().locked(|c| match self.wanted(c, cid)? {
                true => Ok(()),
                false => self.disk().remove(cid),
            })?;
        }
        self.meta()
            .write(|tx| meta::files_removed(tx, cids).map_err(|e| self.meta().error(e)))
    }

    /// Whether an object's file is to be in the folder.
    fn wanted(&self, c: &Connection, cid: &Cid) -> Result<bool, Error> {
        let row = meta::file(c, cid).map_err(|e| self.meta().error(e))?;
        Ok(row.is_some_and(|row| row.here))
    }

    /// Files that no row wants there.
    pub(crate) fn orphans(&self) -> Result<Vec<(PathBuf, Option<Cid>)>, Error> {
        let files = self.disk().list()?;
        self.meta().read(|c| {
            let mut orphans = Vec::new();
            for (path, cid) in files {
                let known = match &cid {
                    Some(cid) => meta::file(c, cid)?.is_some_and(|row| row.here),
                    None => false,
                };
                if !known {
                    orphans.push((path, cid));
                }
            }
            Ok(orphans)
        })
    }
}
