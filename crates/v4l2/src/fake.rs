//! A decoder made of memory, in the place of the kernel: it does what a stateless decoder must and
//! writes down what it was asked.
//!
//! "Decoding" copies the first bytes of the OUTPUT buffer to the CAPTURE buffer, so a test sees that
//! the right buffers met. It knows requests, held pictures and errors, completes a job as soon as
//! both buffers are there, and refuses a call when it is told to.

use crate::sys::Kernel;
use crate::uapi::media::*;
use crate::uapi::videodev2::*;
use rustix::event::PollFd;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::MemfdFlags;
use rustix::io::{Errno, Result};
use rustix::ioctl::Opcode;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes that are "decoded".
pub const PAYLOAD: usize = 8;
/// Bytes of a buffer, and how far buffers lie from one another.
const SIZE: u32 = 64 << 10;
/// Where CAPTURE buffers begin.
const CAPTURE_OFFSET: u32 = 1 << 24;

/// The fake kernel, with one decoder in it.
#[derive(Debug, Default)]
pub struct Fake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: Vec<String>,
    refusal: Option<(&'static str, Errno)>,
    video: Option<OwnedFd>,
    formats: BTreeMap<u32, v4l2_pix_format_mplane>,
    output: FakeQueue,
    capture: FakeQueue,
    requests: BTreeMap<RawFd, FakeRequest>,
    /// Requests that wait for a picture, in their order.
    waiting: VecDeque<RawFd>,
    held: Option<Waiting>,
}

#[derive(Debug, Default)]
struct FakeQueue {
    buffers: u32,
    is_streaming: bool,
    queued: VecDeque<Waiting>,
    done: VecDeque<(Waiting, u32)>,
}

/// A buffer on its way.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    index: u32,
    flags: u32,
    timestamp: timeval,
}

#[derive(Debug, Default)]
struct FakeRequest {
    name: usize,
    controls: usize,
    buffer: Option<Waiting>,
    is_queued: bool,
}

impl Fake {
    /// What was asked since the last time.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    /// Refuses the next call of a name, once.
    pub fn refuse(&self, call: &'static str, error: Errno) {
        self.state().refusal = Some((call, error));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }
}

impl Kernel for Fake {
    fn open(&self, node: &Path) -> Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("fake", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, u64::from(CAPTURE_OFFSET) * 2)?;
        let mut state = self.state();
        if node.to_string_lossy().contains("video") {
            state.video = Some(fd.try_clone().map_err(|_| Errno::MFILE)?);
        }
        Ok(fd)
    }

    unsafe fn ioctl(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        argument: *mut c_void,
    ) -> Result<()> {
        let mut state = self.state();
        // SAFETY: the caller vouches for an argument that suits the number, and each arm takes it
        // for what its number says.
        unsafe {
            match opcode {
                VIDIOC_QUERYCAP => {
                    let capability = &mut *argument.cast::<v4l2_capability>();
                    capability.driver[..4].copy_from_slice(b"fake");
                    capability.device_caps = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
                    Ok(())
                }
                VIDIOC_S_FMT => state.set_format(&mut *argument.cast()),
                VIDIOC_G_FMT => state.get_format(&mut *argument.cast()),
                VIDIOC_REQBUFS => state.request_buffers(&mut *argument.cast()),
                VIDIOC_CREATE_BUFS => state.create_buffers(&mut *argument.cast()),
                VIDIOC_REMOVE_BUFS => state.remove_buffers(&*argument.cast()),
                VIDIOC_QUERYBUF | VIDIOC_QBUF | VIDIOC_DQBUF => {
                    let buffer = &mut *argument.cast::<v4l2_buffer>();
                    let plane = std::ptr::with_exposed_provenance_mut::<v4l2_plane>(buffer.m);
                    match opcode {
                        VIDIOC_QUERYBUF => state.query_buffer(buffer, &mut *plane),
                        VIDIOC_QBUF => state.queue_buffer(buffer, &*plane),
                        _ => state.dequeue_buffer(buffer, &mut *plane),
                    }
                }
                VIDIOC_STREAMON => state.stream(*argument.cast::<u32>(), true),
                VIDIOC_STREAMOFF => state.stream(*argument.cast::<u32>(), false),
                VIDIOC_S_EXT_CTRLS => state.set_controls(&mut *argument.cast()),
                MEDIA_IOC_REQUEST_ALLOC => state.allocate_request(&mut *argument.cast()),
                MEDIA_REQUEST_IOC_QUEUE => state.queue_request(fd.as_raw_fd()),
                MEDIA_REQUEST_IOC_REINIT => state.reinit_request(fd.as_raw_fd()),
                _ => Err(Errno::NOTTY),
            }
        }
    }

    fn poll(&self, fds: &mut [PollFd<'_>], _: Duration) -> Result<usize> {
        // All that can be done is done at once, so there is never anything to wait for.
        self.state().log.push("poll".into());
        fds.iter_mut().for_each(PollFd::clear_revents);
        Ok(0)
    }
}

