//! A request's body on its way into a file: one buffer of memory, written by blocking threads,
//! with the size limit and the disk's room checked as it goes.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, pin_mut};

use super::Turn;
use crate::app::App;
use crate::disk;
use crate::problem::{Answer, Problem};

/// Bytes collected before a write.
const BUFFER: usize = 1 << 20;

/// Bytes between two looks at the disk's room.
const LOOK_AFTER: u64 = 16 << 20;

/// How long a client may send nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that is being written to.
pub(super) struct Receiver {
    app: Arc<App>,
    file: File,
    buffer: Vec<u8>,
    /// Bytes in the file.
    written: u64,
    /// The most the file may have.
    most: u64,
    unlooked: u64,
    turn: Turn,
}

/// Why receiving ended.
pub(super) enum End {
    /// The body ended properly.
    Whole,
    /// The connection broke, or a newer request took over.
    Broken(String),
    /// The client sent nothing for too long.
    Idle,
    /// More came than the file may have.
    TooMuch,
    /// The disk is full.
    Full,
    /// Writing failed otherwise.
    Failed(io::Error),
}

impl Receiver {
    pub(super) fn new(app: &Arc<App>, file: File, written: u64, most: u64, turn: Turn) -> Self {
        Self {
            app: Arc::clone(app),
            file,
            buffer: Vec::new(),
            written,
            most,
            unlooked: 0,
            turn,
        }
    }

    /// Writes the body to the file. Whatever the end, everything that came is in the file then,
    /// as far as the disk took it. Gives back the turn, the file's length and the end.
    pub(super) async fn receive<E: std::fmt::Display>(
        mut self,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Answer<(Turn, u64, End)> {
        pin_mut!(body);
        let give_way = self.turn.give_way();
        pin_mut!(give_way);
        let end = loop {
            let chunk = tokio::select! {
                chunk = tokio::time::timeout(PATIENCE, body.next()) => chunk,
                () = &mut give_way => {
                    break End::Broken("a newer request took over".to_owned());
                }
            };
            let chunk = match chunk {
                Err(_) => break End::Idle,
                Ok(None) => break End::Whole,
                Ok(Some(Err(error))) => break End::Broken(error.to_string()),
                Ok(Some(Ok(chunk))) => chunk,
            };
            let room = self.most - self.written - self.buffer.len() as u64;
            if chunk.len() as u64 > room {
                break End::TooMuch;
            }
            self.buffer.extend_from_slice(&chunk);
            if self.buffer.len() >= BUFFER {
                let outcome;
                (self, outcome) = self.flush().await?;
                if let Some(end) = outcome {
                    break end;
                }
            }
        };
        let (flushed, outcome) = self.flush().await?;
        let end = match (end, outcome) {
            // The disk's trouble matters more than how the connection ended.
            (End::Whole | End::Broken(_) | End::Idle, Some(trouble)) => trouble,
            (end, _) => end,
        };
        Ok((flushed.turn, flushed.written, end))
    }

    /// Writes the buffer on a blocking thread. `Some` when it could not.
    async fn flush(mut self) -> Answer<(Self, Option<End>)> {
        if self.buffer.is_empty() {
            return Ok((self, None));
        }
        tokio::task::spawn_blocking(move || {
            let end = self.write();
            (self, end)
        })
        .await
        .map_err(Problem::from)
    }

    fn write(&mut self) -> Option<End> {
        let outcome = self.file.write_all(&self.buffer);
        store::fault::point("upload-half");
        self.unlooked += self.buffer.len() as u64;
        self.buffer.clear();
        match self.file.metadata() {
            Ok(file) => self.written = file.len(),
            Err(error) => return Some(End::Failed(error)),
        }
        match outcome {
            Err(error) if disk::is_full(&error) => return Some(End::Full),
            Err(error) => return Some(End::Failed(error)),
            Ok(()) => {}
        }
        if self.unlooked < LOOK_AFTER {
            return None;
        }
        self.unlooked = 0;
        match self.app.disk.need(1) {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(End::Full),
            Err(error) => Some(End::Failed(error)),
        }
    }
}
