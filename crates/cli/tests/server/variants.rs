//! Variants by the real worker: made, shared, fetched, and steered by `kinora variants`.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::PATIENCE;
use crate::process::{Server, clip, kinora, stat};

/// MPEG-4 part 2 in AVI: no board plays that.
pub fn foreign(folder: &std::path::Path, seconds: u32) -> Vec<u8> {
    let pictures = format!("testsrc2=size=320x240:rate=15:duration={seconds}");
    let tone = format!("sine=duration={seconds}");
    let sources = ["-f", "lavfi", "-i", &pictures, "-f", "lavfi", "-i", &tone];
    let coded = ["-c:v", "mpeg4", "-q:v", "5", "-c:a", "mp2"];
    let path = clip(folder, "foreign.avi", &[&sources[..], &coded].concat());
    std::fs::read(path).unwrap()
}

/// Where the variant for a board stands.
pub fn stands<'a>(asset: &'a Value, board: &str) -> &'a Value {
    let variants = asset["variants"].as_array().unwrap();
    let found = variants.iter().find(|variant| variant["board"] == board);
    found.unwrap_or(&Value::Null)
}

#[test]
fn a_file_that_no_board_plays_gets_what_each_plays() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let client = server.client;
    kinora(client, &["boards", "enrol", "pi3"]);
    kinora(client, &["boards", "enrol", "x86", "--policy", "render"]);
    kinora(client, &["boards", "enrol", "arm64", "--policy", "gate"]);
    let enrolled = kinora(client, &["boards", "enrolled"]);
    assert_eq!(enrolled.lines().count(), 4, "{enrolled}");
    assert!(enrolled.contains("render (default)"), "{enrolled}");

    let id = client.upload("foreign.avi", &foreign(folder.path(), 3));
    let asset = client.wait(&id, "the variants", |asset| {
        assert_ne!(stands(asset, "pi3")["state"], "failed", "{asset:#}");
        ["pi3", "x86"]
            .iter()
            .all(|board| stands(asset, board)["state"] == "done")
    });
    assert_eq!(stands(&asset, "arm64")["state"], "rejected");
    for (board, codec) in [("pi3", "h264"), ("x86", "hevc")] {
        let url = kinora(client, &["variants", "url", &id, board]);
        let path = url
            .trim()
            .strip_prefix(&format!("http://{}", client.0))
            .unwrap();
        let bytes = client.get(path).body;
        let file = folder.path().join(format!("{board}.mp4"));
        std::fs::write(&file, bytes).unwrap();
        let probed = Command::new(env!("CARGO_BIN_EXE_kinora"))
            .args(["probe", "--json"])
            .arg(&file)
            .output()
            .unwrap();
        let probe: Value = serde_json::from_slice(&probed.stdout).unwrap();
        assert_eq!(probe["video"][0]["codec"], codec, "{probe:#}");
    }

    // What the operator is shown of it, and what he says.
    let shown = kinora(client, &["show", &id]);
    assert!(
        shown.contains("BOARD") && shown.contains("rejected"),
        "{shown}"
    );
    let all = kinora(client, &["variants", "ls"]);
    assert!(
        all.starts_with("0 to make, 2 there, 0 failed, 0 cancelled"),
        "{all}"
    );
    kinora(client, &["variants", "pause"]);
    kinora(client, &["variants", "priority", "-5", &id]);
    kinora(client, &["boards", "enrol", "arm64", "--policy", "render"]);
    kinora(client, &["boards", "enrol", "pi4-64"]);
    let all = kinora(client, &["variants", "ls"]);
    assert!(all.contains("all is paused"), "{all}");
    kinora(client, &["variants", "cancel", &id]);
    kinora(client, &["variants", "resume"]);
    kinora(client, &["variants", "retry", "--board", "arm64"]);
    client.wait(&id, "the others", |asset| {
        ["arm64", "pi4-64"]
            .iter()
            .all(|board| stands(asset, board)["state"] == "done")
    });
    let listed = kinora(client, &["ls", "FOREIGN"]);
    assert!(listed.contains("4 of 4"), "{listed}");
    assert_eq!(kinora(client, &["ls", "nothing"]).lines().count(), 1);
    kinora(client, &["boards", "remove", "arm64"]);
    let left = client.asset(&id);
    assert_eq!(*stands(&left, "arm64"), Value::Null);

    // A screen's token brings its kind of board with it, also past the running server.
    let made = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args([
            "token", "create", "--role", "player", "--board", "arm64", "--data",
        ])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    client.wait(&id, "the screen's variant", |asset| {
        stands(asset, "arm64")["state"] == "done"
    });
}

