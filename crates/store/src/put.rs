//! Putting content in.
//!
//! ```text
//! write draft + hash → link under the CID → sync → transaction {object, blocks, pin, name} → unlink draft
//! ```
//!
//! A crash before the commit leaves a draft, which the next start removes together with the file
//! that it became; after it everything is there. Inside the transaction, and so with collections
//! kept out, one look makes sure that the file is still in its place.
//!
//! Content of less than a chunk is kept in memory, and if the store has it already nothing is written.
//! Longer content is written and hashed chunk by chunk in one buffer; the disk is set to work on
//! each chunk as soon as it is written, so that it is busy while the next one is hashed.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use cid::Cid;
use rusqlite::Transaction;

use crate::{
    Error, Store,
    disk::{self, Draft},
    fault, meta, mime, names, pins,
    unixfs::{self, CHUNK, Dag, Importer},
};

/// What to record along with the content, all in one transaction.
#[derive(Debug, Clone, Copy, Default)]
pub struct PutOptions<'a> {
    /// Media type to serve it with. What is not a media type, or says no more than
    /// `application/octet-stream`, is ignored. The first one recorded for a content stays.
    pub mime: Option<&'a str>,
    /// A pin to set, as by [`Store::pin`]. Without a pin or a name the object is kept only for
    /// the grace that [`Store::collect`] is given.
    pub pin: Option<&'a str>,
    /// What to keep with the pin, in the owner's own form. It is there exactly when the pin is, so
    /// a checkpoint can carry what its work needs to go on.
    pub note: Option<&'a str>,
    /// A name to publish it under, as by [`Store::publish`].
    pub publish: Option<&'a str>,
    /// The sequence that `publish` must be at, 0 for a name without a version.
    pub expect: Option<u64>,
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Name of the content.
    pub cid: Cid,
    /// Size in bytes.
    pub size: u64,
    /// Whether the store did not have it before.
    pub new: bool,
    /// Whether its file was missing or damaged and has been replaced.
    pub repaired: bool,
    /// Sequence of the name in [`PutOptions::publish`].
    pub seq: Option<u64>,
}

impl Store {
    /// Stores what `content` gives, in constant memory. When this returns it is on the disk.
    pub fn put(&self, mut content: impl Read, options: &PutOptions<'_>) -> Result<Stored, Error> {
        let mut writer = self.writer(options)?;
        loop {
            let n = unixfs::read_full(&mut content, &mut writer.buffer[writer.filled..])
                .map_err(Error::Source)?;
            writer.filled += n;
            if writer.filled < CHUNK {
                return writer.finish();
            }
            writer.spill()?;
        }
    }

    /// Stores content that is in memory, which spares copying it once more.
    pub fn put_bytes(&self, content: &[u8], options: &PutOptions<'_>) -> Result<Stored, Error> {
        let mut writer = self.writer(options)?;
        writer.add(content)?;
        writer.finish()
    }

    /// Stores a file and removes it from where it was. On the store's own file system it is taken
    /// over without copying; until the object is recorded it also stays under its old name.
    ///
    /// Nobody may write to the file any more; that it changes meanwhile is noticed and refused.
    pub fn put_file(
        &self,
        path: impl AsRef<Path>,
        options: &PutOptions<'_>,
    ) -> Result<Stored, Error> {
        let path = path.as_ref();
        options.check()?;
        let Some(given) = self.disk().take(path)? else {
            let stored = self.put(disk::open_regular(path)?, options)?;
            disk::remove_file(path)?;
            return Ok(stored);
        };
        let dag = import(given.reader()).map_err(|e| Error::io("reading", path, e))?;
        self.record(dag, Content::Draft(given), options)
    }

    /// A writer for content that comes in pieces.
    pub fn writer<'a>(&'a self, options: &PutOptions<'a>) -> Result<Writer<'a>, Error> {
        options.check()?;
        Ok(Writer {
            store: self,
            options: *options,
            importer: Importer::new(),
            buffer: self.buffers().take(),
            filled: 0,
            draft: None,
        })
    }

    /// Makes content durable and records it, writing only what is not there yet.
    pub(crate) fn record(
        &self,
        dag: Dag,
        content: Content,
        options: &PutOptions<'_>,
    ) -> Result<Stored, Error> {
        let known = self.meta().read(|c| meta::file(c, &dag.root))?.is_some();
        if known && self.disk().holds(&dag.root, dag.size, content.reread()?)? {
            // Collected since? Then the content in hand is written after all.
            if let Some(stored) = self.record_held(&dag, options)? {
                content.settle()?;
                return Ok(stored);
            }
        }
        let mut draft = content.write(self)?;
        fault::point("put-written");
        let recorded = draft.place(self.disk(), &dag.root).and_then(|()| {
            fault::point("put-placed");
            self.meta().write(|tx| {
                let new = meta::file(tx, &dag.root)
                    .map_err(|e| self.meta().error(e))?
                    .is_none();
                draft.keep(self.disk(), &dag.root)?;
                let seq = self.record_rows(tx, &dag, options)?;
                fault::point("put-rows");
                Ok((new, seq))
            })
        });
        let (new, seq) = match recorded {
            Ok(done) => done,
            Err(error) => {
                // If even this fails the draft's name in `tmp/` tells the next start; the first
                // error is the one to tell.
                let _ = self.undo(&draft, &dag.root);
                return Err(error);
            }
        };
        fault::point("put-committed");
        draft.settle()?;
        self.changed();
        Ok(Stored {
            cid: dag.root,
            size: dag.size,
            new,
            repaired: !new,
            seq,
        })
    }

