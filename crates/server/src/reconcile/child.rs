//! One job in a process of its own: started, listened to, watched, and ended.
//!
//! The child gets the original as its standard input, already open, and one folder to write to.
//! It says what it made in JSON lines on standard output; what it says on standard error is kept
//! only as far as an error message needs. Whatever happens to the child, this returns: a crash, a
//! hang and a flood of output all become one sentence about the file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ladder::{CachedUnit, UnitCache};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Job, Trouble};
use crate::cgroup::Group;
use crate::worker::protocol::{Answer, Event, Order, Task};

/// How often the child is looked at while it says nothing.
const LOOK: Duration = Duration::from_millis(100);

/// How long a child may take to take an answer.
const TAKE: Duration = Duration::from_secs(10);

/// The longest line taken from a child. The longest honest one is a probe.
const LONGEST_LINE: u64 = 4 << 20;

/// What is kept of standard error.
const KEPT_LINES: usize = 8;
const LONGEST_KEPT: usize = 300;

/// How long a job may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) whole: Option<Duration>,
    /// Without saying anything.
    pub(crate) silence: Duration,
}

/// Called for each event; for an idle moment with `None`.
type Listener<'a> = &'a mut dyn FnMut(Option<Event>, &Path) -> Result<(), Trouble>;

/// Runs `order` over `original` to its end.
pub(crate) fn run(
    job: &Job<'_>,
    original: File,
    order: &Order,
    limits: Limits,
    listener: Listener<'_>,
) -> Result<(), Trouble> {
    // A live source's pictures that come while its worker waits are lost: it is bounded by nothing.
    let group = match order.task {
        Task::Live(_) => None,
        _ => Group::make(&format!("{}-{}", job.work.name(), order.task.name())),
    };
    let order = &Order {
        group: group.as_ref().map(Group::entrance),
        ..order.clone()
    };
    let folder = Folder::make(job, order)?;
    let mut running = Running::start(job, original, order, &folder.path)?;
    let outcome = attend(job, &mut running, order, limits, &folder.path, listener);
    let exit = running.end();
    let words = running.last_words();
    job.keep_words(words.join("\n"));
    match outcome {
        Ok(Ending::Done) => Ok(()),
        Ok(Ending::Silent) => Err(Trouble::Died(how_it_ended(order, exit, &words.join("; ")))),
        Err(trouble) => Err(trouble),
    }
}

/// How the child's output ended.
enum Ending {
    /// It said that it is done.
    Done,
    /// It closed its output without saying so.
    Silent,
}

/// Listens until the child is done, fails, goes quiet for too long or is not wanted any more.
fn attend(
    job: &Job<'_>,
    running: &mut Running,
    order: &Order,
    limits: Limits,
    folder: &Path,
    listener: Listener<'_>,
) -> Result<Ending, Trouble> {
    let began = Instant::now();
    let mut heard = began;
    let name = &order.name;
    loop {
        let said = running.said.recv_timeout(LOOK);
        if job.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        let now = Instant::now();
        match said {
            Ok(Said::Event(Event::Done)) => return Ok(Ending::Done),
            Ok(Said::Event(Event::Failed { message, full })) => {
                let trouble = if full { Trouble::Full } else { Trouble::Failed };
                return Err(trouble(message));
            }
            Ok(Said::Event(Event::Wanted { key })) => {
                match running.answer(job.app.units.get(&key)) {
                    Ok(()) => heard = Instant::now(),
                    Err(error) if is_gone(&error) => return Ok(Ending::Silent),
                    Err(error) => {
                        return Err(Trouble::Died(format!("{name}: the worker: {error}")));
                    }
                }
            }
            Ok(Said::Event(event)) => {
                listener(Some(event), folder)?;
                // From here on: what the listener waits for is not the child's silence.
                heard = Instant::now();
            }
            Ok(Said::Nonsense(what)) => {
                return Err(Trouble::Failed(format!(
                    "{name}: the worker said something else than agreed: {what}"
                )));
            }
            Ok(Said::End) | Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Silent),
            Err(RecvTimeoutError::Timeout) => listener(None, folder)?,
        }
        if let Some(whole) = limits.whole.filter(|whole| now - began > *whole) {
            return Err(Trouble::Failed(format!(
                "{name}: gave up: it takes longer than {} s",
                whole.as_secs_f64()
            )));
        }
        if now - heard > limits.silence {
            return Err(Trouble::Died(format!(
                "{name}: gave up: the worker hangs, it said nothing for {} s",
                limits.silence.as_secs_f64()
            )));
        }
    }
}

