//! The pasted command: a shell reads it as meant, and ffmpeg makes of real clips what plays.

use std::path::Path;
use std::process::{Command, Stdio};

use boards::{Audio, Facts, Outcome, Policy, Rate, Table, Video, quote, verdict};
use serde_json::{Value, json};

const POLICY: Policy = Policy {
    render: true,
    allow_software: false,
};

/// Boards with a small target, so that encoding takes no time.
const SMALL_BOARDS: &str = r#"
[[board]]
id = "small-h264"
name = "Small"
decodes = [{ codec = "h264", size = "160x90", fps = 30, hwdec = "any" }]
target = { codec = "h264", size = "160x90", fps = 30 }
output = { vo = "null" }

[[board]]
id = "small-hevc"
name = "Small"
decodes = [
    { codec = "h264", size = "160x90", fps = 30, hwdec = "any" },
    { codec = "hevc", size = "320x180", fps = 30, hwdec = "any", turned = true },
]
target = { codec = "hevc", size = "320x180", fps = 30 }
output = { vo = "null" }
"#;

fn table() -> Table {
    Table::builtin().with_overrides(SMALL_BOARDS).unwrap()
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {talk}");
    output.stdout
}

/// The words a POSIX shell makes of `line`.
fn shell_words(line: &str) -> Vec<String> {
    let script = format!("printf '%s\\0' {line}");
    let printed = String::from_utf8(run("sh", &["-c", &script], Path::new("."))).unwrap();
    let mut words: Vec<String> = printed.split('\0').map(str::to_owned).collect();
    assert_eq!(words.pop().as_deref(), Some(""), "the last word ends too");
    words
}

