//! What must happen now and then: finishing what a kill interrupted, dropping expired uploads,
//! and giving back the space of blocks that nothing holds.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use catalog::roots;
use store::Cid;

use super::removal;
use crate::app::App;
use crate::problem::{Problem, chain};
use crate::time::now_ms;
use crate::{upload, variants};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(120);

/// How often the board table is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How many originals are looked at in one go.
const SHARED: usize = 1000;

/// How long a block lives after the last thing that held it: a player that read a playlist a
/// moment ago may still ask for what it names.
const GRACE: Duration = Duration::from_secs(90);

/// Runs until the server stops. Nothing here is needed to answer the first request, so it begins
/// after the start and not in it.
pub(super) fn run(app: &App) {
    upload::recover(app);
    finish_removals(app);
    if let Err(error) = variants::wish_all(app) {
        tracing::error!(error = %chain(&error), "cannot write what boards want");
    }
    let mut enrolled = app.catalog.boards_enrolled().unwrap_or_default();
    let mut next = Instant::now();
    while !app.dispatch.stopping() {
        if Instant::now() >= next {
            round(app);
            next = Instant::now() + ROUND;
        }
        if app.catalog.has_others() {
            keep_up(app);
        }
        // Boards that came by another server, or by the command line with a token.
        let now = app.catalog.boards_enrolled().unwrap_or_default();
        if app.table.follow() || now != enrolled {
            enrolled = now;
            if let Err(error) = variants::wish_all(app) {
                tracing::error!(error = %chain(&error), "cannot write what boards want");
            }
        }
        let until = next.min(Instant::now() + LOOK);
        let mut state = app.dispatch.lock();
        while !state.stopping && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = app
                .dispatch
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// What other servers' writes ask of this one, and what they may have of it.
fn keep_up(app: &App) {
    finish_removals(app);
    if let Err(error) = variants::stop_unwanted(app) {
        tracing::error!(error = %chain(&error), "cannot look for what is not wanted any more");
    }
    if app.store.reads_others() {
        if let Err(error) = share(app) {
            tracing::error!(error = %chain(&error), "cannot share originals");
        }
    }
}

/// Tells which originals are where the others can read them.
fn share(app: &App) -> Result<(), catalog::Error> {
    for (asset, cid) in app.catalog.unshared_originals(SHARED)? {
        let copied = match Cid::try_from(cid.as_str()) {
            Ok(cid) => app.store.stat(&cid)?.is_some_and(|stat| stat.copied),
            Err(_) => false,
        };
        if copied {
            app.catalog.share_original(&asset)?;
        }
    }
    Ok(())
}

fn round(app: &App) {
    if let Err(error) = upload::expire(app) {
        tracing::error!(error = %chain(&error), "cannot drop expired uploads");
    }
    match roots::drop_orphans(&app.catalog, &app.store) {
        Ok(0) => {}
        Ok(orphans) => tracing::info!(orphans, "dropped what removed assets left over"),
        Err(error) => tracing::error!(error = %chain(&error), "cannot compare the roots"),
    }
    variants::drop_stale(app);
    variants::drop_orphans(app);
    match app.store.collect(GRACE) {
        Ok(collected) if collected.objects > 0 => {
            tracing::info!(
                objects = collected.objects,
                bytes = collected.bytes,
                "collected what nothing holds"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::error!(error = %chain(&error), "cannot collect"),
    }
}

fn finish_removals(app: &App) {
    let log = |what: &str, id: &str, problem: Problem| {
        tracing::error!(
            asset = id,
            error = problem.detail,
            "cannot finish removing {what}"
        );
    };
    match app.catalog.deleted_assets() {
        Ok(assets) => {
            for id in assets {
                if let Err(problem) = removal::asset(app, &id) {
                    log("an asset", &id, problem);
                }
            }
        }
        Err(error) => log("assets", "", error.into()),
    }
    match app.catalog.lives(now_ms()) {
        Ok(lives) => {
            for live in lives.iter().filter(|live| live.cancelled) {
                if let Err(problem) = removal::live(app, &live.name) {
                    log("a live stream", &live.name, problem);
                }
            }
        }
        Err(error) => log("live streams", "", error.into()),
    }
    match app.catalog.cancelled_streams() {
        Ok(streams) => {
            for id in streams {
                match removal::stream(app, &id) {
                    Ok(()) => app.announce(&id),
                    Err(problem) => log("a stream", &id, problem),
                }
            }
        }
        Err(error) => log("streams", "", error.into()),
    }
}
