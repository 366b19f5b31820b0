//! Timestamps as files have them, made fit to cut by.
//!
//! Containers promise that decode times rise. Real ones start anywhere, jump where recordings were
//! joined, run backwards when damaged, or are missing. [`Timeline`] closes the jumps of one stream
//! in packet order; [`FrameClock`] makes the display times of decoded pictures rise. Both depend on
//! what they were fed alone, so two passes over a file agree.

use media::{Packet, Rational};

use crate::sample::TICKS;

/// The unit of this crate's times.
pub const TICK: Rational = Rational::new(1, TICKS as i32);

/// A pause longer than this is a jump of the clock, not a picture that stands so long.
const LONGEST_PAUSE_S: i64 = 600;

/// The same in containers whose clock may jump by design, where FFmpeg draws the line here too.
const LONGEST_PAUSE_BROADCAST_S: i64 = 10;

/// FFmpeg's names of those containers.
const BROADCAST: [&str; 3] = ["mpegts", "mpeg", "ogg"];

/// Decode times that run back less than this are missing decode times: the display times of
/// reordered pictures stand in for them.
const REORDERING_S: i64 = 1;

/// Pictures nearer than this (a millisecond) are one picture; no screen shows a thousand a second.
pub const LEAST_DISTANCE: i64 = TICKS / 1000;

/// Where `ticks` of a stream lie in 90 kHz ticks; absurd values stay representable.
pub fn to_ticks(ticks: i64, time_base: Rational) -> i64 {
    const BOUND: i128 = i64::MAX as i128 / 4;
    let (num, den) = (i128::from(time_base.num), i128::from(time_base.den.max(1)));
    let scaled = (i128::from(ticks) * num * i128::from(TICKS) + den / 2).div_euclid(den);
    scaled.clamp(-BOUND, BOUND) as i64
}

/// Follows the packets of one stream and closes jumps.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Added to all timestamps since the last jump, in the stream's time base.
    shift: i64,
    /// Latest decode time, shifted.
    latest: Option<i64>,
    /// One picture's duration, in the stream's time base.
    nominal: i64,
    /// One second and the longest pause, in the stream's time base.
    second: i64,
    pause: i64,
    /// Jumps closed so far.
    pub jumps: u32,
}

impl Timeline {
    /// For a stream in this kind of container, in which a packet lasts `nominal` 90 kHz ticks.
    pub fn new(container: &str, time_base: Rational, nominal: i64) -> Timeline {
        let broadcast = BROADCAST.contains(&container);
        let pause_s = if broadcast {
            LONGEST_PAUSE_BROADCAST_S
        } else {
            LONGEST_PAUSE_S
        };
        let nominal = TICK.rescale(nominal, time_base).max(1);
        let second = Rational::ONE.rescale(1, time_base).max(1);
        Timeline {
            shift: 0,
            latest: None,
            nominal,
            second,
            pause: second.saturating_mul(pause_s),
            jumps: 0,
        }
    }

    /// A picture is decoded shortly before it is shown. Where the two times contradict each other
    /// the one that lies further ahead is the damaged one.
    fn believable(&self, pts: Option<i64>, dts: Option<i64>) -> (Option<i64>, Option<i64>) {
        let (Some(shown), Some(decoded)) = (pts, dts) else {
            return (pts, dts);
        };
        let second = self.second.saturating_mul(REORDERING_S);
        if decoded > shown.saturating_add(second) {
            (pts, None)
        } else if shown > decoded.saturating_add(second.saturating_mul(LONGEST_PAUSE_BROADCAST_S)) {
            (None, dts)
        } else {
            (pts, dts)
        }
    }

    /// Moves the next packet of the stream onto the repaired clock. A packet with no timestamp at
    /// all follows the one before.
    pub fn place(&mut self, packet: &mut Packet) {
        let (pts, dts) = self.believable(packet.pts(), packet.dts());
        let stamp = dts.or(pts);
        let follows = self
            .latest
            .map(|latest| latest.saturating_add(self.nominal));
        let Some(stamp) = stamp else {
            let made = follows.unwrap_or(0);
            self.latest = Some(made);
            packet.set_timestamps(None, Some(made));
            return;
        };
        self.moved(stamp);
        let shifted = |time: Option<i64>| time.map(|time| time.saturating_add(self.shift));
        packet.set_timestamps(shifted(pts), shifted(dts));
    }

