//! Recorded jobs, decoded again without a kernel: the whole way of a job from its message to its
//! CAPTURE buffer, with a file in memory for the buffer. For measuring, for regressions, for a
//! stream that somebody reports.

use crate::capture::Coherence;
use crate::figures::Shared;
use crate::record::Record;
use crate::wire::{self, Capture};
use crate::worker::{self, Channel};
use md5::{Digest, Md5};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use v4l2::sys::Mapping;
use v4l2::uapi::kinora::kinora_dec_job;
use zerocopy::IntoBytes;

/// How a record is replayed.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Times that each session's jobs are decoded, one after the other.
    pub repeat: u64,
    /// Whether frames are hashed, which costs time that is counted.
    pub md5: bool,
}

/// What came of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// `mpeg2`, `h264`, `vp8`, `vp9`; of the first job.
    pub codec: String,
    /// Width of the last CAPTURE format.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Jobs.
    pub jobs: u64,
    /// Jobs that ended with an error.
    pub errors: u64,
    /// Time on the clock.
    pub wall_s: f64,
    /// Processor time, without that for the memory of CAPTURE buffers, which is the module's to make.
    pub cpu_s: f64,
    /// Jobs for each second of processor time.
    pub jobs_per_cpu_s: f64,
    /// Median of a job's time.
    pub ms_median: Option<f64>,
    /// 99 % of the jobs took less.
    pub ms_p99: Option<f64>,
    /// Bytes of pictures at the end.
    pub picture_bytes: u64,
    /// MD5 of all pictures that are good, in the order of jobs, as NV12 without padding.
    pub md5: Option<String>,
}

/// The jobs of each session of a record.
pub fn sessions(record: &Record) -> Vec<Vec<&[u8]>> {
    let mut sessions: Vec<(u64, Vec<&[u8]>)> = Vec::new();
    for message in record.messages() {
        let Some((head, _)) = v4l2::from_bytes::<kinora_dec_job>(message) else {
            continue;
        };
        match sessions
            .iter_mut()
            .find(|(session, _)| *session == head.session)
        {
            Some((_, messages)) => messages.push(message),
            None => sessions.push((head.session, vec![message])),
        }
    }
    sessions.into_iter().map(|(_, messages)| messages).collect()
}

/// Decodes the jobs of one session.
pub fn replay(messages: &[&[u8]], options: Options) -> io::Result<Replayed> {
    let figures = Shared::new()?;
    let channel = Player {
        messages,
        next: 0,
        rounds: options.repeat,
        offset: 0,
        buffers: HashMap::new(),
        current: None,
        module_s: 0.0,
        md5: options.md5.then(Md5::new),
    };
    let began = Instant::now();
    let cpu = cpu_s();
    let player = worker::serve(channel, None, &figures, None, Coherence::Coherent)?;
    let cpu_s = cpu_s() - cpu - player.module_s;
    let jobs = figures.jobs.load(Relaxed);
    let first = messages
        .first()
        .and_then(|message| wire::check(message, None).ok());
    Ok(Replayed {
        codec: first
            .map_or("unknown", |job| job.controls.codec().name())
            .to_owned(),
        width: figures.width.load(Relaxed),
        height: figures.height.load(Relaxed),
        jobs,
        errors: figures.errors.load(Relaxed),
        wall_s: began.elapsed().as_secs_f64(),
        cpu_s,
        jobs_per_cpu_s: jobs as f64 / cpu_s,
        ms_median: figures.quantile(0.5),
        ms_p99: figures.quantile(0.99),
        picture_bytes: figures.picture_bytes.load(Relaxed),
        md5: player.md5.map(|md5| {
            let bytes = md5.finalize();
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }),
    })
}

/// Processor time of this thread. Through libc: rustix looks for the vDSO's function, which User
/// Mode Linux lacks.
fn cpu_s() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to the struct. The clock exists since Linux 2.6.12; without it time stays 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Several sessions side by side, each in a process of its own as in the daemon: one that crashes is
/// an error in its place, and the others go on.
///
/// This process must have no other thread.
pub fn in_processes(
    sessions: &[Vec<&[u8]>],
    options: Options,
) -> io::Result<Vec<io::Result<Replayed>>> {
    let mut readers = Vec::new();
    for messages in sessions {
        let (reader, writer) = rustix::pipe::pipe()?;
        // SAFETY: there is one thread, so everything is as usable in the new process.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                drop(reader);
                worker::keep_memory();
                let sent = replay(messages, options).and_then(|replayed| {
                    std::fs::File::from(writer).write_all(&serde_json::to_vec(&replayed)?)
                });
                // SAFETY: always sound; what exit() would tidy up is the parent's.
                unsafe { libc::_exit(i32::from(sent.is_err())) }
            }
            process => readers.push((process, std::fs::File::from(reader))),
        }
    }
    let collect = |(process, mut reader): (libc::pid_t, std::fs::File)| {
        let mut json = Vec::new();
        reader.read_to_end(&mut json)?;
        let mut status = 0;
        // SAFETY: writes to the integer; the process is this one's child and not yet waited for.
        unsafe { libc::waitpid(process, &raw mut status, 0) };
        if json.is_empty() {
            let status = ExitStatus::from_raw(status);
            return Err(io::Error::other(format!("its process ended: {status}")));
        }
        Ok(serde_json::from_slice(&json)?)
    };
    Ok(readers.into_iter().map(collect).collect())
}

