//! Live sources, served by others: ffmpeg over RTMP and SRT, GStreamer's server over RTSP. They play
//! at their own pace, go away and come back.

mod clips;

use std::fs;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clips::{CLIP, Clip, make};
use ladder::{Container, DirSink, Error, Live, Options, Plan, Report, Segment, Sink, check};

/// A server that is killed when it goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves a test picture and a tone for so many seconds, at the pace of a clock.
fn ffmpeg(seconds: u32, arguments: &str, address: &str) -> Server {
    let picture = format!("testsrc2=s=320x180:r=25:d={seconds}");
    let tone = format!("sine=r=48000:d={seconds}");
    let child = Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-f", "lavfi", "-i", &picture])
        .args(["-re", "-f", "lavfi", "-i", &tone])
        .args("-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac".split(' '))
        .args(arguments.split(' '))
        .arg(address)
        .stdin(Stdio::null())
        .spawn();
    Server(child.expect("ffmpeg must be installed"))
}

fn rtmp(seconds: u32, port: u16) -> Server {
    let address = format!("rtmp://127.0.0.1:{port}/live/key");
    ffmpeg(seconds, "-f flv -listen 1", &address)
}

fn srt(seconds: u32, port: u16) -> Server {
    let address = format!("srt://127.0.0.1:{port}?mode=listener");
    ffmpeg(seconds, "-f mpegts", &address)
}

/// GStreamer's RTSP server, by its own bindings for Python, plays this file over and over.
fn rtsp(file: &Path, port: u16) -> Server {
    const SCRIPT: &str = r#"
import sys, gi
gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(sys.argv[2])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch('( filesrc location=' + sys.argv[1] + ' ! qtdemux name=d'
    ' d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 pt=96'
    ' d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )')
server.get_mount_points().add_factory('/cam', factory)
server.attach(None)
GLib.MainLoop().run()
"#;
    let child = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT])
        .arg(file)
        .arg(port.to_string())
        .stdin(Stdio::null())
        .spawn();
    Server(child.expect("python3 must be installed"))
}

