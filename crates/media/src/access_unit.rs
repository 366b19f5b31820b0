//! One access unit in, one picture out: decoding by buffer rather than by output.
//!
//! A stateless client expects each access unit's picture as soon as the unit is consumed, in
//! decoding order, shown or not. libavcodec's output is in display order, late, and leaves hidden
//! pictures out. But it decodes into memory that its caller allocates: so the picture of a unit is
//! the one that libavcodec allocated while it consumed the unit, read once that is done. A second
//! field allocates nothing and completes the picture of the unit before it.
//!
//! Pictures lie in a bounded pool of recycled memory, so that a session in its steady state takes
//! no page fault. A caller may have luma decoded where it wants it ([`Place`]), which spares a copy.
//! Outputs are drained and dropped. No threads: a unit is consumed when
//! [`AccessUnitDecoder::decode`] returns.
//!
//! Building the bytes of a unit, and checking that its references are those that libavcodec holds,
//! is left to the caller.

use std::any::Any;
use std::ffi::CStr;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ffmpeg_sys_the_third as sys;
use libc::{c_int, c_void};

use crate::context::CodecContext;
use crate::error::{Error, Result, libav, out_of_memory, plain};
use crate::format::PixelFormat;
use crate::log;

/// A codec of the V4L2 stateless interface that libavcodec decodes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatelessCodec {
    /// MPEG-2 video (ITU-T H.262).
    Mpeg2,
    /// H.264, progressive and interlaced.
    H264,
    /// VP8 (RFC 6386).
    Vp8,
    /// VP9, profile 0.
    Vp9,
}

/// Which of the pictures that libavcodec allocates for a unit is the unit's own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// MPEG-2 allocates stand-ins for missing references after it; for a second field, which has none
    /// of its own, nothing else (FFmpeg 7).
    First,
    /// H.264 allocates pictures for gaps in `frame_num` before it.
    Last,
}

struct CodecRow {
    codec: StatelessCodec,
    name: &'static str,
    /// FFmpeg's own decoder, by its name: another one of the codec could be a device's, and lead
    /// back to the one that is being served.
    decoder: &'static CStr,
    target: Target,
    /// Whether a unit can be one field of two.
    fields: bool,
    /// Whether luma goes to the caller's place. Not for MPEG-2, which is also decoded to rows that are
    /// not the picture's ([`Drawn::elsewhere`]), nor for VP8 and VP9: they write whole blocks beyond
    /// what their formats have room for, and what VP9 gains is less than what it loses with the large
    /// pages of references here.
    places: bool,
}

#[rustfmt::skip]
const CODECS: [CodecRow; 4] = [
    CodecRow { codec: StatelessCodec::Mpeg2, name: "mpeg2", decoder: c"mpeg2video", target: Target::First, fields: true, places: false },
    CodecRow { codec: StatelessCodec::H264, name: "h264", decoder: c"h264", target: Target::Last, fields: true, places: true },
    CodecRow { codec: StatelessCodec::Vp8, name: "vp8", decoder: c"vp8", target: Target::Last, fields: false, places: false },
    CodecRow { codec: StatelessCodec::Vp9, name: "vp9", decoder: c"vp9", target: Target::Last, fields: false, places: false },
];

impl StatelessCodec {
    fn row(self) -> &'static CodecRow {
        let row = CODECS.iter().find(|row| row.codec == self);
        row.expect("every codec has its row")
    }

    /// The name of the files that deal with this codec in every room: "h264".
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

/// What one decoder may use.
#[derive(Clone, Copy, Debug)]
pub struct AccessUnitLimits {
    /// Most luma columns of a picture.
    pub max_width: u32,
    /// Most luma rows of a picture.
    pub max_height: u32,
    /// Most pictures at a time: references, those waiting for their turn to be shown (which only
    /// libavcodec waits for) and the one being decoded.
    pub max_pictures: usize,
    /// Most bytes of picture memory, in use or kept for use.
    pub max_bytes: usize,
}

impl Default for AccessUnitLimits {
    /// 4096 x 2304 with all that H.264 can hold: 16 references and as many waiting.
    fn default() -> Self {
        Self {
            max_width: 4096,
            max_height: 2304,
            max_pictures: 36,
            max_bytes: 36 * 4096 * 2304 * 3 / 2,
        }
    }
}

/// Bytes that decoders may read, and ignore, after the end of a unit.
const PADDING: usize = sys::AV_INPUT_BUFFER_PADDING_SIZE as usize;

/// Planes begin at multiples of this: the widest vector of any machine.
const ALIGNMENT: usize = 64;

/// Bytes around each plane that vector code may touch beyond it.
const MARGIN: usize = 128;

/// More pictures than any decoder shows for one unit.
const MAX_OUTPUTS: usize = 64;

/// Free memory of the wrong size is kept for as many allocations, for streams that change their
/// size to and fro.
const KEPT_ALLOCATIONS: u64 = 64;

/// Decoders read all over their references, and look up far fewer pages when these are large:
/// 2 to 3 % of the time of a 1080p frame.
const HUGE_PAGE: usize = 1 << 21;

/// Large pages all begin alike in the caches, and a decoder reads several references at the place
/// that it writes to: pictures begin so many bytes apart to keep out of each other's way, 1 % of
/// the time of a 1080p frame of VP9. An odd number of cache lines, and a little more than a page.
const APART: usize = 73 * 64;

