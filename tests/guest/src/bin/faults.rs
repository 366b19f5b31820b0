//! Everything that can befall a daemon, and what its clients must see of it.
//!
//! Each scenario is a row: which daemon runs, what happens to it while access units are in flight,
//! and how these must end. Whatever happens, each ends within a second; where the daemon is gone no
//! other can be submitted; stopping and closing take no time; nobody is left hanging; a new daemon
//! serves new streams; the module can be unloaded; and the kernel has nothing to say about it. Needs `--module`, the file of the module, which is loaded
//! anew for each scenario, those that it uses being loaded already. With `--daemon` (the real one) and `--clip` (a stream that the client
//! reads) the rows of the real daemon run too.

use guest_tests::arguments::Arguments;
use guest_tests::decode::{Decoder, Fields, Options};
use guest_tests::machine::{self, Daemon, KernelLog, doing, eventually};
use guest_tests::stream::Stream;
use guest_tests::tally::Tally;
use guest_tests::{Result, report};
use md5::{Digest, Md5};
use rustix::io::Errno;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use v4l2::device::Control;
use v4l2::find::DecoderNode;
use v4l2::queue::{Memory, Timestamp};
use v4l2::session::{Config, Done, Picture, Refused, Session, Submission, Target};
use v4l2::sys::{Kernel, Linux};
use v4l2::uapi::controls::vp8::*;
use v4l2::uapi::videodev2::{V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_VP8_FRAME};
use zerocopy::FromZeros;

const OPTIONS: &[(&str, &str)] = &[
    ("clip", ""),
    ("daemon", ""),
    ("module", ""),
    ("only", ""),
    ("slower", "1"),
];

/// What an access unit may take, whatever became of the daemon.
const SECOND: Duration = Duration::from_secs(1);
/// What stopping and closing may take, which wait for nobody.
const AT_ONCE: Duration = Duration::from_millis(150);

/// Who decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Nobody ever did.
    Nobody,
    /// The stand-in, in this mode.
    StandIn(&'static str),
    /// The daemon itself.
    Real,
}

/// What happens once access units are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// The stand-in ends by itself, with the first access unit that it reads.
    Exits,
    /// The daemon is killed.
    Kill,
    /// It is killed with all that it started.
    KillAll,
    /// What it started is killed, but not itself.
    KillWorkers,
    /// It and all that it started stand still, from before the access units are submitted.
    StopAll,
    /// Only what it started stands still.
    StopWorkers,
    /// The client stops streaming.
    StreamOff,
    /// The client closes the device.
    Close,
}

/// How access units must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Decoded.
    Done,
    /// With an error.
    Error,
    /// In either way.
    Anyhow,
}

struct Scenario {
    name: &'static str,
    who: Who,
    streams: usize,
    trouble: Trouble,
    ends: Ends,
    within: Duration,
}

const fn scenario(
    name: &'static str,
    who: Who,
    streams: usize,
    trouble: Trouble,
    ends: Ends,
) -> Scenario {
    Scenario {
        name,
        who,
        streams,
        trouble,
        ends,
        within: SECOND,
    }
}

impl Scenario {
    /// For what the module learns at once and need not wait for.
    const fn at_once(self) -> Scenario {
        Scenario {
            within: AT_ONCE,
            ..self
        }
    }
}

#[rustfmt::skip]
const SCENARIOS: &[Scenario] = &[
    scenario("absent", Who::Nobody, 1, Trouble::Nothing, Ends::Error),
    scenario("done", Who::StandIn("done"), 4, Trouble::Nothing, Ends::Done),
    scenario("error", Who::StandIn("error"), 4, Trouble::Nothing, Ends::Error).at_once(),
    scenario("slow", Who::StandIn("slow"), 2, Trouble::Nothing, Ends::Done),
    scenario("garbage", Who::StandIn("garbage"), 2, Trouble::Nothing, Ends::Error),
    scenario("twice", Who::StandIn("twice"), 4, Trouble::Nothing, Ends::Done),
    scenario("late", Who::StandIn("late"), 2, Trouble::Nothing, Ends::Error),
    scenario("never", Who::StandIn("never"), 2, Trouble::Nothing, Ends::Error),
    scenario("exit", Who::StandIn("exit"), 4, Trouble::Exits, Ends::Error).at_once(),
    scenario("random", Who::StandIn("random"), 8, Trouble::Nothing, Ends::Anyhow),
    scenario("killed", Who::StandIn("never"), 8, Trouble::Kill, Ends::Error).at_once(),
    scenario("killed while slow", Who::StandIn("slow"), 8, Trouble::Kill, Ends::Anyhow),
    scenario("stopped", Who::StandIn("done"), 4, Trouble::StopAll, Ends::Error),
    scenario("stream off in flight", Who::StandIn("never"), 4, Trouble::StreamOff, Ends::Anyhow),
    scenario("close in flight", Who::StandIn("never"), 4, Trouble::Close, Ends::Anyhow),
    scenario("close while slow", Who::StandIn("slow"), 8, Trouble::Close, Ends::Anyhow),
    scenario("daemon killed", Who::Real, 8, Trouble::Kill, Ends::Anyhow),
    scenario("daemon and workers killed", Who::Real, 8, Trouble::KillAll, Ends::Anyhow),
    scenario("workers killed", Who::Real, 4, Trouble::KillWorkers, Ends::Anyhow),
    scenario("daemon stopped", Who::Real, 4, Trouble::StopAll, Ends::Error),
    scenario("workers stopped", Who::Real, 4, Trouble::StopWorkers, Ends::Anyhow),
    scenario("close before the daemon answers", Who::Real, 8, Trouble::Close, Ends::Anyhow),
];

