//! How a run behaves whatever the clip: the same bytes again, resumption, cancelling, a sink that
//! fails, input that is broken.

mod clips;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clips::{CLIP, Clip, make};
use ladder::{Container, DirSink, Error, Options, Plan, Progress, Report, Segment, Sink, check};

/// Keeps everything, and can be made to fail or to cancel.
#[derive(Default)]
struct Memory {
    segments: BTreeMap<(String, u32), Vec<u8>>,
    order: Vec<(String, u32)>,
    inits: BTreeMap<String, Vec<u8>>,
    plan: Option<Plan>,
    done: HashMap<(String, u32), u64>,
    progress: Vec<Progress>,
    ended: bool,
    fail_after: Option<usize>,
    cancel_after: Option<(usize, Arc<AtomicBool>)>,
}

impl Sink for Memory {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.plan = Some(plan.clone());
        Ok(())
    }

    fn done(&mut self) -> HashMap<(String, u32), u64> {
        self.done.clone()
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.inits.insert(rung.to_string(), bytes.to_vec());
        Ok(())
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        if self.fail_after == Some(self.order.len()) {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "no space left on device",
            ));
        }
        let key = (segment.rung, segment.index);
        self.order.push(key.clone());
        self.segments.insert(key, segment.bytes);
        if let Some((count, cancel)) = &self.cancel_after {
            cancel.store(self.order.len() >= *count, Ordering::Relaxed);
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        self.progress.push(*progress);
        Ok(())
    }

    fn end(&mut self, _report: &Report) -> io::Result<()> {
        self.ended = true;
        Ok(())
    }
}

fn options(container: Container, workers: usize) -> Options {
    Options {
        container,
        segment_s: 1.0,
        preset: "ultrafast".to_string(),
        encoder: Some("libx264".to_string()),
        workers: Some(workers),
        ..Options::default()
    }
}

/// Two rungs, four segments, sound.
fn clip(folder: &Path) -> PathBuf {
    let picture = "s=480x370:r=25:d=4";
    make(
        folder,
        &Clip {
            picture,
            sound: "d=4",
            ..CLIP
        },
    )
}

fn run(input: &Path, options: &Options) -> Memory {
    run_rest(input, options, HashMap::new())
}

/// Makes what is not done.
fn run_rest(input: &Path, options: &Options, done: HashMap<(String, u32), u64>) -> Memory {
    let mut sink = Memory {
        done,
        ..Memory::default()
    };
    ladder::run(input, options, &mut sink, &AtomicBool::new(false)).unwrap();
    sink
}

#[test]
fn the_same_bytes_whatever_the_workers() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    for container in [Container::Ts, Container::Cmaf] {
        let first = run(&input, &options(container, 1));
        assert!(first.ended);
        for workers in [1, 2, 5] {
            let again = run(&input, &options(container, workers));
            assert!(
                first.segments == again.segments,
                "{container:?} with {workers} workers"
            );
            assert_eq!(first.inits, again.inits);
        }
    }
}

#[test]
fn segments_come_in_order_and_progress_rises() {
    let folder = tempfile::tempdir().unwrap();
    let sink = run(&clip(folder.path()), &options(Container::Cmaf, 3));
    for name in ["370p", "360p", "audio"] {
        let indices: Vec<u32> = sink
            .order
            .iter()
            .filter(|(rung, _)| rung == name)
            .map(|(_, index)| *index)
            .collect();
        assert_eq!(indices, [0, 1, 2, 3], "{name}");
    }
    assert!(
        sink.progress
            .windows(2)
            .all(|pair| pair[0].fraction.unwrap() <= pair[1].fraction.unwrap())
    );
    let last = sink.progress.last().unwrap();
    assert!(
        (last.fraction.unwrap() - 1.0).abs() < 1e-6 && (last.media_s - 4.0).abs() < 1e-3,
        "{last:?}"
    );
    assert_eq!(last.eta_s.map(|eta| eta.round() as i64), Some(0));
}

/// What `Sink::done` gives, of segments that a whole run delivered.
fn sizes(whole: &Memory, done: &HashSet<(String, u32)>) -> HashMap<(String, u32), u64> {
    let size = |key: &(String, u32)| whole.segments[key].len() as u64;
    done.iter().map(|key| (key.clone(), size(key))).collect()
}

