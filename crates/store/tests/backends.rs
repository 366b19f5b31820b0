//! One set of promises for every place that can keep bytes: the folder alone, S3 by moto and by
//! three nodes of Garage, and Kubo's RPC by js-ipfs.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]
#![cfg(feature = "s3")]

mod content;
mod servers;

use std::{io::Read, os::unix::fs::FileExt, path::Path, time::Duration};

use bytes::Bytes;
use cid::multihash::Multihash;
use content::{CHUNK, bytes};
use http::{Request, StatusCode};
use servers::{Garage, JsIpfs, Moto, skipped};
use sha2::{Digest, Sha256};
use store::{
    Cid, Error, PutOptions, Store,
    backend::{self, Backend, Failure, Leaf, Upload},
    cid_of, gateway,
    unixfs::{DAG_PB, RAW, SHA2_256},
};

/// Opens the store below a folder whose bytes are also at a URL; none stands for the folder alone.
fn open(folder: &Path, url: Option<&str>) -> Store {
    Store::open_url(folder.join("store"), url).unwrap()
}

/// The same URL with nothing left in the folder that the backend has.
fn without_cache(url: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}cache=0")
}

fn cid(codec: u64, block: &[u8]) -> Cid {
    Cid::new_v1(
        codec,
        Multihash::wrap(SHA2_256, &Sha256::digest(block)).unwrap(),
    )
}

/// Sizes around a chunk and around a part of an S3 upload, and content whose chunks are all alike.
fn contents(seed: &str) -> Vec<Vec<u8>> {
    let mut contents: Vec<_> = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 8 * CHUNK, 17 * CHUNK + 5]
        .into_iter()
        .map(|len| bytes(&format!("{seed} {len}"), len))
        .collect();
    contents.push(vec![seed.len() as u8; 3 * CHUNK + 7]);
    contents
}

/// Reads content through the store, whole and block by block.
fn assert_reads(store: &Store, root: &Cid, content: &[u8]) {
    let chunks = content.chunks(CHUNK).rev();
    for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
        let got = store.get_block(&cid(RAW, chunk)).unwrap().unwrap();
        assert!(got == chunk, "{root}: a block of {} bytes", chunk.len());
    }
    let object = store.get(root).unwrap().unwrap();
    let mut got = Vec::new();
    object.reader().unwrap().read_to_end(&mut got).unwrap();
    assert!(got == content, "{root}: {} bytes", content.len());
}

/// Asks the gateway for a range.
fn fetch(store: &Store, root: &Cid, range: &str) -> (StatusCode, Vec<u8>) {
    let request = Request::get(format!("/ipfs/{root}"))
        .header("range", range)
        .body(())
        .unwrap();
    let response = gateway::respond(store, &request);
    let status = response.status();
    let body = match response.into_body() {
        gateway::Body::Empty => Vec::new(),
        gateway::Body::Bytes(bytes) => bytes.into(),
        gateway::Body::File { file, offset, len } => {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
            bytes
        }
        gateway::Body::Pieces { pieces, .. } => {
            pieces.collect::<Result<Vec<_>, _>>().unwrap().concat()
        }
    };
    (status, body)
}

