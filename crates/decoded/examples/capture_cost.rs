//! What a picture's way into a CAPTURE buffer costs: CPU time of libavcodec alone, of decoding by
//! access unit, and of both ways to copy.
//!
//! `cargo run --release -p decoded --example capture_cost -- clip.h264 clip.m2v clip.ivf`
//! (Annex B, MPEG-2 elementary streams or IVF; not MP4.)

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use decoded::capture::{Capture, Coherence, Nv12};
use media::{
    AccessUnitDecoder, AccessUnitLimits, Decoder, Destination, Input, OpenOptions, Packet,
    StatelessCodec,
};
use rustix::fs::{MemfdFlags, memfd_create};

type Answer<T> = Result<T, Box<dyn Error>>;

/// Rounds over all ways, so that a change of the machine's speed meets all of them.
const ROUNDS: usize = 5;

/// Times that a clip is decoded on end, so that what a session's beginning costs counts little.
const TIMES: usize = 3;

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

type Way = fn(&Clip, &mut Buffers) -> Answer<()>;

type Buffers = (Nv12, Vec<Capture>);

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
    let ways: [(&str, Way); 4] = [
        ("libavcodec", |clip, _| plain(clip)),
        ("by unit", |clip, buffers| {
            by_unit(clip, buffers, Copy::None)
        }),
        ("copy after", |clip, buffers| {
            by_unit(clip, buffers, Copy::After)
        }),
        ("copy in bands", |clip, buffers| {
            by_unit(clip, buffers, Copy::Bands)
        }),
    ];
    let mut buffers = buffers(&clip)?;
    by_unit(&clip, &mut buffers, Copy::After)?;
    let mut best = [f64::INFINITY; 4];
    for _ in 0..ROUNDS {
        for (best, (_, way)) in best.iter_mut().zip(&ways) {
            let start = cpu_s();
            way(&clip, &mut buffers)?;
            *best = best.min(cpu_s() - start);
        }
    }
    println!("{} {} packets", path.display(), clip.packets.len());
    let base = best[0];
    for (best, (name, _)) in best.iter().zip(&ways) {
        let frames_per_s = clip.packets().count() as f64 / best;
        let ratio = base / best;
        println!("  {name:14} {frames_per_s:7.1} frames per CPU second, ratio {ratio:.3}");
    }
    Ok(())
}

impl Clip {
    fn packets(&self) -> impl Iterator<Item = &Packet> {
        std::iter::repeat_n(&self.packets, TIMES).flatten()
    }
}

fn plain(clip: &Clip) -> Answer<()> {
    let mut decoder = Decoder::open(&clip.stream, 1)?;
    for packet in clip.packets() {
        decoder.send(Some(packet))?;
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

/// Buffers that were mapped and touched, as they are after a session's first frames.
fn buffers(clip: &Clip) -> Answer<Buffers> {
    let (width, height) = (clip.stream.width(), clip.stream.height());
    let format = Nv12 {
        width: width.next_multiple_of(16),
        height: height.next_multiple_of(16),
        stride: width.next_multiple_of(64),
    };
    let bytes = (format.stride * format.height * 3 / 2) as usize;
    let mut buffers = Vec::new();
    for _ in 0..BUFFERS {
        let mut file = File::from(memfd_create("capture", MemfdFlags::CLOEXEC)?);
        file.write_all(&vec![0; bytes])?;
        buffers.push(Capture::map(file.into(), bytes, Coherence::Coherent)?);
    }
    Ok((format, buffers))
}

fn by_unit(clip: &Clip, buffers: &mut Buffers, copy: Copy) -> Answer<()> {
    let (format, buffers) = buffers;
    let mut decoder = AccessUnitDecoder::open(clip.codec, AccessUnitLimits::default())?;
    for (id, packet) in clip.packets().enumerate() {
        let capture = &mut buffers[id % BUFFERS];
        let parts = [packet.data()];
        if copy == Copy::None {
            decoder.decode(&parts, id as u64)?;
            continue;
        }
        let mut writing = capture.begin(*format)?;
        let decoded = if copy == Copy::Bands {
            decoder.decode_with(&parts, id as u64, Destination::Own, &mut |rows| {
                writing.rows(&rows)
            })?
        } else {
            decoder.decode(&parts, id as u64)?
        };
        if let Some(picture) = decoded.picture {
            writing.finish(picture)?;
        }
    }
    Ok(())
}
