//! `/dev/kinora-dec`: the control descriptor, its events, and the session descriptors it gives.

use crate::capture::Coherence;
use crate::formats;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::Opcode;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use v4l2::uapi::kinora::{
    KINORA_DEC_IOC_ADVERTISE, KINORA_DEC_IOC_ATTACH, KINORA_DEC_IOC_BUFFER, kinora_dec_attach,
    kinora_dec_buffer, kinora_dec_event,
};
use zerocopy::{FromZeros, IntoBytes};

/// Where the module says what it was loaded with.
const MEMORY: &str = "/sys/module/kinora_dec/parameters/memory";

/// The control descriptor. As long as it is open there is a decoder.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    /// Opens the device. It does not block: there is nothing to read until `poll` says so.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Says what is decoded; from now on clients can open the video node.
    pub fn advertise(&self) -> io::Result<()> {
        let mut rows = formats::advertisement();
        ioctl(self.0.as_fd(), KINORA_DEC_IOC_ADVERTISE, &mut rows)
    }

    /// The next event, if there is one.
    pub fn event(&self) -> io::Result<Option<kinora_dec_event>> {
        let mut event = kinora_dec_event::new_zeroed();
        match rustix::io::read(&self.0, event.as_mut_bytes()) {
            Ok(length) if length == size_of::<kinora_dec_event>() => Ok(Some(event)),
            Ok(length) => Err(io::Error::other(format!("an event of {length} bytes"))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The descriptor of a session that has a job.
    pub fn attach(&self, session: u64) -> io::Result<OwnedFd> {
        let mut attach = kinora_dec_attach {
            session,
            fd: -1,
            reserved: 0,
        };
        ioctl(self.0.as_fd(), KINORA_DEC_IOC_ATTACH, &mut attach)?;
        adopt(attach.fd)
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A CAPTURE buffer of the job in flight on a session descriptor, and its size.
pub fn buffer(session: BorrowedFd, index: u32, generation: u32) -> io::Result<(OwnedFd, u64)> {
    let mut buffer = kinora_dec_buffer {
        index,
        generation,
        fd: -1,
        reserved: 0,
        size: 0,
    };
    ioctl(session, KINORA_DEC_IOC_BUFFER, &mut buffer)?;
    Ok((adopt(buffer.fd)?, buffer.size))
}

/// Whether buffers need to be synchronised: not when they are the kernel's own ordinary memory.
/// A module that does not say is not trusted to be.
pub fn coherence() -> Coherence {
    match std::fs::read_to_string(MEMORY) {
        Ok(memory) if memory.trim() == "vmalloc" => Coherence::Coherent,
        _ => Coherence::Synced,
    }
}

/// One ioctl of `kinora_dec.h`, whose struct is mirrored in `v4l2`.
fn ioctl<T: IntoBytes + FromZeros>(
    fd: BorrowedFd,
    opcode: Opcode,
    argument: &mut T,
) -> io::Result<()> {
    // SAFETY: each opcode is made from the struct that is given here with it, and none of these
    // structs holds an address.
    unsafe { v4l2::sys::ioctl(fd, opcode, (&raw mut *argument).cast())? };
    Ok(())
}

/// Takes a descriptor over that the module put into this process.
fn adopt(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::other(format!("descriptor {fd}")));
    }
    // SAFETY: the module installed it for this call, so nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
