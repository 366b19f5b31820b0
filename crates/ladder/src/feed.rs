//! Pictures that come once and whose end is not known: a pipe's, a program's, a live source's (`live`).
//!
//! A feed gives them in the order in which they are shown, with times that rise from 0. Jumps of the
//! clock are closed here, as `timeline` does for packets.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use media::{ColourTreatment, Frame, Rational, VideoChain};

use crate::Result;
use crate::input::{Pipe, RawFormat};
use crate::live::SoundQueue;
use crate::push::Frames;
use crate::raw::{RawReader, Taken};
use crate::sample::TICKS;
use crate::timeline::{FrameClock, TICK, Timeline, to_ticks};

/// How soon a stop is seen.
const PATIENCE: Duration = Duration::from_millis(50);

/// What comes next.
#[derive(Debug)]
pub enum Fed {
    /// A picture and when it is shown.
    Picture(Frame, i64),
    /// Something is missing before the next picture.
    Gap,
    /// Something happened that its owner wants to know.
    Notice(String),
    /// Nothing more.
    End,
    /// The run is being stopped.
    Stopped,
}

/// Where pictures come from.
pub trait Feed: std::fmt::Debug + Send {
    /// The next picture, waiting for it.
    fn next(&mut self, stop: &AtomicBool) -> Result<Fed>;
    /// What was odd, in words.
    fn warnings(&self) -> Vec<String>;
}

/// A feed and what must be known of its pictures before the first.
#[derive(Debug)]
pub struct Incoming {
    /// How messages call it.
    pub name: String,
    pub feed: Box<dyn Feed>,
    /// Pictures per second, usually or, if `constant`, always.
    pub rate: Rational,
    pub constant: bool,
    /// Shape of a pixel.
    pub aspect: Rational,
    /// What is done to the pictures, if anything.
    pub chain: Option<VideoChain>,
    /// Whether the chain changes the sides.
    pub turned: bool,
    /// A file that has the sound.
    pub audio: Option<PathBuf>,
    /// Sound that comes with the pictures.
    pub live_sound: Option<SoundQueue>,
    /// Whether the source goes at its own pace.
    pub live: bool,
}

/// A pipe as a feed. `None` when the run was stopped before there was anything.
pub fn pipe(mut pipe: Pipe, stop: &AtomicBool) -> Result<Option<Incoming>> {
    let (name, audio) = (pipe.name.clone(), pipe.audio.take());
    let Some(reader) = RawReader::open(pipe, stop)? else {
        return Ok(None);
    };
    let header = reader.header.clone();
    let deinterlacer = ["bwdif", "yadif"]
        .into_iter()
        .find(|name| media::has_filter(name));
    let chain = header
        .fields
        .zip(deinterlacer)
        .map(|(parity, filter)| VideoChain {
            description: format!("{filter}=mode=send_frame:parity={parity}:deint=all"),
            colour: ColourTreatment::Unchanged,
            deinterlaces: true,
        });
    let leftover = None;
    Ok(Some(Incoming {
        name,
        feed: Box::new(RawFeed { reader, leftover }),
        rate: header.format.rate,
        constant: true,
        aspect: header.aspect,
        chain,
        turned: false,
        audio,
        live_sound: None,
        live: false,
    }))
}

/// A program's pictures as a feed.
pub fn frames(frames: Frames) -> Option<Incoming> {
    let audio = frames.audio.clone();
    let (rate, constant) = (frames.format.rate, !frames.timed);
    Some(Incoming {
        name: "the program's pictures".to_string(),
        feed: Box::new(PushFeed::new(frames)),
        rate,
        constant,
        aspect: Rational::ONE,
        chain: None,
        turned: false,
        audio,
        live_sound: None,
        live: false,
    })
}

/// A pipe's pictures, evenly spaced.
#[derive(Debug)]
struct RawFeed {
    reader: RawReader,
    leftover: Option<(usize, usize)>,
}

impl Feed for RawFeed {
    fn next(&mut self, stop: &AtomicBool) -> Result<Fed> {
        let number = self.reader.count;
        Ok(match self.reader.next(stop)? {
            Taken::Picture(frame) => Fed::Picture(frame, nth(number, &self.reader.header.format)),
            Taken::Stopped => Fed::Stopped,
            Taken::End(leftover) => {
                self.leftover = leftover;
                Fed::End
            }
        })
    }

    fn warnings(&self) -> Vec<String> {
        let text = |(had, needed)| {
            format!("the last picture has {had} of {needed} bytes and was left out")
        };
        self.leftover.map(text).into_iter().collect()
    }
}

/// A program's pictures.
#[derive(Debug)]
struct PushFeed {
    frames: Frames,
    count: u64,
    timeline: Timeline,
    /// Set by the first picture that has a time.
    clock: Option<FrameClock>,
    dropped: u32,
}

impl PushFeed {
    fn new(frames: Frames) -> PushFeed {
        let nominal = to_ticks(1, frames.format.rate.inverse());
        PushFeed {
            timeline: Timeline::new("", TICK, nominal),
            frames,
            count: 0,
            clock: None,
            dropped: 0,
        }
    }

    /// A picture's time: given, or its number.
    fn time(&mut self, pts_s: Option<f64>) -> Option<i64> {
        let Some(pts_s) = pts_s else {
            return Some(nth(self.count, &self.frames.format));
        };
        // What is no number, or absurd, becomes the end of the range, and a jump that is closed.
        let given = (pts_s * TICKS as f64).round() as i64;
        let pts = self.timeline.moved(given.clamp(i64::MIN / 8, i64::MAX / 8));
        let nominal = to_ticks(1, self.frames.format.rate.inverse());
        let clock = self
            .clock
            .get_or_insert_with(|| FrameClock::new(TICK, pts, nominal));
        clock.next(Some(pts))
    }
}

impl Feed for PushFeed {
    fn next(&mut self, stop: &AtomicBool) -> Result<Fed> {
        while !stop.load(Ordering::Relaxed) {
            match self.frames.pictures.recv_timeout(PATIENCE) {
                Ok((frame, pts_s)) => {
                    let time = self.time(pts_s);
                    self.count += 1;
                    match time {
                        Some(pts) => return Ok(Fed::Picture(frame, pts)),
                        None => self.dropped += 1,
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Fed::End),
            }
        }
        Ok(Fed::Stopped)
    }

    fn warnings(&self) -> Vec<String> {
        let repaired = self.clock.as_ref().map_or(0, |clock| clock.repaired);
        counted(&[
            (
                self.timeline.jumps,
                "jumps of the pictures' times were closed",
            ),
            (
                repaired,
                "pictures had no usable time and were put after the one before",
            ),
            (
                self.dropped,
                "pictures came less than a millisecond after the one before and were left out",
            ),
        ])
    }
}

/// What was odd and happened at all, with how often it did.
pub fn counted(oddities: &[(u32, &str)]) -> Vec<String> {
    let happened = oddities.iter().filter(|(count, _)| *count > 0);
    happened
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
}

/// When the picture of this number is shown.
fn nth(number: u64, format: &RawFormat) -> i64 {
    let Rational { num, den } = format.rate.inverse();
    to_ticks(
        i64::try_from(number).unwrap_or(i64::MAX),
        Rational::new(num, den),
    )
}
