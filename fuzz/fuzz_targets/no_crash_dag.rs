//! Graphs of any blocks: each is raw, DAG-CBOR or a dag-pb node that links to those before it, with
//! any names, any claims about sizes and any UnixFS message. They are read, walked and listed.
#![no_main]

use std::collections::HashMap;

use bytes::Bytes;
use cid::multihash::Multihash;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use store::{
    Error,
    dag::{
        AnyCid, Blocks, DAG_CBOR, Entity, Node, entity,
        file::FileReader,
        links, narrow,
        path::resolve,
        walk::{Scope, Walk},
    },
    unixfs::{DAG_PB, IDENTITY, RAW, SHA2_256},
};

/// No graph that a few hundred bytes describe has more to it than this.
const MOST: usize = 2000;

#[derive(Default)]
struct Heap(HashMap<AnyCid, Bytes>);

impl Blocks for Heap {
    fn block(&self, cid: &AnyCid) -> Result<Option<Bytes>, Error> {
        if cid.hash().code() == IDENTITY {
            return Ok(Some(Bytes::copy_from_slice(cid.hash().digest())));
        }
        Ok(self.0.get(cid).cloned())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut heap = Heap::default();
    let mut cids = Vec::new();
    let mut rest = data;
    while let Some((&[kind, length], behind)) = rest.split_first_chunk::<2>() {
        let (body, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        let (codec, block) = match kind % 4 {
            0 => (RAW, body.to_vec()),
            1 => (DAG_CBOR, body.to_vec()),
            // As it is, and with links that lead somewhere.
            2 => (DAG_PB, body.to_vec()),
            _ => (DAG_PB, node(body, &cids)),
        };
        let hash = if kind & 64 != 0 && block.len() <= 100 {
            Multihash::wrap(IDENTITY, &block)
        } else {
            Multihash::wrap(SHA2_256, &Sha256::digest(&block))
        };
        let cid = AnyCid::new_v1(codec, hash.expect("it fits"));
        cids.push(cid);
        heap.0.insert(cid, block.into());
    }
    let Some(root) = cids.last() else { return };
    look(&heap, root);
});

/// A node whose links go to earlier blocks: two bytes each say which, and what the name is.
fn node(body: &[u8], cids: &[AnyCid]) -> Vec<u8> {
    let (&count, body) = body.split_first().unwrap_or((&0, &[]));
    let (links, message) = body.split_at((usize::from(count % 8) * 2).min(body.len()));
    let mut node = Vec::new();
    for pair in links.chunks_exact(2) {
        if cids.is_empty() {
            break;
        }
        let mut link = Vec::new();
        field(&mut link, 1, &cids[usize::from(pair[0]) % cids.len()].to_bytes());
        field(&mut link, 2, format!("{:02X}{}", pair[1], &"name"[..usize::from(pair[1] % 5)]).as_bytes());
        field(&mut node, 2, &link);
    }
    field(&mut node, 1, message);
    node
}

/// All that is written here is shorter than 128 bytes or takes two bytes of length.
fn field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    out.extend([number << 3 | 2, value.len() as u8 | 0x80, (value.len() >> 7) as u8]);
    out.extend_from_slice(value);
}

fn look(heap: &Heap, root: &AnyCid) {
    let block = heap.needed(root).expect("it was put");
    if let Ok(node) = Node::decode(&block) {
        assert!(node.links.len() <= block.len());
    }
    if let Some(cid) = narrow(root) {
        let _ = links(&cid, &block);
    }
    if let Ok(Some(Entity::File(file))) = entity(root, &block) {
        for range in [0..file.size, file.size / 3..file.size / 2] {
            let mut read = 0;
            let mut whole = true;
            for piece in FileReader::new(heap, *root, file.size, range.clone()).take(MOST) {
                match piece {
                    Ok(piece) => read += piece.len() as u64,
                    Err(_) => whole = false,
                }
            }
            assert!(read <= range.end - range.start);
            assert!(!whole || read == range.end - range.start || read > MOST as u64 / 2);
        }
    }
    for scope in [Scope::All, Scope::Entity, Scope::Bytes(1..5), Scope::Block] {
        for duplicates in [false, true] {
            let walked = Walk::new(heap, &[], *root, scope.clone(), duplicates);
            let found = walked.take(MOST).filter(Result::is_ok).count();
            assert!(duplicates || found <= heap.0.len());
        }
    }
    for path in [&["name"][..], &["n", "0"], &[""], &["na", "nam", "name"]] {
        let path: Vec<_> = path.iter().map(|segment| (*segment).to_owned()).collect();
        let _ = resolve(heap, root, &path);
    }
}
