//! What is in a file, as data: the form in which every room speaks about media.
//!
//! Serialises to the object that `kinora probe --json` prints. Codec, profile, pixel format and
//! colour names are FFmpeg's; what is unknown is null. Most of it comes from the container's
//! header; packets are read, and a few pictures decoded, only where the header does not say.

use std::path::Path;

use ffmpeg_sys_the_third::AVFieldOrder;
use serde::Serialize;

use crate::error::Result;
use crate::input::{Input, OpenOptions};
use crate::picture::is_heif_still;
use crate::rational::Rational;
use crate::stream::{Hdr, Kind, Stream};

/// Everything worth knowing about a file.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    /// A still picture, whatever reads it.
    pub picture: bool,
    /// FFmpeg's full name of the container family.
    pub container: &'static str,
    /// Length in seconds; null for pictures.
    pub duration_s: Option<f64>,
    /// Bits per second over the whole file.
    pub bit_rate: Option<u64>,
    /// Bytes.
    pub size: u64,
    /// Video streams and cover pictures, in the container's order.
    pub video: Vec<VideoStream>,
    /// Audio streams.
    pub audio: Vec<AudioStream>,
    /// Subtitle streams.
    pub subtitles: Vec<SubtitleStream>,
}

/// A video stream.
#[derive(Clone, Debug, Serialize)]
pub struct VideoStream {
    /// Its place among all streams.
    pub index: usize,
    /// FFmpeg's name of the codec.
    pub codec: &'static str,
    /// FFmpeg's name of the profile, or its number where it has none.
    pub profile: Option<String>,
    /// The level as the codec codes it (40 is H.264 level 4).
    pub level: Option<i32>,
    /// Luma columns for display, before sample aspect and rotation.
    pub width: u32,
    /// Luma rows for display, before rotation.
    pub height: u32,
    /// Frames per second.
    pub fps: Option<Rational>,
    /// Whether frames last differently long.
    pub variable_rate: bool,
    /// Frames, if the container counts them.
    pub frames: Option<u64>,
    /// The shape of a pixel.
    pub sample_aspect: Option<Rational>,
    /// Degrees clockwise to turn for display: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether left and right are to be exchanged before turning.
    pub mirrored: bool,
    /// Sample layout.
    pub pix_fmt: Option<&'static str>,
    /// Bits per sample.
    pub bit_depth: Option<u8>,
    /// Chroma subsampling: "4:2:0"; null for RGB.
    pub chroma: Option<&'static str>,
    /// "progressive", or the order in which fields are coded and shown ("tt", "bb", "tb", "bt").
    pub field_order: Option<&'static str>,
    /// Primaries.
    pub color_primaries: Option<&'static str>,
    /// Transfer characteristic.
    pub color_transfer: Option<&'static str>,
    /// Matrix.
    pub color_space: Option<&'static str>,
    /// "tv" or "pc".
    pub color_range: Option<&'static str>,
    /// Kind of high dynamic range.
    pub hdr: Option<Hdr>,
    /// Bits per second.
    pub bit_rate: Option<u64>,
    /// Length in seconds.
    pub duration_s: Option<f64>,
    /// Three-letter code.
    pub language: Option<String>,
    /// Whether this is a cover picture, which never counts as the video.
    pub attached_picture: bool,
}

/// An audio stream.
#[derive(Clone, Debug, Serialize)]
pub struct AudioStream {
    /// Its place among all streams.
    pub index: usize,
    /// FFmpeg's name of the codec.
    pub codec: &'static str,
    /// FFmpeg's name of the profile, or its number where it has none.
    pub profile: Option<String>,
    /// Channels.
    pub channels: u32,
    /// FFmpeg's name of the layout.
    pub channel_layout: Option<String>,
    /// Samples per second.
    pub sample_rate: Option<u32>,
    /// Bits per second.
    pub bit_rate: Option<u64>,
    /// Length in seconds.
    pub duration_s: Option<f64>,
    /// Three-letter code.
    pub language: Option<String>,
}

