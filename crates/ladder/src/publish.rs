//! Publishing a stream while it is made: one order of things, whatever the stream is kept on.
//!
//! ```text
//! piece kept, with its record ─► playlists of its rendition ─► playlists of the stream ─► update
//! ```
//!
//! Each arrow may be the last thing that happens before a kill. A piece is whole and has its record,
//! or is not there; a playlist names a piece only after that. So a reader never meets a name whose
//! piece is missing, and the next run takes up every piece that is there ([`Sink::done`]) and makes
//! the others. Where pieces and texts lie is the [`Shelf`]'s matter: a folder, a store.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::dash::Clock;
use crate::playlist::{self, Form, PartInfo, Published, Rendition, SegmentInfo};
use crate::sink::{Part, Progress, Segment, Sink};
use crate::{Plan, Report};

/// A file of a stream that is no playlist.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Piece {
    /// The rendition's name.
    pub rendition: String,
    /// The file's own name: `init.mp4`, `00042.ts`, `00042.3.m4s` for a part of it.
    pub file: String,
}

/// What a piece is in its rendition, read off its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The initialisation segment.
    Init,
    /// The segment of this index.
    Segment(u32),
    /// A part of the segment of this index.
    Part(u32, u32),
}

/// Segments after which the parts of one are let go of: playlists name them for three target
/// durations, and players that are late get as much again and more.
const PARTS_FOR: u32 = 8;

/// The name of every initialisation segment.
const INIT: &str = "init.mp4";

impl Piece {
    /// The initialisation segment of a rendition.
    pub fn init(rendition: &str) -> Piece {
        Piece::named(rendition, INIT.to_string())
    }

    /// A segment, with its file name's ending.
    pub fn segment(rendition: &str, index: u32, extension: &str) -> Piece {
        Piece::named(rendition, format!("{index:05}.{extension}"))
    }

    /// A part of a segment.
    pub fn part(rendition: &str, segment: u32, index: u32, extension: &str) -> Piece {
        Piece::named(rendition, format!("{segment:05}.{index}.{extension}"))
    }

    fn named(rendition: &str, file: String) -> Piece {
        Piece {
            rendition: rendition.to_string(),
            file,
        }
    }

    /// What it is; `None` for a name that no piece has.
    pub fn kind(&self) -> Option<Kind> {
        if self.file == INIT {
            return Some(Kind::Init);
        }
        let names: Vec<&str> = self.file.split('.').collect();
        match names[..] {
            [segment, _] => Some(Kind::Segment(segment.parse().ok()?)),
            [segment, part, _] => Some(Kind::Part(segment.parse().ok()?, part.parse().ok()?)),
            _ => None,
        }
    }
}

/// The bytes of a piece.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// A file that nobody else needs; the shelf may take it over.
    File(&'a Path),
}

/// A piece that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its address, as its rendition's playlists have it.
    pub uri: String,
    /// Its size.
    pub bytes: u64,
}

/// What an earlier run left.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// The recipe that was given to [`Shelf::begin`].
    pub recipe: String,
    /// Every piece that is whole, with its record.
    pub pieces: Vec<(Piece, Kept, String)>,
}

impl Left {
    /// Rendition, index and size of each segment.
    pub fn segments(&self) -> impl Iterator<Item = (&str, u32, u64)> {
        let pieces = self.pieces.iter();
        pieces.filter_map(|(piece, kept, _)| match piece.kind() {
            Some(Kind::Segment(index)) => Some((&*piece.rendition, index, kept.bytes)),
            _ => None,
        })
    }
}

