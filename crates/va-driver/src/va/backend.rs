//! `va_backend.h`: what libva and a driver have of each other.

use super::*;
use std::ffi::{c_char, c_int, c_short, c_uchar, c_uint, c_ulong, c_ushort, c_void};
use v4l2::mirror::{Field, Layout, size_of_field};

/// libva's pointer to its own struct.
pub type VADriverContextP = *mut VADriverContext;

/// A callback of libva's for messages.
pub type Callback = unsafe extern "C" fn(VADriverContextP, *const c_char);

macro_rules! layout {
    ($name:ident { $($field:ident),* $(,)? }) => {
        Layout {
            name: stringify!($name),
            size: size_of::<$name>(),
            fields: &[$(
                Field {
                    name: stringify!($field),
                    offset: ::core::mem::offset_of!($name, $field),
                    size: size_of_field(|whole: &$name| whole.$field),
                },
            )*],
        }
    };
}

macro_rules! vtable {
    ($($name:ident($($type:ty),* $(,)?);)*) => {
        /// The functions of a driver; libva allocates it with zeroes.
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        pub struct VADriverVTable {
            $(pub $name: Option<unsafe extern "C" fn(VADriverContextP $(, $type)*) -> VAStatus>,)*
            pub reserved: [c_ulong; 53],
        }

        const VTABLE: Layout = layout!(VADriverVTable { $($name,)* reserved });
    };
}

vtable! {
    vaTerminate();
    vaQueryConfigProfiles(*mut VAProfile, *mut c_int);
    vaQueryConfigEntrypoints(VAProfile, *mut VAEntrypoint, *mut c_int);
    vaGetConfigAttributes(VAProfile, VAEntrypoint, *mut VAConfigAttrib, c_int);
    vaCreateConfig(VAProfile, VAEntrypoint, *mut VAConfigAttrib, c_int, *mut VAConfigID);
    vaDestroyConfig(VAConfigID);
    vaQueryConfigAttributes(VAConfigID, *mut VAProfile, *mut VAEntrypoint, *mut VAConfigAttrib, *mut c_int);
    vaCreateSurfaces(c_int, c_int, c_int, c_int, *mut VASurfaceID);
    vaDestroySurfaces(*mut VASurfaceID, c_int);
    vaCreateContext(VAConfigID, c_int, c_int, c_int, *mut VASurfaceID, c_int, *mut VAContextID);
    vaDestroyContext(VAContextID);
    vaCreateBuffer(VAContextID, VABufferType, c_uint, c_uint, *mut c_void, *mut VABufferID);
    vaBufferSetNumElements(VABufferID, c_uint);
    vaMapBuffer(VABufferID, *mut *mut c_void);
    vaUnmapBuffer(VABufferID);
    vaDestroyBuffer(VABufferID);
    vaBeginPicture(VAContextID, VASurfaceID);
    vaRenderPicture(VAContextID, *mut VABufferID, c_int);
    vaEndPicture(VAContextID);
    vaSyncSurface(VASurfaceID);
    vaQuerySurfaceStatus(VASurfaceID, *mut VASurfaceStatus);
    vaQuerySurfaceError(VASurfaceID, VAStatus, *mut *mut c_void);
    vaPutSurface(VASurfaceID, *mut c_void, c_short, c_short, c_ushort, c_ushort, c_short, c_short, c_ushort, c_ushort, *mut c_void, c_uint, c_uint);
    vaQueryImageFormats(*mut VAImageFormat, *mut c_int);
    vaCreateImage(*mut VAImageFormat, c_int, c_int, *mut VAImage);
    vaDeriveImage(VASurfaceID, *mut VAImage);
    vaDestroyImage(VAImageID);
    vaSetImagePalette(VAImageID, *mut c_uchar);
    vaGetImage(VASurfaceID, c_int, c_int, c_uint, c_uint, VAImageID);
    vaPutImage(VASurfaceID, VAImageID, c_int, c_int, c_uint, c_uint, c_int, c_int, c_uint, c_uint);
    vaQuerySubpictureFormats(*mut VAImageFormat, *mut c_uint, *mut c_uint);
    vaCreateSubpicture(VAImageID, *mut VASubpictureID);
    vaDestroySubpicture(VASubpictureID);
    vaSetSubpictureImage(VASubpictureID, VAImageID);
    vaSetSubpictureChromakey(VASubpictureID, c_uint, c_uint, c_uint);
    vaSetSubpictureGlobalAlpha(VASubpictureID, f32);
    vaAssociateSubpicture(VASubpictureID, *mut VASurfaceID, c_int, c_short, c_short, c_ushort, c_ushort, c_short, c_short, c_ushort, c_ushort, c_uint);
    vaDeassociateSubpicture(VASubpictureID, *mut VASurfaceID, c_int);
    vaQueryDisplayAttributes(*mut c_void, *mut c_int);
    vaGetDisplayAttributes(*mut c_void, c_int);
    vaSetDisplayAttributes(*mut c_void, c_int);
    vaBufferInfo(VABufferID, *mut VABufferType, *mut c_uint, *mut c_uint);
    vaLockSurface(VASurfaceID, *mut c_uint, *mut c_uint, *mut c_uint, *mut c_uint, *mut c_uint, *mut c_uint, *mut c_uint, *mut c_uint, *mut *mut c_void);
    vaUnlockSurface(VASurfaceID);
    vaGetSurfaceAttributes(VAConfigID, *mut VASurfaceAttrib, c_uint);
    vaCreateSurfaces2(c_uint, c_uint, c_uint, *mut VASurfaceID, c_uint, *mut VASurfaceAttrib, c_uint);
    vaQuerySurfaceAttributes(VAConfigID, *mut VASurfaceAttrib, *mut c_uint);
    vaAcquireBufferHandle(VABufferID, *mut c_void);
    vaReleaseBufferHandle(VABufferID);
    vaCreateMFContext(*mut VAMFContextID);
    vaMFAddContext(VAMFContextID, VAContextID);
    vaMFReleaseContext(VAMFContextID, VAContextID);
    vaMFSubmit(VAMFContextID, *mut VAContextID, c_int);
    vaCreateBuffer2(VAContextID, VABufferType, c_uint, c_uint, *mut c_uint, *mut c_uint, *mut VABufferID);
    vaQueryProcessingRate(VAConfigID, *mut c_void, *mut c_uint);
    vaExportSurfaceHandle(VASurfaceID, u32, u32, *mut c_void);
    vaSyncSurface2(VASurfaceID, u64);
    vaSyncBuffer(VABufferID, u64);
    vaCopy(*mut c_void, *mut c_void, c_uint);
    vaMapBuffer2(VABufferID, *mut *mut c_void, u32);
}

