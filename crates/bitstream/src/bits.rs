//! Bit reader and bit writer: fixed-length codes, Exp-Golomb codes, RBSP ends.
//!
//! Descriptors as in ITU-T H.264 (08/2021) clause 7.2 (`u(n)`, `i(n)`) and 9.1 (`ue(v)`, `se(v)`);
//! HEVC, MPEG-2 and VP9 headers are made of the same parts. [`BitReader::rbsp`] drops emulation
//! prevention bytes (7.4.1) while it reads, so that a slice header costs no copy of the slice.
//! Finding NAL units and putting emulation prevention in is `annexb`'s.

/// Why bits could not be read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitsError {
    /// Fewer bits are left than the code is long.
    #[error("data ends within a code that starts at bit {position}")]
    End {
        /// Bits read before this code.
        position: u64,
    },
    /// An Exp-Golomb code of more than 32 leading zeros: its value has no 32-bit form.
    #[error("Exp-Golomb code out of range at bit {position}")]
    Golomb {
        /// Bits read before this code.
        position: u64,
    },
}

/// Reads bits from a slice, most significant first.
///
/// A copy of a reader is a bookmark: reading from it leaves the original where it is.
#[derive(Debug, Clone, Copy)]
pub struct BitReader<'a> {
    data: &'a [u8],
    /// Index in `data` of the next byte to be cached.
    next: usize,
    /// Emulation prevention bytes skipped before `next`.
    skipped: usize,
    /// Zero bytes that ended what was cached, at most 2; counted in an RBSP only.
    zeros: u8,
    rbsp: bool,
    /// Unread bits, from the most significant down; zero below `cached`.
    cache: u64,
    cached: u32,
}

impl<'a> BitReader<'a> {
    /// Reads `data` as it stands.
    pub fn new(data: &'a [u8]) -> Self {
        BitReader {
            data,
            next: 0,
            skipped: 0,
            zeros: 0,
            rbsp: false,
            cache: 0,
            cached: 0,
        }
    }

    /// Reads a NAL unit (or its payload) and drops each `03` that follows two zero bytes.
    pub fn rbsp(nal: &'a [u8]) -> Self {
        BitReader {
            rbsp: true,
            ..Self::new(nal)
        }
    }

    /// Bits read so far, emulation prevention bytes not counted.
    pub fn position(&self) -> u64 {
        (self.next - self.skipped) as u64 * 8 - u64::from(self.cached)
    }

    /// Whether the next bit is the first of a byte.
    pub fn is_aligned(&self) -> bool {
        self.cached % 8 == 0
    }

    /// Goes on to the next byte boundary and tells whether all bits on the way were zero.
    pub fn align(&mut self) -> bool {
        let count = self.cached % 8;
        self.take(count) == 0
    }

    /// One bit as a flag, `u(1)`.
    pub fn flag(&mut self) -> Result<bool, BitsError> {
        Ok(self.u(1)? != 0)
    }

    /// An unsigned number of `count` bits, `u(n)`; at most 32.
    pub fn u(&mut self, count: u32) -> Result<u32, BitsError> {
        debug_assert!(count <= 32);
        if self.cached < count {
            self.fill();
            if self.cached < count {
                return Err(self.end());
            }
        }
        Ok(self.take(count))
    }

    /// A two's complement number of `count` bits, `i(n)`; 1 to 32.
    pub fn i(&mut self, count: u32) -> Result<i32, BitsError> {
        debug_assert!((1..=32).contains(&count));
        let above = 32 - count;
        Ok((self.u(count)? << above) as i32 >> above)
    }

    /// An unsigned Exp-Golomb code, `ue(v)` (9.1): 0 to 2^32 - 2.
    pub fn ue(&mut self) -> Result<u32, BitsError> {
        self.fill();
        let zeros = self.cache.leading_zeros();
        if zeros >= self.cached {
            return Err(self.end());
        }
        if zeros > 31 {
            return Err(BitsError::Golomb {
                position: self.position(),
            });
        }
        // Up to 63 bits in all: more than the cache is sure to hold.
        let start = *self;
        self.take(zeros + 1);
        match self.u(zeros) {
            Ok(rest) => Ok((1_u32 << zeros) - 1 + rest),
            Err(_) => {
                *self = start;
                Err(self.end())
            }
        }
    }

