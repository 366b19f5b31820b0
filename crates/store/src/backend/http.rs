//! HTTP/1.1 as a client of Kubo's RPC needs it (RFC 9112): one POST per connection, a body that is
//! written in pieces, and an answer whose *trailers* are read.
//!
//! The trailers are why this is here: Kubo answers 200 before it knows, and says with
//! `X-Stream-Error` behind the body that it failed after all. The client of the command line,
//! `ureq`, drops them. Every wait counts against one deadline, so a server that sends a byte a
//! minute is one that does not answer.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use super::Failure;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// An answer's head and each of its lines may be this long.
const MAX_HEAD: u64 = 64 << 10;

/// Header fields that an answer may have.
const MAX_FIELDS: usize = 64;

/// What is asked: always a POST, as all of Kubo's RPC.
pub(super) struct Request<'a> {
    /// `host:port`.
    pub host: &'a str,
    /// Path with its query.
    pub target: String,
    /// Value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// Type and length of the body.
    pub body: Option<(&'a str, u64)>,
    /// When the whole exchange has to be over.
    pub within: Duration,
    /// Bytes that the answer's body may have.
    pub most: u64,
}

/// A whole answer.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// `X-Stream-Error`, wherever it stood.
    pub stream_error: Option<String>,
}

/// A connection whose reads and writes end at the deadline.
struct Connection {
    stream: TcpStream,
    deadline: Instant,
}

impl Connection {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Sends a request, its body by `write`, and reads the answer to its end.
pub(super) fn post(
    request: &Request<'_>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Sending>,
) -> Result<Answer, Failure> {
    let away = |error: io::Error| Failure::Away(reason(&error));
    let mut connection = connect(request).map_err(away)?;
    // A server that refuses answers and closes before it has read the body: then the answer
    // says why and the broken pipe does not.
    let sent = send(&mut connection, request, write);
    if let Err(Sending::Content(failure)) = sent {
        return Err(failure);
    }
    let answer = Reader::new(connection).answer(request.most);
    match (sent, answer) {
        (Ok(()), answer) => answer,
        (Err(_), Ok(answer)) if answer.status >= 400 => Ok(answer),
        (Err(Sending::Io(error)), _) => Err(away(error)),
        (Err(Sending::Content(failure)), _) => Err(failure),
    }
}

/// Why a body was not sent.
pub(super) enum Sending {
    Io(io::Error),
    /// What was to be sent is not good.
    Content(Failure),
}

impl From<io::Error> for Sending {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn connect(request: &Request<'_>) -> io::Result<Connection> {
    let deadline = Instant::now() + request.within;
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in request.host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT.min(request.within)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Connection { stream, deadline });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn send(
    connection: &mut Connection,
    request: &Request<'_>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Sending>,
) -> Result<(), Sending> {
    let (kind, length) = request.body.unwrap_or(("", 0));
    let mut head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTE: trailers\r\n\
         Content-Length: {length}\r\n",
        request.target, request.host
    );
    if !kind.is_empty() {
        head += &format!("Content-Type: {kind}\r\n");
    }
    if let Some(value) = request.authorization {
        head += &format!("Authorization: {value}\r\n");
    }
    head += "\r\n";
    connection.write_all(head.as_bytes())?;
    write(connection)
}

/// Reads an answer.
struct Reader {
    from: BufReader<Connection>,
}

/// The fields of a head that matter here.
struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    stream_error: Option<String>,
}

impl Reader {
    fn new(connection: Connection) -> Self {
        Self {
            from: BufReader::with_capacity(64 << 10, connection),
        }
    }

