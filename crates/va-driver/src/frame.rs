//! The memory of a picture: a dma-buf and how NV12 lies in it.
//!
//! A frame belongs to surfaces, slots of a decoder and images together and goes when the last of
//! them does; consumers that have it as a dma-buf of their own keep the memory without it. Whether
//! somebody still looks at it, as far as that can be known, is asked here.

use crate::copy::Planes;
use crate::edge::lock;
use crate::error::Error;
use crate::va::VA_FOURCC_NV12;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use v4l2::device::Format;
use v4l2::sys::Mapping;
use v4l2::uapi::dma_buf::{
    DMA_BUF_IOCTL_SYNC, DMA_BUF_SYNC_END, DMA_BUF_SYNC_RW, DMA_BUF_SYNC_START, dma_buf_sync,
};

/// Where the two planes of NV12 lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Offset and stride of luma.
    pub luma: (u32, u32),
    /// Offset and stride of chroma.
    pub chroma: (u32, u32),
    /// Bytes of the whole.
    pub size: u32,
}

impl Layout {
    /// That of a decoder's pictures.
    pub fn of(format: Format) -> Layout {
        let stride = format.stride;
        Layout {
            luma: (0, stride),
            chroma: (stride.saturating_mul(format.height), stride),
            size: format.size,
        }
    }

    /// Whether a decoder that wants this layout can write memory of `other`.
    pub fn suits(&self, other: &Layout) -> bool {
        (self.luma, self.chroma) == (other.luma, other.chroma) && self.size <= other.size
    }

    /// Most samples and rows that lie in it.
    pub fn extent(&self) -> (u32, u32) {
        let rows = |(offset, stride): (u32, u32), end: u32| {
            end.saturating_sub(offset).checked_div(stride).unwrap_or(0)
        };
        let luma = rows(self.luma, self.chroma.0);
        let chroma = rows(self.chroma, self.size).saturating_mul(2);
        (self.luma.1.min(self.chroma.1), luma.min(chroma))
    }

    /// Whether planes of so many samples and rows lie in it without touching one another.
    pub fn holds(&self, width: u32, height: u32) -> bool {
        let end = |(offset, stride): (u32, u32), bytes: u32, rows: u32| {
            let last = u64::from(stride) * u64::from(rows.saturating_sub(1));
            (bytes <= stride).then_some(u64::from(offset) + last + u64::from(bytes))
        };
        let luma = end(self.luma, width, height);
        let chroma = end(self.chroma, width.next_multiple_of(2), height.div_ceil(2));
        match (luma, chroma) {
            (Some(luma), Some(chroma)) => {
                luma <= u64::from(self.chroma.0) && chroma <= u64::from(self.size)
            }
            _ => false,
        }
    }
}

/// What a dma-buf is, whatever descriptor names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

fn identity(fd: BorrowedFd<'_>) -> Option<Identity> {
    let stat = rustix::fs::fstat(fd).ok()?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "their width differs between architectures"
    )]
    Some(Identity {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
    })
}

/// Whether two descriptors name the same memory.
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let own = identity(one);
    own.is_some() && own == identity(other)
}

/// A picture's memory.
#[derive(Debug)]
pub struct Frame {
    fd: Arc<OwnedFd>,
    layout: Layout,
    mapping: OnceLock<Mapping>,
    handed: Mutex<Handed>,
    /// Images that are this memory.
    lent: AtomicU32,
}

/// Who was given the memory.
#[derive(Debug, Default)]
struct Handed {
    /// The numbers of descriptors that clients got, as long as they are open.
    open: Vec<RawFd>,
    /// Whether anybody got one and may look at the memory without it.
    ever: bool,
}

impl Frame {
    /// A dma-buf in which pictures lie like this.
    pub fn new(fd: OwnedFd, layout: Layout) -> Frame {
        Frame {
            fd: Arc::new(fd),
            layout,
            mapping: OnceLock::new(),
            handed: Mutex::default(),
            lent: AtomicU32::new(0),
        }
    }