#[test]
fn a_resumed_run_makes_the_rest_and_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    for container in [Container::Ts, Container::Cmaf] {
        let whole = run(&input, &options(container, 2));
        let keys: Vec<_> = whole.segments.keys().cloned().collect();
        let some: HashSet<_> = keys.iter().step_by(2).cloned().collect();
        let first_half: HashSet<_> = keys
            .iter()
            .filter(|(_, index)| *index < 2)
            .cloned()
            .collect();
        let big_rung: HashSet<_> = keys
            .iter()
            .filter(|(rung, _)| rung == "370p")
            .cloned()
            .collect();
        let all: HashSet<_> = keys.iter().cloned().collect();
        for done in [some, first_half, big_rung, all] {
            let rest = run_rest(&input, &options(container, 2), sizes(&whole, &done));
            let made: HashSet<_> = rest.segments.keys().cloned().collect();
            assert_eq!(made.len() + done.len(), keys.len());
            for (key, bytes) in &rest.segments {
                assert!(
                    !done.contains(key) && *bytes == whole.segments[key],
                    "{container:?} {key:?}"
                );
            }
            assert!(rest.ended);
            assert_eq!(
                rest.progress.last().and_then(|progress| progress.fraction),
                Some(1.0)
            );
        }
    }
}

#[test]
fn a_copied_rung_resumes_too() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p";
    let picture = "s=480x370:r=25:d=4";
    let input = make(
        folder.path(),
        &Clip {
            arguments,
            picture,
            sound: "d=4",
            ..CLIP
        },
    );
    let whole = run(&input, &options(Container::Ts, 2));
    assert!(whole.plan.as_ref().unwrap().rungs[0].copied);
    let done = HashSet::from([("370p".to_string(), 1), ("360p".to_string(), 0)]);
    let rest = run_rest(&input, &options(Container::Ts, 1), sizes(&whole, &done));
    // Two rungs and the thumbnails, without what is done.
    assert_eq!(rest.segments.len(), 10);
    assert!(
        rest.segments
            .iter()
            .all(|(key, bytes)| *bytes == whole.segments[key])
    );
}

#[test]
fn cancel_ends_the_run_soon() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    let cancel = Arc::new(AtomicBool::new(false));
    let mut sink = Memory {
        cancel_after: Some((2, Arc::clone(&cancel))),
        ..Memory::default()
    };
    let error = ladder::run(&input, &options(Container::Ts, 2), &mut sink, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(sink.order.len() < 8 && !sink.ended, "{:?}", sink.order);

    // From outside, in the middle of slow work.
    let slow = Options {
        preset: "veryslow".to_string(),
        ..options(Container::Ts, 2)
    };
    let cancel = Arc::new(AtomicBool::new(false));
    let (flag, slow_input) = (Arc::clone(&cancel), input.clone());
    let running = std::thread::spawn(move || {
        let ended = ladder::run(&slow_input, &slow, &mut Memory::default(), &flag);
        (ended.is_err(), Instant::now())
    });
    std::thread::sleep(Duration::from_millis(300));
    cancel.store(true, Ordering::Relaxed);
    let asked = Instant::now();
    let (cancelled, ended) = running.join().unwrap();
    assert!(cancelled);
    // A tenth of a second on a quiet machine; tests run on busy ones.
    assert!(
        ended - asked < Duration::from_secs(2),
        "{:?}",
        ended - asked
    );
}

#[test]
fn a_failing_sink_ends_the_run_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    for fail_after in [0, 3] {
        let mut sink = Memory {
            fail_after: Some(fail_after),
            ..Memory::default()
        };
        let cancel = AtomicBool::new(false);
        let error =
            ladder::run(&input, &options(Container::Ts, 2), &mut sink, &cancel).unwrap_err();
        let Error::Sink(error) = error else {
            panic!("{error}")
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((sink.order.len(), sink.ended), (fail_after, false));
    }
}

