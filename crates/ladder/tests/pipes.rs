//! Pictures that come once: from a pipe, from a program. They give what a file of them gives, as far
//! as the end need not be known beforehand; and what is wrong with them is said exactly.

mod clips;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clips::{CLIP, Clip, make};
use ladder::{
    Config, Container, DirSink, Error, Input, Ladder, Options, PictureRef, Pipe, Plan, RawFormat,
    Report, Segment, Sink, check,
};
use media::Rational;

/// Keeps segments; can be made to wait.
#[derive(Clone, Default)]
struct Kept {
    segments: Arc<Mutex<BTreeMap<(String, u32), Segment>>>,
    /// A segment is taken for each message.
    gate: Option<Arc<Mutex<Receiver<()>>>>,
}

impl Kept {
    /// The bytes, and start and duration.
    fn made(&self) -> BTreeMap<(String, u32), (Vec<u8>, f64, f64)> {
        let segments = self.segments.lock().unwrap();
        let made = segments.iter();
        made.map(|(key, s)| (key.clone(), (s.bytes.clone(), s.start, s.duration)))
            .collect()
    }

    /// Durations of the segments of the first rung.
    fn durations(&self) -> String {
        let segments = self.segments.lock().unwrap();
        let first = segments.keys().next().map(|(rung, _)| rung.clone());
        let own = segments
            .iter()
            .filter(|((rung, _), _)| Some(rung) == first.as_ref());
        let durations: Vec<String> = own.map(|(_, s)| format!("{:.2}", s.duration)).collect();
        durations.join("+")
    }
}

impl Sink for Kept {
    fn plan(&mut self, _plan: &Plan) -> io::Result<()> {
        Ok(())
    }

    fn init(&mut self, _rung: &str, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            let opened = gate.lock().unwrap().recv();
            opened.map_err(io::Error::other)?;
        }
        let key = (segment.rung.clone(), segment.index);
        self.segments.lock().unwrap().insert(key, segment);
        Ok(())
    }

    fn end(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }
}

fn options(container: Container, segment_s: f64) -> Options {
    Options {
        container,
        segment_s,
        preset: "ultrafast".to_string(),
        encoder: Some("libx264".to_string()),
        workers: Some(2),
        ..Options::default()
    }
}

/// Writes pictures of `testsrc2` as they are.
fn pictures(folder: &Path, name: &str, source: &str, arguments: &str) -> PathBuf {
    let clip = Clip {
        name: Box::leak(name.to_string().into_boxed_str()),
        picture: Box::leak(source.to_string().into_boxed_str()),
        arguments: Box::leak(arguments.to_string().into_boxed_str()),
        sound: "",
        ..CLIP
    };
    make(folder, &clip)
}

fn pipe(path: &Path, raw: Option<RawFormat>) -> Pipe {
    Pipe {
        name: "pipe".to_string(),
        source: File::open(path).unwrap(),
        raw,
        audio: None,
    }
}

fn run(input: impl Into<Input>, options: &Options) -> Result<(Kept, Report), Error> {
    let mut sink = Kept::default();
    let report = ladder::run(input, options, &mut sink, &AtomicBool::new(false))?;
    Ok((sink, report))
}

/// Runs a Y4M file once as a file and once from a pipe; says how the pipe's is cut, and whether all
/// bytes are equal.
fn check_like_a_file(source: &str, container: Container, segment_s: f64, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = pictures(folder.path(), "p.y4m", source, "-pix_fmt yuv420p");
    let options = options(container, segment_s);
    let (file, of_file) = run(&path, &options).unwrap();
    let (piped, report) = run(pipe(&path, None), &options).unwrap();
    let equal = file.made() == piped.made();
    assert_eq!(
        format!("{} {equal}", piped.durations()),
        expected,
        "{source}"
    );
    assert_eq!(report.duration_s, of_file.duration_s, "{source}");
    assert_eq!(report.warnings, of_file.warnings, "{source}");
}

