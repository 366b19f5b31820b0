//! Thumbnails for seeking: a sheet of small tiles (JPEG) for each segment, and the texts that say
//! which tile shows which moment.
//!
//! Players know three ways of being told: an image playlist in HLS (EXT-X-IMAGE-STREAM-INF and
//! EXT-X-TILES: Roku, Shaka Player), `thumbnail_tile` in DASH (dash.js, Shaka Player; see `dash`),
//! and a WebVTT file whose cues are addresses with a rectangle (`#xywh=`, Media Fragments 4.2.2:
//! Video.js, JW Player, Plyr, and most others that play by hls.js). One sheet serves all three.

use std::fmt::Write;

use media::{Colour, Frame, Geometry, PixelFormat, Scaler};

use crate::Result;
use crate::playlist::{self, Content, Form, Rendition, SegmentInfo, named};
use crate::sample::{TICKS, seconds};
use crate::sink::Segment;
use crate::unit::Span;

/// Name of the WebVTT index, beside the image playlist.
pub const INDEX: &str = "thumbnails.vtt";

/// Tiles in a row of a sheet, and rows: one tile a second at the usual segment duration.
pub const COLUMNS: u32 = 2;
/// Rows of a sheet.
pub const ROWS: u32 = 2;

/// The longer side of a tile in pixels.
const SIDE: u32 = 160;
/// mjpeg's quantiser scale: at this size nobody sees more.
const QUANTISER: i32 = 5;

/// The size of a tile for pictures of this size, even for 4:2:0.
pub fn tile_size(width: u32, height: u32) -> (u32, u32) {
    let longer = f64::from(width.max(height)).max(f64::from(SIDE));
    let side = |length: u32| {
        let scaled = f64::from(length) * f64::from(SIDE) / longer;
        ((scaled / 2.0).round() as u32 * 2).max(2)
    };
    (side(width), side(height))
}

/// Pictures scaled for each tile of a segment of the usual duration. How long a segment becomes may
/// be known only at its end; its tiles are chosen then.
const CANDIDATES: i64 = 2;

/// Makes the sheet of each segment out of the pictures that go by.
pub struct Sheets {
    tile: Geometry,
    /// Ticks between candidates.
    step: i64,
    scaler: Option<Scaler>,
    /// Scaled pictures of the open segment, with their times.
    candidates: Vec<(i64, Frame)>,
}

impl Sheets {
    /// Sheets of tiles of this size, where segments usually last so many seconds.
    pub fn new((width, height): (u32, u32), segment_s: f64) -> Sheets {
        let mut tile = Geometry::new(width, height, PixelFormat::YUVJ420P);
        tile.colour = Colour::JPEG;
        let tiles = i64::from(COLUMNS * ROWS);
        Sheets {
            tile,
            step: ((segment_s * TICKS as f64) as i64 / (tiles * CANDIDATES)).max(1),
            scaler: None,
            candidates: Vec::new(),
        }
    }

    /// Shows a picture of the segment.
    pub fn picture(&mut self, frame: &Frame, pts: i64, span: &Span) -> Result<()> {
        let last = self.candidates.last().map(|(pts, _)| pts - span.start);
        let next = last.map_or(0, |last| (last / self.step + 1) * self.step);
        if pts - span.start < next {
            return Ok(());
        }
        let scaler = match &mut self.scaler {
            Some(scaler) => scaler,
            None => self
                .scaler
                .insert(Scaler::new(Geometry::of(frame), self.tile)?),
        };
        self.candidates.push((pts, scaler.scale(frame)?));
        Ok(())
    }

    /// The sheet of the segment that ends here: tiles show what is seen at equal distances.
    pub fn close(&mut self, span: &Span, end: i64) -> Result<Option<Segment>> {
        let candidates = std::mem::take(&mut self.candidates);
        let Some((_, first)) = candidates.first() else {
            return Ok(None);
        };
        let (width, height) = (self.tile.width, self.tile.height);
        let format = PixelFormat::YUVJ420P;
        let mut sheet = Frame::video(width * COLUMNS, height * ROWS, format)?;
        sheet.set_colour(Colour::JPEG);
        for place in 0..COLUMNS * ROWS {
            let time =
                span.start + (end - span.start) * i64::from(place) / i64::from(COLUMNS * ROWS);
            let seen = candidates.iter().rfind(|(pts, _)| *pts <= time);
            let tile = seen.map_or(first, |(_, tile)| tile);
            let (x, y) = (place % COLUMNS * width, place / COLUMNS * height);
            for plane in 0..3 {
                // Chroma has half of both sides; all of them are even.
                let half = u32::from(plane > 0);
                put(
                    &mut sheet,
                    tile,
                    plane,
                    (x >> half, y >> half),
                    (width >> half, height >> half),
                );
            }
        }
        Ok(Some(Segment {
            rung: playlist::PICTURES.to_string(),
            index: span.index as u32,
            start: seconds(span.start),
            duration: seconds(end - span.start),
            bytes: media::jpeg(&sheet, QUANTISER)?,
            ..Segment::default()
        }))
    }
}

