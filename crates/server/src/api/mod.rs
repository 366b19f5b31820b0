//! The handlers of `/api`, one file per subject. Uploads are in `upload`.

pub(crate) mod assets;
pub(crate) mod boards;
pub(crate) mod device;
pub(crate) mod events;
pub(crate) mod lives;
pub(crate) mod playlists;
pub(crate) mod remotes;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod streams;
pub(crate) mod tokens;
pub(crate) mod variants;

use axum::body::Body;
use serde::de::DeserializeOwned;

use crate::problem::{Answer, Problem};

/// What a request may say in JSON, in bytes.
const MOST_SAID: usize = 256 << 10;

/// A small body, read whole.
pub(crate) async fn small(body: Body) -> Answer<Vec<u8>> {
    let read = axum::body::to_bytes(body, MOST_SAID).await;
    let read = read.map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    Ok(read.into())
}

/// A body as a JSON object. What serde would also take for one, an array of its members' values, is
/// not what the description says.
pub(crate) async fn said<T: DeserializeOwned>(body: Body) -> Answer<T> {
    let body = small(body).await?;
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&body).map_err(not_said)?;
    serde_json::from_value(object.into()).map_err(not_said)
}

fn not_said(error: serde_json::Error) -> Problem {
    Problem::bad_request(format!("the body: {error}"))
}
