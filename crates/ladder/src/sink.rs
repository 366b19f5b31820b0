//! Where finished segments go: the [`Sink`] trait.
//!
//! The pipeline calls a sink on one thread, each rendition's segments in order. A sink decides
//! what is durable and when a playlist may name a segment; [`crate::Publisher`] is the one that keeps
//! streams.

use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::playlist::KeyPicture;
use crate::{Plan, Report};

/// One finished segment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// Rung name, or `audio`.
    pub rung: String,
    /// Place in the playlist, from 0.
    pub index: u32,
    /// Start in the stream, in seconds.
    pub start: f64,
    /// Measured duration in seconds.
    pub duration: f64,
    /// Codecs in it (RFC 6381), taken from the parameter sets; the same for all of a rendition.
    pub codecs: String,
    /// The whole file; not part of the segment as text.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// Hash over everything that decides the bytes (see [`crate::UnitCache`]); empty where the input
    /// has no identity.
    pub key: String,
    /// Whether something is missing between the segment before and this one (EXT-X-DISCONTINUITY).
    pub discontinuity: bool,
    /// When its first picture was taken or came in, in seconds since 1970: live sources only.
    pub date: Option<f64>,
    /// When its last picture came in, in seconds since 1970: what publishing adds is counted from here.
    pub entered: Option<f64>,
    /// Key pictures of a video segment.
    pub iframes: Vec<KeyPicture>,
}

/// A piece of a segment that is still being made (EXT-X-PART). A segment's parts one after another
/// are the bytes that [`Sink::segment`] then gets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Rung name, or `audio`.
    pub rung: String,
    /// The segment that it is part of.
    pub segment: u32,
    /// Place in the segment, from 0.
    pub index: u32,
    /// Measured duration in seconds.
    pub duration: f64,
    /// Whether decoding can start here.
    pub independent: bool,
    /// Codecs in it, as in the segment.
    pub codecs: String,
    /// The piece; not part of the part as text.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// As in the segment, which has its first picture's.
    pub discontinuity: bool,
    /// As in the segment.
    pub date: Option<f64>,
    /// When its last picture came in, as in the segment.
    pub entered: Option<f64>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Share of the whole work that is done, 0 to 1; `None` while the end is unknown.
    pub fraction: Option<f64>,
    /// Seconds of the stream that are made.
    pub media_s: f64,
    /// Seconds of the stream made per second, over this run.
    pub speed: f64,
    /// Seconds until the end at this speed; `None` before there is a speed or while the end is unknown.
    pub eta_s: Option<f64>,
}

/// Receives a run's output. An error from any method ends the run with that error.
pub trait Sink {
    /// Called once, before anything else, with what will be made.
    fn plan(&mut self, plan: &Plan) -> io::Result<()>;
    /// Asked after [`Sink::plan`]: the segments of this very plan, by rung and index, that are there
    /// already, with the size of each in bytes. They are neither made nor delivered again.
    fn done(&mut self) -> HashMap<(String, u32), u64> {
        HashMap::new()
    }
    /// The initialisation segment of a rendition, before its first segment (CMAF only).
    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()>;
    /// The next part of a rendition's next segment; only where [`crate::Options::part_s`] asks for parts.
    fn part(&mut self, part: Part) -> io::Result<()> {
        let _ = part;
        Ok(())
    }
    /// The next segment of a rendition.
    fn segment(&mut self, segment: Segment) -> io::Result<()>;
    /// How far the run is, a few times a second.
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        let _ = progress;
        Ok(())
    }
    /// Something happened that somebody who watches wants to know: a live source was lost, or found.
    fn notice(&mut self, text: &str) -> io::Result<()> {
        let _ = text;
        Ok(())
    }
    /// Called once, after the last segment of a run that succeeded.
    fn end(&mut self, report: &Report) -> io::Result<()>;
}
