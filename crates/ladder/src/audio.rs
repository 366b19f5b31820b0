//! The sound of the whole stream: decoded, made stereo, encoded to AAC once, handed out by segment.
//!
//! It has an input of its own, so that a file whose sound stands far from its pictures costs no
//! memory, and is pulled only as far as the segment that is being closed. It starts at 0 with the
//! first picture (earlier sound is cut, later sound comes after silence), pauses are silent, and it
//! ends where the pictures end, filled up with silence: a player stalls where one of two tracks
//! runs out.

use std::collections::VecDeque;
use std::path::Path;

use media::{
    AudioChain, AudioEncoder, AudioEncoderOptions, AudioSource, Decoder, Frame, Graph, Input, Kind,
    Packet, Rational, Stream,
};

use crate::live::{Heard, SoundQueue};
use crate::plan::Sounding;
use crate::playlist::Label;
use crate::sample::{AAC_FRAME, Sound, SoundFormat, TICKS};
use crate::timeline::{TICK, Timeline};
use crate::{Error, Options, Result, language};

/// Channels of the output.
pub const CHANNELS: u32 = 2;
/// Average of the output in bits per second.
pub const BIT_RATE: u64 = 128_000;
/// What it takes at most over a segment, with headers, in bits per second.
pub const PEAK_RATE: u64 = 160_000;

/// The longest frame of the output in ticks: 1024 samples at 44.1 kHz.
pub const LONGEST_FRAME: i64 = AAC_FRAME * TICKS / 44_100 + 1;

/// Pauses longer than this, in output samples, are not filled by the resampler, which would hold
/// all the silence in memory, but frame by frame on the way to the encoder.
const LONG_PAUSE: i64 = 64 * AAC_FRAME;
/// What the resampler is left to fill of a long pause: enough for whole silent frames on both sides
/// of the place where the rest goes in.
const SHORT_PAUSE: i64 = 16 * AAC_FRAME;
/// Sound that claims to start so many seconds from the first picture has another clock.
const FURTHEST_START_S: i64 = 600;
/// Packets tried until the first sound.
const PACKETS_UNTIL_SOUND: usize = 1000;

/// Tracks of sound that a stream has at most: each is decoded and encoded.
const MOST_TRACKS: usize = 16;

