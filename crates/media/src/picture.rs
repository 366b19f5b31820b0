//! A picture for a screen: whatever a camera or a program wrote becomes WebP, upright, in sRGB, no
//! larger than the screen.
//!
//! Decoding is libav's, and so is encoding (its libwebp): both are here already, and what reads a
//! stranger's file is better few than many. HEIF's boxes are read by `heif` and animated WebP by
//! `animation`, for FFmpeg 5.1 cannot; ICC profiles are applied by qcms, which Firefox uses, for
//! Debian's FFmpeg is built without Little CMS. Pictures that move are not made here: they are video.

mod animation;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::colour::Colour;
use crate::decoder::Decoder;
use crate::error::{Error, Result, display_name};
use crate::exif;
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::heif::{self, Alpha, as_still};
use crate::input::{Input, Limits, OpenOptions};
use crate::normalise::{can_tone_map, orient, tone_map_of};
use crate::scaler::{Geometry, Scaler};
use crate::still::{encoded, filtered};
use crate::stream::square;

pub use animation::Animation;

/// libwebp's quality, 0 to 100: where blocks cannot be seen on a screen.
const QUALITY: i32 = 85;
/// Larger files are no pictures.
const LARGEST_FILE: u64 = 256 << 20;

/// What became of a picture.
#[derive(Debug)]
pub enum Pictured {
    /// It stands still: a WebP file.
    Still {
        /// The file.
        webp: Vec<u8>,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// It moves, or is a video.
    Moving,
    /// It moves, and FFmpeg does not read it.
    Animated(Box<Animation>),
}

/// Whether the file is a still in HEIF or AVIF, by how it begins: FFmpeg 5.1 takes it for a video or
/// does not open it.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn is_heif_still(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    // Nobody waits for whoever writes into a pipe.
    if path.metadata()?.is_file() {
        File::open(path)?.take(4096).read_to_end(&mut start)?;
    }
    Ok(heif::is_still(&start))
}

/// Makes a WebP no wider and no higher than asked. Smaller pictures keep their size.
///
/// # Errors
/// As [`Input::open`] and [`Decoder::open`].
pub fn picture(path: &Path, max_width: u32, max_height: u32) -> Result<Pictured> {
    let file = display_name(path);
    if let Some(animation) = Animation::open(path)? {
        return Ok(Pictured::Animated(Box::new(animation)));
    }
    let bytes = read(path, &file)?;
    let shown = if heif::is_still(&bytes) {
        heif_shown(&bytes, &file, Limits::default())?
    } else {
        match decoded(path, &bytes)? {
            Some(shown) => shown,
            None => return Ok(Pictured::Moving),
        }
    };
    let frame = finished(shown, max_width, max_height)?;
    Ok(Pictured::Still {
        webp: encoded("libwebp", &frame, QUALITY, |_| {})?,
        width: frame.width(),
        height: frame.height(),
    })
}

/// The picture of what FFmpeg does not read, a still in HEIF or AVIF or the first of an animated WebP:
/// upright, in BGRA, no wider and no higher than asked; `None` for any other file.
pub(crate) fn own_picture(path: &Path, max_width: u32, max_height: u32) -> Result<Option<Frame>> {
    let file = display_name(path);
    let io = |source| Error::Io {
        file: Arc::clone(&file),
        source,
    };
    let shown = if let Some(mut animation) = Animation::open(path)? {
        Shown {
            frame: animation.next()?.0,
            alpha: None,
            turns: Vec::new(),
            profile: None,
        }
    } else if is_heif_still(path).map_err(io)? {
        heif_shown(&read(path, &file)?, &file, Limits::default())?
    } else {
        return Ok(None);
    };
    finished(shown, max_width, max_height).map(Some)
}

fn heif_shown(bytes: &[u8], file: &Arc<str>, limits: Limits) -> Result<Shown> {
    let still = heif::still(bytes, file, limits)?;
    let mut frame = still.frame;
    frame.set_colour(as_still(frame.colour()));
    Ok(Shown {
        frame,
        alpha: still.alpha,
        turns: still.turns,
        profile: still.profile,
    })
}

