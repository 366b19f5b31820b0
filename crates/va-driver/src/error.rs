//! What can go wrong on this side of libva, said so that the call and the object can be found.
//!
//! `edge` makes a `VAStatus` of it, and nothing else does.

use crate::codec::Refusal;
use crate::table::Kind;
use crate::va::{VABufferType, VAEntrypoint, VAProfile};
use std::borrow::Cow;

/// Why a call of a client did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The display was terminated, or never initialised.
    #[error("the display is not initialised")]
    Display,
    /// Nothing decodes here.
    #[error("no V4L2 stateless decoder answers here")]
    NoDecoder,
    /// An id that names nothing, or something of another kind.
    #[error("no {0} has the id {1:#010x}")]
    Absent(Kind, u32),
    /// An argument that makes no sense.
    #[error("{0}")]
    Parameter(Cow<'static, str>),
    /// A part of VA-API that this driver has not got.
    #[error("not implemented")]
    Unimplemented,
    /// A profile that no decoder of this machine has.
    #[error("profile {0} is not decoded here")]
    Profile(VAProfile),
    /// An entry point other than decoding.
    #[error("entry point {0}")]
    Entrypoint(VAEntrypoint),
    /// An attribute, or a value of one.
    #[error("attribute {kind} may not be: {value:#x}")]
    Attribute {
        /// Its number.
        kind: u32,
        /// Its value.
        value: u64,
    },
    /// A format of surfaces other than 8-bit 4:2:0.
    #[error("surfaces of format {0:#x}")]
    RtFormat(u32),
    /// An image format other than those that `vaQueryImageFormats` names.
    #[error("images of format {0:#x}")]
    ImageFormat(u32),
    /// A type of buffer that decoding has no use for.
    #[error("buffers of type {0}")]
    BufferKind(VABufferType),
    /// A way of sharing memory other than dma-bufs.
    #[error("memory of type {0:#x}")]
    MemoryType(u32),
    /// A size that no decoder takes.
    #[error("no decoder takes {0}x{1}")]
    Size(u32, u32),
    /// There are as many objects as there can be, or as the client has room for.
    #[error("no room for more: {0}")]
    Full(Kind),
    /// No memory.
    #[error("no memory for {0} bytes")]
    Memory(usize),
    /// A context that has begun a picture, or has not.
    #[error("{0}")]
    Order(&'static str),
    /// The time is over and the picture is not done.
    #[error("the time is over")]
    TimedOut,
    /// The picture could not be decoded.
    #[error("the picture of surface {0:#010x} could not be decoded")]
    Undecoded(u32),
    /// A picture that cannot be given to a device.
    #[error("picture")]
    Picture(#[from] Refusal),
    /// The device.
    #[error("device")]
    Device(#[from] v4l2::Error),
    /// A call on the memory of a surface or an image.
    #[error("{0}")]
    System(&'static str, #[source] rustix::io::Errno),
    /// A mistake of this driver.
    #[error("panic: {0}")]
    Panic(String),
}

impl Error {
    /// An argument that makes no sense.
    pub fn parameter(what: impl Into<Cow<'static, str>>) -> Error {
        Error::Parameter(what.into())
    }
}
