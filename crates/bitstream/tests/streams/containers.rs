//! As much of IVF, WebM, MPEG program and transport streams as takes the video out of files that are
//! known to be good.

/// The packets of the video in an IVF or WebM file; `None` for other containers.
pub fn packets(file: &[u8], codec_id: &str) -> Option<Vec<Vec<u8>>> {
    match file {
        [b'D', b'K', b'I', b'F', ..] => Some(ivf(file)),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(webm(file, codec_id)),
        _ => None,
    }
}

fn ivf(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[usize::from(u16::from_le_bytes([file[6], file[7]]))..];
    let mut packets = Vec::new();
    while let Some((header, behind)) = rest.split_at_checked(12) {
        let size = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (packet, behind) = behind.split_at(size.min(behind.len()));
        packets.push(packet.to_vec());
        rest = behind;
    }
    packets
}

/// Goes through the elements as if there were no levels, which takes unknown sizes in its stride.
fn webm(file: &[u8], codec_id: &str) -> Vec<Vec<u8>> {
    const ENTERED: [u64; 5] = [0x1853_8067, 0x1f43_b675, 0x1654_ae6b, 0xae, 0xa0];
    let mut at = 0;
    let (mut number, mut track) = (0, None);
    let mut packets = Vec::new();
    while let Some((id, behind_id)) = vint(file, at, false) {
        let Some((size, data)) = vint(file, behind_id, true) else {
            break;
        };
        at = data;
        if ENTERED.contains(&id) {
            continue;
        }
        let end = data.saturating_add(size as usize).min(file.len());
        let body = &file[data..end];
        match id {
            0xd7 => {
                number = body
                    .iter()
                    .fold(0, |number, &byte| number << 8 | u64::from(byte))
            }
            0x86 if track.is_none() && body.starts_with(codec_id.as_bytes()) => {
                track = Some(number)
            }
            0xa3 | 0xa1 => {
                let (of, header) = vint(body, 0, true).unwrap_or_default();
                if track == Some(of) {
                    assert_eq!(body[header + 2] & 6, 0, "laced block");
                    packets.push(body[header + 3..].to_vec());
                }
            }
            _ => {}
        }
        at = end;
    }
    packets
}

/// A number of EBML's variable length, with or without its length marker, and where it ends.
fn vint(data: &[u8], at: usize, unmarked: bool) -> Option<(u64, usize)> {
    let first = *data.get(at)?;
    let length = first.leading_zeros() as usize + 1;
    let bytes = data.get(at..at + length)?;
    let marked = bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u64::from(byte));
    let value = if unmarked {
        marked & !(1 << (7 * length))
    } else {
        marked
    };
    Some((value, at + length))
}

/// The first video stream of an MPEG program or transport stream, or the elementary stream it is.
pub fn elementary(file: &[u8]) -> Vec<u8> {
    match file {
        [0x47, ..] => transport(file),
        [0, 0, 1, 0xba, ..] => program(file),
        _ => file.to_vec(),
    }
}

fn transport(file: &[u8]) -> Vec<u8> {
    let mut video = None;
    let mut out = Vec::new();
    for packet in file.chunks_exact(188) {
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
        let start = packet[1] & 0x40 != 0;
        let mut payload = &packet[4..];
        if packet[3] & 0x20 != 0 {
            payload = payload
                .get(1 + usize::from(payload[0])..)
                .unwrap_or_default();
        }
        if packet[3] & 0x10 == 0 {
            continue;
        }
        if start && matches!(payload, [0, 0, 1, 0xe0..=0xef, ..]) {
            if *video.get_or_insert(pid) == pid {
                out.extend_from_slice(&payload[9 + usize::from(payload[8])..]);
            }
        } else if video == Some(pid) {
            out.extend_from_slice(payload);
        }
    }
    out
}

/// Packs of MPEG-2 or MPEG-1, which has other headers.
fn program(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(start) = bitstream::annexb::find_prefix(&file[at..]) {
        at += start;
        match file[at + 3..] {
            [0xba, marker, ..] if marker >> 4 == 2 => at += 12,
            [0xba, _, _, _, _, _, _, _, _, _, stuffing, ..] => at += 14 + usize::from(stuffing & 7),
            [stream @ 0xbb..=0xff, high, low, ..] => {
                let end = at + 6 + usize::from(u16::from_be_bytes([high, low]));
                if stream == 0xe0 {
                    out.extend_from_slice(pes_payload(&file[at + 6..end]));
                }
                at = end;
            }
            _ => at += 3,
        }
    }
    out
}

fn pes_payload(packet: &[u8]) -> &[u8] {
    if packet[0] >> 6 == 2 {
        return &packet[3 + usize::from(packet[2])..];
    }
    let stuffing = packet.iter().take_while(|&&byte| byte == 0xff).count();
    let mut rest = &packet[stuffing..];
    if rest[0] >> 6 == 1 {
        rest = &rest[2..];
    }
    match rest[0] >> 4 {
        2 => &rest[5..],
        3 => &rest[10..],
        _ => &rest[1..],
    }
}
