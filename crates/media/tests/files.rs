//! Real files made by the `ffmpeg` command: what is read out of them, and what hostile or broken
//! ones lead to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use media::{
    AudioChain, AudioSource, ColourTreatment, Decoder, Error, Frame, Geometry, Graph, Input,
    OpenOptions, PixelFormat, Rational, Scaler, VideoChain, VideoSource, probe, thumbnail,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const VIDEO: &str = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=1";
const X264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Runs `ffmpeg` with these words and gives the file it wrote.
fn clip(folder: &TempDir, name: &str, words: &str) -> PathBuf {
    let path = folder.path().join(name);
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y", "-threads", "1"])
        .args(words.split_whitespace())
        .arg(&path)
        .output()
        .expect("the ffmpeg command is installed");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    path
}

/// Writes a display matrix into the first track header of an MP4 file.
fn set_matrix(path: &Path, [a, b, c, d]: [i32; 4]) {
    let mut bytes = fs::read(path).unwrap();
    let tkhd = bytes.windows(4).position(|word| word == b"tkhd").unwrap();
    let one = 1 << 16;
    let matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30];
    for (n, value) in matrix.iter().enumerate() {
        let at = tkhd + 44 + 4 * n;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    fs::write(path, bytes).unwrap();
}

fn facts(path: &Path) -> Value {
    serde_json::to_value(probe(path, &OpenOptions::default()).unwrap()).unwrap()
}

#[test]
fn probe_says_what_is_in_a_file() {
    let folder = folder();
    let audio = "-f lavfi -i sine=frequency=440:duration=1 -c:a aac -ac 2 -ar 44100 -shortest";
    let colours = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv";
    let rows = [
        (
            "plain.mp4",
            format!("{VIDEO} {audio} {X264} -preset veryfast -profile:v high {colours}"),
            json!({"codec": "h264", "profile": "High", "width": 320, "height": 180, "fps": "25/1",
                "variable_rate": false, "frames": 25, "rotation": 0, "pix_fmt": "yuv420p",
                "bit_depth": 8, "chroma": "4:2:0", "field_order": "progressive",
                "color_primaries": "bt709", "color_transfer": "bt709", "color_space": "bt709",
                "color_range": "tv", "hdr": null, "attached_picture": false, "index": 0}),
        ),
        (
            "ntsc.mkv",
            format!("{} {X264}", VIDEO.replace("rate=25", "rate=30000/1001")),
            json!({"codec": "h264", "fps": "30000/1001", "variable_rate": false}),
        ),
        (
            "hdr.mp4",
            format!(
                "{VIDEO} -c:v libx264 -preset ultrafast -profile:v high10 -pix_fmt yuv420p10le \
                 -colorspace bt2020nc -color_primaries bt2020 -color_trc smpte2084"
            ),
            json!({"profile": "High 10", "pix_fmt": "yuv420p10le", "bit_depth": 10,
                "color_transfer": "smpte2084", "hdr": "hdr10"}),
        ),
        (
            "hlg.mkv",
            format!("{VIDEO} {X264} -color_trc arib-std-b67"),
            json!({"color_transfer": "arib-std-b67", "hdr": "hlg"}),
        ),
        (
            "interlaced.ts",
            format!("{VIDEO} -vf interlace {X264} -flags +ildct+ilme -x264-params tff=1"),
            json!({"codec": "h264", "field_order": "tt", "fps": "25/2", "variable_rate": false}),
        ),
        (
            "anamorphic.mp4",
            format!("{VIDEO} -vf setsar=64/45 {X264}"),
            json!({"sample_aspect": "64/45", "width": 320, "height": 180}),
        ),
        (
            "dropped.mp4",
            format!("{VIDEO} -vf select=mod(n\\,5) -vsync vfr {X264}"),
            json!({"variable_rate": true}),
        ),
        (
            "dropped.mkv",
            format!("{VIDEO} -vf select=mod(n\\,5) -vsync vfr {X264}"),
            json!({"variable_rate": true}),
        ),
        (
            "422.mov",
            format!("{VIDEO} -c:v libx264 -preset ultrafast -pix_fmt yuv422p"),
            json!({"chroma": "4:2:2", "profile": "High 4:2:2"}),
        ),
        (
            "vp9.webm",
            format!("{VIDEO} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 300k"),
            json!({"codec": "vp9", "profile": "Profile 0", "fps": "25/1"}),
        ),
        (
            "mpeg2.mpg",
            format!("{VIDEO} -c:v mpeg2video -b:v 1M"),
            json!({"codec": "mpeg2video", "profile": "Main", "fps": "25/1"}),
        ),
        (
            "picture.png",
            "-f lavfi -i testsrc2=size=64x48 -frames:v 1 -update 1".to_owned(),
            json!({"codec": "png", "width": 64, "height": 48, "fps": null, "duration_s": null,
                "variable_rate": false}),
        ),
        (
            "picture.jpg",
            "-f lavfi -i testsrc2=size=64x48 -frames:v 1 -update 1 -pix_fmt yuvj420p".to_owned(),
            json!({"codec": "mjpeg", "width": 64, "height": 48, "fps": null, "bit_depth": 8}),
        ),
    ];
    for (name, words, expected) in rows {
        let path = clip(&folder, name, &words);
        let facts = facts(&path);
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&facts["video"][0][key], value, "{name}: {key} in {facts:#}");
        }
        if name == "plain.mp4" {
            assert_eq!(facts["container"], "mov,mp4,m4a,3gp,3g2,mj2");
            assert_eq!(facts["size"], fs::metadata(&path).unwrap().len());
            let duration = facts["duration_s"].as_f64().unwrap();
            assert!((duration - 1.0).abs() < 0.1, "{duration}");
            let expected = json!({"index": 1, "codec": "aac", "profile": "LC", "channels": 2,
                "channel_layout": "stereo", "sample_rate": 44_100});
            for (key, value) in expected.as_object().unwrap() {
                assert_eq!(&facts["audio"][0][key], value, "{key}");
            }
        }
    }
}

