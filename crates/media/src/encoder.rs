//! Frames in, coded video out.
//!
//! The encoder is opened by FFmpeg's name and told everything; nothing is chosen here but what
//! each encoder calls the same wish. One encoder makes one closed run of pictures: its first is an
//! IDR, and a later one where asked.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::codec::Parameters;
use crate::colour::Colour;
use crate::context::CodecContext;
use crate::dictionary::Dictionary;
use crate::error::{Result, libav, plain};
use crate::format::{PixelFormat, static_name};
use crate::frame::Frame;
use crate::hardware::{Backend, Upload};
use crate::log;
use crate::muxer::{Label, MuxerStream};
use crate::packet::Packet;
use crate::rational::Rational;
use crate::scaler::{Geometry, Scaler};

/// What to encode to. `Default` is libx264 veryfast on one thread, 8 bit 4:2:0, BT.709.
#[derive(Clone, Debug)]
pub struct VideoEncoderOptions {
    /// FFmpeg's name: "libx264", "h264_nvenc".
    pub encoder: String,
    /// Luma columns; even for 4:2:0.
    pub width: u32,
    /// Luma rows; even for 4:2:0.
    pub height: u32,
    /// What the frames hold; hardware encoders convert by themselves.
    pub format: PixelFormat,
    /// Unit of the frames' times.
    pub time_base: Rational,
    /// Frames per second, for rate control and headers; a guess will do for variable rates.
    pub frame_rate: Option<Rational>,
    /// The shape of a pixel.
    pub sample_aspect: Rational,
    /// What the samples mean, written into the headers.
    pub colour: Colour,
    /// Average bits per second; `None` leaves rate control to `options` ("crf").
    pub bit_rate: Option<u64>,
    /// Peak bits per second.
    pub max_rate: Option<u64>,
    /// The decoder buffer that `max_rate` is meant for, in bits.
    pub buffer_size: Option<u64>,
    /// Most frames between key frames; `None` leaves the encoder's default.
    pub gop: Option<u32>,
    /// The encoder's own preset name; `None` leaves its default.
    pub preset: Option<String>,
    /// H.264 profile name ("high"); `None` leaves the encoder's choice.
    pub profile: Option<String>,
    /// 0 one per core, 1 none beside the caller's.
    pub threads: u32,
    /// Parameter sets in [`VideoEncoder::extradata`] only (MP4), rather than before each IDR (TS).
    pub global_header: bool,
    /// Any further options by FFmpeg's names; they win over what is set from the fields above.
    pub options: BTreeMap<String, String>,
}

impl Default for VideoEncoderOptions {
    fn default() -> Self {
        Self {
            encoder: "libx264".to_owned(),
            width: 0,
            height: 0,
            format: PixelFormat::YUV420P,
            time_base: Rational::new(1, 90_000),
            frame_rate: None,
            sample_aspect: Rational::ONE,
            colour: Colour::BT709,
            bit_rate: None,
            max_rate: None,
            buffer_size: None,
            gop: None,
            preset: Some("veryfast".to_owned()),
            profile: None,
            threads: 1,
            global_header: false,
            options: BTreeMap::new(),
        }
    }
}

/// A video encoder.
pub struct VideoEncoder {
    context: CodecContext,
    subject: Arc<str>,
    time_base: Rational,
    frame_rate: Option<Rational>,
    /// Converts to the layout the encoder takes, where frames may differ.
    scaler: Option<Scaler>,
    upload: Option<Upload>,
    /// Frame durations by time: not every encoder passes them on.
    durations: HashMap<i64, i64>,
}

impl VideoEncoder {
    /// Opens the encoder.
    ///
    /// # Errors
    /// [`Error::Libav`](crate::Error::Libav) when it is not there, does not know an option, or cannot run here.
    pub fn open(options: &VideoEncoderOptions) -> Result<Self> {
        log::clear();
        let subject: Arc<str> =
            format!("{} {}x{}", options.encoder, options.width, options.height).into();
        let codec = find(&options.encoder, &subject)?;
        // SAFETY: the codec was found in the library.
        let mut context = unsafe { CodecContext::new(codec, &subject)? };
        let backend = Backend::of(&options.encoder);
        configure(context.raw_mut(), options, backend)?;
        let upload = match backend.device() {
            Some(device) => Some(Upload::open(device, &mut context, options, &subject)?),
            None => None,
        };
        let mut dictionary = Dictionary::new();
        for (name, value) in backend.options(options) {
            dictionary.set(name, &value);
        }
        for (name, value) in &options.options {
            if !backend.merges(name) {
                dictionary.set(name, value);
            }
        }
        // SAFETY: the context was made for this codec and is not open yet; what the codec knows is
        // taken from the dictionary.
        let code =
            unsafe { sys::avcodec_open2(context.as_mut_ptr(), codec, dictionary.as_mut_ptr()) };
        if code < 0 {
            return Err(libav(&subject, "opening the encoder", code));
        }
        if let Some(option) = dictionary.first_key() {
            let reason = format!("unknown option {option}");
            return Err(plain(&subject, "opening the encoder", reason));
        }
        let input = backend.input_format(options.format);
        let scaler = if input == options.format {
            None
        } else {
            Some(converter(options, input)?)
        };
        Ok(Self {
            context,
            subject,
            time_base: options.time_base,
            frame_rate: options.frame_rate,
            scaler,
            upload,
            durations: HashMap::new(),
        })
    }

