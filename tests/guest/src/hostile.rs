//! Ioctls with arguments that no honest client has: addresses that are null, not mapped or read-only,
//! counts that are not true, descriptors of something else.
//!
//! What the kernel may write lies in an `Arena` that holds nothing else, so that a wrong answer is
//! seen as one and destroys nothing of the program that looks for it.

use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::Result;
use rustix::ioctl::Opcode;
use rustix::mm::{MapFlags, ProtFlags};
use std::ptr::NonNull;
use v4l2::uapi::kinora::kinora_dec_buffer;
use v4l2::uapi::media::{MEDIA_IOC_G_TOPOLOGY, MEDIA_IOC_REQUEST_ALLOC, media_v2_topology};
use v4l2::uapi::videodev2::*;
use zerocopy::FromZeros;

/// Structs in which no address stands: any bytes of theirs can be handed to any ioctl that takes them.
pub trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty),* $(,)?) => { $(impl Plain for $type {})* };
}

plain!(
    i32,
    kinora_dec_buffer,
    v4l2_capability,
    v4l2_control,
    v4l2_create_buffers,
    v4l2_decoder_cmd,
    v4l2_event,
    v4l2_event_subscription,
    v4l2_exportbuffer,
    v4l2_fmtdesc,
    v4l2_format,
    v4l2_frmsizeenum,
    v4l2_query_ext_ctrl,
    v4l2_queryctrl,
    v4l2_querymenu,
    v4l2_remove_buffers,
    v4l2_requestbuffers,
);

/// Where something is said to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Where it really is.
    True,
    /// Nowhere.
    Null,
    /// Where nothing is mapped.
    Unmapped,
    /// Where the kernel cannot write.
    ReadOnly,
}

/// One control of a call.
#[derive(Debug, Clone)]
pub struct HostileControl {
    /// Its identifier.
    pub id: u32,
    /// Its value, or an integer's bytes.
    pub bytes: Vec<u8>,
    /// What is said about their number.
    pub size: u32,
    /// Where they are said to lie; none for an integer, which stands in the control itself.
    pub address: Option<Address>,
}

/// Bytes of the arena. No control is longer than a page or two, and there are not many of them.
const LENGTH: usize = 1 << 20;
/// Where the rows of controls begin, and where their values do.
const ROWS: usize = 0;
const VALUES: usize = 64 << 10;
const PLANES: usize = 512 << 10;
/// What is left of the page that everything keeps free at its end.
const PAGE: usize = 4096;

/// Memory for the kernel to write, and addresses where it cannot.
#[derive(Debug)]
pub struct Arena {
    start: NonNull<u8>,
    read_only: NonNull<u8>,
    unmapped: NonNull<u8>,
}

// SAFETY: the three mappings belong to the process and to this value alone.
unsafe impl Send for Arena {}

