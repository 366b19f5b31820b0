//! The file's way to the units: packets, decoded pictures, pictures as every rung starts from
//! (upright, progressive, 8 bit 4:2:0, square pixels), each put into its segment.
//!
//! One source feeds all rungs, so the file is decoded once. It keeps the promise of the plan
//! whatever the decoder does: every planned segment gets a picture at its very start. Where damage
//! or a pause leaves none, the picture before is shown again.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use media::{
    ColourTreatment, Decoder, Frame, Geometry, Graph, Input, Packet, PixelFormat, Scaler,
    VideoChain, VideoSource,
};

use crate::audio::Track;
use crate::copy;
use crate::plan::{Cuts, Prepared};
use crate::sample::{Collector, Pictures, Sound};
use crate::timeline::{FrameClock, LEAST_DISTANCE, TICK, Timeline, to_ticks};
use crate::unit::Span;
use crate::{Error, Options, Result};

/// Pictures that one step gives at most, about as many as a unit takes at a time.
const BATCH: usize = 4;

/// Display times kept for the next segment's decode times; more than any reordering.
const REMEMBERED: usize = 16;

/// What the source gives, in order.
pub enum Event {
    /// A segment begins.
    Open(Arc<Span>),
    /// The next picture of the open segment.
    Picture(Frame, i64),
    /// The segment has all its pictures; here is its sound.
    Close(Arc<Span>, Option<Arc<Sound>>),
    /// The source's own pictures of the segment that was just closed.
    Copied(Arc<Span>, Pictures, Option<Arc<Sound>>),
}

/// The file being read.
pub struct Source {
    input: Input,
    /// None when nothing but copying is to be done.
    decoder: Option<Decoder>,
    timeline: Timeline,
    clock: FrameClock,
    normaliser: Normaliser,
    cuts: Cuts,
    nominal: i64,
    copy: Option<Copying>,
    track: Option<Track>,
    /// Normalised pictures with their times, before they are put into segments.
    waiting: VecDeque<(Frame, i64)>,
    open: Option<Arc<Span>>,
    last: Option<Frame>,
    recent: VecDeque<i64>,
    drained: bool,
    /// Everything was given.
    pub ended: bool,
    oddities: Oddities,
    name: std::path::PathBuf,
}

/// What went wrong and was survived.
#[derive(Debug, Default)]
struct Oddities {
    damaged_packets: u32,
    unfiltered: u32,
    repeated: u32,
    unreadable: Option<String>,
}

impl Source {
    /// Opens the file again, to make what was planned. `decode` is false when copying is all.
    pub fn open(
        prepared: &Prepared,
        options: &Options,
        decode: bool,
        threads: u32,
    ) -> Result<Source> {
        let mut input = Input::open(&prepared.input, &options.open)?;
        let video = &prepared.video;
        input.select(&[video.index]);
        let base = video.time_base;
        let track = prepared
            .audio
            .map(|index| Track::open(&prepared.input, options, index, prepared.origin, base));
        let copy = prepared.copy.as_ref();
        let timeline = Timeline::new(input.container(), base, prepared.nominal);
        Ok(Source {
            input,
            decoder: if decode {
                Some(Decoder::open(video, threads)?)
            } else {
                None
            },
            timeline,
            clock: FrameClock::new(base, prepared.origin, prepared.nominal),
            normaliser: Normaliser::new(prepared),
            cuts: prepared.cuts.clone(),
            nominal: prepared.nominal,
            copy: copy.map(|source| Copying::new(source.clone(), prepared)),
            track: track.transpose()?,
            waiting: VecDeque::new(),
            open: None,
            last: None,
            recent: VecDeque::new(),
            // Sound alone needs no packets of the video stream.
            drained: !decode && prepared.copy.is_none(),
            ended: false,
            oddities: Oddities::default(),
            name: prepared.input.clone(),
        })
    }

