//! Variants: what enrolled boards are to play in an original's place.
//!
//! What a board wants of an asset follows from the asset's facts, the board's row and its policy
//! ([`want`]); the key names everything that decides the result, so boards that would get the same
//! share one variant, and a changed target is another key. [`Catalog::wish`] writes the wants down;
//! what was there before stays a board's fallback until the new one is there.
//!
//! ```text
//! wish (asset, board) ─ key ──────► variant (asset, key): wanted, or there
//!                     └ fallback ─► variant (asset, key): there, until the one above is
//! ```
//! A variant that no wish points to is stale: its row goes, then its pin.

use std::collections::{HashMap, HashSet};

use crate::sql::{Row, Sql, Transaction, params};
use boards::{Board, Facts, Outcome, Policy};
use serde::Serialize;

use crate::{Catalog, Result, WorkKind};

/// How often a variant's rendering may be cut short by the end of the server before it counts as
/// the cause.
const MOST_STARTS: i64 = 3;

/// What a board wants of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The original plays: the variant is the same bytes.
    Original,
    /// A variant is to be made.
    Variant(Spec),
    /// It cannot play it, and nothing is made.
    Nothing,
}

/// A variant by everything that decides what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// A short name of `json`, the same for the same.
    pub key: String,
    /// Everything that decides the result.
    pub json: String,
}

/// One board's wish for a variant of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The board's id.
    pub board: String,
    /// What it is to get.
    pub spec: Spec,
    /// Since when it is wanted, in milliseconds since 1970.
    pub since_ms: i64,
}

/// A variant as it stands.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The asset it is made of.
    pub asset: String,
    /// Its name among the asset's variants.
    pub key: String,
    /// Everything that decided it, in JSON.
    pub spec: String,
    /// Since when it is wanted, in milliseconds since 1970.
    pub wished_ms: i64,
    /// An operator stopped it before it was there.
    pub cancelled: bool,
    /// A worker holds a lease on it now.
    pub leased: bool,
    /// What is there.
    pub made: Option<Made>,
    /// Why it could not be made.
    pub error: Option<String>,
    /// The end of what the worker said when it failed.
    pub log: Option<String>,
    /// Boards that want it.
    pub boards: Vec<String>,
    /// Boards that play it until what they want now is there.
    pub fallback_of: Vec<String>,
}

/// A variant with what a list says of its asset.
#[derive(Debug, Clone)]
pub struct ListedVariant {
    /// The variant.
    pub variant: Variant,
    /// The asset's name.
    pub name: String,
    /// The asset's priority.
    pub priority: i32,
    /// Whether the asset is paused.
    pub paused: bool,
}

/// A variant's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// CID of the file.
    pub cid: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its probe JSON.
    pub probe: String,
    /// How it was made, in the worker's own JSON.
    pub how: String,
    /// When it was there, in milliseconds since 1970.
    pub finished_ms: i64,
}

/// Where a variant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VariantState {
    /// Wanted, nobody works on it.
    Waiting,
    /// A worker makes it.
    Running,
    /// It is there.
    Done,
    /// It could not be made.
    Failed,
    /// An operator stopped it.
    Cancelled,
}

/// Which variants an operator means.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// Those of one asset only.
    pub asset: Option<&'a str>,
    /// Those that one board kind wants only.
    pub board: Option<&'a str>,
}

/// What of all variants is where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VariantTotals {
    /// Wanted and not begun, or running.
    pub unfinished: u64,
    /// There.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Bytes of those that are there.
    pub bytes: u64,
}

impl Variant {
    /// Where the variant stands.
    pub fn state(&self) -> VariantState {
        match self {
            Self { made: Some(_), .. } => VariantState::Done,
            Self { error: Some(_), .. } => VariantState::Failed,
            Self {
                cancelled: true, ..
            } => VariantState::Cancelled,
            Self { leased: true, .. } => VariantState::Running,
            _ => VariantState::Waiting,
        }
    }
}

