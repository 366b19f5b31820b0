//! A codec's headers read without decoding a picture.
//!
//! libavformat learns pixel format, profile and colour of H.264 and HEVC by decoding the first
//! picture, which is most of a probe's time. Where the container's index says where that picture
//! lies, a decoder here is given it and stopped as soon as it asks for memory for the samples: by
//! then it has activated the parameter sets and told its context everything.

use std::ffi::c_int;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::codec::UNKNOWN;
use crate::context::CodecContext;
use crate::input::Limits;
use crate::packet::Packet;
use crate::rational::Rational;

/// Larger first pictures are left to libavformat.
pub(crate) const MAX_SAMPLE_BYTES: usize = 8 << 20;

/// Where the first coded picture of a stream lies in the file, for codecs that this can read.
pub(crate) fn first_sample(stream: &sys::AVStream) -> Option<(u64, usize)> {
    // SAFETY: a live stream has parameters; an index entry lives as long as the stream.
    let (parameters, entry) = unsafe {
        let stream: *const sys::AVStream = stream;
        let entry = sys::avformat_index_get_entry(stream.cast_mut(), 0);
        ((*stream).codecpar.as_ref()?, entry.as_ref()?)
    };
    let readable = matches!(
        parameters.codec_id,
        sys::AVCodecID::H264 | sys::AVCodecID::HEVC
    );
    if !readable || parameters.extradata_size <= 0 || parameters.format >= 0 {
        return None;
    }
    let size = usize::try_from(entry.size()).ok()?;
    let position = u64::try_from(entry.pos).ok()?;
    (1..=MAX_SAMPLE_BYTES)
        .contains(&size)
        .then_some((position, size))
}

/// Completes `parameters` from the headers of a first coded picture; false if they do not say.
///
/// # Safety
/// `parameters` must be live and used by nobody else during the call.
pub(crate) unsafe fn complete(
    parameters: *mut sys::AVCodecParameters,
    sample: &[u8],
    limits: Limits,
) -> bool {
    let subject: Arc<str> = Arc::from("headers");
    let Ok(packet) = Packet::from_data(sample, Rational::ONE) else {
        return false;
    };
    // SAFETY: the caller vouches for the parameters; the codec is a constant of the library or
    // null, which is checked; the context is configured before it is opened and then given a live
    // packet.
    unsafe {
        let codec = sys::avcodec_find_decoder((*parameters).codec_id);
        if codec.is_null() {
            return false;
        }
        let Ok(mut context) = CodecContext::new(codec, &subject) else {
            return false;
        };
        if sys::avcodec_parameters_to_context(context.as_mut_ptr(), parameters) < 0 {
            return false;
        }
        let raw = context.raw_mut();
        raw.thread_count = 1;
        raw.max_pixels = i64::try_from(limits.max_pixels).unwrap_or(i64::MAX);
        raw.get_buffer2 = Some(refuse_buffer);
        if sys::avcodec_open2(context.as_mut_ptr(), codec, std::ptr::null_mut()) < 0 {
            return false;
        }
        // It fails by design; what counts is what the context knows afterwards.
        sys::avcodec_send_packet(context.as_mut_ptr(), packet.as_ptr());
        take(&mut *parameters, context.raw())
    }
}

fn take(parameters: &mut sys::AVCodecParameters, context: &sys::AVCodecContext) -> bool {
    let known = context.pix_fmt != sys::AVPixelFormat::NONE
        && context.profile != UNKNOWN
        && context.width > 0
        && context.height > 0;
    if known {
        parameters.format = context.pix_fmt.0;
        parameters.profile = context.profile;
        parameters.level = context.level;
        parameters.width = context.width;
        parameters.height = context.height;
        parameters.color_range = context.color_range;
        parameters.color_primaries = context.color_primaries;
        parameters.color_trc = context.color_trc;
        parameters.color_space = context.colorspace;
        parameters.chroma_location = context.chroma_sample_location;
        parameters.bits_per_raw_sample = context.bits_per_raw_sample;
        parameters.sample_aspect_ratio = context.sample_aspect_ratio;
        parameters.video_delay = parameters.video_delay.max(context.has_b_frames);
    }
    known
}

/// A decoder wants memory for a picture: it has read the headers, and is stopped.
unsafe extern "C" fn refuse_buffer(
    _context: *mut sys::AVCodecContext,
    _frame: *mut sys::AVFrame,
    _flags: c_int,
) -> c_int {
    sys::AVERROR(libc::ENOMEM)
}
