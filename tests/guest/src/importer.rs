//! A device that takes other devices' memory and reads it by itself: the encoder of `vicodec`, which
//! must be loaded with `multiplanar=1`.
//!
//! Each frame is coded for itself, so the same pixels give the same bytes, whatever memory they came in.

use crate::Result;
use rustix::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use v4l2::device::{Control, Device, Format, Queue};
use v4l2::queue::{Memory, Queued};
use v4l2::sys::{Kernel, Linux, Mapping};
use v4l2::uapi::videodev2::V4L2_PIX_FMT_NV12;

/// What it codes to: `V4L2_PIX_FMT_FWHT`.
const CODED: u32 = u32::from_le_bytes(*b"FWHT");

/// `V4L2_CID_MPEG_VIDEO_GOP_SIZE`: how many frames there are from one key frame to the next.
const GOP_SIZE: u32 = 0x0099_09cb;

/// Longer than coding a frame takes anywhere.
const PATIENCE: Duration = Duration::from_secs(10);

/// The encoder, for frames of a size.
#[derive(Debug)]
pub struct Importer {
    device: Device,
    memory: Memory,
    /// Its own memory, where frames are put into that.
    own: Option<Mapping>,
    coded: Mapping,
    size: u32,
}

impl Importer {
    /// Opens it for NV12 of a size in which nothing lies between rows.
    ///
    /// # Errors
    /// It is not there, or wants another layout.
    pub fn new(memory: Memory, (width, height): (u32, u32)) -> Result<Importer> {
        let device = find()?;
        let size = width * height * 3 / 2;
        let asked = Format {
            fourcc: V4L2_PIX_FMT_NV12,
            width,
            height,
            stride: width,
            size,
        };
        let set = device.set_format(Queue::Output, asked)?;
        if set != asked {
            return Err(format!("vicodec takes {set:?}, not {asked:?}").into());
        }
        device.set_controls(None, &[Control::integer(GOP_SIZE, 1)])?;
        device.request_buffers(Queue::Output, memory, 1)?;
        device.request_buffers(Queue::Capture, Memory::Mmap, 1)?;
        let coded = mapped(&device, Queue::Capture)?;
        let own = match memory {
            Memory::Mmap => Some(mapped(&device, Queue::Output)?),
            Memory::DmaBuf => None,
        };
        device.stream_on(Queue::Output)?;
        device.stream_on(Queue::Capture)?;
        Ok(Importer {
            device,
            memory,
            own,
            coded,
            size,
        })
    }

    /// Codes a frame that lies in a dma-buf of so many bytes.
    ///
    /// # Errors
    /// It cannot be imported or coded.
    pub fn import(&self, memory: BorrowedFd<'_>, length: u32) -> Result<Vec<u8>> {
        self.code(Queued {
            import: Some((memory, length)),
            ..Queued::own(0)
        })
    }

    /// Codes a frame that is copied.
    ///
    /// # Errors
    /// It cannot be coded.
    pub fn copy(&self, frame: &[u8]) -> Result<Vec<u8>> {
        let own = self.own.as_ref().ok_or("it imports")?;
        if !own.write(0, frame) {
            return Err(format!("a frame of {} bytes", frame.len()).into());
        }
        self.code(Queued::own(0))
    }

    fn code(&self, frame: Queued<'_>) -> Result<Vec<u8>> {
        let device = &self.device;
        device.queue_buffer(Queue::Capture, &Queued::own(0))?;
        let frame = Queued {
            bytes_used: self.size,
            ..frame
        };
        device.queue_buffer(Queue::Output, &frame)?;
        while !device.wait(PATIENCE)?.picture {
            if device.wait(PATIENCE)?.is_none() {
                return Err("vicodec does not answer".into());
            }
        }
        let done = device.dequeue_buffer(Queue::Capture, Memory::Mmap)?;
        let done = done.filter(|done| !done.error).ok_or("nothing was coded")?;
        device.dequeue_buffer(Queue::Output, self.memory)?;
        let mut bytes = vec![0; done.bytes_used as usize];
        if !self.coded.read(0, &mut bytes) {
            return Err("more bytes than the buffer has".into());
        }
        Ok(bytes)
    }
}

fn mapped(device: &Device, queue: Queue) -> Result<Mapping> {
    let place = device.place(queue, 0)?;
    Ok(Mapping::new(
        device.export(queue, 0)?,
        place.length as usize,
        0,
    )?)
}

fn find() -> Result<Device> {
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    for number in 0..64 {
        let path = PathBuf::from(format!("/dev/video{number}"));
        let Ok(device) = Device::open(Arc::clone(&kernel), &path) else {
            continue;
        };
        let is_encoder = device
            .formats(Queue::Capture)
            .is_ok_and(|formats| formats.contains(&CODED));
        if device.driver() == "vicodec" && is_encoder {
            return Ok(device);
        }
    }
    Err("there is no encoder of vicodec".into())
}
