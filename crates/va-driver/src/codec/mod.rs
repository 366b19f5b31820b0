//! From VA parameter buffers to V4L2 controls and the bytes of an OUTPUT buffer: one file per codec.
//!
//! ```text
//!  [Rendered] ──▶ room() ──▶ OUTPUT buffer ──▶ prepare() ──▶ Unit ──▶ start_controls(), controls()
//! ```
//!
//! No device, no ioctl, no memory of surfaces: which picture a surface holds is asked of
//! [`Surfaces`]. A [`Codec`] belongs to one VA context and keeps what the codec leaves from picture
//! to picture and VA does not carry. Everything in a VA buffer is checked here, before it is used;
//! what is wrong is a [`Refusal`], which leaves the state as it was. Nothing is allocated for a
//! picture.
//!
//! The slice or frame data is copied once, from the VA buffer into `out`.

#![forbid(unsafe_code)]

pub mod h264;
pub mod mpeg2;
pub mod vp8;
pub mod vp9;

use crate::va::{self, *};
use std::ops::Deref;
use v4l2::device::Control;
use v4l2::queue::Timestamp;
use v4l2::uapi::videodev2::{
    V4L2_PIX_FMT_H264_SLICE, V4L2_PIX_FMT_MPEG2_SLICE, V4L2_PIX_FMT_VP8_FRAME,
    V4L2_PIX_FMT_VP9_FRAME,
};
use zerocopy::FromBytes;

/// One buffer given to `vaRenderPicture` between `vaBeginPicture` and `vaEndPicture`; they come in
/// the order in which they were given.
#[derive(Debug, Clone, Copy)]
pub struct Rendered<'a> {
    /// `VA*BufferType`.
    pub kind: VABufferType,
    /// Bytes of one element, as `vaCreateBuffer` was told.
    pub element: usize,
    /// All elements.
    pub bytes: &'a [u8],
}

/// What surfaces hold.
pub trait Surfaces {
    /// What names the picture in a surface: the [`Unit::timestamp`] of the decode in this context
    /// that filled it, or is filling it. `None`: nothing was decoded into it here, be it that there
    /// is no such surface.
    ///
    /// Timestamps are above 0 and never used twice in a context.
    fn decoded(&self, surface: VASurfaceID) -> Option<Timestamp>;
}

/// Where a picture goes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The surface of `vaBeginPicture`.
    pub surface: VASurfaceID,
    /// A timestamp that nothing has, for this picture unless it is a second field.
    pub fresh: Timestamp,
}

/// What a picture is a part of, which decides over the hold of its CAPTURE buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A whole frame.
    Frame,
    /// The first of two fields: the CAPTURE buffer waits for the second, if that comes.
    FirstField,
    /// The second field of the frame whose first field was the picture before. Should the device not
    /// have taken that, this one goes to any CAPTURE buffer: it is a frame with one field missing.
    SecondField,
}

/// A picture that was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Bytes used of the OUTPUT buffer.
    pub length: usize,
    /// What it is a part of.
    pub place: Place,
    /// The timestamp of its OUTPUT buffer: [`Target::fresh`], or that of the first field.
    pub timestamp: Timestamp,
    /// Coded luma samples and rows; VP8 and VP9 change them within a stream.
    pub size: (u32, u32),
}

