//! A file that the server fetches, and a playlist that a screen plays, by the command line.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::Server;

#[test]
fn a_file_is_fetched_and_stands_in_a_playlist() {
    let folder = tempfile::tempdir().unwrap();
    let source = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = source.local_addr().unwrap();
    let content = vec![7u8; 2_000_000];
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = source.accept() {
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                content.len()
            );
            let _ = connection.write_all(head.as_bytes());
            let _ = connection.write_all(&content);
        }
    });
    let server = Server::start_with(
        &folder.path().join("data"),
        &["--no-streams", "--fetch-from", "127.0.0.0/8"],
    );
    let url = format!("http://{}", server.client.0);
    let run = |arguments: &[&str], input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinora"))
            .args(arguments)
            .args(["--server", &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(errors)
        }
    };
    let clip = format!("http://{address}/clip.mp4");
    let id = run(&["add", &clip], "").unwrap();
    let asset = server.client.asset(&id);
    assert_eq!(
        (&asset["name"], &asset["size"]),
        (&"clip.mp4".into(), &2_000_000.into())
    );
    let named = run(&["add", &clip, "--name", "other.mp4", "--json"], "").unwrap();
    let named: Value = serde_json::from_str(&named).unwrap();
    assert_eq!(named["name"], "other.mp4");
    let refused = run(&["add", "http://192.168.0.1/clip.mp4"], "").unwrap_err();
    assert!(refused.contains("private network"), "{refused}");

    run(&["playlist", "add", "hall", &id, "--duration", "5"], "").unwrap();
    run(&["playlist", "add", "hall", &id], "").unwrap();
    let list = run(&["playlist", "show", "hall"], "").unwrap();
    let mut list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["items"][0]["duration_s"], 5);
    list["items"][1]["enabled"] = false.into();
    run(&["playlist", "set", "hall", "-"], &list.to_string()).unwrap();
    let now = run(&["playlist", "now", "hall"], "").unwrap();
    assert_eq!(now.matches("clip.mp4").count(), 1, "{now}");
    let then = run(
        &[
            "playlist",
            "now",
            "hall",
            "--at",
            "2026-12-24T18:00:00Z",
            "--json",
        ],
        "",
    );
    let then: Value = serde_json::from_str(&then.unwrap()).unwrap();
    assert_eq!(then["until"], "2026-12-25T00:00:00Z");
    assert!(run(&["playlist", "ls"], "").unwrap().contains("hall"));
    run(&["playlist", "rm", "hall"], "").unwrap();
    assert!(run(&["playlist", "show", "hall"], "").is_err());
}
