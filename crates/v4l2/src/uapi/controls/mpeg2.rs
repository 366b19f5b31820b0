//! `linux/v4l2-controls.h`, MPEG-2: the controls of `V4L2_PIX_FMT_MPEG2_SLICE`.

use super::{V4L2_CID_CODEC_BASE, V4L2_CID_CODEC_STATELESS_BASE};
use crate::mirror::{constants, structs};
use zerocopy::IntoBytes;

structs! {
    /// Sequence header and extension (ISO/IEC 13818-2, 6.2.2.1 and 6.2.2.3).
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_mpeg2_sequence {
        pub horizontal_size: u16,
        pub vertical_size: u16,
        pub vbv_buffer_size: u32,
        pub profile_and_level_indication: u16,
        pub chroma_format: u8,
        pub flags: u8,
    }

    /// Picture header and coding extension (6.2.3 and 6.2.3.1).
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_mpeg2_picture {
        pub backward_ref_ts: u64,
        pub forward_ref_ts: u64,
        pub flags: u32,
        pub f_code: [[u8; 2]; 2],
        pub picture_coding_type: u8,
        pub picture_structure: u8,
        pub intra_dc_precision: u8,
        pub reserved: [u8; 5],
    }

    /// The four matrices, in zigzag scanning order (6.3.11).
    #[derive(IntoBytes)]
    pub struct v4l2_ctrl_mpeg2_quantisation {
        pub intra_quantiser_matrix: [u8; 64],
        pub non_intra_quantiser_matrix: [u8; 64],
        pub chroma_intra_quantiser_matrix: [u8; 64],
        pub chroma_non_intra_quantiser_matrix: [u8; 64],
    }
}

constants! {
    pub const V4L2_CID_STATELESS_MPEG2_SEQUENCE: u32 = V4L2_CID_CODEC_STATELESS_BASE + 220;
    pub const V4L2_CID_STATELESS_MPEG2_PICTURE: u32 = V4L2_CID_CODEC_STATELESS_BASE + 221;
    pub const V4L2_CID_STATELESS_MPEG2_QUANTISATION: u32 = V4L2_CID_CODEC_STATELESS_BASE + 222;

    pub const V4L2_MPEG2_SEQ_FLAG_PROGRESSIVE: u8 = 0x01;
    pub const V4L2_MPEG2_PIC_CODING_TYPE_I: u8 = 1;
    pub const V4L2_MPEG2_PIC_CODING_TYPE_P: u8 = 2;
    pub const V4L2_MPEG2_PIC_CODING_TYPE_B: u8 = 3;
    pub const V4L2_MPEG2_PIC_CODING_TYPE_D: u8 = 4;
    pub const V4L2_MPEG2_PIC_TOP_FIELD: u8 = 0x1;
    pub const V4L2_MPEG2_PIC_BOTTOM_FIELD: u8 = 0x2;
    pub const V4L2_MPEG2_PIC_FRAME: u8 = 0x3;
    pub const V4L2_MPEG2_PIC_FLAG_TOP_FIELD_FIRST: u32 = 0x0001;
    pub const V4L2_MPEG2_PIC_FLAG_FRAME_PRED_DCT: u32 = 0x0002;
    pub const V4L2_MPEG2_PIC_FLAG_CONCEALMENT_MV: u32 = 0x0004;
    pub const V4L2_MPEG2_PIC_FLAG_Q_SCALE_TYPE: u32 = 0x0008;
    pub const V4L2_MPEG2_PIC_FLAG_INTRA_VLC: u32 = 0x0010;
    pub const V4L2_MPEG2_PIC_FLAG_ALT_SCAN: u32 = 0x0020;
    pub const V4L2_MPEG2_PIC_FLAG_REPEAT_FIRST: u32 = 0x0040;
    pub const V4L2_MPEG2_PIC_FLAG_PROGRESSIVE: u32 = 0x0080;

    pub const V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE: u32 = V4L2_CID_CODEC_BASE + 271;
    pub const V4L2_MPEG_VIDEO_MPEG2_PROFILE_SIMPLE: u32 = 0;
    pub const V4L2_MPEG_VIDEO_MPEG2_PROFILE_MAIN: u32 = 1;
    pub const V4L2_MPEG_VIDEO_MPEG2_PROFILE_SNR_SCALABLE: u32 = 2;
    pub const V4L2_MPEG_VIDEO_MPEG2_PROFILE_SPATIALLY_SCALABLE: u32 = 3;
    pub const V4L2_MPEG_VIDEO_MPEG2_PROFILE_HIGH: u32 = 4;
    pub const V4L2_MPEG_VIDEO_MPEG2_PROFILE_MULTIVIEW: u32 = 5;

    pub const V4L2_CID_MPEG_VIDEO_MPEG2_LEVEL: u32 = V4L2_CID_CODEC_BASE + 270;
    pub const V4L2_MPEG_VIDEO_MPEG2_LEVEL_LOW: u32 = 0;
    pub const V4L2_MPEG_VIDEO_MPEG2_LEVEL_MAIN: u32 = 1;
    pub const V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH_1440: u32 = 2;
    pub const V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH: u32 = 3;
}
