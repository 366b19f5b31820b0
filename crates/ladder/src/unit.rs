//! The unit of work: one segment of one rung, encoded by one thread from its first picture.
//!
//! A unit starts with an encoder of its own, so its bytes depend on its pictures alone. It also
//! makes the pictures of the next smaller rung from its own, which is cheaper than scaling each
//! from the source and as good. A unit without an encoder only does that: its segment was delivered
//! before, or is the source's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use media::{Frame, Geometry, PixelFormat, Rational, Scaler, VideoEncoder, VideoEncoderOptions};

use crate::plan::stop_if;
use crate::rungs::{self, Rung};
use crate::sample::{Collector, Pictures, Sound, seconds};
use crate::sink::Segment;
use crate::timeline::TICK;
use crate::{Container, Error, Result, cmaf, mpegts};

/// Pictures that a decoder of the output holds back: encoders use at most a pyramid of B pictures.
const REORDER: usize = 2;

/// How a rung is made; the same for all its units.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub rung: Rung,
    pub encoder: String,
    pub preset: String,
    /// Pictures per second when all display times lie on that grid.
    pub constant_rate: Option<Rational>,
    /// Pictures per second otherwise, on average.
    pub average_rate: Option<Rational>,
    pub container: Container,
}

/// One segment of all rungs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub index: usize,
    pub start: i64,
    pub end: i64,
    /// Display times of the last pictures before.
    pub before: Vec<i64>,
}

/// A unit on its way.
pub struct Unit {
    span: Arc<Span>,
    recipe: Arc<Recipe>,
    /// CRF, where the encoder is steered by it.
    quality: Option<f64>,
    encoding: Option<Encoding>,
    smaller: Option<Scaler>,
}

struct Encoding {
    /// Opened with the first picture, which says what its colours mean.
    encoder: Option<VideoEncoder>,
    collector: Collector,
    /// Display time of each picture that is inside the encoder, by its number there.
    times: HashMap<i64, i64>,
    last: i64,
}

impl Unit {
    /// A unit that encodes, or only scales for the rung below, which has this size.
    pub fn new(
        span: Arc<Span>,
        recipe: Arc<Recipe>,
        encodes: bool,
        smaller: Option<(u32, u32)>,
    ) -> Result<Unit> {
        let encoding = encodes.then(|| Encoding {
            encoder: None,
            collector: Collector::new(None),
            times: HashMap::new(),
            last: -1,
        });
        let smaller = match smaller {
            None => None,
            Some((width, height)) => {
                let own =
                    Geometry::new(recipe.rung.width, recipe.rung.height, PixelFormat::YUV420P);
                Some(Scaler::new(
                    own,
                    Geometry {
                        width,
                        height,
                        ..own
                    },
                )?)
            }
        };
        Ok(Unit {
            span,
            recipe,
            quality: None,
            encoding,
            smaller,
        })
    }

    /// When the segment ends.
    pub fn end(&self) -> i64 {
        self.span.end
    }

    /// Whether the first picture must not come before it is known how well to encode.
    pub fn waits_for_quality(&self) -> bool {
        self.encoding.is_some() && self.quality.is_none()
    }

    /// Sets the CRF of the whole segment.
    pub fn set_quality(&mut self, crf: Option<f64>) {
        self.quality = self.quality.or(crf);
    }

    /// Takes the next picture; gives the one for the rung below.
    pub fn frame(&mut self, frame: &Frame, pts: i64) -> Result<Option<Frame>> {
        if let Some(encoding) = &mut self.encoding {
            encoding.frame(frame, pts, &self.span, &self.recipe, self.quality)?;
        }
        Ok(self
            .smaller
            .as_mut()
            .map(|scaler| scaler.scale(frame))
            .transpose()?)
    }

    /// Ends the unit, unless the run is being stopped. `None` when it only scaled.
    pub fn finish(self, sound: Option<&Sound>, stop: &AtomicBool) -> Result<Option<Finished>> {
        let Some(mut encoding) = self.encoding else {
            return Ok(None);
        };
        let (span, recipe) = (&self.span, &self.recipe);
        encoding.end(span, recipe, stop)?;
        let before = span.before.clone();
        let pictures = encoding.collector.finish(before, REORDER, span.end);
        let pictures = pictures.map_err(|problem| fault(span, recipe, problem))?;
        pack(pictures, span, recipe, sound).map(Some)
    }
}

impl Encoding {
    fn frame(
        &mut self,
        frame: &Frame,
        pts: i64,
        span: &Span,
        recipe: &Recipe,
        quality: Option<f64>,
    ) -> Result<()> {
        let first = self.encoder.is_none();
        if first {
            self.encoder = Some(VideoEncoder::open(&options(recipe, frame, quality))?);
        }
        let base = time_base(recipe);
        let number = TICK.rescale(pts - span.start, base).max(self.last + 1);
        self.last = number;
        self.times.insert(number, pts);
        let mut frame = frame.clone();
        frame.set_pts(Some(number));
        frame.set_duration(0);
        if let Some(encoder) = &mut self.encoder {
            encoder.send(Some(&frame), first)?;
        }
        while self.take(span, recipe)? {}
        Ok(())
    }

