//! Several servers on one PostgreSQL, their bytes in one bucket: they share the rendering, whoever
//! dies or stands still.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http::{Client, PATIENCE};
use crate::postgres::{self, Database};
use crate::process::{Server, clip, kinora};
use crate::servers::{Moto, skipped};

const ASSETS: usize = 10;
const BOARDS: usize = 20;
const JOBS: usize = ASSETS * BOARDS;

/// Seconds; each of the servers may be slow for longer than that only when it is stopped.
const LEASE: &str = "10";

/// What is published is noted, whoever does it and however often.
const WATCH: &str = "
    CREATE TABLE published (asset TEXT, key TEXT, home TEXT);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO published VALUES (NEW.asset, NEW.key, NEW.home); RETURN NEW; END $$;
    CREATE TRIGGER note AFTER UPDATE ON variants FOR EACH ROW
        WHEN (NEW.cid IS NOT NULL AND (OLD.cid IS DISTINCT FROM NEW.cid
                                       OR OLD.finished IS DISTINCT FROM NEW.finished))
        EXECUTE FUNCTION note();";

/// Boards that want a video in so many sizes.
fn boards() -> String {
    let mut table = String::new();
    for number in 0..BOARDS {
        let side = 64 + 8 * number;
        write!(
            table,
            "[[board]]\nid = \"screen{number}\"\nname = \"Screen {number}\"\n\
             decodes = [{{ codec = \"h264\", size = \"1920x1080\", fps = 30 }}]\n\
             target = {{ codec = \"h264\", size = \"{side}x{side}\", fps = 30 }}\n\
             output = {{ vo = \"gpu\" }}\n"
        )
        .unwrap();
    }
    table
}

fn start(data: &Path, database: &Database<'_>, moto: &Moto, name: &str) -> Server {
    let store = format!("{}&others=kinora", moto.url(&format!("kinora/{name}")));
    start_over(&data.join(name), database, &store, LEASE)
}

fn start_over(data: &Path, database: &Database<'_>, store: &str, lease: &str) -> Server {
    std::fs::create_dir(data).unwrap();
    std::fs::write(data.join("boards.toml"), boards()).unwrap();
    let url = database.url();
    let arguments = [
        "--database",
        &url,
        "--store",
        store,
        "--lease",
        lease,
        "--policy",
        "render",
        "--render-pause",
        "0",
        "--no-streams",
    ];
    Server::start_with(data, &arguments)
}

/// Waits until the database answers as wanted, as long as its answers change.
#[track_caller]
fn wait(database: &Database<'_>, sql: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut last = (String::new(), Instant::now());
    loop {
        let answer = database.ask(sql);
        if wanted(&answer) {
            return answer;
        }
        if answer != last.0 {
            last = (answer, Instant::now());
        }
        let left = last.1.elapsed() < PATIENCE;
        assert!(left, "{sql}: {}\n{}", last.0, unfinished(database));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(server: &Server, name: &str) {
    let pid = server.pid().to_string();
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid])
        .status();
    assert!(sent.unwrap().success());
}

/// Stops the server while it renders something, and gives back the name of its lease.
fn stop_at_work(server: &Server, database: &Database<'_>, home: &str) -> String {
    let held =
        format!("SELECT work FROM leases WHERE holder LIKE '{home}/%' AND work LIKE 'render:%'");
    loop {
        wait(database, &held, |work| !work.is_empty());
        signal(server, "STOP");
        // It may just have been done with that.
        let work = database.ask(&held);
        if !work.is_empty() {
            return work;
        }
        signal(server, "CONT");
    }
}

