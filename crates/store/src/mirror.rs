//! Copies to the backend, behind the work and in its order.
//!
//! ```text
//! put ──▶ durable in the folder, copied = 0 ──▶ begun (1) ──▶ with the backend (2) ──▶ file may go
//! collect ──▶ row gone, removal queued ──────────────────────▶ removed there
//! ```
//!
//! A put never waits for any of this: a backend that is slow, wrong or not there leaves objects
//! pending, and they follow when it is back. One process mirrors at a time (`mirror.lock`), one
//! object after the other, in one thread. "Begun" is written before anything is sent, so that a
//! collection knows of copies that a killed process left. Removals come first and only for what
//! has no row: content that was put again in the meantime is pending anew, and sent after them.
//!
//! With a cache limit, files that the backend has go from the folder, least recently put first,
//! each after the backend has given every byte of it back.

use std::{
    fs::File,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use cid::Cid;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::{
    Error, Store,
    backend::{Chosen, Failure, Upload},
    disk,
    meta::{self, COPIED},
};

/// Objects or removals per look into the database.
const BATCH: usize = 64;

/// How often another process's puts are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// How long to wait after a failure, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often the folder is held against the cache limit.
const ROOM: Duration = Duration::from_secs(10);

/// The backend of an open store.
pub(crate) struct Remote {
    chosen: Chosen,
    /// Set when there may be something to copy.
    work: Mutex<bool>,
    waker: Condvar,
}

impl std::ops::Deref for Remote {
    type Target = Chosen;

    fn deref(&self) -> &Chosen {
        &self.chosen
    }
}

impl Remote {
    pub fn new(chosen: Chosen) -> Self {
        Self {
            chosen,
            work: Mutex::new(true),
            waker: Condvar::new(),
        }
    }

    pub fn error(&self, failure: Failure) -> Error {
        Error::Backend {
            backend: self.name.clone(),
            failure,
        }
    }

    /// Tells the mirror that something was put or removed, or that it is to end.
    pub fn wake(&self) {
        *lock(&self.work) = true;
        self.waker.notify_all();
    }

    fn wait(&self, longest: Duration) {
        let work = lock(&self.work);
        let waited = self.waker.wait_timeout_while(work, longest, |work| !*work);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the copies stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// The backend's URL, without options and secrets.
    pub backend: String,
    /// What it says of itself, once it has answered.
    pub says: Option<String>,
    /// Why copying does not get on, while it does not.
    pub trouble: Option<String>,
    /// Objects that the backend has.
    pub copied: u64,
    /// Objects that are to be copied, and the bytes of their content.
    pub pending: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Objects that only the backend has.
    pub away: u64,
    /// Copies that are to be removed.
    pub removals: u64,
}

/// What a mirror tells whoever runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MirrorEvent {
    /// It does not get on, for this reason; told once per reason.
    Trouble(String),
    /// It gets on again.
    Recovered,
}

/// The copying in a thread of its own. Dropped, it ends with the request under way, which is not
/// waited for: it may take a minute, and to break it off does no harm.
#[derive(Debug)]
pub struct Mirror {
    store: Store,
    stop: Arc<Mutex<bool>>,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        *lock(&self.stop) = true;
        if let Some(remote) = self.store.remote() {
            remote.wake();
        }
    }
}

impl Store {
    /// Starts copying to the backend in a thread of its own; `None` if there is no backend. While
    /// another process mirrors the same folder it only stands by.
    pub fn mirror(
        &self,
        on_event: impl FnMut(MirrorEvent) + Send + 'static,
    ) -> Result<Option<Mirror>, Error> {
        if self.remote().is_none() {
            return Ok(None);
        }
        let stop = Arc::new(Mutex::new(false));
        let copier = Copier::new(self.clone(), Arc::clone(&stop));
        thread::Builder::new()
            .name("kinora-mirror".into())
            .spawn(move || copier.run(on_event))
            .map_err(|e| Error::io("starting a thread for", self.root(), e))?;
        Ok(Some(Mirror {
            store: self.clone(),
            stop,
        }))
    }

