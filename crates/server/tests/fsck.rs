//! `fsck`: each promise broken by hand is found, named and, where that is possible, put right; and
//! the server then makes again what was lost.

mod bench;
mod http;

use std::path::PathBuf;

use bench::Bench;
use catalog::variant::Made;
use catalog::{Lane, Protocol, Upload, roots};
use server::{Checked, Fsck, Promise};
use store::PutOptions;

fn fsck(bench: &Bench, repair: bool) -> Checked {
    let asked = Fsck {
        database: None,
        data: bench.data(),
        store: None,
        repair,
        deep: true,
    };
    asked.run().unwrap()
}

/// A server's folder with one asset that has a thumbnail and a variant.
fn filled() -> (Bench, String) {
    let mut bench = Bench::with(bench::PATIENT, |config| config.streams = false);
    let id = bench.client.upload("clip.mp4", b"whatever it is");
    bench
        .client
        .wait(&id, "the thumbnail", |asset| asset["thumbnail"].is_string());
    bench.stop();
    let (catalog, store) = (bench.catalog(), bench.store());
    let spec = catalog::variant::Spec {
        key: "key".to_owned(),
        json: "{}".to_owned(),
    };
    let wish = catalog::variant::Wish {
        board: "pi3".to_owned(),
        spec,
        since_ms: 1,
    };
    catalog.wish(&[(id.as_str(), vec![wish])]).unwrap();
    let pin = roots::variant(&id, "key");
    let options = PutOptions {
        pin: Some(&pin),
        ..PutOptions::default()
    };
    let stored = store.put_bytes(b"a variant of it", &options).unwrap();
    let made = Made {
        cid: stored.cid.to_string(),
        size: stored.size,
        probe: "{}".to_owned(),
        how: "{}".to_owned(),
        finished_ms: 2,
    };
    assert!(catalog.finish_variant(&id, "key", &made, None).unwrap());
    (bench, id)
}

/// The file of an object, wherever the store has put it.
fn file_of(bench: &Bench, content: &[u8]) -> PathBuf {
    let mut folders = vec![bench.data().join("store")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).unwrap() == content {
                return path;
            }
        }
    }
    panic!("no file has that content");
}

/// Breaks something, and says what is to be found: each promise, and whether it can be put right.
type Row = (&'static str, fn(&Bench, &str), &'static [(Promise, bool)]);

const ROWS: &[Row] = &[
    ("nothing", |_, _| {}, &[]),
    (
        "an original's bytes",
        |bench, _| std::fs::remove_file(file_of(bench, b"whatever it is")).unwrap(),
        &[
            (Promise::ObjectWhole, false),
            (Promise::OriginalThere, false),
        ],
    ),
    (
        "an original's bytes, changed",
        |bench, _| std::fs::write(file_of(bench, b"whatever it is"), b"whatever IT is").unwrap(),
        &[
            (Promise::ObjectWhole, false),
            (Promise::OriginalThere, false),
        ],
    ),
    (
        "an original's pin",
        |bench, id| assert!(bench.store().unpin(&roots::original(id)).unwrap()),
        &[(Promise::OriginalPinned, true)],
    ),
    (
        "a variant's pin",
        |bench, id| assert!(bench.store().unpin(&roots::variant(id, "key")).unwrap()),
        &[(Promise::VariantPinned, true)],
    ),
    (
        "a variant's bytes, collected",
        |bench, id| {
            bench.store().unpin(&roots::variant(id, "key")).unwrap();
            bench.store().collect(std::time::Duration::ZERO).unwrap();
        },
        &[(Promise::VariantThere, true)],
    ),
    (
        "a thumbnail's pin",
        |bench, id| assert!(bench.store().unpin(&roots::thumbnail(id)).unwrap()),
        &[(Promise::ThumbnailThere, true)],
    ),
    (
        "a stream's playlist",
        |bench, id| {
            bench.catalog().want_stream(id, 1).unwrap();
            bench.catalog().set_published(id).unwrap();
        },
        &[(Promise::StreamThere, true)],
    ),
    (
        "a pin without a row",
        |bench, _| {
            let pin = roots::original("nobody");
            let options = PutOptions {
                pin: Some(&pin),
                ..PutOptions::default()
            };
            bench.store().put_bytes(b"left over", &options).unwrap();
        },
        &[(Promise::PinWanted, true)],
    ),
    (
        "a variant's pin without a row",
        |bench, id| {
            let pin = roots::variant(id, "other");
            let options = PutOptions {
                pin: Some(&pin),
                ..PutOptions::default()
            };
            bench.store().put_bytes(b"left over", &options).unwrap();
        },
        &[(Promise::PinWanted, true)],
    ),
    (
        "a lease of the dead",
        |bench, id| {
            bench.catalog().want_stream(id, 1).unwrap();
            bench
                .catalog()
                .claim(Lane::Long, "dead", 1, i64::MAX)
                .unwrap()
                .unwrap();
        },
        &[(Promise::LeaseHeld, true)],
    ),
    (
        "an upload's bytes",
        |bench, _| {
            let upload = Upload {
                id: "u".to_owned(),
                protocol: Protocol::Tus,
                name: "film.mp4".to_owned(),
                metadata: String::new(),
                length: Some(3),
                created_ms: 1,
                expires_ms: i64::MAX,
                complete: false,
                asset: None,
            };
            bench.catalog().add_upload(&upload).unwrap();
        },
        &[(Promise::UploadThere, true)],
    ),
    (
        "files that belong to nothing",
        |bench, _| {
            std::fs::write(bench.data().join("uploads/stray"), b"x").unwrap();
            std::fs::create_dir(bench.data().join("work/stray")).unwrap();
        },
        &[(Promise::FileKnown, true), (Promise::FileKnown, true)],
    ),
];

#[test]
fn each_broken_promise_is_found_and_put_right() {
    for (name, breaks, expected) in ROWS {
        let (mut bench, id) = filled();
        breaks(&bench, &id);
        let found = |checked: &Checked| -> Vec<_> {
            let findings = checked.findings.iter();
            findings
                .map(|broken| (broken.what, broken.repairable))
                .collect()
        };
        let checked = fsck(&bench, false);
        assert_eq!(found(&checked), *expected, "{name}: {checked:#?}");
        assert_eq!(checked.is_whole(), expected.is_empty(), "{name}");
        // Looking changed nothing.
        let repaired = fsck(&bench, true);
        assert_eq!(found(&repaired), *expected, "{name}");
        let lost: Vec<_> = expected.iter().filter(|(_, can)| !can).copied().collect();
        assert_eq!(
            repaired.is_whole(),
            lost.is_empty(),
            "{name}: {repaired:#?}"
        );
        let left = fsck(&bench, false);
        assert_eq!(found(&left), lost, "{name}: {left:#?}");
        if lost.is_empty() {
            bench.start(|config| config.streams = false);
            let file = bench.client.get(&format!("/api/assets/{id}/file"));
            let original = bench.client.get(file.header("location").unwrap());
            assert_eq!(original.text(), "whatever it is", "{name}");
        }
    }
}

#[test]
fn a_running_server_is_left_alone() {
    let bench = Bench::new();
    let asked = Fsck {
        database: None,
        data: bench.data(),
        store: None,
        repair: false,
        deep: false,
    };
    let error = asked.run().unwrap_err();
    assert!(matches!(error, server::Error::Locked { .. }), "{error}");
}
