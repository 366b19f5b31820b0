//! Coded pictures and sound of one segment, between the encoder (or the source) and the packing.
//!
//! One form for both containers: a picture is its NAL units, each after its length in four bytes,
//! without parameter sets and delimiters; those are kept once per segment and put where the
//! container wants them. Times are 90 kHz ticks from the start of the stream.

use std::ops::Range;

use crate::av1;
use crate::h264::{self, ParameterSets};
use crate::headers::{Codec, Headers, Role};

/// Ticks per second of every time in this crate that is not said to be in seconds.
pub const TICKS: i64 = 90_000;

/// Seconds that so many ticks last.
pub fn seconds(ticks: i64) -> f64 {
    ticks as f64 / TICKS as f64
}

/// Samples of one channel in an AAC frame.
pub const AAC_FRAME: i64 = 1024;

/// One coded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// When it is shown.
    pub pts: i64,
    /// Whether decoding can start here: an IDR, or AV1's key frame.
    pub idr: bool,
    /// NAL units, each after its length in four bytes; for AV1 its OBUs.
    pub data: Vec<u8>,
}

/// The pictures of one segment of one rung, in decode order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    /// The parameter sets of all of them.
    pub headers: Headers,
    /// In decode order; decoding can start at the first.
    pub pictures: Vec<Picture>,
    /// Display times of the pictures before this segment, latest last, at least as many as pictures
    /// are held back for reordering or else all there are.
    pub before: Vec<i64>,
    /// How many pictures a decoder holds back to put them in order; the same in all segments.
    pub reorder: usize,
    /// When the segment ends and the next one starts.
    pub end: i64,
}

impl Pictures {
    /// Display times in rising order.
    pub fn shown(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.pictures.iter().map(|picture| picture.pts).collect();
        times.sort_unstable();
        times
    }

    /// Decode times that rise over the whole stream and never pass a display time.
    ///
    /// The n-th picture of the stream in decode order is decoded when the one `reorder` places
    /// earlier in display order is shown. At the very start there is none earlier and nothing may
    /// be negative, so the first ones follow each other tick by tick, from the one shown at 0 on.
    pub fn decode_times(&self) -> Vec<i64> {
        let held = self.reorder.min(self.before.len());
        let earlier = &self.before[self.before.len() - held..];
        let first_ticks = held as i64..self.reorder as i64;
        let shown = self.shown();
        let natural = earlier.iter().chain(&shown).map(|&pts| match pts {
            0 => self.reorder as i64,
            pts => pts,
        });
        first_ticks
            .chain(natural)
            .take(self.pictures.len())
            .collect()
    }
}

/// Turns packets into pictures, keeping the parameter sets apart.
#[derive(Debug)]
pub struct Collector {
    headers: Headers,
    /// Bytes of the length before each NAL unit; `None` for start codes.
    length_size: Option<usize>,
    pictures: Vec<Picture>,
}

impl Collector {
    /// Starts a segment whose packets bring their parameter sets.
    pub fn new(codec: Codec) -> Collector {
        Collector {
            headers: Headers::new(codec),
            length_size: None,
            pictures: Vec::new(),
        }
    }

    /// Starts a segment of an H.264 stream that begins with these parameter sets.
    pub fn copying(sets: &ParameterSets) -> Collector {
        let mut headers = Headers::new(Codec::H264);
        for set in sets.sps.iter().chain(&sets.pps) {
            headers.add(set);
        }
        Collector {
            headers,
            length_size: sets.length_size,
            pictures: Vec::new(),
        }
    }

