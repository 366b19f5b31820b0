//! Boots a machine, runs one command in it and brings back what came of it.
//!
//! A machine is a process (User Mode Linux or QEMU) in a process group of its own. Four pipes lead out
//! of it: the command's two streams, the kernel's log and a line with the exit status. What it is to
//! do lies in a folder that its first program reads (`xtask/vm/init.sh`). Whatever happens it ends: the
//! watchdog kills the group when the time is over, the kernel kills the process with the thread that
//! started it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::cache::Lock;
use super::guest::MODULE;
use super::kernel::Built;
use super::{Bench, checkout, die_with_parent, splat};

const INIT: &str = include_str!("../../vm/init.sh");

/// So long before the end a guest under QEMU writes what is blocked into its log. User Mode Linux is
/// asked when the time is over.
const DUMP_BEFORE_END: Duration = Duration::from_secs(3);

/// A machine to be booted; each run boots it anew.
pub struct Machine<'a> {
    bench: &'a Bench,
    built: &'a Built,
    /// A folder of the host that is `/share` in the guest, to be written to.
    pub share: Option<PathBuf>,
    /// Variables for the command.
    pub env: Vec<(String, String)>,
    pub memory: Memory,
    pub cpus: u32,
    /// Processors of the host that it runs on; none are all. User Mode Linux is several processes that
    /// take turns: on one processor it is up to twice as fast as where each turn wakes another one up.
    pub processors: Vec<usize>,
    pub timeout: Duration,
    /// Skip the time in which the guest is idle.
    pub time_travel: bool,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The command did, with this status: 128 and the number for a signal.
    Exited(u8),
    TimedOut,
    /// The machine ended without a word of the command; why, as far as it is known.
    Died(String),
}

pub struct Outcome {
    pub end: End,
    /// The kernel's log, and what the program that is the machine says itself.
    pub log: String,
}

impl Outcome {
    /// What the kernel complained about.
    pub fn complaints(&self) -> Vec<String> {
        splat::complaints(&self.log)
    }
}

/// Memory of a machine, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub u64);

impl std::str::FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = match text.strip_suffix('G') {
            Some(number) => (number, 1024),
            None => (text.strip_suffix('M').unwrap_or(text), 1),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|size| (128..=1 << 20).contains(size))
            .map(Self)
            .ok_or_else(|| "a size from 128M on, such as 512M or 2G".to_owned())
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}M", self.0)
    }
}

/// A folder that the guest has.
struct Mount {
    name: &'static str,
    folder: PathBuf,
    place: &'static str,
    writable: bool,
}

/// The folder that says what a guest is to do; removed with this.
struct Job {
    folder: TempDir,
    mounts: Vec<Mount>,
    _lock: Lock,
}

impl<'a> Machine<'a> {
    pub fn new(bench: &'a Bench, built: &'a Built) -> Self {
        Self {
            bench,
            built,
            share: None,
            env: Vec::new(),
            memory: Memory(2048),
            cpus: built.kernel.cpus.0,
            processors: Vec::new(),
            timeout: Duration::from_secs(120),
            time_travel: false,
        }
    }

    /// Boots, runs the command and writes its streams to `out` and `err` as they come. To be called
    /// from a thread that lives as long as the machine: it is killed with it.
    pub fn run(
        &self,
        command: &[OsString],
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
    ) -> Result<Outcome> {
        self.check()?;
        let dump = self.timeout.checked_sub(DUMP_BEFORE_END);
        let dump = dump.filter(|dump| !dump.is_zero() && !self.built.kernel.is_uml());
        let job = self.job(command, false, dump)?;
        let pipes = Pipes::new()?;
        let mut process = self.process(&job, Streams::Pipes(pipes.ends()))?;
        run_on(&mut process, &self.processors);
        let monitor = Monitor::of(&job);
        let monitor = self.built.kernel.is_uml().then_some(&monitor);
        let ended = watch(process, self.timeout, monitor, pipes, out, err)?;
        let log = String::from_utf8_lossy(&ended.log).into_owned();
        Ok(Outcome {
            end: end_of(&ended, &log),
            log,
        })
    }

