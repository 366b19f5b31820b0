//! Streams that are being made: how far each of their playlists is, and the parts of segments that
//! are not whole yet (RFC 8216bis, section 6.2.5).
//!
//! A player of a low-latency stream asks for a playlist "as soon as it has segment N, part M" and for
//! a part that is only announced; both wait here. Parts live in memory: they are the same bytes that
//! their segment has a moment later, and a kill takes the unfinished segment with it anyway.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ladder::Rendition;
use ladder::publish::{Content, Kept, Kind, Left, Piece, Shelf, Update};
use publish::StoreShelf;
use tokio::sync::watch;

use crate::app::App;

/// The streams that are being made.
#[derive(Default)]
pub(crate) struct Growing {
    streams: Mutex<HashMap<String, Stream>>,
}

#[derive(Default)]
struct Stream {
    target: Duration,
    heads: HashMap<String, watch::Sender<Head>>,
    /// By rendition and file name.
    parts: HashMap<(String, String), Bytes>,
}

/// The end of a rendition's playlist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Number of the segment that comes next.
    pub(crate) segment: u64,
    /// Parts of it that are there.
    pub(crate) parts: u64,
}

impl Head {
    /// Whether the playlist has this segment or, where a part is asked for, that much of it.
    pub(crate) fn has(self, segment: u64, part: Option<u64>) -> bool {
        self.segment > segment
            || self.segment == segment && part.is_some_and(|part| self.parts > part)
    }

    /// Whether this part is the one that the playlist announces.
    pub(crate) fn announces(self, segment: u64, part: u64) -> bool {
        self.segment == segment && self.parts == part || self.segment + 1 == segment && part == 0
    }
}

/// A rendition that is being made, to wait for what comes.
pub(crate) struct Awaited {
    pub(crate) head: watch::Receiver<Head>,
    /// Longest duration of a segment.
    pub(crate) target: Duration,
}

impl Growing {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what happened to a stream, and wakes who waits for it.
    pub(crate) fn note(&self, stream: &str, update: &Update) {
        let mut streams = self.lock();
        match update {
            Update::Planned {
                target_duration, ..
            } => {
                streams.entry(stream.to_owned()).or_default().target =
                    Duration::from_secs((*target_duration).into());
            }
            Update::Segment {
                rendition, index, ..
            } => {
                let segment = u64::from(*index) + 1;
                Self::advance(&mut streams, stream, rendition, Head { segment, parts: 0 });
            }
            Update::Part {
                rendition,
                segment,
                index,
                ..
            } => {
                let head = Head {
                    segment: (*segment).into(),
                    parts: u64::from(*index) + 1,
                };
                Self::advance(&mut streams, stream, rendition, head);
            }
            Update::Playlist { .. } => {}
            Update::Ended { .. } => drop(streams.remove(stream)),
        }
    }

    fn advance(streams: &mut HashMap<String, Stream>, stream: &str, rendition: &str, head: Head) {
        let Some(stream) = streams.get_mut(stream) else {
            return;
        };
        let sender = stream.heads.entry(rendition.to_owned()).or_default();
        sender.send_replace(head);
    }

    /// Nothing is added to the stream for now: who waits is answered.
    pub(crate) fn rest(&self, stream: &str) {
        self.lock().remove(stream);
    }

    /// A rendition to wait for; `None` when its stream is not being made.
    pub(crate) fn rendition(&self, stream: &str, rendition: &str) -> Option<Awaited> {
        let mut streams = self.lock();
        let stream = streams.get_mut(stream)?;
        let sender = stream.heads.entry(rendition.to_owned()).or_default();
        Some(Awaited {
            head: sender.subscribe(),
            target: stream.target,
        })
    }

    /// The bytes of a part.
    pub(crate) fn part(&self, stream: &str, piece: &Piece) -> Option<Bytes> {
        let key = (piece.rendition.clone(), piece.file.clone());
        self.lock().get(stream)?.parts.get(&key).cloned()
    }

    fn keep(&self, stream: &str, piece: &Piece, bytes: Bytes) {
        let key = (piece.rendition.clone(), piece.file.clone());
        let mut streams = self.lock();
        let stream = streams.entry(stream.to_owned()).or_default();
        stream.parts.insert(key, bytes);
    }

    fn forget(&self, stream: &str, piece: &Piece) {
        let key = (piece.rendition.clone(), piece.file.clone());
        if let Some(stream) = self.lock().get_mut(stream) {
            stream.parts.remove(&key);
        }
    }
}

/// Where the server keeps a stream: in the store, and its parts in memory.
pub(crate) struct ServedShelf {
    stored: StoreShelf,
    app: Arc<App>,
}

impl ServedShelf {
    pub(crate) fn new(app: &Arc<App>, stream: &str) -> Self {
        let stored = StoreShelf::new(&app.store, stream).with_units(Arc::clone(&app.units));
        Self {
            stored,
            app: Arc::clone(app),
        }
    }
}

impl Shelf for ServedShelf {
    fn left(&mut self) -> io::Result<Option<Left>> {
        self.stored.left()
    }

    fn begin(&mut self, recipe: &str, renditions: &[Rendition]) -> io::Result<()> {
        self.stored.begin(recipe, renditions)
    }

    fn keep(&mut self, piece: &Piece, content: Content<'_>, record: &str) -> io::Result<Kept> {
        if !matches!(piece.kind(), Some(Kind::Part(..))) {
            return self.stored.keep(piece, content, record);
        }
        let bytes = match content {
            Content::Bytes(bytes) => Bytes::copy_from_slice(bytes),
            Content::File(path) => std::fs::read(path)?.into(),
        };
        let kept = Kept {
            uri: piece.file.clone(),
            bytes: bytes.len() as u64,
        };
        self.app.growing.keep(self.stored.stream(), piece, bytes);
        if let Content::File(path) = content {
            std::fs::remove_file(path)?;
        }
        Ok(kept)
    }

    fn show(&mut self, path: &str, text: &str) -> io::Result<String> {
        self.stored.show(path, text)
    }

    fn forget(&mut self, piece: &Piece) -> io::Result<()> {
        if matches!(piece.kind(), Some(Kind::Part(..))) {
            self.app.growing.forget(self.stored.stream(), piece);
            return Ok(());
        }
        self.stored.forget(piece)
    }

    /// Parts are named by their place, so that they can be asked for before they are there.
    fn hint(&self, piece: &Piece) -> Option<String> {
        Some(piece.file.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_playlist_has_and_announces() {
        let head = Head {
            segment: 7,
            parts: 2,
        };
        let check = |segment, part, has, announces| {
            assert_eq!(head.has(segment, part), has, "{segment} {part:?}");
            let announced = part.is_some_and(|part| head.announces(segment, part));
            assert_eq!(announced, announces, "{segment} {part:?}");
        };
        check(6, None, true, false);
        check(6, Some(9), true, false);
        check(7, None, false, false);
        check(7, Some(1), true, false);
        check(7, Some(2), false, true);
        check(7, Some(3), false, false);
        check(8, Some(0), false, true);
        check(8, None, false, false);
    }
}
