//! A stream through a session, frame by frame: which picture goes where, which is still needed, and
//! which is shown next.

use crate::Result;
use crate::stream::{Frame, Part, Show, Step, Stream};
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use v4l2::device::Format;
use v4l2::find::DecoderNode;
use v4l2::queue::{Memory, Timestamp};
use v4l2::session::{Config, Done, Picture, Session, Submission, Target, find_decoder};
use v4l2::sys::{Kernel, Linux};
use v4l2::uapi::videodev2::V4L2_PIX_FMT_NV12;

/// Longer than any access unit takes that comes to an end at all: the module's own patience is less
/// than a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a second field is added to a first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fields {
    /// The driver holds the CAPTURE buffer between them, as GStreamer asks for.
    Hold,
    /// The client takes the buffer out and queues it again, as FFmpeg does.
    Requeue,
}

impl std::str::FromStr for Fields {
    type Err = ();

    fn from_str(name: &str) -> std::result::Result<Fields, ()> {
        match name {
            "hold" => Ok(Fields::Hold),
            "requeue" => Ok(Fields::Requeue),
            _ => Err(()),
        }
    }
}

/// How a stream is decoded.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Access units in flight.
    pub depth: usize,
    /// What is done about fields.
    pub fields: Fields,
}

/// A frame that is shown.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The unit of the stream that it was decoded from.
    pub unit: usize,
    /// What is seen of it: left, top, width and height.
    pub visible: [u32; 4],
    /// The layout of the bytes.
    pub format: Format,
    /// Whether it is no single field.
    pub is_whole: bool,
    /// NV12; none when it could not be decoded.
    pub bytes: Option<&'a [u8]>,
}

impl Shown<'_> {
    /// The visible samples as planes of Y, Cb and Cr, appended to `out`; false when there are none.
    pub fn planes(&self, out: &mut Vec<u8>) -> bool {
        let Some(bytes) = self.bytes else {
            return false;
        };
        let [left, top, width, height] = self.visible.map(|side| side as usize);
        let stride = self.format.stride as usize;
        let (luma, chroma) = bytes.split_at(stride * self.format.height as usize);
        for line in luma.chunks(stride).skip(top).take(height) {
            out.extend_from_slice(&line[left..left + width]);
        }
        // Crops of 4:2:0 begin at even places.
        let (columns, rows) = (width.div_ceil(2), height.div_ceil(2));
        for plane in 0..2 {
            for line in chroma.chunks(stride).skip(top / 2).take(rows) {
                let pairs = line[left..left + columns * 2].chunks_exact(2);
                out.extend(pairs.map(|pair| pair[plane]));
            }
        }
        true
    }
}

/// A picture on its way.
#[derive(Debug)]
struct Pending {
    unit: usize,
    visible: [u32; 4],
    is_whole: bool,
    picture: Option<Picture>,
    has_error: bool,
}

/// Decodes streams with one of the machine's decoders.
#[derive(Debug)]
pub struct Decoder {
    kernel: Arc<dyn Kernel>,
    node: DecoderNode,
    options: Options,
    session: Session,
    size: (u32, u32),
    free: Vec<Picture>,
    pending: HashMap<Timestamp, Pending>,
    shown: VecDeque<Timestamp>,
    later: Option<Timestamp>,
    /// What waits for its turn, by the order count.
    ordered: Vec<(i32, Timestamp)>,
    held: Option<Timestamp>,
    in_flight: usize,
    submitted: HashMap<Timestamp, Instant>,
    last_done: Instant,
    /// How long each access unit took, from when it could have begun to its end.
    pub times: Vec<Duration>,
    /// Access units that came back as not decodable.
    pub errors: usize,
}

/// What starts a session for the picture size of a stream's first frame.
fn start(
    kernel: &Arc<dyn Kernel>,
    node: &DecoderNode,
    options: &Options,
    stream: (u32, usize),
    frame: &Frame<'_>,
) -> Result<(Session, Vec<Picture>)> {
    let (coded, longest) = stream;
    let depth = options.depth as u32;
    let config = Config {
        coded,
        width: frame.size.0,
        height: frame.size.1,
        input_size: longest as u32,
        inputs: depth,
        controls: &frame.controls(),
        raw: V4L2_PIX_FMT_NV12,
        memory: Memory::Mmap,
        pictures: depth + 4,
    };
    Ok(Session::start(kernel, node, &config)?)
}

