//! Packets in, frames out.
//!
//! After each `send`, call `receive` until it gives nothing; after the last packet `send(None)`
//! and drain. Frames are counted references into the decoder's pool: keep few, or copy.

use std::ffi::CString;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::context::CodecContext;
use crate::error::{Error, Result, code_text, libav, message, out_of_memory};
use crate::format::static_name;
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
    /// The device that decodes, where one was found; whether it does shows at the first frame.
    device: Option<Device>,
}

/// A device that decodes, by the kind that libav names it by.
struct Device {
    kind: &'static str,
    /// Whether a frame came out of its memory.
    used: bool,
}

impl Decoder {
    /// Opens FFmpeg's preferred software decoder for the stream. `threads` 0 means one per core,
    /// 1 none beside the caller's.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`] when this FFmpeg cannot decode it.
    pub fn open(stream: &Stream, threads: u32) -> Result<Self> {
        Self::open_on(stream, threads, false)
    }

    /// As [`Decoder::open`]; with `hardware` on a device, where one is there that knows the codec.
    /// What it cannot decode of that is decoded in software; frames are in main memory either way.
    pub(crate) fn open_on(stream: &Stream, threads: u32, hardware: bool) -> Result<Self> {
        let parameters = &stream.parameters;
        // Decoders of boards that are not devices of libav's but decoders of their own.
        let own = format!("{}_v4l2m2m", parameters.codec());
        if hardware {
            let name = CString::new(own).unwrap_or_default();
            // SAFETY: a look-up by a zero-ended string.
            let codec = unsafe { sys::avcodec_find_decoder_by_name(name.as_ptr()) };
            let opened =
                (!codec.is_null()).then(|| Self::open_codec(stream, codec, threads, false));
            // Where there is no such device it does not open.
            if let Some(Ok(mut decoder)) = opened {
                decoder.device = Some(Device {
                    kind: "v4l2m2m",
                    used: false,
                });
                return Ok(decoder);
            }
        }
        // SAFETY: a look-up by value.
        let codec = unsafe { sys::avcodec_find_decoder(parameters.raw().codec_id) };
        if codec.is_null() {
            let file = Arc::clone(&parameters.subject);
            let codec = parameters.codec().to_owned();
            return Err(Error::UnsupportedCodec { file, codec });
        }
        Self::open_codec(stream, codec, threads, hardware)
    }

