//! What enrolled boards want of the assets, written down whenever something that decides it changes:
//! an asset was looked at, a board came, went or got another policy, the server starts with another
//! table or other settings.

use std::sync::PoisonError;

use boards::{Board, Facts, Policy};
use catalog::variant::{Want, Wish, want};
use catalog::{BoardPolicy, EnrolledBoard, VariantState, Work, WorkKind, roots};
use serde::Serialize;
use store::fault;

use crate::app::App;
use crate::problem::chain;
use crate::shown::Policies;
use crate::time::now_ms;
use crate::worker::protocol::RenderSettings;

/// What renders: with another number every encoded variant is made again.
const RENDERER: u32 = 1;

/// Assets looked at between two looks at whether the server stops.
const BATCH: usize = 100;

/// How variants are encoded here.
pub(crate) fn settings(app: &App) -> RenderSettings {
    RenderSettings {
        crf: app.config.quality,
        preset: app.config.preset.clone(),
    }
}

/// The same as part of every variant's key.
pub(crate) fn recipe(app: &App) -> String {
    #[derive(Serialize)]
    struct Recipe {
        renderer: u32,
        settings: RenderSettings,
    }
    let recipe = Recipe {
        renderer: RENDERER,
        settings: settings(app),
    };
    // A number and two texts.
    serde_json::to_string(&recipe).unwrap_or_default()
}

/// The policy of a board: its own if it has one, else the server's.
pub(crate) fn policy(app: &App, own: Option<BoardPolicy>) -> Policy {
    Policy {
        render: own.map_or(app.policy.render, |own| own == BoardPolicy::Render),
        ..app.policy
    }
}

/// Policies of the enrolled boards that the table knows.
pub(crate) fn policies(app: &App) -> Result<Policies, catalog::Error> {
    let boards = app.catalog.boards_enrolled()?.into_iter();
    Ok(boards
        .filter_map(|board| {
            let row = app.table.get(&board.id)?;
            Some((row.id, policy(app, board.policy)))
        })
        .collect())
}

/// Enrols a board kind, or changes its policy, and wants for it what it is to play. Blocks.
pub(crate) fn enrol(
    app: &App,
    id: &str,
    policy: Option<BoardPolicy>,
) -> Result<(), catalog::Error> {
    if app.catalog.enrol_board(id, policy, now_ms())? {
        tracing::info!(board = id, "board enrolled");
        wish_all(app)?;
    }
    Ok(())
}

/// Writes what is wanted of one asset. Blocks.
pub(crate) fn wish(app: &App, asset: &str) -> Result<(), catalog::Error> {
    let Some(row) = app.catalog.asset(asset, now_ms())? else {
        return Ok(());
    };
    let Some(facts) = row.facts() else {
        return Ok(());
    };
    let alone = app.wishing.lock().unwrap_or_else(PoisonError::into_inner);
    // Asked for here, so that nobody writes what boards wanted that were enrolled earlier.
    let boards = app.catalog.boards_enrolled()?;
    let wishes = wishes(app, &boards, row.created_ms, &facts);
    app.catalog.wish(&[(asset, wishes)])?;
    fault::point("wish-written");
    drop(alone);
    drop_stale(app);
    stop_unwanted(app)
}

/// Writes what is wanted of every asset, stops what is not wanted any more and begins with what is.
/// Blocks; with very many assets for seconds.
pub(crate) fn wish_all(app: &App) -> Result<(), catalog::Error> {
    let mut after = String::new();
    while !app.stopping.is_cancelled() {
        let assets = app.catalog.facts_after(&after, BATCH)?;
        let Some(last) = assets.last() else { break };
        after.clone_from(&last.id);
        let alone = app.wishing.lock().unwrap_or_else(PoisonError::into_inner);
        let boards = app.catalog.boards_enrolled()?;
        let wanted: Vec<_> = assets
            .iter()
            .filter_map(|asset| {
                let facts: Facts = serde_json::from_str(&asset.probe).ok()?;
                let wishes = wishes(app, &boards, asset.created_ms, &facts);
                Some((asset.id.as_str(), wishes))
            })
            .collect();
        let changed = app.catalog.wish(&wanted)?;
        drop(alone);
        changed.iter().for_each(|id| app.announce(id));
    }
    stop_unwanted(app)?;
    drop_stale(app);
    app.dispatch.wake();
    Ok(())
}

