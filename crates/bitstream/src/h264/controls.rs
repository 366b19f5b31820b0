//! Structs shaped like the H.264 controls of Linux's stateless decoders (`linux/v4l2-controls.h`,
//! `struct v4l2_ctrl_h264_*`), with their flags as booleans.
//!
//! Names and ranges are the standard's (7.4). Translating from and to the kernel's own structs is
//! the caller's; nothing here depends on their layout. Values are not trusted: `check` names the
//! first field that is out of range, and the writers call it.

use super::{Error, SliceType, within};

/// Sequence parameter set (`v4l2_ctrl_h264_sps`, 7.4.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`; any value.
    pub profile_idc: u8,
    /// Bit n is `constraint_setn_flag`, n from 0 to 5.
    pub constraint_set_flags: u8,
    /// `level_idc`; any value.
    pub level_idc: u8,
    /// 0 to 31.
    pub seq_parameter_set_id: u8,
    /// 0 (4:0:0) to 3 (4:4:4); 1 where the profile has no such element.
    pub chroma_format_idc: u8,
    /// `separate_colour_plane_flag`; only with `chroma_format_idc` 3.
    pub separate_colour_plane: bool,
    /// 0 to 6; 0 where the profile has no such element.
    pub bit_depth_luma_minus8: u8,
    /// 0 to 6; 0 where the profile has no such element.
    pub bit_depth_chroma_minus8: u8,
    /// `qpprime_y_zero_transform_bypass_flag`; false where the profile has no such element.
    pub qpprime_y_zero_transform_bypass: bool,
    /// 0 to 12.
    pub log2_max_frame_num_minus4: u8,
    /// 0 to 2.
    pub pic_order_cnt_type: u8,
    /// 0 to 12; used with `pic_order_cnt_type` 0.
    pub log2_max_pic_order_cnt_lsb_minus4: u8,
    /// `delta_pic_order_always_zero_flag`; this and the next four are used with type 1.
    pub delta_pic_order_always_zero: bool,
    /// Above -2^31.
    pub offset_for_non_ref_pic: i32,
    /// Above -2^31.
    pub offset_for_top_to_bottom_field: i32,
    /// 0 to 255.
    pub num_ref_frames_in_pic_order_cnt_cycle: u8,
    /// Above -2^31; the first `num_ref_frames_in_pic_order_cnt_cycle` are used.
    pub offset_for_ref_frame: [i32; 255],
    /// 0 to 16.
    pub max_num_ref_frames: u8,
    /// `gaps_in_frame_num_value_allowed_flag`.
    pub gaps_in_frame_num_value_allowed: bool,
    /// 0 to 1054, see [`Sps::check`].
    pub pic_width_in_mbs_minus1: u16,
    /// 0 to 1054; halved for field and MBAFF coding.
    pub pic_height_in_map_units_minus1: u16,
    /// `frame_mbs_only_flag`.
    pub frame_mbs_only: bool,
    /// `mb_adaptive_frame_field_flag`; not with `frame_mbs_only`.
    pub mb_adaptive_frame_field: bool,
    /// `direct_8x8_inference_flag`.
    pub direct_8x8_inference: bool,
}

impl Default for Sps {
    /// One macroblock of 4:2:0 at 8 bits, all else zero.
    fn default() -> Self {
        Sps {
            profile_idc: 0,
            constraint_set_flags: 0,
            level_idc: 0,
            seq_parameter_set_id: 0,
            chroma_format_idc: 1,
            separate_colour_plane: false,
            bit_depth_luma_minus8: 0,
            bit_depth_chroma_minus8: 0,
            qpprime_y_zero_transform_bypass: false,
            log2_max_frame_num_minus4: 0,
            pic_order_cnt_type: 0,
            log2_max_pic_order_cnt_lsb_minus4: 0,
            delta_pic_order_always_zero: false,
            offset_for_non_ref_pic: 0,
            offset_for_top_to_bottom_field: 0,
            num_ref_frames_in_pic_order_cnt_cycle: 0,
            offset_for_ref_frame: [0; 255],
            max_num_ref_frames: 0,
            gaps_in_frame_num_value_allowed: false,
            pic_width_in_mbs_minus1: 0,
            pic_height_in_map_units_minus1: 0,
            frame_mbs_only: true,
            mb_adaptive_frame_field: false,
            direct_8x8_inference: false,
        }
    }
}