    fn open_codec(
        stream: &Stream,
        codec: *const sys::AVCodec,
        threads: u32,
        hardware: bool,
    ) -> Result<Self> {
        log::clear();
        let parameters = &stream.parameters;
        let file = Arc::clone(&parameters.subject);
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
        let device = hardware
            .then(|| attach_device(&mut context, codec))
            .flatten();
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
            device: device.map(|kind| Device { kind, used: false }),
        })
    }

    /// FFmpeg's name of the decoder, and of the kind of device that does the work.
    pub fn name(&self) -> String {
        // SAFETY: an open context has a codec, a constant of the library with its name.
        let name = unsafe { static_name((*self.context.raw().codec).name) }.unwrap_or("unknown");
        match &self.device {
            Some(Device { kind, used: true }) => format!("{name} ({kind})"),
            _ => name.to_owned(),
        }
    }

    /// Whether a device may have to do with what comes out.
    pub(crate) fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// Opens the decoder of a codec by FFmpeg's name ("h264"), for packets in this time base that bring
    /// their headers along.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`] when this FFmpeg has none.
    pub fn bare(codec: &str, time_base: Rational) -> Result<Self> {
        log::clear();
        let file: Arc<str> = codec.into();
        let name = CString::new(codec).unwrap_or_default();
        // SAFETY: a look-up by a zero-ended string.
        let found = unsafe { sys::avcodec_find_decoder_by_name(name.as_ptr()) };
        if found.is_null() {
            let codec = codec.to_owned();
            return Err(Error::UnsupportedCodec { file, codec });
        }
        // SAFETY: the codec was found in the library.
        let mut context = unsafe { CodecContext::new(found, &file)? };
        let raw = context.raw_mut();
        raw.pkt_timebase = time_base.raw();
        raw.thread_count = 1;
        // SAFETY: the context was made for this codec and is not open yet.
        let code = unsafe { sys::avcodec_open2(context.as_mut_ptr(), found, std::ptr::null_mut()) };
        if code < 0 {
            return Err(libav(&file, "opening the decoder", code));
        }
        Ok(Self {
            context,
            file,
            limits: Limits::default(),
            time_base,
            device: None,
        })
    }

    /// Opens the decoder of a codec by FFmpeg's name of the codec ("av1"), for pictures whose
    /// headers are kept apart ("av1C").
    pub(crate) fn with_headers(
        codec: &str,
        headers: &[u8],
        limits: Limits,
        file: &Arc<str>,
    ) -> Result<Self> {
        log::clear();
        let name = CString::new(codec).unwrap_or_default();
        // SAFETY: look-ups by a zero-ended string and by a value; what is found is a constant.
        let found = unsafe {
            sys::avcodec_descriptor_get_by_name(name.as_ptr())
                .as_ref()
                .map_or(std::ptr::null(), |codec| {
                    sys::avcodec_find_decoder(codec.id)
                })
        };
        if found.is_null() {
            let (file, codec) = (Arc::clone(file), codec.to_owned());
            return Err(Error::UnsupportedCodec { file, codec });
        }
        // SAFETY: the codec was found in the library.
        let mut context = unsafe { CodecContext::new(found, file)? };
        let raw = context.raw_mut();
        raw.thread_count = 1;
        raw.max_pixels = i64::try_from(limits.max_pixels).unwrap_or(i64::MAX);
        if let (Ok(size), false) = (i32::try_from(headers.len()), headers.is_empty()) {
            let room = headers.len() + sys::AV_INPUT_BUFFER_PADDING_SIZE as usize;
            // SAFETY: allocates cleared memory with the padding that decoders read over; the
            // context owns and frees it.
            unsafe {
                let memory: *mut u8 = sys::av_mallocz(room).cast();
                if memory.is_null() {
                    return Err(out_of_memory(file, "opening the decoder"));
                }
                memory.copy_from_nonoverlapping(headers.as_ptr(), headers.len());
                raw.extradata = memory;
            }
            raw.extradata_size = size;
        }
        // SAFETY: the context was made for this codec and is not open yet.
        let code = unsafe { sys::avcodec_open2(context.as_mut_ptr(), found, std::ptr::null_mut()) };
        if code < 0 {
            return Err(libav(file, "opening the decoder", code));
        }
        Ok(Self {
            context,
            file: Arc::clone(file),
            limits,
            time_base: Rational::ONE,
            device: None,
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
        if frame.is_in_device() {
            frame = frame.downloaded(&self.file)?;
            if let Some(device) = &mut self.device {
                device.used = true;
            }
        }
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

/// Kinds of devices, in order of preference: what PCs' drivers offer.
const DEVICES: [sys::AVHWDeviceType; 2] = [sys::AVHWDeviceType::VAAPI, sys::AVHWDeviceType::CUDA];

/// Gives the decoder a device, where one is there that it can use. Its kind by libav's name.
fn attach_device(context: &mut CodecContext, codec: *const sys::AVCodec) -> Option<&'static str> {
    DEVICES.into_iter().find_map(|kind| {
        let format = device_format(codec, kind)?;
        let mut device = std::ptr::null_mut();
        // SAFETY: on success the reference is ours, and passes to the context, which is not open
        // yet; no device name or options are given.
        let code = unsafe {
            sys::av_hwdevice_ctx_create(
                &mut device,
                kind,
                std::ptr::null(),
                std::ptr::null_mut(),
                0,
            )
        };
        if code < 0 {
            return None;
        }
        let raw = context.raw_mut();
        raw.hw_device_ctx = device;
        raw.opaque = std::ptr::without_provenance_mut(format.0 as usize);
        raw.get_format = Some(prefer_device);
        // SAFETY: gives a constant string of the library.
        unsafe { static_name(sys::av_hwdevice_get_type_name(kind)) }
    })
}

/// The format of frames in such a device's memory, if the codec's decoder makes them.
fn device_format(
    codec: *const sys::AVCodec,
    kind: sys::AVHWDeviceType,
) -> Option<sys::AVPixelFormat> {
    const BY_DEVICE: i32 = sys::AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX.0 as i32;
    (0..)
        // SAFETY: the codec is a constant of the library; past the last way there is null.
        .map_while(|index| unsafe { sys::avcodec_get_hw_config(codec, index).as_ref() })
        .find(|way| way.device_type == kind && way.methods & BY_DEVICE != 0)
        .map(|way| way.pix_fmt)
}

/// libav asks which of these formats it shall decode to: the device's, if it is offered.
unsafe extern "C" fn prefer_device(
    context: *mut sys::AVCodecContext,
    offered: *const sys::AVPixelFormat,
) -> sys::AVPixelFormat {
    // SAFETY: libav gives a live context, whose opaque value was set together with this callback,
    // and a list that ends in NONE.
    unsafe {
        let wanted = (*context).opaque.addr() as i32;
        let mut at = offered;
        while *at != sys::AVPixelFormat::NONE {
            if (*at).0 == wanted {
                return *at;
            }
            at = at.add(1);
        }
        sys::avcodec_default_get_format(context, offered)
    }
}
