//! VP9 headers by hand and at random, with writers of both headers that only tests need; hostile bytes;
//! the slot model.

use proptest::prelude::*;

use super::*;
use crate::bits::BitWriter;
use crate::boolean::BoolEncoder;

/// Headers of the first two frames of libvpx's test vector vp90-2-02-size-08x08 (BSD licence).
const KEY_FRAME: &[u8] = &[
    0x82, 0x49, 0x83, 0x42, 0x00, 0x00, 0x70, 0x00, 0x74, 0x00, 0x38, 0x24, 0x1c, 0x18, 0x06, 0x00,
    0x00, 0xf0, 0x30, 0x61, 0xf0, 0x6a, 0x8a, 0x5e, 0x71, 0xf4, 0x5e, 0xcd, 0xf5, 0xca, 0xf0, 0x00,
    0x00,
];
const INTER_FRAME: &[u8] = &[
    0x86, 0x00, 0x40, 0x92, 0x98, 0x00, 0x42, 0x40, 0x00, 0x03, 0x20, 0x00, 0x00,
];

/// Shows slot 5.
const SHOW_EXISTING: &[u8] = &[0b1000_1101];

fn coded(state: &State, data: &[u8]) -> CodedFrame {
    match state.parse(data) {
        Ok(Header::Coded(coded)) => coded,
        other => panic!("no coded frame: {other:?}"),
    }
}

#[test]
fn headers_are_read_as_the_specification_lays_them_out() {
    let mut state = State::new();
    let key = coded(&state, KEY_FRAME);
    let expected = Frame {
        lf: LoopFilter {
            flags: LF_DELTA_ENABLED | LF_DELTA_UPDATE,
            ..LF_DEFAULT
        },
        quant: Quantization {
            base_q_idx: 3,
            delta_q_y_dc: 0,
            delta_q_uv_dc: 0,
            delta_q_uv_ac: 0,
        },
        seg: SEG_DEFAULT,
        flags: FRAME_KEY_FRAME
            | FRAME_SHOW_FRAME
            | FRAME_REFRESH_FRAME_CTX
            | FRAME_X_SUBSAMPLING
            | FRAME_Y_SUBSAMPLING,
        compressed_header_size: 15,
        uncompressed_header_size: 18,
        frame_width_minus_1: 7,
        frame_height_minus_1: 7,
        render_width_minus_1: 7,
        render_height_minus_1: 7,
        last_frame_ts: 0,
        golden_frame_ts: 0,
        alt_frame_ts: 0,
        ref_frame_sign_bias: 0,
        reset_frame_context: 0,
        frame_context_idx: 0,
        profile: 0,
        bit_depth: 8,
        interpolation_filter: 0,
        tile_cols_log2: 0,
        tile_rows_log2: 0,
        reference_mode: REFERENCE_MODE_SINGLE,
    };
    assert_eq!(key.frame, expected);
    assert_eq!((key.refresh_frame_flags, key.ref_frame_idx), (0xff, None));
    state.decoded(&key, 7);

    let inter = coded(&state, INTER_FRAME);
    let expected = Frame {
        lf: LoopFilter {
            flags: LF_DELTA_ENABLED,
            ..LF_DEFAULT
        },
        quant: Quantization {
            base_q_idx: 18,
            ..expected.quant
        },
        flags: expected.flags & !FRAME_KEY_FRAME | FRAME_ALLOW_HIGH_PREC_MV,
        compressed_header_size: 3,
        uncompressed_header_size: 10,
        last_frame_ts: 7,
        golden_frame_ts: 7,
        alt_frame_ts: 7,
        ..expected
    };
    assert_eq!(inter.frame, expected);
    assert_eq!(
        (inter.refresh_frame_flags, inter.ref_frame_idx),
        (1, Some([0, 1, 2]))
    );
    state.decoded(&inter, 8);
    assert_eq!(state.references(), [8, 7, 7, 7, 7, 7, 7, 7].map(Some));
    assert_eq!(
        state.parse(SHOW_EXISTING),
        Ok(Header::ShowExisting { slot: 5, id: 7 })
    );
}

