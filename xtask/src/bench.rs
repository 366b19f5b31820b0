//! `cargo xtask bench`: Kinora and its peers side by side in one run, as ratios.
//!
//! Each figure is taken for both sides in the same run, alternating, so that a busy or slow machine
//! moves both. CPU seconds are the kernel's own account of the finished process tree; memory is the
//! peak of the summed proportional set size (PSS) of the tree, sampled every 40 ms. Nothing here
//! judges: the last column holds the goal, the reader compares. What it needs
//! (`BENCH_PACKAGES` in `scripts/needs.sh`) is installed first; `decode` and `va`, whose file is
//! `bench/decode.rs`, need what `cargo xtask vm` needs as well.

#![allow(clippy::print_stdout, reason = "the table is what the chore is for")]

mod assets;
mod beside;
mod decode;
mod latency;
mod store;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use serde::Serialize;

/// What to measure and on what.
#[derive(ClapArgs)]
pub struct Args {
    /// Only these parts (all when none is named): ladder, copy, probe, store, serve, idle,
    /// assets, decode, va.
    parts: Vec<String>,
    /// A 1080p source with audio; the H.264 sources are made from it.
    #[arg(long)]
    source: Option<PathBuf>,
    /// Use only the first SECONDS of the source.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// How often each side of `decode` and `assets` runs; the best of its turns counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Also write the table as JSON to FILE.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The first two need builds of their own, the others the command.
const PARTS: [&str; 9] = [
    "decode", "va", "probe", "store", "idle", "serve", "ladder", "copy", "assets",
];

/// One line of the table.
#[derive(Serialize)]
struct Row {
    what: String,
    ours: f64,
    peer: f64,
    unit: &'static str,
    ratio: f64,
    goal: String,
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn ratio(
        &mut self,
        what: impl Into<String>,
        ours: f64,
        peer: f64,
        unit: &'static str,
        goal: &str,
    ) {
        self.row(what.into(), [ours, peer, ours / peer], unit, goal);
    }

    /// A difference (decibel, SSIM) stands in the ratio's column as ours minus the peer's.
    fn difference(
        &mut self,
        what: impl Into<String>,
        ours: f64,
        peer: f64,
        unit: &'static str,
        goal: &str,
    ) {
        self.row(what.into(), [ours, peer, ours - peer], unit, goal);
    }

    fn absolute(&mut self, what: impl Into<String>, ours: f64, unit: &'static str, goal: &str) {
        self.row(what.into(), [ours, f64::NAN, f64::NAN], unit, goal);
    }

