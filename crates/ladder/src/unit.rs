//! The unit of work: one segment of one rung, encoded by one thread from its first picture.
//!
//! A unit starts with an encoder of its own, so its bytes depend on its pictures alone. It also
//! makes the pictures of the next smaller rung from its own, which is cheaper than scaling each
//! from the source and as good. A unit without an encoder only does that: its segment was delivered
//! before, or is the source's own.
//!
//! An encoder may fail in the middle of a segment: hardware goes away. What it made is then decoded
//! again and encoded once more by the spare one, together with the pictures that were inside, so that
//! the segment is whole and encoders change where segments do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use media::{
    Decoder, Frame, Geometry, Packet, PixelFormat, Rational, Scaler, VideoEncoder,
    VideoEncoderOptions,
};

use crate::headers::Codec;
use crate::plan::stop_if;
use crate::rungs::{self, Rung};
use crate::sample::{Collector, Pictures, Sound, seconds};
use crate::sink::{Part, Segment};
use crate::timeline::TICK;
use crate::{Container, Error, Result, cmaf, iframes, mpegts};

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
    /// Whether segments go out in parts while they are made.
    pub parts: bool,
    /// Further options of the encoder.
    pub extra: BTreeMap<String, String>,
    /// How the rung is made once the encoder has failed.
    pub spare: Option<Arc<Recipe>>,
    /// Whether this is the spare of another.
    pub is_spare: bool,
}

impl Recipe {
    fn reorder(&self) -> usize {
        match self.rung.codec {
            _ if self.parts => 0,
            Codec::H264 | Codec::Hevc => REORDER,
            // Packets come in the order in which they are shown, hidden pictures along with shown ones.
            Codec::Av1 => 0,
        }
    }
}

/// One segment of all rungs, as far as it is known when it begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Span {
    pub index: usize,
    pub start: i64,
    /// When it ends; where that is not known, when it should.
    pub due: i64,
    /// Whether something is missing before it.
    pub discontinuity: bool,
    /// When its first picture came in, in seconds since 1970, where that is of interest.
    pub date: Option<f64>,
    /// Display times of the last pictures before.
    pub before: Vec<i64>,
}

/// What is known of a segment, or of a part of it, when it ends.
#[derive(Debug, Clone)]
pub struct Closing {
    pub end: i64,
    pub sound: Option<Arc<Sound>>,
    /// When its last picture came in, in seconds since 1970.
    pub entered: Option<f64>,
}

/// A unit on its way.
pub struct Unit {
    span: Arc<Span>,
    recipe: Arc<Recipe>,
    /// CRF, where the encoder is steered by it.
    quality: Option<f64>,
    encoding: Option<Encoding>,
    /// Why the encoder was given up.
    failure: Option<String>,
    below: Below,
}

/// What the rung below starts from.
enum Below {
    /// There is none, or it needs nothing.
    Nothing,
    /// The same pictures, for another codec of the same size.
    Same,
    /// Smaller ones.
    Smaller(Box<Scaler>),
}

struct Encoding {
    /// Opened with the first picture, which says what its colours mean.
    encoder: Option<VideoEncoder>,
    collector: Collector,
    /// The pictures that are inside the encoder, by their number there.
    inside: BTreeMap<i64, Inside>,
    /// What came out, with display times; kept as long as another encoder may have to go on.
    coded: Vec<(Packet, i64)>,
    last: i64,
    parts: Parts,
}

/// A picture inside the encoder.
struct Inside {
    /// When it is shown.
    pts: i64,
    /// The picture, as long as another encoder may have to go on.
    frame: Option<Frame>,
}

/// What went out of a segment that is being made.
#[derive(Default)]
struct Parts {
    count: u32,
    /// Pictures in them.
    pictures: usize,
    /// Where the last one ended.
    end: i64,
    bytes: Vec<u8>,
    carry: mpegts::Carry,
    /// Where the next parts end, as soon as the encoder has given all of their pictures.
    marks: VecDeque<Closing>,
}

impl Unit {
    /// A unit that encodes, or only scales for the rung below, which has this size.
    pub fn new(
        span: Arc<Span>,
        recipe: Arc<Recipe>,
        encodes: bool,
        smaller: Option<(u32, u32)>,
    ) -> Result<Unit> {
        let encoding = encodes.then(|| Encoding::new(&span, &recipe));
        let (width, height) = (recipe.rung.width, recipe.rung.height);
        let below = match smaller {
            None => Below::Nothing,
            Some(size) if size == (width, height) => Below::Same,
            Some((smaller_width, smaller_height)) => {
                let format = PixelFormat::YUV420P;
                let own = Geometry::new(width, height, format);
                let smaller = Geometry::new(smaller_width, smaller_height, format);
                Below::Smaller(Box::new(Scaler::new(own, smaller)?))
            }
        };
        Ok(Unit {
            span,
            recipe,
            quality: None,
            encoding,
            failure: None,
            below,
        })
    }

