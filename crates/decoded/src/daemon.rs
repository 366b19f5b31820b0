//! The daemon: one thread that hands each stream to a process of its own.
//!
//! ```text
//!   OPEN ──attach──▶ worker runs ──stream ends──▶ worker exits 0
//!                     │      │
//!                 HUNG│      │crashes, is killed
//!                     ▼      ▼
//!                  SIGKILL   reaped, said in the log: the module fails its job in flight, and
//!                            announces the stream again with its next job
//! ```
//!
//! A worker that ends badly costs its own stream one picture. Streams are announced with a job, so
//! one that crashes every worker starts no more of them than it brings jobs.

use crate::capture::Coherence;
use crate::device::{self, Control};
use crate::figures::{self, DaemonFigures, SessionFigures, Shared};
use crate::record;
use crate::sandbox::{self, Walls};
use crate::session::Session;
use crate::wire::Codec;
use crate::worker::{self, Chain, Device};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use thiserror::Error;
use v4l2::uapi::kinora::{
    KINORA_DEC_EVENT_CLOSE, KINORA_DEC_EVENT_HUNG, KINORA_DEC_EVENT_OPEN, kinora_dec_event,
};

/// A worker whose stream has ended gets so long to finish the picture at hand.
const GRACE: Duration = Duration::from_secs(2);

/// Who reads figures and does not take them at once does not get them.
const STATS_TIMEOUT: Duration = Duration::from_millis(100);

/// What the daemon is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device.
    pub device: PathBuf,
    /// The user to become when started as root.
    pub user: String,
    /// Stop when every session so far has ended, and at least one has.
    pub once: bool,
    /// A file that jobs are appended to.
    pub record: Option<PathBuf>,
    /// Where figures are asked for.
    pub socket: PathBuf,
}

/// Why the daemon cannot go on.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    source: io::Error,
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error { what, source }
}

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Jobs that were answered.
    pub jobs: u64,
    /// Jobs that ended with an error.
    pub errors: u64,
    /// Workers that ended otherwise than by their stream's end.
    pub workers_failed: u64,
}

struct Worker {
    session: u64,
    process: Pid,
    client: u32,
    comm: String,
    codec: &'static str,
    figures: Shared,
    /// Its stream has ended; it is killed if it has not by then.
    killed_at: Option<Instant>,
    hung: bool,
}

/// Everything the loop looks after.
struct Daemon {
    control: Control,
    signals: OwnedFd,
    stats: Option<UnixListener>,
    record: Option<File>,
    coherence: Coherence,
    once: bool,
    workers: Vec<Worker>,
    sessions_started: u64,
    past: Ended,
    walls_said: bool,
}

/// Serves until a signal ends it, or the sessions with `once`.
pub fn run(options: &Options) -> Result<Ended, Error> {
    let path = &options.device;
    let control = Control::open(path).map_err(failed(path.display().to_string()))?;
    let record = options
        .record
        .as_ref()
        .map(|path| open_record(path).map_err(failed(path.display().to_string())))
        .transpose()?;
    let stats = match listen(&options.socket) {
        Ok(listener) => Some(listener),
        Err(error) => {
            let socket = options.socket.display();
            tracing::warn!(%socket, %error, "no figures will be given");
            None
        }
    };
    let signals = signals().map_err(failed("waiting for signals"))?;
    let coherence = device::coherence();
    let notify = Notify::from_environment();
    drop_privileges(&options.user)?;
    warm_up();
    control.advertise().map_err(failed(
        "advertising formats (is the module of the same version?)",
    ))?;
    notify.say("READY=1");
    tracing::info!(device = %path.display(), "decoding");
    let mut daemon = Daemon {
        control,
        signals,
        stats,
        record,
        coherence,
        once: options.once,
        workers: Vec::new(),
        sessions_started: 0,
        past: Ended {
            jobs: 0,
            errors: 0,
            workers_failed: 0,
        },
        walls_said: false,
    };
    let outcome = daemon.serve();
    notify.say("STOPPING=1");
    daemon.end();
    outcome?;
    tracing::info!(
        jobs = daemon.past.jobs,
        errors = daemon.past.errors,
        "ended"
    );
    Ok(daemon.past)
}

