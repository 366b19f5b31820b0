//! `/streams/<asset>/…`: the playlists of a stream by name. Names move, so nothing here is cached
//! without asking (`no-cache` and an ETag); what the playlists name is content that never changes.

use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use catalog::roots;

use crate::app::App;
use crate::gateway::{has_it, not_modified};
use crate::problem::{Answer, Problem, ProblemBody};

/// The media type of playlists (RFC 8216, section 4).
pub(crate) const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// The master playlist of an asset's stream.
#[utoipa::path(
    get, path = "/streams/{id}/master.m3u8", tag = "streams",
    params(("id" = String, Path, description = "The asset")),
    responses(
        (status = 200, description = "The playlist (HLS, RFC 8216)", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 304, description = "The client has it"),
        (status = 404, description = "No stream yet", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn master(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    playlist(app, roots::master_name(&id), headers).await
}

/// The playlist of one rung. Grows while the stream is being made.
#[utoipa::path(
    get, path = "/streams/{id}/{rung}/playlist.m3u8", tag = "streams",
    params(("id" = String, Path, description = "The asset"), ("rung" = String, Path, description = "The rung's name")),
    responses(
        (status = 200, description = "The playlist (HLS, RFC 8216)", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 304, description = "The client has it"),
        (status = 404, description = "No such rung yet", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn rendition(
    State(app): State<Arc<App>>,
    Path((id, rung)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    playlist(app, roots::rendition_name(&id, &rung), headers).await
}

async fn playlist(app: Arc<App>, name: String, asked: HeaderMap) -> Answer<Response<Body>> {
    app.blocking(move |app| {
        let missing = || Problem::new(StatusCode::NOT_FOUND, format!("no playlist {name:?} here"));
        let record = app.store.resolve(&name)?.ok_or_else(missing)?;
        let etag = format!("\"{}\"", record.cid);
        if has_it(&asked, &etag) {
            return Ok(open_to_all(not_modified(&etag)));
        }
        let object = app.store.get(&record.cid)?.ok_or_else(missing)?;
        let mut text = Vec::with_capacity(object.size as usize);
        object.reader()?.read_to_end(&mut text)?;
        let headers = [
            (header::CONTENT_TYPE, PLAYLIST),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, etag.as_str()),
        ];
        Ok(open_to_all((headers, text).into_response()))
    })
    .await
}

/// Players on other pages may read streams, as they may read content.
fn open_to_all(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        axum::http::HeaderValue::from_static("*"),
    );
    response
}
