//! What blocks mean to each other: dag-pb nodes (IPLD specification "DAG-PB") and the UnixFS files,
//! directories, sharded directories and symbolic links in them (UnixFS specification), whoever
//! made them and however they were cut; and of DAG-CBOR the links.
//!
//! This file decodes one block. [`mod@file`] reads ranges of a file, [`path`] goes from a root to what
//! a path names, [`walk`] lists the blocks of a graph, each over whatever has [`Blocks`].
//!
//! Blocks come from strangers. A block is decoded only after its hash was checked, so a graph has
//! no cycles; it may still be endlessly deep or wide, or lie about sizes. Everything here is bounded
//! by [`MAX_DEPTH`] and [`MAX_PENDING`], and a size that a parent claims is held against the child.

pub mod file;
pub(crate) mod hamt;
pub mod path;
pub mod walk;

use bytes::Bytes;
use cid::{Cid, CidGeneric};

use crate::{
    Error, Store, cbor,
    protobuf::{self, Value},
    unixfs::{DAG_PB, IDENTITY, RAW},
};

/// A CID as it may stand in a link or a URL: identity hashes carry up to 128 bytes of content.
pub type AnyCid = CidGeneric<128>;

/// Multicodec `dag-cbor`.
pub const DAG_CBOR: u64 = 0x71;

/// How deep a graph is followed. A balanced file of an exabyte has seven levels.
pub const MAX_DEPTH: usize = 128;

/// How many blocks may wait to be visited in one walk: a full node per level of any real graph,
/// and some 20 MB at worst.
pub const MAX_PENDING: usize = 1 << 17;

/// Where blocks come from.
pub trait Blocks {
    /// The bytes of a block, checked against the CID; `None` if it is not there.
    fn block(&self, cid: &AnyCid) -> Result<Option<Bytes>, Error>;

    /// The bytes of a block that has to be there.
    fn needed(&self, cid: &AnyCid) -> Result<Bytes, Error> {
        self.block(cid)?.ok_or_else(|| Error::Missing {
            cid: cid.to_string(),
        })
    }
}

impl<T: Blocks + ?Sized> Blocks for &T {
    fn block(&self, cid: &AnyCid) -> Result<Option<Bytes>, Error> {
        (**self).block(cid)
    }
}

impl Blocks for Store {
    fn block(&self, cid: &AnyCid) -> Result<Option<Bytes>, Error> {
        if cid.hash().code() == IDENTITY {
            return Ok(Some(Bytes::copy_from_slice(cid.hash().digest())));
        }
        // Nothing with a longer hash is ever held.
        narrow(cid).map_or(Ok(None), |cid| self.get_block(&cid))
    }
}

/// The same CID in the size that the store keeps, if it fits.
pub fn narrow(cid: &AnyCid) -> Option<Cid> {
    Cid::try_from(cid.to_bytes()).ok()
}

/// The same CID in the size that links have.
pub fn widen(cid: &Cid) -> AnyCid {
    AnyCid::try_from(cid.to_bytes()).expect("128 bytes hold what 64 do")
}

/// The bytes are not what the CID's codec calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

impl Malformed {
    /// The same as an error that names the block.
    pub(crate) fn of(self, cid: &AnyCid) -> Error {
        Error::Malformed {
            cid: cid.to_string(),
            what: self.0,
        }
    }
}

/// A dag-pb node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// To its children, in order.
    pub links: Vec<Link>,
    /// What it carries itself; with UnixFS, a `Data` message.
    pub data: Option<Bytes>,
}

/// A node's link to another block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The block.
    pub cid: AnyCid,
    /// Name of a directory's entry; empty in files.
    pub name: String,
    /// Encoded bytes of the block and all below it, as its maker says.
    pub total: u64,
}

impl Node {
    /// Decodes a node from its block.
    pub fn decode(block: &Bytes) -> Result<Self, Malformed> {
        let mut node = Self {
            links: Vec::new(),
            data: None,
        };
        for field in protobuf::fields(block) {
            match field.map_err(|_| Malformed("not a dag-pb node"))? {
                (1, Value::Bytes(data)) if node.data.is_none() => {
                    node.data = Some(block.slice_ref(data));
                }
                (2, Value::Bytes(link)) => node.links.push(Link::decode(link)?),
                _ => return Err(Malformed("not a dag-pb node: a field it does not have")),
            }
        }
        Ok(node)
    }
}

