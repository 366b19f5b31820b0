//! How long after its last picture a segment is in a playlist: pictures at their own pace through a
//! pipe into Kinora and into ffmpeg's hls muxer, with a look at the playlist every millisecond.
//!
//! Raw pictures of 640x360 at 25 per second, segments of 1 s, x264 veryfast at 800 kbit/s on both
//! sides, at the same time, so that both see the same load.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Bench, Table, median};

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const RATE: u32 = 25;
/// How often playlists are looked at.
const LOOK: Duration = Duration::from_millis(1);
/// How long the last segments are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(bench: &Bench, seconds: u32, table: &mut Table) -> Result<()> {
    let (ours, peers) = (bench.fresh("live")?, bench.fresh("live-peer")?);
    let (size, rate) = (format!("{WIDTH}x{HEIGHT}"), RATE.to_string());
    let mut kinora = Command::new(&bench.kinora);
    kinora
        .args([
            "ladder", "-", "--raw", "yuv420p", "--size", &size, "--fps", &rate,
        ])
        .args([
            "--segment",
            "1",
            "--encoder",
            "libx264",
            "--live-window",
            "3600",
            "-o",
        ])
        .arg(&ours);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args([
            "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &size, "-r", &rate,
        ])
        .args([
            "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-b:v", "800k",
        ])
        .args([
            "-maxrate",
            "1200k",
            "-bufsize",
            "1600k",
            "-sc_threshold",
            "0",
        ])
        .args([
            "-force_key_frames",
            "expr:gte(t,n_forced)",
            "-f",
            "hls",
            "-hls_time",
            "1",
        ])
        .args(["-hls_list_size", "0"])
        .arg(peers.join("playlist.m3u8"));
    let kinora = Fed::start(kinora, ours.join("360p/playlist.m3u8"), seconds)?;
    let ffmpeg = Fed::start(ffmpeg, peers.join("playlist.m3u8"), seconds)?;
    let (mut ours, mut peers) = (kinora.delays()?, ffmpeg.delays()?);
    for (what, share) in [("median", 0.5), ("99th of 100", 0.99)] {
        let at = |delays: &mut Vec<f64>| {
            delays.sort_by(f64::total_cmp);
            delays[((delays.len() - 1) as f64 * share).round() as usize]
        };
        table.ratio(
            format!("ladder live: last picture to playlist against ffmpeg, {what}"),
            at(&mut ours),
            at(&mut peers),
            "ms",
            "-",
        );
    }
    ensure!(median(&mut ours) > 0.0, "the clock stands still");
    Ok(())
}

/// A program that is being fed, and who looks at its playlist.
struct Fed {
    child: Child,
    feeder: std::thread::JoinHandle<Result<Vec<Instant>>>,
    watcher: std::thread::JoinHandle<Vec<Instant>>,
}

impl Fed {
    fn start(mut command: Command, playlist: PathBuf, seconds: u32) -> Result<Fed> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut pipe = child.stdin.take().context("piped")?;
        let feeder = std::thread::spawn(move || {
            let mut ends = Vec::new();
            let began = Instant::now();
            for number in 0..seconds * RATE {
                let due = began + Duration::from_secs_f64(f64::from(number) / f64::from(RATE));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                pipe.write_all(&picture(number as usize))?;
                if (number + 1) % RATE == 0 {
                    ends.push(Instant::now());
                }
            }
            Ok(ends)
        });
        let watcher = std::thread::spawn(move || watch(&playlist, seconds as usize));
        Ok(Fed {
            child,
            feeder,
            watcher,
        })
    }

    /// Milliseconds from each segment's last picture to its name in the playlist.
    fn delays(mut self) -> Result<Vec<f64>> {
        let fed = self.feeder.join().ok().context("the feeder panicked")??;
        let seen = self.watcher.join().ok().context("the watcher panicked")?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "a live encoder ended with {ended}");
        let pairs = fed.iter().zip(&seen);
        let delays: Vec<f64> = pairs
            .map(|(fed, seen)| seen.saturating_duration_since(*fed).as_secs_f64() * 1e3)
            .collect();
        // The end of the input ends the last segment; it says nothing of a stream that goes on.
        ensure!(delays.len() > 2, "only {} segments came", delays.len());
        Ok(delays[..delays.len() - 1].to_vec())
    }
}

/// When each segment was first named.
fn watch(playlist: &Path, segments: usize) -> Vec<Instant> {
    let mut seen = Vec::new();
    let mut last = Instant::now();
    while seen.len() < segments && last.elapsed() < PATIENCE {
        let text = fs::read_to_string(playlist).unwrap_or_default();
        let named = text.matches("#EXTINF").count();
        if named > seen.len() {
            last = Instant::now();
            seen.resize(named, last);
        }
        std::thread::sleep(LOOK);
    }
    seen
}

/// A gradient that moves, with some noise that does not repeat.
fn picture(number: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(WIDTH * HEIGHT * 3 / 2);
    let mut state = number as u32 | 1;
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 29) as usize;
            data.push(((row + column + 3 * number) / 4 % 200 + 20 + noise) as u8);
        }
    }
    data.resize(WIDTH * HEIGHT * 3 / 2, 128);
    data
}
