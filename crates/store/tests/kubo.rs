//! A Kubo that is slow, wrong or not there: the work goes on in the folder and the copies catch up.
//!
//! The node is a small server of this test's own, because no real one can be made to lie. What a
//! well-behaved one does is held against js-ipfs in `backends.rs`.

mod content;

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use content::{CHUNK, bytes};
use store::{MirrorEvent, PutOptions, Store};

/// How the node answers a call.
#[derive(Clone, Copy)]
enum Reply {
    /// These bytes, `{arg}` being the argument, and then the end of the connection.
    Says(&'static str),
    /// Nothing, while the other side waits.
    Never,
    /// A byte now and then.
    Drips,
    /// More than anybody would ask for.
    Floods,
}

use Reply::{Drips, Floods, Never, Says};

const OK: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Stream-Error\r\n\r\n0\r\n\r\n";
const PINNED: &str = "HTTP/1.1 200 OK\r\n\r\n{\"Pins\":[\"{arg}\"]}\n";

/// What a well-behaved node answers, by call.
const GOOD: [(&str, Reply); 5] = [
    (
        "version",
        Says("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"Version\":\"0.40.0\"}\r\n"),
    ),
    ("dag/import", Says(OK)),
    ("pin/add", Says(PINNED)),
    ("pin/rm", Says(PINNED)),
    ("pin/ls", Says(OK)),
];

type Replies = Arc<Mutex<HashMap<&'static str, Reply>>>;

/// Serves until the test ends.
fn serve(listener: TcpListener, replies: Replies) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let replies = Arc::clone(&replies);
            thread::spawn(move || answer(stream, &replies));
        }
    });
}

/// Reads a whole request and answers it. The other side may be gone at any moment.
fn answer(mut stream: TcpStream, replies: &Replies) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).ok()?;
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink()).ok()?;
    let target = first.split(' ').nth(1)?.strip_prefix("/api/v0/")?;
    let (call, query) = target.split_once('?').unwrap_or((target, ""));
    let arg = query.split('&').find_map(|pair| pair.strip_prefix("arg="));
    let reply = *replies.lock().unwrap().get(call)?;
    match reply {
        Says(text) => stream
            .write_all(text.replace("{arg}", arg.unwrap_or("")).as_bytes())
            .ok()?,
        Never => thread::sleep(Duration::from_secs(60)),
        Drips => {
            for byte in OK.bytes().cycle() {
                stream.write_all(&[byte]).ok()?;
                thread::sleep(Duration::from_millis(200));
            }
        }
        Floods => loop {
            stream.write_all(&[b'x'; 1 << 16]).ok()?;
        },
    }
    Some(())
}

