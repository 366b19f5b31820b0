//! Workers that crash, hang, lie and flood: each becomes a message about the file, and the next
//! job is done all the same.

mod bench;
mod http;

use std::time::Duration;

use bench::{A_VIDEO, Bench};
use serde_json::Value;

/// Runs one upload against a worker that does this when it is to probe.
#[track_caller]
fn check_probe(worker: &str, expected: &[&str]) {
    let script = format!("case $2 in\nprobe)\n{worker}\n;;\n*) exec sleep 600 ;;\nesac");
    let bench = Bench::with(&script, |config| config.look_limit = Duration::from_secs(2));
    let id = bench.client.upload("the%20file.mp4", b"whatever");
    let asset = bench
        .client
        .wait(&id, worker, |asset| asset["state"] == "failed");
    let error = asset["error"].as_str().unwrap();
    assert!(error.starts_with("the file.mp4: "), "{worker}: {error}");
    for part in expected {
        assert!(error.contains(part), "{worker}: {error}");
    }
    assert!(
        error.len() < 4000 && !error.contains('\n'),
        "{worker}: {error}"
    );
    assert_eq!(asset["stream"], Value::Null);
    // The original is still there.
    let file = bench.client.get(&format!("/api/assets/{id}/file"));
    assert_eq!(
        bench.client.get(file.header("location").unwrap()).text(),
        "whatever"
    );
    assert!(bench.files("work").is_empty());
}

#[test]
fn probes_that_go_wrong() {
    for (worker, expected) in [
        ("kill -SEGV $$", &["crashed", "SIGSEGV"][..]),
        ("kill -KILL $$", &["crashed", "SIGKILL"]),
        (
            "echo 'a library said this' >&2; kill -ABRT $$",
            &["SIGABRT", "a library said this"],
        ),
        ("exit 3", &["code 3"]),
        ("exit 0", &["code 0"]),
        ("echo nonsense; sleep 600", &["something else than agreed"]),
        (
            "echo '{\"event\":\"unheard of\"}'; sleep 600",
            &["something else than agreed"],
        ),
        ("printf '{\"event\":'", &["code 0"]),
        (
            "printf '{\"event\":'; kill -KILL $$",
            &["crashed", "SIGKILL"],
        ),
        // With an answer that it has not read, and before it can be answered.
        (
            "echo '{\"event\":\"wanted\",\"key\":\"x\"}'; sleep 0.5; kill -KILL $$",
            &["crashed", "SIGKILL"],
        ),
        (
            "echo '{\"event\":\"wanted\",\"key\":\"x\"}'; kill -KILL $$",
            &["crashed", "SIGKILL"],
        ),
        (
            "echo '{\"event\":\"failed\",\"message\":\"the file.mp4: too dark\"}'",
            &["too dark"],
        ),
        ("exec sleep 600", &["gave up", "2 s"]),
        // It would live on if only the shell were killed and not what it became.
        ("while :; do echo spam >&2; done", &["gave up"]),
        (
            "exec yes '{\"event\":\"progress\",\"fraction\":0,\"media_s\":0,\"speed\":0,\"eta_s\":null}'",
            &["gave up"],
        ),
        (
            "head -c 20000000 /dev/zero | tr '\\0' x; sleep 600",
            &["something else than agreed"],
        ),
        (
            "echo '{\"event\":\"done\"}'; exec sleep 600",
            &["found nothing"],
        ),
    ] {
        check_probe(worker, expected);
    }
}

#[test]
fn a_worker_that_cannot_be_started() {
    let bench = Bench::with("", |config| config.worker = Some("/nowhere/kinora".into()));
    let id = bench.client.upload("clip.mp4", b"whatever");
    let asset = bench
        .client
        .wait(&id, "the failure", |asset| asset["state"] == "failed");
    let error = asset["error"].as_str().unwrap();
    assert!(
        error.starts_with("clip.mp4: cannot start the worker"),
        "{error}"
    );
}

const PLAN: &str = r#"{"event":"plan","made_by":"a test","plan":{"container":"ts","duration_s":8.0,"segments":2,"target_duration":4,"frame_rate":25.0,"audio":[],"rungs":[{"name":"360p","width":640,"height":360,"bit_rate":800000,"max_rate":1200000,"buffer":1600000,"copied":false}]}}"#;

fn segment(number: u32, file: &str) -> String {
    format!(
        r#"{{"event":"segment","file":"{file}","segment":{{"rung":"360p","index":{number},"start":0.0,"duration":4.0,"codecs":"avc1.64001e"}}}}"#
    )
}

/// A worker whose ladder says these lines after its plan.
fn ladder(lines: &str) -> String {
    format!(
        "case $2 in\nprobe) echo '{A_VIDEO}'; echo '{{\"event\":\"done\"}}' ;;\nthumbnail) exit 1 ;;\nladder)\necho '{PLAN}'\n{lines}\n;;\nesac"
    )
}