#[test]
fn probe_lists_languages_subtitles_and_covers() {
    let folder = folder();
    let srt = folder.path().join("a.srt");
    fs::write(&srt, "1\n00:00:00,000 --> 00:00:01,000\nhello\n").unwrap();
    let film = clip(
        &folder,
        "film.mkv",
        &format!(
            "{VIDEO} -f lavfi -i sine=duration=1 -i {} -map 0 -map 1 -map 2 {X264} -c:a aac \
             -c:s srt -metadata:s:a:0 language=fra -metadata:s:s:0 language=deu",
            srt.display()
        ),
    );
    let seen = facts(&film);
    assert_eq!(seen["container"], "matroska,webm");
    assert_eq!(seen["audio"][0]["language"], "fra");
    assert_eq!(
        seen["subtitles"],
        json!([{"index": 2, "codec": "subrip", "language": "deu"}])
    );

    let cover = clip(
        &folder,
        "c.png",
        "-f lavfi -i testsrc2=size=64x64 -frames:v 1 -update 1",
    );
    let song = clip(
        &folder,
        "song.mp3",
        &format!(
            "-f lavfi -i sine=duration=1 -i {} -map 0 -map 1 -c:v copy -disposition:v attached_pic",
            cover.display()
        ),
    );
    let seen = facts(&song);
    assert_eq!(seen["video"][0]["attached_picture"], true);
    let input = Input::open(&song, &OpenOptions::default()).unwrap();
    assert!(matches!(input.best_video(), Err(Error::NoVideo { .. })));
    assert!(thumbnail(&song, 32).unwrap().starts_with(&[0xff, 0xd8]));
}

