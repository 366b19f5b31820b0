//! A `kinora serve` process over a folder, and clips to give it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::http::Client;

pub struct Server {
    child: Child,
    pub client: Client,
}

impl Server {
    /// Starts a server over `data` and waits until it says where it listens.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same with further arguments of `kinora serve`.
    pub fn start_with(data: &Path, arguments: &[&str]) -> Self {
        Self::start_in(data, arguments, &[])
    }

    /// The same with variables of the environment.
    pub fn start_in(data: &Path, arguments: &[&str], variables: &[(&str, &Path)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinora"))
            .envs(variables.iter().copied())
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http");
        let address = address.map(|rest| rest.trim_start_matches("s").trim_start_matches("://"));
        let address = address.unwrap_or_else(|| panic!("no address: {line:?}"));
        Self {
            client: Client(address.parse().unwrap()),
            child,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As an operator ends it.
    pub fn end(self) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        self.ended();
    }

    /// Waits for its end, which somebody asked for.
    pub fn ended(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    /// The worker that does `task` now.
    pub fn worker(&self, task: &str) -> Option<u32> {
        let folders = std::fs::read_dir("/proc").unwrap();
        let pids = folders.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.into_iter().find(|&pid: &u32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
            parent(pid) == Some(self.pid())
                && words.get(1..3) == Some(&[b"worker", task.as_bytes()])
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A field of `/proc/PID/stat`, counted as proc(5) does.
pub fn stat(pid: u32, field: usize) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(field - 3)?.parse().ok()
}

fn parent(pid: u32) -> Option<u32> {
    u32::try_from(stat(pid, 4)?).ok()
}

/// A clip made by `ffmpeg` with these arguments before the output's name.
pub fn clip(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments)
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success(), "ffmpeg {arguments:?}");
    path
}

/// A clip of two rungs and so many segments, with sound.
pub fn two_rungs(folder: &Path, segments: u32) -> Vec<u8> {
    let seconds = (segments * 4).to_string();
    let path = clip(
        folder,
        "two-rungs.mp4",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=480x400:rate=15",
            "-f",
            "lavfi",
            "-i",
            "sine",
            "-t",
            &seconds,
            "-c:v",
            "mpeg4",
            "-q:v",
            "5",
            "-c:a",
            "aac",
        ],
    );
    std::fs::read(path).unwrap()
}

/// All segments of all rungs, as the published playlists name them.
pub fn segments(client: Client, asset: &Value) -> Vec<String> {
    let master = client.get(asset["stream"]["url"].as_str().unwrap()).text();
    let id = asset["id"].as_str().unwrap();
    let rungs = lines(&master);
    let mut named = vec![master.clone()];
    for rung in rungs {
        let playlist = client.get(&format!("/streams/{id}/{rung}"));
        assert_eq!(playlist.status, 200, "{rung}");
        for uri in lines(&playlist.text()) {
            let segment = client.get(&uri);
            assert_eq!(
                segment.status, 200,
                "{rung} names {uri}, which is not there"
            );
            assert_eq!(segment.header("content-type"), Some("video/mp2t"));
            // What was served is what its address says.
            let (cid, _) = store::cid_of(segment.body.as_slice()).unwrap();
            assert!(uri.contains(&cid.to_string()), "{uri} is {cid}");
            named.push(format!("{rung} {uri}"));
        }
    }
    named
}

fn lines(playlist: &str) -> Vec<String> {
    playlist
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

pub fn state(asset: &Value) -> &str {
    asset["stream"]["state"].as_str().unwrap_or("none")
}

/// What the command says to a server that does what it is asked.
pub fn kinora(client: Client, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args(arguments)
        .args(["--server", &format!("http://{}", client.0)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
