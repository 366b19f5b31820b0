//! Streams as jobs, without the kernel: every picture that the ordinary decoder shows is among
//! those that the jobs leave in their buffers, sample for sample; and what a session does with jobs
//! that are missing, cut, changed, or come from the middle.

mod client;

use client::{Seen, Stream, seen_nv12};
use decoded::capture::{Capture, Coherence, Nv12};
use decoded::session::{Error, Session};
use decoded::wire::{self, Codec};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use v4l2::sys::Mapping;
use v4l2::uapi::kinora::{KINORA_DEC_NO_BUFFER, kinora_dec_job};
use zerocopy::IntoBytes;

/// A session and one CAPTURE buffer for each index.
struct Decoding {
    session: Session,
    buffers: HashMap<u32, (Capture, Mapping)>,
}

/// A job's own picture in its buffer; of a first field, whose buffer is half done, only the size.
type Outcome = Result<Seen, Failure>;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Session(#[from] Error),
    #[error(transparent)]
    Capture(#[from] decoded::capture::Error),
}

impl Decoding {
    fn new(codec: Codec) -> Self {
        Self {
            session: Session::open(codec).unwrap(),
            buffers: HashMap::new(),
        }
    }

    fn job(&mut self, message: &[u8]) -> Outcome {
        let job = wire::check(message, None).unwrap();
        let format = job.capture;
        let (capture, memory) = self.buffers.entry(format.index).or_insert_with(|| {
            let file = memfd_create("capture", MemfdFlags::CLOEXEC).unwrap();
            ftruncate(&file, u64::from(format.size) * 4).unwrap();
            let memory = Mapping::new(file.as_fd(), format.size as usize * 4, 0).unwrap();
            let size = format.size as usize * 4;
            (
                Capture::map(file, size, Coherence::Coherent).unwrap(),
                memory,
            )
        });
        let mut writing = capture
            .begin(Nv12 {
                width: format.width,
                height: format.height,
                stride: format.stride,
            })
            .unwrap();
        let place = writing.place();
        let outcome = self
            .session
            .decode(&job, place, &mut |rows| writing.rows(&rows))?;
        let visible = (
            outcome.picture.visible_width(),
            outcome.picture.visible_height(),
        );
        writing.finish(outcome.picture)?;
        if let Some(error) = outcome.error {
            return Err(error.into());
        }
        if job.holds {
            return Ok((format.width, format.height, 0));
        }
        let mut bytes = vec![0; format.size as usize];
        assert!(memory.read(0, &mut bytes));
        let visible = if job.controls.codec() == Codec::H264 {
            (format.width, format.height)
        } else {
            visible
        };
        Ok(seen_nv12(&bytes, visible, (format.height, format.stride)))
    }
}

/// Small streams that the repository carries.
const CARRIED: &[&str] = &[
    "sample_h262_mpeg_audio.ts",
    "field-pictures.m2v",
    "dual-prime.m2v",
    "64x64-I-P-B-P.h264",
    "cars_320x240.h264",
    "clip-a.h264",
    "vp8.webm",
    "bear-vp9-odd-dimensions.webm",
];

fn carried(name: &str) -> Stream {
    carried_without(name, None)
}

fn carried_without(name: &str, lost: Option<usize>) -> Stream {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media/decode");
    client::read_without(&folder.join(name), lost).unwrap()
}

/// How many of the shown pictures are not among those decoded.
fn missing(shown: &[Seen], decoded: &[Seen]) -> usize {
    let mut counts: HashMap<Seen, usize> = HashMap::new();
    for seen in decoded {
        *counts.entry(*seen).or_default() += 1;
    }
    let absent = shown.iter().filter(|seen| {
        let count = counts.entry(**seen).or_default();
        let absent = *count == 0;
        *count = count.saturating_sub(1);
        absent
    });
    absent.count()
}

fn decode(stream: &Stream) -> Vec<Outcome> {
    let mut decoding = Decoding::new(stream.codec);
    stream
        .messages
        .iter()
        .map(|message| decoding.job(message))
        .collect()
}

fn good(outcomes: &[Outcome]) -> Vec<Seen> {
    outcomes.iter().flatten().copied().collect()
}

#[test]
fn carried_streams_are_exact() {
    for name in CARRIED {
        let stream = carried(name);
        let outcomes = decode(&stream);
        for (nth, outcome) in outcomes.iter().enumerate() {
            assert!(outcome.is_ok(), "{name}, job {nth}: {outcome:?}");
        }
        assert!(!stream.shown.is_empty(), "{name}");
        assert_eq!(missing(&stream.shown, &good(&outcomes)), 0, "{name}");
    }
}

/// Changes a message's header.
fn with_head(message: &mut [u8], change: impl FnOnce(&mut kinora_dec_job)) {
    let (mut head, _) = v4l2::from_bytes::<kinora_dec_job>(message).unwrap();
    change(&mut head);
    message[..size_of::<kinora_dec_job>()].copy_from_slice(head.as_bytes());
}

/// The same jobs later in a session.
fn later(messages: &[Vec<u8>], by: u64) -> Vec<Vec<u8>> {
    let mut messages = messages.to_vec();
    for message in &mut messages {
        with_head(message, |head| {
            head.job += by;
            for reference in head.references.iter_mut().filter(|one| one.job != 0) {
                reference.job += by;
            }
        });
    }
    messages
}

/// A client seeks to a key frame, here the first, and says nothing of it.
#[test]
fn seeks_without_a_word_are_exact() {
    for name in CARRIED {
        let stream = carried(name);
        let truth = decode(&stream);
        let count = stream.messages.len();
        for cut in [1, count / 2, count] {
            let mut decoding = Decoding::new(stream.codec);
            for message in &stream.messages[..cut] {
                decoding.job(message).unwrap();
            }
            let again = later(&stream.messages, cut as u64);
            for (nth, (message, truth)) in again.iter().zip(&truth).enumerate() {
                let outcome = decoding.job(message);
                let expected = truth.as_ref().unwrap();
                assert_eq!(
                    &outcome.unwrap(),
                    expected,
                    "{name}, cut at {cut}, job {nth}"
                );
            }
        }
    }
}

/// How the module names a picture of a job that failed.
#[derive(Clone, Copy, Debug)]
enum Named {
    /// The job was done by another worker, which is gone.
    AsDone,
    /// The job failed: its buffer has no picture, or an older one.
    NotAtAll,
}

/// Decodes a stream without some of its jobs. Gives how many of the others were good; these are
/// what they are in the whole stream.
fn decode_without(stream: &Stream, truth: &[Outcome], lost: Range<usize>, named: Named) -> usize {
    let mut decoding = Decoding::new(stream.codec);
    let mut good = 0;
    for (nth, message) in stream.messages.iter().enumerate() {
        if lost.contains(&nth) {
            continue;
        }
        let mut message = message.clone();
        if let Named::NotAtAll = named {
            with_head(&mut message, |head| {
                for reference in &mut head.references {
                    if lost.contains(&(reference.job.wrapping_sub(1) as usize)) {
                        reference.job = 0;
                        reference.index = KINORA_DEC_NO_BUFFER;
                    }
                }
            });
        }
        if let Ok(seen) = decoding.job(&message) {
            good += 1;
            let expected = truth[nth].as_ref().unwrap();
            assert_eq!(&seen, expected, "job {nth} without {lost:?}, {named:?}");
        }
    }
    good
}

/// A picture that depends on one that was not decoded is never called good, and what does not
/// depend on it is.
#[test]
fn what_is_missing_is_not_guessed() {
    for name in CARRIED {
        let stream = carried(name);
        let truth = decode(&stream);
        let count = stream.messages.len();
        for lost in [
            0..1,
            0..count / 2,
            1..2,
            count / 2..count / 2 + 1,
            count / 2..count - 1,
        ] {
            for named in [Named::AsDone, Named::NotAtAll] {
                let good = decode_without(&stream, &truth, lost.clone(), named);
                assert!(good >= lost.start, "{name}: {good} good before {lost:?}");
            }
        }
    }
}

/// A picture that the client itself never saw leaves a gap in H.264's `frame_num`, for which
/// libavcodec makes a picture up and says nothing. Until the next key frame only what cannot depend
/// on it is called good; `gaps` says whether the lost packet leaves one.
#[test]
fn what_is_made_up_for_a_lost_picture_is_not_called_good() {
    for (name, lost, gaps) in [
        ("clip-a.h264", 1, true),
        ("clip-a.h264", 15, true),
        ("cars_320x240.h264", 1, true),
        ("cars_320x240.h264", 2, true),
        ("cars_320x240.h264", 14, true),
        // Nothing refers to it.
        ("cars_320x240.h264", 3, false),
        ("64x64-I-P-B-P.h264", 1, true),
    ] {
        let at = format!("{name} without packet {lost}");
        let truth = decode(&carried(name));
        let stream = carried_without(name, Some(lost));
        let again = carried(name);
        let mut decoding = Decoding::new(stream.codec);
        let mut marked = 0;
        for (nth, message) in stream.messages.iter().enumerate() {
            let expected = truth[nth + usize::from(nth >= lost)].as_ref().unwrap();
            match decoding.job(message) {
                Ok(seen) => assert_eq!(&seen, expected, "{at}: job {nth}"),
                // In B pictures libavcodec notices.
                Err(Failure::Session(Error::Guessed | Error::Damaged(_))) => marked += 1,
                Err(error) => panic!("{at}: job {nth}: {error}"),
            }
        }
        assert_eq!(marked > 0, gaps, "{at}: {marked} marked");
        let after = later(&again.messages, stream.messages.len() as u64);
        for (nth, message) in after.iter().enumerate() {
            let expected = truth[nth].as_ref().unwrap();
            assert_eq!(
                &decoding.job(message).unwrap(),
                expected,
                "{at}: job {nth} again"
            );
        }
    }
}

/// A generator of the same numbers each time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Controls and bytes with anything in them: whatever comes of it, the session goes on, and decodes
/// the whole stream afterwards.
#[test]
fn spoilt_jobs_end_in_errors() {
    let mut numbers = Numbers(0x6b69_6e6f_7261);
    for name in CARRIED {
        let stream = carried(name);
        let truth = decode(&stream);
        let mut decoding = Decoding::new(stream.codec);
        let rounds = 4;
        for round in 0..rounds {
            for message in later(&stream.messages, round * stream.messages.len() as u64) {
                let mut message = message;
                let head = size_of::<kinora_dec_job>();
                for _ in 0..=numbers.below(8) {
                    let at = head + numbers.below(message.len() - head);
                    message[at] ^= 1 << numbers.below(8);
                }
                if round % 2 == 1 {
                    // As if the client had cut the access unit off.
                    let left = message.len() - numbers.below(message.len() - head) / 2;
                    let kept = u32::try_from(left).unwrap();
                    with_head(&mut message, |head| {
                        let data = kept.saturating_sub(head.data_offset);
                        head.data_size = data.min(head.data_size);
                        head.size = head.data_offset + head.data_size;
                    });
                    let (head, _) = v4l2::from_bytes::<kinora_dec_job>(&message).unwrap();
                    message.truncate(head.size as usize);
                }
                // The controls' sizes may be spoilt as well: that the wire notices.
                if wire::check(&message, None).is_ok() {
                    let _ = decoding.job(&message);
                }
            }
        }
        let last = later(&stream.messages, rounds * stream.messages.len() as u64);
        for (nth, (message, truth)) in last.iter().zip(&truth).enumerate() {
            let outcome = decoding.job(message);
            assert_eq!(
                outcome.as_ref().ok(),
                truth.as_ref().ok(),
                "{name}, job {nth}: {outcome:?}"
            );
        }
    }
}

/// Largest stream that is tried here. In the guests every stream is, through a real client.
const MOST_BYTES: u64 = 60_000;

/// The small conformance streams that the media folder has: fields, gaps, marking, odd sizes.
#[test]
fn conformance_streams_are_exact() {
    let Some(folder) = std::env::var_os("KINORA_MEDIA").map(PathBuf::from) else {
        return;
    };
    let manifest = std::fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap();
    let mut read = 0;
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (file, format, bytes) = (columns[0], columns[3], columns[6]);
        let small = bytes.parse().is_ok_and(|bytes: u64| bytes < MOST_BYTES);
        let advertised = ["8 yuv420p", "8 yuvj420p", "8 gray"].contains(&format);
        if !file.starts_with("conformance/") || !small || !advertised {
            continue;
        }
        let Some(stream) = client::read(&folder.join(file)) else {
            continue;
        };
        read += 1;
        let outcomes = decode(&stream);
        for (nth, outcome) in outcomes.iter().enumerate() {
            if let Err(error) = outcome {
                panic!("{file}, job {nth}: {}", decoded::worker::Chain(error));
            }
        }
        assert_eq!(missing(&stream.shown, &good(&outcomes)), 0, "{file}");
    }
    assert!(read > 20, "{read} streams read");
}