/// `MaxFS` of level 6.2, the largest there is (Table A-1).
const MAX_FRAME_MBS: u32 = 139_264;

/// The longest side at that size: the root of 8 `MaxFS` (A.3.1).
const MAX_SIDE_MBS: u32 = 1_055;

/// The least value with an `se(v)` code.
pub(super) const SE_MIN: i32 = -i32::MAX;

impl Sps {
    /// Whether the profile has `chroma_format_idc` and what follows it (7.3.2.1.1).
    pub fn has_chroma_format(&self) -> bool {
        matches!(
            self.profile_idc,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        )
    }

    /// `ChromaArrayType`: 0 where planes are coded apart.
    pub fn chroma_array_type(&self) -> u8 {
        if self.separate_colour_plane {
            0
        } else {
            self.chroma_format_idc
        }
    }

    /// `MaxFrameNum`, 16 to 65536.
    pub fn max_frame_num(&self) -> u32 {
        1 << (u32::from(self.log2_max_frame_num_minus4) + 4)
    }

    /// `MaxPicOrderCntLsb`, 16 to 65536.
    pub fn max_pic_order_cnt_lsb(&self) -> u32 {
        1 << (u32::from(self.log2_max_pic_order_cnt_lsb_minus4) + 4)
    }

    /// `PicWidthInMbs`.
    pub fn width_in_mbs(&self) -> u32 {
        u32::from(self.pic_width_in_mbs_minus1) + 1
    }

    /// `FrameHeightInMbs`.
    pub fn frame_height_in_mbs(&self) -> u32 {
        (u32::from(self.pic_height_in_map_units_minus1) + 1) << u32::from(!self.frame_mbs_only)
    }

    /// `QpBdOffsetY`, 0 to 36.
    pub fn qp_bd_offset_luma(&self) -> i8 {
        6 * self.bit_depth_luma_minus8 as i8
    }

    /// Whether every field is within its range, and within what the others allow. The size of a
    /// frame is bounded by the largest level, so that no product of sizes overflows.
    pub fn check(&self) -> Result<(), Error> {
        let fields = [
            ("constraint_set_flags", self.constraint_set_flags, 0x3f),
            ("seq_parameter_set_id", self.seq_parameter_set_id, 31),
            ("chroma_format_idc", self.chroma_format_idc, 3),
            ("bit_depth_luma_minus8", self.bit_depth_luma_minus8, 6),
            ("bit_depth_chroma_minus8", self.bit_depth_chroma_minus8, 6),
            (
                "log2_max_frame_num_minus4",
                self.log2_max_frame_num_minus4,
                12,
            ),
            ("pic_order_cnt_type", self.pic_order_cnt_type, 2),
            (
                "log2_max_pic_order_cnt_lsb_minus4",
                self.log2_max_pic_order_cnt_lsb_minus4,
                12,
            ),
            ("max_num_ref_frames", self.max_num_ref_frames, 16),
            (
                "mb_adaptive_frame_field_flag",
                u8::from(self.mb_adaptive_frame_field),
                u8::from(!self.frame_mbs_only),
            ),
            (
                "separate_colour_plane_flag",
                u8::from(self.separate_colour_plane),
                u8::from(self.chroma_format_idc == 3),
            ),
        ];
        for (field, value, max) in fields {
            within(field, value.into(), 0, max.into())?;
        }
        if !self.has_chroma_format() {
            self.check_without_chroma_format()?;
        }
        self.check_offsets()?;
        self.check_size()
    }

