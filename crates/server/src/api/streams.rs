//! `/api/assets/{id}/stream`: asking for an asset's stream, and taking it away.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use catalog::{AssetState, StreamAsked};

use crate::app::App;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::reconcile;
use crate::shown;
use crate::time::now_ms;

/// Asks for a stream, or asks again after a failure: it goes on where it stopped. An asset that
/// could not be read is looked at again.
#[utoipa::path(
    put, path = "/api/assets/{id}/stream", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The stream is wanted, on its way or there", body = shown::Asset),
        (status = 404, description = "No such asset", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "There is nothing to stream in the asset", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn want(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Json<shown::Asset>> {
    app.blocking(move |app| {
        let asset = app
            .catalog
            .asset(&id, now_ms())?
            .ok_or_else(|| Problem::no_asset(&id))?;
        if asset.state() == AssetState::Failed && !app.catalog.look_again(&id)? {
            let why = asset.error.unwrap_or_default();
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
        if asset.facts().is_some_and(|facts| facts.picture) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                format!(
                    "{}: a picture, there is nothing to stream in it",
                    asset.name
                ),
            ));
        }
        match app.catalog.want_stream(&id, now_ms())? {
            StreamAsked::New | StreamAsked::Retried => {
                app.dispatch.wake();
                app.announce(&id);
            }
            StreamAsked::Already => {}
            StreamAsked::Leaving => {
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    format!("{}: its stream is being removed", asset.name),
                ));
            }
        }
        app.shown(&id)?
            .map(Json)
            .ok_or_else(|| Problem::no_asset(&id))
    })
    .await
}

/// Stops the making of the stream and removes what is there of it.
#[utoipa::path(
    delete, path = "/api/assets/{id}/stream", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "No such asset, or it has no stream", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.blocking(move |app| {
        let asset = app
            .catalog
            .asset(&id, now_ms())?
            .ok_or_else(|| Problem::no_asset(&id))?;
        if !app.catalog.cancel_stream(&id)? {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                format!("{}: it has no stream", asset.name),
            ));
        }
        app.announce(&id);
        reconcile::removal::stream(app, &id)?;
        app.announce(&id);
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
