//! The border to the kernel: opening a node, one ioctl, waiting, mapping.
//!
//! `Kernel` is what sessions and queries call, so that a test can put a recording fake in the place
//! of a device; `Linux` is the real one. Descriptors are real in both, so mapping needs no fake.

use rustix::event::{PollFd, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
pub use rustix::io::Errno;
use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::c_void;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

/// The system calls that a device is driven with.
pub trait Kernel: Debug + Send + Sync {
    /// Opens a device node for reading and writing, without blocking, closed on exec.
    ///
    /// # Errors
    /// What `open` says.
    fn open(&self, node: &Path) -> Result<OwnedFd>;

    /// One ioctl.
    ///
    /// # Safety
    /// `argument` points to what `opcode` wants, and so does every address in it, for as long as
    /// the call lasts.
    ///
    /// # Errors
    /// What `ioctl` says.
    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, argument: *mut c_void)
    -> Result<()>;

    /// Waits until one of the descriptors is ready; 0 when the time is over first.
    ///
    /// # Errors
    /// What `poll` says.
    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Duration) -> Result<usize>;
}

/// The kernel that this program runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

impl Kernel for Linux {
    fn open(&self, node: &Path) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(node, flags, Mode::empty())
    }

    unsafe fn ioctl(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        argument: *mut c_void,
    ) -> Result<()> {
        // SAFETY: what `ioctl` asks of its caller is passed on to the caller of this.
        unsafe { ioctl(fd, opcode, argument) }
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Duration) -> Result<usize> {
        let timeout = Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
        rustix::event::poll(fds, Some(&timeout))
    }
}

/// One ioctl whose number is known only when it is made.
struct Call {
    opcode: Opcode,
    argument: *mut c_void,
}

// SAFETY: nothing is taken from the output, and `IS_MUTATING` is what is true of most ioctls here
// and costs the others nothing. The argument is vouched for by the caller of `ioctl`.
unsafe impl Ioctl for Call {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<()> {
        Ok(())
    }
}

/// One ioctl on any descriptor, for who needs no fake.
///
/// # Safety
/// `argument` points to what `opcode` wants, and so does every address in it, for as long as the
/// call lasts.
///
/// # Errors
/// What `ioctl` says.
pub unsafe fn ioctl(fd: impl AsFd, opcode: Opcode, argument: *mut c_void) -> Result<()> {
    // SAFETY: the caller vouches for opcode and argument; `Call` adds nothing to them.
    unsafe { rustix::ioctl::ioctl(fd, Call { opcode, argument }) }
}

/// A stretch of memory that others may write at any time: a device, another process, a client.
///
/// Because of that it is copied to and from, within its bounds; only an owner who knows that nobody
/// writes sees it as a slice.
#[derive(Debug)]
pub struct Stretch {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: memory belongs to the whole process; it has no thread of its own.
unsafe impl Send for Stretch {}
// SAFETY: shared use is copying, which does not need the bytes to stand still, or goes through
// `slice`, whose caller vouches for them.
unsafe impl Sync for Stretch {}

impl Stretch {
    /// The memory from an address on.
    ///
    /// # Safety
    /// It can be read and written for as long as this lives.
    pub unsafe fn new(start: NonNull<u8>, length: usize) -> Stretch {
        Stretch { start, length }
    }

    /// Bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where it begins, for a border that hands out addresses.
    pub fn address(&self) -> NonNull<u8> {
        self.start
    }

    /// Copies bytes there, or says that they do not fit.
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        // SAFETY: `holds` says that the whole range lies in the stretch, which can be written. They
        // may overlap when somebody gives its own bytes back, so it is no copy of what does not.
        unsafe {
            let target = self.start.as_ptr().add(offset);
            std::ptr::copy(bytes.as_ptr(), target, bytes.len());
        }
        true
    }

    /// Copies bytes from there, or says that there are not as many.
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        // SAFETY: `holds` says that the whole range lies in the stretch, which can be read.
        unsafe {
            let source = self.start.as_ptr().add(offset);
            std::ptr::copy(source, bytes.as_mut_ptr(), bytes.len());
        }
        true
    }

    /// Writes one byte everywhere.
    pub fn fill(&self, byte: u8) {
        // SAFETY: the whole stretch can be written.
        unsafe { std::ptr::write_bytes(self.start.as_ptr(), byte, self.length) }
    }

    /// The bytes as they lie there.
    ///
    /// # Safety
    /// Nobody writes them as long as the slice is used: neither the device, nor another process
    /// that has the same memory, nor this one.
    pub unsafe fn slice(&self) -> &[u8] {
        // SAFETY: the stretch is as long as that and lives as long as `self`; the caller vouches
        // for nobody writing.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The bytes as they lie there, to be written.
    ///
    /// # Safety
    /// Nobody else reads or writes them as long as the slice is used.
    pub unsafe fn slice_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `slice`, and the caller vouches for being the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    fn holds(&self, offset: usize, length: usize) -> bool {
        offset
            .checked_add(length)
            .is_some_and(|end| end <= self.length)
    }
}

/// Memory of a device or a dma-buf, mapped.
///
/// It is unmapped when dropped and needs no descriptor to stay: memory of a queue that is gone, or
/// of a dma-buf whose descriptor is closed, is kept by the mapping.
#[derive(Debug)]
pub struct Mapping(Stretch);

impl Mapping {
    /// Maps a buffer of a queue or a dma-buf for reading and writing.
    ///
    /// # Errors
    /// What `mmap` says; `INVAL` for a length of 0.
    pub fn new(fd: impl AsFd, length: usize, offset: u64) -> Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so nothing that exists is replaced.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                fd,
                offset,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(Errno::INVAL)?;
        // SAFETY: it has just been mapped for both, and stays so until this is dropped.
        Ok(Mapping(unsafe { Stretch::new(start, length) }))
    }
}

impl Deref for Mapping {
    type Target = Stretch;

    fn deref(&self) -> &Stretch {
        &self.0
    }
}

impl DerefMut for Mapping {
    fn deref_mut(&mut self) -> &mut Stretch {
        &mut self.0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and no slice of it outlives `self`. Unmapping what
        // is mapped cannot fail.
        let _ = unsafe { rustix::mm::munmap(self.address().as_ptr().cast(), self.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;

    #[test]
    fn a_mapping_is_copied_within_its_bounds() {
        let fd = rustix::fs::memfd_create("mapping", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        let mapping = Mapping::new(&fd, 4096, 0).unwrap();
        drop(fd);
        mapping.fill(7);
        let rows = [
            (0, 4096, true),
            (4095, 1, true),
            (4096, 0, true),
            (4096, 1, false),
            (0, 4097, false),
            (usize::MAX, 2, false),
        ];
        for (offset, length, fits) in rows {
            let mut bytes = vec![0; length];
            assert_eq!(mapping.read(offset, &mut bytes), fits, "{offset} {length}");
            let expected = if fits { 7 } else { 0 };
            assert!(bytes.iter().all(|byte| *byte == expected));
            assert_eq!(mapping.write(offset, &bytes), fits, "{offset} {length}");
        }
        assert_eq!(
            Mapping::new(std::io::stdin(), 0, 0).err(),
            Some(Errno::INVAL)
        );
    }
}
