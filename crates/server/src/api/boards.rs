//! `/api/boards` and `/api/board`: the table, and which of its boards this machine is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

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
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<serde_json::Value> {
    let rows: Vec<Board<'_>> = app.table.boards().iter().map(row).collect();
    Json(serde_json::json!(rows))
}

fn row(board: &boards::Board) -> Board<'_> {
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
        .map_or_else(|| id.clone(), |board| board.name.clone());
    Json(ThisBoard {
        id,
        name,
        model: app.board.model.clone(),
    })
}
