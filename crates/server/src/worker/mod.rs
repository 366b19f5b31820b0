//! The other side of a job: `kinora worker <task> <folder>`, started by the server's reconciler.
//!
//! A worker reads one file that a stranger made, through libav, so it gives up what it does not
//! need before it begins: priority, disk priority, memory, core dumps, life after its server's
//! death, and sight of all files but its own (`confine`). It writes to its folder and says on
//! standard output what it wrote (`protocol`); it touches neither store nor catalog.

mod confine;
pub(crate) mod protocol;
mod render;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use ladder::publish::{self, Piece};
use ladder::{
    CachedUnit, Live, Options, Part, Plan, Progress, Rendition, Report, Segment, Sink, UnitCache,
};
use media::{OpenOptions, Probe};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal,
    setpriority_process, setrlimit,
};

use crate::problem::chain;
use crate::process::idle_disk_class;
use protocol::{Answer, Done, Event, LiveTask, Next, Order, Task};

/// Runs one job. `args` are the task's name and the job's folder.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let [_, folder] = args.as_slice() else {
        return complain("a worker is started by `kinora serve` with a task and a folder");
    };
    let folder = PathBuf::from(folder);
    let order: Order = match read_order(&folder) {
        Ok(order) => order,
        Err(error) => return complain(&format!("{}: {error}", folder.display())),
    };
    if !order.bare {
        if let Err(error) = give_up_rights(&order).and_then(|()| confine_to(&order, &folder)) {
            return complain(&format!("cannot give up rights: {error}"));
        }
    }
    let said = match work(&order, &folder) {
        Ok(()) => say(&Event::Done),
        Err(fault) => say(&Event::Failed {
            message: named(&fault.message, &order, &folder),
            full: fault.full,
        }),
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn read_order(folder: &Path) -> io::Result<Order> {
    let text = std::fs::read(folder.join(Order::FILE))?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

fn complain(text: &str) -> ExitCode {
    // Without standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "kinora worker: {text}");
    ExitCode::from(2)
}

/// One event, one line, at once.
fn say(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// The message with the original's own name, as libav was given another one, and without the folder.
fn named(message: &str, order: &Order, folder: &Path) -> String {
    let input = order.input.to_string_lossy();
    let folder = format!("{}/", folder.display());
    let message = message
        .replace(input.as_ref(), &order.name)
        .replace(&folder, "");
    if message.contains(&order.name) {
        message
    } else {
        format!("{}: {message}", order.name)
    }
}

/// Why a job could not be done.
struct Fault {
    message: String,
    full: bool,
}

impl Fault {
    /// A fault that is a sentence.
    fn said(message: String) -> Self {
        Self {
            message,
            full: false,
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Fault {
    fn from(error: E) -> Self {
        let mut causes =
            std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        Self {
            full: causes.any(|cause| cause.downcast_ref().is_some_and(crate::disk::is_full)),
            message: chain(&error),
        }
    }
}

fn work(order: &Order, folder: &Path) -> Result<(), Fault> {
    match &order.task {
        Task::Probe => probe(order),
        Task::Thumbnail { width } => thumbnail(order, folder, *width),
        Task::Ladder { .. } => ladder(order, folder),
        Task::Live(task) => live(task, folder),
        Task::Render(task) => render::render(order, task, folder),
        Task::Picture { width, height } => render::picture(order, *width, *height, folder),
    }
}

fn probe(order: &Order) -> Result<(), Fault> {
    let probe = media::probe(&order.input, &OpenOptions::default())?;
    let event = Event::Probed {
        not_a_video: not_a_video(&probe).map(|what| format!("{}: {what}", order.name)),
        probe: serde_json::to_value(&probe)?,
    };
    Ok(say(&event)?)
}

/// Why there is nothing to show in a file that could be read.
fn not_a_video(probe: &Probe) -> Option<String> {
    if probe.picture {
        return None;
    }
    let mut videos = probe.video.iter().filter(|video| !video.attached_picture);
    if videos.next().is_none() {
        return Some(match probe.audio.first() {
            Some(audio) => format!("no video stream, only sound ({})", audio.codec),
            None => "no video stream".to_owned(),
        });
    }
    None
}

fn thumbnail(order: &Order, folder: &Path, width: u32) -> Result<(), Fault> {
    const FILE: &str = "thumbnail.jpg";
    let jpeg = media::thumbnail(&order.input, width)?;
    std::fs::write(folder.join(FILE), jpeg)?;
    let file = FILE.to_owned();
    Ok(say(&Event::Picture { file })?)
}

fn ladder(order: &Order, folder: &Path) -> Result<(), Fault> {
    let Task::Ladder {
        identity,
        segment_s,
        recipe,
        done,
    } = &order.task
    else {
        return Ok(());
    };
    let encoder = media::choose_h264_encoder()?;
    let mut sink = Speaker {
        folder,
        made_by: media::encoder_build(&encoder)?,
        renditions: Vec::new(),
        recipe: recipe.as_deref(),
        done,
        next: &[],
    };
    let options = Options {
        segment_s: *segment_s,
        encoder: Some(encoder),
        identity: Some(identity.clone()),
        cached: Some(Arc::new(Asking::new()?)),
        ..Options::default()
    };
    // Cancelled by the server's signal; nothing in here decides to.
    let cancel = AtomicBool::new(false);
    ladder::run(&order.input, &options, &mut sink, &cancel)?;
    Ok(())
}

/// Units that the server has, asked for on the socket that standard output is.
#[derive(Debug)]
struct Asking {
    answers: Mutex<BufReader<UnixStream>>,
}

impl Asking {
    fn new() -> io::Result<Self> {
        let socket = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self {
            answers: Mutex::new(BufReader::new(socket.into())),
        })
    }

    fn ask(&self, key: &str) -> io::Result<Option<CachedUnit>> {
        // Held until the answer is there: the next question's answer comes after it.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        say(&Event::Wanted {
            key: key.to_owned(),
        })?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let answer: Answer = serde_json::from_str(&line)?;
        let mut take = |size: usize| {
            let mut bytes = vec![0; size.min(Answer::LARGEST)];
            answers.read_exact(&mut bytes).map(|()| bytes)
        };
        let bytes = take(answer.bytes)?;
        let init = answer.init.map(&mut take).transpose()?;
        Ok((!bytes.is_empty()).then_some(CachedUnit {
            start: answer.start,
            duration: answer.duration,
            codecs: answer.codecs,
            init,
            bytes,
        }))
    }
}

impl UnitCache for Asking {
    fn get(&self, key: &str) -> Option<CachedUnit> {
        // Without an answer the segment is made, as if there had been none.
        self.ask(key).ok().flatten()
    }
}

fn live(task: &LiveTask, folder: &Path) -> Result<(), Fault> {
    let encoder = media::choose_h264_encoder()?;
    let mut sink = Speaker {
        folder,
        made_by: media::encoder_build(&encoder)?,
        renditions: Vec::new(),
        recipe: task.recipe.as_deref(),
        done: &[],
        next: &task.next,
    };
    let options = Options {
        segment_s: task.segment_s,
        container: task.container,
        part_s: task.part_s,
        live_window: task.window_s,
        encoder: Some(encoder),
        ..Options::default()
    };
    let end = folder.join(Order::END);
    let source = Live {
        ends: Some(Box::new(move || end.exists())),
        ..Live::new(&task.source)
    };
    ladder::run(source, &options, &mut sink, &AtomicBool::new(false))?;
    Ok(())
}

/// Writes what the ladder makes into the folder and says so.
struct Speaker<'a> {
    folder: &'a Path,
    made_by: String,
    renditions: Vec<Rendition>,
    /// What the server has, and by what it was made.
    recipe: Option<&'a str>,
    done: &'a [Done],
    /// Where each rendition of a live stream goes on.
    next: &'a [Next],
}

impl Speaker<'_> {
    /// Writes a piece under a name of its own, for the server to take.
    fn write(&self, piece: &Piece, bytes: &[u8]) -> io::Result<String> {
        let file = format!("{}-{}", piece.rendition, piece.file);
        std::fs::write(self.folder.join(&file), bytes)?;
        Ok(file)
    }

    /// Where this run's first segment of the rendition comes in the stream.
    fn first(&self, rendition: &str) -> (u32, f64) {
        let found = self.next.iter().find(|next| next.rung == rendition);
        found.map_or((0, 0.0), |next| (next.number, next.start_s))
    }

    fn extension(&self, rendition: &str) -> &'static str {
        let found = self.renditions.iter().find(|r| r.name == rendition);
        found.map_or("", |rendition| rendition.packing.extension())
    }
}

