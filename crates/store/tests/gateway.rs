//! The gateway as a table: what is asked, and what must come back. The expectations are those of
//! the path and trustless gateway specifications for files and raw blocks, and of RFC 9110.

mod content;

use std::{io::Write, os::unix::fs::FileExt};

use content::{CHUNK, bytes};
use http::{Method, Request, Response, StatusCode};
use proptest::prelude::*;
use store::{
    Cid, Pinning, PutOptions, Store, cid_of,
    gateway::{Body, respond, routing},
    unixfs::Importer,
};

const TEXT: &[u8] = b"0123456789";
/// Made once with an implementation other than this.
const TEXT_CID: &str = "bafkreiee3cmhp4guaqppw27zdilpajepf7kxhzvpaxaz7fv63opyql3yqi";
const ABSENT: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    /// Three leaves under a root.
    big: Vec<u8>,
    big_cid: Cid,
    /// The CID of the second leaf.
    leaf: Cid,
    root_node: Vec<u8>,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let put = |content: &[u8], mime| {
        let options = PutOptions {
            mime,
            ..PutOptions::default()
        };
        store.put(content, &options).unwrap().cid
    };
    assert_eq!(put(TEXT, None).to_string(), TEXT_CID);
    let big = bytes("gateway", 2 * CHUNK + 77);
    let big_cid = put(&big, Some("video/x-test"));
    let mut importer = Importer::new();
    importer.update(&big);
    let mut dag = importer.finish();
    World {
        _dir: dir,
        leaf: dag.blocks[1].cid,
        root_node: dag.blocks.pop().unwrap().node.unwrap(),
        store,
        big,
        big_cid,
    }
}

/// A response with its body read.
struct Answer {
    response: Response<()>,
    body: Vec<u8>,
    /// The body ended with an error.
    cut: bool,
}

fn ask(store: &Store, method: Method, uri: &str, headers: &[(&str, &str)]) -> Answer {
    ask_with(&|request| respond(store, request), method, uri, headers)
}

fn ask_with(
    respond: &dyn Fn(&Request<()>) -> Response<Body>,
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(respond(&request.body(()).unwrap()))
}

fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let (mut bytes, mut cut) = (Vec::new(), false);
    match body {
        Body::Empty => {}
        Body::Bytes(content) => bytes = content.to_vec(),
        Body::File { file, offset, len } => {
            bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
        }
        Body::Pieces { pieces, len } => {
            for piece in pieces {
                match piece {
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    Err(_) => cut = true,
                }
            }
            assert!(cut || len.is_none_or(|len| len == bytes.len() as u64));
        }
    }
    Answer {
        response: Response::from_parts(parts, ()),
        body: bytes,
        cut,
    }
}

impl Answer {
    fn status(&self) -> StatusCode {
        self.response.status()
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .response
        .headers()
        .get(name)
        .map(|v| v.to_str().unwrap())
}

fn body(answer: &Answer) -> Vec<u8> {
    answer.body.clone()
}

/// One row: request headers, then status, body (`None`: not looked at) and response headers that
/// must be there, or with the value `-` must not.
type Row<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    u16,
    Option<&'a [u8]>,
    &'a [(&'a str, &'a str)],
);

