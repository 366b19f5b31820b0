//! The variant a file needs, and the ffmpeg command an operator can paste to make it.
//!
//! Only the flags needed: what can be copied is copied, the picture is scaled only when larger
//! than the target, the rate lowered only when faster. The output is an MP4 beside the input,
//! playable while it arrives (`+faststart`) and with HEVC tagged `hvc1`, the one tag that Apple
//! players take. Quoting follows POSIX.1-2017, Shell Command Language, 2.2.2 (single quotes).
//! Running anything is left to others.

use serde::Serialize;

use crate::facts::{Audio, Subtitle, Video};
use crate::verdict::{self, Reason, Variant};
use crate::{Board, Facts, Rate, Target};

/// Audio that FFmpeg copies into MP4 and players find there. Not FLAC: FFmpeg 5.1 calls it
/// experimental in MP4 and refuses.
const COPIED_AUDIO: [&str; 6] = ["aac", "mp3", "ac3", "eac3", "opus", "alac"];

/// Subtitles that ffmpeg turns into MP4's own text (`mov_text`), when it is told to.
const TEXT_SUBTITLES: [&str; 6] = ["subrip", "ass", "ssa", "mov_text", "webvtt", "text"];

/// Containers that store no presentation times. Copied from there, B pictures get their decode
/// times for presentation, and the picture jumps back and forth; FFmpeg before 6.1 (which has
/// the `dts2pts` filter) can only put that right by decoding.
const CONTAINERS_WITHOUT_PTS: [&str; 4] = ["avi", "asf", "h264", "hevc"];

/// Profiles without B pictures (Rec. ITU-T H.264, A.2.1).
const PROFILES_WITHOUT_B: [&str; 2] = ["Constrained Baseline", "Baseline"];

/// Transfer characteristics of high dynamic range: PQ and HLG (ITU-R BT.2100).
const HDR_TRANSFERS: [&str; 2] = ["smpte2084", "arib-std-b67"];

/// BT.2100 to BT.709 through linear light in BT.709 primaries. 100 nits is where SDR white lies.
const TONE_MAP: &str = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
    tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p";

/// Neither the decoders in the table nor libx265 take a side shorter than one 16-pixel block.
const SHORTEST_SIDE: u32 = 16;

/// The longest file name that common file systems take, in bytes.
const NAME_MAX: usize = 255;

/// What makes a file play.
pub(crate) struct Plan {
    pub(crate) variant: Variant,
    pub(crate) recipe: Recipe,
    pub(crate) command: String,
}

/// How the variant of a file is made, stream by stream: what the command says, for who makes it
/// without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Which of the file's video streams is shown, as a place in [`Facts::video`].
    pub video: usize,
    /// How it is encoded; `None` where its packets go over as they are.
    pub encode: Option<Encode>,
    /// The sound that goes over.
    pub audio: Vec<Track>,
    /// The text that goes over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subtitles: Vec<Text>,
}

/// One stream of text subtitles of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Its place in [`Facts::subtitles`].
    pub subtitle: usize,
    /// Whether its packets go over as they are; else it becomes MP4's own text.
    pub copied: bool,
}

/// One audio stream of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Track {
    /// Its place in [`Facts::audio`].
    pub audio: usize,
    /// Whether its packets go over as they are; else it is encoded as AAC.
    pub copied: bool,
}

/// How video is encoded for a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Encode {
    /// FFmpeg's codec name.
    pub codec: String,
    /// Width in pixels, upright.
    pub width: u32,
    /// Height in pixels, upright.
    pub height: u32,
    /// What becomes of the rate.
    pub pace: Pace,
    /// Bits per sample.
    pub bit_depth: u32,
    /// Whether high dynamic range is mapped to standard.
    pub tone_mapped: bool,
    /// Whether fields are joined to frames.
    pub deinterlaced: bool,
}

/// What becomes of a video's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Pace {
    /// Every picture keeps its time.
    Kept,
    /// So many pictures per second, the rest is left out.
    Lowered(Rate),
    /// The rate varies or is unknown: no more than so many.
    AtMost(Rate),
}

