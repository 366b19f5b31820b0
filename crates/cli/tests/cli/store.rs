//! `kinora store`: without a server, in a folder of its own.

use crate::process::{kinora, run};
use std::fs;
use std::path::{Path, PathBuf};

/// CIDv1, raw, SHA-256 of these eleven bytes, as every implementation gives it.
const HELLO: (&str, &str) = (
    "hello world",
    "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
);

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of these tests")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn add_prints_the_cid_alone_and_cat_gives_the_bytes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("hello"), folder.path().join("data"));
    fs::write(&file, HELLO.0).unwrap();
    let ended = run(["store", "add", text(&file), "--data", text(&data)]);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        (&*format!("{}\n", HELLO.1), "")
    );
    assert_eq!(
        run(["store", "cat", HELLO.1, "--data", text(&data)]).done(),
        HELLO.0
    );
    let again = run(["store", "add", text(&file), "--data", text(&data), "--json"]).json();
    assert_eq!(
        again,
        serde_json::json!({ "cid": HELLO.1, "size": 11, "new": false })
    );
    let listed = kinora(["store", "ls", "--json"])
        .env("KINORA_DATA", &data)
        .output()
        .unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (&listed[0]["cid"], &listed[0]["size"]),
        (&HELLO.1.into(), &11.into())
    );
    assert!(
        run(["store", "ls", "--data", text(&data)])
            .done()
            .contains(HELLO.1)
    );
}

#[test]
fn verify_finds_what_is_damaged_and_adding_again_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("hello"), folder.path().join("data"));
    fs::write(&file, HELLO.0).unwrap();
    run(["store", "add", text(&file), "--data", text(&data)]).done();
    assert!(
        run(["store", "verify", "--data", text(&data)])
            .done()
            .contains("1 files")
    );
    let object = files_below(&data.join("store"))
        .into_iter()
        .find(|path| fs::read(path).unwrap() == HELLO.0.as_bytes())
        .unwrap();
    let mut permissions = object.metadata().unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)] // a file of this test alone
    permissions.set_readonly(false);
    fs::set_permissions(&object, permissions).unwrap();
    fs::write(&object, "hello worle").unwrap();
    let ended = run(["store", "verify", "--data", text(&data)]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stdout.contains(&format!("{}: damaged", HELLO.1)),
        "{}",
        ended.stdout
    );
    let json = run(["store", "verify", "--data", text(&data), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&json["whole"], &json["findings"][0]["cid"]),
        (&false.into(), &HELLO.1.into())
    );
    assert!(
        run(["store", "verify", "--quick", "--data", text(&data)])
            .done()
            .contains("1 files")
    );
    run(["store", "add", text(&file), "--data", text(&data)]).done();
    run(["store", "verify", "--data", text(&data)]).done();
}

#[test]
fn what_is_not_there_is_an_error_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("typo");
    for command in ["ls", "verify"] {
        let error = run(["store", command, "--data", text(&data)]).failed();
        assert!(error.contains("typo"), "{error}");
    }
    assert!(!data.exists());
    let file = folder.path().join("other");
    fs::write(&file, "other").unwrap();
    run(["store", "add", text(&file), "--data", text(&data)]).done();
    let error = run(["store", "cat", HELLO.1, "--data", text(&data)]).failed();
    assert!(error.contains(HELLO.1), "{error}");
    let error = run([
        "store",
        "add",
        text(&folder.path().join("none")),
        "--data",
        text(&data),
    ])
    .failed();
    assert!(
        error.contains("none") && error.contains("No such file"),
        "{error}"
    );
    let error = run(["store", "add", text(folder.path()), "--data", text(&data)]).failed();
    assert!(error.contains("folder"), "{error}");
}

#[test]
fn gc_takes_what_no_pin_holds_and_can_be_asked_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("hello"), folder.path().join("data"));
    fs::write(&file, HELLO.0).unwrap();
    let store = |args: &[&str]| run(["store"].iter().chain(args).chain(&["--data", text(&data)]));
    store(&["add", text(&file)]).done();
    let pins = store(&["pin", "ls", "--json"]).json();
    assert_eq!(
        (&pins[0]["cid"], &pins[0]["size"]),
        (&HELLO.1.into(), &11.into())
    );
    store(&["pin", "add", "keep/me/here", HELLO.1]).done();
    let owned = store(&["pin", "ls", "keep/me", "--json"]).json();
    assert_eq!(
        (&owned[0]["owner"], owned.as_array().unwrap().len()),
        (&"keep/me".into(), 1)
    );
    let first = pins[0]["name"].as_str().unwrap();
    store(&["pin", "rm", first]).done();
    assert!(store(&["gc", "--grace", "0"]).done().starts_with("0 files"));
    let removed = store(&["pin", "rm", "keep/me", "--all", "--json"]).json();
    assert_eq!(removed, serde_json::json!({ "removed": 1 }));
    assert!(
        store(&["pin", "rm", "keep/me/here"])
            .failed()
            .contains("no such pin")
    );
    // Let go of a moment ago, it has its grace.
    assert!(store(&["gc"]).done().starts_with("0 files"));
    for (dry_run, left) in [(true, 1), (false, 0)] {
        let mut args = vec!["gc", "--grace", "0", "--json"];
        args.extend(dry_run.then_some("--dry-run"));
        assert_eq!(
            store(&args).json(),
            serde_json::json!({ "objects": 1, "bytes": 11, "dry_run": dry_run })
        );
        let listed = store(&["ls", "--json"]).json();
        assert_eq!(listed.as_array().unwrap().len(), left);
    }
}

#[test]
fn a_backend_that_is_away_leaves_files_pending_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("hello"), folder.path().join("data"));
    fs::write(&file, HELLO.0).unwrap();
    // Nothing listens there: the port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("kubo+http://me:hush@127.0.0.1:{port}");
    let store = |args: &[&str]| {
        let place = ["--data", text(&data), "--store", &url];
        run(["store"].iter().chain(args).chain(&place))
    };
    assert_eq!(
        store(&["add", text(&file)]).done(),
        format!("{}\n", HELLO.1)
    );
    assert_eq!(store(&["cat", HELLO.1]).done(), HELLO.0);
    let synced = store(&["sync", "--json"]);
    assert_eq!(synced.code, Some(1));
    assert!(
        synced.stderr.contains("cannot be reached"),
        "{}",
        synced.stderr
    );
    assert!(!format!("{}{}", synced.stdout, synced.stderr).contains("hush"));
    let status = store(&["sync", "--status", "--json"]).json();
    assert_eq!(
        (
            &status["pending"],
            &status["pending_bytes"],
            &status["copied"]
        ),
        (&1.into(), &11.into(), &0.into())
    );
    assert!(
        status["trouble"]
            .as_str()
            .unwrap()
            .contains("cannot be reached")
    );
    let error = run([
        "store",
        "ls",
        "--data",
        text(&data),
        "--store",
        "ftp://host/x",
    ])
    .failed();
    assert!(error.contains("ftp is not a kind of store"), "{error}");
    // A store of its own folder, chosen by the same option.
    let place = folder.path().join("elsewhere");
    run(["store", "add", text(&file), "--store", text(&place)]).done();
    assert_eq!(
        run(["store", "cat", HELLO.1, "--store", text(&place)]).done(),
        HELLO.0
    );
}
