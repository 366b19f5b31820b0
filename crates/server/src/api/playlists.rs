//! `/api/playlists`: what screens play. There is always one called `default`; others are for screens
//! that are told their name.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::said;
use crate::app::App;
use crate::auth::{Caller, secret};
use crate::gateway::{has_it, not_modified};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::schedule::{Item, Program};
use crate::time::now_ms;

/// The playlist of every screen that was not told another.
const DEFAULT: &str = "default";

/// A playlist.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Playlist {
    /// Its name.
    #[schema(example = "hall")]
    name: String,
    /// How often it was written; also its `ETag`.
    version: i64,
    /// Whose clock the dates and hours are on.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// What is played, in this order.
    items: Vec<Item>,
}

impl Playlist {
    fn new(name: String, version: i64, program: Program) -> Self {
        Self {
            name,
            version,
            time_zone: program.time_zone,
            items: program.items,
        }
    }
}

/// What a screen plays now, in order, over and over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Now {
    /// The playlist's name.
    name: String,
    /// What plays.
    items: Vec<NowItem>,
    /// When to ask again at the latest (RFC 3339).
    until: String,
}

/// One thing that plays.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NowItem {
    /// The asset's identifier.
    asset: String,
    /// The asset's name.
    name: String,
    /// Seconds that it is shown, if it is an image.
    duration_s: u32,
    /// Where it is: for the kind of board that the token names, else the original.
    url: String,
}

/// An instant.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct When {
    /// Asks about another time than now (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<String>,
}

fn no_playlist(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no playlist {name:?} here"))
}

/// As names of streams are: they stand in addresses.
fn check_name(name: &str) -> Answer<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let dots = name.chars().all(|c| c == '.');
    if name.is_empty() || name.len() > 64 || dots || !name.chars().all(fine) {
        return Err(Problem::bad_request(
            "the name: 1 to 64 letters, digits, -, _ and .",
        ));
    }
    Ok(())
}

fn program(row: &catalog::Playlist) -> Answer<Program> {
    serde_json::from_str(&row.facts).map_err(|error| Problem::internal(&error))
}

/// The playlist and its version; the default one is there before anybody wrote it.
fn find(app: &App, name: &str) -> Answer<(i64, Program)> {
    match app.catalog.playlist(name)? {
        Some(row) => Ok((row.version, program(&row)?)),
        None if name == DEFAULT => {
            let empty = Program {
                time_zone: "UTC".into(),
                items: Vec::new(),
            };
            Ok((0, empty))
        }
        None => Err(no_playlist(name)),
    }
}

fn tagged(playlist: Playlist) -> Response {
    let etag = format!("\"{}\"", playlist.version);
    ([(header::ETAG, etag)], Json(playlist)).into_response()
}

/// All playlists, the default one first.
#[utoipa::path(
    get, path = "/api/playlists", tag = "playlists",
    responses((status = 200, description = "The playlists", body = [Playlist]))
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<Json<Vec<Playlist>>> {
    app.blocking(|app| {
        let (version, first) = find(app, DEFAULT)?;
        let mut all = vec![Playlist::new(DEFAULT.to_owned(), version, first)];
        for row in app.catalog.playlists()? {
            if row.name != DEFAULT {
                let program = program(&row)?;
                all.push(Playlist::new(row.name, row.version, program));
            }
        }
        Ok(Json(all))
    })
    .await
}

/// One playlist.
#[utoipa::path(
    get, path = "/api/playlists/{name}", tag = "playlists",
    params(("name" = String, Path)),
    responses(
        (status = 200, description = "The playlist", body = Playlist, headers(("ETag" = String))),
        (status = 404, description = "No such playlist", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(State(app): State<Arc<App>>, Path(name): Path<String>) -> Answer<Response> {
    app.blocking(move |app| {
        let (version, program) = find(app, &name)?;
        Ok(tagged(Playlist::new(name, version, program)))
    })
    .await
}

/// Writes a playlist, a new one too. With `If-Match` only if nobody else wrote it meanwhile.
#[utoipa::path(
    put, path = "/api/playlists/{name}", tag = "playlists",
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the playlist that was changed"),
    ),
    request_body = Program,
    responses(
        (status = 200, description = "Written", body = Playlist, headers(("ETag" = String))),
        (status = 400, description = "What is wrong with it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "Somebody else wrote it meanwhile", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let program: Program = said(body).await?;
    check_name(&name)?;
    program.check().map_err(Problem::bad_request)?;
    let changed = match headers.get(header::IF_MATCH).map(|tag| tag.to_str()) {
        None => None,
        Some(Ok("*")) => None,
        // A tag that is none of ours is no version of ours.
        Some(tag) => {
            let number = tag.ok().and_then(|tag| tag.trim_matches('"').parse().ok());
            Some(number.unwrap_or(-1))
        }
    };
    app.blocking(move |app| {
        let facts = serde_json::to_string(&program).map_err(|error| Problem::internal(&error))?;
        let written = app.catalog.write_playlist(&name, &facts, changed)?;
        let version = written.ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_FAILED,
                format!("somebody else wrote the playlist {name:?} meanwhile: read it again"),
            )
        })?;
        Ok(tagged(Playlist::new(name, version, program)))
    })
    .await
}

/// Removes a playlist; the default one is empty then.
#[utoipa::path(
    delete, path = "/api/playlists/{name}", tag = "playlists",
    params(("name" = String, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "No such playlist", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    app.blocking(move |app| {
        if app.catalog.remove_playlist(&name)? {
            Ok(StatusCode::NO_CONTENT)
        } else {
            Err(no_playlist(&name))
        }
    })
    .await
}

/// What a screen plays now. It asks again at `until`, or sooner, with `If-None-Match`.
#[utoipa::path(
    get, path = "/api/playlists/{name}/now", tag = "playlists",
    params(("name" = String, Path), When),
    responses(
        (status = 200, description = "What plays", body = Now, headers(("ETag" = String))),
        (status = 304, description = "The screen has it"),
        (status = 400, description = "Not a time", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such playlist", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn now(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(when): Query<When>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Answer<Response> {
    let at = match when.at {
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("at: a time as 2026-11-20T22:00:00Z"))?,
        None => Timestamp::now(),
    };
    let board = caller.token.and_then(|token| token.board);
    app.blocking(move |app| {
        let now = playing(app, &name, board.as_deref(), at)?;
        let body = serde_json::to_string(&now).map_err(|error| Problem::internal(&error))?;
        let etag = format!("\"{}\"", &secret::hash(&body)[..32]);
        if has_it(&headers, &etag) {
            return Ok(not_modified(&etag).into_response());
        }
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, etag.as_str()),
        ];
        Ok((headers, body).into_response())
    })
    .await
}

fn playing(app: &App, name: &str, board: Option<&str>, at: Timestamp) -> Answer<Now> {
    let (_, program) = find(app, name)?;
    let zone = program.check().map_err(Problem::bad_request)?;
    let playing = program.at(&zone, at);
    let mut items = Vec::with_capacity(playing.items.len());
    for place in playing.items {
        let item = &program.items[place];
        // What was removed is not played, and does not keep the rest from it.
        let Some(asset) = app.catalog.asset(&item.asset, now_ms())? else {
            continue;
        };
        let url = match board {
            Some(board) => format!("/api/assets/{}/variants/{board}", asset.id),
            None => format!("/api/assets/{}/file", asset.id),
        };
        items.push(NowItem {
            asset: asset.id,
            name: asset.name,
            duration_s: item.duration_s,
            url,
        });
    }
    Ok(Now {
        name: name.to_owned(),
        items,
        until: playing.until.to_string(),
    })
}
