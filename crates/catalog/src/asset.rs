//! Assets: one row per uploaded original, with what was found in it.
//!
//! The state of an asset is read off its columns. Verdicts are computed when asked, from the
//! stored probe JSON, so that a changed board table needs no migration.

use boards::{Facts, Policy, Table, Verdict};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::stream::{self, Stream};
use crate::{Catalog, Result};

/// An asset as it stands.
#[derive(Debug, Clone)]
pub struct Asset {
    /// Its identifier, in every address of the asset.
    pub id: String,
    /// The display name: the last component of what the uploader called the file.
    pub name: String,
    /// Size of the original in bytes.
    pub size: u64,
    /// CID of the original.
    pub cid: String,
    /// When it came, in milliseconds since 1970.
    pub created_ms: i64,
    /// The probe JSON, once it was looked at.
    pub probe: Option<String>,
    /// Why it could not be looked at, or is not a video.
    pub error: Option<String>,
    /// CID of the JPEG thumbnail.
    pub thumbnail: Option<String>,
    /// The stream wanted of it, if one is.
    pub stream: Option<Stream>,
}

/// Where an asset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetState {
    /// Nobody has looked at it yet.
    Probing,
    /// It is a video and its facts are known.
    Ready,
    /// It is not a video, or could not be read.
    Failed,
}

/// A row to be made.
#[derive(Debug, Clone)]
pub struct NewAsset<'a> {
    /// Its identifier.
    pub id: &'a str,
    /// The display name.
    pub name: &'a str,
    /// Size of the original in bytes.
    pub size: u64,
    /// CID of the original.
    pub cid: &'a str,
    /// Now, in milliseconds since 1970.
    pub created_ms: i64,
    /// Whether a stream of it is wanted from the start.
    pub want_stream: bool,
    /// The upload it came from, which then says which asset it became.
    pub upload: Option<&'a str>,
}

impl Asset {
    /// Where the asset stands.
    pub fn state(&self) -> AssetState {
        match (&self.error, &self.probe) {
            (Some(_), _) => AssetState::Failed,
            (None, Some(_)) => AssetState::Ready,
            (None, None) => AssetState::Probing,
        }
    }

    /// What is in the file, as the boards see it; `None` until it was looked at.
    pub fn facts(&self) -> Option<Facts> {
        serde_json::from_str(self.probe.as_deref()?).ok()
    }

    /// What each board of `table` makes of the asset; empty unless it is ready.
    pub fn verdicts(&self, table: &Table, policy: Policy) -> Vec<Verdict> {
        let Some(facts) = self.facts().filter(|_| self.state() == AssetState::Ready) else {
            return Vec::new();
        };
        table
            .boards()
            .iter()
            .map(|board| boards::verdict(&facts, board, policy, &self.name))
            .collect()
    }
}

const COLUMNS: &str = "id, name, size, cid, created, probe, probe_error, thumbnail";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Asset> {
    Ok(Asset {
        id: row.get(0)?,
        name: row.get(1)?,
        size: row.get::<_, i64>(2)?.unsigned_abs(),
        cid: row.get(3)?,
        created_ms: row.get(4)?,
        probe: row.get(5)?,
        error: row.get(6)?,
        thumbnail: row.get(7)?,
        stream: None,
    })
}

fn with_stream(
    transaction: &Transaction<'_>,
    mut asset: Asset,
    now_ms: i64,
) -> rusqlite::Result<Asset> {
    asset.stream = stream::of(transaction, &asset.id, now_ms)?;
    Ok(asset)
}