/// Whether an answer failed because the child has ended.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// A sentence about a child that ended without saying how its work ended.
fn how_it_ended(order: &Order, exit: Option<ExitStatus>, last_words: &str) -> String {
    let how = match exit {
        Some(exit) => match (exit.signal(), exit.code()) {
            (Some(signal), _) => format!("crashed ({})", signal_name(signal)),
            (None, Some(code)) => format!("ended with code {code}"),
            (None, None) => "ended".to_owned(),
        },
        None => "ended".to_owned(),
    };
    let mut text = format!("{}: the worker {how}", order.name);
    if !last_words.is_empty() {
        text.push_str(": ");
        text.push_str(last_words);
    }
    text
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL: killed, or out of memory",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXFSZ => "SIGXFSZ: wrote more than it may",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// The job's own folder, gone when the job is.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make(job: &Job<'_>, order: &Order) -> Result<Self, Trouble> {
        let path = job
            .app
            .work_folder()
            .join(format!("{}-{}", job.work.name(), order.task.name()));
        let folder = Self { path };
        folder.clear();
        let made = std::fs::create_dir_all(&folder.path).and_then(|()| {
            let order = serde_json::to_vec(order).map_err(std::io::Error::other)?;
            std::fs::write(folder.path.join(Order::FILE), order)
        });
        made.map_err(|error| {
            let what = "cannot make the work folder";
            if crate::disk::is_full(&error) {
                Trouble::Full(format!("{what}: {error}"))
            } else {
                failed(&order.name, what, &error)
            }
        })?;
        Ok(folder)
    }

    fn clear(&self) {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot clear a work folder");
            }
            _ => {}
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A sentence about an operation of the server itself.
pub(crate) fn failed(name: &str, what: &str, error: &dyn std::error::Error) -> Trouble {
    Trouble::Failed(format!("{name}: {what}: {error}"))
}

/// What comes from a child's output.
enum Said {
    Event(Event),
    Nonsense(String),
    End,
}

/// The child and the threads that read from it.
struct Running {
    child: Child,
    said: Receiver<Said>,
    answers: UnixStream,
    readers: Vec<JoinHandle<()>>,
    words: Option<JoinHandle<VecDeque<String>>>,
}