fn check(store: &Store, method: Method, rows: &[Row<'_>]) {
    check_with(&|request| respond(store, request), method, rows);
}

fn check_with(respond: &dyn Fn(&Request<()>) -> Response<Body>, method: Method, rows: &[Row<'_>]) {
    for (uri, headers, status, expected, answers) in rows {
        let response = ask_with(respond, method.clone(), uri, headers);
        let row = format!("{method} {uri} {headers:?}");
        assert_eq!(response.status().as_u16(), *status, "{row}");
        if let Some(expected) = expected {
            assert_eq!(body(&response), *expected, "{row}");
        }
        for (name, value) in *answers {
            let found = header(&response, name);
            let wanted = (*value != "-").then_some(*value);
            assert_eq!(found, wanted, "{row}: {name}");
        }
        // These hold for every answer.
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            Some("*"),
            "{row}"
        );
        assert!(!response.cut, "{row}");
        let counted = header(&response, "accept-ranges") != Some("none");
        if response.status().is_success() && method == Method::GET && counted {
            let length = body(&response).len().to_string();
            assert_eq!(header(&response, "content-length"), Some(&*length), "{row}");
        }
    }
}

#[test]
fn content_and_its_headers() {
    let World {
        store,
        big,
        big_cid,
        leaf,
        ..
    } = &world();
    let at = |cid: &dyn ToString| format!("/ipfs/{}", cid.to_string());
    let text = at(&TEXT_CID);
    let (big_path, leaf_path) = (at(big_cid), at(leaf));
    let (big_tag, leaf_tag) = (format!("\"{big_cid}\""), format!("\"{leaf}\""));
    let immutable = "public, max-age=29030400, immutable";
    let v0 = Cid::new_v0(*big_cid.hash()).unwrap().to_string();
    let upper = Cid::try_from(TEXT_CID)
        .unwrap()
        .to_string_of_base(cid::multibase::Base::Base32Upper)
        .unwrap();
    let tag = format!("\"{TEXT_CID}\"");
    let rows: &[Row<'_>] = &[
        (
            &text,
            &[],
            200,
            Some(TEXT),
            &[
                ("etag", &tag),
                ("cache-control", immutable),
                ("accept-ranges", "bytes"),
                ("content-length", "10"),
                ("content-type", "text/plain; charset=utf-8"),
                ("x-ipfs-path", &text),
                ("x-ipfs-roots", TEXT_CID),
                ("x-content-type-options", "nosniff"),
                ("vary", "Accept"),
                ("content-disposition", "-"),
                ("content-location", "-"),
                ("content-range", "-"),
                (
                    "access-control-expose-headers",
                    "Content-Range, Content-Length, X-Ipfs-Path, X-Ipfs-Roots, \
                     X-Chunked-Output, X-Stream-Output",
                ),
            ],
        ),
        (
            &big_path,
            &[],
            200,
            Some(big),
            &[("etag", &big_tag), ("content-type", "video/x-test")],
        ),
        // A leaf is content of its own; the recorded type is that of the whole.
        (
            &leaf_path,
            &[],
            200,
            Some(&big[CHUNK..2 * CHUNK]),
            &[
                ("etag", &leaf_tag),
                ("content-type", "application/octet-stream"),
            ],
        ),
        // Other spellings of a CID.
        (&at(&v0), &[], 200, Some(big), &[]),
        (&at(&upper), &[], 200, Some(TEXT), &[("etag", &tag)]),
        (
            &at(&"bafkqaaa"),
            &[],
            200,
            Some(b""),
            &[("content-length", "0")],
        ),
        (
            &at(&"bafkqabtimvwgy3yk"),
            &[],
            200,
            Some(b"hello\n"),
            &[("content-type", "text/plain; charset=utf-8")],
        ),
        (
            &at(&"bafkqabtimvwgy3yk"),
            &[("range", "bytes=1-2")],
            206,
            Some(b"el"),
            &[("content-range", "bytes 1-2/6")],
        ),
        // Not here, not a CID, not something we have.
        (
            &at(&ABSENT),
            &[],
            404,
            None,
            &[("cache-control", "no-store"), ("etag", "-")],
        ),
        (&at(&ABSENT), &[("if-none-match", "*")], 404, None, &[]),
        (
            &at(&ABSENT),
            &[("cache-control", "only-if-cached")],
            412,
            None,
            &[],
        ),
        (
            &text,
            &[("cache-control", "max-age=0, only-if-cached")],
            200,
            Some(TEXT),
            &[],
        ),
        ("/ipfs/", &[], 400, None, &[]),
        ("/ipfs/hello", &[], 400, None, &[]),
        ("/ipfs/bafkreieu2x3c3xmpnsh2qvz", &[], 400, None, &[]),
        (
            "/ipfs/x%2Fipfs%2FQmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD",
            &[],
            400,
            None,
            &[],
        ),
        ("/ipfs/%FF", &[], 400, None, &[]),
        (&format!("{text}/below"), &[], 404, None, &[]),
        (&format!("{text}/"), &[], 404, None, &[]),
        ("/ipns/name", &[], 404, None, &[]),
        (&text, &[("service-worker", "script")], 400, None, &[]),
        // dag-cbor is never held.
        (
            "/ipfs/bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
            &[],
            404,
            None,
            &[],
        ),
    ];
    check(store, Method::GET, rows);
}

#[test]
fn user_content_cannot_run_in_our_origin() {
    let World { store, .. } = &world();
    let uploads: [(&[u8], Option<&str>); 3] = [
        (b"<script>alert(1)</script>", Some("text/html")),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            Some("image/svg+xml"),
        ),
        (b"alert(1)", Some("text/javascript")),
    ];
    for (content, mime) in uploads {
        let options = PutOptions {
            mime,
            ..PutOptions::default()
        };
        let cid = store.put(content, &options).unwrap().cid;
        for uri in [
            format!("/ipfs/{cid}"),
            format!("/ipfs/{cid}?filename=x.html"),
        ] {
            let response = ask(store, Method::GET, &uri, &[]);
            assert_eq!(header(&response, "content-type"), mime);
            let policy = header(&response, "content-security-policy").unwrap();
            let directives: Vec<_> = policy.split(';').map(str::trim).collect();
            assert!(directives.contains(&"sandbox"), "{policy}");
            assert!(directives.contains(&"default-src 'none'"), "{policy}");
            assert!(!policy.contains("script"), "{policy}");
            assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
        }
    }
    // A name chooses a type for content without one; the policy is the same.
    let named = ask(
        store,
        Method::GET,
        &format!("/ipfs/{TEXT_CID}?filename=x.html"),
        &[],
    );
    assert_eq!(
        header(&named, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        header(&named, "content-security-policy")
            .unwrap()
            .contains("sandbox")
    );
}

#[test]
fn conditions_and_ranges() {
    let World {
        store,
        big,
        big_cid,
        ..
    } = &world();
    let uri = &*format!("/ipfs/{TEXT_CID}");
    let tag = &*format!("\"{TEXT_CID}\"");
    let weak = &*format!("W/{tag}");
    let list = &*format!("\"other\", {weak}, \"more\"");
    let big_uri = &*format!("/ipfs/{big_cid}");
    let across = &big[CHUNK - 2..CHUNK + 3];
    let rows: &[Row<'_>] = &[
        (
            uri,
            &[("if-none-match", tag)],
            304,
            Some(b""),
            &[
                ("etag", tag),
                ("content-type", "-"),
                ("content-length", "-"),
                ("cache-control", "public, max-age=29030400, immutable"),
            ],
        ),
        (uri, &[("if-none-match", weak)], 304, Some(b""), &[]),
        (uri, &[("if-none-match", list)], 304, Some(b""), &[]),
        (
            uri,
            &[("if-none-match", "\"a\""), ("if-none-match", tag)],
            304,
            Some(b""),
            &[],
        ),
        (uri, &[("if-none-match", "*")], 304, Some(b""), &[]),
        (uri, &[("if-none-match", "\"other\"")], 200, Some(TEXT), &[]),
        (uri, &[("if-none-match", TEXT_CID)], 200, Some(TEXT), &[]),
        (uri, &[("if-match", tag)], 200, Some(TEXT), &[]),
        (uri, &[("if-match", "*")], 200, Some(TEXT), &[]),
        (uri, &[("if-match", weak)], 412, None, &[]),
        (uri, &[("if-match", "\"other\"")], 412, None, &[]),
        (
            uri,
            &[("range", "bytes=2-4")],
            206,
            Some(b"234"),
            &[
                ("content-range", "bytes 2-4/10"),
                ("etag", tag),
                ("accept-ranges", "bytes"),
            ],
        ),
        (
            uri,
            &[("range", "bytes=7-")],
            206,
            Some(b"789"),
            &[("content-range", "bytes 7-9/10")],
        ),
        (
            uri,
            &[("range", "bytes=-2")],
            206,
            Some(b"89"),
            &[("content-range", "bytes 8-9/10")],
        ),
        (
            uri,
            &[("range", "bytes=8-99")],
            206,
            Some(b"89"),
            &[("content-range", "bytes 8-9/10")],
        ),
        (
            uri,
            &[("range", "bytes=10-")],
            416,
            None,
            &[("content-range", "bytes */10"), ("etag", "-")],
        ),
        (
            uri,
            &[("range", "bytes=-0")],
            416,
            None,
            &[("content-range", "bytes */10")],
        ),
        (
            uri,
            &[("range", "bytes=4-2")],
            200,
            Some(TEXT),
            &[("content-range", "-")],
        ),
        (
            uri,
            &[("range", "bytes=0-1,3-4")],
            206,
            Some(b"01"),
            &[("content-range", "bytes 0-1/10")],
        ),
        (uri, &[("range", "lines=0-1")], 200, Some(TEXT), &[]),
        (
            uri,
            &[("range", "bytes=2-4"), ("if-range", tag)],
            206,
            Some(b"234"),
            &[],
        ),
        (
            uri,
            &[("range", "bytes=2-4"), ("if-range", weak)],
            200,
            Some(TEXT),
            &[],
        ),
        (
            uri,
            &[("range", "bytes=2-4"), ("if-range", "\"other\"")],
            200,
            Some(TEXT),
            &[],
        ),
        (
            uri,
            &[
                ("range", "bytes=2-4"),
                ("if-range", "Sat, 29 Oct 1994 19:43:31 GMT"),
            ],
            200,
            Some(TEXT),
            &[],
        ),
        (
            uri,
            &[("range", "bytes=99-"), ("if-none-match", tag)],
            304,
            Some(b""),
            &[],
        ),
        (
            big_uri,
            &[("range", "bytes=1048574-1048578")],
            206,
            Some(across),
            &[("content-range", "bytes 1048574-1048578/2097229")],
        ),
        (
            big_uri,
            &[("range", "bytes=-77")],
            206,
            Some(&big[2 * CHUNK..]),
            &[],
        ),
    ];
    check(store, Method::GET, rows);
}

#[test]
fn methods() {
    let World { store, .. } = &world();
    let uri = &*format!("/ipfs/{TEXT_CID}");
    check(
        store,
        Method::HEAD,
        &[
            (
                uri,
                &[],
                200,
                Some(b""),
                &[
                    ("content-length", "10"),
                    ("content-type", "text/plain; charset=utf-8"),
                    ("accept-ranges", "bytes"),
                ],
            ),
            // Ranges are defined for GET only.
            (
                uri,
                &[("range", "bytes=0-1")],
                200,
                Some(b""),
                &[("content-length", "10"), ("content-range", "-")],
            ),
            (uri, &[("if-none-match", "*")], 304, Some(b""), &[]),
            (
                "/ipfs/bafkqaaa?format=raw",
                &[],
                200,
                Some(b""),
                &[("content-length", "0")],
            ),
            (
                &format!("{uri}?format=raw"),
                &[],
                200,
                Some(b""),
                &[
                    ("content-length", "10"),
                    ("content-type", "application/vnd.ipld.raw"),
                ],
            ),
            (
                &format!("/ipfs/{ABSENT}?format=raw"),
                &[],
                404,
                Some(b""),
                &[],
            ),
            (&format!("/ipfs/{ABSENT}"), &[], 404, Some(b""), &[]),
            ("/ipfs/nonsense", &[], 400, Some(b""), &[]),
        ],
    );
    let cors = [
        ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
        (
            "access-control-allow-headers",
            "Content-Type, Range, User-Agent, X-Requested-With",
        ),
        ("allow", "GET, HEAD, OPTIONS"),
    ];
    check(
        store,
        Method::OPTIONS,
        &[(
            uri,
            &[
                ("origin", "https://example.org"),
                ("access-control-request-method", "GET"),
            ],
            204,
            Some(b""),
            &cors,
        )],
    );
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::TRACE,
    ] {
        check(
            store,
            method,
            &[(uri, &[], 405, None, &[("allow", "GET, HEAD, OPTIONS")])],
        );
    }
}