/// Plans the variant of a file that does not play. `copy_video` says that the video stream
/// itself is within a decode row, so that only what surrounds it is wrong.
pub(crate) fn plan(
    facts: &Facts,
    video: &Video,
    board: &Board,
    copy_video: bool,
    file_name: &str,
) -> Result<Plan, Reason> {
    let (width, height) = video.size().ok_or(Reason::UnknownSize)?;
    // ffmpeg can neither decode nor copy what it has no name for.
    let codec = video.codec.clone().ok_or(Reason::UnknownCodec)?;
    let variant = if copy_video && !loses_order(facts, video) {
        Variant {
            codec,
            width,
            height,
            fps: video.fps,
            copied: true,
        }
    } else {
        encoded(video, (width, height), board)?
    };
    let words = words(facts, video, &variant, board, file_name);
    let command = words
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(" ");
    let recipe = recipe(facts, video, &variant, board);
    Ok(Plan {
        variant,
        recipe,
        command,
    })
}

/// Plans what a board shows of a still picture: a WebP no larger than its target.
pub(crate) fn plan_picture(facts: &Facts, board: &Board, file_name: &str) -> (Variant, String) {
    let video = facts.video.first();
    let upright = video.and_then(|video| {
        let (width, height) = video.size()?;
        Some(if video.is_turned() {
            (height, width)
        } else {
            (width, height)
        })
    });
    let limit = (board.target.width, board.target.height);
    // A picture whose size FFmpeg does not tell is scaled by whoever opens it.
    let size = upright.unwrap_or(limit);
    let larger = size.0 > limit.0 || size.1 > limit.1;
    let (width, height) = if larger { fit(size, limit) } else { size };
    let variant = Variant {
        codec: "webp".to_owned(),
        width,
        height,
        fps: None,
        copied: false,
    };
    let mut words = ["ffmpeg", "-i"].map(str::to_owned).to_vec();
    words.push(as_file(file_name));
    if larger {
        words.extend(["-vf".to_owned(), format!("scale={width}:{height}")]);
    }
    words.extend(["-frames:v", "1", "-c:v", "libwebp"].map(str::to_owned));
    words.push(beside(
        &as_file(file_name),
        &format!("-{width}x{height}.webp"),
    ));
    let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
    (variant, words.join(" "))
}

fn recipe(facts: &Facts, video: &Video, variant: &Variant, board: &Board) -> Recipe {
    let shown = facts
        .video
        .iter()
        .position(|video| !video.attached_picture)
        .unwrap_or_default();
    let pixels = pixels(video, board);
    let deep = matches!(pixels, Pixels::Converted("yuv420p10le"))
        || (pixels == Pixels::Kept && video.bit_depth == Some(10));
    let encode = (!variant.copied).then(|| Encode {
        codec: variant.codec.clone(),
        width: variant.width,
        height: variant.height,
        pace: match (video.fps, variant.fps) {
            (Some(source), Some(fps)) if fps < source => Pace::Lowered(fps),
            (_, None) => Pace::AtMost(board.target.fps),
            _ => Pace::Kept,
        },
        bit_depth: if deep { 10 } else { 8 },
        tone_mapped: pixels == Pixels::ToneMapped,
        deinterlaced: is_interlaced(video),
    });
    let playable = facts.audio.iter().enumerate();
    let audio = playable
        .filter(|(_, audio)| verdict::is_playable(audio))
        .map(|(place, audio)| Track {
            audio: place,
            copied: is_copied(audio),
        })
        .collect();
    let texts = facts.subtitles.iter().enumerate();
    let subtitles = texts.filter(|(_, subtitle)| is_text(subtitle));
    let subtitles = subtitles.map(|(place, subtitle)| Text {
        subtitle: place,
        copied: subtitle.codec.as_deref() == Some("mov_text"),
    });
    Recipe {
        video: shown,
        encode,
        audio,
        subtitles: subtitles.collect(),
    }
}

