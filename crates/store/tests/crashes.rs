//! What a killed process and a full disk leave behind. The test binary runs itself as the victim.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a skipped test says so, and a victim tells its parent how far it is"
)]

mod content;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use content::{CHUNK, bytes};
use rand_chacha::rand_core::Rng;
use store::{Cid, Error, PutOptions, Store};

const ROLE: &str = "KINORA_STORE_TEST_ROOT";

/// This binary again, running one test by name, which sees `ROLE` and plays the victim.
fn victim(test: &str, root: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, root)
        .stdout(Stdio::piped());
    command
}

fn role() -> Option<PathBuf> {
    env::var_os(ROLE).map(PathBuf::from)
}

/// Puts for ever, telling of each put once it has returned.
fn put_for_ever(root: &Path) {
    let store = Store::open(root).unwrap();
    let mut out = std::io::stdout();
    let mut random = content::keyed(&format!("victim {}", std::process::id()));
    for round in 0_u64.. {
        // Sizes on both sides of one chunk, some again and again.
        let size = [7, CHUNK / 2, CHUNK + 1, 2 * CHUNK + 3][random.next_u32() as usize % 4];
        let seed = format!("victim {}", random.next_u32() % 50);
        let pin = format!("victim/{}/{round}", std::process::id());
        let options = PutOptions {
            pin: Some(&pin),
            publish: Some("newest"),
            ..PutOptions::default()
        };
        let content = bytes(&seed, size);
        let stored = if round % 3 == 0 {
            let path = root.join(format!("upload-{}", std::process::id()));
            std::fs::write(&path, &content).unwrap();
            store.put_file(&path, &options).unwrap()
        } else {
            store.put(content.as_slice(), &options).unwrap()
        };
        writeln!(out, "put {}", stored.cid).unwrap();
        if round % 5 == 4 {
            store.unpin(&pin).unwrap();
            store.collect(Duration::ZERO).unwrap();
        }
    }
}

fn kill_after(mut child: Child, lines: u32, random: &mut impl Rng) -> Vec<Cid> {
    let mut told = Vec::new();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let cid_in = |line: &str| {
        let text = line.split_once("put ")?.1;
        Some(Cid::try_from(text).unwrap())
    };
    while (told.len() as u32) < lines {
        told.extend(cid_in(&out.next().unwrap().unwrap()));
    }
    // Somewhere within the next put; a put takes a few milliseconds.
    std::thread::sleep(Duration::from_micros(u64::from(random.next_u32() % 12_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still told before it died counts too; the last line may be cut.
    told.extend(out.map_while(Result::ok).filter_map(|line| {
        let text = line.split_once("put ")?.1;
        Cid::try_from(text).ok()
    }));
    told
}

#[test]
fn killed_writers_leave_whole_objects_or_none() {
    if let Some(root) = role() {
        return put_for_ever(&root);
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut random = content::keyed("when to kill");
    let drafts = || std::fs::read_dir(root.join("tmp")).unwrap().count();
    let mut interrupted = 0;
    for round in 0..24 {
        let child = victim("killed_writers_leave_whole_objects_or_none", &root)
            .spawn()
            .unwrap();
        let told = kill_after(child, 1 + random.next_u32() % 6, &mut random);
        interrupted += drafts();
        let store = Store::open(&root).unwrap();
        assert_eq!(drafts(), 0, "drafts of the dead are swept");
        let verified = store.verify(true, |_| {}).unwrap();
        assert_eq!(verified.findings, [], "round {round}");
        // All but those the victim itself unpinned are held by their pins.
        let pins = store.pins("victim/").unwrap();
        for pin in &pins {
            assert!(store.stat(&pin.cid).unwrap().is_some(), "{}", pin.name);
        }
        let newest = store.resolve("newest").unwrap().unwrap();
        assert!(store.stat(&newest.cid).unwrap().is_some());
        let last_told = told.last().unwrap();
        let versions = store.versions("newest").unwrap();
        assert!(
            versions.iter().any(|v| v.cid == *last_told),
            "round {round}: what was told last is among the last versions"
        );
    }
    assert!(interrupted > 0, "no kill came in the middle of a put");
    // The same folder goes on as if nothing had been.
    let store = Store::open(&root).unwrap();
    store
        .put(b"after".as_slice(), &PutOptions::default())
        .unwrap();
}

/// Fills a small disk, then frees it.
fn fill(root: &Path) {
    let store = Store::open(root).unwrap();
    let pins = |n: usize| format!("fill/{n}");
    let mut held = 0;
    let error = loop {
        let pin = pins(held);
        let options = PutOptions {
            pin: Some(&pin),
            ..PutOptions::default()
        };
        let size = if held % 2 == 0 {
            2 * CHUNK + 1
        } else {
            CHUNK / 2
        };
        match store.put(bytes(&pin, size).as_slice(), &options) {
            Ok(_) => held += 1,
            Err(error) => break error,
        }
        assert!(held < 100, "the disk is small");
    };
    assert!(error.is_full(), "{error:?}");
    assert!(matches!(error, Error::Full { .. }));
    let left = |folder: &str| std::fs::read_dir(root.join(folder)).unwrap().count();
    assert_eq!(left("tmp"), 0, "the draft is gone");
    let verified = store.verify(true, |_| {}).unwrap();
    assert_eq!(verified.findings, [], "nothing is half-written");
    assert_eq!(verified.objects, held as u64);
    assert_eq!(store.pins("fill/").unwrap().len(), held);

    // Down to the last byte: small objects until even those do not fit.
    let mut small = 0_u32;
    let error = loop {
        match store.put(small.to_le_bytes().as_slice(), &PutOptions::default()) {
            Ok(_) => small += 1,
            Err(error) => break error,
        }
        assert!(small < 100_000, "the disk is small");
    };
    assert!(error.is_full(), "{error:?}");
    assert_eq!(store.verify(true, |_| {}).unwrap().findings, []);

    // Room again: the same store goes on.
    std::fs::remove_file(root.join("../ballast")).unwrap();
    assert_eq!(store.unpin_prefix("fill/").unwrap(), held);
    let collected = store.collect(Duration::ZERO).unwrap();
    assert_eq!(collected.objects, held as u64 + u64::from(small));
    store
        .put(bytes("again", 2 * CHUNK).as_slice(), &PutOptions::default())
        .unwrap();
    assert_eq!(store.verify(true, |_| {}).unwrap().findings, []);
    println!("filled and freed");
}

#[test]
fn a_full_disk_is_a_clean_error() {
    if let Some(root) = role() {
        return fill(&root);
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let binary = victim("a_full_disk_is_a_clean_error", &root);
    // A small disk of its own, in a mount namespace that ends with the process. The ballast
    // stands for what an operator would delete.
    let script = "mount -t tmpfs -o size=14m tmpfs \"$0\" \
                  && head -c 1048576 /dev/zero > \"$0/ballast\" \
                  && echo mounted && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(dir.path())
        .arg(binary.get_program())
        .args(binary.get_args())
        .env(ROLE, &root)
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: needs unshare(1)");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !text.contains("mounted") {
        eprintln!("skipped: no mount namespace to be had: {errors}");
        return;
    }
    assert!(text.contains("filled and freed"), "{text}\n{errors}");
}
