//! PostgreSQL for tests: one private server for a test program, in a folder of its own, reached by a
//! Unix socket only, with a database for whoever asks. It ends with the program, however that ends.
//!
//! Its programs are found in `PATH` or where Debian puts them. Where there are none the test is
//! passed over, unless `KINORA_REQUIRE_BACKENDS` is set.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

pub const PASSWORD: &str = "a secret: of/tests";

/// The same in a URL.
const ESCAPED: &str = "a%20secret%3A%20of%2Ftests";

/// PostgreSQL refuses to run as root. It lives until its standard input ends, which is when the test
/// program does. With a port it listens to `127.0.0.1` too, for TLS alone, with a certificate for
/// `localhost`.
const SCRIPT: &str = r#"
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf %s "$2" >"$folder/password"
"$1/initdb" -D "$folder/data" -U kinora -A scram-sha-256 --pwfile="$folder/password" \
    -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
listen="-c listen_addresses=''"
if [ "$3" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost \
        -keyout "$folder/key.pem" -out "$folder/certificate.pem" 2>/dev/null
    sed -i 's/^host /hostssl /' "$folder/data/pg_hba.conf"
    listen="-c listen_addresses=127.0.0.1 -c port=$3 -c ssl=on \
        -c ssl_key_file=$folder/key.pem -c ssl_cert_file=$folder/certificate.pem"
fi
"$1/pg_ctl" -D "$folder/data" -l "$folder/log" -w start >/dev/null \
    -o "-k $folder -c fsync=off -c max_connections=100 $listen"
echo "$folder"
read -r _ || true
"$1/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null
"#;

pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: Option<u16>,
    databases: AtomicU32,
    server: Child,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// The program's server.
pub fn server() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    let server = SERVER.get_or_init(Postgres::start).as_ref();
    if server.is_none() {
        assert!(
            env::var_os("KINORA_REQUIRE_BACKENDS").is_none_or(|v| v.is_empty()),
            "KINORA_REQUIRE_BACKENDS is set, and there is no PostgreSQL"
        );
        eprintln!("skipped: needs PostgreSQL");
    }
    server
}

/// The folder with its programs, the newest where there are several.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    debian.sort();
    debian
        .into_iter()
        .rev()
        .chain(env::split_paths(&path))
        .find(|folder| {
            ["initdb", "pg_ctl"]
                .iter()
                .all(|program| folder.join(program).is_file())
        })
}

impl Postgres {
    /// A server of its own for a test, for which [`server`] says whether there can be one.
    pub fn start() -> Option<Self> {
        Self::listening(None)
    }

    /// The same, which also takes connections with TLS at a port.
    pub fn with_tls() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Self::listening(Some(port))
    }

    fn listening(port: Option<u16>) -> Option<Self> {
        let programs = programs()?;
        let me = Command::new("id").arg("-u").output().unwrap().stdout;
        let mut command = if me == b"0\n" {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "sh",
            ]);
            command
        } else {
            Command::new("sh")
        };
        let mut child = command
            .args(["-c", SCRIPT, "sh"])
            .arg(&programs)
            .arg(PASSWORD)
            .arg(port.map_or_else(String::new, |port| port.to_string()))
            .current_dir("/")
            .env("TMPDIR", env::temp_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut folder = String::new();
        let said = child.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut folder).unwrap();
        assert!(!folder.is_empty(), "PostgreSQL does not start");
        Some(Self {
            programs,
            folder: folder.trim_end().into(),
            port,
            databases: AtomicU32::new(0),
            server: child,
        })
    }

    /// A new, empty database.
    pub fn database(&self) -> Database<'_> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let database = Database {
            server: self,
            name: format!("test{number}"),
        };
        // Another language's order of texts, to see that none is relied on.
        database.run("createdb", &["-T", "template0", &database.name]);
        database
    }
}

pub struct Database<'a> {
    server: &'a Postgres,
    pub name: String,
}

impl Database<'_> {
    pub fn url(&self) -> String {
        self.url_as("kinora", ESCAPED)
    }

    pub fn url_as(&self, user: &str, password: &str) -> String {
        let (name, folder) = (&self.name, self.server.folder.display());
        let port = self.server.port.unwrap_or(5432);
        format!("postgres://{user}:{password}@localhost:{port}/{name}?host={folder}")
    }

    /// Over the network, to this host, with these parameters.
    pub fn url_at(&self, host: &str, parameters: &str) -> String {
        let port = self.server.port.expect("a server with TLS");
        format!(
            "postgres://kinora:{ESCAPED}@{host}:{port}/{}?{parameters}",
            self.name
        )
    }

    /// The certificate of a server with TLS.
    pub fn certificate(&self) -> PathBuf {
        self.server.folder.join("certificate.pem")
    }

    /// What `psql` answers.
    pub fn ask(&self, sql: &str) -> String {
        self.run("psql", &["-d", &self.name, "-qtAc", sql])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(self.server.programs.join(program))
            .arg("-h")
            .arg(&self.server.folder)
            .args(["-p", &self.server.port.unwrap_or(5432).to_string()])
            .args(["-U", "kinora"])
            .args(arguments)
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}
