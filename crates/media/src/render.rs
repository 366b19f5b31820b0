//! A file made into one that a screen plays, with the fewest changes: MP4, playable from its
//! first bytes on.
//!
//! What is to be done with each stream is told by a [`Recipe`]. Packets that can go over do, byte
//! for byte and time for time; the rest is decoded, put right and encoded. Times count from the
//! original's start, so that sound and picture lie to each other as they did. What was made is
//! read again at the end and held against what was read of the original.
//!
//! The target is written as it grows: who wants all or nothing renames it afterwards.

mod light;

use std::cell::Cell;
use std::path::Path;

use crate::audio::{AudioEncoder, AudioEncoderOptions};
use crate::colour::Colour;
use crate::decoder::Decoder;
use crate::encoder::{VideoEncoder, VideoEncoderOptions};
use crate::error::{Error, Result};
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::graph::{AudioSource, Graph, VideoSource};
use crate::hardware::{H264_ENCODERS, HEVC_ENCODERS, choose_encoder};
use crate::input::{Input, OpenOptions};
use crate::muxer::{Muxer, MuxerStream};
use crate::normalise::{AudioChain, can_tone_map, deinterlace, orient, tone_map};
use crate::packet::Packet;
use crate::rational::Rational;
use crate::scaler::{Geometry, Scaler};
use crate::stream::Stream;
use crate::subtitle::SubtitleDecoder;
use light::Light;

/// What becomes of a file's streams. Numbers are those of [`Stream::index`].
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The video that is shown.
    pub video: usize,
    /// How it is encoded; `None` where its packets go over as they are.
    pub encode: Option<Encode>,
    /// The sound that goes over.
    pub audio: Vec<Track>,
    /// The text that goes over.
    pub subtitles: Vec<Track>,
}

/// One stream of sound or of text of the result.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    /// Its number in the original.
    pub stream: usize,
    /// Whether its packets go over as they are; else it is encoded: sound as AAC, text as MP4's own.
    pub copied: bool,
}

/// How video is encoded.
#[derive(Clone, Debug)]
pub struct Encode {
    /// `h264` or `hevc`.
    pub codec: String,
    /// Luma columns, upright.
    pub width: u32,
    /// Luma rows, upright.
    pub height: u32,
    /// What becomes of the rate.
    pub pace: Pace,
    /// Bits per sample: 8 or 10.
    pub bit_depth: u32,
    /// Whether high dynamic range is mapped to standard.
    pub tone_mapped: bool,
    /// Whether fields are joined to frames.
    pub deinterlaced: bool,
    /// The encoder's preset, by x264's name.
    pub preset: String,
    /// x264's or x265's constant rate factor; `None` is the encoder's own choice.
    pub crf: Option<u8>,
    /// Threads of the encoder; 0 is one per core.
    pub threads: u32,
    /// Whether hardware may decode and encode. Where it fails, software begins anew, once.
    pub hardware: bool,
}

/// What becomes of a video's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Every picture keeps its time.
    Kept,
    /// So many pictures per second, the rest is left out.
    Lowered(Rational),
    /// Pictures lie on the grid of this rate: no two are nearer to each other.
    AtMost(Rational),
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// What decoded the video; `None` where it was copied.
    pub decoder: Option<String>,
    /// What encoded it.
    pub encoder: Option<String>,
    /// What encoded sound; `None` where all was copied.
    pub sound: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Makes `target`, a new MP4 file, of `source`. `heard` is told again and again how many seconds
/// are made.
///
/// # Errors
/// As [`Input::open`] and [`Decoder::open`]; [`Error::Write`]; [`Error::Unlike`] where the result
/// is shorter, longer or less in step than the original.
pub fn render(
    source: &Path,
    target: &Path,
    recipe: &Recipe,
    heard: &mut dyn FnMut(f64),
) -> Result<Made> {
    let hardware = Cell::new(false);
    let mut attempt = |recipe: &Recipe| -> Result<Made> {
        let input = Input::open(source, &OpenOptions::default())?;
        let work = Work::begin(input, target, recipe, &hardware)?;
        let (made, extents) = work.run(heard)?;
        compare(source, target, &extents, recipe.subtitles.len())?;
        Ok(made)
    };
    match attempt(recipe) {
        Err(error) if hardware.get() && !is_final(&error) => {
            let mut recipe = recipe.clone();
            if let Some(encode) = &mut recipe.encode {
                encode.hardware = false;
            }
            let mut made = attempt(&recipe)?;
            let warning = format!("made in software after hardware failed: {error}");
            made.warnings.insert(0, warning);
            Ok(made)
        }
        outcome => outcome,
    }
}

/// Whether another attempt would end the same way.
fn is_final(error: &Error) -> bool {
    !matches!(error, Error::Libav { .. } | Error::Unlike { .. })
}

/// A render under way.
struct Work<'a> {
    input: Input,
    target: &'a Path,
    /// What the original's clock shows at its start.
    origin_us: i64,
    video: Video,
    sounds: Vec<Sound>,
    texts: Vec<Text>,
    /// What each stream of the result will be; a video encoder is known from its first picture on.
    streams: Vec<Option<MuxerStream>>,
    muxer: Option<Muxer>,
    /// Packets that wait for the muxer.
    held: Vec<Packet>,
    /// While no picture had a time: that of the next, by the rate, in ticks of its packets' time base.
    untimed: Option<i64>,
    /// The last decoding time of each stream, in ticks of its packets' time base.
    last: Vec<Option<(i64, Rational)>>,
    extents: Vec<Extent>,
    made: Made,
}