    /// Goes on until there is a batch of pictures, or a segment was closed, or the end is reached,
    /// or the run is being stopped.
    pub fn step(&mut self, stop: &AtomicBool) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let enough = |events: &[Event]| {
            events.len() >= BATCH || events.iter().any(|event| matches!(event, Event::Close(..)))
        };
        while !self.ended && !enough(&events) && !stop.load(Ordering::Relaxed) {
            if let Some((frame, pts)) = self.waiting.pop_front() {
                self.place(frame, pts, &mut events)?;
            } else if !self.drained {
                self.read(&mut events)?;
            } else {
                self.finish(&mut events)?;
            }
        }
        Ok(events)
    }

    /// What was odd, in words.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut say = |count: u32, text: &str| {
            if count > 0 {
                warnings.push(format!("{count} {text}"));
            }
        };
        say(
            self.oddities.damaged_packets,
            "damaged video packets were passed over",
        );
        say(
            self.clock.repaired,
            "pictures had no usable time and were put after the one before",
        );
        say(
            self.oddities.repeated,
            "pictures were shown again where none came",
        );
        say(
            self.oddities.unfiltered,
            "pictures could not be converted and were left out",
        );
        if let Some(track) = &self.track {
            say(track.damaged, "damaged audio packets were passed over");
            if track.other_clock {
                warnings
                    .push("the sound's clock does not match; it starts with the picture".into());
            }
        }
        if let Some(error) = &self.oddities.unreadable {
            warnings.push(format!("the file could not be read to its end: {error}"));
        }
        warnings.extend(self.normaliser.warning().map(str::to_string));
        warnings
    }

    /// One packet further.
    fn read(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let mut packet = match self.input.read() {
            Ok(packet) => packet,
            Err(error) => {
                self.oddities.unreadable = Some(error.to_string());
                None
            }
        };
        if let Some(packet) = &mut packet {
            self.timeline.place(packet);
        }
        if let Some(copying) = &mut self.copy {
            copying.packet(packet.as_ref(), &self.cuts, &self.name)?;
        }
        match &mut self.decoder {
            Some(_) => self.decode(packet.as_ref())?,
            None => self.only_copy(packet.is_none(), events)?,
        }
        self.drained |= packet.is_none();
        Ok(())
    }

    fn decode(&mut self, packet: Option<&Packet>) -> Result<()> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        match decoder.send(packet) {
            Ok(()) => {}
            Err(error @ media::Error::TooLarge { .. }) => return Err(error.into()),
            Err(_) => self.oddities.damaged_packets += 1,
        }
        loop {
            match decoder.receive() {
                Ok(Some(mut frame)) => {
                    let Some(pts) = self.clock.next(frame.pts()) else {
                        continue;
                    };
                    frame.set_pts(Some(pts));
                    frame.set_duration(self.nominal);
                    self.normaliser
                        .push(Some(frame), &mut self.waiting, &mut self.oddities);
                }
                Ok(None) => break,
                Err(error @ media::Error::TooLarge { .. }) => return Err(error.into()),
                // The picture is lost; after the last packet so are those behind it.
                Err(_) => {
                    self.oddities.damaged_packets += 1;
                    break;
                }
            }
        }
        if packet.is_none() {
            self.normaliser
                .push(None, &mut self.waiting, &mut self.oddities);
        }
        Ok(())
    }

    /// Puts a picture into its segment, or, when a boundary comes first, deals with that and keeps
    /// the picture.
    fn place(&mut self, frame: Frame, pts: i64, events: &mut Vec<Event>) -> Result<()> {
        let Some(open) = &self.open else {
            self.begin(0, events);
            return self.place(frame, 0, events);
        };
        let next = open.index + 1;
        match self.cuts.starts.get(next).copied() {
            Some(boundary) if pts + 2 * LEAST_DISTANCE >= boundary => {
                self.close(events)?;
                self.begin(next, events);
                if pts <= boundary + self.nominal / 2 {
                    self.give(frame, boundary, events);
                } else {
                    self.repeat(boundary, events);
                    self.waiting.push_front((frame, pts));
                }
            }
            None if pts >= self.cuts.end => {}
            _ => self.give(frame, pts, events),
        }
        Ok(())
    }

    fn begin(&mut self, index: usize, events: &mut Vec<Event>) {
        let span = Arc::new(Span {
            index,
            start: self.cuts.starts[index],
            end: self.cuts.end_of(index),
            before: self.recent.iter().copied().collect(),
        });
        self.open = Some(Arc::clone(&span));
        events.push(Event::Open(span));
    }

    fn give(&mut self, frame: Frame, pts: i64, events: &mut Vec<Event>) {
        // Moving a picture to its boundary can bring it onto the one before.
        if self.recent.back().is_some_and(|&last| pts <= last) {
            return;
        }
        self.recent.push_back(pts);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        self.last = Some(frame.clone());
        events.push(Event::Picture(frame, pts));
    }

    fn repeat(&mut self, pts: i64, events: &mut Vec<Event>) {
        if let Some(last) = self.last.clone() {
            self.oddities.repeated += 1;
            self.give(last, pts, events);
        }
    }

    fn close(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some(span) = self.open.take() else {
            return Ok(());
        };
        let sound = match &mut self.track {
            Some(track) => Some(Arc::new(track.until(span.end)?)),
            None => None,
        };
        events.push(Event::Close(Arc::clone(&span), sound.clone()));
        if let Some(copying) = &mut self.copy {
            let pictures = copying.take(&span, &self.name)?;
            events.push(Event::Copied(span, pictures, sound));
        }
        Ok(())
    }

    /// After the last picture: the segments that are still promised.
    fn finish(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some(open) = &self.open else {
            if self.decoder.is_none() && self.copy.is_none() {
                self.begin(0, events);
                return Ok(());
            }
            return Err(Error::NoPicture {
                file: self.name.clone(),
            });
        };
        let next = open.index + 1;
        self.close(events)?;
        match self.cuts.starts.get(next).copied() {
            Some(boundary) if self.decoder.is_some() => {
                self.begin(next, events);
                self.repeat(boundary, events);
            }
            Some(_) => self.begin(next, events),
            None => self.ended = true,
        }
        Ok(())
    }

    /// Without a decoder the packets alone open and close segments.
    fn only_copy(&mut self, ended: bool, events: &mut Vec<Event>) -> Result<()> {
        let reached = self.copy.as_ref().map_or(0, |copying| copying.reached);
        if self.open.is_none() && reached > 0 && !ended {
            self.begin(0, events);
        }
        while let Some(open) = &self.open {
            let next = open.index + 1;
            if next >= reached || ended {
                break;
            }
            self.close(events)?;
            self.begin(next, events);
        }
        Ok(())
    }
}

