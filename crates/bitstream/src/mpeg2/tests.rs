//! MPEG-2 headers by hand and at random: written, read and compared; hostile bytes; the reference model.

use proptest::prelude::*;

use super::*;

/// 352x288, progressive, 4:2:0, Main profile at Main level.
const SEQUENCE: &[u8] = &[
    0, 0, 1, 0xb3, 0x16, 0x01, 0x20, 0x13, 0xff, 0xff, 0xe3, 0x80, //
    0, 0, 1, 0xb5, 0x14, 0x8a, 0x00, 0x01, 0x00, 0x00,
];
/// A P frame, sixth of its group.
const PICTURE: &[u8] = &[0, 0, 1, 0x00, 0x01, 0x57, 0xff, 0xfb, 0x80];
const PICTURE_CODING: &[u8] = &[0, 0, 1, 0xb5, 0x82, 0x3f, 0xf7, 0x9a, 0x00];
const SLICES: &[u8] = &[0, 0, 1, 0x01, 0x22, 0x33, 0, 0, 1, 0x02, 0x44];
const END: &[u8] = &[0, 0, 1, 0xb7];

fn sequence() -> Sequence {
    Sequence {
        horizontal_size: 352,
        vertical_size: 288,
        vbv_buffer_size: 112,
        profile_and_level_indication: 0x48,
        chroma_format: CHROMA_420,
        flags: SEQ_PROGRESSIVE,
    }
}

fn picture() -> Picture {
    Picture {
        backward_ref_ts: 0,
        forward_ref_ts: 0,
        flags: PIC_TOP_FIELD_FIRST | PIC_Q_SCALE_TYPE | PIC_INTRA_VLC | PIC_REPEAT_FIRST,
        f_code: [[2, 3], [15, 15]],
        picture_coding_type: CODING_TYPE_P,
        picture_structure: FRAME,
        intra_dc_precision: 1,
    }
}

#[test]
fn headers_are_read_as_the_standard_lays_them_out() {
    let data = [SEQUENCE, PICTURE, PICTURE_CODING, SLICES, END].concat();
    let coded = State::new().parse(&data).unwrap();
    assert_eq!(coded.sequence, sequence());
    assert_eq!(coded.picture, picture());
    assert_eq!(coded.quantisation, Quantisation::DEFAULT);
    assert_eq!((coded.temporal_reference, coded.slices), (5, SLICES));
    assert_eq!(coded.group, None);
}

#[test]
fn what_is_not_a_picture_is_refused_by_name() {
    let header = &SEQUENCE[..12];
    let mpeg1 = [header, PICTURE, SLICES].concat();
    let scalable = [SEQUENCE, &[0, 0, 1, 0xb5, 0x50], PICTURE].concat();
    let short = [SEQUENCE, &PICTURE[..5], &[0, 0, 1, 0xb5]].concat();
    let intra_d = [SEQUENCE, &[0, 0, 1, 0, 0, 0x20, 0, 0]].concat();
    let extension = [SEQUENCE, PICTURE, PICTURE_CODING].concat();
    let missing = ParseError::Missing;
    for (data, error) in [
        (&mpeg1[..], ParseError::Mpeg1),
        (&scalable, ParseError::Scalable),
        (
            &[PICTURE, PICTURE_CODING, SLICES].concat(),
            missing("sequence header"),
        ),
        (&[SEQUENCE, SLICES].concat(), missing("picture header")),
        (
            &[SEQUENCE, PICTURE, SLICES].concat(),
            missing("picture coding extension"),
        ),
        (&extension, missing("slice")),
        (
            &short,
            ParseError::Field(FieldError::End {
                field: "temporal_reference",
                position: 26 * 8,
            }),
        ),
        (
            &intra_d,
            ParseError::Field(FieldError::Value {
                field: "picture_coding_type",
                position: 26 * 8 + 10,
                value: 4,
            }),
        ),
    ] {
        assert_eq!(State::new().parse(data), Err(error), "{data:02x?}");
    }
}

