//! Is a finished stream what its playlists say? Reads the master, every media playlist and every
//! segment of a folder, and reports what is not as it should be.
//!
//! Playlist validators read text only, and the usual faults do not show there: a first picture that
//! is late, a runt at the end, a BANDWIDTH below the peak, rungs cut at different pictures. The
//! rules are RFC 8216 (with its second edition's definition of the peak) and the checkable part of
//! Apple's HLS authoring specification; for subtitles W3C WebVTT. The segments are taken apart by this
//! crate's own readers, which take nothing from the writers but the format. Whether the bytes that an
//! I-frame playlist gives decode to a key picture is for a decoder to say: [`key_picture_files`] puts
//! each into a file of its own.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::h264;
use crate::headers::{Codec, Headers, Role};
use crate::playlist::{Content, Forgotten, Packing, Rendition, SegmentInfo, VideoRange};
use crate::sample::{AAC_FRAME, TICKS, seconds};
use crate::{av1, cmaf, mpegts, subtitles, thumbnails};

/// How far a stated duration may be from the measured one, in ticks: EXTINF has microseconds.
const EXACT: i64 = 2;
/// Half a second of sound more or less than pictures is heard.
const SOUND_END: i64 = TICKS / 5;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// File below the folder.
    pub place: String,
    /// Short name of the rule: `extinf`, `bandwidth`, `idr`.
    pub rule: &'static str,
    /// What is wrong, with numbers.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.rule, self.detail)
    }
}

/// Checks the stream in a folder, or whose master playlist this is. Nothing found means that all is
/// well.
pub fn check(path: &Path) -> Vec<Finding> {
    let master = if path.is_dir() {
        path.join("master.m3u8")
    } else {
        path.to_path_buf()
    };
    let root = master.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut checker = Checker {
        root,
        findings: Vec::new(),
    };
    checker.master(&master);
    checker.findings
}

/// Every byte range of every I-frame playlist as a player puts it together: what initialises the
/// decoder, then the range. With the place it came from.
pub fn key_picture_files(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut checker = Checker {
        root: path.to_path_buf(),
        findings: Vec::new(),
    };
    let mut files = Vec::new();
    let text = checker.text("master.m3u8").unwrap_or_default();
    for listed in listed(&text).iframes {
        let Some(text) = checker.text(&listed.uri) else {
            continue;
        };
        let playlist = checker.playlist(&listed.uri, &text);
        let init = playlist.map.as_ref();
        let init = init.and_then(|map| checker.read(&format!("{}{map}", playlist.folder)));
        for ((_, file), &(length, offset)) in playlist.segments.iter().zip(&playlist.ranges) {
            let place = format!("{}{file}", playlist.folder);
            let bytes = checker.read(&place).unwrap_or_default();
            let first = playlist.segments.iter().zip(&playlist.ranges);
            let first = first.filter(|((_, other), _)| other == file);
            let first = first.map(|(_, &(_, offset))| offset).min().unwrap_or(0);
            let range = bytes.get(offset as usize..(offset + length) as usize);
            let before = init.as_deref().or(bytes.get(..first as usize));
            if let (Some(before), Some(range)) = (before, range) {
                files.push((format!("{place} at {offset}"), [before, range].concat()));
            }
        }
    }
    files
}

struct Checker {
    root: PathBuf,
    findings: Vec<Finding>,
}

/// A playlist as the master lists it.
struct Listed {
    attributes: HashMap<String, String>,
    uri: String,
}

/// What a master lists.
#[derive(Default)]
struct Master {
    variants: Vec<Listed>,
    audio: Vec<Listed>,
    subtitles: Vec<Listed>,
    iframes: Vec<Listed>,
    images: Vec<Listed>,
}

/// A media playlist.
#[derive(Default)]
struct Playlist {
    place: String,
    folder: String,
    target: u32,
    ended: bool,
    map: Option<String>,
    /// EXTINF in seconds, and the address.
    segments: Vec<(f64, String)>,
    /// Length and offset of each segment that is a byte range.
    ranges: Vec<(u64, u64)>,
    /// EXT-X-TILES of each segment.
    tiles: Vec<HashMap<String, String>>,
    /// Tags without a value.
    flags: Vec<String>,
}

/// One picture of a segment.
#[derive(Clone, Copy)]
struct Shown {
    pts: i64,
    dts: i64,
    idr: bool,
}

/// What the segments of a playlist hold.
#[derive(Default)]
struct Contents {
    /// By segment.
    pictures: Vec<Vec<Shown>>,
    /// Start and duration of each run of AAC frames, by segment.
    sound: Vec<Vec<(i64, i64)>>,
    bytes: Vec<u64>,
    headers: Option<Headers>,
    aac: bool,
}

