//! The DASH manifest over the same CMAF segments that the playlists name.
//!
//! ISO/IEC 23009-1, profile isoff-live: SegmentTemplate with SegmentTimeline, so that every segment's
//! time is said and none is guessed; `dynamic` while the stream grows, `static` at its end.
//! Thumbnails as in DASH-IF's interoperability points 6.2.6. Where segments have addresses that no
//! template gives, as content addresses, they are listed (SegmentList). Subtitles are not described:
//! no player takes WebVTT in segments that are no MP4.

use std::fmt::Write;

use crate::playlist::{Content, Form, Label, Packing, Rendition, SegmentInfo, VideoRange, named};
use crate::sample::TICKS;

/// What a growing manifest must say about time, in seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Clock {
    /// When the stream began: a segment counts as there from this plus its end on.
    pub started_s: f64,
    /// Now.
    pub now_s: f64,
}

/// The manifest, or `None` when no rendition is packed as CMAF.
pub fn manifest(renditions: &[Rendition], form: Form, clock: Clock) -> Option<String> {
    let fragmented = |r: &&Rendition| r.packing == Packing::Cmaf && !r.segments.is_empty();
    let first = renditions.iter().find(fragmented)?;
    let target = first.target_duration;
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut head = format!(
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
         profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" minBufferTime=\"PT{target}S\" \
         maxSegmentDuration=\"PT{target}S\""
    );
    if form.ended {
        let ends = renditions.iter().filter(fragmented);
        let ends = ends.map(|r| r.forgotten.duration + r.duration());
        let end = ends.fold(0.0, f64::max);
        let _ = write!(
            head,
            " type=\"static\" mediaPresentationDuration=\"PT{end:.3}S\""
        );
    } else {
        let (from, now) = (date_time(clock.started_s), date_time(clock.now_s));
        let _ = write!(
            head,
            " type=\"dynamic\" availabilityStartTime=\"{from}\" publishTime=\"{now}\" \
             minimumUpdatePeriod=\"PT{target}S\""
        );
        if let Some(window_s) = form.window_s {
            let _ = write!(head, " timeShiftBufferDepth=\"PT{window_s:.3}S\"");
        }
    }
    let _ = writeln!(text, "{head}>\n  <Period id=\"0\" start=\"PT0S\">");
    let mut sets = Sets { text, count: 0 };
    let mut codecs: Vec<&str> = Vec::new();
    for codec in renditions.iter().filter(fragmented).map(family) {
        if !codecs.contains(&codec) {
            codecs.push(codec);
        }
    }
    for codec in codecs {
        let rungs = renditions.iter().filter(fragmented);
        let rungs: Vec<_> = rungs
            .filter(|r| r.is_video() && family(r) == codec)
            .collect();
        sets.video(&rungs, form);
    }
    for rendition in renditions.iter().filter(|r| !r.segments.is_empty()) {
        sets.audio(rendition, form);
        sets.pictures(rendition, form);
    }
    let mut text = sets.text;
    text.push_str("  </Period>\n</MPD>\n");
    Some(text)
}

/// What players switch within: `avc1`, `hvc1`, `av01`.
fn family(rendition: &Rendition) -> &str {
    rendition.codecs.split('.').next().unwrap_or_default()
}

struct Sets {
    text: String,
    count: u32,
}

impl Sets {
    fn open(&mut self, attributes: &str) {
        let id = self.count;
        self.count += 1;
        self.line(2, &format!("<AdaptationSet id=\"{id}\" {attributes}>"));
    }

    fn close(&mut self) {
        self.line(2, "</AdaptationSet>");
    }

