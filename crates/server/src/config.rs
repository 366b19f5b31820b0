//! What a server is told when it starts, and the defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::network::Network;

/// How a server is to run. Start from [`Config::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder: store, catalog, uploads, work.
    pub data: PathBuf,
    /// Where the store keeps its bytes, as [`store::backend`] writes it; `None`: in the data folder.
    pub store: Option<String>,
    /// The URL of a PostgreSQL database for the catalog, which other servers may use too; `None`:
    /// SQLite in the data folder.
    pub database: Option<String>,
    /// How long a lease on work lasts that its holder does not renew: a server that dies or stops
    /// keeps others from its work for so long.
    pub lease: Duration,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where clients reach the server, as `https://media.example`, when that is not where they
    /// came to; they are told to fetch content from there.
    pub public_url: Option<String>,
    /// Whether tokens are needed on loopback too. They are whenever the server listens elsewhere or
    /// stands behind a proxy.
    pub login: bool,
    /// Whether content, that is streams and what is asked for by CID, is for everybody.
    pub public_content: bool,
    /// The proxies whose word is taken for where a request comes from.
    pub proxies: Vec<Network>,
    /// Networks that files may be fetched from although they are private or this machine's.
    pub private_sources: Vec<Network>,
    /// The certificate for TLS; `None`: plain HTTP.
    pub tls: Option<Certificate>,
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
    /// How many variants are rendered at once.
    pub renders: usize,
    /// How long the machine rests between two renderings; `None`: a minute on a board, else not.
    pub render_pause: Option<Duration>,
    /// x264's or x265's constant rate factor for variants; `None`: the encoder's own choice.
    pub quality: Option<u8>,
    /// x264's or x265's preset for variants.
    pub preset: String,
    /// How many live sources are taken at once.
    pub lives: usize,
    /// Length of a stream's segments in seconds.
    pub segment_s: f64,
    /// How long looking at one file may take.
    pub look_limit: Duration,
    /// How long the making of a stream may go without a sign of life.
    pub silence_limit: Duration,
    /// Bytes of segments that are kept for ladders to come, beyond what streams hold.
    pub units: u64,
    /// Who is told what happens to streams.
    pub webhook: Option<publish::Target>,
    /// The program that does the media work when called with `worker`; `None`: this program.
    pub worker: Option<PathBuf>,
}

/// Where a certificate for TLS is. The files are read again when they change.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate and those that it was signed with, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
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
            store: None,
            database: None,
            lease: Duration::from_secs(60),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7420)),
            public_url: None,
            login: false,
            public_content: false,
            proxies: Vec::new(),
            private_sources: Vec::new(),
            tls: None,
            rendering: None,
            allow_software: false,
            streams: true,
            max_upload: 64 << 30,
            reserve: None,
            jobs: 1,
            renders: 1,
            render_pause: None,
            quality: None,
            preset: "superfast".to_owned(),
            lives: 4,
            segment_s: 4.0,
            look_limit: Duration::from_secs(30),
            silence_limit: Duration::from_secs(120),
            units: publish::StoredUnits::LIMIT,
            webhook: None,
            worker: None,
        }
    }
}
