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

use guest_tests::gstreamer::Codec;
use guest_tests::manifest::{self, Stream};
use guest_tests::stream::{self, Part, Step};
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

usage: exact [--media DIR] [--only TEXT] [--quick] [--shard I/N] [--at-once N] [--through va]

  --media DIR   folder with MANIFEST.tsv (default: what KINORA_MEDIA names)
  --only TEXT   only the files whose path contains TEXT
  --quick       only the conformance streams, and no more than 30 of each codec
  --shard I/N   the I-th of N parts, I from 0
  --at-once N   N streams at a time, of different codecs
  --through va  decode with the elements that use VA-API
";

/// How long one pipeline may take: debug kernels and emulated processors are slow.
const LIMIT: Duration = Duration::from_secs(300);

/// Files out of which GStreamer gets no video for any decoder, the software decoder's neither: a
/// container without a stream that it could play, or an encrypted one. Its `parsebin` (1.26) finds that
/// out and then may wait for ever instead of saying so.
const UNREAD: [&str; 7] = [
    "ingest/sample_missing_stsd.mp4",
    "robust/mp4-webm/0-timescale.mp4",
    "robust/mp4-webm/1833896.mp4",
    "robust/mp4-webm/short-cenc.mp4",
    "robust/mp4-webm/test_case_1351094.mp4",
    "robust/mp4-webm/test_case_1714125-2-sample-description-entires-with-identical-crypto.mp4",
    "streams/vp9/balle1-vp9.avi",
];

/// Which element decodes a codec.
type Element = fn(&Codec) -> &'static str;

#[derive(PartialEq)]
enum Outcome {
    Equal,
    /// All but one of the last two frames are, and the stream ends in a second field.
    LastUnawaited,
    Differs(String),
    /// The pipeline of a damaged stream ended.
    Ended,
}

fn main() -> ExitCode {
    let mut media = PathBuf::from(std::env::var_os("KINORA_MEDIA").unwrap_or_default());
    let (mut only, mut quick, mut shard, mut at_once) = (None, false, (0, 1), 1);
    let mut element: Element = |codec| codec.stateless;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--media" => media = value().into(),
            "--only" => only = Some(value()),
            "--quick" => quick = true,
            "--through" => match value().as_str() {
                "va" => element = |codec| codec.va,
                _ => return usage(),
            },
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
    let mut streams = match manifest::streams(&media) {
        Ok(streams) => streams,
        Err(error) => {
            eprintln!("exact: {error}");
            return ExitCode::from(2);
        }
    };
    streams.retain(|stream| !UNREAD.contains(&stream.file.as_str()));
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
    run(&media, &streams, at_once, element)
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

fn run(media: &Path, streams: &[Stream], at_once: usize, element: Element) -> ExitCode {
    let (next, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(stream) = streams.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if is_good(media, stream, element) {
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
fn is_good(media: &Path, stream: &Stream, element: Element) -> bool {
    let began = Instant::now();
    let outcome = decode(media, stream, element);
    let (good, said) = match outcome {
        Outcome::Equal => (true, "equal".to_owned()),
        Outcome::LastUnawaited => (
            true,
            "equal, its last second field not waited for".to_owned(),
        ),
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

fn decode(media: &Path, stream: &Stream, element: Element) -> Outcome {
    let path = media.join(&stream.file);
    let by_requests = element(stream.codec) == stream.codec.stateless;
    if by_requests && !stream.damaged && ends_in_a_second_field(&path) {
        return decode_fields(&path, stream, element);
    }
    let got = sum_of(&path, stream.first, element(stream.codec));
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
        (Ok(_), Ok(_)) => Outcome::Differs(match other_frames(&path, stream, element) {
            Ok((_, said)) => said,
            Err(failure) => failure.to_string(),
        }),
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

/// The same frame by frame, in one run, of a stream whose last picture is a second field.
///
/// GStreamer (1.26) waits for the request of a frame's first field before it hands the frame out. It queues no
/// request before the one ahead of it is done, so that all fields but the very last are waited for; that one
/// may still be at work, with any decoder.
fn decode_fields(path: &Path, stream: &Stream, element: Element) -> Outcome {
    if let Some(suite) = &stream.conformance {
        match sum_of(path, stream.first, stream.codec.software) {
            Ok(sum) if sum == *suite => {}
            Ok(_) => return Outcome::Differs("the software decoder is not the suite's".to_owned()),
            Err(failure) => return Outcome::Differs(format!("the software decoder: {failure}")),
        }
    }
    match other_frames(path, stream, element) {
        Ok((Others::None, _)) => Outcome::Equal,
        Ok((Others::OneAtTheEnd, _)) => Outcome::LastUnawaited,
        Ok((Others::More, said)) => Outcome::Differs(said),
        Err(failure) => Outcome::Differs(failure.to_string()),
    }
}

/// Which frames are other ones than the software decoder's.
enum Others {
    None,
    /// One of the last two, which is the last that was decoded.
    OneAtTheEnd,
    More,
}

/// Where two decoders part, and that in words.
fn other_frames(
    path: &Path,
    stream: &Stream,
    element: Element,
) -> Result<(Others, String), Failure> {
    let ours = frames(path, stream.first, element(stream.codec))?;
    let theirs = frames(path, stream.first, stream.codec.software)?;
    let pairs = ours.iter().zip(&theirs).enumerate();
    let others: Vec<usize> = pairs
        .filter(|(_, (ours, theirs))| ours != theirs)
        .map(|(at, _)| at)
        .collect();
    let (count, expected) = (ours.len(), theirs.len());
    let which = match others[..] {
        _ if count != expected || count == 0 => Others::More,
        [] => Others::None,
        [at] if at + 2 >= count => Others::OneAtTheEnd,
        _ => Others::More,
    };
    let said = format!("{count} frames, the software decoder {expected}, other frames {others:?}");
    Ok((which, said))
}

/// Whether the last picture of an elementary stream is a second field; of other files it is not known.
fn ends_in_a_second_field(path: &Path) -> bool {
    let Ok(mut stream) = stream::Stream::open(path) else {
        return false;
    };
    let mut last = None;
    for unit in 0..stream.len() {
        if let Ok(Step::Decode(frame)) = stream.read(unit) {
            last = Some(frame.part);
        }
    }
    last == Some(Part::SecondField)
}

/// The MD5 of each frame.
fn frames(path: &Path, first: Option<u32>, decoder: &str) -> Result<Vec<String>, Failure> {
    let sink = "videoconvert ! video/x-raw,format=I420 ! checksumsink hash=md5";
    let tail: Vec<&str> = [decoder, "!"].into_iter().chain(sink.split(' ')).collect();
    let output = pipeline(path, first, &tail)?;
    // gst-launch prints a message in two pieces, and a frame may come between them: the sum is a word
    // of its own, but not always in a line of its own.
    let words = output.split_whitespace();
    let sums = words.filter(|word| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(sums.map(str::to_owned).collect())
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
