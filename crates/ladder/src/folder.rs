//! A stream in a folder that any web server can serve while it grows: `DIR/master.m3u8`,
//! `DIR/<rung>/playlist.m3u8`, `DIR/<rung>/00000.ts` and so on.
//!
//! Every file is written under a name of its own (`….part`) and renamed when whole. `DIR/.journal`
//! has the recipe in its first line and a line for each piece, written after the piece's bytes and
//! before its rename:
//!
//! ```text
//! 00042.ts.part written, synced ─► line in the journal, synced ─► renamed to 00042.ts
//! ```
//!
//! A line whose piece has not its last name yet was interrupted at the second arrow, and the next
//! run does the rename; a line that is not whole was interrupted at the first, and counts for
//! nothing. So nothing that was once whole is made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::playlist::Rendition;
use crate::publish::{Content, Kept, Left, Piece, Publisher, Shelf};

const JOURNAL: &str = ".journal";
const PARTIAL: &str = "part";

/// The endings of names that a run writes into a rendition's folder.
const ENDINGS: [&str; 7] = ["ts", "m4s", "mp4", "m3u8", "mpd", "vtt", "jpg"];

/// A folder as a [`Shelf`].
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Open and locked from the first use on.
    journal: Option<File>,
}

/// Publishes a run into a folder.
pub type DirSink = Publisher<Folder>;

/// A line of the journal after the first.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    piece: Piece,
    bytes: u64,
    record: String,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    recipe: String,
}

impl Publisher<Folder> {
    /// A publisher that writes into `root`, which is created when the run starts.
    pub fn new(root: impl Into<PathBuf>) -> DirSink {
        Publisher::over(Folder::at(root))
    }
}

impl Folder {
    /// The folder `root`, which is created at the first use.
    pub fn at(root: impl Into<PathBuf>) -> Folder {
        Folder {
            root: root.into(),
            journal: None,
        }
    }

    /// The recipe of the stream in a folder, if one began there.
    pub fn recipe(root: &Path) -> Option<String> {
        let text = fs::read_to_string(root.join(JOURNAL)).ok()?;
        let head: Head = serde_json::from_str(text.lines().next()?).ok()?;
        Some(head.recipe)
    }

    /// The journal, made if need be and locked: two runs in one folder would mix their streams.
    fn journal(&mut self) -> io::Result<&mut File> {
        if self.journal.is_none() {
            fs::create_dir_all(&self.root).map_err(|error| at(&self.root, error))?;
            let path = self.root.join(JOURNAL);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(|error| at(&path, error))?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
                let error = io::Error::from(error);
                let busy = error.kind() == io::ErrorKind::WouldBlock;
                let taken = || io::Error::other("another run writes into this folder");
                at(&self.root, if busy { taken() } else { error })
            })?;
            self.journal = Some(file);
        }
        self.journal
            .as_mut()
            .ok_or_else(|| io::Error::other("no journal"))
    }

    /// Appends a line.
    fn note(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let path = self.root.join(JOURNAL);
        let journal = self.journal()?;
        let written = journal
            .seek(SeekFrom::End(0))
            .and_then(|whole| {
                let written = journal.write_all(&text);
                // Half a line would hide the next one.
                written.inspect_err(|_| drop(journal.set_len(whole)))
            })
            .and_then(|()| journal.sync_data());
        written.map_err(|error| at(&path, error))
    }

    /// The whole lines of the journal; what is left of a torn one is taken away.
    fn lines(&mut self) -> io::Result<Vec<String>> {
        let journal = self.journal()?;
        let mut bytes = Vec::new();
        journal.seek(SeekFrom::Start(0))?;
        journal.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        if whole < bytes.len() {
            journal.set_len(whole as u64)?;
            bytes.truncate(whole);
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn path(&self, piece: &Piece) -> PathBuf {
        self.root.join(&piece.rendition).join(&piece.file)
    }

    /// Whether the piece of this line is there, under its own name after this.
    fn settle(&self, line: &Line) -> io::Result<bool> {
        let path = self.path(&line.piece);
        let whole = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() == line.bytes);
        let partial = partial(&path);
        if !whole(&path) && whole(&partial) {
            fs::rename(&partial, &path).map_err(|error| at(&path, error))?;
        }
        Ok(whole(&path))
    }
}