    fn line(&mut self, depth: usize, content: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:1$}{content}", "", depth * 2);
    }

    fn video(&mut self, rungs: &[&Rendition], form: Form) {
        if rungs.is_empty() {
            return;
        }
        self.open(
            "contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" \
             startWithSAP=\"1\"",
        );
        for rung in rungs {
            let Content::Video {
                width,
                height,
                frame_rate,
                range,
            } = rung.content
            else {
                continue;
            };
            let rate = fraction(frame_rate);
            let rate = rate.map_or_else(String::new, |rate| format!(" frameRate=\"{rate}\""));
            let shape = format!(" width=\"{width}\" height=\"{height}\"{rate} sar=\"1:1\"");
            self.representation(rung, form, &shape, &transfer(range));
        }
        self.close();
    }

    fn audio(&mut self, rendition: &Rendition, form: Form) {
        let Content::Audio { channels, label } = &rendition.content else {
            return;
        };
        if rendition.packing != Packing::Cmaf {
            return;
        }
        let language = label.language.as_ref();
        let language = language.map_or_else(String::new, |code| format!(" lang=\"{code}\""));
        self.open(&format!(
            "contentType=\"audio\" mimeType=\"audio/mp4\" segmentAlignment=\"true\" \
             startWithSAP=\"1\"{language}"
        ));
        self.label(label);
        let channels = format!(
            "<AudioChannelConfiguration \
             schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" \
             value=\"{channels}\"/>"
        );
        self.representation(rendition, form, "", &channels);
        self.close();
    }

    fn label(&mut self, label: &Label) {
        // In the schema's order.
        self.line(3, &format!("<Label>{}</Label>", escaped(&label.name)));
        let role = if label.default { "main" } else { "alternate" };
        self.line(
            3,
            &format!("<Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>"),
        );
    }

    /// A sheet lasts as long as its segment, its tiles equal parts of that.
    fn pictures(&mut self, rendition: &Rendition, form: Form) {
        let Content::Pictures {
            width,
            height,
            columns,
            rows,
        } = rendition.content
        else {
            return;
        };
        self.open("contentType=\"image\" mimeType=\"image/jpeg\"");
        let (sheet_width, sheet_height) = (width * columns, height * rows);
        let shape = format!(" width=\"{sheet_width}\" height=\"{sheet_height}\"");
        let tiles = format!(
            "<EssentialProperty schemeIdUri=\"http://dashif.org/guidelines/thumbnail_tile\" \
             value=\"{columns}x{rows}\"/>"
        );
        self.representation(rendition, form, &shape, &tiles);
        self.close();
    }

    fn representation(&mut self, rendition: &Rendition, form: Form, shape: &str, property: &str) {
        let (id, bandwidth) = (escaped(&rendition.name), rendition.declared_bandwidth());
        let codecs = match rendition.packing {
            Packing::Cmaf => format!(" codecs=\"{}\"", escaped(&rendition.codecs)),
            _ => String::new(),
        };
        self.line(
            3,
            &format!("<Representation id=\"{id}\" bandwidth=\"{bandwidth}\"{codecs}{shape}>"),
        );
        if !property.is_empty() {
            self.line(4, property);
        }
        let folder = rendition.beside("");
        self.line(4, &format!("<BaseURL>{}</BaseURL>", escaped(&folder)));
        self.segments(rendition, form);
        self.line(3, "</Representation>");
    }

    fn segments(&mut self, rendition: &Rendition, form: Form) {
        let (number, segments) = named(rendition, form);
        let template = template(number, segments);
        let init = rendition.init.as_deref().map(escaped);
        let element = if template.is_some() {
            "SegmentTemplate"
        } else {
            "SegmentList"
        };
        let mut attributes = format!("timescale=\"{TICKS}\" startNumber=\"{number}\"");
        if let Some(media) = &template {
            let _ = write!(attributes, " media=\"{}\"", escaped(media));
            if let Some(init) = &init {
                let _ = write!(attributes, " initialization=\"{init}\"");
            }
        }
        self.line(4, &format!("<{element} {attributes}>"));
        if let (None, Some(init)) = (&template, &init) {
            self.line(5, &format!("<Initialization sourceURL=\"{init}\"/>"));
        }
        let gone = rendition.segments.len() - segments.len();
        let before = rendition.segments[..gone].iter().map(ticks).sum::<i64>();
        let start = (rendition.forgotten.duration * TICKS as f64).round() as i64 + before;
        self.timeline(start, segments);
        if template.is_none() {
            for segment in segments {
                let uri = escaped(&segment.uri);
                self.line(5, &format!("<SegmentURL media=\"{uri}\"/>"));
            }
        }
        self.line(4, &format!("</{element}>"));
    }

    fn timeline(&mut self, start: i64, segments: &[SegmentInfo]) {
        self.line(5, "<SegmentTimeline>");
        let durations: Vec<i64> = segments.iter().map(ticks).collect();
        let mut at = Some(start);
        for run in durations.chunk_by(|a, b| a == b) {
            let time = at
                .take()
                .map_or_else(String::new, |t| format!(" t=\"{t}\""));
            let repeat = match run.len() - 1 {
                0 => String::new(),
                more => format!(" r=\"{more}\""),
            };
            self.line(6, &format!("<S{time} d=\"{}\"{repeat}/>", run[0]));
        }
        self.line(5, "</SegmentTimeline>");
    }
}

