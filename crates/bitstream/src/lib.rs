//! Codec headers as values: read from bits, written to bits, shaped like the V4L2 stateless controls.
//!
//! A V4L2 stateless client hands a decoder parsed headers (controls) and slice or frame bytes. The
//! daemon turns the controls back into headers for a decoder that wants a whole bitstream; the
//! VA-API driver parses what VA-API does not carry. Both use this room: one file per codec, each
//! opening with the standard and edition it follows.
//!
//! Nothing here does any input or output, keeps a thread or knows a device. Every byte and every
//! struct handed in is taken as hostile: a parser or writer answers it with an error that names the
//! field, never with a panic and never with more memory than the input is long.

#![forbid(unsafe_code)]

pub mod annexb;
pub mod bits;
mod boolean;
pub mod fields;
pub mod h264;
pub mod list;
pub mod mpeg2;
pub mod vp8;
pub mod vp9;
