//! Which rungs a source gets: size, name, bit rate and how it is encoded.
//!
//! Pure arithmetic over the display size, that is, the picture after rotation and with square
//! pixels. Rungs never go up: the source size, then 720 and 360 lines where the source is taller, or
//! what is asked for. What is tuned for quality and speed stands in tables at the top and nowhere
//! else.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::headers::Codec;
use crate::rate::Scale;
use crate::rung_file::RungSpec;
use crate::{Container, Error, Options, Result};

/// Bit rate in bits per second for every picture of at least so many pixels, best first.
const BIT_RATES: [(u64, u32); 5] = [
    (3840 * 2160, 15_000_000),
    (1920 * 1080, 5_000_000),
    (1280 * 720, 2_500_000),
    (854 * 480, 1_500_000),
    (0, 800_000),
];

/// How pictures of at least so many pixels are encoded, biggest first.
const TUNING: [(u64, Tuning); 3] = [
    (
        1920 * 1080,
        Tuning {
            slower: 0,
            first_crf: 18.5,
            x264: FEW_PARTITIONS,
        },
    ),
    (
        1280 * 720,
        Tuning {
            slower: 0,
            first_crf: 19.5,
            x264: FEW_PARTITIONS,
        },
    ),
    (
        0,
        Tuning {
            slower: 1,
            first_crf: 22.5,
            // A quarter of the time of `faster` for 0.2 dB, of which it leaves 0.5 over `veryfast`.
            x264: ("faster", "subme=2"),
        },
    ),
];

/// Blocks of 8x8 in P pictures: a seventh of the time of `veryfast` for 0.04 dB in large pictures.
const FEW_PARTITIONS: (&str, &str) = ("veryfast", "partitions=i4x4,i8x8");

/// How each codec is encoded, and how much of H.264's bit rate it needs for the same picture.
const CODINGS: [(Codec, Coding); 3] = [
    (
        Codec::H264,
        Coding {
            encoders: &media::H264_ENCODERS,
            share: 1.0,
            faster: 0,
        },
    ),
    (
        Codec::Hevc,
        Coding {
            encoders: &["libx265"],
            share: 0.65,
            faster: 1,
        },
    ),
    (
        Codec::Av1,
        Coding {
            encoders: &["libsvtav1", "libaom-av1"],
            share: 0.5,
            faster: 0,
        },
    ),
];

/// Encoders that `rate.rs` steers by constant quality. Measured at 720 lines: what halves the size,
/// and what x264's qualities correspond to.
const STEERED: [(&str, Scale); 3] = [
    (
        "libx264",
        Scale {
            halving: 5.0,
            best: 14.0,
            worst: 38.0,
            step: 0.1,
        },
    ),
    (
        "libx265",
        Scale {
            halving: 6.0,
            best: 16.0,
            worst: 40.0,
            step: 0.1,
        },
    ),
    (
        "libsvtav1",
        Scale {
            halving: 12.0,
            best: 18.0,
            worst: 60.0,
            step: 1.0,
        },
    ),
];

/// SVT-AV1 takes no side shorter than this.
const SVT_LEAST_SIDE: u32 = 64;

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
    /// A preset of x264's, and what is left out of it because it costs more than it brings here.
    x264: (&'static str, &'static str),
}

/// One row of [`CODINGS`].
#[derive(Debug, Clone, Copy, PartialEq)]
struct Coding {
    /// FFmpeg's names, the first that works first.
    encoders: &'static [&'static str],
    /// Share of H.264's bit rate.
    share: f64,
    /// Presets to go up from the one asked for, so that the codec is not all of the work.
    faster: usize,
}

/// One resolution of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// `1080p`, `720p`: the output's height, and for other codecs than H.264 the codec:
    /// `1080p-hevc`. Also the folder and the key of its segments.
    pub name: String,
    /// How its pictures are coded.
    #[serde(default)]
    pub codec: Codec,
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
    /// Encoder preset; `None` for the one asked for.
    #[serde(default)]
    pub preset: Option<String>,
    /// Whether the source's own packets are used instead of encoding.
    pub copied: bool,
}

impl Rung {
    fn new(width: u32, height: u32, spec: &RungSpec) -> Rung {
        let codec = spec.codec;
        let usual = (f64::from(bit_rate(width, height)) * coding(codec).share) as u32;
        let bit_rate = spec.bit_rate.unwrap_or(usual);
        let name = match codec {
            Codec::H264 => format!("{height}p"),
            codec => format!("{height}p-{}", codec.name()),
        };
        let max_rate = spec.max_rate.unwrap_or(bit_rate / 2 * 3);
        Rung {
            name: spec.name.clone().unwrap_or(name),
            codec,
            width,
            height,
            bit_rate: bit_rate.min(max_rate),
            max_rate,
            buffer: spec.buffer.unwrap_or(bit_rate.saturating_mul(2)),
            preset: spec.preset.clone(),
            copied: false,
        }
    }

