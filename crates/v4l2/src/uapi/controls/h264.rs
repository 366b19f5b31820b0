//! `linux/v4l2-controls.h`, H.264: the controls of `V4L2_PIX_FMT_H264_SLICE`. Sections are those of
//! ITU-T H.264.

use super::{V4L2_CID_CODEC_BASE, V4L2_CID_CODEC_STATELESS_BASE};
use crate::mirror::{constants, structs};
use zerocopy::IntoBytes;

structs! {
    /// Sequence parameter set (7.3.2.1.1).
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_h264_sps {
        pub profile_idc: u8,
        pub constraint_set_flags: u8,
        pub level_idc: u8,
        pub seq_parameter_set_id: u8,
        pub chroma_format_idc: u8,
        pub bit_depth_luma_minus8: u8,
        pub bit_depth_chroma_minus8: u8,
        pub log2_max_frame_num_minus4: u8,
        pub pic_order_cnt_type: u8,
        pub log2_max_pic_order_cnt_lsb_minus4: u8,
        pub max_num_ref_frames: u8,
        pub num_ref_frames_in_pic_order_cnt_cycle: u8,
        pub offset_for_ref_frame: [i32; 255],
        pub offset_for_non_ref_pic: i32,
        pub offset_for_top_to_bottom_field: i32,
        pub pic_width_in_mbs_minus1: u16,
        pub pic_height_in_map_units_minus1: u16,
        pub flags: u32,
    }

    /// Picture parameter set (7.3.2.2).
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_h264_pps {
        pub pic_parameter_set_id: u8,
        pub seq_parameter_set_id: u8,
        pub num_slice_groups_minus1: u8,
        pub num_ref_idx_l0_default_active_minus1: u8,
        pub num_ref_idx_l1_default_active_minus1: u8,
        pub weighted_bipred_idc: u8,
        pub pic_init_qp_minus26: i8,
        pub pic_init_qs_minus26: i8,
        pub chroma_qp_index_offset: i8,
        pub second_chroma_qp_index_offset: i8,
        pub flags: u16,
    }

    /// Scaling lists in raster order; the 8x8 ones are Intra Y, Inter Y, Intra Cb, Inter Cb, Intra Cr,
    /// Inter Cr.
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_h264_scaling_matrix {
        pub scaling_list_4x4: [[u8; 16]; 6],
        pub scaling_list_8x8: [[u8; 64]; 6],
    }

    /// Explicit weights of one reference list.
    #[derive(IntoBytes)]
    pub struct v4l2_h264_weight_factors {
        pub luma_weight: [i16; 32],
        pub luma_offset: [i16; 32],
        pub chroma_weight: [[i16; 2]; 32],
        pub chroma_offset: [[i16; 2]; 32],
    }

    /// Prediction weight table (7.3.3.2); of slice-based decoders only.
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_h264_pred_weights {
        pub luma_log2_weight_denom: u16,
        pub chroma_log2_weight_denom: u16,
        pub weight_factors: [v4l2_h264_weight_factors; 2],
    }

    /// One entry of a reference list: an index into the DPB and which of its fields.
    #[derive(IntoBytes)]
    pub struct v4l2_h264_reference {
        pub fields: u8,
        pub index: u8,
    }

    /// Slice header (7.3.3); of slice-based decoders only.
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_h264_slice_params {
        pub header_bit_size: u32,
        pub first_mb_in_slice: u32,
        pub slice_type: u8,
        pub colour_plane_id: u8,
        pub redundant_pic_cnt: u8,
        pub cabac_init_idc: u8,
        pub slice_qp_delta: i8,
        pub slice_qs_delta: i8,
        pub disable_deblocking_filter_idc: u8,
        pub slice_alpha_c0_offset_div2: i8,
        pub slice_beta_offset_div2: i8,
        pub num_ref_idx_l0_active_minus1: u8,
        pub num_ref_idx_l1_active_minus1: u8,
        pub reserved: u8,
        pub ref_pic_list0: [v4l2_h264_reference; V4L2_H264_REF_LIST_LEN],
        pub ref_pic_list1: [v4l2_h264_reference; V4L2_H264_REF_LIST_LEN],
        pub flags: u32,
    }

    /// One picture of the DPB.
    #[derive(IntoBytes)]
    pub struct v4l2_h264_dpb_entry {
        pub reference_ts: u64,
        pub pic_num: u32,
        pub frame_num: u16,
        pub fields: u8,
        pub reserved: [u8; 5],
        pub top_field_order_cnt: i32,
        pub bottom_field_order_cnt: i32,
        pub flags: u32,
    }

    /// What belongs to the picture: its DPB and what all its slice headers agree on.
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_h264_decode_params {
        pub dpb: [v4l2_h264_dpb_entry; V4L2_H264_NUM_DPB_ENTRIES],
        pub nal_ref_idc: u16,
        pub frame_num: u16,
        pub top_field_order_cnt: i32,
        pub bottom_field_order_cnt: i32,
        pub idr_pic_id: u16,
        pub pic_order_cnt_lsb: u16,
        pub delta_pic_order_cnt_bottom: i32,
        pub delta_pic_order_cnt0: i32,
        pub delta_pic_order_cnt1: i32,
        pub dec_ref_pic_marking_bit_size: u32,
        pub pic_order_cnt_bit_size: u32,
        pub slice_group_change_cycle: u32,
        pub reserved: u32,
        pub flags: u32,
    }
}

