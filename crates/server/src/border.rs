//! What every request and every answer passes: who may ask, and the headers a browser needs to
//! keep Kinora's page and other people's pages apart.
//!
//! A server on loopback trusts everybody who can reach loopback, and that must not include every
//! web site that a browser on this machine shows, nor everybody behind a proxy. Three doors are
//! shut: a site whose name was pointed at 127.0.0.1 (DNS rebinding) is recognised by its `Host`, a
//! proxy that nobody told the server of by what it adds, and a form or script on another site that
//! changes something here (CSRF) by `Origin` and `Sec-Fetch-Site` (Fetch standard, section 3.2 and
//! 3.7; OWASP's CSRF cheat sheet). Where a login is needed, `Host` proves nothing and need not: a
//! rebound name has no cookie of ours.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::auth;
use crate::auth::client::Client;
use crate::problem::Problem;

/// The page runs its own scripts and styles only; hls.js makes its worker and its media from
/// blobs, and each track of captions from an empty `data:`. Nobody may frame it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self'; font-src 'self'; \
    manifest-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Checks the request, runs it, writes problems out, adds headers.
pub(crate) async fn pass(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match admit(&app, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.write(&path, &mut response);
    }
    secure(response.headers_mut());
    if app.login && !app.config.public_content {
        keep_private(response.headers_mut());
    }
    response
}

/// Leaves in the request who sent it, from where.
async fn admit(app: &Arc<App>, request: &mut Request) -> Result<(), Problem> {
    let client = Client::of(request, &app.config.proxies, app.config.tls.is_some());
    check(app, request, &client)?;
    request.extensions_mut().insert(client);
    auth::admit(app, request).await
}

fn check(app: &App, request: &Request, client: &Client) -> Result<(), Problem> {
    let host = client.host.as_ref();
    if !app.login && !host.is_some_and(is_this_machine) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server listens on this machine only and answers to localhost and loopback \
             addresses; start it with --listen to give it another address",
        ));
    }
    if !app.login && client.strange_proxy {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "the request came through a proxy, and this server trusts everybody who reaches it; \
             start it with --proxy ADDRESS to name the proxy and to make tokens needed",
        ));
    }
    if changes(request.method()) && is_foreign(request.headers(), host, app.public_host.as_ref()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "the request comes from another web site",
        ));
    }
    Ok(())
}

fn is_this_machine(host: &Authority) -> bool {
    let name = host.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser says that the request was made by a page from elsewhere. Programs that are
/// no browsers send neither header. `public` is where the server is reached from outside, when a
/// proxy that rewrites `Host` stands before it.
fn is_foreign(headers: &HeaderMap, host: Option<&Authority>, public: Option<&Authority>) -> bool {
    let fetched_from = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if matches!(fetched_from, Some(site) if site != b"same-origin" && site != b"none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority);
    let Some(origin) = authority else { return true };
    let is = |host: &Authority| origin.eq_ignore_ascii_case(host.as_str());
    !host.into_iter().chain(public).any(is)
}

/// Adds what is not there: a handler that set its own policy (the gateway) keeps it.
fn secure(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// What one caller may read, a cache between here and there may not give to another (RFC 9111,
/// section 3.5).
fn keep_private(headers: &mut HeaderMap) {
    let Some(control) = headers.get_mut(header::CACHE_CONTROL) else {
        return;
    };
    let rest = control
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("public"));
    if let Some(private) = rest.and_then(|rest| format!("private{rest}").parse().ok()) {
        *control = private;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        for (host, ours) in [
            ("localhost", true),
            ("LocalHost:7420", true),
            ("127.0.0.1:7420", true),
            ("127.8.9.10", true),
            ("[::1]:7420", true),
            ("kinora.example", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("10.0.0.1", false),
            ("[::ffff:10.0.0.1]", false),
        ] {
            let authority = Authority::try_from(host).unwrap();
            assert_eq!(is_this_machine(&authority), ours, "{host}");
        }
    }

    #[test]
    fn requests_of_other_sites() {
        let host = Authority::from_static("localhost:7420");
        for (origin, site, foreign) in [
            (None, None, false),
            (Some("http://localhost:7420"), Some("same-origin"), false),
            (Some("http://localhost:7420"), None, false),
            (None, Some("none"), false),
            (Some("http://localhost:8000"), None, true),
            (Some("https://evil.example"), None, true),
            (Some("null"), None, true),
            (None, Some("cross-site"), true),
            (None, Some("same-site"), true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            assert_eq!(
                is_foreign(&headers, Some(&host), None),
                foreign,
                "{origin:?} {site:?}"
            );
        }
        let public = Authority::from_static("media.example");
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ORIGIN,
            HeaderValue::from_static("https://media.example"),
        );
        assert!(is_foreign(&headers, Some(&host), None));
        assert!(!is_foreign(&headers, Some(&host), Some(&public)));
    }
}
