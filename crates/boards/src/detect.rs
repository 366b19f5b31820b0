//! Which board this is: the label the operator set, else the device tree, else the architecture.
//!
//! Reads only two files under an injected root and never fails: what is missing or unreadable
//! is simply not known, and what nothing identifies gets the table's conservative row. What the
//! machine really offers (V4L2 nodes, VA-API profiles) corrects the table elsewhere.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::{Board, Table};

/// Both names of the one property; `/proc/device-tree` is a link that containers often lack.
const MODEL_FILES: [&str; 2] = [
    "proc/device-tree/model",
    "sys/firmware/devicetree/base/model",
];

/// A model is a short line; whatever lies there, no more than this is read.
const MODEL_MAX_BYTES: u64 = 4096;

/// The board a machine was taken for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detection {
    /// Id of a row of the table.
    pub board_id: String,
    /// What decided.
    pub how: How,
    /// The device tree's model, where there is one.
    pub model: Option<String>,
}

/// What identified the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The label, usually the environment variable `DEVICE_TYPE`.
    Label,
    /// The device tree's model.
    DeviceTree,
    /// The processor's architecture.
    Architecture,
    /// Nothing did: the conservative row.
    Fallback,
}

/// Finds the board's row.
///
/// `root` is `/` on a real machine, `label` the value of `DEVICE_TYPE` where set, and
/// `architecture` as `std::env::consts::ARCH` names it.
pub fn detect(root: &Path, label: Option<&str>, architecture: &str, table: &Table) -> Detection {
    let model = MODEL_FILES
        .iter()
        .find_map(|file| read_model(&root.join(file)));
    let labelled = label.and_then(|label| table.get(label));
    let by_model = model.as_deref().and_then(|model| of_model(model, table));
    let (board, how) = match (labelled, by_model) {
        (Some(board), Some(found)) if board.generic && found.id != board.id => {
            (found, How::DeviceTree)
        }
        (Some(board), _) => (board, How::Label),
        (None, Some(found)) => (found, How::DeviceTree),
        (None, None) => match of_architecture(architecture, table) {
            Some(board) => (board, How::Architecture),
            None => (table.fallback(), How::Fallback),
        },
    };
    Detection {
        board_id: board.id.clone(),
        how,
        model,
    }
}

/// The board whose model pattern matches the most of `model`; among equals the last in the
/// table, so that a user's board wins over an embedded one.
fn of_model<'t>(model: &str, table: &'t Table) -> Option<&'t Board> {
    let model = bare(model);
    let matches = table.boards().iter().filter_map(|board| {
        let patterns = board.device_tree.iter().map(|pattern| bare(pattern));
        let best = patterns
            .filter(|pattern| !pattern.is_empty() && model.contains(pattern))
            .map(|p| p.len());
        Some((best.max()?, board))
    });
    matches
        .max_by_key(|(length, _)| *length)
        .map(|(_, board)| board)
}

fn of_architecture<'t>(architecture: &str, table: &'t Table) -> Option<&'t Board> {
    table
        .boards()
        .iter()
        .rev()
        .find(|board| board.architectures.iter().any(|ours| ours == architecture))
}

/// Vendors write one name in many ways (`ROCK Pi 4B`, `Rock Pi4-B`): only letters, digits and
/// the plus of `4C+` count.
fn bare(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric() || *c == '+')
        .flat_map(char::to_lowercase)
        .collect()
}

/// The model as text; `None` when missing, not a file, unreadable or empty.
///
/// The property is a C string (Devicetree Specification 0.4, 2.3.2), so it ends at the first
/// NUL. It need not be UTF-8: what is not becomes U+FFFD and the rest may still match.
fn read_model(path: &Path) -> Option<String> {
    // A pipe put there would block the open for ever.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MODEL_MAX_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