    /// Copies and removes all that is pending and returns when nothing is left, or at the first
    /// sign that the backend is away. What cannot be copied for another reason is passed over; the
    /// first such reason is the error in the end. `false` if another process mirrors.
    pub fn sync(&self, mut on_progress: impl FnMut(&BackendStatus)) -> Result<bool, Error> {
        let Some(_lock) = disk::lock_mirror(self.root())? else {
            return Ok(false);
        };
        if self.remote().is_none() {
            return Ok(true);
        }
        let mut copier = Copier::new(self.clone(), Arc::default());
        let mut told = Instant::now();
        let outcome = copier.pass(&mut |store: &Store| {
            // Counting takes longer than copying a small object.
            if told.elapsed() > Duration::from_millis(500) {
                told = Instant::now();
                if let Ok(Some(status)) = store.backend_status() {
                    on_progress(&status);
                }
            }
        });
        copier.note(&outcome)?;
        outcome.map(|_| true)
    }

    /// Brings every object back into the folder that only the backend has.
    pub fn fetch(&self, mut on_progress: impl FnMut(u64)) -> Result<u64, Error> {
        let away: Vec<Cid> = self.meta().read(|c| {
            c.prepare("SELECT cid FROM objects WHERE here = 0 ORDER BY id")?
                .query_map([], |row| meta::cid_column(row, 0))?
                .collect()
        })?;
        let mut fetched = 0;
        for cid in away {
            if let Some(located) = self.locate(&cid)? {
                self.bring_back(&located)?;
                fetched += 1;
                on_progress(fetched);
            }
        }
        Ok(fetched)
    }

    /// How the copies stand; `None` if the store never had a backend.
    pub fn backend_status(&self) -> Result<Option<BackendStatus>, Error> {
        self.meta().read(|c| {
            let row = c
                .query_row("SELECT name, says, trouble FROM backend", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?;
            let Some((backend, says, trouble)) = row else {
                return Ok(None);
            };
            let count = |sql| c.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
            let (copied, _): (u64, u64) =
                count("SELECT count(*), 0 FROM objects WHERE copied = 2")?;
            let (pending, pending_bytes) =
                count("SELECT count(*), coalesce(sum(size), 0) FROM objects WHERE copied < 2")?;
            let (away, removals) = count(
                "SELECT (SELECT count(*) FROM objects WHERE here = 0), (SELECT count(*) FROM removals WHERE copy = 1)",
            )?;
            Ok(Some(BackendStatus {
                backend,
                says,
                trouble,
                copied,
                pending,
                pending_bytes,
                away,
                removals,
            }))
        })
    }

    /// Makes `copied` speak of this backend. What it said of another is forgotten, unless objects
    /// are only there.
    pub(crate) fn adopt_backend(&self, name: &str) -> Result<(), Error> {
        let known = self.meta().read(meta::backend_name)?;
        if known.as_deref() == Some(name) {
            return Ok(());
        }
        self.meta().write(|tx| {
            let fail = |e| self.meta().error(e);
            let away: u64 = tx
                .query_row("SELECT count(*) FROM objects WHERE here = 0", [], |row| {
                    row.get(0)
                })
                .map_err(fail)?;
            if let (Some(backend), true) = (known, away > 0) {
                return Err(Error::LeftBehind {
                    objects: away,
                    backend,
                });
            }
            tx.execute_batch(
                "UPDATE objects SET copied = 0 WHERE copied > 0;
                 UPDATE removals SET copy = 0;
                 CREATE INDEX IF NOT EXISTS objects_pending ON objects (id) WHERE copied < 2;
                 CREATE INDEX IF NOT EXISTS objects_away ON objects (id) WHERE here = 0;
                 CREATE INDEX IF NOT EXISTS objects_droppable ON objects (touched, id)
                     WHERE here = 1 AND node = 0 AND copied = 2;",
            )
            .map_err(fail)?;
            tx.execute(
                "INSERT OR REPLACE INTO backend (one, name) VALUES (1, ?1)",
                [name],
            )
            .map_err(fail)?;
            Ok(())
        })
    }
}

/// One who mirrors.
struct Copier {
    store: Store,
    stop: Arc<Mutex<bool>>,
    connected: bool,
    /// Held once nobody else mirrors.
    lock: Option<File>,
    room_seen: Option<Instant>,
}

/// A row that is to be copied.
struct Pending {
    id: i64,
    cid: Cid,
}

impl Copier {
    fn new(store: Store, stop: Arc<Mutex<bool>>) -> Self {
        Self {
            store,
            stop,
            connected: false,
            lock: None,
            room_seen: None,
        }
    }

