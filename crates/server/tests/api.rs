//! The API over a real socket: lists, events, streams, removal, problems, and who may ask.

mod bench;
mod http;

use bench::{A_VIDEO, Bench, PATIENT};
use serde_json::{Value, json};

/// A worker that makes a stream of two rungs with two segments each, one line at a time, as
/// `kinora worker ladder` says it. `$1` of `part` is where it stops to wait for a file.
const TWO_RUNGS: &str = r#"
rung() { printf '{"name":"%s","width":%s,"height":%s,"bit_rate":800000,"max_rate":1200000,"buffer":1600000,"copied":false}' $1 $2 $3; }
segment() {
    printf 'segment %s %s' $1 $2 > "$3/$1-$2.ts"
    printf '{"event":"segment","file":"%s-%s.ts","segment":{"rung":"%s","index":%s,"start":%s,"duration":4.0,"codecs":"avc1.64001e"}}\n' $1 $2 $1 $2 $(($2 * 4))
}
case $2 in
probe) echo "$A_VIDEO"; echo '{"event":"done"}' ;;
thumbnail) printf jpeg > "$3/t.jpg"; echo '{"event":"picture","file":"t.jpg"}'; echo '{"event":"done"}' ;;
ladder)
    printf '{"event":"plan","made_by":"a test","plan":{"container":"ts","duration_s":8.0,"segments":2,"target_duration":4,"frame_rate":25.0,"audio":[],"rungs":[%s,%s]}}\n' "$(rung 720p 1280 720)" "$(rung 360p 640 360)"
    segment 720p 0 "$3"
    segment 360p 0 "$3"
    echo '{"event":"progress","fraction":0.5,"media_s":4.0,"speed":2.0,"eta_s":2.0}'
    while [ ! -e "$3/../../go-on" ]; do sleep 0.05; done
    segment 720p 1 "$3"
    segment 360p 1 "$3"
    echo '{"event":"done"}' ;;
esac
"#;

fn go_on(bench: &Bench) {
    std::fs::write(bench.data().join("go-on"), "").unwrap();
}

/// The addresses in a playlist.
fn uris(playlist: &str) -> Vec<&str> {
    playlist
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
}

