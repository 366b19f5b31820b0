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
use crate::rational::Rational;
use crate::stream::{Hdr, Kind, Stream};

/// Everything worth knowing about a file.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
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
    let mut input = Input::open_headers(path, options)?;
    let streams = input.streams().to_vec();
    let mut video = Vec::new();
    for stream in streams.iter().filter(|stream| stream.kind == Kind::Video) {
        video.push(video_stream(stream, &mut input)?);
    }
    let of_kind = |kind| streams.iter().filter(move |stream| stream.kind == kind);
    let picture = input.is_single_picture();
    Ok(Probe {
        container: input.container(),
        duration_s: input.duration_s().filter(|_| !picture),
        bit_rate: input.bit_rate().filter(|_| !picture),
        size: input.size(),
        video,
        audio: of_kind(Kind::Audio).map(audio_stream).collect(),
        subtitles: of_kind(Kind::Subtitle).map(subtitle_stream).collect(),
    })
}

fn video_stream(stream: &Stream, input: &mut Input) -> Result<VideoStream> {
    let parameters = &stream.parameters;
    let format = stream.pixel_format();
    let colour = parameters.colour();
    let still = input.is_single_picture() || stream.attached_picture;
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

/// The rate and whether it varies. Both of libav's guesses mislead alone: the average is off by
/// the last frame's length, the base rate is an arbitrary common multiple when frames vary.
fn rate(stream: &Stream, input: &mut Input) -> Result<(Option<Rational>, bool)> {
    let (Some(average), Some(base)) = (stream.average_rate, stream.base_rate) else {
        return Ok((stream.frame_rate(), false));
    };
    let agree = |tolerance| (average.to_f64() / base.to_f64() - 1.0).abs() < tolerance;
    let mut times = input.indexed_times(stream.index);
    if times.len() < 3 {
        // Matroska states one frame length for the whole track, whatever its frames do.
        let stated = input.container().starts_with("matroska");
        if agree(0.005) && !stated {
            return Ok((stream.frame_rate(), false));
        }
        times = packet_times(stream.index, input)?;
    }
    let variable = is_variable(&mut times, stream.time_base);
    let fps = if !variable && agree(0.02) {
        Some(base)
    } else {
        stream.frame_rate()
    };
    Ok((fps, variable))
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

fn is_variable(times: &mut [i64], time_base: Rational) -> bool {
    times.sort_unstable();
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
    time_base.is_positive() && odd as f64 > (lengths.len() as f64 * ODD_SHARE).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (name, mut times, expected) in rows {
            assert_eq!(
                is_variable(&mut times, Rational::new(1, 1000)),
                expected,
                "{name}"
            );
        }
    }
}
