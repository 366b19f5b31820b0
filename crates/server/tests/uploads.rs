//! Files coming in over a real socket: three ways, broken ones, hostile ones, too large ones.

mod bench;
mod http;

use std::io::Write;

use bench::{Bench, PATIENT};
use http::finish;
use serde_json::json;

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const CHUNK: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// Bytes that are not all the same, so that a lost or doubled piece is seen.
fn content(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[track_caller]
fn check_original(bench: &Bench, id: &str, expected: &[u8]) {
    let client = bench.client;
    let file = client.get(&format!("/api/assets/{id}/file"));
    assert_eq!(file.status, 307);
    let answer = client.get(file.header("location").unwrap());
    assert_eq!(answer.status, 200);
    assert!(answer.body == expected, "the original differs");
    let asset = client.asset(id);
    assert_eq!(asset["size"], expected.len());
    assert_eq!(asset["cid"], store::cid_of(expected).unwrap().0.to_string());
}

/// Begins a resumable upload and gives back its address.
#[track_caller]
fn begin(bench: &Bench, headers: &[(&str, &str)]) -> String {
    let answer = bench.client.send("POST", "/api/uploads", headers, b"");
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("tus-resumable"), Some("1.0.0"));
    assert!(answer.header("upload-expires").unwrap().ends_with("GMT"));
    answer.header("location").unwrap().to_owned()
}

fn offset(bench: &Bench, upload: &str) -> u64 {
    let answer = bench.client.send("HEAD", upload, &[TUS], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.header("upload-offset").unwrap().parse().unwrap()
}

fn patch(bench: &Bench, upload: &str, offset: u64, body: &[u8]) -> http::Answer {
    let offset = offset.to_string();
    let headers = [TUS, CHUNK, ("Upload-Offset", offset.as_str())];
    bench.client.send("PATCH", upload, &headers, body)
}

#[test]
fn a_whole_file_in_one_request() {
    let bench = Bench::new();
    // More than one buffer and more than one chunk of the store.
    let content = content(3_000_001);
    let answer = bench
        .client
        .send("POST", "/api/assets?name=a%20clip.mp4", &[], &content);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let asset = answer.json();
    let id = asset["id"].as_str().unwrap();
    assert_eq!(
        answer.header("location"),
        Some(format!("/api/assets/{id}").as_str())
    );
    assert_eq!(asset["name"], "a clip.mp4");
    check_original(&bench, id, &content);
    assert!(bench.files("uploads").is_empty());
    assert!(
        bench
            .catalog()
            .uploads()
            .unwrap()
            .iter()
            .all(|upload| upload.complete)
    );
}

#[test]
fn a_chunked_request_of_unknown_length() {
    let bench = Bench::new();
    let mut connection = bench
        .client
        .begin("POST", "/api/assets?name=c.mp4", &[], None);
    let content = content(100_000);
    for piece in content.chunks(33_333) {
        write!(connection, "{:x}\r\n", piece.len()).unwrap();
        connection.write_all(piece).unwrap();
        connection.write_all(b"\r\n").unwrap();
    }
    connection.write_all(b"0\r\n\r\n").unwrap();
    let answer = finish(connection, "POST");
    assert_eq!(answer.status, 201, "{}", answer.text());
    check_original(&bench, answer.json()["id"].as_str().unwrap(), &content);
}

#[test]
fn a_form() {
    let bench = Bench::new();
    let content = content(1_500_000);
    let form = |field: &str, file: &str| {
        let mut body = format!(
            "--frontier\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
             --frontier\r\nContent-Disposition: form-data; name=\"{field}\"{file}\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n--frontier--\r\n");
        let kind = [("Content-Type", "multipart/form-data; boundary=frontier")];
        bench.client.send("POST", "/api/assets", &kind, &body)
    };
    let answer = form("file", "; filename=\"../holiday.mov\"");
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["name"], "holiday.mov");
    check_original(&bench, answer.json()["id"].as_str().unwrap(), &content);
    form("file", "").problem(400);
    form("other", "; filename=\"a.mov\"").problem(400);
    assert!(bench.files("uploads").is_empty());
}

