//! Which pictures a decoder holds as references (8.2.4.1, 8.2.5), followed slice header by slice
//! header.
//!
//! The daemon compares this with the references that a client's request names: where the two differ,
//! the decoder behind it would predict from other pictures than the client means. Clients fill their
//! requests from it. Output order and bumping (C.4) are left out: V4L2 clients do that by themselves.
//!
//! ```text
//!  slice header ──▶ IDR: forget all ──▶ gap in frame_num: infer frames (8.2.5.2)
//!                                              │
//!       Picture.held: the references while the picture is decoded
//!                                              │
//!            marking: sliding window (8.2.5.3) or operations (8.2.5.4)
//!                                              │
//!       Dpb: the references after the picture ─┘ and, if it is one, the picture itself
//! ```

use super::controls::{DecodeParams, DpbEntry, Sps};
use super::slice::{Marking, Mmco};
use super::{Error, PicOrder, PicOrderCnt, SliceHeader};
use crate::list::List;

const TOP: u8 = 1;
const BOTTOM: u8 = 2;
const BOTH: u8 = TOP | BOTTOM;

/// `max_num_ref_frames` is 16 at most, and a new frame comes before an old one goes.
const CAPACITY: usize = 17;

/// A reference frame, complementary reference field pair or single reference field.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    id: u64,
    /// Ours, for ids are the caller's and may come again.
    serial: u64,
    /// `FrameNum`.
    frame_num: u16,
    /// `LongTermFrameIdx`, where `long` is not 0.
    long_term_frame_idx: u8,
    /// Fields marked as used for short-term reference.
    short: u8,
    /// Fields marked as used for long-term reference; none of them is in `short`.
    long: u8,
    poc: PicOrderCnt,
    /// Coded as fields.
    by_fields: bool,
    non_existing: bool,
}

impl Frame {
    fn is_reference(&self) -> bool {
        self.short | self.long != 0
    }

    fn unmark(&mut self, fields: u8) {
        self.short &= !fields;
        self.long &= !fields;
    }

    /// Takes the marks of the second field of this frame.
    fn join(&mut self, second: &Frame) {
        self.short |= second.short;
        self.long |= second.long;
        if second.long != 0 {
            self.long_term_frame_idx = second.long_term_frame_idx;
        }
        self.poc = joined(self.poc, second.poc);
    }

    /// `FrameNumWrap` (8-27).
    fn frame_num_wrap(&self, current: &Current) -> i32 {
        let frame_num = i32::from(self.frame_num);
        if frame_num > i32::from(current.frame_num) {
            frame_num - current.max_frame_num
        } else {
            frame_num
        }
    }
}

/// The picture whose references are looked at.
#[derive(Debug, Clone, Copy)]
struct Current {
    frame_num: u16,
    max_frame_num: i32,
    /// `TOP`, `BOTTOM` or `BOTH`.
    fields: u8,
}

impl Current {
    fn of(sps: &Sps, slice: &SliceHeader) -> Self {
        Current {
            frame_num: slice.frame_num,
            max_frame_num: sps.max_frame_num() as i32,
            fields: match (slice.field_pic, slice.bottom_field) {
                (false, _) => BOTH,
                (true, false) => TOP,
                (true, true) => BOTTOM,
            },
        }
    }

    fn is_field(&self) -> bool {
        self.fields != BOTH
    }

    /// `CurrPicNum` (7.4.3).
    fn pic_num(&self) -> i32 {
        if self.is_field() {
            2 * i32::from(self.frame_num) + 1
        } else {
            self.frame_num.into()
        }
    }

    /// The frame's number and the fields in it that a `PicNum` or `LongTermPicNum` stands for
    /// (8-28 to 8-33): odd numbers are of the current field's own parity.
    fn split(&self, pic_num: i32) -> (i32, u8) {
        if !self.is_field() {
            (pic_num, BOTH)
        } else if pic_num & 1 == 1 {
            (pic_num >> 1, self.fields)
        } else {
            (pic_num >> 1, BOTH ^ self.fields)
        }
    }
}

/// A first field that its second may follow.
#[derive(Debug, Clone, Copy)]
struct FirstField {
    id: u64,
    serial: u64,
    /// As its second field has to have it: 0 after an operation 5.
    frame_num: u16,
    fields: u8,
    is_reference: bool,
    poc: PicOrderCnt,
}

/// The reference pictures of a stream, and what the numbering of the next picture depends on.
#[derive(Debug, Clone, Default)]
pub struct Dpb {
    frames: List<Frame, CAPACITY>,
    order: PicOrder,
    /// `PrevRefFrameNum`; unknown until a picture has been decoded.
    prev_ref_frame_num: Option<u16>,
    first_field: Option<FirstField>,
    /// Frames seen or inferred so far.
    frames_seen: u64,
}

