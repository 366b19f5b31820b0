//! Where a request comes from, seen through a proxy that the server was told of.
//!
//! Anybody can write `X-Forwarded-For`, so these headers mean something only when the connection
//! itself comes from a configured proxy, and each of them is read from its end: what the last
//! trusted proxy added (RFC 7239, section 8.1, says the same of its own header).

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{ConnectInfo, Request};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::network::Network;
use crate::tls::Peer;

/// Headers that proxies add. On a server that knows of no proxy they say that there is one.
const FORWARDED: [&str; 5] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Who sent a request, and what they asked for.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// The address it came from.
    pub(crate) ip: IpAddr,
    /// Whether it came over TLS.
    pub(crate) secure: bool,
    /// The host it was sent to.
    pub(crate) host: Option<Authority>,
    /// It came through a proxy that the server was not told of.
    pub(crate) strange_proxy: bool,
}

impl Client {
    pub(crate) fn of(request: &Request, proxies: &[Network], tls: bool) -> Self {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        // Every connection has a peer; only a request made inside a test has none.
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.0.ip());
        let authority = request.uri().authority();
        Self::seen(peer, authority, request.headers(), proxies, tls)
    }

    fn seen(
        peer: IpAddr,
        authority: Option<&Authority>,
        headers: &HeaderMap,
        proxies: &[Network],
        tls: bool,
    ) -> Self {
        let trusted = |ip: IpAddr| proxies.iter().any(|network| network.holds(ip));
        let mut client = Self {
            ip: peer.to_canonical(),
            secure: tls,
            host: host(authority, headers),
            strange_proxy: false,
        };
        if !trusted(peer) {
            client.strange_proxy = FORWARDED.iter().any(|name| headers.contains_key(*name));
            return client;
        }
        for hop in last_first(headers, "x-forwarded-for") {
            let Ok(ip) = hop.parse::<IpAddr>() else { break };
            client.ip = ip.to_canonical();
            if !trusted(ip) {
                break;
            }
        }
        if let Some(scheme) = last_first(headers, "x-forwarded-proto").next() {
            client.secure = scheme.eq_ignore_ascii_case("https");
        }
        if let Some(host) = last_first(headers, "x-forwarded-host").next() {
            client.host = Authority::try_from(host).ok();
        }
        client
    }
}

/// The authority the client asked for: of the request line when it has one, else `Host`.
fn host(authority: Option<&Authority>, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = authority {
        return Some(authority.clone());
    }
    let mut values = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (values.next(), values.next()) else {
        return None;
    };
    Authority::try_from(host.as_bytes()).ok()
}

/// The members of a list that may be spread over several headers, from its end.
fn last_first<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .rev()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn who_sent_it() {
        let proxies: Vec<Network> = ["127.0.0.1", "10.0.0.0/8"]
            .map(|network| network.parse().unwrap())
            .into();
        #[track_caller]
        fn check(
            proxies: &[Network],
            peer: &str,
            sent: &[(&str, &str)],
            expected: (&str, bool, &str, bool),
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "inside:7420".parse().unwrap());
            for (name, value) in sent {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, value.parse().unwrap());
            }
            let client = Client::seen(peer.parse().unwrap(), None, &headers, proxies, false);
            let host = client.host.as_ref().map_or("", |host| host.as_str());
            let ip = client.ip.to_string();
            assert_eq!(
                (ip.as_str(), client.secure, host, client.strange_proxy),
                expected
            );
        }
        let check = |peer, sent: &[(&str, &str)], expected| check(&proxies, peer, sent, expected);
        let far = "203.0.113.7";
        check(far, &[], (far, false, "inside:7420", false));
        // What a stranger writes counts for nothing.
        check(
            far,
            &[
                ("X-Forwarded-For", "127.0.0.1"),
                ("X-Forwarded-Proto", "https"),
            ],
            (far, false, "inside:7420", true),
        );
        check(
            "127.0.0.1",
            &[
                ("X-Forwarded-For", far),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "media.example"),
            ],
            (far, true, "media.example", false),
        );
        // Behind two proxies; what stands before the first stranger is the stranger's invention.
        check(
            "127.0.0.1",
            &[("X-Forwarded-For", "1.1.1.1, 203.0.113.7, 10.0.0.9")],
            (far, false, "inside:7420", false),
        );
        check(
            "127.0.0.1",
            &[("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", far)],
            (far, false, "inside:7420", false),
        );
        check(
            "127.0.0.1",
            &[("X-Forwarded-For", "unknown")],
            ("127.0.0.1", false, "inside:7420", false),
        );
        check(
            "::ffff:203.0.113.7",
            &[],
            (far, false, "inside:7420", false),
        );
    }
}
