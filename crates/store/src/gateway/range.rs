//! The `Range` header (RFC 9110 section 14): of several ranges of bytes the first is given, as the
//! path gateway specification allows, and what is malformed or of another unit is ignored.

use http::{HeaderMap, header};

/// Which part of the content to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Whole,
    /// At least one byte, within the content.
    Part {
        start: u64,
        len: u64,
    },
    Unsatisfiable,
}

/// Reads the request's range for content of `size` bytes.
pub(super) fn parse(headers: &HeaderMap, size: u64) -> Range {
    let mut lines = headers.get_all(header::RANGE).into_iter();
    match (lines.next().map(|line| line.to_str()), lines.next()) {
        (Some(Ok(line)), None) => parse_line(line, size).unwrap_or(Range::Whole),
        _ => Range::Whole,
    }
}

fn parse_line(line: &str, size: u64) -> Option<Range> {
    let (unit, set) = line.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    // A list may have empty members.
    let members = set.split(',').map(str::trim).filter(|m| !m.is_empty());
    let ranges: Vec<_> = members
        .map(|member| one(member, size))
        .collect::<Option<_>>()?;
    let part = ranges
        .iter()
        .find(|range| matches!(range, Range::Part { .. }));
    part.or(ranges.first()).copied()
}

/// One member of the list; `None` spoils the whole.
fn one(member: &str, size: u64) -> Option<Range> {
    let (first, last) = member.split_once('-')?;
    let (start, end) = match (first, last) {
        ("", suffix) => match (number(suffix)?, size) {
            (0, _) => return Some(Range::Unsatisfiable),
            // Satisfiable by the letter, yet `Content-Range` cannot say "no bytes".
            (_, 0) => return None,
            (suffix, _) => (size.saturating_sub(suffix), size - 1),
        },
        (first, "") => (number(first)?, u64::MAX),
        (first, last) => (number(first)?, number(last)?),
    };
    if start > end {
        // "5-" of fewer bytes than 5 is unsatisfiable, "5-3" is no range.
        return last.is_empty().then_some(Range::Unsatisfiable);
    }
    if start >= size {
        return Some(Range::Unsatisfiable);
    }
    let len = end.min(size - 1) - start + 1;
    Some(Range::Part { start, len })
}

/// Digits only; what does not fit is as large as can be.
fn number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |start, len| Range::Part { start, len };
        use Range::{Unsatisfiable, Whole};
        let rows: &[(&str, u64, Range)] = &[
            ("bytes=0-4", 10, part(0, 5)),
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=9-9", 10, part(9, 1)),
            ("bytes=5-", 10, part(5, 5)),
            ("bytes=0-", 10, part(0, 10)),
            ("bytes=5-99", 10, part(5, 5)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-99", 10, part(0, 10)),
            ("Bytes = 1-2", 10, part(1, 2)),
            ("bytes=, 1-2 ,", 10, part(1, 2)),
            ("bytes=3-99999999999999999999999", 10, part(3, 7)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-12", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Whole),
            ("bytes=5-3", 10, Whole),
            ("bytes=0-1,4-5", 10, part(0, 2)),
            ("bytes=99-,4-5", 10, part(4, 2)),
            ("bytes=99-,88-", 10, Unsatisfiable),
            ("bytes=4-5,b", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1 - 2", 10, Whole),
            ("bytes", 10, Whole),
            ("items=0-4", 10, Whole),
            ("", 10, Whole),
        ];
        for (line, size, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, line.parse().unwrap());
            assert_eq!(parse(&headers, *size), *expected, "{line:?} of {size}");
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::RANGE, "bytes=0-1".parse().unwrap());
        headers.append(header::RANGE, "bytes=2-3".parse().unwrap());
        assert_eq!(parse(&headers, 10), Range::Whole);
    }
}