#[test]
fn forms() {
    let World {
        store,
        big,
        big_cid,
        leaf,
        root_node,
        ..
    } = &world();
    let raw = "application/vnd.ipld.raw";
    let big_uri = &*format!("/ipfs/{big_cid}");
    let big_raw = &*format!("{big_uri}?format=raw");
    let leaf_raw = &*format!("/ipfs/{leaf}?format=raw");
    let raw_tag = &*format!("\"{big_cid}.raw\"");
    let leaf_bytes = &big[CHUNK..2 * CHUNK];
    let bin = &*format!("attachment; filename=\"{big_cid}.bin\"; filename*=UTF-8''{big_cid}.bin");
    let rows: &[Row<'_>] = &[
        (
            big_raw,
            &[],
            200,
            Some(root_node),
            &[
                ("content-type", raw),
                ("etag", raw_tag),
                ("content-disposition", bin),
                ("x-content-type-options", "nosniff"),
                ("vary", "-"),
                ("content-location", "-"),
            ],
        ),
        (big_raw, &[("if-none-match", raw_tag)], 304, Some(b""), &[]),
        (
            big_raw,
            &[("range", "bytes=0-3")],
            206,
            Some(&root_node[..4]),
            &[],
        ),
        (
            leaf_raw,
            &[("accept", raw)],
            200,
            Some(leaf_bytes),
            &[("content-type", raw)],
        ),
        (
            leaf_raw,
            &[("range", "bytes=5-9")],
            206,
            Some(&leaf_bytes[5..10]),
            &[],
        ),
        (
            &format!("/ipfs/{TEXT_CID}?format=raw"),
            &[],
            200,
            Some(TEXT),
            &[("content-type", raw)],
        ),
        (
            "/ipfs/bafkqaaa?format=raw",
            &[],
            200,
            Some(b""),
            &[("content-type", raw)],
        ),
        (&format!("/ipfs/{ABSENT}?format=raw"), &[], 404, None, &[]),
        // Chosen by Accept: a URL that says it, for caches.
        (
            big_uri,
            &[("accept", raw)],
            200,
            Some(root_node),
            &[("content-location", big_raw), ("vary", "Accept")],
        ),
        (
            &format!("{big_uri}?filename=a.mp4"),
            &[("accept", raw)],
            200,
            Some(root_node),
            &[("content-location", &format!("{big_raw}&filename=a.mp4"))],
        ),
        (
            big_uri,
            &[(
                "accept",
                "application/vnd.ipld.dag-json;q=0, application/vnd.ipld.car;q=0.4, \
                 application/vnd.ipld.raw;q=0.5",
            )],
            200,
            Some(root_node),
            &[],
        ),
        (
            big_uri,
            &[("accept", "application/vnd.ipld.raw;q=0, */*")],
            200,
            Some(big),
            &[],
        ),
        (
            big_uri,
            &[("accept", "text/html,*/*;q=0.8")],
            200,
            Some(big),
            &[("content-location", "-")],
        ),
        (big_uri, &[("accept", "video/mp2t")], 200, Some(big), &[]),
        // The URL's word counts more.
        (
            leaf_raw,
            &[("accept", "application/vnd.ipld.car")],
            200,
            Some(leaf_bytes),
            &[("content-type", raw), ("content-location", leaf_raw)],
        ),
        (
            big_uri,
            &[("accept", "application/vnd.ipld.dag-json")],
            406,
            None,
            &[],
        ),
        (&format!("{big_uri}?format=dag-json"), &[], 406, None, &[]),
        (&format!("{big_uri}?format=dag-cbor"), &[], 406, None, &[]),
        (&format!("{big_uri}?format=tar"), &[], 406, None, &[]),
        (
            &format!("{big_uri}?format=car&car-version=2"),
            &[],
            406,
            None,
            &[],
        ),
        (
            &format!("{big_uri}?format=car&dag-scope=some"),
            &[],
            400,
            None,
            &[],
        ),
        (
            &format!("{big_uri}?format=ipns-record"),
            &[],
            400,
            None,
            &[],
        ),
    ];
    check(store, Method::GET, rows);
}

