//! What will be made of a file, decided before anything is encoded: one pass over its packets gives
//! all display times, the first pictures are decoded for what only they know, and from both come
//! rungs, segment boundaries and whether the source is copied.
//!
//! Boundaries stand at the first picture at or after each multiple of the wanted duration, counted
//! from 0, so nothing drifts at fractional rates. All rungs share them. The target duration is
//! known from the start and never changes while the playlists grow (RFC 8216 4.3.3.1).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use media::{Decoder, Frame, Input, Packet, Rational, Stream};
use serde::{Deserialize, Serialize};

use crate::copy::{self, Candidate};
use crate::playlist::{Content, Rendition};
use crate::rungs::{self, Rung};
use crate::sample::{TICKS, seconds};
use crate::timeline::{LEAST_DISTANCE, Timeline, to_ticks};
use crate::{Container, Error, Options, Result, audio};

/// The biggest picture of any H.264 level (6.2), in macroblocks of 16x16 (table A-1).
pub const MAX_MACROBLOCKS: u64 = 139_264;

/// Longer files are refused: their timestamps are more likely wrong than right.
const LONGEST_S: i64 = 24 * 3600;

/// Pictures per second assumed when neither the container nor the timestamps tell.
const USUAL_RATE: i64 = 25;

/// A stream that starts with so many packets that give no picture has none.
const PACKETS_UNTIL_A_PICTURE: usize = 2000;

/// What will be made, for sinks and for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How segments are packed.
    pub container: Container,
    /// Duration of the stream in seconds.
    pub duration_s: f64,
    /// Segments of each rendition.
    pub segments: u32,
    /// EXT-X-TARGETDURATION of every rendition.
    pub target_duration: u32,
    /// Pictures per second, without pauses.
    pub frame_rate: f64,
    /// Whether there is sound.
    pub audio: bool,
    /// The rungs, biggest first.
    pub rungs: Vec<Rung>,
}

impl Plan {
    /// All renditions, still without segments, under the addresses that [`crate::DirSink`] uses.
    pub fn renditions(&self) -> Vec<Rendition> {
        let fragmented = self.container == Container::Cmaf;
        let muxed_audio = self.audio && !fragmented;
        let audio_rate = if muxed_audio { audio::PEAK_RATE } else { 0 };
        let rendition = |name: &str, content: Content, expected_peak: u64| Rendition {
            name: name.to_string(),
            content,
            uri: format!("{name}/playlist.m3u8"),
            codecs: String::new(),
            target_duration: self.target_duration,
            init: fragmented.then(|| "init.mp4".to_string()),
            expected_peak,
            segments: Vec::new(),
        };
        let video = self.rungs.iter().map(|rung| {
            let (width, height) = (rung.width, rung.height);
            let content = Content::Video {
                width,
                height,
                frame_rate: self.frame_rate,
            };
            rendition(
                &rung.name,
                content,
                u64::from(rung.max_rate) * 21 / 20 + audio_rate,
            )
        });
        let audio = (self.audio && fragmented).then(|| {
            let content = Content::Audio {
                channels: audio::CHANNELS,
            };
            rendition(crate::playlist::AUDIO_GROUP, content, audio::PEAK_RATE)
        });
        video.chain(audio).collect()
    }
}

/// Where segments start and the last one ends, in 90 kHz ticks from the first picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuts {
    /// Start of every segment; the first is 0.
    pub starts: Vec<i64>,
    /// End of the last segment.
    pub end: i64,
}

impl Cuts {
    /// When the segment of this index ends.
    pub fn end_of(&self, index: usize) -> i64 {
        self.starts.get(index + 1).copied().unwrap_or(self.end)
    }

    /// The longest duration, rounded to whole seconds as RFC 8216 4.3.3.1 compares it.
    fn target_duration(&self) -> u32 {
        let durations = (0..self.starts.len()).map(|at| self.end_of(at) - self.starts[at]);
        let longest = durations.max().unwrap_or(0);
        u32::try_from(rounded(longest)).unwrap_or(u32::MAX).max(1)
    }
}

fn rounded(ticks: i64) -> i64 {
    (ticks + TICKS / 2) / TICKS
}

