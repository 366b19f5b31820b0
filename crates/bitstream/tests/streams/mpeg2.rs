//! MPEG-2: every program and transport stream, and MPEG-1 as what is refused.

use std::collections::HashSet;

use bitstream::mpeg2::{
    self, BOTTOM_FIELD, CODING_TYPE_B, CODING_TYPE_I, CodedPicture, FRAME, ParseError, State,
    TOP_FIELD,
};

use crate::{Row, assert_count, containers, rows};

#[test]
fn every_stream_parses_and_refers_to_decoded_pictures() {
    let mut read = 0;
    for row in rows("mpeg2video/", &["streams/"]) {
        let file = std::fs::read(&row.path).expect("stream");
        check(&row, &containers::elementary(&file));
        read += 1;
    }
    assert_count(read, 4);
}

fn check(row: &Row, stream: &[u8]) {
    let mut state = State::new();
    let mut decoded = HashSet::new();
    let mut frames = 0;
    for (data, at) in mpeg2::pictures(stream).zip(1..) {
        let place = format!("{}: picture {at}", row.file);
        let coded = state
            .parse(data)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let size = (coded.sequence.horizontal_size, coded.sequence.vertical_size);
        assert_eq!(
            (u32::from(size.0), u32::from(size.1)),
            (row.width, row.height),
            "{place}"
        );
        assert_slices(&coded, &place);
        assert_roundtrip(&state, &coded, &place);
        let coding_type = coded.picture.picture_coding_type;
        assert_eq!(
            coded.prediction.backward.is_some(),
            coding_type == CODING_TYPE_B,
            "{place}"
        );
        assert_eq!(
            coded.prediction.forward.is_some(),
            coding_type != CODING_TYPE_I,
            "{place}"
        );
        for picture in coded
            .prediction
            .forward
            .iter()
            .chain(&coded.prediction.backward)
        {
            assert!(decoded.contains(picture), "{place}: {picture}");
        }
        assert_ne!(
            coded.prediction.second_field,
            matches!(coded.picture.picture_structure, FRAME),
            "{place}"
        );
        if !coded.prediction.second_field {
            frames += 1;
        }
        decoded.insert(frames);
        state.decoded(&coded, frames);
    }
    assert_eq!(Some(frames as usize), row.frames, "{}", row.file);
}

/// The slices go through all rows of macroblocks, in order.
fn assert_slices(coded: &CodedPicture, place: &str) {
    let rows = match coded.picture.picture_structure {
        TOP_FIELD | BOTTOM_FIELD => coded.sequence.vertical_size.div_ceil(32),
        _ => coded.sequence.vertical_size.div_ceil(16),
    };
    let mut next = 0;
    for slice in mpeg2::slices(coded.slices, coded.sequence.vertical_size) {
        let slice = slice.expect(place);
        assert!(
            slice.row == next || slice.row + 1 == next,
            "{place}: {} at {next}",
            slice.row
        );
        next = slice.row + 1;
    }
    assert_eq!(next, rows, "{place}");
}

/// Headers written from what was parsed, with the same slices behind them, are parsed to the same.
fn assert_roundtrip(state: &State, coded: &CodedPicture, place: &str) {
    let mut written = Vec::new();
    mpeg2::write_sequence(&mut written, &coded.sequence, &coded.quantisation).expect(place);
    mpeg2::write_picture(
        &mut written,
        &coded.sequence,
        &coded.picture,
        &coded.quantisation,
    )
    .expect(place);
    written.extend_from_slice(coded.slices);
    let again = state
        .parse(&written)
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    let told_only_by_the_stream = CodedPicture {
        temporal_reference: coded.temporal_reference,
        group: coded.group,
        ..again
    };
    assert_eq!(told_only_by_the_stream, *coded, "{place}");
}

#[test]
fn mpeg1_is_refused_by_name() {
    let rows = rows("mpeg1video/", &["streams/"]);
    for row in &rows {
        let file = std::fs::read(&row.path).expect("stream");
        // The first packet of a program stream is enough.
        let start = file
            .windows(4)
            .position(|bytes| bytes == [0, 0, 1, 0xb3])
            .expect("sequence");
        let first = mpeg2::pictures(&file[start..]).next().expect("picture");
        assert_eq!(
            State::new().parse(first),
            Err(ParseError::Mpeg1),
            "{}",
            row.file
        );
    }
    assert_count(rows.len(), 3);
}