    /// Boots with a shell on this terminal.
    pub fn shell(&self) -> Result<ExitStatus> {
        self.check()?;
        let job = self.job(&[], true, None)?;
        let mut process = self.process(&job, Streams::Terminal)?;
        die_with_parent(&mut process);
        let settings = Command::new("stty").arg("-g").output();
        let status = process.status().context("start the machine")?;
        // A machine that was killed leaves the terminal as it had set it.
        if let Ok(settings) = settings {
            let settings = String::from_utf8_lossy(&settings.stdout);
            let _ = Command::new("stty").arg(settings.trim()).status();
        }
        Ok(status)
    }

    fn check(&self) -> Result<()> {
        let kernel = self.built.kernel;
        ensure!(
            !self.time_travel || kernel.time_travel,
            "only a machine with one CPU that is a program can skip time: not {}",
            kernel.name
        );
        ensure!(
            (1..=kernel.cpus.1).contains(&self.cpus),
            "{} has 1 to {} CPUs: {}",
            kernel.name,
            kernel.cpus.1,
            self.cpus
        );
        Ok(())
    }

    fn job(&self, command: &[OsString], shell: bool, dump: Option<Duration>) -> Result<Job> {
        let (folder, lock) = self.bench.job_folder()?;
        let at = |name: &str| folder.path().join(name);
        let mounts = self.mounts()?;
        fs::create_dir(at("mnt"))?;
        let mut table = String::new();
        for Mount {
            name,
            folder,
            place,
            writable,
        } in &mounts
        {
            symlink(folder, at("mnt").join(name))?;
            let mode = if *writable { "rw" } else { "ro" };
            table += &format!("{name} {place} {mode}\n");
        }
        fs::write(at("mounts"), table)?;
        fs::write(at("init"), INIT)?;
        fs::write(at("env"), self.environment(&mounts))?;
        fs::write(at("command"), nul_separated(command)?)?;
        let kind = if self.built.kernel.is_uml() {
            "uml"
        } else {
            "qemu"
        };
        let shell = if shell { "yes" } else { "no" };
        let dump = dump.map_or(String::new(), |dump| dump.as_secs_f64().to_string());
        let host_job = folder.path().display();
        fs::write(
            at("settings"),
            format!("kind={kind}\nhost_job={host_job}\nshell={shell}\ndump_after={dump}\n"),
        )?;
        Ok(Job {
            folder,
            mounts,
            _lock: lock,
        })
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let mount = |name, folder: &Path, place| Mount {
            name,
            folder: folder.to_owned(),
            place,
            writable: false,
        };
        let mut mounts = vec![
            mount("modules", &self.built.modules(), "/usr/lib/modules"),
            mount("programs", &self.bench.guest.programs(), "/kinora/bin"),
            mount("source", checkout(), "/kinora/src"),
        ];
        if let Some((folder, _)) = self.bench.guest.module(MODULE, self.built) {
            mounts.push(mount("module", &folder, "/kinora/module"));
        }
        if let Some(media) = std::env::var_os("KINORA_MEDIA") {
            mounts.push(mount(
                "media",
                &existing(Path::new(&media))?,
                "/kinora/media",
            ));
        }
        if let Some(share) = &self.share {
            mounts.push(Mount {
                writable: true,
                ..mount("share", &existing(share)?, "/share")
            });
        }
        Ok(mounts)
    }

