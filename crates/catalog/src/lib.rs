//! What should be true, in SQL: assets, the variants and streams wanted of them, live sources,
//! boards, uploads under way, and leases that say who works on a row until when.
//!
//! Nothing here is a queue. [`Catalog::claim`] computes work as "wanted and not there", so a
//! crash loses nothing: the row still wants, and the lease runs out. The catalog names the pins
//! that keep blocks alive ([`roots`]) but does not know where a block lies; that is `store`'s.
//! SQLite in a file of the data folder, or PostgreSQL where several servers share the work; one
//! text of each statement for both (`sql`).

#![forbid(unsafe_code)]

mod asset;
mod board;
mod check;
mod lease;
mod live;
mod playlist;
mod remote;
pub mod roots;
mod schema;
mod sql;
mod stream;
mod token;
mod upload;
pub mod variant;

use std::path::Path;
use std::sync::Arc;

use sql::postgres::{self, Postgres};
use sql::sqlite::Sqlite;
use sql::{Database, Sql, Transaction};

pub use asset::{Asset, AssetFacts, AssetPage, AssetState, NewAsset, Usage};
pub use board::{BoardPolicy, EnrolledBoard};
pub use lease::{Lane, Work, WorkKind};
pub use live::{Live, LiveState};
pub use playlist::Playlist;
pub use remote::Remote;
pub use sql::SqlError;
pub use stream::{Rung, Stream, StreamAsked, StreamState};
pub use token::{Device, Polled, Role, Token};
pub use upload::{Protocol, Upload};
pub use variant::{Variant, VariantState};

/// Why the catalog could not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be opened or brought up to date.
    #[error("cannot open the catalog {place}")]
    Open {
        /// The database.
        place: String,
        /// What it says.
        source: SqlError,
    },
    /// What should name a database does not.
    #[error("the database's URL is wrong: {0}")]
    Url(String),
    /// The database was written by a newer Kinora.
    #[error(
        "the catalog {place} has version {found}, this program knows up to {known}: use the newer program"
    )]
    TooNew {
        /// The database.
        place: String,
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
        /// What the database says.
        source: SqlError,
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
        source.is_disk_full()
    }

    /// Whether the database could not be asked: asking again later may help, and what was asked may
    /// or may not have happened.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Sql { source, .. } if source.is_away())
    }
}

/// The result of a catalog operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The open catalog. Clones share the connections; all calls block, for at most a commit.
#[derive(Clone)]
pub struct Catalog {
    database: Arc<Database>,
    /// The server that asks, by the name of its store; empty where there is one.
    home: Arc<str>,
    /// Whether it can read what other servers share.
    reads_others: bool,
}

impl Catalog {
    /// Opens the SQLite file `path`, makes it when it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Open`] when SQLite cannot, [`Error::TooNew`] when the file is from a later version.
    pub fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        match Sqlite::open(path) {
            Ok(opened) => Self::over(Database::Sqlite(opened), &place),
            Err(source) => Err(Error::Open { place, source }),
        }
    }

    /// Connects to the PostgreSQL database that `url` names (`postgres://user@host/database`) and
    /// brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Url`] when it is none, [`Error::Open`] when the database does not answer or refuses,
    /// [`Error::TooNew`] when it is from a later version. None of them holds the password.
    pub fn connect(url: &str) -> Result<Self> {
        let (options, place) = postgres::parse(url).map_err(Error::Url)?;
        match Postgres::open(options) {
            Ok(opened) => Self::over(Database::Postgres(opened), &place),
            Err(source) => Err(Error::Open { place, source }),
        }
    }

    /// The same catalog for one of its servers, which `home` tells from the others for ever: uploads,
    /// live sources and what is made of an asset besides its variants are its own alone.
    /// `reads_others`: it can read what others share, so it renders variants of that too.
    #[must_use]
    pub fn served_by(mut self, home: &str, reads_others: bool) -> Self {
        self.home = Arc::from(home);
        self.reads_others = reads_others;
        self
    }

    /// What tells this catalog from all others, unless its file does.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub fn identity(&self) -> Result<Option<String>> {
        self.read("ask for the catalog's name", |transaction| {
            if transaction.is_sqlite() {
                return Ok(None);
            }
            transaction.row("SELECT catalog FROM schema_version", &[], |row| row.get(0))
        })
    }

    /// Whether other servers may use the same catalog.
    pub fn has_others(&self) -> bool {
        matches!(*self.database, Database::Postgres(_))
    }

    fn over(database: Database, place: &str) -> Result<Self> {
        schema::migrate(&database, place)?;
        Ok(Self {
            database: Arc::new(database),
            home: Arc::from(""),
            reads_others: false,
        })
    }

    /// Runs `read` inside one snapshot.
    fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Transaction<'_>) -> Sql<T>,
    ) -> Result<T> {
        let outcome = self.database.read(read);
        outcome.map_err(|source| Error::Sql { operation, source })
    }

    /// Runs `work` in one transaction beside others: what must not be two's is locked by row.
    fn work<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Sql<T>,
    ) -> Result<T> {
        let outcome = self.database.work(work);
        outcome.map_err(|source| Error::Sql { operation, source })
    }

    /// Runs `write` in one transaction, committed when it succeeds.
    fn write<T>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Transaction<'_>) -> Sql<T>,
    ) -> Result<T> {
        let outcome = self.database.write(write);
        outcome.map_err(|source| Error::Sql { operation, source })
    }
}
