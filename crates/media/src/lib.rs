//! The only room that touches FFmpeg's libraries: probe, decode, filter, scale, encode, mux.
//!
//! Every libav object lives behind a small owned type that frees it; no libav type is public.
//! An [`Input`] opens nothing but the file it was given, bounded in time and in picture size; an
//! address only where it is asked for by [`Input::open_live`].
//! What to decode, which rungs to make and where bytes go is decided elsewhere.
//!
//! Without the default feature `full` only the decoder of single access units is there, and
//! libavcodec and libavutil are all that a process loads.
//!
//! Units: times are ticks of a [`Rational`] time base unless a name ends in `_s` (seconds);
//! bit rates are bits per second; sizes are bytes or luma pixels.

mod access_unit;
#[cfg(feature = "full")]
mod audio;
#[cfg(feature = "full")]
mod codec;
#[cfg(feature = "full")]
mod colour;
#[cfg_attr(not(feature = "full"), allow(dead_code))]
mod context;
#[cfg(feature = "full")]
mod decoder;
#[cfg(feature = "full")]
mod dictionary;
#[cfg(feature = "full")]
mod encoder;
#[cfg_attr(not(feature = "full"), allow(dead_code))]
mod error;
#[cfg(feature = "full")]
mod exif;
#[cfg(feature = "full")]
mod file;
#[cfg_attr(not(feature = "full"), allow(dead_code))]
mod format;
#[cfg(feature = "full")]
mod frame;
#[cfg(feature = "full")]
mod graph;
#[cfg(feature = "full")]
mod hardware;
#[cfg(feature = "full")]
mod headers;
#[cfg(feature = "full")]
mod heif;
#[cfg(feature = "full")]
mod input;
#[cfg(feature = "full")]
mod live;
#[cfg_attr(not(feature = "full"), allow(dead_code))]
mod log;
#[cfg(feature = "full")]
mod muxer;
#[cfg(feature = "full")]
mod normalise;
#[cfg(feature = "full")]
mod packet;
#[cfg(feature = "full")]
mod picture;
#[cfg(feature = "full")]
mod pool;
#[cfg(feature = "full")]
mod probe;
#[cfg(feature = "full")]
mod rational;
#[cfg(feature = "full")]
mod render;
#[cfg(feature = "full")]
mod scaler;
#[cfg(feature = "full")]
mod still;
#[cfg(feature = "full")]
mod stream;
#[cfg(feature = "full")]
mod subtitle;
#[cfg(feature = "full")]
mod test_clip;
#[cfg(feature = "full")]
mod thumbnail;

pub use access_unit::{
    AccessUnitDecoder, AccessUnitLimits, Decoded, Destination, Picture, Place, Rows, StatelessCodec,
};
#[cfg(feature = "full")]
pub use audio::{AudioEncoder, AudioEncoderOptions};
#[cfg(feature = "full")]
pub use codec::Parameters;
#[cfg(feature = "full")]
pub use colour::Colour;
#[cfg(feature = "full")]
pub use decoder::Decoder;
#[cfg(feature = "full")]
pub use encoder::{VideoEncoder, VideoEncoderOptions, encoder_build, library_version};
pub use error::{Error, Result};
pub use format::PixelFormat;
#[cfg(feature = "full")]
pub use frame::Frame;
#[cfg(feature = "full")]
pub use graph::{AudioSource, Graph, VideoSource, has_filter};
#[cfg(feature = "full")]
pub use hardware::{
    AV1_ENCODERS, H264_ENCODERS, HEVC_ENCODERS, PRESETS, choose_encoder, choose_h264_encoder,
    trial_encode, trial_speed,
};
#[cfg(feature = "full")]
pub use input::{Input, OpenOptions};
#[cfg(feature = "full")]
pub use live::{LIVE_SCHEMES, LiveOptions};
#[cfg(feature = "full")]
pub use muxer::{Muxer, MuxerStream};
#[cfg(feature = "full")]
pub use normalise::{AudioChain, ColourTreatment, VideoChain};
#[cfg(feature = "full")]
pub use packet::Packet;
#[cfg(feature = "full")]
pub use picture::{Pictured, picture};
#[cfg(feature = "full")]
pub use pool::FramePool;
#[cfg(feature = "full")]
pub use probe::{AudioStream, Probe, SubtitleStream, VideoStream, probe};
#[cfg(feature = "full")]
pub use rational::Rational;
#[cfg(feature = "full")]
pub use render::{Encode, Made, Pace, Recipe, Track, render};
#[cfg(feature = "full")]
pub use scaler::{Geometry, Scaler};
#[cfg(feature = "full")]
pub use stream::{Hdr, Kind, Orientation, Stream, square};
#[cfg(feature = "full")]
pub use subtitle::{Caption, SubtitleDecoder};
#[cfg(feature = "full")]
pub use test_clip::{TestClip, test_clip};
#[cfg(feature = "full")]
pub use thumbnail::{jpeg, thumbnail};