impl Arena {
    /// Three mappings of its own.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Arena> {
        Ok(Arena {
            start: map(LENGTH, ProtFlags::READ | ProtFlags::WRITE)?,
            read_only: map(PAGE, ProtFlags::READ)?,
            unmapped: map(PAGE, ProtFlags::empty())?,
        })
    }

    /// An ioctl whose struct lies where it is said to.
    ///
    /// # Errors
    /// What `ioctl` says.
    pub fn plain<T: Plain>(&mut self, fd: impl AsFd, opcode: Opcode, value: &mut T) -> Result<()> {
        assert_eq!(argument_size(opcode), size_of::<T>());
        // SAFETY: the kernel reads and writes as many bytes as the number says, which are those of
        // the struct, and no address stands in it.
        unsafe { v4l2::sys::ioctl(fd, opcode, (&raw mut *value).cast()) }
    }

    /// An ioctl whose struct lies nowhere.
    ///
    /// # Errors
    /// What `ioctl` says.
    pub fn nowhere(&mut self, fd: impl AsFd, opcode: Opcode, address: Address) -> Result<()> {
        let argument = match address {
            Address::True => self.start,
            Address::Null => return self.none(fd, opcode),
            Address::Unmapped => self.unmapped,
            Address::ReadOnly => self.read_only,
        };
        self.clear(ROWS..VALUES);
        // SAFETY: the kernel may write at the beginning of the arena, which holds nothing that
        // matters and is longer than any struct; elsewhere it finds nothing to write to. What it
        // reads as a struct is zeroes, so no address stands in it.
        unsafe { v4l2::sys::ioctl(fd, opcode, argument.as_ptr().cast()) }
    }

    /// An ioctl whose argument is null, or that has none.
    ///
    /// # Errors
    /// What `ioctl` says.
    pub fn none(&mut self, fd: impl AsFd, opcode: Opcode) -> Result<()> {
        // SAFETY: there is nothing at null to be read or written.
        unsafe { v4l2::sys::ioctl(fd, opcode, std::ptr::null_mut()) }
    }

    /// A call with controls.
    ///
    /// # Errors
    /// What `ioctl` says.
    pub fn controls(
        &mut self,
        fd: impl AsFd,
        opcode: Opcode,
        head: &mut v4l2_ext_controls,
        controls: &[HostileControl],
        rows_at: Address,
    ) -> Result<()> {
        // Rows that the count promises and nobody wrote are zeroes.
        self.clear(ROWS..VALUES);
        let mut place = VALUES;
        for (index, control) in controls.iter().take(64).enumerate() {
            let bytes = &control.bytes[..control.bytes.len().min(16 << 10)];
            let value64 = match control.address {
                None => integer(bytes),
                Some(address) => self.address(address, place) as i64,
            };
            // A size that is too large reaches into what follows, which is the arena's as well.
            self.copy_in(place, bytes);
            place = (place + bytes.len() + 64).min(PLANES - PAGE * 8);
            let row = v4l2_ext_control {
                id: control.id,
                size: control.size.min((PAGE * 4) as u32),
                reserved2: [0],
                value64,
            };
            self.write(ROWS + index * size_of::<v4l2_ext_control>(), row);
        }
        head.controls = self.address(rows_at, ROWS);
        head.count = head.count.min(128);
        assert_eq!(argument_size(opcode), size_of_val(head));
        // SAFETY: the struct is exclusively borrowed; its address and those in the rows lie in the
        // arena with room for all that count and sizes say, or where the kernel finds nothing.
        unsafe { v4l2::sys::ioctl(fd, opcode, (&raw mut *head).cast()) }
    }

    /// A call with a buffer; the plane is returned in its place.
    ///
    /// # Errors
    /// What `ioctl` says.
    pub fn buffer(
        &mut self,
        fd: impl AsFd,
        opcode: Opcode,
        buffer: &mut v4l2_buffer,
        plane: &mut v4l2_plane,
        planes_at: Address,
    ) -> Result<()> {
        self.clear(PLANES..PLANES + PAGE);
        self.write(PLANES, *plane);
        buffer.m = self.address(planes_at, PLANES);
        buffer.length = buffer.length.min(16);
        assert_eq!(argument_size(opcode), size_of_val(buffer));
        // SAFETY: the struct is exclusively borrowed; its address has room for as many planes as
        // its length says. User memory as a buffer's is refused by the queues in use; should it be
        // taken, what a plane gives as its address is small and nothing is mapped there.
        let done = unsafe { v4l2::sys::ioctl(fd, opcode, (&raw mut *buffer).cast()) };
        *plane = self.read(PLANES);
        done
    }

    /// Reads a topology into tables that are as long as the arena has room for.
    ///
    /// # Errors
    /// What `ioctl` says.
    pub fn topology(&mut self, fd: impl AsFd, rows: u32, at: Address) -> Result<()> {
        let mut topology = media_v2_topology::new_zeroed();
        let rows = rows.min(256);
        topology.num_entities = rows;
        topology.num_interfaces = rows;
        topology.num_pads = rows;
        topology.num_links = rows;
        topology.ptr_entities = self.address(at, ROWS) as u64;
        topology.ptr_interfaces = self.address(at, VALUES) as u64;
        topology.ptr_pads = self.address(at, VALUES * 2) as u64;
        topology.ptr_links = self.address(at, VALUES * 3) as u64;
        // SAFETY: each table has room for 256 rows of at most 112 bytes before the next begins.
        unsafe { v4l2::sys::ioctl(fd, MEDIA_IOC_G_TOPOLOGY, (&raw mut topology).cast()) }
    }

    fn address(&self, address: Address, place: usize) -> usize {
        match address {
            Address::True => self.start.as_ptr().expose_provenance() + place,
            Address::Null => 0,
            Address::Unmapped => self.unmapped.as_ptr().expose_provenance(),
            Address::ReadOnly => self.read_only.as_ptr().expose_provenance(),
        }
    }

    fn clear(&mut self, range: std::ops::Range<usize>) {
        assert!(range.end <= LENGTH);
        // SAFETY: the range lies in the mapping, which is this value's alone.
        unsafe {
            self.start
                .as_ptr()
                .add(range.start)
                .write_bytes(0, range.len())
        }
    }

    fn copy_in(&mut self, place: usize, bytes: &[u8]) {
        assert!(place + bytes.len() <= LENGTH);
        // SAFETY: the range lies in the mapping, which is this value's alone.
        unsafe {
            let target = self.start.as_ptr().add(place);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
    }

    fn write<T: Copy>(&mut self, place: usize, value: T) {
        assert!(place + size_of::<T>() <= LENGTH);
        // SAFETY: the range lies in the mapping, which is this value's alone.
        unsafe {
            self.start
                .as_ptr()
                .add(place)
                .cast::<T>()
                .write_unaligned(value)
        }
    }

    fn read<T: FromZeros + Copy + zerocopy::FromBytes>(&self, place: usize) -> T {
        assert!(place + size_of::<T>() <= LENGTH);
        // SAFETY: the range lies in the mapping, and any bytes are a `T`.
        unsafe { self.start.as_ptr().add(place).cast::<T>().read_unaligned() }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for (start, length) in [
            (self.start, LENGTH),
            (self.read_only, PAGE),
            (self.unmapped, PAGE),
        ] {
            // SAFETY: mapped by `new` with this length; nothing refers to it any more.
            let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast(), length) };
        }
    }
}

