//! One picture that stands for a file, as JPEG (ITU-T T.81, JFIF colours).
//!
//! A tenth of the way in, or further where that is black; upright, with square pixels, in standard
//! dynamic range. Still pictures are their own thumbnail.

use std::path::Path;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::colour::Colour;
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::input::{Input, OpenOptions};
use crate::normalise::{ColourTreatment, deinterlace, orient, tone_map, treatment};
use crate::picture::own_picture;
use crate::rational::Rational;
use crate::scaler::{Geometry, Scaler};
use crate::still::{encoded, filtered};
use crate::stream::{Kind, Orientation, Stream, square};

/// Where to look, as shares of the whole; the last ones only if all before are near black.
const PLACES: [f64; 4] = [0.1, 0.3, 0.5, 0.75];
/// Without a known length, the place in seconds.
const FALLBACK_S: f64 = 1.0;
/// Packets read at one place before giving it up: some have no key frame near.
const PACKETS_PER_PLACE: usize = 600;
/// Frames looked at in one place: enough to get over a fade's start.
const FRAMES_PER_PLACE: usize = 12;
/// Mean deviation of luma, in 8 bit steps, under which a picture shows nothing.
const FLAT: f64 = 6.0;
/// mjpeg's quantiser scale, 1 to 31; 3 shows no blocks.
const QUANTISER: i32 = 3;

/// A JPEG no wider than `max_width`, nor taller than twice that; smaller pictures keep their size.
///
/// # Errors
/// As [`Input::open`]; [`Error::NoVideo`] where there is neither video nor a cover picture.
pub fn thumbnail(path: &Path, max_width: u32) -> Result<Vec<u8>> {
    let frame = match own_picture(path, max_width, max_width.saturating_mul(2))? {
        Some(still) => still,
        None => of_stream(path, max_width)?,
    };
    let target = Geometry {
        colour: Colour::JPEG,
        ..Geometry::new(frame.width(), frame.height(), PixelFormat::YUVJ420P)
    };
    let frame = Scaler::new(Geometry::of(&frame), target)?.scale(&frame)?;
    jpeg(&frame, QUANTISER)
}

/// A picture of the video, upright and no larger than the thumbnail.
fn of_stream(path: &Path, max_width: u32) -> Result<Frame> {
    let mut input = Input::open(path, &OpenOptions::default())?;
    let stream = choose(&input)?;
    let frame = representative(&mut input, &stream)?;
    let frame = deinterlaced(frame, &stream)?;
    let orientation = upright(&stream, &frame);
    let frame = shrunk(&frame, &stream, orientation, max_width)?;
    turned(frame, &stream, orientation)
}

/// The video, else a cover picture.
fn choose(input: &Input) -> Result<Stream> {
    let cover = || {
        input
            .streams()
            .iter()
            .find(|stream| stream.kind == Kind::Video && stream.attached_picture)
    };
    match (input.best_video(), cover()) {
        (Ok(stream), _) | (Err(_), Some(stream)) => Ok(stream.clone()),
        (Err(error), None) => Err(error),
    }
}

fn representative(input: &mut Input, stream: &Stream) -> Result<Frame> {
    input.select(&[stream.index]);
    let mut decoder = Decoder::open(stream, 1)?;
    let still = input.is_single_picture() || stream.attached_picture;
    let start = input.start_s().unwrap_or(0.0);
    let places: Vec<Option<f64>> = match input.duration_s() {
        _ if still => vec![None],
        Some(duration) => PLACES
            .iter()
            .map(|share| Some(start + share * duration))
            .collect(),
        None => vec![Some(start + FALLBACK_S)],
    };
    let mut best: Option<(f64, Frame)> = None;
    for place in places {
        // Where a container cannot seek, the next frames in order have to do.
        if place.is_some_and(|seconds| input.seek(stream.index, seconds).is_ok()) {
            decoder.flush();
        }
        if look(input, &mut decoder, &mut best)? {
            break;
        }
    }
    if best.is_none() && !still {
        // All places lay behind what can be decoded, as in a file cut short: the start will do.
        let _ = input.seek(stream.index, start);
        decoder.flush();
        look(input, &mut decoder, &mut best)?;
    }
    match best {
        Some((_, frame)) => Ok(frame),
        None => Err(Error::Truncated {
            file: Arc::clone(&stream.parameters.subject),
            message: "no picture can be decoded".to_owned(),
        }),
    }
}

/// Decodes a few frames from here on and keeps the one that shows most; true when it will do.
fn look(input: &mut Input, decoder: &mut Decoder, best: &mut Option<(f64, Frame)>) -> Result<bool> {
    let mut seen = 0;
    for _ in 0..PACKETS_PER_PLACE {
        // A file cut short ends in an error where a whole one just ends.
        let packet = match input.read() {
            Ok(packet) => packet,
            Err(Error::Truncated { .. }) => None,
            Err(error) => return Err(error),
        };
        // What is damaged here may be whole a few packets on; what is forbidden stays so.
        if let Err(error) = decoder.send(packet.as_ref()) {
            passable(error)?;
        }
        loop {
            let frame = match decoder.receive() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    passable(error)?;
                    break;
                }
            };
            let shows = deviation(&frame);
            if best.as_ref().is_none_or(|(most, _)| shows > *most) {
                *best = Some((shows, frame));
            }
            seen += 1;
            if shows > FLAT {
                return Ok(true);
            }
            if seen >= FRAMES_PER_PLACE {
                return Ok(false);
            }
        }
        if packet.is_none() {
            return Ok(false);
        }
    }
    Ok(false)
}