impl Checker {
    fn find(&mut self, place: &str, rule: &'static str, detail: impl Into<String>) {
        self.findings.push(Finding {
            place: place.to_string(),
            rule,
            detail: detail.into(),
        });
    }

    fn expect(
        &mut self,
        holds: bool,
        place: &str,
        rule: &'static str,
        detail: impl FnOnce() -> String,
    ) {
        if !holds {
            self.find(place, rule, detail());
        }
    }

    fn read(&mut self, place: &str) -> Option<Vec<u8>> {
        let plain = !place.contains("://") && !place.starts_with('/') && !place.contains("..");
        if !plain {
            self.find(place, "address", "not a file below the folder");
            return None;
        }
        match fs::read(self.root.join(place)) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.find(place, "missing", error.to_string());
                None
            }
        }
    }

    fn text(&mut self, place: &str) -> Option<String> {
        let bytes = self.read(place)?;
        let text = String::from_utf8(bytes).ok();
        self.expect(text.is_some(), place, "text", || "not UTF-8".to_string());
        let text = text?;
        let first = text.lines().next() == Some("#EXTM3U");
        self.expect(first, place, "tags", || {
            "does not start with #EXTM3U".to_string()
        });
        let there = text.lines().any(|line| line.starts_with("#EXT-X-VERSION:"));
        self.expect(there, place, "tags", || "no #EXT-X-VERSION".to_string());
        let images = text.lines().any(|line| line == "#EXT-X-IMAGES-ONLY");
        let there = text
            .lines()
            .any(|line| line == "#EXT-X-INDEPENDENT-SEGMENTS");
        self.expect(there || images, place, "tags", || {
            "no #EXT-X-INDEPENDENT-SEGMENTS".to_string()
        });
        Some(text)
    }

    fn master(&mut self, master: &Path) {
        let place = master
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let Some(text) = self.text(&place) else {
            return;
        };
        let master = listed(&text);
        self.expect(!master.variants.is_empty(), &place, "tags", || {
            "no variant".to_string()
        });
        let mut renditions = Vec::new();
        for listed in &master.variants {
            if let Some(opened) = self.rendition(&listed.uri) {
                renditions.push((listed, opened));
            }
        }
        let opened = |checker: &mut Checker, listed: &Listed| checker.rendition(&listed.uri);
        let audio: Vec<_> = master
            .audio
            .iter()
            .filter_map(|listed| opened(self, listed))
            .collect();
        for (listed, (playlist, contents)) in &renditions {
            self.variant(&place, listed, playlist, contents, &audio);
        }
        for (playlist, contents) in &audio {
            self.sound(playlist, contents);
        }
        self.groups(&place, &master);
        self.together(&renditions, &audio);
        for listed in &master.iframes {
            self.iframes(&place, listed, &renditions);
        }
        let first = renditions.first().map(|(_, (playlist, _))| playlist);
        for listed in &master.subtitles {
            self.subtitles(listed, first);
        }
        for listed in &master.images {
            self.images(listed, first);
        }
    }

    /// What the master's groups must have: names of their own, at most one default, and variants
    /// that all name them.
    fn groups(&mut self, master: &str, all: &Master) {
        let groups = [("AUDIO", &all.audio), ("SUBTITLES", &all.subtitles)];
        for (kind, listed) in groups {
            let attribute = |l: &Listed, name: &str| l.attributes.get(name).cloned();
            let mut names: Vec<_> = listed.iter().map(|l| attribute(l, "NAME")).collect();
            names.sort();
            names.dedup();
            self.expect(names.len() == listed.len(), master, "groups", || {
                format!("two of {kind} share a name")
            });
            let defaults = listed
                .iter()
                .filter(|l| attribute(l, "DEFAULT").as_deref() == Some("YES"));
            let defaults = defaults.count();
            self.expect(defaults <= 1, master, "groups", || {
                format!("{defaults} defaults of {kind}")
            });
            let group = listed.first().and_then(|l| attribute(l, "GROUP-ID"));
            for variant in &all.variants {
                let named = attribute(variant, kind);
                self.expect(named == group, master, "groups", || {
                    format!("{} names {kind} {named:?}, there is {group:?}", variant.uri)
                });
            }
        }
    }

    /// An I-frame playlist: every key picture of the rung, nothing else, each a range that its
    /// segment's own structure confirms.
    fn iframes(
        &mut self,
        master: &str,
        listed: &Listed,
        renditions: &[(&Listed, (Playlist, Contents))],
    ) {
        let uri = &listed.uri;
        let Some(text) = self.text(uri) else { return };
        let playlist = self.playlist(uri, &text);
        let only = playlist
            .flags
            .iter()
            .any(|tag| tag == "#EXT-X-I-FRAMES-ONLY");
        self.expect(only, uri, "iframes", || {
            "no #EXT-X-I-FRAMES-ONLY".to_string()
        });
        let ranged = playlist.ranges.len() == playlist.segments.len();
        self.expect(ranged, uri, "iframes", || {
            "a picture without its range".to_string()
        });
        let size = listed.attributes.get("RESOLUTION");
        let of_same_folder =
            |(_, (other, _)): &&(&Listed, (Playlist, Contents))| other.folder == playlist.folder;
        let Some((variant, (rung, contents))) = renditions.iter().find(of_same_folder) else {
            self.find(uri, "iframes", "no variant stands beside it");
            return;
        };
        self.expect(
            size == variant.attributes.get("RESOLUTION"),
            master,
            "iframes",
            || format!("{uri} says {size:?}"),
        );
        let keys = contents.pictures.iter().flatten().filter(|shown| shown.idr);
        let keys: Vec<i64> = keys.map(|shown| shown.pts).collect();
        self.expect(
            keys.len() == playlist.segments.len(),
            uri,
            "iframes",
            || {
                format!(
                    "{} pictures of {} key pictures",
                    playlist.segments.len(),
                    keys.len()
                )
            },
        );
        self.expect(
            playlist.target == rung.target,
            uri,
            "target-duration",
            || {
                format!(
                    "{} here, {} in {}",
                    playlist.target, rung.target, rung.place
                )
            },
        );
        let init = playlist.map.as_ref().and_then(|map| {
            let place = format!("{}{map}", playlist.folder);
            self.read(&place)
        });
        let (mut bits, mut total) = (0, 0.0);
        let entries = playlist.segments.iter().zip(&playlist.ranges);
        for (((duration, file), &(length, offset)), key) in entries.zip(keys) {
            let place = format!("{}{file}", playlist.folder);
            let Some(bytes) = self.read(&place) else {
                continue;
            };
            let range = offset as usize..(offset + length) as usize;
            let found = bytes.get(range).map(|alone| match &init {
                Some(init) => {
                    let header = cmaf::read_init(init);
                    let first = header.as_ref().and_then(|h| cmaf::read_first(h, alone));
                    let ticks = |time: i64| {
                        time * TICKS / header.as_ref().map_or(1, |h| i64::from(h.timescale))
                    };
                    first.map(|sample| ticks(sample.pts)).into_iter().collect()
                }
                None => {
                    let tables = &bytes[..bytes.len().min(2 * 188)];
                    let content = mpegts::read(&[tables, alone].concat());
                    content
                        .video
                        .iter()
                        .map(|unit| unit.pts)
                        .collect::<Vec<i64>>()
                }
            });
            self.expect(found == Some(vec![key]), uri, "iframes", || {
                format!("{file} at {offset}: pictures at {found:?}, the key picture is at {key}")
            });
            bits += length * 8;
            total += duration;
        }
        let average = (bits as f64 / total).ceil() as u64;
        let declared = |name: &str| -> u64 {
            let text = listed.attributes.get(name);
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let (peak, stated) = (declared("BANDWIDTH"), declared("AVERAGE-BANDWIDTH"));
        self.expect(
            peak >= stated && stated.abs_diff(average) <= average / 10,
            master,
            "bandwidth",
            || format!("{uri} declares {peak} and on average {stated}, measured are {average}"),
        );
    }

    /// Subtitles: as many segments as the video, each WebVTT on the stream's clock, whose cues show
    /// in it.
    fn subtitles(&mut self, listed: &Listed, video: Option<&Playlist>) {
        let uri = &listed.uri;
        let Some(text) = self.text(uri) else { return };
        let playlist = self.playlist(uri, &text);
        self.beside(&playlist, video);
        let mut start = 0.0;
        for (duration, file) in &playlist.segments {
            let place = format!("{}{file}", playlist.folder);
            let Some(text) = self.read(&place).and_then(|b| String::from_utf8(b).ok()) else {
                continue;
            };
            let mut lines = text.lines();
            let header =
                lines.next() == Some("WEBVTT") && lines.next() == Some(subtitles::TIMESTAMP_MAP);
            self.expect(header, &place, "subtitles", || "no header".to_string());
            let end = start + duration;
            let mut last = 0.0;
            for line in text.lines().filter(|line| line.contains("-->")) {
                let times = subtitles::read_times(line);
                let inside = times.is_some_and(|(from, to)| {
                    from < to && from < end + 1e-3 && to > start - 1e-3 && from >= last
                });
                self.expect(inside, &place, "subtitles", || {
                    format!("a cue at {line:?}, the segment is from {start:.3} to {end:.3}")
                });
                last = times.map_or(last, |(from, _)| from);
            }
            start = end;
        }
    }

    /// Thumbnails: a sheet for each segment, of the size that its tiles say.
    fn images(&mut self, listed: &Listed, video: Option<&Playlist>) {
        let uri = &listed.uri;
        let Some(text) = self.text(uri) else { return };
        let playlist = self.playlist(uri, &text);
        self.beside(&playlist, video);
        let only = playlist.flags.iter().any(|tag| tag == "#EXT-X-IMAGES-ONLY");
        self.expect(only, uri, "images", || "no #EXT-X-IMAGES-ONLY".to_string());
        for ((_, file), tiles) in playlist.segments.iter().zip(&playlist.tiles) {
            let place = format!("{}{file}", playlist.folder);
            let Some(bytes) = self.read(&place) else {
                continue;
            };
            let pair = |name: &str| -> Option<(u32, u32)> {
                let (a, b) = tiles.get(name)?.split_once('x')?;
                Some((a.parse().ok()?, b.parse().ok()?))
            };
            let due = pair("RESOLUTION").zip(pair("LAYOUT"));
            let due =
                due.map(|((width, height), (columns, rows))| (width * columns, height * rows));
            let found = thumbnails::jpeg_size(&bytes);
            self.expect(found.is_some() && found == due, &place, "images", || {
                format!("a picture of {found:?} where tiles fill {due:?}")
            });
        }
        let index = format!("{}{}", playlist.folder, thumbnails::INDEX);
        let text = self.read(&index).and_then(|b| String::from_utf8(b).ok());
        let named = text.map(|text| text.matches("#xywh=").count());
        let tiles = (thumbnails::COLUMNS * thumbnails::ROWS) as usize * playlist.segments.len();
        self.expect(named == Some(tiles), &index, "images", || {
            format!("{named:?} tiles of {tiles}")
        });
    }

    /// A playlist whose segments are those of the video in time.
    fn beside(&mut self, playlist: &Playlist, video: Option<&Playlist>) {
        let Some(video) = video.filter(|video| video.ended) else {
            return;
        };
        let durations = |p: &Playlist| p.segments.iter().map(|(d, _)| *d).collect::<Vec<_>>();
        let (own, other) = (durations(playlist), durations(video));
        self.expect(own == other, &playlist.place, "aligned", || {
            format!("segments of {own:?} s, in {} of {other:?} s", video.place)
        });
        self.expect(
            playlist.target == video.target,
            &playlist.place,
            "target-duration",
            || {
                format!(
                    "{} here, {} in {}",
                    playlist.target, video.target, video.place
                )
            },
        );
    }

    fn rendition(&mut self, uri: &str) -> Option<(Playlist, Contents)> {
        let text = self.text(uri)?;
        let playlist = self.playlist(uri, &text);
        let contents = self.contents(&playlist);
        Some((playlist, contents))
    }

    fn playlist(&mut self, place: &str, text: &str) -> Playlist {
        let folder = place
            .rsplit_once('/')
            .map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let mut playlist = Playlist {
            place: place.to_string(),
            folder,
            ..Playlist::default()
        };
        let (mut kind, mut duration) = (None, None);
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                playlist.target = value.parse().unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("#EXT-X-PLAYLIST-TYPE:") {
                kind = Some(value.to_string());
            } else if let Some(value) = line.strip_prefix("#EXT-X-MAP:") {
                playlist.map = attributes(value).remove("URI");
            } else if let Some(value) = line.strip_prefix("#EXT-X-BYTERANGE:") {
                let range = value.split_once('@');
                let range = range.and_then(|(length, offset)| {
                    Some((length.parse().ok()?, offset.parse().ok()?))
                });
                playlist.ranges.extend(range);
            } else if let Some(value) = line.strip_prefix("#EXT-X-TILES:") {
                playlist.tiles.push(attributes(value));
            } else if line == "#EXT-X-ENDLIST" {
                playlist.ended = true;
            } else if line.starts_with("#EXT-X-") && !line.contains(':') {
                playlist.flags.push(line.to_string());
            } else if let Some(value) = line.strip_prefix("#EXTINF:") {
                duration = value
                    .split(',')
                    .next()
                    .and_then(|value| value.parse::<f64>().ok());
            } else if !line.starts_with('#') && !line.is_empty() {
                match duration.take() {
                    Some(duration) => playlist.segments.push((duration, line.to_string())),
                    None => self.find(place, "extinf", format!("{line} has none")),
                }
            }
        }
        let expected = if playlist.ended { "VOD" } else { "EVENT" };
        self.expect(kind.as_deref() == Some(expected), place, "tags", || {
            format!("playlist type {kind:?} where {expected} is due")
        });
        self.expect(playlist.target > 0, place, "tags", || {
            "no target duration".to_string()
        });
        self.expect(!playlist.segments.is_empty(), place, "tags", || {
            "no segment".to_string()
        });
        self.durations(&playlist);
        playlist
    }

    /// RFC 8216 4.3.3.1, and no runt.
    fn durations(&mut self, playlist: &Playlist) {
        let target = f64::from(playlist.target);
        for (duration, uri) in &playlist.segments {
            self.expect(
                duration.round() <= target,
                &playlist.place,
                "target-duration",
                || format!("{uri} lasts {duration} s, the target duration is {target} s"),
            );
        }
        let [_, .., (last, uri)] = &playlist.segments[..] else {
            return;
        };
        let runt = *last < (target / 4.0).min(1.0);
        self.expect(!runt || !playlist.ended, &playlist.place, "runt", || {
            format!("the last segment, {uri}, lasts only {last} s")
        });
    }

    fn contents(&mut self, playlist: &Playlist) -> Contents {
        let mut contents = Contents::default();
        let header = match &playlist.map {
            None => None,
            Some(uri) => {
                let place = format!("{}{uri}", playlist.folder);
                let header = self.read(&place).map(|bytes| cmaf::read_init(&bytes));
                self.expect(header != Some(None), &place, "format", || {
                    "damaged".to_string()
                });
                header.flatten()
            }
        };
        let mut counters = HashMap::new();
        for (_, uri) in &playlist.segments {
            let place = format!("{}{uri}", playlist.folder);
            let Some(bytes) = self.read(&place) else {
                continue;
            };
            contents.bytes.push(bytes.len() as u64);
            match (&playlist.map, &header) {
                (None, _) => self.open_ts(&place, &bytes, &mut contents, &mut counters),
                (Some(_), Some(header)) => self.open_cmaf(&place, header, &bytes, &mut contents),
                (Some(_), None) => {}
            }
        }
        contents
    }

    fn open_ts(
        &mut self,
        place: &str,
        bytes: &[u8],
        contents: &mut Contents,
        counters: &mut HashMap<u16, u8>,
    ) {
        let segment = mpegts::read(bytes);
        for fault in &segment.faults {
            self.find(place, "format", fault.clone());
        }
        for &(pid, first, last) in &segment.counters {
            if let Some(before) = counters.insert(pid, last) {
                self.expect(first == (before + 1) % 16, place, "continuity", || {
                    format!("PID {pid:#x} starts at {first} after {before}")
                });
            }
        }
        let mut pictures = Vec::new();
        for unit in &segment.video {
            let nals = h264::annex_b(&unit.data);
            let role = |nal: &&[u8]| Codec::H264.role(nal);
            let idr = nals.iter().any(|nal| role(nal) == Role::Key);
            let delimited = nals.first().is_some_and(|nal| h264::kind(nal) == h264::AUD);
            self.expect(delimited, place, "format", || {
                "no access unit delimiter".to_string()
            });
            if idr {
                let mut headers = Headers::new(Codec::H264);
                for nal in nals.iter().filter(|nal| role(nal) == Role::Header) {
                    headers.add(nal);
                }
                self.parameter_sets(place, Some(headers), contents);
            }
            pictures.push(Shown {
                pts: unit.pts,
                dts: unit.dts,
                idr,
            });
        }
        let mut sound = Vec::new();
        for unit in &segment.audio {
            match mpegts::adts_frames(&unit.data) {
                Some((rate, frames)) => {
                    let duration = frames as i64 * AAC_FRAME * TICKS / i64::from(rate);
                    sound.push((unit.pts, duration));
                }
                None => self.find(place, "format", "damaged ADTS header"),
            }
        }
        contents.aac |= !sound.is_empty();
        contents.sound.push(sound);
        // Fragmented MP4 may do this, with negative composition offsets.
        let late = pictures
            .iter()
            .filter(|picture| picture.dts > picture.pts)
            .count();
        self.expect(late == 0, place, "times", || {
            format!("{late} pictures are decoded after they are shown")
        });
        if !pictures.is_empty() || contents.headers.is_some() {
            self.pictures(place, &pictures);
            contents.pictures.push(pictures);
        }
    }

    fn open_cmaf(
        &mut self,
        place: &str,
        header: &cmaf::Header,
        bytes: &[u8],
        contents: &mut Contents,
    ) {
        let samples = cmaf::read_segment(header, bytes);
        self.expect(samples.is_some(), place, "format", || "damaged".to_string());
        let samples = samples.unwrap_or_default();
        let scale = i64::from(header.timescale);
        let ticks = |time: i64| (time * TICKS + scale / 2).div_euclid(scale);
        if header.aac {
            contents.aac = true;
            let sound = samples
                .iter()
                .map(|sample| (ticks(sample.pts), ticks(sample.duration)));
            contents.sound.push(sound.collect());
            return;
        }
        let codec = header.headers.as_ref().map_or(Codec::H264, |h| h.codec);
        self.parameter_sets(place, header.headers.clone(), contents);
        let mut pictures = Vec::new();
        for sample in &samples {
            let idr = match codec {
                Codec::Av1 => av1::units(sample.data).map(|units| av1::is_key(&units)),
                Codec::H264 | Codec::Hevc => h264::length_prefixed(sample.data, 4)
                    .map(|nals| nals.iter().any(|nal| codec.role(nal) == Role::Key)),
            };
            self.expect(idr.is_some(), place, "format", || {
                "damaged units of the bitstream".to_string()
            });
            let idr = idr.unwrap_or_default();
            self.expect(idr == sample.sync, place, "idr", || {
                format!("sync sample flag {} on IDR {idr}", sample.sync)
            });
            pictures.push(Shown {
                pts: ticks(sample.pts),
                dts: ticks(sample.dts),
                idr,
            });
        }
        self.pictures(place, &pictures);
        contents.pictures.push(pictures);
    }

    fn parameter_sets(&mut self, place: &str, found: Option<Headers>, contents: &mut Contents) {
        let found = found.filter(|headers| headers.sequence().is_some());
        match (&contents.headers, found) {
            (_, None) => self.find(place, "idr", "an IDR without its sequence parameter set"),
            (None, found) => contents.headers = found,
            (Some(known), Some(found)) => self.expect(*known == found, place, "codecs", || {
                "the parameter sets differ from the first segment's".to_string()
            }),
        }
    }

    /// A segment alone: starts with an IDR and is closed at its start.
    fn pictures(&mut self, place: &str, pictures: &[Shown]) {
        let Some(first) = pictures.first() else {
            self.find(place, "idr", "no picture");
            return;
        };
        self.expect(first.idr, place, "idr", || {
            "the first picture is not an IDR".to_string()
        });
        let early = pictures
            .iter()
            .filter(|picture| picture.pts < first.pts)
            .count();
        self.expect(early == 0, place, "closed", || {
            format!("{early} pictures are shown before the first")
        });
    }

    fn variant(
        &mut self,
        master: &str,
        listed: &Listed,
        playlist: &Playlist,
        contents: &Contents,
        audio: &[(Playlist, Contents)],
    ) {
        let attribute = |name: &str| listed.attributes.get(name).map(String::as_str);
        let uri = &listed.uri;
        let due = [
            "BANDWIDTH",
            "AVERAGE-BANDWIDTH",
            "CODECS",
            "RESOLUTION",
            "FRAME-RATE",
            "VIDEO-RANGE",
            "CLOSED-CAPTIONS",
        ];
        for name in due {
            self.expect(attribute(name).is_some(), master, "tags", || {
                format!("{uri} has no {name}")
            });
        }
        self.bandwidth(master, listed, playlist, contents, audio);
        let described = contents.headers.as_ref().and_then(Headers::describe);
        self.expect(described.is_some(), uri, "codecs", || {
            "no readable parameter sets".to_string()
        });
        if let Some(described) = described {
            let sound = contents.aac || audio.iter().any(|(_, audio)| audio.aac);
            let codecs = described.codecs + if sound { ",mp4a.40.2" } else { "" };
            self.expect(
                attribute("CODECS") == Some(&codecs),
                master,
                "codecs",
                || {
                    format!(
                        "{uri} says {:?}, its segments {codecs}",
                        attribute("CODECS")
                    )
                },
            );
            let range = match described.transfer {
                Some(16) => "PQ",
                Some(18) => "HLG",
                _ => "SDR",
            };
            let said = attribute("VIDEO-RANGE");
            self.expect(said == Some(range), master, "video-range", || {
                format!("{uri} says {said:?}, its segments {range}")
            });
            let size = format!("{}x{}", described.width, described.height);
            self.expect(
                attribute("RESOLUTION") == Some(&size),
                master,
                "resolution",
                || {
                    format!(
                        "{uri} says {:?}, its segments {size}",
                        attribute("RESOLUTION")
                    )
                },
            );
        }
        self.times(playlist, contents, attribute("FRAME-RATE"), master);
        if contents.aac {
            self.sound(playlist, contents);
            self.sound_ends(playlist, contents, contents);
        }
    }

    /// Declared against measured: never below the peak, and within a tenth above once all is there.
    fn bandwidth(
        &mut self,
        master: &str,
        listed: &Listed,
        playlist: &Playlist,
        contents: &Contents,
        audio: &[(Playlist, Contents)],
    ) {
        let number = |name: &str| {
            listed
                .attributes
                .get(name)
                .and_then(|text| text.parse().ok())
        };
        let video = measured(playlist, contents);
        let sound: Vec<Rendition> = audio.iter().map(|(p, c)| measured(p, c)).collect();
        let with_largest =
            |of: fn(&Rendition) -> u64| of(&video) + sound.iter().map(of).max().unwrap_or_default();
        let peak = with_largest(Rendition::peak_bandwidth);
        let average = with_largest(Rendition::average_bandwidth);
        let uri = &listed.uri;
        let declared: u64 = number("BANDWIDTH").unwrap_or(0);
        let high = playlist.ended && declared > peak + peak / 10;
        self.expect(declared >= peak && !high, master, "bandwidth", || {
            format!("{uri} declares {declared}, the measured peak is {peak}")
        });
        let declared: u64 = number("AVERAGE-BANDWIDTH").unwrap_or(0);
        self.expect(
            declared.abs_diff(average) <= average / 10,
            master,
            "bandwidth",
            || format!("{uri} declares an average of {declared}, measured is {average}"),
        );
    }

    /// All segments of a rung in a row: from 0, rising, each as long as its EXTINF.
    fn times(
        &mut self,
        playlist: &Playlist,
        contents: &Contents,
        frame_rate: Option<&str>,
        master: &str,
    ) {
        let place = &playlist.place;
        let starts = starts(contents);
        self.expect(
            starts.first().is_none_or(|&start| start == 0),
            place,
            "first-pts",
            || format!("the first picture is shown at {} ticks", starts[0]),
        );
        let mut last_dts = i64::MIN;
        let mut shown = Vec::new();
        for pictures in &contents.pictures {
            for picture in pictures {
                self.expect(picture.dts > last_dts, place, "times", || {
                    format!("decode time {} after {last_dts}", picture.dts)
                });
                last_dts = picture.dts;
                shown.push(picture.pts);
            }
        }
        shown.sort_unstable();
        let count = shown.len();
        shown.dedup();
        self.expect(shown.len() == count, place, "times", || {
            format!("{} pictures share a display time", count - shown.len())
        });
        let mut gaps: Vec<i64> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
        let end = shown.last().map_or(0, |&last| last + usual);
        for (index, (duration, uri)) in playlist.segments.iter().enumerate() {
            let Some(&start) = starts.get(index) else {
                break;
            };
            let (measured, allowed) = match starts.get(index + 1) {
                Some(&next) => (next - start, EXACT),
                // Nothing in a segment says how long its last picture stands.
                None => (end - start, usual.max(EXACT)),
            };
            let stated = (duration * TICKS as f64).round() as i64;
            let right = measured.abs_diff(stated) <= allowed as u64 || count == 1;
            self.expect(right, place, "extinf", || {
                format!(
                    "{uri} says {duration} s, its pictures last {} s",
                    seconds(measured)
                )
            });
        }
        let total: f64 = playlist.segments.iter().map(|(duration, _)| duration).sum();
        // The highest rate (RFC 8216 4.3.4.2), of which pauses are no part.
        let rate = (count as f64 / total).max(TICKS as f64 / usual.max(1) as f64);
        let rate = if count < 3 {
            count as f64 / total
        } else {
            rate
        };
        let stated = frame_rate
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(rate);
        // A single frame more or less is rounding.
        let near = (stated - rate).abs() <= rate * 0.05 + 1.5 / total;
        self.expect(near, master, "frame-rate", || {
            format!("{place} is declared with {stated}, measured are {rate:.3}")
        });
    }

    /// AAC frames that follow one another from 0 on without a gap.
    fn sound(&mut self, playlist: &Playlist, contents: &Contents) {
        let place = &playlist.place;
        let mut expected = 0;
        for (number, (start, duration)) in contents.sound.iter().flatten().enumerate() {
            // Each start is rounded to a tick of its own.
            let allowed = if number == 0 { EXACT } else { EXACT + 2 };
            let gap = start - expected;
            self.expect(gap.abs() <= allowed, place, "sound", || {
                format!("a gap of {gap} ticks at {start}")
            });
            expected = start + duration;
        }
    }

    fn sound_ends(&mut self, playlist: &Playlist, video: &Contents, audio: &Contents) {
        let last_shown = video
            .pictures
            .iter()
            .flatten()
            .map(|picture| picture.pts)
            .max();
        let last_heard = audio
            .sound
            .iter()
            .flatten()
            .map(|(start, length)| start + length)
            .max();
        let total: f64 = playlist.segments.iter().map(|(duration, _)| duration).sum();
        let end = (total * TICKS as f64) as i64;
        if let (Some(_), Some(heard)) = (last_shown, last_heard) {
            self.expect(
                (heard - end).abs() <= SOUND_END,
                &playlist.place,
                "sound",
                || format!("sound ends at {} s, pictures at {total} s", seconds(heard)),
            );
        }
    }

    /// What holds between renditions.
    fn together(
        &mut self,
        renditions: &[(&Listed, (Playlist, Contents))],
        audio: &[(Playlist, Contents)],
    ) {
        let Some((_, (first, first_contents))) = renditions.first() else {
            return;
        };
        let expected = starts(first_contents);
        let others = renditions.iter().map(|(_, opened)| opened).skip(1);
        for (playlist, contents) in others.chain(audio) {
            let place = &playlist.place;
            self.expect(
                playlist.target == first.target,
                place,
                "target-duration",
                || {
                    format!(
                        "{} here, {} in {}",
                        playlist.target, first.target, first.place
                    )
                },
            );
            let (own, other) = (playlist.segments.len(), first.segments.len());
            self.expect(own == other || !playlist.ended, place, "aligned", || {
                format!("{own} segments here, {other} in {}", first.place)
            });
            if contents.pictures.is_empty() {
                continue;
            }
            let found = starts(contents);
            let unequal = found
                .iter()
                .zip(&expected)
                .position(|(own, other)| own != other);
            self.expect(unequal.is_none(), place, "aligned", || {
                let at = unequal.unwrap_or(0);
                format!(
                    "segment {at} starts at {}, in {} at {}",
                    found[at], first.place, expected[at]
                )
            });
        }
        for (playlist, contents) in audio.iter().filter(|(playlist, _)| playlist.ended) {
            self.sound_ends(first, first_contents, contents);
            let ends = sound_ends_by_segment(contents);
            let late = ends.iter().zip(expected.iter().skip(1));
            let late = late.filter(|(end, start)| end.abs_diff(**start) > SOUND_FRAME as u64);
            let late = late.count();
            self.expect(late == 0, &playlist.place, "aligned", || {
                format!(
                    "{late} segments of sound do not end where those of {} do",
                    first.place
                )
            });
        }
    }
}