/// What `board` wants of a file with these facts. `recipe` is how this server encodes:
/// another one makes other variants.
pub fn want(facts: &Facts, board: &Board, policy: Policy, recipe: &str) -> Want {
    if facts.picture {
        // Written by one encoder in one way, so nothing but its size decides.
        let (width, height) = (board.target.width, board.target.height);
        let json = format!("{{\"picture\":[{width},{height}]}}");
        return match policy.render {
            true => Want::Variant(Spec::new(json)),
            false => Want::Nothing,
        };
    }
    #[derive(Serialize)]
    struct Decides<'a> {
        made: &'a boards::Recipe,
        /// A copied picture is the original's, however this server encodes.
        encoded: Option<&'a str>,
    }
    let verdict = boards::verdict(facts, board, policy, "");
    let made = match (verdict.verdict, &verdict.recipe) {
        (Outcome::Plays, _) => return Want::Original,
        (Outcome::Render, Some(made)) => made,
        _ => return Want::Nothing,
    };
    let decides = Decides {
        made,
        encoded: made.encode.is_some().then_some(recipe),
    };
    match serde_json::to_string(&decides) {
        Ok(json) => Want::Variant(Spec::new(json)),
        // Numbers and texts; there is nothing in them that JSON has no form for.
        Err(_) => Want::Nothing,
    }
}

impl Spec {
    fn new(json: String) -> Self {
        const LETTERS: usize = 20;
        // Of memory, so there is nothing that could fail to be read.
        let cid = store::cid_of(json.as_bytes()).map(|(cid, _)| cid.to_string());
        let cid = cid.unwrap_or_default();
        let key = cid[cid.len().saturating_sub(LETTERS)..].to_owned();
        Self { key, json }
    }
}

const COLUMNS: &str =
    "v.asset, v.key, v.spec, v.wished, v.cancelled, v.cid, v.size, v.probe, v.how,
    v.finished, v.error, v.log,
    EXISTS (SELECT 1 FROM leases l
            WHERE l.work = 'render:' || v.asset || '.' || v.key AND l.until > ?1)";

/// A worker holds a live lease on it (?1: now).
const LEASED: &str = "EXISTS (SELECT 1 FROM leases l
    WHERE l.work = 'render:' || v.asset || '.' || v.key AND l.until > ?1)";

/// Not there, not failed and not stopped.
const UNFINISHED: &str = "v.cid IS NULL AND v.error IS NULL AND v.cancelled = 0";

fn from_row(row: &Row<'_>) -> Sql<Variant> {
    let cid: Option<String> = row.get(5)?;
    let made = match cid {
        None => None,
        Some(cid) => Some(Made {
            cid,
            size: row.get::<i64>(6)?.unsigned_abs(),
            probe: row.get(7)?,
            how: row.get(8)?,
            finished_ms: row.get(9)?,
        }),
    };
    Ok(Variant {
        asset: row.get(0)?,
        key: row.get(1)?,
        spec: row.get(2)?,
        wished_ms: row.get(3)?,
        cancelled: row.get::<i64>(4)? != 0,
        made,
        error: row.get(10)?,
        log: row.get(11)?,
        leased: row.get(12)?,
        boards: Vec::new(),
        fallback_of: Vec::new(),
    })
}

