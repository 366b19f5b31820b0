//! Assets as clients see them: the JSON of `/api/assets` and of events.
//!
//! Made from the catalog's rows each time; verdicts are computed here, so a changed board table
//! or policy shows at once.

use std::collections::HashMap;

use catalog::{AssetState, StreamState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::reconcile::making::{KeptPlan, KeptRung};
use crate::time::rfc3339;

/// Policies of the enrolled boards.
pub(crate) type Policies = HashMap<String, boards::Policy>;

/// An uploaded file and everything known about it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Asset {
    /// Its identifier.
    #[schema(example = "k3v9q2m7x1c8w4zb")]
    pub(crate) id: String,
    /// The file's name.
    #[schema(example = "clip.mp4")]
    pub(crate) name: String,
    /// Its size in bytes.
    size: u64,
    /// CID of the original; `/ipfs/{cid}` serves it.
    cid: String,
    /// When it was added (RFC 3339, UTC).
    #[schema(example = "2026-11-20T10:00:00Z")]
    created: String,
    /// `probing` until it was looked at, then `ready`, or `failed` with `error`.
    state: State,
    /// Why it failed: the file and the reason.
    error: Option<String>,
    /// What is in the file, as `kinora probe --json` says it.
    #[schema(value_type = Option<Object>)]
    probe: Option<Value>,
    /// Address of the thumbnail (JPEG).
    thumbnail: Option<String>,
    /// What each board makes of it, as `kinora check --json` says it. Empty until ready.
    #[schema(value_type = Vec<Object>)]
    verdicts: Vec<boards::Verdict>,
    /// Its stream, if one is wanted.
    stream: Option<Stream>,
    /// What each enrolled board is to play of it.
    pub(crate) variants: Vec<Variant>,
    /// Its variants are made before those of assets with a lower priority.
    priority: i32,
    /// Nothing is rendered of it until it is resumed.
    paused: bool,
}

/// What one enrolled board is to play of an asset.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Variant {
    /// The board's identifier.
    #[schema(example = "pi4-64")]
    pub(crate) board: String,
    /// `original`: the file plays as it is. `rejected`: it does not play, and nothing is made of it.
    state: VariantState,
    /// Address of what the board is to play now: an earlier variant until the one that is wanted is
    /// there.
    pub(crate) url: Option<String>,
    /// Which variant; boards with the same one share it.
    key: Option<String>,
    /// Size of the file in bytes, once it is there.
    size: Option<u64>,
    /// How it was made, once it is there.
    #[schema(value_type = Option<Object>)]
    how: Option<Value>,
    /// How far it is, while it is being made.
    progress: Option<Progress>,
    /// Why it failed or is rejected.
    error: Option<String>,
    /// The end of what the worker said when it failed, in lines.
    log: Option<String>,
    /// Since when it is wanted (RFC 3339, UTC).
    wanted_since: Option<String>,
}

/// Where a variant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VariantState {
    Original,
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
    Rejected,
}

/// Where an asset stands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Probing,
    Ready,
    Failed,
}

