//! One picture by itself: through filters, through an encoder.

use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::context::CodecContext;
use crate::encoder::{find, receive};
use crate::error::{Result, libav, plain};
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::graph::{Graph, VideoSource};
use crate::rational::Rational;

/// Encoders and filters want a clock, which one picture does not need.
const TIME_BASE: Rational = Rational::new(1, 25);

/// The picture that comes out of these filters.
pub(crate) fn filtered(mut frame: Frame, description: &str) -> Result<Frame> {
    frame.set_pts(Some(0));
    let source = VideoSource::of(&frame, TIME_BASE, None);
    let mut graph = Graph::video(description, &source)?;
    graph.push(Some(&frame))?;
    graph.push(None)?;
    let subject: Arc<str> = "picture".into();
    graph
        .pull()?
        .ok_or_else(|| plain(&subject, "filtering", "no picture came out"))
}

/// The picture by that encoder, the same bytes for the same picture. `quantiser` is in the encoder's
/// own scale, `set` is for what only it is told.
pub(crate) fn encoded(
    encoder: &str,
    frame: &Frame,
    quantiser: i32,
    set: impl FnOnce(&mut sys::AVCodecContext),
) -> Result<Vec<u8>> {
    let subject: Arc<str> = format!("{encoder} {}x{}", frame.width(), frame.height()).into();
    let codec = find(encoder, &subject)?;
    // SAFETY: the codec was found in the library.
    let mut context = unsafe { CodecContext::new(codec, &subject)? };
    let raw = context.raw_mut();
    raw.width = frame.raw().width;
    raw.height = frame.raw().height;
    raw.pix_fmt = PixelFormat(frame.raw().format).raw();
    raw.time_base = TIME_BASE.raw();
    raw.thread_count = 1;
    raw.flags |= sys::AV_CODEC_FLAG_BITEXACT as i32;
    raw.flags |= sys::AV_CODEC_FLAG_QSCALE as i32;
    raw.global_quality = quantiser * sys::FF_QP2LAMBDA;
    set(raw);
    // SAFETY: the context was made for this codec and is not open yet.
    let code = unsafe { sys::avcodec_open2(context.as_mut_ptr(), codec, ptr::null_mut()) };
    if code < 0 {
        return Err(libav(&subject, "opening the encoder", code));
    }
    let mut frame = frame.clone();
    frame.set_pts(Some(0));
    let raw = frame.raw_mut();
    raw.pict_type = sys::AVPictureType::NONE;
    raw.quality = quantiser * sys::FF_QP2LAMBDA;
    for input in [frame.as_ptr(), ptr::null()] {
        // SAFETY: the context is open; the frame is live or null and only read and referenced.
        let code = unsafe { sys::avcodec_send_frame(context.as_mut_ptr(), input) };
        if code < 0 {
            return Err(libav(&subject, "encoding", code));
        }
    }
    match receive(&mut context, TIME_BASE, &subject)? {
        Some(packet) => Ok(packet.data().to_vec()),
        None => Err(plain(&subject, "encoding", "no picture came out")),
    }
}
