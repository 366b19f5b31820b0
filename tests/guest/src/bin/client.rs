//! A small stateless client that is nobody else's: it shares no code with GStreamer and FFmpeg.
//!
//! Decodes IVF files with VP8 or VP9 and elementary streams of MPEG-2 or H.264, each file in a session and a
//! thread of its own, and prints a line for each: frames, errors, the MD5 of all frames as planar
//! 4:2:0, and how long frames took. `--seeks` goes to other places afterwards and holds each frame
//! there against the same frame of the first pass. `--raw` writes the frames of a single file.

use guest_tests::arguments::Arguments;
use guest_tests::decode::{Decoder, Options, Shown};
use guest_tests::random::Random;
use guest_tests::stream::Stream;
use guest_tests::{Result, chain, report};
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const OPTIONS: &[(&str, &str)] = &[
    ("depth", "2"),
    ("fields", "hold"),
    ("loops", "1"),
    ("md5", "yes"),
    ("raw", ""),
    ("seed", "1"),
    ("seeks", "0"),
];

fn main() -> ExitCode {
    report(decode_all())
}

fn decode_all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    if arguments.free.is_empty() {
        return Err("no file is named".into());
    }
    let raw: String = arguments.get("raw")?;
    if !raw.is_empty() && arguments.free.len() > 1 {
        return Err("--raw takes the frames of one file".into());
    }
    let job = Job {
        options: Options {
            depth: arguments.get("depth")?,
            fields: arguments.get("fields")?,
        },
        loops: arguments.get("loops")?,
        with_md5: arguments.get::<String>("md5")? == "yes",
        raw: (!raw.is_empty()).then_some(raw),
        seed: arguments.get("seed")?,
        seeks: arguments.get("seeks")?,
    };
    let threads: Vec<_> = arguments
        .free
        .into_iter()
        .map(|file| {
            let job = job.clone();
            std::thread::spawn(move || {
                let result = job
                    .run(Path::new(&file))
                    .map_err(|error| format!("{file}: {}", chain(&*error)));
                (file, result)
            })
        })
        .collect();
    let mut all_well = true;
    let mut out = std::io::stdout().lock();
    for thread in threads {
        let (file, result) = thread
            .join()
            .map_err(|_| "a session's thread ended early")?;
        match result {
            Ok(report) => {
                all_well &= report.errors == 0;
                writeln!(out, "{} {file}", report.line)?;
            }
            Err(error) => {
                all_well = false;
                writeln!(out, "failed {error}")?;
            }
        }
    }
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is done with each file.
#[derive(Debug, Clone)]
struct Job {
    options: Options,
    loops: usize,
    with_md5: bool,
    raw: Option<String>,
    seed: u64,
    seeks: usize,
}

struct Report {
    line: String,
    errors: usize,
}

/// A picture as its sum.
type Sum = [u8; 16];

impl Job {
    fn run(&self, file: &Path) -> Result<Report> {
        let mut stream = Stream::open(file)?;
        let mut decoder = Decoder::open(&mut stream, self.options)?;
        let began = Instant::now();
        let mut line = String::new();
        let mut frames = 0;
        let mut of_unit = HashMap::new();
        for _ in 0..self.loops {
            let pass = self.pass(&mut stream, &mut decoder)?;
            frames += pass.frames;
            of_unit = pass.of_unit;
            line = pass.sum;
            decoder.seek(&mut stream)?;
        }
        let took = began.elapsed();
        let mut times = std::mem::take(&mut decoder.times);
        for seek in 0..self.seeks {
            self.seek(seek, &mut stream, &mut decoder, &of_unit)?;
        }
        let errors = decoder.errors;
        let driver = &decoder.node().driver;
        let (median, p99, longest) = spread(&mut times);
        let fps = frames as f64 / took.as_secs_f64();
        let mut report = format!("frames={frames} errors={errors} md5={line} driver={driver}");
        write!(
            report,
            " fps={fps:.1} median_us={median} p99_us={p99} longest_us={longest}"
        )?;
        Ok(Report {
            line: report,
            errors,
        })
    }

    /// All of a stream, from its first entry to its end.
    fn pass(&self, stream: &mut Stream, decoder: &mut Decoder) -> Result<Pass> {
        let mut whole = Md5::new();
        let mut pass = Pass::default();
        let mut raw = match &self.raw {
            Some(path) => Some(File::create(path)?),
            None => None,
        };
        let mut planes = Vec::new();
        let units = stream.entry(0)..stream.len();
        decoder.run(stream, units, &mut |shown: &Shown<'_>| {
            pass.frames += 1;
            if !self.with_md5 && raw.is_none() {
                return Ok(());
            }
            planes.clear();
            if shown.planes(&mut planes) {
                whole.update(&planes);
                if self.seeks > 0 {
                    pass.of_unit.insert(shown.unit, Md5::digest(&planes).into());
                }
                if let Some(raw) = &mut raw {
                    raw.write_all(&planes)?;
                }
            }
            Ok(())
        })?;
        pass.sum = if self.with_md5 {
            hex(&whole.finalize())
        } else {
            "-".into()
        };
        Ok(pass)
    }

    /// Goes somewhere, decodes for a while, and leaves in the middle.
    fn seek(
        &self,
        number: usize,
        stream: &mut Stream,
        decoder: &mut Decoder,
        of_unit: &HashMap<usize, Sum>,
    ) -> Result<()> {
        let mut random = Random::new(self.seed ^ number as u64);
        let begin = stream.entry(random.below(stream.len() as u64) as usize);
        let end = begin + 1 + random.below((stream.len() - begin) as u64) as usize;
        let leave = random.below((end - begin) as u64) as usize;
        let mut planes = Vec::new();
        let mut seen = 0;
        let stop = "this is far enough";
        let result = decoder.run(stream, begin..end, &mut |shown: &Shown<'_>| {
            planes.clear();
            // What ends between two fields shows one that is half of another frame.
            if shown.is_whole && shown.planes(&mut planes) {
                let sum: Sum = Md5::digest(&planes).into();
                let unit = shown.unit;
                if of_unit.get(&unit) != Some(&sum) {
                    return Err(format!(
                        "seek {number} to unit {begin}: the frame of unit {unit} is another one"
                    )
                    .into());
                }
            }
            seen += 1;
            // Half of the seeks leave with access units in flight.
            if number % 2 == 1 && seen > leave {
                return Err(stop.into());
            }
            Ok(())
        });
        match result {
            Err(error) if error.to_string() != stop => Err(error),
            _ => decoder.seek(stream),
        }
    }
}

#[derive(Default)]
struct Pass {
    frames: usize,
    sum: String,
    of_unit: HashMap<usize, Sum>,
}

/// Median, 99th percentile and longest, in microseconds.
fn spread(times: &mut [Duration]) -> (u128, u128, u128) {
    times.sort_unstable();
    let at = |part: usize| {
        let index = times.len().saturating_sub(1) * part / 100;
        times.get(index).map_or(0, Duration::as_micros)
    };
    (at(50), at(99), at(100))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_times() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_micros).collect();
        assert_eq!(spread(&mut times), (100, 198, 200));
        assert_eq!(spread(&mut []), (0, 0, 0));
    }
}