enum Video {
    Copied(usize),
    Encoded(Box<Encoding>),
}

enum Sound {
    Copied(usize),
    Encoded(Box<Recoding>),
}

impl Sound {
    fn stream(&self) -> usize {
        match self {
            Self::Copied(stream) => *stream,
            Self::Encoded(recoding) => recoding.stream.index,
        }
    }
}

const MICROSECOND: Rational = Rational::new(1, 1_000_000);

impl<'a> Work<'a> {
    fn begin(
        mut input: Input,
        target: &'a Path,
        recipe: &Recipe,
        hardware: &Cell<bool>,
    ) -> Result<Self> {
        let missing = || Error::NoVideo {
            file: input.name().into(),
        };
        let stream = |index: usize| input.streams().get(index).cloned().ok_or_else(missing);
        let shown = stream(recipe.video)?;
        let mut made = Made::default();
        let mut streams = Vec::new();
        let mut extents = vec![Extent::of(&shown)];
        let video = match &recipe.encode {
            None => {
                streams.push(Some(MuxerStream::kept(&shown)));
                Video::Copied(shown.index)
            }
            Some(encode) => {
                streams.push(None);
                Video::Encoded(Box::new(Encoding::begin(
                    shown, encode, hardware, &mut made,
                )?))
            }
        };
        let mut sounds = Vec::new();
        for track in &recipe.audio {
            let stream = stream(track.stream)?;
            extents.push(Extent::of(&stream));
            if track.copied {
                streams.push(Some(MuxerStream::kept(&stream)));
                sounds.push(Sound::Copied(stream.index));
            } else {
                let recoding = Recoding::begin(stream)?;
                let encoded = recoding.encoder.stream()?;
                streams.push(Some(encoded.offered_as(&recoding.stream)));
                made.sound = Some(recoding.options.encoder.clone());
                sounds.push(Sound::Encoded(Box::new(recoding)));
            }
        }
        let mut texts = Vec::new();
        for track in &recipe.subtitles {
            let stream = stream(track.stream)?;
            streams.push(Some(if track.copied {
                MuxerStream::kept(&stream)
            } else {
                MuxerStream::text_of(&stream)?
            }));
            texts.push(Text::begin(stream, track.copied)?);
        }
        let wanted: Vec<usize> = std::iter::once(recipe.video)
            .chain(sounds.iter().map(Sound::stream))
            .chain(texts.iter().map(|text| text.stream.index))
            .collect();
        input.select(&wanted);
        let origin_us = input
            .start_s()
            .map_or(0, |start| (start * 1e6).round() as i64);
        Ok(Self {
            input,
            target,
            origin_us,
            video,
            sounds,
            texts,
            untimed: Some(0),
            last: vec![None; streams.len()],
            streams,
            muxer: None,
            held: Vec::new(),
            extents,
            made,
        })
    }

    fn run(mut self, heard: &mut dyn FnMut(f64)) -> Result<(Made, Vec<Extent>)> {
        self.open_muxer()?;
        loop {
            let packet = match self.input.read() {
                Ok(packet) => packet,
                // A file cut short has its length and its end where it was cut.
                Err(Error::Truncated { message, .. }) if self.extents[0].is_known() => {
                    self.warn(format!("the original is cut short: {message}"));
                    None
                }
                Err(error) => return Err(error),
            };
            let Some(mut packet) = packet else { break };
            let origin = MICROSECOND.rescale(self.origin_us, packet.time_base());
            packet.shift(-origin);
            let source = packet.stream();
            if self.is_video(source) {
                self.time(&mut packet);
                self.extents[0].add(&packet, true);
                self.video_packet(Some(&packet))?;
                heard(self.extents[0].end.unwrap_or(0.0));
            }
            let places = (0..self.sounds.len()).filter(|at| self.sounds[*at].stream() == source);
            for place in places.collect::<Vec<_>>() {
                if matches!(self.sounds[place], Sound::Copied(_)) {
                    self.extents[1 + place].add(&packet, false);
                }
                self.sound_packet(place, Some(&packet))?;
            }
            if let Some(place) = self
                .texts
                .iter()
                .position(|text| text.stream.index == source)
            {
                let packets = self.texts[place].packets(&packet)?;
                self.write(1 + self.sounds.len() + place, packets)?;
            }
        }
        self.video_packet(None)?;
        for place in 0..self.sounds.len() {
            self.sound_packet(place, None)?;
        }
        self.report_damage();
        let Some(muxer) = self.muxer.take() else {
            return Err(Error::Truncated {
                file: self.input.name().into(),
                message: "no picture can be decoded".to_owned(),
            });
        };
        muxer.finish()?;
        for (extent, sound) in self.extents[1..].iter_mut().zip(&self.sounds) {
            if let Sound::Encoded(recoding) = sound {
                *extent = recoding.extent;
            }
        }
        Ok((self.made, self.extents))
    }

    /// Bare streams of H.264, HEVC or MPEG-2 hold pictures in the order of decoding and nothing of
    /// time.
    fn time(&mut self, packet: &mut Packet) {
        self.untimed = self
            .untimed
            .filter(|_| packet.pts().or(packet.dts()).is_none());
        let Some(next) = self.untimed else { return };
        let usual = (self.extents[0].frame / packet.time_base().to_f64()).round() as i64;
        let length = Some(packet.duration())
            .filter(|length| *length > 0)
            .unwrap_or(usual);
        packet.set_timestamps(None, Some(next));
        packet.set_duration(length);
        self.untimed = Some(next.saturating_add(length));
    }

