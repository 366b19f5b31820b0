//! A decoder made of memory, in the place of the kernel: it does what a stateless decoder must and
//! writes down what it was asked.
//!
//! "Decoding" copies the first bytes of the OUTPUT buffer to the beginning of each plane of the
//! CAPTURE buffer, so a test sees that the right buffers met. It knows requests, held pictures and
//! errors, exports its buffers and takes others' memory, completes a job as soon as both buffers are
//! there, and refuses a call when it is told to. Each open of the video node is a decoder of its
//! own; `Habits` are what drivers differ in.

use crate::device::profile_menu;
use crate::sys::Kernel;
use crate::uapi::media::*;
use crate::uapi::videodev2::*;
use rustix::event::{PollFd, PollFlags, Timespec};
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
/// How far buffers lie from one another, and their most bytes.
const SPACE: u32 = 4 << 20;
/// Least bytes of an OUTPUT buffer.
const CODED_SIZE: u32 = 64 << 10;
/// Where CAPTURE buffers begin.
const CAPTURE_OFFSET: u32 = 64 * SPACE;

/// In what decoders differ.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// What is decoded: `V4L2_PIX_FMT_*`.
    pub coded: &'static [u32],
    /// Pictures may be memory of the client's.
    pub imports: bool,
    /// A picture can be held for a second field.
    pub holds: bool,
    /// Buffers can be added.
    pub adds_buffers: bool,
    /// Buffers can be taken away. Kernels before 6.10 know no such thing.
    pub removes_buffers: bool,
    /// Buffers that are mapped or exported may be freed. Kernels before 4.20 refuse.
    pub orphans: bool,
    /// A queue that has buffers takes another format.
    pub resizes: bool,
    /// Widths and heights of pictures are rounded up to this.
    pub block: u32,
    /// Bytes of a row are rounded up to this.
    pub stride: u32,
    /// Bytes behind a picture, in which a decoder keeps what it needs for later ones.
    pub tail: u32,
    /// Most CAPTURE buffers.
    pub places: u32,
    /// Most samples and rows.
    pub largest: (u32, u32),
}

impl Default for Habits {
    fn default() -> Self {
        Habits {
            coded: &[
                V4L2_PIX_FMT_MPEG2_SLICE,
                V4L2_PIX_FMT_H264_SLICE,
                V4L2_PIX_FMT_VP8_FRAME,
                V4L2_PIX_FMT_VP9_FRAME,
            ],
            imports: true,
            holds: true,
            adds_buffers: true,
            removes_buffers: true,
            orphans: true,
            resizes: true,
            block: 16,
            stride: 64,
            tail: 0,
            places: 32,
            largest: (2048, 1088),
        }
    }
}

/// The fake kernel, with one decoder in it.
#[derive(Debug, Default)]
pub struct Fake {
    habits: Habits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: Vec<String>,
    refusal: Option<(&'static str, Errno)>,
    is_paused: bool,
    devices: BTreeMap<RawFd, FakeDevice>,
    requests: BTreeMap<RawFd, FakeRequest>,
    requests_made: usize,
}

/// What one open of the video node has.
#[derive(Debug)]
struct FakeDevice {
    memory: OwnedFd,
    formats: BTreeMap<u32, v4l2_pix_format_mplane>,
    output: FakeQueue,
    capture: FakeQueue,
    /// Requests that wait for a picture, in their order.
    waiting: VecDeque<RawFd>,
    held: Option<Waiting>,
}

#[derive(Debug, Default)]
struct FakeQueue {
    /// `V4L2_MEMORY_*` of its buffers.
    memory: u32,
    buffers: Vec<FakeBuffer>,
    is_streaming: bool,
    queued: VecDeque<Waiting>,
    done: VecDeque<(Waiting, u32)>,
}

#[derive(Debug, Default)]
struct FakeBuffer {
    size: u32,
    /// Where the same bytes are seen outside the device: the exported or imported memory.
    other: Option<OwnedFd>,
    /// It was taken away, and its index is the next one's that is added.
    is_removed: bool,
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
    device: RawFd,
    controls: usize,
    buffer: Option<Waiting>,
    is_queued: bool,
}

impl Fake {
    /// A decoder with other habits.
    pub fn with(habits: Habits) -> Fake {
        Fake {
            habits,
            state: Mutex::default(),
        }
    }

