//! What a picture's way into a CAPTURE buffer costs: CPU time of libavcodec alone, of decoding by
//! access unit, and of both ways to copy.
//!
//! `cargo run --release -p decoded --example capture_cost -- clip.h264 clip.m2v clip.ivf`
//! (Annex B, MPEG-2 elementary streams or IVF; not MP4.)

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::Path;

use decoded::capture::{Capture, Coherence, Nv12};
use media::{
    AccessUnitDecoder, AccessUnitLimits, Decoder, Input, OpenOptions, Packet, StatelessCodec,
};

type Answer<T> = Result<T, Box<dyn Error>>;

/// Rounds over all ways, so that a change of the machine's speed meets all of them.
const ROUNDS: usize = 7;

/// Buffers that a client has in turn.
const BUFFERS: usize = 6;

/// CPU time of the main thread in seconds.
fn cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok());
    nanoseconds.map_or(0.0, |nanoseconds: f64| nanoseconds / 1e9)
}

fn main() -> Answer<()> {
    for path in std::env::args_os().skip(1) {
        measure(Path::new(&path))?;
    }
    Ok(())
}

struct Clip {
    stream: media::Stream,
    packets: Vec<Packet>,
    codec: StatelessCodec,
}

fn measure(path: &Path) -> Answer<()> {
    let mut input = Input::open(path, &OpenOptions::default())?;
    let stream = input.best_video()?.clone();
    let codec = match stream.codec() {
        "mpeg2video" => StatelessCodec::Mpeg2,
        "h264" => StatelessCodec::H264,
        "vp8" => StatelessCodec::Vp8,
        "vp9" => StatelessCodec::Vp9,
        other => return Err(format!("{}: codec {other}", path.display()).into()),
    };
    let mut packets = Vec::new();
    while let Some(packet) = input.read()? {
        packets.push(packet);
    }
    let clip = Clip {
        stream,
        packets,
        codec,
    };
    let ways: [(&str, fn(&Clip) -> Answer<()>); 4] = [
        ("libavcodec", plain),
        ("by unit", |clip| by_unit(clip, Copy::None)),
        ("copy after", |clip| by_unit(clip, Copy::After)),
        ("copy in bands", |clip| by_unit(clip, Copy::Bands)),
    ];
    let mut best = [f64::INFINITY; 4];
    for _ in 0..ROUNDS {
        for (best, (_, way)) in best.iter_mut().zip(&ways) {
            let start = cpu_s();
            way(&clip)?;
            *best = best.min(cpu_s() - start);
        }
    }
    println!("{} {} packets", path.display(), clip.packets.len());
    let base = best[0];
    for (best, (name, _)) in best.iter().zip(&ways) {
        let frames_per_s = clip.packets.len() as f64 / best;
        let ratio = base / best;
        println!("  {name:14} {frames_per_s:7.1} frames per CPU second, ratio {ratio:.3}");
    }
    Ok(())
}

fn plain(clip: &Clip) -> Answer<()> {
    let mut decoder = Decoder::open(&clip.stream, 1)?;
    for packet in clip.packets.iter().map(Some).chain([None]) {
        decoder.send(packet)?;
        while decoder.receive()?.is_some() {}
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Copy {
    None,
    After,
    Bands,
}

fn by_unit(clip: &Clip, copy: Copy) -> Answer<()> {
    let (width, height) = (clip.stream.width(), clip.stream.height());
    let format = Nv12 {
        width: width.next_multiple_of(16),
        height: height.next_multiple_of(16),
        stride: width.next_multiple_of(64),
    };
    let bytes = (format.stride * format.height * 3 / 2) as usize;
    let mut buffers = Vec::new();
    for _ in 0..BUFFERS {
        let file = rustix::fs::memfd_create("capture", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, bytes as u64)?;
        buffers.push(Capture::map(file, bytes, Coherence::Coherent)?);
    }
    let mut decoder = AccessUnitDecoder::open(clip.codec, AccessUnitLimits::default())?;
    for (id, packet) in clip.packets.iter().enumerate() {
        let capture = &mut buffers[id % BUFFERS];
        let parts = [packet.data()];
        if copy == Copy::None {
            decoder.decode(&parts, id as u64)?;
            continue;
        }
        let mut writing = capture.begin(format)?;
        let decoded = if copy == Copy::Bands {
            decoder.decode_with(&parts, id as u64, &mut |rows| writing.rows(&rows))?
        } else {
            decoder.decode(&parts, id as u64)?
        };
        if let Some(picture) = decoded.picture {
            writing.finish(picture)?;
        }
    }
    Ok(())
}