impl Running {
    fn start(job: &Job<'_>, original: File, order: &Order, folder: &Path) -> Result<Self, Trouble> {
        let program = match &job.app.config.worker {
            Some(program) => program.clone(),
            // The file itself, also when it was replaced by a newer build meanwhile.
            None => PathBuf::from("/proc/self/exe"),
        };
        let cannot = |error: std::io::Error| {
            let what = format!("cannot start the worker {}", program.display());
            failed(&order.name, &what, &error)
        };
        // One socket both ways: what it says, and what it is answered.
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let answers = ours.try_clone().map_err(cannot)?;
        answers.set_write_timeout(Some(TAKE)).map_err(cannot)?;
        // Started by the job's own thread: the child dies with the thread that started it, and
        // this one lives as long as the server.
        let mut child = Command::new(&program)
            .arg0("kinora")
            .arg("worker")
            .arg(order.task.name())
            .arg(folder)
            // A group of its own: it can be ended whole, and Ctrl-C is the server's to handle.
            .process_group(0)
            .stdin(original)
            .stdout(OwnedFd::from(theirs))
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let (tell, said) = sync_channel(64);
        let Some(stderr) = child.stderr.take() else {
            return Err(cannot(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut running = Self {
            child,
            said,
            answers,
            readers: Vec::new(),
            words: None,
        };
        let listening = thread::Builder::new()
            .name("kinora-listen".to_owned())
            .spawn(move || listen(ours, &tell))
            .map_err(cannot);
        let listening = running.or_end(listening)?;
        running.readers.push(listening);
        let hearing = thread::Builder::new()
            .name("kinora-stderr".to_owned())
            .spawn(move || last_lines(stderr))
            .map_err(cannot);
        running.words = Some(running.or_end(hearing)?);
        store::fault::point("worker-started");
        Ok(running)
    }

    /// Says whether there is a unit, and gives it.
    fn answer(&mut self, unit: Option<CachedUnit>) -> std::io::Result<()> {
        let answer = unit.as_ref().map_or_else(Answer::default, |unit| Answer {
            bytes: unit.bytes.len(),
            init: unit.init.as_ref().map(Vec::len),
            start: unit.start,
            duration: unit.duration,
            codecs: unit.codecs.clone(),
        });
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        self.answers.write_all(&line)?;
        if let Some(unit) = unit {
            self.answers.write_all(&unit.bytes)?;
            self.answers.write_all(&unit.init.unwrap_or_default())?;
        }
        Ok(())
    }

    /// A thread that cannot be started must not leave a child behind.
    fn or_end<T>(&mut self, outcome: Result<T, Trouble>) -> Result<T, Trouble> {
        outcome.inspect_err(|_| {
            self.end();
        })
    }

    /// Makes sure that the child is gone. It has nothing to tidy up: its folder is removed.
    fn end(&mut self) -> Option<ExitStatus> {
        // A child that closed its output is ending by itself, and its own status says why.
        if !self.readers.is_empty() && self.closed() {
            self.wait_a_moment();
        }
        // Not reaped yet, so the number is still its own. The whole group, so that nothing it
        // started keeps its output open; an error means that all of it is gone.
        if let Some(group) = self.pid() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let exit = self.child.wait().ok();
        // The listener may be waiting for room in the channel.
        while self.said.try_recv().is_ok() || self.said.recv_timeout(LOOK).is_ok() {}
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        exit
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    fn wait_a_moment(&self) {
        const MOMENT: Timespec = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let child = self.pid().map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let Some(Ok(child)) = child else {
            return;
        };
        let mut ended = [PollFd::new(&child, PollFlags::IN)];
        // Whether it ended is asked for afterwards; an interrupted wait only asks sooner.
        let _ = poll(&mut ended, Some(&MOMENT));
    }

    /// Whether the child closed its output, as far as the listening thread has seen.
    fn closed(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    /// The end of what the child said on standard error.
    fn last_words(&mut self) -> Vec<String> {
        let lines = self.words.take().and_then(|words| words.join().ok());
        lines.unwrap_or_default().into()
    }
}

fn listen(stdout: impl Read, tell: &SyncSender<Said>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let said = match (&mut stdout)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            // The child is gone: in silence, in the middle of a line, or with an answer unread, which
            // resets the connection.
            Err(_) => Said::End,
            Ok(length) if !line.ends_with(b"\n") && (length as u64) < LONGEST_LINE => Said::End,
            Ok(_) => match serde_json::from_slice(&line) {
                Ok(event) => Said::Event(event),
                Err(error) => Said::Nonsense(error.to_string()),
            },
        };
        let last = !matches!(said, Said::Event(_));
        if tell.send(said).is_err() || last {
            return;
        }
    }
}

fn last_lines(stderr: impl Read) -> VecDeque<String> {
    let mut stderr = BufReader::new(stderr);
    let mut kept = VecDeque::new();
    loop {
        let mut line = Vec::new();
        match (&mut stderr).take(64 << 10).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return kept,
            Ok(_) => {}
        }
        let text: String = String::from_utf8_lossy(&line)
            .chars()
            .filter(|c| !c.is_control())
            .take(LONGEST_KEPT)
            .collect();
        if text.trim().is_empty() {
            continue;
        }
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(text.trim().to_owned());
    }
}
