//! VP8 headers by hand and at random, with a writer of the first partition that only tests need; hostile
//! bytes; the buffer model.

use proptest::prelude::*;

use super::*;
use crate::boolean::BoolEncoder;

/// A picture of 8x8, from a test file of WebM under CC0.
const TINY: &[u8] = &[
    0x30, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x08, 0x00, 0x08, 0x00, 0x01, 0x40, 0x26, 0x25, 0xa4, 0x00,
    0x03, 0x70, 0x00, 0xfe, 0xfc, 0xf4, 0x00, 0x00,
];

#[test]
fn a_key_frame_is_read() {
    let Header { frame, refresh } = State::new().parse(TINY).unwrap();
    assert_eq!((frame.width, frame.height), (8, 8));
    assert_eq!(frame.flags, FRAME_KEY_FRAME | FRAME_SHOW_FRAME);
    assert_eq!((frame.first_part_size, frame.num_dct_parts), (9, 1));
    assert_eq!(frame.dct_part_sizes, [5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(frame.entropy.y_mode_probs, tables::KEY_Y_MODE);
    assert_eq!(frame.entropy.coeff_probs, tables::COEFF_DEFAULT);
    assert!(refresh.last && refresh.golden && refresh.alternate);
}

#[test]
fn what_is_not_a_frame_is_refused_by_name() {
    let end = |field, position| ParseError::Field(FieldError::End { field, position });
    let value = |field, position, value| {
        ParseError::Field(FieldError::Value {
            field,
            position,
            value,
        })
    };
    let changed = |at: usize, byte: u8| {
        let mut data = TINY.to_vec();
        data[at] = byte;
        data
    };
    for (data, error) in [
        (Vec::new(), end("frame_tag", 0)),
        (TINY[..9].to_vec(), end("start_code and size", 24)),
        (changed(3, 0x9c), value("start_code", 24, 0x9c_012a)),
        (changed(6, 0), value("width", 48, 0)),
        (changed(8, 0), value("height", 64, 0)),
        (changed(0, 0x31), ParseError::NoKeyFrame),
        (
            changed(1, 2),
            ParseError::Partition {
                partition: "first partition",
                size: 17,
                length: 24,
            },
        ),
        // A first partition of no bytes.
        (
            vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, 8, 0, 8, 0],
            end("mb_lf_adjustments", 80),
        ),
    ] {
        assert_eq!(State::new().parse(&data), Err(error), "{data:02x?}");
    }
}

#[test]
fn partitions_that_end_behind_the_frame_are_refused() {
    let mut header = Written::key_frame();
    header.frame.num_dct_parts = 4;
    let mut data = header.write(&State::new());
    let sizes = data.len() - 9;
    data[sizes] = 1;
    assert_eq!(
        State::new().parse(&data),
        Err(ParseError::Partition {
            partition: "coefficient partition",
            size: 1,
            length: data.len()
        })
    );
    assert_eq!(
        State::new().parse(&data[..data.len() - 1]),
        Err(ParseError::Field(FieldError::End {
            field: "partition_size",
            position: sizes as u64 * 8
        }))
    );
}

#[test]
fn buffers_follow_copies_and_refreshes() {
    use CopyFrom::{Last, None, Other};
    let from = References {
        last: 1,
        golden: 2,
        alternate: 3,
    };
    for (last, golden, alternate, copy_to_golden, copy_to_alternate, after) in [
        (true, true, true, None, None, [9, 9, 9]),
        (true, false, false, None, None, [9, 2, 3]),
        (false, false, false, None, None, [1, 2, 3]),
        (true, false, false, Last, None, [9, 1, 3]),
        (true, false, false, None, Last, [9, 2, 1]),
        (true, false, true, Other, None, [9, 3, 9]),
        (true, true, false, None, Other, [9, 9, 2]),
        (false, false, false, Last, Other, [1, 1, 2]),
        (false, false, false, Other, Last, [1, 1, 1]),
        (false, false, false, Other, Other, [1, 2, 2]),
    ] {
        let refresh = Refresh {
            last,
            golden,
            alternate,
            copy_to_golden,
            copy_to_alternate,
            entropy: true,
        };
        let to = from.after(&refresh, 9);
        assert_eq!([to.last, to.golden, to.alternate], after, "{refresh:?}");
    }
}

#[test]
fn what_a_frame_does_not_say_is_what_was_said_last() {
    let mut state = State::new();
    let mut key = Written::key_frame();
    key.frame.segment.flags = SEGMENT_ENABLED | SEGMENT_UPDATE_FEATURE_DATA;
    key.frame.segment.quant_update = [1, -2, 3, -127];
    key.frame.lf.flags = LF_ADJ_ENABLE | LF_DELTA_UPDATE;
    key.frame.lf.ref_frm_delta = [63, -1, 0, 5];
    key.frame.entropy.coeff_probs[1][2][1][3] = 77;
    key.step(&mut state, 1);

    // Probabilities for this frame only, and nothing new about the rest.
    let mut inter = Written::inter_frame(&state);
    inter.frame.segment.flags &= !SEGMENT_UPDATE_FEATURE_DATA;
    inter.frame.lf.flags = LF_ADJ_ENABLE;
    inter.frame.entropy.mv_probs[1][4] = 6;
    inter.frame.entropy.y_mode_probs = [1, 2, 3, 4];
    inter.refresh.entropy = false;
    let parsed = inter.step(&mut state, 2);
    assert_eq!(parsed.frame.segment.quant_update, [1, -2, 3, -127]);
    assert_eq!(parsed.frame.lf.ref_frm_delta, [63, -1, 0, 5]);
    assert_eq!(parsed.frame.entropy.coeff_probs[1][2][1][3], 77);

    let third = Written::inter_frame(&state).step(&mut state, 3);
    assert_eq!(third.frame.entropy.mv_probs, tables::MV_DEFAULT);
    assert_eq!(third.frame.entropy.y_mode_probs, tables::Y_MODE_DEFAULT);
    assert_eq!(third.frame.entropy.coeff_probs[1][2][1][3], 77);
    assert_eq!(
        [third.frame.last_frame_ts, third.frame.golden_frame_ts],
        [2, 1]
    );

    let again = Written::key_frame().step(&mut state, 4);
    assert_eq!(again.frame.segment.quant_update, [0; 4]);
    assert_eq!(again.frame.entropy.coeff_probs, tables::COEFF_DEFAULT);
}

/// Puts a value out of its range.
type Spoil = fn(&mut Frame);

#[test]
fn tags_of_values_that_do_not_fit_are_refused() {
    let rows: [(&str, Spoil); 5] = [
        ("first_part_size", |frame| frame.first_part_size = 1 << 19),
        ("version", |frame| frame.version = 8),
        ("width", |frame| frame.width = 0x4000),
        ("height", |frame| frame.height = 0x4000),
        ("vertical_scale", |frame| frame.vertical_scale = 4),
    ];
    for (field, spoil) in rows {
        let mut frame = Written::key_frame().frame;
        spoil(&mut frame);
        let written = FrameTag::of(&frame).write();
        assert!(matches!(written, Err(FieldError::Value { field: found, .. }) if found == field));
    }
}

/// A header to be written as a frame of empty coefficient partitions.
#[derive(Debug, Clone)]
struct Written {
    frame: Frame,
    refresh: Refresh,
}

impl Written {
    fn key_frame() -> Self {
        let frame = Frame {
            segment: SEGMENT_DEFAULT,
            lf: LF_DEFAULT,
            quant: Quantization {
                y_ac_qi: 40,
                y_dc_delta: -15,
                y2_dc_delta: 0,
                y2_ac_delta: 7,
                uv_dc_delta: 0,
                uv_ac_delta: 15,
            },
            entropy: Entropy {
                y_mode_probs: tables::KEY_Y_MODE,
                uv_mode_probs: tables::KEY_UV_MODE,
                ..ENTROPY_DEFAULT
            },
            coder_state: CoderState {
                range: 0,
                value: 0,
                bit_count: 0,
            },
            width: 176,
            height: 144,
            horizontal_scale: 1,
            vertical_scale: 3,
            version: 0,
            prob_skip_false: 200,
            prob_intra: 0,
            prob_last: 0,
            prob_gf: 0,
            num_dct_parts: 1,
            first_part_size: 0,
            first_part_header_bits: 0,
            dct_part_sizes: [0; 8],
            last_frame_ts: 0,
            golden_frame_ts: 0,
            alt_frame_ts: 0,
            flags: FRAME_KEY_FRAME | FRAME_SHOW_FRAME | FRAME_MB_NO_SKIP_COEFF,
        };
        let refresh = Refresh {
            last: true,
            golden: true,
            alternate: true,
            copy_to_golden: CopyFrom::None,
            copy_to_alternate: CopyFrom::None,
            entropy: true,
        };
        Written { frame, refresh }
    }

    fn inter_frame(state: &State) -> Self {
        let Written { frame, refresh } = Self::key_frame();
        let references = state.references.unwrap();
        Written {
            frame: Frame {
                segment: state.segment,
                lf: state.lf,
                entropy: state.entropy,
                prob_intra: 1,
                prob_last: 128,
                prob_gf: 255,
                last_frame_ts: references.last,
                golden_frame_ts: references.golden,
                alt_frame_ts: references.alternate,
                flags: FRAME_SIGN_BIAS_ALT,
                prob_skip_false: 0,
                ..frame
            },
            refresh: Refresh {
                golden: false,
                alternate: false,
                ..refresh
            },
        }
    }

    /// Writes, parses, compares and decodes.
    fn step(&self, state: &mut State, id: u64) -> Header {
        let data = self.write(state);
        let parsed = state.parse(&data).unwrap();
        let expected = Header {
            // What follows from the bits and not from the header.
            frame: Frame {
                coder_state: parsed.frame.coder_state,
                first_part_size: parsed.frame.first_part_size,
                first_part_header_bits: parsed.frame.first_part_header_bits,
                ..self.frame
            },
            refresh: self.refresh,
        };
        assert_eq!(parsed, expected);
        assert!(parsed.frame.first_part_header_bits <= parsed.frame.first_part_size * 8);
        state.decoded(&parsed, id);
        parsed
    }

    fn write(&self, state: &State) -> Vec<u8> {
        let first = self.first_partition(state);
        let tag = Frame {
            first_part_size: first.len() as u32,
            ..self.frame
        };
        let mut data = FrameTag::of(&tag).write().unwrap().to_vec();
        data.extend_from_slice(&first);
        data.resize(data.len() + 3 * (usize::from(tag.num_dct_parts) - 1), 0);
        data
    }

    /// Writes each value that may be left out only where it is another than without it.
    fn first_partition(&self, state: &State) -> Vec<u8> {
        let Written { frame, refresh } = self;
        let key_frame = frame.is_key_frame();
        let mut bits = BoolEncoder::new();
        if key_frame {
            bits.literal(2, 0);
        }
        let segment = &frame.segment;
        let has = |flag| segment.flags & flag != 0;
        bits.flag(has(SEGMENT_ENABLED));
        if has(SEGMENT_ENABLED) {
            bits.flag(has(SEGMENT_UPDATE_MAP));
            bits.flag(has(SEGMENT_UPDATE_FEATURE_DATA));
            if has(SEGMENT_UPDATE_FEATURE_DATA) {
                bits.flag(!has(SEGMENT_DELTA_VALUE_MODE));
                for (values, count) in [(segment.quant_update, 7), (segment.lf_update, 6)] {
                    for value in values {
                        optional(&mut bits, count, value);
                    }
                }
            }
            if has(SEGMENT_UPDATE_MAP) {
                for prob in segment.segment_probs {
                    bits.flag(prob != 255);
                    if prob != 255 {
                        bits.literal(8, prob.into());
                    }
                }
            }
        }
        bits.flag(frame.lf.flags & LF_FILTER_TYPE_SIMPLE != 0);
        bits.literal(6, frame.lf.level.into());
        bits.literal(3, frame.lf.sharpness_level.into());
        bits.flag(frame.lf.flags & LF_ADJ_ENABLE != 0);
        if frame.lf.flags & LF_ADJ_ENABLE != 0 {
            bits.flag(frame.lf.flags & LF_DELTA_UPDATE != 0);
            if frame.lf.flags & LF_DELTA_UPDATE != 0 {
                for delta in frame
                    .lf
                    .ref_frm_delta
                    .into_iter()
                    .chain(frame.lf.mb_mode_delta)
                {
                    bits.flag(true);
                    bits.signed(6, delta.into());
                }
            }
        }
        bits.literal(2, frame.num_dct_parts.trailing_zeros());
        let quant = &frame.quant;
        bits.literal(7, quant.y_ac_qi.into());
        for delta in [
            quant.y_dc_delta,
            quant.y2_dc_delta,
            quant.y2_ac_delta,
            quant.uv_dc_delta,
            quant.uv_ac_delta,
        ] {
            optional(&mut bits, 4, delta);
        }
        if !key_frame {
            bits.flag(refresh.golden);
            bits.flag(refresh.alternate);
            for (refreshed, copy) in [
                (refresh.golden, refresh.copy_to_golden),
                (refresh.alternate, refresh.copy_to_alternate),
            ] {
                if !refreshed {
                    bits.literal(2, copy as u32);
                }
            }
            bits.flag(frame.flags & FRAME_SIGN_BIAS_GOLDEN != 0);
            bits.flag(frame.flags & FRAME_SIGN_BIAS_ALT != 0);
        }
        bits.flag(refresh.entropy);
        if !key_frame {
            bits.flag(refresh.last);
        }
        let before = if key_frame {
            ENTROPY_DEFAULT
        } else {
            state.entropy
        };
        let flat = |probs: &[[[[u8; 11]; 3]; 8]; 4]| -> Vec<u8> {
            let probs = probs.as_flattened().as_flattened();
            probs.as_flattened().to_vec()
        };
        let updates = flat(&tables::COEFF_UPDATE);
        let old = flat(&before.coeff_probs);
        for ((new, old), update) in flat(&frame.entropy.coeff_probs)
            .into_iter()
            .zip(old)
            .zip(updates)
        {
            bits.write(update, new != old);
            if new != old {
                bits.literal(8, new.into());
            }
        }
        let no_skip_coeff = frame.flags & FRAME_MB_NO_SKIP_COEFF != 0;
        bits.flag(no_skip_coeff);
        if no_skip_coeff {
            bits.literal(8, frame.prob_skip_false.into());
        }
        if !key_frame {
            for prob in [frame.prob_intra, frame.prob_last, frame.prob_gf] {
                bits.literal(8, prob.into());
            }
            let modes = [
                (&before.y_mode_probs[..], &frame.entropy.y_mode_probs[..]),
                (&before.uv_mode_probs, &frame.entropy.uv_mode_probs),
            ];
            for (old, new) in modes {
                bits.flag(old != new);
                if old != new {
                    new.iter().for_each(|&prob| bits.literal(8, prob.into()));
                }
            }
            let probs = frame.entropy.mv_probs.as_flattened().iter();
            let old = before.mv_probs.as_flattened();
            for ((new, old), &update) in probs.zip(old).zip(tables::MV_UPDATE.as_flattened()) {
                bits.write(update, new != old);
                if new != old {
                    bits.literal(7, u32::from(new >> 1));
                }
            }
        }
        bits.into_bytes()
    }
}

fn optional(bits: &mut BoolEncoder, count: u32, value: i8) {
    bits.flag(value != 0);
    if value != 0 {
        bits.signed(count, value.into());
    }
}

/// What a frame says that another one need not.
#[derive(Debug, Clone)]
struct Change {
    key_frame: bool,
    flags: u64,
    segment: Segment,
    lf: LoopFilter,
    quant: Quantization,
    num_dct_parts: u8,
    /// Skip, intra, last, golden.
    probs: [u8; 4],
    coefficients: Vec<([usize; 4], u8)>,
    modes: Option<([u8; 4], [u8; 3])>,
    vectors: Vec<([usize; 2], u8)>,
    refresh: Refresh,
}

impl Change {
    /// The frame behind those that left `state`.
    fn apply(&self, state: &State) -> Written {
        let key_frame = self.key_frame || state.references.is_none();
        let mut written = if key_frame {
            Written::key_frame()
        } else {
            Written::inter_frame(state)
        };
        let frame = &mut written.frame;
        frame.flags = self.flags & !FRAME_KEY_FRAME;
        if key_frame {
            frame.flags &= !(FRAME_SIGN_BIAS_GOLDEN | FRAME_SIGN_BIAS_ALT);
            frame.flags |= FRAME_KEY_FRAME;
        }
        self.apply_segment(&mut frame.segment);
        frame.lf = LoopFilter {
            ref_frm_delta: frame.lf.ref_frm_delta,
            mb_mode_delta: frame.lf.mb_mode_delta,
            ..self.lf
        };
        if self.lf.flags & LF_DELTA_UPDATE != 0 {
            frame.lf = self.lf;
        }
        frame.quant = self.quant;
        frame.num_dct_parts = self.num_dct_parts;
        for &([block, band, context, token], prob) in &self.coefficients {
            frame.entropy.coeff_probs[block][band][context][token] = prob;
        }
        let [skip, intra, last, golden] = self.probs;
        let no_skip_coeff = frame.flags & FRAME_MB_NO_SKIP_COEFF != 0;
        frame.prob_skip_false = if no_skip_coeff { skip } else { 0 };
        written.refresh.entropy = self.refresh.entropy;
        if key_frame {
            return written;
        }
        [frame.prob_intra, frame.prob_last, frame.prob_gf] = [intra, last, golden];
        if let Some((y, uv)) = self.modes {
            (frame.entropy.y_mode_probs, frame.entropy.uv_mode_probs) = (y, uv);
        }
        for &([axis, at], prob) in &self.vectors {
            frame.entropy.mv_probs[axis][at] = (prob << 1).max(1);
        }
        written.refresh = self.refresh;
        written
    }

    fn apply_segment(&self, segment: &mut Segment) {
        let flags = self.segment.flags;
        segment.flags &= SEGMENT_DELTA_VALUE_MODE;
        if flags & SEGMENT_ENABLED == 0 {
            return;
        }
        if flags & SEGMENT_UPDATE_FEATURE_DATA != 0 {
            segment.quant_update = self.segment.quant_update;
            segment.lf_update = self.segment.lf_update;
            segment.flags = flags;
        }
        segment.flags |= flags & !SEGMENT_DELTA_VALUE_MODE;
        if flags & SEGMENT_UPDATE_MAP != 0 {
            segment.segment_probs = self.segment.segment_probs;
        }
    }
}

prop_compose! {
    fn any_segment()(
        flags in 0..16_u32,
        quant_update in proptest::array::uniform4(-127..=127_i8),
        lf_update in proptest::array::uniform4(-63..=63_i8),
        segment_probs: [u8; 3],
    ) -> Segment {
        Segment { quant_update, lf_update, segment_probs, flags }
    }
}

prop_compose! {
    fn any_loop_filter()(
        flags in 0..8_u32,
        ref_frm_delta in proptest::array::uniform4(-63..=63_i8),
        mb_mode_delta in proptest::array::uniform4(-63..=63_i8),
        level in 0..64_u8,
        sharpness_level in 0..8_u8,
    ) -> LoopFilter {
        let update = if flags & LF_ADJ_ENABLE == 0 { LF_DELTA_UPDATE } else { 0 };
        LoopFilter { ref_frm_delta, mb_mode_delta, sharpness_level, level, flags: flags & !update }
    }
}

prop_compose! {
    fn any_quantization()(
        y_ac_qi in 0..128_u8,
        deltas in proptest::array::uniform5(-15..=15_i8),
    ) -> Quantization {
        let [y_dc_delta, y2_dc_delta, y2_ac_delta, uv_dc_delta, uv_ac_delta] = deltas;
        Quantization { y_ac_qi, y_dc_delta, y2_dc_delta, y2_ac_delta, uv_dc_delta, uv_ac_delta }
    }
}

prop_compose! {
    fn any_refresh()(
        last: bool,
        golden: bool,
        alternate: bool,
        entropy: bool,
        copies in proptest::array::uniform2(0..3_usize),
    ) -> Refresh {
        let copy = |refreshed: bool, copy: usize| {
            let copies = [CopyFrom::None, CopyFrom::Last, CopyFrom::Other];
            if refreshed { CopyFrom::None } else { copies[copy] }
        };
        Refresh {
            last,
            golden,
            alternate,
            copy_to_golden: copy(golden, copies[0]),
            copy_to_alternate: copy(alternate, copies[1]),
            entropy,
        }
    }
}

prop_compose! {
    fn any_change()(
        key_frame in proptest::bool::weighted(0.2),
        flags in 0..0x40_u64,
        segment in any_segment(),
        lf in any_loop_filter(),
        quant in any_quantization(),
        parts in 0..4_u32,
        probs: [u8; 4],
        coefficients in proptest::collection::vec(((0..4_usize, 0..8_usize, 0..3_usize, 0..11_usize), any::<u8>()), 0..40),
        modes: Option<([u8; 4], [u8; 3])>,
        vectors in proptest::collection::vec(((0..2_usize, 0..19_usize), 0..128_u8), 0..20),
        refresh in any_refresh(),
    ) -> Change {
        Change {
            key_frame,
            flags,
            segment,
            lf,
            quant,
            num_dct_parts: 1 << parts,
            probs,
            coefficients: coefficients.into_iter().map(|((a, b, c, d), prob)| ([a, b, c, d], prob)).collect(),
            modes,
            vectors: vectors.into_iter().map(|((axis, at), prob)| ([axis, at], prob)).collect(),
            refresh,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 256, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn roundtrip_frames(changes in proptest::collection::vec(any_change(), 1..6)) {
        let mut state = State::new();
        for (change, id) in changes.iter().zip(1..) {
            change.apply(&state).step(&mut state, id);
        }
    }

    #[test]
    fn no_crash(key_frame: bool, mut data: Vec<u8>, partition in 0..200_usize) {
        let mut state = State::new();
        state.decoded(&state.parse(TINY).unwrap(), 1);
        if let (true, [tag @ .., _]) = (data.len() > 10, &mut data[..]) {
            tag[0] = 0x10 | u8::from(!key_frame) | (partition << 5) as u8;
            tag[1] = (partition >> 3) as u8;
            tag[2] = 0;
            tag[3..6].copy_from_slice(&START_CODE);
        }
        if let Ok(header) = state.parse(&data) {
            let parts = usize::from(header.frame.num_dct_parts);
            let sizes: u32 = header.frame.dct_part_sizes[..parts].iter().sum();
            prop_assert!((header.frame.first_part_size + sizes) as usize <= data.len());
            state.decoded(&header, 2);
        }
    }
}