#[test]
fn tus_in_pieces() {
    let bench = Bench::new();
    let content = content(2_500_000);
    let metadata = (
        "Upload-Metadata",
        "filetype dmlkZW8vbXA0,filename Y2xpcC5tcDQ=",
    );
    let upload = begin(&bench, &[TUS, ("Upload-Length", "2500000"), metadata]);
    assert_eq!(offset(&bench, &upload), 0);
    let first = patch(&bench, &upload, 0, &content[..1_000_000]);
    assert_eq!(
        (first.status, first.header("upload-offset")),
        (204, Some("1000000"))
    );
    assert_eq!(first.header("kinora-asset"), None);

    // The same piece again, and one that leaves a hole.
    patch(&bench, &upload, 0, &content[..1_000_000]).problem(409);
    patch(&bench, &upload, 2_000_000, &content[2_000_000..]).problem(409);
    // More than was announced: what fits the promise is not taken either.
    let over = patch(&bench, &upload, 1_000_000, &crate::content(2_000_000));
    over.problem(413);
    let here = offset(&bench, &upload);
    let last = patch(&bench, &upload, here, &content[here as usize..]);
    // What came of the oversized piece was wrong content, so only its head could be kept.
    assert_eq!(last.status, 204, "{}", last.text());
    let asset = last.header("kinora-asset").unwrap().to_owned();
    let id = asset.strip_prefix("/api/assets/").unwrap();
    assert_eq!(bench.client.asset(id)["name"], "clip.mp4");

    // A client whose last answer was lost asks again and is told.
    let answer = bench.client.send("HEAD", &upload, &[TUS], b"");
    assert_eq!(answer.header("upload-offset"), Some("2500000"));
    assert_eq!(answer.header("upload-length"), Some("2500000"));
    assert_eq!(answer.header("kinora-asset"), Some(asset.as_str()));
    let again = patch(&bench, &upload, 2_500_000, b"");
    assert_eq!(
        (again.status, again.header("kinora-asset")),
        (204, Some(asset.as_str()))
    );
}

#[test]
fn tus_goes_on_after_a_dropped_connection_and_a_restart() {
    let mut bench = Bench::new();
    let content = content(5_000_000);
    let upload = begin(
        &bench,
        &[
            TUS,
            ("Upload-Length", "5000000"),
            ("Upload-Metadata", "filename Y2xpcC5tcDQ="),
        ],
    );
    let headers = [TUS, CHUNK, ("Upload-Offset", "0")];
    let mut connection = bench
        .client
        .begin("PATCH", &upload, &headers, Some(5_000_000));
    connection.write_all(&content[..2_200_000]).unwrap();
    // One buffer of the server's has come when its file says so; the rest may or may not.
    let id = upload.strip_prefix("/api/uploads/").unwrap();
    let file = bench.data().join("uploads").join(id);
    while std::fs::metadata(&file).unwrap().len() < 1 << 20 {
        std::thread::yield_now();
    }
    let here = offset(&bench, &upload);
    assert!((1 << 20..=2_200_000).contains(&here), "{here}");
    // The connection is alive after all; what it still sends is not taken behind the answer's back.
    let _ = connection.write_all(&content[2_200_000..]);
    assert_eq!(offset(&bench, &upload), here);
    drop(connection);
    bench.stop();
    bench.start(|_| {});
    assert_eq!(offset(&bench, &upload), here);
    let answer = patch(&bench, &upload, here, &content[here as usize..]);
    assert_eq!(answer.status, 204, "{}", answer.text());
    let asset = answer.header("kinora-asset").unwrap();
    check_original(
        &bench,
        asset.strip_prefix("/api/assets/").unwrap(),
        &content,
    );
}

#[test]
fn a_newer_request_takes_over_from_one_that_hangs() {
    let bench = Bench::new();
    let content = content(3_000_000);
    let upload = begin(
        &bench,
        &[
            TUS,
            ("Upload-Length", "3000000"),
            ("Upload-Metadata", "filename Y2xpcC5tcDQ="),
        ],
    );
    let headers = [TUS, CHUNK, ("Upload-Offset", "0")];
    let mut hanging = bench
        .client
        .begin("PATCH", &upload, &headers, Some(3_000_000));
    hanging.write_all(&content[..10]).unwrap();
    let mut here = offset(&bench, &upload);
    let answer = loop {
        let answer = patch(&bench, &upload, here, &content[here as usize..]);
        if answer.status != 409 {
            break answer;
        }
        here = offset(&bench, &upload);
    };
    assert_eq!(answer.status, 204, "{}", answer.text());
    let asset = answer.header("kinora-asset").unwrap();
    check_original(
        &bench,
        asset.strip_prefix("/api/assets/").unwrap(),
        &content,
    );
}

