//! `cargo xtask bench store` and `serve`: putting, a store of a million objects, getting.
//!
//! Puts are measured by the store's own example `rates`, which does both sides in turns, object by
//! object: the disk of a busy machine is another one every second. Gets are requests per second
//! that `wrk` gets of the server and of nginx with sendfile, in turns as well.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Bench, Nginx, Server, Table, median, requests_per_second};

/// Sizes of what is put: a segment of a few seconds, and a short upload.
const PUTS: [(&str, u64, u32); 2] = [("4 MiB", 4 << 20, 64), ("64 MiB", 64 << 20, 6)];

/// Sizes of what is got: a segment of a small rung, and one of a large.
const GETS: [(&str, usize); 2] = [("400 KiB", 400 << 10), ("4 MiB", 4 << 20)];

/// Objects of the large store.
const MANY: u32 = 1_000_000;

/// Puts beside the bare writes of the same bytes.
pub(super) fn put(bench: &Bench, table: &mut Table) -> Result<()> {
    for (name, size, count) in PUTS {
        let args = ["put".to_owned(), size.to_string(), count.to_string()];
        let json = rates(bench, &args)?;
        table.ratio(
            format!("put of {name} against write, fdatasync, rename"),
            number(&json, "put_mb_s")?,
            number(&json, "bare_mb_s")?,
            "MB/s",
            ">= 0.8",
        );
        table.ratio(
            format!("CPU of a put of {name}, per MiB, against SHA-256 alone"),
            number(&json, "cpu_ms_per_mib")?,
            number(&json, "sha_ms_per_mib")?,
            "ms",
            "<= 0.65 ms where SHA-256 takes 0.51 (1.27)",
        );
    }
    Ok(())
}

/// A store of a million objects beside an empty one.
pub(super) fn many(bench: &Bench, table: &mut Table) -> Result<()> {
    let json = rates(bench, &["many".to_owned(), MANY.to_string()])?;
    table.ratio(
        "puts/s in memory, last tenth of a million against the first",
        number(&json, "last_per_s")?,
        number(&json, "first_per_s")?,
        "1/s",
        ">= 0.8",
    );
    table.ratio(
        "puts/s on the disk, a store of a million against an empty one",
        number(&json, "full_per_s")?,
        number(&json, "empty_per_s")?,
        "1/s",
        ">= 0.8",
    );
    table.absolute(
        "opening a store of a million",
        number(&json, "open_s")?,
        "s",
        "<= 0.2",
    );
    Ok(())
}

/// The example: the measure and its folder, then numbers.
fn rates(bench: &Bench, args: &[String]) -> Result<serde_json::Value> {
    let folder = bench.fresh("rates")?;
    let out = bench
        .example("store", "rates")
        .arg(&args[0])
        .arg(&folder)
        .args(&args[1..])
        .output()?;
    let errors = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "rates {args:?} failed: {errors}");
    serde_json::from_slice(&out.stdout).context("rates prints JSON")
}

fn number(json: &serde_json::Value, key: &str) -> Result<f64> {
    json[key]
        .as_f64()
        .with_context(|| format!("rates gave no {key}"))
}

/// Requests per second for a segment against nginx that serves the same bytes.
pub(super) fn get(bench: &Bench, table: &mut Table) -> Result<()> {
    for (name, size) in GETS {
        let segment = bench.path("segment.ts");
        // Nothing reads it; no two blocks of it are alike.
        let words = (0..size as u32 / 4).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes());
        fs::write(&segment, words.collect::<Vec<_>>())?;
        let data = bench.fresh("serve")?;
        let cid = add(bench, &data, &segment)?;
        let server = Server::start(&bench.kinora, &data)?;
        let nginx = Nginx::start(&bench.fresh("nginx")?, &segment)?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            ours.push(requests_per_second(&format!("{}/ipfs/{cid}", server.url))?);
            let url = format!("http://127.0.0.1:{}/segment.ts", nginx.port);
            peer.push(requests_per_second(&url)?);
        }
        table.ratio(
            format!("requests/s for a segment of {name} against nginx with sendfile"),
            median(&mut ours),
            median(&mut peer),
            "1/s",
            ">= 0.8",
        );
    }
    Ok(())
}

fn add(bench: &Bench, data: &Path, file: &Path) -> Result<String> {
    let added = Command::new(&bench.kinora)
        .args(["store", "add", "--data"])
        .arg(data)
        .arg(file)
        .output()?;
    let errors = String::from_utf8_lossy(&added.stderr);
    ensure!(added.status.success(), "store add failed: {errors}");
    Ok(String::from_utf8(added.stdout)?.trim().to_owned())
}
