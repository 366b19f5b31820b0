//! Playlist text: one media playlist per rendition and the multivariant ("master") playlist.
//!
//! RFC 8216 and its second edition (draft-pantos-hls-rfc8216bis), section 4 for the tags, 4.4.6.2
//! for BANDWIDTH. Pure writers: who stores the text, and when, is the sink's matter. The caller
//! adds a segment only after its bytes are where `uri` says, so no text names a missing file.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Name of the audio group that CMAF variants refer to, and of its one rendition.
pub const AUDIO_GROUP: &str = "audio";

/// Variants are listed so that the one nearest to this average comes first: players start there
/// (Apple's HLS authoring specification 9.16 asks for about 2 Mb/s).
const FIRST_LISTED_RATE: u64 = 2_000_000;

/// One segment as a playlist knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// Address relative to the media playlist, or absolute.
    pub uri: String,
    /// Measured duration in seconds.
    pub duration: f64,
    /// Size in bytes.
    pub bytes: u64,
}

impl SegmentInfo {
    /// The duration as EXTINF has it, in whole microseconds: what clients divide by.
    fn stated(&self) -> f64 {
        (self.duration * 1e6).round() / 1e6
    }
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
    },
    /// Sound alone, in the group that the variants refer to.
    Audio {
        /// Number of channels.
        channels: u32,
    },
}

/// One media playlist and what the master says about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// Rung name, or `audio`.
    pub name: String,
    /// What it carries.
    #[serde(flatten)]
    pub content: Content,
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
    /// The segments in order.
    pub segments: Vec<SegmentInfo>,
}

impl Rendition {
    /// Says that all segments are there: from now on BANDWIDTH is what was measured.
    pub fn finish(&mut self) {
        self.expected_peak = 0;
    }

    /// Whether this is the audio group's rendition.
    pub fn is_audio(&self) -> bool {
        matches!(self.content, Content::Audio { .. })
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
        rate(self.bytes(), self.duration())
    }

    /// Peak segment bit rate: the largest of any run of neighbouring segments that lasts 0.5 to 1.5
    /// target durations. A short last segment alone does not count. What lasts less than half a
    /// target duration in all has no such run; then it is the average.
    pub fn peak_bandwidth(&self) -> u64 {
        let target = f64::from(self.target_duration);
        let mut peak = 0;
        for first in 0..self.segments.len() {
            let (mut bytes, mut duration) = (0, 0.0);
            for segment in &self.segments[first..] {
                bytes += segment.bytes;
                duration += segment.stated();
                if duration > 1.5 * target {
                    break;
                }
                if duration >= 0.5 * target {
                    peak = peak.max(rate(bytes, duration));
                }
            }
        }
        if peak == 0 {
            self.average_bandwidth()
        } else {
            peak
        }
    }

    fn declared_bandwidth(&self) -> u64 {
        self.peak_bandwidth().max(self.expected_peak)
    }
}

fn rate(bytes: u64, duration: f64) -> u64 {
    if duration > 0.0 {
        (bytes as f64 * 8.0 / duration).ceil() as u64
    } else {
        0
    }
}

