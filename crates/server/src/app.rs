//! What every handler and worker thread shares.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::uri::Authority;
use boards::{Detection, How, Policy};
use catalog::{Catalog, Role, Token};
use ladder::publish::Update;
use publish::{StoredUnits, Webhook};
use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::auth::limit::Limit;
use crate::auth::secret;
use crate::config::{Config, Rendering};
use crate::disk::Disk;
use crate::events::Hub;
use crate::growing::Growing;
use crate::problem::{Answer, Problem};
use crate::reconcile::Dispatch;
use crate::shown::{self, Progress};
use crate::table::LiveTable;
use crate::time::now_ms;
use crate::upload::Uploads;
use crate::{Error, upload, variants};

/// The file of a data folder that says in which database its catalog is.
const DATABASE: &str = "database";

/// How long a stream that ended waits for its webhook to hear everything.
const FAREWELL: Duration = Duration::from_secs(5);

/// The server's state. Everything in it may be used from any thread.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
    pub(crate) store: Store,
    pub(crate) catalog: Catalog,
    pub(crate) disk: Disk,
    pub(crate) hub: Hub,
    pub(crate) table: LiveTable,
    pub(crate) policy: Policy,
    pub(crate) board: Detection,
    pub(crate) render_pause: Duration,
    /// Held by whoever writes what boards want, or lets go of what they do not.
    pub(crate) wishing: Mutex<()>,
    pub(crate) uploads: Uploads,
    pub(crate) dispatch: Dispatch,
    pub(crate) growing: Growing,
    pub(crate) units: Arc<StoredUnits>,
    webhook: Option<Webhook>,
    /// Receivers of single streams.
    webhooks: Mutex<HashMap<String, Webhook>>,
    pub(crate) stopping: CancellationToken,
    /// Whether requests need a token.
    pub(crate) login: bool,
    /// The secret of the first admin's token, when this start made it.
    pub(crate) first_token: Option<String>,
    /// Where browsers outside reach the server.
    pub(crate) public_host: Option<Authority>,
    /// A token was revoked, or a session ended.
    pub(crate) revoked: Notify,
    /// A file is to be fetched.
    pub(crate) fetch: Notify,
    /// Guesses at tokens and codes.
    pub(crate) tries: Limit,
    /// How far running streams are. Not in the catalog, because it is worth nothing after a crash.
    progress: Mutex<HashMap<String, Progress>>,
}

