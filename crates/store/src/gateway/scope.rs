//! Which blocks a CAR has: `dag-scope` and `entity-bytes` (trustless gateway specification).

use std::ops::Range;

use super::{Refusal, query::Query};
use crate::dag::walk::Scope;

/// What the URL asks for, before it is known of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Block,
    Entity,
    /// First and last byte; negative numbers count from the end, no last one is the end.
    Bytes(i64, Option<i64>),
    All,
}

impl Wish {
    pub fn parse(query: &Query) -> Result<Self, Refusal> {
        let bad = |what: &str, value: &str| {
            Err(Refusal::BadRequest(format!(
                "{what}={value:?} is not understood"
            )))
        };
        // Bytes are those of an entity, whatever else is said.
        if let Some(text) = &query.entity_bytes {
            return bytes(text).map_or_else(|| bad("entity-bytes", text), Ok);
        }
        match query.dag_scope.as_deref() {
            None | Some("all") => Ok(Self::All),
            Some("entity") => Ok(Self::Entity),
            Some("block") => Ok(Self::Block),
            Some(other) => bad("dag-scope", other),
        }
    }

    /// The scope of a walk from a file of so many bytes, or from what is no file.
    pub fn of(self, file: Option<u64>) -> Result<Scope, Refusal> {
        match (self, file) {
            (Self::All, _) => Ok(Scope::All),
            (Self::Block, _) => Ok(Scope::Block),
            (Self::Entity, _) | (Self::Bytes(..), None) => Ok(Scope::Entity),
            (Self::Bytes(first, last), Some(size)) => within(first, last, size),
        }
    }

    /// For entity tags.
    pub fn tag(self) -> String {
        match self {
            Self::All => "all".into(),
            Self::Block => "block".into(),
            Self::Entity => "entity".into(),
            Self::Bytes(first, Some(last)) => format!("entity.{first}:{last}"),
            Self::Bytes(first, None) => format!("entity.{first}:*"),
        }
    }
}

fn bytes(text: &str) -> Option<Wish> {
    let (first, last) = text.split_once(':')?;
    let last = match last {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    Some(Wish::Bytes(first.parse().ok()?, last))
}

fn within(first: i64, last: Option<i64>, size: u64) -> Result<Scope, Refusal> {
    let from_start = |at: i64| match u64::try_from(at) {
        Ok(at) => at,
        Err(_) => size.saturating_sub(at.unsigned_abs()),
    };
    let start = from_start(first);
    let end = match last {
        // Before the first byte, when so many are not there.
        Some(last) if last < 0 && last.unsigned_abs() > size => 0,
        Some(last) => from_start(last).saturating_add(1).min(size),
        None => size,
    };
    if start >= size && size > 0 {
        return Err(Refusal::BadRequest(format!(
            "entity-bytes starts at byte {start}; the content has {size}"
        )));
    }
    if start >= end && size > 0 {
        return Ok(Scope::Block);
    }
    if (start, end) == (0, size) {
        // With parts that have no bytes.
        return Ok(Scope::Entity);
    }
    Ok(Scope::Bytes(Range { start, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_granted() {
        let part = |start, end| Ok(Scope::Bytes(Range { start, end }));
        let rows: [(&str, Option<u64>, Result<Scope, ()>); 23] = [
            ("", Some(10), Ok(Scope::All)),
            ("dag-scope=all", Some(10), Ok(Scope::All)),
            ("dag-scope=block", Some(10), Ok(Scope::Block)),
            ("dag-scope=entity", Some(10), Ok(Scope::Entity)),
            ("dag-scope=file", Some(10), Err(())),
            ("entity-bytes=0:*", Some(10), Ok(Scope::Entity)),
            ("entity-bytes=0:*", None, Ok(Scope::Entity)),
            ("entity-bytes=0:*", Some(0), Ok(Scope::Entity)),
            ("dag-scope=all&entity-bytes=2:4", Some(10), part(2, 5)),
            ("entity-bytes=0:0", Some(10), part(0, 1)),
            ("entity-bytes=5:*", Some(10), part(5, 10)),
            ("entity-bytes=5:99", Some(10), part(5, 10)),
            ("entity-bytes=-3:*", Some(10), part(7, 10)),
            ("entity-bytes=-99:-3", Some(10), part(0, 8)),
            ("entity-bytes=2:-3", Some(10), part(2, 8)),
            ("entity-bytes=-99:*", Some(10), Ok(Scope::Entity)),
            ("entity-bytes=5:3", Some(10), Ok(Scope::Block)),
            ("entity-bytes=0:-99", Some(10), Ok(Scope::Block)),
            ("entity-bytes=10:*", Some(10), Err(())),
            (
                "entity-bytes=9223372036854775807:-9223372036854775808",
                Some(1),
                Err(()),
            ),
            ("entity-bytes=1", Some(10), Err(())),
            ("entity-bytes=*:1", Some(10), Err(())),
            ("entity-bytes=99999999999999999999:*", Some(10), Err(())),
        ];
        for (query, file, expected) in rows {
            let scope = Wish::parse(&Query::parse(query)).and_then(|wish| wish.of(file));
            assert_eq!(scope.map_err(|_| ()), expected, "{query} of {file:?}");
        }
    }
}
