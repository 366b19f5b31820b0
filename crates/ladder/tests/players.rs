//! What players get beside the rungs: key pictures, groups of sound and subtitles, thumbnails, other
//! codecs, a DASH manifest. The checker takes all of it apart; what ffmpeg, which is not ours, makes
//! of the same files must agree.

mod clips;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use clips::{CLIP, Clip, make};
use ladder::{Codec, Container, DirSink, Options, Plan, Report, Segment, Sink, check};

const BOTH: [Container; 2] = [Container::Ts, Container::Cmaf];

fn options(container: Container) -> Options {
    Options {
        container,
        segment_s: 2.0,
        preset: "ultrafast".to_string(),
        encoder: Some("libx264".to_string()),
        copy_source: false,
        ..Options::default()
    }
}

/// Makes the stream; the checker must find nothing.
fn stream(input: &Path, output: &Path, options: &Options) -> Report {
    let mut sink = DirSink::new(output);
    let report = ladder::run(input, options, &mut sink, &AtomicBool::new(false)).unwrap();
    assert_eq!(check::check(output), [], "{}", output.display());
    report
}

/// What ffmpeg says on standard output; it must say nothing else.
fn ffmpeg(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(["-v", "warning", "-hide_banner"])
        .args(arguments)
        .output()
        .expect("ffmpeg must be installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{arguments:?}: {said}"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file with two tracks of sound, the second as default, and subtitles in two languages.
fn many_tracks(folder: &Path, name: &str, codec: &str) -> PathBuf {
    let first = "1\n00:00:00,500 --> 00:00:02,500\n<i>One</i> & <b>only</b>\n\n\
        2\n00:00:03,000 --> 00:00:03,900\nTwo\nlines\n\n\
        3\n00:00:04,100 --> 00:00:04,900\nThe end\n";
    let second = "1\n00:00:01,000 --> 00:00:04,500\nEins\n";
    let (one, two) = (folder.join("one.srt"), folder.join("two.srt"));
    fs::write(&one, first).unwrap();
    fs::write(&two, second).unwrap();
    let path = folder.join(name);
    let (one, two) = (one.display().to_string(), two.display().to_string());
    let output = path.display().to_string();
    ffmpeg(
        "ffmpeg",
        &[
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=160x90:r=25:d=5",
            "-f",
            "lavfi",
            "-i",
            "sine=440:r=48000:d=5",
            "-f",
            "lavfi",
            "-i",
            "sine=880:r=44100:d=5",
            "-i",
            &one,
            "-i",
            &two,
            "-map",
            "0",
            "-map",
            "1",
            "-map",
            "2",
            "-map",
            "3",
            "-map",
            "4",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
            "-c:s",
            codec,
            "-metadata:s:a:0",
            "language=eng",
            "-metadata:s:a:1",
            "language=deu",
            "-metadata:s:a:1",
            "title=Kommentar",
            "-disposition:a:0",
            "0",
            "-disposition:a:1",
            "default",
            "-metadata:s:s:0",
            "language=eng",
            "-metadata:s:s:1",
            "language=ger",
            &output,
        ],
    );
    path
}

#[test]
fn key_pictures_decode_alone() {
    let folder = tempfile::tempdir().unwrap();
    let gop = "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p -c:a aac";
    let picture = "s=160x90:r=25:d=4";
    let clip = Clip {
        picture,
        sound: "d=4",
        arguments: gop,
        ..CLIP
    };
    let input = make(folder.path(), &clip);
    for container in BOTH {
        // Encoded: one at each segment's start; copied: the source's own.
        for (copy_source, expected) in [(false, 2), (true, 4)] {
            let output = folder.path().join(format!("{container:?}{copy_source}"));
            let options = Options {
                copy_source,
                ..options(container)
            };
            stream(&input, &output, &options);
            let files = check::key_picture_files(&output);
            assert_eq!(files.len(), expected, "{container:?} {copy_source}");
            for (place, bytes) in files {
                let file = folder.path().join("key");
                fs::write(&file, bytes).unwrap();
                let probed = ffmpeg(
                    "ffprobe",
                    &[
                        // What is announced and not in there: sound, the rest of the fragment.
                        "-v",
                        "fatal",
                        "-count_frames",
                        "-show_entries",
                        "frame=pict_type,key_frame,width",
                        "-of",
                        "csv=p=0",
                        "-select_streams",
                        "v",
                        file.to_str().unwrap(),
                    ],
                );
                assert_eq!(probed.trim().trim_end_matches(','), "1,160,I", "{place}");
            }
        }
    }
}

#[test]
fn tracks_become_groups() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec) in [
        ("t.mkv", "srt"),
        ("a.mkv", "ass"),
        ("w.mkv", "webvtt"),
        ("m.mp4", "mov_text"),
    ] {
        let input = many_tracks(folder.path(), name, codec);
        for container in BOTH {
            let output = folder.path().join(format!("{name}{container:?}"));
            let report = stream(&input, &output, &options(container));
            assert_eq!(report.warnings, Vec::<String>::new());
            let names: Vec<&str> = report.renditions.iter().map(|r| r.name.as_str()).collect();
            let expected = [
                "90p",
                "audio",
                "audio-2",
                "subtitles",
                "subtitles-2",
                "thumbnails",
            ];
            assert_eq!(names, expected, "{name}");
            let master = text(output.join("master.m3u8"));
            let groups: Vec<&str> = master
                .lines()
                .filter(|l| l.starts_with("#EXT-X-MEDIA"))
                .collect();
            let expected = [
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"en\",LANGUAGE=\"en\",DEFAULT=NO,\
                 AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio/playlist.m3u8\"",
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Kommentar\",LANGUAGE=\"de\",\
                 DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio-2/playlist.m3u8\"",
                "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"en\",LANGUAGE=\"en\",\
                 DEFAULT=NO,AUTOSELECT=YES,URI=\"subtitles/playlist.m3u8\"",
                "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"de\",LANGUAGE=\"de\",\
                 DEFAULT=NO,AUTOSELECT=YES,URI=\"subtitles-2/playlist.m3u8\"",
            ];
            // MP4 keeps no titles of tracks where this looks for them.
            let expected = expected.map(|line| match name {
                "m.mp4" => line.replace("Kommentar", "de"),
                _ => line.to_string(),
            });
            assert_eq!(groups, expected, "{name}");
            subtitles(&output, codec);
            for rendition in ["audio", "audio-2"] {
                let playlist = output.join(rendition).join("playlist.m3u8");
                let probed = ffmpeg(
                    "ffprobe",
                    &[
                        "-allowed_extensions",
                        "ALL",
                        "-show_entries",
                        "stream=codec_type",
                        "-of",
                        "csv=p=0",
                        playlist.to_str().unwrap(),
                    ],
                );
                assert_eq!(probed.lines().next(), Some("audio"), "{name} {rendition}");
            }
        }
    }
}