/// The media playlist: EVENT while it grows, VOD with an end when `ended`.
pub fn media(rendition: &Rendition, ended: bool) -> String {
    let mut text = header(rendition.init.is_some());
    let kind = if ended { "VOD" } else { "EVENT" };
    line(
        &mut text,
        format_args!("#EXT-X-TARGETDURATION:{}", rendition.target_duration),
    );
    line(&mut text, format_args!("#EXT-X-MEDIA-SEQUENCE:0"));
    line(&mut text, format_args!("#EXT-X-PLAYLIST-TYPE:{kind}"));
    line(&mut text, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
    if let Some(init) = &rendition.init {
        line(&mut text, format_args!("#EXT-X-MAP:URI=\"{init}\""));
    }
    for segment in &rendition.segments {
        line(&mut text, format_args!("#EXTINF:{:.6},", segment.duration));
        line(&mut text, format_args!("{}", segment.uri));
    }
    if ended {
        line(&mut text, format_args!("#EXT-X-ENDLIST"));
    }
    text
}

/// The multivariant playlist over all renditions; the audio rendition, if any, is every variant's
/// sound.
pub fn master(renditions: &[Rendition]) -> String {
    let audio = renditions.iter().find(|rendition| rendition.is_audio());
    let fragmented = renditions.iter().any(|rendition| rendition.init.is_some());
    let mut text = header(fragmented);
    line(&mut text, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
    if let Some(Rendition {
        uri,
        content: Content::Audio { channels },
        ..
    }) = audio
    {
        line(
            &mut text,
            format_args!(
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{AUDIO_GROUP}\",NAME=\"{AUDIO_GROUP}\",\
                 DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{uri}\""
            ),
        );
    }
    for rendition in listed(renditions) {
        variant(&mut text, rendition, audio);
    }
    text
}

fn variant(text: &mut String, rendition: &Rendition, audio: Option<&Rendition>) {
    let Content::Video {
        width,
        height,
        frame_rate,
    } = rendition.content
    else {
        return;
    };
    let mut bandwidth = rendition.declared_bandwidth();
    let mut average = rendition.average_bandwidth();
    let mut codecs = rendition.codecs.clone();
    if let Some(audio) = audio {
        bandwidth += audio.declared_bandwidth();
        average += audio.average_bandwidth();
        codecs = format!("{codecs},{}", audio.codecs);
    }
    let mut attributes = format!(
        "BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average},CODECS=\"{codecs}\",\
         RESOLUTION={width}x{height}"
    );
    if frame_rate > 0.0 {
        let _ = write!(attributes, ",FRAME-RATE={frame_rate:.3}");
    }
    if audio.is_some() {
        let _ = write!(attributes, ",AUDIO=\"{AUDIO_GROUP}\"");
    }
    line(
        text,
        format_args!("#EXT-X-STREAM-INF:{attributes},CLOSED-CAPTIONS=NONE"),
    );
    line(text, format_args!("{}", rendition.uri));
}

/// The variants in the order given, with the one to start on moved to the front.
fn listed(renditions: &[Rendition]) -> Vec<&Rendition> {
    let mut variants: Vec<&Rendition> = renditions.iter().filter(|r| !r.is_audio()).collect();
    let distance = |r: &&Rendition| r.average_bandwidth().abs_diff(FIRST_LISTED_RATE);
    if let Some(first) = (0..variants.len()).min_by_key(|&at| distance(&variants[at])) {
        let start = variants.remove(first);
        variants.insert(0, start);
    }
    variants
}

/// Version 6 is what EXT-X-MAP outside I-frame playlists needs, 7 what fragmented MP4 came with.
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

    fn rendition(name: &str, segments: &[(f64, u64)]) -> Rendition {
        let segments = segments
            .iter()
            .enumerate()
            .map(|(index, &(duration, bytes))| SegmentInfo {
                uri: format!("{index:05}.ts"),
                duration,
                bytes,
            });
        Rendition {
            name: name.to_string(),
            content: Content::Video {
                width: 1280,
                height: 720,
                frame_rate: 30000.0 / 1001.0,
            },
            uri: format!("{name}/playlist.m3u8"),
            codecs: "avc1.64001f,mp4a.40.2".to_string(),
            target_duration: 4,
            init: None,
            expected_peak: 0,
            segments: segments.collect(),
        }
    }

    fn audio() -> Rendition {
        Rendition {
            name: "audio".to_string(),
            content: Content::Audio { channels: 2 },
            uri: "audio/playlist.m3u8".to_string(),
            codecs: "mp4a.40.2".to_string(),
            init: Some("init.mp4".to_string()),
            ..rendition("audio", &[(4.0, 64_000)])
        }
    }

    #[test]
    fn media_playlist_growing_and_ended() {
        let mut growing = rendition("720p", &[(4.004, 1000), (4.004, 2000)]);
        let head = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n";
        let body = "#EXTINF:4.004000,\n00000.ts\n#EXTINF:4.004000,\n00001.ts\n";
        let independent = "#EXT-X-INDEPENDENT-SEGMENTS\n";
        assert_eq!(
            media(&growing, false),
            format!("{head}#EXT-X-PLAYLIST-TYPE:EVENT\n{independent}{body}")
        );
        assert_eq!(
            media(&growing, true),
            format!("{head}#EXT-X-PLAYLIST-TYPE:VOD\n{independent}{body}#EXT-X-ENDLIST\n")
        );
        growing.init = Some("init.mp4".to_string());
        let mapped = media(&growing, true);
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
    fn master_with_muxed_sound() {
        let text = master(&[
            rendition("1080p", &[(4.0, 2_500_000)]),
            rendition("720p", &[(4.0, 1_250_000)]),
            rendition("360p", &[(4.0, 400_000)]),
        ]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2500000,AVERAGE-BANDWIDTH=2500000,\
            CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970,\
            CLOSED-CAPTIONS=NONE\n720p/playlist.m3u8\n";
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
    fn master_with_an_audio_group() {
        let mut video = rendition("720p", &[(4.0, 1_250_000)]);
        video.codecs = "avc1.64001f".to_string();
        video.init = Some("init.mp4".to_string());
        let text = master(&[video, audio()]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,\
            CHANNELS=\"2\",URI=\"audio/playlist.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2628000,AVERAGE-BANDWIDTH=2628000,\
            CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970,\
            AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n720p/playlist.m3u8\n";
        assert_eq!(text, expected);
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
