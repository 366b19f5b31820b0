//! Times as IPNS records have them: RFC 3339 with nanoseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// `1970-01-01T00:00:00.000000001Z`. Times before that year are shown as its start.
pub(super) fn format(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / DAY, since.as_secs() % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Reads a time of 1970 or later; `None` if it is none.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| digits(&text[from..to]);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !separators.iter().all(|(at, c)| text.as_bytes()[*at] == *c) {
        return None;
    }
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second is one.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, zone) = fraction(&text[19..])?;
    let local = days * DAY + hour * 3600 + minute * 60 + second;
    let seconds = local.checked_add_signed(-offset(zone)?)?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// Nanoseconds, if there are any, and what follows them.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    // Finer than a nanosecond is cut.
    let digits_kept = &rest[..end.min(9)];
    let nanos = digits(digits_kept)? * 10_u64.pow(9 - digits_kept.len() as u32);
    Some((nanos as u32, &rest[end..]))
}

/// Seconds by which local time is ahead.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let seconds = (digits(hours)? * 3600 + digits(minutes)? * 60) as i64;
    match zone.as_bytes()[0] {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 of a date in the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    // The 30th of February would be another day's name.
    (date(days) == (year, month, day)).then_some(days)
}

/// Days from 1970 to the first of a month. Years that start in March have their leap day last.
fn days_before(year: u64, month: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719 468 days lie between the first of March of the year 0 and 1970.
    year * 365 + leap_days + (month * 153 + 2) / 5 - 719_468
}

fn date(days: u64) -> (u64, u64, u64) {
    // No year has fewer than 365 days, so this is the year or one after it.
    let mut year = 1970 + days / 365;
    while days_before(year, 1) > days {
        year -= 1;
    }
    let month = (1..=12)
        .rev()
        .find(|month| days_before(year, *month) <= days)
        .unwrap_or(1);
    (year, month, days - days_before(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let rows = [
            ("1970-01-01T00:00:00.000000001Z", Some((0, 1))),
            ("2026-11-20T16:06:44.5Z", Some((1_795_190_804, 500_000_000))),
            ("2000-02-29T12:00:00Z", Some((951_825_600, 0))),
            ("2000-02-29T12:00:00+01:30", Some((951_820_200, 0))),
            (
                "2000-02-29T12:00:00.1234567899-00:30",
                Some((951_827_400, 123_456_789)),
            ),
            ("2123-06-15T07:08:09.000000000Z", Some((4_842_486_489, 0))),
            ("2100-02-29T12:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-04-31T00:00:00Z", None),
            ("2026-04-30T24:00:00Z", None),
            ("2026-04-30T00:00:00", None),
            ("2026-04-30 00:00:00Z", None),
            ("2026-04-30T00:00:00.Z", None),
            ("2026-04-30T00:00:00+1:00", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-04-3ßT00:00:00Z", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let time = expected.map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos));
            assert_eq!(parse(text), time, "{text}");
        }
    }

    #[test]
    fn roundtrip_times() {
        // Each day of four hundred years, at another second.
        for day in 0..146_097 {
            let time = UNIX_EPOCH + Duration::new(day * DAY + day % DAY, day as u32);
            assert_eq!(parse(&format(time)), Some(time), "{}", format(time));
        }
    }
}
