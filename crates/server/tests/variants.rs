//! Variants for enrolled boards: wanted, made, shared, paused, cancelled, failed, tried again, and
//! made anew when what decides them changes.

mod bench;
mod http;

use std::time::{Duration, Instant};

use bench::Bench;
use serde_json::{Value, json};

/// 2160p in a codec that no board of the table decodes.
const PROBE: &str = r#"{"event":"probed","not_a_video":null,"probe":{"container":"matroska,webm","duration_s":8.0,"video":[{"codec":"vp9","profile":"Profile 0","width":3840,"height":2160,"fps":"25/1","pix_fmt":"yuv420p","bit_depth":8,"chroma":"4:2:0"}],"audio":[],"subtitles":[]}}"#;

const RENDERED: &str = r#"{"event":"rendered","file":"variant.mp4","probe":{"container":"mov,mp4,m4a,3gp,3g2,mj2"},"how":{"kind":"encoded","decoder":"vp9","encoder":"libx265","sound":null,"warnings":[]}}"#;

/// A worker that finds such a video in everything and renders it by this script.
fn worker(render: &str) -> String {
    format!(
        "PROBE='{PROBE}'\nRENDERED='{RENDERED}'\nover() {{ echo '{{\"event\":\"done\"}}'; }}
render() {{ grep -o '\"board\":{{\"id\":\"[^\"]*\"' \"$1/order.json\" > \"$1/variant.mp4\"; echo \"$RENDERED\"; over; }}
case $2 in
probe) echo \"$PROBE\"; over ;;
thumbnail) printf jpeg > \"$3/t.jpg\"; echo '{{\"event\":\"picture\",\"file\":\"t.jpg\"}}'; over ;;
ladder) exec sleep 600 ;;
render)\n{render}\n;;
esac"
    )
}

const GOOD: &str = "render \"$3\"";
const PATIENT: &str = "exec sleep 600";

fn start(render: &str) -> Bench {
    Bench::with(&worker(render), |config| config.streams = false)
}

fn enrol(bench: &Bench, board: &str, body: Value) {
    let path = format!("/api/boards/{board}");
    let answer = bench
        .client
        .send("PUT", &path, &[], body.to_string().as_bytes());
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[track_caller]
fn change(bench: &Bench, asset: Option<&str>, body: Value) -> Value {
    let path = match asset {
        Some(id) => format!("/api/assets/{id}/variants"),
        None => "/api/variants".to_owned(),
    };
    let answer = bench
        .client
        .send("PATCH", &path, &[], body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn state<'a>(asset: &'a Value, board: &str) -> &'a str {
    let variants = asset["variants"].as_array().unwrap();
    let variant = variants.iter().find(|variant| variant["board"] == board);
    variant.map_or("none", |variant| variant["state"].as_str().unwrap())
}

fn variant<'a>(asset: &'a Value, board: &str) -> &'a Value {
    let variants = asset["variants"].as_array().unwrap();
    let found = variants.iter().find(|variant| variant["board"] == board);
    found.unwrap_or_else(|| panic!("nothing for {board}: {asset:#}"))
}

/// What a board is given to play.
fn played(bench: &Bench, asset: &str, board: &str) -> String {
    let path = format!("/api/assets/{asset}/variants/{board}");
    let answer = bench.client.get(&path);
    assert_eq!(answer.status, 307, "{}", answer.text());
    bench.client.get(answer.header("location").unwrap()).text()
}

