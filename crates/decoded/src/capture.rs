//! A client's CAPTURE buffer in this process, and the way a picture gets into it.
//!
//! libavcodec decodes luma straight into the buffer where it can: the buffer then is its reference,
//! as it is a hardware decoder's. The rest is copied once, chroma interleaved on the way. Where the
//! decoder says which rows are finished they are copied at once, out of the processor's caches.
//!
//! Only addresses that the kernel mapped are written to, and only inside the size and stride that
//! were checked when a picture began.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use media::{Picture, PixelFormat, Place, Rows};
use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use thiserror::Error;

/// Why a picture cannot be put into a buffer.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel does not give the buffer's memory.
    #[error("mapping a CAPTURE buffer of {bytes} bytes failed")]
    Map {
        /// Its size.
        bytes: usize,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel does not let it be written to.
    #[error("synchronising a CAPTURE buffer failed")]
    Sync(#[source] io::Error),
    /// A format whose planes do not fit into the buffer.
    #[error("CAPTURE format {width}x{height}, stride {stride}: too large for {bytes} bytes")]
    Layout {
        /// Luma columns.
        width: u32,
        /// Luma rows.
        height: u32,
        /// Bytes from row to row.
        stride: u32,
        /// Bytes of the buffer.
        bytes: usize,
    },
    /// A picture that is larger than the buffer's format.
    #[error("picture {width}x{height}: larger than the CAPTURE format {max_width}x{max_height}")]
    Size {
        /// Luma columns of the picture.
        width: u32,
        /// Luma rows of the picture.
        height: u32,
        /// Luma columns of the format.
        max_width: u32,
        /// Luma rows of the format.
        max_height: u32,
    },
    /// Finished rows did not follow each other, and are nowhere else.
    #[error("picture has a gap at row {0}")]
    Gap(u32),
    /// Samples that this format does not hold.
    #[error("picture of {0}: not a format of 8 bit 4:2:0")]
    Samples(&'static str),
}

/// Whether the processor's caches and the buffer's other users see the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coherence {
    /// They do: memory that the kernel made for processors (vb2-vmalloc).
    Coherent,
    /// Each access is framed by `DMA_BUF_IOCTL_SYNC`.
    Synced,
}

/// The format of a CAPTURE buffer: NV12, luma rows followed by rows of interleaved chroma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nv12 {
    /// Luma columns.
    pub width: u32,
    /// Luma rows.
    pub height: u32,
    /// Bytes from row to row, in both planes.
    pub stride: u32,
}

impl Nv12 {
    /// Bytes of both planes; `None` when rows overlap or nothing could be that large.
    fn bytes(self) -> Option<usize> {
        let row = self.width.checked_next_multiple_of(2)?;
        let rows = self.height.checked_add(self.height.div_ceil(2))?;
        if row > self.stride {
            return None;
        }
        (self.stride as usize).checked_mul(rows as usize)
    }
}

/// A mapped CAPTURE buffer.
#[derive(Debug)]
pub struct Capture {
    memory: Arc<Memory>,
    /// Kept where accesses are synchronised through it.
    sync: Option<OwnedFd>,
}

/// Its mapping, which the pictures share that are decoded into it.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value, whoever holds it.
unsafe impl Send for Memory {}
// SAFETY: it gives out nothing but its address.
unsafe impl Sync for Memory {}

