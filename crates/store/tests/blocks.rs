//! Blocks put one by one: what is taken, what is refused, and what holds a graph of them.

mod content;

use std::time::Duration;

use bytes::Bytes;
use cid::multihash::Multihash;
use content::{CHUNK, bytes};
use sha2::{Digest, Sha256};
use store::{
    Cid, Error, PutOptions, Store, cid_of,
    unixfs::{DAG_PB, MAX_BLOCK, RAW, SHA2_256},
};

fn cid(codec: u64, block: &[u8]) -> Cid {
    let digest = Sha256::digest(block);
    Cid::new_v1(codec, Multihash::wrap(SHA2_256, &digest).unwrap())
}

/// A dag-pb node: links without name or size, then data.
fn node(links: &[Cid], data: &[u8]) -> Bytes {
    let mut node = Vec::new();
    for link in links {
        let hash = link.to_bytes();
        node.extend([0x12, hash.len() as u8 + 2, 0x0a, hash.len() as u8]);
        node.extend(hash);
    }
    node.extend([0x0a, data.len() as u8]);
    node.extend(data);
    node.into()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

#[test]
fn what_is_not_a_block_of_ours_is_refused() {
    let (_dir, store) = store();
    let raw = Bytes::from_static(b"raw");
    let long = Bytes::from(vec![0; MAX_BLOCK + 1]);
    let sha1 = Cid::new_v1(RAW, Multihash::wrap(0x11, &[0; 20]).unwrap());
    let identity_only = node(&[cid(RAW, b"x")], b"").slice(..20);
    let rows = [
        (cid(RAW, b"other"), &raw, "not what the CID says"),
        (cid(0x0129, &raw), &raw, "codec"),
        (cid(0x71, &raw), &raw, "not DAG-CBOR"),
        (sha1, &raw, "hash"),
        (cid(RAW, &long), &long, "2 MiB"),
        (cid(DAG_PB, &raw), &raw, "not a dag-pb node"),
        (cid(DAG_PB, &identity_only), &identity_only, "dag-pb"),
    ];
    for (cid, block, why) in rows {
        let error = store.put_block(&cid, block.clone()).unwrap_err();
        assert!(matches!(error, Error::Block { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(store.ls().unwrap(), []);
}

#[test]
fn a_block_is_given_back_and_known_the_second_time() {
    let (_dir, store) = store();
    let leaf = Bytes::from(bytes("a leaf of another chunker", MAX_BLOCK));
    let leaf_cid = cid(RAW, &leaf);
    let parent = node(&[leaf_cid], b"");
    let parent_cid = cid(DAG_PB, &parent);
    let v0 = Cid::new_v0(*parent_cid.hash()).unwrap();
    for (cid, block, new) in [
        (leaf_cid, &leaf, true),
        (leaf_cid, &leaf, false),
        (v0, &parent, true),
        (parent_cid, &parent, false),
    ] {
        assert_eq!(store.put_block(&cid, block.clone()).unwrap(), new, "{cid}");
        assert_eq!(store.get_block(&cid).unwrap().as_ref(), Some(block));
        assert_eq!(store.stat(&cid).unwrap().unwrap().size, block.len() as u64);
    }
    // A raw block is content, a node by itself is not.
    assert_eq!(
        store.get(&leaf_cid).unwrap().unwrap().size,
        leaf.len() as u64
    );
    assert!(store.get(&parent_cid).unwrap().is_none());
    assert_eq!(store.verify(true, |_| {}).unwrap().findings, []);
}

#[test]
fn a_pinned_root_holds_its_graph_and_lets_go_of_it_whole() {
    let (_dir, store) = store();
    let leaf = Bytes::from_static(b"leaf");
    let inner = node(&[cid(RAW, &leaf)], b"inner");
    // Two chunks and their node, put as a file.
    let file = bytes("linked file", CHUNK + 1);
    let stored = store.put(file.as_slice(), &PutOptions::default()).unwrap();
    let root = node(&[cid(DAG_PB, &inner), stored.cid], b"root");
    for (codec, block) in [(DAG_PB, &root), (DAG_PB, &inner), (RAW, &leaf)] {
        store.put_block(&cid(codec, block), block.clone()).unwrap();
    }
    store
        .put(b"unheld".as_slice(), &PutOptions::default())
        .unwrap();
    store.pin("root", &cid(DAG_PB, &root)).unwrap();
    assert_eq!(store.collect(Duration::ZERO).unwrap().objects, 1);
    assert_eq!(store.ls().unwrap().len(), 4);
    assert!(store.unpin("root").unwrap());
    assert_eq!(store.collect(Duration::ZERO).unwrap().objects, 4);
    assert_eq!(store.ls().unwrap(), []);
}

#[test]
fn a_link_to_a_block_inside_a_file_holds_the_file() {
    let (_dir, store) = store();
    let file = bytes("a file with blocks", 2 * CHUNK);
    let stored = store.put(file.as_slice(), &PutOptions::default()).unwrap();
    let leaf = Bytes::copy_from_slice(&file[CHUNK..]);
    let leaf_cid = cid(RAW, &leaf);
    assert!(
        !store.put_block(&leaf_cid, leaf.clone()).unwrap(),
        "it is there"
    );
    assert_eq!(store.ls().unwrap().len(), 1);
    let root = node(&[leaf_cid], b"");
    store.put_block(&cid(DAG_PB, &root), root.clone()).unwrap();
    store.pin("root", &cid(DAG_PB, &root)).unwrap();
    assert_eq!(store.collect(Duration::ZERO).unwrap().objects, 0);
    // Pinned itself, the block becomes an object of its own and the file may go.
    store.pin("leaf", &leaf_cid).unwrap();
    store.unpin("root").unwrap();
    assert_eq!(store.collect(Duration::ZERO).unwrap().objects, 2);
    assert!(store.stat(&stored.cid).unwrap().is_none());
    assert_eq!(store.get_block(&leaf_cid).unwrap(), Some(leaf));
}

#[test]
fn a_node_becomes_the_file_that_it_describes() {
    let (_dir, store) = store();
    let file = bytes("node first, file later", CHUNK + 9);
    let other = tempfile::tempdir().unwrap();
    let other = Store::open(other.path()).unwrap();
    let (root, _) = cid_of(file.as_slice()).unwrap();
    other.put(file.as_slice(), &PutOptions::default()).unwrap();
    let block = other.get_block(&root).unwrap().unwrap();
    assert!(store.put_block(&root, block).unwrap());
    store.pin("root", &root).unwrap();
    assert!(store.get(&root).unwrap().is_none());
    let stored = store.put(file.as_slice(), &PutOptions::default()).unwrap();
    assert_eq!((stored.cid, stored.new), (root, true));
    assert_eq!(store.get(&root).unwrap().unwrap().size, file.len() as u64);
    assert_eq!(store.collect(Duration::ZERO).unwrap().objects, 0);
    assert_eq!(store.verify(true, |_| {}).unwrap().findings, []);
}