    fn answer(mut self, most: u64) -> Result<Answer, Failure> {
        let mut head = self.head()?;
        // An interim answer comes before the real one (RFC 9110, section 15.2).
        while head.status < 200 {
            head = self.head()?;
        }
        let mut body = Vec::new();
        let mut stream_error = head.stream_error;
        if head.chunked {
            self.chunks(&mut body, most)?;
            stream_error = self.trailers()?.or(stream_error);
        } else if let Some(length) = head.length {
            self.take(length, &mut body, most)?;
        } else {
            let read = (&mut self.from).take(most + 1).read_to_end(&mut body);
            read.map_err(|e| Failure::Away(reason(&e)))?;
            enough(body.len() as u64, most)?;
        }
        Ok(Answer {
            status: head.status,
            body,
            stream_error,
        })
    }

    fn head(&mut self) -> Result<Head, Failure> {
        let text = self.section()?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&text) {
            Ok(httparse::Status::Complete(_)) => {}
            _ => return Err(nonsense("its answer is not HTTP")),
        }
        let mut head = Head {
            status: response.code.unwrap_or_default(),
            length: None,
            chunked: false,
            stream_error: None,
        };
        for field in response.headers.iter() {
            let value = String::from_utf8_lossy(field.value);
            let value = value.trim();
            match field.name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    let length = value
                        .parse()
                        .map_err(|_| nonsense("its answer has no length"))?;
                    head.length = Some(length);
                }
                "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
                "x-stream-error" => head.stream_error = Some(value.into()),
                _ => {}
            }
        }
        Ok(head)
    }

    /// The lines up to an empty one, and that.
    fn section(&mut self) -> Result<Vec<u8>, Failure> {
        let mut section = Vec::new();
        loop {
            let line = self.line()?;
            section.extend_from_slice(&line);
            if line == b"\r\n" || line == b"\n" {
                return Ok(section);
            }
            enough(section.len() as u64, MAX_HEAD)?;
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        (&mut self.from)
            .take(MAX_HEAD)
            .read_until(b'\n', &mut line)
            .map_err(|e| Failure::Away(reason(&e)))?;
        if line.last() == Some(&b'\n') {
            return Ok(line);
        }
        enough(line.len() as u64, MAX_HEAD - 1)?;
        Err(Failure::Away(
            "it closed the connection in the middle".into(),
        ))
    }

    /// A body in chunks (RFC 9112, section 7.1), without its trailers.
    fn chunks(&mut self, body: &mut Vec<u8>, most: u64) -> Result<(), Failure> {
        loop {
            let line = self.line()?;
            let Ok(httparse::Status::Complete((_, length))) = httparse::parse_chunk_size(&line)
            else {
                return Err(nonsense("its answer has a broken chunk"));
            };
            if length == 0 {
                return Ok(());
            }
            self.take(length, body, most)?;
            if self.line()?.trim_ascii() != b"" {
                return Err(nonsense("its answer has a broken chunk"));
            }
        }
    }

    fn take(&mut self, length: u64, body: &mut Vec<u8>, most: u64) -> Result<(), Failure> {
        enough((body.len() as u64).saturating_add(length), most)?;
        let read = (&mut self.from).take(length).read_to_end(body);
        let read = read.map_err(|e| Failure::Away(reason(&e)))?;
        if read as u64 == length {
            Ok(())
        } else {
            Err(Failure::Away(
                "it closed the connection in the middle".into(),
            ))
        }
    }

    /// `X-Stream-Error` among the trailers.
    fn trailers(&mut self) -> Result<Option<String>, Failure> {
        let section = self.section()?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let Ok(httparse::Status::Complete((_, fields))) =
            httparse::parse_headers(&section, &mut fields)
        else {
            return Err(nonsense("its answer has broken trailers"));
        };
        let error = fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("x-stream-error"));
        Ok(error.map(|field| String::from_utf8_lossy(field.value).trim().to_owned()))
    }
}

fn enough(bytes: u64, most: u64) -> Result<(), Failure> {
    if bytes > most {
        return Err(nonsense(
            "its answer is longer than anything that was asked",
        ));
    }
    Ok(())
}

fn nonsense(what: &str) -> Failure {
    Failure::Refused(what.into())
}

/// The system says "would block" where a read timed out.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it does not answer in time".into(),
        _ => error.to_string(),
    }
}
