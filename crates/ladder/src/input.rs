//! Where a run's pictures and sound come from.
//!
//! A file can be read again, so everything about it is known before anything is made. A pipe, a
//! program's frames and a live source come once: their end is not known, and what they give is cut
//! as it comes (`source`).

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use media::{PixelFormat, Rational};

use crate::push::Frames;
use crate::{Error, Result};

/// What a ladder is made of.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// A file, read as often as it takes.
    File(PathBuf),
    /// Uncompressed pictures, one after another.
    Pipe(Pipe),
    /// Pictures that a program gives one by one, see [`crate::Ladder`].
    Frames(Frames),
    /// A source on the network.
    Live(Live),
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Input {
        Input::File(path.to_path_buf())
    }
}

impl From<&PathBuf> for Input {
    fn from(path: &PathBuf) -> Input {
        Input::File(path.clone())
    }
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Input {
        Input::File(path)
    }
}

impl From<Pipe> for Input {
    fn from(pipe: Pipe) -> Input {
        Input::Pipe(pipe)
    }
}

impl From<Live> for Input {
    fn from(live: Live) -> Input {
        Input::Live(live)
    }
}

/// A source on the network, pulled from its address.
pub struct Live {
    /// `rtmp://`, `rtmps://`, `rtsp://`, `rtsps://` or `srt://`.
    pub address: String,
    /// The longest that connecting may take.
    pub connect: Duration,
    /// The longest silence before the source counts as lost.
    pub silence: Duration,
    /// How long a lost source is looked for before the stream ends. Zero: it ends at once.
    pub reconnect: Duration,
    /// Asked a few times a second: whether the stream shall end in order, as if the source had ended.
    pub ends: Option<EndFn>,
}

/// See [`Live::ends`].
pub type EndFn = Box<dyn Fn() -> bool + Send + Sync>;

impl Live {
    /// A source with the usual patience: 10 s to connect, 10 s of silence, a minute to come back.
    pub fn new(address: impl Into<String>) -> Live {
        Live {
            address: address.into(),
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            reconnect: Duration::from_secs(60),
            ends: None,
        }
    }

    /// Whether this is an address of a live source, by its scheme.
    pub fn is_address(text: &str) -> bool {
        let scheme = text
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        scheme.is_some_and(|scheme| media::LIVE_SCHEMES.contains(&scheme.as_str()))
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password or a key.
        f.debug_struct("Live")
            .field("connect", &self.connect)
            .field("silence", &self.silence)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

/// Uncompressed pictures that are read once: Y4M, which says what it is, or raw samples.
#[derive(Debug)]
pub struct Pipe {
    /// How messages call it.
    pub name: String,
    /// Anything that can be waited for: a pipe, a socket, a file.
    pub source: File,
    /// What the samples are; `None` for Y4M.
    pub raw: Option<RawFormat>,
    /// A file whose sound goes with the pictures. The stream ends with the shorter of the two.
    pub audio: Option<PathBuf>,
}

impl Pipe {
    /// Standard input.
    ///
    /// # Errors
    /// When it is closed.
    pub fn stdin(raw: Option<RawFormat>) -> io::Result<Pipe> {
        Ok(Pipe {
            name: "standard input".to_string(),
            source: File::from(io::stdin().as_fd().try_clone_to_owned()?),
            raw,
            audio: None,
        })
    }
}

/// What uncompressed pictures are.
#[derive(Clone, Copy, PartialEq)]
pub struct RawFormat {
    pub(crate) format: PixelFormat,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rate: Rational,
}

impl RawFormat {
    /// Names of pixel formats that are worth mentioning; FFmpeg's others work as well.
    pub const NAMES: [&'static str; 6] =
        ["rgb24", "rgba", "yuv420p", "nv12", "yuv420p10le", "p010le"];

    /// Pictures of the format of this name, planes one after another, rows without gaps, at `rate`
    /// per second.
    ///
    /// # Errors
    /// [`Error::Format`] for what cannot be.
    pub fn new(format: &str, width: u32, height: u32, rate: Rational) -> Result<RawFormat> {
        let wrong = |reason: String| Error::Format { reason };
        let name = match format {
            "p010" => "p010le",
            "yuv420p10" => "yuv420p10le",
            name => name,
        };
        let found = PixelFormat::from_name(name).filter(|format| format.plane(0, 16, 16).is_some());
        let format = found.ok_or_else(|| wrong(format!("no such pixel format: {format}")))?;
        if format.plane(1, 16, 16).is_some() != (format.planes() > 1) {
            return Err(wrong(format!(
                "no pixel format for pipes: {}",
                format.name()
            )));
        }
        if width == 0 || height == 0 || width > 16_384 || height > 16_384 {
            return Err(wrong(format!("no such picture size: {width}x{height}")));
        }
        if !rate.is_positive() || rate.to_f64() > 1000.0 {
            let (num, den) = (rate.num, rate.den);
            return Err(wrong(format!(
                "{num}/{den} pictures per second: more than 0 and at most 1000"
            )));
        }
        let rate = rate.reduced();
        Ok(RawFormat {
            format,
            width,
            height,
            rate,
        })
    }

    /// FFmpeg's name of the pixel format.
    pub fn name(&self) -> &'static str {
        self.format.name()
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Bytes in a row and rows of each plane.
    pub fn planes(&self) -> Vec<(usize, usize)> {
        let planes = 0..self.format.planes();
        let plane = |plane| self.format.plane(plane, self.width, self.height);
        planes.filter_map(plane).collect()
    }

    /// Bytes of a picture.
    pub(crate) fn bytes(&self) -> usize {
        self.planes().iter().map(|(row, rows)| row * rows).sum()
    }
}

impl fmt::Display for RawFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} {}", self.width, self.height, self.format.name())
    }
}

impl fmt::Debug for RawFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}/{}", self.rate.num, self.rate.den)
    }
}
