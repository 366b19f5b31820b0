//! What a URL's path asks for: `/ipfs/<cid>[/path]`, `/ipfs-ts/<cid>[/path]`, `/ipns/<name>[/path]`.

use super::{Refusal, query::unescape};
use crate::{
    dag::AnyCid,
    ipns::{self, LIBP2P_KEY},
};

/// Where a path starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Cid(AnyCid),
    Name(ipns::Name),
}

/// A path, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address<'a> {
    /// As requested.
    pub path: &'a str,
    /// `/ipfs-ts/`: say `video/mp2t` whatever is known of the content.
    pub transport_stream: bool,
    pub root: Root,
    /// The root as it was written.
    pub root_text: &'a str,
    /// The segments after the root, unescaped; empty ones do not count.
    pub segments: Vec<String>,
    /// Everything after the root, as requested.
    pub below: &'a str,
}

impl<'a> Address<'a> {
    pub fn parse(path: &'a str) -> Result<Self, Refusal> {
        let Some((space, rest)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
        else {
            return Err(nothing(path));
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (root_text, below) = rest.split_at(end);
        let root = match space {
            "ipfs" | "ipfs-ts" => Root::Cid(cid(root_text)?),
            "ipns" => Root::Name(name(root_text)?),
            _ => return Err(nothing(path)),
        };
        let segments: Option<Vec<_>> = below
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| unescape(segment, false))
            .collect();
        Ok(Self {
            path,
            transport_stream: space == "ipfs-ts",
            root,
            root_text,
            segments: segments.ok_or_else(|| bad("the path is not UTF-8".into()))?,
            below,
        })
    }

    /// Whether it asks for what is in a directory rather than for the directory.
    pub fn ends_in_slash(&self) -> bool {
        self.below.ends_with('/')
    }
}

fn nothing(path: &str) -> Refusal {
    Refusal::NotFound(format!("no content at {path}"))
}

fn bad(text: String) -> Refusal {
    Refusal::BadRequest(text)
}

/// Multibase has bases with characters that URLs escape.
fn cid(segment: &str) -> Result<AnyCid, Refusal> {
    let refuse = |reason: String| bad(format!("not a CID: {segment:?}: {reason}"));
    let text = unescape(segment, false).ok_or_else(|| refuse("not UTF-8".into()))?;
    // The parser would accept text in front of an inner `/ipfs/`.
    if text.contains('/') {
        return Err(refuse("contains a slash".into()));
    }
    let cid = AnyCid::try_from(text.as_str()).map_err(|e| refuse(e.to_string()))?;
    if cid.codec() == LIBP2P_KEY {
        return Err(refuse("it names a key; ask for it below /ipns/".into()));
    }
    Ok(cid)
}

fn name(segment: &str) -> Result<ipns::Name, Refusal> {
    // Names with a dot are of the DNS, which is not asked here.
    ipns::Name::parse(segment)
        .ok_or_else(|| Refusal::NotFound(format!("{segment:?} is not the name of a key")))
}
