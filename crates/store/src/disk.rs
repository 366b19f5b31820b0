//! Objects as files: `obj/<last two characters of the CID>/<CID>`, drafts in `tmp/`.
//!
//! This is all that the rest of the crate knows of how bytes lie here; copies elsewhere are the
//! concern of `backend.rs`.
//!
//! A draft is locked (`flock`) by the process that writes it. The kernel drops the lock with the
//! process, so a draft that can be locked has a dead writer, whatever became of its process id.
//!
//! An object is placed by a second name for its draft, and one sync then makes both durable. The
//! first name, which by then has the CID in it, goes when the object is recorded: what a crash in
//! between leaves is known by its draft, and nobody has to search for it.

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

use crate::{Error, unixfs};

/// Last characters of CIDs in base32: any, then one that carries the final three bits of 36 bytes.
const SHARD_FIRST: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const SHARD_SECOND: &[u8; 8] = b"aeimquy4";

/// How the names of leases in `tmp/` begin.
const LEASE: &str = "lease-";

pub(crate) struct Disk {
    root: PathBuf,
    obj: PathBuf,
    tmp: PathBuf,
}

/// A file in `tmp/` that will become an object once its CID is known; dropped, that name is gone.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    path: PathBuf,
    /// Somebody's file, which keeps its own name too until the object is recorded.
    given: Option<Given>,
    /// Bytes written, and of these how many the disk was told to write.
    written: u64,
    started: u64,
}

#[derive(Debug)]
struct Given {
    path: PathBuf,
    stamp: Stamp,
}

/// A draft whose writer is no more, locked.
pub(crate) struct Dead {
    file: File,
    path: PathBuf,
    /// The object it was to be, if it came that far.
    pub cid: Option<Cid>,
}

