//! Files coming in. Whatever the protocol, the bytes go to `DATA/uploads/<id>` in bounded memory,
//! and [`finish`] turns a complete file into an asset.
//!
//! ```text
//! row ─► file grows ─► row: complete ─► the store takes the file and pins it ─► asset row
//! ```
//! A kill at any arrow loses nothing that was acknowledged: a complete row without an asset has
//! either its file or its pin, and the next start goes on from there ([`recover`]).

pub(crate) mod name;
pub(crate) mod post;
mod receive;
pub(crate) mod remote;
pub(crate) mod tus;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use catalog::{NewAsset, Protocol, Upload, roots};
use rustix::fs::{FallocateFlags, fallocate};
use store::{PutOptions, fault};
use tokio::sync::{OwnedMutexGuard, watch};

use crate::Error;
use crate::app::App;
use crate::disk;
use crate::problem::{Answer, Problem};
use crate::time::now_ms;

/// How long an unfinished upload is kept after it last grew.
pub(crate) const KEPT_MS: i64 = 24 * 3600 * 1000;

/// Uploads that may be unfinished at once; each may hold space on the disk.
const MOST: usize = 1000;

/// The uploads' folder, and who writes to which file.
pub(crate) struct Uploads {
    folder: PathBuf,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// One upload's turn-taking: the newest request wins, because the older one's connection is
/// usually dead without the server having noticed.
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The number of the newest request.
    newest: watch::Sender<u64>,
}

/// The right to write one upload's file. It travels with the file into blocking work, so a write
/// that outlives its request still keeps others out.
struct Turn {
    number: u64,
    newest: watch::Receiver<u64>,
    _held: OwnedMutexGuard<()>,
    _slot: Arc<Slot>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            turn: Arc::default(),
            newest: watch::Sender::new(0),
        }
    }
}

impl Turn {
    /// Ends when a newer request waits for the turn.
    fn give_way(&self) -> impl Future<Output = ()> + use<> {
        let mut newest = self.newest.clone();
        let mine = self.number;
        async move {
            // The sender lives as long as the turn: an error would mean that nobody waits.
            if newest.wait_for(|newest| *newest != mine).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Uploads {
    pub(crate) fn open(folder: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&folder).map_err(|source| Error::Io {
            operation: "make",
            path: folder.clone(),
            source,
        })?;
        Ok(Self {
            folder,
            slots: Mutex::default(),
        })
    }

    pub(crate) fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// Makes whoever writes to the upload stop, and waits for its last write.
    async fn take_turn(&self, id: &str) -> Turn {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            // Slots that nobody holds any more are forgotten here.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            Arc::clone(slots.entry(id.to_owned()).or_default())
        };
        let mut number = 0;
        slot.newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let held = Arc::clone(&slot.turn).lock_owned().await;
        Turn {
            number,
            newest: slot.newest.subscribe(),
            _held: held,
            _slot: slot,
        }
    }

    /// Makes the upload's file and sets its whole length aside on the disk where the file system
    /// can, so that a full disk is found before the first byte and not after the last.
    fn create(&self, id: &str, length: Option<u64>) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.path(id))?;
        let Some(length) = length.filter(|length| *length > 0) else {
            return Ok(());
        };
        match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, length) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(errno) => {
                self.remove(id);
                Err(errno.into())
            }
        }
    }

    fn append(&self, id: &str) -> io::Result<File> {
        OpenOptions::new().append(true).open(self.path(id))
    }

    /// Bytes that came so far.
    fn arrived(&self, id: &str) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path(id))?.len())
    }

    fn remove(&self, id: &str) {
        remove_file(&self.path(id));
    }
}

fn remove_file(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a file");
        }
        _ => {}
    }
}

/// A new identifier: 80 random bits, so that an address cannot be guessed.
fn new_id() -> io::Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0u8; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect())
}

/// Makes an upload's row and file after checking that it may come and fits. Blocks.
fn begin(
    app: &App,
    protocol: Protocol,
    name: &str,
    metadata: &str,
    length: Option<u64>,
) -> Answer<Upload> {
    check_length(app, name, length)?;
    if let Err(full) = app.disk.need(length.unwrap_or(1))? {
        return Err(Problem::disk_full(name, full.usable));
    }
    let unfinished = app.catalog.uploads()?;
    if unfinished.iter().filter(|upload| !upload.complete).count() >= MOST {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{name}: {MOST} uploads are unfinished already; finish or remove some"),
        ));
    }
    let now = now_ms();
    let upload = Upload {
        id: new_id()?,
        protocol,
        name: name.to_owned(),
        metadata: metadata.to_owned(),
        length,
        created_ms: now,
        expires_ms: now + KEPT_MS,
        complete: false,
        asset: None,
    };
    app.catalog.add_upload(&upload)?;
    if let Err(error) = app.uploads.create(&upload.id, length) {
        app.catalog.remove_upload(&upload.id)?;
        if disk::is_full(&error) {
            return Err(Problem::disk_full(name, app.disk.usable()?));
        }
        return Err(error.into());
    }
    fault::point("upload-begun");
    Ok(upload)
}

