//! Sizes, times and rates as people read them. JSON has the plain numbers.

/// `3.4 MB`: powers of 1000, as file managers and disks count.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// `5.0 Mbit/s`
pub fn bit_rate(bits_per_second: u64) -> String {
    scaled(
        bits_per_second as f64,
        &["bit/s", "kbit/s", "Mbit/s", "Gbit/s"],
    )
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.95 would be written as 1000.0
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{value:.0} {}", units[0])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// `1:02:03`, `0:14`
pub fn time(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// `29.97` for `30000/1001`; `24` for `24/1`; the text itself when it is no rate.
pub fn frame_rate(rate: &str) -> String {
    let parts = rate
        .split_once('/')
        .and_then(|(num, den)| Some((num.parse::<f64>().ok()?, den.parse::<f64>().ok()?)));
    match parts {
        Some((num, den)) if den > 0.0 => {
            let text = format!("{:.2}", num / den);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => rate.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_read_them() {
        #[track_caller]
        fn check(text: String, expected: &str) {
            assert_eq!(text, expected);
        }
        check(bytes(0), "0 B");
        check(bytes(999), "999 B");
        check(bytes(1000), "1.0 kB");
        check(bytes(999_960), "1.0 MB");
        check(bytes(3_440_000), "3.4 MB");
        check(bit_rate(128_000), "128.0 kbit/s");
        check(bit_rate(15_000_000), "15.0 Mbit/s");
        check(time(0.2), "0:00");
        check(time(59.6), "1:00");
        check(time(3723.0), "1:02:03");
        check(frame_rate("30000/1001"), "29.97");
        check(frame_rate("24/1"), "24");
        check(frame_rate("0/0"), "0/0");
    }
}
