//! Files that the server fetches by itself (`http`, `https`), resumed where they broke off.
//!
//! Whoever may add a file could otherwise make the server ask what only it can reach: its own ports,
//! the router, a cloud's metadata. So a name is resolved once, what it stands for is checked, and the
//! connection goes to that very address; each redirect begins anew. Only the networks that the
//! server was told of are an exception.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use catalog::{Protocol, Remote};
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyDataStream, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::receive::{End, Receiver};
use super::{begin, discard, finish, name};
use crate::app::App;
use crate::auth::network::Network;
use crate::problem::{Answer, Problem};
use crate::time::now_ms;

/// Fetched at once.
const AT_ONCE: usize = 3;
/// Redirects that are followed for one request.
const REDIRECTS: usize = 5;
/// For a name, a connection, a handshake.
const CONNECT: Duration = Duration::from_secs(15);
/// For the other side to begin its answer.
const HEAD: Duration = Duration::from_secs(30);
/// For the whole file in one attempt.
const WHOLE: Duration = Duration::from_secs(12 * 3600);
/// Attempts without a byte before it is given up.
const TRIES: u32 = 6;
/// The longest rest between two of them.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// Between two words about how far it is.
const TELL: Duration = Duration::from_secs(1);
/// The longest address.
const LONGEST_URL: usize = 2048;

/// Networks that are no place for a source unless the server was told of them: what the registries of
/// special-purpose addresses call not globally reachable (RFC 6890 and its updates), multicast, and the
/// prefixes that carry an IPv4 address to another place (NAT64, 6to4, Teredo).
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Why an attempt came to nothing.
#[derive(Debug)]
enum Trouble {
    /// Trying again may help.
    Passing(String),
    /// It never will.
    Lasting(String),
}

use Trouble::{Lasting, Passing};

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Lasting(problem.detail)
    }
}

/// Whether a source may be there.
fn is_allowed(ip: IpAddr, allowed: &[Network]) -> bool {
    let within = |network: &Network| network.holds(ip);
    let special = || {
        SPECIAL
            .iter()
            .filter_map(|text| text.parse::<Network>().ok())
    };
    allowed.iter().any(within) || !special().any(|network| within(&network))
}

/// Asks for the file at an address. Blocks.
pub(crate) fn add(app: &App, url: &str, wanted: Option<&str>) -> Answer<Remote> {
    let target = target(url).map_err(Problem::bad_request)?;
    let last = target.path().rsplit('/').next().unwrap_or_default();
    let last = percent_decoded(last);
    let host = target.host().unwrap_or_default();
    let called = wanted
        .or(Some(&last))
        .and_then(name::clean)
        .or_else(|| name::clean(host))
        .ok_or_else(|| Problem::bad_request("the file has no name: give it one"))?;
    let upload = begin(app, Protocol::Remote, &called, "", None)?;
    // It waits for the other side, however long that is away.
    app.catalog.extend_upload(&upload.id, None, i64::MAX)?;
    app.catalog.add_remote(&upload.id, url)?;
    app.fetch.notify_one();
    let remote = app.catalog.remote(&upload.id)?;
    remote.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "it is gone already"))
}

/// Tries a given up one again. Blocks.
pub(crate) fn retry(app: &App, id: &str) -> Answer<()> {
    app.catalog.note_remote(id, 0, None)?;
    app.fetch.notify_one();
    Ok(())
}

/// Stops the fetching of a file and forgets it.
pub(crate) async fn remove(app: &Arc<App>, id: String) -> Answer<()> {
    // Whoever writes to the file gives way to this turn.
    let turn = app.uploads.take_turn(&id).await;
    app.blocking(move |app| {
        let _turn = turn;
        discard(app, &id)?;
        app.hub.removed(&id);
        Ok(())
    })
    .await
}

/// How many bytes came. Blocks.
pub(crate) fn arrived(app: &App, id: &str) -> u64 {
    app.uploads.arrived(id).unwrap_or(0)
}

