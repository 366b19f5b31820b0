//! The board table as it is now: the built-in one, changed by `DATA/boards.toml` where there is one, which is
//! read again when it changes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use boards::{Board, Table};

use crate::Error;

/// The table, and what it was read from.
pub(crate) struct LiveTable {
    path: PathBuf,
    now: RwLock<Arc<Table>>,
    /// The text that was looked at last, taken or not; empty where there is no file.
    seen: Mutex<String>,
}

impl LiveTable {
    /// Reads the table; a mistake in the file keeps the server from starting.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let text = read(&path).map_err(|source| Error::Io {
            operation: "read",
            path: path.clone(),
            source,
        })?;
        let table = Table::builtin().with_overrides(&text);
        let table = table.map_err(|source| Error::Boards {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            now: RwLock::new(Arc::new(table)),
            seen: Mutex::new(text),
        })
    }

    /// The table as it is now.
    pub(crate) fn now(&self) -> Arc<Table> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The board of that id or alias.
    pub(crate) fn get(&self, id: &str) -> Option<Board> {
        self.now().get(id).cloned()
    }

    /// Takes up what changed in the file; a mistake in it is said and the table stays. Whether it
    /// is another table now.
    pub(crate) fn follow(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match read(&self.path) {
            Ok(text) if text != *seen => text,
            // What cannot be read now may be being written.
            Ok(_) | Err(_) => return false,
        };
        let table = Table::builtin().with_overrides(&text);
        *seen = text;
        match table {
            Ok(table) => {
                tracing::info!(path = %self.path.display(), "the board table changed");
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
                true
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the board table stays as it was");
                false
            }
        }
    }
}

/// No file changes nothing.
fn read(path: &std::path::Path) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}
