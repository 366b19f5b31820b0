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
//! Content of one chunk is kept in memory, and if the store has it already nothing is written.
//! Longer content is hashed here while a thread writes it, with a handful of 1 MiB buffers between
//! the two, so the slower of disk and hash sets the pace instead of their sum.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
};

use cid::Cid;
use rusqlite::Transaction;

use crate::{
    Error, Store,
    disk::{self, Draft, Incoming},
    meta, mime, names, pins,
    unixfs::{self, CHUNK, Dag, Importer},
};

/// Buffers of one chunk between reading and writing.
const BUFFERS: usize = 4;

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
            let mut buffer = writer.buffer()?;
            let n = unixfs::read_full(&mut content, &mut buffer[..CHUNK]).map_err(Error::Source)?;
            buffer.truncate(n);
            writer.push(buffer)?;
            if n < CHUNK {
                return writer.finish();
            }
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
            partial: Vec::new(),
            first: None,
            pipe: None,
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
    /// Bytes that do not fill a chunk yet.
    partial: Vec<u8>,
    /// The first chunk, as long as it may be all.
    first: Option<Vec<u8>>,
    pipe: Option<Pipe>,
}

impl Writer<'_> {
    /// Ends the content and records it.
    pub fn finish(mut self) -> Result<Stored, Error> {
        let rest = std::mem::take(&mut self.partial);
        self.push(rest)?;
        let content = match self.pipe.take() {
            None => Content::Memory(self.first.take().unwrap_or_default()),
            Some(pipe) => Content::Incoming(Incoming::Draft(pipe.finish()?)),
        };
        let dag = std::mem::take(&mut self.importer).finish();
        self.store.record(dag, content, &self.options)
    }

    /// A buffer of one chunk to fill and `push`.
    fn buffer(&mut self) -> Result<Vec<u8>, Error> {
        match &mut self.pipe {
            Some(pipe) => pipe.buffer(),
            None => Ok(vec![0; CHUNK]),
        }
    }

    fn push(&mut self, chunk: Vec<u8>) -> Result<(), Error> {
        if chunk.is_empty() {
            return Ok(());
        }
        if self.pipe.is_none() && self.first.is_none() {
            self.importer.update(&chunk);
            self.first = Some(chunk);
            return Ok(());
        }
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            none => none.insert(Pipe::start(self.store.disk().draft()?)?),
        };
        if let Some(first) = self.first.take() {
            pipe.send(first)?;
        }
        // Handed over first, hashed second: the thread writes the same bytes meanwhile.
        let chunk = pipe.send(chunk)?;
        self.importer.update(&chunk);
        Ok(())
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.partial.capacity() == 0 {
            let mut buffer = self.buffer().map_err(io::Error::other)?;
            buffer.clear();
            self.partial = buffer;
        }
        let n = bytes.len().min(CHUNK - self.partial.len());
        self.partial.extend_from_slice(&bytes[..n]);
        if self.partial.len() == CHUNK {
            let full = std::mem::take(&mut self.partial);
            self.push(full).map_err(io::Error::other)?;
        }
        Ok(n)
    }

    /// Nothing to do: the content is durable when `finish` returns, and not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes a draft, and the buffers that go back and forth.
struct Pipe {
    /// Dropped to end the thread.
    chunks: Option<SyncSender<Arc<Vec<u8>>>>,
    /// One token for each buffer that was written and let go.
    written: Receiver<()>,
    /// Buffers handed over, oldest first.
    under_way: VecDeque<Arc<Vec<u8>>>,
    thread: Option<JoinHandle<Result<Draft, Error>>>,
}

impl Pipe {
    fn start(draft: Draft) -> Result<Self, Error> {
        let (chunks, receive) = sync_channel(BUFFERS);
        let (done, written) = channel();
        let path = draft.path().to_owned();
        let thread = std::thread::Builder::new()
            .name("store-write".into())
            .spawn(move || write_chunks(draft, receive, done))
            .map_err(|e| Error::io("starting a writer for", path, e))?;
        Ok(Self {
            chunks: Some(chunks),
            written,
            under_way: VecDeque::with_capacity(BUFFERS),
            thread: Some(thread),
        })
    }

    fn send(&mut self, chunk: Vec<u8>) -> Result<Arc<Vec<u8>>, Error> {
        let chunk = Arc::new(chunk);
        self.under_way.push_back(chunk.clone());
        let sender = self.chunks.as_ref().expect("open until finished");
        match sender.send(chunk.clone()) {
            Ok(()) => Ok(chunk),
            Err(_) => Err(self.failure()),
        }
    }

    /// A buffer that has been written, or a new one while there are few.
    fn buffer(&mut self) -> Result<Vec<u8>, Error> {
        if self.under_way.len() < BUFFERS {
            return Ok(vec![0; CHUNK]);
        }
        if self.written.recv().is_err() {
            return Err(self.failure());
        }
        let oldest = self.under_way.pop_front().expect("as many as sent");
        let mut buffer = Arc::try_unwrap(oldest).unwrap_or_default();
        buffer.resize(CHUNK, 0);
        Ok(buffer)
    }

    fn finish(mut self) -> Result<Draft, Error> {
        self.join()
    }

    /// Why the thread ended early.
    fn failure(&mut self) -> Error {
        match self.join() {
            Err(error) => error,
            Ok(draft) => Error::io(
                "writing",
                draft.path(),
                io::Error::from(io::ErrorKind::BrokenPipe),
            ),
        }
    }

    fn join(&mut self) -> Result<Draft, Error> {
        self.chunks = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(Error::Source(io::Error::other("an earlier write failed"))),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

fn write_chunks(
    mut draft: Draft,
    chunks: Receiver<Arc<Vec<u8>>>,
    written: Sender<()>,
) -> Result<Draft, Error> {
    for chunk in chunks {
        draft.write_all(&chunk)?;
        drop(chunk);
        // Nobody waits any more once the content has ended.
        let _ = written.send(());
    }
    Ok(draft)
}
