//! Objects as files: `obj/<last two characters of the CID>/<CID>`, drafts in `tmp/`.
//!
//! This is all that the rest of the crate knows of where bytes lie: draft, take over, place, open,
//! list, remove. A backend that keeps bytes elsewhere has the same six; names, pins and the list
//! of blocks stay in the database whatever the backend.
//!
//! A draft is locked (`flock`) by the process that writes it. The kernel drops the lock with the
//! process, so a draft that can be locked has a dead writer, whatever became of its process id.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read, Write},
    num::NonZeroU64,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use cid::Cid;
use rustix::fs::{Advice, FlockOperation, OFlags, fadvise, flock};

use crate::{Error, meta, unixfs};

/// Last characters of CIDs in base32: any, then one that carries the final three bits of 36 bytes.
const SHARD_FIRST: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const SHARD_SECOND: &[u8; 8] = b"aeimquy4";

pub(crate) struct Disk {
    root: PathBuf,
    obj: PathBuf,
    tmp: PathBuf,
}

/// A file that will become an object once its CID is known.
pub(crate) enum Incoming {
    /// Written by us, in `tmp/`; dropped, it is gone.
    Draft(Draft),
    /// Somebody's file, left where it is until the object is recorded.
    Given(Given),
}

pub(crate) struct Draft {
    file: File,
    path: PathBuf,
    /// Renamed away: the name in `tmp/` is not ours any more.
    placed: bool,
    /// Bytes written, and of these how many the disk was told to write.
    written: u64,
    started: u64,
}

pub(crate) struct Given {
    file: File,
    path: PathBuf,
    stamp: Stamp,
    /// Placed by a rename, because the file system has no hard links.
    renamed: bool,
}

/// What tells that a file was written to.
#[derive(PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self(
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
        )
    }
}

impl Disk {
    pub fn open(root: &Path) -> Result<Self, Error> {
        let disk = Self {
            root: root.to_owned(),
            obj: root.join("obj"),
            tmp: root.join("tmp"),
        };
        create_dir(&disk.tmp)?;
        if !disk.obj.is_dir() {
            disk.create_shards()?;
        }
        Ok(disk)
    }

    /// All 256 folders at once and one sync, where making each at its first use would add a sync
    /// to that put. Built aside and renamed, so that they are all there or none is.
    fn create_shards(&self) -> Result<(), Error> {
        let aside = self.tmp.join("obj");
        create_dir(&aside)?;
        for first in SHARD_FIRST {
            for second in SHARD_SECOND {
                let name = format!("{}{}", *first as char, *second as char);
                create_dir(&aside.join(name))?;
            }
        }
        sync_dir(&aside)?;
        fs::rename(&aside, &self.obj).map_err(|e| Error::io("creating", &self.obj, e))?;
        sync_dir(&self.root)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, cid: &Cid) -> PathBuf {
        // The object column holds CIDv1, whose text is base32.
        let name = cid.to_string();
        self.obj.join(&name[name.len() - 2..]).join(name)
    }

    /// A new locked draft.
    pub fn draft(&self) -> Result<Draft, Error> {
        loop {
            let path = self.tmp.join(draft_name());
            let file = match OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
            {
                Ok(file) => file,
                // Another container's process may have the same id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("creating", path, error)),
            };
            // A sweep may come between creating and locking; it then removes the file, and the
            // link count tells.
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            let draft = Draft {
                file,
                path,
                placed: false,
                written: 0,
                started: 0,
            };
            if locked && draft.stat()?.nlink() == 1 {
                return Ok(draft);
            }
        }
    }

    /// Offers to take a file over where it lies. `None` if it must be copied instead: it is on
    /// another file system, a symbolic link, or has other names through which it could change.
    pub fn take(&self, path: &Path) -> Result<Option<Given>, Error> {
        let fail = |error| Error::io("opening", path, error);
        let named = fs::symlink_metadata(path).map_err(fail)?;
        let home = fs::metadata(&self.tmp).map_err(|e| Error::io("reading", &self.tmp, e))?;
        if !named.is_file() || named.dev() != home.dev() || named.nlink() != 1 {
            return Ok(None);
        }
        let file = open_regular(path)?;
        let opened = file.metadata().map_err(fail)?;
        if Stamp::of(&opened) != Stamp::of(&named) {
            return Err(Error::Changed {
                path: path.to_owned(),
            });
        }
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        Ok(Some(Given {
            file,
            path: path.to_owned(),
            stamp: Stamp::of(&opened),
            renamed: false,
        }))
    }

