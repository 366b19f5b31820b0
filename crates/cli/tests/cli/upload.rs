//! `kinora add`, `ls`, `show` and `rm` against a running server, over connections that drop too.

use crate::process::{run, serve, small_clip};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of these tests")
}

#[test]
fn an_asset_from_add_to_rm() {
    let folder = tempfile::tempdir().unwrap();
    let file = small_clip(folder.path(), 2);
    let server = serve(&folder.path().join("data"), &[]);
    let address = server.address.clone();
    let on = |arguments: &[&str]| run(arguments.iter().chain(&["--server", &address]));

    let added = on(&["add", "--wait", text(&file)]).done();
    let id = added.trim_end();
    assert!(
        !id.is_empty() && !id.contains(char::is_whitespace),
        "the id alone: {added:?}"
    );
    let assets = on(&["ls", "--json"]).json();
    assert_eq!(
        (assets.as_array().unwrap().len(), &assets[0]["id"]),
        (1, &id.into())
    );
    let asset = on(&["show", id, "--json"]).json();
    assert_eq!(
        (&asset["state"], &asset["stream"]["state"]),
        (&"ready".into(), &"done".into())
    );
    assert_eq!(asset["name"], "small.mp4");
    assert_eq!(asset["verdicts"].as_array().unwrap().len(), 7);
    let page = on(&["show", id]).done();
    assert!(
        page.contains("h264 640x360 25 fps")
            && page.contains("/master.m3u8")
            && page.contains("pi4-64"),
        "{page}"
    );
    assert!(on(&["ls"]).done().contains("small.mp4"));

    assert_eq!(
        on(&["add", "--once", text(&file)]).done(),
        added,
        "the same content is not added twice"
    );
    assert_eq!(on(&["ls", "--json"]).json().as_array().unwrap().len(), 1);

    on(&["rm", id]).done();
    assert_eq!(on(&["ls", "--json"]).json(), serde_json::json!([]));
    let error = on(&["show", id]).failed();
    assert!(error.contains(id), "{error}");
    assert_eq!(server.end(), (Some(0), String::new()));
}

#[test]
fn a_file_that_is_no_video_fails_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("story.mp4");
    fs::write(&file, "once upon a time\n".repeat(1000)).unwrap();
    let server = serve(&folder.path().join("data"), &[]);
    let error = run(["add", "--wait", text(&file), "--server", &server.address]).failed();
    assert!(
        error.contains("story.mp4") && error.contains("not a media file"),
        "{error}"
    );
    fs::write(&file, "").unwrap();
    let error = run(["add", text(&file), "--server", &server.address]).failed();
    assert!(
        error.matches("story.mp4").count() == 1 && error.contains("empty"),
        "{error}"
    );
}

#[test]
fn a_dropped_connection_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.bin");
    let bytes: Vec<u8> = (0..12_000_000u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(&file, &bytes).unwrap();
    let server = serve(&folder.path().join("data"), &[]);
    let proxy = Dropping::start(server.address.strip_prefix("http://").unwrap(), 5_000_000);
    let asset = run(["add", "--json", text(&file), "--server", &proxy.address]).json();
    let stored = run([
        "store",
        "add",
        text(&file),
        "--data",
        text(&folder.path().join("other")),
    ])
    .done();
    assert_eq!(
        (&asset["size"], &asset["cid"]),
        (&12_000_000.into(), &stored.trim_end().into())
    );
    assert_eq!(proxy.dropped.load(Ordering::SeqCst), 1);
    let sent = proxy.sent.load(Ordering::SeqCst);
    assert!(
        sent < 18_000_000,
        "sent again from the beginning: {sent} bytes"
    );
}

#[test]
fn without_a_server_it_says_how_to_start_one() {
    // A port that was just free: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for command in [&["ls"][..], &["rm", "x"], &["show", "x"]] {
        let server = format!("http://127.0.0.1:{port}");
        let error = run(command.iter().chain(&["--server", &server])).failed();
        assert!(
            error.contains(&server) && error.contains("kinora serve"),
            "{error}"
        );
    }
}

#[test]
fn a_port_in_use_is_told_with_a_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = run(["serve", "--data", text(folder.path()), "--listen", &address]).failed();
    assert!(
        error.contains(&address) && error.contains("--listen"),
        "{error}"
    );
}

/// Passes connections on to a server, and breaks the first that has sent so many bytes.
struct Dropping {
    address: String,
    dropped: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Dropping {
    fn start(server: &str, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (dropped, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (drops, counts, server) = (Arc::clone(&dropped), Arc::clone(&sent), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let upstream = TcpStream::connect(&server).unwrap();
                let (back, answers) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                thread::spawn(move || io::copy(&mut &answers, &mut &back));
                let (drops, counts) = (Arc::clone(&drops), Arc::clone(&counts));
                thread::spawn(move || pass(&client, &upstream, after, &drops, &counts));
            }
        });
        Self {
            address,
            dropped,
            sent,
        }
    }
}

fn pass(
    mut client: &TcpStream,
    mut upstream: &TcpStream,
    after: usize,
    drops: &AtomicUsize,
    sent: &AtomicUsize,
) {
    let (mut buffer, mut passed) = (vec![0; 65536], 0);
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        passed += count;
        sent.fetch_add(count, Ordering::SeqCst);
        let breaks = passed >= after
            && drops
                .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
        if breaks || upstream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = upstream.shutdown(Shutdown::Both);
}
