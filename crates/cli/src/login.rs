//! `kinora login`: gets a token for a server as a device that shows a code (RFC 8628), and keeps it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::client::ServerAddress;
use crate::token::RoleName;
use crate::{Outcome, credentials, shown, talk};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Get a token for a server by a code that an admin types on its page, and keep it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora login --server http://kinora.lan:7420
  kinora login --server http://kinora.lan:7420 --forget

The token is kept for this user only, and every command that talks to the server sends it.
KINORA_TOKEN goes before it.")]
pub struct Args {
    #[command(flatten)]
    server: ServerAddress,
    /// What to ask for
    #[arg(long, value_enum, default_value = "editor")]
    role: RoleName,
    /// Whose the token will be, as it is listed [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
    /// Forget the token that is kept for the server; it stays valid until it is revoked
    #[arg(long)]
    forget: bool,
}

#[derive(Deserialize)]
struct Asked {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

/// What the server says to the question whether somebody answered.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let server = args.server.address();
    if args.forget {
        credentials::keep(&server, None)?;
        return Ok(Outcome::Done);
    }
    let client = args.server.client();
    let name = args.name.clone().unwrap_or_else(machine);
    let role = catalog::Role::from(args.role).as_str();
    let asked: Asked = client.post_form(
        "/api/device/code",
        &[("client_id", "kinora"), ("scope", role), ("name", &name)],
    )?;
    talk::say(&format!(
        "open {} and type {}",
        shown::text(&asked.verification_uri),
        shown::text(&asked.user_code)
    ));
    talk::say(&format!(
        "or open {}",
        shown::text(&asked.verification_uri_complete)
    ));
    let until = Instant::now() + Duration::from_secs(asked.expires_in);
    let mut pause = Duration::from_secs(asked.interval);
    while Instant::now() < until {
        thread::sleep(pause);
        let form = [
            ("grant_type", GRANT),
            ("device_code", asked.device_code.as_str()),
            ("client_id", "kinora"),
        ];
        let answer: Answer = client.post_form_whatever("/api/device/token", &form)?;
        if let Some(token) = answer.access_token {
            let path = credentials::keep(&server, Some(&token))?;
            talk::say(&format!(
                "the token for {server} is kept in {}",
                shown::path(&path)
            ));
            return Ok(Outcome::Done);
        }
        match answer.error.as_deref() {
            Some("authorization_pending") => {}
            Some("slow_down") => pause += Duration::from_secs(5),
            Some("access_denied") => bail!("an admin turned this down"),
            Some("expired_token") => break,
            other => bail!(
                "the server refuses: {}",
                shown::text(
                    answer
                        .error_description
                        .as_deref()
                        .or(other)
                        .unwrap_or("no reason")
                )
            ),
        }
    }
    bail!("nobody typed the code in time: start again")
}

/// What this machine is called.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "command line".into(),
        name => format!("command line on {name}"),
    }
}