impl Sink for Speaker<'_> {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.renditions = plan.renditions();
        // The server decides the same way whether what it has is of use.
        if self.recipe != Some(&publish::recipe(plan, &self.made_by)) {
            self.done = &[];
            self.next = &[];
        }
        say(&Event::Plan {
            plan: plan.clone(),
            made_by: self.made_by.clone(),
        })
    }

    fn done(&mut self) -> HashMap<(String, u32), u64> {
        let done = self.done.iter();
        done.map(|one| ((one.rung.clone(), one.number), one.bytes))
            .collect()
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.write(&Piece::init(rung), bytes)?;
        let rung = rung.to_owned();
        say(&Event::Init { rung, file })
    }

    fn part(&mut self, mut part: Part) -> io::Result<()> {
        let (first, _) = self.first(&part.rung);
        part.discontinuity |= first > 0 && part.segment == 0 && part.index == 0;
        part.segment += first;
        let extension = self.extension(&part.rung);
        let piece = Piece::part(&part.rung, part.segment, part.index, extension);
        let file = self.write(&piece, &part.bytes)?;
        say(&Event::Part { part, file })
    }

    fn segment(&mut self, mut segment: Segment) -> io::Result<()> {
        let (first, start_s) = self.first(&segment.rung);
        segment.discontinuity |= first > 0 && segment.index == 0;
        segment.index += first;
        segment.start += start_s;
        for key in &mut segment.iframes {
            key.pts_s += start_s;
        }
        let extension = self.extension(&segment.rung);
        let piece = Piece::segment(&segment.rung, segment.index, extension);
        let file = self.write(&piece, &segment.bytes)?;
        say(&Event::Segment { segment, file })
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        say(&Event::Progress(*progress))
    }

    fn end(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }
}