fn with_boards(transaction: &Transaction<'_>, mut variant: Variant) -> Sql<Variant> {
    let wishes: Vec<(String, String, Option<String>)> = transaction.rows(
        "SELECT board, key, fallback FROM wishes WHERE asset = ?1 ORDER BY board",
        params![variant.asset],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (board, key, fallback) in wishes {
        if key == variant.key {
            variant.boards.push(board);
        } else if fallback.as_ref() == Some(&variant.key) {
            variant.fallback_of.push(board);
        }
    }
    Ok(variant)
}

/// All variants of an asset, in the order in which they are wanted.
pub(crate) fn of(transaction: &Transaction<'_>, asset: &str, now_ms: i64) -> Sql<Vec<Variant>> {
    let found: Vec<Variant> = transaction.rows(
        &format!("SELECT {COLUMNS} FROM variants v WHERE v.asset = ?2 ORDER BY v.wished, v.key"),
        params![now_ms, asset],
        from_row,
    )?;
    found
        .into_iter()
        .map(|variant| with_boards(transaction, variant))
        .collect()
}

impl Catalog {
    /// Writes what the enrolled boards want of these assets: these variants and no others. What is
    /// there stays, as do failures and what was cancelled; a board whose wish changed keeps what
    /// it had until the new one is there. Gives back the assets with which anything changed.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn wish(&self, wanted: &[(&str, Vec<Wish>)]) -> Result<Vec<String>> {
        let changed = |transaction: &Transaction<'_>| -> Sql<Vec<usize>> {
            let mut changed = Vec::new();
            for (at, (asset, wishes)) in wanted.iter().enumerate() {
                let known = known_wishes(transaction, asset)?;
                let same = |wish: &Wish| {
                    known.get(&wish.board).map(|(key, _)| key) == Some(&wish.spec.key)
                };
                if known.len() != wishes.len() || !wishes.iter().all(same) {
                    changed.push(at);
                }
            }
            Ok(changed)
        };
        // Nearly always nothing is new, and then nobody need wait for a write.
        if self.read("read what is wished", changed)?.is_empty() {
            return Ok(Vec::new());
        }
        self.write("write what is wished", |transaction| {
            let changed = changed(transaction)?.into_iter().map(|at| &wanted[at]);
            changed
                .map(|(asset, wishes)| {
                    wish(transaction, asset, wishes)?;
                    Ok((*asset).to_owned())
                })
                .collect()
        })
    }

    /// Drops the rows of variants that no board plays any more, and gives back their asset and key:
    /// their pins go next, so that nobody is shown what is going.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn forget_stale_variants(&self) -> Result<Vec<(String, String)>> {
        self.write("forget stale variants", |transaction| {
            transaction.rows(
                "DELETE FROM variants
                     WHERE NOT EXISTS (SELECT 1 FROM wishes w WHERE w.asset = variants.asset
                                         AND (w.key = variants.key OR w.fallback = variants.key))
                     RETURNING asset, key",
                &[],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
    }

    /// Whether a variant is there because this server made it.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn has_made(&self, asset: &str, key: &str) -> Result<bool> {
        self.read("ask who made a variant", |transaction| {
            let made = transaction.row(
                "SELECT 1 FROM variants
                     WHERE asset = ?2 AND key = ?3 AND cid IS NOT NULL AND home = ?1",
                params![self.home, asset, key],
                |_| Ok(()),
            )?;
            Ok(made.is_some())
        })
    }

    /// Every variant that may have a pin of this server, as asset and key: those that it made, and
    /// those that a worker makes or will make.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn known_variants(&self) -> Result<HashSet<(String, String)>> {
        self.read("list the variants", |transaction| {
            transaction.rows(
                "SELECT asset, key FROM variants
                     WHERE (cid IS NOT NULL AND home = ?1)
                        OR (cid IS NULL AND error IS NULL AND cancelled = 0)",
                params![self.home],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
    }

    /// One variant.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn variant(&self, asset: &str, key: &str, now_ms: i64) -> Result<Option<Variant>> {
        self.read("read a variant", |transaction| {
            transaction
                .row(
                    &format!("SELECT {COLUMNS} FROM variants v WHERE v.asset = ?2 AND v.key = ?3"),
                    params![now_ms, asset, key],
                    from_row,
                )?
                .map(|variant| with_boards(transaction, variant))
                .transpose()
        })
    }

    /// Variants in one state, at most so many, in the order in which they are (or were) to be made.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn variants_in(
        &self,
        state: VariantState,
        most: usize,
        now_ms: i64,
    ) -> Result<Vec<ListedVariant>> {
        let which = match state {
            VariantState::Waiting => format!("{UNFINISHED} AND NOT {LEASED}"),
            VariantState::Running => format!("{UNFINISHED} AND {LEASED}"),
            VariantState::Done => "v.cid IS NOT NULL".to_owned(),
            VariantState::Failed => "v.cid IS NULL AND v.error IS NOT NULL".to_owned(),
            VariantState::Cancelled => {
                "v.cid IS NULL AND v.error IS NULL AND v.cancelled = 1".to_owned()
            }
        };
        // The keys first: whole rows are read of those only that are listed.
        let order = "ORDER BY a.priority DESC, v.wished, v.asset, v.key";
        let sql = format!(
            "SELECT {COLUMNS}, a.name, a.priority, a.paused
             FROM variants v JOIN assets a ON a.id = v.asset
             WHERE (v.asset, v.key) IN (
                 SELECT v.asset, v.key FROM variants v JOIN assets a ON a.id = v.asset
                 WHERE a.deleted = 0 AND {which} AND ?1 = ?1 {order} LIMIT ?2)
             {order}"
        );
        self.read("list variants", |transaction| {
            let found: Vec<ListedVariant> =
                transaction.rows(&sql, params![now_ms, most as i64], |row| {
                    Ok(ListedVariant {
                        variant: from_row(row)?,
                        name: row.get(13)?,
                        priority: row.get(14)?,
                        paused: row.get::<i64>(15)? != 0,
                    })
                })?;
            found
                .into_iter()
                .map(|listed| {
                    Ok(ListedVariant {
                        variant: with_boards(transaction, listed.variant)?,
                        ..listed
                    })
                })
                .collect()
        })
    }

    /// Counts all variants.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn variant_totals(&self) -> Result<VariantTotals> {
        self.read("count the variants", |transaction| {
            transaction.one(&format!(
                    "SELECT COUNT(*) FILTER (WHERE {UNFINISHED}),
                            COUNT(*) FILTER (WHERE v.cid IS NOT NULL),
                            COUNT(*) FILTER (WHERE v.cid IS NULL AND v.error IS NOT NULL),
                            COUNT(*) FILTER (WHERE v.cid IS NULL AND v.error IS NULL AND v.cancelled = 1),
                            CAST(COALESCE(SUM(v.size), 0) AS BIGINT)
                     FROM variants v"
                ), &[], |row| {
                    let number = |at| row.get::<i64>(at).map(i64::unsigned_abs);
                    Ok(VariantTotals {
                        unfinished: number(0)?,
                        done: number(1)?,
                        failed: number(2)?,
                        cancelled: number(3)?,
                        bytes: number(4)?,
                    })
                })
        })
    }

    /// Writes that the variant is there: the blocks are pinned. Boards that wanted it play it from
    /// now on. False when nobody wants it any more, it was cancelled, or the lease
    /// on it is not `holder`'s (`None`: no lease is asked for).
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn finish_variant(
        &self,
        asset: &str,
        key: &str,
        made: &Made,
        holder: Option<&str>,
    ) -> Result<bool> {
        self.write("write that a variant is there", |transaction| {
            if !may_write(transaction, asset, key, holder)? {
                return Ok(false);
            }
            let changed = transaction.execute(
                "UPDATE variants SET cid = ?3, size = ?4, probe = ?5, how = ?6, finished = ?7,
                                     error = NULL, log = NULL, cancelled = 0, starts = 0,
                                     home = ?8
                 WHERE asset = ?1 AND key = ?2 AND cancelled = 0 AND error IS NULL",
                params![
                    asset,
                    key,
                    made.cid,
                    made.size as i64,
                    made.probe,
                    made.how,
                    made.finished_ms,
                    self.home
                ],
            )?;
            if changed > 0 {
                transaction.execute(
                    "UPDATE wishes SET fallback = NULL WHERE asset = ?1 AND key = ?2",
                    params![asset, key],
                )?;
            }
            Ok(changed > 0)
        })
    }

    /// Writes that the variant is not there after all, so that it is made again.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn lose_variant(&self, asset: &str, key: &str) -> Result<()> {
        self.write("write that a variant is lost", |transaction| {
            transaction.execute("UPDATE variants SET cid = NULL, size = NULL, probe = NULL, how = NULL, finished = NULL
                 WHERE asset = ?1 AND key = ?2", params![asset, key])?;
            Ok(())
        })
    }

    /// Writes why the variant cannot be made, with the end of what the worker said, while the lease
    /// on it is `holder`'s (`None`: no lease is asked for).
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn fail_variant(
        &self,
        asset: &str,
        key: &str,
        error: &str,
        log: Option<&str>,
        holder: Option<&str>,
    ) -> Result<()> {
        self.write("write why a variant failed", |transaction| {
            if !may_write(transaction, asset, key, holder)? {
                return Ok(());
            }
            transaction.execute("UPDATE variants SET error = ?3, log = ?4 WHERE asset = ?1 AND key = ?2 AND cid IS NULL", params![asset, key, error, log])?;
            Ok(())
        })
    }

    /// Takes back that a rendering was begun: it was stopped in order, which says nothing about it.
    /// Nothing happens when the lease on it is not `holder`'s (`None`: no lease is asked for).
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn unstart_variant(&self, asset: &str, key: &str, holder: Option<&str>) -> Result<()> {
        self.write("take back a start", |transaction| {
            if !may_write(transaction, asset, key, holder)? {
                return Ok(());
            }
            unstart(transaction, asset, key)?;
            Ok(())
        })
    }

    /// Stops what is not there yet. Gives back the assets that concerns.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn cancel_variants(&self, scope: Scope<'_>) -> Result<Vec<String>> {
        self.change_variants("cancel variants", "cancelled = 1", UNFINISHED, scope)
    }

    /// Asks again for what failed or was cancelled. Gives back the assets that concerns.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn retry_variants(&self, scope: Scope<'_>) -> Result<Vec<String>> {
        self.change_variants(
            "retry variants",
            "cancelled = 0, error = NULL, log = NULL, starts = 0",
            "v.cid IS NULL AND (v.error IS NOT NULL OR v.cancelled = 1)",
            scope,
        )
    }

    fn change_variants(
        &self,
        operation: &'static str,
        change: &str,
        which: &str,
        scope: Scope<'_>,
    ) -> Result<Vec<String>> {
        self.write(operation, |transaction| {
            let mut assets: Vec<String> = transaction.rows(
                &format!(
                    "UPDATE variants AS v SET {change}
                     WHERE {which} AND (?1 IS NULL OR v.asset = ?1)
                       AND (?2 IS NULL OR EXISTS (SELECT 1 FROM wishes w
                            WHERE w.asset = v.asset AND w.key = v.key AND w.board = ?2))
                     RETURNING asset"
                ),
                params![scope.asset, scope.board],
                |row| row.get(0),
            )?;
            assets.sort();
            assets.dedup();
            Ok(assets)
        })
    }

    /// Pauses the rendering of an asset, or goes on with it. False when there is no such asset.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn pause_asset(&self, asset: &str, paused: bool) -> Result<bool> {
        self.write("pause an asset", |transaction| {
            let changed = transaction.execute(
                "UPDATE assets SET paused = ?2 WHERE id = ?1 AND deleted = 0",
                params![asset, i64::from(paused)],
            )?;
            Ok(changed > 0)
        })
    }

    /// Puts the asset's variants before those of a lower priority, or all of them at once; 0 is
    /// where everything begins. False when there is no such asset.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn set_priority(&self, asset: Option<&str>, priority: i32) -> Result<bool> {
        self.write("set a priority", |transaction| {
            let changed = transaction.execute(
                "UPDATE assets SET priority = ?2 WHERE (?1 IS NULL OR id = ?1) AND deleted = 0",
                params![asset, priority],
            )?;
            Ok(changed > 0 || asset.is_none())
        })
    }

    /// Pauses all rendering, or goes on with it.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn pause_rendering(&self, paused: bool) -> Result<()> {
        self.write("pause rendering", |transaction| {
            transaction.execute("DELETE FROM settings WHERE name = 'rendering'", &[])?;
            if paused {
                transaction.execute(
                    "INSERT INTO settings (name, value) VALUES ('rendering', 'paused')",
                    &[],
                )?;
            }
            Ok(())
        })
    }

    /// Whether all rendering is paused.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn rendering_paused(&self) -> Result<bool> {
        self.read("ask whether rendering is paused", |transaction| {
            transaction.exists(
                "SELECT 1 FROM settings WHERE name = 'rendering' AND value = 'paused'",
                &[],
            )
        })
    }

    /// Every variant that this server made, as asset, key and CID: each has a pin.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn made_variants(&self) -> Result<Vec<(String, String, String)>> {
        self.read("list the variants that are there", |transaction| {
            transaction.rows(
                "SELECT asset, key, cid FROM variants WHERE cid IS NOT NULL AND home = ?1",
                params![self.home],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
        })
    }
}

