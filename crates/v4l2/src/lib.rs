//! V4L2 stateless decoding from Rust: the kernel's structs, its ioctls, and sessions on top.
//!
//! `uapi` mirrors the headers and holds nothing else; whoever only needs the wire format of
//! `kinora_dec` or a control's layout uses that and nothing more. Above it, one file each: `sys` (the
//! border to the kernel, where `fake` can stand), `media` (topology, requests), `find` (which
//! decoders there are), `device` (formats, sizes, controls), `queue` (buffers, one call each) and
//! `session` (a whole stream). Nothing here parses a bitstream: controls come and go as bytes of
//! their C structs.

pub mod device;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod find;
pub mod media;
pub mod mirror;
mod node;
pub mod queue;
pub mod session;
pub mod sys;
pub mod uapi;

pub use error::Error;

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Reads a C struct from the beginning of bytes that came from somewhere else.
///
/// This is the one place where such bytes become a struct: `None` when there are too few of them.
/// Any bytes are a value of a mirrored struct, so what the fields say is the caller's to check. The
/// rest of the bytes is returned as well.
///
/// ```
/// use v4l2::uapi::kinora::kinora_dec_done;
/// let bytes = [7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff];
/// let (done, rest) = v4l2::from_bytes::<kinora_dec_done>(&bytes).unwrap();
/// assert_eq!((done.job, done.status, rest), (7, 1, &[0xff][..]));
/// assert!(v4l2::from_bytes::<kinora_dec_done>(&bytes[..15]).is_none());
/// ```
pub fn from_bytes<T>(bytes: &[u8]) -> Option<(T, &[u8])>
where
    T: FromBytes + Immutable + KnownLayout,
{
    T::read_from_prefix(bytes).ok()
}
