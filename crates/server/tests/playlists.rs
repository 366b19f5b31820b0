//! Playlists for screens over the API. When what plays is the schedule's own subject.

mod bench;
mod http;

use bench::Bench;
use http::Answer;
use serde_json::{Value, json};

fn put(bench: &Bench, name: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let path = format!("/api/playlists/{name}");
    let body = body.to_string();
    bench.client.send("PUT", &path, headers, body.as_bytes())
}

#[test]
fn a_playlist_is_written_read_changed_and_removed() {
    let bench = Bench::new();
    let empty = json!({ "name": "default", "version": 0, "time_zone": "UTC", "items": [] });
    assert_eq!(bench.client.get("/api/playlists").json(), json!([empty]));
    let hall = json!({ "time_zone": "Europe/Berlin", "items": [
        { "asset": "a" },
        { "asset": "b", "duration_s": 20, "enabled": false, "from": "2026-12-01", "to": "2026-12-24",
          "days": ["mon", "fri"], "hours": [{ "from": "22:00", "to": "06:00" }] } ] });
    let written = put(&bench, "hall", &[], &hall);
    assert_eq!(written.status, 200, "{}", written.text());
    assert_eq!(written.header("etag"), Some("\"1\""));
    let read = bench.client.get("/api/playlists/hall").json();
    assert_eq!(
        read["items"][0],
        json!({ "asset": "a", "duration_s": 10, "enabled": true })
    );
    assert_eq!(read["items"][1], hall["items"][1]);
    assert_eq!(
        bench
            .client
            .get("/api/playlists")
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );

    // Who changed an old one is told so.
    assert_eq!(
        put(&bench, "hall", &[("If-Match", "\"1\"")], &hall).status,
        200
    );
    put(&bench, "hall", &[("If-Match", "\"1\"")], &hall).problem(412);
    put(&bench, "hall", &[("If-Match", "\"none\"")], &hall).problem(412);
    assert_eq!(
        put(&bench, "hall", &[("If-Match", "\"2\"")], &hall).status,
        200
    );

    for (name, body, words) in [
        (
            "hall",
            json!({ "items": [{ "asset": "a", "duration_s": 0 }] }),
            "duration_s",
        ),
        (
            "hall",
            json!({ "time_zone": "Mars/Olympus" }),
            "Mars/Olympus",
        ),
        (
            "hall",
            json!({ "items": [{ "asset": "a", "hours": [{ "from": "25:00", "to": "01:00" }] }] }),
            "25:00",
        ),
        ("a%20b", json!({}), "name"),
        ("hall", json!([]), "body"),
    ] {
        let detail = put(&bench, name, &[], &body).problem(400);
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(bench.client.delete("/api/playlists/hall").status, 204);
    bench.client.delete("/api/playlists/hall").problem(404);
    bench.client.get("/api/playlists/hall").problem(404);
    bench.client.get("/api/playlists/hall/now").problem(404);
}

#[test]
fn a_screen_asks_what_plays() {
    let bench = Bench::new();
    let id = bench.client.upload("clip.mp4", b"content");
    let list = json!({ "time_zone": "Europe/Berlin", "items": [
        { "asset": "gone" },
        { "asset": id, "duration_s": 7, "hours": [{ "from": "12:00", "to": "13:00" }] } ] });
    assert_eq!(put(&bench, "default", &[], &list).status, 200);
    let ask = |at: &str, headers: &[(&str, &str)]| {
        let path = format!("/api/playlists/default/now?at={at}");
        bench.client.send("GET", &path, headers, b"")
    };
    let noon = ask("2026-11-20T11:30:00Z", &[]);
    let url = format!("/api/assets/{id}/file");
    assert_eq!(
        noon.json(),
        json!({ "name": "default", "until": "2026-11-20T12:00:00Z",
                "items": [{ "asset": id, "name": "clip.mp4", "duration_s": 7, "url": url }] })
    );
    assert_eq!(noon.header("cache-control"), Some("no-cache"));
    let etag = noon.header("etag").unwrap();
    // The same until something changes, and then another.
    let again = ask("2026-11-20T11:59:59Z", &[("If-None-Match", etag)]);
    assert_eq!(again.status, 304);
    let later = ask("2026-11-20T12:00:00Z", &[("If-None-Match", etag)]);
    assert_eq!(later.status, 200);
    assert_eq!(later.json()["items"], json!([]));
    assert_eq!(bench.client.get("/api/playlists/default/now").status, 200);
    ask("yesterday", &[]).problem(400);
}
