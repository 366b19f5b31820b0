//! The table of boards: the embedded `boards.toml` and what a user's file changes in it.
//!
//! Both have one form, so the embedded table is read by the same code and held to the same
//! checks as a user's. A mistake is reported with file, line and the board it concerns. What a
//! row means for a file is `verdict.rs`; which row a machine gets is `detect.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Spanned;

use crate::Rate;

const BUILTIN: &str = include_str!("boards.toml");

/// Encoders exist for these targets, as (codec, a profile its encoder writes).
const TARGET_CODECS: [(&str, &str); 2] = [("h264", "High"), ("hevc", "Main")];

/// All known boards, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    boards: Vec<Board>,
    codecs: BTreeMap<String, CodecLimits>,
    fallback: String,
}

/// One row of the table: what a board decodes and how it shows it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Board {
    /// Short name, lower case, such as `pi4-64`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Other spellings of the id, legacy labels included.
    pub aliases: Vec<String>,
    /// Device-tree models that mean this board; spaces, case and punctuation do not count.
    pub device_tree: Vec<String>,
    /// Architectures (as `std::env::consts::ARCH` names them) that mean this board when nothing
    /// better does.
    pub architectures: Vec<String>,
    /// Whether a label naming this board is refined by the device tree.
    pub generic: bool,
    /// What it decodes.
    pub decodes: Vec<Decode>,
    /// What a variant for it is rendered to.
    pub target: Target,
    /// How mpv shows video on it.
    pub output: Output,
    /// How mpv shows video while another program uses the DRM device, where that differs.
    pub output_shared: Option<Output>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// One codec a board decodes, with all limits that hold at once.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Decode {
    /// FFmpeg's codec name.
    pub codec: String,
    /// Widest picture in pixels, as the decoder sees it (before rotation).
    pub max_width: u32,
    /// Highest picture in pixels, as the decoder sees it (before rotation).
    pub max_height: u32,
    /// Whether the decoder takes the same box standing on its side too.
    pub turned: bool,
    /// Fastest rate it keeps up with at that size.
    pub max_fps: Rate,
    /// mpv's name for the hardware decoder; `None` means software.
    pub hwdec: Option<String>,
    /// Whether hardware decodes.
    pub hardware: bool,
    /// Profiles, bit depths and chroma it takes.
    #[serde(flatten)]
    pub limits: CodecLimits,
}

/// The flavours of a codec that a decode row takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CodecLimits {
    /// FFmpeg's profile names; empty takes every profile, a nameless one too.
    pub profiles: Vec<String>,
    /// Bits per sample.
    pub bit_depths: Vec<u32>,
    /// Chroma subsamplings such as `4:2:0`.
    pub chroma: Vec<String>,
}

/// What a variant is rendered to: a codec and the largest size and rate.
///
/// Written `hevc 2160p60`, which is also its JSON form and says all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// FFmpeg's codec name: `h264` or `hevc`.
    pub codec: String,
    /// Largest width in pixels.
    pub width: u32,
    /// Largest height in pixels.
    pub height: u32,
    /// Highest rate.
    pub fps: Rate,
}

/// How mpv is told to show video.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// mpv's video output.
    pub vo: String,
    /// Further arguments for mpv.
    #[serde(default)]
    pub args: Vec<String>,
    /// Whether mpv turns the picture for a rotated screen (otherwise the compositor does).
    #[serde(default)]
    pub rotates: bool,
}

/// A picture size, written `1920x1080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Why a table of boards was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the table of boards {}", .file.display())]
    Read {
        /// The user's file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The text is not a table of boards.
    #[error("{file}:{line}: {message}")]
    Table {
        /// The file, or `boards.toml` where only a text was given.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong, naming the board.
        message: String,
    },
}

impl Table {
    /// The embedded table.
    pub fn builtin() -> Self {
        let empty = Self {
            boards: Vec::new(),
            codecs: BTreeMap::new(),
            fallback: String::new(),
        };
        match empty.with_overrides(BUILTIN) {
            Ok(table) => table,
            // The text is part of the program and a test reads it: this is a bug of the build.
            Err(error) => panic!("embedded {error}"),
        }
    }

