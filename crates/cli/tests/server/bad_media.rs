//! Files that are no videos: each says which file it is and why, and nothing else is disturbed.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Server, clip};
use crate::variants::stands;

/// Name, content, and what the message must say besides the name.
type Row = (&'static str, Vec<u8>, &'static [&'static str]);

fn rows(folder: &Path) -> Vec<Row> {
    let source = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x240:rate=10",
        "-t",
        "4",
    ];
    let whole = |name: &str, more: &[&str]| {
        let arguments: Vec<&str> = source.iter().chain(more).copied().collect();
        std::fs::read(clip(folder, name, &arguments)).unwrap()
    };
    let mp4 = whole("a.mp4", &["-c:v", "libx264", "-preset", "ultrafast"]);
    let sound = clip(
        folder,
        "b.m4a",
        &["-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac"],
    );
    let elsewhere = folder.join("a.mp4").display().to_string();
    vec![
        ("empty.mp4", Vec::new(), &["empty"]),
        ("text.mp4", b"this is not a video, whatever its name says\n".repeat(50), &[]),
        ("zeros.mp4", vec![0; 100_000], &[]),
        // The index is at the end of the file, so what is left cannot be read.
        ("truncated.mp4", mp4[..mp4.len() / 2].to_vec(), &[]),
        ("song.m4a", std::fs::read(sound).unwrap(), &["no video stream", "aac"]),
        ("playlist.m3u8", format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{elsewhere}\n#EXT-X-ENDLIST\n").into_bytes(), &["never opened"]),
        ("web.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n".to_vec(), &["never opened"]),
        ("list.txt", format!("ffconcat version 1.0\nfile '{elsewhere}'\n").into_bytes(), &["never opened"]),
    ]
}

#[test]
fn each_says_which_file_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let client = server.client;
    for (name, content, expected) in rows(folder.path()) {
        let id = client.upload(name, &content);
        let asset = client.wait(&id, name, |asset| asset["state"] != "probing");
        assert_eq!(asset["state"], "failed", "{name}: {asset:#}");
        let error = asset["error"].as_str().unwrap();
        assert!(error.starts_with(&format!("{name}: ")), "{name}: {error}");
        assert!(error.len() > name.len() + 10, "{name}: {error}");
        // The message is for a person: no path of ours.
        assert!(!error.contains("/proc/"), "{name}: {error}");
        for part in expected {
            assert!(error.contains(part), "{name}: {error}");
        }
        assert!(asset["stream"].is_null() && asset["verdicts"].as_array().unwrap().is_empty());
        // A file that was read and is no video stays one; for others another try may help.
        let again = client.send("PUT", &format!("/api/assets/{id}/stream"), &[], b"");
        if asset["probe"].is_null() {
            assert_eq!(again.status, 200, "{name}");
            client.wait(&id, name, |asset| asset["state"] == "failed");
        } else {
            again.problem(409);
        }
    }
}

/// An index in front makes the file readable up to where it was cut.
#[test]
fn a_file_cut_off_behind_its_index_ends_one_way_or_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(
        folder.path(),
        "a.mp4",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x240:rate=10",
            "-t",
            "12",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-movflags",
            "+faststart",
        ],
    );
    let whole = std::fs::read(path).unwrap();
    let server = Server::start(&folder.path().join("data"));
    let id = server.client.upload("cut.mp4", &whole[..whole.len() / 2]);
    let asset = server.client.wait(&id, "an end", |asset| {
        asset["state"] == "failed" || ["done", "failed"].contains(&crate::process::state(asset))
    });
    let error = asset["error"]
        .as_str()
        .or(asset["stream"]["error"].as_str());
    assert!(
        error.is_none_or(|error| error.starts_with("cut.mp4: ")),
        "{error:?}"
    );
}

/// Every file that was made to do harm, and pictures of every kind: each ends in what boards are to
/// do with it, or in an error that names it; the server itself, which parses none of them, stays
/// small.
#[test]
fn hostile_files_harm_nobody() {
    /// What the server may take at any moment, in KiB; its workers have limits of their own.
    const MOST_KIB: u64 = 200 << 10;
    let Some(media) = std::env::var_os("KINORA_MEDIA") else {
        return;
    };
    let mut files = Vec::new();
    let mut folders: Vec<_> = ["robust", "image"]
        .map(|folder| Path::new(&media).join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 500, "{} files", files.len());
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(&folder.path().join("data"), &["--renders", "2"]);
    let client = server.client;
    let enrolled = client.send("PUT", "/api/boards/pi3", &[], b"{\"policy\":\"render\"}");
    assert_eq!(enrolled.status, 204, "{}", enrolled.text());
    // In the order in which they are worked on, so that none is waited for long.
    let mut sent: Vec<(String, String, &PathBuf)> = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let ending = file.extension().unwrap_or_default().to_string_lossy();
        let name = format!("file-{number}.{ending}");
        let id = client.upload(&name, &std::fs::read(file).unwrap());
        // The same bytes again are the same asset.
        if sent.iter().all(|(known, ..)| *known != id) {
            sent.push((id, name, file));
        }
    }
    let (mut ready, mut refused) = (0, 0);
    for (id, name, file) in &sent {
        let over = |state: &Value| matches!(state.as_str(), Some("done" | "failed") | None);
        let asset = client.wait(id, &file.display().to_string(), |asset| {
            asset["state"] == "failed"
                || asset["state"] == "ready"
                    && over(&asset["stream"]["state"])
                    && !["waiting", "running"]
                        .map(Value::from)
                        .contains(&stands(asset, "pi3")["state"])
        });
        let variant = stands(&asset, "pi3");
        // Where it was rejected the reason is the verdict's.
        let failed = variant
            .get("error")
            .filter(|_| variant["state"] == "failed");
        let errors = [Some(&asset["error"]), asset["stream"].get("error"), failed];
        for error in errors.into_iter().flatten().filter_map(Value::as_str) {
            assert!(error.contains(name.as_str()), "{}: {error}", file.display());
            assert!(error.len() > name.len() + 10, "{}: {error}", file.display());
        }
        if asset["state"] == "ready" {
            ready += 1;
            assert!(
                !asset["verdicts"].as_array().unwrap().is_empty(),
                "{asset:#}"
            );
        } else {
            refused += 1;
            assert!(asset["error"].is_string(), "{asset:#}");
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most: u64 = most
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(
        ready > 100 && refused > 10,
        "{ready} ready, {refused} refused"
    );
    assert!(most < MOST_KIB, "the server took {most} KiB");
}
