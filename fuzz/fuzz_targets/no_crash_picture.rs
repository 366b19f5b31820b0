//! Any bytes as a picture: the boxes of HEIF and AVIF with everything that is put together, cropped and
//! made transparent after them, and the orientation in Exif. Coded pictures are made up: libavcodec is
//! fuzzed by others.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| media::Pictured::fuzz(data));
