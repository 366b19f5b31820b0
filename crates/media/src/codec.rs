//! Codec parameters: everything a decoder or a muxer must know about a stream before its packets.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::colour::Colour;
use crate::error::{Result, out_of_memory};
use crate::format::{PixelFormat, static_name};
use crate::input::Limits;
use crate::rational::Rational;

/// The value with which libav says that profile or level is unknown.
pub(crate) const UNKNOWN: i32 = -99;

/// What a stream's codec needs to be known beforehand. Cloning copies; it is small.
pub struct Parameters {
    raw: *mut sys::AVCodecParameters,
    /// The file or encoder that errors name.
    pub(crate) subject: Arc<str>,
    pub(crate) limits: Limits,
}

// SAFETY: the structure and what it points to (extradata, side data) belong to this value alone
// and have no tie to a thread.
unsafe impl Send for Parameters {}
// SAFETY: through a shared reference the structure is only read.
unsafe impl Sync for Parameters {}

impl Parameters {
    fn empty(subject: Arc<str>, limits: Limits) -> Result<Self> {
        // SAFETY: allocates; null is checked below.
        let raw = unsafe { sys::avcodec_parameters_alloc() };
        if raw.is_null() {
            return Err(out_of_memory(&subject, "allocating codec parameters"));
        }
        Ok(Self {
            raw,
            subject,
            limits,
        })
    }

    /// MP4's timed text (3GPP TS 26.245): white, at the bottom, in a font of the player's choice.
    pub(crate) fn timed_text(subject: Arc<str>) -> Result<Self> {
        /// A sample description (5.16): no flags, centred, at the bottom, no background; a box as
        /// large as the picture; the style of all text; one font.
        const DESCRIPTION: [u8; 48] = [
            0, 0, 0, 0, 1, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 18, 255,
            255, 255, 255, 0, 0, 0, 18, b'f', b't', b'a', b'b', 0, 1, 0, 1, 5, b'S', b'e', b'r',
            b'i', b'f',
        ];
        let parameters = Self::empty(subject, Limits::default())?;
        let padding = sys::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        // SAFETY: the parameters are live and ours, and own what is allocated for them; it is as long
        // as what is copied and padded with zeros as libav wants it.
        unsafe {
            let raw = &mut *parameters.raw;
            raw.codec_type = sys::AVMediaType::SUBTITLE;
            raw.codec_id = sys::AVCodecID::MOV_TEXT;
            raw.extradata = sys::av_mallocz(DESCRIPTION.len() + padding).cast();
            if raw.extradata.is_null() {
                return Err(out_of_memory(&parameters.subject, "describing text"));
            }
            raw.extradata
                .copy_from_nonoverlapping(DESCRIPTION.as_ptr(), DESCRIPTION.len());
            raw.extradata_size = DESCRIPTION.len() as i32;
        }
        Ok(parameters)
    }

    /// # Safety
    /// `source` must be live parameters.
    pub(crate) unsafe fn copied(
        source: *const sys::AVCodecParameters,
        subject: Arc<str>,
        limits: Limits,
    ) -> Result<Self> {
        let copy = Self::empty(subject, limits)?;
        // SAFETY: both ends are live; the copy owns what it points to.
        if unsafe { sys::avcodec_parameters_copy(copy.raw, source) } < 0 {
            return Err(out_of_memory(&copy.subject, "copying codec parameters"));
        }
        Ok(copy)
    }

    /// # Safety
    /// `context` must be an open codec context.
    pub(crate) unsafe fn of_context(
        context: *const sys::AVCodecContext,
        subject: Arc<str>,
    ) -> Result<Self> {
        let copy = Self::empty(subject, Limits::default())?;
        // SAFETY: both ends are live; the copy owns what it points to.
        if unsafe { sys::avcodec_parameters_from_context(copy.raw, context) } < 0 {
            return Err(out_of_memory(&copy.subject, "copying codec parameters"));
        }
        Ok(copy)
    }

    pub(crate) fn raw(&self) -> &sys::AVCodecParameters {
        // SAFETY: never null after construction, freed only in drop, and changed only through
        // `&mut self`.
        unsafe { &*self.raw }
    }

    pub(crate) fn as_ptr(&self) -> *const sys::AVCodecParameters {
        self.raw
    }

