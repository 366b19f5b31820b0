//! The process of one session: reads jobs, decodes them, answers.
//!
//! In its steady state a job is two system calls, `read` and `write`. Buffers, pictures and the
//! message's memory stay where they are.

use crate::capture::{Capture, Coherence, Nv12};
use crate::figures::Figures;
use crate::session::Session;
use crate::wire::{self, Capture as Format, Job, MAX_MESSAGE};
use crate::{device, record};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use v4l2::uapi::kinora::{KINORA_DEC_STATUS_DONE, KINORA_DEC_STATUS_ERROR, kinora_dec_done};
use zerocopy::IntoBytes;

/// What most messages fit into. It grows to the largest one.
const MESSAGE: usize = 256 << 10;

/// A large page, on most machines. Sessions with smaller pictures would only fill one in part.
const LARGE: usize = 2 << 20;

/// Where jobs come from and answers go.
pub trait Channel {
    /// Reads one message into the beginning of `message`, which grows when it has to. 0 bytes mean
    /// that the session is over.
    fn read(&mut self, message: &mut Vec<u8>) -> io::Result<usize>;

    /// Answers a job. False when nobody waits for the answer any longer.
    fn answer(&mut self, job: u64, good: bool) -> io::Result<bool>;

    /// The CAPTURE buffer of the job in flight, and its size in bytes. None when the job is gone:
    /// the client has stopped meanwhile.
    fn buffer(&mut self, capture: &Format) -> io::Result<Option<(OwnedFd, u64)>>;
}

/// A session descriptor of `/dev/kinora-dec`.
#[derive(Debug)]
pub struct Device(pub OwnedFd);

impl Channel for Device {
    fn read(&mut self, message: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.0, &mut message[..]) {
                Err(Errno::MSGSIZE) => {
                    let size = rustix::io::ioctl_fionread(&self.0)?;
                    grow(message, size)?;
                }
                Err(Errno::INTR) => {}
                read => return Ok(read?),
            }
        }
    }

    fn answer(&mut self, job: u64, good: bool) -> io::Result<bool> {
        let done = done(job, good);
        loop {
            match rustix::io::write(&self.0, done.as_bytes()) {
                Ok(_) => return Ok(true),
                Err(Errno::CANCELED) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn buffer(&mut self, capture: &Format) -> io::Result<Option<(OwnedFd, u64)>> {
        match device::buffer(self.0.as_fd(), capture.index, capture.generation) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            buffer => buffer.map(Some),
        }
    }
}

/// Makes room for a message of `size` bytes.
pub fn grow(message: &mut Vec<u8>, size: u64) -> io::Result<()> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size <= message.len() || size > MAX_MESSAGE {
        return Err(io::Error::other(format!("a message of {size} bytes")));
    }
    // The next one may be larger still; the largest pictures of a stream differ little.
    let size = (size + size / 4).min(MAX_MESSAGE);
    message.resize(size, 0);
    Ok(())
}

/// The answer to a job.
pub fn done(job: u64, good: bool) -> kinora_dec_done {
    kinora_dec_done {
        job,
        status: if good {
            KINORA_DEC_STATUS_DONE
        } else {
            KINORA_DEC_STATUS_ERROR
        },
        reserved: 0,
    }
}

/// Lets the allocator keep what it has: memory that is given back and taken again for every
/// picture costs a page fault for each page.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt changes settings of the allocator; nothing else runs in this process.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 512 << 20);
    }
}

/// Lets the allocator's memory lie in large pages from here on: libavcodec's tables for an H.264
/// picture take megabytes, and looking their pages up takes 2 % of its time.
pub fn use_large_pages() {
    #[cfg(target_env = "gnu")]
    {
        /// Less than what the allocator would ask the kernel for on its own, see [`keep_memory`].
        const HEAP: usize = 24 << 20;
        // SAFETY: the advice is for whole pages within the block, and changes nothing but speed;
        // given back, the block stays what the allocator takes its next ones from.
        unsafe {
            let block = libc::malloc(HEAP);
            let ahead = block.cast::<u8>().align_offset(LARGE);
            if !block.is_null() && ahead < HEAP {
                let whole = (HEAP - ahead) / LARGE * LARGE;
                libc::madvise(block.byte_add(ahead), whole, libc::MADV_HUGEPAGE);
            }
            libc::free(block);
        }
    }
}

