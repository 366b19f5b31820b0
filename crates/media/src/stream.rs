//! What an open input says about one of its streams.

use ffmpeg_sys_the_third as sys;
use serde::Serialize;

use crate::codec::Parameters;
use crate::dictionary;
use crate::format::PixelFormat;
use crate::packet::ticks;
use crate::rational::Rational;

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Text or pictures to overlay.
    Subtitle,
    /// Anything else: timecode, fonts, data.
    Other,
}

/// How to turn a decoded picture for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Mirror left and right first.
    pub mirrored: bool,
    /// Then turn clockwise by 0, 90, 180 or 270 degrees.
    pub rotation: u16,
}

impl Orientation {
    /// From a display matrix (ISO/IEC 14496-12, 6.2.2): nine 32-bit fixed-point values of which
    /// the upper left two by two turn and mirror. Angles are rounded to quarter turns, as no
    /// player turns by less.
    pub(crate) fn from_matrix(mut matrix: [i32; 9]) -> Option<Self> {
        let [a, b, _, c, d, ..] = matrix.map(i64::from);
        let mirrored = a * d - b * c < 0;
        if mirrored {
            // SAFETY: nine writable values, as the function expects.
            unsafe { sys::av_display_matrix_flip(matrix.as_mut_ptr(), 1, 0) };
        }
        // SAFETY: nine readable values, as the function expects.
        let counter_clockwise = unsafe { sys::av_display_rotation_get(matrix.as_ptr()) };
        if !counter_clockwise.is_finite() {
            return None;
        }
        let quarters = (-counter_clockwise / 90.0).round() as i64;
        let rotation = u16::try_from(quarters.rem_euclid(4) * 90).ok()?;
        Some(Self { mirrored, rotation })
    }

    /// # Safety
    /// `data` must be null or hold `size` readable bytes.
    pub(crate) unsafe fn from_side_data(data: *const u8, size: usize) -> Option<Self> {
        if data.is_null() || size < size_of::<[i32; 9]>() {
            return None;
        }
        // SAFETY: the size was checked; an unaligned read asks for nothing more.
        Self::from_matrix(unsafe { data.cast::<[i32; 9]>().read_unaligned() })
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        self.rotation % 180 == 90
    }
}

/// A kind of high dynamic range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hdr {
    /// Perceptual quantiser, SMPTE ST 2084.
    Hdr10,
    /// Hybrid log-gamma, ARIB STD-B67.
    Hlg,
    /// A Dolby Vision configuration is present.
    DolbyVision,
}

/// One stream of an [`Input`](crate::Input).
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its place in the file.
    pub index: usize,
    /// What it carries.
    pub kind: Kind,
    /// The unit of its packets' timestamps.
    pub time_base: Rational,
    /// The first timestamp, if known.
    pub start: Option<i64>,
    /// How long it lasts, if known.
    pub duration: Option<i64>,
    /// Frames, if the container counts them.
    pub frames: Option<u64>,
    /// What the codec needs to be known beforehand.
    pub parameters: Parameters,
    /// The shape of a pixel, the container's word before the bitstream's. `None` when unknown,
    /// which means square.
    pub sample_aspect: Option<Rational>,
    /// How to turn its pictures for display.
    pub orientation: Orientation,
    /// Frames over time, measured by the demuxer or stated by the container.
    pub average_rate: Option<Rational>,
    /// The lowest rate at which all timestamps fall on whole frames; a guess.
    pub base_rate: Option<Rational>,
    /// Three-letter language code as the container has it; `None` for "und".
    pub language: Option<String>,
    /// What the container calls it.
    pub title: Option<String>,
    /// Whether it is a cover picture rather than video.
    pub attached_picture: bool,
    /// Whether the container marks it as the one to play.
    pub default: bool,
    /// Whether its subtitles are to be shown even where none were asked for.
    pub forced: bool,
    /// What else the container marks it as, by libav's flags: a comment, for those who hear badly.
    pub(crate) disposition: libc::c_int,
    /// Whether a Dolby Vision configuration record is present.
    pub dolby_vision: bool,
    /// What the container says beside the codec, as libav has it.
    pub(crate) side_data: Vec<SideData>,
}

/// One thing that a container says of a stream beside its codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SideData {
    kind: sys::AVPacketSideDataType,
    bytes: Vec<u8>,
}

impl SideData {
    /// The same, of whatever it is said in place of a container.
    pub fn new(kind: sys::AVPacketSideDataType, bytes: Vec<u8>) -> Self {
        Self { kind, bytes }
    }

    /// What of such a kind is among these.
    pub fn find(all: &[Self], kind: sys::AVPacketSideDataType) -> Option<&[u8]> {
        let found = all.iter().find(|data| data.kind == kind)?;
        Some(&found.bytes)
    }

    /// What is kept where a stream is copied.
    const KEPT: [sys::AVPacketSideDataType; 3] = [
        sys::AVPacketSideDataType::DISPLAYMATRIX,
        sys::AVPacketSideDataType::MASTERING_DISPLAY_METADATA,
        sys::AVPacketSideDataType::CONTENT_LIGHT_LEVEL,
    ];