/// One word of a POSIX shell's command line that means exactly `text`.
pub fn quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-+=:,@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    // Within single quotes nothing is special but the single quote itself.
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The encoded variant: no larger and no faster than the target, and never larger or faster
/// than the source.
fn encoded(video: &Video, (width, height): (u32, u32), board: &Board) -> Result<Variant, Reason> {
    let target = &board.target;
    // ffmpeg turns the picture upright when it encodes.
    let upright = if video.is_turned() {
        (height, width)
    } else {
        (width, height)
    };
    let (fitted_width, fitted_height) = fit(upright, boxed(upright, board));
    if fitted_width.min(fitted_height) < SHORTEST_SIDE {
        return Err(Reason::TooThin { width, height });
    }
    Ok(Variant {
        codec: target.codec.clone(),
        width: fitted_width,
        height: fitted_height,
        fps: video
            .fps
            .filter(|_| !video.variable_rate)
            .map(|fps| lowered(fps, target.fps)),
        copied: false,
    })
}

/// The target's box, on its side for a standing picture where the board decodes that.
fn boxed((width, height): (u32, u32), board: &Board) -> (u32, u32) {
    let Target {
        width: box_width,
        height: box_height,
        ..
    } = board.target;
    if board.takes_turned_target() && (height > width) != (box_height > box_width) {
        (box_height, box_width)
    } else {
        (box_width, box_height)
    }
}

/// The largest even size of the same shape within the box, never larger than the source. 4:2:0
/// has one chroma sample for two columns and two lines, so odd sides cannot be encoded.
fn fit((width, height): (u32, u32), (box_width, box_height): (u32, u32)) -> (u32, u32) {
    let even = |side: u32| side & !1;
    let (box_width, box_height) = (even(box_width), even(box_height));
    if width <= box_width && height <= box_height {
        return (even(width), even(height));
    }
    let [w, h, bw, bh] = [width, height, box_width, box_height].map(u64::from);
    // The nearest even number to `part` of `whole`; within the box, for its sides are even.
    let nearest =
        |part: u64, whole: u64| u32::try_from((part + whole) / (2 * whole) * 2).unwrap_or(u32::MAX);
    if w * bh >= h * bw {
        (box_width, nearest(h * bw, w))
    } else {
        (nearest(w * bh, h), box_height)
    }
}

/// A rate within `limit`: the source's own where it is, else a whole fraction of it where that
/// is near the limit (59.94 becomes 29.97, 50 becomes 25: every nth picture, no judder), else
/// the limit.
fn lowered(fps: Rate, limit: Rate) -> Rate {
    if fps <= limit {
        return fps;
    }
    let stepped = fps.divided_by(fps.steps_down_to(limit));
    stepped
        .filter(|stepped| *stepped <= limit && stepped.is_near(limit))
        .unwrap_or(limit)
}

/// The command's words, unquoted.
fn words(
    facts: &Facts,
    video: &Video,
    variant: &Variant,
    board: &Board,
    file_name: &str,
) -> Vec<String> {
    let mut words: Vec<String> = vec!["ffmpeg".to_owned()];
    let mut push = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
    let input = as_file(file_name);

    push(&["-i", &input]);
    let streams = streams(facts);
    for stream in &streams {
        push(&["-map", stream]);
    }
    let sound = sound(facts);
    if sound == Sound::Silent {
        push(&["-an"]);
    }
    let has_text = facts.subtitles.iter().any(is_text);
    if streams.is_empty() && !has_text && !facts.subtitles.is_empty() {
        push(&["-sn"]);
    }
    if variant.copied {
        // `-c copy` would mean text as well.
        let everything = sound != Sound::Encoded && !has_text;
        push(if everything {
            &["-c", "copy"]
        } else {
            &["-c:v", "copy"]
        });
        match sound {
            Sound::Encoded => push(&["-c:a", "aac"]),
            Sound::Copied if !everything => push(&["-c:a", "copy"]),
            _ => {}
        }
    } else {
        encode_words(video, variant, board)
            .iter()
            .for_each(|word| push(&[word]));
        match sound {
            Sound::Encoded => push(&["-c:a", "aac"]),
            Sound::Copied => push(&["-c:a", "copy"]),
            Sound::None | Sound::Silent => {}
        }
    }
    if has_text {
        push(&["-c:s", "mov_text"]);
    }
    if variant.codec == "hevc" {
        push(&["-tag:v", "hvc1"]);
    }
    push(&[
        "-movflags",
        "+faststart",
        &output_name(&input, variant, &board.target),
    ]);
    words
}