impl App {
    /// Opens everything in the data folder, which the caller has locked.
    pub(crate) fn open(config: Config, address: SocketAddr) -> Result<Self, Error> {
        let table = LiveTable::open(config.data.join("boards.toml"))?;
        let label = std::env::var("DEVICE_TYPE").ok();
        let board = boards::detect(
            std::path::Path::new("/"),
            label.as_deref(),
            std::env::consts::ARCH,
            &table.now(),
        );
        let policy = policy(&config, &board);
        let store = Store::open_url(config.data.join("store"), config.store.as_deref())?;
        let catalog = open_catalog(&config.data, config.database.as_deref(), &store)?;
        let login = needs_login(&config, address);
        let first_token = if login { first_token(&catalog)? } else { None };
        let units = Arc::new(StoredUnits::new(&store, config.units));
        let webhook = config.webhook.clone().map(Webhook::start).transpose();
        let webhook = webhook.map_err(|source| Error::Io {
            operation: "start the thread for",
            path: "webhooks".into(),
            source,
        })?;
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
            render_pause: render_pause(&config, &board),
            wishing: Mutex::default(),
            board,
            uploads,
            dispatch: Dispatch::new(),
            growing: Growing::default(),
            units,
            webhook,
            webhooks: Mutex::default(),
            stopping: CancellationToken::new(),
            login,
            first_token,
            public_host: public_host(&config),
            revoked: Notify::new(),
            fetch: Notify::new(),
            tries: Limit::default(),
            progress: Mutex::default(),
            config,
        };
        app.forget_the_last_run()?;
        Ok(app)
    }

    /// The lock proves that no other server has this data folder: the leases, work folders and half
    /// requests that belong to it are nobody's. Other servers' leases run out by themselves.
    fn forget_the_last_run(&self) -> Result<(), Error> {
        self.catalog.end_leases()?;
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
        let policies = variants::policies(self)?;
        Ok(asset.map(|asset| shown::asset(self, &asset, &policies)))
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

    /// Something happened to a stream: tells everybody who listens, elsewhere too.
    pub(crate) fn follow(&self, stream: &str, update: &Update) {
        self.growing.note(stream, update);
        // Parts are for players, who ask for them by themselves.
        if matches!(update, Update::Part { .. }) {
            return;
        }
        self.hub.stream(stream, update);
        let own = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        for webhook in self.webhook.iter().chain(own.get(stream)) {
            webhook.tell(stream, update);
        }
    }

    /// Tells a receiver of its own what happens to this stream.
    pub(crate) fn follow_with(&self, stream: &str, target: publish::Target) -> std::io::Result<()> {
        let webhook = Webhook::start(target)?;
        let mut own = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        own.insert(stream.to_owned(), webhook);
        Ok(())
    }

    /// The stream's own receiver has heard everything, or has had its time.
    pub(crate) fn unfollow(&self, stream: &str) {
        let mut own = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let webhook = own.remove(stream);
        drop(own);
        if let Some(webhook) = webhook {
            webhook.flush(FAREWELL);
        }
    }

    /// Tells everybody who listens how the live stream is now. Blocks; the catalog is read.
    pub(crate) fn announce_live(&self, name: &str) {
        if self.hub.is_idle() {
            return;
        }
        match self.catalog.live(name, now_ms()) {
            Ok(Some(row)) => self.hub.live(&crate::live::shown(self, &row)),
            Ok(None) => {}
            Err(error) => tracing::error!(stream = name, %error, "cannot announce a change"),
        }
    }

    /// Notes what a stream waits for. Whether that is news.
    pub(crate) fn set_waiting(&self, id: &str, why: &str) -> bool {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let now = progress.entry(id.to_owned()).or_default();
        let news = now.waiting.as_deref() != Some(why);
        now.waiting = Some(why.to_owned());
        news
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

/// The catalog of a data folder: in PostgreSQL, where the store's name tells its servers apart, or
/// in the folder. With another catalog nothing in the folder would seem to be wanted, and all of it
/// would be swept, so a file says which one it is.
pub(crate) fn open_catalog(
    data: &Path,
    database: Option<&str>,
    store: &Store,
) -> Result<Catalog, Error> {
    let (file, mark) = (data.join("catalog.db"), data.join(DATABASE));
    let wrong = |why| Error::Database {
        data: data.to_owned(),
        why,
    };
    let io = |operation| {
        let path = mark.clone();
        move |source| Error::Io {
            operation,
            path,
            source,
        }
    };
    let known = match std::fs::read_to_string(&mark) {
        Ok(known) => Some(known),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(io("read")(error)),
    };
    let Some(url) = database else {
        return match known {
            Some(_) => Err(wrong("is in a database: name that with --database")),
            None => Ok(Catalog::open(&file)?),
        };
    };
    if known.is_none() && file.exists() {
        return Err(wrong("is in the folder, and not in the database"));
    }
    let catalog = Catalog::connect(url)?;
    let found = catalog.identity()?.unwrap_or_default();
    match known {
        Some(known) if known.trim() != found => return Err(wrong("is in another database")),
        Some(_) => {}
        None => keep(&mark, &found).map_err(io("write"))?,
    }
    Ok(catalog.served_by(&store.identity()?, store.reads_others()))
}

/// Writes a file of one line that is whole or not there.
fn keep(path: &Path, line: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = std::fs::File::create(&draft)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// A server that others can reach asks who they are. One behind a proxy listens on loopback and is
/// reached by everybody all the same.
fn needs_login(config: &Config, address: SocketAddr) -> bool {
    let behind_a_proxy = config.public_url.is_some() || !config.proxies.is_empty();
    config.login || behind_a_proxy || !address.ip().is_loopback()
}

fn public_host(config: &Config) -> Option<Authority> {
    let (_, host) = config.public_url.as_deref()?.split_once("://")?;
    host.parse().ok()
}

/// Makes an admin's token when there is none, so that somebody can make the others.
fn first_token(catalog: &Catalog) -> Result<Option<String>, Error> {
    let random = |source| Error::Io {
        operation: "read",
        path: "random numbers".into(),
        source,
    };
    let secret = secret::new_token().map_err(random)?;
    let token = Token {
        id: secret::new_id().map_err(random)?,
        name: "first admin".into(),
        role: Role::Admin,
        board: None,
        created_ms: now_ms(),
        used_ms: None,
    };
    let added = catalog.add_first_admin(&token, &secret::hash(&secret))?;
    Ok(added.then_some(secret))
}

/// A machine that nothing but its processor identifies is a PC or a server.
fn is_board(board: &Detection) -> bool {
    matches!(board.how, How::Label | How::DeviceTree)
}

/// A board plays meanwhile, and gets time to cool.
fn render_pause(config: &Config, board: &Detection) -> Duration {
    config.render_pause.unwrap_or(if is_board(board) {
        Duration::from_secs(60)
    } else {
        Duration::ZERO
    })
}

/// A signage board must keep its cores for playing, so it renders only when told to.
fn policy(config: &Config, board: &Detection) -> Policy {
    let rendering = config.rendering.unwrap_or(if is_board(board) {
        Rendering::Gate
    } else {
        Rendering::Render
    });
    Policy {
        render: rendering == Rendering::Render,
        allow_software: config.allow_software,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_renders_nothing_and_rests_unless_it_is_told_otherwise() {
        let told = |config: &mut Config| {
            config.rendering = Some(Rendering::Render);
            config.render_pause = Some(Duration::from_secs(5));
        };
        for (how, renders, rests_s) in [
            (How::Label, false, 60),
            (How::DeviceTree, false, 60),
            (How::Architecture, true, 0),
            (How::Fallback, true, 0),
        ] {
            let board = Detection {
                board_id: "pi4-64".into(),
                how,
                model: None,
            };
            let mut config = Config::new("data");
            let decided = |config: &Config| {
                let pause = render_pause(config, &board);
                (policy(config, &board).render, pause.as_secs())
            };
            assert_eq!(decided(&config), (renders, rests_s), "{how:?}");
            told(&mut config);
            assert_eq!(decided(&config), (true, 5), "{how:?}");
        }
    }
}
