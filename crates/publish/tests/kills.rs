//! Death at every step of publishing, in a folder and in a store: the next run goes on, nothing is
//! kept twice, nothing is missing, the stream ends up as if nothing had happened; and whoever reads
//! meanwhile never meets a name whose bytes are not there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ladder::publish::{Content, Kept, Kind, Left, Piece, Publisher, Shelf};
use ladder::{Folder, Plan, Rendition, Segment, Sink};
use publish::StoreShelf;
use store::{Cid, Store};

const SEGMENTS: u32 = 5;
const RUNGS: [&str; 2] = ["720p", "360p"];

fn plan(window_s: Option<f64>) -> Plan {
    let rung = |name: &str| {
        serde_json::json!({
            "name": name, "width": 640, "height": 360, "bit_rate": 800_000,
            "max_rate": 1_200_000, "buffer": 1_600_000, "copied": false,
        })
    };
    let plan = serde_json::json!({
        "container": "cmaf", "duration_s": null, "segments": null, "target_duration": 4,
        "frame_rate": 25.0, "audio": [], "window_s": window_s, "rungs": RUNGS.map(rung),
    });
    serde_json::from_value(plan).unwrap()
}

fn segment(rung: &str, index: u32) -> Segment {
    Segment {
        rung: rung.to_owned(),
        index,
        start: f64::from(index) * 4.0,
        duration: 4.0,
        codecs: "avc1.64001e".to_owned(),
        bytes: format!("{rung} {index}").into_bytes(),
        ..Segment::default()
    }
}

/// A shelf that dies after so many steps, and counts what it kept.
struct Mortal<S> {
    shelf: S,
    steps: usize,
    kept: Arc<AtomicUsize>,
}

impl<S> Mortal<S> {
    fn step(&mut self) -> io::Result<()> {
        self.steps = self
            .steps
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("dead"))?;
        Ok(())
    }
}

impl<S: Shelf> Shelf for Mortal<S> {
    fn left(&mut self) -> io::Result<Option<Left>> {
        self.shelf.left()
    }

    fn begin(&mut self, recipe: &str, renditions: &[Rendition]) -> io::Result<()> {
        self.step()?;
        self.shelf.begin(recipe, renditions)
    }

    fn keep(&mut self, piece: &Piece, content: Content<'_>, record: &str) -> io::Result<Kept> {
        self.step()?;
        let kept = self.shelf.keep(piece, content, record)?;
        if let Some(Kind::Segment(_)) = piece.kind() {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
        Ok(kept)
    }

    fn show(&mut self, path: &str, text: &str) -> io::Result<String> {
        self.step()?;
        self.shelf.show(path, text)
    }

    fn forget(&mut self, piece: &Piece) -> io::Result<()> {
        self.step()?;
        self.shelf.forget(piece)
    }

    fn hint(&self, piece: &Piece) -> Option<String> {
        self.shelf.hint(piece)
    }
}

/// A run as a ladder does it: what is there is passed over.
fn run(
    shelf: impl Shelf,
    steps: usize,
    kept: &Arc<AtomicUsize>,
    window: Option<f64>,
) -> io::Result<()> {
    let kept = Arc::clone(kept);
    let mut publisher = Publisher::over(Mortal { shelf, steps, kept });
    publisher.made_by("a test");
    publisher.plan(&plan(window))?;
    let done = publisher.done();
    for rung in RUNGS {
        if !done.contains_key(&(rung.to_owned(), 0)) {
            publisher.init(rung, format!("{rung} init").as_bytes())?;
        }
    }
    for index in 0..SEGMENTS {
        for rung in RUNGS {
            if !done.contains_key(&(rung.to_owned(), index)) {
                publisher.segment(segment(rung, index))?;
            }
        }
    }
    publisher.finish()
}

/// Where a stream is made, and what somebody who comes by finds there.
trait Place: Sync {
    type Shelf: Shelf;
    fn shelf(&self) -> Self::Shelf;
    /// Every playlist by its path.
    fn texts(&self) -> BTreeMap<String, String>;
    /// The bytes at an address in the playlist of this path.
    fn bytes(&self, path: &str, uri: &str) -> Option<Vec<u8>>;
}

struct InFolder(PathBuf);

impl Place for InFolder {
    type Shelf = Folder;

