//! CAR files of other implementations through the store and back, and CAR files that lie.

use std::{io::Read, path::PathBuf};

use cid::multihash::Multihash;
use sha2::{Digest, Sha256, Sha512};
use store::{
    Cid, Error, Pinning, Store,
    car::{CarReader, CarWriter},
    dag::{AnyCid, narrow},
};

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/gateway");
    std::fs::read(PathBuf::from(folder).join(name)).unwrap()
}

fn world() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// All were written by Kubo, depth first and each block once: what comes out is what went in.
#[test]
fn what_kubo_exported_is_exported_the_same() {
    let rows = [
        ("gateway-raw-block.car", 3),
        ("dir_listing/fixtures.car", 10),
        ("gateway-cache/fixtures.car", 5),
        ("path_gateway_unixfs/dir-with-files.car", 9),
        (
            "path_gateway_unixfs/dir-with-percent-encoded-filename.car",
            2,
        ),
        ("path_gateway_unixfs/symlink.car", 3),
        ("trustless_gateway_car/dir-with-dag-cbor-with-links.car", 9),
        ("trustless_gateway_car/dir-with-duplicate-files.car", 9),
        (
            "trustless_gateway_car/single-layer-hamt-with-multi-block-files.car",
            243,
        ),
        (
            "trustless_gateway_car/subdir-with-mixed-block-files.car",
            10,
        ),
        (
            "trustless_gateway_car/subdir-with-two-single-block-files.car",
            4,
        ),
    ];
    for (name, blocks) in rows {
        let (_dir, store) = world();
        let car = fixture(name);
        let mut progress = Vec::new();
        let imported = store
            .import(car.as_slice(), Pinning::ByCid, |bytes| progress.push(bytes))
            .unwrap();
        assert_eq!((imported.blocks, imported.new), (blocks, blocks), "{name}");
        assert_eq!(imported.bytes, car.len() as u64);
        assert_eq!(progress.len() as u64, blocks);
        assert_eq!(progress.last(), Some(&(car.len() as u64)));
        let [root] = imported.roots[..] else {
            panic!("{name}: one root");
        };
        let pins = store.pins("car/").unwrap();
        assert_eq!(pins.len(), 1);
        assert_eq!(pins[0].name, format!("car/{root}"));

        // All of it is held by the one pin.
        store.collect(std::time::Duration::ZERO).unwrap();
        let mut exported = Vec::new();
        let done = store.export(&root, &mut exported, |_| {}).unwrap();
        assert!(exported == car, "{name}: other bytes");
        assert_eq!((done.blocks, done.bytes), (blocks, car.len() as u64));
        let again = store
            .import(car.as_slice(), Pinning::ByCid, |_| {})
            .unwrap();
        assert_eq!((again.blocks, again.new), (blocks, 0), "{name}");

        store.unpin(&pins[0].name).unwrap();
        store.collect(std::time::Duration::ZERO).unwrap();
        assert_eq!(store.ls().unwrap(), [], "{name}");
    }
}

#[test]
fn content_of_ours_goes_through_a_car() {
    let (_dir, store) = world();
    let content = vec![7; (2 << 20) + 5];
    let root = store
        .put(content.as_slice(), &store::PutOptions::default())
        .unwrap()
        .cid;
    let mut car = Vec::new();
    store.export(&root, &mut car, |_| {}).unwrap();
    // Two of its three chunks are one block.
    let blocks: Vec<_> = CarReader::new(car.as_slice()).unwrap().collect();
    assert_eq!(blocks.len(), 3);
    let (_dir, other) = world();
    let pinning = Pinning::Named("stream/x/master");
    let imported = other.import(car.as_slice(), pinning, |_| {}).unwrap();
    assert_eq!((imported.roots, imported.new), (vec![root], 3));
    assert_eq!(imported.pins, ["stream/x/master"]);
    let mut back = Vec::new();
    other.export(&root, &mut back, |_| {}).unwrap();
    assert!(back == car);
    // It lies there in blocks, and is the file all the same.
    for store in [&store, &other] {
        let mut read = Vec::new();
        let mut reader = store.read(&root).unwrap().unwrap();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == content);
    }
}

