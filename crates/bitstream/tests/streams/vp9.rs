//! VP9: the conformance vectors and every other stream in IVF or WebM, of all profiles.

use std::collections::HashSet;

use bitstream::vp9::{CodedFrame, FRAME_SHOW_FRAME, Header, State, Superframe};

use crate::{Row, assert_count, containers, rows};

#[test]
fn every_stream_parses_and_refers_to_decoded_pictures() {
    let mut read = 0;
    for row in rows("vp9/", &["conformance/", "streams/"]) {
        let file = std::fs::read(&row.path).expect("stream");
        if let Some(packets) = containers::packets(&file, "V_VP9") {
            check(&row, &packets);
            read += 1;
        }
    }
    assert_count(read, 83);
}

fn check(row: &Row, packets: &[Vec<u8>]) {
    let mut state = State::new();
    let mut decoded = HashSet::new();
    let mut shown = 0;
    let mut id = 0;
    for packet in packets {
        for data in Superframe::parse(packet).expect("superframe") {
            id += 1;
            let place = format!("{}: frame {id}", row.file);
            match state
                .parse(data)
                .unwrap_or_else(|error| panic!("{place}: {error}"))
            {
                Header::ShowExisting { id, .. } => {
                    assert!(decoded.contains(&id), "{place}: shows {id}");
                    shown += 1;
                }
                Header::Coded(coded) => {
                    let frame = &coded.frame;
                    if id == 1 {
                        let size = (frame.frame_width_minus_1, frame.frame_height_minus_1);
                        assert_eq!(
                            (u32::from(size.0) + 1, u32::from(size.1) + 1),
                            (row.width, row.height),
                            "{place}"
                        );
                    }
                    shown += usize::from(frame.flags & FRAME_SHOW_FRAME != 0);
                    for picture in [
                        frame.last_frame_ts,
                        frame.golden_frame_ts,
                        frame.alt_frame_ts,
                    ] {
                        assert_eq!(
                            decoded.contains(&picture),
                            !frame.is_intra(),
                            "{place}: {picture}"
                        );
                    }
                    assert_eq!(
                        format!("vp9/Profile {}", frame.profile),
                        row.codec,
                        "{place}"
                    );
                    assert_tiles(&coded, data, &place);
                    decoded.insert(id);
                    state.decoded(&coded, id);
                    decoded.retain(|&picture| state.references().contains(&Some(picture)));
                }
            }
        }
    }
    assert_eq!(Some(shown), row.frames, "{}", row.file);
}

/// The tiles behind the headers, each but the last with its size ahead of it, make up the frame.
fn assert_tiles(coded: &CodedFrame, data: &[u8], place: &str) {
    let frame = &coded.frame;
    let headers =
        usize::from(frame.uncompressed_header_size) + usize::from(frame.compressed_header_size);
    let mut rest = &data[headers..];
    for _ in 1..1 << (frame.tile_cols_log2 + frame.tile_rows_log2) {
        let (size, behind) = rest.split_at_checked(4).expect(place);
        let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize;
        assert_ne!(size, 0, "{place}");
        rest = behind.get(size..).expect(place);
    }
    assert!(!rest.is_empty(), "{place}");
}

#[test]
fn damaged_streams_are_refused_or_read() {
    let mut read = 0;
    for row in rows("", &["robust/vp/", "robust/mp4-webm/"]) {
        let file = std::fs::read(&row.path).expect("stream");
        let Some(packets) = containers::packets(&file, "V_VP9") else {
            continue;
        };
        let mut state = State::new();
        let mut id = 0;
        for packet in &packets {
            for data in Superframe::parse(packet).into_iter().flatten() {
                id += 1;
                if let Ok(Header::Coded(coded)) = state.parse(data) {
                    let frame = &coded.frame;
                    assert_eq!(frame.last_frame_ts == 0, frame.is_intra(), "{}", row.file);
                    state.decoded(&coded, id);
                }
            }
        }
        read += 1;
    }
    assert_count(read, 25);
}
