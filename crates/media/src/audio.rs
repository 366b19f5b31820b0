//! Samples in, AAC out.
//!
//! Frames must hold exactly [`AudioEncoder::frame_size`] samples but for the last, as
//! [`Graph::audio`](crate::Graph::audio) gives them.

use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::context::CodecContext;
use crate::encoder::{extradata, find, muxer_stream, receive};
use crate::error::{Result, libav};
use crate::frame::Frame;
use crate::log;
use crate::muxer::MuxerStream;
use crate::packet::Packet;
use crate::rational::Rational;

/// What to encode to. `Default` is AAC, stereo, 48 kHz, 128 kbit/s.
#[derive(Clone, Debug)]
pub struct AudioEncoderOptions {
    /// FFmpeg's name; it must take planar float.
    pub encoder: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels, in the default layout of that number.
    pub channels: u32,
    /// Bits per second.
    pub bit_rate: u64,
    /// AudioSpecificConfig in [`AudioEncoder::extradata`]; the TS muxer needs it as well.
    pub global_header: bool,
}

impl Default for AudioEncoderOptions {
    fn default() -> Self {
        Self {
            encoder: "aac".to_owned(),
            sample_rate: 48_000,
            channels: 2,
            bit_rate: 128_000,
            global_header: true,
        }
    }
}

/// An audio encoder. Its time base is one sample.
pub struct AudioEncoder {
    context: CodecContext,
    subject: Arc<str>,
    time_base: Rational,
}

impl AudioEncoder {
    /// Opens the encoder.
    ///
    /// # Errors
    /// [`Error::Libav`](crate::Error::Libav).
    pub fn open(options: &AudioEncoderOptions) -> Result<Self> {
        log::clear();
        let subject: Arc<str> = format!("{} {} Hz", options.encoder, options.sample_rate).into();
        let codec = find(&options.encoder, &subject)?;
        // SAFETY: the codec was found in the library.
        let mut context = unsafe { CodecContext::new(codec, &subject)? };
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let time_base = Rational::new(1, number(options.sample_rate));
        let raw = context.raw_mut();
        raw.sample_rate = number(options.sample_rate);
        raw.sample_fmt = sys::AVSampleFormat::FLTP;
        raw.bit_rate = i64::try_from(options.bit_rate).unwrap_or(i64::MAX);
        raw.time_base = time_base.raw();
        raw.thread_count = 1;
        if options.global_header {
            raw.flags |= sys::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
        }
        // SAFETY: the layout lies inside our context and holds no memory yet.
        unsafe { sys::av_channel_layout_default(&mut raw.ch_layout, number(options.channels)) };
        // SAFETY: the context was made for this codec and is not open yet.
        let code = unsafe { sys::avcodec_open2(context.as_mut_ptr(), codec, ptr::null_mut()) };
        if code < 0 {
            return Err(libav(&subject, "opening the encoder", code));
        }
        Ok(Self {
            context,
            subject,
            time_base,
        })
    }

    /// Samples that each frame but the last must hold: 1024 for AAC.
    pub fn frame_size(&self) -> u32 {
        u32::try_from(self.context.raw().frame_size).unwrap_or(0)
    }

    /// Samples that a decoder gives before the first real one: the first packet's time is minus
    /// this.
    pub fn delay(&self) -> u32 {
        u32::try_from(self.context.raw().initial_padding).unwrap_or(0)
    }

    /// The unit of frames' and packets' times: one sample.
    pub fn time_base(&self) -> Rational {
        self.time_base
    }

    /// Gives the encoder a frame, or says with `None` that no more will come. Call
    /// [`AudioEncoder::receive`] until it gives nothing after each.
    pub fn send(&mut self, frame: Option<&Frame>) -> Result<()> {
        log::clear();
        let raw = frame.map_or(ptr::null(), Frame::as_ptr);
        // SAFETY: the context is open; the frame is live or null and only read and referenced.
        let code = unsafe { sys::avcodec_send_frame(self.context.as_mut_ptr(), raw) };
        if code < 0 && code != sys::AVERROR_EOF {
            return Err(libav(&self.subject, "encoding", code));
        }
        Ok(())
    }

    /// The next coded packet, for stream 0; `None` when the encoder needs more frames, or after
    /// the last packet.
    pub fn receive(&mut self) -> Result<Option<Packet>> {
        receive(&mut self.context, self.time_base, &self.subject)
    }

    /// The AudioSpecificConfig.
    pub fn extradata(&self) -> &[u8] {
        extradata(&self.context)
    }

    /// What a muxer must know.
    pub fn stream(&self) -> Result<MuxerStream> {
        muxer_stream(&self.context, self.time_base, None, &self.subject)
    }
}

impl std::fmt::Debug for AudioEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AudioEncoder").field(&self.subject).finish()
    }
}
