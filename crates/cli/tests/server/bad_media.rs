//! Files that are no videos: each says which file it is and why, and nothing else is disturbed.

use std::path::Path;

use crate::process::{Server, clip};

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
    let picture = clip(
        folder,
        "c.png",
        &["-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1"],
    );
    let elsewhere = folder.join("a.mp4").display().to_string();
    vec![
        ("empty.mp4", Vec::new(), &["empty"]),
        ("text.mp4", b"this is not a video, whatever its name says\n".repeat(50), &[]),
        ("zeros.mp4", vec![0; 100_000], &[]),
        // The index is at the end of the file, so what is left cannot be read.
        ("truncated.mp4", mp4[..mp4.len() / 2].to_vec(), &[]),
        ("song.m4a", std::fs::read(sound).unwrap(), &["no video stream", "aac"]),
        ("picture.png", std::fs::read(picture).unwrap(), &["picture", "png"]),
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
