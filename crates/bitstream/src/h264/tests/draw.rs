//! Structs drawn from bytes: valid ones, so that whatever a generator of bytes comes up with can be
//! written, and wild ones, which nobody may trip over.

use crate::h264::*;
use crate::list::List;

/// Draws from `bytes`, then zeros.
pub struct Draw<'a>(pub &'a [u8]);

impl Draw<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// From `min` to `max`, both ends more often than their share.
    pub fn within(&mut self, min: i64, max: i64) -> i64 {
        match self.byte() % 8 {
            0 => min,
            1 => max,
            _ => min + i64::from(self.word()) % (max - min + 1),
        }
    }

    pub fn u8(&mut self, min: u8, max: u8) -> u8 {
        self.within(min.into(), max.into()) as u8
    }

    pub fn i8(&mut self, min: i8, max: i8) -> i8 {
        self.within(min.into(), max.into()) as i8
    }

    pub fn se(&mut self) -> i32 {
        self.within((-i32::MAX).into(), i32::MAX.into()) as i32
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }
}

/// A valid SPS.
pub fn sps(draw: &mut Draw<'_>) -> Sps {
    let profile_idc = draw.pick(&[66, 77, 88, 100, 110, 122, 244, 44, 118]);
    let mut sps = Sps {
        profile_idc,
        constraint_set_flags: draw.u8(0, 0x3f),
        level_idc: draw.byte(),
        seq_parameter_set_id: draw.u8(0, 31),
        log2_max_frame_num_minus4: draw.u8(0, 12),
        pic_order_cnt_type: draw.u8(0, 2),
        max_num_ref_frames: draw.u8(0, 16),
        gaps_in_frame_num_value_allowed: draw.flag(),
        pic_width_in_mbs_minus1: draw.within(0, 130) as u16,
        pic_height_in_map_units_minus1: draw.within(0, 500) as u16,
        frame_mbs_only: draw.flag(),
        direct_8x8_inference: draw.flag(),
        ..Sps::default()
    };
    sps.mb_adaptive_frame_field = !sps.frame_mbs_only && draw.flag();
    if sps.has_chroma_format() {
        sps.chroma_format_idc = draw.u8(0, 3);
        sps.separate_colour_plane = sps.chroma_format_idc == 3 && draw.flag();
        sps.bit_depth_luma_minus8 = draw.u8(0, 6);
        sps.bit_depth_chroma_minus8 = draw.u8(0, 6);
        sps.qpprime_y_zero_transform_bypass = draw.flag();
    }
    match sps.pic_order_cnt_type {
        0 => sps.log2_max_pic_order_cnt_lsb_minus4 = draw.u8(0, 12),
        1 => {
            sps.delta_pic_order_always_zero = draw.flag();
            sps.offset_for_non_ref_pic = draw.se();
            sps.offset_for_top_to_bottom_field = draw.se();
            sps.num_ref_frames_in_pic_order_cnt_cycle = draw.u8(0, 255);
            let count = usize::from(sps.num_ref_frames_in_pic_order_cnt_cycle);
            for offset in &mut sps.offset_for_ref_frame[..count] {
                *offset = draw.se();
            }
        }
        _ => {}
    }
    sps
}

