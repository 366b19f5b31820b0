//! Streams through GStreamer's stateless decoders, held against the software decoder frame by frame.
//!
//! Reads the media folder's MANIFEST.tsv and sends every H.264, MPEG-2, VP8 and VP9 stream through
//! `v4l2sl*dec`, that is through the module and the daemon. `videocodectestsink` makes one MD5 of
//! the visible samples of all frames, so one lost, doubled or wrong frame shows. The expected sum is
//! the conformance suite's where the manifest has one, else what FFmpeg's decoder makes of the same
//! file in the same pipeline. With `--at-once` several streams are decoded at the same time, those of
//! different codecs and sizes together.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what came out is what it is for"
)]

use guest_tests::gstreamer::{CODECS, Codec};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Decodes the streams of a media folder with GStreamer's stateless decoders and compares each frame
with the software decoder's.

usage: exact [--media DIR] [--only TEXT] [--quick] [--shard I/N] [--at-once N]

  --media DIR   folder with MANIFEST.tsv (default: what KINORA_MEDIA names)
  --only TEXT   only the files whose path contains TEXT
  --quick       only the conformance streams, and no more than 30 of each codec
  --shard I/N   the I-th of N parts, I from 0
  --at-once N   N streams at a time, of different codecs
";

/// How long one pipeline may take: debug kernels and emulated processors are slow.
const LIMIT: Duration = Duration::from_secs(300);

/// Files out of which GStreamer gets no video for any decoder, the software decoder's neither.
const UNREAD: [&str; 2] = [
    "ingest/sample_missing_stsd.mp4",
    "streams/vp9/balle1-vp9.avi",
];

/// A row of the manifest that is decoded.
struct Stream {
    file: String,
    codec: &'static Codec,
    /// The conformance suite's sum over all frames.
    conformance: Option<String>,
    /// Damaged on purpose: no frame is the right one, but the pipeline must end.
    damaged: bool,
    /// Only so many access units of a long stream.
    first: Option<u32>,
}

#[derive(PartialEq)]
enum Outcome {
    Equal,
    Differs(String),
    /// The pipeline of a damaged stream ended.
    Ended,
}

fn main() -> ExitCode {
    let mut media = PathBuf::from(std::env::var_os("KINORA_MEDIA").unwrap_or_default());
    let (mut only, mut quick, mut shard, mut at_once) = (None, false, (0, 1), 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--media" => media = value().into(),
            "--only" => only = Some(value()),
            "--quick" => quick = true,
            "--shard" => match value().split_once('/').map(|(i, n)| (i.parse(), n.parse())) {
                Some((Ok(part), Ok(parts))) if part < parts => shard = (part, parts),
                _ => return usage(),
            },
            "--at-once" => match value().parse() {
                Ok(count @ 1..) => at_once = count,
                _ => return usage(),
            },
            _ => return usage(),
        }
    }
    let manifest = media.join("MANIFEST.tsv");
    let text = match std::fs::read_to_string(&manifest) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("exact: {}: {error}", manifest.display());
            return ExitCode::from(2);
        }
    };
    let mut streams = streams(&text);
    if let Some(only) = only {
        streams.retain(|stream| stream.file.contains(&only));
    }
    if quick {
        streams = first_of_each(streams, 30);
    }
    let streams = streams.into_iter().enumerate();
    let shard = streams.filter(|(at, _)| at % shard.1 == shard.0);
    let mut streams = shard.map(|(_, stream)| stream).collect();
    if at_once > 1 {
        mix(&mut streams);
    }
    run(&media, &streams, at_once)
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

/// Puts streams of different codecs beside each other.
fn mix(streams: &mut Vec<Stream>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut mixed = Vec::new();
    for stream in streams.drain(..) {
        let count = seen.entry(stream.codec.name).or_default();
        mixed.push((*count, stream));
        *count += 1;
    }
    mixed.sort_by_key(|(count, _)| *count);
    streams.extend(mixed.into_iter().map(|(_, stream)| stream));
}

