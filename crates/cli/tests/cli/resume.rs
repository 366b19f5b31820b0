//! `kinora ladder` killed at any moment, in a folder and in the store, and on a disk that fills up:
//! the same command goes on, makes nothing twice, and ends with what one run makes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{clip, kinora, run, serve, terminate, until};
use store::Store;

const SEGMENTS: usize = 6;

/// Two rungs to encode, with sound.
fn film(folder: &Path) -> PathBuf {
    let lasts = SEGMENTS;
    let arguments = format!(
        "-f lavfi -i testsrc2=size=480x400:rate=15:duration={lasts} \
         -f lavfi -i sine=duration={lasts} -c:v mpeg4 -q:v 5 -c:a aac"
    );
    clip(folder, "film.mp4", &arguments)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of these tests")
}

/// The command, whose talk is of no interest here.
fn quiet(arguments: &[&str]) -> Command {
    let mut command = kinora(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How long after something came of a run it is killed, in milliseconds: the same in each test run.
fn moments() -> impl Iterator<Item = Duration> {
    let mut state = 7u64;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Duration::from_millis((state >> 33) % 30)
    })
}

/// Runs the command until it gets through, killing it again and again: now and then before anything can
/// have come of it, else soon after something did, however fast the machine is. `look` says what is
/// there: what once was there must stay as it is.
fn kill_until_through<T: PartialEq + std::fmt::Debug>(
    arguments: &[&str],
    look: impl Fn() -> BTreeMap<String, T>,
) {
    let mut before = BTreeMap::new();
    let mut kills = 0;
    for (number, moment) in moments().enumerate() {
        let mut child = quiet(arguments).spawn().unwrap();
        if number % 4 > 0 {
            let is_news = |name: &String| !before.contains_key(name);
            while child.try_wait().unwrap().is_none() && !look().keys().any(is_news) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        std::thread::sleep(moment);
        let end = child.try_wait().unwrap();
        if end.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        let now = look();
        for (name, one) in &before {
            assert_eq!(now.get(name), Some(one), "{name} was made again or is gone");
        }
        before = now;
        if let Some(status) = end {
            assert!(status.success(), "{status}");
            break;
        }
    }
    assert!(kills >= 3, "killed {kills} times only");
}

/// Names and contents of all files of a stream, without those that a run at work has just renamed.
fn contents(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let (folders, mut all): (Vec<_>, Vec<_>) =
        files(out).into_iter().partition(|path| path.is_dir());
    all.extend(folders.iter().flat_map(|folder| files(folder)));
    let read = |file: PathBuf| {
        let name = text(&file).replace(text(out), "");
        fs::read(file).ok().map(|bytes| (name, bytes))
    };
    let mut contents: BTreeMap<_, _> = all.into_iter().filter_map(read).collect();
    contents.retain(|name, _| name != "/.journal");
    contents
}

#[test]
fn a_killed_run_goes_on_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    let film = text(&film);
    for container in ["ts", "cmaf"] {
        let (whole, out) = (
            folder.path().join(format!("{container}-whole")),
            folder.path().join(container),
        );
        let arguments = |out| {
            let options = ["--segment", "1", "--container", container, "-o", out];
            [&["ladder", film][..], &options].concat()
        };
        run(arguments(text(&whole))).done();
        // A file that is made again is another file, or changed later.
        let look = || {
            let files = contents(&out).into_keys();
            let segments = files.filter(|name| name.ends_with(".ts") || name.ends_with(".m4s"));
            let about = |name: String| {
                let about = fs::metadata(out.join(&name[1..])).ok()?;
                Some((name, (about.ino(), about.mtime(), about.mtime_nsec())))
            };
            segments.filter_map(about).collect()
        };
        fs::create_dir(&out).unwrap();
        kill_until_through(&arguments(text(&out)), look);
        assert!(contents(&out) == contents(&whole), "{container}");
        // Once more has nothing to do.
        let before = look();
        run(arguments(text(&out))).done();
        assert_eq!(look(), before);
    }
}

/// What is pinned of a stream, and what its names stand for.
fn stored(data: &Path, name: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let store = Store::open(data.join("store")).unwrap();
    let pins = store.pins(&format!("stream/{name}/")).unwrap();
    let pins = pins.into_iter().map(|pin| (pin.name, pin.cid.to_string()));
    let names = store.names(&format!("streams/{name}/")).unwrap();
    let cid = |name: String| {
        let record = store.resolve(&name).unwrap().unwrap();
        (name, record.cid.to_string())
    };
    (pins.collect(), names.into_iter().map(cid).collect())
}

