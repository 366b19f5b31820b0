//! The boolean entropy decoder that VP8 (RFC 6386 clause 7) and VP9 (specification v0.6, 9.2) share.
//!
//! Reading never fails: behind its end the data goes on in zeros, as the standards' own decoders have
//! it. Whoever reads a header asks after each part whether that happened ([`BoolDecoder::check`]).

use crate::fields::FieldError;

/// Decodes booleans from a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BoolDecoder<'a> {
    data: &'a [u8],
    /// Index in `data` of the next byte to be loaded.
    next: usize,
    /// The coded number's part that counts now, from the most significant bit down.
    value: u64,
    /// Bits of `value` that are loaded.
    loaded: u32,
    /// 128 to 255 between two booleans.
    range: u32,
    /// Bits shifted out of `value`.
    shifted: u64,
}

impl<'a> BoolDecoder<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        BoolDecoder {
            data,
            next: 0,
            value: 0,
            loaded: 0,
            range: 255,
            shifted: 0,
        }
    }

    /// A boolean that is false with probability `probability` / 256.
    pub(crate) fn read(&mut self, probability: u8) -> bool {
        if self.loaded < 8 {
            self.load();
        }
        let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
        let big_split = u64::from(split) << 56;
        let bit = self.value >= big_split;
        if bit {
            self.value -= big_split;
            self.range -= split;
        } else {
            self.range = split;
        }
        let shift = self.range.leading_zeros() - 24;
        self.range <<= shift;
        self.value <<= shift;
        self.loaded -= shift;
        self.shifted += u64::from(shift);
        bit
    }

    /// A boolean of even probability.
    pub(crate) fn flag(&mut self) -> bool {
        self.read(128)
    }

    /// An unsigned number of `count` bits, the most significant first.
    pub(crate) fn literal(&mut self, count: u32) -> u32 {
        (0..count).fold(0, |value, _| value << 1 | u32::from(self.flag()))
    }

    /// At most 8 bits.
    pub(crate) fn u8(&mut self, count: u32) -> u8 {
        debug_assert!(count <= 8);
        self.literal(count) as u8
    }

    /// A magnitude of at most 7 bits and then its sign.
    pub(crate) fn i8(&mut self, count: u32) -> i8 {
        debug_assert!(count <= 7);
        let magnitude = self.literal(count) as i8;
        if self.flag() { -magnitude } else { magnitude }
    }

    /// Bits of the data that are used up: those that no later boolean depends on.
    pub(crate) fn position(&self) -> u64 {
        self.shifted
    }

    /// The decoder's range and the 8 bits of the data, from [`Self::position`] on, that it divides.
    pub(crate) fn state(&mut self) -> (u8, u8) {
        if self.loaded < 8 {
            self.load();
        }
        (self.range as u8, (self.value >> 56) as u8)
    }

    /// Refuses what was read from behind the end of the data, `base` bits into the frame.
    pub(crate) fn check(&self, field: &'static str, base: u64) -> Result<(), FieldError> {
        if self.shifted <= self.data.len() as u64 * 8 {
            return Ok(());
        }
        Err(FieldError::End {
            field,
            position: base + self.data.len() as u64 * 8,
        })
    }

    fn load(&mut self) {
        while self.loaded <= 56 {
            let byte = self.data.get(self.next).copied().unwrap_or(0);
            self.next += 1;
            self.value |= u64::from(byte) << (56 - self.loaded);
            self.loaded += 8;
        }
    }
}

/// The encoder that clause 7.3 of RFC 6386 describes, bit by bit, for tests that need headers of
/// their own making.
#[cfg(test)]
pub(crate) struct BoolEncoder {
    bits: Vec<bool>,
    range: u32,
    /// The 8 bits behind `bits`.
    bottom: u32,
}

#[cfg(test)]
impl BoolEncoder {
    pub(crate) fn new() -> Self {
        BoolEncoder {
            bits: Vec::new(),
            range: 255,
            bottom: 0,
        }
    }

    pub(crate) fn write(&mut self, probability: u8, bit: bool) {
        let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
        if bit {
            self.bottom += split;
            self.range -= split;
            if self.bottom > 255 {
                self.bottom -= 256;
                self.carry();
            }
        } else {
            self.range = split;
        }
        while self.range < 128 {
            self.range <<= 1;
            self.shift();
        }
    }

    pub(crate) fn flag(&mut self, bit: bool) {
        self.write(128, bit);
    }

    pub(crate) fn literal(&mut self, count: u32, value: u32) {
        for bit in (0..count).rev() {
            self.flag(value >> bit & 1 != 0);
        }
    }

    pub(crate) fn signed(&mut self, count: u32, value: i32) {
        self.literal(count, value.unsigned_abs());
        self.flag(value < 0);
    }

    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        for _ in 0..8 {
            self.shift();
        }
        let byte = |bits: &[bool]| {
            let fold = |byte, (at, &bit): (usize, &bool)| byte | u8::from(bit) << (7 - at);
            bits.iter().enumerate().fold(0, fold)
        };
        self.bits.chunks(8).map(byte).collect()
    }

    fn carry(&mut self) {
        for bit in self.bits.iter_mut().rev() {
            *bit = !*bit;
            if *bit {
                break;
            }
        }
    }

    fn shift(&mut self) {
        self.bits.push(self.bottom & 128 != 0);
        self.bottom = self.bottom << 1 & 255;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn even_booleans_of_full_range_are_nearly_bits() {
        // A range of 255 and a split of 128: a one leaves 127, which a shift makes 254.
        let mut decoder = BoolDecoder::new(&[0xff, 0xff, 0xff]);
        assert!(decoder.flag());
        assert_eq!(decoder.position(), 1);
        assert_eq!(decoder.state().0, 254);
        let mut decoder = BoolDecoder::new(&[0, 0]);
        assert!(!decoder.flag());
        assert_eq!((decoder.position(), decoder.state()), (0, (128, 0)));
    }

    #[test]
    fn what_lies_behind_the_end_is_refused_by_name() {
        let mut decoder = BoolDecoder::new(&[0xa5]);
        decoder.literal(6);
        assert_eq!(decoder.check("part", 24), Ok(()));
        decoder.literal(20);
        assert_eq!(
            decoder.check("part", 24),
            Err(FieldError::End {
                field: "part",
                position: 32
            })
        );
    }

    proptest! {
        #[test]
        fn roundtrip_booleans(booleans in proptest::collection::vec((1..=255_u8, any::<bool>()), 0..400)) {
            let mut encoder = BoolEncoder::new();
            for &(probability, bit) in &booleans {
                encoder.write(probability, bit);
            }
            let bytes = encoder.into_bytes();
            let mut decoder = BoolDecoder::new(&bytes);
            for &(probability, bit) in &booleans {
                prop_assert_eq!(decoder.read(probability), bit);
            }
            prop_assert_eq!(decoder.check("booleans", 0), Ok(()));
        }

        #[test]
        fn no_crash(bytes: Vec<u8>, probabilities: Vec<u8>) {
            let mut decoder = BoolDecoder::new(&bytes);
            for probability in probabilities {
                decoder.read(probability);
                prop_assert!((128..=255).contains(&u32::from(decoder.state().0)));
            }
        }
    }
}
