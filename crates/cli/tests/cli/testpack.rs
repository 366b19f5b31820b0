//! `kinora testpack`: the clips are what their names say, are made once, and the table is the
//! verdicts'.

use crate::process::run;
use std::path::Path;
use std::process::Command;

fn made(folder: &Path) -> serde_json::Value {
    let folder = folder.to_str().unwrap();
    run(["testpack", "--seconds", "1", "--json", "-o", folder]).json()
}

fn written(folder: &Path) -> Vec<(String, std::time::SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, entry.metadata().unwrap().modified().unwrap())
    });
    let mut written: Vec<_> = entries.filter(|(name, _)| name.ends_with(".mp4")).collect();
    written.sort();
    written
}

#[test]
fn eight_clips_and_what_boards_do_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = made(folder);
    let (clips, times) = (first["clips"].as_array().unwrap(), written(folder));
    assert_eq!(clips.len(), 8);
    assert_eq!(times.len(), 8);
    for clip in clips {
        let name = clip["file"].as_str().unwrap();
        let entries = "stream=codec_name,height,r_frame_rate,nb_frames";
        let probed = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", entries, "-of", "csv=p=0"])
            .arg(folder.join(name))
            .output()
            .unwrap();
        let probed = String::from_utf8(probed.stdout).unwrap();
        let fields: Vec<&str> = probed.trim().split(',').collect();
        let [codec, height, rate, frames] = fields[..] else {
            panic!("{name}: {probed}");
        };
        assert_eq!(rate, format!("{frames}/1"), "{name}");
        assert_eq!(name, format!("{codec}-{height}p{frames}.mp4"));
    }
    let verdict = |file: &str, board: &str| {
        let clip = clips.iter().find(|clip| clip["file"] == file).unwrap();
        clip["boards"][board].as_str().unwrap().to_owned()
    };
    for (file, board, expected) in [
        ("h264-1080p30.mp4", "pi3", "plays"),
        ("h264-1080p60.mp4", "pi3", "render"),
        ("hevc-2160p60.mp4", "pi4-64", "plays"),
        ("h264-2160p30.mp4", "pi4-64", "render"),
        ("h264-1080p60.mp4", "pi5", "render"),
    ] {
        assert_eq!(verdict(file, board), expected, "{file} on {board}");
    }
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(page.contains("| hevc-2160p60.mp4 |"), "{page}");
    // One that was cut short is made again, and only that one.
    let cut = std::fs::File::options()
        .write(true)
        .open(folder.join("hevc-1080p30.mp4"))
        .unwrap();
    cut.set_len(5000).unwrap();
    drop(cut);
    let before = written(folder);
    assert_eq!(made(folder), first);
    let changed: Vec<String> = before
        .into_iter()
        .zip(written(folder))
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after.0)
        .collect();
    assert_eq!(changed, ["hevc-1080p30.mp4"]);
    assert!(!std::fs::read_dir(folder).unwrap().any(|entry| {
        entry
            .unwrap()
            .path()
            .extension()
            .is_some_and(|extension| extension == "part")
    }));
}
