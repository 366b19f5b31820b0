//! Packets into container bytes in memory: one muxer per segment.
//!
//! Where the bytes go, and when a segment ends, is the caller's to decide. Packets may come in any
//! order between streams (but in decode order within one); they are interleaved here.

use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::codec::Parameters;
use crate::dictionary::Dictionary;
use crate::error::{Result, libav, out_of_memory, plain};
use crate::log;
use crate::packet::Packet;
use crate::rational::Rational;
use crate::stream::Stream;

const BUFFER_BYTES: c_int = 64 * 1024;

/// A stream to be muxed: an encoder's output, or an input's stream copied.
#[derive(Clone, Debug)]
pub struct MuxerStream {
    /// What the codec needs to be known beforehand.
    pub parameters: Parameters,
    /// The wished unit of timestamps; a container may choose another.
    pub time_base: Rational,
    /// Shown frames per second, where the container writes it.
    pub frame_rate: Option<Rational>,
}

impl From<&Stream> for MuxerStream {
    fn from(stream: &Stream) -> Self {
        Self {
            parameters: stream.parameters.clone(),
            time_base: stream.time_base,
            frame_rate: stream.frame_rate(),
        }
    }
}

/// A container being written to memory.
pub struct Muxer {
    /// Dropped before `output`, which it writes to.
    context: Context,
    output: Output,
    time_bases: Vec<Rational>,
    subject: Arc<str>,
}

// SAFETY: context and output belong to this value alone; libav keeps no thread for a muxer.
unsafe impl Send for Muxer {}

struct Context(*mut sys::AVFormatContext);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here; null is allowed. The byte sink is its owner's.
        unsafe { sys::avformat_free_context(self.0) };
    }
}

impl Muxer {
    /// Opens FFmpeg's muxer `format` ("mpegts", "mp4") and writes its header. `options` are the
    /// muxer's and libavformat's own ("movflags", "avoid_negative_ts", …).
    ///
    /// # Errors
    /// [`Error::Libav`](crate::Error::Libav) for an unknown muxer or option, or for a codec that
    /// the container cannot hold.
    pub fn memory(format: &str, streams: &[MuxerStream], options: &[(&str, &str)]) -> Result<Self> {
        log::clear();
        let subject: Arc<str> = format!("{format} muxer").into();
        let name = CString::new(format).unwrap_or_default();
        let mut context = Context(ptr::null_mut());
        // SAFETY: the name is a zero-ended string; on success the context is ours.
        let code = unsafe {
            sys::avformat_alloc_output_context2(
                &mut context.0,
                ptr::null(),
                name.as_ptr(),
                ptr::null(),
            )
        };
        if code < 0 || context.0.is_null() {
            return Err(libav(&subject, "opening", code));
        }
        let output = Output::new(&subject)?;
        // SAFETY: the context is live; it is told that the sink is not its own to close.
        unsafe {
            (*context.0).pb = output.context;
            (*context.0).flags |= sys::AVFMT_FLAG_CUSTOM_IO;
        }
        for stream in streams {
            add_stream(&context, stream, &subject)?;
        }
        let mut dictionary = Dictionary::from_pairs(options.iter().copied());
        // SAFETY: the context is live with all its streams; what libav knows is taken from the
        // dictionary.
        let code = unsafe { sys::avformat_write_header(context.0, dictionary.as_mut_ptr()) };
        if code < 0 {
            return Err(libav(&subject, "writing the header", code));
        }
        if let Some(option) = dictionary.first_key() {
            return Err(plain(
                &subject,
                "opening",
                format!("unknown option {option}"),
            ));
        }
        // The header may have changed the streams' time bases.
        let time_bases = (0..streams.len())
            // SAFETY: the context is live and has exactly the streams added above.
            .map(|index| unsafe {
                Rational::from_raw((**(*context.0).streams.add(index)).time_base)
            })
            .collect();
        Ok(Self {
            context,
            output,
            time_bases,
            subject,
        })
    }

    /// Takes a packet; its [`Packet::stream`] names one of the streams given at opening.
    pub fn write(&mut self, packet: &Packet) -> Result<()> {
        log::clear();
        let mut packet = packet.clone();
        let Some(&time_base) = self.time_bases.get(packet.stream()) else {
            return Err(plain(
                &self.subject,
                "writing",
                "the packet's stream does not exist",
            ));
        };
        packet.rescale(time_base);
        // SAFETY: the header is written; libav takes over the packet's reference and leaves an
        // empty packet.
        let code = unsafe { sys::av_interleaved_write_frame(self.context.0, packet.as_mut_ptr()) };
        if code < 0 {
            return Err(libav(&self.subject, "writing", code));
        }
        Ok(())
    }