/// The boards with what is made for them: of a picture one for all, which fits the largest target of
/// those that may have any.
pub(crate) fn rendered_for(app: &App, boards: &[EnrolledBoard], facts: &Facts) -> Vec<Board> {
    let mut known: Vec<_> = boards
        .iter()
        .filter_map(|enrolled| Some((app.table.get(&enrolled.id)?, policy(app, enrolled.policy))))
        .collect();
    if facts.picture {
        let may = known.iter().filter(|(_, policy)| policy.render);
        let sides = may.map(|(board, _)| (board.target.width, board.target.height));
        let largest = sides.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
        for (board, _) in &mut known {
            if let Some((width, height)) = largest {
                (board.target.width, board.target.height) = (width, height);
            }
        }
    }
    known.into_iter().map(|(board, _)| board).collect()
}

/// What the boards want of an asset with these facts.
fn wishes(app: &App, boards: &[EnrolledBoard], created_ms: i64, facts: &Facts) -> Vec<Wish> {
    let recipe = recipe(app);
    let rendered_for = rendered_for(app, boards, facts);
    let wishes = boards.iter().filter_map(|enrolled| {
        let board = rendered_for.iter().find(|board| board.id == enrolled.id)?;
        match want(facts, board, policy(app, enrolled.policy), &recipe) {
            Want::Variant(spec) => Some(Wish {
                board: enrolled.id.clone(),
                spec,
                since_ms: created_ms.max(enrolled.since_ms),
            }),
            Want::Original | Want::Nothing => None,
        }
    });
    wishes.collect()
}

/// Lets go of what no board plays any more.
pub(crate) fn drop_stale(app: &App) {
    let _alone = app.wishing.lock().unwrap_or_else(PoisonError::into_inner);
    let dropped = app.catalog.forget_stale_variants().and_then(|stale| {
        if !stale.is_empty() {
            fault::point("stale-forgotten");
        }
        for (asset, key) in &stale {
            unpin(app, asset, key)?;
        }
        Ok(stale.len())
    });
    match dropped {
        Ok(0) => {}
        Ok(variants) => tracing::info!(variants, "dropped variants that nobody plays"),
        Err(error) => tracing::error!(error = %chain(&error), "cannot drop stale variants"),
    }
}

/// Lets go of what was pinned for a variant that was not wanted when somebody looked. Another server
/// may have wished for it since: then a lane here may be at it, and has the pin, or be done with it.
fn unpin(app: &App, asset: &str, key: &str) -> Result<(), catalog::Error> {
    let work = Work {
        kind: WorkKind::Render,
        asset: asset.to_owned(),
        variant: Some(key.to_owned()),
    };
    let drop = || roots::drop_variant(&app.catalog, &app.store, asset, key);
    app.dispatch.unless_running(&work, drop).unwrap_or(Ok(()))
}

/// Lets go of what was pinned for variants that are not wanted any more.
pub(crate) fn drop_orphans(app: &App) {
    let orphaned = roots::orphaned_variants(&app.catalog, &app.store);
    let dropped = orphaned.and_then(|pins| {
        for (asset, key) in pins.iter().filter_map(|pin| roots::variant_of(pin)) {
            unpin(app, asset, key)?;
        }
        Ok(pins.len())
    });
    match dropped {
        Ok(0) => {}
        Ok(pins) => tracing::info!(pins, "dropped what unwanted variants left over"),
        Err(error) => tracing::error!(error = %chain(&error), "cannot compare the variants"),
    }
}

/// Stops the workers of variants that an operator paused or cancelled or that no board wants any
/// more, and waits until they are gone.
pub(crate) fn stop_unwanted(app: &App) -> Result<(), catalog::Error> {
    let paused = app.catalog.rendering_paused()?;
    for work in app.dispatch.running(WorkKind::Render) {
        let row = app.catalog.asset(&work.asset, now_ms())?;
        let wanted = row.is_some_and(|row| {
            !row.paused
                && row.variants.iter().any(|variant| {
                    let state = variant.state();
                    work.variant.as_ref() == Some(&variant.key)
                        && matches!(state, VariantState::Waiting | VariantState::Running)
                })
        });
        if paused || !wanted {
            app.dispatch.cancel_work(|running| *running == work);
            app.announce(&work.asset);
        }
    }
    Ok(())
}
