//! Decode parameter buffers of `va.h` (MPEG-2, H.264), `va_dec_vp8.h` and `va_dec_vp9.h`.

use super::VASurfaceID;
use v4l2::mirror::{constants, structs};
use zerocopy::IntoBytes;

structs! {
    #[derive(IntoBytes)]
    pub struct VAPictureParameterBufferMPEG2 {
        pub horizontal_size: u16,
        pub vertical_size: u16,
        pub forward_reference_picture: VASurfaceID,
        pub backward_reference_picture: VASurfaceID,
        pub picture_coding_type: i32,
        pub f_code: i32,
        pub picture_coding_extension: u32,
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VAIQMatrixBufferMPEG2 {
        pub load_intra_quantiser_matrix: i32,
        pub load_non_intra_quantiser_matrix: i32,
        pub load_chroma_intra_quantiser_matrix: i32,
        pub load_chroma_non_intra_quantiser_matrix: i32,
        pub intra_quantiser_matrix: [u8; 64],
        pub non_intra_quantiser_matrix: [u8; 64],
        pub chroma_intra_quantiser_matrix: [u8; 64],
        pub chroma_non_intra_quantiser_matrix: [u8; 64],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VASliceParameterBufferMPEG2 {
        pub slice_data_size: u32,
        pub slice_data_offset: u32,
        pub slice_data_flag: u32,
        pub macroblock_offset: u32,
        pub slice_horizontal_position: u32,
        pub slice_vertical_position: u32,
        pub quantiser_scale_code: i32,
        pub intra_slice_flag: i32,
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VAPictureH264 {
        pub picture_id: VASurfaceID,
        pub frame_idx: u32,
        pub flags: u32,
        pub TopFieldOrderCnt: i32,
        pub BottomFieldOrderCnt: i32,
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VAPictureParameterBufferH264 {
        pub CurrPic: VAPictureH264,
        pub ReferenceFrames: [VAPictureH264; 16],
        pub picture_width_in_mbs_minus1: u16,
        pub picture_height_in_mbs_minus1: u16,
        pub bit_depth_luma_minus8: u8,
        pub bit_depth_chroma_minus8: u8,
        pub num_ref_frames: u8,
        pub _padding0: u8,
        pub seq_fields: u32,
        pub num_slice_groups_minus1: u8,
        pub slice_group_map_type: u8,
        pub slice_group_change_rate_minus1: u16,
        pub pic_init_qp_minus26: i8,
        pub pic_init_qs_minus26: i8,
        pub chroma_qp_index_offset: i8,
        pub second_chroma_qp_index_offset: i8,
        pub pic_fields: u32,
        pub frame_num: u16,
        pub _padding1: u16,
        pub va_reserved: [u32; 8],
    }

    #[derive(IntoBytes)]
    pub struct VAIQMatrixBufferH264 {
        pub ScalingList4x4: [[u8; 16]; 6],
        pub ScalingList8x8: [[u8; 64]; 2],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VASliceParameterBufferH264 {
        pub slice_data_size: u32,
        pub slice_data_offset: u32,
        pub slice_data_flag: u32,
        pub slice_data_bit_offset: u16,
        pub first_mb_in_slice: u16,
        pub slice_type: u8,
        pub direct_spatial_mv_pred_flag: u8,
        pub num_ref_idx_l0_active_minus1: u8,
        pub num_ref_idx_l1_active_minus1: u8,
        pub cabac_init_idc: u8,
        pub slice_qp_delta: i8,
        pub disable_deblocking_filter_idc: u8,
        pub slice_alpha_c0_offset_div2: i8,
        pub slice_beta_offset_div2: i8,
        pub _padding0: [u8; 3],
        pub RefPicList0: [VAPictureH264; 32],
        pub RefPicList1: [VAPictureH264; 32],
        pub luma_log2_weight_denom: u8,
        pub chroma_log2_weight_denom: u8,
        pub luma_weight_l0_flag: u8,
        pub _padding1: u8,
        pub luma_weight_l0: [i16; 32],
        pub luma_offset_l0: [i16; 32],
        pub chroma_weight_l0_flag: u8,
        pub _padding2: u8,
        pub chroma_weight_l0: [[i16; 2]; 32],
        pub chroma_offset_l0: [[i16; 2]; 32],
        pub luma_weight_l1_flag: u8,
        pub _padding3: u8,
        pub luma_weight_l1: [i16; 32],
        pub luma_offset_l1: [i16; 32],
        pub chroma_weight_l1_flag: u8,
        pub _padding4: u8,
        pub chroma_weight_l1: [[i16; 2]; 32],
        pub chroma_offset_l1: [[i16; 2]; 32],
        pub _padding5: [u8; 2],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VABoolCoderContextVPX {
        pub range: u8,
        pub value: u8,
        pub count: u8,
    }

    #[derive(IntoBytes)]
    pub struct VAPictureParameterBufferVP8 {
        pub frame_width: u32,
        pub frame_height: u32,
        pub last_ref_frame: VASurfaceID,
        pub golden_ref_frame: VASurfaceID,
        pub alt_ref_frame: VASurfaceID,
        pub out_of_loop_frame: VASurfaceID,
        pub pic_fields: u32,
        pub mb_segment_tree_probs: [u8; 3],
        pub loop_filter_level: [u8; 4],
        pub loop_filter_deltas_ref_frame: [i8; 4],
        pub loop_filter_deltas_mode: [i8; 4],
        pub prob_skip_false: u8,
        pub prob_intra: u8,
        pub prob_last: u8,
        pub prob_gf: u8,
        pub y_mode_probs: [u8; 4],
        pub uv_mode_probs: [u8; 3],
        pub mv_probs: [[u8; 19]; 2],
        pub bool_coder_ctx: VABoolCoderContextVPX,
        pub _padding0: u8,
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VASliceParameterBufferVP8 {
        pub slice_data_size: u32,
        pub slice_data_offset: u32,
        pub slice_data_flag: u32,
        pub macroblock_offset: u32,
        pub num_of_partitions: u8,
        pub _padding0: [u8; 3],
        pub partition_size: [u32; 9],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VAProbabilityDataBufferVP8 {
        pub dct_coeff_probs: [[[[u8; 11]; 3]; 8]; 4],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VAIQMatrixBufferVP8 {
        pub quantization_index: [[u16; 6]; 4],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VADecPictureParameterBufferVP9 {
        pub frame_width: u16,
        pub frame_height: u16,
        pub reference_frames: [VASurfaceID; 8],
        pub pic_fields: u32,
        pub filter_level: u8,
        pub sharpness_level: u8,
        pub log2_tile_rows: u8,
        pub log2_tile_columns: u8,
        pub frame_header_length_in_bytes: u8,
        pub _padding0: u8,
        pub first_partition_size: u16,
        pub mb_segment_tree_probs: [u8; 7],
        pub segment_pred_probs: [u8; 3],
        pub profile: u8,
        pub bit_depth: u8,
        pub va_reserved: [u32; 8],
    }

    #[derive(IntoBytes)]
    pub struct VASegmentParameterVP9 {
        pub segment_flags: u16,
        pub filter_level: [[u8; 2]; 4],
        pub luma_ac_quant_scale: i16,
        pub luma_dc_quant_scale: i16,
        pub chroma_ac_quant_scale: i16,
        pub chroma_dc_quant_scale: i16,
        pub _padding0: [u8; 2],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VASliceParameterBufferVP9 {
        pub slice_data_size: u32,
        pub slice_data_offset: u32,
        pub slice_data_flag: u32,
        pub seg_param: [VASegmentParameterVP9; 8],
        pub va_reserved: [u32; 4],
    }
}

constants! {
    pub const VA_SLICE_DATA_FLAG_ALL: u32 = 0x00;
    pub const VA_PICTURE_H264_INVALID: u32 = 0x0000_0001;
    pub const VA_PICTURE_H264_TOP_FIELD: u32 = 0x0000_0002;
    pub const VA_PICTURE_H264_BOTTOM_FIELD: u32 = 0x0000_0004;
    pub const VA_PICTURE_H264_SHORT_TERM_REFERENCE: u32 = 0x0000_0008;
    pub const VA_PICTURE_H264_LONG_TERM_REFERENCE: u32 = 0x0000_0010;
}
