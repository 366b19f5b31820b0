//! `kinora serve`: the server with its page, until Ctrl-C or SIGTERM.

use crate::check::PolicyName;
use crate::database::Database;
use crate::store::Place;
use crate::{Outcome, logs, publish, stdout, talk};
use anyhow::{Context, Result};
use clap::ValueEnum;
use server::{Certificate, Config, Network, Rendering, Server};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Serve the page, the API and the streams until Ctrl-C
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora serve
  kinora serve --listen 0.0.0.0:7420 --data /srv/kinora     for the whole network, with tokens

The first line on standard output says where it listens. Logs go to standard error; KINORA_LOG
takes a level (warn, debug) or directives (server=debug).")]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    database: Database,
    /// Seconds after which other servers take over what a dead one was at
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=3600))]
    lease: u32,
    /// Where to listen; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "KINORA_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:7420"
    )]
    listen: SocketAddr,
    /// Where clients reach the server, when that is not where they came to: behind a proxy
    #[arg(
        long,
        value_name = "URL",
        env = "KINORA_PUBLIC_URL",
        hide_env_values = true,
        value_parser = public_url
    )]
    public_url: Option<String>,
    /// Ask for tokens on loopback too; they are needed anyway where the server listens elsewhere
    #[arg(long)]
    login: bool,
    /// A private network, or an address of this machine, that files may be fetched from; may be given
    /// several times
    #[arg(long, value_name = "ADDR")]
    fetch_from: Vec<Network>,
    /// The certificate to speak TLS with, and those it was signed with, in PEM; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let everybody read streams and content by CID, without a token
    #[arg(long)]
    public_content: bool,
    /// A proxy, or the network it is in, whose X-Forwarded-For, -Proto and -Host are believed; may be
    /// given several times
    #[arg(long, value_name = "ADDR")]
    proxy: Vec<Network>,
    /// What is done about a file that a board cannot play [default: gate on a board, render elsewhere]
    #[arg(long, value_enum)]
    policy: Option<PolicyName>,
    /// Let software decoding count on boards that have hardware decoders
    #[arg(long)]
    allow_software: bool,
    /// How many variants are rendered at once
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    renders: u16,
    /// Seconds of rest between two renderings [default: 60 on a board, 0 elsewhere]
    #[arg(long, value_name = "SECONDS")]
    render_pause: Option<u32>,
    /// The constant rate factor of variants: less is better and larger [default: the encoder's own]
    #[arg(long, value_name = "CRF", value_parser = clap::value_parser!(u8).range(0..=51))]
    quality: Option<u8>,
    /// The encoders' preset for variants
    #[arg(long, value_enum, default_value = "superfast")]
    preset: Preset,
    /// Make a stream only of files for which it is asked
    #[arg(long)]
    no_streams: bool,
    /// Tell this address of every segment and playlist of every stream, as JSON by POST
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// A file with the secret that signs what the webhook is told (X-Kinora-Signature)
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_secret: Option<PathBuf>,
    /// How much the segments may take that are kept only for ladders to come
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "4GB")]
    unit_cache: u64,
    /// The largest file taken: bytes, or with kB, MB, GB, TB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_upload: Option<u64>,
}

/// What x264 and x265 call their trades of time for size.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Preset {
    Ultrafast,
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
}

pub fn run(args: Args) -> Result<Outcome> {
    logs::start();
    let mut config = Config::new(args.place.data.path()?);
    config.store = args.place.url.clone();
    config.database = args.database.url;
    config.lease = Duration::from_secs(args.lease.into());
    config.listen = args.listen;
    config.public_url = args.public_url;
    config.login = args.login;
    config.public_content = args.public_content;
    config.proxies = args.proxy;
    config.private_sources = args.fetch_from;
    let tls = args.tls_cert.zip(args.tls_key);
    config.tls = tls.map(|(chain, key)| Certificate { chain, key });
    config.rendering = args.policy.map(|policy| match policy {
        PolicyName::Render => Rendering::Render,
        PolicyName::Gate => Rendering::Gate,
    });
    config.allow_software = args.allow_software;
    config.webhook = publish::webhook(args.webhook.as_deref(), args.webhook_secret.as_deref())?;
    config.units = args.unit_cache;
    config.renders = args.renders.into();
    config.render_pause = args.render_pause.map(|s| Duration::from_secs(s.into()));
    config.quality = args.quality;
    if let Some(preset) = args.preset.to_possible_value() {
        config.preset = preset.get_name().to_owned();
    }
    config.streams = !args.no_streams;
    if let Some(most) = args.max_upload {
        config.max_upload = most;
    }
    server::runtime()
        .context("start the runtime")?
        .block_on(serve(config))
}

async fn serve(config: Config) -> Result<Outcome> {
    // Before the address is said: whoever reads it may already want the end.
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let server = Server::open(config).map_err(explain)?;
    stdout::text(&format!("listening on {}\n", server.url()))?;
    if let Some(token) = server.first_token() {
        talk::say(&format!(
            "the first admin's token, shown this once: {token}"
        ));
        talk::say("sign in with it on the page; `kinora token create` makes others");
    }
    let told = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    server.run(told).await?;
    Ok(Outcome::Done)
}

/// The server's words, and what to do about the most common of them.
fn explain(error: server::Error) -> anyhow::Error {
    let taken = matches!(&error, server::Error::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
    let error = anyhow::Error::from(error);
    if taken {
        anyhow::anyhow!("{error:#}: end what listens there, or choose another port with --listen")
    } else {
        error
    }
}

/// An origin: scheme, host and port, and no path, since the addresses of content have their own.
fn public_url(text: &str) -> Result<String, String> {
    match ::store::gateway::routing::multiaddr(text) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("as in https://media.example, without a path".into()),
    }
}

/// `500MB`, `64 GB`, `1000000`: powers of 1000.
fn size(text: &str) -> Result<u64, String> {
    let unit = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let power = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 1,
        "m" | "mb" => 2,
        "g" | "gb" => 3,
        "t" | "tb" => 4,
        _ => return Err("a number of bytes, or with kB, MB, GB or TB".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a number of bytes, or with kB, MB, GB or TB".to_owned())?;
    number
        .checked_mul(1000u64.pow(power))
        .ok_or_else(|| "more bytes than can be counted".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(size(text).ok(), expected);
        }
        check("1000000", Some(1_000_000));
        check("500MB", Some(500_000_000));
        check("64 gb", Some(64_000_000_000));
        check("1k", Some(1000));
        check("MB", None);
        check("1.5GB", None);
        check("-1", None);
        check("99999999999999TB", None);
    }
}