impl Link {
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (mut cid, mut name, mut total) = (None, String::new(), 0);
        for field in protobuf::fields(bytes) {
            match field.map_err(|_| Malformed("not a dag-pb link"))? {
                (1, Value::Bytes(hash)) => cid = Some(cid_of_link(hash)?),
                // File systems have names that are not UTF-8, and Kubo takes them over.
                (2, Value::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                (3, Value::Varint(size)) => total = size,
                _ => return Err(Malformed("not a dag-pb link: a field it does not have")),
            }
        }
        let cid = cid.ok_or(Malformed("a dag-pb link without a CID"))?;
        Ok(Self { cid, name, total })
    }
}

fn cid_of_link(bytes: &[u8]) -> Result<AnyCid, Malformed> {
    let mut rest = bytes;
    match AnyCid::read_bytes(&mut rest) {
        Ok(cid) if rest.is_empty() => Ok(cid),
        _ => Err(Malformed("a link whose CID cannot be read")),
    }
}

/// What a block is as UnixFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entity {
    /// A file, or a piece of one.
    File(File),
    /// A directory in one block.
    Directory(Vec<Link>),
    /// A directory spread over many blocks, or a piece of one.
    Shard(Shard),
    /// A symbolic link and where it points.
    Symlink(String),
}

/// A file or a piece of one: bytes of its own first, then those of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Bytes of content.
    pub size: u64,
    /// The first of them.
    pub inline: Bytes,
    /// The rest.
    pub parts: Vec<Part>,
}

/// A piece of a file in a block of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The block.
    pub cid: AnyCid,
    /// Bytes of content, as the parent says.
    pub size: u64,
}

/// A node of a sharded directory (a hash array mapped trie).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Bits of the name's hash that choose among its links.
    pub bits: u32,
    /// Entries, whose names start with the slot in hexadecimal, and further shards, whose names
    /// are the slot alone.
    pub links: Vec<Link>,
}

impl Shard {
    /// Characters of a link's name that say its slot.
    pub fn prefix(&self) -> usize {
        // The digits of the highest slot.
        self.bits.div_ceil(4) as usize
    }
}

/// Decodes a block as UnixFS: raw leaves and dag-pb. `None` with any other codec.
pub fn entity(cid: &AnyCid, block: &Bytes) -> Result<Option<Entity>, Malformed> {
    match cid.codec() {
        RAW => Ok(Some(Entity::File(File {
            size: block.len() as u64,
            inline: block.clone(),
            parts: Vec::new(),
        }))),
        DAG_PB => {
            let node = Node::decode(block)?;
            let data = node.data.ok_or(Malformed("dag-pb without UnixFS"))?;
            unixfs_entity(&data, node.links).map(Some)
        }
        _ => Ok(None),
    }
}

/// `Data` of the UnixFS specification.
#[derive(Default)]
struct Data {
    kind: Option<u64>,
    bytes: Bytes,
    size: Option<u64>,
    part_sizes: Vec<u64>,
    hash: Option<u64>,
    fanout: Option<u64>,
}

/// Multihash code of the hash that shards use.
const MURMUR3_X64_64: u64 = 0x22;

fn unixfs_entity(message: &Bytes, links: Vec<Link>) -> Result<Entity, Malformed> {
    let data = Data::decode(message)?;
    match data.kind {
        // Raw, the kind of old leaves, and File are one to a reader.
        Some(0 | 2) => data.file(links).map(Entity::File),
        Some(1) => Ok(Entity::Directory(links)),
        Some(4) => String::from_utf8(data.bytes.into())
            .map(Entity::Symlink)
            .map_err(|_| Malformed("a symbolic link that is not UTF-8")),
        Some(5) => data.shard(links).map(Entity::Shard),
        Some(_) => Err(Malformed("UnixFS of an unknown kind")),
        None => Err(Malformed("UnixFS without a kind")),
    }
}

