//! Playlist text: media playlists, I-frame and image playlists, and the multivariant ("master")
//! playlist over them.
//!
//! RFC 8216 and its second edition (draft-pantos-hls-rfc8216bis), section 4.4 for the tags, 4.4.6.2
//! for BANDWIDTH; EXT-X-IMAGE-STREAM-INF and EXT-X-TILES by the image media playlist extension that
//! Roku published. Pure writers: who stores the text, and when, is the sink's matter. The caller
//! adds a segment only after its bytes are where `uri` says, so no text names a missing file.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::sink::{Part, Segment};
use crate::{dash, thumbnails};

/// Name of the group of audio renditions that variants refer to, and of the first in it.
pub const AUDIO_GROUP: &str = "audio";
/// Name of the group of subtitle renditions, and of the first in it.
pub const SUBTITLES_GROUP: &str = "subtitles";
/// Name of the rendition of thumbnails.
pub const PICTURES: &str = "thumbnails";

/// Name of the rendition of a track of a group: `audio`, `audio-2`.
pub fn track_name(group: &str, track: usize) -> String {
    match track {
        0 => group.to_string(),
        _ => format!("{group}-{}", track + 1),
    }
}

/// Where the master playlist is published, relative to the stream.
pub const MASTER: &str = "master.m3u8";
/// Where the DASH manifest is published; CMAF only.
pub const MANIFEST: &str = "manifest.mpd";

/// Variants are listed so that the one nearest to this average comes first: players start there
/// (Apple's HLS authoring specification 9.16 asks for about 2 Mb/s).
const FIRST_LISTED_RATE: u64 = 2_000_000;

/// Target durations that a sliding window spans at least (RFC 8216 6.2.2).
const LEAST_WINDOW: f64 = 3.0;
/// Target durations from the end within which parts are named (RFC 8216bis 6.2.2).
const PARTS_FOR: f64 = 3.0;

/// A key picture inside a segment: what an I-frame playlist names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeyPicture {
    /// First byte in the segment's file.
    pub offset: u64,
    /// Bytes that decode to the picture, once the initialisation section (CMAF: EXT-X-MAP, TS: what
    /// stands before the first key picture) is known.
    pub length: u64,
    /// When it is shown, in seconds from the start of the stream.
    pub pts_s: f64,
    /// Seconds until the next key picture, or the end of the segment.
    pub duration_s: f64,
}

/// A part of a segment (EXT-X-PART).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartInfo {
    /// Address relative to the media playlist, or absolute.
    pub uri: String,
    /// Measured duration in seconds.
    pub duration: f64,
    /// Whether decoding can start in it.
    pub independent: bool,
    /// As [`SegmentInfo::discontinuity`], for the first part of a segment.
    #[serde(default)]
    pub discontinuity: bool,
    /// As [`SegmentInfo::date`], for the first part of a segment.
    #[serde(default)]
    pub date: Option<f64>,
}

impl PartInfo {
    /// A part that was put at `uri`.
    pub fn new(uri: impl Into<String>, part: &Part) -> PartInfo {
        PartInfo {
            uri: uri.into(),
            duration: part.duration,
            independent: part.independent,
            discontinuity: part.discontinuity && part.index == 0,
            date: part.date.filter(|_| part.index == 0),
        }
    }
}

/// One segment as a playlist knows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// Address relative to the media playlist, or absolute.
    pub uri: String,
    /// Measured duration in seconds.
    pub duration: f64,
    /// Size in bytes.
    pub bytes: u64,
    /// Key pictures of a video segment.
    #[serde(default)]
    pub iframes: Vec<KeyPicture>,
    /// Whether something is missing before it (EXT-X-DISCONTINUITY).
    #[serde(default)]
    pub discontinuity: bool,
    /// When its first picture was taken, in seconds since 1970 (EXT-X-PROGRAM-DATE-TIME).
    #[serde(default)]
    pub date: Option<f64>,
    /// The parts it was delivered in, as long as players may ask for them.
    #[serde(default)]
    pub parts: Vec<PartInfo>,
}

impl SegmentInfo {
    /// A segment that was put at `uri`.
    pub fn new(uri: impl Into<String>, segment: &Segment) -> SegmentInfo {
        SegmentInfo {
            uri: uri.into(),
            duration: segment.duration,
            bytes: segment.bytes.len() as u64,
            iframes: segment.iframes.clone(),
            discontinuity: segment.discontinuity,
            date: segment.date,
            parts: Vec::new(),
        }
    }

    /// The duration as EXTINF has it, in whole microseconds: what clients divide by.
    pub(crate) fn stated(&self) -> f64 {
        (self.duration * 1e6).round() / 1e6
    }
}

/// Which light the samples stand for (VIDEO-RANGE).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VideoRange {
    /// Standard dynamic range.
    #[default]
    Sdr,
    /// SMPTE ST 2084.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

