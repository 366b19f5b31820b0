//! A video file becomes an adaptive HLS stream: choose rungs, cut segments, write playlists.
//!
//! [`run`] decodes the file once and makes all rungs at the same time. The unit of work is one
//! segment of one rung, encoded by one thread from the first frame of the segment, so its bytes
//! depend on the file and the options alone: never on how many workers there were, on what was
//! finished before, or on whether an earlier run was killed. Finished segments go to a [`Sink`] in
//! order; [`DirSink`] writes a folder that any web server can serve.
//!
//! Nothing here knows about storage, HTTP or databases, and nothing is written but what the sink
//! writes. Decoding and encoding are `media`'s. Times are 90 kHz ticks inside and seconds outside.

#![forbid(unsafe_code)]

pub mod check;
pub mod playlist;
pub mod rate;
mod rungs;

mod audio;
mod cmaf;
mod copy;
mod error;
mod h264;
mod mpegts;
mod pipeline;
mod plan;
mod sample;
mod sink;
mod source;
mod timeline;
mod unit;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

pub use error::{Error, Result};
pub use plan::Plan;
pub use playlist::{Rendition, SegmentInfo};
pub use rungs::Rung;
pub use sink::{DirSink, Progress, Segment, Sink};

/// How segments are packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// MPEG transport stream with the sound in every rung. Plays everywhere.
    #[default]
    Ts,
    /// Fragmented MP4 (CMAF, ISO/IEC 23000-19) with the sound once, as a rendition of its own.
    Cmaf,
}

impl Container {
    /// File name ending of a segment, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Container::Ts => "ts",
            Container::Cmaf => "m4s",
        }
    }
}

/// What to make, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Wanted duration of a segment in seconds, 1 to 30.
    pub segment_s: f64,
    /// How segments are packed.
    pub container: Container,
    /// Encoder preset; the smallest rungs take a slower one (see [`Rung::preset`]).
    pub preset: String,
    /// Whether a source that already fits is copied into its rung instead of being encoded.
    pub copy_source: bool,
    /// FFmpeg's name of the H.264 encoder. `None`: the first hardware encoder that really works on
    /// this machine, else libx264. Only libx264 gives the same bytes again.
    pub encoder: Option<String>,
    /// Threads that decode and encode. `None`: as many as cores and memory allow.
    pub workers: Option<usize>,
    /// Segments by (rung name, index) that an earlier run of the same file and options delivered, with
    /// the size of each in bytes. They are neither made nor delivered again; the audio rendition is
    /// called `audio`.
    pub done: HashMap<(String, u32), u64>,
    /// How the file is opened: deadline and picture size limits.
    pub open: media::OpenOptions,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_s: 4.0,
            container: Container::Ts,
            preset: "veryfast".to_string(),
            copy_source: true,
            encoder: None,
            workers: None,
            done: HashMap::new(),
            open: media::OpenOptions::default(),
        }
    }
}

/// What was made of one rendition in this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Rung name, or `audio`.
    pub name: String,
    /// Segments delivered, without those that were already done.
    pub segments: u32,
    /// Bytes delivered.
    pub bytes: u64,
    /// Whether the source's own packets were used.
    pub copied: bool,
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Duration of the stream in seconds.
    pub duration_s: f64,
    /// FFmpeg's name of the encoder used; empty when nothing had to be encoded.
    pub encoder: String,
    /// What each rendition got.
    pub renditions: Vec<Made>,
    /// What was odd about the file and survived, in words for its owner.
    pub warnings: Vec<String>,
}

/// Makes the ladder of `input` and delivers it to `sink`, on the calling thread.
///
/// Setting `cancel` ends the run with [`Error::Cancelled`] within about a tenth of a second; what
/// was delivered before stays delivered and can be named in [`Options::done`] next time.
///
/// # Errors
///
/// Anything that makes the file unusable as a whole, naming the file; a failed delivery; a cancel.
/// Damage in the middle of the file is survived and reported in [`Report::warnings`].
pub fn run(
    input: &Path,
    options: &Options,
    sink: &mut dyn Sink,
    cancel: &AtomicBool,
) -> Result<Report> {
    let prepared = plan::prepare(input, options, cancel)?;
    pipeline::run(prepared, options, sink, cancel)
}