    /// Whether the first picture must not come before it is known how well to encode.
    pub fn waits_for_quality(&self) -> bool {
        self.encoding.is_some() && self.quality.is_none()
    }

    /// The CRF of the whole segment, where the encoder is steered by one.
    pub fn quality(&self) -> Option<f64> {
        self.quality
    }

    /// Which segment it is, and when it begins and should end.
    pub fn span(&self) -> (usize, i64, i64) {
        (self.span.index, self.span.start, self.span.due)
    }

    /// Whether it will encode and has not begun.
    pub fn begins(&self) -> bool {
        let encoding = self.encoding.as_ref();
        encoding.is_some_and(|encoding| encoding.encoder.is_none())
    }

    /// Whether it encodes.
    pub fn encodes(&self) -> bool {
        self.encoding.is_some()
    }

    /// Whether the spare encoder makes it.
    pub fn is_spare(&self) -> bool {
        self.recipe.is_spare
    }

    /// Gives up encoding: the segment was found.
    pub fn only_scale(&mut self) {
        self.encoding = None;
    }

    /// Sets the CRF of the whole segment.
    pub fn set_quality(&mut self, crf: Option<f64>) {
        self.quality = self.quality.or(crf);
    }

    /// Takes the next picture; gives the one for the rung below.
    pub fn frame(&mut self, frame: &Frame, pts: i64) -> Result<Option<Frame>> {
        if let Some(encoding) = &mut self.encoding {
            let encoded = encoding.frame(frame, pts, &self.span, &self.recipe, self.quality);
            encoded.or_else(|error| self.fall_back(error))?;
        }
        Ok(match &mut self.below {
            Below::Nothing => None,
            Below::Same => Some(frame.clone()),
            Below::Smaller(scaler) => Some(scaler.scale(frame)?),
        })
    }

    /// The segment's pictures up to here make a part.
    pub fn mark_part(&mut self, closing: &Closing) {
        if let Some(encoding) = &mut self.encoding {
            encoding.parts.marks.push_back(closing.clone());
        }
    }

    /// The next part that the encoder has given all pictures of.
    pub fn next_part(&mut self) -> Result<Option<FinishedPart>> {
        match &mut self.encoding {
            Some(encoding) => encoding.next_part(&self.span, &self.recipe),
            None => Ok(None),
        }
    }

    /// Why the encoder was given up and the spare one took its place, if that happened since the last
    /// question.
    pub fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// The encoder failed: the spare one makes the segment from its first picture on.
    fn fall_back(&mut self, error: Error) -> Result<()> {
        let spare = self.recipe.spare.clone().filter(|_| !self.recipe.parts);
        let (Some(spare), Some(failed)) = (spare, self.encoding.take()) else {
            return Err(error);
        };
        if failed.coded.is_empty() && failed.encoder.is_none() && self.span.index == 0 {
            // It never worked, and was asked for.
            return Err(error);
        }
        self.failure = Some(format!(
            "{} failed in segment {} of {}; {} makes the rest: {error}",
            self.recipe.encoder, self.span.index, self.recipe.rung.name, spare.encoder
        ));
        let mut encoding = Encoding::new(&self.span, &spare);
        let Encoding { coded, inside, .. } = failed;
        let mut pts: Vec<i64> = coded.iter().map(|(_, pts)| *pts).collect();
        pts.sort_unstable();
        let mut pts = pts.into_iter();
        let inside = inside.into_values();
        let mut inside = inside
            .filter_map(|one| Some((one.frame?, one.pts)))
            .peekable();
        let colour = inside.peek().map(|(frame, _)| frame.colour());
        // In the order in which they are shown, which is not that in which they came out.
        let (span, quality) = (&self.span, self.quality);
        let mut again = |decoded: Option<&Frame>| -> Result<()> {
            let shown = decoded.map_or(Some(i64::MAX), |_| pts.next());
            while let Some((frame, pts)) = inside.next_if(|(_, pts)| Some(*pts) < shown) {
                encoding.frame(&frame, pts, span, &spare, quality)?;
            }
            match (decoded, shown) {
                (Some(frame), Some(pts)) => encoding.frame(frame, pts, span, &spare, quality),
                _ => Ok(()),
            }
        };
        let count = coded.len();
        let mut decoded = 0;
        if count > 0 {
            let name = self.recipe.rung.codec.name();
            let mut decoder = Decoder::bare(name, time_base(&self.recipe))?;
            for packet in coded.iter().map(|(packet, _)| Some(packet)).chain([None]) {
                decoder.send(packet)?;
                while let Some(mut frame) = decoder.receive()? {
                    if let Some(colour) = colour {
                        frame.set_colour(colour);
                    }
                    again(Some(&frame))?;
                    decoded += 1;
                }
            }
        }
        again(None)?;
        if decoded != count {
            return Err(error);
        }
        self.encoding = Some(encoding);
        self.recipe = spare;
        Ok(())
    }

