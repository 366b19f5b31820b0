//! The little of HEVC that packing and checking need: NAL unit types, the sequence parameter set's
//! first fields, the codec string and the decoder configuration record.
//!
//! ITU-T H.265 (08/2021) 7.3.1.2 (NAL unit header), 7.3.2.2 (sequence parameter set), 7.3.3 (profile,
//! tier and level); ISO/IEC 14496-15 8.3.3 (hvcC) and annex E (codec string). All input is
//! untrusted: a malformed one gives `None`.

use crate::bits::{Bits, without_emulation};

/// Video parameter set.
pub const VPS: u8 = 32;
/// Sequence parameter set.
pub const SPS: u8 = 33;
/// Picture parameter set.
pub const PPS: u8 = 34;
/// Access unit delimiter, the first of the types that say nothing about pictures (35 to 38: also
/// end of sequence, end of stream, filler).
pub const AUD: u8 = 35;
/// Filler data, the last of them.
pub const FILLER: u8 = 38;

/// `nal_unit_type` of a NAL unit; 63, which is unspecified, for an empty one.
pub fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |byte| byte >> 1 & 0x3f)
}

/// Whether it is a slice of an IDR picture, with or without leading pictures.
pub fn is_idr(nal: &[u8]) -> bool {
    matches!(kind(nal), 19 | 20)
}

/// What a sequence parameter set says about every picture that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// `sps_max_sub_layers_minus1`.
    sub_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    nested: bool,
    /// Profile space, tier and profile; compatibility; constraints; level: the 12 bytes as they
    /// stand in the bitstream and in the record.
    general: [u8; 12],
    /// `chroma_format_idc`: 1 is 4:2:0.
    chroma: u32,
    /// Bits of a luma sample.
    luma_depth: u32,
    /// Bits of a chroma sample.
    chroma_depth: u32,
    /// Width after cropping, in pixels.
    pub width: u32,
    /// Height after cropping, in pixels.
    pub height: u32,
}

impl Sps {
    /// Reads a NAL unit of type 33.
    pub fn parse(nal: &[u8]) -> Option<Sps> {
        if kind(nal) != SPS {
            return None;
        }
        let payload = without_emulation(nal.get(2..)?);
        let (sub_layers, nested) = (payload.first()? >> 1 & 7, payload.first()? & 1 == 1);
        let general = *payload.get(1..)?.first_chunk::<12>()?;
        let mut bits = Bits::new(&payload[13..]);
        skip_sub_layers(&mut bits, sub_layers)?;
        bits.ue()?; // sps_seq_parameter_set_id
        let chroma = bits.ue()?;
        if chroma == 3 {
            bits.bit()?; // separate_colour_plane_flag
        }
        let (mut width, mut height) = (bits.ue()?, bits.ue()?);
        if bits.bit()? == 1 {
            let x = bits.ue()?.checked_add(bits.ue()?)?;
            let y = bits.ue()?.checked_add(bits.ue()?)?;
            let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
            let unit_y = if chroma == 1 { 2 } else { 1 };
            width = width.checked_sub(x.checked_mul(unit_x)?)?;
            height = height.checked_sub(y.checked_mul(unit_y)?)?;
        }
        let luma_depth = bits.ue()?.checked_add(8).filter(|depth| *depth <= 16)?;
        let chroma_depth = bits.ue()?.checked_add(8).filter(|depth| *depth <= 16)?;
        Some(Sps {
            sub_layers,
            nested,
            general,
            chroma: (chroma <= 3).then_some(chroma)?,
            luma_depth,
            chroma_depth,
            width,
            height,
        })
    }

    /// `hvc1.1.6.L93.90`: profile, compatibility with its bits in reverse, tier and level, and the
    /// constraint bytes up to the last that is not 0.
    pub fn codec_string(&self) -> String {
        let [first, a, b, c, d, constraints @ .., level] = self.general;
        let space = ["", "A", "B", "C"][usize::from(first >> 6)];
        let tier = if first & 0x20 == 0 { 'L' } else { 'H' };
        let profile = first & 0x1f;
        let compatible = u32::from_be_bytes([a, b, c, d]).reverse_bits();
        let used = constraints.iter().rposition(|&byte| byte != 0);
        let used = &constraints[..used.map_or(0, |last| last + 1)];
        let constraints: String = used.iter().map(|byte| format!(".{byte:X}")).collect();
        format!("hvc1.{space}{profile}.{compatible:X}.{tier}{level}{constraints}")
    }

    /// The contents of an hvcC box with these parameter sets, which no sample repeats.
    pub fn record(&self, sets: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![1];
        out.extend(self.general);
        // min_spatial_segmentation_idc and parallelismType: not said.
        out.extend([0xf0, 0, 0xfc, 0xfc | self.chroma as u8]);
        out.extend([
            0xf8 | (self.luma_depth - 8) as u8,
            0xf8 | (self.chroma_depth - 8) as u8,
        ]);
        // avgFrameRate and constantFrameRate: not said; lengths of four bytes.
        let layers = (self.sub_layers + 1) << 3 | u8::from(self.nested) << 2 | 3;
        out.extend([0, 0, layers]);
        let kinds = [VPS, SPS, PPS];
        out.push(kinds.len() as u8);
        for wanted in kinds {
            let of_kind: Vec<_> = sets.iter().filter(|set| kind(set) == wanted).collect();
            out.push(0x80 | wanted);
            out.extend((of_kind.len() as u16).to_be_bytes());
            for set in of_kind {
                out.extend((set.len() as u16).to_be_bytes());
                out.extend(set);
            }
        }
        out
    }
}

/// Profile and level of the lower temporal layers (7.3.3).
fn skip_sub_layers(bits: &mut Bits<'_>, sub_layers: u8) -> Option<()> {
    if sub_layers == 0 {
        return Some(());
    }
    let mut present = [(0, 0); 8];
    for flags in &mut present {
        *flags = (bits.bit()?, bits.bit()?);
    }
    for (profile, level) in &present[..usize::from(sub_layers)] {
        for _ in 0..profile * 88 + level * 8 {
            bits.bit()?;
        }
    }
    Some(())
}

/// The parameter sets of an hvcC record, in its order.
pub fn parse_record(record: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = record.get(22..)?;
    let mut sets = Vec::new();
    let arrays = *rest.first()?;
    rest = &rest[1..];
    for _ in 0..arrays {
        let count = u16::from_be_bytes(*rest.get(1..)?.first_chunk()?);
        rest = &rest[3..];
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
            sets.push(rest.get(2..2 + length)?.to_vec());
            rest = &rest[2 + length..];
        }
    }
    Some(sets)
}
