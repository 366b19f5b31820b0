//! What a server is told when it starts, and the defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a server is to run. Start from [`Config::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder: store, catalog, uploads, work.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether variants may be rendered here; `None` decides by the machine: not on a board.
    pub rendering: Option<Rendering>,
    /// Whether a board's software decoders count although it has hardware ones.
    pub allow_software: bool,
    /// Whether every uploaded video gets a stream unasked.
    pub streams: bool,
    /// The largest file taken, in bytes.
    pub max_upload: u64,
    /// Bytes to leave free on the disk; `None`: a fiftieth of it, between 16 MiB and 1 GiB.
    pub reserve: Option<u64>,
    /// How many streams are made at once.
    pub jobs: usize,
    /// Length of a stream's segments in seconds.
    pub segment_s: f64,
    /// How long looking at one file may take.
    pub look_limit: Duration,
    /// How long the making of a stream may go without a sign of life.
    pub silence_limit: Duration,
    /// The program that does the media work when called with `worker`; `None`: this program.
    pub worker: Option<PathBuf>,
}

/// Whether this machine renders variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// What a board cannot play gets a variant.
    Render,
    /// What a board cannot play is rejected with a command to convert it elsewhere.
    Gate,
}

impl Config {
    /// The defaults over the given data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7420)),
            rendering: None,
            allow_software: false,
            streams: true,
            max_upload: 64 << 30,
            reserve: None,
            jobs: 1,
            segment_s: 4.0,
            look_limit: Duration::from_secs(30),
            silence_limit: Duration::from_secs(120),
            worker: None,
        }
    }
}
