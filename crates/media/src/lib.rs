//! The only room that touches FFmpeg's libraries: probe, decode, filter, scale, encode, mux.
//!
//! Every libav object lives behind a small owned type that frees it; no libav type is public.
//! An [`Input`] opens nothing but the file it was given, bounded in time and in picture size.
//! What to decode, which rungs to make and where bytes go is decided elsewhere.
//!
//! Units: times are ticks of a [`Rational`] time base unless a name ends in `_s` (seconds);
//! bit rates are bits per second; sizes are bytes or luma pixels.

mod audio;
mod codec;
mod colour;
mod decoder;
mod dictionary;
mod encoder;
mod error;
mod file;
mod format;
mod frame;
mod graph;
mod hardware;
mod headers;
mod input;
mod log;
mod muxer;
mod normalise;
mod packet;
mod probe;
mod rational;
mod scaler;
mod stream;
mod thumbnail;

pub use audio::{AudioEncoder, AudioEncoderOptions};
pub use codec::Parameters;
pub use colour::Colour;
pub use decoder::Decoder;
pub use encoder::{VideoEncoder, VideoEncoderOptions, encoder_build};
pub use error::{Error, Result};
pub use format::PixelFormat;
pub use frame::Frame;
pub use graph::{AudioSource, Graph, VideoSource, has_filter};
pub use hardware::{H264_ENCODERS, choose_h264_encoder, trial_encode};
pub use input::{Input, OpenOptions};
pub use muxer::{Muxer, MuxerStream};
pub use normalise::{AudioChain, ColourTreatment, VideoChain};
pub use packet::Packet;
pub use probe::{AudioStream, Probe, SubtitleStream, VideoStream, probe};
pub use rational::Rational;
pub use scaler::{Geometry, Scaler};
pub use stream::{Hdr, Kind, Orientation, Stream};
pub use thumbnail::thumbnail;