fn map(length: usize, protection: ProtFlags) -> Result<NonNull<u8>> {
    // SAFETY: the kernel chooses the address, so nothing that exists is replaced.
    let start = unsafe {
        rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE)?
    };
    NonNull::new(start.cast()).ok_or(rustix::io::Errno::INVAL)
}

fn integer(bytes: &[u8]) -> i64 {
    let mut value = [0; 8];
    let length = bytes.len().min(8);
    value[..length].copy_from_slice(&bytes[..length]);
    i64::from_le_bytes(value)
}

/// Makes a request; the descriptor is the caller's.
///
/// # Errors
/// What `ioctl` says.
pub fn allocate_request(media: impl AsFd) -> Result<OwnedFd> {
    let mut fd: i32 = -1;
    // SAFETY: the ioctl writes an `int`.
    unsafe {
        v4l2::sys::ioctl(media, MEDIA_IOC_REQUEST_ALLOC, (&raw mut fd).cast())?;
    }
    if fd < 0 {
        return Err(rustix::io::Errno::BADF);
    }
    // SAFETY: the kernel has just opened it for this process and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Exports a buffer as a dma-buf; the descriptor is the caller's.
///
/// # Errors
/// What `ioctl` says.
pub fn export(video: impl AsFd, export: &mut v4l2_exportbuffer) -> Result<OwnedFd> {
    // SAFETY: the ioctl takes this struct, which holds no address.
    unsafe { v4l2::sys::ioctl(video, VIDIOC_EXPBUF, (&raw mut *export).cast())? }
    if export.fd < 0 {
        return Err(rustix::io::Errno::BADF);
    }
    // SAFETY: the kernel has just opened it for this process and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
}

/// How many bytes an ioctl reads or writes at its argument: its number says so.
fn argument_size(opcode: Opcode) -> usize {
    (opcode >> 16 & 0x3fff) as usize
}
