//! H.264 without media: streams of a few bytes, random structs there and back, hostile bytes and
//! structs. `reference_marking` has the rows of what is held when.

mod draw;
mod reference_marking;
mod slice_writer;

use draw::Draw;
use proptest::prelude::*;

use super::*;
use crate::annexb::nal_units;

/// A stream's NAL units as hexadecimal bytes, slices cut behind their headers.
struct Stream {
    name: &'static str,
    sps: &'static str,
    pps: &'static str,
    slices: &'static [SliceRow],
    display_size: (u32, u32),
}

/// Bytes; bits of the header, of the order count and of the marking; type; order counts.
type SliceRow = (&'static str, [u32; 3], SliceType, (i32, i32));

/// Made for this test by libx264 from FFmpeg's `testsrc2` of 64x48; the numbers are those of FFmpeg's
/// `trace_headers`, which is another implementation.
#[rustfmt::skip]
const STREAMS: [Stream; 4] = [
    Stream {
        name: "weighted P, B as reference, B",
        sps: "6764000aacd9447b011000000300100000030320f1225960",
        pps: "68ebe3cb22c0",
        slices: &[
            ("6588840047dae397", [40, 6, 2], SliceType::I, (0, 0)),
            ("419a236c457fbc7c", [44, 6, 1], SliceType::P, (6, 6)),
            ("419e417884bff814", [45, 6, 1], SliceType::B, (2, 2)),
            ("019e626a42dff85c", [46, 6, 0], SliceType::B, (4, 4)),
        ],
        display_size: (64, 48),
    },
    Stream {
        name: "MBAFF",
        sps: "67640015acec44fcb8088000000300800000190f8a149c",
        pps: "68faa3cb22c0",
        slices: &[
            ("6588822c11ffd2e3", [42, 7, 2], SliceType::I, (1, 0)),
            ("419a257915ff0514", [42, 7, 1], SliceType::P, (5, 4)),
            ("019e437e429f6ac1", [46, 7, 0], SliceType::B, (3, 2)),
        ],
        display_size: (64, 48),
    },
    Stream {
        name: "baseline, two slices a picture",
        sps: "6742c00ad9047b011000000300100000030320f1226480",
        pps: "68cb83cb20",
        slices: &[
            ("65888411f1088a80", [34, 0, 2], SliceType::I, (0, 0)),
            ("6512221047f1ff87", [40, 0, 2], SliceType::I, (0, 0)),
            ("419a382b8980", [33, 0, 1], SliceType::P, (2, 2)),
        ],
        display_size: (64, 48),
    },
    Stream {
        name: "4:4:4 with scaling lists",
        sps: "67f4000a9196847b011000000300100000030320f1226a",
        pps: "68ef0f11300011",
        slices: &[
            ("65888415ffe9d7ad", [34, 0, 2], SliceType::I, (0, 0)),
            ("419a2622bf1e1478", [37, 0, 1], SliceType::P, (2, 2)),
        ],
        display_size: (64, 48),
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn headers_read_as_another_implementation_reads_them() {
    for stream in &STREAMS {
        let mut sets = ParameterSets::new();
        sets.add(&bytes(stream.sps)).expect(stream.name);
        sets.add(&bytes(stream.pps)).expect(stream.name);
        let (sps, _) = sets.pps(0).expect(stream.name);
        assert_eq!(sps.display_size(), stream.display_size, "{}", stream.name);
        let mut dpb = Dpb::new();
        let mut previous: Option<SliceHeader> = None;
        let mut poc = PicOrderCnt::default();
        for &(nal, sizes, slice_type, (top, bottom)) in stream.slices {
            let slice = sets.parse_slice_header(&bytes(nal)).expect(stream.name);
            let read = [
                slice.header_bit_size,
                slice.pic_order_cnt_bit_size,
                slice.dec_ref_pic_marking_bit_size,
            ];
            assert_eq!(read, sizes, "{}: {nal}", stream.name);
            assert_eq!(slice.slice_type, slice_type, "{}: {nal}", stream.name);
            if previous
                .as_ref()
                .is_none_or(|last| slice.starts_picture(last))
            {
                poc = dpb.decode(0, &sps.sps, &slice).expect(stream.name).poc;
            }
            assert_eq!(
                (poc.top, poc.bottom),
                (top, bottom),
                "{}: {nal}",
                stream.name
            );
            previous = Some(slice);
        }
    }
}

/// Reads a written SPS and PPS.
fn read_back(written: &[u8]) -> (SeqParameterSet, PicParameterSet) {
    let nals: Vec<&[u8]> = nal_units(written).collect();
    let [sps, pps] = nals[..] else {
        panic!("{} NAL units", nals.len());
    };
    let sps = parse_sps(sps).expect("SPS");
    let pps = parse_pps(pps, |_| Ok(sps.sps.chroma_format_idc)).expect("PPS");
    (sps, pps)
}

/// Writes both sets, reads them, and finds what was written: twice the same bytes.
fn check_roundtrip(sps: &Sps, pps: &Pps, matrix: &ScalingMatrix) {
    let write = || {
        let mut out = Vec::new();
        write_sps(&mut out, sps).expect("SPS");
        write_pps(&mut out, sps, pps, matrix).expect("PPS");
        out
    };
    let written = write();
    assert_eq!(written, write());
    let (sps_back, pps_back) = read_back(&written);
    assert_eq!(sps_back.sps, *sps);
    assert_eq!(sps_back.display_size(), sps.size());
    let (pps_controls, matrix_back) = pps_back.controls(&sps_back);
    assert_eq!(pps_controls, *pps);
    if !pps.scaling_matrix_present {
        assert_eq!(matrix_back, ScalingMatrix::FLAT);
        return;
    }
    assert_eq!(matrix_back.scaling_list_4x4, matrix.scaling_list_4x4);
    if pps.transform_8x8_mode {
        let used = if sps.chroma_format_idc == 3 { 6 } else { 2 };
        let lists = |matrix: &ScalingMatrix| matrix.scaling_list_8x8[..used].to_vec();
        assert_eq!(lists(&matrix_back), lists(matrix));
    }
}

#[test]
fn parameter_sets_come_back_from_what_is_written() {
    for stream in &STREAMS {
        let mut sets = ParameterSets::new();
        sets.add(&bytes(stream.sps)).expect(stream.name);
        sets.add(&bytes(stream.pps)).expect(stream.name);
        let (sps, pps) = sets.pps(0).expect(stream.name);
        let (pps, matrix) = pps.controls(sps);
        check_roundtrip(&sps.sps, &pps, &matrix);
    }
}

/// What the daemon sends its decoder for a Main profile picture, byte by byte: a change here makes
/// every recorded job's headers new ones.
#[test]
fn written_bytes_stay_what_they_are() {
    let sps = Sps {
        profile_idc: 77,
        constraint_set_flags: 0b10,
        level_idc: 30,
        max_num_ref_frames: 4,
        pic_width_in_mbs_minus1: 44,
        pic_height_in_map_units_minus1: 35,
        direct_8x8_inference: true,
        ..Sps::default()
    };
    let pps = Pps {
        entropy_coding_mode: true,
        num_ref_idx_l0_default_active_minus1: 2,
        deblocking_filter_control_present: true,
        ..Pps::default()
    };
    let mut out = Vec::new();
    write_sps(&mut out, &sps).expect("SPS");
    write_pps(&mut out, &sps, &pps, &ScalingMatrix::FLAT).expect("PPS");
    let expected = bytes("00000001674d401ef2816824d00f080425800000000168eb8f20");
    assert_eq!(out, expected, "{out:02x?}");
}

#[test]
fn a_field_out_of_range_is_named() {
    let good = Sps {
        profile_idc: 100,
        ..Sps::default()
    };
    type Break = fn(&mut Sps);
    let rows: [(&str, Break); 15] = [
        ("constraint_set_flags", |sps| sps.constraint_set_flags = 64),
        ("seq_parameter_set_id", |sps| sps.seq_parameter_set_id = 32),
        ("chroma_format_idc", |sps| sps.chroma_format_idc = 4),
        ("chroma_format_idc", |sps| {
            (sps.profile_idc, sps.chroma_format_idc) = (66, 2)
        }),
        ("separate_colour_plane_flag", |sps| {
            sps.separate_colour_plane = true
        }),
        ("bit_depth_luma_minus8", |sps| sps.bit_depth_luma_minus8 = 7),
        ("bit_depth_chroma_minus8", |sps| {
            (sps.profile_idc, sps.bit_depth_chroma_minus8) = (77, 1)
        }),
        ("log2_max_frame_num_minus4", |sps| {
            sps.log2_max_frame_num_minus4 = 13
        }),
        ("pic_order_cnt_type", |sps| sps.pic_order_cnt_type = 3),
        ("log2_max_pic_order_cnt_lsb_minus4", |sps| {
            sps.log2_max_pic_order_cnt_lsb_minus4 = 13
        }),
        ("max_num_ref_frames", |sps| sps.max_num_ref_frames = 17),
        ("mb_adaptive_frame_field_flag", |sps| {
            sps.mb_adaptive_frame_field = true
        }),
        ("offset_for_ref_frame", |sps| {
            sps.pic_order_cnt_type = 1;
            sps.num_ref_frames_in_pic_order_cnt_cycle = 255;
            sps.offset_for_ref_frame[254] = i32::MIN;
        }),
        ("FrameHeightInMbs", |sps| {
            sps.pic_height_in_map_units_minus1 = 1055
        }),
        ("FrameSizeInMbs", |sps| {
            (
                sps.pic_width_in_mbs_minus1,
                sps.pic_height_in_map_units_minus1,
            ) = (499, 299)
        }),
    ];
    assert_eq!(good.check(), Ok(()));
    for (name, spoil) in rows {
        let mut sps = good.clone();
        spoil(&mut sps);
        let error = write_sps(&mut Vec::new(), &sps).expect_err(name);
        assert!(
            matches!(error, Error::Range { field, .. } if field == name),
            "{name}: {error:?}"
        );
    }

    type BreakPps = fn(&mut Pps);
    let rows: [(&str, BreakPps); 6] = [
        ("num_ref_idx_l0_default_active_minus1", |pps| {
            pps.num_ref_idx_l0_default_active_minus1 = 32
        }),
        ("weighted_bipred_idc", |pps| pps.weighted_bipred_idc = 3),
        ("pic_init_qp_minus26", |pps| pps.pic_init_qp_minus26 = -27),
        ("pic_init_qs_minus26", |pps| pps.pic_init_qs_minus26 = 26),
        ("second_chroma_qp_index_offset", |pps| {
            pps.second_chroma_qp_index_offset = 13
        }),
        ("ScalingList", |pps| pps.scaling_matrix_present = true),
    ];
    let mut matrix = ScalingMatrix::FLAT;
    matrix.scaling_list_4x4[3][7] = 0;
    for (name, spoil) in rows {
        let mut pps = Pps::default();
        spoil(&mut pps);
        let error = write_pps(&mut Vec::new(), &good, &pps, &matrix).expect_err(name);
        assert!(
            matches!(error, Error::Range { field, .. } if field == name),
            "{name}: {error:?}"
        );
    }
}

/// Parts of H.264 that are not decoded here, each refused by its name.
#[test]
fn what_is_not_supported_is_named() {
    let sps = Sps::default();
    let fmo = Pps {
        num_slice_groups_minus1: 1,
        ..Pps::default()
    };
    let written = write_pps(&mut Vec::new(), &sps, &fmo, &ScalingMatrix::FLAT);
    for (found, name) in [
        (written, "slice groups (FMO)"),
        (parse_sps(&[0x6f, 66]).map(drop), "subset SPS (SVC or MVC)"),
        (
            slice_pps_id(&[0x6e]).map(drop),
            "prefix NAL unit (SVC or MVC)",
        ),
        (
            slice_pps_id(&[0x74]).map(drop),
            "slice extension (SVC or MVC)",
        ),
        (
            slice_pps_id(&[0x75]).map(drop),
            "slice extension (MVC with depth)",
        ),
    ] {
        assert_eq!(found, Err(Error::Unsupported(name)));
    }
    // A decoder of the base view passes the same NAL units over.
    let mut sets = ParameterSets::new();
    for nal in [&[0x6e][..], &[0x6f, 66], &[0x74], &[0x75], &[0x09, 0x10]] {
        assert_eq!(sets.add(nal), Ok(()), "{nal:?}");
    }
    assert_eq!(sets.add(&[]), Err(Error::NotNal));
    assert_eq!(sets.add(&[0xe7]), Err(Error::NotNal));
    let (expected, found) = ("a slice", 9);
    assert_eq!(
        slice_pps_id(&[0x09]),
        Err(Error::NalType { expected, found })
    );
}

/// Slice groups of types 0 to 6 (FM1_BT_B and FM2_SVA use them): the PPS is read to its end, and the
/// slice header with it where the map changes from slice to slice.
#[test]
fn slice_groups_are_passed_over() {
    let sps = Sps {
        pic_width_in_mbs_minus1: 10,
        pic_height_in_map_units_minus1: 8,
        ..Sps::default()
    };
    type Map = fn(&mut crate::bits::BitWriter);
    let maps: [(Map, u32); 6] = [
        (|map| (0..=3).for_each(|run| map.ue(run)), 0),
        (|_| (), 0),
        (|map| (0..6).for_each(|corner| map.ue(corner)), 0),
        (
            |map| {
                map.flag(true);
                map.ue(6)
            },
            7,
        ),
        (
            |map| {
                map.flag(false);
                map.ue(97)
            },
            98,
        ),
        (
            |map| {
                map.ue(98);
                (0..99).for_each(|unit| map.u(2, unit % 4))
            },
            0,
        ),
    ];
    for (kind, (map, rate)) in [0, 1, 2, 3, 5, 6].into_iter().zip(maps) {
        let mut writer = crate::bits::BitWriter::new();
        // Ids 0 and 0, CAVLC, no bottom field order, 4 groups.
        writer.ue(0);
        writer.ue(0);
        writer.u(2, 0);
        writer.ue(3);
        writer.ue(kind);
        map(&mut writer);
        // Two list lengths, no weights, three offsets, deblocking control.
        writer.ue(4);
        writer.ue(0);
        writer.u(3, 0);
        (0..3).for_each(|_| writer.se(0));
        writer.u(3, 0b100);
        writer.trailing_bits();
        let mut nal = Vec::new();
        annexb_nal(&mut nal, 0x68, writer);
        let pps = parse_pps(&nal, |_| Ok(1)).expect("PPS").pps;
        assert_eq!(pps.num_slice_groups_minus1, 3, "type {kind}");
        assert_eq!(pps.num_ref_idx_l0_default_active_minus1, 4, "type {kind}");
        assert!(pps.deblocking_filter_control_present, "type {kind}");
        assert_eq!(pps.slice_group_change_rate, rate, "type {kind}");

        // 99 map units change 7 at a time in 15 steps (4 bits), 98 at a time in 2 (2 bits).
        let (bits, cycle) = match rate {
            0 => (0, 0),
            7 => (4, 15),
            _ => (2, 2),
        };
        let mut slice = slice::empty(NalHeader {
            ref_idc: 0,
            unit_type: 1,
        });
        slice.slice_type = SliceType::I;
        let mut nal = slice_writer::write(&slice, &sps, &pps);
        let plain = Pps {
            slice_group_change_rate: 0,
            ..pps.clone()
        };
        let header = parse_slice_header(&nal, &sps, &plain)
            .expect("slice")
            .header_bit_size;
        put_bits(&mut nal, header, bits, cycle);
        let read = parse_slice_header(&nal, &sps, &pps).expect("slice");
        assert_eq!(read.slice_group_change_cycle, cycle, "type {kind}");
        assert_eq!(read.header_bit_size, header + bits, "type {kind}");
    }
}

fn annexb_nal(nal: &mut Vec<u8>, header: u8, writer: crate::bits::BitWriter) {
    crate::annexb::write_nal(nal, &[header], &writer.into_bytes());
    nal.drain(..crate::annexb::START_CODE.len());
}

/// Overwrites `count` bits of a NAL unit that has no emulation prevention.
fn put_bits(nal: &mut [u8], at: u32, count: u32, value: u32) {
    for bit in 0..count {
        let place = at + bit;
        let mask = 0x80 >> (place % 8);
        let byte = &mut nal[(place / 8) as usize];
        *byte = if value >> (count - 1 - bit) & 1 == 1 {
            *byte | mask
        } else {
            *byte & !mask
        };
    }
}

/// The slice data's bits up to the last one; CABAC's from where they are aligned.
fn bits_behind(nal: &[u8], header: u32, aligned: bool) -> Vec<bool> {
    let mut reader = crate::bits::BitReader::rbsp(nal);
    reader.skip(header.into()).expect("a header");
    if aligned {
        reader.align();
    }
    let mut bits: Vec<bool> = std::iter::from_fn(|| reader.flag().ok()).collect();
    let end = bits.iter().rposition(|bit| *bit).map_or(0, |last| last + 1);
    bits.truncate(end);
    bits
}

fn entropy() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..3000)
}

proptest! {
    #[test]
    fn roundtrip_parameter_sets(entropy in entropy()) {
        let draw = &mut Draw(&entropy);
        let sps = draw::sps(draw);
        let pps = draw::pps(draw, &sps);
        check_roundtrip(&sps, &pps, &draw::scaling_matrix(draw));
    }

    #[test]
    fn roundtrip_slice_header(entropy in entropy()) {
        let draw = &mut Draw(&entropy);
        let sps = draw::sps(draw);
        let pps = draw::pps(draw, &sps);
        let slice = draw::slice(draw, &sps, &pps);
        let nal = slice_writer::write(&slice, &sps, &pps);
        let mut read = parse_slice_header(&nal, &sps, &pps).expect("slice header");
        let bits = nal.len() as u32 * 8;
        prop_assert!(read.header_bit_size + slice_writer::DATA_BITS < bits);
        (read.header_bit_size, read.pic_order_cnt_bit_size, read.dec_ref_pic_marking_bit_size) = (0, 0, 0);
        read.pic_order_cnt_bit_offset = 0;
        prop_assert_eq!(read, slice);
    }

    /// A slice with other order counts says the same, and its data are the same bits.
    #[test]
    fn roundtrip_recount(entropy in entropy(), counts in any::<[i16; 2]>()) {
        let draw = &mut Draw(&entropy);
        let (mut sps, mut pps) = (draw::sps(draw), Pps::default());
        pps.entropy_coding_mode = draw.flag();
        let slice = draw::slice(draw, &sps, &pps);
        let header = slice_writer::write(&slice, &sps, &pps);
        let read = parse_slice_header(&header, &sps, &pps).expect("slice header");
        let counts = counts.map(i32::from);
        let mut recount = Recount::default();
        let (nal, size) = recount.write(&header, &read, pps.entropy_coding_mode, counts).expect("recount");
        let nal = &nal[crate::annexb::START_CODE.len()..];
        let rest = |nal: &[u8], header: &SliceHeader| bits_behind(nal, header.header_bit_size, pps.entropy_coding_mode);
        let before = rest(&header, &read);
        sps.pic_order_cnt_type = 0;
        sps.log2_max_pic_order_cnt_lsb_minus4 = RECOUNT_LSB_MINUS4;
        pps.bottom_field_pic_order_in_frame_present = true;
        let again = parse_slice_header(nal, &sps, &pps).expect("slice header");
        prop_assert_eq!(size, again.pic_order_cnt_bit_size);
        prop_assert_eq!(rest(nal, &again), before);
        let own = if slice.bottom_field { counts[1] } else { counts[0] };
        prop_assert_eq!(again.pic_order_cnt_lsb, own as u16);
        if !slice.field_pic {
            prop_assert_eq!(again.delta_pic_order_cnt_bottom, counts[1] - counts[0]);
        }
        let expected = SliceHeader {
            pic_order_cnt_lsb: again.pic_order_cnt_lsb,
            delta_pic_order_cnt_bottom: again.delta_pic_order_cnt_bottom,
            delta_pic_order_cnt: [0; 2],
            pic_order_cnt_bit_size: size,
            header_bit_size: again.header_bit_size,
            ..read
        };
        prop_assert_eq!(again, expected);
    }

    #[test]
    fn no_crash_parse(header in any::<u8>(), mut nal in entropy(), from in entropy()) {
        nal.insert(0, header);
        let draw = &mut Draw(&from);
        let sps = draw::wild_sps(draw);
        let pps = draw::wild_pps(draw, &sps);
        let _ = parse_slice_header(&nal, &sps, &pps);
        for kind in [header, 0x67, 0x68, 0x65, 0x41] {
            nal[0] = kind;
            let _ = parse_sps(&nal);
            let _ = parse_pps(&nal, |id| Ok(id % 4));
            let _ = slice_pps_id(&nal);
            let _ = parse_slice_header(&nal, &Sps::default(), &Pps::default());
            let mut sets = ParameterSets::new();
            let _ = sets.add(&nal);
            let _ = sets.parse_slice_header(&nal);
        }
    }

    /// Any struct is refused or comes back as it was.
    #[test]
    fn no_crash_write(from in entropy()) {
        let draw = &mut Draw(&from);
        let sps = draw::wild_sps(draw);
        let pps = draw::wild_pps(draw, &sps);
        let mut out = Vec::new();
        if write_sps(&mut out, &sps).is_ok()
            && write_pps(&mut out, &sps, &pps, &ScalingMatrix::FLAT).is_ok()
        {
            let (sps_back, pps_back) = read_back(&out);
            prop_assert_eq!(sps_back.sps.size(), sps.size());
            prop_assert_eq!(pps_back.pps.pic_parameter_set_id, pps.pic_parameter_set_id);
        }
    }

    /// Whatever slices come, the model holds no more than it may and no two frames of one name.
    #[test]
    fn no_crash_dpb(from in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        let draw = &mut Draw(&from);
        let mut dpb = Dpb::new();
        for id in 0..40 {
            let sps = draw::wild_sps(draw);
            let pps = draw::pps(draw, &Sps::default());
            let mut slice = draw::slice(draw, &Sps { frame_mbs_only: false, ..Sps::default() }, &pps);
            if draw.flag() {
                slice.frame_num = draw.word() as u16;
            }
            let Ok(picture) = dpb.decode(id, &sps, &slice) else { continue };
            let mut ids: Vec<u64> = picture
                .held
                .iter()
                .filter(|held| !held.non_existing)
                .map(|held| held.id)
                .collect();
            prop_assert!(picture.held.len() <= 16);
            prop_assert!(picture.held.iter().all(|held| (1..=3).contains(&held.fields)));
            ids.sort_unstable();
            ids.dedup();
            let existing = picture.held.iter().filter(|held| !held.non_existing).count();
            prop_assert_eq!(ids.len(), existing);
            let _ = picture.decode_params(&slice);
        }
    }
}
