//! `/ipfs/<cid>[/path]` and `/ipns/<name>[/path]` over plain `http` types: the path gateway and the
//! trustless gateway specifications (specs.ipfs.tech, with IPIP-402, 412, 523 and 524), and HTTP
//! itself (RFC 9110) for conditions and ranges.
//!
//! The gateway is not recursive: what is not held is 404, and nothing is fetched from others. Host
//! names as roots, DNSLink, `_redirects` and TAR are not offered, nor is one codec made of another.
//!
//! Content comes from whoever may upload and is served from the page's origin, so each response
//! forbids it to run: a sandboxing Content-Security-Policy, `nosniff`, and no service workers.
//!
//! `respond` is the border where the store's errors become HTTP statuses.

mod address;
mod disposition;
mod form;
mod listing;
mod query;
mod range;
pub mod routing;
mod scope;

use std::{
    fmt,
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{self, HeaderName},
};
use sha2::{Digest, Sha256};

use self::{
    address::{Address, Root},
    disposition::content_disposition,
    form::{CAR_TYPE, Choice, Form, RECORD_TYPE},
    query::Query,
    range::Range,
    scope::Wish,
};
use crate::{
    Error, Object, Store, car,
    dag::{
        self, AnyCid, Blocks, Entity,
        file::FileReader,
        narrow,
        path::{self, Resolved, Unresolved},
        walk::{Scope, Walk},
    },
    ipns, mime,
    unixfs::RAW,
};

const RAW_TYPE: &str = "application/vnd.ipld.raw";

/// 336 days, the value the specification names for immutable content.
const IMMUTABLE: &str = "public, max-age=29030400, immutable";

/// A listing is made by us, and may look otherwise after the next release.
const LISTING: &str = "public, max-age=604800, stale-while-revalidate=2678400";

/// Names that stand for names are followed so far.
const MAX_NAMES: usize = 8;

/// Whatever the content is, opened as a page it has no scripts, forms, frames, requests or origin.
/// Pictures and media keep working, because browsers show those in a page of their own making.
const SANDBOX: &str = "default-src 'none'; img-src 'self' data:; media-src 'self'; \
                       style-src 'unsafe-inline'; sandbox";

const METHODS: &str = "GET, HEAD, OPTIONS";

/// Pieces of a body, each made when it is asked for.
pub type Pieces = Box<dyn Iterator<Item = Result<Bytes, Error>> + Send>;

/// What a response carries.
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
    /// Blocks, read one after the other. After an error the connection has to be cut, so that the
    /// client does not take what it has for the whole.
    Pieces {
        /// The pieces.
        pieces: Pieces,
        /// How many bytes they are, if that is known.
        len: Option<u64>,
    },
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::File { .. } => "File",
            Self::Pieces { .. } => "Pieces",
        };
        f.debug_struct(kind).field("len", &self.len()).finish()
    }
}

impl Body {
    /// Bytes that it will send, if that is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { len, .. } => Some(*len),
            Self::Pieces { len, .. } => *len,
        }
    }

    /// Whether it sends nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// Why a request gets no content.
#[derive(Debug)]
enum Refusal {
    Method,
    NotFound(String),
    BadRequest(String),
    NotAcceptable(String),
    NotImplemented(String),
    Unprocessable(String),
    /// `only-if-cached`, and it is not here.
    NotCached,
    Precondition,
    /// Not a refusal: it is elsewhere, for ever or not.
    Moved(StatusCode, String),
    /// A name of which nothing can be said.
    Unresolvable(String),
    Store(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Missing { cid } => Self::NotFound(format!("{cid} is not held here")),
            // The specification has no other word for content that makes no sense.
            Error::Malformed { .. } => Self::NotFound(error.to_string()),
            error => Self::Store(error),
        }
    }
}

impl From<Unresolved> for Refusal {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::NotFound { .. } => Self::NotFound(unresolved.to_string()),
            Unresolved::Inside { .. } => Self::NotImplemented(unresolved.to_string()),
            Unresolved::Store(error) => error.into(),
        }
    }
}

/// What was found, before conditions and ranges.
struct Found {
    content: Content,
    mime: String,
    etag: String,
    /// Another caching than what the address has.
    cache: Option<&'static str>,
    /// To be saved, under this name if the client has no other.
    attachment: Option<String>,
}