#[test]
fn a_picture_becomes_one_that_fits_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let client = server.client;
    kinora(client, &["boards", "enrol", "pi3"]);
    kinora(client, &["boards", "enrol", "x86", "--policy", "gate"]);
    let source = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=2400x1800",
        "-frames:v",
        "1",
    ];
    for name in ["large.png", "large.tiff", "large.bmp"] {
        let picture = clip(folder.path(), name, &source);
        let id = client.upload(name, &std::fs::read(picture).unwrap());
        let asset = client.wait(&id, "the picture", |asset| {
            assert_ne!(asset["state"], "failed", "{asset:#}");
            assert_ne!(stands(asset, "pi3")["state"], "failed", "{asset:#}");
            stands(asset, "pi3")["state"] == "done"
        });
        assert_eq!(asset["stream"], Value::Null);
        assert_eq!(stands(&asset, "x86")["state"], "rejected");
        let shown = client
            .get(stands(&asset, "pi3")["url"].as_str().unwrap())
            .body;
        assert_eq!((&shown[..4], &shown[8..12]), (&b"RIFF"[..], &b"WEBP"[..]));
        let path = format!("/api/assets/{id}/stream");
        let refused = client.send("PUT", &path, &[], b"");
        assert!(refused.problem(409).contains("a picture"));
    }

    // One for all boards, as large as the largest target asks for.
    kinora(client, &["boards", "enrol", "x86", "--policy", "render"]);
    let listed = client.get("/api/assets").json();
    for listed in listed.as_array().unwrap() {
        let asset = client.wait(listed["id"].as_str().unwrap(), "the larger one", |asset| {
            let larger = stands(asset, "x86");
            larger["state"] == "done" && stands(asset, "pi3")["url"] == larger["url"]
        });
        let shown = client.get(stands(&asset, "x86")["url"].as_str().unwrap());
        let file = folder.path().join("shown.webp");
        std::fs::write(&file, shown.body).unwrap();
        let probed = Command::new(env!("CARGO_BIN_EXE_kinora"))
            .args(["probe", "--json"])
            .arg(&file)
            .output()
            .unwrap();
        let probe: Value = serde_json::from_slice(&probed.stdout).unwrap();
        assert_eq!(probe["video"][0]["width"], 2400, "{probe:#}");
    }

    // One that moves is a video.
    let moving = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x240:rate=5:duration=2",
    ];
    let coded = ["-c:v", "libwebp_anim"];
    let picture = clip(
        folder.path(),
        "moving.webp",
        &[&moving[..], &coded].concat(),
    );
    let id = client.upload("moving.webp", &std::fs::read(picture).unwrap());
    let asset = client.wait(&id, "the video", |asset| {
        assert_ne!(asset["state"], "failed", "{asset:#}");
        assert_ne!(stands(asset, "pi3")["state"], "failed", "{asset:#}");
        stands(asset, "pi3")["state"] == "done" && asset["thumbnail"].is_string()
    });
    let shown = client.get(stands(&asset, "pi3")["url"].as_str().unwrap());
    assert_eq!(shown.body[4..8], *b"ftyp");
}

/// Processes of the group that a worker leads, but for those that only wait to be taken notice of.
fn group(leader: u32) -> Vec<u32> {
    let folders = std::fs::read_dir("/proc").unwrap();
    let pids = folders.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let alive = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = status.rsplit_once(") ").map_or("", |(_, rest)| rest);
        !rest.is_empty() && !rest.starts_with('Z')
    };
    pids.filter(|pid| stat(*pid, 5) == Some(leader.into()) && alive(pid))
        .collect()
}

/// Whoever ends a rendering, an operator or the server's own end in whatever way, ends all of it.
#[test]
fn no_process_outlives_its_rendering() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let long = foreign(folder.path(), 240);
    let start = || Server::start_with(&data, &["--no-streams", "--preset", "slower"]);
    let running = |server: &Server, id: &str| {
        server.client.wait(id, "the rendering", |asset| {
            assert_ne!(stands(asset, "x86")["state"], "failed", "{asset:#}");
            // It has made something, so all of its threads are there.
            stands(asset, "x86")["progress"]["media_s"].as_f64() > Some(0.0)
        });
        let worker = server.worker("render").expect("a worker that renders");
        assert_eq!(group(worker), [worker]);
        worker
    };
    let server = start();
    kinora(server.client, &["boards", "enrol", "x86"]);
    let id = server.client.upload("long.avi", &long);

    let worker = running(&server, &id);
    let path = format!("/api/assets/{id}/variants");
    let answer = server
        .client
        .send("PATCH", &path, &[], b"{\"cancel\":true}");
    assert_eq!(stands(&answer.json(), "x86")["state"], "cancelled");
    assert!(group(worker).is_empty(), "it is gone when the answer comes");

    kinora(server.client, &["variants", "retry", &id]);
    let worker = running(&server, &id);
    server.end();
    assert!(group(worker).is_empty(), "it is gone before the server is");

    let server = start();
    let worker = running(&server, &id);
    server.kill();
    let until = Instant::now() + PATIENCE;
    while !group(worker).is_empty() {
        assert!(Instant::now() < until, "an orphan: {:?}", group(worker));
        std::thread::sleep(Duration::from_millis(5));
    }
    // What it left is not in the way of the next.
    let server = start();
    running(&server, &id);
}
