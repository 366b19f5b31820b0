//! VP8: the conformance vectors and every other stream in IVF or WebM.

use std::collections::HashSet;

use bitstream::vp8::{FRAME_SHOW_FRAME, Frame, FrameTag, State};

use crate::{Row, assert_count, containers, rows};

#[test]
fn every_stream_parses_and_refers_to_decoded_pictures() {
    let mut read = 0;
    for row in rows("vp8/", &["conformance/", "streams/"]) {
        let file = std::fs::read(&row.path).expect("stream");
        if let Some(packets) = containers::packets(&file, "V_VP8") {
            check(&row, &packets);
            read += 1;
        }
    }
    assert_count(read, 35);
}

fn check(row: &Row, packets: &[Vec<u8>]) {
    let mut state = State::new();
    let mut decoded = HashSet::new();
    let mut sizes = HashSet::new();
    let mut shown = 0;
    for (packet, id) in packets.iter().zip(1..) {
        let place = format!("{}: frame {id}", row.file);
        let header = state
            .parse(packet)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let frame = &header.frame;
        sizes.insert((u32::from(frame.width), u32::from(frame.height)));
        shown += usize::from(frame.flags & FRAME_SHOW_FRAME != 0);
        for picture in [
            frame.last_frame_ts,
            frame.golden_frame_ts,
            frame.alt_frame_ts,
        ] {
            assert_eq!(
                decoded.contains(&picture),
                !frame.is_key_frame(),
                "{place}: {picture}"
            );
        }
        assert_parts(frame, packet, &place);
        // Encoders write none; a reader that lost its way soon does.
        let coefficients = frame.entropy.coeff_probs.as_flattened().as_flattened();
        assert!(!coefficients.as_flattened().contains(&0), "{place}");
        decoded.insert(id);
        state.decoded(&header, id);
        let kept = state.references().expect("references");
        decoded.retain(|picture| [kept.last, kept.golden, kept.alternate].contains(picture));
    }
    let manifest = match row.file.as_str() {
        // The manifest has what the container says, and no frame is of that size.
        "conformance/vp8/vp80-03-segmentation-1425.ivf" => (176, 144),
        _ => (row.width, row.height),
    };
    assert!(sizes.contains(&manifest), "{}: {sizes:?}", row.file);
    assert_eq!(Some(shown), row.frames, "{}", row.file);
}

/// Tag, first partition, its header, sizes and partitions make up the frame.
fn assert_parts(frame: &Frame, packet: &[u8], place: &str) {
    let tag = FrameTag::of(frame).write().expect(place);
    assert!(packet.starts_with(&tag), "{place}: {tag:02x?}");
    assert!(
        frame.first_part_header_bits <= 8 * frame.first_part_size,
        "{place}"
    );
    let parts = usize::from(frame.num_dct_parts);
    let partitions: u32 = frame.dct_part_sizes[..parts].iter().sum();
    let length = tag.len() + 3 * (parts - 1) + (frame.first_part_size + partitions) as usize;
    assert_eq!(length, packet.len(), "{place}");
}

#[test]
fn damaged_streams_are_refused_or_read() {
    let mut read = 0;
    for row in rows("vp8/", &["robust/"]) {
        let file = std::fs::read(&row.path).expect("stream");
        let Some(packets) = containers::packets(&file, "V_VP8") else {
            continue;
        };
        let mut state = State::new();
        for (packet, id) in packets.iter().zip(1..) {
            if let Ok(header) = state.parse(packet) {
                assert_eq!(
                    header.frame.last_frame_ts == 0,
                    header.frame.is_key_frame(),
                    "{}",
                    row.file
                );
                state.decoded(&header, id);
            }
        }
        read += 1;
    }
    assert_count(read, 9);
}
