//! Any bytes as VP8 frames: each is as long as the two bytes before it say.
#![no_main]

use bitstream::vp8::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut state = State::new();
    let mut rest = data;
    let mut id = 0;
    while let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (frame, behind) = behind.split_at(length);
        id += 1;
        if let Ok(header) = state.parse(frame) {
            state.decoded(&header, id);
        }
        rest = behind;
    }
});
