//! What will be made of a file, decided before anything is encoded: one pass over its packets gives
//! all display times, the first pictures are decoded for what only they know, and from both come
//! rungs, segment boundaries and whether the source is copied.
//!
//! Boundaries stand at the first picture at or after each multiple of the wanted duration, counted
//! from 0, so nothing drifts at fractional rates. All rungs share them. The target duration is
//! known from the start and never changes while the playlists grow (RFC 8216 4.3.3.1).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use media::{
    ColourTreatment, Decoder, Frame, Hdr, Input, Packet, Rational, Stream, VideoChain, square,
};
use serde::{Deserialize, Serialize};

use crate::copy::{self, Candidate};
use crate::feed::{Fed, Feed, Incoming};
use crate::headers::Codec;
use crate::live::SoundQueue;
use crate::playlist::{self, Content, Forgotten, Label, Packing, Rendition, VideoRange};
use crate::rungs::{self, Rung};
use crate::sample::{TICKS, seconds};
use crate::timeline::{LEAST_DISTANCE, Timeline, to_ticks};
use crate::{Container, Error, Options, Result, audio, subtitles, thumbnails};

/// The biggest picture of any H.264 level (6.2), in macroblocks of 16x16 (table A-1).
pub const MAX_MACROBLOCKS: u64 = 139_264;

/// Longer files are refused: their timestamps are more likely wrong than right.
const LONGEST_S: i64 = 24 * 3600;

/// Pictures per second assumed when neither the container nor the timestamps tell.
const USUAL_RATE: i64 = 25;

/// Pictures per second up to which pictures are numbered.
const HIGHEST_GRID_RATE: f64 = 240.0;

/// A stream that starts with so many packets that give no picture has none.
const PACKETS_UNTIL_A_PICTURE: usize = 2000;

/// What will be made, for sinks and for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How segments are packed.
    pub container: Container,
    /// Duration of the stream in seconds; `None` while the end is unknown (a pipe, a live source).
    pub duration_s: Option<f64>,
    /// Segments of each rendition; `None` while the end is unknown.
    pub segments: Option<u32>,
    /// Longest duration of a part in seconds, where there are parts (EXT-X-PART-INF).
    #[serde(default)]
    pub part_s: Option<f64>,
    /// Seconds that the playlists of a live stream name; `None`: all of it.
    #[serde(default)]
    pub window_s: Option<f64>,
    /// EXT-X-TARGETDURATION of every rendition.
    pub target_duration: u32,
    /// Pictures per second, without pauses.
    pub frame_rate: f64,
    /// The tracks of sound.
    pub audio: Vec<Label>,
    /// The tracks of subtitles.
    #[serde(default)]
    pub subtitles: Vec<Label>,
    /// Size of a thumbnail's tile; `None` without thumbnails.
    #[serde(default)]
    pub tile: Option<(u32, u32)>,
    /// Dynamic range of the pictures.
    #[serde(default)]
    pub range: VideoRange,
    /// The rungs, biggest first.
    pub rungs: Vec<Rung>,
    /// Why the rungs are these, in words, where a trial decided ([`Options::per_title`]).
    #[serde(default)]
    pub decisions: Vec<String>,
}

impl Plan {
    /// All renditions, still without segments, under the addresses that [`crate::DirSink`] uses.
    pub fn renditions(&self) -> Vec<Rendition> {
        let media = match self.container {
            Container::Ts => Packing::Ts,
            Container::Cmaf => Packing::Cmaf,
        };
        let muxed_audio = self.muxes_sound();
        let audio_rate = if muxed_audio { audio::PEAK_RATE } else { 0 };
        let rendition = |name: &str, content: Content, expected_peak: u64| {
            let packing = match content {
                Content::Video { .. } | Content::Audio { .. } => media,
                Content::Subtitles { .. } => Packing::Vtt,
                Content::Pictures { .. } => Packing::Jpeg,
            };
            Rendition {
                name: name.to_string(),
                content,
                packing,
                uri: format!("{name}/playlist.m3u8"),
                codecs: String::new(),
                target_duration: self.target_duration,
                init: (packing == Packing::Cmaf).then(|| "init.mp4".to_string()),
                expected_peak,
                part_target: self.part_s,
                segments: Vec::new(),
                parts: Vec::new(),
                hint: None,
                forgotten: Forgotten::default(),
            }
        };
        let video = self.rungs.iter().map(|rung| {
            let (width, height) = (rung.width, rung.height);
            let content = Content::Video {
                width,
                height,
                frame_rate: self.frame_rate,
                range: self.range,
            };
            rendition(
                &rung.name,
                content,
                u64::from(rung.max_rate) * 21 / 20 + audio_rate,
            )
        });
        let tracks = self.audio.iter().filter(|_| !muxed_audio).enumerate();
        let audio = tracks.map(|(track, label)| {
            let content = Content::Audio {
                channels: audio::CHANNELS,
                label: label.clone(),
            };
            let name = playlist::track_name(playlist::AUDIO_GROUP, track);
            rendition(&name, content, audio::PEAK_RATE)
        });
        let tracks = self.subtitles.iter().enumerate();
        let subtitles = tracks.map(|(track, label)| {
            let content = Content::Subtitles {
                label: label.clone(),
            };
            let name = playlist::track_name(playlist::SUBTITLES_GROUP, track);
            rendition(&name, content, 0)
        });
        let pictures = self.tile.map(|(width, height)| {
            let content = Content::Pictures {
                width,
                height,
                columns: thumbnails::COLUMNS,
                rows: thumbnails::ROWS,
            };
            rendition(playlist::PICTURES, content, 0)
        });
        let beside = audio.chain(subtitles).chain(pictures);
        video.chain(beside).collect()
    }

