//! What the catalog says is wanted, and what of that survives a process: rows in, work out.

use catalog::{
    AssetState, Catalog, Lane, NewAsset, Protocol, Segment, StreamAsked, StreamState, Upload, Work,
    WorkKind, roots,
};
use store::{PutOptions, Store};

struct Bench {
    folder: tempfile::TempDir,
    catalog: Catalog,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&folder.path().join("catalog.db")).unwrap();
        Self { folder, catalog }
    }

    /// The same rows as another process would find them.
    fn reopened(self) -> Self {
        let Self { folder, catalog } = self;
        drop(catalog);
        let catalog = Catalog::open(&folder.path().join("catalog.db")).unwrap();
        Self { folder, catalog }
    }

    fn add(&self, id: &str, created_ms: i64) {
        self.catalog
            .add_asset(&NewAsset {
                id,
                name: "clip.mp4",
                size: 7,
                cid: "bafkqaaa",
                created_ms,
                want_stream: true,
                upload: None,
            })
            .unwrap();
    }

    fn claim(&self, lane: Lane, now_ms: i64) -> Option<Work> {
        self.catalog
            .claim(lane, "me", now_ms, now_ms + 100)
            .unwrap()
    }

    fn stream_state(&self, id: &str, now_ms: i64) -> Option<StreamState> {
        let asset = self.catalog.asset(id, now_ms).unwrap().unwrap();
        asset.stream.map(|stream| stream.state())
    }
}

fn work(kind: WorkKind, asset: &str) -> Option<Work> {
    Some(Work {
        kind,
        asset: asset.to_owned(),
    })
}

fn segment(number: u64) -> Segment {
    Segment {
        number,
        cid: format!("cid{number}"),
        bytes: 10,
        start_s: number as f64 * 4.0,
        duration_s: 4.0,
    }
}

fn rungs(names: &[&str]) -> Vec<(String, String)> {
    let facts = |name: &&str| ((*name).to_owned(), "{}".to_owned());
    names.iter().map(facts).collect()
}

#[test]
fn work_is_what_is_wanted_and_not_there() {
    let bench = Bench::new();
    assert_eq!(bench.claim(Lane::Quick, 0), None);
    bench.add("a", 1);
    bench.add("b", 2);

    // The oldest first, each once; a stream waits for its probe.
    assert_eq!(bench.claim(Lane::Long, 0), None);
    assert_eq!(bench.claim(Lane::Quick, 0), work(WorkKind::Probe, "a"));
    assert_eq!(bench.claim(Lane::Quick, 0), work(WorkKind::Probe, "b"));
    assert_eq!(bench.claim(Lane::Quick, 0), None);

    // A holder that is silent past the lease's end has lost it.
    assert_eq!(bench.claim(Lane::Quick, 100), work(WorkKind::Probe, "a"));

    bench.catalog.set_probe("a", "{}").unwrap();
    bench.catalog.fail_asset("b", "b: no video", None).unwrap();
    assert_eq!(
        bench.claim(Lane::Quick, 300),
        work(WorkKind::Thumbnail, "a")
    );
    assert_eq!(bench.claim(Lane::Long, 300), work(WorkKind::Stream, "a"));
    assert_eq!(bench.stream_state("a", 300), Some(StreamState::Running));
    assert_eq!(bench.stream_state("a", 400), Some(StreamState::Waiting));
    assert_eq!(bench.stream_state("b", 300), None);

    // What could not be read may be looked at again; what was read and is no video may not.
    assert!(bench.catalog.look_again("b").unwrap());
    assert_eq!(bench.claim(Lane::Quick, 300), work(WorkKind::Probe, "b"));
    bench
        .catalog
        .fail_asset("b", "b: no video", Some("{}"))
        .unwrap();
    assert!(!bench.catalog.look_again("b").unwrap());
    assert!(!bench.catalog.look_again("a").unwrap());

    // What failed is not tried again until somebody asks.
    bench.catalog.fail_thumbnail("a", "too dark").unwrap();
    bench.catalog.fail_stream("a", "disk full").unwrap();
    assert_eq!(bench.claim(Lane::Quick, 1000), None);
    assert_eq!(bench.claim(Lane::Long, 1000), None);
    assert_eq!(bench.stream_state("a", 1000), Some(StreamState::Failed));
    assert_eq!(
        bench.catalog.want_stream("a", 1000).unwrap(),
        StreamAsked::Retried
    );
    assert_eq!(bench.claim(Lane::Long, 1000), work(WorkKind::Stream, "a"));
    bench.catalog.finish_stream("a", 1001).unwrap();
    assert_eq!(bench.claim(Lane::Long, 9000), None);
    assert_eq!(bench.stream_state("a", 9000), Some(StreamState::Done));
    assert_eq!(
        bench.catalog.want_stream("a", 9000).unwrap(),
        StreamAsked::Already
    );
}

