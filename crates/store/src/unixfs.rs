//! UnixFS files: content in, CIDs and blocks out.
//!
//! The profile is `unixfs-v1-2025` of IPIP-499: CIDv1, sha2-256, chunks of 1 MiB as raw leaves,
//! at most 1024 links per node, balanced layout; a file of one chunk is that raw leaf alone. Nodes
//! are dag-pb (IPLD specification "DAG-PB") holding a UnixFS `Data` message of type File (UnixFS
//! specification, section "dag-pb File"). Kubo with that profile and Helia by default give the
//! same CIDs.
//!
//! Pure: bytes come from the caller, blocks are described and not stored. Directories are not
//! built here.

use std::io::Read;

use cid::{Cid, multihash::Multihash};
use sha2::{Digest, Sha256};

use crate::{
    Error,
    protobuf::{put_bytes, put_number},
};

/// Bytes per leaf, `size-1048576` in Kubo's words.
pub const CHUNK: usize = 1 << 20;

/// The largest block that is taken from elsewhere, in bytes: what Kubo and Helia exchange at most.
pub const MAX_BLOCK: usize = 2 << 20;

/// Links per inner node.
pub const MAX_LINKS: usize = 1024;

/// Multicodec `raw`.
pub const RAW: u64 = 0x55;

/// Multicodec `dag-pb`.
pub const DAG_PB: u64 = 0x70;

/// Multihash `sha2-256`.
pub const SHA2_256: u64 = 0x12;

/// Multihash `identity`: the digest is the block.
pub const IDENTITY: u64 = 0x00;

/// One block of a file's graph.
///
/// Every block covers a contiguous slice of the content, inner nodes too, so each of them can be
/// served from the file that holds the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Name of the block.
    pub cid: Cid,
    /// Where its content starts in the file, in bytes.
    pub offset: u64,
    /// How much content it covers, in bytes.
    pub length: u64,
    /// The encoded node; `None` for a leaf, whose bytes are the content itself.
    pub node: Option<Vec<u8>>,
}

/// The finished graph of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dag {
    /// CID of the whole.
    pub root: Cid,
    /// Content size in bytes.
    pub size: u64,
    /// All blocks, root last; a chunk that occurs twice is listed twice.
    pub blocks: Vec<Block>,
}

/// Builds the graph while the content streams through.
///
/// Each byte is hashed once. Memory is one hash state, at most [`MAX_LINKS`] links per level, and
/// the list of finished blocks (under 200 bytes per MiB of content).
#[derive(Clone)]
pub struct Importer {
    leaf: Sha256,
    leaf_len: usize,
    size: u64,
    /// `levels[0]` holds links to leaves, `levels[1]` links to nodes of those, and so on.
    levels: Vec<Vec<Link>>,
    blocks: Vec<Block>,
}

/// What a parent says of a child.
#[derive(Clone)]
struct Link {
    cid: Cid,
    offset: u64,
    /// Content bytes under the child, `blocksizes` in UnixFS.
    content: u64,
    /// Encoded bytes of the child and all below it, `Tsize` in dag-pb.
    total: u64,
}

impl Default for Importer {
    fn default() -> Self {
        Self::new()
    }
}

impl Importer {
    /// An importer that has seen nothing.
    pub fn new() -> Self {
        Self {
            leaf: Sha256::new(),
            leaf_len: 0,
            size: 0,
            levels: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Takes the next bytes; how they are cut into calls changes nothing.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A full leaf is closed only when more follows, so the last leaf is never empty
            // unless the file is.
            if self.leaf_len == CHUNK {
                self.close_leaf();
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.leaf_len));
            self.leaf.update(now);
            self.leaf_len += now.len();
            self.size += now.len() as u64;
            bytes = later;
        }
    }

    /// Closes the graph.
    pub fn finish(mut self) -> Dag {
        self.close_leaf();
        let mut level = 0;
        while level + 1 < self.levels.len() || self.levels[level].len() > 1 {
            self.close_node(level);
            level += 1;
        }
        Dag {
            root: self.levels[level][0].cid,
            size: self.size,
            blocks: self.blocks,
        }
    }

    fn close_leaf(&mut self) {
        let length = self.leaf_len as u64;
        let offset = self.size - length;
        let cid = cid_v1(RAW, &self.leaf.finalize_reset_digest());
        self.leaf_len = 0;
        self.blocks.push(Block {
            cid,
            offset,
            length,
            node: None,
        });
        self.link(
            0,
            Link {
                cid,
                offset,
                content: length,
                total: length,
            },
        );
    }

    fn link(&mut self, level: usize, link: Link) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == MAX_LINKS {
            self.close_node(level);
        }
        self.levels[level].push(link);
    }

    /// Turns the links of one level into a node and links it one level up.
    fn close_node(&mut self, level: usize) {
        let links = std::mem::take(&mut self.levels[level]);
        let node = encode_node(&links);
        let cid = cid_v1(DAG_PB, &Sha256::digest(&node).into());
        let link = Link {
            cid,
            offset: links[0].offset,
            content: links.iter().map(|l| l.content).sum(),
            total: node.len() as u64 + links.iter().map(|l| l.total).sum::<u64>(),
        };
        self.blocks.push(Block {
            cid,
            offset: link.offset,
            length: link.content,
            node: Some(node),
        });
        self.link(level + 1, link);
    }
}

