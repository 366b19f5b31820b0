//! A stream in a store: each piece an object under a pin of its own, each playlist a name.
//!
//! ```text
//! stream/ID/recipe          pin: what the stream is made by, as text
//! stream/ID/720p/00042      pin: the segment; its note: file name and record
//! streams/ID/720p/playlist.m3u8    name: the playlist as it is now
//! ```
//!
//! A piece, its pin and its record are one transaction of the store, so what is pinned is what need
//! not be made again. Segments are named by their CIDs and never change; `/streams/ID/…` is always
//! the newest.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use catalog::roots;
use ladder::Rendition;
use ladder::publish::{Content, Kept, Kind, Left, Piece, Record, Shelf};
use store::{Cid, PutOptions, Store, Stored};

use crate::StoredUnits;
use crate::io as wrap;

/// A stream's place in a store.
pub struct StoreShelf {
    store: Store,
    stream: String,
    units: Option<Arc<StoredUnits>>,
    /// Nobody's row says that the stream is wanted: a pin of its own does.
    named: bool,
    /// Initialisation segments by rendition, which units refer to.
    inits: HashMap<String, Cid>,
}

impl std::fmt::Debug for StoreShelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreShelf")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl StoreShelf {
    /// The place of the stream `stream`.
    pub fn new(store: &Store, stream: impl Into<String>) -> StoreShelf {
        StoreShelf {
            store: store.clone(),
            stream: stream.into(),
            units: None,
            named: false,
            inits: HashMap::new(),
        }
    }

    /// Notes each segment that has a key for ladders to come.
    #[must_use]
    pub fn with_units(mut self, units: Arc<StoredUnits>) -> StoreShelf {
        self.units = Some(units);
        self
    }

    /// Says that the stream has its name from somebody and is no asset's, so that it stays until
    /// somebody removes it.
    #[must_use]
    pub fn named(mut self) -> StoreShelf {
        self.named = true;
        self
    }

    /// The stream's identifier.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The recipe of the stream, if one began here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn recipe(&self) -> io::Result<Option<String>> {
        let pins = self.store.pins(&roots::recipe(&self.stream));
        let Some(pin) = pins.map_err(wrap)?.into_iter().next() else {
            return Ok(None);
        };
        let Some(object) = self.store.get(&pin.cid).map_err(wrap)? else {
            return Ok(None);
        };
        let mut text = String::new();
        object.reader()?.read_to_string(&mut text)?;
        Ok(Some(text))
    }

    fn pin(&self, piece: &Piece) -> String {
        let file = piece
            .file
            .rsplit_once('.')
            .map_or(&*piece.file, |(name, _)| name);
        roots::piece(&self.stream, &piece.rendition, file)
    }

    fn put(&self, content: Content<'_>, options: &PutOptions<'_>) -> io::Result<Stored> {
        let stored = match content {
            Content::Bytes(bytes) => self.store.put(bytes, options),
            Content::File(path) => self.store.put_file(path, options),
        };
        stored.map_err(wrap)
    }
}

impl Shelf for StoreShelf {
    fn left(&mut self) -> io::Result<Option<Left>> {
        let Some(recipe) = self.recipe()? else {
            return Ok(None);
        };
        let prefix = roots::stream_prefix(&self.stream);
        let mut pieces = Vec::new();
        for pin in self.store.pins(&prefix).map_err(wrap)? {
            let below = pin.name.strip_prefix(&prefix).unwrap_or_default();
            let (Some((rendition, _)), Some(note)) = (below.split_once('/'), &pin.note) else {
                continue;
            };
            let Some((file, record)) = note.split_once('\n') else {
                continue;
            };
            let piece = Piece {
                rendition: rendition.to_owned(),
                file: file.to_owned(),
            };
            if piece.kind() == Some(Kind::Init) {
                self.inits.insert(piece.rendition.clone(), pin.cid);
            }
            let kept = Kept {
                uri: uri(&pin.cid, file),
                bytes: pin.size,
            };
            pieces.push((piece, kept, record.to_owned()));
        }
        Ok(Some(Left { recipe, pieces }))
    }

    fn begin(&mut self, recipe: &str, _renditions: &[Rendition]) -> io::Result<()> {
        self.inits.clear();
        roots::drop_stream(&self.store, &self.stream).map_err(io::Error::other)?;
        let recipe = Content::Bytes(recipe.as_bytes());
        // First that the stream is somebody's, then that it began.
        let named = roots::named(&self.stream);
        let pins = [(&named, self.named), (&roots::recipe(&self.stream), true)];
        for (pin, _) in pins.iter().filter(|(_, wanted)| *wanted) {
            let options = PutOptions {
                mime: Some("application/json"),
                pin: Some(pin),
                ..PutOptions::default()
            };
            self.put(recipe, &options)?;
        }
        Ok(())
    }

    fn keep(&mut self, piece: &Piece, content: Content<'_>, record: &str) -> io::Result<Kept> {
        let options = PutOptions {
            mime: store::mime::by_name(&piece.file),
            pin: Some(&self.pin(piece)),
            note: Some(&format!("{}\n{record}", piece.file)),
            ..PutOptions::default()
        };
        let stored = self.put(content, &options)?;
        match (piece.kind(), &self.units) {
            (Some(Kind::Init), _) => {
                self.inits.insert(piece.rendition.clone(), stored.cid);
            }
            (Some(Kind::Segment(_)), Some(units)) => {
                let init = self.inits.get(&piece.rendition);
                if let Ok(record) = serde_json::from_str::<Record>(record) {
                    units.remember(&record, &stored.cid, init)?;
                }
            }
            _ => {}
        }
        Ok(Kept {
            uri: uri(&stored.cid, &piece.file),
            bytes: stored.size,
        })
    }

    fn show(&mut self, path: &str, text: &str) -> io::Result<String> {
        let options = PutOptions {
            mime: store::mime::by_name(path),
            publish: Some(&roots::playlist(&self.stream, path)),
            ..PutOptions::default()
        };
        self.put(Content::Bytes(text.as_bytes()), &options)?;
        Ok(format!("/streams/{}/{path}", self.stream))
    }

    fn forget(&mut self, piece: &Piece) -> io::Result<()> {
        // Players that read a playlist a moment ago still get it: a collection has its grace.
        self.store.unpin(&self.pin(piece)).map_err(wrap)?;
        Ok(())
    }

    /// A CID is not known before its bytes are.
    fn hint(&self, _piece: &Piece) -> Option<String> {
        None
    }
}

fn uri(cid: &Cid, file: &str) -> String {
    format!("/ipfs/{cid}?filename={file}")
}
