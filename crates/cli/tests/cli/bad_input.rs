//! Files that are not what they say: each gives one line that names the file and the reason.

use crate::process::{clip, kinora, run, small_clip, terminate, until};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Probing (and so checking) the file fails with one line that holds all of the words.
#[track_caller]
fn check(file: &Path, words: &[&str]) {
    for command in ["probe", "check"] {
        let arguments = [command.as_ref(), "--".as_ref(), file.as_os_str()];
        let error = run(arguments).failed();
        for word in words {
            assert!(error.contains(word), "{command}: no {word:?} in {error:?}");
        }
    }
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn files_that_are_no_video() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    check(&folder.join("none.mp4"), &["none.mp4", "No such file"]);
    check(
        folder,
        &[
            folder.file_name().unwrap().to_str().unwrap(),
            "not a regular file",
        ],
    );
    check(&write(folder, "empty.mp4", ""), &["empty.mp4", "empty"]);
    check(
        &write(folder, "text.mp4", "once upon a time\n".repeat(500)),
        &["text.mp4", "not a media file"],
    );
    let whole = fs::read(small_clip(folder, 2)).unwrap();
    // MP4 keeps its index at the end unless told otherwise, so half a file has none.
    check(
        &write(folder, "half.mp4", &whole[..whole.len() / 2]),
        &["half.mp4", "truncated"],
    );
    check(
        &write(folder, "wide.png", png_of(20_000, 20_000)),
        &["wide.png", "too large", "20000x20000"],
    );
}

#[test]
fn files_that_point_elsewhere_open_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let secret = small_clip(folder, 1);
    let secret = secret.to_str().unwrap();
    for (name, text) in [
        (
            "list.m3u8",
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n"),
        ),
        (
            "list.mp4",
            format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
            ),
        ),
        (
            "web.m3u8",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:9/x.m3u8\n".to_owned(),
        ),
        (
            "concat.mp4",
            format!("ffconcat version 1.0\nfile '{secret}'\n"),
        ),
    ] {
        check(&write(folder, name, text), &[name, "refers to other files"]);
    }
}

#[test]
fn names_cannot_forge_lines_or_options() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    check(
        &write(folder, "a\nkinora: done.mp4", "text"),
        &["a\\nkinora: done.mp4"],
    );
    check(
        &write(folder, "\x1b[2Jclear.mp4", "text"),
        &["\\u{1b}[2Jclear.mp4"],
    );
    fs::create_dir(folder.join("sub")).unwrap();
    write(folder, "up.mp4", "text");
    check(&folder.join("sub/../up.mp4"), &["sub/../up.mp4"]);
    let odd = folder.join(std::ffi::OsStr::from_bytes(b"latin-\xfc.mp4"));
    fs::write(&odd, "text").unwrap();
    check(&odd, &["latin-\u{fffd}.mp4"]);
    // A file that looks like an option is reached behind `--`.
    small_clip(folder, 1);
    fs::rename(folder.join("small.mp4"), folder.join("-small.mp4")).unwrap();
    let probed = kinora(["probe", "--json", "--", "-small.mp4"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(
        probed.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&probed.stderr)
    );
}

#[test]
fn no_video_and_no_ladder() {
    let folder = tempfile::tempdir().unwrap();
    let sound = clip(
        folder.path(),
        "sound.m4a",
        "-f lavfi -i sine=duration=1 -c:a aac",
    );
    let out = folder.path().join("out");
    let arguments = [
        "ladder".as_ref(),
        sound.as_os_str(),
        "-o".as_ref(),
        out.as_os_str(),
    ];
    let error = run(arguments).failed();
    assert!(
        error.contains("sound.m4a") && error.contains("no video stream"),
        "{error}"
    );
    assert!(!out.join("master.m3u8").exists());
}

#[test]
fn a_file_without_end_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.mp4");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    // Nobody ever writes to it, so opening it would wait for ever.
    let error = run(["probe", "--timeout", "1", pipe.to_str().unwrap()]).failed();
    assert!(error.contains("pipe.mp4"), "{error}");
}

#[test]
fn a_crash_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = clip(
        folder.path(),
        "long.mp4",
        "-f lavfi -i testsrc2=size=1280x720:rate=30:duration=20 -c:v mpeg4 -q:v 5",
    );
    for signal in ["SEGV", "BUS", "ABRT", "FPE", "ILL"] {
        let out = folder.path().join(signal);
        let child = kinora([
            "ladder".as_ref(),
            file.as_os_str(),
            "-o".as_ref(),
            out.as_os_str(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        // The folder is made when the work starts, long after the guard stands.
        until(|| out.exists());
        terminate(&child, signal);
        let ended = crate::process::Ended::from(child.wait_with_output().unwrap());
        let error = ended.failed();
        assert!(
            error.contains("long.mp4") && error.contains(&format!("crashed (SIG{signal})")),
            "{error}"
        );
    }
}

/// The beginning of a PNG (W3C PNG, 5.6 and 11.2.2): enough to tell its size, nothing to draw.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [kind, data].concat();
        png.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        png.extend_from_slice(&body);
        png.extend_from_slice(&crc32(&body).to_be_bytes());
    };
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes()[..],
        &[8, 2, 0, 0, 0],
    ]
    .concat();
    chunk(b"IHDR", &header);
    // An empty deflate stream in zlib's wrapping.
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]);
    chunk(b"IEND", &[]);
    png
}

/// The CRC of PNG chunks (W3C PNG, annex D), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                0xedb8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            }
        })
    })
}