fn wish(transaction: &Transaction<'_>, asset: &str, wishes: &[Wish]) -> Sql<()> {
    let alive = transaction.exists(
        "SELECT 1 FROM assets WHERE id = ?1 AND deleted = 0",
        params![asset],
    )?;
    if !alive {
        return Ok(());
    }
    let known = known_wishes(transaction, asset)?;
    let there = |key: &str| -> Sql<bool> {
        transaction.exists(
            "SELECT 1 FROM variants WHERE asset = ?1 AND key = ?2 AND cid IS NOT NULL",
            params![asset, key],
        )
    };
    for wish in wishes {
        let (key, spec) = (&wish.spec.key, &wish.spec.json);
        transaction.execute(
            "INSERT INTO variants (asset, key, spec, wished) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (asset, key) DO NOTHING",
            params![asset, key, spec, wish.since_ms],
        )?;
        let fallback = match known.get(&wish.board) {
            _ if there(key)? => None,
            Some((old, _)) if old != key && there(old)? => Some(old.clone()),
            Some((_, fallback)) => fallback.clone(),
            None => None,
        };
        transaction.execute(
            "INSERT INTO wishes (asset, board, key, fallback) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (asset, board)
                 DO UPDATE SET key = excluded.key, fallback = excluded.fallback",
            params![asset, wish.board, key, fallback],
        )?;
    }
    for board in known.keys() {
        if !wishes.iter().any(|wish| wish.board == *board) {
            transaction.execute(
                "DELETE FROM wishes WHERE asset = ?1 AND board = ?2",
                params![asset, board],
            )?;
        }
    }
    // What was waited for and nobody wants any more.
    transaction.execute(
        "DELETE FROM variants WHERE asset = ?1 AND cid IS NULL
               AND NOT EXISTS (SELECT 1 FROM wishes w
                               WHERE w.asset = variants.asset AND w.key = variants.key)",
        params![asset],
    )?;
    Ok(())
}