#[test]
fn tus_extensions() {
    let bench = Bench::new();
    let client = bench.client;
    let name = ("Upload-Metadata", "filename Y2xpcC5tcDQ=");
    let able = client.send("OPTIONS", "/api/uploads", &[], b"");
    assert_eq!(able.status, 204);
    assert_eq!(able.header("tus-version"), Some("1.0.0"));
    assert_eq!(
        able.header("tus-extension"),
        Some("creation,creation-defer-length,creation-with-upload,termination,expiration")
    );
    assert_eq!(able.header("tus-max-size"), Some("68719476736"));

    // creation-with-upload, all of it at once
    let content = content(50_000);
    let headers = [TUS, CHUNK, ("Upload-Length", "50000"), name];
    let whole = client.send("POST", "/api/uploads", &headers, &content);
    assert_eq!(
        (whole.status, whole.header("upload-offset")),
        (201, Some("50000"))
    );
    let asset = whole.header("kinora-asset").unwrap();
    check_original(
        &bench,
        asset.strip_prefix("/api/assets/").unwrap(),
        &content,
    );

    // creation-defer-length
    let upload = begin(&bench, &[TUS, ("Upload-Defer-Length", "1"), name]);
    let asked = client.send("HEAD", &upload, &[TUS], b"");
    assert_eq!(asked.header("upload-defer-length"), Some("1"));
    assert_eq!(patch(&bench, &upload, 0, &content[..20_000]).status, 204);
    let headers = [
        TUS,
        CHUNK,
        ("Upload-Offset", "20000"),
        ("Upload-Length", "50000"),
    ];
    let last = client.send("PATCH", &upload, &headers, &content[20_000..]);
    assert_eq!(last.status, 204, "{}", last.text());
    check_original(
        &bench,
        last.header("kinora-asset")
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap(),
        &content,
    );

    // termination
    let upload = begin(&bench, &[TUS, ("Upload-Length", "50000"), name]);
    assert_eq!(patch(&bench, &upload, 0, &content[..10]).status, 204);
    assert_eq!(client.send("DELETE", &upload, &[TUS], b"").status, 204);
    assert_eq!(client.send("HEAD", &upload, &[TUS], b"").status, 404);
    patch(&bench, &upload, 10, &content[10..]).problem(404);
    assert!(bench.files("uploads").is_empty());

    // Clients that can only POST.
    let upload = begin(&bench, &[TUS, ("Upload-Length", "10"), name]);
    let headers = [
        TUS,
        CHUNK,
        ("Upload-Offset", "0"),
        ("X-HTTP-Method-Override", "PATCH"),
    ];
    let answer = client.send("POST", &upload, &headers, &content[..10]);
    assert_eq!(
        (answer.status, answer.header("upload-offset")),
        (204, Some("10"))
    );
    client.send("POST", &upload, &[TUS], b"").problem(400);

    // No bytes at all are a file too.
    let empty = client.send(
        "POST",
        "/api/uploads",
        &[TUS, ("Upload-Length", "0"), name],
        b"",
    );
    assert_eq!(empty.status, 201);
    check_original(
        &bench,
        empty
            .header("kinora-asset")
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap(),
        b"",
    );
}

type Headers<'a> = &'a [(&'a str, &'a str)];

