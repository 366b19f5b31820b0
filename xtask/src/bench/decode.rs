//! `cargo xtask bench decode`: what the decode path costs, beside libavcodec without it.
//!
//! Natively the daemon replays jobs that GStreamer made in a machine of kernel `uml`; the peer is
//! libavcodec in a process of ours with one thread for each session, over the same stream, of the same
//! build (both load the system's). Both run at once, each on a processor of its own, then the other way
//! round: whatever else goes on meets both. In the machine a whole pipeline with our decoder runs beside the same
//! pipeline with libavcodec's; counted is all CPU time of the processes that are the machine. Turns
//! alternate. A figure is the best of its side, because whatever else a machine does only adds; a ratio
//! of CPU times is the median over the turns, behind their range.
//!
//! Costs are taken from clips of a film. How even the times of frames are is taken from clips whose
//! frames all cost the same: the unevenness of a film's is not ours.
//!
//! The guest's part is `xtask/bench/decode.sh`, the peer is media's example `decode_rate`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{Bench, Table, build, measure, median, target_dir, tree_cpu_s};
use crate::vm::cache::{Cache, Key};

const SCRIPT: &str = include_str!("../../bench/decode.sh");

/// Frames of each clip.
const FRAMES: u32 = 300;
/// The clips so many times on end are the long run: 1800 frames.
const LONG: u32 = 6;
/// The clips so many times on end are the longer run of FFmpeg and GStreamer.
const VA_LONG: u32 = 4;
/// Frames that a player shows a second where a stream says nothing.
const SHOWN_EACH_S: f64 = 25.0;
/// Frames of the shorter of the runs whose system calls are compared; decode.sh has it too.
const WARM: u32 = 100;

/// How a clip is made of a 1080p source, at what such a stream usually has, and how of [`EVEN`].
struct Clip {
    codec: &'static str,
    file: &'static str,
    encoder: &'static str,
    even: &'static str,
}

/// What moves everywhere and in every frame alike; one key frame, no B pictures, one quantiser.
const EVEN: &str = "testsrc2=s=1920x1080:r=24,noise=alls=12:allf=t,format=yuv420p";

/// The folder of the even clips, below that of the others.
const EVEN_FOLDER: &str = "even";

const CLIPS: [Clip; 4] = [
    Clip {
        codec: "mpeg2",
        file: "mpeg2.m2v",
        encoder: "mpeg2video -b:v 12M -maxrate 15M -bufsize 8M -g 12 -bf 2 -f mpeg2video",
        even: "mpeg2video -qscale:v 12 -g 300 -bf 0 -sc_threshold 1000000000 -f mpeg2video",
    },
    Clip {
        codec: "h264",
        file: "h264.h264",
        encoder: "libx264 -preset medium -b:v 6M -maxrate 9M -bufsize 12M -f h264",
        even: "libx264 -preset veryfast -qp 34 -g 300 -bf 0 -sc_threshold 0 -f h264",
    },
    Clip {
        codec: "vp8",
        file: "vp8.ivf",
        encoder: "libvpx -b:v 5M -deadline good -cpu-used 4 -auto-alt-ref 1 -lag-in-frames 16 -g 120 -f ivf",
        even: "libvpx -deadline realtime -cpu-used 8 -qmin 40 -qmax 40 -b:v 20M -g 300 -auto-alt-ref 0 -lag-in-frames 0 -f ivf",
    },
    Clip {
        codec: "vp9",
        file: "vp9.ivf",
        encoder: "libvpx-vp9 -b:v 4M -deadline good -cpu-used 5 -row-mt 1 -g 120 -f ivf",
        even: "libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -qmin 48 -qmax 48 -b:v 20M -g 300 -auto-alt-ref 0 -lag-in-frames 0 -f ivf",
    },
];

pub fn run(bench: &Bench, source: &Path, turns: u32, table: &mut Table) -> Result<()> {
    build(&bench.root, &["-p", "decoded"])?;
    build(&bench.root, &["-p", "media", "--example", "decode_rate"])?;
    let sides = Sides::new(bench, source, turns)?;
    sides.guest(&["record"])?;
    for clip in &CLIPS {
        sides.native(clip, table)?;
    }
    sides.pipelines(table)?;
    sides.steady(table)?;
    sides.long(table)
}