fn known_wishes(
    transaction: &Transaction<'_>,
    asset: &str,
) -> Sql<HashMap<String, (String, Option<String>)>> {
    transaction.rows(
        "SELECT board, key, fallback FROM wishes WHERE asset = ?1",
        params![asset],
        |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))),
    )
}

/// Whether `holder` may write what became of its work: its lease may have run out and be another's
/// by now. The row is locked first, as a claim does, so that nobody claims it between this look
/// and what is written after it.
fn may_write(
    transaction: &Transaction<'_>,
    asset: &str,
    key: &str,
    holder: Option<&str>,
) -> Sql<bool> {
    let lock = transaction.locking();
    let there = transaction.exists(
        &format!("SELECT 1 FROM variants WHERE asset = ?1 AND key = ?2{lock}"),
        params![asset, key],
    )?;
    let Some(holder) = holder else {
        return Ok(there);
    };
    let lease = WorkKind::Render.lease_name(&format!("{asset}.{key}"));
    let held = transaction.exists(
        "SELECT 1 FROM leases WHERE work = ?1 AND holder = ?2",
        params![lease, holder],
    )?;
    Ok(there && held)
}

/// The most urgent variant that nobody works on (?1: now) and that this server can make, as asset
/// and key.
pub(crate) fn most_urgent(
    catalog: &Catalog,
    transaction: &Transaction<'_>,
    now_ms: i64,
) -> Sql<Option<(String, String)>> {
    // Whatever ended the server that often may be what rendering this does to the machine.
    transaction.execute(
        &format!(
            "UPDATE variants AS v SET error = 'the server ended ' || v.starts ||
                 ' times while this was rendered, so it is left alone until it is asked for again'
             WHERE {UNFINISHED} AND v.starts >= {MOST_STARTS} AND NOT {LEASED}"
        ),
        params![now_ms],
    )?;
    let claim = transaction.claiming("v");
    transaction.row(
        &format!(
            "SELECT v.asset, v.key FROM variants v JOIN assets a ON a.id = v.asset
             WHERE {UNFINISHED} AND a.deleted = 0 AND a.paused = 0 AND NOT {LEASED}
               AND NOT EXISTS (SELECT 1 FROM settings s
                               WHERE s.name = 'rendering' AND s.value = 'paused')
             AND (a.home = ?2 OR (a.shared = 1 AND ?3 = 1))
             ORDER BY a.priority DESC, v.wished, v.asset, v.key LIMIT 1{claim}"
        ),
        params![now_ms, catalog.home, i64::from(catalog.reads_others)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Writes that a worker begins.
pub(crate) fn start(transaction: &Transaction<'_>, asset: &str, key: &str) -> Sql<usize> {
    transaction.execute(
        "UPDATE variants SET starts = starts + 1 WHERE asset = ?1 AND key = ?2",
        params![asset, key],
    )
}

/// Takes that back.
pub(crate) fn unstart(transaction: &Transaction<'_>, asset: &str, key: &str) -> Sql<usize> {
    transaction.execute(
        "UPDATE variants SET starts = starts - 1 WHERE asset = ?1 AND key = ?2 AND starts > 0",
        params![asset, key],
    )
}