/// A caption that shows in two segments stands in both, with its own times; ffmpeg reads the same.
fn subtitles(output: &Path, codec: &str) {
    let segment = |name: &str| text(output.join("subtitles").join(name));
    let head = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n";
    // FFmpeg's encoders of the other formats keep no bold.
    let italic = match codec {
        "mov_text" => "<i>One</i> &amp; <b>only</b>",
        _ => "<i>One</i> &amp; <b>only</b>",
    };
    let one = format!("\n00:00:00.500 --> 00:00:02.500\n{italic}\n");
    let two = "\n00:00:03.000 --> 00:00:03.900\nTwo\nlines\n";
    let end = "\n00:00:04.100 --> 00:00:04.900\nThe end\n";
    assert_eq!(segment("00000.vtt"), format!("{head}{one}"), "{codec}");
    // The last two segments of 5 s are 2 and 1 s long.
    assert_eq!(segment("00001.vtt"), format!("{head}{one}{two}"), "{codec}");
    assert_eq!(segment("00002.vtt"), format!("{head}{end}"), "{codec}");
    let file = output.join("subtitles/00001.vtt");
    let arguments = ["-i", file.to_str().unwrap(), "-f", "srt", "-"];
    let read = ffmpeg("ffmpeg", &arguments).replace('\r', "");
    assert!(
        read.contains("00:00:03,000 --> 00:00:03,900\nTwo\nlines"),
        "{read}"
    );
}

#[test]
fn thumbnails_show_their_moment() {
    let folder = tempfile::tempdir().unwrap();
    // Each half second has a grey of its own.
    let filter = "geq=lum='20+20*floor(T*2)':cb=128:cr=128,format=yuv420p";
    let clip = Clip {
        picture: "s=320x180:r=10:d=4",
        filter,
        sound: "",
        ..CLIP
    };
    let input = make(folder.path(), &clip);
    let output = folder.path().join("out");
    stream(&input, &output, &options(Container::Ts));
    let index = text(output.join("thumbnails/thumbnails.vtt"));
    assert!(
        index.contains("\n00:00:02.500 --> 00:00:03.000\n00001.jpg#xywh=160,0,160,90\n"),
        "{index}"
    );
    for (segment, expected) in [
        ("00000.jpg", [20, 40, 60, 80]),
        ("00001.jpg", [100, 120, 140, 160]),
    ] {
        let sheet = output.join("thumbnails").join(segment);
        let out = folder.path().join("sheet.gray");
        ffmpeg(
            "ffmpeg",
            &[
                "-v",
                "error",
                "-y",
                "-i",
                sheet.to_str().unwrap(),
                "-vf",
                "format=gray",
                "-f",
                "rawvideo",
                out.to_str().unwrap(),
            ],
        );
        let pixels = fs::read(&out).unwrap();
        let tiles = [(80, 45), (240, 45), (80, 135), (240, 135)];
        let found = tiles.map(|(x, y): (usize, usize)| i32::from(pixels[y * 320 + x]));
        // JPEG has the full range.
        let close = found.iter().zip(expected).all(|(found, lum)| {
            let full = (lum - 16) * 255 / 219;
            (found - full).abs() <= 3
        });
        assert!(close, "{segment}: {found:?} for {expected:?}");
    }
}

