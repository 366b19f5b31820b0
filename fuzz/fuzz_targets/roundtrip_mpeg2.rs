//! What is read of an MPEG-2 picture and written again is read as the same.
#![no_main]

use bitstream::mpeg2::{State, pictures, write_picture, write_sequence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let state = State::new();
    for picture in pictures(data) {
        let Ok(coded) = state.parse(picture) else {
            continue;
        };
        let mut sequence = coded.sequence;
        // No header has room for more; the daemon writes a constant.
        sequence.vbv_buffer_size &= (1 << 18) - 1;
        let mut written = Vec::new();
        let complete = write_sequence(&mut written, &sequence, &coded.quantisation)
            .and_then(|()| {
                write_picture(&mut written, &sequence, &coded.picture, &coded.quantisation)
            });
        // Values that the standard forbids can be read and are not written.
        if complete.is_err() {
            continue;
        }
        written.extend_from_slice(coded.slices);
        let again = State::new().parse(&written).expect("what was written is read");
        assert_eq!(again.sequence, sequence);
        assert_eq!(again.quantisation, coded.quantisation);
        assert_eq!(again.picture.picture_coding_type, coded.picture.picture_coding_type);
        assert_eq!(again.picture.picture_structure, coded.picture.picture_structure);
        assert_eq!(again.picture.intra_dc_precision, coded.picture.intra_dc_precision);
        assert_eq!(again.picture.flags, coded.picture.flags);
        assert_eq!(again.slices, coded.slices);
    }
});
