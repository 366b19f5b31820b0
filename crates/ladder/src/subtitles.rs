//! The source's text subtitles as WebVTT, cut like the video.
//!
//! W3C WebVTT (cue text and settings), RFC 8216 3.5 (WebVTT segments: a cue that shows in several
//! stands in each, with its own times). Decoders give ASS markup; what of it WebVTT has too (bold,
//! italics, underline, alignment) is kept, the rest is dropped. The tracks have an input of their own,
//! as the sound has, and are read only as far as the segment that is being closed.

use std::fmt::Write;

use media::{Input, Kind, Rational, Stream, SubtitleDecoder};

use crate::plan::Texts;
use crate::playlist::Label;
use crate::sample::{TICKS, seconds};
use crate::thumbnails::timestamp;
use crate::timeline::to_ticks;
use crate::{Options, Result, language};

/// What ties cue times to the stream's clock, which starts at 0 in both containers.
pub const TIMESTAMP_MAP: &str = "X-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000";

/// A caption whose end nobody states goes with the next, or after so long.
const LONGEST_OPEN: i64 = 10 * TICKS;
/// Captions of a track that may wait; real ones have a few. More are left out.
const MOST_WAITING: usize = 10_000;
/// Text of one caption in bytes. A screen holds less.
const LONGEST_TEXT: usize = 4096;

/// A caption in WebVTT's words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cue {
    start: i64,
    end: i64,
    /// Cue settings, with a space before each.
    settings: String,
    text: String,
}

/// The text subtitles of a file that can be decoded: index and what people call them.
pub fn find(input: &Input) -> Vec<(usize, Label)> {
    let streams = input.streams().iter();
    let texts = streams.filter(|s| s.kind == Kind::Subtitle && SubtitleDecoder::open(s).is_ok());
    let texts: Vec<&Stream> = texts.collect();
    let labels = language::labels(&texts);
    let labels = labels.into_iter().zip(&texts).map(|(label, stream)| Label {
        // Shown unasked only where the source says so.
        default: false,
        forced: stream.forced,
        ..label
    });
    texts.iter().map(|s| s.index).zip(labels).collect()
}

/// The tracks on their way.
pub struct Tracks {
    input: Input,
    tracks: Vec<Track>,
    ended: bool,
    /// Packets that could not be decoded.
    pub damaged: u32,
    /// Captions that were left out because there were too many.
    pub dropped: u32,
}

struct Track {
    index: usize,
    decoder: SubtitleDecoder,
    time_base: Rational,
    /// The moment that is 0, in the track's time base.
    origin: i64,
    /// By rising start; the end of the last may still be open.
    waiting: Vec<Cue>,
    open: bool,
    /// Start of the latest packet.
    reached: i64,
}

impl Tracks {
    /// Opens the streams again.
    pub fn open(texts: &Texts, options: &Options) -> Result<Tracks> {
        let mut input = Input::open(&texts.path, &options.open)?;
        input.select(&texts.streams);
        let streams = texts
            .streams
            .iter()
            .filter_map(|&index| input.streams().get(index));
        let tracks = streams.map(|stream| {
            Ok(Track {
                index: stream.index,
                decoder: SubtitleDecoder::open(stream)?,
                time_base: stream.time_base,
                origin: texts.base.rescale(texts.origin, stream.time_base),
                waiting: Vec::new(),
                open: false,
                reached: i64::MIN,
            })
        });
        Ok(Tracks {
            tracks: tracks.collect::<Result<_>>()?,
            input,
            ended: false,
            damaged: 0,
            dropped: 0,
        })
    }

    /// The WebVTT segment of each track, of the time from `start` to `end`, in ticks.
    pub fn until(&mut self, start: i64, end: i64) -> Vec<Vec<u8>> {
        while !self.ended && self.tracks.iter().any(|track| track.reached < end) {
            self.read();
        }
        let texts = self
            .tracks
            .iter_mut()
            .map(|track| track.segment(start, end));
        texts.collect()
    }

    fn read(&mut self) {
        // A file that cannot be read further has ended.
        let Some(packet) = self.input.read().unwrap_or(None) else {
            self.ended = true;
            return;
        };
        let Some(track) = self.tracks.iter_mut().find(|t| t.index == packet.stream()) else {
            return;
        };
        let (origin, time_base) = (track.origin, track.time_base);
        let ticks = |time: i64| to_ticks(time.saturating_sub(origin), time_base);
        if let Some(pts) = packet.pts() {
            track.reached = track.reached.max(ticks(pts));
        }
        let Ok(captions) = track.decoder.decode(&packet) else {
            self.damaged += 1;
            return;
        };
        for caption in captions {
            let (start, end) = (ticks(caption.start), caption.end.map(ticks));
            let (settings, text) = markup(&caption.text);
            if track.waiting.len() >= MOST_WAITING || text.len() > LONGEST_TEXT {
                self.dropped += 1;
            } else if !text.is_empty() {
                track.add(start, end, settings, text);
            }
        }
    }
}

impl Track {
    fn add(&mut self, start: i64, end: Option<i64>, settings: String, text: String) {
        if let (true, Some(last)) = (self.open, self.waiting.last_mut()) {
            if start > last.start {
                last.end = last.end.min(start);
            }
        }
        self.open = end.is_none();
        let at = self.waiting.partition_point(|cue| cue.start <= start);
        let cue = Cue {
            start,
            end: end.unwrap_or(start.saturating_add(LONGEST_OPEN)),
            settings,
            text,
        };
        self.waiting.insert(at, cue);
    }

