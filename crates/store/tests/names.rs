//! Names of ours as IPNS names: their records, and records that others made.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use store::{
    Error, PutOptions, Store, TTL,
    ipns::{Invalid, Name, Record},
};

fn world() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn put(store: &Store, content: &str) -> store::Cid {
    let options = PutOptions::default();
    store.put(content.as_bytes(), &options).unwrap().cid
}

/// A record of the conformance suite: its name and its bytes.
fn fixture(kind: &str) -> (Name, Vec<u8>) {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/gateway/ipns_records"
    );
    let end = format!("_{kind}.ipns-record");
    let path = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().ends_with(&end))
        .unwrap();
    let file = PathBuf::from(path.file_name().unwrap());
    let name = file.to_str().unwrap().strip_suffix(&end).unwrap();
    (Name::parse(name).unwrap(), std::fs::read(path).unwrap())
}

#[test]
fn the_record_follows_the_name() {
    let (dir, store) = world();
    let name = store.ipns_name("stream/1/master");
    assert_eq!(store.ipns_record(&name).unwrap(), None);
    let mut last = 0;
    for content in ["one", "two", "three"] {
        let cid = put(&store, content);
        let seq = store.publish("stream/1/master", &cid, None).unwrap();
        let signed = store.ipns_record(&name).unwrap().unwrap();
        let record = Record::verify(&name, &signed, SystemTime::now()).unwrap();
        assert_eq!(Some(&record), store.resolve_ipns(&name).unwrap().as_ref());
        assert_eq!(record.value, format!("/ipfs/{cid}"));
        assert_eq!(record.sequence, seq);
        assert!(seq > last);
        last = seq;
        assert_eq!(record.ttl, TTL);
        let valid = record
            .valid_until
            .duration_since(SystemTime::now())
            .unwrap();
        assert!(valid >= Duration::from_secs(48 * 3600));
        // Until something changes it is the same record.
        assert_eq!(store.ipns_record(&name).unwrap().unwrap(), signed);
    }
    assert_ne!(store.ipns_name("stream/2/master"), name);
    store.unpublish("stream/1/master").unwrap();
    assert_eq!(store.ipns_record(&name).unwrap(), None);
    // The next publication has a higher sequence, and the name outlives the process.
    let cid = put(&store, "four");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.publish("stream/1/master", &cid, None).unwrap() > last);
    assert!(store.resolve_ipns(&name).unwrap().is_some());
}

/// A folder whose seed was lost gets a new one, and its names new IPNS names.
#[test]
fn a_lost_seed_means_other_ipns_names() {
    let (dir, store) = world();
    let cid = put(&store, "one");
    store.publish("a", &cid, None).unwrap();
    let (name, peer) = (store.ipns_name("a"), store.peer_id());
    drop(store);
    std::fs::remove_file(dir.path().join("keys/seed")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let other = store.ipns_name("a");
    assert_ne!(other, name);
    assert_ne!(store.peer_id(), peer);
    assert!(store.resolve_ipns(&other).unwrap().is_some());
    assert_eq!(store.resolve_ipns(&name).unwrap(), None);
}

#[test]
fn records_of_others_are_judged_when_they_are_used() {
    let rows: [(&str, Result<&str, Invalid>); 6] = [
        ("v1-v2", Ok("/ipfs/bafkqaddwgevxmmraojswg33smq")),
        ("v2", Ok("/ipfs/bafkqadtwgiww63tmpeqhezldn5zgi")),
        (
            "v1-v2-broken-signature-v1",
            Ok("/ipfs/bafkqahtwgevxmmrao5uxi2bamjzg623fnyqhg2lhnzqxi5lsmuqhmmi"),
        ),
        ("v1-v2-broken-signature-v2", Err(Invalid::Signature)),
        ("v1-v2-broken-v1-value", Err(Invalid::Mismatch)),
        ("v1", Err(Invalid::Unsigned)),
    ];
    let (_dir, store) = world();
    for (kind, expected) in rows {
        let (name, bytes) = fixture(kind);
        assert!(store.keep_record(&name, &bytes).unwrap(), "{kind}");
        let found = store.resolve_ipns(&name).map(|record| record.unwrap());
        match (found, expected) {
            (Ok(record), Ok(value)) => {
                assert_eq!(record.value, value, "{kind}");
                assert_eq!(store.ipns_record(&name).unwrap(), Some(bytes));
            }
            (Err(Error::Record { source, .. }), Err(invalid)) => {
                assert_eq!(source, invalid, "{kind}");
                assert!(store.ipns_record(&name).is_err(), "{kind}");
            }
            (found, expected) => panic!("{kind}: {found:?} instead of {expected:?}"),
        }
    }
    let (name, bytes) = fixture("v1-v2");
    // The same again, one that is not valid, and one that is too large replace nothing.
    let (_, other) = fixture("v2");
    assert!(!store.keep_record(&name, &bytes).unwrap());
    assert!(!store.keep_record(&name, &other).unwrap());
    assert!(store.keep_record(&name, &vec![0; 10_241]).is_err());
    assert_eq!(store.ipns_record(&name).unwrap(), Some(bytes));
}
