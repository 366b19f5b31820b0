//! VP9, VP9 Bitstream & Decoding Process Specification v0.6: the slice data are the whole frame, so
//! all but the references is read from its own headers. Loop filter deltas and segmentation go from
//! frame to frame and are kept here.
//!
//! What is in the reference slots is told by VA with every frame, which holds after a seek too.

use super::{Controls, Output, Picture, Place, Refusal, Slice, Unit, value};
use crate::va::VAPictureParameterBufferType;
use crate::va::dec::{VADecPictureParameterBufferVP9, VASliceParameterBufferVP9};
use bitstream::vp9::{self, Frame, Header, State};
use v4l2::device::Control;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::vp9::*;
use zerocopy::FromZeros;

/// What is kept over a stream.
#[derive(Debug)]
pub(super) struct Vp9 {
    state: State,
    frame: v4l2_ctrl_vp9_frame,
    compressed: v4l2_ctrl_vp9_compressed_hdr,
}

impl Default for Vp9 {
    fn default() -> Self {
        Vp9 {
            state: State::new(),
            frame: v4l2_ctrl_vp9_frame::new_zeroed(),
            compressed: v4l2_ctrl_vp9_compressed_hdr::new_zeroed(),
        }
    }
}

impl Vp9 {
    pub(super) fn prepare(
        &mut self,
        given: &Picture<'_>,
        out: &mut Output<'_>,
    ) -> Result<Unit, Refusal> {
        let parameters: VADecPictureParameterBufferVP9 =
            given.required(VAPictureParameterBufferType)?;
        let slice: Slice<'_, VASliceParameterBufferVP9> = given.frame()?;
        let data = slice.bytes_to_end()?;
        let wrong = |field, wrong: u16| value::<VADecPictureParameterBufferVP9>(field, wrong);
        let size = (parameters.frame_width, parameters.frame_height);
        for (field, size) in [("frame_width", size.0), ("frame_height", size.1)] {
            if size == 0 {
                return Err(wrong(field, size));
            }
        }
        let references = parameters.reference_frames;
        let references = references.map(|surface| given.decoded(surface).map(Timestamp::nanos));
        // A frame that takes its size from a reference has the size that VA says.
        self.state.refer(references, size);
        let coded = match self.state.parse(data)? {
            Header::Coded(coded) => coded,
            Header::ShowExisting { .. } => return Err(wrong("show_existing_frame", 1)),
        };
        if coded.frame.profile != 0 {
            return Err(wrong("profile", coded.frame.profile.into()));
        }
        out.append(0, data)?;

        self.frame = control(&coded.frame);
        self.compressed = compressed(&coded.compressed);
        self.state.decoded(&coded, given.target.fresh.nanos());
        Ok(Unit {
            length: out.length,
            place: Place::Frame,
            timestamp: given.target.fresh,
            size: (
                u32::from(coded.frame.frame_width_minus_1) + 1,
                u32::from(coded.frame.frame_height_minus_1) + 1,
            ),
        })
    }

    pub(super) fn controls(&self) -> Controls<'_> {
        Controls::from([
            Control::compound(V4L2_CID_STATELESS_VP9_FRAME, &self.frame),
            Control::compound(V4L2_CID_STATELESS_VP9_COMPRESSED_HDR, &self.compressed),
        ])
    }

    pub(super) fn start_controls(&self) -> Controls<'_> {
        Controls::from([Control::compound(V4L2_CID_STATELESS_VP9_FRAME, &self.frame)])
    }
}

/// The control of a frame.
pub fn control(frame: &Frame) -> v4l2_ctrl_vp9_frame {
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

/// The control of a compressed header.
pub fn compressed(header: &vp9::CompressedHeader) -> v4l2_ctrl_vp9_compressed_hdr {
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