    /// What this decoder is like.
    pub fn habits(&self) -> &Habits {
        &self.habits
    }

    /// What was asked since the last time.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    /// Refuses the next call of a name, once.
    pub fn refuse(&self, call: &'static str, error: Errno) {
        self.state().refusal = Some((call, error));
    }

    /// Does nothing more, or, with false, goes on and does what has piled up.
    pub fn pause(&self, pause: bool) {
        let mut state = self.state();
        state.is_paused = pause;
        let devices: Vec<RawFd> = state.devices.keys().copied().collect();
        for device in devices {
            state.run(device);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }
}

impl Kernel for Fake {
    fn open(&self, node: &Path) -> Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("fake", MemfdFlags::CLOEXEC)?;
        let mut state = self.state();
        // A descriptor that was closed may come again as another one.
        state.devices.remove(&fd.as_raw_fd());
        if node.to_string_lossy().contains("video") {
            rustix::fs::ftruncate(&fd, u64::from(CAPTURE_OFFSET) * 2)?;
            let device = FakeDevice {
                memory: fd.try_clone().map_err(|_| Errno::MFILE)?,
                formats: BTreeMap::new(),
                output: FakeQueue::default(),
                capture: FakeQueue::default(),
                waiting: VecDeque::new(),
                held: None,
            };
            state.devices.insert(fd.as_raw_fd(), device);
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
        let (fd, habits) = (fd.as_raw_fd(), &self.habits);
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
                VIDIOC_ENUM_FMT => enumerate(habits, &mut *argument.cast()),
                VIDIOC_ENUM_FRAMESIZES => frame_sizes(habits, &mut *argument.cast()),
                VIDIOC_QUERY_EXT_CTRL => query_control(&*argument.cast()),
                VIDIOC_S_FMT => state.set_format(fd, habits, &mut *argument.cast()),
                VIDIOC_G_FMT => state.device(fd)?.get_format(&mut *argument.cast()),
                VIDIOC_REQBUFS => state.request_buffers(fd, habits, &mut *argument.cast()),
                VIDIOC_CREATE_BUFS => state.create_buffers(fd, habits, &mut *argument.cast()),
                VIDIOC_REMOVE_BUFS => state.remove_buffers(fd, habits, &*argument.cast()),
                VIDIOC_EXPBUF => state.export(fd, &mut *argument.cast()),
                VIDIOC_QUERYBUF | VIDIOC_QBUF | VIDIOC_DQBUF => {
                    let buffer = &mut *argument.cast::<v4l2_buffer>();
                    let plane = std::ptr::with_exposed_provenance_mut::<v4l2_plane>(buffer.m);
                    match opcode {
                        VIDIOC_QUERYBUF => state.device(fd)?.query_buffer(buffer, &mut *plane),
                        VIDIOC_QBUF => state.queue_buffer(fd, buffer, &*plane),
                        _ => state.dequeue_buffer(fd, buffer, &mut *plane),
                    }
                }
                VIDIOC_STREAMON => state.stream(fd, *argument.cast::<u32>(), true),
                VIDIOC_STREAMOFF => state.stream(fd, *argument.cast::<u32>(), false),
                VIDIOC_DECODER_CMD => state.flush_held(fd),
                VIDIOC_S_EXT_CTRLS => state.set_controls(&mut *argument.cast()),
                VIDIOC_G_EXT_CTRLS => state.get_controls(&*argument.cast()),
                MEDIA_IOC_REQUEST_ALLOC => state.allocate_request(&mut *argument.cast()),
                MEDIA_REQUEST_IOC_QUEUE => state.queue_request(fd),
                MEDIA_REQUEST_IOC_REINIT => state.reinit_request(fd),
                _ => Err(Errno::NOTTY),
            }
        }
    }

