//! Resumable uploads: tus 1.0.0 (tus.io/protocols/resumable-upload) with the extensions creation,
//! creation-defer-length, creation-with-upload, termination and expiration.
//!
//! How much came is the length of the upload's file, so nothing need be written to resume after
//! a crash. A finished upload answers with the asset it became for as long as its row lives, for
//! the client whose last answer was lost.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use catalog::{Protocol, Upload};

use super::receive::{End, Receiver};
use super::{KEPT_MS, Turn, begin, check_length, discard, finish, name, too_large};
use crate::app::App;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::{http_date, now_ms};

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const SUPPORTED: HeaderName = HeaderName::from_static("tus-version");
const EXTENSIONS: HeaderName = HeaderName::from_static("tus-extension");
const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
/// Kinora's own: the asset that a finished upload became.
const ASSET: HeaderName = HeaderName::from_static("kinora-asset");

const CHUNK_TYPE: &str = "application/offset+octet-stream";

/// Checks the protocol's version and marks every answer with it.
pub(crate) async fn speak(request: Request, next: Next) -> Response {
    let speaks = request.headers().get(RESUMABLE) == Some(&VERSION);
    let mut response = if speaks || request.method() == Method::OPTIONS {
        next.run(request).await
    } else {
        Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "this address speaks tus 1.0.0: send the header Tus-Resumable: 1.0.0",
        )
        .with_header(SUPPORTED, VERSION)
        .into_response()
    };
    response.headers_mut().insert(RESUMABLE, VERSION);
    response
}

/// Says what the server can do.
#[utoipa::path(
    options, path = "/api/uploads", tag = "uploads",
    responses((status = 204, description = "Tus-Version, Tus-Extension, Tus-Max-Size"))
)]
pub(crate) async fn abilities(State(app): State<Arc<App>>) -> Response {
    (
        StatusCode::NO_CONTENT,
        [
            (SUPPORTED, VERSION),
            (
                EXTENSIONS,
                HeaderValue::from_static(
                    "creation,creation-defer-length,creation-with-upload,termination,expiration",
                ),
            ),
            (MAX_SIZE, HeaderValue::from(app.config.max_upload)),
        ],
    )
        .into_response()
}