/// What is known of a picture when its first slice header has been read.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// The id given for it, or for its first field where it is a second one.
    pub id: u64,
    /// Its order count, as it is while the picture is decoded. A second field has its first field's
    /// count beside its own.
    pub poc: PicOrderCnt,
    /// The second field of a frame whose first field came just before.
    pub is_second_field: bool,
    /// Values of `frame_num` that were passed over (8.2.5.2). Where the SPS does not allow gaps,
    /// pictures have been lost.
    pub frame_num_gap: u32,
    /// The first rule of 8.2.5 that the stream does not keep, if any.
    pub violation: Option<Violation>,
    /// The references held while it is decoded.
    pub held: List<Held, CAPACITY>,
}

/// A reference, seen from the picture that is decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// The id given for it.
    pub id: u64,
    /// Fields marked for reference: 1 top, 2 bottom, 3 both.
    pub fields: u8,
    /// Marked as used for long-term reference.
    pub long_term: bool,
    /// `FrameNum`, or `LongTermFrameIdx` of a long-term reference.
    pub frame_num: u16,
    /// `PicNum` or `LongTermPicNum`. While a field is decoded each field of a reference has one; this
    /// is that of the field of the same parity, or, where that is no reference, of the other.
    pub pic_num: i32,
    /// Its order count.
    pub poc: PicOrderCnt,
    /// Coded as two fields, or as one.
    pub by_fields: bool,
    /// Inferred for a gap in `frame_num`: it has no samples, and no client has a buffer of it.
    pub non_existing: bool,
}

/// A stream does what 8.2.5 does not allow. Broken and cut streams do; their pictures are decoded all
/// the same, as other decoders do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A memory management control operation names a picture that is no such reference.
    #[error("no picture to mark: {0:?}")]
    NoSuchReference(Mmco),
    /// There are more references than `max_num_ref_frames`; the oldest has been dropped.
    #[error("more references than max_num_ref_frames: {0}")]
    TooManyReferences(usize),
}

impl Dpb {
    /// Nothing held.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, as after a seek.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Takes the picture (frame or field) that starts with `slice` and does what its marking says.
    /// `id` is the caller's name for it; a second field has the name of its first, whatever is given.
    ///
    /// An error means that the picture cannot be numbered; then nothing has changed.
    pub fn decode(&mut self, id: u64, sps: &Sps, slice: &SliceHeader) -> Result<Picture, Error> {
        let poc = self.order.next(sps, slice)?;
        let current = Current::of(sps, slice);
        let first_field = self
            .first_field
            .take()
            .filter(|first| is_second_field(first, &current, slice));
        let mut frame_num_gap = 0;
        if slice.is_idr() {
            self.frames.clear();
        } else if first_field.is_none() {
            frame_num_gap = self.fill_gap(sps, &current);
        }
        let mut picture = Picture {
            id: first_field.map_or(id, |first| first.id),
            poc: match first_field {
                Some(first) => joined(first.poc, poc),
                None => poc,
            },
            is_second_field: first_field.is_some(),
            frame_num_gap,
            violation: None,
            held: self.held(&current),
        };
        let mut frame = Frame {
            id: picture.id,
            serial: first_field.map_or_else(|| self.next_serial(), |first| first.serial),
            frame_num: slice.frame_num,
            poc,
            by_fields: slice.field_pic,
            ..Frame::default()
        };
        if slice.unmarks_all() {
            (frame.poc, frame.frame_num) = (poc.restarted(slice), 0);
        }
        let is_reference = slice.nal.ref_idc != 0;
        if is_reference {
            picture.violation = self.mark(sps, slice, &current, frame);
            self.prev_ref_frame_num = Some(frame.frame_num);
        }
        if slice.field_pic && first_field.is_none() {
            self.first_field = Some(FirstField {
                id,
                serial: frame.serial,
                frame_num: frame.frame_num,
                fields: current.fields,
                is_reference,
                poc: frame.poc,
            });
        }
        Ok(picture)
    }

    fn next_serial(&mut self) -> u64 {
        self.frames_seen += 1;
        self.frames_seen
    }

    /// Infers the frames between `PrevRefFrameNum` and `frame_num` (8.2.5.2) and tells how many there
    /// are. More of them than there is room for would push each other out, so the last ones do.
    ///
    /// Where the SPS allows no gap 8.2.5.2 is not invoked: the stream has lost pictures. Decoders in
    /// use (libavcodec, JM with concealment) number the lost ones all the same, and so does this.
    fn fill_gap(&mut self, sps: &Sps, current: &Current) -> u32 {
        let Some(previous) = self.prev_ref_frame_num else {
            return 0;
        };
        let max = sps.max_frame_num();
        let distance = (u32::from(current.frame_num) + max - u32::from(previous) % max) % max;
        if distance <= 1 {
            return 0;
        }
        let gap = distance - 1;
        for back in (1..=gap.min(most(sps) as u32)).rev() {
            let frame_num = ((u32::from(current.frame_num) + max - back) % max) as u16;
            let inferred = Current {
                frame_num,
                fields: BOTH,
                ..*current
            };
            self.slide(sps, &inferred);
            let frame = Frame {
                serial: self.next_serial(),
                frame_num,
                short: BOTH,
                non_existing: true,
                ..Frame::default()
            };
            // Where long-term references fill all places, this finds none.
            let _ = self.insert(sps, frame);
            self.prev_ref_frame_num = Some(frame_num);
        }
        gap
    }

