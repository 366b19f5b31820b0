//! What a worker can still do. Each row runs in a process of its own, which is this test again: a
//! test's own process has threads, and could not be confined for one test.

use decoded::figures::Shared;
use decoded::sandbox;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, exit};
use std::sync::atomic::Ordering::Relaxed;

const ROW: &str = "KINORA_SANDBOX_ROW";

/// A name, what a confined process does, and whether it may.
const ROWS: &[(&str, fn(), bool)] = &[
    ("decode", decode, true),
    ("say", || eprint_line("kinora"), true),
    ("open", || drop(File::open("/etc/passwd")), false),
    (
        "create",
        || drop(File::create("/tmp/kinora-was-here")),
        false,
    ),
    (
        "connect",
        || drop(UnixStream::connect("/run/kinora")),
        false,
    ),
    ("pipe", || drop(rustix::pipe::pipe()), false),
    ("execute", execute, false),
    ("fork", || drop(Command::new("true").spawn()), false),
    (
        "thread",
        || drop(std::thread::Builder::new().spawn(|| ())),
        false,
    ),
    ("read", || drop(std::io::stdin().read(&mut [0])), false),
    ("kill", kill, false),
];

fn execute() {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let rights = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: a new mapping where the kernel finds room, which it is not to give.
    let _ = unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, rights, MapFlags::PRIVATE) };
}

fn kill() {
    let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TERM);
}

fn eprint_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What workers do all day: take and give back memory, count, look at the clock.
fn decode() {
    let figures = Shared::new().unwrap();
    for size in 1..200 {
        let memory = vec![1_u8; size * 10_000];
        figures
            .jobs
            .fetch_add(memory.iter().map(|&byte| u64::from(byte)).sum(), Relaxed);
        figures.took(std::time::Instant::now().elapsed());
    }
    decoded::worker::use_large_pages();
    drop(decoded::session::Session::open(decoded::wire::Codec::H264).unwrap());
}

/// Runs this test again, for one row.
fn run(name: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "a_worker_can_do_its_work_and_nothing_else",
        "--nocapture",
    ]);
    child.env(ROW, name).output().unwrap().status
}

#[test]
fn a_worker_can_do_its_work_and_nothing_else() {
    if let Some(row) = std::env::var_os(ROW) {
        let row = ROWS.iter().find(|(name, ..)| row == *name);
        let (_, action, _) = row.unwrap();
        sandbox::limit().unwrap();
        let session = memfd_create("session", MemfdFlags::empty()).unwrap();
        let stderr = std::io::stderr();
        let walls = sandbox::confine(session.as_fd(), &[stderr.as_fd()]).unwrap();
        if !walls.seccomp {
            exit(77);
        }
        action();
        exit(0);
    }
    for (name, _, may) in ROWS {
        let status = run(name);
        if status.code() == Some(77) {
            eprint_line("skipped: this kernel has no seccomp");
            return;
        }
        if *may {
            assert_eq!(status.code(), Some(0), "{name}: {status}");
        } else {
            // SIGSYS
            assert_eq!(status.signal(), Some(31), "{name}: {status}");
        }
    }
}