/// Serves a session until it is over. `number` is the only session whose jobs are expected.
///
/// # Errors
/// When the channel fails; what is wrong with a job is answered, logged and counted.
pub fn serve<C: Channel>(
    mut channel: C,
    number: Option<u64>,
    figures: &Figures,
    record: Option<&File>,
    coherence: Coherence,
) -> io::Result<C> {
    let mut message = vec![0; MESSAGE];
    let mut stream = Stream {
        number,
        session: None,
        buffers: Buffers {
            coherence,
            mapped: Vec::new(),
        },
    };
    loop {
        let length = channel.read(&mut message)?;
        if length == 0 {
            return Ok(channel);
        }
        let began = Instant::now();
        let message = message.get(..length).unwrap_or_default();
        if let Some(record) = record {
            record::append(record, message)?;
        }
        let Some(job) = wire::number(message) else {
            return Err(io::Error::other("a message that is no job"));
        };
        let good = stream.job(&mut channel, message, figures);
        figures.calls.fetch_add(2, Relaxed);
        figures.jobs.fetch_add(1, Relaxed);
        figures.took(began.elapsed());
        if !channel.answer(job, good)? {
            tracing::debug!(session = stream.name(), job, "cancelled meanwhile");
        }
    }
}

/// The CAPTURE buffers that are mapped.
struct Buffers {
    coherence: Coherence,
    /// By index and generation.
    mapped: Vec<(u32, u32, Capture)>,
}

/// More than vb2 gives one queue by default; clients that ask for more have them mapped anew.
const MOST_MAPPED: usize = 64;

impl Buffers {
    fn get(
        &mut self,
        format: &Format,
        open: impl FnOnce() -> io::Result<Option<(OwnedFd, u64)>>,
    ) -> Result<Option<&mut Capture>, BoxedError> {
        let (index, generation) = (format.index, format.generation);
        let found = self
            .mapped
            .iter()
            .position(|(i, g, _)| (*i, *g) == (index, generation));
        if let Some(found) = found {
            return Ok(Some(&mut self.mapped[found].2));
        }
        // An index belongs to one buffer at a time.
        self.mapped
            .retain(|(i, g, _)| *i != index && *g >= format.oldest_generation);
        if self.mapped.len() >= MOST_MAPPED {
            self.mapped.remove(0);
        }
        let Some((fd, size)) = open()? else {
            return Ok(None);
        };
        let size = usize::try_from(size)?;
        let capture = Capture::map(fd, size, self.coherence)?;
        self.mapped.push((index, generation, capture));
        Ok(self.mapped.last_mut().map(|(_, _, capture)| capture))
    }
}

/// What a session keeps from job to job.
struct Stream {
    number: Option<u64>,
    session: Option<Session>,
    buffers: Buffers,
}

impl Stream {
    fn name(&self) -> u64 {
        self.number.unwrap_or(0)
    }

    /// Does a job; whether its picture is good.
    fn job(&mut self, channel: &mut impl Channel, message: &[u8], figures: &Figures) -> bool {
        let job = match wire::check(message, self.number) {
            Ok(job) => job,
            Err(error) => {
                let job = wire::number(message).unwrap_or(0);
                self.complain(job, 0, &error, figures);
                return false;
            }
        };
        figures.width.store(job.capture.width, Relaxed);
        figures.height.store(job.capture.height, Relaxed);
        match self.decode(channel, &job, figures) {
            Ok(there) => there,
            Err(error) => {
                self.complain(job.number, job.timestamp, &*error, figures);
                false
            }
        }
    }