    fn shelf(&self) -> Folder {
        Folder::at(&self.0)
    }

    fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for folder in ["", "720p", "360p"] {
            for entry in std::fs::read_dir(self.0.join(folder)).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|e| e == "m3u8" || e == "mpd") {
                    let name = path
                        .strip_prefix(&self.0)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    texts.insert(name, std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        texts
    }

    fn bytes(&self, path: &str, uri: &str) -> Option<Vec<u8>> {
        let folder = Path::new(path).parent().unwrap();
        std::fs::read(self.0.join(folder).join(uri)).ok()
    }
}

struct InStore(Store, String);

impl InStore {
    fn prefix(&self) -> String {
        format!("streams/{}/", self.1)
    }
}

impl Place for InStore {
    type Shelf = StoreShelf;

    fn shelf(&self) -> StoreShelf {
        StoreShelf::new(&self.0, &self.1).named()
    }

    fn texts(&self) -> BTreeMap<String, String> {
        let names = self.0.names(&self.prefix()).unwrap();
        let text = |name: &String| {
            let record = self.0.resolve(name).unwrap()?;
            let text = self
                .0
                .get_block(&record.cid)
                .unwrap()
                .expect("a name without content");
            let path = name.strip_prefix(&self.prefix()).unwrap().to_owned();
            Some((path, String::from_utf8(text.to_vec()).unwrap()))
        };
        names.iter().filter_map(text).collect()
    }

    fn bytes(&self, path: &str, uri: &str) -> Option<Vec<u8>> {
        let Some(cid) = uri.strip_prefix("/ipfs/") else {
            // The master names playlists by their place.
            return self
                .texts()
                .remove(uri)
                .map(String::into_bytes)
                .filter(|_| !path.contains('/'));
        };
        let cid = Cid::try_from(cid.split('?').next().unwrap()).unwrap();
        Some(self.0.get_block(&cid).unwrap()?.to_vec())
    }
}

/// Everything that the playlists name, with its bytes. Fails on a name without bytes.
fn read(place: &impl Place) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (path, text) in place.texts() {
        let maps = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"'));
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        if path.ends_with(".m3u8") {
            for uri in maps.chain(lines) {
                let bytes = place.bytes(&path, uri);
                let bytes =
                    bytes.unwrap_or_else(|| panic!("{path} names {uri}, which is not there"));
                if !uri.ends_with(".m3u8") {
                    found.insert(format!("{path} {uri}"), bytes);
                }
            }
        }
        if !text.contains("availabilityStartTime") {
            found.insert(path, text.into_bytes());
        }
    }
    found
}

/// Kills a run after each step in turn, then lets runs die again and again until one gets through.
fn check<P: Place>(fresh: impl Fn() -> P) {
    let whole = fresh();
    let kept = Arc::new(AtomicUsize::new(0));
    run(whole.shelf(), usize::MAX, &kept, None).unwrap();
    let expected = read(&whole);
    let segments = SEGMENTS as usize * RUNGS.len();
    assert_eq!(kept.load(Ordering::Relaxed), segments);
    assert!(expected.contains_key("master.m3u8") && expected.len() > segments);

    let looks = AtomicUsize::new(0);
    for steps in 0.. {
        let place = fresh();
        let kept = Arc::new(AtomicUsize::new(0));
        let over = AtomicBool::new(false);
        let through = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    read(&place);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
            let through = run(place.shelf(), steps, &kept, None).is_ok();
            read(&place);
            // Every later run dies too, a little further on.
            let mut more = 1;
            while run(place.shelf(), steps % 7 + more, &kept, None).is_err() {
                read(&place);
                more += 3;
            }
            over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            through
        });
        assert_eq!(
            kept.load(Ordering::Relaxed),
            segments,
            "kept, dying after {steps} steps"
        );
        assert!(
            read(&place) == expected,
            "another stream, dying after {steps} steps"
        );
        if through {
            break;
        }
    }
    assert!(looks.load(Ordering::Relaxed) > 100, "nobody looked");
}

