//! A small HTTP/1.1 client for tests: it shows every header, can stop in the middle of a body,
//! and reads server-sent events.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct Client(pub SocketAddr);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{} {e}: {}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks that this is a problem with the status, and gives back its detail.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        for member in ["title", "detail", "instance"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {member}: {problem}");
        }
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub fn get(self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn delete(self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    pub fn send(self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut connection = self.begin(method, path, headers, Some(body.len() as u64));
        // A refusal may come before the body is sent; the answer tells.
        let _ = connection.write_all(body);
        finish(connection, method)
    }

    /// Sends the head of a request; the body is the caller's. `None`: chunked.
    pub fn begin(
        self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: Option<u64>,
    ) -> TcpStream {
        let mut connection = TcpStream::connect(self.0).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head.push_str(&format!("Host: {}\r\n", self.0));
        }
        match length {
            Some(0) if method == "GET" || method == "HEAD" => {}
            Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            None => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        connection
    }

    /// Uploads in one request and gives back the asset's id.
    #[track_caller]
    pub fn upload(self, name: &str, content: &[u8]) -> String {
        let answer = self.send("POST", &format!("/api/assets?name={name}"), &[], content);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn asset(self, id: &str) -> Value {
        self.get(&format!("/api/assets/{id}")).json()
    }

    /// Waits until the asset is as wanted. Woken by events, not by the clock.
    #[track_caller]
    pub fn wait(self, id: &str, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let mut events = self.events();
        let mut asset = self.asset(id);
        let until = Instant::now() + PATIENCE;
        while !wanted(&asset) {
            let Some((name, data)) = events.next_until(until) else {
                panic!("{what} did not come: {asset:#}");
            };
            if name == "asset" && data["id"] == id {
                asset = data;
            }
        }
        asset
    }

    pub fn events(self) -> Events {
        let connection = self.begin("GET", "/api/events", &[], Some(0));
        let mut events = Events {
            chunks: Chunks::new(BufReader::new(connection)),
        };
        let (status, _) = read_head(&mut events.chunks.from);
        assert_eq!(status, 200);
        // The first comment says that the server listens to its own changes for us.
        assert_eq!(events.line(), ": listening");
        events
    }
}

/// Reads the answer to a request whose body was sent.
pub fn finish(connection: TcpStream, method: &str) -> Answer {
    let mut connection = BufReader::new(connection);
    let (status, headers) = read_head(&mut connection);
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let empty = method == "HEAD" || status == 204 || status == 304;
    if empty {
        return answer;
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        Chunks::new(connection)
            .read_to_end(&mut answer.body)
            .unwrap();
    } else {
        let length = answer.header("content-length").unwrap().parse().unwrap();
        connection
            .take(length)
            .read_to_end(&mut answer.body)
            .unwrap();
        assert_eq!(answer.body.len() as u64, length, "a short answer");
    }
    answer
}

fn read_head(connection: &mut BufReader<TcpStream>) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    let status = line
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no answer: {line:?}"));
    let status = status.parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return (status, headers);
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
}

/// A chunked body (RFC 9112, section 7.1).
struct Chunks {
    from: BufReader<TcpStream>,
    left: usize,
    ended: bool,
}

impl Chunks {
    fn new(from: BufReader<TcpStream>) -> Self {
        Self {
            from,
            left: 0,
            ended: false,
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let mut line = String::new();
        if self.left == 0 {
            self.from.read_line(&mut line)?;
            self.left = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            if self.left == 0 {
                self.ended = true;
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.left);
        let read = self.from.read(&mut buffer[..most])?;
        self.left -= read;
        if self.left == 0 {
            line.clear();
            self.from.read_line(&mut line)?;
        }
        Ok(read)
    }
}

/// Server-sent events, one after the other.
pub struct Events {
    chunks: Chunks,
}

impl Events {
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            if self.chunks.read(&mut byte).unwrap() == 0 || byte[0] == b'\n' {
                return String::from_utf8(line).unwrap();
            }
            line.push(byte[0]);
        }
    }

    /// The next event's name and data; `end` with null when the server ends them.
    pub fn next(&mut self) -> (String, Value) {
        let next = self.next_until(Instant::now() + PATIENCE);
        next.expect("no event came")
    }

    /// The same, unless the time is over first. The server says at times that it is still there.
    pub fn next_until(&mut self, until: Instant) -> Option<(String, Value)> {
        let mut name = String::new();
        let mut data = String::new();
        while Instant::now() < until {
            let line = self.line();
            if let Some(value) = line.strip_prefix("event: ") {
                name = value.to_owned();
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = value.to_owned();
            } else if line.is_empty() && !name.is_empty() {
                return Some((name, serde_json::from_str(&data).unwrap()));
            } else if self.chunks.ended {
                return Some(("end".to_owned(), Value::Null));
            }
        }
        None
    }

    /// The next event of this name, whatever comes before it.
    pub fn next_named(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next();
            assert_ne!(name, "end", "the events ended before {wanted}");
            if name == wanted {
                return data;
            }
        }
    }
}