    /// This table with the changes that `text` (in the form of `boards.toml`) makes.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn with_overrides(&self, text: &str) -> Result<Self, Error> {
        self.changed_by("boards.toml", text)
    }

    /// This table with the changes that the file at `path` makes.
    ///
    /// # Errors
    /// When the file cannot be read, and the first mistake in it with its line.
    pub fn with_file(&self, path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            file: path.to_owned(),
            source,
        })?;
        self.changed_by(&path.to_string_lossy(), &text)
    }

    /// Every board, in the order of the file; added ones follow.
    pub fn boards(&self) -> &[Board] {
        &self.boards
    }

    /// The board of that id or alias, in any case, surrounding spaces ignored.
    pub fn get(&self, id_or_alias: &str) -> Option<&Board> {
        let label = id_or_alias.trim();
        // An id wins over another board's alias, whatever their order.
        self.boards
            .iter()
            .find(|board| board.id.eq_ignore_ascii_case(label))
            .or_else(|| {
                self.boards.iter().find(|board| {
                    board
                        .aliases
                        .iter()
                        .any(|alias| alias.eq_ignore_ascii_case(label))
                })
            })
    }

    /// The conservative row for a machine nothing identifies.
    pub fn fallback(&self) -> &Board {
        // `changed_by` has checked that the id exists, and boards are never removed.
        self.get(&self.fallback).unwrap_or(&self.boards[0])
    }

    fn changed_by(&self, file: &str, text: &str) -> Result<Self, Error> {
        let source = Source { file, text };
        let changes: TableFile = toml::from_str(text)
            .map_err(|error| source.error(error.span().unwrap_or(0..0), error.message()))?;
        let mut table = self.clone();
        table.codecs.extend(changes.codecs);
        for change in changes.boards {
            let span = change.span();
            table.apply(change.into_inner(), span, &source)?;
        }
        if let Some(fallback) = changes.fallback {
            if table.get(fallback.get_ref()).is_none() {
                let message = format!("fallback names no board: {}", fallback.get_ref());
                return Err(source.error(fallback.span(), message));
            }
            table.fallback = fallback.into_inner();
        }
        if table.get(&table.fallback).is_none() {
            return Err(source.error(0..0, "no fallback board is named"));
        }
        Ok(table)
    }

    /// Adds, amends or replaces one board.
    fn apply(
        &mut self,
        change: BoardChange,
        span: Range<usize>,
        source: &Source,
    ) -> Result<(), Error> {
        let id = change.id.get_ref().clone();
        if id.is_empty()
            || !id
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
        {
            let message =
                format!("board id {id:?}: only a-z, 0-9, '-', '_' and '.' can stand in an id");
            return Err(source.error(change.id.span(), message));
        }
        let position = self.boards.iter().position(|board| board.id == id);
        let old = position
            .map(|at| &self.boards[at])
            .filter(|_| !change.replace);
        let board = change.onto(old, &self.codecs, &span, source)?;
        for name in board.aliases.iter().chain([&board.id]) {
            if let Some(other) = self
                .boards
                .iter()
                .find(|other| other.id != id && other.answers_to(name))
            {
                let message = format!(
                    "board {id}: the name {name} already belongs to board {}",
                    other.id
                );
                return Err(source.error(span, message));
            }
        }
        match position {
            Some(at) => self.boards[at] = board,
            None => self.boards.push(board),
        }
        Ok(())
    }
}

impl Board {
    /// Whether any row decodes in hardware. Where one does, only those count unless the policy
    /// allows software.
    pub fn has_hardware(&self) -> bool {
        self.decodes.iter().any(|row| row.hardware)
    }

    /// The rows that count, hardware first.
    pub fn counted(&self, allow_software: bool) -> impl Iterator<Item = &Decode> {
        let software_counts = allow_software || !self.has_hardware();
        let hardware = self.decodes.iter().filter(|row| row.hardware);
        hardware.chain(
            self.decodes
                .iter()
                .filter(move |row| software_counts && !row.hardware),
        )
    }

    /// Whether a variant may stand on its side: the row that decodes the target takes it so.
    pub(crate) fn takes_turned_target(&self) -> bool {
        self.counted(false)
            .any(|row| row.turned && row.covers(&self.target) && row.takes_our_encodes())
    }

    /// The bit depths a variant may have.
    pub(crate) fn target_bit_depths(&self) -> &[u32] {
        let row = self
            .counted(false)
            .find(|row| row.covers(&self.target) && row.takes_our_encodes());
        row.map_or(&[8], |row| &row.limits.bit_depths)
    }

