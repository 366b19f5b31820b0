//! Uncompressed pictures from a pipe: Y4M (the format of mjpegtools, yuv4mpeg(5)) or raw samples.
//!
//! Nothing is read before the pipe has something, so that a run that is being stopped does not hang
//! in a pipe whose other end is silent.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use media::{Colour, Frame, FramePool, PixelFormat, Rational};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::input::{Pipe, RawFormat};
use crate::{Error, Result};

/// What a Y4M stream begins with, and what each of its pictures begins with.
const MAGIC: &[u8] = b"YUV4MPEG2";
const FRAME: &[u8] = b"FRAME";
/// No header line is longer.
const LONGEST_LINE: usize = 1024;
/// Bytes taken from the pipe at a time; a pipe of Linux holds 64 KB.
const BUFFER: usize = 256 << 10;
/// How soon a stop is seen.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// What is known of the pictures before the first is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub format: RawFormat,
    /// Shape of a pixel.
    pub aspect: Rational,
    pub colour: Colour,
    /// `tff` or `bff` for pictures made of two fields.
    pub fields: Option<&'static str>,
}

/// What reading came to.
#[derive(Debug)]
pub enum Taken {
    Picture(Frame),
    /// The pipe is at its end; so many bytes of a picture were left over, and how many it should
    /// have had.
    End(Option<(usize, usize)>),
    /// The run is being stopped.
    Stopped,
}

/// Reads pictures.
#[derive(Debug)]
pub struct RawReader {
    name: String,
    bytes: Bytes,
    pub header: Header,
    /// The line that the stream began with; none for raw samples.
    line: Option<String>,
    pool: FramePool,
    /// Pictures read.
    pub count: u64,
}

impl RawReader {
    /// Reads the header, waiting for it. `None` when the run was stopped before there was one.
    pub fn open(pipe: Pipe, stop: &AtomicBool) -> Result<Option<RawReader>> {
        let Pipe {
            name, source, raw, ..
        } = pipe;
        let mut bytes = Bytes::new(source);
        let (header, line) = match raw {
            Some(format) => {
                let header = Header {
                    format,
                    aspect: Rational::ONE,
                    colour: Colour::UNSPECIFIED,
                    fields: None,
                };
                (header, None)
            }
            None => {
                let line = match bytes
                    .line(MAGIC, stop)
                    .map_err(|error| fault(&name, error))?
                {
                    Line::Whole(line) => line,
                    Line::Stopped => return Ok(None),
                    Line::End(0) => return Err(wrong(&name, "empty")),
                    Line::End(_) | Line::Other => {
                        let reason = "no Y4M stream; raw pictures need their format, size and rate";
                        return Err(wrong(&name, reason));
                    }
                };
                let header = header(&line).map_err(|reason| wrong(&name, &reason))?;
                (header, Some(line))
            }
        };
        let RawFormat {
            format,
            width,
            height,
            ..
        } = header.format;
        Ok(Some(RawReader {
            name,
            bytes,
            header,
            line,
            pool: FramePool::new(width, height, format)?,
            count: 0,
        }))
    }

    /// The next picture.
    pub fn next(&mut self, stop: &AtomicBool) -> Result<Taken> {
        if self.line.is_some() {
            match self.frame_line(stop)? {
                Line::Whole(_) => {}
                Line::End(0) => return Ok(Taken::End(None)),
                Line::End(had) => return Ok(Taken::End(Some((had, self.header.format.bytes())))),
                Line::Stopped => return Ok(Taken::Stopped),
                Line::Other => {
                    let reason = format!("picture {} does not begin as it should", self.count);
                    return Err(wrong(&self.name, &reason));
                }
            }
        }
        let mut frame = self.pool.frame()?;
        let RawFormat {
            format,
            width,
            height,
            ..
        } = self.header.format;
        let mut had = 0;
        for plane in 0..format.planes() {
            let Some((row, rows)) = format.plane(plane, width, height) else {
                continue;
            };
            let Some((samples, stride)) = frame.plane_mut(plane) else {
                continue;
            };
            let (length, count) = if stride == row {
                (row * rows, 1)
            } else {
                (row, rows)
            };
            for number in 0..count {
                let target = &mut samples[number * stride..number * stride + length];
                let filled = self.bytes.fill_slice(target, stop);
                let filled = filled.map_err(|error| fault(&self.name, error))?;
                had += filled;
                if stop.load(Ordering::Relaxed) {
                    return Ok(Taken::Stopped);
                }
                if filled < length {
                    let begun = had > 0 || self.line.is_some();
                    let left = begun.then(|| (had, self.header.format.bytes()));
                    return Ok(Taken::End(left));
                }
            }
        }
        frame.set_colour(self.header.colour);
        self.count += 1;
        Ok(Taken::Picture(frame))
    }

    /// The line before a picture. A stream that was joined to another one has its header again,
    /// which must be the same.
    fn frame_line(&mut self, stop: &AtomicBool) -> Result<Line> {
        let line = self.bytes.line(FRAME, stop);
        match line.map_err(|error| fault(&self.name, error))? {
            Line::Other => {}
            line => return Ok(line),
        }
        let line = self.bytes.line(MAGIC, stop);
        let Line::Whole(line) = line.map_err(|error| fault(&self.name, error))? else {
            return Ok(Line::Other);
        };
        if Some(&line) != self.line.as_ref() {
            let changed = match header(&line) {
                Ok(header) if header.format != self.header.format => format!(
                    "pictures change from {:?} to {:?} after {}",
                    self.header.format, header.format, self.count
                ),
                _ => format!("another stream begins after {} pictures", self.count),
            };
            return Err(wrong(&self.name, &changed));
        }
        let line = self.bytes.line(FRAME, stop);
        line.map_err(|error| fault(&self.name, error))
    }
}

