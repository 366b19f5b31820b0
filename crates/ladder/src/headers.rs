//! What a decoder must know before the pictures of a rung, whatever the codec: parameter sets of
//! H.264 and HEVC, the sequence header of AV1.
//!
//! One row of functions per codec, in `h264`, `hevc` and `av1`; here is what is asked of all three.

use serde::{Deserialize, Serialize};

use crate::{av1, h264, hevc};

/// How a rung's pictures are coded.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264, which every player plays.
    #[default]
    H264,
    /// HEVC; in CMAF only.
    Hevc,
    /// AV1; in CMAF only.
    Av1,
}

impl Codec {
    /// All of them, the most widely played first.
    pub const ALL: [Codec; 3] = [Codec::H264, Codec::Hevc, Codec::Av1];

    /// `h264`, `hevc`, `av1`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::H264 => "h264",
            Codec::Hevc => "hevc",
            Codec::Av1 => "av1",
        }
    }

    /// Type of the sample entry, and of the box in it that holds the decoder's configuration.
    pub(crate) fn boxes(self) -> (&'static [u8; 4], &'static [u8; 4]) {
        match self {
            Codec::H264 => (b"avc1", b"avcC"),
            Codec::Hevc => (b"hvc1", b"hvcC"),
            Codec::Av1 => (b"av01", b"av1C"),
        }
    }

    /// What a unit of the bitstream (NAL unit, OBU) is for.
    pub(crate) fn role(self, unit: &[u8]) -> Role {
        match self {
            Codec::H264 => match h264::kind(unit) {
                h264::SPS | h264::PPS => Role::Header,
                // Also end of sequence, end of stream, filler.
                h264::AUD..=12 => Role::Nothing,
                h264::IDR => Role::Key,
                _ => Role::Picture,
            },
            Codec::Hevc => match hevc::kind(unit) {
                hevc::VPS..=hevc::PPS => Role::Header,
                hevc::AUD..=hevc::FILLER => Role::Nothing,
                _ if hevc::is_idr(unit) => Role::Key,
                _ => Role::Picture,
            },
            Codec::Av1 => match unit.first().map_or(0, |byte| byte >> 3 & 15) {
                av1::SEQUENCE_HEADER => Role::Header,
                av1::TEMPORAL_DELIMITER | av1::TILE_LIST | av1::PADDING => Role::Nothing,
                _ => Role::Picture,
            },
        }
    }
}

/// What a unit of a bitstream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Parameter set, sequence header.
    Header,
    /// Says nothing that a container does not say.
    Nothing,
    /// Part of a picture that decoding can start at. For AV1 the whole sample decides.
    Key,
    /// Anything else that belongs to a picture.
    Picture,
}

/// Parameter sets of a rung, by rising type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Whose they are.
    pub codec: Codec,
    /// NAL units or OBUs, without start codes and lengths.
    pub sets: Vec<Vec<u8>>,
}

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// RFC 6381 codec string.
    pub codecs: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// ISO/IEC 23091-2 transfer characteristics; `None` where it is not read.
    pub transfer: Option<u32>,
    /// Contents of the configuration box.
    pub record: Vec<u8>,
}

impl Headers {
    /// None yet.
    pub fn new(codec: Codec) -> Headers {
        Headers {
            codec,
            sets: Vec::new(),
        }
    }

    /// Takes up a header. True when it was not known.
    pub fn add(&mut self, unit: &[u8]) -> bool {
        if self.sets.iter().any(|known| known == unit) {
            return false;
        }
        self.sets.push(unit.to_vec());
        let codec = self.codec;
        self.sets.sort_by_key(|set| kind(codec, set));
        true
    }

    /// The one that describes the pictures. `None` unless there is exactly one.
    pub fn sequence(&self) -> Option<&[u8]> {
        let wanted = match self.codec {
            Codec::H264 => h264::SPS,
            Codec::Hevc => hevc::SPS,
            Codec::Av1 => av1::SEQUENCE_HEADER,
        };
        let mut found = self.sets.iter().filter(|s| kind(self.codec, s) == wanted);
        let only = found.next()?;
        found.next().is_none().then_some(only)
    }