/// A frame of AAC at 8 kHz: sound is cut at frames, not at pictures.
const SOUND_FRAME: i64 = AAC_FRAME * TICKS / 8000;

fn sound_ends_by_segment(contents: &Contents) -> Vec<i64> {
    let last = |sound: &Vec<(i64, i64)>| sound.last().map(|(start, length)| start + length);
    contents.sound.iter().filter_map(last).collect()
}

fn starts(contents: &Contents) -> Vec<i64> {
    contents
        .pictures
        .iter()
        .filter_map(|pictures| Some(pictures.first()?.pts))
        .collect()
}

/// The playlist with the sizes that its segments really have.
fn measured(playlist: &Playlist, contents: &Contents) -> Rendition {
    let segments =
        playlist
            .segments
            .iter()
            .zip(&contents.bytes)
            .map(|((duration, uri), &bytes)| SegmentInfo {
                uri: uri.clone(),
                duration: *duration,
                bytes,
                ..SegmentInfo::default()
            });
    Rendition {
        name: playlist.place.clone(),
        content: Content::Video {
            width: 0,
            height: 0,
            frame_rate: 0.0,
            range: VideoRange::Sdr,
        },
        packing: Packing::Ts,
        uri: playlist.place.clone(),
        codecs: String::new(),
        target_duration: playlist.target,
        init: None,
        expected_peak: 0,
        part_target: None,
        segments: segments.collect(),
        parts: Vec::new(),
        hint: None,
        forgotten: Forgotten::default(),
    }
}

