//! The daemon's side of `/dev/kinora-dec`, small and suspicious: what the module says is held
//! against `kinora_dec.h` before it is used.
//!
//! This is not the daemon's own code on purpose: two readers of one header find what one overlooks.

use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::ioctl::Opcode;
use std::ffi::CStr;
use v4l2::sys::Mapping;
use v4l2::uapi::controls::{h264::*, mpeg2::*, vp8::*, vp9::*};
use v4l2::uapi::kinora::*;
use v4l2::uapi::videodev2::*;
use zerocopy::{FromZeros, IntoBytes};

/// The control descriptor. While it is open there is a daemon.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    /// Becomes the daemon; `BUSY` when there is one.
    ///
    /// # Errors
    /// What `open` says.
    pub fn open() -> Result<Control> {
        let path = format!("/dev/{KINORA_DEC_NAME}");
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Control(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Says what is decoded.
    ///
    /// # Errors
    /// What the module says.
    pub fn advertise(&self, advertisement: &mut kinora_dec_advertise) -> Result<()> {
        call(&self.0, KINORA_DEC_IOC_ADVERTISE, advertisement)
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// What `read` says; `BADMSG` when the event has the wrong length.
    pub fn event(&self) -> Result<kinora_dec_event> {
        let mut event = kinora_dec_event::new_zeroed();
        let size = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, event.as_mut_bytes()))?;
        (size == size_of_val(&event))
            .then_some(event)
            .ok_or(Errno::BADMSG)
    }

    /// Takes a session on.
    ///
    /// # Errors
    /// What the module says.
    pub fn attach(&self, session: u64) -> Result<Session> {
        let mut attach = kinora_dec_attach::new_zeroed();
        attach.session = session;
        call(&self.0, KINORA_DEC_IOC_ATTACH, &mut attach)?;
        Ok(Session {
            fd: owned(attach.fd)?,
            message: vec![0; 64 << 10],
        })
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A session descriptor.
#[derive(Debug)]
pub struct Session {
    fd: OwnedFd,
    message: Vec<u8>,
}

impl Session {
    /// Waits for the next job; `None` when the session is over for this descriptor.
    ///
    /// # Errors
    /// What `read` says.
    pub fn job(&mut self) -> Result<Option<&[u8]>> {
        loop {
            match rustix::io::read(&self.fd, &mut self.message[..]) {
                Ok(0) => return Ok(None),
                Ok(size) => return Ok(Some(&self.message[..size])),
                Err(Errno::INTR) => {}
                Err(Errno::MSGSIZE) => {
                    let size = rustix::io::ioctl_fionread(&self.fd)?;
                    let size = usize::try_from(size).map_err(|_| Errno::OVERFLOW)?;
                    if size <= self.message.len() {
                        return Err(Errno::MSGSIZE);
                    }
                    self.message.resize(size, 0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Maps the CAPTURE buffer of the job in flight.
    ///
    /// # Errors
    /// What the module or `mmap` says.
    pub fn buffer(&self, index: u32, generation: u32) -> Result<Mapping> {
        let mut buffer = kinora_dec_buffer::new_zeroed();
        (buffer.index, buffer.generation) = (index, generation);
        call(&self.fd, KINORA_DEC_IOC_BUFFER, &mut buffer)?;
        let size = usize::try_from(buffer.size).map_err(|_| Errno::OVERFLOW)?;
        Mapping::new(owned(buffer.fd)?, size, 0)
    }

    /// Answers a job.
    ///
    /// # Errors
    /// What the module says.
    pub fn answer(&self, job: u64, status: u32) -> Result<()> {
        let mut done = kinora_dec_done::new_zeroed();
        (done.job, done.status) = (job, status);
        self.write(done.as_bytes())
    }

    /// Writes any bytes where an answer should be.
    ///
    /// # Errors
    /// What the module says; `BADMSG` when it took a part of them.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, bytes))?;
        (written == bytes.len()).then_some(()).ok_or(Errno::BADMSG)
    }

    /// An ioctl that the module does not have.
    ///
    /// # Errors
    /// What the module says.
    pub fn unknown_ioctl(&self) -> Result<()> {
        let opcode = rustix::ioctl::opcode::read_write::<kinora_dec_buffer>(b'K', 77);
        call(&self.fd, opcode, &mut kinora_dec_buffer::new_zeroed())
    }
}

/// One ioctl of the chardev; its structs hold no addresses.
fn call<T: IntoBytes>(fd: impl AsFd, opcode: Opcode, argument: &mut T) -> Result<()> {
    // SAFETY: every number that is used here belongs to a struct of type `T`, which is exclusively
    // borrowed for the call and holds no address.
    unsafe { v4l2::sys::ioctl(fd, opcode, (&raw mut *argument).cast()) }
}

/// A descriptor that the module returned.
fn owned(fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the module has just opened it for this process and keeps no number of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a job says, after it was held against the header.
#[derive(Debug)]
pub struct Job {
    /// Its head.
    pub head: kinora_dec_job,
    /// The controls' identifiers and the bytes of their values.
    pub controls: Vec<(u32, usize)>,
}

impl Job {
    /// Reads a message.
    ///
    /// # Errors
    /// Says where the message does not keep to `kinora_dec.h`.
    pub fn parse(message: &[u8]) -> std::result::Result<Job, String> {
        let (head, mut rest) =
            v4l2::from_bytes::<kinora_dec_job>(message).ok_or("shorter than its head")?;
        let mut job = Job {
            head,
            controls: Vec::new(),
        };
        job.check_head(message.len())?;
        for number in 0..head.controls {
            rest = job
                .parse_control(rest)
                .ok_or(format!("control {number} is cut"))?;
        }
        let used = message.len() - rest.len();
        if used > head.data_offset as usize {
            return Err(format!(
                "data at {}, controls end at {used}",
                head.data_offset
            ));
        }
        job.check_controls()?;
        Ok(job)
    }

    fn parse_control<'a>(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let (control, rest) = v4l2::from_bytes::<kinora_dec_control>(rest)?;
        let size = control.size as usize;
        self.controls.push((control.id, size));
        rest.get(size.next_multiple_of(8)..)
    }

    fn check_head(&self, length: usize) -> std::result::Result<(), String> {
        let head = &self.head;
        let data_end = u64::from(head.data_offset) + u64::from(head.data_size);
        let rows = [
            (head.abi == KINORA_DEC_ABI, "abi"),
            (head.size as usize == length, "size"),
            (head.session > 0, "session"),
            (head.job > 0, "job"),
            (data_end <= length as u64, "data_offset and data_size"),
            (head.raw == V4L2_PIX_FMT_NV12, "raw"),
            (head.stride >= head.width && head.stride % 64 == 0, "stride"),
            (
                u64::from(head.capture_size)
                    >= u64::from(head.stride) * u64::from(head.height) * 3 / 2,
                "capture_size",
            ),
            (head.capture_index < 64, "capture_index"),
            (
                head.oldest_generation <= head.capture_generation,
                "oldest_generation",
            ),
            (
                head.references_used as usize <= KINORA_DEC_MAX_REFERENCES,
                "references_used",
            ),
            (
                head.references.iter().all(|one| one.job < head.job),
                "references[].job",
            ),
        ];
        match rows.iter().find(|(right, _)| !right) {
            Some((_, field)) => Err(format!("{field} is wrong: {head:?}")),
            None => Ok(()),
        }
    }

    /// Every codec's controls are all there, with the size of their struct.
    fn check_controls(&self) -> std::result::Result<(), String> {
        let coded = self.head.coded;
        let expected = CONTROLS.iter().filter(|(codec, ..)| *codec == coded);
        if expected.clone().count() == 0 {
            return Err(format!("coded is wrong: {coded:#x}"));
        }
        for (_, id, size) in expected {
            if !self.controls.contains(&(*id, *size)) {
                return Err(format!(
                    "no control {id:#x} of {size} bytes: {:x?}",
                    self.controls
                ));
            }
        }
        Ok(())
    }
}

/// The controls without which a codec's picture cannot be decoded.
const CONTROLS: &[(u32, u32, usize)] = &[
    (
        V4L2_PIX_FMT_MPEG2_SLICE,
        V4L2_CID_STATELESS_MPEG2_SEQUENCE,
        size_of::<v4l2_ctrl_mpeg2_sequence>(),
    ),
    (
        V4L2_PIX_FMT_MPEG2_SLICE,
        V4L2_CID_STATELESS_MPEG2_PICTURE,
        size_of::<v4l2_ctrl_mpeg2_picture>(),
    ),
    (
        V4L2_PIX_FMT_MPEG2_SLICE,
        V4L2_CID_STATELESS_MPEG2_QUANTISATION,
        size_of::<v4l2_ctrl_mpeg2_quantisation>(),
    ),
    (
        V4L2_PIX_FMT_H264_SLICE,
        V4L2_CID_STATELESS_H264_SPS,
        size_of::<v4l2_ctrl_h264_sps>(),
    ),
    (
        V4L2_PIX_FMT_H264_SLICE,
        V4L2_CID_STATELESS_H264_PPS,
        size_of::<v4l2_ctrl_h264_pps>(),
    ),
    (
        V4L2_PIX_FMT_H264_SLICE,
        V4L2_CID_STATELESS_H264_SCALING_MATRIX,
        size_of::<v4l2_ctrl_h264_scaling_matrix>(),
    ),
    (
        V4L2_PIX_FMT_H264_SLICE,
        V4L2_CID_STATELESS_H264_DECODE_PARAMS,
        size_of::<v4l2_ctrl_h264_decode_params>(),
    ),
    (
        V4L2_PIX_FMT_VP8_FRAME,
        V4L2_CID_STATELESS_VP8_FRAME,
        size_of::<v4l2_ctrl_vp8_frame>(),
    ),
    (
        V4L2_PIX_FMT_VP9_FRAME,
        V4L2_CID_STATELESS_VP9_FRAME,
        size_of::<v4l2_ctrl_vp9_frame>(),
    ),
];

/// An advertisement such as the daemon's: four codecs into NV12.
pub fn advertisement() -> kinora_dec_advertise {
    let rows = [
        (
            V4L2_PIX_FMT_MPEG2_SLICE,
            0b11,
            V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH,
            16,
        ),
        (
            V4L2_PIX_FMT_H264_SLICE,
            0b10_0000_0000_0001_0111,
            V4L2_MPEG_VIDEO_H264_LEVEL_5_2,
            16,
        ),
        (V4L2_PIX_FMT_VP8_FRAME, 0b1111, 0, 1),
        (
            V4L2_PIX_FMT_VP9_FRAME,
            0b1,
            V4L2_MPEG_VIDEO_VP9_LEVEL_6_2,
            1,
        ),
    ];
    let mut advertisement = kinora_dec_advertise::new_zeroed();
    advertisement.abi = KINORA_DEC_ABI;
    advertisement.count = rows.len() as u32;
    for (format, (coded, profiles, max_level, min)) in advertisement.formats.iter_mut().zip(rows) {
        format.coded = coded;
        format.raw = V4L2_PIX_FMT_NV12;
        (format.min_width, format.max_width, format.step_width) = (min, 4096, 1);
        (format.min_height, format.max_height, format.step_height) = (min, 2304, 1);
        (format.profiles, format.max_level) = (profiles, max_level);
    }
    advertisement
}

/// The process that opened the video node, as an event names it.
pub fn comm(event: &kinora_dec_event) -> &str {
    CStr::from_bytes_until_nul(&event.comm)
        .ok()
        .and_then(|name| name.to_str().ok())
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the module would write it.
    fn message(change: impl Fn(&mut kinora_dec_job)) -> Vec<u8> {
        let frame = [0; size_of::<v4l2_ctrl_vp8_frame>()];
        let mut control = kinora_dec_control::new_zeroed();
        control.id = V4L2_CID_STATELESS_VP8_FRAME;
        control.size = frame.len() as u32;
        let mut job = kinora_dec_job::new_zeroed();
        (job.abi, job.session, job.job) = (KINORA_DEC_ABI, 1, 2);
        (job.coded, job.raw) = (V4L2_PIX_FMT_VP8_FRAME, V4L2_PIX_FMT_NV12);
        (job.width, job.height, job.stride, job.capture_size) = (60, 32, 64, 64 * 48);
        (job.controls, job.data_size) = (1, 3);
        job.data_offset = (size_of_val(&job) + size_of_val(&control) + frame.len()) as u32;
        job.size = job.data_offset + job.data_size;
        change(&mut job);
        [job.as_bytes(), control.as_bytes(), &frame, &[1, 2, 3]].concat()
    }

    #[test]
    fn jobs_are_held_against_the_header() {
        type Change = fn(&mut kinora_dec_job);
        let rows: &[(Change, &str)] = &[
            (|_| {}, ""),
            (|job| job.abi = 2, "abi"),
            (|job| job.size += 1, "size"),
            (|job| job.data_size += 1, "data_offset"),
            (|job| job.data_offset = 0, "controls end"),
            (|job| job.controls = 2, "is cut"),
            (|job| job.controls = 0, "no control"),
            (|job| job.stride = 60, "stride"),
            (|job| job.capture_size -= 1, "capture_size"),
            (|job| job.references[3].job = 2, "references"),
            (|job| job.coded = 0, "coded"),
        ];
        for (change, expected) in rows {
            let said = Job::parse(&message(change)).err().unwrap_or_default();
            assert!(
                said.contains(expected) && said.is_empty() == expected.is_empty(),
                "{expected}: {said}"
            );
        }
        assert!(Job::parse(&message(|_| {})[..99]).is_err());
    }
}
