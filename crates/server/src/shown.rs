//! Assets as clients see them: the JSON of `/api/assets` and of events.
//!
//! Made from the catalog's rows each time; verdicts are computed here, so a changed board table
//! or policy shows at once.

use catalog::{AssetState, StreamState};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::reconcile::making::{KeptPlan, KeptRung};
use crate::time::rfc3339;

/// An uploaded file and everything known about it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Asset {
    /// Its identifier.
    #[schema(example = "k3v9q2m7x1c8w4zb")]
    pub(crate) id: String,
    /// The file's name.
    #[schema(example = "clip.mp4")]
    name: String,
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
}

/// Where an asset stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Probing,
    Ready,
    Failed,
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
#[derive(Debug, Clone, Serialize, ToSchema)]
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

/// The asset as clients see it.
pub(crate) fn asset(app: &App, row: &catalog::Asset) -> Asset {
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
        verdicts: row.verdicts(&app.table, app.policy),
        stream: row
            .stream
            .as_ref()
            .map(|stream| self::stream(app, row, stream)),
    }
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
    let media_s = stream
        .rungs
        .iter()
        .map(|rung| rung.duration_s)
        .fold(total_s, f64::min);
    Some(Progress {
        fraction: if total_s > 0.0 {
            media_s / total_s
        } else {
            0.0
        },
        media_s,
        total_s: Some(total_s),
        speed: None,
        eta_s: None,
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
