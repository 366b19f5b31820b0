//! Taking an asset or its stream away: stop the work, take down the playlists, let go of the
//! blocks, drop the rows. In this order, and each step may be repeated, so that a kill between two
//! of them is finished at the next start.

use catalog::{WorkKind, roots};

use crate::app::App;
use crate::problem::Answer;

/// Finishes the removal of an asset whose row says `deleted`. Blocks.
pub(crate) fn asset(app: &App, id: &str) -> Answer<()> {
    app.dispatch.cancel(
        id,
        &[
            WorkKind::Probe,
            WorkKind::Thumbnail,
            WorkKind::Stream,
            WorkKind::Render,
        ],
    );
    roots::drop_asset(&app.store, id)?;
    store::fault::point("removal-let-go");
    app.catalog.forget_asset(id)?;
    Ok(())
}

/// Finishes the removal of a live stream whose row says `cancelled`. Blocks.
pub(crate) fn live(app: &App, name: &str) -> Answer<()> {
    app.dispatch.cancel(name, &[WorkKind::Live]);
    roots::drop_stream(&app.store, name)?;
    app.catalog.forget_live(name)?;
    Ok(())
}

/// Finishes the removal of a stream whose row says `cancelled`. Blocks.
pub(crate) fn stream(app: &App, id: &str) -> Answer<()> {
    app.dispatch.cancel(id, &[WorkKind::Stream]);
    roots::drop_stream(&app.store, id)?;
    app.catalog.forget_stream(id)?;
    Ok(())
}
