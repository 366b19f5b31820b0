//! The file's way to the units: packets, decoded pictures, pictures as every rung starts from
//! (upright, progressive, 8 bit 4:2:0, square pixels), each put into its segment.
//!
//! One source feeds all rungs, so the file is decoded once. It keeps the promise of the plan
//! whatever the decoder does: every planned segment gets a picture at its very start. Where damage
//! or a pause leaves none, the picture before is shown again.
//!
//! Pictures that come once have no plan: a segment is closed by the first picture after it. Where
//! the end of the stream would leave a runt it is joined to the segment before, so at a boundary as
//! many pictures wait as a runt may have.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use media::{
    ColourTreatment, Decoder, Frame, Geometry, Graph, Input, Packet, PixelFormat, Scaler,
    VideoChain, VideoSource,
};

use crate::beside::{Beside, Closed};
use crate::copy;
use crate::feed::{Fed, Feed, counted};
use crate::plan::{Cuts, Cutting, Grid, PartGrid, Prepared, Reading};
use crate::sample::{Collector, Pictures, seconds};
use crate::timeline::{FrameClock, LEAST_DISTANCE, TICK, Timeline, to_ticks};
use crate::unit::{Closing, Finished, FinishedPart, Span};
use crate::{Error, Options, Result};

/// Pictures that one step gives at most, about as many as a unit takes at a time.
const BATCH: usize = 4;

/// Display times kept for the next segment's decode times; more than any reordering.
const REMEMBERED: usize = 16;

/// Bytes of pictures that may wait for the decision about a boundary.
const FORESIGHT: usize = 128 << 20;

/// What the source gives, in order.
pub enum Event {
    /// A segment begins.
    Open(Arc<Span>),
    /// The next picture of the open segment.
    Picture(Frame, i64),
    /// The pictures of the open segment since the last part make a part; here is what goes beside them.
    Part(Closing, Vec<FinishedPart>),
    /// The segment has all its pictures; here is what goes beside them.
    Close(Arc<Span>, Closing, Vec<(Finished, Option<FinishedPart>)>),
    /// Something that the owner of a live source wants to know.
    Notice(String),
    /// The source's own pictures of the segment that was just closed.
    Copied(Arc<Span>, Pictures, Closing),
}

/// What is being read.
pub struct Source {
    reader: Reader,
    normaliser: Normaliser,
    /// Where segments start; of pictures that come once, those up to the open one.
    cuts: Cuts,
    /// For pictures that come once, with where the next segment starts at the earliest.
    grid: Option<(Grid, i64)>,
    parts: Option<PartGrid>,
    /// Where the open part begins, and its pictures.
    part: (i64, u32),
    nominal: i64,
    beside: Beside,
    /// Normalised pictures, before they are put into segments.
    waiting: VecDeque<Waiting>,
    open: Option<Arc<Span>>,
    /// When the last picture that was put into a segment came in.
    entered: Option<f64>,
    /// Where segments say when they came in: a moment of the stream, and when it was.
    date: Option<(i64, f64)>,
    dated: bool,
    /// Something is missing before the next picture that is read.
    gap: bool,
    last: Option<Frame>,
    recent: VecDeque<i64>,
    drained: bool,
    /// Everything was given.
    pub ended: bool,
    oddities: Oddities,
    name: std::path::PathBuf,
}

/// Where pictures come from.
enum Reader {
    File(Box<FileReader>),
    Feed {
        feed: Box<dyn Feed>,
        /// The first picture, taken out when the run was prepared.
        first: Option<Frame>,
    },
}

/// A file's packets and the decoder.
struct FileReader {
    input: Input,
    /// None when nothing but copying is to be done.
    decoder: Option<Decoder>,
    timeline: Timeline,
    clock: FrameClock,
    copy: Option<Copying>,
}

