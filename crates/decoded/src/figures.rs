//! What a worker counts, in memory that it shares with the daemon: writing it takes no system call,
//! and whatever a worker's end, its figures stay.
//!
//! The daemon reads figures as data of somebody else: a worker that a stream took over can write
//! anything there.

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Eight buckets for each doubling, from 16 µs to 4.5 s: a median or p99 is within 7 %.
const BUCKETS: usize = 19 * PER_DOUBLING;
const PER_DOUBLING: usize = 8;
const SHORTEST_NS: u64 = 1 << 14;

/// The figures of one worker. All zeros is a worker that did nothing yet.
#[derive(Debug)]
pub struct Figures {
    /// Jobs that were answered.
    pub jobs: AtomicU64,
    /// Jobs that ended with an error.
    pub errors: AtomicU64,
    /// Reads, writes and ioctls on the session descriptor.
    pub calls: AtomicU64,
    /// Bytes held for pictures.
    pub picture_bytes: AtomicU64,
    /// Width of the last CAPTURE format.
    pub width: AtomicU32,
    /// Its height.
    pub height: AtomicU32,
    latency: [AtomicU32; BUCKETS],
}

impl Figures {
    /// Counts a job that took so long from its message to its answer.
    pub fn took(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.latency[bucket(ns)].fetch_add(1, Relaxed);
    }

    /// The time that `share` of the jobs were done in, in milliseconds.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let counts: Vec<u64> = self
            .latency
            .iter()
            .map(|n| n.load(Relaxed).into())
            .collect();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return None;
        }
        let mut left = (all as f64 * share).ceil() as u64;
        let bucket = counts.iter().position(|&count| {
            let reached = left <= count;
            left = left.saturating_sub(count);
            reached
        })?;
        Some(middle_ns(bucket) / 1e6)
    }
}

/// Buckets are `(8 + n) / 8` of a power of two wide.
fn bucket(ns: u64) -> usize {
    let ns = ns.max(SHORTEST_NS);
    let doubling = ns.ilog2();
    let within = (ns >> (doubling - PER_DOUBLING.ilog2())) as usize % PER_DOUBLING;
    let index = (doubling - SHORTEST_NS.ilog2()) as usize * PER_DOUBLING + within;
    index.min(BUCKETS - 1)
}

fn middle_ns(bucket: usize) -> f64 {
    let doubling = SHORTEST_NS as f64 * 2_f64.powi((bucket / PER_DOUBLING) as i32);
    doubling * (1.0 + (bucket % PER_DOUBLING) as f64 / PER_DOUBLING as f64 + 0.5 / 8.0)
}

/// Figures that stay shared over a fork.
#[derive(Debug)]
pub struct Shared(NonNull<Figures>);

// SAFETY: the memory belongs to this value and holds nothing but atomics.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Figures of a worker that did nothing yet.
    pub fn new() -> io::Result<Self> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where the kernel finds room touches nothing that is there.
        let memory = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                size_of::<Figures>(),
                rights,
                MapFlags::SHARED,
            )?
        };
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self(memory))
    }
}

impl Deref for Shared {
    type Target = Figures;

    fn deref(&self) -> &Figures {
        // SAFETY: mapped in `new` with the size of the struct, page-aligned, zeroed, which is a
        // value of atomics, and unmapped only when `self` is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping; `&self` borrows have ended. A failure leaves it mapped.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<Figures>()) };
    }
}

/// The figures of a session as `--stats` shows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionFigures {
    /// The session's number.
    pub session: u64,
    /// `mpeg2`, `h264`, `vp8`, `vp9`.
    pub codec: String,
    /// Process that opened the video node.
    pub client_pid: u32,
    /// Its name.
    pub client: String,
    /// Process that decodes.
    pub worker_pid: u32,
    /// Width of the last CAPTURE format.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Jobs that were answered.
    pub jobs: u64,
    /// Of these, those with an error.
    pub errors: u64,
    /// Median of the time from a job's message to its answer.
    pub ms_median: Option<f64>,
    /// 99 % of the jobs took less.
    pub ms_p99: Option<f64>,
    /// System calls on the session descriptor.
    pub calls: u64,
    /// Page faults of the worker, from its first breath.
    pub page_faults: Option<u64>,
    /// Bytes of memory that are the worker's alone.
    pub private_bytes: Option<u64>,
    /// Of these, those that hold pictures.
    pub picture_bytes: u64,
}

/// The figures of a daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonFigures {
    /// Process of the daemon.
    pub pid: u32,
    /// Sessions since it started.
    pub sessions_started: u64,
    /// Workers that ended otherwise than by their stream's end.
    pub workers_failed: u64,
    /// Jobs of sessions that have ended.
    pub past_jobs: u64,
    /// Errors of sessions that have ended.
    pub past_errors: u64,
    /// The sessions there are.
    pub sessions: Vec<SessionFigures>,
}

/// Page faults so far, and private bytes, of a process of this user.
pub fn of_process(pid: u32) -> (Option<u64>, Option<u64>) {
    let faults = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            // The name in parentheses may hold anything; minor and major faults are fields 10 and 12.
            let (_, behind) = stat.rsplit_once(')')?;
            let mut fields = behind.split_ascii_whitespace();
            let minor: u64 = fields.nth(7)?.parse().ok()?;
            let major: u64 = fields.nth(1)?.parse().ok()?;
            Some(minor + major)
        });
    let bytes = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|statm| {
            let mut fields = statm.split_ascii_whitespace();
            let resident: u64 = fields.nth(1)?.parse().ok()?;
            let shared: u64 = fields.next()?.parse().ok()?;
            Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
        });
    (faults, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let figures = Shared::new().unwrap();
        assert_eq!(figures.quantile(0.5), None);
        for us in 1..=1000 {
            figures.took(Duration::from_micros(us * 10));
        }
        for (share, ms) in [(0.5, 5.0), (0.99, 9.9), (1.0, 10.0)] {
            let found = figures.quantile(share).unwrap();
            assert!((found - ms).abs() / ms < 0.07, "{share}: {found} ms");
        }
    }

    #[test]
    fn any_time_has_a_bucket() {
        let mut last = 0;
        for shift in 0..64 {
            let bucket = bucket(1 << shift);
            assert!(bucket >= last && bucket < BUCKETS, "{shift}: {bucket}");
            last = bucket;
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn figures_of_a_process_are_read() {
        let (faults, bytes) = of_process(std::process::id());
        assert!(faults.unwrap() > 0 && bytes.unwrap() > 0);
        assert_eq!(of_process(u32::MAX), (None, None));
    }
}
