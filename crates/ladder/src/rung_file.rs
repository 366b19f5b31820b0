//! Rungs as a TOML file, in place of the ones chosen by size.
//!
//! ```toml
//! [[rung]]
//! height = 1080          # lines; left out: the source's own size
//! codec = "h264"         # h264 (default), hevc or av1; the last two in CMAF only
//! bit_rate = 5_000_000   # bits per second to aim at on average; left out: by the number of pixels
//! max_rate = 7_500_000   # ceiling; left out: 1.5 times the average
//! buffer = 10_000_000    # decoder buffer in bits; left out: twice the average
//! preset = "fast"        # left out: the one asked for, a step slower for small rungs
//! name = "1080p"         # folder; left out: the lines, and the codec unless it is H.264
//! ```
//!
//! Rungs above the source's size are left out. An error names the file and the line.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::headers::Codec;
use crate::playlist::{AUDIO_GROUP, PICTURES, SUBTITLES_GROUP};
use crate::{Error, Result};

/// More rungs than this no player uses.
const MOST_RUNGS: usize = 32;
/// Bits per second that a rung may ask for.
const BIT_RATES: std::ops::RangeInclusive<u32> = 10_000..=400_000_000;
/// Lines that a rung may have.
const HEIGHTS: std::ops::RangeInclusive<u32> = 2..=16_384;

/// One rung as it is wished for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RungSpec {
    /// Lines; `None` for the source's own size.
    pub height: Option<u32>,
    /// How its pictures are coded.
    pub codec: Codec,
    /// Average in bits per second; `None` for what its size usually gets.
    pub bit_rate: Option<u32>,
    /// Ceiling in bits per second; `None` for 1.5 times the average.
    pub max_rate: Option<u32>,
    /// The decoder's buffer in bits; `None` for twice the average.
    pub buffer: Option<u32>,
    /// Encoder preset; `None` for the one asked for.
    pub preset: Option<String>,
    /// Name; `None` for the lines and the codec.
    pub name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rung: Vec<Spanned<Row>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    height: Option<Spanned<u32>>,
    codec: Option<Codec>,
    bit_rate: Option<Spanned<u32>>,
    max_rate: Option<Spanned<u32>>,
    buffer: Option<Spanned<u32>>,
    preset: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
}

/// Reads a file of rungs.
///
/// # Errors
///
/// [`Error::RungFile`] with the line, when it cannot be read or says what cannot be.
pub fn read(path: &Path) -> Result<Vec<RungSpec>> {
    let fail = |line: Option<usize>, reason: String| Error::RungFile {
        file: path.to_path_buf(),
        line: line.map_or_else(String::new, |line| format!(", line {line}")),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fail(None, error.to_string()))?;
    parse(&text).map_err(|(at, reason)| {
        let before = at.map(|at| &text.as_bytes()[..at.min(text.len())]);
        let line = before.map(|before| before.iter().filter(|&&b| b == b'\n').count() + 1);
        fail(line, reason)
    })
}

/// A byte in the text, and what is wrong there.
type Wrong = (Option<usize>, String);

