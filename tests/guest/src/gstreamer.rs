//! GStreamer as a client that is told what to do: play, seek, stop and start again.
//!
//! `gst-launch-1.0` only plays from the beginning to the end, so the client is a script of our own
//! (`gstreamer.py`, which tells its steps) around the same elements. It runs as a process of its own
//! and prints a line for each frame, which is what comes out of here.

use crate::Result;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

const SCRIPT: &str = include_str!("gstreamer.py");

/// More than the script's own patience, after which it says that the pipeline hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// A codec of this decoder.
#[derive(Debug)]
pub struct Codec {
    /// As FFmpeg names it.
    pub name: &'static str,
    /// The element under test.
    pub stateless: &'static str,
    /// The one that decodes with VA-API.
    pub va: &'static str,
    /// The element that says what is right.
    pub software: &'static str,
}

const fn codec(name: &'static str, elements: [&'static str; 3]) -> Codec {
    let [stateless, va, software] = elements;
    Codec {
        name,
        stateless,
        va,
        software,
    }
}

/// MPEG-2
pub const MPEG2: Codec = codec(
    "mpeg2video",
    ["v4l2slmpeg2dec", "vampeg2dec", "avdec_mpeg2video"],
);
/// H.264
pub const H264: Codec = codec("h264", ["v4l2slh264dec", "vah264dec", "avdec_h264"]);
/// VP8
pub const VP8: Codec = codec("vp8", ["v4l2slvp8dec", "vavp8dec", "avdec_vp8"]);
/// VP9
pub const VP9: Codec = codec("vp9", ["v4l2slvp9dec", "vavp9dec", "avdec_vp9"]);

/// All of them.
pub const CODECS: [&Codec; 4] = [&MPEG2, &H264, &VP8, &VP9];

/// A frame that came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it is shown, as seeks count it, in nanoseconds.
    pub time: u64,
    /// The MD5 of its planes.
    pub sum: String,
}

/// What a client does, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A frame came out.
    Frame(Frame),
    /// It went to another place; the frames from there follow.
    Seek,
    /// It was stopped, and starts again.
    Restart,
    /// The stream is at its end.
    End,
    /// An element gave up.
    Error(String),
}

/// A line of the script.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Event(Event),
    /// From here on, the time of a frame that seeks call 0.
    Zero(u64),
}

impl Line {
    fn read(line: &str) -> Option<Line> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(Line::Event(match (word, rest) {
            ("seek", "") => Event::Seek,
            ("restart", "") => Event::Restart,
            ("end", "") => Event::End,
            ("error", what) => Event::Error(what.to_owned()),
            ("zero", time) => return Some(Line::Zero(time.parse().ok()?)),
            (time, sum) => Event::Frame(Frame {
                time: nanoseconds(time)?,
                sum: sum.to_owned(),
            }),
        }))
    }
}

/// Reads `hours:minutes:seconds.nanoseconds`.
fn nanoseconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.')?;
    let whole = whole.split(':').try_fold(0, |sum, part| {
        let part: u64 = part.parse().ok()?;
        Some(sum * 60 + part)
    })?;
    let fraction: u64 = fraction.parse().ok()?;
    Some(whole * 1_000_000_000 + fraction)
}

/// A client at work. It is killed when dropped.
///
/// It can be ahead of who reads its events by what a pipe holds, which is less than 1,600 frames.
#[derive(Debug)]
pub struct Client {
    child: Child,
    lines: Receiver<String>,
    zero: u64,
}

impl Client {
    /// Starts a client; `gstreamer.py` tells the steps.
    ///
    /// # Errors
    /// There is no Python.
    pub fn start(file: &Path, element: &str, steps: &[String]) -> Result<Client> {
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .arg(file)
            .arg(element)
            .args(steps)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        // Without room: a client whose lines nobody reads stops when its pipe is full.
        let (send, lines) = mpsc::sync_channel(0);
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(std::io::Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Client {
            child,
            lines,
            zero: 0,
        })
    }

    /// What it does next; none when it has ended.
    ///
    /// # Errors
    /// It does nothing for a long time, or what nobody knows.
    pub fn event(&mut self) -> Result<Option<Event>> {
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("the client hangs, {PATIENCE:?} without a word").into());
                }
            };
            match Line::read(&line).ok_or_else(|| format!("the client says {line:?}"))? {
                Line::Zero(time) => self.zero = time,
                Line::Event(Event::Frame(mut frame)) => {
                    frame.time = frame.time.saturating_sub(self.zero);
                    return Ok(Some(Event::Frame(frame)));
                }
                Line::Event(event) => return Ok(Some(event)),
            }
        }
    }

    /// All that it still does, and how it ended.
    ///
    /// # Errors
    /// As with `event`.
    pub fn rest(mut self) -> Result<(Vec<Event>, ExitStatus)> {
        let mut events = Vec::new();
        while let Some(event) = self.event()? {
            events.push(event);
        }
        Ok((events, self.child.wait()?))
    }

    /// Ends the step `hold`.
    ///
    /// # Errors
    /// It is gone.
    pub fn go_on(&mut self) -> Result<()> {
        let input = self.child.stdin.as_mut().ok_or("the client has no stdin")?;
        Ok(writeln!(input)?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The frames of a file from its beginning to its end.
///
/// # Errors
/// It cannot be decoded to its end.
pub fn play(file: &Path, element: &str) -> Result<Vec<Frame>> {
    let client = Client::start(file, element, &["end".to_owned()])?;
    let (events, status) = client.rest()?;
    let mut frames = Vec::new();
    for event in events {
        match event {
            Event::Frame(frame) => frames.push(frame),
            Event::Error(what) => return Err(format!("{element}: {what}").into()),
            Event::End | Event::Seek | Event::Restart => {}
        }
    }
    if !status.success() {
        return Err(format!("{element}: the client ended with {status}").into());
    }
    if frames.is_empty() {
        return Err(format!("{element}: no frame came out").into());
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let frame = |time, sum: &str| {
            let sum = sum.to_owned();
            Some(Line::Event(Event::Frame(Frame { time, sum })))
        };
        let error = Event::Error("decoder: no. 7".to_owned());
        let rows = [
            ("0:00:00.000000000 ab", frame(0, "ab")),
            ("1:02:03.000000004 ab", frame(3_723_000_000_004, "ab")),
            ("seek", Some(Line::Event(Event::Seek))),
            ("restart", Some(Line::Event(Event::Restart))),
            ("end", Some(Line::Event(Event::End))),
            ("error decoder: no. 7", Some(Line::Event(error))),
            ("zero 66666666", Some(Line::Zero(66_666_666))),
            ("0:00", None),
            ("zero", None),
            ("seeks", None),
        ];
        for (line, expected) in rows {
            assert_eq!(Line::read(line), expected, "{line}");
        }
    }
}