/// Blocks in any order, and roots of any number.
#[test]
fn pins_are_named_after_their_roots() {
    let car = fixture("path_gateway_unixfs/dir-with-files.car");
    let mut blocks: Vec<_> = CarReader::new(car.as_slice())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    blocks.reverse();
    let wide = |cid: &Cid| AnyCid::try_from(cid.to_bytes()).unwrap();
    let inline = AnyCid::try_from("bafkqaaa").unwrap();
    let (first, last) = (blocks[0].cid, blocks.last().unwrap().cid);
    let mut writer = CarWriter::new(Vec::new(), &[wide(&first), inline, wide(&last)]).unwrap();
    for block in &blocks {
        writer.block(&wide(&block.cid), &block.bytes).unwrap();
    }
    let car = writer.finish().unwrap();
    let rows = [
        (
            Pinning::ByCid,
            vec![format!("car/{first}"), format!("car/{last}")],
        ),
        (
            Pinning::Named("mine"),
            vec![format!("mine/{first}"), format!("mine/{last}")],
        ),
        (Pinning::None, vec![]),
    ];
    for (pinning, expected) in rows {
        let (_dir, store) = world();
        let imported = store.import(car.as_slice(), pinning, |_| {}).unwrap();
        assert_eq!(imported.pins, expected);
        assert_eq!(store.pins("").unwrap().len(), expected.len());
    }
}

/// A CAR without roots and with one block.
fn one_block(codec: u64, hash: u64, digest: &[u8], block: &[u8]) -> Vec<u8> {
    let cid = AnyCid::new_v1(codec, Multihash::wrap(hash, digest).unwrap());
    let mut writer = CarWriter::new(Vec::new(), &[]).unwrap();
    writer.block(&cid, block).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_car_that_is_wrong_pins_nothing() {
    let car = fixture("trustless_gateway_car/dir-with-duplicate-files.car");
    let mut reader = CarReader::new(car.as_slice()).unwrap();
    let third = reader.nth(2).unwrap().unwrap();
    let mut wrong = car.clone();
    let length = 2 + 36 + third.bytes.len();
    wrong[third.offset as usize + length - 2] ^= 1;
    let cid = third.cid.to_string();
    let hole = fixture("trustless_gateway_car/file-3k-and-3-blocks-missing-block.car");
    let json = one_block(0x0129, 0x12, &Sha256::digest(b"{}"), b"{}");
    let sha512 = one_block(0x55, 0x13, &Sha512::digest(b"{}"), b"{}");
    let node = one_block(0x70, 0x12, &Sha256::digest(b"{}"), b"{}");
    let rows: [(&[u8], Vec<&str>); 8] = [
        (&wrong, vec![&cid, "at byte 392 is not what"]),
        (&json, vec!["baguqeera", "codec"]),
        (&sha512, vec!["at byte 18", "hash"]),
        (&node, vec!["bafybei", "not a dag-pb node"]),
        (&car[..car.len() - 1], vec!["ends at byte 1938"]),
        (
            &hole,
            vec![
                "is not whole",
                "QmSNLTo6Wv9dfroVaw7MFYjLqf9ho7PKrgsjdzYDtv8h1W",
            ],
        ),
        (b"not a CAR", vec!["header"]),
        (b"", vec!["empty"]),
    ];
    for (car, expected) in rows {
        let (_dir, store) = world();
        let error = store.import(car, Pinning::ByCid, |_| {}).unwrap_err();
        for word in &expected {
            let said = error.to_string();
            assert!(said.contains(word), "{said}: not {word}");
        }
        assert_eq!(store.pins("").unwrap(), []);
        store.collect(std::time::Duration::ZERO).unwrap();
        assert_eq!(store.ls().unwrap(), []);
    }
}

#[test]
fn an_export_with_a_hole_names_the_block() {
    let (_dir, store) = world();
    let car = fixture("trustless_gateway_car/file-3k-and-3-blocks-missing-block.car");
    let imported = store.import(car.as_slice(), Pinning::None, |_| {}).unwrap();
    let mut written = Vec::new();
    let root = imported.roots[0];
    let error = store.export(&root, &mut written, |_| {}).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let absent: AnyCid =
        AnyCid::try_from("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku").unwrap();
    let absent = narrow(&absent).unwrap();
    assert!(store.export(&absent, &mut written, |_| {}).is_err());
}
