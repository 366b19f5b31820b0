//! `/api/variants` and `/api/assets/{id}/variants`: what boards are to play, what is being made of
//! it, and an operator's word on that.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use catalog::VariantState;
use catalog::variant::Scope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::assets::{find, in_query};
use crate::app::App;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::shown::{self, Progress};
use crate::time::{now_ms, rfc3339};
use crate::variants;

/// Of each state, so many are listed.
const LISTED: usize = 100;

/// Everything that is rendered here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rendering {
    /// Nothing is rendered until it is resumed.
    paused: bool,
    /// Seconds of rest between two renderings.
    pause_s: u64,
    /// Variants that are wanted and not there.
    unfinished: u64,
    /// Variants that are there.
    done: u64,
    /// Variants that could not be made.
    failed: u64,
    /// Variants that an operator stopped.
    cancelled: u64,
    /// What is being made, then what waits in its order, then what failed or was stopped; at most
    /// 100 of each.
    variants: Vec<Rendered>,
}

/// One variant that is not there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rendered {
    /// The asset it is made of.
    asset: String,
    /// The asset's name.
    name: String,
    /// Its name among the asset's variants.
    key: String,
    /// Boards that want it.
    boards: Vec<String>,
    state: shown::VariantState,
    /// How far it is, while it is being made.
    progress: Option<Progress>,
    /// Why it failed.
    error: Option<String>,
    /// The end of what the worker said when it failed, in lines.
    log: Option<String>,
    /// Since when it is wanted (RFC 3339, UTC).
    wanted_since: String,
    /// The asset's priority.
    priority: i32,
    /// Whether the asset is paused.
    paused: bool,
}

/// What an operator wants to be otherwise. What is not named stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Render nothing (more) until it is resumed. What is being made is begun anew then.
    paused: Option<bool>,
    /// Variants of a higher priority are made first; 0 is where everything begins.
    priority: Option<i32>,
    /// Stop what is not there yet, and leave it until it is asked for again.
    #[serde(default)]
    cancel: bool,
    /// Try again what failed or was cancelled.
    #[serde(default)]
    retry: bool,
    /// Cancel or try again only what this board wants.
    board: Option<String>,
}

/// What is rendered: how much, what now, what next, what failed.
#[utoipa::path(
    get, path = "/api/variants", tag = "variants",
    responses((status = 200, description = "All rendering", body = Rendering))
)]
pub(crate) async fn all(State(app): State<Arc<App>>) -> Answer<Json<Rendering>> {
    app.blocking(|app| rendering(app).map(Json)).await
}