/// A picture that is not in a segment yet.
struct Waiting {
    frame: Frame,
    pts: i64,
    /// When it came in, in seconds since 1970.
    entered: f64,
    /// Whether something is missing before it.
    gap: bool,
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
    /// Opens what was prepared, to make what was planned. `decode` is false when copying is all.
    pub fn open(
        prepared: Prepared,
        options: &Options,
        decode: bool,
        threads: u32,
    ) -> Result<Source> {
        let normaliser = Normaliser::new(&prepared);
        let Prepared {
            name,
            reading,
            cuts,
            parts,
            nominal,
            dated,
            first,
            copy,
            plan,
            sound,
            texts,
            ..
        } = prepared;
        let beside = Beside::open(&plan, &sound, texts.as_ref(), decode, options)?;
        // Sound alone needs no packets of the video stream.
        let drained = !decode && copy.is_none();
        let reader = match reading {
            Reading::Feed(feed) => Reader::Feed {
                feed,
                first: Some(first),
            },
            Reading::File {
                path,
                video,
                origin,
            } => {
                let mut input = Input::open(&path, &options.open)?;
                input.select(&[video.index]);
                let decoder = decode.then(|| Decoder::open(&video, threads));
                let base = video.time_base;
                let timeline = Timeline::new(input.container(), base, nominal);
                Reader::File(Box::new(FileReader {
                    input,
                    decoder: decoder.transpose()?,
                    timeline,
                    clock: FrameClock::new(base, origin, nominal),
                    copy: copy.map(|source| Copying::new(source, origin)),
                }))
            }
        };
        let (cuts, grid) = match cuts {
            Cutting::Planned(cuts) => (cuts, None),
            Cutting::Grid(grid) => {
                let (starts, end) = (vec![0], i64::MAX);
                (Cuts { starts, end }, Some((grid, grid.wanted)))
            }
        };
        Ok(Source {
            reader,
            normaliser,
            cuts,
            grid,
            parts,
            part: (0, 0),
            nominal,
            beside,
            waiting: VecDeque::new(),
            open: None,
            entered: None,
            date: None,
            dated,
            gap: false,
            last: None,
            recent: VecDeque::new(),
            drained,
            ended: false,
            oddities: Oddities::default(),
            name,
        })
    }

