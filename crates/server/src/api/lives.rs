//! `/api/streams`: streams that have their name from somebody: of live sources, and those that
//! `kinora ladder` put into the store.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use catalog::roots;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::live::{self, Asked, Stream};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::reconcile;
use crate::time::now_ms;

/// Removal, or only an end.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Leave {
    /// End the stream and keep what is there of it, to be watched as a whole.
    #[serde(default)]
    keep: bool,
}

/// Streams by name: those of live sources, newest first, then those that `kinora ladder` made.
#[utoipa::path(
    get, path = "/api/streams", tag = "streams",
    responses((status = 200, description = "The streams", body = [Stream]))
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<Json<Vec<Stream>>> {
    app.blocking(|app| {
        let lives = app.catalog.lives(now_ms())?;
        let mut streams: Vec<Stream> = lives.iter().map(|row| live::shown(app, row)).collect();
        for pin in app.store.pins("named/")? {
            if let Some(name) = pin.name.strip_prefix("named/") {
                streams.push(live::stored(app, name));
            }
        }
        Ok(Json(streams))
    })
    .await
}

/// Makes a stream of a live source, from now on until the source ends or the stream is removed.
/// Asking again in the same words changes nothing.
#[utoipa::path(
    post, path = "/api/streams", tag = "streams",
    request_body = Asked,
    responses(
        (status = 201, description = "The stream is on its way", body = Stream),
        (status = 400, description = "What is wrong with what was asked", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The name is another stream's", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    body: axum::body::Body,
) -> Answer<(StatusCode, Json<Stream>)> {
    let body = super::small(body).await?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad_request(format!("not what a stream is asked for by: {error}"))
    })?;
    app.blocking(move |app| {
        let name = asked.name.clone();
        let facts = asked
            .facts(app.config.segment_s)
            .map_err(Problem::bad_request)?;
        let taken = || {
            Problem::new(
                StatusCode::CONFLICT,
                format!("there is another stream {name:?}"),
            )
        };
        let facts = serde_json::to_string(&facts)
            .map_err(|error| Problem::bad_request(error.to_string()))?;
        let an_asset = app.catalog.asset(&name, now_ms())?.is_some();
        if an_asset || !app.store.pins(&roots::named(&name))?.is_empty() {
            return Err(taken());
        }
        if !app.catalog.want_live(&name, &facts, now_ms())? {
            return Err(taken());
        }
        app.dispatch.wake();
        app.announce_live(&name);
        let row = app
            .catalog
            .live(&name, now_ms())?
            .ok_or_else(|| no_stream(&name))?;
        Ok((StatusCode::CREATED, Json(live::shown(app, &row))))
    })
    .await
}

/// One stream by its name.
#[utoipa::path(
    get, path = "/api/streams/{name}", tag = "streams",
    params(("name" = String, Path)),
    responses(
        (status = 200, description = "The stream", body = Stream),
        (status = 404, description = "No such stream", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Answer<Json<Stream>> {
    app.blocking(move |app| {
        if let Some(row) = app.catalog.live(&name, now_ms())? {
            return Ok(Json(live::shown(app, &row)));
        }
        let named = app.store.pins(&roots::named(&name))?;
        if named.iter().any(|pin| pin.name == roots::named(&name)) {
            return Ok(Json(live::stored(app, &name)));
        }
        Err(no_stream(&name))
    })
    .await
}

/// Ends a stream and removes what is there of it, or keeps that.
#[utoipa::path(
    delete, path = "/api/streams/{name}", tag = "streams",
    params(("name" = String, Path), Leave),
    responses(
        (status = 202, description = "It ends, and stays"),
        (status = 204, description = "Gone"),
        (status = 404, description = "No such stream", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(leave): Query<Leave>,
) -> Answer<StatusCode> {
    app.blocking(move |app| {
        if leave.keep {
            if !app.catalog.end_live(&name)? {
                return Err(no_stream(&name));
            }
            app.dispatch.wake();
            return Ok(StatusCode::ACCEPTED);
        }
        if app.catalog.cancel_live(&name)? {
            reconcile::removal::live(app, &name)?;
        } else if app.store.unpin(&roots::named(&name))? {
            roots::drop_stream(&app.store, &name)?;
        } else {
            return Err(no_stream(&name));
        }
        app.hub.removed(&name);
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn no_stream(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no stream {name:?} here"))
}
