//! Kinora's server: the HTTP API, the page, the gateway to stored content, and the reconciler
//! that makes true what the catalog wants.
//!
//! [`Server::open`] takes the data folder and the address, [`Server::run`] serves until it is
//! told to stop. Handlers never block the runtime: disk and database work runs on its blocking
//! threads, media work in child processes ([`worker`]) that `reconcile` starts and watches.
//! No libav call is made in this process, and no file of a client is parsed in it.

#![deny(unsafe_code)]

mod api;
mod app;
pub mod auth;
mod border;
mod cgroup;
mod config;
mod disk;
mod events;
mod fsck;
mod gateway;
mod growing;
mod live;
mod lock;
mod page;
mod problem;
mod process;
mod reconcile;
mod routes;
mod schedule;
mod shown;
mod streams;
mod table;
mod time;
mod tls;
mod upload;
mod variants;
pub mod worker;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use auth::network::{Network, NotANetwork};
pub use config::{Certificate, Config, Rendering};
pub use fsck::{Broken, Checked, Fsck, Promise};
pub use publish::Target as WebhookTarget;
pub use routes::{openapi, registered};
pub use time::rfc3339;
pub use tls::TlsError;

use app::App;
use tls::{Door, Peer, Tls};

/// How long open connections may go on after the server was told to stop.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why the server did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another server uses the data folder.
    #[error("the data folder {data} is in use by another kinora server{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The data folder.
        data: PathBuf,
        /// The other server's process, when it said so.
        pid: Option<u32>,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file or folder of the server's own could not be used.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate for TLS cannot be used.
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    /// The store could not be opened.
    #[error("cannot open the store")]
    Store(#[from] store::Error),
    /// The catalog could not be opened.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The catalog that was named is not that of the data folder.
    #[error("the catalog of {data} {why}")]
    Database {
        /// The data folder.
        data: PathBuf,
        /// Where it is instead.
        why: &'static str,
    },
    /// The user's own board table is wrong.
    #[error("the board table {path} is wrong")]
    Boards {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: boards::Error,
    },
}

/// A server that has its data folder and its address, and accepts connections as soon as it runs.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    lock: lock::DataLock,
}

impl Server {
    /// Takes the data folder (made when it is not there) and the address. Connections that come
    /// from here on wait until [`Server::run`].
    ///
    /// # Errors
    /// [`Error`] when another server has the folder, the address is taken, or the store, the
    /// catalog or the board table cannot be opened.
    pub fn open(config: Config) -> Result<Self, Error> {
        let lock = lock::DataLock::take(&config.data)?;
        let tls = config.tls.clone().map(Tls::open).transpose()?;
        let listen = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let app = App::open(config, address)?;
        Ok(Self {
            app: Arc::new(app),
            listener,
            address,
            tls,
            lock,
        })
    }

    /// Where it is reached, as `https://192.0.2.1:7420`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The address it listens on; the port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The secret of an admin's token, when this start made the first one: nobody can read it again.
    pub fn first_token(&self) -> Option<&str> {
        self.app.first_token.as_deref()
    }

    /// Serves until `shutdown` ends, then stops the workers and lets open requests finish for a
    /// few seconds. What was unfinished goes on at the next start.
    ///
    /// # Errors
    /// [`Error`] when a thread cannot be started or the address stops working.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let Self {
            app,
            listener,
            address,
            tls,
            lock,
        } = self;
        let listen = |source| Error::Listen { address, source };
        let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
        let door = Door::new(listener, tls.as_ref()).map_err(listen)?;
        tokio::spawn(upload::remote::run(Arc::clone(&app)));
        if let Some(tls) = tls {
            tokio::spawn(tls.follow(app.stopping.clone()));
        }
        let reconciler = reconcile::Reconciler::start(&app)?;
        let mirror = app.store.mirror(tell)?;
        let router = routes::router(Arc::clone(&app));
        process::release_startup_pages();

        let stopping = app.stopping.clone();
        let stopped = app.stopping.clone();
        tokio::spawn(async move {
            shutdown.await;
            stopping.cancel();
        });
        let service = router.into_make_service_with_connect_info::<Peer>();
        let serving =
            axum::serve(door, service).with_graceful_shutdown(stopped.clone().cancelled_owned());
        let outcome = tokio::select! {
            outcome = serving => outcome.map_err(listen),
            () = async { stopped.cancelled().await; tokio::time::sleep(FAREWELL).await } => Ok(()),
        };
        app.stopping.cancel();
        // Joins the workers' threads: a few milliseconds, because their children are killed.
        let _ = tokio::task::spawn_blocking(move || drop((reconciler, mirror))).await;
        drop(lock);
        outcome
    }
}

/// Opens a server, says where it listens, and runs it until `shutdown` ends.
///
/// # Errors
/// Those of [`Server::open`] and [`Server::run`].
pub async fn serve(
    config: Config,
    listening: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let server = Server::open(config)?;
    listening(server.local_addr());
    server.run(shutdown).await
}

/// What the store's mirror has to say goes to the log; the work goes on without its backend.
fn tell(event: store::MirrorEvent) {
    match event {
        store::MirrorEvent::Trouble(reason) => {
            tracing::warn!(reason, "objects cannot be copied to the store's backend");
        }
        _ => tracing::info!("objects are copied to the store's backend again"),
    }
}

/// The runtime the server is made for: two threads for sockets and a bounded number that may
/// block on the disk, which end when idle.
///
/// # Errors
/// When the threads cannot be started.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_name("kinora-http")
        .enable_all()
        .build()
}