impl Data {
    fn decode(message: &Bytes) -> Result<Self, Malformed> {
        let broken = |_| Malformed("not a UnixFS message");
        let mut data = Self::default();
        for field in protobuf::fields(message) {
            match field.map_err(broken)? {
                (1, Value::Varint(kind)) => data.kind = Some(kind),
                (2, Value::Bytes(bytes)) => data.bytes = message.slice_ref(bytes),
                (3, Value::Varint(size)) => data.size = Some(size),
                (4, Value::Varint(size)) => data.part_sizes.push(size),
                // The packed form, which readers have to take as well.
                (4, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        let (size, len) =
                            protobuf::varint(packed).ok_or(Malformed("not a UnixFS message"))?;
                        data.part_sizes.push(size);
                        packed = &packed[len..];
                    }
                }
                (5, Value::Varint(hash)) => data.hash = Some(hash),
                (6, Value::Varint(fanout)) => data.fanout = Some(fanout),
                // Mode, time, and what is still to be invented.
                _ => {}
            }
        }
        Ok(data)
    }

    fn file(self, links: Vec<Link>) -> Result<File, Malformed> {
        if links.len() != self.part_sizes.len() {
            return Err(Malformed("a file with other sizes than parts"));
        }
        let size = self
            .part_sizes
            .iter()
            .try_fold(self.bytes.len() as u64, |sum, part| sum.checked_add(*part))
            .ok_or(Malformed("a file whose size does not fit 64 bits"))?;
        if self.size.is_some_and(|said| said != size) {
            return Err(Malformed("a file whose size is not that of its parts"));
        }
        let parts = links
            .into_iter()
            .zip(self.part_sizes)
            .map(|(link, size)| Part {
                cid: link.cid,
                size,
            })
            .collect();
        Ok(File {
            size,
            inline: self.bytes,
            parts,
        })
    }

    fn shard(self, links: Vec<Link>) -> Result<Shard, Malformed> {
        let fanout = self.fanout.unwrap_or_default();
        // Kubo takes no more than 1024 slots; below 8 no hash would last.
        if !fanout.is_power_of_two() || !(8..=1024).contains(&fanout) {
            return Err(Malformed("a shard with an impossible number of slots"));
        }
        if self.hash != Some(MURMUR3_X64_64) {
            return Err(Malformed("a shard with a hash other than murmur3"));
        }
        let shard = Shard {
            bits: fanout.trailing_zeros(),
            links,
        };
        let slot = |name: &str| name.get(..shard.prefix()).is_some();
        if !shard.links.iter().all(|link| slot(&link.name)) {
            return Err(Malformed("a shard with a link that has no slot"));
        }
        Ok(shard)
    }
}

/// All links of a block in order, with the names that only dag-pb has. Blocks of other codecs than
/// dag-pb and DAG-CBOR have none that this crate knows of.
pub(crate) fn all_links(cid: &AnyCid, block: &Bytes) -> Result<Vec<AnyCid>, Malformed> {
    match cid.codec() {
        DAG_PB => Ok(Node::decode(block)?
            .links
            .into_iter()
            .map(|link| link.cid)
            .collect()),
        DAG_CBOR => {
            let mut links = Vec::new();
            cbor::Reader::new(block)
                .each_within(|item| {
                    if let cbor::Item::Link(cid) = item {
                        links.push(cid_of_link(cid));
                    }
                })
                .map_err(|_| Malformed("not DAG-CBOR"))?;
            links.into_iter().collect()
        }
        _ => Ok(Vec::new()),
    }
}

