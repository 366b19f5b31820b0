//! Whole runs over small clips of every kind that people upload, made with the `ffmpeg` command.
//! Each result must pass the checker and be decoded by ffmpeg without a word.

mod clips;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use clips::{CLIP, Clip, make};
use ladder::playlist::Content;
use ladder::{Container, DirSink, Options, Report, check};

fn run(input: &Path, output: &Path, options: &Options) -> (Report, DirSink) {
    let mut sink = DirSink::new(output);
    let report = ladder::run(input, options, &mut sink, &AtomicBool::new(false)).unwrap();
    (report, sink)
}

/// Runs the clip through both containers. `expected` is what comes out: size and segment durations
/// of each rung, `sound` when there is any, and the warnings.
fn check(clip: &Clip, expected: &str) {
    check_with(clip, false, expected);
}

/// The same, where the source may be copied.
fn check_copy(clip: &Clip, expected: &str) {
    check_with(clip, true, expected);
}

fn check_with(clip: &Clip, copy_source: bool, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let input = make(folder.path(), clip);
    for container in [Container::Ts, Container::Cmaf] {
        let output = folder.path().join(format!("{container:?}"));
        let options = Options {
            container,
            copy_source,
            preset: "ultrafast".to_string(),
            encoder: Some("libx264".to_string()),
            ..Options::default()
        };
        let (report, sink) = run(&input, &output, &options);
        let findings: Vec<String> = check::check(&output)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            findings.is_empty(),
            "{clip_name} {container:?}: {findings:#?}",
            clip_name = clip.name
        );
        let media = sink.renditions().iter();
        for rendition in media.filter(|r| r.is_video() || r.is_audio()) {
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

/// Decodes everything and gives what ffmpeg complained about.
fn decode_quietly(playlist: &Path) -> String {
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-allowed_extensions", "ALL", "-i"])
        .arg(playlist)
        // The true times, or ffmpeg rounds them to a guessed rate and finds two alike.
        .args(["-enc_time_base", "1:90000", "-f", "null", "-"])
        .output()
        .expect("ffmpeg must be installed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn describe(sink: &DirSink, report: &Report) -> String {
    let rungs = sink.renditions().iter().filter_map(|rendition| {
        let Content::Video { width, height, .. } = rendition.content else {
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
    let mut parts: Vec<String> = rungs.collect();
    if sink
        .renditions()
        .iter()
        .any(|rendition| rendition.codecs.contains("mp4a"))
    {
        parts.push("sound".to_string());
    }
    parts.extend(report.warnings.iter().cloned());
    parts.join(", ")
}

#[test]
fn plain() {
    check(&CLIP, "160x90 2.00, sound");
}

#[test]
fn no_runt_at_the_end() {
    let clip = Clip {
        picture: "s=160x90:r=25:d=8.08",
        sound: "d=8",
        ..CLIP
    };
    check(&clip, "160x90 4.00+4.08, sound");
    let clip = Clip {
        picture: "s=160x90:r=30000/1001:d=9.5",
        sound: "d=9.5",
        ..CLIP
    };
    check(&clip, "160x90 4.00+2.77+2.74, sound");
}

#[test]
fn three_rungs_are_cut_alike() {
    let clip = Clip {
        picture: "s=1290x726:r=5:d=5",
        sound: "d=5",
        ..CLIP
    };
    check(
        &clip,
        "1290x726 2.60+2.40, 1280x720 2.60+2.40, 640x360 2.60+2.40, sound",
    );
}

#[test]
fn turned_by_the_container() {
    let clip = Clip {
        picture: "s=180x102:r=25:d=1",
        rotation: 90,
        sound: "",
        ..CLIP
    };
    check(&clip, "102x180 1.00");
    let clip = Clip {
        picture: "s=640x100:r=25:d=1",
        rotation: 270,
        sound: "",
        ..CLIP
    };
    check(&clip, "100x640 1.00, 56x360 1.00");
}

#[test]
fn odd_sizes_lose_a_line() {
    let arguments = "-c:v ffv1 -pix_fmt yuv420p -c:a pcm_s16le";
    let clip = Clip {
        name: "odd.mkv",
        picture: "s=161x91:r=25:d=1",
        arguments,
        sound: "d=1",
        ..CLIP
    };
    check(&clip, "160x90 1.00, sound");
}

#[test]
fn tiny() {
    let clip = Clip {
        picture: "s=2x2:r=25:d=0.2",
        sound: "",
        ..CLIP
    };
    check(&clip, "2x2 0.20");
    let clip = Clip {
        picture: "s=16x16:r=25:d=0.04",
        sound: "d=1",
        ..CLIP
    };
    check(&clip, "16x16 0.04, sound");
}

#[test]
fn pixels_become_square() {
    let clip = Clip {
        picture: "s=180x144:r=25:d=1",
        filter: "setsar=16/11",
        ..CLIP
    };
    check(&clip, "262x144 1.00, sound");
}

#[test]
fn fields_become_frames() {
    let clip = Clip {
        name: "interlaced.ts",
        picture: "s=180x144:r=50:d=2",
        filter: "tinterlace=interleave_top",
        arguments: "-c:v mpeg2video -flags +ildct+ilme -b:v 2M -c:a mp2",
        ..CLIP
    };
    check(&clip, "180x144 2.00, sound");
}

#[test]
fn uneven_times_are_kept() {
    let filter = "setpts='(N/25+0.011*mod(N,3))/TB',settb=1/1000";
    let clip = Clip {
        name: "uneven.mkv",
        picture: "s=160x90:r=25:d=5",
        filter,
        sound: "d=5",
        ..CLIP
    };
    check(&clip, "160x90 2.52+2.48, sound");
}

#[test]
fn a_pause_shows_the_last_picture() {
    let filter = "setpts='(N/25+gte(N,25)*8)/TB',settb=1/1000";
    let clip = Clip {
        name: "pause.mkv",
        picture: "s=160x90:r=25:d=3",
        filter,
        sound: "d=11",
        ..CLIP
    };
    check(
        &clip,
        "160x90 4.00+5.00+2.00, sound, 1 pictures were shown again where none came",
    );
}

#[test]
fn slides() {
    let clip = Clip {
        picture: "s=160x90:r=1/3:d=12",
        sound: "",
        ..CLIP
    };
    check(
        &clip,
        "160x90 4.00+5.00+3.00, 1 pictures were shown again where none came",
    );
}

#[test]
fn high_dynamic_range_becomes_standard() {
    let arguments = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le -color_primaries bt2020 \
                     -color_trc smpte2084 -colorspace bt2020nc";
    let clip = Clip {
        picture: "s=160x90:r=25:d=0.4",
        arguments,
        sound: "",
        ..CLIP
    };
    check(&clip, "160x90 0.40");
}

#[test]
fn sound_that_is_late_early_short_or_missing() {
    let clip = Clip {
        picture: "s=160x90:r=25:d=5",
        late: "3.7",
        sound: "d=1",
        ..CLIP
    };
    check(&clip, "160x90 2.52+2.48, sound");
    let clip = Clip {
        late: "30",
        sound: "d=1",
        ..CLIP
    };
    check(&clip, "160x90 2.00, sound");
    let clip = Clip {
        sound: "d=9",
        ..CLIP
    };
    check(&clip, "160x90 2.00, sound");
    let clip = Clip { sound: "", ..CLIP };
    check(&clip, "160x90 2.00");
}

#[test]
fn other_containers_and_codecs() {
    let mpeg4 = "-c:v mpeg4 -bf 2 -c:a mp3";
    check(
        &Clip {
            name: "old.avi",
            arguments: mpeg4,
            ..CLIP
        },
        "160x90 2.00, sound",
    );
    let vp8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 200k -c:a libopus";
    check(
        &Clip {
            name: "web.webm",
            arguments: vp8,
            ..CLIP
        },
        "160x90 2.00, sound",
    );
    let stream = "-c:v libx264 -preset veryfast -c:a aac -muxdelay 2";
    check(
        &Clip {
            name: "stream.ts",
            arguments: stream,
            ..CLIP
        },
        "160x90 2.00, sound",
    );
    let raw = "-c:v libx264 -preset veryfast -f h264";
    check(
        &Clip {
            name: "raw.h264",
            arguments: raw,
            sound: "",
            ..CLIP
        },
        "160x90 2.00",
    );
    check(
        &Clip {
            name: "moving.gif",
            arguments: "-c:v gif",
            sound: "",
            ..CLIP
        },
        "160x90 2.00",
    );
}

#[test]
fn a_source_that_fits_is_copied() {
    let arguments = "-c:v libx264 -preset veryfast -g 50 -pix_fmt yuv420p -c:a aac";
    let picture = "s=640x400:r=25:d=7";
    let clip = Clip {
        picture,
        sound: "d=7",
        arguments,
        ..CLIP
    };
    check_copy(&clip, "640x400 copied 4.00+3.00, 576x360 4.00+3.00, sound");
    // Nothing to encode at all; start codes instead of lengths.
    let clip = Clip {
        name: "copied.ts",
        picture: "s=160x90:r=25:d=6",
        sound: "d=6",
        ..clip
    };
    check_copy(&clip, "160x90 copied 4.00+2.00, sound");
}

#[test]
fn a_source_that_does_not_fit_is_encoded() {
    let base = Clip {
        picture: "s=160x96:r=25:d=2",
        sound: "",
        ..CLIP
    };
    for arguments in [
        "-c:v libx264 -preset ultrafast -pix_fmt yuv444p",
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le",
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -x264-params tff=1",
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -b:v 4M -minrate 4M -maxrate 4M -bufsize 1M -x264-params nal-hrd=cbr",
    ] {
        check_copy(
            &Clip {
                arguments,
                ..base.clone()
            },
            "160x96 2.00",
        );
    }
    let open =
        "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 25 -x264-params open-gop=1:bframes=3";
    check_copy(
        &Clip {
            picture: "s=160x90:r=25:d=14",
            arguments: open,
            ..base.clone()
        },
        "160x90 4.00+4.00+4.00+2.00",
    );
    check_copy(
        &Clip {
            rotation: 180,
            ..base
        },
        "160x96 2.00",
    );
}
