//! The little of H.264 that cutting, copying and checking need: NAL units in both packings, the
//! sequence parameter set's first fields, the codec string.
//!
//! ITU-T H.264 (08/2021) 7.3.1 (NAL unit), 7.3.2.1 (sequence parameter set), Annex B (start codes);
//! ISO/IEC 14496-15 5.3.3 (avcC, length-prefixed NAL units); RFC 6381 3.3 (codec string). Nothing
//! below the parameter sets is parsed. All input is untrusted: a malformed one gives `None`.

use crate::bits::{Bits, without_emulation};

/// Slice of an IDR picture.
pub const IDR: u8 = 5;
/// Sequence parameter set.
pub const SPS: u8 = 7;
/// Picture parameter set.
pub const PPS: u8 = 8;
/// Access unit delimiter.
pub const AUD: u8 = 9;

/// `nal_unit_type` of a NAL unit; 0 for an empty one.
pub fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte & 0x1f)
}

/// NAL units of a byte stream with start codes, without start codes and trailing zeros.
pub fn annex_b(data: &[u8]) -> Vec<&[u8]> {
    let mut nals = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at + 3 <= data.len() {
        if data[at + 2] > 1 {
            at += 3;
        } else if data[at] == 0 && data[at + 1] == 0 && data[at + 2] == 1 {
            push_trimmed(&mut nals, data, start, at);
            start = Some(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    push_trimmed(&mut nals, data, start, data.len());
    nals
}

fn push_trimmed<'a>(nals: &mut Vec<&'a [u8]>, data: &'a [u8], start: Option<usize>, end: usize) {
    let Some(start) = start else { return };
    let nal = &data[start..end];
    let kept = nal
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    if kept > 0 {
        nals.push(&nal[..kept]);
    }
}

/// NAL units each preceded by its length in `length_size` bytes. `None` when a length points beyond
/// the data.
pub fn length_prefixed(mut data: &[u8], length_size: usize) -> Option<Vec<&[u8]>> {
    let mut nals = Vec::new();
    while !data.is_empty() {
        let prefix = data.get(..length_size)?;
        let length = prefix
            .iter()
            .fold(0usize, |value, &byte| value << 8 | usize::from(byte));
        nals.push(data.get(length_size..length_size + length)?);
        data = &data[length_size + length..];
    }
    Some(nals)
}

/// Parameter sets of a stream and how its packets are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSets {
    /// Bytes of the length before each NAL unit; `None` means start codes (Annex B).
    pub length_size: Option<usize>,
    /// Sequence parameter sets, without start codes.
    pub sps: Vec<Vec<u8>>,
    /// Picture parameter sets, without start codes.
    pub pps: Vec<Vec<u8>>,
}

impl ParameterSets {
    /// Reads a stream's extradata, which is an avcC record or NAL units with start codes.
    pub fn parse(extradata: &[u8]) -> Option<ParameterSets> {
        if extradata.first() == Some(&1) {
            return Self::parse_avcc(extradata);
        }
        let mut sets = ParameterSets {
            length_size: None,
            sps: Vec::new(),
            pps: Vec::new(),
        };
        sets.collect(&annex_b(extradata));
        Some(sets)
    }

    fn parse_avcc(avcc: &[u8]) -> Option<ParameterSets> {
        let length_size = usize::from(avcc.get(4)? & 3) + 1;
        let mut rest = avcc.get(5..)?;
        let sps = read_sets(&mut rest, 0x1f)?;
        let pps = read_sets(&mut rest, 0xff)?;
        Some(ParameterSets {
            length_size: Some(length_size),
            sps,
            pps,
        })
    }

    /// Takes up the parameter sets among these NAL units that are not yet known. True when one was
    /// new.
    pub fn collect(&mut self, nals: &[&[u8]]) -> bool {
        let mut new = false;
        for nal in nals {
            let list = match kind(nal) {
                SPS => &mut self.sps,
                PPS => &mut self.pps,
                _ => continue,
            };
            if !list.iter().any(|known| known == nal) {
                list.push(nal.to_vec());
                new = true;
            }
        }
        new
    }

    /// The NAL units of one packet. `None` when it is damaged.
    pub fn split<'a>(&self, packet: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        match self.length_size {
            None => Some(annex_b(packet)),
            Some(size) => length_prefixed(packet, size),
        }
    }
}

