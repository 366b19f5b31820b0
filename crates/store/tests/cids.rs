//! CIDs equal those of other implementations: Kubo's published vectors for the profile
//! `unixfs-v1-2025`, and ipfs-unixfs-importer from npm on the sizes around every boundary.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod content;

use std::{path::Path, process::Command};

use content::{CHUNK, Choppy, Pattern, bytes, keyed};
use proptest::prelude::*;
use rand_chacha::rand_core::Rng;
use store::{Cid, cid_of, unixfs::Importer};

fn cid(content: &[u8]) -> String {
    cid_of(content).unwrap().0.to_string()
}

/// Sizes, seeds and CIDs are those that Kubo's own tests expect (test/cli/cid_profiles_test.go).
#[test]
fn kubo_vectors_of_one_and_two_leaves() {
    let seed = "chunk-v1-seed";
    let rows: [(Vec<u8>, &str); 3] = [
        (
            b"hello world".to_vec(),
            "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
        ),
        (
            bytes(seed, CHUNK),
            "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta",
        ),
        (
            bytes(seed, CHUNK + 1),
            "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64",
        ),
    ];
    for (content, expected) in rows {
        assert_eq!(cid(&content), expected, "{} bytes", content.len());
    }
}

/// The same source, 1 GiB (1024 links in one node) and 1 GiB + 1 (a level more). The second begins
/// with the first, so the stream is made and hashed once.
#[test]
fn kubo_vectors_at_the_link_limit() {
    let mut stream = keyed("v1-2025-seed");
    let mut importer = Importer::new();
    let mut chunk = vec![0; CHUNK];
    for _ in 0..1024 {
        stream.fill_bytes(&mut chunk);
        importer.update(&chunk);
    }
    let mut over = importer.clone();
    let mut one = [0];
    stream.fill_bytes(&mut one);
    over.update(&one);
    for (importer, blocks, expected) in [
        (
            importer,
            1025,
            "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
        ),
        (
            over,
            1028,
            "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe",
        ),
    ] {
        let dag = importer.finish();
        assert_eq!(dag.root.to_string(), expected);
        assert_eq!(dag.blocks.len(), blocks);
    }
}

#[test]
fn the_npm_importer_agrees() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    let node = std::env::var("NODE").unwrap_or_else(|_| "node".into());
    let runs = |command: &mut Command| command.output().is_ok_and(|o| o.status.success());
    if !folder.join("node_modules").is_dir() || !runs(Command::new(&node).arg("--version")) {
        assert!(
            std::env::var_os("KINORA_REQUIRE_NPM").is_none_or(|v| v.is_empty()),
            "KINORA_REQUIRE_NPM is set; install node and run `npm ci` in {}",
            folder.display()
        );
        eprintln!("skipped: needs node and `npm ci` in {}", folder.display());
        return;
    }
    const SIZES: [u64; 12] = [
        0,
        1,
        1 << 10,
        (256 << 10) - 1,
        256 << 10,
        (256 << 10) + 1,
        1 << 20,
        (1 << 20) + 1,
        10 << 20,
        45 << 20,
        1 << 30,
        (1 << 30) + 1,
    ];
    let theirs = Command::new(&node)
        .arg(folder.join("cids.mjs"))
        .args(SIZES.map(|size| size.to_string()))
        .output()
        .unwrap();
    assert!(
        theirs.status.success(),
        "{}",
        String::from_utf8_lossy(&theirs.stderr)
    );
    let theirs = String::from_utf8(theirs.stdout).unwrap();
    let ours: String = SIZES
        .iter()
        .map(|size| {
            let (cid, counted) = cid_of(Pattern::new(*size)).unwrap();
            assert_eq!(counted, *size);
            format!("{size} {cid}\n")
        })
        .collect();
    assert_eq!(ours, theirs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// How a source cuts its reads changes nothing, least of all around chunk boundaries.
    #[test]
    fn reads_of_any_size_give_one_cid(
        chunks in 0usize..3,
        around in -3isize..=3,
        lengths in prop::collection::vec(1usize..300_000, 1..20),
    ) {
        let size = (chunks * CHUNK).saturating_add_signed(around);
        let content = bytes("property", size);
        let (whole, _) = cid_of(content.as_slice()).unwrap();
        let (chopped, counted) = cid_of(Choppy::new(&content, lengths.clone())).unwrap();
        prop_assert_eq!(chopped, whole);
        prop_assert_eq!(counted, size as u64);

        let mut importer = Importer::new();
        let mut rest = content.as_slice();
        for length in lengths.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(length.min(rest.len()));
            importer.update(now);
            rest = later;
        }
        let dag = importer.finish();
        prop_assert_eq!(dag.root, whole);

        // The blocks are the content: leaves tile it, and each is what its CID names.
        let mut end = 0;
        for leaf in dag.blocks.iter().filter(|b| b.node.is_none()) {
            prop_assert_eq!(leaf.offset, end);
            end += leaf.length;
            let slice = &content[leaf.offset as usize..end as usize];
            prop_assert!(store::unixfs::names(&leaf.cid, slice));
        }
        prop_assert_eq!(end, size as u64);
        for node in &dag.blocks {
            if let Some(bytes) = &node.node {
                prop_assert!(store::unixfs::names(&node.cid, bytes));
            }
        }
    }

    /// Text forms of a CID lead back to it.
    #[test]
    fn roundtrip_cid_text(content in prop::collection::vec(any::<u8>(), 0..64)) {
        let text = cid(&content);
        prop_assert_eq!(Cid::try_from(text.as_str()).unwrap().to_string(), text);
    }
}
