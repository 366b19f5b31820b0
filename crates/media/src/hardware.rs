//! What each encoder wants to be told, and which of them really works here.
//!
//! FFmpeg lists nvenc, vaapi, qsv and v4l2m2m on every machine, and opening may succeed where
//! encoding does not; so an encoder counts only after it has encoded.

use std::ptr;
use std::sync::Arc;
use std::time::Instant;

use ffmpeg_sys_the_third as sys;

use crate::context::CodecContext;
use crate::encoder::{VideoEncoder, VideoEncoderOptions};
use crate::error::{Result, libav, out_of_memory, plain};
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::rational::Rational;

/// H.264 encoders in order of preference; the last is always there where FFmpeg has libx264.
pub const H264_ENCODERS: [&str; 5] = [
    "h264_nvenc",
    "h264_vaapi",
    "h264_qsv",
    "h264_v4l2m2m",
    "libx264",
];

/// HEVC encoders, the same way.
pub const HEVC_ENCODERS: [&str; 5] = [
    "hevc_nvenc",
    "hevc_vaapi",
    "hevc_qsv",
    "hevc_v4l2m2m",
    "libx265",
];

/// AV1 encoders, the same way.
pub const AV1_ENCODERS: [&str; 5] = [
    "av1_nvenc",
    "av1_vaapi",
    "av1_qsv",
    "libsvtav1",
    "libaom-av1",
];

/// Frames of a trial: enough to get past every encoder's look-ahead and reordering.
const TRIAL_FRAMES: i64 = 12;

/// FFmpeg's options that hand parameters to the encoder itself.
const X264_PARAMETERS: &str = "x264-params";
const X265_PARAMETERS: &str = "x265-params";
const SVT_PARAMETERS: &str = "svtav1-params";

/// x264's presets from the fastest on. SVT-AV1 numbers its own from 12 down.
pub const PRESETS: [&str; 9] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
];
const SVT_FASTEST: usize = 12;

/// The interface behind an encoder's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    X264,
    X265,
    Svt,
    Aom,
    Nvenc,
    Vaapi,
    Qsv,
    V4l2,
    Other,
}

impl Backend {
    pub fn of(encoder: &str) -> Self {
        match encoder.rsplit('_').next() {
            Some("libx264") => Self::X264,
            Some("libx265") => Self::X265,
            Some("libsvtav1") => Self::Svt,
            Some("libaom-av1") => Self::Aom,
            Some("nvenc") => Self::Nvenc,
            Some("vaapi") => Self::Vaapi,
            Some("qsv") => Self::Qsv,
            Some("v4l2m2m") => Self::V4l2,
            _ => Self::Other,
        }
    }

    /// The device whose memory frames must be in.
    pub fn device(self) -> Option<sys::AVHWDeviceType> {
        (self == Self::Vaapi).then_some(sys::AVHWDeviceType::VAAPI)
    }

    /// What frames in main memory are converted to before they are given to the encoder (or
    /// uploaded).
    pub fn input_format(self, wished: PixelFormat) -> PixelFormat {
        match self {
            Self::Vaapi | Self::Qsv => PixelFormat::NV12,
            _ => wished,
        }
    }

    /// Whether a peak rate may stand beside an average one.
    fn caps_average(self) -> bool {
        self != Self::Svt
    }

    /// Whether [`Backend::options`] already holds the caller's option of that name.
    pub fn merges(self, option: &str) -> bool {
        let own = match self {
            Self::X264 => X264_PARAMETERS,
            Self::X265 => X265_PARAMETERS,
            Self::Svt => SVT_PARAMETERS,
            _ => return false,
        };
        option == own
    }

