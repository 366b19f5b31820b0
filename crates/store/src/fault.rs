//! Places where a test may hold this process: between two steps that a crash or a full disk may
//! come between.
//!
//! With `KINORA_FAULT=<name>` in its environment a process stops itself (SIGSTOP) when it first comes
//! to the point of that name. What happens to it then is the test's: a kill, a full disk, the end of
//! one of its workers, and SIGCONT. Nothing is simulated, and without the variable a point costs one
//! look at a value that was read once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Every point, in the order in which a file comes by them.
pub const POINTS: &[&str] = &[
    "upload-begun",
    "upload-half",
    "upload-complete",
    "put-written",
    "put-placed",
    "put-rows",
    "put-committed",
    "upload-stored",
    "upload-added",
    "lease-rows",
    "lease-taken",
    "worker-started",
    "probe-found",
    "thumbnail-stored",
    "wish-written",
    "render-begun",
    "render-half",
    "render-made",
    "render-pinned",
    "render-written",
    "segment-stored",
    "playlist-rows",
    "playlist-published",
    "stream-made",
    "stale-forgotten",
    "removal-asked",
    "removal-let-go",
    "sweep-forgotten",
];

/// Here the process stops if this is the point that it was told.
pub fn point(name: &str) {
    static TOLD: OnceLock<Option<String>> = OnceLock::new();
    static ONCE: AtomicBool = AtomicBool::new(false);
    let told = TOLD.get_or_init(|| std::env::var("KINORA_FAULT").ok());
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    if told.as_deref() == Some(name) && !ONCE.swap(true, Ordering::Relaxed) {
        // An own process can always be sent it; if not, the test misses the stop.
        let _ = kill_process(getpid(), Signal::STOP);
    }
}