/// A valid PPS for `sps` without slice groups.
pub fn pps(draw: &mut Draw<'_>, sps: &Sps) -> Pps {
    let chroma_qp_index_offset = draw.i8(-12, 12);
    let mut pps = Pps {
        pic_parameter_set_id: draw.byte(),
        seq_parameter_set_id: sps.seq_parameter_set_id,
        entropy_coding_mode: draw.flag(),
        bottom_field_pic_order_in_frame_present: draw.flag(),
        num_slice_groups_minus1: 0,
        slice_group_change_rate: 0,
        num_ref_idx_l0_default_active_minus1: draw.u8(0, 31),
        num_ref_idx_l1_default_active_minus1: draw.u8(0, 31),
        weighted_pred: draw.flag(),
        weighted_bipred_idc: draw.u8(0, 2),
        pic_init_qp_minus26: draw.i8(-26 - sps.qp_bd_offset_luma(), 25),
        pic_init_qs_minus26: draw.i8(-26, 25),
        chroma_qp_index_offset,
        second_chroma_qp_index_offset: chroma_qp_index_offset,
        deblocking_filter_control_present: draw.flag(),
        constrained_intra_pred: draw.flag(),
        redundant_pic_cnt_present: draw.flag(),
        transform_8x8_mode: draw.flag(),
        scaling_matrix_present: draw.flag(),
    };
    if draw.flag() {
        pps.second_chroma_qp_index_offset = draw.i8(-12, 12);
    }
    pps
}

/// Lists of any values but 0.
pub fn scaling_matrix(draw: &mut Draw<'_>) -> ScalingMatrix {
    let mut matrix = ScalingMatrix::FLAT;
    let (four, eight) = (
        matrix.scaling_list_4x4.as_flattened_mut(),
        matrix.scaling_list_8x8.as_flattened_mut(),
    );
    for value in four.iter_mut().chain(eight) {
        *value = draw.u8(1, 255);
    }
    matrix
}

/// A valid slice header for `sps` and `pps`; its bit sizes are left at 0.
pub fn slice(draw: &mut Draw<'_>, sps: &Sps, pps: &Pps) -> SliceHeader {
    let idr = draw.flag();
    let ref_idc = if idr { draw.u8(1, 3) } else { draw.u8(0, 3) };
    let mut slice = super::super::slice::empty(NalHeader {
        ref_idc,
        unit_type: if idr { 5 } else { draw.pick(&[1, 2]) },
    });
    slice.slice_type = draw.pick(&[
        SliceType::P,
        SliceType::B,
        SliceType::I,
        SliceType::Sp,
        SliceType::Si,
    ]);
    slice.all_of_this_type = draw.flag();
    slice.pic_parameter_set_id = pps.pic_parameter_set_id;
    if sps.separate_colour_plane {
        slice.colour_plane_id = draw.u8(0, 2);
    }
    if !sps.frame_mbs_only {
        slice.field_pic = draw.flag();
        slice.bottom_field = slice.field_pic && draw.flag();
    }
    let paired = slice.field_pic || sps.mb_adaptive_frame_field;
    let mbs = (sps.width_in_mbs() * sps.frame_height_in_mbs()) >> u32::from(paired);
    slice.first_mb_in_slice = draw.within(0, i64::from(mbs) - 1) as u32;
    if idr {
        slice.idr_pic_id = draw.within(0, 65535) as u16;
    } else {
        slice.frame_num = draw.within(0, i64::from(sps.max_frame_num()) - 1) as u16;
    }
    let both = pps.bottom_field_pic_order_in_frame_present && !slice.field_pic;
    if sps.pic_order_cnt_type == 0 {
        let max = i64::from(sps.max_pic_order_cnt_lsb()) - 1;
        slice.pic_order_cnt_lsb = draw.within(0, max) as u16;
        if both {
            slice.delta_pic_order_cnt_bottom = draw.se();
        }
    } else if sps.pic_order_cnt_type == 1 && !sps.delta_pic_order_always_zero {
        slice.delta_pic_order_cnt[0] = draw.se();
        if both {
            slice.delta_pic_order_cnt[1] = draw.se();
        }
    }
    if pps.redundant_pic_cnt_present {
        slice.redundant_pic_cnt = draw.u8(0, 127);
    }
    slice.direct_spatial_mv_pred = slice.slice_type == SliceType::B && draw.flag();
    let most = if slice.field_pic { 32 } else { 16 };
    let defaults = [
        pps.num_ref_idx_l0_default_active_minus1 + 1,
        pps.num_ref_idx_l1_default_active_minus1 + 1,
    ];
    let lists = slice.slice_type.ref_lists();
    let fit = defaults[..lists].iter().all(|count| *count <= most);
    slice.num_ref_idx_active_override = lists > 0 && (draw.flag() || !fit);
    for (list, default) in defaults.into_iter().enumerate().take(lists) {
        slice.num_ref_idx_active[list] = if slice.num_ref_idx_active_override {
            draw.u8(1, most)
        } else {
            default
        };
    }
    modifications(draw, sps, &mut slice);
    if slice_writer_has_weights(pps, &slice) {
        slice.pred_weights = Some(weights(draw, sps, &slice));
    }
    if ref_idc != 0 {
        marking(draw, sps, &mut slice);
    }
    rest(draw, sps, pps, &mut slice);
    slice
}

