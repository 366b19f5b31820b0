//! `kinora add FILE`: uploads a file to a running server through tus 1.0 (tus.io/protocols), so a
//! connection that drops in the middle costs only what was in flight.
//!
//! `--wait` follows the server's events until the stream is made, or failed.

use crate::client::{Asset, Client, ServerAddress, accepted, is_absent};
use crate::{Outcome, shown, stdout, talk, units};
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use indicatif::ProgressBar;
use serde_json::Value;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use ureq::SendBody;
use ureq::http::{HeaderMap, StatusCode};

/// How long a server may be away in the middle of an upload: a restart of its machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions to a server that is away.
const PAUSE: Duration = Duration::from_secs(1);
/// How often one place of the file may fail to go on while the server answers.
const TRIES: u32 = 3;

const UPLOAD_BAR: &str =
    "{prefix}  {bar:30} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
const STREAM_BAR: &str = "{prefix}  {bar:30} {percent:>3} %  {msg}";

/// Upload a file to a running server, or let it fetch one, and print the new asset's id
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora add holiday.mp4
  kinora add --wait holiday.mp4          until its stream is made
  kinora add https://example.org/clip.mp4          fetched by the server itself
  kinora add -- -odd-name.mp4")]
pub struct Args {
    /// The file, or the http:// or https:// address that the server fetches it from
    file: PathBuf,
    /// Follow the asset until its stream is made; fail when it fails
    #[arg(long)]
    wait: bool,
    /// Do not upload what the server has already: the asset with the same content is taken
    #[arg(long)]
    once: bool,
    /// What the asset is called, of a file that the server fetches [default: as at its source]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    server: ServerAddress,
    /// Print the asset as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let client = args.server.client();
    let path = match (address(&args.file), existing(&args, &client)?) {
        (Some(url), _) => {
            fetched(url, args.name.as_deref(), &client).with_context(|| shown::text(url))?
        }
        (None, Some(path)) => path,
        (None, None) => upload(&args.file, &client).with_context(|| shown::path(&args.file))?,
    };
    let asset = if args.wait {
        follow(&path, &client)?
    } else {
        client.get(&path)?
    };
    if args.json {
        stdout::json(&asset)?;
    } else {
        let asset: Asset = serde_json::from_value(asset)?;
        stdout::text(&format!("{}\n", asset.id))?;
    }
    Ok(Outcome::Done)
}

/// With `--once`: the path of the asset whose content is this file's.
fn existing(args: &Args, client: &Client) -> Result<Option<String>> {
    if !args.once || address(&args.file).is_some() {
        return Ok(None);
    }
    let assets: Vec<Asset> = client.get("/api/assets")?;
    let name = || shown::path(&args.file);
    let (file, size) = open(&args.file).with_context(name)?;
    // Only a file of the same size can have the same content, and hashing takes its time.
    if assets.iter().all(|asset| asset.size != size) {
        return Ok(None);
    }
    let (cid, _) = ::store::cid_of(file).with_context(name)?;
    let cid = cid.to_string();
    Ok(assets
        .iter()
        .find(|asset| asset.cid.as_ref() == Some(&cid))
        .map(|asset| crate::client::asset_path(&asset.id)))
}

/// The argument as an address, when it is one: nobody has a file of such a name by accident.
fn address(file: &Path) -> Option<&str> {
    let text = file.to_str()?;
    let scheme = text.get(..8)?.to_ascii_lowercase();
    (scheme == "https://" || scheme.starts_with("http://")).then_some(text)
}

/// What the server says of a file that it fetches.
#[derive(serde::Deserialize)]
struct Remote {
    id: String,
    name: String,
    arrived: u64,
    length: Option<u64>,
    error: Option<String>,
}

