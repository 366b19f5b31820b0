//! `/api/tokens`: who may do what. A secret is told once, to who asked for the token.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use catalog::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::said;
use crate::app::App;
use crate::auth::secret;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::{now_ms, rfc3339};
use crate::variants;

/// Characters that a name may have.
const LONGEST_NAME: usize = 100;

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    /// Its identifier, which is no secret.
    id: String,
    /// Whose it is.
    #[schema(example = "screen in the hall")]
    name: String,
    role: RoleName,
    /// The kind of board that holds it.
    #[schema(example = "pi4-64")]
    board: Option<String>,
    /// When it was made (RFC 3339).
    created: String,
    /// When it was last used, within a minute (RFC 3339).
    used: Option<String>,
}

/// A new token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewToken {
    #[serde(flatten)]
    token: Token,
    /// The secret itself. It is not kept and cannot be read again.
    #[schema(example = "kinora_5oBq…")]
    secret: String,
}

/// What a token allows. Each role may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
pub(crate) enum RoleName {
    /// A screen: reads what it is to play.
    Player,
    /// Looks after assets, streams and playlists.
    Editor,
    /// Says who may do what.
    Admin,
}

/// The token wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenWanted)]
pub(crate) struct Wanted {
    /// Whose it will be, in 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100, example = "screen in the hall")]
    name: String,
    role: RoleName,
    /// The kind of board that will hold it.
    #[schema(example = "pi4-64")]
    board: Option<String>,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Player => Self::Player,
            RoleName::Editor => Self::Editor,
            RoleName::Admin => Self::Admin,
        }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Player => Self::Player,
            Role::Editor => Self::Editor,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<catalog::Token> for Token {
    fn from(token: catalog::Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            role: token.role.into(),
            board: token.board,
            created: rfc3339(token.created_ms),
            used: token.used_ms.map(rfc3339),
        }
    }
}

/// A name as people may see it in a list.
pub(crate) fn name(text: &str) -> Answer<String> {
    let text = text.trim();
    let shown = !text.is_empty() && text.chars().count() <= LONGEST_NAME;
    if !shown || text.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "the name: 1 to {LONGEST_NAME} characters, and none that acts"
        )));
    }
    Ok(text.to_owned())
}

/// The kind of board by its own identifier, whatever it was called by.
pub(crate) fn board(app: &App, id: &str) -> Answer<String> {
    match app.table.get(id) {
        Some(board) => Ok(board.id.clone()),
        None => Err(Problem::bad_request(format!(
            "no board {id:?} in the table"
        ))),
    }
}

/// A player's kind of board gets variants from now on, by the policy it had or the server's own.
pub(crate) fn enrol(app: &App, token: &catalog::Token) -> Answer<()> {
    let Some(board) = token
        .board
        .as_deref()
        .filter(|_| token.role == Role::Player)
    else {
        return Ok(());
    };
    let enrolled = app.catalog.boards_enrolled()?;
    if enrolled.iter().all(|row| row.id != board) {
        variants::enrol(app, board, None)?;
    }
    Ok(())
}

/// All tokens, oldest first.
#[utoipa::path(
    get, path = "/api/tokens", tag = "access",
    responses((status = 200, description = "The tokens", body = [Token]))
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<Json<Vec<Token>>> {
    app.blocking(|app| {
        let tokens = app.catalog.tokens()?;
        Ok(Json(tokens.into_iter().map(Token::from).collect()))
    })
    .await
}

/// Makes a token.
#[utoipa::path(
    post, path = "/api/tokens", tag = "access",
    request_body = Wanted,
    responses(
        (status = 201, description = "The token, and its secret for once", body = NewToken),
        (status = 400, description = "What is wrong with what was asked", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    body: Body,
) -> Answer<(StatusCode, Json<NewToken>)> {
    let wanted: Wanted = said(body).await?;
    app.blocking(move |app| {
        let secret = secret::new_token()?;
        let board = wanted.board.map(|id| board(app, &id)).transpose()?;
        let token = catalog::Token {
            id: secret::new_id()?,
            name: name(&wanted.name)?,
            role: wanted.role.into(),
            board,
            created_ms: now_ms(),
            used_ms: None,
        };
        app.catalog.add_token(&token, &secret::hash(&secret))?;
        enrol(app, &token)?;
        tracing::info!(
            token = token.id,
            name = token.name,
            role = token.role.as_str(),
            "token made"
        );
        let token = Token::from(token);
        Ok((StatusCode::CREATED, Json(NewToken { token, secret })))
    })
    .await
}

/// Revokes a token, and ends the sessions that were begun with it.
#[utoipa::path(
    delete, path = "/api/tokens/{id}", tag = "access",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is a stranger's now"),
        (status = 404, description = "No such token", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.blocking(move |app| {
        if !app.catalog.remove_token(&id)? {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                format!("no token {id:?} here"),
            ));
        }
        tracing::info!(token = id, "token revoked");
        app.revoked.notify_waiters();
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
