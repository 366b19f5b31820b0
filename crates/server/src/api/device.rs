//! `/api/device`: OAuth 2.0 Device Authorization Grant (RFC 8628). A screen or a terminal shows a
//! short code, an admin types it on the page, and the device gets its token.
//!
//! What the device says and hears is OAuth's: forms, and JSON errors by name (RFC 6749, section 5.2).
//! What the admin does is as the rest of the API. `scope` is the role asked for; two parameters are
//! our own: `name` says whose device it is, `board` which kind of board a player is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use catalog::{Device, Polled, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::session::take_a_try;
use super::tokens::{self, RoleName};
use super::{said, small};
use crate::app::App;
use crate::auth::client::Client;
use crate::auth::secret;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::{now_ms, rfc3339};

/// How long a code may be answered.
const LASTS_S: i64 = 900;
/// How long a device waits between two questions, and how much longer when it did not.
const PAUSE_S: i64 = 5;
/// Devices that may wait at once.
const MOST: usize = 100;
/// A code is one of 2^34, so one that is another's already is seldom, and twice in a row never.
const TRIES: usize = 3;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a device asks with.
#[derive(Deserialize, ToSchema)]
#[schema(as = DeviceAsked)]
pub(crate) struct Ask {
    /// Which program it is.
    #[schema(example = "kinora-player")]
    client_id: String,
    /// The role wanted: `player` where nothing is said.
    scope: Option<String>,
    /// Whose device it is, as the admin will see it.
    #[schema(example = "screen in the hall")]
    name: Option<String>,
    /// The kind of board, of a player.
    #[schema(example = "pi4-64")]
    board: Option<String>,
}

/// What a device shows, and what it asks with next.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceCode)]
pub(crate) struct Asked {
    /// The device's own secret.
    device_code: String,
    /// What an admin is to type.
    #[schema(example = "BCDF-GHJK")]
    user_code: String,
    /// Where they type it.
    verification_uri: String,
    /// The same with the code in it, for a QR code.
    verification_uri_complete: String,
    /// Seconds until the code is void.
    expires_in: i64,
    /// Seconds to wait between two questions.
    interval: i64,
}

/// A device's question.
#[derive(Deserialize, ToSchema)]
#[schema(as = DevicePoll)]
pub(crate) struct Poll {
    /// `urn:ietf:params:oauth:grant-type:device_code`
    grant_type: String,
    /// The device's secret.
    device_code: String,
    /// As it asked.
    client_id: String,
}

/// The device's token.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceToken)]
pub(crate) struct Granted {
    /// The token's secret.
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// The role.
    scope: RoleName,
}

/// Why a device has no token (RFC 6749, section 5.2; RFC 8628, section 3.5).
#[derive(Serialize, ToSchema)]
pub(crate) struct OAuthError {
    /// `authorization_pending`, `slow_down`, `access_denied`, `expired_token`, `invalid_request`,
    /// `invalid_scope`, `invalid_grant`, `unsupported_grant_type` or `temporarily_unavailable`.
    #[schema(example = "authorization_pending")]
    error: &'static str,
    /// The same for a person.
    error_description: String,
}

/// A device that waits for an answer.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceWaiting)]
pub(crate) struct Waiting {
    /// The code it shows.
    #[schema(example = "BCDF-GHJK")]
    code: String,
    /// What it calls itself.
    name: String,
    /// What it asks for.
    role: RoleName,
    /// Its kind of board.
    board: Option<String>,
    /// The address it asked from.
    address: String,
    /// When it asked (RFC 3339).
    created: String,
    /// Until when it waits (RFC 3339).
    expires: String,
}

/// An admin's answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceDecision)]
pub(crate) struct Decision {
    /// Whether the device gets its token.
    allow: bool,
}

/// A refusal in OAuth's form.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: String,
}

fn refusal(error: &'static str, description: impl Into<String>) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        error,
        description: description.into(),
    }
}