#[test]
fn what_is_not_a_frame_is_refused_by_name() {
    let mut after_key = State::new();
    after_key.decoded(&coded(&after_key, KEY_FRAME), 1);
    let end = |field, position| ParseError::Field(FieldError::End { field, position });
    let value = |field, position, value| {
        ParseError::Field(FieldError::Value {
            field,
            position,
            value,
        })
    };
    let changed = |at: usize, byte: u8| {
        let mut data = KEY_FRAME.to_vec();
        data[at] = byte;
        data
    };
    let no_reference = |slot| ParseError::NoReference { slot };
    let cut = ParseError::CompressedHeader {
        size: 15,
        position: 18,
        length: 32,
    };
    let marker = "marker of the compressed header";
    for (data, error) in [
        (Vec::new(), end("frame_marker", 0)),
        (vec![0x42], value("frame_marker", 0, 1)),
        (vec![0xb8], value("reserved_zero", 4, 1)),
        (KEY_FRAME[..17].to_vec(), end("header_size_in_bytes", 124)),
        (KEY_FRAME[..32].to_vec(), cut),
        (changed(1, 0x48), value("frame_sync_code", 8, 0x48_8342)),
        (changed(4, 0xe0), value("color_space", 32, 7)),
        (changed(17, 0), value("header_size_in_bytes", 124, 0)),
        (changed(18, 0xff), value(marker, 144, 1)),
        (INTER_FRAME.to_vec(), no_reference(0)),
        (SHOW_EXISTING.to_vec(), no_reference(5)),
    ] {
        assert_eq!(State::new().parse(&data), Err(error), "{data:02x?}");
    }
    let cut = ParseError::CompressedHeader {
        size: 3,
        position: 10,
        length: 12,
    };
    assert_eq!(after_key.parse(&INTER_FRAME[..12]), Err(cut));
}

#[test]
fn frames_without_references_start_anew_and_may_keep_slots() {
    let mut state = State::new();
    let mut key = Written::key_frame();
    key.frame.lf.flags = LF_DELTA_ENABLED | LF_DELTA_UPDATE;
    key.frame.lf.ref_deltas = [5, -6, 7, -63];
    key.frame.seg.flags =
        SEGMENTATION_ENABLED | SEGMENTATION_UPDATE_DATA | SEGMENTATION_ABS_OR_DELTA_UPDATE;
    key.frame.seg.feature_enabled[3] = 0b1011;
    key.frame.seg.feature_data[3] = [-255, 63, 0, 0];
    key.step(&mut state, 1);

    // Nothing said: the latest values. Smaller than its references, and kept in one slot.
    let mut inter = Written::inter_frame(&state, [0, 1, 7]);
    inter.frame.frame_width_minus_1 = 99;
    inter.refresh_frame_flags = 0b10;
    let parsed = inter.step(&mut state, 2);
    assert_eq!(parsed.frame.lf.ref_deltas, [5, -6, 7, -63]);
    assert_eq!(parsed.frame.seg.feature_data[3], [-255, 63, 0, 0]);

    // Of the size of slot 1, which is not the first reference.
    let mut sized = Written::inter_frame(&state, [0, 1, 2]);
    sized.size_from = Some(1);
    let parsed = sized.step(&mut state, 3);
    assert_eq!(
        (
            parsed.frame.frame_width_minus_1,
            parsed.frame.golden_frame_ts
        ),
        (99, 2)
    );

    let mut intra = Written::key_frame();
    intra.frame.flags = FRAME_INTRA_ONLY | FRAME_X_SUBSAMPLING | FRAME_Y_SUBSAMPLING;
    intra.frame.reset_frame_context = RESET_FRAME_CTX_SPEC;
    intra.refresh_frame_flags = 0b1000_0000;
    let parsed = intra.step(&mut state, 4);
    assert_eq!(parsed.frame.lf.ref_deltas, LF_DEFAULT.ref_deltas);
    assert_eq!(parsed.frame.seg, SEG_DEFAULT);
    assert_eq!(state.references(), [3, 3, 3, 3, 3, 3, 3, 4].map(Some));
}

#[test]
fn tile_columns_are_bounded_by_the_width() {
    for (width, least, most) in [
        (1, 0, 0),
        (448, 0, 0),
        (449, 0, 1),
        (4096, 0, 4),
        (4097, 1, 4),
        (65536, 4, 6),
    ] {
        for tile_cols_log2 in least..=most {
            let mut key = Written::key_frame();
            key.frame.frame_width_minus_1 = (width - 1) as u16;
            key.frame.tile_cols_log2 = tile_cols_log2;
            let parsed = key.step(&mut State::new(), 1);
            assert_eq!(parsed.frame.tile_cols_log2, tile_cols_log2, "{width}");
        }
    }
    let mut key = Written::key_frame();
    key.frame.frame_width_minus_1 = u16::MAX;
    key.frame.tile_cols_log2 = 7;
    let parsed = State::new().parse(&key.write());
    let field = "tile_cols_log2";
    assert!(
        matches!(parsed, Err(ParseError::Field(FieldError::Value { field: found, value: 7, .. })) if found == field)
    );
}