fn ticks(segment: &SegmentInfo) -> i64 {
    (segment.duration * TICKS as f64).round() as i64
}

/// `$Number%05d$.m4s`, if all addresses are their numbers so.
fn template(number: u64, segments: &[SegmentInfo]) -> Option<String> {
    let first = segments.first()?;
    let (before, after) = first.uri.rsplit_once(&format!("{number:05}"))?;
    let fits = (number..).zip(segments);
    let mut fits = fits.map(|(number, s)| s.uri == format!("{before}{number:05}{after}"));
    (!first.uri.contains('$') && fits.all(|fits| fits))
        .then(|| format!("{before}$Number%05d$${after}").replace("$$", "$"))
}

/// Pictures per second as the schema wants it: a number or a fraction of two.
fn fraction(rate: f64) -> Option<String> {
    if rate <= 0.0 {
        return None;
    }
    let near = |value: f64| (rate - value).abs() < 1e-3 * 0.5;
    let (whole, ntsc) = (rate.round(), (rate * 1.001).round());
    Some(if near(whole) {
        format!("{whole}")
    } else if near(ntsc * 1000.0 / 1001.0) {
        format!("{}/1001", ntsc * 1000.0)
    } else {
        format!("{}/1000", (rate * 1000.0).round())
    })
}

