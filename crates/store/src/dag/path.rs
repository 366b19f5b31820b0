//! From a root along a path to what it names: through UnixFS directories, sharded or not, and
//! through the maps and lists of DAG-CBOR to their links (path gateway specification, "Content
//! resolution"). Symbolic links are not followed.

use super::{
    AnyCid, Blocks, DAG_CBOR, Entity, Link, Malformed, Shard, cid_of_link, entity, hamt::Slots,
};
use crate::{Error, cbor};

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What the path names.
    pub cid: AnyCid,
    /// The root and what each segment that is a link leads to, `cid` last.
    pub roots: Vec<AnyCid>,
    /// The blocks on the way, without `cid`.
    pub via: Vec<AnyCid>,
}

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// There is nothing of this name.
    #[error("no {segment:?} in {cid}")]
    NotFound {
        /// What has no such entry.
        cid: String,
        /// The name that was looked for.
        segment: String,
    },
    /// The path ends within a DAG-CBOR document.
    #[error("the path ends inside {cid}; only links lead on")]
    Inside {
        /// The document.
        cid: String,
    },
    /// A block on the way cannot be had, or makes no sense.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Follows a path.
pub fn resolve(
    blocks: impl Blocks,
    root: &AnyCid,
    path: &[String],
) -> Result<Resolved, Unresolved> {
    let mut way = Resolved {
        cid: *root,
        roots: vec![*root],
        via: Vec::new(),
    };
    let mut rest = path;
    while !rest.is_empty() {
        let taken = step(&blocks, &mut way, rest)?;
        way.roots.push(way.cid);
        rest = &rest[taken..];
    }
    Ok(way)
}

/// Goes one link further and says how many segments that took.
fn step(blocks: &impl Blocks, way: &mut Resolved, path: &[String]) -> Result<usize, Unresolved> {
    let cid = way.cid;
    let missing = |segment: &str| Unresolved::NotFound {
        cid: cid.to_string(),
        segment: segment.to_owned(),
    };
    let malformed = |malformed: Malformed| Unresolved::Store(malformed.of(&cid));
    let block = blocks.needed(&cid)?;
    way.via.push(cid);
    if cid.codec() == DAG_CBOR {
        return match descend(&block, path).map_err(malformed)? {
            Step::Link(next, taken) => {
                way.cid = next;
                Ok(taken)
            }
            Step::Nothing(segment) => Err(missing(segment)),
            Step::Inside => Err(Unresolved::Inside {
                cid: cid.to_string(),
            }),
        };
    }
    let name = &path[0];
    let found = match entity(&cid, &block).map_err(malformed)? {
        Some(Entity::Directory(links)) => links.into_iter().find(|link| link.name == *name),
        Some(Entity::Shard(shard)) => in_shards(blocks, way, shard, name)?,
        _ => None,
    };
    way.cid = found.ok_or_else(|| missing(name))?.cid;
    Ok(1)
}

enum Step<'a> {
    /// To another block, over so many segments.
    Link(AnyCid, usize),
    Nothing(&'a str),
    Inside,
}

fn descend<'a>(block: &[u8], path: &'a [String]) -> Result<Step<'a>, Malformed> {
    let broken = |_| Malformed("not DAG-CBOR");
    let mut document = cbor::Reader::new(block);
    for (taken, segment) in path.iter().enumerate() {
        if !document.descend(segment).map_err(broken)? {
            return Ok(Step::Nothing(segment));
        }
        if let cbor::Item::Link(cid) = document.clone().item().map_err(broken)? {
            return Ok(Step::Link(cid_of_link(cid)?, taken + 1));
        }
    }
    Ok(Step::Inside)
}

/// Follows the name's hash down the shards.
fn in_shards(
    blocks: &impl Blocks,
    way: &mut Resolved,
    mut shard: Shard,
    name: &str,
) -> Result<Option<Link>, Error> {
    let mut slots = Slots::of(name);
    // The hash runs out after 21 levels of the narrowest shards.
    while let Some(slot) = slots.next(shard.bits) {
        let width = shard.prefix();
        let prefix = format!("{slot:0width$X}");
        let mut candidates = shard
            .links
            .into_iter()
            .filter(|link| link.name.starts_with(&prefix));
        // At a slot there is one entry, or one shard with all that fall there.
        let Some(link) = candidates.find(|link| {
            let rest = &link.name[width..];
            rest.is_empty() || rest == name
        }) else {
            return Ok(None);
        };
        if link.name.len() > width {
            return Ok(Some(link));
        }
        shard = shard_at(blocks, &link.cid)?;
        way.via.push(link.cid);
    }
    Ok(None)
}