/// Headers to be written.
#[derive(Debug, Clone)]
struct Written {
    frame: Frame,
    compressed: CompressedHeader,
    refresh_frame_flags: u8,
    ref_frame_idx: Option<[u8; 3]>,
    /// The reference, 0 to 2, whose size the frame has by name.
    size_from: Option<usize>,
}

impl Written {
    fn key_frame() -> Self {
        Written {
            frame: Frame {
                lf: LF_DEFAULT,
                quant: Quantization {
                    base_q_idx: 60,
                    delta_q_y_dc: -15,
                    delta_q_uv_dc: 0,
                    delta_q_uv_ac: 15,
                },
                seg: SEG_DEFAULT,
                flags: FRAME_KEY_FRAME
                    | FRAME_SHOW_FRAME
                    | FRAME_X_SUBSAMPLING
                    | FRAME_Y_SUBSAMPLING,
                compressed_header_size: 0,
                uncompressed_header_size: 0,
                frame_width_minus_1: 351,
                frame_height_minus_1: 287,
                render_width_minus_1: 175,
                render_height_minus_1: 143,
                last_frame_ts: 0,
                golden_frame_ts: 0,
                alt_frame_ts: 0,
                ref_frame_sign_bias: 0,
                reset_frame_context: RESET_FRAME_CTX_NONE,
                frame_context_idx: 2,
                profile: 0,
                bit_depth: 8,
                interpolation_filter: 0,
                tile_cols_log2: 0,
                tile_rows_log2: 0,
                reference_mode: REFERENCE_MODE_SINGLE,
            },
            compressed: CompressedHeader::NONE,
            refresh_frame_flags: 0xff,
            ref_frame_idx: None,
            size_from: None,
        }
    }

    fn inter_frame(state: &State, ref_frame_idx: [u8; 3]) -> Self {
        let [last, golden, alternate] =
            ref_frame_idx.map(|slot| state.slots[usize::from(slot)].unwrap().id);
        let key = Self::key_frame();
        Written {
            frame: Frame {
                lf: LoopFilter {
                    flags: LF_DELTA_ENABLED,
                    ..state.lf
                },
                seg: Segmentation {
                    flags: state.seg.flags & SEGMENTATION_ABS_OR_DELTA_UPDATE,
                    ..state.seg
                },
                flags: state.color.flags,
                bit_depth: state.color.bit_depth,
                last_frame_ts: last,
                golden_frame_ts: golden,
                alt_frame_ts: alternate,
                ..key.frame
            },
            ref_frame_idx: Some(ref_frame_idx),
            ..key
        }
    }

    /// Writes, parses, compares and decodes.
    fn step(&self, state: &mut State, id: u64) -> CodedFrame {
        let mut expected = self.clone();
        if let (Some(slots), Some(at)) = (self.ref_frame_idx, self.size_from) {
            let size = state.slots[usize::from(slots[at])].unwrap().size;
            expected.frame.frame_width_minus_1 = size.width_minus_1;
            expected.frame.frame_height_minus_1 = size.height_minus_1;
        }
        let data = expected.write();
        let parsed = coded(state, &data);
        // What follows from the bits and not from the headers.
        expected.frame.compressed_header_size = parsed.frame.compressed_header_size;
        expected.frame.uncompressed_header_size = parsed.frame.uncompressed_header_size;
        assert_eq!(parsed.frame, expected.frame);
        assert_eq!(parsed.compressed, expected.compressed);
        assert_eq!(parsed.refresh_frame_flags, expected.refresh_frame_flags);
        assert_eq!(parsed.ref_frame_idx, expected.ref_frame_idx);
        let headers = parsed.frame.uncompressed_header_size + parsed.frame.compressed_header_size;
        assert_eq!(usize::from(headers), data.len());
        state.decoded(&parsed, id);
        parsed
    }

    fn has(&self, flag: u32) -> bool {
        self.frame.flags & flag != 0
    }

    fn write(&self) -> Vec<u8> {
        let compressed = self.compressed_header();
        let mut bits = BitWriter::new();
        self.uncompressed_header(&mut bits, compressed.len());
        [bits.into_bytes(), compressed].concat()
    }

