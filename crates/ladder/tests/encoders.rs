//! An encoder that fails in the middle of a stream: a real one, whose statistics go to a full disk.
//! The segment it fails in is whole all the same, and another encoder makes the rest.

mod clips;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use clips::{CLIP, Clip, make};
use ladder::{Container, DirSink, Error, Options, Plan, Report, Segment, Sink, check};

/// Writes a folder, hears notices, and does something when a segment of this index is there.
struct Watched<'a> {
    folder: DirSink,
    notices: Vec<String>,
    keys: BTreeMap<(String, u32), String>,
    then: Option<(u32, &'a dyn Fn())>,
}

impl Sink for Watched<'_> {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.folder.plan(plan)
    }

    fn done(&mut self) -> HashMap<(String, u32), u64> {
        HashMap::new()
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.folder.init(rung, bytes)
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        if let Some((_, then)) = self.then.take_if(|(index, _)| *index == segment.index) {
            then();
        }
        let name = (segment.rung.clone(), segment.index);
        self.keys.insert(name, segment.key.clone());
        self.folder.segment(segment)
    }

    fn notice(&mut self, text: &str) -> io::Result<()> {
        self.notices.push(text.to_string());
        Ok(())
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        self.folder.end(report)
    }
}

/// x264 writes a line for each picture to this file, and fails when it cannot.
fn options(container: Container, statistics: &Path, preset: &str) -> Options {
    let parameters = format!("pass=1:stats={}", statistics.display());
    Options {
        container,
        segment_s: 2.0,
        preset: preset.to_string(),
        encoder: Some("libx264".to_string()),
        encoder_options: BTreeMap::from([("x264-params".to_string(), parameters)]),
        workers: Some(2),
        thumbnails: false,
        identity: Some("a clip".to_string()),
        ..Options::default()
    }
}

/// Two rungs, four segments of fifty pictures, sound.
fn clip(folder: &Path) -> PathBuf {
    make(
        folder,
        &Clip {
            picture: "s=480x370:r=25:d=8",
            sound: "d=8",
            arguments: "-c:v mpeg4 -q:v 3 -bf 2",
            ..CLIP
        },
    )
}

/// Pictures that ffmpeg decodes, and what it complains of.
fn pictures(playlist: &Path) -> (usize, String) {
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-allowed_extensions", "ALL", "-i"])
        .arg(playlist)
        .args([
            "-map",
            "0:v",
            "-enc_time_base",
            "1:90000",
            "-f",
            "framemd5",
            "-",
        ])
        .output()
        .expect("ffmpeg must be installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    (lines, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The file that x264 writes while it encodes.
fn written(statistics: &Path) -> PathBuf {
    PathBuf::from(format!("{}.temp", statistics.display()))
}

fn check_run(container: Container, preset: &str, breaks: &dyn Fn(&Path), after: Option<u32>) {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    let statistics = folder.path().join("statistics");
    let output = folder.path().join("out");
    let then = || breaks(&statistics);
    if after.is_none() {
        then();
    }
    let mut sink = Watched {
        folder: DirSink::new(&output),
        notices: Vec::new(),
        keys: BTreeMap::new(),
        then: after.map(|index| (index, &then as &dyn Fn())),
    };
    let options = options(container, &statistics, preset);
    let report = ladder::run(&input, &options, &mut sink, &AtomicBool::new(false)).unwrap();
    let findings: Vec<String> = check::check(&output)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(findings, [""; 0]);
    let [said] = &sink.notices[..] else {
        panic!("{:?}", sink.notices)
    };
    assert!(said.starts_with("libx264 failed in segment "), "{said}");
    assert!(said.contains("; libx264 makes the rest: "), "{said}");
    assert_eq!(report.warnings, std::slice::from_ref(said));
    for rung in ["370p", "360p"] {
        let playlist = output.join(rung).join("playlist.m3u8");
        assert_eq!(pictures(&playlist), (200, String::new()), "{rung}");
    }
    // What the spare encoder made is nobody's for the next run: it would be made otherwise.
    let keyless = sink.keys.values().filter(|key| key.is_empty()).count();
    assert!(keyless > 0 && keyless <= sink.keys.len());
}

#[test]
fn a_segment_in_which_the_encoder_fails_is_whole() {
    // A few kilobytes are buffered: it fails in the middle of the segment.
    let full = |statistics: &Path| symlink("/dev/full", written(statistics)).unwrap();
    for preset in ["ultrafast", "veryfast"] {
        check_run(Container::Ts, preset, &full, None);
    }
    check_run(Container::Cmaf, "ultrafast", &full, None);
}

#[test]
fn an_encoder_that_cannot_be_opened_any_more_is_replaced() {
    let blocked = |statistics: &Path| {
        let file = written(statistics);
        // What is open stays open.
        let _ = fs::remove_file(&file);
        fs::create_dir(&file).unwrap();
    };
    check_run(Container::Ts, "ultrafast", &blocked, Some(0));
}

#[test]
fn an_encoder_that_never_worked_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    for encoder in ["h264_v4l2m2m", "h264_nothing"] {
        let options = Options {
            encoder: Some(encoder.to_string()),
            ..Options::default()
        };
        let mut sink = DirSink::new(folder.path().join("out"));
        let outcome = ladder::run(&input, &options, &mut sink, &AtomicBool::new(false));
        assert!(
            matches!(outcome, Err(Error::Media(_))),
            "{encoder}: {outcome:?}"
        );
    }
}
