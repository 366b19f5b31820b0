//! What boards want of assets, what becomes of it when boards, targets, the table or an asset
//! change, and who is given which rendering when.

mod places;

use std::collections::{BTreeMap, BTreeSet};

use boards::{Facts, Policy, Table};
use catalog::variant::{Made, Scope, Spec, Want, Wish, want};
use catalog::{BoardPolicy, Catalog, Lane, NewAsset, VariantState, roots};
use store::{PutOptions, Store};

use places::{Place, everywhere};

const RECIPE: &str = "superfast";

struct Bench {
    _place: Place,
    catalog: Catalog,
    store: Store,
}

impl Bench {
    fn new(place: Place) -> Self {
        let catalog = place.open();
        let store = Store::open(place.folder().join("store")).unwrap();
        Self {
            _place: place,
            catalog,
            store,
        }
    }

    fn add(&self, id: &str, created_ms: i64) {
        let new = NewAsset {
            id,
            name: "clip.mp4",
            size: 7,
            cid: "bafkqaaa",
            created_ms,
            want_stream: false,
            upload: None,
        };
        self.catalog.add_asset(&new).unwrap();
        self.catalog.set_probe(id, "{}").unwrap();
    }

    /// Each as board and key; what decides is the key's own name here.
    fn wish(&self, asset: &str, wishes: &[(&str, &str)], since_ms: i64) {
        let wishes: Vec<Wish> = wishes
            .iter()
            .map(|(board, key)| Wish {
                board: (*board).to_owned(),
                spec: Spec {
                    key: (*key).to_owned(),
                    json: format!("{{\"is\":\"{key}\"}}"),
                },
                since_ms,
            })
            .collect();
        self.catalog.wish(&[(asset, wishes)]).unwrap();
    }

    /// As the reconciler does it: bytes and pin first, the row after them.
    fn make(&self, asset: &str, key: &str) {
        let pin = roots::variant(asset, key);
        let options = PutOptions {
            pin: Some(&pin),
            ..PutOptions::default()
        };
        let bytes = format!("{asset} as {key}");
        let stored = self.store.put_bytes(bytes.as_bytes(), &options).unwrap();
        let made = Made {
            cid: stored.cid.to_string(),
            size: stored.size,
            probe: "{}".to_owned(),
            how: "{}".to_owned(),
            finished_ms: 1,
        };
        if !self
            .catalog
            .finish_variant(asset, key, &made, None)
            .unwrap()
        {
            self.store.unpin(&pin).unwrap();
        }
    }

    fn sweep(&self) -> usize {
        let stale = self.catalog.forget_stale_variants().unwrap();
        for (asset, key) in &stale {
            roots::drop_variant(&self.catalog, &self.store, asset, key).unwrap();
        }
        stale.len()
    }

    /// What each board plays now.
    fn plays(&self, asset: &str) -> BTreeMap<String, String> {
        let asset = self.catalog.asset(asset, 0).unwrap().unwrap();
        let there = asset.variants.iter().filter(|v| v.made.is_some());
        there
            .flat_map(|variant| {
                let boards = variant.boards.iter().chain(&variant.fallback_of);
                boards.map(|board| (board.clone(), variant.key.clone()))
            })
            .collect()
    }

    fn states(&self, asset: &str) -> BTreeMap<String, VariantState> {
        let asset = self.catalog.asset(asset, 0).unwrap().unwrap();
        let states = asset.variants.iter().map(|v| (v.key.clone(), v.state()));
        states.collect()
    }

    /// The next rendering, as asset and key. Its lease ends at once.
    fn next(&self, now_ms: i64) -> Option<(String, String)> {
        let work = self.catalog.claim(Lane::Render, "me", now_ms, now_ms + 1);
        let work = work.unwrap()?;
        self.catalog.release(&work, "me").unwrap();
        let key = work.variant.unwrap();
        self.catalog
            .unstart_variant(&work.asset, &key, None)
            .unwrap();
        Some((work.asset, key))
    }

