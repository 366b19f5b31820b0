//! Units that were made before: asked by key, so that a ladder that is made again, or made otherwise
//! in part, encodes only what is new.
//!
//! A key is a hash over everything that decides a segment's bytes. Whoever keeps segments notes the
//! key of each ([`crate::Segment::key`]) with what [`CachedUnit`] holds; nothing is ever stale,
//! because a change of anything is another key.

/// A segment as a cache keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedUnit {
    /// [`crate::Segment::start`].
    pub start: f64,
    /// [`crate::Segment::duration`].
    pub duration: f64,
    /// [`crate::Segment::codecs`].
    pub codecs: String,
    /// The rendition's initialisation segment (CMAF only), as it was given to [`crate::Sink::init`].
    pub init: Option<Vec<u8>>,
    /// The segment's file.
    pub bytes: Vec<u8>,
}

/// Answers for units made before. Asked from several threads at once.
pub trait UnitCache: std::fmt::Debug + Send + Sync {
    /// The segment with this key. One that cannot be read is as good as none.
    fn get(&self, key: &str) -> Option<CachedUnit>;
}