/// Pauses, resumes, cancels, tries again or orders all rendering.
#[utoipa::path(
    patch, path = "/api/variants", tag = "variants",
    request_body = Change,
    responses(
        (status = 200, description = "All rendering as it is then", body = Rendering),
        (status = 400, description = "What is wrong with what was asked", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn change_all(State(app): State<Arc<App>>, body: Body) -> Answer<Json<Rendering>> {
    let change = read(&super::small(body).await?)?;
    app.blocking(move |app| {
        if let Some(paused) = change.paused {
            app.catalog.pause_rendering(paused)?;
        }
        apply(app, None, &change)?;
        rendering(app).map(Json)
    })
    .await
}

/// What each enrolled board is to play of an asset.
#[utoipa::path(
    get, path = "/api/assets/{id}/variants", tag = "variants",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "One entry for each enrolled board", body = [shown::Variant]),
        (status = 404, description = "No such asset", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn of_asset(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Json<Vec<shown::Variant>>> {
    app.blocking(move |app| {
        let asset = app.shown(&id)?.ok_or_else(|| Problem::no_asset(&id))?;
        Ok(Json(asset.variants))
    })
    .await
}

/// Pauses, resumes, cancels, tries again or orders the rendering of one asset.
#[utoipa::path(
    patch, path = "/api/assets/{id}/variants", tag = "variants",
    params(("id" = String, Path)),
    request_body = Change,
    responses(
        (status = 200, description = "The asset as it is then", body = shown::Asset),
        (status = 400, description = "What is wrong with what was asked", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such asset", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<shown::Asset>> {
    let change = read(&super::small(body).await?)?;
    app.blocking(move |app| {
        find(app, &id)?;
        if let Some(paused) = change.paused {
            app.catalog.pause_asset(&id, paused)?;
        }
        apply(app, Some(&id), &change)?;
        app.announce(&id);
        let asset = app.shown(&id)?;
        asset.map(Json).ok_or_else(|| Problem::no_asset(&id))
    })
    .await
}

/// What a board is to play of an asset now: where it is.
#[utoipa::path(
    get, path = "/api/assets/{id}/variants/{board}", tag = "variants",
    params(("id" = String, Path), ("board" = String, Path)),
    responses(
        (status = 307, description = "Location is the file's address by content"),
        (status = 404, description = "No such asset, no such enrolled board, or nothing there for it yet", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn file(
    State(app): State<Arc<App>>,
    Path((id, board)): Path<(String, String)>,
) -> Answer<Response<Body>> {
    app.blocking(move |app| {
        let asset = app.shown(&id)?.ok_or_else(|| Problem::no_asset(&id))?;
        let missing = |why: String| Problem::new(StatusCode::NOT_FOUND, why);
        let row = app.table.get(&board);
        let mut variants = asset.variants.iter();
        let variant = row.and_then(|row| variants.find(|variant| variant.board == row.id));
        let Some(variant) = variant else {
            return Err(missing(format!(
                "no board {board:?} is enrolled for this asset"
            )));
        };
        let Some(url) = &variant.url else {
            return Err(missing(variant.nothing_there(&asset.name)));
        };
        let location = format!("{url}?filename={}", in_query(&asset.name));
        let headers = [
            (header::LOCATION, location.as_str()),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
    })
    .await
}

fn read(body: &[u8]) -> Answer<Change> {
    let change: Change = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("not a change of rendering: {error}")))?;
    if change.cancel && change.retry {
        return Err(Problem::bad_request("cancel and retry exclude each other"));
    }
    Ok(change)
}

/// What of a change is the same for one asset and for all.
fn apply(app: &App, asset: Option<&str>, change: &Change) -> Answer<()> {
    if let Some(priority) = change.priority {
        app.catalog.set_priority(asset, priority)?;
    }
    let board = match &change.board {
        None => None,
        Some(id) => {
            let row = app.table.get(id);
            let row = row.ok_or_else(|| Problem::bad_request(format!("no board {id:?}")))?;
            Some(row.id)
        }
    };
    let scope = Scope {
        asset,
        board: board.as_deref(),
    };
    let mut changed = Vec::new();
    if change.cancel {
        changed = app.catalog.cancel_variants(scope)?;
    }
    if change.retry {
        changed = app.catalog.retry_variants(scope)?;
    }
    variants::stop_unwanted(app)?;
    app.dispatch.wake();
    changed.iter().for_each(|id| app.announce(id));
    Ok(())
}

fn rendering(app: &App) -> Answer<Rendering> {
    let totals = app.catalog.variant_totals()?;
    let mut variants = Vec::new();
    for state in [
        VariantState::Running,
        VariantState::Waiting,
        VariantState::Failed,
        VariantState::Cancelled,
    ] {
        for listed in app.catalog.variants_in(state, LISTED, now_ms())? {
            let row = listed.variant;
            variants.push(Rendered {
                progress: app.progress(&format!("{}.{}", row.asset, row.key)),
                name: listed.name,
                state: shown::VariantState::of_row(row.state()),
                wanted_since: rfc3339(row.wished_ms),
                priority: listed.priority,
                paused: listed.paused,
                asset: row.asset,
                key: row.key,
                boards: row.boards,
                error: row.error,
                log: row.log,
            });
        }
    }
    Ok(Rendering {
        paused: app.catalog.rendering_paused()?,
        pause_s: app.render_pause.as_secs(),
        unfinished: totals.unfinished,
        done: totals.done,
        failed: totals.failed,
        cancelled: totals.cancelled,
        variants,
    })
}
