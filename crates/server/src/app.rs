//! What every handler and worker thread shares.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use boards::{Detection, How, Policy, Table};
use catalog::Catalog;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Rendering};
use crate::disk::Disk;
use crate::events::Hub;
use crate::problem::{Answer, Problem};
use crate::reconcile::Dispatch;
use crate::shown::{self, Progress};
use crate::time::now_ms;
use crate::upload::Uploads;
use crate::{Error, upload};

/// The server's state. Everything in it may be used from any thread.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
    pub(crate) store: Store,
    pub(crate) catalog: Catalog,
    pub(crate) disk: Disk,
    pub(crate) hub: Hub,
    pub(crate) table: Table,
    pub(crate) policy: Policy,
    pub(crate) board: Detection,
    pub(crate) uploads: Uploads,
    pub(crate) dispatch: Dispatch,
    pub(crate) stopping: CancellationToken,
    /// How far running streams are. Not in the catalog, because it is worth nothing after a crash.
    progress: Mutex<HashMap<String, Progress>>,
}

impl App {
    /// Opens everything in the data folder, which the caller has locked.
    pub(crate) fn open(config: Config, address: SocketAddr) -> Result<Self, Error> {
        let table = board_table(&config)?;
        let label = std::env::var("DEVICE_TYPE").ok();
        let board = boards::detect(
            std::path::Path::new("/"),
            label.as_deref(),
            std::env::consts::ARCH,
            &table,
        );
        let policy = policy(&config, &board);
        let store = Store::open(config.data.join("store"))?;
        let catalog = Catalog::open(&config.data.join("catalog.db"))?;
        let disk = Disk::new(&config.data, config.reserve);
        let uploads = Uploads::open(config.data.join("uploads"))?;
        let app = Self {
            address,
            started: Instant::now(),
            store,
            catalog,
            disk,
            hub: Hub::new(),
            table,
            policy,
            board,
            uploads,
            dispatch: Dispatch::new(),
            stopping: CancellationToken::new(),
            progress: Mutex::default(),
            config,
        };
        app.forget_the_last_run()?;
        Ok(app)
    }

    /// The lock proves that no other server lives: its leases, work folders and half requests
    /// are nobody's.
    fn forget_the_last_run(&self) -> Result<(), Error> {
        self.catalog.end_all_leases()?;
        let work = self.work_folder();
        match std::fs::remove_dir_all(&work) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io {
                    operation: "clear",
                    path: work,
                    source,
                });
            }
            _ => {}
        }
        std::fs::create_dir_all(&work).map_err(|source| Error::Io {
            operation: "make",
            path: work,
            source,
        })?;
        upload::drop_abandoned(self)
    }

    /// Where workers write, one folder per job.
    pub(crate) fn work_folder(&self) -> PathBuf {
        self.config.data.join("work")
    }

    /// The asset as clients see it.
    pub(crate) fn shown(&self, id: &str) -> Result<Option<shown::Asset>, catalog::Error> {
        let asset = self.catalog.asset(id, now_ms())?;
        Ok(asset.map(|asset| shown::asset(self, &asset)))
    }

    /// Tells everybody who listens how the asset is now. Blocks; the catalog is read.
    pub(crate) fn announce(&self, id: &str) {
        if self.hub.is_idle() {
            return;
        }
        match self.shown(id) {
            Ok(Some(asset)) => self.hub.asset(&asset),
            Ok(None) => {}
            Err(error) => tracing::error!(asset = id, %error, "cannot announce a change"),
        }
    }

    /// How far the asset's stream is, while a worker makes it.
    pub(crate) fn progress(&self, id: &str) -> Option<Progress> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.get(id).cloned()
    }

    /// Notes how far the asset's stream is; `None` when no worker makes it any more.
    pub(crate) fn set_progress(&self, id: &str, now: Option<Progress>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match now {
            Some(now) => progress.insert(id.to_owned(), now),
            None => progress.remove(id),
        };
    }

    /// Runs work that blocks on the disk or the databases off the runtime's own threads. It runs
    /// to its end even when the client goes away.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&app))
            .await
            .map_err(Problem::from)?
    }
}

/// The built-in table, overridden by `DATA/boards.toml` where there is one.
fn board_table(config: &Config) -> Result<Table, Error> {
    let table = Table::builtin();
    let path = config.data.join("boards.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(table),
        Err(source) => {
            return Err(Error::Io {
                operation: "read",
                path,
                source,
            });
        }
    };
    table
        .with_overrides(&text)
        .map_err(|source| Error::Boards { path, source })
}

/// A signage board must keep its cores for playing, so it renders only when told to. A machine that
/// nothing but its processor identifies is a PC or a server.
fn policy(config: &Config, board: &Detection) -> Policy {
    let is_board = matches!(board.how, How::Label | How::DeviceTree);
    let rendering = config.rendering.unwrap_or(if is_board {
        Rendering::Gate
    } else {
        Rendering::Render
    });
    Policy {
        render: rendering == Rendering::Render,
        allow_software: config.allow_software,
    }
}
