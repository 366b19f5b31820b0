//! `POST /api/assets`: a whole file in one request, raw or as a form (RFC 7578).
//!
//! A request that breaks leaves nothing behind. For files that may need several tries there is
//! tus.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use catalog::Protocol;
use futures_util::{Stream, StreamExt};

use super::receive::{End, Receiver};
use super::{begin, discard, finish, name, too_large};
use crate::app::App;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::shown;

/// Body bytes that are read and dropped after a refusal, so that a client which sends first and
/// reads later sees the answer instead of a reset connection.
const DRAINED: usize = 4 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Adds a video: the file is the request's body.
#[utoipa::path(
    post,
    path = "/api/assets",
    tag = "assets",
    params(("name" = Option<String>, Query, description = "The file's name; needed unless the body is a form")),
    request_body(
        description = "The file itself, or a form with one field `file`",
        content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "multipart/form-data")),
    ),
    responses(
        (status = 201, description = "Added; work on it has begun", body = shown::Asset,
         headers(("Location" = String, description = "The asset's address"))),
        (status = 400, description = "No name, or a form without a file", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "Nothing came for a minute", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "Larger than the server accepts", body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "The server's disk is full", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let added = if is_form(request.headers()) {
        from_form(&app, request, &query).await
    } else {
        raw(&app, request, &query).await
    };
    match added {
        Ok(asset) => {
            let location = format!("/api/assets/{}", asset.id);
            (
                StatusCode::CREATED,
                [(header::LOCATION, location)],
                Json(asset),
            )
                .into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .trim_start()
                .get(..19)
                .is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data"))
        })
}

async fn raw(
    app: &Arc<App>,
    request: Request,
    query: &HashMap<String, String>,
) -> Answer<shown::Asset> {
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let name = query.get("name").and_then(|name| name::clean(name));
    let body = request.into_body();
    let Some(name) = name else {
        drain(body).await;
        return Err(Problem::bad_request(
            "the file has no name: POST it to /api/assets?name=FILE",
        ));
    };
    let begun = {
        let name = name.clone();
        app.blocking(move |app| begin(app, Protocol::Post, &name, "", length))
            .await
    };
    match begun {
        Ok(upload) => store(app, upload, body.into_data_stream()).await,
        Err(problem) => {
            drain(body).await;
            Err(problem)
        }
    }
}

async fn from_form(
    app: &Arc<App>,
    request: Request,
    query: &HashMap<String, String>,
) -> Answer<shown::Asset> {
    let broken = |error: &dyn std::fmt::Display| {
        Problem::bad_request(format!("the form cannot be read: {error}"))
    };
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| broken(&error.body_text()))?;
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|error| broken(&error.body_text()))?
    {
        if field.name() != Some("file") {
            continue;
        }
        let name = query
            .get("name")
            .map(String::as_str)
            .or(field.file_name())
            .and_then(name::clean);
        let Some(name) = name else {
            return Err(Problem::bad_request("the form's file has no name"));
        };
        let upload = app
            .blocking(move |app| begin(app, Protocol::Post, &name, "", None))
            .await?;
        return store(app, upload, field).await;
    }
    Err(Problem::bad_request("the form has no field `file`"))
}

/// Receives the body into the upload's file and makes the asset.
async fn store<E: std::fmt::Display>(
    app: &Arc<App>,
    upload: catalog::Upload,
    body: impl Stream<Item = Result<Bytes, E>>,
) -> Answer<shown::Asset> {
    let most = upload.length.unwrap_or(app.config.max_upload);
    let turn = app.uploads.take_turn(&upload.id).await;
    let id = upload.id.clone();
    let file = app
        .blocking(move |app| Ok(app.uploads.append(&id)?))
        .await?;
    let mut unfinished = Unfinished {
        app: Arc::clone(app),
        id: Some(upload.id.clone()),
    };
    let (turn, _, end) = Receiver::new(app, file, 0, most, turn)
        .receive(body)
        .await?;
    if let Some(problem) = refusal(app, &upload.name, end) {
        // Before the answer: who reads that the disk is full may count on the space again.
        app.blocking(move |app| discard(app, &upload.id)).await?;
        unfinished.id = None;
        return Err(problem);
    }
    // From here on the file is complete, and the next start finishes what this one does not.
    unfinished.id = None;
    app.blocking(move |app| {
        let _turn = turn;
        match finish(app, &upload) {
            Ok(()) => {}
            Err(problem) => {
                discard(app, &upload.id)?;
                return Err(problem);
            }
        }
        app.shown(&upload.id)?
            .ok_or_else(|| Problem::no_asset(&upload.id))
    })
    .await
}

fn refusal(app: &App, name: &str, end: End) -> Option<Problem> {
    Some(match end {
        End::Whole => return None,
        End::Broken(why) => Problem::bad_request(format!("{name}: the upload broke off: {why}")),
        End::Idle => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("{name}: nothing came for a minute"),
        ),
        End::TooMuch => too_large(app, name),
        End::Full => Problem::disk_full(name, app.disk.usable().unwrap_or(0)),
        End::Failed(error) => Problem::from(error),
    })
}

/// Removes a broken upload, also when the request's future is dropped in the middle.
struct Unfinished {
    app: Arc<App>,
    id: Option<String>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let app = Arc::clone(&self.app);
        // Not awaited: nobody may be left to wait, and the next start would drop it anyway.
        tokio::task::spawn_blocking(move || {
            if let Err(problem) = discard(&app, &id) {
                tracing::warn!(upload = id, error = problem.detail, "cannot drop an upload");
            }
        });
    }
}

async fn drain(body: Body) {
    let mut body = body.into_data_stream();
    let mut left = DRAINED;
    let reading = async {
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // A client that stays silent has read its answer already.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}
