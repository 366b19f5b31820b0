//! The query of a gateway URL: `format`, `filename`, `download` and what says which blocks a CAR
//! has; the first of each counts and others are ignored.

/// The parameters that mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// As given, for repeating it.
    text: String,
    pub format: Option<String>,
    pub filename: Option<String>,
    pub download: bool,
    pub dag_scope: Option<String>,
    pub entity_bytes: Option<String>,
    pub car_version: Option<String>,
    pub car_order: Option<String>,
    pub car_dups: Option<String>,
}

impl Query {
    pub fn parse(text: &str) -> Self {
        let mut query = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        let mut download = None;
        for pair in text.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) else {
                continue;
            };
            let field = match key.as_str() {
                "format" => &mut query.format,
                "filename" => &mut query.filename,
                "dag-scope" => &mut query.dag_scope,
                "entity-bytes" => &mut query.entity_bytes,
                "car-version" => &mut query.car_version,
                "car-order" => &mut query.car_order,
                "car-dups" => &mut query.car_dups,
                "download" => {
                    download.get_or_insert(value == "true");
                    continue;
                }
                _ => continue,
            };
            if !value.is_empty() {
                field.get_or_insert(value);
            }
        }
        query.download = download.unwrap_or(false);
        query
    }

    /// The first value of one parameter.
    pub fn parse_one(text: &str, name: &str) -> Option<String> {
        text.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| unescape(value, true)).flatten()
        })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Undoes percent-encoding, and in queries `+` for a space. `None` if that is not UTF-8; a percent
/// sign that starts no escape stays.
pub(super) fn unescape(text: &str, plus: bool) -> Option<String> {
    let hex = |b: &u8| (*b as char).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = match after {
            [high, low, ..] if *first == b'%' => hex(high).zip(hex(low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &after[2..];
            }
            None if *first == b'+' && plus => out.push(b' '),
            None => out.push(*first),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let row = |format: Option<&str>, filename: Option<&str>, download| {
            (
                format.map(str::to_owned),
                filename.map(str::to_owned),
                download,
            )
        };
        let rows = [
            ("", row(None, None, false)),
            ("format=raw", row(Some("raw"), None, false)),
            ("format=raw&format=car", row(Some("raw"), None, false)),
            ("format=", row(None, None, false)),
            ("filename=a%20b+c.ts", row(None, Some("a b c.ts"), false)),
            (
                "filename=%C3%BC.mp4&download=true",
                row(None, Some("ü.mp4"), true),
            ),
            ("download=1", row(None, None, false)),
            ("filename=%FF&x", row(None, None, false)),
            (
                "filename=100%&download=true&download=false",
                row(None, Some("100%"), true),
            ),
        ];
        for (text, expected) in rows {
            let query = Query::parse(text);
            assert_eq!(
                (query.format, query.filename, query.download),
                expected,
                "{text}"
            );
        }
    }
}