/// Cuts for encoding. `shown` are the display times in rising order, from 0.
///
/// Where no picture comes near a multiple of `wanted`, as in slide shows, the boundary stands there
/// all the same, and the picture before it is shown again. A last segment under half of `wanted` is
/// joined to the one before if that still rounds to at most `wanted`, else both are evened out.
pub fn cuts(shown: &[i64], end: i64, wanted: i64) -> Cuts {
    let mut starts = vec![0];
    let mut from = 0;
    for grid in (1..).map(|k| k * wanted).take_while(|&grid| grid < end) {
        from += shown[from..].partition_point(|&pts| pts < grid);
        let start = shown
            .get(from)
            .filter(|&&pts| pts - grid <= wanted / 4)
            .copied();
        starts.push(start.unwrap_or(grid));
    }
    let [.., before, last] = starts[..] else {
        return Cuts { starts, end };
    };
    if end - last < wanted / 2 {
        starts.pop();
        if rounded(end - before) > rounded(wanted) {
            let middle = before + (end - before) / 2;
            let near = shown
                .iter()
                .find(|&&pts| pts >= middle && pts - middle <= wanted / 4);
            starts.push(near.copied().unwrap_or(middle));
        }
    }
    Cuts { starts, end }
}

/// What the packets of the video stream say.
struct Scan {
    /// Display times in ticks from the first picture, rising.
    shown: Vec<i64>,
    end: i64,
    jumps: u32,
    candidate: Option<Candidate>,
}

/// Everything the pipeline needs to start.
pub struct Prepared {
    pub plan: Plan,
    pub input: PathBuf,
    pub cuts: Cuts,
    pub video: Stream,
    /// Time of the first picture in the video stream's time base.
    pub origin: i64,
    /// Duration of one picture in ticks.
    pub nominal: i64,
    /// Pictures per second when all display times lie on that grid.
    pub constant_rate: Option<Rational>,
    /// The first picture as decoded, which says how to treat all.
    pub first: Frame,
    pub copy: Option<copy::Source>,
    pub audio: Option<usize>,
    pub warnings: Vec<String>,
}

/// Reads the whole file once and decides.
pub fn prepare(input: &Path, options: &Options, cancel: &AtomicBool) -> Result<Prepared> {
    if !(1.0..=30.0).contains(&options.segment_s) {
        return Err(Error::SegmentDuration {
            seconds: options.segment_s,
        });
    }
    let wanted = (options.segment_s * TICKS as f64) as i64;
    let mut warnings = Vec::new();
    let (video, first) = first_picture(input, options, cancel)?;
    let nominal = nominal_duration(&video);
    let origin = first.pts().unwrap_or(0);
    let (width, height) = display_size(&video, &first);
    let macroblocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    if macroblocks > MAX_MACROBLOCKS || width.max(height) > 16384 {
        return Err(Error::TooLarge {
            file: input.to_path_buf(),
            width,
            height,
        });
    }
    let mut rungs = rungs::choose(width, height);
    let scan = scan(input, options, cancel, &video, origin, nominal)?;
    if scan.jumps > 0 {
        warnings.push(format!(
            "timestamps jump in {} places; the gaps were closed",
            scan.jumps
        ));
    }
    let copy = scan.candidate.filter(|_| scan.jumps == 0);
    let copy = copy.and_then(|copy| copy.decide(&rungs[0], &scan.shown, scan.end, wanted));
    let cuts = match &copy {
        Some(source) => source.cuts.clone(),
        None => cuts(&scan.shown, scan.end, wanted),
    };
    if let Some(source) = &copy {
        source.describe(&mut rungs[0]);
    }
    let audio = audio::find(input, options, &mut warnings)?;
    let constant_rate = video
        .frame_rate()
        .filter(|rate| on_grid(&scan.shown, *rate));
    let highest = highest_rate(&scan.shown, scan.end);
    let plan = Plan {
        container: options.container,
        duration_s: seconds(scan.end),
        segments: u32::try_from(cuts.starts.len()).unwrap_or(u32::MAX),
        target_duration: cuts.target_duration(),
        frame_rate: constant_rate.map_or(highest, Rational::to_f64),
        audio: audio.is_some(),
        rungs,
    };
    let input = input.to_path_buf();
    Ok(Prepared {
        plan,
        input,
        cuts,
        video,
        origin,
        nominal,
        constant_rate,
        first,
        copy,
        audio,
        warnings,
    })
}