    fn uncompressed_header(&self, bits: &mut BitWriter, compressed: usize) {
        let frame = &self.frame;
        bits.u(2, 2);
        bits.u(1, (frame.profile & 1).into());
        bits.u(1, (frame.profile >> 1).into());
        if frame.profile == 3 {
            bits.u(1, 0);
        }
        bits.u(1, 0);
        bits.flag(!self.has(FRAME_KEY_FRAME));
        bits.flag(self.has(FRAME_SHOW_FRAME));
        bits.flag(self.has(FRAME_ERROR_RESILIENT));
        if !self.has(FRAME_KEY_FRAME) {
            if !self.has(FRAME_SHOW_FRAME) {
                bits.flag(self.has(FRAME_INTRA_ONLY));
            }
            if !self.has(FRAME_ERROR_RESILIENT) {
                let reset = frame.reset_frame_context;
                bits.u(2, if reset == 0 { 0 } else { u32::from(reset) + 1 });
            }
        }
        match self.ref_frame_idx {
            None => self.intra(bits),
            Some(slots) => self.inter(bits, slots),
        }
        if !self.has(FRAME_ERROR_RESILIENT) {
            bits.flag(self.has(FRAME_REFRESH_FRAME_CTX));
            bits.flag(self.has(FRAME_PARALLEL_DEC_MODE));
        }
        bits.u(2, frame.frame_context_idx.into());
        self.loop_filter(bits);
        bits.u(8, frame.quant.base_q_idx.into());
        for delta in [
            frame.quant.delta_q_y_dc,
            frame.quant.delta_q_uv_dc,
            frame.quant.delta_q_uv_ac,
        ] {
            bits.flag(delta != 0);
            if delta != 0 {
                su(bits, 4, delta);
            }
        }
        self.segmentation(bits);
        let superblocks = (u32::from(frame.frame_width_minus_1) + 1).div_ceil(64);
        let least = (0..7).find(|least| 64 << least >= superblocks).unwrap();
        let most = (0..9)
            .rev()
            .find(|most| superblocks >> most >= 4)
            .unwrap_or(0);
        for _ in least..frame.tile_cols_log2 {
            bits.flag(true);
        }
        if frame.tile_cols_log2 < most {
            bits.flag(false);
        }
        bits.flag(frame.tile_rows_log2 > 0);
        if frame.tile_rows_log2 > 0 {
            bits.flag(frame.tile_rows_log2 > 1);
        }
        bits.u(16, compressed as u32);
    }

    fn intra(&self, bits: &mut BitWriter) {
        let frame = &self.frame;
        bits.u(24, SYNC_CODE);
        if self.has(FRAME_KEY_FRAME) || frame.profile > 0 {
            if frame.profile >= 2 {
                bits.flag(frame.bit_depth == 12);
            }
            bits.u(3, 2);
            bits.flag(self.has(FRAME_COLOR_RANGE_FULL_SWING));
            if frame.profile % 2 == 1 {
                bits.flag(self.has(FRAME_X_SUBSAMPLING));
                bits.flag(self.has(FRAME_Y_SUBSAMPLING));
                bits.u(1, 0);
            }
        }
        if !self.has(FRAME_KEY_FRAME) {
            bits.u(8, self.refresh_frame_flags.into());
        }
        self.size(bits);
        self.render_size(bits);
    }

    fn inter(&self, bits: &mut BitWriter, slots: [u8; 3]) {
        bits.u(8, self.refresh_frame_flags.into());
        for (at, slot) in slots.into_iter().enumerate() {
            bits.u(3, slot.into());
            bits.u(1, (self.frame.ref_frame_sign_bias >> at & 1).into());
        }
        for _ in 0..self.size_from.unwrap_or(3) {
            bits.flag(false);
        }
        match self.size_from {
            Some(_) => bits.flag(true),
            None => self.size(bits),
        }
        self.render_size(bits);
        bits.flag(self.has(FRAME_ALLOW_HIGH_PREC_MV));
        let filter = self.frame.interpolation_filter;
        bits.flag(filter == INTERP_FILTER_SWITCHABLE);
        if let Some(raw) = INTERPOLATION_FILTERS
            .iter()
            .position(|&known| known == filter)
        {
            bits.u(2, raw as u32);
        }
    }

    fn size(&self, bits: &mut BitWriter) {
        bits.u(16, self.frame.frame_width_minus_1.into());
        bits.u(16, self.frame.frame_height_minus_1.into());
    }

    fn render_size(&self, bits: &mut BitWriter) {
        let frame = &self.frame;
        let render = [frame.render_width_minus_1, frame.render_height_minus_1];
        let different = render != [frame.frame_width_minus_1, frame.frame_height_minus_1];
        bits.flag(different);
        if different {
            render.into_iter().for_each(|size| bits.u(16, size.into()));
        }
    }

    fn loop_filter(&self, bits: &mut BitWriter) {
        let lf = &self.frame.lf;
        bits.u(6, lf.level.into());
        bits.u(3, lf.sharpness.into());
        bits.flag(lf.flags & LF_DELTA_ENABLED != 0);
        if lf.flags & LF_DELTA_ENABLED != 0 {
            bits.flag(lf.flags & LF_DELTA_UPDATE != 0);
            if lf.flags & LF_DELTA_UPDATE != 0 {
                for delta in lf.ref_deltas.into_iter().chain(lf.mode_deltas) {
                    bits.flag(true);
                    su(bits, 6, delta);
                }
            }
        }
    }