/// So many pictures begin apart.
const BEGINNINGS: u64 = 8;

/// Memory of one picture.
struct Memory {
    start: NonNull<u8>,
    bytes: usize,
    /// Where its pictures begin, if what they leave allows it.
    beginning: usize,
}

// SAFETY: plain memory that belongs to this value alone.
unsafe impl Send for Memory {}

impl Memory {
    /// What is really used for a picture of this size: whole large pages where that wastes little.
    fn rounded(bytes: usize) -> usize {
        match bytes.checked_next_multiple_of(HUGE_PAGE) {
            Some(whole) if whole <= bytes.saturating_add(bytes / 5 * 2) => whole,
            _ => bytes,
        }
    }

    /// Where a picture of so many bytes begins.
    fn begin(&self, bytes: usize) -> NonNull<u8> {
        let spare = self.bytes.saturating_sub(bytes) / ALIGNMENT * ALIGNMENT;
        // SAFETY: inside the memory.
        unsafe { self.start.add(self.beginning.min(spare)) }
    }

    /// Memory of zeros, straight from the kernel: it comes in whole large pages, and what is given
    /// back leaves no hole for others to lie in.
    fn new(bytes: usize, number: u64) -> Option<Self> {
        let beginning = (number % BEGINNINGS) as usize * APART;
        let large = bytes > 0 && bytes % HUGE_PAGE == 0;
        // As much more as it takes to begin at a large page's address.
        let spare = if large { HUGE_PAGE } else { 0 };
        let mapped = bytes.checked_add(spare)?;
        // SAFETY: a new mapping at an address of the kernel's choice; what is unmapped are parts of
        // it that nobody knows yet. The kernel's answer to the advice changes nothing but speed.
        unsafe {
            let start = libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if start == libc::MAP_FAILED {
                return None;
            }
            let start = start.cast::<u8>();
            if !large {
                return NonNull::new(start).map(|start| Self {
                    start,
                    bytes,
                    beginning,
                });
            }
            let ahead = start.align_offset(HUGE_PAGE);
            let begin = start.add(ahead);
            if ahead > 0 {
                libc::munmap(start.cast(), ahead);
            }
            libc::munmap(begin.add(bytes).cast(), spare - ahead);
            libc::madvise(begin.cast(), bytes, libc::MADV_HUGEPAGE);
            NonNull::new(begin).map(|start| Self {
                start,
                bytes,
                beginning,
            })
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size, and unmapped only here.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Memory that no picture uses.
struct Free {
    memory: Memory,
    /// The allocation at which it became free.
    since: u64,
}

/// The memory of one decoder's pictures.
struct Pool {
    limits: AccessUnitLimits,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    free: Vec<Free>,
    /// The unit of each picture that is in use.
    used: Vec<u64>,
    /// Bytes, in use or free.
    bytes: usize,
    allocations: u64,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: usize, unit: u64) -> Option<Memory> {
        let bytes = Memory::rounded(bytes);
        let mut state = self.lock();
        if state.used.len() >= self.limits.max_pictures {
            return None;
        }
        let memory = state.reuse(bytes).or_else(|| {
            state.make_room(self.limits.max_bytes.checked_sub(bytes)?);
            if state.bytes + bytes > self.limits.max_bytes {
                return None;
            }
            let memory = Memory::new(bytes, state.allocations)?;
            state.bytes += bytes;
            Some(memory)
        })?;
        state.allocations += 1;
        state.used.push(unit);
        Some(memory)
    }

    fn give_back(&self, memory: Memory, unit: u64) {
        let mut state = self.lock();
        if let Some(index) = state.used.iter().position(|used| *used == unit) {
            state.used.swap_remove(index);
        }
        let since = state.allocations;
        state.free.push(Free { memory, since });
    }
}

impl PoolState {
    /// The memory that was freed last is the one most likely to be in the caches still.
    fn reuse(&mut self, bytes: usize) -> Option<Memory> {
        let fits = |free: &Free| (bytes..=bytes * 2).contains(&free.memory.bytes);
        let index = self.free.iter().rposition(fits);
        let found = index.map(|index| self.free.remove(index).memory);
        let now = self.allocations;
        self.drop_free(|free| !fits(free) && now - free.since > KEPT_ALLOCATIONS);
        found
    }

    /// Frees the longest unused memory until no more than `bytes` are left.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes > bytes && !self.free.is_empty() {
            self.bytes -= self.free.remove(0).memory.bytes;
        }
    }

    fn drop_free(&mut self, unwanted: impl Fn(&Free) -> bool) {
        let Self { free, bytes, .. } = self;
        free.retain(|free| {
            let keep = !unwanted(free);
            if !keep {
                *bytes -= free.memory.bytes;
            }
            keep
        });
    }
}

/// What a buffer of libavutil owns: memory that goes back to its pool with the last reference.
struct Lease {
    memory: Memory,
    unit: u64,
    pool: Arc<Pool>,
}

/// A counted reference to memory that libavutil counts.
struct Buffer(NonNull<sys::AVBufferRef>);

// SAFETY: the reference belongs to this value alone and libavutil counts atomically.
unsafe impl Send for Buffer {}

impl Buffer {
    /// Another reference to the same memory.
    ///
    /// # Safety
    /// `raw` must be null or a live reference.
    unsafe fn referring(raw: *const sys::AVBufferRef) -> Option<Self> {
        if raw.is_null() {
            return None;
        }
        // SAFETY: live, as the caller vouches.
        NonNull::new(unsafe { sys::av_buffer_ref(raw) }).map(Self)
    }

