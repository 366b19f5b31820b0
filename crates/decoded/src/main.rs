//! The command `kinora-decoded`: arguments, logs, exit codes. Standard output is for data, standard
//! error for talk.
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use decoded::figures::DaemonFigures;
use decoded::record::Record;
use decoded::replay::{self, Replayed};
use decoded::worker::Chain;
use decoded::{daemon, replay::Options};
use serde::Serialize;
use std::error::Error;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Decodes the streams of the kernel module kinora_dec in software
#[derive(Parser)]
#[command(
    name = "kinora-decoded",
    version,
    after_help = "\
Examples:
  kinora-decoded                             serve until SIGTERM or SIGINT
  kinora-decoded --stats                     what the running daemon decodes, and how fast
  kinora-decoded --once --record stream.jobs serve the next sessions and keep their jobs
  kinora-decoded --replay stream.jobs --repeat 10 --sessions 2
                                             decode recorded jobs without the module

Exit codes: 0 done, 1 failed (with --once and --replay also when a job had an error), 2 wrong usage.
KINORA_LOG chooses what is logged: error, warn, info (default), debug."
)]
struct Cli {
    /// Control device of the module
    #[arg(long, value_name = "PATH", default_value = "/dev/kinora-dec")]
    device: PathBuf,
    /// User to become when started as root; nobody if there is no such user
    #[arg(long, value_name = "NAME", default_value = "kinora-decoded")]
    user: String,
    /// Where figures are asked for; by default in $RUNTIME_DIRECTORY or /run/kinora-decoded
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve until the first sessions have ended, then exit: 0 if all their jobs were good
    #[arg(long)]
    once: bool,
    /// Append every job to a file, for --replay
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print the figures of the running daemon and exit
    #[arg(long, conflicts_with_all = ["once", "record", "replay"])]
    stats: bool,
    /// Decode recorded jobs and exit
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["once", "record"])]
    replay: Vec<PathBuf>,
    /// Times that recorded jobs are decoded, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, requires = "replay")]
    repeat: u64,
    /// Times that recorded sessions are decoded side by side
    #[arg(long, value_name = "N", default_value_t = 1, requires = "replay")]
    sessions: usize,
    /// Replay in threads of one process, not in a process for each session
    #[arg(long, requires = "replay")]
    threads: bool,
    /// Hash the pictures that are replayed; takes time that is counted
    #[arg(long, requires = "replay")]
    md5: bool,
    /// Print figures as JSON
    #[arg(long)]
    json: bool,
    /// Print shell completions and exit
    #[arg(long, value_name = "SHELL")]
    completions: Option<Shell>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logs();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A reader that has seen enough is no error.
            let closed = error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
            if !closed {
                let _ = writeln!(io::stderr(), "kinora-decoded: {}", Chain(&*error));
            }
            ExitCode::FAILURE
        }
    }
}

fn start_logs() {
    let filter = EnvFilter::builder()
        .with_env_var("KINORA_LOG")
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour)
        .init();
}

/// Whether all went well; what did not has been said.
fn run(cli: &Cli) -> Result<bool, Box<dyn Error>> {
    if let Some(shell) = cli.completions {
        clap_complete::generate(
            shell,
            &mut Cli::command(),
            "kinora-decoded",
            &mut io::stdout(),
        );
        return Ok(true);
    }
    let socket = cli.socket.clone().unwrap_or_else(default_socket);
    if cli.stats {
        return stats(&socket, cli.json);
    }
    if !cli.replay.is_empty() {
        return replay(cli);
    }
    let ended = daemon::run(&daemon::Options {
        device: cli.device.clone(),
        user: cli.user.clone(),
        once: cli.once,
        record: cli.record.clone(),
        socket,
    })?;
    if cli.once && cli.json {
        print_json(&serde_json::json!({
            "jobs": ended.jobs,
            "errors": ended.errors,
            "workers_failed": ended.workers_failed,
        }))?;
    }
    Ok(!cli.once || ended.errors == 0 && ended.workers_failed == 0)
}

