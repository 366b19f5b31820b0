//! The whole way: a file goes in, verdicts and a stream come out.

use std::process::Command;

use crate::process::{Server, segments, stat, state, two_rungs};

#[test]
fn from_upload_to_stream() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let client = server.client;
    let clip = two_rungs(folder.path(), 3);
    let id = client.upload("clip.mp4", &clip);

    // Whatever a playlist names at any moment can be fetched at that moment.
    let mut looks = 0;
    let asset = client.wait(&id, "the whole stream", |asset| {
        assert_eq!(asset["stream"]["error"], serde_json::Value::Null);
        if asset["stream"]["url"].is_string() {
            segments(client, asset);
            looks += usize::from(state(asset) == "running");
        }
        state(asset) == "done"
    });
    assert!(looks > 0, "the stream was never seen growing");

    assert_eq!(asset["state"], "ready");
    assert_eq!(asset["probe"]["video"][0]["codec"], "mpeg4");
    let boards = asset["verdicts"].as_array().unwrap();
    assert!(boards.len() >= 7);
    assert!(boards.iter().all(
        |board| board["verdict"] != "plays" && !board["reasons"].as_array().unwrap().is_empty()
    ));
    let asset = client.wait(&id, "the thumbnail", |asset| asset["thumbnail"].is_string());
    let picture = client.get(asset["thumbnail"].as_str().unwrap()).body;
    assert!(picture.starts_with(b"\xff\xd8\xff"), "not a JPEG");
    let rungs: Vec<_> = asset["stream"]["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rung| rung["segments"].as_u64())
        .collect();
    assert_eq!(rungs, [Some(3), Some(3)]);

    // The server's stream is the one that `kinora ladder` makes, byte for byte.
    let out = folder.path().join("ladder");
    let made = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .arg("ladder")
        .arg(folder.path().join("two-rungs.mp4"))
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap();
    assert!(made.status.success());
    let served = segments(client, &asset);
    for rung in ["400p", "360p"] {
        for number in 0..3 {
            let file = std::fs::read(out.join(format!("{rung}/{number:05}.ts"))).unwrap();
            let (cid, _) = store::cid_of(file.as_slice()).unwrap();
            let wanted = format!("{rung}/playlist.m3u8 /ipfs/{cid}?filename={number:05}.ts");
            assert!(served.contains(&wanted), "{wanted} is not in {served:#?}");
        }
    }
}

/// What a hostile file could reach is as little as the system allows.
#[test]
fn workers_are_polite_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let id = server
        .client
        .upload("clip.mp4", &two_rungs(folder.path(), 8));
    server.client.wait(&id, "a segment", |asset| {
        asset["stream"]["rungs"][0]["segments"].as_u64() > Some(0)
    });
    let worker = server.worker("ladder").expect("a running worker");
    assert_eq!(stat(worker, 19), Some(19), "nice");
    assert_eq!(
        stat(worker, 5),
        Some(i64::from(worker)),
        "a group of its own"
    );
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..]
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(limit("Max core file size"), "0");
    assert_ne!(limit("Max data size"), "unlimited");
    assert_ne!(limit("Max file size"), "unlimited");
    // Nothing it starts can regain rights; Landlock asks for that.
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let score = std::fs::read_to_string(format!("/proc/{worker}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "800");
}

#[test]
fn an_idle_server_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    assert_eq!(server.client.get("/api/assets").status, 200);
    // Of the 30 MB for an idle server this is what is not the program's own code, which without
    // optimisation is several times what users run: `cargo xtask bench idle` counts all of theirs.
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps", server.pid())).unwrap();
    let (mut own_code, mut resident) = (false, 0);
    for line in maps.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["Rss:", kib, "kB"] if !own_code => resident += kib.parse::<u64>().unwrap(),
            [_, rights, _, _, _, path] => own_code = rights == "r-xp" && path.ends_with("/kinora"),
            [name, ..] if !name.ends_with(':') => own_code = false,
            _ => {}
        }
    }
    assert!((5_000..17_000).contains(&resident), "{resident} kB");
}