    /// Keeps a row and prints it at once: the whole takes many minutes.
    fn row(&mut self, what: String, [ours, peer, ratio]: [f64; 3], unit: &'static str, goal: &str) {
        let row = Row {
            what,
            ours,
            peer,
            unit,
            ratio,
            goal: goal.to_owned(),
        };
        let number = |v: f64| {
            if v.is_nan() {
                "-".to_owned()
            } else {
                // What is below 2 is a ratio, a difference or an SSIM.
                format!("{v:.*}", if v.abs() < 2.0 { 4 } else { 2 })
            }
        };
        println!(
            "{:<58} {:>10} {:>10} {:>5}  {:>8}  {}",
            row.what,
            number(row.ours),
            number(row.peer),
            row.unit,
            number(row.ratio),
            row.goal
        );
        self.0.push(row);
    }
}

/// The peers' packages, as `./run` and `./test` install theirs.
fn install(root: &Path) -> Result<()> {
    let script = r#". scripts/needs.sh && install_packages "${BENCH_PACKAGES[@]}""#;
    let status = Command::new("bash")
        .args(["-c", script])
        .current_dir(root)
        .status()
        .context("cannot start bash")?;
    ensure!(status.success(), "packages are missing");
    Ok(())
}

/// Runs the asked parts and prints the table.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the workspace")?;
    let bench = Bench {
        kinora: target_dir(root)?.join("release/kinora"),
        dir: tempfile::tempdir()?,
        root: root.to_owned(),
    };
    let source = match &args.source {
        Some(path) => path.clone(),
        None => {
            let shared = root.join("../shared/media/bench/bbb_1080p_hevc_30s.mp4");
            if shared.is_file() {
                shared
            } else {
                root.join("fixtures/media/bbb_1080p_hevc.mp4")
            }
        }
    };
    let asked = |part: &str| args.parts.is_empty() || args.parts.iter().any(|p| p == part);
    for part in &args.parts {
        ensure!(
            PARTS.contains(&part.as_str()),
            "no part {part}: there are {}",
            PARTS.join(", ")
        );
    }
    install(root)?;
    if PARTS[2..].iter().any(|part| asked(part)) {
        build(root, &["-p", "cli"])?;
    }
    println!(
        "{:<58} {:>10} {:>10} {:>5}  {:>8}  goal",
        "", "kinora", "peer", "", "ratio"
    );
    let mut table = Table::default();
    if asked("decode") {
        decode::run(&bench, &source, args.turns, &mut table)?;
    }
    if asked("va") {
        decode::va(&bench, &source, args.turns, &mut table)?;
    }
    if asked("probe") {
        bench.probe(&source, &mut table)?;
    }
    if asked("store") {
        store::put(&bench, &mut table)?;
        store::many(&bench, &mut table)?;
    }
    if asked("idle") {
        bench.idle(&mut table)?;
    }
    if asked("serve") {
        store::get(&bench, &mut table)?;
    }
    if asked("ladder") {
        let cut = bench.cut(&source, "hevc.mp4", args.seconds, &["-c", "copy"])?;
        bench.ladder("hevc", &cut, false, &mut table)?;
        let h264 = bench.cut(
            &source,
            "h264.mp4",
            args.seconds,
            &[
                "-c:v", "libx264", "-preset", "fast", "-crf", "16", "-c:a", "copy",
            ],
        )?;
        bench.ladder("h264", &h264, false, &mut table)?;
        bench.again(&cut, &mut table)?;
        bench.units(&cut, &mut table)?;
        latency::run(&bench, args.seconds, &mut table)?;
    }
    if asked("copy") {
        // A source that fits: its rate is within the rung's and it has an IDR picture each 4 s.
        let fits = bench.cut(
            &source,
            "fits.mp4",
            args.seconds,
            &[
                "-c:v",
                "libx264",
                "-preset",
                "fast",
                "-b:v",
                "4500k",
                "-maxrate",
                "6000k",
                "-bufsize",
                "8000k",
                "-g",
                "96",
                "-sc_threshold",
                "0",
                "-c:a",
                "copy",
            ],
        )?;
        bench.ladder("h264 that fits", &fits, true, &mut table)?;
    }
    if asked("assets") {
        let codec = [
            "-c:v", "libx264", "-preset", "fast", "-crf", "18", "-c:a", "copy",
        ];
        let h264 = bench.cut(&source, "assets.mp4", args.seconds, &codec)?;
        assets::run(&bench, &h264, args.turns, &mut table)?;
        beside::run(&bench, &h264, &mut table)?;
        beside::many(&bench, &mut table)?;
    }
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_vec_pretty(&table.0)?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Builds as the product is built.
fn build(root: &Path, what: &[&str]) -> Result<()> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked"])
        .args(what)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    ensure!(built.success(), "the release build failed");
    Ok(())
}

fn target_dir(root: &Path) -> Result<PathBuf> {
    let out = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()?;
    let json: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    Ok(PathBuf::from(
        json["target_directory"]
            .as_str()
            .context("cargo metadata names no target folder")?,
    ))
}

struct Bench {
    kinora: PathBuf,
    dir: tempfile::TempDir,
    root: PathBuf,
}

/// What one finished process tree used.
struct Used {
    cpu_s: f64,
    wall_s: f64,
    peak_pss_mb: f64,
}