#[test]
fn a_manifest_describes_the_same_segments() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip {
        picture: "s=480x370:r=25:d=5",
        sound: "d=5",
        ..CLIP
    };
    let input = make(folder.path(), &clip);
    let output = folder.path().join("out");
    stream(&input, &output, &options(Container::Cmaf));
    // One kind at a time: ffmpeg's DASH reader ends with the first of several streams.
    let decoded = |name: &str, stream: &str| -> Vec<String> {
        let path = output.join(name);
        let text = ffmpeg(
            "ffmpeg",
            &[
                "-allowed_extensions",
                "ALL",
                "-i",
                path.to_str().unwrap(),
                "-map",
                stream,
                "-fps_mode",
                "passthrough",
                "-f",
                "framemd5",
                "-",
            ],
        );
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_string).collect()
    };
    for (stream, rendition, least) in [
        ("0:v:0", "370p", 125),
        ("0:v:1", "360p", 125),
        ("0:a:0", "audio", 230),
    ] {
        let hls = decoded(&format!("{rendition}/playlist.m3u8"), "0");
        let dash = decoded("manifest.mpd", stream);
        assert!(hls.len() >= least, "{rendition}: {}", hls.len());
        // The pictures alone: where ffmpeg puts the first on the clock differs.
        let content = |line: &String| line.rsplit(", ").next().map(str::to_string);
        let equal = hls.iter().map(content).eq(dash.iter().map(content));
        assert!(
            equal,
            "{rendition}: {:?} and {:?}",
            hls.first(),
            dash.first()
        );
    }
}

#[test]
fn other_codecs_beside_h264() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip {
        picture: "s=320x180:r=25:d=3",
        sound: "d=3",
        ..CLIP
    };
    let input = make(folder.path(), &clip);
    let options = Options {
        codecs: Codec::ALL.to_vec(),
        ..options(Container::Cmaf)
    };
    let output = folder.path().join("out");
    let report = stream(&input, &output, &options);
    assert_eq!(report.encoder, "libx264, libx265, libsvtav1");
    let master = text(output.join("master.m3u8"));
    let manifest = text(output.join("manifest.mpd"));
    for (rendition, codec, decoder) in [
        ("180p", "avc1.640014", "h264"),
        ("180p-hevc", "hvc1.1.6.L60.90", "hevc"),
        ("180p-av1", "av01.0.00M.08", "av1"),
    ] {
        assert!(master.contains(codec), "{codec}: {master}");
        assert!(manifest.contains(codec), "{codec}: {manifest}");
        let playlist = output.join(rendition).join("playlist.m3u8");
        let probed = ffmpeg(
            "ffprobe",
            &[
                "-allowed_extensions",
                "ALL",
                "-count_frames",
                "-show_entries",
                "stream=codec_name,nb_read_frames",
                "-select_streams",
                "v",
                "-of",
                "csv=p=0",
                playlist.to_str().unwrap(),
            ],
        );
        let first = probed.lines().next().unwrap_or_default();
        assert_eq!(first, format!("{decoder},75"), "{rendition}");
    }
    // The same bytes again, whatever else runs.
    let again = folder.path().join("again");
    let one = Options {
        workers: Some(1),
        ..options
    };
    stream(&input, &again, &one);
    for rendition in ["180p-hevc", "180p-av1"] {
        for file in ["init.mp4", "00000.m4s", "00001.m4s"] {
            let read = |folder: &Path| fs::read(folder.join(rendition).join(file)).unwrap();
            assert!(read(&output) == read(&again), "{rendition}/{file}");
        }
    }
}

#[test]
fn a_title_gets_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    // Two rungs. Plain colour needs next to nothing; noise needs all it can get.
    for (name, filter, expected) in [
        (
            "plain.mp4",
            "geq=lum=100:cb=128:cr=128,format=yuv420p",
            "lowered",
        ),
        ("noise.mp4", "noise=alls=100:allf=t,format=yuv420p", "stays"),
    ] {
        let clip = Clip {
            name,
            picture: "s=480x370:r=10:d=4",
            filter,
            sound: "",
            ..CLIP
        };
        let input = make(folder.path(), &clip);
        let options = Options {
            per_title: true,
            ..options(Container::Ts)
        };
        let output = folder.path().join(format!("{name}.out"));
        let mut sink = Planned::default();
        ladder::run(&input, &options, &mut sink, &AtomicBool::new(false)).unwrap();
        let plan = sink.0.unwrap();
        assert!(plan.decisions[0].contains(expected), "{:?}", plan.decisions);
        assert_eq!(plan.rungs[0].bit_rate < 800_000, expected == "lowered");
        // The plan is the same each time, and so is the stream.
        stream(&input, &output, &options);
        let again = folder.path().join(format!("{name}.again"));
        stream(&input, &again, &options);
        let master = |folder: &Path| text(folder.join("master.m3u8"));
        assert_eq!(master(&output), master(&again));
    }
}

/// Keeps the plan.
#[derive(Default)]
struct Planned(Option<Plan>);

impl Sink for Planned {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.0 = Some(plan.clone());
        Ok(())
    }

    fn init(&mut self, _rung: &str, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn segment(&mut self, _segment: Segment) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }
}
