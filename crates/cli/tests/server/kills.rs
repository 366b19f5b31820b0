//! `kill -9` of the worker and of the server, at several moments: what was there stays, and what
//! comes out in the end is what an uninterrupted run makes.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Server, segments, state, two_rungs};

const SEGMENTS: u32 = 4;

fn stored(asset: &Value) -> u64 {
    let rungs = asset["stream"]["rungs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    rungs
        .iter()
        .filter_map(|rung| rung["segments"].as_u64())
        .sum()
}

/// A clip, and its stream as it comes out when nobody interferes.
fn uninterrupted() -> &'static (Vec<u8>, Vec<String>) {
    static MADE: OnceLock<(Vec<u8>, Vec<String>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let clip = two_rungs(folder.path(), SEGMENTS);
        let server = Server::start(&folder.path().join("data"));
        let id = server.client.upload("clip.mp4", &clip);
        let asset = server
            .client
            .wait(&id, "the stream", |asset| state(asset) == "done");
        let segments = segments(server.client, &asset);
        (clip, segments)
    })
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, expected) = uninterrupted();

    let data = folder.path().join("data");
    let server = Server::start(&data);
    let id = server.client.upload("clip.mp4", clip);
    server.kill();
    let mut worker = None;
    let mut before = 0;
    // Each start gets a little further and is killed.
    for there in [1, 3, 6] {
        let server = Server::start(&data);
        let asset = server.client.wait(&id, "more segments", |asset| {
            assert!(stored(asset) >= before, "segments were lost: {asset:#}");
            stored(asset) >= there
        });
        before = stored(&asset);
        worker = server.worker("ladder").or(worker);
        server.kill();
    }
    // Its workers go with it: the last one was told to by the kernel when the server was reaped, and
    // has ended when its memory is given back.
    let worker = worker.expect("no worker was seen");
    let lives = || {
        std::fs::read_to_string(format!("/proc/{worker}/stat")).is_ok_and(|s| !s.contains(") Z "))
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives() {
        assert!(Instant::now() < deadline, "the worker lives on");
        std::thread::yield_now();
    }

    let server = Server::start(&data);
    let asset = server.client.wait(&id, "the end", |asset| {
        assert_eq!(asset["stream"]["error"], Value::Null);
        state(asset) == "done"
    });
    assert_eq!(&segments(server.client, &asset), expected);
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args(["store", "verify", "--data"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(verified.success(), "the store is damaged");
}

/// Kills the worker that makes the stream, by its number.
fn kill_worker(server: &Server) {
    let worker = server.worker("ladder").expect("a running worker");
    let killed = std::process::Command::new("kill")
        .args(["-9", &worker.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
}

#[test]
fn a_killed_worker_is_started_again_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, expected) = uninterrupted();

    let server = Server::start(&folder.path().join("data"));
    let client = server.client;
    let id = client.upload("clip.mp4", clip);
    let mut before = 0;
    // Each gets further than the one before.
    for there in [1, 4] {
        let asset = client.wait(&id, "segments", |asset| {
            assert!(stored(asset) >= before, "segments were lost: {asset:#}");
            stored(asset) >= there
        });
        before = stored(&asset);
        kill_worker(&server);
    }
    let asset = client.wait(&id, "the end", |asset| {
        assert!(stored(asset) >= before);
        assert_eq!(asset["stream"]["error"], Value::Null);
        state(asset) == "done"
    });
    assert_eq!(&segments(client, &asset), expected);
}

#[test]
fn a_worker_that_dies_twice_in_one_place_fails_its_stream_and_a_retry_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, expected) = uninterrupted();

    let server = Server::start(&folder.path().join("data"));
    let client = server.client;
    let id = client.upload("clip.mp4", clip);
    client.wait(&id, "a segment", |asset| stored(asset) >= 1);
    let mut failed = None;
    while failed.is_none() {
        if let Some(worker) = server.worker("ladder") {
            let killed = std::process::Command::new("kill")
                .args(["-9", &worker.to_string()])
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            // It may have ended by itself meanwhile, or been a worker that is gone already.
            let _ = killed;
        }
        let asset = client.asset(&id);
        assert_ne!(
            state(&asset),
            "done",
            "no worker lived long enough for that"
        );
        failed = (state(&asset) == "failed").then_some(asset);
    }
    let failed = failed.unwrap();
    let error = failed["stream"]["error"].as_str().unwrap();
    assert!(
        error.starts_with("clip.mp4: the worker crashed (SIGKILL"),
        "{error}"
    );
    // What was there is there, can be played, and is gone on from.
    let before = stored(&failed);
    assert!(before >= 1);
    let path = format!("/api/assets/{id}/stream");
    assert_eq!(client.send("PUT", &path, &[], b"").status, 200);
    let asset = client.wait(&id, "the end", |asset| {
        assert!(stored(asset) >= before);
        state(asset) == "done"
    });
    assert_eq!(&segments(client, &asset), expected);
}
