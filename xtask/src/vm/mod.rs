//! `cargo xtask vm`: machines in which the decode path is tested, built and booted without any device.
//!
//! ```text
//! host (what must be installed) ─ debian (whence packages come)
//!   └─ root (a Debian 13 with the clients and a compiler) ─ toolchain
//!        ├─ kernel (User Mode Linux compiled, stock kernels unpacked: bzimage)
//!        └─ guest (our programs and the module, built inside the root)
//!             └─ machine (boots, runs a command, ends) ─ splat (what the kernel's log complains of)
//! ```
//!
//! Everything built lies in the user's cache folder (`cache`). Other chores use [`Bench`] and
//! [`machine::Machine`]; this file also is the command. What guests see is told in docs/ref/vm.md.

mod bzimage;
pub mod cache;
mod check;
mod debian;
mod decode;
mod guest;
mod host;
mod kernel;
pub mod machine;
mod root;
mod splat;
mod toolchain;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Subcommand};
use tempfile::TempDir;

use cache::{Cache, Lock};
use guest::{Guest, MODULE};
use kernel::{Built, KERNELS, Kernel};
use machine::{End, Machine, Memory};
use root::Root;
use toolchain::Toolchain;

/// Writes a line of talk.
macro_rules! say {
    ($($arguments:tt)*) => {
        // Nothing is to be done about a closed stderr.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("vm: {}\n", format_args!($($arguments)*)),
        );
    };
}
use say;

/// Statuses of our own, beside those of the command: beyond what programs use, below the shell's.
const KERNEL_COMPLAINED: u8 = 122;
const MACHINE_DIED: u8 = 123;
const TIMED_OUT: u8 = 124;
const NO_MACHINE: u8 = 125;

const EXAMPLES: &str = "\
Examples:
  cargo xtask vm build                          everything for the kernel uml
  cargo xtask vm build --kernel all             for every kernel
  cargo xtask vm run -- uname -a
  cargo xtask vm run --kernel uml-debug -- bash -c 'kinora-load && rmmod kinora_dec'
  cargo xtask vm run --share out -- ffmpeg -i /share/a.mp4 -f md5 /share/a.md5
  cargo xtask vm run --time-travel -- bash -c 'modprobe visl && v4l2-compliance'
  cargo xtask vm shell --kernel 6.12
  cargo xtask vm enter -- make check            the module's, with its environment set

Exit status of run: the command's, or
  122  the command succeeded, but the kernel's log has a warning or worse
  123  the machine died: a panic, an oops
  124  the time was over
  125  there is no machine: something could not be built or started";

