//! `/ipfs/<cid>` over plain `http` types: the path gateway specification (specs.ipfs.tech,
//! "Path Gateway" and "Trustless Gateway", IPIP-523) for files and raw blocks, and HTTP itself
//! (RFC 9110) for conditions and ranges.
//!
//! The gateway is not recursive: what is not held is 404, and nothing is fetched. Directories, CAR
//! files and names come with the backends that need them; asking for them is 404 or 406.
//!
//! Content comes from whoever may upload and is served from the page's origin, so each response
//! forbids it to run: a sandboxing Content-Security-Policy, `nosniff`, and no service workers.
//!
//! `respond` is the border where the store's errors become HTTP statuses.

mod disposition;
mod query;
mod range;

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use cid::{Cid, CidGeneric};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{self, HeaderName},
};

use self::{disposition::content_disposition, query::Query, range::Range};
use crate::{
    Error, Object, Store, mime,
    unixfs::{self, DAG_PB, IDENTITY, RAW},
};

/// Identity CIDs may be this long; others carry 32 bytes.
type WideCid = CidGeneric<128>;

const RAW_TYPE: &str = "application/vnd.ipld.raw";

/// 336 days, the value the specification names for immutable content.
const IMMUTABLE: &str = "public, max-age=29030400, immutable";

/// Whatever the content is, opened as a page it has no scripts, forms, frames, requests or origin.
/// Pictures and media keep working, because browsers show those in a page of their own making.
const SANDBOX: &str = "default-src 'none'; img-src 'self' data:; media-src 'self'; \
                       style-src 'unsafe-inline'; sandbox";

const METHODS: &str = "GET, HEAD, OPTIONS";

/// What a response carries.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// A slice of a file.
    File {
        /// The open file.
        file: File,
        /// First byte to send.
        offset: u64,
        /// How many to send.
        len: u64,
    },
}

impl Body {
    /// Bytes that it will send.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether it sends nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slice(self, start: u64, len: u64) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Bytes(bytes) => Self::Bytes(bytes.slice(start as usize..(start + len) as usize)),
            Self::File { file, offset, .. } => Self::File {
                file,
                offset: offset + start,
                len,
            },
        }
    }
}

/// Why a request gets no content.
#[derive(Debug)]
enum Refusal {
    Method,
    NotFound(String),
    BadRequest(String),
    NotAcceptable(String),
    /// `only-if-cached`, and it is not here.
    NotCached,
    Precondition,
    Store(Error),
}

/// What the client wants of the CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The content of the file.
    File,
    /// The block itself.
    Block,
}

/// The request once its parts are understood.
struct Wanted<'a> {
    cid: WideCid,
    /// `/ipfs-ts/`: say `video/mp2t` whatever is known of the content.
    transport_stream: bool,
    form: Form,
    /// The form was chosen by `Accept` and not by the URL.
    negotiated: bool,
    query: Query,
    path: &'a str,
}

/// What was found, before conditions and ranges.
struct Found {
    body: Body,
    mime: String,
}

/// Answers a request whose path starts with `/ipfs/` or `/ipfs-ts/`.
///
/// A response with status 500 carries the [`Error`] as an `Arc<Error>` in its extensions, for the
/// server's log.
pub fn respond(store: &Store, request: &Request<()>) -> Response<Body> {
    let mut response = match answer(store, request) {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(request.method()),
    };
    allow_all_origins(response.headers_mut());
    response
}

fn answer(store: &Store, request: &Request<()>) -> Result<Response<Body>, Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            set(response.headers_mut(), header::ALLOW, METHODS);
            return Ok(response);
        }
        _ => return Err(Refusal::Method),
    }
    let wanted = Wanted::parse(request)?;
    let found = match wanted.find(store).map_err(Refusal::Store)? {
        Some(found) => found,
        None if only_if_cached(request.headers()) => return Err(Refusal::NotCached),
        None => {
            let cid = wanted.cid.to_string();
            return Err(Refusal::NotFound(format!("{cid} is not held here")));
        }
    };
    wanted.deliver(found, request)
}