#[test]
fn leases_belong_to_their_holder() {
    let bench = Bench::new();
    bench.add("a", 1);
    let work = bench.claim(Lane::Quick, 0).unwrap();
    assert!(!bench.catalog.renew(&work, "somebody else", 500).unwrap());
    assert!(bench.catalog.renew(&work, "me", 500).unwrap());
    assert_eq!(bench.claim(Lane::Quick, 499), None);
    bench.catalog.release(&work, "somebody else").unwrap();
    assert_eq!(bench.claim(Lane::Quick, 499), None);
    bench.catalog.release(&work, "me").unwrap();
    assert!(bench.claim(Lane::Quick, 499).is_some());
    // The next process, alone by its lock, waits for no lease.
    let bench = bench.reopened();
    assert_eq!(bench.claim(Lane::Quick, 499), None);
    assert_eq!(bench.catalog.end_all_leases().unwrap(), 1);
    assert!(bench.claim(Lane::Quick, 499).is_some());
}

#[test]
fn a_stream_goes_on_where_it_stopped() {
    let bench = Bench::new();
    bench.add("a", 1);
    let catalog = &bench.catalog;
    assert!(
        !catalog
            .set_plan("a", "plan 1", &rungs(&["720p", "360p"]))
            .unwrap()
    );
    for number in [0, 1] {
        catalog
            .add_segment("a", "720p", "avc1", &segment(number))
            .unwrap();
    }
    catalog
        .add_segment("a", "360p", "avc1", &segment(0))
        .unwrap();
    assert!(
        catalog
            .add_segment("a", "144p", "avc1", &segment(0))
            .is_err()
    );

    let bench = bench.reopened();
    let catalog = &bench.catalog;
    let stream = catalog.asset("a", 0).unwrap().unwrap().stream.unwrap();
    let seen: Vec<_> = stream
        .rungs
        .iter()
        .map(|rung| {
            (
                rung.name.as_str(),
                rung.segments,
                rung.bytes,
                rung.duration_s,
            )
        })
        .collect();
    assert_eq!(seen, [("720p", 2, 20, 8.0), ("360p", 1, 10, 4.0)]);
    assert_eq!(
        catalog.segments("a", "720p").unwrap(),
        [segment(0), segment(1)]
    );

    // The same plan keeps them, another one does not.
    assert!(
        !catalog
            .set_plan("a", "plan 1", &rungs(&["720p", "360p"]))
            .unwrap()
    );
    assert_eq!(catalog.segments("a", "720p").unwrap().len(), 2);
    assert!(catalog.set_plan("a", "plan 2", &rungs(&["720p"])).unwrap());
    assert_eq!(catalog.segments("a", "720p").unwrap(), []);
}

#[test]
fn what_is_removed_is_gone_at_once_and_forgotten_last() {
    let bench = Bench::new();
    bench.add("a", 1);
    bench.catalog.set_probe("a", "{}").unwrap();
    bench
        .catalog
        .set_plan("a", "plan", &rungs(&["720p"]))
        .unwrap();
    assert!(bench.catalog.cancel_stream("a").unwrap());
    assert_eq!(bench.claim(Lane::Long, 0), None);
    assert_eq!(bench.stream_state("a", 0), Some(StreamState::Cancelled));
    assert_eq!(
        bench.catalog.want_stream("a", 0).unwrap(),
        StreamAsked::Leaving
    );
    assert_eq!(bench.catalog.cancelled_streams().unwrap(), ["a"]);
    bench.catalog.forget_stream("a").unwrap();
    assert_eq!(bench.catalog.want_stream("a", 0).unwrap(), StreamAsked::New);

    assert!(bench.catalog.delete_asset("a").unwrap());
    assert!(!bench.catalog.delete_asset("a").unwrap());
    assert!(bench.catalog.asset("a", 0).unwrap().is_none());
    assert_eq!(bench.catalog.assets(0).unwrap().len(), 0);
    assert_eq!(bench.claim(Lane::Long, 0), None);
    let bench = bench.reopened();
    assert_eq!(bench.catalog.deleted_assets().unwrap(), ["a"]);
    bench.catalog.forget_asset("a").unwrap();
    assert_eq!(bench.catalog.deleted_assets().unwrap(), [""; 0]);
}

