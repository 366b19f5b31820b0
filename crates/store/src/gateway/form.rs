//! In which form content is wanted: by `format=` in the URL, else by `Accept` (path gateway
//! specification; IPIP-523: the URL counts more), with the parameters that CAR has in either.

use http::{HeaderMap, header};

use super::{RAW_TYPE, Refusal, list_values, query::Query};
use crate::dag::DAG_CBOR;

pub(super) const CAR_TYPE: &str = "application/vnd.ipld.car";
pub(super) const RECORD_TYPE: &str = "application/vnd.ipfs.ipns-record";

/// What the client wants of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The file, or what is in the directory.
    File,
    /// The block itself.
    Block,
    /// The blocks of a graph.
    Car {
        /// A block as often as it is met.
        duplicates: bool,
    },
    /// The signed record of a name.
    Record,
    /// The block, if it is of this codec.
    Codec(u64),
}

/// A form, and how it was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub form: Form,
    /// The URL alone does not say it, or says otherwise than `Accept`.
    pub negotiated: bool,
}

/// Codecs whose blocks are documents: their name in `format=`, their media type, and whether that
/// type in `Accept` means the block. `application/json` may as well mean a file with JSON in it.
const DOCUMENTS: &[(&str, &str, u64, bool)] = &[
    ("dag-json", "application/vnd.ipld.dag-json", 0x0129, true),
    ("dag-cbor", "application/vnd.ipld.dag-cbor", DAG_CBOR, true),
    ("json", "application/json", 0x0200, false),
    ("cbor", "application/cbor", 0x51, true),
];

/// The media type of a codec whose blocks are documents.
pub(super) fn document_type(codec: u64) -> Option<&'static str> {
    let row = DOCUMENTS.iter().find(|(_, _, known, _)| *known == codec);
    row.map(|(_, mime, _, _)| *mime)
}

impl Form {
    /// Its name in `format=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "",
            Self::Block => "raw",
            Self::Car { .. } => "car",
            Self::Record => "ipns-record",
            Self::Codec(codec) => DOCUMENTS
                .iter()
                .find(|(_, _, known, _)| *known == codec)
                .map_or("", |(name, ..)| name),
        }
    }
}

/// Chooses the form of an answer.
pub(super) fn choose(query: &Query, headers: &HeaderMap) -> Result<Choice, Refusal> {
    let accepted = by_accept(headers);
    let Some(format) = &query.format else {
        let form = accepted?.unwrap_or(Form::File);
        return Ok(Choice {
            form: with_parameters(form, query)?,
            negotiated: form != Form::File,
        });
    };
    let wanted = by_name(format)?;
    let (form, other) = match (wanted, accepted) {
        // The parameters of a CAR may come by `Accept` even so.
        (Form::Car { .. }, Ok(Some(car @ Form::Car { .. }))) => (car, false),
        (_, Ok(Some(accepted))) => (wanted, accepted != Form::File && accepted != wanted),
        _ => (wanted, false),
    };
    Ok(Choice {
        form: with_parameters(form, query)?,
        negotiated: other,
    })
}

fn by_name(format: &str) -> Result<Form, Refusal> {
    let document = DOCUMENTS.iter().find(|(name, ..)| *name == format);
    match (format, document) {
        ("raw", _) => Ok(Form::Block),
        ("car", _) => Ok(Form::Car { duplicates: false }),
        ("ipns-record", _) => Ok(Form::Record),
        (_, Some((_, _, codec, _))) => Ok(Form::Codec(*codec)),
        _ => Err(Refusal::NotAcceptable(format!(
            "format {format:?} is not offered; there are the file itself, raw, car and ipns-record"
        ))),
    }
}

/// Chooses what `Accept` likes best of what is offered, the first of several that it likes the
/// same. Kinds of the content itself, as `video/*`, take the file, as HTTP allows. `None`: it does
/// not say.
fn by_accept(headers: &HeaderMap) -> Result<Option<Form>, Refusal> {
    let mut best: Option<(u32, Form)> = None;
    let mut refused = None;
    for entry in list_values(headers, header::ACCEPT) {
        let range = MediaRange::parse(entry);
        if range.weight == 0 {
            continue;
        }
        match range.form() {
            Some(form) if best.is_none_or(|(weight, _)| weight < range.weight) => {
                best = Some((range.weight, form));
            }
            Some(_) => {}
            None => refused = Some(range.kind),
        }
    }
    match (best, refused) {
        (Some((_, form)), _) => Ok(Some(form)),
        (None, None) => Ok(None),
        (None, Some(kind)) => Err(Refusal::NotAcceptable(format!(
            "{kind} is not offered; there are the file itself, {RAW_TYPE}, {CAR_TYPE} and, of \
             names, {RECORD_TYPE}"
        ))),
    }
}

/// One member of `Accept` (RFC 9110 section 12.5.1).
struct MediaRange {
    kind: String,
    parameters: Vec<(String, String)>,
    /// In thousandths.
    weight: u32,
}