    /// The wishes common to all encoders in this one's words.
    pub fn options(self, wished: &VideoEncoderOptions) -> Vec<(&'static str, String)> {
        let mut options = Vec::new();
        let mut set = |name, value: &str| options.push((name, value.to_owned()));
        match self {
            Self::X264 => {
                set("forced-idr", "1");
                let parameters = x264_parameters(wished);
                if !parameters.is_empty() {
                    set(X264_PARAMETERS, &parameters);
                }
            }
            Self::X265 => {
                set("forced-idr", "1");
                // It would print by itself, and start threads of its own. Groups of pictures are
                // closed, as the ladder's are.
                let mut parameters = "log-level=none:open-gop=0".to_owned();
                if wished.threads == 1 {
                    parameters += ":pools=none:frame-threads=1:wpp=0";
                }
                set(
                    X265_PARAMETERS,
                    &with_given(parameters, X265_PARAMETERS, wished),
                );
            }
            Self::Svt => {
                let threads = match wished.threads {
                    0 => String::new(),
                    threads => format!("lp={threads}"),
                };
                set(SVT_PARAMETERS, &with_given(threads, SVT_PARAMETERS, wished));
            }
            Self::Aom => {
                // The other modes are ten times slower than SVT-AV1 and no better.
                set("usage", "realtime");
                set("cpu-used", "8");
            }
            Self::Nvenc => {
                set("forced-idr", "1");
                set("tune", "hq");
                set("rc", "vbr");
                set("no-scenecut", "1");
            }
            Self::Qsv => set("forced_idr", "1"),
            Self::Vaapi | Self::V4l2 | Self::Other => {}
        }
        match (self, &wished.preset) {
            (Self::X264 | Self::X265 | Self::Other, Some(preset)) => set("preset", preset),
            (Self::Svt, Some(preset)) => {
                let place = PRESETS.iter().position(|known| known == preset);
                let number = place.map(|place| (SVT_FASTEST - place).to_string());
                set("preset", number.as_deref().unwrap_or(preset));
            }
            // x264's preset names mean nothing here: p4 is the middle of p1 to p7.
            (Self::Nvenc, _) => set("preset", "p4"),
            _ => {}
        }
        if let Some(profile) = &wished.profile {
            set("profile", profile);
        }
        options
    }
}

/// Our parameters and the caller's after them.
fn with_given(ours: String, option: &str, wished: &VideoEncoderOptions) -> String {
    let given = wished.options.get(option).cloned();
    let both = [Some(ours).filter(|ours| !ours.is_empty()), given];
    both.into_iter().flatten().collect::<Vec<_>>().join(":")
}