    fn answers_to(&self, name: &str) -> bool {
        self.aliases
            .iter()
            .chain([&self.id])
            .any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

impl Decode {
    /// Whether both sides are within this row.
    pub fn fits(&self, width: u32, height: u32) -> bool {
        (width <= self.max_width && height <= self.max_height)
            || (self.turned && height <= self.max_width && width <= self.max_height)
    }

    fn covers(&self, target: &Target) -> bool {
        self.codec == target.codec
            && target.width <= self.max_width
            && target.height <= self.max_height
            && target.fps <= self.max_fps
    }

    /// Whether what our encoders write for `codec` is among the flavours this row takes.
    fn takes_our_encodes(&self) -> bool {
        let limits = &self.limits;
        let written = TARGET_CODECS.iter().find(|(codec, _)| *codec == self.codec);
        written.is_some_and(|(_, profile)| limits.takes_profile(Some(profile)))
            && limits.bit_depths.contains(&8)
            && limits.chroma.iter().any(|chroma| chroma == "4:2:0")
    }
}

/// For people: `h264 up to 1920x1080 at 60 fps (v4l2m2m-copy)`.
impl fmt::Display for Decode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turned = if self.turned {
            ", standing or lying,"
        } else {
            ""
        };
        let decoder = self.hwdec.as_deref().unwrap_or("in software");
        write!(
            f,
            "{} up to {}x{}{turned} at {} fps ({decoder})",
            self.codec,
            self.max_width,
            self.max_height,
            self.max_fps.decimal(),
        )
    }
}

impl CodecLimits {
    /// Whether a profile of that name is taken; a nameless one is not, unless every profile is.
    pub(crate) fn takes_profile(&self, profile: Option<&str>) -> bool {
        self.profiles.is_empty()
            || profile.is_some_and(|name| {
                self.profiles
                    .iter()
                    .any(|ours| ours.eq_ignore_ascii_case(name))
            })
    }
}

