//! Coded pictures and sound of one segment, between the encoder (or the source) and the packing.
//!
//! One form for both containers: a picture is its NAL units, each after its length in four bytes,
//! without parameter sets and delimiters; those are kept once per segment and put where the
//! container wants them. Times are 90 kHz ticks from the start of the stream.

use crate::h264::{self, ParameterSets, Sps};

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
    /// Whether decoding can start here.
    pub idr: bool,
    /// NAL units, each after its length in four bytes.
    pub nals: Vec<u8>,
}

/// The pictures of one segment of one rung, in decode order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pictures {
    /// The sequence parameter set of all of them.
    pub sps: Vec<u8>,
    /// Their picture parameter sets.
    pub pps: Vec<Vec<u8>>,
    /// In decode order; the first is an IDR.
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
    /// Codec string of the rung.
    pub fn codec(&self) -> Option<String> {
        Sps::parse(&self.sps).map(|sps| sps.codec_string())
    }

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
    sets: ParameterSets,
    pictures: Vec<Picture>,
}

impl Collector {
    /// Starts a segment of a stream that begins with these parameter sets; with none when they come
    /// in the packets.
    pub fn new(sets: Option<&ParameterSets>) -> Collector {
        let none = ParameterSets {
            length_size: None,
            sps: Vec::new(),
            pps: Vec::new(),
        };
        Collector {
            sets: sets.cloned().unwrap_or(none),
            pictures: Vec::new(),
        }
    }

    /// Takes the next packet in decode order. The reason when it is not what a segment can hold.
    pub fn push(&mut self, packet: &[u8], pts: i64) -> Result<(), &'static str> {
        let nals = self.sets.split(packet).ok_or("a damaged packet")?;
        let mut picture = Picture {
            pts,
            idr: false,
            nals: Vec::with_capacity(packet.len() + 16),
        };
        let mut new_sets = self.sets.clone();
        let changed = new_sets.collect(&nals);
        for nal in nals {
            match h264::kind(nal) {
                h264::SPS | h264::PPS | h264::AUD | 10 | 11 | 12 => continue,
                h264::IDR => picture.idr = true,
                _ => {}
            }
            let length = u32::try_from(nal.len()).map_err(|_| "a NAL unit over 4 GiB")?;
            picture.nals.extend(length.to_be_bytes());
            picture.nals.extend(nal);
        }
        if self.pictures.is_empty() && !picture.idr {
            return Err("a first picture that is not an IDR");
        }
        if changed && !self.pictures.is_empty() {
            return Err("parameter sets that change in the middle of a segment");
        }
        if picture.nals.is_empty() {
            return Err("a packet without a picture");
        }
        self.sets = new_sets;
        self.pictures.push(picture);
        Ok(())
    }

    /// Ends the segment.
    pub fn finish(
        mut self,
        before: Vec<i64>,
        reorder: usize,
        end: i64,
    ) -> Result<Pictures, &'static str> {
        if self.pictures.is_empty() {
            return Err("no picture");
        }
        if self.sets.sps.len() != 1 || self.sets.pps.is_empty() {
            return Err("not exactly one sequence parameter set");
        }
        let sps = self.sets.sps.remove(0);
        Ok(Pictures {
            sps,
            pps: self.sets.pps,
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
            nals: Vec::new(),
        };
        let pictures = Pictures {
            sps: Vec::new(),
            pps: Vec::new(),
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
