//! `kinora doctor`, and the rungs that `kinora ladder` is asked for.

use crate::process::{clip, run};
use serde_json::Value;
use std::fs;

#[test]
fn encoders_are_tried_not_listed() {
    let trials = run(["doctor", "encoders", "--json"]).json();
    let trials = trials.as_array().unwrap();
    let named = |name: &str| trials.iter().find(|t| t["encoder"] == name).unwrap();
    let works = named("libx264");
    assert_eq!(
        (&works["works"], &works["codec"]),
        (&true.into(), &"h264".into())
    );
    assert!(works["pictures_per_s"].as_f64().unwrap() > 1.0, "{works}");
    assert!(works["build"].as_str().unwrap().starts_with("x264 - core"));
    for trial in trials {
        // A reason where it does not work, a speed where it does.
        let works = trial["works"].as_bool().unwrap();
        assert_eq!(trial["reason"] == Value::Null, works, "{trial}");
        assert_eq!(trial["pictures_per_s"] != Value::Null, works, "{trial}");
        assert!(works || trial["chosen"] == false, "{trial}");
    }
    let chosen = trials.iter().filter(|t| t["chosen"] == true);
    let mut codecs: Vec<&str> = chosen.map(|t| t["codec"].as_str().unwrap()).collect();
    assert_eq!(codecs, ["h264", "hevc", "av1"]);
    codecs.dedup();
    let nvenc = named("h264_nvenc");
    let page = run(["doctor", "encoders"]).done();
    assert!(page.contains("libx264"), "{page}");
    // No machine of these tests has it, and what FFmpeg says of it is shown.
    if nvenc["works"] == false {
        assert!(page.contains(nvenc["reason"].as_str().unwrap()), "{page}");
    }
}

#[test]
fn an_overview_says_what_is_there() {
    let page = run(["doctor"]).done();
    for what in ["FFmpeg", "H.264 encoder", "cores"] {
        assert!(page.contains(what), "{page}");
    }
    let findings = run(["doctor", "--json"]).json();
    assert!(
        findings
            .as_array()
            .unwrap()
            .iter()
            .all(|f| f["well"] == true || f["needed"] == false)
    );
}

#[test]
fn rungs_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "-f lavfi -i testsrc2=size=320x240:rate=10:duration=2 -c:v mpeg4 -q:v 4";
    let file = clip(folder.path(), "clip.mkv", arguments);
    let (input, out) = (file.to_str().unwrap(), folder.path().join("out"));
    let rungs = folder.path().join("rungs.toml");
    let ladder = |more: &[&str]| {
        let start = ["ladder", input, "-o", out.to_str().unwrap(), "--json"];
        run(start.iter().copied().chain(more.iter().copied()))
    };
    let from_file = ["--container", "cmaf", "--rungs", rungs.to_str().unwrap()];
    let text =
        "[[rung]]\nname = \"own\"\n\n[[rung]]\nheight = 120\ncodec = \"av1\"\nbit_rate = 90_000\n";
    fs::write(&rungs, text).unwrap();
    let made = ladder(&from_file).json();
    let names: Vec<String> = made["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            format!(
                "{} {}x{}",
                r["name"].as_str().unwrap(),
                r["width"],
                r["height"]
            )
        })
        .collect();
    assert_eq!(names, ["own 320x240", "120p-av1 160x120"]);
    fs::write(&rungs, text.replace("90_000", "9")).unwrap();
    let ended = ladder(&from_file);
    assert_eq!(ended.code, Some(1));
    let expected = "rungs.toml, line 7: bit_rate between 10000 and 400000000";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    let ended = ladder(&["--codec", "hevc"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("needs the container cmaf"),
        "{}",
        ended.stderr
    );
    // A trial tells what it decided; nothing of it is printed where data goes.
    let ended = ladder(&["--per-title", "--no-thumbnails"]);
    assert!(ended.stderr.contains("240p "), "{}", ended.stderr);
    ended.json();
    let master = fs::read_to_string(out.join("master.m3u8")).unwrap();
    assert!(!master.contains("thumbnails"), "{master}");
}