    /// Gives the encoder a frame whose time is in the encoder's time base and above the last
    /// one's, or says with `None` that no more will come. `force_idr` makes this frame an IDR.
    /// Call [`VideoEncoder::receive`] until it gives nothing after each.
    pub fn send(&mut self, frame: Option<&Frame>, force_idr: bool) -> Result<()> {
        log::clear();
        let prepared = frame
            .map(|frame| self.prepare(frame, force_idr))
            .transpose()?;
        let raw = prepared.as_ref().map_or(ptr::null(), Frame::as_ptr);
        // SAFETY: the context is open; the frame is live or null and only read and referenced.
        let code = unsafe { sys::avcodec_send_frame(self.context.as_mut_ptr(), raw) };
        if code < 0 && code != sys::AVERROR_EOF {
            return Err(libav(&self.subject, "encoding", code));
        }
        Ok(())
    }

    fn prepare(&mut self, frame: &Frame, force_idr: bool) -> Result<Frame> {
        let mut frame = match &mut self.scaler {
            Some(scaler) => scaler.scale(frame)?,
            None => frame.clone(),
        };
        if let Some(upload) = &self.upload {
            frame = upload.frame(&frame, &self.subject)?;
        }
        if let (Some(pts), duration @ 1..) = (frame.pts(), frame.duration()) {
            self.durations.insert(pts, duration);
        }
        // A decoder leaves its own picture type here, which an encoder would take for an order.
        frame.raw_mut().pict_type = if force_idr {
            sys::AVPictureType::I
        } else {
            sys::AVPictureType::NONE
        };
        // Captions would be written into the stream although nothing announces them.
        // SAFETY: the frame is ours; its list of side data is shared with no other frame.
        unsafe {
            sys::av_frame_remove_side_data(frame.as_mut_ptr(), sys::AVFrameSideDataType::A53_CC);
        }
        Ok(frame)
    }

    /// The next coded packet, for stream 0, in decode order; `None` when the encoder needs more
    /// frames, or after the last packet.
    pub fn receive(&mut self) -> Result<Option<Packet>> {
        let Some(mut packet) = receive(&mut self.context, self.time_base, &self.subject)? else {
            return Ok(None);
        };
        let duration = packet.pts().and_then(|pts| self.durations.remove(&pts));
        if packet.duration() <= 0 {
            let rate = self.frame_rate.filter(|rate| rate.is_positive());
            let guess = rate.map_or(0, |rate| rate.inverse().rescale(1, self.time_base));
            packet.set_duration(duration.unwrap_or(guess));
        }
        Ok(Some(packet))
    }

    /// Parameter sets, with [`VideoEncoderOptions::global_header`]; else usually empty.
    pub fn extradata(&self) -> &[u8] {
        extradata(&self.context)
    }

    /// What a muxer must know.
    pub fn stream(&self) -> Result<MuxerStream> {
        muxer_stream(
            &self.context,
            self.time_base,
            self.frame_rate,
            &self.subject,
        )
    }
}

/// An encoder by FFmpeg's name.
pub(crate) fn find(name: &str, subject: &Arc<str>) -> Result<*const sys::AVCodec> {
    let c_name = CString::new(name).unwrap_or_default();
    // SAFETY: a look-up by a zero-ended string.
    let codec = unsafe { sys::avcodec_find_encoder_by_name(c_name.as_ptr()) };
    if codec.is_null() {
        let reason = format!("this FFmpeg has no encoder {name}");
        return Err(plain(subject, "opening the encoder", reason));
    }
    Ok(codec)
}