fn check_length(app: &App, name: &str, length: Option<u64>) -> Answer<()> {
    match length {
        Some(length) if length > app.config.max_upload => Err(too_large(app, name)),
        _ => Ok(()),
    }
}

fn too_large(app: &App, name: &str) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "{name}: larger than the {} this server accepts (--max-upload)",
            disk::human(app.config.max_upload)
        ),
    )
}

/// Drops an upload that did not become an asset. Blocks.
fn discard(app: &App, id: &str) -> Answer<()> {
    app.uploads.remove(id);
    app.catalog.remove_upload(id)?;
    Ok(())
}

/// Turns a complete upload into an asset with the same id, and starts work on it. May be called
/// again after a crash at any point of it. Blocks for as long as hashing takes.
pub(crate) fn finish(app: &App, upload: &Upload) -> Answer<()> {
    let id = upload.id.as_str();
    let path = app.uploads.path(id);
    let (cid, size) = match std::fs::metadata(&path) {
        Ok(file) => {
            app.catalog.complete_upload(id, file.len())?;
            fault::point("upload-complete");
            let pin = roots::original(id);
            let options = PutOptions {
                pin: Some(&pin),
                ..PutOptions::default()
            };
            let stored = app.store.put_file(&path, &options)?;
            (stored.cid, stored.size)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            already_taken(app, id)?.ok_or(error)?
        }
        Err(error) => return Err(error.into()),
    };
    fault::point("upload-stored");
    app.catalog.add_asset(&NewAsset {
        id,
        name: &upload.name,
        size,
        cid: &cid.to_string(),
        created_ms: now_ms(),
        want_stream: app.config.streams,
        upload: Some(id),
    })?;
    fault::point("upload-added");
    tracing::info!(asset = id, name = upload.name, size, "asset added");
    app.announce(id);
    app.dispatch.wake();
    Ok(())
}

fn already_taken(app: &App, id: &str) -> Answer<Option<(store::Cid, u64)>> {
    let pin = roots::original(id);
    let Some(pin) = app.store.pins(&pin)?.into_iter().next() else {
        return Ok(None);
    };
    Ok(app.store.stat(&pin.cid)?.map(|stat| (pin.cid, stat.size)))
}

/// Before the server listens: drops what nobody can go on with, that is, broken single requests,
/// expired uploads, and files without a row.
pub(crate) fn drop_abandoned(app: &App) -> Result<(), Error> {
    let now = now_ms();
    let mut kept = Vec::new();
    for upload in app.catalog.uploads()? {
        let dead =
            !upload.complete && (upload.protocol == Protocol::Post || upload.expires_ms < now);
        if dead {
            app.catalog.remove_upload(&upload.id)?;
        } else if upload.asset.is_none() {
            kept.push(upload.id);
        }
    }
    let folder = &app.uploads.folder;
    let read = |source| Error::Io {
        operation: "read",
        path: folder.clone(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let known = entry
            .file_name()
            .to_str()
            .is_some_and(|name| kept.iter().any(|id| id == name));
        if !known {
            remove_file(&entry.path());
        }
    }
    Ok(())
}

/// After a start: finishes uploads that were complete when the last server died.
pub(crate) fn recover(app: &App) {
    let uploads = match app.catalog.uploads() {
        Ok(uploads) => uploads,
        Err(error) => {
            tracing::error!(%error, "cannot look for interrupted uploads");
            return;
        }
    };
    for upload in uploads {
        if !upload.complete || upload.asset.is_some() {
            continue;
        }
        if let Err(problem) = finish(app, &upload) {
            tracing::error!(
                upload = upload.id,
                name = upload.name,
                error = problem.detail,
                "cannot finish an interrupted upload"
            );
        }
    }
}

/// Drops expired uploads; finished ones lose only the row that remembers what they became.
pub(crate) fn expire(app: &App) -> Result<(), catalog::Error> {
    let now = now_ms();
    for upload in app.catalog.uploads()? {
        let busy = {
            let slots = app
                .uploads
                .slots
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            slots
                .get(&upload.id)
                .is_some_and(|slot| Arc::strong_count(slot) > 1)
        };
        let lost = upload.complete && upload.asset.is_none();
        if upload.expires_ms < now && !busy && !lost {
            app.catalog.remove_upload(&upload.id)?;
            app.uploads.remove(&upload.id);
        }
    }
    Ok(())
}