    /// Takes all that the encoder still holds, which with a long look-ahead takes a while.
    fn end(&mut self, span: &Span, recipe: &Recipe, stop: &AtomicBool) -> Result<()> {
        if let Some(encoder) = &mut self.encoder {
            encoder.send(None, false)?;
        }
        while self.take(span, recipe)? {
            stop_if(stop)?;
        }
        Ok(())
    }

    /// Takes one coded picture. False when the encoder has none ready.
    fn take(&mut self, span: &Span, recipe: &Recipe) -> Result<bool> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(false);
        };
        let Some(packet) = encoder.receive()? else {
            return Ok(false);
        };
        let pts = packet.pts().and_then(|number| self.times.remove(&number));
        let pts = pts.ok_or_else(|| fault(span, recipe, "a picture it was not given"))?;
        let pushed = self.collector.push(packet.data(), pts);
        pushed.map_err(|problem| fault(span, recipe, problem))?;
        Ok(true)
    }
}

fn fault(span: &Span, recipe: &Recipe, problem: &'static str) -> Error {
    let (rung, encoder) = (recipe.rung.name.clone(), recipe.encoder.clone());
    Error::Bitstream {
        rung,
        index: span.index as u32,
        encoder,
        problem,
    }
}

fn time_base(recipe: &Recipe) -> Rational {
    recipe.constant_rate.map_or(TICK, Rational::inverse)
}

fn options(recipe: &Recipe, frame: &Frame, quality: Option<f64>) -> VideoEncoderOptions {
    let rung = &recipe.rung;
    let mut options = rungs::encoder_options(&recipe.encoder);
    if let Some(crf) = quality {
        options.insert("crf".to_string(), format!("{crf:.1}"));
    }
    VideoEncoderOptions {
        encoder: recipe.encoder.clone(),
        width: rung.width,
        height: rung.height,
        format: PixelFormat::YUV420P,
        time_base: time_base(recipe),
        frame_rate: recipe.constant_rate.or(recipe.average_rate),
        colour: frame.colour(),
        bit_rate: quality.is_none().then_some(u64::from(rung.bit_rate)),
        max_rate: Some(u64::from(rung.max_rate)),
        buffer_size: Some(u64::from(rung.buffer)),
        gop: Some(rungs::NEVER),
        preset: Some(recipe.preset.clone()),
        threads: 1,
        global_header: false,
        options,
        ..VideoEncoderOptions::default()
    }
}

/// A finished segment and, for CMAF, the initialisation segment that goes with it.
#[derive(Debug)]
pub struct Finished {
    pub segment: Segment,
    pub init: Option<Vec<u8>>,
}

/// Packs pictures and sound into a segment file.
pub fn pack(
    pictures: Pictures,
    span: &Span,
    recipe: &Recipe,
    sound: Option<&Sound>,
) -> Result<Finished> {
    let damaged = || fault(span, recipe, "an unreadable sequence parameter set");
    let mut codecs = pictures.codec().ok_or_else(damaged)?;
    let late = pictures.decode_times().into_iter().zip(&pictures.pictures);
    if late.into_iter().any(|(dts, picture)| dts > picture.pts) {
        return Err(fault(
            span,
            recipe,
            "pictures reordered further than they may be",
        ));
    }
    let (bytes, init) = match recipe.container {
        Container::Ts => {
            if let Some(sound) = sound {
                codecs = format!("{codecs},{}", sound.format.codec());
            }
            (mpegts::write(&pictures, sound), None)
        }
        Container::Cmaf => {
            let init = cmaf::video_init(&pictures.sps, &pictures.pps).ok_or_else(damaged)?;
            (
                cmaf::video_segment(&pictures, span.index as u32),
                Some(init),
            )
        }
    };
    let segment = Segment {
        rung: recipe.rung.name.clone(),
        index: span.index as u32,
        start: seconds(span.start),
        duration: seconds(span.end - span.start),
        codecs,
        bytes,
    };
    Ok(Finished { segment, init })
}

/// Packs the sound of a segment as a segment of the audio rendition. Its frames do not end where
/// the pictures do, so its times are its own.
pub fn pack_sound(sound: &Sound, span: &Span) -> Finished {
    let start = sound.format.frame_time(sound.first);
    let end = sound
        .format
        .frame_time(sound.first + sound.frames.len() as i64);
    let segment = Segment {
        rung: crate::playlist::AUDIO_GROUP.to_string(),
        index: span.index as u32,
        start: seconds(start),
        duration: seconds(end - start),
        codecs: sound.format.codec(),
        bytes: cmaf::audio_segment(sound, span.index as u32),
    };
    Finished {
        segment,
        init: Some(cmaf::audio_init(&sound.format)),
    }
}
