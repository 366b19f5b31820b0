//! `/api/assets`: what is here, one of it, its files, and its removal.

use std::io::Read;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use catalog::{Asset, AssetPage};
use serde::Deserialize;
use store::Cid;
use utoipa::IntoParams;

use crate::app::App;
use crate::gateway::{has_it, not_modified};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::now_ms;
use crate::{reconcile, shown, variants};

/// Assets on a page, unless the client says how many.
const PAGE: usize = 100;

/// The most on a page.
const LARGEST_PAGE: usize = 1000;

/// Which assets, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Only those whose name contains this.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Only those in this state.
    state: Option<shown::State>,
    /// How many at most; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// Where the page begins: as the Link header of the page before says it.
    after: Option<String>,
}

/// Assets, newest first, a page at a time: the header Link names the next page (RFC 8288), if there
/// is one, and Kinora-Total says how many there are on all.
#[utoipa::path(
    get, path = "/api/assets", tag = "assets",
    params(Asked),
    responses(
        (status = 200, description = "The assets", body = [shown::Asset], headers(
            ("Link" = Option<String>, description = "The next page, as `</api/assets?...>; rel=\"next\"`"),
            ("Kinora-Total" = u64, description = "How many there are on all pages"),
        )),
        (status = 400, description = "What is wrong with what was asked", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer<Response<Body>> {
    let Query(asked) = asked.map_err(|wrong| Problem::bad_request(wrong.body_text()))?;
    let limit = usize::from(asked.limit.unwrap_or(PAGE as u16));
    if !(1..=LARGEST_PAGE).contains(&limit) {
        let range = format!("limit is a number from 1 to {LARGEST_PAGE}");
        return Err(Problem::bad_request(range));
    }
    app.blocking(move |app| {
        let after = asked.after.as_deref().map(|after| {
            let (created, id) = after.split_once('.')?;
            Some((created.parse().ok()?, id))
        });
        let after = match after {
            Some(None) => return Err(Problem::bad_request("after is not from a Link header")),
            Some(after) => after,
            None => None,
        };
        let page = AssetPage {
            search: asked.search.as_deref().filter(|text| !text.is_empty()),
            state: asked.state.map(shown::State::of_row),
            after,
            // One more, which says that there is a next page.
            limit: limit + 1,
        };
        let (mut rows, total) = app.catalog.assets(&page, now_ms())?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let policies = variants::policies(app)?;
        let assets = rows.iter().map(|row| shown::asset(app, row, &policies));
        let assets: Vec<_> = assets.collect();
        let mut answer = Json(assets).into_response();
        let headers = answer.headers_mut();
        headers.insert("kinora-total", total.into());
        if let Some(last) = rows.last().filter(|_| more) {
            let mut next = format!(
                "</api/assets?limit={limit}&after={}.{}",
                last.created_ms, last.id
            );
            if let Some(search) = &asked.search {
                next.push_str(&format!("&search={}", in_query(search)));
            }
            if let Some(state) = asked.state {
                next.push_str(&format!("&state={}", state.word()));
            }
            next.push_str(">; rel=\"next\"");
            let next = next.try_into().map_err(|error| Problem::internal(&error))?;
            headers.insert(header::LINK, next);
        }
        Ok(answer)
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
        store::fault::point("removal-asked");
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

pub(super) fn find(app: &App, id: &str) -> Answer<Asset> {
    app.catalog
        .asset(id, now_ms())?
        .ok_or_else(|| Problem::no_asset(id))
}

/// A value as part of a query (RFC 3986, section 2.3: everything but the unreserved is escaped).
pub(super) fn in_query(value: &str) -> String {
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
