//! What the rows must be among themselves, and how rows that are not are put right.
//!
//! What they must be against the store and the disk is for whoever has these: `kinora fsck`.

use crate::sql::params;
use crate::{Catalog, Result};

impl Catalog {
    /// What SQLite finds wrong with the file itself and with references between rows. A server of
    /// databases looks after its own.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn damage(&self) -> Result<Vec<String>> {
        self.read("check the file", |transaction| {
            if !transaction.is_sqlite() {
                return Ok(Vec::new());
            }
            let mut found: Vec<String> =
                transaction.rows("PRAGMA integrity_check", &[], |row| row.get(0))?;
            found.retain(|line| line != "ok");
            let dangling: Vec<String> =
                transaction.rows("PRAGMA foreign_key_check", &[], |row| {
                    let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
                    Ok(format!("a row of {table} belongs to no row of {parent}"))
                })?;
            found.extend(dangling);
            Ok(found)
        })
    }

    /// Leases of this server by the name of their work.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn leases(&self) -> Result<Vec<String>> {
        self.read("list the leases", |transaction| {
            transaction.rows(
                "SELECT work FROM leases WHERE substr(holder, 1, length(?1)) = ?1 ORDER BY work",
                params![self.home],
                |row| row.get(0),
            )
        })
    }

    /// Wishes for variants that have no row, as asset and board. The next start writes them anew.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn empty_wishes(&self) -> Result<Vec<(String, String)>> {
        self.read("list empty wishes", |transaction| {
            transaction.rows(
                "SELECT w.asset, w.board FROM wishes w
                     WHERE NOT EXISTS (SELECT 1 FROM variants v
                                       WHERE v.asset = w.asset AND v.key = w.key)
                        OR (w.fallback IS NOT NULL
                            AND NOT EXISTS (SELECT 1 FROM variants v
                                            WHERE v.asset = w.asset AND v.key = w.fallback
                                              AND v.cid IS NOT NULL))",
                &[],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
    }

    /// Drops a board's wish for an asset.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn drop_wish(&self, asset: &str, board: &str) -> Result<()> {
        self.write("drop a wish", |transaction| {
            transaction.execute(
                "DELETE FROM wishes WHERE asset = ?1 AND board = ?2",
                params![asset, board],
            )?;
            Ok(())
        })
    }

    /// Thumbnails of this server as asset and CID.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn thumbnails(&self) -> Result<Vec<(String, String)>> {
        self.read("list the thumbnails", |transaction| {
            transaction.rows(
                "SELECT id, thumbnail FROM assets WHERE deleted = 0 AND thumbnail IS NOT NULL
                   AND home = ?1",
                params![self.home],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
    }

    /// Writes that a thumbnail is not there after all, so that it is made again.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn lose_thumbnail(&self, asset: &str) -> Result<()> {
        self.write("write that a thumbnail is lost", |transaction| {
            transaction.execute(
                "UPDATE assets SET thumbnail = NULL WHERE id = ?1",
                params![asset],
            )?;
            Ok(())
        })
    }

    /// Assets of this server whose stream can be watched, by its row.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn published_streams(&self) -> Result<Vec<String>> {
        self.read("list the streams that are out", |transaction| {
            transaction.rows(
                "SELECT s.asset FROM streams s JOIN assets a ON a.id = s.asset
                 WHERE s.published = 1 AND s.cancelled = 0 AND a.home = ?1",
                params![self.home],
                |row| row.get(0),
            )
        })
    }

    /// Writes that a stream is not whole after all, so that what is missing is made again.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn lose_stream(&self, asset: &str) -> Result<()> {
        self.write("write that a stream is lost", |transaction| {
            transaction.execute(
                "UPDATE streams SET published = 0, finished = NULL, error = NULL WHERE asset = ?1",
                params![asset],
            )?;
            Ok(())
        })
    }
}