/// Lists the entries of a sharded directory, up to a number of them.
pub(crate) fn entries(blocks: impl Blocks, shard: Shard, most: usize) -> Result<Vec<Link>, Error> {
    let mut found = Vec::new();
    let mut visited = 0;
    let mut levels = vec![(shard.prefix(), shard.links.into_iter())];
    while let Some((width, links)) = levels.last_mut() {
        let (width, Some(mut link)) = (*width, links.next()) else {
            levels.pop();
            continue;
        };
        if link.name.len() > width {
            link.name.drain(..width);
            found.push(link);
        } else {
            let deeper = shard_at(&blocks, &link.cid)?;
            levels.push((deeper.prefix(), deeper.links.into_iter()));
            visited += 1;
        }
        // A shard has two entries below it at least, or its parent would have had the one. A trie
        // without entries could otherwise keep us for ever.
        if found.len() == most || visited > most {
            break;
        }
    }
    Ok(found)
}

fn shard_at(blocks: &impl Blocks, cid: &AnyCid) -> Result<Shard, Error> {
    let block = blocks.needed(cid)?;
    match entity(cid, &block).map_err(|e| e.of(cid))? {
        Some(Entity::Shard(shard)) => Ok(shard),
        _ => Err(Malformed("not a shard, as said").of(cid)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Heap;
    use super::*;
    use crate::unixfs::RAW;

    fn path(text: &str) -> Vec<String> {
        let segments = text.split('/').filter(|s| !s.is_empty());
        segments.map(str::to_owned).collect()
    }

    #[test]
    fn ways() {
        let mut heap = Heap::default();
        let leaf = heap.put(RAW, b"leaf".to_vec());
        let inner = heap.directory(&[("leaf", leaf), ("ą", leaf)]);
        let mut document = Vec::new();
        cbor::put_map(&mut document, 2);
        cbor::put_text(&mut document, "n");
        cbor::put_uint(&mut document, 1);
        cbor::put_text(&mut document, "list");
        cbor::put_array(&mut document, 1);
        cbor::put_link(&mut document, &inner.to_bytes());
        let document = heap.put(DAG_CBOR, document);
        let root = heap.directory(&[("inner", inner), ("document", document)]);
        let gone = heap.directory(&[]);
        let broken = heap.directory(&[("gone", gone)]);
        heap.0.remove(&gone);
        type Row<'a> = (AnyCid, &'a str, Result<(AnyCid, usize, usize), &'a str>);
        let rows: [Row<'_>; 11] = [
            (root, "", Ok((root, 1, 0))),
            (root, "inner", Ok((inner, 2, 1))),
            (root, "inner/leaf", Ok((leaf, 3, 2))),
            (root, "inner/ą", Ok((leaf, 3, 2))),
            (root, "document/list/0/leaf", Ok((leaf, 4, 3))),
            (root, "inner/other", Err("not found: other")),
            (root, "inner/leaf/below", Err("not found: below")),
            (root, "document/list/1", Err("not found: 1")),
            (root, "document/n", Err("inside")),
            (broken, "gone/x", Err("missing")),
            (gone, "", Ok((gone, 1, 0))),
        ];
        for (root, text, expected) in rows {
            let found = resolve(&heap, &root, &path(text));
            let found = found.map(|way| (way.cid, way.roots.len(), way.via.len()));
            let found = found.map_err(|error| match error {
                Unresolved::NotFound { segment, .. } => format!("not found: {segment}"),
                Unresolved::Inside { .. } => "inside".into(),
                Unresolved::Store(Error::Missing { .. }) => "missing".into(),
                Unresolved::Store(other) => other.to_string(),
            });
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn shards_that_lead_into_each_other_end() {
        let mut heap = Heap::default();
        let leaf = heap.put(RAW, b"leaf".to_vec());
        // A shard at every slot, deeper than any hash.
        let mut shard = heap.shard(&[("00name", leaf), ("01other", leaf)]);
        for _ in 0..40 {
            let slots: Vec<_> = (0..256).map(|slot| format!("{slot:02X}")).collect();
            let links: Vec<_> = slots.iter().map(|slot| (slot.as_str(), shard)).collect();
            shard = heap.shard(&links);
        }
        let found = resolve(&heap, &shard, &path("name"));
        assert!(matches!(found, Err(Unresolved::NotFound { .. })));
        let block = heap.needed(&shard).unwrap();
        let Ok(Some(Entity::Shard(shard))) = entity(&shard, &block) else {
            panic!("a shard was made");
        };
        // Without entries there is nothing to find, and an end to looking.
        assert_eq!(entries(&heap, shard, 1000).unwrap().len(), 1000);
    }
}