/// What the VA-API driver costs: by itself, over a decoder made of memory; FFmpeg with it beside
/// GStreamer, which needs none, over the same decoder and without what starting takes; and a player.
pub fn va(bench: &Bench, source: &Path, turns: u32, table: &mut Table) -> Result<()> {
    build(&bench.root, &["-p", "guest-tests", "--bin", "va_cost"])?;
    let sides = Sides::new(bench, source, turns)?;
    sides.driver(&target_dir(&bench.root)?.join("release/va_cost"), table)?;
    let (turns, times) = (turns.to_string(), VA_LONG.to_string());
    let told = sides.guest(&["rates", &turns, &times, "va", "ours"])?;
    for Clip { codec, .. } in &CLIPS {
        // The best of each, because the difference of two that something else was beside is no time
        // at all.
        let rate = |side: &str| -> Result<f64> {
            let best = |frames: u32| -> Result<f64> {
                let turns = told.cpu_s.get(&format!("{codec} {side} {frames}"));
                let mut best = Best::default();
                let turns = turns.context("a pipeline did not run")?;
                turns.iter().for_each(|turn| best.take(*turn));
                Ok(best.0)
            };
            let frames = FRAMES * VA_LONG;
            Ok(f64::from(frames - FRAMES) / (best(frames)? - best(FRAMES)?))
        };
        let what = format!("va {codec} in UML: FFmpeg against GStreamer's v4l2codecs");
        table.ratio(what, rate("va")?, rate("ours")?, "1/s", ">= 0.95");
    }
    let told = sides.guest(&["player", &turns])?;
    let sides = [
        ("no", "no"),
        ("vaapi-copy", "no"),
        ("no windowed", "no windowed"),
        ("vaapi windowed", "no windowed"),
    ];
    for (how, software) in sides {
        let of = |how: &str| -> Result<f64> {
            let turns = told.cpu_s.get(&format!("mpv {how}"));
            let mut turns = turns.context("a player did not run")?.clone();
            Ok(100.0 * median(&mut turns) / (f64::from(FRAMES) / SHOWN_EACH_S))
        };
        let what = format!("va h264 in UML, mpv at 25 frames a second: CPU, {how}");
        table.ratio(what, of(how)?, of(software)?, "%", "-");
        let dropped = told.all(&format!("mpv {how} dropped"))?;
        let most = dropped.iter().copied().fold(0.0, f64::max);
        let what = format!("va h264 in UML, mpv: dropped of {FRAMES}, {how}");
        table.absolute(what, most, "", "0");
    }
    Ok(())
}

/// The folder of the clips, which are made once for each source and recipe.
fn clips(source: &Path) -> Result<PathBuf> {
    let cache = Cache::of_user()?;
    let name = source.file_name().unwrap_or_default().as_encoded_bytes();
    let size = fs::metadata(source)
        .with_context(|| format!("{}: cannot be read", source.display()))?
        .len();
    let key = Key::new().with(name).with(size.to_le_bytes());
    let key = CLIPS
        .iter()
        .fold(key.with(FRAMES.to_le_bytes()), |key, clip| {
            key.with(clip.file).with(clip.encoder).with(clip.even)
        });
    let key = key.with(EVEN);
    let entry = "bench-clips";
    let lock = cache.lock(entry)?;
    match cache.find(entry, key) {
        Some(folder) => Ok(folder),
        None => cache.make(&lock, entry, key, |folder| {
            let even = folder.join(EVEN_FOLDER);
            fs::create_dir(&even)?;
            let film = [OsStr::new("-i"), source.as_os_str()];
            let generator = ["-f", "lavfi", "-i", EVEN].map(OsStr::new);
            CLIPS.iter().try_for_each(|clip| {
                encode(&film, clip.encoder, &folder.join(clip.file))?;
                encode(&generator, clip.even, &even.join(clip.file))
            })
        }),
    }
}

fn encode(input: &[&OsStr], encoder: &str, clip: &Path) -> Result<()> {
    let done = Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(input)
        .args(["-map", "0:v:0", "-frames:v", &FRAMES.to_string(), "-c:v"])
        .args(encoder.split(' '))
        .arg(clip)
        .status()
        .context("cannot start ffmpeg")?;
    ensure!(done.success(), "ffmpeg could not make {}", clip.display());
    Ok(())
}

struct Sides {
    daemon: PathBuf,
    peer: PathBuf,
    clips: PathBuf,
    /// What the guest has as /share.
    share: PathBuf,
    turns: u32,
}

/// What a program says of its sessions, ours or the peer.
#[derive(Deserialize)]
struct Ran {
    wall_s: f64,
    sessions: Vec<Session>,
}