/// What is read of a picture, and done with it, beside what libavcodec decodes.
#[cfg(fuzzing)]
impl Pictured {
    /// Reads made-up bytes.
    pub fn fuzz(bytes: &[u8]) {
        const SIDE: u32 = 256;
        let limits = Limits {
            max_side: SIDE,
            max_pixels: u64::from(SIDE * SIDE),
        };
        let _ = exif::orientation(bytes);
        let _ = heif::is_still(bytes);
        if let Ok(shown) = heif_shown(bytes, &Arc::from("picture"), limits) {
            let _ = finished(shown, SIDE / 2, SIDE / 2);
        }
    }
}

/// A decoded picture and what is to be done with it.
struct Shown {
    frame: Frame,
    /// What another picture says of its opacity.
    alpha: Option<Alpha>,
    turns: Vec<&'static str>,
    profile: Option<Vec<u8>>,
}

fn read(path: &Path, file: &Arc<str>) -> Result<Vec<u8>> {
    let io = |source| Error::Io {
        file: Arc::clone(file),
        source,
    };
    let handle = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    handle
        .take(LARGEST_FILE)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.is_empty() {
        return Err(Error::Empty {
            file: Arc::clone(file),
        });
    }
    Ok(bytes)
}

/// The picture that libav reads; `None` where there is a second one.
fn decoded(path: &Path, bytes: &[u8]) -> Result<Option<Shown>> {
    let mut input = Input::open(path, &OpenOptions::default())?;
    let stream = input.best_video()?.clone();
    let alone = input.is_single_picture();
    input.select(&[stream.index]);
    let mut decoder = Decoder::open(&stream, 1)?;
    let mut first: Option<Frame> = None;
    loop {
        let packet = input.read()?;
        let sent = decoder.send(packet.as_ref());
        // Of a damaged picture libav may give what it has.
        let broken = sent.err();
        while let Some(frame) = decoder.receive()? {
            if first.is_some() && !alone {
                return Ok(None);
            }
            // Of an icon's or a TIFF's several pictures the largest, the first of equals.
            let larger = first.as_ref().is_none_or(|first| {
                frame.width() * frame.height() > first.width() * first.height()
            });
            if larger {
                first = Some(frame);
            }
        }
        match (packet, broken) {
            (_, Some(error)) if first.is_none() => return Err(error),
            (None, _) => break,
            _ => {}
        }
    }
    let Some(mut frame) = first else {
        return Err(Error::Truncated {
            file: display_name(path),
            message: "no picture can be decoded".to_owned(),
        });
    };
    let orientation = frame
        .orientation()
        .or_else(|| exif::orientation(bytes))
        .unwrap_or(stream.orientation);
    let aspect = stream
        .sample_aspect
        .unwrap_or_else(|| frame.sample_aspect());
    frame.set_sample_aspect(aspect);
    frame.set_colour(as_still(frame.colour()));
    Ok(Some(Shown {
        alpha: None,
        turns: orient(orientation),
        profile: frame.profile(),
        frame,
    }))
}