#[test]
fn a_pipe_gives_what_a_file_gives() {
    let (ts, cmaf) = (Container::Ts, Container::Cmaf);
    check_like_a_file("s=320x370:r=25:d=4", ts, 2.0, "2.00+2.00 true");
    check_like_a_file("s=320x370:r=25:d=5", cmaf, 2.0, "2.00+2.00+1.00 true");
    check_like_a_file(
        "s=160x90:r=30000/1001:d=7",
        cmaf,
        2.0,
        "2.00+2.00+2.00+1.00 true",
    );
    // One picture, one segment; slides that stand longer than segments last.
    check_like_a_file("s=160x90:r=25:d=0.04", ts, 4.0, "0.04 true");
    check_like_a_file("s=160x90:r=1/3:d=12", ts, 4.0, "4.00+5.00+3.00 true");
    check_like_a_file("s=160x90:r=2:d=8", ts, 1.5, "1.50+1.50+1.50+1.50+2.00 true");
    // A runt is joined where the sum still rounds to the target duration, pipe or file.
    check_like_a_file("s=160x90:r=25:d=8.08", ts, 4.0, "4.00+4.08 true");
    check_like_a_file("s=160x90:r=25:d=8.44", cmaf, 4.0, "4.00+4.44 true");
    // What would have to be evened out is not, because nobody knew.
    check_like_a_file("s=160x90:r=25:d=9", ts, 4.0, "4.00+4.00+1.00 false");
}

#[test]
fn every_format_of_samples() {
    for format in RawFormat::NAMES {
        let folder = tempfile::tempdir().unwrap();
        // Odd rows and columns, and rows that fill no vector register.
        let arguments = format!("-pix_fmt {format} -f rawvideo");
        let path = pictures(folder.path(), "p.raw", "s=162x90:r=25:d=2", &arguments);
        let rate = Rational::new(25, 1);
        let raw = RawFormat::new(format, 162, 90, rate).unwrap();
        let output = folder.path().join("out");
        let mut sink = DirSink::new(&output);
        let options = options(Container::Cmaf, 1.0);
        let cancel = AtomicBool::new(false);
        let report = ladder::run(pipe(&path, Some(raw)), &options, &mut sink, &cancel).unwrap();
        assert_eq!(check::check(&output), [], "{format}");
        assert_eq!(
            (report.duration_s, report.warnings),
            (2.0, vec![]),
            "{format}"
        );
        let off = worst_plane(&path, format, &output.join("90p/playlist.m3u8"));
        assert!(off > 34.0, "{format}: a plane has only {off} dB");
    }
}

/// PSNR of the plane that lost most, by ffmpeg.
fn worst_plane(raw: &Path, format: &str, playlist: &Path) -> f64 {
    let output = Command::new("ffmpeg")
        .args([
            "-v", "info", "-f", "rawvideo", "-s", "162x90", "-r", "25", "-pix_fmt",
        ])
        .args([format, "-i"])
        .arg(raw)
        .args(["-allowed_extensions", "ALL", "-i"])
        .arg(playlist)
        .args([
            "-lavfi",
            "[0]format=yuv420p,settb=1/25,setpts=N[a];[1]settb=1/25,setpts=N[b];[a][b]psnr",
            "-f",
            "null",
            "-",
        ])
        .output()
        .expect("ffmpeg must be installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("PSNR y:"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    let planes = ["y:", "u:", "v:"].map(|name| {
        let value = line
            .split(name)
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or(f64::NAN)
    });
    planes.into_iter().fold(f64::INFINITY, f64::min)
}