impl<'a> Wanted<'a> {
    fn parse(request: &'a Request<()>) -> Result<Self, Refusal> {
        let path = request.uri().path();
        let (rest, transport_stream) = match path.strip_prefix("/ipfs-ts/") {
            Some(rest) => (rest, true),
            None => match path.strip_prefix("/ipfs/") {
                Some(rest) => (rest, false),
                None => return Err(Refusal::NotFound(format!("no content at {path}"))),
            },
        };
        if request.headers().contains_key("service-worker") {
            let text = "content may not be registered as a service worker";
            return Err(Refusal::BadRequest(text.into()));
        }
        let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
        let cid = parse_cid(first)?;
        if !below.is_empty() || rest.ends_with('/') {
            return Err(Refusal::NotFound(format!("{cid} is not a directory")));
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let (form, negotiated) = match &query.format {
            Some(format) => (form_by_name(format)?, false),
            None => form_by_accept(request.headers())?,
        };
        Ok(Self {
            cid,
            transport_stream,
            form,
            negotiated,
            query,
            path,
        })
    }

    fn find(&self, store: &Store) -> Result<Option<Found>, Error> {
        if self.cid.hash().code() == IDENTITY {
            return Ok(self.inline());
        }
        // Only 32-byte hashes are held.
        let Some(cid) = narrow(&self.cid) else {
            return Ok(None);
        };
        match self.form {
            Form::File => self.file(store, &cid),
            Form::Block if cid.codec() == RAW => Ok(store
                .open_content(&cid)?
                .map(|(object, _)| Found::block(file_body(object)))),
            Form::Block => Ok(store
                .get_block(&cid)?
                .map(|node| Found::block(Body::Bytes(node)))),
        }
    }

    /// The content of a CID that carries it.
    fn inline(&self) -> Option<Found> {
        let bytes = Bytes::copy_from_slice(self.cid.hash().digest());
        if self.form == Form::Block {
            return Some(Found::block(Body::Bytes(bytes)));
        }
        // An inline node would have to be decoded, and nothing makes such a thing.
        (self.cid.codec() == RAW).then(|| Found {
            mime: self.mime(None, || mime::sniff(&bytes)),
            body: Body::Bytes(bytes.clone()),
        })
    }

    fn file(&self, store: &Store, cid: &Cid) -> Result<Option<Found>, Error> {
        let Some((object, located)) = store.open_content(cid)? else {
            return Ok(None);
        };
        let mut start = [0; mime::SNIFF];
        let sniff = || {
            let len = object.size.min(mime::SNIFF as u64) as usize;
            match object.file.read_exact_at(&mut start[..len], object.offset) {
                Ok(()) => mime::sniff(&start[..len]),
                // The server will meet the same error when it sends the body.
                Err(_) => mime::UNKNOWN,
            }
        };
        Ok(Some(Found {
            mime: self.mime(located.mime.as_deref(), sniff),
            body: file_body(object),
        }))
    }

    fn mime(&self, recorded: Option<&str>, sniff: impl FnOnce() -> &'static str) -> String {
        if self.transport_stream {
            return mime::MPEG_TS.into();
        }
        let named = || self.query.filename.as_deref().and_then(mime::by_name);
        recorded
            .or_else(named)
            .map_or_else(|| sniff().into(), Into::into)
    }

    fn etag(&self) -> String {
        match self.form {
            Form::File => format!("\"{}\"", self.cid),
            Form::Block => format!("\"{}.raw\"", self.cid),
        }
    }

    /// Conditions first, then the range, in the order of RFC 9110 section 13.2.2.
    fn deliver(&self, found: Found, request: &Request<()>) -> Result<Response<Body>, Refusal> {
        let etag = self.etag();
        let sent = request.headers();
        if sent.contains_key(header::IF_MATCH) && !lists(sent, header::IF_MATCH, &etag, false) {
            return Err(Refusal::Precondition);
        }
        let mut response = Response::new(Body::Empty);
        self.common_headers(response.headers_mut(), &etag);
        if lists(sent, header::IF_NONE_MATCH, &etag, true) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        self.content_headers(response.headers_mut(), &found.mime);
        let size = found.body.len();
        let range = if *request.method() == Method::GET && range_applies(sent, &etag) {
            range::parse(sent, size)
        } else {
            Range::Whole
        };
        let (body, status) = match range {
            Range::Whole => (found.body, StatusCode::OK),
            Range::Part { start, len } => {
                let value = format!("bytes {start}-{}/{size}", start + len - 1);
                set(response.headers_mut(), header::CONTENT_RANGE, &value);
                (found.body.slice(start, len), StatusCode::PARTIAL_CONTENT)
            }
            Range::Unsatisfiable => return Ok(unsatisfiable(size)),
        };
        set(
            response.headers_mut(),
            header::CONTENT_LENGTH,
            &body.len().to_string(),
        );
        *response.status_mut() = status;
        if *request.method() == Method::GET {
            *response.body_mut() = body;
        }
        Ok(response)
    }

    /// What a 200 and a 304 share (RFC 9110 section 15.4.5).
    fn common_headers(&self, headers: &mut HeaderMap, etag: &str) {
        set(headers, header::ETAG, etag);
        set(headers, header::CACHE_CONTROL, IMMUTABLE);
        set(headers, X_IPFS_PATH, self.path);
        set(headers, X_IPFS_ROOTS, &self.cid.to_string());
        if self.query.format.is_none() {
            set(headers, header::VARY, "Accept");
        }
        if self.negotiated {
            let query = self.query.with_format("raw");
            let location = format!("{}?{query}", self.path);
            set(headers, header::CONTENT_LOCATION, &location);
        }
    }

    fn content_headers(&self, headers: &mut HeaderMap, mime: &str) {
        set(headers, header::CONTENT_TYPE, mime);
        set(headers, header::ACCEPT_RANGES, "bytes");
        set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(headers, header::CONTENT_SECURITY_POLICY, SANDBOX);
        let block = self.form == Form::Block;
        let attachment = block || self.query.download;
        let default = if block {
            Some(format!("{}.bin", self.cid))
        } else {
            attachment.then(|| self.cid.to_string())
        };
        if let Some(name) = self.query.filename.clone().or(default) {
            let value = content_disposition(attachment, &name);
            set(headers, header::CONTENT_DISPOSITION, &value);
        }
    }
}

const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");
const X_IPFS_ROOTS: HeaderName = HeaderName::from_static("x-ipfs-roots");

impl Found {
    fn block(body: Body) -> Self {
        Self {
            body,
            mime: RAW_TYPE.into(),
        }
    }
}

fn file_body(object: Object) -> Body {
    Body::File {
        file: object.file,
        offset: object.offset,
        len: object.size,
    }
}

/// Reads the first path segment. Multibase has bases with characters that URLs escape.
fn parse_cid(segment: &str) -> Result<WideCid, Refusal> {
    let bad = |reason: String| Refusal::BadRequest(format!("not a CID: {segment:?}: {reason}"));
    let text = query::unescape(segment, false).ok_or_else(|| bad("not UTF-8".into()))?;
    // The parser would accept text in front of an inner `/ipfs/`.
    if text.contains('/') {
        return Err(bad("contains a slash".into()));
    }
    let cid = WideCid::try_from(text.as_str()).map_err(|e| bad(e.to_string()))?;
    Ok(cid)
}

fn narrow(cid: &WideCid) -> Option<Cid> {
    if !matches!(cid.codec(), RAW | DAG_PB) || cid.hash().code() != unixfs::SHA2_256 {
        return None;
    }
    Cid::try_from(cid.to_bytes()).ok()
}

fn form_by_name(format: &str) -> Result<Form, Refusal> {
    match format {
        "raw" => Ok(Form::Block),
        other => Err(Refusal::NotAcceptable(format!(
            "format {other:?} is not offered; there are the file itself and format=raw"
        ))),
    }
}

/// Chooses by the first thing in `Accept` that is offered. Kinds of the content itself, as
/// `video/*`, always take the file, as HTTP allows.
fn form_by_accept(headers: &HeaderMap) -> Result<(Form, bool), Refusal> {
    let mut refused = None;
    for entry in list_values(headers, header::ACCEPT) {
        let mut parts = entry.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        if parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
            continue;
        }
        match kind.as_str() {
            RAW_TYPE => return Ok((Form::Block, true)),
            "application/x-tar" | "application/vnd.ipfs.ipns-record" => refused = Some(kind),
            kind if kind.starts_with("application/vnd.ipld.") => refused = Some(kind.to_owned()),
            _ => return Ok((Form::File, false)),
        }
    }
    match refused {
        None => Ok((Form::File, false)),
        Some(kind) => Err(Refusal::NotAcceptable(format!(
            "{kind} is not offered; there are the file itself and {RAW_TYPE}"
        ))),
    }
}

