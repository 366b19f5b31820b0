//! Live streams with a worker that is told what to do: names, ends and removals, what is waited for,
//! parts, and webhooks.

mod bench;
mod http;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bench::Bench;
use http::{Client, PATIENCE};
use serde_json::{Value, json};

/// A worker that makes what `DATA/next` says, a line for each: `segment N`, `part N M`, `die`, `end`.
/// It says first what it was told of an earlier one, in `DATA/order`.
const LIVE: &str = r#"
part() {
    printf 'part %s %s' $1 $2 > "$folder/$1.$2.m4s"
    printf '{"event":"part","file":"%s.%s.m4s","part":{"rung":"360p","segment":%s,"index":%s,"duration":0.5,"independent":true,"codecs":"avc1.64001e"}}\n' $1 $2 $1 $2
}
segment() {
    printf 'segment %s' $1 > "$folder/$1.m4s"
    printf '{"event":"segment","file":"%s.m4s","segment":{"rung":"360p","index":%s,"start":%s,"duration":4.0,"codecs":"avc1.64001e"}}\n' $1 $1 $(($1 * 4))
}
folder=$3
data=$folder/../..
cp "$folder/order.json" "$data/order"
window=$(grep -o '"window_s":[0-9.a-z]*' "$folder/order.json")
parts=$(grep -o '"part_s":[0-9.a-z]*' "$folder/order.json")
printf '{"event":"plan","made_by":"a test","plan":{"container":"cmaf","duration_s":null,"segments":null,"target_duration":4,"frame_rate":25.0,"audio":[],%s,%s,"rungs":[{"name":"360p","width":640,"height":360,"bit_rate":800000,"max_rate":1200000,"buffer":1600000,"copied":false}]}}\n' "$window" "$parts"
printf init > "$folder/init.mp4"
echo '{"event":"init","rung":"360p","file":"init.mp4"}'
: >> "$data/next"
while [ ! -e "$folder/end" ]; do
    if mv "$data/next" "$folder/now" 2>/dev/null; then
        while read what one two; do
            case $what in
            segment) segment $one ;;
            part) part $one $two ;;
            die) kill -9 $$ ;;
            end) touch "$folder/end" ;;
            esac
        done < "$folder/now"
    fi
    sleep 0.02
done
echo '{"event":"done"}'
"#;

