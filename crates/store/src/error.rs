//! What can go wrong in the store, each with what finds the place: file, CID or name.

use std::{io, path::PathBuf};

use cid::Cid;

use crate::{backend::Failure, car::CarError, ipns::Invalid};

/// An operation of the store that failed. Nothing it was about to write is visible afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{operation}: {}", path.display())]
    Io {
        /// What was being done, as in "opening".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The disk or the quota is full; whatever was being written is gone again.
    #[error("no space left on the disk that holds {}", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// The content could not be read to its end.
    #[error("reading the content to store")]
    Source(#[source] io::Error),
    /// SQLite refused.
    #[error("metadata database: {}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// The database was written by a later release.
    #[error("{} has schema version {found}, this release knows up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The last version this release can read.
        known: i64,
    },
    /// A pin or a name was asked to hold an object that is not here.
    #[error("not in the store: {cid}")]
    NotHeld {
        /// The object that was asked for.
        cid: Box<Cid>,
    },
    /// A block that is needed to go on is not here.
    #[error("block is not here: {cid}")]
    Missing {
        /// The block, as text, since it may have any hash.
        cid: String,
    },
    /// A block has the right hash and yet makes no sense to its codec.
    #[error("block {cid} cannot be followed: {what}")]
    Malformed {
        /// The block.
        cid: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A CAR file cannot be read on; what came before is stored, and nothing is pinned.
    #[error(transparent)]
    Car(#[from] CarError),
    /// A graph that was to be pinned has a hole; nothing is pinned.
    #[error("{root} is not whole: block {missing} is missing")]
    Incomplete {
        /// The graph's root.
        root: String,
        /// A block that it needs.
        missing: String,
    },
    /// What a CAR file is written to failed.
    #[error("writing the CAR")]
    Sink(#[source] io::Error),
    /// The file that all signing keys come of is not one.
    #[error("not a seed of 32 bytes: {}", path.display())]
    Seed {
        /// The file.
        path: PathBuf,
    },
    /// What is known of an IPNS name cannot be believed.
    #[error("the record of {name} is not valid: {source}")]
    Record {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: Invalid,
    },
    /// A name moved on since the caller looked.
    #[error("name {name:?} is at sequence {found}, not {expected}")]
    Conflict {
        /// The name.
        name: String,
        /// Sequence the caller had seen, 0 for none.
        expected: u64,
        /// Sequence it has, 0 for none.
        found: u64,
    },
    /// A pin's or a name's text cannot be used.
    #[error("not a usable name: {name:?}")]
    Name {
        /// The text.
        name: String,
    },
    /// An object's file is missing or not what its CID says; putting the content again repairs it.
    #[error("object {cid} is damaged ({what}): {}", path.display())]
    Damaged {
        /// The object or block.
        cid: Box<Cid>,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A block that [`crate::Store::put_block`] does not take.
    #[error("block {cid} cannot be stored: {what}")]
    Block {
        /// The CID it was given with.
        cid: Box<Cid>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The text that says where the store lies cannot be used.
    #[error("{url}: {what}")]
    Location {
        /// The text, without a secret.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The backend did not do what it was asked.
    #[error("{backend}: {failure}")]
    Backend {
        /// Its URL, without a secret.
        backend: String,
        /// What it did instead.
        failure: crate::backend::Failure,
    },
    /// An object is only with a backend that this store was not opened with.
    #[error("{cid} is kept at {backend}; open the store with that")]
    Elsewhere {
        /// The object.
        cid: Box<Cid>,
        /// Its URL, without options.
        backend: String,
    },
    /// The store has objects whose only copies are with another backend than the one now chosen.
    #[error(
        "{objects} objects are only at {backend}; bring them back before choosing another backend"
    )]
    LeftBehind {
        /// How many.
        objects: u64,
        /// The other backend.
        backend: String,
    },
    /// A file that was being taken over changed under our hands.
    #[error("file changed while it was being stored: {}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    /// The one place where file system errors become ours.
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    /// The one place where SQLite's errors become ours.
    pub(crate) fn database(path: impl Into<PathBuf>, source: rusqlite::Error) -> Self {
        let path = path.into();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { path },
            _ => Self::Database { path, source },
        }
    }

    /// Whether the cause is a full disk or quota.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether the backend could not be asked, which says nothing about what it keeps.
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Backend {
                failure: Failure::Away(_),
                ..
            }
        )
    }
}