/// What a store promises whatever keeps its bytes.
fn check(name: &str, url: Option<&str>) {
    eprintln!("{name}");
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), url);
    let contents = contents(name);
    let mut roots = Vec::new();
    for (n, content) in contents.iter().enumerate() {
        let pin = format!("check/{n}");
        let options = PutOptions {
            pin: Some(&pin),
            mime: Some("video/mp4"),
            ..PutOptions::default()
        };
        roots.push(store.put(content.as_slice(), &options).unwrap().cid);
    }
    // A directory whose one entry is the second file.
    let hash = roots[1].to_bytes();
    let link = [&[0x0a, hash.len() as u8][..], &hash, &[0x12, 1, b'a']].concat();
    let directory = [&[0x12, link.len() as u8][..], &link, &[0x0a, 2, 8, 1]].concat();
    let directory_cid = cid(DAG_PB, &directory);
    store
        .put_block(&directory_cid, directory.clone().into())
        .unwrap();
    store.pin("directory", &directory_cid).unwrap();

    assert!(store.sync(|_| ()).unwrap());
    let all = roots.len() as u64 + 1;
    if let Some(status) = store.backend_status().unwrap() {
        assert_eq!(
            (status.pending, status.copied, status.trouble),
            (0, all, None),
            "{name}"
        );
    }
    // Again is no work and no error, also for another process.
    drop(store);
    let lean = url.map(without_cache);
    let store = open(folder.path(), lean.as_deref());
    assert!(store.sync(|_| ()).unwrap());
    if let Some(status) = store.backend_status().unwrap() {
        assert_eq!(
            status.away,
            roots.len() as u64,
            "{name}: the folder has no files left"
        );
    }
    assert_eq!(store.verify(true, |_| ()).unwrap().findings, [], "{name}");
    if url.is_some() {
        assert_eq!(
            store.verify_backend(true, |_| ()).unwrap().findings,
            [],
            "{name}"
        );
    }
    for (root, content) in roots.iter().zip(&contents) {
        assert_reads(&store, root, content);
    }
    assert_eq!(
        store.get_block(&directory_cid).unwrap(),
        Some(Bytes::from(directory))
    );
    let (absent, _) = cid_of(b"absent".as_slice()).unwrap();
    assert!(store.get(&absent).unwrap().is_none() && store.get_block(&absent).unwrap().is_none());

    // What nothing holds goes everywhere; the second file is held by the directory.
    assert_eq!(store.unpin_prefix("check/").unwrap(), roots.len());
    assert_eq!(
        store.collect(Duration::ZERO).unwrap().objects,
        all - 2,
        "{name}"
    );
    assert!(store.sync(|_| ()).unwrap());
    if let Some(status) = store.backend_status().unwrap() {
        assert_eq!((status.removals, status.copied), (0, 2), "{name}");
    }
    if let Some(backend) = url.and_then(|url| backend::open(url).unwrap()) {
        for (root, content) in roots.iter().zip(&contents) {
            let held = backend.has(root, content.len() as u64).unwrap();
            assert_eq!(held, *root == roots[1], "{name}: {root}");
        }
    }
    // Put again, it is there again.
    for (root, content) in roots.iter().zip(&contents).take(5) {
        let stored = store
            .put(content.as_slice(), &PutOptions::default())
            .unwrap();
        assert_eq!(
            (stored.cid, stored.new),
            (*root, *root != roots[1]),
            "{name}"
        );
    }
    assert!(store.sync(|_| ()).unwrap());
    for (root, content) in roots.iter().zip(&contents).take(5) {
        assert_reads(&store, root, content);
    }
}

/// What a backend promises by itself.
fn check_trait(name: &str, backend: &dyn Backend) {
    let content = bytes(name, CHUNK / 2);
    let root = cid(RAW, &content);
    let leaf = Leaf {
        object: root,
        cid: root,
        offset: 0,
        length: content.len() as u64,
    };
    backend.connect("a test").unwrap();
    assert!(!backend.has(&root, leaf.length).unwrap(), "{name}");
    assert!(!matches!(backend.read(&leaf), Ok(Some(_))), "{name}");
    backend.remove(&root).unwrap();
}

#[test]
fn the_folder_alone_keeps_its_promises() {
    check("folder", None);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("other");
    let store = open(folder.path(), Some(&format!("file://{}", place.display())));
    assert_eq!(store.root(), place);
    assert!(store.mirror(|_| ()).unwrap().is_none());
}