fn slice_writer_has_weights(pps: &Pps, slice: &SliceHeader) -> bool {
    match slice.slice_type.ref_lists() {
        1 => pps.weighted_pred,
        2 => pps.weighted_bipred_idc == 1,
        _ => false,
    }
}

fn max_pic_num(sps: &Sps, slice: &SliceHeader) -> i64 {
    i64::from(sps.max_frame_num()) << u32::from(slice.field_pic)
}

fn modifications(draw: &mut Draw<'_>, sps: &Sps, slice: &mut SliceHeader) {
    let max = max_pic_num(sps, slice) - 1;
    for list in 0..slice.slice_type.ref_lists() {
        for _ in 0..draw.u8(0, slice.num_ref_idx_active[list]) {
            let modification = match draw.byte() % 3 {
                0 => RefPicListModification::Subtract(draw.within(0, max) as u32),
                1 => RefPicListModification::Add(draw.within(0, max) as u32),
                _ => RefPicListModification::LongTerm(draw.within(0, 31) as u32),
            };
            let list = &mut slice.ref_pic_list_modification[list];
            list.push(modification).expect("no more than entries");
        }
    }
}

fn weights(draw: &mut Draw<'_>, sps: &Sps, slice: &SliceHeader) -> PredWeights {
    let chroma = sps.chroma_array_type() != 0;
    let luma_log2_weight_denom = draw.u8(0, 7);
    let chroma_log2_weight_denom = if chroma { draw.u8(0, 7) } else { 0 };
    let inferred = WeightFactors {
        luma_weight: [1 << luma_log2_weight_denom; 32],
        luma_offset: [0; 32],
        chroma_weight: [[1 << chroma_log2_weight_denom; 2]; 32],
        chroma_offset: [[0; 2]; 32],
    };
    let mut weight_factors = [inferred; 2];
    for (factors, count) in weight_factors.iter_mut().zip(slice.num_ref_idx_active) {
        for index in 0..usize::from(count) {
            if draw.flag() {
                factors.luma_weight[index] = draw.i8(-128, 127).into();
                factors.luma_offset[index] = draw.i8(-128, 127).into();
            }
            if chroma && draw.flag() {
                factors.chroma_weight[index] = [draw.i8(-128, 127).into(), 3];
                factors.chroma_offset[index] = [-4, draw.i8(-128, 127).into()];
            }
        }
    }
    PredWeights {
        luma_log2_weight_denom,
        chroma_log2_weight_denom,
        weight_factors,
    }
}

fn marking(draw: &mut Draw<'_>, sps: &Sps, slice: &mut SliceHeader) {
    slice.marking = if slice.is_idr() {
        Marking::Idr {
            no_output_of_prior_pics: draw.flag(),
            long_term_reference: draw.flag(),
        }
    } else if draw.flag() {
        Marking::SlidingWindow
    } else {
        let max = max_pic_num(sps, slice) - 1;
        let mut operations = List::new();
        for _ in 0..draw.u8(0, MAX_MARKING_OPERATIONS as u8) {
            operations.push(mmco(draw, max)).expect("no more than fit");
        }
        slice.operations = operations;
        Marking::Adaptive
    };
}

