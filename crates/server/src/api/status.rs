//! `/api/status`: the server itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::problem::Answer;

/// The server itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Kinora's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Seconds since it started.
    uptime_s: u64,
    /// Bytes that may still be uploaded before the disk counts as full.
    free_bytes: u64,
    /// Bytes of the disk that holds the data folder.
    disk_bytes: u64,
    used: Used,
    policy: Policy,
    /// The largest file it takes, in bytes.
    max_upload: u64,
}

/// What takes how much of the disk, in bytes. What is the same is stored once, so the disk may hold
/// less than the sum.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Used {
    /// Files as they were uploaded.
    originals: u64,
    /// Variants for boards, without those that are the original itself.
    variants: u64,
    /// Segments of streams of assets.
    streams: u64,
}

/// What is done about files that a board cannot play.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Policy {
    /// Whether they are rendered here; otherwise they are rejected with a command.
    render: bool,
    /// Whether software decoding counts on boards that have hardware.
    allow_software: bool,
}

/// The server's state.
#[utoipa::path(
    get, path = "/api/status", tag = "server",
    responses((status = 200, description = "The state", body = Status))
)]
pub(crate) async fn get(State(app): State<Arc<App>>) -> Answer<Json<Status>> {
    app.blocking(|app| {
        Ok(Json(Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: app.started.elapsed().as_secs(),
            free_bytes: app.disk.usable()?,
            disk_bytes: app.disk.whole()?,
            used: {
                let usage = app.catalog.usage()?;
                Used {
                    originals: usage.originals,
                    variants: usage.variants,
                    streams: usage.streams,
                }
            },
            policy: Policy {
                render: app.policy.render,
                allow_software: app.policy.allow_software,
            },
            max_upload: app.config.max_upload,
        }))
    })
    .await
}
