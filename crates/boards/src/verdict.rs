//! Does this file play on that board, and if not, what would make it.
//!
//! A pure function over the probe's facts and one row of the table. A file plays when its
//! container is one that players take as it is, its sound has a decoder, and its video is within
//! one decode row in every respect at once: codec, profile, bit depth, chroma, width, height,
//! rate. What is unknown is never taken for within.
//!
//! Size is what the decoder sees, so a phone's 1920x1080 with a rotation of 90 degrees is
//! 1920x1080 here, while 1080x1920 pixels are higher than a row of 1920x1080. Field order is no
//! gate: every decoder in the table takes fields. What a variant looks like is `command.rs`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::command::{self, Plan, Recipe};
use crate::facts::{Audio, Video};
use crate::{Board, Decode, Facts, Rate, Target};

/// Demuxer names of the containers that play as they are. FFmpeg names the MP4 family
/// `mov,mp4,m4a,3gp,3g2,mj2` and Matroska `matroska,webm`; any part of the name suffices.
const CONTAINERS: [&str; 9] = [
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpegts",
];

/// Audio codecs FFmpeg, and so mpv, decodes in software on any board. A final `*` stands for
/// any ending. Not here: what FFmpeg can name but has no decoder for, such as `ac4` and
/// `mpegh_3d_audio`.
const AUDIO_CODECS: [&str; 65] = [
    "8svx_*",
    "aac",
    "aac_latm",
    "ac3",
    "adpcm_*",
    "alac",
    "amr_nb",
    "amr_wb",
    "ape",
    "aptx",
    "aptx_hd",
    "atrac1",
    "atrac3*",
    "atrac9",
    "binkaudio_*",
    "codec2",
    "comfortnoise",
    "cook",
    "dfpwm",
    "dolby_e",
    "dra",
    "dsd_*",
    "dst",
    "dts",
    "eac3",
    "evrc",
    "flac",
    "g723_1",
    "g729",
    "gsm",
    "gsm_ms",
    "ilbc",
    "imc",
    "mace3",
    "mace6",
    "metasound",
    "mlp",
    "mp1",
    "mp2",
    "mp3*",
    "mp4als",
    "musepack*",
    "nellymoser",
    "opus",
    "pcm_*",
    "qcelp",
    "qdm*",
    "ra_*",
    "ralf",
    "roq_dpcm",
    "s302m",
    "sbc",
    "shorten",
    "sipr",
    "smackaudio",
    "speex",
    "tak",
    "truehd",
    "truespeech",
    "tta",
    "twinvq",
    "vorbis",
    "wavpack",
    "wma*",
    "xma*",
];

/// What an operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Whether variants are rendered. Where they are not (a gate: the server runs on a board),
    /// a file that needs one is rejected with the command to make it elsewhere.
    pub render: bool,
    /// Whether software decoding counts on a board that has hardware decoders.
    pub allow_software: bool,
}

/// Renders, and counts software only where there is no hardware.
impl Default for Policy {
    fn default() -> Self {
        Self {
            render: true,
            allow_software: false,
        }
    }
}

/// What is said of one file on one board. Serialises to the object `kinora check` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The board's id.
    pub board: String,
    /// The board's name.
    pub name: String,
    /// Plays, rendered first, or rejected.
    pub verdict: Outcome,
    /// What decodes it; only where it plays.
    pub decoder: Option<Decoder>,
    /// Why it does not play; empty where it does.
    pub reasons: Vec<Reason>,
    /// mpv's hardware decoder; only where it plays in hardware.
    pub hwdec: Option<String>,
    /// What the board does decode under this policy, one sentence per row.
    pub decodes: Vec<String>,
    /// What variants for this board are rendered to.
    pub target: Target,
    /// What the variant of this file will be.
    pub variant: Option<Variant>,
    /// How it is made, stream by stream.
    #[serde(skip)]
    pub recipe: Option<Recipe>,
    /// A shell command that makes the variant.
    pub command: Option<String>,
}

/// The three verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Plays as it is.
    Plays,
    /// A variant of it will be made, and that plays.
    Render,
    /// Does not play, and nothing is made of it here.
    Reject,
}

/// What decodes a file that plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// The board's own silicon.
    Hardware,
    /// The processor.
    Software,
}

/// The file that would play instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Video codec.
    pub codec: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Rate; `None` where the source's is unknown or varies, and then at most the target's.
    pub fps: Option<Rate>,
    /// Whether the video goes over as it is, without being encoded again.
    pub copied: bool,
}