    /// A signed Exp-Golomb code, `se(v)` (9.1.1): -(2^31 - 1) to 2^31 - 1.
    pub fn se(&mut self) -> Result<i32, BitsError> {
        let code = i64::from(self.ue()?);
        let magnitude = ((code + 1) / 2) as i32;
        Ok(if code % 2 == 0 { -magnitude } else { magnitude })
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, mut count: u64) -> Result<(), BitsError> {
        let start = *self;
        while count > 0 {
            let step = count.min(32) as u32;
            if self.u(step).is_err() {
                *self = start;
                return Err(self.end());
            }
            count -= u64::from(step);
        }
        Ok(())
    }

    /// Whether anything but `rbsp_trailing_bits` and `cabac_zero_words` is left (7.2).
    pub fn more_rbsp_data(&mut self) -> bool {
        self.fill();
        // With bytes left beyond a full cache, the stop bit is among them, or nothing is.
        if self.payload_end() > self.next {
            return true;
        }
        self.cache != 0 && self.cache != 1 << 63
    }

    /// Index behind the last byte that holds a one which is not emulation prevention.
    fn payload_end(&self) -> usize {
        let mut data = self.data;
        loop {
            data = match data {
                [rest @ .., 0] => rest,
                [rest @ .., 0, 0, 3] if self.rbsp => rest,
                _ => return data.len(),
            }
        }
    }

    fn end(&self) -> BitsError {
        BitsError::End {
            position: self.position(),
        }
    }

    /// Caches bytes until 57 bits are there or the data ends.
    fn fill(&mut self) {
        while self.cached <= 56 {
            let Some(&byte) = self.data.get(self.next) else {
                return;
            };
            self.next += 1;
            if self.rbsp {
                if self.zeros == 2 && byte == 3 {
                    self.zeros = 0;
                    self.skipped += 1;
                    continue;
                }
                self.zeros = if byte == 0 {
                    (self.zeros + 1).min(2)
                } else {
                    0
                };
            }
            self.cache |= u64::from(byte) << (56 - self.cached);
            self.cached += 8;
        }
    }

    /// The next `count` cached bits; at most 32, all of them cached.
    fn take(&mut self, count: u32) -> u32 {
        // Two shifts: `count` may be 0, and a shift by 64 is none.
        let value = (self.cache >> 1 >> (63 - count)) as u32;
        self.cache <<= count;
        self.cached -= count;
        value
    }
}

/// Writes bits into a growing buffer, most significant first.
#[derive(Debug, Clone, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits not yet in `bytes`, right-aligned: always fewer than 8 of them.
    pending: u64,
    count: u32,
}

impl From<Vec<u8>> for BitWriter {
    /// Goes on behind `bytes`, and in their memory.
    fn from(bytes: Vec<u8>) -> Self {
        BitWriter {
            bytes,
            ..Self::default()
        }
    }
}

