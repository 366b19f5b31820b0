//! Objects through their life: put, taken over, read by block, pinned, published, collected,
//! damaged, found and repaired.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod content;

use std::{
    fs::{self, File, Permissions},
    io::{Read, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use content::{CHUNK, Choppy, bytes};
use store::{Cid, Error, Fault, KEEP, PutOptions, Store, Stored, cid_of, unixfs::Importer};
use tempfile::TempDir;

const NOW: Duration = Duration::ZERO;
const SIZES: [usize; 6] = [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK, 7 * CHUNK + 123];

fn open() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

fn put(store: &Store, content: &[u8]) -> Stored {
    store.put(content, &PutOptions::default()).unwrap()
}

fn pinned(name: &str) -> PutOptions<'_> {
    PutOptions {
        pin: Some(name),
        ..PutOptions::default()
    }
}

fn read(store: &Store, cid: &Cid) -> Option<Vec<u8>> {
    let object = store.get(cid).unwrap()?;
    let mut content = Vec::new();
    object.reader().unwrap().read_to_end(&mut content).unwrap();
    Some(content)
}

fn object_path(store: &Store, cid: &Cid) -> PathBuf {
    let name = cid.to_string();
    store
        .root()
        .join("obj")
        .join(&name[name.len() - 2..])
        .join(name)
}

/// Opens an object's file for damaging it.
fn writable(path: &Path) -> File {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    File::options().write(true).open(path).unwrap()
}

fn drafts(store: &Store) -> usize {
    fs::read_dir(store.root().join("tmp")).unwrap().count()
}

fn faults(store: &Store, deep: bool) -> Vec<Fault> {
    let verified = store.verify(deep, |_| {}).unwrap();
    verified.findings.into_iter().map(|f| f.fault).collect()
}

#[test]
fn content_comes_back_however_it_went_in() {
    let (dir, store) = open();
    for size in SIZES {
        let content = bytes("objects", size);
        let (expected, _) = cid_of(content.as_slice()).unwrap();
        let ways: [(&str, &dyn Fn() -> Stored); 4] = [
            ("whole", &|| put(&store, &content)),
            ("chopped", &|| {
                let chopped = Choppy::new(&content, vec![1000, 700_001, 3]);
                store.put(chopped, &PutOptions::default()).unwrap()
            }),
            ("written", &|| {
                let mut writer = store.writer(&PutOptions::default()).unwrap();
                for piece in content.chunks(99_999) {
                    writer.write_all(piece).unwrap();
                }
                writer.finish().unwrap()
            }),
            ("file", &|| {
                let path = dir.path().join("upload");
                fs::write(&path, &content).unwrap();
                let stored = store.put_file(&path, &PutOptions::default()).unwrap();
                assert!(!path.exists());
                stored
            }),
        ];
        for (way, put) in ways {
            let stored = put();
            assert_eq!((stored.cid, stored.size), (expected, size as u64), "{way}");
            assert!(stored.new && !stored.repaired, "{way} of {size}");
            assert_eq!(read(&store, &expected).as_ref(), Some(&content), "{way}");
            assert_eq!(store.stat(&expected).unwrap().unwrap().size, size as u64);
            assert_eq!(drafts(&store), 0, "{way} of {size}");
            assert!(store.verify(true, |_| {}).unwrap().findings.is_empty());

            // Again: nothing new, the same file.
            let file = || fs::metadata(object_path(&store, &expected)).unwrap().ino();
            let before = file();
            let again = put();
            assert!(!again.new && !again.repaired, "{way} of {size}");
            assert_eq!(file(), before);
            assert_eq!(drafts(&store), 0);

            assert_eq!(store.collect(NOW).unwrap().objects, 1);
            assert_eq!(read(&store, &expected), None);
            assert_eq!(store.stat(&expected).unwrap(), None);
            assert!(!object_path(&store, &expected).exists());
        }
    }
}

#[test]
fn every_block_is_served_and_nothing_else() {
    let (_dir, store) = open();
    // Repeated chunks share a block.
    let mut content = bytes("blocks", 3 * CHUNK + 7);
    content.copy_within(..CHUNK, CHUNK);
    put(&store, &content);
    let mut importer = Importer::new();
    importer.update(&content);
    let dag = importer.finish();
    assert_eq!(dag.blocks.len(), 5);
    for block in &dag.blocks {
        let slice = &content[block.offset as usize..][..block.length as usize];
        let expected = block.node.as_deref().unwrap_or(slice);
        assert_eq!(store.get_block(&block.cid).unwrap().unwrap(), expected);
        assert_eq!(read(&store, &block.cid).unwrap(), slice);
    }
    let other = put(&store, b"one leaf");
    assert_eq!(
        store.get_block(&other.cid).unwrap().unwrap(),
        b"one leaf".as_slice()
    );
    // The root's hash under another codec is another block.
    let raw_root = Cid::new_v1(0x55, *dag.root.hash());
    assert_eq!(store.get_block(&raw_root).unwrap(), None);
    let identity = |text: &str| store.get_block(&Cid::try_from(text).unwrap()).unwrap();
    assert_eq!(identity("bafkqaaa").unwrap(), b"".as_slice());
    assert_eq!(
        identity("bafkqabtimvwgy3yk").unwrap(),
        b"hello\n".as_slice()
    );
    // Version 0 of the same name.
    let old = Cid::new_v0(*dag.root.hash()).unwrap();
    assert_eq!(read(&store, &old).unwrap(), content);
}

#[test]
fn files_are_taken_over_only_when_that_is_safe() {
    let (dir, store) = open();
    let content = bytes("taken", 3 * CHUNK);
    let path = |name: &str| dir.path().join(name);

    fs::write(path("plain"), &content).unwrap();
    let inode = fs::metadata(path("plain")).unwrap().ino();
    let stored = store
        .put_file(path("plain"), &PutOptions::default())
        .unwrap();
    let object = object_path(&store, &stored.cid);
    let kept = fs::metadata(&object).unwrap();
    assert_eq!(kept.ino(), inode, "moved, not copied");
    assert_eq!(kept.mode() & 0o222, 0, "objects are read-only");
    store.collect(NOW).unwrap();

    // A second name, or a symbolic link, could change the object later: copied.
    fs::write(path("first"), &content).unwrap();
    fs::hard_link(path("first"), path("second")).unwrap();
    store
        .put_file(path("first"), &PutOptions::default())
        .unwrap();
    assert_ne!(
        fs::metadata(&object).unwrap().ino(),
        fs::metadata(path("second")).unwrap().ino()
    );
    assert!(!path("first").exists());
    store.collect(NOW).unwrap();

    std::os::unix::fs::symlink(path("second"), path("link")).unwrap();
    store
        .put_file(path("link"), &PutOptions::default())
        .unwrap();
    assert!(!path("link").is_symlink() && path("second").exists());
    assert_eq!(read(&store, &stored.cid).unwrap(), content);

    for (name, make) in [
        ("nothing", None),
        (
            "folder",
            Some(&(|p: &Path| fs::create_dir(p).unwrap()) as &dyn Fn(&Path)),
        ),
    ] {
        if let Some(make) = make {
            make(&path(name));
        }
        let error = store.put_file(path(name), &PutOptions::default());
        assert!(matches!(error, Err(Error::Io { .. })), "{name}: {error:?}");
    }
    assert_eq!(drafts(&store), 0);
}

#[test]
fn a_file_on_another_file_system_is_copied() {
    let (_dir, store) = open();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    let content = bytes("elsewhere", CHUNK + 5);
    let path = elsewhere.path().join("file");
    fs::write(&path, &content).unwrap();
    let stored = store.put_file(&path, &pinned("p")).unwrap();
    assert!(!path.exists());
    assert_eq!(read(&store, &stored.cid).unwrap(), content);
}

#[test]
fn damage_is_found_and_repaired_by_putting_again() {
    type Damage = fn(&Path);
    let flip: Damage = |path| {
        let file = writable(path);
        file.write_all_at(b"\xff\x00\xff", CHUNK as u64 + 3)
            .unwrap();
    };
    let rows: [(&str, Damage, Option<Fault>, Fault); 4] = [
        (
            "flipped bits",
            flip,
            None,
            Fault::Damaged {
                offset: CHUNK as u64,
            },
        ),
        (
            "truncated",
            |path| writable(path).set_len(CHUNK as u64).unwrap(),
            Some(Fault::Size {
                found: CHUNK as u64,
                expected: 3 * CHUNK as u64,
            }),
            Fault::Size {
                found: CHUNK as u64,
                expected: 3 * CHUNK as u64,
            },
        ),
        (
            "missing",
            |path| fs::remove_file(path).unwrap(),
            Some(Fault::Missing),
            Fault::Missing,
        ),
        (
            "a folder in its place",
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            Some(Fault::Missing),
            Fault::Missing,
        ),
    ];
    let content = bytes("damage", 3 * CHUNK);
    for (name, damage, shallow, deep) in rows {
        for by_file in [false, true] {
            let (dir, store) = open();
            let stored = store.put(content.as_slice(), &pinned("held")).unwrap();
            let path = object_path(&store, &stored.cid);
            damage(&path);
            let expected: Vec<_> = shallow.iter().cloned().collect();
            assert_eq!(faults(&store, false), expected, "{name}");
            assert_eq!(faults(&store, true), std::slice::from_ref(&deep), "{name}");
            if shallow.is_some() {
                assert!(
                    matches!(store.get(&stored.cid), Err(Error::Damaged { .. })),
                    "{name}"
                );
            }
            if path.is_dir() {
                // What is not a file is not the store's to remove.
                fs::remove_dir(&path).unwrap();
            }
            let again = if by_file {
                let upload = dir.path().join("upload");
                fs::write(&upload, &content).unwrap();
                store.put_file(&upload, &PutOptions::default()).unwrap()
            } else {
                put(&store, &content)
            };
            assert!(again.repaired && !again.new, "{name}");
            assert_eq!(faults(&store, true), [], "{name}");
            assert_eq!(read(&store, &stored.cid).unwrap(), content, "{name}");
            assert_eq!(drafts(&store), 0, "{name}");
        }
    }
}

#[test]
fn damage_never_leaves_as_a_block() {
    let (_dir, store) = open();
    let stored = put(&store, b"a small object");
    writable(&object_path(&store, &stored.cid))
        .write_all_at(b"A", 0)
        .unwrap();
    assert!(matches!(
        store.get_block(&stored.cid),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn verify_reports_progress_and_orphans() {
    let (_dir, store) = open();
    let sizes = [0, 1, CHUNK + 1];
    for size in sizes {
        put(&store, &bytes("progress", size));
    }
    let (orphan, _) = cid_of(b"nobody recorded me".as_slice()).unwrap();
    fs::write(object_path(&store, &orphan), b"nobody recorded me").unwrap();
    fs::write(store.root().join("obj/aa/README"), b"not ours").unwrap();
    let mut last = None;
    let verified = store
        .verify(true, |progress| {
            assert!(last.is_none_or(|l: store::VerifyProgress| l.objects < progress.objects));
            last = Some(progress);
        })
        .unwrap();
    let last = last.unwrap();
    assert_eq!((last.objects, last.total_objects), (3, 3));
    assert_eq!(
        (last.bytes, last.total_bytes),
        (2 + CHUNK as u64, 2 + CHUNK as u64)
    );
    assert_eq!(verified.bytes, last.bytes);
    assert!(verified.is_whole());
    let mut cids: Vec<_> = verified.findings.iter().map(|f| f.cid).collect();
    cids.sort();
    assert_eq!(cids, [None, Some(orphan)]);
}

#[test]
fn opening_sweeps_what_crashes_left() {
    let (dir, store) = open();
    let kept = store.put(b"kept".as_slice(), &pinned("kept")).unwrap();
    let mut live = store.writer(&PutOptions::default()).unwrap();
    live.write_all(&bytes("live", 3 * CHUNK)).unwrap();
    assert_eq!(drafts(&store), 1);
    fs::write(store.root().join("tmp/4194304-0"), b"its writer is dead").unwrap();

    // Placed, but not recorded before its writer died; and one that was.
    let placed = |text: &str| {
        let (cid, _) = cid_of(text.as_bytes()).unwrap();
        let draft = store.root().join(format!("tmp/4194304-1-{cid}"));
        fs::write(&draft, text).unwrap();
        fs::hard_link(&draft, object_path(&store, &cid)).unwrap();
        object_path(&store, &cid)
    };
    let lost = placed("placed in vain");
    let known = object_path(&store, &kept.cid);
    fs::hard_link(
        &known,
        store.root().join(format!("tmp/4194304-2-{}", kept.cid)),
    )
    .unwrap();
    // What no draft speaks of may be a backup that is just being restored.
    let (cid, _) = cid_of(b"no row".as_slice()).unwrap();
    let restored = object_path(&store, &cid);
    fs::write(&restored, b"no row").unwrap();
    let foreign = store.root().join("obj/aa/notes");
    fs::write(&foreign, b"not ours").unwrap();

    let second = Store::open(store.root()).unwrap();
    assert_eq!(drafts(&store), 1, "the live draft stays, the dead ones go");
    assert!(!lost.exists());
    assert!(restored.exists() && foreign.exists());
    assert_eq!(read(&second, &kept.cid).unwrap(), b"kept");
    // Which a put makes its own.
    store
        .put(b"no row".as_slice(), &pinned("restored"))
        .unwrap();
    fs::remove_file(foreign).unwrap();

    live.finish().unwrap();
    assert_eq!(drafts(&store), 0);
    assert_eq!(store.verify(true, |_| {}).unwrap().findings, []);
    drop(dir);
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let (_dir, store) = open();
    for size in [10, CHUNK, 4 * CHUNK] {
        let mut writer = store.writer(&PutOptions::default()).unwrap();
        writer.write_all(&bytes("abandoned", size)).unwrap();
        drop(writer);
        assert_eq!((drafts(&store), store.ls().unwrap().len()), (0, 0));
    }
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.min(buffer.len());
            self.0 -= n;
            if n == 0 {
                return Err(std::io::Error::other("the sender went away"));
            }
            Ok(n)
        }
    }
    for size in [10, CHUNK, 4 * CHUNK + 1] {
        let error = store.put(Broken(size), &pinned("p"));
        assert!(matches!(error, Err(Error::Source(_))), "{error:?}");
        assert_eq!((drafts(&store), store.ls().unwrap().len()), (0, 0));
    }
}

#[test]
fn only_what_nothing_holds_is_collected() {
    let (_dir, store) = open();
    let content = |n: u8| vec![n; 100 + n as usize];
    let cids: Vec<Cid> = (0..4).map(|n| put(&store, &content(n)).cid).collect();
    store.pin("a/1", &cids[0]).unwrap();
    store.pin("a/2", &cids[0]).unwrap();
    store.pin("b", &cids[1]).unwrap();
    store.publish("live", &cids[2], None).unwrap();

    assert_eq!(store.collect(Duration::from_secs(60)).unwrap().objects, 0);
    let open = store.get(&cids[3]).unwrap().unwrap();
    let collected = store.collect(NOW).unwrap();
    assert_eq!((collected.objects, collected.bytes), (1, 103));
    assert_eq!(read(&store, &cids[3]), None);
    let mut still = Vec::new();
    open.reader().unwrap().read_to_end(&mut still).unwrap();
    assert_eq!(still, content(3), "an open object stays readable");

    assert!(store.unpin("a/1").unwrap());
    assert!(!store.unpin("a/1").unwrap());
    assert_eq!(store.collect(NOW).unwrap().objects, 0, "a/2 holds it");
    assert_eq!(store.unpin_prefix("a/").unwrap(), 1);
    assert_eq!(
        store.collect(Duration::from_secs(60)).unwrap().objects,
        0,
        "its grace starts with the unpinning"
    );
    assert!(store.unpublish("live").unwrap());
    assert!(!store.unpublish("live").unwrap());
    assert_eq!(store.collect(NOW).unwrap().objects, 2);
    assert_eq!(store.ls().unwrap().len(), 1);
    assert_eq!(faults(&store, true), []);
}

#[test]
fn pins_are_listed_by_prefix_and_moved() {
    let (_dir, store) = open();
    let one = put(&store, b"one").cid;
    let two = put(&store, b"two").cid;
    for name in ["s/1", "s/10", "s/2", "s%", "t", "s/\u{10fffe}"] {
        store.pin(name, &one).unwrap();
    }
    let listed = |prefix: &str| -> Vec<String> {
        let pins = store.pins(prefix).unwrap();
        pins.into_iter().map(|pin| pin.name).collect()
    };
    assert_eq!(listed("s/1"), ["s/1", "s/10"]);
    assert_eq!(listed("s/"), ["s/1", "s/10", "s/2", "s/\u{10fffe}"]);
    assert_eq!(listed("").len(), 6);
    assert_eq!(listed("x"), [""; 0]);
    store.pin("t", &two).unwrap();
    assert_eq!(store.pins("t").unwrap()[0].cid, two);

    // A note comes and goes with its pin.
    let note = |text| PutOptions {
        note: Some(text),
        ..pinned("t")
    };
    for text in ["{\"duration\":4}", "other"] {
        store.put(b"two".as_slice(), &note(text)).unwrap();
        let pin = &store.pins("t").unwrap()[0];
        assert_eq!(
            (pin.cid, pin.size, pin.note.as_deref()),
            (two, 3, Some(text))
        );
    }
    store.pin("t", &two).unwrap();
    assert_eq!(store.pins("t").unwrap()[0].note, None);

    let (absent, _) = cid_of(b"absent".as_slice()).unwrap();
    assert!(matches!(
        store.pin("u", &absent),
        Err(Error::NotHeld { .. })
    ));
    for bad in ["", "line\nbreak", "end\u{10ffff}", &"x".repeat(1025)] {
        assert!(matches!(store.pin(bad, &one), Err(Error::Name { .. })));
        let refused = store.put(b"x".as_slice(), &pinned(bad));
        assert!(matches!(refused, Err(Error::Name { .. })));
    }
}

#[test]
fn names_rise_and_keep_their_last_versions() {
    let (_dir, store) = open();
    let version = |n: u8| vec![n; 10];
    let publish = |n: u8, expect| {
        let options = PutOptions {
            publish: Some("live"),
            expect,
            ..PutOptions::default()
        };
        store.put(version(n).as_slice(), &options)
    };
    assert_eq!(store.resolve("live").unwrap(), None);
    assert_eq!(publish(1, Some(0)).unwrap().seq, Some(1));
    assert_eq!(
        publish(1, None).unwrap().seq,
        Some(1),
        "no change, no version"
    );
    assert!(matches!(
        publish(9, Some(0)),
        Err(Error::Conflict {
            found: 1,
            expected: 0,
            ..
        })
    ));
    assert_eq!(
        store.ls().unwrap().len(),
        1,
        "the refused content is not kept"
    );
    assert_eq!(drafts(&store), 0);
    for n in 2..=8 {
        assert_eq!(publish(n, Some(n as u64 - 1)).unwrap().seq, Some(n as u64));
    }
    let current = store.resolve("live").unwrap().unwrap();
    assert_eq!(current.seq, 8);
    assert_eq!(read(&store, &current.cid).unwrap(), version(8));
    assert_eq!(store.collect(NOW).unwrap().objects, 8 - KEEP);
    let kept: Vec<u64> = store
        .versions("live")
        .unwrap()
        .iter()
        .map(|v| v.seq)
        .collect();
    assert_eq!(kept, [8, 7, 6, 5, 4]);
    assert_eq!(store.names("li").unwrap(), ["live"]);

    // An earlier content may come back; it is a new version all the same.
    let first = publish(5, None).unwrap();
    assert_eq!(first.seq, Some(9));
    assert!(store.unpublish("live").unwrap());
    assert_eq!(store.resolve("live").unwrap(), None);
    assert_eq!(store.names("").unwrap(), [""; 0]);
    assert_eq!(store.publish("live", &first.cid, Some(0)).unwrap(), 10);
    let (absent, _) = cid_of(b"absent".as_slice()).unwrap();
    assert!(matches!(
        store.publish("live", &absent, None),
        Err(Error::NotHeld { .. })
    ));
}

#[test]
fn the_first_media_type_stays() {
    let (_dir, store) = open();
    let put = |mime| {
        let options = PutOptions {
            mime,
            ..PutOptions::default()
        };
        let cid = store.put(b"typed".as_slice(), &options).unwrap().cid;
        store.stat(&cid).unwrap().unwrap().mime
    };
    assert_eq!(put(None), None);
    assert_eq!(put(Some("application/octet-stream")), None);
    assert_eq!(put(Some("video/mp4\r\nX-Evil: 1")), None);
    assert_eq!(put(Some("video/mp4")).as_deref(), Some("video/mp4"));
    assert_eq!(put(Some("text/html")).as_deref(), Some("video/mp4"));
    assert_eq!(put(None).as_deref(), Some("video/mp4"));
}

/// Puts and collections of the same few contents at once, through separate handles as separate
/// processes would: a put that pins in its transaction never loses its object.
#[test]
fn puts_and_collections_do_not_meet() {
    let (_dir, store) = open();
    const ROUNDS: usize = 12;
    let contents: Vec<Vec<u8>> = [10, CHUNK, CHUNK + 9]
        .map(|size| bytes("race", size))
        .into();
    std::thread::scope(|scope| {
        let root = store.root();
        let collector = scope.spawn(move || {
            let store = Store::open(root).unwrap();
            for _ in 0..ROUNDS * 4 {
                store.collect(NOW).unwrap();
            }
        });
        for worker in 0..3 {
            let contents = &contents;
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                for round in 0..ROUNDS {
                    let content = &contents[(worker + round) % contents.len()];
                    let pin = format!("worker/{worker}");
                    let stored = store.put(content.as_slice(), &pinned(&pin)).unwrap();
                    assert_eq!(read(&store, &stored.cid).as_ref(), Some(content));
                    if round % 2 == 0 {
                        store.unpin(&pin).unwrap();
                    }
                }
            });
        }
        collector.join().unwrap();
    });
    assert_eq!(faults(&store, true), []);
    assert_eq!(drafts(&store), 0);
}

#[test]
fn several_processes_may_make_one_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("deep/er/store");
    std::thread::scope(|scope| {
        for n in 0..8_u8 {
            let root = &root;
            scope.spawn(move || put(&Store::open(root).unwrap(), &[n]));
        }
    });
    assert_eq!(Store::open(&root).unwrap().ls().unwrap().len(), 8);
}