    fn check_without_chroma_format(&self) -> Result<(), Error> {
        for (field, value, only) in [
            ("chroma_format_idc", self.chroma_format_idc, 1),
            ("bit_depth_luma_minus8", self.bit_depth_luma_minus8, 0),
            ("bit_depth_chroma_minus8", self.bit_depth_chroma_minus8, 0),
            (
                "qpprime_y_zero_transform_bypass_flag",
                u8::from(self.qpprime_y_zero_transform_bypass),
                0,
            ),
        ] {
            within(field, value.into(), only, only)?;
        }
        Ok(())
    }

    fn check_offsets(&self) -> Result<(), Error> {
        if self.pic_order_cnt_type != 1 {
            return Ok(());
        }
        let fields = [
            ("offset_for_non_ref_pic", self.offset_for_non_ref_pic),
            (
                "offset_for_top_to_bottom_field",
                self.offset_for_top_to_bottom_field,
            ),
        ];
        let cycle = self.pic_order_cnt_cycle().iter();
        for (field, value) in fields
            .into_iter()
            .chain(cycle.map(|&offset| ("offset_for_ref_frame", offset)))
        {
            within(field, value.into(), SE_MIN.into(), i32::MAX.into())?;
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), Error> {
        let (width, height) = (self.width_in_mbs(), self.frame_height_in_mbs());
        let side = i64::from(MAX_SIDE_MBS);
        within("PicWidthInMbs", width.into(), 1, side)?;
        within("FrameHeightInMbs", height.into(), 1, side)?;
        within(
            "FrameSizeInMbs",
            (width * height).into(),
            1,
            MAX_FRAME_MBS.into(),
        )
    }

    /// The used part of `offset_for_ref_frame`.
    pub fn pic_order_cnt_cycle(&self) -> &[i32] {
        &self.offset_for_ref_frame[..usize::from(self.num_ref_frames_in_pic_order_cnt_cycle)]
    }
}

/// Picture parameter set (`v4l2_ctrl_h264_pps`, 7.4.2.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pps {
    /// 0 to 255.
    pub pic_parameter_set_id: u8,
    /// 0 to 31.
    pub seq_parameter_set_id: u8,
    /// `entropy_coding_mode_flag`: CABAC.
    pub entropy_coding_mode: bool,
    /// `bottom_field_pic_order_in_frame_present_flag`.
    pub bottom_field_pic_order_in_frame_present: bool,
    /// 0 to 7; above 0 is FMO.
    pub num_slice_groups_minus1: u8,
    /// `SliceGroupChangeRate`, with slice group map types 3 to 5; 0 otherwise. The control has no
    /// such field; without it no slice header behind the deblocking offsets can be read.
    pub slice_group_change_rate: u32,
    /// 0 to 31.
    pub num_ref_idx_l0_default_active_minus1: u8,
    /// 0 to 31.
    pub num_ref_idx_l1_default_active_minus1: u8,
    /// `weighted_pred_flag`.
    pub weighted_pred: bool,
    /// 0 to 2.
    pub weighted_bipred_idc: u8,
    /// -(26 + `QpBdOffsetY`) to 25.
    pub pic_init_qp_minus26: i8,
    /// -26 to 25.
    pub pic_init_qs_minus26: i8,
    /// -12 to 12.
    pub chroma_qp_index_offset: i8,
    /// -12 to 12; equal to `chroma_qp_index_offset` where it is not sent.
    pub second_chroma_qp_index_offset: i8,
    /// `deblocking_filter_control_present_flag`.
    pub deblocking_filter_control_present: bool,
    /// `constrained_intra_pred_flag`.
    pub constrained_intra_pred: bool,
    /// `redundant_pic_cnt_present_flag`.
    pub redundant_pic_cnt_present: bool,
    /// `transform_8x8_mode_flag`.
    pub transform_8x8_mode: bool,
    /// Whether a scaling matrix other than the flat one applies, be it from the SPS or the PPS: the
    /// meaning of `V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT`, not of a syntax element.
    pub scaling_matrix_present: bool,
}