/// Lets the server fetch the file and gives the new asset's path, when it has come.
fn fetched(url: &str, name: Option<&str>, client: &Client) -> Result<String> {
    // Subscribed before it begins, so that its end cannot be missed.
    let mut events = client.events()?;
    let wanted = serde_json::json!({ "url": url, "name": name });
    let mut remote: Remote = client.post_json("/api/remotes", &wanted)?;
    let path = crate::client::asset_path(&remote.id);
    let bar = talk::bar(0, UPLOAD_BAR).with_prefix(shown::text(&remote.name));
    loop {
        if let Some(why) = remote.error {
            bail!("{}", shown::text(&why));
        }
        if let Some(length) = remote.length {
            bar.set_length(length);
        }
        bar.set_position(remote.arrived);
        remote = loop {
            let (event, data) = events.next().context("the server ended")??;
            let value: Value = serde_json::from_str(&data).context("an event of the server")?;
            if value.get("id").and_then(Value::as_str) != Some(&remote.id) {
                continue;
            }
            match event.as_str() {
                "asset" => {
                    bar.finish_and_clear();
                    return Ok(path);
                }
                "removed" => bail!("was removed from the server"),
                "remote" => break serde_json::from_value(value)?,
                _ => {}
            }
        };
    }
}

/// The file and its size; the caller names it.
fn open(path: &Path) -> Result<(File, u64)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        bail!("not a file");
    }
    if about.len() == 0 {
        bail!("the file is empty");
    }
    Ok((file, about.len()))
}

/// Uploads the file and gives the new asset's path.
fn upload(path: &Path, client: &Client) -> Result<String> {
    let (mut file, size) = open(path)?;
    let name = path
        .file_name()
        .context("the path names no file")?
        .to_string_lossy();
    let created = client.post(
        "/api/uploads",
        &[
            tus(),
            ("Upload-Length", size.to_string()),
            (
                "Upload-Metadata",
                format!("filename {}", BASE64_STANDARD.encode(name.as_bytes())),
            ),
        ],
    )?;
    let place = header(&created, "Location")
        .context("the server names no place for the upload")?
        .to_owned();

    let bar = talk::bar(size, UPLOAD_BAR).with_prefix(shown::text(&name));
    let (mut offset, mut tries) = (0, 0);
    loop {
        bar.set_position(offset);
        file.seek(SeekFrom::Start(offset)).context("seek")?;
        let mut reader = bar.wrap_read(&file);
        let headers = [
            tus(),
            ("Upload-Offset", offset.to_string()),
            ("Content-Type", "application/offset+octet-stream".into()),
            ("Content-Length", (size - offset).to_string()),
        ];
        let dropped = match client.patch(&place, &headers, SendBody::from_reader(&mut reader)) {
            // The server was still writing what came before the connection broke, so it holds more
            // than it said when it was asked.
            Ok(answer)
                if answer.status() == StatusCode::CONFLICT
                    || answer.status() == StatusCode::LOCKED =>
            {
                anyhow!("the server answered {}", answer.status())
            }
            Ok(answer) => {
                let answer = accepted(answer)?;
                if let Some(asset) = header(answer.headers(), "Kinora-Asset") {
                    bar.finish_and_clear();
                    return Ok(asset.to_owned());
                }
                anyhow!("the server took less than the whole file")
            }
            Err(error) => error.into(),
        };
        let held = held(&place, client)
            .with_context(|| format!("the upload stopped at byte {offset}: {dropped:#}"))?;
        tries = if held > offset { 0 } else { tries + 1 };
        if tries == TRIES {
            return Err(dropped.context(format!("the upload does not get on from byte {offset}")));
        }
        offset = held.min(size);
    }
}