/// Called before any thread is started, so that all of them inherit it.
fn give_up_rights(order: &Order) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The server may have died before the line above.
    if getppid().map(Pid::as_raw_pid) != i32::try_from(order.parent).ok() {
        return Err(io::Error::other("the server is gone"));
    }
    if let Some(group) = &order.group {
        std::fs::write(group, std::process::id().to_string())?;
    }
    // Pictures of a live source that come while nobody takes them are lost.
    if !matches!(order.task, Task::Live(_)) {
        setpriority_process(None, 19)?;
        if let Err(error) = idle_disk_class() {
            // Some containers forbid it; the work is the same, only less polite.
            complain(&format!("cannot take the idle disk class: {error}"));
        }
    }
    // When memory runs out this process is the one to lose: it is made again, the server is not.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "800") {
        complain(&format!(
            "cannot offer itself to the out-of-memory killer: {error}"
        ));
    }
    lower(Resource::Core, 0)?;
    lower(Resource::Fsize, largest_file(order))?;
    match order.task {
        Task::Probe | Task::Thumbnail { .. } | Task::Picture { .. } => {
            lower(Resource::As, LOOKING_MEMORY)
        }
        // Not the address space: drivers of hardware encoders reserve far more than they use.
        Task::Ladder { .. } | Task::Live(_) | Task::Render(_) => {
            lower(Resource::Data, making_memory())
        }
    }
}

fn confine_to(order: &Order, folder: &Path) -> io::Result<()> {
    let input = std::fs::File::open(&order.input)?;
    let online = matches!(order.task, Task::Live(_));
    confine::confine(&input, folder, online)
}

/// No segment comes near the first, no variant the second: they are smaller than their original,
/// but for one that is coded better than it is played.
fn largest_file(order: &Order) -> u64 {
    const LARGEST_SEGMENT: u64 = 2 << 30;
    let original = std::fs::metadata(&order.input).map_or(0, |file| file.len());
    match order.task {
        Task::Render(_) => original.saturating_mul(8).max(LARGEST_SEGMENT),
        _ => LARGEST_SEGMENT,
    }
}

/// Address space for looking at a file: its pictures may have up to 150 million pixels.
const LOOKING_MEMORY: u64 = 4 << 30;

/// Memory for making a stream: 60 % of the machine's, but as much as one unit of work needs.
fn making_memory() -> u64 {
    const LEAST: u64 = 1 << 30;
    (crate::cgroup::memory() / 10 * 6).max(LEAST)
}

/// Sets a limit, never above what there is already.
fn lower(resource: Resource, limit: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let limit = [now.current, now.maximum]
        .into_iter()
        .flatten()
        .fold(limit, u64::min);
    setrlimit(
        resource,
        Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        },
    )?;
    Ok(())
}