fn wrong(name: &str, reason: &str) -> Error {
    Error::Pictures {
        name: name.to_string(),
        reason: reason.to_string(),
    }
}

fn fault(name: &str, error: io::Error) -> Error {
    wrong(name, &error.to_string())
}

/// The parameters in a stream's header line.
fn header(line: &str) -> Result<Header, String> {
    let (mut width, mut height) = (0, 0);
    let (mut rate, mut aspect) = (Rational::new(0, 1), Rational::ONE);
    let (mut samples, mut fields) = ("420jpeg", None);
    let mut colour = Colour::UNSPECIFIED;
    for parameter in line.split(' ').skip(1).filter(|word| !word.is_empty()) {
        let mut rest = parameter.chars();
        let tag = rest.next();
        let value = rest.as_str();
        let bad = || format!("a Y4M header with {parameter}");
        match tag {
            Some('W') => width = value.parse().map_err(|_| bad())?,
            Some('H') => height = value.parse().map_err(|_| bad())?,
            Some('F') => rate = ratio(value).ok_or_else(bad)?,
            Some('A') => aspect = ratio(value).ok_or_else(bad)?,
            Some('C') => samples = value,
            Some('I') => {
                fields = match value {
                    "t" => Some("tff"),
                    "b" => Some("bff"),
                    _ => None,
                }
            }
            _ => match parameter {
                "XCOLORRANGE=FULL" => colour = Colour::FULL_RANGE,
                "XCOLORRANGE=LIMITED" => colour = Colour::LIMITED_RANGE,
                // Other X parameters are comments.
                _ => {}
            },
        }
    }
    if !aspect.is_positive() {
        aspect = Rational::ONE;
    }
    let format = pixel_format(samples).ok_or_else(|| format!("Y4M with samples C{samples}"))?;
    let format = RawFormat::new(format.name(), width, height, rate).map_err(|e| e.to_string())?;
    Ok(Header {
        format,
        aspect,
        colour,
        fields,
    })
}

fn ratio(text: &str) -> Option<Rational> {
    let (num, den) = text.split_once(':')?;
    Some(Rational::new(num.parse().ok()?, den.parse().ok()?))
}

/// What a Y4M colour space is called by FFmpeg.
fn pixel_format(samples: &str) -> Option<PixelFormat> {
    let name = match samples {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => "yuv420p".to_string(),
        "411" | "422" | "444" => format!("yuv{samples}p"),
        "444alpha" => "yuva444p".to_string(),
        "mono" => "gray".to_string(),
        _ => match samples.split_once('p') {
            Some((chroma, depth)) => format!("yuv{chroma}p{depth}le"),
            None => format!("gray{}le", samples.strip_prefix("mono")?),
        },
    };
    PixelFormat::from_name(&name)
}

/// A line that was looked for.
#[derive(Debug)]
enum Line {
    /// It is there, without its end.
    Whole(String),
    /// Something else is there.
    Other,
    /// The pipe ended, after so many bytes of it.
    End(usize),
    Stopped,
}

/// A pipe's bytes, buffered.
#[derive(Debug)]
struct Bytes {
    source: File,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Bytes {
    fn new(source: File) -> Bytes {
        Bytes {
            source,
            buffer: vec![0; BUFFER],
            from: 0,
            to: 0,
        }
    }

    /// The next line if it begins like this; else nothing is taken.
    fn line(&mut self, beginning: &[u8], stop: &AtomicBool) -> io::Result<Line> {
        loop {
            let there = &self.buffer[self.from..self.to];
            let compared = there.len().min(beginning.len());
            if there[..compared] != beginning[..compared] {
                return Ok(Line::Other);
            }
            if let Some(end) = there.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&there[..end]).into_owned();
                self.from += end + 1;
                return Ok(if end >= beginning.len() {
                    Line::Whole(line)
                } else {
                    Line::Other
                });
            }
            if there.len() >= LONGEST_LINE {
                return Ok(Line::Other);
            }
            let had = there.len();
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, had);
            if !wait(&self.source, stop)? {
                return Ok(Line::Stopped);
            }
            match read(&mut self.source, &mut self.buffer[had..])? {
                0 => return Ok(Line::End(had)),
                count => self.to += count,
            }
        }
    }

    /// Fills the slice; fewer bytes only at the end of the pipe, or when the run is being stopped.
    fn fill_slice(&mut self, target: &mut [u8], stop: &AtomicBool) -> io::Result<usize> {
        let mut filled = 0;
        while filled < target.len() {
            let there = &self.buffer[self.from..self.to];
            let rest = &mut target[filled..];
            if !there.is_empty() {
                let count = there.len().min(rest.len());
                rest[..count].copy_from_slice(&there[..count]);
                self.from += count;
                filled += count;
                continue;
            }
            if !wait(&self.source, stop)? {
                break;
            }
            let count = if rest.len() >= BUFFER {
                let count = read(&mut self.source, rest)?;
                filled += count;
                count
            } else {
                let count = read(&mut self.source, &mut self.buffer)?;
                (self.from, self.to) = (0, count);
                count
            };
            if count == 0 {
                break;
            }
        }
        Ok(filled)
    }
}

fn read(source: &mut File, target: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(target) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            outcome => return outcome,
        }
    }
}

/// Waits until there is something to read or the end. False when the run is being stopped.
fn wait(source: &File, stop: &AtomicBool) -> io::Result<bool> {
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(source, PollFlags::IN)];
        match poll(&mut ready, Some(&PATIENCE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