/// One gate that a file does not pass. Displayed and serialised as `gate: sentence`.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// No video stream; `sound` and `picture` say what there is instead.
    NoVideo {
        /// There is an audio stream.
        sound: bool,
        /// There is a cover picture.
        picture: bool,
    },
    /// An image file, not a video.
    StillPicture,
    /// Players do not take this container; `None` is unknown.
    Container(Option<String>),
    /// The video's codec has no name.
    UnknownCodec,
    /// The board has no row of this codec.
    Codec {
        /// The file's codec.
        found: String,
        /// Codecs of the rows that count.
        decodes: Vec<String>,
    },
    /// The board decodes the codec in software only, which does not count.
    SoftwareOnly(String),
    /// A profile outside the row.
    Profile {
        /// The file's profile.
        found: Option<String>,
        /// The row's.
        takes: Vec<String>,
    },
    /// A bit depth outside the row.
    BitDepth {
        /// The file's bits per sample.
        found: Option<u32>,
        /// The row's.
        takes: Vec<u32>,
    },
    /// A chroma subsampling outside the row.
    Chroma {
        /// The file's.
        found: Option<String>,
        /// The row's.
        takes: Vec<String>,
    },
    /// Width or height, or both, are not known.
    UnknownSize,
    /// Wider than the row.
    Width {
        /// The file's.
        found: u32,
        /// The row's.
        max: u32,
    },
    /// Higher than the row.
    Height {
        /// The file's.
        found: u32,
        /// The row's.
        max: u32,
    },
    /// A variant of this size would have a side too short to encode.
    TooThin {
        /// The file's width.
        width: u32,
        /// The file's height.
        height: u32,
    },
    /// The rate is not known.
    UnknownRate,
    /// Faster than the row.
    Rate {
        /// The file's.
        found: Rate,
        /// The row's.
        max: Rate,
    },
    /// The first audio stream has no decoder; `None` is unknown.
    Audio(Option<String>),
}