/// Filters and encoder of an encoded variant.
fn encode_words(video: &Video, variant: &Variant, board: &Board) -> Vec<String> {
    let mut words = Vec::new();
    let pixels = pixels(video, board);
    let filters = filters(video, variant, pixels);
    if !filters.is_empty() {
        words.extend(["-vf".to_owned(), filters.join(",")]);
    }
    match (video.fps, variant.fps) {
        (Some(source), Some(fps)) if fps < source => {
            words.extend(["-r".to_owned(), plain_rate(fps)])
        }
        // Of an unknown rate only the upper end can be set, and of one that varies it must be:
        // ffmpeg fills up to the shortest time between two pictures, far above the average.
        (_, None) => words.extend(["-fpsmax".to_owned(), plain_rate(board.target.fps)]),
        _ => {}
    }
    let encoder = if variant.codec == "hevc" {
        "libx265"
    } else {
        "libx264"
    };
    words.extend(["-c:v", encoder, "-preset", "superfast"].map(str::to_owned));
    if let Pixels::Converted(format) = pixels {
        words.extend(["-pix_fmt", format].map(str::to_owned));
    }
    words
}

fn is_interlaced(video: &Video) -> bool {
    video
        .field_order
        .as_deref()
        .is_some_and(|order| ["tt", "bb", "tb", "bt"].contains(&order))
}

fn filters(video: &Video, variant: &Variant, pixels: Pixels) -> Vec<String> {
    let mut filters = Vec::new();
    if is_interlaced(video) {
        // Both fields in one picture would be scaled and encoded as combs.
        filters.push("bwdif=mode=send_frame".to_owned());
    }
    let size = video.size().unwrap_or_default();
    let upright = if video.is_turned() {
        (size.1, size.0)
    } else {
        size
    };
    if (variant.width, variant.height) != upright {
        filters.push(format!("scale={}:{}", variant.width, variant.height));
        // Rounding to even sides leaves pixels a hair off square, which `scale` would note as
        // an aspect of, say, 405:404. Pixels that were square shall stay so.
        let square = video
            .sample_aspect
            .as_deref()
            .is_none_or(|aspect| aspect == "1/1" || aspect == "0/1");
        let exact = u64::from(variant.width) * u64::from(upright.1)
            == u64::from(variant.height) * u64::from(upright.0);
        if square && !exact {
            filters.push("setsar=1".to_owned());
        }
    }
    if pixels == Pixels::ToneMapped {
        filters.push(TONE_MAP.to_owned());
    }
    filters
}

/// What must happen to the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pixels {
    /// The encoder takes them as they are.
    Kept,
    /// Another format.
    Converted(&'static str),
    /// HDR that 8 bits cannot carry.
    ToneMapped,
}

fn pixels(video: &Video, board: &Board) -> Pixels {
    let deep = video.bit_depth.is_some_and(|depth| depth > 8);
    let ten_bits = board.target_bit_depths().contains(&10);
    let hdr = video
        .color_transfer
        .as_deref()
        .is_some_and(|transfer| HDR_TRANSFERS.contains(&transfer));
    if deep && hdr && !ten_bits {
        return Pixels::ToneMapped;
    }
    let (wanted, kept): (_, &[&str]) = if deep && ten_bits {
        ("yuv420p10le", &["yuv420p10le"])
    } else {
        ("yuv420p", &["yuv420p", "yuvj420p"])
    };
    match video.pix_fmt.as_deref() {
        Some(format) if kept.contains(&format) => Pixels::Kept,
        _ => Pixels::Converted(wanted),
    }
}

