//! Any bytes as VP9 frames: each is as long as the two bytes before it say.
#![no_main]

use bitstream::vp9::{Header, State, Superframe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut state = State::new();
    let mut rest = data;
    let mut id = 0;
    while let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (frame, behind) = behind.split_at(length);
        id += 1;
        let frames = Superframe::parse(frame).into_iter().flatten();
        for frame in frames {
            if let Ok(Header::Coded(coded)) = state.parse(frame) {
                state.decoded(&coded, id);
            }
        }
        rest = behind;
    }
});
