//! The colour description that travels with streams and frames: ITU-T H.273 code points.
//!
//! Values are FFmpeg's (H.273's, plus its range); names are what ffprobe prints. An unspecified
//! value is a value here and `None` in the names.

use ffmpeg_sys_the_third as sys;

use crate::format::static_name;

/// How samples mean colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Colour {
    pub(crate) primaries: u32,
    pub(crate) transfer: u32,
    pub(crate) space: u32,
    pub(crate) range: u32,
}

impl Colour {
    /// Nothing known.
    pub const UNSPECIFIED: Self = Self {
        primaries: sys::AVColorPrimaries::UNSPECIFIED.0,
        transfer: sys::AVColorTransferCharacteristic::UNSPECIFIED.0,
        space: sys::AVColorSpace::UNSPECIFIED.0,
        range: sys::AVColorRange::UNSPECIFIED.0,
    };

    /// ITU-R BT.709, limited range: what HD streams for every screen are.
    pub const BT709: Self = Self {
        primaries: sys::AVColorPrimaries::BT709.0,
        transfer: sys::AVColorTransferCharacteristic::BT709.0,
        space: sys::AVColorSpace::BT709.0,
        range: sys::AVColorRange::MPEG.0,
    };

    /// Full range, nothing else said.
    pub const FULL_RANGE: Self = Self {
        range: sys::AVColorRange::JPEG.0,
        ..Self::UNSPECIFIED
    };

    /// Limited range, nothing else said.
    pub const LIMITED_RANGE: Self = Self {
        range: sys::AVColorRange::MPEG.0,
        ..Self::UNSPECIFIED
    };

    /// ITU-R BT.601 matrix, full range, nothing else said: what JFIF means.
    pub const JPEG: Self = Self {
        space: sys::AVColorSpace::BT470BG.0,
        range: sys::AVColorRange::JPEG.0,
        ..Self::UNSPECIFIED
    };

    /// The primaries' name as ffprobe prints it.
    pub fn primaries(&self) -> Option<&'static str> {
        // SAFETY: a look-up in a constant table by value; an unknown value gives null.
        known(unsafe {
            static_name(sys::av_color_primaries_name(sys::AVColorPrimaries(
                self.primaries,
            )))
        })
    }

    /// The transfer characteristic's name as ffprobe prints it.
    pub fn transfer(&self) -> Option<&'static str> {
        let value = sys::AVColorTransferCharacteristic(self.transfer);
        // SAFETY: a look-up in a constant table by value; an unknown value gives null.
        known(unsafe { static_name(sys::av_color_transfer_name(value)) })
    }

    /// The matrix' name as ffprobe prints it.
    pub fn space(&self) -> Option<&'static str> {
        // SAFETY: a look-up in a constant table by value; an unknown value gives null.
        known(unsafe { static_name(sys::av_color_space_name(sys::AVColorSpace(self.space))) })
    }

    /// "tv" (limited) or "pc" (full).
    pub fn range(&self) -> Option<&'static str> {
        // SAFETY: a look-up in a constant table by value; an unknown value gives null.
        known(unsafe { static_name(sys::av_color_range_name(sys::AVColorRange(self.range))) })
    }

    /// Whether samples span the full range.
    pub fn is_full_range(&self) -> bool {
        self.range == sys::AVColorRange::JPEG.0
    }

    /// Whether the transfer is one of BT.2100's: PQ or HLG.
    pub fn is_hdr(&self) -> bool {
        self.is_pq() || self.is_hlg()
    }

    pub(crate) fn is_pq(&self) -> bool {
        self.transfer == sys::AVColorTransferCharacteristic::SMPTE2084.0
    }

    pub(crate) fn is_hlg(&self) -> bool {
        self.transfer == sys::AVColorTransferCharacteristic::ARIB_STD_B67.0
    }

    /// Gaps filled as players fill them: BT.709 from 720 rows up, BT.601 below (by its 525-line
    /// or 625-line primaries), limited range.
    #[must_use]
    pub fn or_guessed(self, height: u32) -> Self {
        let guess = match height {
            0..=480 => Self {
                primaries: sys::AVColorPrimaries::SMPTE170M.0,
                transfer: sys::AVColorTransferCharacteristic::SMPTE170M.0,
                space: sys::AVColorSpace::SMPTE170M.0,
                ..Self::BT709
            },
            481..=719 => Self {
                primaries: sys::AVColorPrimaries::BT470BG.0,
                transfer: sys::AVColorTransferCharacteristic::SMPTE170M.0,
                space: sys::AVColorSpace::BT470BG.0,
                ..Self::BT709
            },
            _ => Self::BT709,
        };
        let or = |value, unspecified, guess| if value == unspecified { guess } else { value };
        let unknown = Self::UNSPECIFIED;
        Self {
            primaries: or(self.primaries, unknown.primaries, guess.primaries),
            transfer: or(self.transfer, unknown.transfer, guess.transfer),
            space: or(self.space, unknown.space, guess.space),
            range: or(self.range, unknown.range, guess.range),
        }
    }
}

impl Default for Colour {
    fn default() -> Self {
        Self::UNSPECIFIED
    }
}

fn known(name: Option<&'static str>) -> Option<&'static str> {
    name.filter(|name| !matches!(*name, "unknown" | "reserved" | "unspecified"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ffprobes() {
        let c = Colour::BT709;
        assert_eq!(
            (c.primaries(), c.transfer(), c.space(), c.range()),
            (Some("bt709"), Some("bt709"), Some("bt709"), Some("tv"))
        );
        let c = Colour::UNSPECIFIED;
        assert_eq!(
            (c.primaries(), c.transfer(), c.space(), c.range()),
            (None, None, None, None)
        );
        assert_eq!(c.or_guessed(1080), Colour::BT709);
        assert_eq!(c.or_guessed(480).space(), Some("smpte170m"));
    }
}