fn read_sets(rest: &mut &[u8], mask: u8) -> Option<Vec<Vec<u8>>> {
    let count = rest.first()? & mask;
    let mut data = &rest[1..];
    let mut sets = Vec::new();
    for _ in 0..count {
        let length = usize::from(u16::from_be_bytes([*data.first()?, *data.get(1)?]));
        sets.push(data.get(2..2 + length)?.to_vec());
        data = &data[2 + length..];
    }
    *rest = data;
    Some(sets)
}

/// What a sequence parameter set says about every picture that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High, above that more than 8 bit 4:2:0.
    pub profile: u8,
    /// The constraint flags as they stand, the second byte of the codec string.
    pub constraints: u8,
    /// `level_idc`, ten times the level.
    pub level: u8,
    /// `chroma_format_idc`: 1 is 4:2:0.
    pub chroma: u32,
    /// Bits of a luma sample.
    pub bit_depth: u32,
    /// Whether every picture is a frame, never a field.
    pub frames_only: bool,
    /// Width after cropping, in pixels.
    pub width: u32,
    /// Height after cropping, in pixels.
    pub height: u32,
    /// `transfer_characteristics` of the usability information (E.2.1); 2, unspecified, without.
    pub transfer: u32,
}

impl Sps {
    /// Reads a NAL unit of type 7.
    pub fn parse(nal: &[u8]) -> Option<Sps> {
        if kind(nal) != SPS || nal.len() < 5 {
            return None;
        }
        let (profile, constraints, level) = (nal[1], nal[2], nal[3]);
        let payload = without_emulation(&nal[4..]);
        let mut bits = Bits::new(&payload);
        bits.ue()?; // seq_parameter_set_id
        let (mut chroma, mut bit_depth) = (1, 8);
        let high = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
        if high.contains(&profile) {
            chroma = bits.ue()?;
            if chroma == 3 {
                bits.bit()?;
            }
            bit_depth = bits.ue()?.checked_add(8)?;
            bits.ue()?; // bit_depth_chroma_minus8
            bits.bit()?; // qpprime_y_zero_transform_bypass_flag
            if bits.bit()? == 1 {
                skip_scaling_matrix(&mut bits, if chroma == 3 { 12 } else { 8 })?;
            }
        }
        bits.ue()?; // log2_max_frame_num_minus4
        skip_picture_order(&mut bits)?;
        bits.ue()?; // max_num_ref_frames
        bits.bit()?; // gaps_in_frame_num_value_allowed_flag
        let width = bits.ue()?.checked_add(1)?.checked_mul(16)?;
        let map_height = bits.ue()?.checked_add(1)?.checked_mul(16)?;
        let frames_only = bits.bit()? == 1;
        if !frames_only {
            bits.bit()?; // mb_adaptive_frame_field_flag
        }
        bits.bit()?; // direct_8x8_inference_flag
        let field_factor = if frames_only { 1 } else { 2 };
        let (crop_x, crop_y) = crop(&mut bits, chroma, field_factor)?;
        let transfer = transfer(&mut bits).unwrap_or(2);
        let height = map_height.checked_mul(field_factor)?;
        Some(Sps {
            profile,
            constraints,
            level,
            chroma,
            bit_depth,
            frames_only,
            width: width.checked_sub(crop_x)?,
            height: height.checked_sub(crop_y)?,
            transfer,
        })
    }

    /// The contents of an avcC box with these parameter sets (ISO/IEC 14496-15 5.3.3.1).
    pub fn record(&self, sets: &[Vec<u8>]) -> Vec<u8> {
        let of = |wanted| sets.iter().filter(move |set| kind(set) == wanted);
        let (sps, pps) = (of(SPS).count() as u8, of(PPS).count() as u8);
        let mut out = vec![1, self.profile, self.constraints, self.level, 0xff];
        out.push(0xe0 | sps);
        let put = |out: &mut Vec<u8>, wanted| {
            for set in of(wanted) {
                out.extend((set.len() as u16).to_be_bytes());
                out.extend(set);
            }
        };
        put(&mut out, SPS);
        out.push(pps);
        put(&mut out, PPS);
        if ![66, 77, 88].contains(&self.profile) {
            let depth = 0xf8 | (self.bit_depth - 8) as u8;
            out.extend([0xfc | self.chroma as u8, depth, depth, 0]);
        }
        out
    }

    /// `avc1.PPCCLL` (RFC 6381 3.3).
    pub fn codec_string(&self) -> String {
        format!(
            "avc1.{:02x}{:02x}{:02x}",
            self.profile, self.constraints, self.level
        )
    }
}