/// The rungs that the peers make, as DESIGN's table gives them for a 1080p source.
const RUNGS: [(&str, u32, u32, u32); 3] = [
    ("1080p", 1920, 1080, 5000),
    ("720p", 1280, 720, 2500),
    ("360p", 640, 360, 800),
];

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    fn cut(&self, source: &Path, name: &str, seconds: u32, codec: &[&str]) -> Result<PathBuf> {
        let out = self.path(name);
        let done = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-i"])
            .arg(source)
            .args(["-t", &seconds.to_string(), "-map", "0:v:0", "-map", "0:a:0"])
            .args(codec)
            .arg(&out)
            .status()
            .context("cannot start ffmpeg")?;
        ensure!(done.success(), "ffmpeg could not cut {}", source.display());
        Ok(out)
    }

    /// The ladder against (a) rgb24 through pipes into three encoders and (b) one process with split.
    fn ladder(&self, name: &str, source: &Path, copied: bool, table: &mut Table) -> Result<()> {
        let ours_dir = self.fresh("ours")?;
        let single_dir = self.fresh("single")?;
        let naive_dir = self.fresh("naive")?;
        let one_dir = self.fresh("one")?;
        let ours = measure(
            Command::new(&self.kinora)
                .arg("ladder")
                .arg(source)
                .arg("-o")
                .arg(&ours_dir)
                .arg("--json"),
        )?;
        let naive = measure(
            Command::new("bash")
                .arg("-c")
                .arg(naive_script(source, &naive_dir)),
        )?;
        let one = measure(&mut one_process(source, &one_dir))?;
        let single = measure(
            Command::new(&self.kinora)
                .args(["ladder", "--workers", "1", "--json", "-o"])
                .arg(&single_dir)
                .arg(source),
        )?;
        let (a, b) = if copied {
            ("-", "<= 0.22")
        } else {
            ("<= 0.35", "<= 0.50")
        };
        table.ratio(
            format!("ladder {name}: CPU against (a) rgb24 pipes"),
            ours.cpu_s,
            naive.cpu_s,
            "s",
            a,
        );
        table.ratio(
            format!("ladder {name}: CPU against (b) one ffmpeg"),
            ours.cpu_s,
            one.cpu_s,
            "s",
            b,
        );
        table.ratio(
            format!("ladder {name}: wall against (a)"),
            ours.wall_s,
            naive.wall_s,
            "s",
            "-",
        );
        table.ratio(
            format!("ladder {name}: wall against (b)"),
            ours.wall_s,
            one.wall_s,
            "s",
            "-",
        );
        table.ratio(
            format!("ladder {name}: peak PSS against (a)"),
            ours.peak_pss_mb,
            naive.peak_pss_mb,
            "MB",
            "-",
        );
        table.ratio(
            format!("ladder {name}: peak PSS, one unit in flight"),
            single.peak_pss_mb,
            one.peak_pss_mb,
            "MB",
            "<= 400 MB",
        );
        for (rung, width, height, _) in RUNGS {
            let goal = if rung == "360p" { ">= -0.1" } else { ">= 0" };
            let ours = self.quality(
                source,
                &ours_dir.join(rung).join("playlist.m3u8"),
                width,
                height,
            )?;
            let peer = self.quality(
                source,
                &naive_dir.join(rung).join("playlist.m3u8"),
                width,
                height,
            )?;
            table.difference(
                format!("ladder {name}: {rung} Y-PSNR less (a)'s"),
                ours.psnr,
                peer.psnr,
                "dB",
                goal,
            );
            table.difference(
                format!("ladder {name}: {rung} SSIM less (a)'s"),
                ours.ssim,
                peer.ssim,
                "",
                "-",
            );
            let one = one_dir.join(rung).join("playlist.m3u8");
            let one = self.quality(source, &one, width, height)?;
            table.difference(
                format!("ladder {name}: {rung} Y-PSNR less (b)'s"),
                ours.psnr,
                one.psnr,
                "dB",
                "-",
            );
            table.ratio(
                format!("ladder {name}: {rung} bytes"),
                bytes_in(&ours_dir.join(rung))? as f64 / 1e6,
                bytes_in(&naive_dir.join(rung))? as f64 / 1e6,
                "MB",
                "-",
            );
        }
        Ok(())
    }

    /// The same ladder under another name: every unit is found by its key.
    fn again(&self, source: &Path, table: &mut Table) -> Result<()> {
        let data = self.fresh("again")?;
        let run = |name: &str| {
            measure(
                Command::new(&self.kinora)
                    .args(["ladder", "--store", "--json", "--name", name, "--data"])
                    .arg(&data)
                    .arg(source),
            )
        };
        let (first, second) = (run("first")?, run("second")?);
        let what = "ladder: CPU of a second run of the same against the first";
        table.ratio(what, second.cpu_s, first.cpu_s, "s", "<= 0.02");
        Ok(())
    }

    /// More units in flight than cores.
    fn units(&self, source: &Path, table: &mut Table) -> Result<()> {
        let mut walls = Vec::new();
        for workers in ["2", "4"] {
            let out = self.fresh(&format!("units-{workers}"))?;
            let used = measure(
                Command::new(&self.kinora)
                    .args(["ladder", "--workers", workers, "--json", "-o"])
                    .arg(&out)
                    .arg(source),
            )?;
            walls.push(used.wall_s);
        }
        let what = "ladder: wall of four units in flight against two";
        table.ratio(what, walls[1], walls[0], "s", "<= 1.0");
        Ok(())
    }

    /// A rung against the source, which is scaled to the rung's size as the peers scale it.
    fn quality(&self, source: &Path, rung: &Path, width: u32, height: u32) -> Result<Quality> {
        let graph = format!(
            "[1:v]scale={width}:{height}:flags=lanczos,settb=1/1000,setpts=N,format=yuv420p,split[r1][r2];\
             [0:v]settb=1/1000,setpts=N,format=yuv420p,split[d1][d2];[d1][r1]psnr[p];[d2][r2]ssim[s]"
        );
        let out = Command::new("ffmpeg")
            .args([
                "-hide_banner",
                "-nostats",
                "-allowed_extensions",
                "ALL",
                "-i",
            ])
            .arg(rung)
            .arg("-i")
            .arg(source)
            .args([
                "-filter_complex",
                &graph,
                "-map",
                "[p]",
                "-f",
                "null",
                "-",
                "-map",
                "[s]",
                "-f",
                "null",
                "-",
            ])
            .output()?;
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(
            out.status.success(),
            "cannot compare {} with its source:\n{log}",
            rung.display()
        );
        let field = |mark: &str, key: &str| -> Result<f64> {
            let line = log
                .lines()
                .rev()
                .find(|l| l.contains(mark))
                .with_context(|| format!("ffmpeg printed no {mark}:\n{log}"))?;
            let at = line.find(key).with_context(|| line.to_owned())? + key.len();
            Ok(line[at..]
                .split_whitespace()
                .next()
                .context("no number")?
                .parse()?)
        };
        Ok(Quality {
            psnr: field("PSNR y:", "PSNR y:")?,
            ssim: field("SSIM Y:", "All:")?,
        })
    }

    /// A probe in process, as the server's workers make it, and the command, each against starting
    /// ffprobe. Most of what the command takes is the loading of libav's hundred libraries.
    fn probe(&self, source: &Path, table: &mut Table) -> Result<()> {
        const TURNS: usize = 31;
        let (mut command, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let mut ours = Command::new(&self.kinora);
            command.push(measure(ours.args(["probe", "--json"]).arg(source))?.wall_s * 1e3);
            let mut theirs = Command::new("ffprobe");
            theirs
                .args([
                    "-v",
                    "error",
                    "-of",
                    "json",
                    "-show_format",
                    "-show_streams",
                ])
                .arg(source);
            peer.push(measure(&mut theirs)?.wall_s * 1e3);
        }
        let out = self
            .example("media", "probe")
            .args(vec![source; TURNS])
            .output()?;
        let log = String::from_utf8_lossy(&out.stderr);
        let mut library: Vec<f64> = log
            .lines()
            .filter_map(|line| line.strip_suffix(" ms")?.rsplit(' ').next()?.parse().ok())
            .collect();
        ensure!(library.len() == TURNS, "the probe example said:\n{log}");
        let peer = median(&mut peer);
        table.ratio(
            "probe in process against ffprobe, wall, median of 31",
            median(&mut library),
            peer,
            "ms",
            "<= 0.3",
        );
        table.ratio(
            "kinora probe, the command, against ffprobe",
            median(&mut command),
            peer,
            "ms",
            "-",
        );
        Ok(())
    }

    /// Runs an example of a room, built as the product is.
    fn example(&self, package: &str, example: &str) -> Command {
        let mut command = Command::new("cargo");
        command
            .args(["run", "--release", "--locked", "-q", "-p", package])
            .args(["--example", example, "--"])
            .current_dir(&self.root);
        command
    }

    /// Resident memory of an idle server and the time until it listens.
    fn idle(&self, table: &mut Table) -> Result<()> {
        let mut starts = Vec::new();
        let mut resident = 0.0;
        for turn in 0..5 {
            let began = Instant::now();
            let server = Server::start(&self.kinora, &self.path("idle"))?;
            starts.push(began.elapsed().as_secs_f64());
            if turn == 4 {
                // Idle means that what is done at start has ended: the process uses no CPU any more.
                server.settle()?;
                resident = server.resident_mb()?;
            }
        }
        table.absolute(
            "server: from start to listening, median of 5",
            median(&mut starts),
            "s",
            "<= 0.3",
        );
        table.absolute("server: resident when idle", resident, "MB", "<= 30");
        Ok(())
    }
}