#[test]
fn three_servers_share_the_work_though_one_dies_and_one_stands_still() {
    let Some(postgres) = postgres::server() else {
        return;
    };
    let Some(moto) = Moto::start() else {
        return skipped("moto_server");
    };
    let database = postgres.database();
    let folder = tempfile::tempdir().unwrap();
    let (a, b, c) = (
        start(folder.path(), &database, &moto, "a"),
        start(folder.path(), &database, &moto, "b"),
        start(folder.path(), &database, &moto, "c"),
    );
    kinora(a.client, &["variants", "pause"]);
    let mut homes = BTreeMap::new();
    for number in 0..ASSETS {
        let source = format!("testsrc2=size=640x{}", 480 + 2 * number);
        let video = ["-f", "lavfi", "-i", &source, "-frames:v", "1"];
        let name = format!("{number}.avi");
        let video = std::fs::read(clip(folder.path(), &name, &video)).unwrap();
        let server = [&a, &b, &c][number % 3];
        let id = server.client.upload(&name, &video);
        let home = database.ask(&format!("SELECT home FROM assets WHERE id = '{id}'"));
        homes.insert(number % 3, home);
    }
    assert_eq!(
        homes.values().collect::<BTreeSet<_>>().len(),
        3,
        "{homes:?}"
    );
    for number in 0..BOARDS {
        kinora(b.client, &["boards", "enrol", &format!("screen{number}")]);
    }
    let is = |number: usize| move |answer: &str| answer == number.to_string();
    wait(&database, "SELECT count(*) FROM variants", is(JOBS));
    wait(
        &database,
        "SELECT count(*) FROM assets WHERE shared = 1",
        is(ASSETS),
    );
    database.ask(WATCH);
    // What one server is told the others do.
    kinora(c.client, &["variants", "resume"]);

    let by_each = "SELECT count(DISTINCT home) FROM published";
    wait(&database, by_each, is(3));
    stop_at_work(&c, &database, &homes[&2]);
    c.kill();
    let work = stop_at_work(&b, &database, &homes[&1]);
    let lease = format!("SELECT holder FROM leases WHERE work = '{work}'");
    let taken = wait(&database, &lease, |holder| !holder.starts_with(&homes[&1]));
    assert!(taken.is_empty() || taken.starts_with(&homes[&0]), "{taken}");
    signal(&b, "CONT");

    let left = "SELECT count(*) FROM variants WHERE cid IS NULL";
    wait(&database, left, is(0));
    assert_eq!(
        database.ask("SELECT count(*) FROM variants WHERE error IS NOT NULL"),
        "0"
    );
    assert_eq!(
        database.ask("SELECT count(*) FROM published"),
        JOBS.to_string()
    );
    let once = "SELECT count(*) FROM (SELECT DISTINCT asset, key FROM published) p";
    assert_eq!(database.ask(once), JOBS.to_string());
    // Both that live have all of it, also what the dead one made and had.
    let cids = database.ask("SELECT cid FROM variants UNION SELECT cid FROM assets ORDER BY 1");
    for (number, cid) in cids.lines().enumerate() {
        there([a.client, b.client][number % 2], cid);
    }
    // The revived server takes part again.
    let id = b.client.upload(
        "last.avi",
        &std::fs::read(folder.path().join("0.avi")).unwrap(),
    );
    wait(
        &database,
        &format!("SELECT count(*) FROM variants WHERE asset = '{id}' AND cid IS NOT NULL"),
        is(BOARDS),
    );
    // What one removes is gone everywhere.
    assert_eq!(a.client.delete(&format!("/api/assets/{id}")).status, 204);
    assert_eq!(b.client.get(&format!("/api/assets/{id}")).status, 404);
    wait(
        &database,
        &format!("SELECT count(*) FROM assets WHERE id = '{id}'"),
        is(0),
    );

    // Another catalog would want nothing of what is in the folder.
    let other = postgres.database();
    refused(&folder.path().join("c"), None, "is in a database");
    refused(
        &folder.path().join("c"),
        Some(&other.url()),
        "is in another database",
    );

    // Each data folder agrees with the common catalog.
    for (server, name) in [(a, "a"), (b, "b")] {
        signal(&server, "TERM");
        server.ended();
        let store = format!("{}&others=kinora", moto.url(&format!("kinora/{name}")));
        let checked = Command::new(env!("CARGO_BIN_EXE_kinora"))
            .args([
                "fsck",
                "--database",
                &database.url(),
                "--store",
                &store,
                "--data",
            ])
            .arg(folder.path().join(name))
            .arg("--repair")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{name}: {said}");
        assert!(
            !said.contains("original-there") && !said.contains("variant-there"),
            "{said}"
        );
    }
}