/// `finalize_reset` under a name that returns a plain array.
trait FinalizeReset {
    fn finalize_reset_digest(&mut self) -> [u8; 32];
}

impl FinalizeReset for Sha256 {
    fn finalize_reset_digest(&mut self) -> [u8; 32] {
        self.finalize_reset().into()
    }
}

/// CID and size of what a reader gives, storing nothing.
pub fn cid_of(mut content: impl Read) -> Result<(Cid, u64), Error> {
    let mut importer = Importer::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = read_full(&mut content, &mut buffer).map_err(Error::Source)?;
        if n == 0 {
            break;
        }
        importer.update(&buffer[..n]);
    }
    let dag = importer.finish();
    Ok((dag.root, dag.size))
}

/// Reads until the buffer is full or the input ends, so that pipes and sockets with small reads
/// still give whole chunks.
pub(crate) fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether `bytes` are the block that `cid` names. Only the hashes that this store makes or
/// carries inline are known; with any other the answer is no.
pub fn names(cid: &Cid, bytes: &[u8]) -> bool {
    match cid.hash().code() {
        SHA2_256 => cid.hash().digest() == Sha256::digest(bytes).as_slice(),
        IDENTITY => cid.hash().digest() == bytes,
        _ => false,
    }
}

fn cid_v1(codec: u64, digest: &[u8; 32]) -> Cid {
    let hash = Multihash::wrap(SHA2_256, digest).expect("32 bytes fit a 64-byte multihash");
    Cid::new_v1(codec, hash)
}

/// dag-pb wants the links before the data, each with hash, name (empty, yet present) and Tsize.
fn encode_node(links: &[Link]) -> Vec<u8> {
    // A link takes about 48 bytes and its block size another 4.
    let mut node = Vec::with_capacity(links.len() * 56 + 32);
    let mut inner = Vec::with_capacity(64);
    for link in links {
        inner.clear();
        let cid = link.cid.to_bytes();
        put_bytes(&mut inner, 1, &cid);
        put_bytes(&mut inner, 2, b"");
        put_number(&mut inner, 3, link.total);
        put_bytes(&mut node, 2, &inner);
    }
    let mut data = Vec::with_capacity(links.len() * 5 + 16);
    put_number(&mut data, 1, 2); // DataType.File
    put_number(&mut data, 3, links.iter().map(|l| l.content).sum());
    for link in links {
        put_number(&mut data, 4, link.content); // blocksizes, not packed
    }
    put_bytes(&mut node, 1, &data);
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tile_the_content() {
        let mut importer = Importer::new();
        importer.update(&vec![7; 2 * CHUNK + 5]);
        let dag = importer.finish();
        let slices: Vec<_> = dag
            .blocks
            .iter()
            .map(|b| (b.offset, b.length, b.node.is_some()))
            .collect();
        let chunk = CHUNK as u64;
        assert_eq!(
            slices,
            [
                (0, chunk, false),
                (chunk, chunk, false),
                (2 * chunk, 5, false),
                (0, 2 * chunk + 5, true)
            ]
        );
        assert_eq!(dag.root, dag.blocks[3].cid);
        assert!(names(&dag.root, dag.blocks[3].node.as_ref().unwrap()));
    }
}
