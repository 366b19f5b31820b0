//! `linux/v4l2-controls.h`: the stateless codecs' controls, one file per codec. Each opens with the
//! structs that travel as a control's value and goes on with identifiers, flags and menus.

pub mod h264;
pub mod mpeg2;
pub mod vp8;
pub mod vp9;

use crate::mirror::constants;

constants! {
    pub const V4L2_CTRL_CLASS_USER: u32 = 0x0098_0000;
    pub const V4L2_CTRL_CLASS_CODEC: u32 = 0x0099_0000;
    pub const V4L2_CTRL_CLASS_CODEC_STATELESS: u32 = 0x00a4_0000;

    pub const V4L2_CID_BASE: u32 = V4L2_CTRL_CLASS_USER | 0x900;
    pub const V4L2_CID_MIN_BUFFERS_FOR_CAPTURE: u32 = V4L2_CID_BASE + 39;
    pub const V4L2_CID_MIN_BUFFERS_FOR_OUTPUT: u32 = V4L2_CID_BASE + 40;
    pub const V4L2_CID_CODEC_BASE: u32 = V4L2_CTRL_CLASS_CODEC | 0x900;
    pub const V4L2_CID_CODEC_STATELESS_BASE: u32 = V4L2_CTRL_CLASS_CODEC_STATELESS | 0x900;
}
