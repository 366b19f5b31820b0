//! The tasks that make files for screens: a variant that a board plays, a picture that fits one.
//!
//! What a variant must be is the boards room's to say, how it is made the media room's. Here both
//! are asked, and the result is judged like any file that somebody brings: it counts only if the
//! board plays it.

use std::path::Path;
use std::time::{Duration, Instant};

use boards::{Facts, Outcome, Policy};
use ladder::Progress;
use media::{OpenOptions, Pictured, Probe, Rational};
use serde_json::Value;

use super::protocol::{Event, How, Order, RenderTask};
use super::{Fault, say};

/// The result's name in the job's folder, and its name while it grows.
const VARIANT: &str = "variant.mp4";
const GROWING: &str = "growing.mp4";
const PICTURE: &str = "picture.webp";

/// How often progress is told.
const TELL: Duration = Duration::from_millis(500);

/// Makes the variant of an order.
pub(super) fn render(order: &Order, task: &RenderTask, folder: &Path) -> Result<(), Fault> {
    let (file, probe, how) = variant(&order.input, &order.name, task, folder, &mut |progress| {
        // Whether anybody listens shows at the next word that matters.
        let _ = say(&Event::Progress(progress));
    })?;
    let file = file.to_owned();
    Ok(say(&Event::Rendered { file, probe, how })?)
}

/// Makes the picture of an order.
pub(super) fn picture(order: &Order, width: u32, height: u32, folder: &Path) -> Result<(), Fault> {
    let (file, probe, how) = shown(&order.input, (width, height), folder, &mut |progress| {
        let _ = say(&Event::Progress(progress));
    })?;
    let file = file.to_owned();
    Ok(say(&Event::Rendered { file, probe, how })?)
}