    /// Says it of a stream to be muxed; false when memory is out.
    ///
    /// # Safety
    /// `stream` must be a stream of a live output context whose header is not written.
    pub unsafe fn add_to(&self, stream: *mut sys::AVStream) -> bool {
        // SAFETY: the caller vouches for the stream, which from FFmpeg 6.1 on got its parameters'
        // side data with them; what is allocated here is as long as what is copied.
        unsafe {
            if side_data(&*stream, self.kind).is_some() {
                return true;
            }
            let data = new_side_data(stream, self.kind, self.bytes.len());
            if data.is_null() {
                return false;
            }
            data.copy_from_nonoverlapping(self.bytes.as_ptr(), self.bytes.len());
        }
        true
    }
}

impl Stream {
    /// # Safety
    /// `raw` must be a stream of a live format context that no other thread touches.
    pub(crate) unsafe fn read(raw: &sys::AVStream, parameters: Parameters, single: bool) -> Self {
        let kind = match parameters.raw().codec_type {
            sys::AVMediaType::VIDEO => Kind::Video,
            sys::AVMediaType::AUDIO => Kind::Audio,
            sys::AVMediaType::SUBTITLE => Kind::Subtitle,
            _ => Kind::Other,
        };
        let matrix = side_data(raw, sys::AVPacketSideDataType::DISPLAYMATRIX);
        // SAFETY: the caller vouches for the stream; its dictionary and side data live with it.
        let (orientation, language, title) = unsafe {
            (
                matrix.and_then(|(data, size)| Orientation::from_side_data(data, size)),
                dictionary::entry(raw.metadata, c"language", 0),
                dictionary::entry(raw.metadata, c"title", 0),
            )
        };
        let rate = |raw| Rational::known(raw).filter(|_| kind == Kind::Video && !single);
        Self {
            index: usize::try_from(raw.index).unwrap_or(0),
            kind,
            time_base: Rational::from_raw(raw.time_base),
            start: ticks(raw.start_time),
            duration: ticks(raw.duration).filter(|duration| *duration > 0),
            frames: u64::try_from(raw.nb_frames)
                .ok()
                .filter(|frames| *frames > 0),
            sample_aspect: Rational::known(raw.sample_aspect_ratio)
                .or_else(|| parameters.sample_aspect()),
            orientation: orientation.unwrap_or_default(),
            average_rate: rate(raw.avg_frame_rate),
            base_rate: rate(raw.r_frame_rate),
            language: language
                .map(|(_, code)| code)
                .filter(|code| !code.is_empty() && code != "und"),
            title: title
                .map(|(_, title)| title.trim().to_owned())
                .filter(|title| !title.is_empty()),
            attached_picture: raw.disposition & sys::AV_DISPOSITION_ATTACHED_PIC != 0,
            default: raw.disposition & sys::AV_DISPOSITION_DEFAULT != 0,
            forced: raw.disposition & sys::AV_DISPOSITION_FORCED != 0,
            disposition: raw.disposition,
            dolby_vision: side_data(raw, sys::AVPacketSideDataType::DOVI_CONF).is_some(),
            side_data: SideData::KEPT
                .into_iter()
                .filter_map(|kind| {
                    let (data, size) = side_data(raw, kind)?;
                    // SAFETY: libav keeps `size` readable bytes there.
                    let bytes = unsafe { std::slice::from_raw_parts(data, size) }.to_vec();
                    Some(SideData { kind, bytes })
                })
                .collect(),
            parameters,
        }
    }