    /// Variables, NUL after each.
    fn environment(&self, mounts: &[Mount]) -> Vec<u8> {
        let mut variables = vec![(
            "KINORA_KERNEL".to_owned(),
            self.built.kernel.name.to_owned(),
        )];
        if mounts.iter().any(|mount| mount.name == "media") {
            variables.push(("KINORA_MEDIA".to_owned(), "/kinora/media".to_owned()));
        }
        if let Some((_, module)) = self.bench.guest.module(MODULE, self.built) {
            variables.push((
                "KINORA_MODULE".to_owned(),
                format!("/kinora/module/{module}"),
            ));
        }
        variables.extend(self.env.iter().cloned());
        let lines = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}\0"));
        lines.collect::<String>().into_bytes()
    }

    fn process(&self, job: &Job, streams: Streams) -> Result<Command> {
        if self.built.kernel.is_uml() {
            self.uml(job, streams)
        } else {
            Ok(self.qemu(job, streams))
        }
    }

    fn uml(&self, job: &Job, streams: Streams) -> Result<Command> {
        let mut command = Command::new(self.built.image());
        let folder = job.folder.path().display();
        command
            .arg(format!("mem={}", self.memory))
            .args([format!("uml_dir={folder}/"), format!("umid={UMID}")])
            .args(["rootfstype=hostfs", "root=/dev/root", "ro"])
            .arg(format!("rootflags={}", self.bench.root.path().display()))
            .args(["init=/kinora/boot", &format!("kinora.job={folder}")])
            .args(["con=null", "ssl=null", "console=tty0"])
            .args(KERNEL_ARGUMENTS)
            .args(self.built.kernel.arguments.split_whitespace());
        match streams {
            Streams::Terminal => {
                command.arg("con0=fd:0,fd:1");
            }
            Streams::Pipes(ends) => {
                // Lines that nothing comes from have pipes for it too: /dev/null cannot be waited on,
                // and the message that says so allocates where uml-debug forbids it.
                let [inputs @ .., console] = ends.idle;
                command.arg(format!("con0=fd:{console},fd:1"));
                for (line, (input, output)) in inputs.iter().zip(ends.lines).enumerate() {
                    command.arg(format!("ssl{line}=fd:{input},fd:{output}"));
                }
            }
        }
        // With more than one CPU there is no other way to run user programs than by seccomp.
        if self.cpus > 1 {
            command.args(["seccomp=on", &format!("ncpus={}", self.cpus)]);
        } else {
            command.arg("seccomp=auto");
        }
        if self.time_travel {
            command.arg("time-travel");
        }
        command.env("TMPDIR", self.place_for_memory(Path::new("/dev/shm"))?);
        Ok(command)
    }

    /// Where the file that is the guest's memory lies: a tmpfs that has room and may be executed
    /// from, or the cache's disk.
    fn place_for_memory(&self, tmpfs: &Path) -> Result<PathBuf> {
        let needed = self.memory.0 << 20;
        match free_for_programs(tmpfs) {
            Some(free) if free >= needed => Ok(tmpfs.to_owned()),
            _ => self.bench.cache.place("memory"),
        }
    }

    fn qemu(&self, job: &Job, streams: Streams) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        let accelerator = "tcg,thread=multi,tb-size=512";
        // Not "max": QEMU 7.2 computes some of AVX2 wrongly, and decoders would use it.
        command
            .args(["-accel", accelerator, "-cpu", "Nehalem", "-nodefaults"])
            .args([
                "-display",
                "none",
                "-no-reboot",
                "-device",
                "virtio-rng-pci",
            ])
            .args([
                "-smp",
                &self.cpus.to_string(),
                "-m",
                &self.memory.to_string(),
            ])
            .arg("-kernel")
            .arg(self.built.image())
            .arg("-initrd")
            .arg(self.built.initrd());
        share_over_9p(&mut command, "root", self.bench.root.path(), false);
        share_over_9p(&mut command, "job", job.folder.path(), false);
        for mount in &job.mounts {
            share_over_9p(&mut command, mount.name, &mount.folder, mount.writable);
        }
        match streams {
            Streams::Terminal => {
                command.args([
                    "-chardev",
                    "stdio,id=log,signal=off",
                    "-serial",
                    "chardev:log",
                ]);
            }
            Streams::Pipes(ends) => {
                command.args(["-serial", "file:/dev/fd/1", "-device", "virtio-serial-pci"]);
                for (end, number) in ends.lines.iter().zip(1..) {
                    command.arg("-chardev");
                    command.arg(format!("file,id=s{number},path=/dev/fd/{end}"));
                    command.arg("-device");
                    command.arg(format!("virtserialport,chardev=s{number},nr={number}"));
                }
            }
        }
        let arguments = [
            &["console=ttyS0", "mitigations=off"],
            KERNEL_ARGUMENTS,
            &[self.built.kernel.arguments],
        ];
        command.arg("-append").arg(arguments.concat().join(" "));
        command
    }
}