fn mmco(draw: &mut Draw<'_>, max_difference: i64) -> Mmco {
    match draw.byte() % 8 {
        0..=2 => Mmco::UnmarkShortTerm {
            difference_of_pic_nums_minus1: draw.within(0, max_difference.min(40)) as u32,
        },
        3 => Mmco::UnmarkLongTerm {
            long_term_pic_num: draw.within(0, 31) as u32,
        },
        4 => Mmco::MakeLongTerm {
            difference_of_pic_nums_minus1: draw.within(0, max_difference) as u32,
            long_term_frame_idx: draw.u8(0, 15),
        },
        5 => Mmco::MaxLongTermFrameIdx {
            plus1: draw.u8(0, 16),
        },
        6 => Mmco::UnmarkAll,
        _ => Mmco::CurrentLongTerm {
            long_term_frame_idx: draw.u8(0, 15),
        },
    }
}

fn rest(draw: &mut Draw<'_>, sps: &Sps, pps: &Pps, slice: &mut SliceHeader) {
    if pps.entropy_coding_mode && slice.slice_type.ref_lists() > 0 {
        slice.cabac_init_idc = draw.u8(0, 2);
    }
    let qp = 26 + pps.pic_init_qp_minus26;
    slice.slice_qp_delta = draw.i8(-sps.qp_bd_offset_luma() - qp, 51 - qp);
    if matches!(slice.slice_type, SliceType::Sp | SliceType::Si) {
        slice.sp_for_switch = slice.slice_type == SliceType::Sp && draw.flag();
        let qs = 26 + pps.pic_init_qs_minus26;
        slice.slice_qs_delta = draw.i8(-qs, 51 - qs);
    }
    if pps.deblocking_filter_control_present {
        slice.disable_deblocking_filter_idc = draw.u8(0, 2);
        if slice.disable_deblocking_filter_idc != 1 {
            slice.slice_alpha_c0_offset_div2 = draw.i8(-6, 6);
            slice.slice_beta_offset_div2 = draw.i8(-6, 6);
        }
    }
}

/// A struct that a hostile client could send: any value in any field.
pub fn wild_sps(draw: &mut Draw<'_>) -> Sps {
    let mut sps = sps(draw);
    match draw.byte() % 16 {
        0 => sps.chroma_format_idc = draw.byte(),
        1 => sps.log2_max_frame_num_minus4 = draw.byte(),
        2 => sps.log2_max_pic_order_cnt_lsb_minus4 = draw.byte(),
        3 => sps.pic_order_cnt_type = draw.byte(),
        4 => sps.max_num_ref_frames = draw.byte(),
        5 => sps.pic_width_in_mbs_minus1 = draw.word() as u16,
        6 => sps.pic_height_in_map_units_minus1 = draw.word() as u16,
        7 => sps.offset_for_ref_frame = [i32::MIN; 255],
        8 => sps.bit_depth_luma_minus8 = draw.byte(),
        9 => sps.mb_adaptive_frame_field = true,
        10 => sps.separate_colour_plane = true,
        11 => sps.profile_idc = draw.byte(),
        12 => sps.seq_parameter_set_id = draw.byte(),
        _ => {}
    }
    sps
}

/// As [`wild_sps`].
pub fn wild_pps(draw: &mut Draw<'_>, sps: &Sps) -> Pps {
    let mut pps = match sps.check() {
        Ok(()) => pps(draw, sps),
        Err(_) => Pps::default(),
    };
    match draw.byte() % 8 {
        0 => pps.num_slice_groups_minus1 = draw.byte(),
        1 => pps.pic_init_qp_minus26 = draw.byte() as i8,
        2 => pps.second_chroma_qp_index_offset = draw.byte() as i8,
        3 => pps.weighted_bipred_idc = draw.byte(),
        4 => pps.num_ref_idx_l0_default_active_minus1 = draw.byte(),
        5 => pps.slice_group_change_rate = draw.word(),
        _ => {}
    }
    pps
}