impl Capture {
    /// Maps a dma-buf (or any file that can be mapped) to write to.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn map(fd: OwnedFd, bytes: usize, coherence: Coherence) -> Result<Self, Error> {
        let failed = |source| Error::Map { bytes, source };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                // All pages at once, not a fault for each in the midst of a picture.
                MapFlags::SHARED | MapFlags::POPULATE,
                &fd,
                0,
            )
        };
        let start = start.map_err(|errno| failed(errno.into()))?;
        let start = NonNull::new(start.cast())
            .ok_or_else(|| failed(io::Error::other("mapped at address 0")))?;
        Ok(Self {
            memory: Arc::new(Memory { start, bytes }),
            sync: (coherence == Coherence::Synced).then_some(fd),
        })
    }

    /// Begins to write a picture.
    ///
    /// # Errors
    /// [`Error::Layout`] for a format that does not fit, [`Error::Sync`].
    pub fn begin(&mut self, format: Nv12) -> Result<Writing<'_>, Error> {
        if format.bytes().is_none_or(|bytes| bytes > self.memory.bytes) {
            return Err(Error::Layout {
                width: format.width,
                height: format.height,
                stride: format.stride,
                bytes: self.memory.bytes,
            });
        }
        self.sync(SYNC_START)?;
        Ok(Writing {
            capture: self,
            format,
            next: Some(0),
            failed: None,
        })
    }

    fn sync(&self, edge: u64) -> Result<(), Error> {
        let Some(fd) = &self.sync else { return Ok(()) };
        // SAFETY: DMA_BUF_IOCTL_SYNC takes one 64-bit number of flags.
        let done = unsafe {
            ioctl(
                fd.as_fd(),
                Setter::<{ opcode::write::<u64>(b'b', 0) }, u64>::new(SYNC_WRITE | edge),
            )
        };
        done.map_err(|errno| Error::Sync(errno.into()))
    }
}

/// `DMA_BUF_SYNC_*` of `linux/dma-buf.h`.
const SYNC_WRITE: u64 = 2;
const SYNC_START: u64 = 0;
const SYNC_END: u64 = 4;

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this size, and unmapped only here.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A picture on its way into a buffer.
pub struct Writing<'a> {
    capture: &'a mut Capture,
    format: Nv12,
    /// Rows above are written and will not change; `None` when finished rows came with a gap.
    next: Option<u32>,
    failed: Option<Error>,
}

impl Writing<'_> {
    /// Where the picture's luma can be decoded without a copy; not in memory whose every access is
    /// framed, since libavcodec reads its references whenever it wants.
    pub fn place(&self) -> Option<Place> {
        let Capture { memory, sync: None } = &*self.capture else {
            return None;
        };
        let owner = Arc::clone(memory);
        let (stride, rows) = (self.format.stride as usize, self.format.height);
        // SAFETY: `begin` saw that luma and half as many rows of chroma are inside the mapping, which
        // the owner keeps and no Rust reference covers.
        Some(unsafe { Place::new(owner, memory.start, stride, rows) })
    }

    /// Writes rows that are finished. Rows may come again when they have changed.
    pub fn rows(&mut self, rows: &Rows<'_>) {
        let Some(next) = self.next else { return };
        if rows.first() > next || rows.first() % 2 != 0 {
            self.next = None;
            return;
        }
        self.next = Some(rows.first() + rows.count());
        if self.failed.is_none() {
            self.failed = self.copy(rows).err();
        }
    }

    /// Writes what is left of the picture.
    ///
    /// # Errors
    /// [`Error::Size`], [`Error::Samples`], [`Error::Gap`].
    pub fn finish(mut self, picture: Picture<'_>) -> Result<(), Error> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let next = self.next.unwrap_or(0);
        if next >= picture.height() {
            return Ok(());
        }
        if !picture.is_whole() {
            return Err(Error::Gap(next));
        }
        self.copy(&picture.rows_from(next / 2 * 2))
    }

    fn copy(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        let height = rows.first() + rows.count();
        if rows.width() > self.format.width || height > self.format.height {
            return Err(Error::Size {
                width: rows.width(),
                height,
                max_width: self.format.width,
                max_height: self.format.height,
            });
        }
        if rows.count() == 0 {
            return Ok(());
        }
        let stride = self.format.stride as usize;
        let width = rows.width() as usize;
        let first = rows.first() as usize;
        let luma = first * stride;
        let chroma = (self.format.height as usize + first / 2) * stride;
        let planes = (rows.plane(0), rows.plane(1), rows.plane(2));
        match (rows.format(), planes) {
            (PixelFormat::YUV420P | PixelFormat::YUVJ420P, (y, Some(u), Some(v)))
                if y.is_some() || rows.is_placed() =>
            {
                if let Some(y) = y {
                    self.copy_rows(luma, y, width);
                }
                for (row, (u, v)) in lines(u).zip(lines(v)).enumerate() {
                    let columns = width.div_ceil(2);
                    self.interleave(chroma + row * stride, &u[..columns], &v[..columns]);
                }
                Ok(())
            }
            (PixelFormat::NV12, (Some(y), Some(uv), _)) => {
                self.copy_rows(luma, y, width);
                self.copy_rows(chroma, uv, width.next_multiple_of(2));
                Ok(())
            }
            _ => Err(Error::Samples(rows.format().name())),
        }
    }

    /// Copies rows of `width` bytes to the buffer's rows from `to` on.
    fn copy_rows(&mut self, to: usize, plane: (&[u8], usize), width: usize) {
        let stride = self.format.stride as usize;
        for (row, line) in lines(plane).enumerate() {
            self.put(to + row * stride, &line[..width]);
        }
    }

    fn put(&mut self, to: usize, bytes: &[u8]) {
        assert!(to + bytes.len() <= self.capture.memory.bytes);
        // SAFETY: inside the mapping, which no Rust reference covers; the source is memory of
        // this process that is no part of a CAPTURE buffer.
        unsafe {
            store::row(self.capture.memory.start.as_ptr().add(to), bytes);
        }
    }

    /// Writes one row of chroma.
    fn interleave(&mut self, to: usize, u: &[u8], v: &[u8]) {
        assert!(u.len() == v.len() && to + 2 * u.len() <= self.capture.memory.bytes);
        // SAFETY: as in `put`.
        unsafe { store::pairs(self.capture.memory.start.as_ptr().add(to), u, v) };
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        store::complete();
        // The buffer is the client's again in any case; begin() has shown that the call works.
        let _ = self.capture.sync(SYNC_END);
    }
}