impl VideoRange {
    fn attribute(self) -> &'static str {
        match self {
            VideoRange::Sdr => "SDR",
            VideoRange::Pq => "PQ",
            VideoRange::Hlg => "HLG",
        }
    }
}

/// How people tell the tracks of a group apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What a menu shows; unique in the group.
    pub name: String,
    /// Language by BCP 47, if known.
    pub language: Option<String>,
    /// Whether it is the one to play without being asked for. At most one of a group.
    pub default: bool,
    /// Whether it is to be shown even where no subtitles were asked for: what foreigners say.
    #[serde(default)]
    pub forced: bool,
}

/// What a rendition carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Content {
    /// Pictures, with the sound in the same segments or in the audio group.
    Video {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Pictures per second; 0 when not known.
        frame_rate: f64,
        /// Dynamic range.
        #[serde(default)]
        range: VideoRange,
    },
    /// Sound alone, in the group that the variants refer to.
    Audio {
        /// Number of channels.
        channels: u32,
        /// What it is called.
        #[serde(flatten)]
        label: Label,
    },
    /// WebVTT, in the group that the variants refer to.
    Subtitles {
        /// What it is called.
        #[serde(flatten)]
        label: Label,
    },
    /// Thumbnails: a sheet of equal tiles for each segment, in rows.
    Pictures {
        /// Width of a tile in pixels.
        width: u32,
        /// Height of a tile in pixels.
        height: u32,
        /// Tiles in a row.
        columns: u32,
        /// Rows.
        rows: u32,
    },
}

/// How a rendition's segments are packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// MPEG transport stream.
    #[default]
    Ts,
    /// Fragmented MP4 with an initialisation segment.
    Cmaf,
    /// WebVTT text.
    Vtt,
    /// JPEG.
    Jpeg,
}

impl Packing {
    /// File name ending of a segment, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Packing::Ts => "ts",
            Packing::Cmaf => "m4s",
            Packing::Vtt => "vtt",
            Packing::Jpeg => "jpg",
        }
    }

    /// Media type of a segment.
    pub fn media_type(self) -> &'static str {
        match self {
            Packing::Ts => "video/mp2t",
            Packing::Cmaf => "video/iso.segment",
            Packing::Vtt => "text/vtt; charset=utf-8",
            Packing::Jpeg => "image/jpeg",
        }
    }
}

/// In which state texts describe a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Form {
    /// All segments are there.
    pub ended: bool,
    /// Seconds from the end that media playlists name; `None` for all.
    pub window_s: Option<f64>,
}

impl Form {
    /// A stream that grows and keeps everything.
    pub const GROWING: Form = Form {
        ended: false,
        window_s: None,
    };
    /// A stream that is whole.
    pub const ENDED: Form = Form {
        ended: true,
        window_s: None,
    };
}

/// Some text and where it is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Address relative to the master.
    pub uri: String,
    /// The text.
    pub text: String,
}

/// One media playlist and what the master says about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// Rung name, `audio`, `subtitles`, `thumbnails` or one of the first three with a number.
    pub name: String,
    /// What it carries.
    #[serde(flatten)]
    pub content: Content,
    /// How its segments are packed.
    #[serde(default)]
    pub packing: Packing,
    /// Address of the media playlist relative to the master.
    pub uri: String,
    /// Codecs of its own segments (RFC 6381), comma separated. Empty until a segment is there.
    pub codecs: String,
    /// Whole seconds that no rounded EXTINF exceeds; equal in all renditions and never changed.
    pub target_duration: u32,
    /// Address of the initialisation segment (EXT-X-MAP); CMAF only.
    pub init: Option<String>,
    /// Bits per second to declare at least, as long as segments are still to come; 0 once all are
    /// there, so that the measured peak alone counts.
    pub expected_peak: u64,
    /// Longest duration of a part (EXT-X-PART-INF); none without parts.
    #[serde(default)]
    pub part_target: Option<f64>,
    /// The segments in order, from number `forgotten` on.
    pub segments: Vec<SegmentInfo>,
    /// Parts of the segment that is being made.
    #[serde(default)]
    pub parts: Vec<PartInfo>,
    /// Address that the next part will have (EXT-X-PRELOAD-HINT), where it is known before.
    #[serde(default)]
    pub hint: Option<String>,
    /// Segments that are no longer there; see [`Rendition::forget`].
    #[serde(default)]
    pub forgotten: Forgotten,
}

/// What is still known of segments that were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Forgotten {
    /// How many.
    pub segments: u64,
    /// How many key pictures they had.
    pub iframes: u64,
    /// How many of them stood after an EXT-X-DISCONTINUITY.
    pub discontinuities: u64,
    /// Their size.
    pub bytes: u64,
    /// Their duration.
    pub duration: f64,
    /// The highest peak seen when one was dropped.
    pub peak: u64,
}

impl Rendition {
    /// Says that all segments are there: from now on BANDWIDTH is what was measured.
    pub fn finish(&mut self) {
        self.expected_peak = 0;
        self.parts.clear();
        self.hint = None;
    }

