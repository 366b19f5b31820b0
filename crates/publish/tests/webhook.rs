//! Webhooks against receivers that answer, are slow, away or wrong: what is told, in which order, and
//! that nobody waits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ladder::publish::Update;
use publish::{Target, Webhook};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as the receiver got it.
#[derive(Debug)]
struct Request {
    head: String,
    body: String,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    }
}

/// A receiver that answers the n-th request with the n-th status, and later ones with 204.
fn receiver(listener: TcpListener, statuses: &'static [u16]) -> Receiver<Request> {
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        let mut statuses = statuses.iter().copied();
        for connection in listener.incoming() {
            let Ok(connection) = connection else { return };
            connection.set_nodelay(true).unwrap();
            let status = || statuses.next().unwrap_or(204);
            if serve(connection, status, &sender).is_none() {
                continue;
            }
        }
    });
    requests
}

fn serve(
    connection: impl Read + Write,
    mut status: impl FnMut() -> u16,
    requests: &Sender<Request>,
) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().ok())?
        });
        let mut body = vec![0; length?];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        requests.send(Request { head, body }).ok()?;
        let answer = format!("HTTP/1.1 {} said\r\nContent-Length: 0\r\n\r\n", status());
        let writer = reader.get_mut();
        writer.write_all(answer.as_bytes()).ok()?;
        writer.flush().ok()?;
    }
}

fn here() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn target(address: SocketAddr, secret: Option<&str>) -> Target {
    Target {
        url: format!("http://{address}/told?by=kinora"),
        secret: secret.map(str::to_owned),
    }
}

fn update(index: u32) -> Update {
    Update::Segment {
        rendition: "720p".to_owned(),
        index,
        uri: "/ipfs/cid?filename=00000.ts".to_owned(),
        start_s: f64::from(index) * 4.0,
        duration_s: 4.0,
        bytes: 7,
        delay_s: None,
    }
}

#[test]
fn updates_come_in_order_and_signed() {
    let (listener, address) = here();
    let requests = receiver(listener, &[]);
    let webhook = Webhook::start(target(address, Some("a secret"))).unwrap();
    for index in 0..3 {
        webhook.tell("holiday", &update(index));
    }
    for index in 0..3u32 {
        let request = requests.recv_timeout(PATIENCE).unwrap();
        assert!(
            request
                .head
                .starts_with("POST /told?by=kinora HTTP/1.1\r\n"),
            "{request:?}"
        );
        assert_eq!(
            request.header("content-type").as_deref(),
            Some("application/json")
        );
        let told = request.json();
        for (member, expected) in [
            ("number", Value::from(index)),
            ("missed", 0.into()),
            ("stream", "holiday".into()),
            ("event", "segment".into()),
            ("rendition", "720p".into()),
            ("index", index.into()),
        ] {
            assert_eq!(told[member], expected, "{member}");
        }
        assert!(told["time_ms"].as_u64() > Some(1_700_000_000_000));
        // What another program makes of the same secret and body.
        let signed = request.header("x-kinora-signature").unwrap();
        assert_eq!(
            signed,
            format!("sha256={}", openssl_hmac("a secret", &request.body))
        );
    }
    assert!(webhook.flush(PATIENCE));
}

