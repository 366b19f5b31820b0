//! `/api/session`: the page signs in with a token and gets a cookie for it.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::said;
use super::tokens::RoleName;
use crate::app::App;
use crate::auth::client::Client;
use crate::auth::{Caller, cookie, secret};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::now_ms;

/// How long a browser stays signed in.
const LASTS_S: i64 = 30 * 24 * 3600;

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Whether this server needs anybody to sign in.
    needed: bool,
    /// What the caller may do; null for who is not signed in.
    role: Option<RoleName>,
    /// Whose token it is.
    name: Option<String>,
}

/// A token to sign in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// The token's secret.
    token: String,
}

/// Who the caller is, and whether that matters.
#[utoipa::path(
    get, path = "/api/session", tag = "access",
    responses((status = 200, description = "The caller", body = Session))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> ([(header::HeaderName, &'static str); 1], Json<Session>) {
    let session = Session {
        needed: app.login,
        role: caller.role.map(RoleName::from),
        name: caller.token.map(|token| token.name),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(session))
}

/// Signs a browser in: the answer's cookie stands for the token from then on.
#[utoipa::path(
    post, path = "/api/session", tag = "access",
    request_body = SignIn,
    responses(
        (status = 200, description = "Signed in", body = Session,
         headers(("Set-Cookie" = String, description = "The session, out of reach of scripts and other sites"))),
        (status = 400, description = "Not what signs in", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No such token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The request comes from another site", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong tokens from this address", body = ProblemBody, content_type = "application/problem+json",
         headers(("Retry-After" = String, description = "Seconds until the next try"))),
    )
)]
pub(crate) async fn begin(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let asked: SignIn = said(body).await?;
    take_a_try(&app, &client)?;
    // The browser knows whether the page came over TLS, whatever stands in between.
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let secure = client.secure || origin.is_some_and(|origin| origin.starts_with(b"https://"));
    let ip = client.ip;
    let (session, secret) = app
        .blocking(move |app| {
            let hash = secret::hash(asked.token.trim());
            let Some(token) = app.catalog.token(&hash)? else {
                tracing::warn!(%ip, "somebody tried to sign in with a token that is not one");
                return Err(Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "no such token here; it may have been revoked",
                )
                .with_header(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"kinora\""),
                ));
            };
            app.tries.give_back(ip);
            let secret = secret::new_secret()?;
            let now = now_ms();
            let expires = now + LASTS_S * 1000;
            app.catalog
                .add_session(&secret::hash(&secret), &token.id, now, expires)?;
            let session = Session {
                needed: app.login,
                role: Some(token.role.into()),
                name: Some(token.name),
            };
            Ok((session, secret))
        })
        .await?;
    Ok(with_cookie(Json(session), &secret, secure, LASTS_S))
}

/// Signs the browser out.
#[utoipa::path(
    delete, path = "/api/session", tag = "access",
    responses(
        (status = 204, description = "Signed out"),
        (status = 403, description = "The request comes from another site", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn end(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Answer<Response> {
    if let Some(session) = caller.session().map(str::to_owned) {
        app.blocking(move |app| {
            app.catalog.remove_session(&session)?;
            app.revoked.notify_waiters();
            Ok(())
        })
        .await?;
    }
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let secure = client.secure || origin.is_some_and(|origin| origin.starts_with(b"https://"));
    Ok(with_cookie(StatusCode::NO_CONTENT, "", secure, 0))
}

fn with_cookie(answer: impl IntoResponse, secret: &str, secure: bool, seconds: i64) -> Response {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = cookie::write(secret, secure, seconds) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Counts a guess, before it is known whether it is one.
pub(crate) fn take_a_try(app: &App, client: &Client) -> Answer<()> {
    app.tries.take(client.ip, Instant::now()).map_err(|wait| {
        let seconds = wait.as_secs() + 1;
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("too many tries from {}; the next in {seconds} s", client.ip),
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    })
}
