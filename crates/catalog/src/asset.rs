//! Assets: one row per uploaded original, with what was found in it.
//!
//! The state of an asset is read off its columns. What boards make of it is computed when asked,
//! from the stored probe JSON, so that a changed board table needs no migration.

use crate::sql::{Row, Sql, Transaction, params};
use boards::Facts;

use crate::stream::{self, Stream};
use crate::variant::{self, Variant};
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
    /// Its variants come before those of assets with a lower one.
    pub priority: i32,
    /// Nothing is rendered of it for now.
    pub paused: bool,
    /// The stream wanted of it, if one is.
    pub stream: Option<Stream>,
    /// The variants that boards want of it, and those they play until these are there.
    pub variants: Vec<Variant>,
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

/// Some of all assets, newest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct AssetPage<'a> {
    /// Only those whose name contains this; upper and lower case of ASCII letters are one.
    pub search: Option<&'a str>,
    /// Only those that stand there.
    pub state: Option<AssetState>,
    /// Only those that come after this one, by its time and its id.
    pub after: Option<(i64, &'a str)>,
    /// At most so many.
    pub limit: usize,
}

/// What is known of an asset that a board may play, without anything else.
#[derive(Debug, Clone)]
pub struct AssetFacts {
    /// Its identifier.
    pub id: String,
    /// When it came, in milliseconds since 1970.
    pub created_ms: i64,
    /// The probe JSON.
    pub probe: String,
}

/// What takes how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Originals.
    pub originals: u64,
    /// Variants that are there.
    pub variants: u64,
    /// Segments of assets' streams.
    pub streams: u64,
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

    /// What is in the file, as the boards see it; `None` unless it is ready.
    pub fn facts(&self) -> Option<Facts> {
        let probe = self.probe.as_deref();
        let ready = probe.filter(|_| self.state() == AssetState::Ready)?;
        serde_json::from_str(ready).ok()
    }
}

const COLUMNS: &str =
    "id, name, size, cid, created, probe, probe_error, thumbnail, priority, paused";

fn from_row(row: &Row<'_>) -> Sql<Asset> {
    Ok(Asset {
        id: row.get(0)?,
        name: row.get(1)?,
        size: row.get::<i64>(2)?.unsigned_abs(),
        cid: row.get(3)?,
        created_ms: row.get(4)?,
        probe: row.get(5)?,
        error: row.get(6)?,
        thumbnail: row.get(7)?,
        priority: row.get(8)?,
        paused: row.get::<i64>(9)? != 0,
        stream: None,
        variants: Vec::new(),
    })
}