fn configure(
    raw: &mut sys::AVCodecContext,
    options: &VideoEncoderOptions,
    backend: Backend,
) -> Result<()> {
    let size = |side| i32::try_from(side).unwrap_or(i32::MAX);
    raw.width = size(options.width);
    raw.height = size(options.height);
    raw.pix_fmt = backend.input_format(options.format).raw();
    raw.time_base = options.time_base.raw();
    if let Some(rate) = options.frame_rate {
        raw.framerate = rate.raw();
    }
    raw.sample_aspect_ratio = options.sample_aspect.raw();
    raw.color_primaries = sys::AVColorPrimaries(options.colour.primaries);
    raw.color_trc = sys::AVColorTransferCharacteristic(options.colour.transfer);
    raw.colorspace = sys::AVColorSpace(options.colour.space);
    raw.color_range = sys::AVColorRange(options.colour.range);
    let rate = |rate: u64| i64::try_from(rate).unwrap_or(i64::MAX);
    raw.bit_rate = options.bit_rate.map_or(0, rate);
    raw.rc_max_rate = options.max_rate.map_or(0, rate);
    if let Some(bits) = options.buffer_size {
        raw.rc_buffer_size = i32::try_from(bits).unwrap_or(i32::MAX);
    }
    if let Some(gop) = options.gop {
        raw.gop_size = size(gop);
    }
    raw.thread_count = size(options.threads);
    if options.global_header {
        raw.flags |= sys::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
    }
    Ok(())
}

fn converter(options: &VideoEncoderOptions, format: PixelFormat) -> Result<Scaler> {
    let source = Geometry {
        width: options.width,
        height: options.height,
        format: options.format,
        sample_aspect: options.sample_aspect,
        colour: options.colour,
    };
    Scaler::new(source, Geometry { format, ..source })
}

pub(crate) fn receive(
    context: &mut CodecContext,
    time_base: Rational,
    subject: &Arc<str>,
) -> Result<Option<Packet>> {
    let mut packet = Packet::empty(time_base)?;
    // SAFETY: the context is open and the packet empty.
    let code = unsafe { sys::avcodec_receive_packet(context.as_mut_ptr(), packet.as_mut_ptr()) };
    if code == sys::AVERROR(libc::EAGAIN) || code == sys::AVERROR_EOF {
        return Ok(None);
    }
    if code < 0 {
        return Err(libav(subject, "encoding", code));
    }
    Ok(Some(packet))
}

pub(crate) fn extradata(context: &CodecContext) -> &[u8] {
    let raw = context.raw();
    let length = usize::try_from(raw.extradata_size).unwrap_or(0);
    if raw.extradata.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: libav keeps `extradata_size` bytes there, unchanged while the context is open.
    unsafe { std::slice::from_raw_parts(raw.extradata, length) }
}

pub(crate) fn muxer_stream(
    context: &CodecContext,
    time_base: Rational,
    frame_rate: Option<Rational>,
    subject: &Arc<str>,
) -> Result<MuxerStream> {
    // SAFETY: the context is open.
    let parameters = unsafe { Parameters::of_context(context.raw(), Arc::clone(subject))? };
    Ok(MuxerStream {
        parameters,
        time_base,
        frame_rate,
        side_data: Vec::new(),
        label: Label::default(),
    })
}

/// Which FFmpeg this is: "5.1.9-0+deb12u1", "n7.1".
pub fn library_version() -> &'static str {
    // SAFETY: gives a constant string of the library.
    unsafe { static_name(sys::av_version_info()) }.unwrap_or("unknown")
}

/// Which build of an encoder this is: encoders of one name give other bytes from version to
/// version, so what is cached by content is keyed with this. For libx264 its own version
/// ("x264 - core 164 r3095 baee400"), as it writes it into each stream.
///
/// # Errors
/// As [`VideoEncoder::open`].
pub fn encoder_build(encoder: &str) -> Result<String> {
    // How each begins and ends its name in a message (SEI) before the first picture.
    let (begins, ends) = match encoder {
        "libx264" => ("x264 - core", " - H.264"),
        "libx265" => ("x265 (build", " - H.265"),
        _ => return Ok(format!("{encoder} of FFmpeg {}", library_version())),
    };
    let options = VideoEncoderOptions {
        encoder: encoder.to_owned(),
        width: 64,
        height: 64,
        time_base: Rational::new(1, 25),
        ..VideoEncoderOptions::default()
    };
    let mut encoder = VideoEncoder::open(&options)?;
    let mut frame = Frame::video(options.width, options.height, options.format)?;
    frame.set_pts(Some(0));
    encoder.send(Some(&frame), true)?;
    encoder.send(None, false)?;
    let build = encoder.receive()?.and_then(|packet| {
        let text = String::from_utf8_lossy(packet.data());
        let start = text.find(begins)?;
        text[start..].split(ends).next().map(str::to_owned)
    });
    build.ok_or_else(|| plain(&encoder.subject, "reading its version", "it does not say"))
}

impl std::fmt::Debug for VideoEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("VideoEncoder").field(&self.subject).finish()
    }
}
