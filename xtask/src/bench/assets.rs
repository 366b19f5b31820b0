//! What the sandbox, the supervision and the comparison with the original cost: one variant by a
//! worker against the plain command.
//!
//! A Raspberry Pi 5 decodes H.264 in software only, so a 1080p H.264 clip becomes HEVC for it. The
//! worker is started as the server starts it, with an order in a folder; it probes, renders, reads
//! both files again and judges the result. ffmpeg only encodes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Bench, Table, measure};

const BOARD: &str = "pi5";

pub fn run(bench: &Bench, source: &Path, turns: u32, table: &mut Table) -> Result<()> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        ours.push(measure(&mut worker(bench, source, "superfast", false)?)?);
        let made = bench.path("worker").join("variant.mp4");
        ensure!(made.is_file(), "the worker made no variant");
        let out = bench.path("peer.mp4");
        peer.push(measure(
            Command::new("ffmpeg")
                .args(["-nostdin", "-v", "error", "-y", "-i"])
                .arg(source)
                .args(["-c:v", "libx265", "-preset", "superfast", "-c:a", "copy"])
                .args(["-x265-params", "log-level=none", "-movflags", "+faststart"])
                .arg(out),
        )?);
    }
    let best = |used: &[super::Used], of: fn(&super::Used) -> f64| {
        used.iter().map(of).fold(f64::INFINITY, f64::min)
    };
    let mut row = |what: &str, of: fn(&super::Used) -> f64, unit, goal| {
        let what = format!("variant h264 to hevc 1080p: {what}");
        table.ratio(what, best(&ours, of), best(&peer, of), unit, goal);
    };
    row("wall against ffmpeg", |used| used.wall_s, "s", "<= 1.05");
    row("CPU against ffmpeg", |used| used.cpu_s, "s", "-");
    row(
        "peak PSS against ffmpeg",
        |used| used.peak_pss_mb,
        "MB",
        "-",
    );
    Ok(())
}

/// The server's own worker, without the server; `bare`, without all that keeps it in bounds.
pub fn worker(bench: &Bench, source: &Path, preset: &str, bare: bool) -> Result<Command> {
    let listed = Command::new(&bench.kinora)
        .args(["boards", "--json"])
        .output()
        .context("cannot start kinora")?;
    let boards: Vec<Value> = serde_json::from_slice(&listed.stdout)?;
    let board = boards.into_iter().find(|board| board["id"] == BOARD);
    let folder = bench.fresh("worker")?;
    let order = json!({
        "task": { "render": {
            "board": board.context("the board is not in the table")?,
            "allow_software": false,
            "settings": { "crf": null, "preset": preset },
        } },
        "input": fs::canonicalize(source)?,
        "name": "clip",
        "parent": std::process::id(),
        "bare": bare,
    });
    fs::write(folder.join("order.json"), serde_json::to_vec(&order)?)?;
    let mut worker = Command::new(&bench.kinora);
    worker.args(["worker", "render"]).arg(&folder);
    Ok(worker)
}
