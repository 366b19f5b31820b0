//! `/streams/<stream>/…`: the playlists of a stream by name, always the newest, and the parts of
//! segments that are still being made.
//!
//! Names move, so nothing here is cached without asking (`no-cache` and an ETag); what the playlists
//! name is content that never changes. A player may ask for a playlist that is still to come
//! (`_HLS_msn`, `_HLS_part`: RFC 8216bis, section 6.2.5.2) and for the part that a playlist announces
//! (EXT-X-PRELOAD-HINT); both requests wait until it is there.

use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use catalog::roots;
use ladder::publish::{Kind, Piece};

use crate::app::App;
use crate::gateway::{has_it, not_modified};
use crate::growing::Head;
use crate::problem::{Answer, Problem, ProblemBody};

/// Target durations after which a request for what is still to come is answered (RFC 8216bis,
/// section 6.2.5.2).
const PATIENCE: u32 = 3;

/// Says where the same is found by a name that anybody can verify.
const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");

/// What a stream's playlists over all renditions are: the master playlist, and the DASH manifest of
/// a CMAF stream.
#[utoipa::path(
    get, path = "/streams/{id}/{file}", tag = "streams",
    params(
        ("id" = String, Path, description = "The asset, or the stream's name"),
        ("file" = String, Path, description = "`master.m3u8`, `manifest.mpd`"),
    ),
    responses(
        (status = 200, description = "The playlist (HLS, RFC 8216)", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 304, description = "The client has it"),
        (status = 404, description = "No stream yet", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn top(
    State(app): State<Arc<App>>,
    Path((id, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    playlist(app, roots::playlist(&id, &file), headers).await
}

/// The playlists of one rendition, which grow while the stream is being made, and parts of its
/// segments. Asked with `_HLS_msn` (and `_HLS_part`) the answer waits until the playlist has that
/// segment (and that part of it).
#[utoipa::path(
    get, path = "/streams/{id}/{rendition}/{file}", tag = "streams",
    params(
        ("id" = String, Path, description = "The asset, or the stream's name"),
        ("rendition" = String, Path, description = "The rung's name, or `audio`"),
        ("file" = String, Path, description = "`playlist.m3u8`, `iframes.m3u8`, a part's name"),
        ("_HLS_msn" = Option<u64>, Query, description = "Number of a segment to wait for"),
        ("_HLS_part" = Option<u64>, Query, description = "Number of a part of it to wait for"),
    ),
    responses(
        (status = 200, description = "The playlist (HLS, RFC 8216), or the part", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 304, description = "The client has it"),
        (status = 400, description = "That is too far ahead to wait for", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such rendition yet", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It did not come in time", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn below(
    State(app): State<Arc<App>>,
    Path((id, rendition, file)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    let piece = Piece { rendition, file };
    if let Some(Kind::Part(segment, part)) = piece.kind() {
        return self::part(&app, &id, &piece, segment.into(), part.into()).await;
    }
    if let Some((segment, part)) = awaited(query.as_deref())? {
        until(&app, &id, &piece.rendition, segment, part).await?;
    }
    let path = format!("{}/{}", piece.rendition, piece.file);
    playlist(app, roots::playlist(&id, &path), headers).await
}

/// What the request waits for: a segment, and a part of it.
fn awaited(query: Option<&str>) -> Answer<Option<(u64, Option<u64>)>> {
    let number = |name: &str| {
        let mut pairs = query.unwrap_or_default().split('&');
        let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let wrong = || Problem::bad_request(format!("{name} must be a number"));
        value
            .map(|text| text.parse::<u64>().map_err(|_| wrong()))
            .transpose()
    };
    match (number("_HLS_msn")?, number("_HLS_part")?) {
        (Some(segment), part) => Ok(Some((segment, part))),
        (None, Some(_)) => Err(Problem::bad_request(
            "_HLS_part means nothing without _HLS_msn",
        )),
        (None, None) => Ok(None),
    }
}

/// Waits until the rendition has that much. A stream that is not being made has all it will have.
async fn until(
    app: &App,
    id: &str,
    rendition: &str,
    segment: u64,
    part: Option<u64>,
) -> Answer<()> {
    let Some(mut awaited) = app.growing.rendition(id, rendition) else {
        return Ok(());
    };
    let head = *awaited.head.borrow();
    // Two after the last one: what a player can know of (section 6.2.5.2).
    if segment > head.segment + 1 {
        return Err(Problem::bad_request(format!(
            "segment {segment} of {rendition} is too far ahead to wait for: {} comes next",
            head.segment
        )));
    }
    let came = awaited.head.wait_for(|head: &Head| head.has(segment, part));
    tokio::select! {
        // An error means that the stream ended or rests: no more will come.
        _ = came => Ok(()),
        () = app.stopping.cancelled() => Ok(()),
        () = tokio::time::sleep(awaited.target * PATIENCE) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("segment {segment} of {rendition} did not come in time"),
        )),
    }
}

/// A part, which may be one that is only announced yet.
async fn part(
    app: &App,
    id: &str,
    piece: &Piece,
    segment: u64,
    part: u64,
) -> Answer<Response<Body>> {
    if let Some(awaited) = app.growing.rendition(id, &piece.rendition) {
        let head = *awaited.head.borrow();
        if head.announces(segment, part) {
            until(app, id, &piece.rendition, segment, Some(part)).await?;
        }
    }
    let bytes = app.growing.part(id, piece).ok_or_else(|| {
        let (rendition, file) = (&piece.rendition, &piece.file);
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("no part {rendition}/{file} here"),
        )
    })?;
    let mime = store::mime::by_name(&piece.file).unwrap_or("application/octet-stream");
    let headers = [
        (header::CONTENT_TYPE, mime),
        // Its name is given to no other bytes while anybody can ask for it.
        (header::CACHE_CONTROL, "max-age=60"),
    ];
    Ok(open_to_all((headers, bytes).into_response()))
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
        let mime = object.mime.as_deref().unwrap_or("application/octet-stream");
        let headers = [
            (header::CONTENT_TYPE, mime),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, etag.as_str()),
            // The same playlist for who trusts nobody.
            (
                X_IPFS_PATH,
                &format!("/ipns/{}", app.store.ipns_name(&name)),
            ),
        ];
        Ok(open_to_all((headers, text).into_response()))
    })
    .await
}

/// Players on other pages may read streams, as they may read content.
fn open_to_all(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response.headers_mut().insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("X-Ipfs-Path"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for() {
        let check = |query: &str, expected: Option<Option<(u64, Option<u64>)>>| {
            assert_eq!(awaited(Some(query)).ok(), expected, "{query}");
        };
        check("", Some(None));
        check("token=x", Some(None));
        check("_HLS_msn=7", Some(Some((7, None))));
        check("a=b&_HLS_part=0&_HLS_msn=7", Some(Some((7, Some(0)))));
        check("_HLS_part=0", None);
        check("_HLS_msn=", None);
        check("_HLS_msn=-1", None);
        check("_HLS_msn=7&_HLS_part=x", None);
    }
}
