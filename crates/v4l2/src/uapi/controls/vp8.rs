//! `linux/v4l2-controls.h`, VP8: the control of `V4L2_PIX_FMT_VP8_FRAME`. Sections are those of
//! RFC 6386.

use super::{V4L2_CID_CODEC_BASE, V4L2_CID_CODEC_STATELESS_BASE};
use crate::mirror::{constants, structs};
use zerocopy::IntoBytes;

structs! {
    /// Segmentation (RFC 6386, 9.3).
    #[derive(IntoBytes)]
    pub struct v4l2_vp8_segment {
        pub quant_update: [i8; 4],
        pub lf_update: [i8; 4],
        pub segment_probs: [u8; 3],
        pub padding: u8,
        pub flags: u32,
    }

    /// Loop filter (9.6).
    #[derive(IntoBytes)]
    pub struct v4l2_vp8_loop_filter {
        pub ref_frm_delta: [i8; 4],
        pub mb_mode_delta: [i8; 4],
        pub sharpness_level: u8,
        pub level: u8,
        pub padding: u16,
        pub flags: u32,
    }

    /// Quantiser indices (9.6).
    #[derive(IntoBytes)]
    pub struct v4l2_vp8_quantization {
        pub y_ac_qi: u8,
        pub y_dc_delta: i8,
        pub y2_dc_delta: i8,
        pub y2_ac_delta: i8,
        pub uv_dc_delta: i8,
        pub uv_ac_delta: i8,
        pub padding: u16,
    }

    /// Probabilities as they hold for this frame (9.9 to 9.11).
    #[derive(IntoBytes)]
    pub struct v4l2_vp8_entropy {
        pub coeff_probs: [[[[u8; V4L2_VP8_COEFF_PROB_CNT]; 3]; 8]; 4],
        pub y_mode_probs: [u8; 4],
        pub uv_mode_probs: [u8; 3],
        pub mv_probs: [[u8; V4L2_VP8_MV_PROB_CNT]; 2],
        pub padding: [u8; 3],
    }

    /// The boolean decoder where the frame header ends (7.3).
    #[derive(IntoBytes)]
    pub struct v4l2_vp8_entropy_coder_state {
        pub range: u8,
        pub value: u8,
        pub bit_count: u8,
        pub padding: u8,
    }

    /// Frame header (9.2 to 9.11, 19.2).
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_vp8_frame {
        pub segment: v4l2_vp8_segment,
        pub lf: v4l2_vp8_loop_filter,
        pub quant: v4l2_vp8_quantization,
        pub entropy: v4l2_vp8_entropy,
        pub coder_state: v4l2_vp8_entropy_coder_state,
        pub width: u16,
        pub height: u16,
        pub horizontal_scale: u8,
        pub vertical_scale: u8,
        pub version: u8,
        pub prob_skip_false: u8,
        pub prob_intra: u8,
        pub prob_last: u8,
        pub prob_gf: u8,
        pub num_dct_parts: u8,
        pub first_part_size: u32,
        pub first_part_header_bits: u32,
        pub dct_part_sizes: [u32; 8],
        pub last_frame_ts: u64,
        pub golden_frame_ts: u64,
        pub alt_frame_ts: u64,
        pub flags: u64,
    }
}

constants! {
    pub const V4L2_CID_STATELESS_VP8_FRAME: u32 = V4L2_CID_CODEC_STATELESS_BASE + 200;

    pub const V4L2_VP8_SEGMENT_FLAG_ENABLED: u32 = 0x01;
    pub const V4L2_VP8_SEGMENT_FLAG_UPDATE_MAP: u32 = 0x02;
    pub const V4L2_VP8_SEGMENT_FLAG_UPDATE_FEATURE_DATA: u32 = 0x04;
    pub const V4L2_VP8_SEGMENT_FLAG_DELTA_VALUE_MODE: u32 = 0x08;
    pub const V4L2_VP8_LF_ADJ_ENABLE: u32 = 0x01;
    pub const V4L2_VP8_LF_DELTA_UPDATE: u32 = 0x02;
    pub const V4L2_VP8_LF_FILTER_TYPE_SIMPLE: u32 = 0x04;
    pub const V4L2_VP8_COEFF_PROB_CNT: usize = 11;
    pub const V4L2_VP8_MV_PROB_CNT: usize = 19;
    pub const V4L2_VP8_FRAME_FLAG_KEY_FRAME: u64 = 0x01;
    pub const V4L2_VP8_FRAME_FLAG_EXPERIMENTAL: u64 = 0x02;
    pub const V4L2_VP8_FRAME_FLAG_SHOW_FRAME: u64 = 0x04;
    pub const V4L2_VP8_FRAME_FLAG_MB_NO_SKIP_COEFF: u64 = 0x08;
    pub const V4L2_VP8_FRAME_FLAG_SIGN_BIAS_GOLDEN: u64 = 0x10;
    pub const V4L2_VP8_FRAME_FLAG_SIGN_BIAS_ALT: u64 = 0x20;

    pub const V4L2_CID_MPEG_VIDEO_VP8_PROFILE: u32 = V4L2_CID_CODEC_BASE + 511;
    pub const V4L2_MPEG_VIDEO_VP8_PROFILE_0: u32 = 0;
    pub const V4L2_MPEG_VIDEO_VP8_PROFILE_1: u32 = 1;
    pub const V4L2_MPEG_VIDEO_VP8_PROFILE_2: u32 = 2;
    pub const V4L2_MPEG_VIDEO_VP8_PROFILE_3: u32 = 3;
}