#[test]
fn a_stream_ends_with_the_shorter_of_pictures_and_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = pictures(
        folder.path(),
        "p.y4m",
        "s=160x90:r=25:d=4",
        "-pix_fmt yuv420p",
    );
    for (sound, expected) in [
        ("d=9", "2.00+2.00"),
        ("d=4", "2.00+2.00"),
        ("d=3", "2.00+1"),
    ] {
        for container in [Container::Ts, Container::Cmaf] {
            let sound = make(
                folder.path(),
                &Clip {
                    name: "sound.wav",
                    sound,
                    arguments: "-vn",
                    ..CLIP
                },
            );
            let output = folder.path().join("out");
            let mut sink = DirSink::new(&output);
            let input = Pipe {
                audio: Some(sound),
                ..pipe(&path, None)
            };
            let options = options(container, 2.0);
            ladder::run(input, &options, &mut sink, &AtomicBool::new(false)).unwrap();
            assert_eq!(check::check(&output), []);
            let durations = sink.renditions()[0].segments.iter();
            let durations: Vec<String> = durations.map(|s| format!("{:.2}", s.duration)).collect();
            let durations = durations.join("+");
            // Sound ends within two of its frames, which are shorter than a picture.
            let short = expected.ends_with("+1")
                && ["2.00+1.00", "2.00+1.04"].contains(&durations.as_str());
            assert!(
                durations == expected || short,
                "{durations}, not {expected}"
            );
        }
    }
}

/// What a run over these bytes says.
fn said(bytes: &[u8], raw: Option<RawFormat>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    fs::write(&path, bytes).unwrap();
    match run(pipe(&path, raw), &options(Container::Ts, 2.0)) {
        Ok((kept, report)) => format!("{} {:?}", kept.durations(), report.warnings),
        Err(error) => error.to_string(),
    }
}

#[test]
fn bad_pipes_have_exact_outcomes() {
    const SIZE: usize = 32 * 18 * 3 / 2;
    let grey = [128; SIZE];
    let y4m = |header: &str, pictures: usize| {
        let mut bytes = format!("YUV4MPEG2 {header}\n").into_bytes();
        for _ in 0..pictures {
            bytes.extend(b"FRAME\n");
            bytes.extend(grey);
        }
        bytes
    };
    let good = "W32 H18 F25:1 Ip A1:1 C420jpeg";
    let joined = |second: &str| [y4m(good, 30), y4m(second, 25)].concat();
    let mut broken = y4m(good, 30);
    let third = broken.len() - 3 * (SIZE + 6);
    broken[third] = b'X';
    let cut = |bytes: Vec<u8>, less: usize| bytes[..bytes.len() - less].to_vec();
    for (name, bytes, expected) in [
        ("whole", y4m(good, 30), "1.20 []"),
        ("one picture", y4m(good, 1), "0.04 []"),
        ("no picture", y4m(good, 0), "pipe: not one whole picture"),
        ("nothing", vec![], "pipe: empty"),
        (
            "something else",
            b"\x1a\x45\xdf\xa3 something".to_vec(),
            "pipe: no Y4M stream; raw pictures need their format, size and rate",
        ),
        (
            "the beginning of a header",
            b"YUV4MPEG2 W32".to_vec(),
            "pipe: no Y4M stream; raw pictures need their format, size and rate",
        ),
        (
            "cut in a picture",
            cut(y4m(good, 30), 100),
            r#"1.16 ["the last picture has 764 of 864 bytes and was left out"]"#,
        ),
        (
            "cut in a picture's first line",
            cut(y4m(good, 30), SIZE + 2),
            r#"1.16 ["the last picture has 4 of 864 bytes and was left out"]"#,
        ),
        ("joined to its like", joined(good), "2.20 []"),
        (
            "joined to another size",
            joined("W16 H18 F25:1"),
            "pipe: pictures change from 32x18 yuv420p 25/1 to 16x18 yuv420p 25/1 after 30",
        ),
        (
            "joined to another shape",
            joined("W32 H18 F25:1 A4:3 C420jpeg"),
            "pipe: another stream begins after 30 pictures",
        ),
        (
            "damaged",
            broken,
            "pipe: picture 27 does not begin as it should",
        ),
        (
            "no rate",
            y4m("W32 H18 F0:0", 1),
            "pipe: 0/0 pictures per second: more than 0 and at most 1000",
        ),
        (
            "no pictures per second",
            y4m("W32 H18 F0:1", 1),
            "pipe: 0/1 pictures per second: more than 0 and at most 1000",
        ),
        (
            "no size",
            y4m("F25:1", 1),
            "pipe: no such picture size: 0x0",
        ),
        (
            "a size that is none",
            y4m("Wx H18 F25:1", 1),
            "pipe: a Y4M header with Wx",
        ),
        (
            "unknown samples",
            y4m("W32 H18 F25:1 C999", 1),
            "pipe: Y4M with samples C999",
        ),
    ] {
        assert_eq!(said(&bytes, None), expected, "{name}");
    }
    let raw = RawFormat::new("yuv420p", 32, 18, Rational::new(25, 1)).unwrap();
    for (name, bytes, expected) in [
        ("whole", grey.repeat(30), "1.20 []"),
        (
            "cut in a picture",
            cut(grey.repeat(30), 1),
            r#"1.16 ["the last picture has 863 of 864 bytes and was left out"]"#,
        ),
        (
            "less than a picture",
            vec![0; 10],
            "pipe: not one whole picture",
        ),
        ("nothing", vec![], "pipe: not one whole picture"),
    ] {
        assert_eq!(said(&bytes, Some(raw)), expected, "raw, {name}");
    }
}