/// `hevc 2160p60`; sides other than 16:9 are written out, and a rate whose decimals do not end is
/// written as the fraction it is.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fps = self.fps.decimal();
        if fps.parse() != Ok(self.fps) {
            fps = self.fps.to_string();
        }
        if u64::from(self.width) * 9 == u64::from(self.height) * 16 {
            write!(f, "{} {}p{fps}", self.codec, self.height)
        } else {
            write!(f, "{} {}x{}@{fps}", self.codec, self.width, self.height)
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (codec, rest) = text.split_once(' ')?;
            let (size, fps) = match rest.split_once('@') {
                Some((size, fps)) => (Size::try_from(size.to_owned()).ok()?, fps),
                None => {
                    let (height, fps) = rest.split_once('p')?;
                    let height: u32 = height.parse().ok()?;
                    let width = height.checked_mul(16)? / 9;
                    (Size { width, height }, fps)
                }
            };
            Some(Self {
                codec: codec.to_owned(),
                width: size.width,
                height: size.height,
                fps: fps.parse().ok()?,
            })
        };
        read().ok_or_else(|| format!("target {text:?}: expected one such as \"hevc 2160p60\""))
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let sides = text.split_once('x').and_then(|(width, height)| {
            Some(Self {
                width: width.parse().ok()?,
                height: height.parse().ok()?,
            })
        });
        sides
            .filter(|size| size.width > 0 && size.height > 0)
            .ok_or_else(|| {
                format!("size {text:?}: expected width and height such as \"1920x1080\"")
            })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    fallback: Option<Spanned<String>>,
    #[serde(default)]
    codecs: BTreeMap<String, CodecLimits>,
    #[serde(default, rename = "board")]
    boards: Vec<Spanned<BoardChange>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardChange {
    id: Spanned<String>,
    #[serde(default)]
    replace: bool,
    name: Option<String>,
    aliases: Option<Vec<String>>,
    device_tree: Option<Vec<String>>,
    architectures: Option<Vec<String>>,
    generic: Option<bool>,
    decodes: Option<Vec<Spanned<DecodeRow>>>,
    target: Option<Spanned<TargetRow>>,
    output: Option<Output>,
    output_shared: Option<Output>,
    notes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecodeRow {
    codec: String,
    size: Size,
    fps: Rate,
    #[serde(default)]
    turned: bool,
    hwdec: Option<String>,
    profiles: Option<Vec<String>>,
    bit_depths: Option<Vec<u32>>,
    chroma: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetRow {
    codec: String,
    size: Size,
    fps: Rate,
}

impl BoardChange {
    /// The whole board: what this change says, the rest from `old`.
    fn onto(
        self,
        old: Option<&Board>,
        codecs: &BTreeMap<String, CodecLimits>,
        span: &Range<usize>,
        source: &Source,
    ) -> Result<Board, Error> {
        let id = self.id.into_inner();
        let missing = |key| source.error(span.clone(), format!("board {id}: no {key} is given"));
        let target_span = self.target.as_ref().map_or(span.clone(), Spanned::span);

        let decodes = match self.decodes {
            Some(rows) => rows
                .into_iter()
                .map(|row| {
                    let at = row.span();
                    row.into_inner()
                        .complete(codecs)
                        .map_err(|problem| source.error(at, format!("board {id}: {problem}")))
                })
                .collect::<Result<Vec<_>, _>>()?,
            None => old.map(|old| old.decodes.clone()).unwrap_or_default(),
        };
        if decodes.is_empty() {
            return Err(missing("decodes"));
        }
        let target = self.target.map(|target| target.into_inner().into());
        let board = Board {
            name: self
                .name
                .or_else(|| Some(old?.name.clone()))
                .ok_or_else(|| missing("name"))?,
            aliases: self
                .aliases
                .or_else(|| Some(old?.aliases.clone()))
                .unwrap_or_default(),
            device_tree: self
                .device_tree
                .or_else(|| Some(old?.device_tree.clone()))
                .unwrap_or_default(),
            architectures: self
                .architectures
                .or_else(|| Some(old?.architectures.clone()))
                .unwrap_or_default(),
            generic: self
                .generic
                .or_else(|| Some(old?.generic))
                .unwrap_or_default(),
            decodes,
            target: target
                .or_else(|| Some(old?.target.clone()))
                .ok_or_else(|| missing("target"))?,
            output: self
                .output
                .or_else(|| Some(old?.output.clone()))
                .ok_or_else(|| missing("output"))?,
            output_shared: self.output_shared.or_else(|| old?.output_shared.clone()),
            notes: self
                .notes
                .or_else(|| Some(old?.notes.clone()))
                .unwrap_or_default(),
            id,
        };
        check_target(&board).map_err(|problem| {
            source.error(
                target_span,
                format!("board {}: target {}: {problem}", board.id, board.target),
            )
        })?;
        Ok(board)
    }
}

impl DecodeRow {
    fn complete(self, codecs: &BTreeMap<String, CodecLimits>) -> Result<Decode, String> {
        let known = codecs.get(&self.codec);
        let codec = &self.codec;
        let missing =
            |key| format!("codec {codec}: neither the row nor [codecs.{codec}] gives {key}");
        let limits = CodecLimits {
            profiles: self
                .profiles
                .or_else(|| Some(known?.profiles.clone()))
                .ok_or_else(|| missing("profiles"))?,
            bit_depths: self
                .bit_depths
                .or_else(|| Some(known?.bit_depths.clone()))
                .ok_or_else(|| missing("bit_depths"))?,
            chroma: self
                .chroma
                .or_else(|| Some(known?.chroma.clone()))
                .ok_or_else(|| missing("chroma"))?,
        };
        Ok(Decode {
            limits,
            codec: self.codec,
            max_width: self.size.width,
            max_height: self.size.height,
            turned: self.turned,
            max_fps: self.fps,
            hardware: self.hwdec.is_some(),
            hwdec: self.hwdec,
        })
    }
}

impl From<TargetRow> for Target {
    fn from(row: TargetRow) -> Self {
        Self {
            codec: row.codec,
            width: row.size.width,
            height: row.size.height,
            fps: row.fps,
        }
    }
}

/// A variant must play on the board it was made for.
fn check_target(board: &Board) -> Result<(), String> {
    let codec = &board.target.codec;
    if !TARGET_CODECS.iter().any(|(known, _)| known == codec) {
        return Err("variants can be made in h264 and hevc only".to_owned());
    }
    let mut covering = board
        .counted(false)
        .filter(|row| row.covers(&board.target))
        .peekable();
    if covering.peek().is_none() {
        let rows: Vec<String> = board.counted(false).map(ToString::to_string).collect();
        return Err(format!(
            "the board does not decode it, only {}",
            rows.join(", ")
        ));
    }
    if !covering.any(Decode::takes_our_encodes) {
        return Err(format!(
            "the board's {codec} row does not take what the encoder writes (8 bit, 4:2:0)"
        ));
    }
    Ok(())
}

/// A text with its name, to say where a mistake stands.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Error {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        Error::Table {
            file: self.file.to_owned(),
            line,
            message: message.into(),
        }
    }
}