/// How much of the upload the server holds, asked until it is back.
fn held(place: &str, client: &Client) -> Result<u64> {
    let since = Instant::now();
    loop {
        match client.head(place, &[tus()]) {
            Ok((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => {
                bail!("the server has given the upload up")
            }
            Ok((status, headers)) => {
                let offset =
                    header(&headers, "Upload-Offset").and_then(|offset| offset.parse().ok());
                return offset
                    .with_context(|| format!("the server answered {status} to how much it holds"));
            }
            Err(error) if is_absent(&error) && since.elapsed() < PATIENCE => thread::sleep(PAUSE),
            Err(error) => return Err(error).context("ask how much the server holds"),
        }
    }
}

fn tus() -> (&'static str, String) {
    ("Tus-Resumable", "1.0.0".into())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Follows an asset until nothing more comes of it, showing how far its stream is.
fn follow(path: &str, client: &Client) -> Result<Value> {
    // Subscribed before the first look, so that no change falls between the two.
    let mut events = client.events()?;
    let mut asset: Value = client.get(path)?;
    let bar = talk::bar(1000, STREAM_BAR);
    bar.enable_steady_tick(Duration::from_millis(250));
    loop {
        let view: Asset = serde_json::from_value(asset.clone())?;
        if let Some(end) = end_of(&view) {
            bar.finish_and_clear();
            return end.map(|()| asset);
        }
        show(&bar, &view);
        asset = loop {
            let (event, data) = events.next().context("the server ended")??;
            let value: Value = serde_json::from_str(&data).context("an event of the server")?;
            let ours = value.get("id").and_then(Value::as_str) == Some(&view.id);
            if !ours || !matches!(event.as_str(), "asset" | "removed") {
                continue;
            }
            if event == "removed" {
                bail!("was removed from the server");
            }
            break value;
        };
    }
}

/// Whether the asset has come to its end, and which.
fn end_of(asset: &Asset) -> Option<Result<()>> {
    if asset.state == "failed" {
        let why = asset
            .error
            .clone()
            .unwrap_or_else(|| "the server could not read it".into());
        return Some(Err(anyhow!(why)));
    }
    if asset.state != "ready" {
        return None;
    }
    let Some(stream) = &asset.stream else {
        return Some(Ok(()));
    };
    match stream.state.as_str() {
        "done" => Some(Ok(())),
        "failed" => Some(Err(anyhow!(
            "stream: {}",
            stream.error.as_deref().unwrap_or("failed")
        ))),
        "cancelled" => Some(Err(anyhow!("stream: cancelled"))),
        _ => None,
    }
}

fn show(bar: &ProgressBar, asset: &Asset) {
    bar.set_prefix(asset.shown_name());
    let Some(stream) = asset.stream.as_ref().filter(|_| asset.state == "ready") else {
        bar.set_message("looking into it");
        return;
    };
    let Some(progress) = stream
        .progress
        .as_ref()
        .filter(|_| stream.state == "running")
    else {
        bar.set_message("waiting for its turn");
        return;
    };
    let mut message: Vec<String> = vec![
        stream
            .rungs
            .iter()
            .map(|rung| rung.name.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    ];
    message.extend(progress.speed.map(|speed| format!("{speed:.1}x")));
    message.extend(
        progress
            .eta_s
            .map(|eta| format!("{} left", units::time(eta))),
    );
    bar.set_message(message.join(", "));
    bar.set_position((progress.fraction.unwrap_or(0.0) * 1000.0) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_an_asset() {
        #[track_caller]
        fn check(state: &str, stream: Value, expected: Option<Result<(), &str>>) {
            let asset: Asset = serde_json::from_value(serde_json::json!({
                "id": "1", "name": "a", "size": 1, "cid": null, "created": "", "state": state,
                "error": "broken", "probe": null, "stream": stream,
            }))
            .unwrap();
            let end = end_of(&asset).map(|end| end.map_err(|error| error.to_string()));
            assert_eq!(end, expected.map(|end| end.map_err(str::to_owned)));
        }
        let stream = |state: &str| serde_json::json!({ "state": state, "error": "no disk", "url": null, "progress": null });
        check("probing", Value::Null, None);
        check("failed", Value::Null, Some(Err("broken")));
        check("ready", Value::Null, Some(Ok(())));
        check("ready", stream("waiting"), None);
        check("ready", stream("running"), None);
        check("ready", stream("done"), Some(Ok(())));
        check("ready", stream("failed"), Some(Err("stream: no disk")));
    }
}