/// A still as WebP; what moves as the video that every board plays.
fn shown(
    input: &Path,
    (width, height): (u32, u32),
    folder: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<(&'static str, Value, How), Fault> {
    let how = |encoder: &str, warnings| How::Encoded {
        decoder: None,
        encoder: Some(encoder.to_owned()),
        sound: None,
        warnings,
    };
    match media::picture(input, width, height)? {
        Pictured::Still { webp, .. } => {
            std::fs::write(folder.join(GROWING), webp)?;
            std::fs::rename(folder.join(GROWING), folder.join(PICTURE))?;
            let probe = media::probe(&folder.join(PICTURE), &OpenOptions::default())?;
            Ok((
                PICTURE,
                serde_json::to_value(probe)?,
                how("libwebp", Vec::new()),
            ))
        }
        Pictured::Moving => {
            let probe = media::probe(input, &OpenOptions::default())?;
            let mut clock = Clock::new(probe.duration_s);
            let recipe = moving_recipe(&probe, (width, height))?;
            let growing = folder.join(GROWING);
            let made = media::render(input, &growing, &recipe, &mut |media_s| {
                clock.at(media_s).into_iter().for_each(&mut *tell);
            })?;
            let encoder = made.encoder.unwrap_or_default();
            moved(folder, how(&encoder, made.warnings))
        }
        Pictured::Animated(animation) => {
            let mut clock = Clock::new(Some(animation.duration_s()));
            let wanted = moving(animation.size(), (width, height), false);
            animation.render(&folder.join(GROWING), &wanted, &mut |media_s| {
                clock.at(media_s).into_iter().for_each(&mut *tell);
            })?;
            moved(folder, how("libx264", Vec::new()))
        }
    }
}

/// The video that was made of a picture, under its name.
fn moved(folder: &Path, how: How) -> Result<(&'static str, Value, How), Fault> {
    std::fs::rename(folder.join(GROWING), folder.join(VARIANT))?;
    let probe = media::probe(&folder.join(VARIANT), &OpenOptions::default())?;
    Ok((VARIANT, serde_json::to_value(probe)?, how))
}

/// How a picture that moves and that FFmpeg reads becomes a video.
fn moving_recipe(probe: &Probe, limit: (u32, u32)) -> Result<media::Recipe, Fault> {
    let Some(video) = probe.video.iter().find(|video| !video.attached_picture) else {
        return Err(Fault::said("no picture".to_owned()));
    };
    let size = if video.rotation % 180 == 0 {
        (video.width, video.height)
    } else {
        (video.height, video.width)
    };
    Ok(media::Recipe {
        video: video.index,
        encode: Some(moving(size, limit, video.hdr.is_some())),
        audio: Vec::new(),
        subtitles: Vec::new(),
    })
}

/// How a picture that moves is encoded: H.264 in 8 bits, at most thirty pictures a second.
fn moving(
    (own_width, own_height): (u32, u32),
    (width, height): (u32, u32),
    tone_mapped: bool,
) -> media::Encode {
    let share = (f64::from(width) / f64::from(own_width))
        .min(f64::from(height) / f64::from(own_height))
        .min(1.0);
    // Neither encoders nor decoders take less than one block.
    let side = |side: u32| ((f64::from(side) * share / 2.0).round() as u32 * 2).max(16);
    let defaults = super::protocol::RenderSettings::default();
    media::Encode {
        codec: "h264".to_owned(),
        width: side(own_width),
        height: side(own_height),
        pace: media::Pace::AtMost(Rational::new(30, 1)),
        bit_depth: 8,
        tone_mapped,
        deinterlaced: false,
        preset: defaults.preset,
        crf: defaults.crf,
        threads: 0,
        hardware: false,
    }
}

fn variant(
    input: &Path,
    name: &str,
    task: &RenderTask,
    folder: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<(&'static str, Value, How), Fault> {
    let policy = Policy {
        render: true,
        allow_software: task.allow_software,
    };
    let judged = |probe: &Probe| -> Result<_, Fault> {
        let json = serde_json::to_value(probe)?;
        let facts: Facts = serde_json::from_value(json.clone())?;
        Ok((json, boards::verdict(&facts, &task.board, policy, name)))
    };
    let probe = media::probe(input, &OpenOptions::default())?;
    let (json, verdict) = judged(&probe)?;
    let recipe = match (verdict.verdict, verdict.recipe) {
        (Outcome::Plays, _) => {
            std::fs::copy(input, folder.join(VARIANT))?;
            return Ok((VARIANT, json, How::Copied));
        }
        (Outcome::Render, Some(recipe)) => recipe,
        _ => {
            return Err(Fault::said(sentences(
                "cannot be rendered",
                &verdict.reasons,
            )));
        }
    };
    let mut warnings = left_out(&probe, &recipe);
    let recipe = recipe_for(&probe, &recipe, task);
    let growing = folder.join(GROWING);
    let mut clock = Clock::new(probe.duration_s);
    let made = media::render(input, &growing, &recipe, &mut |media_s| {
        if let Some(progress) = clock.at(media_s) {
            tell(progress);
        }
    })?;
    let (json, verdict) = judged(&media::probe(&growing, &OpenOptions::default())?)?;
    if verdict.verdict != Outcome::Plays {
        let what = format!("the variant does not play on {}", task.board.name);
        return Err(Fault::said(sentences(&what, &verdict.reasons)));
    }
    std::fs::rename(growing, folder.join(VARIANT))?;
    warnings.extend(made.warnings);
    let how = if made.encoder.is_none() && made.sound.is_none() {
        How::Rewrapped { warnings }
    } else {
        How::Encoded {
            decoder: made.decoder,
            encoder: made.encoder,
            sound: made.sound,
            warnings,
        }
    };
    Ok((VARIANT, json, how))
}

/// What of a file its variant does not have.
fn left_out(probe: &Probe, recipe: &boards::Recipe) -> Vec<String> {
    let track = |codec: &str, language: &Option<String>| match language {
        Some(language) => format!("{codec} in {language}"),
        None => codec.to_owned(),
    };
    let sound = probe.audio.iter().enumerate();
    let sound = sound.filter(|(at, _)| recipe.audio.iter().all(|kept| kept.audio != *at));
    let sound: Vec<_> = sound
        .map(|(_, audio)| track(audio.codec, &audio.language))
        .collect();
    let text = probe.subtitles.iter().enumerate();
    let text = text.filter(|(at, _)| recipe.subtitles.iter().all(|kept| kept.subtitle != *at));
    let text: Vec<_> = text
        .map(|(_, text)| track(text.codec, &text.language))
        .collect();
    [
        ("sound that is not decoded here", sound),
        ("subtitles that are pictures, which MP4 does not hold", text),
    ]
    .into_iter()
    .filter(|(_, tracks)| !tracks.is_empty())
    .map(|(what, tracks)| format!("left out: {what} ({})", tracks.join(", ")))
    .collect()
}

fn sentences(what: &str, reasons: &[boards::Reason]) -> String {
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    format!("{what}: {}", reasons.join("; "))
}

/// The boards room's recipe in the media room's words: streams by their numbers in the file.
fn recipe_for(probe: &Probe, recipe: &boards::Recipe, task: &RenderTask) -> media::Recipe {
    let video = &probe.video[recipe.video];
    let settings = &task.settings;
    media::Recipe {
        video: video.index,
        encode: recipe.encode.as_ref().map(|encode| media::Encode {
            codec: encode.codec.clone(),
            width: encode.width,
            height: encode.height,
            pace: match encode.pace {
                boards::Pace::Kept => media::Pace::Kept,
                boards::Pace::Lowered(rate) => media::Pace::Lowered(rational(rate)),
                boards::Pace::AtMost(rate) => media::Pace::AtMost(rational(rate)),
            },
            bit_depth: encode.bit_depth,
            tone_mapped: encode.tone_mapped,
            deinterlaced: encode.deinterlaced,
            preset: settings.preset.clone(),
            crf: settings.crf,
            threads: 0,
            hardware: true,
        }),
        audio: recipe
            .audio
            .iter()
            .map(|track| media::Track {
                stream: probe.audio[track.audio].index,
                copied: track.copied,
            })
            .collect(),
        subtitles: recipe
            .subtitles
            .iter()
            .map(|text| media::Track {
                stream: probe.subtitles[text.subtitle].index,
                copied: text.copied,
            })
            .collect(),
    }
}

/// As a fraction of numbers that libav holds; to the thousandth where it is none.
fn rational(rate: boards::Rate) -> Rational {
    match (i32::try_from(rate.num()), i32::try_from(rate.den())) {
        (Ok(num), Ok(den)) => Rational::new(num, den),
        _ => {
            let thousandths = (rate.num() as f64 / rate.den() as f64 * 1000.0).floor();
            Rational::new(thousandths as i32, 1000)
        }
    }
}

/// Makes progress out of how far the work is.
struct Clock {
    duration_s: Option<f64>,
    began: Instant,
    /// When something was said last, and of how many seconds.
    told: Option<(Instant, f64)>,
}

impl Clock {
    fn new(duration_s: Option<f64>) -> Self {
        Self {
            duration_s,
            began: Instant::now(),
            told: None,
        }
    }

    /// What to say now, if it is time to say something.
    fn at(&mut self, media_s: f64) -> Option<Progress> {
        let now = Instant::now();
        // Who does not get on says nothing: the server takes silence for a hang.
        let news = self
            .told
            .is_none_or(|(told, told_s)| now - told >= TELL && media_s > told_s);
        if !news {
            return None;
        }
        self.told = Some((now, media_s));
        let elapsed = (now - self.began).as_secs_f64();
        let speed = if elapsed > 0.0 {
            media_s / elapsed
        } else {
            0.0
        };
        let left = self.duration_s.map(|whole| (whole - media_s).max(0.0));
        Some(Progress {
            fraction: self
                .duration_s
                .filter(|whole| *whole > 0.0)
                .map(|whole| (media_s / whole).clamp(0.0, 1.0)),
            media_s,
            speed,
            eta_s: left.filter(|_| speed > 0.0).map(|left| left / speed),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use boards::Table;

    use super::*;
    use crate::worker::protocol::RenderSettings;

    /// Runs one of FFmpeg's programs and gives what it prints.
    fn run(program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn ffmpeg(arguments: &str, target: &Path) {
        let words = arguments.split_whitespace();
        let target = target.to_str().unwrap();
        let all: Vec<&str> = ["-nostdin", "-v", "error", "-y"]
            .into_iter()
            .chain(words)
            .chain([target])
            .collect();
        run("ffmpeg", &all);
    }

    /// One line a stream of what ffprobe says.
    fn ffprobe(file: &Path) -> String {
        let entries = "stream=codec_name,codec_tag_string,profile,width,height,pix_fmt,\
            r_frame_rate,sample_aspect_ratio,field_order,color_transfer,color_primaries,\
            color_space,color_range,channels,sample_rate,nb_frames,duration,start_time\
            :stream_side_data=rotation";
        let file = file.to_str().unwrap();
        run(
            "ffprobe",
            &[
                "-v",
                "error",
                "-show_entries",
                entries,
                "-of",
                "compact",
                file,
            ],
        )
    }

    /// What packets hold, in file order, of video and sound.
    fn packets(file: &Path) -> Vec<String> {
        let file = file.to_str().unwrap();
        ["v:0", "a:0"]
            .map(|stream| {
                let options = ["-v", "error", "-show_packets", "-show_data_hash", "md5"];
                let fields = ["-show_entries", "packet=size,data_hash", "-of", "csv=p=0"];
                let which = ["-select_streams", stream, file];
                run("ffprobe", &[&options[..], &fields, &which].concat())
            })
            .to_vec()
    }

    struct Rendered {
        file: PathBuf,
        how: How,
        _folder: tempfile::TempDir,
    }

    fn rendered(input: &Path, board: &str) -> Result<Rendered, String> {
        let folder = tempfile::tempdir().unwrap();
        let task = RenderTask {
            board: Table::builtin().get(board).unwrap().clone(),
            allow_software: false,
            settings: RenderSettings {
                preset: "ultrafast".to_owned(),
                crf: None,
            },
        };
        let mut told = Vec::new();
        let made = variant(input, "clip", &task, folder.path(), &mut |progress| {
            told.push(progress);
        });
        let (file, _, how) = made.map_err(|fault| fault.message)?;
        assert!(!told.is_empty() || matches!(how, How::Copied));
        assert!(!folder.path().join(GROWING).exists());
        let file = folder.path().join(file);
        let start = std::fs::read(&file).unwrap();
        let place = |name: &[u8]| start.windows(4).position(|window| window == name);
        if how != How::Copied {
            assert!(
                place(b"moov") < place(b"mdat"),
                "plays from its first bytes"
            );
        }
        Ok(Rendered {
            file,
            how,
            _folder: folder,
        })
    }

    const SOUND: &str = "-f lavfi -i sine=440:sample_rate=48000";

    /// `made_by` are ffmpeg's arguments; `expected` are all found in what ffprobe says of the
    /// variant for `board`, and `video` and `sound` name the encoders.
    fn check(
        (name, made_by, board): (&str, &str, &str),
        (video, sound): (Option<&str>, Option<&str>),
        expected: &[&str],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join(name);
        ffmpeg(made_by, &source);
        let rendered = match rendered(&source, board) {
            Ok(rendered) => rendered,
            Err(error) => panic!("{name}: {error}\n{}", ffprobe(&source)),
        };
        let said = ffprobe(&rendered.file);
        for part in expected {
            assert!(
                said.contains(part),
                "{name}: {part} is not in {said} made of {}",
                ffprobe(&source)
            );
        }
        match rendered.how {
            How::Rewrapped { warnings } => {
                assert!(warnings.is_empty(), "{name}: {warnings:?}");
                assert_eq!((video, sound), (None, None), "{name}");
                assert_eq!(packets(&source), packets(&rendered.file), "{name}");
            }
            How::Encoded {
                encoder,
                sound: recoded,
                warnings,
                ..
            } => {
                assert_eq!(
                    (encoder.as_deref(), recoded.as_deref()),
                    (video, sound),
                    "{name}"
                );
                assert!(warnings.is_empty(), "{name}: {warnings:?}");
                let (before, after) = (packets(&source), packets(&rendered.file));
                assert_eq!(before[0] == after[0], video.is_none(), "{name}: pictures");
                if sound.is_none() {
                    assert_eq!(before[1], after[1], "{name}: sound");
                }
            }
            How::Copied => panic!("{name}: plays already"),
        }
    }

    #[test]
    fn the_fewest_changes() {
        const PICTURE: &str = "-f lavfi -i testsrc2=size=640x360:rate=30";
        let h264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
        let x264 = (Some("libx264"), None);
        let x265 = (Some("libx265"), None);
        let line = |start: &str, rest: &str| format!("{start} {SOUND} {rest} -t 1");
        let only = |start: &str, rest: &str| format!("{start} {rest} -t 1");
        let picture =
            |size: &str, rate: &str| format!("-f lavfi -i testsrc2=size={size}:rate={rate}");
        check(
            (
                "container.flv",
                &line(PICTURE, &format!("{h264} -c:a aac")),
                "pi3",
            ),
            (None, None),
            &[
                "codec_name=h264",
                "codec_name=aac",
                "|width=640|height=360|",
            ],
        );
        check(
            (
                "sound.mkv",
                &line(
                    PICTURE,
                    &format!(
                        "{h264} -c:a flac -bsf:v h264_metadata=level=3 -f flv -c:a adpcm_swf -ar 44100"
                    ),
                ),
                "pi3",
            ),
            (None, Some("aac")),
            &["codec_name=aac"],
        );
        check(
            ("codec.mp4", &line(PICTURE, "-c:v mpeg4 -c:a aac"), "pi3"),
            x264,
            &["codec_name=h264", "r_frame_rate=30/1", "nb_frames=30"],
        );
        check(
            ("hevc.mp4", &line(PICTURE, "-c:v mpeg4 -c:a aac"), "pi4-64"),
            x265,
            &["codec_name=hevc", "codec_tag_string=hvc1", "profile=Main|"],
        );
        check(
            ("silent.mp4", &only(PICTURE, "-c:v mpeg4"), "pi3"),
            x264,
            &["codec_name=h264"],
        );
        check(
            (
                "large.mp4",
                &line(&picture("3840x2160", "10"), &format!("{h264} -c:a aac")),
                "pi3",
            ),
            x264,
            &["width=1920|height=1080", "r_frame_rate=10/1"],
        );
        check(
            (
                "fast.mp4",
                &line(&picture("640x360", "120"), &format!("{h264} -c:a aac")),
                "pi3",
            ),
            x264,
            &["r_frame_rate=30/1", "nb_frames=30"],
        );
        check(
            (
                "ntsc.mp4",
                &line(
                    &picture("640x360", "60000/1001"),
                    &format!("{h264} -c:a aac"),
                ),
                "pi3",
            ),
            x264,
            &["r_frame_rate=30000/1001"],
        );
        check(
            (
                "fifty.mp4",
                &line(&picture("640x360", "50"), &format!("{h264} -c:a aac")),
                "pi3",
            ),
            x264,
            &["r_frame_rate=25/1", "nb_frames=25"],
        );
        check(
            (
                "odd.avi",
                &line(
                    &picture("427x241", "25"),
                    "-c:v ffv1 -pix_fmt yuv444p -c:a pcm_s16le",
                ),
                "pi3",
            ),
            (Some("libx264"), Some("aac")),
            &[
                "width=426|height=240",
                "pix_fmt=yuv420p",
                "sample_aspect_ratio=1:1",
            ],
        );
        check(
            (
                "studio.mov",
                &line(
                    &picture("640x360", "25"),
                    "-c:v prores_ks -pix_fmt yuv422p10le -c:a pcm_s24le",
                ),
                "pi4-64",
            ),
            (Some("libx265"), Some("aac")),
            &["codec_name=hevc", "profile=Main 10", "pix_fmt=yuv420p10le"],
        );
        check(
            (
                "studio8.mov",
                &line(
                    &picture("640x360", "25"),
                    "-c:v prores_ks -pix_fmt yuv422p10le -c:a aac",
                ),
                "pi3",
            ),
            x264,
            &["codec_name=h264", "pix_fmt=yuv420p|"],
        );
        check(
            (
                "pixels.mp4",
                &only(&picture("720x576", "25"), "-vf setsar=64/45 -c:v mpeg4"),
                "pi3",
            ),
            x264,
            &["width=720|height=576|sample_aspect_ratio=64:45"],
        );
        check(
            (
                "fields.ts",
                &only(
                    &picture("720x576", "50"),
                    "-vf interlace=scan=tff -c:v mpeg2video -flags +ilme+ildct -top 1",
                ),
                "pi3",
            ),
            x264,
            &["field_order=progressive", "r_frame_rate=25/1"],
        );
        check(
            (
                "colour.ts",
                &only(
                    PICTURE,
                    "-c:v mpeg2video -color_primaries bt470bg -color_trc smpte170m -colorspace bt470bg",
                ),
                "pi3",
            ),
            x264,
            &[
                "color_range=tv|color_space=bt470bg|color_transfer=smpte170m|color_primaries=bt470bg",
            ],
        );
        let hdr =
            "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -color_range tv";
        check(
            (
                "hdr.mkv",
                &only(
                    &picture("320x180", "10"),
                    &format!("-c:v ffv1 -pix_fmt yuv420p10le {hdr}"),
                ),
                "pi3",
            ),
            x264,
            &["pix_fmt=yuv420p|", "color_transfer=bt709"],
        );
        check(
            (
                "kept.mkv",
                &only(
                    &picture("320x180", "10"),
                    &format!("-c:v ffv1 -pix_fmt yuv422p10le {hdr}"),
                ),
                "pi4-64",
            ),
            x265,
            &[
                "pix_fmt=yuv420p10le",
                "color_transfer=smpte2084",
                "color_primaries=bt2020",
            ],
        );
        check(
            (
                "vary.mkv",
                &only(
                    &picture("640x360", "100"),
                    "-vf select='lt(n\\,30)+not(mod(n\\,7))' -vsync vfr -c:v mpeg4 -t 2",
                ),
                "pi3",
            ),
            x264,
            &["codec_name=h264"],
        );
        check(
            (
                "late.mkv",
                "-f lavfi -i testsrc2=size=320x180:rate=25 -itsoffset 0.7 -f lavfi -i sine=440 -c:v mpeg4 -c:a pcm_s16le -t 2",
                "pi3",
            ),
            (Some("libx264"), Some("aac")),
            &["codec_name=h264", "codec_name=aac"],
        );
        check(
            (
                "surround.mkv",
                &line(PICTURE, "-c:v mpeg4 -c:a flac -ac 6"),
                "pi3",
            ),
            (Some("libx264"), Some("aac")),
            &["codec_name=aac", "channels=6"],
        );
        check(
            (
                "colon: %d'.mov",
                &only(&picture("320x180", "10"), "-c:v mpeg4"),
                "pi3",
            ),
            x264,
            &["codec_name=h264"],
        );
    }

    /// Every track of sound and of text with its language, its title and what it is for, whatever
    /// becomes of the picture.
    #[test]
    fn tracks_are_kept_as_they_are_offered() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.srt");
        let lines = "1\n00:00:00,500 --> 00:00:01,000\n<i>So</i> says\n\n\
                     2\n00:00:01,200 --> 00:00:01,700\nnobody\n";
        std::fs::write(&text, lines).unwrap();
        let texts = format!("-i {0} -i {0}", text.display());
        let tones = "-f lavfi -i sine=440:duration=2 -f lavfi -i sine=880:duration=2";
        let maps = "-map 0:v -map 1:a -map 2:a -map 3:s -map 4:s \
            -metadata:s:a:0 language=deu -metadata:s:a:1 language=fra \
            -metadata:s:s:0 language=ger -metadata:s:s:1 language=fre \
            -metadata:s:a:1 title=Director -disposition:a:0 0 -disposition:a:1 default+comment \
            -disposition:s:1 forced";
        for (name, coded, encoded) in [
            (
                "foreign.mkv",
                "-c:v mpeg4 -c:a flac -c:s:0 srt -c:s:1 ass",
                true,
            ),
            (
                "wrapped.nut",
                "-c:v libx264 -bf 0 -pix_fmt yuv420p -c:a aac -c:s ass",
                false,
            ),
            ("own.mp4", "-c:v mpeg4 -c:a aac -c:s mov_text", true),
        ] {
            let source = folder.path().join(name);
            let pictures = "-f lavfi -i testsrc2=size=320x180:rate=10:duration=2";
            ffmpeg(
                &format!("{pictures} {tones} {texts} {maps} {coded}"),
                &source,
            );
            let made = rendered(&source, "pi3").unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(matches!(made.how, How::Encoded { .. }), encoded, "{name}");
            let file = made.file.to_str().unwrap();
            let entries = "stream=codec_name:stream_tags=language";
            let said = run(
                "ffprobe",
                &[
                    "-v",
                    "error",
                    "-show_entries",
                    entries,
                    "-of",
                    "csv=p=0",
                    file,
                ],
            );
            let tracks: Vec<&str> = said.lines().collect();
            let expected = ["aac,deu", "aac,fra", "mov_text,ger", "mov_text,fre"];
            assert_eq!(tracks[1..], expected, "{name}");
            // NUT and, in titles, MP4 say less of their own tracks than they are given.
            let expected: &[(&str, &str)] = match name {
                "foreign.mkv" => &[
                    ("a:0", "default=0|disposition:comment=0"),
                    ("a:1", "default=1|disposition:comment=1|"),
                    ("a:1", "handler_name=Director"),
                    ("s:1", "forced=1"),
                ],
                "own.mp4" => &[
                    ("a:1", "default=1|disposition:comment=1"),
                    ("s:1", "forced=1"),
                ],
                _ => &[],
            };
            for (which, part) in expected {
                let entries = "stream=index:stream_tags=handler_name:stream_disposition=default,comment,forced";
                let options = ["-v", "error", "-of", "compact", "-show_entries", entries];
                let said = run(
                    "ffprobe",
                    &[&options[..], &["-select_streams", which, file]].concat(),
                );
                assert!(
                    said.contains(part),
                    "{name} {which}: {part} is not in {said}"
                );
            }
            let shown = run(
                "ffmpeg",
                &["-v", "error", "-i", file, "-map", "0:s:1", "-f", "srt", "-"],
            );
            let words = ["So", "says", "nobody"];
            // NUT keeps no durations.
            let times: &[&str] = match encoded {
                true => &["00:00:00,500 --> 00:00:01,000", "00:00:01,200"],
                false => &[],
            };
            for part in times.iter().chain(&words) {
                assert!(shown.contains(part), "{name}: {part} is not in {shown}");
            }
        }
    }

    /// One picture, and fewer than an encoder looks ahead.
    #[test]
    fn short_videos() {
        let folder = tempfile::tempdir().unwrap();
        for frames in [1, 2, 3, 6] {
            let source = folder.path().join(format!("{frames}.mkv"));
            let pictures = "-f lavfi -i testsrc2=size=320x180:rate=25 -c:v mpeg4";
            ffmpeg(&format!("{pictures} -frames:v {frames}"), &source);
            for board in ["pi3", "pi5"] {
                let made = rendered(&source, board);
                let made = made.unwrap_or_else(|error| panic!("{frames} for {board}: {error}"));
                let said = ffprobe(&made.file);
                assert!(
                    said.contains(&format!("nb_frames={frames}\n")),
                    "{board}: {said}"
                );
            }
        }
    }

    /// Bare streams have a rate at most, AVI times of decoding.
    #[test]
    fn pictures_without_times_come_at_their_rate() {
        let folder = tempfile::tempdir().unwrap();
        let h264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
        for (name, made_by, board, encoded) in [
            (
                "plain.h264",
                format!("{h264} -profile:v baseline"),
                "pi3",
                false,
            ),
            ("ordered.h264", format!("{h264} -bf 2"), "pi3", true),
            ("kept.avi", format!("{h264} -bf 3"), "pi3", true),
            ("fresh.h264", format!("{h264} -bf 2"), "pi5", true),
            (
                "deep.hevc",
                "-c:v libx265 -preset ultrafast".to_owned(),
                "pi3",
                true,
            ),
            ("old.m2v", "-c:v mpeg2video -bf 2".to_owned(), "pi3", true),
        ] {
            let source = folder.path().join(name);
            let pictures = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=2";
            ffmpeg(&format!("{pictures} {made_by}"), &source);
            let made = rendered(&source, board).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(
                matches!(made.how, How::Encoded { .. }),
                encoded,
                "{name}: {:?}",
                made.how
            );
            let said = ffprobe(&made.file);
            for part in ["r_frame_rate=25/1", "duration=2.000000", "nb_frames=50"] {
                assert!(said.contains(part), "{name}: {part} is not in {said}");
            }
        }
    }

    /// What MP4 has no place for is said.
    #[test]
    fn tracks_that_are_left_out_are_told() {
        let Some(media) = std::env::var_os("KINORA_MEDIA") else {
            return;
        };
        let source = Path::new(&media).join("ingest/sample_with_pgs_subtitles.mkv");
        let How::Encoded { warnings, .. } = rendered(&source, "pi3").unwrap().how else {
            panic!("it is encoded");
        };
        let expected = "left out: subtitles that are pictures, which MP4 does not hold \
            (hdmv_pgs_subtitle in eng)";
        assert_eq!(warnings, [expected]);
    }

    /// What high dynamic range was mastered on, and how bright it gets, by the file and by the stream.
    #[test]
    fn light_is_kept_where_the_dynamic_range_is() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("bright.mkv");
        let light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)\
            L(10000000,50):max-cll=1000,400:log-level=none";
        let colours = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc";
        let pictures = "-f lavfi -i testsrc2=size=320x180:rate=10:duration=1";
        ffmpeg(
            &format!(
                "{pictures} -c:v libx265 -preset ultrafast -pix_fmt yuv422p10le {colours} \
                 -x265-params {light}"
            ),
            &source,
        );
        let kept = rendered(&source, "pi4-64").unwrap();
        let mapped = rendered(&source, "pi3").unwrap();
        let seen = |file: &Path, what: &str| {
            let side = format!("{what}_side_data=red_x,max_luminance,max_content,max_average");
            let first = [
                "-v",
                "error",
                "-read_intervals",
                "%+#1",
                "-show_entries",
                &side,
            ];
            let file = [file.to_str().unwrap()];
            run(
                "ffprobe",
                &[&first[..], &["-of", "compact"], &file].concat(),
            )
        };
        for what in ["stream", "frame"] {
            let said = seen(&kept.file, what);
            for part in ["red_x=34000/50000", "max_luminance=10000000/10000"] {
                assert!(said.contains(part), "{what}: {said}");
            }
            assert!(
                said.contains("max_content=1000|max_average=400"),
                "{what}: {said}"
            );
            assert!(!seen(&mapped.file, what).contains("max_content"), "{what}");
        }
    }

    #[test]
    fn what_is_turned_is_upright_once_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let (lying, turned) = (folder.path().join("a.mov"), folder.path().join("b.mov"));
        ffmpeg(
            "-f lavfi -i testsrc2=size=320x180:rate=10 -c:v mpeg4 -t 1",
            &lying,
        );
        let lying = lying.to_str().unwrap();
        ffmpeg(
            &format!("-i {lying} -c copy -metadata:s:v rotate=90"),
            &turned,
        );
        assert!(ffprobe(&turned).contains("rotation="));
        let said = ffprobe(&rendered(&turned, "pi3").unwrap().file);
        assert!(
            said.contains("width=180|height=320") && !said.contains("rotation"),
            "{said}"
        );
        // Where its packets go over, so does what the container says of them.
        let recipe = media::Recipe {
            video: 0,
            encode: None,
            audio: Vec::new(),
            subtitles: Vec::new(),
        };
        let copied = folder.path().join("c.mp4");
        let made = media::render(&turned, &copied, &recipe, &mut |_| {}).unwrap();
        assert_eq!(made, media::Made::default());
        assert!(ffprobe(&copied).contains("rotation="));
        assert_eq!(packets(&turned), packets(&copied));
    }

    #[test]
    fn what_plays_is_left_alone_and_what_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plays = folder.path().join("plays.mp4");
        ffmpeg(
            "-f lavfi -i testsrc2=size=320x180:rate=10 -c:v libx264 -pix_fmt yuv420p -t 1",
            &plays,
        );
        let copied = rendered(&plays, "pi3").unwrap();
        assert_eq!(copied.how, How::Copied);
        assert_eq!(
            std::fs::read(&plays).unwrap(),
            std::fs::read(&copied.file).unwrap()
        );
        let sound = folder.path().join("sound.mp4");
        ffmpeg(&format!("{SOUND} -t 1"), &sound);
        let error = rendered(&sound, "pi3").err().unwrap();
        assert_eq!(
            error,
            "cannot be rendered: video: the file has sound but no video stream"
        );
    }

    /// Pictures that move, in the time that they take.
    #[test]
    fn animations() {
        let folder = tempfile::tempdir().unwrap();
        for (name, made_by) in [
            ("a.webp", "-c:v libwebp_anim -lossless 1 -loop 0"),
            (
                "clear.webp",
                "-vf format=yuva420p,colorchannelmixer=aa=0.5 -c:v libwebp_anim",
            ),
            ("a.gif", ""),
        ] {
            let source = folder.path().join(name);
            let pictures = "-f lavfi -i testsrc2=size=150x100:rate=10:duration=2";
            ffmpeg(&format!("{pictures} {made_by}"), &source);
            let work = tempfile::tempdir().unwrap();
            let mut told = Vec::new();
            let made = shown(&source, (100, 100), work.path(), &mut |progress| {
                told.push(progress.fraction);
            });
            let (file, probe, _) = made.unwrap_or_else(|fault| panic!("{name}: {}", fault.message));
            assert_eq!(file, VARIANT, "{name}");
            let video = &probe["video"][0];
            let seen = (
                &video["codec"],
                &video["width"],
                &video["height"],
                &video["frames"],
            );
            let expected = (&"h264".into(), &100.into(), &66.into(), &20.into());
            assert_eq!(seen, expected, "{name}: {probe:#}");
            let lasts = probe["duration_s"].as_f64().unwrap();
            assert!((lasts - 2.0).abs() < 0.1, "{name}: {lasts} s");
            assert!(
                told.first().is_some_and(Option::is_some),
                "{name}: {told:?}"
            );
            // Cut anywhere it ends in a video or in an error.
            let whole = std::fs::read(&source).unwrap();
            assert!(media::thumbnail(&source, 64).is_ok(), "{name}");
            for part in [3, 4, 10] {
                std::fs::write(&source, &whole[..whole.len() * part / 11]).unwrap();
                let _ = shown(&source, (100, 100), work.path(), &mut |_| {});
            }
        }
    }

    /// Every picture and every file that was made to do harm ends in a picture, in a video, or in
    /// an error that says what is wrong with it, soon.
    #[test]
    fn pictures() {
        const SECONDS: u64 = 30;
        let Some(media) = std::env::var_os("KINORA_MEDIA") else {
            return;
        };
        // Of each folder so many at least become something.
        let rows = [
            ("image/avif", 100),
            ("image/bmp", 1),
            ("image/heic", 15),
            ("image/ico", 1),
            ("image/jp2", 1),
            ("image/tga", 1),
            ("image/tiff", 1),
            ("robust", 0),
        ];
        for (kind, least) in rows {
            let mut folders = vec![Path::new(&media).join(kind)];
            let (mut made, mut refused) = (0, Vec::new());
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(folder).unwrap() {
                    let file = entry.unwrap().path();
                    if file.is_dir() {
                        folders.push(file);
                        continue;
                    }
                    let began = Instant::now();
                    let work = tempfile::tempdir().unwrap();
                    match shown(&file, (640, 480), work.path(), &mut |_| {}) {
                        Ok((_, probe, _)) => {
                            made += 1;
                            let side = |side: &str| probe["video"][0][side].as_u64().unwrap();
                            let fits = side("width") <= 640 && side("height") <= 480;
                            assert!(fits, "{}: {probe}", file.display());
                            let small = media::thumbnail(&file, 64);
                            let seen = small.is_ok() || kind == "robust";
                            assert!(seen, "{}: {small:?}", file.display());
                        }
                        Err(fault) => {
                            assert!(fault.message.len() > 10, "{}", file.display());
                            refused.push(format!("{}: {}", file.display(), fault.message));
                        }
                    }
                    let took = began.elapsed().as_secs();
                    assert!(took < SECONDS, "{} took {took} s", file.display());
                }
            }
            assert!(made >= least, "{kind}: {made} made, refused: {refused:#?}");
        }
    }

    /// Real files, for a board that decodes little and for one that decodes more. Each becomes a
    /// variant that was held against its original, or an error that says what is wrong with it.
    #[test]
    fn real_files() {
        const SECONDS: u64 = 60;
        // Larger ones take minutes of a small machine and show nothing else.
        const SAMPLES: f64 = 8e6;
        let Some(media) = std::env::var_os("KINORA_MEDIA") else {
            return;
        };
        let small = |file: &PathBuf| {
            let Ok(probe) = media::probe(file, &OpenOptions::default()) else {
                return true;
            };
            probe.video.iter().all(|video| {
                let frames =
                    probe.duration_s.unwrap_or(0.0) * video.fps.map_or(25.0, Rational::to_f64);
                f64::from(video.width * video.height) * frames < SAMPLES
            })
        };
        let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(&media).join("ingest"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(small)
            .collect();
        files.sort();
        let (mut made, mut refused) = (0, Vec::new());
        for file in &files {
            for board in ["pi3", "pi5"] {
                let began = Instant::now();
                match rendered(file, board) {
                    Ok(_) => made += 1,
                    Err(error) => refused.push(format!("{} {board}: {error}", file.display())),
                }
                assert!(began.elapsed().as_secs() < SECONDS, "{}", file.display());
            }
        }
        assert!(
            made > 2 * refused.len(),
            "{made} made, refused: {refused:#?}"
        );
    }
}
