//! `/api/remotes`: files that the server fetches by their address. One that came is an asset, under
//! the same identifier.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::said;
use crate::app::App;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::rfc3339;
use crate::upload::remote;

/// A file that is being fetched, or could not be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Remote {
    /// The asset's identifier, as soon as it is one.
    id: String,
    /// Where it is.
    #[schema(example = "https://media.example/clip.mp4")]
    url: String,
    /// The asset's name.
    name: String,
    /// Bytes that came.
    arrived: u64,
    /// Bytes that it has, once that is known.
    length: Option<u64>,
    state: Standing,
    /// Attempts since bytes last came.
    tries: u32,
    /// Why it is not fetched any more.
    error: Option<String>,
    /// When it was asked for (RFC 3339).
    created: String,
}

/// Where the fetching stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RemoteState)]
pub(crate) enum Standing {
    /// It is fetched, or waits for its turn or for the source to come back.
    Fetching,
    /// All of it is there, and it is being stored.
    Storing,
    /// It is not tried any more.
    Failed,
}

/// What to fetch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RemoteWanted)]
pub(crate) struct Wanted {
    /// Where it is: `http://` or `https://`.
    #[schema(max_length = 2048, example = "https://media.example/clip.mp4")]
    url: String,
    /// The asset's name; else the last part of the address.
    name: Option<String>,
}

pub(crate) fn shown(app: &App, row: catalog::Remote) -> Remote {
    let state = match (&row.error, row.complete) {
        (Some(_), _) => Standing::Failed,
        (None, true) => Standing::Storing,
        (None, false) => Standing::Fetching,
    };
    Remote {
        arrived: remote::arrived(app, &row.id),
        id: row.id,
        url: row.url,
        name: row.name,
        length: row.length,
        state,
        tries: row.tries,
        error: row.error,
        created: rfc3339(row.created_ms),
    }
}

/// What is being fetched, oldest first.
#[utoipa::path(
    get, path = "/api/remotes", tag = "assets",
    responses((status = 200, description = "The files", body = [Remote]))
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<Json<Vec<Remote>>> {
    app.blocking(|app| {
        let rows = app.catalog.remotes()?;
        Ok(Json(rows.into_iter().map(|row| shown(app, row)).collect()))
    })
    .await
}

/// Fetches a file, also over breaks of the connection and restarts of this server.
#[utoipa::path(
    post, path = "/api/remotes", tag = "assets",
    request_body = Wanted,
    responses(
        (status = 202, description = "It is being fetched", body = Remote),
        (status = 400, description = "Not an address to fetch from", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Too many uploads are unfinished already", body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "The server's disk is full", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    body: Body,
) -> Answer<(StatusCode, Json<Remote>)> {
    let wanted: Wanted = said(body).await?;
    app.blocking(move |app| {
        let row = remote::add(app, wanted.url.trim(), wanted.name.as_deref())?;
        let shown = shown(app, row);
        app.hub.remote(&shown);
        Ok((StatusCode::ACCEPTED, Json(shown)))
    })
    .await
}

/// One file that is being fetched.
#[utoipa::path(
    get, path = "/api/remotes/{id}", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The file", body = Remote),
        (status = 404, description = "Not fetched here, or an asset by now", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Json<Remote>> {
    app.blocking(move |app| Ok(Json(shown(app, find(app, &id)?))))
        .await
}

/// Tries a file again that was given up.
#[utoipa::path(
    post, path = "/api/remotes/{id}", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 202, description = "It is tried again", body = Remote),
        (status = 404, description = "Not fetched here, or an asset by now", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<Remote>)> {
    app.blocking(move |app| {
        find(app, &id)?;
        remote::retry(app, &id)?;
        let shown = shown(app, find(app, &id)?);
        app.hub.remote(&shown);
        Ok((StatusCode::ACCEPTED, Json(shown)))
    })
    .await
}

/// Stops fetching a file, and forgets what came of it.
#[utoipa::path(
    delete, path = "/api/remotes/{id}", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "Not fetched here, or an asset by now", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let wanted = id.clone();
    app.blocking(move |app| find(app, &wanted)).await?;
    remote::remove(&app, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(app: &App, id: &str) -> Answer<catalog::Remote> {
    let row = app.catalog.remote(id)?;
    row.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("nothing fetched as {id:?} here"),
        )
    })
}
