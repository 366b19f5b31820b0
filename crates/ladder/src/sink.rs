//! Where finished segments go: the [`Sink`] trait, and [`DirSink`], which writes a folder.
//!
//! The pipeline calls a sink on one thread, each rendition's segments in order. A sink decides
//! what is durable and when a playlist may name a segment. Other sinks (a content store, a
//! network) live with whoever owns that store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::playlist::{self, Rendition, SegmentInfo};
use crate::{Plan, Report};

/// One finished segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Rung name, or `audio`.
    pub rung: String,
    /// Place in the playlist, from 0.
    pub index: u32,
    /// Start in the stream, in seconds.
    pub start: f64,
    /// Measured duration in seconds.
    pub duration: f64,
    /// Codecs in it (RFC 6381), taken from the parameter sets; the same for all of a rendition.
    pub codecs: String,
    /// The whole file.
    pub bytes: Vec<u8>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Share of the whole work that is done, 0 to 1.
    pub fraction: f64,
    /// The same in seconds of the stream.
    pub media_s: f64,
    /// Seconds of the stream made per second, over this run.
    pub speed: f64,
    /// Seconds until the end at this speed; `None` before there is a speed.
    pub eta_s: Option<f64>,
}

/// Receives a run's output. An error from any method ends the run with that error.
pub trait Sink {
    /// Called once, before anything else, with what will be made.
    fn plan(&mut self, plan: &Plan) -> io::Result<()>;
    /// The initialisation segment of a rendition, before its first segment (CMAF only).
    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()>;
    /// The next segment of a rendition.
    fn segment(&mut self, segment: Segment) -> io::Result<()>;
    /// How far the run is, a few times a second.
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        let _ = progress;
        Ok(())
    }
    /// Called once, after the last segment of a run that succeeded.
    fn end(&mut self, report: &Report) -> io::Result<()>;
}

/// Writes `DIR/master.m3u8`, `DIR/<rung>/playlist.m3u8`, `DIR/<rung>/00000.ts` and so on.
///
/// Every file is written under a name of its own and renamed when whole, and a playlist is replaced
/// only after the segment it newly names is in place, so the folder can be served while it grows.
/// The master appears when every rendition has a segment.
#[derive(Debug)]
pub struct DirSink {
    root: PathBuf,
    extension: &'static str,
    renditions: Vec<Rendition>,
    observer: Option<Observer>,
}

type ProgressFn = Box<dyn FnMut(&Progress) + Send>;

struct Observer(ProgressFn);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

const MASTER: &str = "master.m3u8";
const PLAYLIST: &str = "playlist.m3u8";
const INIT: &str = "init.mp4";
const PARTIAL: &str = "part";

impl DirSink {
    /// A sink that writes into `root`, which is created when the run starts.
    pub fn new(root: impl Into<PathBuf>) -> DirSink {
        DirSink {
            root: root.into(),
            extension: "",
            renditions: Vec::new(),
            observer: None,
        }
    }

    /// Calls `observe` with each progress report.
    #[must_use]
    pub fn on_progress(mut self, observe: impl FnMut(&Progress) + Send + 'static) -> DirSink {
        self.observer = Some(Observer(Box::new(observe)));
        self
    }

    /// The renditions with the segments written so far.
    pub fn renditions(&self) -> &[Rendition] {
        &self.renditions
    }

    fn rendition(&mut self, name: &str) -> io::Result<&mut Rendition> {
        let found = self
            .renditions
            .iter_mut()
            .find(|rendition| rendition.name == name);
        found
            .ok_or_else(|| io::Error::other(format!("a segment of an unplanned rendition: {name}")))
    }

    fn publish(&self, name: &str, ended: bool) -> io::Result<()> {
        for rendition in self
            .renditions
            .iter()
            .filter(|rendition| rendition.name == name)
        {
            let text = playlist::media(rendition, ended);
            replace(&self.root.join(&rendition.uri), text.as_bytes())?;
        }
        if self
            .renditions
            .iter()
            .all(|rendition| !rendition.segments.is_empty())
        {
            let text = playlist::master(&self.renditions);
            replace(&self.root.join(MASTER), text.as_bytes())?;
        }
        Ok(())
    }
}

impl Sink for DirSink {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.extension = plan.container.extension();
        self.renditions = plan.renditions();
        fs::create_dir_all(&self.root).map_err(|error| at(&self.root, error))?;
        remove_if_there(&self.root.join(MASTER))?;
        for rendition in &self.renditions {
            clear(&self.root.join(&rendition.name))?;
        }
        Ok(())
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.root.join(rung).join(INIT), bytes)
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        let uri = format!("{:05}.{}", segment.index, self.extension);
        replace(&self.root.join(&segment.rung).join(&uri), &segment.bytes)?;
        let rendition = self.rendition(&segment.rung)?;
        rendition.codecs = segment.codecs;
        rendition.segments.push(SegmentInfo {
            uri,
            duration: segment.duration,
            bytes: segment.bytes.len() as u64,
        });
        self.publish(&segment.rung, false)
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        if let Some(Observer(observe)) = &mut self.observer {
            observe(progress);
        }
        Ok(())
    }

    fn end(&mut self, _report: &Report) -> io::Result<()> {
        self.renditions.iter_mut().for_each(Rendition::finish);
        for rendition in &self.renditions {
            self.publish(&rendition.name, true)?;
        }
        Ok(())
    }
}

/// Makes the folder of a rendition and takes away what an earlier run left in it: the names that
/// this sink itself writes, nothing else.
fn clear(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    remove_if_there(&folder.join(PLAYLIST))?;
    for entry in fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let path = entry.map_err(|error| at(folder, error))?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_own)
        {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

fn is_own(name: &str) -> bool {
    let name = name
        .strip_suffix(PARTIAL)
        .and_then(|name| name.strip_suffix('.'))
        .unwrap_or(name);
    let Some((stem, extension)) = name.split_once('.') else {
        return false;
    };
    let numbered = stem.len() >= 5 && stem.bytes().all(|byte| byte.is_ascii_digit());
    name == INIT || name == PLAYLIST || numbered && matches!(extension, "ts" | "m4s")
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(PARTIAL);
    let partial = PathBuf::from(name);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // The half-written file is of no use to anybody; the first error is the one to report.
        let _ = fs::remove_file(&partial);
        at(path, error)
    })
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, error)),
        _ => Ok(()),
    }
}

/// The same kind of error with the path in its text, which `std::fs` leaves out.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