    /// Whether the sound stands in the segments of every rung, rather than in renditions of its own:
    /// transport streams with one track of it.
    pub fn muxes_sound(&self) -> bool {
        self.container == Container::Ts && self.audio.len() == 1
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

/// Where segments of pictures are cut whose end is not known: as [`cuts`] does it, as far as that can
/// be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Wanted duration of a segment.
    pub wanted: i64,
    /// A picture that comes later than this after a multiple of it does not start a segment.
    pub late: i64,
    /// Whether a last segment that would be too short is joined to the one before. That needs some
    /// pictures of foresight at each boundary.
    pub joins: bool,
}

impl Grid {
    /// The grid and the target duration that no segment on it exceeds.
    fn new(wanted: i64, nominal: i64, joins: bool) -> (Grid, u32) {
        let latest = wanted / 4;
        let target = rounded(wanted + nominal.min(latest)).max(1);
        let longest = target * TICKS + TICKS / 2 - 1;
        let grid = Grid {
            wanted,
            late: latest.min(longest - wanted).max(0),
            joins,
        };
        (grid, u32::try_from(target).unwrap_or(u32::MAX))
    }

    /// How much must follow a boundary, when a segment of this duration ends there, to be a segment
    /// of its own.
    pub fn least(&self, before: i64) -> i64 {
        if !self.joins {
            return 0;
        }
        let room = rounded(self.wanted) * TICKS + TICKS / 2 - before;
        room.clamp(0, self.wanted / 2)
    }
}

/// Where segments are cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartGrid {
    /// No part lasts longer.
    pub longest: i64,
    /// Whether pictures are evenly spaced: then it is known when the next one comes.
    pub even: bool,
}

/// Where a run's segments are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cutting {
    /// At places that are known.
    Planned(Cuts),
    /// As pictures come.
    Grid(Grid),
}

/// What a run reads.
#[derive(Debug)]
pub enum Reading {
    /// The stream of a file, with the first picture's time in its time base.
    File {
        path: PathBuf,
        video: Box<Stream>,
        origin: i64,
    },
    /// Pictures that come once; the first was taken out already and is [`Prepared::first`].
    Feed(Box<dyn Feed>),
}

/// The sound of a run.
#[derive(Debug, Clone)]
pub enum Sounding {
    /// A stream of a file.
    File {
        path: PathBuf,
        stream: usize,
        /// The moment that is 0, in units of `base`.
        origin: i64,
        base: Rational,
        /// Whether everything ends where this sound ends, if that is earlier.
        ends: bool,
    },
    /// What comes with the pictures of a live source.
    Live(SoundQueue),
}

impl Sounding {
    /// Whether everything ends where this sound ends, if that is earlier.
    pub fn ends(&self) -> bool {
        matches!(self, Sounding::File { ends: true, .. })
    }
}