/// Size as displayed by what the first picture really is, which a container may state wrongly.
fn display_size(video: &Stream, first: &Frame) -> (u32, u32) {
    let (stated, decoded) = (
        (video.width(), video.height()),
        (first.width(), first.height()),
    );
    if stated == decoded {
        video.display_size()
    } else {
        decoded
    }
}

/// The duration of a picture in ticks: from the stated rate, if that is a sane one.
fn nominal_duration(video: &Stream) -> i64 {
    let stated = video.frame_rate().map(|rate| to_ticks(1, rate.inverse()));
    stated
        .filter(|ticks| (LEAST_DISTANCE..=10 * TICKS).contains(ticks))
        .unwrap_or(TICKS / USUAL_RATE)
}

/// Decodes until there is a picture.
fn first_picture(path: &Path, options: &Options, cancel: &AtomicBool) -> Result<(Stream, Frame)> {
    let mut input = Input::open(path, &options.open)?;
    let video = input.best_video()?.clone();
    input.select(&[video.index]);
    let mut decoder = Decoder::open(&video, 1)?;
    let mut timeline = Timeline::new(input.container(), video.time_base, nominal_duration(&video));
    for _ in 0..PACKETS_UNTIL_A_PICTURE {
        stop_if(cancel)?;
        let mut packet = input.read().unwrap_or(None);
        if let Some(packet) = &mut packet {
            timeline.place(packet);
        }
        let ended = packet.is_none();
        // A damaged packet is passed over; a later one may give a picture.
        if let Err(error @ media::Error::TooLarge { .. }) = decoder.send(packet.as_ref()) {
            return Err(error.into());
        }
        match decoder.receive() {
            Ok(Some(frame)) => return Ok((video, frame)),
            Err(error @ media::Error::TooLarge { .. }) => return Err(error.into()),
            Ok(None) | Err(_) if ended => break,
            Ok(None) | Err(_) => {}
        }
    }
    Err(Error::NoPicture {
        file: path.to_path_buf(),
    })
}

/// Reads all packets of the video stream.
fn scan(
    path: &Path,
    options: &Options,
    cancel: &AtomicBool,
    video: &Stream,
    origin: i64,
    nominal: i64,
) -> Result<Scan> {
    let mut input = Input::open(path, &options.open)?;
    input.select(&[video.index]);
    let mut timeline = Timeline::new(input.container(), video.time_base, nominal);
    let mut candidate = Candidate::new(video, options);
    let mut shown = Vec::new();
    let mut untimed = false;
    let mut last_end = 0;
    // A file that cannot be read to its end is used up to there.
    while let Ok(Some(mut packet)) = input.read() {
        stop_if(cancel)?;
        timeline.place(&mut packet);
        if packet.is_discarded() {
            candidate = None;
            continue;
        }
        untimed |= packet.pts().is_none();
        let Some(pts) = packet.pts().or(packet.dts()) else {
            continue;
        };
        let pts = to_ticks(pts.saturating_sub(origin), video.time_base);
        if let Some(candidate) = &mut candidate {
            candidate.packet(&packet, pts);
        }
        shown.push(pts);
        last_end = last_end.max(pts + picture_duration(&packet, nominal));
        if pts > LONGEST_S * TICKS {
            let reason = format!("the file claims to last over {} h", LONGEST_S / 3600);
            return Err(Error::Timestamps {
                file: path.to_path_buf(),
                reason,
            });
        }
    }
    shown.sort_unstable();
    if let (true, Some(&first)) = (untimed, shown.first()) {
        // Decode times stood in for display times, and run ahead of them by the reordering.
        shown.iter_mut().for_each(|pts| *pts -= first);
        last_end -= first;
    }
    shown.retain(|&pts| pts >= 0);
    shown.dedup_by(|later, earlier| *later < *earlier + LEAST_DISTANCE);
    if shown.is_empty() || last_end <= 0 {
        shown = vec![0];
        last_end = nominal;
    }
    Ok(Scan {
        shown,
        end: last_end,
        jumps: timeline.jumps,
        candidate,
    })
}

/// How long the packet's picture stands, if the container says something sane.
fn picture_duration(packet: &Packet, nominal: i64) -> i64 {
    let stated = to_ticks(packet.duration(), packet.time_base());
    if (LEAST_DISTANCE..=10 * TICKS).contains(&stated) {
        stated
    } else {
        nominal
    }
}