/// Where a stream's pieces and playlists lie. Errors end the run.
pub trait Shelf {
    /// What is there of the stream; `None` when nothing ever began.
    fn left(&mut self) -> io::Result<Option<Left>>;
    /// A stream of this recipe begins with these renditions: playlists and pieces of another one go.
    fn begin(&mut self, recipe: &str, renditions: &[Rendition]) -> io::Result<()>;
    /// Keeps a piece and, with it, its record. When this returns both survive a kill; after a kill in
    /// here both are there or none.
    fn keep(&mut self, piece: &Piece, content: Content<'_>, record: &str) -> io::Result<Kept>;
    /// Replaces the playlist at this path (`720p/playlist.m3u8`) and gives its address.
    fn show(&mut self, path: &str, text: &str) -> io::Result<String>;
    /// A piece that no playlist names any more may go.
    fn forget(&mut self, piece: &Piece) -> io::Result<()>;
    /// The address that a piece will have, where that is known before its bytes are.
    fn hint(&self, piece: &Piece) -> Option<String>;
}

/// What happened to a stream, for whoever follows it. Told when it can be seen: what an update names
/// is there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Update {
    /// The stream is about to be made, or is taken up.
    Planned {
        /// Names of its renditions.
        renditions: Vec<String>,
        /// Seconds that no segment is longer than.
        target_duration: u32,
        /// Segments that are there already.
        there: u32,
    },
    /// A segment is there and its rendition's playlist names it.
    Segment {
        /// The rendition's name.
        rendition: String,
        /// Its place in the playlist.
        index: u32,
        /// Its address, as the playlist has it.
        uri: String,
        /// Start in the stream, in seconds.
        start_s: f64,
        /// Duration in seconds.
        duration_s: f64,
        /// Size in bytes.
        bytes: u64,
        /// Seconds since its last picture came in, where that is known.
        delay_s: Option<f64>,
    },
    /// A part of the segment that comes next is there and its rendition's playlist names it.
    Part {
        /// The rendition's name.
        rendition: String,
        /// The segment that it is part of.
        segment: u32,
        /// Its place in the segment.
        index: u32,
        /// Its address, as the playlist has it.
        uri: String,
        /// Seconds since its last picture came in, where that is known.
        delay_s: Option<f64>,
    },
    /// A playlist was replaced.
    Playlist {
        /// Its path below the stream: `master.m3u8`, `720p/playlist.m3u8`.
        path: String,
        /// Its address.
        uri: String,
        /// Whether nothing will be added to it.
        ended: bool,
    },
    /// All of it is there, and the playlists say so.
    Ended {
        /// Duration in seconds.
        duration_s: f64,
    },
}

/// What is kept with each segment: everything that its playlists say of it but its address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Start in the stream, in seconds.
    pub start: f64,
    /// [`Segment::codecs`].
    pub codecs: String,
    /// [`Segment::key`].
    pub key: String,
    /// Discontinuities up to and with it: what is counted once it is forgotten.
    jumps: u64,
    /// When it was published, in seconds since 1970.
    published: f64,
    info: SegmentInfo,
}

impl Record {
    /// Duration of the segment in seconds.
    pub fn duration(&self) -> f64 {
        self.info.duration
    }
}

/// Everything that decides a stream's bytes: the plan, and what makes it (the input, the encoder and
/// its build, the settings) in the caller's own words. Runs of one recipe can be joined.
pub fn recipe(plan: &Plan, made_by: &str) -> String {
    #[derive(Serialize)]
    struct Recipe<'a> {
        made_by: &'a str,
        plan: &'a Plan,
    }
    serde_json::to_string(&Recipe { made_by, plan }).unwrap_or_default()
}

/// The `made_by` of a recipe.
pub fn made_by(recipe: &str) -> Option<String> {
    let recipe: serde_json::Value = serde_json::from_str(recipe).ok()?;
    Some(recipe.get("made_by")?.as_str()?.to_string())
}

type Follower = Box<dyn FnMut(&Update) + Send>;
type Observer = Box<dyn FnMut(&Progress) + Send>;

/// Publishes a run's output on a shelf: the [`Sink`] of everybody who keeps streams.
pub struct Publisher<S> {
    shelf: S,
    made_by: Option<String>,
    form: Form,
    clock: Clock,
    renditions: Vec<Rendition>,
    /// Segments taken up behind one that is missing, by rendition: named once that is there.
    ahead: Vec<BTreeMap<u32, SegmentInfo>>,
    done: HashMap<(String, u32), u64>,
    /// Parts that are kept, until their segments are old.
    parts: Vec<(usize, u32, Piece)>,
    /// Texts that are out, by path.
    shown: HashMap<String, String>,
    follower: Option<Follower>,
    observer: Option<Observer>,
}

impl<S: fmt::Debug> fmt::Debug for Publisher<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("shelf", &self.shelf)
            .field("made_by", &self.made_by)
            .finish_non_exhaustive()
    }
}

