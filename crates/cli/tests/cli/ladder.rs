//! `kinora ladder`: the folder it writes, what it tells, and how it ends.

use crate::process::{Ended, clip, kinora, run, small_clip, terminate, until};
use serde::Deserialize;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Debug, Deserialize)]
struct Made {
    input: String,
    master: String,
    rungs: Vec<Rung>,
}

#[derive(Debug, Deserialize)]
struct Rung {
    name: String,
    width: u32,
    height: u32,
    bit_rate: u64,
    bandwidth: u64,
    average_bandwidth: u64,
    segments: usize,
    copied: bool,
    cids: Option<Vec<String>>,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of these tests")
}

#[test]
fn the_folder_is_what_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = clip(
        folder.path(),
        "tall.mkv",
        "-f lavfi -i testsrc2=size=854x480:rate=25:duration=3 -f lavfi -i sine=duration=3 -c:v mpeg4 -q:v 4 -c:a aac",
    );
    for container in ["ts", "cmaf"] {
        let (out, data) = (folder.path().join(container), folder.path().join("data"));
        let ended = run([
            "ladder",
            text(&file),
            "-o",
            text(&out),
            "--json",
            "--segment",
            "1",
            "--container",
            container,
            "--store",
            "--data",
            text(&data),
        ]);
        let made: Made = serde_json::from_value(ended.json()).unwrap();
        assert_eq!(made.input, text(&file));
        assert_eq!(made.master, text(&out.join("master.m3u8")));
        let sizes: Vec<_> = made
            .rungs
            .iter()
            .map(|rung| (rung.name.as_str(), rung.width, rung.height))
            .collect();
        assert_eq!(sizes, [("480p", 854, 480), ("360p", 640, 360)]);
        let master = fs::read_to_string(out.join("master.m3u8")).unwrap();
        for rung in &made.rungs {
            assert!(
                master.contains(&format!("{}/playlist.m3u8", rung.name)),
                "{master}"
            );
            assert!(!rung.copied && rung.bit_rate >= 500_000, "{rung:?}");
            assert!(
                rung.bandwidth >= rung.average_bandwidth && rung.average_bandwidth > 0,
                "{rung:?}"
            );
            let ending = if container == "ts" { ".ts" } else { ".m4s" };
            let mut files: Vec<_> = fs::read_dir(out.join(&rung.name))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| text(path).ends_with(ending))
                .collect();
            files.sort();
            assert_eq!(files.len(), rung.segments);
            let cids = rung.cids.as_ref().expect("--store was given");
            // CMAF has the initialisation segment ahead of the others.
            let cids = &cids[cids.len() - rung.segments..];
            for (file, cid) in files.iter().zip(cids) {
                let stored = kinora(["store", "cat", cid, "--data", text(&data)])
                    .output()
                    .unwrap()
                    .stdout;
                assert!(stored == fs::read(file).unwrap(), "{}", file.display());
            }
        }
    }
}

