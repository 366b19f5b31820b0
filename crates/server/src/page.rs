//! The page: files of `web/`, put into the program when it is built (see `build.rs`).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;

use crate::gateway::{has_it, not_modified};
use crate::problem::{Answer, Problem};

/// One embedded file.
struct Embedded {
    /// Its address, beginning with a slash.
    path: &'static str,
    mime: &'static str,
    /// Changes when the content does.
    etag: &'static str,
    plain: &'static [u8],
    /// The same in gzip, where that is much smaller.
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Serves the page; every other address that nothing else answers is a problem.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Answer<Response<Body>> {
    let path = match uri.path() {
        // Where devices send people; the page itself sees by its address what it is to show.
        "/" | "/device" => "/index.html",
        path => path,
    };
    let Some(file) = FILES.iter().find(|file| file.path == path) else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("nothing at {path}"),
        ));
    };
    if method != Method::GET && method != Method::HEAD {
        return Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{path} can only be read"),
        )
        .with_header(header::ALLOW, HeaderValue::from_static("GET, HEAD")));
    }
    let packed = file.gzip.filter(|_| takes_gzip(&headers));
    // The two forms are two representations, so each has its own tag.
    let etag = match packed {
        Some(_) => format!("\"{}-gzip\"", file.etag),
        None => format!("\"{}\"", file.etag),
    };
    let mut response = if has_it(&headers, &etag) {
        not_modified(&etag)
    } else {
        let headers = [
            (header::CONTENT_TYPE, file.mime),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, etag.as_str()),
        ];
        (headers, packed.unwrap_or(file.plain)).into_response()
    };
    if file.gzip.is_some() {
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if packed.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    Ok(response)
}

/// Whether `Accept-Encoding` names gzip and does not refuse it (RFC 9110, section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.parse() == Ok(0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_asked_for() {
        for (asked, gzip) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(asked));
            assert_eq!(takes_gzip(&headers), gzip, "{asked}");
        }
    }

    #[test]
    fn the_page_is_whole() {
        let text = |path: &str| {
            let file = FILES.iter().find(|file| file.path == path);
            let file = file.unwrap_or_else(|| panic!("{path} is not embedded"));
            std::str::from_utf8(file.plain).expect("text")
        };
        let html = text("/index.html");
        for attribute in ["src=\"/", "href=\"/"] {
            for (at, _) in html.match_indices(attribute) {
                let rest = &html[at + attribute.len() - 1..];
                text(rest.split('"').next().unwrap());
            }
        }
        assert!(text("/hls.min.js").contains("Hls"));
        // The policy of `border` forbids what is written into the page itself.
        assert!(
            !html.contains("<style") && !html.contains(" style=") && !html.contains(" onclick=")
        );
    }
}
