//! Kernels between the driver and the one that it runs on: one that is not counted, one whose
//! decoders take no memory but their own. And the allocator that counts what is allocated outside of
//! the first.

use rustix::event::PollFd;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::c_void;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use v4l2::sys::{Errno, Kernel};
use v4l2::uapi::videodev2::*;

thread_local! {
    /// How often this thread has allocated while that was counted.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
    /// What this thread has spent in an [`Uncounted`] kernel.
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The system's allocator, which counts for [`cost`].
#[derive(Debug, Clone, Copy)]
pub struct Counting;

// SAFETY: everything is the system's allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counters any more.
        if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
            let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        }
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(start, layout) }
    }
}

/// What something took of this thread outside of an [`Uncounted`] kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// On the clock.
    pub time: Duration,
    /// Allocations, where [`Counting`] is the allocator.
    pub allocations: usize,
}

/// Does something and tells what it took.
pub fn cost<T>(body: impl FnOnce() -> T) -> (T, Cost) {
    COUNT.set(0);
    SPENT.set(Duration::ZERO);
    IS_COUNTED.set(true);
    let begun = Instant::now();
    let result = body();
    let time = begun.elapsed().saturating_sub(SPENT.get());
    IS_COUNTED.set(false);
    let allocations = COUNT.get();
    (result, Cost { time, allocations })
}

/// A kernel that is no part of what [`cost`] tells.
#[derive(Debug)]
pub struct Uncounted<K>(pub Arc<K>);

fn uncounted<T>(body: impl FnOnce() -> T) -> T {
    let was = IS_COUNTED.replace(false);
    let begun = Instant::now();
    let result = body();
    SPENT.set(SPENT.get() + begun.elapsed());
    IS_COUNTED.set(was);
    result
}

impl<K: Kernel> Kernel for Uncounted<K> {
    fn open(&self, node: &Path) -> Result<OwnedFd, Errno> {
        uncounted(|| self.0.open(node))
    }

    unsafe fn ioctl(
        &self,
        fd: BorrowedFd<'_>,
        code: u32,
        argument: *mut c_void,
    ) -> Result<(), Errno> {
        // SAFETY: the caller's word.
        uncounted(|| unsafe { self.0.ioctl(fd, code, argument) })
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Duration) -> Result<usize, Errno> {
        uncounted(|| self.0.poll(fds, timeout))
    }
}

/// A kernel whose decoders are made out to take no memory but their own.
#[derive(Debug)]
pub struct OwnMemory<K>(pub K);

impl<K: Kernel> Kernel for OwnMemory<K> {
    fn open(&self, node: &Path) -> Result<OwnedFd, Errno> {
        self.0.open(node)
    }

    unsafe fn ioctl(
        &self,
        fd: BorrowedFd<'_>,
        code: u32,
        argument: *mut c_void,
    ) -> Result<(), Errno> {
        // SAFETY: the caller's word.
        unsafe { self.0.ioctl(fd, code, argument)? };
        let capabilities = match code {
            VIDIOC_REQBUFS => {
                let asked = argument.cast::<v4l2_requestbuffers>();
                // SAFETY: this is what the code's argument is, by the caller's word.
                unsafe { &raw mut (*asked).capabilities }
            }
            VIDIOC_CREATE_BUFS => {
                let asked = argument.cast::<v4l2_create_buffers>();
                // SAFETY: as above.
                unsafe { &raw mut (*asked).capabilities }
            }
            _ => return Ok(()),
        };
        // SAFETY: a field of the argument, which nobody else uses during the call.
        unsafe { *capabilities &= !V4L2_BUF_CAP_SUPPORTS_DMABUF };
        Ok(())
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Duration) -> Result<usize, Errno> {
        self.0.poll(fds, timeout)
    }
}
