//! `cargo xtask bench decode`: what the decode path costs, beside libavcodec without it.
//!
//! Natively the daemon replays jobs that GStreamer made in a machine of kernel `uml`; the peer is
//! libavcodec in a process of ours with one thread for each session, over the same stream, of the same
//! build (both load the system's). In the machine a whole pipeline with our decoder runs beside the same
//! pipeline with libavcodec's; counted is all CPU time of the processes that are the machine. Turns
//! alternate and the best of each side counts: whatever else a machine does only adds.
//!
//! The guest's part is `xtask/bench/decode.sh`, the peer is media's example `decode_rate`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Bench, Table, build, measure, target_dir, tree_cpu_s};
use crate::vm::cache::{Cache, Key};

const SCRIPT: &str = include_str!("../../bench/decode.sh");

/// Frames of each clip.
const FRAMES: u32 = 300;
/// The clips so many times on end are the long run: 1800 frames.
const LONG: u32 = 6;
/// Frames of the shorter of the runs whose system calls are compared; decode.sh has it too.
const WARM: u32 = 100;

/// How a clip is made of a 1080p source, at what such a stream usually has.
struct Clip {
    codec: &'static str,
    file: &'static str,
    encoder: &'static str,
}

const CLIPS: [Clip; 4] = [
    Clip {
        codec: "mpeg2",
        file: "mpeg2.m2v",
        encoder: "mpeg2video -b:v 12M -maxrate 15M -bufsize 8M -g 12 -bf 2 -f mpeg2video",
    },
    Clip {
        codec: "h264",
        file: "h264.h264",
        encoder: "libx264 -preset medium -b:v 6M -maxrate 9M -bufsize 12M -f h264",
    },
    Clip {
        codec: "vp8",
        file: "vp8.ivf",
        encoder: "libvpx -b:v 5M -deadline good -cpu-used 4 -auto-alt-ref 1 -lag-in-frames 16 -g 120 -f ivf",
    },
    Clip {
        codec: "vp9",
        file: "vp9.ivf",
        encoder: "libvpx-vp9 -b:v 4M -deadline good -cpu-used 5 -row-mt 1 -g 120 -f ivf",
    },
];

pub fn run(bench: &Bench, source: &Path, turns: u32, table: &mut Table) -> Result<()> {
    build(&bench.root, &["-p", "decoded"])?;
    build(&bench.root, &["-p", "media", "--example", "decode_rate"])?;
    let release = target_dir(&bench.root)?.join("release");
    let sides = Sides {
        daemon: release.join("kinora-decoded"),
        peer: release.join("examples/decode_rate"),
        clips: clips(source)?,
        share: bench.fresh("decode")?,
        turns,
    };
    fs::write(sides.share.join("decode.sh"), SCRIPT)?;
    sides.guest(&["record"], true)?;
    for clip in &CLIPS {
        sides.native(clip, table)?;
    }
    sides.pipelines(table)?;
    sides.steady(table)?;
    sides.long(table)
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
            key.with(clip.file).with(clip.encoder)
        });
    let entry = "bench-clips";
    let lock = cache.lock(entry)?;
    match cache.find(entry, key) {
        Some(folder) => Ok(folder),
        None => cache.make(&lock, entry, key, |folder| {
            CLIPS
                .iter()
                .try_for_each(|clip| encode(source, clip, folder))
        }),
    }
}

fn encode(source: &Path, clip: &Clip, folder: &Path) -> Result<()> {
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(source)
        .args(["-map", "0:v:0", "-frames:v", &FRAMES.to_string(), "-c:v"])
        .args(clip.encoder.split(' '))
        .arg(folder.join(clip.file))
        .status()
        .context("cannot start ffmpeg")?;
    ensure!(done.success(), "ffmpeg could not make {}", clip.file);
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
    cpu_s: BTreeMap<String, Best>,
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
}

impl Sides {
    fn replay(&self, clip: &Clip, times: u32, sessions: u32) -> Command {
        let mut command = Command::new(&self.daemon);
        command
            .args(["--json", "--repeat", &times.to_string()])
            .args(["--sessions", &sessions.to_string(), "--replay"])
            .arg(self.share.join(format!("{}.jobs", clip.codec)));
        command
    }