    fn segmentation(&self, bits: &mut BitWriter) {
        let seg = &self.frame.seg;
        let has = |flag| seg.flags & flag != 0;
        let prob = |bits: &mut BitWriter, prob: u8| {
            bits.flag(prob != 255);
            if prob != 255 {
                bits.u(8, prob.into());
            }
        };
        bits.flag(has(SEGMENTATION_ENABLED));
        if !has(SEGMENTATION_ENABLED) {
            return;
        }
        bits.flag(has(SEGMENTATION_UPDATE_MAP));
        if has(SEGMENTATION_UPDATE_MAP) {
            seg.tree_probs
                .into_iter()
                .for_each(|value| prob(bits, value));
            bits.flag(has(SEGMENTATION_TEMPORAL_UPDATE));
            if has(SEGMENTATION_TEMPORAL_UPDATE) {
                seg.pred_probs
                    .into_iter()
                    .for_each(|value| prob(bits, value));
            }
        }
        bits.flag(has(SEGMENTATION_UPDATE_DATA));
        if has(SEGMENTATION_UPDATE_DATA) {
            bits.flag(has(SEGMENTATION_ABS_OR_DELTA_UPDATE));
            for (data, enabled) in seg.feature_data.into_iter().zip(seg.feature_enabled) {
                for (feature, (value, (count, signed))) in
                    data.into_iter().zip(FEATURES).enumerate()
                {
                    bits.flag(enabled & 1 << feature != 0);
                    if enabled & 1 << feature != 0 {
                        bits.u(count, value.unsigned_abs().into());
                        if signed {
                            bits.flag(value < 0);
                        }
                    }
                }
            }
        }
    }

    fn compressed_header(&self) -> Vec<u8> {
        let header = &self.compressed;
        let mut bits = BoolEncoder::new();
        bits.flag(false);
        if !self.frame.quant.is_lossless() {
            bits.literal(2, header.tx_mode.min(3).into());
            if header.tx_mode >= 3 {
                bits.flag(header.tx_mode == 4);
            }
            if header.tx_mode == 4 {
                differences(&mut bits, header.tx8.as_flattened());
                differences(&mut bits, header.tx16.as_flattened());
                differences(&mut bits, header.tx32.as_flattened());
            }
        }
        for size in &header.coef[..=usize::from(header.tx_mode.min(3))] {
            let any = *size != CompressedHeader::NONE.coef[0];
            bits.flag(any);
            if any {
                for bands in size.as_flattened() {
                    for (band, contexts) in bands.iter().enumerate() {
                        let contexts = if band == 0 {
                            &contexts[..3]
                        } else {
                            &contexts[..]
                        };
                        differences(&mut bits, contexts.as_flattened());
                    }
                }
            }
        }
        differences(&mut bits, &header.skip);
        if !self.frame.is_intra() {
            self.inter_probs(&mut bits);
        }
        bits.into_bytes()
    }

    fn inter_probs(&self, bits: &mut BoolEncoder) {
        let (header, mode) = (&self.compressed, self.frame.reference_mode);
        differences(bits, header.inter_mode.as_flattened());
        if self.frame.interpolation_filter == INTERP_FILTER_SWITCHABLE {
            differences(bits, header.interp_filter.as_flattened());
        }
        differences(bits, &header.is_inter);
        if ![0, 7].contains(&self.frame.ref_frame_sign_bias) {
            bits.flag(mode != REFERENCE_MODE_SINGLE);
            if mode != REFERENCE_MODE_SINGLE {
                bits.flag(mode == REFERENCE_MODE_SELECT);
            }
        }
        if mode == REFERENCE_MODE_SELECT {
            differences(bits, &header.comp_mode);
        }
        if mode != REFERENCE_MODE_COMPOUND {
            differences(bits, header.single_ref.as_flattened());
        }
        if mode != REFERENCE_MODE_SINGLE {
            differences(bits, &header.comp_ref);
        }
        differences(bits, header.y_mode.as_flattened());
        differences(bits, header.partition.as_flattened());
        let mv = &header.mv;
        values(bits, &mv.joint);
        for axis in 0..2 {
            values(bits, &[mv.sign[axis]]);
            values(bits, &mv.classes[axis]);
            values(bits, &[mv.class0_bit[axis]]);
            values(bits, &mv.bits[axis]);
        }
        for axis in 0..2 {
            values(bits, mv.class0_fr[axis].as_flattened());
            values(bits, &mv.fr[axis]);
        }
        if self.has(FRAME_ALLOW_HIGH_PREC_MV) {
            for axis in 0..2 {
                values(bits, &[mv.class0_hp[axis], mv.hp[axis]]);
            }
        }
    }
}