/// Begins an upload. A body is taken as its first bytes.
#[utoipa::path(
    post, path = "/api/uploads", tag = "uploads",
    params(
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Length" = Option<u64>, Header, description = "The file's size in bytes"),
        ("Upload-Defer-Length" = Option<u8>, Header, description = "1 when the size is not known yet"),
        ("Upload-Metadata" = Option<String>, Header, description = "`filename` and its value in base64"),
    ),
    responses(
        (status = 201, description = "Begun; Location is the upload's address, Kinora-Asset the asset if it is complete",
         headers(("Location" = String), ("Upload-Offset" = u64), ("Upload-Expires" = String))),
        (status = 400, description = "A header is wrong", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "Not tus 1.0.0", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "Larger than the server accepts", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "A body that is not application/offset+octet-stream", body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "The server's disk is full", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let length = number(headers, &LENGTH)?;
    let deferred = text(headers, &DEFER_LENGTH)?;
    match (length, deferred) {
        (Some(_), None) | (None, Some("1")) => {}
        _ => {
            return Err(Problem::bad_request(
                "send either Upload-Length or Upload-Defer-Length: 1",
            ));
        }
    }
    let metadata = text(headers, &METADATA)?.unwrap_or_default().to_owned();
    let name = file_name(&metadata)?;
    let with_body = headers.contains_key(header::CONTENT_TYPE);
    if with_body {
        check_type(headers)?;
    }
    let upload = app
        .blocking(move |app| begin(app, Protocol::Tus, &name, &metadata, length))
        .await?;
    let location = format!("/api/uploads/{}", upload.id);
    let arrived = if with_body || length == Some(0) {
        append(&app, upload, 0, None, body).await?
    } else {
        Arrived {
            expires_ms: upload.expires_ms,
            offset: 0,
            asset: None,
        }
    };
    let mut response = arrived.into_response();
    *response.status_mut() = StatusCode::CREATED;
    let location = HeaderValue::try_from(location).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Says how much of an upload came. A request that still sends to it is ended.
#[utoipa::path(
    head, path = "/api/uploads/{id}", tag = "uploads",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header, description = "1.0.0")),
    responses(
        (status = 200, description = "Upload-Offset, Upload-Length, Upload-Metadata, Upload-Expires; Kinora-Asset when it is complete"),
        (status = 404, description = "No such upload"),
        (status = 412, description = "Not tus 1.0.0"),
    )
)]
pub(crate) async fn offset(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Response> {
    // Who asks has lost the connection that sent: what is still on its way there would make the
    // answer untrue.
    let turn = app.uploads.take_turn(&id).await;
    let (upload, arrived) = app
        .blocking(move |app| {
            let _turn = turn;
            let upload = find(app, &id)?;
            let arrived = arrived(app, &upload)?;
            Ok((upload, arrived))
        })
        .await?;
    let mut headers = HeaderMap::new();
    headers.insert(OFFSET, HeaderValue::from(arrived));
    match upload.length {
        Some(length) => headers.insert(LENGTH, HeaderValue::from(length)),
        None => headers.insert(DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    if let Some(metadata) = Some(&upload.metadata).filter(|metadata| !metadata.is_empty()) {
        if let Ok(metadata) = HeaderValue::from_str(metadata) {
            headers.insert(METADATA, metadata);
        }
    }
    insert_end(&mut headers, upload.expires_ms, upload.asset.as_deref());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::OK, headers).into_response())
}

/// Goes on with an upload where it stopped.
#[utoipa::path(
    patch, path = "/api/uploads/{id}", tag = "uploads",
    params(
        ("id" = String, Path),
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "Bytes that came before"),
        ("Upload-Length" = Option<u64>, Header, description = "The size, if it was deferred"),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Taken; with Kinora-Asset when the file is complete",
         headers(("Upload-Offset" = u64), ("Upload-Expires" = String), ("Kinora-Asset" = String))),
        (status = 400, description = "A header is wrong, or the connection broke", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such upload", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Upload-Offset is not where it stopped", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "Not tus 1.0.0", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "More bytes than the upload has", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not application/offset+octet-stream", body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "The server's disk is full; what came is kept", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn patch(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    check_type(&parts.headers)?;
    let offset = number(&parts.headers, &OFFSET)?
        .ok_or_else(|| Problem::bad_request("the header Upload-Offset is missing"))?;
    let length = number(&parts.headers, &LENGTH)?;
    let upload = app.blocking(move |app| find(app, &id)).await?;
    Ok(append(&app, upload, offset, length, body)
        .await?
        .into_response())
}