impl Pps {
    /// Whether every field is within its range under `sps`.
    pub fn check(&self, sps: &Sps) -> Result<(), Error> {
        for (field, value, min, max) in [
            (
                "seq_parameter_set_id",
                i32::from(self.seq_parameter_set_id),
                0,
                31,
            ),
            (
                "num_slice_groups_minus1",
                self.num_slice_groups_minus1.into(),
                0,
                7,
            ),
            (
                "num_ref_idx_l0_default_active_minus1",
                self.num_ref_idx_l0_default_active_minus1.into(),
                0,
                31,
            ),
            (
                "num_ref_idx_l1_default_active_minus1",
                self.num_ref_idx_l1_default_active_minus1.into(),
                0,
                31,
            ),
            ("weighted_bipred_idc", self.weighted_bipred_idc.into(), 0, 2),
            (
                "pic_init_qp_minus26",
                self.pic_init_qp_minus26.into(),
                -26 - i32::from(sps.qp_bd_offset_luma()),
                25,
            ),
            (
                "pic_init_qs_minus26",
                self.pic_init_qs_minus26.into(),
                -26,
                25,
            ),
            (
                "chroma_qp_index_offset",
                self.chroma_qp_index_offset.into(),
                -12,
                12,
            ),
            (
                "second_chroma_qp_index_offset",
                self.second_chroma_qp_index_offset.into(),
                -12,
                12,
            ),
        ] {
            within(field, value.into(), min.into(), max.into())?;
        }
        Ok(())
    }
}

/// Scaling lists (`v4l2_ctrl_h264_scaling_matrix`). The kernel's documentation of this control asks
/// for the lists "in raster scan order", that is after the inverse scan of 8.5.6; in the bitstream
/// they are in zig-zag order. Values are 1 to 255.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingMatrix {
    /// Intra Y, Intra Cb, Intra Cr, Inter Y, Inter Cb, Inter Cr.
    pub scaling_list_4x4: [[u8; 16]; 6],
    /// Intra Y, Inter Y, Intra Cb, Inter Cb, Intra Cr, Inter Cr.
    pub scaling_list_8x8: [[u8; 64]; 6],
}

impl ScalingMatrix {
    /// `Flat_4x4_16` and `Flat_8x8_16` (7.4.2.1.1).
    pub const FLAT: ScalingMatrix = ScalingMatrix {
        scaling_list_4x4: [[16; 16]; 6],
        scaling_list_8x8: [[16; 64]; 6],
    };
}

/// Explicit prediction weights of one reference list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightFactors {
    /// -128 to 128.
    pub luma_weight: [i16; 32],
    /// -128 to 127.
    pub luma_offset: [i16; 32],
    /// Cb and Cr, -128 to 128.
    pub chroma_weight: [[i16; 2]; 32],
    /// Cb and Cr, -128 to 127.
    pub chroma_offset: [[i16; 2]; 32],
}

/// Prediction weight table (`v4l2_ctrl_h264_pred_weights`, 7.4.3.2). Weights that are not sent have
/// their inferred values: two to the power of the denominator, offset 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredWeights {
    /// 0 to 7.
    pub luma_log2_weight_denom: u8,
    /// 0 to 7.
    pub chroma_log2_weight_denom: u8,
    /// Of list 0 and list 1.
    pub weight_factors: [WeightFactors; 2],
}

/// An entry of a reference list (`v4l2_h264_reference`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reference {
    /// 1 top field, 2 bottom field, 3 frame.
    pub fields: u8,
    /// Index into [`DecodeParams::dpb`].
    pub index: u8,
}

