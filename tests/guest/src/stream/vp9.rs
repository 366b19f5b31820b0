//! VP9 in IVF (VP9 bitstream specification v0.6): superframes taken apart, hidden frames, frames
//! that only show another one.

use super::{Codec, Frame, Part, Show, Step, control, range_in, timestamp};
use crate::Result;
use bitstream::vp9::{FRAME_KEY_FRAME, FRAME_SHOW_FRAME, Header, State, Superframe};
use std::ops::Range;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::vp9::{
    V4L2_CID_STATELESS_VP9_COMPRESSED_HDR, V4L2_CID_STATELESS_VP9_FRAME,
};
use v4l2::uapi::videodev2::V4L2_PIX_FMT_VP9_FRAME;
use va_driver::codec::vp9::{compressed, control as vp9_control};

/// The stream's `V4L2_PIX_FMT_*`.
pub const CODED: u32 = V4L2_PIX_FMT_VP9_FRAME;

/// The frames of all superframes (annex B).
///
/// # Errors
/// An index names more bytes than there are.
pub fn frames(bytes: &[u8], superframes: Vec<Range<usize>>) -> Result<Vec<Range<usize>>> {
    let mut frames = Vec::new();
    for superframe in superframes {
        for frame in Superframe::parse(&bytes[superframe])? {
            frames.push(range_in(bytes, frame));
        }
    }
    Ok(frames)
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct Vp9 {
    state: State,
}

impl Codec for Vp9 {
    fn read<'a>(&mut self, unit: &'a [u8], fresh: Timestamp) -> Result<Step<'a>> {
        let coded = match self.state.parse(unit)? {
            Header::ShowExisting { id, .. } => return Ok(Step::Show(timestamp(id))),
            Header::Coded(coded) => coded,
        };
        let frame = &coded.frame;
        let is_shown = frame.flags & FRAME_SHOW_FRAME != 0;
        let size = (
            u32::from(frame.frame_width_minus_1) + 1,
            u32::from(frame.frame_height_minus_1) + 1,
        );
        let step = Frame {
            data: unit.into(),
            controls: vec![
                control(V4L2_CID_STATELESS_VP9_FRAME, &vp9_control(frame)),
                control(
                    V4L2_CID_STATELESS_VP9_COMPRESSED_HDR,
                    &compressed(&coded.compressed),
                ),
            ],
            timestamp: fresh,
            size,
            visible: [0, 0, size.0, size.1],
            is_key: frame.flags & FRAME_KEY_FRAME != 0,
            show: if is_shown { Show::Now } else { Show::Never },
            part: Part::Frame,
            slots: self
                .state
                .references()
                .map(|slot| slot.map(timestamp))
                .into(),
        };
        self.state.decoded(&coded, fresh.nanos());
        Ok(Step::Decode(step))
    }

    fn references(&self) -> Vec<Timestamp> {
        let slots = self.state.references();
        slots.into_iter().flatten().map(timestamp).collect()
    }

    fn is_entry(&self, unit: &[u8]) -> bool {
        // A new state takes nothing but key frames and frames without references, and the slots
        // that those leave empty are asked for by what follows them.
        matches!(State::new().parse(unit), Ok(Header::Coded(coded))
            if coded.frame.flags & FRAME_KEY_FRAME != 0)
    }

    fn reset(&mut self) {
        *self = Vp9::default();
    }
}