impl Decoder {
    /// Finds a decoder for a stream and makes it ready.
    ///
    /// # Errors
    /// There is none, it cannot be opened, or the stream does not begin with something to decode.
    pub fn open(stream: &mut Stream, options: Options) -> Result<Decoder> {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let entry = stream.entry(0);
        let (coded, longest) = (stream.coded(), stream.longest());
        let Step::Decode(frame) = stream.read(entry)? else {
            return Err("the stream does not begin with a picture".into());
        };
        let (width, height) = frame.size;
        let node = find_decoder(&kernel, Path::new("/"), coded, width, height)?;
        let node = node.ok_or_else(|| {
            let code = String::from_utf8_lossy(&coded.to_le_bytes()).into_owned();
            format!("no decoder for {code} of {width}x{height}")
        })?;
        let (session, free) = start(&kernel, &node, &options, (coded, longest), &frame)?;
        let size = frame.size;
        stream.reset();
        Ok(Decoder {
            kernel,
            node,
            options,
            session,
            size,
            free,
            pending: HashMap::new(),
            shown: VecDeque::new(),
            later: None,
            ordered: Vec::new(),
            held: None,
            in_flight: 0,
            submitted: HashMap::new(),
            last_done: Instant::now(),
            times: Vec::new(),
            errors: 0,
        })
    }

    /// The decoder that is used.
    pub fn node(&self) -> &DecoderNode {
        &self.node
    }

