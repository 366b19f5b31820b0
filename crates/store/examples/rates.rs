//! How fast the store is, for `cargo xtask bench store`. Prints one JSON object.
//!
//! `rates put FOLDER [SIZE [COUNT]]`: puts beside the bare writes of the same bytes (write,
//! fdatasync, rename), object by object in turns so that both see the same disk; and the CPU time
//! of a put, all its threads together, beside that of SHA-256 alone.
//!
//! `rates many FOLDER [COUNT]`: a great many small puts, each pinned. They go into memory, where it
//! shows how the last tenth does beside the first; then that store is copied to the folder's disk,
//! opened, and takes puts in turns with an empty one.
#![allow(clippy::print_stdout, reason = "stdout is this program's output")]

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use store::{PutOptions, Store};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let what = args.next().unwrap_or_default();
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut number = |default: usize| -> Result<usize> {
        let given = args.next().map(|text| text.to_string_lossy().parse());
        Ok(given.transpose()?.unwrap_or(default))
    };
    let dir = tempfile::tempdir_in(parent)?;
    match what.to_str() {
        Some("put") => put(dir.path(), number(4 << 20)?, number(64)?),
        Some("many") => many(dir.path(), number(1_000_000)?),
        _ => Err("rates put|many FOLDER …".into()),
    }
}

/// CPU time of this process, in the kernel and out of it.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Rounds that do not count.
const WARM_UP: usize = 4;

fn put(dir: &Path, size: usize, count: usize) -> Result<()> {
    let store = Store::open(dir.join("store"))?;
    let bare = dir.join("bare");
    fs::create_dir(&bare)?;
    let mut content: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    let (mut ours_cpu, mut sha_cpu) = (Duration::ZERO, Duration::ZERO);
    for round in 0..count + WARM_UP {
        stamp(&mut content, round * 2);
        let start = Instant::now();
        write(&bare, &round.to_string(), &content)?;
        let bare_took = start.elapsed();
        let start_cpu = cpu();
        std::hint::black_box(Sha256::digest(&content));
        let sha_took = cpu() - start_cpu;

        stamp(&mut content, round * 2 + 1);
        let name = format!("rate/{round}");
        let options = PutOptions {
            pin: Some(&name),
            ..PutOptions::default()
        };
        let (start, start_cpu) = (Instant::now(), cpu());
        store.put_bytes(&content, &options)?;
        // The first ones warm up folders, connections and memory.
        if round >= WARM_UP {
            ours += start.elapsed();
            ours_cpu += cpu() - start_cpu;
            theirs += bare_took;
            sha_cpu += sha_took;
        }
        // Both go again, so that all rounds have the same pages of memory to write to: the first
        // use of a page costs a virtual machine more than everything else.
        fs::remove_file(bare.join(round.to_string()))?;
        store.unpin(&name)?;
        store.collect(Duration::ZERO)?;
    }
    let rate = |took: Duration| (size * count) as f64 / took.as_secs_f64() / 1e6;
    let mib = (size * count) as f64 / f64::from(1 << 20);
    println!(
        "{{\"size\":{size},\"count\":{count},\"put_mb_s\":{:.1},\"bare_mb_s\":{:.1},\
         \"ratio\":{:.3},\"cpu_ms_per_mib\":{:.3},\"sha_ms_per_mib\":{:.3}}}",
        rate(ours),
        rate(theirs),
        rate(ours) / rate(theirs),
        ours_cpu.as_secs_f64() * 1e3 / mib,
        sha_cpu.as_secs_f64() * 1e3 / mib,
    );
    Ok(())
}

fn write(dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    let draft = dir.join("draft");
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(draft, dir.join(name))?;
    Ok(())
}

/// Makes this content differ from all others.
fn stamp(content: &mut [u8], number: usize) {
    let stamp = number.to_le_bytes();
    let len = content.len().min(stamp.len());
    content[..len].copy_from_slice(&stamp[..len]);
}

fn many(dir: &Path, count: usize) -> Result<()> {
    // Without a disk: what a put costs beside its syncs, which is what could grow.
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let filled = memory.path().join("store");
    let tenths = fill(&Store::open(&filled)?, count)?;
    let full = dir.join("full");
    copy(&filled, &full)?;
    drop(memory);

    let start = Instant::now();
    let full = Store::open(&full)?;
    let open = start.elapsed();
    let empty = Store::open(dir.join("empty"))?;
    let (mut into_full, mut into_empty) = (Vec::new(), Vec::new());
    for round in 0..SAMPLES {
        let content = (count + round).to_le_bytes();
        for (store, took) in [(&full, &mut into_full), (&empty, &mut into_empty)] {
            let start = Instant::now();
            put_small(store, &content, count + round)?;
            took.push(start.elapsed());
        }
    }
    let rates: Vec<String> = tenths
        .into_iter()
        .map(|mut took| format!("{:.1}", 1.0 / median(&mut took).as_secs_f64()))
        .collect();
    println!(
        "{{\"count\":{count},\"first_per_s\":{},\"last_per_s\":{},\"open_s\":{:.4},\
         \"full_per_s\":{:.1},\"empty_per_s\":{:.1},\"tenths_per_s\":[{}]}}",
        rates[0],
        rates[9],
        open.as_secs_f64(),
        1.0 / median(&mut into_full).as_secs_f64(),
        1.0 / median(&mut into_empty).as_secs_f64(),
        rates.join(",")
    );
    Ok(())
}

/// Puts into each of the two stores that are compared on the disk.
const SAMPLES: usize = 500;

/// How long the puts of each tenth took. Their median is not moved by who else wants the processor.
fn fill(store: &Store, count: usize) -> Result<[Vec<Duration>; 10]> {
    let mut tenths = std::array::from_fn(|_| Vec::with_capacity(count / 10));
    for number in 0..count {
        let start = Instant::now();
        put_small(store, &number.to_le_bytes(), number)?;
        tenths[number * 10 / count].push(start.elapsed());
    }
    Ok(tenths)
}

fn put_small(store: &Store, content: &[u8], number: usize) -> Result<()> {
    let name = format!("many/{}/{number}", number / 1000);
    let options = PutOptions {
        pin: Some(&name),
        ..PutOptions::default()
    };
    store.put_bytes(content, &options)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn median(took: &mut [Duration]) -> Duration {
    took.sort();
    took[took.len() / 2]
}