/// The source's own packets on their way into segments.
struct Copying {
    source: copy::Source,
    origin: i64,
    collectors: VecDeque<Collector>,
    /// Display times before the first segment in `collectors`.
    before: Vec<i64>,
    /// Segments begun.
    reached: usize,
}

impl Copying {
    fn new(source: copy::Source, prepared: &Prepared) -> Copying {
        let origin = prepared.origin;
        Copying {
            source,
            origin,
            collectors: VecDeque::new(),
            before: Vec::new(),
            reached: 0,
        }
    }

    fn packet(&mut self, packet: Option<&Packet>, cuts: &Cuts, file: &Path) -> Result<()> {
        let Some(packet) = packet else { return Ok(()) };
        let pts = packet.pts().unwrap_or(0).saturating_sub(self.origin);
        let pts = to_ticks(pts, packet.time_base());
        if cuts
            .starts
            .get(self.reached)
            .is_some_and(|&start| pts >= start)
        {
            self.collectors
                .push_back(Collector::new(Some(&self.source.sets)));
            self.reached += 1;
        }
        let Some(collector) = self.collectors.back_mut() else {
            return Ok(());
        };
        collector
            .push(packet.data(), pts)
            .map_err(|problem| changed(file, problem))
    }

    /// The oldest segment's pictures.
    fn take(&mut self, span: &Span, file: &Path) -> Result<Pictures> {
        let Some(collector) = self.collectors.pop_front() else {
            return Err(changed(file, "it is shorter"));
        };
        let before = std::mem::take(&mut self.before);
        let pictures = collector.finish(before.clone(), self.source.reorder, span.end);
        let pictures = pictures.map_err(|problem| changed(file, problem))?;
        self.before = before;
        self.before.extend(pictures.shown());
        let old = self.before.len().saturating_sub(REMEMBERED);
        self.before.drain(..old);
        Ok(pictures)
    }
}

