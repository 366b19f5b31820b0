//! VA buffers of a client that lies: each is refused with the field's name, and the next good
//! picture is prepared as if nothing had been.

use crate::{Buffer, Context, Manner, h264, mpeg2, surface, vp8, vp9};
use bitstream::h264::Dpb;
use bitstream::vp9::{Header, Superframe};
use v4l2_request_drv_video::codec::{Refusal, Rendered};
use v4l2_request_drv_video::va::dec::*;
use v4l2_request_drv_video::va::{self, *};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first picture of a carried stream of each codec.
fn picture(profile: VAProfile) -> Vec<Buffer> {
    let manner = Manner::Ffmpeg;
    match profile {
        va::VAProfileMPEG2Main => {
            let stream = mpeg2::stream();
            let unit = bitstream::mpeg2::pictures(&stream).next().unwrap();
            let coded = bitstream::mpeg2::State::new().parse(unit).unwrap();
            mpeg2::given(manner, &coded)
        }
        va::VAProfileH264High => {
            let stream = h264::stream();
            let coded = &h264::pictures(&stream).unwrap()[0];
            let picture = Dpb::new().decode(1000, &coded.sps, coded.first()).unwrap();
            h264::given(manner, coded, &picture)
        }
        va::VAProfileVP8Version0_3 => {
            let data = &vp8::frames()[0];
            let header = bitstream::vp8::State::new().parse(data).unwrap();
            vp8::given(manner, &header, data)
        }
        _ => {
            let packet = &vp9::packets()[0];
            let data = Superframe::parse(packet).unwrap().next().unwrap();
            let Ok(Header::Coded(coded)) = bitstream::vp9::State::new().parse(data) else {
                panic!("no key frame");
            };
            vp9::given(manner, &coded, [None; 8], data)
        }
    }
}

const PROFILES: [VAProfile; 4] = [
    VAProfileMPEG2Main,
    VAProfileH264High,
    VAProfileVP8Version0_3,
    VAProfileVP9Profile0,
];

/// What a lie does to the buffers.
type Lie = fn(&mut Vec<Buffer>);

/// Changes the struct in the first buffer of a kind.
fn with<T: FromBytes + IntoBytes + Immutable + KnownLayout>(
    buffers: &mut [Buffer],
    kind: VABufferType,
    change: impl FnOnce(&mut T),
) {
    let buffer = buffers.iter_mut().find(|buffer| buffer.kind == kind);
    let buffer = buffer.expect("the buffer");
    let mut value = T::read_from_bytes(&buffer.bytes).expect("the struct's size");
    change(&mut value);
    buffer.bytes.copy_from_slice(value.as_bytes());
}

macro_rules! lie {
    ($kind:ident $type:ident, |$value:ident| $change:expr) => {
        |buffers| with(buffers, $kind, |$value: &mut $type| $change)
    };
}

/// Refused, and a good picture behind it is not.
fn check(profile: VAProfile, lie: Lie, expected: &str) {
    let good = picture(profile);
    let mut context = Context::new(profile);
    let fresh = context.fresh();
    let mut bad = good.clone();
    lie(&mut bad);
    let refused = context.prepare(&bad, surface(1000), fresh);
    let refused = refused.expect_err(expected);
    let mut text = refused.to_string();
    let source = std::error::Error::source(&refused);
    text.extend(source.map(|source| format!(": {source}")));
    assert!(text.contains(expected), "{expected}: {text}");
    let fresh = context.fresh();
    context.prepare(&good, surface(2000), fresh).unwrap();
}

#[test]
fn lies_are_refused_by_name() {
    let all: [(Lie, &str); 8] = [
        (|buffers| buffers.clear(), "no VA"),
        (
            |buffers| buffers.retain(|buffer| buffer.kind != VASliceDataBufferType),
            "1 slice parameter buffers for 0 slice data buffers",
        ),
        (
            |buffers| buffers.retain(|buffer| buffer.kind != VASliceParameterBufferType),
            "no VASliceParameterBuffer",
        ),
        (
            |buffers| buffers.extend([Buffer::data(&[0]), Buffer::data(&[1])]),
            "slice parameter buffers for",
        ),
        (
            |buffers| {
                buffers[0].bytes.pop();
                buffers[0].element -= 1;
            },
            "are needed",
        ),
        (|buffers| buffers[0].element = 0, "elements of 0 bytes"),
        // An array that has a part of an element at its end.
        (
            |buffers| {
                let slices = buffers
                    .iter_mut()
                    .find(|buffer| buffer.kind == VASliceParameterBufferType);
                slices.unwrap().bytes.pop();
            },
            "are needed",
        ),
        (
            |buffers| {
                let data = buffers
                    .iter_mut()
                    .find(|buffer| buffer.kind == VASliceDataBufferType);
                data.unwrap().bytes.clear();
            },
            "",
        ),
    ];
    for profile in PROFILES {
        for (lie, expected) in all {
            // How many slices there are is the stream's.
            let expected = expected.strip_prefix("1 ").unwrap_or(expected);
            check(profile, lie, expected);
        }
    }
}