impl Daemon {
    fn serve(&mut self) -> Result<(), Error> {
        loop {
            let timeout = self
                .workers
                .iter()
                .filter_map(|worker| worker.killed_at)
                .min();
            let timeout = timeout.map(|at| {
                let left = at.saturating_duration_since(Instant::now());
                Timespec::try_from(left).unwrap_or_default()
            });
            let mut fds = vec![
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.control, PollFlags::IN),
            ];
            fds.extend(
                self.stats
                    .iter()
                    .map(|stats| PollFd::new(stats, PollFlags::IN)),
            );
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed("waiting")(error.into())),
            }
            let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] && self.signalled()? {
                return Ok(());
            }
            if ready[1] {
                self.events()?;
            }
            if ready.get(2) == Some(&true) {
                self.give_figures();
            }
            self.kill_overdue();
            if self.once && self.sessions_started > 0 && self.workers.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what signals have come; whether one of them ends the daemon.
    fn signalled(&mut self) -> Result<bool, Error> {
        let mut ends = false;
        loop {
            let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
            match rustix::io::read(&self.signals, &mut info) {
                Ok(_) => {
                    // The signal's number comes first.
                    let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
                    ends |= number != libc::SIGCHLD as u32;
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed("reading signals")(error.into())),
            }
        }
        self.reap();
        Ok(ends)
    }

    fn events(&mut self) -> Result<(), Error> {
        while let Some(event) = self.control.event().map_err(failed("reading events"))? {
            match event.r#type {
                KINORA_DEC_EVENT_OPEN => self.open(&event)?,
                KINORA_DEC_EVENT_HUNG => self.hung(event.session),
                KINORA_DEC_EVENT_CLOSE => self.close(event.session),
                other => tracing::warn!(event = other, "an event of another kind"),
            }
        }
        Ok(())
    }

    fn open(&mut self, event: &kinora_dec_event) -> Result<(), Error> {
        let session = event.session;
        let descriptor = match self.control.attach(session) {
            Ok(descriptor) => descriptor,
            // The stream has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(error) => {
                tracing::warn!(session, %error, "cannot attach");
                return Ok(());
            }
        };
        let end = event.comm.iter().position(|&byte| byte == 0);
        let comm = String::from_utf8_lossy(&event.comm[..end.unwrap_or(event.comm.len())]);
        let codec = Codec::of(event.coded).map_or("unknown", Codec::name);
        let figures = match Shared::new() {
            Ok(figures) => figures,
            Err(error) => {
                tracing::error!(session, %error, "no memory for a worker");
                return Ok(());
            }
        };
        match self.fork(session, descriptor, &figures) {
            Ok(process) => {
                let client = event.pid;
                let (width, height) = (event.width, event.height);
                tracing::debug!(session, client, %comm, codec, width, height, "session");
                self.sessions_started += 1;
                self.workers.push(Worker {
                    session,
                    process,
                    client,
                    comm: comm.into_owned(),
                    codec,
                    figures,
                    killed_at: None,
                    hung: false,
                });
            }
            // The descriptor is closed: the job fails, the next one tries again.
            Err(error) => tracing::error!(session, %error, "cannot start a worker"),
        }
        Ok(())
    }

    /// Starts the process of a session. In the new process this does not return.
    fn fork(&mut self, session: u64, descriptor: OwnedFd, figures: &Shared) -> io::Result<Pid> {
        let parent = rustix::process::getpid();
        // SAFETY: this process has one thread, so everything is as usable in the new one.
        let process = unsafe { libc::fork() };
        match Pid::from_raw(process) {
            Some(process) if process.as_raw_nonzero().get() > 0 => Ok(process),
            Some(_) => Err(io::Error::last_os_error()),
            None => {
                let serve = || self.be_worker(parent, session, descriptor, figures);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve));
                let code = match outcome {
                    Ok(Ok(())) => 0,
                    Ok(Err(error)) => {
                        tracing::error!(session, "worker: {}", Chain(&error));
                        1
                    }
                    Err(_) => 101,
                };
                // SAFETY: always sound. exit() is not here: what it would tidy up is the daemon's.
                unsafe { libc::_exit(code) }
            }
        }
    }

    fn be_worker(
        &mut self,
        parent: Pid,
        session: u64,
        descriptor: OwnedFd,
        figures: &Shared,
    ) -> io::Result<()> {
        sandbox::die_with(parent)?;
        let record = self.record.take();
        let mut kept: Vec<BorrowedFd> = vec![descriptor.as_fd()];
        kept.extend(record.as_ref().map(AsFd::as_fd));
        close_all_but(&kept);
        worker::keep_memory();
        sandbox::limit()?;
        let stderr = io::stderr();
        let mut written = vec![stderr.as_fd()];
        written.extend(record.as_ref().map(AsFd::as_fd));
        let walls = sandbox::confine(descriptor.as_fd(), &written)?;
        if walls
            != (Walls {
                landlock: true,
                seccomp: true,
            })
            && !self.walls_said
        {
            tracing::warn!(
                session,
                landlock = walls.landlock,
                seccomp = walls.seccomp,
                "this kernel does not confine workers wholly"
            );
        }
        worker::serve(
            Device(descriptor),
            Some(session),
            figures,
            record.as_ref(),
            self.coherence,
        )
        .map(drop)
    }

    fn hung(&mut self, session: u64) {
        for worker in self
            .workers
            .iter_mut()
            .filter(|worker| worker.session == session)
        {
            worker.hung = true;
            kill(worker.process);
        }
    }

    fn close(&mut self, session: u64) {
        for worker in self
            .workers
            .iter_mut()
            .filter(|worker| worker.session == session)
        {
            worker.killed_at = Some(Instant::now() + GRACE);
        }
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        for worker in &mut self.workers {
            if worker.killed_at.is_some_and(|at| at <= now) {
                worker.killed_at = None;
                worker.hung = true;
                kill(worker.process);
            }
        }
    }

    fn reap(&mut self) {
        // Any child is a worker.
        while let Ok(Some((process, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(index) = self
                .workers
                .iter()
                .position(|worker| worker.process == process)
            {
                let worker = self.workers.swap_remove(index);
                self.buried(&worker, status);
            }
        }
    }

    fn buried(&mut self, worker: &Worker, status: WaitStatus) {
        self.past.jobs += worker.figures.jobs.load(Relaxed);
        self.past.errors += worker.figures.errors.load(Relaxed);
        // A new worker for the same kernel finds the same walls.
        self.walls_said = true;
        if status.exit_status() == Some(0) {
            return;
        }
        self.past.workers_failed += 1;
        let why = match (
            worker.hung,
            status.terminating_signal(),
            status.exit_status(),
        ) {
            (true, ..) => "did not answer in time and was killed".to_owned(),
            (_, Some(libc::SIGSYS), _) => {
                "made a system call that decoding does not need".to_owned()
            }
            (_, Some(signal), _) => format!("was ended by signal {signal}"),
            (_, _, code) => format!("ended with {}", code.unwrap_or(-1)),
        };
        tracing::error!(
            session = worker.session,
            client = worker.client,
            comm = worker.comm,
            codec = worker.codec,
            jobs = worker.figures.jobs.load(Relaxed),
            "the worker {why}"
        );
    }

    /// Ends all workers and waits for them.
    fn end(&mut self) {
        for worker in &self.workers {
            kill(worker.process);
        }
        for worker in std::mem::take(&mut self.workers) {
            let _ = rustix::process::waitpid(Some(worker.process), WaitOptions::empty());
            self.past.jobs += worker.figures.jobs.load(Relaxed);
            self.past.errors += worker.figures.errors.load(Relaxed);
        }
    }

    fn figures(&self) -> DaemonFigures {
        DaemonFigures {
            pid: std::process::id(),
            sessions_started: self.sessions_started,
            workers_failed: self.past.workers_failed,
            past_jobs: self.past.jobs,
            past_errors: self.past.errors,
            sessions: self.workers.iter().map(Worker::figures).collect(),
        }
    }

    fn give_figures(&self) {
        let Some(Ok((mut client, _))) = self.stats.as_ref().map(UnixListener::accept) else {
            return;
        };
        // Whoever asks and leaves is no matter.
        let _ = client.set_write_timeout(Some(STATS_TIMEOUT));
        if let Ok(json) = serde_json::to_vec(&self.figures()) {
            let _ = client.write_all(&json);
        }
    }
}

impl Worker {
    fn figures(&self) -> SessionFigures {
        let figures = &self.figures;
        let process = self.process.as_raw_nonzero().get().unsigned_abs();
        let (page_faults, private_bytes) = figures::of_process(process);
        SessionFigures {
            session: self.session,
            codec: self.codec.to_owned(),
            client_pid: self.client,
            client: self.comm.clone(),
            worker_pid: process,
            width: figures.width.load(Relaxed),
            height: figures.height.load(Relaxed),
            jobs: figures.jobs.load(Relaxed),
            errors: figures.errors.load(Relaxed),
            ms_median: figures.quantile(0.5),
            ms_p99: figures.quantile(0.99),
            calls: figures.calls.load(Relaxed),
            page_faults,
            private_bytes,
            picture_bytes: figures.picture_bytes.load(Relaxed),
        }
    }
}

/// Asks a running daemon for its figures.
pub fn ask(socket: &Path) -> io::Result<DaemonFigures> {
    let client = UnixStream::connect(socket)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(serde_json::from_reader(client)?)
}

fn kill(process: Pid) {
    // It may be gone; then it waits to be reaped, so the number is nobody else's.
    let _ = rustix::process::kill_process(process, Signal::KILL);
}

/// A descriptor that reads the signals the daemon lives by, which are blocked from now on.
fn signals() -> io::Result<OwnedFd> {
    // SAFETY: all zero is a valid set; it is emptied and filled before use, and the calls only
    // read it.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGCHLD] {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Becomes the user, if this is root, and gives up everything but a look at processes.
fn drop_privileges(name: &str) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        let find = |name: &str| sandbox::user(name).map_err(failed(format!("user {name}")));
        let user = match find(name)? {
            Some(user) => user,
            None => {
                tracing::debug!(user = name, "no such user: running as nobody");
                find("nobody")?
                    .ok_or_else(|| failed(format!("user {name}"))(io::ErrorKind::NotFound.into()))?
            }
        };
        sandbox::become_user(user).map_err(failed("becoming another user"))?;
    }
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| failed("giving up privileges")(error.into()))?;
    sandbox::without_files(&["/proc"]).map_err(failed("giving up the file system"))?;
    Ok(())
}

