//! A ladder that a program feeds picture by picture.
//!
//! The run has a thread of its own; between it and the caller stand a few pictures and no more.
//! When they are there, giving another one waits: memory stays bounded however fast pictures are
//! made, and whoever makes them goes at the encoders' pace.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use media::{Frame, FramePool};

use crate::input::RawFormat;
use crate::{Error, Input, Options, Report, Result, Sink};

/// Pictures between the caller and the run.
const WAITING: usize = 2;

/// What a program's pictures are and what is made of them.
#[derive(Debug, Clone)]
pub struct Config {
    /// Format, size and rate of all pictures. Where they come with times the rate is only what they
    /// come at usually.
    pub format: RawFormat,
    /// Whether each picture comes with its time; else they are evenly spaced.
    pub timed: bool,
    /// A file whose sound goes with the pictures. The stream ends with the shorter of the two.
    pub audio: Option<PathBuf>,
    /// As for a file.
    pub options: Options,
}

/// A picture that its owner keeps.
#[derive(Debug, Clone, Copy)]
pub struct PictureRef<'a> {
    /// FFmpeg's name of the pixel format.
    pub format: &'a str,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The samples of each plane, from the first row to the end of the last.
    pub planes: &'a [&'a [u8]],
    /// Bytes from one row of each plane to the next.
    pub strides: &'a [usize],
    /// When it is shown, in seconds on any clock; `None` where pictures are evenly spaced.
    pub pts_s: Option<f64>,
}

/// A picture on its way, with its time.
pub type Pushed = (Frame, Option<f64>);

/// The run's end of it.
#[derive(Debug)]
pub struct Frames {
    pub(crate) pictures: Receiver<Pushed>,
    pub(crate) format: RawFormat,
    pub(crate) timed: bool,
    pub(crate) audio: Option<PathBuf>,
}

/// A running ladder. Dropping it without [`Ladder::finish`] cancels the run.
#[derive(Debug)]
pub struct Ladder {
    pictures: Option<SyncSender<Pushed>>,
    run: Option<JoinHandle<Result<Report>>>,
    cancel: Arc<AtomicBool>,
    /// What came of a run that ended before it was asked to.
    ended: Option<Report>,
    format: RawFormat,
    pool: FramePool,
    count: u64,
    timed: bool,
}

impl Ladder {
    /// Starts a run that delivers to `sink`. Nothing is made before the first picture.
    ///
    /// # Errors
    /// When there is no thread or memory to be had.
    pub fn new(config: Config, mut sink: impl Sink + Send + 'static) -> Result<Ladder> {
        let Config {
            format,
            timed,
            audio,
            options,
        } = config;
        let pool = FramePool::new(format.width, format.height, format.format)?;
        let (sender, pictures) = mpsc::sync_channel(WAITING);
        let cancel = Arc::new(AtomicBool::new(false));
        let cancelled = Arc::clone(&cancel);
        let input = Input::Frames(Frames {
            pictures,
            format,
            timed,
            audio,
        });
        let run = std::thread::Builder::new()
            .name("ladder".to_string())
            .spawn(move || crate::run(input, &options, &mut sink, &cancelled))
            .map_err(Error::Sink)?;
        Ok(Ladder {
            pictures: Some(sender),
            run: Some(run),
            cancel,
            ended: None,
            format,
            pool,
            count: 0,
            timed,
        })
    }

    /// Gives the next picture; its samples are copied. Waits while the run has enough to do. False
    /// when the stream has ended with its sound and takes no more.
    ///
    /// # Errors
    /// [`Error::Pictures`] for a picture that is not what was announced, after which the next may be
    /// given; whatever ended the run.
    pub fn write_frame(&mut self, picture: &PictureRef<'_>) -> Result<bool> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let frame = self.copy(picture)?;
        match (self.timed, picture.pts_s) {
            (true, None) => return Err(self.unfit("it has no time")),
            (false, Some(_)) => return Err(self.unfit("it has a time, and the others have none")),
            (true, Some(_)) | (false, None) => {}
        }
        let given = match &self.pictures {
            Some(pictures) => pictures.send((frame, picture.pts_s)).is_ok(),
            None => false,
        };
        if !given {
            self.ended = Some(self.join()?);
            return Ok(false);
        }
        self.count += 1;
        Ok(true)
    }

    /// Says that all pictures were given, and waits for the rest of the stream.
    ///
    /// # Errors
    /// Whatever ended the run.
    pub fn finish(mut self) -> Result<Report> {
        match self.ended.take() {
            Some(report) => Ok(report),
            None => self.join(),
        }
    }

    /// Ends the run as it is; what was delivered stays.
    pub fn cancel(self) {}

    /// Pictures taken so far.
    pub fn frames(&self) -> u64 {
        self.count
    }

    fn join(&mut self) -> Result<Report> {
        self.pictures = None;
        let Some(run) = self.run.take() else {
            return Err(Error::Cancelled);
        };
        run.join().unwrap_or_else(|_| {
            let reason = "the run broke off by a fault in Kinora".to_string();
            let name = self.name();
            Err(Error::Pictures { name, reason })
        })
    }

    fn copy(&self, picture: &PictureRef<'_>) -> Result<Frame> {
        let format = &self.format;
        let given = RawFormat::new(picture.format, picture.width, picture.height, format.rate)?;
        if given != *format {
            let reason = format!("a picture of {given} in a stream of {format}");
            return Err(self.unfit(&reason));
        }
        let mut frame = self.pool.frame()?;
        for plane in 0..format.format.planes() {
            let extent = format.format.plane(plane, format.width, format.height);
            let (Some((row, rows)), Some((target, stride))) = (extent, frame.plane_mut(plane))
            else {
                continue;
            };
            let source = picture.planes.get(plane).copied().unwrap_or_default();
            let step = picture.strides.get(plane).copied().unwrap_or(row);
            let needed = step
                .saturating_mul(rows.saturating_sub(1))
                .saturating_add(row);
            if step < row || source.len() < needed {
                let reason = format!("plane {plane} has {} of {needed} bytes", source.len());
                return Err(self.unfit(&reason));
            }
            for (from, to) in source
                .chunks(step)
                .zip(target.chunks_mut(stride))
                .take(rows)
            {
                to[..row].copy_from_slice(&from[..row]);
            }
        }
        Ok(frame)
    }

    fn unfit(&self, reason: &str) -> Error {
        Error::Pictures {
            name: self.name(),
            reason: reason.to_string(),
        }
    }

    fn name(&self) -> String {
        format!("picture {}", self.count)
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.pictures = None;
        if let Some(run) = self.run.take() {
            // Its outcome was asked for in `finish`, or nobody wants it.
            let _ = run.join();
        }
    }
}