    /// Takes back a file that was placed for a transaction that failed. A good file in the place of
    /// one that was recorded stays; that a commit reported as failed is there all the same cannot
    /// be excluded, so the row is asked for once more, with other writers out.
    fn undo(&self, draft: &Draft, cid: &Cid) -> Result<(), Error> {
        self.meta().locked(|c| {
            let row = meta::file(c, cid).map_err(|e| self.meta().error(e))?;
            if row.is_none() {
                draft.withdraw(self.disk(), cid);
            }
            Ok(())
        })
    }

    /// Records a put of content that is there; `None` if it went away meanwhile.
    fn record_held(&self, dag: &Dag, options: &PutOptions<'_>) -> Result<Option<Stored>, Error> {
        self.meta().write(|tx| {
            let row = meta::file(tx, &dag.root).map_err(|e| self.meta().error(e))?;
            if row.is_none() || self.disk().size(&dag.root)? != Some(dag.size) {
                return Ok(None);
            }
            let seq = self.record_rows(tx, dag, options)?;
            Ok(Some(Stored {
                cid: dag.root,
                size: dag.size,
                new: false,
                repaired: false,
                seq,
            }))
        })
    }

    fn record_rows(
        &self,
        tx: &Transaction<'_>,
        dag: &Dag,
        options: &PutOptions<'_>,
    ) -> Result<Option<u64>, Error> {
        let mime = options.mime.filter(|text| mime::says_something(text));
        let id = meta::insert(tx, dag, mime).map_err(|e| self.meta().error(e))?;
        if let Some(pin) = options.pin {
            pins::set(tx, pin, id, options.note).map_err(|e| self.meta().error(e))?;
        }
        options
            .publish
            .map(|name| names::publish(tx, self, name, id, options.expect))
            .transpose()
    }
}

impl PutOptions<'_> {
    /// Refuses unusable names before anything is written.
    fn check(&self) -> Result<(), Error> {
        self.pin.map(pins::check).transpose()?;
        self.publish.map(pins::check).transpose()?;
        Ok(())
    }
}

fn import(mut content: impl Read) -> io::Result<Dag> {
    let mut importer = Importer::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = unixfs::read_full(&mut content, &mut buffer)?;
        if n == 0 {
            return Ok(importer.finish());
        }
        importer.update(&buffer[..n]);
    }
}

/// Content whose CID is known.
pub(crate) enum Content {
    Memory(Bytes),
    Draft(Draft),
}

impl Content {
    fn reread(&self) -> Result<Box<dyn Read + '_>, Error> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(&bytes[..]),
            Self::Draft(draft) => Box::new(draft.reread()?),
        })
    }

    fn write(self, store: &Store) -> Result<Draft, Error> {
        match self {
            Self::Memory(bytes) => {
                let mut draft = store.disk().draft()?;
                draft.write_all(&bytes)?;
                Ok(draft)
            }
            Self::Draft(draft) => Ok(draft),
        }
    }

    fn settle(self) -> Result<(), Error> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Draft(draft) => draft.settle(),
        }
    }
}

/// Content on its way in, piece by piece. Dropped before [`Writer::finish`] it leaves nothing.
pub struct Writer<'a> {
    store: &'a Store,
    options: PutOptions<'a>,
    importer: Importer,
    /// One chunk of room, whose first `filled` bytes are not in the draft yet.
    buffer: Vec<u8>,
    filled: usize,
    /// Begun when the first chunk is full.
    draft: Option<Draft>,
}

impl Writer<'_> {
    /// Ends the content and records it.
    pub fn finish(mut self) -> Result<Stored, Error> {
        if self.draft.is_some() {
            self.spill()?;
        }
        let content = match self.draft.take() {
            Some(draft) => Content::Draft(draft),
            None => {
                let bytes = Bytes::copy_from_slice(&self.buffer[..self.filled]);
                self.importer.update(&bytes);
                Content::Memory(bytes)
            }
        };
        let dag = std::mem::take(&mut self.importer).finish();
        self.store.record(dag, content, &self.options)
    }

    /// Takes the next bytes; whole chunks do not pass through the buffer.
    pub(crate) fn add(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.filled));
            bytes = later;
            if now.len() == CHUNK {
                send(self.store, &mut self.draft, &mut self.importer, now)?;
                continue;
            }
            self.buffer[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            if self.filled == CHUNK {
                self.spill()?;
            }
        }
        Ok(())
    }

    /// Moves what is in the buffer on to the draft.
    fn spill(&mut self) -> Result<(), Error> {
        let bytes = &self.buffer[..self.filled];
        send(self.store, &mut self.draft, &mut self.importer, bytes)?;
        self.filled = 0;
        Ok(())
    }
}

/// Writes bytes to the draft, and hashes them while the disk writes.
fn send(
    store: &Store,
    draft: &mut Option<Draft>,
    importer: &mut Importer,
    bytes: &[u8],
) -> Result<(), Error> {
    let draft = match draft {
        Some(draft) => draft,
        none => none.insert(store.disk().draft()?),
    };
    draft.write_all(bytes)?;
    draft.start_writing();
    importer.update(bytes);
    Ok(())
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.store.buffers().give(std::mem::take(&mut self.buffer));
    }
}

/// Chunks of room for writers to come: getting one from the system costs as much as half of a small
/// put.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// As many stay as there are writers at once in a server that is not busy.
const IDLE_BUFFERS: usize = 2;

impl Buffers {
    fn take(&self) -> Vec<u8> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| vec![0; CHUNK])
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_BUFFERS {
            idle.push(buffer);
        }
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.filled);
        self.add(&bytes[..n]).map_err(|error| {
            let full = error.is_full().then_some(io::ErrorKind::StorageFull);
            io::Error::new(full.unwrap_or(io::ErrorKind::Other), error)
        })?;
        Ok(n)
    }

    /// Nothing to do: the content is durable when `finish` returns, and not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