#[test]
fn names_and_types() {
    let World { store, big_cid, .. } = &world();
    let typed = |mime, content: &[u8]| {
        let options = PutOptions {
            mime,
            ..PutOptions::default()
        };
        store.put(content, &options).unwrap().cid
    };
    let mut packets = vec![0_u8; 188 * 4];
    packets.iter_mut().step_by(188).for_each(|b| *b = 0x47);
    let ts = typed(None, &packets);
    let playlist = typed(None, b"#EXTM3U\n#EXT-X-VERSION:6\n");
    let stated = typed(Some("video/webm"), b"\x00\x00\x00\x18ftypisom....");
    let at = |cid: &Cid, rest: &str| format!("/ipfs/{cid}{rest}");
    let alias = |cid: &Cid| format!("/ipfs-ts/{cid}");
    let text = Cid::try_from(TEXT_CID).unwrap();
    let text_tag = format!("\"{TEXT_CID}\"");
    let plain_download =
        format!("attachment; filename=\"{TEXT_CID}\"; filename*=UTF-8''{TEXT_CID}");
    let rows: &[Row<'_>] = &[
        // Recorded, named, sniffed: in this order.
        (
            &at(&stated, "?filename=x.ts"),
            &[],
            200,
            None,
            &[("content-type", "video/webm")],
        ),
        (
            &at(&text, "?filename=00042.ts"),
            &[],
            200,
            None,
            &[
                ("content-type", "video/mp2t"),
                (
                    "content-disposition",
                    "inline; filename=\"00042.ts\"; filename*=UTF-8''00042.ts",
                ),
            ],
        ),
        (
            &at(&text, "?filename=master.m3u8"),
            &[],
            200,
            None,
            &[("content-type", "application/vnd.apple.mpegurl")],
        ),
        (
            &at(&text, "?filename=init.mp4"),
            &[],
            200,
            None,
            &[("content-type", "video/mp4")],
        ),
        (
            &at(&text, "?filename=a.unknown"),
            &[],
            200,
            None,
            &[("content-type", "text/plain; charset=utf-8")],
        ),
        (
            &at(&ts, ""),
            &[],
            200,
            None,
            &[("content-type", "video/mp2t")],
        ),
        (
            &at(&playlist, ""),
            &[],
            200,
            None,
            &[("content-type", "application/vnd.apple.mpegurl")],
        ),
        (
            &at(&text, "?download=true"),
            &[],
            200,
            None,
            &[("content-disposition", &plain_download)],
        ),
        (
            &at(&text, "?download=true&filename=%C3%9C%20b.txt"),
            &[],
            200,
            None,
            &[(
                "content-disposition",
                "attachment; filename=\"_ b.txt\"; filename*=UTF-8''%C3%9C%20b.txt",
            )],
        ),
        (
            &at(&text, "?filename=a%0D%0AX-Evil:%201"),
            &[],
            200,
            None,
            &[
                ("x-evil", "-"),
                (
                    "content-disposition",
                    "inline; filename=\"a__X-Evil: 1\"; filename*=UTF-8''a__X-Evil%3A%201",
                ),
            ],
        ),
        // The alias says transport stream of anything, under the same tag.
        (
            &alias(&text),
            &[],
            200,
            Some(TEXT),
            &[
                ("content-type", "video/mp2t"),
                ("etag", &text_tag),
                ("x-ipfs-path", &alias(&text)),
            ],
        ),
        (
            &alias(big_cid),
            &[("range", "bytes=0-0")],
            206,
            None,
            &[("content-type", "video/mp2t")],
        ),
        (
            &alias(&text),
            &[("if-none-match", &text_tag)],
            304,
            Some(b""),
            &[],
        ),
    ];
    check(store, Method::GET, rows);
}