    /// Decodes a job into its buffer, unless the job is gone; whether it is there. The buffer is filled
    /// as well as can be when there is an error.
    fn decode(
        &mut self,
        channel: &mut impl Channel,
        job: &Job,
        figures: &Figures,
    ) -> Result<bool, BoxedError> {
        let codec = job.controls.codec();
        let session = match &mut self.session {
            Some(session) if session.codec() == codec => session,
            other => {
                if job.capture.size as usize >= LARGE {
                    use_large_pages();
                }
                other.insert(Session::open(codec)?)
            }
        };
        let buffer = self.buffers.get(&job.capture, || {
            // Asking for it, mapping it, closing it.
            figures.calls.fetch_add(3, Relaxed);
            channel.buffer(&job.capture)
        })?;
        let Some(buffer) = buffer else {
            return Ok(false);
        };
        let mut writing = buffer.begin(Nv12 {
            width: job.capture.width,
            height: job.capture.height,
            stride: job.capture.stride,
        })?;
        let place = writing.place();
        let outcome = session.decode(job, place, &mut |rows| writing.rows(&rows))?;
        writing.finish(outcome.picture)?;
        if let Some(error) = outcome.error {
            return Err(error.into());
        }
        let bytes = session.memory() as u64;
        figures.picture_bytes.store(bytes, Relaxed);
        Ok(true)
    }

    fn complain(
        &self,
        job: u64,
        timestamp: u64,
        error: &(dyn std::error::Error + 'static),
        figures: &Figures,
    ) {
        let errors = figures.errors.fetch_add(1, Relaxed) + 1;
        // A broken stream must not fill the log.
        if errors <= 8 || errors.is_power_of_two() {
            let session = self.name();
            tracing::warn!(session, job, timestamp, errors, "{}", Chain(error));
        }
    }
}

type BoxedError = Box<dyn std::error::Error>;

/// An error with what it came from.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Shared;
    use v4l2::uapi::controls::vp9::{V4L2_CID_STATELESS_VP9_FRAME, v4l2_ctrl_vp9_frame};
    use v4l2::uapi::kinora::kinora_dec_job;
    use v4l2::uapi::videodev2::{V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_VP9_FRAME};
    use zerocopy::FromZeros;

    /// One job, whose client closes the device before anybody asks for the buffer.
    struct Closed {
        message: Option<Vec<u8>>,
        answers: Vec<(u64, bool)>,
    }

    impl Channel for Closed {
        fn read(&mut self, message: &mut Vec<u8>) -> io::Result<usize> {
            let Some(job) = self.message.take() else {
                return Ok(0);
            };
            message[..job.len()].copy_from_slice(&job);
            Ok(job.len())
        }

        fn answer(&mut self, job: u64, good: bool) -> io::Result<bool> {
            self.answers.push((job, good));
            Ok(false)
        }

        fn buffer(&mut self, _: &Format) -> io::Result<Option<(OwnedFd, u64)>> {
            Ok(None)
        }
    }

    #[test]
    fn a_job_that_is_gone_is_no_error() {
        let head = kinora_dec_job {
            session: 3,
            job: 7,
            coded: V4L2_PIX_FMT_VP9_FRAME,
            raw: V4L2_PIX_FMT_NV12,
            width: 64,
            height: 64,
            stride: 64,
            capture_size: 64 * 96,
            ..kinora_dec_job::new_zeroed()
        };
        let frame = v4l2_ctrl_vp9_frame::new_zeroed();
        let controls = [(V4L2_CID_STATELESS_VP9_FRAME, frame.as_bytes())];
        let channel = Closed {
            message: Some(wire::compose(&head, &controls, b"frame")),
            answers: Vec::new(),
        };
        let figures = Shared::new().unwrap();
        let channel = serve(channel, Some(3), &figures, None, Coherence::Coherent).unwrap();
        assert_eq!(channel.answers, [(7, false)]);
        assert_eq!(figures.jobs.load(Relaxed), 1);
        assert_eq!(figures.errors.load(Relaxed), 0);
    }
}
