//! libva's own types, as its headers have them: names are C's, and what they mean stands there.
//!
//! A C enum is an integer with constants, a C union or a set of bit fields an integer with the
//! union's name. Fields that begin with an underscore are the padding that C leaves without a name,
//! so that every byte of a struct is one of its fields; they have no counterpart in the header.

#![allow(non_snake_case, non_upper_case_globals)]
#![expect(
    missing_docs,
    reason = "fields and constants are libva's, and documented there"
)]

pub mod backend;
pub mod dec;
pub mod drm;

use v4l2::mirror::{Mirror, constants, structs};
use zerocopy::IntoBytes;

/// Everything that stands in this folder, by header.
pub const MIRRORS: &[Mirror] = &[
    Mirror {
        header: "va/va.h",
        structs: STRUCTS,
        constants: CONSTANTS,
    },
    Mirror {
        header: "va/va.h",
        structs: dec::STRUCTS,
        constants: dec::CONSTANTS,
    },
    Mirror {
        header: "va/va_drmcommon.h",
        structs: drm::STRUCTS,
        constants: drm::CONSTANTS,
    },
    Mirror {
        header: "va/va_backend.h",
        structs: backend::STRUCTS,
        constants: &[],
    },
];

pub type VAStatus = i32;
pub type VAGenericID = u32;
pub type VAConfigID = VAGenericID;
pub type VAContextID = VAGenericID;
pub type VASurfaceID = VAGenericID;
pub type VABufferID = VAGenericID;
pub type VAImageID = VAGenericID;
pub type VASubpictureID = VAGenericID;
pub type VAMFContextID = VAGenericID;
pub type VAProfile = i32;
pub type VAEntrypoint = u32;
pub type VABufferType = u32;
pub type VAConfigAttribType = u32;
pub type VASurfaceAttribType = u32;
pub type VAGenericValueType = u32;
pub type VASurfaceStatus = u32;

