//! A disk that fills up during an upload and during the making of a stream: on a small tmpfs,
//! which only root may mount.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::http::finish;
use crate::process::{Server, state, two_rungs};

pub struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    pub fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves nothing free, whatever others write meanwhile.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.path().join("filler")).unwrap();
        for block in [1 << 16, 1 << 12] {
            let full = loop {
                if let Err(error) = filler.write_all(&vec![1; block]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        }
    }

    /// Leaves so many bytes free.
    pub fn fill_up_to(&self, free: u64) {
        let output = Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(self.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let now: u64 = text.lines().nth(1).unwrap().trim().parse().unwrap();
        std::fs::write(self.path().join("filler"), vec![1; (now - free) as usize]).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
    }
}

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

#[test]
fn uploads_and_streams_on_a_full_disk() {
    let Some(disk) = Tmpfs::mount(64) else {
        let _ = writeln!(std::io::stderr(), "skipped: mounting a tmpfs needs root");
        return;
    };
    let clips = tempfile::tempdir().unwrap();
    let data = disk.path().join("data");
    let server = Server::start(&data);
    let client = server.client;
    let uploads = || std::fs::read_dir(data.join("uploads")).unwrap().count();
    let clip = two_rungs(clips.path(), 4);
    let kept = client.upload("kept.mp4", &clip);
    client.wait(&kept, "the stream", |asset| state(asset) == "done");

    // Announced: refused at once. Not announced: refused when there is no more room, and cleaned.
    let name = ("Upload-Metadata", "filename Y2xpcC5tcDQ=");
    client
        .send(
            "POST",
            "/api/uploads",
            &[TUS, ("Upload-Length", "60000000"), name],
            b"",
        )
        .problem(507);
    let mut connection = client.begin("POST", "/api/assets?name=big.mp4", &[], None);
    let piece = vec![7u8; 1 << 20];
    for _ in 0..60 {
        let sent = write!(connection, "{:x}\r\n", piece.len())
            .and_then(|()| connection.write_all(&piece))
            .and_then(|()| connection.write_all(b"\r\n"));
        if sent.is_err() {
            break;
        }
    }
    let _ = connection.write_all(b"0\r\n\r\n");
    let detail = finish(connection, "POST").problem(507);
    assert!(
        detail.starts_with("big.mp4: ") && detail.contains("disk is full"),
        "{detail}"
    );
    // What came of it is gone again, so there is room for the next.
    let deferred = client.send(
        "POST",
        "/api/uploads",
        &[TUS, ("Upload-Defer-Length", "1"), name],
        b"",
    );
    assert_eq!(deferred.status, 201, "{}", deferred.text());
    assert_eq!(uploads(), 1);
    let upload = deferred.header("location").unwrap();
    assert_eq!(client.send("DELETE", upload, &[TUS], b"").status, 204);

    // The making of a stream waits, says so, and goes on when there is room again.
    let id = client.upload("clip.mp4", &[clip.as_slice(), b"\0"].concat());
    client.wait(&id, "a segment", |asset| {
        asset["stream"]["rungs"][0]["segments"].as_u64() > Some(0)
    });
    disk.fill_up_to(1 << 20);
    let asset = client.wait(&id, "a word of it", |asset| {
        assert_ne!(
            state(asset),
            "done",
            "the disk was full and the stream was made"
        );
        asset["stream"]["progress"]["waiting"].is_string()
    });
    assert_eq!(state(&asset), "running");
    let waiting = asset["stream"]["progress"]["waiting"].as_str().unwrap();
    assert!(
        waiting.starts_with("clip.mp4: ") && waiting.contains("disk is full"),
        "{waiting}"
    );
    client
        .send("POST", "/api/assets?name=more.mp4", &[], b"abc")
        .problem(507);

    std::fs::remove_file(disk.path().join("filler")).unwrap();
    client.wait(&id, "the stream", |asset| state(asset) == "done");
    // What was there before is untouched.
    let asset = client.asset(&kept);
    assert_eq!(state(&asset), "done");
    crate::process::segments(client, &asset);
}