#[test]
fn mpeg2_fields_are_checked() {
    let rows: [(Lie, &str); 12] = [
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferMPEG2, |it| it.horizontal_size = 0),
            "horizontal_size may not be: 0",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferMPEG2, |it| it.vertical_size = 1 << 14),
            "vertical_size may not be: 16384",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferMPEG2, |it| it.picture_coding_type = 4),
            "picture_coding_type may not be: 4",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferMPEG2, |it| it.picture_coding_type = -1),
            "picture_coding_type may not be: -1",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferMPEG2, |it| it.f_code = -1),
            "f_code may not be: -1",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferMPEG2, |it| it.picture_coding_extension &= !12),
            "picture_structure may not be: 0",
        ),
        (
            lie!(VAIQMatrixBufferType VAIQMatrixBufferMPEG2, |it| it.intra_quantiser_matrix[63] = 0),
            "intra_quantiser_matrix may not be: 0",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferMPEG2, |it| it.slice_data_size = u32::MAX),
            "slice 0: 4294967295 bytes at 0",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferMPEG2, |it| it.slice_data_offset = u32::MAX),
            "bytes at 4294967295",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferMPEG2, |it| it.slice_data_flag = 2),
            "slice_data_flag may not be: 2",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferMPEG2, |it| (it.slice_data_offset, it.slice_data_size) = (4, 3)),
            "slice_start_code may not be",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferMPEG2, |it| it.slice_data_size = 0),
            "slice_start_code may not be: 0",
        ),
    ];
    for (lie, expected) in rows {
        check(VAProfileMPEG2Main, lie, expected);
    }
}

#[test]
fn h264_fields_are_checked() {
    let rows: [(Lie, &str); 12] = [
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| it.seq_fields |= 3),
            "chroma_format_idc may not be: 3",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| it.bit_depth_luma_minus8 = 2),
            "bit_depth_luma_minus8 may not be: 2",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| it.num_slice_groups_minus1 = 1),
            "num_slice_groups_minus1 may not be: 1",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| it.num_ref_frames = 17),
            "max_num_ref_frames",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| it.seq_fields |= 3 << 12),
            "pic_order_cnt_type",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| it.seq_fields |= 15 << 8),
            "log2_max_frame_num_minus4",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| it.picture_width_in_mbs_minus1 = u16::MAX),
            "PicWidthInMbs",
        ),
        (
            lie!(VAPictureParameterBufferType VAPictureParameterBufferH264, |it| {
                (it.ReferenceFrames[3].picture_id, it.ReferenceFrames[3].flags) = (7, 0);
                it.ReferenceFrames[3].frame_idx = 0x1_0000;
            }),
            "ReferenceFrames[].frame_idx may not be: 65536",
        ),
        (
            lie!(VAIQMatrixBufferType VAIQMatrixBufferH264, |it| it.ScalingList4x4[5][15] = 0),
            "ScalingList4x4 may not be: 0",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferH264, |it| it.num_ref_idx_l0_active_minus1 = 32),
            "num_ref_idx_l0_default_active_minus1",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferH264, |it| it.slice_data_size = 1),
            "first_mb_in_slice",
        ),
        (
            lie!(VASliceParameterBufferType VASliceParameterBufferH264, |it| it.slice_data_size += 1),
            "slice 0:",
        ),
    ];
    for (lie, expected) in rows {
        check(VAProfileH264High, lie, expected);
    }
}

