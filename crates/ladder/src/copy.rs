//! Whether the source's own packets can be the source rung, and where they can be cut.
//!
//! They can when every player of the encoded rungs would play them too: H.264 up to High, 8 bit
//! 4:2:0, progressive, upright, square pixels, one set of parameter sets, within the rung's bit
//! rate, and IDR pictures often enough. Then segments start at the source's IDRs and the other
//! rungs follow. A recovery point or an open GOP is no start: what stands before it would be needed.

use media::{Packet, Stream};

use crate::Options;
use crate::h264::{self, ParameterSets, Sps};
use crate::plan::Cuts;
use crate::rungs::Rung;
use crate::sample::{TICKS, seconds};

/// A segment may last so many wanted durations; 12 s for 4 s, so that the usual 250 pictures
/// between IDRs at 24 per second fit.
const LONGEST: i64 = 3;

/// Pictures that a decoder holds back at most (H.264 A.3.1, max_dec_frame_buffering).
const MOST_REORDERED: usize = 16;

/// A source that is still being examined.
#[derive(Debug)]
pub struct Candidate {
    sets: ParameterSets,
    sps: Sps,
    packets: Vec<Coded>,
    unfit: bool,
}

/// One packet, in decode order.
#[derive(Debug, Clone, Copy)]
struct Coded {
    pts: i64,
    bytes: u64,
    idr: bool,
}

/// How to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Parameter sets and packing of the packets.
    pub sets: ParameterSets,
    /// Where to cut, each at an IDR.
    pub cuts: Cuts,
    /// Pictures that a decoder holds back to put them in order.
    pub reorder: usize,
    average: u32,
    peak: u32,
}

impl Candidate {
    /// The stream as a candidate, unless its description rules it out.
    pub fn new(video: &Stream, options: &Options) -> Option<Candidate> {
        let aspect = video.sample_aspect;
        let upright = video.orientation == media::Orientation::default();
        let square = aspect.is_none_or(|aspect| aspect.num == aspect.den);
        // The rungs below are mapped to standard dynamic range.
        let hdr = video.hdr().is_some();
        if !options.copy_source || video.codec() != "h264" || !upright || !square || hdr {
            return None;
        }
        let sets = ParameterSets::parse(video.extradata())?;
        let sps = Sps::parse(sets.sps.first().filter(|_| sets.sps.len() == 1)?)?;
        let plain = matches!(sps.profile, 66 | 77 | 100) && sps.chroma == 1 && sps.bit_depth == 8;
        let size = (sps.width, sps.height) == (video.width(), video.height());
        let even = sps.width % 2 == 0 && sps.height % 2 == 0;
        (plain && sps.frames_only && size && even && !sets.pps.is_empty()).then_some(Candidate {
            sets,
            sps,
            packets: Vec::new(),
            unfit: false,
        })
    }

    /// Takes the next packet in decode order, shown at `pts`.
    pub fn packet(&mut self, packet: &Packet, pts: i64) {
        let nals = self.sets.split(packet.data());
        let Some(nals) = nals.filter(|_| packet.pts().is_some() && !packet.is_corrupt()) else {
            self.unfit = true;
            return;
        };
        let slices = nals
            .iter()
            .any(|nal| (1..=h264::IDR).contains(&h264::kind(nal)));
        if self.sets.collect(&nals) || pts < 0 || !slices {
            self.unfit = true;
        }
        let idr = nals.iter().any(|nal| h264::kind(nal) == h264::IDR);
        self.packets.push(Coded {
            pts,
            bytes: packet.data().len() as u64,
            idr,
        });
    }

    /// The verdict, once all packets were seen. `shown` are all display times in rising order.
    pub fn decide(self, rung: &Rung, shown: &[i64], end: i64, wanted: i64) -> Option<Source> {
        let size = (self.sps.width, self.sps.height) == (rung.width, rung.height);
        let every_picture_shown = shown.len() == self.packets.len();
        let starts_right = self
            .packets
            .first()
            .is_some_and(|first| first.idr && first.pts == 0);
        if self.unfit || !size || !every_picture_shown || !starts_right {
            return None;
        }
        let groups = closed_groups(&self.packets)?;
        let idrs: Vec<i64> = groups.iter().map(|group| group[0].pts).collect();
        let cuts = cuts(&idrs, end, wanted)?;
        let reorder = groups
            .iter()
            .map(|group| reordering(group))
            .max()
            .unwrap_or(0);
        let bytes: u64 = self.packets.iter().map(|packet| packet.bytes).sum();
        let average = bit_rate(bytes, end);
        let peak = peak_rate(&self.packets, &cuts);
        let fits = average <= u64::from(rung.max_rate)
            && peak <= 2 * u64::from(rung.max_rate)
            && reorder <= MOST_REORDERED;
        fits.then_some(Source {
            sets: self.sets,
            cuts,
            reorder,
            average: average as u32,
            peak: peak as u32,
        })
    }
}

impl Source {
    /// Puts the measured rates into the rung in place of the table's.
    pub fn describe(&self, rung: &mut Rung) {
        rung.copied = true;
        rung.bit_rate = self.average;
        rung.max_rate = self.peak;
        rung.buffer = self.peak;
    }
}

fn bit_rate(bytes: u64, ticks: i64) -> u64 {
    (bytes as f64 * 8.0 / seconds(ticks.max(1))) as u64
}

