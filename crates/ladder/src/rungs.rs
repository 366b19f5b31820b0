//! Which rungs a source gets: size, name, bit rate and how it is encoded.
//!
//! Pure arithmetic over the display size, that is, the picture after rotation and with square
//! pixels. Rungs never go up: the source size, then 720 and 360 lines where the source is taller.
//! What is tuned for quality and speed stands in two tables at the top and nowhere else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bit rate in bits per second for every picture of at least so many pixels, best first.
const BIT_RATES: [(u64, u32); 5] = [
    (3840 * 2160, 15_000_000),
    (1920 * 1080, 5_000_000),
    (1280 * 720, 2_500_000),
    (854 * 480, 1_500_000),
    (0, 800_000),
];

/// How pictures of at least so many pixels are encoded, biggest first.
const TUNING: [(u64, Tuning); 2] = [
    (
        1280 * 720,
        Tuning {
            slower: 0,
            first_crf: 18.5,
        },
    ),
    (
        0,
        Tuning {
            slower: 1,
            first_crf: 21.0,
        },
    ),
];

/// libx264's presets from fastest to slowest.
const PRESETS: [&str; 9] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
];

/// Pictures between IDRs that no segment reaches, so that the only IDR is the first picture.
pub const NEVER: u32 = 1_000_000;

/// Heights of the rungs below the source.
const LOWER_HEIGHTS: [u32; 2] = [720, 360];

/// The knobs of one size class.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tuning {
    /// Presets to go down from the one asked for. A small picture can afford it: at 360 lines a
    /// slower search costs a few per cent of the whole ladder and is where quality is missing.
    slower: usize,
    /// x264's constant quality for the first segments, as long as nothing is known of the content.
    first_crf: f64,
}

/// One resolution of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// `1080p`, `720p`: the output's height. Also the folder and the key of its segments.
    pub name: String,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Average to aim at, in bits per second.
    pub bit_rate: u32,
    /// Ceiling of the rate over the buffer, in bits per second: 1.5 times the average.
    pub max_rate: u32,
    /// The decoder's buffer in bits: twice the average.
    pub buffer: u32,
    /// Whether the source's own packets are used instead of encoding.
    pub copied: bool,
}

impl Rung {
    fn new(width: u32, height: u32) -> Rung {
        let bit_rate = bit_rate(width, height);
        Rung {
            name: format!("{height}p"),
            width,
            height,
            bit_rate,
            max_rate: bit_rate / 2 * 3,
            buffer: bit_rate * 2,
            copied: false,
        }
    }

    /// The preset this rung is encoded with when `base` is asked for. A name that is none of
    /// libx264's is passed on as it is.
    pub fn preset<'a>(&self, base: &'a str) -> &'a str {
        let slower = tuning(self.width, self.height).slower;
        match PRESETS.iter().position(|&preset| preset == base) {
            Some(at) if slower > 0 => PRESETS[(at + slower).min(PRESETS.len() - 1)],
            _ => base,
        }
    }

    /// Constant quality for the first segments; see the table.
    pub fn first_crf(&self) -> f64 {
        tuning(self.width, self.height).first_crf
    }
}

/// Settings that an encoder of this name takes beside preset and rates, by FFmpeg's option names.
pub fn encoder_options(encoder: &str) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    if encoder == "libx264" {
        // Scene cuts get I pictures, but no IDR of their own.
        options.insert("keyint_min".to_string(), NEVER.to_string());
        // The same parameter sets at every quality, so that one initialisation segment serves all.
        options.insert("x264-params".to_string(), "stitchable=1".to_string());
    }
    options
}

/// The rungs for a source of this display size (turned, square pixels), biggest first; the first is
/// the source's own size.
pub fn choose(width: u32, height: u32) -> Vec<Rung> {
    let mut rungs = vec![Rung::new(even_below(width), even_below(height))];
    for lower in LOWER_HEIGHTS {
        if rungs[0].height > lower {
            let wide = u64::from(width) * u64::from(lower);
            rungs.push(Rung::new(even_nearest(wide, u64::from(height)), lower));
        }
    }
    rungs
}

fn bit_rate(width: u32, height: u32) -> u32 {
    let pixels = u64::from(width) * u64::from(height);
    BIT_RATES
        .iter()
        .find(|(least, _)| pixels >= *least)
        .map_or(800_000, |(_, rate)| *rate)
}

fn tuning(width: u32, height: u32) -> Tuning {
    let pixels = u64::from(width) * u64::from(height);
    let row = TUNING.iter().find(|(least, _)| pixels >= *least);
    row.map_or(TUNING[TUNING.len() - 1].1, |(_, tuning)| *tuning)
}

/// The source rung loses its odd line or column, which costs nothing; scaling it by one pixel would
/// soften the whole picture.
fn even_below(length: u32) -> u32 {
    (length & !1).max(2)
}

fn even_nearest(num: u64, den: u64) -> u32 {
    let even = (num + den) / (2 * den) * 2;
    u32::try_from(even).unwrap_or(u32::MAX - 1).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: u32, height: u32, expected: &str) {
        let rungs = choose(width, height);
        let text: Vec<String> = rungs
            .iter()
            .map(|r| format!("{}={}x{}@{}", r.name, r.width, r.height, r.bit_rate / 1000))
            .collect();
        assert_eq!(text.join(" "), expected, "{width}x{height}");
        for rung in &rungs {
            assert_eq!((rung.width % 2, rung.height % 2), (0, 0), "{rung:?}");
            assert_eq!(rung.max_rate, rung.bit_rate * 3 / 2);
            assert_eq!(rung.buffer, rung.bit_rate * 2);
        }
    }

    #[test]
    fn rungs_by_source() {
        for (width, height, expected) in [
            (
                3840,
                2160,
                "2160p=3840x2160@15000 720p=1280x720@2500 360p=640x360@800",
            ),
            (
                1920,
                1080,
                "1080p=1920x1080@5000 720p=1280x720@2500 360p=640x360@800",
            ),
            (
                1920,
                800,
                "800p=1920x800@2500 720p=1728x720@2500 360p=864x360@800",
            ),
            (1280, 720, "720p=1280x720@2500 360p=640x360@800"),
            (1280, 721, "720p=1280x720@2500 360p=640x360@800"),
            (
                1282,
                722,
                "722p=1282x722@2500 720p=1278x720@1500 360p=640x360@800",
            ),
            (854, 480, "480p=854x480@1500 360p=640x360@800"),
            (640, 360, "360p=640x360@800"),
            (641, 361, "360p=640x360@800"),
            (160, 90, "90p=160x90@800"),
            (161, 91, "90p=160x90@800"),
            (1, 1, "2p=2x2@800"),
            (
                1080,
                1920,
                "1920p=1080x1920@5000 720p=406x720@800 360p=202x360@800",
            ),
            (1047, 576, "576p=1046x576@1500 360p=654x360@800"),
            (
                5760,
                1080,
                "1080p=5760x1080@5000 720p=3840x720@5000 360p=1920x360@1500",
            ),
            (4, 4000, "4000p=4x4000@800 720p=2x720@800 360p=2x360@800"),
        ] {
            check(width, height, expected);
        }
    }

    #[test]
    fn small_rungs_take_a_slower_preset() {
        let rungs = choose(1920, 1080);
        let presets = |base| rungs.iter().map(|r| r.preset(base)).collect::<Vec<_>>();
        assert_eq!(presets("veryfast"), ["veryfast", "veryfast", "faster"]);
        assert_eq!(presets("veryslow"), ["veryslow", "veryslow", "veryslow"]);
        assert_eq!(presets("p4"), ["p4", "p4", "p4"]);
    }
}
