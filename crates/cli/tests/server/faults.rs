//! Between any two steps: the server is killed, its worker is killed, or the disk is full. Then it
//! starts again, the work completes, everything agrees, and in the end nothing is left over.
//!
//! The server stops itself at a point that it is told (`store::fault`); the rest is done from outside.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use store::fault::POINTS;

use crate::full_disk::Tmpfs;
use crate::http::{Client, PATIENCE};
use crate::process::clip;
use crate::variants::stands;

const BOARD: &str = "pi3";

/// What comes between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    ServerKilled,
    WorkerKilled,
    DiskFull,
}

/// What brings a server to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    /// A file comes and everything is made of it.
    Upload,
    /// A file that was there is removed.
    Remove,
    /// A board that was there is removed.
    Dismiss,
    /// What nothing holds is collected, by `kinora store gc`.
    Collect,
}

fn errand(point: &str) -> Errand {
    match point {
        "removal-asked" | "removal-let-go" => Errand::Remove,
        "stale-forgotten" => Errand::Dismiss,
        "sweep-forgotten" => Errand::Collect,
        _ => Errand::Upload,
    }
}

/// A worker is at work there.
fn has_worker(point: &str) -> bool {
    [
        "worker-started",
        "render-half",
        "render-made",
        "segment-stored",
        "playlist-rows",
        "playlist-published",
    ]
    .contains(&point)
}

struct Process {
    child: Child,
    client: Client,
}

impl Process {
    fn start(data: &Path, point: Option<&str>, streams: bool) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinora"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--unit-cache", "0"])
            .args((!streams).then_some("--no-streams"))
            .arg("--data")
            .arg(data)
            .env_remove("KINORA_FAULT")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(point) = point {
            command.env("KINORA_FAULT", point);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("no address: {line:?}"));
        Self {
            client: Client(address.parse().unwrap()),
            child,
        }
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// As an operator ends it.
    fn end(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.unwrap().success(), "kill -{name} {pid}");
}

/// Fields of `/proc/PID/stat` from the third on: state, parent.
fn fields(pid: u32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').map(str::to_owned).collect()
}

fn wait_stopped(pid: u32, what: &str) {
    let until = Instant::now() + PATIENCE;
    while fields(pid).first().map(String::as_str) != Some("T") {
        assert!(Instant::now() < until, "{what}: the point never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn workers(server: u32) -> Vec<u32> {
    let folders = std::fs::read_dir("/proc").unwrap();
    let pids = folders.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let of_it = |pid: &u32| fields(*pid).get(1) == Some(&server.to_string());
    pids.filter(of_it).collect()
}

/// A request that may find nobody, or be answered by nobody.
fn asked(client: Client, method: &str, path: &str, body: &[u8]) -> JoinHandle<()> {
    let (method, path, body) = (method.to_owned(), path.to_owned(), body.to_vec());
    std::thread::spawn(move || {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            client.0,
            body.len()
        );
        let Ok(mut connection) = std::net::TcpStream::connect(client.0) else {
            return;
        };
        let _ = connection.set_read_timeout(Some(PATIENCE));
        let _ = connection.write_all(head.as_bytes());
        let _ = connection.write_all(&body);
        let _ = std::io::Read::read_to_end(&mut connection, &mut Vec::new());
    })
}

fn kinora(data: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

/// Everything that is wanted of the clip is there. It is sent (again) if it never arrived.
fn complete(client: Client, name: &str, clip: &[u8], streams: bool, what: &str) -> String {
    let enrolled = client.send("PUT", &format!("/api/boards/{BOARD}"), &[], b"");
    assert_eq!(enrolled.status, 204, "{what}: {}", enrolled.text());
    // An upload that was whole becomes an asset by itself, a moment after the start.
    let until = Instant::now() + Duration::from_secs(1);
    let listed = || client.get("/api/assets").json().as_array().unwrap().clone();
    let mut assets = listed();
    while assets.is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        assets = listed();
    }
    let id = match assets.as_slice() {
        [] => client.upload(name, clip),
        [one] => one["id"].as_str().unwrap().to_owned(),
        more => panic!("{what}: {} assets", more.len()),
    };
    let asset = client.wait(&id, what, |asset| {
        assert_ne!(asset["state"], "failed", "{what}: {asset:#}");
        assert_ne!(stands(asset, BOARD)["state"], "failed", "{what}: {asset:#}");
        assert_ne!(asset["stream"]["state"], "failed", "{what}: {asset:#}");
        stands(asset, BOARD)["state"] == "done"
            && asset["thumbnail"].is_string()
            && (!streams || asset["stream"]["state"] == "done")
    });
    let file = client.get(&format!("/api/assets/{id}/file"));
    let original = client.get(file.header("location").unwrap());
    assert!(original.body == clip, "{what}: the original is another");
    let variant = client.get(stands(&asset, BOARD)["url"].as_str().unwrap());
    assert_eq!(variant.status, 200, "{what}");
    id
}

fn agrees(data: &Path, what: &str) {
    let (whole, said) = kinora(data, &["fsck", "--json"]);
    let checked: Value =
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{what}: {e}: {said}"));
    assert!(whole, "{what}: {checked:#}");
    assert_eq!(checked["findings"], serde_json::json!([]), "{what}");
}

/// A folder for the data, on a disk that can be filled where that is needed.
enum Ground {
    Folder(tempfile::TempDir),
    Disk(Tmpfs),
}

impl Ground {
    fn data(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.path().join("data"),
            Self::Disk(disk) => disk.path().join("data"),
        }
    }
}

