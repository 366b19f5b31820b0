//! The reconciler: makes true what the catalog wants.
//!
//! Each lane is a few named threads that claim work (wanted and not there), do it, and claim
//! again. Media work is done by a child process per job ([`child`]); the thread that started it
//! stores what it makes. Nothing is kept between two claims but rows, so whatever dies, the next
//! claim finds what is still wanted.
//!
//! ```text
//! rows ─ claim ─► lease ─► child ─► files ─► store (pinned) ─► rows ─► playlists
//!   ▲                        │ dies, hangs, is cancelled                  │
//!   └────────────────────────┴── failed with a message, or wanted still ◄─┘
//! ```

pub(crate) mod child;
pub(crate) mod look;
pub(crate) mod making;
pub(crate) mod removal;
mod upkeep;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use catalog::{Lane, Work, WorkKind};

use crate::Error;
use crate::app::App;
use crate::time::now_ms;

/// How long a lease lasts; its holder renews it while the job moves.
const LEASE_MS: i64 = 60_000;

/// How often an idle lane looks for itself, in case leases of another server ran out.
const LOOK: Duration = Duration::from_secs(30);

/// Tells the lanes about changes, and knows what they are doing.
pub(crate) struct Dispatch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<(String, WorkKind), Arc<AtomicBool>>,
    stopping: bool,
}

/// The right to do one piece of work, and whether it is still wanted. Dropping it ends the lease.
pub(crate) struct Job<'a> {
    pub(crate) app: &'a App,
    pub(crate) work: Work,
    cancelled: Arc<AtomicBool>,
    holder: String,
}

/// Why a job ended without its result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is not wanted any more, or the server stops. Nothing is written about it.
    Cancelled,
    /// It cannot be done; the message names the file and the reason.
    Failed(String),
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Self {
        Self::Failed(crate::problem::chain(&error))
    }
}

impl From<catalog::Error> for Trouble {
    fn from(error: catalog::Error) -> Self {
        Self::Failed(crate::problem::chain(&error))
    }
}

impl Dispatch {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something new is wanted: the lanes look at once.
    pub(crate) fn wake(&self) {
        // Taking the lock orders this after a claim that saw the rows from before.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Stops all jobs on the asset of the given kinds and waits until they are gone. The rows
    /// must already say that the work is unwanted, or it is claimed again.
    pub(crate) fn cancel(&self, asset: &str, kinds: &[WorkKind]) {
        let mut state = self.lock();
        loop {
            let mut alive = false;
            for ((on, kind), cancelled) in &state.running {
                if on == asset && kinds.contains(kind) {
                    cancelled.store(true, Ordering::Relaxed);
                    alive = true;
                }
            }
            if !alive {
                return;
            }
            self.changed.notify_all();
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for cancelled in state.running.values() {
            cancelled.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn stopping(&self) -> bool {
        self.lock().stopping
    }
}

impl<'a> Job<'a> {
    /// Claims the lane's most urgent work, waiting until there is some. `None`: the server stops,
    /// or, with `once`, nothing is wanted.
    fn next(app: &'a App, lane: Lane, holder: &str, once: bool) -> Option<Self> {
        let mut state = app.dispatch.lock();
        while !state.stopping {
            let now = now_ms();
            // Under the lock, so that whoever cancels sees either no claim or a running job.
            match app.catalog.claim(lane, holder, now, now + LEASE_MS) {
                Ok(Some(work)) => {
                    let cancelled = Arc::new(AtomicBool::new(false));
                    let key = (work.asset.clone(), work.kind);
                    state.running.insert(key, Arc::clone(&cancelled));
                    return Some(Self {
                        app,
                        work,
                        cancelled,
                        holder: holder.to_owned(),
                    });
                }
                Ok(None) if once => return None,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = %crate::problem::chain(&error), "cannot look for work");
                }
            }
            state = app
                .dispatch
                .changed
                .wait_timeout(state, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        None
    }

    pub(crate) fn asset(&self) -> &str {
        &self.work.asset
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Keeps the lease. An error is left to the job's own writes, which meet it too.
    pub(crate) fn renew(&self) {
        let until = now_ms() + LEASE_MS;
        if let Err(error) = self.app.catalog.renew(&self.work, &self.holder, until) {
            tracing::warn!(asset = self.asset(), %error, "cannot renew a lease");
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let key = (self.work.asset.clone(), self.work.kind);
        let mut state = self.app.dispatch.lock();
        if let Err(error) = self.app.catalog.release(&self.work, &self.holder) {
            tracing::warn!(asset = key.0, %error, "cannot release a lease");
        }
        state.running.remove(&key);
        drop(state);
        self.app.dispatch.changed.notify_all();
    }
}

/// The lanes' threads. Dropping it stops the jobs and waits for the threads.
pub(crate) struct Reconciler {
    app: Arc<App>,
    threads: Vec<JoinHandle<()>>,
}

impl Reconciler {
    pub(crate) fn start(app: &Arc<App>) -> Result<Self, Error> {
        let mut reconciler = Self {
            app: Arc::clone(app),
            threads: Vec::new(),
        };
        reconciler.spawn("kinora-upkeep".to_owned(), upkeep::run)?;
        reconciler.spawn("kinora-look".to_owned(), |app| {
            lane(app, Lane::Quick, "look")
        })?;
        for number in 0..app.config.jobs.max(1) {
            reconciler.spawn(format!("kinora-make-{number}"), move |app| {
                lane(app, Lane::Long, &format!("make-{number}"));
            })?;
        }
        Ok(reconciler)
    }

    fn spawn(
        &mut self,
        name: String,
        run: impl FnOnce(&App) + Send + 'static,
    ) -> Result<(), Error> {
        let app = Arc::clone(&self.app);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || run(&app))
            .map_err(|source| Error::Io {
                operation: "start the thread",
                path: name.into(),
                source,
            })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.app.dispatch.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the reconciler panicked");
            }
        }
    }
}

/// Does the lane's work until the server stops. Holders are told apart by process, so that a
/// lease outlives its holder by no more than its time.
fn lane(app: &App, lane: Lane, name: &str) {
    let holder = format!("{}/{name}", std::process::id());
    while let Some(job) = Job::next(app, lane, &holder, false) {
        let asset = job.asset().to_owned();
        match job.work.kind {
            WorkKind::Probe => look::probe(&job),
            WorkKind::Thumbnail => look::thumbnail(&job),
            WorkKind::Stream => making::stream(&job),
        }
        drop(job);
        app.set_progress(&asset, None);
        app.announce(&asset);
        // What was found may be what another lane waits for.
        app.dispatch.wake();
    }
}
