//! Files that the server fetches from elsewhere. Each is an upload whose bytes come from an address;
//! how many came is the length of its file.

use crate::sql::{Row, Sql, params};

use crate::{Catalog, Result};

/// A file that is being fetched, or could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The upload that its bytes belong to; the asset made of it gets the same identifier.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// What says that it is still the same there: an `ETag` or a date.
    pub validator: Option<String>,
    /// Attempts since bytes last came.
    pub tries: u32,
    /// Why it is not fetched any more.
    pub error: Option<String>,
    /// The asset's name.
    pub name: String,
    /// Its whole length, once known.
    pub length: Option<u64>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// Every byte is there.
    pub complete: bool,
}

const SELECT: &str = "SELECT r.upload, r.url, r.validator, r.tries, r.error,
    u.name, u.length, u.created, u.complete
    FROM remotes r JOIN uploads u ON u.id = r.upload WHERE u.asset IS NULL
    AND u.home = ?1";

fn from_row(row: &Row<'_>) -> Sql<Remote> {
    Ok(Remote {
        id: row.get(0)?,
        url: row.get(1)?,
        validator: row.get(2)?,
        tries: row.get(3)?,
        error: row.get(4)?,
        name: row.get(5)?,
        length: row.get::<Option<i64>>(6)?.map(i64::unsigned_abs),
        created_ms: row.get(7)?,
        complete: row.get::<i64>(8)? != 0,
    })
}

impl Catalog {
    /// Says where the bytes of an upload come from.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn add_remote(&self, upload: &str, url: &str) -> Result<()> {
        self.write("ask for a remote file", |transaction| {
            transaction.execute(
                "INSERT INTO remotes (upload, url) VALUES (?1, ?2)",
                params![upload, url],
            )?;
            Ok(())
        })
    }

    /// The files that did not become assets yet, oldest first.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn remotes(&self) -> Result<Vec<Remote>> {
        self.read("list the remote files", |transaction| {
            transaction.rows(
                &format!("{SELECT} ORDER BY u.created, u.id"),
                params![self.home],
                from_row,
            )
        })
    }

    /// One of them.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn remote(&self, id: &str) -> Result<Option<Remote>> {
        self.read("read a remote file", |transaction| {
            transaction.row(
                &format!("{SELECT} AND u.id = ?2"),
                params![self.home, id],
                from_row,
            )
        })
    }

    /// Writes what the other side says of the file before its bytes come.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn describe_remote(
        &self,
        id: &str,
        validator: Option<&str>,
        length: Option<u64>,
    ) -> Result<()> {
        self.write("describe a remote file", |transaction| {
            transaction.execute(
                "UPDATE remotes SET validator = ?2 WHERE upload = ?1",
                params![id, validator],
            )?;
            transaction.execute(
                "UPDATE uploads SET length = ?2 WHERE id = ?1",
                params![id, length.map(|length| length as i64)],
            )?;
            Ok(())
        })
    }

    /// Writes how often it was tried in vain, and why it is given up when it is.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn note_remote(&self, id: &str, tries: u32, error: Option<&str>) -> Result<()> {
        self.write("note a remote file's trouble", |transaction| {
            transaction.execute(
                "UPDATE remotes SET tries = ?2, error = ?3 WHERE upload = ?1",
                params![id, tries, error],
            )?;
            Ok(())
        })
    }
}