fn su(bits: &mut BitWriter, count: u32, value: i8) {
    bits.u(count, value.unsigned_abs().into());
    bits.flag(value < 0);
}

/// The index in `inv_map_table`: every thirteenth difference from 7 on is coarse and comes first.
fn differences(bits: &mut BoolEncoder, probs: &[u8]) {
    for &prob in probs {
        bits.write(252, prob != 0);
        if prob == 0 {
            continue;
        }
        let prob = u32::from(prob);
        let index = if prob % 13 == 7 {
            (prob - 7) / 13
        } else {
            19 + prob - (prob + 5) / 13
        };
        match index {
            0..16 => {
                bits.literal(1, 0);
                bits.literal(4, index);
            }
            16..32 => {
                bits.literal(2, 0b10);
                bits.literal(4, index - 16);
            }
            32..64 => {
                bits.literal(3, 0b110);
                bits.literal(5, index - 32);
            }
            64..129 => {
                bits.literal(3, 0b111);
                bits.literal(7, index - 64);
            }
            _ => {
                bits.literal(3, 0b111);
                bits.literal(7, (index + 1) >> 1);
                bits.literal(1, (index + 1) & 1);
            }
        }
    }
}

fn values(bits: &mut BoolEncoder, probs: &[u8]) {
    for &prob in probs {
        bits.write(252, prob != 0);
        if prob != 0 {
            bits.literal(7, (prob >> 1).into());
        }
    }
}

/// Differences: most of them none.
fn some_differences(length: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![4 => Just(0), 1 => 1..=253_u8], length)
}

prop_compose! {
    fn any_compressed()(
        tx_mode in 0..=4_u8,
        coef in some_differences(4 * 2 * 2 * 6 * 6 * 3),
        other in some_differences(400),
        values in proptest::collection::vec(any::<u8>(), 80),
    ) -> CompressedHeader {
        let mut header = CompressedHeader { tx_mode, ..CompressedHeader::NONE };
        let mut coef = coef.into_iter();
        for bands in header.coef.as_flattened_mut().as_flattened_mut() {
            for (band, contexts) in bands.iter_mut().enumerate() {
                let contexts = if band == 0 { &mut contexts[..3] } else { &mut contexts[..] };
                contexts.as_flattened_mut().fill_with(|| coef.next().unwrap());
            }
        }
        let mut other = other.into_iter();
        for probs in [
            header.tx8.as_flattened_mut(),
            header.tx16.as_flattened_mut(),
            header.tx32.as_flattened_mut(),
            &mut header.skip,
            header.inter_mode.as_flattened_mut(),
            header.interp_filter.as_flattened_mut(),
            &mut header.is_inter,
            &mut header.comp_mode,
            header.single_ref.as_flattened_mut(),
            &mut header.comp_ref,
            header.y_mode.as_flattened_mut(),
            header.partition.as_flattened_mut(),
        ] {
            probs.fill_with(|| other.next().unwrap());
        }
        let mut values = values.into_iter().map(|value| if value < 128 { 0 } else { value | 1 });
        for probs in [
            &mut header.mv.joint[..],
            &mut header.mv.sign,
            header.mv.classes.as_flattened_mut(),
            &mut header.mv.class0_bit,
            header.mv.bits.as_flattened_mut(),
            header.mv.class0_fr.as_flattened_mut().as_flattened_mut(),
            header.mv.fr.as_flattened_mut(),
            &mut header.mv.class0_hp,
            &mut header.mv.hp,
        ] {
            probs.fill_with(|| values.next().unwrap());
        }
        header
    }
}

prop_compose! {
    fn any_segmentation()(
        flags in 0..0x20_u8,
        tree_probs: [u8; 7],
        pred_probs: [u8; 3],
        feature_enabled in proptest::array::uniform8(0..16_u8),
        values in proptest::array::uniform8((-255..=255_i16, -63..=63_i16, 0..=3_i16)),
    ) -> Segmentation {
        let feature_data = std::array::from_fn(|segment| {
            let (quantiser, level, reference) = values[segment];
            let values = [quantiser, level, reference, 0];
            std::array::from_fn(|feature| {
                if feature_enabled[segment] & 1 << feature != 0 { values[feature] } else { 0 }
            })
        });
        Segmentation { feature_data, feature_enabled, tree_probs, pred_probs, flags }
    }
}