    fn is_video(&self, stream: usize) -> bool {
        match &self.video {
            Video::Copied(index) => *index == stream,
            Video::Encoded(encoding) => encoding.stream.index == stream,
        }
    }

    fn video_packet(&mut self, packet: Option<&Packet>) -> Result<()> {
        let packets = match (&mut self.video, packet) {
            (Video::Copied(_), None) => return Ok(()),
            (Video::Copied(_), Some(packet)) => vec![packet.clone()],
            (Video::Encoded(encoding), packet) => {
                let packets = encoding.packet(packet)?;
                self.made.decoder = Some(encoding.decoder.name());
                if let (None, Some(encoder)) = (&self.streams[0], &encoding.encoder) {
                    let mut stream = encoder.stream()?.offered_as(&encoding.stream);
                    stream.side_data = encoding.light.side_data();
                    self.streams[0] = Some(stream);
                    self.made.encoder = Some(encoding.encoder_name.clone());
                }
                packets
            }
        };
        self.open_muxer()?;
        self.write(0, packets)
    }

    fn sound_packet(&mut self, place: usize, packet: Option<&Packet>) -> Result<()> {
        let packets = match (&mut self.sounds[place], packet) {
            (Sound::Copied(_), None) => return Ok(()),
            (Sound::Copied(_), Some(packet)) => vec![packet.clone()],
            (Sound::Encoded(recoding), packet) => recoding.packet(packet)?,
        };
        self.write(1 + place, packets)
    }

    /// Begins the file as soon as all of its streams are known.
    fn open_muxer(&mut self) -> Result<()> {
        if self.muxer.is_some() || self.streams.iter().any(Option::is_none) {
            return Ok(());
        }
        let streams: Vec<MuxerStream> = self.streams.iter().flatten().cloned().collect();
        let options = [("movflags", "+faststart")];
        let mut muxer = Muxer::file(self.target, "mp4", &streams, &options)?;
        for packet in self.held.drain(..) {
            muxer.write(&packet)?;
        }
        self.muxer = Some(muxer);
        Ok(())
    }

    fn write(&mut self, stream: usize, packets: Vec<Packet>) -> Result<()> {
        for mut packet in packets {
            packet.set_stream(stream);
            self.in_order(stream, &mut packet)?;
            match &mut self.muxer {
                Some(muxer) => muxer.write(&packet)?,
                None => self.held.push(packet),
            }
        }
        Ok(())
    }

    /// MP4 wants both times, and decoding times that rise; damaged files have others.
    fn in_order(&mut self, stream: usize, packet: &mut Packet) -> Result<()> {
        let (pts, dts) = (packet.pts(), packet.dts());
        let Some(mut decoded) = dts.or(pts) else {
            return Err(Error::Truncated {
                file: self.input.name().into(),
                message: "packets without times".to_owned(),
            });
        };
        if let Some((last, base)) = self.last[stream] {
            decoded = decoded.max(base.rescale(last, packet.time_base()) + 1);
        }
        let shown = pts.unwrap_or(decoded).max(decoded);
        packet.set_timestamps(Some(shown), Some(decoded));
        self.last[stream] = Some((decoded, packet.time_base()));
        Ok(())
    }

    fn warn(&mut self, warning: String) {
        self.made.warnings.push(warning);
    }

    fn report_damage(&mut self) {
        let video = match &self.video {
            Video::Encoded(encoding) => encoding.damaged,
            Video::Copied(_) => 0,
        };
        let sound = self.sounds.iter().map(|sound| match sound {
            Sound::Encoded(recoding) => recoding.damaged,
            Sound::Copied(_) => 0,
        });
        let text = self.texts.iter().map(|text| text.damaged);
        for (what, damaged) in [
            ("pictures", video),
            ("sound", sound.sum()),
            ("text", text.sum()),
        ] {
            if damaged > 0 {
                self.warn(format!("{damaged} damaged packets of {what} were left out"));
            }
        }
    }
}

/// Video on its way through decoder, filters and encoder.
struct Encoding {
    stream: Stream,
    wanted: Encode,
    decoder: Decoder,
    /// Packets that could not be decoded.
    damaged: u32,
    /// The first packet's decoding time, of a container that has no others.
    first_decoded: Option<Option<i64>>,
    /// By how much the decoder's guess of the times of such pictures is late.
    late: Option<i64>,
    /// When the next of them comes, of which the decoder says nothing: the last ones of a file.
    next: i64,
    /// How long one of them lasts.
    length: i64,
    fields: Option<Stage>,
    scaler: Option<Scaler>,
    upright: Option<Stage>,
    pacer: Pacer,
    encoder_name: String,
    encoder: Option<VideoEncoder>,
    /// Whether the encoder has given anything.
    came: bool,
    /// How bright what is encoded is meant; nothing unless it keeps its high dynamic range.
    light: Light,
}

