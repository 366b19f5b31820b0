//! Units that were made before: the same run again makes nothing, one that differs makes what differs,
//! and the bytes are those of a run without a cache.

mod clips;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use clips::{CLIP, Clip, make};
use ladder::{CachedUnit, Container, Options, Plan, Report, Segment, Sink, UnitCache};

/// A cache, and the sink that fills it.
#[derive(Debug, Clone, Default)]
struct Units {
    kept: Arc<Mutex<HashMap<String, CachedUnit>>>,
    found: Arc<Mutex<usize>>,
    inits: HashMap<String, Vec<u8>>,
    segments: BTreeMap<(String, u32), Vec<u8>>,
    keys: BTreeMap<(String, u32), String>,
}

impl UnitCache for Units {
    fn get(&self, key: &str) -> Option<CachedUnit> {
        let found = self.kept.lock().unwrap().get(key).cloned();
        *self.found.lock().unwrap() += usize::from(found.is_some());
        found
    }
}

impl Sink for Units {
    fn plan(&mut self, _plan: &Plan) -> io::Result<()> {
        Ok(())
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(self.inits.insert(rung.to_string(), bytes.to_vec()), None);
        Ok(())
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        let name = (segment.rung.clone(), segment.index);
        if let Some((last, _)) = self
            .segments
            .range((segment.rung.clone(), 0)..=name.clone())
            .last()
        {
            assert_eq!(last.1 + 1, name.1, "in order");
        }
        let unit = CachedUnit {
            start: segment.start,
            duration: segment.duration,
            codecs: segment.codecs,
            init: self.inits.get(&segment.rung).cloned(),
            bytes: segment.bytes.clone(),
        };
        self.kept.lock().unwrap().insert(segment.key.clone(), unit);
        self.keys.insert(name.clone(), segment.key);
        self.segments.insert(name, segment.bytes);
        Ok(())
    }

    fn end(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }
}

fn options(container: Container) -> Options {
    Options {
        container,
        segment_s: 1.0,
        preset: "ultrafast".to_string(),
        encoder: Some("libx264".to_string()),
        workers: Some(2),
        ..Options::default()
    }
}

/// Two rungs, six segments, sound; the source is copied.
fn clip(folder: &Path) -> PathBuf {
    let clip = Clip {
        picture: "s=480x370:r=25:d=6",
        sound: "d=6",
        arguments: "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p",
        ..CLIP
    };
    make(folder, &clip)
}

/// Runs over what `kept` has; gives the sink, what was found and the report.
fn run(input: &Path, options: Options, kept: &Units) -> (Units, usize, Report) {
    let mut units = Units {
        kept: Arc::clone(&kept.kept),
        ..Units::default()
    };
    let options = Options {
        cached: Some(Arc::new(units.clone())),
        ..options
    };
    let report = ladder::run(input, &options, &mut units, &AtomicBool::new(false)).unwrap();
    let found = *units.found.lock().unwrap();
    (units, found, report)
}

#[test]
fn the_same_run_again_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    for container in [Container::Ts, Container::Cmaf] {
        for copy_source in [true, false] {
            let options = || Options {
                copy_source,
                ..options(container)
            };
            let (first, found, report) = run(&input, options(), &Units::default());
            let keys: HashSet<&String> = first.keys.values().collect();
            assert_eq!((found, keys.len()), (0, first.segments.len()));
            assert!(keys.iter().all(|key| key.len() == 64), "{keys:?}");
            assert_eq!(report.encoder, "libx264");
            let (again, found, second) = run(&input, options(), &first);
            assert_eq!(found, first.segments.len(), "{container:?}");
            assert!(again.segments == first.segments && again.inits == first.inits);
            assert_eq!(again.keys, first.keys);
            assert_eq!(second.encoder, "", "nothing was encoded");
            assert_eq!(second.renditions, report.renditions);
            // Whatever the file is called, and whoever makes it.
            let other = folder.path().join("other.mp4");
            fs::copy(&input, &other).unwrap();
            let alone = Options {
                workers: Some(1),
                ..options()
            };
            assert_eq!(run(&other, alone, &first).1, first.segments.len());
        }
    }
}

#[test]
fn what_is_missing_is_made_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    for container in [Container::Ts, Container::Cmaf] {
        let options = || Options {
            copy_source: false,
            ..options(container)
        };
        let (whole, ..) = run(&input, options(), &Units::default());
        let all = whole.segments.len();
        let rungs = |index| [("370p", index), ("360p", index)];
        for gone in [
            vec![("360p", 0)],
            vec![("370p", 2)],
            vec![("370p", 5), ("360p", 1), ("360p", 4)],
            [rungs(0), rungs(1)].concat(),
            (0..6).map(|index| ("370p", index)).collect(),
        ] {
            let mut kept = whole.kept.lock().unwrap().clone();
            for (rung, index) in &gone {
                kept.remove(&whole.keys[&(rung.to_string(), *index)])
                    .unwrap();
            }
            let kept = Units {
                kept: Arc::new(Mutex::new(kept)),
                ..Units::default()
            };
            let (rest, found, report) = run(&input, options(), &kept);
            assert!(rest.segments == whole.segments, "{container:?} {gone:?}");
            assert_eq!(report.encoder, "libx264");
            // Sound and what is copied follow the source when it is read at all.
            let made = gone.len();
            assert!(
                (all - made - 6..=all - made).contains(&found),
                "{container:?} {gone:?}: {found} of {all} were found"
            );
        }
    }
}

#[test]
fn anything_that_decides_the_bytes_is_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let input = clip(folder.path());
    let ts = || options(Container::Ts);
    let (first, ..) = run(&input, ts(), &Units::default());
    let longer = make(
        folder.path(),
        &Clip {
            name: "longer.mp4",
            picture: "s=480x370:r=25:d=6.04",
            sound: "d=6",
            arguments: "-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p",
            ..CLIP
        },
    );
    for (name, input, options, same) in [
        ("another file", &longer, ts(), ""),
        (
            "another preset",
            &input,
            Options {
                preset: "superfast".to_string(),
                ..ts()
            },
            // What is copied, and what is not encoded by it.
            "370p thumbnails",
        ),
        (
            "another duration",
            &input,
            Options {
                segment_s: 2.0,
                ..ts()
            },
            "",
        ),
        ("another container", &input, options(Container::Cmaf), ""),
        (
            "the source is encoded",
            &input,
            Options {
                copy_source: false,
                ..ts()
            },
            // The other rung is scaled from the same pictures.
            "360p thumbnails",
        ),
    ] {
        let (other, ..) = run(input, options, &Units::default());
        let keys: HashSet<&String> = first.keys.values().collect();
        let common = other.keys.iter().filter(|(_, key)| keys.contains(key));
        let mut rungs: Vec<&str> = common.map(|((rung, _), _)| rung.as_str()).collect();
        rungs.dedup();
        assert_eq!(rungs.join(" "), same, "{name}");
    }
    // Who knows what the input is names it; there need be no cache.
    let named = |identity: &str| {
        let mut units = Units::default();
        let options = Options {
            identity: Some(identity.to_string()),
            ..ts()
        };
        ladder::run(&input, &options, &mut units, &AtomicBool::new(false)).unwrap();
        units.keys
    };
    let (one, two) = (named("one"), named("two"));
    assert_eq!(one, named("one"));
    assert!(
        one.values()
            .all(|key| !two.values().any(|other| other == key))
    );
    let mut nameless = Units::default();
    ladder::run(&input, &ts(), &mut nameless, &AtomicBool::new(false)).unwrap();
    assert!(nameless.keys.values().all(String::is_empty));
}