/// Access units that each stream has in flight.
const UNITS: u64 = 3;

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let path = |name| -> Result<Option<PathBuf>> {
        let value: String = arguments.get(name)?;
        Ok((!value.is_empty()).then(|| value.into()))
    };
    let stage = Stage {
        module: path("module")?.ok_or("--module names no file")?,
        stand_in: std::env::current_exe()?.with_file_name("responder"),
        real: path("daemon")?,
        clip: path("clip")?,
        slower: arguments.get("slower")?,
    };
    let only: String = arguments.get("only")?;
    // A module that is there already may be another one.
    if Path::new("/sys/module/kinora_dec").exists() {
        machine::unload()?;
    }
    let chosen = SCENARIOS
        .iter()
        .filter(|one| one.name.contains(&only) && (one.who != Who::Real || stage.real.is_some()));
    let mut tally = Tally::default();
    for scenario in chosen {
        tally.row(scenario.name, || {
            let longest = stage.play(scenario)?;
            Ok(format!("longest wait {} ms", longest.as_millis()))
        })?;
    }
    tally.end()
}

/// What scenarios are played with.
struct Stage {
    module: PathBuf,
    stand_in: PathBuf,
    real: Option<PathBuf>,
    clip: Option<PathBuf>,
    /// How many times slower than usual this machine is: debug kernels check every step.
    slower: u32,
}

impl Stage {
    /// Plays a scenario; returns the longest that an access unit took.
    fn play(&self, scenario: &Scenario) -> Result<Duration> {
        let mut log = KernelLog::open()?;
        machine::load(&self.module)?;
        let ready = eventually(SECOND, machine::video_node);
        ready.ok_or("the module has no video node")?;
        let longest = self.trouble(scenario);
        let after = doing("afterwards", self.new_streams(scenario.who));
        let hung = machine::hung();
        let unloaded = machine::unload();
        let news = log.bad_news();
        let longest = longest?;
        after?;
        if !hung.is_empty() {
            return Err(format!("somebody hangs: {}", hung.join("; ")).into());
        }
        unloaded?;
        if !news.is_empty() {
            return Err(format!("the kernel said: {}", news.join("; ")).into());
        }
        Ok(longest)
    }

    fn daemon(&self, who: Who) -> Result<Option<Daemon>> {
        match who {
            Who::Nobody => Ok(None),
            Who::StandIn(mode) => Daemon::start(&self.stand_in, &["--mode", mode]).map(Some),
            Who::Real => {
                let program = self.real.as_ref().ok_or("there is no real daemon")?;
                Daemon::start(program, &[]).map(Some)
            }
        }
    }