    /// FFmpeg's name of the codec: "h264", "aac".
    pub fn codec(&self) -> &'static str {
        // SAFETY: a look-up in a constant table by value; never null.
        unsafe { CStr::from_ptr(sys::avcodec_get_name(self.raw().codec_id)) }
            .to_str()
            .unwrap_or("unknown")
    }

    /// FFmpeg's name of the profile ("High", "Main 10", "LC"), or its number where it has none.
    pub fn profile(&self) -> Option<String> {
        let raw = self.raw();
        if raw.profile == UNKNOWN {
            return None;
        }
        // SAFETY: a look-up in a constant table by value; an unknown profile gives null.
        let name = unsafe { static_name(sys::avcodec_profile_name(raw.codec_id, raw.profile)) };
        Some(name.map_or_else(|| raw.profile.to_string(), str::to_owned))
    }

    /// The level as the codec codes it: 40 is H.264 level 4, 120 HEVC level 4.
    pub fn level(&self) -> Option<i32> {
        Some(self.raw().level).filter(|level| *level >= 0)
    }

    /// Luma columns for display, before sample aspect and rotation.
    pub fn width(&self) -> u32 {
        u32::try_from(self.raw().width).unwrap_or(0)
    }

    /// Luma rows for display.
    pub fn height(&self) -> u32 {
        u32::try_from(self.raw().height).unwrap_or(0)
    }

    /// The pixel format, if known; `None` for audio.
    pub fn pixel_format(&self) -> Option<PixelFormat> {
        let raw = self.raw();
        (raw.codec_type == sys::AVMediaType::VIDEO && raw.format >= 0)
            .then_some(PixelFormat(raw.format))
    }

    /// The colour description.
    pub fn colour(&self) -> Colour {
        let raw = self.raw();
        Colour {
            primaries: raw.color_primaries.0,
            transfer: raw.color_trc.0,
            space: raw.color_space.0,
            range: raw.color_range.0,
        }
    }

    /// The shape of a pixel as the bitstream says; the container may overrule it
    /// ([`Stream::sample_aspect`](crate::Stream::sample_aspect)).
    pub fn sample_aspect(&self) -> Option<Rational> {
        Rational::known(self.raw().sample_aspect_ratio)
    }

    /// Bits per second, if the container or the bitstream says.
    pub fn bit_rate(&self) -> Option<u64> {
        u64::try_from(self.raw().bit_rate)
            .ok()
            .filter(|rate| *rate > 0)
    }

    /// Samples per second; `None` for video.
    pub fn sample_rate(&self) -> Option<u32> {
        u32::try_from(self.raw().sample_rate)
            .ok()
            .filter(|rate| *rate > 0)
    }

    /// Audio channels; 0 for video.
    pub fn channels(&self) -> u32 {
        u32::try_from(self.raw().ch_layout.nb_channels).unwrap_or(0)
    }

    /// Samples per packet where the codec has a fixed number (1024 for AAC).
    pub fn frame_size(&self) -> Option<u32> {
        u32::try_from(self.raw().frame_size)
            .ok()
            .filter(|size| *size > 0)
    }

    /// How many pictures a decoder may hold back for reordering: 0 means no B-frames.
    pub fn video_delay(&self) -> u32 {
        u32::try_from(self.raw().video_delay).unwrap_or(0)
    }

    /// Codec headers kept outside the packets (avcC, hvcC, Annex B parameter sets,
    /// AudioSpecificConfig); empty if there are none.
    pub fn extradata(&self) -> &[u8] {
        let raw = self.raw();
        let length = usize::try_from(raw.extradata_size).unwrap_or(0);
        if raw.extradata.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: libav keeps `extradata_size` bytes there, which live and stay unchanged as long
        // as `self`.
        unsafe { std::slice::from_raw_parts(raw.extradata, length) }
    }

    /// Sets the four-character code. Another container's would be refused; with 0 the muxer
    /// chooses.
    pub(crate) fn set_tag(&mut self, tag: u32) {
        // SAFETY: `self` is borrowed exclusively and the pointer is live.
        unsafe { (*self.raw).codec_tag = tag };
    }

    pub(crate) fn set_sample_aspect(&mut self, aspect: Rational) {
        // SAFETY: `self` is borrowed exclusively and the pointer is live.
        unsafe { (*self.raw).sample_aspect_ratio = aspect.raw() };
    }

    /// The name of the channel layout: "stereo", "5.1(side)"; `None` when only a count is known.
    pub fn channel_layout(&self) -> Option<String> {
        let layout = &self.raw().ch_layout;
        if layout.nb_channels <= 0 || layout.order == sys::AVChannelOrder::UNSPEC {
            return None;
        }
        describe_layout(layout)
    }
}

/// FFmpeg's text for a channel layout.
pub(crate) fn describe_layout(layout: &sys::AVChannelLayout) -> Option<String> {
    let mut text: [libc::c_char; 128] = [0; 128];
    // SAFETY: the layout is live and the buffer writable for the length given.
    let length = unsafe { sys::av_channel_layout_describe(layout, text.as_mut_ptr(), text.len()) };
    if length <= 0 {
        return None;
    }
    // SAFETY: on success the buffer holds a zero-ended string, cut at its length.
    Some(
        unsafe { CStr::from_ptr(text.as_ptr()) }
            .to_string_lossy()
            .into_owned(),
    )
}

impl Clone for Parameters {
    fn clone(&self) -> Self {
        // SAFETY: `self.raw` is live.
        unsafe { Self::copied(self.raw, Arc::clone(&self.subject), self.limits) }
            .expect("memory for codec parameters")
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters")
            .field("codec", &self.codec())
            .field("profile", &self.profile())
            .field("width", &self.width())
            .field("height", &self.height())
            .field("sample_rate", &self.sample_rate())
            .finish_non_exhaustive()
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here.
        unsafe { sys::avcodec_parameters_free(&mut self.raw) };
    }
}
