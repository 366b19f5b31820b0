//! Where a segment's key pictures stand, for I-frame playlists, read off the segment's own bytes.
//!
//! RFC 8216 4.3.3.6. In a transport stream it is the packets of the picture's PES packet, which the
//! writer leaves together; PAT and PMT, which players take from before the first one, are not part
//! of it. In CMAF it is the fragment that the picture starts, cut off behind it.

use crate::cmaf;
use crate::mpegts;
use crate::playlist::KeyPicture;
use crate::sample::{TICKS, seconds};

/// The key pictures of a video segment that ends at `end_s`. `init` is its initialisation segment,
/// for CMAF. Empty when the segment is damaged.
pub fn find(segment: &[u8], init: Option<&[u8]>, end_s: f64) -> Vec<KeyPicture> {
    let found = match init {
        None => mpegts::random_access(segment),
        Some(init) => fragments(segment, init).unwrap_or_default(),
    };
    let next = found.iter().skip(1).map(|key| key.pts).map(seconds);
    let ends = next.chain(std::iter::once(end_s));
    let with_end = found.iter().zip(ends);
    with_end
        .map(|(key, end_s)| KeyPicture {
            offset: key.offset as u64,
            length: key.length as u64,
            pts_s: seconds(key.pts),
            duration_s: end_s - seconds(key.pts),
        })
        .collect()
}

/// A key picture's bytes and time in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// Display time.
    pub pts: i64,
}

fn fragments(segment: &[u8], init: &[u8]) -> Option<Vec<Key>> {
    let header = cmaf::read_init(init)?;
    let fragments = cmaf::read_fragments(&header, segment)?;
    let keys = fragments.iter().filter_map(|fragment| {
        let first = fragment.samples.first().filter(|sample| sample.sync)?;
        Some(Key {
            offset: fragment.offset,
            length: first.end - fragment.offset,
            pts: first.pts * TICKS / i64::from(header.timescale),
        })
    });
    Some(keys.collect())
}
