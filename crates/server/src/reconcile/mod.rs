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
pub(crate) mod live;
pub(crate) mod look;
pub(crate) mod making;
pub(crate) mod removal;
mod room;
mod upkeep;
pub(crate) mod variant;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use catalog::{Lane, Work, WorkKind};

use crate::Error;
use crate::app::App;
use crate::time::now_ms;

/// How often an idle lane looks for itself, in case somebody wrote to the catalog by hand.
const LOOK: Duration = Duration::from_secs(30);

/// The same where other servers write to the catalog, and their leases run out.
const LOOK_AT_OTHERS: Duration = Duration::from_secs(2);

/// Tells the lanes about changes, and knows what they are doing.
pub(crate) struct Dispatch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<Work, Running>,
    stopping: bool,
}

/// Work under way: who has its lease, and whether it is not wanted any more.
#[derive(Clone)]
struct Running {
    holder: String,
    cancelled: Arc<AtomicBool>,
}

/// The right to do one piece of work, and whether it is still wanted. Dropping it ends the lease.
pub(crate) struct Job<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) work: Work,
    cancelled: Arc<AtomicBool>,
    holder: String,
    /// The end of what its last worker said on standard error.
    words: Mutex<String>,
}

/// Why a job ended without its result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is not wanted any more, or the server stops. Nothing is written about it.
    Cancelled,
    /// It cannot be done; the message names the file and the reason.
    Failed(String),
    /// Its worker crashed or hangs, which another one may not.
    Died(String),
    /// The disk is full; with more room it can be done.
    Full(String),
}

impl Trouble {
    /// The reason, unless nobody wants to know.
    pub(crate) fn why(self) -> Option<String> {
        match self {
            Self::Cancelled => None,
            Self::Failed(why) | Self::Died(why) | Self::Full(why) => Some(why),
        }
    }
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Self {
        let trouble = if error.is_full() {
            Self::Full
        } else {
            Self::Failed
        };
        trouble(crate::problem::chain(&error))
    }
}

/// What a publisher meets is the store's error, or a worker that made what nobody asked for.
impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        let full = crate::disk::is_full(&error);
        let trouble = if full { Self::Full } else { Self::Failed };
        trouble(crate::problem::chain(&error))
    }
}

impl From<catalog::Error> for Trouble {
    fn from(error: catalog::Error) -> Self {
        // That says nothing about the work: it is wanted still, by whoever reaches the catalog.
        if error.is_away() {
            let error = crate::problem::chain(&error);
            tracing::error!(error, "the catalog cannot be asked");
            return Self::Cancelled;
        }
        let trouble = if error.is_disk_full() {
            Self::Full
        } else {
            Self::Failed
        };
        trouble(crate::problem::chain(&error))
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
        self.cancel_work(|work| work.asset == asset && kinds.contains(&work.kind));
    }

