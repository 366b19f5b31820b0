//! A device's buffers, one call each: allocate, queue, dequeue, export, remove.
//!
//! Nothing here remembers who has which buffer; `session` does.

use crate::device::{Device, Format, Queue};
use crate::error::Error;
use crate::media::Request;
use crate::uapi::videodev2::*;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use zerocopy::FromZeros;

/// Whose memory a queue's buffers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The device's; it can be mapped and exported.
    Mmap,
    /// Somebody else's, given as a dma-buf each time a buffer is queued.
    DmaBuf,
}

impl Memory {
    fn to_uapi(self) -> u32 {
        match self {
            Memory::Mmap => V4L2_MEMORY_MMAP,
            Memory::DmaBuf => V4L2_MEMORY_DMABUF,
        }
    }
}

/// When a picture is shown, in microseconds: what names it among the references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A timestamp of so many microseconds.
    pub fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros)
    }

    /// In microseconds.
    pub fn micros(self) -> u64 {
        self.0
    }

    /// In nanoseconds, as the controls' `reference_ts` fields want it.
    pub fn nanos(self) -> u64 {
        self.0.wrapping_mul(1000)
    }

    fn to_uapi(self) -> timeval {
        timeval {
            tv_sec: (self.0 / 1_000_000) as isize,
            tv_usec: (self.0 % 1_000_000) as isize,
        }
    }

    fn from_uapi(time: timeval) -> Timestamp {
        let seconds = (time.tv_sec as u64).wrapping_mul(1_000_000);
        Timestamp(seconds.wrapping_add(time.tv_usec as u64))
    }
}

/// A buffer to be queued.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'a> {
    /// Its index.
    pub index: u32,
    /// Bytes of data in it; OUTPUT only.
    pub bytes_used: u32,
    /// When the picture is shown; OUTPUT only, the driver copies it to CAPTURE.
    pub timestamp: Timestamp,
    /// The request that it belongs to; OUTPUT only.
    pub request: Option<&'a Request>,
    /// Keep the CAPTURE buffer for the next OUTPUT buffer: this is the first of two fields.
    pub hold: bool,
    /// The memory, where the queue has none of its own, and its length.
    pub import: Option<(BorrowedFd<'a>, u32)>,
}

impl<'a> Queued<'a> {
    /// A buffer of the queue's own memory.
    pub fn own(index: u32) -> Queued<'a> {
        Queued {
            index,
            bytes_used: 0,
            timestamp: Timestamp::default(),
            request: None,
            hold: false,
            import: None,
        }
    }
}

/// A buffer that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dequeued {
    /// Its index.
    pub index: u32,
    /// Bytes in it.
    pub bytes_used: u32,
    /// The timestamp of the OUTPUT buffer.
    pub timestamp: Timestamp,
    /// Whether the access unit could not be decoded.
    pub error: bool,
}

/// Where a buffer lies for `mmap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes.
    pub length: u32,
    /// The offset to map at.
    pub offset: u32,
}

