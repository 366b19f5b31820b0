//! Who has what, and what names stand for, for clients that look for providers themselves:
//! `GET /routing/v1/providers/<cid>` and `GET /routing/v1/ipns/<name>` ("Delegated Routing V1 HTTP
//! API", specs.ipfs.tech).
//!
//! The one provider this knows of is the store that is asked. With it a client needs no other
//! gateway: it is told to fetch blocks over HTTP from where the question went, and checks them
//! itself.

use std::net::IpAddr;

use http::{Method, Request, Response, StatusCode, Uri, header, uri::Scheme};

use super::{
    Body, Refusal, allow_all_origins, believable,
    form::RECORD_TYPE,
    list_values, lists, message,
    query::{Query, unescape},
    seconds, set, short_hash,
};
use crate::{
    Store,
    dag::{AnyCid, narrow},
    ipns,
    unixfs::IDENTITY,
};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// How a client fetches from here: the trustless gateway specification.
const PROTOCOL: &str = "transport-ipfs-gateway-http";

/// What is put in a moment from now should be found soon, what is there stays.
const CACHE_NOTHING: &str = "public, max-age=15";
const CACHE_FOUND: &str = "public, max-age=300";

/// Answers a request whose path starts with `/routing/v1/`. `origin` is where clients reach the
/// gateway, as `http://host:port`; without it they are told no address.
pub fn respond(store: &Store, request: &Request<()>, origin: Option<&str>) -> Response<Body> {
    let answer = answer(store, request, origin);
    let mut response = answer.unwrap_or_else(|refusal| refusal.into_response(request.method()));
    allow_all_origins(response.headers_mut());
    response
}

fn answer(
    store: &Store,
    request: &Request<()>,
    origin: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            return Ok(response);
        }
        _ => return Err(Refusal::Method),
    }
    let path = request.uri().path();
    let mut response = if let Some(cid) = path.strip_prefix("/routing/v1/providers/") {
        providers(store, request, cid, origin)?
    } else if let Some(name) = path.strip_prefix("/routing/v1/ipns/") {
        record(store, request, name)?
    } else {
        return Err(Refusal::NotFound(format!("nothing is answered at {path}")));
    };
    set(response.headers_mut(), header::VARY, "Accept");
    if *request.method() == Method::HEAD {
        *response.body_mut() = Body::Empty;
    }
    Ok(response)
}

fn providers(
    store: &Store,
    request: &Request<()>,
    cid: &str,
    origin: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    let text = unescape(cid, false).filter(|text| !text.contains('/'));
    let cid = text
        .and_then(|text| AnyCid::try_from(text).ok())
        .ok_or_else(|| Refusal::Unprocessable(format!("not a CID: {cid:?}")))?;
    let held = cid.hash().code() == IDENTITY
        || match narrow(&cid) {
            Some(cid) => store.stat(&cid)?.is_some(),
            None => false,
        };
    let query = request.uri().query().unwrap_or_default();
    let provider = held
        .then(|| provider(store, origin, &Filters::parse(query)))
        .flatten();
    let streamed = list_values(request.headers(), header::ACCEPT).any(|kind| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim() == NDJSON)
    });
    let body = match (&provider, streamed) {
        (Some(provider), true) => format!("{provider}\n"),
        (None, true) => String::new(),
        (provider, false) => {
            let provider = provider.as_deref().unwrap_or_default();
            format!("{{\"Providers\":[{provider}]}}\n")
        }
    };
    let mut response = message(StatusCode::OK, body);
    let headers = response.headers_mut();
    let kind = if streamed { NDJSON } else { JSON };
    set(headers, header::CONTENT_TYPE, kind);
    let found = provider.is_some();
    let cache = if found { CACHE_FOUND } else { CACHE_NOTHING };
    set(headers, header::CACHE_CONTROL, cache);
    Ok(response)
}

/// This store as a peer record; `None` if the client does not want its kind. Nothing in it needs
/// escaping: a peer ID, an address of checked characters, words of our own.
fn provider(store: &Store, origin: Option<&str>, filters: &Filters) -> Option<String> {
    let address = origin.and_then(multiaddr);
    let addresses = match &address {
        Some(address) if filters.take_address(address) => format!("\"{address}\""),
        Some(_) => return None,
        None => String::new(),
    };
    filters.take_protocol().then(|| {
        format!(
            "{{\"Schema\":\"peer\",\"ID\":\"{}\",\"Addrs\":[{addresses}],\
             \"Protocols\":[\"{PROTOCOL}\"]}}",
            store.peer_id().to_base58()
        )
    })
}

/// What the client wants to hear of (`filter-addrs`, `filter-protocols`; IPIP-484).
#[derive(Debug, Default)]
struct Filters {
    addresses: Vec<String>,
    protocols: Vec<String>,
}

impl Filters {
    fn parse(query: &str) -> Self {
        let list = |name| {
            let text = Query::parse_one(query, name).unwrap_or_default();
            let members = text.split(',').filter(|member| !member.is_empty());
            members.map(str::to_ascii_lowercase).collect()
        };
        Self {
            addresses: list("filter-addrs"),
            protocols: list("filter-protocols"),
        }
    }

