//! TLS by configuration, with curl as the client.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Server, kinora};

/// A certificate for 127.0.0.1 that signs itself, and its key, as `NAME.pem` and `NAME.key`.
fn certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=kinora"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args([
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// curl, believing in one certificate.
fn curl(folder: &Path, believed: &str, arguments: &[&str]) -> Output {
    Command::new("curl")
        .current_dir(folder)
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            "20",
        ])
        .args(["--cacert", believed])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn curl_comes_over_tls_and_sees_a_new_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["old", "new"] {
        certificate(folder, name);
    }
    let place = |from: &str, to: &str| {
        // As those who renew certificates do it: aside, then in one step.
        std::fs::copy(folder.join(from), folder.join("aside")).unwrap();
        std::fs::rename(folder.join("aside"), folder.join(to)).unwrap();
    };
    place("old.pem", "server.pem");
    place("old.key", "server.key");
    let (chain, key) = (folder.join("server.pem"), folder.join("server.key"));
    let server = Server::start_with(
        &folder.join("data"),
        &[
            "--login",
            "--tls-cert",
            chain.to_str().unwrap(),
            "--tls-key",
            key.to_str().unwrap(),
        ],
    );
    let url = format!("https://{}", server.client.0);
    let session = format!("{url}/api/session");

    // Who says nothing keeps nobody else waiting.
    let _silent: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect(server.client.0).unwrap())
        .collect();
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let answer = curl(folder, "old.pem", &[version, &session]);
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(text.contains("\"needed\":true"), "{version}: {answer:?}");
    }
    let stranger = curl(folder, "new.pem", &[&session]);
    assert_eq!(stranger.status.code(), Some(60), "{stranger:?}");

    // The cookie is for TLS only, and the page's signing in is a request of the same site.
    let token = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args(["token", "create", "--role", "editor", "--data"])
        .arg(folder.join("data"))
        .output()
        .unwrap();
    let secret = String::from_utf8(token.stdout).unwrap();
    let body = format!("{{\"token\":\"{}\"}}", secret.trim());
    let origin = format!("Origin: {url}");
    let signed = curl(
        folder,
        "old.pem",
        &["--include", "--header", &origin, "--data", &body, &session],
    );
    let text = String::from_utf8_lossy(&signed.stdout).into_owned();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(
        text.contains("__Host-kinora_session=") && text.contains("; Secure"),
        "{text}"
    );

    // Half of a renewal changes nothing; the whole of it does, without a restart.
    place("new.pem", "server.pem");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let answer = curl(folder, "old.pem", &[&session]);
        assert!(answer.status.success(), "{answer:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    place("new.key", "server.key");
    let until = Instant::now() + Duration::from_secs(60);
    while !curl(folder, "new.pem", &[&session]).status.success() {
        assert!(Instant::now() < until, "the new certificate does not come");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn what_cannot_be_used_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["one", "two"] {
        certificate(folder, name);
    }
    for (chain, key, words) in [
        ("none.pem", "one.key", "none.pem"),
        ("one.key", "one.key", "one.key"),
        ("one.pem", "two.key", "two.key"),
        ("one.pem", "one.pem", "one.pem"),
    ] {
        let answer = Command::new(env!("CARGO_BIN_EXE_kinora"))
            .current_dir(folder)
            .args(["serve", "--listen", "127.0.0.1:0", "--data", "data"])
            .args(["--tls-cert", chain, "--tls-key", key])
            .output()
            .unwrap();
        assert!(!answer.status.success());
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(
            said.contains("certificate") && said.contains(words),
            "{chain} {key}: {said}"
        );
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{arguments}: {said}");
}

/// A file from another server over TLS, by a redirect: from who is vouched for, and from nobody else.
#[test]
fn files_are_fetched_from_who_is_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        folder,
        &format!("req -x509 {key} -days 2 -subj /CN=CA -keyout ca.key -out ca.pem"),
    );
    openssl(
        folder,
        &format!("req {key} -subj /CN=source -keyout source.key -out source.csr"),
    );
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        folder,
        "x509 -req -in source.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out source.pem",
    );
    let (chain, key) = (folder.join("source.pem"), folder.join("source.key"));
    let tls = [
        "--tls-cert",
        chain.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let running = Server::start_with(&folder.join("source"), &tls);
    let source = format!("https://{}", running.client.0);
    let content = vec![7; 3_000_000];
    std::fs::write(folder.join("clip"), &content).unwrap();
    let added = curl(
        folder,
        "ca.pem",
        &[
            "--data-binary",
            "@clip",
            &format!("{source}/api/assets?name=clip"),
        ],
    );
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    let url = format!("{source}/api/assets/{}/file", added["id"].as_str().unwrap());

    let allowed = ["--no-streams", "--fetch-from", "127.0.0.0/8"];
    let ca = folder.join("ca.pem");
    let server = Server::start_in(&folder.join("data"), &allowed, &[("SSL_CERT_FILE", &ca)]);
    let id = kinora(server.client, &["add", &url, "--name", "clip"]);
    let asset = server.client.asset(id.trim());
    assert_eq!(asset["cid"], added["cid"]);
    assert_eq!(asset["size"], content.len());

    let stranger = Server::start_with(&folder.join("stranger"), &allowed);
    let refused = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args([
            "add",
            &url,
            "--server",
            &format!("http://{}", stranger.client.0),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("TLS: "),
        "{said}"
    );
}