    /// Takes what the encoder still has, unless the run is being stopped.
    pub fn flush(&mut self, stop: &AtomicBool) -> Result<()> {
        let Some(encoding) = &mut self.encoding else {
            return Ok(());
        };
        match encoding.end(&self.span, &self.recipe, stop) {
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(error) => {
                self.fall_back(error)?;
                match &mut self.encoding {
                    Some(encoding) => encoding.end(&self.span, &self.recipe, stop),
                    None => Ok(()),
                }
            }
            Ok(()) => Ok(()),
        }
    }

    /// Ends the unit after [`Unit::flush`]. `None` when it only scaled.
    pub fn finish(self, closing: &Closing) -> Result<Option<(Finished, Vec<FinishedPart>)>> {
        let Some(mut encoding) = self.encoding else {
            return Ok(None);
        };
        let (span, recipe) = (&self.span, &self.recipe);
        if recipe.parts {
            let mut parts = Vec::new();
            while let Some(part) = encoding.next_part(span, recipe)? {
                parts.push(part);
            }
            if encoding.parts.pictures < encoding.collector.count() {
                let to = encoding.collector.count();
                parts.push(encoding.pack_part(to, span, recipe, closing, true)?);
            }
            let pictures = encoding.collector.part(0..1, closing.end);
            let (codecs, init) = describe(&pictures, span, recipe, closing.sound.as_deref())?;
            let bytes = encoding.parts.bytes;
            let segment = segment(bytes, codecs, init.as_deref(), span, recipe, closing);
            return Ok(Some((Finished { segment, init }, parts)));
        }
        let before = span.before.clone();
        let reorder = recipe.reorder();
        let pictures = encoding.collector.finish(before, reorder, closing.end);
        let pictures = pictures.map_err(|problem| fault(span, recipe, problem))?;
        Ok(Some((pack(pictures, span, recipe, closing)?, Vec::new())))
    }
}

impl Encoding {
    fn new(span: &Span, recipe: &Recipe) -> Encoding {
        Encoding {
            encoder: None,
            collector: Collector::new(recipe.rung.codec),
            inside: BTreeMap::new(),
            coded: Vec::new(),
            last: -1,
            parts: Parts {
                end: span.start,
                ..Parts::default()
            },
        }
    }

    fn frame(
        &mut self,
        frame: &Frame,
        pts: i64,
        span: &Span,
        recipe: &Recipe,
        quality: Option<f64>,
    ) -> Result<()> {
        let base = time_base(recipe);
        let number = TICK.rescale(pts - span.start, base).max(self.last + 1);
        self.last = number;
        let kept = recipe.spare.as_ref().map(|_| frame.clone());
        self.inside.insert(number, Inside { pts, frame: kept });
        let first = self.encoder.is_none();
        if first {
            self.encoder = Some(VideoEncoder::open(&options(recipe, frame, quality))?);
        }
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
        let inside = packet.pts().and_then(|number| self.inside.remove(&number));
        let Some(Inside { pts, .. }) = inside else {
            return Err(fault(span, recipe, "a picture it was not given"));
        };
        let pushed = self.collector.push(packet.data(), pts);
        pushed.map_err(|problem| fault(span, recipe, problem))?;
        if recipe.spare.is_some() {
            self.coded.push((packet, pts));
        }
        Ok(true)
    }
}

impl Encoding {
    fn next_part(&mut self, span: &Span, recipe: &Recipe) -> Result<Option<FinishedPart>> {
        let Some(mark) = self.parts.marks.front() else {
            return Ok(None);
        };
        if self.inside.values().any(|inside| inside.pts < mark.end) {
            return Ok(None);
        }
        let to = self.collector.before(mark.end);
        let mark = self.parts.marks.pop_front();
        mark.map(|mark| self.pack_part(to, span, recipe, &mark, false))
            .transpose()
    }