#[test]
fn a_damaged_object_is_a_server_error_that_keeps_paths_to_itself() {
    let World { store, big_cid, .. } = &world();
    let name = big_cid.to_string();
    let path = store
        .root()
        .join("obj")
        .join(&name[name.len() - 2..])
        .join(&name);
    std::fs::remove_file(&path).unwrap();
    let response = ask(store, Method::GET, &format!("/ipfs/{big_cid}"), &[]);
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(header(&response, "cache-control"), Some("no-store"));
    let text = String::from_utf8(body(&response)).unwrap();
    assert!(text.contains("damaged") && !text.contains("obj/"), "{text}");
    let error = response
        .response
        .extensions()
        .get::<std::sync::Arc<store::Error>>()
        .unwrap();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
}

/// A response that was begun keeps its bytes although the object is collected meanwhile.
#[test]
fn bodies_outlive_their_objects() {
    let World { store, .. } = &world();
    let mut writer = store.writer(&PutOptions::default()).unwrap();
    writer.write_all(b"short-lived").unwrap();
    let cid = writer.finish().unwrap().cid;
    let request = Request::get(format!("/ipfs/{cid}")).body(()).unwrap();
    let response = respond(store, &request);
    store.collect(std::time::Duration::ZERO).unwrap();
    assert!(store.get(&cid).unwrap().is_none());
    assert_eq!(read(response).body, b"short-lived");
}