    /// Marks the references and the current picture, `frame` (8.2.5.1).
    fn mark(
        &mut self,
        sps: &Sps,
        slice: &SliceHeader,
        current: &Current,
        mut frame: Frame,
    ) -> Option<Violation> {
        let mut violation = None;
        match slice.marking {
            Marking::None => {}
            Marking::Idr {
                long_term_reference: true,
                ..
            } => frame.long = current.fields,
            Marking::Idr { .. } => {}
            Marking::SlidingWindow => {
                // A first field has made room for both already.
                let first = self.place_of(&frame).map(|index| self.frames[index]);
                if first.is_none_or(|first| first.short == 0) {
                    self.slide(sps, current);
                }
            }
            Marking::Adaptive => {
                for &operation in slice.operations.iter() {
                    let done = self.operate(operation, current, &mut frame);
                    if !done && violation.is_none() {
                        violation = Some(Violation::NoSuchReference(operation));
                    }
                }
            }
        }
        if frame.long == 0 {
            frame.short = current.fields;
        }
        match self.place_of(&frame) {
            Some(index) => self.frames[index].join(&frame),
            None => violation = violation.or(self.insert(sps, frame).err()),
        }
        violation
    }

    /// Where the first field of `frame`'s frame is, if it is still a reference.
    fn place_of(&self, frame: &Frame) -> Option<usize> {
        self.frames
            .iter()
            .position(|held| held.serial == frame.serial)
    }

    /// Adds a frame. More than `max_num_ref_frames` are never held: the oldest goes, long-term ones
    /// last, as in libavcodec.
    fn insert(&mut self, sps: &Sps, frame: Frame) -> Result<(), Violation> {
        let pushed = self.frames.push(frame);
        debug_assert!(pushed.is_ok(), "{CAPACITY} is one more than there may be");
        let count = self.frames.len();
        while self.frames.len() > most(sps) {
            let oldest = self.frames.iter().position(|frame| frame.short != 0);
            let serial = self.frames[oldest.unwrap_or(0)].serial;
            self.frames.retain(|frame| frame.serial != serial);
        }
        if count > most(sps) {
            return Err(Violation::TooManyReferences(count));
        }
        Ok(())
    }