impl BitWriter {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bits written so far.
    pub fn position(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.count)
    }

    /// One bit, `u(1)`.
    pub fn flag(&mut self, value: bool) {
        self.u(1, u32::from(value));
    }

    /// The low `count` bits of `value`, `u(n)`; at most 32. Higher bits are dropped.
    pub fn u(&mut self, count: u32, value: u32) {
        debug_assert!(count <= 32);
        let value = u64::from(value) & ((1 << count) - 1);
        self.pending = self.pending << count | value;
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.pending >> self.count) as u8);
        }
        self.pending &= (1 << self.count) - 1;
    }

    /// A two's complement number of `count` bits, `i(n)`; at most 32.
    pub fn i(&mut self, count: u32, value: i32) {
        self.u(count, value as u32);
    }

    /// An unsigned Exp-Golomb code, `ue(v)`. 2^32 - 1 has none and is written as 2^32 - 2.
    pub fn ue(&mut self, value: u32) {
        debug_assert!(value != u32::MAX);
        let code = value.saturating_add(1);
        let zeros = 31 - code.leading_zeros();
        self.u(zeros, 0);
        self.u(zeros + 1, code);
    }

    /// A signed Exp-Golomb code, `se(v)`. -2^31 has none and is written as -(2^31 - 1).
    pub fn se(&mut self, value: i32) {
        debug_assert!(value != i32::MIN);
        let magnitude = value.unsigned_abs().min(i32::MAX as u32);
        self.ue(if value > 0 {
            2 * magnitude - 1
        } else {
            2 * magnitude
        });
    }

    /// Zero bits up to the next byte boundary.
    pub fn align(&mut self) {
        if self.count > 0 {
            self.u(8 - self.count, 0);
        }
    }

    /// `rbsp_trailing_bits` (7.3.2.11): a one and zeros up to the next byte boundary.
    pub fn trailing_bits(&mut self) {
        self.flag(true);
        self.align();
    }

    /// The bytes written, the last one filled up with zeros.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_golomb_codes_are_those_of_table_9_2() {
        for (bits, code, signed) in [
            (0b1_u32, 0_u32, 0_i32),
            (0b010, 1, 1),
            (0b011, 2, -1),
            (0b00100, 3, 2),
            (0b00101, 4, -2),
            (0b00111, 6, -3),
            (0b0001000, 7, 4),
        ] {
            let mut writer = BitWriter::new();
            writer.ue(code);
            writer.se(signed);
            let length = (32 - bits.leading_zeros()) * 2 - 1;
            assert_eq!(writer.position(), u64::from(2 * length), "{code}");
            let bytes = writer.into_bytes();
            let mut reader = BitReader::new(&bytes);
            assert_eq!(reader.u(length), Ok(bits), "{code}");
            assert_eq!(reader.se(), Ok(signed), "{code}");
        }
    }

    #[test]
    fn the_largest_codes_fit_and_the_next_is_refused() {
        let mut writer = BitWriter::new();
        writer.u(3, 0b101);
        writer.ue(u32::MAX - 1);
        writer.se(i32::MAX);
        writer.se(-i32::MAX);
        let bytes = writer.into_bytes();
        let mut reader = BitReader::new(&bytes);
        reader.skip(3).unwrap();
        assert_eq!(reader.ue(), Ok(u32::MAX - 1));
        assert_eq!(reader.se(), Ok(i32::MAX));
        assert_eq!(reader.se(), Ok(-i32::MAX));

        let long = [0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0];
        assert_eq!(
            BitReader::new(&long).ue(),
            Err(BitsError::Golomb { position: 0 })
        );
    }

    #[test]
    fn an_error_says_where_the_code_starts_and_takes_nothing() {
        let mut reader = BitReader::new(&[0xff, 0x00]);
        assert_eq!(reader.u(5), Ok(0x1f));
        assert_eq!(reader.u(12), Err(BitsError::End { position: 5 }));
        assert_eq!(reader.u(11), Ok(0x700));
        assert_eq!(reader.flag(), Err(BitsError::End { position: 16 }));
        // A code whose prefix is there and whose rest is not.
        let mut reader = BitReader::new(&[0x01]);
        assert_eq!(reader.ue(), Err(BitsError::End { position: 0 }));
        assert_eq!(reader.skip(9), Err(BitsError::End { position: 0 }));
        assert_eq!(reader.u(8), Ok(1));
    }

    #[test]
    fn emulation_prevention_is_dropped_and_not_counted() {
        for (nal, plain) in [
            (&[0, 0, 3, 1][..], &[0, 0, 1][..]),
            (&[0, 0, 3, 0, 0, 3, 3], &[0, 0, 0, 0, 3]),
            (&[0, 3, 0, 3], &[0, 3, 0, 3]),
            (&[7, 0, 0, 3], &[7, 0, 0]),
            (&[0, 0, 0, 3, 9], &[0, 0, 0, 9]),
        ] {
            let mut reader = BitReader::rbsp(nal);
            let read: Vec<u8> = std::iter::from_fn(|| reader.u(8).ok())
                .map(|byte| byte as u8)
                .collect();
            assert_eq!(read, plain, "{nal:?}");
            assert_eq!(reader.position(), plain.len() as u64 * 8, "{nal:?}");
        }
    }

    #[test]
    fn the_end_of_an_rbsp_is_its_stop_bit() {
        for (nal, skip, more) in [
            (&[0x80][..], 0, false),
            (&[0x40], 0, true),
            (&[0x40], 1, false),
            (&[0xff, 0x80], 7, true),
            (&[0xff, 0x80], 8, false),
            // cabac_zero_words behind the stop bit (7.3.2.10).
            (&[0xff, 0x80, 0, 0, 3, 0, 0, 3], 8, false),
            (&[0xff, 0x80, 0, 0, 3, 0, 0, 3], 7, true),
            (&[0xff, 0, 0, 3, 0x80], 8, true),
            (&[0xff, 0, 0, 3, 0x80], 24, false),
            (&[0, 0, 0], 3, false),
            (&[], 0, false),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 0, true),
        ] {
            let mut reader = BitReader::rbsp(nal);
            reader.skip(skip).unwrap();
            assert_eq!(reader.more_rbsp_data(), more, "{nal:?} behind {skip} bits");
        }
    }

    #[test]
    fn alignment_and_signed_numbers() {
        let mut writer = BitWriter::new();
        writer.i(5, -3);
        writer.align();
        writer.i(32, i32::MIN);
        writer.u(1, 1);
        writer.trailing_bits();
        let bytes = writer.into_bytes();
        assert_eq!(bytes, [0b1110_1000, 0x80, 0, 0, 0, 0b1100_0000]);
        let mut reader = BitReader::new(&bytes);
        assert_eq!(reader.i(5), Ok(-3));
        assert!(!reader.is_aligned());
        assert!(reader.align());
        assert!(reader.is_aligned());
        assert_eq!(reader.i(32), Ok(i32::MIN));
        assert_eq!(reader.flag(), Ok(true));
        assert!(!reader.align());
    }

    proptest! {
        #[test]
        fn roundtrip_numbers(numbers in proptest::collection::vec((0..4_u8, 1..=32_u32, any::<u32>()), 0..60)) {
            let mut writer = BitWriter::new();
            for &(code, count, value) in &numbers {
                match code {
                    0 => writer.u(count, value),
                    1 => writer.i(count, value as i32),
                    2 => writer.ue(value >> (32 - count) >> 1),
                    _ => writer.se((value as i32 >> (32 - count)).max(-i32::MAX)),
                }
            }
            let bits = writer.position();
            let bytes = writer.into_bytes();
            let mut reader = BitReader::new(&bytes);
            for &(code, count, value) in &numbers {
                let low = value << (32 - count) >> (32 - count);
                match code {
                    0 => prop_assert_eq!(reader.u(count), Ok(low)),
                    1 => prop_assert_eq!(reader.i(count), Ok((value << (32 - count)) as i32 >> (32 - count))),
                    2 => prop_assert_eq!(reader.ue(), Ok(value >> (32 - count) >> 1)),
                    _ => prop_assert_eq!(reader.se(), Ok((value as i32 >> (32 - count)).max(-i32::MAX))),
                }
            }
            prop_assert_eq!(reader.position(), bits);
        }

        #[test]
        fn no_crash(bytes: Vec<u8>, codes: Vec<u8>, rbsp: bool) {
            let mut reader = if rbsp { BitReader::rbsp(&bytes) } else { BitReader::new(&bytes) };
            for code in codes {
                let before = reader.position();
                match code % 6 {
                    0 => drop(reader.ue()),
                    1 => drop(reader.se()),
                    2 => drop(reader.skip(u64::from(code))),
                    3 => drop(reader.more_rbsp_data()),
                    4 => drop(reader.align()),
                    _ => drop(reader.u(u32::from(code) % 33)),
                }
                prop_assert!(reader.position() >= before);
                prop_assert!(reader.position() <= bytes.len() as u64 * 8);
            }
        }
    }
}
