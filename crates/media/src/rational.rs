//! Exact fractions: time bases, frame rates and sample aspects.
//!
//! Rates such as 30000/1001 stay fractions everywhere; a float appears only where a person reads.

use std::fmt;

use ffmpeg_sys_the_third::{AVRational, AVRounding, av_rescale_q_rnd};
use serde::{Serialize, Serializer};

/// A fraction. Serialises as `"num/den"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rational {
    /// Numerator.
    pub num: i32,
    /// Denominator; 0 only in an unknown value, which no public field holds.
    pub den: i32,
}

impl Rational {
    /// One to one: square pixels.
    pub const ONE: Self = Self::new(1, 1);

    /// `num/den` as written, not reduced.
    pub const fn new(num: i32, den: i32) -> Self {
        Self { num, den }
    }

    /// The fraction with numerator and denominator exchanged: a frame's duration from its rate.
    pub const fn inverse(self) -> Self {
        Self::new(self.den, self.num)
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Lowest terms.
    #[must_use]
    pub fn reduced(self) -> Self {
        let divisor = gcd(self.num.unsigned_abs(), self.den.unsigned_abs()).max(1);
        match i32::try_from(divisor) {
            Ok(divisor) => Self::new(self.num / divisor, self.den / divisor),
            Err(_) => self,
        }
    }

    /// Whether both parts are above zero, as every time base, rate and aspect in use must be.
    pub const fn is_positive(self) -> bool {
        self.num > 0 && self.den > 0
    }

    /// `ticks` of this time base expressed in ticks of `to`, rounded to nearest, ties away from
    /// zero.
    pub fn rescale(self, ticks: i64, to: Self) -> i64 {
        if !self.is_positive() || !to.is_positive() {
            return ticks;
        }
        // SAFETY: a pure function over integers; both fractions were checked to be positive,
        // which is all that it asks for.
        unsafe { av_rescale_q_rnd(ticks, self.raw(), to.raw(), AVRounding::NEAR_INF) }
    }

    /// Seconds that `ticks` of this time base last.
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num) / f64::from(self.den)
    }

    pub(crate) const fn raw(self) -> AVRational {
        AVRational {
            num: self.num,
            den: self.den,
        }
    }

    /// `None` for libav's unknown values (0/0, 0/1, x/0) and for negative ones.
    pub(crate) fn known(raw: AVRational) -> Option<Self> {
        let value = Self::new(raw.num, raw.den);
        value.is_positive().then(|| value.reduced())
    }

    pub(crate) const fn from_raw(raw: AVRational) -> Self {
        Self::new(raw.num, raw.den)
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl fmt::Display for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl Serialize for Rational {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescales_and_reduces() {
        let rows = [
            ((1, 25), 3, (1, 90_000), 10_800),
            ((1001, 30_000), 1, (1, 90_000), 3003),
            ((1, 90_000), 45, (1, 1000), 1),
            ((1, 90_000), -45, (1, 1000), -1),
        ];
        for ((n, d), ticks, (tn, td), expected) in rows {
            let scaled = Rational::new(n, d).rescale(ticks, Rational::new(tn, td));
            assert_eq!(scaled, expected, "{ticks} of {n}/{d}");
        }
        assert_eq!(Rational::new(50, 2).reduced(), Rational::new(25, 1));
        assert_eq!(Rational::known(AVRational { num: 0, den: 1 }), None);
    }
}