/// Puts while the node misbehaves in one call, and again while it behaves.
fn check(what: &str, call: &'static str, reply: Option<Reply>, expected: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let replies: Replies = Arc::new(Mutex::new(GOOD.into()));
    let absent = match reply {
        Some(reply) => {
            replies.lock().unwrap().insert(call, reply);
            serve(listener, Arc::clone(&replies));
            false
        }
        None => {
            drop(listener);
            true
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("kubo+http://{address}?timeout=1&cache=0");
    let store = Store::open_url(folder.path(), Some(&url)).unwrap();
    let (events, told) = mpsc::channel();
    let _mirror = store
        .mirror(move |event| events.send(event).unwrap())
        .unwrap()
        .unwrap();
    let content = bytes(what, CHUNK + 3);
    let put = |content: &[u8]| store.put(content, &PutOptions::default()).unwrap().cid;
    let first = put(&content);
    match told.recv_timeout(Duration::from_secs(60)) {
        Ok(MirrorEvent::Trouble(text)) => {
            assert!(
                text.contains(expected) && text.contains("kubo+http"),
                "{what}: {text}"
            );
        }
        other => panic!("{what}: {other:?}"),
    }
    // The work goes on.
    let second = put(b"more");
    for (cid, size) in [(first, content.len()), (second, 4)] {
        assert_eq!(
            store.get(&cid).unwrap().unwrap().size,
            size as u64,
            "{what}"
        );
    }
    let status = store.backend_status().unwrap().unwrap();
    assert_eq!((status.copied, status.away), (0, 0), "{what}");
    assert!(status.trouble.unwrap().contains(expected), "{what}");
    // And catches up by itself.
    if absent {
        serve(TcpListener::bind(address).unwrap(), replies);
    } else {
        replies.lock().unwrap().extend(GOOD);
    }
    let recovered = told
        .into_iter()
        .find(|event| *event == MirrorEvent::Recovered);
    assert!(recovered.is_some(), "{what}");
    let status = store.backend_status().unwrap().unwrap();
    assert_eq!((status.pending, status.trouble), (0, None), "{what}");
    // This node has nothing to give back, so nothing was dropped here.
    assert_eq!(store.verify(true, |_| ()).unwrap().findings, [], "{what}");
}

#[test]
fn the_work_goes_on_and_the_copies_catch_up() {
    const STREAM_ERROR: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Stream-Error\r\n\r\n2\r\n{}\r\n0\r\nX-Stream-Error: disk on fire\r\n\r\n";
    const PIN_ERROR: &str = "HTTP/1.1 200 OK\r\n\r\n\
         {\"Root\":{\"Cid\":{\"/\":\"x\"},\"PinErrorMsg\":\"block not found\"}}";
    const OTHER_PIN: &str = "HTTP/1.1 200 OK\r\n\r\n\
         {\"Pins\":[\"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku\"]}";
    const REFUSED: &str = "HTTP/1.1 500 Internal Server Error\r\n\r\n\
         {\"Message\":\"pin: context deadline exceeded\",\"Code\":0,\"Type\":\"error\"}";
    const SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabout";
    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let rows: [(&str, &str, Option<Reply>, &str); 15] = [
        ("nobody listens", "version", None, "cannot be reached"),
        (
            "no answer",
            "version",
            Some(Never),
            "does not answer in time",
        ),
        (
            "no answer to an import",
            "dag/import",
            Some(Never),
            "does not answer in time",
        ),
        (
            "a pin that never returns",
            "pin/add",
            Some(Never),
            "does not answer in time",
        ),
        (
            "an answer in drops",
            "dag/import",
            Some(Drips),
            "does not answer in time",
        ),
        (
            "an endless answer",
            "version",
            Some(Floods),
            "longer than anything",
        ),
        (
            "not HTTP",
            "version",
            Some(Says("220 mail.example ESMTP\r\n\r\n")),
            "not HTTP",
        ),
        (
            "another server",
            "version",
            Some(Says("HTTP/1.1 200 OK\r\n\r\n<html>")),
            "no Kubo",
        ),
        (
            "overloaded",
            "dag/import",
            Some(Says("HTTP/1.1 503 Busy\r\n\r\n")),
            "503",
        ),
        (
            "forbidden",
            "dag/import",
            Some(Says(FORBIDDEN)),
            "status 403: no",
        ),
        (
            "a trailer that takes it back",
            "dag/import",
            Some(Says(STREAM_ERROR)),
            "disk on fire",
        ),
        (
            "a root that is not pinned",
            "dag/import",
            Some(Says(PIN_ERROR)),
            "block not found",
        ),
        (
            "another pin than asked",
            "pin/add",
            Some(Says(OTHER_PIN)),
            "without it",
        ),
        (
            "a pin that fails",
            "pin/add",
            Some(Says(REFUSED)),
            "deadline exceeded",
        ),
        ("cut off", "pin/add", Some(Says(SHORT)), "in the middle"),
    ];
    thread::scope(|scope| {
        for (what, call, reply, expected) in rows {
            scope.spawn(move || check(what, call, reply, expected));
        }
    });
}

#[test]
fn a_copy_that_is_not_given_back_leaves_the_file_here() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let replies: Replies = Arc::new(Mutex::new(GOOD.into()));
    let wrong = Says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
    replies.lock().unwrap().insert("block/get", wrong);
    serve(listener, replies);
    let folder = tempfile::tempdir().unwrap();
    let url = format!("kubo+http://{address}?timeout=1");
    let store = Store::open_url(folder.path(), Some(&url)).unwrap();
    let put = |content: &[u8]| store.put(content, &PutOptions::default()).unwrap().cid;
    let lost = put(b"lost");
    let file = walk(&folder.path().join("obj")).pop().unwrap();
    let kept = put(b"kept");
    store.sync(|_| ()).unwrap();
    // Where the file is lost, what the node says instead is not believed.
    std::fs::remove_file(file).unwrap();
    for error in [
        store.get_block(&lost).unwrap_err(),
        store.get(&lost).unwrap_err(),
    ] {
        assert!(error.to_string().contains("something else"), "{error}");
    }
    let findings = store.verify_backend(true, |_| ()).unwrap().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(
        store.backend_status().unwrap().unwrap().pending,
        2,
        "to be copied again"
    );
    drop(store);
    // With no room here, what is good here stays all the same.
    let store = Store::open_url(folder.path(), Some(&format!("{url}&cache=0"))).unwrap();
    let error = store.sync(|_| ()).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(store.backend_status().unwrap().unwrap().away, 0);
    assert_eq!(store.get(&kept).unwrap().unwrap().size, 4);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