    /// Adds a segment, whose parts, if it had any, are those added since the last one.
    pub fn push(&mut self, mut segment: SegmentInfo) {
        segment.parts = std::mem::take(&mut self.parts);
        self.segments.push(segment);
        let recent = self.recent(PARTS_FOR * f64::from(self.target_duration) * 2.0);
        for old in &mut self.segments[..recent] {
            old.parts.clear();
        }
    }

    /// Drops the segments that a window of so many seconds left so long ago that no player asks for
    /// them any more (RFC 8216 6.2.2: the segment's own duration and that of the longest playlist
    /// that named it), and gives them to whoever keeps their bytes.
    pub fn forget(&mut self, window_s: f64) -> Vec<SegmentInfo> {
        let target = f64::from(self.target_duration);
        let kept = 2.0 * (window_s.max(LEAST_WINDOW * target) + target);
        let old = self.recent(kept);
        if old == 0 {
            return Vec::new();
        }
        self.forgotten.peak = self.peak_bandwidth();
        let dropped: Vec<SegmentInfo> = self.segments.drain(..old).collect();
        self.forgotten.segments += dropped.len() as u64;
        for segment in &dropped {
            self.forgotten.discontinuities += u64::from(segment.discontinuity);
            self.forgotten.iframes += segment.iframes.len() as u64;
            self.forgotten.bytes += segment.bytes;
            self.forgotten.duration += segment.stated();
        }
        dropped
    }

    /// Index of the first of the fewest last segments that span so many seconds.
    fn recent(&self, span_s: f64) -> usize {
        let mut span = 0.0;
        let enough = self.segments.iter().rposition(|segment| {
            span += segment.stated();
            span >= span_s
        });
        enough.unwrap_or(0)
    }

    /// Whether it has pictures of a rung.
    pub fn is_video(&self) -> bool {
        matches!(self.content, Content::Video { .. })
    }

    /// Whether it is one of the audio group.
    pub fn is_audio(&self) -> bool {
        matches!(self.content, Content::Audio { .. })
    }

    /// Whether it is one of the subtitles group.
    pub fn is_subtitles(&self) -> bool {
        matches!(self.content, Content::Subtitles { .. })
    }

    /// Size of all segments in bytes.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Duration of all segments in seconds.
    pub fn duration(&self) -> f64 {
        self.segments.iter().map(SegmentInfo::stated).sum()
    }

    /// Average segment bit rate: all bits over the whole duration.
    pub fn average_bandwidth(&self) -> u64 {
        let Forgotten {
            bytes, duration, ..
        } = self.forgotten;
        rate(self.bytes() + bytes, self.duration() + duration)
    }

    /// Peak segment bit rate: the largest of any run of neighbouring segments that lasts 0.5 to 1.5
    /// target durations. A short last segment alone does not count. What lasts less than half a
    /// target duration in all has no such run; then it is the average.
    pub fn peak_bandwidth(&self) -> u64 {
        let sizes = self.segments.iter().map(|s| (s.bytes, s.stated()));
        let peak = peak(sizes, self.target_duration).max(self.forgotten.peak);
        if peak == 0 {
            self.average_bandwidth()
        } else {
            peak
        }
    }

    pub(crate) fn declared_bandwidth(&self) -> u64 {
        self.peak_bandwidth().max(self.expected_peak)
    }

    /// Address of a name in the folder of the media playlist, relative to the master.
    pub fn beside(&self, name: &str) -> String {
        let folder = self.uri.rsplit_once('/').map(|(folder, _)| folder);
        folder.map_or_else(|| name.to_string(), |folder| format!("{folder}/{name}"))
    }

    /// Address of the I-frame playlist relative to the master; video only.
    pub fn iframes_uri(&self) -> String {
        self.beside("iframes.m3u8")
    }

    fn has_iframes(&self) -> bool {
        self.is_video() && self.segments.iter().any(|s| !s.iframes.is_empty())
    }

    /// Everything to publish when a segment was added: the media playlist first.
    pub fn texts(&self, form: Form) -> Vec<Published> {
        let mut texts = vec![Published {
            uri: self.uri.clone(),
            text: media(self, form),
        }];
        if self.has_iframes() {
            texts.push(Published {
                uri: self.iframes_uri(),
                text: iframes(self, form),
            });
        }
        if let Some(text) = thumbnails::index(self, form) {
            texts.push(Published {
                uri: self.beside(thumbnails::INDEX),
                text,
            });
        }
        texts
    }
}

/// Everything to publish about all renditions together, once each has a segment: the master
/// playlist, and for CMAF the DASH manifest. `clock` is needed for what is not ended.
pub fn tops(renditions: &[Rendition], form: Form, clock: dash::Clock) -> Vec<Published> {
    let mut texts = vec![Published {
        uri: MASTER.to_string(),
        text: master(renditions),
    }];
    if let Some(text) = dash::manifest(renditions, form, clock) {
        texts.push(Published {
            uri: MANIFEST.to_string(),
            text,
        });
    }
    texts
}