#[test]
fn a_stream_is_split_ahead_of_each_pictures_headers() {
    let first = [&[0xff], SEQUENCE, PICTURE, PICTURE_CODING, SLICES].concat();
    let group: &[u8] = &[0, 0, 1, 0xb8, 0, 0, 0, 0x40];
    let second = [group, PICTURE, PICTURE_CODING, SLICES].concat();
    let third = [PICTURE, PICTURE_CODING, SLICES, END].concat();
    let stream = [&first[..], &second, &third, SEQUENCE].concat();
    let split: Vec<_> = pictures(&stream).collect();
    assert_eq!(split[..2], [&first[1..], &second]);
    assert_eq!(split.len(), 3);
    let mut state = State::new();
    state.decoded(&state.parse(&first).unwrap(), 1);
    let group = state.parse(split[1]).unwrap().group;
    let expected = Group {
        closed: true,
        broken_link: false,
    };
    assert_eq!(group, Some(expected));
    assert_eq!(pictures(&[0, 0, 1]).count(), 0);
}

#[test]
fn rows_of_slices_beyond_2800_lines_have_an_extension() {
    let data = [0, 0, 1, 0x80, 0b0110_0000, 0, 0, 0, 1, 0x01, 0b0010_0000];
    let read = |vertical_size| -> Vec<u16> {
        let row = |slice: Result<Slice, _>| slice.unwrap().row;
        slices(&data, vertical_size).map(row).collect()
    };
    assert_eq!(read(2800), [0x7f, 0]);
    assert_eq!(read(2801), [3 * 128 + 0x7f, 128]);
    let cut = slices(&data[..4], 2801).next();
    let field = "slice_vertical_position_extension";
    let position = 32;
    assert_eq!(cut, Some(Err(FieldError::End { field, position })));
}

/// Coding type, structure, the frame's id, and what is expected of it: second field, forward, backward.
type Step = (u8, u8, u64, bool, Option<u64>, Option<u64>);

#[test]
fn references_are_the_last_two_frames() {
    const I: u8 = CODING_TYPE_I;
    const P: u8 = CODING_TYPE_P;
    const B: u8 = CODING_TYPE_B;
    const TOP: u8 = TOP_FIELD;
    const BOTTOM: u8 = BOTTOM_FIELD;
    let frames: &[Step] = &[
        (B, FRAME, 9, false, None, None),
        (I, FRAME, 1, false, None, None),
        (B, FRAME, 2, false, None, Some(1)),
        (P, FRAME, 3, false, Some(1), None),
        (B, FRAME, 4, false, Some(1), Some(3)),
        (B, FRAME, 5, false, Some(1), Some(3)),
        (I, FRAME, 6, false, None, None),
        (P, FRAME, 7, false, Some(6), None),
    ];
    let fields: &[Step] = &[
        (I, TOP, 1, false, None, None),
        (P, BOTTOM, 1, true, Some(1), None),
        (P, BOTTOM, 2, false, Some(1), None),
        (P, TOP, 2, true, Some(1), None),
        (B, TOP, 3, false, Some(1), Some(2)),
        (B, BOTTOM, 3, true, Some(1), Some(2)),
        (P, FRAME, 4, false, Some(2), None),
    ];
    // A field whose other one is lost is completed by nothing.
    let lost: &[Step] = &[
        (I, TOP, 1, false, None, None),
        (P, TOP, 2, false, Some(1), None),
        (B, BOTTOM, 3, false, Some(1), Some(2)),
        (P, BOTTOM, 4, false, Some(2), None),
        (P, TOP, 4, true, Some(2), None),
    ];
    for steps in [frames, fields, lost] {
        let mut state = State::new();
        for (at, &(coding_type, structure, id, second_field, forward, backward)) in
            steps.iter().enumerate()
        {
            let picture = Picture {
                picture_coding_type: coding_type,
                picture_structure: structure,
                f_code: [[1; 2]; 2],
                ..picture()
            };
            let data = written(&sequence(), &picture, &Quantisation::DEFAULT);
            let coded = state.parse(&data).unwrap();
            let expected = Prediction {
                second_field,
                forward,
                backward,
            };
            assert_eq!(coded.prediction, expected, "{at}: {steps:?}");
            assert_eq!(coded.picture.forward_ref_ts, forward.unwrap_or(0));
            assert_eq!(coded.picture.backward_ref_ts, backward.unwrap_or(0));
            state.decoded(&coded, id);
        }
    }
}