    /// Decodes units of a stream, which begins where decoding can; `show` gets the frames in the
    /// order of display. Ends when all of them are shown.
    ///
    /// # Errors
    /// The decoder does not do as it should, or `show` says so.
    pub fn run(
        &mut self,
        stream: &mut Stream,
        units: impl IntoIterator<Item = usize>,
        show: &mut dyn FnMut(&Shown<'_>) -> Result<()>,
    ) -> Result<()> {
        let (coded, longest) = (stream.coded(), stream.longest());
        for unit in units {
            match stream.read(unit)? {
                Step::Decode(frame) => self.decode(unit, (coded, longest), &frame, show)?,
                Step::Show(timestamp) => self.shown.push_back(timestamp),
                Step::Skip => {}
            }
            self.show_ready(show)?;
            self.retire(&stream.references())?;
        }
        self.finish(show)
    }

    fn finish(&mut self, show: &mut dyn FnMut(&Shown<'_>) -> Result<()>) -> Result<()> {
        self.shown.extend(self.later.take());
        self.show_ordered(0);
        self.release_held()?;
        while self.in_flight > 0 || self.session.is_busy() {
            self.wait()?;
        }
        self.show_ready(show)?;
        match self.shown.front() {
            None => Ok(()),
            Some(timestamp) => {
                let missing = self.pending.get(timestamp).map(|pending| pending.unit);
                Err(format!("the picture of unit {missing:?} never came out").into())
            }
        }
    }

    /// Throws away all that is in flight, as a player does that goes to another place.
    ///
    /// # Errors
    /// The device is gone.
    pub fn seek(&mut self, stream: &mut Stream) -> Result<()> {
        stream.reset();
        self.free.extend(self.session.flush()?);
        let done = self.pending.drain().filter_map(|(_, one)| one.picture);
        self.free.extend(done);
        self.shown.clear();
        self.ordered.clear();
        self.submitted.clear();
        (self.later, self.held, self.in_flight) = (None, None, 0);
        Ok(())
    }

    fn decode(
        &mut self,
        unit: usize,
        stream: (u32, usize),
        frame: &Frame<'_>,
        show: &mut dyn FnMut(&Shown<'_>) -> Result<()>,
    ) -> Result<()> {
        if frame.size != self.size {
            self.change_size(stream, frame, show)?;
        }
        if frame.part != Part::SecondField {
            self.release_held()?;
        }
        let target = self.target(frame, show)?;
        while self.in_flight >= self.options.depth {
            self.wait()?;
        }
        let input = self.session.input();
        let mut input = input.ok_or("no OUTPUT buffer is free, and none is in flight")?;
        let room = input.bytes_mut();
        let length = frame.data.len();
        if length > room.len() {
            return Err(
                format!("unit {unit} has {length} bytes, room is for {}", room.len()).into(),
            );
        }
        room[..length].copy_from_slice(&frame.data);
        let hold = frame.part == Part::FirstField && self.options.fields == Fields::Hold;
        self.submitted.insert(frame.timestamp, Instant::now());
        self.session.submit(Submission {
            input,
            length,
            timestamp: frame.timestamp,
            controls: &frame.controls(),
            target,
            hold,
        })?;
        self.in_flight += 1;
        self.held = hold.then_some(frame.timestamp);
        self.note(unit, frame);
        Ok(())
    }

    /// The picture that a frame is decoded into.
    fn target(
        &mut self,
        frame: &Frame<'_>,
        show: &mut dyn FnMut(&Shown<'_>) -> Result<()>,
    ) -> Result<Target> {
        if frame.part == Part::SecondField {
            if self.options.fields == Fields::Hold {
                return Ok(Target::Held);
            }
            loop {
                let first = self.pending.get_mut(&frame.timestamp);
                let first = first.ok_or("a second field without a first")?;
                if let Some(picture) = first.picture.take() {
                    return Ok(Target::Picture(picture));
                }
                self.wait()?;
            }
        }
        loop {
            if let Some(picture) = self.free.pop() {
                return Ok(Target::Picture(picture));
            }
            // What is in flight may bring one that is shown at once and needed no more.
            if self.in_flight == 0 || !self.shown.is_empty() && self.in_flight < 2 {
                let more = self.session.add_pictures(1)?;
                self.free.extend(more);
                continue;
            }
            self.wait()?;
            self.show_ready(show)?;
            if self.free.is_empty() {
                let more = self.session.add_pictures(1)?;
                self.free.extend(more);
            }
        }
    }

    /// Keeps in mind what a frame that was submitted is for.
    fn note(&mut self, unit: usize, frame: &Frame<'_>) {
        let timestamp = frame.timestamp;
        if frame.part == Part::SecondField {
            if let Some(first) = self.pending.get_mut(&timestamp) {
                first.is_whole = true;
            }
        } else {
            let pending = Pending {
                unit,
                visible: frame.visible,
                is_whole: frame.part == Part::Frame,
                picture: None,
                has_error: false,
            };
            self.pending.insert(timestamp, pending);
            match frame.show {
                Show::Now => self.shown.push_back(timestamp),
                Show::Later => self.shown.extend(self.later.replace(timestamp)),
                Show::Ordered {
                    order,
                    restarts,
                    delay,
                } => {
                    if restarts {
                        self.show_ordered(0);
                    }
                    self.ordered.push((order, timestamp));
                    self.show_ordered(delay);
                }
                Show::Never => {}
            }
        }
    }

    /// Of those that wait for their turn, shows the first until no more than `left` are left.
    fn show_ordered(&mut self, left: usize) {
        while self.ordered.len() > left {
            let orders = self.ordered.iter().enumerate();
            let Some((first, _)) = orders.min_by_key(|(_, (order, _))| *order) else {
                return;
            };
            let (_, timestamp) = self.ordered.remove(first);
            self.shown.push_back(timestamp);
        }
    }

    /// A first field whose second never came: the driver must let go of it.
    fn release_held(&mut self) -> Result<()> {
        if self.held.take().is_some() {
            self.session.device().flush_held()?;
        }
        Ok(())
    }

    fn change_size(
        &mut self,
        stream: (u32, usize),
        frame: &Frame<'_>,
        show: &mut dyn FnMut(&Shown<'_>) -> Result<()>,
    ) -> Result<()> {
        if frame.is_key {
            self.finish(show)?;
            self.pending.clear();
            self.free.clear();
            // A decoder with one hardware block may not have room for two streams.
            self.session.flush()?;
            let (session, free) = start(&self.kernel, &self.node, &self.options, stream, frame)?;
            (self.session, self.free) = (session, free);
        } else {
            while self.in_flight > 0 {
                self.wait()?;
            }
            self.show_ready(show)?;
            let (width, height) = frame.size;
            let count = self.options.depth as u32 + 4;
            let pictures = self.session.resize(width, height, count)?;
            for old in std::mem::replace(&mut self.free, pictures) {
                self.session.remove_picture(old)?;
            }
        }
        self.size = frame.size;
        Ok(())
    }

    /// Waits for one thing that is done.
    fn wait(&mut self) -> Result<()> {
        match self.session.wait(PATIENCE)? {
            None => {
                let units: Vec<_> = self.pending.values().map(|one| one.unit).collect();
                Err(format!("nothing came back in {PATIENCE:?}; under way: {units:?}").into())
            }
            Some(Done::Input { timestamp, error }) => {
                self.in_flight -= 1;
                let now = Instant::now();
                if let Some(submitted) = self.submitted.remove(&timestamp) {
                    self.times.push(now - submitted.max(self.last_done));
                }
                self.last_done = now;
                self.errors += usize::from(error);
                if let Some(pending) = self.pending.get_mut(&timestamp) {
                    pending.has_error |= error;
                }
                Ok(())
            }
            Some(Done::Picture {
                picture,
                timestamp,
                error,
            }) => {
                let pending = self.pending.get_mut(&timestamp);
                let pending = pending
                    .ok_or_else(|| format!("a picture of {} us, unasked", timestamp.micros()))?;
                pending.picture = Some(picture);
                pending.has_error |= error;
                Ok(())
            }
        }
    }

    /// Shows all that is next and done.
    fn show_ready(&mut self, show: &mut dyn FnMut(&Shown<'_>) -> Result<()>) -> Result<()> {
        while let Some(timestamp) = self.shown.front() {
            let pending = self.pending.get(timestamp);
            let pending = pending.ok_or("a picture is to be shown that is there no longer")?;
            let Some(picture) = &pending.picture else {
                break;
            };
            let bytes = picture.bytes().filter(|_| !pending.has_error);
            show(&Shown {
                unit: pending.unit,
                visible: pending.visible,
                is_whole: pending.is_whole,
                format: picture.format(),
                bytes,
            })?;
            self.shown.pop_front();
        }
        Ok(())
    }

    /// Frees the pictures that nothing needs any longer.
    fn retire(&mut self, references: &[Timestamp]) -> Result<()> {
        let (shown, later, ordered) = (&self.shown, self.later, &self.ordered);
        let format = self.session.raw();
        let over: Vec<Timestamp> = self
            .pending
            .iter()
            .filter(|(timestamp, pending)| {
                pending.picture.is_some()
                    && !references.contains(timestamp)
                    && !shown.contains(timestamp)
                    && later != Some(**timestamp)
                    && !ordered.iter().any(|(_, one)| one == *timestamp)
            })
            .map(|(timestamp, _)| *timestamp)
            .collect();
        for timestamp in over {
            let pending = self.pending.remove(&timestamp);
            let picture = pending.and_then(|pending| pending.picture);
            match picture {
                // One of another size was kept for references only.
                Some(picture) if picture.format() != format => {
                    self.session.remove_picture(picture)?;
                }
                picture => self.free.extend(picture),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_what_is_seen() {
        // Three by three samples in a picture of four by four, eight bytes to a line.
        #[rustfmt::skip]
        let bytes = [
            1, 2, 3, 0, 0, 0, 0, 0,
            4, 5, 6, 0, 0, 0, 0, 0,
            7, 8, 9, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,
            10, 20, 11, 21, 0, 0, 0, 0,
            12, 22, 13, 23, 0, 0, 0, 0,
        ];
        let mut shown = Shown {
            unit: 0,
            visible: [0, 0, 3, 3],
            is_whole: true,
            format: Format {
                fourcc: V4L2_PIX_FMT_NV12,
                width: 4,
                height: 4,
                stride: 8,
                size: 48,
            },
            bytes: Some(&bytes),
        };
        let mut planes = Vec::new();
        assert!(shown.planes(&mut planes));
        let expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20, 21, 22, 23];
        assert_eq!(planes, expected);
        shown.visible = [2, 2, 1, 1];
        planes.clear();
        assert!(shown.planes(&mut planes));
        assert_eq!(planes, [9, 13, 23]);
        shown.bytes = None;
        assert!(!shown.planes(&mut planes));
    }
}
