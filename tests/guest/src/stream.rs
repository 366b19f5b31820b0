//! Coded streams as a stateless client needs them: frame by frame, each with its controls.
//!
//! IVF files for VP8 and VP9, elementary streams for MPEG-2 and H.264; the codecs' files turn what
//! the room
//! `bitstream` parsed into the kernel's structs. Names of pictures are timestamps that are never
//! used twice, so a picture from before a seek is not taken for one from behind it.

mod h264;
mod mpeg2;
mod vp8;
mod vp9;

use crate::Result;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use v4l2::device::{Control, Value};
use v4l2::queue::Timestamp;
use zerocopy::{Immutable, IntoBytes};

/// When a picture is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// At once.
    Now,
    /// When the next one that waits like this is there, or at the end: the order of MPEG-2.
    Later,
    /// By its order count, once enough are there: the order of H.264.
    Ordered {
        /// The place among those that wait.
        order: i32,
        /// All that wait are shown before this one, whatever their place.
        restarts: bool,
        /// How many may wait.
        delay: usize,
    },
    /// Not by itself; another frame may show it.
    Never,
}

/// What a coded picture is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A whole frame.
    Frame,
    /// The first of two fields.
    FirstField,
    /// The second of them, with the timestamp of the first.
    SecondField,
}

/// One coded picture.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The bytes for the OUTPUT buffer.
    pub data: Cow<'a, [u8]>,
    /// Identifiers and values of the controls that go with it.
    pub controls: Vec<(u32, Vec<u8>)>,
    /// What names it.
    pub timestamp: Timestamp,
    /// Coded luma samples and rows.
    pub size: (u32, u32),
    /// What of them is seen: left, top, width and height.
    pub visible: [u32; 4],
    /// Whether nothing before it is needed.
    pub is_key: bool,
    /// When it is shown.
    pub show: Show,
    /// What it is a part of.
    pub part: Part,
    /// What is in the slots for references, where pictures name slots: in VP9.
    pub slots: Vec<Option<Timestamp>>,
}

impl Frame<'_> {
    /// The controls as the kernel takes them.
    pub fn controls(&self) -> Vec<Control<'_>> {
        self.controls
            .iter()
            .map(|(id, bytes)| Control {
                id: *id,
                value: Value::Bytes(bytes),
            })
            .collect()
    }
}

/// What a unit of a stream asks for.
#[derive(Debug)]
pub enum Step<'a> {
    /// Decode a picture.
    Decode(Frame<'a>),
    /// Show a picture once more, or only now.
    Show(Timestamp),
    /// Nothing: it refers to what was before the place where decoding began.
    Skip,
}

/// A codec's side of a stream.
trait Codec: Send {
    /// Reads one unit; `fresh` is a timestamp that nothing has.
    fn read<'a>(&mut self, unit: &'a [u8], fresh: Timestamp) -> Result<Step<'a>>;
    /// The pictures that later units may refer to.
    fn references(&self) -> Vec<Timestamp>;
    /// Whether decoding can begin with this unit.
    fn is_entry(&self, unit: &[u8]) -> bool;
    /// Forgets all units so far.
    fn reset(&mut self);
    /// Takes from a unit that is passed over what holds for units behind it.
    fn pass_over(&mut self, _: &[u8]) {}
}

/// A coded stream in memory.
pub struct Stream {
    bytes: Vec<u8>,
    units: Vec<Range<usize>>,
    codec: Box<dyn Codec>,
    coded: u32,
    /// The last timestamp that was given.
    last: u64,
    /// The unit that follows the one that was read last.
    follows: usize,
}

impl Stream {
    /// Reads a file: IVF with VP8 or VP9, or an elementary stream of MPEG-2 or H.264.
    ///
    /// # Errors
    /// It is neither of them, or cut in the middle.
    pub fn open(path: &Path) -> Result<Stream> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Stream::new(bytes).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn new(bytes: Vec<u8>) -> Result<Stream> {
        let (codec, coded, units): (Box<dyn Codec>, _, _) = match bytes.get(..12) {
            Some(head) if head.starts_with(b"DKIF") => match &head[8..12] {
                b"VP80" => (Box::new(vp8::Vp8::default()), vp8::CODED, ivf(&bytes)?),
                b"VP90" => {
                    let frames = vp9::frames(&bytes, ivf(&bytes)?)?;
                    (Box::new(vp9::Vp9::default()), vp9::CODED, frames)
                }
                other => return Err(format!("IVF with {other:?}").into()),
            },
            Some([0, 0, 1, mpeg2::SEQUENCE, ..]) => {
                let units = mpeg2::pictures(&bytes);
                (Box::new(mpeg2::Mpeg2::default()), mpeg2::CODED, units)
            }
            Some([0, 0, 1, ..] | [0, 0, 0, 1, ..]) => {
                let units = h264::pictures(&bytes)?;
                (Box::new(h264::H264::default()), h264::CODED, units)
            }
            _ => return Err("neither IVF nor an elementary stream".into()),
        };
        if units.is_empty() {
            return Err("there is nothing in it".into());
        }
        Ok(Stream {
            bytes,
            units,
            codec,
            coded,
            last: 0,
            follows: 0,
        })
    }

    /// `V4L2_PIX_FMT_*` of the stream.
    pub fn coded(&self) -> u32 {
        self.coded
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is none, which is an error when a stream is opened.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Bytes of the longest unit.
    pub fn longest(&self) -> usize {
        self.units.iter().map(Range::len).max().unwrap_or(0)
    }

    /// Reads a unit.
    ///
    /// # Errors
    /// It cannot be parsed.
    pub fn read(&mut self, unit: usize) -> Result<Step<'_>> {
        self.last += 1;
        let fresh = Timestamp::from_micros(self.last);
        if unit != self.follows {
            for before in &self.units[..unit] {
                self.codec.pass_over(&self.bytes[before.clone()]);
            }
        }
        self.follows = unit + 1;
        let bytes = &self.bytes[self.units[unit].clone()];
        self.codec
            .read(bytes, fresh)
            .map_err(|error| format!("unit {unit}: {error}").into())
    }

    /// The pictures that later units may refer to.
    pub fn references(&self) -> Vec<Timestamp> {
        self.codec.references()
    }

    /// The first unit from this one on with which decoding can begin, or the first of all.
    pub fn entry(&self, unit: usize) -> usize {
        let mut units = (unit..self.len()).chain(0..unit);
        units
            .find(|unit| self.codec.is_entry(&self.bytes[self.units[*unit].clone()]))
            .unwrap_or(0)
    }

    /// Forgets what was read: another place follows.
    pub fn reset(&mut self) {
        self.codec.reset();
    }
}

/// The frames of an IVF file: a header of 32 bytes, then length, timestamp and data of each.
fn ivf(bytes: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut frames = Vec::new();
    let mut at = 32;
    while let Some(head) = bytes.get(at..at + 12) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let start = at + 12;
        at = start + length;
        if at > bytes.len() {
            return Err(format!("frame {} of {length} bytes is cut", frames.len()).into());
        }
        if length > 0 {
            frames.push(start..at);
        }
    }
    Ok(frames)
}

/// A control's value.
fn control<T: IntoBytes + Immutable>(id: u32, value: &T) -> (u32, Vec<u8>) {
    (id, value.as_bytes().to_vec())
}

/// The timestamp that a parser was told in nanoseconds.
fn timestamp(nanos: u64) -> Timestamp {
    Timestamp::from_micros(nanos / 1000)
}

/// Where a part of some bytes lies in them.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}