    fn poll(&self, fds: &mut [PollFd<'_>], _: Duration) -> Result<usize> {
        // All that can be done is done at once, so there is never anything to wait for.
        let mut state = self.state();
        state.log.push("poll".into());
        for fd in fds.iter_mut() {
            let ready = state.ready(fd.as_fd().as_raw_fd());
            // SAFETY: whoever polls has the descriptor open for as long as the call lasts.
            let same = unsafe { BorrowedFd::borrow_raw(fd.as_fd().as_raw_fd()) };
            *fd = PollFd::from_borrowed_fd(same, ready);
        }
        // Memory is always ready, so what is asked for now is what is answered.
        rustix::event::poll(fds, Some(&Timespec::default()))
    }
}

fn name(buf_type: u32) -> &'static str {
    match buf_type {
        V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE => "OUTPUT",
        V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE => "CAPTURE",
        _ => "another queue",
    }
}

fn enumerate(habits: &Habits, format: &mut v4l2_fmtdesc) -> Result<()> {
    let formats = match format.r#type {
        V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE => habits.coded,
        _ => &[V4L2_PIX_FMT_NV12],
    };
    let found = formats.get(format.index as usize).ok_or(Errno::INVAL)?;
    format.pixelformat = *found;
    Ok(())
}

fn frame_sizes(habits: &Habits, sizes: &mut v4l2_frmsizeenum) -> Result<()> {
    if sizes.index > 0 || !habits.coded.contains(&sizes.pixel_format) {
        return Err(Errno::INVAL);
    }
    sizes.r#type = V4L2_FRMSIZE_TYPE_STEPWISE;
    sizes.stepwise = v4l2_frmsize_stepwise {
        min_width: 16,
        max_width: habits.largest.0,
        step_width: 1,
        min_height: 16,
        max_height: habits.largest.1,
        step_height: 1,
    };
    Ok(())
}

/// It has every control that is asked for by its name, but no menus of profiles.
fn query_control(query: &v4l2_query_ext_ctrl) -> Result<()> {
    let all = Habits::default().coded;
    let is_menu = all
        .iter()
        .any(|coded| profile_menu(*coded) == Some(query.id));
    let next = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
    if is_menu || query.id & next != 0 {
        return Err(Errno::INVAL);
    }
    Ok(())
}

impl FakeDevice {
    fn queue(&mut self, buf_type: u32) -> &mut FakeQueue {
        match buf_type {
            V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE => &mut self.output,
            _ => &mut self.capture,
        }
    }

