//! The page's session cookie (RFC 6265bis).
//!
//! No script reads it, no other site's request carries it, and over TLS its name has the prefix that
//! keeps every other host and plain HTTP from setting it.

use axum::http::{HeaderMap, HeaderValue, header};

/// Its name over plain HTTP.
pub(crate) const PLAIN: &str = "kinora_session";
/// Its name over TLS.
const SECURE: &str = "__Host-kinora_session";

/// The session's secret, when the request carries one. One over TLS goes before one that is not.
pub(crate) fn read(headers: &HeaderMap) -> Option<&str> {
    let find = |wanted: &str| {
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, value)| *name == wanted && !value.is_empty())
            .map(|(_, value)| value)
    };
    find(SECURE).or_else(|| find(PLAIN))
}

/// The header that keeps the secret in the browser for so long; for no time, that removes it.
pub(crate) fn write(secret: &str, secure: bool, seconds: i64) -> Option<HeaderValue> {
    let (name, more) = if secure {
        (SECURE, "; Secure")
    } else {
        (PLAIN, "")
    };
    let text =
        format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{more}");
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_of_a_request() {
        for (sent, secret) in [
            (&["kinora_session=abc"][..], Some("abc")),
            (&["a=b; kinora_session=abc; c=d"], Some("abc")),
            (&["a=b", "kinora_session=abc"], Some("abc")),
            (
                &["kinora_session=plain; __Host-kinora_session=tls"],
                Some("tls"),
            ),
            (&["kinora_session="], None),
            (&["xkinora_session=abc"], None),
            (&["kinora_session"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(header::COOKIE, HeaderValue::from_static(value));
            }
            assert_eq!(read(&headers), secret, "{sent:?}");
        }
    }

    #[test]
    fn attributes() {
        assert_eq!(
            write("s", true, 60).unwrap(),
            "__Host-kinora_session=s; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure"
        );
        assert_eq!(
            write("s", false, 0).unwrap(),
            "kinora_session=s; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }
}
