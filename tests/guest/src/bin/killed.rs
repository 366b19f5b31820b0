//! The daemon is killed in the middle of eight streams of GStreamer, of all codecs and several sizes.
//!
//! Each stream ends with an error at once: GStreamer 1.26 does not look whether a picture has one, but
//! the module refuses its next access unit. What was open can be closed, and a new daemon decodes new
//! streams exactly. The module must be there already.

use guest_tests::arguments::Arguments;
use guest_tests::clip::{self, Encoding};
use guest_tests::gstreamer::{self, Client, Codec, Event, Frame, H264, MPEG2, VP8, VP9};
use guest_tests::machine::{self, Daemon};
use guest_tests::tally::Tally;
use guest_tests::{Result, report};
use rustix::io::Errno;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const OPTIONS: &[(&str, &str)] = &[("daemon", "/kinora/bin/kinora-decoded")];

#[rustfmt::skip]
const CLIPS: &[(&Codec, &str, Encoding)] = &[
    (&H264, "320x256", Encoding { container: "mkv", arguments: "-c:v libx264 -preset veryfast -g 24 -bf 2" }),
    (&H264, "640x368", Encoding { container: "mp4", arguments: "-c:v libx264 -preset veryfast -g 24 -bf 2 -x264-params interlaced=1" }),
    (&MPEG2, "320x256", Encoding { container: "mkv", arguments: "-c:v mpeg2video -q:v 4 -g 12 -bf 2" }),
    (&MPEG2, "720x576", Encoding { container: "mkv", arguments: "-c:v mpeg2video -q:v 8 -g 12 -bf 2 -flags +ilme+ildct" }),
    (&VP8, "320x256", Encoding { container: "webm", arguments: "-c:v libvpx -b:v 1M -deadline realtime -cpu-used 16" }),
    (&VP8, "176x144", Encoding { container: "webm", arguments: "-c:v libvpx -b:v 1M -deadline realtime -cpu-used 16" }),
    (&VP9, "320x256", Encoding { container: "webm", arguments: "-c:v libvpx-vp9 -b:v 1M -deadline realtime -cpu-used 8" }),
    (&VP9, "640x368", Encoding { container: "webm", arguments: "-c:v libvpx-vp9 -b:v 1M -deadline realtime -cpu-used 8" }),
];

/// Frames of a clip.
const FRAMES: usize = 36;

/// Frames that each stream has shown when the daemon is killed.
const SOME: usize = 60;
/// How often a clip is played: far more frames than a client can be ahead with.
const TIMES: usize = 100;

/// The module ends what is in flight at once; eight clients on one processor that may have other
/// work take longer to show what they have and to say so.
const PATIENCE: Duration = Duration::from_secs(10);

struct Row {
    name: &'static str,
    /// With all that it started.
    all: bool,
}

const ROWS: &[Row] = &[
    Row {
        name: "the daemon is killed",
        all: false,
    },
    Row {
        name: "the daemon and its workers are killed",
        all: true,
    },
];

struct Clip {
    codec: &'static Codec,
    short: PathBuf,
    long: PathBuf,
    frames: Vec<Frame>,
}

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let program: PathBuf = arguments.get("daemon")?;
    let folder = std::env::temp_dir().join(format!("killed-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    // GStreamer keeps a list of its elements. Those of a decoder that nobody could open when it was
    // made are not in it.
    let daemon = Daemon::start(&program, &[])?;
    let mut clips = Vec::new();
    for (number, (codec, size, encoding)) in CLIPS.iter().enumerate() {
        let short = clip::make(&folder, &number.to_string(), encoding, size, FRAMES)?;
        clips.push(Clip {
            codec,
            long: clip::repeat(&short, TIMES)?,
            frames: gstreamer::play(&short, codec.software)?,
            short,
        });
    }
    drop(daemon);
    let mut tally = Tally::default();
    for row in ROWS {
        tally.row(row.name, || killed(&program, row, &clips))?;
        tally.row(&format!("new streams after {}", row.name), || {
            new_streams(&program, &clips)
        })?;
    }
    std::fs::remove_dir_all(&folder)?;
    tally.end()
}

fn killed(program: &Path, row: &Row, clips: &[Clip]) -> Result<String> {
    let daemon = Daemon::start(program, &[])?;
    let mut clients = Vec::new();
    for clip in clips {
        let steps = ["end".to_owned()];
        clients.push(Client::start(&clip.long, clip.codec.stateless, &steps)?);
    }
    for (clip, client) in clips.iter().zip(&mut clients) {
        some_frames(client).map_err(|error| clip.says(&*error))?;
    }
    match row.all {
        true => daemon.signal_all(Signal::KILL)?,
        false => daemon.signal(Signal::KILL)?,
    }
    let killed = Instant::now();
    // All at once: who is not read from stands still.
    let last = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|client| scope.spawn(move || end_with_error(client).map(|()| killed.elapsed())))
            .collect();
        let mut last = Duration::ZERO;
        for (thread, clip) in threads.into_iter().zip(clips) {
            let ended = thread.join().map_err(|_| "a thread panicked")?;
            last = last.max(ended.map_err(|error| clip.says(&*error))?);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(last)
    })?;
    if last > PATIENCE {
        return Err(format!("a stream ended {last:.1?} after the daemon was killed").into());
    }
    let hung = machine::hung();
    if !hung.is_empty() {
        return Err(format!("somebody hangs: {}", hung.join("; ")).into());
    }
    drop(daemon);
    match machine::open_video() {
        Err(Errno::NODEV) => {}
        other => return Err(format!("without a daemon open says {other:?}").into()),
    }
    Ok(format!("{} streams ended within {last:.1?}", clips.len()))
}

fn some_frames(client: &mut Client) -> Result<()> {
    for count in 0..SOME {
        match client.event()? {
            Some(Event::Frame(_)) => {}
            other => return Err(format!("{other:?} after {count} frames").into()),
        }
    }
    Ok(())
}

fn end_with_error(mut client: Client) -> Result<()> {
    loop {
        match client.event()? {
            Some(Event::Frame(_)) => {}
            Some(Event::Error(_)) => return Ok(()),
            other => return Err(format!("{other:?} and no error").into()),
        }
    }
}

/// Two at a time.
fn new_streams(program: &Path, clips: &[Clip]) -> Result<String> {
    let daemon = Daemon::start(program, &[])?;
    let play = |clip: &Clip| -> Result<()> {
        let frames = gstreamer::play(&clip.short, clip.codec.stateless);
        match frames.map_err(|error| clip.says(&*error))? == clip.frames {
            true => Ok(()),
            false => Err(clip.says(&"other frames than the software decoder's")),
        }
    };
    for pair in clips.chunks(2) {
        std::thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = pair.iter().map(|clip| scope.spawn(|| play(clip))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
        })?;
    }
    drop(daemon);
    Ok(format!("{} streams equal", clips.len()))
}

impl Clip {
    fn says(&self, what: &dyn std::fmt::Display) -> Box<dyn std::error::Error + Send + Sync> {
        format!("{} {}: {what}", self.codec.name, self.short.display()).into()
    }
}
