//! The byte stream format of ITU-T H.264 (08/2021) Annex B, which HEVC's Annex B repeats: NAL units
//! between start codes, and emulation prevention (7.4.1) when one is written.
//!
//! Taking emulation prevention out again is `BitReader::rbsp`'s, without a copy. What a NAL unit
//! means is its codec's. MPEG-2's start codes have the same prefix, so [`find_prefix`] serves it too.

/// The start code written ahead of each NAL unit. Four bytes: B.1.2 asks for the `zero_byte` before
/// parameter sets and the first NAL unit of an access unit, and it is never wrong elsewhere.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Index of the next `00 00 01`.
pub fn find_prefix(data: &[u8]) -> Option<usize> {
    // A byte above 1 can be none of a prefix's three, so most steps are of three bytes.
    let mut at = 0;
    while let Some(&[first, second, third]) = data.get(at..at + 3) {
        if third > 1 {
            at += 3;
        } else if third == 1 {
            if first == 0 && second == 0 {
                return Some(at);
            }
            at += 3;
        } else {
            at += 1;
        }
    }
    None
}

/// The NAL units of a byte stream, in order, each from its header byte to its last byte that is not
/// a trailing zero (B.1.1). Bytes ahead of the first start code belong to none.
pub fn nal_units(stream: &[u8]) -> NalUnits<'_> {
    let rest = match find_prefix(stream) {
        Some(at) => &stream[at + 3..],
        None => &[],
    };
    NalUnits { rest }
}

/// See [`nal_units`].
#[derive(Debug, Clone)]
pub struct NalUnits<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // Two start codes in a row hold no NAL unit between them.
        while !self.rest.is_empty() {
            let (nal, rest) = match find_prefix(self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 3..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            let zeros = nal.iter().rev().take_while(|&&byte| byte == 0).count();
            if zeros < nal.len() {
                return Some(&nal[..nal.len() - zeros]);
            }
        }
        None
    }
}

/// Appends a NAL unit: start code, `header` as it is, and `rbsp` with emulation prevention.
pub fn write_nal(out: &mut Vec<u8>, header: &[u8], rbsp: &[u8]) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(header);
    let mut zeros = 0;
    for &byte in rbsp {
        if zeros == 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    // An RBSP ends in zeros only as cabac_zero_words, two at a time, which 7.4.1 ends with a 03.
    if zeros == 2 {
        out.push(3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::BitReader;
    use proptest::prelude::*;

    #[test]
    fn nal_units_are_what_lies_between_start_codes() {
        for (stream, nals) in [
            (
                &b"\0\0\x01\x67A\0\0\0\x01\x68B\0\0"[..],
                &[&b"\x67A"[..], b"\x68B"][..],
            ),
            (b"junk\0\0\x01\x65", &[b"\x65"]),
            (b"\0\0\x01\0\0\x01\x65", &[b"\x65"]),
            (b"\0\0\x01\x65\0\0\x03\0", &[b"\x65\0\0\x03"]),
            (b"\0\0\x01", &[]),
            (b"no start code", &[]),
            (b"", &[]),
        ] {
            assert_eq!(nal_units(stream).collect::<Vec<_>>(), nals, "{stream:?}");
        }
    }

    #[test]
    fn find_prefix_finds_the_first() {
        for (data, at) in [
            (&[0, 0, 1][..], Some(0)),
            (&[0, 0, 0, 1], Some(1)),
            (&[1, 0, 0, 1], Some(1)),
            (&[9, 9, 0, 0, 1], Some(2)),
            (&[9, 0, 1, 0, 0, 1], Some(3)),
            (&[0, 1, 0, 0], None),
            (&[0, 0], None),
        ] {
            assert_eq!(find_prefix(data), at, "{data:?}");
        }
    }

    proptest! {
        #[test]
        fn roundtrip_nal(payloads in proptest::collection::vec(proptest::collection::vec(0..4_u8, 1..40), 1..4)) {
            let mut stream = Vec::new();
            // Every RBSP ends in a stop bit, here followed by no or one cabac_zero_word.
            let payloads: Vec<Vec<u8>> = payloads
                .into_iter()
                .map(|payload| [&payload[..], &[0x80, 0, 0][..1 + 2 * (payload.len() % 2)]].concat())
                .collect();
            for payload in &payloads {
                write_nal(&mut stream, &[0x67], payload);
            }
            let nals: Vec<_> = nal_units(&stream).collect();
            prop_assert_eq!(nals.len(), payloads.len());
            for (nal, payload) in nals.iter().zip(&payloads) {
                let mut reader = BitReader::rbsp(&nal[1..]);
                let read: Vec<u8> = std::iter::from_fn(|| reader.u(8).ok()).map(|byte| byte as u8).collect();
                prop_assert_eq!(&read, payload);
            }
        }
    }
}