impl Reason {
    /// The gate, one word, the same for all reasons of a kind.
    pub fn gate(&self) -> &'static str {
        match self {
            Self::NoVideo { .. } | Self::StillPicture => "video",
            Self::Container(_) => "container",
            Self::UnknownCodec | Self::Codec { .. } | Self::SoftwareOnly(_) => "codec",
            Self::Profile { .. } => "profile",
            Self::BitDepth { .. } => "bit depth",
            Self::Chroma { .. } => "chroma",
            Self::UnknownSize | Self::Width { .. } | Self::Height { .. } | Self::TooThin { .. } => {
                "size"
            }
            Self::UnknownRate | Self::Rate { .. } => "fps",
            Self::Audio(_) => "audio",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.gate())?;
        match self {
            Self::NoVideo {
                sound: false,
                picture: false,
            } => f.write_str("the file has no video stream"),
            Self::NoVideo {
                sound: true,
                picture: false,
            } => f.write_str("the file has sound but no video stream"),
            Self::NoVideo {
                sound: true,
                picture: true,
            } => f.write_str("the file has sound and a cover picture but no video stream"),
            Self::NoVideo {
                sound: false,
                picture: true,
            } => f.write_str("the file has a cover picture but no video stream"),
            Self::StillPicture => f.write_str("the file is a picture, not a video"),
            Self::Container(Some(found)) => {
                write!(f, "{found} is not MP4, Matroska/WebM or MPEG-TS")
            }
            Self::Container(None) => f.write_str("the container is unknown"),
            Self::UnknownCodec => f.write_str("the codec is unknown"),
            Self::Codec { found, decodes } => {
                write!(
                    f,
                    "{found} is not decoded by this board, only {}",
                    decodes.join(" and ")
                )
            }
            Self::SoftwareOnly(codec) => {
                write!(
                    f,
                    "{codec} is decoded in software only by this board, and only hardware counts"
                )
            }
            Self::Profile {
                found: Some(found),
                takes,
            } => {
                write!(f, "{found} is not among {}", takes.join(", "))
            }
            Self::Profile { found: None, takes } => {
                write!(
                    f,
                    "the profile is unknown, so it may not be among {}",
                    takes.join(", ")
                )
            }
            Self::BitDepth {
                found: Some(found),
                takes,
            } => {
                write!(
                    f,
                    "{found} bits per sample, the decoder takes {}",
                    list(takes)
                )
            }
            Self::BitDepth { found: None, takes } => {
                write!(
                    f,
                    "the bit depth is unknown, the decoder takes {}",
                    list(takes)
                )
            }
            Self::Chroma {
                found: Some(found),
                takes,
            } => {
                write!(f, "{found}, the decoder takes {}", takes.join(" and "))
            }
            Self::Chroma { found: None, takes } => {
                write!(
                    f,
                    "the subsampling is unknown, the decoder takes {}",
                    takes.join(" and ")
                )
            }
            Self::UnknownSize => f.write_str("width and height are not both known"),
            Self::Width { found, max } => {
                write!(f, "{found} pixels wide, the decoder takes at most {max}")
            }
            Self::Height { found, max } => {
                write!(f, "{found} pixels high, the decoder takes at most {max}")
            }
            Self::TooThin { width, height } => {
                write!(
                    f,
                    "{width}x{height} leaves a side too short to encode a variant"
                )
            }
            Self::UnknownRate => f.write_str("the frame rate is unknown"),
            Self::Rate { found, max } => {
                write!(
                    f,
                    "{} frames per second, the decoder keeps up with {}",
                    found.decimal(),
                    max.decimal()
                )
            }
            Self::Audio(Some(found)) => write!(f, "{found} has no decoder in the player"),
            Self::Audio(None) => f.write_str("the codec of the sound is unknown"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Judges a probed file on a board.
///
/// `file_name` is the file's name or path as the operator would type it; it only appears,
/// quoted, in the command.
pub fn verdict(facts: &Facts, board: &Board, policy: Policy, file_name: &str) -> Verdict {
    let blank = Verdict {
        board: board.id.clone(),
        name: board.name.clone(),
        verdict: Outcome::Reject,
        decoder: None,
        reasons: Vec::new(),
        hwdec: None,
        decodes: board
            .counted(policy.allow_software)
            .map(ToString::to_string)
            .collect(),
        target: board.target.clone(),
        variant: None,
        recipe: None,
        command: None,
    };
    let video = match shown_video(facts) {
        Ok(video) => video,
        Err(reason) => {
            let picture = (reason == Reason::StillPicture)
                .then(|| command::plan_picture(facts, board, file_name));
            let (variant, command) = picture.unzip();
            return Verdict {
                verdict: if policy.render && variant.is_some() {
                    Outcome::Render
                } else {
                    Outcome::Reject
                },
                reasons: vec![reason],
                variant,
                command,
                ..blank
            };
        }
    };

    let (row, video_reasons) = best_row(video, board, policy);
    let mut reasons: Vec<Reason> = container_reason(facts).into_iter().collect();
    reasons.extend(video_reasons.iter().cloned());
    reasons.extend(audio_reason(facts));
    if let (Some(row), true) = (row, reasons.is_empty()) {
        let decoder = if row.hardware {
            Decoder::Hardware
        } else {
            Decoder::Software
        };
        return Verdict {
            verdict: Outcome::Plays,
            decoder: Some(decoder),
            hwdec: row.hwdec.clone(),
            ..blank
        };
    }

    match command::plan(facts, video, board, video_reasons.is_empty(), file_name) {
        Ok(Plan {
            variant,
            recipe,
            command,
        }) => Verdict {
            verdict: if policy.render {
                Outcome::Render
            } else {
                Outcome::Reject
            },
            reasons,
            variant: Some(variant),
            recipe: Some(recipe),
            command: Some(command),
            ..blank
        },
        Err(reason) => {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
            Verdict { reasons, ..blank }
        }
    }
}

/// Whether the player decodes this sound.
pub(crate) fn is_playable(audio: &Audio) -> bool {
    audio.codec.as_deref().is_some_and(|codec| {
        AUDIO_CODECS
            .iter()
            .any(|known| match known.strip_suffix('*') {
                Some(start) => codec.starts_with(start),
                None => codec == *known,
            })
    })
}

fn shown_video(facts: &Facts) -> Result<&Video, Reason> {
    // FFmpeg reads single images through `image2` and one `…_pipe` demuxer per format.
    let is_image = facts.container.as_deref().is_some_and(|name| {
        name.split(',')
            .any(|part| part == "image2" || part.ends_with("_pipe"))
    });
    if is_image || facts.picture {
        return Err(Reason::StillPicture);
    }
    facts.main_video().ok_or(Reason::NoVideo {
        sound: !facts.audio.is_empty(),
        picture: !facts.video.is_empty(),
    })
}

fn container_reason(facts: &Facts) -> Option<Reason> {
    let name = facts.container.as_deref();
    let plays = name.is_some_and(|name| name.split(',').any(|part| CONTAINERS.contains(&part)));
    (!plays).then(|| Reason::Container(name.map(str::to_owned)))
}

/// A player opens the first audio stream; the others are not asked.
fn audio_reason(facts: &Facts) -> Option<Reason> {
    let first = facts.audio.first().filter(|audio| !is_playable(audio))?;
    Some(Reason::Audio(first.codec.clone()))
}

/// The row that decodes the video, or that comes closest, with what speaks against it.
fn best_row<'b>(
    video: &Video,
    board: &'b Board,
    policy: Policy,
) -> (Option<&'b Decode>, Vec<Reason>) {
    let judged = board
        .counted(policy.allow_software)
        .filter(|row| video.codec.as_deref() == Some(row.codec.as_str()))
        .map(|row| (Some(row), row_reasons(video, row)))
        // The first of equals, and hardware comes first.
        .min_by_key(|(_, reasons)| reasons.len());
    judged.unwrap_or_else(|| (None, codec_reasons(video, board, policy)))
}

/// What is wrong where no row of that codec counts. Size and rate are no reasons then: there is
/// no limit to hold them against, but that they are unknown is still worth saying.
fn codec_reasons(video: &Video, board: &Board, policy: Policy) -> Vec<Reason> {
    let decoded_at_all = |codec: &str| board.decodes.iter().any(|row| row.codec == codec);
    let mut reasons = vec![match video.codec.clone() {
        None => Reason::UnknownCodec,
        Some(codec) if decoded_at_all(&codec) => Reason::SoftwareOnly(codec),
        Some(found) => {
            let mut decodes: Vec<String> = board
                .counted(policy.allow_software)
                .map(|row| row.codec.clone())
                .collect();
            let mut seen = BTreeSet::new();
            decodes.retain(|codec| seen.insert(codec.clone()));
            Reason::Codec { found, decodes }
        }
    }];
    if video.size().is_none() {
        reasons.push(Reason::UnknownSize);
    }
    if video.fps.is_none() {
        reasons.push(Reason::UnknownRate);
    }
    reasons
}

/// Every gate of one row that the video does not pass.
fn row_reasons(video: &Video, row: &Decode) -> Vec<Reason> {
    let limits = &row.limits;
    let mut reasons = Vec::new();
    if !limits.takes_profile(video.profile.as_deref()) {
        reasons.push(Reason::Profile {
            found: video.profile.clone(),
            takes: limits.profiles.clone(),
        });
    }
    if !video
        .bit_depth
        .is_some_and(|depth| limits.bit_depths.contains(&depth))
    {
        reasons.push(Reason::BitDepth {
            found: video.bit_depth,
            takes: limits.bit_depths.clone(),
        });
    }
    if !video
        .chroma
        .as_ref()
        .is_some_and(|chroma| limits.chroma.contains(chroma))
    {
        reasons.push(Reason::Chroma {
            found: video.chroma.clone(),
            takes: limits.chroma.clone(),
        });
    }
    match video.size() {
        None => reasons.push(Reason::UnknownSize),
        Some((width, height)) if !row.fits(width, height) => {
            reasons.extend(size_reasons(width, height, row));
        }
        Some(_) => {}
    }
    match video.fps {
        None => reasons.push(Reason::UnknownRate),
        Some(found) if found > row.max_fps => reasons.push(Reason::Rate {
            found,
            max: row.max_fps,
        }),
        Some(_) => {}
    }
    reasons
}

/// Which sides are too long; where the row takes both orientations, the longer side is held
/// against the longer limit.
fn size_reasons(width: u32, height: u32, row: &Decode) -> Vec<Reason> {
    let stands = row.turned && (height > width) != (row.max_height > row.max_width);
    let (max_width, max_height) = if stands {
        (row.max_height, row.max_width)
    } else {
        (row.max_width, row.max_height)
    };
    let mut reasons = Vec::new();
    if width > max_width {
        reasons.push(Reason::Width {
            found: width,
            max: max_width,
        });
    }
    if height > max_height {
        reasons.push(Reason::Height {
            found: height,
            max: max_height,
        });
    }
    reasons
}

fn list(numbers: &[u32]) -> String {
    numbers
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(" and ")
}
