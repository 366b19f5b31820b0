//! The folder that what is built for the test machines is kept in, outside the checkout.
//!
//! An entry is a folder named after what it is and the key of all that it was made from, so a changed
//! recipe is another entry and an entry that is there is whole: it is made under another name and
//! renamed. One process at a time makes an entry; others wait for it and then find its work.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::say;

/// An entry of an older recipe that nothing has used for so long is removed when a new one is made.
const KEPT_UNUSED: Duration = Duration::from_secs(3 * 24 * 3600);

/// What an entry is made from, as a number: FNV-1a, so that it is the same with every toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes one more part in. Parts do not run into each other: `ab`, `c` is not `a`, `bc`.
    pub fn with(self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        let length = (part.len() as u64).to_le_bytes();
        Self(length.iter().chain(part).fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{:016x}", self.0)
    }
}

/// A lock on a file, held until dropped, by whatever way the process ends.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process holds the lock; says so if that is not at once.
    pub fn wait(path: &Path, for_what: &str) -> Result<Self> {
        if let Some(lock) = Self::try_take(path)? {
            return Ok(lock);
        }
        say!("waiting for another process: {for_what}");
        let file = open(path)?;
        flock(&file, libc::LOCK_EX).with_context(|| format!("lock: {}", path.display()))?;
        Ok(Self { _file: file })
    }

    /// The lock, or nothing when another process holds it.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match flock(&file, libc::LOCK_EX | libc::LOCK_NB) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).with_context(|| format!("lock: {}", path.display())),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("open: {}", path.display()))
}

fn flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open as long as `file` is; flock takes no memory.
        if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The cache's folder.
#[derive(Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// `kinora/vm` in the user's cache folder.
    pub fn of_user() -> Result<Self> {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
            .context("neither XDG_CACHE_HOME nor HOME is set")?;
        Self::at(&base.join("kinora/vm"))
    }

    pub fn at(folder: &Path) -> Result<Self> {
        // The folder's name stands on the command line of kernels, which split it at spaces.
        ensure!(
            !folder.to_string_lossy().contains([' ', ',', '\t', '\n']),
            "the cache's name has a space or comma, which a kernel's command line cannot carry; \
             set XDG_CACHE_HOME to another: {}",
            folder.display()
        );
        fs::create_dir_all(folder).with_context(|| format!("create: {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        Ok(Self { folder })
    }

    /// A folder of the cache that is no entry: what programs keep up to date by themselves.
    pub fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("create: {}", path.display()))?;
        Ok(path)
    }

    /// Held while the entry of that name is made.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let path = self.place("locks")?.join(name);
        Lock::wait(&path, &format!("it makes {name}"))
    }

    /// The entry, if it is there; it counts as used today.
    pub fn find(&self, name: &str, key: Key) -> Option<PathBuf> {
        let path = self.entry(name, key);
        let folder = File::open(&path).ok()?;
        // Only what is left lying is ever judged by it, so a read-only cache is no error.
        let _ = folder.set_times(FileTimes::new().set_modified(SystemTime::now()));
        Some(path)
    }

    /// Makes an entry, in a folder that `make` fills. Its lock must be held.
    pub fn make(
        &self,
        _held: &Lock,
        name: &str,
        key: Key,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let unfinished = self.scratch(name)?;
        make(&unfinished)?;
        let path = self.entry(name, key);
        fs::rename(&unfinished, &path)
            .with_context(|| format!("rename {} to {}", unfinished.display(), path.display()))?;
        self.drop_unused(name, &path)?;
        Ok(path)
    }

    /// An empty folder for something large that is needed for a while. What a killed process left
    /// there goes first. A lock must be held that keeps others from it.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join("unfinished").join(name);
        remove(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("create: {}", path.display()))?;
        Ok(path)
    }

    fn entry(&self, name: &str, key: Key) -> PathBuf {
        self.folder.join(format!("{name}-{key}"))
    }

    fn drop_unused(&self, name: &str, current: &Path) -> Result<()> {
        for found in fs::read_dir(&self.folder)? {
            let found = found?;
            let file_name = found.file_name();
            let key = file_name
                .to_str()
                .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
            let is_entry =
                key.is_some_and(|key| key.len() == 16 && u64::from_str_radix(key, 16).is_ok());
            if !is_entry || found.path() == current {
                continue;
            }
            let unused = SystemTime::now().duration_since(found.metadata()?.modified()?);
            if unused.is_ok_and(|unused| unused > KEPT_UNUSED) {
                remove(&found.path())?;
            }
        }
        Ok(())
    }
}

/// Removes a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove: {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str]) -> Key {
        parts.iter().fold(Key::new(), |key, part| key.with(part))
    }

    #[test]
    fn keys_tell_recipes_apart() {
        #[rustfmt::skip]
        let rows: &[(&[&str], &[&str], bool)] = &[
            (&["fragment", "packages"], &["fragment", "packages"], true),
            (&["fragment", "packages"], &["fragment", "package"], false),
            (&["ab", "c"], &["a", "bc"], false),
            (&["a", ""], &["a"], false),
            (&["a", "b"], &["b", "a"], false),
        ];
        for (left, right, same) in rows {
            assert_eq!(key(left) == key(right), *same, "{left:?} {right:?}");
        }
        // Written down: a changed number would throw every machine's cache away.
        assert_eq!(key(&["kinora"]).to_string(), "02bde9d0f30b99fd");
    }

    #[test]
    fn an_entry_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let lock = cache.lock("root").unwrap();
        let key = key(&["a"]);
        assert!(
            cache
                .make(&lock, "root", key, |to| {
                    fs::write(to.join("half"), "")?;
                    anyhow::bail!("broken off")
                })
                .is_err()
        );
        assert_eq!(cache.find("root", key), None);
        let made = cache.make(&lock, "root", key, |to| {
            assert_eq!(fs::read_dir(to)?.count(), 0, "the broken half is gone");
            Ok(fs::write(to.join("whole"), "")?)
        });
        assert_eq!(cache.find("root", key), Some(made.unwrap()));
    }

    #[test]
    fn only_what_is_old_and_superseded_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let lock = cache.lock("uml").unwrap();
        let old = SystemTime::now() - 2 * KEPT_UNUSED;
        #[rustfmt::skip]
        let rows = [
            ("uml-0000000000000001", true, false),
            ("uml-0000000000000002", false, true),
            ("uml-debug-0000000000000003", true, true),
            ("uml-things-that-are-no-key", true, true),
        ];
        for (name, is_old, _) in rows {
            fs::create_dir(folder.path().join(name)).unwrap();
            let times = FileTimes::new().set_modified(if is_old { old } else { SystemTime::now() });
            let entry = File::open(folder.path().join(name)).unwrap();
            entry.set_times(times).unwrap();
        }
        cache.make(&lock, "uml", key(&["new"]), |_| Ok(())).unwrap();
        for (name, _, stays) in rows {
            assert_eq!(folder.path().join(name).exists(), stays, "{name}");
        }
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::try_take(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_folder_that_a_command_line_cannot_carry_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Cache::at(&folder.path().join("with space")).is_err());
    }
}