/// What to do with the test machines.
#[derive(ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Build what is missing for machines, and this checkout's programs and module
    Build {
        /// The kernel, or all of them; may be given several times
        #[arg(long = "kernel", value_parser = kernel_parser(true), default_value = "uml")]
        kernels: Vec<Kernels>,
        /// Look for newer packages in Debian and rebuild what they change
        #[arg(long)]
        update: bool,
    },
    /// Boot, run a command, and end with its output and exit status
    #[command(after_help = EXAMPLES)]
    Run {
        #[command(flatten)]
        options: MachineOptions,
        /// End the machine after so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
        /// Skip the time in which the guest is idle (kernel uml)
        #[arg(long)]
        time_travel: bool,
        /// Accept warnings in the kernel's log
        #[arg(long)]
        allow_splat: bool,
        /// Write the kernel's log to FILE
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
        /// The command, with its arguments as they are
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Boot machines and see that they do what they are for, a line for each part
    Check {
        /// The kernel, or all of them; may be given several times
        #[arg(long = "kernel", value_parser = kernel_parser(true), default_value = "uml")]
        kernels: Vec<Kernels>,
        /// Only the parts whose name contains TEXT
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Test the decode path in machines, a line for each part
    Test {
        /// The kernel, or all of them; may be given several times
        #[arg(long = "kernel", value_parser = kernel_parser(true), default_value = "uml")]
        kernels: Vec<Kernels>,
        /// Leave out what takes long
        #[arg(long)]
        quick: bool,
        /// Only the parts whose name contains TEXT
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Run a command in the Debian root without booting, beside a copy of the module's source
    ///
    /// The copy is the current folder; what the module is built against is told by the variables KDIR
    /// and ARCH, the checkout lies at /kinora/src.
    Enter {
        #[arg(long, value_parser = kernel_parser(false), default_value = "uml")]
        kernel: Kernels,
        /// The command, with its arguments as they are
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Boot with a shell on this terminal
    Shell {
        #[command(flatten)]
        options: MachineOptions,
    },
}

#[derive(ClapArgs)]
struct MachineOptions {
    #[arg(long, value_parser = kernel_parser(false), default_value = "uml")]
    kernel: Kernels,
    /// A folder that is /share in the guest, to be written to
    #[arg(long, value_name = "FOLDER")]
    share: Option<PathBuf>,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    mem: Memory,
    /// How many CPUs, where the kernel has more than one
    #[arg(long, value_name = "COUNT")]
    cpus: Option<u32>,
    /// A variable for the command; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Take this checkout's programs and module as they were last built
    #[arg(long)]
    no_build: bool,
}

/// A name as it was asked for: one kernel, or all.
#[derive(Clone)]
struct Kernels(&'static [Kernel]);

fn kernel_parser(or_all: bool) -> impl TypedValueParser<Value = Kernels> {
    let names = KERNELS.iter().map(|kernel| kernel.name);
    PossibleValuesParser::new(names.chain(or_all.then_some("all")))
        .map(|name| Kernels(Kernel::find(&name).map_or(&KERNELS, std::slice::from_ref)))
}

fn all(kernels: &[Kernels]) -> Vec<&'static Kernel> {
    kernels.iter().flat_map(|kernels| kernels.0).collect()
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE, such as GST_DEBUG=3".to_owned()),
    }
}

/// Does it, and gives the status to end with.
pub fn run_chore(args: &Args) -> ExitCode {
    match chore(args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say!("{error:#}");
            ExitCode::from(NO_MACHINE)
        }
    }
}

fn chore(args: &Args) -> Result<u8> {
    match &args.what {
        What::Build { kernels, update } => {
            build(&all(kernels), *update)?;
            Ok(0)
        }
        What::Check { kernels, only } => {
            let bench = Bench::prepare(&all(kernels), true)?;
            let failed = check::check(&bench, only.as_deref())?;
            Ok(u8::from(failed > 0))
        }
        What::Test {
            kernels,
            quick,
            only,
        } => {
            let bench = Bench::prepare(&all(kernels), true)?;
            let failed = decode::test(&bench, *quick, only.as_deref())?;
            Ok(u8::from(failed > 0))
        }
        What::Run {
            options,
            timeout,
            time_travel,
            allow_splat,
            log,
            command,
        } => {
            let bench = options.bench()?;
            let mut machine = options.machine(&bench);
            machine.timeout = Duration::from_secs(*timeout);
            machine.time_travel = *time_travel;
            let outcome = machine.run(command, &mut io::stdout(), &mut io::stderr())?;
            if let Some(file) = log {
                std::fs::write(file, &outcome.log)
                    .with_context(|| format!("write: {}", file.display()))?;
            }
            Ok(status_of(&outcome, *allow_splat, &mut io::stderr()))
        }
        What::Enter { kernel, command } => {
            let bench = Bench::prepare(&all(std::slice::from_ref(kernel)), false)?;
            let status = bench.guest.enter(&bench.root, &bench.built[0], command)?;
            Ok(status.code().map_or(NO_MACHINE, |code| code as u8))
        }
        What::Shell { options } => {
            let bench = options.bench()?;
            let status = options.machine(&bench).shell()?;
            ensure!(status.success(), "the machine ended with {status}");
            Ok(0)
        }
    }
}

/// Says what went wrong, if anything did, and gives the status to end with.
fn status_of(outcome: &machine::Outcome, allow_splat: bool, talk: &mut dyn Write) -> u8 {
    let complaints = outcome.complaints();
    let (status, what) = match &outcome.end {
        End::TimedOut => (TIMED_OUT, Some("the time is over".to_owned())),
        End::Died(why) => (MACHINE_DIED, Some(format!("the machine died: {why}"))),
        End::Exited(0) if !complaints.is_empty() && !allow_splat => (KERNEL_COMPLAINED, None),
        End::Exited(status) => (*status, None),
    };
    let mut lines: Vec<String> = complaints
        .iter()
        .map(|complaint| format!("the kernel complains:\n{complaint}"))
        .collect();
    if let Some(what) = what {
        // When the time is over the log ends with what all tasks were at.
        let count = if status == TIMED_OUT { 3000 } else { 30 };
        if complaints.is_empty() || status == TIMED_OUT {
            let end = tail(&outcome.log, count);
            lines.push(format!("end of the kernel's log:\n{end}"));
        }
        lines.push(what);
    }
    for line in lines {
        // Nothing is to be done about a closed stderr.
        let _ = writeln!(talk, "vm: {line}");
    }
    status
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

impl MachineOptions {
    fn bench(&self) -> Result<Bench> {
        Bench::prepare(&all(std::slice::from_ref(&self.kernel)), !self.no_build)
    }

    fn machine<'a>(&self, bench: &'a Bench) -> Machine<'a> {
        let mut machine = Machine::new(bench, &bench.built[0]);
        machine.share.clone_from(&self.share);
        machine.env.clone_from(&self.env);
        machine.memory = self.mem;
        if let Some(cpus) = self.cpus {
            machine.cpus = cpus;
        }
        machine
    }
}