#[test]
fn what_another_store_keeps_is_taken_over_checked() {
    let Some(moto) = Moto::start() else {
        return skipped("moto_server");
    };
    let url = |name: &str| format!("{}&others=family", moto.url(&format!("family/{name}")));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| open(&folder.path().join(name), Some(&url(name)));
    let (a, b) = (at("a"), at("b"));
    let contents = [0, 5, CHUNK + 1, 20 << 20].map(|size| bytes("shared", size));
    let cids = contents
        .each_ref()
        .map(|content| a.put_bytes(content, &PutOptions::default()).unwrap().cid);
    assert!(!b.take_over(&cids[1]).unwrap(), "it is not copied yet");
    assert!(a.sync(|_| ()).unwrap());
    for (cid, content) in cids.iter().zip(&contents) {
        assert!(b.get(cid).unwrap().is_none());
        assert!(b.take_over(cid).unwrap());
        let mut found = Vec::new();
        let object = b.get(cid).unwrap().unwrap();
        object.reader().unwrap().read_to_end(&mut found).unwrap();
        assert!(found == *content, "{} bytes", content.len());
    }
    // Nothing holds it here, and what one lets go of the other keeps.
    assert_eq!(b.collect(Duration::ZERO).unwrap().objects, 4);
    assert!(b.sync(|_| ()).unwrap());
    assert!(b.take_over(&cids[3]).unwrap());
    let (unknown, _) = cid_of(b"unknown".as_slice()).unwrap();
    assert!(!b.take_over(&unknown).unwrap());
    // One who says nothing of others reads none.
    let alone = open(&folder.path().join("c"), Some(&moto.url("family/c")));
    assert!(!alone.reads_others() && !alone.take_over(&cids[0]).unwrap());

    // What another one has under this name is something else.
    let path = folder.path().join("lie");
    std::fs::write(&path, b"a lie").unwrap();
    let leaf = Leaf {
        object: unknown,
        cid: cid(RAW, b"a lie"),
        offset: 0,
        length: 5,
    };
    let lie = Upload {
        cid: unknown,
        size: 5,
        mime: None,
        held_by: None,
        nodes: Vec::new(),
        leaves: vec![leaf],
        file: Some(std::fs::File::open(&path).unwrap()),
    };
    let liar = backend::open(&url("liar")).unwrap().unwrap();
    liar.put(&lie).unwrap();
    let error = b.take_over(&unknown).unwrap_err().to_string();
    assert!(error.contains("something else"), "{error}");
    assert!(b.get(&unknown).unwrap().is_none());
}