    /// The same for any work.
    pub(crate) fn cancel_work(&self, which: impl Fn(&Work) -> bool) {
        let mut state = self.lock();
        loop {
            let mut alive = false;
            for (work, running) in &state.running {
                if which(work) {
                    running.cancelled.store(true, Ordering::Relaxed);
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

    /// What is being done of a kind now.
    pub(crate) fn running(&self, kind: WorkKind) -> Vec<Work> {
        let state = self.lock();
        let running = state.running.keys().filter(|work| work.kind == kind);
        running.cloned().collect()
    }

    /// Does something that this work must not see half done, unless it is under way.
    pub(crate) fn unless_running<T>(&self, work: &Work, then: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        let idle = !state.running.contains_key(work);
        idle.then(then)
    }

    /// Ends work whose lease is another's, unless it has just ended and let go of it.
    fn lost(&self, work: &Work, running: &Running) {
        let state = self.lock();
        let now = state.running.get(work);
        if now.is_some_and(|now| Arc::ptr_eq(&now.cancelled, &running.cancelled)) {
            let asset = &work.asset;
            tracing::warn!(asset, "a lease ran out and is another's now");
            running.cancelled.store(true, Ordering::Relaxed);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Lets the machine rest, unless the server stops.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for running in state.running.values() {
            running.cancelled.store(true, Ordering::Relaxed);
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
    fn next(app: &'a Arc<App>, lane: Lane, holder: &str, once: bool) -> Option<Self> {
        let look = if app.catalog.has_others() {
            LOOK_AT_OTHERS
        } else {
            LOOK
        };
        let mut state = app.dispatch.lock();
        while !state.stopping {
            let now = now_ms();
            let until = now + lease_ms(app);
            // Under the lock, so that whoever cancels sees either no claim or a running job.
            match app.catalog.claim(lane, holder, now, until) {
                Ok(Some(work)) if state.running.contains_key(&work) => {
                    // The machine slept for longer than a lease, say: what is done goes on.
                    let to = state.running[&work].holder.as_str();
                    match app.catalog.hand_over(&work, holder, to) {
                        Ok(()) => continue,
                        // Its end brings it back.
                        Err(error) => tracing::error!(%error, "cannot hand a lease over"),
                    }
                }
                Ok(Some(work)) => {
                    store::fault::point("lease-taken");
                    let cancelled = Arc::new(AtomicBool::new(false));
                    let running = Running {
                        holder: holder.to_owned(),
                        cancelled: Arc::clone(&cancelled),
                    };
                    state.running.insert(work.clone(), running);
                    return Some(Self {
                        app,
                        work,
                        cancelled,
                        holder: holder.to_owned(),
                        words: Mutex::default(),
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
                .wait_timeout(state, look)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        None
    }

    pub(crate) fn asset(&self) -> &str {
        &self.work.asset
    }

    /// Keeps the end of what a worker said, for whoever has to see why it failed.
    pub(crate) fn keep_words(&self, words: String) {
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    fn last_words(&self) -> String {
        let words = self.words.lock();
        words.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Waits, until then at most, for something to change.
    pub(crate) fn pause(&self, until: Instant) -> Result<(), Trouble> {
        let state = self.app.dispatch.lock();
        if self.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.app.dispatch.changed.wait_timeout(state, left);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        if self.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        Ok(())
    }

    /// Who has the lease, for what may only be written while that is so.
    pub(crate) fn holder(&self) -> Option<&str> {
        Some(&self.holder)
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let mut state = self.app.dispatch.lock();
        if let Err(error) = self.app.catalog.release(&self.work, &self.holder) {
            tracing::warn!(asset = self.asset(), %error, "cannot release a lease");
        }
        state.running.remove(&self.work);
        drop(state);
        self.app.dispatch.changed.notify_all();
    }
}

/// Renews the leases of what is done here until the server stops: for the work itself one step, as
/// reading a long original from another server, may take longer than a lease. What has become
/// another's, because its lease ran out, is ended.
fn keep_leases(app: &App) {
    while !app.dispatch.stopping() {
        // Often enough that some may fail.
        app.dispatch.rest(app.config.lease / 4);
        let under_way = app.dispatch.lock().running.clone();
        for (work, running) in under_way {
            let until = now_ms() + lease_ms(app);
            match app.catalog.renew(&work, &running.holder, until) {
                Ok(true) => {}
                Ok(false) => app.dispatch.lost(&work, &running),
                // The job's own writes meet it too.
                Err(error) => tracing::warn!(asset = work.asset, %error, "cannot renew a lease"),
            }
        }
    }
}

/// How long a lease lasts that is not renewed.
fn lease_ms(app: &App) -> i64 {
    i64::try_from(app.config.lease.as_millis()).unwrap_or(i64::MAX / 4)
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
        reconciler.spawn("kinora-upkeep".to_owned(), |app| upkeep::run(app))?;
        reconciler.spawn("kinora-leases".to_owned(), |app| keep_leases(app))?;
        reconciler.spawn("kinora-look".to_owned(), |app| {
            lane(app, Lane::Quick, "look")
        })?;
        for number in 0..app.config.lives {
            reconciler.spawn(format!("kinora-live-{number}"), move |app| {
                lane(app, Lane::Live, &format!("live-{number}"));
            })?;
        }
        for number in 0..app.config.renders.max(1) {
            reconciler.spawn(format!("kinora-rend-{number}"), move |app| {
                lane(app, Lane::Render, &format!("render-{number}"));
            })?;
        }
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
        run: impl FnOnce(&Arc<App>) + Send + 'static,
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

/// Does the lane's work until the server stops. Holders are told apart by server and process, so
/// that a lease outlives its holder by no more than its time.
fn lane(app: &Arc<App>, lane: Lane, name: &str) {
    let holder = app
        .catalog
        .holder(&format!("{}/{name}", std::process::id()));
    while let Some(job) = Job::next(app, lane, &holder, false) {
        let (asset, name) = (job.asset().to_owned(), job.work.name());
        let mut rest = Duration::ZERO;
        match job.work.kind {
            WorkKind::Probe => look::probe(&job),
            WorkKind::Thumbnail => look::thumbnail(&job),
            WorkKind::Stream => making::stream(&job),
            WorkKind::Live => live::live(&job),
            WorkKind::Render => {
                if variant::render(&job) {
                    rest = app.render_pause;
                }
            }
        }
        drop(job);
        app.set_progress(&name, None);
        app.announce(&asset);
        // What was found may be what another lane waits for.
        app.dispatch.wake();
        app.dispatch.rest(rest);
    }
}