/// The members of a comma-separated header, of all its lines.
fn list_values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

/// Whether a list of entity tags has ours. CIDs have no commas, so a plain split is enough to find
/// them.
fn lists(headers: &HeaderMap, name: HeaderName, etag: &str, weak: bool) -> bool {
    list_values(headers, name).any(|tag| {
        let strong = match tag.strip_prefix("W/") {
            Some(rest) if weak => rest,
            _ => tag,
        };
        strong == "*" || strong == etag
    })
}

/// `If-Range` compares strongly; a date never matches, since nothing here has one.
fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get(header::IF_RANGE)
        .is_none_or(|value| value.as_bytes() == etag.as_bytes())
}

fn only_if_cached(headers: &HeaderMap) -> bool {
    list_values(headers, header::CACHE_CONTROL).any(|d| d.eq_ignore_ascii_case("only-if-cached"))
}

fn unsatisfiable(size: u64) -> Response<Body> {
    let text = format!("the content has {size} bytes\n");
    let mut response = message(StatusCode::RANGE_NOT_SATISFIABLE, text);
    let value = format!("bytes */{size}");
    set(response.headers_mut(), header::CONTENT_RANGE, &value);
    response
}

impl Refusal {
    fn into_response(self, method: &Method) -> Response<Body> {
        let (status, text) = match &self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{method} is not allowed; content is only read here"),
            ),
            Self::NotFound(text) => (StatusCode::NOT_FOUND, text.clone()),
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, text.clone()),
            Self::NotAcceptable(text) => (StatusCode::NOT_ACCEPTABLE, text.clone()),
            Self::NotCached => (
                StatusCode::PRECONDITION_FAILED,
                "not held here, and only-if-cached was asked for".into(),
            ),
            Self::Precondition => (
                StatusCode::PRECONDITION_FAILED,
                "the content has another entity tag".into(),
            ),
            Self::Store(error) => (StatusCode::INTERNAL_SERVER_ERROR, public_text(error)),
        };
        let mut response = message(status, text + "\n");
        if *method == Method::HEAD {
            *response.body_mut() = Body::Empty;
        }
        match self {
            Self::Method => set(response.headers_mut(), header::ALLOW, METHODS),
            Self::Store(error) => {
                response.extensions_mut().insert(Arc::new(error));
            }
            _ => {}
        }
        response
    }
}

/// Paths on this machine are for the log.
fn public_text(error: &Error) -> String {
    match error {
        Error::Damaged { cid, what, .. } => format!("object {cid} is damaged: {what}"),
        _ => "the store could not be read".into(),
    }
}

fn message(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // What is missing now may be put in the next second.
    set(headers, header::CACHE_CONTROL, "no-store");
    set(headers, header::CONTENT_LENGTH, &text.len().to_string());
    *response.body_mut() = Body::Bytes(text.into());
    response
}

fn allow_all_origins(headers: &mut HeaderMap) {
    set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    set(
        headers,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Content-Type, Range, User-Agent, X-Requested-With",
    );
    set(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Content-Range, Content-Length, X-Ipfs-Path, X-Ipfs-Roots, X-Chunked-Output, \
         X-Stream-Output",
    );
}

/// Sets a header. Every value here is made of our own text, CIDs, numbers, an escaped file name
/// or a checked URI, all visible ASCII; were one not, the header would be left out.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
