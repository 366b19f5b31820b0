//! Low-Latency HLS: segments that go out in parts while they are made.

mod clips;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clips::{CLIP, Clip, make};
use ladder::{
    Config, Container, DirSink, Error, Ladder, Options, Part, PictureRef, Pipe, Plan, RawFormat,
    Report, Segment, Sink, check,
};
use media::Rational;

/// What came, in order.
#[derive(Debug, Clone)]
enum Piece {
    Init(String),
    Part(Part),
    Segment(Segment),
}

/// Remembers everything, and writes a folder.
struct Watched {
    pieces: Arc<Mutex<Vec<Piece>>>,
    plan: Arc<Mutex<Option<Plan>>>,
    folder: DirSink,
}

impl Watched {
    fn new(output: &Path) -> Watched {
        Watched {
            pieces: Arc::default(),
            plan: Arc::default(),
            folder: DirSink::new(output),
        }
    }

    fn note(&self, piece: Piece) {
        self.pieces.lock().unwrap().push(piece);
    }
}

impl Sink for Watched {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        *self.plan.lock().unwrap() = Some(plan.clone());
        self.folder.plan(plan)
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.note(Piece::Init(rung.to_string()));
        self.folder.init(rung, bytes)
    }

    fn part(&mut self, part: Part) -> io::Result<()> {
        self.note(Piece::Part(part.clone()));
        self.folder.part(part)
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        self.note(Piece::Segment(segment.clone()));
        self.folder.segment(segment)
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        self.folder.end(report)
    }
}

fn options(container: Container, part_s: f64) -> Options {
    Options {
        container,
        segment_s: 2.0,
        part_s: Some(part_s),
        preset: "ultrafast".to_string(),
        encoder: Some("libx264".to_string()),
        workers: Some(2),
        thumbnails: false,
        ..Options::default()
    }
}