    fn stopped(&self) -> bool {
        *lock(&self.stop)
    }

    fn run(mut self, mut on_event: impl FnMut(MirrorEvent)) {
        let store = self.store.clone();
        let Some(remote) = store.remote() else { return };
        let mut wait = FIRST_WAIT;
        let mut trouble = None;
        while !self.stopped() {
            let outcome = self.turn();
            let reason = outcome.as_ref().err().map(text);
            match (&reason, &trouble) {
                (Some(now), before) if before.as_ref() != Some(now) => {
                    on_event(MirrorEvent::Trouble(now.clone()));
                }
                (None, Some(_)) => on_event(MirrorEvent::Recovered),
                _ => {}
            }
            trouble = reason;
            if trouble.is_some() {
                self.pause(remote, wait);
                wait = (wait * 2).min(LONGEST_WAIT);
            } else {
                wait = FIRST_WAIT;
                remote.wait(LOOK);
            }
        }
    }

    /// Waits out a failure. Puts wake the mirror, and each would be one more attempt in vain.
    fn pause(&self, remote: &Remote, wait: Duration) {
        let end = Instant::now() + wait;
        while !self.stopped() && Instant::now() < end {
            remote.wait(end.saturating_duration_since(Instant::now()));
        }
    }

    fn turn(&mut self) -> Result<(), Error> {
        if self.lock.is_none() {
            self.lock = disk::lock_mirror(self.store.root())?;
        }
        if self.lock.is_none() {
            return Ok(());
        }
        let outcome = self.pass(&mut |_| ());
        self.note(&outcome)?;
        outcome
    }

    /// Does all there is to do.
    fn pass(&mut self, on_progress: &mut dyn FnMut(&Store)) -> Result<(), Error> {
        let outcome = self.work(on_progress);
        if outcome.is_err() {
            self.connected = false;
        }
        outcome
    }

    fn work(&mut self, on_progress: &mut dyn FnMut(&Store)) -> Result<(), Error> {
        let store = self.store.clone();
        let Some(remote) = store.remote() else {
            return Ok(());
        };
        let mut first_failure = None;
        // What fails is passed over and comes again with the next pass.
        let mut after = 0;
        while !self.stopped() {
            self.remove_copies(remote)?;
            let batch = self.begin(after)?;
            let Some(last) = batch.last() else { break };
            after = last.id;
            for pending in &batch {
                if self.stopped() {
                    return Ok(());
                }
                self.connect(remote)?;
                match self.copy(remote, pending) {
                    Ok(()) => {}
                    Err(error) if error.is_away() => return Err(error),
                    Err(error) => {
                        first_failure.get_or_insert(error);
                    }
                }
                on_progress(&store);
            }
        }
        self.make_room(remote)?;
        first_failure.map_or(Ok(()), Err)
    }

    /// Asks for the backend once there is something to do with it, so that an idle store needs none.
    fn connect(&mut self, remote: &Remote) -> Result<(), Error> {
        if self.connected {
            return Ok(());
        }
        let meta = self.store.meta();
        let owner = self.store.identity()?;
        let says = remote
            .backend
            .connect(&owner)
            .map_err(|e| remote.error(e))?;
        meta.write(|tx| {
            tx.execute("UPDATE backend SET says = ?1", [&says])
                .map_err(|e| meta.error(e))
        })?;
        self.connected = true;
        Ok(())
    }