    fn take_protocol(&self) -> bool {
        self.protocols.is_empty() || self.protocols.iter().any(|wanted| wanted == PROTOCOL)
    }

    /// An address is taken if it has one of the protocols that are wanted, if any are, and none
    /// of those that are not.
    fn take_address(&self, address: &str) -> bool {
        let has = |protocol: &str| address.split('/').any(|part| part == protocol);
        let unwanted = |filter: &String| filter.strip_prefix('!').is_some_and(has);
        let mut wanted = self
            .addresses
            .iter()
            .filter(|f| !f.starts_with('!'))
            .peekable();
        !self.addresses.iter().any(unwanted)
            && (wanted.peek().is_none() || wanted.any(|filter| has(filter)))
    }
}

/// `http://host:port` in the words of libp2p. `None` if it is no such thing.
pub fn multiaddr(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    let scheme = uri.scheme()?;
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    if (*scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) || uri.path() != "/" {
        return None;
    }
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let kind = match host.parse() {
        Ok(IpAddr::V4(_)) => "ip4",
        Ok(IpAddr::V6(_)) => "ip6",
        Err(_) => {
            let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if host.is_empty() || !host.bytes().all(letter) {
                return None;
            }
            "dns"
        }
    };
    let port = uri.port_u16().unwrap_or(default);
    Some(format!("/{kind}/{host}/tcp/{port}/{scheme}"))
}

fn record(store: &Store, request: &Request<()>, name: &str) -> Result<Response<Body>, Refusal> {
    let name = ipns::Name::parse(name)
        .ok_or_else(|| Refusal::Unprocessable(format!("not the name of a key: {name:?}")))?;
    let kinds: Vec<_> = list_values(request.headers(), header::ACCEPT)
        .filter_map(|kind| kind.split(';').next())
        .collect();
    if !kinds.is_empty() && !kinds.iter().any(|kind| [RECORD_TYPE, "*/*"].contains(kind)) {
        let text = format!("records come as {RECORD_TYPE}; ask with that in Accept");
        return Err(Refusal::NotAcceptable(text));
    }
    let (Some(said), Some(bytes)) = (store.resolve_ipns(&name)?, store.ipns_record(&name)?) else {
        // "404 should not be returned": an answer of another type says the same.
        let mut response = message(StatusCode::OK, format!("no record of {name}\n"));
        set(response.headers_mut(), header::CACHE_CONTROL, CACHE_NOTHING);
        return Ok(response);
    };
    let etag = format!("\"{}\"", short_hash(&bytes));
    let left = said
        .valid_until
        .duration_since(std::time::SystemTime::now());
    let left = left.unwrap_or_default().as_secs();
    let cache = format!(
        "public, max-age={}, stale-while-revalidate={left}, stale-if-error={left}",
        seconds(believable(&said))
    );
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    set(headers, header::ETAG, &etag);
    set(headers, header::CACHE_CONTROL, &cache);
    if lists(request.headers(), header::IF_NONE_MATCH, &etag, true) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(headers, header::CONTENT_TYPE, RECORD_TYPE);
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::CONTENT_LENGTH, &bytes.len().to_string());
    *response.body_mut() = Body::Bytes(bytes.into());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_as_addresses() {
        let rows = [
            (
                "http://127.0.0.1:7420",
                Some("/ip4/127.0.0.1/tcp/7420/http"),
            ),
            ("http://[::1]:7420/", Some("/ip6/::1/tcp/7420/http")),
            (
                "https://media.example",
                Some("/dns/media.example/tcp/443/https"),
            ),
            ("http://LOCALHOST", Some("/dns/LOCALHOST/tcp/80/http")),
            ("https://media.example/below", None),
            ("ftp://media.example", None),
            ("media.example", None),
            ("http://a%22b", None),
            ("", None),
        ];
        for (origin, expected) in rows {
            assert_eq!(multiaddr(origin).as_deref(), expected, "{origin}");
        }
    }

    #[test]
    fn filters() {
        let address = "/ip4/127.0.0.1/tcp/7420/http";
        let rows = [
            ("", true, true),
            (
                "filter-protocols=transport-bitswap,transport-ipfs-gateway-http",
                true,
                true,
            ),
            ("filter-protocols=transport-IPFS-gateway-http", true, true),
            ("filter-protocols=transport-bitswap", false, true),
            ("filter-addrs=http", true, true),
            ("filter-addrs=https,tcp", true, true),
            ("filter-addrs=https", true, false),
            ("filter-addrs=!p2p-circuit", true, true),
            ("filter-addrs=!http", true, false),
            ("filter-addrs=tcp,!http", true, false),
        ];
        for (query, protocol, taken) in rows {
            let filters = Filters::parse(query);
            let found = (filters.take_protocol(), filters.take_address(address));
            assert_eq!(found, (protocol, taken), "{query}");
        }
    }
}
