//! Animated WebP, which FFmpeg's decoder refuses: pictures by `image-webp`, made into a video.
//!
//! One canvas and one picture are in memory at a time, whatever the file's length. Where it is
//! transparent there is black behind it, as on a screen that shows nothing else.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use image_webp::{DecodingError, WebPDecoder};

use crate::colour::Colour;
use crate::encoder::{VideoEncoder, VideoEncoderOptions};
use crate::error::{Error, Result, display_name};
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::input::Limits;
use crate::muxer::Muxer;
use crate::rational::Rational;
use crate::render::Encode;
use crate::scaler::{Geometry, Scaler};

const MILLISECOND: Rational = Rational::new(1, 1000);
/// Shorter times mean "as fast as it may be", for which browsers take so many milliseconds.
const SHORTEST_MS: u32 = 20;
const USUAL_MS: u32 = 100;
/// Pictures nearer to each other than this are left out: thirty a second.
const NEAREST_MS: i64 = 33;

/// An animated WebP that is being read.
pub struct Animation {
    decoder: WebPDecoder<BufReader<File>>,
    file: Arc<str>,
}

impl Animation {
    /// Opens the file; `None` where it is something else.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Truncated`], [`Error::TooLarge`].
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let file = display_name(path);
        let io = |source| Error::Io {
            file: Arc::clone(&file),
            source,
        };
        let mut start = Vec::new();
        let mut handle = File::open(path).map_err(io)?;
        (&handle).take(30).read_to_end(&mut start).map_err(io)?;
        if !is_animated(&start) {
            return Ok(None);
        }
        handle.rewind().map_err(io)?;
        let decoder = WebPDecoder::new(BufReader::new(handle)).map_err(|e| damaged(&file, &e))?;
        let (width, height) = decoder.dimensions();
        Limits::default().check(&file, width, height)?;
        Ok(Some(Self { decoder, file }))
    }

    /// Columns and rows.
    pub fn size(&self) -> (u32, u32) {
        self.decoder.dimensions()
    }

    /// How long it lasts once, in seconds, by its own word.
    pub fn duration_s(&self) -> f64 {
        self.decoder.loop_duration() as f64 / 1000.0
    }

    /// The next picture in BGRA, and how many milliseconds it lasts.
    pub(crate) fn next(&mut self) -> Result<(Frame, u32)> {
        let (width, height) = self.size();
        let bytes = if self.decoder.has_alpha() { 4 } else { 3 };
        let mut samples = vec![0; width as usize * height as usize * bytes];
        let lasts = self
            .decoder
            .read_frame(&mut samples)
            .map_err(|error| damaged(&self.file, &error))?;
        let mut frame = Frame::video(width, height, PixelFormat::BGRA)?;
        if let Some((plane, stride)) = frame.plane_mut(0) {
            let rows = samples.chunks_exact(width as usize * bytes);
            for (from, to) in rows.zip(plane.chunks_mut(stride)) {
                for (from, to) in from.chunks_exact(bytes).zip(to.chunks_exact_mut(4)) {
                    let opacity = u16::from(from.get(3).copied().unwrap_or(255));
                    let before_black = |sample: u8| (u16::from(sample) * opacity / 255) as u8;
                    let [red, green, blue] = [from[0], from[1], from[2]].map(before_black);
                    to.copy_from_slice(&[blue, green, red, 255]);
                }
            }
        }
        let lasts = if lasts < SHORTEST_MS { USUAL_MS } else { lasts };
        Ok((frame, lasts))
    }

    /// Makes `target`, a new MP4 file, of the whole of it, in the size and with the encoder's settings
    /// of `wanted`. `heard` is told again and again how many seconds are made.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Libav`], [`Error::Write`].
    pub fn render(
        mut self,
        target: &Path,
        wanted: &Encode,
        heard: &mut dyn FnMut(f64),
    ) -> Result<()> {
        let options = VideoEncoderOptions {
            width: wanted.width,
            height: wanted.height,
            time_base: MILLISECOND,
            frame_rate: Some(Rational::new(30, 1)),
            preset: Some(wanted.preset.clone()),
            threads: wanted.threads,
            global_header: true,
            options: wanted
                .crf
                .map(|crf| ("crf".to_owned(), crf.to_string()))
                .into_iter()
                .collect(),
            ..VideoEncoderOptions::default()
        };
        let mut encoder = VideoEncoder::open(&options)?;
        let streams = [encoder.stream()?];
        let mut muxer = Muxer::file(target, "mp4", &streams, &[("movflags", "+faststart")])?;
        let mut scaler: Option<Scaler> = None;
        let (mut at_ms, mut free_ms) = (0, 0);
        for number in 0..self.decoder.num_frames() {
            let (frame, lasts) = match self.next() {
                // What was cut short is shown as far as it goes.
                Err(_) if number > 0 => break,
                next => next?,
            };
            if at_ms >= free_ms {
                let scaler = match &mut scaler {
                    Some(scaler) => scaler,
                    none => none.insert(Scaler::new(
                        Geometry::of(&frame),
                        Geometry {
                            colour: Colour::BT709,
                            ..Geometry::new(wanted.width, wanted.height, PixelFormat::YUV420P)
                        },
                    )?),
                };
                let mut frame = scaler.scale(&frame)?;
                frame.set_pts(Some(at_ms));
                frame.set_duration(i64::from(lasts));
                encode(&mut encoder, &mut muxer, Some(&frame))?;
                free_ms = at_ms + NEAREST_MS;
            }
            at_ms += i64::from(lasts);
            heard(at_ms as f64 / 1000.0);
        }
        encode(&mut encoder, &mut muxer, None)?;
        muxer.finish()?;
        Ok(())
    }
}

impl std::fmt::Debug for Animation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Animation").field(&self.file).finish()
    }
}

/// Whether a file that begins like this is an animated WebP: its extended header says so.
fn is_animated(start: &[u8]) -> bool {
    const ANIMATED: u8 = 2;
    let kinds = start.get(8..16) == Some(b"WEBPVP8X");
    start.starts_with(b"RIFF") && kinds && start.get(20).is_some_and(|flags| flags & ANIMATED != 0)
}

fn encode(encoder: &mut VideoEncoder, muxer: &mut Muxer, frame: Option<&Frame>) -> Result<()> {
    encoder.send(frame, false)?;
    while let Some(packet) = encoder.receive()? {
        muxer.write(&packet)?;
    }
    Ok(())
}

fn damaged(file: &Arc<str>, error: &DecodingError) -> Error {
    Error::Truncated {
        file: Arc::clone(file),
        message: error.to_string(),
    }
}
