//! Frame rates as exact fractions.
//!
//! NTSC rates are 1000/1001 of a whole number (SMPTE ST 12-1), so 30000/1001 must be within 30
//! and 60000/1001 must not be within 59.94 rounded. Comparison multiplies crosswise in 128 bits
//! and can neither round nor overflow. Reading a rate from a file is the media room's job.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A positive frame rate in frames per second, kept in lowest terms.
///
/// Written as `num/den`, which is also its JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    num: u64,
    den: u64,
}

/// A text that is not a positive rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a frame rate: {0:?} (expected a positive number such as 30, 59.94 or 30000/1001)")]
pub struct ParseRateError(String);

impl Rate {
    /// `num/den` frames per second; `None` when either is zero, because such a rate is unknown.
    pub fn new(num: u64, den: u64) -> Option<Self> {
        if num == 0 || den == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(num, den);
        Some(Self {
            num: num / divisor,
            den: den / divisor,
        })
    }

    /// Numerator in lowest terms.
    pub fn num(self) -> u64 {
        self.num
    }

    /// Denominator in lowest terms.
    pub fn den(self) -> u64 {
        self.den
    }

    /// The rate for people: at most three digits after the point, no trailing zeros.
    pub fn decimal(self) -> String {
        let thousandths =
            (u128::from(self.num) * 1000 + u128::from(self.den) / 2) / u128::from(self.den);
        let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// This rate divided by a whole number; `None` on zero or where the result cannot be held.
    pub(crate) fn divided_by(self, divisor: u64) -> Option<Self> {
        Self::new(self.num, self.den.checked_mul(divisor)?)
    }

    /// The smallest whole number that brings this rate down to `limit` or below.
    pub(crate) fn steps_down_to(self, limit: Self) -> u64 {
        let quotient = (u128::from(self.num) * u128::from(limit.den))
            .div_ceil(u128::from(self.den) * u128::from(limit.num));
        u64::try_from(quotient).unwrap_or(u64::MAX)
    }

    /// Whether this rate is at least three quarters of `other`.
    pub(crate) fn is_near(self, other: Self) -> bool {
        // The quarter is taken off instead of multiplying by three: the products fill 128 bits.
        let ours = u128::from(self.num) * u128::from(other.den);
        let theirs = u128::from(self.den) * u128::from(other.num);
        ours >= theirs - theirs / 4
    }
}

impl Ord for Rate {
    fn cmp(&self, other: &Self) -> Ordering {
        let ours = u128::from(self.num) * u128::from(other.den);
        let theirs = u128::from(other.num) * u128::from(self.den);
        ours.cmp(&theirs)
    }
}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| ParseRateError(text.to_owned()))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a positive frame rate such as 30, 59.94 or \"30000/1001\"")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Rate, E> {
        Rate::new(value, 1).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Rate, E> {
        u64::try_from(value)
            .ok()
            .and_then(|value| Rate::new(value, 1))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Rate, E> {
        // The shortest decimal that reads back as this number is what the author wrote.
        parse(&value.to_string())
            .ok_or_else(|| E::invalid_value(de::Unexpected::Float(value), &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Rate, E> {
        value.parse().map_err(E::custom)
    }
}

fn parse(text: &str) -> Option<Rate> {
    if let Some((num, den)) = text.split_once('/') {
        return Rate::new(digits(num)?, digits(den)?);
    }
    let Some((whole, fraction)) = text.split_once('.') else {
        return Rate::new(digits(text)?, 1);
    };
    let den = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let num = digits(whole)?
        .checked_mul(den)?
        .checked_add(digits(fraction)?)?;
    Rate::new(num, den)
}

/// Digits only: `u64::from_str` alone would also take a leading plus sign.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_exactly_or_not_at_all() {
        let rows = [
            ("30", Some("30/1")),
            ("60000/2002", Some("30000/1001")),
            ("59.94", Some("2997/50")),
            (" 25/1 ", Some("25/1")),
            ("0", None),
            ("0/0", None),
            ("30/0", None),
            ("-30", None),
            ("+30", None),
            ("30/", None),
            ("30.", None),
            (".", None),
            ("", None),
            ("fast", None),
            ("NaN", None),
            ("99999999999999999999", None),
            ("18446744073709551615.5", None),
            ("1.00000000000000000000001", None),
        ];
        for (text, expected) in rows {
            let read = text.parse::<Rate>().ok().map(|rate| rate.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn order_is_exact_at_the_edges() {
        let rows = [
            ("30000/1001", Ordering::Less, "30"),
            ("30", Ordering::Equal, "60/2"),
            ("30001/1000", Ordering::Greater, "30"),
            ("60000/1001", Ordering::Greater, "59.94"),
            (
                "18446744073709551615/18446744073709551614",
                Ordering::Greater,
                "1",
            ),
            (
                "18446744073709551614/18446744073709551615",
                Ordering::Less,
                "1",
            ),
            (
                "18446744073709551615",
                Ordering::Greater,
                "18446744073709551614",
            ),
        ];
        for (left, expected, right) in rows {
            let ours: Rate = left.parse().unwrap();
            let theirs: Rate = right.parse().unwrap();
            assert_eq!(ours.cmp(&theirs), expected, "{left} against {right}");
        }
    }

    #[test]
    fn decimals_are_short() {
        for (text, expected) in [
            ("30", "30"),
            ("30000/1001", "29.97"),
            ("24000/1001", "23.976"),
            ("1/3", "0.333"),
            ("100", "100"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().decimal(), expected);
        }
    }
}