#[track_caller]
fn refused(data: &Path, database: Option<&str>, why: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(database.map(|url| format!("--database={url}")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[track_caller]
fn there(client: Client, cid: &str) {
    let answer = client.get(&format!("/ipfs/{cid}"));
    assert_eq!(answer.status, 200, "{cid}: {}", answer.text());
    let (found, _) = store::cid_of(answer.body.as_slice()).unwrap();
    assert_eq!(found.to_string(), cid);
}

fn unfinished(database: &Database<'_>) -> String {
    database.ask(
        "SELECT v.asset, v.key, v.starts, v.error, l.holder FROM variants v
         LEFT JOIN leases l ON l.work = 'render:' || v.asset || '.' || v.key WHERE v.cid IS NULL",
    )
}

/// Carries connections to a port, and holds those that ask for an original of `kinora/a`.
fn gate(port: u16, open: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let here = listener.local_addr().unwrap().port();
    let open = Arc::clone(open);
    std::thread::spawn(move || {
        for asks in listener.incoming() {
            let (mut asks, mut answers) = (
                asks.unwrap(),
                TcpStream::connect(("127.0.0.1", port)).unwrap(),
            );
            let (mut back, mut from) = (asks.try_clone().unwrap(), answers.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut back));
            let open = Arc::clone(&open);
            std::thread::spawn(move || {
                let mut piece = [0; 1 << 16];
                while let Ok(length @ 1..) = asks.read(&mut piece) {
                    let held = String::from_utf8_lossy(&piece[..length])
                        .contains("GET /media/kinora/a/obj");
                    while held && !open.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    if answers.write_all(&piece[..length]).is_err() {
                        break;
                    }
                }
                let _ = answers.shutdown(Shutdown::Write);
            });
        }
    });
    here
}

#[test]
fn an_original_that_takes_longer_than_a_lease_costs_none() {
    let Some(postgres) = postgres::server() else {
        return;
    };
    let Some(moto) = Moto::start() else {
        return skipped("moto_server");
    };
    let database = postgres.database();
    let folder = tempfile::tempdir().unwrap();
    let open = Arc::new(AtomicBool::new(false));
    let a = start(folder.path(), &database, &moto, "a");
    let store = format!("{}&others=kinora", moto.url("kinora/b"));
    let through = format!(":{}&", gate(moto.port(), &open));
    let store = store.replace(&format!(":{}&", moto.port()), &through);
    let b = start_over(&folder.path().join("b"), &database, &store, "2");
    kinora(b.client, &["variants", "pause"]);
    let video = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x240",
        "-frames:v",
        "1",
    ];
    let video = std::fs::read(clip(folder.path(), "clip.avi", &video)).unwrap();
    a.client.upload("clip.avi", &video);
    kinora(b.client, &["boards", "enrol", "screen0"]);
    wait(&database, "SELECT count(*) FROM variants", |is| is == "1");
    wait(&database, "SELECT shared FROM assets", |is| is == "1");
    a.kill();
    kinora(b.client, &["variants", "resume"]);

    // Its job waits for the bucket and for nothing else; all that time others see a lease.
    let lease = "SELECT until FROM leases WHERE work LIKE 'render:%'";
    let mut until = wait(&database, lease, |is| !is.is_empty());
    for _ in 0..3 {
        until = wait(&database, lease, |is| !is.is_empty() && *is != until);
    }
    open.store(true, Ordering::Relaxed);
    wait(&database, "SELECT count(cid) FROM variants", |is| is == "1");
}

#[test]
fn a_database_that_is_away_is_said_and_waited_for() {
    let Some(postgres) = postgres::server().and_then(|_| postgres::Postgres::start()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let url = postgres.database().url();
    let server = Server::start_with(folder.path(), &["--database", &url]);
    assert_eq!(server.client.get("/api/assets").status, 200);
    drop(postgres);
    let detail = server.client.get("/api/assets").problem(503);
    assert!(detail.contains("try again later"), "{detail}");
    signal(&server, "TERM");
    server.ended();
}

#[test]
fn a_database_that_cannot_be_used_is_said_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kinora"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .env(
            "KINORA_DATABASE",
            "postgres://kinora:hush@127.0.0.1:1/kinora",
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !said.contains("hush"), "{said}");
    assert!(
        said.contains("kinora at 127.0.0.1:1") && said.contains("refused"),
        "{said}"
    );
}