    /// Goes on until there is a batch of pictures, or a segment was closed, or the end is reached,
    /// or the run is being stopped.
    pub fn step(&mut self, stop: &AtomicBool) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        // What comes once may come slowly: nothing waits for the next picture to come.
        let batch = match self.reader {
            Reader::File(_) => BATCH,
            Reader::Feed { .. } => 1,
        };
        let enough = |events: &[Event]| {
            events.len() >= batch || events.iter().any(|event| matches!(event, Event::Close(..)))
        };
        while !self.ended && !enough(&events) && !stop.load(Ordering::Relaxed) {
            if !self.undecided() {
                if let Some(picture) = self.waiting.pop_front() {
                    self.place(picture, &mut events)?;
                    continue;
                }
            }
            if self.drained {
                self.finish(&mut events)?;
            } else {
                self.read(stop, &mut events)?;
            }
        }
        Ok(events)
    }

    /// What was odd, in words.
    pub fn warnings(&self) -> Vec<String> {
        let repaired = match &self.reader {
            Reader::File(file) => file.clock.repaired,
            Reader::Feed { .. } => 0,
        };
        let mut warnings = counted(&[
            (
                self.oddities.damaged_packets,
                "damaged video packets were passed over",
            ),
            (
                repaired,
                "pictures had no usable time and were put after the one before",
            ),
            (
                self.oddities.repeated,
                "pictures were shown again where none came",
            ),
            (
                self.oddities.unfiltered,
                "pictures could not be converted and were left out",
            ),
        ]);
        warnings.extend(self.beside.warnings());
        if let Some(error) = &self.oddities.unreadable {
            warnings.push(format!("the file could not be read to its end: {error}"));
        }
        warnings.extend(self.normaliser.warning().map(str::to_string));
        if let Reader::Feed { feed, .. } = &self.reader {
            warnings.extend(feed.warnings());
        }
        warnings
    }

    /// One packet or picture further.
    fn read(&mut self, stop: &AtomicBool, events: &mut Vec<Event>) -> Result<()> {
        let mut came = Vec::new();
        let mut ended = false;
        match &mut self.reader {
            Reader::File(file) => {
                let packet = file.packet(&mut self.oddities, &self.cuts, &self.name)?;
                self.oddities.damaged_packets += file.decode(packet.as_ref(), &mut came)?;
                ended = packet.is_none();
            }
            Reader::Feed { feed, first } => {
                let fed = match first.take() {
                    Some(frame) => Fed::Picture(frame, 0),
                    None => feed.next(stop)?,
                };
                match fed {
                    Fed::Picture(frame, pts) => came.push((frame, pts)),
                    Fed::Gap => self.gap = true,
                    Fed::Notice(text) => events.push(Event::Notice(text)),
                    Fed::End => ended = true,
                    Fed::Stopped => {}
                }
            }
        }
        let mut ready = VecDeque::new();
        for (mut frame, pts) in came {
            frame.set_pts(Some(pts));
            frame.set_duration(self.nominal);
            self.normaliser
                .push(Some(frame), &mut ready, &mut self.oddities);
        }
        if ended {
            self.normaliser.push(None, &mut ready, &mut self.oddities);
            self.drained = true;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let entered = now.map_or(0.0, |since| since.as_secs_f64());
        for (frame, pts) in ready {
            if self.beside.ends_before(pts)? {
                self.drained = true;
                break;
            }
            self.waiting.push_back(Waiting {
                frame,
                pts,
                entered,
                gap: std::mem::take(&mut self.gap),
            });
        }
        if !self.decodes() {
            self.only_copy(ended, events)?;
        }
        Ok(())
    }

    fn decodes(&self) -> bool {
        match &self.reader {
            Reader::File(file) => file.decoder.is_some(),
            Reader::Feed { .. } => true,
        }
    }

    fn copying(&mut self) -> Option<&mut Copying> {
        match &mut self.reader {
            Reader::File(file) => file.copy.as_mut(),
            Reader::Feed { .. } => None,
        }
    }

    /// The boundary that a picture of this time makes, and whether what follows it would be a runt
    /// if the pictures that wait were the last.
    fn boundary(&self, pts: i64) -> Option<(i64, bool)> {
        let (grid, at) = self.grid.filter(|(_, at)| pts >= *at)?;
        let open = self.open.as_ref()?;
        let boundary = if pts - at <= grid.late { pts } else { at };
        let last = self.waiting.back().map_or(pts, |last| last.pts.max(pts));
        let runt = last + self.nominal - boundary < grid.least(boundary - open.start);
        Some((boundary, runt))
    }

    /// Whether it must be seen first how much follows the boundary before the next picture.
    fn undecided(&self) -> bool {
        let next = self
            .waiting
            .front()
            .and_then(|next| self.boundary(next.pts));
        let held = || {
            self.waiting
                .iter()
                .map(|held| held.frame.bytes())
                .sum::<usize>()
        };
        next.is_some_and(|(_, runt)| runt) && !self.drained && held() < FORESIGHT
    }

    /// Puts a picture into its segment, or, when a boundary comes first, deals with that and keeps
    /// the picture.
    fn place(&mut self, picture: Waiting, events: &mut Vec<Event>) -> Result<()> {
        let pts = picture.pts;
        let Some(open) = &self.open else {
            self.date_from(0, &picture);
            self.begin(0, false, events);
            return self.place(Waiting { pts: 0, ..picture }, events);
        };
        let next = open.index + 1;
        if let (true, Some((grid, _))) = (picture.gap, self.grid) {
            self.cuts.starts.push(pts);
            self.grid = Some((grid, pts + grid.wanted));
            self.close(events)?;
            self.date_from(pts, &picture);
            self.begin(next, true, events);
            return self.give(picture, pts, events);
        }
        if let (Some((boundary, runt)), Some((grid, at))) = (self.boundary(pts), self.grid) {
            if runt && self.drained {
                self.grid = None;
            } else {
                self.cuts.starts.push(boundary);
                self.grid = Some((grid, at + grid.wanted));
            }
        }
        match self.cuts.starts.get(next).copied() {
            Some(boundary) if pts + 2 * LEAST_DISTANCE >= boundary => {
                self.close(events)?;
                self.begin(next, false, events);
                if pts <= boundary + self.nominal / 2 {
                    self.give(picture, boundary, events)?;
                } else {
                    self.repeat(boundary, picture.entered, events)?;
                    self.waiting.push_front(picture);
                }
            }
            None if pts >= self.cuts.end => {}
            _ => self.give(picture, pts, events)?,
        }
        Ok(())
    }

    /// Counts dates from this picture on.
    fn date_from(&mut self, pts: i64, picture: &Waiting) {
        self.date = self.dated.then_some((pts, picture.entered));
    }

    fn begin(&mut self, index: usize, discontinuity: bool, events: &mut Vec<Event>) {
        let start = self.cuts.starts[index];
        self.part = (start, 0);
        let span = Arc::new(Span {
            index,
            start,
            discontinuity,
            date: self.date.map(|(from, date)| date + seconds(start - from)),
            due: self.grid.map_or(self.cuts.end_of(index), |(_, at)| at),
            before: self.recent.iter().copied().collect(),
        });
        self.open = Some(Arc::clone(&span));
        events.push(Event::Open(span));
    }

    fn give(&mut self, picture: Waiting, pts: i64, events: &mut Vec<Event>) -> Result<()> {
        // Moving a picture to its boundary can bring it onto the one before.
        if self.recent.back().is_some_and(|&last| pts <= last) {
            return Ok(());
        }
        if let Some(span) = &self.open {
            self.beside.picture(&picture.frame, pts, span)?;
        }
        self.part_before(pts, events)?;
        self.recent.push_back(pts);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        self.last = Some(picture.frame.clone());
        self.entered = Some(picture.entered);
        events.push(Event::Picture(picture.frame, pts));
        self.part.1 += 1;
        self.part_after(pts, events)
    }

    /// Ends the open part where this picture would make it too long.
    fn part_before(&mut self, pts: i64, events: &mut Vec<Event>) -> Result<()> {
        let Some(parts) = self.parts else {
            return Ok(());
        };
        let (start, pictures) = self.part;
        let too_long = pts + self.nominal - start > parts.longest + LEAST_DISTANCE;
        if pictures > 0 && too_long {
            self.end_part(pts.min(start + parts.longest), events)?;
            self.part.0 = pts;
        }
        Ok(())
    }

    /// Ends the open part with this picture, if it is known already that the next one will not be in
    /// it. The last part of a segment ends with the segment.
    fn part_after(&mut self, pts: i64, events: &mut Vec<Event>) -> Result<()> {
        let Some(parts) = self.parts.filter(|parts| parts.even) else {
            return Ok(());
        };
        let end = pts + self.nominal;
        let full = end + self.nominal - self.part.0 > parts.longest + LEAST_DISTANCE;
        let last = self.grid.is_some_and(|(_, at)| end + LEAST_DISTANCE >= at);
        if full && !last {
            self.end_part(end, events)?;
        }
        Ok(())
    }

    fn end_part(&mut self, end: i64, events: &mut Vec<Event>) -> Result<()> {
        let Some(span) = self.open.clone() else {
            return Ok(());
        };
        let (sound, segments) = self.beside.part(&span, end, self.entered)?;
        let closing = Closing {
            end,
            sound,
            entered: self.entered,
        };
        events.push(Event::Part(closing, segments));
        self.part = (end, 0);
        Ok(())
    }

    fn repeat(&mut self, pts: i64, entered: f64, events: &mut Vec<Event>) -> Result<()> {
        if let Some(frame) = self.last.clone() {
            self.oddities.repeated += 1;
            let last = Waiting {
                frame,
                pts,
                entered,
                gap: false,
            };
            self.give(last, pts, events)?;
        }
        Ok(())
    }

    fn close(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some(span) = self.open.take() else {
            return Ok(());
        };
        let end = self.cuts.end_of(span.index);
        let Closed { sound, segments } = self.beside.close(&span, end, self.entered)?;
        let closing = Closing {
            end,
            sound,
            entered: self.entered,
        };
        let close = Event::Close(Arc::clone(&span), closing.clone(), segments);
        events.push(close);
        let name = self.name.clone();
        if let Some(copying) = self.copying() {
            let pictures = copying.take(end, &name)?;
            events.push(Event::Copied(span, pictures, closing));
        }
        Ok(())
    }

    /// After the last picture: the segments that are still promised.
    fn finish(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let (decodes, copies) = (self.decodes(), self.copying().is_some());
        let Some(open) = &self.open else {
            if !decodes && !copies {
                self.begin(0, false, events);
                return Ok(());
            }
            return Err(Error::NoPicture {
                file: self.name.clone(),
            });
        };
        let next = open.index + 1;
        if matches!(self.reader, Reader::Feed { .. }) {
            self.cuts.end = self.recent.back().map_or(0, |last| last + self.nominal);
        }
        self.close(events)?;
        match self.cuts.starts.get(next).copied() {
            Some(boundary) if decodes => {
                self.begin(next, false, events);
                self.repeat(boundary, self.entered.unwrap_or_default(), events)?;
            }
            Some(_) => self.begin(next, false, events),
            None => self.ended = true,
        }
        Ok(())
    }

    /// Without a decoder the packets alone open and close segments.
    fn only_copy(&mut self, ended: bool, events: &mut Vec<Event>) -> Result<()> {
        let reached = self.copying().map_or(0, |copying| copying.reached);
        if self.open.is_none() && reached > 0 && !ended {
            self.begin(0, false, events);
        }
        while let Some(open) = &self.open {
            let next = open.index + 1;
            if next >= reached || ended {
                break;
            }
            self.close(events)?;
            self.begin(next, false, events);
        }
        Ok(())
    }
}