#[derive(Deserialize)]
struct Session {
    cpu_s: f64,
    ms_median: f64,
    ms_p99: f64,
    /// Only ours has jobs that can fail.
    #[serde(default)]
    errors: u64,
}

/// The least of what was seen.
#[derive(Clone, Copy)]
struct Best(f64);

impl Default for Best {
    fn default() -> Self {
        Self(f64::INFINITY)
    }
}

impl Best {
    fn take(&mut self, seen: f64) {
        self.0 = self.0.min(seen);
    }
}

/// What a guest told.
#[derive(Default)]
struct Told {
    /// CPU seconds of the machine by what it did, in each turn.
    cpu_s: BTreeMap<String, Vec<f64>>,
    values: BTreeMap<String, Vec<f64>>,
}

impl Told {
    fn all(&self, name: &str) -> Result<&[f64]> {
        let values = self.values.get(name).map(Vec::as_slice);
        values.with_context(|| format!("the guest told nothing of: {name}"))
    }

    fn last(&self, name: &str) -> Result<f64> {
        self.all(name)?.last().copied().context("no value")
    }

    /// A row for each codec: one side's pipelines against another's.
    fn pipelines(&self, what: &str, sides: [&str; 2], goal: &str, table: &mut Table) -> Result<()> {
        for Clip { codec, .. } in &CLIPS {
            let turns = |side: &str| {
                let turns = self.cpu_s.get(&format!("{codec} {side}"));
                turns.context("a pipeline did not run")
            };
            let what = format!("decode {codec} {what}");
            rates(
                table,
                &what,
                FRAMES,
                [turns(sides[0])?, turns(sides[1])?],
                goal,
            );
        }
        Ok(())
    }
}

impl Sides {
    fn new(bench: &Bench, source: &Path, turns: u32) -> Result<Self> {
        let release = target_dir(&bench.root)?.join("release");
        let share = bench.fresh("decode")?;
        fs::write(share.join("decode.sh"), SCRIPT)?;
        let mut machine = Command::new(this_program());
        machine.args(["vm", "run", "--timeout", "600", "--", "true"]);
        let built = machine.status().context("build the machine")?;
        ensure!(built.success(), "build the machine: {built}");
        Ok(Self {
            daemon: release.join("kinora-decoded"),
            peer: release.join("examples/decode_rate"),
            clips: clips(source)?,
            share,
            turns,
        })
    }

    fn replay(&self, clip: &Clip, times: u32, sessions: u32) -> Command {
        let mut command = Command::new(&self.daemon);
        command
            .args(["--json", "--repeat", &times.to_string()])
            .args(["--sessions", &sessions.to_string(), "--replay"])
            .arg(self.share.join(format!("{}.jobs", clip.codec)));
        command
    }

    fn libavcodec(&self, clip: &Clip, times: u32, sessions: u32) -> Command {
        self.libavcodec_of(&self.clips.join(clip.file), times, sessions)
    }

    fn libavcodec_of(&self, file: &Path, times: u32, sessions: u32) -> Command {
        let mut command = Command::new(&self.peer);
        command
            .arg(file)
            .args([times.to_string(), sessions.to_string()]);
        command
    }

    fn native(&self, clip: &Clip, table: &mut Table) -> Result<()> {
        // So many rounds of a clip that what a session's start costs is small.
        const TIMES: u32 = 6;
        const TIMES_ON_THE_CLOCK: u32 = 2;
        let codec = clip.codec;
        // By side; CPU time of one session in each turn, time of one and of two on the clock.
        let mut cpu = <[Vec<f64>; 2]>::default();
        let (mut one, mut two) = <([Best; 2], [Best; 2])>::default();
        let cpus = cpus()?;
        let processors = [first(&cpus), last(&cpus)];
        for _ in 0..self.turns {
            for (ours, peers) in [(0, 1), (1, 0)] {
                let on =
                    |processor: usize, command: Command| pinned(processors[processor], &command);
                let mut sides = [
                    on(ours, self.replay(clip, TIMES, 1)),
                    on(peers, self.libavcodec(clip, TIMES, 1)),
                ];
                for (side, ran) in cpu.iter_mut().zip(ran_at_once(&mut sides)?) {
                    side.push(ran.sessions[0].cpu_s);
                }
            }
            for side in [0, 1] {
                let wall_s = |sessions| {
                    let mut command = match side {
                        0 => self.replay(clip, TIMES_ON_THE_CLOCK, sessions),
                        _ => self.libavcodec(clip, TIMES_ON_THE_CLOCK, sessions),
                    };
                    ran(&mut command).map(|ran| ran.wall_s)
                };
                one[side].take(wall_s(1)?);
                two[side].take(wall_s(2)?);
            }
        }
        let [ours, peer] = &cpu;
        let what = format!("decode {codec}: replay per CPU s");
        rates(table, &what, FRAMES * TIMES, [ours, peer], ">= 0.95");
        let gain = |side: usize| 2.0 * one[side].0 / two[side].0;
        table.ratio(
            format!("decode {codec}: two sessions against one, wall"),
            gain(0),
            gain(1),
            "x",
            ">= 1.8 x",
        );
        let more = |one: Command, two: Command| -> Result<f64> {
            let [mut one, mut two] = [one, two];
            Ok(measure(&mut two)?.peak_pss_mb - measure(&mut one)?.peak_pss_mb)
        };
        table.ratio(
            format!("decode {codec}: PSS of one session more"),
            more(self.replay(clip, 1, 1), self.replay(clip, 1, 2))?,
            more(self.libavcodec(clip, 1, 1), self.libavcodec(clip, 1, 2))?,
            "MB",
            "-",
        );
        Ok(())
    }