/// The first picture of a file after the stream's chain, scaled to 8 bit 4:2:0.
fn normalised(path: &Path) -> (Frame, VideoChain) {
    let mut input = Input::open(path, &OpenOptions::default()).unwrap();
    let stream = input.best_video().unwrap().clone();
    let chain = VideoChain::for_stream(&stream);
    let mut decoder = Decoder::open(&stream, 1).unwrap();
    let mut graph: Option<Graph> = None;
    let mut decoded = 0;
    let mut frames = Vec::new();
    input.select(&[stream.index]);
    loop {
        let packet = input.read().unwrap();
        decoder.send(packet.as_ref()).unwrap();
        while let Some(frame) = decoder.receive().unwrap() {
            decoded += 1;
            let source = VideoSource::of(&frame, decoder.time_base(), stream.frame_rate());
            let graph =
                graph.get_or_insert_with(|| Graph::video(&chain.description, &source).unwrap());
            graph.push(Some(&frame)).unwrap();
            frames.extend(std::iter::from_fn(|| graph.pull().unwrap()));
        }
        if packet.is_none() {
            break;
        }
    }
    let mut graph = graph.unwrap();
    graph.push(None).unwrap();
    frames.extend(std::iter::from_fn(|| graph.pull().unwrap()));
    assert_eq!(frames.len(), decoded, "one frame out per frame in");
    let first = frames.swap_remove(0);
    let target = Geometry::new(first.width(), first.height(), PixelFormat::YUV420P);
    let frame = Scaler::new(Geometry::of(&first), target)
        .unwrap()
        .scale(&first)
        .unwrap();
    (frame, chain)
}

/// Mean luma of the quarters: top left, top right, bottom left, bottom right.
fn quarters(frame: &Frame) -> [f64; 4] {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let (luma, stride) = frame.plane(0).unwrap();
    let mean = |top: usize, left: usize| {
        let rows = luma.chunks(stride).skip(top).take(height / 2);
        let samples: Vec<f64> = rows
            .flat_map(|row| {
                row[left..left + width / 2]
                    .iter()
                    .map(|sample| f64::from(*sample))
            })
            .collect();
        samples.iter().sum::<f64>() / samples.len() as f64
    };
    [
        mean(0, 0),
        mean(0, width / 2),
        mean(height / 2, 0),
        mean(height / 2, width / 2),
    ]
}

/// A picture whose top left quarter alone is white.
const CORNER: &str = "-f lavfi -i color=black:size=320x180:rate=25:duration=0.4,drawbox=w=160:h=90:color=white:t=fill";

#[test]
fn turned_and_mirrored_files_come_out_upright() {
    let folder = folder();
    // Where the white corner is after turning: index into `quarters`.
    let rows = [
        ("upright", [1, 0, 0, 1], (0, false), 0, (320, 180)),
        ("clockwise", [0, 1, -1, 0], (90, false), 1, (180, 320)),
        ("upside down", [-1, 0, 0, -1], (180, false), 3, (320, 180)),
        (
            "counter-clockwise",
            [0, -1, 1, 0],
            (270, false),
            2,
            (180, 320),
        ),
        ("mirrored", [-1, 0, 0, 1], (0, true), 1, (320, 180)),
        ("flipped", [1, 0, 0, -1], (180, true), 2, (320, 180)),
    ];
    let plain = clip(&folder, "corner.mp4", &format!("{CORNER} {X264}"));
    for (name, matrix, (rotation, mirrored), white, size) in rows {
        let path = folder.path().join("turned.mp4");
        fs::copy(&plain, &path).unwrap();
        set_matrix(&path, matrix);
        let seen = facts(&path);
        assert_eq!(seen["video"][0]["rotation"], rotation, "{name}");
        assert_eq!(seen["video"][0]["mirrored"], mirrored, "{name}");
        assert_eq!(seen["video"][0]["width"], 320, "{name}");
        let (frame, _) = normalised(&path);
        assert_eq!((frame.width(), frame.height()), size, "{name}");
        for (quarter, mean) in quarters(&frame).into_iter().enumerate() {
            let expected = if quarter == white { 235.0 } else { 16.0 };
            assert!(
                (mean - expected).abs() < 3.0,
                "{name}: quarter {quarter} is {mean}"
            );
        }
        let picture = folder.path().join("turned.jpg");
        fs::write(&picture, thumbnail(&path, 160).unwrap()).unwrap();
        let (width, height) = (u64::from(size.0), u64::from(size.1));
        let share = (160.0 / width as f64).min(1.0);
        let seen = facts(&picture);
        let expected = (height as f64 * share / 2.0).round() as u64 * 2;
        assert_eq!(
            seen["video"][0]["height"].as_u64(),
            Some(expected),
            "{name}"
        );
    }
}

