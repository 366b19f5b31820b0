//! VP9 in IVF (VP9 bitstream specification v0.6): superframes taken apart, hidden frames, frames
//! that only show another one.

use super::{Codec, Frame, Part, Show, Step, control, range_in, timestamp};
use crate::Result;
use bitstream::vp9::{self, FRAME_KEY_FRAME, FRAME_SHOW_FRAME, Header, State, Superframe};
use std::ops::Range;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::vp9::*;
use v4l2::uapi::videodev2::V4L2_PIX_FMT_VP9_FRAME;

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
                control(V4L2_CID_STATELESS_VP9_FRAME, &uapi(frame)),
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

fn uapi(frame: &vp9::Frame) -> v4l2_ctrl_vp9_frame {
    v4l2_ctrl_vp9_frame {
        lf: v4l2_vp9_loop_filter {
            ref_deltas: frame.lf.ref_deltas,
            mode_deltas: frame.lf.mode_deltas,
            level: frame.lf.level,
            sharpness: frame.lf.sharpness,
            flags: frame.lf.flags,
            reserved: [0; 7],
        },
        quant: v4l2_vp9_quantization {
            base_q_idx: frame.quant.base_q_idx,
            delta_q_y_dc: frame.quant.delta_q_y_dc,
            delta_q_uv_dc: frame.quant.delta_q_uv_dc,
            delta_q_uv_ac: frame.quant.delta_q_uv_ac,
            reserved: [0; 4],
        },
        seg: v4l2_vp9_segmentation {
            feature_data: frame.seg.feature_data,
            feature_enabled: frame.seg.feature_enabled,
            tree_probs: frame.seg.tree_probs,
            pred_probs: frame.seg.pred_probs,
            flags: frame.seg.flags,
            reserved: [0; 5],
        },
        flags: frame.flags,
        compressed_header_size: frame.compressed_header_size,
        uncompressed_header_size: frame.uncompressed_header_size,
        frame_width_minus_1: frame.frame_width_minus_1,
        frame_height_minus_1: frame.frame_height_minus_1,
        render_width_minus_1: frame.render_width_minus_1,
        render_height_minus_1: frame.render_height_minus_1,
        last_frame_ts: frame.last_frame_ts,
        golden_frame_ts: frame.golden_frame_ts,
        alt_frame_ts: frame.alt_frame_ts,
        ref_frame_sign_bias: frame.ref_frame_sign_bias,
        reset_frame_context: frame.reset_frame_context,
        frame_context_idx: frame.frame_context_idx,
        profile: frame.profile,
        bit_depth: frame.bit_depth,
        interpolation_filter: frame.interpolation_filter,
        tile_cols_log2: frame.tile_cols_log2,
        tile_rows_log2: frame.tile_rows_log2,
        reference_mode: frame.reference_mode,
        reserved: [0; 7],
    }
}

fn compressed(header: &vp9::CompressedHeader) -> v4l2_ctrl_vp9_compressed_hdr {
    v4l2_ctrl_vp9_compressed_hdr {
        tx_mode: header.tx_mode,
        tx8: header.tx8,
        tx16: header.tx16,
        tx32: header.tx32,
        coef: header.coef,
        skip: header.skip,
        inter_mode: header.inter_mode,
        interp_filter: header.interp_filter,
        is_inter: header.is_inter,
        comp_mode: header.comp_mode,
        single_ref: header.single_ref,
        comp_ref: header.comp_ref,
        y_mode: header.y_mode,
        uv_mode: header.uv_mode,
        partition: header.partition,
        mv: v4l2_vp9_mv_probs {
            joint: header.mv.joint,
            sign: header.mv.sign,
            classes: header.mv.classes,
            class0_bit: header.mv.class0_bit,
            bits: header.mv.bits,
            class0_fr: header.mv.class0_fr,
            fr: header.mv.fr,
            class0_hp: header.mv.class0_hp,
            hp: header.mv.hp,
        },
    }
}