/// ISO/IEC 23091-2 transfer characteristics, where they are not the usual ones.
fn transfer(range: VideoRange) -> String {
    let value = match range {
        VideoRange::Sdr => return String::new(),
        VideoRange::Pq => 16,
        VideoRange::Hlg => 18,
    };
    format!(
        "<SupplementalProperty schemeIdUri=\"urn:mpeg:mpegB:cicp:TransferCharacteristics\" \
         value=\"{value}\"/>"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Seconds since 1970 as a date and time of day in UTC (ISO 8601), to the millisecond.
pub(crate) fn date_time(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as i64;
    let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // Days are counted from 1 March of year 0, so that leap days end years of 400-year cycles.
    let day = days + 719_468;
    let (cycle, in_cycle) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    let shifted = (5 * in_year + 2) / 153;
    let day = in_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = cycle * 400 + year + i64::from(month <= 2);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playlist::Forgotten;

    fn rendition(name: &str, codecs: &str, content: Content, durations: &[f64]) -> Rendition {
        let segment = |(index, &duration): (usize, &f64)| SegmentInfo {
            uri: format!("{index:05}.m4s"),
            duration,
            bytes: 500_000,
            ..SegmentInfo::default()
        };
        Rendition {
            name: name.to_string(),
            content,
            packing: Packing::Cmaf,
            uri: format!("{name}/playlist.m3u8"),
            codecs: codecs.to_string(),
            target_duration: 4,
            init: Some("init.mp4".to_string()),
            expected_peak: 0,
            part_target: None,
            segments: durations.iter().enumerate().map(segment).collect(),
            parts: Vec::new(),
            hint: None,
            forgotten: Forgotten::default(),
        }
    }

    fn video(name: &str, codecs: &str, durations: &[f64]) -> Rendition {
        let content = Content::Video {
            width: 1280,
            height: 720,
            frame_rate: 30_000.0 / 1001.0,
            range: VideoRange::Sdr,
        };
        rendition(name, codecs, content, durations)
    }

    #[test]
    fn a_whole_stream_is_static() {
        let audio = Content::Audio {
            channels: 2,
            label: Label {
                name: "a < b".to_string(),
                language: Some("en".to_string()),
                default: true,
                forced: false,
            },
        };
        let durations = [4.004, 4.004, 2.002];
        let text = manifest(
            &[
                video("720p", "avc1.64001f", &durations),
                rendition("audio", "mp4a.40.2", audio, &[4.0, 4.0, 2.0]),
            ],
            Form::ENDED,
            Clock::default(),
        );
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" \
            minBufferTime=\"PT4S\" maxSegmentDuration=\"PT4S\" type=\"static\" \
            mediaPresentationDuration=\"PT10.010S\">
  <Period id=\"0\" start=\"PT0S\">
    <AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">
      <Representation id=\"720p\" bandwidth=\"1998002\" codecs=\"avc1.64001f\" width=\"1280\" height=\"720\" frameRate=\"30000/1001\" sar=\"1:1\">
        <BaseURL>720p/</BaseURL>
        <SegmentTemplate timescale=\"90000\" startNumber=\"0\" media=\"$Number%05d$.m4s\" initialization=\"init.mp4\">
          <SegmentTimeline>
            <S t=\"0\" d=\"360360\" r=\"1\"/>
            <S d=\"180180\"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id=\"1\" contentType=\"audio\" mimeType=\"audio/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\" lang=\"en\">
      <Label>a &lt; b</Label>
      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"main\"/>";
        let text = text.unwrap();
        assert!(text.contains(expected), "{text}");
        assert!(text.ends_with("  </Period>\n</MPD>\n"), "{text}");
    }

    #[test]
    fn a_growing_stream_is_dynamic() {
        let mut growing = video("720p", "avc1.64001f", &[4.0; 5]);
        growing.forgotten.segments = 7;
        growing.forgotten.duration = 28.0;
        for (index, segment) in growing.segments.iter_mut().enumerate() {
            segment.uri = format!("/ipfs/b{index}?filename={:05}.m4s", index + 7);
        }
        let form = Form {
            ended: false,
            window_s: Some(16.0),
        };
        let clock = Clock {
            started_s: 1_700_000_000.0,
            now_s: 1_700_000_048.5,
        };
        let text = manifest(&[growing.clone()], form, clock).unwrap();
        for expected in [
            "type=\"dynamic\" availabilityStartTime=\"2023-11-14T22:13:20.000Z\" \
             publishTime=\"2023-11-14T22:14:08.500Z\" minimumUpdatePeriod=\"PT4S\" \
             timeShiftBufferDepth=\"PT16.000S\">",
            "<SegmentList timescale=\"90000\" startNumber=\"8\">\n          \
             <Initialization sourceURL=\"init.mp4\"/>",
            "<S t=\"2880000\" d=\"360000\" r=\"3\"/>",
            "<SegmentURL media=\"/ipfs/b1?filename=00008.m4s\"/>",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        growing.packing = Packing::Ts;
        assert_eq!(manifest(&[growing], form, clock), None);
    }

    #[test]
    fn codecs_are_sets_of_their_own() {
        let rungs = [
            video("720p", "avc1.64001f", &[4.0]),
            video("720p-hevc", "hvc1.1.6.L93.90", &[4.0]),
            video("360p", "avc1.64001e", &[4.0]),
        ];
        let text = manifest(&rungs, Form::ENDED, Clock::default()).unwrap();
        let ids: Vec<&str> = text
            .match_indices(" id=\"")
            .map(|(at, _)| &text[at + 5..at + 9])
            .collect();
        assert_eq!(ids.len(), 6, "{text}");
        assert_eq!(text.matches("<AdaptationSet").count(), 2, "{text}");
        let (avc, hevc) = (text.find("360p"), text.find("hvc1"));
        assert!(avc < hevc, "{text}");
    }

    #[test]
    fn rates_and_dates() {
        for (rate, expected) in [
            (25.0, "25"),
            (29.97, "30000/1001"),
            (23.976, "24000/1001"),
            (12.5, "12500/1000"),
        ] {
            assert_eq!(fraction(rate).as_deref(), Some(expected), "{rate}");
        }
        assert_eq!(fraction(0.0), None);
        for (seconds, expected) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (951_782_399.999, "2000-02-28T23:59:59.999Z"),
            (951_782_400.0, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400.0, "2100-03-01T00:00:00.000Z"),
            (-0.5, "1969-12-31T23:59:59.500Z"),
        ] {
            assert_eq!(date_time(seconds), expected);
        }
    }
}