prop_compose! {
    /// A frame's own values, for [`apply`] to make a possible frame of.
    fn any_frame()(
        lf in (0..4_u8, proptest::array::uniform4(-63..=63_i8), proptest::array::uniform2(-63..=63_i8), 0..64_u8, 0..8_u8),
        quant in (any::<u8>(), -15..=15_i8, -15..=15_i8, -15..=15_i8),
        lossless in proptest::bool::weighted(0.1),
        seg in any_segmentation(),
        flags in 0..0x400_u32,
        sizes: [u16; 4],
        modes in (0..8_u8, 0..3_u8, 0..4_u8, 0..4_u8, 0..2_u8, 0..5_u8, 0..3_u8, 0..3_u8),
    ) -> Frame {
        let (lf_flags, ref_deltas, mode_deltas, level, sharpness) = lf;
        let (base_q_idx, delta_q_y_dc, delta_q_uv_dc, delta_q_uv_ac) = if lossless { (0, 0, 0, 0) } else { quant };
        let (ref_frame_sign_bias, reset_frame_context, frame_context_idx, profile, depth, filter, rows, mode) = modes;
        Frame {
            lf: LoopFilter { ref_deltas, mode_deltas, level, sharpness, flags: lf_flags },
            quant: Quantization { base_q_idx, delta_q_y_dc, delta_q_uv_dc, delta_q_uv_ac },
            seg,
            flags,
            compressed_header_size: 0,
            uncompressed_header_size: 0,
            frame_width_minus_1: sizes[0],
            frame_height_minus_1: sizes[1],
            render_width_minus_1: sizes[2],
            render_height_minus_1: sizes[3],
            last_frame_ts: 0,
            golden_frame_ts: 0,
            alt_frame_ts: 0,
            ref_frame_sign_bias,
            reset_frame_context,
            frame_context_idx,
            profile,
            bit_depth: if profile < 2 { 8 } else { 10 + 2 * depth },
            interpolation_filter: filter,
            tile_cols_log2: 0,
            tile_rows_log2: rows,
            reference_mode: mode,
        }
    }
}

/// A frame with as much of `wanted` as the syntax allows behind those that left `state`.
fn apply(
    state: &State,
    wanted: &Frame,
    compressed: &CompressedHeader,
    refresh_frame_flags: u8,
    slots: [u8; 3],
) -> Written {
    let sampling = FRAME_X_SUBSAMPLING | FRAME_Y_SUBSAMPLING;
    let color_flags = sampling | FRAME_COLOR_RANGE_FULL_SWING;
    let mut flags = wanted.flags;
    if state.slots[0].is_none() {
        flags |= FRAME_KEY_FRAME;
    }
    if flags & FRAME_KEY_FRAME != 0 || flags & FRAME_SHOW_FRAME != 0 {
        flags &= !FRAME_INTRA_ONLY;
    }
    if flags & FRAME_ERROR_RESILIENT != 0 {
        flags = flags & !FRAME_REFRESH_FRAME_CTX | FRAME_PARALLEL_DEC_MODE;
    }
    let intra = flags & (FRAME_KEY_FRAME | FRAME_INTRA_ONLY) != 0;
    let mut written = Written {
        frame: *wanted,
        compressed: *compressed,
        refresh_frame_flags,
        ref_frame_idx: (!intra).then_some(slots),
        size_from: None,
    };
    let frame = &mut written.frame;
    if flags & FRAME_KEY_FRAME != 0 {
        written.refresh_frame_flags = 0xff;
    }
    if flags & (FRAME_KEY_FRAME | FRAME_ERROR_RESILIENT) != 0 {
        frame.reset_frame_context = RESET_FRAME_CTX_NONE;
    }
    if intra {
        flags &= !FRAME_ALLOW_HIGH_PREC_MV;
        if frame.profile % 2 == 0 {
            flags |= sampling;
        }
        if flags & FRAME_INTRA_ONLY != 0 && frame.profile == 0 {
            flags &= !FRAME_COLOR_RANGE_FULL_SWING;
        }
        frame.ref_frame_sign_bias = 0;
        frame.interpolation_filter = 0;
        frame.reference_mode = REFERENCE_MODE_SINGLE;
    } else {
        flags = flags & !color_flags | state.color.flags;
        frame.bit_depth = state.color.bit_depth;
        if [0, 7].contains(&frame.ref_frame_sign_bias) {
            frame.reference_mode = REFERENCE_MODE_SINGLE;
        }
        let ids = slots.map(|slot| state.slots[usize::from(slot)].unwrap().id);
        [
            frame.last_frame_ts,
            frame.golden_frame_ts,
            frame.alt_frame_ts,
        ] = ids;
    }
    frame.flags = flags;
    let independent = intra || flags & FRAME_ERROR_RESILIENT != 0;
    let (lf, seg) = if independent {
        (LF_DEFAULT, SEG_DEFAULT)
    } else {
        (state.lf, state.seg)
    };
    if frame.lf.flags & LF_DELTA_ENABLED == 0 {
        frame.lf.flags = 0;
    }
    if frame.lf.flags & LF_DELTA_UPDATE == 0 {
        (frame.lf.ref_deltas, frame.lf.mode_deltas) = (lf.ref_deltas, lf.mode_deltas);
    }
    apply_segmentation(&mut frame.seg, &seg);
    let superblocks = (u32::from(frame.frame_width_minus_1) + 1).div_ceil(64);
    frame.tile_cols_log2 = (0..7).find(|least| 64 << least >= superblocks).unwrap();
    apply_compressed(&mut written);
    written
}

