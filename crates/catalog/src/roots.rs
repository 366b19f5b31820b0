//! The roots: which pins and names keep an asset's blocks alive.
//!
//! Every block that Kinora holds hangs on a pin or a name that begins with its asset's id, so
//! removal is "drop everything under this prefix", and a root whose asset has no row any more
//! (a kill between two steps of a removal) is found by comparing two lists.

use std::collections::HashSet;

use store::Store;

use crate::{Catalog, Result};

/// The pin of the uploaded original.
pub fn original(asset: &str) -> String {
    format!("asset/{asset}/original")
}

/// The pin of the thumbnail.
pub fn thumbnail(asset: &str) -> String {
    format!("asset/{asset}/thumbnail")
}

/// What all pins of the asset itself begin with.
pub fn asset_prefix(asset: &str) -> String {
    format!("asset/{asset}/")
}

/// The pin of one segment of the asset's stream.
pub fn segment(asset: &str, rung: &str, number: u64) -> String {
    format!("stream/{asset}/{rung}/{number:05}")
}

/// The pin of a rung's initialisation section.
pub fn init(asset: &str, rung: &str) -> String {
    format!("stream/{asset}/{rung}/init")
}

/// What all pins of the asset's stream begin with.
pub fn stream_prefix(asset: &str) -> String {
    format!("stream/{asset}/")
}

/// The name under which a rung's playlist is published.
pub fn rendition_name(asset: &str, rung: &str) -> String {
    format!("streams/{asset}/{rung}")
}

/// The name under which the master playlist is published. No rung is called `master`.
pub fn master_name(asset: &str) -> String {
    format!("streams/{asset}/master")
}

/// What all names of the asset's stream begin with.
pub fn names_prefix(asset: &str) -> String {
    format!("streams/{asset}/")
}

/// The asset a pin or a name belongs to, if it is one of ours.
pub fn asset_of(root: &str) -> Option<&str> {
    let (kind, rest) = root.split_once('/')?;
    let (asset, _) = rest.split_once('/')?;
    matches!(kind, "asset" | "stream" | "streams").then_some(asset)
}

/// Takes the asset's stream out of the store: first its playlists, so that nobody reads a
/// playlist whose segments are going, then its segments.
///
/// # Errors
/// [`crate::Error::Store`].
pub fn drop_stream(store: &Store, asset: &str) -> Result<()> {
    // The master goes first: whoever has it not cannot find the others.
    store.unpublish(&master_name(asset))?;
    for name in store.names(&names_prefix(asset))? {
        store.unpublish(&name)?;
    }
    store.unpin_prefix(&stream_prefix(asset))?;
    Ok(())
}

/// Takes the asset with everything made of it out of the store.
///
/// # Errors
/// [`crate::Error::Store`].
pub fn drop_asset(store: &Store, asset: &str) -> Result<()> {
    drop_stream(store, asset)?;
    store.unpin_prefix(&asset_prefix(asset))?;
    Ok(())
}

/// Unpins segments that no row names: those of a plan that was given up.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Sql`].
pub fn drop_stale_segments(catalog: &Catalog, store: &Store, asset: &str) -> Result<()> {
    let pins = store.pins(&stream_prefix(asset))?;
    if pins.is_empty() {
        return Ok(());
    }
    let mut named = HashSet::new();
    if let Some(stream) = catalog.asset(asset, 0)?.and_then(|asset| asset.stream) {
        for rung in &stream.rungs {
            named.insert(init(asset, &rung.name));
            let segments = catalog.segments(asset, &rung.name)?;
            named.extend(
                segments
                    .iter()
                    .map(|s| segment(asset, &rung.name, s.number)),
            );
        }
    }
    for pin in pins.iter().filter(|pin| !named.contains(&pin.name)) {
        store.unpin(&pin.name)?;
    }
    Ok(())
}

/// Drops the roots of assets that have neither a row nor an upload: what a kill between two
/// steps left over. Gives back how many assets that concerned.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Sql`].
pub fn drop_orphans(catalog: &Catalog, store: &Store) -> Result<usize> {
    // The roots are listed before the rows: a root's row or upload is always older than itself.
    let mut found: HashSet<String> = HashSet::new();
    for kind in ["asset/", "stream/"] {
        let pins = store.pins(kind)?;
        found.extend(
            pins.iter()
                .filter_map(|pin| asset_of(&pin.name))
                .map(str::to_owned),
        );
    }
    let names = store.names("streams/")?;
    found.extend(
        names
            .iter()
            .filter_map(|name| asset_of(name))
            .map(str::to_owned),
    );
    let known = catalog.known_assets()?;
    found.retain(|asset| !known.contains(asset));
    for asset in &found {
        drop_asset(store, asset)?;
    }
    Ok(found.len())
}