fn default_socket() -> PathBuf {
    // systemd gives a list where a service has several folders.
    let folders = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
    let folder = folders
        .split(':')
        .next()
        .filter(|folder| !folder.is_empty());
    Path::new(folder.unwrap_or("/run/kinora-decoded")).join("kinora-decoded.sock")
}

fn print_json(value: &impl Serialize) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

fn stats(socket: &Path, json: bool) -> Result<bool, Box<dyn Error>> {
    let figures = daemon::ask(socket)
        .map_err(|error| format!("{}: {error} (is the daemon running?)", socket.display()))?;
    if json {
        print_json(&figures)?;
    } else {
        show(&figures)?;
    }
    Ok(true)
}

fn show(figures: &DaemonFigures) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    writeln!(
        out,
        "daemon {}: {} sessions, {} now; {} workers failed; past jobs {}, errors {}",
        figures.pid,
        figures.sessions_started,
        figures.sessions.len(),
        figures.workers_failed,
        figures.past_jobs,
        figures.past_errors
    )?;
    if figures.sessions.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{:>7} {:<5} {:>9} {:>8} {:>6} {:>8} {:>8} {:>7} {:>9} {:>9} {:>8} client",
        "session",
        "codec",
        "size",
        "jobs",
        "errors",
        "median",
        "p99 ms",
        "MiB",
        "pictures",
        "calls",
        "faults"
    )?;
    for session in &figures.sessions {
        writeln!(
            out,
            "{:>7} {:<5} {:>9} {:>8} {:>6} {:>8} {:>8} {:>7} {:>9} {:>9} {:>8} {} ({})",
            session.session,
            session.codec,
            format!("{}x{}", session.width, session.height),
            session.jobs,
            session.errors,
            ms(session.ms_median),
            ms(session.ms_p99),
            session.private_bytes.map_or("-".to_owned(), mib),
            mib(session.picture_bytes),
            session.calls,
            number(session.page_faults),
            session.client,
            session.client_pid
        )?;
    }
    Ok(())
}

fn replay(cli: &Cli) -> Result<bool, Box<dyn Error>> {
    let mut records = Vec::new();
    for path in &cli.replay {
        let record = File::open(path).and_then(Record::read);
        records.push(record.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let options = Options {
        repeat: cli.repeat,
        md5: cli.md5,
    };
    let recorded: Vec<_> = records.iter().flat_map(replay::sessions).collect();
    if recorded.is_empty() {
        return Err("no job in the record".into());
    }
    let sessions: Vec<_> = (0..cli.sessions).flat_map(|_| recorded.clone()).collect();
    let began = std::time::Instant::now();
    let outcome = if cli.threads {
        replay::in_threads(&sessions, options)
    } else {
        replay::in_processes(&sessions, options)?
    };
    let wall_s = began.elapsed().as_secs_f64();
    let mut replayed = Vec::new();
    for (nth, session) in outcome.into_iter().enumerate() {
        match session {
            Ok(session) => replayed.push(session),
            Err(error) => tracing::error!(session = nth + 1, "{error}"),
        }
    }
    if cli.json {
        print_json(&serde_json::json!({ "wall_s": wall_s, "sessions": replayed }))?;
    } else {
        show_replayed(&replayed, wall_s)?;
    }
    let good = |session: &Replayed| session.errors == 0;
    Ok(replayed.len() == sessions.len() && replayed.iter().all(good))
}

fn show_replayed(replayed: &[Replayed], wall_s: f64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    for session in replayed {
        writeln!(
            out,
            "{:<5} {}x{}: {} jobs, {} errors, {:.2} CPU s, {:.1} jobs per CPU s, median {} ms, p99 {} ms{}",
            session.codec,
            session.width,
            session.height,
            session.jobs,
            session.errors,
            session.cpu_s,
            session.jobs_per_cpu_s,
            ms(session.ms_median),
            ms(session.ms_p99),
            session
                .md5
                .as_ref()
                .map_or(String::new(), |md5| format!(", md5 {md5}"))
        )?;
    }
    let jobs: u64 = replayed.iter().map(|session| session.jobs).sum();
    writeln!(
        out,
        "{} sessions, {jobs} jobs in {wall_s:.2} s: {:.1} jobs per second",
        replayed.len(),
        jobs as f64 / wall_s
    )
}
