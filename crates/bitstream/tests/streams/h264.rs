//! H.264: every byte stream and transport stream of the media. Parameter sets come back from what is
//! written of them, frames are as many as the manifest says, and slices modify their lists with
//! pictures that the model of 8.2.5 holds.

use std::path::Path;

use bitstream::annexb::nal_units;
use bitstream::h264::{
    Dpb, Error, NalHeader, NalType, ParameterSets, Picture, RefPicListModification, ScalingMatrix,
    SeqParameterSet, SliceHeader, parse_pps, parse_sps, write_pps, write_sps,
};

use crate::{Row, assert_count, containers, rows};

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    streams: usize,
    sps: usize,
    pps: usize,
    slices: usize,
    frames: usize,
}

/// The byte stream in `path`; `None` for containers that hold NAL units by length.
fn byte_stream(path: &Path) -> Option<Vec<u8>> {
    let transport = match path.extension()?.to_str()? {
        "264" | "h264" | "jsv" | "avc" => false,
        "ts" => true,
        _ => return None,
    };
    let file = std::fs::read(path).expect("stream");
    Some(if transport {
        containers::elementary(&file)
    } else {
        file
    })
}

#[test]
fn every_stream_parses_and_refers_to_held_pictures() {
    let mut total = Counts::default();
    for row in rows("h264/", &["conformance/", "streams/", "ingest/", "hls/"]) {
        let Some(stream) = byte_stream(&row.path) else {
            continue;
        };
        let counts = check(&row, &stream);
        if let Some(frames) = row.frames {
            assert_eq!(counts.frames, frames, "{}: frames", row.file);
        }
        total.streams += 1;
        total.sps += counts.sps;
        total.pps += counts.pps;
        total.slices += counts.slices;
        total.frames += counts.frames;
    }
    assert_count(total.streams, 57);
    if total.streams > 0 {
        let expected = Counts {
            streams: 57,
            sps: 95,
            pps: 204,
            slices: 5685,
            frames: 4369,
        };
        assert_eq!(total, expected);
    }
}

/// Streams that were cut, had pictures taken out or parameter sets: what is there is read, what is
/// missing is an error. Rows: file, slices, slices that are refused.
const BROKEN: [(&str, usize, usize); 3] = [
    ("robust/derived/truncated-midpacket.ts", 10, 0),
    ("robust/h264/BA_MW_D_IDR_LOST.264", 97, 0),
    ("robust/h264/input-10-no-pps-sps.h264", 10, 10),
];

#[test]
fn broken_streams_are_read_as_far_as_they_go() {
    let Some(root) = std::env::var_os("KINORA_MEDIA") else {
        return;
    };
    for (file, slices, refused) in BROKEN {
        let stream = byte_stream(&Path::new(&root).join(file)).expect("a byte stream");
        let mut sets = ParameterSets::new();
        let mut dpb = Dpb::new();
        let mut read = Vec::new();
        for (nal, at) in nal_units(&stream).zip(1..) {
            if !NalHeader::parse(nal).is_ok_and(NalHeader::has_slice_header) {
                sets.add(nal).expect(file);
                continue;
            }
            let slice = sets.parse_slice_header(nal);
            if let Ok(slice) = &slice {
                let (sps, _) = sets.pps(slice.pic_parameter_set_id).expect(file);
                dpb.decode(at, &sps.sps, slice).expect(file);
            }
            read.push(slice.map(drop));
        }
        assert_eq!(read.len(), slices, "{file}");
        let errors: Vec<Error> = read.into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), refused, "{file}: {errors:?}");
        let missing = Error::NoParameterSet { set: "PPS", id: 0 };
        assert!(
            errors.iter().all(|error| *error == missing),
            "{file}: {errors:?}"
        );
    }
}

fn check(row: &Row, stream: &[u8]) -> Counts {
    let mut counts = Counts::default();
    let mut sets = ParameterSets::new();
    let mut dpb = Dpb::new();
    let mut last: Option<(SliceHeader, Picture)> = None;
    for (nal, at) in nal_units(stream).zip(1..) {
        let place = format!("{}: NAL unit {at}", row.file);
        let header = NalHeader::parse(nal).expect(&place);
        match header.kind() {
            NalType::Sps => {
                counts.sps += 1;
                check_sps(row, &place, nal);
                sets.add(nal).expect(&place);
            }
            NalType::Pps => {
                counts.pps += 1;
                check_pps(&place, nal, &sets);
                sets.add(nal).expect(&place);
            }
            _ if header.has_slice_header() => {
                counts.slices += 1;
                let slice = sets.parse_slice_header(nal).expect(&place);
                if slice.redundant_pic_cnt > 0 {
                    continue;
                }
                let (sps, _) = sets.pps(slice.pic_parameter_set_id).expect(&place);
                let picture = match last {
                    Some((ref last, picture)) if !slice.starts_picture(last) => picture,
                    _ => {
                        let picture = dpb.decode(at, &sps.sps, &slice).expect(&place);
                        assert_eq!(picture.violation, None, "{place}");
                        counts.frames += usize::from(!picture.is_second_field);
                        picture
                    }
                };
                check_lists(&place, sps, &slice, &picture);
                last = Some((slice, picture));
            }
            _ => {}
        }
    }
    counts
}