/// A subtitle stream.
#[derive(Clone, Debug, Serialize)]
pub struct SubtitleStream {
    /// Its place among all streams.
    pub index: usize,
    /// FFmpeg's name of the codec.
    pub codec: &'static str,
    /// Three-letter code.
    pub language: Option<String>,
}

/// Looks into a file. A file without video is no error here: its `video` is empty.
///
/// # Errors
/// As [`Input::open`].
pub fn probe(path: &Path, options: &OpenOptions) -> Result<Probe> {
    let opened = Input::open_headers(path, options);
    let heif = is_heif_still(path).is_ok_and(|heif| heif);
    let mut input = match opened {
        // What FFmpeg does not open the picture's own reader may.
        Err(_) if heif => {
            return Ok(Probe {
                picture: true,
                container: "heif",
                duration_s: None,
                bit_rate: None,
                size: path.metadata().map_or(0, |file| file.len()),
                video: Vec::new(),
                audio: Vec::new(),
                subtitles: Vec::new(),
            });
        }
        opened => opened?,
    };
    let single = heif || input.is_single_picture();
    let streams = input.streams().to_vec();
    let mut video = Vec::new();
    for stream in streams.iter().filter(|stream| stream.kind == Kind::Video) {
        video.push(video_stream(stream, single, &mut input)?);
    }
    let of_kind = |kind| streams.iter().filter(move |stream| stream.kind == kind);
    let shown = video.iter().any(|video| !video.attached_picture);
    let picture = heif || single && shown;
    Ok(Probe {
        picture,
        container: input.container(),
        duration_s: input.duration_s().filter(|_| !picture),
        bit_rate: input.bit_rate().filter(|_| !picture),
        size: input.size(),
        video,
        audio: of_kind(Kind::Audio).map(audio_stream).collect(),
        subtitles: of_kind(Kind::Subtitle).map(subtitle_stream).collect(),
    })
}

fn video_stream(stream: &Stream, single: bool, input: &mut Input) -> Result<VideoStream> {
    let parameters = &stream.parameters;
    let format = stream.pixel_format();
    let colour = parameters.colour();
    let still = single || stream.attached_picture;
    let (fps, variable_rate) = if still {
        (None, false)
    } else {
        rate(stream, input)?
    };
    Ok(VideoStream {
        index: stream.index,
        codec: stream.codec(),
        profile: parameters.profile(),
        level: parameters.level(),
        width: stream.width(),
        height: stream.height(),
        fps,
        variable_rate,
        frames: stream.frames,
        sample_aspect: stream.sample_aspect,
        rotation: stream.orientation.rotation,
        mirrored: stream.orientation.mirrored,
        pix_fmt: format.map(|format| format.name()),
        bit_depth: format.and_then(|format| format.bit_depth()),
        chroma: format.and_then(|format| format.chroma()),
        field_order: field_order(parameters.raw().field_order),
        color_primaries: colour.primaries(),
        color_transfer: colour.transfer(),
        color_space: colour.space(),
        color_range: colour.range(),
        hdr: stream.hdr(),
        bit_rate: parameters.bit_rate(),
        duration_s: seconds(stream).filter(|_| !still),
        language: stream.language.clone(),
        attached_picture: stream.attached_picture,
    })
}

fn audio_stream(stream: &Stream) -> AudioStream {
    AudioStream {
        index: stream.index,
        codec: stream.codec(),
        profile: stream.parameters.profile(),
        channels: stream.parameters.channels(),
        channel_layout: stream.parameters.channel_layout(),
        sample_rate: stream.parameters.sample_rate(),
        bit_rate: stream.parameters.bit_rate(),
        duration_s: seconds(stream),
        language: stream.language.clone(),
    }
}

fn subtitle_stream(stream: &Stream) -> SubtitleStream {
    SubtitleStream {
        index: stream.index,
        codec: stream.codec(),
        language: stream.language.clone(),
    }
}

fn seconds(stream: &Stream) -> Option<f64> {
    stream
        .duration
        .map(|duration| stream.time_base.seconds(duration))
}

