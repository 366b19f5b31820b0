//! The command: what it prints, and how it ends.

// It is for pictures as well.
#[allow(dead_code)]
mod client;

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinora-decoded"))
        .args(arguments)
        .env_remove("RUNTIME_DIRECTORY")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A record of a stream that the repository carries.
fn record(folder: &Path, name: &str) -> PathBuf {
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media/decode");
    let stream = client::read(&streams.join(name)).unwrap();
    let path = folder.join(name);
    let mut bytes = decoded::record::header().to_vec();
    for message in &stream.messages {
        bytes.extend_from_slice(message);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_record_is_replayed_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec, jobs) in [
        ("vp8.webm", "vp8", 10),
        ("clip-a.h264", "h264", 30),
        ("bear-vp9-odd-dimensions.webm", "vp9", 30),
    ] {
        let path = record(folder.path(), name);
        let path = path.to_str().unwrap();
        let mut sums = Vec::new();
        for mode in [&["--sessions", "2"][..], &["--sessions", "2", "--threads"]] {
            let arguments = [&["--replay", path, "--json", "--md5"], mode].concat();
            let output = run(&arguments);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            for session in value["sessions"].as_array().unwrap() {
                assert_eq!(session["codec"], codec);
                assert!(session["jobs"].as_u64().unwrap() >= jobs, "{session}");
                assert_eq!(session["errors"], 0);
                sums.push(session["md5"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(sums.len(), 4);
        assert!(
            sums.iter().all(|sum| *sum == sums[0] && sum.len() == 32),
            "{sums:?}"
        );
    }
}

/// Digests by codec, of a replay's sessions that came to their end.
fn sums(output: &Output) -> BTreeMap<String, String> {
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sessions = value["sessions"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    sessions
        .iter()
        .map(|session| {
            assert_eq!(session["errors"], 0, "{session}");
            (text(&session["codec"]), text(&session["md5"]))
        })
        .collect()
}

/// Processes of a parent, and the ticks of user time that each has used.
fn children(parent: u32) -> Vec<(i32, u64)> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let child = |name: &str| {
        let pid = name.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let is_child = fields[1] == parent.to_string();
        is_child.then(|| (pid, fields[11].parse().unwrap()))
    };
    processes
        .filter_map(|entry| child(entry.file_name().to_str()?))
        .collect()
}

/// Sessions in the middle of their streams, of which one is ended by force: the others' pictures are
/// what they always are, the parent tells which one is missing, and that one's stream can be decoded
/// again. In the guest the same is done to workers of the daemon.
#[test]
fn a_session_that_dies_takes_no_other_along() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["vp8.webm", "clip-a.h264", "bear-vp9-odd-dimensions.webm"];
    let records = names.map(|name| record(folder.path(), name));
    let records = records.each_ref().map(|path| path.to_str().unwrap());
    let replay = |records: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinora-decoded"));
        command.args(["--json", "--md5", "--repeat", "40", "--replay"]);
        command.args(records);
        command
    };
    let truth = sums(&replay(&records).output().unwrap());
    assert_eq!(truth.len(), names.len());
    for (victim, signal) in [(0, Signal::KILL), (1, Signal::SYS)] {
        let mut command = replay(&records);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let parent = command.spawn().unwrap();
        let pid = loop {
            let mut all = children(parent.id());
            all.sort_unstable();
            // All of them are there, and each has decoded for a while.
            if all.len() == names.len() && all.iter().all(|(_, ticks)| *ticks > 3) {
                break all[victim].0;
            }
            assert!(all.iter().all(|(_, ticks)| *ticks < 10_000), "{all:?}");
            std::thread::yield_now();
        };
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        let output = parent.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("its process ended: signal"), "{said}");
        let survivors = sums(&output);
        assert_eq!(survivors.len(), names.len() - 1, "{survivors:?}");
        for (codec, sum) in &survivors {
            assert_eq!(sum, &truth[codec], "{codec} beside a session that died");
        }
        let again = sums(&replay(&records[victim..=victim]).output().unwrap());
        for (codec, sum) in again {
            assert!(!survivors.contains_key(&codec), "{codec}");
            assert_eq!(sum, truth[&codec], "{codec} again");
        }
    }
}

#[test]
fn a_broken_record_ends_with_1_and_its_sessions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), "vp8.webm");
    let mut bytes = std::fs::read(&path).unwrap();
    // The first frame's tag: nothing can be decoded until a key frame, and there is none.
    let at = bytes
        .windows(3)
        .position(|window| window == [0x9d, 0x01, 0x2a])
        .unwrap();
    bytes[at] = 0;
    std::fs::write(&path, bytes).unwrap();
    let output = run(&["--replay", path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["sessions"][0]["jobs"], value["sessions"][0]["errors"]);
    assert!(text(&output.stderr).contains("no key frame since the beginning"));
}

#[test]
fn what_goes_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    std::fs::write(&other, "no record").unwrap();
    let socket = folder.path().join("socket");
    for (arguments, code, said) in [
        (
            vec!["--replay", other.to_str().unwrap()],
            1,
            "not a record of jobs",
        ),
        (
            vec!["--stats", "--socket", socket.to_str().unwrap()],
            1,
            "is the daemon running?",
        ),
        (
            vec![
                "--device",
                other.to_str().unwrap(),
                "--socket",
                socket.to_str().unwrap(),
            ],
            1,
            "advertising formats",
        ),
        (
            vec!["--device", "/dev/no-such-device"],
            1,
            "/dev/no-such-device",
        ),
        (vec!["--stats", "--once"], 2, "cannot be used with"),
        (vec!["--repeat", "2"], 2, "--replay"),
    ] {
        let output = run(&arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[test]
fn completions_name_the_options() {
    let output = run(&["--completions", "bash"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("--replay"));
}
