//! `linux/videodev2.h`, as far as a stateless decoder goes: multi-planar formats, buffers, controls.

use crate::mirror::{constants, ior, iow, iowr, structs};
use rustix::ioctl::Opcode;
use zerocopy::IntoBytes;

structs! {
    /// C's `struct timeval`, whose members are `long`.
    pub struct timeval {
        pub tv_sec: isize,
        pub tv_usec: isize,
    }

    /// C's `struct timespec`, whose members are `long`.
    pub struct timespec {
        pub tv_sec: isize,
        pub tv_nsec: isize,
    }

    /// Who drives the node and what it can do.
    pub struct v4l2_capability {
        pub driver: [u8; 16],
        pub card: [u8; 32],
        pub bus_info: [u8; 32],
        pub version: u32,
        pub capabilities: u32,
        pub device_caps: u32,
        pub reserved: [u32; 3],
    }

    /// One format of a queue.
    pub struct v4l2_fmtdesc {
        pub index: u32,
        pub r#type: u32,
        pub flags: u32,
        pub description: [u8; 32],
        pub pixelformat: u32,
        pub mbus_code: u32,
        pub reserved: [u32; 3],
    }

    /// One memory plane of a format.
    #[derive(IntoBytes)]
    pub struct v4l2_plane_pix_format {
        pub sizeimage: u32,
        pub bytesperline: u32,
        pub reserved: [u16; 6],
    }

    /// The multi-planar member of a format.
    #[derive(IntoBytes)]
    pub struct v4l2_pix_format_mplane {
        pub width: u32,
        pub height: u32,
        pub pixelformat: u32,
        pub field: u32,
        pub colorspace: u32,
        pub plane_fmt: [v4l2_plane_pix_format; VIDEO_MAX_PLANES],
        pub num_planes: u8,
        pub flags: u8,
        pub ycbcr_enc: u8,
        pub quantization: u8,
        pub xfer_func: u8,
        pub reserved: [u8; 7],
    }

    /// A queue's format; `fmt` is a union that here begins with a `v4l2_pix_format_mplane`.
    pub struct v4l2_format {
        pub r#type: u32,
        pub fmt: [u64; 25],
    }

    /// Allocates a queue's buffers, or frees them all.
    pub struct v4l2_requestbuffers {
        pub count: u32,
        pub r#type: u32,
        pub memory: u32,
        pub capabilities: u32,
        pub flags: u8,
        pub reserved: [u8; 3],
    }

    /// Adds buffers to a queue.
    pub struct v4l2_create_buffers {
        pub index: u32,
        pub count: u32,
        pub memory: u32,
        pub format: v4l2_format,
        pub capabilities: u32,
        pub flags: u32,
        pub max_num_buffers: u32,
        pub reserved: [u32; 5],
    }

    /// Takes buffers away from a queue (Linux 6.10).
    pub struct v4l2_remove_buffers {
        pub index: u32,
        pub count: u32,
        pub r#type: u32,
        pub reserved: [u32; 13],
    }

    /// One memory plane of a buffer; `m` is an offset, an address or a descriptor.
    pub struct v4l2_plane {
        pub bytesused: u32,
        pub length: u32,
        pub m: usize,
        pub data_offset: u32,
        pub reserved: [u32; 11],
    }

    /// A film's time code; not used by decoders.
    pub struct v4l2_timecode {
        pub r#type: u32,
        pub flags: u32,
        pub frames: u8,
        pub seconds: u8,
        pub minutes: u8,
        pub hours: u8,
        pub userbits: [u8; 4],
    }

    /// A buffer; `m` is the address of its planes, `length` their number.
    pub struct v4l2_buffer {
        pub index: u32,
        pub r#type: u32,
        pub bytesused: u32,
        pub flags: u32,
        pub field: u32,
        pub timestamp: timeval,
        pub timecode: v4l2_timecode,
        pub sequence: u32,
        pub memory: u32,
        pub m: usize,
        pub length: u32,
        pub reserved2: u32,
        pub request_fd: i32,
    }

    /// Gives a plane as a dma-buf.
    pub struct v4l2_exportbuffer {
        pub r#type: u32,
        pub index: u32,
        pub plane: u32,
        pub flags: u32,
        pub fd: i32,
        pub reserved: [u32; 11],
    }

    /// A range of frame sizes; a single size fills the first two words with width and height.
    pub struct v4l2_frmsize_stepwise {
        pub min_width: u32,
        pub max_width: u32,
        pub step_width: u32,
        pub min_height: u32,
        pub max_height: u32,
        pub step_height: u32,
    }

    /// One size, or range of sizes, of a coded format.
    pub struct v4l2_frmsizeenum {
        pub index: u32,
        pub pixel_format: u32,
        pub r#type: u32,
        pub stepwise: v4l2_frmsize_stepwise,
        pub reserved: [u32; 2],
    }

    /// A control of one integer, in the old form.
    pub struct v4l2_control {
        pub id: u32,
        pub value: i32,
    }

    /// One control; `value64` is a union of the value and the address of the value.
    #[repr(packed)]
    pub struct v4l2_ext_control {
        pub id: u32,
        pub size: u32,
        pub reserved2: [u32; 1],
        pub value64: i64,
    }

    /// Several controls at once; `controls` is the address of `count` `v4l2_ext_control`.
    pub struct v4l2_ext_controls {
        pub which: u32,
        pub count: u32,
        pub error_idx: u32,
        pub request_fd: i32,
        pub reserved: [u32; 1],
        pub controls: usize,
    }

    /// Describes a control of one integer.
    pub struct v4l2_queryctrl {
        pub id: u32,
        pub r#type: u32,
        pub name: [u8; 32],
        pub minimum: i32,
        pub maximum: i32,
        pub step: i32,
        pub default_value: i32,
        pub flags: u32,
        pub reserved: [u32; 2],
    }

    /// Describes any control.
    pub struct v4l2_query_ext_ctrl {
        pub id: u32,
        pub r#type: u32,
        pub name: [u8; 32],
        pub minimum: i64,
        pub maximum: i64,
        pub step: u64,
        pub default_value: i64,
        pub flags: u32,
        pub elem_size: u32,
        pub elems: u32,
        pub nr_of_dims: u32,
        pub dims: [u32; V4L2_CTRL_MAX_DIMS],
        pub reserved: [u32; 32],
    }

    /// One entry of a menu; an integer menu has the value in the name's first eight bytes.
    pub struct v4l2_querymenu {
        pub id: u32,
        pub index: u32,
        pub name: [u8; 32],
        pub reserved: u32,
    }

    /// A command to a decoder, with its arguments in `raw`.
    pub struct v4l2_decoder_cmd {
        pub cmd: u32,
        pub flags: u32,
        pub raw: [u32; 16],
    }

    /// Something that happened on a node; `u` holds the particulars.
    pub struct v4l2_event {
        pub r#type: u32,
        pub u: [u64; 8],
        pub pending: u32,
        pub sequence: u32,
        pub timestamp: timespec,
        pub id: u32,
        pub reserved: [u32; 8],
    }

    /// Asks for events.
    pub struct v4l2_event_subscription {
        pub r#type: u32,
        pub id: u32,
        pub flags: u32,
        pub reserved: [u32; 5],
    }
}