fn whole(transaction: &Transaction<'_>, mut asset: Asset, now_ms: i64) -> Sql<Asset> {
    asset.stream = stream::of(transaction, &asset.id, now_ms)?;
    asset.variants = variant::of(transaction, &asset.id, now_ms)?;
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
                "INSERT INTO assets (id, name, size, cid, created, home) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO NOTHING",
                params![new.id, new.name, new.size as i64, new.cid, new.created_ms, self.home],
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
                .row(
                    &format!("SELECT {COLUMNS} FROM assets WHERE id = ?1 AND deleted = 0"),
                    params![id],
                    from_row,
                )?
                .map(|asset| whole(transaction, asset, now_ms))
                .transpose()
        })
    }

    /// A page of the assets, newest first, and how many there are on all pages.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn assets(&self, page: &AssetPage<'_>, now_ms: i64) -> Result<(Vec<Asset>, u64)> {
        let state = match page.state {
            None => "",
            Some(AssetState::Probing) => "AND probe IS NULL AND probe_error IS NULL",
            Some(AssetState::Ready) => "AND probe IS NOT NULL AND probe_error IS NULL",
            Some(AssetState::Failed) => "AND probe_error IS NOT NULL",
        };
        let which = format!(
            "deleted = 0 AND (?1 IS NULL OR replace(lower(name), ?1, '') <> lower(name)) {state}"
        );
        let search = page.search.filter(|search| !search.is_empty());
        let search = search.map(str::to_ascii_lowercase);
        self.read("list the assets", |transaction| {
            let total: i64 = transaction.one(
                &format!("SELECT COUNT(*) FROM assets WHERE {which}"),
                params![search],
                |row| row.get(0),
            )?;
            // Two statements, so that the first page needs no comparison.
            let (after, created, id) = match page.after {
                Some((created, id)) => (
                    "AND created <= ?2 AND (created < ?2 OR id > ?3)",
                    Some(created),
                    Some(id),
                ),
                None => ("AND ?2 IS NULL AND ?3 IS NULL", None, None),
            };
            let found: Vec<Asset> = transaction.rows(
                &format!(
                    "SELECT {COLUMNS} FROM assets WHERE {which} {after}
                     ORDER BY created DESC, id LIMIT ?4"
                ),
                params![search, created, id, page.limit as i64],
                from_row,
            )?;
            let assets = found
                .into_iter()
                .map(|asset| whole(transaction, asset, now_ms))
                .collect::<Sql<_>>()?;
            Ok((assets, total.unsigned_abs()))
        })
    }

    /// What is in the assets that are ready, in the order of their ids: so many after `after`.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn facts_after(&self, after: &str, limit: usize) -> Result<Vec<AssetFacts>> {
        self.read("read what is in the assets", |transaction| {
            transaction.rows(
                "SELECT id, created, probe FROM assets
                     WHERE id > ?1 AND deleted = 0 AND probe IS NOT NULL AND probe_error IS NULL
                     ORDER BY id LIMIT ?2",
                params![after, limit as i64],
                |row| {
                    Ok(AssetFacts {
                        id: row.get(0)?,
                        created_ms: row.get(1)?,
                        probe: row.get(2)?,
                    })
                },
            )
        })
    }

    /// What the assets take of the disk, what is shared counted for each.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn usage(&self) -> Result<Usage> {
        self.read("add up sizes", |transaction| {
            transaction.one(
                "SELECT (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM assets),
                            (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM variants),
                            (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM rungs)",
                &[],
                |row| {
                    let number = |at| row.get::<i64>(at).map(i64::unsigned_abs);
                    Ok(Usage {
                        originals: number(0)?,
                        variants: number(1)?,
                        streams: number(2)?,
                    })
                },
            )
        })
    }

    /// Every original of this server as asset and CID, those being removed left out: each has a pin.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn originals(&self) -> Result<Vec<(String, String)>> {
        self.read("list the originals", |transaction| {
            transaction.rows(
                "SELECT id, cid FROM assets WHERE deleted = 0 AND home = ?1 ORDER BY id",
                params![self.home],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
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
            transaction.execute("DELETE FROM streams WHERE asset = ?1", params![id])?;
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
                params![id],
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
                params![id],
            )?;
            Ok(changed > 0)
        })
    }

    /// Assets of this server whose removal was asked for and not finished.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn deleted_assets(&self) -> Result<Vec<String>> {
        self.read("list what is being deleted", |transaction| {
            transaction.rows(
                "SELECT id FROM assets WHERE deleted = 1 AND home = ?1",
                params![self.home],
                |row| row.get(0),
            )
        })
    }

    /// Originals of this server that other servers cannot read yet, as asset and CID, oldest first.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn unshared_originals(&self, most: usize) -> Result<Vec<(String, String)>> {
        self.read("list what is not shared", |transaction| {
            transaction.rows(
                "SELECT id, cid FROM assets WHERE deleted = 0 AND shared = 0 AND home = ?1
                 ORDER BY created, id LIMIT ?2",
                params![self.home, most as i64],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
    }

    /// Writes that other servers can read this original.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn share_original(&self, id: &str) -> Result<()> {
        self.write("share an original", |transaction| {
            transaction.execute("UPDATE assets SET shared = 1 WHERE id = ?1", params![id])?;
            Ok(())
        })
    }

    /// Whether some asset's original, thumbnail or variant has this CID.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn names_content(&self, cid: &str) -> Result<bool> {
        self.read("look for a CID", |transaction| {
            transaction.one(
                "SELECT EXISTS (SELECT 1 FROM assets WHERE cid = ?1 OR thumbnail = ?1)
                     OR EXISTS (SELECT 1 FROM variants WHERE cid = ?1)",
                params![cid],
                |row| row.get(0),
            )
        })
    }

    /// Everything that may have roots in the store: assets, those being removed too, and uploads
    /// on their way to become one.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn known_assets(&self) -> Result<std::collections::HashSet<String>> {
        self.read("list what is known", |transaction| {
            transaction.rows(
                "SELECT id FROM assets UNION SELECT id FROM uploads UNION SELECT name FROM lives",
                &[],
                |row| row.get(0),
            )
        })
    }

    /// Drops the rows of a deleted asset of this server. Called last, when nothing hangs on the rows
    /// any more; another server does it for its own.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn forget_asset(&self, id: &str) -> Result<()> {
        self.write("forget an asset", |transaction| {
            transaction.execute("DELETE FROM uploads WHERE asset = ?1", params![id])?;
            transaction.execute(
                "DELETE FROM assets WHERE id = ?1 AND deleted = 1 AND home = ?2",
                params![id, self.home],
            )?;
            Ok(())
        })
    }
}