/// Several sessions side by side, each in a thread.
pub fn in_threads(sessions: &[Vec<&[u8]>], options: Options) -> Vec<io::Result<Replayed>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter()
            .map(|messages| scope.spawn(move || replay(messages, options)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let ended = thread.join();
                ended.unwrap_or_else(|_| Err(io::Error::other("the session's thread panicked")))
            })
            .collect()
    })
}

/// Plays the module's part.
struct Player<'a> {
    messages: &'a [&'a [u8]],
    next: usize,
    rounds: u64,
    /// What is added to job numbers, so that no number comes twice.
    offset: u64,
    /// By index and generation.
    buffers: HashMap<(u32, u32), (OwnedFd, Mapping)>,
    current: Option<Capture>,
    /// Processor time spent on buffers.
    module_s: f64,
    md5: Option<Md5>,
}

impl Player<'_> {
    /// The next message; `Break` at the end.
    fn advance(&mut self) -> ControlFlow<(), &[u8]> {
        if self.next == self.messages.len() {
            let last = self.messages.last().and_then(|last| wire::number(last));
            self.offset += last.unwrap_or(0);
            self.next = 0;
            self.rounds = self.rounds.saturating_sub(1);
        }
        if self.rounds == 0 || self.messages.is_empty() {
            return ControlFlow::Break(());
        }
        self.next += 1;
        ControlFlow::Continue(self.messages[self.next - 1])
    }

    fn hash(&mut self) {
        let (Some(md5), Some(capture)) = (&mut self.md5, self.current) else {
            return;
        };
        let Some((_, memory)) = self.buffers.get(&(capture.index, capture.generation)) else {
            return;
        };
        let stride = capture.stride as usize;
        let row = capture.width.next_multiple_of(2) as usize;
        let mut line = vec![0; row];
        for nth in 0..(capture.height + capture.height.div_ceil(2)) as usize {
            // A column that only chroma has to its right is no part of the picture.
            let used = if nth < capture.height as usize {
                capture.width as usize
            } else {
                row
            };
            if memory.read(nth * stride, &mut line[..used]) {
                md5.update(&line[..used]);
            }
        }
    }
}

impl Channel for Player<'_> {
    fn read(&mut self, message: &mut Vec<u8>) -> io::Result<usize> {
        let offset = self.offset;
        let ControlFlow::Continue(recorded) = self.advance() else {
            return Ok(0);
        };
        let length = recorded.len();
        if length > message.len() {
            worker::grow(message, length as u64)?;
        }
        message[..length].copy_from_slice(recorded);
        let offset = offset.max(self.offset);
        if let Some((mut head, _)) = v4l2::from_bytes::<kinora_dec_job>(&message[..length]) {
            head.job = head.job.saturating_add(offset);
            for reference in head.references.iter_mut().filter(|one| one.job != 0) {
                reference.job = reference.job.saturating_add(offset);
            }
            message[..size_of::<kinora_dec_job>()].copy_from_slice(head.as_bytes());
        }
        self.current = wire::check(&message[..length], None)
            .ok()
            .map(|job| job.capture);
        Ok(length)
    }

    fn answer(&mut self, _: u64, good: bool) -> io::Result<bool> {
        if good {
            self.hash();
        }
        Ok(true)
    }

    fn buffer(&mut self, capture: &Capture) -> io::Result<Option<(OwnedFd, u64)>> {
        let began = cpu_s();
        let size = u64::from(capture.size);
        self.buffers.retain(|(index, _), _| *index != capture.index);
        let file = memfd_create("capture", MemfdFlags::CLOEXEC)?;
        // With its pages, as a client's buffer has them before its first job.
        fallocate(&file, FallocateFlags::empty(), 0, size)?;
        let memory = Mapping::new(file.as_fd(), capture.size as usize, 0)?;
        let given = file.try_clone()?;
        self.buffers
            .insert((capture.index, capture.generation), (file, memory));
        self.module_s += cpu_s() - began;
        Ok(Some((given, size)))
    }
}