/// The name by which a User Mode Linux calls its folder in the job's.
const UMID: &str = "machine";

/// Warnings and worse are told from the boot; an oops ends the machine, and so does a panic.
const KERNEL_ARGUMENTS: &[&str] = &["loglevel=5", "oops=panic", "panic=-1"];

fn share_over_9p(command: &mut Command, name: &str, folder: &Path, writable: bool) {
    // A comma in a path is doubled in QEMU's options.
    let path = folder.display().to_string().replace(',', ",,");
    let readonly = if writable { "off" } else { "on" };
    command.arg("-fsdev").arg(format!(
        "local,id={name},path={path},security_model=none,readonly={readonly},multidevs=remap"
    ));
    command
        .arg("-device")
        .arg(format!("virtio-9p-pci,fsdev={name},mount_tag={name}"));
}

fn existing(folder: &Path) -> Result<PathBuf> {
    folder
        .canonicalize()
        .with_context(|| format!("folder to share: {}", folder.display()))
}

/// The arguments with a NUL after each, which is the one byte that none can have.
fn nul_separated(arguments: &[OsString]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for argument in arguments {
        ensure!(
            !argument.as_encoded_bytes().contains(&0),
            "an argument has a NUL byte: {}",
            argument.to_string_lossy()
        );
        bytes.extend(argument.as_encoded_bytes());
        bytes.push(0);
    }
    Ok(bytes)
}

/// The bytes that programs may map from files there; nothing when the place forbids programs.
fn free_for_programs(folder: &Path) -> Option<u64> {
    let path = std::ffi::CString::new(folder.as_os_str().as_encoded_bytes()).ok()?;
    // SAFETY: statvfs is plain numbers, for which zeroes are a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with NUL and both live through the call, which writes one statvfs.
    if unsafe { libc::statvfs(path.as_ptr(), &mut stat) } != 0 || stat.f_flag & libc::ST_NOEXEC != 0
    {
        return None;
    }
    Some(stat.f_bavail * stat.f_frsize)
}

/// Where the guest's terminal lines lead.
#[derive(Clone, Copy)]
enum Streams {
    Terminal,
    Pipes(Ends),
}

/// The ends of pipes that a machine has, by number. Its log is its stdout.
#[derive(Clone, Copy)]
struct Ends {
    /// Where stdout, stderr and the exit status go.
    lines: [RawFd; 3],
    /// What the lines and the console are read from, where nothing comes.
    idle: [RawFd; 4],
}

/// A pipe; neither end goes to programs that are started, unless told so.
struct Pipe {
    read: File,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: pipe2 writes the two descriptors into the array.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error()).context("make a pipe");
        }
        // SAFETY: the two descriptors are new, open and nobody else's.
        let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
        Ok(Self {
            read: read.into(),
            write,
        })
    }
}

/// What leads out of a machine.
struct Pipes {
    out: Pipe,
    err: Pipe,
    control: Pipe,
    log: Pipe,
    idle: [Pipe; 4],
}

impl Pipes {
    fn new() -> Result<Self> {
        Ok(Self {
            out: Pipe::new()?,
            err: Pipe::new()?,
            control: Pipe::new()?,
            log: Pipe::new()?,
            idle: [Pipe::new()?, Pipe::new()?, Pipe::new()?, Pipe::new()?],
        })
    }

    fn ends(&self) -> Ends {
        let lines = [&self.out, &self.err, &self.control];
        Ends {
            lines: lines.map(|pipe| pipe.write.as_raw_fd()),
            idle: self.idle.each_ref().map(|pipe| pipe.read.as_raw_fd()),
        }
    }
}

