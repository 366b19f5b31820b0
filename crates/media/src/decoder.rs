//! Packets in, frames out.
//!
//! After each `send`, call `receive` until it gives nothing; after the last packet `send(None)`
//! and drain. Frames are counted references into the decoder's pool: keep few, or copy.

use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::context::CodecContext;
use crate::error::{Error, Result, code_text, libav, message};
use crate::frame::Frame;
use crate::input::Limits;
use crate::log;
use crate::packet::{Packet, ticks};
use crate::rational::Rational;
use crate::stream::Stream;

/// A decoder for one stream.
pub struct Decoder {
    context: CodecContext,
    file: Arc<str>,
    limits: Limits,
    time_base: Rational,
}

impl Decoder {
    /// Opens FFmpeg's preferred software decoder for the stream. `threads` 0 means one per core,
    /// 1 none beside the caller's.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`] when this FFmpeg cannot decode it.
    pub fn open(stream: &Stream, threads: u32) -> Result<Self> {
        log::clear();
        let parameters = &stream.parameters;
        let file = Arc::clone(&parameters.subject);
        // SAFETY: a look-up by value.
        let codec = unsafe { sys::avcodec_find_decoder(parameters.raw().codec_id) };
        if codec.is_null() {
            let codec = parameters.codec().to_owned();
            return Err(Error::UnsupportedCodec { file, codec });
        }
        // SAFETY: the codec was found in the library.
        let mut context = unsafe { CodecContext::new(codec, &file)? };
        // SAFETY: both ends are live; the context copies what it keeps.
        let code = unsafe {
            sys::avcodec_parameters_to_context(context.as_mut_ptr(), parameters.as_ptr())
        };
        if code < 0 {
            return Err(libav(&file, "opening the decoder", code));
        }
        let limits = parameters.limits;
        let raw = context.raw_mut();
        raw.pkt_timebase = stream.time_base.raw();
        raw.thread_count = i32::try_from(threads).unwrap_or(0);
        raw.max_pixels = i64::try_from(limits.max_pixels).unwrap_or(i64::MAX);
        // SAFETY: the context was made for this codec and is not open yet.
        let code = unsafe { sys::avcodec_open2(context.as_mut_ptr(), codec, std::ptr::null_mut()) };
        if code < 0 {
            return Err(libav(&file, "opening the decoder", code));
        }
        Ok(Self {
            context,
            file,
            limits,
            time_base: stream.time_base,
        })
    }

    /// The unit of the frames' times: the stream's.
    pub fn time_base(&self) -> Rational {
        self.time_base
    }

    /// Gives the decoder a packet, or says with `None` that no more will come.
    ///
    /// # Errors
    /// [`Error::Truncated`] for a damaged packet: the decoder can go on with the next one.
    /// [`Error::TooLarge`] for a picture beyond the input's limits.
    pub fn send(&mut self, packet: Option<&Packet>) -> Result<()> {
        log::clear();
        let packet = packet.map_or(std::ptr::null(), Packet::as_ptr);
        // SAFETY: the context is open; the packet is live or null and only read.
        let code = unsafe { sys::avcodec_send_packet(self.context.as_mut_ptr(), packet) };
        match code {
            0.. | sys::AVERROR_EOF => Ok(()),
            code => Err(self.failure(code)),
        }
    }

    /// The next finished frame; `None` when it needs more packets, or after the last frame.
    ///
    /// # Errors
    /// As [`Decoder::send`].
    pub fn receive(&mut self) -> Result<Option<Frame>> {
        let mut frame = Frame::empty()?;
        // SAFETY: the context is open and the frame is live and empty.
        let code =
            unsafe { sys::avcodec_receive_frame(self.context.as_mut_ptr(), frame.as_mut_ptr()) };
        if code == sys::AVERROR(libc::EAGAIN) || code == sys::AVERROR_EOF {
            return Ok(None);
        }
        if code < 0 {
            return Err(self.failure(code));
        }
        self.limits
            .check(&self.file, frame.width(), frame.height())?;
        let best = ticks(frame.raw().best_effort_timestamp);
        frame.set_pts(best);
        Ok(Some(frame))
    }

    /// Forgets all state, as is needed after a seek and to decode on after the end.
    pub fn flush(&mut self) {
        // SAFETY: the context is open.
        unsafe { sys::avcodec_flush_buffers(self.context.as_mut_ptr()) };
    }

    fn failure(&self, code: i32) -> Error {
        let lines = log::peek();
        if let Some(error) = self.limits.exceeded_in_log(&self.file, &lines) {
            return error;
        }
        if code == sys::AVERROR_INVALIDDATA {
            let message = if lines.is_empty() {
                code_text(code)
            } else {
                lines.join("; ")
            };
            return Error::Truncated {
                file: Arc::clone(&self.file),
                message,
            };
        }
        Error::Libav {
            subject: Arc::clone(&self.file),
            operation: "decoding",
            message: message(code),
        }
    }
}
