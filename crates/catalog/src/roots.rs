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

/// The pin of a variant, by its key.
pub fn variant(asset: &str, key: &str) -> String {
    format!("asset/{asset}/variant/{key}")
}

/// The asset and the key of a variant's pin, if it is one.
pub fn variant_of(pin: &str) -> Option<(&str, &str)> {
    pin.strip_prefix("asset/")?.split_once("/variant/")
}

/// What all pins of the asset itself begin with.
pub fn asset_prefix(asset: &str) -> String {
    format!("asset/{asset}/")
}

/// The pin of what a stream is made by.
pub fn recipe(stream: &str) -> String {
    format!("stream/{stream}/recipe")
}

/// The pin of a piece of a stream: a segment by its number, or `init`.
pub fn piece(stream: &str, rendition: &str, name: &str) -> String {
    format!("stream/{stream}/{rendition}/{name}")
}

/// What all pins of a stream begin with.
pub fn stream_prefix(stream: &str) -> String {
    format!("stream/{stream}/")
}

/// The name under which a playlist of a stream is published, by its path below the stream.
pub fn playlist(stream: &str, path: &str) -> String {
    format!("streams/{stream}/{path}")
}

/// The pin that says that a stream has its name from somebody, and no asset.
pub fn named(stream: &str) -> String {
    format!("named/{stream}")
}

/// What all names of a stream begin with.
pub fn names_prefix(stream: &str) -> String {
    format!("streams/{stream}/")
}

/// The asset a pin or a name belongs to, if it is one of ours.
pub fn asset_of(root: &str) -> Option<&str> {
    let (kind, rest) = root.split_once('/')?;
    let (asset, _) = rest.split_once('/')?;
    matches!(kind, "asset" | "stream" | "streams").then_some(asset)
}

/// Takes a stream out of the store: first its playlists, so that nobody reads a playlist whose
/// segments are going, then its segments.
///
/// # Errors
/// [`crate::Error::Store`].
pub fn drop_stream(store: &Store, stream: &str) -> Result<()> {
    // Those over all renditions go first: whoever has them not cannot find the others.
    let names = store.names(&names_prefix(stream))?;
    let (below, tops): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| depth(name) > 2);
    for name in tops.iter().chain(&below) {
        store.unpublish(name)?;
    }
    store.unpin_prefix(&stream_prefix(stream))?;
    Ok(())
}

fn depth(name: &str) -> usize {
    name.matches('/').count()
}

/// Takes a stream that has its name from somebody out of the store, with what says so.
///
/// # Errors
/// [`crate::Error::Store`].
pub fn drop_named(store: &Store, stream: &str) -> Result<()> {
    drop_stream(store, stream)?;
    store.unpin(&named(stream))?;
    Ok(())
}

/// Takes a variant's pin away, unless its row says that it is there by this server: then somebody
/// wants it again. Nobody may make it here meanwhile.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Sql`].
pub fn drop_variant(catalog: &Catalog, store: &Store, asset: &str, key: &str) -> Result<()> {
    if !catalog.has_made(asset, key)? {
        store.unpin(&variant(asset, key))?;
    }
    Ok(())
}

/// The pins of variants that have no row, or whose row is done with them: what a kill between two
/// steps left over.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Sql`].
pub fn orphaned_variants(catalog: &Catalog, store: &Store) -> Result<Vec<String>> {
    // The pins are listed before the rows: a pin's row is always older than itself.
    let pins = store.pins("asset/")?;
    let known = catalog.known_variants()?;
    let orphaned = pins.into_iter().map(|pin| pin.name).filter(|pin| {
        variant_of(pin)
            .is_some_and(|(asset, key)| !known.contains(&(asset.to_owned(), key.to_owned())))
    });
    Ok(orphaned.collect())
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

/// The assets (and streams) that have roots but neither a row nor an upload: what a kill between
/// two steps left over.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Sql`].
pub fn orphans(catalog: &Catalog, store: &Store) -> Result<HashSet<String>> {
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
    let named: HashSet<String> = store
        .pins("named/")?
        .into_iter()
        .map(|pin| pin.name)
        .collect();
    found.retain(|asset| !known.contains(asset) && !named.contains(&self::named(asset)));
    Ok(found)
}

/// Drops the roots of those. Gives back how many there were.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Sql`].
pub fn drop_orphans(catalog: &Catalog, store: &Store) -> Result<usize> {
    let found = orphans(catalog, store)?;
    for asset in &found {
        drop_asset(store, asset)?;
    }
    Ok(found.len())
}