/// Drops an upload.
#[utoipa::path(
    delete, path = "/api/uploads/{id}", tag = "uploads",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header, description = "1.0.0")),
    responses(
        (status = 204, description = "Gone. An asset that was made of it stays"),
        (status = 404, description = "No such upload", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "Not tus 1.0.0", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn terminate(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let turn = app.uploads.take_turn(&id).await;
    app.blocking(move |app| {
        let _turn = turn;
        find(app, &id)?;
        discard(app, &id)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The same for clients that can only POST.
#[utoipa::path(
    post, path = "/api/uploads/{id}", tag = "uploads",
    params(
        ("id" = String, Path),
        ("X-HTTP-Method-Override" = String, Header, description = "PATCH, HEAD or DELETE"),
    ),
    responses(
        (status = 204, description = "As the overriding method answers"),
        (status = 412, description = "Another version of tus", body = ProblemBody, content_type = "application/problem+json"),
        (status = 400, description = "No method to override with", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such upload", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "As PATCH says it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "As PATCH says it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "As PATCH says it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "As PATCH says it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "As PATCH says it", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn overridden(
    state: State<Arc<App>>,
    path: Path<String>,
    request: Request,
) -> Answer<Response> {
    let method = request.headers().get(OVERRIDE).map(HeaderValue::as_bytes);
    match method {
        Some(b"PATCH") => patch(state, path, request).await,
        Some(b"HEAD") => offset(state, path).await,
        Some(b"DELETE") => Ok(terminate(state, path).await?.into_response()),
        _ => Err(Problem::bad_request(
            "an upload takes PATCH, HEAD and DELETE, also in X-HTTP-Method-Override",
        )),
    }
}

/// How far an upload has come.
struct Arrived {
    offset: u64,
    expires_ms: i64,
    asset: Option<String>,
}

impl IntoResponse for Arrived {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(OFFSET, HeaderValue::from(self.offset));
        insert_end(&mut headers, self.expires_ms, self.asset.as_deref());
        (StatusCode::NO_CONTENT, headers).into_response()
    }
}

fn insert_end(headers: &mut HeaderMap, expires_ms: i64, asset: Option<&str>) {
    if let Ok(expires) = HeaderValue::try_from(http_date(expires_ms)) {
        headers.insert(EXPIRES, expires);
    }
    if let Some(Ok(asset)) = asset.map(|id| HeaderValue::try_from(format!("/api/assets/{id}"))) {
        headers.insert(ASSET, asset);
    }
}

fn find(app: &App, id: &str) -> Answer<Upload> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, format!("no upload {id:?} here"));
    let upload = app.catalog.upload(id)?.ok_or_else(missing)?;
    let expired = upload.asset.is_none() && !upload.complete && upload.expires_ms < now_ms();
    if upload.protocol != Protocol::Tus || expired {
        return Err(missing());
    }
    Ok(upload)
}

/// A complete upload's file has moved into the store.
fn arrived(app: &App, upload: &Upload) -> Answer<u64> {
    match (upload.complete, upload.length) {
        (true, Some(length)) => Ok(length),
        _ => Ok(app.uploads.arrived(&upload.id)?),
    }
}

/// Takes the body as the bytes from `offset` on, and finishes the upload when they were the last.
async fn append(
    app: &Arc<App>,
    upload: Upload,
    offset: u64,
    length: Option<u64>,
    body: Body,
) -> Answer<Arrived> {
    let turn = app.uploads.take_turn(&upload.id).await;
    let opened = app
        .blocking(move |app| open(app, &upload.id, offset, length))
        .await?;
    let (upload, file) = match opened {
        Opened::Finished(arrived) => return Ok(arrived),
        Opened::Open(upload, file) => (upload, file),
    };
    let most = upload.length.unwrap_or(app.config.max_upload);
    let (turn, written, end) = Receiver::new(app, file, offset, most, turn)
        .receive(body.into_data_stream())
        .await?;
    app.blocking(move |app| close(app, upload, &turn, written, end))
        .await
}

enum Opened {
    Finished(Arrived),
    Open(Upload, std::fs::File),
}

/// Checks that the bytes belong at the end of the file. Called by whoever has the turn.
fn open(app: &App, id: &str, offset: u64, length: Option<u64>) -> Answer<Opened> {
    let mut upload = find(app, id)?;
    let here = arrived(app, &upload)?;
    if offset != here {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "{}: {here} bytes are here, the request goes on at {offset}",
                upload.name
            ),
        )
        .with_header(OFFSET, HeaderValue::from(here)));
    }
    if let Some(asset) = upload.asset {
        return Ok(Opened::Finished(Arrived {
            offset: here,
            expires_ms: upload.expires_ms,
            asset: Some(asset),
        }));
    }
    if let Some(length) = length {
        check_length(app, &upload.name, Some(length))?;
        if upload.length.is_some_and(|known| known != length) || length < here {
            return Err(Problem::bad_request(format!(
                "{}: Upload-Length does not fit the upload",
                upload.name
            )));
        }
        upload.length = Some(length);
    }
    upload.expires_ms = now_ms() + KEPT_MS;
    app.catalog
        .extend_upload(id, upload.length, upload.expires_ms)?;
    let file = app.uploads.append(id)?;
    Ok(Opened::Open(upload, file))
}

