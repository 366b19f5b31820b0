//! What goes beside the rungs of every segment: sound, subtitles, thumbnails.
//!
//! Each has an input or a scaler of its own and is asked for its part of a segment when the segment
//! is closed. What is a rendition of its own is packed here; sound that stands in the segments of the
//! rungs is handed on to them.

use std::sync::Arc;

use media::Frame;

use crate::audio::Track;
use crate::feed::counted;
use crate::plan::{Plan, Sounding, Texts};
use crate::playlist::{AUDIO_GROUP, SUBTITLES_GROUP, track_name};
use crate::sample::{Sound, seconds};
use crate::sink::{Part, Segment};
use crate::subtitles;
use crate::thumbnails::Sheets;
use crate::unit::{self, Finished, FinishedPart, Span};
use crate::{Container, Options, Result, cmaf, mpegts};

/// Everything beside the rungs, on its way.
pub struct Beside {
    container: Container,
    tracks: Vec<Track>,
    /// By track: what went out of the open segment in parts. `None` without parts.
    open: Option<Vec<OpenSound>>,
    /// Whether the sound goes into the segments of the rungs.
    muxes: bool,
    /// Whether the stream ends where the first track does.
    sound_ends: bool,
    texts: Option<subtitles::Tracks>,
    sheets: Option<Sheets>,
}

/// The parts of a segment of sound.
#[derive(Default)]
struct OpenSound {
    bytes: Vec<u8>,
    parts: u32,
    /// Number of the first frame, and frames.
    first: i64,
    frames: i64,
    carry: mpegts::Carry,
}

/// What belongs to a segment that ends.
pub struct Closed {
    /// Sound for the segments of the rungs.
    pub sound: Option<Arc<Sound>>,
    /// Segments of renditions of their own, with the last part of those that went out in parts.
    pub segments: Vec<(Finished, Option<FinishedPart>)>,
}

impl OpenSound {
    /// Packs what came since the last part.
    fn part(
        &mut self,
        rendition: &str,
        sound: &Sound,
        span: &Span,
        container: Container,
        entered: Option<f64>,
        last: bool,
    ) -> FinishedPart {
        let (index, number) = (span.index as u32, self.parts);
        let (bytes, init) = match container {
            Container::Ts => (mpegts::write_sound_part(sound, last, &mut self.carry), None),
            Container::Cmaf => (
                cmaf::audio_part(sound, index, number),
                Some(cmaf::audio_init(&sound.format)),
            ),
        };
        let frames = sound.frames.len() as i64;
        if number == 0 {
            self.first = sound.first;
        }
        self.parts += 1;
        self.frames += frames;
        self.bytes.extend(&bytes);
        let time = |frame| sound.format.frame_time(frame);
        let part = Part {
            rung: rendition.to_string(),
            segment: index,
            index: number,
            duration: seconds(time(sound.first + frames) - time(sound.first)),
            independent: true,
            codecs: sound.format.codec(),
            bytes,
            discontinuity: span.discontinuity,
            date: span.date,
            entered,
        };
        FinishedPart { part, init }
    }

    /// The segment that the parts make.
    fn segment(
        self,
        rendition: String,
        sound: &Sound,
        span: &Span,
        entered: Option<f64>,
    ) -> Segment {
        let time = |frame| sound.format.frame_time(frame);
        let (start, end) = (time(self.first), time(self.first + self.frames));
        Segment {
            rung: rendition,
            index: span.index as u32,
            start: seconds(start),
            duration: seconds(end - start),
            codecs: sound.format.codec(),
            bytes: self.bytes,
            entered,
            ..Segment::default()
        }
    }
}

impl Beside {
    /// Opens what the plan names. Thumbnails need decoded pictures.
    pub fn open(
        plan: &Plan,
        sound: &[Sounding],
        texts: Option<&Texts>,
        decodes: bool,
        options: &Options,
    ) -> Result<Beside> {
        let tracks = sound.iter().map(|sounding| Track::open(sounding, options));
        let tile = plan.tile.filter(|_| decodes);
        let texts = texts.map(|texts| subtitles::Tracks::open(texts, options));
        Ok(Beside {
            container: plan.container,
            tracks: tracks.collect::<Result<_>>()?,
            open: plan
                .part_s
                .map(|_| sound.iter().map(|_| OpenSound::default()).collect()),
            muxes: plan.muxes_sound(),
            sound_ends: sound.first().is_some_and(Sounding::ends),
            texts: texts.transpose()?,
            sheets: tile.map(|tile| Sheets::new(tile, options.segment_s)),
        })
    }

