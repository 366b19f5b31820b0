//! The blocks of a graph in depth-first order, parents before children, links in their order: what
//! a CAR file holds (trustless gateway specification, "CAR Responses").
//!
//! A graph can be walked as far as a whole goes, or only as far as reading one file or listing one
//! directory needs. Blocks of identity CIDs are followed and never listed.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;

use super::{
    AnyCid, Blocks, Entity, MAX_DEPTH, MAX_PENDING, Malformed, all_links, entity, file::overlap,
};
use crate::{Error, unixfs::IDENTITY};

/// How far to go from the block a walk starts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// That block alone.
    Block,
    /// What reading the file, or listing the directory, takes; other blocks alone.
    Entity,
    /// What reading these bytes of the file takes; as `Entity` where it is no file.
    Bytes(Range<u64>),
    /// Everything below.
    All,
}

/// Walks a graph. Ends after the first error, which names the block that is missing or makes no
/// sense.
#[derive(Debug)]
pub struct Walk<B> {
    blocks: B,
    /// What is still to be visited, the next one last.
    pending: Vec<Visit>,
    /// `None`: a block is given as often as it is met.
    met: Option<HashMap<Key, Met>>,
}

/// A block in 40 bytes: graphs have millions.
type Key = (u64, [u8; 32]);

/// How a block was met before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// Given, yet perhaps without all that is below.
    Given,
    /// With all that is below, so it need not be followed again.
    Whole,
}

#[derive(Debug)]
struct Visit {
    cid: AnyCid,
    follow: Follow,
    depth: usize,
}

/// What to do with a block that was met.
#[derive(Debug)]
enum Follow {
    Nothing,
    Everything,
    /// Find out whether it is a file or a directory.
    Entity,
    /// As `Entity`, with these bytes of a file.
    Bytes(Range<u64>),
    /// A piece of a file at these offsets, as its parent says, for those bytes.
    Piece(Range<u64>, Range<u64>),
    /// A piece of a file, all of it.
    WholePiece,
    /// A link's name has so many characters where it leads to a shard.
    Shard,
}

impl<B: Blocks> Walk<B> {
    /// A walk over the blocks `via`, then from `start` as far as `scope` goes.
    pub fn new(blocks: B, via: &[AnyCid], start: AnyCid, scope: Scope, duplicates: bool) -> Self {
        let follow = match scope {
            Scope::Block => Follow::Nothing,
            Scope::Entity => Follow::Entity,
            Scope::Bytes(range) => Follow::Bytes(range),
            Scope::All => Follow::Everything,
        };
        let visit = |cid, follow| Visit {
            cid,
            follow,
            depth: 0,
        };
        let mut pending = vec![visit(start, follow)];
        pending.extend(via.iter().rev().map(|cid| visit(*cid, Follow::Nothing)));
        Self {
            blocks,
            pending,
            met: (!duplicates).then(HashMap::new),
        }
    }

    fn step(&mut self) -> Result<Option<(AnyCid, Bytes)>, Error> {
        while let Some(visit) = self.pending.pop() {
            let met = self.meet(&visit);
            if met == Some(Met::Whole) || (met.is_some() && visit.is_alone()) {
                continue;
            }
            let block = self.blocks.needed(&visit.cid)?;
            self.follow(&visit, &block)
                .map_err(|malformed| malformed.of(&visit.cid))?;
            if met.is_none() && visit.cid.hash().code() != IDENTITY {
                return Ok(Some((visit.cid, block)));
            }
        }
        Ok(None)
    }

    /// How the block was met before, and notes this time.
    fn meet(&mut self, visit: &Visit) -> Option<Met> {
        let met = self.met.as_mut()?;
        let key = (visit.cid.codec(), digest(&visit.cid)?);
        let now = if visit.is_whole() {
            Met::Whole
        } else {
            Met::Given
        };
        let before = met.get(&key).copied();
        if before != Some(Met::Whole) {
            met.insert(key, now);
        }
        before
    }

