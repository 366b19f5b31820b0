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