/// The rows of a plane.
fn lines((bytes, stride): (&[u8], usize)) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(stride)
}

/// Stores to memory that another program reads next.
mod store {
    use std::ptr;

    /// Bytes of one store.
    #[cfg(target_arch = "x86_64")]
    const VECTOR: usize = 16;

    /// Copies a row.
    ///
    /// # Safety
    /// `to` must be valid for writes of the slice's length, and not part of it.
    pub unsafe fn row(to: *mut u8, from: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if to.addr() % VECTOR == 0 {
            // SAFETY: as the caller vouches, and aligned.
            return unsafe { x86_64::row(to, from) };
        }
        // SAFETY: as the caller vouches.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }

    /// Writes `u[0], v[0], u[1], v[1]` and so on.
    ///
    /// # Safety
    /// `to` must be valid for writes of twice the shorter slice's length.
    pub unsafe fn pairs(to: *mut u8, u: &[u8], v: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if to.addr() % VECTOR == 0 {
            // SAFETY: as the caller vouches, and aligned.
            return unsafe { x86_64::pairs(to, u, v) };
        }
        // SAFETY: as the caller vouches.
        unsafe { pairs_in_cache(to, u, v) };
    }

    /// A pair is written as one number: compilers see vectors of pairs in that, on every machine.
    ///
    /// # Safety
    /// As for [`pairs`].
    pub unsafe fn pairs_in_cache(to: *mut u8, u: &[u8], v: &[u8]) {
        let to = to.cast::<u16>();
        for (index, (u, v)) in u.iter().zip(v).enumerate() {
            let pair = u16::from_ne_bytes([*u, *v]);
            // SAFETY: as the caller vouches.
            unsafe { to.add(index).write_unaligned(pair) };
        }
    }

    /// Makes all rows visible to other processors before anything that is written afterwards.
    pub fn complete() {
        #[cfg(target_arch = "x86_64")]
        x86_64::complete();
    }

    /// Stores that pass the caches by, which every x86-64 has and stable Rust gives for no other
    /// machine: a picture neither is read before it is overwritten nor drives the decoder's
    /// references out of the caches. That halves what a copy costs.
    #[cfg(target_arch = "x86_64")]
    mod x86_64 {
        use std::arch::x86_64::{
            __m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128, _mm_unpackhi_epi8,
            _mm_unpacklo_epi8,
        };
        use std::ptr;

        use super::{VECTOR, pairs_in_cache};

        /// # Safety
        /// As for [`super::row`], and `to` must be a multiple of [`VECTOR`].
        pub unsafe fn row(to: *mut u8, from: &[u8]) {
            let vectors = from.chunks_exact(VECTOR);
            let rest = vectors.remainder();
            let done = from.len() - rest.len();
            for (index, vector) in vectors.enumerate() {
                // SAFETY: the load is inside the chunk, the store inside what the caller vouches
                // for and aligned.
                unsafe {
                    let vector = _mm_loadu_si128(vector.as_ptr().cast());
                    _mm_stream_si128(to.cast::<__m128i>().add(index), vector);
                }
            }
            // SAFETY: as the caller vouches.
            unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), to.add(done), rest.len()) };
        }

        /// # Safety
        /// As for [`super::pairs`], and `to` must be a multiple of [`VECTOR`].
        pub unsafe fn pairs(to: *mut u8, u: &[u8], v: &[u8]) {
            let (us, vs) = (u.chunks_exact(VECTOR), v.chunks_exact(VECTOR));
            let done = us.len().min(vs.len()) * VECTOR;
            for (index, (u, v)) in us.zip(vs).enumerate() {
                // SAFETY: as in `row`; each step writes the pairs of one vector of each.
                unsafe {
                    let u = _mm_loadu_si128(u.as_ptr().cast());
                    let v = _mm_loadu_si128(v.as_ptr().cast());
                    let to = to.cast::<__m128i>().add(2 * index);
                    _mm_stream_si128(to, _mm_unpacklo_epi8(u, v));
                    _mm_stream_si128(to.add(1), _mm_unpackhi_epi8(u, v));
                }
            }
            // SAFETY: as the caller vouches.
            unsafe { pairs_in_cache(to.add(2 * done), &u[done..], &v[done..]) };
        }

        pub fn complete() {
            // SAFETY: every x86-64 has this instruction.
            unsafe { _mm_sfence() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::store;

    /// Both ways to store, at every offset from a vector's beginning, and whatever is left over.
    #[test]
    fn stores_write_what_they_are_given_and_no_more() {
        let samples = |seed: usize| move |index: usize| (index * 7 + seed) as u8;
        for length in (0..70).chain([127, 128, 129, 960]) {
            let u: Vec<u8> = (0..length).map(samples(1)).collect();
            let v: Vec<u8> = (0..length).map(samples(101)).collect();
            let pairs: Vec<u8> = u.iter().zip(&v).flat_map(|(u, v)| [*u, *v]).collect();
            for offset in 0..17 {
                let mut out = vec![0xee; offset + 2 * length + 16];
                // SAFETY: the vector holds twice the length behind the offset.
                unsafe { store::pairs(out.as_mut_ptr().add(offset), &u, &v) };
                store::complete();
                assert_eq!(out[offset..offset + 2 * length], pairs[..]);
                assert!(out[..offset].iter().all(|byte| *byte == 0xee));
                assert_eq!(out[offset + 2 * length..], [0xee; 16]);

                let mut out = vec![0xee; offset + length + 16];
                // SAFETY: the vector holds the length behind the offset.
                unsafe { store::row(out.as_mut_ptr().add(offset), &u) };
                store::complete();
                assert_eq!(out[offset..offset + length], u[..]);
                assert!(out[..offset].iter().all(|byte| *byte == 0xee));
                assert_eq!(out[offset + length..], [0xee; 16]);
            }
        }
    }
}