    fn allocated(bytes: usize) -> Option<Self> {
        // SAFETY: allocates zeroed memory; null is filtered.
        NonNull::new(unsafe { sys::av_buffer_allocz(bytes) }).map(Self)
    }

    fn raw(&self) -> &sys::AVBufferRef {
        // SAFETY: never null and live as long as `self`.
        unsafe { self.0.as_ref() }
    }

    fn is_shared(&self) -> bool {
        // SAFETY: a live reference, which is only read.
        unsafe { sys::av_buffer_get_ref_count(self.0.as_ptr()) != 1 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: our own reference, given up only here.
        unsafe { sys::av_buffer_unref(&mut raw) };
    }
}

/// Gives a lease back: libavutil calls it with the last reference.
unsafe extern "C" fn release(lease: *mut c_void, _memory: *mut u8) {
    // SAFETY: `allocate` made the buffer with a boxed lease, and this is called once.
    let lease = unsafe { Box::from_raw(lease.cast::<Lease>()) };
    let Lease { memory, unit, pool } = *lease;
    pool.give_back(memory, unit);
}

/// What a unit is decoded into.
pub enum Destination {
    /// A picture in the decoder's own memory.
    Own,
    /// A picture whose luma is to lie in the caller's memory.
    Place(Place),
    /// The picture of the last unit, whose second field this is. Without being told, MPEG-2's
    /// pictures that stand in for missing references look like one of its own.
    Continued,
}

/// The caller's memory for the luma of one picture. It stays the picture's as long as libavcodec
/// predicts from it: what others write there meanwhile shows up in later pictures.
pub struct Place {
    /// What the memory lives as long as.
    owner: Arc<dyn Any + Send + Sync>,
    start: NonNull<u8>,
    stride: usize,
    rows: u32,
}

// SAFETY: an address, and the owner that keeps it valid wherever it goes.
unsafe impl Send for Place {}

impl Place {
    /// Rows of `stride` bytes from `start` on.
    ///
    /// # Safety
    /// Until the owner's last reference is dropped, all rows and half as many after them must be
    /// valid for reads and writes, and no Rust reference may cover them.
    pub unsafe fn new(
        owner: Arc<dyn Any + Send + Sync>,
        start: NonNull<u8>,
        stride: usize,
        rows: u32,
    ) -> Self {
        Self {
            owner,
            start,
            stride,
            rows,
        }
    }

    /// Whether libavcodec can decode luma of that shape here: at its own stride, from an address
    /// that suits every vector, and with room for all rows, which are whole macroblocks.
    fn takes(&self, shape: &Shape) -> bool {
        self.stride == shape.planes[0].stride
            && self.stride % ALIGNMENT == 0
            && self.start.addr().get() % ALIGNMENT == 0
            && shape.height <= self.rows
    }

