//! H.264: parameter sets as they come, pictures cut at their first slices, `dpb[]` filled from the
//! same model that the daemon compares it with. What GStreamer does otherwise is tested with it.

use super::{Client, Place, split};
use bitstream::h264::{
    self, Dpb, DpbEntry, NalHeader, NalType, PicParameterSet, Pps, ScalingMatrix, SeqParameterSet,
    SliceHeader, Sps,
};
use decoded::wire::Codec;
use std::collections::HashMap;
use v4l2::uapi::controls::h264::{
    V4L2_CID_STATELESS_H264_DECODE_PARAMS, V4L2_CID_STATELESS_H264_PPS,
    V4L2_CID_STATELESS_H264_SCALING_MATRIX, V4L2_CID_STATELESS_H264_SPS,
    v4l2_ctrl_h264_decode_params, v4l2_ctrl_h264_pps, v4l2_ctrl_h264_scaling_matrix,
    v4l2_ctrl_h264_sps, v4l2_h264_dpb_entry,
};
use zerocopy::{FromZeros, IntoBytes};

/// A picture whose slices are still coming.
struct Pending {
    sps: SeqParameterSet,
    pps: PicParameterSet,
    first: SliceHeader,
    data: Vec<u8>,
}

#[derive(Default)]
struct Splitter {
    sps: HashMap<u8, SeqParameterSet>,
    /// As NAL units: what they mean depends on the SPS.
    pps: HashMap<u8, Vec<u8>>,
    pending: Option<Pending>,
    dpb: Dpb,
}

pub fn jobs(extradata: &[u8], packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut client = Client::new(Codec::H264, 1);
    let mut splitter = Splitter::default();
    let (size, sets) = match split::avcc(extradata) {
        Some((size, sets)) => (Some(size), sets),
        None => (None, split::nal_units(None, extradata)),
    };
    for nal in sets {
        splitter.take(&mut client, nal);
    }
    for packet in packets {
        for nal in split::nal_units(size, packet) {
            splitter.take(&mut client, nal);
        }
    }
    splitter.flush(&mut client);
    client.finish()
}

impl Splitter {
    fn take(&mut self, client: &mut Client, nal: &[u8]) -> Option<()> {
        match NalHeader::parse(nal).ok()?.kind() {
            NalType::Sps => {
                self.flush(client);
                let sps = h264::parse_sps(nal).ok()?;
                self.sps.insert(sps.sps.seq_parameter_set_id, sps);
            }
            NalType::Pps => {
                self.flush(client);
                let id = bitstream::bits::BitReader::rbsp(&nal[1..]).ue().ok()?;
                self.pps.insert(u8::try_from(id).ok()?, nal.to_owned());
            }
            NalType::Slice | NalType::IdrSlice => self.slice(client, nal)?,
            _ => {}
        }
        Some(())
    }

    fn slice(&mut self, client: &mut Client, nal: &[u8]) -> Option<()> {
        let id = h264::slice_pps_id(nal).ok()?;
        let chroma_format = |id| match self.sps.get(&id) {
            Some(sps) => Ok(sps.sps.chroma_format_idc),
            None => Err(h264::Error::NoParameterSet { set: "SPS", id }),
        };
        let pps = h264::parse_pps(self.pps.get(&id)?, chroma_format).ok()?;
        let sps = self.sps.get(&pps.pps.seq_parameter_set_id)?.clone();
        let slice = h264::parse_slice_header(nal, &sps.sps, &pps.pps).ok()?;
        let begins = self.pending.as_ref().is_none_or(|pending| {
            slice.redundant_pic_cnt == 0 && slice.starts_picture(&pending.first)
        });
        if begins {
            self.flush(client);
            self.pending = Some(Pending {
                sps,
                pps,
                first: slice,
                data: Vec::new(),
            });
        }
        let data = &mut self.pending.as_mut()?.data;
        data.extend_from_slice(&[0, 0, 1]);
        data.extend_from_slice(nal);
        Some(())
    }

    fn flush(&mut self, client: &mut Client) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let Pending {
            sps,
            pps,
            first,
            data,
        } = pending;
        // Whether it is a second field is only known when it is decoded; then the name is ignored.
        let Ok(picture) = self.dpb.decode(client.timestamp(false), &sps.sps, &first) else {
            return;
        };
        let params = picture.decode_params(&first);
        let references: Vec<u64> = params
            .dpb
            .iter()
            .filter(|entry| entry.valid)
            .map(|entry| entry.reference_ts)
            .collect();
        let (pps, matrix) = pps.controls(&sps);
        let decode = v4l2_ctrl_h264_decode_params {
            dpb: params.dpb.map(|entry| dpb_entry(&entry)),
            nal_ref_idc: params.nal_ref_idc.into(),
            frame_num: params.frame_num,
            top_field_order_cnt: params.top_field_order_cnt,
            bottom_field_order_cnt: params.bottom_field_order_cnt,
            ..v4l2_ctrl_h264_decode_params::new_zeroed()
        };
        let (width, height) = sps.sps.size();
        let place = Place {
            first_field: first.field_pic && !picture.is_second_field,
            second_field: picture.is_second_field,
            ..Place::frame(width, height)
        };
        client.queue(
            place,
            &references,
            &[
                (
                    V4L2_CID_STATELESS_H264_SPS,
                    sps_control(&sps.sps).as_bytes(),
                ),
                (V4L2_CID_STATELESS_H264_PPS, pps_control(&pps).as_bytes()),
                (
                    V4L2_CID_STATELESS_H264_SCALING_MATRIX,
                    matrix_control(&matrix).as_bytes(),
                ),
                (V4L2_CID_STATELESS_H264_DECODE_PARAMS, decode.as_bytes()),
            ],
            &data,
        );
    }
}

fn bits<const N: usize>(flags: [bool; N]) -> u32 {
    let flags = flags.into_iter().enumerate();
    flags.map(|(bit, flag)| u32::from(flag) << bit).sum()
}

fn dpb_entry(entry: &DpbEntry) -> v4l2_h264_dpb_entry {
    v4l2_h264_dpb_entry {
        reference_ts: entry.reference_ts,
        pic_num: entry.pic_num as u32,
        frame_num: entry.frame_num,
        fields: entry.fields,
        reserved: [0; 5],
        top_field_order_cnt: entry.top_field_order_cnt,
        bottom_field_order_cnt: entry.bottom_field_order_cnt,
        flags: bits([entry.valid, entry.active, entry.long_term, entry.field]),
    }
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
        flags: bits([
            sps.separate_colour_plane,
            sps.qpprime_y_zero_transform_bypass,
            sps.delta_pic_order_always_zero,
            sps.gaps_in_frame_num_value_allowed,
            sps.frame_mbs_only,
            sps.mb_adaptive_frame_field,
            sps.direct_8x8_inference,
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
        flags: bits([
            pps.entropy_coding_mode,
            pps.bottom_field_pic_order_in_frame_present,
            pps.weighted_pred,
            pps.deblocking_filter_control_present,
            pps.constrained_intra_pred,
            pps.redundant_pic_cnt_present,
            pps.transform_8x8_mode,
            pps.scaling_matrix_present,
        ]) as u16,
    }
}

fn matrix_control(matrix: &ScalingMatrix) -> v4l2_ctrl_h264_scaling_matrix {
    v4l2_ctrl_h264_scaling_matrix {
        scaling_list_4x4: matrix.scaling_list_4x4,
        scaling_list_8x8: matrix.scaling_list_8x8,
    }
}