#[test]
fn the_empty_file() {
    let World { store, .. } = &world();
    let (cid, _) = cid_of(std::io::empty()).unwrap();
    assert_eq!(cid.to_string(), ABSENT);
    store.put(std::io::empty(), &PutOptions::default()).unwrap();
    let uri = &*format!("/ipfs/{cid}");
    check(
        store,
        Method::GET,
        &[
            (uri, &[], 200, Some(b""), &[("content-length", "0")]),
            (
                uri,
                &[("range", "bytes=0-")],
                416,
                None,
                &[("content-range", "bytes */0")],
            ),
            (uri, &[("range", "bytes=-1")], 200, Some(b""), &[]),
        ],
    );
}

/// What a client that looks for providers itself asks.
#[test]
fn routing() {
    let World { store, leaf, .. } = &world();
    let name = store.ipns_name("live");
    let absent = store.ipns_name("never published");
    let cid = store.put(TEXT, &PutOptions::default()).unwrap().cid;
    store.publish("live", &cid, None).unwrap();
    let record = store.ipns_record(&name).unwrap().unwrap();
    let origin = Some("http://127.0.0.1:7420");
    let peer = format!(
        "{{\"Schema\":\"peer\",\"ID\":\"{}\",\"Addrs\":[\"/ip4/127.0.0.1/tcp/7420/http\"],\
         \"Protocols\":[\"transport-ipfs-gateway-http\"]}}",
        store.peer_id().to_base58()
    );
    let (json, lines) = (format!("{{\"Providers\":[{peer}]}}\n"), format!("{peer}\n"));
    let nothing = b"{\"Providers\":[]}\n";
    let kind = "application/vnd.ipfs.ipns-record";
    let at = |cid: &dyn ToString| format!("/routing/v1/providers/{}", cid.to_string());
    let of = |name: &dyn ToString| format!("/routing/v1/ipns/{}", name.to_string());
    let rows: &[Row<'_>] = &[
        (
            &at(&TEXT_CID),
            &[],
            200,
            Some(json.as_bytes()),
            &[
                ("content-type", "application/json"),
                ("vary", "Accept"),
                ("cache-control", "public, max-age=300"),
            ],
        ),
        (&at(leaf), &[], 200, Some(json.as_bytes()), &[]),
        (
            &at(&TEXT_CID),
            &[("accept", "application/x-ndjson, application/json")],
            200,
            Some(lines.as_bytes()),
            &[("content-type", "application/x-ndjson")],
        ),
        (
            &at(&ABSENT),
            &[],
            200,
            Some(nothing),
            &[("cache-control", "public, max-age=15")],
        ),
        (
            &at(&ABSENT),
            &[("accept", "application/x-ndjson")],
            200,
            Some(b""),
            &[],
        ),
        (
            &format!("{}?filter-protocols=transport-bitswap", at(&TEXT_CID)),
            &[],
            200,
            Some(nothing),
            &[],
        ),
        (&at(&"hello"), &[], 422, None, &[]),
        (
            &of(&name),
            &[("accept", kind)],
            200,
            Some(&record),
            &[("content-type", kind), ("vary", "Accept")],
        ),
        (&of(&name.to_base58()), &[], 200, Some(&record), &[]),
        (&of(&name), &[("if-none-match", "*")], 304, Some(b""), &[]),
        (
            &of(&name),
            &[("accept", "application/json")],
            406,
            None,
            &[],
        ),
        (
            &of(&absent),
            &[("accept", kind)],
            200,
            None,
            &[("content-type", "text/plain; charset=utf-8")],
        ),
        (&of(&"hello"), &[], 422, None, &[]),
        ("/routing/v1/peers/x", &[], 404, None, &[]),
    ];
    check_with(
        &|request| routing::respond(store, request, origin),
        Method::GET,
        rows,
    );
    // A name of ours through the gateway: what it stands for, believed for as long as its TTL.
    let uri = &*format!("/ipns/{name}");
    let rows: &[Row<'_>] = &[
        (
            uri,
            &[],
            200,
            Some(TEXT),
            &[
                ("cache-control", "public, max-age=2"),
                ("etag", &format!("\"{TEXT_CID}\"")),
                ("x-ipfs-path", uri),
                ("x-ipfs-roots", TEXT_CID),
            ],
        ),
        (
            &format!("{uri}?format=ipns-record"),
            &[],
            200,
            Some(&record),
            &[],
        ),
        (
            &format!("{uri}/below?format=ipns-record"),
            &[],
            400,
            None,
            &[],
        ),
        (&format!("/ipns/{absent}"), &[], 404, None, &[]),
        ("/ipns/en.wikipedia-on-ipfs.org", &[], 404, None, &[]),
    ];
    check(store, Method::GET, rows);
}