    /// FFmpeg's name of the codec.
    pub fn codec(&self) -> &'static str {
        self.parameters.codec()
    }

    /// Luma columns for display, before sample aspect and rotation.
    pub fn width(&self) -> u32 {
        self.parameters.width()
    }

    /// Luma rows for display, before rotation.
    pub fn height(&self) -> u32 {
        self.parameters.height()
    }

    /// The pixel format, if known.
    pub fn pixel_format(&self) -> Option<PixelFormat> {
        self.parameters.pixel_format()
    }

    /// Codec headers kept outside the packets; empty if there are none.
    pub fn extradata(&self) -> &[u8] {
        self.parameters.extradata()
    }

    /// Width and height as displayed: square pixels (the smaller side of the stretched pair is
    /// kept, the other grows), turned as [`Stream::orientation`] says. Not rounded to even.
    pub fn display_size(&self) -> (u32, u32) {
        let (width, height) = square(
            self.width(),
            self.height(),
            self.sample_aspect.unwrap_or(Rational::ONE),
        );
        if self.orientation.swaps_sides() {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// The rate to speak of: the average unless it is only a hair off the base rate, as happens
    /// when a container rounds timestamps to milliseconds.
    pub fn frame_rate(&self) -> Option<Rational> {
        match (self.average_rate, self.base_rate) {
            (Some(average), Some(base)) if close(average, base) => Some(base),
            (Some(average), _) => Some(average),
            (None, base) => base,
        }
    }

    /// Which kind of high dynamic range its description means.
    pub fn hdr(&self) -> Option<Hdr> {
        let colour = self.parameters.colour();
        if self.dolby_vision {
            Some(Hdr::DolbyVision)
        } else if colour.is_pq() {
            Some(Hdr::Hdr10)
        } else if colour.is_hlg() {
            Some(Hdr::Hlg)
        } else {
            None
        }
    }
}

/// A picture's size once its pixels are made square: never smaller than it is stored.
/// A size with square pixels: the smaller side of the stretched pair is kept, the other grows.
pub fn square(width: u32, height: u32, aspect: Rational) -> (u32, u32) {
    let aspect = aspect.to_f64();
    // Absurd aspects come from damaged headers; a 1:100 picture helps nobody.
    if !(0.05..=20.0).contains(&aspect) {
        return (width, height);
    }
    if aspect >= 1.0 {
        ((f64::from(width) * aspect).round() as u32, height)
    } else {
        (width, (f64::from(height) / aspect).round() as u32)
    }
}

/// Within a tenth of a percent: 2997/100 counts as 30000/1001, 30 does not.
fn close(a: Rational, b: Rational) -> bool {
    (a.to_f64() / b.to_f64() - 1.0).abs() < 0.0005
}

#[cfg(ffmpeg_6_1)]
fn side_data(raw: &sys::AVStream, kind: sys::AVPacketSideDataType) -> Option<(*const u8, usize)> {
    // SAFETY: a live stream has parameters, whose side data array has the length stated; an entry
    // lives as long as they.
    unsafe {
        let parameters = raw.codecpar.as_ref()?;
        let entry = sys::av_packet_side_data_get(
            parameters.coded_side_data,
            parameters.nb_coded_side_data,
            kind,
        )
        .as_ref()?;
        Some((entry.data.cast_const(), entry.size))
    }
}

/// # Safety
/// `stream` must be a stream of a live output context.
#[cfg(ffmpeg_6_1)]
unsafe fn new_side_data(
    stream: *mut sys::AVStream,
    kind: sys::AVPacketSideDataType,
    size: usize,
) -> *mut u8 {
    // SAFETY: the caller vouches for the stream; an entry that cannot be made is null.
    unsafe {
        let parameters = (*stream).codecpar;
        sys::av_packet_side_data_new(
            &mut (*parameters).coded_side_data,
            &mut (*parameters).nb_coded_side_data,
            kind,
            size,
            0,
        )
        .as_ref()
        .map_or(std::ptr::null_mut(), |entry| entry.data)
    }
}

/// # Safety
/// `stream` must be a stream of a live output context.
#[cfg(not(ffmpeg_6_1))]
unsafe fn new_side_data(
    stream: *mut sys::AVStream,
    kind: sys::AVPacketSideDataType,
    size: usize,
) -> *mut u8 {
    // SAFETY: the caller vouches for the stream.
    unsafe { sys::av_stream_new_side_data(stream, kind, size) }
}

#[cfg(not(ffmpeg_6_1))]
fn side_data(raw: &sys::AVStream, kind: sys::AVPacketSideDataType) -> Option<(*const u8, usize)> {
    let mut size = 0;
    // SAFETY: the stream is live; what comes back is null or lives as long as the stream.
    let data = unsafe { sys::av_stream_get_side_data(raw, kind, &mut size) };
    (!data.is_null()).then_some((data.cast_const(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1.0 in 16.16 fixed point, and in the 2.30 of the last column.
    const ONE: i32 = 1 << 16;
    const UNIT: i32 = 1 << 30;

    #[test]
    fn orientation_of_matrices() {
        let rows = [
            ("upright", [ONE, 0, 0, ONE], false, 0),
            ("phone upright", [0, ONE, -ONE, 0], false, 90),
            ("upside down", [-ONE, 0, 0, -ONE], false, 180),
            ("phone turned left", [0, -ONE, ONE, 0], false, 270),
            ("mirrored", [-ONE, 0, 0, ONE], true, 0),
            ("flipped", [ONE, 0, 0, -ONE], true, 180),
        ];
        for (name, [a, b, c, d], mirrored, rotation) in rows {
            let orientation = Orientation::from_matrix([a, b, 0, c, d, 0, 0, 0, UNIT]);
            assert_eq!(
                orientation,
                Some(Orientation { mirrored, rotation }),
                "{name}"
            );
        }
        assert_eq!(Orientation::from_matrix([0; 9]), None);
    }

    #[test]
    fn squares_pixels_without_losing_any() {
        let rows = [
            ((720, 576), (64, 45), (1024, 576)),
            ((1440, 1080), (4, 3), (1920, 1080)),
            ((1080, 1080), (1, 2), (1080, 2160)),
            ((640, 360), (1, 1), (640, 360)),
            ((640, 360), (1, 1000), (640, 360)),
        ];
        for ((w, h), (num, den), expected) in rows {
            assert_eq!(square(w, h, Rational::new(num, den)), expected);
        }
    }
}