    /// Takes the next packet in decode order. The reason when it is not what a segment can hold.
    pub fn push(&mut self, packet: &[u8], pts: i64) -> Result<(), &'static str> {
        let damaged = "a damaged packet";
        let codec = self.headers.codec;
        let mut picture = Picture {
            pts,
            idr: false,
            data: Vec::with_capacity(packet.len() + 16),
        };
        let mut new = false;
        if codec == Codec::Av1 {
            let units = av1::units(packet).ok_or(damaged)?;
            picture.idr = av1::is_key(&units);
            for unit in units {
                let role = codec.role(unit.whole);
                new |= role == Role::Header && self.headers.add(unit.whole);
                if role != Role::Nothing {
                    picture.data.extend(unit.whole);
                }
            }
        } else {
            let nals = match self.length_size {
                None => h264::annex_b(packet),
                Some(size) => h264::length_prefixed(packet, size).ok_or(damaged)?,
            };
            for nal in nals {
                match codec.role(nal) {
                    Role::Header => {
                        new |= self.headers.add(nal);
                        continue;
                    }
                    Role::Nothing => continue,
                    Role::Key => picture.idr = true,
                    Role::Picture => {}
                }
                let length = u32::try_from(nal.len()).map_err(|_| "a NAL unit over 4 GiB")?;
                picture.data.extend(length.to_be_bytes());
                picture.data.extend(nal);
            }
        }
        if self.pictures.is_empty() && !picture.idr {
            return Err("a first picture that is not an IDR");
        }
        if new && !self.pictures.is_empty() {
            return Err("parameter sets that change in the middle of a segment");
        }
        if picture.data.is_empty() {
            return Err("a packet without a picture");
        }
        self.pictures.push(picture);
        Ok(())
    }

    /// How many pictures there are.
    pub fn count(&self) -> usize {
        self.pictures.len()
    }

    /// How many of them, from the first on, are shown before this time.
    pub fn before(&self, time: i64) -> usize {
        let shown = |picture: &Picture| picture.pts < time;
        self.pictures
            .iter()
            .take_while(|picture| shown(picture))
            .count()
    }

    /// Some of the pictures, which end at `end` and are shown as they are decoded.
    pub fn part(&self, range: Range<usize>, end: i64) -> Pictures {
        Pictures {
            headers: self.headers.clone(),
            pictures: self.pictures.get(range).unwrap_or_default().to_vec(),
            before: Vec::new(),
            reorder: 0,
            end,
        }
    }

    /// Ends the segment.
    pub fn finish(
        self,
        before: Vec<i64>,
        reorder: usize,
        end: i64,
    ) -> Result<Pictures, &'static str> {
        if self.pictures.is_empty() {
            return Err("no picture");
        }
        if self.headers.sequence().is_none() {
            return Err("not exactly one sequence parameter set");
        }
        Ok(Pictures {
            headers: self.headers,
            pictures: self.pictures,
            before,
            reorder,
            end,
        })
    }
}

/// How the encoded sound is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundFormat {
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).
    pub config: Vec<u8>,
}

impl SoundFormat {
    /// RFC 6381 codec string; 2 is AAC-LC.
    pub fn codec(&self) -> String {
        let object_type = self.config.first().map_or(2, |byte| byte >> 3);
        format!("mp4a.40.{object_type}")
    }

    /// When the AAC frame of this number starts.
    pub fn frame_time(&self, number: i64) -> i64 {
        let rate = i64::from(self.sample_rate);
        (number * AAC_FRAME * TICKS + rate / 2) / rate
    }
}

/// The sound of one segment: whole AAC frames, without headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// The same in all segments.
    pub format: SoundFormat,
    /// Number of the first frame, counted from the start of the stream.
    pub first: i64,
    /// The frames.
    pub frames: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[i64], shown_in_decode_order: &[i64], reorder: usize, expected: &[i64]) {
        let picture = |&pts| Picture {
            pts,
            idr: false,
            data: Vec::new(),
        };
        let pictures = Pictures {
            headers: Headers::new(Codec::H264),
            pictures: shown_in_decode_order.iter().map(picture).collect(),
            before: before.to_vec(),
            reorder,
            end: 0,
        };
        let times = pictures.decode_times();
        assert_eq!(
            times, expected,
            "{before:?} {shown_in_decode_order:?} {reorder}"
        );
        for (time, pts) in times.iter().zip(shown_in_decode_order) {
            assert!(time <= pts, "{times:?} {shown_in_decode_order:?}");
        }
    }

    #[test]
    fn decode_times_rise_and_never_pass_display() {
        // One B picture, one place of reordering, then two places; 3600 ticks a picture.
        check(&[], &[0, 7200, 3600, 10800], 1, &[0, 1, 3600, 7200]);
        check(
            &[],
            &[0, 14400, 7200, 3600, 10800],
            2,
            &[0, 1, 2, 3600, 7200],
        );
        check(&[], &[0, 3600, 7200], 0, &[0, 3600, 7200]);
        check(
            &[0, 3600, 7200],
            &[10800, 18000, 14400],
            1,
            &[7200, 10800, 14400],
        );
        // Segments shorter than the reordering still continue one another.
        check(&[0], &[3600, 7200], 2, &[1, 2]);
        check(&[0, 3600], &[7200, 10800], 2, &[2, 3600]);
    }
}
