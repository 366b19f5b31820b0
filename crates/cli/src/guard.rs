//! What stands between a hostile file and the user's shell: a crash of libav, or a file that it
//! never gets to the end of, becomes one line that names the file, and exit code 1.
//!
//! libav runs in this process because that makes a probe several times faster than starting a
//! program; the server, which must outlive its files, gives each job a process of its own instead.
//! This is also where Ctrl-C is caught for work that wants to end in order. The only unsafe code
//! of this crate: signal handlers, which may call nothing but async-signal-safe functions
//! (signal-safety(7)).
#![allow(unsafe_code)]

use crate::shown;
use std::ffi::c_int;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the handler writes before the signal's name; null before a guard was set up.
static CRASH_LINE: AtomicPtr<Vec<u8>> = AtomicPtr::new(std::ptr::null_mut());

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

const CRASHES: [(c_int, &[u8]); 5] = [
    (libc::SIGSEGV, b"SIGSEGV)\n"),
    (libc::SIGBUS, b"SIGBUS)\n"),
    (libc::SIGABRT, b"SIGABRT)\n"),
    (libc::SIGFPE, b"SIGFPE)\n"),
    (libc::SIGILL, b"SIGILL)\n"),
];

/// Watches over work on one file until it is dropped.
pub struct Guard {
    /// Gone when the guard is dropped: that ends the watching thread.
    steps: Option<Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

/// Guards work on a file. It may take `limit` without a [`Guard::step`] before the process ends
/// with an error that says so.
pub fn over(file: &Path, limit: Duration) -> std::io::Result<Guard> {
    let name = shown::path(file);
    let line = format!("kinora: {name}: libav crashed (").into_bytes();
    // Leaked on purpose, once per file named on the command line: a handler may read it at any time.
    CRASH_LINE.store(Box::into_raw(Box::new(line)), Ordering::Release);
    for (signal, _) in CRASHES {
        handle(signal, on_crash, libc::SA_ONSTACK)?;
    }
    let (steps, watched) = mpsc::channel();
    let watcher = thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            loop {
                match watched.recv_timeout(limit) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => give_up(&name, limit),
                }
            }
        })?;
    Ok(Guard {
        steps: Some(steps),
        watcher: Some(watcher),
    })
}

impl Guard {
    /// The work has got on: its time starts again.
    pub fn step(&self) {
        if let Some(steps) = &self.steps {
            // The watcher only goes away after this guard does.
            let _ = steps.send(());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// A flag that SIGINT and SIGTERM raise. A second one ends the process at once.
pub fn interrupted() -> std::io::Result<&'static AtomicBool> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        handle(signal, on_interrupt, libc::SA_RESETHAND | libc::SA_RESTART)?;
    }
    Ok(&INTERRUPTED)
}

fn give_up(name: &str, limit: Duration) -> ! {
    let line = format!(
        "kinora: {name}: gave up: nothing came of it for {} s\n",
        limit.as_secs()
    );
    write_stderr(line.as_bytes());
    // SAFETY: _exit is always sound. exit() is not here: it would run libav's and libc's cleanup
    // under the feet of the thread that hangs.
    unsafe { libc::_exit(1) }
}

fn handle(signal: c_int, handler: extern "C" fn(c_int), flags: c_int) -> std::io::Result<()> {
    // SAFETY: all zero is a valid sigaction; its fields are set before use. The handlers given are
    // this file's two, which call async-signal-safe functions only. SA_ONSTACK uses the alternate
    // stack that Rust's runtime gives the main thread and every thread it starts, so a stack that
    // ran over can still report; a thread of libav's own has none and handles it on its stack.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = flags;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if done == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

extern "C" fn on_crash(signal: c_int) {
    let line = CRASH_LINE.load(Ordering::Acquire);
    // SAFETY: the pointer is null or came from Box::into_raw above and is never freed or written.
    if let Some(line) = unsafe { line.as_ref() } {
        write_stderr(line);
        for (one, name) in CRASHES {
            if one == signal {
                write_stderr(name);
            }
        }
    }
    // SAFETY: _exit is async-signal-safe and ends the process before the faulting code runs on.
    unsafe { libc::_exit(1) }
}

extern "C" fn on_interrupt(_: c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// write(2) and nothing else, as handlers must.
fn write_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the pointer and length are those of one live slice; write(2) only reads it.
        let written =
            unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            _ => return,
        }
    }
}
