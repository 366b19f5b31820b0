//! Recycled picture memory: at full speed nothing is allocated per picture.

use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::error::{Result, libav, out_of_memory, plain};
use crate::format::PixelFormat;
use crate::frame::Frame;

/// Rows start at multiples of this, as the widest vector instructions like.
const ALIGNMENT: usize = 64;

/// Pictures of one size and format. Those in use outlive the pool; libav counts.
pub struct FramePool {
    pool: *mut sys::AVBufferPool,
    strides: [i32; 4],
    /// Rows allocated, more than the picture has.
    rows: u32,
    width: u32,
    height: u32,
    format: PixelFormat,
    subject: Arc<str>,
}

// SAFETY: libav's pools are guarded by their own lock; the rest is plain data.
unsafe impl Send for FramePool {}
// SAFETY: through a shared reference pictures are only taken, which libav's lock guards.
unsafe impl Sync for FramePool {}

impl FramePool {
    /// A pool that holds nothing yet.
    ///
    /// # Errors
    /// [`Error::Libav`](crate::Error::Libav) for sizes that cannot be.
    pub fn new(width: u32, height: u32, format: PixelFormat) -> Result<Self> {
        let subject: Arc<str> = format!("{width}x{height} {}", format.name()).into();
        let too_large = || plain(&subject, "allocating pictures", "picture too large");
        let columns = (width as usize).next_multiple_of(ALIGNMENT);
        let columns = i32::try_from(columns).map_err(|_| too_large())?;
        let mut strides = [0; 4];
        // SAFETY: four writable values, as the function fills.
        let code =
            unsafe { sys::av_image_fill_linesizes(strides.as_mut_ptr(), format.raw(), columns) };
        if code < 0 {
            return Err(libav(&subject, "allocating pictures", code));
        }
        for stride in &mut strides {
            *stride = (*stride as usize).next_multiple_of(ALIGNMENT) as i32;
        }
        // Vector code writes whole blocks of rows; two more rows keep that inside.
        let rows = height.next_multiple_of(2) + 2;
        let size = layout(&strides, format, rows, ptr::null_mut())
            .ok_or_else(too_large)?
            .1;
        // Cleared when it is allocated, so that recycled memory always was written.
        let allocate = Some(sys::av_buffer_allocz as unsafe extern "C" fn(_) -> _);
        // SAFETY: allocates nothing but the pool; null is checked. The allocator is libav's own.
        let pool = unsafe { sys::av_buffer_pool_init(size + ALIGNMENT, allocate) };
        if pool.is_null() {
            return Err(out_of_memory(&subject, "allocating pictures"));
        }
        Ok(Self {
            pool,
            strides,
            rows,
            width,
            height,
            format,
            subject,
        })
    }

    /// A picture with planes of its own, whose samples are whatever the last one's were.
    pub fn frame(&self) -> Result<Frame> {
        let mut frame = Frame::empty()?;
        // SAFETY: the pool is live; null is checked, and the reference passes to the frame.
        let buffer = unsafe { sys::av_buffer_pool_get(self.pool) };
        if buffer.is_null() {
            return Err(out_of_memory(&self.subject, "allocating a picture"));
        }
        let raw = frame.raw_mut();
        raw.buf[0] = buffer;
        raw.width = self.width as i32;
        raw.height = self.height as i32;
        raw.format = self.format.0;
        // SAFETY: the buffer reference is live.
        let base = unsafe { (*buffer).data };
        let (planes, _) = layout(&self.strides, self.format, self.rows, base)
            .ok_or_else(|| plain(&self.subject, "allocating a picture", "picture too large"))?;
        raw.data[..4].copy_from_slice(&planes);
        raw.linesize[..4].copy_from_slice(&self.strides);
        raw.extended_data = raw.data.as_mut_ptr();
        Ok(frame)
    }
}

/// Where the planes of a picture lie from `base` on, and the bytes they take.
fn layout(
    strides: &[i32; 4],
    format: PixelFormat,
    rows: u32,
    base: *mut u8,
) -> Option<([*mut u8; 4], usize)> {
    let mut planes = [ptr::null_mut(); 4];
    let rows = i32::try_from(rows).ok()?;
    // SAFETY: four writable pointers and four readable strides; with a null base the pointers
    // stay null and only the size is computed.
    let size = unsafe {
        sys::av_image_fill_pointers(
            planes.as_mut_ptr(),
            format.raw(),
            rows,
            base,
            strides.as_ptr(),
        )
    };
    Some((planes, usize::try_from(size).ok()?))
}

impl Drop for FramePool {
    fn drop(&mut self) {
        // SAFETY: ours alone, given up only here; buffers still in use keep the memory alive.
        unsafe { sys::av_buffer_pool_uninit(&mut self.pool) };
    }
}

impl std::fmt::Debug for FramePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FramePool").field(&self.subject).finish()
    }
}