impl From<Problem> for Refusal {
    /// What went wrong elsewhere, in OAuth's words where it has some.
    fn from(problem: Problem) -> Self {
        let error = if problem.status.is_client_error() {
            "invalid_request"
        } else {
            "temporarily_unavailable"
        };
        Self {
            status: problem.status,
            error,
            description: problem.detail,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = OAuthError {
            error: self.error,
            error_description: self.description,
        };
        (
            self.status,
            [(header::CACHE_CONTROL, "no-store")],
            Json(body),
        )
            .into_response()
    }
}

/// Begins: the device shows the code of the answer and asks `/api/device/token` meanwhile.
#[utoipa::path(
    post, path = "/api/device/code", tag = "access",
    request_body(content = Ask, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "What to show", body = Asked),
        (status = 400, description = "What is wrong with what was asked", body = OAuthError),
        (status = 403, description = "The request comes from another site", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests from this address", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Too many devices wait already", body = OAuthError),
    )
)]
pub(crate) async fn code(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let form: Ask = match form(&headers, body).await {
        Ok(form) => form,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    take_a_try(&app, &client)?;
    let base = base(&app, &client, &headers);
    let asked = app
        .blocking(move |app| Ok(begin(app, form, &client, &base)))
        .await?;
    Ok(match asked {
        Ok(asked) => ([(header::CACHE_CONTROL, "no-store")], Json(asked)).into_response(),
        Err(refusal) => refusal.into_response(),
    })
}

fn begin(app: &App, form: Ask, client: &Client, base: &str) -> Result<Asked, Refusal> {
    let asked = form.scope.as_deref().unwrap_or("player").trim();
    let role = Role::named(asked)
        .ok_or_else(|| refusal("invalid_scope", "the scope is one of player, editor, admin"))?;
    let board = form.board.filter(|board| !board.is_empty());
    let board = board.map(|id| tokens::board(app, &id)).transpose()?;
    let name = tokens::name(form.name.as_deref().unwrap_or(&form.client_id))?;
    let secret = secret::new_secret().map_err(Problem::from)?;
    let hash = secret::hash(&secret);
    for _ in 0..TRIES {
        let now = now_ms();
        let device = Device {
            code: secret::new_code().map_err(Problem::from)?,
            name: name.clone(),
            role,
            board: board.clone(),
            address: client.ip.to_string(),
            created_ms: now,
            expires_ms: now + LASTS_S * 1000,
        };
        let added = app.catalog.add_device(&device, &hash, PAUSE_S * 1000, MOST);
        if added.map_err(Problem::from)? {
            let user_code = secret::shown(&device.code);
            return Ok(Asked {
                verification_uri: format!("{base}/device"),
                verification_uri_complete: format!("{base}/device?code={user_code}"),
                user_code,
                device_code: secret,
                expires_in: LASTS_S,
                interval: PAUSE_S,
            });
        }
    }
    Err(Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        error: "temporarily_unavailable",
        description: format!("{MOST} devices wait for an answer already"),
    })
}

/// Where people reach the server: where it was told, or where the device did.
fn base(app: &App, client: &Client, headers: &HeaderMap) -> String {
    if let Some(url) = &app.config.public_url {
        return url.clone();
    }
    let https = client.secure
        || headers
            .get(header::ORIGIN)
            .is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let scheme = if https { "https" } else { "http" };
    match &client.host {
        Some(host) => format!("{scheme}://{host}"),
        None => format!("{scheme}://{}", app.address),
    }
}