impl<S: Shelf> Publisher<S> {
    /// A publisher that starts its stream anew, whatever the shelf holds of it.
    pub fn over(shelf: S) -> Publisher<S> {
        Publisher {
            shelf,
            made_by: None,
            form: Form::GROWING,
            clock: Clock::default(),
            renditions: Vec::new(),
            ahead: Vec::new(),
            done: HashMap::new(),
            parts: Vec::new(),
            shown: HashMap::new(),
            follower: None,
            observer: None,
        }
    }

    /// Says what makes the stream, apart from the plan. A stream that the shelf holds is taken up if
    /// it was made by the same to the same plan.
    pub fn made_by(&mut self, made_by: impl Into<String>) {
        self.made_by = Some(made_by.into());
    }

    /// Calls `follow` with each update.
    #[must_use]
    pub fn on_update(mut self, follow: impl FnMut(&Update) + Send + 'static) -> Publisher<S> {
        self.follower = Some(Box::new(follow));
        self
    }

    /// Calls `observe` with each progress report.
    #[must_use]
    pub fn on_progress(mut self, observe: impl FnMut(&Progress) + Send + 'static) -> Publisher<S> {
        self.observer = Some(Box::new(observe));
        self
    }

    /// The renditions with the segments that their playlists name.
    pub fn renditions(&self) -> &[Rendition] {
        &self.renditions
    }

    /// The shelf.
    pub fn shelf(&self) -> &S {
        &self.shelf
    }

    /// The shelf, to change it between two calls.
    pub fn shelf_mut(&mut self) -> &mut S {
        &mut self.shelf
    }

    /// Keeps the initialisation segment of a rendition.
    pub fn keep_init(&mut self, rendition: &str, content: Content<'_>) -> io::Result<()> {
        let at = self.at(rendition)?;
        let kept = self.shelf.keep(&Piece::init(rendition), content, "")?;
        self.renditions[at].init = Some(kept.uri);
        Ok(())
    }

    /// Keeps a part of the segment that comes next, and names it. Its bytes are `content`.
    pub fn keep_part(&mut self, part: &Part, content: Content<'_>) -> io::Result<()> {
        let at = self.at(&part.rung)?;
        let extension = self.renditions[at].packing.extension();
        let piece = Piece::part(&part.rung, part.segment, part.index, extension);
        let next = Piece::part(&part.rung, part.segment, part.index + 1, extension);
        let kept = self.shelf.keep(&piece, content, "")?;
        let hint = self.shelf.hint(&next);
        self.parts.push((at, part.segment, piece));
        let rendition = &mut self.renditions[at];
        rendition.codecs.clone_from(&part.codecs);
        rendition.parts.push(PartInfo::new(kept.uri.clone(), part));
        rendition.hint = hint;
        self.publish(at)?;
        self.tell(&Update::Part {
            rendition: part.rung.clone(),
            segment: part.segment,
            index: part.index,
            uri: kept.uri,
            delay_s: part.entered.map(|entered| now() - entered),
        });
        Ok(())
    }

    /// Keeps a segment and names it. Its bytes are `content`, not its own. False when it was there
    /// already.
    pub fn keep_segment(&mut self, segment: &Segment, content: Content<'_>) -> io::Result<bool> {
        let at = self.at(&segment.rung)?;
        let next = self.next(at);
        if segment.index < next {
            return Ok(false);
        }
        if segment.index != next {
            return Err(io::Error::other(format!(
                "segment {} of {} was made where {next} comes next",
                segment.index, segment.rung
            )));
        }
        let extension = self.renditions[at].packing.extension();
        let piece = Piece::segment(&segment.rung, segment.index, extension);
        let mut record = Record {
            start: segment.start,
            codecs: segment.codecs.clone(),
            key: segment.key.clone(),
            jumps: self.jumps(at) + u64::from(segment.discontinuity),
            published: now(),
            info: SegmentInfo::new("", segment),
        };
        let kept = self.shelf.keep(&piece, content, &write(&record)?)?;
        self.began(&record);
        record.info.uri.clone_from(&kept.uri);
        record.info.bytes = kept.bytes;
        let rendition = &self.renditions[at];
        let hinted = Piece::part(&segment.rung, segment.index + 1, 0, extension);
        let hint = self
            .shelf
            .hint(&hinted)
            .filter(|_| !rendition.parts.is_empty());
        let rendition = &mut self.renditions[at];
        rendition.codecs = record.codecs;
        rendition.hint = hint;
        rendition.push(record.info);
        self.take_from_ahead(at);
        self.publish(at)?;
        self.publish_stream()?;
        self.tell(&Update::Segment {
            rendition: segment.rung.clone(),
            index: segment.index,
            uri: kept.uri,
            start_s: segment.start,
            duration_s: segment.duration,
            bytes: kept.bytes,
            delay_s: segment.entered.map(|entered| now() - entered),
        });
        self.forget(at)?;
        Ok(true)
    }

