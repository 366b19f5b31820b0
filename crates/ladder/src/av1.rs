//! The little of AV1 that packing and checking need: open bitstream units, the sequence header, the
//! codec string and the configuration record.
//!
//! AV1 bitstream specification 5.3 (OBU), 5.5 (sequence header), 5.9.2 (frame header); AV1 codec ISO
//! media file format binding 2.3 (av1C), 2.4 (samples), 5 (codec string). All input is untrusted: a
//! malformed one gives `None`.

use crate::bits::Bits;

/// Sequence header.
pub const SEQUENCE_HEADER: u8 = 1;
/// Temporal delimiter; no sample has one.
pub const TEMPORAL_DELIMITER: u8 = 2;
/// Frame header without tiles.
const FRAME_HEADER: u8 = 3;
/// Frame header with tiles.
const FRAME: u8 = 6;
/// Tile list and padding; no sample has them.
pub const TILE_LIST: u8 = 8;
/// Padding.
pub const PADDING: u8 = 15;

/// An open bitstream unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    /// `obu_type`.
    pub kind: u8,
    /// All of it, header and size field included.
    pub whole: &'a [u8],
    /// What follows them.
    pub payload: &'a [u8],
}

/// The units of a packet or sample. `None` when one has no size field or points beyond the data.
pub fn units(mut data: &[u8]) -> Option<Vec<Obu<'_>>> {
    let mut units = Vec::new();
    while let Some(&header) = data.first() {
        if header & 0x82 != 2 {
            return None;
        }
        let at = if header & 4 != 0 { 2 } else { 1 };
        let (size, length) = leb128(data.get(at..)?)?;
        let start = at + length;
        let end = start.checked_add(size)?;
        let whole = data.get(..end)?;
        units.push(Obu {
            kind: header >> 3 & 15,
            whole,
            payload: &whole[start..],
        });
        data = &data[end..];
    }
    Some(units)
}

/// A number of at most 8 bytes of 7 bits (4.10.5), and its length.
fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (at, &byte) in data.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, at + 1));
        }
    }
    None
}

/// Whether decoding can start here: a sequence header, and the first frame is a key frame that is
/// shown.
pub fn is_key(units: &[Obu<'_>]) -> bool {
    let frame = units
        .iter()
        .find(|u| matches!(u.kind, FRAME | FRAME_HEADER));
    let key = frame.is_some_and(|frame| {
        // show_existing_frame, frame_type (0 is a key frame), show_frame.
        frame.payload.first().is_some_and(|byte| byte >> 4 == 1)
    });
    key && units.iter().any(|unit| unit.kind == SEQUENCE_HEADER)
}

/// What a sequence header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    profile: u32,
    level: u32,
    tier: u32,
    high_depth: bool,
    twelve: bool,
    monochrome: bool,
    subsampling: (u32, u32),
    position: u32,
    /// `transfer_characteristics`; 2, unspecified, where nothing is said.
    pub transfer: u32,
    /// Largest width in pixels.
    pub width: u32,
    /// Largest height in pixels.
    pub height: u32,
}

impl Sequence {
    /// Reads a unit of type 1.
    pub fn parse(unit: &[u8]) -> Option<Sequence> {
        let units = units(unit)?;
        let header = units.first().filter(|u| u.kind == SEQUENCE_HEADER)?;
        let mut bits = Bits::new(header.payload);
        let profile = bits.take(3)?;
        bits.bit()?; // still_picture
        if bits.bit()? == 1 {
            return None; // reduced_still_picture_header: no video has it
        }
        let (level, tier) = operating_point(&mut bits)?;
        let (wide, high) = (bits.take(4)? + 1, bits.take(4)? + 1);
        let (width, height) = (bits.take(wide)? + 1, bits.take(high)? + 1);
        if bits.bit()? == 1 {
            bits.take(7)?; // lengths of frame numbers
        }
        bits.take(3)?; // 128x128 superblocks, intra filter, intra edge filter
        bits.take(4)?; // inter-intra, masked, warped, dual filter
        let order_hint = bits.bit()? == 1;
        if order_hint {
            bits.take(2)?; // joint compound, reference motion vectors
        }
        let screen_content = if bits.bit()? == 1 { 2 } else { bits.bit()? };
        if screen_content > 0 && bits.bit()? == 0 {
            bits.bit()?; // seq_force_integer_mv
        }
        if order_hint {
            bits.take(3)?;
        }
        bits.take(3)?; // superres, cdef, restoration
        let mut sequence = Sequence {
            profile,
            level,
            tier,
            high_depth: false,
            twelve: false,
            monochrome: false,
            subsampling: (1, 1),
            position: 0,
            transfer: 2,
            width,
            height,
        };
        sequence.colour(&mut bits)?;
        Some(sequence)
    }

