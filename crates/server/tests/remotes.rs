//! Files that the server fetches: whole, resumed, over a restart, and what is not fetched at all.

mod bench;
mod http;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bench::{Bench, PATIENT};
use http::PATIENCE;
use serde_json::{Value, json};

/// What a source does with one request; the last of them is done again and again.
#[derive(Clone)]
enum Does {
    /// Sends this head, and these bytes of the content.
    Sends(String, std::ops::Range<usize>),
    /// The same, and then neither goes on nor hangs up.
    Stalls(String, std::ops::Range<usize>),
}

use Does::{Sends, Stalls};

struct Source {
    address: SocketAddr,
    /// The heads of the requests that came.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Source {
    fn new(content: &[u8], does: Vec<Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&asked);
        let content = content.to_vec();
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for number in 0.. {
                let Ok((mut connection, _)) = listener.accept() else {
                    return;
                };
                let mut head = String::new();
                let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() {
                        break;
                    }
                    head.push_str(&line.to_lowercase());
                    head.push('\n');
                }
                heads.lock().unwrap().push(head);
                let (Sends(head, range) | Stalls(head, range)) = &does[number.min(does.len() - 1)];
                let _ = write!(connection, "HTTP/1.1 {head}\r\n\r\n");
                let _ = connection.write_all(&content[range.clone()]);
                if matches!(does[number.min(does.len() - 1)], Stalls(..)) {
                    open.push(connection);
                }
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A server that may fetch from this machine's first address.
fn bench() -> Bench {
    Bench::with(PATIENT, near)
}

fn near(config: &mut server::Config) {
    config.private_sources = vec!["127.0.0.1".parse().unwrap()];
}

fn add(bench: &Bench, url: &str) -> String {
    let body = json!({ "url": url }).to_string();
    let answer = bench
        .client
        .send("POST", "/api/remotes", &[], body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// The asset that came, and that it is the content.
#[track_caller]
fn came(bench: &Bench, id: &str, content: &[u8]) -> Value {
    let asset = bench
        .client
        .wait(id, "the asset", |asset| asset["state"] == "ready");
    let cid = asset["cid"].as_str().unwrap();
    let answer = bench.client.get(&format!("/ipfs/{cid}"));
    assert!(answer.body == content, "another content");
    bench.client.get(&format!("/api/remotes/{id}")).problem(404);
    assert_eq!(bench.client.get("/api/remotes").json(), json!([]));
    asset
}

/// Why a file is not fetched any more.
#[track_caller]
fn failed(bench: &Bench, url: &str) -> String {
    let mut events = bench.client.events();
    let id = add(bench, url);
    let until = Instant::now() + PATIENCE;
    loop {
        let (name, data) = events.next_until(until).expect("it is still tried");
        if name == "remote" && data["id"] == id.as_str() && data["state"] == "failed" {
            return data["error"].as_str().unwrap().to_owned();
        }
    }
}

fn content() -> Vec<u8> {
    (0..3_000_000u32).map(|n| (n % 251) as u8).collect()
}

const TAG: &str = "ETag: \"one\"";

#[test]
fn a_file_comes_whole_under_its_name() {
    let content = content();
    let whole = format!("200 OK\r\nContent-Length: {}", content.len());
    let source = Source::new(&content, vec![Sends(whole, 0..content.len())]);
    let bench = bench();
    let id = add(&bench, &source.url("/films/a%20b.mp4?x=1#t=3"));
    let asset = came(&bench, &id, &content);
    assert_eq!(asset["name"], "a b.mp4");
    let asked = source.asked();
    assert!(
        asked[0].starts_with("get /films/a%20b.mp4?x=1 http/1.1\n"),
        "{asked:?}"
    );
    assert!(!asked[0].contains("range"), "{asked:?}");
}

#[test]
fn what_broke_off_goes_on() {
    let content = content();
    let (half, length) = (content.len() / 2, content.len());
    let begun = format!("200 OK\r\n{TAG}\r\nContent-Length: {length}");
    let rest = format!(
        "206 Partial Content\r\n{TAG}\r\nContent-Range: bytes {half}-{}/{length}\r\nContent-Length: {}",
        length - 1,
        length - half
    );
    let source = Source::new(
        &content,
        vec![Sends(begun, 0..half), Sends(rest, half..length)],
    );
    let bench = bench();
    came(&bench, &add(&bench, &source.url("/a.mp4")), &content);
    let second = &source.asked()[1];
    assert!(
        second.contains(&format!("range: bytes={half}-\n")),
        "{second}"
    );
    assert!(second.contains("if-range: \"one\"\n"), "{second}");
}

#[test]
fn a_file_that_changed_begins_anew() {
    let content = content();
    let length = content.len();
    let begun = format!("200 OK\r\n{TAG}\r\nContent-Length: {}", length + 5);
    let other = format!("200 OK\r\nETag: \"two\"\r\nContent-Length: {length}");
    let source = Source::new(
        &content,
        vec![Sends(begun, 0..1000), Sends(other, 0..length)],
    );
    let bench = bench();
    came(&bench, &add(&bench, &source.url("/a.mp4")), &content);
}

#[test]
fn it_goes_on_after_a_restart() {
    let content = content();
    let (half, length) = (content.len() / 2, content.len());
    let begun = format!("200 OK\r\n{TAG}\r\nContent-Length: {length}");
    let rest = format!(
        "206 Partial Content\r\n{TAG}\r\nContent-Range: bytes {half}-{}/{length}\r\nContent-Length: {}",
        length - 1,
        length - half
    );
    let source = Source::new(
        &content,
        vec![Stalls(begun, 0..half), Sends(rest, half..length)],
    );
    let mut bench = bench();
    let id = add(&bench, &source.url("/a.mp4"));
    // What came is written in pieces of a mebibyte; the rest of the half is in memory yet.
    let until = Instant::now() + PATIENCE;
    let arrived = |bench: &Bench| {
        let shown = bench.client.get(&format!("/api/remotes/{id}")).json();
        assert_eq!(shown["state"], "fetching", "{shown}");
        shown["arrived"].as_u64().unwrap()
    };
    while arrived(&bench) < 1 << 20 {
        assert!(Instant::now() < until, "nothing comes");
    }
    bench.stop();
    let held = std::fs::metadata(bench.data().join("uploads").join(&id))
        .unwrap()
        .len();
    assert!(held >= 1 << 20 && held <= half as u64, "{held}");
    // The source answers the question that it is asked.
    bench.start(near);
    let until = Instant::now() + PATIENCE;
    while source.asked().len() < 2 {
        assert!(Instant::now() < until, "it is not asked again");
        std::thread::yield_now();
    }
    let second = source.asked()[1].clone();
    assert!(
        second.contains(&format!("range: bytes={held}-\n")),
        "{second}"
    );
}

#[test]
fn what_is_not_fetched() {
    let answers = |head: &str| Source::new(b"content", vec![Sends(head.to_owned(), 0..7)]);
    let bench = Bench::with(PATIENT, |config| {
        near(config);
        config.max_upload = 1000;
    });
    let away = answers("302 Found\r\nLocation: http://127.0.0.2:9/\r\nContent-Length: 7");
    let round = answers("302 Found\r\nLocation: /again\r\nContent-Length: 7");
    let file = answers("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 7");
    let gone = answers("404 Not Found\r\nContent-Length: 7");
    let huge = answers("200 OK\r\nContent-Length: 1001");
    let empty = Source::new(b"", vec![Sends("200 OK\r\nContent-Length: 0".into(), 0..0)]);
    let endless = Source::new(&[7; 2000], vec![Sends("200 OK".into(), 0..2000)]);
    for (url, words) in [
        ("http://127.0.0.2:9/a.mp4".to_owned(), "--fetch-from"),
        ("http://[::1]:9/a.mp4".to_owned(), "--fetch-from"),
        ("http://[::ffff:10.0.0.1]/a.mp4".to_owned(), "--fetch-from"),
        ("http://169.254.169.254/latest".to_owned(), "--fetch-from"),
        (away.url("/a"), "--fetch-from"),
        (round.url("/a"), "redirects"),
        (file.url("/a"), "http://"),
        (gone.url("/a"), "404"),
        (huge.url("/a"), "larger"),
        (empty.url("/a"), "empty"),
        (endless.url("/a"), "larger"),
    ] {
        let error = failed(&bench, &url);
        assert!(error.contains(words), "{url}: {error}");
    }
    for url in [
        "ftp://a/b",
        "",
        "http://user:word@example.org/a",
        "file:///etc/passwd",
    ] {
        let body = json!({ "url": url }).to_string();
        let answer = bench
            .client
            .send("POST", "/api/remotes", &[], body.as_bytes());
        answer.problem(400);
    }
    assert_eq!(
        bench.client.get("/api/assets").json()["assets"]
            .as_array()
            .map(Vec::len)
            .unwrap_or(0),
        0
    );
}

#[test]
fn a_file_is_given_up_when_it_is_removed() {
    let content = content();
    let begun = format!("200 OK\r\n{TAG}\r\nContent-Length: {}", content.len());
    let source = Source::new(&content, vec![Stalls(begun, 0..2_000_000)]);
    let bench = bench();
    let id = add(&bench, &source.url("/a.mp4"));
    let path = format!("/api/remotes/{id}");
    let until = Instant::now() + PATIENCE;
    while bench.client.get(&path).json()["arrived"].as_u64() == Some(0) {
        assert!(Instant::now() < until, "nothing comes");
    }
    assert_eq!(bench.client.delete(&path).status, 204);
    bench.client.get(&path).problem(404);
    assert_eq!(bench.files("uploads"), [""; 0]);
    bench.client.delete(&path).problem(404);
    bench.client.send("POST", &path, &[], b"").problem(404);
}
