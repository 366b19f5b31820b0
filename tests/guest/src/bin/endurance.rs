//! A long stream at 1080p through GStreamer: no frame is lost, and the daemon's memory stays as it is.
//!
//! The stream is a short one over and over, so that the software decoder needs to decode it once
//! only. The daemon's memory, and that of the processes that it started, is read after some hundred
//! frames and at the end: what is kept for a stream is there by then. The program starts the daemon
//! itself; the module must be there already.

use guest_tests::arguments::Arguments;
use guest_tests::clip::{self, Encoding};
use guest_tests::gstreamer::{self, Client, Codec, Event, H264, MPEG2, VP8, VP9};
use guest_tests::machine::Daemon;
use guest_tests::tally::Tally;
use guest_tests::{Result, report};
use rustix::process::Pid;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const OPTIONS: &[(&str, &str)] = &[
    ("daemon", "/kinora/bin/kinora-decoded"),
    ("only", ""),
    ("times", "60"),
];

/// Frames of the stream that is played over and over.
const PERIOD: usize = 30;

/// By then every buffer was used.
const WARM: usize = 200;

/// What may be more at the end.
const GROWTH: u64 = 1 << 20;

#[rustfmt::skip]
const ROWS: &[(&Codec, Encoding)] = &[
    (&H264, Encoding { container: "mkv", arguments: "-c:v libx264 -preset veryfast -g 30 -bf 2" }),
    (&MPEG2, Encoding { container: "mkv", arguments: "-c:v mpeg2video -q:v 8 -g 15 -bf 2 -flags +cgop -sc_threshold 1000000000" }),
    (&VP8, Encoding { container: "webm", arguments: "-c:v libvpx -b:v 4M -deadline realtime -cpu-used 16" }),
    (&VP9, Encoding { container: "webm", arguments: "-c:v libvpx-vp9 -b:v 4M -deadline realtime -cpu-used 8" }),
];

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let daemon: PathBuf = arguments.get("daemon")?;
    let only: String = arguments.get("only")?;
    let times = arguments.get("times")?;
    let daemon = Daemon::start(&daemon, &[])?;
    let folder = std::env::temp_dir().join(format!("endurance-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let mut tally = Tally::default();
    for (codec, encoding) in ROWS {
        if codec.name.contains(&only) {
            let short = clip::make(&folder, codec.name, encoding, "1920x1080", PERIOD)?;
            tally.row(codec.name, || endure(&daemon, codec, &short, times))?;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    tally.end()
}

fn endure(daemon: &Daemon, codec: &Codec, short: &Path, times: usize) -> Result<String> {
    let expected = gstreamer::play(short, codec.software)?;
    let long = clip::repeat(short, times)?;
    // The end of the stream does not end the session: its memory can be read.
    let steps = ["end".to_owned(), "hold".to_owned()];
    let mut client = Client::start(&long, codec.stateless, &steps)?;
    let (mut count, mut warm) = (0, None);
    while let Some(event) = client.event()? {
        match event {
            Event::Frame(frame) => {
                let right = &expected[count % expected.len()].sum;
                if frame.sum != *right {
                    return Err(format!("frame {count} is {}, not {right}", frame.sum).into());
                }
                count += 1;
                if count == WARM {
                    warm = Some(Memory::of(daemon)?);
                }
            }
            Event::End => break,
            other => return Err(format!("{other:?} after {count} frames").into()),
        }
    }
    let end = Memory::of(daemon)?;
    client.go_on()?;
    let (_, status) = client.rest()?;
    if count != expected.len() * times || !status.success() {
        return Err(format!("{count} frames came out, and the client ended with {status}").into());
    }
    let warm = warm.ok_or("the stream is too short")?;
    let said = format!("{count} frames equal, memory of the daemon {warm} and at the end {end}");
    if end.resident > warm.resident + GROWTH || end.proportional > warm.proportional + GROWTH {
        return Err(said.into());
    }
    Ok(said)
}

/// Memory of a daemon and of all that it started, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    resident: u64,
    /// With what processes share divided among them.
    proportional: u64,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Memory {
            resident,
            proportional,
        } = self;
        write!(f, "{} KiB ({} KiB)", resident >> 10, proportional >> 10)
    }
}

impl Memory {
    fn of(daemon: &Daemon) -> Result<Memory> {
        let workers = daemon.workers();
        if workers.is_empty() {
            return Err("the daemon has no worker".into());
        }
        let mut all = Memory::default();
        for process in workers.into_iter().chain([daemon.pid()]) {
            let one = Memory::of_process(process)?;
            all.resident += one.resident;
            all.proportional += one.proportional;
        }
        Ok(all)
    }

    fn of_process(process: Pid) -> Result<Memory> {
        let path = format!("/proc/{}/smaps_rollup", process.as_raw_nonzero());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Memory::read(&text).ok_or_else(|| format!("{path}: {text}").into())
    }

    fn read(rollup: &str) -> Option<Memory> {
        let kibibytes = |name: &str| -> Option<u64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Memory {
            resident: kibibytes("Rss:")? << 10,
            proportional: kibibytes("Pss:")? << 10,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        let rollup = "5581-7ffc ---p 00000000 00:00 0  [rollup]\nRss:    2048 kB\nPss:     5 kB\nPss_Dirty:  1 kB\n";
        let memory = Memory::read(rollup).unwrap();
        assert_eq!((memory.resident, memory.proportional), (2 << 20, 5 << 10));
        assert!(Memory::read("Rss: 1 kB\n").is_none());
    }
}