#[test]
fn hdr_is_tone_mapped_or_says_that_it_is_not() {
    let folder = folder();
    let path = clip(
        &folder,
        "hdr.mp4",
        "-f lavfi -i testsrc2=size=128x72:rate=25:duration=0.2 -c:v libx264 -preset ultrafast \
         -pix_fmt yuv420p10le -colorspace bt2020nc -color_primaries bt2020 -color_trc smpte2084",
    );
    let (frame, chain) = normalised(&path);
    let transfer = frame.colour().transfer();
    match chain.colour {
        ColourTreatment::ToneMapped => assert_eq!(transfer, Some("bt709")),
        ColourTreatment::HdrKept => assert_eq!(transfer, Some("smpte2084")),
        ColourTreatment::Unchanged => panic!("a PQ source was taken for SDR"),
    }
    assert!(thumbnail(&path, 64).unwrap().starts_with(&[0xff, 0xd8]));
}

#[test]
fn interlaced_files_come_out_progressive() {
    let folder = folder();
    // Fields of a moving picture, a fiftieth of a second apart.
    let path = clip(
        &folder,
        "comb.ts",
        "-f lavfi -i testsrc2=size=320x180:rate=50:duration=0.6 -vf interlace=lowpass=off \
         -c:v libx264 -preset ultrafast -qp 10 -pix_fmt yuv420p -flags +ildct+ilme \
         -x264-params tff=1",
    );
    let (frame, chain) = normalised(&path);
    assert!(chain.deinterlaces, "{}", chain.description);
    assert_eq!((frame.width(), frame.height()), (320, 180));
}

/// All sound of a file as stereo float at 48 kHz, counted from the start of its video.
fn sound(path: &Path) -> Vec<f32> {
    let mut input = Input::open(path, &OpenOptions::default()).unwrap();
    let stream = input.best_audio().unwrap().clone();
    let zero = input.start_s().unwrap();
    input.select(&[stream.index]);
    let mut decoder = Decoder::open(&stream, 1).unwrap();
    let offset = (zero / stream.time_base.to_f64()).round() as i64;
    let chain = AudioChain::stereo(48_000);
    let mut graph: Option<Graph> = None;
    let mut samples = Vec::new();
    loop {
        let packet = input.read().unwrap();
        decoder.send(packet.as_ref()).unwrap();
        while let Some(mut frame) = decoder.receive().unwrap() {
            frame.set_pts(frame.pts().map(|pts| pts - offset));
            let source = AudioSource::of(&frame, decoder.time_base());
            let graph = graph.get_or_insert_with(|| {
                Graph::audio(&chain.description, &source, Some(1024)).unwrap()
            });
            graph.push(Some(&frame)).unwrap();
            while let Some(frame) = graph.pull().unwrap() {
                samples.extend(frame.samples_of(0).unwrap());
            }
        }
        if packet.is_none() {
            break;
        }
    }
    let mut graph = graph.unwrap();
    graph.push(None).unwrap();
    while let Some(frame) = graph.pull().unwrap() {
        samples.extend(frame.samples_of(0).unwrap());
    }
    samples
}

#[test]
fn audio_that_starts_late_is_padded() {
    let folder = folder();
    let path = clip(
        &folder,
        "late.mkv",
        &format!(
            "{VIDEO} -itsoffset 0.5 -f lavfi -i sine=frequency=1000:sample_rate=44100:duration=0.5 \
             -map 0:v -map 1:a {X264} -c:a flac"
        ),
    );
    let samples = sound(&path);
    let loudest = |range: std::ops::Range<usize>| {
        samples[range]
            .iter()
            .fold(0.0f32, |loudest, sample| loudest.max(sample.abs()))
    };
    assert!(
        (46_000..=50_000).contains(&samples.len()),
        "{}",
        samples.len()
    );
    assert!(loudest(0..23_000) < 0.001);
    assert!(loudest(25_000..45_000) > 0.05);
}

#[test]
fn thumbnails_skip_black_and_square_pixels() {
    let folder = folder();
    let path = clip(
        &folder,
        "black.mp4",
        &format!(
            "-f lavfi -i color=black:size=320x180:rate=25:duration=1 \
             -f lavfi -i testsrc2=size=320x180:rate=25:duration=1 \
             -filter_complex [0][1]concat,setsar=2/1 {X264} -g 10"
        ),
    );
    let picture = folder.path().join("t.jpg");
    fs::write(&picture, thumbnail(&path, 200).unwrap()).unwrap();
    let seen = facts(&picture);
    assert_eq!(
        (&seen["video"][0]["width"], &seen["video"][0]["height"]),
        (&json!(200), &json!(56))
    );
    let (frame, _) = normalised(&picture);
    let means = quarters(&frame);
    assert!(
        means.iter().any(|mean| *mean > 40.0),
        "a black picture: {means:?}"
    );
}

