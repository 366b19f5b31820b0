//! Packets of text subtitles in, captions out.
//!
//! Whatever the codec (SubRip, ASS, WebVTT, MP4's timed text), libavcodec gives lines of ASS markup;
//! what becomes of the markup is the caller's matter. Subtitles that are pictures are not text and
//! cannot be opened.

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::context::CodecContext;
use crate::error::{Error, Result, libav, plain};
use crate::log;
use crate::packet::Packet;
use crate::rational::Rational;
use crate::stream::Stream;

/// Fields before the text of an ASS event as libavcodec gives it: read order, layer, style, name,
/// three margins, effect.
const FIELDS_BEFORE_TEXT: usize = 8;

/// Some text and when it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// When it appears, in the stream's time base.
    pub start: i64,
    /// When it goes; `None` when the stream does not say, which means with the next one.
    pub end: Option<i64>,
    /// The text with ASS override codes: `{\i1}so{\i0}\Nsay`.
    pub text: String,
}

/// A decoder for one stream of text subtitles.
pub struct SubtitleDecoder {
    context: CodecContext,
    file: Arc<str>,
    time_base: Rational,
}

impl SubtitleDecoder {
    /// Opens FFmpeg's decoder for the stream.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`] when this FFmpeg cannot decode it or it is no text.
    pub fn open(stream: &Stream) -> Result<Self> {
        log::clear();
        let parameters = &stream.parameters;
        let file = Arc::clone(&parameters.subject);
        let id = parameters.raw().codec_id;
        // SAFETY: look-ups by value; a descriptor is a constant of the library or null.
        let (codec, properties) = unsafe {
            let descriptor = sys::avcodec_descriptor_get(id).as_ref();
            (
                sys::avcodec_find_decoder(id),
                descriptor.map_or(0, |descriptor| descriptor.props),
            )
        };
        let text = properties & sys::AV_CODEC_PROP_TEXT_SUB != 0;
        if codec.is_null() || !text {
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
        context.raw_mut().pkt_timebase = stream.time_base.raw();
        // SAFETY: the context was made for this codec and is not open yet.
        let code = unsafe { sys::avcodec_open2(context.as_mut_ptr(), codec, ptr::null_mut()) };
        if code < 0 {
            return Err(libav(&file, "opening the decoder", code));
        }
        Ok(Self {
            context,
            file,
            time_base: stream.time_base,
        })
    }

    /// The captions of a packet; none for one that only ends another.
    ///
    /// # Errors
    /// A damaged packet: the decoder can go on with the next one.
    pub fn decode(&mut self, packet: &Packet) -> Result<Vec<Caption>> {
        log::clear();
        let Some(pts) = packet.pts() else {
            return Err(plain(&self.file, "decoding", "a subtitle without a time"));
        };
        let mut subtitle = Subtitle::default();
        let mut got = 0;
        // The call takes a pointer to a changeable packet in earlier releases, and changes nothing.
        // SAFETY: the context is open, the packet live, the result ours and freed when it is dropped.
        let code = unsafe {
            sys::avcodec_decode_subtitle2(
                self.context.as_mut_ptr(),
                &mut subtitle.0,
                &mut got,
                packet.as_ptr().cast_mut(),
            )
        };
        if code < 0 {
            return Err(libav(&self.file, "decoding", code));
        }
        if got == 0 {
            return Ok(Vec::new());
        }
        let millis = Rational::new(1, 1000);
        let after = |shown: u32| pts.saturating_add(millis.rescale(shown.into(), self.time_base));
        let (from, to) = (subtitle.0.start_display_time, subtitle.0.end_display_time);
        let stated = Some(packet.duration()).filter(|duration| *duration > 0);
        let end = match stated {
            Some(duration) => Some(pts.saturating_add(duration)),
            None => (to > from && to < u32::MAX).then(|| after(to)),
        };
        let start = after(from);
        let captions = subtitle.lines().into_iter().map(|text| Caption {
            start,
            end: end.filter(|end| *end > start),
            text,
        });
        Ok(captions.collect())
    }
}

/// A decoded subtitle, freed when dropped.
struct Subtitle(sys::AVSubtitle);

impl Default for Subtitle {
    fn default() -> Self {
        // SAFETY: a structure of numbers and pointers, for which zero is the empty value.
        Self(unsafe { std::mem::zeroed() })
    }
}

impl Subtitle {
    /// The text of each rectangle.
    fn lines(&self) -> Vec<String> {
        let count = self.0.num_rects as usize;
        if self.0.rects.is_null() {
            return Vec::new();
        }
        // SAFETY: the library left `num_rects` pointers to live rectangles there, or none.
        let rects = unsafe { std::slice::from_raw_parts(self.0.rects, count) };
        let events = rects.iter().filter_map(|rect| {
            // SAFETY: each is live; its event is null or a zero-ended string that lives as long.
            unsafe {
                let event = (**rect).ass;
                (!event.is_null()).then(|| CStr::from_ptr(event).to_string_lossy().into_owned())
            }
        });
        events
            .filter_map(|event| {
                let text = event
                    .splitn(FIELDS_BEFORE_TEXT + 1, ',')
                    .nth(FIELDS_BEFORE_TEXT)?;
                Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
            })
            .collect()
    }
}

impl Drop for Subtitle {
    fn drop(&mut self) {
        // SAFETY: ours alone; an empty one is allowed.
        unsafe { sys::avsubtitle_free(&mut self.0) };
    }
}
