//! Servers that keep bytes, run as processes on free ports of this machine, each in a folder of its
//! own: Garage, moto, and the daemon of js-ipfs. A dropped one is killed.
//!
//! They are found in `PATH` and in Kinora's folder of tools, where `./test` puts them. Where one is
//! missing the test is passed over, unless `KINORA_REQUIRE_BACKENDS` is set.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a server may take to answer after its start, on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A process that ends with its owner.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of the tools' folder or of `PATH`.
fn tool(name: &str) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    let tools = cache.join("kinora/tools");
    let path = env::var_os("PATH").unwrap_or_default();
    [tools.join("bin"), tools.join("python/bin")]
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Passes a test over, where that is allowed.
pub fn skipped(what: &str) {
    assert!(
        env::var_os("KINORA_REQUIRE_BACKENDS").is_none_or(|v| v.is_empty()),
        "KINORA_REQUIRE_BACKENDS is set, and there is no {what}"
    );
    eprintln!("skipped: needs {what}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until something accepts connections.
fn await_port(port: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let start = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        assert!(start.elapsed() < START, "nothing listens on {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Moto, an S3 server that heeds conditional writes, with one bucket `media`.
pub struct Moto {
    port: u16,
    _server: Server,
}

impl Moto {
    pub fn start() -> Option<Self> {
        let program = tool("moto_server")?;
        let port = free_port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server(child);
        await_port(port);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let request = "PUT /media HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request\r\n\
             Connection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some(Self {
            port,
            _server: server,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, prefix: &str) -> String {
        format!(
            "s3://key:secret@media/{prefix}?endpoint=http://127.0.0.1:{}&region=us-east-1",
            self.port
        )
    }
}

/// Three nodes of Garage, each object on all of them.
pub struct Garage {
    program: PathBuf,
    folder: tempfile::TempDir,
    nodes: [Option<Server>; 3],
    ports: [[u16; 2]; 3],
    /// Key and secret.
    credentials: (String, String),
}

impl Garage {
    pub fn start() -> Option<Self> {
        let program = tool("garage")?;
        let folder = tempfile::tempdir().unwrap();
        let mut garage = Self {
            program,
            folder,
            nodes: [None, None, None],
            ports: std::array::from_fn(|_| [free_port(), free_port()]),
            credentials: (String::new(), String::new()),
        };
        for node in 0..3 {
            garage.configure(node);
            garage.restart(node);
        }
        garage.join();
        Some(garage)
    }

    fn config(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("{node}.toml"))
    }

    fn configure(&self, node: usize) {
        let [rpc, s3] = self.ports[node];
        let folder = self.folder.path().join(node.to_string());
        let folder = folder.display();
        let secret = "5f".repeat(32);
        let text = format!(
            "metadata_dir = \"{folder}/meta\"\ndata_dir = \"{folder}/data\"\n\
             db_engine = \"lmdb\"\nreplication_factor = 3\nrpc_secret = \"{secret}\"\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n"
        );
        fs::write(self.config(node), text).unwrap();
    }

    fn command(&self, node: usize) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.config(node));
        command
    }

    /// What the program says on the first node.
    fn says(&self, node: usize, args: &[&str]) -> String {
        let output = self.command(node).args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "garage {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a node that does not run.
    pub fn restart(&mut self, node: usize) {
        let log = fs::File::create(self.folder.path().join(format!("{node}.log"))).unwrap();
        let child = self
            .command(node)
            .arg("server")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.nodes[node] = Some(Server(child));
        for port in self.ports[node] {
            await_port(port);
        }
    }

    /// Kills a node with `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    fn join(&mut self) {
        let ids: Vec<String> = (0..3)
            .map(|node| self.says(node, &["node", "id", "-q"]).trim().to_owned())
            .collect();
        for id in &ids[1..] {
            self.says(0, &["node", "connect", id]);
        }
        for (id, zone) in ids.iter().zip(["a", "b", "c"]) {
            let id = id.split('@').next().unwrap();
            self.says(0, &["layout", "assign", "-z", zone, "-c", "10G", id]);
        }
        self.says(0, &["layout", "apply", "--version", "1"]);
        self.says(0, &["bucket", "create", "media"]);
        let key = self.says(0, &["key", "create", "kinora"]);
        let field = |name: &str| {
            let line = key.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.to_owned()
        };
        self.credentials = (field("Key ID"), field("Secret key"));
        self.says(
            0,
            &[
                "bucket", "allow", "--read", "--write", "--owner", "media", "--key", "kinora",
            ],
        );
    }

    /// The bucket, asked through one of the nodes.
    pub fn url(&self, node: usize, prefix: &str) -> String {
        let (key, secret) = &self.credentials;
        format!(
            "s3://{key}:{secret}@media/{prefix}?endpoint=http://127.0.0.1:{}&region=garage",
            self.ports[node][1]
        )
    }
}

/// The daemon of js-ipfs, offline.
pub struct JsIpfs {
    port: u16,
    _folder: tempfile::TempDir,
    _server: Server,
}

impl JsIpfs {
    pub fn start() -> Option<Self> {
        let node = tool("node24")?;
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js-ipfs");
        if !here.join("node_modules").is_dir() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(node)
            .arg(here.join("daemon.mjs"))
            .arg(folder.path().join("repository"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        let server = Server(child);
        BufReader::new(out).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the daemon says its port");
        Some(Self {
            port,
            _folder: folder,
            _server: server,
        })
    }

    pub fn url(&self) -> String {
        format!("kubo+http://127.0.0.1:{}", self.port)
    }
}