    /// Writes down how the last pass went, for those who ask.
    fn note(&self, outcome: &Result<(), Error>) -> Result<(), Error> {
        let now = outcome.as_ref().err().map(text);
        let meta = self.store.meta();
        let known: Option<Option<String>> = meta.read(|c| {
            c.query_row("SELECT trouble FROM backend", [], |row| row.get(0))
                .optional()
        })?;
        if known.is_none_or(|known| known == now) {
            return Ok(());
        }
        meta.write(|tx| {
            tx.execute("UPDATE backend SET trouble = ?1", [&now])
                .map_err(|e| meta.error(e))
        })?;
        Ok(())
    }

    /// The next objects to copy, marked as begun.
    fn begin(&self, after: i64) -> Result<Vec<Pending>, Error> {
        let meta = self.store.meta();
        let batch: Vec<Pending> = meta.read(|c| {
            c.prepare_cached(&format!(
                "SELECT id, cid FROM objects WHERE copied < 2 AND id > ?1 ORDER BY id LIMIT {BATCH}"
            ))?
            .query_map([after], |row| {
                Ok(Pending {
                    id: row.get(0)?,
                    cid: meta::cid_column(row, 1)?,
                })
            })?
            .collect()
        })?;
        if !batch.is_empty() {
            let mark = |tx: &Transaction<'_>| -> rusqlite::Result<()> {
                let mut mark = tx
                    .prepare_cached("UPDATE objects SET copied = 1 WHERE id = ?1 AND copied = 0")?;
                batch
                    .iter()
                    .try_for_each(|pending| mark.execute([pending.id]).map(|_| ()))
            };
            meta.write(|tx| mark(tx).map_err(|e| meta.error(e)))?;
        }
        Ok(batch)
    }

    fn copy(&self, remote: &Remote, pending: &Pending) -> Result<(), Error> {
        let Some(upload) = self.store.upload(&pending.cid)? else {
            // Collected meanwhile.
            return Ok(());
        };
        remote.backend.put(&upload).map_err(|e| remote.error(e))?;
        let meta = self.store.meta();
        // A node object that has become a file since is pending anew, and so is what was collected
        // and put again: begun is what it must still be.
        meta.write(|tx| {
            tx.prepare_cached(
                "UPDATE objects SET copied = 2 WHERE id = ?1 AND cid = ?2 AND copied = 1",
            )
            .and_then(|mut mark| mark.execute((pending.id, meta::key(&pending.cid))))
            .map_err(|e| meta.error(e))
        })?;
        Ok(())
    }

    /// Removes copies of what was collected.
    fn remove_copies(&mut self, remote: &Remote) -> Result<(), Error> {
        let store = self.store.clone();
        let meta = store.meta();
        loop {
            let batch: Vec<(Cid, bool)> = meta.read(|c| {
                c.prepare_cached(&format!(
                    "SELECT cid, EXISTS (SELECT 1 FROM objects o WHERE o.cid = r.cid)
                     FROM removals r WHERE copy = 1 LIMIT {BATCH}"
                ))?
                .query_map([], |row| Ok((meta::cid_column(row, 0)?, row.get(1)?)))?
                .collect()
            })?;
            if batch.is_empty() || self.stopped() {
                return Ok(());
            }
            for (cid, back) in &batch {
                if !back {
                    self.connect(remote)?;
                    remote.backend.remove(cid).map_err(|e| remote.error(e))?;
                }
            }
            let cids: Vec<Cid> = batch.iter().map(|(cid, _)| *cid).collect();
            meta.write(|tx| meta::copies_removed(tx, &cids).map_err(|e| meta.error(e)))?;
        }
    }

    /// Drops files that the backend has until the folder is within its limit.
    fn make_room(&mut self, remote: &Remote) -> Result<(), Error> {
        let Some(limit) = remote.cache else {
            return Ok(());
        };
        if self.room_seen.is_some_and(|seen| seen.elapsed() < ROOM) {
            return Ok(());
        }
        self.room_seen = Some(Instant::now());
        let held: u64 = self.store.meta().read(|c| {
            let sql = "SELECT coalesce(sum(size), 0) FROM objects WHERE here = 1 AND node = 0";
            c.query_row(sql, [], |row| row.get(0))
        })?;
        let mut over = held.saturating_sub(limit);
        let mut after = (i64::MIN, 0);
        while over > 0 && !self.stopped() {
            let next = self.store.meta().read(|c| droppable(c, after))?;
            let Some(file) = next else { break };
            after = file.place;
            self.connect(remote)?;
            if self.store.drop_file(remote, &file.cid, file.size)? {
                over = over.saturating_sub(file.size);
            }
        }
        Ok(())
    }
}