/// Fetches what is wanted until the server stops.
pub(crate) async fn run(app: Arc<App>) {
    let mut running = HashSet::new();
    let mut resting: HashMap<String, Instant> = HashMap::new();
    let mut jobs = JoinSet::new();
    loop {
        let wanted = app.blocking(|app| Ok(app.catalog.remotes()?)).await;
        let wanted = wanted.unwrap_or_default();
        let now = Instant::now();
        resting.retain(|id, until| *until > now && wanted.iter().any(|row| row.id == *id));
        for row in wanted {
            let free = running.len() < AT_ONCE && !running.contains(&row.id);
            if !free || row.complete || row.error.is_some() || resting.contains_key(&row.id) {
                continue;
            }
            running.insert(row.id.clone());
            let app = Arc::clone(&app);
            jobs.spawn(async move {
                let rest = one(&app, &row).await;
                (row.id, rest)
            });
        }
        let next = resting.values().min().copied();
        let rested = async {
            match next {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = app.fetch.notified() => {}
            () = rested => {}
            Some(done) = jobs.join_next() => if let Ok((id, rest)) = done {
                running.remove(&id);
                if let Some(rest) = rest {
                    resting.insert(id, Instant::now() + rest);
                }
            },
        }
    }
}

/// One attempt, and what is noted of it. How long to rest before the next.
async fn one(app: &Arc<App>, row: &Remote) -> Option<Duration> {
    let before = arrived(app, &row.id);
    let trouble = tokio::select! {
        () = app.stopping.cancelled() => return None,
        outcome = tokio::time::timeout(WHOLE, fetch(app, row)) => match outcome {
            Ok(Ok(())) => return None,
            Ok(Err(trouble)) => trouble,
            Err(_) => Passing("it takes too long".into()),
        },
    };
    let id = row.id.clone();
    let tries = if arrived(app, &id) > before {
        1
    } else {
        row.tries + 1
    };
    let (why, given_up) = match trouble {
        Passing(why) => (why, tries >= TRIES),
        Lasting(why) => (why, true),
    };
    tracing::warn!(url = row.url, tries, given_up, why, "cannot fetch a file");
    let noted = app
        .blocking(move |app| {
            let why = given_up.then_some(why.as_str());
            Ok(app.catalog.note_remote(&id, tries, why)?)
        })
        .await;
    if let Err(problem) = noted {
        tracing::error!(error = problem.detail, "cannot note a file's trouble");
    }
    tell(app, &row.id);
    let rest = Duration::from_secs(1 << tries.min(16)).min(LONGEST_REST);
    (!given_up).then_some(rest)
}

/// Fetches what is not there yet, and makes an asset when all is.
async fn fetch(app: &Arc<App>, row: &Remote) -> Result<(), Trouble> {
    let id = row.id.as_str();
    // Only what can be told from another version is worth going on with.
    let offset = match row.validator {
        Some(_) => arrived(app, id),
        None => 0,
    };
    let (head, body) = ask(app, row, offset).await?.into_parts();
    let mut offset = offset;
    let length = match head.status {
        StatusCode::PARTIAL_CONTENT => {
            let (from, whole) = content_range(&head.headers)
                .ok_or_else(|| Passing("the source sent another part".into()))?;
            if from != offset {
                return Err(Passing("the source sent another part".into()));
            }
            whole
        }
        StatusCode::OK => {
            offset = 0;
            content_length(&head.headers)
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            // It is another file by now, or all of it came and the end was missed: begin anew.
            forget(app, id).await?;
            return Err(Passing("the file changed at its source".into()));
        }
        status if status.is_server_error() || is_passing(status) => {
            return Err(Passing(format!("the source answers {status}")));
        }
        status => return Err(Lasting(format!("the source answers {status}"))),
    };
    let most = app.config.max_upload;
    if length.is_some_and(|length| length > most) {
        return Err(Lasting(super::too_large(app, &row.name).detail));
    }
    let validator = validator(&head.headers);
    let turn = app.uploads.take_turn(id).await;
    let file = {
        let id = id.to_owned();
        app.blocking(move |app| {
            let file = app.uploads.append(&id)?;
            file.set_len(offset)?;
            app.catalog
                .describe_remote(&id, validator.as_deref(), length)?;
            if let Err(full) = app.disk.need(length.unwrap_or(1).saturating_sub(offset))? {
                return Err(Problem::disk_full("the file", full.usable));
            }
            Ok(file)
        })
        .await?
    };
    let most = length.unwrap_or(most);
    let body = told(Arc::clone(app), id.to_owned(), BodyDataStream::new(body));
    let receiver = Receiver::new(app, file, offset, most, turn);
    let (turn, came, end) = receiver.receive(body).await?;
    match end {
        End::Whole if length.is_none_or(|length| length == came) => {}
        End::Whole => return Err(Passing(format!("the connection ended after {came} bytes"))),
        End::Broken(why) => return Err(Passing(why)),
        End::Idle => return Err(Passing("nothing came for a minute".into())),
        End::TooMuch => return Err(Lasting(super::too_large(app, &row.name).detail)),
        End::Full => return Err(Lasting("the server's disk is full".into())),
        End::Failed(error) => return Err(Lasting(error.to_string())),
    }
    if came == 0 {
        return Err(Lasting("the file is empty".into()));
    }
    let id = id.to_owned();
    app.blocking(move |app| {
        let _turn = turn;
        let Some(upload) = app.catalog.upload(&id)? else {
            return Ok(());
        };
        finish(app, &upload)?;
        // The row that says what came of it goes as every other's.
        app.catalog
            .extend_upload(&id, None, now_ms() + super::KEPT_MS)?;
        Ok(())
    })
    .await?;
    Ok(())
}

async fn forget(app: &Arc<App>, id: &str) -> Answer<()> {
    let id = id.to_owned();
    app.blocking(move |app| Ok(app.catalog.describe_remote(&id, None, None)?))
        .await
}

/// The body, with a word now and then about how far it is.
fn told<S, E>(app: Arc<App>, id: String, body: S) -> impl Stream<Item = Result<Bytes, E>>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    let mut last = Instant::now();
    body.inspect(move |_| {
        if last.elapsed() >= TELL && !app.hub.is_idle() {
            last = Instant::now();
            let (app, id) = (Arc::clone(&app), id.clone());
            tokio::task::spawn_blocking(move || tell(&app, &id));
        }
    })
}

