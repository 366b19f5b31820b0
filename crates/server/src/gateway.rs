//! `/ipfs/<cid>` and `/ipfs-ts/<cid>`: the store's gateway, spoken over HTTP.
//!
//! What is answered is decided by `store::gateway`; this file carries the bytes. A slice of a
//! file goes out in chunks that are read when the connection takes them. What lies in the page
//! cache, as a segment that is being watched does, is read on the spot (`RWF_NOWAIT` makes the
//! kernel refuse rather than wait); the rest is read on a blocking thread.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use store::gateway;

use crate::app::App;
use crate::problem::{Problem, ProblemBody};

/// Bytes per read. Large enough that a segment is a handful of calls, small enough that a
/// hundred viewers fit in memory.
const CHUNK: u64 = 256 << 10;

/// Content by its CID.
#[utoipa::path(
    get, path = "/ipfs/{cid}", tag = "content",
    params(
        ("cid" = String, Path),
        ("filename" = Option<String>, Query, description = "Name to save it under; its ending decides the media type"),
        ("download" = Option<bool>, Query, description = "Save it instead of showing it"),
        ("format" = Option<String>, Query, description = "`raw`: the block itself"),
    ),
    responses(
        (status = 200, description = "The content", content_type = "application/octet-stream"),
        (status = 206, description = "The range asked for"),
        (status = 304, description = "The client has it"),
        (status = 400, description = "Not a CID", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Not held here", body = ProblemBody, content_type = "application/problem+json"),
        (status = 416, description = "No such range", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn content(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    respond(app, request).await
}

/// Content by its CID, always called MPEG-TS.
#[utoipa::path(
    get, path = "/ipfs-ts/{cid}", tag = "content",
    params(("cid" = String, Path)),
    responses(
        (status = 200, description = "The content", content_type = "video/mp2t"),
        (status = 206, description = "The range asked for"),
        (status = 304, description = "The client has it"),
        (status = 400, description = "Not a CID", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Not held here", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn transport_stream(
    State(app): State<Arc<App>>,
    request: Request,
) -> Response<Body> {
    respond(app, request).await
}

async fn respond(app: Arc<App>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let answered = app
        .blocking(move |app| Ok(gateway::respond(&app.store, &request)))
        .await;
    match answered {
        Ok(response) => carry(response),
        Err(problem) => problem.into_response(),
    }
}

/// The same response with a body that axum can send.
fn carry(response: Response<gateway::Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    if status.is_client_error() || status.is_server_error() {
        return refuse(parts, body);
    }
    let body = match body {
        gateway::Body::Empty => Body::empty(),
        gateway::Body::Bytes(bytes) => Body::from(bytes),
        gateway::Body::File { file, offset, len } => slice(file, offset, len),
    };
    Response::from_parts(parts, body)
}

/// A refusal's text becomes a problem's detail.
fn refuse(mut parts: axum::http::response::Parts, body: gateway::Body) -> Response<Body> {
    if let Some(error) = parts.extensions.remove::<Arc<store::Error>>() {
        tracing::error!(error = %crate::problem::chain(error.as_ref()), "content cannot be served");
    }
    let detail = match body {
        gateway::Body::Bytes(text) => String::from_utf8_lossy(&text).trim().to_owned(),
        _ => String::new(),
    };
    let mut response = Problem::new(parts.status, detail).into_response();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    response.headers_mut().extend(parts.headers);
    response
}

/// A slice of a file as a body.
pub(crate) fn slice(file: File, offset: u64, len: u64) -> Body {
    let rest = Rest {
        file: Arc::new(file),
        offset,
        end: offset.saturating_add(len),
    };
    Body::from_stream(stream::try_unfold(rest, Rest::next))
}

struct Rest {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl Rest {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let wanted = (self.end - self.offset).min(CHUNK);
        if wanted == 0 {
            return Ok(None);
        }
        let chunk = match cached(&self.file, self.offset, wanted) {
            Some(chunk) => chunk,
            None => self.waited(wanted).await?,
        };
        self.offset += chunk.len() as u64;
        Ok(Some((chunk, self)))
    }

    /// Reads on a thread that may wait for the disk.
    async fn waited(&self, wanted: u64) -> io::Result<Bytes> {
        let file = Arc::clone(&self.file);
        let offset = self.offset;
        tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; wanted as usize];
            file.read_exact_at(&mut chunk, offset)?;
            Ok(Bytes::from(chunk))
        })
        .await?
    }
}

/// What of the slice is in the page cache, if its beginning is. Never waits for the disk.
fn cached(file: &File, offset: u64, wanted: u64) -> Option<Bytes> {
    let mut chunk = vec![0; wanted as usize];
    loop {
        let read = preadv2(
            file,
            &mut [IoSliceMut::new(&mut chunk)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        match read {
            Err(Errno::INTR) => {}
            // Not cached, or a file system that cannot tell. An end that comes too early is
            // left to the read that reports it.
            Ok(0) | Err(_) => return None,
            Ok(n) => {
                chunk.truncate(n);
                return Some(Bytes::from(chunk));
            }
        }
    }
}

/// Whether a client that has `etag` asks only for something newer (RFC 9110, section 13.1.2).
pub(crate) fn has_it(headers: &axum::http::HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

/// An answer that says: what you have is current.
pub(crate) fn not_modified(etag: &str) -> Response<Body> {
    (
        StatusCode::NOT_MODIFIED,
        [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache")],
    )
        .into_response()
}
