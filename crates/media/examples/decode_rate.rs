//! How fast libavcodec decodes a file by itself: one thread for each session, frames dropped.
//!
//! `cargo run --release -p media --example decode_rate -- FILE [TIMES] [SESSIONS]`
//!
//! The packets are read before and stay in memory, so what is measured is decoding only. Prints JSON:
//! the time on the clock of all sessions together; for each its frames, its CPU seconds, and median and
//! 99th percentile of the milliseconds that a packet took.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use media::{Decoder, Input, OpenOptions, Packet, Stream};

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Answer<()> {
    let mut arguments = std::env::args_os().skip(1);
    let file = PathBuf::from(arguments.next().ok_or("no file is named")?);
    let mut number = || match arguments.next() {
        Some(argument) => argument.to_string_lossy().parse(),
        None => Ok(1_usize),
    };
    let (times, sessions) = (number()?, number()?);

    let mut input = Input::open(&file, &OpenOptions::default())?;
    let stream = input.best_video()?.clone();
    let mut packets = Vec::new();
    while let Some(packet) = input.read()? {
        if packet.stream() == stream.index {
            packets.push(packet);
        }
    }

    let began = Instant::now();
    let decoded: Vec<Answer<Decoded>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..sessions)
            .map(|_| scope.spawn(|| decode(&stream, &packets, times)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err("a session's thread panicked".into()))
        });
        joined.collect()
    });
    let wall_s = began.elapsed().as_secs_f64();

    let mut each = Vec::new();
    for decoded in decoded {
        let mut decoded = decoded?;
        decoded.times.sort_unstable();
        let ms = |percent: usize| {
            let time = decoded.times.get(decoded.times.len() * percent / 100);
            time.map(|time| time.as_secs_f64() * 1e3)
        };
        each.push(serde_json::json!({
            "frames": decoded.frames,
            "cpu_s": decoded.cpu_s,
            "ms_median": ms(50),
            "ms_p99": ms(99),
        }));
    }
    println!(
        "{}",
        serde_json::json!({ "wall_s": wall_s, "sessions": each })
    );
    Ok(())
}

struct Decoded {
    frames: u64,
    /// Of the session's thread.
    cpu_s: f64,
    /// Of each packet.
    times: Vec<Duration>,
}

fn decode(stream: &Stream, packets: &[Packet], times: usize) -> Answer<Decoded> {
    let mut decoded = Decoded {
        frames: 0,
        cpu_s: -cpu_s()?,
        times: Vec::with_capacity(packets.len() * times),
    };
    let mut decoder = Decoder::open(stream, 1)?;
    for packet in std::iter::repeat_n(packets, times).flatten() {
        let began = Instant::now();
        decoder.send(Some(packet))?;
        while decoder.receive()?.is_some() {
            decoded.frames += 1;
        }
        decoded.times.push(began.elapsed());
    }
    decoder.send(None)?;
    while decoder.receive()?.is_some() {
        decoded.frames += 1;
    }
    decoded.cpu_s += cpu_s()?;
    Ok(decoded)
}

fn cpu_s() -> Answer<f64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split(' ').next().unwrap_or_default();
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}