fn check_sps(row: &Row, place: &str, nal: &[u8]) {
    let parsed = parse_sps(nal).expect(place);
    assert_eq!(parsed.display_size(), (row.width, row.height), "{place}");
    let mut written = Vec::new();
    write_sps(&mut written, &parsed.sps).expect(place);
    let back = parse_sps(nal_units(&written).next().expect(place)).expect(place);
    assert_eq!(back.sps, parsed.sps, "{place}");
}

fn check_pps(place: &str, nal: &[u8], sets: &ParameterSets) {
    let chroma_format_idc = |id| Ok(sets.sps(id)?.sps.chroma_format_idc);
    let parsed = parse_pps(nal, chroma_format_idc).expect(place);
    let sps = sets.sps(parsed.pps.seq_parameter_set_id).expect(place);
    let (pps, matrix) = parsed.controls(sps);
    let mut written = Vec::new();
    write_pps(&mut written, &sps.sps, &pps, &matrix).expect(place);
    let back = parse_pps(nal_units(&written).next().expect(place), chroma_format_idc).expect(place);
    // What the rebuilt stream's SPS says: no lists.
    let flat = SeqParameterSet {
        scaling: None,
        ..sps.clone()
    };
    let (pps_back, matrix_back) = back.controls(&flat);
    assert_eq!(pps_back, pps, "{place}");
    let used = |matrix: &ScalingMatrix| {
        let count_8x8 = match (pps.transform_8x8_mode, sps.sps.chroma_format_idc) {
            (false, _) => 0,
            (true, 3) => 6,
            (true, _) => 2,
        };
        let lists_8x8 = matrix.scaling_list_8x8[..count_8x8].to_vec();
        (matrix.scaling_list_4x4, lists_8x8)
    };
    assert_eq!(used(&matrix_back), used(&matrix), "{place}");
}

/// Follows the modifications of 8.2.4.3 and finds every picture that they name.
fn check_lists(place: &str, sps: &SeqParameterSet, slice: &SliceHeader, picture: &Picture) {
    if slice.slice_type.ref_lists() > 0 {
        assert!(!picture.held.is_empty(), "{place}: nothing to predict from");
    }
    let field = i32::from(slice.field_pic);
    let max_pic_num = (sps.sps.max_frame_num() as i32) << field;
    let current = (i32::from(slice.frame_num) << field) + field;
    for list in &slice.ref_pic_list_modification {
        let mut pic_num = current;
        for &modification in list.iter() {
            let (long_term, wanted) = match modification {
                RefPicListModification::Subtract(difference) => {
                    pic_num = (pic_num - difference as i32 - 1).rem_euclid(max_pic_num);
                    (false, pic_num)
                }
                RefPicListModification::Add(difference) => {
                    pic_num = (pic_num + difference as i32 + 1).rem_euclid(max_pic_num);
                    (false, pic_num)
                }
                RefPicListModification::LongTerm(number) => (true, number as i32),
            };
            let found = picture.held.iter().any(|held| {
                held.long_term == long_term
                    && numbers(slice, held.pic_num, held.fields)
                        .any(|number| (number - wanted) % max_pic_num == 0)
            });
            assert!(found, "{place}: no {modification:?}: {:?}", picture.held);
        }
    }
}

/// The numbers of a reference: one in a frame, one for each field of it in a field.
fn numbers(slice: &SliceHeader, pic_num: i32, fields: u8) -> impl Iterator<Item = i32> {
    let own = if slice.bottom_field { 2 } else { 1 };
    let of_field = move |number: i32, parity: u8| (fields & parity != 0).then_some(number);
    let (frame, of_fields) = if slice.field_pic {
        let even = pic_num & !1;
        (None, [of_field(even + 1, own), of_field(even, 3 ^ own)])
    } else {
        ((fields == 3).then_some(pic_num), [None, None])
    };
    frame.into_iter().chain(of_fields.into_iter().flatten())
}