impl Encoding {
    fn begin(
        stream: Stream,
        wanted: &Encode,
        hardware: &Cell<bool>,
        made: &mut Made,
    ) -> Result<Self> {
        let mut filters = Vec::new();
        let hdr = wanted.tone_mapped && stream.parameters.colour().is_hdr();
        if hdr && can_tone_map() {
            filters.push(tone_map(&stream));
        } else if hdr {
            let lacking = "this FFmpeg cannot map high dynamic range: pictures will look pale";
            made.warnings.push(lacking.to_owned());
        }
        filters.extend(orient(stream.orientation).into_iter().map(str::to_owned));
        let stage = |filters: Vec<String>| (!filters.is_empty()).then(|| Stage::new(filters));
        let fields = deinterlace(&stream).filter(|_| wanted.deinterlaced);
        let decoder = Decoder::open_on(&stream, 0, wanted.hardware)?;
        let encoder_name = encoder_for(wanted)?;
        hardware.set(is_hardware(&encoder_name) || decoder.has_device());
        Ok(Self {
            decoder,
            damaged: 0,
            first_decoded: None,
            late: None,
            next: 0,
            length: 0,
            fields: stage(fields.into_iter().collect()),
            scaler: None,
            upright: stage(filters),
            pacer: Pacer::new(wanted.pace, stream.frame_rate()),
            encoder_name,
            encoder: None,
            came: false,
            light: Light::default(),
            wanted: wanted.clone(),
            stream,
        })
    }

    /// What comes out for a packet, or at the end.
    fn packet(&mut self, packet: Option<&Packet>) -> Result<Vec<Packet>> {
        let mut out = Vec::new();
        if let Some(packet) = packet {
            let only = packet.dts().filter(|_| packet.pts().is_none());
            self.first_decoded.get_or_insert(only);
            self.length = packet.duration();
        }
        if let Err(error) = self.decoder.send(packet) {
            self.damaged += damage(error)?;
        }
        loop {
            match self.decoder.receive() {
                Ok(Some(frame)) => self.decoded(frame, &mut out)?,
                Ok(None) => break,
                Err(error) => self.damaged += damage(error)?,
            }
        }
        if packet.is_none() {
            self.end(&mut out)?;
        }
        Ok(out)
    }

    fn decoded(&mut self, mut frame: Frame, out: &mut Vec<Packet>) -> Result<()> {
        if let Some(aspect) = self.stream.sample_aspect {
            frame.set_sample_aspect(aspect);
        }
        if let Some(Some(first)) = self.first_decoded {
            let pts = match frame.pts() {
                Some(pts) => pts - *self.late.get_or_insert((pts - first).max(0)),
                None => self.next,
            };
            frame.set_pts(Some(pts));
            self.next = pts.saturating_add(self.length);
        }
        let base = self.decoder.time_base();
        let Some(fields) = &mut self.fields else {
            return self.progressive(frame, base, out);
        };
        let frames = fields.push(Some(&frame), base)?;
        let base = fields.time_base();
        self.each(frames, base, out)
    }

    fn each(&mut self, frames: Vec<Frame>, base: Rational, out: &mut Vec<Packet>) -> Result<()> {
        for frame in frames {
            self.progressive(frame, base, out)?;
        }
        Ok(())
    }

    fn progressive(&mut self, frame: Frame, base: Rational, out: &mut Vec<Packet>) -> Result<()> {
        // What will be left out need not be scaled.
        let Some(frame) = self.pacer.place(frame, base) else {
            return Ok(());
        };
        let frame = self.scaled(frame)?;
        let base = self.pacer.base;
        let frames = match &mut self.upright {
            Some(upright) => upright.push(Some(&frame), base)?,
            None => vec![frame],
        };
        frames
            .iter()
            .try_for_each(|frame| self.encode(Some(frame), out))
    }

    /// The size before turning, in the sample layout that comes next.
    fn scaled(&mut self, frame: Frame) -> Result<Frame> {
        let wanted = &self.wanted;
        let (width, height) = if self.stream.orientation.swaps_sides() {
            (wanted.height, wanted.width)
        } else {
            (wanted.width, wanted.height)
        };
        let tone_mapped = wanted.tone_mapped && frame.colour().is_hdr();
        let format = if wanted.bit_depth > 8 || tone_mapped {
            PixelFormat::YUV420P10LE
        } else {
            PixelFormat::YUV420P
        };
        let source = Geometry::of(&frame);
        if (source.width, source.height, source.format) == (width, height, format) {
            return Ok(frame.with_format(format));
        }
        let mut colour = source.colour;
        if source.format.is_rgb() {
            colour = Colour::UNSPECIFIED.or_guessed(height);
        }
        let target = Geometry {
            colour,
            // The pixels' shape is kept: what rounding to even sides does to it is not seen.
            sample_aspect: source.sample_aspect,
            ..Geometry::new(width, height, format)
        };
        let scaler = match &mut self.scaler {
            Some(scaler) => scaler,
            none => none.insert(Scaler::new(source, target)?),
        };
        scaler.scale(&frame)
    }

    fn encode(&mut self, frame: Option<&Frame>, out: &mut Vec<Packet>) -> Result<()> {
        if let (None, Some(frame)) = (&self.encoder, frame) {
            if frame.colour().is_hdr() && self.encoder_name == "libx265" {
                self.light = Light::of(frame, &self.stream);
            }
            self.encoder = Some(self.open_encoder(frame)?);
        }
        let Some(encoder) = &mut self.encoder else {
            return Ok(());
        };
        let before = out.len();
        encoder.send(frame, false)?;
        while let Some(packet) = encoder.receive()? {
            out.push(packet);
        }
        let came = out.len() > before;
        // x265 makes up when to decode what is over before its B pictures are sorted.
        if came && frame.is_none() && !self.came {
            time_decoding(&mut out[before..]);
        }
        self.came |= came;
        Ok(())
    }