impl Device {
    /// Allocates a queue's buffers, or frees them all with a count of 0; returns how many there are.
    ///
    /// # Errors
    /// The queue is streaming, or there is no memory.
    pub fn request_buffers(&self, queue: Queue, memory: Memory, count: u32) -> Result<u32, Error> {
        let mut buffers = v4l2_requestbuffers::new_zeroed();
        (buffers.count, buffers.r#type) = (count, queue.buf_type());
        buffers.memory = memory.to_uapi();
        // SAFETY: the ioctl takes this struct, which holds no address.
        unsafe { self.node.call(VIDIOC_REQBUFS, &mut buffers) }
            .map_err(|source| self.node.failed("VIDIOC_REQBUFS", source))?;
        Ok(buffers.count)
    }

    /// Adds buffers of a format, while streaming too; returns the index of the first and how many.
    ///
    /// # Errors
    /// The format does not suit, or there is no memory.
    pub fn create_buffers(
        &self,
        queue: Queue,
        memory: Memory,
        format: Format,
        count: u32,
    ) -> Result<(u32, u32), Error> {
        let mut buffers = v4l2_create_buffers::new_zeroed();
        (buffers.count, buffers.memory) = (count, memory.to_uapi());
        buffers.format = format.to_uapi(queue);
        // SAFETY: the ioctl takes this struct, which holds no address for this type of queue.
        unsafe { self.node.call(VIDIOC_CREATE_BUFS, &mut buffers) }
            .map_err(|source| self.node.failed("VIDIOC_CREATE_BUFS", source))?;
        Ok((buffers.index, buffers.count))
    }

    /// Takes buffers that are not queued away from a queue (Linux 6.10).
    ///
    /// # Errors
    /// One of them is queued or not there, or the kernel does not know how.
    pub fn remove_buffers(&self, queue: Queue, index: u32, count: u32) -> Result<(), Error> {
        let mut buffers = v4l2_remove_buffers::new_zeroed();
        (buffers.index, buffers.count, buffers.r#type) = (index, count, queue.buf_type());
        // SAFETY: the ioctl takes this struct, which holds no address.
        unsafe { self.node.call(VIDIOC_REMOVE_BUFS, &mut buffers) }
            .map_err(|source| self.node.failed("VIDIOC_REMOVE_BUFS", source))
    }

    /// Where a buffer of the queue's own memory lies.
    ///
    /// # Errors
    /// There is no such buffer.
    pub fn place(&self, queue: Queue, index: u32) -> Result<Place, Error> {
        let call = |buffer: &mut v4l2_buffer| {
            (buffer.index, buffer.memory) = (index, V4L2_MEMORY_MMAP);
            v4l2_plane::new_zeroed()
        };
        let (_, plane) = self
            .buffer_call(VIDIOC_QUERYBUF, queue, call)
            .map_err(|source| self.node.failed("VIDIOC_QUERYBUF", source))?;
        Ok(Place {
            length: plane.length,
            offset: plane.m as u32,
        })
    }

    /// Queues a buffer.
    ///
    /// # Errors
    /// The buffer is queued already, does not exist, or its memory does not suit.
    pub fn queue_buffer(&self, queue: Queue, queued: &Queued<'_>) -> Result<(), Error> {
        let call = |buffer: &mut v4l2_buffer| {
            buffer.index = queued.index;
            buffer.memory = V4L2_MEMORY_MMAP;
            buffer.field = V4L2_FIELD_NONE;
            buffer.timestamp = queued.timestamp.to_uapi();
            if queued.hold {
                buffer.flags |= V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF;
            }
            if let Some(request) = queued.request {
                buffer.flags |= V4L2_BUF_FLAG_REQUEST_FD;
                buffer.request_fd = request.as_fd().as_raw_fd();
            }
            let mut plane = v4l2_plane::new_zeroed();
            plane.bytesused = queued.bytes_used;
            if let Some((fd, length)) = queued.import {
                buffer.memory = V4L2_MEMORY_DMABUF;
                (plane.m, plane.length) = (fd.as_raw_fd() as usize, length);
            }
            plane
        };
        let done = self.buffer_call(VIDIOC_QBUF, queue, call);
        done.map_err(|source| self.node.failed("VIDIOC_QBUF", source))?;
        Ok(())
    }

    /// Takes a buffer that is done, if there is one. Nothing blocks: the node was opened so.
    ///
    /// # Errors
    /// The queue is not streaming, or the device is gone.
    pub fn dequeue_buffer(&self, queue: Queue, memory: Memory) -> Result<Option<Dequeued>, Error> {
        let call = |buffer: &mut v4l2_buffer| {
            buffer.memory = memory.to_uapi();
            v4l2_plane::new_zeroed()
        };
        match self.buffer_call(VIDIOC_DQBUF, queue, call) {
            Ok((buffer, plane)) => Ok(Some(Dequeued {
                index: buffer.index,
                bytes_used: plane.bytesused,
                timestamp: Timestamp::from_uapi(buffer.timestamp),
                error: buffer.flags & V4L2_BUF_FLAG_ERROR != 0,
            })),
            // Not an error that would be worth its text: it comes with every picture.
            Err(Errno::AGAIN) => Ok(None),
            Err(source) => Err(self.node.failed("VIDIOC_DQBUF", source)),
        }
    }

    /// One call with a buffer of one plane.
    fn buffer_call(
        &self,
        opcode: rustix::ioctl::Opcode,
        queue: Queue,
        fill: impl FnOnce(&mut v4l2_buffer) -> v4l2_plane,
    ) -> Result<(v4l2_buffer, v4l2_plane), Errno> {
        let mut buffer = v4l2_buffer::new_zeroed();
        buffer.r#type = queue.buf_type();
        let mut plane = fill(&mut buffer);
        let planes = (&raw mut plane).expose_provenance();
        (buffer.m, buffer.length) = (planes, 1);
        // SAFETY: all four ioctls that come here take a buffer, which says that one plane lies at
        // its address; a plane holds an offset or a descriptor for the memories in use, no address.
        unsafe { self.node.call(opcode, &mut buffer) }?;
        // SAFETY: `plane` is alive and the kernel is done with it. It is read by its address
        // because the kernel wrote it by that.
        let plane = unsafe { std::ptr::with_exposed_provenance::<v4l2_plane>(planes).read() };
        Ok((buffer, plane))
    }

    /// A buffer of the queue's own memory as a dma-buf, which outlives queue and device.
    ///
    /// # Errors
    /// There is no such buffer.
    pub fn export(&self, queue: Queue, index: u32) -> Result<OwnedFd, Error> {
        let mut export = v4l2_exportbuffer::new_zeroed();
        (export.r#type, export.index, export.fd) = (queue.buf_type(), index, -1);
        export.flags = (OFlags::CLOEXEC | OFlags::RDWR).bits();
        // SAFETY: the ioctl takes this struct, which holds no address.
        unsafe { self.node.call(VIDIOC_EXPBUF, &mut export) }
            .map_err(|source| self.node.failed("VIDIOC_EXPBUF", source))?;
        if export.fd < 0 {
            let what = format!("descriptor {}", export.fd);
            return Err(self.node.nonsense("VIDIOC_EXPBUF", what));
        }
        // SAFETY: the kernel has just opened it for this process and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
    }

    /// Lets a queue run.
    ///
    /// # Errors
    /// It has no buffers.
    pub fn stream_on(&self, queue: Queue) -> Result<(), Error> {
        // SAFETY: the ioctl reads an `int`.
        unsafe { self.node.call(VIDIOC_STREAMON, &mut queue.buf_type()) }
            .map_err(|source| self.node.failed("VIDIOC_STREAMON", source))
    }

    /// Stops a queue: whatever is queued belongs to the client again, undecoded.
    ///
    /// # Errors
    /// The device is gone.
    pub fn stream_off(&self, queue: Queue) -> Result<(), Error> {
        // SAFETY: the ioctl reads an `int`.
        unsafe { self.node.call(VIDIOC_STREAMOFF, &mut queue.buf_type()) }
            .map_err(|source| self.node.failed("VIDIOC_STREAMOFF", source))
    }

    /// Tells a stateless decoder that no second field follows: a CAPTURE buffer that is held comes
    /// out as it is.
    ///
    /// # Errors
    /// The driver holds no buffers.
    pub fn flush_held(&self) -> Result<(), Error> {
        let mut command = v4l2_decoder_cmd::new_zeroed();
        command.cmd = V4L2_DEC_CMD_FLUSH;
        // SAFETY: the ioctl takes this struct, which holds no address.
        unsafe { self.node.call(VIDIOC_DECODER_CMD, &mut command) }
            .map_err(|source| self.node.failed("VIDIOC_DECODER_CMD", source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_survive_the_way_to_the_kernel_and_back() {
        for micros in [0, 1, 999_999, 1_000_000, 86_400_000_001] {
            let timestamp = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::from_uapi(timestamp.to_uapi()), timestamp);
            assert_eq!(timestamp.nanos(), micros * 1000);
        }
    }
}