/// C's `v4l2_fourcc`.
const fn fourcc(code: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*code)
}

constants! {
    pub const VIDEO_MAX_FRAME: u32 = 32;
    pub const VIDEO_MAX_PLANES: usize = 8;

    pub const V4L2_BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
    pub const V4L2_BUF_TYPE_VIDEO_OUTPUT: u32 = 2;
    pub const V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE: u32 = 9;
    pub const V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE: u32 = 10;

    pub const V4L2_MEMORY_MMAP: u32 = 1;
    pub const V4L2_MEMORY_USERPTR: u32 = 2;
    pub const V4L2_MEMORY_DMABUF: u32 = 4;
    pub const V4L2_MEMORY_FLAG_NON_COHERENT: u8 = 1 << 0;

    pub const V4L2_FIELD_ANY: u32 = 0;
    pub const V4L2_FIELD_NONE: u32 = 1;

    pub const V4L2_CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
    pub const V4L2_CAP_VIDEO_M2M: u32 = 0x0000_8000;
    pub const V4L2_CAP_STREAMING: u32 = 0x0400_0000;
    pub const V4L2_CAP_DEVICE_CAPS: u32 = 0x8000_0000;

    pub const V4L2_PIX_FMT_NV12: u32 = fourcc(b"NV12");
    pub const V4L2_PIX_FMT_P010: u32 = fourcc(b"P010");
    pub const V4L2_PIX_FMT_YUV420M: u32 = fourcc(b"YM12");
    pub const V4L2_PIX_FMT_MPEG2_SLICE: u32 = fourcc(b"MG2S");
    pub const V4L2_PIX_FMT_H264_SLICE: u32 = fourcc(b"S264");
    pub const V4L2_PIX_FMT_VP8_FRAME: u32 = fourcc(b"VP8F");
    pub const V4L2_PIX_FMT_VP9_FRAME: u32 = fourcc(b"VP9F");

    pub const V4L2_FMT_FLAG_COMPRESSED: u32 = 0x0001;
    pub const V4L2_FMT_FLAG_EMULATED: u32 = 0x0002;
    pub const V4L2_FMT_FLAG_DYN_RESOLUTION: u32 = 0x0008;

    pub const V4L2_FRMSIZE_TYPE_DISCRETE: u32 = 1;
    pub const V4L2_FRMSIZE_TYPE_CONTINUOUS: u32 = 2;
    pub const V4L2_FRMSIZE_TYPE_STEPWISE: u32 = 3;

    pub const V4L2_BUF_CAP_SUPPORTS_MMAP: u32 = 1 << 0;
    pub const V4L2_BUF_CAP_SUPPORTS_USERPTR: u32 = 1 << 1;
    pub const V4L2_BUF_CAP_SUPPORTS_DMABUF: u32 = 1 << 2;
    pub const V4L2_BUF_CAP_SUPPORTS_REQUESTS: u32 = 1 << 3;
    pub const V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS: u32 = 1 << 4;
    pub const V4L2_BUF_CAP_SUPPORTS_M2M_HOLD_CAPTURE_BUF: u32 = 1 << 5;
    pub const V4L2_BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS: u32 = 1 << 6;
    pub const V4L2_BUF_CAP_SUPPORTS_MAX_NUM_BUFFERS: u32 = 1 << 7;
    pub const V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS: u32 = 1 << 8;

    pub const V4L2_BUF_FLAG_MAPPED: u32 = 0x0000_0001;
    pub const V4L2_BUF_FLAG_QUEUED: u32 = 0x0000_0002;
    pub const V4L2_BUF_FLAG_DONE: u32 = 0x0000_0004;
    pub const V4L2_BUF_FLAG_ERROR: u32 = 0x0000_0040;
    pub const V4L2_BUF_FLAG_IN_REQUEST: u32 = 0x0000_0080;
    pub const V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF: u32 = 0x0000_0200;
    pub const V4L2_BUF_FLAG_PREPARED: u32 = 0x0000_0400;
    pub const V4L2_BUF_FLAG_TIMESTAMP_COPY: u32 = 0x0000_4000;
    pub const V4L2_BUF_FLAG_LAST: u32 = 0x0010_0000;
    pub const V4L2_BUF_FLAG_REQUEST_FD: u32 = 0x0080_0000;

    pub const V4L2_CTRL_WHICH_CUR_VAL: u32 = 0;
    pub const V4L2_CTRL_WHICH_DEF_VAL: u32 = 0x0f00_0000;
    pub const V4L2_CTRL_WHICH_REQUEST_VAL: u32 = 0x0f01_0000;
    pub const V4L2_CTRL_MAX_DIMS: usize = 4;

    pub const V4L2_CTRL_FLAG_HAS_PAYLOAD: u32 = 0x0100;
    pub const V4L2_CTRL_FLAG_DYNAMIC_ARRAY: u32 = 0x0800;
    pub const V4L2_CTRL_FLAG_NEXT_CTRL: u32 = 0x8000_0000;
    pub const V4L2_CTRL_FLAG_NEXT_COMPOUND: u32 = 0x4000_0000;

    pub const V4L2_CTRL_TYPE_INTEGER: u32 = 1;
    pub const V4L2_CTRL_TYPE_BOOLEAN: u32 = 2;
    pub const V4L2_CTRL_TYPE_MENU: u32 = 3;
    pub const V4L2_CTRL_TYPE_INTEGER64: u32 = 5;
    pub const V4L2_CTRL_TYPE_CTRL_CLASS: u32 = 6;
    pub const V4L2_CTRL_TYPE_INTEGER_MENU: u32 = 9;

    pub const V4L2_DEC_CMD_START: u32 = 0;
    pub const V4L2_DEC_CMD_STOP: u32 = 1;
    pub const V4L2_DEC_CMD_PAUSE: u32 = 2;
    pub const V4L2_DEC_CMD_RESUME: u32 = 3;
    pub const V4L2_DEC_CMD_FLUSH: u32 = 4;

    pub const V4L2_EVENT_EOS: u32 = 2;
    pub const V4L2_EVENT_CTRL: u32 = 3;
    pub const V4L2_EVENT_SOURCE_CHANGE: u32 = 5;

    pub const VIDIOC_QUERYCAP: Opcode = ior::<v4l2_capability>(b'V', 0);
    pub const VIDIOC_ENUM_FMT: Opcode = iowr::<v4l2_fmtdesc>(b'V', 2);
    pub const VIDIOC_G_FMT: Opcode = iowr::<v4l2_format>(b'V', 4);
    pub const VIDIOC_S_FMT: Opcode = iowr::<v4l2_format>(b'V', 5);
    pub const VIDIOC_REQBUFS: Opcode = iowr::<v4l2_requestbuffers>(b'V', 8);
    pub const VIDIOC_QUERYBUF: Opcode = iowr::<v4l2_buffer>(b'V', 9);
    pub const VIDIOC_QBUF: Opcode = iowr::<v4l2_buffer>(b'V', 15);
    pub const VIDIOC_EXPBUF: Opcode = iowr::<v4l2_exportbuffer>(b'V', 16);
    pub const VIDIOC_DQBUF: Opcode = iowr::<v4l2_buffer>(b'V', 17);
    pub const VIDIOC_STREAMON: Opcode = iow::<i32>(b'V', 18);
    pub const VIDIOC_STREAMOFF: Opcode = iow::<i32>(b'V', 19);
    pub const VIDIOC_G_CTRL: Opcode = iowr::<v4l2_control>(b'V', 27);
    pub const VIDIOC_S_CTRL: Opcode = iowr::<v4l2_control>(b'V', 28);
    pub const VIDIOC_QUERYCTRL: Opcode = iowr::<v4l2_queryctrl>(b'V', 36);
    pub const VIDIOC_QUERYMENU: Opcode = iowr::<v4l2_querymenu>(b'V', 37);
    pub const VIDIOC_TRY_FMT: Opcode = iowr::<v4l2_format>(b'V', 64);
    pub const VIDIOC_G_EXT_CTRLS: Opcode = iowr::<v4l2_ext_controls>(b'V', 71);
    pub const VIDIOC_S_EXT_CTRLS: Opcode = iowr::<v4l2_ext_controls>(b'V', 72);
    pub const VIDIOC_TRY_EXT_CTRLS: Opcode = iowr::<v4l2_ext_controls>(b'V', 73);
    pub const VIDIOC_ENUM_FRAMESIZES: Opcode = iowr::<v4l2_frmsizeenum>(b'V', 74);
    pub const VIDIOC_DQEVENT: Opcode = ior::<v4l2_event>(b'V', 89);
    pub const VIDIOC_SUBSCRIBE_EVENT: Opcode = iow::<v4l2_event_subscription>(b'V', 90);
    pub const VIDIOC_UNSUBSCRIBE_EVENT: Opcode = iow::<v4l2_event_subscription>(b'V', 91);
    pub const VIDIOC_CREATE_BUFS: Opcode = iowr::<v4l2_create_buffers>(b'V', 92);
    pub const VIDIOC_PREPARE_BUF: Opcode = iowr::<v4l2_buffer>(b'V', 93);
    pub const VIDIOC_DECODER_CMD: Opcode = iowr::<v4l2_decoder_cmd>(b'V', 96);
    pub const VIDIOC_TRY_DECODER_CMD: Opcode = iowr::<v4l2_decoder_cmd>(b'V', 97);
    pub const VIDIOC_QUERY_EXT_CTRL: Opcode = iowr::<v4l2_query_ext_ctrl>(b'V', 103);
    pub const VIDIOC_REMOVE_BUFS: Opcode = iowr::<v4l2_remove_buffers>(b'V', 104);
}