macro_rules! context {
    ($($name:ident: $type:ty,)*) => {
        /// What libva keeps for a display and lends to its driver.
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        pub struct VADriverContext {
            $(pub $name: $type,)*
        }

        const CONTEXT: Layout = layout!(VADriverContext { $($name,)* });
    };
}

context! {
    pDriverData: *mut c_void,
    vtable: *mut VADriverVTable,
    vtable_glx: *mut c_void,
    vtable_egl: *mut c_void,
    vtable_tpi: *mut c_void,
    native_dpy: *mut c_void,
    x11_screen: c_int,
    version_major: c_int,
    version_minor: c_int,
    max_profiles: c_int,
    max_entrypoints: c_int,
    max_attributes: c_int,
    max_image_formats: c_int,
    max_subpic_formats: c_int,
    max_display_attributes: c_int,
    str_vendor: *const c_char,
    handle: *mut c_void,
    drm_state: *mut c_void,
    glx: *mut c_void,
    display_type: c_ulong,
    vtable_wayland: *mut c_void,
    vtable_vpp: *mut c_void,
    override_driver_name: *mut c_char,
    pDisplayContext: *mut c_void,
    error_callback: Option<Callback>,
    info_callback: Option<Callback>,
    vtable_prot: *mut c_void,
    reserved: [c_ulong; 37],
}

/// The structs of this file, for the check against the C header.
pub const STRUCTS: &[Layout] = &[VTABLE, CONTEXT];