/// The blocks that a block links to, in order and as often as it does. CIDs that carry their
/// content themselves are looked through, because nothing needs to hold them.
pub fn links(cid: &Cid, block: &[u8]) -> Result<Vec<Cid>, Malformed> {
    let mut held = Vec::new();
    // Content that is carried shrinks with each step, so this ends within 128 bytes.
    let mut inline = vec![(widen(cid), Bytes::copy_from_slice(block))];
    while let Some((cid, block)) = inline.pop() {
        for link in all_links(&cid, &block)? {
            if link.hash().code() == IDENTITY {
                let content = Bytes::copy_from_slice(link.hash().digest());
                inline.push((link, content));
            } else {
                held.push(narrow(&link).ok_or(Malformed("a link with a hash of over 64 bytes"))?);
            }
        }
    }
    Ok(held)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::unixfs::SHA2_256;
    use cid::multihash::Multihash;

    /// Blocks in memory.
    #[derive(Default)]
    pub(crate) struct Heap(pub HashMap<AnyCid, Bytes>);

    impl Blocks for Heap {
        fn block(&self, cid: &AnyCid) -> Result<Option<Bytes>, Error> {
            if cid.hash().code() == IDENTITY {
                return Ok(Some(Bytes::copy_from_slice(cid.hash().digest())));
            }
            Ok(self.0.get(cid).cloned())
        }
    }

    impl Heap {
        pub fn put(&mut self, codec: u64, block: Vec<u8>) -> AnyCid {
            let hash = Multihash::wrap(SHA2_256, &Sha256::digest(&block)).unwrap();
            let cid = AnyCid::new_v1(codec, hash);
            self.0.insert(cid, block.into());
            cid
        }

        /// A file node that says what it is told to say.
        pub fn file(&mut self, inline: &[u8], size: u64, parts: &[(AnyCid, u64)]) -> AnyCid {
            let mut data = Vec::new();
            protobuf::put_number(&mut data, 1, 2);
            if !inline.is_empty() {
                protobuf::put_bytes(&mut data, 2, inline);
            }
            protobuf::put_number(&mut data, 3, size);
            for (_, size) in parts {
                protobuf::put_number(&mut data, 4, *size);
            }
            let links: Vec<_> = parts.iter().map(|(cid, _)| ("", *cid)).collect();
            self.put(DAG_PB, node(&links, &data))
        }

        pub fn directory(&mut self, entries: &[(&str, AnyCid)]) -> AnyCid {
            self.put(DAG_PB, node(entries, &[8, 1]))
        }

        /// A shard of 256 slots.
        pub fn shard(&mut self, links: &[(&str, AnyCid)]) -> AnyCid {
            let mut data = vec![8, 5];
            protobuf::put_number(&mut data, 5, MURMUR3_X64_64);
            protobuf::put_number(&mut data, 6, 256);
            self.put(DAG_PB, node(links, &data))
        }
    }

    pub(crate) fn node(links: &[(&str, AnyCid)], data: &[u8]) -> Vec<u8> {
        let mut node = Vec::new();
        for (name, cid) in links {
            let mut link = Vec::new();
            protobuf::put_bytes(&mut link, 1, &cid.to_bytes());
            protobuf::put_bytes(&mut link, 2, name.as_bytes());
            protobuf::put_number(&mut link, 3, 1);
            protobuf::put_bytes(&mut node, 2, &link);
        }
        protobuf::put_bytes(&mut node, 1, data);
        node
    }

    #[test]
    fn what_a_block_is() {
        let mut heap = Heap::default();
        let leaf = heap.put(RAW, b"leaf".to_vec());
        let malformed = |what| Err(Malformed(what));
        let sizes = "a file whose size is not that of its parts";
        let rows: [(Vec<u8>, Result<&str, Malformed>); 15] = [
            (node(&[], &[8, 1]), Ok("directory")),
            (node(&[], &[8, 2, 24, 0]), Ok("file")),
            (node(&[], &[8, 2]), Ok("file")),
            (node(&[], &[8, 0, 18, 1, b'x', 24, 1]), Ok("file")),
            (node(&[("", leaf)], &[8, 2, 24, 4, 32, 4]), Ok("file")),
            // Sizes packed into one field.
            (node(&[("", leaf)], &[8, 2, 24, 4, 34, 1, 4]), Ok("file")),
            (node(&[], &[8, 4, 18, 3, b'f', b'o', b'o']), Ok("symlink")),
            (node(&[], &[8, 5, 40, 0x22, 48, 8]), Ok("shard")),
            (node(&[("", leaf)], &[8, 2, 24, 5, 32, 4]), malformed(sizes)),
            (
                node(&[("", leaf)], &[8, 2, 24, 4]),
                malformed("a file with other sizes than parts"),
            ),
            (
                node(&[], &[8, 5, 40, 0x22, 48, 100]),
                malformed("a shard with an impossible number of slots"),
            ),
            (
                node(&[], &[8, 5, 40, 0x12, 48, 8]),
                malformed("a shard with a hash other than murmur3"),
            ),
            (node(&[], &[8, 9]), malformed("UnixFS of an unknown kind")),
            (Vec::new(), malformed("dag-pb without UnixFS")),
            (
                vec![0x1a, 0],
                malformed("not a dag-pb node: a field it does not have"),
            ),
        ];
        for (block, expected) in rows {
            let shown = format!("{block:x?}");
            let cid = heap.put(DAG_PB, block.clone());
            let found = entity(&cid, &block.into()).map(|entity| match entity {
                Some(Entity::File(_)) => "file",
                Some(Entity::Directory(_)) => "directory",
                Some(Entity::Shard(_)) => "shard",
                Some(Entity::Symlink(_)) => "symlink",
                None => "none",
            });
            assert_eq!(found, expected, "{shown}");
        }
    }

    #[test]
    fn links_look_through_identity() {
        let mut heap = Heap::default();
        let leaf = heap.put(RAW, b"leaf".to_vec());
        let inner = node(&[("a", leaf)], &[8, 1]);
        let inline = AnyCid::new_v1(DAG_PB, Multihash::wrap(IDENTITY, &inner).unwrap());
        let outer = node(&[("b", inline), ("c", leaf)], &[8, 1]);
        let cid = heap.put(DAG_PB, outer.clone());
        let leaf = narrow(&leaf).unwrap();
        assert_eq!(links(&narrow(&cid).unwrap(), &outer), Ok(vec![leaf, leaf]));
    }
}