impl FileReader {
    /// The next packet on the repaired clock, also taken for copying; `None` at the end.
    fn packet(
        &mut self,
        oddities: &mut Oddities,
        cuts: &Cuts,
        name: &Path,
    ) -> Result<Option<Packet>> {
        let mut packet = match self.input.read() {
            Ok(packet) => packet,
            Err(error) => {
                oddities.unreadable = Some(error.to_string());
                None
            }
        };
        if let Some(packet) = &mut packet {
            self.timeline.place(packet);
        }
        if let Some(copying) = &mut self.copy {
            copying.packet(packet.as_ref(), cuts, name)?;
        }
        Ok(packet)
    }

    /// Gives a packet, or the end, to the decoder, if there is one; adds what comes out and its times
    /// to `ready`. The number of packets that were damaged.
    fn decode(&mut self, packet: Option<&Packet>, ready: &mut Vec<(Frame, i64)>) -> Result<u32> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(0);
        };
        let mut damaged = 0;
        match decoder.send(packet) {
            Ok(()) => {}
            Err(error @ media::Error::TooLarge { .. }) => return Err(error.into()),
            Err(_) => damaged += 1,
        }
        loop {
            match decoder.receive() {
                Ok(Some(frame)) => {
                    if let Some(pts) = self.clock.next(frame.pts()) {
                        ready.push((frame, pts));
                    }
                }
                Ok(None) => return Ok(damaged),
                Err(error @ media::Error::TooLarge { .. }) => return Err(error.into()),
                // The picture is lost; after the last packet so are those behind it.
                Err(_) => return Ok(damaged + 1),
            }
        }
    }
}

