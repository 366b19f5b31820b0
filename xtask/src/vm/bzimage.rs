//! Finds the kernel inside the image that distributions install.
//!
//! A bzImage is a loader with the packed kernel in it. Its header (Documentation/arch/x86/boot.rst, the
//! real-mode kernel header, protocol 2.08) says where. Unpacking is left to the format's own program.

use anyhow::{Context, Result, bail, ensure};

/// The packed kernel, and the shell command that unpacks it.
#[derive(Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    pub bytes: &'a [u8],
    pub unpack: &'static str,
}

/// What a packed kernel begins with. xz is told to stop there: the image's padding follows.
#[rustfmt::skip]
const FORMATS: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "xz -dc --single-stream"),
    (b"\x28\xb5\x2f\xfd", "zstd -dcq"),
    (b"\x1f\x8b\x08", "gzip -dc"),
];

pub fn payload(image: &[u8]) -> Result<Payload<'_>> {
    let long = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the image is too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(
        image.get(0x202..0x206) == Some(b"HdrS"),
        "the image has no boot header"
    );
    let version = long(0x206)? & 0xffff;
    ensure!(version >= 0x208, "boot protocol {version:#x} is too old");
    // Zero stands for 4, as long as there has been a header.
    let setup_sectors = match image[0x1f1] {
        0 => 4,
        count => usize::from(count),
    };
    let start = (setup_sectors + 1) * 512 + long(0x248)?;
    let length = long(0x24c)?;
    let packed = image
        .get(start..start + length)
        .with_context(|| format!("the kernel would lie at {start}, {length} bytes long"))?;
    for (magic, unpack) in FORMATS {
        if packed.starts_with(magic) {
            // The last four bytes are the length of the unpacked kernel, which gzip alone has anyway.
            let end = if *unpack == "gzip -dc" {
                length
            } else {
                length - 4
            };
            return Ok(Payload {
                bytes: &packed[..end],
                unpack,
            });
        }
    }
    bail!(
        "the kernel is packed in an unknown way: {:02x?}",
        &packed[..packed.len().min(6)]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(setup_sectors: u8, offset: u32, packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x260];
        image[0x1f1] = setup_sectors;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&offset.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        let sectors = if setup_sectors == 0 { 4 } else { setup_sectors };
        image.resize((usize::from(sectors) + 1) * 512 + offset as usize, 0);
        image.extend(packed);
        image.extend(b"padding");
        image
    }

    #[test]
    fn the_kernel_is_found_and_its_format() {
        // The last four bytes are the size, which only gzip's own format has too.
        #[rustfmt::skip]
        let rows = [
            (3, 0x10, "\x28\u{b5}/\u{fd}kernelSIZE", 4, "zstd -dcq"),
            (0, 0x300, "\u{fd}7zXZ\0kernelSIZE", 4, "xz -dc --single-stream"),
            (27, 0, "\x1f\u{8b}\x08kernelSIZE", 0, "gzip -dc"),
        ];
        for (sectors, offset, packed, size, unpack) in rows {
            let packed: Vec<u8> = packed.chars().map(|c| c as u8).collect();
            let image = image(sectors, offset, &packed);
            let bytes = &packed[..packed.len() - size];
            assert_eq!(payload(&image).unwrap(), Payload { bytes, unpack });
        }
    }

    #[test]
    fn what_is_no_kernel_is_an_error() {
        let good = image(1, 0, b"\x1f\x8b\x08kernel");
        for length in [0, 0x202, 0x24d, 0x400, good.len() - 10] {
            assert!(payload(&good[..length]).is_err(), "{length}");
        }
        let mut far = good.clone();
        far[0x248..0x24c].copy_from_slice(&[0xff; 4]);
        assert!(payload(&far).is_err());
        assert!(payload(&image(1, 0, b"unknown")).is_err());
        assert!(payload(&image(1, 0, b"")).is_err());
    }
}
