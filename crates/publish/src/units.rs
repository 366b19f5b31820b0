//! Segments that were made before, by the key of what made them: a ladder that is made again, or
//! made otherwise in part, encodes only what is new.
//!
//! A unit is a pin `unit/KEY/segment` on the segment's object, with its codecs in the note, and in
//! CMAF a pin `unit/KEY/init` on the initialisation segment. The streams hold the same objects, so
//! while a stream lives its units cost a row each; what only units hold is bounded by a size, and
//! goes oldest first. Nothing is ever stale: another input or setting is another key.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ladder::publish::Record;
use ladder::{CachedUnit, UnitCache};
use serde::{Deserialize, Serialize};
use store::{Cid, Pin, Store};

/// What all units' pins begin with.
const PREFIX: &str = "unit/";

/// The units of a store.
pub struct StoredUnits {
    store: Store,
    /// Bytes of segments that units may hold.
    limit: u64,
    /// Bytes that they hold; `None` before they were counted.
    held: Mutex<Option<u64>>,
}

impl std::fmt::Debug for StoredUnits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredUnits")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What is kept with a unit's segment.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// When it was made, in milliseconds since 1970.
    made: u64,
    /// Start and duration in seconds.
    start: f64,
    duration: f64,
    codecs: String,
}

impl StoredUnits {
    /// The bytes that units may hold unless somebody says otherwise.
    pub const LIMIT: u64 = 4 << 30;

    /// The units of `store`, which may hold `limit` bytes.
    pub fn new(store: &Store, limit: u64) -> StoredUnits {
        StoredUnits {
            store: store.clone(),
            limit,
            held: Mutex::new(None),
        }
    }

    /// Notes a segment that is in the store. Without a key there is nothing to ask it by.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remember(&self, record: &Record, cid: &Cid, init: Option<&Cid>) -> io::Result<()> {
        let name = segment(&record.key);
        if record.key.is_empty() || self.find(&name).is_some() {
            return Ok(());
        }
        if let Some(init) = init {
            let pinned = self.store.pin(&self::init(&record.key), init);
            pinned.map_err(crate::io)?;
        }
        let made = SystemTime::now().duration_since(UNIX_EPOCH);
        let note = Note {
            made: made.map_or(0, |made| made.as_millis() as u64),
            start: record.start,
            duration: record.duration(),
            codecs: record.codecs.clone(),
        };
        let note = serde_json::to_string(&note)?;
        self.store
            .pin_noted(&name, cid, Some(&note))
            .map_err(crate::io)?;
        let size = self.find(&name).map_or(0, |pin| pin.size);
        self.bound(size)
    }

    /// Counts what came and lets go of the oldest where it is too much.
    fn bound(&self, came: u64) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = *held {
            *held = Some(before + came);
            if before + came <= self.limit {
                return Ok(());
            }
        }
        let pins = self.store.pins(PREFIX).map_err(crate::io)?;
        let mut units: Vec<(u64, Pin)> = pins
            .into_iter()
            .filter(|pin| pin.name.ends_with("/segment"))
            .map(|pin| (note(&pin).map_or(0, |note| note.made), pin))
            .collect();
        units.sort_by(|(one, a), (two, b)| (one, &a.name).cmp(&(two, &b.name)));
        let mut now: u64 = units.iter().map(|(_, pin)| pin.size).sum();
        for (_, pin) in units {
            if now <= self.limit {
                break;
            }
            let unit = pin.name.strip_suffix("segment").unwrap_or(&pin.name);
            self.store.unpin_prefix(unit).map_err(crate::io)?;
            now -= pin.size;
        }
        *held = Some(now);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<Pin> {
        let pins = self.store.pins(name).ok()?;
        pins.into_iter().find(|pin| pin.name == name)
    }

    fn read(&self, cid: &Cid) -> Option<Vec<u8>> {
        let object = self.store.get(cid).ok()??;
        let mut bytes = Vec::with_capacity(object.size as usize);
        object.reader().ok()?.read_to_end(&mut bytes).ok()?;
        // A damaged one would be stored as a new segment: as good as none.
        let (now, _) = store::cid_of(bytes.as_slice()).ok()?;
        (now == *cid).then_some(bytes)
    }
}

impl UnitCache for StoredUnits {
    fn get(&self, key: &str) -> Option<CachedUnit> {
        let pin = self.find(&segment(key))?;
        let init = match self.find(&init(key)) {
            Some(init) => Some(self.read(&init.cid)?),
            None => None,
        };
        let Note {
            start,
            duration,
            codecs,
            ..
        } = note(&pin)?;
        Some(CachedUnit {
            start,
            duration,
            codecs,
            init,
            bytes: self.read(&pin.cid)?,
        })
    }
}

fn segment(key: &str) -> String {
    format!("{PREFIX}{key}/segment")
}

fn init(key: &str) -> String {
    format!("{PREFIX}{key}/init")
}

fn note(pin: &Pin) -> Option<Note> {
    serde_json::from_str(pin.note.as_deref()?).ok()
}