    fn get_format(&self, format: &mut v4l2_format) -> Result<()> {
        let planes = self.formats.get(&format.r#type).ok_or(Errno::INVAL)?;
        let bytes = planes.as_bytes();
        format.fmt.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Whether memory of a queue's own is mapped or exported.
    fn has_users(&mut self, buf_type: u32) -> Result<bool> {
        let own = rustix::fs::fstat(&self.memory)?.st_ino;
        let queue = self.queue(buf_type);
        if queue.memory != V4L2_MEMORY_MMAP {
            return Ok(false);
        }
        let mappings = mappings()?;
        for (index, buffer) in (0..).zip(&queue.buffers) {
            let place = (own, offset(buf_type, index).into());
            let is_exported = match &buffer.other {
                None => false,
                Some(other) => {
                    let inode = rustix::fs::fstat(other)?.st_ino;
                    // One of the descriptors is the fake's own.
                    mappings.contains(&(inode, 0)) || descriptors(inode)? > 1
                }
            };
            if is_exported || mappings.contains(&place) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn size(&self, buf_type: u32) -> Result<u32> {
        let planes = self.formats.get(&buf_type).ok_or(Errno::INVAL)?;
        Ok(planes.plane_fmt[0].sizeimage)
    }

    fn query_buffer(&mut self, buffer: &mut v4l2_buffer, plane: &mut v4l2_plane) -> Result<()> {
        let queue = self.queue(buffer.r#type);
        let found = queue.buffers.get(buffer.index as usize);
        plane.length = found.ok_or(Errno::INVAL)?.size;
        plane.m = offset(buffer.r#type, buffer.index) as usize;
        Ok(())
    }

    /// Copies the payload; an access unit that begins with 0xff cannot be decoded.
    fn decode(&self, unit: &Waiting, picture: &Waiting) -> u32 {
        let from = offset(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, unit.index);
        let to = offset(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, picture.index);
        let mut payload = [0; PAYLOAD];
        rustix::io::pread(self.memory.as_fd(), &mut payload, from.into()).expect("it is memory");
        let format = &self.formats[&V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE];
        let chroma = format.plane_fmt[0].bytesperline * format.height;
        let buffer = &self.capture.buffers[picture.index as usize];
        for plane in [0, chroma] {
            let own = rustix::io::pwrite(&self.memory, &payload, (to + plane).into());
            own.expect("memory is written");
            if let Some(other) = &buffer.other {
                rustix::io::pwrite(other, &payload, plane.into()).expect("memory is written");
            }
        }
        if payload[0] == 0xff {
            V4L2_BUF_FLAG_ERROR
        } else {
            0
        }
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

    /// What of a device is done.
    fn ready(&self, fd: RawFd) -> PollFlags {
        let Some(device) = self.devices.get(&fd) else {
            return PollFlags::empty();
        };
        let mut ready = PollFlags::empty();
        ready.set(PollFlags::IN, !device.capture.done.is_empty());
        ready.set(PollFlags::OUT, !device.output.done.is_empty());
        ready
    }

    fn device(&mut self, fd: RawFd) -> Result<&mut FakeDevice> {
        self.devices.get_mut(&fd).ok_or(Errno::NOTTY)
    }

    fn set_format(&mut self, fd: RawFd, habits: &Habits, format: &mut v4l2_format) -> Result<()> {
        let (mut planes, _) = v4l2_pix_format_mplane::read_from_prefix(format.fmt.as_bytes())
            .map_err(|_| Errno::INVAL)?;
        let code = String::from_utf8_lossy(&planes.pixelformat.to_le_bytes()).into_owned();
        let (width, height) = (planes.width, planes.height);
        let queue = name(format.r#type);
        self.asked("S_FMT", format!("{queue} {code} {width}x{height}"))?;
        let device = self.device(fd)?;
        let is_capture = format.r#type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        // Pictures follow what is decoded, so OUTPUT may not change beneath them either.
        let has_buffers =
            !device.capture.buffers.is_empty() || !is_capture && !device.output.buffers.is_empty();
        if has_buffers && !habits.resizes {
            return Err(Errno::BUSY);
        }
        if is_capture {
            planes.width = width.next_multiple_of(habits.block);
            planes.height = height.next_multiple_of(habits.block).next_multiple_of(2);
            let stride = planes.width.next_multiple_of(habits.stride);
            planes.plane_fmt[0].bytesperline = stride;
            let size = stride * planes.height * 3 / 2 + habits.tail;
            planes.plane_fmt[0].sizeimage = size.min(SPACE);
        } else {
            let size = planes.plane_fmt[0].sizeimage;
            planes.plane_fmt[0].sizeimage = size.clamp(CODED_SIZE, SPACE);
            // Pictures follow what is decoded.
            let mut raw = planes;
            raw.pixelformat = V4L2_PIX_FMT_NV12;
            let capture = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
            device.formats.insert(capture, raw);
        }
        device.formats.insert(format.r#type, planes);
        device.get_format(format)
    }

    fn request_buffers(
        &mut self,
        fd: RawFd,
        habits: &Habits,
        buffers: &mut v4l2_requestbuffers,
    ) -> Result<()> {
        let (buf_type, count) = (buffers.r#type, buffers.count);
        let is_capture = buf_type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        self.asked("REQBUFS", format!("{} {count}", name(buf_type)))?;
        buffers.capabilities = V4L2_BUF_CAP_SUPPORTS_MMAP;
        for (can, flag) in [
            (habits.imports && is_capture, V4L2_BUF_CAP_SUPPORTS_DMABUF),
            (
                habits.holds && !is_capture,
                V4L2_BUF_CAP_SUPPORTS_M2M_HOLD_CAPTURE_BUF,
            ),
            (habits.orphans, V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS),
        ] {
            buffers.capabilities |= if can { flag } else { 0 };
        }
        if buffers.memory == V4L2_MEMORY_DMABUF && !(habits.imports && is_capture) {
            return Err(Errno::INVAL);
        }
        let device = self.device(fd)?;
        let size = if count > 0 { device.size(buf_type)? } else { 0 };
        if !habits.orphans && device.has_users(buf_type)? {
            return Err(Errno::BUSY);
        }
        let queue = device.queue(buf_type);
        queue.memory = buffers.memory;
        buffers.count = if is_capture {
            count.min(habits.places)
        } else {
            count
        };
        queue.buffers.clear();
        queue
            .buffers
            .resize_with(buffers.count as usize, || FakeBuffer {
                size,
                ..FakeBuffer::default()
            });
        Ok(())
    }

    fn create_buffers(
        &mut self,
        fd: RawFd,
        habits: &Habits,
        buffers: &mut v4l2_create_buffers,
    ) -> Result<()> {
        let (buf_type, count) = (buffers.format.r#type, buffers.count);
        self.asked("CREATE_BUFS", format!("{} {count}", name(buf_type)))?;
        if !habits.adds_buffers {
            return Err(Errno::NOTTY);
        }
        let planes = v4l2_pix_format_mplane::read_from_prefix(buffers.format.fmt.as_bytes());
        let (planes, _) = planes.map_err(|_| Errno::INVAL)?;
        let device = self.device(fd)?;
        let size = planes.plane_fmt[0].sizeimage;
        if size < device.size(buf_type)? || size > SPACE {
            return Err(Errno::INVAL);
        }
        let queue = device.queue(buf_type);
        if queue.buffers.is_empty() {
            queue.memory = buffers.memory;
        }
        let added = FakeBuffer {
            size,
            ..FakeBuffer::default()
        };
        let hole = queue.buffers.iter().position(|buffer| buffer.is_removed);
        if let (Some(hole), 1) = (hole, count) {
            queue.buffers[hole] = added;
            buffers.index = hole as u32;
            return Ok(());
        }
        if queue.buffers.len() as u32 + count > habits.places {
            return Err(Errno::NOBUFS);
        }
        buffers.index = queue.buffers.len() as u32;
        for _ in 0..count {
            queue.buffers.push(FakeBuffer {
                size,
                ..FakeBuffer::default()
            });
        }
        Ok(())
    }

    fn remove_buffers(
        &mut self,
        fd: RawFd,
        habits: &Habits,
        buffers: &v4l2_remove_buffers,
    ) -> Result<()> {
        let queue = name(buffers.r#type);
        self.asked("REMOVE_BUFS", format!("{queue} {}", buffers.index))?;
        if !habits.removes_buffers {
            return Err(Errno::NOTTY);
        }
        if buffers.count == 0 {
            return Ok(());
        }
        let queue = self.device(fd)?.queue(buffers.r#type);
        let buffer = queue.buffers.get_mut(buffers.index as usize);
        let buffer = buffer.filter(|buffer| !buffer.is_removed);
        *buffer.ok_or(Errno::INVAL)? = FakeBuffer {
            is_removed: true,
            ..FakeBuffer::default()
        };
        Ok(())
    }

    fn export(&mut self, fd: RawFd, export: &mut v4l2_exportbuffer) -> Result<()> {
        let queue = name(export.r#type);
        self.asked("EXPBUF", format!("{queue} {}", export.index))?;
        let queue = self.device(fd)?.queue(export.r#type);
        let buffer = queue.buffers.get_mut(export.index as usize);
        let buffer = buffer.ok_or(Errno::INVAL)?;
        if buffer.other.is_none() {
            let memory = rustix::fs::memfd_create("picture", MemfdFlags::CLOEXEC)?;
            rustix::fs::ftruncate(&memory, buffer.size.into())?;
            buffer.other = Some(memory);
        }
        let memory = buffer.other.as_ref().ok_or(Errno::INVAL)?;
        let out = memory.try_clone().map_err(|_| Errno::MFILE)?;
        export.fd = out.into_raw_fd();
        Ok(())
    }

    fn queue_buffer(&mut self, fd: RawFd, buffer: &v4l2_buffer, plane: &v4l2_plane) -> Result<()> {
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
            self.queue_picture(fd, waiting, buffer, plane)?;
            self.run(fd);
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
            (request.buffer, request.device) = (Some(waiting), fd);
        }
        Ok(())
    }

    fn queue_picture(
        &mut self,
        fd: RawFd,
        waiting: Waiting,
        buffer: &v4l2_buffer,
        plane: &v4l2_plane,
    ) -> Result<()> {
        let device = self.device(fd)?;
        let needed = device.size(buffer.r#type)?;
        let index = waiting.index;
        let is_queued = device.held.iter().chain(&device.capture.queued);
        if is_queued.into_iter().any(|queued| queued.index == index) {
            return Err(Errno::INVAL);
        }
        let place = device.capture.buffers.get_mut(index as usize);
        let place = place.filter(|place| !place.is_removed);
        let place = place.ok_or(Errno::INVAL)?;
        if buffer.memory == V4L2_MEMORY_DMABUF {
            let memory = RawFd::try_from(plane.m).map_err(|_| Errno::BADF)?;
            // SAFETY: whoever queues the buffer owns the descriptor for as long as the call lasts.
            let memory = unsafe { BorrowedFd::borrow_raw(memory) };
            let length = rustix::fs::fstat(memory)?.st_size;
            if length < i64::from(needed.max(place.size)) {
                return Err(Errno::INVAL);
            }
            place.other = Some(memory.try_clone_to_owned().map_err(|_| Errno::MFILE)?);
        } else if place.size < needed {
            return Err(Errno::INVAL);
        }
        device.capture.queued.push_back(waiting);
        Ok(())
    }

    fn dequeue_buffer(
        &mut self,
        fd: RawFd,
        buffer: &mut v4l2_buffer,
        plane: &mut v4l2_plane,
    ) -> Result<()> {
        if self.device(fd)?.queue(buffer.r#type).done.is_empty() {
            self.log
                .push(format!("DQBUF {} in vain", name(buffer.r#type)));
        }
        let queue = self.device(fd)?.queue(buffer.r#type);
        let (done, flags) = queue.done.pop_front().ok_or(Errno::AGAIN)?;
        plane.bytesused = queue.buffers[done.index as usize].size;
        (buffer.index, buffer.flags) = (done.index, flags);
        buffer.timestamp = done.timestamp;
        let what = format!("{} {}", name(buffer.r#type), done.index);
        self.asked("DQBUF", what)
    }

    fn stream(&mut self, fd: RawFd, buf_type: u32, on: bool) -> Result<()> {
        let call = if on { "STREAMON" } else { "STREAMOFF" };
        self.asked(call, name(buf_type).into())?;
        let device = self.devices.get_mut(&fd).ok_or(Errno::NOTTY)?;
        let queue = device.queue(buf_type);
        queue.is_streaming = on;
        if !on {
            queue.queued.clear();
            queue.done.clear();
            if buf_type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE {
                for request in std::mem::take(&mut device.waiting) {
                    if let Some(request) = self.requests.get_mut(&request) {
                        request.is_queued = false;
                    }
                }
            } else {
                device.held = None;
            }
        }
        Ok(())
    }

    fn flush_held(&mut self, fd: RawFd) -> Result<()> {
        self.asked("DECODER_CMD", "FLUSH".into())?;
        let device = self.device(fd)?;
        if let Some(picture) = device.held.take() {
            device.capture.done.push_back((picture, 0));
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

    /// What is in a request is told by no decoder of Linux before it is queued and done.
    fn get_controls(&mut self, controls: &v4l2_ext_controls) -> Result<()> {
        self.asked("G_EXT_CTRLS", controls.count.to_string())?;
        match controls.which {
            V4L2_CTRL_WHICH_REQUEST_VAL => Err(Errno::ACCESS),
            _ => Ok(()),
        }
    }

    fn allocate_request(&mut self, fd: &mut i32) -> Result<()> {
        let request = rustix::fs::memfd_create("request", MemfdFlags::CLOEXEC)?;
        *fd = request.into_raw_fd();
        let request = FakeRequest {
            name: self.requests_made,
            ..FakeRequest::default()
        };
        self.requests_made += 1;
        self.requests.insert(*fd, request);
        Ok(())
    }

    fn queue_request(&mut self, fd: RawFd) -> Result<()> {
        let request = self.requests.get(&fd).ok_or(Errno::NOTTY)?;
        let (name, device) = (request.name, request.device);
        let is_whole = request.buffer.is_some() && request.controls > 0;
        self.asked("REQUEST_QUEUE", name.to_string())?;
        if !is_whole {
            return Err(Errno::NOENT);
        }
        if let Some(request) = self.requests.get_mut(&fd) {
            request.is_queued = true;
        }
        self.device(device)?.waiting.push_back(fd);
        self.run(device);
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
    fn run(&mut self, fd: RawFd) {
        let Some(device) = self.devices.get_mut(&fd) else {
            return;
        };
        while device.output.is_streaming && device.capture.is_streaming && !self.is_paused {
            let Some(first) = device.waiting.front().copied() else {
                return;
            };
            let Some(request) = self.requests.get_mut(&first) else {
                return;
            };
            // A held picture is for the same frame only; another timestamp lets go of it.
            let stamp = request.buffer.map(|unit| unit.timestamp);
            if let Some(held) = device.held.take_if(|held| Some(held.timestamp) != stamp) {
                device.capture.done.push_back((held, 0));
            }
            let picture = device.held.take();
            let picture = picture.or_else(|| device.capture.queued.pop_front());
            let Some(mut picture) = picture else {
                return;
            };
            device.waiting.pop_front();
            request.is_queued = false;
            let Some(unit) = request.buffer.take() else {
                return;
            };
            picture.timestamp = unit.timestamp;
            let flags = device.decode(&unit, &picture);
            device.output.done.push_back((unit, flags));
            if unit.flags & V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF != 0 {
                device.held = Some(picture);
            } else {
                device.capture.done.push_back((picture, flags));
            }
        }
    }
}

/// The files that are mapped into this process, by inode, and where in them each mapping begins.
fn mappings() -> Result<Vec<(u64, u64)>> {
    let text = std::fs::read_to_string("/proc/self/maps").map_err(|_| Errno::IO)?;
    let place = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(2);
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((words.nth(1)?.parse().ok()?, offset))
    };
    Ok(text.lines().filter_map(place).collect())
}

/// How many of this process' descriptors name a file.
fn descriptors(inode: u64) -> Result<usize> {
    let all = std::fs::read_dir("/proc/self/fd").map_err(|_| Errno::IO)?;
    let is_it = |number: &RawFd| {
        // SAFETY: the number is only asked what it is now, if it is anything.
        let fd = unsafe { BorrowedFd::borrow_raw(*number) };
        rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_ino == inode)
    };
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(is_it).count())
}

fn offset(buf_type: u32, index: u32) -> u32 {
    match buf_type {
        V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE => index * SPACE,
        _ => CAPTURE_OFFSET + index * SPACE,
    }
}