fn passable(error: Error) -> Result<()> {
    match error {
        Error::Truncated { .. } | Error::Libav { .. } => Ok(()),
        error => Err(error),
    }
}

/// Mean absolute deviation of the first plane over a grid of samples, in 8 bit steps. Dark and
/// plain pictures score low.
fn deviation(frame: &Frame) -> f64 {
    let Some((bytes, stride)) = frame.plane(0) else {
        return FLAT * 2.0;
    };
    let depth = frame.pixel_format().bit_depth().unwrap_or(8);
    let sample_bytes = if depth > 8 { 2 } else { 1 };
    let width = (frame.width() as usize).min(stride / sample_bytes).max(1);
    let rows = frame.height() as usize;
    let (row_step, column_step) = (rows.div_ceil(64).max(1), width.div_ceil(64).max(1));
    let samples: Vec<f64> = (0..rows)
        .step_by(row_step)
        .flat_map(|row| {
            (0..width)
                .step_by(column_step)
                .map(move |column| (row, column))
        })
        .filter_map(|(row, column)| {
            let at = row * stride + column * sample_bytes;
            let raw = bytes.get(at..at + sample_bytes)?;
            let value = match *raw {
                [low, high] => f64::from(u16::from_le_bytes([low, high])),
                _ => f64::from(raw[0]),
            };
            Some(value / f64::from(1u32 << depth.saturating_sub(8)))
        })
        .collect();
    let mean = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    samples
        .iter()
        .map(|sample| (sample - mean).abs())
        .sum::<f64>()
        / samples.len().max(1) as f64
}

/// The container's word, else the picture's own (a photograph's EXIF).
fn upright(stream: &Stream, frame: &Frame) -> Orientation {
    if stream.orientation == Orientation::default() {
        frame.orientation().unwrap_or_default()
    } else {
        stream.orientation
    }
}

fn deinterlaced(frame: Frame, stream: &Stream) -> Result<Frame> {
    match deinterlace(stream) {
        Some(filter) => filtered(frame, &filter),
        None => Ok(frame),
    }
}

/// Square pixels, no larger than asked, in its own sample format: everything after is cheap.
fn shrunk(
    frame: &Frame,
    stream: &Stream,
    orientation: Orientation,
    max_width: u32,
) -> Result<Frame> {
    let aspect = stream
        .sample_aspect
        .unwrap_or_else(|| frame.sample_aspect());
    let (width, height) = square(frame.width(), frame.height(), aspect);
    let (wide, tall) = if orientation.swaps_sides() {
        (height, width)
    } else {
        (width, height)
    };
    let max_width = f64::from(max_width.max(2));
    let share = (max_width / f64::from(wide))
        .min(2.0 * max_width / f64::from(tall))
        .min(1.0);
    let side = |side: u32| ((f64::from(side) * share / 2.0).round() as u32 * 2).max(2);
    let source = Geometry::of(frame);
    let hdr = treatment(stream) == ColourTreatment::ToneMapped;
    let format = if hdr {
        PixelFormat::YUV420P10LE
    } else {
        PixelFormat::YUV420P
    };
    let mut colour = source.colour;
    if !hdr {
        colour.range = Colour::UNSPECIFIED.range;
    }
    let target = Geometry {
        colour,
        ..Geometry::new(side(width), side(height), format)
    };
    Scaler::new(source, target)?.scale(frame)
}

fn turned(frame: Frame, stream: &Stream, orientation: Orientation) -> Result<Frame> {
    let mut filters = Vec::new();
    if treatment(stream) == ColourTreatment::ToneMapped {
        filters.push(tone_map(stream));
    }
    filters.extend(orient(orientation).into_iter().map(str::to_owned));
    if filters.is_empty() {
        Ok(frame)
    } else {
        filtered(frame, &filters.join(","))
    }
}

/// The picture, which must be full-range 4:2:0 in 8 bit, as JPEG. The same bytes for the same picture.
/// `quantiser` is mjpeg's scale: 1 is best, 31 smallest.
///
/// # Errors
/// [`Error::Libav`] for any other layout.
pub fn jpeg(frame: &Frame, quantiser: i32) -> Result<Vec<u8>> {
    encoded("mjpeg", frame, quantiser, |context| {
        context.color_range = sys::AVColorRange::JPEG;
        // Square pixels are said in a JFIF header, which also says what the colours are.
        context.sample_aspect_ratio = Rational::ONE.raw();
    })
}
