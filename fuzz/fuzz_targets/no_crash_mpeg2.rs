//! Any bytes as an MPEG-2 elementary stream, picture by picture.
#![no_main]

use bitstream::mpeg2::{State, pictures, slices};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut state = State::new();
    for (nth, picture) in pictures(data).enumerate() {
        if let Ok(coded) = state.parse(picture) {
            slices(coded.slices, coded.sequence.vertical_size).for_each(drop);
            state.decoded(&coded, nth as u64 + 1);
        }
    }
});
