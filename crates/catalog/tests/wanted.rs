//! What the catalog says is wanted, and what of that survives a process: rows in, work out.

mod places;

use catalog::{
    AssetPage, AssetState, Catalog, Lane, LiveState, NewAsset, Protocol, StreamAsked, StreamState,
    Upload, Work, WorkKind, roots,
};
use store::{PutOptions, Store};

use places::{Place, everywhere};

struct Bench {
    place: Place,
    catalog: Catalog,
}

impl Bench {
    fn new(place: Place) -> Self {
        let catalog = place.open();
        Self { place, catalog }
    }

    /// The same rows as another process would find them.
    fn reopened(self) -> Self {
        let Self { place, catalog } = self;
        drop(catalog);
        Self::new(place)
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
        variant: None,
    })
}

fn rungs(names: &[&str]) -> Vec<(String, String)> {
    let facts = |name: &&str| ((*name).to_owned(), "{}".to_owned());
    names.iter().map(facts).collect()
}

#[test]
fn work_is_what_is_wanted_and_not_there() {
    everywhere(|place| {
        let bench = Bench::new(place);
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
    });
}

#[test]
fn leases_belong_to_their_holder() {
    everywhere(|place| {
        let bench = Bench::new(place);
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
        assert_eq!(bench.catalog.end_leases().unwrap(), 1);
        assert!(bench.claim(Lane::Quick, 499).is_some());
    });
}

#[test]
fn a_plan_begins_with_nothing_and_the_same_one_keeps_what_is_there() {
    everywhere(|place| {
        let bench = Bench::new(place);
        bench.add("a", 1);
        let catalog = &bench.catalog;
        let both = rungs(&["720p", "360p"]);
        catalog.set_plan("a", "plan 1", &both).unwrap();
        catalog.set_rung("a", "720p", 1, 10, 4.0).unwrap();
        catalog.set_rung("a", "720p", 2, 20, 8.0).unwrap();
        catalog.set_rung("a", "360p", 1, 10, 4.0).unwrap();

        let bench = bench.reopened();
        let check = |expected: &[(&str, u64, u64, f64)]| {
            let stream = bench.catalog.asset("a", 0).unwrap().unwrap().stream;
            let rungs = stream.unwrap().rungs;
            let seen: Vec<_> = rungs
                .iter()
                .map(|rung| (&*rung.name, rung.segments, rung.bytes, rung.duration_s))
                .collect();
            assert_eq!(seen, expected);
        };
        let there = [("720p", 2, 20, 8.0), ("360p", 1, 10, 4.0)];
        check(&there);
        bench.catalog.set_plan("a", "plan 1", &both).unwrap();
        check(&there);
        let one = rungs(&["720p"]);
        bench.catalog.set_plan("a", "plan 2", &one).unwrap();
        check(&[("720p", 0, 0, 0.0)]);
    });
}

#[test]
fn a_live_stream_is_wanted_until_it_ends() {
    everywhere(|place| {
        let bench = Bench::new(place);
        let catalog = &bench.catalog;
        let state = |now| catalog.live("gate", now).unwrap().map(|live| live.state());
        assert!(catalog.want_live("gate", "one", 1).unwrap());
        assert!(catalog.want_live("gate", "one", 2).unwrap());
        assert!(!catalog.want_live("gate", "other", 2).unwrap());
        assert_eq!(state(0), Some(LiveState::Waiting));
        assert_eq!(bench.claim(Lane::Long, 0), None);
        assert_eq!(bench.claim(Lane::Live, 0), work(WorkKind::Live, "gate"));
        assert_eq!(bench.claim(Lane::Live, 0), None);
        assert_eq!(state(50), Some(LiveState::Running));

        assert!(catalog.end_live("gate").unwrap());
        assert!(catalog.live("gate", 0).unwrap().unwrap().ending);
        catalog.finish_live("gate", 9).unwrap();
        assert_eq!(state(400), Some(LiveState::Ended));
        assert_eq!(bench.claim(Lane::Live, 400), None);

        assert!(catalog.known_assets().unwrap().contains("gate"));
        assert!(catalog.cancel_live("gate").unwrap());
        assert!(!catalog.want_live("gate", "one", 5).unwrap());
        catalog.forget_live("gate").unwrap();
        assert_eq!(state(500), None);
        assert!(!catalog.cancel_live("gate").unwrap() && !catalog.end_live("gate").unwrap());
        assert!(catalog.lives(0).unwrap().is_empty());
    });
}

#[test]
fn what_is_removed_is_gone_at_once_and_forgotten_last() {
    everywhere(|place| {
        let bench = Bench::new(place);
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
        assert_eq!(bench.catalog.assets(&AssetPage::default(), 0).unwrap().1, 0);
        assert_eq!(bench.claim(Lane::Long, 0), None);
        let bench = bench.reopened();
        assert_eq!(bench.catalog.deleted_assets().unwrap(), ["a"]);
        bench.catalog.forget_asset("a").unwrap();
        assert_eq!(bench.catalog.deleted_assets().unwrap(), [""; 0]);
    });
}

#[test]
fn uploads_remember_what_they_became() {
    everywhere(|place| {
        let bench = Bench::new(place);
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
    });
}

#[test]
fn an_asset_has_facts_while_it_is_ready() {
    everywhere(|place| {
        let bench = Bench::new(place);
        bench.add("a", 1);
        let facts = || bench.catalog.asset("a", 0).unwrap().unwrap().facts();
        assert!(facts().is_none());
        let probe = r#"{"container":"mov,mp4,m4a,3gp,3g2,mj2","video":[{"codec":"h264"}]}"#;
        bench.catalog.set_probe("a", probe).unwrap();
        assert!(facts().unwrap().main_video().is_some());
        let failed = bench.catalog.fail_asset("a", "a: broken", Some(probe));
        failed.unwrap();
        assert!(facts().is_none());
    });
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
    everywhere(|place| {
        let bench = Bench::new(place);
        let store = Store::open(bench.place.folder().join("store")).unwrap();
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
        put("original", &roots::original("kept"));
        put("segment", &roots::piece("kept", "720p", "00000"));
        put("named", &roots::named("by hand"));
        put("its segment", &roots::piece("by hand", "720p", "00000"));
        put("orphan", &roots::original("gone"));
        let orphan = put("orphan's", &roots::piece("gone", "720p", "00000"));
        for path in ["master.m3u8", "720p/playlist.m3u8"] {
            let name = roots::playlist("gone", path);
            store.publish(&name, &orphan, None).unwrap();
        }
        put("another program's", "backup/gone/1");

        assert_eq!(roots::drop_orphans(&bench.catalog, &store).unwrap(), 1);
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
                "named/by hand",
                "stream/by hand/720p/00000",
                "stream/kept/720p/00000"
            ]
        );
        assert!(store.names("").unwrap().is_empty());
    });
}
