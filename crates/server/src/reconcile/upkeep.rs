//! What must happen now and then: finishing what a kill interrupted, dropping expired uploads,
//! and giving back the space of blocks that nothing holds.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use catalog::roots;

use super::removal;
use crate::app::App;
use crate::problem::{Problem, chain};
use crate::upload;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(120);

/// How long a block lives after the last thing that held it: a player that read a playlist a
/// moment ago may still ask for what it names.
const GRACE: Duration = Duration::from_secs(90);

/// Runs until the server stops. Nothing here is needed to answer the first request, so it begins
/// after the start and not in it.
pub(super) fn run(app: &App) {
    upload::recover(app);
    finish_removals(app);
    while !app.dispatch.stopping() {
        round(app);
        let until = Instant::now() + ROUND;
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

fn round(app: &App) {
    if let Err(error) = upload::expire(app) {
        tracing::error!(error = %chain(&error), "cannot drop expired uploads");
    }
    match roots::drop_orphans(&app.catalog, &app.store) {
        Ok(0) => {}
        Ok(orphans) => tracing::info!(orphans, "dropped what removed assets left over"),
        Err(error) => tracing::error!(error = %chain(&error), "cannot compare the roots"),
    }
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