fn between(point: &str, trouble: Trouble, name: &str, clip: &[u8]) {
    let what = format!("{trouble:?} at {point}");
    let what = what.as_str();
    let ground = match trouble {
        Trouble::DiskFull => Ground::Disk(Tmpfs::mount(96).unwrap()),
        _ => Ground::Folder(tempfile::tempdir().unwrap()),
    };
    let data = ground.data();
    let streams = [
        "segment-stored",
        "playlist-rows",
        "playlist-published",
        "stream-made",
    ]
    .contains(&point);
    let errand = errand(point);
    let mut id = String::new();
    if errand != Errand::Upload {
        let server = Process::start(&data, None, streams);
        id = complete(server.client, name, clip, streams, what);
        if errand == Errand::Collect {
            assert_eq!(
                server.client.delete(&format!("/api/boards/{BOARD}")).status,
                204
            );
        }
        server.end();
    }

    let mut server = None;
    let mut collector = None;
    let mut asking = None;
    let pid = if errand == Errand::Collect {
        let child = Command::new(env!("CARGO_BIN_EXE_kinora"))
            .args(["store", "gc", "--grace", "0", "--data"])
            .arg(&data)
            .env("KINORA_FAULT", point)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        collector.insert(child).id()
    } else {
        let held = Process::start(&data, Some(point), streams);
        let client = held.client;
        asking = Some(match errand {
            Errand::Upload => {
                drop(asked(client, "PUT", &format!("/api/boards/{BOARD}"), b""));
                asked(client, "POST", &format!("/api/assets?name={name}"), clip)
            }
            Errand::Remove => asked(client, "DELETE", &format!("/api/assets/{id}"), b""),
            _ => asked(client, "DELETE", &format!("/api/boards/{BOARD}"), b""),
        });
        server.insert(held).child.id()
    };
    wait_stopped(pid, what);

    match trouble {
        Trouble::ServerKilled => signal(pid, "KILL"),
        Trouble::WorkerKilled => {
            let workers = workers(pid);
            assert!(!workers.is_empty(), "{what}: no worker");
            workers
                .into_iter()
                .for_each(|worker| signal(worker, "KILL"));
            signal(pid, "CONT");
        }
        Trouble::DiskFull => {
            let Ground::Disk(disk) = &ground else { return };
            disk.fill();
            signal(pid, "CONT");
            // As long as it is full: whatever is tried meanwhile fails or waits.
            std::thread::sleep(Duration::from_millis(1200));
            std::fs::remove_file(disk.path().join("filler")).unwrap();
            if let Some(server) = &server {
                assert_eq!(
                    server.client.get("/api/status").status,
                    200,
                    "{what}: it lives on"
                );
                server.signal("KILL");
            }
        }
    }
    if let Some(mut child) = collector {
        child.wait().unwrap();
    }
    // A worker's death is survived without a new start.
    let server = match (trouble, server) {
        (Trouble::WorkerKilled, Some(server)) => server,
        (_, old) => {
            drop(old);
            Process::start(&data, None, streams)
        }
    };
    if let Some(asking) = asking {
        asking.join().unwrap();
    }
    // What a removal had begun is finished before anything else is asked for.
    if errand == Errand::Remove {
        let until = Instant::now() + PATIENCE;
        let gone = || server.client.get(&format!("/api/assets/{id}")).status == 404;
        while !gone() {
            assert!(Instant::now() < until, "{what}: it is not removed");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    complete(server.client, name, clip, streams, what);
    server.end();
    agrees(&data, what);

    // In the end nothing is left over.
    let server = Process::start(&data, None, streams);
    for asset in server.client.get("/api/assets").json().as_array().unwrap() {
        let path = format!("/api/assets/{}", asset["id"].as_str().unwrap());
        assert_eq!(server.client.delete(&path).status, 204, "{what}");
    }
    server.end();
    let (done, said) = kinora(&data, &["store", "gc", "--grace", "0"]);
    assert!(done, "{what}: {said}");
    let left = store::Store::open(data.join("store"))
        .unwrap()
        .ls()
        .unwrap();
    assert!(left.is_empty(), "{what}: {left:#?}");
    agrees(&data, what);
}

/// At each point where this can happen. `KINORA_POINT` names one to look at.
fn everywhere(trouble: Trouble, points: impl Iterator<Item = &'static str>) {
    let folder = tempfile::tempdir().unwrap();
    let short = crate::variants::foreign(folder.path(), 1);
    // Long enough for its rendering to be heard of.
    let sources = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=1920x1080:rate=25:duration=8",
    ];
    let coded = ["-c:v", "mpeg4", "-q:v", "9"];
    let long = clip(folder.path(), "long.avi", &[&sources[..], &coded].concat());
    let long = std::fs::read(long).unwrap();
    let one = std::env::var("KINORA_POINT").ok();
    for point in points.filter(|point| one.as_deref().is_none_or(|one| one == *point)) {
        let clip = if point == "render-half" {
            &long
        } else {
            &short
        };
        between(point, trouble, "foreign.avi", clip);
    }
}

#[test]
fn the_server_is_killed_between_any_two_steps() {
    everywhere(Trouble::ServerKilled, POINTS.iter().copied());
}

#[test]
fn a_worker_is_killed_at_any_step_that_has_one() {
    everywhere(
        Trouble::WorkerKilled,
        POINTS.iter().copied().filter(|point| has_worker(point)),
    );
}

#[test]
fn the_disk_is_full_between_any_two_steps() {
    if Tmpfs::mount(1).is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: mounting a tmpfs needs root");
        return;
    }
    everywhere(Trouble::DiskFull, POINTS.iter().copied());
}