    fn libavcodec(&self, clip: &Clip, times: u32, sessions: u32) -> Command {
        let mut command = Command::new(&self.peer);
        command
            .arg(self.clips.join(clip.file))
            .args([times.to_string(), sessions.to_string()]);
        command
    }

    fn native(&self, clip: &Clip, table: &mut Table) -> Result<()> {
        // So many rounds of a clip that what a session's start costs is small; the pages of its
        // CAPTURE buffers, which a replay has to make itself, are most of that.
        const TIMES: u32 = 6;
        const TIMES_OF_TWO: u32 = 2;
        let codec = clip.codec;
        // By side; CPU time of one session, time of one and of two on the clock.
        let (mut cpu, mut one, mut two) = <([Best; 2], [Best; 2], [Best; 2])>::default();
        for _ in 0..self.turns {
            for side in [0, 1] {
                let command = |times, sessions| match side {
                    0 => self.replay(clip, times, sessions),
                    _ => self.libavcodec(clip, times, sessions),
                };
                let alone = ran(&mut command(TIMES, 1))?;
                cpu[side].take(alone.sessions[0].cpu_s);
                one[side].take(alone.wall_s / f64::from(TIMES));
                let both = ran(&mut command(TIMES_OF_TWO, 2))?;
                two[side].take(both.wall_s / f64::from(TIMES_OF_TWO));
            }
        }
        let per_s = |best: Best| f64::from(FRAMES * TIMES) / best.0;
        table.ratio(
            format!("decode {codec}: replay against libavcodec, per CPU s"),
            per_s(cpu[0]),
            per_s(cpu[1]),
            "1/s",
            ">= 0.95",
        );
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

    /// Runs a part of decode.sh in a machine.
    fn guest(&self, part: &[&str], build: bool) -> Result<Told> {
        // A machine has one CPU but is several processes that take turns: on two of the host's, each
        // system call of the guest wakes the other one up, which costs as much as decoding does.
        let mut command = Command::new("taskset");
        let cpus = if build {
            cpus()?
        } else {
            last(&cpus()?).to_owned()
        };
        command
            .args(["--cpu-list", &cpus])
            .arg(std::env::current_exe()?)
            .args(["vm", "run", "--timeout", "3600", "--share"])
            .arg(&self.share)
            .args(["--env", &format!("FRAMES={FRAMES}")])
            .args((!build).then_some("--no-build"))
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
                    told.cpu_s.entry(what.to_owned()).or_default().take(used);
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
        let told = self.guest(&["pipelines", &self.turns.to_string()], false)?;
        for Clip { codec, .. } in &CLIPS {
            let per_s = |side: &str| -> Result<f64> {
                let best = told.cpu_s.get(&format!("{codec} {side}"));
                Ok(f64::from(FRAMES) / best.context("a pipeline did not run")?.0)
            };
            table.ratio(
                format!("decode {codec} in UML: GStreamer against avdec, per CPU s"),
                per_s("ours")?,
                per_s("peer")?,
                "1/s",
                ">= 0.75",
            );
        }
        Ok(())
    }

    fn steady(&self, table: &mut Table) -> Result<()> {
        let told = self.guest(&["steady"], false)?;
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
        let told = self.guest(&["long", &LONG.to_string()], false)?;
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
            // Pictures of one stream differ: by how much, libavcodec's own times tell.
            let peer = ran(&mut self.libavcodec(clip, LONG, 1))?;
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

/// Runs a program that says in JSON what its sessions took.
fn ran(command: &mut Command) -> Result<Ran> {
    let out = command
        .output()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    let program = Path::new(command.get_program()).file_name();
    let program = program.map_or("it".into(), OsStr::to_string_lossy);
    ensure!(
        out.status.success(),
        "{program}: {}: {}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    let ran: Ran =
        serde_json::from_slice(&out.stdout).with_context(|| format!("{program} prints JSON"))?;
    ensure!(
        !ran.sessions.is_empty() && ran.sessions.iter().all(|session| session.errors == 0),
        "{program}: jobs have failed"
    );
    Ok(ran)
}