    /// What they say. `None` when they are damaged or one is missing.
    pub fn describe(&self) -> Option<Description> {
        let sequence = self.sequence()?;
        let has = |wanted| self.sets.iter().any(|s| kind(self.codec, s) == wanted);
        match self.codec {
            Codec::H264 => {
                let sps = h264::Sps::parse(sequence).filter(|_| has(h264::PPS))?;
                Some(Description {
                    codecs: sps.codec_string(),
                    width: sps.width,
                    height: sps.height,
                    transfer: Some(sps.transfer),
                    record: sps.record(&self.sets),
                })
            }
            Codec::Hevc => {
                let complete = has(hevc::VPS) && has(hevc::PPS);
                let sps = hevc::Sps::parse(sequence).filter(|_| complete)?;
                Some(Description {
                    codecs: sps.codec_string(),
                    width: sps.width,
                    height: sps.height,
                    transfer: None,
                    record: sps.record(&self.sets),
                })
            }
            Codec::Av1 => {
                let header = av1::Sequence::parse(sequence)?;
                Some(Description {
                    codecs: header.codec_string(),
                    width: header.width,
                    height: header.height,
                    transfer: Some(header.transfer),
                    record: header.record(sequence),
                })
            }
        }
    }

    /// Those of a configuration box.
    pub fn parse(codec: Codec, record: &[u8]) -> Option<Headers> {
        let sets = match codec {
            Codec::H264 => {
                let sets = h264::ParameterSets::parse(record)?;
                sets.sps.into_iter().chain(sets.pps).collect()
            }
            Codec::Hevc => hevc::parse_record(record)?,
            Codec::Av1 => {
                let units = av1::units(record.get(4..)?)?;
                units.iter().map(|unit| unit.whole.to_vec()).collect()
            }
        };
        Some(Headers { codec, sets })
    }
}

fn kind(codec: Codec, unit: &[u8]) -> u8 {
    match codec {
        Codec::H264 => h264::kind(unit),
        Codec::Hevc => hevc::kind(unit),
        Codec::Av1 => unit.first().map_or(0, |byte| byte >> 3 & 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.bytes().filter(u8::is_ascii_hexdigit);
        let digits: Vec<u8> = digits
            .map(|c| char::from(c).to_digit(16).unwrap() as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    type Row = (Codec, &'static [&'static str], &'static str, (u32, u32));

    /// Headers that libx264 164, libx265 3.5, SVT-AV1 1.4 and libaom 3.6 wrote for `testsrc2`, with
    /// what FFmpeg says of them.
    const ROWS: [Row; 5] = [
        (
            Codec::H264,
            &[
                "6742c00bda0a37e4c044000003000400000300c83c50aa80",
                "68ce0fc8",
            ],
            "avc1.42c00b",
            (160, 90),
        ),
        (
            Codec::Hevc,
            &[
                "40010c01ffff01600000030090000003000003003f959409",
                "42010101600000030090000003000003003fa005020169659596e4c2f0168080000003008000000c84",
                "4401c173c189",
            ],
            "hvc1.1.6.L63.90",
            (640, 360),
        ),
        (
            Codec::Hevc,
            &[
                "40010c01ffff022000000300900000030000030078959409",
                "420101022000000300900000030000030078a003c08011075336595952930bc05a020000030002000003003c10",
                "4401c073c189",
            ],
            "hvc1.2.4.L120.90",
            (1918, 1078),
        ),
        (
            Codec::Av1,
            &["0a0b0000000cc4ff673efe4010"],
            "av01.0.01M.08",
            (640, 360),
        ),
        (
            Codec::Av1,
            &["0a0e000000043cfeccdaf95091009040"],
            "av01.0.00M.10",
            (320, 180),
        ),
    ];

    #[test]
    fn descriptions_and_records() {
        for (codec, sets, codecs, size) in ROWS {
            let mut headers = Headers::new(codec);
            for set in sets.iter().rev() {
                assert!(headers.add(&bytes(set)));
                assert!(!headers.add(&bytes(set)));
            }
            let found = headers.describe().unwrap();
            assert_eq!(found.codecs, codecs);
            assert_eq!((found.width, found.height), size, "{codecs}");
            assert_eq!(Headers::parse(codec, &found.record).unwrap(), headers);
            let pq = codecs == "av01.0.00M.10";
            assert_eq!(found.transfer == Some(16), pq, "{codecs}");
            for length in 0..found.record.len() {
                let cut = Headers::parse(codec, &found.record[..length]);
                assert_ne!(cut.as_ref(), Some(&headers), "{length} bytes");
            }
            for at in 0..headers.sets[0].len() * 8 {
                let mut changed = headers.clone();
                changed.sets[0][at / 8] ^= 0x80 >> (at % 8);
                let _ = changed.describe();
            }
        }
    }
}
