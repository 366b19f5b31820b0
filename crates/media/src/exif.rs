//! The orientation that a camera writes into a picture: tag 0x0112 of Exif (CIPA DC-008, 4.6.4),
//! in the four files that carry it. libav gives it out for JPEG only, and not in every release.

use crate::stream::Orientation;

/// The orientation that the file states, if it states one.
pub(crate) fn orientation(file: &[u8]) -> Option<Orientation> {
    let tiff = match file {
        [0xff, 0xd8, ..] => in_jpeg(file)?,
        [0x89, b'P', b'N', b'G', ..] => in_png(file)?,
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => in_webp(file)?,
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => file,
        _ => return None,
    };
    of_value(value(tiff)?)
}

/// From the eight values: where row 0 and column 0 of what is stored lie when shown.
fn of_value(value: u16) -> Option<Orientation> {
    let (mirrored, rotation) = match value {
        1 => (false, 0),
        2 => (true, 0),
        3 => (false, 180),
        4 => (true, 180),
        5 => (true, 270),
        6 => (false, 90),
        7 => (true, 90),
        8 => (false, 270),
        _ => return None,
    };
    Some(Orientation { mirrored, rotation })
}

/// The APP1 segment that begins with "Exif".
fn in_jpeg(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(2..)?;
    loop {
        let [0xff, marker, high, low, ..] = *rest else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        if let (0xe1, Some(tiff)) = (marker, segment.strip_prefix(b"Exif\0\0")) {
            return Some(tiff);
        }
        // The coded picture begins: what comes after it is not for a reader of headers.
        if marker == 0xda {
            return None;
        }
        rest = rest.get(2 + length..)?;
    }
}

/// The chunk `eXIf`.
fn in_png(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let kind = rest.get(4..8)?;
        if kind == b"eXIf" {
            return rest.get(8..8 + length);
        }
        rest = rest.get(length.checked_add(12)?..)?;
    }
}

/// The chunk `EXIF`, with or without the prefix that JPEG's has.
fn in_webp(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(12..)?;
    loop {
        let length = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize;
        if rest.starts_with(b"EXIF") {
            let chunk = rest.get(8..8 + length)?;
            return Some(chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk));
        }
        rest = rest.get(length.checked_add(8)?.next_multiple_of(2)..)?;
    }
}

/// The tag's value in a TIFF structure's first directory.
fn value(tiff: &[u8]) -> Option<u16> {
    const ORIENTATION: u16 = 0x0112;
    let big = match tiff.get(..2)? {
        b"MM" => true,
        b"II" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk()?;
        Some(if big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    };
    let long = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk()?;
        Some(if big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    };
    let directory = long(4)? as usize;
    let count = usize::from(short(directory)?);
    (0..count)
        .map(|number| directory + 2 + 12 * number)
        .find(|entry| short(*entry) == Some(ORIENTATION))
        .and_then(|entry| short(entry + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiff(big: bool, value: u16) -> Vec<u8> {
        let short = |v: u16| {
            if big {
                v.to_be_bytes()
            } else {
                v.to_le_bytes()
            }
        };
        let long = |v: u32| {
            if big {
                v.to_be_bytes()
            } else {
                v.to_le_bytes()
            }
        };
        [
            if big { b"MM" } else { b"II" }.to_vec(),
            short(42).to_vec(),
            long(8).to_vec(),
            short(1).to_vec(),
            short(0x0112).to_vec(),
            short(3).to_vec(),
            long(1).to_vec(),
            short(value).to_vec(),
            vec![0; 6],
        ]
        .concat()
    }

    #[test]
    fn orientations_in_files() {
        let turned = Orientation {
            mirrored: false,
            rotation: 90,
        };
        for big in [true, false] {
            let exif = tiff(big, 6);
            let with_prefix = [b"Exif\0\0", &exif[..]].concat();
            let length = exif.len() as u32;
            let jpeg_length = (with_prefix.len() as u16 + 2).to_be_bytes();
            let files = [
                exif.clone(),
                [&[0xff, 0xd8, 0xff, 0xe1], &jpeg_length[..], &with_prefix].concat(),
                [
                    b"\x89PNG\r\n\x1a\n",
                    &length.to_be_bytes()[..],
                    b"eXIf",
                    &exif,
                ]
                .concat(),
                [
                    b"RIFF\0\0\0\0WEBP",
                    &b"EXIF"[..],
                    &length.to_le_bytes(),
                    &exif,
                ]
                .concat(),
            ];
            for file in &files {
                assert_eq!(orientation(file), Some(turned), "{file:?}");
                // Cut anywhere there is none, and no panic.
                for end in 0..file.len() {
                    let _ = orientation(&file[..end]);
                }
            }
        }
        for (file, what) in [
            (tiff(true, 0), "no orientation"),
            (tiff(true, 9), "no orientation"),
            (b"\xff\xd8\xff\xda\0\x02".to_vec(), "a bare JPEG"),
            (Vec::new(), "nothing"),
        ] {
            assert_eq!(orientation(&file), None, "{what}");
        }
    }
}