/// An extension with a matrix for what is not intra coded, and one for chroma of what is.
fn matrices() -> Vec<u8> {
    let mut bits = BitWriter::new();
    bits.u(32, 0x1b5);
    bits.u(4, extension::QUANT_MATRIX);
    bits.u(1, 0);
    bits.u(1, 1);
    (1..=64).for_each(|value| bits.u(8, value));
    bits.u(1, 1);
    (65..=128).for_each(|value| bits.u(8, value));
    bits.u(1, 0);
    bits.into_bytes()
}

#[test]
fn chroma_of_420_has_the_matrices_of_luma() {
    let data = [SEQUENCE, PICTURE, PICTURE_CODING, &matrices(), SLICES].concat();
    let non_intra = std::array::from_fn(|at| at as u8 + 1);
    let expected = Quantisation {
        non_intra_quantiser_matrix: non_intra,
        chroma_non_intra_quantiser_matrix: non_intra,
        ..Quantisation::DEFAULT
    };
    assert_eq!(State::new().parse(&data).unwrap().quantisation, expected);
}

#[test]
fn matrices_last_until_the_next_sequence_header() {
    let mut state = State::new();
    let mut sequence = SEQUENCE.to_vec();
    sequence[17] = 0x8c; // 4:2:2
    let first = [&sequence, PICTURE, PICTURE_CODING, SLICES].concat();
    state.decoded(&state.parse(&first).unwrap(), 1);
    let matrices = matrices();
    let second = [PICTURE, PICTURE_CODING, &matrices, SLICES].concat();
    let coded = state.parse(&second).unwrap();
    let expected = Quantisation {
        non_intra_quantiser_matrix: std::array::from_fn(|at| at as u8 + 1),
        chroma_non_intra_quantiser_matrix: std::array::from_fn(|at| at as u8 + 1),
        chroma_intra_quantiser_matrix: std::array::from_fn(|at| at as u8 + 65),
        ..Quantisation::DEFAULT
    };
    assert_eq!(coded.quantisation, expected);
    state.decoded(&coded, 2);
    let third = [PICTURE, PICTURE_CODING, SLICES].concat();
    assert_eq!(state.parse(&third).unwrap().quantisation, expected);
    assert_eq!(
        state.parse(&first).unwrap().quantisation,
        Quantisation::DEFAULT
    );
}

/// Puts a value out of its range.
type Spoil<T> = fn(&mut T);

#[test]
fn values_without_a_place_in_the_headers_are_refused_by_name() {
    let mut zero = Quantisation::DEFAULT;
    zero.non_intra_quantiser_matrix[63] = 0;
    let sequences: [(&str, Spoil<Sequence>); 5] = [
        ("horizontal_size", |sequence| {
            sequence.horizontal_size = 0x4001
        }),
        ("vertical_size", |sequence| sequence.vertical_size = 0x1000),
        ("vbv_buffer_size", |sequence| {
            sequence.vbv_buffer_size = 1 << 18
        }),
        ("profile_and_level_indication", |sequence| {
            sequence.profile_and_level_indication = 0x100;
        }),
        ("chroma_format", |sequence| sequence.chroma_format = 0),
    ];
    let pictures: [(&str, Spoil<Picture>); 5] = [
        ("picture_coding_type", |picture| {
            picture.picture_coding_type = 4
        }),
        ("picture_coding_type", |picture| {
            picture.picture_coding_type = 0
        }),
        ("f_code", |picture| picture.f_code[0][1] = 0),
        ("intra_dc_precision", |picture| {
            picture.intra_dc_precision = 4
        }),
        ("picture_structure", |picture| picture.picture_structure = 0),
    ];
    let refused = |field, written: Result<(), FieldError>, out: &[u8]| {
        assert!(matches!(written, Err(FieldError::Value { field: found, .. }) if found == field));
        assert_eq!(out, b"ahead", "{field}");
    };
    let mut out = b"ahead".to_vec();
    for (field, spoil) in sequences {
        let mut sequence = sequence();
        spoil(&mut sequence);
        refused(
            field,
            write_sequence(&mut out, &sequence, &Quantisation::DEFAULT),
            &out,
        );
    }
    let written = write_sequence(&mut out, &sequence(), &zero);
    refused("non_intra_quantiser_matrix", written, &out);
    for (field, spoil) in pictures {
        let mut picture = picture();
        spoil(&mut picture);
        let written = write_picture(&mut out, &sequence(), &picture, &Quantisation::DEFAULT);
        refused(field, written, &out);
    }
}

