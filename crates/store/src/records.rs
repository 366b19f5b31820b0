//! IPNS records of this store's names, and records of others that it keeps.
//!
//! Each name has an IPNS name as well, whose key only this store has. Its record is made of the row
//! when somebody asks: nothing can be out of step, and a name that nobody resolves costs nothing.
//! Records that others signed can be kept, and are verified each time they are used.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension};

use crate::{
    Error, Store,
    ipns::{Invalid, MAX_RECORD, Name, Record},
};

/// How long a record of ours may be believed without asking again: half of a short segment, since
/// what is behind a name may be a playlist that is played while it grows.
pub const TTL: Duration = Duration::from_secs(2);

/// How long a record of ours is valid at least, as long as the network of IPFS keeps records.
const VALIDITY: Duration = Duration::from_secs(48 * 3600);

/// The end of a record is moved in steps, so that a record stays the same for a while.
const VALIDITY_STEP: u64 = 3600;

impl Store {
    /// The IPNS name of a name, whether or not it was ever published.
    pub fn ipns_name(&self, name: &str) -> Name {
        Name::of(&self.keys().of_name(name).verifying_key())
    }

    /// The peer ID of this store.
    pub fn peer_id(&self) -> Name {
        Name::of(&self.keys().of_peer().verifying_key())
    }

    /// What an IPNS name stands for: one of ours as it is now, or one whose record was kept, if
    /// that record is valid.
    pub fn resolve_ipns(&self, name: &Name) -> Result<Option<Record>, Error> {
        let now = SystemTime::now();
        match self.own_name(name)? {
            Some(own) => self.own_record(&own, now),
            None => match self.kept_record(name)? {
                Some(kept) => self.verified(name, &kept, now).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The signed record of an IPNS name, under the same conditions.
    pub fn ipns_record(&self, name: &Name) -> Result<Option<Vec<u8>>, Error> {
        let now = SystemTime::now();
        if let Some(own) = self.own_name(name)? {
            let record = self.own_record(&own, now)?;
            return Ok(record.map(|record| record.sign(&self.keys().of_name(&own))));
        }
        let Some(kept) = self.kept_record(name)? else {
            return Ok(None);
        };
        self.verified(name, &kept, now)?;
        Ok(Some(kept))
    }

    /// Keeps a record that somebody else signed; whether it was taken. It is judged when it is
    /// used, because a record that is good today ends some day; yet one that is valid is only
    /// replaced by one that is valid and newer.
    pub fn keep_record(&self, name: &Name, record: &[u8]) -> Result<bool, Error> {
        if record.len() > MAX_RECORD {
            let name = name.to_string();
            let source = Invalid::Large;
            return Err(Error::Record { name, source });
        }
        let now = SystemTime::now();
        let rank = |record: &[u8]| {
            let record = Record::verify(name, record, now).ok()?;
            Some((record.sequence, record.valid_until))
        };
        if let Some(kept) = self.kept_record(name)? {
            if rank(record) <= rank(&kept) {
                return Ok(false);
            }
        }
        self.meta().write(|tx| {
            tx.execute(
                "INSERT INTO records (ipns, record) VALUES (?1, ?2)
                 ON CONFLICT (ipns) DO UPDATE SET record = excluded.record",
                (name.to_bytes(), record),
            )
            .map_err(|e| self.meta().error(e))
        })?;
        Ok(true)
    }

    fn verified(&self, name: &Name, record: &[u8], now: SystemTime) -> Result<Record, Error> {
        Record::verify(name, record, now).map_err(|source| Error::Record {
            name: name.to_string(),
            source,
        })
    }

    fn kept_record(&self, name: &Name) -> Result<Option<Vec<u8>>, Error> {
        self.meta().read(|c| {
            c.prepare_cached("SELECT record FROM records WHERE ipns = ?1")?
                .query_row([name.to_bytes()], |row| row.get(0))
                .optional()
        })
    }

    /// The name of ours that has this IPNS name.
    fn own_name(&self, name: &Name) -> Result<Option<String>, Error> {
        self.meta().read(|c| {
            c.prepare_cached("SELECT name FROM names WHERE ipns = ?1")?
                .query_row([name.to_bytes()], |row| row.get(0))
                .optional()
        })
    }

    /// What the record of a name says; `None` while it is not published.
    fn own_record(&self, name: &str, now: SystemTime) -> Result<Option<Record>, Error> {
        let hours = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().div_ceil(VALIDITY_STEP));
        let step = UNIX_EPOCH + Duration::from_secs(hours * VALIDITY_STEP);
        Ok(self.resolve(name)?.map(|current| Record {
            value: format!("/ipfs/{}", current.cid),
            sequence: current.seq,
            valid_until: step + VALIDITY,
            ttl: TTL,
        }))
    }

    /// Notes the IPNS names of names that have none yet, or of all when the seed is another.
    pub(crate) fn index_names(&self, all: bool) -> Result<(), Error> {
        let without = |c: &Connection| {
            c.prepare("SELECT name FROM names WHERE ipns IS NULL OR ?1")?
                .query_map([all], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()
        };
        let names = self.meta().read(without)?;
        if names.is_empty() {
            return Ok(());
        }
        self.meta().write(|tx| {
            for name in &names {
                tx.execute(
                    "UPDATE names SET ipns = ?2 WHERE name = ?1",
                    (name, self.ipns_name(name).to_bytes()),
                )
                .map_err(|e| self.meta().error(e))?;
            }
            Ok(())
        })
    }
}