    /// The driver's own time and allocations, natively.
    fn driver(&self, program: &Path, table: &mut Table) -> Result<()> {
        for clip in &CLIPS {
            let file = self.clips.join(clip.file);
            let out = Command::new(program).arg(&file).output();
            let out = out.context("start va_cost")?;
            let said = String::from_utf8_lossy(&out.stdout);
            let numbers: Vec<f64> = said
                .split_whitespace()
                .skip(1)
                .filter_map(|number| number.parse().ok())
                .collect();
            let [micros, allocations] = numbers[..] else {
                bail!("va_cost: {}", String::from_utf8_lossy(&out.stderr));
            };
            let codec = clip.codec;
            let what = format!("va {codec}: driver's time a picture outside ioctls");
            table.absolute(what, micros, "us", "< 50 us");
            let what = format!("va {codec}: driver's allocations a picture");
            table.absolute(what, allocations, "", "0");
        }
        Ok(())
    }

    /// Runs a part of decode.sh in a machine that is built already.
    fn guest(&self, part: &[&str]) -> Result<Told> {
        // A machine has one CPU but is several processes that take turns: on two of the host's, each
        // system call of the guest wakes the other one up, which costs as much as decoding does.
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", last(&cpus()?)])
            .arg(this_program())
            .args(["vm", "run", "--no-build", "--timeout", "3600", "--share"])
            .arg(&self.share)
            .args(["--env", &format!("FRAMES={FRAMES}")])
            .args(["--", "bash", "/share/decode.sh"])
            .args(part)
            .env("KINORA_MEDIA", &self.clips)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("start a machine")?;
        let lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let mut told = Told::default();
        let mut began = 0.0;
        for line in lines {
            let line = line?;
            match line.split_once(' ') {
                Some(("begin", _)) => began = tree_cpu_s(child.id()),
                Some(("end", what)) => {
                    let used = tree_cpu_s(child.id()) - began;
                    told.cpu_s.entry(what.to_owned()).or_default().push(used);
                }
                Some(("value", told_value)) => {
                    let (name, value) = told_value.rsplit_once(' ').context("no number")?;
                    let value = value.parse().with_context(|| line.clone())?;
                    told.values.entry(name.to_owned()).or_default().push(value);
                }
                // Programs may talk.
                _ => {}
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "decode.sh {}: {status}", part.join(" "));
        Ok(told)
    }

    fn pipelines(&self, table: &mut Table) -> Result<()> {
        let turns = self.turns.to_string();
        let told = self.guest(&["pipelines", &turns, "ours", "peer"])?;
        let what = "in UML: GStreamer per CPU s";
        told.pipelines(what, ["ours", "peer"], ">= 0.75", table)
    }

    fn steady(&self, table: &mut Table) -> Result<()> {
        let told = self.guest(&["steady"])?;
        for Clip { codec, .. } in &CLIPS {
            for (side, goal) in [("daemon", "<= 8"), ("client", "-")] {
                let of = |frames: u32| told.last(&format!("{codec} {frames} {side} calls"));
                table.absolute(
                    format!("decode {codec} in UML: system calls a frame, {side}"),
                    (of(FRAMES)? - of(WARM)?) / f64::from(FRAMES - WARM),
                    "",
                    goal,
                );
            }
        }
        Ok(())
    }

    fn long(&self, table: &mut Table) -> Result<()> {
        let told = self.guest(&["long", &LONG.to_string()])?;
        let frames = LONG * FRAMES;
        for clip in &CLIPS {
            let codec = clip.codec;
            let last = |what: &str| told.last(&format!("{codec} {what}"));
            ensure!(
                last("frames")? == f64::from(frames) && last("errors")? == 0.0,
                "{codec}: of {frames} frames {} came out, {} damaged",
                last("frames")?,
                last("errors")?
            );
            // What libavcodec alone makes of it natively: what is beyond that, the path adds.
            let even = self.clips.join(EVEN_FOLDER).join(clip.file);
            let peer = ran(&mut self.libavcodec_of(&even, LONG, 1))?;
            let peer = &peer.sessions[0];
            table.ratio(
                format!("decode {codec} in UML, {frames} frames: p99 over median"),
                last("p99")? / last("median")?,
                peer.ms_p99 / peer.ms_median,
                "x",
                "<= 2 x",
            );
            // Looked at now and then; all that a stream ever needs it has needed in the first of its
            // six rounds.
            let grown = |side: &str, what: &str| -> Result<f64> {
                let seen = told.all(&format!("{codec} {side} {what}"))?;
                let warm = &seen[seen.len().div_ceil(4).min(seen.len() - 1)..];
                Ok(warm[warm.len() - 1] - warm[0])
            };
            for (side, goal) in [("daemon", "0"), ("client", "-")] {
                table.absolute(
                    format!("decode {codec} in UML, {frames} frames: faults a frame, {side}"),
                    grown(side, "faults")? / (f64::from(frames) * 0.75),
                    "",
                    goal,
                );
            }
            table.absolute(
                format!("decode {codec} in UML, {frames} frames: daemon's growth"),
                grown("daemon", "private")? / f64::from(1 << 20),
                "MiB",
                "< 1 MiB",
            );
        }
        Ok(())
    }
}

/// A row of frames for each CPU second: the best of each side, the median of the turns' ratios, and
/// how far these lie apart.
fn rates(table: &mut Table, what: &str, frames: u32, sides: [&Vec<f64>; 2], goal: &str) {
    let mut ratios: Vec<f64> = std::iter::zip(sides[0], sides[1])
        .map(|(ours, peer)| peer / ours)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (ratios.first(), ratios.last()) else {
        return;
    };
    let what = format!("{what}, ratios {least:.3}-{most:.3}");
    let [ours, peer] = sides.map(|side| {
        let best = side.iter().copied().fold(f64::INFINITY, f64::min);
        f64::from(frames) / best
    });
    table.row(what, [ours, peer, median(&mut ratios)], "1/s", goal);
}

/// This program, also when another build has replaced its file meanwhile.
fn this_program() -> String {
    format!("/proc/{}/exe", std::process::id())
}

/// The CPUs that this process may use, such as `0-3,6`.
fn cpus() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    Ok(list.context("no Cpus_allowed_list")?.trim().to_owned())
}