#[test]
fn a_folder_that_is_served_names_only_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    let output = folder.path().join("out");
    let watched = output.clone();
    let seen = Arc::new(AtomicBool::new(false));
    let saw = Arc::clone(&seen);
    let mut sink = DirSink::new(&output).on_progress(move |_| {
        for rung in ["370p", "360p"] {
            let Ok(text) = fs::read_to_string(watched.join(rung).join("playlist.m3u8")) else {
                continue;
            };
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                assert!(watched.join(rung).join(line).exists(), "{line}");
                saw.store(true, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..2 {
        ladder::run(
            &input,
            &options(Container::Ts, 2),
            &mut sink,
            &AtomicBool::new(false),
        )
        .unwrap();
        assert_eq!(check::check(&output), []);
    }
    assert!(seen.load(Ordering::Relaxed));
    // A shorter run over it takes away its own files and nothing else.
    fs::write(output.join("370p").join("notes.txt"), "mine").unwrap();
    let longer = Options {
        segment_s: 4.0,
        ..options(Container::Ts, 2)
    };
    ladder::run(&input, &longer, &mut sink, &AtomicBool::new(false)).unwrap();
    assert_eq!(check::check(&output), []);
    let mut names: Vec<_> = fs::read_dir(output.join("370p"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["00000.ts", "iframes.m3u8", "notes.txt", "playlist.m3u8"]
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    let output = folder.path().join("file");
    fs::write(&output, "").unwrap();
    let mut sink = DirSink::new(&output);
    let error = ladder::run(
        &input,
        &options(Container::Ts, 1),
        &mut sink,
        &AtomicBool::new(false),
    );
    let Err(Error::Sink(error)) = error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("file"), "{error}");
}

/// What a run over these bytes says; a run that succeeds gives its warnings.
fn outcome(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    let mut sink = Memory::default();
    match ladder::run(
        &path,
        &options(Container::Ts, 2),
        &mut sink,
        &AtomicBool::new(false),
    ) {
        Ok(report) => {
            let of_rungs = sink
                .segments
                .keys()
                .filter(|(name, _)| name != "thumbnails");
            format!("{} segments, {:?}", of_rungs.count(), report.warnings)
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn broken_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(clip(folder.path())).unwrap();
    let sound = make(
        folder.path(),
        &Clip {
            name: "sound.mp4",
            arguments: "-vn -c:a aac",
            ..CLIP
        },
    );
    let sound = fs::read(sound).unwrap();
    for (name, bytes) in [
        ("empty.mp4", &b""[..]),
        ("text.mp4", b"this is no video"),
        ("header.mp4", &whole[..whole.len() / 2]),
        ("sound.mp4", &sound),
    ] {
        let said = outcome(folder.path(), name, bytes);
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn damage_in_the_middle_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "-c:v libx264 -preset veryfast -g 25 -bf 2 -c:a aac -f mpegts";
    let picture = "s=160x90:r=25:d=4";
    let input = make(
        folder.path(),
        &Clip {
            name: "s.ts",
            arguments,
            picture,
            sound: "d=4",
            ..CLIP
        },
    );
    let mut bytes = fs::read(input).unwrap();
    let middle = bytes.len() / 2;
    for at in (middle..middle + 20_000).step_by(97) {
        bytes[at] ^= 0x5a;
    }
    let said = outcome(folder.path(), "damaged.ts", &bytes);
    assert!(said.starts_with("4 segments"), "{said}");
    let said = outcome(folder.path(), "cut.ts", &bytes[..middle]);
    assert!(said.contains(" segments"), "{said}");
}

#[test]
fn joined_recordings_play_through() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "-c:v libx264 -preset veryfast -g 25 -c:a aac -f mpegts";
    let picture = "s=160x90:r=25:d=2";
    let part = make(
        folder.path(),
        &Clip {
            name: "p.ts",
            arguments,
            picture,
            ..CLIP
        },
    );
    let part = fs::read(part).unwrap();
    let joined = [part.clone(), part].concat();
    let said = outcome(folder.path(), "joined.ts", &joined);
    assert!(said.starts_with("4 segments"), "{said}");
    assert!(said.contains("timestamps jump in 1 places"), "{said}");
}

/// The whole file is in the reader's buffer when libav meets its end, and is read from there again.
#[test]
fn a_stream_that_just_fits_the_buffer_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "-c:v libx264 -preset veryfast -c:a aac -f mpegts";
    let clip = Clip {
        name: "small.ts",
        arguments,
        ..CLIP
    };
    let mut bytes = fs::read(make(folder.path(), &clip)).unwrap();
    let mut null = vec![0xff; 188];
    null[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    while bytes.len() < 240_000 {
        bytes.extend(&null);
    }
    let said = outcome(folder.path(), "padded.ts", &bytes);
    assert_eq!(said, "1 segments, []");
}