/// Whether every display time is a multiple of the picture's duration, to a quarter of it, and no
/// two share one. Then pictures can be numbered, and the encoder is told the true rate.
fn on_grid(shown: &[i64], rate: Rational) -> bool {
    let place = |pts: i64| pts as f64 * rate.to_f64() / TICKS as f64;
    let near = |pts: i64| (place(pts) - place(pts).round()).abs() <= 0.25;
    let apart = |pair: &[i64]| place(pair[1]).round() > place(pair[0]).round();
    rate.to_f64() <= 240.0 && shown.iter().all(|&pts| near(pts)) && shown.windows(2).all(apart)
}

/// Pictures per second while there are any: from the usual distance, or on average when that is
/// more.
fn highest_rate(shown: &[i64], end: i64) -> f64 {
    let average = shown.len() as f64 / seconds(end.max(1));
    let mut gaps: Vec<i64> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).filter(|_| gaps.len() > 1);
    usual.map_or(average, |&gap| average.max(TICKS as f64 / gap as f64))
}

/// Ends the run when the caller asked for it.
pub fn stop_if(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) {
        Err(Error::Cancelled)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Display times of `count` pictures at num/den per second.
    fn times(count: i64, num: i64, den: i64) -> Vec<i64> {
        (0..count).map(|n| n * TICKS * den / num).collect()
    }

    fn check(shown: &[i64], end: i64, durations: &[f64], target: u32) {
        let cuts = cuts(shown, end, 4 * TICKS);
        let found: Vec<f64> = (0..cuts.starts.len())
            .map(|at| (seconds(cuts.end_of(at) - cuts.starts[at]) * 1000.0).round() / 1000.0)
            .collect();
        assert_eq!(found, durations);
        assert_eq!(cuts.target_duration(), target, "{durations:?}");
    }

    #[test]
    fn cuts_by_source() {
        let at = |s: f64| (s * TICKS as f64) as i64;
        check(&times(302, 25, 1), at(12.08), &[4.0, 4.0, 4.08], 4);
        check(&times(300, 25, 1), at(12.0), &[4.0, 4.0, 4.0], 4);
        check(&times(325, 25, 1), at(13.0), &[4.0, 4.0, 2.52, 2.48], 4);
        check(&times(375, 25, 1), at(15.0), &[4.0, 4.0, 4.0, 3.0], 4);
        check(&times(125, 25, 1), at(5.0), &[2.52, 2.48], 3);
        check(&times(25, 25, 1), at(1.0), &[1.0], 1);
        check(&[0], at(0.04), &[0.04], 1);
        // One picture per 3.5 s: each multiple of 4 s shows the picture before it again, unless one
        // comes within a second.
        check(
            &[0, at(3.5), at(7.0), at(10.5)],
            at(14.0),
            &[4.0, 4.0, 4.0, 2.0],
            4,
        );
        check(
            &[0, at(3.5), at(4.5), at(10.5)],
            at(14.0),
            &[4.5, 3.5, 4.0, 2.0],
            5,
        );
        // Nothing for a minute.
        check(&[0, at(62.0)], at(64.0), &[4.0; 16], 4);
    }

    #[test]
    fn fractional_rates_do_not_drift() {
        let count = 3600 * 30_000 / 1001;
        let shown = times(count, 30_000, 1001);
        let cuts = cuts(&shown, count * TICKS * 1001 / 30_000, 4 * TICKS);
        assert_eq!(cuts.target_duration(), 4);
        for (index, &start) in cuts.starts.iter().enumerate().take(cuts.starts.len() - 1) {
            let late = start - index as i64 * 4 * TICKS;
            assert!(
                (0..3004).contains(&late),
                "segment {index} is {late} ticks late"
            );
            assert!(
                shown.binary_search(&start).is_ok(),
                "segment {index} starts at no picture"
            );
        }
    }

    #[test]
    fn grids() {
        let rate = Rational::new(30_000, 1001);
        let mut shown = times(1000, 30_000, 1001);
        assert!(on_grid(&shown, rate));
        // Millisecond timestamps, and one picture dropped.
        shown
            .iter_mut()
            .for_each(|pts| *pts = (*pts + 45) / 90 * 90);
        shown.remove(10);
        assert!(on_grid(&shown, rate));
        assert!(!on_grid(&times(1000, 24, 1), rate));
        assert!(!on_grid(&times(2000, 60_000, 1001), rate));
    }
}
