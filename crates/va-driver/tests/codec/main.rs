//! What the codecs make of VA buffers, against what a V4L2 client derives from the same stream: real
//! streams are parsed, their VA buffers are filled as FFmpeg and GStreamer fill them, and controls
//! and data have to be the ones of the parsed headers. Fields that VA cannot carry are rows.
//!
//! The streams that the repository carries are always read, those of the shared media where
//! `KINORA_MEDIA` names them.

#[path = "../../../bitstream/tests/streams/containers.rs"]
mod containers;
mod h264;
mod hostile;
mod mpeg2;
mod vp8;
mod vp9;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use v4l2::device::{Control, Value};
use v4l2::queue::Timestamp;
use v4l2_request_drv_video::codec::{Codec, Refusal, Rendered, Surfaces, Target, Unit};
use v4l2_request_drv_video::va::{
    VABufferType, VAProfile, VASliceDataBufferType, VASliceParameterBufferType, VASurfaceID,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Whose habits buffers are filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Ffmpeg,
    GStreamer,
    /// Data first and all in one buffer, the parameters of slices as one array, those of the picture
    /// last: what libva allows.
    Heaped,
}

const MANNERS: [Manner; 3] = [Manner::Ffmpeg, Manner::GStreamer, Manner::Heaped];

/// A VA buffer.
#[derive(Debug, Clone)]
struct Buffer {
    kind: VABufferType,
    element: usize,
    bytes: Vec<u8>,
}

impl Buffer {
    fn new<T: IntoBytes + Immutable>(kind: VABufferType, value: &T) -> Self {
        Buffer {
            kind,
            element: size_of::<T>(),
            bytes: value.as_bytes().to_vec(),
        }
    }

    fn data(bytes: &[u8]) -> Self {
        Buffer {
            kind: VASliceDataBufferType,
            element: bytes.len(),
            bytes: bytes.to_vec(),
        }
    }
}

/// The buffers of a picture: those of the picture, then parameters and data of its slices.
/// `moved` sets the offset in the parameters of a slice.
fn buffers<T: IntoBytes + Immutable>(
    manner: Manner,
    picture: Vec<Buffer>,
    slices: Vec<(T, &[u8])>,
    moved: impl Fn(&mut T, u32),
) -> Vec<Buffer> {
    if manner != Manner::Heaped {
        let pairs = slices.iter().flat_map(|(parameters, data)| {
            [
                Buffer::new(VASliceParameterBufferType, parameters),
                Buffer::data(data),
            ]
        });
        return picture.into_iter().chain(pairs).collect();
    }
    let mut heap = Vec::new();
    let mut array = Vec::new();
    for (mut parameters, data) in slices {
        moved(&mut parameters, heap.len() as u32);
        heap.extend_from_slice(data);
        array.extend_from_slice(parameters.as_bytes());
    }
    let array = Buffer {
        kind: VASliceParameterBufferType,
        element: size_of::<T>(),
        bytes: array,
    };
    let slices = [Buffer::data(&heap), array];
    slices.into_iter().chain(picture).collect()
}

/// Which picture is in which surface.
#[derive(Debug, Default)]
struct Held(HashMap<VASurfaceID, Timestamp>);

impl Surfaces for Held {
    fn decoded(&self, surface: VASurfaceID) -> Option<Timestamp> {
        self.0.get(&surface).copied()
    }
}

/// The surface that the tests decode a picture into, by the id that parsers know it by: the
/// nanoseconds of its timestamp.
fn surface(id: u64) -> VASurfaceID {
    0x400_0000 + (id / 1000) as u32
}

/// A context as the driver has it.
struct Context {
    codec: Codec,
    held: Held,
    last: u64,
    out: Vec<u8>,
}

impl Context {
    fn new(profile: VAProfile) -> Self {
        Context {
            codec: Codec::new(profile).unwrap(),
            held: Held::default(),
            last: 0,
            out: Vec::new(),
        }
    }

    fn fresh(&mut self) -> Timestamp {
        self.last += 1;
        Timestamp::from_micros(self.last)
    }

    /// Prepares a picture; `fresh` is of this context.
    fn prepare(
        &mut self,
        buffers: &[Buffer],
        surface: VASurfaceID,
        fresh: Timestamp,
    ) -> Result<Unit, Refusal> {
        let rendered: Vec<Rendered<'_>> = buffers
            .iter()
            .map(|buffer| Rendered {
                kind: buffer.kind,
                element: buffer.element,
                bytes: &buffer.bytes,
            })
            .collect();
        let target = Target { surface, fresh };
        self.out.clear();
        self.out.resize(self.codec.room(&rendered), 0xa5);
        let unit = self
            .codec
            .prepare(&rendered, &target, &self.held, &mut self.out)?;
        self.held.0.insert(surface, unit.timestamp);
        self.out.truncate(unit.length);
        Ok(unit)
    }

    /// A control of the picture that was prepared.
    fn control<T: FromBytes>(&self, id: u32) -> T {
        value(&self.codec.controls(), id)
    }
}

fn value<T: FromBytes>(controls: &[Control<'_>], id: u32) -> T {
    let control = controls.iter().find(|control| control.id == id);
    match control.expect("a control").value {
        Value::Bytes(bytes) => T::read_from_bytes(bytes).expect("the struct's size"),
        Value::Integer(_) => panic!("control {id:#x} is a number"),
    }
}

/// The carried streams of these names, and those of the media's manifest whose codec begins with
/// `codec` and whose path with one of `folders`.
fn streams(carried: &[&str], codec: &str, folders: &[&str]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media/decode");
    let mut found: Vec<PathBuf> = carried.iter().map(|name| folder.join(name)).collect();
    if let Some(root) = std::env::var_os("KINORA_MEDIA").map(PathBuf::from) {
        let manifest = std::fs::read_to_string(root.join("MANIFEST.tsv")).expect("manifest");
        for line in manifest.lines() {
            let mut columns = line.split('\t');
            let (file, of) = (columns.next().unwrap(), columns.next().unwrap_or_default());
            if of.starts_with(codec) && folders.iter().any(|folder| file.starts_with(folder)) {
                found.push(root.join(file));
            }
        }
    }
    found
}