    /// A counted reference for libavutil, with which the place goes.
    fn buffer(self) -> Option<Buffer> {
        let (start, bytes) = (self.start.as_ptr(), self.stride * self.rows as usize);
        let owner = Box::into_raw(Box::new(self.owner));
        // SAFETY: valid as `new` was promised; `leave` takes the owner with the last reference.
        let raw = unsafe { sys::av_buffer_create(start, bytes, Some(leave), owner.cast(), 0) };
        let buffer = NonNull::new(raw).map(Buffer);
        if buffer.is_none() {
            // SAFETY: no buffer was made, so the owner is still ours.
            unsafe { leave(owner.cast(), start) };
        }
        buffer
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("stride", &self.stride)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// Nobody decodes into or predicts from a place any longer: libavutil calls it with the last
/// reference.
unsafe extern "C" fn leave(owner: *mut c_void, _memory: *mut u8) {
    // SAFETY: `Place::buffer` made the buffer with a boxed owner, and this is called once.
    drop(unsafe { Box::from_raw(owner.cast::<Arc<dyn Any + Send + Sync>>()) });
}

/// A plane of a picture: rows of samples at an offset in its memory.
#[derive(Clone, Copy, Debug, Default)]
struct Plane {
    offset: usize,
    stride: usize,
    /// Samples that mean something: bytes in a row, and rows.
    row_bytes: usize,
    rows: usize,
}

/// Where a picture's planes lie in its memory.
#[derive(Clone, Copy, Debug)]
struct Shape {
    width: u32,
    height: u32,
    visible_width: u32,
    visible_height: u32,
    format: PixelFormat,
    planes: [Plane; 4],
    bytes: usize,
}

impl Shape {
    /// What libavcodec wants for the frame it is about to decode into.
    ///
    /// # Safety
    /// `context` must be open and `frame` the one it asks an allocation for.
    unsafe fn wanted(
        context: *mut sys::AVCodecContext,
        frame: &sys::AVFrame,
    ) -> std::result::Result<Self, c_int> {
        let invalid = sys::AVERROR(libc::EINVAL);
        let (mut width, mut height) = (frame.width, frame.height);
        let format = PixelFormat(frame.format);
        let mut alignment: [c_int; 8] = [0; 8];
        let mut strides: [c_int; 4] = [0; 4];
        let mut sizes = [0_usize; 4];
        // SAFETY: the context is open, and the array has the eight entries that are written.
        unsafe {
            sys::avcodec_align_dimensions2(
                context,
                &mut width,
                &mut height,
                alignment.as_mut_ptr(),
            );
        }
        // Strides keep their ratios (some decoders rely on it), so the width grows until all fit.
        loop {
            // SAFETY: writes the four entries of the array.
            let code =
                unsafe { sys::av_image_fill_linesizes(strides.as_mut_ptr(), format.raw(), width) };
            if code < 0 {
                return Err(code);
            }
            let fits = |(stride, alignment): (&c_int, &c_int)| stride % alignment.max(&1) == 0;
            if strides.iter().zip(&alignment).all(fits) {
                break;
            }
            width = width
                .checked_add(width & width.wrapping_neg())
                .ok_or(invalid)?;
        }
        let wide = strides.map(|stride| stride as isize);
        // SAFETY: writes four entries and reads four.
        let code = unsafe {
            sys::av_image_fill_plane_sizes(sizes.as_mut_ptr(), format.raw(), height, wide.as_ptr())
        };
        if code < 0 {
            return Err(code);
        }
        // SAFETY: the context is open.
        let (visible_width, visible_height) = unsafe { ((*context).width, (*context).height) };
        let side = |value: c_int| u32::try_from(value).map_err(|_| invalid);
        let (_, chroma_y) = format.chroma_shift();
        let mut planes = [Plane::default(); 4];
        let mut bytes = MARGIN;
        for (index, plane) in planes.iter_mut().enumerate() {
            if sizes[index] == 0 {
                continue;
            }
            // SAFETY: pure arithmetic over a format and a width.
            let row =
                unsafe { sys::av_image_get_linesize(format.raw(), frame.width, index as c_int) };
            let shift = if matches!(index, 1 | 2) { chroma_y } else { 0 };
            *plane = Plane {
                offset: bytes,
                stride: usize::try_from(strides[index]).map_err(|_| invalid)?,
                row_bytes: usize::try_from(row).map_err(|_| invalid)?,
                rows: (side(frame.height)? as usize).div_ceil(1 << shift),
            };
            bytes += (sizes[index] + MARGIN).next_multiple_of(ALIGNMENT);
        }
        Ok(Self {
            width: side(frame.width)?,
            height: side(frame.height)?,
            visible_width: side(visible_width)?.min(side(frame.width)?),
            visible_height: side(visible_height)?.min(side(frame.height)?),
            format,
            planes,
            bytes,
        })
    }
}

/// A picture that libavcodec decodes into, and what it is.
struct Allocated {
    buffer: Buffer,
    /// Its luma is in the caller's place.
    placed: bool,
    shape: Shape,
    unit: u64,
    /// Whether a second unit completed it.
    continued: bool,
    /// Whether all of its rows are where they belong.
    whole: bool,
}

/// What the allocator knows and tells; libavcodec's context points to it.
struct Allocator {
    pool: Arc<Pool>,
    target: Target,
    places: bool,
    state: Mutex<AllocatorState>,
}

#[derive(Default)]
struct AllocatorState {
    unit: u64,
    /// How many pictures libavcodec allocated for this unit.
    allocated: u32,
    /// Whether the pool had nothing left for it.
    exhausted: bool,
    /// Whether the unit belongs to the picture before it.
    continued: bool,
    /// The unit's own picture.
    target: Option<Allocated>,
    /// Where its luma is to be decoded, until a picture is allocated.
    place: Option<Place>,
    /// The address where luma is decoded that is in the caller's place.
    placed: Option<usize>,
    /// Who wants rows as they are finished.
    ready: Option<Ready>,
    drawn: Drawn,
}

/// What libavcodec told of finished rows.
#[derive(Default)]
struct Drawn {
    /// 1 for a top field, 2 for a bottom field, 3 for a frame; 0 before any row.
    structure: c_int,
    /// Whether the rows are those of a second field in the same unit.
    second: bool,
    /// End of the last rows, in rows of the frame.
    to: u32,
    /// A field lacks rows.
    missing: bool,
    /// Rows were finished in another place than that which they have in the picture: libavcodec
    /// up to at least 7.1 decodes MPEG-2's B-frames into one row of macroblocks again and again
    /// when somebody takes them as they are finished.
    elsewhere: bool,
}

impl Drawn {
    /// Rows of a field that libavcodec leaves out between a slice with deblocking and one without.
    const DEBLOCKING_STEP: u32 = 20;

    fn rows(&mut self, structure: c_int, first: u32, count: u32, height: u32) {
        if structure != self.structure {
            self.end(height);
            self.second = self.structure != 0;
            self.structure = structure;
            self.to = 0;
        }
        let left_out = first.saturating_sub(self.to) / 2;
        self.missing |= self.is_field() && left_out >= 16 && left_out != Self::DEBLOCKING_STEP;
        self.to = first + count;
    }

    /// Macroblocks that are missing in a frame are guessed, and logged; in fields they are not.
    fn end(&mut self, height: u32) {
        self.missing |= self.is_field() && height.saturating_sub(self.to) / 2 >= 16;
    }

    fn lacks_rows(mut self, height: u32) -> bool {
        self.end(height);
        self.missing
    }

    fn is_field(&self) -> bool {
        matches!(self.structure, 1 | 2)
    }
}

/// The caller's function, without its lifetime.
#[derive(Clone, Copy)]
struct Ready(NonNull<dyn FnMut(Rows<'_>)>);

// SAFETY: called only on the thread that lent it, within the call that it was lent to.
unsafe impl Send for Ready {}

impl Allocator {
    fn lock(&self) -> MutexGuard<'_, AllocatorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Safety
    /// `context` must be open and `frame` the one it asks an allocation for.
    unsafe fn allocate(
        &self,
        context: *mut sys::AVCodecContext,
        frame: &mut sys::AVFrame,
    ) -> std::result::Result<(), c_int> {
        let out_of_memory = sys::AVERROR(libc::ENOMEM);
        let limits = &self.pool.limits;
        // SAFETY: as the caller vouches.
        let shape = unsafe { Shape::wanted(context, frame)? };
        if shape.width > limits.max_width || shape.height > limits.max_height {
            return Err(sys::AVERROR(libc::EINVAL));
        }
        let (unit, place) = {
            let mut state = self.lock();
            (state.unit, state.place.take())
        };
        let Some(memory) = self.pool.take(shape.bytes, unit) else {
            self.lock().exhausted = true;
            return Err(out_of_memory);
        };
        let (start, bytes) = (memory.begin(shape.bytes).as_ptr(), shape.bytes);
        let pool = Arc::clone(&self.pool);
        let lease = Box::into_raw(Box::new(Lease { memory, unit, pool }));
        // SAFETY: the memory is valid for `bytes` until `release` takes the lease, which owns it.
        let buffer = unsafe {
            sys::av_buffer_create(start, bytes, Some(release), lease.cast::<c_void>(), 0)
        };
        if buffer.is_null() {
            // SAFETY: no buffer was made, so the lease is still ours.
            unsafe { release(lease.cast(), start) };
            return Err(out_of_memory);
        }
        frame.buf[0] = buffer;
        for (index, plane) in shape.planes.iter().enumerate() {
            if plane.stride > 0 {
                // SAFETY: every plane lies inside the memory, by the sum in `Shape::wanted`.
                frame.data[index] = unsafe { start.add(plane.offset) };
                frame.linesize[index] = plane.stride as c_int;
            }
        }
        let place = place.filter(|place| self.places && place.takes(&shape));
        let placed = place.and_then(|place| {
            let start = place.start;
            let buffer = ManuallyDrop::new(place.buffer()?);
            // The frame's reference now, which libavcodec gives up.
            frame.buf[1] = buffer.0.as_ptr();
            frame.data[0] = start.as_ptr();
            Some(start.addr().get())
        });
        frame.extended_data = frame.data.as_mut_ptr();
        let mut state = self.lock();
        state.placed = placed.or(state.placed);
        let own = match self.target {
            Target::First => state.allocated == 0 && !state.continued,
            Target::Last => true,
        };
        if own {
            // SAFETY: the frame's own reference, live.
            let buffer = unsafe { Buffer::referring(buffer) }.ok_or(out_of_memory)?;
            state.target = Some(Allocated {
                buffer,
                placed: placed.is_some(),
                shape,
                unit,
                continued: false,
                whole: true,
            });
        }
        state.allocated += 1;
        Ok(())
    }
}

/// libavcodec's wish for memory.
unsafe extern "C" fn get_buffer(
    context: *mut sys::AVCodecContext,
    frame: *mut sys::AVFrame,
    _flags: c_int,
) -> c_int {
    // SAFETY: `open` set the context's pointer to an allocator that outlives the context, and
    // libavcodec passes a live frame of its own.
    let answer = unsafe {
        let allocator = &*(*context).opaque.cast::<Allocator>();
        allocator.allocate(context, &mut *frame)
    };
    answer.err().unwrap_or(0)
}

/// libavcodec has finished some rows of the picture that it decodes.
unsafe extern "C" fn draw(
    context: *mut sys::AVCodecContext,
    frame: *const sys::AVFrame,
    offsets: *mut c_int,
    first: c_int,
    structure: c_int,
    count: c_int,
) {
    // SAFETY: as in `get_buffer`; the offsets are an array of eight.
    let (allocator, frame, offsets, height) = unsafe {
        let allocator = &*(*context).opaque.cast::<Allocator>();
        let offsets = &*offsets.cast::<[c_int; 8]>();
        (allocator, &*frame, offsets, (*context).height)
    };
    let (Ok(first), Ok(count)) = (u32::try_from(first), u32::try_from(count)) else {
        return;
    };
    let (ready, placed) = {
        let mut state = allocator.lock();
        let height = u32::try_from(height).unwrap_or(0);
        state.drawn.rows(structure, first, count, height);
        state.drawn.elsewhere |= first > 0 && offsets[0] == 0;
        // Half of the rows of a first field are still to come.
        let continued = state.continued || state.allocated == 0;
        let complete = !state.drawn.is_field() || state.drawn.second || continued;
        let placed = state.placed == Some(frame.data[0].addr());
        (state.ready.filter(|_| complete), placed)
    };
    let Some(Ready(mut ready)) = ready else {
        return;
    };
    let format = PixelFormat(frame.format);
    let (_, chroma_y) = format.chroma_shift();
    let mut planes: [Option<(&[u8], usize)>; 3] = [None; 3];
    // Of luma in the caller's place nobody makes a slice: others may write there.
    for (index, plane) in planes.iter_mut().enumerate().skip(usize::from(placed)) {
        let shift = if index > 0 { chroma_y } else { 0 };
        let rows = (count as usize).div_ceil(1 << shift);
        // SAFETY: pure arithmetic over a format and a width.
        let row = unsafe { sys::av_image_get_linesize(format.raw(), frame.width, index as c_int) };
        let (Ok(stride), Ok(row), false) = (
            usize::try_from(frame.linesize[index]),
            usize::try_from(row),
            frame.data[index].is_null() || rows == 0,
        ) else {
            continue;
        };
        let length = stride * (rows - 1) + row;
        // SAFETY: libavcodec says that these rows lie at the offset in the frame's plane and that
        // it is done with them; it waits for this function.
        let bytes = unsafe {
            let start = frame.data[index].offset(offsets[index] as isize);
            std::slice::from_raw_parts(start, length)
        };
        *plane = Some((bytes, stride));
    }
    let rows = Rows {
        width: frame.width.unsigned_abs(),
        first,
        count,
        format,
        placed,
        planes,
    };
    // SAFETY: `decode_with` lent the function for the time of this packet, and waits.
    unsafe { ready.as_mut()(rows) };
}

/// The bytes of a unit as libavcodec wants them: counted, and followed by zeros.
struct Unit {
    buffer: Buffer,
    length: usize,
}

impl Unit {
    fn new(bytes: usize) -> Option<Self> {
        let buffer = Buffer::allocated(bytes.checked_add(PADDING)?)?;
        Some(Self { buffer, length: 0 })
    }

    /// Holds the parts one after another, in the same memory as before if nobody else reads it.
    fn fill(&mut self, parts: &[&[u8]]) -> Option<()> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.buffer.is_shared() || length + PADDING > self.buffer.raw().size {
            *self = Self::new(length.next_power_of_two())?;
        }
        let mut end = self.buffer.raw().data;
        for part in parts {
            // SAFETY: the parts and the padding fit, by the length above; the memory is ours
            // alone, so no part overlaps it.
            unsafe {
                ptr::copy_nonoverlapping(part.as_ptr(), end, part.len());
                end = end.add(part.len());
            }
        }
        // SAFETY: as above.
        unsafe { ptr::write_bytes(end, 0, PADDING) };
        self.length = length;
        Some(())
    }
}

struct RawPacket(NonNull<sys::AVPacket>);

// SAFETY: the structure belongs to this value alone.
unsafe impl Send for RawPacket {}

impl Drop for RawPacket {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: ours alone, freed only here.
        unsafe { sys::av_packet_free(&mut raw) };
    }
}

struct RawFrame(NonNull<sys::AVFrame>);

// SAFETY: the structure belongs to this value alone.
unsafe impl Send for RawFrame {}

impl Drop for RawFrame {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        // SAFETY: ours alone, freed only here.
        unsafe { sys::av_frame_free(&mut raw) };
    }
}

/// A decoder whose caller knows where pictures begin, which are shown, and when.
pub struct AccessUnitDecoder {
    /// Dropped before the allocator, which it points to.
    context: CodecContext,
    allocator: Arc<Allocator>,
    subject: Arc<str>,
    unit: Unit,
    packet: RawPacket,
    output: RawFrame,
    /// Whether a unit can be one field of two.
    fields: bool,
    /// The picture of the last unit.
    target: Option<Allocated>,
}

/// What became of an access unit.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The unit's picture. When its [`Picture::unit`] is an earlier one, this unit was taken for
    /// the second field of that. `None` when the unit had nothing to decode.
    pub picture: Option<Picture<'a>>,
    /// What libavcodec complained of, if it did: then some samples are guessed.
    pub damage: Option<String>,
    /// Pictures that libavcodec made up, without a complaint, because they were not there: for
    /// H.264 those that a gap in `frame_num` skips, which is as it should be if the sequence allows
    /// gaps, else references are missing; for MPEG-2 references of which it may be that none is
    /// used.
    pub stand_ins: u32,
}

/// A decoded picture, as it is until the next unit.
#[derive(Clone, Copy)]
pub struct Picture<'a>(&'a Allocated);