#[test]
fn a_shell_reads_back_every_quoted_word() {
    let mut words: Vec<String> = [
        "plain.mp4",
        "",
        " ",
        "two words",
        "it's",
        "''",
        "'",
        "\"",
        "\\",
        "\\'",
        "$HOME",
        "`id`",
        "$(id)",
        "a\nb",
        "\n",
        "-dash",
        "--",
        "a;b",
        "a&b",
        "a|b",
        "a>b",
        "*",
        "?",
        "[a]",
        "~",
        "~root",
        "#no",
        "!",
        "{a,b}",
        "é.mp4",
        "映画.mkv",
        "\u{1b}[31m",
        "\t",
        "=",
        "a=b",
        "%s",
        "tail\\",
        "a\r\n",
    ]
    .map(str::to_owned)
    .to_vec();
    // And every pair of characters that a shell may care about.
    let special = "'\"\\ \n\t$`!*?[]{}()<>|&;#~-=a";
    words.extend(
        special
            .chars()
            .flat_map(|a| special.chars().map(move |b| format!("{a}{b}"))),
    );
    let line = words
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(shell_words(&line), words);
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// 2160p60 VP9 Profile 0, nothing known that is not needed.
fn vp9() -> Facts {
    Facts {
        container: text("matroska,webm"),
        video: vec![Video {
            codec: text("vp9"),
            width: Some(3840),
            height: Some(2160),
            fps: "60/1".parse().ok(),
            pix_fmt: text("yuv420p"),
            bit_depth: Some(8),
            ..Video::default()
        }],
        ..Facts::default()
    }
}

/// 1080p30 H.264 in FLV: only the container is wrong.
fn flv() -> Facts {
    let mut facts = vp9();
    facts.container = text("flv");
    let video = &mut facts.video[0];
    (video.codec, video.profile, video.chroma) = (text("h264"), text("High"), text("4:2:0"));
    (video.width, video.height, video.fps) = (Some(1920), Some(1080), "30/1".parse().ok());
    facts
}

fn changed(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Facts {
    change(&mut facts);
    facts
}

fn sound(codecs: &[&str]) -> Vec<Audio> {
    codecs
        .iter()
        .map(|codec| Audio { codec: text(codec) })
        .collect()
}

fn command(facts: &Facts, board: &str, name: &str) -> String {
    verdict(facts, table().get(board).unwrap(), POLICY, name)
        .command
        .expect("a command")
}

#[test]
#[rustfmt::skip]
fn only_the_flags_needed() {
    let hevc_end = "-c:v libx265 -preset superfast -tag:v hvc1 -movflags +faststart a-hevc-2160p60.mp4";
    let h264_end = "-c:v libx264 -preset superfast -movflags +faststart a-h264-1080p30.mp4";
    let tone_map = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p";
    let cover = || Video { codec: text("png"), attached_picture: true, ..Video::default() };
    let subtitle = |codec: &str| boards::Subtitle { codec: text(codec) };
    let deep = |transfer: Option<&str>| changed(vp9(), |f| {
        let video = &mut f.video[0];
        (video.bit_depth, video.pix_fmt) = (Some(10), text("yuv420p10le"));
        video.color_transfer = transfer.map(str::to_owned);
    });
    let rows: Vec<(&str, Facts, String)> = vec![
        ("pi4-64", vp9(), format!("ffmpeg -i a.x {hevc_end}")),
        ("pi3", vp9(), format!("ffmpeg -i a.x -vf scale=1920:1080 -r 30 {h264_end}")),
        ("pi3", changed(vp9(), |f| f.video[0].fps = "25".parse().ok()), format!("ffmpeg -i a.x -vf scale=1920:1080 {h264_end}")),
        ("pi3", changed(vp9(), |f| f.video[0].fps = None), format!("ffmpeg -i a.x -vf scale=1920:1080 -fpsmax 30 {h264_end}")),
        ("pi3", changed(vp9(), |f| (f.video[0].width, f.video[0].height) = (Some(1280), Some(720))), format!("ffmpeg -i a.x -r 30 {h264_end}")),
        ("pi3", changed(vp9(), |f| f.video[0].variable_rate = true), format!("ffmpeg -i a.x -vf scale=1920:1080 -fpsmax 30 {h264_end}")),
        ("pi4-64", changed(vp9(), |f| (f.video[0].fps, f.video[0].variable_rate) = ("24".parse().ok(), true)), format!("ffmpeg -i a.x {}", hevc_end.replace("-c:v", "-fpsmax 60 -c:v"))),
        // Rounding to even sides must not make square pixels oblong; oblong ones keep their shape.
        ("pi3", changed(vp9(), |f| f.video[0].width = Some(4096)), format!("ffmpeg -i a.x -vf scale=1920:1012,setsar=1 -r 30 {h264_end}")),
        ("pi3", changed(vp9(), |f| (f.video[0].width, f.video[0].sample_aspect) = (Some(4096), text("4/3"))), format!("ffmpeg -i a.x -vf scale=1920:1012 -r 30 {h264_end}")),
        ("pi4-64", changed(vp9(), |f| f.video[0].field_order = text("tb")), format!("ffmpeg -i a.x -vf bwdif=mode=send_frame {hevc_end}")),
        ("pi4-64", changed(vp9(), |f| f.video[0].rotation = Some(180)), format!("ffmpeg -i a.x {hevc_end}")),
        // Samples.
        ("pi4-64", changed(vp9(), |f| f.video[0].pix_fmt = text("yuv444p")), format!("ffmpeg -i a.x {}", hevc_end.replace("superfast", "superfast -pix_fmt yuv420p"))),
        ("pi4-64", changed(vp9(), |f| f.video[0].pix_fmt = None), format!("ffmpeg -i a.x {}", hevc_end.replace("superfast", "superfast -pix_fmt yuv420p"))),
        ("pi4-64", deep(None), format!("ffmpeg -i a.x {hevc_end}")),
        ("pi4-64", deep(Some("smpte2084")), format!("ffmpeg -i a.x {hevc_end}")),
        ("pi4-64", changed(deep(None), |f| f.video[0].pix_fmt = text("yuv422p10le")), format!("ffmpeg -i a.x {}", hevc_end.replace("superfast", "superfast -pix_fmt yuv420p10le"))),
        ("pi3", deep(Some("bt709")), format!("ffmpeg -i a.x -vf scale=1920:1080 -r 30 {}", h264_end.replace("superfast", "superfast -pix_fmt yuv420p"))),
        ("pi3", deep(Some("smpte2084")), format!("ffmpeg -i a.x -vf scale=1920:1080,{tone_map} -r 30 {h264_end}")),
        ("pi3", deep(Some("arib-std-b67")), format!("ffmpeg -i a.x -vf scale=1920:1080,{tone_map} -r 30 {h264_end}")),
        // Sound and what else there is.
        ("pi4-64", changed(vp9(), |f| f.audio = sound(&["aac"])), format!("ffmpeg -i a.x {}", hevc_end.replace("superfast", "superfast -c:a copy"))),
        ("pi4-64", changed(vp9(), |f| f.audio = sound(&["vorbis"])), format!("ffmpeg -i a.x {}", hevc_end.replace("superfast", "superfast -c:a aac"))),
        ("pi4-64", changed(vp9(), |f| f.audio = sound(&["aac", "ac3"])), format!("ffmpeg -i a.x -map 0:v:0 -map 0:a {}", hevc_end.replace("superfast", "superfast -c:a copy"))),
        ("pi4-64", changed(vp9(), |f| f.audio = sound(&["ac4", "opus"])), format!("ffmpeg -i a.x -map 0:v:0 -map 0:a:1 {}", hevc_end.replace("superfast", "superfast -c:a copy"))),
        ("pi4-64", changed(vp9(), |f| f.audio = sound(&["ac4"])), format!("ffmpeg -i a.x -an {hevc_end}")),
        ("pi4-64", changed(vp9(), |f| f.video.insert(0, cover())), format!("ffmpeg -i a.x -map 0:v:1 {hevc_end}")),
        ("pi4-64", changed(vp9(), |f| f.subtitles = vec![subtitle("subrip")]), format!("ffmpeg -i a.x -map 0:v:0 -map 0:s {}", hevc_end.replace("superfast", "superfast -c:s mov_text"))),
        ("pi4-64", changed(vp9(), |f| f.subtitles = vec![subtitle("hdmv_pgs_subtitle")]), format!("ffmpeg -i a.x -sn {hevc_end}")),
        ("pi4-64", changed(vp9(), |f| f.subtitles = vec![subtitle("subrip"), subtitle("ass")]), format!("ffmpeg -i a.x -map 0:v:0 -map 0:s {}", hevc_end.replace("superfast", "superfast -c:s mov_text"))),
        ("pi4-64", changed(vp9(), |f| f.subtitles = vec![subtitle("hdmv_pgs_subtitle"), subtitle("subrip")]), format!("ffmpeg -i a.x -map 0:v:0 -map 0:s:1 {}", hevc_end.replace("superfast", "superfast -c:s mov_text"))),
        ("pi4-64", changed(vp9(), |f| (f.audio, f.subtitles) = (sound(&["aac", "ac3"]), vec![subtitle("subrip")])), format!("ffmpeg -i a.x -map 0:v:0 -map 0:a -map 0:s {}", hevc_end.replace("superfast", "superfast -c:a copy -c:s mov_text"))),
        ("pi4-64", changed(vp9(), |f| (f.audio, f.subtitles) = (sound(&["aac", "ac3"]), vec![subtitle("dvd_subtitle")])), format!("ffmpeg -i a.x -map 0:v:0 -map 0:a {}", hevc_end.replace("superfast", "superfast -c:a copy"))),
        // Rewrapping.
        ("pi3", flv(), "ffmpeg -i a.x -c copy -movflags +faststart a-rewrapped.mp4".to_owned()),
        ("pi3", changed(flv(), |f| f.audio = sound(&["mp3"])), "ffmpeg -i a.x -c copy -movflags +faststart a-rewrapped.mp4".to_owned()),
        ("pi3", changed(flv(), |f| f.audio = sound(&["speex"])), "ffmpeg -i a.x -c:v copy -c:a aac -movflags +faststart a-rewrapped.mp4".to_owned()),
        ("pi3", changed(flv(), |f| f.subtitles = vec![subtitle("text")]), "ffmpeg -i a.x -map 0:v:0 -map 0:s -c:v copy -c:s mov_text -movflags +faststart a-rewrapped.mp4".to_owned()),
        ("pi3", changed(flv(), |f| f.subtitles = vec![subtitle("text"), subtitle("dvd_subtitle")]), "ffmpeg -i a.x -map 0:v:0 -map 0:s:0 -c:v copy -c:s mov_text -movflags +faststart a-rewrapped.mp4".to_owned()),
        ("pi3", changed(flv(), |f| f.video.push(cover())), "ffmpeg -i a.x -map 0:v:0 -c copy -movflags +faststart a-rewrapped.mp4".to_owned()),
        ("pi5", changed(flv(), |f| (f.video[0].codec, f.video[0].profile) = (text("hevc"), text("Main"))), "ffmpeg -i a.x -c copy -tag:v hvc1 -movflags +faststart a-rewrapped.mp4".to_owned()),
    ];
    for (board, facts, expected) in rows {
        assert_eq!(command(&facts, board, "a.x"), expected, "{board}: {facts:?}");
    }
}

#[test]
fn any_name_comes_back_as_one_word_beside_its_input() {
    let long = "é".repeat(127);
    let rows = [
        ("a.flv", "a.flv", "a-rewrapped.mp4"),
        (
            "it's\n\"$(id)\" *.flv",
            "it's\n\"$(id)\" *.flv",
            "it's\n\"$(id)\" *-rewrapped.mp4",
        ),
        ("-y.flv", "./-y.flv", "./-y-rewrapped.mp4"),
        ("-", "./-", "./--rewrapped.mp4"),
        (
            "http://x/y.flv",
            "./http://x/y.flv",
            "./http://x/y-rewrapped.mp4",
        ),
        ("concat:a|b", "./concat:a|b", "./concat:a|b-rewrapped.mp4"),
        ("/srv/a:b.flv", "/srv/a:b.flv", "/srv/a:b-rewrapped.mp4"),
        ("../a.b/c", "../a.b/c", "../a.b/c-rewrapped.mp4"),
        ("dir/.hidden", "dir/.hidden", "dir/.hidden-rewrapped.mp4"),
        (
            "a-rewrapped.mp4",
            "a-rewrapped.mp4",
            "a-rewrapped-rewrapped.mp4",
        ),
        ("two.dots.flv", "two.dots.flv", "two.dots-rewrapped.mp4"),
        ("nul\0.flv", "nul.flv", "nul-rewrapped.mp4"),
        ("", "input", "input-rewrapped.mp4"),
        // 254 bytes: the ending would not fit behind them, and no character is cut in two.
        (&long, &long, &format!("{}-rewrapped.mp4", "é".repeat(120))),
    ];
    for (name, input, output) in rows {
        let words = shell_words(&command(&flv(), "pi3", name));
        assert_eq!(words[..3], ["ffmpeg", "-i", input], "{name:?}");
        assert_eq!(words.last().map(String::as_str), Some(output), "{name:?}");
        assert!(
            output
                .rsplit('/')
                .next()
                .is_some_and(|name| name.len() <= 255),
            "{name:?}"
        );
    }
}

/// What ffprobe knows of a file, in the form the verdict reads.
fn probe(name: &str, folder: &Path) -> Facts {
    let arguments = [
        "-v",
        "error",
        "-of",
        "json",
        "-show_streams",
        "-show_format",
        "-i",
        name,
    ];
    let found: Value = serde_json::from_slice(&run("ffprobe", &arguments, folder)).unwrap();
    let streams = found["streams"].as_array().unwrap();
    let of = |kind: &str| -> Vec<&Value> {
        streams
            .iter()
            .filter(|stream| stream["codec_type"] == kind)
            .collect()
    };
    let video: Vec<Value> = of("video")
        .iter()
        .map(|stream| {
            let format = stream["pix_fmt"].as_str().unwrap();
            let rate = |key: &str| stream[key].as_str().unwrap().parse::<Rate>().unwrap();
            let (shortest, average) = (rate("r_frame_rate"), rate("avg_frame_rate"));
            let rotation = stream["side_data_list"][0]["rotation"].as_i64().unwrap_or(0);
            json!({
                "codec": stream["codec_name"], "profile": stream["profile"],
                "width": stream["width"], "height": stream["height"], "fps": average,
                "variable_rate": shortest.num() * average.den() > 2 * average.num() * shortest.den(),
                "sample_aspect": stream["sample_aspect_ratio"].as_str().map(|aspect| aspect.replace(':', "/")),
                "rotation": (-rotation).rem_euclid(360), "pix_fmt": format,
                "bit_depth": if format.contains("p10") { 10 } else { 8 },
                "chroma": if format.contains("44") { "4:4:4" } else if format.contains("42") && !format.contains("420") { "4:2:2" } else { "4:2:0" },
                "field_order": stream["field_order"], "color_transfer": stream["color_transfer"],
                "attached_picture": stream["disposition"]["attached_pic"] == 1,
            })
        })
        .collect();
    let codecs = |kind: &str| {
        of(kind)
            .iter()
            .map(|stream| json!({"codec": stream["codec_name"]}))
            .collect::<Vec<_>>()
    };
    serde_json::from_value(json!({
        "container": found["format"]["format_name"], "video": video,
        "audio": codecs("audio"), "subtitles": codecs("subtitle"),
    }))
    .unwrap()
}

const TONE: &str = "-f lavfi -i sine=d=0.4";

/// (board, file, how ffmpeg makes it, what the command holds, the size of the result)
type Clip = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    (u32, u32),
);

/// Clips that do not play, each wrong in another way.
#[rustfmt::skip]
const CLIPS: &[Clip] = &[
    ("small-h264", "fast large.webm", "-f lavfi -i testsrc2=s=320x240:r=60:d=0.4 SOUND -c:v libvpx-vp9 -cpu-used 8 -deadline realtime -c:a libopus", "scale=120:90", (120, 90)),
    ("small-h264", "it's \"odd\"\n-$(id).mkv", "-f lavfi -i testsrc=s=321x181:r=24:d=0.4 -pix_fmt yuv444p -c:v ffv1", "setsar=1", (160, 90)),
    ("small-h264", "-dash.mov", "-f lavfi -i testsrc2=s=160x90:r=24000/1001:d=0.4 SOUND -c:v prores_ks -c:a pcm_s16le", "-pix_fmt yuv420p", (160, 90)),
    ("small-h264", "hdr.mkv", "-f lavfi -i testsrc2=s=160x90:r=24:d=0.4 -vf setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc -pix_fmt yuv420p10le -c:v libx264 -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc", "tonemap", (160, 90)),
    ("small-h264", "fields.mpg", "-f lavfi -i testsrc2=s=160x90:r=50:d=0.4 SOUND -vf interlace -c:v mpeg2video -flags +ildct+ilme -c:a mp2", "bwdif", (160, 90)),
    ("small-h264", "ordered.avi", "-f lavfi -i testsrc2=s=160x90:r=25:d=0.4 SOUND -c:v libx264 -bf 2 -pix_fmt yuv420p -c:a mp3", "libx264", (160, 90)),
    ("small-h264", "variable.mp4", "-f lavfi -i testsrc2=s=160x90:r=120:d=1 -vf select=lt(n\\,6)+not(mod(n\\,24)) -fps_mode vfr -pix_fmt yuv420p -c:v mpeg4", "-fpsmax 30", (160, 90)),
    ("small-hevc", "time:12.flv", "-f lavfi -i testsrc2=s=160x90:r=30:d=0.4 SOUND -c:v libx264 -bf 2 -pix_fmt yuv420p -c:a aac", "-c copy", (160, 90)),
    ("small-hevc", "ten bits.mkv", "-f lavfi -i testsrc2=s=640x360:r=50:d=0.4 SOUND -pix_fmt yuv422p10le -c:v ffv1 -c:a flac", "-pix_fmt yuv420p10le", (320, 180)),
    ("small-hevc", "standing.mkv", "-f lavfi -i testsrc2=s=360x640:r=25:d=0.4 -pix_fmt yuv420p -c:v ffv1", "scale=180:320", (180, 320)),
    ("small-hevc", "wide.mkv", "-f lavfi -i testsrc2=s=1280x240:r=25:d=0.4 -pix_fmt yuv420p -c:v ffv1", "scale=320:60", (320, 60)),
];

#[test]
fn what_the_command_makes_plays() {
    let table = table();
    let folder = tempfile::tempdir().unwrap();
    for (board, name, recipe, holds, size) in CLIPS {
        let board = table.get(board).unwrap();
        let file = format!("./{name}");
        let recipe = recipe.replace("SOUND", TONE);
        let mut arguments = vec!["-v", "error"];
        arguments.extend(recipe.split(' '));
        arguments.push(&file);
        run("ffmpeg", &arguments, folder.path());

        let said = verdict(&probe(&file, folder.path()), board, POLICY, name);
        let (variant, command) = (
            said.variant.expect("a variant"),
            said.command.expect("a command"),
        );
        assert!(command.contains(holds), "{name}: {command}");
        run("sh", &["-c", &command], folder.path());

        let output = shell_words(&command).pop().unwrap();
        let facts = probe(&output, folder.path());
        let after = verdict(&facts, board, POLICY, &output);
        assert_eq!(
            (after.verdict, after.reasons),
            (Outcome::Plays, vec![]),
            "{name}: {command}"
        );
        assert_eq!(
            facts.main_video().and_then(Video::size),
            Some(*size),
            "{name}"
        );
        assert_eq!((variant.width, variant.height), *size, "{name}");
        if variant.fps.is_some() {
            assert_eq!(
                facts.main_video().unwrap().fps,
                variant.fps,
                "{name}: {command}"
            );
        }
        let sounds = recipe.contains(TONE);
        assert_eq!(facts.audio.len(), usize::from(sounds), "{name}: sound");
    }
}

/// Whatever becomes of the picture, and of two tracks of each kind.
#[test]
fn every_track_of_sound_and_text_goes_over() {
    let folder = tempfile::tempdir().unwrap();
    let text = "1\n00:00:00,100 --> 00:00:00,300\nSo\n";
    std::fs::write(folder.path().join("text.srt"), text).unwrap();
    for (name, coded) in [
        ("encoded.mkv", "-c:v mpeg4 -c:a flac -c:s srt"),
        (
            "copied.nut",
            "-c:v libx264 -bf 0 -pix_fmt yuv420p -c:a aac -c:s ass",
        ),
    ] {
        let made_by = format!(
            "-v error -f lavfi -i testsrc2=s=160x90:r=25:d=0.4 {TONE} {TONE} -i text.srt -i text.srt \
             -map 0 -map 1 -map 2 -map 3 -map 4 {coded} {name}"
        );
        run(
            "ffmpeg",
            &made_by.split_whitespace().collect::<Vec<_>>(),
            folder.path(),
        );
        let facts = probe(name, folder.path());
        let said = verdict(&facts, table().get("small-h264").unwrap(), POLICY, name);
        let command = said.command.unwrap();
        run("sh", &["-c", &command], folder.path());
        let made = probe(&shell_words(&command).pop().unwrap(), folder.path());
        let tracks = (made.video.len(), made.audio.len(), made.subtitles.len());
        assert_eq!(tracks, (1, 2, 2), "{command}");
    }
}

#[test]
fn a_turned_clip_comes_out_upright() {
    let folder = tempfile::tempdir().unwrap();
    let flat = "-v error -f lavfi -i testsrc2=s=160x90:r=25:d=0.4 -c:v mpeg4 flat.mp4";
    run(
        "ffmpeg",
        &flat.split(' ').collect::<Vec<_>>(),
        folder.path(),
    );
    let turned = "-v error -i flat.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4";
    run(
        "ffmpeg",
        &turned.split(' ').collect::<Vec<_>>(),
        folder.path(),
    );
    let mut facts = probe("turned.mp4", folder.path());
    if !facts.main_video().unwrap().is_turned() {
        // FFmpeg 7 ignores that metadata; since 6 there is an option of the input.
        let turned = "-v error -y -display_rotation 90 -i flat.mp4 -c copy turned.mp4";
        run(
            "ffmpeg",
            &turned.split(' ').collect::<Vec<_>>(),
            folder.path(),
        );
        facts = probe("turned.mp4", folder.path());
    }
    assert!(facts.main_video().unwrap().is_turned());

    let said = verdict(
        &facts,
        table().get("small-hevc").unwrap(),
        POLICY,
        "turned.mp4",
    );
    let command = said.command.unwrap();
    run("sh", &["-c", &command], folder.path());
    let after = probe(&shell_words(&command).pop().unwrap(), folder.path());
    let video = after.main_video().unwrap();
    assert_eq!(
        (video.size(), video.rotation),
        (Some((90, 160)), Some(0)),
        "{command}"
    );
}