/// What the usability information says of the light (E.1.1).
fn transfer(bits: &mut Bits<'_>) -> Option<u32> {
    if bits.bit()? == 0 {
        return None;
    }
    if bits.bit()? == 1 && bits.take(8)? == 255 {
        bits.take(32)?; // sar_width, sar_height
    }
    if bits.bit()? == 1 {
        bits.bit()?; // overscan_appropriate_flag
    }
    if bits.bit()? == 0 {
        return None;
    }
    bits.take(4)?; // video_format, video_full_range_flag
    if bits.bit()? == 0 {
        return None;
    }
    bits.take(8)?; // colour_primaries
    bits.take(8)
}

fn skip_scaling_matrix(bits: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if bits.bit()? == 0 {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.bit()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// Pixels cropped off in x and y; the unit depends on chroma and fields (7.4.2.1.1).
fn crop(bits: &mut Bits<'_>, chroma: u32, field_factor: u32) -> Option<(u32, u32)> {
    if bits.bit()? == 0 {
        return Some((0, 0));
    }
    let x = bits.ue()?.checked_add(bits.ue()?)?;
    let y = bits.ue()?.checked_add(bits.ue()?)?;
    let unit_x = if chroma == 1 || chroma == 2 { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 };
    Some((
        x.checked_mul(unit_x)?,
        y.checked_mul(unit_y * field_factor)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex
            .bytes()
            .map(|c| char::from(c).to_digit(16).unwrap() as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    /// Sequence parameter sets that libx264 164 wrote for `testsrc2` at 25 fps.
    #[test]
    fn sequence_parameter_sets() {
        let row = |hex: &str| {
            let sps = Sps::parse(&bytes(hex)).unwrap();
            let Sps {
                width,
                height,
                bit_depth,
                chroma,
                frames_only,
                ..
            } = sps;
            (
                sps.codec_string(),
                width,
                height,
                bit_depth,
                chroma,
                frames_only,
            )
        };
        for (hex, codec, width, height, bit_depth, chroma, frames_only) in [
            (
                "6742c028da01e0089f97011000000300100000030320f1832a",
                "avc1.42c028",
                1920,
                1080,
                8,
                1,
                true,
            ),
            (
                "6742c00bda0a37e4c044000003000400000300c83c50aa80",
                "avc1.42c00b",
                160,
                90,
                8,
                1,
                true,
            ),
            (
                "674d401ef405a126c044000003000400000300c87c50aa80",
                "avc1.4d401e",
                720,
                576,
                8,
                1,
                false,
            ),
            (
                "676e000ca6cb40a0cfcf80880000030008000003019078a155",
                "avc1.6e000c",
                320,
                180,
                10,
                1,
                true,
            ),
            (
                "67f4000c919681419f8dc044000003000400000300c83c50aa80",
                "avc1.f4000c",
                320,
                180,
                8,
                3,
                true,
            ),
        ] {
            let expected = (
                codec.to_string(),
                width,
                height,
                bit_depth,
                chroma,
                frames_only,
            );
            assert_eq!(row(hex), expected, "{hex}");
        }
    }

    #[test]
    fn damaged_parameter_sets_are_refused() {
        let whole = bytes("676e000ca6cb40a0cfcf80880000030008000003019078a155");
        for length in 0..9 {
            assert_eq!(Sps::parse(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(Sps::parse(&[0x67; 64]).map(|sps| sps.profile), Some(0x67));
        assert_eq!(
            Sps::parse(&[0x67, 100, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0]),
            None
        );
    }

    #[test]
    fn both_packings_give_the_same_units() {
        let units: [&[u8]; 3] = [&[0x67, 1, 2], &[0x68, 3], &[0x65, 0, 0, 3, 1, 9]];
        let mut start_codes = vec![0];
        let mut lengths = Vec::new();
        for unit in units {
            start_codes.extend([0, 0, 1]);
            start_codes.extend(unit);
            start_codes.push(0);
            lengths.extend((unit.len() as u16).to_be_bytes());
            lengths.extend(unit);
        }
        assert_eq!(annex_b(&start_codes), units);
        assert_eq!(length_prefixed(&lengths, 2).unwrap(), units);
        assert_eq!(length_prefixed(&lengths[..6], 2), None);
        let avcc = bytes("0142c028ffe100036701020100026803");
        let sets = ParameterSets::parse(&avcc).unwrap();
        assert_eq!(
            (sets.sps.as_slice(), sets.pps.as_slice()),
            (
                [units[0].to_vec()].as_slice(),
                [units[1].to_vec()].as_slice()
            )
        );
        assert_eq!(sets.length_size, Some(4));
        assert_eq!(ParameterSets::parse(&avcc[..9]), None);
    }
}