    fn follow(&mut self, visit: &Visit, block: &Bytes) -> Result<(), Malformed> {
        let first = self.pending.len();
        let mut queue = |cid, follow| {
            self.pending.push(Visit {
                cid,
                follow,
                depth: visit.depth + 1,
            });
        };
        match &visit.follow {
            Follow::Nothing => {}
            Follow::Everything => {
                for cid in all_links(&visit.cid, block)? {
                    queue(cid, Follow::Everything);
                }
            }
            Follow::Entity | Follow::Bytes(_) | Follow::WholePiece | Follow::Shard => {
                follow_entity(visit, block, queue)?;
            }
            Follow::Piece(at, range) => {
                let Some(Entity::File(file)) = entity(&visit.cid, block)? else {
                    return Err(Malformed("not a piece of a file, as said"));
                };
                if file.size != at.end - at.start {
                    return Err(Malformed("a piece of a file of another size than said"));
                }
                pieces(file, at.start, range, queue);
            }
        }
        if self.pending.len() > first && visit.depth >= MAX_DEPTH {
            return Err(Malformed("a graph that is too deep"));
        }
        if self.pending.len() > MAX_PENDING {
            return Err(Malformed("a graph that is too wide"));
        }
        self.pending[first..].reverse();
        Ok(())
    }
}

/// Queues what else the file or directory is made of.
fn follow_entity(
    visit: &Visit,
    block: &Bytes,
    mut queue: impl FnMut(AnyCid, Follow),
) -> Result<(), Malformed> {
    let entity = match entity(&visit.cid, block) {
        // What is not UnixFS is its own entity, whatever else its bytes are.
        Err(_) if matches!(visit.follow, Follow::Entity | Follow::Bytes(_)) => return Ok(()),
        entity => entity?,
    };
    match (entity, &visit.follow) {
        (Some(Entity::File(file)), Follow::Bytes(range)) => pieces(file, 0, range, queue),
        (Some(Entity::File(file)), Follow::Entity | Follow::WholePiece) => {
            for part in file.parts {
                queue(part.cid, Follow::WholePiece);
            }
        }
        (Some(Entity::Shard(shard)), follow) if !matches!(follow, Follow::WholePiece) => {
            let width = shard.prefix();
            for link in shard.links {
                if link.name.len() == width {
                    queue(link.cid, Follow::Shard);
                }
            }
        }
        (_, Follow::WholePiece) => return Err(Malformed("not a piece of a file, as said")),
        (_, Follow::Shard) => return Err(Malformed("not a shard, as said")),
        _ => {}
    }
    Ok(())
}

/// Queues the parts of a file that have bytes of the range.
fn pieces(
    file: super::File,
    start: u64,
    range: &Range<u64>,
    mut queue: impl FnMut(AnyCid, Follow),
) {
    let mut end = start + file.inline.len() as u64;
    for part in file.parts {
        let at = end..end + part.size;
        end = at.end;
        if !overlap(&at, range).is_empty() {
            queue(part.cid, Follow::Piece(at, range.clone()));
        }
    }
}

impl Visit {
    /// Whether all that is below the block comes with it.
    fn is_whole(&self) -> bool {
        match &self.follow {
            Follow::Everything | Follow::WholePiece => true,
            Follow::Piece(at, range) => range.start <= at.start && at.end <= range.end,
            _ => false,
        }
    }

    /// Whether nothing below the block is asked for.
    fn is_alone(&self) -> bool {
        matches!(self.follow, Follow::Nothing)
    }
}

fn digest(cid: &AnyCid) -> Option<[u8; 32]> {
    cid.hash().digest().try_into().ok()
}

impl<B: Blocks> Iterator for Walk<B> {
    type Item = Result<(AnyCid, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.pending.clear();
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Heap, node};
    use super::*;
    use crate::unixfs::{DAG_PB, RAW};
    use cid::multihash::Multihash;

    /// A graph, and letters for its blocks.
    struct World {
        heap: Heap,
        names: Vec<(AnyCid, char)>,
    }

    impl World {
        fn walk(&self, via: &str, start: char, scope: Scope, duplicates: bool) -> String {
            let cid = |letter| self.names.iter().find(|n| n.1 == letter).unwrap().0;
            let via: Vec<_> = via.chars().map(cid).collect();
            Walk::new(&self.heap, &via, cid(start), scope, duplicates)
                .map(|step| match step {
                    Ok((cid, block)) => {
                        assert_eq!(self.heap.0[&cid], block);
                        self.names.iter().find(|n| n.0 == cid).unwrap().1
                    }
                    Err(Error::Missing { .. }) => '?',
                    Err(_) => '!',
                })
                .collect()
        }
    }

