//! `src/va` against libva's headers: the compiler of C says whether each struct has its size, each
//! field its place and its size, and each constant its value.
//!
//! The headers are those of this machine (the package libva-dev), which may be older than what is
//! mirrored: what those of libva 2.17 lack stands in `NEWER`.

#[path = "../../v4l2/tests/header/assertions.rs"]
mod assertions;

use assertions::{Check, complaints};
use v4l2_request_drv_video::va::MIRRORS;

const PRIME_3: &str = "defined(VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3)";

/// What libva got after 2.17, and the condition under which headers have it.
const NEWER: &[(&str, &str)] = &[
    ("VADRMPRIME3SurfaceDescriptor", PRIME_3),
    ("VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3", PRIME_3),
    // A function took the first of the reserved places.
    ("VADriverVTable.vaMapBuffer2", "VA_CHECK_VERSION(1, 21, 0)"),
    ("VADriverVTable.reserved", "VA_CHECK_VERSION(1, 21, 0)"),
];

const CHECK: Check<'_> = Check {
    mirrors: MIRRORS,
    newer: NEWER,
    tags: &["VADriverContext", "VADriverVTable"],
};

#[test]
fn libva_is_what_the_headers_say() {
    let said = complaints(&CHECK.program(), None);
    assert!(said.is_empty(), "{said}");
}

/// The check must notice what is wrong: each row spoils the program in one place.
#[test]
fn a_wrong_mirror_is_noticed() {
    let right = CHECK.program();
    let rows = [
        ("sizeof(VAImage) ==", "VAImage"),
        (
            "offsetof(VASliceParameterBufferH264, slice_type) ==",
            "VASliceParameterBufferH264.slice_type",
        ),
        (
            "offsetof(struct VADriverVTable, vaCopy) ==",
            "VADriverVTable.vaCopy",
        ),
        ("(unsigned int)(VA_FOURCC_I420) ==", "VA_FOURCC_I420"),
    ];
    for (place, about) in rows {
        assert!(right.contains(place), "{place}");
        let said = complaints(&right.replace(place, &format!("{place} 1 +")), None);
        assert!(said.contains(about), "{about}: {said}");
    }
}