    /// Sets another average, with ceiling and buffer in the same relation to it.
    pub(crate) fn lower(&mut self, bit_rate: u32) {
        let scaled = |bits: u32| {
            (u64::from(bits) * u64::from(bit_rate) / u64::from(self.bit_rate.max(1))) as u32
        };
        (self.max_rate, self.buffer) = (scaled(self.max_rate), scaled(self.buffer));
        self.bit_rate = bit_rate;
    }

    /// The preset this rung is encoded with when `base` is asked for. A name that is none of
    /// libx264's is passed on as it is.
    pub fn preset<'a>(&'a self, base: &'a str) -> &'a str {
        if let Some(own) = &self.preset {
            return own;
        }
        let slower = tuning(self.width, self.height).slower;
        let faster = coding(self.codec).faster;
        let presets = media::PRESETS;
        match presets.iter().position(|&preset| preset == base) {
            Some(at) => presets[(at + slower).saturating_sub(faster).min(presets.len() - 1)],
            None => base,
        }
    }

    /// Constant quality for the first segments, on the encoder's scale.
    pub fn first_crf(&self, encoder: &str) -> f64 {
        let crf = tuning(self.width, self.height).first_crf;
        match encoder {
            "libx265" => crf + 3.0,
            "libsvtav1" => (2.0 * crf - 10.0).round(),
            _ => crf,
        }
    }

    /// FFmpeg's names of the encoders to choose from, the best first.
    pub(crate) fn encoders(&self) -> &'static [&'static str] {
        let encoders = coding(self.codec).encoders;
        if self.codec == Codec::Av1 && self.width.min(self.height) < SVT_LEAST_SIDE {
            return &encoders[1..];
        }
        encoders
    }
}

/// FFmpeg's names of the encoders that rungs of a codec are made with, the best first.
pub fn encoders(codec: Codec) -> &'static [&'static str] {
    coding(codec).encoders
}

fn coding(codec: Codec) -> Coding {
    let row = CODINGS.iter().find(|(known, _)| *known == codec);
    row.map_or(CODINGS[0].1, |(_, coding)| *coding)
}

/// The quality scale of an encoder that is steered by quality.
pub(crate) fn scale(encoder: &str) -> Option<Scale> {
    let row = STEERED.iter().find(|(known, _)| *known == encoder);
    row.map(|(_, scale)| *scale)
}

/// Settings with which an encoder gives each picture as soon as it has it, by FFmpeg's option names.
/// One that is not named here gives pictures when it likes, and parts grow by that.
const AT_ONCE: [(&str, &[(&str, &str)]); 5] = [
    ("libx264", &[("bf", "0"), ("rc-lookahead", "0")]),
    ("libx265", &[("tune", "zerolatency")]),
    (
        "h264_nvenc",
        &[("bf", "0"), ("delay", "0"), ("zerolatency", "1")],
    ),
    ("h264_vaapi", &[("bf", "0"), ("async_depth", "1")]),
    ("h264_qsv", &[("bf", "0"), ("async_depth", "1")]),
];

/// Settings that an encoder of this name takes for a rung beside preset and rates, by FFmpeg's option
/// names. `at_once`: no picture waits for later ones.
pub fn encoder_options(
    encoder: &str,
    rung: &Rung,
    preset: &str,
    at_once: bool,
) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let row = AT_ONCE
        .iter()
        .filter(|(name, _)| at_once && *name == encoder);
    for (name, value) in row.flat_map(|(_, settings)| *settings) {
        options.insert((*name).to_string(), (*value).to_string());
    }
    if encoder == "libx265" {
        // Scene cuts get I pictures, but no IDR of their own.
        options.insert("keyint_min".to_string(), NEVER.to_string());
    }
    if encoder == "libx264" {
        // Scene cuts get I pictures, but no IDR of their own.
        options.insert("keyint_min".to_string(), NEVER.to_string());
        // The same parameter sets at every quality, so that one initialisation segment serves all.
        let mut parameters = "stitchable=1".to_string();
        let (of_preset, without) = tuning(rung.width, rung.height).x264;
        if preset == of_preset {
            parameters += ":";
            parameters += without;
        }
        if at_once {
            // Else a picture waits for the next, to see how long it stands.
            parameters += ":force-cfr=1";
        }
        options.insert("x264-params".to_string(), parameters);
    }
    options
}

/// The rungs that are made of any source, in these codecs.
fn usual(codecs: &[Codec]) -> Vec<RungSpec> {
    let heights = std::iter::once(None).chain(LOWER_HEIGHTS.map(Some));
    let of_height = |height: Option<u32>| {
        codecs.iter().map(move |&codec| RungSpec {
            height,
            codec,
            ..RungSpec::default()
        })
    };
    heights.flat_map(of_height).collect()
}