/// The packets from each IDR to the next. `None` unless every picture of a group is shown between
/// the two IDRs.
fn closed_groups(packets: &[Coded]) -> Option<Vec<&[Coded]>> {
    let groups: Vec<&[Coded]> = packets.chunk_by(|_, next| !next.idr).collect();
    let starts = groups.iter().map(|group| group[0].pts);
    let ends = starts.clone().skip(1).chain(std::iter::once(i64::MAX));
    let closed = groups
        .iter()
        .zip(starts.zip(ends))
        .all(|(group, (start, end))| group.iter().all(|p| p.pts >= start && p.pts < end));
    closed.then_some(groups)
}

/// How many places a picture is decoded after its place in display order.
fn reordering(group: &[Coded]) -> usize {
    let mut shown: Vec<i64> = group.iter().map(|packet| packet.pts).collect();
    shown.sort_unstable();
    let late = group.iter().enumerate().map(|(place, packet)| {
        place.saturating_sub(shown.partition_point(|&pts| pts < packet.pts))
    });
    late.max().unwrap_or(0)
}

fn peak_rate(packets: &[Coded], cuts: &Cuts) -> u64 {
    let mut bytes = vec![0; cuts.starts.len()];
    for packet in packets {
        let after = cuts.starts.partition_point(|&start| start <= packet.pts);
        bytes[after.saturating_sub(1)] += packet.bytes;
    }
    let rates = bytes.iter().enumerate().map(|(index, &bytes)| {
        // A short last segment makes no peak (RFC 8216 4.1).
        let duration = (cuts.end_of(index) - cuts.starts[index]).max(2 * TICKS);
        bit_rate(bytes, duration)
    });
    rates.max().unwrap_or(0)
}

/// At each multiple of `wanted` the IDR that is nearest to it. `None` when that leaves a segment
/// over the cap.
fn cuts(idrs: &[i64], end: i64, wanted: i64) -> Option<Cuts> {
    let mut starts = vec![0];
    loop {
        let last = starts[starts.len() - 1];
        let grid = ((last + wanted / 2) / wanted + 1) * wanted;
        if grid >= end {
            break;
        }
        let first = idrs.partition_point(|&idr| idr < last + wanted / 2);
        let past_grid = idrs.partition_point(|&idr| idr < grid).max(first);
        let around = idrs[first..]
            .iter()
            .skip((past_grid - first).saturating_sub(1))
            .take(2);
        let Some(&nearest) = around.min_by_key(|&&idr| idr.abs_diff(grid)) else {
            break;
        };
        starts.push(nearest);
    }
    let short = |last: i64| end - last < wanted / 2;
    if let [.., before, last] = starts[..] {
        if short(last) && end - before <= LONGEST * wanted {
            starts.pop();
        }
    }
    let cuts = Cuts { starts, end };
    let fit =
        (0..cuts.starts.len()).all(|at| cuts.end_of(at) - cuts.starts[at] <= LONGEST * wanted);
    fit.then_some(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(idrs: &[f64], end: f64, expected: Option<&[f64]>) {
        let at = |s: &f64| (s * TICKS as f64).round() as i64;
        let idrs: Vec<i64> = idrs.iter().map(at).collect();
        let found = cuts(&idrs, at(&end), 4 * TICKS);
        let expected = expected.map(|starts| starts.iter().map(at).collect::<Vec<_>>());
        assert_eq!(found.map(|cuts| cuts.starts), expected, "{idrs:?}");
    }

    #[test]
    fn cuts_at_idrs() {
        check(&[0.0], 10.0, Some(&[0.0]));
        check(&[0.0], 12.5, None);
        check(
            &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0],
            12.0,
            Some(&[0.0, 4.0, 8.0]),
        );
        check(&[0.0, 10.4, 20.8], 30.0, Some(&[0.0, 10.4, 20.8]));
        check(&[0.0, 5.0, 10.0, 15.0], 20.0, Some(&[0.0, 5.0, 10.0, 15.0]));
        check(&[0.0, 1.0, 2.0, 3.0, 5.1], 6.0, Some(&[0.0, 3.0]));
        check(&[0.0, 4.0, 8.0], 9.0, Some(&[0.0, 4.0]));
    }

    fn coded(order: &[(i64, bool)]) -> Vec<Coded> {
        order
            .iter()
            .map(|&(pts, idr)| Coded { pts, bytes: 1, idr })
            .collect()
    }

    #[test]
    fn groups_must_be_closed() {
        let (idr, other) = (true, false);
        let closed = coded(&[
            (0, idr),
            (3, other),
            (1, other),
            (2, other),
            (4, idr),
            (5, other),
        ]);
        let groups = closed_groups(&closed).unwrap();
        assert_eq!(
            groups.iter().map(|group| group.len()).collect::<Vec<_>>(),
            [4, 2]
        );
        let reordered: Vec<usize> = groups.iter().map(|group| reordering(group)).collect();
        assert_eq!(reordered, [1, 0]);
        // A picture after the second IDR is shown before it.
        assert!(closed_groups(&coded(&[(0, idr), (4, idr), (3, other)])).is_none());
        let pyramid = coded(&[(0, idr), (4, other), (2, other), (1, other), (3, other)]);
        assert_eq!(reordering(&pyramid), 2);
    }
}