impl AccessUnitDecoder {
    /// Opens FFmpeg's own software decoder, without threads.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`] when this FFmpeg has none.
    pub fn open(codec: StatelessCodec, limits: AccessUnitLimits) -> Result<Self> {
        log::clear();
        let row = codec.row();
        let subject: Arc<str> = format!("{} access unit", row.name).into();
        let out = || out_of_memory(&subject, "opening the decoder");
        // SAFETY: a look-up by a zero-ended string.
        let found = unsafe { sys::avcodec_find_decoder_by_name(row.decoder.as_ptr()) };
        // SAFETY: null or a constant of the library.
        let allocates_here = unsafe { found.as_ref() }
            .is_some_and(|found| found.capabilities & sys::AV_CODEC_CAP_DR1 as c_int != 0);
        if !allocates_here {
            return Err(Error::UnsupportedCodec {
                file: Arc::clone(&subject),
                codec: row.name.to_owned(),
            });
        }
        // SAFETY: the codec was found in the library.
        let mut context = unsafe { CodecContext::new(found, &subject)? };
        let allocator = Arc::new(Allocator {
            pool: Arc::new(Pool {
                limits,
                state: Mutex::default(),
            }),
            target: row.target,
            places: row.places,
            state: Mutex::default(),
        });
        let raw = context.raw_mut();
        raw.opaque = Arc::as_ptr(&allocator).cast_mut().cast();
        raw.get_buffer2 = Some(get_buffer);
        raw.thread_count = 1;
        raw.apply_cropping = 0;
        raw.max_pixels = i64::from(limits.max_width) * i64::from(limits.max_height);
        // SAFETY: the context was made for this codec and is not open yet.
        let code = unsafe { sys::avcodec_open2(context.as_mut_ptr(), found, ptr::null_mut()) };
        if code < 0 {
            return Err(libav(&subject, "opening the decoder", code));
        }
        // SAFETY: both allocate; null is filtered.
        let (packet, output) = unsafe { (sys::av_packet_alloc(), sys::av_frame_alloc()) };
        Ok(Self {
            context,
            allocator,
            unit: Unit::new(1 << 16).ok_or_else(out)?,
            packet: NonNull::new(packet).map(RawPacket).ok_or_else(out)?,
            output: NonNull::new(output).map(RawFrame).ok_or_else(out)?,
            subject,
            fields: row.fields,
            target: None,
        })
    }