fn parse(text: &str) -> std::result::Result<Vec<RungSpec>, Wrong> {
    let file: File = toml::from_str(text).map_err(|error| {
        (
            error.span().map(|span| span.start),
            error.message().to_string(),
        )
    })?;
    if file.rung.is_empty() || file.rung.len() > MOST_RUNGS {
        return Err((None, format!("between 1 and {MOST_RUNGS} rungs")));
    }
    let mut specs: Vec<RungSpec> = Vec::new();
    for row in &file.rung {
        let spec = spec(row.get_ref())?;
        let twice = |known: &RungSpec| {
            let named = (&known.name, known.codec, known.height);
            named == (&spec.name, spec.codec, spec.height)
                || spec.name.is_some() && known.name == spec.name
        };
        if specs.iter().any(twice) {
            return Err((Some(row.span().start), "the same rung again".to_string()));
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn spec(row: &Row) -> std::result::Result<RungSpec, Wrong> {
    let within =
        |value: &Option<Spanned<u32>>, range: &std::ops::RangeInclusive<u32>, what: &str| {
            match value {
                Some(value) if !range.contains(value.get_ref()) => {
                    let reason = format!("{what} between {} and {}", range.start(), range.end());
                    Err((Some(value.span().start), reason))
                }
                value => Ok(value.as_ref().map(|value| *value.get_ref())),
            }
        };
    let height = within(&row.height, &HEIGHTS, "height")?;
    let bit_rate = within(&row.bit_rate, &BIT_RATES, "bit_rate")?;
    let max_rate = within(&row.max_rate, &BIT_RATES, "max_rate")?;
    let buffer = within(&row.buffer, &BIT_RATES, "buffer")?;
    if let (Some(average), Some(peak), Some(at)) = (bit_rate, max_rate, &row.max_rate) {
        if peak < average {
            let reason = "max_rate below bit_rate".to_string();
            return Err((Some(at.span().start), reason));
        }
    }
    let named = |value: &Option<Spanned<String>>, what: &str| match value {
        Some(value) if !is_name(value.get_ref()) => {
            let reason = format!("{what}: letters, digits and hyphens, and no other rendition's");
            Err((Some(value.span().start), reason))
        }
        value => Ok(value.as_ref().map(|value| value.get_ref().clone())),
    };
    Ok(RungSpec {
        height,
        codec: row.codec.unwrap_or_default(),
        bit_rate,
        max_rate,
        buffer,
        preset: named(&row.preset, "preset")?,
        name: named(&row.name, "name")?,
    })
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let taken = [AUDIO_GROUP, SUBTITLES_GROUP, PICTURES];
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && !taken.iter().any(|taken| name.starts_with(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let found = match read(file.path()) {
            Ok(specs) => format!("{} rungs", specs.len()),
            Err(error) => error
                .to_string()
                .replace(&file.path().display().to_string(), "FILE"),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_row_says_all_there_is() {
        let text = "[[rung]]\nheight = 1080\ncodec = \"hevc\"\nbit_rate = 3_000_000\n\
            max_rate = 4_000_000\nbuffer = 6_000_000\npreset = \"fast\"\nname = \"hd\"\n[[rung]]\n";
        let specs = parse(text).unwrap();
        let expected = RungSpec {
            height: Some(1080),
            codec: Codec::Hevc,
            bit_rate: Some(3_000_000),
            max_rate: Some(4_000_000),
            buffer: Some(6_000_000),
            preset: Some("fast".to_string()),
            name: Some("hd".to_string()),
        };
        assert_eq!(specs, [expected, RungSpec::default()]);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, expected) in [
            ("", "FILE, line 1: missing field `rung`"),
            ("rung = []", "FILE: between 1 and 32 rungs"),
            (
                "[[rung]]\nheight = 720\n[[rung]]\nwidth = 3\n",
                "FILE, line 4: unknown field `width`, expected one of `height`, `codec`, `bit_rate`, `max_rate`, `buffer`, `preset`, `name`",
            ),
            (
                "[[rung]]\nheight = 0\n",
                "FILE, line 2: height between 2 and 16384",
            ),
            (
                "[[rung]]\nheight = \"big\"\n",
                "FILE, line 2: invalid type: string \"big\", expected u32",
            ),
            (
                "[[rung]]\ncodec = \"vp9\"\n",
                "FILE, line 2: unknown variant `vp9`, expected one of `h264`, `hevc`, `av1`",
            ),
            (
                "[[rung]]\n\nbit_rate = 5\n",
                "FILE, line 3: bit_rate between 10000 and 400000000",
            ),
            (
                "[[rung]]\nbit_rate = 50000\nmax_rate = 40000\n",
                "FILE, line 3: max_rate below bit_rate",
            ),
            (
                "[[rung]]\nname = \"../x\"\n",
                "FILE, line 2: name: letters, digits and hyphens, and no other rendition's",
            ),
            (
                "[[rung]]\nname = \"audio-2\"\n",
                "FILE, line 2: name: letters, digits and hyphens, and no other rendition's",
            ),
            (
                "[[rung]]\nheight = 720\n[[rung]]\nheight = 720\n",
                "FILE, line 3: the same rung again",
            ),
            (
                "[[rung]]\nheight = 720\n[[rung]]\nheight = 720\ncodec = \"av1\"\n",
                "2 rungs",
            ),
            (
                "[[rung]\n",
                "FILE, line 1: unclosed array table, expected `]`",
            ),
        ] {
            check(text, expected);
        }
    }
}