/// Pictures from about this time of a file on, as the biggest rung shows them, for a trial. Where it
/// cannot be gone to, and what cannot be decoded, the next there is.
pub fn sample(
    prepared: &Prepared,
    options: &Options,
    at_s: f64,
    pictures: i64,
    stop: &AtomicBool,
    take: &mut dyn FnMut(&Frame) -> Result<()>,
) -> Result<()> {
    let Reading::File {
        path,
        video,
        origin,
    } = &prepared.reading
    else {
        return Ok(());
    };
    let mut input = Input::open(path, &options.open)?;
    input.select(&[video.index]);
    let start_s = *origin as f64 * video.time_base.to_f64();
    let _ = input.seek(video.index, start_s + at_s);
    let mut decoder = Decoder::open(video, 1)?;
    let mut normaliser = Normaliser::new(prepared);
    let (mut given, mut decoded, mut ended) = (0, 0, false);
    let (mut ready, mut oddities) = (VecDeque::new(), Oddities::default());
    while given < pictures && !ended && !stop.load(Ordering::Relaxed) {
        let packet = input.read().unwrap_or(None);
        ended = packet.is_none();
        // What is damaged is passed over, here as later.
        let _ = decoder.send(packet.as_ref());
        while let Ok(Some(mut frame)) = decoder.receive() {
            frame.set_pts(Some(decoded * prepared.nominal));
            decoded += 1;
            normaliser.push(Some(frame), &mut ready, &mut oddities);
            while let Some((frame, _)) = ready.pop_front() {
                if given < pictures {
                    take(&frame)?;
                    given += 1;
                }
            }
        }
    }
    Ok(())
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
    fn new(source: copy::Source, origin: i64) -> Copying {
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
                .push_back(Collector::copying(&self.source.sets));
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
    fn take(&mut self, end: i64, file: &Path) -> Result<Pictures> {
        let Some(collector) = self.collectors.pop_front() else {
            return Err(changed(file, "it is shorter"));
        };
        let before = std::mem::take(&mut self.before);
        let pictures = collector.finish(before.clone(), self.source.reorder, end);
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
        let chain = prepared.chain.clone();
        let rung = &prepared.plan.rungs[0];
        let (width, height) = (rung.width, rung.height);
        let mut description = (!chain.is_identity()).then(|| chain.description.clone());
        let (mut stored_width, mut stored_height) =
            (prepared.first.width(), prepared.first.height());
        if prepared.turned {
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