    fn world() -> World {
        let mut heap = Heap::default();
        let a = heap.put(RAW, b"aaa".to_vec());
        let b = heap.put(RAW, b"bbb".to_vec());
        let c = heap.put(RAW, b"ccc".to_vec());
        let inner = heap.file(b"", 6, &[(b, 3), (a, 3)]);
        let file = heap.file(b"", 12, &[(a, 3), (inner, 6), (c, 3)]);
        let inline = AnyCid::new_v1(
            DAG_PB,
            Multihash::wrap(IDENTITY, &node(&[("x", c)], &[8, 1])).unwrap(),
        );
        let directory = heap.directory(&[("f", file), ("g", file), ("i", inline)]);
        let sub = heap.shard(&[("01two", c), ("02three", a)]);
        let shard = heap.shard(&[("00", sub), ("01one", b)]);
        let gone = heap.put(RAW, b"gone".to_vec());
        let holed = heap.file(b"", 10, &[(a, 3), (gone, 4), (b, 3)]);
        heap.0.remove(&gone);
        let liar = heap.file(b"", 9, &[(a, 9)]);
        World {
            heap,
            names: vec![
                (a, 'a'),
                (b, 'b'),
                (c, 'c'),
                (inner, 'i'),
                (file, 'f'),
                (directory, 'd'),
                (sub, 's'),
                (shard, 'h'),
                (holed, 'o'),
                (liar, 'l'),
            ],
        }
    }

    #[test]
    fn walks() {
        let world = world();
        use Scope::{All, Block, Bytes, Entity};
        let rows: [(&str, char, Scope, bool, &str); 22] = [
            ("", 'd', Block, false, "d"),
            ("", 'd', Entity, false, "d"),
            ("", 'd', All, false, "dfaibc"),
            ("", 'd', All, true, "dfaibacfaibacc"),
            ("d", 'f', Block, false, "df"),
            ("d", 'f', Entity, false, "dfaibc"),
            ("", 'f', Entity, true, "faibac"),
            ("", 'f', Bytes(0..3), false, "fa"),
            ("", 'f', Bytes(5..6), false, "fib"),
            ("", 'f', Bytes(2..7), false, "faib"),
            ("", 'f', Bytes(0..0), false, "f"),
            ("", 'f', Bytes(8..99), false, "fiac"),
            ("", 'a', Entity, false, "a"),
            ("", 'h', Entity, false, "hs"),
            ("", 'h', Bytes(0..9), false, "hs"),
            ("", 'h', All, false, "hscab"),
            ("hs", 'a', All, false, "hsa"),
            ("", 'o', All, false, "oa?"),
            ("", 'o', Bytes(0..3), false, "oa"),
            ("", 'o', Bytes(7..10), false, "ob"),
            ("", 'l', Bytes(0..9), false, "l!"),
            ("", 'l', All, false, "la"),
        ];
        for (via, start, scope, duplicates, expected) in rows {
            let found = world.walk(via, start, scope.clone(), duplicates);
            assert_eq!(found, expected, "{via} {start} {scope:?} {duplicates}");
        }
    }

    #[test]
    fn hostile_graphs_end() {
        let mut heap = Heap::default();
        let mut deep = heap.put(RAW, b"x".to_vec());
        for _ in 0..=MAX_DEPTH {
            deep = heap.directory(&[("d", deep)]);
        }
        let last = Walk::new(&heap, &[], deep, Scope::All, false)
            .last()
            .unwrap();
        assert!(last.unwrap_err().to_string().contains("too deep"));
        // As many paths as there are atoms, and 41 blocks.
        let mut many = heap.put(RAW, b"y".to_vec());
        for _ in 0..40 {
            many = heap.directory(&[("a", many), ("b", many), ("c", many), ("d", many)]);
        }
        assert_eq!(Walk::new(&heap, &[], many, Scope::All, false).count(), 41);
    }
}