/// The tracks of sound that decode: index and what people call them.
pub fn find(
    opened: &Input,
    path: &Path,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Vec<(usize, Label)>> {
    let tracks = opened.streams().iter();
    let tracks = tracks.filter(|s| s.kind == Kind::Audio && s.parameters.channels() > 0);
    let tracks: Vec<&Stream> = tracks.collect();
    if tracks.len() > MOST_TRACKS {
        let more = tracks.len() - MOST_TRACKS;
        warnings.push(format!("{more} tracks of sound were left out: too many"));
    }
    let mut found = Vec::new();
    for stream in tracks.iter().copied().take(MOST_TRACKS) {
        let mut input = Input::open(path, &options.open)?;
        input.select(&[stream.index]);
        let why = match first_frame(&mut input, stream) {
            Ok(true) => {
                found.push(stream);
                continue;
            }
            Ok(false) => String::new(),
            Err(error) => format!(": {error}"),
        };
        warnings.push(match tracks.len() {
            1 => format!("the sound cannot be decoded; the stream has none{why}"),
            _ => format!("a track of sound cannot be decoded and was left out{why}"),
        });
    }
    let labels = language::labels(&found);
    Ok(found
        .iter()
        .map(|stream| stream.index)
        .zip(labels)
        .collect())
}

/// The sound of a file that goes with pictures from elsewhere: both start together.
///
/// # Errors
/// Also when the file has no sound, since it was named for it.
pub fn beside(
    path: &Path,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Sounding, Label)>> {
    let input = Input::open(path, &options.open)?;
    if input.best_audio().is_none() {
        let reason = "no sound in it".to_string();
        let name = path.display().to_string();
        return Err(Error::Pictures { name, reason });
    }
    let start = input.start_s().unwrap_or(0.0);
    let tracks = find(&input, path, options, warnings)?.into_iter();
    let sounding = |stream| Sounding::File {
        path: path.to_path_buf(),
        stream,
        origin: (start * TICKS as f64).round() as i64,
        base: TICK,
        ends: true,
    };
    let tracks = tracks.map(|(stream, label)| (sounding(stream), label));
    Ok(tracks.collect())
}

fn first_frame(input: &mut Input, stream: &Stream) -> media::Result<bool> {
    let mut decoder = Decoder::open(stream, 1)?;
    for _ in 0..PACKETS_UNTIL_SOUND {
        let packet = input.read().unwrap_or(None);
        // Damaged packets are passed over, here as later.
        let _ = decoder.send(packet.as_ref());
        if matches!(decoder.receive(), Ok(Some(_))) {
            return Ok(true);
        }
        if packet.is_none() {
            break;
        }
    }
    Ok(false)
}

/// Silent frames to put in before the output frame of this number of the resampler.
#[derive(Debug)]
struct Insertion {
    before: i64,
    frames: i64,
}

/// Where packets come from.
enum Packets {
    File(Input),
    Live(SoundQueue),
}

/// What a track is given next.
enum Next {
    Packet(Packet),
    End,
    /// It is late: nothing is there yet.
    Late,
}

/// The sound on its way through.
pub struct Track {
    packets: Packets,
    decoder: Decoder,
    timeline: Timeline,
    stream: Stream,
    /// The moment that is 0, in the stream's time base.
    origin: i64,
    graph: Option<Graph>,
    encoder: AudioEncoder,
    format: SoundFormat,
    /// End of the sound given to the resampler, in output samples on the output's clock.
    position: i64,
    /// Output samples of silence that the resampler was kept from making.
    withheld: i64,
    insertions: VecDeque<Insertion>,
    /// Frames that came from the resampler.
    resampled: i64,
    /// Frames given to the encoder.
    fed: i64,
    /// The same without the silence after the end.
    sounding: i64,
    /// No packets are left, but the resampler may hold sound.
    flushed: bool,
    input_ended: bool,
    /// Encoded frames not handed out yet, and the number of the first.
    ready: VecDeque<Vec<u8>>,
    first_ready: i64,
    /// Packets that could not be decoded.
    pub damaged: u32,
    /// Whether the sound's clock has nothing to do with the pictures'.
    pub other_clock: bool,
}

impl Track {
    /// Opens the stream again, or, of a live source, begins with what came of it.
    pub fn open(sounding: &Sounding, options: &Options) -> Result<Track> {
        let (packets, stream, origin) = match sounding {
            Sounding::File {
                path,
                stream,
                origin,
                base,
                ..
            } => {
                let mut input = Input::open(path, &options.open)?;
                input.select(&[*stream]);
                let stream = input.streams()[*stream].clone();
                let origin = base.rescale(*origin, stream.time_base);
                (Packets::File(input), stream, origin)
            }
            Sounding::Live(queue) => {
                let Some(Heard::Stream(stream, origin)) = queue.pop() else {
                    return Err(Error::Cancelled);
                };
                (Packets::Live(queue.clone()), *stream, origin)
            }
        };
        let container = match &packets {
            Packets::File(input) => input.container(),
            Packets::Live(_) => "",
        };
        let sample_rate = AudioChain::for_stream(&stream).sample_rate;
        let encoder = AudioEncoder::open(&AudioEncoderOptions {
            sample_rate,
            channels: CHANNELS,
            bit_rate: BIT_RATE,
            ..AudioEncoderOptions::default()
        })?;
        let config = encoder.extradata().to_vec();
        let format = SoundFormat {
            sample_rate,
            channels: CHANNELS,
            config,
        };
        let nominal = AAC_FRAME * TICKS / i64::from(sample_rate);
        Ok(Track {
            decoder: Decoder::open(&stream, 1)?,
            timeline: Timeline::new(container, stream.time_base, nominal),
            origin,
            graph: None,
            encoder,
            format,
            position: 0,
            withheld: 0,
            insertions: VecDeque::new(),
            resampled: 0,
            fed: 0,
            sounding: 0,
            flushed: false,
            input_ended: false,
            ready: VecDeque::new(),
            first_ready: 0,
            damaged: 0,
            other_clock: false,
            packets,
            stream,
        })
    }

    /// The frames that start before `end`, in ticks, from where the last call stopped.
    pub fn until(&mut self, end: i64) -> Result<Sound> {
        while self
            .format
            .frame_time(self.first_ready + self.ready.len() as i64)
            < end
        {
            if self.input_ended {
                self.encode(&self.silent_frame()?)?;
            } else {
                self.step()?;
            }
        }
        let mut frames = Vec::new();
        while self
            .format
            .frame_time(self.first_ready + frames.len() as i64)
            < end
        {
            let Some(frame) = self.ready.pop_front() else {
                break;
            };
            frames.push(frame);
        }
        let first = self.first_ready;
        self.first_ready += frames.len() as i64;
        Ok(Sound {
            format: self.format.clone(),
            first,
            frames,
        })
    }

    /// Whether there is sound at this time, to within two frames. It is what ends a stream whose
    /// pictures go on.
    pub fn reaches(&mut self, time: i64) -> Result<bool> {
        while !self.input_ended && self.format.frame_time(self.fed) <= time {
            self.step()?;
        }
        Ok(!self.input_ended || self.format.frame_time(self.sounding + 2) > time)
    }

    fn silent_frame(&self) -> Result<Frame> {
        Ok(Frame::silence(AAC_FRAME as u32, self.format.sample_rate)?)
    }

    /// One frame to the encoder, or one packet further.
    fn step(&mut self) -> Result<()> {
        if let Some(insertion) = self.insertions.front_mut() {
            if insertion.before == self.resampled && insertion.frames > 0 {
                insertion.frames -= 1;
                return self.encode(&self.silent_frame()?);
            }
        }
        if self.pull()? {
            return Ok(());
        }
        if self.flushed {
            self.input_ended = true;
            self.sounding = self.fed;
            return Ok(());
        }
        let packet = match self.read()? {
            Next::Packet(packet) => Some(packet),
            Next::End => None,
            Next::Late => {
                // Silence in its place; what comes of it later is cut.
                self.withheld += AAC_FRAME;
                return self.encode(&self.silent_frame()?);
            }
        };
        if self.decoder.send(packet.as_ref()).is_err() {
            self.damaged += 1;
        }
        // A decoder that failed on a packet goes on with the next.
        while let Ok(Some(frame)) = self.decoder.receive() {
            self.resample(frame)?;
        }
        if packet.is_none() {
            self.flushed = true;
            if let Some(graph) = &mut self.graph {
                graph.push(None)?;
            }
        }
        Ok(())
    }

    /// The next packet; a file that cannot be read further has ended.
    fn read(&mut self) -> Result<Next> {
        loop {
            match &mut self.packets {
                Packets::File(input) => {
                    let Some(mut packet) = input.read().unwrap_or(None) else {
                        return Ok(Next::End);
                    };
                    self.timeline.place(&mut packet);
                    return Ok(Next::Packet(packet));
                }
                Packets::Live(queue) => match queue.pop() {
                    None => return Ok(Next::Late),
                    Some(Heard::Packet(packet)) => return Ok(Next::Packet(packet)),
                    Some(Heard::Stream(stream, origin)) => {
                        self.decoder = Decoder::open(&stream, 1)?;
                        (self.stream, self.origin) = (*stream, origin);
                    }
                },
            }
        }
    }

    fn resample(&mut self, mut frame: Frame) -> Result<()> {
        let rate = i64::from(self.format.sample_rate);
        let samples = Rational::new(1, rate as i32);
        let base = self.stream.time_base;
        let length = i64::from(frame.samples()) * rate / i64::from(frame.sample_rate().max(1));
        if self.graph.is_none() {
            self.align(frame.pts());
        }
        let time = frame
            .pts()
            .map(|pts| base.rescale(pts.saturating_sub(self.origin), samples));
        let time = time.unwrap_or(self.position + self.withheld);
        let pause = time - self.withheld - self.position;
        if pause > LONG_PAUSE {
            let frames = (pause - SHORT_PAUSE) / AAC_FRAME;
            // Two frames into the silence, after what the resampler still holds of the sound.
            let before = self.position.div_euclid(AAC_FRAME) + 2;
            self.insertions.push_back(Insertion { before, frames });
            self.withheld += frames * AAC_FRAME;
        }
        let placed = time - self.withheld;
        self.position = self.position.max(placed + length);
        frame.set_pts(Some(samples.rescale(placed, TICK)));
        let graph = match &mut self.graph {
            Some(graph) => graph,
            None => {
                let chain = AudioChain::stereo(self.format.sample_rate);
                let source = AudioSource::of(&frame, TICK);
                let size = Some(AAC_FRAME as u32);
                self.graph
                    .insert(Graph::audio(&chain.description, &source, size)?)
            }
        };
        Ok(graph.push(Some(&frame))?)
    }

    /// Moves the origin when the first sound is absurdly far from the first picture.
    fn align(&mut self, first: Option<i64>) {
        let Some(first) = first else { return };
        let second = Rational::ONE.rescale(1, self.stream.time_base);
        let furthest = second.saturating_mul(FURTHEST_START_S);
        if first.saturating_sub(self.origin).saturating_abs() > furthest {
            self.origin = first;
            self.other_clock = true;
        }
    }

    /// One frame from the resampler to the encoder. False when it has none.
    fn pull(&mut self) -> Result<bool> {
        let Some(graph) = &mut self.graph else {
            return Ok(false);
        };
        let Some(frame) = graph.pull()? else {
            return Ok(false);
        };
        self.resampled += 1;
        if self
            .insertions
            .front()
            .is_some_and(|insertion| insertion.before < self.resampled)
        {
            self.insertions.pop_front();
        }
        // The end of a resampler's life is under a frame, 21 ms; the encoder takes whole ones.
        if i64::from(frame.samples()) == AAC_FRAME {
            self.encode(&frame)?;
        }
        Ok(true)
    }

    fn encode(&mut self, frame: &Frame) -> Result<()> {
        let mut frame = frame.clone();
        frame.set_pts(Some(self.fed * AAC_FRAME));
        self.fed += 1;
        self.encoder.send(Some(&frame))?;
        while let Some(packet) = self.encoder.receive()? {
            // The encoder's own delay comes first, before time 0.
            if packet.pts().is_some_and(|pts| pts >= 0) {
                self.ready.push_back(packet.data().to_vec());
            }
        }
        Ok(())
    }
}
