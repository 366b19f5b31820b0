//! H.264 byte streams (ITU-T H.264 Annex B): pictures of several slices, fields in pairs, and frames
//! shown by their order count.

use super::{Codec, Frame, Part, Show, Step, control, timestamp};
use crate::Result;
use bitstream::annexb::nal_units;
use bitstream::h264::{
    DecodeParams, Dpb, NalHeader, NalType, ParameterSets, Pps, ScalingMatrix, SeqParameterSet,
    SliceHeader, SliceType, Sps,
};
use std::borrow::Cow;
use std::ops::Range;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::h264::*;
use v4l2::uapi::videodev2::V4L2_PIX_FMT_H264_SLICE;
use zerocopy::FromZeros;

/// The stream's `V4L2_PIX_FMT_*`.
pub const CODED: u32 = V4L2_PIX_FMT_H264_SLICE;

/// The coded pictures (frames or fields), each with what stands ahead of it (7.4.1.2.3, 7.4.1.2.4).
pub fn pictures(stream: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut pictures = Vec::new();
    let mut sets = ParameterSets::new();
    let mut last: Option<SliceHeader> = None;
    let mut start = None;
    for nal in nal_units(stream) {
        let at = super::range_in(stream, nal).start - 3;
        let begin = *start.get_or_insert(at);
        let header = NalHeader::parse(nal)?;
        let begins = match header.kind() {
            NalType::Slice | NalType::IdrSlice => {
                let slice = sets.parse_slice_header(nal)?;
                if slice.redundant_pic_cnt > 0 {
                    continue;
                }
                let begins = last.as_ref().is_some_and(|last| slice.starts_picture(last));
                last = Some(slice);
                begins
            }
            // What stands ahead of a picture ends the one before; its slices may not be compared
            // with what comes now.
            NalType::Sps | NalType::Pps | NalType::Sei | NalType::Delimiter => {
                sets.add(nal)?;
                last.take().is_some()
            }
            _ => false,
        };
        if begins {
            pictures.push(begin..at);
            start = Some(at);
        }
    }
    // What has no slice is the end of the stream, not a picture.
    let rest = start.filter(|_| last.is_some());
    pictures.extend(rest.map(|start| start..stream.len()));
    Ok(pictures)
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct H264 {
    sets: ParameterSets,
    dpb: Dpb,
    references: Vec<Timestamp>,
}

impl Codec for H264 {
    fn read<'a>(&mut self, unit: &'a [u8], fresh: Timestamp) -> Result<Step<'a>> {
        let mut first: Option<SliceHeader> = None;
        let mut data = Vec::with_capacity(unit.len());
        for nal in nal_units(unit) {
            match NalHeader::parse(nal)?.kind() {
                NalType::Sps | NalType::Pps => self.sets.add(nal)?,
                NalType::Slice | NalType::IdrSlice => {
                    let slice = self.sets.parse_slice_header(nal)?;
                    if slice.redundant_pic_cnt > 0 {
                        continue;
                    }
                    data.extend_from_slice(&[0, 0, 1]);
                    data.extend_from_slice(nal);
                    first.get_or_insert(slice);
                }
                NalType::DataPartition(_) => return Err("data partitions are not decoded".into()),
                _ => {}
            }
        }
        let slice = first.ok_or("a picture without a slice")?;
        if matches!(slice.slice_type, SliceType::Sp | SliceType::Si) {
            return Err("SP and SI slices are not decoded".into());
        }
        let (sps, pps) = self.sets.pps(slice.pic_parameter_set_id)?;
        let (pps, matrix) = pps.controls(sps);
        if pps.num_slice_groups_minus1 > 0 {
            return Err("slice groups are not decoded".into());
        }
        let picture = self.dpb.decode(fresh.nanos(), &sps.sps, &slice)?;
        let name = timestamp(picture.id);
        let part = match (slice.field_pic, picture.is_second_field) {
            (false, _) => Part::Frame,
            (true, false) => Part::FirstField,
            (true, true) => Part::SecondField,
        };
        let order = match (slice.field_pic, slice.bottom_field) {
            (false, _) => picture.poc.top.min(picture.poc.bottom),
            (true, false) => picture.poc.top,
            (true, true) => picture.poc.bottom,
        };
        let unmarks_all = slice.unmarks_all();
        let frame = Frame {
            data: Cow::Owned(data),
            controls: vec![
                control(V4L2_CID_STATELESS_H264_SPS, &sps_control(&sps.sps)),
                control(V4L2_CID_STATELESS_H264_PPS, &pps_control(&pps)),
                control(V4L2_CID_STATELESS_H264_SCALING_MATRIX, &matrices(&matrix)),
                control(
                    V4L2_CID_STATELESS_H264_DECODE_PARAMS,
                    &params(&picture.decode_params(&slice)),
                ),
            ],
            timestamp: name,
            size: sps.sps.size(),
            visible: visible(sps),
            is_key: slice.is_idr(),
            show: Show::Ordered {
                // Operation 5 begins a new count with this picture (8.2.1).
                order: if unmarks_all { 0 } else { order },
                restarts: slice.is_idr() || unmarks_all,
                delay: delay(sps),
            },
            part,
        };
        let held = picture.held.iter().map(|held| timestamp(held.id));
        self.references = held.chain([name]).collect();
        Ok(Step::Decode(frame))
    }

    fn references(&self) -> Vec<Timestamp> {
        self.references.clone()
    }

    fn is_entry(&self, unit: &[u8]) -> bool {
        let kinds = nal_units(unit).map(|nal| NalHeader::parse(nal).map(NalHeader::kind));
        let kinds: Vec<_> = kinds.filter_map(std::result::Result::ok).collect();
        kinds.contains(&NalType::IdrSlice)
    }

    fn reset(&mut self) {
        *self = H264::default();
    }

    fn pass_over(&mut self, unit: &[u8]) {
        // Parameter sets hold until others take their place: some streams send them once.
        for nal in nal_units(unit) {
            // One that cannot be read is missed where it is needed.
            let _ = self.sets.add(nal);
        }
    }
}

