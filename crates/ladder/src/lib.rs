//! A video file becomes an adaptive HLS stream: choose rungs, cut segments, write playlists.
//!
//! [`run`] decodes the file once and makes all rungs at the same time. The unit of work is one
//! segment of one rung, encoded by one thread from the first frame of the segment, so its bytes
//! depend on the file and the options alone: never on how many workers there were, on what was
//! finished before, or on whether an earlier run was killed. Finished segments go to a [`Sink`] in
//! order; a [`Publisher`] is the one that keeps a stream, and [`DirSink`] writes it to a folder.
//!
//! Nothing here knows about storage, HTTP or databases, and nothing is written but what the sink
//! writes. Decoding and encoding are `media`'s. Times are 90 kHz ticks inside and seconds outside.

#![forbid(unsafe_code)]

pub mod check;
pub mod playlist;
pub mod rate;
mod rung_file;
mod rungs;

mod audio;
mod av1;
mod beside;
mod bits;
mod cache;
mod cmaf;
mod copy;
mod dash;
mod error;
mod feed;
mod folder;
mod h264;
mod headers;
mod hevc;
mod iframes;
mod input;
mod key;
mod language;
mod live;
mod mpegts;
mod per_title;
mod pipeline;
mod plan;
pub mod publish;
mod push;
mod raw;
mod reuse;
mod sample;
mod sink;
mod source;
mod subtitles;
mod thumbnails;
mod timeline;
mod unit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use cache::{CachedUnit, UnitCache};
pub use dash::Clock;
pub use error::{Error, Result};
pub use folder::{DirSink, Folder};
pub use headers::Codec;
pub use iframes::find as key_pictures;
pub use input::{EndFn, Input, Live, Pipe, RawFormat};
pub use media::Rational;
pub use plan::Plan;
pub use playlist::{Rendition, SegmentInfo};
pub use publish::Publisher;
pub use push::{Config, Frames, Ladder, PictureRef};
pub use rung_file::{RungSpec, read as read_rungs};
pub use rungs::{Rung, encoders};
pub use sink::{Part, Progress, Segment, Sink};

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
    /// Further options of the encoder by FFmpeg's names; they win over the ladder's own.
    pub encoder_options: BTreeMap<String, String>,
    /// Threads that decode and encode. `None`: as many as cores and memory allow.
    pub workers: Option<usize>,
    /// How the file is opened: deadline and picture size limits.
    pub open: media::OpenOptions,
    /// The codecs that the usual rungs are made in. All but H.264 need CMAF.
    pub codecs: Vec<Codec>,
    /// Rungs in place of the usual ones.
    pub rungs: Option<Vec<RungSpec>>,
    /// Whether a trial of a few samples lowers the rates of rungs that need less, and drops rungs that
    /// are no use then. It reads the file once more.
    pub per_title: bool,
    /// Whether there are thumbnails for seeking, a few for each segment.
    pub thumbnails: bool,
    /// Duration of a part in seconds: segments are also delivered in parts while they are made, for
    /// Low-Latency HLS. `None`: whole segments only.
    pub part_s: Option<f64>,
    /// Seconds of the stream that its playlists name; what fell out is forgotten. `None`: all of it.
    pub live_window: Option<f64>,
    /// What the input is, if the caller knows: its CID or another hash of its content. Part of each
    /// unit's key. `None`: the file's SHA-256 where there is a cache to ask, else no keys.
    pub identity: Option<String>,
    /// Units that were made before, of this input or another; see [`UnitCache`].
    pub cached: Option<Arc<dyn UnitCache>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_s: 4.0,
            container: Container::Ts,
            preset: "veryfast".to_string(),
            copy_source: true,
            encoder: None,
            encoder_options: BTreeMap::new(),
            workers: None,
            open: media::OpenOptions::default(),
            codecs: vec![Codec::H264],
            rungs: None,
            per_title: false,
            thumbnails: true,
            part_s: None,
            live_window: None,
            identity: None,
            cached: None,
        }
    }
}

/// What was made of one rendition in this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Its name: the rung's, `audio`, `subtitles`, `thumbnails`.
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
/// was delivered before stays delivered, and the sink can say so next time ([`Sink::done`]).
///
/// # Errors
///
/// Anything that makes the file unusable as a whole, naming the file; a failed delivery; a cancel.
/// Damage in the middle of the file is survived and reported in [`Report::warnings`].
pub fn run(
    input: impl Into<Input>,
    options: &Options,
    sink: &mut dyn Sink,
    cancel: &AtomicBool,
) -> Result<Report> {
    let mut leave = Leave::default();
    let prepared = match input.into() {
        Input::File(file) => {
            let mut prepared = plan::prepare(&file, options, cancel)?;
            if options.per_title {
                per_title::fit(&mut prepared, options, cancel)?;
            }
            prepared
        }
        Input::Pipe(pipe) => plan::prepare_stream(feed::pipe(pipe, cancel)?, options, cancel)?,
        Input::Frames(frames) => plan::prepare_stream(feed::frames(frames), options, cancel)?,
        Input::Live(mut live) => {
            leave.ended = live.ends.take();
            let interrupt = Arc::clone(&leave.interrupt);
            leave.watch(cancel, || {
                let incoming = live::open(&live, options, Arc::clone(&interrupt))?;
                plan::prepare_stream(Some(incoming), options, &interrupt)
            })?
        }
    };
    pipeline::run(prepared, options, leave, sink, cancel)
}

/// How whatever waits for the network is made to give up.
#[derive(Default)]
pub(crate) struct Leave {
    interrupt: Arc<AtomicBool>,
    ended: Option<EndFn>,
}

impl Leave {
    /// Ends what waits, if its end was asked for.
    fn look(&self) {
        if self.ended.as_ref().is_some_and(|ended| ended()) {
            self.now();
        }
    }

    fn now(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
    }

    /// Does something that waits for the network, unless it is cancelled or ended meanwhile.
    fn watch<T: Send>(
        &self,
        cancel: &AtomicBool,
        wait: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(wait);
            while !waiting.is_finished() {
                self.look();
                if cancel.load(Ordering::Relaxed) {
                    self.now();
                }
                std::thread::sleep(HEARTBEAT);
            }
            let outcome = waiting.join().unwrap_or(Err(Error::Cancelled));
            match self.interrupt.load(Ordering::Relaxed) {
                true => Err(Error::Cancelled),
                false => outcome,
            }
        })
    }
}

/// How soon a cancel is seen.
const HEARTBEAT: Duration = Duration::from_millis(50);