/// Why a picture cannot be given to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A buffer that every picture has.
    #[error("no {0} was rendered")]
    Missing(&'static str),
    /// A buffer that is too short for what it should hold.
    #[error("{buffer} has elements of {element} bytes in {length} bytes, {needed} are needed")]
    Short {
        /// The struct's name in libva.
        buffer: &'static str,
        /// Bytes of an element.
        element: usize,
        /// Bytes of all.
        length: usize,
        /// Bytes of the struct.
        needed: usize,
    },
    /// Slice parameters and slice data cannot be told to belong together.
    #[error("{parameters} slice parameter buffers for {data} slice data buffers")]
    Pairs {
        /// Parameter buffers.
        parameters: usize,
        /// Data buffers.
        data: usize,
    },
    /// A slice is not in its data buffer.
    #[error("slice {slice}: {size} bytes at {offset} are not in the slice data of {length}")]
    Slice {
        /// Counted from 0 within the picture.
        slice: usize,
        /// `slice_data_offset`.
        offset: u32,
        /// `slice_data_size`.
        size: u32,
        /// Bytes of the slice data buffer.
        length: usize,
    },
    /// A field has a value that it may not have, or that is not decoded here.
    #[error("{buffer}: {field} may not be: {value}")]
    Value {
        /// The struct's name in libva.
        buffer: &'static str,
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The OUTPUT buffer is too small.
    #[error("the OUTPUT buffer of {room} bytes has no room for slice {slice}")]
    Room {
        /// Bytes of the buffer.
        room: usize,
        /// Counted from 0 within the picture.
        slice: usize,
    },
    /// An H.264 sequence or picture parameter set, made of `VAPictureParameterBufferH264`.
    #[error("parameter sets")]
    H264Sets(#[source] bitstream::h264::Error),
    /// A slice of another picture than the first.
    #[error("slice {slice} begins another picture")]
    OtherPicture {
        /// Counted from 0 within the picture.
        slice: usize,
    },
    /// An H.264 slice header in the slice data.
    #[error("slice {slice}")]
    H264 {
        /// Counted from 0 within the picture.
        slice: usize,
        /// What is wrong with it.
        source: bitstream::h264::Error,
    },
    /// The VP8 frame header in the slice data.
    #[error("frame header")]
    Vp8(#[from] bitstream::vp8::ParseError),
    /// The VP9 frame header in the slice data.
    #[error("frame header")]
    Vp9(#[from] bitstream::vp9::ParseError),
}

/// Most controls that a picture has.
const MAX_CONTROLS: usize = 5;

/// A few controls, in place.
#[derive(Debug, Clone, Copy)]
pub struct Controls<'a> {
    list: [Control<'a>; MAX_CONTROLS],
    length: usize,
}

impl<'a, const N: usize> From<[Control<'a>; N]> for Controls<'a> {
    fn from(given: [Control<'a>; N]) -> Self {
        const { assert!(N <= MAX_CONTROLS) };
        let mut list = [Control::integer(0, 0); MAX_CONTROLS];
        list[..N].copy_from_slice(&given);
        Controls { list, length: N }
    }
}

impl<'a> Deref for Controls<'a> {
    type Target = [Control<'a>];

    fn deref(&self) -> &[Control<'a>] {
        &self.list[..self.length]
    }
}

/// The codec of a VA context and what it keeps over a stream.
#[derive(Debug)]
pub struct Codec(State);

#[derive(Debug)]
enum State {
    Mpeg2(Box<mpeg2::Mpeg2>),
    H264(Box<h264::H264>),
    Vp8(Box<vp8::Vp8>),
    Vp9(Box<vp9::Vp9>),
}

/// Profiles that are decoded here, if a device does.
const PROFILES: &[(VAProfile, u32)] = &[
    (VAProfileMPEG2Simple, V4L2_PIX_FMT_MPEG2_SLICE),
    (VAProfileMPEG2Main, V4L2_PIX_FMT_MPEG2_SLICE),
    (VAProfileH264ConstrainedBaseline, V4L2_PIX_FMT_H264_SLICE),
    (VAProfileH264Main, V4L2_PIX_FMT_H264_SLICE),
    (VAProfileH264High, V4L2_PIX_FMT_H264_SLICE),
    (VAProfileVP8Version0_3, V4L2_PIX_FMT_VP8_FRAME),
    (VAProfileVP9Profile0, V4L2_PIX_FMT_VP9_FRAME),
];

/// `V4L2_PIX_FMT_*` of a profile that is decoded here.
pub fn coded(profile: VAProfile) -> Option<u32> {
    let row = PROFILES.iter().find(|(row, _)| *row == profile);
    row.map(|(_, coded)| *coded)
}

/// Bytes that may be added to a slice: a start code, the frame tag of VP8, or what an H.264 slice
/// gets longer by when its order count is written anew.
const ADDED: usize = 24;

/// No codec's slice parameters are shorter; what is, is refused, and needs no room.
const LEAST_PARAMETERS: usize = size_of::<dec::VASliceParameterBufferMPEG2>();

impl Codec {
    /// The codec of a profile, with nothing decoded yet; none for a profile that is not decoded here.
    pub fn new(profile: VAProfile) -> Option<Codec> {
        let state = match coded(profile)? {
            V4L2_PIX_FMT_MPEG2_SLICE => State::Mpeg2(Box::new(mpeg2::Mpeg2::new(profile))),
            V4L2_PIX_FMT_H264_SLICE => State::H264(Box::new(h264::H264::new(profile))),
            V4L2_PIX_FMT_VP8_FRAME => State::Vp8(Box::default()),
            V4L2_PIX_FMT_VP9_FRAME => State::Vp9(Box::default()),
            _ => return None,
        };
        Some(Codec(state))
    }

    /// `V4L2_PIX_FMT_*` of the data.
    pub fn coded(&self) -> u32 {
        match &self.0 {
            State::Mpeg2(_) => V4L2_PIX_FMT_MPEG2_SLICE,
            State::H264(_) => V4L2_PIX_FMT_H264_SLICE,
            State::Vp8(_) => V4L2_PIX_FMT_VP8_FRAME,
            State::Vp9(_) => V4L2_PIX_FMT_VP9_FRAME,
        }
    }

    /// Bytes that the OUTPUT buffer for these must have.
    pub fn room(&self, rendered: &[Rendered<'_>]) -> usize {
        let needed = |buffer: &Rendered<'_>| match buffer.kind {
            va::VASliceDataBufferType => buffer.bytes.len(),
            va::VASliceParameterBufferType => {
                ADDED * (buffer.bytes.len() / buffer.element.max(LEAST_PARAMETERS))
            }
            _ => 0,
        };
        rendered
            .iter()
            .map(needed)
            .fold(0, |all, one| all.saturating_add(one))
    }

    /// Prepares a picture: fills the controls and writes the data for OUTPUT to `out`.
    ///
    /// # Errors
    /// The picture cannot be given to a device. The next picture is prepared as if this one had not
    /// been.
    pub fn prepare(
        &mut self,
        rendered: &[Rendered<'_>],
        target: &Target,
        surfaces: &dyn Surfaces,
        out: &mut [u8],
    ) -> Result<Unit, Refusal> {
        let picture = Picture {
            rendered,
            target,
            surfaces,
        };
        let mut out = Output { out, length: 0 };
        match &mut self.0 {
            State::Mpeg2(codec) => codec.prepare(&picture, &mut out),
            State::H264(codec) => codec.prepare(&picture, &mut out),
            State::Vp8(codec) => codec.prepare(&picture, &mut out),
            State::Vp9(codec) => codec.prepare(&picture, &mut out),
        }
    }

    /// The controls of the picture that was prepared last. The caller leaves out those that its
    /// device does not have.
    pub fn controls(&self) -> Controls<'_> {
        match &self.0 {
            State::Mpeg2(codec) => codec.controls(),
            State::H264(codec) => codec.controls(),
            State::Vp8(codec) => codec.controls(),
            State::Vp9(codec) => codec.controls(),
        }
    }

    /// The controls that decide the format of CAPTURE, to be set on the device itself between the
    /// formats of OUTPUT and CAPTURE; of the picture that was prepared last.
    pub fn start_controls(&self) -> Controls<'_> {
        match &self.0 {
            State::Mpeg2(codec) => codec.start_controls(),
            State::H264(codec) => codec.start_controls(),
            // Its pictures have one format.
            State::Vp8(_) => Controls::from([]),
            State::Vp9(codec) => codec.start_controls(),
        }
    }
}

/// What [`Codec::prepare`] was given.
struct Picture<'a> {
    rendered: &'a [Rendered<'a>],
    target: &'a Target,
    surfaces: &'a dyn Surfaces,
}

/// A struct of libva's that a buffer holds.
trait Parameters: FromBytes {
    /// Its name.
    const NAME: &'static str;
}

/// A struct of libva's that says where a slice lies.
trait SliceParameters: Parameters {
    /// `slice_data_offset`, `slice_data_size` and `slice_data_flag`.
    fn place(&self) -> [u32; 3];
}

macro_rules! parameters {
    ($($name:ident)*) => {
        $(impl Parameters for dec::$name {
            const NAME: &'static str = stringify!($name);
        })*
    };
}

macro_rules! slice_parameters {
    ($($name:ident)*) => {
        parameters!($($name)*);
        $(impl SliceParameters for dec::$name {
            fn place(&self) -> [u32; 3] {
                [self.slice_data_offset, self.slice_data_size, self.slice_data_flag]
            }
        })*
    };
}

parameters! {
    VAPictureParameterBufferMPEG2
    VAIQMatrixBufferMPEG2
    VAPictureParameterBufferH264
    VAIQMatrixBufferH264
    VAPictureParameterBufferVP8
    VAProbabilityDataBufferVP8
    VAIQMatrixBufferVP8
    VADecPictureParameterBufferVP9
}

slice_parameters! {
    VASliceParameterBufferMPEG2
    VASliceParameterBufferH264
    VASliceParameterBufferVP8
    VASliceParameterBufferVP9
}

/// One slice, or the frame of a codec that has no slices here.
struct Slice<'a, T> {
    /// Counted from 0.
    number: usize,
    parameters: T,
    /// The slice data buffer.
    buffer: &'a [u8],
}