/// What became of the bytes. `_turn` is held so that nobody else touches the file meanwhile.
fn close(app: &App, upload: Upload, _turn: &Turn, written: u64, end: End) -> Answer<Arrived> {
    let name = &upload.name;
    match end {
        End::Full => return Err(Problem::disk_full(name, app.disk.usable()?)),
        End::Failed(error) => return Err(error.into()),
        End::TooMuch if upload.length.is_none() => return Err(too_large(app, name)),
        End::TooMuch => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{name}: more bytes than its Upload-Length says"),
            ));
        }
        End::Broken(why) => {
            return Err(Problem::bad_request(format!(
                "{name}: the connection broke after {written} bytes: {why}"
            )));
        }
        End::Idle => {
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("{name}: nothing came for a minute; {written} bytes are here"),
            ));
        }
        End::Whole => {}
    }
    let complete = upload.length == Some(written);
    if complete {
        finish(app, &upload)?;
    }
    Ok(Arrived {
        offset: written,
        expires_ms: upload.expires_ms,
        asset: complete.then(|| upload.id.clone()),
    })
}

fn check_type(headers: &HeaderMap) -> Answer<()> {
    let is_chunk = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(CHUNK_TYPE.as_bytes()));
    if is_chunk {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("the body of an upload has the type {CHUNK_TYPE}"),
    ))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Answer<Option<&'a str>> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .map_err(|_| Problem::bad_request(format!("the header {name} is not plain text")))
        })
        .transpose()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Answer<Option<u64>> {
    text(headers, name)?
        .map(|value| {
            // `parse` alone would take a sign.
            value
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| value.parse().ok())
                .flatten()
                .filter(|number| *number <= i64::MAX as u64)
                .ok_or_else(|| {
                    Problem::bad_request(format!("the header {name} is no size: {value}"))
                })
        })
        .transpose()
}

/// The value of `filename` in `Upload-Metadata`: comma-separated keys, each with its value in
/// base64 after a space.
fn file_name(metadata: &str) -> Answer<String> {
    let wrong = || Problem::bad_request("the header Upload-Metadata cannot be read");
    for pair in metadata
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if key != "filename" && key != "name" {
            continue;
        }
        let raw = base64(value.trim()).ok_or_else(wrong)?;
        let clean = name::clean(&String::from_utf8_lossy(&raw));
        return clean.ok_or_else(|| Problem::bad_request("the file's name is empty"));
    }
    Err(Problem::bad_request(
        "the file has no name: send Upload-Metadata: filename BASE64",
    ))
}

/// Base64 (RFC 4648, section 4), with or without its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let mut bits = 0u32;
    let mut have = 0;
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_values() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("Y2xpcC5tcDQ=", Some(&b"clip.mp4"[..])),
            ("Y2xpcC5tcDQ", Some(&b"clip.mp4"[..])),
            ("YQ==", Some(&b"a"[..])),
            ("//79", Some(&b"\xff\xfe\xfd"[..])),
            ("Y", None),
            ("Y2x*", None),
            ("Y2xp====", None),
        ] {
            assert_eq!(base64(text).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn names_in_metadata() {
        for (metadata, name) in [
            ("filename Y2xpcC5tcDQ=", Some("clip.mp4")),
            (
                "filetype dmlkZW8vbXA0,filename Y2xpcC5tcDQ=",
                Some("clip.mp4"),
            ),
            ("is_confidential, name Y2xpcC5tcDQ=", Some("clip.mp4")),
            ("filename Li4vLi4vZXRjL3Bhc3N3ZA==", Some("passwd")),
            ("filename", None),
            ("filename ***", None),
            ("", None),
        ] {
            assert_eq!(file_name(metadata).ok().as_deref(), name, "{metadata}");
        }
    }
}