constants! {
    pub const V4L2_CID_STATELESS_H264_DECODE_MODE: u32 = V4L2_CID_CODEC_STATELESS_BASE;
    pub const V4L2_CID_STATELESS_H264_START_CODE: u32 = V4L2_CID_CODEC_STATELESS_BASE + 1;
    pub const V4L2_CID_STATELESS_H264_SPS: u32 = V4L2_CID_CODEC_STATELESS_BASE + 2;
    pub const V4L2_CID_STATELESS_H264_PPS: u32 = V4L2_CID_CODEC_STATELESS_BASE + 3;
    pub const V4L2_CID_STATELESS_H264_SCALING_MATRIX: u32 = V4L2_CID_CODEC_STATELESS_BASE + 4;
    pub const V4L2_CID_STATELESS_H264_PRED_WEIGHTS: u32 = V4L2_CID_CODEC_STATELESS_BASE + 5;
    pub const V4L2_CID_STATELESS_H264_SLICE_PARAMS: u32 = V4L2_CID_CODEC_STATELESS_BASE + 6;
    pub const V4L2_CID_STATELESS_H264_DECODE_PARAMS: u32 = V4L2_CID_CODEC_STATELESS_BASE + 7;
    pub const V4L2_STATELESS_H264_DECODE_MODE_SLICE_BASED: u32 = 0;
    pub const V4L2_STATELESS_H264_DECODE_MODE_FRAME_BASED: u32 = 1;
    pub const V4L2_STATELESS_H264_START_CODE_NONE: u32 = 0;
    pub const V4L2_STATELESS_H264_START_CODE_ANNEX_B: u32 = 1;

    pub const V4L2_H264_SPS_CONSTRAINT_SET0_FLAG: u8 = 0x01;
    pub const V4L2_H264_SPS_CONSTRAINT_SET1_FLAG: u8 = 0x02;
    pub const V4L2_H264_SPS_CONSTRAINT_SET2_FLAG: u8 = 0x04;
    pub const V4L2_H264_SPS_CONSTRAINT_SET3_FLAG: u8 = 0x08;
    pub const V4L2_H264_SPS_CONSTRAINT_SET4_FLAG: u8 = 0x10;
    pub const V4L2_H264_SPS_CONSTRAINT_SET5_FLAG: u8 = 0x20;
    pub const V4L2_H264_SPS_FLAG_SEPARATE_COLOUR_PLANE: u32 = 0x01;
    pub const V4L2_H264_SPS_FLAG_QPPRIME_Y_ZERO_TRANSFORM_BYPASS: u32 = 0x02;
    pub const V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO: u32 = 0x04;
    pub const V4L2_H264_SPS_FLAG_GAPS_IN_FRAME_NUM_VALUE_ALLOWED: u32 = 0x08;
    pub const V4L2_H264_SPS_FLAG_FRAME_MBS_ONLY: u32 = 0x10;
    pub const V4L2_H264_SPS_FLAG_MB_ADAPTIVE_FRAME_FIELD: u32 = 0x20;
    pub const V4L2_H264_SPS_FLAG_DIRECT_8X8_INFERENCE: u32 = 0x40;
    pub const V4L2_H264_PPS_FLAG_ENTROPY_CODING_MODE: u16 = 0x0001;
    pub const V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT: u16 = 0x0002;
    pub const V4L2_H264_PPS_FLAG_WEIGHTED_PRED: u16 = 0x0004;
    pub const V4L2_H264_PPS_FLAG_DEBLOCKING_FILTER_CONTROL_PRESENT: u16 = 0x0008;
    pub const V4L2_H264_PPS_FLAG_CONSTRAINED_INTRA_PRED: u16 = 0x0010;
    pub const V4L2_H264_PPS_FLAG_REDUNDANT_PIC_CNT_PRESENT: u16 = 0x0020;
    pub const V4L2_H264_PPS_FLAG_TRANSFORM_8X8_MODE: u16 = 0x0040;
    pub const V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT: u16 = 0x0080;
    pub const V4L2_H264_SLICE_TYPE_P: u8 = 0;
    pub const V4L2_H264_SLICE_TYPE_B: u8 = 1;
    pub const V4L2_H264_SLICE_TYPE_I: u8 = 2;
    pub const V4L2_H264_SLICE_TYPE_SP: u8 = 3;
    pub const V4L2_H264_SLICE_TYPE_SI: u8 = 4;
    pub const V4L2_H264_SLICE_FLAG_DIRECT_SPATIAL_MV_PRED: u32 = 0x01;
    pub const V4L2_H264_SLICE_FLAG_SP_FOR_SWITCH: u32 = 0x02;
    pub const V4L2_H264_TOP_FIELD_REF: u8 = 0x1;
    pub const V4L2_H264_BOTTOM_FIELD_REF: u8 = 0x2;
    pub const V4L2_H264_FRAME_REF: u8 = 0x3;
    pub const V4L2_H264_NUM_DPB_ENTRIES: usize = 16;
    pub const V4L2_H264_REF_LIST_LEN: usize = 2 * V4L2_H264_NUM_DPB_ENTRIES;
    pub const V4L2_H264_DPB_ENTRY_FLAG_VALID: u32 = 0x01;
    pub const V4L2_H264_DPB_ENTRY_FLAG_ACTIVE: u32 = 0x02;
    pub const V4L2_H264_DPB_ENTRY_FLAG_LONG_TERM: u32 = 0x04;
    pub const V4L2_H264_DPB_ENTRY_FLAG_FIELD: u32 = 0x08;
    pub const V4L2_H264_DECODE_PARAM_FLAG_IDR_PIC: u32 = 0x01;
    pub const V4L2_H264_DECODE_PARAM_FLAG_FIELD_PIC: u32 = 0x02;
    pub const V4L2_H264_DECODE_PARAM_FLAG_BOTTOM_FIELD: u32 = 0x04;
    pub const V4L2_H264_DECODE_PARAM_FLAG_PFRAME: u32 = 0x08;
    pub const V4L2_H264_DECODE_PARAM_FLAG_BFRAME: u32 = 0x10;

    pub const V4L2_CID_MPEG_VIDEO_H264_PROFILE: u32 = V4L2_CID_CODEC_BASE + 363;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_BASELINE: u32 = 0;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE: u32 = 1;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_MAIN: u32 = 2;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_EXTENDED: u32 = 3;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_HIGH: u32 = 4;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10: u32 = 5;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_422: u32 = 6;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_444_PREDICTIVE: u32 = 7;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10_INTRA: u32 = 8;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_422_INTRA: u32 = 9;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_444_INTRA: u32 = 10;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_CAVLC_444_INTRA: u32 = 11;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_SCALABLE_BASELINE: u32 = 12;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_SCALABLE_HIGH: u32 = 13;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_SCALABLE_HIGH_INTRA: u32 = 14;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_STEREO_HIGH: u32 = 15;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_MULTIVIEW_HIGH: u32 = 16;
    pub const V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_HIGH: u32 = 17;

    pub const V4L2_CID_MPEG_VIDEO_H264_LEVEL: u32 = V4L2_CID_CODEC_BASE + 359;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_1_0: u32 = 0;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_1B: u32 = 1;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_1_1: u32 = 2;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_1_2: u32 = 3;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_1_3: u32 = 4;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_2_0: u32 = 5;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_2_1: u32 = 6;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_2_2: u32 = 7;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_3_0: u32 = 8;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_3_1: u32 = 9;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_3_2: u32 = 10;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_4_0: u32 = 11;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_4_1: u32 = 12;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_4_2: u32 = 13;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_5_0: u32 = 14;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_5_1: u32 = 15;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_5_2: u32 = 16;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_6_0: u32 = 17;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_6_1: u32 = 18;
    pub const V4L2_MPEG_VIDEO_H264_LEVEL_6_2: u32 = 19;
}