/// Graphs that others cut, and with holes: what can be said before the first byte is said, and
/// what cannot cuts the body.
#[test]
fn graphs() {
    let World { store, .. } = &world();
    let import = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/gateway/");
        let car = std::fs::read(format!("{folder}{name}")).unwrap();
        let imported = store.import(car.as_slice(), Pinning::None, |_| {}).unwrap();
        (imported.roots[0], car)
    };
    let (hole, _) = import("trustless_gateway_car/file-3k-and-3-blocks-missing-block.car");
    let (files, car) = import("path_gateway_unixfs/dir-with-files.car");
    let (cbor, _) = import("trustless_gateway_car/dir-with-dag-cbor-with-links.car");
    let (links, _) = import("path_gateway_unixfs/symlink.car");
    let hole = format!("/ipfs/{hole}");
    let cut = ask(store, Method::GET, &hole, &[]);
    assert_eq!(
        (cut.status(), cut.cut, cut.body.len()),
        (StatusCode::OK, true, 1024)
    );
    assert_eq!(header(&cut, "content-length"), Some("3072"));
    let cut = ask(store, Method::GET, &format!("{hole}?format=car"), &[]);
    assert_eq!((cut.status(), cut.cut), (StatusCode::OK, true));

    let multi = format!("/ipfs/{files}/multiblock.txt");
    let document = format!("/ipfs/{cbor}/document");
    let cbor_type = "application/vnd.ipld.dag-cbor";
    let car_tag = header(
        &ask(
            store,
            Method::GET,
            &format!("/ipfs/{files}?format=car"),
            &[],
        ),
        "etag",
    )
    .unwrap()
    .to_owned();
    assert!(
        car_tag.starts_with("W/\"") && car_tag.contains(".car.all."),
        "{car_tag}"
    );
    let head = store::car::header(&[store::dag::AnyCid::try_from("bafkqaaa").unwrap()]);
    let text = ask(store, Method::GET, &multi, &[]).body;
    assert_eq!(text.len(), 1026);
    let rows: &[Row<'_>] = &[
        // Missing from the first byte on.
        (
            &hole,
            &[("range", "bytes=1024-1024")],
            404,
            None,
            &[("content-range", "-")],
        ),
        (
            &multi,
            &[("range", "bytes=250-260")],
            206,
            Some(&text[250..=260]),
            &[
                ("content-type", "text/plain; charset=utf-8"),
                ("content-range", "bytes 250-260/1026"),
            ],
        ),
        (
            &format!("/ipfs/{files}?format=car"),
            &[],
            200,
            Some(&car),
            &[
                ("content-length", "-"),
                (
                    "content-type",
                    "application/vnd.ipld.car; version=1; order=dfs; dups=n",
                ),
            ],
        ),
        (
            &format!("/ipfs/{files}?format=car"),
            &[("if-none-match", &car_tag)],
            304,
            Some(b""),
            &[],
        ),
        (
            &format!("/ipfs/{files}?format=car"),
            &[("if-match", &car_tag)],
            412,
            None,
            &[],
        ),
        (
            &format!("/ipfs/{files}?format=car"),
            &[("range", "bytes=0-1")],
            200,
            Some(&car),
            &[],
        ),
        ("/ipfs/bafkqaaa?format=car", &[], 200, Some(&head), &[]),
        (
            &format!("/ipfs/{files}?x=y"),
            &[],
            301,
            None,
            &[("location", &format!("/ipfs/{files}/?x=y"))],
        ),
        (&format!("{multi}/"), &[], 404, None, &[]),
        (&document, &[], 200, None, &[("content-type", cbor_type)]),
        (
            &document,
            &[("accept", cbor_type)],
            200,
            None,
            &[("content-type", cbor_type)],
        ),
        (&format!("{document}?format=dag-json"), &[], 406, None, &[]),
        (&format!("{document}/files"), &[], 501, None, &[]),
        (
            &format!("{document}/files/single"),
            &[],
            200,
            Some(b"hello world\n"),
            &[],
        ),
        (
            &format!("/ipfs/{links}/bar"),
            &[],
            200,
            Some(b"foo"),
            &[("content-type", "inode/symlink")],
        ),
        (&format!("/ipfs/{files}/%FF"), &[], 400, None, &[]),
    ];
    check(store, Method::GET, rows);
    check(
        store,
        Method::HEAD,
        &[
            (&hole, &[], 200, Some(b""), &[("content-length", "3072")]),
            ("/ipfs/bafkqaaa?format=car", &[], 200, Some(b""), &[]),
            (&format!("/ipfs/{files}/"), &[], 200, Some(b""), &[]),
        ],
    );
}