/// The subtitles of a run.
#[derive(Debug, Clone)]
pub struct Texts {
    pub path: PathBuf,
    /// Indices of the streams.
    pub streams: Vec<usize>,
    /// The moment that is 0, in units of `base`.
    pub origin: i64,
    pub base: Rational,
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
    /// How messages call the input.
    pub name: PathBuf,
    pub reading: Reading,
    pub cuts: Cutting,
    pub parts: Option<PartGrid>,
    /// What is done to the pictures before they are scaled, and whether it changes their sides.
    pub chain: VideoChain,
    pub turned: bool,
    /// Whether segments say when their pictures came in.
    pub dated: bool,
    /// Duration of one picture in ticks.
    pub nominal: i64,
    /// Pictures per second when all display times lie on that grid.
    pub constant_rate: Option<Rational>,
    /// The first picture as decoded, which says how to treat all.
    pub first: Frame,
    pub copy: Option<copy::Source>,
    /// The tracks of sound, in the plan's order.
    pub sound: Vec<Sounding>,
    pub texts: Option<Texts>,
    pub warnings: Vec<String>,
}

/// Reads the whole file once and decides.
pub fn prepare(input: &Path, options: &Options, cancel: &AtomicBool) -> Result<Prepared> {
    let wanted = wanted(options)?;
    if let Some(seconds) = options.part_s {
        return Err(Error::PartDuration { seconds });
    }
    let mut warnings = Vec::new();
    let (video, first) = first_picture(input, options, cancel)?;
    let nominal = nominal_duration(&video);
    let origin = first.pts().unwrap_or(0);
    let (width, height) = display_size(&video, &first);
    refuse_too_large(input, width, height)?;
    let mut rungs = rungs::choose(width, height, options)?;
    let scan = scan(input, options, cancel, &video, origin, nominal)?;
    if scan.jumps > 0 {
        warnings.push(format!(
            "timestamps jump in {} places; the gaps were closed",
            scan.jumps
        ));
    }
    let h264 = rungs[0].codec == Codec::H264;
    let copy = scan.candidate.filter(|_| scan.jumps == 0 && h264);
    let copy = copy.and_then(|copy| copy.decide(&rungs[0], &scan.shown, scan.end, wanted));
    let cuts = match &copy {
        Some(source) => source.cuts.clone(),
        None => cuts(&scan.shown, scan.end, wanted),
    };
    if let Some(source) = &copy {
        source.describe(&mut rungs[0]);
    }
    let opened = Input::open(input, &options.open)?;
    let (sounds, audio): (Vec<usize>, Vec<Label>) =
        audio::find(&opened, input, options, &mut warnings)?
            .into_iter()
            .unzip();
    let mut texts = subtitles::find(&opened);
    if scan.jumps > 0 && !texts.is_empty() {
        // Their packets are too far apart to tell a jump from a pause.
        warnings.push("subtitles were left out: the clock jumps".to_string());
        texts.clear();
    }
    let (streams, subtitles): (Vec<usize>, Vec<Label>) = texts.into_iter().unzip();
    let chain = VideoChain::for_stream(&video);
    let constant_rate = video
        .frame_rate()
        .filter(|rate| on_grid(&scan.shown, *rate));
    let highest = highest_rate(&scan.shown, scan.end);
    let plan = Plan {
        container: options.container,
        duration_s: Some(seconds(scan.end)),
        segments: u32::try_from(cuts.starts.len()).ok(),
        part_s: None,
        window_s: options.live_window,
        target_duration: cuts.target_duration(),
        frame_rate: constant_rate.map_or(highest, Rational::to_f64),
        audio,
        subtitles,
        tile: tile(options, &rungs),
        range: match (chain.colour, video.hdr()) {
            (ColourTreatment::HdrKept, Some(Hdr::Hlg)) => VideoRange::Hlg,
            (ColourTreatment::HdrKept, Some(_)) => VideoRange::Pq,
            _ => VideoRange::Sdr,
        },
        rungs,
        decisions: Vec::new(),
    };
    let path = input.to_path_buf();
    let base = video.time_base;
    let sound = sounds.into_iter().map(|stream| Sounding::File {
        path: path.clone(),
        stream,
        origin,
        base,
        ends: false,
    });
    let sound = sound.collect();
    let texts = (!streams.is_empty()).then(|| Texts {
        path: path.clone(),
        streams,
        origin,
        base,
    });
    Ok(Prepared {
        plan,
        name: path.clone(),
        cuts: Cutting::Planned(cuts),
        parts: None,
        chain,
        turned: video.orientation.swaps_sides(),
        dated: false,
        reading: Reading::File {
            path,
            video: Box::new(video),
            origin,
        },
        nominal,
        constant_rate,
        first,
        copy,
        sound,
        texts,
        warnings,
    })
}

