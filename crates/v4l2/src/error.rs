//! What can go wrong with a device, said so that the frame can be found: node, call, request,
//! timestamp, control.

use rustix::io::Errno;
use std::path::PathBuf;

/// Why a device did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node cannot be opened.
    #[error("open {node}")]
    Open {
        /// The device node.
        node: PathBuf,
        /// What `open` said.
        source: Errno,
    },
    /// An ioctl, a mapping or a wait failed.
    #[error("{node}: {call}")]
    Call {
        /// The device node.
        node: PathBuf,
        /// The ioctl or system call.
        call: &'static str,
        /// What it said.
        source: Errno,
    },
    /// Controls were refused.
    #[error("{node}: set control: {}", control_name(*.control))]
    Control {
        /// The device node.
        node: PathBuf,
        /// The control that was refused; none when it was not one of them.
        control: Option<u32>,
        /// What the ioctl said.
        source: Errno,
    },
    /// A node is not a stateless decoder as this room drives it.
    #[error("{node}: {what}")]
    Unsuited {
        /// The device node.
        node: PathBuf,
        /// What it has not got.
        what: String,
    },
    /// The driver answered with something that cannot be.
    #[error("{node}: {call} returned {what}")]
    Nonsense {
        /// The device node.
        node: PathBuf,
        /// The ioctl.
        call: &'static str,
        /// What it returned.
        what: String,
    },
    /// A buffer was handed to a session that it does not belong to.
    #[error("a buffer of another session was submitted")]
    Foreign,
    /// An access unit is longer than the buffer that it should lie in.
    #[error("access unit of {length} bytes at {timestamp} us, the OUTPUT buffer has {size}")]
    TooLong {
        /// Bytes of the access unit.
        length: usize,
        /// Bytes of the buffer.
        size: usize,
        /// When it is shown, in microseconds.
        timestamp: u64,
    },
}

fn control_name(control: Option<u32>) -> String {
    control.map_or("before any of them was looked at".into(), |id| {
        format!("{id:#x}")
    })
}

impl Error {
    /// What the kernel said, when it was the kernel.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Open { source, .. }
            | Error::Call { source, .. }
            | Error::Control { source, .. } => Some(*source),
            _ => None,
        }
    }
}