#[test]
fn thumbnails_keep_colours() {
    let folder = folder();
    // BT.709 red: luma 63 in limited range; in JPEG's matrix and full range 76.
    let path = clip(
        &folder,
        "red.mp4",
        "-f lavfi -i color=red:size=64x64:rate=25:duration=0.2 -vf \
         scale=out_color_matrix=bt709:out_range=tv,format=yuv420p -c:v libx264 -qp 5 \
         -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv",
    );
    let picture = folder.path().join("red.jpg");
    fs::write(&picture, thumbnail(&path, 64).unwrap()).unwrap();
    let mut input = Input::open(&picture, &OpenOptions::default()).unwrap();
    let stream = input.best_video().unwrap().clone();
    let mut decoder = Decoder::open(&stream, 1).unwrap();
    decoder.send(input.read().unwrap().as_ref()).unwrap();
    decoder.send(None).unwrap();
    let frame = decoder.receive().unwrap().unwrap();
    let sample = |plane| i32::from(frame.plane(plane).unwrap().0[8]);
    for (plane, expected) in [(0, 76), (1, 85), (2, 255)] {
        let seen = sample(plane);
        assert!(
            (seen - expected).abs() <= 4,
            "plane {plane}: {seen}, expected {expected}"
        );
    }
}

#[test]
fn bad_files_say_what_is_wrong() {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(clip(&folder, "whole.mp4", &format!("{VIDEO} {X264}"))).unwrap();
    let moov = whole.windows(4).position(|word| word == b"moov").unwrap();
    let text = "This is a letter, not a film.\n".repeat(50);
    let rows = [
        (write("empty.mp4", b""), "the file is empty"),
        (write("letter.mp4", text.as_bytes()), "not a media file"),
        (write("letter.txt", text.as_bytes()), "not a media file"),
        (write("half.mp4", &whole[..moov]), "moov atom not found"),
        (folder.path().join("missing.mp4"), "cannot read the file"),
        (folder.path().to_owned(), "cannot read the file"),
    ];
    for (path, expected) in rows {
        let error = probe(&path, &OpenOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        assert!(
            error.starts_with(&*path.to_string_lossy()),
            "{error:?} names no file"
        );
    }
    let nasty = write("new\nline.mp4", b"");
    let error = probe(&nasty, &OpenOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("new\\nline.mp4") && !error.contains('\n'),
        "{error:?}"
    );
    let song = clip(&folder, "song.m4a", "-f lavfi -i sine=duration=1 -c:a aac");
    let error = thumbnail(&song, 100).unwrap_err().to_string();
    assert!(error.contains("no video stream"), "{error}");
}

#[test]
fn large_pictures_are_refused_before_they_are_allocated() {
    let folder = folder();
    let png = |name: &str, width: u32, height: u32| {
        let small = clip(
            &folder,
            name,
            "-f lavfi -i testsrc2=size=64x48 -frames:v 1 -update 1",
        );
        let mut bytes = fs::read(&small).unwrap();
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let sum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        fs::write(&small, bytes).unwrap();
        small
    };
    let rows = [
        (20_000, 20_000),
        (20_000, 16),
        (16, 20_000),
        (13_000, 13_000),
    ];
    for (width, height) in rows {
        let path = png("large.png", width, height);
        let error = probe(&path, &OpenOptions::default()).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { .. }),
            "{width}x{height}: {error}"
        );
        assert!(
            error.to_string().contains(&format!("{width}x{height}")),
            "{error}"
        );
        assert!(matches!(thumbnail(&path, 100), Err(Error::TooLarge { .. })));
    }
    let path = png("small.png", 64, 48);
    let strict = OpenOptions {
        max_side: 50,
        ..OpenOptions::default()
    };
    assert!(matches!(probe(&path, &strict), Err(Error::TooLarge { .. })));
    assert!(probe(&path, &OpenOptions::default()).is_ok());
}