#[test]
fn vp8_and_vp9_fields_are_checked() {
    let rows: [(VAProfile, Lie, &str); 9] = [
        (
            VAProfileVP8Version0_3,
            lie!(VAPictureParameterBufferType VAPictureParameterBufferVP8, |it| it.frame_width = 0),
            "frame_width may not be: 0",
        ),
        (
            VAProfileVP8Version0_3,
            lie!(VAPictureParameterBufferType VAPictureParameterBufferVP8, |it| it.frame_height = 0x4000),
            "frame_height may not be: 16384",
        ),
        (
            VAProfileVP8Version0_3,
            lie!(VASliceParameterBufferType VASliceParameterBufferVP8, |it| it.partition_size[0] = u32::MAX),
            "data ends within",
        ),
        (
            VAProfileVP8Version0_3,
            lie!(VASliceParameterBufferType VASliceParameterBufferVP8, |it| it.partition_size[0] = 1 << 20),
            "first partition",
        ),
        (
            VAProfileVP8Version0_3,
            lie!(VASliceParameterBufferType VASliceParameterBufferVP8, |it| it.slice_data_offset = u32::MAX),
            "bytes at 4294967295",
        ),
        (
            VAProfileVP8Version0_3,
            lie!(VASliceParameterBufferType VASliceParameterBufferVP8, |it| it.slice_data_size = 3),
            "first partition",
        ),
        (
            VAProfileVP9Profile0,
            lie!(VAPictureParameterBufferType VADecPictureParameterBufferVP9, |it| it.frame_width = 0),
            "frame_width may not be: 0",
        ),
        (
            VAProfileVP9Profile0,
            lie!(VASliceParameterBufferType VASliceParameterBufferVP9, |it| it.slice_data_size = 5),
            "data ends within",
        ),
        (
            VAProfileVP9Profile0,
            |buffers| {
                let slice = buffers[1].clone();
                let data = buffers[2].clone();
                buffers.extend([slice, data]);
            },
            "number of slices may not be: 2",
        ),
    ];
    for (profile, lie, expected) in rows {
        check(profile, lie, expected);
    }
}

/// Parameters of many slices that all name the whole data: what is written never exceeds what the
/// client gave.
#[test]
fn slices_that_name_the_same_bytes_run_out_of_room() {
    let mut bad = picture(VAProfileMPEG2Main);
    let slice = bad[2].clone();
    let data = bad[3].clone();
    bad.truncate(2);
    bad.push(data);
    bad.push(Buffer {
        bytes: slice.bytes.repeat(1000),
        ..slice
    });
    let mut context = Context::new(VAProfileMPEG2Main);
    let fresh = context.fresh();
    let refused = context.prepare(&bad, surface(1000), fresh);
    assert!(
        matches!(refused, Err(Refusal::Room { slice, .. }) if slice > 0),
        "{refused:?}"
    );
}

/// Parameters of a byte each would be many slices: they are none.
#[test]
fn room_is_in_proportion_to_what_was_given() {
    for profile in PROFILES {
        let context = Context::new(profile);
        for element in [0, 1, 48] {
            let bytes = vec![0; 1 << 20];
            let rendered = [Rendered {
                kind: VASliceParameterBufferType,
                element,
                bytes: &bytes,
            }];
            let room = context.codec.room(&rendered);
            assert!(room <= bytes.len(), "{profile}, {element}: {room}");
        }
    }
}

/// The numbers of xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Good pictures with bytes changed, buffers lost, doubled, cut and out of order.
#[test]
fn no_crash() {
    let random = &mut Random(0x9e37_79b9_7f4a_7c15);
    for profile in PROFILES {
        let good = picture(profile);
        let mut context = Context::new(profile);
        let mut prepared = 0;
        for round in 0..4000 {
            let mut bad = good.clone();
            for _ in 0..1 + random.below(8) {
                let at = random.below(bad.len());
                let Some(buffer) = bad.get_mut(at) else { break };
                let length = buffer.bytes.len();
                match random.below(24) {
                    0 => drop(bad.remove(at)),
                    1 => {
                        let double = buffer.clone();
                        bad.push(double);
                    }
                    2 => buffer.bytes.truncate(random.below(length)),
                    3 => buffer.element = random.below(2 * length),
                    4 => buffer.kind = random.below(16) as u32,
                    5 => bad.swap(at, 0),
                    _ if length > 0 => buffer.bytes[random.below(length)] = random.below(256) as u8,
                    _ => {}
                }
            }
            let target = surface(1000 * random.below(4) as u64);
            let fresh = context.fresh();
            prepared += usize::from(context.prepare(&bad, target, fresh).is_ok());
            let fresh = context.fresh();
            let good = context.prepare(&good, surface(5000), fresh);
            assert!(good.is_ok(), "round {round}: {good:?}");
        }
        assert!((1..4000).contains(&prepared), "{prepared} were taken");
    }
}