/// What is shown of a picture (7-19 to 7-22): left, top, width and height.
fn visible(sps: &SeqParameterSet) -> [u32; 4] {
    let (width, height) = sps.display_size();
    let unit_x = if sps.sps.chroma_format_idc == 0 { 1 } else { 2 };
    let unit_y = if sps.sps.frame_mbs_only {
        unit_x
    } else {
        unit_x * 2
    };
    let crop = &sps.crop;
    [crop.left * unit_x, crop.top * unit_y, width, height]
}

/// How many frames may wait before the first of them is shown (C.4.5.3): what the stream says, or
/// what its level has room for.
fn delay(sps: &SeqParameterSet) -> usize {
    let vui = sps.vui.as_ref();
    let said = vui.and_then(|vui| vui.bitstream_restriction.as_ref());
    match said {
        _ if sps.sps.pic_order_cnt_type == 2 => 0,
        Some(said) => said.max_num_reorder_frames as usize,
        None => most_frames(&sps.sps),
    }
}

/// `MaxDpbFrames` (A.3.1, table A-1).
fn most_frames(sps: &Sps) -> usize {
    let is_1b = sps.level_idc == 11 && sps.constraint_set_flags & 8 != 0;
    let row = MAX_DPB_MBS
        .iter()
        .find(|(level, _)| *level >= sps.level_idc);
    let mbs = match row {
        _ if is_1b => 396,
        Some((_, mbs)) => *mbs,
        None => MAX_DPB_MBS[MAX_DPB_MBS.len() - 1].1,
    };
    let frame = sps.width_in_mbs() * sps.frame_height_in_mbs();
    (mbs / frame.max(1)).clamp(1, 16) as usize
}