fn apply_segmentation(wanted: &mut Segmentation, before: &Segmentation) {
    if wanted.flags & SEGMENTATION_ENABLED == 0 {
        wanted.flags = 0;
    }
    if wanted.flags & SEGMENTATION_UPDATE_MAP == 0 {
        wanted.flags &= !SEGMENTATION_TEMPORAL_UPDATE;
        (wanted.tree_probs, wanted.pred_probs) = (before.tree_probs, before.pred_probs);
    } else if wanted.flags & SEGMENTATION_TEMPORAL_UPDATE == 0 {
        wanted.pred_probs = [255; 3];
    }
    if wanted.flags & SEGMENTATION_UPDATE_DATA == 0 {
        let absolute = SEGMENTATION_ABS_OR_DELTA_UPDATE;
        wanted.flags = wanted.flags & !absolute | before.flags & absolute;
        wanted.feature_data = before.feature_data;
        wanted.feature_enabled = before.feature_enabled;
    }
}

/// Takes out what the frame's header leaves no place for.
fn apply_compressed(written: &mut Written) {
    let (frame, header) = (&written.frame, &mut written.compressed);
    let none = CompressedHeader::NONE;
    if frame.quant.is_lossless() {
        header.tx_mode = 0;
    }
    if header.tx_mode != 4 {
        (header.tx8, header.tx16, header.tx32) = (none.tx8, none.tx16, none.tx32);
    }
    for size in &mut header.coef[usize::from(header.tx_mode.min(3)) + 1..] {
        *size = none.coef[0];
    }
    if frame.is_intra() {
        *header = CompressedHeader {
            tx_mode: header.tx_mode,
            tx8: header.tx8,
            tx16: header.tx16,
            tx32: header.tx32,
            coef: header.coef,
            skip: header.skip,
            ..none
        };
        return;
    }
    if frame.interpolation_filter != INTERP_FILTER_SWITCHABLE {
        header.interp_filter = none.interp_filter;
    }
    if frame.reference_mode != REFERENCE_MODE_SELECT {
        header.comp_mode = none.comp_mode;
    }
    if frame.reference_mode == REFERENCE_MODE_COMPOUND {
        header.single_ref = none.single_ref;
    }
    if frame.reference_mode == REFERENCE_MODE_SINGLE {
        header.comp_ref = none.comp_ref;
    }
    if frame.flags & FRAME_ALLOW_HIGH_PREC_MV == 0 {
        (header.mv.class0_hp, header.mv.hp) = (none.mv.class0_hp, none.mv.hp);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 256, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn roundtrip_frames(
        frames in proptest::collection::vec((any_frame(), any_compressed(), any::<u8>(), proptest::array::uniform3(0..8_u8), 0..6_usize), 1..6),
    ) {
        let mut state = State::new();
        for ((frame, compressed, refresh, slots, size_from), id) in frames.iter().zip(1..) {
            let mut written = apply(&state, frame, compressed, *refresh, *slots);
            // A size by reference has its own bounds for tiles: only where one is tried.
            if written.ref_frame_idx.is_some() && *size_from < 3 {
                written.size_from = Some(*size_from);
                let size = state.slots[usize::from(slots[*size_from])].unwrap().size;
                let superblocks = (u32::from(size.width_minus_1) + 1).div_ceil(64);
                written.frame.tile_cols_log2 = (0..7).find(|least| 64 << least >= superblocks).unwrap();
            }
            written.step(&mut state, id);
        }
    }

    #[test]
    fn no_crash(key_frame: bool, data: Vec<u8>, at in 0..40_usize) {
        let mut state = State::new();
        state.decoded(&coded(&state, KEY_FRAME), 1);
        let header = if key_frame { KEY_FRAME } else { INTER_FRAME };
        let data = [&header[..at.min(header.len())], &data].concat();
        if let Ok(Header::Coded(coded)) = state.parse(&data) {
            let headers = usize::from(coded.frame.uncompressed_header_size) + usize::from(coded.frame.compressed_header_size);
            prop_assert!(headers <= data.len());
            state.decoded(&coded, 2);
        }
    }
}