    fn open_encoder(&self, first: &Frame) -> Result<VideoEncoder> {
        let wanted = &self.wanted;
        let software = !is_hardware(&self.encoder_name);
        let mut options = VideoEncoderOptions {
            encoder: self.encoder_name.clone(),
            width: first.width(),
            height: first.height(),
            format: first.pixel_format(),
            time_base: self.pacer.base,
            frame_rate: self.pacer.rate,
            sample_aspect: first.sample_aspect(),
            colour: first.colour(),
            preset: Some(wanted.preset.clone()),
            threads: wanted.threads,
            global_header: true,
            ..VideoEncoderOptions::default()
        };
        let light = self.light.x265();
        if !light.is_empty() {
            options.options.insert("x265-params".to_owned(), light);
        }
        match wanted.crf {
            Some(crf) if software => {
                options.options.insert("crf".to_owned(), crf.to_string());
            }
            // Constant quality has another name in each hardware encoder, and another scale.
            _ if !software => {
                let rate = hardware_rate(first.width(), first.height());
                options.bit_rate = Some(rate);
                options.max_rate = Some(rate / 2 * 3);
                options.buffer_size = Some(rate * 2);
            }
            _ => {}
        }
        VideoEncoder::open(&options)
    }

    fn end(&mut self, out: &mut Vec<Packet>) -> Result<()> {
        if let Some(mut fields) = self.fields.take() {
            let frames = fields.push(None, self.decoder.time_base())?;
            let base = fields.time_base();
            self.each(frames, base, out)?;
        }
        if let Some(mut upright) = self.upright.take() {
            for frame in upright.push(None, self.pacer.base)? {
                self.encode(Some(&frame), out)?;
            }
        }
        self.encode(None, out)
    }
}

/// Damage costs a packet, anything else the whole.
fn damage(error: Error) -> Result<u32> {
    match error {
        Error::Truncated { .. } => Ok(1),
        error => Err(error),
    }
}

/// When to decode all of a video's pictures, which are here in that order: the times at which they are
/// shown, in order, all of them so much earlier that none is late.
fn time_decoding(packets: &mut [Packet]) {
    let Some(shown) = packets.iter().map(Packet::pts).collect::<Option<Vec<_>>>() else {
        return;
    };
    let mut decoded = shown.clone();
    decoded.sort_unstable();
    let late = decoded
        .iter()
        .zip(&shown)
        .map(|(dts, pts)| dts.saturating_sub(*pts));
    let delay = late.max().unwrap_or(0);
    for ((packet, pts), dts) in packets.iter_mut().zip(&shown).zip(decoded) {
        packet.set_timestamps(Some(*pts), Some(dts.saturating_sub(delay)));
    }
}

/// The encoder that works here. Those of hardware take 8 bits by the way that is there.
fn encoder_for(wanted: &Encode) -> Result<String> {
    let (all, software) = match wanted.codec.as_str() {
        "hevc" => (&HEVC_ENCODERS, "libx265"),
        _ => (&H264_ENCODERS, "libx264"),
    };
    if wanted.hardware && wanted.bit_depth == 8 {
        choose_encoder(all)
    } else {
        Ok(software.to_owned())
    }
}

fn is_hardware(encoder: &str) -> bool {
    !encoder.starts_with("lib")
}

/// Bits per second for a picture of this size, where an encoder wants a number.
fn hardware_rate(width: u32, height: u32) -> u64 {
    match u64::from(width) * u64::from(height) {
        8_294_400.. => 15_000_000,
        2_073_600.. => 8_000_000,
        921_600.. => 4_000_000,
        _ => 2_000_000,
    }
}

/// A filter graph that is made when its first picture is there.
struct Stage {
    description: String,
    graph: Option<Graph>,
}

impl Stage {
    fn new(filters: Vec<String>) -> Self {
        Self {
            description: filters.join(","),
            graph: None,
        }
    }

    fn push(&mut self, frame: Option<&Frame>, base: Rational) -> Result<Vec<Frame>> {
        let graph = match (&mut self.graph, frame) {
            (Some(graph), _) => graph,
            (None, None) => return Ok(Vec::new()),
            (none, Some(frame)) => {
                let source = VideoSource::of(frame, base, None);
                none.insert(Graph::video(&self.description, &source)?)
            }
        };
        graph.push(frame)?;
        std::iter::from_fn(|| graph.pull().transpose()).collect()
    }

    fn time_base(&self) -> Rational {
        self.graph.as_ref().map_or(MICROSECOND, Graph::time_base)
    }
}

/// Gives pictures their times, or leaves them out.
struct Pacer {
    pace: Pace,
    /// The unit of the times given.
    base: Rational,
    rate: Option<Rational>,
    /// By which part of a place a picture may come early: every nth one is to land on its own,
    /// however much the original's clock trembles.
    early: f64,
    /// The first picture's time, in that unit.
    first: Option<i64>,
    /// The last one's time or place on the grid.
    last: Option<i64>,
}

impl Pacer {
    fn new(pace: Pace, source: Option<Rational>) -> Self {
        let (base, rate) = match pace {
            Pace::Kept => (MICROSECOND, source),
            Pace::Lowered(rate) | Pace::AtMost(rate) => {
                let rate = rate.reduced();
                // Fine enough for a first picture that is not at zero.
                let fine = (10_000 / rate.num.max(1)).max(1);
                (Rational::new(1, rate.num.saturating_mul(fine)), Some(rate))
            }
        };
        let early = match (rate, source) {
            (Some(rate), Some(source)) => 0.25 * (rate.to_f64() / source.to_f64()).min(1.0),
            _ => 0.1,
        };
        Self {
            pace,
            base,
            rate,
            early,
            first: None,
            last: None,
        }
    }