/// A form's fields. Each may stand there once (RFC 6749, section 3.2).
async fn form<T: serde::de::DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Refusal> {
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| {
            kind.trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
    if !is_form {
        let words = "the body is a form (application/x-www-form-urlencoded)";
        return Err(refusal("invalid_request", words));
    }
    let body = small(body).await?;
    serde_urlencoded::from_bytes(&body)
        .map_err(|error| refusal("invalid_request", format!("the form: {error}")))
}

/// Ends: the device's token, as soon as an admin said yes.
#[utoipa::path(
    post, path = "/api/device/token", tag = "access",
    request_body(content = Poll, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token, told this once", body = Granted),
        (status = 400, description = "Not yet, or never", body = OAuthError),
        (status = 403, description = "The request comes from another site", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn token(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let poll: Poll = match form(&headers, body).await {
        Ok(form) => form,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    if poll.grant_type != GRANT {
        let words = format!("the grant_type is {GRANT}");
        return Ok(refusal("unsupported_grant_type", words).into_response());
    }
    let answer = app.blocking(move |app| answer(app, &poll)).await?;
    Ok(match answer {
        Ok(granted) => ([(header::CACHE_CONTROL, "no-store")], Json(granted)).into_response(),
        Err(refusal) => refusal.into_response(),
    })
}

fn answer(app: &App, poll: &Poll) -> Answer<Result<Granted, Refusal>> {
    let secret = secret::new_token()?;
    let polled = app.catalog.poll_device(
        &secret::hash(&poll.device_code),
        &secret::new_id()?,
        &secret::hash(&secret),
        PAUSE_S * 1000,
        now_ms(),
    )?;
    Ok(Err(match polled {
        Polled::Granted(token) => {
            tokens::enrol(app, &token)?;
            tracing::info!(
                token = token.id,
                name = token.name,
                client = poll.client_id,
                "a device has its token"
            );
            return Ok(Ok(Granted {
                access_token: secret,
                token_type: "Bearer",
                scope: token.role.into(),
            }));
        }
        Polled::Pending => refusal("authorization_pending", "nobody answered yet"),
        Polled::TooSoon => refusal("slow_down", "wait 5 seconds longer from now on"),
        Polled::Denied => refusal("access_denied", "an admin said no"),
        Polled::Expired => refusal(
            "expired_token",
            "nobody answered in time: ask for a new code",
        ),
        Polled::Unknown => refusal("invalid_grant", "no device waits under this code"),
    }))
}

/// Who shows this code, so that an admin can see what they allow.
#[utoipa::path(
    get, path = "/api/device/{code}", tag = "access",
    params(("code" = String, Path, description = "In any case, with or without its dash")),
    responses(
        (status = 200, description = "The device", body = Waiting),
        (status = 404, description = "No device waits with this code", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong codes from this address", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(code): Path<String>,
) -> Answer<Json<Waiting>> {
    take_a_try(&app, &client)?;
    app.blocking(move |app| {
        let found = match secret::typed(&code) {
            Some(code) => app.catalog.device(&code, now_ms())?,
            None => None,
        };
        let device = found.ok_or_else(|| no_device(&code))?;
        app.tries.give_back(client.ip);
        Ok(Json(Waiting {
            code: secret::shown(&device.code),
            name: device.name,
            role: device.role.into(),
            board: device.board,
            address: device.address,
            created: rfc3339(device.created_ms),
            expires: rfc3339(device.expires_ms),
        }))
    })
    .await
}

/// Says yes or no to the device that shows this code.
#[utoipa::path(
    post, path = "/api/device/{code}", tag = "access",
    params(("code" = String, Path, description = "In any case, with or without its dash")),
    request_body = Decision,
    responses(
        (status = 204, description = "The device hears it the next time it asks"),
        (status = 400, description = "Not an answer", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No device waits with this code", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong codes from this address", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(code): Path<String>,
    body: Body,
) -> Answer<StatusCode> {
    let decision: Decision = said(body).await?;
    take_a_try(&app, &client)?;
    app.blocking(move |app| {
        let answered = match secret::typed(&code) {
            Some(code) => app.catalog.answer_device(&code, decision.allow, now_ms())?,
            None => false,
        };
        if !answered {
            return Err(no_device(&code));
        }
        app.tries.give_back(client.ip);
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn no_device(code: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "no device waits with the code {code:?}; codes are void after a quarter of an hour"
        ),
    )
}
