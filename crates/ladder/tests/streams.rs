//! Whole runs over small clips of every kind that people upload, made with the `ffmpeg` command.
//! Each result must pass the checker and be decoded by ffmpeg without a word.

mod clips;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clips::{Clip, decode_quietly, make};
use ladder::{Container, DirSink, Options, Report, check};

fn quick() -> Options {
    Options {
        preset: "ultrafast".to_string(),
        encoder: Some("libx264".to_string()),
        ..Options::default()
    }
}

fn run(input: &Path, output: &Path, options: &Options) -> (Report, DirSink) {
    let mut sink = DirSink::new(output);
    let report = ladder::run(input, options, &mut sink, &AtomicBool::new(false)).unwrap();
    (report, sink)
}

/// Makes the clip, runs it through both containers, and gives what the rungs look like:
/// `name WxH segments` each, and `audio` when there is sound.
fn check_clip(clip: &Clip, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let input = make(folder.path(), clip);
    for container in [Container::Ts, Container::Cmaf] {
        let output = folder.path().join(format!("{container:?}"));
        let options = Options {
            container,
            copy_source: clip.copy,
            ..quick()
        };
        let (report, sink) = run(&input, &output, &options);
        let findings = check::check(&output);
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(
            findings.is_empty(),
            "{} {container:?}: {shown:#?}\n{report:?}",
            clip.name
        );
        for rendition in sink.renditions() {
            let playlist = output.join(&rendition.uri);
            assert_eq!(decode_quietly(&playlist), "", "{} {playlist:?}", clip.name);
        }
        assert_eq!(
            describe(&sink, &report),
            expected,
            "{} {container:?}",
            clip.name
        );
    }
}

fn describe(sink: &DirSink, report: &Report) -> String {
    let rungs = sink.renditions().iter().filter_map(|rendition| {
        let ladder::playlist::Content::Video { width, height, .. } = rendition.content else {
            return None;
        };
        let made = report
            .renditions
            .iter()
            .find(|made| made.name == rendition.name)?;
        let copied = if made.copied { " copied" } else { "" };
        let durations = rendition
            .segments
            .iter()
            .map(|s| format!("{:.2}", s.duration));
        let durations = durations.collect::<Vec<_>>().join("+");
        Some(format!("{width}x{height}{copied} {durations}"))
    });
    let mut text = rungs.collect::<Vec<_>>().join(", ");
    if sink
        .renditions()
        .iter()
        .any(|rendition| rendition.codecs.contains("mp4a"))
    {
        text += ", sound";
    }
    text
}

#[test]
fn plain_with_sound() {
    check_clip(
        &Clip::new("plain", "s=160x90:r=25:d=4.2"),
        "160x90 4.20, sound",
    );
}
