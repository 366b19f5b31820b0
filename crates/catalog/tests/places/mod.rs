//! The databases that a catalog can be in, so that each test is held against all of them.
#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "../postgres/mod.rs"]
pub mod postgres;

use std::path::Path;

use catalog::Catalog;

/// A folder, and a database in it or elsewhere.
pub struct Place {
    folder: tempfile::TempDir,
    database: Option<postgres::Database<'static>>,
}

impl Place {
    pub fn sqlite() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            database: None,
        }
    }

    /// `None` where there is no PostgreSQL.
    pub fn postgres() -> Option<Self> {
        let server = postgres::server()?;
        Some(Self {
            folder: tempfile::tempdir().unwrap(),
            database: Some(server.database()),
        })
    }

    pub fn open(&self) -> Catalog {
        match &self.database {
            Some(database) => Catalog::connect(&database.url()).unwrap(),
            None => Catalog::open(&self.folder().join("catalog.db")).unwrap(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Runs the test in every place.
pub fn everywhere(test: impl Fn(Place)) {
    test(Place::sqlite());
    if let Some(place) = Place::postgres() {
        test(place);
    }
}
