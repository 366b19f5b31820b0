//! MPEG-2 elementary streams (ITU-T H.262): fields in pairs, and pictures shown in another order
//! than they are coded in.

use super::{Codec, Frame, Part, Show, Step, control, range_in};
use crate::Result;
use bitstream::mpeg2::{self, CODING_TYPE_B, CODING_TYPE_I, FRAME, State};
use std::ops::Range;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::mpeg2::*;
use v4l2::uapi::videodev2::V4L2_PIX_FMT_MPEG2_SLICE;
use va_driver::codec::mpeg2::{header, quantisation, sequence};

/// The stream's `V4L2_PIX_FMT_*`.
pub const CODED: u32 = V4L2_PIX_FMT_MPEG2_SLICE;

/// The start code that a stream begins with.
pub const SEQUENCE: u8 = mpeg2::start_code::SEQUENCE_HEADER;

/// The coded pictures, each with the headers ahead of it.
pub fn pictures(stream: &[u8]) -> Vec<Range<usize>> {
    let pictures = mpeg2::pictures(stream);
    pictures.map(|picture| range_in(stream, picture)).collect()
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct Mpeg2 {
    state: State,
    /// The last two frames that others refer to.
    references: [Option<Timestamp>; 2],
    /// The frame whose second field may follow.
    first_field: Option<FirstField>,
}

/// A field whose other one may follow (6.1.1.4).
#[derive(Debug, Clone, Copy)]
struct FirstField {
    name: Timestamp,
    structure: u8,
    is_b: bool,
}

impl FirstField {
    fn is_completed_by(&self, picture: &mpeg2::Picture) -> bool {
        let is_b = picture.picture_coding_type == CODING_TYPE_B;
        self.structure + picture.picture_structure == FRAME && self.is_b == is_b
    }
}

impl Codec for Mpeg2 {
    fn read<'a>(&mut self, unit: &'a [u8], fresh: Timestamp) -> Result<Step<'a>> {
        let coded = self.state.parse(unit)?;
        let picture = &coded.picture;
        let is_b = picture.picture_coding_type == CODING_TYPE_B;
        let is_intra = picture.picture_coding_type == CODING_TYPE_I;
        let first = self
            .first_field
            .filter(|first| first.is_completed_by(picture));
        let (part, name) = match (picture.picture_structure, first) {
            (FRAME, _) => (Part::Frame, fresh),
            (_, None) => (Part::FirstField, fresh),
            (_, Some(first)) => (Part::SecondField, first.name),
        };
        // References are named by timestamps, and none is 0.
        let has_forward = picture.forward_ref_ts != 0;
        if is_b && !(has_forward && picture.backward_ref_ts != 0) {
            return Ok(Step::Skip);
        }
        if !is_b && !is_intra && !has_forward {
            return Err("a predicted picture before the first intra picture".into());
        }
        let headers = &coded.sequence;
        let size = (headers.horizontal_size.into(), headers.vertical_size.into());
        let frame = Frame {
            data: coded.slices.into(),
            controls: vec![
                control(
                    V4L2_CID_STATELESS_MPEG2_SEQUENCE,
                    &sequence(&coded.sequence),
                ),
                control(V4L2_CID_STATELESS_MPEG2_PICTURE, &header(picture)),
                control(
                    V4L2_CID_STATELESS_MPEG2_QUANTISATION,
                    &quantisation(&coded.quantisation),
                ),
            ],
            timestamp: name,
            size,
            visible: [0, 0, size.0, size.1],
            is_key: is_intra,
            show: if is_b { Show::Now } else { Show::Later },
            part,
            slots: Vec::new(),
        };
        self.state.decoded(&coded, name.nanos());
        if !is_b && part != Part::SecondField {
            self.references = [self.references[1], Some(name)];
        }
        self.first_field = (part == Part::FirstField).then_some(FirstField {
            name,
            structure: picture.picture_structure,
            is_b,
        });
        Ok(Step::Decode(frame))
    }

    fn references(&self) -> Vec<Timestamp> {
        let first_field = self.first_field.map(|first| first.name);
        let held = self.references.into_iter().chain([first_field]);
        held.flatten().collect()
    }

    fn is_entry(&self, unit: &[u8]) -> bool {
        // A sequence header ahead of a picture: all that it needs is there again.
        unit.starts_with(&[0, 0, 1, SEQUENCE])
    }

    fn reset(&mut self) {
        *self = Mpeg2::default();
    }
}