    /// 5.5.2.
    fn colour(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        self.high_depth = bits.bit()? == 1;
        self.twelve = self.profile == 2 && self.high_depth && bits.bit()? == 1;
        self.monochrome = self.profile != 1 && bits.bit()? == 1;
        let mut described = (2, 2, 2);
        if bits.bit()? == 1 {
            described = (bits.take(8)?, bits.take(8)?, bits.take(8)?);
        }
        self.transfer = described.1;
        if self.monochrome {
            return Some(());
        }
        if described == (1, 13, 0) {
            self.subsampling = (0, 0); // sRGB
            return Some(());
        }
        bits.bit()?; // color_range
        self.subsampling = match self.profile {
            0 => (1, 1),
            1 => (0, 0),
            _ if self.twelve => {
                let x = bits.bit()?;
                (x, if x == 1 { bits.bit()? } else { 0 })
            }
            _ => (1, 0),
        };
        if self.subsampling == (1, 1) {
            self.position = bits.take(2)?;
        }
        Some(())
    }

    /// `av01.0.04M.08`.
    pub fn codec_string(&self) -> String {
        let (profile, level) = (self.profile, self.level);
        let tier = if self.tier == 0 { 'M' } else { 'H' };
        format!("av01.{profile}.{level:02}{tier}.{:02}", self.depth())
    }

    fn depth(&self) -> u32 {
        match (self.high_depth, self.twelve) {
            (_, true) => 12,
            (true, _) => 10,
            _ => 8,
        }
    }

    /// The contents of an av1C box with this sequence header.
    pub fn record(&self, unit: &[u8]) -> Vec<u8> {
        let flag = |set: bool, place: u8| u8::from(set) << place;
        let (x, y) = self.subsampling;
        let mut out = vec![
            0x81,
            (self.profile << 5 | self.level) as u8,
            flag(self.tier == 1, 7)
                | flag(self.high_depth, 6)
                | flag(self.twelve, 5)
                | flag(self.monochrome, 4)
                | flag(x == 1, 3)
                | flag(y == 1, 2)
                | self.position as u8,
            0,
        ];
        out.extend(unit);
        out
    }
}

/// Level and tier of the first operating point, past timing and all points (5.5.1).
fn operating_point(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    let mut delay_bits = None;
    if bits.bit()? == 1 {
        bits.take(32)?; // num_units_in_display_tick
        bits.take(32)?; // time_scale
        if bits.bit()? == 1 {
            bits.ue()?; // num_ticks_per_picture_minus_1; uvlc is Exp-Golomb
        }
        if bits.bit()? == 1 {
            delay_bits = Some(bits.take(5)? + 1);
            bits.take(32)?; // num_units_in_decoding_tick
            bits.take(10)?; // lengths of removal and presentation times
        }
    }
    let display_delay = bits.bit()? == 1;
    let mut first = None;
    for _ in 0..bits.take(5)? + 1 {
        bits.take(12)?; // operating_point_idc
        let level = bits.take(5)?;
        let tier = if level > 7 { bits.bit()? } else { 0 };
        if let Some(length) = delay_bits {
            if bits.bit()? == 1 {
                bits.take(length)?;
                bits.take(length)?;
                bits.bit()?; // low_delay_mode_flag
            }
        }
        if display_delay && bits.bit()? == 1 {
            bits.take(4)?;
        }
        first = first.or(Some((level, tier)));
    }
    first
}
