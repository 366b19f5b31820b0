//! What should be true, in SQL: assets, the streams wanted of them, the segments that are
//! there, uploads under way, and leases that say who works on a row until when.
//!
//! Nothing here is a queue. [`Catalog::claim`] computes work as "wanted and not there", so a
//! crash loses nothing: the row still wants, and the lease runs out. The catalog names the pins
//! that keep blocks alive ([`roots`]) but does not know where a block lies; that is `store`'s.
//! SQLite today; the statements keep to what PostgreSQL also understands.

#![forbid(unsafe_code)]

mod asset;
mod lease;
pub mod roots;
mod schema;
mod stream;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use asset::{Asset, AssetState, NewAsset};
pub use lease::{Lane, Work, WorkKind};
pub use stream::{Rung, Segment, Stream, StreamAsked, StreamState};
pub use upload::{Protocol, Upload};

/// Why the catalog could not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database file could not be opened or brought up to date.
    #[error("cannot open the catalog {path}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file was written by a newer Kinora.
    #[error(
        "the catalog {path} has version {found}, this program knows up to {known}: use the newer program"
    )]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The newest version this program can bring a file to.
        known: i64,
    },
    /// A statement failed: a full disk, a locked or damaged file.
    #[error("catalog: cannot {operation}")]
    Sql {
        /// What was being done.
        operation: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The store failed while roots were being compared.
    #[error("catalog: cannot compare the roots with the store")]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether the disk was full, so that the caller can say so.
    pub fn is_disk_full(&self) -> bool {
        let (Self::Sql { source, .. } | Self::Open { source, .. }) = self else {
            return false;
        };
        source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }
}

/// The result of a catalog operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The open catalog. Clones share the connections; all calls block, for at most a commit.
#[derive(Clone)]
pub struct Catalog {
    shared: Arc<Connections>,
}

/// Two connections, so that a reader never waits for a writer's fsync (WAL allows both).
struct Connections {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Catalog {
    /// Opens `path`, makes it when it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Open`] when SQLite cannot, [`Error::TooNew`] when the file is from a later version.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            schema::configure(&connection)?;
            Ok(connection)
        };
        let wrap = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let mut writer = open().map_err(wrap)?;
        schema::migrate(&mut writer, path)?;
        let reader = open().map_err(wrap)?;
        Ok(Self {
            shared: Arc::new(Connections {
                writer: Mutex::new(writer),
                reader: Mutex::new(reader),
            }),
        })
    }

    /// Runs `read` on the reading connection, inside one snapshot.
    fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = lock(&self.shared.reader);
        connection
            .transaction()
            .and_then(|transaction| read(&transaction))
            .map_err(|source| Error::Sql { operation, source })
    }

    /// Runs `write` in one transaction, committed when it succeeds.
    fn write<T>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = lock(&self.shared.writer);
        let run = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = write(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|source| Error::Sql { operation, source })
    }
}

/// A poisoned lock only says that another thread panicked between statements; its transaction
/// was rolled back when it was dropped, so the connection is good.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
