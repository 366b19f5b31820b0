//! H.264 that is broken in the middle: a slice is missing, cut off or garbled, or a whole picture is
//! missing. The stream goes on, and all groups of pictures but the broken one come out exactly.
//!
//! GStreamer shows pictures that came back with an error too, so how many these were is asked of the
//! daemon: at least the broken one, and none outside the broken group. The program starts the daemon
//! itself; the module must be there already.

use guest_tests::arguments::Arguments;
use guest_tests::clip::{self, Encoding};
use guest_tests::gstreamer::{self, Frame, H264};
use guest_tests::machine::{self, Daemon};
use guest_tests::tally::Tally;
use guest_tests::{Result, report};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const OPTIONS: &[(&str, &str)] = &[("daemon", "/kinora/bin/kinora-decoded"), ("only", "")];

const FRAMES: usize = 96;
/// Frames from one key frame to the next.
const GROUP: usize = 24;
const SLICES: usize = 4;

const ENCODING: Encoding = Encoding {
    container: "mp4",
    arguments: "-c:v libx264 -preset veryfast -g 24 -bf 2 -x264-params scenecut=0:slices=4:ref=3",
};

/// What is done to an access unit.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// A slice is not there.
    Missing(usize),
    /// The second half of a slice is not there.
    Cut(usize),
    /// Bytes in the middle of a slice are others.
    Garbled(usize),
    /// No slice is there.
    Nothing,
}