    /// Where a time lies on the repaired clock.
    pub fn moved(&mut self, stamp: i64) -> i64 {
        if let Some(latest) = self.latest {
            let placed = stamp.saturating_add(self.shift);
            let back = placed < latest.saturating_sub(REORDERING_S * self.second);
            let ahead = placed > latest.saturating_add(self.pause);
            if back || ahead {
                let follows = latest.saturating_add(self.nominal);
                self.shift = follows.saturating_sub(stamp);
                self.jumps += 1;
            }
        }
        let placed = stamp.saturating_add(self.shift);
        self.latest = Some(self.latest.map_or(placed, |latest| latest.max(placed)));
        placed
    }
}

/// Gives decoded pictures display times that start at 0 and rise.
#[derive(Debug, Clone)]
pub struct FrameClock {
    time_base: Rational,
    origin: i64,
    nominal: i64,
    last: Option<i64>,
    /// Pictures whose time had to be changed.
    pub repaired: u32,
}

impl FrameClock {
    /// `origin` is the first picture's time in the stream's time base, `nominal` a picture's
    /// duration in 90 kHz ticks.
    pub fn new(time_base: Rational, origin: i64, nominal: i64) -> FrameClock {
        FrameClock {
            time_base,
            origin,
            nominal,
            last: None,
            repaired: 0,
        }
    }

    /// When the next picture is shown. `None` when it is too near to the one before to be shown.
    pub fn next(&mut self, pts: Option<i64>) -> Option<i64> {
        let given = pts.map(|pts| to_ticks(pts.saturating_sub(self.origin), self.time_base));
        let follows = self.last.map_or(0, |last| last + self.nominal);
        let time = match (given, self.last) {
            (Some(given), None) if given >= 0 => given,
            (Some(given), Some(last)) if given > last => given,
            (None, _) => follows,
            _ => {
                self.repaired += 1;
                follows
            }
        };
        if self.last.is_some_and(|last| time < last + LEAST_DISTANCE) {
            return None;
        }
        self.last = Some(time);
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Rational = Rational::new(1, 1000);

    type Stamps = (Option<i64>, Option<i64>);

    fn check(packets: &[Stamps], expected: &[Stamps], jumps: u32) {
        let mut timeline = Timeline::new("matroska,webm", MS, 3600);
        let placed: Vec<Stamps> = packets
            .iter()
            .map(|&(pts, dts)| {
                let mut packet = Packet::from_data(&[0], MS).unwrap();
                packet.set_timestamps(pts, dts);
                timeline.place(&mut packet);
                (packet.pts(), packet.dts())
            })
            .collect();
        assert_eq!(
            (placed.as_slice(), timeline.jumps),
            (expected, jumps),
            "{packets:?}"
        );
    }

    #[test]
    fn jumps_are_closed() {
        let at = |pts: i64, dts: i64| (Some(pts), Some(dts));
        check(&[at(80, 0), at(120, 40)], &[at(80, 0), at(120, 40)], 0);
        check(
            &[at(5000, 5000), at(0, 0)],
            &[at(5000, 5000), at(5040, 5040)],
            1,
        );
        check(
            &[at(0, 0), at(599_000, 599_000)],
            &[at(0, 0), at(599_000, 599_000)],
            0,
        );
        // Damaged decode and display times among good ones.
        check(
            &[at(0, 0), at(40, 9040), at(20_080, 80), at(120, 120)],
            &[at(0, 0), (Some(40), None), (None, Some(80)), at(120, 120)],
            0,
        );
        let far = i64::MAX - 5;
        check(
            &[at(0, 0), at(far, far), at(0, 0)],
            &[at(0, 0), at(40, 40), at(80, 80)],
            2,
        );
        check(
            &[at(0, 0), (None, None), (Some(80), None)],
            &[at(0, 0), (None, Some(40)), (Some(80), None)],
            0,
        );
    }

    #[test]
    fn pictures_rise_from_zero() {
        let check = |times: &[Option<i64>], expected: &[Option<i64>], repaired: u32| {
            let mut clock = FrameClock::new(MS, 1000, 3600);
            let found: Vec<Option<i64>> = times.iter().map(|&pts| clock.next(pts)).collect();
            assert_eq!(
                (found.as_slice(), clock.repaired),
                (expected, repaired),
                "{times:?}"
            );
        };
        check(&[Some(1000), Some(1040)], &[Some(0), Some(3600)], 0);
        check(
            &[None, None, Some(1100)],
            &[Some(0), Some(3600), Some(9000)],
            0,
        );
        check(
            &[Some(1000), Some(1000), Some(990)],
            &[Some(0), Some(3600), Some(7200)],
            2,
        );
        check(&[Some(900), Some(1040)], &[Some(0), Some(3600)], 1);
        check(
            &[Some(1000), Some(1000 + (1 << 60))],
            &[Some(0), Some(i64::MAX / 4)],
            0,
        );
    }
}