    fn place(&mut self, mut frame: Frame, base: Rational) -> Option<Frame> {
        let (rate, early) = match self.pace {
            Pace::Kept => {
                self.base = base;
                let next = self.last.map(|last| last + 1);
                let pts = frame.pts().or(next).unwrap_or(0);
                if self.last.is_some_and(|last| pts <= last) {
                    return None;
                }
                self.last = Some(pts);
                frame.set_pts(Some(pts));
                return Some(frame);
            }
            Pace::Lowered(rate) => (rate, self.early),
            Pace::AtMost(rate) => (rate, 0.5),
        };
        let rate = rate.reduced();
        let pts = frame.pts()?;
        let first = *self.first.get_or_insert(base.rescale(pts, self.base));
        let since = base.seconds(pts) - self.base.seconds(first);
        let place = (since * rate.to_f64() + early).floor() as i64;
        if self.last.is_some_and(|last| place <= last) {
            return None;
        }
        self.last = Some(place);
        // One picture in ticks: the base is a whole part of one over the rate's numerator.
        let step = rate.inverse().rescale(1, self.base);
        frame.set_pts(Some(first + place * step));
        frame.set_duration(step);
        Some(frame)
    }
}

/// Sound on its way through decoder and encoder.
struct Recoding {
    stream: Stream,
    decoder: Decoder,
    options: AudioEncoderOptions,
    encoder: AudioEncoder,
    graph: Option<Graph>,
    /// The first frame's time in ticks of the decoder, and in samples of the encoder.
    first: Option<(i64, i64)>,
    /// By what was decoded: not every container says how long a packet of sound lasts.
    extent: Extent,
    damaged: u32,
}

impl Recoding {
    fn begin(stream: Stream) -> Result<Self> {
        // The layouts that AAC has a number for and that players take; others are mixed to stereo.
        let channels = match stream.parameters.channels() {
            1 => 1,
            6 | 7 => 6,
            8.. => 8,
            _ => 2,
        };
        let options = AudioEncoderOptions {
            sample_rate: AudioChain::for_stream(&stream).sample_rate,
            channels,
            bit_rate: u64::from(channels.max(2)) * 64_000,
            ..AudioEncoderOptions::default()
        };
        Ok(Self {
            decoder: Decoder::open(&stream, 1)?,
            encoder: AudioEncoder::open(&options)?,
            extent: Extent::of(&stream),
            options,
            stream,
            graph: None,
            first: None,
            damaged: 0,
        })
    }

    fn packet(&mut self, packet: Option<&Packet>) -> Result<Vec<Packet>> {
        let mut out = Vec::new();
        if let Err(error) = self.decoder.send(packet) {
            self.damaged += damage(error)?;
        }
        loop {
            match self.decoder.receive() {
                Ok(Some(frame)) => self.decoded(Some(frame), &mut out)?,
                Ok(None) => break,
                Err(error) => self.damaged += damage(error)?,
            }
        }
        if packet.is_none() {
            self.decoded(None, &mut out)?;
            self.encode(None, &mut out)?;
        }
        Ok(out)
    }

    fn decoded(&mut self, frame: Option<Frame>, out: &mut Vec<Packet>) -> Result<()> {
        let frame = match frame {
            Some(mut frame) => {
                let base = self.decoder.time_base();
                if let Some(pts) = frame.pts() {
                    let rate = f64::from(frame.sample_rate().max(1));
                    let length = f64::from(frame.samples()) / rate;
                    self.extent.cover(base.seconds(pts), length);
                }
                let (first, _) = *self.first.get_or_insert_with(|| {
                    let pts = frame.pts().unwrap_or(0);
                    (pts, base.rescale(pts, self.encoder.time_base()))
                });
                frame.set_pts(frame.pts().map(|pts| pts - first));
                if self.graph.is_none() {
                    let source = AudioSource::of(&frame, base);
                    let layout = match self.options.channels {
                        1 => "mono",
                        6 => "5.1",
                        8 => "7.1",
                        _ => "stereo",
                    };
                    let chain = AudioChain::of_layout(self.options.sample_rate, layout);
                    let size = self.encoder.frame_size();
                    self.graph = Some(Graph::audio(&chain.description, &source, Some(size))?);
                }
                Some(frame)
            }
            None => None,
        };
        let Some(graph) = &mut self.graph else {
            return Ok(());
        };
        graph.push(frame.as_ref())?;
        let frames: Vec<Frame> =
            std::iter::from_fn(|| graph.pull().transpose()).collect::<Result<_>>()?;
        frames
            .iter()
            .try_for_each(|frame| self.encode(Some(frame), out))
    }

    fn encode(&mut self, frame: Option<&Frame>, out: &mut Vec<Packet>) -> Result<()> {
        self.encoder.send(frame)?;
        let (_, first) = self.first.unwrap_or_default();
        while let Some(mut packet) = self.encoder.receive()? {
            packet.shift(first);
            out.push(packet);
        }
        Ok(())
    }
}

/// Text on its way.
struct Text {
    stream: Stream,
    /// `None` where packets go over as they are.
    decoder: Option<SubtitleDecoder>,
    damaged: u32,
}

impl Text {
    fn begin(stream: Stream, copied: bool) -> Result<Self> {
        let decoder = (!copied).then(|| SubtitleDecoder::open(&stream));
        Ok(Self {
            decoder: decoder.transpose()?,
            stream,
            damaged: 0,
        })
    }