    fn pins(&self) -> BTreeSet<String> {
        let pins = self.store.pins("asset/").unwrap();
        pins.into_iter().map(|pin| pin.name).collect()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pair = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    pairs.iter().map(pair).collect()
}

fn some(asset: &str, key: &str) -> Option<(String, String)> {
    Some((asset.to_owned(), key.to_owned()))
}

fn video(codec: &str, size: (u32, u32), fps: &str, container: &str) -> Facts {
    let (width, height) = size;
    let profile = if codec == "h264" { "High" } else { "Main" };
    serde_json::from_value(serde_json::json!({
        "container": container,
        "video": [{ "codec": codec, "profile": profile, "width": width, "height": height, "fps": fps,
                    "pix_fmt": "yuv420p", "bit_depth": 8, "chroma": "4:2:0" }],
        "audio": [{ "codec": "aac" }],
    }))
    .unwrap()
}

fn key(table: &Table, board: &str, facts: &Facts, recipe: &str) -> Option<String> {
    let board = table.get(board).unwrap();
    match want(facts, board, Policy::default(), recipe) {
        Want::Variant(spec) => Some(spec.key),
        Want::Original | Want::Nothing => None,
    }
}

#[test]
fn boards_that_would_get_the_same_share_it() {
    let table = Table::builtin();
    let hd = video("mpeg2video", (1920, 1080), "30/1", "mpegts");
    let uhd = video("mpeg2video", (3840, 2160), "30/1", "mpegts");
    let avi = video("h264", (640, 360), "25/1", "avi");
    for (facts, one, other, same) in [
        // Both get HEVC of the original's size; their targets are equal.
        (&hd, "x86", "rockpi4", true),
        (&uhd, "x86", "pi5", true),
        // H.264 is another codec than HEVC.
        (&hd, "pi3", "x86", false),
        (&uhd, "pi3", "pi4-64", false),
        (&uhd, "pi2", "pi3", true),
        (&avi, "pi3", "arm64", true),
    ] {
        let keys = [one, other].map(|board| key(&table, board, facts, RECIPE));
        assert!(keys[0].is_some(), "{one} wants nothing");
        assert_eq!(keys[0] == keys[1], same, "{one} {other}");
    }
}

#[test]
fn a_key_changes_with_what_decides_the_result_and_with_nothing_else() {
    let builtin = Table::builtin();
    let uhd = video("mpeg2video", (3840, 2160), "30/1", "mpegts");
    let small = video("mpeg2video", (640, 360), "25/1", "mpegts");
    let change = |row: &str| {
        builtin
            .with_overrides(&format!("[[board]]\n{row}"))
            .unwrap()
    };
    let smaller =
        change("id = \"pi3\"\ntarget = { codec = \"h264\", size = \"1280x720\", fps = 30 }");
    let noted = change("id = \"pi3\"\nnotes = [\"on its side\"]");
    let slower =
        change("id = \"pi3\"\ntarget = { codec = \"h264\", size = \"1920x1080\", fps = 25 }");
    for (name, table, facts, same) in [
        ("a smaller target, a larger asset", &smaller, &uhd, false),
        (
            "a smaller target, an asset within it",
            &smaller,
            &small,
            true,
        ),
        ("a note", &noted, &uhd, true),
        ("a slower target, a faster asset", &slower, &uhd, false),
        ("a slower target, an asset within it", &slower, &small, true),
    ] {
        let keys = [&builtin, table].map(|table| key(table, "pi3", facts, RECIPE));
        assert_eq!(keys[0] == keys[1], same, "{name}");
    }
    let other = key(&builtin, "pi3", &uhd, "slow");
    assert_ne!(key(&builtin, "pi3", &uhd, RECIPE), other);
}

#[test]
fn what_plays_needs_nothing_and_a_gate_makes_nothing() {
    let table = Table::builtin();
    let board = table.get("pi3").unwrap();
    let gate = Policy {
        render: false,
        allow_software: false,
    };
    let plays = video("h264", (1920, 1080), "30/1", "matroska,webm");
    let other = video("vp9", (1920, 1080), "30/1", "matroska,webm");
    let silent = Facts::default();
    for (facts, policy, original) in [
        (&plays, Policy::default(), Some(true)),
        (&plays, gate, Some(true)),
        (&other, gate, Some(false)),
        (&other, Policy::default(), None),
        (&silent, Policy::default(), Some(false)),
    ] {
        let wanted = match want(facts, board, policy, RECIPE) {
            Want::Original => Some(true),
            Want::Nothing => Some(false),
            Want::Variant(_) => None,
        };
        assert_eq!(wanted, original);
    }
}

#[test]
fn boards_are_enrolled_once_and_their_policy_changes() {
    everywhere(|place| {
        let bench = Bench::new(place);
        let enrol = |policy, now| bench.catalog.enrol_board("pi3", policy, now).unwrap();
        assert!(enrol(None, 5));
        assert!(!enrol(None, 6));
        assert!(enrol(Some(BoardPolicy::Gate), 7));
        let boards = bench.catalog.boards_enrolled().unwrap();
        assert_eq!((boards.len(), boards[0].since_ms), (1, 5));
        assert_eq!(boards[0].policy, Some(BoardPolicy::Gate));
        assert!(bench.catalog.remove_board("pi3").unwrap());
        assert!(!bench.catalog.remove_board("pi3").unwrap());
    });
}

#[test]
fn the_oldest_wish_first_within_its_priority() {
    everywhere(|place| {
        let bench = Bench::new(place);
        for (id, at) in [("a", 1), ("b", 2), ("c", 3)] {
            bench.add(id, at);
            bench.wish(id, &[("pi3", "k")], at);
        }
        let catalog = &bench.catalog;
        assert_eq!(bench.next(10), some("a", "k"));
        catalog.set_priority(Some("c"), 1).unwrap();
        assert_eq!(bench.next(10), some("c", "k"));
        catalog.pause_asset("c", true).unwrap();
        assert_eq!(bench.next(10), some("a", "k"));
        catalog.set_priority(None, -3).unwrap();
        assert_eq!(bench.next(10), some("a", "k"));
        catalog.pause_rendering(true).unwrap();
        assert!(catalog.rendering_paused().unwrap());
        assert_eq!(bench.next(10), None);
        catalog.pause_rendering(false).unwrap();
        let of_a = Scope {
            asset: Some("a"),
            board: None,
        };
        assert_eq!(catalog.cancel_variants(of_a).unwrap(), ["a"]);
        assert_eq!(bench.states("a")["k"], VariantState::Cancelled);
        assert_eq!(bench.next(10), some("b", "k"));
        catalog
            .fail_variant("b", "k", "too dark", Some("line"), None)
            .unwrap();
        assert_eq!(bench.next(10), None, "c is paused");
        // What nobody wants is not asked for again.
        let of_a_board = Scope {
            asset: None,
            board: Some("pi4-64"),
        };
        assert!(catalog.retry_variants(of_a_board).unwrap().is_empty());
        assert_eq!(
            catalog.retry_variants(Scope::default()).unwrap(),
            ["a", "b"]
        );
        assert_eq!(bench.next(10), some("a", "k"));
        catalog.delete_asset("a").unwrap();
        assert_eq!(bench.next(10), some("b", "k"));
        let failed = catalog.variants_in(VariantState::Failed, 10, 0).unwrap();
        assert!(failed.is_empty());
        let waiting = catalog.variants_in(VariantState::Waiting, 10, 0).unwrap();
        let waiting: Vec<_> = waiting.iter().map(|v| v.variant.asset.as_str()).collect();
        assert_eq!(waiting, ["b", "c"]);
    });
}

#[test]
fn one_lease_for_each_variant() {
    everywhere(|place| {
        let bench = Bench::new(place);
        bench.add("a", 1);
        bench.wish("a", &[("pi3", "k"), ("x86", "l")], 1);
        let claim = |who, now| {
            let work = bench.catalog.claim(Lane::Render, who, now, now + 100);
            work.unwrap().map(|work| work.variant.unwrap())
        };
        assert_eq!(claim("one", 0).as_deref(), Some("k"));
        assert_eq!(claim("two", 0).as_deref(), Some("l"));
        assert_eq!(claim("three", 50), None);
        let running = bench.catalog.variants_in(VariantState::Running, 9, 50);
        assert_eq!(running.unwrap().len(), 2);
        // The dead are taken over from, but not for ever.
        assert_eq!(claim("three", 200).as_deref(), Some("k"));
        assert_eq!(claim("three", 400).as_deref(), Some("k"));
        assert_eq!(claim("three", 600).as_deref(), Some("l"));
        assert_eq!(bench.states("a")["k"], VariantState::Failed);
    });
}

#[test]
fn what_was_there_is_played_until_its_successor_is_there() {
    everywhere(|place| {
        let bench = Bench::new(place);
        bench.add("a", 1);
        bench.wish("a", &[("pi3", "old"), ("x86", "other")], 1);
        bench.make("a", "old");
        bench.make("a", "other");
        assert_eq!(bench.plays("a"), pairs(&[("pi3", "old"), ("x86", "other")]));

        // The target changes twice before anything is made of it.
        bench.wish("a", &[("pi3", "newer"), ("x86", "other")], 1);
        bench.wish("a", &[("pi3", "newest"), ("x86", "other")], 1);
        assert!(!bench.states("a").contains_key("newer"));
        assert_eq!(bench.sweep(), 0);
        assert_eq!(bench.plays("a"), pairs(&[("pi3", "old"), ("x86", "other")]));
        // Only what changed is made anew.
        assert_eq!(bench.next(10), some("a", "newest"));
        bench.make("a", "newest");
        assert_eq!(bench.sweep(), 1);
        assert_eq!(
            bench.plays("a"),
            pairs(&[("pi3", "newest"), ("x86", "other")])
        );
        assert!(!bench.pins().contains(&roots::variant("a", "old")));

        // Back again while it is still there: nothing to make.
        bench.wish("a", &[("pi3", "other"), ("x86", "other")], 1);
        assert_eq!(bench.next(10), None);
        assert_eq!(bench.sweep(), 1);
        // Nobody is left.
        bench.wish("a", &[], 1);
        assert_eq!(bench.sweep(), 1);
        assert!(bench.pins().is_empty());
    });
}

#[test]
fn what_comes_too_late_is_not_kept() {
    everywhere(|place| {
        let bench = Bench::new(place);
        bench.add("a", 1);
        bench.wish("a", &[("pi3", "k")], 1);
        bench.wish("a", &[], 1);
        bench.make("a", "k");
        assert!(bench.pins().is_empty());
        // A kill between the bytes and the row.
        let pin = roots::variant("a", "gone");
        let options = PutOptions {
            pin: Some(&pin),
            ..PutOptions::default()
        };
        bench.store.put_bytes(b"left over", &options).unwrap();
        let orphaned = roots::orphaned_variants(&bench.catalog, &bench.store);
        assert_eq!(orphaned.unwrap(), [pin]);
    });
}

#[test]
fn what_is_there_again_before_its_pin_went_keeps_it() {
    everywhere(|place| {
        let bench = Bench::new(place);
        bench.add("a", 1);
        bench.wish("a", &[("pi3", "k"), ("x86", "l")], 1);
        bench.make("a", "k");
        bench.make("a", "l");
        bench.wish("a", &[], 1);
        let stale = bench.catalog.forget_stale_variants().unwrap();
        assert_eq!(stale.len(), 2);
        bench.wish("a", &[("pi3", "k")], 1);
        bench.make("a", "k");
        for (asset, key) in &stale {
            roots::drop_variant(&bench.catalog, &bench.store, asset, key).unwrap();
        }
        assert_eq!(bench.pins(), BTreeSet::from([roots::variant("a", "k")]));
    });
}

/// Numbers of a linear congruential generator, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides) as usize
    }
}

