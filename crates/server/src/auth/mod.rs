//! Who may do what.
//!
//! A server that only this machine reaches asks nobody for anything: whoever reaches loopback is its
//! admin. As soon as it listens elsewhere, or is told of a proxy or a public address, every route but
//! a few (`access`) takes a token: in `Authorization`, or behind the session cookie of a browser
//! that signed in with one. The catalog keeps hashes; a token that is revoked is a stranger with its
//! next request.
//!
//! Content (`/ipfs`, `/streams` and what belongs to them) takes a token too, unless the server is told
//! that it is public. A CID is no secret: playlists name it, names of live streams are words, and who
//! has a file can compute whether the server has it. Screens send their token, the page its cookie.

pub(crate) mod access;
pub(crate) mod client;
pub(crate) mod cookie;
pub(crate) mod limit;
pub(crate) mod network;
pub mod secret;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use catalog::{Role, Token};

use crate::app::App;
use crate::problem::{Answer, Problem};
use crate::time::now_ms;
use access::Access;

/// How often an open connection's credential is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Who makes a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// What they may do; `None` for strangers.
    pub(crate) role: Option<Role>,
    /// The token they have; where no login is needed, nobody has one.
    pub(crate) token: Option<Token>,
    credential: Option<Credential>,
}

/// What a request shows, as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// The hash of a token.
    Token(String),
    /// The hash of a session's secret.
    Session(String),
}

impl Credential {
    /// What the headers show. A token goes before a cookie: programs say what they mean.
    pub(crate) fn shown(headers: &HeaderMap) -> Option<Self> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Self::Token(secret::hash(token.trim())));
        bearer.or_else(|| cookie::read(headers).map(|text| Self::Session(secret::hash(text))))
    }

    fn look_up(&self, app: &App) -> Result<Option<Token>, catalog::Error> {
        match self {
            Self::Token(hash) => app.catalog.token(hash),
            Self::Session(hash) => app.catalog.session(hash, now_ms()),
        }
    }
}

impl Caller {
    fn local() -> Self {
        Self {
            role: Some(Role::Admin),
            token: None,
            credential: None,
        }
    }

    fn stranger() -> Self {
        Self {
            role: None,
            ..Self::local()
        }
    }

    /// The session's hash, when a browser signed in.
    pub(crate) fn session(&self) -> Option<&str> {
        match &self.credential {
            Some(Credential::Session(hash)) => Some(hash),
            _ => None,
        }
    }

    /// Ends when the caller's credential is revoked or over. For connections that stay open.
    pub(crate) async fn gone(self, app: Arc<App>) {
        let Some(credential) = self.credential else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                () = app.revoked.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            let again = credential.clone();
            let known = app.blocking(move |app| Ok(again.look_up(app)?.is_some()));
            // A catalog that cannot be read says nothing about the caller.
            if matches!(known.await, Ok(false)) {
                return;
            }
        }
    }
}

/// Lets the request in or says why not, and leaves in it who makes it.
pub(crate) async fn admit(app: &Arc<App>, request: &mut Request) -> Answer<()> {
    let caller = if app.login {
        // The page itself and what is nowhere: nothing of it is anybody's.
        let Some(pattern) = request.extensions().get::<MatchedPath>() else {
            return Ok(());
        };
        let access = access::of(request.method(), pattern.as_str());
        let credential = Credential::shown(request.headers());
        let caller = identify(app, credential).await?;
        allow(app, access, &caller)?;
        prove_same_origin(request.method(), request.headers(), &caller)?;
        caller
    } else {
        Caller::local()
    };
    request.extensions_mut().insert(caller);
    Ok(())
}

async fn identify(app: &Arc<App>, credential: Option<Credential>) -> Answer<Caller> {
    let Some(credential) = credential else {
        return Ok(Caller::stranger());
    };
    app.blocking(move |app| {
        let Some(token) = credential.look_up(app)? else {
            return Ok(Caller::stranger());
        };
        // Only a note: a full disk must not keep an admin from making room.
        if let Err(error) = app.catalog.use_token(&token, now_ms()) {
            tracing::warn!(token = token.id, %error, "cannot note the use of a token");
        }
        Ok(Caller {
            role: Some(token.role),
            token: Some(token),
            credential: Some(credential),
        })
    })
    .await
}

fn allow(app: &App, access: Access, caller: &Caller) -> Answer<()> {
    let needed = match access {
        Access::Anyone => return Ok(()),
        Access::Content if app.config.public_content => return Ok(()),
        Access::Content => Role::Player,
        Access::Role(role) => role,
    };
    match caller.role {
        Some(role) if role >= needed => Ok(()),
        Some(role) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!(
                "this takes the role {}, and the token is for {}",
                needed.as_str(),
                role.as_str()
            ),
        )),
        None => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "no valid token: sign in on the page, or make one with `kinora login` or, on the \
             server's machine, with `kinora token create`",
        )
        .with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"kinora\""),
        )),
    }
}

/// A change that a cookie allows comes from the page, and the browser says so: `border` refuses what
/// names another site, and here is refused what names none.
fn prove_same_origin(method: &Method, headers: &HeaderMap, caller: &Caller) -> Answer<()> {
    let named = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if named || reads || caller.session().is_none() {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "a request with a session cookie says which site it comes from (Origin); programs send a \
         token instead",
    ))
}
