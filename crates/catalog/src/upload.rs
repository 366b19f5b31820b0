//! Uploads under way. A row promises to keep the bytes that came; how many came is the length
//! of the upload's file, which only its server knows; no other sees the row.

use crate::sql::{Row, Sql, params};

use crate::{Catalog, Result};

/// How the bytes come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One request; a broken one is dropped.
    Post,
    /// tus 1.0; a broken one is resumed until it expires.
    Tus,
    /// The server fetches it; a broken one is resumed until somebody removes it.
    Remote,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Post => "post",
            Self::Tus => "tus",
            Self::Remote => "remote",
        }
    }
}

/// An upload's row.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its identifier; the asset made of it gets the same.
    pub id: String,
    /// How the bytes come in.
    pub protocol: Protocol,
    /// The display name the asset will have.
    pub name: String,
    /// The `Upload-Metadata` header as it came.
    pub metadata: String,
    /// Its whole length, once known.
    pub length: Option<u64>,
    /// When it began, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it may be dropped, in milliseconds since 1970.
    pub expires_ms: i64,
    /// Every byte is there.
    pub complete: bool,
    /// The asset it became.
    pub asset: Option<String>,
}

const COLUMNS: &str = "id, protocol, name, metadata, length, created, expires, complete, asset";

fn from_row(row: &Row<'_>) -> Sql<Upload> {
    let protocol: String = row.get(1)?;
    Ok(Upload {
        id: row.get(0)?,
        protocol: match protocol.as_str() {
            "tus" => Protocol::Tus,
            "remote" => Protocol::Remote,
            _ => Protocol::Post,
        },
        name: row.get(2)?,
        metadata: row.get(3)?,
        length: row.get::<Option<i64>>(4)?.map(i64::unsigned_abs),
        created_ms: row.get(5)?,
        expires_ms: row.get(6)?,
        complete: row.get::<i64>(7)? != 0,
        asset: row.get(8)?,
    })
}

impl Catalog {
    /// Makes the upload's row.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn add_upload(&self, upload: &Upload) -> Result<()> {
        self.write("begin an upload", |transaction| {
            transaction.execute(
                "INSERT INTO uploads (id, protocol, name, metadata, length, created, expires, home)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    upload.id,
                    upload.protocol.as_str(),
                    upload.name,
                    upload.metadata,
                    upload.length.map(|length| length as i64),
                    upload.created_ms,
                    upload.expires_ms,
                    self.home
                ],
            )?;
            Ok(())
        })
    }

    /// The upload called `id`.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn upload(&self, id: &str) -> Result<Option<Upload>> {
        self.read("read an upload", |transaction| {
            transaction.row(
                &format!("SELECT {COLUMNS} FROM uploads WHERE id = ?1 AND home = ?2"),
                params![id, self.home],
                from_row,
            )
        })
    }

    /// All uploads, oldest first.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn uploads(&self) -> Result<Vec<Upload>> {
        self.read("list the uploads", |transaction| {
            transaction.rows(
                &format!("SELECT {COLUMNS} FROM uploads WHERE home = ?1 ORDER BY created, id"),
                params![self.home],
                from_row,
            )
        })
    }

    /// Writes the length of an upload that began without one, and moves its expiry.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn extend_upload(&self, id: &str, length: Option<u64>, expires_ms: i64) -> Result<()> {
        self.write("extend an upload", |transaction| {
            transaction.execute(
                "UPDATE uploads SET length = COALESCE(length, ?2), expires = ?3 WHERE id = ?1",
                params![id, length.map(|length| length as i64), expires_ms],
            )?;
            Ok(())
        })
    }

    /// Writes that every byte is there and safely on disk.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn complete_upload(&self, id: &str, length: u64) -> Result<()> {
        self.write("complete an upload", |transaction| {
            transaction.execute(
                "UPDATE uploads SET complete = 1, length = ?2 WHERE id = ?1",
                params![id, length as i64],
            )?;
            Ok(())
        })
    }

    /// Drops the upload's row.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn remove_upload(&self, id: &str) -> Result<bool> {
        self.write("remove an upload", |transaction| {
            Ok(transaction.execute("DELETE FROM uploads WHERE id = ?1", params![id])? > 0)
        })
    }
}