fn last(cpus: &str) -> &str {
    cpus.rsplit([',', '-']).next().unwrap_or(cpus)
}

fn first(cpus: &str) -> &str {
    cpus.split([',', '-']).next().unwrap_or(cpus)
}

/// A program on one processor.
fn pinned(processor: &str, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned
        .args(["--cpu-list", processor])
        .arg(command.get_program())
        .args(command.get_args());
    pinned
}

/// Runs a program that says in JSON what its sessions took.
fn ran(command: &mut Command) -> Result<Ran> {
    let child = spawned(command)?;
    finished(child)
}

/// Runs two of them at once.
fn ran_at_once(commands: &mut [Command; 2]) -> Result<[Ran; 2]> {
    let [one, other] = commands;
    let (one, other) = (spawned(one)?, spawned(other)?);
    Ok([finished(one)?, finished(other)?])
}

fn spawned(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {:?}", command.get_program()))
}

fn finished(child: Child) -> Result<Ran> {
    let out = child.wait_with_output()?;
    ensure!(
        out.status.success(),
        "a side of the bench: {}: {}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    let ran: Ran =
        serde_json::from_slice(&out.stdout).context("a side of the bench prints JSON")?;
    ensure!(
        !ran.sessions.is_empty() && ran.sessions.iter().all(|session| session.errors == 0),
        "a side of the bench: jobs have failed"
    );
    Ok(ran)
}