/// PNG's checksum (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            }
        })
    })
}

#[test]
fn playlists_open_nothing() {
    let folder = folder();
    let secret = clip(&folder, "secret.ts", &format!("{VIDEO} {X264}"));
    clip(&folder, "secret.mp4", &format!("{VIDEO} {X264}"));
    let local = secret.display().to_string();
    let hls = |target: &str| {
        format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{target}\n\
             #EXT-X-ENDLIST\n"
        )
    };
    let rows = [
        ("absolute.m3u8", hls(&local), "secret.ts"),
        ("relative.m3u8", hls("secret.ts"), "secret.ts"),
        (
            "remote.m3u8",
            hls("http://127.0.0.1:9/secret.ts"),
            "http://127.0.0.1:9/secret.ts",
        ),
        (
            "file-url.m3u8",
            hls(&format!("file://{local}")),
            "secret.ts",
        ),
        (
            "live.m3u8",
            hls("secret.ts").replace("#EXT-X-ENDLIST\n", ""),
            "secret.ts",
        ),
        (
            "list.ffconcat",
            "ffconcat version 1.0\nfile secret.ts\n".to_owned(),
            "list of files",
        ),
        (
            "manifest.mpd",
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
             profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT1S\"><Period><AdaptationSet mimeType=\"video/mp4\">\
             <Representation id=\"1\" bandwidth=\"1\" width=\"320\" height=\"180\">\
             <BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"
                .to_owned(),
            "a DASH manifest",
        ),
        (
            "session.sdp",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n\
             m=video 50000 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
                .to_owned(),
            "network streams",
        ),
    ];
    for (name, text, target) in rows {
        // With another name the same bytes must not fare better.
        for name in [name.to_owned(), format!("{name}.mp4")] {
            let path = folder.path().join(&name);
            fs::write(&path, &text).unwrap();
            let start = Instant::now();
            let error = probe(&path, &OpenOptions::default()).unwrap_err();
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{name} took long"
            );
            match &error {
                Error::Reference { target: named, .. } => {
                    assert!(named.contains(target), "{name}: {error}");
                }
                Error::NotMedia { .. } if name.ends_with(".mp4") => {}
                _ => panic!("{name}: {error}"),
            }
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

/// A QuickTime file whose only track keeps its samples in another file.
#[test]
fn external_tracks_are_not_followed() {
    let folder = folder();
    let path = clip(&folder, "reference.mov", &format!("{VIDEO} {X264}"));
    let mut bytes = fs::read(&path).unwrap();
    // The last data reference is the track's: made an alias (not "self-contained") with a path.
    let at = bytes.windows(4).rposition(|word| word == b"dref").unwrap() - 4;
    let target = b"secret.mov";
    let mut alias = vec![0u8; 150];
    alias[4..6].copy_from_slice(&[0, 150]);
    alias[10..16].copy_from_slice(&[6, b'v', b'o', b'l', b'u', b'm']);
    alias[50] = target.len() as u8;
    alias[51..51 + target.len()].copy_from_slice(target);
    for (kind, text) in [(2u16, &b"x:secret.mov"[..]), (18, b"/x/secret.mov")] {
        alias.extend(kind.to_be_bytes());
        alias.extend((text.len() as u16).to_be_bytes());
        alias.extend(text);
        alias.extend(vec![0; text.len() % 2]);
    }
    alias.extend([0xff, 0xff, 0, 0]);
    let mut entry = ((12 + alias.len()) as u32).to_be_bytes().to_vec();
    entry.extend(b"alis\0\0\0\0");
    entry.extend(&alias);
    let mut dref = ((16 + entry.len()) as u32).to_be_bytes().to_vec();
    dref.extend(b"dref\0\0\0\0\0\0\0\x01");
    dref.extend(&entry);
    let old = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let grown = (dref.len() - old) as u32;
    for name in [b"moov", b"trak", b"mdia", b"minf", b"dinf"] {
        // The innermost box of each name that encloses the reference.
        let box_at = bytes[..at]
            .windows(4)
            .rposition(|word| word == name)
            .unwrap()
            - 4;
        let size = u32::from_be_bytes(bytes[box_at..box_at + 4].try_into().unwrap());
        bytes[box_at..box_at + 4].copy_from_slice(&(size + grown).to_be_bytes());
    }
    bytes.splice(at..at + old, dref);
    fs::write(&path, bytes).unwrap();
    fs::copy(
        clip(&folder, "whole.mov", &format!("{VIDEO} {X264}")),
        folder.path().join("secret.mov"),
    )
    .unwrap();
    let error = probe(&path, &OpenOptions::default()).unwrap_err();
    assert!(
        matches!(&error, Error::Reference { target, .. } if target.contains("secret.mov")),
        "{error}"
    );
}

#[test]
fn numbered_pictures_are_one_picture() {
    let folder = folder();
    let path = clip(
        &folder,
        "a.png",
        "-f lavfi -i testsrc2=size=64x48 -frames:v 1 -update 1",
    );
    for name in ["frame%03d.png", "frame001.png", "frame*.png", "-frame.png"] {
        let named = folder.path().join(name);
        fs::copy(&path, &named).unwrap();
        assert_eq!(facts(&named)["video"][0]["width"], 64, "{name}");
    }
}

#[test]
fn pictures_of_every_kind_are_read() {
    let folder = folder();
    for name in [
        "a.bmp", "a.tga", "a.tiff", "a.png", "a.jpg", "a.gif", "a.webp",
    ] {
        let path = clip(&folder, name, "-f lavfi -i testsrc2=size=64x48 -frames:v 1");
        let seen = facts(&path);
        assert_eq!(seen["video"][0]["height"], 48, "{name}: {seen:#}");
        let bytes = thumbnail(&path, 32).unwrap();
        assert!(bytes.starts_with(&[0xff, 0xd8]), "{name}");
    }
}

#[test]
fn a_passed_deadline_is_an_error() {
    let folder = folder();
    let path = clip(&folder, "clip.ts", &format!("{VIDEO} {X264}"));
    let options = OpenOptions {
        deadline: Some(Duration::ZERO),
        ..OpenOptions::default()
    };
    let error = probe(&path, &options).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("clip.ts: gave up on"), "{error}");
}