structs! {
    pub struct VAConfigAttrib {
        pub r#type: VAConfigAttribType,
        pub value: u32,
    }

    pub struct VAGenericValue {
        pub r#type: VAGenericValueType,
        pub _padding0: u32,
        // A union: an integer of 32 bits, a float or an address. The integer is the low half, as
        // memory is little-endian wherever this is built.
        pub value: u64,
    }

    pub struct VASurfaceAttrib {
        pub r#type: VASurfaceAttribType,
        pub flags: u32,
        pub value: VAGenericValue,
    }

    #[derive(IntoBytes)]
    pub struct VAImageFormat {
        pub fourcc: u32,
        pub byte_order: u32,
        pub bits_per_pixel: u32,
        pub depth: u32,
        pub red_mask: u32,
        pub green_mask: u32,
        pub blue_mask: u32,
        pub alpha_mask: u32,
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VAImage {
        pub image_id: VAImageID,
        pub format: VAImageFormat,
        pub buf: VABufferID,
        pub width: u16,
        pub height: u16,
        pub data_size: u32,
        pub num_planes: u32,
        pub pitches: [u32; 3],
        pub offsets: [u32; 3],
        pub num_palette_entries: i32,
        pub entry_bytes: i32,
        pub component_order: [i8; 4],
        pub va_reserved: [u32; 4],
    }

    #[derive(IntoBytes)]
    pub struct VASurfaceDecodeMBErrors {
        pub status: i32,
        pub start_mb: u32,
        pub end_mb: u32,
        pub decode_error_type: u32,
        pub num_mb: u32,
        pub va_reserved: [u32; 3],
    }
}

constants! {
    pub const VA_INVALID_ID: u32 = 0xffff_ffff;
    pub const VA_INVALID_SURFACE: VASurfaceID = VA_INVALID_ID;
    pub const VA_TIMEOUT_INFINITE: u64 = u64::MAX;

    pub const VA_STATUS_SUCCESS: VAStatus = 0x00;
    pub const VA_STATUS_ERROR_OPERATION_FAILED: VAStatus = 0x01;
    pub const VA_STATUS_ERROR_ALLOCATION_FAILED: VAStatus = 0x02;
    pub const VA_STATUS_ERROR_INVALID_DISPLAY: VAStatus = 0x03;
    pub const VA_STATUS_ERROR_INVALID_CONFIG: VAStatus = 0x04;
    pub const VA_STATUS_ERROR_INVALID_CONTEXT: VAStatus = 0x05;
    pub const VA_STATUS_ERROR_INVALID_SURFACE: VAStatus = 0x06;
    pub const VA_STATUS_ERROR_INVALID_BUFFER: VAStatus = 0x07;
    pub const VA_STATUS_ERROR_INVALID_IMAGE: VAStatus = 0x08;
    pub const VA_STATUS_ERROR_ATTR_NOT_SUPPORTED: VAStatus = 0x0a;
    pub const VA_STATUS_ERROR_MAX_NUM_EXCEEDED: VAStatus = 0x0b;
    pub const VA_STATUS_ERROR_UNSUPPORTED_PROFILE: VAStatus = 0x0c;
    pub const VA_STATUS_ERROR_UNSUPPORTED_ENTRYPOINT: VAStatus = 0x0d;
    pub const VA_STATUS_ERROR_UNSUPPORTED_RT_FORMAT: VAStatus = 0x0e;
    pub const VA_STATUS_ERROR_UNSUPPORTED_BUFFERTYPE: VAStatus = 0x0f;
    pub const VA_STATUS_ERROR_SURFACE_BUSY: VAStatus = 0x10;
    pub const VA_STATUS_ERROR_INVALID_PARAMETER: VAStatus = 0x12;
    pub const VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED: VAStatus = 0x13;
    pub const VA_STATUS_ERROR_UNIMPLEMENTED: VAStatus = 0x14;
    pub const VA_STATUS_ERROR_INVALID_IMAGE_FORMAT: VAStatus = 0x16;
    pub const VA_STATUS_ERROR_DECODING_ERROR: VAStatus = 0x17;
    pub const VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE: VAStatus = 0x24;
    pub const VA_STATUS_ERROR_TIMEDOUT: VAStatus = 0x26;

    pub const VA_RT_FORMAT_YUV420: u32 = 0x0000_0001;
    pub const VA_DEC_SLICE_MODE_NORMAL: u32 = 0x0000_0001;
    pub const VA_ATTRIB_NOT_SUPPORTED: u32 = 0x8000_0000;

    pub const VAProfileNone: VAProfile = -1;
    pub const VAProfileMPEG2Simple: VAProfile = 0;
    pub const VAProfileMPEG2Main: VAProfile = 1;
    pub const VAProfileH264Main: VAProfile = 6;
    pub const VAProfileH264High: VAProfile = 7;
    pub const VAProfileH264ConstrainedBaseline: VAProfile = 13;
    pub const VAProfileVP8Version0_3: VAProfile = 14;
    pub const VAProfileVP9Profile0: VAProfile = 19;

    pub const VAEntrypointVLD: VAEntrypoint = 1;

    pub const VAConfigAttribRTFormat: VAConfigAttribType = 0;
    pub const VAConfigAttribDecSliceMode: VAConfigAttribType = 6;
    pub const VAConfigAttribMaxPictureWidth: VAConfigAttribType = 18;
    pub const VAConfigAttribMaxPictureHeight: VAConfigAttribType = 19;

    pub const VAGenericValueTypeInteger: VAGenericValueType = 1;
    pub const VAGenericValueTypePointer: VAGenericValueType = 3;

    pub const VA_SURFACE_ATTRIB_GETTABLE: u32 = 0x0000_0001;
    pub const VA_SURFACE_ATTRIB_SETTABLE: u32 = 0x0000_0002;
    pub const VASurfaceAttribNone: VASurfaceAttribType = 0;
    pub const VASurfaceAttribPixelFormat: VASurfaceAttribType = 1;
    pub const VASurfaceAttribMinWidth: VASurfaceAttribType = 2;
    pub const VASurfaceAttribMaxWidth: VASurfaceAttribType = 3;
    pub const VASurfaceAttribMinHeight: VASurfaceAttribType = 4;
    pub const VASurfaceAttribMaxHeight: VASurfaceAttribType = 5;
    pub const VASurfaceAttribMemoryType: VASurfaceAttribType = 6;
    pub const VASurfaceAttribExternalBufferDescriptor: VASurfaceAttribType = 7;
    pub const VASurfaceAttribUsageHint: VASurfaceAttribType = 8;
    pub const VASurfaceAttribDRMFormatModifiers: VASurfaceAttribType = 9;
    pub const VA_SURFACE_ATTRIB_MEM_TYPE_VA: u32 = 0x0000_0001;

    pub const VASurfaceRendering: VASurfaceStatus = 1;
    pub const VASurfaceReady: VASurfaceStatus = 4;

    pub const VAPictureParameterBufferType: VABufferType = 0;
    pub const VAIQMatrixBufferType: VABufferType = 1;
    pub const VASliceParameterBufferType: VABufferType = 4;
    pub const VASliceDataBufferType: VABufferType = 5;
    pub const VAImageBufferType: VABufferType = 9;
    pub const VAProbabilityBufferType: VABufferType = 13;

    pub const VA_LSB_FIRST: u32 = 1;
    pub const VA_FOURCC_NV12: u32 = 0x3231_564e;
    pub const VA_FOURCC_I420: u32 = 0x3032_3449;

    pub const VA_EXPORT_SURFACE_READ_ONLY: u32 = 0x0001;
    pub const VA_EXPORT_SURFACE_WRITE_ONLY: u32 = 0x0002;
    pub const VA_EXPORT_SURFACE_SEPARATE_LAYERS: u32 = 0x0004;
    pub const VA_EXPORT_SURFACE_COMPOSED_LAYERS: u32 = 0x0008;
}