#[test]
fn a_stream_can_be_read_while_it_grows() {
    let bench = Bench::with(TWO_RUNGS, |_| {});
    let client = bench.client;
    let id = client.upload("clip.mp4", b"a video");
    let playing = client.wait(&id, "the stream's address", |asset| {
        asset["stream"]["url"].is_string() && asset["stream"]["progress"]["speed"].is_number()
    });
    assert_eq!(playing["state"], "ready");
    assert_eq!(
        playing["verdicts"].as_array().unwrap().len(),
        client.get("/api/boards").json().as_array().unwrap().len()
    );
    let stream = &playing["stream"];
    assert_eq!(stream["state"], "running");
    assert_eq!(
        stream["progress"],
        json!({"fraction": 0.5, "media_s": 4.0, "total_s": 8.0, "speed": 2.0, "eta_s": 2.0, "waiting": null})
    );
    let rungs: Vec<_> = stream["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rung| &rung["name"])
        .collect();
    assert_eq!(rungs, ["720p", "360p"]);

    let url = format!("/streams/{id}/master.m3u8");
    assert_eq!(stream["url"], url.as_str());
    let master = client.get(&url);
    assert_eq!(
        master.header("content-type"),
        Some("application/vnd.apple.mpegurl")
    );
    assert_eq!(master.header("cache-control"), Some("no-cache"));
    let text = master.text();
    assert_eq!(uris(&text).len(), 2, "{text}");
    let etag = master.header("etag").unwrap().to_owned();
    let again = client.send("GET", &url, &[("If-None-Match", &etag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));

    let rung = format!("/streams/{id}/720p/playlist.m3u8");
    let growing = client.get(&rung).text();
    assert!(
        growing.contains("#EXT-X-PLAYLIST-TYPE:EVENT") && !growing.contains("ENDLIST"),
        "{growing}"
    );
    let segment = client.get(uris(&growing)[0]);
    assert_eq!(segment.text(), "segment 720p 0");
    assert_eq!(segment.header("content-type"), Some("video/mp2t"));
    assert!(
        segment
            .header("cache-control")
            .unwrap()
            .contains("immutable")
    );
    assert!(
        segment
            .header("content-security-policy")
            .unwrap()
            .contains("sandbox")
    );

    go_on(&bench);
    let done = client.wait(&id, "the end", |asset| asset["stream"]["state"] == "done");
    assert_eq!(done["stream"]["rungs"][1]["segments"], 2);
    assert_eq!(done["stream"]["rungs"][1]["bytes"], 28);
    let whole = client.get(&rung).text();
    assert!(
        whole.contains("#EXT-X-PLAYLIST-TYPE:VOD") && whole.contains("#EXT-X-ENDLIST"),
        "{whole}"
    );
    assert_eq!(uris(&whole).len(), 2);
    for uri in uris(&whole) {
        assert_eq!(client.get(uri).status, 200);
    }
    assert!(bench.files("work").is_empty());
    let thumbnail = client.wait(&id, "the thumbnail", |asset| asset["thumbnail"].is_string());
    let picture = client.get(thumbnail["thumbnail"].as_str().unwrap());
    assert_eq!(
        (picture.header("content-type"), picture.text().as_str()),
        (Some("image/jpeg"), "jpeg")
    );
}

#[test]
fn what_is_removed_while_it_is_made_is_gone() {
    let bench = Bench::with(TWO_RUNGS, |_| {});
    let client = bench.client;
    let playable = |asset: &Value| asset["stream"]["url"].is_string();
    let id = client.upload("clip.mp4", b"a video");
    client.wait(&id, "the stream's address", playable);
    let rung = format!("/streams/{id}/360p/playlist.m3u8");
    let playlist = client.get(&rung).text();

    // The stream alone: the asset stays, and a stream may be asked for again.
    let stream = format!("/api/assets/{id}/stream");
    assert_eq!(client.delete(&stream).status, 204);
    assert_eq!(client.asset(&id)["stream"], Value::Null);
    client.get(&rung).problem(404);
    client.delete(&stream).problem(404);
    assert!(bench.store().pins("stream/").unwrap().is_empty());
    // Whoever read the playlist a moment ago may finish.
    assert_eq!(client.get(uris(&playlist)[0]).status, 200);
    assert_eq!(
        client.send("PUT", &stream, &[], b"").json()["stream"]["error"],
        Value::Null
    );
    client.wait(&id, "the stream again", playable);

    let mut events = client.events();
    assert_eq!(client.delete(&format!("/api/assets/{id}")).status, 204);
    assert_eq!(events.next_named("removed"), json!({ "id": id }));
    for path in [
        format!("/api/assets/{id}"),
        rung,
        format!("/streams/{id}/master.m3u8"),
        format!("/api/assets/{id}/thumbnail"),
    ] {
        client.get(&path).problem(404);
    }
    client.delete(&format!("/api/assets/{id}")).problem(404);
    client.send("PUT", &stream, &[], b"").problem(404);
    assert_eq!(client.get("/api/assets").json(), json!([]));
    let store = bench.store();
    assert!(store.pins("").unwrap().is_empty() && store.names("").unwrap().is_empty());
    store.collect(std::time::Duration::ZERO).unwrap();
    assert!(store.ls().unwrap().is_empty());
    assert!(bench.files("work").is_empty());
}

/// A removal that was interrupted at its first step is finished by the next start.
#[test]
fn interrupted_removals_are_finished() {
    let mut bench = Bench::with(TWO_RUNGS, |_| {});
    go_on(&bench);
    let done = |asset: &Value| asset["stream"]["state"] == "done";
    let asset = bench.client.upload("asset.mp4", b"one video");
    bench.client.wait(&asset, "the first stream", done);
    let stream = bench.client.upload("stream.mp4", b"another video");
    bench.client.wait(&stream, "the second stream", done);
    bench.stop();
    assert!(bench.catalog().delete_asset(&asset).unwrap());
    assert!(bench.catalog().cancel_stream(&stream).unwrap());

    bench.start(|_| {});
    bench
        .client
        .wait(&stream, "the removal of the stream", |asset| {
            asset["stream"].is_null()
        });
    bench
        .client
        .get(&format!("/api/assets/{asset}"))
        .problem(404);
    bench.stop();
    let pins: Vec<String> = bench
        .store()
        .pins("")
        .unwrap()
        .into_iter()
        .map(|pin| pin.name)
        .collect();
    assert!(
        pins.iter()
            .all(|pin| pin.starts_with(&format!("asset/{stream}/"))),
        "{pins:?}"
    );
    assert!(bench.store().names("").unwrap().is_empty());
}

#[test]
fn a_stopped_server_goes_on_where_it_was() {
    let mut bench = Bench::with(TWO_RUNGS, |_| {});
    let id = bench.client.upload("clip.mp4", b"a video");
    bench.client.wait(&id, "two segments", |asset| {
        asset["stream"]["url"].is_string()
    });
    bench.stop();
    // This worker makes only what the server does not have, as the real one does.
    bench.set_worker(&TWO_RUNGS.replace(
        "segment 720p 0 \"$3\"\n    segment 360p 0 \"$3\"",
        "grep -q '\"rung\":\"720p\",\"number\":0,\"bytes\":14' \"$3/order.json\" || exit 7",
    ));
    go_on(&bench);
    bench.start(|_| {});
    let done = bench.client.wait(&id, "the end", |asset| {
        assert_eq!(asset["stream"]["error"], Value::Null);
        asset["stream"]["state"] == "done"
    });
    assert_eq!(done["stream"]["rungs"][0]["segments"], 2);
}

/// Segments that another encoder made cannot be gone on with.
#[test]
fn a_stream_made_otherwise_is_made_anew() {
    let mut bench = Bench::with(TWO_RUNGS, |_| {});
    let id = bench.client.upload("clip.mp4", b"a video");
    bench.client.wait(&id, "two segments", |asset| {
        asset["stream"]["url"].is_string()
    });
    bench.stop();
    bench.set_worker(
        &TWO_RUNGS
            .replace("a test", "a later test")
            .replace("'segment %s %s'", "'later %s %s'"),
    );
    go_on(&bench);
    bench.start(|_| {});
    bench.client.wait(&id, "the end", |asset| {
        assert_eq!(asset["stream"]["error"], Value::Null);
        asset["stream"]["state"] == "done"
    });
    let playlist = bench
        .client
        .get(&format!("/streams/{id}/720p/playlist.m3u8"))
        .text();
    let segments: Vec<String> = uris(&playlist)
        .iter()
        .map(|uri| bench.client.get(uri).text())
        .collect();
    assert_eq!(segments, ["later 720p 0", "later 720p 1"]);
    // Those, and what they were made by.
    assert_eq!(bench.store().pins("stream/").unwrap().len(), 5);
}

#[test]
fn streams_only_when_asked() {
    let bench = Bench::with(TWO_RUNGS, |config| config.streams = false);
    go_on(&bench);
    let client = bench.client;
    let id = client.upload("clip.mp4", b"a video");
    let asset = client.wait(&id, "the probe", |asset| asset["state"] == "ready");
    assert_eq!(asset["stream"], Value::Null);
    let asked = client.send("PUT", &format!("/api/assets/{id}/stream"), &[], b"");
    assert_eq!(asked.status, 200);
    client.wait(&id, "the stream", |asset| {
        asset["stream"]["state"] == "done"
    });
    // Asking for what is there changes nothing.
    let again = client.send("PUT", &format!("/api/assets/{id}/stream"), &[], b"");
    assert_eq!(again.json()["stream"]["state"], "done");
}

#[test]
fn events_tell_each_change_and_end_with_the_server() {
    let mut bench = Bench::with(PATIENT, |_| {});
    let client = bench.client;
    let mut events = client.events();
    let id = client.upload("clip.mp4", b"a video");
    let mut states = Vec::new();
    while states.last() != Some(&"running".to_owned()) {
        let asset = events.next_named("asset");
        assert_eq!(asset["id"], id.as_str());
        states.push(if asset["state"] == "ready" {
            asset["stream"]["state"].as_str().unwrap().to_owned()
        } else {
            asset["state"].as_str().unwrap().to_owned()
        });
    }
    states.dedup();
    assert_eq!(
        states.first().map(String::as_str),
        Some("probing"),
        "{states:?}"
    );
    let thread = std::thread::spawn(move || while events.next().0 != "end" {});
    bench.stop();
    thread.join().unwrap();
}

#[test]
fn addresses_and_methods_that_are_none() {
    let bench = Bench::new();
    let client = bench.client;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/node_modules/hls.js/package.json", 404),
        ("GET", "/package.json", 404),
        ("GET", "/../catalog.db", 404),
        ("GET", "/%2e%2e/catalog.db", 404),
        ("GET", "/api/assets/none", 404),
        ("DELETE", "/api/assets/none", 404),
        ("GET", "/api/assets/none/thumbnail", 404),
        ("GET", "/api/assets/none/file", 404),
        ("PUT", "/api/assets/none/stream", 404),
        ("DELETE", "/api/assets/none/stream", 404),
        ("GET", "/streams/none/master.m3u8", 404),
        ("GET", "/streams/none/720p/playlist.m3u8", 404),
        (
            "GET",
            "/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
            404,
        ),
        ("GET", "/ipfs/nonsense", 400),
        ("PUT", "/api/assets", 405),
        ("POST", "/api/assets/none", 405),
        ("DELETE", "/ipfs/nonsense", 405),
        ("POST", "/", 405),
        ("DELETE", "/index.html", 405),
    ] {
        let answer = client.send(method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        answer.problem(status);
        if status == 405 {
            assert!(answer.header("allow").is_some(), "{method} {path}");
        }
        assert_eq!(answer.json()["instance"], path);
    }
}

type Headers<'a> = &'a [(&'a str, &'a str)];

#[test]
fn who_may_ask() {
    let bench = Bench::new();
    let port = bench.client.0.port();
    let own = format!("http://127.0.0.1:{port}");
    let local = format!("localhost:{port}");
    let local_origin = format!("http://{local}");
    let rows: &[(&str, Headers<'_>, u16)] = &[
        ("GET", &[("Host", local.as_str())], 200),
        ("GET", &[("Host", "[::1]")], 200),
        // DNS rebinding: a name of somebody else's that leads here.
        ("GET", &[("Host", "kinora.evil.example")], 421),
        ("GET", &[("Host", "localhost.evil.example:80")], 421),
        // Other sites may look where any client may, but browsers do not show them the answer.
        ("GET", &[("Origin", "https://evil.example")], 200),
        ("POST", &[("Origin", "https://evil.example")], 403),
        ("POST", &[("Origin", "null")], 403),
        ("POST", &[("Sec-Fetch-Site", "cross-site")], 403),
        ("POST", &[("Sec-Fetch-Site", "same-site")], 403),
        ("POST", &[("Origin", own.as_str())], 201),
        (
            "POST",
            &[("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")],
            201,
        ),
        (
            "POST",
            &[("Host", local.as_str()), ("Origin", local_origin.as_str())],
            201,
        ),
        (
            "POST",
            &[("Host", local.as_str()), ("Origin", own.as_str())],
            403,
        ),
        ("POST", &[], 201),
    ];
    for &(method, headers, status) in rows {
        let path = if method == "POST" {
            "/api/assets?name=a.mp4"
        } else {
            "/api/assets"
        };
        let body: &[u8] = if method == "POST" { b"abc" } else { b"" };
        let answer = bench.client.send(method, path, headers, body);
        assert_eq!(
            answer.status,
            status,
            "{method} {headers:?}: {}",
            answer.text()
        );
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(
            answer
                .header("content-security-policy")
                .unwrap()
                .contains("frame-ancestors 'none'")
        );
    }
}

#[test]
fn the_page_is_served_packed_and_cached() {
    let bench = Bench::new();
    let client = bench.client;
    let index = client.get("/");
    assert_eq!(index.status, 200);
    assert_eq!(
        index.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(client.get("/index.html").body, index.body);
    let player = client.get("/hls.min.js");
    assert_eq!(
        player.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let packed = client.send(
        "GET",
        "/hls.min.js",
        &[("Accept-Encoding", "gzip, br")],
        b"",
    );
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 2 < player.body.len());
    assert_ne!(packed.header("etag"), player.header("etag"));
    for answer in [&index, &player] {
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
    }
    let etag = player.header("etag").unwrap();
    let again = client.send("GET", "/hls.min.js", &[("If-None-Match", etag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(client.send("HEAD", "/", &[], b"").status, 200);
}

#[test]
fn ranges_of_content() {
    let bench = Bench::new();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 8) as u8).collect();
    let id = bench.client.upload("a%22b%0D%0Ac.mp4", &content);
    let file = bench.client.get(&format!("/api/assets/{id}/file"));
    let location = file.header("location").unwrap();
    for (range, status, expected) in [
        ("bytes=0-0", 206, &content[..1]),
        (
            "bytes=1048570-2097160",
            206,
            &content[1_048_570..=2_097_160],
        ),
        ("bytes=-5", 206, &content[2_999_995..]),
        ("bytes=3000000-", 416, &[]),
    ] {
        let answer = bench.client.send("GET", location, &[("Range", range)], b"");
        assert_eq!(answer.status, status, "{range}");
        if status == 206 {
            assert!(answer.body == expected, "{range}");
        }
    }
    let head = bench.client.send("HEAD", location, &[], b"");
    assert_eq!(head.header("content-length"), Some("3000000"));
}

#[test]
fn one_server_per_data_folder() {
    let bench = Bench::new();
    let Err(error) = server::Server::open(bench.config()) else {
        panic!("two servers over one folder");
    };
    assert!(
        matches!(error, server::Error::Locked { pid: Some(_), .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("in use by another kinora server"),
        "{error}"
    );
}

#[test]
fn boards_of_the_user() {
    let mut bench = Bench::new();
    let count = bench
        .client
        .get("/api/boards")
        .json()
        .as_array()
        .unwrap()
        .len();
    assert!(count >= 7);
    let board = bench.client.get("/api/board").json();
    assert!(
        board["id"].is_string() && board["name"].is_string(),
        "{board}"
    );
    bench.stop();
    std::fs::write(bench.data().join("boards.toml"), "nonsense = [").unwrap();
    let Err(error) = server::Server::open(bench.config()) else {
        panic!("took a broken table");
    };
    assert!(error.to_string().contains("boards.toml"), "{error}");
    std::fs::remove_file(bench.data().join("boards.toml")).unwrap();
    bench.start(|_| {});
}

#[test]
fn the_state_of_the_server() {
    let bench = Bench::with(PATIENT, |config| {
        config.max_upload = 5;
        config.allow_software = true;
        config.rendering = Some(server::Rendering::Gate);
    });
    let status = bench.client.get("/api/status").json();
    assert_eq!(status["max_upload"], 5);
    assert_eq!(
        status["policy"],
        json!({"render": false, "allow_software": true})
    );
    assert!(status["free_bytes"].as_u64().unwrap() > 0);
    assert!(!A_VIDEO.is_empty() && status["version"].is_string());
}