#[test]
fn formats_that_cannot_be() {
    let rate = |num, den| Rational::new(num, den);
    for (format, width, height, rate, expected) in [
        (
            "yuv42p",
            32,
            18,
            rate(25, 1),
            "no such pixel format: yuv42p",
        ),
        ("vaapi", 32, 18, rate(25, 1), "no such pixel format: vaapi"),
        ("rgb24", 0, 18, rate(25, 1), "no such picture size: 0x18"),
        (
            "rgb24",
            32,
            16_385,
            rate(25, 1),
            "no such picture size: 32x16385",
        ),
        (
            "rgb24",
            32,
            18,
            rate(0, 1),
            "0/1 pictures per second: more than 0 and at most 1000",
        ),
        (
            "rgb24",
            32,
            18,
            rate(-5, 1),
            "-5/1 pictures per second: more than 0 and at most 1000",
        ),
        (
            "rgb24",
            32,
            18,
            rate(1001, 1),
            "1001/1 pictures per second: more than 0 and at most 1000",
        ),
    ] {
        let error = RawFormat::new(format, width, height, rate).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

const WIDTH: u32 = 160;
const HEIGHT: u32 = 90;

/// A grey that depends on the picture's number.
fn grey(number: u64) -> Vec<u8> {
    let luma = vec![16 + (number * 7 % 200) as u8; (WIDTH * HEIGHT) as usize];
    [luma, vec![128; (WIDTH * HEIGHT / 2) as usize]].concat()
}

fn config(timed: bool, container: Container) -> Config {
    Config {
        format: RawFormat::new("yuv420p", WIDTH, HEIGHT, Rational::new(25, 1)).unwrap(),
        timed,
        audio: None,
        options: options(container, 1.0),
    }
}

fn give(ladder: &mut Ladder, samples: &[u8], pts_s: Option<f64>) -> Result<bool, Error> {
    let (luma, chroma) = samples.split_at((WIDTH * HEIGHT) as usize);
    let (blue, red) = chroma.split_at(chroma.len() / 2);
    let width = WIDTH as usize;
    ladder.write_frame(&PictureRef {
        format: "yuv420p",
        width: WIDTH,
        height: HEIGHT,
        planes: &[luma, blue, red],
        strides: &[width, width / 2, width / 2],
        pts_s,
    })
}

#[test]
fn a_program_gives_what_a_pipe_gives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("raw");
    let mut file = File::create(&path).unwrap();
    for number in 0..60 {
        file.write_all(&grey(number)).unwrap();
    }
    for container in [Container::Ts, Container::Cmaf] {
        let config = config(false, container);
        let (piped, _) = run(pipe(&path, Some(config.format)), &config.options).unwrap();
        let kept = Kept::default();
        let mut ladder = Ladder::new(config, kept.clone()).unwrap();
        for number in 0..60 {
            assert!(give(&mut ladder, &grey(number), None).unwrap());
        }
        let report = ladder.finish().unwrap();
        assert_eq!(
            (kept.durations().as_str(), report.duration_s),
            ("1.00+1.40", 2.4)
        );
        assert!(kept.made() == piped.made(), "{container:?}");
    }
}

#[test]
fn times_of_a_program() {
    let second = |n: u64| n as f64 / 25.0;
    let check = |times: &[f64], expected: &str| {
        let kept = Kept::default();
        let mut ladder = Ladder::new(config(true, Container::Ts), kept.clone()).unwrap();
        for (number, &time) in times.iter().enumerate() {
            assert!(give(&mut ladder, &grey(number as u64), Some(time)).unwrap());
        }
        let report = ladder.finish().unwrap();
        assert_eq!(
            format!("{} {:?}", kept.durations(), report.warnings),
            expected
        );
    };
    let steady: Vec<f64> = (0..50).map(second).collect();
    check(&steady, "1.00+1.00 []");
    // Any clock, also one that starts before 0.
    check(
        &steady.iter().map(|t| t + 1e6).collect::<Vec<_>>(),
        "1.00+1.00 []",
    );
    check(
        &steady.iter().map(|t| t - 77.0).collect::<Vec<_>>(),
        "1.00+1.00 []",
    );
    let jump = |by: f64| {
        let late = |n: u64| second(n) + if n >= 30 { by } else { 0.0 };
        (0..50).map(late).collect::<Vec<f64>>()
    };
    let closed = r#"1.00+1.00 ["1 jumps of the pictures' times were closed"]"#;
    check(&jump(3.0 * 3600.0), closed);
    check(&jump(-3.0 * 3600.0), closed);
    check(
        &jump(f64::INFINITY),
        r#"1.00+1.00 ["1 jumps of the pictures' times were closed", "19 pictures had no usable time and were put after the one before"]"#,
    );
    // A pause is one: the picture before stands.
    check(
        &jump(2.0),
        r#"1.00+1.00+1.20+0.80 ["1 pictures were shown again where none came"]"#,
    );
    let mut twice = steady.clone();
    twice[20] = twice[19];
    twice[30] = twice[29] - 0.1;
    check(
        &twice,
        r#"1.00+1.00 ["2 pictures had no usable time and were put after the one before"]"#,
    );
    check(&[f64::NAN, 0.04], "0.08 []");
}

#[test]
fn a_picture_that_does_not_fit_is_refused_and_the_next_goes_on() {
    let kept = Kept::default();
    let mut ladder = Ladder::new(config(false, Container::Ts), kept.clone()).unwrap();
    let samples = grey(0);
    assert!(give(&mut ladder, &samples, None).unwrap());
    let good = PictureRef {
        format: "yuv420p",
        width: WIDTH,
        height: HEIGHT,
        planes: &[
            &samples[..14_400],
            &samples[14_400..18_000],
            &samples[18_000..],
        ],
        strides: &[160, 80, 80],
        pts_s: None,
    };
    for (picture, expected) in [
        (
            PictureRef { width: 162, ..good },
            "picture 1: a picture of 162x90 yuv420p in a stream of 160x90 yuv420p",
        ),
        (
            PictureRef {
                format: "nv12",
                ..good
            },
            "picture 1: a picture of 160x90 nv12 in a stream of 160x90 yuv420p",
        ),
        (
            PictureRef {
                planes: &good.planes[..2],
                ..good
            },
            "picture 1: plane 2 has 0 of 3600 bytes",
        ),
        (
            PictureRef {
                strides: &[160, 80, 90],
                ..good
            },
            "picture 1: plane 2 has 3600 of 4040 bytes",
        ),
        (
            PictureRef {
                strides: &[100, 80, 80],
                ..good
            },
            "picture 1: plane 0 has 14400 of 9060 bytes",
        ),
        (
            PictureRef {
                pts_s: Some(1.0),
                ..good
            },
            "picture 1: it has a time, and the others have none",
        ),
    ] {
        let error = ladder.write_frame(&picture).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert!(ladder.write_frame(&good).unwrap());
    assert_eq!(ladder.finish().unwrap().duration_s, 0.08);
}

#[test]
fn a_program_waits_while_the_run_has_enough_to_do() {
    let (open, gate) = mpsc::channel();
    let kept = Kept {
        gate: Some(Arc::new(Mutex::new(gate))),
        ..Kept::default()
    };
    let mut ladder = Ladder::new(config(false, Container::Ts), kept.clone()).unwrap();
    let given = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&given);
    let program = std::thread::spawn(move || {
        for number in 0..2000 {
            give(&mut ladder, &grey(number), None).unwrap();
            *counter.lock().unwrap() += 1;
        }
        ladder.finish().unwrap()
    });
    // Nothing is taken: the program comes to a stop.
    let mut last = (0, Instant::now());
    while last.0 == 0 || last.1.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
        let now = *given.lock().unwrap();
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    assert!(
        (25..1900).contains(&last.0),
        "{} pictures were taken",
        last.0
    );
    // As many segments and thumbnails.
    for _ in 0..160 {
        open.send(()).unwrap();
    }
    assert_eq!(program.join().unwrap().duration_s, 80.0);
}

#[test]
fn what_ends_a_run_reaches_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("file");
    fs::write(&output, "").unwrap();
    let mut ladder = Ladder::new(config(false, Container::Ts), DirSink::new(&output)).unwrap();
    let outcome = (0..2000).try_for_each(|number| give(&mut ladder, &grey(number), None).map(drop));
    let Err(Error::Sink(error)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.to_string().contains("file"), "{error}");
    assert!(matches!(ladder.finish(), Err(Error::Cancelled)));

    // The sound ends first: nothing more is taken, and the report is there.
    let sound = make(
        folder.path(),
        &Clip {
            name: "sound.wav",
            sound: "d=1",
            arguments: "-vn",
            ..CLIP
        },
    );
    let config = Config {
        audio: Some(sound),
        ..config(false, Container::Ts)
    };
    let mut ladder = Ladder::new(config, Kept::default()).unwrap();
    let taken = (0..2000).find(|&number| !give(&mut ladder, &grey(number), None).unwrap());
    assert!(taken.is_some(), "all pictures were taken");
    let report = ladder.finish().unwrap();
    assert!((1.0..=1.08).contains(&report.duration_s), "{report:?}");
}

#[test]
fn a_silent_pipe_does_not_hold_up_a_cancel() {
    let (reader, mut writer) = UnixStream::pair().unwrap();
    let header = b"YUV4MPEG2 W32 H18 F25:1\nFRAME\n";
    for given in [&header[..0], &header[..5], header] {
        writer.write_all(given).unwrap();
        let input = Pipe {
            name: "pipe".to_string(),
            source: File::from(std::os::fd::OwnedFd::from(reader.try_clone().unwrap())),
            raw: None,
            audio: None,
        };
        let cancel = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancel);
        let running = std::thread::spawn(move || {
            let mut sink = Kept::default();
            ladder::run(input, &options(Container::Ts, 1.0), &mut sink, &flag)
        });
        std::thread::sleep(Duration::from_millis(100));
        cancel.store(true, Ordering::Relaxed);
        let asked = Instant::now();
        let outcome = running.join().unwrap();
        assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{:?}",
            asked.elapsed()
        );
    }
}