/// What media-doctor, a validator that is not ours, says of a playlist or a segment. It ends with 0
/// whatever it finds.
fn diagnosis(file: &Path) -> io::Result<String> {
    let check = if text(file).ends_with(".ts") {
        "check"
    } else {
        "check-hls"
    };
    let output = Command::new("media-doctor")
        .args([check, "--input", text(file)])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_validator_that_is_not_ours_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.m3u8");
    let text_of_it = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:9,\na.ts\n#EXT-X-ENDLIST\n";
    fs::write(&wrong, text_of_it).unwrap();
    match diagnosis(&wrong) {
        Ok(findings) => assert!(findings.contains("hls-extinf-exceeds-target"), "{findings}"),
        Err(error) => {
            let required = std::env::var_os("KINORA_REQUIRE_MEDIA_DOCTOR").is_some();
            assert!(!required, "media-doctor: {error}");
            let _ = writeln!(
                io::stderr(),
                "not tried: media-doctor is not installed (./test does)"
            );
            return;
        }
    }
    let file = clip(
        folder.path(),
        "tall.mkv",
        "-f lavfi -i testsrc2=size=854x480:rate=25:duration=3 -f lavfi -i sine=duration=3 -c:v mpeg4 -q:v 4 -c:a aac",
    );
    // The same with two tracks of sound and subtitles, which become groups.
    let captions = folder.path().join("captions.srt");
    fs::write(&captions, "1\n00:00:00,500 --> 00:00:02,500\nA caption\n").unwrap();
    let tracks = format!(
        "-i {0} -i {1} -i {0} -map 0 -map 1 -map 2:a -c copy -c:s srt",
        text(&file),
        text(&captions)
    );
    let file = clip(folder.path(), "tracks.mkv", &tracks);
    for container in ["ts", "cmaf"] {
        let out = folder.path().join(container);
        let arguments = [
            "ladder",
            text(&file),
            "-o",
            text(&out),
            "--segment",
            "1",
            "--container",
            container,
        ];
        run(arguments).done();
        let renditions = [
            "480p",
            "360p",
            "audio",
            "audio-2",
            "subtitles",
            "thumbnails",
        ];
        let mut files: Vec<_> = renditions
            .iter()
            .flat_map(|rendition| fs::read_dir(out.join(rendition)).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        files.retain(|file| text(file).ends_with(".m3u8") || text(file).ends_with(".ts"));
        files.push(out.join("master.m3u8"));
        assert!(files.len() >= 3, "{files:?}");
        for file in files {
            assert_eq!(
                diagnosis(&file).unwrap(),
                "No issues found.",
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn a_source_that_fits_is_copied_and_no_cids_are_told_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let file = small_clip(folder.path(), 2);
    let out = folder.path().join("out");
    let made: Made =
        serde_json::from_value(run(["ladder", text(&file), "-o", text(&out), "--json"]).json())
            .unwrap();
    assert_eq!(made.rungs.len(), 1);
    assert!(
        made.rungs[0].copied && made.rungs[0].cids.is_none(),
        "{made:?}"
    );
    let page = run(["ladder", text(&file), "-o", text(&out)]).done();
    assert!(page.contains("360p") && page.contains("copied"), "{page}");
}

#[test]
fn ctrl_c_keeps_what_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let file = clip(
        folder.path(),
        "long.mp4",
        "-f lavfi -i testsrc2=size=1280x720:rate=30:duration=60 -c:v mpeg4 -q:v 8",
    );
    let out = folder.path().join("out");
    let child = kinora(["ladder", text(&file), "-o", text(&out), "--segment", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until(|| out.join("master.m3u8").exists());
    terminate(&child, "INT");
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(130), ""),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("finished segments stay"),
        "{}",
        ended.stderr
    );
    let playlist = fs::read_to_string(out.join("360p/playlist.m3u8")).unwrap();
    assert!(
        !playlist.contains("#EXT-X-ENDLIST"),
        "a stream that was stopped has not ended"
    );
    for segment in playlist.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            out.join("360p").join(segment).metadata().unwrap().len() > 0,
            "{segment}"
        );
    }
    let partial = fs::read_dir(out.join("360p"))
        .unwrap()
        .filter(|entry| text(&entry.as_ref().unwrap().path()).ends_with(".part"));
    assert_eq!(partial.count(), 0);
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=300k", "none", text(&disk)])
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        let _ = writeln!(io::stderr(), "not tried: mounting a small tmpfs needs root");
        return;
    }
    let file = clip(
        folder.path(),
        "big.mp4",
        "-f lavfi -i testsrc2=size=854x480:rate=25:duration=8 -c:v mpeg4 -q:v 4",
    );
    let out = disk.join("out");
    let ended = run(["ladder", text(&file), "-o", text(&out), "--segment", "1"]);
    let playlist = fs::read_to_string(out.join("480p/playlist.m3u8")).unwrap_or_default();
    let named: Vec<_> = playlist
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|name| out.join("480p").join(name))
        .collect();
    let there = named
        .iter()
        .all(|segment| segment.metadata().is_ok_and(|about| about.len() > 0));
    assert!(
        Command::new("umount")
            .arg(&disk)
            .status()
            .unwrap()
            .success()
    );
    let error = ended.failed();
    assert!(
        error.contains("big.mp4") && error.contains("No space left"),
        "{error}"
    );
    assert!(
        there,
        "a playlist names a segment that is not whole: {playlist}"
    );
}

/// Pictures on standard input, made by ffmpeg with these arguments.
fn piped(arguments: &str, ladder: &[&str]) -> Ended {
    let mut ffmpeg = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=30:d=2",
        ])
        .args(arguments.split(' '))
        .arg("-")
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg must be installed");
    let pictures = ffmpeg.stdout.take().unwrap();
    let ended = kinora([&["ladder", "-"], ladder].concat())
        .stdin(pictures)
        .output();
    ffmpeg.wait().unwrap();
    Ended::from(ended.expect("start kinora"))
}

#[test]
fn pictures_on_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let ladder = [
        "-o",
        text(&out),
        "--json",
        "--segment",
        "1",
        "--preset",
        "ultrafast",
    ];
    let raw = ["--raw", "rgb24", "--size", "320x180", "--fps", "30"];
    for (made_as, ladder) in [
        ("-pix_fmt yuv420p -f yuv4mpegpipe", ladder.to_vec()),
        ("-pix_fmt rgb24 -f rawvideo", [&ladder[..], &raw].concat()),
    ] {
        let ended = piped(made_as, &ladder);
        let made: Made = serde_json::from_value(ended.json()).unwrap();
        assert_eq!(made.input, "standard input");
        let rungs: Vec<_> = made
            .rungs
            .iter()
            .map(|r| (r.name.as_str(), r.segments))
            .collect();
        assert_eq!(rungs, [("180p", 2)]);
    }
    for (ladder, expected) in [
        (&["--raw", "rgb24"][..], "--size"),
        (&["--size", "2x2"], "--raw"),
        (
            &["--raw", "rgb25", "--size", "320x180", "--fps", "30"],
            "no such pixel format: rgb25",
        ),
        (
            &["--raw", "rgb24", "--size", "320x180", "--fps", "0"],
            "0/1 pictures per second",
        ),
        (&[], "standard input: no Y4M stream"),
    ] {
        let ladder = [&["-o", text(&out)], ladder].concat();
        let ended = piped("-pix_fmt rgb24 -f rawvideo", &ladder);
        assert_ne!(ended.code, Some(0));
        assert!(
            ended.stderr.contains(expected),
            "{expected}: {}",
            ended.stderr
        );
    }
}
