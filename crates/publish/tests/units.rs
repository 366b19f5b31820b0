//! Units in a store: what is noted is found again, and what they hold is bounded.

use std::sync::Arc;
use std::time::Duration;

use ladder::publish::{Content, Piece, Publisher, Shelf};
use ladder::{Container, Plan, Segment, Sink, UnitCache};
use publish::{StoreShelf, StoredUnits};
use store::Store;

fn plan(container: Container) -> Plan {
    let container = match container {
        Container::Ts => "ts",
        Container::Cmaf => "cmaf",
    };
    let plan = serde_json::json!({
        "container": container, "duration_s": 12.0, "segments": 3, "target_duration": 4,
        "frame_rate": 25.0, "audio": [],
        "rungs": [{"name": "360p", "width": 640, "height": 360, "bit_rate": 800_000,
                   "max_rate": 1_200_000, "buffer": 1_600_000, "copied": false}],
    });
    serde_json::from_value(plan).unwrap()
}

fn segment(index: u32, key: &str) -> Segment {
    Segment {
        rung: "360p".to_owned(),
        index,
        start: f64::from(index) * 4.0,
        duration: 4.0,
        codecs: "avc1.64001e".to_owned(),
        key: key.to_owned(),
        bytes: format!("segment {index}").into_bytes(),
        ..Segment::default()
    }
}

#[test]
fn what_a_stream_kept_is_found_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let units = Arc::new(StoredUnits::new(&store, StoredUnits::LIMIT));
    let shelf = StoreShelf::new(&store, "s").with_units(Arc::clone(&units));
    let mut publisher = Publisher::over(shelf);
    publisher.plan(&plan(Container::Cmaf)).unwrap();
    publisher.init("360p", b"init").unwrap();
    publisher.segment(segment(0, "a")).unwrap();
    publisher.segment(segment(1, "")).unwrap();

    let unit = units.get("a").unwrap();
    assert_eq!(unit.bytes, b"segment 0");
    assert_eq!(unit.init.as_deref(), Some(&b"init"[..]));
    assert_eq!(unit.codecs, "avc1.64001e");
    assert!(units.get("b").is_none() && units.get("").is_none());

    // The stream goes, the unit stays; another process finds it too.
    catalog::roots::drop_stream(&store, "s").unwrap();
    store.collect(Duration::ZERO).unwrap();
    let units = StoredUnits::new(&store, StoredUnits::LIMIT);
    assert_eq!(units.get("a").unwrap().bytes, b"segment 0");

    // A damaged one is as good as none.
    let mut shelf = StoreShelf::new(&store, "t").with_units(Arc::new(units));
    let piece = Piece::segment("360p", 0, "ts");
    shelf.keep(&piece, Content::Bytes(b"whatever"), "").unwrap();
    let object = store.pins("unit/a/segment").unwrap()[0].cid.to_string();
    let path = folder
        .path()
        .join("obj")
        .join(&object[object.len() - 2..])
        .join(&object);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "SEGMENT 0").unwrap();
    assert!(
        StoredUnits::new(&store, StoredUnits::LIMIT)
            .get("a")
            .is_none()
    );
}

#[test]
fn the_oldest_go_when_it_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let size = segment(0, "").bytes.len() as u64;
    let units = Arc::new(StoredUnits::new(&store, 3 * size));
    let shelf = StoreShelf::new(&store, "s").with_units(Arc::clone(&units));
    let mut publisher = Publisher::over(shelf);
    publisher.plan(&plan(Container::Ts)).unwrap();
    for index in 0..5 {
        publisher
            .segment(segment(index, &format!("key{index}")))
            .unwrap();
        // What was made in the same millisecond goes by name.
        std::thread::sleep(Duration::from_millis(2));
    }
    let there: Vec<bool> = (0..5)
        .map(|n| units.get(&format!("key{n}")).is_some())
        .collect();
    assert_eq!(there, [false, false, true, true, true]);
    // The stream keeps all of its own.
    store.collect(Duration::ZERO).unwrap();
    assert_eq!(store.pins("stream/s/360p/").unwrap().len(), 5);
}
