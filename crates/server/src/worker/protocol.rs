//! What the server orders from a worker (a JSON file in the job's folder) and what a worker says
//! (JSON lines on its standard output).

use std::path::PathBuf;

use ladder::{Plan, Progress};
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
        /// Length of segments in seconds.
        segment_s: f64,
        /// Segments that are there.
        done: Vec<Done>,
    },
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
    /// What will be made, and by which encoder.
    Plan { plan: Plan, made_by: String },
    /// A rung's initialisation section is there.
    Init { rung: String, file: String },
    /// A segment is there.
    Segment {
        rung: String,
        number: u32,
        start_s: f64,
        duration_s: f64,
        codecs: String,
        file: String,
    },
    /// How far it is.
    Progress(Progress),
    /// Everything was said.
    Done,
    /// It cannot be done. The message names the original.
    Failed { message: String },
}

impl Order {
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
        }
    }
}