    fn segment(&mut self, start: i64, end: i64) -> Vec<u8> {
        let mut text = format!("WEBVTT\n{TIMESTAMP_MAP}\n");
        for cue in &self.waiting {
            // WebVTT has milliseconds; what rounds to nothing is not shown.
            let (from, to) = (cue.start.max(0), cue.end);
            if from < end && to > start && to - from >= TICKS / 1000 {
                let (from, to) = (timestamp(seconds(from)), timestamp(seconds(to)));
                let Cue {
                    settings,
                    text: words,
                    ..
                } = cue;
                // Writing to a String cannot fail.
                let _ = write!(text, "\n{from} --> {to}{settings}\n{words}\n");
            }
        }
        self.waiting.retain(|cue| cue.end > end);
        text.into_bytes()
    }
}

/// Cue settings and cue text of a line of ASS markup.
fn markup(ass: &str) -> (String, String) {
    let (mut text, mut settings) = (String::new(), String::new());
    let mut open: Vec<char> = Vec::new();
    let mut rest = ass;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '{' => {
                let Some((codes, after)) = rest.split_once('}') else {
                    text.push('{');
                    continue;
                };
                rest = after;
                for code in codes.split('\\').skip(1) {
                    style(code.trim(), &mut open, &mut text, &mut settings);
                }
            }
            '\\' => {
                let escaped = rest.chars().next();
                match escaped {
                    Some('N' | 'n') => text.push('\n'),
                    Some('h') => text.push('\u{a0}'),
                    _ => {
                        text.push('\\');
                        continue;
                    }
                }
                rest = &rest[1..];
            }
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '\r' => {}
            c => text.push(c),
        }
    }
    close_all(&mut open, &mut text);
    // An empty line would end the cue.
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join("\n");
    let only_tags = !text.is_empty() && shown(&text).trim().is_empty();
    (settings, if only_tags { String::new() } else { text })
}

/// The text without its tags.
fn shown(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .filter(|&c| {
            let tag = inside || c == '<';
            inside = tag && c != '>';
            !tag
        })
        .collect()
}

/// One ASS override code.
fn style(code: &str, open: &mut Vec<char>, text: &mut String, settings: &mut String) {
    let mut letters = code.chars();
    match (letters.next(), letters.as_str()) {
        (Some(tag @ ('b' | 'i' | 'u')), "0") => {
            // Tags are nested: those opened later are closed and opened again.
            if let Some(at) = open.iter().rposition(|&other| other == tag) {
                let mut again = open.split_off(at);
                for tag in again.iter().rev() {
                    let _ = write!(text, "</{tag}>");
                }
                again.remove(0);
                for tag in again {
                    let _ = write!(text, "<{tag}>");
                    open.push(tag);
                }
            }
        }
        // Bold may be given as a weight.
        (Some(tag @ ('b' | 'i' | 'u')), on)
            if on.parse::<u32>().is_ok() && !open.contains(&tag) =>
        {
            let _ = write!(text, "<{tag}>");
            open.push(tag);
        }
        (Some('r'), _) => close_all(open, text),
        (Some('a'), place) => {
            let place = place.strip_prefix('n').and_then(|n| n.parse::<u32>().ok());
            if let Some(place @ 1..=9) = place.filter(|_| settings.is_empty()) {
                // As on the number pad; below and in the middle is the usual place.
                settings.push_str(["", " line:50%", " line:0"][(place as usize - 1) / 3]);
                settings.push_str([" align:start", "", " align:end"][(place as usize - 1) % 3]);
            }
        }
        _ => {}
    }
}

fn close_all(open: &mut Vec<char>, text: &mut String) {
    while let Some(tag) = open.pop() {
        let _ = write!(text, "</{tag}>");
    }
}

/// Start and end of a cue in seconds, from its line of times.
pub fn read_times(line: &str) -> Option<(f64, f64)> {
    let (from, to) = line.split_once("-->")?;
    let time = |text: &str| -> Option<f64> {
        let (hours, rest) = text.trim().split_once(':')?;
        let (minutes, seconds) = rest.split_once(':')?;
        let (hours, minutes): (f64, f64) = (hours.parse().ok()?, minutes.parse().ok()?);
        Some(hours * 3600.0 + minutes * 60.0 + seconds.parse::<f64>().ok()?)
    };
    Some((time(from)?, time(to.split_whitespace().next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_web_vtt() {
        for (ass, settings, text) in [
            ("plain", "", "plain"),
            (
                "{\\i1}so{\\i0}\\Nsay & <go>",
                "",
                "<i>so</i>\nsay &amp; &lt;go&gt;",
            ),
            ("{\\b1}a{\\i1}b{\\b0}c", "", "<b>a<i>b</i></b><i>c</i>"),
            ("{\\b700\\fs20}big{\\r}small", "", "<b>big</b>small"),
            ("{\\an8}top", " line:0", "top"),
            ("{\\an1}{\\an9}left", " align:start", "left"),
            ("{\\pos(10,20)}x\\hy", "", "x\u{a0}y"),
            ("a\\N\\N{\\i1}\\N{\\i0}b", "", "a\n<i>\n</i>b"),
            ("{\\i1}{\\i0}", "", ""),
            ("{not closed", "", "{not closed"),
            ("C:\\dir", "", "C:\\dir"),
            ("-->", "", "--&gt;"),
        ] {
            assert_eq!(
                markup(ass),
                (settings.to_string(), text.to_string()),
                "{ass}"
            );
        }
    }

    #[test]
    fn times_of_cues() {
        let times = read_times("00:01:02.500 --> 01:00:00.001 line:0");
        assert_eq!(times, Some((62.5, 3600.001)));
        assert_eq!(read_times("1 --> 2"), None);
    }
}
