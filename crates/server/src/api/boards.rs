//! `/api/boards` and `/api/board`: the table, which of its boards somebody has, and which of them
//! this machine is.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use catalog::{BoardPolicy, EnrolledBoard};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::time::rfc3339;
use crate::variants;

/// One row of the board table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Board<'a> {
    /// Its identifier, as in verdicts.
    #[schema(example = "pi4-64")]
    id: &'a str,
    /// Its name for people.
    name: &'a str,
    /// Other identifiers it goes by.
    aliases: &'a [String],
    /// What it decodes.
    decodes: Vec<Decode<'a>>,
    /// What a variant for it is rendered to.
    target: String,
    /// What to know when setting it up.
    notes: &'a [String],
    /// That variants are kept ready for such boards, if they are.
    enrolled: Option<Enrolled>,
}

/// A board kind that somebody has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Enrolled {
    /// What is done about files that it cannot play; null: what the server does by default.
    policy: Option<Policy>,
    /// Whether variants are rendered for it, by its policy or the server's.
    renders: bool,
    /// When it was enrolled (RFC 3339, UTC).
    since: String,
}

/// What is done about files that a board cannot play.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BoardPolicy)]
pub(crate) enum Policy {
    /// They are rejected, with the command that makes a variant elsewhere.
    Gate,
    /// A variant is rendered.
    Render,
}

/// How a board is enrolled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BoardEnrolment)]
pub(crate) struct Enrolment {
    /// What is done about files that it cannot play; null: what the server does by default.
    #[serde(default)]
    policy: Option<Policy>,
}

impl Policy {
    fn of_row(policy: BoardPolicy) -> Self {
        match policy {
            BoardPolicy::Gate => Self::Gate,
            BoardPolicy::Render => Self::Render,
        }
    }

    fn row(self) -> BoardPolicy {
        match self {
            Self::Gate => BoardPolicy::Gate,
            Self::Render => BoardPolicy::Render,
        }
    }
}

/// What a board decodes of one codec.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decode<'a> {
    #[schema(example = "hevc")]
    codec: &'a str,
    max_width: u32,
    max_height: u32,
    /// Frames per second.
    #[schema(example = "60")]
    max_fps: String,
    /// Whether the board's silicon does it.
    hardware: bool,
    /// The player's decoder.
    hwdec: Option<&'a str>,
}

/// Which board this machine is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ThisBoard {
    /// The board's identifier.
    id: String,
    /// The board's name for people.
    name: String,
    /// What the machine calls itself.
    model: Option<String>,
}

/// The boards that assets are judged for.
#[utoipa::path(
    get, path = "/api/boards", tag = "boards",
    responses((status = 200, description = "The table", body = Vec<Board>))
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<Json<serde_json::Value>> {
    app.blocking(|app| {
        let enrolled = app.catalog.boards_enrolled()?;
        let table = app.table.now();
        let rows: Vec<Board<'_>> = table
            .boards()
            .iter()
            .map(|board| {
                let of = enrolled.iter().find(|enrolled| enrolled.id == board.id);
                row(app, board, of)
            })
            .collect();
        Ok(Json(serde_json::json!(rows)))
    })
    .await
}

/// Enrols a board kind: from now on a variant is kept ready for it of every asset that it cannot
/// play as it is. Asking again changes its policy.
#[utoipa::path(
    put, path = "/api/boards/{id}", tag = "boards",
    params(("id" = String, Path)),
    request_body = Option<Enrolment>,
    responses(
        (status = 204, description = "It is enrolled"),
        (status = 400, description = "What is wrong with what was asked", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such board in the table", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn enrol(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<StatusCode> {
    let body = super::small(body).await?;
    let asked: Option<Enrolment> = match body.is_empty() {
        true => None,
        false => serde_json::from_slice(&body)
            .map_err(|error| Problem::bad_request(format!("not an enrolment: {error}")))?,
    };
    app.blocking(move |app| {
        let board = app.table.get(&id).ok_or_else(|| no_board(&id))?;
        let policy = asked.unwrap_or_default().policy.map(Policy::row);
        variants::enrol(app, &board.id, policy)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Ends a board kind's enrolment. Variants that only it played are removed.
#[utoipa::path(
    delete, path = "/api/boards/{id}", tag = "boards",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is not enrolled any more"),
        (status = 404, description = "It was not enrolled", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.blocking(move |app| {
        // One that the table does not know any more can be removed too.
        let id = app.table.get(&id).map_or(id, |board| board.id);
        if !app.catalog.remove_board(&id)? {
            return Err(no_board(&id));
        }
        tracing::info!(board = id, "board removed");
        variants::wish_all(app)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn no_board(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no board {id:?} here"))
}

fn row<'a>(app: &App, board: &'a boards::Board, enrolled: Option<&EnrolledBoard>) -> Board<'a> {
    Board {
        id: &board.id,
        name: &board.name,
        aliases: &board.aliases,
        decodes: board
            .decodes
            .iter()
            .map(|decode| Decode {
                codec: &decode.codec,
                max_width: decode.max_width,
                max_height: decode.max_height,
                max_fps: decode.max_fps.to_string(),
                hardware: decode.hardware,
                hwdec: decode.hwdec.as_deref(),
            })
            .collect(),
        target: board.target.to_string(),
        enrolled: enrolled.map(|enrolled| Enrolled {
            policy: enrolled.policy.map(Policy::of_row),
            renders: variants::policy(app, enrolled.policy).render,
            since: rfc3339(enrolled.since_ms),
        }),
        notes: &board.notes,
    }
}

/// The board that the server runs on.
#[utoipa::path(
    get, path = "/api/board", tag = "boards",
    responses((status = 200, description = "This machine", body = ThisBoard))
)]
pub(crate) async fn this(State(app): State<Arc<App>>) -> Json<ThisBoard> {
    let id = app.board.board_id.clone();
    let name = app
        .table
        .get(&id)
        .map_or_else(|| id.clone(), |board| board.name);
    Json(ThisBoard {
        id,
        name,
        model: app.board.model.clone(),
    })
}