    fn trouble(&self, scenario: &Scenario) -> Result<Duration> {
        let daemon = self.daemon(scenario.who)?;
        let Some(daemon) = daemon else {
            return match machine::open_video() {
                Err(Errno::NODEV) => Ok(Duration::ZERO),
                other => Err(format!("without a daemon open says {other:?}").into()),
            };
        };
        let streams = (0..scenario.streams).map(|_| Own::start());
        let mut streams: Vec<Own> = streams.collect::<Result<_>>()?;
        if scenario.trouble == Trouble::StopWorkers {
            // They are there from the first access unit on.
            for stream in &mut streams {
                stream.submit(1, false)?;
                stream.finish(Ends::Anyhow, SECOND * self.slower)?;
            }
        }
        before(scenario.trouble, &daemon)?;
        for stream in &mut streams {
            stream.submit(UNITS, scenario.trouble == Trouble::Exits)?;
        }
        let mut longest = Duration::ZERO;
        match scenario.trouble {
            Trouble::StreamOff => {
                for stream in &mut streams {
                    longest = longest.max(stream.stream_off(AT_ONCE * self.slower)?);
                }
            }
            Trouble::Close => {}
            trouble => {
                after(trouble, &daemon)?;
                let limit = scenario.within * self.slower;
                // Each in a thread: none may make another one wait.
                let ends = scenario.ends;
                let threads: Vec<_> = streams
                    .into_iter()
                    .map(|mut stream| {
                        std::thread::spawn(move || -> Result<(Own, Duration)> {
                            let longest = stream.finish(ends, limit)?;
                            Ok((stream, longest))
                        })
                    })
                    .collect();
                streams = Vec::new();
                for thread in threads {
                    let (stream, took) = thread.join().map_err(|_| "a stream panicked")??;
                    streams.push(stream);
                    longest = longest.max(took);
                }
            }
        }
        if matches!(
            scenario.trouble,
            Trouble::Exits | Trouble::Kill | Trouble::KillAll
        ) {
            self.gone()?;
            for stream in &mut streams {
                stream.is_refused()?;
            }
        }
        for stream in streams {
            stream.close(AT_ONCE * self.slower)?;
        }
        let said = daemon.end()?;
        match said.iter().find(|line| line.starts_with("unexpected")) {
            Some(line) => Err(format!("the responder: {line}").into()),
            None => Ok(longest),
        }
    }

    /// Waits until the module has no daemon any more.
    ///
    /// A worker that was killed right after its birth still had the daemon's descriptor, which is
    /// closed when it has ended, not when it was killed.
    fn gone(&self) -> Result<()> {
        let gone = || (machine::open_video() == Err(Errno::NODEV)).then_some(());
        let gone = eventually(SECOND * self.slower, gone);
        Ok(gone.ok_or("streams can be opened without a daemon")?)
    }

    /// A new daemon of the same kind decodes what comes now.
    fn new_streams(&self, who: Who) -> Result<()> {
        self.gone()?;
        if who != Who::Real {
            let daemon = self.daemon(Who::StandIn("done"))?;
            let mut stream = Own::start()?;
            stream.submit(UNITS, false)?;
            stream.finish(Ends::Done, SECOND * self.slower)?;
            drop(stream);
            drop(daemon);
            return Ok(());
        }
        let daemon = self.daemon(who)?;
        if let Some(clip) = &self.clip {
            let (first, second) = (sum(clip)?, sum(clip)?);
            if first != second {
                return Err(format!("{} is decoded differently each time", clip.display()).into());
            }
        }
        drop(daemon);
        Ok(())
    }
}

fn before(trouble: Trouble, daemon: &Daemon) -> Result<()> {
    match trouble {
        Trouble::StopAll => daemon.signal_all(Signal::STOP),
        Trouble::StopWorkers => each_worker(daemon, Signal::STOP),
        _ => Ok(()),
    }
}

fn after(trouble: Trouble, daemon: &Daemon) -> Result<()> {
    match trouble {
        Trouble::Kill => daemon.signal(Signal::KILL),
        Trouble::KillAll => daemon.signal_all(Signal::KILL),
        Trouble::KillWorkers => each_worker(daemon, Signal::KILL),
        _ => Ok(()),
    }
}