fn tcp_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn udp_port() -> u16 {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

/// Waits until somebody listens. Asking the port itself would be taken for the client.
fn listening(port: u16) {
    let local = format!(":{port:04X} ");
    let waited = Instant::now();
    loop {
        let tables = ["tcp", "tcp6", "udp", "udp6"];
        let tables = tables.map(|table| fs::read_to_string(format!("/proc/net/{table}")));
        let lines = |table: &String| {
            // Local address, remote address, and 0A or 07: listening, or bound.
            let mut lines = table
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            lines.any(|line| {
                let local = format!("{} ", line[1]).ends_with(&local);
                local && matches!(line[3], "0A" | "07")
            })
        };
        if tables.iter().flatten().any(lines) {
            return;
        }
        assert!(
            waited.elapsed() < Duration::from_secs(20),
            "nobody listens at {port}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a folder and remembers what was said, and when.
struct Watched {
    folder: DirSink,
    notices: Arc<Mutex<Vec<String>>>,
    segments: Arc<Mutex<Vec<Segment>>>,
}

impl Sink for Watched {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        assert_eq!((plan.duration_s, plan.segments), (None, None));
        self.folder.plan(plan)
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.folder.init(rung, bytes)
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        self.segments.lock().unwrap().push(segment.clone());
        self.folder.segment(segment)
    }

    fn notice(&mut self, text: &str) -> io::Result<()> {
        self.notices.lock().unwrap().push(text.to_string());
        Ok(())
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        self.folder.end(report)
    }
}

/// A run on a thread of its own.
struct Run {
    running: std::thread::JoinHandle<Result<Report, Error>>,
    ends: Arc<AtomicBool>,
    notices: Arc<Mutex<Vec<String>>>,
    segments: Arc<Mutex<Vec<Segment>>>,
    output: tempfile::TempDir,
}

fn start(address: &str, reconnect: u64, container: Container) -> Run {
    let output = tempfile::tempdir().unwrap();
    let (notices, segments) = (Arc::default(), Arc::default());
    let ends = Arc::new(AtomicBool::new(false));
    let mut sink = Watched {
        folder: DirSink::new(output.path()),
        notices: Arc::clone(&notices),
        segments: Arc::clone(&segments),
    };
    let options = Options {
        container,
        segment_s: 1.0,
        preset: "ultrafast".to_string(),
        encoder: Some("libx264".to_string()),
        workers: Some(2),
        thumbnails: false,
        ..Options::default()
    };
    let asked = Arc::clone(&ends);
    let live = Live {
        reconnect: Duration::from_secs(reconnect),
        silence: Duration::from_secs(3),
        ends: Some(Box::new(move || asked.load(Ordering::Relaxed))),
        ..Live::new(address)
    };
    let cancel = AtomicBool::new(false);
    let running = std::thread::spawn(move || ladder::run(live, &options, &mut sink, &cancel));
    Run {
        running,
        ends,
        notices,
        segments,
        output,
    }
}

impl Run {
    fn until(&self, what: &str, reached: impl Fn(&Run) -> bool) {
        let waited = Instant::now();
        while !reached(self) {
            assert!(waited.elapsed() < Duration::from_secs(30), "no {what}");
            assert!(!self.running.is_finished(), "ended before {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its end: what the folder and the segments are, by the checker and by what must hold of all live
    /// streams. Gives the report, the segments of the rung, and what was said.
    fn finish(self) -> (Report, Vec<Segment>, Vec<String>) {
        let report = self.running.join().unwrap().unwrap();
        let findings = check::check(self.output.path());
        let findings = findings.iter().map(ToString::to_string);
        // Nobody knows of an end before it is there.
        let findings: Vec<String> = findings.filter(|text| !text.contains(": runt: ")).collect();
        assert_eq!(findings, [""; 0]);
        let rung = self.segments.lock().unwrap();
        let rung: Vec<Segment> = rung.iter().filter(|s| s.rung == "180p").cloned().collect();
        for (one, next) in rung.iter().zip(&rung[1..]) {
            assert!((one.start + one.duration - next.start).abs() < 1e-6);
            let (Some(date), Some(later)) = (one.date, next.date) else {
                panic!("no date")
            };
            let passed = later - date;
            assert!(next.discontinuity || (passed - one.duration).abs() < 1e-3);
            assert!(passed > 0.0 && next.entered > one.entered);
        }
        let notices = self.notices.lock().unwrap().clone();
        (report, rung, notices)
    }
}

#[test]
fn rtmp_to_its_end() {
    for container in [Container::Ts, Container::Cmaf] {
        let port = tcp_port();
        let _server = rtmp(4, port);
        listening(port);
        let run = start(&format!("rtmp://127.0.0.1:{port}/live/key"), 0, container);
        let (report, rung, notices) = run.finish();
        assert!((3.0..=4.1).contains(&report.duration_s), "{report:?}");
        assert!(rung.len() >= 3 && rung.iter().all(|s| !s.discontinuity));
        let sound = report.renditions.iter().any(|made| made.name == "audio");
        assert!(sound || rung[0].codecs.contains("mp4a"), "{report:?}");
        assert_eq!(notices, [""; 0]);
        assert_eq!(report.warnings, [""; 0]);
    }
}

#[test]
fn srt_and_rtsp() {
    let port = udp_port();
    let _server = srt(5, port);
    listening(port);
    let (report, rung, _) = start(&format!("srt://127.0.0.1:{port}"), 0, Container::Ts).finish();
    assert!((2.0..=5.1).contains(&report.duration_s), "{report:?}");
    assert!(rung[0].codecs.contains("mp4a"));

    let folder = tempfile::tempdir().unwrap();
    let file = make(
        folder.path(),
        &Clip {
            picture: "s=320x180:r=25:d=4",
            sound: "d=4",
            arguments: "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac",
            ..CLIP
        },
    );
    let port = tcp_port();
    let _server = rtsp(&file, port);
    listening(port);
    let (report, rung, _) =
        start(&format!("rtsp://127.0.0.1:{port}/cam"), 0, Container::Cmaf).finish();
    assert!((2.0..=4.2).contains(&report.duration_s), "{report:?}");
    assert!(rung.len() >= 2);
    assert!(report.renditions.iter().any(|made| made.name == "audio"));
}

#[test]
fn a_source_that_is_lost_is_found_again() {
    let port = tcp_port();
    let server = rtmp(60, port);
    listening(port);
    let run = start(
        &format!("rtmp://127.0.0.1:{port}/live/key"),
        30,
        Container::Ts,
    );
    run.until("two segments", |run| {
        run.segments.lock().unwrap().len() >= 2
    });
    drop(server);
    run.until("notice of the loss", |run| {
        run.notices.lock().unwrap().len() == 1
    });
    let before = run.segments.lock().unwrap().len();
    let _server = rtmp(60, port);
    run.until("two more segments", |run| {
        run.segments.lock().unwrap().len() >= before + 3
    });
    // Its owner ends it: in order, although the source goes on.
    run.ends.store(true, Ordering::Relaxed);
    let (report, rung, notices) = run.finish();
    assert_eq!(rung.iter().filter(|s| s.discontinuity).count(), 1);
    let [lost, found] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert!(
        lost.starts_with(&format!("rtmp://127.0.0.1:{port}: lost: ")),
        "{lost}"
    );
    assert!(
        found.starts_with(&format!("rtmp://127.0.0.1:{port}: found again after ")),
        "{found}"
    );
    assert_eq!(
        report.warnings,
        ["1 times the source was lost and found again"]
    );
}

#[test]
fn a_source_that_does_not_come_back_ends_the_stream() {
    let port = tcp_port();
    let server = rtmp(60, port);
    listening(port);
    let run = start(
        &format!("rtmp://127.0.0.1:{port}/live/key"),
        2,
        Container::Cmaf,
    );
    run.until("a segment", |run| !run.segments.lock().unwrap().is_empty());
    drop(server);
    let asked = Instant::now();
    let (report, _, notices) = run.finish();
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    let [warning] = &report.warnings[..] else {
        panic!("{report:?}")
    };
    let said = "the source was lost and did not come back for 2 s: ";
    assert!(warning.starts_with(said), "{warning}");
    assert!(notices.last().unwrap().ends_with(warning), "{notices:?}");
}

#[test]
fn nobody_waits_for_ever() {
    // Nobody listens.
    let address = format!("rtmp://127.0.0.1:{}/live/key", tcp_port());
    let asked = Instant::now();
    let error = start(&address, 60, Container::Ts)
        .running
        .join()
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, Error::Media(_)), "{error}");
    assert!(
        !error.to_string().contains("key"),
        "the key is shown: {error}"
    );
    // Somebody listens and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    for scheme in ["rtmp", "rtsp"] {
        let live = || Live {
            connect: Duration::from_secs(1),
            ..Live::new(format!("{scheme}://127.0.0.1:{port}/x"))
        };
        let cancel = Arc::new(AtomicBool::new(false));
        let run = |live, cancel: &AtomicBool| {
            let mut sink = DirSink::new("/nowhere");
            ladder::run(live, &Options::default(), &mut sink, cancel)
        };
        let error = run(live(), &cancel).unwrap_err();
        assert!(error.to_string().contains("no end after 1 s"), "{error}");
        let flag = Arc::clone(&cancel);
        let patient = Live {
            connect: Duration::from_secs(60),
            ..live()
        };
        let waiting = std::thread::spawn(move || run(patient, &flag));
        std::thread::sleep(Duration::from_millis(200));
        cancel.store(true, Ordering::Relaxed);
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    for (text, live) in [
        ("rtmp://x/y", true),
        ("RTSP://x", true),
        ("srt://x:1", true),
        ("http://x", false),
        ("film.mp4", false),
        ("rtmp:x", false),
    ] {
        assert_eq!(Live::is_address(text), live, "{text}");
    }
}