/// Lets a program that is started have these descriptors, by the same numbers.
fn inherit(command: &mut Command, ends: Ends) {
    let keep = move || {
        for end in ends.lines.into_iter().chain(ends.idle) {
            // SAFETY: fcntl may be called between fork and exec, and takes no memory here. The
            // descriptor is the child's copy of one that the caller holds open over the fork.
            if unsafe { libc::fcntl(end, libc::F_SETFD, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `keep` allocates nothing and takes no lock.
    unsafe { command.pre_exec(keep) };
}

/// The processors that this process may run on.
pub fn allowed_processors() -> Result<Vec<usize>> {
    // SAFETY: cpu_set_t is plain bits, for which zeroes are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes at most the size that it is told, into a set that lives through it.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return Err(io::Error::last_os_error()).context("ask which processors there are");
    }
    let numbers = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: all numbers are below the size of the set.
    Ok(numbers
        .filter(|number| unsafe { libc::CPU_ISSET(*number, &set) })
        .collect())
}

/// Holds a program that is started on some processors, if any are named.
fn run_on(command: &mut Command, processors: &[usize]) {
    if processors.is_empty() {
        return;
    }
    // SAFETY: cpu_set_t is plain bits, for which zeroes are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for number in processors {
        // SAFETY: the numbers are those of `allowed_processors`, which are in the set.
        unsafe { libc::CPU_SET(*number, &mut set) };
    }
    let hold = move || {
        // SAFETY: the call may be made between fork and exec, and reads the set, which the closure owns.
        match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: `hold` allocates nothing and takes no lock.
    unsafe { command.pre_exec(hold) };
}

/// What the kernel of a User Mode Linux can be asked over, whatever its processes do: mconsole, a
/// datagram for each question and at least one for each answer (arch/um/drivers/mconsole.h).
struct Monitor {
    /// The kernel's.
    socket: PathBuf,
    /// Where answers are sent to.
    own: PathBuf,
}

impl Monitor {
    const MAGIC: u32 = 0xcafe_babe;
    const VERSION: u32 = 2;
    const TEXT: usize = 512;
    /// Without an answer for so long there will be none.
    const PATIENCE: Duration = Duration::from_secs(3);
    /// Tell everything, what each task is at, and who holds which lock.
    const QUESTIONS: [&str; 3] = ["sysrq 9", "sysrq t", "sysrq d"];

    fn of(job: &Job) -> Self {
        let folder = job.folder.path();
        Self {
            socket: folder.join(UMID).join("mconsole"),
            own: folder.join("monitor"),
        }
    }

    /// Has the kernel write into its log what its tasks are at.
    fn dump(&self) -> io::Result<()> {
        let socket = UnixDatagram::bind(&self.own)?;
        socket.set_read_timeout(Some(Self::PATIENCE))?;
        for question in Self::QUESTIONS {
            socket.send_to(&Self::request(question), &self.socket)?;
            // An answer: a number for the error, another one unless it is the last, length and text.
            let mut answer = [0; 12 + Self::TEXT];
            while socket.recv(&mut answer)? >= 8 && answer[4..8] != [0; 4] {}
        }
        Ok(())
    }

    fn request(question: &str) -> Vec<u8> {
        let numbers = [Self::MAGIC, Self::VERSION, question.len() as u32];
        let mut request: Vec<u8> = numbers.into_iter().flat_map(u32::to_ne_bytes).collect();
        request.extend(question.as_bytes());
        request.resize(12 + Self::TEXT, 0);
        request
    }
}

/// What a machine left.
struct Ended {
    status: ExitStatus,
    timed_out: bool,
    control: Vec<u8>,
    log: Vec<u8>,
}

/// Starts the process in a group of its own, passes its streams on and waits for its end, which comes
/// at the latest when the time is over or one of the streams has no reader any more.
fn watch(
    mut process: Command,
    timeout: Duration,
    monitor: Option<&Monitor>,
    pipes: Pipes,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Result<Ended> {
    inherit(&mut process, pipes.ends());
    die_with_parent(&mut process);
    process
        .stdin(Stdio::null())
        .stdout(pipes.log.write.try_clone()?)
        .stderr(pipes.log.write)
        .process_group(0);
    let mut child = process.spawn().context("start the machine")?;
    // From here on only the machine holds the write ends: when it has ended, so have the streams.
    drop(process);
    drop((pipes.out.write, pipes.err.write, pipes.control.write));
    let _idle = pipes.idle;
    let group = Group(child.id());
    let (over, is_over) = mpsc::channel::<()>();
    let watched = thread::scope(|scope| {
        let watchdog = scope.spawn(move || {
            let timed_out = is_over.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout);
            if timed_out {
                // A kernel that does not answer has said what it could.
                let _ = monitor.map(Monitor::dump);
                group.kill();
            }
            timed_out
        });
        let out = scope.spawn(|| pass_on(pipes.out.read, out, group));
        let err = scope.spawn(|| pass_on(pipes.err.read, err, group));
        let control = scope.spawn(|| whole(pipes.control.read));
        let log = scope.spawn(|| whole(pipes.log.read));
        let waited = wait_without_reaping(&child);
        drop(over);
        // The machine has ended; nothing of it may outlive it and hold the streams open.
        group.kill();
        let timed_out = watchdog.join().expect("the watchdog does not panic");
        for copied in [out, err] {
            copied.join().expect("a copy does not panic")?;
        }
        let [control, log] = [control, log].map(|read| read.join().expect("a read does not panic"));
        waited?;
        anyhow::Ok((timed_out, control?, log?))
    });
    // Only now may the number of the process, which the group goes by, be used again.
    let status = child.wait()?;
    let (timed_out, control, log) = watched?;
    Ok(Ended {
        status,
        timed_out,
        control,
        log,
    })
}

/// The process group of a process that has not been reaped.
#[derive(Clone, Copy)]
struct Group(u32);

impl Group {
    fn kill(self) {
        // SAFETY: kill takes no memory. The number is that of the group as long as its first process
        // has not been reaped, which `watch` does last.
        unsafe { libc::kill(-(self.0 as libc::pid_t), libc::SIGKILL) };
    }
}

fn wait_without_reaping(child: &Child) -> Result<()> {
    loop {
        // SAFETY: siginfo_t is plain numbers, for which zeroes are a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: waitid writes one siginfo_t, which lives through the call.
        if unsafe { libc::waitid(libc::P_PID, child.id(), &mut info, flags) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error).context("wait for the machine");
        }
    }
}

/// Copies a stream as it comes. Without a reader there is no point in going on.
fn pass_on(mut from: File, to: &mut (dyn Write + Send), group: Group) -> Result<()> {
    let mut buffer = [0; 64 * 1024];
    loop {
        let passed = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length]).and_then(|()| to.flush()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = passed {
            group.kill();
            return Err(error).context("pass on what the machine writes");
        }
    }
}

fn whole(mut from: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)
        .context("read from the machine")?;
    Ok(bytes)
}