struct Quality {
    psnr: f64,
    ssim: f64,
}

/// Rate control and segmenting, the same for both peers.
fn hls_arguments(kbit: u32, dir: &Path) -> String {
    let (maxrate, bufsize, dir) = (kbit * 3 / 2, kbit * 2, dir.display());
    format!(
        "-c:v libx264 -preset fast -b:v {kbit}k -maxrate {maxrate}k -bufsize {bufsize}k -sc_threshold 0 \
         -force_key_frames 'expr:gte(t,n_forced*4)' -c:a aac -b:a 128k -f hls -hls_time 4 -hls_list_size 0 \
         -hls_segment_filename '{dir}/%05d.ts' '{dir}/playlist.m3u8'"
    )
}

fn naive_script(source: &Path, out: &Path) -> String {
    let mut script = String::from("set -e\n");
    let mut pipes = Vec::new();
    for (rung, width, height, kbit) in RUNGS {
        let dir = out.join(rung);
        let pipe = out.join(format!("{rung}.rgb"));
        script += &format!(
            "mkdir -p '{}'; mkfifo '{}'\n",
            dir.display(),
            pipe.display()
        );
        script += &format!(
            "ffmpeg -v error -y -f rawvideo -pix_fmt rgb24 -s 1920x1080 -r 24 -i '{}' -i '{}' -map 0:v -map 1:a \
             -vf scale={width}:{height}:flags=lanczos -pix_fmt yuv420p {} &\n",
            pipe.display(),
            source.display(),
            hls_arguments(kbit, &dir)
        );
        pipes.push(format!("'{}'", pipe.display()));
    }
    script += &format!(
        "ffmpeg -v error -i '{}' -map 0:v -f rawvideo -pix_fmt rgb24 - | tee {} {} > {}\nwait\n",
        source.display(),
        pipes[0],
        pipes[1],
        pipes[2]
    );
    script
}