#[test]
fn ladders_that_go_wrong() {
    let first = format!("printf one > \"$3/0.ts\"; echo '{}'", segment(0, "0.ts"));
    let done = "echo '{\"event\":\"done\"}'";
    for (lines, expected) in [
        (format!("{first}\nkill -SEGV $$"), "SIGSEGV"),
        (format!("{first}\nexec sleep 600"), "the worker hangs"),
        (format!("{first}\n{done}"), "after 1 of 2 segments"),
        (done.to_owned(), "after 0 of 2 segments"),
        (
            format!("printf x > \"$3/1.ts\"; echo '{}'", segment(1, "1.ts")),
            "where 0 comes next",
        ),
        // Whatever took the worker over gets no other file into the store.
        (
            format!("echo '{}'; sleep 600", segment(0, "../../catalog.db")),
            "no file of its folder",
        ),
        (
            format!("echo '{}'; sleep 600", segment(0, "/etc/passwd")),
            "no file of its folder",
        ),
        (
            format!(
                "ln -s /etc/passwd \"$3/0.ts\"; echo '{}'; sleep 600",
                segment(0, "0.ts")
            ),
            "no file of its folder",
        ),
        (
            format!(
                "printf x > \"$3/0.ts\"; echo '{}'",
                segment(0, "0.ts").replace("360p", "1080p")
            ),
            "an unplanned rendition",
        ),
    ] {
        let bench = Bench::with(&ladder(&lines), |config| {
            config.silence_limit = Duration::from_secs(2)
        });
        let client = bench.client;
        let id = client.upload("the%20file.mp4", b"whatever");
        let asset = client.wait(&id, &lines, |asset| asset["stream"]["state"] == "failed");
        let error = asset["stream"]["error"].as_str().unwrap();
        assert!(
            error.starts_with("the file.mp4: ") && error.contains(expected),
            "{lines}: {error}"
        );
        // What the file is stays known, and a missing thumbnail is no failure.
        assert_eq!(asset["state"], "ready");

        // Asked again with a worker that behaves, it goes on.
        let there = asset["stream"]["rungs"][0]["segments"].as_u64().unwrap();
        let mut rest = String::new();
        for number in there..2 {
            let line = segment(number as u32, &format!("{number}.ts"));
            rest.push_str(&format!(
                "printf {number} > \"$3/{number}.ts\"; echo '{line}'\n"
            ));
        }
        bench.set_worker(&ladder(&format!("{rest}{done}")));
        assert_eq!(
            client
                .send("PUT", &format!("/api/assets/{id}/stream"), &[], b"")
                .status,
            200
        );
        client.wait(&id, "the retry", |asset| asset["stream"]["state"] == "done");
        assert!(bench.files("work").is_empty());
    }
}

/// One bad file does not keep others waiting.
#[test]
fn probes_go_on_beside_a_stream_that_hangs() {
    let bench = Bench::with(&ladder("exec sleep 600"), |_| {});
    let first = bench.client.upload("first.mp4", b"one");
    bench.client.wait(&first, "the stream", |asset| {
        asset["stream"]["state"] == "running"
    });
    let second = bench.client.upload("second.mp4", b"two");
    let asset = bench
        .client
        .wait(&second, "the probe", |asset| asset["state"] == "ready");
    assert_eq!(asset["stream"]["state"], "waiting");
}

/// A worker is not asked to tidy up, and none outlives the server.
#[test]
fn workers_end_with_the_server() {
    let mut bench = Bench::with(
        &ladder("echo $$ > \"$3/../../pid\"; exec sleep 600"),
        |_| {},
    );
    let id = bench.client.upload("first.mp4", b"one");
    bench.client.wait(&id, "the plan", |asset| {
        asset["stream"]["rungs"][0].is_object()
    });
    let mut pid = String::new();
    while pid.is_empty() {
        pid = std::fs::read_to_string(bench.data().join("pid")).unwrap_or_default();
    }
    bench.stop();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    assert!(stat.is_err(), "{stat:?}");
    assert!(bench.files("work").is_empty());
    let asset = bench.catalog().asset(&id, 0).unwrap().unwrap();
    assert_eq!(asset.stream.unwrap().error, None);
}

/// A worker sees no store; what was made before it is told when it asks.
#[test]
fn a_worker_asks_for_what_was_made_before() {
    let first = segment(0, "0.ts").replace("\"rung\"", "\"key\":\"k1\",\"rung\"");
    let lines = format!(
        r#"printf one > "$3/0.ts"; echo '{first}'
ask() {{ echo "{{\"event\":\"wanted\",\"key\":\"$1\"}}"; read -r line <&1; echo "$line" >> "$3/../../answers"; }}
ask k2 x "$3"
ask k1 x "$3"
head -c 3 <&1 >> "$3/../../answers"
printf two > "$3/1.ts"; echo '{}'; echo '{{"event":"done"}}'"#,
        segment(1, "1.ts")
    );
    let bench = Bench::with(&ladder(&lines), |_| {});
    let id = bench.client.upload("clip.mp4", b"whatever");
    bench.client.wait(&id, "the stream", |asset| {
        assert_eq!(asset["stream"]["error"], Value::Null);
        asset["stream"]["state"] == "done"
    });
    let answers = std::fs::read_to_string(bench.data().join("answers")).unwrap();
    let lines: Vec<&str> = answers.lines().collect();
    let answer = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    assert_eq!(answer(lines[0])["bytes"], 0);
    let found = answer(lines[1]);
    assert_eq!(
        (&found["bytes"], &found["init"]),
        (&Value::from(3), &Value::Null)
    );
    assert_eq!(
        (&found["duration"], &found["codecs"]),
        (&4.0.into(), &"avc1.64001e".into())
    );
    assert_eq!(lines[2], "one");
}
