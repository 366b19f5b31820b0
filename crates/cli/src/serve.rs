//! `kinora serve`: the server with its page, until Ctrl-C or SIGTERM.

use crate::check::PolicyName;
use crate::data_folder::DataFolder;
use crate::{Outcome, logs, stdout};
use anyhow::{Context, Result};
use server::{Config, Rendering, Server};
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

/// Serve the page, the API and the streams until Ctrl-C
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora serve
  kinora serve --listen 0.0.0.0:7420 --data /srv/kinora     for the whole network

The first line on standard output says where it listens. Logs go to standard error; KINORA_LOG
takes a level (warn, debug) or directives (server=debug).")]
pub struct Args {
    #[command(flatten)]
    data: DataFolder,
    /// Where to listen; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "KINORA_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:7420"
    )]
    listen: SocketAddr,
    /// What is done about a file that a board cannot play [default: gate on a board, render elsewhere]
    #[arg(long, value_enum)]
    policy: Option<PolicyName>,
    /// Let software decoding count on boards that have hardware decoders
    #[arg(long)]
    allow_software: bool,
    /// Make a stream only of files for which it is asked
    #[arg(long)]
    no_streams: bool,
    /// The largest file taken: bytes, or with kB, MB, GB, TB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_upload: Option<u64>,
}

pub fn run(args: Args) -> Result<Outcome> {
    logs::start();
    let mut config = Config::new(args.data.path()?);
    config.listen = args.listen;
    config.rendering = args.policy.map(|policy| match policy {
        PolicyName::Render => Rendering::Render,
        PolicyName::Gate => Rendering::Gate,
    });
    config.allow_software = args.allow_software;
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
    stdout::text(&format!("listening on http://{}\n", server.local_addr()))?;
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
