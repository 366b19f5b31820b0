//! The media device: what it is made of, and requests.
//!
//! A request ties the controls of one access unit to its OUTPUT buffer. It is a descriptor of its
//! own that is initialised again after each use: allocating one per frame costs two more system
//! calls and races with the completion of the one before.

use crate::error::Error;
use crate::node::Node;
use crate::sys::Kernel;
use crate::uapi::media::*;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zerocopy::FromZeros;

/// An open media device.
#[derive(Debug)]
pub struct MediaDevice {
    node: Node,
}

/// What a media device is made of.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// The blocks.
    pub entities: Vec<media_v2_entity>,
    /// The ways in.
    pub interfaces: Vec<media_v2_interface>,
    /// Where links are fastened.
    pub pads: Vec<media_v2_pad>,
    /// What is joined.
    pub links: Vec<media_v2_link>,
}

impl MediaDevice {
    /// Opens a `/dev/mediaN`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(kernel: Arc<dyn Kernel>, path: &Path) -> Result<MediaDevice, Error> {
        Node::open(kernel, path).map(|node| MediaDevice { node })
    }

    /// Driver, model and place of the device.
    ///
    /// # Errors
    /// The node is no media device.
    pub fn info(&self) -> Result<media_device_info, Error> {
        let mut info = media_device_info::new_zeroed();
        // SAFETY: the ioctl takes this struct, which holds no address.
        unsafe { self.node.call(MEDIA_IOC_DEVICE_INFO, &mut info) }
            .map_err(|source| self.node.failed("MEDIA_IOC_DEVICE_INFO", source))?;
        Ok(info)
    }

    /// Reads the whole topology.
    ///
    /// # Errors
    /// The node is no media device, or its topology never stands still.
    pub fn topology(&self) -> Result<Topology, Error> {
        // A device that appears or goes while this is read changes the numbers; the kernel says
        // ENOSPC when a table has become too short. That cannot go on for ever.
        for _ in 0..8 {
            let mut sizes = media_v2_topology::new_zeroed();
            self.read_topology(&mut sizes)?;
            let mut read = Topology {
                entities: zeroed(sizes.num_entities),
                interfaces: zeroed(sizes.num_interfaces),
                pads: zeroed(sizes.num_pads),
                links: zeroed(sizes.num_links),
            };
            sizes.ptr_entities = read.entities.as_mut_ptr().expose_provenance() as u64;
            sizes.ptr_interfaces = read.interfaces.as_mut_ptr().expose_provenance() as u64;
            sizes.ptr_pads = read.pads.as_mut_ptr().expose_provenance() as u64;
            sizes.ptr_links = read.links.as_mut_ptr().expose_provenance() as u64;
            match self.read_topology(&mut sizes) {
                Err(error) if error.errno() == Some(Errno::NOSPC) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    read.entities.truncate(sizes.num_entities as usize);
                    read.interfaces.truncate(sizes.num_interfaces as usize);
                    read.pads.truncate(sizes.num_pads as usize);
                    read.links.truncate(sizes.num_links as usize);
                    return Ok(read);
                }
            }
        }
        Err(self.node.failed("MEDIA_IOC_G_TOPOLOGY", Errno::NOSPC))
    }

    fn read_topology(&self, topology: &mut media_v2_topology) -> Result<(), Error> {
        // SAFETY: the ioctl takes this struct. Its addresses are null, or tables of as many rows as
        // the numbers beside them say, which the caller keeps for the call.
        unsafe { self.node.call(MEDIA_IOC_G_TOPOLOGY, topology) }
            .map_err(|source| self.node.failed("MEDIA_IOC_G_TOPOLOGY", source))
    }

    /// Makes a request.
    ///
    /// # Errors
    /// The device knows no requests, or there are no more descriptors.
    pub fn allocate_request(&self) -> Result<Request, Error> {
        let mut fd: i32 = -1;
        // SAFETY: the ioctl writes an `int`.
        unsafe { self.node.call(MEDIA_IOC_REQUEST_ALLOC, &mut fd) }
            .map_err(|source| self.node.failed("MEDIA_IOC_REQUEST_ALLOC", source))?;
        if fd < 0 {
            let what = format!("descriptor {fd}");
            return Err(self.node.nonsense("MEDIA_IOC_REQUEST_ALLOC", what));
        }
        // SAFETY: the kernel has just opened it for this process and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let node = Node::new(self.node.kernel(), fd, self.node.path().into());
        Ok(Request { node })
    }
}

impl AsFd for MediaDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}

fn zeroed<T: FromZeros + Clone>(count: u32) -> Vec<T> {
    vec![T::new_zeroed(); count as usize]
}

/// A request: controls and an OUTPUT buffer that are taken together.
#[derive(Debug)]
pub struct Request {
    node: Node,
}

impl Request {
    /// Hands the request to the driver.
    ///
    /// # Errors
    /// `NOENT` when it lacks a buffer or a control, `BUSY` when it is queued already.
    pub fn queue(&self) -> Result<(), Error> {
        // SAFETY: the ioctl has no argument.
        unsafe { self.node.call_plain(MEDIA_REQUEST_IOC_QUEUE) }
            .map_err(|source| self.node.failed("MEDIA_REQUEST_IOC_QUEUE", source))
    }

    /// Makes a request that is completed, or was never queued, as good as new.
    ///
    /// # Errors
    /// `BUSY` as long as it is queued.
    pub fn reinit(&self) -> Result<(), Error> {
        // SAFETY: the ioctl has no argument.
        unsafe { self.node.call_plain(MEDIA_REQUEST_IOC_REINIT) }
            .map_err(|source| self.node.failed("MEDIA_REQUEST_IOC_REINIT", source))
    }

    /// Waits until the request is completed; false when the time is over first.
    ///
    /// # Errors
    /// The wait fails.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Error> {
        let ready = self.node.wait(PollFlags::PRI, timeout)?;
        Ok(ready.contains(PollFlags::PRI))
    }
}

impl AsFd for Request {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}