#[test]
fn enrolled_boards_get_their_variants_and_share_them() {
    let bench = start(GOOD);
    let id = bench.client.upload("clip.webm", b"whatever");
    let asset = bench
        .client
        .wait(&id, "the probe", |asset| asset["state"] == "ready");
    assert_eq!(asset["variants"], json!([]));
    for board in ["pi3", "x86", "rockpi4"] {
        enrol(&bench, board, json!({}));
    }
    let asset = bench.client.wait(&id, "the variants", |asset| {
        ["pi3", "x86", "rockpi4"]
            .iter()
            .all(|board| state(asset, board) == "done")
    });
    let [pi3, x86, rock] = ["pi3", "x86", "rockpi4"].map(|board| variant(&asset, board));
    assert_eq!(x86["key"], rock["key"], "equal targets");
    assert_ne!(pi3["key"], x86["key"]);
    assert_eq!(pi3["how"]["encoder"], "libx265");
    assert!(played(&bench, &id, "pi3").contains("pi3"));
    assert_eq!(played(&bench, &id, "x86"), played(&bench, &id, "rockpi4"));
    let rendering = bench.client.get("/api/variants").json();
    assert_eq!(
        (&rendering["done"], &rendering["unfinished"]),
        (&json!(2), &json!(0))
    );
    let status = bench.client.get("/api/status").json();
    assert_eq!(status["used"]["originals"], 8);
    let both = pi3["size"].as_u64().unwrap() + x86["size"].as_u64().unwrap();
    assert_eq!(status["used"]["variants"], both);

    // Who has none plays none, and what only it played goes.
    assert_eq!(bench.client.delete("/api/boards/pi3").status, 204);
    let asset = bench.client.asset(&id);
    assert_eq!(state(&asset, "pi3"), "none");
    assert_eq!(state(&asset, "x86"), "done");
    let pins = bench.store().pins("asset/").unwrap();
    assert_eq!(
        pins.iter()
            .filter(|pin| pin.name.contains("/variant/"))
            .count(),
        1
    );
    bench.client.delete("/api/boards/pi3").problem(404);
    bench
        .client
        .send("PUT", "/api/boards/none", &[], b"")
        .problem(404);
    bench
        .client
        .get(&format!("/api/assets/{id}/variants/pi3"))
        .problem(404);
}

#[test]
fn a_gate_renders_nothing_and_says_why() {
    let bench = start(GOOD);
    enrol(&bench, "pi3", json!({ "policy": "gate" }));
    let id = bench.client.upload("clip.webm", b"whatever");
    let asset = bench
        .client
        .wait(&id, "the probe", |asset| asset["state"] == "ready");
    assert_eq!(state(&asset, "pi3"), "rejected");
    let missing = bench.client.get(&format!("/api/assets/{id}/variants/pi3"));
    assert!(missing.problem(404).contains("vp9"));
    enrol(&bench, "pi3", json!({ "policy": "render" }));
    bench
        .client
        .wait(&id, "the variant", |asset| state(asset, "pi3") == "done");
    let boards = bench.client.get("/api/boards").json();
    let pi3 = boards
        .as_array()
        .unwrap()
        .iter()
        .find(|board| board["id"] == "pi3");
    assert_eq!(pi3.unwrap()["enrolled"]["policy"], "render");
}

#[test]
fn what_plays_is_the_original() {
    let plays = PROBE.replace("vp9", "h264").replace("Profile 0", "High");
    let script = worker(GOOD).replace(PROBE, &plays.replace("3840", "1280").replace("2160", "720"));
    let bench = Bench::with(&script, |config| config.streams = false);
    enrol(&bench, "pi3", json!({}));
    let id = bench.client.upload("clip.mkv", b"whatever");
    let asset = bench
        .client
        .wait(&id, "the probe", |asset| asset["state"] == "ready");
    assert_eq!(state(&asset, "pi3"), "original");
    let url = variant(&asset, "pi3")["url"].as_str().unwrap();
    assert_eq!(url, format!("/ipfs/{}", asset["cid"].as_str().unwrap()));
    assert_eq!(played(&bench, &id, "pi3"), "whatever");
}