fn run(media: &Path, streams: &[Stream], at_once: usize) -> ExitCode {
    let (next, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(stream) = streams.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if is_good(media, stream) {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let passed = passed.into_inner();
    let failed = streams.len() - passed;
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Decodes a stream and says what came of it.
fn is_good(media: &Path, stream: &Stream) -> bool {
    let began = Instant::now();
    let outcome = decode(media, stream);
    let (good, said) = match outcome {
        Outcome::Equal => (true, "equal".to_owned()),
        Outcome::Ended => (true, "ended".to_owned()),
        Outcome::Differs(why) => (false, format!("FAILED: {why}")),
    };
    println!(
        "{} {}: {said} ({:.1} s)",
        stream.codec.name,
        stream.file,
        began.elapsed().as_secs_f64()
    );
    good
}

/// The manifest's rows that this decoder decodes: its codecs, 8 bit, 4:2:0.
fn streams(manifest: &str) -> Vec<Stream> {
    let mut streams = Vec::new();
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let column = |at: usize| columns.get(at).copied().unwrap_or_default();
        let name = column(1).split('/').next().unwrap_or_default();
        let Some(codec) = CODECS.into_iter().find(|codec| codec.name == name) else {
            continue;
        };
        if !matches!(column(3), "8 yuv420p" | "8 yuvj420p") || UNREAD.contains(&column(0)) {
            continue;
        }
        // Only where the software decoder outputs what the suite asks for: with spatial layers it
        // outputs each of them.
        let conformance = (column(13) == "yes").then(|| column(12).to_owned());
        let damaged = column(0).starts_with("robust/");
        let first = column(4)
            .strip_suffix("(first)")
            .and_then(|count| count.parse().ok());
        streams.push(Stream {
            file: column(0).to_owned(),
            codec,
            conformance,
            damaged,
            first,
        });
    }
    streams
}

fn first_of_each(streams: Vec<Stream>, most: usize) -> Vec<Stream> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let few = |stream: &Stream| {
        let count = seen.entry(stream.codec.name).or_default();
        *count += 1;
        *count <= most
    };
    streams
        .into_iter()
        .filter(|stream| !stream.damaged)
        .filter(few)
        .collect()
}

fn decode(media: &Path, stream: &Stream) -> Outcome {
    let path = media.join(&stream.file);
    let got = sum_of(&path, stream.first, stream.codec.stateless);
    if stream.damaged {
        return match got {
            Err(Failure::Hung) => Outcome::Differs("the pipeline does not end".to_owned()),
            Ok(_) | Err(Failure::Said(_)) => Outcome::Ended,
        };
    }
    let expected = match &stream.conformance {
        Some(sum) => Ok(sum.clone()),
        None => sum_of(&path, stream.first, stream.codec.software),
    };
    match (got, expected) {
        (Ok(got), Ok(expected)) if got == expected => Outcome::Equal,
        (Ok(_), Ok(_)) => Outcome::Differs(first_difference(&path, stream)),
        (Err(failure), Ok(_)) => Outcome::Differs(failure.to_string()),
        (_, Err(failure)) => Outcome::Differs(format!("the software decoder: {failure}")),
    }
}

enum Failure {
    Hung,
    Said(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Hung => write!(f, "no end after {} s", LIMIT.as_secs()),
            Self::Said(text) => f.write_str(text),
        }
    }
}

/// The MD5 over the visible samples of all frames.
fn sum_of(path: &Path, first: Option<u32>, decoder: &str) -> Result<String, Failure> {
    let output = pipeline(path, first, &[decoder, "!", "videocodectestsink"])?;
    let sum = output.split("checksum=(string)").nth(1).map(|rest| {
        rest.chars()
            .take_while(char::is_ascii_hexdigit)
            .collect::<String>()
    });
    sum.filter(|sum| sum.len() == 32)
        .ok_or_else(|| Failure::Said(format!("no frame came out; {}", last_error(&output))))
}

/// Where two decoders part: numbers of frames, and the first frame that is another.
fn first_difference(path: &Path, stream: &Stream) -> String {
    let frames = |decoder| {
        let output = pipeline(
            path,
            stream.first,
            &[
                decoder,
                "!",
                "videoconvert",
                "!",
                "video/x-raw,format=I420",
                "!",
                "checksumsink",
                "hash=md5",
            ],
        );
        output.map(|text| {
            text.lines()
                .filter_map(|line| {
                    line.split_whitespace()
                        .nth(1)
                        .filter(|sum| sum.len() == 32)
                        .map(str::to_owned)
                })
                .collect::<Vec<_>>()
        })
    };
    match (
        frames(stream.codec.stateless),
        frames(stream.codec.software),
    ) {
        (Ok(ours), Ok(theirs)) => {
            let first = ours.iter().zip(&theirs).position(|(a, b)| a != b);
            let equal = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
            format!(
                "{} frames, the software decoder {}, first other frame {first:?}, {equal} equal",
                ours.len(),
                theirs.len()
            )
        }
        (Err(failure), _) | (_, Err(failure)) => failure.to_string(),
    }
}

/// Runs `filesrc ! parsebin ! TAIL` to its end; gives what it printed.
fn pipeline(path: &Path, first: Option<u32>, tail: &[&str]) -> Result<String, Failure> {
    let mut location = std::ffi::OsString::from("location=");
    location.push(path);
    let mut command = Command::new("gst-launch-1.0");
    command
        .arg("-m")
        .arg("filesrc")
        .arg(location)
        .args(["!", "parsebin", "!"]);
    if let Some(first) = first {
        command
            .arg("identity")
            .arg(format!("eos-after={first}"))
            .arg("!");
    }
    command.args(tail);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| Failure::Said(format!("gst-launch-1.0: {error}")))?;
    let errors = collect(child.stderr.take());
    let output = collect(child.stdout.take());
    match output.recv_timeout(LIMIT) {
        Ok(text) => {
            let status = wait(&mut child);
            let text = text + &errors.recv().unwrap_or_default();
            if status {
                Ok(text)
            } else {
                Err(Failure::Said(last_error(&text)))
            }
        }
        Err(_) => {
            let _ = child.kill();
            wait(&mut child);
            Err(Failure::Hung)
        }
    }
}

fn wait(child: &mut Child) -> bool {
    child.wait().is_ok_and(|status| status.success())
}

/// Reads a pipe to its end on a thread of its own; what was read comes through the channel.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(pipe) = pipe {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                text.push_str(&String::from_utf8_lossy(&line));
                text.push('\n');
            }
        }
        let _ = send.send(text);
    });
    receive
}

fn last_error(output: &str) -> String {
    let error = output
        .lines()
        .rfind(|line| line.contains("ERROR") || line.contains("WARNING"));
    error.unwrap_or("no message").trim().to_owned()
}
