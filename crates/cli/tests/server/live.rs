//! A live source on the network, as `kinora stream` and players meet it: SRT from ffmpeg.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::http::PATIENCE;
use crate::process::{Server, kinora};

/// Ends with the test.
struct Source(Child);

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for whoever calls, then plays for so many seconds.
fn srt(port: u16, seconds: u32) -> Source {
    let pictures = format!("testsrc2=size=320x180:rate=25:duration={seconds}");
    let tone = format!("sine=duration={seconds}");
    let child = Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-f", "lavfi", "-i", &pictures])
        .args(["-re", "-f", "lavfi", "-i", &tone])
        .args("-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac -f mpegts".split(' '))
        .arg(format!("srt://127.0.0.1:{port}?mode=listener"))
        .stdin(Stdio::null())
        .spawn();
    Source(child.unwrap())
}

#[test]
fn a_live_source_becomes_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let client = server.client;
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("srt://127.0.0.1:{port}");
    let _source = srt(port, 40);
    let url = kinora(
        client,
        &["stream", "add", "stage", &address, "--low-latency"],
    );
    let path = url
        .trim()
        .strip_prefix(&format!("http://{}", client.0))
        .unwrap();
    assert_eq!(path, "/streams/stage/master.m3u8");

    let until = Instant::now() + PATIENCE;
    let mut playlist = String::new();
    let segments = |playlist: &str| playlist.matches("#EXTINF").count();
    while segments(&playlist) < 2 || !playlist.contains("#EXT-X-PART:") {
        assert!(
            Instant::now() < until,
            "{playlist}\n{}",
            kinora(client, &["stream", "ls"])
        );
        let answer = client.get("/streams/stage/180p/playlist.m3u8");
        // Everything that it names is there.
        if answer.status == 200 {
            playlist = answer.text();
            let parts = playlist
                .lines()
                .filter_map(|line| line.split("URI=\"").nth(1));
            let parts = parts.map(|rest| rest.split('"').next().unwrap());
            let named: Vec<&str> = playlist
                .lines()
                .filter(|line| line.starts_with("/ipfs/"))
                .chain(parts)
                .collect();
            for uri in named {
                let hinted = playlist.contains(&format!("TYPE=PART,URI=\"{uri}\""));
                let path = match uri.starts_with('/') {
                    true => uri.to_owned(),
                    false => format!("/streams/stage/180p/{uri}"),
                };
                if !hinted {
                    assert_eq!(client.get(&path).status, 200, "{uri} of {playlist}");
                }
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let listed = kinora(client, &["stream", "ls"]);
    assert!(
        listed.contains("running") && listed.contains(&address),
        "{listed}"
    );

    kinora(client, &["stream", "rm", "stage", "--keep"]);
    let until = Instant::now() + PATIENCE;
    let mut whole = String::new();
    while !whole.contains("#EXT-X-ENDLIST") {
        assert!(Instant::now() < until, "{whole}");
        whole = client.get("/streams/stage/180p/playlist.m3u8").text();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        whole.contains("#EXT-X-PLAYLIST-TYPE:VOD") && segments(&whole) >= 2,
        "{whole}"
    );
    kinora(client, &["stream", "rm", "stage"]);
    client.get("/streams/stage/master.m3u8").problem(404);
}
