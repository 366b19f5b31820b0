//! The kernel's structs, constants and ioctl numbers, and nothing else.
//!
//! Names are C's, so that the kernel's documentation finds them and a constant is spelt in one way
//! only; what a field means stands there. A C union is here an integer, or an array of them, with
//! the union's name or that of the member in use. `tests/header.rs` holds every line of this folder
//! against the headers.

#![allow(non_camel_case_types)]
#![expect(
    missing_docs,
    reason = "fields and constants are the kernel's, and documented there"
)]

pub mod controls;
pub mod dma_buf;
pub mod kinora;
pub mod media;
pub mod videodev2;

use crate::mirror::Mirror;

macro_rules! mirror {
    ($header:literal, $($module:ident)::+) => {
        Mirror {
            header: $header,
            structs: $($module)::+::STRUCTS,
            constants: $($module)::+::CONSTANTS,
        }
    };
}

/// Everything that stands in this folder, by header.
pub const MIRRORS: &[Mirror] = &[
    mirror!("linux/videodev2.h", videodev2),
    mirror!("linux/media.h", media),
    mirror!("linux/dma-buf.h", dma_buf),
    mirror!("linux/kinora_dec.h", kinora),
    Mirror {
        header: "linux/videodev2.h",
        structs: &[],
        constants: controls::CONSTANTS,
    },
    mirror!("linux/videodev2.h", controls::mpeg2),
    mirror!("linux/videodev2.h", controls::h264),
    mirror!("linux/videodev2.h", controls::vp8),
    mirror!("linux/videodev2.h", controls::vp9),
];