fn tell(bench: &Bench, lines: &str) {
    let new = bench.data().join("new");
    // What was told before must have been taken.
    let next = bench.data().join("next");
    let until = Instant::now() + PATIENCE;
    while std::fs::metadata(&next).is_ok_and(|file| file.len() > 0) {
        assert!(Instant::now() < until, "the worker takes no orders");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(&new, format!("{lines}\n")).unwrap();
    std::fs::rename(&new, &next).unwrap();
}

fn add(client: Client, more: Value) -> http::Answer {
    let mut asked = json!({ "name": "gate", "source": "rtsp://user:word@camera.lan/key" });
    asked
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    client.send("POST", "/api/streams", &[], asked.to_string().as_bytes())
}

/// Waits until the stream is as wanted.
#[track_caller]
fn wait(client: Client, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let stream = client.get("/api/streams/gate").json();
        if wanted(&stream) {
            return stream;
        }
        assert!(Instant::now() < until, "{what} did not come: {stream:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a playlist that has this.
#[track_caller]
fn playlist(client: Client, has: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = client.get("/streams/gate/360p/playlist.m3u8");
        if answer.status == 200 && answer.text().contains(has) {
            return answer.text();
        }
        assert!(
            Instant::now() < until,
            "{has} did not come: {}",
            answer.text()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_live_stream_from_its_beginning_to_its_end() {
    let bench = Bench::with(LIVE, |_| {});
    let client = bench.client;
    let mut events = client.events();
    let added = add(client, json!({}));
    assert_eq!(added.status, 201, "{}", added.text());
    assert_eq!(
        added.json()["source"],
        "rtsp://camera.lan",
        "no secrets are shown"
    );
    assert_eq!(
        add(client, json!({})).status,
        201,
        "the same again changes nothing"
    );
    add(client, json!({ "window_s": 60 })).problem(409);

    tell(&bench, "segment 0");
    wait(client, "the address", |stream| {
        stream["url"] == "/streams/gate/master.m3u8"
    });
    tell(&bench, "segment 1");
    let growing = playlist(client, "00001.m4s");
    assert!(growing.contains("#EXT-X-PLAYLIST-TYPE:EVENT"), "{growing}");
    // Told as it happened: each segment after the playlist that names it.
    let mut told = Vec::new();
    while told.last() != Some(&"segment 1".to_owned()) {
        let (name, data) = events.next();
        if name == "stream" {
            assert_eq!(data["stream"], "gate");
            let what = data["event"].as_str().unwrap();
            match what {
                "segment" => told.push(format!("segment {}", data["index"])),
                "playlist" => told.push(data["path"].as_str().unwrap().to_owned()),
                _ => told.push(what.to_owned()),
            }
        }
    }
    assert_eq!(told[..2], ["planned", "360p/playlist.m3u8"]);
    let first = told.iter().position(|what| what == "segment 0").unwrap();
    assert!(
        told[..first].contains(&"master.m3u8".to_owned()),
        "{told:?}"
    );

    // A worker that dies is started again, and told where to go on.
    tell(&bench, "die");
    wait(client, "word of it", |stream| {
        stream["waiting"]
            .as_str()
            .is_some_and(|why| why.contains("SIGKILL"))
    });
    tell(&bench, "segment 2");
    playlist(client, "00002.m4s");
    let order: Value =
        serde_json::from_slice(&std::fs::read(bench.data().join("order")).unwrap()).unwrap();
    let next = &order["task"]["live"]["next"];
    assert_eq!(
        next,
        &json!([{ "rung": "360p", "number": 2, "start_s": 8.0 }])
    );

    // It ends, and can be watched as a whole.
    assert_eq!(client.delete("/api/streams/gate?keep=true").status, 202);
    wait(client, "the end", |stream| stream["state"] == "ended");
    let whole = playlist(client, "#EXT-X-ENDLIST");
    assert!(whole.contains("#EXT-X-PLAYLIST-TYPE:VOD"), "{whole}");
    assert_eq!(
        whole
            .lines()
            .filter(|line| line.starts_with("/ipfs/"))
            .count(),
        3
    );

    assert_eq!(client.delete("/api/streams/gate").status, 204);
    client.get("/api/streams/gate").problem(404);
    client.get("/streams/gate/master.m3u8").problem(404);
    client.delete("/api/streams/gate").problem(404);
    assert!(bench.store().pins("stream/").unwrap().is_empty());
    assert!(bench.files("work").is_empty());
}

#[test]
fn a_live_stream_goes_on_with_the_next_server() {
    let mut bench = Bench::with(LIVE, |_| {});
    assert_eq!(add(bench.client, json!({ "window_s": 12 })).status, 201);
    tell(&bench, "segment 0");
    wait(bench.client, "the address", |stream| {
        stream["url"].is_string()
    });
    bench.stop();
    bench.start(|_| {});
    tell(&bench, "segment 1");
    let text = playlist(bench.client, "00001.m4s");
    assert!(
        text.contains("00000.m4s") && !text.contains("PLAYLIST-TYPE"),
        "{text}"
    );
    // Told to end while no server was there to hear of it.
    bench.stop();
    bench.catalog().end_live("gate").unwrap();
    bench.start(|_| {});
    playlist(bench.client, "#EXT-X-ENDLIST");
    wait(bench.client, "the end", |stream| stream["state"] == "ended");
}

/// Starts a request and gives its answer when it comes.
fn asking(client: Client, path: String) -> Receiver<(Duration, http::Answer)> {
    let (sender, answers) = channel();
    std::thread::spawn(move || {
        let began = Instant::now();
        let answer = client.get(&path);
        let _ = sender.send((began.elapsed(), answer));
    });
    answers
}

const RUNG: &str = "/streams/gate/360p";

#[test]
fn players_wait_for_parts_and_playlists() {
    let bench = Bench::with(LIVE, |_| {});
    let client = bench.client;
    assert_eq!(
        add(client, json!({ "low_latency": true, "window_s": 60 })).status,
        201
    );
    tell(&bench, "segment 0\npart 1 0");
    let text = playlist(client, "00001.0.m4s");
    for line in [
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.500000,HOLD-BACK=12",
        "#EXT-X-PART-INF:PART-TARGET=0.500000",
        "#EXT-X-PART:DURATION=0.500000,URI=\"00001.0.m4s\",INDEPENDENT=YES",
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"00001.1.m4s\"",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(
        client.get(&format!("{RUNG}/00001.0.m4s")).text(),
        "part 1 0"
    );

    // The part that is announced, and the playlists that have it and the next segment.
    let part = asking(client, format!("{RUNG}/00001.1.m4s"));
    let with_part = asking(
        client,
        format!("{RUNG}/playlist.m3u8?_HLS_msn=1&_HLS_part=1"),
    );
    let with_segment = asking(client, format!("{RUNG}/playlist.m3u8?_HLS_msn=1"));
    let there = client.get(&format!("{RUNG}/playlist.m3u8?_HLS_msn=1&_HLS_part=0"));
    assert_eq!(there.status, 200, "what is there is not waited for");
    for waiting in [&part, &with_part, &with_segment] {
        let early = waiting.recv_timeout(Duration::from_millis(300));
        assert!(early.is_err(), "answered before it was there: {early:?}");
    }
    tell(&bench, "part 1 1");
    let (_, answer) = part.recv_timeout(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "part 1 1"));
    assert_eq!(answer.header("content-type"), Some("video/mp4"));
    let (_, answer) = with_part.recv_timeout(PATIENCE).unwrap();
    assert!(answer.text().contains("00001.1.m4s"), "{}", answer.text());
    assert!(
        with_segment
            .recv_timeout(Duration::from_millis(100))
            .is_err()
    );
    tell(&bench, "segment 1");
    let (_, answer) = with_segment.recv_timeout(PATIENCE).unwrap();
    assert!(answer.text().contains("00001.m4s"), "{}", answer.text());

    // The first part of the segment after the next is not known of; too far ahead is refused.
    client.get(&format!("{RUNG}/00003.5.m4s")).problem(404);
    client
        .get(&format!("{RUNG}/playlist.m3u8?_HLS_msn=4"))
        .problem(400);
    client
        .get(&format!("{RUNG}/playlist.m3u8?_HLS_part=1"))
        .problem(400);

    // What does not come is given up, after three times the longest segment.
    let late = asking(client, format!("{RUNG}/playlist.m3u8?_HLS_msn=2"));
    let (waited, answer) = late.recv_timeout(PATIENCE).unwrap();
    answer.problem(503);
    assert!(waited >= Duration::from_secs(12), "{waited:?}");

    // At the end nobody is left waiting.
    let last = asking(client, format!("{RUNG}/playlist.m3u8?_HLS_msn=2"));
    assert!(last.recv_timeout(Duration::from_millis(300)).is_err());
    tell(&bench, "end");
    let (_, answer) = last.recv_timeout(PATIENCE).unwrap();
    assert_eq!(answer.status, 200);
    playlist(client, "#EXT-X-ENDLIST");
}

#[test]
fn a_stream_has_a_webhook_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, told) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            loop {
                let (mut length, mut signed) = (0, false);
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        break;
                    }
                    let lower = line.to_ascii_lowercase();
                    signed |= lower.starts_with("x-kinora-signature: sha256=");
                    if let Some(value) = lower.strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                }
                if length == 0 {
                    break;
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                sender.send((signed, body)).unwrap();
                connection
                    .write_all(b"HTTP/1.1 204 told\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
        }
    });
    let bench = Bench::with(LIVE, |_| {});
    let hook = json!({ "webhook": { "url": url, "secret": "s" } });
    let added = add(bench.client, hook);
    assert_eq!(added.status, 201, "{}", added.text());
    assert!(!added.text().contains("secret"), "{}", added.text());
    tell(&bench, "segment 0\nend");
    let mut said = Vec::new();
    while said.last() != Some(&"ended".to_owned()) {
        let (signed, message) = told.recv_timeout(PATIENCE).unwrap();
        assert!(signed && message["stream"] == "gate", "{message}");
        said.push(message["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(said.iter().filter(|what| *what == "segment").count(), 1);
    assert_eq!(said[0], "planned");
}
