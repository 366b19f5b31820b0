//! What a machine that renders still has left: a software playback and the page beside a render by the
//! server, and beside the same worker with the isolation off; and the page with ten thousand assets.
//!
//! mpv plays into nothing at the clip's own pace and counts what it drops, while somebody asks for the
//! page twenty times a second. The render takes longer than the playback, or the figures would be of an
//! idle machine: a slow preset sees to that, and the state is looked at afterwards.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Bench, Table, assets};

/// A board that decodes no H.264 by its hardware, so that the clip becomes HEVC.
const BOARD: &str = "/api/boards/pi5";
/// So slow that a render outlasts the playback of its source.
const PRESET: &str = "slow";
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(50);
/// How long is waited for the server to begin with something.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells at the end what mpv dropped before and after decoding.
const DROPS: &str = r#"
local drops = {}
for _, name in ipairs({ "frame-drop-count", "decoder-frame-drop-count" }) do
    drops[name] = 0
    mp.observe_property(name, "number", function(_, count) drops[name] = count or drops[name] end)
end
mp.register_event("shutdown", function()
    local sum = drops["frame-drop-count"] + drops["decoder-frame-drop-count"]
    io.stdout:write("dropped " .. sum .. "\n")
end)
"#;

pub fn run(bench: &Bench, source: &Path, table: &mut Table) -> Result<()> {
    let data = bench.fresh("beside")?;
    let script = bench.path("drops.lua");
    fs::write(&script, DROPS)?;
    let server = Server::start(bench, &data)?;
    let added = server.ask("POST", "/api/assets?name=clip.mp4", &fs::read(source)?)?;
    let added: Value = serde_json::from_slice(&added)?;
    let asset = format!("/api/assets/{}", added["id"].as_str().context("no asset")?);
    server.wait(&asset, |asset| asset["state"] == "ready")?;
    let alone = server.measure(source, &script)?;

    server.ask("PUT", BOARD, b"{\"policy\":\"render\"}")?;
    let renders = |asset: &Value| asset["variants"][0]["state"] == "running";
    server.wait(&asset, renders)?;
    let beside = server.measure(source, &script)?;
    let still: Value = serde_json::from_slice(&server.ask("GET", &asset, b"")?)?;
    ensure!(
        renders(&still),
        "the render ended before the playback: {still}"
    );
    server.ask("DELETE", BOARD, b"")?;

    let mut bare = Ended(
        assets::worker(bench, source, PRESET, true)?
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start a worker")?,
    );
    let beside_bare = server.measure(source, &script)?;
    ensure!(
        bare.0.try_wait()?.is_none(),
        "the worker ended before the playback"
    );

    for (how, seen, goal) in [
        ("a render", &beside, "<= 0"),
        ("one without isolation", &beside_bare, "-"),
    ] {
        let what = format!("playback beside {how}: dropped, less alone");
        table.difference(what, seen.dropped, alone.dropped, "", goal);
    }
    for (how, seen, goal) in [
        ("alone", &alone, "-"),
        ("and a render", &beside, "<= 50 ms"),
        ("and one without isolation", &beside_bare, "-"),
    ] {
        let what = format!("page beside a playback {how}: 99th percentile");
        table.absolute(what, seen.page_ms, "ms", goal);
    }
    Ok(())
}

/// Lists, searches and pages of ten thousand assets, by the server's own test in a build as it is
/// shipped.
pub fn many(bench: &Bench, table: &mut Table) -> Result<()> {
    let tested = Command::new("cargo")
        .args([
            "test",
            "--quiet",
            "--release",
            "--locked",
            "-p",
            "server",
            "--test",
            "many",
        ])
        .args(["--", "--nocapture"])
        .current_dir(&bench.root)
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&tested.stderr);
    ensure!(tested.status.success(), "ten thousand assets: {said}");
    let rows = said.lines().filter_map(|line| {
        let (path, took) = line.strip_prefix('/')?.rsplit_once(": ")?;
        Some((path.to_owned(), took.strip_suffix(" ms")?.parse().ok()?))
    });
    for (path, took) in rows {
        table.absolute(format!("10,000 assets: /{path}"), took, "ms", "<= 100 ms");
    }
    Ok(())
}

/// What was seen during one playback.
struct Seen {
    dropped: f64,
    /// The time within which 99 of 100 requests were answered.
    page_ms: f64,
}

/// A child that is killed when nobody needs it any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    address: SocketAddr,
    _child: Ended,
}

impl Server {
    fn start(bench: &Bench, data: &Path) -> Result<Self> {
        let mut child = Command::new(&bench.kinora)
            .args(["serve", "--listen", "127.0.0.1:0", "--no-streams"])
            .args(["--preset", PRESET, "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start kinora")?;
        let mut line = String::new();
        let out = child.stdout.take().context("piped")?;
        let child = Ended(child);
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().rsplit('/').next().unwrap_or_default();
        Ok(Self {
            address: address.parse().with_context(|| line.clone())?,
            _child: child,
        })
    }

    /// The body of the answer to one request over a connection of its own.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut connection = TcpStream::connect(self.address)?;
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )?;
        connection.write_all(body)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.context("an answer without an end of its head")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        ensure!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {head}");
        Ok(answer.split_off(end + 4))
    }

    fn wait(&self, asset: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if wanted(&serde_json::from_slice(&self.ask("GET", asset, b"")?)?) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        bail!("the server does not get on with {asset}")
    }

    /// Plays the clip once and asks for the page meanwhile.
    fn measure(&self, clip: &Path, script: &Path) -> Result<Seen> {
        let mut player = Command::new("mpv");
        player
            .args(["--no-config", "--vo=null", "--ao=null", "--hwdec=no"])
            .args(["--really-quiet", "--no-ytdl"])
            .arg(format!("--script={}", script.display()))
            .arg(clip)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut player = Ended(player.spawn().context("cannot start mpv")?);
        let mut out = player.0.stdout.take().context("piped")?;
        let mut times = Vec::new();
        while player.0.try_wait()?.is_none() {
            for path in ["/", "/api/assets"] {
                let began = Instant::now();
                self.ask("GET", path, b"")?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(PAUSE);
            }
        }
        let mut said = String::new();
        out.read_to_string(&mut said)?;
        let dropped = said.trim().strip_prefix("dropped ");
        times.sort_by(f64::total_cmp);
        Ok(Seen {
            dropped: dropped.context(said.clone())?.parse()?,
            page_ms: times[(times.len() - 1) * 99 / 100],
        })
    }
}
