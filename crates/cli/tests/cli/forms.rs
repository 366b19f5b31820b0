//! The forms that other programs call: JSON shapes, and exit codes.

use crate::process::{clip, kinora, run, small_clip};
use serde::Deserialize;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

#[derive(Debug, Deserialize)]
struct Probe {
    container: String,
    duration_s: f64,
    size: u64,
    video: Vec<Video>,
    audio: Vec<Audio>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Video {
    codec: String,
    profile: String,
    width: u32,
    height: u32,
    fps: String,
    bit_depth: u32,
    pix_fmt: String,
    rotation: i32,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Audio {
    codec: String,
    channels: u32,
    sample_rate: u32,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    board: String,
    verdict: String,
    decoder: Option<String>,
    reasons: Vec<String>,
    hwdec: Option<String>,
    target: String,
    command: Option<String>,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of these tests")
}

#[test]
fn probe_tells_what_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = small_clip(folder.path(), 1);
    let probe: Probe =
        serde_json::from_value(run(["probe", text(&file), "--json"]).json()).unwrap();
    assert_eq!(probe.container, "mov,mp4,m4a,3gp,3g2,mj2");
    assert_eq!(probe.size, file.metadata().unwrap().len());
    assert!(
        (0.9..1.2).contains(&probe.duration_s),
        "{}",
        probe.duration_s
    );
    let video = Video {
        codec: "h264".into(),
        profile: "Constrained Baseline".into(),
        width: 640,
        height: 360,
        fps: "25/1".into(),
        bit_depth: 8,
        pix_fmt: "yuv420p".into(),
        rotation: 0,
    };
    // libx264's ultrafast uses nothing that Constrained Baseline lacks, and says so.
    assert_eq!(probe.video, [video]);
    assert_eq!(
        probe.audio,
        [Audio {
            codec: "aac".into(),
            channels: 1,
            sample_rate: 44100
        }]
    );
    let page = run(["probe", text(&file)]).done();
    assert!(
        page.contains("h264") && page.contains("640x360") && page.contains("25 fps"),
        "{page}"
    );
}

/// Runs `check --json` and gives its verdicts with the exit code.
fn check(file: &Path, more: &[&str]) -> (Vec<Verdict>, Option<i32>) {
    let ended = run(["check", "--json", text(file)].iter().chain(more));
    assert_eq!(ended.stderr, "");
    (
        serde_json::from_str(&ended.stdout).expect("an array of verdicts"),
        ended.code,
    )
}

#[test]
fn check_answers_for_every_board_under_every_policy() {
    let folder = tempfile::tempdir().unwrap();
    let plain = small_clip(folder.path(), 1);
    let fast = clip(
        folder.path(),
        "fast.mp4",
        "-f lavfi -i testsrc2=size=640x360:rate=50:duration=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    );
    let all = ["pi2", "pi3", "pi4-64", "pi5", "rockpi4", "arm64", "x86"];

    let (verdicts, code) = check(&plain, &[]);
    assert_eq!(
        verdicts
            .iter()
            .map(|verdict| verdict.board.as_str())
            .collect::<Vec<_>>(),
        all
    );
    assert_eq!(
        code,
        Some(0),
        "nothing is rejected where variants are rendered"
    );
    let pi5 = &verdicts[3];
    assert_eq!(
        (
            pi5.verdict.as_str(),
            pi5.decoder.as_deref(),
            pi5.target.as_str()
        ),
        ("render", None, "hevc 2160p60")
    );
    assert!(!pi5.reasons.is_empty() && pi5.hwdec.is_none());
    let pi3 = &verdicts[1];
    assert_eq!(
        (pi3.verdict.as_str(), pi3.decoder.as_deref()),
        ("plays", Some("hardware"))
    );
    assert_eq!(
        (pi3.hwdec.as_deref(), pi3.command.as_deref()),
        (Some("v4l2m2m-copy"), None)
    );
    assert!(pi3.reasons.is_empty());

    let (verdicts, code) = check(&plain, &["--board", "pi5", "--allow-software"]);
    assert_eq!(
        (verdicts.len(), verdicts[0].decoder.as_deref(), code),
        (1, Some("software"), Some(0))
    );

    let (verdicts, code) = check(&fast, &["--board", "PI3", "--policy", "gate"]);
    assert_eq!((verdicts[0].verdict.as_str(), code), ("reject", Some(3)));
    assert!(
        verdicts[0]
            .reasons
            .iter()
            .any(|reason| reason.starts_with("fps: ")),
        "{:?}",
        verdicts[0].reasons
    );
    assert!(
        verdicts[0]
            .command
            .as_deref()
            .unwrap()
            .starts_with("ffmpeg ")
    );

    let (verdicts, code) = check(&fast, &["--board", "pi4-64", "--policy", "gate"]);
    assert_eq!(
        (verdicts[0].verdict.as_str(), code),
        ("plays", Some(0)),
        "only boards asked about count"
    );
}

#[test]
fn check_takes_rows_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = small_clip(folder.path(), 1);
    let rows = folder.path().join("mine.toml");
    std::fs::write(&rows, "nonsense = [").unwrap();
    let error = run(["check", text(&file), "--boards", text(&rows)]).failed();
    assert!(error.contains("mine.toml:1"), "{error}");
    let error = run(["boards", "--boards", text(&folder.path().join("none.toml"))]).failed();
    assert!(error.contains("none.toml"), "{error}");
}

#[test]
fn wrong_calls_end_with_2() {
    #[track_caller]
    fn check(arguments: &[&str], word: &str) {
        let ended = run(arguments);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(
            ended.stderr.contains(word),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
    check(&["fly"], "fly");
    check(&["probe"], "<FILE>");
    check(
        &["check", "x.mp4", "--board", "amiga"],
        "known: pi2, pi3, pi4-64",
    );
    check(&["check", "x.mp4", "--policy", "maybe"], "gate");
    check(&["ladder", "x.mp4"], "--output");
    check(
        &["ladder", "x.mp4", "-o", "d", "--segment", "0"],
        "between 1 and 30",
    );
    check(&["probe", "x.mp4", "--timeout", "0"], "1..=86400");
    check(&["serve", "--listen", "here"], "socket address");
    check(&["serve", "--max-upload", "lots"], "kB, MB, GB");
    check(&["store", "cat", "nonsense"], "<CID>");
}

#[test]
fn the_board_is_named_with_its_reason() {
    let labelled = kinora(["board", "--json"])
        .env("DEVICE_TYPE", " PI4-64 ")
        .output()
        .unwrap();
    let board: Value = serde_json::from_slice(&labelled.stdout).unwrap();
    assert_eq!(
        (&board["board_id"], &board["how"]),
        (&"pi4-64".into(), &"label".into())
    );
    let boards = run(["boards", "--json"]).json();
    assert!(
        boards
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["id"] == "pi4-64")
    );
    assert!(run(["boards"]).done().contains("hevc 3840x2160@60"));
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none() {
    let full = kinora(["boards", "--json"])
        .stdout(File::create("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&full.stderr).contains("No space left"));
    let mut closed = kinora(["boards", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(closed.stdout.take());
    let ended = closed.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}