#[test]
fn a_killed_run_goes_on_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    let (whole, data) = (folder.path().join("whole"), folder.path().join("data"));
    let arguments = |data| {
        let options = [
            "--segment",
            "1",
            "--store",
            "--name",
            "film",
            "--data",
            data,
        ];
        [&["ladder", text(&film)][..], &options].concat()
    };
    run(arguments(text(&whole))).done();

    // A segment that is stored again has a younger object: the store is another one for each.
    let look = || {
        let store = Store::open(data.join("store")).unwrap();
        let pins = store.pins("stream/film/").unwrap().into_iter();
        let pins = pins.filter(|pin| pin.note.is_some());
        pins.map(|pin| {
            let created = store.stat(&pin.cid).unwrap().unwrap().created;
            (pin.name, (pin.cid, pin.note, created))
        })
        .collect()
    };
    // A server over the same folder lets people watch meanwhile.
    let server = serve(&data, &[]);
    let address = server
        .address
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                looks += usize::from(crate::watch::everything(address, "film") > 0);
            }
            looks
        });
        kill_until_through(&arguments(text(&data)), look);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watching.join().unwrap() > 3, "nobody saw it grow");
    });
    let (pins, names) = stored(&data, "film");
    let (expected_pins, expected_names) = stored(&whole, "film");
    assert_eq!(pins, expected_pins);
    assert_eq!(names, expected_names);
    assert!(pins.len() > 2 * SEGMENTS);
    run(["store", "verify", "--data", text(&data)]).done();
}

#[test]
fn a_full_disk_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        let arguments = ["-t", "tmpfs", "-o", options, "none", text(&disk)];
        let mounted = Command::new("mount").args(arguments).output();
        mounted.is_ok_and(|mounted| mounted.status.success())
    };
    if !mount("size=900k") {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"not tried: mounting a small tmpfs needs root\n",
        );
        return;
    }
    let film = film(folder.path());
    let whole = folder.path().join("whole");
    for place in ["-o", "--data"] {
        let arguments = |to| {
            let options = ["--segment", "1", place, to];
            let store = if place == "-o" { &[][..] } else { &["--store"] };
            [&["ladder", text(&film)][..], &options, store].concat()
        };
        let to = disk.join("stream");
        let error = run(arguments(text(&to))).failed();
        assert!(error.contains("film.mp4"), "{error}");
        assert!(mount("remount,size=60m"));
        run(arguments(text(&to))).done();
        run(arguments(text(&whole))).done();
        if place == "-o" {
            assert!(contents(&to) == contents(&whole));
        } else {
            assert_eq!(stored(&to, "film"), stored(&whole, "film"));
        }
        fs::remove_dir_all(&to).unwrap();
        fs::remove_dir_all(&whole).unwrap();
        assert!(mount("remount,size=900k"));
    }
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
}

/// Another command, or another file under the same name, makes its own stream.
#[test]
fn what_was_made_otherwise_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    let out = folder.path().join("out");
    let make = |more: &[&str]| {
        let arguments = ["ladder", text(&film), "-o", text(&out), "--segment", "4"];
        run([&arguments, more].concat()).done();
        contents(&out)
    };
    let first = make(&[]);
    assert!(make(&[]) == first);
    let faster = make(&["--preset", "ultrafast"]);
    assert!(faster["/360p/00000.ts"] != first["/360p/00000.ts"]);
    let other = clip(
        folder.path(),
        "film.mp4",
        "-f lavfi -i testsrc=size=480x400:rate=15:duration=5 -c:v mpeg4",
    );
    assert_eq!(other, film);
    let other = make(&[]);
    assert!(other["/360p/00000.ts"] != first["/360p/00000.ts"]);
}

#[test]
fn ctrl_c_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path());
    let out = folder.path().join("out");
    let arguments = ["ladder", text(&film), "-o", text(&out), "--segment", "1"];
    let child = quiet(&arguments).spawn().unwrap();
    until(|| out.join("master.m3u8").exists());
    terminate(&child, "INT");
    let first = out.join("360p/00000.ts");
    let before = fs::metadata(&first).unwrap();
    child.wait_with_output().unwrap();
    run(arguments).done();
    let after = fs::metadata(&first).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
}