fn each_worker(daemon: &Daemon, signal: Signal) -> Result<()> {
    let workers = eventually(SECOND, || {
        let workers = daemon.workers();
        (!workers.is_empty()).then_some(workers)
    });
    for worker in workers.ok_or("the daemon has no workers")? {
        match rustix::process::kill_process(worker, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The MD5 of a clip's frames.
fn sum(clip: &Path) -> Result<Vec<u8>> {
    let mut stream = Stream::open(clip)?;
    let options = Options {
        depth: 2,
        fields: Fields::Hold,
    };
    let mut decoder = Decoder::open(&mut stream, options)?;
    let mut sum = Md5::new();
    let mut planes = Vec::new();
    let units = 0..stream.len();
    decoder.run(&mut stream, units, &mut |shown| {
        planes.clear();
        if !shown.planes(&mut planes) {
            return Err(format!("unit {} was not decoded", shown.unit).into());
        }
        sum.update(&planes);
        Ok(())
    })?;
    Ok(sum.finalize().to_vec())
}

/// A client's stream with access units in flight.
struct Own {
    session: Session,
    free: Vec<Picture>,
    next: u64,
    /// When the next access unit can begin: at the submission, or at the end of the one before.
    since: Instant,
}

impl Own {
    fn start() -> Result<Own> {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let node = find(&kernel)?;
        let frame = header();
        let config = Config {
            coded: V4L2_PIX_FMT_VP8_FRAME,
            width: 64,
            height: 64,
            input_size: 4096,
            inputs: UNITS as u32,
            controls: &[Control::compound(V4L2_CID_STATELESS_VP8_FRAME, &frame)],
            raw: V4L2_PIX_FMT_NV12,
            memory: Memory::Mmap,
            pictures: UNITS as u32,
        };
        let (session, free) = Session::start(&kernel, &node, &config)?;
        Ok(Own {
            session,
            free,
            next: 0,
            since: Instant::now(),
        })
    }

    /// Submits so many, or fewer if the daemon may be gone before the last of them.
    fn submit(&mut self, units: u64, may_be_gone: bool) -> Result<()> {
        for _ in 0..units {
            match self.submit_one()? {
                Err(refused) if may_be_gone && is_without_daemon(&refused) => {
                    self.free.extend(refused.picture);
                    break;
                }
                other => other?,
            }
        }
        self.since = Instant::now();
        Ok(())
    }

    /// The module takes no access unit.
    fn is_refused(&mut self) -> Result<()> {
        match self.submit_one()? {
            Err(refused) if is_without_daemon(&refused) => {
                self.free.extend(refused.picture);
                Ok(())
            }
            other => Err(format!("without a daemon submitting says {other:?}").into()),
        }
    }

    fn submit_one(&mut self) -> Result<std::result::Result<(), Box<Refused>>> {
        let mut input = self.session.input().ok_or("no OUTPUT buffer is free")?;
        input.bytes_mut()[..16].fill(0xff);
        self.next += 1;
        let picture = self.free.pop().ok_or("no CAPTURE buffer is free")?;
        Ok(self.session.submit(Submission {
            input,
            length: 16,
            timestamp: Timestamp::from_micros(self.next),
            controls: &[Control::compound(V4L2_CID_STATELESS_VP8_FRAME, &header())],
            target: Target::Picture(picture),
            hold: false,
        }))
    }

    /// Waits for all that is in flight; returns the longest that one took.
    fn finish(&mut self, ends: Ends, limit: Duration) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        while self.session.is_busy() || self.free.len() < UNITS as usize {
            let done = self.session.wait(limit * 3)?;
            let took = self.since.elapsed();
            longest = longest.max(took);
            match done {
                None => return Err(format!("an access unit did not end in {took:?}").into()),
                Some(Done::Picture { picture, .. }) => self.free.push(picture),
                Some(Done::Input { timestamp, error }) => {
                    let micros = timestamp.micros();
                    if took > limit {
                        let what = format!("access unit {micros} ended after {took:?}");
                        return Err(what.into());
                    }
                    let is_right = match ends {
                        Ends::Done => !error,
                        Ends::Error => error,
                        Ends::Anyhow => true,
                    };
                    if !is_right {
                        let what = format!("access unit {micros}: error {error}, not {ends:?}");
                        return Err(what.into());
                    }
                    self.since = Instant::now();
                }
            }
        }
        Ok(longest)
    }

    fn stream_off(&mut self, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        let pictures = self.session.flush()?;
        let took = began.elapsed();
        self.free.extend(pictures);
        if took > limit {
            return Err(format!("stopping took {took:?}").into());
        }
        if self.free.len() < UNITS as usize {
            return Err("a picture is missing after stopping".into());
        }
        Ok(took)
    }

    fn close(self, limit: Duration) -> Result<()> {
        let began = Instant::now();
        drop(self);
        let took = began.elapsed();
        if took > limit {
            return Err(format!("closing took {took:?}").into());
        }
        Ok(())
    }
}

fn is_without_daemon(refused: &Refused) -> bool {
    refused.source.errno() == Some(Errno::NODEV)
}

fn find(kernel: &Arc<dyn Kernel>) -> Result<DecoderNode> {
    let mut found = v4l2::find::decoders(kernel, Path::new("/")).into_iter();
    let found = found.find(|node| node.driver == "kinora_dec");
    Ok(found.ok_or("the module's decoder is not in the media topology")?)
}

/// A frame header that the kernel takes.
fn header() -> v4l2_ctrl_vp8_frame {
    let mut frame = v4l2_ctrl_vp8_frame::new_zeroed();
    (frame.width, frame.height) = (64, 64);
    frame.num_dct_parts = 1;
    frame.flags = V4L2_VP8_FRAME_FLAG_KEY_FRAME | V4L2_VP8_FRAME_FLAG_SHOW_FRAME;
    frame
}