    /// Decodes one access unit, given in as many parts as it lies in: a picture with everything
    /// before it that belongs to it, or one field of a picture. `id` names the unit in
    /// [`Picture::unit`] and [`AccessUnitDecoder::holds`].
    ///
    /// # Errors
    /// When libavcodec refuses the unit, a limit is reached or memory is short; the decoder can go
    /// on with the next unit, whose references may be missing.
    pub fn decode(&mut self, parts: &[&[u8]], id: u64) -> Result<Decoded<'_>> {
        self.run(parts, id, Destination::Own, None)
    }

    /// As [`AccessUnitDecoder::decode`], and hands out rows as soon as they are finished, while
    /// they are in the processor's caches; of two fields with the second. Rows that change later
    /// come again, others may not come at all; codecs but H.264 and MPEG-2 hand out none. What was
    /// handed out may be missing in the picture: see [`Picture::is_whole`]. Fields that lack
    /// macroblocks are noticed here only.
    ///
    /// Luma is decoded into a [`Place`] if libavcodec can, which [`Picture::is_placed`] tells; a place
    /// is for frames, not for fields.
    ///
    /// # Errors
    /// As [`AccessUnitDecoder::decode`].
    pub fn decode_with(
        &mut self,
        parts: &[&[u8]],
        id: u64,
        destination: Destination,
        ready: &mut dyn FnMut(Rows<'_>),
    ) -> Result<Decoded<'_>> {
        let ready = ptr::from_mut(ready);
        // SAFETY: only the lifetime changes: `run` forgets the function before it returns.
        let ready: *mut (dyn FnMut(Rows<'_>) + 'static) = unsafe { std::mem::transmute(ready) };
        self.run(parts, id, destination, NonNull::new(ready).map(Ready))
    }

    fn run(
        &mut self,
        parts: &[&[u8]],
        id: u64,
        destination: Destination,
        ready: Option<Ready>,
    ) -> Result<Decoded<'_>> {
        log::clear();
        let (continued, place) = match destination {
            Destination::Own => (false, None),
            Destination::Place(place) => (false, Some(place)),
            Destination::Continued => (true, None),
        };
        *self.allocator.lock() = AllocatorState {
            unit: id,
            continued,
            place,
            ready,
            ..AllocatorState::default()
        };
        self.context.raw_mut().draw_horiz_band = if ready.is_some() { Some(draw) } else { None };
        self.context.raw_mut().slice_flags =
            sys::SLICE_FLAG_CODED_ORDER | sys::SLICE_FLAG_ALLOW_FIELD;
        if self.unit.fill(parts).is_none() {
            self.target = None;
            return Err(out_of_memory(&self.subject, "decoding"));
        }
        let outcome = self.consume();
        let height = u32::try_from(self.context.raw().height).unwrap_or(0);
        let AllocatorState {
            target: allocated,
            allocated: count,
            drawn,
            exhausted,
            ..
        } = std::mem::take(&mut *self.allocator.lock());
        if let Err(code) = outcome {
            self.target = None;
            return Err(self.failure(id, code, exhausted));
        }
        let stand_ins = count - u32::from(allocated.is_some());
        self.target = match (allocated, self.target.take()) {
            (Some(allocated), _) => Some(allocated),
            (None, Some(first)) if self.fields && !first.continued => Some(Allocated {
                continued: true,
                ..first
            }),
            (None, _) => None,
        };
        if let Some(target) = &mut self.target {
            target.whole &= !drawn.elsewhere;
        }
        let mut lines = log::take();
        if drawn.lacks_rows(height) {
            lines.push("rows of a field are missing".to_owned());
        }
        Ok(Decoded {
            picture: self.target.as_ref().map(Picture),
            damage: (!lines.is_empty()).then(|| lines.join("; ")),
            stand_ins,
        })
    }

    /// Hands the unit to libavcodec and drains what it shows, until it wants the next.
    fn consume(&mut self) -> std::result::Result<(), c_int> {
        let (context, packet) = (self.context.as_mut_ptr(), self.packet.0.as_ptr());
        let output = self.output.0.as_ptr();
        let unit = self.unit.buffer.raw();
        let size = c_int::try_from(self.unit.length).map_err(|_| sys::AVERROR(libc::EINVAL))?;
        // SAFETY: the packet is live and empty; it takes its own reference to the unit's bytes,
        // which are followed by padding, and gives it up again. The context is open.
        let mut first = unsafe {
            (*packet).buf = sys::av_buffer_ref(unit);
            (*packet).data = unit.data;
            (*packet).size = size;
            let code = sys::avcodec_send_packet(context, packet);
            sys::av_packet_unref(packet);
            code
        };
        for _ in 0..MAX_OUTPUTS {
            // SAFETY: the context is open and the frame is live and, here, empty.
            let code = unsafe { sys::avcodec_receive_frame(context, output) };
            // SAFETY: as above; gives up the frame's references.
            unsafe { sys::av_frame_unref(output) };
            if code == sys::AVERROR(libc::EAGAIN) {
                break;
            }
            first = first.min(code);
        }
        if first < 0 { Err(first) } else { Ok(()) }
    }

    fn failure(&self, id: u64, code: c_int, exhausted: bool) -> Error {
        let subject: Arc<str> = format!("{} {id}", self.subject).into();
        let limits = self.allocator.pool.limits;
        if exhausted {
            let AccessUnitLimits {
                max_pictures,
                max_bytes,
                ..
            } = limits;
            let reason =
                format!("no picture memory left: {max_pictures} pictures or {max_bytes} bytes");
            return plain(&subject, "decoding", reason);
        }
        libav(&subject, "decoding", code)
    }

    /// Forgets all pictures, as before a stream that begins anew.
    pub fn flush(&mut self) {
        self.target = None;
        // SAFETY: the context is open.
        unsafe { sys::avcodec_flush_buffers(self.context.as_mut_ptr()) };
    }

    /// Whether the picture that was allocated for a unit is still there: libavcodec keeps at least
    /// its references, and may keep what it has not shown yet.
    pub fn holds(&self, unit: u64) -> bool {
        self.allocator.pool.lock().used.contains(&unit)
    }

    /// Bytes held for pictures, in use or kept for use, and for the unit. libavcodec's tables come
    /// on top: less than half of one picture for each picture.
    pub fn memory(&self) -> usize {
        self.allocator.pool.lock().bytes + self.unit.buffer.raw().size
    }
}

