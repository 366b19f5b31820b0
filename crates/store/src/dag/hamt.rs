//! The hash by which sharded directories place their entries: MurmurHash3 x64 128 with seed 0, of
//! which UnixFS takes the first 64 bits (UnixFS specification, "HAMT Sharded Directories").

/// Bits of a name's hash, taken from the most significant end.
pub(crate) struct Slots {
    hash: u64,
    left: u32,
}

impl Slots {
    pub fn of(name: &str) -> Self {
        Self {
            // The hash is read as bytes in the order the reference implementation gives them out.
            hash: murmur3_x64_64(name.as_bytes()),
            left: 64,
        }
    }

    /// The next so many bits; `None` when the hash is used up.
    pub fn next(&mut self, bits: u32) -> Option<u64> {
        self.left = self.left.checked_sub(bits)?;
        Some(self.hash >> self.left & ((1 << bits) - 1))
    }
}

/// The first half of MurmurHash3_x64_128 (Austin Appleby's reference, public domain).
pub(crate) fn murmur3_x64_64(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut pairs = bytes.chunks_exact(16);
    for pair in &mut pairs {
        h1 ^= mix1(word(&pair[..8]));
        h1 = h1.rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(word(&pair[8..]));
        h2 = h2.rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = pairs.remainder();
    let (low, high) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(word(high));
    h1 ^= mix1(word(low));
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    final_mix(h1).wrapping_add(final_mix(h2))
}

fn final_mix(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ k >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation.
    #[test]
    fn hashes() {
        let rows = [
            ("", 0),
            ("hello", 0xcbd8_a7b3_41bd_9b02),
            ("hello, world", 0x342f_ac62_3a5e_bc8e),
            (
                "The quick brown fox jumps over the lazy dog.",
                0xcd99_481f_9ee9_02c9,
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(murmur3_x64_64(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn bits_run_out() {
        let mut slots = Slots::of("hello");
        let taken: Vec<_> = std::iter::from_fn(|| slots.next(8)).collect();
        assert_eq!(taken, [0xcb, 0xd8, 0xa7, 0xb3, 0x41, 0xbd, 0x9b, 0x02]);
    }
}
