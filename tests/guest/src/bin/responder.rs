//! Stands in for the daemon: answers every job without decoding anything, in the way that it is told.
//!
//! `--mode`: `done` paints the picture and answers; `error` says that it cannot be decoded;
//! `garbage` writes what is no answer, then nothing; `twice` answers again; `late` answers when the
//! module has given up; `never` reads and says nothing; `exit` ends with a job in flight; `slow`
//! takes 50 ms; `random` draws one of all these but `exit` for each job.
//!
//! It says `ready` on stdout once streams can be opened. Whatever the module does against
//! `kinora_dec.h` it reports in a line that begins with `unexpected`.

use guest_tests::arguments::Arguments;
use guest_tests::chardev::{Control, Job, Session, advertisement, comm};
use guest_tests::random::Random;
use guest_tests::{Result, report};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;
use v4l2::sys::Mapping;
use v4l2::uapi::kinora::*;

/// Longer than the module waits, which is 900 ms.
const TOO_LONG: Duration = Duration::from_millis(1300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Done,
    Error,
    Garbage,
    Twice,
    Late,
    Never,
    Exit,
    Slow,
    Random,
}

const MODES: &[(&str, Mode)] = &[
    ("done", Mode::Done),
    ("error", Mode::Error),
    ("garbage", Mode::Garbage),
    ("twice", Mode::Twice),
    ("late", Mode::Late),
    ("never", Mode::Never),
    ("exit", Mode::Exit),
    ("slow", Mode::Slow),
    ("random", Mode::Random),
];

/// What `random` draws from, and how often of a hundred times: mostly answers, so that streams get
/// somewhere between the waits.
const DRAWN: &[(u64, Mode)] = &[
    (72, Mode::Done),
    (10, Mode::Error),
    (10, Mode::Twice),
    (4, Mode::Slow),
    (2, Mode::Garbage),
    (1, Mode::Late),
    (1, Mode::Never),
];

impl FromStr for Mode {
    type Err = ();

    fn from_str(name: &str) -> std::result::Result<Mode, ()> {
        let row = MODES.iter().find(|(one, _)| *one == name);
        row.map(|(_, mode)| *mode).ok_or(())
    }
}

fn main() -> ExitCode {
    report(respond())
}

fn respond() -> Result<ExitCode> {
    let arguments = Arguments::of_process(&[("mode", "done"), ("seed", "1")])?;
    let mode: Mode = arguments.get("mode")?;
    let seed: u64 = arguments.get("seed")?;
    let control = Control::open().map_err(|error| format!("open the chardev: {error}"))?;
    control
        .advertise(&mut advertisement())
        .map_err(|error| format!("advertise: {error}"))?;
    say("ready");
    loop {
        let event = control.event().map_err(|error| format!("event: {error}"))?;
        let session = event.session;
        match event.r#type {
            KINORA_DEC_EVENT_OPEN => match control.attach(session) {
                Ok(attached) => {
                    say(&format!("session {session} of {}", comm(&event)));
                    let worker = Worker::new(session, attached, mode, seed ^ session);
                    std::thread::spawn(move || worker.run());
                }
                // The stream ended between the event and now.
                Err(Errno::NOENT) => {}
                Err(error) => say(&format!("unexpected: session {session}: attach: {error}")),
            },
            KINORA_DEC_EVENT_HUNG => say(&format!("hung {session}")),
            KINORA_DEC_EVENT_CLOSE => say(&format!("closed {session}")),
            other => say(&format!("unexpected: event of type {other}")),
        }
    }
}

/// One line on stdout, whole even when threads speak at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Who started this may have stopped listening; the work goes on.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What answers one session.
struct Worker {
    number: u64,
    session: Session,
    mode: Mode,
    random: Random,
    buffers: HashMap<(u32, u32), Mapping>,
    last_job: u64,
}

impl Worker {
    fn new(number: u64, session: Session, mode: Mode, seed: u64) -> Worker {
        Worker {
            number,
            session,
            mode,
            random: Random::new(seed),
            buffers: HashMap::new(),
            last_job: 0,
        }
    }

    fn run(mut self) {
        loop {
            match self.session.job() {
                Ok(Some(message)) => match Job::parse(message) {
                    Ok(job) => self.take(&job),
                    Err(error) => self.unexpected(&format!("job: {error}")),
                },
                Ok(None) => return,
                Err(error) => return self.unexpected(&format!("read: {error}")),
            }
        }
    }

    fn unexpected(&self, what: &str) {
        say(&format!("unexpected: session {}: {what}", self.number));
    }

