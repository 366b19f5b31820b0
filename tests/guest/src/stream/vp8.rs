//! VP8 in IVF (RFC 6386): frames are shown as they come, or never.

use super::{Codec, Frame, Part, Show, Step, control, timestamp};
use crate::Result;
use bitstream::vp8::{FRAME_SHOW_FRAME, State};
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::vp8::V4L2_CID_STATELESS_VP8_FRAME;
use v4l2::uapi::videodev2::V4L2_PIX_FMT_VP8_FRAME;
use va_driver::codec::vp8::control as vp8_control;

/// The stream's `V4L2_PIX_FMT_*`.
pub const CODED: u32 = V4L2_PIX_FMT_VP8_FRAME;

/// What was read so far.
#[derive(Debug, Default)]
pub struct Vp8 {
    state: State,
}

impl Codec for Vp8 {
    fn read<'a>(&mut self, unit: &'a [u8], fresh: Timestamp) -> Result<Step<'a>> {
        let header = self.state.parse(unit)?;
        let frame = &header.frame;
        let is_shown = frame.flags & FRAME_SHOW_FRAME != 0;
        let size = (frame.width.into(), frame.height.into());
        let step = Frame {
            data: unit.into(),
            controls: vec![control(V4L2_CID_STATELESS_VP8_FRAME, &vp8_control(frame))],
            timestamp: fresh,
            size,
            visible: [0, 0, size.0, size.1],
            is_key: frame.is_key_frame(),
            show: if is_shown { Show::Now } else { Show::Never },
            part: Part::Frame,
            slots: Vec::new(),
        };
        self.state.decoded(&header, fresh.nanos());
        Ok(Step::Decode(step))
    }

    fn references(&self) -> Vec<Timestamp> {
        let names = self.state.references();
        let names = names.map(|names| [names.last, names.golden, names.alternate]);
        names.into_iter().flatten().map(timestamp).collect()
    }

    fn is_entry(&self, unit: &[u8]) -> bool {
        // The lowest bit of a frame is clear in key frames.
        unit.first().is_some_and(|first| first & 1 == 0)
    }

    fn reset(&mut self) {
        *self = Vp8::default();
    }
}
