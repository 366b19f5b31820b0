//! What `kinora ladder` reads: a file, uncompressed pictures on standard input, or a live source; and
//! what goes with pictures that come at their own pace.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ladder::{Input, Live, Options, Pipe, RawFormat};
use media::Rational;

use crate::shown;

/// The input and what must be said of it.
#[derive(clap::Args)]
pub struct PicturesArgs {
    /// The file; `-` for Y4M or raw video on standard input; or a live source: rtmp://, rtsp:// or
    /// srt://
    input: PathBuf,
    /// Standard input is raw video of this pixel format: rgb24, rgba, yuv420p, nv12, yuv420p10le,
    /// p010le or another one by FFmpeg's name
    #[arg(long, value_name = "FORMAT", requires = "size", requires = "fps")]
    raw: Option<String>,
    /// Size of raw pictures
    #[arg(long, value_name = "WxH", value_parser = size, requires = "raw")]
    size: Option<(u32, u32)>,
    /// Raw pictures per second: 25 or 30000/1001
    #[arg(long, value_name = "N/D", value_parser = fps, requires = "raw")]
    fps: Option<Rational>,
    /// A file whose sound goes with the pictures on standard input; the shorter of the two ends the
    /// stream
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// How long a live source that was lost is looked for before the stream ends
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(0..=86400))]
    reconnect: u64,
    /// The playlists of pictures that come at their own pace name the last so many seconds, and what
    /// fell out of them goes [default: all is named and stays]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(10..=86400))]
    live_window: Option<u32>,
    /// Publish parts of so many seconds while a segment is made (Low-Latency HLS), 0.2 to half a
    /// segment, and encode without looking ahead
    #[arg(long, value_name = "SECONDS")]
    part: Option<f64>,
}

/// What cancels a run that Ctrl-C ends in order.
static NEVER: AtomicBool = AtomicBool::new(false);

impl PicturesArgs {
    /// How messages call it. An address is not shown in full: it may hold a key.
    pub fn name(&self) -> &Path {
        if self.is_stdin() {
            Path::new("standard input")
        } else if self.is_live() {
            Path::new("live source")
        } else {
            &self.input
        }
    }

    /// What the ladder is made of. `interrupted` ends a live source's stream in order.
    pub fn open(&self, interrupted: &'static AtomicBool) -> Result<Input> {
        if !self.is_stdin() && (self.raw.is_some() || self.audio.is_some()) {
            bail!("--raw and --audio are for pictures on standard input: give - as the input");
        }
        if self.is_live() {
            return Ok(Input::Live(Live {
                reconnect: Duration::from_secs(self.reconnect),
                ends: Some(Box::new(|| interrupted.load(Ordering::Relaxed))),
                ..Live::new(self.input.to_string_lossy())
            }));
        }
        if !self.is_stdin() {
            if self.live_window.is_some() || self.part.is_some() {
                let file = shown::path(&self.input);
                bail!(
                    "{file}: --live-window and --part are for pictures that come at their own pace"
                );
            }
            return Ok(Input::File(self.input.clone()));
        }
        let raw = match (&self.raw, self.size, self.fps) {
            (Some(format), Some((width, height)), Some(fps)) => {
                Some(RawFormat::new(format, width, height, fps)?)
            }
            _ => None,
        };
        let pipe = Pipe::stdin(raw).context("standard input")?;
        Ok(Input::Pipe(Pipe {
            audio: self.audio.clone(),
            ..pipe
        }))
    }

    /// Sets what goes with pictures that come at their own pace.
    pub fn set(&self, options: &mut Options) {
        options.part_s = self.part;
        options.live_window = self.live_window.map(f64::from);
    }

    /// What cancels the run.
    pub fn cancel(&self, interrupted: &'static AtomicBool) -> &'static AtomicBool {
        if self.is_live() { &NEVER } else { interrupted }
    }

    fn is_live(&self) -> bool {
        Live::is_address(&self.input.to_string_lossy())
    }

    fn is_stdin(&self) -> bool {
        self.input.as_os_str() == "-"
    }
}

fn size(text: &str) -> Result<(u32, u32)> {
    let (width, height) = text.split_once('x').context("not WIDTHxHEIGHT")?;
    Ok((width.parse()?, height.parse()?))
}

fn fps(text: &str) -> Result<Rational> {
    let (num, den) = text.split_once('/').unwrap_or((text, "1"));
    Ok(Rational::new(num.parse()?, den.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates() {
        assert_eq!(size("1920x1080").ok(), Some((1920, 1080)));
        assert_eq!(fps("25").ok(), Some(Rational::new(25, 1)));
        assert_eq!(fps("30000/1001").ok(), Some(Rational::new(30_000, 1001)));
        for text in ["", "1920", "x1080", "1920x", "19.5x3", "-1x3"] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["", "29.97", "25/", "/1", "a/b"] {
            assert!(fps(text).is_err(), "{text}");
        }
    }
}