#[test]
fn s3_by_moto_keeps_its_promises() {
    let Some(moto) = Moto::start() else {
        return skipped("moto_server");
    };
    check("moto", Some(&moto.url("conformance")));
    let other = backend::open(&moto.url("trait")).unwrap().unwrap();
    check_trait("moto", &*other);
    assert_eq!(other.connect("a test").unwrap(), "S3, conditional puts");

    // What only the backend has is not to be had while that is away, and the answer says so.
    let folder = tempfile::tempdir().unwrap();
    let away = Moto::start().unwrap();
    let store = open(folder.path(), Some(&without_cache(&away.url("away"))));
    let stored = store
        .put(b"away".as_slice(), &PutOptions::default())
        .unwrap();
    assert!(store.sync(|_| ()).unwrap());
    drop(away);
    assert_eq!(
        fetch(&store, &stored.cid, "bytes=0-1").0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    drop(store);
    // Nor can that backend be left with objects that are only there.
    let store = Store::open_url(folder.path().join("store"), Some(&moto.url("other")));
    assert!(
        matches!(store, Err(Error::LeftBehind { objects: 1, .. })),
        "{store:?}"
    );
    let store = open(folder.path(), None);
    assert!(matches!(
        store.get(&stored.cid),
        Err(Error::Elsewhere { .. })
    ));

    // Another store's prefix is refused before anything is put there.
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Some(&moto.url("conformance")));
    let stored = store
        .put(b"mine".as_slice(), &PutOptions::default())
        .unwrap();
    let error = store.sync(|_| ()).unwrap_err().to_string();
    assert!(error.contains("belongs to another store"), "{error}");
    let status = store.backend_status().unwrap().unwrap();
    assert_eq!((status.pending, status.trouble.is_some()), (1, true));
    assert!(!other.has(&stored.cid, 4).unwrap());

    // A bucket that is not there.
    let url = moto.url("").replace("@media/", "@none/");
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Some(&url));
    store
        .put(b"mine".as_slice(), &PutOptions::default())
        .unwrap();
    let error = store.sync(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Backend { .. }), "{error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn s3_by_three_garages_keeps_its_promises_while_nodes_die() {
    let Some(mut garage) = Garage::start() else {
        return skipped("garage");
    };
    check("garage", Some(&garage.url(0, "conformance")));
    let other = backend::open(&garage.url(1, "trait")).unwrap().unwrap();
    check_trait("garage", &*other);
    // Garage takes both of two conditional puts. That is known, and nothing relies on them.
    assert_eq!(other.connect("a test").unwrap(), "S3, no conditional puts");

    let folder = tempfile::tempdir().unwrap();
    let url = without_cache(&garage.url(0, "dying"));
    let store = open(folder.path(), Some(&url));
    let put = |seed: &str| {
        let content = bytes(seed, 2 * CHUNK + 1);
        let pin = PutOptions {
            pin: Some(seed),
            ..PutOptions::default()
        };
        (store.put(content.as_slice(), &pin).unwrap().cid, content)
    };
    let mut all = vec![put("three nodes")];
    assert!(store.sync(|_| ()).unwrap());
    // One of three may die: what is there is read, what is put is copied.
    garage.kill(2);
    all.push(put("two nodes"));
    assert!(store.sync(|_| ()).unwrap());
    assert_eq!(store.backend_status().unwrap().unwrap().away, 2);
    for (root, content) in &all {
        assert_reads(&store, root, content);
    }
    // With two gone nothing can be copied. The work goes on here and says so.
    garage.kill(1);
    all.push(put("one node"));
    let error = store.sync(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Backend { .. }), "{error:?}");
    let status = store.backend_status().unwrap().unwrap();
    assert_eq!(status.pending, 1);
    assert!(status.trouble.is_some());
    assert_reads(&store, &all[2].0, &all[2].1);
    // They come back, and what waited follows.
    garage.restart(1);
    garage.restart(2);
    synced(&store);
    let status = store.backend_status().unwrap().unwrap();
    assert_eq!((status.pending, status.trouble), (0, None));
    for (root, content) in &all {
        assert_reads(&store, root, content);
    }
    assert_eq!(store.verify_backend(true, |_| ()).unwrap().findings, []);
}

/// Nodes that have just started need a moment until they know each other.
fn synced(store: &Store) {
    let start = std::time::Instant::now();
    loop {
        match store.sync(|_| ()) {
            Ok(done) => return assert!(done),
            Err(error) => assert!(start.elapsed() < Duration::from_secs(90), "{error}"),
        }
    }
}

#[test]
fn kubos_rpc_by_js_ipfs_keeps_its_promises() {
    let Some(daemon) = JsIpfs::start() else {
        return skipped("node24 with the packages of tests/js-ipfs");
    };
    check("kubo", Some(&daemon.url()));
    let backend = backend::open(&format!("{}?timeout=3", daemon.url()))
        .unwrap()
        .unwrap();
    check_trait("kubo", &*backend);

    // A pin of what is not there never returns, unless the node is told when to stop.
    let content = bytes("missing", CHUNK + 1);
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), None);
    let root = store
        .put(content.as_slice(), &PutOptions::default())
        .unwrap()
        .cid;
    let upload = Upload {
        cid: root,
        size: content.len() as u64,
        mime: None,
        held_by: None,
        nodes: vec![(root, store.get_block(&root).unwrap().unwrap())],
        leaves: Vec::new(),
        file: Some(tempfile::tempfile().unwrap()),
    };
    let failure = backend.put(&upload).unwrap_err();
    assert!(
        matches!(&failure, Failure::Refused(text) if text.contains("timed out")),
        "{failure}"
    );
    assert!(!backend.has(&root, upload.size).unwrap());
}