fn decode_quietly(playlist: &Path) -> String {
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-allowed_extensions", "ALL", "-i"])
        .arg(playlist)
        .args(["-enc_time_base", "1:90000", "-f", "null", "-"])
        .output()
        .expect("ffmpeg must be installed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs pictures and sound through; `expected` are the durations of the parts of the rung.
fn check_parts(picture: &'static str, container: Container, part_s: f64, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let clip = |name, arguments| Clip {
        name,
        picture,
        sound: "d=9",
        arguments,
        ..CLIP
    };
    let pictures = make(folder.path(), &clip("p.y4m", "-an -pix_fmt yuv420p"));
    let sound = make(folder.path(), &clip("s.wav", "-vn"));
    let output = folder.path().join("out");
    let mut sink = Watched::new(&output);
    let pipe = Pipe {
        name: "pipe".to_string(),
        source: File::open(pictures).unwrap(),
        raw: None,
        audio: Some(sound),
    };
    let (pieces, plan) = (Arc::clone(&sink.pieces), Arc::clone(&sink.plan));
    let cancel = AtomicBool::new(false);
    let report = ladder::run(pipe, &options(container, part_s), &mut sink, &cancel).unwrap();
    assert_eq!(report.warnings, [""; 0]);
    let findings: Vec<String> = check::check(&output)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(findings, [""; 0], "{picture} {container:?}");
    let longest = plan.lock().unwrap().as_ref().unwrap().part_s.unwrap();
    let mut open: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    let mut durations = Vec::new();
    for piece in pieces.lock().unwrap().iter() {
        match piece {
            Piece::Init(rung) => assert!(!open.contains_key(rung), "{rung}"),
            Piece::Part(part) => {
                let parts = open.entry(part.rung.clone()).or_default();
                assert_eq!(part.index as usize, parts.len(), "in order");
                assert!(
                    part.duration <= longest + 1e-9,
                    "{} {}",
                    part.rung,
                    part.duration
                );
                assert!(part.index > 0 || part.independent);
                assert!(part.date.is_some() && part.entered.is_some());
                parts.push(part.clone());
            }
            Piece::Segment(segment) => {
                let parts = open.insert(segment.rung.clone(), Vec::new()).unwrap();
                assert!(parts.iter().all(|part| part.segment == segment.index));
                let whole: Vec<u8> = parts.iter().flat_map(|part| part.bytes.clone()).collect();
                assert!(whole == segment.bytes, "{} {}", segment.rung, segment.index);
                let sum: f64 = parts.iter().map(|part| part.duration).sum();
                assert!(
                    (sum - segment.duration).abs() < 1e-4,
                    "{sum} {}",
                    segment.duration
                );
                let (_, rest) = parts.split_last().unwrap();
                assert!(
                    rest.iter().all(|part| part.duration >= 0.85 * longest),
                    "{longest}"
                );
                assert!(parts.iter().all(|part| part.codecs == segment.codecs));
                if segment.rung == "180p" {
                    let texts = parts.iter().map(|part| format!("{:.2}", part.duration));
                    durations.push(texts.collect::<Vec<_>>().join("+"));
                }
            }
        }
    }
    assert!(open.values().all(Vec::is_empty), "parts without a segment");
    assert_eq!(durations.join(" "), expected, "{picture} {container:?}");
    for entry in fs::read_dir(&output).unwrap() {
        let playlist = entry.unwrap().path().join("playlist.m3u8");
        if playlist.exists() {
            assert_eq!(decode_quietly(&playlist), "", "{playlist:?}");
        }
    }
}

#[test]
fn parts_are_pieces_of_their_segments() {
    let (ts, cmaf) = (Container::Ts, Container::Cmaf);
    let half = "0.48+0.48+0.48+0.48+0.08";
    check_parts("s=320x180:r=25:d=4", ts, 0.5, &format!("{half} {half}"));
    check_parts("s=320x180:r=25:d=4", cmaf, 0.5, &format!("{half} {half}"));
    check_parts("s=320x180:r=25:d=3", cmaf, 1.0, "1.00+1.00 1.00");
    check_parts(
        "s=320x180:r=30000/1001:d=3.1",
        ts,
        0.2,
        // Whole pictures only.
        &format!(
            "{}+0.17 {}+0.10",
            ["0.17"; 11].join("+"),
            ["0.17"; 6].join("+")
        ),
    );
    // One picture that belongs to the next segment by a hair; slow pictures.
    check_parts("s=320x180:r=2:d=4", cmaf, 1.0, "1.00+1.00 1.00+1.00");
}

#[test]
fn durations_that_cannot_be() {
    for (part_s, file) in [(0.1, false), (1.1, false), (f64::NAN, false), (0.5, true)] {
        let folder = tempfile::tempdir().unwrap();
        let name = if file { "f.mp4" } else { "p.y4m" };
        let path = make(
            folder.path(),
            &Clip {
                name,
                sound: "",
                arguments: "-pix_fmt yuv420p",
                ..CLIP
            },
        );
        let mut sink = DirSink::new(folder.path().join("out"));
        let (options, cancel) = (options(Container::Ts, part_s), AtomicBool::new(false));
        let outcome = match file {
            true => ladder::run(&path, &options, &mut sink, &cancel),
            false => {
                let pipe = Pipe {
                    name: "pipe".to_string(),
                    source: File::open(path).unwrap(),
                    raw: None,
                    audio: None,
                };
                ladder::run(pipe, &options, &mut sink, &cancel)
            }
        };
        assert!(
            matches!(outcome, Err(Error::PartDuration { .. })),
            "{part_s}: {outcome:?}"
        );
    }
}

#[test]
fn a_part_is_there_with_its_last_picture() {
    for container in [Container::Ts, Container::Cmaf] {
        let folder = tempfile::tempdir().unwrap();
        let sink = Watched::new(&folder.path().join("out"));
        let pieces = Arc::clone(&sink.pieces);
        let config = Config {
            format: RawFormat::new("yuv420p", 320, 180, Rational::new(25, 1)).unwrap(),
            timed: false,
            audio: None,
            options: options(container, 0.4),
        };
        let mut ladder = Ladder::new(config, sink).unwrap();
        let samples = vec![100; 320 * 180 * 3 / 2];
        let planes = [
            &samples[..57_600],
            &samples[57_600..72_000],
            &samples[72_000..],
        ];
        let picture = PictureRef {
            format: "yuv420p",
            width: 320,
            height: 180,
            planes: &planes,
            strides: &[320, 160, 160],
            pts_s: None,
        };
        for part in 1..=4 {
            for _ in 0..10 {
                ladder.write_frame(&picture).unwrap();
            }
            // Nothing more is given: what was given must come out.
            let waited = Instant::now();
            let parts = || {
                let pieces = pieces.lock().unwrap();
                pieces
                    .iter()
                    .filter(|piece| matches!(piece, Piece::Part(_)))
                    .count()
            };
            while parts() < part {
                assert!(waited.elapsed() < Duration::from_secs(10), "part {part}");
                std::thread::sleep(Duration::from_millis(5));
            }
            let playlist = folder.path().join("out/180p/playlist.m3u8");
            let there = || {
                let text = fs::read_to_string(&playlist).unwrap_or_default();
                text.matches("#EXT-X-PART:").count() == part
            };
            while !there() {
                assert!(
                    waited.elapsed() < Duration::from_secs(10),
                    "part {part} in the playlist"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        ladder.finish().unwrap();
    }
}