    /// Packs the pictures from the last part's to this one.
    fn pack_part(
        &mut self,
        to: usize,
        span: &Span,
        recipe: &Recipe,
        closing: &Closing,
        last: bool,
    ) -> Result<FinishedPart> {
        let parts = &mut self.parts;
        let pictures = self.collector.part(parts.pictures..to, closing.end);
        if pictures
            .pictures
            .windows(2)
            .any(|pair| pair[1].pts <= pair[0].pts)
        {
            return Err(fault(
                span,
                recipe,
                "pictures reordered further than they may be",
            ));
        }
        let sound = closing.sound.as_deref();
        let (codecs, init) = describe(&pictures, span, recipe, sound)?;
        let (index, number) = (span.index as u32, parts.count);
        let bytes = match recipe.container {
            Container::Ts => mpegts::write_part(&pictures, sound, last, &mut parts.carry),
            Container::Cmaf => cmaf::video_part(&pictures, index, number),
        };
        let part = Part {
            rung: recipe.rung.name.clone(),
            segment: index,
            index: number,
            duration: seconds(closing.end - parts.end),
            independent: pictures.pictures.first().is_some_and(|picture| picture.idr),
            codecs,
            bytes,
            discontinuity: span.discontinuity,
            date: span.date,
            entered: closing.entered,
        };
        parts.bytes.extend(&part.bytes);
        parts.count += 1;
        parts.pictures = to;
        parts.end = closing.end;
        Ok(FinishedPart { part, init })
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
    let (encoder, preset) = (&recipe.encoder, &recipe.preset);
    let mut options = rungs::encoder_options(encoder, rung, preset, recipe.parts);
    if let Some(crf) = quality {
        options.insert("crf".to_string(), format!("{crf:.1}"));
    }
    for (name, value) in &recipe.extra {
        // Encoders that take parameters in one option take ours and these.
        let own = options.get(name).filter(|_| name.ends_with("-params"));
        let value = own.map_or_else(|| value.clone(), |own| format!("{own}:{value}"));
        options.insert(name.clone(), value);
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

/// A part of a segment and, for CMAF, the initialisation segment that goes with it.
#[derive(Debug)]
pub struct FinishedPart {
    pub part: Part,
    pub init: Option<Vec<u8>>,
}

/// Codecs and initialisation segment of these pictures and this sound.
fn describe(
    pictures: &Pictures,
    span: &Span,
    recipe: &Recipe,
    sound: Option<&Sound>,
) -> Result<(String, Option<Vec<u8>>)> {
    let damaged = || fault(span, recipe, "an unreadable sequence parameter set");
    let mut codecs = pictures.headers.describe().ok_or_else(damaged)?.codecs;
    let init = match recipe.container {
        Container::Ts => {
            if let Some(sound) = sound {
                codecs = format!("{codecs},{}", sound.format.codec());
            }
            None
        }
        Container::Cmaf => Some(cmaf::video_init(&pictures.headers).ok_or_else(damaged)?),
    };
    Ok((codecs, init))
}

fn segment(
    bytes: Vec<u8>,
    codecs: String,
    init: Option<&[u8]>,
    span: &Span,
    recipe: &Recipe,
    closing: &Closing,
) -> Segment {
    Segment {
        rung: recipe.rung.name.clone(),
        index: span.index as u32,
        start: seconds(span.start),
        duration: seconds(closing.end - span.start),
        codecs,
        iframes: iframes::find(&bytes, init, seconds(closing.end)),
        bytes,
        entered: closing.entered,
        discontinuity: span.discontinuity,
        date: span.date,
        ..Segment::default()
    }
}

/// Packs pictures and sound into a segment file.
pub fn pack(
    pictures: Pictures,
    span: &Span,
    recipe: &Recipe,
    closing: &Closing,
) -> Result<Finished> {
    let sound = closing.sound.as_deref();
    let (codecs, init) = describe(&pictures, span, recipe, sound)?;
    let late = pictures.decode_times().into_iter().zip(&pictures.pictures);
    if late.into_iter().any(|(dts, picture)| dts > picture.pts) {
        return Err(fault(
            span,
            recipe,
            "pictures reordered further than they may be",
        ));
    }
    let bytes = match recipe.container {
        Container::Ts => mpegts::write(&pictures, sound),
        Container::Cmaf => cmaf::video_segment(&pictures, span.index as u32),
    };
    let segment = segment(bytes, codecs, init.as_deref(), span, recipe, closing);
    Ok(Finished { segment, init })
}

/// Packs the sound of a segment as a segment of the audio rendition. Its frames do not end where
/// the pictures do, so its times are its own.
pub fn pack_sound(
    rendition: String,
    sound: &Sound,
    span: &Span,
    container: Container,
    entered: Option<f64>,
) -> Finished {
    let index = span.index as u32;
    let (bytes, init) = match container {
        Container::Ts => (mpegts::write_sound(sound), None),
        Container::Cmaf => {
            let init = cmaf::audio_init(&sound.format);
            (cmaf::audio_segment(sound, index), Some(init))
        }
    };
    let start = sound.format.frame_time(sound.first);
    let end = sound
        .format
        .frame_time(sound.first + sound.frames.len() as i64);
    let segment = Segment {
        rung: rendition,
        index,
        start: seconds(start),
        duration: seconds(end - start),
        codecs: sound.format.codec(),
        bytes,
        entered,
        ..Segment::default()
    };
    Finished { segment, init }
}