/// A file that may go from the folder.
struct Droppable {
    /// Where it stands in the order of going: `touched`, then id.
    place: (i64, i64),
    cid: Cid,
    size: u64,
}

/// The next file that may go.
fn droppable(c: &Connection, after: (i64, i64)) -> rusqlite::Result<Option<Droppable>> {
    c.prepare_cached(
        "SELECT touched, id, cid, size FROM objects
         WHERE here = 1 AND node = 0 AND copied = 2 AND (touched, id) > (?1, ?2)
         ORDER BY touched, id LIMIT 1",
    )?
    .query_row(after, |row| {
        Ok(Droppable {
            place: (row.get(0)?, row.get(1)?),
            cid: meta::cid_column(row, 2)?,
            size: row.get(3)?,
        })
    })
    .optional()
}

impl Store {
    /// What is sent of an object; `None` if it is not held any more.
    fn upload(&self, cid: &Cid) -> Result<Option<Upload>, Error> {
        let row = self
            .meta()
            .read(|c| Ok((meta::object(c, cid)?, meta::held_by(c, cid)?)))?;
        let (Some(row), held_by) = row else {
            return Ok(None);
        };
        let mut upload = Upload {
            cid: row.cid,
            size: row.size,
            mime: None,
            held_by,
            nodes: Vec::new(),
            leaves: Vec::new(),
            file: None,
        };
        if row.node {
            let node = self.meta().read(|c| meta::node(c, cid))?;
            upload.nodes.extend(node.map(|node| (row.cid, node.into())));
            return Ok(Some(upload));
        }
        let Some((object, located)) = self.open_content(cid)? else {
            return Ok(None);
        };
        upload.mime = located.mime;
        upload.file = Some(object.file);
        upload.leaves = self.leaves(&row.cid, row.size)?;
        let blocks = self.meta().read(|c| meta::blocks(c, cid))?;
        let nodes = blocks
            .into_iter()
            .filter_map(|b| Some((b.cid, b.node?.into())));
        upload.nodes = nodes.collect();
        // The root covers everything and is recorded last.
        upload.nodes.reverse();
        Ok(Some(upload))
    }

    /// Drops an object's file after the backend has given all of it back; `false` if it did not,
    /// and then the object is pending again.
    fn drop_file(&self, remote: &Remote, cid: &Cid, size: u64) -> Result<bool, Error> {
        for leaf in self.leaves(cid, size)? {
            match self.read_away(&leaf) {
                Ok(_) => {}
                Err(error) if error.is_away() => return Err(error),
                Err(_) => {
                    self.not_copied(cid)?;
                    remote.wake();
                    return Ok(false);
                }
            }
        }
        self.meta().write(|tx| {
            let sql = "UPDATE objects SET here = 0 WHERE cid = ?1 AND copied = ?2";
            tx.execute(sql, (meta::key(cid), COPIED))
                .and_then(|_| meta::remove(tx, cid, false))
                .map_err(|e| self.meta().error(e))
        })?;
        self.remove_files(&[*cid])?;
        Ok(true)
    }

    /// The backend does not have a good copy after all.
    pub(crate) fn not_copied(&self, cid: &Cid) -> Result<(), Error> {
        self.meta().write(|tx| {
            let sql = "UPDATE objects SET copied = 0 WHERE cid = ?1 AND here = 1";
            tx.execute(sql, [meta::key(cid)])
                .map_err(|e| self.meta().error(e))
        })?;
        Ok(())
    }

    /// When the mirror is to look again.
    pub(crate) fn changed(&self) {
        if let Some(remote) = self.remote() {
            remote.wake();
        }
    }
}

/// An error and its causes on one line.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