#[test]
fn uploads_remember_what_they_became() {
    let bench = Bench::new();
    let upload = Upload {
        id: "u".to_owned(),
        protocol: Protocol::Tus,
        name: "clip.mp4".to_owned(),
        metadata: "filename Y2xpcC5tcDQ=".to_owned(),
        length: None,
        created_ms: 1,
        expires_ms: 2,
        complete: false,
        asset: None,
    };
    bench.catalog.add_upload(&upload).unwrap();
    bench.catalog.extend_upload("u", Some(10), 3).unwrap();
    bench.catalog.complete_upload("u", 10).unwrap();
    let bench = bench.reopened();
    let seen = bench.catalog.upload("u").unwrap().unwrap();
    assert_eq!(
        (
            seen.protocol,
            seen.length,
            seen.expires_ms,
            seen.complete,
            seen.asset
        ),
        (Protocol::Tus, Some(10), 3, true, None)
    );
    for _again in 0..2 {
        bench
            .catalog
            .add_asset(&NewAsset {
                id: "u",
                name: "clip.mp4",
                size: 10,
                cid: "bafkqaaa",
                created_ms: 5,
                want_stream: false,
                upload: Some("u"),
            })
            .unwrap();
    }
    let seen = bench.catalog.upload("u").unwrap().unwrap();
    assert_eq!(seen.asset.as_deref(), Some("u"));
    let asset = bench.catalog.asset("u", 0).unwrap().unwrap();
    assert_eq!(asset.state(), AssetState::Probing);
    assert!(asset.stream.is_none());
    assert!(bench.catalog.remove_upload("u").unwrap());
}

#[test]
fn verdicts_follow_the_table_and_the_policy() {
    let bench = Bench::new();
    bench.add("a", 1);
    let table = boards::Table::builtin();
    let policy = boards::Policy {
        render: true,
        allow_software: false,
    };
    let verdicts = || {
        bench
            .catalog
            .asset("a", 0)
            .unwrap()
            .unwrap()
            .verdicts(&table, policy)
    };
    assert!(verdicts().is_empty());
    let probe = r#"{"container":"mov,mp4,m4a,3gp,3g2,mj2","video":[{"codec":"h264","profile":"High",
        "width":1280,"height":720,"fps":"25/1","pix_fmt":"yuv420p","bit_depth":8,"chroma":"4:2:0"}]}"#;
    bench.catalog.set_probe("a", probe).unwrap();
    assert_eq!(verdicts().len(), table.boards().len());
    bench
        .catalog
        .fail_asset("a", "a: broken", Some(probe))
        .unwrap();
    assert!(verdicts().is_empty());
}

#[test]
fn a_catalog_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    drop(Catalog::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "user_version", 1000)
        .unwrap();
    drop(connection);
    let Err(error) = Catalog::open(&path) else {
        panic!("opened a catalog of version 1000");
    };
    assert!(
        matches!(error, catalog::Error::TooNew { found: 1000, .. }),
        "{error}"
    );
}

#[test]
fn roots_without_rows_are_dropped() {
    let bench = Bench::new();
    let store = Store::open(bench.folder.path().join("store")).unwrap();
    let put = |content: &str, pin: &str| {
        let options = PutOptions {
            pin: Some(pin),
            ..PutOptions::default()
        };
        store.put(content.as_bytes(), &options).unwrap().cid
    };
    bench.add("kept", 1);
    bench
        .catalog
        .set_plan("kept", "plan", &rungs(&["720p"]))
        .unwrap();
    let kept = Segment {
        number: 0,
        ..segment(0)
    };
    bench
        .catalog
        .add_segment("kept", "720p", "avc1", &kept)
        .unwrap();
    put("original", &roots::original("kept"));
    put("segment", &roots::segment("kept", "720p", 0));
    put("stale", &roots::segment("kept", "720p", 1));
    put("orphan", &roots::original("gone"));
    let orphan = put("orphan's", &roots::segment("gone", "720p", 0));
    store
        .publish(&roots::master_name("gone"), &orphan, None)
        .unwrap();
    put("another program's", "backup/gone/1");

    assert_eq!(roots::drop_orphans(&bench.catalog, &store).unwrap(), 1);
    roots::drop_stale_segments(&bench.catalog, &store, "kept").unwrap();
    let pins: Vec<String> = store
        .pins("")
        .unwrap()
        .into_iter()
        .map(|pin| pin.name)
        .collect();
    assert_eq!(
        pins,
        [
            "asset/kept/original",
            "backup/gone/1",
            "stream/kept/720p/00000"
        ]
    );
    assert!(store.names("").unwrap().is_empty());
}