proptest! {
    /// Whatever is asked, there is an answer, and only what is held is a success.
    #[test]
    fn no_crash_requests(
        path in "/ipfs(-ts)?/(bafk[a-z2-7]{0,60}|Qm[A-Za-z0-9]{0,50}|[!-~]{0,40})(/[!-~]{0,9})?",
        query in "((format|filename|download|x)=[!-~]{0,20}&?){0,3}",
        range in "(bytes)?[ =]{0,2}[0-9,-]{0,24}",
        accept in "[ -~]{0,40}",
        tag in "(W/)?\"?[!-~]{0,20}\"?",
    ) {
        thread_local! { static WORLD: World = world(); }
        let uri = format!("{path}?{query}");
        let request = Request::builder()
            .uri(&uri)
            .header("range", &range)
            .header("accept", &accept)
            .header("if-none-match", &tag)
            .body(());
        if let Ok(request) = request {
            let response = WORLD.with(|world| read(respond(&world.store, &request)));
            let carries_its_content = path.contains("bafkqa");
            prop_assert!(!response.status().is_success() || carries_its_content, "{uri}");
            prop_assert!(response.status() != StatusCode::INTERNAL_SERVER_ERROR, "{uri}");
        }
    }

    /// The same on content that is held: a part is the part, and anything else the whole.
    #[test]
    fn no_crash_ranges(range in "bytes=[0-9]{0,3}(-[0-9]{0,3})?(,[0-9]-)?") {
        thread_local! { static WORLD: World = world(); }
        let uri = format!("/ipfs/{TEXT_CID}");
        let response = WORLD.with(|w| ask(&w.store, Method::GET, &uri, &[("range", &range)]));
        let sent = body(&response);
        match response.status().as_u16() {
            200 => prop_assert_eq!(sent, TEXT),
            206 => {
                let value = header(&response, "content-range").unwrap();
                let (first, last) = value
                    .strip_prefix("bytes ")
                    .and_then(|v| v.strip_suffix("/10"))
                    .and_then(|v| v.split_once('-'))
                    .unwrap();
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                prop_assert_eq!(sent, &TEXT[first..=last]);
            }
            status => prop_assert_eq!(status, 416),
        }
    }
}