/// Scaled, in sRGB, upright.
fn finished(shown: Shown, max_width: u32, max_height: u32) -> Result<Frame> {
    let Shown {
        frame,
        alpha,
        turns,
        profile,
    } = shown;
    let (width, height) = square(frame.width(), frame.height(), frame.sample_aspect());
    let turned = turns.iter().any(|turn| turn.starts_with("transpose"));
    let (box_width, box_height) = if turned {
        (max_height, max_width)
    } else {
        (max_width, max_height)
    };
    let share = (f64::from(box_width) / f64::from(width))
        .min(f64::from(box_height) / f64::from(height))
        .min(1.0);
    let side = |side: u32| ((f64::from(side) * share).round() as u32).max(1);
    let source = Geometry::of(&frame);
    let colours = converted(source.colour).filter(|_| profile.is_none() && can_tone_map());
    let plain = || {
        let target = Geometry::new(side(width), side(height), PixelFormat::BGRA);
        Scaler::new(source, target)?.scale(&frame)
    };
    let mut frame = match colours {
        Some(colours) => {
            // Filters of colour take planar samples of even sides.
            let even = |length: u32| side(length).next_multiple_of(2);
            let target = Geometry {
                colour: source.colour,
                ..Geometry::new(even(width), even(height), PixelFormat::YUV420P10LE)
            };
            let scaled = Scaler::new(source, target)?.scale(&frame)?;
            match filtered(scaled, &colours) {
                Ok(frame) => {
                    let target = Geometry::new(side(width), side(height), PixelFormat::BGRA);
                    Scaler::new(Geometry::of(&frame), target)?.scale(&frame)?
                }
                // Colours that contradict each other; a pale picture is better than none.
                Err(_) => plain()?,
            }
        }
        None => plain()?,
    };
    if let Some(profile) = profile {
        to_srgb(&mut frame, &profile);
    }
    if let Some(alpha) = alpha {
        make_transparent(&mut frame, &alpha)?;
    }
    if turns.is_empty() {
        Ok(frame)
    } else {
        filtered(frame, &turns.join(","))
    }
}

/// Gives samples in BGRA the opacity that another picture of any size says.
fn make_transparent(frame: &mut Frame, alpha: &Alpha) -> Result<()> {
    const OPAQUE: u32 = 255;
    let target = Geometry::new(frame.width(), frame.height(), PixelFormat::BGRA);
    let brightness = Scaler::new(Geometry::of(&alpha.frame), target)?.scale(&alpha.frame)?;
    let row = frame.width() as usize * 4;
    let (Some((from, from_stride)), Some((to, to_stride))) =
        (brightness.plane(0), frame.plane_mut(0))
    else {
        return Ok(());
    };
    for (from, to) in from.chunks(from_stride).zip(to.chunks_mut(to_stride)) {
        let row = row.min(from.len()).min(to.len());
        for (from, to) in from[..row]
            .chunks_exact(4)
            .zip(to[..row].chunks_exact_mut(4))
        {
            to[3] = from[0];
            if alpha.premultiplied && to[3] > 0 {
                for sample in &mut to[..3] {
                    let whole = u32::from(*sample) * OPAQUE / u32::from(from[0]);
                    *sample = whole.min(OPAQUE) as u8;
                }
            }
        }
    }
    Ok(())
}

/// The filter that takes these colours to BT.709, whose primaries are sRGB's.
fn converted(colour: Colour) -> Option<String> {
    if colour.is_hdr() {
        return Some(tone_map_of(colour));
    }
    let primaries = match colour.primaries()? {
        "smpte432" => "smpte432",
        "bt2020" => "2020",
        _ => return None,
    };
    let matrix = match colour.space() {
        Some("bt2020nc") => "2020_ncl",
        Some("bt709") => "709",
        _ => "470bg",
    };
    let range = if colour.is_full_range() {
        "full"
    } else {
        "limited"
    };
    Some(format!(
        "zscale=pin={primaries}:tin=709:min={matrix}:rin={range}:p=709:t=709:m=709:r=limited,\
         format=yuv420p"
    ))
}

/// Samples under an ICC profile become sRGB's. A profile that cannot be read is as good as none.
fn to_srgb(frame: &mut Frame, profile: &[u8]) {
    const BYTES: usize = 4;
    let Some(own) = qcms::Profile::new_from_slice(profile, false) else {
        return;
    };
    let mut srgb = qcms::Profile::new_sRGB();
    srgb.precache_output_transform();
    let kind = qcms::DataType::BGRA8;
    let intent = qcms::Intent::Perceptual;
    let Some(transform) = qcms::Transform::new_to(&own, &srgb, kind, kind, intent) else {
        return;
    };
    let row = frame.width() as usize * BYTES;
    if let Some((samples, stride)) = frame.plane_mut(0) {
        for line in samples.chunks_mut(stride) {
            let row = row.min(line.len());
            transform.apply(&mut line[..row]);
        }
    }
}