fn one_process(source: &Path, out: &Path) -> Command {
    let mut script = format!(
        "ffmpeg -v error -y -i '{}' -filter_complex '[0:v]split=3[a][b][c];[a]null[v0];[b]scale=1280:720:flags=lanczos[v1];\
         [c]scale=640:360:flags=lanczos[v2]'",
        source.display()
    );
    for (i, (rung, _, _, kbit)) in RUNGS.iter().enumerate() {
        let dir = out.join(rung);
        script += &format!(" -map '[v{i}]' -map 0:a {}", hls_arguments(*kbit, &dir));
    }
    let mkdir = RUNGS
        .map(|(rung, ..)| format!("'{}'", out.join(rung).display()))
        .join(" ");
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(format!("set -e; mkdir -p {mkdir}; {script}"));
    command
}

fn bytes_in(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|e| e == "ts") {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a command to its end and accounts for it and all it started.
fn measure(command: &mut Command) -> Result<Used> {
    let before = children_cpu();
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let stop = Arc::new(AtomicBool::new(false));
    let peak = Arc::new(AtomicU64::new(0));
    let sampler = {
        let (stop, peak, pid) = (stop.clone(), peak.clone(), child.id());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(tree_pss_kb(pid), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(40));
            }
        })
    };
    let mut stderr = child.stderr.take().context("piped")?;
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        // Whatever could be read is what the message below can show.
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let status = child.wait()?;
    let wall_s = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    sampler.thread().unpark();
    let joined = sampler.join().is_ok();
    let text = errors.join().unwrap_or_default();
    ensure!(
        joined && status.success(),
        "{command:?} ended with {status}: {text}"
    );
    Ok(Used {
        cpu_s: children_cpu() - before,
        wall_s,
        peak_pss_mb: peak.load(Ordering::Relaxed) as f64 / 1024.0,
    })
}

