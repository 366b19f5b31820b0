//! `va_drmcommon.h`: how surfaces are exported and imported as dma-bufs.
//!
//! C gives the parts of a descriptor no names of their own; here they are `Object` and `Layer`.

use v4l2::mirror::{constants, structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One of a descriptor's `objects`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Object {
    pub fd: i32,
    pub size: u32,
    pub drm_format_modifier: u64,
}

/// One of a descriptor's `layers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Layer {
    pub drm_format: u32,
    pub num_planes: u32,
    pub object_index: [u32; 4],
    pub offset: [u32; 4],
    pub pitch: [u32; 4],
}

structs! {
    #[derive(IntoBytes)]
    pub struct VADRMPRIMESurfaceDescriptor {
        pub fourcc: u32,
        pub width: u32,
        pub height: u32,
        pub num_objects: u32,
        pub objects: [Object; 4],
        pub num_layers: u32,
        pub layers: [Layer; 4],
        pub _padding0: u32,
    }

    #[derive(IntoBytes)]
    pub struct VADRMPRIME3SurfaceDescriptor {
        pub fourcc: u32,
        pub width: u32,
        pub height: u32,
        pub num_objects: u32,
        pub objects: [Object; 4],
        pub num_layers: u32,
        pub layers: [Layer; 4],
        pub flags: u32,
        pub reserved: [u32; 7],
        pub _padding0: u32,
    }

    pub struct VADRMFormatModifierList {
        pub num_modifiers: u32,
        pub _padding0: u32,
        pub modifiers: usize,
    }
}

constants! {
    pub const VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3: u32 = 0x0800_0000;
    pub const VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2: u32 = 0x4000_0000;
}

/// `DRM_FORMAT_MOD_LINEAR`, `DRM_FORMAT_MOD_INVALID` and the formats of layers, of `drm_fourcc.h`.
pub const LINEAR: u64 = 0;
/// The modifier is not told.
pub const INVALID: u64 = 0x00ff_ffff_ffff_ffff;
/// `DRM_FORMAT_NV12`.
pub const NV12: u32 = 0x3231_564e;
/// `DRM_FORMAT_R8`: luma alone.
pub const R8: u32 = 0x2020_3852;
/// `DRM_FORMAT_GR88`: pairs of chroma alone.
pub const GR88: u32 = 0x3838_5247;