impl MediaRange {
    fn parse(entry: &str) -> Self {
        let mut parts = entry.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| {
                let value = value.trim().trim_matches('"');
                (name.trim().to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        let mut range = Self {
            kind,
            parameters,
            weight: 1000,
        };
        if let Some(quality) = range.parameter("q").and_then(|q| q.parse::<f32>().ok()) {
            range.weight = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
        }
        range
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What is offered of the kind; `None` if nothing is.
    fn form(&self) -> Option<Form> {
        let document = DOCUMENTS
            .iter()
            .find(|(_, mime, _, by_accept)| *by_accept && *mime == self.kind);
        match self.kind.as_str() {
            RAW_TYPE => Some(Form::Block),
            RECORD_TYPE => Some(Form::Record),
            CAR_TYPE => self.car(),
            "application/x-tar" => None,
            _ if document.is_some() => document.map(|(_, _, codec, _)| Form::Codec(*codec)),
            kind if kind.starts_with("application/vnd.ipld.") => None,
            _ => Some(Form::File),
        }
    }

    fn car(&self) -> Option<Form> {
        let is = |name, known: &[&str]| {
            self.parameter(name)
                .is_none_or(|value| value.is_empty() || known.contains(&value))
        };
        // An order that is not known is none that was asked for: answers say theirs.
        let offered = is("version", &["1"]) && is("dups", &["y", "n"]);
        offered.then(|| Form::Car {
            duplicates: self.parameter("dups") == Some("y"),
        })
    }
}

/// What the URL says of a CAR counts more than what `Accept` says.
fn with_parameters(form: Form, query: &Query) -> Result<Form, Refusal> {
    let Form::Car { mut duplicates } = form else {
        return Ok(form);
    };
    let refuse = |what: &str, value: &str| {
        Err(Refusal::NotAcceptable(format!(
            "{what}={value:?} is not offered"
        )))
    };
    match query.car_version.as_deref() {
        None | Some("1") => {}
        Some(other) => return refuse("car-version", other),
    }
    match query.car_order.as_deref() {
        // Depth first is an order like any other to those who do not mind.
        None | Some("dfs" | "unk") => {}
        Some(other) => return refuse("car-order", other),
    }
    match query.car_dups.as_deref() {
        None => {}
        Some("y") => duplicates = true,
        Some("n") => duplicates = false,
        Some(other) => return refuse("car-dups", other),
    }
    Ok(Form::Car { duplicates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_chosen() {
        let car = |duplicates| Some((Form::Car { duplicates }, true));
        let named_car = |duplicates| Some((Form::Car { duplicates }, false));
        let file = Some((Form::File, false));
        type Row<'a> = (&'a str, &'a str, Option<(Form, bool)>);
        let rows: [Row<'_>; 26] = [
            ("", "", file),
            ("", "*/*", file),
            ("", "video/mp2t", file),
            ("", "application/json", file),
            ("", "text/html,application/xml;q=0.9,*/*;q=0.8", file),
            ("", RAW_TYPE, Some((Form::Block, true))),
            ("", "application/vnd.ipld.raw;q=0, */*", file),
            (
                "",
                "application/vnd.ipld.raw;q=0.5, application/vnd.ipld.car",
                car(false),
            ),
            (
                "",
                "application/vnd.ipld.car;q=0.5, application/vnd.ipld.raw;q=0.9",
                Some((Form::Block, true)),
            ),
            (
                "",
                "Application/vnd.ipld.CAR; Version=1; dups=\"y\"",
                car(true),
            ),
            ("", "application/vnd.ipld.car; order=unk", car(false)),
            ("", "application/vnd.ipld.car; version=2", None),
            ("", "application/vnd.ipld.car; version=2, */*;q=0.1", file),
            (
                "",
                "application/vnd.ipld.dag-cbor",
                Some((Form::Codec(DAG_CBOR), true)),
            ),
            ("", "application/x-tar", None),
            ("", RECORD_TYPE, Some((Form::Record, true))),
            ("format=raw", CAR_TYPE, Some((Form::Block, true))),
            ("format=raw", "*/*", Some((Form::Block, false))),
            (
                "format=car",
                "application/vnd.ipld.car; dups=y",
                named_car(true),
            ),
            (
                "format=car&car-dups=n",
                "application/vnd.ipld.car; dups=y",
                named_car(false),
            ),
            (
                "format=car&car-order=dfs",
                "application/vnd.ipld.car; order=unk",
                named_car(false),
            ),
            ("format=car&car-order=bfs", "", None),
            ("format=car&car-version=2", "", None),
            ("format=car&car-dups=maybe", "", None),
            ("format=tar", "", None),
            ("format=json", "", Some((Form::Codec(0x0200), false))),
        ];
        for (query, accept, expected) in rows {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            let chosen = choose(&Query::parse(query), &headers).ok();
            let chosen = chosen.map(|choice| (choice.form, choice.negotiated));
            assert_eq!(chosen, expected, "{query} {accept}");
        }
    }
}