struct Row {
    name: &'static str,
    /// The access unit, in the order of decoding.
    unit: usize,
    damage: Damage,
    /// Access units that end with an error.
    errors: RangeInclusive<u64>,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "a slice is missing", unit: 33, damage: Damage::Missing(2), errors: 1..=1 },
    Row { name: "the last slice is missing", unit: 34, damage: Damage::Missing(3), errors: 1..=1 },
    // GStreamer gives such a picture up by itself.
    Row { name: "the first slice is missing", unit: 33, damage: Damage::Missing(0), errors: 0..=0 },
    Row { name: "a slice is cut off", unit: 33, damage: Damage::Cut(1), errors: 1..=1 },
    Row { name: "a slice is garbled", unit: 33, damage: Damage::Garbled(1), errors: 1..=1 },
    Row { name: "a slice of a key frame is cut off", unit: 24, damage: Damage::Cut(3), errors: 1..=1 },
    Row { name: "a B picture is missing", unit: 33, damage: Damage::Nothing, errors: 0..=0 },
    Row { name: "a P picture is missing", unit: 34, damage: Damage::Nothing, errors: 0..=13 },
    Row { name: "a key frame is missing", unit: 24, damage: Damage::Nothing, errors: 0..=23 },
];

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let program: PathBuf = arguments.get("daemon")?;
    let only: String = arguments.get("only")?;
    let daemon = Daemon::start(&program, &[])?;
    let folder = std::env::temp_dir().join(format!("damaged-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let file = clip::make(&folder, "whole", &ENCODING, "320x256", FRAMES)?;
    let whole = Whole {
        frames: gstreamer::play(&file, H264.software)?,
        bytes: std::fs::read(&file)?,
        units: units(&file)?,
        file,
    };
    let mut tally = Tally::default();
    for row in ROWS.iter().filter(|row| row.name.contains(&only)) {
        tally.row(row.name, || check(&whole, row, &program))?;
    }
    drop(daemon);
    std::fs::remove_dir_all(&folder)?;
    tally.end()
}

/// The stream as it should be.
struct Whole {
    file: PathBuf,
    bytes: Vec<u8>,
    /// Where its access units lie.
    units: Vec<Range<usize>>,
    frames: Vec<Frame>,
}

fn check(whole: &Whole, row: &Row, program: &Path) -> Result<String> {
    let file = whole.file.with_file_name("damaged.mp4");
    let mut bytes = whole.bytes.clone();
    let unit = whole.units.get(row.unit).ok_or("there is no such unit")?;
    damage(&mut bytes[unit.clone()], row.damage)?;
    std::fs::write(&file, bytes)?;
    let before = machine::errors(program)?;
    let got = gstreamer::play(&file, H264.stateless)?;
    let errors = machine::errors(program)? - before;
    let group = row.unit / GROUP;
    let mut inside = 0;
    for (at, expected) in whole.frames.iter().enumerate() {
        let found = got.iter().filter(|frame| frame.time == expected.time);
        let found: Vec<_> = found.collect();
        if at / GROUP == group {
            inside += found.len();
        } else if found != [expected] {
            return Err(format!("frame {at} is {found:?}, not {expected:?}").into());
        }
    }
    let said = format!("{errors} errors, {inside} of {GROUP} frames in the broken group");
    if !row.errors.contains(&errors) {
        return Err(said.into());
    }
    Ok(said)
}

/// Where the access units of an MP4 file lie, in the order of decoding.
fn units(file: &Path) -> Result<Vec<Range<usize>>> {
    let done = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v"])
        .args(["-show_entries", "packet=size,pos", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .map_err(|error| format!("ffprobe: {error}"))?;
    let text = String::from_utf8(done.stdout)?;
    let range = |line: &str| -> Option<Range<usize>> {
        let (size, start) = line.trim_end_matches(',').split_once(',')?;
        let (size, start): (usize, usize) = (size.parse().ok()?, start.parse().ok()?);
        Some(start..start + size)
    };
    let units: Option<Vec<_>> = text.lines().map(range).collect();
    Ok(units.ok_or_else(|| format!("ffprobe says {text:?}"))?)
}

/// The slices of an access unit: their bytes behind the four of their length.
fn slices(unit: &[u8]) -> Vec<Range<usize>> {
    let mut slices = Vec::new();
    let mut at = 0;
    while let Some([a, b, c, d, header]) = unit.get(at..at + 5) {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let nal = at + 4..(at + 4 + length).min(unit.len());
        at = nal.end;
        if matches!(header & 31, 1 | 5) {
            slices.push(nal);
        }
    }
    slices
}

/// A NAL unit type that decoders ignore: so the file keeps its lengths.
const FILLER: u8 = 12;

fn damage(unit: &mut [u8], damage: Damage) -> Result<()> {
    let slices = slices(unit);
    if slices.len() != SLICES {
        return Err(format!("{} slices in a picture", slices.len()).into());
    }
    let missing = |at: &Range<usize>, unit: &mut [u8]| unit[at.start] = FILLER;
    match damage {
        Damage::Nothing => slices.iter().for_each(|slice| missing(slice, unit)),
        Damage::Missing(at) => missing(&slices[at], unit),
        Damage::Cut(at) => {
            let slice = &slices[at];
            let length = slice.len() / 2;
            let rest = slice.len() - length - 4;
            // The rest becomes a unit of its own.
            let cut = slice.start + length;
            unit[slice.start - 4..slice.start].copy_from_slice(&(length as u32).to_be_bytes());
            unit[cut..cut + 4].copy_from_slice(&(rest as u32).to_be_bytes());
            unit[cut + 4] = FILLER;
        }
        Damage::Garbled(at) => {
            let slice = &slices[at];
            let middle = slice.start + slice.len() / 3;
            unit[middle..middle + slice.len() / 3]
                .iter_mut()
                .for_each(|byte| *byte = byte.rotate_left(3) ^ 0x55);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_broken() {
        let slice = |header: u8| [0, 0, 0, 12, header, 9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 9];
        let unit = [[0, 0, 0, 2, 6, 0].as_slice(), &slice(0x65).repeat(SLICES)].concat();
        let rows = [
            (Damage::Missing(1), vec![10..22, 42..54, 58..70]),
            (Damage::Cut(1), vec![10..22, 26..32, 42..54, 58..70]),
            (Damage::Garbled(1), vec![10..22, 26..38, 42..54, 58..70]),
            (Damage::Nothing, vec![]),
        ];
        for (done, expected) in rows {
            let mut broken = unit.clone();
            damage(&mut broken, done).unwrap();
            assert_eq!(slices(&broken), expected, "{done:?}");
            assert_ne!(broken, unit, "{done:?}");
            assert_eq!(broken.len(), unit.len());
        }
    }
}