/// Copies a plane of a tile to its place in the sheet.
fn put(sheet: &mut Frame, tile: &Frame, plane: usize, (x, y): (u32, u32), (w, h): (u32, u32)) {
    let (Some((from, from_stride)), Some((to, to_stride))) =
        (tile.plane(plane), sheet.plane_mut(plane))
    else {
        return;
    };
    let (x, y, width, height) = (x as usize, y as usize, w as usize, h as usize);
    let rows = from
        .chunks(from_stride)
        .zip(to.chunks_mut(to_stride).skip(y));
    for (from, to) in rows.take(height) {
        if let (Some(from), Some(to)) = (from.get(..width), to.get_mut(x..x + width)) {
            to.copy_from_slice(from);
        }
    }
}

/// Width and height of a JPEG, from its frame header (ITU-T T.81 B.2.2).
pub fn jpeg_size(data: &[u8]) -> Option<(u32, u32)> {
    let mut rest = data.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let [0xff, marker, high, low, ..] = *rest else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if (0xc0..=0xc2).contains(&marker) {
            let size: [u8; 4] = *rest.get(5..)?.first_chunk()?;
            let [a, b, c, d] = size;
            let (height, width) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            return Some((width.into(), height.into()));
        }
        rest = rest.get(2 + length..)?;
    }
}

/// The line of an image playlist that says how a sheet is laid out.
pub fn tiles(rendition: &Rendition, segment: &SegmentInfo) -> Option<String> {
    let Content::Pictures {
        width,
        height,
        columns,
        rows,
    } = rendition.content
    else {
        return None;
    };
    let each = segment.duration / f64::from(columns * rows);
    Some(format!(
        "#EXT-X-TILES:RESOLUTION={width}x{height},LAYOUT={columns}x{rows},DURATION={each:.6}"
    ))
}

/// The master's line for an image playlist.
pub fn image_stream(rendition: &Rendition) -> Option<String> {
    let Content::Pictures { width, height, .. } = rendition.content else {
        return None;
    };
    let (bandwidth, uri) = (rendition.declared_bandwidth(), &rendition.uri);
    Some(format!(
        "#EXT-X-IMAGE-STREAM-INF:BANDWIDTH={bandwidth},CODECS=\"jpeg\",\
         RESOLUTION={width}x{height},URI=\"{uri}\""
    ))
}

/// The WebVTT index of a thumbnails rendition: a cue for each tile.
pub fn index(rendition: &Rendition, form: Form) -> Option<String> {
    let Content::Pictures {
        width,
        height,
        columns,
        rows,
    } = rendition.content
    else {
        return None;
    };
    let (_, segments) = named(rendition, form);
    let gone = rendition.segments.len() - segments.len();
    let gone = rendition.segments[..gone].iter().map(|s| s.duration);
    let mut start = rendition.forgotten.duration + gone.sum::<f64>();
    let mut text = String::from("WEBVTT\n");
    for segment in segments {
        let each = segment.duration / f64::from(columns * rows);
        for tile in 0..columns * rows {
            let from = timestamp(start + each * f64::from(tile));
            let to = timestamp(start + each * f64::from(tile + 1));
            let (x, y) = (tile % columns * width, tile / columns * height);
            let uri = &segment.uri;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n{from} --> {to}\n{uri}#xywh={x},{y},{width},{height}\n"
            );
        }
        start += segment.duration;
    }
    Some(text)
}

/// A WebVTT timestamp (W3C WebVTT 4.1).
pub fn timestamp(seconds: f64) -> String {
    let millis = (seconds.max(0.0) * 1000.0).round() as u64;
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let (seconds, millis) = (millis / 1000 % 60, millis % 1000);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}")
}