fn rate(bytes: u64, duration: f64) -> u64 {
    if duration > 0.0 {
        (bytes as f64 * 8.0 / duration).ceil() as u64
    } else {
        0
    }
}

/// The highest rate of a run of neighbours that lasts 0.5 to 1.5 target durations; 0 without one.
fn peak(sizes: impl Iterator<Item = (u64, f64)>, target_duration: u32) -> u64 {
    let sizes: Vec<(u64, f64)> = sizes.collect();
    let target = f64::from(target_duration);
    let mut peak = 0;
    for first in 0..sizes.len() {
        let (mut bytes, mut duration) = (0, 0.0);
        for (size, length) in &sizes[first..] {
            bytes += size;
            duration += length;
            if duration > 1.5 * target {
                break;
            }
            if duration >= 0.5 * target {
                peak = peak.max(rate(bytes, duration));
            }
        }
    }
    peak
}

/// The segments that a playlist of this form names, and the number of the first.
pub(crate) fn named(rendition: &Rendition, form: Form) -> (u64, &[SegmentInfo]) {
    let target = f64::from(rendition.target_duration);
    let first = match form.window_s {
        Some(window_s) => rendition.recent(window_s.max(LEAST_WINDOW * target)),
        None => 0,
    };
    let number = rendition.forgotten.segments + first as u64;
    (number, &rendition.segments[first..])
}

/// The media playlist: EVENT while it grows, VOD with an end when ended, neither where a window
/// slides over it.
pub fn media(rendition: &Rendition, form: Form) -> String {
    let (number, segments) = named(rendition, form);
    let mut text = media_header(rendition, form, number);
    match rendition.content {
        Content::Pictures { .. } => line(&mut text, format_args!("#EXT-X-IMAGES-ONLY")),
        _ => line(&mut text, format_args!("#EXT-X-INDEPENDENT-SEGMENTS")),
    }
    let parts = rendition.part_target.filter(|_| !form.ended);
    if let Some(part_target) = parts {
        low_latency(&mut text, rendition.target_duration, part_target);
    }
    map(&mut text, rendition);
    let parts_from = rendition.recent(PARTS_FOR * f64::from(rendition.target_duration));
    let parts_from = rendition.forgotten.segments + parts_from as u64;
    for (number, segment) in (number..).zip(segments) {
        marks(&mut text, segment.discontinuity, segment.date);
        if parts.is_some() && number >= parts_from {
            segment.parts.iter().for_each(|p| part(&mut text, p));
        }
        line(&mut text, format_args!("#EXTINF:{:.6},", segment.duration));
        if let Some(tiles) = thumbnails::tiles(rendition, segment) {
            line(&mut text, format_args!("{tiles}"));
        }
        line(&mut text, format_args!("{}", segment.uri));
    }
    if parts.is_some() {
        if let Some(first) = rendition.parts.first() {
            marks(&mut text, first.discontinuity, first.date);
        }
        rendition.parts.iter().for_each(|p| part(&mut text, p));
        if let Some(hint) = &rendition.hint {
            line(
                &mut text,
                format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{hint}\""),
            );
        }
    }
    if form.ended {
        line(&mut text, format_args!("#EXT-X-ENDLIST"));
    }
    text
}