enum Content {
    Bytes(Bytes),
    Object(Object),
    /// A file that has to be put together.
    Graph {
        cid: AnyCid,
        size: u64,
    },
    Car(Box<Walk<Store>>, AnyCid),
}

impl Content {
    /// Bytes in all; `None` if that would have to be counted.
    fn size(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Object(object) => Some(object.size),
            Self::Graph { size, .. } => Some(*size),
            Self::Car(..) => None,
        }
    }
}

/// The request once its parts are understood.
struct Wanted<'a> {
    store: &'a Store,
    address: Address<'a>,
    query: Query,
    choice: Choice,
    /// What `Cache-Control` says, unless what is found says otherwise.
    cache: String,
    /// Headers alone are asked for.
    head: bool,
}

/// Where a name leads.
struct Target {
    cid: AnyCid,
    segments: Vec<String>,
    /// For how long that may be believed.
    ttl: Duration,
}

/// Answers a request whose path starts with `/ipfs/`, `/ipfs-ts/` or `/ipns/`.
///
/// A response with status 500 may carry the [`Error`] as an `Arc<Error>` in its extensions, for
/// the server's log.
pub fn respond(store: &Store, request: &Request<()>) -> Response<Body> {
    let answer = answer(store, request).map_err(|refusal| match refusal {
        Refusal::NotFound(_) if only_if_cached(request.headers()) => Refusal::NotCached,
        refusal => refusal,
    });
    let mut response = match answer {
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
    let address = Address::parse(request.uri().path())?;
    if request.headers().contains_key("service-worker") {
        let text = "content may not be registered as a service worker";
        return Err(Refusal::BadRequest(text.into()));
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let choice = form::choose(&query, request.headers())?;
    let mut wanted = Wanted {
        store,
        address,
        query,
        choice,
        cache: IMMUTABLE.into(),
        head: *request.method() == Method::HEAD,
    };
    let (found, roots) = wanted.find()?;
    wanted.deliver(found, &roots, request)
}

impl Wanted<'_> {
    /// What is asked for, and the CIDs that the path led over.
    fn find(&mut self) -> Result<(Found, Vec<AnyCid>), Refusal> {
        let (root, segments) = match self.address.root {
            Root::Name(name) => {
                self.use_canonical_name(&name)?;
                if self.choice.form == Form::Record {
                    return Ok((self.record(&name)?, Vec::new()));
                }
                let target = target(self.store, name)?;
                self.cache = format!("public, max-age={}", seconds(target.ttl));
                (target.cid, target.segments)
            }
            Root::Cid(_) if self.choice.form == Form::Record => {
                let text = "records are of names, below /ipns/";
                return Err(Refusal::BadRequest(text.into()));
            }
            Root::Cid(cid) => (cid, Vec::new()),
        };
        let segments = [segments, self.address.segments.clone()].concat();
        let way = path::resolve(self.store, &root, &segments)?;
        let found = match self.choice.form {
            Form::File | Form::Record => self.file(&way)?,
            Form::Block => self.block(&way)?,
            Form::Car { duplicates } => self.car(&root, &segments, &way, duplicates)?,
            Form::Codec(codec) => self.document(&way, codec)?,
        };
        Ok((found, way.roots))
    }

    /// A name in the old form leads to the one that a host name can hold.
    fn use_canonical_name(&self, name: &ipns::Name) -> Result<(), Refusal> {
        if !ipns::Name::is_bare(self.address.root_text) {
            return Ok(());
        }
        // 302, as the conformance suite has it.
        let place = format!("/ipns/{name}{}", self.address.below);
        Err(Refusal::Moved(StatusCode::FOUND, self.with_query(&place)))
    }

    fn record(&mut self, name: &ipns::Name) -> Result<Found, Refusal> {
        if !self.address.segments.is_empty() {
            let text = "a record is of a name alone, without a path";
            return Err(Refusal::BadRequest(text.into()));
        }
        let record = self
            .store
            .resolve_ipns(name)?
            .ok_or_else(|| unknown(name))?;
        let bytes = self.store.ipns_record(name)?.ok_or_else(|| unknown(name))?;
        self.cache = format!("public, max-age={}", seconds(believable(&record)));
        Ok(Found {
            etag: format!("\"{}\"", short_hash(&bytes)),
            content: Content::Bytes(bytes.into()),
            mime: RECORD_TYPE.into(),
            cache: None,
            attachment: Some(format!("{name}.ipns-record")),
        })
    }

    fn block(&self, way: &Resolved) -> Result<Found, Refusal> {
        // Clients find out by HEAD who has a block, so that has to be cheap: the size of a leaf is
        // that of its content, which is known without reading it.
        let leaf = narrow(&way.cid).filter(|cid| self.head && cid.codec() == RAW);
        let stat = match leaf {
            Some(leaf) => self.store.stat(&leaf)?,
            None => None,
        };
        let content = match stat {
            Some(stat) => Content::Graph {
                cid: way.cid,
                size: stat.size,
            },
            None => Content::Bytes(self.store.needed(&way.cid)?),
        };
        Ok(Found {
            content,
            mime: RAW_TYPE.into(),
            etag: format!("\"{}.raw\"", way.cid),
            cache: None,
            attachment: Some(format!("{}.bin", way.cid)),
        })
    }

    /// The block, if its codec is the one asked for.
    fn document(&self, way: &Resolved, codec: u64) -> Result<Found, Refusal> {
        if way.cid.codec() != codec {
            return Err(Refusal::NotAcceptable(format!(
                "{} is of another codec, and none is made of another here; there is format=raw",
                way.cid
            )));
        }
        let name = self.choice.form.name();
        Ok(Found {
            content: Content::Bytes(self.store.needed(&way.cid)?),
            mime: form::document_type(codec).unwrap_or(mime::UNKNOWN).into(),
            etag: format!("\"{}.{name}\"", way.cid),
            cache: None,
            attachment: Some(format!("{}.{name}", way.cid)),
        })
    }

    fn car(
        &self,
        root: &AnyCid,
        segments: &[String],
        way: &Resolved,
        duplicates: bool,
    ) -> Result<Found, Refusal> {
        let wish = Wish::parse(&self.query)?;
        let block = self.store.needed(&way.cid)?;
        let size = match dag::entity(&way.cid, &block) {
            Ok(Some(Entity::File(file))) => Some(file.size),
            _ => None,
        };
        let scope: Scope = wish.of(size)?;
        // Other ways to the same content have other blocks on them.
        let via = short_hash(format!("{root} {segments:?}").as_bytes());
        let dups = if duplicates { "y" } else { "n" };
        let walk = Walk::new(self.store.clone(), &way.via, way.cid, scope, duplicates);
        Ok(Found {
            content: Content::Car(Box::new(walk), way.cid),
            mime: format!("{CAR_TYPE}; version=1; order=dfs; dups={dups}"),
            etag: format!("W/\"{}.car.{}.{dups}.{via}\"", way.cid, wish.tag()),
            cache: None,
            attachment: Some(format!("{}.car", way.cid)),
        })
    }

    fn file(&self, way: &Resolved) -> Result<Found, Refusal> {
        let object = match narrow(&way.cid) {
            Some(cid) => self.store.get_at_hand(&cid)?,
            None => None,
        };
        if let Some(object) = object {
            return self.object(way, object);
        }
        let block = self.store.needed(&way.cid)?;
        let malformed = |malformed: dag::Malformed| Refusal::from(malformed.of(&way.cid));
        match dag::entity(&way.cid, &block).map_err(malformed)? {
            Some(Entity::File(file)) => self.graph(way, file.size),
            Some(Entity::Directory(entries)) => self.directory(way, |most| {
                let mut entries = entries;
                entries.truncate(most);
                Ok(entries)
            }),
            Some(Entity::Shard(shard)) => {
                self.directory(way, |most| path::entries(self.store, shard, most))
            }
            Some(Entity::Symlink(to)) => {
                let found = self.found(way, Content::Bytes(to.into_bytes().into()));
                Ok(found("inode/symlink".into()))
            }
            None => {
                let mime = form::document_type(way.cid.codec()).unwrap_or(RAW_TYPE);
                Ok(self.found(way, Content::Bytes(block))(mime.into()))
            }
        }
    }

    fn object(&self, way: &Resolved, object: Object) -> Result<Found, Refusal> {
        self.not_a_directory(way)?;
        let mut start = [0; mime::SNIFF];
        let sniff = || {
            let len = object.size.min(mime::SNIFF as u64) as usize;
            match object.file.read_exact_at(&mut start[..len], object.offset) {
                Ok(()) => mime::sniff(&start[..len]),
                // The server will meet the same error when it sends the body.
                Err(_) => mime::UNKNOWN,
            }
        };
        let mime = self.mime(object.mime.as_deref(), sniff);
        Ok(self.found(way, Content::Object(object))(mime))
    }

    fn graph(&self, way: &Resolved, size: u64) -> Result<Found, Refusal> {
        self.not_a_directory(way)?;
        let sniff = || {
            let start = 0..size.min(mime::SNIFF as u64);
            let pieces = FileReader::new(self.store, way.cid, size, start);
            match pieces.collect::<Result<Vec<_>, _>>() {
                Ok(pieces) => mime::sniff(&pieces.concat()),
                // The rest may be there, and is what is asked for.
                Err(_) => mime::UNKNOWN,
            }
        };
        let known = match narrow(&way.cid) {
            Some(cid) => self.store.stat(&cid)?,
            None => None,
        };
        let recorded = known.and_then(|stat| stat.mime);
        let mime = self.mime(recorded.as_deref(), sniff);
        let cid = way.cid;
        Ok(self.found(way, Content::Graph { cid, size })(mime))
    }

    /// The index of a directory, or else a list of what is in it.
    fn directory(
        &self,
        way: &Resolved,
        entries: impl FnOnce(usize) -> Result<Vec<dag::Link>, Error>,
    ) -> Result<Found, Refusal> {
        if !self.address.ends_in_slash() {
            let place = self.with_query(&format!("{}/", self.address.path));
            return Err(Refusal::Moved(StatusCode::MOVED_PERMANENTLY, place));
        }
        match path::resolve(self.store, &way.cid, &["index.html".into()]) {
            Ok(index) => {
                let mut found = self.index(&index)?;
                // The tag is that of the directory, which is what was asked for.
                found.etag = format!("\"{}\"", way.cid);
                Ok(found)
            }
            Err(Unresolved::NotFound { .. }) => {
                let page = listing::page(&self.address, &entries(listing::MOST)?);
                Ok(Found {
                    content: Content::Bytes(page.into()),
                    mime: "text/html; charset=utf-8".into(),
                    etag: listing::etag(&way.cid),
                    cache: matches!(self.address.root, Root::Cid(_)).then_some(LISTING),
                    attachment: None,
                })
            }
            Err(unresolved) => Err(unresolved.into()),
        }
    }

    fn index(&self, index: &Resolved) -> Result<Found, Refusal> {
        let html = || "text/html; charset=utf-8".to_owned();
        let object = match narrow(&index.cid) {
            Some(cid) => self.store.get_at_hand(&cid)?,
            None => None,
        };
        if let Some(object) = object {
            return Ok(self.found(index, Content::Object(object))(html()));
        }
        let block = self.store.needed(&index.cid)?;
        match dag::entity(&index.cid, &block) {
            Ok(Some(Entity::File(file))) => {
                let (cid, size) = (index.cid, file.size);
                Ok(self.found(index, Content::Graph { cid, size })(html()))
            }
            _ => Err(Refusal::NotFound(format!("{} is not a page", index.cid))),
        }
    }

    fn found(&self, way: &Resolved, content: Content) -> impl FnOnce(String) -> Found {
        let etag = format!("\"{}\"", way.cid);
        let attachment = self.query.download.then(|| way.cid.to_string());
        |mime| Found {
            content,
            mime,
            etag,
            cache: None,
            attachment,
        }
    }

    fn not_a_directory(&self, way: &Resolved) -> Result<(), Refusal> {
        if self.address.ends_in_slash() {
            return Err(Refusal::NotFound(format!("{} is not a directory", way.cid)));
        }
        Ok(())
    }

    fn mime(&self, recorded: Option<&str>, sniff: impl FnOnce() -> &'static str) -> String {
        if self.address.transport_stream {
            return mime::MPEG_TS.into();
        }
        let in_path = || self.address.segments.last();
        let name = self.query.filename.as_ref().or_else(in_path);
        let named = || name.and_then(|name| mime::by_name(name));
        recorded
            .or_else(named)
            .map_or_else(|| sniff().into(), Into::into)
    }

    fn with_query(&self, path: &str) -> String {
        match self.query.text() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// Conditions first, then the range, in the order of RFC 9110 section 13.2.2.
    fn deliver(
        &self,
        found: Found,
        roots: &[AnyCid],
        request: &Request<()>,
    ) -> Result<Response<Body>, Refusal> {
        let etag = found.etag.as_str();
        let sent = request.headers();
        if sent.contains_key(header::IF_MATCH) && !lists(sent, header::IF_MATCH, etag, false) {
            return Err(Refusal::Precondition);
        }
        let mut response = Response::new(Body::Empty);
        self.common_headers(response.headers_mut(), &found, roots);
        if lists(sent, header::IF_NONE_MATCH, etag, true) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        self.content_headers(response.headers_mut(), &found);
        let is_get = *request.method() == Method::GET;
        let range = match found.content.size() {
            Some(size) if is_get && range_applies(sent, etag) => range::parse(sent, size),
            _ => Range::Whole,
        };
        let size = found.content.size().unwrap_or_default();
        let part = match range {
            Range::Whole => 0..size,
            Range::Part { start, len } => {
                let value = format!("bytes {start}-{}/{size}", start + len - 1);
                set(response.headers_mut(), header::CONTENT_RANGE, &value);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                start..start + len
            }
            Range::Unsatisfiable => return Ok(unsatisfiable(size)),
        };
        if found.content.size().is_some() {
            let length = (part.end - part.start).to_string();
            set(response.headers_mut(), header::CONTENT_LENGTH, &length);
        }
        if is_get {
            *response.body_mut() = self.body(found.content, part)?;
        }
        Ok(response)
    }

    /// The bytes of a part of the content.
    fn body(&self, content: Content, part: std::ops::Range<u64>) -> Result<Body, Refusal> {
        let len = part.end - part.start;
        Ok(match content {
            Content::Bytes(bytes) => {
                Body::Bytes(bytes.slice(part.start as usize..part.end as usize))
            }
            Content::Object(object) => Body::File {
                file: object.file,
                offset: object.offset + part.start,
                len,
            },
            Content::Graph { cid, size } => {
                let mut pieces = FileReader::new(self.store.clone(), cid, size, part).peekable();
                // As long as nothing was sent, what is missing can be said.
                if let Some(Err(error)) = pieces.next_if(Result::is_err) {
                    return Err(error.into());
                }
                Body::Pieces {
                    pieces: self.leased(pieces)?,
                    len: Some(len),
                }
            }
            Content::Car(walk, root) => Body::Pieces {
                pieces: self.leased(car_pieces(*walk, &root))?,
                len: None,
            },
        })
    }

    /// Pieces whose blocks stay as long as somebody reads them.
    fn leased(
        &self,
        mut pieces: impl Iterator<Item = Result<Bytes, Error>> + Send + 'static,
    ) -> Result<Pieces, Refusal> {
        let lease = self.store.lease()?;
        Ok(Box::new(std::iter::from_fn(move || {
            let _held = &lease;
            pieces.next()
        })))
    }

    /// What a 200 and a 304 share (RFC 9110 section 15.4.5).
    fn common_headers(&self, headers: &mut HeaderMap, found: &Found, roots: &[AnyCid]) {
        set(headers, header::ETAG, &found.etag);
        let cache = found.cache.unwrap_or(&self.cache);
        set(headers, header::CACHE_CONTROL, cache);
        set(headers, X_IPFS_PATH, self.address.path);
        let roots: Vec<_> = roots.iter().map(AnyCid::to_string).collect();
        if !roots.is_empty() {
            set(headers, X_IPFS_ROOTS, &roots.join(","));
        }
        // The parameters of a CAR may come by `Accept` although the URL has the format.
        if self.query.format.is_none() || matches!(self.choice.form, Form::Car { .. }) {
            set(headers, header::VARY, "Accept");
        }
        if self.choice.negotiated {
            set(headers, header::CONTENT_LOCATION, &self.location());
        }
    }

    /// The URL that says by itself what was chosen.
    fn location(&self) -> String {
        if self.query.format.is_some() {
            return self.with_query(self.address.path);
        }
        let mut location = format!("{}?format={}", self.address.path, self.choice.form.name());
        if self.choice.form == (Form::Car { duplicates: true }) && self.query.car_dups.is_none() {
            location += "&car-dups=y";
        }
        match self.query.text() {
            "" => location,
            query => format!("{location}&{query}"),
        }
    }

    fn content_headers(&self, headers: &mut HeaderMap, found: &Found) {
        set(headers, header::CONTENT_TYPE, &found.mime);
        let ranges = if found.content.size().is_some() {
            "bytes"
        } else {
            "none"
        };
        set(headers, header::ACCEPT_RANGES, ranges);
        set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(headers, header::CONTENT_SECURITY_POLICY, SANDBOX);
        let attachment = found.attachment.is_some() || self.query.download;
        let name = self.query.filename.as_ref().or(found.attachment.as_ref());
        if let Some(name) = name {
            let value = content_disposition(attachment, name);
            set(headers, header::CONTENT_DISPOSITION, &value);
        }
    }
}

const X_IPFS_PATH: HeaderName = HeaderName::from_static("x-ipfs-path");
const X_IPFS_ROOTS: HeaderName = HeaderName::from_static("x-ipfs-roots");

/// Follows a name to content.
fn target(store: &Store, name: ipns::Name) -> Result<Target, Refusal> {
    let (mut name, mut ttl, mut below) = (name, Duration::MAX, Vec::new());
    for _ in 0..MAX_NAMES {
        let record = store.resolve_ipns(&name)?.ok_or_else(|| unknown(&name))?;
        ttl = ttl.min(believable(&record));
        let lost = || Refusal::Unresolvable(format!("{name} stands for no content"));
        let address = Address::parse(&record.value).map_err(|_| lost())?;
        below.splice(0..0, address.segments);
        match address.root {
            Root::Cid(cid) => {
                return Ok(Target {
                    cid,
                    segments: below,
                    ttl,
                });
            }
            Root::Name(next) => name = next,
        }
    }
    let text = format!("{name} is one of too many names that stand for each other");
    Err(Refusal::Unresolvable(text))
}

fn unknown(name: &ipns::Name) -> Refusal {
    Refusal::NotFound(format!("no record of {name} is held here"))
}

/// For how long a record may be believed. It was looked up a moment ago, so its time to live is
/// all ahead; yet it may end before.
fn believable(record: &ipns::Record) -> Duration {
    let left = record.valid_until.duration_since(SystemTime::now());
    record.ttl.min(left.unwrap_or_default())
}

/// A validity that was said in days should not come out as a second less.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn car_pieces(
    walk: Walk<Store>,
    root: &AnyCid,
) -> impl Iterator<Item = Result<Bytes, Error>> + use<> {
    let header = car::header(&[*root]);
    let blocks = walk.flat_map(|block| {
        let (head, bytes) = match block {
            Ok((cid, bytes)) => (Ok(car::block_head(&cid, bytes.len())), Some(Ok(bytes))),
            Err(error) => (Err(error), None),
        };
        std::iter::once(head).chain(bytes)
    });
    std::iter::once(Ok(header)).chain(blocks)
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

/// Whether a list of entity tags has ours. None of ours has a comma, so a plain split is enough to
/// find them.
fn lists(headers: &HeaderMap, name: HeaderName, etag: &str, weak: bool) -> bool {
    let opaque = |tag| match str::strip_prefix(tag, "W/") {
        Some(rest) if weak => rest,
        _ => tag,
    };
    // A weak tag of ours is never the same in the strong sense.
    let comparable = weak || !etag.starts_with("W/");
    list_values(headers, name).any(|tag| tag == "*" || (comparable && opaque(tag) == opaque(etag)))
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
            Self::Unprocessable(text) => (StatusCode::UNPROCESSABLE_ENTITY, text.clone()),
            Self::NotImplemented(text) => (StatusCode::NOT_IMPLEMENTED, text.clone()),
            Self::Moved(status, place) => (*status, format!("it is at {place}")),
            Self::Unresolvable(text) => (StatusCode::INTERNAL_SERVER_ERROR, text.clone()),
            Self::NotAcceptable(text) => (StatusCode::NOT_ACCEPTABLE, text.clone()),
            Self::NotCached => (
                StatusCode::PRECONDITION_FAILED,
                "not held here, and only-if-cached was asked for".into(),
            ),
            Self::Precondition => (
                StatusCode::PRECONDITION_FAILED,
                "the content has another entity tag".into(),
            ),
            Self::Store(Error::Backend { .. } | Error::Elsewhere { .. }) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the content is with the store's backend, which does not give it now".into(),
            ),
            Self::Store(error) => (StatusCode::INTERNAL_SERVER_ERROR, public_text(error)),
        };
        let mut response = message(status, text + "\n");
        if *method == Method::HEAD {
            *response.body_mut() = Body::Empty;
        }
        match self {
            Self::Method => set(response.headers_mut(), header::ALLOW, METHODS),
            Self::Moved(_, place) => set(response.headers_mut(), header::LOCATION, &place),
            Self::Store(error) => {
                if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                    set(response.headers_mut(), header::RETRY_AFTER, "5");
                }
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
        Error::Record { .. } => error.to_string(),
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