    /// The stream is whole: its playlists say so.
    pub fn finish(&mut self) -> io::Result<()> {
        self.form.ended = true;
        for at in 0..self.renditions.len() {
            self.renditions[at].finish();
            self.publish(at)?;
        }
        self.publish_stream()?;
        let lasts = |r: &Rendition| r.forgotten.duration + r.duration();
        let duration_s = self.renditions.iter().map(lasts).fold(0.0, f64::max);
        self.tell(&Update::Ended { duration_s });
        Ok(())
    }

    /// The index of the segment that comes next in a rendition.
    fn next(&self, at: usize) -> u32 {
        let rendition = &self.renditions[at];
        let next = rendition.forgotten.segments + rendition.segments.len() as u64;
        u32::try_from(next).unwrap_or(u32::MAX)
    }

    /// Discontinuities in a rendition so far.
    fn jumps(&self, at: usize) -> u64 {
        let rendition = &self.renditions[at];
        let named = rendition.segments.iter().filter(|s| s.discontinuity);
        rendition.forgotten.discontinuities + named.count() as u64
    }

    /// A segment of the stream counts as there from this moment plus its end on, for players that
    /// go by the clock.
    fn began(&mut self, record: &Record) {
        let began = record.published - record.start - record.info.duration;
        if self.clock.started_s == 0.0 || began < self.clock.started_s {
            self.clock.started_s = began;
        }
    }

    /// Names what was taken up and follows on the last segment named.
    fn take_from_ahead(&mut self, at: usize) {
        loop {
            let next = self.next(at);
            let Some(info) = self.ahead[at].remove(&next) else {
                return;
            };
            self.renditions[at].push(info);
        }
    }

    /// Lets go of parts whose segments are old, and of what the window left behind long enough ago.
    fn forget(&mut self, at: usize) -> io::Result<()> {
        let next = self.next(at);
        let (old, parts) = std::mem::take(&mut self.parts)
            .into_iter()
            .partition(|(of, segment, _)| *of == at && segment + PARTS_FOR < next);
        self.parts = parts;
        for (_, _, part) in old {
            self.shelf.forget(&part)?;
        }
        let Some(window_s) = self.form.window_s else {
            return Ok(());
        };
        let first = self.renditions[at].forgotten.segments;
        let dropped = self.renditions[at].forget(window_s);
        let rendition = &self.renditions[at];
        let extension = rendition.packing.extension();
        for (index, _) in (first..).zip(&dropped) {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let piece = Piece::segment(&rendition.name, index, extension);
            self.shelf.forget(&piece)?;
        }
        Ok(())
    }

    /// Takes up what the shelf has of exactly this stream, or makes a new beginning.
    fn take_up(&mut self, plan: &Plan) -> io::Result<()> {
        let recipe = recipe(plan, self.made_by.as_deref().unwrap_or_default());
        let left = match self.made_by {
            Some(_) => self.shelf.left()?.filter(|left| left.recipe == recipe),
            None => None,
        };
        let Some(left) = left else {
            return self.shelf.begin(&recipe, &self.renditions);
        };
        for (piece, kept, record) in left.pieces {
            let Ok(at) = self.at(&piece.rendition) else {
                continue;
            };
            match piece.kind() {
                Some(Kind::Init) => self.renditions[at].init = Some(kept.uri),
                Some(Kind::Segment(index)) => {
                    // Without a record that can be read it is made again.
                    if let Ok(record) = serde_json::from_str(&record) {
                        self.take_up_segment(at, index, kept, record);
                    }
                }
                Some(Kind::Part(..)) | None => self.shelf.forget(&piece)?,
            }
        }
        // In case the last run could not.
        for at in 0..self.renditions.len() {
            self.take_from_ahead(at);
            if !self.renditions[at].segments.is_empty() {
                self.publish(at)?;
            }
        }
        self.publish_stream()
    }