#[test]
fn refusals() {
    let bench = Bench::with(PATIENT, |config| config.max_upload = 1000);
    let client = bench.client;
    let name = ("Upload-Metadata", "filename Y2xpcC5tcDQ=");
    let ten = ("Upload-Length", "10");
    let big = content(1001);
    let rows: &[(&str, &str, Headers<'_>, &[u8], u16)] = &[
        ("POST", "/api/assets", &[], b"abc", 400),
        ("POST", "/api/assets?name=..%2F", &[], b"abc", 400),
        ("POST", "/api/assets?name=big.mp4", &[], &big, 413),
        (
            "POST",
            "/api/assets",
            &[("Content-Type", "multipart/form-data")],
            b"abc",
            400,
        ),
        ("POST", "/api/uploads", &[ten, name], b"", 412),
        (
            "POST",
            "/api/uploads",
            &[("Tus-Resumable", "0.2.2"), ten, name],
            b"",
            412,
        ),
        ("POST", "/api/uploads", &[TUS, name], b"", 400),
        (
            "POST",
            "/api/uploads",
            &[TUS, ("Upload-Length", "-1"), name],
            b"",
            400,
        ),
        (
            "POST",
            "/api/uploads",
            &[TUS, ("Upload-Length", "+1"), name],
            b"",
            400,
        ),
        (
            "POST",
            "/api/uploads",
            &[TUS, ("Upload-Defer-Length", "2"), name],
            b"",
            400,
        ),
        ("POST", "/api/uploads", &[TUS, ten], b"", 400),
        (
            "POST",
            "/api/uploads",
            &[TUS, ten, ("Upload-Metadata", "filename ???")],
            b"",
            400,
        ),
        (
            "POST",
            "/api/uploads",
            &[TUS, ("Upload-Length", "1001"), name],
            b"",
            413,
        ),
        (
            "POST",
            "/api/uploads",
            &[TUS, ("Upload-Length", "99999999999999999999"), name],
            b"",
            400,
        ),
        (
            "POST",
            "/api/uploads",
            &[TUS, ten, name, ("Content-Type", "video/mp4")],
            b"abc",
            415,
        ),
        ("HEAD", "/api/uploads/none", &[TUS], b"", 404),
        (
            "PATCH",
            "/api/uploads/none",
            &[TUS, CHUNK, ("Upload-Offset", "0")],
            b"",
            404,
        ),
        (
            "PATCH",
            "/api/uploads/none",
            &[CHUNK, ("Upload-Offset", "0")],
            b"",
            412,
        ),
        ("PATCH", "/api/uploads/none", &[TUS, CHUNK], b"", 400),
        (
            "PATCH",
            "/api/uploads/none",
            &[TUS, ("Upload-Offset", "0")],
            b"",
            415,
        ),
        ("DELETE", "/api/uploads/none", &[TUS], b"", 404),
        (
            "DELETE",
            "/api/uploads/..%2F..%2Fcatalog.db",
            &[TUS],
            b"",
            404,
        ),
        ("GET", "/api/uploads", &[TUS], b"", 405),
    ];
    for &(method, path, headers, body, status) in rows {
        let answer = client.send(method, path, headers, body);
        if method == "HEAD" {
            assert_eq!(answer.status, status, "{method} {path} {headers:?}");
        } else {
            assert_eq!(
                answer.status,
                status,
                "{method} {path} {headers:?}: {}",
                answer.text()
            );
            answer.problem(status);
        }
        if path.starts_with("/api/uploads") && status != 405 {
            assert_eq!(
                answer.header("tus-resumable"),
                Some("1.0.0"),
                "{method} {path}"
            );
        }
        if status == 412 {
            assert_eq!(answer.header("tus-version"), Some("1.0.0"));
        }
    }
    let detail = client
        .send("POST", "/api/assets?name=big.mp4", &[], &big)
        .problem(413);
    assert!(detail.starts_with("big.mp4: "), "{detail}");

    // A length that was not announced is found out on the way.
    let mut connection = client.begin("POST", "/api/assets?name=c.mp4", &[], None);
    write!(connection, "3e9\r\n").unwrap();
    connection.write_all(&big).unwrap();
    connection.write_all(b"\r\n0\r\n\r\n").unwrap();
    finish(connection, "POST").problem(413);
    let upload = begin(&bench, &[TUS, ("Upload-Defer-Length", "1"), name]);
    patch(&bench, &upload, 0, &big).problem(413);

    assert_eq!(client.get("/api/assets").json(), json!([]));
}

#[test]
fn a_broken_request_leaves_nothing() {
    let mut bench = Bench::new();
    for how in ["short", "chunked"] {
        let length = (how == "short").then_some(1_000_000);
        let mut connection = bench
            .client
            .begin("POST", "/api/assets?name=c.mp4", &[], length);
        connection.write_all(&content(500_000)).unwrap();
        drop(connection);
    }
    // A stop waits for open requests, so afterwards both are over.
    bench.stop();
    bench.start(|_| {});
    assert_eq!(bench.client.get("/api/assets").json(), json!([]));
    assert!(bench.files("uploads").is_empty());
    assert!(bench.catalog().uploads().unwrap().is_empty());
}

#[test]
fn names_are_for_showing() {
    let bench = Bench::new();
    let long = "x".repeat(400);
    for (sent, shown) in [
        ("..%2F..%2Fetc%2Fpasswd", "passwd".to_owned()),
        ("a%0Ab%0D%00c.mp4", "a b c.mp4".to_owned()),
        ("C%3A%5Cvideos%5Cclip.mp4", "clip.mp4".to_owned()),
        ("%3Cscript%3Ealert(1)%3C%2Fscript%3E", "script>".to_owned()),
        ("%22%27%24(rm).mp4", "\"'$(rm).mp4".to_owned()),
        ("%FF%FE.mp4", "\u{fffd}\u{fffd}.mp4".to_owned()),
        (&format!("{long}.mp4"), format!("{}.mp4", "x".repeat(251))),
    ] {
        let id = bench.client.upload(sent, sent.as_bytes());
        let asset = bench.client.asset(&id);
        assert_eq!(asset["name"], shown.as_str(), "{sent}");
        check_original(&bench, &id, sent.as_bytes());
    }
    // No file is called by a client's name.
    let own = [
        "catalog.db",
        "catalog.db-shm",
        "catalog.db-wal",
        "lock",
        "store",
        "uploads",
        "work",
    ];
    assert_eq!(bench.files(""), own);
}

#[test]
fn the_same_content_twice_is_two_assets_and_one_object() {
    let bench = Bench::new();
    let content = content(2_000_000);
    let first = bench.client.upload("first.mp4", &content);
    let second = bench.client.upload("second.mp4", &content);
    assert_ne!(first, second);
    assert_eq!(
        bench.client.asset(&first)["cid"],
        bench.client.asset(&second)["cid"]
    );
    assert_eq!(
        bench.client.delete(&format!("/api/assets/{first}")).status,
        204
    );
    check_original(&bench, &second, &content);
}

#[test]
fn a_full_disk_is_refused_before_the_first_byte() {
    let bench = Bench::with(PATIENT, |config| config.reserve = Some(u64::MAX));
    let client = bench.client;
    let detail = client
        .send("POST", "/api/assets?name=c.mp4", &[], b"abc")
        .problem(507);
    assert!(
        detail.starts_with("c.mp4: ") && detail.contains("disk is full"),
        "{detail}"
    );
    let headers = [
        TUS,
        ("Upload-Length", "3"),
        ("Upload-Metadata", "filename Y2xpcC5tcDQ="),
    ];
    client
        .send("POST", "/api/uploads", &headers, b"")
        .problem(507);
    assert!(bench.files("uploads").is_empty());
    assert_eq!(client.get("/api/status").json()["free_bytes"], 0);
}

/// Every state that a kill can leave an upload in, made by hand, and the start that follows.
#[test]
fn interrupted_uploads_are_finished_or_dropped() {
    let mut bench = Bench::new();
    bench.stop();
    let catalog = bench.catalog();
    let store = bench.store();
    let row = |id: &str, protocol, expires_ms| {
        let upload = catalog::Upload {
            id: id.to_owned(),
            protocol,
            name: format!("{id}.mp4"),
            metadata: String::new(),
            length: Some(10),
            created_ms: 1,
            expires_ms,
            complete: false,
            asset: None,
        };
        catalog.add_upload(&upload).unwrap();
    };
    let file = |name: &str| {
        std::fs::write(bench.data().join("uploads").join(name), b"0123456789").unwrap()
    };
    use catalog::Protocol::{Post, Tus};
    row("broken", Post, i64::MAX);
    file("broken");
    row("expired", Tus, 5);
    file("expired");
    row("resumable", Tus, i64::MAX);
    file("resumable");
    row("complete", Post, i64::MAX);
    file("complete");
    catalog.complete_upload("complete", 10).unwrap();
    row("taken", Post, i64::MAX);
    catalog.complete_upload("taken", 10).unwrap();
    let pin = catalog::roots::original("taken");
    let options = store::PutOptions {
        pin: Some(&pin),
        ..store::PutOptions::default()
    };
    store.put(&b"taken"[..], &options).unwrap();
    file("nobody's");
    drop((catalog, store));

    bench.start(|_| {});
    let named = |name: &'static str| move |asset: &serde_json::Value| asset["name"] == name;
    bench
        .client
        .wait("complete", "the complete upload", named("complete.mp4"));
    bench
        .client
        .wait("taken", "the taken upload", named("taken.mp4"));
    check_original(&bench, "complete", b"0123456789");
    check_original(&bench, "taken", b"taken");
    assert_eq!(
        bench
            .client
            .get("/api/assets")
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(bench.files("uploads"), ["resumable"]);
    assert_eq!(offset(&bench, "/api/uploads/resumable"), 10);
    assert_eq!(
        bench
            .client
            .send("HEAD", "/api/uploads/expired", &[TUS], b"")
            .status,
        404
    );
}