#[rustfmt::skip]
const MAX_DPB_MBS: &[(u8, u32)] = &[
    (10, 396), (11, 900), (12, 2376), (13, 2376), (20, 2376), (21, 4752), (22, 8100), (30, 8100),
    (31, 18000), (32, 20480), (40, 32768), (41, 32768), (42, 34816), (50, 110_400), (51, 184_320),
    (52, 184_320), (60, 696_320), (61, 696_320), (62, 696_320),
];

/// The flags that are set.
fn flags<T>(rows: &[(bool, T)]) -> T
where
    T: Copy + Default + std::ops::BitOr<Output = T>,
{
    let set = rows.iter().filter(|(is_set, _)| *is_set);
    set.fold(T::default(), |all, (_, flag)| all | *flag)
}

fn sps_control(sps: &Sps) -> v4l2_ctrl_h264_sps {
    v4l2_ctrl_h264_sps {
        profile_idc: sps.profile_idc,
        constraint_set_flags: sps.constraint_set_flags,
        level_idc: sps.level_idc,
        seq_parameter_set_id: sps.seq_parameter_set_id,
        chroma_format_idc: sps.chroma_format_idc,
        bit_depth_luma_minus8: sps.bit_depth_luma_minus8,
        bit_depth_chroma_minus8: sps.bit_depth_chroma_minus8,
        log2_max_frame_num_minus4: sps.log2_max_frame_num_minus4,
        pic_order_cnt_type: sps.pic_order_cnt_type,
        log2_max_pic_order_cnt_lsb_minus4: sps.log2_max_pic_order_cnt_lsb_minus4,
        max_num_ref_frames: sps.max_num_ref_frames,
        num_ref_frames_in_pic_order_cnt_cycle: sps.num_ref_frames_in_pic_order_cnt_cycle,
        offset_for_ref_frame: sps.offset_for_ref_frame,
        offset_for_non_ref_pic: sps.offset_for_non_ref_pic,
        offset_for_top_to_bottom_field: sps.offset_for_top_to_bottom_field,
        pic_width_in_mbs_minus1: sps.pic_width_in_mbs_minus1,
        pic_height_in_map_units_minus1: sps.pic_height_in_map_units_minus1,
        flags: flags(&[
            (
                sps.separate_colour_plane,
                V4L2_H264_SPS_FLAG_SEPARATE_COLOUR_PLANE,
            ),
            (
                sps.qpprime_y_zero_transform_bypass,
                V4L2_H264_SPS_FLAG_QPPRIME_Y_ZERO_TRANSFORM_BYPASS,
            ),
            (
                sps.delta_pic_order_always_zero,
                V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO,
            ),
            (
                sps.gaps_in_frame_num_value_allowed,
                V4L2_H264_SPS_FLAG_GAPS_IN_FRAME_NUM_VALUE_ALLOWED,
            ),
            (sps.frame_mbs_only, V4L2_H264_SPS_FLAG_FRAME_MBS_ONLY),
            (
                sps.mb_adaptive_frame_field,
                V4L2_H264_SPS_FLAG_MB_ADAPTIVE_FRAME_FIELD,
            ),
            (
                sps.direct_8x8_inference,
                V4L2_H264_SPS_FLAG_DIRECT_8X8_INFERENCE,
            ),
        ]),
    }
}

