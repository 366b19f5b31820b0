//! Seeks and restarts in the middle, with GStreamer: back and forth, while frames are in flight, to
//! places at which decoding can begin and to others.
//!
//! Each frame after a seek must be the one that the software decoder shows at that time when it
//! decodes the stream from its beginning, and none may be missing up to the end. The clips are made
//! here, so that what seeks find is known: closed and open groups of pictures (an I picture that is
//! no IDR, with pictures behind it that are shown before it and predict from what is not there),
//! interlaced pictures, pictures that are shown by others. Only pictures before the I picture of an
//! open group may have come back with an error, which the client does not tell but the daemon. With `--media`, or KINORA_MEDIA, streams
//! that others made follow. The decoder must be there already.

use guest_tests::arguments::Arguments;
use guest_tests::clip::{self, Encoding};
use guest_tests::gstreamer::{self, Client, Codec, Event, Frame, H264, MPEG2, VP8, VP9};
use guest_tests::machine;
use guest_tests::tally::Tally;
use guest_tests::{Result, report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const OPTIONS: &[(&str, &str)] = &[
    ("daemon", "/kinora/bin/kinora-decoded"),
    ("media", ""),
    ("only", ""),
];

/// Where a row's stream comes from.
enum Source {
    /// It is made here.
    Made(Encoding),
    /// It lies in the media folder.
    Found(&'static str),
}

struct Row {
    name: &'static str,
    codec: &'static Codec,
    source: Source,
    /// After a seek so many frames may be other ones than in a linear pass: where decoding begins
    /// with a picture that is refreshed piece by piece, and where GStreamer goes to a key frame that
    /// is decoded before the time that was sought but shown after it (qtdemux, by decoding times).
    settles: usize,
    /// Behind a key frame at most so many pictures are shown before it, and may be damaged after a
    /// seek. Nothing is known of streams that were found.
    leading: Option<u64>,
}

const fn made(
    name: &'static str,
    codec: &'static Codec,
    container: &'static str,
    arguments: &'static str,
) -> Row {
    Row {
        name,
        codec,
        source: Source::Made(Encoding {
            arguments,
            container,
        }),
        settles: 0,
        leading: Some(0),
    }
}

const fn found(name: &'static str, codec: &'static Codec, file: &'static str) -> Row {
    Row {
        name,
        codec,
        source: Source::Found(file),
        settles: 0,
        leading: None,
    }
}

impl Row {
    const fn settles(self, settles: usize) -> Row {
        Row { settles, ..self }
    }

    const fn leading(self, leading: u64) -> Row {
        Row {
            leading: Some(leading),
            ..self
        }
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    made("h264, IDR", &H264, "mp4",
        "-c:v libx264 -preset veryfast -g 24 -bf 3 -x264-params scenecut=0:ref=4:b-pyramid=normal"),
    made("h264, one IDR, slices", &H264, "mkv",
        "-c:v libx264 -preset veryfast -g 1000 -bf 2 -x264-params scenecut=0:slices=4"),
    made("h264, open GOP", &H264, "mkv",
        "-c:v libx264 -preset veryfast -g 24 -bf 3 -x264-params scenecut=0:ref=4:open-gop=1:b-pyramid=normal").leading(3),
    made("h264, open GOP", &H264, "mp4",
        "-c:v libx264 -preset veryfast -g 17 -bf 5 -x264-params scenecut=0:ref=4:open-gop=1:b-pyramid=normal").leading(5).settles(5),
    made("h264, open GOP, MBAFF", &H264, "mkv",
        "-c:v libx264 -preset veryfast -g 24 -bf 2 -x264-params scenecut=0:ref=3:open-gop=1:interlaced=1").leading(2),
    made("h264, refreshed", &H264, "mkv",
        "-c:v libx264 -preset veryfast -g 30 -bf 0 -x264-params scenecut=0:ref=1:intra-refresh=1").settles(36),
    made("mpeg2, closed GOP", &MPEG2, "mkv", "-c:v mpeg2video -q:v 4 -g 15 -bf 2 -flags +cgop -sc_threshold 1000000000"),
    made("mpeg2, open GOP", &MPEG2, "mkv", "-c:v mpeg2video -q:v 4 -g 15 -bf 2").leading(2),
    made("mpeg2, open GOP, interlaced", &MPEG2, "mkv", "-c:v mpeg2video -q:v 4 -g 15 -bf 2 -flags +ilme+ildct").leading(2),
    made("vp8", &VP8, "webm",
        "-c:v libvpx -b:v 1M -g 24 -deadline good -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 16"),
    made("vp9", &VP9, "webm",
        "-c:v libvpx-vp9 -b:v 1M -g 24 -deadline good -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 16"),
    found("h264, found", &H264, "ingest/test-av-384k-44100Hz-1ch-320x240-30fps-10kfr.mp4"),
    found("h264, found", &H264, "ingest/nasa_13013.mp4"),
    found("h264, found", &H264, "hls/androidx-cea608-h264-ts/sd-hls0000000000.ts"),
    found("vp8, found", &VP8, "streams/vp8/frames.webm"),
];

/// Frames of a clip that is made here.
const FRAMES: usize = 120;

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let daemon: PathBuf = arguments.get("daemon")?;
    let only: String = arguments.get("only")?;
    let mut media: String = arguments.get("media")?;
    if media.is_empty() {
        media = std::env::var("KINORA_MEDIA").unwrap_or_default();
    }
    let folder = std::env::temp_dir().join(format!("seeks-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let mut tally = Tally::default();
    for (number, row) in ROWS.iter().enumerate() {
        if !row.name.contains(&only) {
            continue;
        }
        let file = match &row.source {
            Source::Made(encoding) => {
                clip::make(&folder, &number.to_string(), encoding, "320x256", FRAMES)?
            }
            Source::Found(_) if media.is_empty() => continue,
            Source::Found(file) => PathBuf::from(&media).join(file),
        };
        let end = file.extension().unwrap_or_default().to_string_lossy();
        let name = format!("{} ({end})", row.name);
        tally.row(&name, || check(&file, row, &daemon))?;
    }
    std::fs::remove_dir_all(&folder)?;
    tally.end()
}

/// A stretch of frames between two seeks or starts.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    begins: Begins,
    /// So many frames are waited for; all up to the end where nothing is said.
    frames: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// At the start of the stream, after a restart but for the first.
    Start,
    /// With this frame, after a seek.
    At(usize),
}

/// Where a player goes in a stream of so many frames: on, back and to the start.
///
/// It seeks only when this decoder has been at the end. GStreamer 1.26 numbers MPEG-2's pictures by
/// the latest time that the element has seen, which a flush does not make it forget (`_pts_sync` in
/// `gstmpeg2decoder.c`): after a seek back it numbers groups of pictures one behind the other, up to
/// the first one behind that time, which it numbers by the times again and so below those before
/// it. It then names wrong references, with every driver. Behind the end there is no such group.
fn journey(count: usize) -> Vec<Stretch> {
    let at = |part: usize| Begins::At((count - 2) * part / 100);
    let some = |begins, frames| Stretch {
        begins,
        frames: Some(frames),
    };
    let all = |begins| Stretch {
        begins,
        frames: None,
    };
    let mut journey = vec![
        some(Begins::Start, 10),
        all(Begins::Start),
        // After the end.
        some(at(75), 7),
        some(at(17), 3),
        // Again before anything came out.
        some(at(83), 0),
        some(at(83), 0),
        some(at(38), 30),
        all(at(62)),
        some(at(50), 20),
        some(at(0), 1),
    ];
    // Wherever key frames are: before, at and behind them.
    journey.extend((5..100).step_by(11).map(|part| some(at(part), 2)));
    journey.extend([
        all(at(91)),
        some(at(29), 5),
        some(Begins::Start, 15),
        all(Begins::Start),
    ]);
    journey
}

/// The steps of the client for it.
fn steps(journey: &[Stretch], frames: &[Frame]) -> Vec<String> {
    let mut steps = Vec::new();
    for (number, stretch) in journey.iter().enumerate() {
        match stretch.begins {
            Begins::Start if number == 0 => {}
            Begins::Start => steps.push("restart".to_owned()),
            // Into the time of the frame: containers round times, so that a seek to its first
            // nanosecond may still find the frame before.
            Begins::At(at) => {
                let (time, next) = (frames[at].time, frames[at + 1].time);
                steps.push(format!("seek={}", time + (next - time) / 4));
            }
        }
        steps.push(match stretch.frames {
            Some(frames) => format!("frames={frames}"),
            None => "end".to_owned(),
        });
    }
    steps
}

fn check(file: &Path, row: &Row, daemon: &Path) -> Result<String> {
    let expected = gstreamer::play(file, row.codec.software)?;
    if expected.len() < 20 {
        return Err(format!("{} frames are too few to seek in", expected.len()).into());
    }
    let journey = journey(expected.len());
    let steps = steps(&journey, &expected);
    let before = machine::errors(daemon)?;
    let (events, status) = Client::start(file, row.codec.stateless, &steps)?.rest()?;
    let mut stretches = vec![Vec::new()];
    for event in events {
        match event {
            Event::Frame(frame) => stretches.last_mut().ok_or("no stretch")?.push(frame),
            Event::Seek | Event::Restart => stretches.push(Vec::new()),
            Event::End => {}
            Event::Error(what) => {
                return Err(format!("{what}, in stretch {}", stretches.len()).into());
            }
        }
    }
    if !status.success() || stretches.len() != journey.len() {
        return Err(format!(
            "{} of {} stretches, then the client ended with {status}",
            stretches.len(),
            journey.len()
        )
        .into());
    }
    let errors = machine::errors(daemon)? - before;
    let allowed = row.leading.map(|leading| leading * journey.len() as u64);
    if allowed.is_some_and(|allowed| errors > allowed) {
        return Err(format!("{errors} errors, where there are no more than {allowed:?}").into());
    }
    let mut count = 0;
    for (number, (stretch, got)) in journey.iter().zip(&stretches).enumerate() {
        count += same(stretch, got, &expected, row.settles)
            .map_err(|error| format!("stretch {number}, {stretch:?}: {error}"))?;
    }
    let stretches = journey.len();
    Ok(format!(
        "{stretches} stretches, {count} frames equal, {errors} errors"
    ))
}

/// Whether the frames are those that a linear pass shows from there; gives how many were compared.
fn same(
    stretch: &Stretch,
    got: &[Frame],
    expected: &[Frame],
    settles: usize,
) -> std::result::Result<usize, String> {
    let (begin, unsettled) = match stretch.begins {
        Begins::Start => (0, 0),
        Begins::At(at) => (at, settles),
    };
    let expected = &expected[begin..];
    let is_complete = match stretch.frames {
        // The last one that was waited for may have been on its way when it was left.
        Some(frames) => got.len() + 1 >= frames.min(expected.len()) && got.len() <= expected.len(),
        None => got.len() == expected.len(),
    };
    if !is_complete {
        return Err(format!("{} frames of {}", got.len(), expected.len()));
    }
    for (at, (got, expected)) in got.iter().zip(expected).enumerate().skip(unsettled) {
        // The first is cut: it begins with the time that was sought.
        let is_in_time = got.time == expected.time || at == 0;
        if got.sum != expected.sum || !is_in_time {
            return Err(format!("frame {} is {got:?}, not {expected:?}", begin + at));
        }
    }
    Ok(got.len().saturating_sub(unsettled))
}
