//! Bounds on a worker's processor time and memory by control groups (cgroup v2), where systemd has
//! given the server a part of the tree (`Delegate=yes`).
//!
//! A group that has children of its own may hold no process, so the server moves to one beside
//! those of its workers. A worker gets half of the cores, but one at least, and 60 % of the memory.
//! Without a delegated tree limits of the process itself are all there is, and nothing is said: a
//! container or a terminal gives none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the tree is mounted.
const TREE: &str = "/sys/fs/cgroup";

/// systemd marks what it delegates with these attributes.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// A worker's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Cores.
    pub(crate) cores: usize,
    /// Bytes.
    pub(crate) memory: u64,
}

impl Bounds {
    /// Those of a worker on a machine with so many cores and so much memory.
    pub(crate) fn of(cores: usize, memory: u64) -> Self {
        Self {
            cores: (cores / 2).max(1),
            memory: memory / 10 * 6,
        }
    }

    fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(cores, memory())
    }
}

/// The machine's memory in bytes; 0 where it does not say.
pub(crate) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    total.unwrap_or(0) * 1024
}

/// The part of the tree that is the server's.
#[derive(Debug)]
struct Delegated {
    root: PathBuf,
}

impl Delegated {
    fn find() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let root = Path::new(TREE).join(path);
        let marked = MARKS.iter().any(|mark| {
            let mut value = [0; 8];
            let length = rustix::fs::getxattr(&root, *mark, &mut value[..]);
            length.is_ok_and(|length| value[..length] == *b"1")
        });
        if !marked {
            return None;
        }
        let found = Self { root };
        match found.prepare(std::process::id()) {
            Ok(()) => Some(found),
            Err(error) => {
                tracing::warn!(%error, "cannot use the delegated control group");
                None
            }
        }
    }

    /// Makes room for groups of workers.
    fn prepare(&self, server: u32) -> io::Result<()> {
        let own = self.root.join("server");
        make(&own)?;
        fs::write(own.join("cgroup.procs"), server.to_string())?;
        fs::write(self.root.join("cgroup.subtree_control"), "+cpu +memory")
    }

    fn group(&self, name: &str, bounds: Bounds) -> io::Result<Group> {
        const PERIOD_US: usize = 100_000;
        let group = Group {
            path: self.root.join(format!("worker-{name}")),
        };
        make(&group.path)?;
        let quota = format!("{} {PERIOD_US}", bounds.cores * PERIOD_US);
        fs::write(group.path.join("cpu.max"), quota)?;
        if bounds.memory > 0 {
            fs::write(group.path.join("memory.max"), bounds.memory.to_string())?;
        }
        Ok(group)
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        // Left by a server that was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// The group of one worker, gone when the worker is.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// A group for a worker of that name; `None` where there is no delegated tree.
    pub(crate) fn make(name: &str) -> Option<Self> {
        static DELEGATED: OnceLock<Option<Delegated>> = OnceLock::new();
        let delegated = DELEGATED.get_or_init(Delegated::find).as_ref()?;
        match delegated.group(name, Bounds::here()) {
            Ok(group) => Some(group),
            Err(error) => {
                tracing::warn!(%error, "cannot bound a worker by a control group");
                None
            }
        }
    }

    /// What a process writes its number to, to be in the group.
    pub(crate) fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whatever is left in it ends with it; without the file (before Linux 5.14) the worker's
        // process group was ended already.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "a control group stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        for (cores, memory, expected) in [
            (1, 1000, (1, 600)),
            (2, 1000, (1, 600)),
            (3, 0, (1, 0)),
            (8, 16 << 30, (4, (16 << 30) / 10 * 6)),
        ] {
            let found = Bounds::of(cores, memory);
            assert_eq!((found.cores, found.memory), expected);
        }
        assert!(memory() > 1 << 20);
    }

    /// What is written where, in a folder that stands for the tree.
    #[test]
    fn a_worker_has_a_group_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let tree = Delegated {
            root: root.path().to_owned(),
        };
        let read = |file: &str| fs::read_to_string(root.path().join(file)).unwrap();
        tree.prepare(42).unwrap();
        tree.prepare(42).unwrap();
        assert_eq!(read("server/cgroup.procs"), "42");
        assert_eq!(read("cgroup.subtree_control"), "+cpu +memory");
        let bounds = Bounds {
            cores: 2,
            memory: 1 << 30,
        };
        let group = tree.group("7-render", bounds).unwrap();
        assert_eq!(read("worker-7-render/cpu.max"), "200000 100000");
        assert_eq!(read("worker-7-render/memory.max"), "1073741824");
        assert_eq!(
            group.entrance(),
            root.path().join("worker-7-render/cgroup.procs")
        );
    }
}