fn pps_control(pps: &Pps) -> v4l2_ctrl_h264_pps {
    v4l2_ctrl_h264_pps {
        pic_parameter_set_id: pps.pic_parameter_set_id,
        seq_parameter_set_id: pps.seq_parameter_set_id,
        num_slice_groups_minus1: pps.num_slice_groups_minus1,
        num_ref_idx_l0_default_active_minus1: pps.num_ref_idx_l0_default_active_minus1,
        num_ref_idx_l1_default_active_minus1: pps.num_ref_idx_l1_default_active_minus1,
        weighted_bipred_idc: pps.weighted_bipred_idc,
        pic_init_qp_minus26: pps.pic_init_qp_minus26,
        pic_init_qs_minus26: pps.pic_init_qs_minus26,
        chroma_qp_index_offset: pps.chroma_qp_index_offset,
        second_chroma_qp_index_offset: pps.second_chroma_qp_index_offset,
        flags: flags(&[
            (
                pps.entropy_coding_mode,
                V4L2_H264_PPS_FLAG_ENTROPY_CODING_MODE,
            ),
            (
                pps.bottom_field_pic_order_in_frame_present,
                V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT,
            ),
            (pps.weighted_pred, V4L2_H264_PPS_FLAG_WEIGHTED_PRED),
            (
                pps.deblocking_filter_control_present,
                V4L2_H264_PPS_FLAG_DEBLOCKING_FILTER_CONTROL_PRESENT,
            ),
            (
                pps.constrained_intra_pred,
                V4L2_H264_PPS_FLAG_CONSTRAINED_INTRA_PRED,
            ),
            (
                pps.redundant_pic_cnt_present,
                V4L2_H264_PPS_FLAG_REDUNDANT_PIC_CNT_PRESENT,
            ),
            (
                pps.transform_8x8_mode,
                V4L2_H264_PPS_FLAG_TRANSFORM_8X8_MODE,
            ),
            (
                pps.scaling_matrix_present,
                V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT,
            ),
        ]),
    }
}

fn matrices(matrix: &ScalingMatrix) -> v4l2_ctrl_h264_scaling_matrix {
    v4l2_ctrl_h264_scaling_matrix {
        scaling_list_4x4: matrix.scaling_list_4x4,
        scaling_list_8x8: matrix.scaling_list_8x8,
    }
}

fn params(params: &DecodeParams) -> v4l2_ctrl_h264_decode_params {
    let mut control = v4l2_ctrl_h264_decode_params::new_zeroed();
    for (entry, held) in control.dpb.iter_mut().zip(&params.dpb) {
        *entry = v4l2_h264_dpb_entry {
            reference_ts: held.reference_ts,
            pic_num: held.pic_num as u32,
            frame_num: held.frame_num,
            fields: held.fields,
            reserved: [0; 5],
            top_field_order_cnt: held.top_field_order_cnt,
            bottom_field_order_cnt: held.bottom_field_order_cnt,
            flags: flags(&[
                (held.valid, V4L2_H264_DPB_ENTRY_FLAG_VALID),
                (held.active, V4L2_H264_DPB_ENTRY_FLAG_ACTIVE),
                (held.long_term, V4L2_H264_DPB_ENTRY_FLAG_LONG_TERM),
                (held.field, V4L2_H264_DPB_ENTRY_FLAG_FIELD),
            ]),
        };
    }
    v4l2_ctrl_h264_decode_params {
        nal_ref_idc: params.nal_ref_idc.into(),
        frame_num: params.frame_num,
        top_field_order_cnt: params.top_field_order_cnt,
        bottom_field_order_cnt: params.bottom_field_order_cnt,
        idr_pic_id: params.idr_pic_id,
        pic_order_cnt_lsb: params.pic_order_cnt_lsb,
        delta_pic_order_cnt_bottom: params.delta_pic_order_cnt_bottom,
        delta_pic_order_cnt0: params.delta_pic_order_cnt0,
        delta_pic_order_cnt1: params.delta_pic_order_cnt1,
        dec_ref_pic_marking_bit_size: params.dec_ref_pic_marking_bit_size,
        pic_order_cnt_bit_size: params.pic_order_cnt_bit_size,
        slice_group_change_cycle: params.slice_group_change_cycle,
        flags: flags(&[
            (params.idr_pic, V4L2_H264_DECODE_PARAM_FLAG_IDR_PIC),
            (params.field_pic, V4L2_H264_DECODE_PARAM_FLAG_FIELD_PIC),
            (
                params.bottom_field,
                V4L2_H264_DECODE_PARAM_FLAG_BOTTOM_FIELD,
            ),
            (params.p_frame, V4L2_H264_DECODE_PARAM_FLAG_PFRAME),
            (params.b_frame, V4L2_H264_DECODE_PARAM_FLAG_BFRAME),
        ]),
        ..control
    }
}