/// User and system seconds of all children that have been waited for.
fn children_cpu() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to writable memory of the type that getrusage fills; RUSAGE_CHILDREN
    // cannot fail with a valid pointer, and zeroed memory is a valid rusage if it did.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// A process and all that it started and that still run.
fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name in parentheses may hold anything; the parent is the second field behind it.
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1))
            .and_then(|p| p.parse().ok());
        parents.push((pid, parent.unwrap_or(0)));
    }
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(&next) = tree.get(at) {
        tree.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == next)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    tree
}

/// CPU seconds of a process, of all that it started and that still run, and of those that any of them
/// has waited for.
fn tree_cpu_s(root: u32) -> f64 {
    // What /proc counts in, on every machine that Linux runs on today.
    const TICKS_PER_S: f64 = 100.0;
    let ticks = |pid: &u32| -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = stat.rsplit(')').next()?.split_whitespace();
        // Own user and system time, then those of children.
        let times = fields.skip(11).take(4);
        times.map(|field| field.parse::<u64>().ok()).sum()
    };
    let sum = || tree(root).iter().filter_map(ticks).sum::<u64>();
    // A process that is waited for between two looks is seen twice or not at all.
    let mut last = sum();
    loop {
        let next = sum();
        if next.abs_diff(last) <= 3 {
            return next as f64 / TICKS_PER_S;
        }
        last = next;
    }
}

fn tree_pss_kb(root: u32) -> u64 {
    tree(root)
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            text.lines().find_map(|l| {
                l.strip_prefix("Pss:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse::<u64>()
                    .ok()
            })
        })
        .sum()
}

/// A running `kinora serve`, ended when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(kinora: &Path, data: &Path) -> Result<Self> {
        let mut child = Command::new(kinora)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        while let Some(line) = lines.next().transpose()? {
            if let Some(at) = line.find("http://") {
                return Ok(Self {
                    child,
                    url: line[at..].trim().trim_end_matches('/').to_owned(),
                });
            }
        }
        bail!("the server ended without listening: {}", child.wait()?)
    }

    fn cpu_ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    }

    fn settle(&self) -> Result<()> {
        let mut last = self.cpu_ticks()?;
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.cpu_ticks()?;
            if now == last {
                return Ok(());
            }
            last = now;
        }
        bail!("the server does not become idle")
    }

    fn resident_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx with as many workers as Kinora has threads, serving one folder, ended when dropped.
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    fn start(dir: &Path, file: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::copy(file, dir.join("segment.ts"))?;
        let folder = dir.display();
        fs::write(
            dir.join("nginx.conf"),
            format!(
                "daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n\
                 client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n\
                 uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
                 types {{ video/mp2t ts; }}\n\
                 server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
            ),
        )?;
        let mut child = Command::new("nginx")
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nginx (Debian's nginx-light)")?;
        for _ in 0..100 {
            if let Some(status) = child.try_wait()? {
                bail!("nginx ended with {status}");
            }
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n")?;
                return Ok(Self { child, port });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("nginx does not listen")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM; a plain kill would leave them behind.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

fn requests_per_second(url: &str) -> Result<f64> {
    let out = Command::new("wrk")
        .args(["-t1", "-c16", "-d3s", url])
        .output()
        .context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&out.stdout);
    ensure!(!text.contains("Non-2xx"), "{url} answers errors:\n{text}");
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("Requests/sec:"))
        .with_context(|| format!("wrk said:\n{text}"))?;
    Ok(line.trim().parse()?)
}