fn end_of(ended: &Ended, log: &str) -> End {
    let word = String::from_utf8_lossy(&ended.control);
    let word = word.trim();
    let exited = word.strip_prefix("exit ").and_then(|n| n.parse().ok());
    match exited {
        _ if ended.timed_out => End::TimedOut,
        Some(status) => End::Exited(status),
        None if !word.is_empty() => End::Died(word.to_owned()),
        None => End::Died(splat::death(log).map_or_else(
            || format!("without a word: {}", ended.status),
            str::to_owned,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A machine's process, played by a shell: `$1` to `$3` are the numbers of its lines.
    fn played(script: &str, timeout: Duration) -> (Result<Ended>, Vec<u8>, Vec<u8>) {
        let pipes = Pipes::new().unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-c", script, "machine"]);
        shell.args(pipes.ends().lines.map(|end| end.to_string()));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = watch(shell, timeout, None, pipes, &mut out, &mut err);
        (ended, out, err)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn each_end_is_told_from_the_others() {
        let died = |why: &str| End::Died(why.to_owned());
        #[rustfmt::skip]
        let rows = [
            ("echo exit 0 >&$3", End::Exited(0)),
            ("echo exit 143 >&$3; exit 1", End::Exited(143)),
            ("echo 'cannot mount share at /share' >&$3", died("cannot mount share at /share")),
            ("echo '[ 1.0] Kernel panic - not syncing: x'", died("[ 1.0] Kernel panic - not syncing: x")),
            ("exit 1", died("without a word: exit status: 1")),
            ("kill -SEGV $$", died("without a word: signal: 11 (SIGSEGV)")),
            ("echo exit 300 >&$3", died("exit 300")),
        ];
        for (script, end) in rows {
            let ended = played(script, LONG).0.unwrap();
            let log = String::from_utf8_lossy(&ended.log).into_owned();
            assert_eq!(end_of(&ended, &log), end, "{script}");
        }
    }

    #[test]
    fn streams_are_kept_apart_and_whole() {
        let script =
            "echo log; echo more log >&2; echo error >&$2; yes 0123456789 | head -c 3000000 >&$1";
        let (ended, out, err) = played(script, LONG);
        let ended = ended.unwrap();
        assert_eq!(ended.log, b"log\nmore log\n");
        assert_eq!(err, b"error\n");
        assert_eq!(out.len(), 3_000_000);
        assert!(out.chunks(11).all(|line| b"0123456789\n".starts_with(line)));
    }

    #[test]
    fn the_watchdog_ends_all_of_it() {
        let begun = Instant::now();
        let script = "trap '' TERM HUP INT; (trap '' TERM; echo $BASHPID >&$1; sleep 1000) & echo exit 0 >&$3; wait";
        let (ended, out, _) = played(script, Duration::from_millis(300));
        let ended = ended.unwrap();
        assert_eq!(end_of(&ended, ""), End::TimedOut);
        assert!(begun.elapsed() < LONG);
        assert_gone(&out);
    }

    #[test]
    fn what_outlives_the_machine_is_ended_too() {
        let (ended, out, _) = played("sleep 1000 & echo $! >&$1", LONG);
        assert!(!ended.unwrap().timed_out);
        assert_gone(&out);
    }

    /// The process whose number was written is dead: nobody may have buried it yet, and it closes its
    /// streams on the way there (PF_EXITING, which the kernel shows among the flags).
    fn assert_gone(number: &[u8]) {
        const PF_EXITING: u32 = 4;
        let number = String::from_utf8_lossy(number).trim().to_owned();
        assert!(number.parse::<u32>().is_ok(), "{number}");
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let flags = fields
            .get(6)
            .map_or(PF_EXITING, |flags| flags.parse().unwrap());
        assert!(flags & PF_EXITING != 0, "{stat}");
    }

    /// A reader that goes away.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_without_a_reader_ends_the_machine() {
        let pipes = Pipes::new().unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-c", "exec yes >&$1", "machine"]);
        shell.args(pipes.ends().lines.map(|end| end.to_string()));
        let ended = watch(shell, LONG, None, pipes, &mut Closed, &mut io::sink());
        assert!(ended.is_err());
    }

    #[test]
    fn arguments_are_passed_as_they_are() {
        let arguments = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        #[rustfmt::skip]
        let rows: &[(&[&str], &[u8])] = &[
            (&["echo", "a b", "", "$x 'y' \"z\"\n*"], b"echo\0a b\0\0$x 'y' \"z\"\n*\0"),
            (&[], b""),
        ];
        for (words, bytes) in rows {
            assert_eq!(nul_separated(&arguments(words)).unwrap(), *bytes);
        }
        assert!(nul_separated(&arguments(&["a\0b"])).is_err());
    }

    #[test]
    fn sizes_of_memory() {
        #[rustfmt::skip]
        let rows = [
            ("2G", Some(2048)), ("512M", Some(512)), ("512", Some(512)),
            ("64M", None), ("2T", None), ("", None), ("G", None), ("-1G", None), ("99999999999999999999G", None),
        ];
        for (text, size) in rows {
            assert_eq!(text.parse().ok(), size.map(Memory), "{text}");
        }
    }
}