fn field_order(order: AVFieldOrder) -> Option<&'static str> {
    match order {
        AVFieldOrder::PROGRESSIVE => Some("progressive"),
        AVFieldOrder::TT => Some("tt"),
        AVFieldOrder::BB => Some("bb"),
        AVFieldOrder::TB => Some("tb"),
        AVFieldOrder::BT => Some("bt"),
        _ => None,
    }
}

/// Packets looked at where a container has no index and its rates cannot be trusted: two seconds
/// of film and more.
const RATE_PACKETS: usize = 60;
/// A frame counts as odd when its length is this far off the usual one: jitter of a camera's
/// clock and of millisecond timestamps stays below, a dropped frame does not.
const ODD_LENGTH: f64 = 0.25;
/// More odd frames than this make a variable rate; a stray one at a cut does not.
const ODD_SHARE: f64 = 0.02;

/// Rates above this are a container's tick, not anybody's film.
const MAX_RATE: f64 = 480.0;
/// How far the rate counted from timestamps may lie from the one it stands for: the timestamps of
/// two seconds in whole milliseconds are off by less.
const RATE_TOLERANCE: f64 = 0.005;

/// Rates that cameras and encoders are set to.
const COMMON_RATES: [Rational; 10] = [
    Rational::new(24_000, 1001),
    Rational::new(24, 1),
    Rational::new(25, 1),
    Rational::new(30_000, 1001),
    Rational::new(30, 1),
    Rational::new(50, 1),
    Rational::new(60_000, 1001),
    Rational::new(60, 1),
    Rational::new(15, 1),
    Rational::new(120, 1),
];

/// The rate and whether it varies. Both of libav's guesses mislead alone: the average is off by
/// the last frame's length, the base rate is an arbitrary common multiple when frames vary. So
/// timestamps are counted, from the container's index or, where the guesses are not to be trusted,
/// from the first packets; then the guess that fits them is the exact one.
fn rate(stream: &Stream, input: &mut Input) -> Result<(Option<Rational>, bool)> {
    let guesses = [stream.base_rate, stream.average_rate];
    let plausible = |rate: &Rational| rate.to_f64() <= MAX_RATE;
    let mut times = input.indexed_times(stream.index);
    if times.len() < 3 {
        let agree = matches!(guesses, [Some(base), Some(average)] if near(base, average.to_f64()));
        // Matroska states one frame length for the whole track, whatever its frames do.
        let stated = input.container().starts_with("matroska");
        if agree && !stated && guesses.iter().flatten().all(plausible) {
            return Ok((stream.frame_rate(), false));
        }
        times = packet_times(stream.index, input)?;
    }
    times.sort_unstable();
    let variable = is_variable(&times);
    let Some(counted) = counted_rate(&times, stream.time_base) else {
        return Ok((stream.frame_rate().filter(plausible), false));
    };
    let exact = exact_rate(guesses, counted);
    Ok((Some(exact), variable))
}

/// The rate that was meant where `counted` was seen: a guess that is a common rate, else a common
/// rate closer than two of them lie to each other, else a guess that fits.
fn exact_rate(guesses: [Option<Rational>; 2], counted: Rational) -> Rational {
    let seen = counted.to_f64();
    let fits = || {
        guesses
            .into_iter()
            .flatten()
            .filter(|guess| near(*guess, seen))
    };
    let distance = |rate: &Rational| (rate.to_f64() / seen - 1.0).abs();
    fits()
        .find(|guess| COMMON_RATES.contains(guess))
        .or_else(|| {
            let nearest = COMMON_RATES
                .into_iter()
                .min_by(|a, b| distance(a).total_cmp(&distance(b)));
            nearest.filter(|rate| distance(rate) < 0.001)
        })
        .or_else(|| fits().next())
        .unwrap_or(counted)
}

fn near(rate: Rational, other: f64) -> bool {
    (rate.to_f64() / other - 1.0).abs() < RATE_TOLERANCE
}

