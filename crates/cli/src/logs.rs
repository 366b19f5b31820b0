//! Logs of the server and its workers: lines on standard error, chosen by `KINORA_LOG`.

use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging. `KINORA_LOG` takes tracing's directives (`debug`, `server=trace,info`).
pub fn start() {
    let filter = EnvFilter::builder()
        .with_env_var("KINORA_LOG")
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour)
        .init();
}
