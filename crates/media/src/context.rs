//! The codec context of libavcodec, owned: what decoders and encoders open and free.

use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::error::{Result, out_of_memory};

/// An owned codec context of either direction.
pub(crate) struct CodecContext(*mut sys::AVCodecContext);

// SAFETY: the context belongs to this value alone and may be used from any one thread at a time;
// libav's codecs keep their own worker threads behind it.
unsafe impl Send for CodecContext {}

impl CodecContext {
    /// # Safety
    /// `codec` must be a codec of the library.
    pub unsafe fn new(codec: *const sys::AVCodec, subject: &Arc<str>) -> Result<Self> {
        // SAFETY: allocates for a codec that the caller vouches for; null is checked.
        let raw = unsafe { sys::avcodec_alloc_context3(codec) };
        if raw.is_null() {
            return Err(out_of_memory(subject, "allocating a codec"));
        }
        Ok(Self(raw))
    }

    pub fn as_mut_ptr(&mut self) -> *mut sys::AVCodecContext {
        self.0
    }

    pub fn raw(&self) -> &sys::AVCodecContext {
        // SAFETY: never null; changed only through `&mut self`.
        unsafe { &*self.0 }
    }

    pub fn raw_mut(&mut self) -> &mut sys::AVCodecContext {
        // SAFETY: never null, and `self` is borrowed exclusively.
        unsafe { &mut *self.0 }
    }
}

impl Drop for CodecContext {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here; this ends the codec's worker threads.
        unsafe { sys::avcodec_free_context(&mut self.0) };
    }
}