/// Frames over time of at least three sorted times.
fn counted_rate(times: &[i64], time_base: Rational) -> Option<Rational> {
    let span = times.last()?.checked_sub(*times.first()?)?;
    let frames = times.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if frames < 2 || !time_base.is_positive() {
        return None;
    }
    // In thousandths where the exact fraction is too long to be one.
    let (num, den) = (
        frames as i64 * i64::from(time_base.den),
        span * i64::from(time_base.num),
    );
    let thousandths = (num as f64 / den as f64 * 1000.0).round();
    let rate = match (i32::try_from(num), i32::try_from(den)) {
        (Ok(num), Ok(den)) => Rational::new(num, den),
        _ => Rational::new(thousandths as i32, 1000),
    };
    Some(rate.reduced()).filter(|rate| rate.is_positive() && rate.to_f64() <= MAX_RATE)
}

fn packet_times(index: usize, input: &mut Input) -> Result<Vec<i64>> {
    input.select(&[index]);
    let mut times = Vec::new();
    while times.len() < RATE_PACKETS {
        let Some(packet) = input.read()? else { break };
        times.extend(packet.pts().or(packet.dts()));
    }
    Ok(times)
}

/// Whether the lengths between sorted times differ by more than clocks do.
fn is_variable(times: &[i64]) -> bool {
    let mut lengths: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The two fields of a picture in packets of their own share a time.
    lengths.retain(|length| *length > 0);
    if lengths.len() < 2 {
        return false;
    }
    let middle = lengths.len() / 2;
    let usual = *lengths.select_nth_unstable(middle).1;
    // A clock too coarse for the rate makes neighbours differ by one tick, a millisecond clock by
    // less than the share.
    let slack = ((usual as f64 * ODD_LENGTH) as i64).max(1);
    let odd = lengths
        .iter()
        .filter(|length| (**length - usual).abs() > slack)
        .count();
    odd as f64 > (lengths.len() as f64 * ODD_SHARE).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_rates() {
        let r = Rational::new;
        let rows = [
            ([Some(r(25, 1)), Some(r(25, 1))], r(25, 1), r(25, 1)),
            ([Some(r(50, 1)), Some(r(25, 1))], r(25, 1), r(25, 1)),
            (
                [Some(r(600, 1)), Some(r(1000, 1))],
                r(29_970, 1000),
                r(30_000, 1001),
            ),
            ([Some(r(45_000, 1499)), None], r(45_000, 1499), r(30, 1)),
            (
                [Some(r(2997, 100)), Some(r(2997, 100))],
                r(2997, 100),
                r(30_000, 1001),
            ),
            ([Some(r(25, 2)), Some(r(25, 2))], r(1249, 100), r(25, 2)),
            ([None, None], r(7, 3), r(7, 3)),
        ];
        for (guesses, counted, expected) in rows {
            assert_eq!(
                exact_rate(guesses, counted),
                expected,
                "{guesses:?} {counted}"
            );
        }
        let ticks: Vec<i64> = (0..61).map(|n| n * 3003).collect();
        assert_eq!(counted_rate(&ticks, r(1, 90_000)), Some(r(30_000, 1001)));
        assert_eq!(
            counted_rate(&[0, 1, 2], r(1, 1000)),
            None,
            "a tick is no rate"
        );
    }

    #[test]
    fn variable_rates() {
        let film: Vec<i64> = (0..100).map(|n| n * 1001).collect();
        let milliseconds: Vec<i64> = (0..100).map(|n| n * 100_000 / 2997).collect();
        let camera: Vec<i64> = (0..100).map(|n| n * 3000 + (n * 37) % 50).collect();
        let one_gap: Vec<i64> = (0..100).map(|n| n * 40 + i64::from(n > 50) * 40).collect();
        let dropping: Vec<i64> = (0..100).filter(|n| n % 7 != 0).map(|n| n * 40).collect();
        let halves: Vec<i64> = (0..50)
            .chain((50..100).step_by(2))
            .map(|n| n * 40)
            .collect();
        let rows = [
            ("film", film, false),
            ("milliseconds", milliseconds, false),
            ("camera", camera, false),
            ("one gap", one_gap, false),
            ("dropping", dropping, true),
            ("halves", halves, true),
            ("single", vec![0], false),
        ];
        for (name, times, expected) in rows {
            assert_eq!(is_variable(&times), expected, "{name}");
        }
    }
}