impl State {
    pub(crate) fn of_row(self) -> AssetState {
        match self {
            Self::Probing => AssetState::Probing,
            Self::Ready => AssetState::Ready,
            Self::Failed => AssetState::Failed,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Probing => "probing",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// An adaptive stream (HLS), there or on its way.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Stream {
    /// Where it stands.
    state: Making,
    /// Why it failed: the file and the reason.
    error: Option<String>,
    /// Address of the master playlist, once every rung has a segment. It can be played while
    /// it is still being made.
    url: Option<String>,
    /// How far it is, while it is being made.
    progress: Option<Progress>,
    /// Its rungs, best first.
    rungs: Vec<Rung>,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Making {
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// How far a stream is.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct Progress {
    /// From 0 to 1.
    pub(crate) fraction: f64,
    /// Seconds of the video that are done.
    pub(crate) media_s: f64,
    /// Seconds of the video.
    pub(crate) total_s: Option<f64>,
    /// Seconds of video per second.
    pub(crate) speed: Option<f64>,
    /// Seconds left, as far as can be told.
    pub(crate) eta_s: Option<f64>,
    /// What it waits for, when nothing gets done: room on the disk.
    pub(crate) waiting: Option<String>,
}

/// One resolution of a stream.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Rung {
    /// Its name.
    #[schema(example = "720p")]
    name: String,
    width: u32,
    height: u32,
    /// The bit rate it aims at, in bits per second.
    bit_rate: u64,
    /// Segments that are there.
    segments: u64,
    /// Their size in bytes.
    bytes: u64,
    /// Whether the source's own pictures are used, unencoded.
    copied: bool,
}

impl VariantState {
    pub(crate) fn of_row(state: catalog::VariantState) -> Self {
        match state {
            catalog::VariantState::Waiting => Self::Waiting,
            catalog::VariantState::Running => Self::Running,
            catalog::VariantState::Done => Self::Done,
            catalog::VariantState::Failed => Self::Failed,
            catalog::VariantState::Cancelled => Self::Cancelled,
        }
    }
}

impl Variant {
    /// Why there is nothing that the board could play.
    pub(crate) fn nothing_there(&self, asset: &str) -> String {
        let board = &self.board;
        match (&self.state, &self.error) {
            (VariantState::Rejected, Some(why)) => {
                format!("{asset}: {board} cannot play it: {why}")
            }
            (VariantState::Failed, Some(why)) => why.clone(),
            (VariantState::Cancelled, _) => {
                format!("{asset}: its variant for {board} was cancelled")
            }
            _ => format!("{asset}: its variant for {board} is not there yet"),
        }
    }
}

/// The asset as clients see it.
pub(crate) fn asset(app: &App, row: &catalog::Asset, policies: &Policies) -> Asset {
    let verdicts = verdicts(app, row, policies);
    Asset {
        id: row.id.clone(),
        name: row.name.clone(),
        size: row.size,
        cid: row.cid.clone(),
        created: rfc3339(row.created_ms),
        state: match row.state() {
            AssetState::Probing => State::Probing,
            AssetState::Ready => State::Ready,
            AssetState::Failed => State::Failed,
        },
        error: row.error.clone(),
        probe: row
            .probe
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok()),
        thumbnail: row
            .thumbnail
            .is_some()
            .then(|| format!("/api/assets/{}/thumbnail", row.id)),
        stream: row
            .stream
            .as_ref()
            .map(|stream| self::stream(app, row, stream)),
        variants: verdicts
            .iter()
            .filter(|verdict| policies.contains_key(&verdict.board))
            .map(|verdict| variant(app, row, verdict, policies.get(&verdict.board)))
            .collect(),
        verdicts,
        priority: row.priority,
        paused: row.paused,
    }
}

/// What each board makes of the asset; empty unless it is ready.
fn verdicts(app: &App, row: &catalog::Asset, policies: &Policies) -> Vec<boards::Verdict> {
    let Some(facts) = row.facts() else {
        return Vec::new();
    };
    let table = app.table.now();
    let boards = table.boards().iter();
    boards
        .map(|board| {
            let policy = policies.get(&board.id).copied().unwrap_or(app.policy);
            boards::verdict(&facts, board, policy, &row.name)
        })
        .collect()
}

fn variant(
    app: &App,
    row: &catalog::Asset,
    verdict: &boards::Verdict,
    policy: Option<&boards::Policy>,
) -> Variant {
    let board = &verdict.board;
    // No board plays a picture by itself; what it shows is one that fits it.
    let picture = row.facts().is_some_and(|facts| facts.picture);
    let outcome = match policy {
        Some(policy) if picture && policy.render => boards::Outcome::Render,
        _ => verdict.verdict,
    };
    let wanted = row.variants.iter().find(|v| v.boards.contains(board));
    let there = wanted.filter(|variant| variant.made.is_some()).or_else(|| {
        let mut variants = row.variants.iter();
        variants.find(|variant| variant.fallback_of.contains(board))
    });
    let cid = match outcome {
        boards::Outcome::Plays => Some(&row.cid),
        _ => there.and_then(|variant| variant.made.as_ref().map(|made| &made.cid)),
    };
    let blank = Variant {
        board: board.clone(),
        state: VariantState::Original,
        url: cid.map(|cid| format!("/ipfs/{cid}")),
        key: None,
        size: None,
        how: None,
        progress: None,
        error: None,
        log: None,
        wanted_since: None,
    };
    match (outcome, wanted) {
        (boards::Outcome::Plays, _) => Variant {
            size: Some(row.size),
            ..blank
        },
        (boards::Outcome::Reject, _) => Variant {
            state: VariantState::Rejected,
            error: Some(sentence(&verdict.reasons)),
            ..blank
        },
        // Wanted in a moment: the wish is being written.
        (boards::Outcome::Render, None) => Variant {
            state: VariantState::Waiting,
            ..blank
        },
        (boards::Outcome::Render, Some(wanted)) => {
            let made = wanted.made.as_ref();
            let name = format!("{}.{}", row.id, wanted.key);
            Variant {
                state: VariantState::of_row(wanted.state()),
                key: Some(wanted.key.clone()),
                size: made.map(|made| made.size),
                how: made.and_then(|made| serde_json::from_str(&made.how).ok()),
                progress: app.progress(&name),
                error: wanted.error.clone(),
                log: wanted.log.clone(),
                wanted_since: Some(rfc3339(wanted.wished_ms)),
                ..blank
            }
        }
    }
}

fn sentence(reasons: &[boards::Reason]) -> String {
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

fn stream(app: &App, row: &catalog::Asset, stream: &catalog::Stream) -> Stream {
    let state = match stream.state() {
        StreamState::Waiting => Making::Waiting,
        StreamState::Running => Making::Running,
        StreamState::Done => Making::Done,
        StreamState::Failed => Making::Failed,
        StreamState::Cancelled => Making::Cancelled,
    };
    let url =
        (stream.published && !stream.cancelled).then(|| format!("/streams/{}/master.m3u8", row.id));
    Stream {
        state,
        error: stream.error.clone(),
        url,
        progress: app.progress(&row.id).or_else(|| stored_progress(stream)),
        rungs: stream.rungs.iter().filter_map(rung).collect(),
    }
}

/// How far a stream is by what is stored of it, when no worker says it better.
fn stored_progress(stream: &catalog::Stream) -> Option<Progress> {
    let kept: KeptPlan = serde_json::from_str(stream.plan.as_deref()?).ok()?;
    let total_s = kept.plan.duration_s;
    let made = stream.rungs.iter().map(|rung| rung.duration_s);
    let media_s = made.reduce(f64::min).unwrap_or(0.0);
    Some(Progress {
        fraction: match total_s {
            Some(total_s) if total_s > 0.0 => (media_s / total_s).min(1.0),
            _ => 0.0,
        },
        media_s,
        total_s,
        speed: None,
        eta_s: None,
        waiting: None,
    })
}

/// `None` for the sound's own rendition, which is no resolution to choose.
fn rung(row: &catalog::Rung) -> Option<Rung> {
    let kept: KeptRung = serde_json::from_str(&row.facts).ok()?;
    let rung = kept.rung?;
    Some(Rung {
        name: rung.name,
        width: rung.width,
        height: rung.height,
        bit_rate: rung.bit_rate.into(),
        segments: row.segments,
        bytes: row.bytes,
        copied: rung.copied,
    })
}