    /// Opens an object's file; `None` if it is not there.
    pub fn object(&self, cid: &Cid) -> Result<Option<File>, Error> {
        let path = self.path(cid);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("opening", path, error)),
        }
    }

    /// Size of an object's file; `None` if it is not there.
    pub fn size(&self, cid: &Cid) -> Result<Option<u64>, Error> {
        let path = self.path(cid);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("reading", path, error)),
        }
    }

    /// Whether the object's file holds exactly this content.
    pub fn holds(&self, cid: &Cid, size: u64, mut content: impl Read) -> Result<bool, Error> {
        if self.size(cid)? != Some(size) {
            return Ok(false);
        }
        let Some(mut file) = self.object(cid)? else {
            return Ok(false);
        };
        let (mut ours, mut theirs) = (vec![0; unixfs::CHUNK], vec![0; unixfs::CHUNK]);
        loop {
            let n = unixfs::read_full(&mut content, &mut theirs).map_err(Error::Source)?;
            let m = match unixfs::read_full(&mut file, &mut ours) {
                Ok(m) => m,
                // A file that cannot be read is a damaged one.
                Err(_) => return Ok(false),
            };
            if ours[..m] != theirs[..n] {
                return Ok(false);
            }
            if n == 0 {
                return Ok(true);
            }
        }
    }

    /// Removes an object's file, if there is one.
    pub fn remove(&self, cid: &Cid) -> Result<(), Error> {
        remove_file(&self.path(cid))
    }

    /// Every file under `obj/` that changed folders since `since` (Unix ms), with the CID its name
    /// stands for.
    pub fn list(&self, since: i64) -> Result<Vec<(PathBuf, Option<Cid>)>, Error> {
        let mut found = Vec::new();
        for shard in entries(&self.obj)? {
            let changed = fs::metadata(&shard)
                .and_then(|m| m.modified())
                .map_err(|e| Error::io("reading", &shard, e))?;
            if meta::millis(changed) < since {
                continue;
            }
            for path in entries(&shard)? {
                let cid = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| Cid::try_from(name).ok())
                    .filter(|cid| self.path(cid) == path);
                found.push((path, cid));
            }
        }
        Ok(found)
    }

    /// Removes the drafts of writers that are no more.
    pub fn sweep_drafts(&self) -> Result<usize, Error> {
        let mut removed = 0;
        for path in entries(&self.tmp)? {
            if path.is_dir() {
                // Folders are only made by an interrupted first start.
                fs::remove_dir_all(&path).map_err(|e| Error::io("removing", &path, e))?;
                continue;
            }
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("opening", path, error)),
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                remove_file(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Draft {
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(|e| Error::io("writing", &self.path, e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Has the kernel write out what is only in memory, without waiting for it: "not needed soon"
    /// starts that, and pages under way to the disk are not dropped. Without it the disk would
    /// idle until the final sync. It is a hint, so a refusal is none of our business.
    pub fn start_writing(&mut self) {
        let len = NonZeroU64::new(self.written - self.started);
        if len.is_some() {
            let _ = fadvise(&self.file, self.started, len, Advice::DontNeed);
        }
        self.started = self.written;
    }

    fn stat(&self) -> Result<fs::Metadata, Error> {
        self.file
            .metadata()
            .map_err(|e| Error::io("reading", &self.path, e))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Given {
    /// The content, to be hashed.
    pub fn reader(&self) -> &File {
        &self.file
    }
}

impl Incoming {
    /// The content from its start, for comparing.
    pub fn reread(&self) -> Result<impl Read + '_, Error> {
        let (file, path) = match self {
            Self::Draft(draft) => (&draft.file, &draft.path),
            Self::Given(given) => (&given.file, &given.path),
        };
        let mut reader = file;
        io::Seek::rewind(&mut reader).map_err(|e| Error::io("reading", path, e))?;
        Ok(reader)
    }

    /// Makes the content durable.
    pub fn sync(&self) -> Result<(), Error> {
        let (file, path) = match self {
            Self::Draft(draft) => (&draft.file, &draft.path),
            Self::Given(given) => (&given.file, &given.path),
        };
        if let Self::Draft(draft) = self {
            // Objects never change; the mode says so to everybody with a shell.
            let mode = draft.stat()?.mode() & 0o444;
            let _ = file.set_permissions(Permissions::from_mode(mode));
        }
        file.sync_data()
            .map_err(|e| Error::io("syncing", path, e))?;
        if let Self::Given(given) = self {
            given.unchanged()?;
        }
        Ok(())
    }

    /// Puts the content under its CID and makes that durable. The caller holds the write lock.
    pub fn place(&mut self, disk: &Disk, cid: &Cid) -> Result<(), Error> {
        let target = disk.path(cid);
        let shard = target.parent().expect("objects lie in a folder");
        let placed = match self {
            Self::Draft(draft) => fs::rename(&draft.path, &target).map(|()| draft.placed = true),
            Self::Given(given) => given.place(&target, &disk.tmp),
        };
        placed.map_err(|e| Error::io("placing", &target, e))?;
        sync_dir(shard)
    }

    /// Undoes `place`.
    pub fn withdraw(&mut self, disk: &Disk, cid: &Cid) {
        let target = disk.path(cid);
        let _ = match self {
            Self::Given(given) if given.renamed => fs::rename(&target, &given.path),
            _ => fs::remove_file(&target),
        };
    }

    /// The object is recorded: what is left of the original goes.
    pub fn settle(self) -> Result<(), Error> {
        match self {
            Self::Draft(_) => Ok(()),
            Self::Given(given) => {
                if let Ok(meta) = given.file.metadata() {
                    let mode = Permissions::from_mode(meta.mode() & 0o444);
                    let _ = given.file.set_permissions(mode);
                }
                remove_file(&given.path)
            }
        }
    }
}

impl Given {
    /// A hard link leaves the original in place until the object is recorded, so a crash in
    /// between loses nothing. Where links are not to be had, a rename has to do.
    fn place(&mut self, target: &Path, tmp: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, target) {
            Ok(()) => return Ok(()),
            // A damaged object: replaced in one step, by way of a second link. The lock on the
            // file keeps sweeps off that one too.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let second = tmp.join(draft_name());
                fs::hard_link(&self.path, &second)?;
                return fs::rename(&second, target);
            }
            Err(_) => {}
        }
        fs::rename(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }

    fn unchanged(&self) -> Result<(), Error> {
        let same = |meta: io::Result<fs::Metadata>| {
            meta.map(|m| Stamp::of(&m) == self.stamp).unwrap_or(false)
        };
        if same(self.file.metadata()) && same(fs::symlink_metadata(&self.path)) {
            Ok(())
        } else {
            Err(Error::Changed {
                path: self.path.clone(),
            })
        }
    }
}

/// Opens a file for reading and refuses what is none. A pipe or a device would block or never end.
pub(crate) fn open_regular(path: &Path) -> Result<File, Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let fail = |error| Error::io("opening", path, error);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        let error = io::Error::new(ErrorKind::InvalidInput, "not a regular file");
        return Err(fail(error));
    }
    Ok(file)
}

fn draft_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", process::id())
}

/// Keeps other openers of the store away until it is dropped.
pub(crate) fn lock_folder(root: &Path) -> Result<File, Error> {
    let folder = File::open(root).map_err(|e| Error::io("opening", root, e))?;
    flock(&folder, FlockOperation::LockExclusive)
        .map_err(|e| Error::io("locking", root, e.into()))?;
    Ok(folder)
}

pub(crate) fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|e| Error::io("creating", path, e))
}

pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("removing", path, error))
        }
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("syncing", path, e))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|e| Error::io("listing", dir, e))
}
