//! Somebody who watches a stream over HTTP: what its playlists name must be there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The status and the body of an answer; `None` when nobody answers.
fn get(address: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut connection = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body).ok()?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body))
}

/// Fetches everything that the stream's playlists name, and says how many segments that was.
pub fn everything(address: SocketAddr, stream: &str) -> usize {
    let Some((200, master)) = get(address, &format!("/streams/{stream}/master.m3u8")) else {
        return 0;
    };
    let mut segments = 0;
    let master = String::from_utf8(master).unwrap();
    for playlist in master.lines().filter(|line| !line.starts_with('#')) {
        let path = format!("/streams/{stream}/{playlist}");
        let Some((status, text)) = get(address, &path) else {
            continue;
        };
        assert_eq!(status, 200, "{path}");
        let text = String::from_utf8(text).unwrap();
        for segment in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((status, _)) = get(address, segment) {
                assert_eq!(status, 200, "{path} names {segment}");
                segments += 1;
            }
        }
    }
    segments
}