    fn take_up_segment(&mut self, at: usize, index: u32, kept: Kept, record: Record) {
        self.began(&record);
        let rendition = &mut self.renditions[at];
        self.done
            .insert((rendition.name.clone(), index), kept.bytes);
        rendition.codecs = record.codecs;
        let number = u64::from(index);
        let earliest = self.ahead[at].is_empty() || number < rendition.forgotten.segments;
        if self.form.window_s.is_some() && earliest {
            let jumps = record.jumps - u64::from(record.info.discontinuity);
            rendition.forgotten.segments = number;
            rendition.forgotten.discontinuities = jumps;
        }
        let info = SegmentInfo {
            uri: kept.uri,
            bytes: kept.bytes,
            ..record.info
        };
        self.ahead[at].insert(index, info);
    }

    /// Shows the playlists of one rendition.
    fn publish(&mut self, at: usize) -> io::Result<()> {
        for published in self.renditions[at].texts(self.form) {
            self.show(published)?;
        }
        Ok(())
    }

    /// Shows the playlists over all renditions, once each of them has a segment.
    fn publish_stream(&mut self) -> io::Result<()> {
        if self.renditions.iter().any(|r| r.segments.is_empty()) {
            return Ok(());
        }
        self.clock.now_s = now();
        for published in playlist::tops(&self.renditions, self.form, self.clock) {
            self.show(published)?;
        }
        Ok(())
    }

    fn show(&mut self, published: Published) -> io::Result<()> {
        let Published { uri: path, text } = published;
        if self.shown.get(&path) == Some(&text) {
            return Ok(());
        }
        let uri = self.shelf.show(&path, &text)?;
        self.shown.insert(path.clone(), text);
        let ended = self.form.ended;
        self.tell(&Update::Playlist { path, uri, ended });
        Ok(())
    }

    fn at(&self, rendition: &str) -> io::Result<usize> {
        let at = self.renditions.iter().position(|r| r.name == rendition);
        at.ok_or_else(|| io::Error::other(format!("an unplanned rendition: {rendition:?}")))
    }

    fn tell(&mut self, update: &Update) {
        if let Some(follow) = &mut self.follower {
            follow(update);
        }
    }
}

impl<S: Shelf> Sink for Publisher<S> {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.renditions = plan.renditions();
        self.ahead = vec![BTreeMap::new(); self.renditions.len()];
        self.done.clear();
        self.shown.clear();
        self.clock = Clock::default();
        self.form = Form {
            ended: false,
            window_s: plan.window_s,
        };
        self.take_up(plan)?;
        let renditions = self.renditions.iter().map(|r| r.name.clone()).collect();
        let there = u32::try_from(self.done.len()).unwrap_or(u32::MAX);
        self.tell(&Update::Planned {
            renditions,
            target_duration: plan.target_duration,
            there,
        });
        Ok(())
    }

    fn done(&mut self) -> HashMap<(String, u32), u64> {
        std::mem::take(&mut self.done)
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.keep_init(rung, Content::Bytes(bytes))
    }

    fn part(&mut self, part: Part) -> io::Result<()> {
        self.keep_part(&part, Content::Bytes(&part.bytes))
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        self.keep_segment(&segment, Content::Bytes(&segment.bytes))?;
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        if let Some(observe) = &mut self.observer {
            observe(progress);
        }
        Ok(())
    }

    fn end(&mut self, _report: &Report) -> io::Result<()> {
        self.finish()
    }
}

fn write(record: &Record) -> io::Result<String> {
    serde_json::to_string(record).map_err(io::Error::other)
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_by_name() {
        let check = |file: &str, kind: Option<Kind>| {
            let piece = Piece::named("720p", file.to_string());
            assert_eq!(piece.kind(), kind, "{file}");
        };
        check(&Piece::init("720p").file, Some(Kind::Init));
        check(
            &Piece::segment("720p", 42, "ts").file,
            Some(Kind::Segment(42)),
        );
        check(
            &Piece::segment("720p", 123_456, "m4s").file,
            Some(Kind::Segment(123_456)),
        );
        check(
            &Piece::part("720p", 42, 3, "m4s").file,
            Some(Kind::Part(42, 3)),
        );
        for other in ["", "playlist.m3u8", "00042", "00042.x.m4s", "00042.1.2.m4s"] {
            check(other, None);
        }
    }
}