/// What a master lists.
fn listed(text: &str) -> Master {
    let mut master = Master::default();
    let mut pending = None;
    let with_uri = |value: &str| {
        let attributes = attributes(value);
        let uri = attributes.get("URI").cloned()?;
        Some(Listed { attributes, uri })
    };
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            pending = Some(attributes(value));
        } else if let Some(value) = line.strip_prefix("#EXT-X-MEDIA:") {
            let listed = with_uri(value);
            let kind = listed.as_ref().and_then(|l| l.attributes.get("TYPE"));
            match kind.map(String::as_str) {
                Some("SUBTITLES") => master.subtitles.extend(listed),
                _ => master.audio.extend(listed),
            }
        } else if let Some(value) = line.strip_prefix("#EXT-X-I-FRAME-STREAM-INF:") {
            master.iframes.extend(with_uri(value));
        } else if let Some(value) = line.strip_prefix("#EXT-X-IMAGE-STREAM-INF:") {
            master.images.extend(with_uri(value));
        } else if !line.starts_with('#') && !line.is_empty() {
            if let Some(attributes) = pending.take() {
                master.variants.push(Listed {
                    attributes,
                    uri: line.to_string(),
                });
            }
        }
    }
    master
}

/// An attribute list (RFC 8216 4.2), quotes removed.
fn attributes(mut text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        found.insert(name.to_string(), value.to_string());
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_lists() {
        let found = attributes("BANDWIDTH=100,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=2x2");
        assert_eq!(found["BANDWIDTH"], "100");
        assert_eq!(found["CODECS"], "avc1.64001f,mp4a.40.2");
        assert_eq!(found["RESOLUTION"], "2x2");
    }
}