#[test]
fn death_at_every_step_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicUsize::new(0);
    check(|| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        InFolder(folder.path().join(number.to_string()))
    });
}

#[test]
fn death_at_every_step_in_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let number = AtomicUsize::new(0);
    check(|| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        InStore(store.clone(), number.to_string())
    });
}

/// What a kill inside of keeping a piece leaves in a folder, step by step.
#[test]
fn a_folder_between_two_steps() {
    let folder = tempfile::tempdir().unwrap();
    let place = InFolder(folder.path().join("s"));
    let kept = Arc::new(AtomicUsize::new(0));
    let journal = place.0.join(".journal");
    let piece = place.0.join("720p/00002.m4s");
    let partial = place.0.join("720p/00002.m4s.part");
    let redone = |what: &str, expected: usize| {
        kept.store(0, Ordering::Relaxed);
        run(place.shelf(), usize::MAX, &kept, None).unwrap();
        assert_eq!(kept.load(Ordering::Relaxed), expected, "{what}");
        read(&place);
        assert!(piece.exists() && !partial.exists(), "{what}");
    };
    redone("nothing there", 10);
    redone("all there", 0);

    std::fs::rename(&piece, &partial).unwrap();
    redone("a line, and not yet its last name", 0);

    let lines = std::fs::read_to_string(&journal).unwrap();
    let without: String = lines
        .lines()
        .filter(|line| !(line.contains("720p") && line.contains("00002")))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&journal, &without).unwrap();
    std::fs::rename(&piece, &partial).unwrap();
    redone("whole, but no line", 1);

    let torn = &without[..without.len() - 9];
    std::fs::write(&journal, torn).unwrap();
    redone("half a line", 2);

    std::fs::write(&piece, "7").unwrap();
    redone("another size", 1);

    std::fs::remove_file(&piece).unwrap();
    redone("taken away", 1);

    std::fs::write(&journal, "no journal\n").unwrap();
    redone("something else", 10);
    assert!(Folder::recipe(&place.0).is_some());

    // Two at once would mix their streams.
    let mut first = place.shelf();
    first.left().unwrap();
    let error = place.shelf().left().unwrap_err();
    assert!(error.to_string().contains("another run"), "{error}");
}

/// A window slides over the stream; what it left is let go of, and a run that goes on knows where
/// the numbers are.
#[test]
fn a_window_goes_on_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let place = InStore(store.clone(), "s".to_owned());
    let open = || {
        let mut publisher = Publisher::over(place.shelf());
        publisher.made_by("a test");
        publisher.plan(&plan(Some(12.0))).unwrap();
        publisher
    };
    let mut publisher = open();
    for index in 0..30 {
        if index % 10 == 7 {
            publisher = open();
            assert_eq!(
                publisher.done().keys().map(|(_, n)| *n).max(),
                Some(index - 1)
            );
        }
        for rung in RUNGS {
            if index == 0 {
                publisher.init(rung, b"init").unwrap();
            }
            publisher.segment(segment(rung, index)).unwrap();
        }
        read(&place);
    }
    let texts = place.texts();
    let playlist = &texts["720p/playlist.m3u8"];
    assert!(
        playlist.contains("#EXT-X-MEDIA-SEQUENCE:27\n"),
        "{playlist}"
    );
    assert!(!playlist.contains("PLAYLIST-TYPE"), "{playlist}");
    let held = store.pins("stream/s/720p/").unwrap().len();
    assert!((6..12).contains(&held), "{held} segments are held");
}