    fn packets(&mut self, packet: &Packet) -> Result<Vec<Packet>> {
        /// How long text is shown that does not say how long.
        const SHOWN_S: f64 = 5.0;
        let Some(decoder) = &mut self.decoder else {
            return Ok(vec![packet.clone()]);
        };
        let Ok(captions) = decoder.decode(packet) else {
            self.damaged += 1;
            return Ok(Vec::new());
        };
        let base = packet.time_base();
        let mut packets = Vec::new();
        for caption in captions {
            let usual = (SHOWN_S / base.to_f64()) as i64;
            let end = caption.end.unwrap_or(caption.start.saturating_add(usual));
            // What is over before the picture begins is shown to nobody.
            let start = caption.start.max(0);
            if end <= start {
                continue;
            }
            let mut packet = Packet::from_data(&timed_text(&caption.text), base)?;
            packet.set_timestamps(Some(start), Some(start));
            packet.set_duration(end - start);
            packets.push(packet);
        }
        Ok(packets)
    }
}

/// A text sample (3GPP TS 26.245, 5.17): its length and the text, here without its ASS markup.
fn timed_text(markup: &str) -> Vec<u8> {
    let mut text = String::new();
    let mut rest = markup;
    while let Some(next) = rest.chars().next() {
        let (plain, skipped) = match rest.get(..2) {
            Some("\\N" | "\\n") => (Some('\n'), 2),
            Some("\\h") => (Some(' '), 2),
            _ if next == '{' => (None, rest.find('}').map_or(rest.len(), |end| end + 1)),
            _ => (Some(next), next.len_utf8()),
        };
        text.extend(plain);
        rest = &rest[skipped..];
    }
    let mut length = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    let size = (length as u16).to_be_bytes();
    [&size[..], &text.as_bytes()[..length]].concat()
}

/// From when to when a stream lasts, in seconds since the file's start.
#[derive(Clone, Copy, Debug)]
struct Extent {
    what: &'static str,
    start: Option<f64>,
    end: Option<f64>,
    /// The first key picture's time.
    key: Option<f64>,
    /// One frame.
    frame: f64,
}

impl Extent {
    fn of(stream: &Stream) -> Self {
        let is_video = stream.kind == crate::stream::Kind::Video;
        let sound = || {
            let rate = stream.parameters.sample_rate().unwrap_or(48_000);
            f64::from(stream.parameters.frame_size().unwrap_or(1024)) / f64::from(rate)
        };
        let rate = stream.frame_rate().filter(|rate| rate.to_f64() < 1000.0);
        Self {
            what: if is_video { "the picture" } else { "the sound" },
            start: None,
            end: None,
            key: None,
            frame: match rate {
                Some(rate) if is_video => rate.inverse().to_f64(),
                _ if is_video => 0.04,
                _ => sound(),
            },
        }
    }

    fn is_known(&self) -> bool {
        self.start.is_some()
    }

    /// Takes in a packet. What comes before the first picture that can be decoded is not shown.
    fn add(&mut self, packet: &Packet, keyed: bool) {
        let Some(pts) = packet.pts().or(packet.dts()) else {
            return;
        };
        let base = packet.time_base();
        let (start, length) = (base.seconds(pts), base.seconds(packet.duration()));
        if keyed && self.key.is_none() && packet.is_key() {
            self.key = Some(start);
        }
        // A key picture before an edit list's start is decoded and not shown.
        let decodable = !keyed || self.key.is_some_and(|key| start >= key);
        if packet.is_discarded() || !decodable {
            return;
        }
        let length = if length > 0.0 { length } else { self.frame };
        self.cover(start, length);
    }

    fn cover(&mut self, start: f64, length: f64) {
        // What comes before zero is there for the decoder's sake.
        let shown = start.max(0.0);
        self.start = Some(self.start.map_or(shown, |first| first.min(shown)));
        self.end = Some(self.end.unwrap_or(start).max(start + length));
    }
}