/// x264's own parameters, the caller's after ours.
///
/// Up to core 164 at least, the AVX-512 code of x264's macroblock tree reads memory that nobody
/// wrote (with B-frames, at many sizes), so that the same pictures
/// give other bytes from run to run. AVX2 code gives the same bytes each time, on every machine
/// that has it, for about 3 % more time.
fn x264_parameters(wished: &VideoEncoderOptions) -> String {
    let repeatable = if has_avx512() { "asm=AVX2" } else { "" };
    with_given(repeatable.to_owned(), X264_PARAMETERS, wished)
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

/// An owned reference to a libav buffer.
struct BufferRef(*mut sys::AVBufferRef);

// SAFETY: the reference belongs to this value; the counter behind it is atomic, and libav guards
// the device behind it.
unsafe impl Send for BufferRef {}

impl Drop for BufferRef {
    fn drop(&mut self) {
        // SAFETY: ours, given up only here; null is allowed.
        unsafe { sys::av_buffer_unref(&mut self.0) };
    }
}

/// Takes frames to a device's memory.
pub(crate) struct Upload {
    frames: BufferRef,
}

impl Upload {
    /// Opens the default device and ties the encoder to its memory.
    pub fn open(
        device: sys::AVHWDeviceType,
        context: &mut CodecContext,
        options: &VideoEncoderOptions,
        subject: &Arc<str>,
    ) -> Result<Self> {
        let mut opened = BufferRef(ptr::null_mut());
        // SAFETY: on success the reference is ours; no device name or options are given.
        let code = unsafe {
            sys::av_hwdevice_ctx_create(&mut opened.0, device, ptr::null(), ptr::null_mut(), 0)
        };
        if code < 0 {
            return Err(libav(subject, "opening the device", code));
        }
        // SAFETY: the device is live; null is checked. A fresh frames context holds the typed
        // structure, which is filled before it is initialised.
        let frames = unsafe {
            let frames = BufferRef(sys::av_hwframe_ctx_alloc(opened.0));
            if frames.0.is_null() {
                return Err(out_of_memory(subject, "opening the device"));
            }
            let raw = &mut *(*frames.0).data.cast::<sys::AVHWFramesContext>();
            raw.format = sys::AVPixelFormat::VAAPI;
            raw.sw_format = PixelFormat::NV12.raw();
            raw.width = i32::try_from(options.width).unwrap_or(i32::MAX);
            raw.height = i32::try_from(options.height).unwrap_or(i32::MAX);
            raw.initial_pool_size = 20;
            frames
        };
        // SAFETY: the frames context is live and filled.
        let code = unsafe { sys::av_hwframe_ctx_init(frames.0) };
        if code < 0 {
            return Err(libav(subject, "opening the device", code));
        }
        let raw = context.raw_mut();
        raw.pix_fmt = sys::AVPixelFormat::VAAPI;
        // SAFETY: takes another reference, which the codec context owns and frees.
        raw.hw_frames_ctx = unsafe { sys::av_buffer_ref(frames.0) };
        if raw.hw_frames_ctx.is_null() {
            return Err(out_of_memory(subject, "opening the device"));
        }
        Ok(Self { frames })
    }

    pub fn frame(&self, frame: &Frame, subject: &Arc<str>) -> Result<Frame> {
        let mut uploaded = Frame::empty()?;
        // SAFETY: the pool is live, the new frame empty, the old one live and only read.
        let code = unsafe {
            match sys::av_hwframe_get_buffer(self.frames.0, uploaded.as_mut_ptr(), 0) {
                0.. => {
                    match sys::av_hwframe_transfer_data(uploaded.as_mut_ptr(), frame.as_ptr(), 0) {
                        0.. => sys::av_frame_copy_props(uploaded.as_mut_ptr(), frame.as_ptr()),
                        code => code,
                    }
                }
                code => code,
            }
        };
        if code < 0 {
            return Err(libav(subject, "uploading a frame", code));
        }
        Ok(uploaded)
    }
}

/// Encodes a few frames with the encoder and looks at what comes out.
///
/// # Errors
/// Why the encoder is of no use on this machine.
pub fn trial_encode(encoder: &str) -> Result<()> {
    trial_speed(encoder, TRIAL_FRAMES).map(drop)
}

/// Encodes so many frames of 640x360 and gives how many there were per second.
///
/// # Errors
/// Why the encoder is of no use on this machine.
pub fn trial_speed(encoder: &str, frames: i64) -> Result<f64> {
    // Not smaller: some hardware refuses pictures under 256 columns.
    let (width, height) = (640, 360);
    let pictures = (0..frames).map(|pts| trial_frame(width, height, pts));
    let pictures: Vec<Frame> = pictures.collect::<Result<_>>()?;
    let options = VideoEncoderOptions {
        encoder: encoder.to_owned(),
        width,
        height,
        time_base: Rational::new(1, 25),
        frame_rate: Some(Rational::new(25, 1)),
        bit_rate: Some(800_000),
        max_rate: Backend::of(encoder).caps_average().then_some(1_200_000),
        buffer_size: Backend::of(encoder).caps_average().then_some(1_600_000),
        gop: Some(100),
        ..VideoEncoderOptions::default()
    };
    let began = Instant::now();
    let mut opened = VideoEncoder::open(&options)?;
    let (mut packets, mut key) = (0, false);
    let inputs = pictures.iter().map(Some).chain(std::iter::once(None));
    for (number, input) in inputs.enumerate() {
        opened.send(input, number == 0 && input.is_some())?;
        while let Some(packet) = opened.receive()? {
            key |= packets == 0 && packet.is_key() && !packet.data().is_empty();
            packets += 1;
        }
    }
    if packets != frames || !key {
        let subject: Arc<str> = encoder.into();
        let reason =
            format!("{packets} packets for {frames} frames, starting with a key frame: {key}");
        return Err(plain(&subject, "trial encoding", reason));
    }
    Ok(frames as f64 / began.elapsed().as_secs_f64().max(1e-6))
}

/// A gradient that moves.
fn trial_frame(width: u32, height: u32, pts: i64) -> Result<Frame> {
    let mut frame = Frame::video(width, height, PixelFormat::YUV420P)?;
    for plane in 0..3 {
        if let Some((bytes, stride)) = frame.plane_mut(plane) {
            for (row, line) in bytes.chunks_mut(stride).enumerate() {
                for (column, sample) in line.iter_mut().enumerate() {
                    *sample = (row + column + 3 * pts as usize) as u8 / 2 + 64;
                }
            }
        }
    }
    frame.set_pts(Some(pts));
    frame.set_duration(1);
    Ok(frame)
}

/// The first of [`H264_ENCODERS`] whose trial works here.
///
/// # Errors
/// The last one's reason when none works.
pub fn choose_h264_encoder() -> Result<String> {
    choose_encoder(&H264_ENCODERS)
}

/// The first of these encoders whose trial works here.
///
/// # Errors
/// The last one's reason when none works.
pub fn choose_encoder(encoders: &[&str]) -> Result<String> {
    let mut outcome = Ok(());
    for encoder in encoders {
        outcome = trial_encode(encoder);
        if outcome.is_ok() {
            return Ok((*encoder).to_owned());
        }
    }
    outcome.map(|()| String::new())
}
