//! The other side of a job: `kinora worker <task> <folder>`, started by the server's reconciler.
//!
//! A worker reads one file that a stranger made, through libav, so it gives up what it does not
//! need before it begins: priority, disk priority, memory, core dumps, life after its server's
//! death, and sight of all files but its own (`confine`). It writes to its folder and says on
//! standard output what it wrote (`protocol`); it touches neither store nor catalog.

mod confine;
pub(crate) mod protocol;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use ladder::{Options, Plan, Progress, Report, Segment, Sink};
use media::{OpenOptions, Probe};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal,
    setpriority_process, setrlimit,
};

use crate::problem::chain;
use crate::process::idle_disk_class;
use protocol::{Done, Event, Order, Task};

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
    if let Err(error) = give_up_rights(&order).and_then(|()| confine_to(&order, &folder)) {
        return complain(&format!("cannot give up rights: {error}"));
    }
    let said = match work(&order, &folder) {
        Ok(()) => say(&Event::Done),
        Err(message) => say(&Event::Failed {
            message: named(&message, &order),
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

/// The message with the original's own name: libav was given another one.
fn named(message: &str, order: &Order) -> String {
    let input = order.input.to_string_lossy();
    let message = message.replace(input.as_ref(), &order.name);
    if message.contains(&order.name) {
        message
    } else {
        format!("{}: {message}", order.name)
    }
}

fn work(order: &Order, folder: &Path) -> Result<(), String> {
    match &order.task {
        Task::Probe => probe(order),
        Task::Thumbnail { width } => thumbnail(order, folder, *width),
        Task::Ladder { segment_s, done } => ladder(order, folder, *segment_s, done),
    }
}

fn probe(order: &Order) -> Result<(), String> {
    let probe = media::probe(&order.input, &OpenOptions::default()).map_err(|e| chain(&e))?;
    let event = Event::Probed {
        not_a_video: not_a_video(&probe).map(|what| format!("{}: {what}", order.name)),
        probe: serde_json::to_value(&probe).map_err(|e| chain(&e))?,
    };
    say(&event).map_err(|e| chain(&e))
}

/// Why there is nothing to stream in a file that could be read.
fn not_a_video(probe: &Probe) -> Option<String> {
    let mut videos = probe.video.iter().filter(|video| !video.attached_picture);
    if videos.next().is_none() {
        return Some(match probe.audio.first() {
            Some(audio) => format!("no video stream, only sound ({})", audio.codec),
            None => "no video stream".to_owned(),
        });
    }
    let picture = probe.container.ends_with("_pipe") || probe.container == "ico";
    picture.then(|| format!("a picture ({}), not a video", probe.video[0].codec))
}

fn thumbnail(order: &Order, folder: &Path, width: u32) -> Result<(), String> {
    const FILE: &str = "thumbnail.jpg";
    let jpeg = media::thumbnail(&order.input, width).map_err(|e| chain(&e))?;
    std::fs::write(folder.join(FILE), jpeg).map_err(|e| chain(&e))?;
    let file = FILE.to_owned();
    say(&Event::Picture { file }).map_err(|e| chain(&e))
}

fn ladder(order: &Order, folder: &Path, segment_s: f64, done: &[Done]) -> Result<(), String> {
    let encoder = media::choose_h264_encoder().map_err(|e| chain(&e))?;
    let made_by = media::encoder_build(&encoder).map_err(|e| chain(&e))?;
    let options = Options {
        segment_s,
        encoder: Some(encoder),
        done: done
            .iter()
            .map(|one| ((one.rung.clone(), one.number), one.bytes))
            .collect(),
        ..Options::default()
    };
    let mut sink = Speaker {
        folder,
        made_by,
        extension: "",
    };
    // Cancelled by the server's signal; nothing in here decides to.
    let cancel = AtomicBool::new(false);
    match ladder::run(&order.input, &options, &mut sink, &cancel) {
        Ok(_) => Ok(()),
        Err(error) => Err(chain(&error)),
    }
}

/// Writes what the ladder makes into the folder and says so.
struct Speaker<'a> {
    folder: &'a Path,
    made_by: String,
    extension: &'static str,
}

impl Speaker<'_> {
    fn write(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        std::fs::write(self.folder.join(file), bytes)
    }
}

impl Sink for Speaker<'_> {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.extension = plan.container.extension();
        say(&Event::Plan {
            plan: plan.clone(),
            made_by: self.made_by.clone(),
        })
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        let file = format!("{rung}-init.mp4");
        self.write(&file, bytes)?;
        let rung = rung.to_owned();
        say(&Event::Init { rung, file })
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        let file = format!("{}-{:05}.{}", segment.rung, segment.index, self.extension);
        self.write(&file, &segment.bytes)?;
        say(&Event::Segment {
            rung: segment.rung,
            number: segment.index,
            start_s: segment.start,
            duration_s: segment.duration,
            codecs: segment.codecs,
            file,
        })
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
    setpriority_process(None, 19)?;
    if let Err(error) = idle_disk_class() {
        // Some containers forbid it; the work is the same, only less polite.
        complain(&format!("cannot take the idle disk class: {error}"));
    }
    // When memory runs out this process is the one to lose: it is made again, the server is not.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "800") {
        complain(&format!(
            "cannot offer itself to the out-of-memory killer: {error}"
        ));
    }
    lower(Resource::Core, 0)?;
    lower(Resource::Fsize, LARGEST_FILE)?;
    match order.task {
        Task::Probe | Task::Thumbnail { .. } => lower(Resource::As, LOOKING_MEMORY),
        // Not the address space: drivers of hardware encoders reserve far more than they use.
        Task::Ladder { .. } => lower(Resource::Data, making_memory()),
    }
}

fn confine_to(order: &Order, folder: &Path) -> io::Result<()> {
    let input = std::fs::File::open(&order.input)?;
    confine::confine(&input, folder)
}

/// No segment comes near this.
const LARGEST_FILE: u64 = 2 << 30;

/// Address space for looking at a file: its pictures may have up to 150 million pixels.
const LOOKING_MEMORY: u64 = 4 << 30;

/// Memory for making a stream: 60 % of the machine's, but as much as one unit of work needs.
fn making_memory() -> u64 {
    const LEAST: u64 = 1 << 30;
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    total.map_or(LEAST, |kib| (kib * 1024 / 10 * 6).max(LEAST))
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
