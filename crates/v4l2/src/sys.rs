//! The border to the kernel: opening a node, one ioctl, waiting, mapping.
//!
//! `Kernel` is what sessions and queries call, so that a test can put a recording fake in the place
//! of a device; `Linux` is the real one. Descriptors are real in both, so mapping needs no fake.

use rustix::event::{PollFd, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::c_void;
use std::fmt::Debug;
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

/// A stretch of shared memory that a device or another process may write at any time.
///
/// It is unmapped when dropped and needs no descriptor to stay: memory of a queue that is gone, or
/// of a dma-buf whose descriptor is closed, is kept by the mapping. Because others write it, it is
/// copied to and from; only an owner who knows that nobody writes sees it as a slice.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to the whole process; it has no thread of its own.
unsafe impl Send for Mapping {}
// SAFETY: shared use is copying, which does not need the bytes to stand still, or goes through
// `slice`, whose caller vouches for them.
unsafe impl Sync for Mapping {}

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
        Ok(Mapping { start, length })
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is mapped, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies bytes into the mapping, or says that they do not fit there.
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        // SAFETY: `holds` says that the whole range lies in the mapping, which is writable and
        // lives as long as `self`; private memory and a mapping of others do not overlap.
        unsafe {
            let target = self.start.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        true
    }

    /// Copies bytes out of the mapping, or says that there are not as many.
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        // SAFETY: `holds` says that the whole range lies in the mapping, which lives as long as
        // `self`; private memory and a mapping of others do not overlap.
        unsafe {
            let source = self.start.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len());
        }
        true
    }

    /// Writes one byte everywhere.
    pub fn fill(&self, byte: u8) {
        // SAFETY: the whole mapping is writable and lives as long as `self`.
        unsafe { std::ptr::write_bytes(self.start.as_ptr(), byte, self.length) }
    }

    /// The bytes as they lie there.
    ///
    /// # Safety
    /// Nobody writes them as long as the slice is used: neither the device, nor another process
    /// that has the same memory, nor this one.
    pub unsafe fn slice(&self) -> &[u8] {
        // SAFETY: the mapping is as long as that and lives as long as `self`; the caller vouches
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

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and no slice of it outlives `self`. Unmapping what
        // is mapped cannot fail.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
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