    /// How pictures lie in it.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The dma-buf, for a decoder.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// The memory as the processor sees it; mapped when it is first asked for.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn mapping(&self) -> Result<&Mapping, Error> {
        if self.mapping.get().is_none() {
            let mapping = Mapping::new(&self.fd, self.layout.size as usize, 0)
                .map_err(|source| Error::System("mmap of a picture", source))?;
            // Another thread may have been first.
            let _ = self.mapping.set(mapping);
        }
        self.mapping
            .get()
            .ok_or(Error::Memory(self.layout.size as usize))
    }

    /// Its planes, to be copied from and to.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn planes(&self) -> Result<Planes<'_>, Error> {
        let place = |(offset, stride): (u32, u32)| (offset as usize, stride as usize);
        Ok(Planes {
            memory: self.mapping()?,
            fourcc: VA_FOURCC_NV12,
            places: [place(self.layout.luma), place(self.layout.chroma), (0, 0)],
        })
    }

    /// A descriptor of its own for a consumer.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn hand_out(&self) -> Result<OwnedFd, Error> {
        let mut handed = lock(&self.handed);
        self.forget_closed(&mut handed);
        let fd = rustix::io::fcntl_dupfd_cloexec(self.fd.as_fd(), 0)
            .map_err(|source| Error::System("a descriptor of a picture", source))?;
        handed.open.push(fd.as_raw_fd());
        handed.ever = true;
        Ok(fd)
    }

    /// Whether a consumer got it who may look at it without a descriptor.
    pub fn was_handed_out(&self) -> bool {
        lock(&self.handed).ever
    }

    /// Notes that its surface is decoded into again, with other memory: by VA-API whoever was given
    /// this is done with it, unless he has a descriptor open (`is_held`).
    pub fn give_up(&self) {
        lock(&self.handed).ever = false;
    }

    /// Whether a consumer in this process still has a descriptor that it was given, or an image
    /// that is this memory. One who has closed the descriptor and looks at the memory all the same
    /// cannot be seen from here: he holds the surface, as VA-API has it.
    pub fn is_held(&self) -> bool {
        if self.lent.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let mut handed = lock(&self.handed);
        self.forget_closed(&mut handed);
        !handed.open.is_empty()
    }

    fn forget_closed(&self, handed: &mut Handed) {
        if handed.open.is_empty() {
            return;
        }
        handed.open.retain(|fd| {
            // SAFETY: the number is only asked what it is now, if it is anything; nothing is done
            // to what it names.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            is_same(self.fd.as_fd(), fd)
        });
    }

    /// Tells the memory's owner that the processor begins or ends to use it.
    pub fn sync(&self, begins: bool) {
        let end = if begins {
            DMA_BUF_SYNC_START
        } else {
            DMA_BUF_SYNC_END
        };
        let mut flags = dma_buf_sync {
            flags: DMA_BUF_SYNC_RW | end,
        };
        // Memory that needs no such thing does not know the ioctl; there is nothing to do then.
        // SAFETY: the ioctl takes this struct, which holds no address.
        let _ = unsafe { v4l2::sys::ioctl(&self.fd, DMA_BUF_IOCTL_SYNC, (&raw mut flags).cast()) };
    }

    /// Notes an image that is this memory, until what is returned goes.
    pub fn lend(self: &Arc<Frame>) -> Loan {
        self.lent.fetch_add(1, Ordering::Relaxed);
        Loan(Arc::clone(self))
    }
}

/// A frame that an image shows.
#[derive(Debug)]
pub struct Loan(Arc<Frame>);

impl Loan {
    /// The frame.
    pub fn frame(&self) -> &Arc<Frame> {
        &self.0
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.0.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;

    fn frame() -> Frame {
        let fd = rustix::fs::memfd_create("frame", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        let layout = Layout {
            luma: (0, 64),
            chroma: (2048, 64),
            size: 4096,
        };
        Frame::new(fd, layout)
    }

    #[test]
    fn a_frame_is_held_as_long_as_a_descriptor_is_open() {
        let (frame, other) = (frame(), frame());
        assert!(!frame.is_held());
        let first = frame.hand_out().unwrap();
        let second = frame.hand_out().unwrap();
        drop(first);
        assert!(frame.is_held());
        // The number may come again as something else, and then it holds nothing.
        let number = second.as_raw_fd();
        drop(second);
        let again = other.hand_out().unwrap();
        assert!(again.as_raw_fd() <= number);
        assert!(!frame.is_held() && frame.was_handed_out());
        assert!(other.is_held());
    }

    #[test]
    fn a_frame_is_held_by_images() {
        let frame = Arc::new(frame());
        let loan = frame.lend();
        assert!(frame.is_held());
        drop(loan);
        assert!(!frame.is_held() && !frame.was_handed_out());
    }

    #[test]
    fn layouts_hold_what_lies_in_them() {
        let layout = |luma, chroma, size| Layout { luma, chroma, size };
        let rows = [
            (layout((0, 64), (2048, 64), 3072), 64, 32, true),
            (layout((0, 64), (2048, 64), 3072), 63, 31, true),
            (layout((0, 64), (2048, 64), 3072), 65, 32, false),
            (layout((0, 64), (2048, 64), 3072), 64, 33, false),
            (layout((0, 64), (2048, 64), 3071), 64, 32, false),
            (layout((1, 64), (2048, 64), 3072), 64, 32, false),
            (
                layout((0, u32::MAX), (u32::MAX, 64), u32::MAX),
                64,
                u32::MAX,
                false,
            ),
        ];
        for (layout, width, height, holds) in rows {
            assert_eq!(
                layout.holds(width, height),
                holds,
                "{layout:?} {width}x{height}"
            );
        }
    }
}