    fn take(&mut self, job: &Job) {
        let number = job.head.job;
        if number <= self.last_job || job.head.session != self.number {
            self.unexpected(&format!("job {number} after {}", self.last_job));
        }
        self.last_job = number;
        let mode = match self.mode {
            Mode::Random => self.drawn(),
            mode => mode,
        };
        match mode {
            Mode::Done | Mode::Random => self.paint_and_answer(job),
            Mode::Error => self.answer(number, KINORA_DEC_STATUS_ERROR),
            Mode::Garbage => self.write_garbage(number),
            Mode::Twice => {
                self.paint_and_answer(job);
                self.answer_stale(number);
            }
            Mode::Late => {
                std::thread::sleep(TOO_LONG);
                self.answer_stale(number);
            }
            Mode::Never => {}
            Mode::Exit => std::process::exit(0),
            Mode::Slow => {
                std::thread::sleep(Duration::from_millis(50));
                self.paint_and_answer(job);
            }
        }
    }

    fn drawn(&mut self) -> Mode {
        let mut rest = self.random.below(100);
        for (times, mode) in DRAWN {
            match rest.checked_sub(*times) {
                None => return *mode,
                Some(left) => rest = left,
            }
        }
        Mode::Done
    }

    fn paint_and_answer(&mut self, job: &Job) {
        let head = &job.head;
        let key = (head.capture_index, head.capture_generation);
        let oldest = head.oldest_generation;
        self.buffers
            .retain(|(_, generation), _| *generation >= oldest);
        if !self.buffers.contains_key(&key) {
            match self.session.buffer(key.0, key.1) {
                Ok(mapping) => {
                    if mapping.len() < head.capture_size as usize {
                        self.unexpected(&format!("buffer {key:?} is too small: {}", mapping.len()));
                    }
                    self.buffers.insert(key, mapping);
                }
                // The client has stopped the stream or taken its buffers away meanwhile.
                Err(Errno::NOENT | Errno::CANCELED) => {}
                Err(error) => self.unexpected(&format!("buffer {key:?}: {error}")),
            }
        }
        if let Some(mapping) = self.buffers.get(&key) {
            mapping.fill(head.job as u8);
        }
        self.answer(head.job, KINORA_DEC_STATUS_DONE);
    }

    /// Answers; the client may have cancelled the job, so that is no surprise.
    fn answer(&self, job: u64, status: u32) {
        match self.session.answer(job, status) {
            Ok(()) | Err(Errno::CANCELED) => {}
            Err(error) => self.unexpected(&format!("answer to job {job}: {error}")),
        }
    }

    /// Answers a job that is not in flight any longer: the module must say so.
    fn answer_stale(&self, job: u64) {
        match self.session.answer(job, KINORA_DEC_STATUS_DONE) {
            Err(Errno::CANCELED) => {}
            other => self.unexpected(&format!("stale answer to job {job}: {other:?}")),
        }
    }

    /// Everything that is no answer, each with the error that it must get.
    fn write_garbage(&mut self, job: u64) {
        let mut noise = [0; 64];
        self.random.fill(&mut noise);
        let expect = |what: &str, seen: rustix::io::Result<()>, expected: &[Errno]| {
            if !seen.is_err_and(|error| expected.contains(&error)) {
                self.unexpected(&format!("{what}: {seen:?}, not {expected:?}"));
            }
        };
        for size in [0, 1, 8, 15, 17, 64] {
            let seen = self.session.write(&noise[..size]);
            // Some kernels answer an empty write before the module sees it.
            if size > 0 {
                expect(&format!("{size} bytes"), seen, &[Errno::INVAL]);
            }
        }
        let stale = [Errno::CANCELED];
        expect("job 0", self.session.answer(0, 0), &stale);
        expect("the next job", self.session.answer(job + 1, 0), &stale);
        expect("the last job", self.session.answer(u64::MAX, 1), &stale);
        for status in [2, 255, u32::MAX] {
            let seen = self.session.answer(job, status);
            expect("a status", seen, &[Errno::INVAL, Errno::CANCELED]);
        }
        expect("an ioctl", self.session.unknown_ioctl(), &[Errno::NOTTY]);
        let buffer = self.session.buffer(u32::MAX, 0).map(drop);
        expect(
            "a buffer",
            buffer,
            &[Errno::NOENT, Errno::INVAL, Errno::CANCELED],
        );
        let buffer = self.session.buffer(0, u32::MAX).map(drop);
        expect(
            "a generation",
            buffer,
            &[Errno::NOENT, Errno::INVAL, Errno::CANCELED],
        );
    }
}