#[test]
fn truncated_files_neither_crash_nor_hang() {
    let folder = folder();
    let video = "-f lavfi -i testsrc2=size=64x48:rate=25:duration=0.2";
    let names = ["a.mp4", "fragmented.mp4", "a.mkv", "a.ts"];
    for name in names {
        let flags = if name == "fragmented.mp4" {
            "-movflags frag_keyframe+empty_moov"
        } else if name == "a.mp4" {
            "-movflags faststart"
        } else {
            ""
        };
        let path = clip(&folder, name, &format!("{video} {X264} -g 2 {flags}"));
        let whole = fs::read(&path).unwrap();
        let start = Instant::now();
        let mut opened = 0;
        for length in (0..whole.len()).step_by(97) {
            fs::write(&path, &whole[..length]).unwrap();
            let Ok(mut input) = Input::open(&path, &OpenOptions::default()) else {
                continue;
            };
            opened += 1;
            let Ok(stream) = input.best_video().cloned() else {
                continue;
            };
            let mut decoder = Decoder::open(&stream, 1).unwrap();
            while let Ok(packet) = input.read() {
                let _ = decoder.send(packet.as_ref());
                while let Ok(Some(frame)) = decoder.receive() {
                    assert_eq!((frame.width(), frame.height()), (64, 48));
                }
                if packet.is_none() {
                    break;
                }
            }
        }
        assert!(opened > 0, "{name} never opened");
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{name}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn seeking_lands_on_a_key_frame_before() {
    let folder = folder();
    let path = clip(
        &folder,
        "keys.mp4",
        &format!("{VIDEO} {X264} -g 10 -sc_threshold 0"),
    );
    let mut input = Input::open(&path, &OpenOptions::default()).unwrap();
    let stream = input.best_video().unwrap().clone();
    input.seek(stream.index, 0.5).unwrap();
    let packet = input.read().unwrap().unwrap();
    assert!(packet.is_key());
    assert_eq!(
        stream
            .time_base
            .rescale(packet.pts().unwrap(), Rational::new(1, 25)),
        10
    );
}