/// Builds, and writes where things are to stdout.
fn build(kernels: &[&'static Kernel], update: bool) -> Result<()> {
    if update {
        let cache = Cache::of_user()?;
        for kernel in &KERNELS {
            remove_file(&kernel.version_file(&cache)?)?;
        }
        remove_file(&root::edition_file(&cache)?)?;
    }
    let bench = Bench::prepare(kernels, true)?;
    let mut out = io::stdout().lock();
    writeln!(out, "root\t{}", bench.root.path().display())?;
    writeln!(out, "programs\t{}", bench.guest.programs().display())?;
    for built in &bench.built {
        writeln!(out, "{}\t{}", built.kernel.name, built.image().display())?;
        if let Some((folder, module)) = bench.guest.module(MODULE, built) {
            writeln!(
                out,
                "{} module\t{}",
                built.kernel.name,
                folder.join(module).display()
            )?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove: {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// All that machines with certain kernels are made of.
pub struct Bench {
    cache: Cache,
    root: Root,
    guest: Guest,
    /// The kernels, in the order in which they were asked for.
    pub built: Vec<Built>,
}

impl Bench {
    /// Builds what is missing. The checkout's own programs and module are brought up to date if asked.
    pub fn prepare(kernels: &[&'static Kernel], update_guest: bool) -> Result<Self> {
        let checkout = checkout();
        let cache = Cache::of_user()?;
        let toolchain = Toolchain::of_host(checkout)?;
        let (root, built) = Self::found(&cache, &toolchain, kernels)
            .map_or_else(|| Self::made(&cache, &toolchain, kernels), Ok)?;
        let guest = Guest::new(&cache, checkout)?;
        if update_guest {
            let lock = guest.lock()?;
            guest.build_programs(&lock, &root, &toolchain)?;
            for built in &built {
                guest.build_module(&lock, MODULE, &root, built)?;
            }
        }
        Ok(Self {
            cache,
            root,
            guest,
            built,
        })
    }

    fn found(
        cache: &Cache,
        toolchain: &Toolchain,
        kernels: &[&'static Kernel],
    ) -> Option<(Root, Vec<Built>)> {
        let root = Root::find(cache, toolchain)?;
        let built = kernels.iter().map(|kernel| kernel.built(cache));
        let built = built.collect::<Option<_>>()?;
        Some((root, built))
    }

    fn made(
        cache: &Cache,
        toolchain: &Toolchain,
        kernels: &[&'static Kernel],
    ) -> Result<(Root, Vec<Built>)> {
        host::check()?;
        let root = match Root::find(cache, toolchain) {
            Some(root) => root,
            None => Root::make(cache, toolchain)?,
        };
        let built = kernels
            .iter()
            .map(|kernel| kernel::build(cache, &root, kernel));
        let built = built.collect::<Result<_>>()?;
        Ok((root, built))
    }

    /// A new folder for a job, and the lock that shows it is in use. Folders of processes that were
    /// killed are swept away on the occasion.
    fn job_folder(&self) -> Result<(TempDir, Lock)> {
        let jobs = self.cache.place("jobs")?;
        let _sweeping = Lock::wait(&jobs.join("lock"), "it makes a job")?;
        for found in std::fs::read_dir(&jobs)? {
            let folder = found?.path();
            if folder.is_dir() && Lock::try_take(&folder.join("lock"))?.is_some() {
                cache::remove(&folder)?;
            }
        }
        let folder = TempDir::with_prefix_in("job-", &jobs)?;
        let lock = Lock::try_take(&folder.path().join("lock"))?;
        Ok((folder, lock.context("a new job is in use")?))
    }
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// Runs a command whose stdout is talk too.
fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    ensure!(status.success(), "{}: {status}", shown(command));
    Ok(())
}

/// Runs a command for its stdout; what it says on stderr is shown when it fails.
fn output(command: &mut Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    if !done.status.success() {
        let talk = String::from_utf8_lossy(&done.stderr);
        bail!(
            "{}: {}\n{}",
            shown(command),
            done.status,
            tail(talk.trim_end(), 40)
        );
    }
    String::from_utf8(done.stdout).with_context(|| format!("{}: not UTF-8", shown(command)))
}

/// The command's last words: the first ones of a long one are how the root is entered.
fn shown(command: &Command) -> String {
    let words: Vec<_> = command.get_args().collect();
    let inside = words.iter().position(|word| *word == "--").map_or(0, |_| {
        words.iter().rposition(|word| *word == "--").unwrap_or(0) + 1
    });
    let words = words[inside..].iter().map(|word| word.to_string_lossy());
    let program = if inside == 0 {
        command.get_program().to_string_lossy()
    } else {
        "in the root".into()
    };
    std::iter::once(program)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Has the kernel kill what the command starts when the thread that starts it ends, however it does.
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id() as libc::pid_t;
    let ask = move || {
        // SAFETY: prctl and getppid may be called between fork and exec and take no memory here.
        let alone = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 || libc::getppid() != parent
        };
        if alone {
            return Err(io::Error::other("the parent ended"));
        }
        Ok(())
    };
    // SAFETY: `ask` takes no lock, and allocates only when the child is not to live on.
    unsafe { command.pre_exec(ask) };
}
