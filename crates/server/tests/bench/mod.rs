//! A server in this process over a folder of its own, with a script in the worker's place that
//! says what a test wants to be said.

#![allow(dead_code)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use server::{Config, Server};
use tokio::sync::oneshot;

use crate::http::Client;

type Outcome = JoinHandle<Result<(), server::Error>>;

pub struct Bench {
    pub folder: tempfile::TempDir,
    running: Option<(oneshot::Sender<()>, Outcome)>,
    pub client: Client,
}

/// What a worker says of a file that plays everywhere.
pub const A_VIDEO: &str = r#"{"event":"probed","not_a_video":null,"probe":{"container":"mov,mp4,m4a,3gp,3g2,mj2","duration_s":8.0,"size":1,"video":[{"index":0,"codec":"h264","profile":"High","width":640,"height":360,"fps":"25/1","pix_fmt":"yuv420p","bit_depth":8,"chroma":"4:2:0"}],"audio":[],"subtitles":[]}}"#;

/// A worker that finds a video in everything and never gets on with its stream.
pub const PATIENT: &str = r#"
case $2 in
probe) echo "$A_VIDEO"; echo '{"event":"done"}' ;;
thumbnail) printf jpeg > "$3/t.jpg"; echo '{"event":"picture","file":"t.jpg"}'; echo '{"event":"done"}' ;;
ladder) exec sleep 600 ;;
esac
"#;

impl Bench {
    pub fn new() -> Self {
        Self::with(PATIENT, |_| {})
    }

    /// A server whose worker is this shell script, called with `worker`, the task and the folder.
    pub fn with(worker: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(tempfile::tempdir().unwrap(), worker, change)
    }

    /// The same over a folder that may hold data already.
    pub fn over(folder: tempfile::TempDir, worker: &str, change: impl FnOnce(&mut Config)) -> Self {
        write_worker(folder.path(), worker);
        let mut bench = Self {
            folder,
            running: None,
            client: Client(([127, 0, 0, 1], 0).into()),
        };
        bench.start(change);
        bench
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(self.data());
        config.listen = ([127, 0, 0, 1], 0).into();
        config.worker = Some(self.folder.path().join("worker"));
        config
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn set_worker(&self, script: &str) {
        write_worker(self.folder.path(), script);
    }

    pub fn start(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        change(&mut config);
        let server = Server::open(config).unwrap();
        self.client = Client(server.local_addr());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = server::runtime().unwrap();
            runtime.block_on(server.run(async {
                let _ = stopped.await;
            }))
        });
        self.running = Some((stop, thread));
    }

    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            thread.join().unwrap().unwrap();
        }
    }

    /// Files in a folder of the data folder.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.data().join(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn catalog(&self) -> catalog::Catalog {
        catalog::Catalog::open(&self.data().join("catalog.db")).unwrap()
    }

    pub fn store(&self) -> store::Store {
        store::Store::open(self.data().join("store")).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Written aside and renamed: a program that is being written cannot be started.
fn write_worker(folder: &Path, script: &str) {
    let new = folder.join("worker.new");
    std::fs::write(&new, format!("#!/bin/sh\nA_VIDEO='{A_VIDEO}'\n{script}\n")).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(&new, folder.join("worker")).unwrap();
}