impl Catalog {
    /// Makes the asset's row, its wanted stream, and the upload's answer, all or none.
    /// Making it again changes nothing, so an interrupted upload may be finished twice.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn add_asset(&self, new: &NewAsset<'_>) -> Result<()> {
        self.write("add an asset", |transaction| {
            transaction.execute(
                "INSERT INTO assets (id, name, size, cid, created) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO NOTHING",
                params![new.id, new.name, new.size as i64, new.cid, new.created_ms],
            )?;
            if new.want_stream {
                transaction.execute(
                    "INSERT INTO streams (asset, created) VALUES (?1, ?2)
                     ON CONFLICT (asset) DO NOTHING",
                    params![new.id, new.created_ms],
                )?;
            }
            if let Some(upload) = new.upload {
                transaction.execute(
                    "UPDATE uploads SET asset = ?2 WHERE id = ?1",
                    params![upload, new.id],
                )?;
            }
            Ok(())
        })
    }

    /// The asset called `id`, unless it is being removed.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn asset(&self, id: &str, now_ms: i64) -> Result<Option<Asset>> {
        self.read("read an asset", |transaction| {
            transaction
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM assets WHERE id = ?1 AND deleted = 0"
                ))?
                .query_row([id], from_row)
                .optional()?
                .map(|asset| with_stream(transaction, asset, now_ms))
                .transpose()
        })
    }

    /// All assets, newest first.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn assets(&self, now_ms: i64) -> Result<Vec<Asset>> {
        self.read("list the assets", |transaction| {
            transaction
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM assets WHERE deleted = 0 ORDER BY created DESC, id"
                ))?
                .query_map([], from_row)?
                .map(|asset| with_stream(transaction, asset?, now_ms))
                .collect()
        })
    }

    /// Writes what was found in the asset.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_probe(&self, id: &str, probe_json: &str) -> Result<()> {
        self.write("write what is in an asset", |transaction| {
            transaction.execute(
                "UPDATE assets SET probe = ?2, probe_error = NULL WHERE id = ?1",
                params![id, probe_json],
            )?;
            Ok(())
        })
    }

    /// Marks the asset as no video. What was found is kept if there is any; its stream is no
    /// longer wanted, because there is nothing to stream.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn fail_asset(&self, id: &str, error: &str, probe_json: Option<&str>) -> Result<()> {
        self.write("write why an asset failed", |transaction| {
            transaction.execute(
                "UPDATE assets SET probe_error = ?2, probe = ?3 WHERE id = ?1",
                params![id, error, probe_json],
            )?;
            transaction.execute("DELETE FROM streams WHERE asset = ?1", [id])?;
            Ok(())
        })
    }

    /// Asks again to look at an asset that could not be read, in case that was not the file's
    /// fault. False when it was read and is no video, or did not fail.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn look_again(&self, id: &str) -> Result<bool> {
        self.write("look at an asset again", |transaction| {
            let changed = transaction.execute(
                "UPDATE assets SET probe_error = NULL
                 WHERE id = ?1 AND deleted = 0 AND probe IS NULL AND probe_error IS NOT NULL",
                [id],
            )?;
            Ok(changed > 0)
        })
    }

    /// Writes the thumbnail's CID.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_thumbnail(&self, id: &str, cid: &str) -> Result<()> {
        self.write("write a thumbnail", |transaction| {
            transaction.execute(
                "UPDATE assets SET thumbnail = ?2, thumbnail_error = NULL WHERE id = ?1",
                params![id, cid],
            )?;
            Ok(())
        })
    }

    /// Writes why there is no thumbnail, so that none is tried for ever.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn fail_thumbnail(&self, id: &str, error: &str) -> Result<()> {
        self.write("write why a thumbnail failed", |transaction| {
            transaction.execute(
                "UPDATE assets SET thumbnail_error = ?2 WHERE id = ?1",
                params![id, error],
            )?;
            Ok(())
        })
    }

    /// Asks for the asset's removal. From here on nobody sees it and no work on it is given out.
    /// False when there is no such asset.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn delete_asset(&self, id: &str) -> Result<bool> {
        self.write("delete an asset", |transaction| {
            let changed = transaction.execute(
                "UPDATE assets SET deleted = 1 WHERE id = ?1 AND deleted = 0",
                [id],
            )?;
            Ok(changed > 0)
        })
    }

    /// Assets whose removal was asked for and not finished.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn deleted_assets(&self) -> Result<Vec<String>> {
        self.read("list what is being deleted", |transaction| {
            transaction
                .prepare_cached("SELECT id FROM assets WHERE deleted = 1")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Everything that may have roots in the store: assets, those being removed too, and uploads
    /// on their way to become one.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn known_assets(&self) -> Result<std::collections::HashSet<String>> {
        self.read("list what is known", |transaction| {
            transaction
                .prepare_cached("SELECT id FROM assets UNION SELECT id FROM uploads")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Drops a deleted asset's rows. Called last, when nothing hangs on the rows any more.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn forget_asset(&self, id: &str) -> Result<()> {
        self.write("forget an asset", |transaction| {
            transaction.execute("DELETE FROM uploads WHERE asset = ?1", [id])?;
            transaction.execute("DELETE FROM assets WHERE id = ?1 AND deleted = 1", [id])?;
            Ok(())
        })
    }
}