    /// Whether the stream is over at this time because the sound is.
    pub fn ends_before(&mut self, time: i64) -> Result<bool> {
        match self.tracks.first_mut() {
            Some(track) if self.sound_ends => Ok(!track.reaches(time)?),
            _ => Ok(false),
        }
    }

    /// Shows a picture that was put into the segment.
    pub fn picture(&mut self, frame: &Frame, pts: i64, span: &Span) -> Result<()> {
        match &mut self.sheets {
            Some(sheets) => sheets.picture(frame, pts, span),
            None => Ok(()),
        }
    }

    /// A part of the segment ends: its sound for the rungs, and parts of renditions of their own.
    pub fn part(
        &mut self,
        span: &Span,
        end: i64,
        entered: Option<f64>,
    ) -> Result<(Option<Arc<Sound>>, Vec<FinishedPart>)> {
        let mut sound = None;
        let mut parts = Vec::new();
        let open = self.open.iter_mut().flatten();
        for (number, (track, open)) in self.tracks.iter_mut().zip(open).enumerate() {
            let own = track.until(end)?;
            if self.muxes {
                sound = Some(Arc::new(own));
            } else if !own.frames.is_empty() {
                let name = track_name(AUDIO_GROUP, number);
                parts.push(open.part(&name, &own, span, self.container, entered, false));
            }
        }
        Ok((sound, parts))
    }

    /// The segment ends.
    pub fn close(&mut self, span: &Span, end: i64, entered: Option<f64>) -> Result<Closed> {
        let mut sound = None;
        let mut segments = Vec::new();
        for (number, track) in self.tracks.iter_mut().enumerate() {
            let rest = track.until(end)?;
            if self.muxes {
                sound = Some(Arc::new(rest));
                continue;
            }
            let name = track_name(AUDIO_GROUP, number);
            let packed = match self.open.as_mut().and_then(|open| open.get_mut(number)) {
                None => {
                    let packed = unit::pack_sound(name, &rest, span, self.container, entered);
                    (packed, None)
                }
                Some(open) => {
                    let part = open.part(&name, &rest, span, self.container, entered, true);
                    let whole = std::mem::take(open).segment(name, &rest, span, entered);
                    let init = part.init.clone();
                    let finished = Finished {
                        segment: whole,
                        init,
                    };
                    (finished, Some(part))
                }
            };
            segments.push(packed);
        }
        let alone = |segment| {
            let init = None;
            (Finished { segment, init }, None)
        };
        if let Some(texts) = &mut self.texts {
            for (number, bytes) in texts.until(span.start, end).into_iter().enumerate() {
                segments.push(alone(Segment {
                    rung: track_name(SUBTITLES_GROUP, number),
                    index: span.index as u32,
                    start: seconds(span.start),
                    duration: seconds(end - span.start),
                    bytes,
                    entered,
                    ..Segment::default()
                }));
            }
        }
        if let Some(sheets) = &mut self.sheets {
            let sheet = sheets.close(span, end)?;
            segments.extend(sheet.map(|segment| alone(Segment { entered, ..segment })));
        }
        Ok(Closed { sound, segments })
    }

    /// What was odd, in words.
    pub fn warnings(&self) -> Vec<String> {
        let damaged = self.tracks.iter().map(|track| track.damaged).sum();
        let texts = self.texts.as_ref();
        let texts = texts.map_or((0, 0), |texts| (texts.damaged, texts.dropped));
        let mut warnings = counted(&[
            (damaged, "damaged audio packets were passed over"),
            (texts.0, "damaged subtitles were passed over"),
            (texts.1, "subtitles were left out: too many or too long"),
        ]);
        if self.tracks.iter().any(|track| track.other_clock) {
            warnings.push("the sound's clock does not match; it starts with the picture".into());
        }
        warnings
    }
}
