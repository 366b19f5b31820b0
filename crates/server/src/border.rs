//! What every request and every answer passes: who may ask, and the headers a browser needs to
//! keep Kinora's page and other people's pages apart.
//!
//! There is no login yet, so a server on loopback trusts everybody who can reach loopback, and
//! that must not include every web site that a browser on this machine shows. Two doors are shut:
//! a site whose name was pointed at 127.0.0.1 (DNS rebinding) is recognised by its `Host`, and a
//! form or script on another site that changes something here (CSRF) by `Origin` and
//! `Sec-Fetch-Site` (Fetch standard, section 3.2 and 3.7; OWASP's CSRF cheat sheet).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::problem::Problem;

/// The page runs its own scripts and styles only; hls.js makes its worker and its media from
/// blobs. Nobody may frame it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; font-src 'self'; \
    manifest-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Checks the request, runs it, writes problems out, adds headers.
pub(crate) async fn pass(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match check(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.write(&path, &mut response);
    }
    secure(response.headers_mut());
    response
}

fn check(app: &App, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = host(request);
    if app.address.ip().is_loopback() && !host.as_ref().is_some_and(is_this_machine) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server listens on this machine only and answers to localhost and loopback \
             addresses; start it with --listen to give it another address",
        ));
    }
    if changes(request.method()) && is_foreign(headers, host.as_ref()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "the request comes from another web site",
        ));
    }
    Ok(())
}

/// The authority the client asked for: of the request line when it has one, else `Host`.
fn host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut values = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (values.next(), values.next()) else {
        return None;
    };
    Authority::try_from(host.as_bytes()).ok()
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
/// no browsers send neither header.
fn is_foreign(headers: &HeaderMap, host: Option<&Authority>) -> bool {
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
    match (authority, host) {
        (Some(origin), Some(host)) => !origin.eq_ignore_ascii_case(host.as_str()),
        _ => true,
    }
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
                is_foreign(&headers, Some(&host)),
                foreign,
                "{origin:?} {site:?}"
            );
        }
    }
}
