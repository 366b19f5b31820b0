//! VP8 in IVF (RFC 6386): frames are shown as they come, or never.

use super::{Codec, Frame, Part, Show, Step, control, timestamp};
use crate::Result;
use bitstream::vp8::{self, FRAME_SHOW_FRAME, State};
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::vp8::*;
use v4l2::uapi::videodev2::V4L2_PIX_FMT_VP8_FRAME;

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
            controls: vec![control(V4L2_CID_STATELESS_VP8_FRAME, &uapi(frame))],
            timestamp: fresh,
            size,
            visible: [0, 0, size.0, size.1],
            is_key: frame.is_key_frame(),
            show: if is_shown { Show::Now } else { Show::Never },
            part: Part::Frame,
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

fn uapi(frame: &vp8::Frame) -> v4l2_ctrl_vp8_frame {
    v4l2_ctrl_vp8_frame {
        segment: v4l2_vp8_segment {
            quant_update: frame.segment.quant_update,
            lf_update: frame.segment.lf_update,
            segment_probs: frame.segment.segment_probs,
            padding: 0,
            flags: frame.segment.flags,
        },
        lf: v4l2_vp8_loop_filter {
            ref_frm_delta: frame.lf.ref_frm_delta,
            mb_mode_delta: frame.lf.mb_mode_delta,
            sharpness_level: frame.lf.sharpness_level,
            level: frame.lf.level,
            padding: 0,
            flags: frame.lf.flags,
        },
        quant: v4l2_vp8_quantization {
            y_ac_qi: frame.quant.y_ac_qi,
            y_dc_delta: frame.quant.y_dc_delta,
            y2_dc_delta: frame.quant.y2_dc_delta,
            y2_ac_delta: frame.quant.y2_ac_delta,
            uv_dc_delta: frame.quant.uv_dc_delta,
            uv_ac_delta: frame.quant.uv_ac_delta,
            padding: 0,
        },
        entropy: v4l2_vp8_entropy {
            coeff_probs: frame.entropy.coeff_probs,
            y_mode_probs: frame.entropy.y_mode_probs,
            uv_mode_probs: frame.entropy.uv_mode_probs,
            mv_probs: frame.entropy.mv_probs,
            padding: [0; 3],
        },
        coder_state: v4l2_vp8_entropy_coder_state {
            range: frame.coder_state.range,
            value: frame.coder_state.value,
            bit_count: frame.coder_state.bit_count,
            padding: 0,
        },
        width: frame.width,
        height: frame.height,
        horizontal_scale: frame.horizontal_scale,
        vertical_scale: frame.vertical_scale,
        version: frame.version,
        prob_skip_false: frame.prob_skip_false,
        prob_intra: frame.prob_intra,
        prob_last: frame.prob_last,
        prob_gf: frame.prob_gf,
        num_dct_parts: frame.num_dct_parts,
        first_part_size: frame.first_part_size,
        first_part_header_bits: frame.first_part_header_bits,
        dct_part_sizes: frame.dct_part_sizes,
        last_frame_ts: frame.last_frame_ts,
        golden_frame_ts: frame.golden_frame_ts,
        alt_frame_ts: frame.alt_frame_ts,
        flags: frame.flags,
    }
}