impl fmt::Debug for AccessUnitDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessUnitDecoder")
            .field("subject", &self.subject)
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// Rows of a picture, one below the other.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    width: u32,
    first: u32,
    count: u32,
    format: PixelFormat,
    placed: bool,
    planes: [Option<(&'a [u8], usize)>; 3],
}

impl<'a> Rows<'a> {
    /// Luma columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The first luma row's place in the picture.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Luma rows.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How samples lie in the planes.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Whether their luma is in the caller's [`Place`]; it is no plane then.
    pub fn is_placed(&self) -> bool {
        self.placed
    }

    /// The bytes of these rows of a plane, to the end of the last, and its stride in bytes.
    pub fn plane(&self, plane: usize) -> Option<(&'a [u8], usize)> {
        *self.planes.get(plane)?
    }
}

impl<'a> Picture<'a> {
    /// The rows from `first` to the last; an even number, because two rows share their chroma.
    pub fn rows_from(self, first: u32) -> Rows<'a> {
        let (_, chroma_y) = self.format().chroma_shift();
        let from = |plane: usize| {
            let (bytes, stride) = self.plane(plane)?;
            let shift = if plane > 0 { chroma_y } else { 0 };
            Some((bytes.get((first as usize >> shift) * stride..)?, stride))
        };
        Rows {
            width: self.width(),
            first,
            count: self.height().saturating_sub(first),
            format: self.format(),
            placed: self.is_placed(),
            planes: [from(0), from(1), from(2)],
        }
    }

    /// The unit that this picture was allocated for.
    pub fn unit(self) -> u64 {
        self.0.unit
    }

    /// Luma columns that were decoded: for H.264 without its cropping.
    pub fn width(self) -> u32 {
        self.0.shape.width
    }

    /// Luma rows that were decoded.
    pub fn height(self) -> u32 {
        self.0.shape.height
    }

    /// Luma columns that are meant to be shown. Where they begin is in the sequence's headers.
    pub fn visible_width(self) -> u32 {
        self.0.shape.visible_width
    }

    /// Luma rows that are meant to be shown.
    pub fn visible_height(self) -> u32 {
        self.0.shape.visible_height
    }

    /// Whether all rows are there: not those that were handed out as they were finished, and whose
    /// place libavcodec used again.
    pub fn is_whole(self) -> bool {
        self.0.whole
    }

    /// Whether its luma is in the [`Place`] that was given for it; it is no plane then.
    pub fn is_placed(self) -> bool {
        self.0.placed
    }

    /// How samples lie in the planes.
    pub fn format(self) -> PixelFormat {
        self.0.shape.format
    }

    /// The bytes of a plane, first row to the end of the last, and its stride in bytes.
    pub fn plane(self, plane: usize) -> Option<(&'a [u8], usize)> {
        let Allocated { buffer, shape, .. } = self.0;
        let plane = shape
            .planes
            .get(plane)
            .filter(|_| plane > 0 || !self.is_placed())?;
        let length = plane.stride * plane.rows.checked_sub(1)? + plane.row_bytes;
        // SAFETY: the plane lies inside the memory of the buffer, which is initialised. The
        // picture borrows the decoder, so nothing writes to it meanwhile.
        let bytes =
            unsafe { std::slice::from_raw_parts(buffer.raw().data.add(plane.offset), length) };
        Some((bytes, plane.stride))
    }
}

impl fmt::Debug for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picture")
            .field("unit", &self.unit())
            .field("width", &self.width())
            .field("height", &self.height())
            .field("format", &self.format())
            .finish_non_exhaustive()
    }
}
