//! `/ipfs/<cid>`, `/ipfs-ts/<cid>`, `/ipns/<name>` and `/routing/v1`: the store's gateway, spoken
//! over HTTP.
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
use store::{Cid, gateway};

use crate::app::App;
use crate::auth::client::Client;
use crate::problem::{Problem, ProblemBody};

/// Bytes per read. Large enough that a segment is a handful of calls, small enough that a
/// hundred viewers fit in memory.
const CHUNK: u64 = 256 << 10;

/// Content by its CID, or what a path below it names.
#[utoipa::path(
    get, path = "/ipfs/{path}", tag = "content",
    params(
        ("path" = String, Path, description = "A CID, and what in a directory below it is meant"),
        ("filename" = Option<String>, Query, description = "Name to save it under; its ending decides the media type"),
        ("download" = Option<bool>, Query, description = "Save it instead of showing it"),
        ("format" = Option<String>, Query, description = "`raw`: the block itself; `car`: the blocks of all that is below"),
        ("dag-scope" = Option<String>, Query, description = "Of a CAR: `block`, `entity` or `all`"),
        ("entity-bytes" = Option<String>, Query, description = "Of a CAR: only the blocks of these bytes, as `0:1023` or `-5:*`"),
    ),
    responses(
        (status = 200, description = "The content", content_type = "application/octet-stream"),
        (status = 206, description = "The range asked for"),
        (status = 301, description = "A directory, whose address ends in a slash"),
        (status = 304, description = "The client has it"),
        (status = 400, description = "Not a CID", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Not held here", body = ProblemBody, content_type = "application/problem+json"),
        (status = 406, description = "Not offered in this form", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "Not held here, and only-if-cached was asked for", body = ProblemBody, content_type = "application/problem+json"),
        (status = 416, description = "No such range", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn content(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    respond(app, request, |app, request| {
        gateway::respond(&app.store, request)
    })
    .await
}

/// Content by its CID, always called MPEG-TS.
#[utoipa::path(
    get, path = "/ipfs-ts/{path}", tag = "content",
    params(("path" = String, Path, description = "As below /ipfs/")),
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
    respond(app, request, |app, request| {
        gateway::respond(&app.store, request)
    })
    .await
}

/// What an IPNS name stands for now.
#[utoipa::path(
    get, path = "/ipns/{path}", tag = "content",
    params(
        ("path" = String, Path, description = "The name of a key, and a path below what it stands for"),
        ("format" = Option<String>, Query, description = "As below /ipfs/, and `ipns-record`: the signed record"),
    ),
    responses(
        (status = 200, description = "The content", content_type = "application/octet-stream"),
        (status = 302, description = "A name in base58, whose address is in base36"),
        (status = 304, description = "The client has it"),
        (status = 404, description = "Not held here", body = ProblemBody, content_type = "application/problem+json"),
        (status = 500, description = "The record is not valid", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn name(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    respond(app, request, |app, request| {
        gateway::respond(&app.store, request)
    })
    .await
}

/// Who provides content, for clients that fetch and check blocks themselves.
#[utoipa::path(
    get, path = "/routing/v1/providers/{cid}", tag = "content",
    params(
        ("cid" = String, Path),
        ("filter-addrs" = Option<String>, Query, description = "Protocols that an address has to have, or with `!` must not"),
        ("filter-protocols" = Option<String>, Query, description = "Ways of fetching that the client knows"),
    ),
    responses(
        (status = 200, description = "This server, if it has the content (delegated routing V1)", content_type = "application/json"),
        (status = 422, description = "Not a CID", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn providers(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    respond(app, request, route).await
}

/// The signed record of an IPNS name.
#[utoipa::path(
    get, path = "/routing/v1/ipns/{name}", tag = "content",
    params(("name" = String, Path)),
    responses(
        (status = 200, description = "The record; if there is none, a text of another type", content_type = "application/vnd.ipfs.ipns-record"),
        (status = 304, description = "The client has it"),
        (status = 406, description = "Asked for as something else", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Not a name", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn record(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    respond(app, request, route).await
}

/// Clients are told to come back to the address they came to, unless the server knows better.
fn route(app: &App, request: &Request<()>) -> Response<gateway::Body> {
    let asked = || {
        let client = request.extensions().get::<Client>()?;
        let scheme = if client.secure { "https" } else { "http" };
        Some(format!("{scheme}://{}", client.host.as_ref()?))
    };
    let origin = app.config.public_url.clone().or_else(asked);
    gateway::routing::respond(&app.store, request, origin.as_deref())
}

async fn respond(
    app: Arc<App>,
    request: Request,
    answer: fn(&App, &Request<()>) -> Response<gateway::Body>,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let answered = app.blocking(move |app| Ok(reach(app, &request, answer)));
    let answered = answered.await;
    match answered {
        Ok(response) => carry(response),
        Err(problem) => problem.into_response(),
    }
}

/// The answer; of what only another server has, after it was taken over.
fn reach(
    app: &App,
    request: &Request<()>,
    answer: fn(&App, &Request<()>) -> Response<gateway::Body>,
) -> Response<gateway::Body> {
    let first = answer(app, request);
    if first.status() != StatusCode::NOT_FOUND || !app.store.reads_others() {
        return first;
    }
    // Only what the catalog knows, so that nobody can have the backend searched for anything.
    let mut words = request.uri().path().split('/').skip(2);
    let Some(cid) = words.next().and_then(|text| Cid::try_from(text).ok()) else {
        return first;
    };
    match app.catalog.names_content(&cid.to_string()) {
        Ok(true) => {}
        Ok(false) => return first,
        Err(error) => {
            tracing::error!(error = %crate::problem::chain(&error), "cannot look for content");
            return first;
        }
    }
    match app.store.take_over(&cid) {
        Ok(true) => answer(app, request),
        Ok(false) => first,
        Err(error) => {
            tracing::warn!(error = %crate::problem::chain(&error), "cannot take content over");
            first
        }
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
        gateway::Body::Pieces { pieces, .. } => {
            Body::from_stream(stream::try_unfold(pieces, next_pieces))
        }
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

/// Reads blocks until they are worth sending. An error ends the connection, so that nobody takes
/// what came before for the whole; yet that is sent first, since each block of it can be verified.
async fn next_pieces(mut pieces: gateway::Pieces) -> io::Result<Option<(Bytes, gateway::Pieces)>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK as usize {
            match pieces.next() {
                None => break,
                // A block that is large enough goes out as it is.
                Some(Ok(piece)) if chunk.is_empty() && piece.len() >= CHUNK as usize => {
                    return Ok(Some((piece, pieces)));
                }
                Some(Ok(piece)) => chunk.extend_from_slice(&piece),
                Some(Err(error)) if !chunk.is_empty() => {
                    pieces = Box::new(std::iter::once(Err(error)));
                    break;
                }
                Some(Err(error)) => {
                    tracing::warn!(error = %crate::problem::chain(&error), "content ends early");
                    return Err(io::Error::other(error));
                }
            }
        }
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), pieces)))
    })
    .await?;
    if read.is_err() {
        // The connection writes out what it has when there is nothing to take, and drops it at an
        // error: without this wait the chunk before would be lost now and then.
        tokio::task::yield_now().await;
    }
    read
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