/// What slices of one picture may differ in (`v4l2_ctrl_h264_slice_params`). Needed by slice-based
/// drivers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceParams {
    /// Bits from the first bit of the NAL unit, its header byte counted and emulation prevention
    /// bytes not, to `slice_data()`.
    pub header_bit_size: u32,
    /// `first_mb_in_slice`.
    pub first_mb_in_slice: u32,
    /// `slice_type` modulo 5.
    pub slice_type: SliceType,
    /// 0 to 2.
    pub colour_plane_id: u8,
    /// 0 to 127.
    pub redundant_pic_cnt: u8,
    /// 0 to 2.
    pub cabac_init_idc: u8,
    /// `slice_qp_delta`.
    pub slice_qp_delta: i8,
    /// `slice_qs_delta`.
    pub slice_qs_delta: i8,
    /// 0 to 2.
    pub disable_deblocking_filter_idc: u8,
    /// -6 to 6.
    pub slice_alpha_c0_offset_div2: i8,
    /// -6 to 6.
    pub slice_beta_offset_div2: i8,
    /// 0 to 31.
    pub num_ref_idx_l0_active_minus1: u8,
    /// 0 to 31.
    pub num_ref_idx_l1_active_minus1: u8,
    /// Lists 0 and 1 after modification. A parser leaves them empty: who holds the pictures fills
    /// them.
    pub ref_pic_list: [[Reference; 32]; 2],
    /// `direct_spatial_mv_pred_flag`.
    pub direct_spatial_mv_pred: bool,
    /// `sp_for_switch_flag`.
    pub sp_for_switch: bool,
}

/// A picture the decoder holds (`v4l2_h264_dpb_entry`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DpbEntry {
    /// Timestamp, in nanoseconds, of the CAPTURE buffer that holds the picture.
    pub reference_ts: u64,
    /// `PicNum`, or `LongTermPicNum` of a long-term reference.
    pub pic_num: i32,
    /// `FrameNum`, or `LongTermFrameIdx` of a long-term reference.
    pub frame_num: u16,
    /// Fields used for reference: 1 top, 2 bottom, 3 both.
    pub fields: u8,
    /// `TopFieldOrderCnt`.
    pub top_field_order_cnt: i32,
    /// `BottomFieldOrderCnt`.
    pub bottom_field_order_cnt: i32,
    /// The entry holds a picture.
    pub valid: bool,
    /// It is a reference.
    pub active: bool,
    /// It is a long-term reference.
    pub long_term: bool,
    /// It is a single field, or a pair of them.
    pub field: bool,
}

/// What all slices of a picture have in common (`v4l2_ctrl_h264_decode_params`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeParams {
    /// The pictures held while this one is decoded.
    pub dpb: [DpbEntry; 16],
    /// 0 to 3.
    pub nal_ref_idc: u8,
    /// `frame_num`.
    pub frame_num: u16,
    /// `TopFieldOrderCnt`.
    pub top_field_order_cnt: i32,
    /// `BottomFieldOrderCnt`.
    pub bottom_field_order_cnt: i32,
    /// `idr_pic_id`.
    pub idr_pic_id: u16,
    /// `pic_order_cnt_lsb`.
    pub pic_order_cnt_lsb: u16,
    /// `delta_pic_order_cnt_bottom`.
    pub delta_pic_order_cnt_bottom: i32,
    /// `delta_pic_order_cnt[0]`.
    pub delta_pic_order_cnt0: i32,
    /// `delta_pic_order_cnt[1]`.
    pub delta_pic_order_cnt1: i32,
    /// Bits of `dec_ref_pic_marking()`.
    pub dec_ref_pic_marking_bit_size: u32,
    /// Bits of the picture order count's syntax elements.
    pub pic_order_cnt_bit_size: u32,
    /// `slice_group_change_cycle`.
    pub slice_group_change_cycle: u32,
    /// An IDR picture.
    pub idr_pic: bool,
    /// A field.
    pub field_pic: bool,
    /// A bottom field.
    pub bottom_field: bool,
    /// The slice is a P slice.
    pub p_frame: bool,
    /// The slice is a B slice.
    pub b_frame: bool,
}
