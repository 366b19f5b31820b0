//! Any VA buffers of pictures, one after the other in one context: what becomes controls fits the
//! OUTPUT buffer, and nothing else happens than a refusal.
//!
//! A picture begins with plain parameters of its kind, which the input changes, so that few bytes are
//! enough for a good one; slices take their data from the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;
use std::mem::offset_of;
use v4l2::queue::Timestamp;
use va_driver::codec::{Codec, Rendered, Surfaces, Target};
use va_driver::va::dec::*;
use va_driver::va::*;

/// What a picture of a profile is made of.
struct Kind {
    profile: VAProfile,
    /// Bytes of the parameters of a picture, of its matrices, its probabilities and of a slice.
    sizes: [usize; 4],
    /// Bytes of the picture's parameters that are not 0 to begin with, so that it is not refused for
    /// them.
    given: &'static [(usize, u8)],
}

#[rustfmt::skip]
const KINDS: [Kind; 4] = [
    Kind {
        profile: VAProfileMPEG2Main,
        sizes: [
            size_of::<VAPictureParameterBufferMPEG2>(), size_of::<VAIQMatrixBufferMPEG2>(), 0,
            size_of::<VASliceParameterBufferMPEG2>(),
        ],
        given: &[
            (offset_of!(VAPictureParameterBufferMPEG2, horizontal_size), 16),
            (offset_of!(VAPictureParameterBufferMPEG2, vertical_size), 16),
            (offset_of!(VAPictureParameterBufferMPEG2, picture_coding_type), 2),
            (offset_of!(VAPictureParameterBufferMPEG2, picture_coding_extension), 12),
        ],
    },
    Kind {
        profile: VAProfileH264High,
        sizes: [
            size_of::<VAPictureParameterBufferH264>(), size_of::<VAIQMatrixBufferH264>(), 0,
            size_of::<VASliceParameterBufferH264>(),
        ],
        // 4:2:0, frames only.
        given: &[(offset_of!(VAPictureParameterBufferH264, seq_fields), 0x11)],
    },
    Kind {
        profile: VAProfileVP8Version0_3,
        sizes: [
            size_of::<VAPictureParameterBufferVP8>(), size_of::<VAIQMatrixBufferVP8>(),
            size_of::<VAProbabilityDataBufferVP8>(), size_of::<VASliceParameterBufferVP8>(),
        ],
        given: &[
            (offset_of!(VAPictureParameterBufferVP8, frame_width), 16),
            (offset_of!(VAPictureParameterBufferVP8, frame_height), 16),
        ],
    },
    Kind {
        profile: VAProfileVP9Profile0,
        sizes: [
            size_of::<VADecPictureParameterBufferVP9>(), 0, 0,
            size_of::<VASliceParameterBufferVP9>(),
        ],
        given: &[
            (offset_of!(VADecPictureParameterBufferVP9, frame_width), 16),
            (offset_of!(VADecPictureParameterBufferVP9, frame_height), 16),
        ],
    },
];

/// The input, taken from its beginning.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Zeroes, but for what is given, with runs of the input in them.
    fn parameters(&mut self, length: usize, given: &[(usize, u8)]) -> Vec<u8> {
        let mut parameters = vec![0; length];
        for (at, value) in given {
            parameters[*at] = *value;
        }
        for _ in 0..self.byte() % 32 {
            let at = self.word() % length.max(1);
            let run = usize::from(self.byte() % 16);
            for (place, byte) in parameters[at.min(length)..].iter_mut().zip(self.bytes(run)) {
                *place = *byte;
            }
        }
        parameters
    }
}

struct Buffer {
    kind: VABufferType,
    element: usize,
    bytes: Vec<u8>,
}

fn picture(input: &mut Input<'_>, kind: &Kind) -> Vec<Buffer> {
    let sizes = kind.sizes;
    let kinds = [
        VAPictureParameterBufferType,
        VAIQMatrixBufferType,
        VAProbabilityBufferType,
    ];
    let mut buffers = Vec::new();
    let given = [kind.given, &[], &[]];
    for ((kind, size), given) in kinds.into_iter().zip(sizes).zip(given) {
        if size > 0 && input.byte() % 8 != 7 {
            let bytes = input.parameters(size, given);
            buffers.push(Buffer {
                kind,
                element: size,
                bytes,
            });
        }
    }
    for _ in 0..1 + input.byte() % 4 {
        let mut bytes = input.parameters(sizes[3], &[]);
        let length = input.word();
        let data = input.bytes(length).to_vec();
        if input.byte() % 4 != 3 {
            // `slice_data_size` is the first field with every codec.
            bytes[..4].copy_from_slice(&(data.len() as u32).to_ne_bytes());
        }
        let element = sizes[3];
        buffers.push(Buffer {
            kind: VASliceParameterBufferType,
            element,
            bytes,
        });
        let element = data.len();
        buffers.push(Buffer {
            kind: VASliceDataBufferType,
            element,
            bytes: data,
        });
    }
    for _ in 0..input.byte() % 4 {
        let at = usize::from(input.byte()) % buffers.len();
        match input.byte() % 4 {
            0 => buffers[at].element = input.word(),
            1 => buffers[at].bytes.truncate(input.word()),
            2 => buffers.swap(at, 0),
            _ => buffers[at].kind = input.byte().into(),
        }
    }
    buffers
}

#[derive(Default)]
struct Held(HashMap<VASurfaceID, Timestamp>);

impl Surfaces for Held {
    fn decoded(&self, surface: VASurfaceID) -> Option<Timestamp> {
        self.0.get(&surface).copied()
    }
}

fuzz_target!(|data: &[u8]| {
    let input = &mut Input(data);
    let kind = &KINDS[usize::from(input.byte()) % KINDS.len()];
    let mut codec = Codec::new(kind.profile).expect("a profile of the table");
    let mut held = Held::default();
    let mut micros = 0;
    while !input.0.is_empty() {
        let buffers = picture(input, kind);
        let rendered: Vec<Rendered<'_>> = buffers
            .iter()
            .map(
                |Buffer {
                     kind,
                     element,
                     bytes,
                 }| Rendered {
                    kind: *kind,
                    element: *element,
                    bytes,
                },
            )
            .collect();
        micros += 1;
        let target = Target {
            surface: u32::from(input.byte() % 8),
            fresh: Timestamp::from_micros(micros),
        };
        let mut out = vec![0; codec.room(&rendered)];
        if let Ok(unit) = codec.prepare(&rendered, &target, &held, &mut out) {
            assert!(unit.length <= out.len());
            held.0.insert(target.surface, unit.timestamp);
        }
        assert!(!codec.controls().is_empty());
    }
});