#[test]
fn a_lease_that_ran_out_unnoticed_starts_nothing_twice() {
    let noted =
        r#"grep -o '"board":{"id":"[^"]*"' "$3/order.json" >> "$3/../../begun"; exec sleep 600"#;
    let bench = Bench::with(&worker(noted), |config| {
        config.streams = false;
        config.renders = 2;
        config.lease = Duration::from_secs(3600);
    });
    let begun = |board: &str| {
        let begun = std::fs::read_to_string(bench.data().join("begun")).unwrap_or_default();
        begun.lines().filter(|line| line.contains(board)).count()
    };
    let wait_begun = |board: &str| {
        let until = Instant::now() + http::PATIENCE;
        while begun(board) == 0 {
            assert!(Instant::now() < until, "{board}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    enrol(&bench, "pi3", json!({}));
    let id = bench.client.upload("clip.webm", b"whatever");
    wait_begun("pi3");
    // Somebody for whom it is much later takes it, and is gone at once.
    let work = bench
        .catalog()
        .claim(catalog::Lane::Render, "another", 1 << 52, 0);
    assert_eq!(work.unwrap().unwrap().asset, id);
    assert_eq!(state(&bench.client.asset(&id), "pi3"), "waiting");
    enrol(&bench, "x86", json!({}));
    wait_begun("x86");
    assert_eq!(begun("pi3"), 1);
    assert_eq!(state(&bench.client.asset(&id), "pi3"), "running");
}

#[test]
fn an_operator_stops_it_and_goes_on() {
    let bench = start(PATIENT);
    enrol(&bench, "pi3", json!({}));
    let id = bench.client.upload("clip.webm", b"whatever");
    let running = |asset: &Value| state(asset, "pi3") == "running";
    bench.client.wait(&id, "the start", running);

    for (body, of_all) in [
        (json!({ "paused": true }), false),
        (json!({ "paused": true }), true),
    ] {
        let at = Instant::now();
        let on = (!of_all).then_some(id.as_str());
        change(&bench, on, body);
        assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
        assert_eq!(state(&bench.client.asset(&id), "pi3"), "waiting");
        assert!(bench.files("work").is_empty());
        change(&bench, on, json!({ "paused": false }));
        bench.client.wait(&id, "the next start", running);
    }
    change(&bench, Some(&id), json!({ "cancel": true }));
    assert_eq!(state(&bench.client.asset(&id), "pi3"), "cancelled");
    assert_eq!(bench.client.get("/api/variants").json()["cancelled"], 1);
    assert!(bench.files("work").is_empty());
    bench.set_worker(&worker(GOOD));
    // Another board's is not meant.
    change(&bench, None, json!({ "retry": true, "board": "x86" }));
    assert_eq!(state(&bench.client.asset(&id), "pi3"), "cancelled");
    change(&bench, None, json!({ "retry": true, "board": "pi3" }));
    bench
        .client
        .wait(&id, "the variant", |asset| state(asset, "pi3") == "done");
}

#[test]
fn what_goes_wrong_is_said_with_the_end_of_the_log() {
    for (render, error, log) in [
        (
            "echo one >&2; echo two >&2; kill -SEGV $$",
            "SIGSEGV",
            "one\ntwo",
        ),
        (
            "echo three >&2; echo '{\"event\":\"failed\",\"message\":\"clip.webm: too dark\"}'",
            "clip.webm: too dark",
            "three",
        ),
        ("over", "made nothing", ""),
    ] {
        let bench = start(render);
        enrol(&bench, "pi3", json!({}));
        let id = bench.client.upload("clip.webm", b"whatever");
        let asset = bench
            .client
            .wait(&id, render, |asset| state(asset, "pi3") == "failed");
        let failed = variant(&asset, "pi3");
        assert!(
            failed["error"].as_str().unwrap().contains(error),
            "{failed:#}"
        );
        assert_eq!(failed["log"].as_str().unwrap_or_default(), log);
        let listed = bench.client.get("/api/variants").json();
        assert_eq!(listed["variants"][0]["state"], "failed", "{listed:#}");
        assert_eq!(listed["variants"][0]["name"], "clip.webm");
        bench.set_worker(&worker(GOOD));
        change(&bench, Some(&id), json!({ "retry": true }));
        bench
            .client
            .wait(&id, "the variant", |asset| state(asset, "pi3") == "done");
    }
}

#[test]
fn a_worker_that_dies_once_is_started_again() {
    let bench = start(
        "[ -e \"$3/../../died\" ] && { render \"$3\"; exit; }\ntouch \"$3/../../died\"\nkill -SEGV $$",
    );
    enrol(&bench, "pi3", json!({}));
    let id = bench.client.upload("clip.webm", b"whatever");
    bench
        .client
        .wait(&id, "the variant", |asset| state(asset, "pi3") == "done");
}

#[test]
fn a_changed_table_renders_what_it_concerns_at_the_next_start() {
    let mut bench = start(GOOD);
    for board in ["pi3", "x86"] {
        enrol(&bench, board, json!({}));
    }
    let id = bench.client.upload("clip.webm", b"whatever");
    let done = |asset: &Value| {
        ["pi3", "x86"]
            .iter()
            .all(|board| state(asset, board) == "done")
    };
    let before = bench.client.wait(&id, "the variants", done);
    bench.stop();
    let smaller =
        "[[board]]\nid = \"pi3\"\ntarget = { codec = \"h264\", size = \"1280x720\", fps = 30 }\n";
    std::fs::write(bench.data().join("boards.toml"), smaller).unwrap();

    // Until the new one is there, the old one is played.
    bench.set_worker(&worker(PATIENT));
    bench.start(|_| {});
    let asset = bench.client.wait(&id, "the rendering", |asset| {
        state(asset, "pi3") == "running"
    });
    assert_eq!(
        variant(&asset, "pi3")["url"],
        variant(&before, "pi3")["url"]
    );
    assert_ne!(
        variant(&asset, "pi3")["key"],
        variant(&before, "pi3")["key"]
    );
    assert_eq!(variant(&asset, "x86"), variant(&before, "x86"));
    bench.stop();

    // The table is followed while the server runs; a mistake in it changes nothing.
    bench.start(|_| {});
    std::fs::write(bench.data().join("boards.toml"), "nonsense").unwrap();
    std::fs::write(bench.data().join("boards.toml"), "").unwrap();
    bench.client.wait(&id, "the first target again", |asset| {
        variant(asset, "pi3")["key"] == variant(&before, "pi3")["key"]
            && state(asset, "pi3") == "done"
    });
    bench.stop();

    // Other settings concern both.
    bench.set_worker(&worker("sleep 0.1; render \"$3\"; "));
    bench.start(|config| config.quality = Some(30));
    let last = bench.client.wait(&id, "both anew", |asset| {
        done(asset) && variant(asset, "x86")["key"] != variant(&before, "x86")["key"]
    });
    assert_ne!(variant(&last, "pi3")["key"], variant(&asset, "pi3")["key"]);
    let pins = bench.store().pins("asset/").unwrap();
    let variants = pins.iter().filter(|pin| pin.name.contains("/variant/"));
    assert_eq!(variants.count(), 2, "{pins:#?}");
}

#[test]
fn the_machine_rests_between_two() {
    let bench = Bench::with(&worker(GOOD), |config| {
        config.streams = false;
        config.render_pause = Some(Duration::from_millis(700));
    });
    let id = bench.client.upload("clip.webm", b"whatever");
    bench
        .client
        .wait(&id, "the probe", |asset| asset["state"] == "ready");
    change(&bench, None, json!({ "paused": true }));
    for board in ["pi3", "x86"] {
        enrol(&bench, board, json!({}));
    }
    change(&bench, None, json!({ "paused": false }));
    let any = |asset: &Value| {
        ["pi3", "x86"]
            .iter()
            .any(|board| state(asset, board) == "done")
    };
    bench.client.wait(&id, "one", any);
    let at = Instant::now();
    bench.client.wait(&id, "both", |asset| {
        ["pi3", "x86"]
            .iter()
            .all(|board| state(asset, board) == "done")
    });
    assert!(
        at.elapsed() > Duration::from_millis(400),
        "{:?}",
        at.elapsed()
    );
}

#[test]
fn what_cannot_be_asked_for() {
    let bench = start(GOOD);
    let id = bench.client.upload("clip.webm", b"whatever");
    let of_it = format!("/api/assets/{id}/variants");
    for (method, path, body, status) in [
        ("PATCH", "/api/variants", "", 400),
        ("PATCH", "/api/variants", "{\"stop\":true}", 400),
        (
            "PATCH",
            "/api/variants",
            "{\"cancel\":true,\"retry\":true}",
            400,
        ),
        (
            "PATCH",
            of_it.as_str(),
            "{\"board\":\"none\",\"retry\":true}",
            400,
        ),
        ("PATCH", "/api/assets/none/variants", "{}", 404),
        ("GET", "/api/assets/none/variants", "", 404),
        ("PUT", "/api/boards/pi3", "{\"policy\":\"maybe\"}", 400),
        ("GET", "/api/assets?limit=0", "", 400),
        ("GET", "/api/assets?limit=x", "", 400),
        ("GET", "/api/assets?after=x", "", 400),
        ("GET", "/api/assets?state=x", "", 400),
    ] {
        bench
            .client
            .send(method, path, &[], body.as_bytes())
            .problem(status);
    }
}