    /// Ends the interleaving so far (and, with `frag_custom`, the fragment) and gives the bytes
    /// written since the last call.
    pub fn flush(&mut self) -> Result<Vec<u8>> {
        log::clear();
        // SAFETY: the header is written; null asks to flush.
        let code = unsafe {
            match sys::av_interleaved_write_frame(self.context.0, ptr::null_mut()) {
                0.. => sys::av_write_frame(self.context.0, ptr::null_mut()),
                code => code,
            }
        };
        if code < 0 {
            return Err(libav(&self.subject, "flushing", code));
        }
        Ok(self.take())
    }

    /// The bytes written since the last call, without flushing anything held back. Right after
    /// opening this is the header: for fragmented MP4 with `empty_moov` the init section.
    pub fn take(&mut self) -> Vec<u8> {
        self.output.take()
    }

    /// Writes what is held back and the trailer; gives the bytes since the last call.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        log::clear();
        // SAFETY: the header is written and the trailer is written once, as `self` ends here.
        let code = unsafe { sys::av_write_trailer(self.context.0) };
        if code < 0 {
            return Err(libav(&self.subject, "writing the trailer", code));
        }
        Ok(self.take())
    }
}

fn add_stream(context: &Context, stream: &MuxerStream, subject: &Arc<str>) -> Result<()> {
    let mut parameters = stream.parameters.clone();
    parameters.clear_tag();
    // SAFETY: the context is live; a new stream has parameters of its own to copy into.
    unsafe {
        let raw = sys::avformat_new_stream(context.0, ptr::null());
        if raw.is_null() || sys::avcodec_parameters_copy((*raw).codecpar, parameters.as_ptr()) < 0 {
            return Err(out_of_memory(subject, "adding a stream"));
        }
        (*raw).time_base = stream.time_base.raw();
        if let Some(rate) = stream.frame_rate {
            (*raw).avg_frame_rate = rate.raw();
        }
        (*raw).sample_aspect_ratio = (*(*raw).codecpar).sample_aspect_ratio;
    }
    Ok(())
}

/// libav's writer over a growing vector.
struct Output {
    context: *mut sys::AVIOContext,
    /// From a box, so that its address is fixed while libav holds it; freed after `context`.
    bytes: *mut Vec<u8>,
}

impl Output {
    fn new(subject: &Arc<str>) -> Result<Self> {
        let bytes = Box::into_raw(Box::<Vec<u8>>::default());
        let mut output = Self {
            context: ptr::null_mut(),
            bytes,
        };
        // SAFETY: allocates; null is checked before use. The buffer passes to the context.
        unsafe {
            let buffer = sys::av_malloc(BUFFER_BYTES as usize);
            if !buffer.is_null() {
                output.context = sys::avio_alloc_context(
                    buffer.cast(),
                    BUFFER_BYTES,
                    1,
                    bytes.cast(),
                    None,
                    Some(write_packet),
                    None,
                );
            }
            if output.context.is_null() {
                sys::av_free(buffer);
                return Err(out_of_memory(subject, "allocating a write buffer"));
            }
        }
        Ok(output)
    }

    fn take(&mut self) -> Vec<u8> {
        // SAFETY: the context is live; after the flush nothing writes to the vector until the
        // next call into libav, so it can be taken.
        unsafe {
            sys::avio_flush(self.context);
            std::mem::take(&mut *self.bytes)
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: both are ours alone and freed only here; the context's own buffer pointer is
        // the current one. Nothing calls back any more.
        unsafe {
            if !self.context.is_null() {
                sys::av_freep((&raw mut (*self.context).buffer).cast());
                sys::avio_context_free(&mut self.context);
            }
            drop(Box::from_raw(self.bytes));
        }
    }
}

/// FFmpeg 7 made the callback's bytes constant.
#[cfg(ffmpeg_7_0)]
type Written = *const u8;
#[cfg(not(ffmpeg_7_0))]
type Written = *mut u8;

/// libav gives bytes.
unsafe extern "C" fn write_packet(opaque: *mut c_void, data: Written, size: c_int) -> c_int {
    let Ok(length) = usize::try_from(size) else {
        return sys::AVERROR(libc::EINVAL);
    };
    // SAFETY: `opaque` is the vector given to the context, used by this call alone; libav gives
    // `size` readable bytes.
    unsafe {
        let bytes = &mut *opaque.cast::<Vec<u8>>();
        if bytes.try_reserve(length).is_err() {
            return sys::AVERROR(libc::ENOMEM);
        }
        if length > 0 {
            bytes.extend_from_slice(std::slice::from_raw_parts(data, length));
        }
    }
    size
}