fn written(sequence: &Sequence, picture: &Picture, quantisation: &Quantisation) -> Vec<u8> {
    let mut data = Vec::new();
    write_sequence(&mut data, sequence, quantisation).unwrap();
    write_picture(&mut data, sequence, picture, quantisation).unwrap();
    [&data, SLICES].concat()
}

fn any_matrix() -> impl Strategy<Value = [u8; 64]> {
    proptest::collection::vec(1..=255_u8, 64).prop_map(|values| values.try_into().unwrap())
}

prop_compose! {
    fn any_sequence()(
        size in proptest::array::uniform2((1..0x4000_u16).prop_filter("low part", |size| size & 0xfff != 0)),
        vbv_buffer_size in 0..1_u32 << 18,
        profile_and_level_indication in 0..=255_u16,
        chroma_format in 1..=3_u8,
        flags in 0..=1_u8,
    ) -> Sequence {
        let [horizontal_size, vertical_size] = size;
        Sequence {
            horizontal_size,
            vertical_size,
            vbv_buffer_size,
            profile_and_level_indication,
            chroma_format,
            flags,
        }
    }
}

prop_compose! {
    fn any_picture()(
        flags in 0..=0xff_u32,
        f_code in proptest::array::uniform2(proptest::array::uniform2(1..=9_u8)),
        picture_coding_type in 1..=3_u8,
        picture_structure in 1..=3_u8,
        intra_dc_precision in 0..=3_u8,
    ) -> Picture {
        let mut picture = Picture {
            backward_ref_ts: 0,
            forward_ref_ts: 0,
            flags,
            f_code,
            picture_coding_type,
            picture_structure,
            intra_dc_precision,
        };
        for direction in 0..2 {
            if !picture.has_vectors(direction) {
                picture.f_code[direction] = [15; 2];
            }
        }
        picture
    }
}

proptest! {
    #[test]
    fn roundtrip_headers(
        sequence in any_sequence(),
        picture in any_picture(),
        matrices in proptest::array::uniform4(any_matrix()),
    ) {
        let [intra, non_intra, chroma_intra, chroma_non_intra] = matrices;
        let own = sequence.chroma_format != CHROMA_420;
        let quantisation = Quantisation {
            intra_quantiser_matrix: intra,
            non_intra_quantiser_matrix: non_intra,
            chroma_intra_quantiser_matrix: if own { chroma_intra } else { intra },
            chroma_non_intra_quantiser_matrix: if own { chroma_non_intra } else { non_intra },
        };
        let data = written(&sequence, &picture, &quantisation);
        let coded = State::new().parse(&data).unwrap();
        prop_assert_eq!(coded.sequence, sequence);
        prop_assert_eq!(coded.picture, picture);
        prop_assert_eq!(coded.quantisation, quantisation);
        prop_assert_eq!(coded.slices, SLICES);
    }

    #[test]
    fn no_crash(units in proptest::collection::vec((any::<u8>(), any::<Vec<u8>>()), 0..12), vertical_size: u16) {
        const CODES: [u8; 8] = [0, 0xb3, 0xb5, 0xb8, 1, 2, 0xaf, 0xb7];
        let mut stream = Vec::new();
        for (code, bytes) in &units {
            stream.extend_from_slice(&[0, 0, 1, CODES[usize::from(code % 8)]]);
            // Extensions of every kind that is read.
            stream.push(code << 1);
            stream.extend_from_slice(bytes);
        }
        let mut state = State::new();
        for data in pictures(&stream) {
            if let Ok(coded) = state.parse(data) {
                prop_assert!(slices(coded.slices, vertical_size).count() <= units.len());
                state.decoded(&coded, 1);
            }
        }
    }
}
