//! `kinora stream …`: streams of live sources on a running server.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{ServerAddress, path_below};
use crate::table::Table;
use crate::{Outcome, publish, stdout};

/// Make streams of live sources on a running server, and see what became of them
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(Add),
    Ls(Ls),
    Rm(Rm),
}

/// Make a stream of a live source, from now on until it ends or is removed
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora stream add gate rtsp://camera.lan/stream1 --window 60
  kinora stream add stage srt://encoder.lan:9000 --low-latency")]
struct Add {
    /// The stream's name; it is served as /streams/NAME/master.m3u8
    name: String,
    /// Where the source is: rtmp://, rtmps://, rtsp://, rtsps:// or srt://
    source: String,
    /// Seconds that the playlists name [default: everything since the beginning]
    #[arg(long, value_name = "SECONDS")]
    window: Option<f64>,
    /// Let players have parts of a segment before it is whole (Low-Latency HLS)
    #[arg(long)]
    low_latency: bool,
    /// Pack segments as fragmented MP4 (CMAF)
    #[arg(long)]
    cmaf: bool,
    /// Tell this address of each segment and playlist, as JSON by POST
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// A file with the secret that signs what the webhook is told (X-Kinora-Signature)
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_secret: Option<PathBuf>,
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON object
    #[arg(long)]
    json: bool,
}

/// List the streams that have a name, those that `kinora ladder` made too
#[derive(clap::Args)]
struct Ls {
    #[command(flatten)]
    server: ServerAddress,
    /// Print the server's JSON array
    #[arg(long)]
    json: bool,
}

/// Remove a stream, or end it and keep what is there
#[derive(clap::Args)]
struct Rm {
    /// The stream's name
    name: String,
    /// End it and keep what is there, to be watched as a whole
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    server: ServerAddress,
    /// Print one JSON object: the name of what is gone
    #[arg(long)]
    json: bool,
}

/// The parts of a stream that people are shown.
#[derive(Deserialize)]
struct Stream {
    name: String,
    state: String,
    source: Option<String>,
    url: Option<String>,
    waiting: Option<String>,
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Command::Add(args) => add(&args),
        Command::Ls(args) => ls(&args),
        Command::Rm(args) => rm(&args),
    }
}

fn add(args: &Add) -> Result<Outcome> {
    let hook = publish::webhook(args.webhook.as_deref(), args.webhook_secret.as_deref())?;
    let hook = hook.map(|hook| json!({ "url": hook.url, "secret": hook.secret }));
    let client = args.server.client();
    let made: Value = client.post_json(
        "/api/streams",
        &json!({
            "name": args.name,
            "source": args.source,
            "window_s": args.window,
            "low_latency": args.low_latency,
            "container": args.cmaf.then_some("cmaf"),
            "webhook": hook,
        }),
    )?;
    if args.json {
        stdout::json(&made)?;
    } else {
        let path = format!("/streams/{}/master.m3u8", args.name);
        stdout::text(&format!("{}\n", client.url(&path)))?;
    }
    Ok(Outcome::Done)
}

fn ls(args: &Ls) -> Result<Outcome> {
    let client = args.server.client();
    let streams: Value = client.get("/api/streams")?;
    if args.json {
        stdout::json(&streams)?;
        return Ok(Outcome::Done);
    }
    let streams: Vec<Stream> = serde_json::from_value(streams)?;
    let mut table = Table::new(["NAME", "STATE", "SOURCE", "ADDRESS", ""]);
    for stream in streams {
        table.row([
            stream.name,
            stream.state,
            stream.source.unwrap_or_else(|| "-".into()),
            stream
                .url
                .map_or_else(|| "-".into(), |url| client.url(&url)),
            stream.waiting.unwrap_or_default(),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}

fn rm(args: &Rm) -> Result<Outcome> {
    let keep = if args.keep { "?keep=true" } else { "" };
    let path = format!("{}{keep}", path_below("/api/streams/", &args.name));
    args.server.client().delete(&path)?;
    if args.json {
        stdout::json(&json!({ "name": args.name }))?;
    }
    Ok(Outcome::Done)
}
