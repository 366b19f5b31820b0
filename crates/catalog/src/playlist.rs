//! Playlists for screens. A row is a name and the words the server keeps under it; each change makes
//! its version one higher, so that who edits an old one can be told.

use crate::sql::{Row, Sql, params};

use crate::{Catalog, Result};

/// A playlist as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playlist {
    /// Its name, in every address of it.
    pub name: String,
    /// How often it was written.
    pub version: i64,
    /// What is in it, in the server's own JSON.
    pub facts: String,
}

fn from_row(row: &Row<'_>) -> Sql<Playlist> {
    Ok(Playlist {
        name: row.get(0)?,
        version: row.get(1)?,
        facts: row.get(2)?,
    })
}

impl Catalog {
    /// All playlists, by name.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn playlists(&self) -> Result<Vec<Playlist>> {
        self.read("list the playlists", |transaction| {
            transaction.rows(
                "SELECT name, version, facts FROM playlists ORDER BY name",
                &[],
                from_row,
            )
        })
    }

    /// The playlist called `name`.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn playlist(&self, name: &str) -> Result<Option<Playlist>> {
        self.read("read a playlist", |transaction| {
            transaction.row(
                "SELECT name, version, facts FROM playlists WHERE name = ?1",
                params![name],
                from_row,
            )
        })
    }

    /// Writes a playlist and gives its version. `None`, and nothing is written, when it has another
    /// version than the one that was changed (0: there was none).
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn write_playlist(
        &self,
        name: &str,
        facts: &str,
        changed: Option<i64>,
    ) -> Result<Option<i64>> {
        self.write("write a playlist", |transaction| {
            let version: Option<i64> = transaction.row("SELECT version FROM playlists WHERE name = ?1", params![name], |row| row.get(0))?;
            let version = version.unwrap_or(0);
            if changed.is_some_and(|changed| changed != version) {
                return Ok(None);
            }
            transaction.execute("INSERT INTO playlists (name, version, facts) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET version = excluded.version, facts = excluded.facts", params![name, version + 1, facts])?;
            Ok(Some(version + 1))
        })
    }

    /// Removes a playlist. False when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn remove_playlist(&self, name: &str) -> Result<bool> {
        self.write("remove a playlist", |transaction| {
            Ok(transaction.execute("DELETE FROM playlists WHERE name = ?1", params![name])? > 0)
        })
    }
}