fn name(buf_type: u32) -> &'static str {
    match buf_type {
        V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE => "OUTPUT",
        V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE => "CAPTURE",
        _ => "another queue",
    }
}

impl State {
    /// Writes a call down, and says whether it is to be refused.
    fn asked(&mut self, call: &'static str, what: String) -> Result<()> {
        self.log
            .push(format!("{call} {what}").trim_end().to_owned());
        match self.refusal {
            Some((refused, error)) if refused == call => {
                self.refusal = None;
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn queue(&mut self, buf_type: u32) -> &mut FakeQueue {
        match buf_type {
            V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE => &mut self.output,
            _ => &mut self.capture,
        }
    }

    fn set_format(&mut self, format: &mut v4l2_format) -> Result<()> {
        let (mut planes, _) = v4l2_pix_format_mplane::read_from_prefix(format.fmt.as_bytes())
            .map_err(|_| Errno::INVAL)?;
        let code = String::from_utf8_lossy(&planes.pixelformat.to_le_bytes()).into_owned();
        let (width, height) = (planes.width, planes.height);
        let queue = name(format.r#type);
        self.asked("S_FMT", format!("{queue} {code} {width}x{height}"))?;
        planes.plane_fmt[0].sizeimage = SIZE;
        if format.r#type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE {
            planes.width = width.next_multiple_of(16);
            planes.height = height.next_multiple_of(16);
            planes.plane_fmt[0].bytesperline = width.next_multiple_of(64);
        } else {
            // Pictures follow what is decoded.
            let mut raw = planes;
            raw.pixelformat = V4L2_PIX_FMT_NV12;
            self.formats.insert(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, raw);
        }
        self.formats.insert(format.r#type, planes);
        self.get_format(format)
    }

    fn get_format(&self, format: &mut v4l2_format) -> Result<()> {
        let planes = self.formats.get(&format.r#type).ok_or(Errno::INVAL)?;
        let bytes = planes.as_bytes();
        format.fmt.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn request_buffers(&mut self, buffers: &mut v4l2_requestbuffers) -> Result<()> {
        let (buf_type, count) = (buffers.r#type, buffers.count);
        self.asked("REQBUFS", format!("{} {count}", name(buf_type)))?;
        self.queue(buf_type).buffers = count;
        Ok(())
    }

    fn create_buffers(&mut self, buffers: &mut v4l2_create_buffers) -> Result<()> {
        let (buf_type, count) = (buffers.format.r#type, buffers.count);
        self.asked("CREATE_BUFS", format!("{} {count}", name(buf_type)))?;
        let queue = self.queue(buf_type);
        buffers.index = queue.buffers;
        queue.buffers += count;
        Ok(())
    }

    fn remove_buffers(&mut self, buffers: &v4l2_remove_buffers) -> Result<()> {
        let queue = name(buffers.r#type);
        self.asked("REMOVE_BUFS", format!("{queue} {}", buffers.index))
    }

    fn query_buffer(&mut self, buffer: &mut v4l2_buffer, plane: &mut v4l2_plane) -> Result<()> {
        if buffer.index >= self.queue(buffer.r#type).buffers {
            return Err(Errno::INVAL);
        }
        plane.length = SIZE;
        plane.m = offset(buffer.r#type, buffer.index) as usize;
        Ok(())
    }

    fn queue_buffer(&mut self, buffer: &v4l2_buffer, plane: &v4l2_plane) -> Result<()> {
        let waiting = Waiting {
            index: buffer.index,
            flags: buffer.flags,
            timestamp: buffer.timestamp,
        };
        let queue = name(buffer.r#type);
        let mut what = format!("{queue} {}", buffer.index);
        if buffer.memory == V4L2_MEMORY_DMABUF {
            what += " imported";
        }
        if buffer.r#type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE {
            self.asked("QBUF", what)?;
            self.capture.queued.push_back(waiting);
            self.run();
            return Ok(());
        }
        let request = self.requests.get(&buffer.request_fd);
        let request = request.map(|request| request.name).ok_or(Errno::BADR)?;
        what += &format!(
            " {} bytes at {} us, request {request}",
            plane.bytesused, buffer.timestamp.tv_usec
        );
        if buffer.flags & V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF != 0 {
            what += ", hold";
        }
        self.asked("QBUF", what)?;
        if let Some(request) = self.requests.get_mut(&buffer.request_fd) {
            request.buffer = Some(waiting);
        }
        Ok(())
    }

    fn dequeue_buffer(&mut self, buffer: &mut v4l2_buffer, plane: &mut v4l2_plane) -> Result<()> {
        let queue = self.queue(buffer.r#type);
        let (done, flags) = queue.done.pop_front().ok_or(Errno::AGAIN)?;
        (buffer.index, buffer.flags) = (done.index, flags);
        buffer.timestamp = done.timestamp;
        plane.bytesused = SIZE;
        let what = format!("{} {}", name(buffer.r#type), done.index);
        self.asked("DQBUF", what)
    }

    fn stream(&mut self, buf_type: u32, on: bool) -> Result<()> {
        let call = if on { "STREAMON" } else { "STREAMOFF" };
        self.asked(call, name(buf_type).into())?;
        let queue = self.queue(buf_type);
        queue.is_streaming = on;
        if !on {
            queue.queued.clear();
            queue.done.clear();
            if buf_type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE {
                for request in std::mem::take(&mut self.waiting) {
                    if let Some(request) = self.requests.get_mut(&request) {
                        request.is_queued = false;
                    }
                }
            } else {
                self.held = None;
            }
        }
        Ok(())
    }

    fn set_controls(&mut self, controls: &mut v4l2_ext_controls) -> Result<()> {
        let count = controls.count as usize;
        let request = self.requests.get_mut(&controls.request_fd);
        let what = match request {
            Some(request) if controls.which == V4L2_CTRL_WHICH_REQUEST_VAL => {
                request.controls = count;
                format!("request {}: {count}", request.name)
            }
            _ => count.to_string(),
        };
        controls.error_idx = 0;
        self.asked("S_EXT_CTRLS", what)
    }

    fn allocate_request(&mut self, fd: &mut i32) -> Result<()> {
        let request = rustix::fs::memfd_create("request", MemfdFlags::CLOEXEC)?;
        *fd = request.into_raw_fd();
        let request = FakeRequest {
            name: self.requests.len(),
            ..FakeRequest::default()
        };
        self.requests.insert(*fd, request);
        Ok(())
    }

    fn queue_request(&mut self, fd: RawFd) -> Result<()> {
        let request = self.requests.get(&fd).ok_or(Errno::NOTTY)?;
        let (name, is_whole) = (
            request.name,
            request.buffer.is_some() && request.controls > 0,
        );
        self.asked("REQUEST_QUEUE", name.to_string())?;
        if !is_whole {
            return Err(Errno::NOENT);
        }
        if let Some(request) = self.requests.get_mut(&fd) {
            request.is_queued = true;
        }
        self.waiting.push_back(fd);
        self.run();
        Ok(())
    }

    fn reinit_request(&mut self, fd: RawFd) -> Result<()> {
        let request = self.requests.get(&fd).ok_or(Errno::NOTTY)?;
        let (name, is_queued) = (request.name, request.is_queued);
        self.asked("REQUEST_REINIT", name.to_string())?;
        if is_queued {
            return Err(Errno::BUSY);
        }
        if let Some(request) = self.requests.get_mut(&fd) {
            (request.controls, request.buffer) = (0, None);
        }
        Ok(())
    }

    /// Does all jobs that have both buffers.
    fn run(&mut self) {
        while self.output.is_streaming && self.capture.is_streaming {
            let Some(fd) = self.waiting.front().copied() else {
                return;
            };
            let picture = self.held.take().or_else(|| self.capture.queued.pop_front());
            let Some(mut picture) = picture else {
                return;
            };
            self.waiting.pop_front();
            let request = self.requests.get_mut(&fd);
            let Some(unit) = request.and_then(|request| {
                request.is_queued = false;
                request.buffer.take()
            }) else {
                return;
            };
            picture.timestamp = unit.timestamp;
            let flags = self.decode(&unit, &picture);
            self.output.done.push_back((unit, flags));
            if unit.flags & V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF != 0 {
                self.held = Some(picture);
            } else {
                self.capture.done.push_back((picture, flags));
            }
        }
    }

    /// Copies the payload; an access unit that begins with 0xff cannot be decoded.
    fn decode(&self, unit: &Waiting, picture: &Waiting) -> u32 {
        let video = self.video.as_ref().expect("the video node is open");
        let from = offset(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, unit.index);
        let to = offset(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, picture.index);
        let mut payload = [0; PAYLOAD];
        rustix::io::pread(video.as_fd(), &mut payload, from.into()).expect("memory is read");
        rustix::io::pwrite(video.as_fd(), &payload, to.into()).expect("memory is written");
        if payload[0] == 0xff {
            V4L2_BUF_FLAG_ERROR
        } else {
            0
        }
    }
}

fn offset(buf_type: u32, index: u32) -> u32 {
    match buf_type {
        V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE => index * SIZE,
        _ => CAPTURE_OFFSET + index * SIZE,
    }
}