/// The I-frame playlist: each key picture as a byte range of the segment it stands in.
pub fn iframes(rendition: &Rendition, form: Form) -> String {
    let (_, segments) = named(rendition, form);
    let before = &rendition.segments[..rendition.segments.len() - segments.len()];
    let before: u64 = before.iter().map(|s| s.iframes.len() as u64).sum();
    // Numbers count playlist entries, which are key pictures here.
    let first = rendition.forgotten.iframes + before;
    let mut text = media_header(rendition, form, first);
    line(&mut text, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
    line(&mut text, format_args!("#EXT-X-I-FRAMES-ONLY"));
    map(&mut text, rendition);
    for segment in segments {
        marks(&mut text, segment.discontinuity, segment.date);
        for key in &segment.iframes {
            line(&mut text, format_args!("#EXTINF:{:.6},", key.duration_s));
            line(
                &mut text,
                format_args!("#EXT-X-BYTERANGE:{}@{}", key.length, key.offset),
            );
            line(&mut text, format_args!("{}", segment.uri));
        }
    }
    if form.ended {
        line(&mut text, format_args!("#EXT-X-ENDLIST"));
    }
    text
}

fn media_header(rendition: &Rendition, form: Form, first: u64) -> String {
    let mut text = header(rendition.packing == Packing::Cmaf);
    line(
        &mut text,
        format_args!("#EXT-X-TARGETDURATION:{}", rendition.target_duration),
    );
    line(&mut text, format_args!("#EXT-X-MEDIA-SEQUENCE:{first}"));
    let (number, _) = named(rendition, form);
    let dropped = (number - rendition.forgotten.segments) as usize;
    let dropped = rendition.segments[..dropped].iter();
    let jumps = dropped.filter(|segment| segment.discontinuity).count() as u64;
    let jumps = jumps + rendition.forgotten.discontinuities;
    if jumps > 0 {
        line(
            &mut text,
            format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{jumps}"),
        );
    }
    if form.window_s.is_none() {
        let kind = if form.ended { "VOD" } else { "EVENT" };
        line(&mut text, format_args!("#EXT-X-PLAYLIST-TYPE:{kind}"));
    }
    text
}

fn map(text: &mut String, rendition: &Rendition) {
    if let Some(init) = &rendition.init {
        line(text, format_args!("#EXT-X-MAP:URI=\"{init}\""));
    }
}

/// Three parts and three target durations from the end is what players keep away at least.
fn low_latency(text: &mut String, target_duration: u32, part_target: f64) {
    let (part_back, back) = (3.0 * part_target, 3 * target_duration);
    line(
        text,
        format_args!(
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={part_back:.6},\
             HOLD-BACK={back}"
        ),
    );
    line(
        text,
        format_args!("#EXT-X-PART-INF:PART-TARGET={part_target:.6}"),
    );
}

fn marks(text: &mut String, discontinuity: bool, date: Option<f64>) {
    if discontinuity {
        line(text, format_args!("#EXT-X-DISCONTINUITY"));
    }
    if let Some(date) = date {
        let date = dash::date_time(date);
        line(text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{date}"));
    }
}

fn part(text: &mut String, part: &PartInfo) {
    let independent = if part.independent {
        ",INDEPENDENT=YES"
    } else {
        ""
    };
    line(
        text,
        format_args!(
            "#EXT-X-PART:DURATION={:.6},URI=\"{}\"{independent}",
            part.duration, part.uri
        ),
    );
}

/// The multivariant playlist over all renditions.
pub fn master(renditions: &[Rendition]) -> String {
    let fragmented = renditions.iter().any(|r| r.packing == Packing::Cmaf);
    let mut text = header(fragmented);
    line(&mut text, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
    for rendition in renditions {
        match &rendition.content {
            Content::Audio { channels, label } => {
                let channels = format!(",CHANNELS=\"{channels}\"");
                alternative(&mut text, "AUDIO", AUDIO_GROUP, label, &channels, rendition);
            }
            Content::Subtitles { label } => {
                let forced = if label.forced { ",FORCED=YES" } else { "" };
                let group = SUBTITLES_GROUP;
                alternative(&mut text, "SUBTITLES", group, label, forced, rendition);
            }
            Content::Video { .. } | Content::Pictures { .. } => {}
        }
    }
    let audio: Vec<&Rendition> = renditions.iter().filter(|r| r.is_audio()).collect();
    let subtitles = renditions.iter().any(Rendition::is_subtitles);
    for rendition in listed(renditions) {
        variant(&mut text, rendition, &audio, subtitles);
    }
    for rendition in renditions {
        iframe_variant(&mut text, rendition);
        if let Some(tag) = thumbnails::image_stream(rendition) {
            line(&mut text, format_args!("{tag}"));
        }
    }
    text
}

fn alternative(
    text: &mut String,
    kind: &str,
    group: &str,
    label: &Label,
    more: &str,
    rendition: &Rendition,
) {
    let language = label.language.as_ref();
    let language = language.map_or_else(String::new, |code| format!(",LANGUAGE=\"{code}\""));
    let default = if label.default { "YES" } else { "NO" };
    let (name, uri) = (quotable(&label.name), &rendition.uri);
    line(
        text,
        format_args!(
            "#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"{group}\",NAME=\"{name}\"{language},\
             DEFAULT={default},AUTOSELECT=YES{more},URI=\"{uri}\""
        ),
    );
}

/// What may stand in a quoted string (RFC 8216 4.2): no quotes, no line breaks.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|c| if c == '"' { '\'' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}

fn variant(text: &mut String, rendition: &Rendition, audio: &[&Rendition], subtitles: bool) {
    let Content::Video { frame_rate, .. } = rendition.content else {
        return;
    };
    let largest = |of: fn(&Rendition) -> u64| audio.iter().map(|r| of(r)).max().unwrap_or(0);
    let bandwidth = rendition.declared_bandwidth() + largest(Rendition::declared_bandwidth);
    let average = rendition.average_bandwidth() + largest(Rendition::average_bandwidth);
    let mut codecs = rendition.codecs.clone();
    let mut known: Vec<&str> = Vec::new();
    for codec in audio.iter().map(|r| r.codecs.as_str()) {
        if !codec.is_empty() && !known.contains(&codec) {
            known.push(codec);
            let _ = write!(codecs, ",{codec}");
        }
    }
    let picture = picture_attributes(rendition);
    let mut attributes =
        format!("BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average},CODECS=\"{codecs}\",{picture}");
    if frame_rate > 0.0 {
        let _ = write!(attributes, ",FRAME-RATE={frame_rate:.3}");
    }
    if !audio.is_empty() {
        let _ = write!(attributes, ",AUDIO=\"{AUDIO_GROUP}\"");
    }
    if subtitles {
        let _ = write!(attributes, ",SUBTITLES=\"{SUBTITLES_GROUP}\"");
    }
    line(
        text,
        format_args!("#EXT-X-STREAM-INF:{attributes},CLOSED-CAPTIONS=NONE"),
    );
    line(text, format_args!("{}", rendition.uri));
}

fn picture_attributes(rendition: &Rendition) -> String {
    let Content::Video {
        width,
        height,
        range,
        ..
    } = rendition.content
    else {
        return String::new();
    };
    let range = range.attribute();
    format!("RESOLUTION={width}x{height},VIDEO-RANGE={range}")
}

/// The rung's key pictures alone, for fast searching.
fn iframe_variant(text: &mut String, rendition: &Rendition) {
    if !rendition.has_iframes() {
        return;
    }
    let keys = || rendition.segments.iter().flat_map(|s| &s.iframes);
    let sizes = keys().map(|key| (key.length, key.duration_s));
    let bytes: u64 = keys().map(|key| key.length).sum();
    let duration: f64 = keys().map(|key| key.duration_s).sum();
    let average = rate(bytes, duration);
    let peak = peak(sizes, rendition.target_duration).max(average);
    // The pictures' own codec comes first; an I-frame playlist has no sound.
    let codec = rendition.codecs.split(',').next().unwrap_or_default();
    let (picture, uri) = (picture_attributes(rendition), rendition.iframes_uri());
    line(
        text,
        format_args!(
            "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},\
             CODECS=\"{codec}\",{picture},URI=\"{uri}\""
        ),
    );
}

/// The variants in the order given, with the one to start on moved to the front: of those that every
/// player plays, which are the ones in H.264, where there are any.
fn listed(renditions: &[Rendition]) -> Vec<&Rendition> {
    let mut variants: Vec<&Rendition> = renditions.iter().filter(|r| r.is_video()).collect();
    let order = |r: &Rendition| {
        let distance = r.average_bandwidth().abs_diff(FIRST_LISTED_RATE);
        (!r.codecs.starts_with("avc1"), distance)
    };
    if let Some(first) = (0..variants.len()).min_by_key(|&at| order(variants[at])) {
        let start = variants.remove(first);
        variants.insert(0, start);
    }
    variants
}

/// Version 6 is what EXT-X-MAP outside I-frame playlists needs (byte ranges need 4), 7 what
/// fragmented MP4 came with.
fn header(fragmented: bool) -> String {
    format!(
        "#EXTM3U\n#EXT-X-VERSION:{}\n",
        if fragmented { 7 } else { 6 }
    )
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(content);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn rendition(name: &str, segments: &[(f64, u64)]) -> Rendition {
        let segments = segments
            .iter()
            .enumerate()
            .map(|(index, &(duration, bytes))| SegmentInfo {
                uri: format!("{index:05}.ts"),
                duration,
                bytes,
                ..SegmentInfo::default()
            });
        Rendition {
            name: name.to_string(),
            content: Content::Video {
                width: 1280,
                height: 720,
                frame_rate: 30000.0 / 1001.0,
                range: VideoRange::Sdr,
            },
            packing: Packing::Ts,
            uri: format!("{name}/playlist.m3u8"),
            codecs: "avc1.64001f,mp4a.40.2".to_string(),
            target_duration: 4,
            init: None,
            expected_peak: 0,
            part_target: None,
            segments: segments.collect(),
            parts: Vec::new(),
            hint: None,
            forgotten: Forgotten::default(),
        }
    }

    fn label(name: &str, language: &str, default: bool) -> Label {
        Label {
            name: name.to_string(),
            language: (!language.is_empty()).then(|| language.to_string()),
            default,
            forced: false,
        }
    }

    fn audio(name: &str, label: Label) -> Rendition {
        Rendition {
            name: name.to_string(),
            content: Content::Audio { channels: 2, label },
            packing: Packing::Cmaf,
            codecs: "mp4a.40.2".to_string(),
            init: Some("init.mp4".to_string()),
            ..rendition(name, &[(4.0, 64_000)])
        }
    }

    #[test]
    fn media_playlist_growing_and_ended() {
        let mut growing = rendition("720p", &[(4.004, 1000), (4.004, 2000)]);
        let head = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n";
        let body = "#EXTINF:4.004000,\n00000.ts\n#EXTINF:4.004000,\n00001.ts\n";
        let independent = "#EXT-X-INDEPENDENT-SEGMENTS\n";
        assert_eq!(
            media(&growing, Form::GROWING),
            format!("{head}#EXT-X-PLAYLIST-TYPE:EVENT\n{independent}{body}")
        );
        assert_eq!(
            media(&growing, Form::ENDED),
            format!("{head}#EXT-X-PLAYLIST-TYPE:VOD\n{independent}{body}#EXT-X-ENDLIST\n")
        );
        growing.init = Some("init.mp4".to_string());
        growing.packing = Packing::Cmaf;
        let mapped = media(&growing, Form::ENDED);
        assert!(
            mapped.starts_with("#EXTM3U\n#EXT-X-VERSION:7\n"),
            "{mapped}"
        );
        assert!(
            mapped.contains("#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF"),
            "{mapped}"
        );
    }

    #[test]
    fn a_window_slides() {
        let mut live = rendition("720p", &[(4.0, 1000); 10]);
        live.segments[2].discontinuity = true;
        let form = Form {
            ended: false,
            window_s: Some(16.0),
        };
        let text = media(&live, form);
        let expected = "#EXT-X-MEDIA-SEQUENCE:6\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n\
            #EXT-X-INDEPENDENT-SEGMENTS\n#EXTINF:4.000000,\n00006.ts\n";
        assert!(text.contains(expected), "{text}");
        assert_eq!(text.matches("#EXTINF").count(), 4, "{text}");
        assert!(!text.contains("PLAYLIST-TYPE"), "{text}");
        // A window shorter than three target durations is not allowed.
        let short = Form {
            window_s: Some(1.0),
            ..form
        };
        assert_eq!(media(&live, short).matches("#EXTINF").count(), 3);

        assert_eq!(live.forget(16.0), []);
        (0..4).for_each(|_| live.push(live.segments[0].clone()));
        live.segments[0].bytes = 9000;
        let dropped = live.forget(16.0);
        assert_eq!(dropped.len(), 4, "twice the window and a segment stay");
        assert_eq!(live.forgotten.segments, 4);
        let text = media(&live, form);
        assert!(
            text.contains("#EXT-X-MEDIA-SEQUENCE:10\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n"),
            "{text}"
        );
        assert_eq!(live.peak_bandwidth(), 18_000, "as it was measured");
        assert_eq!(live.average_bandwidth(), (13 + 9) * 8000 / 56 + 1);
        let ended = media(
            &live,
            Form {
                ended: true,
                ..form
            },
        );
        assert!(ended.ends_with("#EXT-X-ENDLIST\n") && !ended.contains("PLAYLIST-TYPE"));
    }

    #[test]
    fn parts_are_named_near_the_end() {
        let mut live = rendition("720p", &[]);
        live.part_target = Some(0.5);
        let part = |uri: &str, independent| PartInfo {
            uri: uri.to_string(),
            duration: 0.5,
            independent,
            discontinuity: false,
            date: None,
        };
        for index in 0..10 {
            live.parts = vec![part(&format!("{index}.0"), true)];
            live.push(SegmentInfo {
                uri: format!("{index}.ts"),
                duration: 4.0,
                date: (index == 9).then_some(1_000_000_000.25),
                ..SegmentInfo::default()
            });
        }
        live.parts = vec![part("10.0", true), part("10.1", false)];
        live.hint = Some("10.2".to_string());
        let text = media(&live, Form::GROWING);
        for expected in [
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.500000,HOLD-BACK=12\n\
             #EXT-X-PART-INF:PART-TARGET=0.500000\n",
            "#EXTINF:4.000000,\n6.ts\n#EXT-X-PART:DURATION=0.500000,URI=\"7.0\",INDEPENDENT=YES\n\
             #EXTINF:4.000000,\n7.ts\n",
            "#EXT-X-PROGRAM-DATE-TIME:2001-09-09T01:46:40.250Z\n\
             #EXT-X-PART:DURATION=0.500000,URI=\"9.0\",INDEPENDENT=YES\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let end = "9.ts\n#EXT-X-PART:DURATION=0.500000,URI=\"10.0\",INDEPENDENT=YES\n\
            #EXT-X-PART:DURATION=0.500000,URI=\"10.1\"\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"10.2\"\n";
        assert!(text.ends_with(end), "{text}");
        let kept = live.segments.iter().filter(|s| !s.parts.is_empty());
        assert_eq!(kept.count(), 6);
        live.finish();
        assert!(!media(&live, Form::ENDED).contains("PART"));
    }

    #[test]
    fn key_pictures_are_ranges() {
        let mut video = rendition("720p", &[(4.0, 1_250_000), (4.0, 900_000)]);
        let key = |offset, length, pts_s| KeyPicture {
            offset,
            length,
            pts_s,
            duration_s: 2.0,
        };
        video.segments[0].iframes = vec![key(376, 18_800, 0.0), key(90_000, 9400, 2.0)];
        video.segments[1].iframes = vec![key(376, 9400, 4.0), key(80_000, 9400, 6.0)];
        let text = iframes(&video, Form::ENDED);
        let expected = "#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-I-FRAMES-ONLY\n#EXTINF:2.000000,\n#EXT-X-BYTERANGE:18800@376\n00000.ts\n\
            #EXTINF:2.000000,\n#EXT-X-BYTERANGE:9400@90000\n00000.ts\n";
        assert!(text.contains(expected), "{text}");
        let text = master(&[video.clone()]);
        let expected = "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=75200,AVERAGE-BANDWIDTH=47000,\
            CODECS=\"avc1.64001f\",RESOLUTION=1280x720,VIDEO-RANGE=SDR,\
            URI=\"720p/iframes.m3u8\"\n";
        assert!(text.ends_with(expected), "{text}");
        let uris: Vec<String> = video
            .texts(Form::ENDED)
            .into_iter()
            .map(|t| t.uri)
            .collect();
        assert_eq!(uris, ["720p/playlist.m3u8", "720p/iframes.m3u8"]);
        // Numbers count key pictures, not segments.
        (0..2).for_each(|_| video.push(video.segments[1].clone()));
        let form = Form {
            ended: false,
            window_s: Some(12.0),
        };
        let text = iframes(&video, form);
        assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:2\n"), "{text}");
    }

    #[test]
    fn master_with_muxed_sound() {
        let text = master(&[
            rendition("1080p", &[(4.0, 2_500_000)]),
            rendition("720p", &[(4.0, 1_250_000)]),
            rendition("360p", &[(4.0, 400_000)]),
        ]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2500000,AVERAGE-BANDWIDTH=2500000,\
            CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,VIDEO-RANGE=SDR,\
            FRAME-RATE=29.970,CLOSED-CAPTIONS=NONE\n720p/playlist.m3u8\n";
        assert!(text.starts_with(expected), "{text}");
        let uris: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(
            uris,
            [
                "720p/playlist.m3u8",
                "1080p/playlist.m3u8",
                "360p/playlist.m3u8"
            ]
        );
    }

    #[test]
    fn master_with_groups() {
        let mut video = rendition("720p", &[(4.0, 1_250_000)]);
        video.codecs = "avc1.64001f".to_string();
        video.init = Some("init.mp4".to_string());
        video.packing = Packing::Cmaf;
        let mut hevc = rendition("720p-hevc", &[(4.0, 1_000_000)]);
        hevc.codecs = "hvc1.1.6.L93.90".to_string();
        let subtitles = Rendition {
            content: Content::Subtitles {
                label: label("say \"hi\"", "de", false),
            },
            packing: Packing::Vtt,
            ..rendition("subtitles", &[(4.0, 100)])
        };
        let text = master(&[
            hevc,
            video,
            audio("audio", label("en", "en", true)),
            audio("audio-2", label("Kommentar", "", false)),
            subtitles,
        ]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"en\",LANGUAGE=\"en\",DEFAULT=YES,\
            AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio/playlist.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Kommentar\",DEFAULT=NO,\
            AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio-2/playlist.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"say 'hi'\",LANGUAGE=\"de\",\
            DEFAULT=NO,AUTOSELECT=YES,URI=\"subtitles/playlist.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2628000,AVERAGE-BANDWIDTH=2628000,\
            CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,VIDEO-RANGE=SDR,\
            FRAME-RATE=29.970,AUDIO=\"audio\",SUBTITLES=\"subtitles\",CLOSED-CAPTIONS=NONE\n\
            720p/playlist.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2128000,";
        assert!(text.starts_with(expected), "{text}");
    }

    /// Rates in bits per second; the target duration is 4 s, so runs of 2 to 6 s count.
    #[test]
    fn bandwidth_is_the_peak_over_runs() {
        let check = |segments: &[(f64, u64)], peak: u64, average: u64| {
            let rendition = rendition("720p", segments);
            let measured = (rendition.peak_bandwidth(), rendition.average_bandwidth());
            assert_eq!(measured, (peak, average), "{segments:?}");
        };
        check(&[], 0, 0);
        check(&[(4.0, 1000), (4.0, 3000)], 6000, 4000);
        // A runt with a huge rate counts only together with its neighbour.
        check(&[(4.0, 1000), (0.1, 1000)], 3903, 3903);
        check(&[(4.0, 1000), (2.0, 2000)], 8000, 4000);
        check(&[(1.0, 1000), (1.0, 3000), (1.0, 1000)], 16000, 13334);
        check(&[(0.5, 1000)], 16000, 16000);
    }

    #[test]
    fn a_growing_stream_declares_what_it_may_reach() {
        let mut growing = rendition("720p", &[(4.0, 1000)]);
        growing.expected_peak = 3_878_000;
        assert!(master(&[growing.clone()]).contains("BANDWIDTH=3878000,AVERAGE-BANDWIDTH=2000,"));
        growing.finish();
        assert!(master(&[growing]).contains("BANDWIDTH=2000,AVERAGE-BANDWIDTH=2000,"));
    }
}