    /// Sliding window (8.2.5.3).
    fn slide(&mut self, sps: &Sps, current: &Current) {
        let count = |marked: fn(&Frame) -> u8| {
            self.frames
                .iter()
                .filter(|frame| marked(frame) != 0)
                .count()
        };
        let references = count(|frame| frame.short) + count(|frame| frame.long);
        if references < most(sps) {
            return;
        }
        let oldest = self
            .frames
            .iter_mut()
            .filter(|frame| frame.short != 0)
            .min_by_key(|frame| frame.frame_num_wrap(current));
        if let Some(oldest) = oldest {
            oldest.unmark(BOTH);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.frames.retain(Frame::is_reference);
    }

    /// One memory management control operation (8.2.5.4); whether it found what it names.
    fn operate(&mut self, operation: Mmco, current: &Current, frame: &mut Frame) -> bool {
        let found = match operation {
            Mmco::UnmarkShortTerm {
                difference_of_pic_nums_minus1,
            } => match self.find_short(current, difference_of_pic_nums_minus1) {
                Some((index, fields)) => {
                    self.frames[index].unmark(fields);
                    true
                }
                None => false,
            },
            Mmco::UnmarkLongTerm { long_term_pic_num } => {
                match self.find_long(current, long_term_pic_num) {
                    Some((index, fields)) => {
                        self.frames[index].unmark(fields);
                        true
                    }
                    None => false,
                }
            }
            Mmco::MakeLongTerm {
                difference_of_pic_nums_minus1,
                long_term_frame_idx,
            } => match self.find_short(current, difference_of_pic_nums_minus1) {
                Some((index, fields)) => {
                    self.free_long_term_frame_idx(long_term_frame_idx, Some(index));
                    let frame = &mut self.frames[index];
                    frame.short &= !fields;
                    frame.long |= fields;
                    frame.long_term_frame_idx = long_term_frame_idx;
                    true
                }
                None => false,
            },
            Mmco::MaxLongTermFrameIdx { plus1 } => {
                for frame in self.frames.iter_mut() {
                    if frame.long_term_frame_idx >= plus1 {
                        frame.long = 0;
                    }
                }
                true
            }
            Mmco::UnmarkAll => {
                self.frames.clear();
                true
            }
            Mmco::CurrentLongTerm {
                long_term_frame_idx,
            } => {
                let own = self.place_of(frame);
                self.free_long_term_frame_idx(long_term_frame_idx, own);
                frame.long = current.fields;
                frame.long_term_frame_idx = long_term_frame_idx;
                true
            }
        };
        // Keep the places of `frames` until here: `own` and `index` name them.
        self.forget();
        found
    }

    /// The frame, and its fields, that is `picNumX` (8-39) and marked as short-term reference.
    fn find_short(&self, current: &Current, difference_minus1: u32) -> Option<(usize, u8)> {
        let pic_num = (current.pic_num() - 1).wrapping_sub_unsigned(difference_minus1);
        let (wrap, fields) = current.split(pic_num);
        let index = self.frames.iter().position(|frame| {
            frame.short & fields == fields && frame.frame_num_wrap(current) == wrap
        })?;
        Some((index, fields))
    }

    /// The frame, and its fields, that has this `LongTermPicNum` (8-29, 8-32, 8-33).
    fn find_long(&self, current: &Current, long_term_pic_num: u32) -> Option<(usize, u8)> {
        let (idx, fields) = current.split(long_term_pic_num as i32);
        let index = self.frames.iter().position(|frame| {
            frame.long & fields == fields && i32::from(frame.long_term_frame_idx) == idx
        })?;
        Some((index, fields))
    }

    /// Takes `idx` from whoever has it but the frame at `except` (8.2.5.4.3, 8.2.5.4.6).
    fn free_long_term_frame_idx(&mut self, idx: u8, except: Option<usize>) {
        for (index, frame) in self.frames.iter_mut().enumerate() {
            if Some(index) != except && frame.long != 0 && frame.long_term_frame_idx == idx {
                frame.long = 0;
            }
        }
    }

    /// The references as the next picture with these numbers would see them.
    fn held(&self, current: &Current) -> List<Held, CAPACITY> {
        let mut held = List::new();
        for frame in self.frames.iter() {
            let long_term = frame.long != 0;
            let fields = frame.short | frame.long;
            let number = if long_term {
                i32::from(frame.long_term_frame_idx)
            } else {
                frame.frame_num_wrap(current)
            };
            let pic_num = if current.is_field() {
                2 * number + i32::from(fields & current.fields != 0)
            } else {
                number
            };
            // As many as there are frames.
            let _ = held.push(Held {
                id: frame.id,
                fields,
                long_term,
                frame_num: if long_term {
                    frame.long_term_frame_idx.into()
                } else {
                    frame.frame_num
                },
                pic_num,
                poc: frame.poc,
                by_fields: frame.by_fields,
                non_existing: frame.non_existing,
            });
        }
        held
    }
}

impl Picture {
    /// The control of this picture: `slice` is one of its slices, and ids are timestamps.
    pub fn decode_params(&self, slice: &SliceHeader) -> DecodeParams {
        let mut params = slice.decode_params();
        params.top_field_order_cnt = self.poc.top;
        params.bottom_field_order_cnt = self.poc.bottom;
        let existing = self.held.iter().filter(|held| !held.non_existing);
        for (entry, held) in params.dpb.iter_mut().zip(existing) {
            *entry = DpbEntry {
                reference_ts: held.id,
                pic_num: held.pic_num,
                frame_num: held.frame_num,
                fields: held.fields,
                top_field_order_cnt: held.poc.top,
                bottom_field_order_cnt: held.poc.bottom,
                valid: true,
                active: true,
                long_term: held.long_term,
                field: held.by_fields,
            };
        }
        params
    }
}

/// How many references there may be at once (8.2.5.3).
fn most(sps: &Sps) -> usize {
    usize::from(sps.max_num_ref_frames.clamp(1, 16))
}

/// Whether a picture completes the frame that `first` began (3.30, 3.31): the other parity, the same
/// `frame_num`, both references or neither, and the second one is no IDR picture and begins no new
/// count.
fn is_second_field(first: &FirstField, current: &Current, slice: &SliceHeader) -> bool {
    current.fields == BOTH ^ first.fields
        && slice.frame_num == first.frame_num
        && (slice.nal.ref_idc != 0) == first.is_reference
        && !slice.is_idr()
        && !slice.unmarks_all()
}

/// The counts of a frame's two fields, of which each has only its own and 0 for the other's.
fn joined(first: PicOrderCnt, second: PicOrderCnt) -> PicOrderCnt {
    PicOrderCnt {
        top: first.top + second.top,
        bottom: first.bottom + second.bottom,
    }
}