/// The plan found the packets fit; now they are not.
fn changed(file: &Path, problem: &str) -> Error {
    let reason = format!("the file changed while it was read: {problem}");
    Error::Timestamps {
        file: file.to_path_buf(),
        reason,
    }
}

/// Makes decoded pictures into what the source rung shows.
struct Normaliser {
    chain: VideoChain,
    description: Option<String>,
    graph: Option<Graph>,
    scaler: Option<Scaler>,
    width: u32,
    height: u32,
    rate: Option<media::Rational>,
}

impl Normaliser {
    fn new(prepared: &Prepared) -> Normaliser {
        let chain = VideoChain::for_stream(&prepared.video);
        let rung = &prepared.plan.rungs[0];
        let (width, height) = (rung.width, rung.height);
        let mut description = (!chain.is_identity()).then(|| chain.description.clone());
        let (mut stored_width, mut stored_height) =
            (prepared.first.width(), prepared.first.height());
        if prepared.video.orientation.swaps_sides() {
            std::mem::swap(&mut stored_width, &mut stored_height);
        }
        // An odd line or column is cut off; scaling by one pixel would soften the whole picture.
        let odd = (stored_width, stored_height) != (width, height)
            && stored_width.abs_diff(width) <= 1
            && stored_height.abs_diff(height) <= 1
            && stored_width >= width
            && stored_height >= height;
        if odd {
            let crop = format!("crop={width}:{height}:0:0");
            description = Some(match description {
                Some(description) => format!("{description},{crop}"),
                None => crop,
            });
        }
        let rate = prepared.constant_rate;
        Normaliser {
            chain,
            description,
            graph: None,
            scaler: None,
            width,
            height,
            rate,
        }
    }

    fn warning(&self) -> Option<&'static str> {
        match self.chain.colour {
            ColourTreatment::HdrKept => Some(
                "high dynamic range was kept: this FFmpeg cannot map it, the stream may look pale",
            ),
            ColourTreatment::ToneMapped | ColourTreatment::Unchanged => None,
        }
    }

    /// Takes a decoded picture, or the end; what is ready goes into `out`.
    fn push(
        &mut self,
        frame: Option<Frame>,
        out: &mut VecDeque<(Frame, i64)>,
        oddities: &mut Oddities,
    ) {
        let pushed = match (&self.description, frame) {
            (None, Some(frame)) => self.fit(&frame, TICK, out),
            (None, None) => Ok(()),
            (Some(description), frame) => {
                let description = description.clone();
                self.filter(&description, frame, out)
            }
        };
        if pushed.is_err() {
            oddities.unfiltered += 1;
        }
    }

    fn filter(
        &mut self,
        description: &str,
        frame: Option<Frame>,
        out: &mut VecDeque<(Frame, i64)>,
    ) -> media::Result<()> {
        if let (None, Some(frame)) = (&self.graph, &frame) {
            let source = VideoSource::of(frame, TICK, self.rate);
            self.graph = Some(Graph::video(description, &source)?);
        }
        let Some(mut graph) = self.graph.take() else {
            return Ok(());
        };
        graph.push(frame.as_ref())?;
        while let Some(frame) = graph.pull()? {
            self.fit(&frame, graph.time_base(), out)?;
        }
        self.graph = Some(graph);
        Ok(())
    }

    /// Scales and converts to what the encoders take, unless the picture is that already.
    fn fit(
        &mut self,
        frame: &Frame,
        base: media::Rational,
        out: &mut VecDeque<(Frame, i64)>,
    ) -> media::Result<()> {
        let pts = base.rescale(frame.pts().unwrap_or(0), TICK);
        let plain = frame.pixel_format() == PixelFormat::YUV420P && !frame.colour().is_full_range();
        if plain && (frame.width(), frame.height()) == (self.width, self.height) {
            out.push_back((frame.clone(), pts));
            return Ok(());
        }
        let scaler = match &mut self.scaler {
            Some(scaler) => scaler,
            None => {
                let target = Geometry::new(self.width, self.height, PixelFormat::YUV420P);
                self.scaler
                    .insert(Scaler::new(Geometry::of(frame), target)?)
            }
        };
        out.push_back((scaler.scale(frame)?, pts));
        Ok(())
    }
}
