//! What the server orders from a worker (a JSON file in the job's folder) and what a worker says
//! (JSON lines on its standard output).

use std::path::PathBuf;

use boards::Board;
use ladder::{Container, Part, Plan, Progress, Segment};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What to do.
    pub(crate) task: Task,
    /// Where the original can be opened.
    pub(crate) input: PathBuf,
    /// What the original is called, for messages.
    pub(crate) name: String,
    /// The process that ordered it; a worker without it ends.
    pub(crate) parent: u32,
    /// Where the worker writes its number to be in its control group, if it has one.
    #[serde(default)]
    pub(crate) group: Option<PathBuf>,
    /// Keep all rights and the usual priority. The server never orders this: it is there to be
    /// measured what giving them up does for others (`cargo xtask bench assets`).
    #[serde(default)]
    pub(crate) bare: bool,
}

/// What to do with the original.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Task {
    /// Say what is in it.
    Probe,
    /// Take a picture out of it.
    Thumbnail {
        /// The picture's width in pixels, at most.
        width: u32,
    },
    /// Cut its stream.
    Ladder {
        /// What tells the original's content from any other: its CID.
        identity: String,
        /// Length of segments in seconds.
        segment_s: f64,
        /// What the segments that are there were made by; of another stream they are no use.
        recipe: Option<String>,
        /// Those segments.
        done: Vec<Done>,
    },
    /// Make the stream of a live source.
    Live(LiveTask),
    /// Make a variant of it that a board plays.
    Render(Box<RenderTask>),
    /// Make a picture of it that fits a screen.
    Picture {
        /// The largest width in pixels.
        width: u32,
        /// The largest height in pixels.
        height: u32,
    },
}

/// A variant to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RenderTask {
    /// The row of the board that shall play it, whose target it is made to.
    pub(crate) board: Board,
    /// Whether software decoding counts on a board that has hardware decoders.
    pub(crate) allow_software: bool,
    pub(crate) settings: RenderSettings,
}

/// How variants are encoded, where they must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RenderSettings {
    /// x264's or x265's constant rate factor; `None` is the encoder's own choice.
    pub(crate) crf: Option<u8>,
    /// The preset, by x264's name.
    pub(crate) preset: String,
}

impl Default for RenderSettings {
    fn default() -> Self {
        Self {
            crf: None,
            preset: "superfast".to_owned(),
        }
    }
}

/// What was done to make a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum How {
    /// Nothing: the same bytes do.
    Copied,
    /// Only the container is another; video and sound are packet for packet the original's.
    Rewrapped {
        /// What an operator should know: tracks that were left out.
        warnings: Vec<String>,
    },
    /// Video or sound was encoded anew.
    Encoded {
        /// What decoded the video; `None` where it was copied.
        decoder: Option<String>,
        /// What encoded the video; `None` where it was copied.
        encoder: Option<String>,
        /// What encoded the sound; `None` where it was copied or there is none.
        sound: Option<String>,
        /// What an operator should know: tracks that were left out, hardware that failed, tone mapping
        /// that was not there.
        warnings: Vec<String>,
    },
}

/// A live source, and how its stream is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LiveTask {
    /// Its address. It may hold a password.
    pub(crate) source: String,
    /// Length of segments in seconds.
    pub(crate) segment_s: f64,
    /// Length of their parts in seconds, if players may have them before the segment is whole.
    pub(crate) part_s: Option<f64>,
    /// Seconds that the playlists name; `None` for everything since the beginning.
    pub(crate) window_s: Option<f64>,
    /// How segments are packed.
    pub(crate) container: Container,
    /// Where an earlier worker stopped: by what it made the stream, and what comes next.
    pub(crate) recipe: Option<String>,
    pub(crate) next: Vec<Next>,
}

/// Where a rendition goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Next {
    pub(crate) rung: String,
    /// The number of its next segment.
    pub(crate) number: u32,
    /// When that starts, in seconds.
    pub(crate) start_s: f64,
}

/// A segment that need not be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) rung: String,
    pub(crate) number: u32,
    /// Its size, which the bit rate of those after it follows from.
    pub(crate) bytes: u64,
}

/// What a worker says. Files are names in the job's folder; the worker leaves a file alone once
/// it has named it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// What is in the original.
    Probed {
        /// The probe JSON.
        probe: Value,
        /// Why it is not a video, if it is none.
        not_a_video: Option<String>,
    },
    /// The picture is there.
    Picture { file: String },
    /// A segment is looked for by the key of what makes it. Answered by an [`Answer`].
    Wanted { key: String },
    /// What will be made, and by which encoder.
    Plan { plan: Plan, made_by: String },
    /// A rung's initialisation section is there.
    Init { rung: String, file: String },
    /// A part of a segment is there.
    Part { part: Part, file: String },
    /// A segment is there.
    Segment { segment: Segment, file: String },
    /// How far it is.
    Progress(Progress),
    /// The variant or the picture is there, and was found to be what it should be.
    Rendered {
        file: String,
        /// The probe JSON of that file.
        probe: Value,
        how: How,
    },
    /// Everything was said.
    Done,
    /// It cannot be done. The message names the original.
    Failed {
        message: String,
        /// Nothing is wrong but that the disk is full.
        #[serde(default)]
        full: bool,
    },
}

/// What the server says to [`Event::Wanted`], on the socket that is the worker's standard output:
/// this as a line of JSON, then the bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Size of the segment; 0 when there is none.
    pub(crate) bytes: usize,
    /// Size of its initialisation section, which comes after it.
    pub(crate) init: Option<usize>,
    pub(crate) start: f64,
    pub(crate) duration: f64,
    pub(crate) codecs: String,
}

impl Answer {
    /// No honest segment comes near this.
    pub(crate) const LARGEST: usize = 1 << 30;
}

impl Order {
    /// A file in the job's folder that tells a live worker to end its stream in order.
    pub(crate) const END: &str = "end";

    /// The order's file in the job's folder.
    pub(crate) const FILE: &str = "order.json";

    /// Where a child finds its standard input again, with a position of its own.
    pub(crate) const STANDARD_INPUT: &str = "/proc/self/fd/0";
}

impl Task {
    /// Its name on the worker's command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Thumbnail { .. } => "thumbnail",
            Self::Ladder { .. } => "ladder",
            Self::Live(_) => "live",
            Self::Render(_) => "render",
            Self::Picture { .. } => "picture",
        }
    }
}