/// What becomes of the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// There is none.
    None,
    /// There is some, but nothing decodes it.
    Silent,
    Copied,
    Encoded,
}

fn is_copied(audio: &Audio) -> bool {
    let codec = audio.codec.as_deref();
    codec.is_some_and(|codec| COPIED_AUDIO.contains(&codec))
}

fn sound(facts: &Facts) -> Sound {
    let mut playable = facts
        .audio
        .iter()
        .filter(|audio| verdict::is_playable(audio))
        .peekable();
    if facts.audio.is_empty() {
        Sound::None
    } else if playable.peek().is_none() {
        Sound::Silent
    } else if playable.all(is_copied) {
        Sound::Copied
    } else {
        Sound::Encoded
    }
}

fn is_text(subtitle: &Subtitle) -> bool {
    let codec = subtitle.codec.as_deref();
    codec.is_some_and(|codec| TEXT_SUBTITLES.contains(&codec))
}

/// The streams to name, where ffmpeg's own choice (one of each kind, by its own order of merit)
/// would not be the video a player shows, all the sound that can be decoded and all text.
fn streams(facts: &Facts) -> Vec<String> {
    let playable: Vec<bool> = facts.audio.iter().map(verdict::is_playable).collect();
    let texts: Vec<bool> = facts.subtitles.iter().map(is_text).collect();
    let choice_is_ours = facts.video.len() == 1 && playable.len() <= 1 && !texts.contains(&true);
    if choice_is_ours {
        return Vec::new();
    }
    let video = facts
        .video
        .iter()
        .position(|video| !video.attached_picture)
        .unwrap_or_default();
    let mut streams = vec![format!("0:v:{video}")];
    for (kind, wanted) in [("a", playable), ("s", texts)] {
        if wanted.contains(&false) {
            let numbers = (0..wanted.len()).filter(|number| wanted[*number]);
            streams.extend(numbers.map(|number| format!("0:{kind}:{number}")));
        } else if !wanted.is_empty() {
            streams.push(format!("0:{kind}"));
        }
    }
    streams
}

/// Whether copying the video would lose the order of its pictures.
fn loses_order(facts: &Facts, video: &Video) -> bool {
    let no_pts = facts
        .container
        .as_deref()
        .is_some_and(|name| CONTAINERS_WITHOUT_PTS.contains(&name));
    no_pts
        && !video
            .profile
            .as_deref()
            .is_some_and(|profile| PROFILES_WITHOUT_B.contains(&profile))
}

/// The name in a form that ffmpeg takes for a file: a leading dash would be an option, and what
/// stands before a colon a protocol. The NUL that no file name can hold is dropped.
fn as_file(name: &str) -> String {
    let name = name.replace('\0', "");
    let rooted = name.starts_with('/') || name.starts_with("./") || name.starts_with("../");
    if name.is_empty() {
        "input".to_owned()
    } else if !rooted && (name.starts_with('-') || name.contains(':')) {
        format!("./{name}")
    } else {
        name
    }
}

/// A name beside the input that says what the file is and is never the input's own.
fn output_name(input: &str, variant: &Variant, target: &Target) -> String {
    let kind = if variant.copied {
        "rewrapped".to_owned()
    } else {
        target.to_string().replace([' ', '/'], "-")
    };
    beside(input, &format!("-{kind}.mp4"))
}

/// The input's name with another ending.
fn beside(input: &str, ending: &str) -> String {
    let (folder, name) = input.split_at(input.rfind('/').map_or(0, |slash| slash + 1));
    let stem = match name.rfind('.') {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    };
    let mut end = stem.len().min(NAME_MAX.saturating_sub(ending.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{folder}{}{ending}", &stem[..end])
}

fn plain_rate(rate: Rate) -> String {
    if rate.den() == 1 {
        rate.num().to_string()
    } else {
        rate.to_string()
    }
}