/// Waits for the first picture and decides by it.
pub fn prepare_stream(
    incoming: Option<Incoming>,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Prepared> {
    let wanted = wanted(options)?;
    let Some(incoming) = incoming else {
        return Err(Error::Cancelled);
    };
    let Incoming {
        name,
        mut feed,
        rate,
        constant,
        aspect,
        chain,
        turned,
        audio,
        live_sound,
        live,
    } = incoming;
    let first = match feed.next(cancel)? {
        Fed::Picture(frame, _) => frame,
        Fed::Stopped => return Err(Error::Cancelled),
        Fed::Gap | Fed::Notice(_) => {
            let reason = "lost before its first picture".to_string();
            return Err(Error::Pictures { name, reason });
        }
        Fed::End => {
            let reason = "not one whole picture".to_string();
            return Err(Error::Pictures { name, reason });
        }
    };
    let name = PathBuf::from(name);
    let (mut width, mut height) = square(first.width(), first.height(), aspect);
    if turned {
        std::mem::swap(&mut width, &mut height);
    }
    refuse_too_large(&name, width, height)?;
    let mut warnings = Vec::new();
    let (sound, audio): (Vec<Sounding>, Vec<Label>) = match (audio, live_sound) {
        (Some(path), _) => audio::beside(&path, options, &mut warnings)?,
        (None, Some(queue)) => vec![(Sounding::Live(queue), Label::default())],
        (None, None) => Vec::new(),
    }
    .into_iter()
    .unzip();
    let rungs = rungs::choose(width, height, options)?;
    let nominal = to_ticks(1, rate.inverse()).max(1);
    let constant_rate = Some(rate).filter(|rate| constant && rate.to_f64() <= HIGHEST_GRID_RATE);
    let parts = options.part_s.map(|part_s| {
        let wanted_s = seconds(wanted);
        let sane = (0.2..=wanted_s / 2.0).contains(&part_s);
        let longest = (part_s * TICKS as f64).round() as i64;
        let whole = match constant_rate {
            // So many whole pictures.
            Some(_) => (longest / nominal).max(1) * nominal,
            None => longest,
        };
        let even = constant_rate.is_some();
        sane.then_some(PartGrid {
            longest: whole,
            even,
        })
        .ok_or(Error::PartDuration { seconds: part_s })
    });
    let parts = parts.transpose()?;
    let live = live || options.part_s.is_some() || options.live_window.is_some();
    let (grid, target_duration) = Grid::new(wanted, nominal, !live);
    let plan = Plan {
        container: options.container,
        duration_s: None,
        segments: None,
        part_s: parts.map(|parts| {
            // A part of sound on its own ends with one of its frames.
            let muxed = options.container == Container::Ts && audio.len() == 1;
            let alone = !audio.is_empty() && !muxed;
            let sound = if alone { audio::LONGEST_FRAME } else { 0 };
            seconds(parts.longest + sound)
        }),
        window_s: options.live_window,
        target_duration,
        frame_rate: rate.to_f64(),
        audio,
        subtitles: Vec::new(),
        tile: tile(options, &rungs),
        range: VideoRange::Sdr,
        rungs,
        decisions: Vec::new(),
    };
    Ok(Prepared {
        plan,
        name,
        reading: Reading::Feed(feed),
        cuts: Cutting::Grid(grid),
        parts,
        chain: chain.unwrap_or(VideoChain {
            description: "null".to_string(),
            colour: ColourTreatment::Unchanged,
            deinterlaces: false,
        }),
        turned,
        dated: live,
        nominal,
        constant_rate,
        first,
        copy: None,
        sound,
        texts: None,
        warnings,
    })
}

/// The wanted duration of a segment.
fn wanted(options: &Options) -> Result<i64> {
    if !(1.0..=30.0).contains(&options.segment_s) {
        return Err(Error::SegmentDuration {
            seconds: options.segment_s,
        });
    }
    Ok((options.segment_s * TICKS as f64) as i64)
}

/// The size of thumbnails, where they are wanted.
fn tile(options: &Options, rungs: &[Rung]) -> Option<(u32, u32)> {
    let first = rungs.first().filter(|_| options.thumbnails)?;
    Some(thumbnails::tile_size(first.width, first.height))
}

fn refuse_too_large(name: &Path, width: u32, height: u32) -> Result<()> {
    let macroblocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    if macroblocks > MAX_MACROBLOCKS || width.max(height) > 16384 {
        return Err(Error::TooLarge {
            file: name.to_path_buf(),
            width,
            height,
        });
    }
    Ok(())
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
    rate.to_f64() <= HIGHEST_GRID_RATE
        && shown.iter().all(|&pts| near(pts))
        && shown.windows(2).all(apart)
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
