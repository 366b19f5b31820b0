//! Errors as HTTP answers: problem details (RFC 9457).
//!
//! This is the one border where the errors of the other rooms become statuses. A [`Problem`] is
//! carried in the response's extensions until `border` writes it, because only there the
//! request's own address is known.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::disk;

/// Why a request was not done.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What the client reads.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Problem", as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The status in words.
    #[schema(example = "Not Found")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What happened, to which file, and what to do.
    detail: &'a str,
    /// The address that was asked.
    instance: &'a str,
}

/// The result of a handler.
pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn no_asset(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no asset {id:?} here"))
    }

    pub(crate) fn disk_full(what: &str, usable: u64) -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            format!(
                "{what}: the server's disk is full ({} left to take); remove something and try again",
                disk::human(usable)
            ),
        )
    }

    /// Something that should work did not. The chain of causes goes to the log and the client:
    /// there is no secret in it, and a person has to act on it.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let chain = chain(error);
        tracing::error!(error = %chain, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, chain)
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Writes the body, now that the address is known. Headers that are there stay.
    pub(crate) fn write(&self, instance: &str, response: &mut Response) {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        *response.body_mut() = json.into();
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// An error and its causes, each after a colon.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<catalog::Error> for Problem {
    fn from(error: catalog::Error) -> Self {
        if error.is_disk_full() {
            return Self::disk_full("the catalog", 0);
        }
        if error.is_away() {
            tracing::error!(error = chain(&error), "the catalog cannot be asked");
            let detail = "the catalog's database cannot be asked now; try again later";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        }
        Self::internal(&error)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if error.is_full() {
            return Self::disk_full("the store", 0);
        }
        Self::internal(&error)
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        if disk::is_full(&error) {
            return Self::disk_full("the data folder", 0);
        }
        Self::internal(&error)
    }
}

/// A blocking task ends without a value only when it panicked or the runtime stops.
impl From<tokio::task::JoinError> for Problem {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(&error)
    }
}
