//! Clips to try players and boards with: everything moves, and every frame says its number and its
//! time, so that a photograph of a screen tells which frame was on it.

use std::path::Path;

use crate::colour::Colour;
use crate::encoder::{VideoEncoder, VideoEncoderOptions};
use crate::error::Result;
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::muxer::Muxer;
use crate::pool::FramePool;
use crate::rational::Rational;

/// What a clip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestClip {
    /// `h264` or `hevc`.
    pub codec: &'static str,
    /// Luma columns.
    pub width: u32,
    /// Luma rows.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    /// Its length.
    pub seconds: u32,
}

/// Makes a clip, a new MP4 file. `heard` is told how many frames are made.
///
/// # Errors
/// [`Error::Libav`](crate::Error::Libav), [`Error::Write`](crate::Error::Write).
pub fn test_clip(path: &Path, clip: TestClip, heard: &mut dyn FnMut(u32)) -> Result<()> {
    let rate = Rational::new(clip.fps as i32, 1);
    let options = VideoEncoderOptions {
        encoder: if clip.codec == "hevc" {
            "libx265".to_owned()
        } else {
            "libx264".to_owned()
        },
        width: clip.width,
        height: clip.height,
        time_base: rate.inverse(),
        frame_rate: Some(rate),
        colour: Colour::BT709,
        preset: Some("superfast".to_owned()),
        threads: 0,
        global_header: true,
        ..VideoEncoderOptions::default()
    };
    let mut encoder = VideoEncoder::open(&options)?;
    let streams = [encoder.stream()?];
    let mut muxer = Muxer::file(path, "mp4", &streams, &[("movflags", "+faststart")])?;
    let painter = Painter::new(clip)?;
    for number in 0..=clip.fps * clip.seconds {
        let last = number == clip.fps * clip.seconds;
        let frame = (!last).then(|| painter.frame(number)).transpose()?;
        encoder.send(frame.as_ref(), false)?;
        while let Some(packet) = encoder.receive()? {
            muxer.write(&packet)?;
        }
        heard(number);
    }
    muxer.finish()?;
    Ok(())
}

/// Rows of the digits 0 to 9, of ':' and of '.', five columns each, the left one in bit 4.
const GLYPHS: [[u8; 7]; 12] = [
    [14, 17, 19, 21, 25, 17, 14],
    [4, 12, 4, 4, 4, 4, 14],
    [14, 17, 1, 2, 4, 8, 31],
    [31, 2, 4, 2, 1, 17, 14],
    [2, 6, 10, 18, 31, 2, 2],
    [31, 16, 30, 1, 1, 17, 14],
    [6, 8, 16, 30, 17, 17, 14],
    [31, 1, 2, 4, 8, 8, 8],
    [14, 17, 17, 14, 17, 17, 14],
    [14, 17, 17, 15, 1, 2, 12],
    [0, 4, 4, 0, 4, 4, 0],
    [0, 0, 0, 0, 0, 12, 12],
];

const BLACK: u8 = 16;
const WHITE: u8 = 235;
const GREY: u8 = 128;

struct Painter {
    clip: TestClip,
    pool: FramePool,
    /// One period of what pans, for each of three planes: a frame begins anywhere in it.
    bands: [Vec<u8>; 3],
}

impl Painter {
    fn new(clip: TestClip) -> Result<Self> {
        let band = |plane: usize| {
            let width = clip.width as usize >> usize::from(plane > 0);
            // Waves of several lengths, which no encoder can take for one.
            (0..2 * width)
                .map(|column| {
                    let part = column as f64 / width as f64 * std::f64::consts::TAU;
                    let wave =
                        (part * 3.0).sin() * 40.0 + (part * 17.0 + plane as f64).sin() * 25.0;
                    (120.0 + wave) as u8
                })
                .collect()
        };
        Ok(Self {
            pool: FramePool::new(clip.width, clip.height, PixelFormat::YUV420P)?,
            bands: [band(0), band(1), band(2)],
            clip,
        })
    }

    fn frame(&self, number: u32) -> Result<Frame> {
        let mut frame = self.pool.frame()?;
        // A quarter of the width a second, and each row a little further than the one above it.
        let (width, height) = (self.clip.width as usize, self.clip.height as usize);
        let moved = number as usize * width / (4 * self.clip.fps as usize);
        for (plane, band) in self.bands.iter().enumerate() {
            let half = usize::from(plane > 0);
            let (width, period) = (width >> half, band.len() / 2);
            if let Some((samples, stride)) = frame.plane_mut(plane) {
                for (row, line) in samples.chunks_mut(stride).enumerate() {
                    let start = ((moved >> half) + row / 2) % period;
                    let width = width.min(line.len());
                    line[..width].copy_from_slice(&band[start..start + width]);
                }
            }
        }
        let second = number / self.clip.fps;
        let text = format!(
            "{number:05} {:02}:{:02}.{:02}",
            second / 60,
            second % 60,
            number % self.clip.fps
        );
        self.write(&mut frame, &text, height / 90);
        frame.set_colour(Colour::BT709);
        frame.set_pts(Some(i64::from(number)));
        frame.set_duration(1);
        Ok(frame)
    }

    /// White on black in the upper left, `dot` samples a dot.
    fn write(&self, frame: &mut Frame, text: &str, dot: usize) {
        let dot = dot.max(1);
        let left = 4 * dot;
        let (columns, rows) = ((text.len() * 6 + 3) * dot, 11 * dot);
        for plane in [1, 2] {
            if let Some((samples, stride)) = frame.plane_mut(plane) {
                let lines = samples.chunks_mut(stride).skip(left / 2).take(rows / 2);
                for line in lines {
                    let end = ((left + columns) / 2).min(line.len());
                    line[left / 2..end].fill(GREY);
                }
            }
        }
        let Some((samples, stride)) = frame.plane_mut(0) else {
            return;
        };
        for (row, line) in samples.chunks_mut(stride).skip(left).take(rows).enumerate() {
            let end = (left + columns).min(line.len());
            line[left..end].fill(BLACK);
            let Some(bits) = (row / dot).checked_sub(2).filter(|bits| *bits < 7) else {
                continue;
            };
            for (place, character) in text.bytes().enumerate() {
                let glyph = match character {
                    b'0'..=b'9' => usize::from(character - b'0'),
                    b':' => 10,
                    b'.' => 11,
                    _ => continue,
                };
                for column in 0..5 {
                    let at = left + (2 + place * 6 + column) * dot;
                    let set = GLYPHS[glyph][bits] >> (4 - column) & 1 == 1;
                    if set && at + dot <= end {
                        line[at..at + dot].fill(WHITE);
                    }
                }
            }
        }
    }
}