/// The rungs for a source of this display size (turned, square pixels), biggest first: those asked
/// for, else the source's own size and the usual lower ones.
///
/// # Errors
///
/// Of a codec that the container does not take.
pub fn choose(width: u32, height: u32, options: &Options) -> Result<Vec<Rung>> {
    let usual = usual(&options.codecs);
    let specs = options.rungs.as_deref().unwrap_or(&usual);
    let own = (even_below(width), even_below(height));
    let sized = |spec: &RungSpec| -> Option<Rung> {
        let Some(lines) = spec.height.map(even_below) else {
            return Some(Rung::new(own.0, own.1, spec));
        };
        let wide = u64::from(width) * u64::from(lines);
        let wide = even_nearest(wide, u64::from(height));
        match lines.cmp(&own.1) {
            Ordering::Less => Some(Rung::new(wide, lines, spec)),
            // Only where it was asked for: the usual ladder has that size already.
            Ordering::Equal => options
                .rungs
                .is_some()
                .then(|| Rung::new(own.0, own.1, spec)),
            Ordering::Greater => None,
        }
    };
    let mut rungs: Vec<Rung> = specs.iter().filter_map(sized).collect();
    if rungs.is_empty() {
        // All are above the source: the lowest at the source's size.
        let lowest = specs.iter().min_by_key(|spec| spec.height);
        rungs.extend(lowest.map(|spec| Rung::new(own.0, own.1, spec)));
    }
    rungs.sort_by_key(|rung| {
        let pixels = u64::from(rung.width) * u64::from(rung.height);
        (std::cmp::Reverse((rung.height, pixels)), rung.codec)
    });
    // A size that is written down and the source's own may be the same.
    rungs.dedup_by(|later, earlier| later.name == earlier.name);
    let other = rungs.iter().find(|rung| rung.codec != Codec::H264);
    match other.filter(|_| options.container == Container::Ts) {
        Some(rung) => Err(Error::Codec {
            rung: rung.name.clone(),
            codec: rung.codec.name(),
        }),
        None => Ok(rungs),
    }
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
        let rungs = choose(width, height, &Options::default()).unwrap();
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
    fn rungs_that_were_asked_for() {
        let check = |codecs: &[Codec], rungs: Option<Vec<RungSpec>>, expected: &str| {
            let options = Options {
                codecs: codecs.to_vec(),
                rungs,
                container: Container::Cmaf,
                ..Options::default()
            };
            let rungs = choose(1920, 1080, &options).unwrap();
            let text = rungs.iter().map(|r| {
                let encoder = r.encoders().last().copied().unwrap_or_default();
                let (width, rate) = (r.width, r.bit_rate / 1000);
                format!(
                    "{}={width}@{rate} {encoder} {}",
                    r.name,
                    r.preset("veryfast")
                )
            });
            assert_eq!(text.collect::<Vec<_>>().join(", "), expected);
        };
        check(
            &[Codec::H264, Codec::Av1],
            None,
            "1080p=1920@5000 libx264 veryfast, 1080p-av1=1920@2500 libaom-av1 veryfast, \
             720p=1280@2500 libx264 veryfast, 720p-av1=1280@1250 libaom-av1 veryfast, \
             360p=640@800 libx264 faster, 360p-av1=640@400 libaom-av1 faster",
        );
        let spec = |height: u32, codec| RungSpec {
            height: Some(height),
            codec,
            ..RungSpec::default()
        };
        let own = RungSpec {
            bit_rate: Some(700_000),
            preset: Some("slow".to_string()),
            name: Some("small".to_string()),
            ..spec(361, Codec::Hevc)
        };
        check(
            &[],
            Some(vec![own, spec(1080, Codec::H264), spec(2160, Codec::Hevc)]),
            "1080p=1920@5000 libx264 veryfast, small=640@700 libx265 slow",
        );
        check(
            &[],
            Some(vec![spec(4320, Codec::H264), spec(2160, Codec::Hevc)]),
            "1080p-hevc=1920@3250 libx265 superfast",
        );
        let ts = Options {
            codecs: vec![Codec::Hevc],
            ..Options::default()
        };
        let refused = choose(640, 360, &ts).unwrap_err().to_string();
        assert!(
            refused.contains("360p-hevc") && refused.contains("cmaf"),
            "{refused}"
        );
    }

    #[test]
    fn small_rungs_take_a_slower_preset() {
        let rungs = choose(1920, 1080, &Options::default()).unwrap();
        let presets = |base| rungs.iter().map(|r| r.preset(base)).collect::<Vec<_>>();
        assert_eq!(presets("veryfast"), ["veryfast", "veryfast", "faster"]);
        assert_eq!(presets("veryslow"), ["veryslow", "veryslow", "veryslow"]);
        assert_eq!(presets("p4"), ["p4", "p4", "p4"]);
    }
}
