//! Access units out of what containers hold.

use bitstream::vp9::Superframe;

/// The frames of a VP9 packet.
pub fn superframe(packet: &[u8]) -> Vec<&[u8]> {
    match Superframe::parse(packet) {
        Ok(superframe) => superframe.collect(),
        Err(_) => vec![packet],
    }
}

/// H.264 NAL units of a packet: with lengths, as an avcC record says, or with start codes.
pub fn nal_units(avcc: Option<usize>, packet: &[u8]) -> Vec<&[u8]> {
    let Some(size) = avcc else {
        return bitstream::annexb::nal_units(packet).collect();
    };
    let mut nals = Vec::new();
    let mut rest = packet;
    while let Some((length, behind)) = rest.split_at_checked(size) {
        let length = length
            .iter()
            .fold(0, |all, &byte| all << 8 | usize::from(byte));
        let Some((nal, behind)) = behind.split_at_checked(length) else {
            break;
        };
        if !nal.is_empty() {
            nals.push(nal);
        }
        rest = behind;
    }
    nals
}

/// The size of lengths, and the parameter sets, of an avcC record (ISO/IEC 14496-15, 5.3.3.1).
pub fn avcc(record: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let (&[1, _, _, _, sizes], mut rest) = record.split_first_chunk::<5>()? else {
        return None;
    };
    let mut nals = Vec::new();
    for mask in [0x1f, 0xff] {
        let (&count, behind) = rest.split_first()?;
        rest = behind;
        for _ in 0..count & mask {
            let (&length, behind) = rest.split_first_chunk::<2>()?;
            let (nal, behind) = behind.split_at_checked(u16::from_be_bytes(length).into())?;
            nals.push(nal);
            rest = behind;
        }
    }
    Some((usize::from(sizes & 3) + 1, nals))
}
