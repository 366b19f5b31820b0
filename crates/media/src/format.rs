//! Pixel formats by FFmpeg's names, and what their descriptors say: bit depth and chroma.

use std::ffi::{CStr, CString};
use std::fmt;

use ffmpeg_sys_the_third as sys;

/// A pixel format of the FFmpeg in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PixelFormat(pub(crate) i32);

impl PixelFormat {
    /// Planar 8 bit 4:2:0, limited range unless the colour says otherwise.
    pub const YUV420P: Self = Self(sys::AVPixelFormat::YUV420P.0);
    /// Luma plane, then interleaved chroma, 8 bit 4:2:0.
    pub const NV12: Self = Self(sys::AVPixelFormat::NV12.0);
    /// Planar 10 bit 4:2:0, little endian.
    pub const YUV420P10LE: Self = Self(sys::AVPixelFormat::YUV420P10LE.0);
    /// Packed 8 bit red, green, blue.
    pub const RGB24: Self = Self(sys::AVPixelFormat::RGB24.0);
    /// Packed 8 bit blue, green, red, alpha.
    pub const BGRA: Self = Self(sys::AVPixelFormat::BGRA.0);
    /// Planar 8 bit 4:2:0, full range: what JPEG holds.
    pub const YUVJ420P: Self = Self(sys::AVPixelFormat::YUVJ420P.0);

    /// The format of that name, if this FFmpeg has one.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: a look-up in a constant table by a zero-ended string.
        let format = unsafe { sys::av_get_pix_fmt(name.as_ptr()) };
        (format != sys::AVPixelFormat::NONE).then_some(Self(format.0))
    }

    /// FFmpeg's name, or "none".
    pub fn name(self) -> &'static str {
        // SAFETY: a look-up in a constant table by value; an unknown value gives null.
        unsafe { static_name(sys::av_get_pix_fmt_name(self.raw())) }.unwrap_or("none")
    }

    /// Bits per sample of the first component.
    pub fn bit_depth(self) -> Option<u8> {
        let descriptor = self.descriptor()?;
        let palette = descriptor.flags & PALETTE != 0;
        let depth = if palette { 8 } else { descriptor.comp[0].depth };
        u8::try_from(depth).ok().filter(|depth| *depth > 0)
    }

    /// "4:2:0", "4:2:2", "4:4:4" and so on; "4:0:0" for grey, `None` for RGB and palettes.
    pub fn chroma(self) -> Option<&'static str> {
        let descriptor = self.descriptor()?;
        if descriptor.flags & (RGB | PALETTE | HWACCEL) != 0 {
            return None;
        }
        if descriptor.nb_components < 3 {
            return Some("4:0:0");
        }
        match (descriptor.log2_chroma_w, descriptor.log2_chroma_h) {
            (0, 0) => Some("4:4:4"),
            (0, 1) => Some("4:4:0"),
            (1, 0) => Some("4:2:2"),
            (1, 1) => Some("4:2:0"),
            (2, 0) => Some("4:1:1"),
            (2, 2) => Some("4:1:0"),
            _ => None,
        }
    }

    /// How many planes pictures of this format have; 0 for a device's memory.
    pub fn planes(self) -> usize {
        // SAFETY: pure arithmetic over a format; an unknown one gives an error.
        usize::try_from(unsafe { sys::av_pix_fmt_count_planes(self.raw()) }).unwrap_or(0)
    }

    /// Bytes in a row and rows of a plane, of a picture of this size. `None` for planes that are
    /// not there.
    pub fn plane(self, plane: usize, width: u32, height: u32) -> Option<(usize, usize)> {
        let (width, index) = (i32::try_from(width).ok()?, i32::try_from(plane).ok()?);
        if plane >= self.planes() {
            return None;
        }
        // SAFETY: pure arithmetic over a format and a width; a device format gives an error.
        let row = unsafe { sys::av_image_get_linesize(self.raw(), width, index) };
        let row = usize::try_from(row).ok().filter(|row| *row > 0)?;
        let (_, shift) = self.chroma_shift();
        let chroma = matches!(plane, 1 | 2);
        let rows = if chroma && shift > 0 {
            (height as usize).div_ceil(1 << shift)
        } else {
            height as usize
        };
        Some((row, rows))
    }

    /// Whether samples are red, green and blue rather than luma and chroma.
    pub fn is_rgb(self) -> bool {
        self.descriptor()
            .is_some_and(|descriptor| descriptor.flags & (RGB | PALETTE) != 0)
    }

    /// The deprecated twins of the planar formats that mean full range by their name.
    pub(crate) fn is_full_range_twin(self) -> bool {
        self.name().starts_with("yuvj")
    }

    pub(crate) fn chroma_shift(self) -> (u8, u8) {
        self.descriptor().map_or((0, 0), |descriptor| {
            (descriptor.log2_chroma_w, descriptor.log2_chroma_h)
        })
    }

    pub(crate) const fn raw(self) -> sys::AVPixelFormat {
        sys::AVPixelFormat(self.0)
    }

    fn descriptor(self) -> Option<&'static sys::AVPixFmtDescriptor> {
        // SAFETY: descriptors are constants of the library, which is never unloaded; an unknown
        // value gives null.
        unsafe { sys::av_pix_fmt_desc_get(self.raw()).as_ref() }
    }
}

const PALETTE: u64 = sys::AV_PIX_FMT_FLAG_PAL as u64;
const HWACCEL: u64 = sys::AV_PIX_FMT_FLAG_HWACCEL as u64;
const RGB: u64 = sys::AV_PIX_FMT_FLAG_RGB as u64;

impl fmt::Debug for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that libav keeps in a constant table.
///
/// # Safety
/// `name` must be null or a zero-ended string that lives as long as the program.
pub(crate) unsafe fn static_name(name: *const libc::c_char) -> Option<&'static str> {
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_chroma() {
        let rows = [
            ("yuv420p", Some(8), Some("4:2:0")),
            ("yuvj422p", Some(8), Some("4:2:2")),
            ("yuv444p12le", Some(12), Some("4:4:4")),
            ("yuv420p10le", Some(10), Some("4:2:0")),
            ("p010le", Some(10), Some("4:2:0")),
            ("gray", Some(8), Some("4:0:0")),
            ("rgb24", Some(8), None),
            ("pal8", Some(8), None),
            ("yuv410p", Some(8), Some("4:1:0")),
        ];
        for (name, depth, chroma) in rows {
            let format = PixelFormat::from_name(name).expect(name);
            assert_eq!(format.name(), name);
            assert_eq!(
                (format.bit_depth(), format.chroma()),
                (depth, chroma),
                "{name}"
            );
        }
        assert_eq!(PixelFormat::from_name("no such"), None);
    }
}
