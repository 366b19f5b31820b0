//! An open device node: descriptor, name for messages, and the kernel that answers for it.

use crate::error::Error;
use crate::sys::Kernel;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::ioctl::Opcode;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One open node.
#[derive(Debug)]
pub(crate) struct Node {
    kernel: Arc<dyn Kernel>,
    fd: OwnedFd,
    path: PathBuf,
}

impl Node {
    pub(crate) fn open(kernel: Arc<dyn Kernel>, path: &Path) -> Result<Node, Error> {
        let fd = kernel.open(path).map_err(|source| Error::Open {
            node: path.into(),
            source,
        })?;
        Ok(Node::new(kernel, fd, path.into()))
    }

    pub(crate) fn new(kernel: Arc<dyn Kernel>, fd: OwnedFd, path: PathBuf) -> Node {
        Node { kernel, fd, path }
    }

    pub(crate) fn kernel(&self) -> Arc<dyn Kernel> {
        Arc::clone(&self.kernel)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// One ioctl with a struct as its argument.
    ///
    /// # Safety
    /// `opcode` takes a `T`, and every address that stands in it is valid for what the ioctl does
    /// with it, as long as the call lasts.
    pub(crate) unsafe fn call<T>(&self, opcode: Opcode, argument: &mut T) -> Result<(), Errno> {
        let argument = (&raw mut *argument).cast();
        loop {
            // SAFETY: the argument is a `T`, exclusively borrowed; the rest is the caller's word.
            match unsafe { self.kernel.ioctl(self.fd.as_fd(), opcode, argument) } {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// One ioctl without an argument.
    ///
    /// # Safety
    /// `opcode` takes none.
    pub(crate) unsafe fn call_plain(&self, opcode: Opcode) -> Result<(), Errno> {
        // SAFETY: the caller's word that the argument is not looked at.
        unsafe { self.call(opcode, &mut [0u8; 0]) }
    }

    /// Waits for the node; no flags when the time is over first. What time it is is asked only when a
    /// signal has ended a wait, and the time counts from there: a clock may cost a system call, and a
    /// wait comes with every picture.
    pub(crate) fn wait(&self, flags: PollFlags, timeout: Duration) -> Result<PollFlags, Error> {
        let (mut deadline, mut left) = (None, timeout);
        loop {
            let mut fds = [PollFd::new(&self.fd, flags)];
            match self.kernel.poll(&mut fds, left) {
                Err(Errno::INTR) => {
                    let now = Instant::now();
                    let end: &mut Instant = deadline.get_or_insert(now + timeout);
                    left = end.saturating_duration_since(now);
                }
                Err(source) => return Err(self.failed("poll", source)),
                Ok(_) => return Ok(fds[0].revents()),
            }
        }
    }

    pub(crate) fn failed(&self, call: &'static str, source: Errno) -> Error {
        Error::Call {
            node: self.path.clone(),
            call,
            source,
        }
    }

    pub(crate) fn unsuited(&self, what: impl Into<String>) -> Error {
        Error::Unsuited {
            node: self.path.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn nonsense(&self, call: &'static str, what: impl Into<String>) -> Error {
        Error::Nonsense {
            node: self.path.clone(),
            call,
            what: what.into(),
        }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
