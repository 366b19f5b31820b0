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
    AudioChain, AudioEncoder, AudioEncoderOptions, AudioSource, Decoder, Frame, Graph, Input,
    Packet, Rational, Stream,
};

use crate::sample::{AAC_FRAME, Sound, SoundFormat, TICKS};
use crate::timeline::{TICK, Timeline};
use crate::{Options, Result};

/// Channels of the output.
pub const CHANNELS: u32 = 2;
/// Average of the output in bits per second.
pub const BIT_RATE: u64 = 128_000;
/// What it takes at most over a segment, with headers, in bits per second.
pub const PEAK_RATE: u64 = 160_000;

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

/// The stream to take the sound from, if there is one that decodes.
pub fn find(path: &Path, options: &Options, warnings: &mut Vec<String>) -> Result<Option<usize>> {
    let mut input = Input::open(path, &options.open)?;
    let Some(stream) = input.best_audio().cloned() else {
        return Ok(None);
    };
    input.select(&[stream.index]);
    match first_frame(&mut input, &stream) {
        Ok(true) => Ok(Some(stream.index)),
        Ok(false) => {
            warnings.push("the sound cannot be decoded; the stream has none".to_string());
            Ok(None)
        }
        Err(error) => {
            warnings.push(format!(
                "the sound cannot be decoded; the stream has none: {error}"
            ));
            Ok(None)
        }
    }
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

/// The sound on its way through.
pub struct Track {
    input: Input,
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
    /// Opens the stream of this index. `origin` is the first picture's time in `origin_base`.
    pub fn open(
        path: &Path,
        options: &Options,
        index: usize,
        origin: i64,
        origin_base: Rational,
    ) -> Result<Track> {
        let mut input = Input::open(path, &options.open)?;
        input.select(&[index]);
        let stream = input.streams()[index].clone();
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
            timeline: Timeline::new(input.container(), stream.time_base, nominal),
            origin: origin_base.rescale(origin, stream.time_base),
            graph: None,
            encoder,
            format,
            position: 0,
            withheld: 0,
            insertions: VecDeque::new(),
            resampled: 0,
            fed: 0,
            flushed: false,
            input_ended: false,
            ready: VecDeque::new(),
            first_ready: 0,
            damaged: 0,
            other_clock: false,
            input,
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
            return Ok(());
        }
        let packet = self.read();
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
    fn read(&mut self) -> Option<Packet> {
        let mut packet = self.input.read().unwrap_or(None)?;
        self.timeline.place(&mut packet);
        Some(packet)
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
