//! Every file of a folder of real-world media, against what `ffprobe` says of it.
//!
//! The folder is named by `KINORA_MEDIA` and is not part of the repository; without it this
//! passes with a message. Damaged files are only asked not to crash or hang.

// The message that a check was left out.
#![allow(clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use media::{Error, OpenOptions, probe, thumbnail};
use serde_json::Value;

fn media_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("KINORA_MEDIA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("KINORA_MEDIA is not set: real-world media not checked");
    }
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

fn ffprobe(path: &Path) -> Option<Value> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-protocol_whitelist", "file"])
        .args(["-show_streams", "-show_format", "-of", "json", "-i"])
        .arg(path)
        .output()
        .expect("the ffprobe command is installed");
    if !output.status.success() {
        return None;
    }
    let seen: Value = serde_json::from_slice(&output.stdout).ok()?;
    seen["streams"].is_array().then_some(seen)
}

/// Lines for each field of a file's video streams that differs from ffprobe's.
fn differences(path: &Path) -> Vec<String> {
    let Some(theirs) = ffprobe(path) else {
        return Vec::new();
    };
    let ours = match probe(path, &OpenOptions::default()) {
        Ok(ours) => serde_json::to_value(ours).unwrap(),
        // ffprobe reads text as pictures and follows playlists; neither is wanted.
        Err(Error::NotMedia { .. } | Error::Reference { .. }) => return Vec::new(),
        Err(error) => return vec![format!("{}: {error}", path.display())],
    };
    let of_kind = |kind: &str| {
        let streams = theirs["streams"].as_array().unwrap().iter();
        streams
            .filter(|stream| stream["codec_type"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let keys = [
        ("video", "index", "index"),
        ("video", "codec", "codec_name"),
        ("video", "profile", "profile"),
        ("video", "width", "width"),
        ("video", "height", "height"),
        ("video", "pix_fmt", "pix_fmt"),
        ("video", "color_space", "color_space"),
        ("video", "color_transfer", "color_transfer"),
        ("video", "color_primaries", "color_primaries"),
        ("video", "color_range", "color_range"),
        ("video", "field_order", "field_order"),
        ("audio", "codec", "codec_name"),
        ("audio", "profile", "profile"),
        ("audio", "channels", "channels"),
        ("audio", "channel_layout", "channel_layout"),
    ];
    let mut lines = Vec::new();
    for (kind, our_key, their_key) in keys {
        let empty = Vec::new();
        let mine = ours[kind].as_array().unwrap_or(&empty);
        let other = of_kind(kind);
        if mine.len() != other.len() {
            lines.push(format!("{}: {} {kind} streams", path.display(), mine.len()));
        }
        for (mine, other) in mine.iter().zip(&other) {
            let (mine, other) = (&mine[our_key], &other[their_key]);
            let unknown =
                |value: &Value| value.is_null() || *value == "unknown" || *value == "none";
            if mine != other && !(unknown(mine) && unknown(other)) {
                lines.push(format!(
                    "{}: {our_key} {mine}, ffprobe {other}",
                    path.display()
                ));
            }
        }
    }
    lines
}

#[test]
fn probe_agrees_with_ffprobe() {
    let Some(folder) = media_folder() else { return };
    let mut lines = Vec::new();
    let mut count = 0;
    for part in ["bench", "ingest", "streams"] {
        for path in files(&folder.join(part)) {
            count += 1;
            lines.extend(differences(&path));
        }
    }
    assert!(count > 50, "only {count} files");
    assert!(lines.is_empty(), "{count} files:\n{}", lines.join("\n"));
}

#[test]
fn damaged_files_end_in_an_answer() {
    let Some(folder) = media_folder() else { return };
    for path in files(&folder.join("robust")) {
        let start = Instant::now();
        let seen = probe(&path, &OpenOptions::default());
        if let Err(error) = &seen {
            assert!(
                error.to_string().contains(&*path.to_string_lossy()),
                "{error}"
            );
        }
        if seen.is_ok_and(|seen| !seen.video.is_empty()) {
            if let Ok(bytes) = thumbnail(&path, 160) {
                assert!(bytes.starts_with(&[0xff, 0xd8]), "{}", path.display());
            }
        }
        let elapsed = start.elapsed();
        assert!(
            elapsed < Duration::from_secs(60),
            "{}: {elapsed:?}",
            path.display()
        );
    }
}

#[test]
fn stills_are_pictures_also_those_that_ffmpeg_does_not_open() {
    let Some(folder) = media_folder() else { return };
    for name in ["heic/RGB_8__29x100.heif", "avif/bw.avif"] {
        let path = folder.join("image").join(name);
        let seen = probe(&path, &OpenOptions::default()).unwrap();
        assert!(seen.picture, "{name}: {seen:?}");
        let timed = seen.video.iter().any(|video| video.fps.is_some());
        assert!(!timed && seen.duration_s.is_none(), "{name}: {seen:?}");
    }
}