/// Holds the file that was made against what was read of the original. Behind what is compared there
/// are so many streams of text, which begin and end whenever there is something to read.
fn compare(source: &Path, target: &Path, expected: &[Extent], texts: usize) -> Result<()> {
    let mut input = Input::open(target, &OpenOptions::default())?;
    let unlike = |difference: String| Error::Unlike {
        file: crate::error::display_name(source),
        difference,
    };
    let mut found: Vec<Extent> = input.streams().iter().map(Extent::of).collect();
    if found.len() != expected.len() + texts {
        let (found, expected) = (found.len(), expected.len() + texts);
        return Err(unlike(format!("{found} streams instead of {expected}")));
    }
    while let Some(packet) = input.read()? {
        let stream = packet.stream();
        found[stream].add(&packet, stream == 0);
    }
    // The picture of the file that is shown less often decides what one frame is.
    let picture = expected[0].frame.max(found[0].frame);
    for (found, expected) in found.iter().zip(expected) {
        let tolerance = if found.what == expected.what && std::ptr::eq(found.what, "the sound") {
            picture + found.frame.max(expected.frame)
        } else {
            picture
        };
        for (which, found_s, expected_s) in [
            ("begins", found.start, expected.start),
            ("ends", found.end, expected.end),
        ] {
            let (found_s, expected_s) = (found_s.unwrap_or(0.0), expected_s.unwrap_or(0.0));
            if (found_s - expected_s).abs() > tolerance + 0.002 {
                let what = found.what;
                return Err(unlike(format!(
                    "{what} {which} at {found_s:.3} s instead of {expected_s:.3} s"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in milliseconds through a pacer; what comes out in milliseconds.
    fn paced(pace: Pace, times: &[i64]) -> Vec<i64> {
        let milliseconds = Rational::new(1, 1000);
        let mut pacer = Pacer::new(pace, None);
        times
            .iter()
            .filter_map(|time| {
                let mut frame = Frame::video(2, 2, PixelFormat::YUV420P).unwrap();
                frame.set_pts(Some(*time));
                let frame = pacer.place(frame, milliseconds)?;
                Some(pacer.base.rescale(frame.pts()?, milliseconds))
            })
            .collect()
    }

    #[test]
    fn decoding_comes_before_showing() {
        let packet = |pts: i64| {
            let mut packet = Packet::from_data(&[0], Rational::new(1, 25)).unwrap();
            packet.set_timestamps(Some(pts), Some(i64::MAX - 7));
            packet
        };
        for (shown, expected) in [
            (&[7][..], &[7][..]),
            (&[0, 4, 2, 1, 3], &[-2, -1, 0, 1, 2]),
            (&[], &[]),
        ] {
            let mut packets: Vec<Packet> = shown.iter().copied().map(packet).collect();
            time_decoding(&mut packets);
            let times: Vec<_> = packets.iter().filter_map(Packet::dts).collect();
            assert_eq!(times, expected);
        }
    }

    #[test]
    fn text_without_markup() {
        let rows = [
            ("", &b"\0\0"[..]),
            ("{\\i1}so{\\i0}\\Nsay\\hI", b"\0\x08so\nsay I"),
            ("caf\u{e9} {left", b"\0\x06caf\xc3\xa9 "),
        ];
        for (markup, expected) in rows {
            assert_eq!(timed_text(markup), expected, "{markup}");
        }
        let long = timed_text(&"\u{20ac}".repeat(30_000));
        assert_eq!((&long[..2], long.len()), (&[0xff, 0xff][..], 2 + 65_535));
        let longer = timed_text(&format!("a{}", "\u{20ac}".repeat(30_000)));
        assert_eq!(longer.len(), 2 + 65_533);
    }

    #[test]
    fn paces() {
        let r = Rational::new;
        let rows: [(Pace, &[i64], &[i64]); 6] = [
            (Pace::Kept, &[0, 40, 40, 30, 80], &[0, 40, 80]),
            // Sixty a second in whole milliseconds.
            (
                Pace::Lowered(r(30, 1)),
                &[0, 17, 33, 50, 67, 83, 100],
                &[0, 33, 67, 100],
            ),
            (
                Pace::Lowered(r(30_000, 1001)),
                &[500, 517, 533, 550, 567, 584, 601],
                &[500, 533, 567, 600],
            ),
            (Pace::Lowered(r(25, 1)), &[0, 20, 40, 60], &[0, 40]),
            (
                Pace::AtMost(r(10, 1)),
                &[0, 30, 60, 240, 320],
                &[0, 100, 200, 300],
            ),
            (Pace::AtMost(r(50, 1)), &[7, 1007], &[7, 1007]),
        ];
        for (pace, times, expected) in rows {
            assert_eq!(paced(pace, times), expected, "{pace:?} {times:?}");
        }
    }

    /// A file that is not as long as another, begins elsewhere, or lacks a stream, is told apart.
    #[test]
    fn a_result_unlike_its_original_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made.mp4");
        let clip = crate::TestClip {
            codec: "h264",
            width: 64,
            height: 64,
            fps: 10,
            seconds: 1,
        };
        crate::test_clip(&file, clip, &mut |_| {}).unwrap();
        let extent = |start, end| Extent {
            what: "the picture",
            start: Some(start),
            end: Some(end),
            key: None,
            frame: 0.1,
        };
        let rows = [
            (vec![extent(0.0, 1.0)], None),
            (vec![extent(0.05, 1.05)], None),
            (
                vec![extent(0.0, 1.2)],
                Some("ends at 1.000 s instead of 1.200 s"),
            ),
            (
                vec![extent(0.15, 1.0)],
                Some("begins at 0.000 s instead of 0.150 s"),
            ),
            (vec![extent(0.0, 1.0); 2], Some("1 streams instead of 2")),
        ];
        for (expected, difference) in rows {
            let outcome = compare(Path::new("clip"), &file, &expected, 0);
            let said = outcome.err().map(|error| error.to_string());
            assert_eq!(said.is_some(), difference.is_some(), "{said:?}");
            let said = said.unwrap_or_default();
            assert!(said.contains(difference.unwrap_or("")), "{said}");
        }
    }

    /// Whatever devices there are: the same pictures come out, in main memory.
    #[test]
    fn a_device_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made.mp4");
        let clip = crate::TestClip {
            codec: "h264",
            width: 320,
            height: 240,
            fps: 10,
            seconds: 1,
        };
        crate::test_clip(&file, clip, &mut |_| {}).unwrap();
        let decoded = |hardware: bool| {
            let mut input = Input::open(&file, &OpenOptions::default()).unwrap();
            let stream = input.best_video().unwrap().clone();
            let mut decoder = Decoder::open_on(&stream, 1, hardware).unwrap();
            let mut sums = Vec::new();
            loop {
                let packet = input.read().unwrap();
                decoder.send(packet.as_ref()).unwrap();
                while let Some(frame) = decoder.receive().unwrap() {
                    let (samples, stride) = frame.plane(0).unwrap();
                    let rows = samples.chunks(stride);
                    let sum: u64 = rows
                        .flat_map(|row| &row[..320])
                        .map(|sample| u64::from(*sample))
                        .sum();
                    sums.push((frame.pts(), sum));
                }
                if packet.is_none() {
                    return sums;
                }
            }
        };
        let software = decoded(false);
        assert_eq!(software.len(), 10);
        assert_eq!(decoded(true), software);
    }
}
