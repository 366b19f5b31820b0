//! `kinora store import`, `export` and `names`: CAR files from a file and through a pipe, and what
//! is left when they are wrong.

use crate::process::{kinora, run};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/gateway")
        .join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of these tests")
}

/// A directory with a file in parts, by Kubo.
const DIRECTORY: &str = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy";
const IN_PARTS: &str = "bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa";

#[test]
fn a_car_goes_in_and_comes_out_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let car = fixture("path_gateway_unixfs/dir-with-files.car");
    let imported = run([
        "store",
        "import",
        text(&car),
        "--json",
        "--data",
        text(&data),
    ])
    .json();
    let pin = format!("car/{DIRECTORY}");
    let expected =
        json!({ "roots": [DIRECTORY], "pins": [pin], "blocks": 9, "new": 9, "bytes": 1939 });
    assert_eq!(imported, expected);

    let out = folder.path().join("out.car");
    let exported = run([
        "store",
        "export",
        DIRECTORY,
        "-o",
        text(&out),
        "--json",
        "--data",
        text(&data),
    ])
    .json();
    assert_eq!(
        exported,
        json!({ "cid": DIRECTORY, "blocks": 9, "bytes": 1939 })
    );
    assert_eq!(fs::read(&out).unwrap(), fs::read(&car).unwrap());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "no draft is left"
    );

    // A file that lies there in blocks is read like any other.
    let lorem = run(["store", "cat", IN_PARTS, "--data", text(&data)]).done();
    assert!(lorem.starts_with("Lorem ipsum") && lorem.len() == 1026);
    let error = run(["store", "cat", DIRECTORY, "--data", text(&data)]).failed();
    assert!(error.contains("not a file"), "{error}");

    // From one to the other, through a pipe.
    let other = folder.path().join("other");
    let mut exporting = kinora(["store", "export", DIRECTORY, "--data", text(&data)])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let imported = kinora([
        "store",
        "import",
        "-",
        "--pin",
        "mine",
        "--data",
        text(&other),
    ])
    .stdin(exporting.stdout.take().unwrap())
    .output()
    .unwrap();
    assert!(exporting.wait().unwrap().success());
    assert_eq!(
        String::from_utf8(imported.stdout).unwrap(),
        format!("{DIRECTORY}\n")
    );
    let pins = run(["store", "pin", "ls", "--json", "--data", text(&other)]).json();
    assert_eq!(
        (&pins[0]["name"], &pins[0]["cid"]),
        (&json!("mine"), &json!(DIRECTORY))
    );
}

#[test]
fn what_is_wrong_is_told_and_pins_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let good = fs::read(fixture("path_gateway_unixfs/dir-with-files.car")).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let hole = fixture("trustless_gateway_car/file-3k-and-3-blocks-missing-block.car");
    let rows: [(&[u8], &str); 6] = [
        (
            &flipped,
            "block bafkreifst3pqztuvj57lycamoi7z34b4emf7gawxs74nwrc2c7jncmpaqm at byte 1900 is not",
        ),
        (&good[..1000], "ends at byte 1000"),
        (&fs::read(&hole).unwrap(), "is not whole"),
        // A header of 100 MB, of which nothing is there.
        (
            &[0x80, 0x80, 0x80, 0x32],
            "header at byte 0 says that it has 104857600 bytes",
        ),
        (&b"#EXTM3U\n".repeat(9), "not a CAR file"),
        (b"", "not a CAR file"),
    ];
    for (car, expected) in rows {
        let mut importing = kinora(["store", "import", "-", "--data", text(&data)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have seen enough before the end.
        let _ = importing.stdin.take().unwrap().write_all(car);
        let ended = importing.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}: not {expected}");
        let pins = run(["store", "pin", "ls", "--json", "--data", text(&data)]).json();
        assert_eq!(pins, json!([]));
    }
    // With a hole it goes in when nothing is to be pinned, and does not come out whole.
    run([
        "store",
        "import",
        text(&hole),
        "--no-pin",
        "--data",
        text(&data),
    ])
    .done();
    let out = folder.path().join("out.car");
    let root = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk";
    let error = run([
        "store",
        "export",
        root,
        "-o",
        text(&out),
        "--data",
        text(&data),
    ])
    .failed();
    assert!(
        error.contains("QmSNLTo6Wv9dfroVaw7MFYjLqf9ho7PKrgsjdzYDtv8h1W"),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no draft is left"
    );
}

#[test]
fn records_come_with_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let car = fixture("gateway-cache/fixtures.car");
    let import = |record: &Path| {
        run([
            "store",
            "import",
            text(&car),
            "--record",
            text(record),
            "--data",
            text(&data),
        ])
    };
    let records = fixture("ipns_records");
    for entry in fs::read_dir(records).unwrap() {
        let record = entry.unwrap().path();
        // Names of these files go on after an underscore.
        let (_, kind) = text(&record).split_once('_').unwrap();
        let (_, kind) = kind.split_once('_').unwrap();
        let named = folder.path().join(
            record
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replacen('_', ".", 1),
        );
        fs::copy(&record, &named).unwrap();
        let ended = import(&named);
        let good = ["v1-v2.", "v2.", "v1-v2-broken-signature-v1."];
        if good.iter().any(|good| kind.starts_with(good)) {
            ended.done();
        } else {
            let error = ended.failed();
            assert!(
                error.contains("signature") || error.contains("signed"),
                "{error}"
            );
        }
    }
    let stranger = folder.path().join("stranger");
    fs::write(&stranger, b"").unwrap();
    assert!(
        import(&stranger)
            .failed()
            .contains("not called after an IPNS name")
    );
    assert_eq!(
        run(["store", "names", "--json", "--data", text(&data)]).json(),
        json!([])
    );
}