/// What tells that a file was written to.
#[derive(Debug, PartialEq, Eq)]
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
        self.locked("")
    }

    /// A file that says, while it is locked, that a lease began at `since` (Unix ms).
    pub fn lease(&self, since: i64) -> Result<Draft, Error> {
        self.locked(&format!("{LEASE}{since}-"))
    }

    /// When the oldest lease began whose owner lives.
    pub fn oldest_lease(&self) -> Result<Option<i64>, Error> {
        let mut oldest = None;
        for path in entries(&self.tmp)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let since =
                name.and_then(|name| name.strip_prefix(LEASE)?.split('-').next()?.parse().ok());
            // One that is gone by now, or whose lock can be had, is over.
            let lives = || File::open(&path).is_ok_and(|file| !lockable(&file));
            if since.is_some_and(|since| oldest.is_none_or(|oldest| since < oldest)) && lives() {
                oldest = since;
            }
        }
        Ok(oldest)
    }

    /// A new locked file in `tmp/`.
    fn locked(&self, beginning: &str) -> Result<Draft, Error> {
        loop {
            let path = self.tmp.join(format!("{beginning}{}", draft_name()));
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
            let locked = lockable(&file);
            let draft = Draft {
                file,
                path,
                given: None,
                written: 0,
                started: 0,
            };
            if locked && draft.stat()?.nlink() == 1 {
                return Ok(draft);
            }
        }
    }

    /// Offers to take a file over where it lies. `None` if it must be copied instead: it is on
    /// another file system or one without hard links, a symbolic link, or has other names through
    /// which it could change.
    pub fn take(&self, path: &Path) -> Result<Option<Draft>, Error> {
        let fail = |error| Error::io("opening", path, error);
        let named = fs::symlink_metadata(path).map_err(fail)?;
        let home = fs::metadata(&self.tmp).map_err(|e| Error::io("reading", &self.tmp, e))?;
        if !named.is_file() || named.dev() != home.dev() || named.nlink() != 1 {
            return Ok(None);
        }
        let file = open_regular(path)?;
        let stamp = Stamp::of(&file.metadata().map_err(fail)?);
        if stamp != Stamp::of(&named) {
            return Err(Error::Changed {
                path: path.to_owned(),
            });
        }
        let draft = self.tmp.join(draft_name());
        if !lockable(&file) || fs::hard_link(path, &draft).is_err() {
            return Ok(None);
        }
        Ok(Some(Draft {
            file,
            path: draft,
            given: Some(Given {
                path: path.to_owned(),
                stamp,
            }),
            written: 0,
            started: 0,
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

    /// Every file under `obj/`, with the CID its name stands for.
    pub fn list(&self) -> Result<Vec<(PathBuf, Option<Cid>)>, Error> {
        let mut found = Vec::new();
        for shard in entries(&self.obj)? {
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

    /// The drafts of writers that are no more.
    pub fn dead_drafts(&self) -> Result<Vec<Dead>, Error> {
        let mut dead = Vec::new();
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
            if lockable(&file) {
                let name = path.file_name().and_then(|name| name.to_str());
                let cid = name.and_then(|name| Cid::try_from(name.rsplit_once('-')?.1).ok());
                dead.push(Dead { file, path, cid });
            }
        }
        Ok(dead)
    }
}

impl Dead {
    /// Removes the object's file if it is this one. The caller holds the write lock and knows that
    /// the object was never recorded.
    pub fn withdraw(&self, disk: &Disk, cid: &Cid) -> Result<(), Error> {
        if is_at(&self.file, &disk.path(cid)) {
            disk.remove(cid)?;
        }
        Ok(())
    }

    /// Removes the draft.
    pub fn remove(self) -> Result<(), Error> {
        remove_file(&self.path)
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
        let _ = fs::remove_file(&self.path);
    }
}

impl Draft {
    /// The content, to be hashed.
    pub fn reader(&self) -> &File {
        &self.file
    }

    /// The content from its start, for comparing.
    pub fn reread(&self) -> Result<impl Read + '_, Error> {
        let mut reader = &self.file;
        io::Seek::rewind(&mut reader).map_err(|e| Error::io("reading", &self.path, e))?;
        Ok(reader)
    }

    /// Puts the content under its CID, unless there is something, and makes content and names
    /// durable. The caller need not hold the write lock: that it is still there is for
    /// [`Draft::keep`] to see.
    pub fn place(&mut self, disk: &Disk, cid: &Cid) -> Result<(), Error> {
        if self.given.is_none() {
            // Objects never change; the mode says so to everybody with a shell.
            let mode = self.stat()?.mode() & 0o444;
            let _ = self.file.set_permissions(Permissions::from_mode(mode));
        }
        let named = PathBuf::from(format!("{}-{cid}", self.path.display()));
        fs::rename(&self.path, &named).map_err(|e| Error::io("renaming", &self.path, e))?;
        self.path = named;
        let target = disk.path(cid);
        let linked = fs::hard_link(&self.path, &target).is_ok();
        // Not only the data: a link is a change of the inode, and the journals of ext4, XFS and
        // btrfs write the names that it got along with it.
        self.file
            .sync_all()
            .map_err(|e| Error::io("syncing", &self.path, e))?;
        if linked {
            // They promise that to nobody, so the folder is synced too; it has nothing left to write.
            sync_dir(target.parent().expect("objects lie in a folder"))?;
        }
        match &self.given {
            Some(given) => given.unchanged(&self.file),
            None => Ok(()),
        }
    }

    /// Makes sure that the content is under its CID: somebody's else may have been there, or a
    /// collection may have taken it away, since nothing records it yet. The caller holds the write
    /// lock.
    pub fn keep(&self, disk: &Disk, cid: &Cid) -> Result<(), Error> {
        let target = disk.path(cid);
        if is_at(&self.file, &target) {
            return Ok(());
        }
        // A third name for the way there, so that the draft's own stays until the object is
        // recorded. Without hard links that one has to do.
        let name = Path::new(self.path.file_name().unwrap_or_default());
        let twin = disk.tmp.join(format!("twin-{}", name.display()));
        let from = match fs::hard_link(&self.path, &twin) {
            Ok(()) => &twin,
            Err(_) => &self.path,
        };
        fs::rename(from, &target).map_err(|e| Error::io("placing", &target, e))?;
        sync_dir(target.parent().expect("objects lie in a folder"))
    }

    /// Undoes `place` and `keep`. The caller holds the write lock.
    pub fn withdraw(&self, disk: &Disk, cid: &Cid) {
        let target = disk.path(cid);
        if is_at(&self.file, &target) {
            let _ = fs::remove_file(target);
        }
    }

    /// The object is recorded: what is left of the original goes.
    pub fn settle(self) -> Result<(), Error> {
        let Some(given) = &self.given else {
            return Ok(());
        };
        if let Ok(meta) = self.file.metadata() {
            let mode = Permissions::from_mode(meta.mode() & 0o444);
            let _ = self.file.set_permissions(mode);
        }
        remove_file(&given.path)
    }
}

impl Given {
    fn unchanged(&self, file: &File) -> Result<(), Error> {
        let same = |meta: io::Result<fs::Metadata>| {
            meta.map(|m| Stamp::of(&m) == self.stamp).unwrap_or(false)
        };
        if same(file.metadata()) && same(fs::symlink_metadata(&self.path)) {
            Ok(())
        } else {
            Err(Error::Changed {
                path: self.path.clone(),
            })
        }
    }
}

/// Whether the open file is what has this name.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
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

/// Takes a file's lock if nobody has it.
fn lockable(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn draft_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", process::id())
}

/// The right to mirror, which one process has at a time; `None` if another has it.
pub(crate) fn lock_mirror(root: &Path) -> Result<Option<File>, Error> {
    let path = root.join("mirror.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| Error::io("opening", path, e))?;
    Ok(lockable(&file).then_some(file))
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

pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("syncing", path, e))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|e| Error::io("listing", dir, e))
}
