//! Writes slice headers (7.3.3), so that the parser can be held against every struct there is and not
//! only against what encoders make of it.

use crate::annexb;
use crate::bits::BitWriter;
use crate::h264::*;

/// A NAL unit without start code: the header and the first bits of some slice data.
pub fn write(slice: &SliceHeader, sps: &Sps, pps: &Pps) -> Vec<u8> {
    let mut writer = BitWriter::new();
    picture(&mut writer, slice, sps);
    order(&mut writer, slice, sps, pps);
    if pps.redundant_pic_cnt_present {
        writer.ue(slice.redundant_pic_cnt.into());
    }
    if slice.slice_type == SliceType::B {
        writer.flag(slice.direct_spatial_mv_pred);
    }
    lists(&mut writer, slice, sps);
    if slice.nal.ref_idc != 0 {
        marking(&mut writer, slice);
    }
    if pps.entropy_coding_mode && slice.slice_type.ref_lists() > 0 {
        writer.ue(slice.cabac_init_idc.into());
    }
    writer.se(slice.slice_qp_delta.into());
    if slice.slice_type == SliceType::Sp {
        writer.flag(slice.sp_for_switch);
    }
    if matches!(slice.slice_type, SliceType::Sp | SliceType::Si) {
        writer.se(slice.slice_qs_delta.into());
    }
    if pps.deblocking_filter_control_present {
        writer.ue(slice.disable_deblocking_filter_idc.into());
        if slice.disable_deblocking_filter_idc != 1 {
            writer.se(slice.slice_alpha_c0_offset_div2.into());
            writer.se(slice.slice_beta_offset_div2.into());
        }
    }
    writer.u(16, 0xa5c3);
    writer.trailing_bits();
    let mut nal = Vec::new();
    let header = slice.nal.ref_idc << 5 | slice.nal.unit_type;
    annexb::write_nal(&mut nal, &[header], &writer.into_bytes());
    nal.split_off(annexb::START_CODE.len())
}

/// Bits of slice data that [`write`] appends, the stop bit not counted.
pub const DATA_BITS: u32 = 16;

fn picture(writer: &mut BitWriter, slice: &SliceHeader, sps: &Sps) {
    writer.ue(slice.first_mb_in_slice);
    writer.ue(slice.slice_type as u32 + 5 * u32::from(slice.all_of_this_type));
    writer.ue(slice.pic_parameter_set_id.into());
    if sps.separate_colour_plane {
        writer.u(2, slice.colour_plane_id.into());
    }
    let length = u32::from(sps.log2_max_frame_num_minus4) + 4;
    writer.u(length, slice.frame_num.into());
    if !sps.frame_mbs_only {
        writer.flag(slice.field_pic);
        if slice.field_pic {
            writer.flag(slice.bottom_field);
        }
    }
    if slice.is_idr() {
        writer.ue(slice.idr_pic_id.into());
    }
}

fn order(writer: &mut BitWriter, slice: &SliceHeader, sps: &Sps, pps: &Pps) {
    let both = pps.bottom_field_pic_order_in_frame_present && !slice.field_pic;
    if sps.pic_order_cnt_type == 0 {
        let length = u32::from(sps.log2_max_pic_order_cnt_lsb_minus4) + 4;
        writer.u(length, slice.pic_order_cnt_lsb.into());
        if both {
            writer.se(slice.delta_pic_order_cnt_bottom);
        }
    }
    if sps.pic_order_cnt_type == 1 && !sps.delta_pic_order_always_zero {
        writer.se(slice.delta_pic_order_cnt[0]);
        if both {
            writer.se(slice.delta_pic_order_cnt[1]);
        }
    }
}

fn lists(writer: &mut BitWriter, slice: &SliceHeader, sps: &Sps) {
    let lists = slice.slice_type.ref_lists();
    if lists == 0 {
        return;
    }
    let counts = &slice.num_ref_idx_active[..lists];
    let overridden = slice.num_ref_idx_active_override;
    writer.flag(overridden);
    for &count in counts.iter().filter(|_| overridden) {
        writer.ue(u32::from(count) - 1);
    }
    for modifications in &slice.ref_pic_list_modification[..lists] {
        writer.flag(!modifications.is_empty());
        for &modification in modifications.iter() {
            let (idc, value) = match modification {
                RefPicListModification::Subtract(value) => (0, value),
                RefPicListModification::Add(value) => (1, value),
                RefPicListModification::LongTerm(value) => (2, value),
            };
            writer.ue(idc);
            writer.ue(value);
        }
        if !modifications.is_empty() {
            writer.ue(3);
        }
    }
    if let Some(weights) = &slice.pred_weights {
        pred_weights(writer, weights, counts, sps.chroma_array_type() != 0);
    }
}

fn pred_weights(writer: &mut BitWriter, weights: &PredWeights, counts: &[u8], chroma: bool) {
    writer.ue(weights.luma_log2_weight_denom.into());
    if chroma {
        writer.ue(weights.chroma_log2_weight_denom.into());
    }
    let inferred = (
        1 << weights.luma_log2_weight_denom,
        [1 << weights.chroma_log2_weight_denom; 2],
    );
    for (factors, &count) in weights.weight_factors.iter().zip(counts) {
        for index in 0..usize::from(count) {
            let luma = (factors.luma_weight[index], factors.luma_offset[index]);
            writer.flag(luma != (inferred.0, 0));
            if luma != (inferred.0, 0) {
                writer.se(luma.0.into());
                writer.se(luma.1.into());
            }
            let chroma_factors = (factors.chroma_weight[index], factors.chroma_offset[index]);
            if !chroma {
                continue;
            }
            writer.flag(chroma_factors != (inferred.1, [0; 2]));
            if chroma_factors != (inferred.1, [0; 2]) {
                for plane in 0..2 {
                    writer.se(chroma_factors.0[plane].into());
                    writer.se(chroma_factors.1[plane].into());
                }
            }
        }
    }
}

fn marking(writer: &mut BitWriter, slice: &SliceHeader) {
    match slice.marking {
        Marking::None => {}
        Marking::Idr {
            no_output_of_prior_pics,
            long_term_reference,
        } => {
            writer.flag(no_output_of_prior_pics);
            writer.flag(long_term_reference);
        }
        Marking::SlidingWindow => writer.flag(false),
        Marking::Adaptive => {
            writer.flag(true);
            for &operation in slice.operations.iter() {
                mmco(writer, operation);
            }
            writer.ue(0);
        }
    }
}

fn mmco(writer: &mut BitWriter, operation: Mmco) {
    let (number, values) = match operation {
        Mmco::UnmarkShortTerm {
            difference_of_pic_nums_minus1,
        } => (1, [Some(difference_of_pic_nums_minus1), None]),
        Mmco::UnmarkLongTerm { long_term_pic_num } => (2, [Some(long_term_pic_num), None]),
        Mmco::MakeLongTerm {
            difference_of_pic_nums_minus1,
            long_term_frame_idx,
        } => (
            3,
            [
                Some(difference_of_pic_nums_minus1),
                Some(long_term_frame_idx.into()),
            ],
        ),
        Mmco::MaxLongTermFrameIdx { plus1 } => (4, [Some(plus1.into()), None]),
        Mmco::UnmarkAll => (5, [None, None]),
        Mmco::CurrentLongTerm {
            long_term_frame_idx,
        } => (6, [Some(long_term_frame_idx.into()), None]),
    };
    writer.ue(number);
    for value in values.into_iter().flatten() {
        writer.ue(value);
    }
}
