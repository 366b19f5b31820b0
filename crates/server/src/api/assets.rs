//! `/api/assets`: what is here, one of it, its files, and its removal.

use std::io::Read;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use catalog::Asset;
use store::Cid;

use crate::app::App;
use crate::gateway::{has_it, not_modified};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::now_ms;
use crate::{reconcile, shown};

/// All assets, newest first.
#[utoipa::path(
    get, path = "/api/assets", tag = "assets",
    responses((status = 200, description = "The assets", body = [shown::Asset]))
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<Json<Vec<shown::Asset>>> {
    app.blocking(|app| {
        let rows = app.catalog.assets(now_ms())?;
        Ok(Json(
            rows.iter().map(|row| shown::asset(app, row)).collect(),
        ))
    })
    .await
}

/// One asset.
#[utoipa::path(
    get, path = "/api/assets/{id}", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The asset", body = shown::Asset),
        (status = 404, description = "No such asset", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Json<shown::Asset>> {
    app.blocking(move |app| {
        let asset = app.shown(&id)?;
        asset.map(Json).ok_or_else(|| Problem::no_asset(&id))
    })
    .await
}

/// Removes an asset with its stream. Work on it is stopped first.
#[utoipa::path(
    delete, path = "/api/assets/{id}", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "No such asset", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.blocking(move |app| {
        if !app.catalog.delete_asset(&id)? {
            return Err(Problem::no_asset(&id));
        }
        app.hub.removed(&id);
        reconcile::removal::asset(app, &id)?;
        tracing::info!(asset = id, "asset removed");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The asset's thumbnail.
#[utoipa::path(
    get, path = "/api/assets/{id}/thumbnail", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "A picture from the video", body = Vec<u8>, content_type = "image/jpeg"),
        (status = 304, description = "The client has it"),
        (status = 404, description = "No such asset, or no thumbnail yet", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn thumbnail(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    asked: HeaderMap,
) -> Answer<Response<Body>> {
    app.blocking(move |app| {
        let asset = find(app, &id)?;
        let missing = || {
            Problem::new(
                StatusCode::NOT_FOUND,
                format!("{}: there is no thumbnail", asset.name),
            )
        };
        let cid = asset.thumbnail.as_deref().ok_or_else(missing)?;
        let etag = format!("\"{cid}\"");
        if has_it(&asked, &etag) {
            return Ok(not_modified(&etag));
        }
        let cid = Cid::try_from(cid).map_err(|error| Problem::internal(&error))?;
        let object = app.store.get(&cid)?.ok_or_else(missing)?;
        let mut picture = Vec::with_capacity(object.size as usize);
        object.reader()?.read_to_end(&mut picture)?;
        let headers = [
            (header::CONTENT_TYPE, "image/jpeg"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, etag.as_str()),
        ];
        Ok((headers, picture).into_response())
    })
    .await
}

/// The original file: where it is.
#[utoipa::path(
    get, path = "/api/assets/{id}/file", tag = "assets",
    params(("id" = String, Path)),
    responses(
        (status = 307, description = "Location is the file's address by content"),
        (status = 404, description = "No such asset", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn file(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Response<Body>> {
    let asset = app.blocking(move |app| find(app, &id)).await?;
    let location = format!("/ipfs/{}?filename={}", asset.cid, in_query(&asset.name));
    let headers = [
        (header::LOCATION, location.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}

fn find(app: &App, id: &str) -> Answer<Asset> {
    app.catalog
        .asset(id, now_ms())?
        .ok_or_else(|| Problem::no_asset(id))
}

/// A value as part of a query (RFC 3986, section 2.3: everything but the unreserved is escaped).
fn in_query(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_queries() {
        for (value, text) in [
            ("clip.mp4", "clip.mp4"),
            ("a b&c=d#e?.mp4", "a%20b%26c%3Dd%23e%3F.mp4"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(in_query(value), text);
        }
    }
}