impl<'a, T: SliceParameters> Slice<'a, T> {
    /// The slice's bytes.
    fn bytes(&self) -> Result<&'a [u8], Refusal> {
        let [_, size, _] = self.parameters.place();
        let behind = self.behind()?;
        behind.get(..size as usize).ok_or(self.outside())
    }

    /// The slice's bytes, where GStreamer and Chromium count what is ahead of the offset into the
    /// size.
    fn bytes_to_end(&self) -> Result<&'a [u8], Refusal> {
        let [_, size, _] = self.parameters.place();
        let behind = self.behind()?;
        Ok(&behind[..behind.len().min(size as usize)])
    }

    fn behind(&self) -> Result<&'a [u8], Refusal> {
        let [offset, _, flag] = self.parameters.place();
        if flag != dec::VA_SLICE_DATA_FLAG_ALL {
            return Err(value::<T>("slice_data_flag", flag));
        }
        self.buffer.get(offset as usize..).ok_or(self.outside())
    }

    fn outside(&self) -> Refusal {
        let [offset, size, _] = self.parameters.place();
        Refusal::Slice {
            slice: self.number,
            offset,
            size,
            length: self.buffer.len(),
        }
    }
}

fn value<T: Parameters>(field: &'static str, value: impl Into<i64>) -> Refusal {
    Refusal::Value {
        buffer: T::NAME,
        field,
        value: value.into(),
    }
}