/// Tells everybody who listens how far it is. Blocks for a moment.
fn tell(app: &App, id: &str) {
    match app.catalog.remote(id) {
        Ok(Some(row)) => app.hub.remote(&crate::api::remotes::shown(app, row)),
        Ok(None) => {}
        Err(error) => tracing::error!(upload = id, %error, "cannot announce a change"),
    }
}

/// Asks for the file from the offset on, wherever it is redirected to.
async fn ask(app: &Arc<App>, row: &Remote, offset: u64) -> Result<Response<Incoming>, Trouble> {
    let mut url = target(&row.url).map_err(Lasting)?;
    for _ in 0..=REDIRECTS {
        let mut request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, host_header(&url))
            .header(
                header::USER_AGENT,
                concat!("kinora/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::ACCEPT, "*/*")
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(validator) = row.validator.as_deref().filter(|_| offset > 0) {
            request = request
                .header(header::RANGE, format!("bytes={offset}-"))
                .header(header::IF_RANGE, validator);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| Lasting(error.to_string()))?;
        let connection = connect(app, &url).await?;
        let asked = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
            // It ends with the body, or when that is dropped.
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let answer = tokio::time::timeout(HEAD, asked)
            .await
            .map_err(|_| Passing("the source does not answer".into()))?
            .map_err(|error| Passing(error.to_string()))?;
        if !answer.status().is_redirection() {
            return Ok(answer);
        }
        url = redirected(&url, answer.headers()).map_err(Lasting)?;
    }
    Err(Lasting(format!("more than {REDIRECTS} redirects")))
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Resolves the name once, and connects to what was checked.
async fn connect(app: &App, url: &Uri) -> Result<Box<dyn Wire>, Trouble> {
    let secure = url.scheme() == Some(&Scheme::HTTPS);
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let name = url.host().unwrap_or_default();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let late = |_| Passing(format!("{bare} does not answer in time"));
    let found: Vec<SocketAddr> =
        tokio::time::timeout(CONNECT, tokio::net::lookup_host((bare, port)))
            .await
            .map_err(late)?
            .map_err(|error| Passing(format!("{bare}: {error}")))?
            .collect();
    let allowed: Vec<SocketAddr> = found
        .into_iter()
        .filter(|address| is_allowed(address.ip(), &app.config.private_sources))
        .collect();
    if allowed.is_empty() {
        return Err(Lasting(format!(
            "{bare} is on this machine or in a private network, and the server was not told to \
             fetch from there (--fetch-from)"
        )));
    }
    let mut why = Passing(format!("{bare} cannot be reached"));
    for address in allowed {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) if secure => return encrypted(stream, bare).await,
            Ok(Ok(stream)) => return Ok(Box::new(stream)),
            Ok(Err(error)) => why = Passing(format!("{bare}: {error}")),
            Err(late_) => why = late(late_),
        }
    }
    Err(why)
}

async fn encrypted(stream: TcpStream, name: &str) -> Result<Box<dyn Wire>, Trouble> {
    let lasting = |error: rustls::Error| Lasting(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(lasting)?
        .with_platform_verifier()
        .map_err(lasting)?
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(|e| Lasting(e.to_string()))?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match tokio::time::timeout(CONNECT, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Lasting(format!("TLS: {error}")))
        }
        Ok(Err(error)) => Err(Passing(format!("TLS: {error}"))),
        Err(_) => Err(Passing("TLS: no answer in time".into())),
    }
}

/// An address that can be fetched from.
fn target(text: &str) -> Result<Uri, String> {
    if text.len() > LONGEST_URL {
        return Err(format!(
            "the address has more than {LONGEST_URL} characters"
        ));
    }
    // What stands after # is for the reader of the file.
    let text = text.split('#').next().unwrap_or_default();
    let wrong = "the address begins with http:// or https:// and has no spaces in it";
    let uri: Uri = text.parse().map_err(|_| wrong)?;
    let scheme = uri.scheme();
    if scheme != Some(&Scheme::HTTP) && scheme != Some(&Scheme::HTTPS) {
        return Err(wrong.into());
    }
    let Some(authority) = uri.authority() else {
        return Err("the address names no host".into());
    };
    if authority.host().is_empty() {
        return Err("the address names no host".into());
    }
    if authority.as_str().contains('@') {
        return Err("the address has a user name in it, which would be kept and shown".into());
    }
    Ok(uri)
}

fn host_header(url: &Uri) -> &str {
    url.authority().map_or("", |authority| authority.as_str())
}

/// Where a redirect leads (RFC 9110, section 10.2.2), which may not be out of TLS.
fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
    let location = text(headers, header::LOCATION).ok_or("a redirect to nowhere")?;
    let scheme = from.scheme_str().unwrap_or("http");
    let host = host_header(from);
    let path = from.path();
    let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
    let whole = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        format!("{scheme}://{host}{folder}{location}")
    };
    let to = target(&whole)?;
    if from.scheme() == Some(&Scheme::HTTPS) && to.scheme() != Some(&Scheme::HTTPS) {
        return Err("a redirect from https to http".into());
    }
    Ok(to)
}

fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    )
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(HeaderValue::to_str)?.ok()
}

/// What `If-Range` takes (RFC 9110, section 13.1.5): a strong tag, or a date.
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, header::ETAG).filter(|tag| tag.starts_with('"'));
    let tag = tag.or_else(|| text(headers, header::LAST_MODIFIED));
    tag.map(str::to_owned)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_LENGTH)?.parse().ok()
}

/// Where the part begins, and how long the whole is (RFC 9110, section 14.4).
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = text(headers, header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
    let (part, whole) = range.split_once('/')?;
    let from = part.split_once('-')?.0.parse().ok()?;
    Some((from, whole.parse().ok()))
}

/// A path's segment as a name.
fn percent_decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = || {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            u8::from_str_radix(hex, 16).ok()
        };
        match escaped() {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_sources_may_be() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("93.184.216.34", true),
            ("172.15.255.255", true),
            ("172.32.0.0", true),
            ("100.63.255.255", true),
            ("100.128.0.0", true),
            ("2606:4700::1111", true),
            ("2a00:1450:4001::200e", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.168.1.1", false),
            ("192.0.0.8", false),
            ("198.18.0.1", false),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("224.0.0.251", false),
            ("239.255.255.250", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::a00:1", false),
            ("2002:7f00:1::", false),
            ("2001:0:4136:e378::1", false),
            ("2001:db8::1", false),
            ("fc00::1", false),
            ("fd12:3456::1", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(
                is_allowed(address.parse().unwrap(), &[]),
                public,
                "{address}"
            );
        }
        let told: [Network; 1] = ["192.168.0.0/16".parse().unwrap()];
        assert!(is_allowed("192.168.1.1".parse().unwrap(), &told));
        assert!(is_allowed("::ffff:192.168.1.1".parse().unwrap(), &told));
        assert!(!is_allowed("10.0.0.1".parse().unwrap(), &told));
        for text in SPECIAL {
            assert!(text.parse::<Network>().is_ok(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, fine) in [
            ("http://example.org/a.mp4", true),
            ("https://example.org:8443/a.mp4?x=1#t=5", true),
            ("HTTPS://EXAMPLE.ORG/", true),
            ("http://[2606:4700::1111]/a.mp4", true),
            ("ftp://example.org/a.mp4", false),
            ("file:///etc/passwd", false),
            ("example.org/a.mp4", false),
            ("http:///a.mp4", false),
            ("http://user:secret@example.org/", false),
            ("", false),
        ] {
            assert_eq!(target(text).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn redirects() {
        for (from, location, to) in [
            ("http://a/x/y?q", "z.mp4", Ok("http://a/x/z.mp4")),
            ("http://a/x/y", "/z", Ok("http://a/z")),
            ("https://a/x", "//b/z", Ok("https://b/z")),
            ("http://a/x", "https://b/", Ok("https://b/")),
            (
                "https://a/x",
                "http://b/",
                Err("a redirect from https to http"),
            ),
            (
                "http://a/x",
                "file:///etc/passwd",
                Err("the address begins with http:// or https:// and has no spaces in it"),
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_static(location));
            let got = redirected(&from.parse().unwrap(), &headers);
            let got = got.map(|uri| uri.to_string());
            assert_eq!(
                got.as_deref().map_err(String::as_str),
                to,
                "{from} {location}"
            );
        }
    }

    #[test]
    fn names_in_addresses() {
        for (segment, name) in [
            ("a%20b.mp4", "a b.mp4"),
            ("%C3%A9.mp4", "é.mp4"),
            ("100%.mp4", "100%.mp4"),
            ("%zz", "%zz"),
            ("%4", "%4"),
        ] {
            assert_eq!(percent_decoded(segment), name);
        }
    }
}
