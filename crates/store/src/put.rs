//! Putting content in.
//!
//! ```text
//! write draft + hash → fdatasync → rename → fsync folder → transaction {object, blocks, pin, name}
//!                                  └──────── inside the database's write lock ────────┘
//! ```
//!
//! A crash before the commit leaves a draft or an unrecorded file, which the next start sweeps;
//! after it everything is there. The rename is inside the write lock because `collect` unlinks
//! inside the same lock, so an object can never lose its file between rename and commit.
//!
//! Content of less than a chunk is kept in memory, and if the store has it already nothing is written.
//! Longer content is written and hashed chunk by chunk in one buffer; the disk is set to work on
//! each chunk as soon as it is written, so that it is busy while the next one is hashed.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use cid::Cid;
use rusqlite::Transaction;

use crate::{
    Error, Store,
    disk::{self, Draft, Incoming},
    meta, mime, names, pins,
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
        self.record(dag, Content::Incoming(Incoming::Given(given)), options)
    }

    /// A writer for content that comes in pieces.
    pub fn writer<'a>(&'a self, options: &PutOptions<'a>) -> Result<Writer<'a>, Error> {
        options.check()?;
        Ok(Writer {
            store: self,
            options: *options,
            importer: Importer::new(),
            buffer: vec![0; CHUNK],
            filled: 0,
            draft: None,
        })
    }

    /// Makes content durable and records it, writing only what is not there yet.
    fn record(
        &self,
        dag: Dag,
        content: Content,
        options: &PutOptions<'_>,
    ) -> Result<Stored, Error> {
        let known = self.meta().read(|c| meta::object(c, &dag.root))?.is_some();
        if known && self.disk().holds(&dag.root, dag.size, content.reread()?)? {
            // Collected since? Then the content in hand is written after all.
            if let Some(stored) = self.record_held(&dag, options)? {
                content.settle()?;
                return Ok(stored);
            }
        }
        let mut incoming = content.write(self)?;
        incoming.sync()?;
        let mut placed = Placed::No;
        let recorded = self.meta().write(|tx| {
            let new = meta::object(tx, &dag.root)
                .map_err(|e| self.meta().error(e))?
                .is_none();
            // Set first: a failed sync of the folder comes after the rename.
            placed = if new { Placed::New } else { Placed::Again };
            incoming.place(self.disk(), &dag.root)?;
            self.record_rows(tx, &dag, options).map(|seq| (new, seq))
        });
        let (new, seq) = match recorded {
            Ok(done) => done,
            Err(error) => {
                // If even this fails an orphan stays, for the next start to sweep; the first
                // error is the one to tell.
                let _ = self.undo(placed, incoming, &dag.root);
                return Err(error);
            }
        };
        incoming.settle()?;
        Ok(Stored {
            cid: dag.root,
            size: dag.size,
            new,
            repaired: !new,
            seq,
        })
    }

    /// Takes back a file that was placed for a transaction that failed. That a commit reported as
    /// failed is there all the same cannot be excluded, so the row is asked for once more, with
    /// other writers out.
    fn undo(&self, placed: Placed, mut incoming: Incoming, cid: &Cid) -> Result<(), Error> {
        if !matches!(placed, Placed::New) {
            return Ok(());
        }
        self.meta().locked(|c| {
            if meta::object(c, cid)
                .map_err(|e| self.meta().error(e))?
                .is_none()
            {
                incoming.withdraw(self.disk(), cid);
            }
            Ok(())
        })
    }

    /// Records a put of content that is there; `None` if it went away meanwhile.
    fn record_held(&self, dag: &Dag, options: &PutOptions<'_>) -> Result<Option<Stored>, Error> {
        self.meta().write(|tx| {
            let row = meta::object(tx, &dag.root).map_err(|e| self.meta().error(e))?;
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
            pins::set(tx, pin, id).map_err(|e| self.meta().error(e))?;
        }
        options
            .publish
            .map(|name| names::publish(tx, self.meta(), name, id, options.expect))
            .transpose()
    }
}

/// What a failed transaction has to take back.
enum Placed {
    No,
    /// A file for an object that was not recorded.
    New,
    /// A good file in the place of one that was recorded: stays.
    Again,
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
enum Content {
    Memory(Vec<u8>),
    Incoming(Incoming),
}

impl Content {
    fn reread(&self) -> Result<Box<dyn Read + '_>, Error> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(bytes.as_slice()),
            Self::Incoming(incoming) => Box::new(incoming.reread()?),
        })
    }

    fn write(self, store: &Store) -> Result<Incoming, Error> {
        match self {
            Self::Memory(bytes) => {
                let mut draft = store.disk().draft()?;
                draft.write_all(&bytes)?;
                Ok(Incoming::Draft(draft))
            }
            Self::Incoming(incoming) => Ok(incoming),
        }
    }

    fn settle(self) -> Result<(), Error> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Incoming(incoming) => incoming.settle(),
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
            Some(draft) => Content::Incoming(Incoming::Draft(draft)),
            None => {
                self.buffer.truncate(self.filled);
                self.importer.update(&self.buffer);
                Content::Memory(self.buffer)
            }
        };
        let dag = self.importer.finish();
        self.store.record(dag, content, &self.options)
    }

    /// Moves what is in the buffer on to the draft, and hashes it while the disk writes.
    fn spill(&mut self) -> Result<(), Error> {
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => none.insert(self.store.disk().draft()?),
        };
        let bytes = &self.buffer[..self.filled];
        draft.write_all(bytes)?;
        draft.start_writing();
        self.importer.update(bytes);
        self.filled = 0;
        Ok(())
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.filled);
        self.buffer[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        if self.filled == CHUNK {
            self.spill().map_err(|error| {
                let full = error.is_full().then_some(io::ErrorKind::StorageFull);
                io::Error::new(full.unwrap_or(io::ErrorKind::Other), error)
            })?;
        }
        Ok(n)
    }

    /// Nothing to do: the content is durable when `finish` returns, and not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