impl<'a> Picture<'a> {
    fn of_kind(&self, kind: VABufferType) -> impl Iterator<Item = &'a Rendered<'a>> + use<'a> {
        self.rendered
            .iter()
            .filter(move |buffer| buffer.kind == kind)
    }

    /// The buffer of a kind that there is once: the last one, should there be several.
    fn optional<T: Parameters>(&self, kind: VABufferType) -> Result<Option<T>, Refusal> {
        let last = self.of_kind(kind).last();
        last.map(|buffer| element(buffer, buffer.bytes)).transpose()
    }

    fn required<T: Parameters>(&self, kind: VABufferType) -> Result<T, Refusal> {
        self.optional(kind)?.ok_or(Refusal::Missing(T::NAME))
    }

    /// The slices in their order. The nth buffer of parameters belongs to the nth buffer of data,
    /// in whatever order they came; or all of them to the one that there is.
    fn slices<T: SliceParameters>(
        &self,
    ) -> Result<impl Iterator<Item = Result<Slice<'a, T>, Refusal>> + use<'a, T>, Refusal> {
        let parameters = self.of_kind(va::VASliceParameterBufferType);
        let data = self.of_kind(va::VASliceDataBufferType);
        let [count, datas] = [parameters.count(), data.count()];
        if count == 0 {
            return Err(Refusal::Missing(T::NAME));
        }
        if datas != 1 && datas != count {
            return Err(Refusal::Pairs {
                parameters: count,
                data: datas,
            });
        }
        let parameters = self.of_kind(va::VASliceParameterBufferType);
        let mut data = self.of_kind(va::VASliceDataBufferType);
        let first = self.of_kind(va::VASliceDataBufferType).next();
        let paired = parameters.map(move |buffer| (buffer, data.next().or(first)));
        let slices = paired.flat_map(|(buffer, data)| {
            // Elements of no bytes are too short for any struct.
            let elements = buffer.bytes.chunks(buffer.element.max(1));
            elements.map(move |bytes| (buffer, bytes, data))
        });
        let slices = slices.enumerate();
        Ok(slices.map(|(number, (buffer, bytes, data))| {
            Ok(Slice {
                number,
                parameters: element(buffer, bytes)?,
                buffer: data.ok_or(Refusal::Missing("VASliceDataBuffer"))?.bytes,
            })
        }))
    }

    /// The only slice of a codec whose frames are whole.
    fn frame<T: SliceParameters>(&self) -> Result<Slice<'a, T>, Refusal> {
        let mut slices = self.slices()?;
        let first = slices.next().ok_or(Refusal::Missing(T::NAME))?;
        match slices.next() {
            None => first,
            Some(_) => Err(value::<T>("number of slices", 2)),
        }
    }

    /// What names the picture in a surface.
    fn decoded(&self, surface: VASurfaceID) -> Option<Timestamp> {
        if surface == VA_INVALID_SURFACE {
            return None;
        }
        self.surfaces.decoded(surface)
    }
}