/// Whatever happens in whatever order: a board that had something keeps something until it wants
/// nothing, what is shown is pinned, nothing else is, and the work ends with every wish fulfilled.
#[test]
fn whatever_happens_nothing_is_lost_and_nothing_is_left() {
    const BOARDS: [&str; 3] = ["pi3", "pi4-64", "x86"];
    const KEYS: [&str; 4] = ["k", "l", "m", "n"];
    for seed in 0..8 {
        everywhere(|place| {
            let bench = Bench::new(place);
            let mut dice = Dice(seed);
            bench.add("a", 1);
            let mut wishes: BTreeMap<&str, &str> = BTreeMap::new();
            for step in 0..30 {
                let before = bench.plays("a");
                match dice.roll(6) {
                    0 | 1 => {
                        let board = BOARDS[dice.roll(3)];
                        match dice.roll(5) {
                            0 => wishes.remove(board),
                            _ => wishes.insert(board, KEYS[dice.roll(4)]),
                        };
                        let wishes: Vec<_> = wishes.iter().map(|(b, k)| (*b, *k)).collect();
                        bench.wish("a", &wishes, step);
                    }
                    2 => bench.make("a", KEYS[dice.roll(4)]),
                    3 => drop(bench.sweep()),
                    4 => {
                        let key = KEYS[dice.roll(4)];
                        bench
                            .catalog
                            .fail_variant("a", key, "no", None, None)
                            .unwrap();
                    }
                    _ => drop(bench.catalog.cancel_variants(Scope::default()).unwrap()),
                }
                let now = bench.plays("a");
                for board in before.keys() {
                    let wanted = wishes.contains_key(board.as_str());
                    assert_eq!(
                        now.contains_key(board),
                        wanted,
                        "seed {seed} step {step} {board}"
                    );
                }
                for key in now.values() {
                    assert!(
                        bench.pins().contains(&roots::variant("a", key)),
                        "seed {seed}"
                    );
                }
            }
            bench.catalog.retry_variants(Scope::default()).unwrap();
            while let Some((asset, key)) = bench.next(100) {
                bench.make(&asset, &key);
            }
            bench.sweep();
            let wanted: BTreeMap<_, _> = wishes
                .iter()
                .map(|(b, k)| (b.to_string(), k.to_string()))
                .collect();
            assert_eq!(bench.plays("a"), wanted, "seed {seed}");
            let pinned: BTreeSet<_> = wanted
                .values()
                .map(|key| roots::variant("a", key))
                .collect();
            assert_eq!(bench.pins(), pinned, "seed {seed}");
        });
    }
}
