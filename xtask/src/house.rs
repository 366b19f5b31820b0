//! The house as data: which room may use which, who owns a heavy dependency, where unsafe may stand.
//!
//! This table is the one that ARCHITECTURE.md explains. Rooms that do not exist yet have their row
//! already, so that building one is not also an argument about its arrows. `tidy` holds the tree
//! against these rows; nothing else reads them.

/// A room, that is a package whose folder has its name; programs for the test machines stand below
/// `tests/` and are called after their folder, as `guest-tests` in `tests/guest`.
pub struct Room {
    pub name: &'static str,
    /// The other rooms it may use, in its tests too.
    pub may_use: &'static [&'static str],
    /// The files or folders (ending in `/`), below the room's own folder, that may hold `unsafe`.
    /// Every other room, and every other file of this one, is free of it.
    pub may_hold_unsafe: &'static [&'static str],
}

const fn room(
    name: &'static str,
    may_use: &'static [&'static str],
    may_hold_unsafe: &'static [&'static str],
) -> Room {
    Room {
        name,
        may_use,
        may_hold_unsafe,
    }
}

#[rustfmt::skip]
pub const ROOMS: &[Room] = &[
    room("bitstream", &[], &[]),
    room("v4l2", &[], &["src/"]),
    room("boards", &["v4l2"], &[]),
    room("media", &[], &["src/"]),
    room("ladder", &["media"], &[]),
    room("store", &[], &[]),
    room("catalog", &["store", "boards"], &[]),
    room("publish", &["ladder", "store", "catalog"], &[]),
    room("player", &["boards"], &[]),
    room("python", &["ladder"], &[]),
    room("server", &["catalog", "store", "ladder", "publish", "media", "boards"], &["src/process.rs"]),
    room("va-driver", &["v4l2", "bitstream"], &["src/"]),
    room("decoded", &["v4l2", "bitstream", "media"], &["src/", "tests/sandbox.rs"]),
    room("cli", &["boards", "catalog", "ladder", "media", "player", "publish", "server", "store", "v4l2", "bitstream"], &["src/guard.rs", "src/quiet.rs"]),
    room("guest-tests", &["v4l2", "bitstream", "va-driver"], &["src/chardev.rs", "src/hostile.rs"]),
    room("xtask", &[], &["src/bench.rs", "src/vm/"]),
];

/// A dependency that only some rooms may name, because it brings a runtime, a C library or a
/// framework that the others must not link.
pub struct Owned {
    /// The package's name, or its beginning when it ends in `*`.
    pub package: &'static str,
    pub rooms: &'static [&'static str],
}

const fn owned(package: &'static str, rooms: &'static [&'static str]) -> Owned {
    Owned { package, rooms }
}

pub const OWNED: &[Owned] = &[
    owned("ffmpeg*", &["media"]),
    owned("axum*", &["server"]),
    owned("utoipa*", &["server"]),
    owned("tower*", &["server"]),
    owned("hyper*", &["server"]),
    owned("tokio*", &["server", "cli", "store", "catalog"]),
    owned("rusqlite", &["store", "catalog"]),
    owned("sqlx*", &["catalog"]),
    owned("anyhow", &["cli", "xtask"]),
    owned("clap*", &["cli", "decoded", "xtask"]),
    owned("indicatif", &["cli"]),
    owned("pyo3*", &["python"]),
];

/// Names that say nothing about what a file holds.
pub const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helpers", "misc", "types", "manager",
];

/// The licence of every Rust package here.
pub const LICENCE: &str = "MIT OR Apache-2.0";

/// Carried media stay small: every clone and every image pays for them.
pub const FIXTURE_MEDIA_BYTES: u64 = 3_000_000;

impl Owned {
    pub fn covers(&self, package: &str) -> bool {
        match self.package.strip_suffix('*') {
            Some(beginning) => package.starts_with(beginning),
            None => package == self.package,
        }
    }
}

pub fn find(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}