/// A struct out of the bytes of one element.
fn element<T: Parameters>(buffer: &Rendered<'_>, bytes: &[u8]) -> Result<T, Refusal> {
    let short = Refusal::Short {
        buffer: T::NAME,
        element: buffer.element,
        length: buffer.bytes.len(),
        needed: size_of::<T>(),
    };
    let bytes = bytes.get(..buffer.element.min(bytes.len()));
    let read = bytes.and_then(|bytes| T::read_from_prefix(bytes).ok());
    read.map(|(value, _)| value).ok_or(short)
}

/// The OUTPUT buffer as far as it is filled.
struct Output<'a> {
    out: &'a mut [u8],
    length: usize,
}

impl Output<'_> {
    /// Appends bytes of a slice.
    fn append(&mut self, slice: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let room = self.out.len();
        let place = self.out[self.length..].get_mut(..bytes.len());
        let place = place.ok_or(Refusal::Room { room, slice })?;
        place.copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }
}

/// The kernel's word for a reference that is not there.
const NO_PICTURE: u64 = 0;

/// What `reference_ts` fields of controls name a picture by.
fn named(picture: Option<Timestamp>) -> u64 {
    picture.map_or(NO_PICTURE, Timestamp::nanos)
}

/// A field whose other one may follow.
#[derive(Debug, Clone, Copy)]
struct FirstField {
    surface: VASurfaceID,
    timestamp: Timestamp,
    /// Whether it is the bottom field.
    is_bottom: bool,
}

impl FirstField {
    /// Whether a picture in this surface is the other field of the same frame. Clients take a
    /// surface for each frame and give both fields to it, one after the other.
    fn is_completed_by(&self, surface: VASurfaceID, is_bottom: bool) -> bool {
        self.surface == surface && self.is_bottom != is_bottom
    }
}