fn openssl_hmac(secret: &str, body: &str) -> String {
    let mut child = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.trim().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn without_a_secret_nothing_is_signed() {
    let (listener, address) = here();
    let requests = receiver(listener, &[]);
    let webhook = Webhook::start(target(address, None)).unwrap();
    webhook.tell("s", &update(0));
    let request = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(request.header("x-kinora-signature"), None);
}

/// What says "later" is tried again, what says "no" is not, and the next says what is missing.
#[test]
fn a_receiver_that_is_wrong() {
    let (listener, address) = here();
    let requests = receiver(listener, &[500, 429, 204, 400, 302, 204]);
    let webhook = Webhook::start(target(address, None)).unwrap();
    for index in 0..4 {
        webhook.tell("s", &update(index));
    }
    let told: Vec<(u64, u64)> = (0..6)
        .map(|_| requests.recv_timeout(PATIENCE).unwrap().json())
        .map(|told| {
            (
                told["number"].as_u64().unwrap(),
                told["missed"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(0, 0), (0, 0), (0, 0), (1, 0), (2, 1), (3, 2)]);
    assert!(webhook.flush(PATIENCE));
}

#[test]
fn a_receiver_that_comes_back_hears_the_rest() {
    let (listener, address) = here();
    drop(listener);
    let webhook = Webhook::start(target(address, None)).unwrap();
    for index in 0..3 {
        webhook.tell("s", &update(index));
    }
    assert!(
        !webhook.flush(Duration::from_millis(300)),
        "nobody was there to be told"
    );
    let requests = receiver(TcpListener::bind(address).unwrap(), &[]);
    for index in 0..3 {
        assert_eq!(
            requests.recv_timeout(PATIENCE).unwrap().json()["number"],
            index
        );
    }
    assert!(webhook.flush(PATIENCE));
}

/// It takes connections and never answers: telling does not wait, and what is too much is dropped
/// from the old end.
#[test]
fn a_receiver_that_never_answers_keeps_nobody_waiting() {
    let (listener, address) = here();
    let webhook = Webhook::start(target(address, None)).unwrap();
    let began = Instant::now();
    for index in 0..5000 {
        webhook.tell("s", &update(index));
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    // Its connection is closed unanswered, and the next one gets answers.
    drop(listener.accept().unwrap());
    let requests = receiver(listener, &[]);
    let first = requests.recv_timeout(PATIENCE).unwrap().json();
    let number = first["number"].as_u64().unwrap();
    let last = std::iter::from_fn(|| requests.recv_timeout(PATIENCE).ok())
        .map(|request| request.json())
        .find(|told| told["number"] == 4999)
        .unwrap();
    assert_eq!(last["missed"], 0, "what is missing is told once");
    assert!(webhook.flush(PATIENCE));
    // Either the one in hand came first, or it was given up for those that wait.
    assert!(number == 0 || number + 1024 >= 4999, "{first}");
    let began = Instant::now();
    drop(webhook);
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// A receiver that speaks TLS with a certificate of its own making. Its first answer is whether the
/// client took that certificate.
fn secure_receiver() -> (SocketAddr, String, Receiver<Result<Request, String>>) {
    let (listener, address) = here();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let (said, heard) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            while session.is_handshaking() {
                if let Err(error) = session.complete_io(&mut connection) {
                    let _ = said.send(Err(error.to_string()));
                    break;
                }
            }
            let (sender, requests) = channel();
            serve(
                rustls::StreamOwned::new(session, connection),
                || 204,
                &sender,
            );
            while let Ok(request) = requests.try_recv() {
                let _ = said.send(Ok(request));
            }
        }
    });
    (address, made.cert.pem(), heard)
}

/// Which certificates a process trusts is in its environment, so the webhook is told by another: this
/// test once more, with the address in `KINORA_TELL`.
#[test]
fn certificates_are_those_that_the_machine_trusts() {
    if let Ok(url) = std::env::var("KINORA_TELL") {
        let webhook = Webhook::start(Target { url, secret: None }).unwrap();
        webhook.tell("holiday", &update(0));
        // Who is not believed is tried again and again; once is enough here.
        webhook.flush(Duration::from_secs(5));
        return;
    }
    let (address, certificate, heard) = secure_receiver();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let tell = |trusted: Option<&std::path::Path>| {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", "certificates_are_those_that_the_machine_trusts"])
            .env(
                "KINORA_TELL",
                format!("https://localhost:{}/told", address.port()),
            )
            .env_remove("SSL_CERT_DIR");
        match trusted {
            Some(file) => again.env("SSL_CERT_FILE", file),
            None => again.env_remove("SSL_CERT_FILE"),
        };
        assert!(again.output().unwrap().status.success());
        heard.recv_timeout(PATIENCE).unwrap()
    };
    assert!(tell(None).is_err());
    while heard.try_recv().is_ok() {}
    let request = tell(Some(&trusted)).unwrap();
    assert_eq!(request.json()["stream"], "holiday");
}