impl Shelf for Folder {
    fn left(&mut self) -> io::Result<Option<Left>> {
        let lines = self.lines()?;
        let head = lines
            .first()
            .and_then(|line| serde_json::from_str(line).ok());
        let Some(Head { recipe }) = head else {
            return Ok(None);
        };
        let mut pieces = Vec::new();
        for line in &lines[1..] {
            let Ok(line) = serde_json::from_str::<Line>(line) else {
                continue;
            };
            if plain(&line.piece) && self.settle(&line)? {
                let kept = Kept {
                    uri: line.piece.file.clone(),
                    bytes: line.bytes,
                };
                pieces.push((line.piece, kept, line.record));
            }
        }
        Ok(Some(Left { recipe, pieces }))
    }

    fn begin(&mut self, recipe: &str, renditions: &[Rendition]) -> io::Result<()> {
        // The master goes first: whoever has it not cannot find the others.
        self.journal()?;
        clear(&self.root)?;
        let before = self.lines()?;
        let before = before
            .iter()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let before = before
            .filter(|line| plain(&line.piece))
            .map(|line| line.piece.rendition);
        let now = renditions.iter().map(|rendition| rendition.name.clone());
        let folders: std::collections::BTreeSet<String> = before.chain(now).collect();
        for folder in folders {
            clear(&self.root.join(folder))?;
        }
        for rendition in renditions {
            let folder = self.root.join(&rendition.name);
            fs::create_dir_all(&folder).map_err(|error| at(&folder, error))?;
        }
        self.journal()?.set_len(0)?;
        let recipe = recipe.to_owned();
        self.note(&Head { recipe })
    }

    fn keep(&mut self, piece: &Piece, content: Content<'_>, record: &str) -> io::Result<Kept> {
        let path = self.path(piece);
        let partial = partial(&path);
        let written = write(&partial, content, true).map_err(|error| at(&path, error));
        let kept = written.and_then(|bytes| {
            self.note(&Line {
                piece: piece.clone(),
                bytes,
                record: record.to_owned(),
            })?;
            Ok(Kept {
                uri: piece.file.clone(),
                bytes,
            })
        });
        let kept = kept.inspect_err(|_| {
            // The half-written file is of no use to anybody; the first error is the one to report.
            let _ = fs::remove_file(&partial);
        })?;
        fs::rename(&partial, &path).map_err(|error| at(&path, error))?;
        Ok(kept)
    }

    fn show(&mut self, path: &str, text: &str) -> io::Result<String> {
        let target = self.root.join(path);
        let partial = partial(&target);
        let written = write(&partial, Content::Bytes(text.as_bytes()), false)
            .and_then(|_| fs::rename(&partial, &target));
        written.map_err(|error| {
            let _ = fs::remove_file(&partial);
            at(&target, error)
        })?;
        Ok(path.to_owned())
    }

    fn forget(&mut self, piece: &Piece) -> io::Result<()> {
        remove_if_there(&self.path(piece))
    }

    fn hint(&self, piece: &Piece) -> Option<String> {
        Some(piece.file.clone())
    }
}

/// Whether the names of a piece lead nowhere but into its folder: the journal is a file like others,
/// and whoever can write the folder can write it.
fn plain(piece: &Piece) -> bool {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    plain(&piece.rendition) && plain(&piece.file)
}

/// Takes away what an earlier run left in a folder: names that a run writes, nothing else.
fn clear(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(folder, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| at(folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(is_own) {
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
    let Some((stem, ending)) = name.rsplit_once('.') else {
        return false;
    };
    let first = stem.split('.').next().unwrap_or_default();
    let numbered = first.len() >= 5 && first.bytes().all(|byte| byte.is_ascii_digit());
    let playlist = ["m3u8", "mpd"].contains(&ending);
    name == "init.mp4" || playlist || numbered && ENDINGS.contains(&ending)
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Writes a file and says how large it became.
fn write(path: &Path, content: Content<'_>, synced: bool) -> io::Result<u64> {
    let mut file = File::create(path)?;
    let bytes = match content {
        Content::Bytes(bytes) => file.write_all(bytes).map(|()| bytes.len() as u64)?,
        Content::File(from) => io::copy(&mut File::open(from)?, &mut file)?,
    };
    if synced {
        file.sync_data()?;
    }
    Ok(bytes)
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