/// Opens each decoder once, so that their tables are made before the first fork and shared.
fn warm_up() {
    for codec in Codec::ALL {
        if let Err(error) = Session::open(codec) {
            tracing::error!(codec = codec.name(), "{}", Chain(&error));
        }
    }
}

fn open_record(path: &Path) -> io::Result<File> {
    let mut file = File::options().create(true).append(true).open(path)?;
    if file.metadata()?.len() == 0 {
        file.write_all(&record::header())?;
    }
    Ok(file)
}

/// Listens where anybody may ask for figures.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // One that a daemon left behind which was killed. Only one daemon has the device open.
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Closes every descriptor above standard error but these.
fn close_all_but(kept: &[BorrowedFd]) {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for end in kept.into_iter().chain([u32::MAX]) {
        if first < end {
            // SAFETY: the descriptors in between belong to the daemon's values, which this process
            // inherited, never uses, and leaves without dropping. Kernels before 5.9 lack the
            // call; there the worker keeps descriptors that seccomp lets it do nothing with.
            unsafe { libc::syscall(libc::SYS_close_range, first, end - 1, 0) };
        }
        first = end.saturating_add(1);
    }
}

/// systemd's readiness protocol (sd_notify(3)).
struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    fn from_environment() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name).ok(),
                None => SocketAddr::from_pathname(&name).ok(),
            }
        });
        // Connected while the file system is still there.
        let connected = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect_addr(&address).ok()?;
            Some((socket, address))
        });
        Self(connected)
    }

    fn say(&self, what: &str) {
        if let Some((socket, _)) = &self.0 {
            // Nobody listening is systemd's matter.
            let _ = socket.send(what.as_bytes());
        }
    }
}
