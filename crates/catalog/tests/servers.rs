//! Several servers on one PostgreSQL: who gets which work, whose results count, and what is said
//! when the database cannot be used.

mod places;

use std::collections::BTreeSet;
use std::error::Error as _;

use catalog::variant::{Made, Spec, Wish};
use catalog::{Catalog, Error, Lane, NewAsset, VariantState, Work};
use places::postgres::{self, Database};

fn server(database: &Database<'_>, home: &str) -> Catalog {
    let catalog = Catalog::connect(&database.url()).unwrap();
    catalog.served_by(home, true)
}

/// An asset of that server, and one wished variant of it.
fn add(catalog: &Catalog, id: &str, shared: bool) {
    let new = NewAsset {
        id,
        name: "clip.mp4",
        size: 7,
        cid: "bafkqaaa",
        created_ms: 1,
        want_stream: true,
        upload: None,
    };
    catalog.add_asset(&new).unwrap();
    catalog.set_probe(id, "{}").unwrap();
    if shared {
        catalog.share_original(id).unwrap();
    }
    let wish = Wish {
        board: "pi3".to_owned(),
        spec: Spec {
            key: "k".to_owned(),
            json: "{}".to_owned(),
        },
        since_ms: 1,
    };
    catalog.wish(&[(id, vec![wish])]).unwrap();
}

fn made(catalog: &Catalog, work: &Work, cid: &str, holder: &str) -> bool {
    let made = Made {
        cid: cid.to_owned(),
        size: 1,
        probe: "{}".to_owned(),
        how: "{}".to_owned(),
        finished_ms: 1,
    };
    let key = work.variant.as_deref().unwrap();
    catalog
        .finish_variant(&work.asset, key, &made, Some(holder))
        .unwrap()
}

#[test]
fn each_work_is_given_out_once_however_many_ask() {
    const JOBS: usize = 60;
    let Some(postgres) = postgres::server() else {
        return;
    };
    let database = postgres.database();
    let first = server(&database, "a");
    for number in 0..JOBS {
        add(&first, &format!("asset{number}"), true);
    }
    let ask = |home: &str| {
        let catalog = server(&database, home);
        let mut got = Vec::new();
        while let Some(work) = catalog.claim(Lane::Render, home, 10, 20).unwrap() {
            got.push(work.asset);
        }
        got
    };
    let got: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = ["a", "b", "c", "d", "e", "f"]
            .map(|home| scope.spawn(move || ask(home)))
            .into();
        asking
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    assert_eq!(got.len(), JOBS, "{got:?}");
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), JOBS);
}

#[test]
fn expired_leases_are_taken_over_once_however_many_ask() {
    let Some(postgres) = postgres::server() else {
        return;
    };
    let database = postgres.database();
    let first = server(&database, "a");
    add(&first, "asset", true);
    for round in 0..20 {
        let now = round * 10;
        let got: usize = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..6)
                .map(|n| {
                    let database = &database;
                    scope.spawn(move || {
                        let catalog = server(database, "b");
                        let holder = format!("b/{round}-{n}");
                        let work = catalog.claim(Lane::Render, &holder, now, now + 10).unwrap();
                        if let Some(work) = &work {
                            let key = work.variant.as_deref().unwrap();
                            let holder = Some(holder.as_str());
                            catalog.unstart_variant(&work.asset, key, holder).unwrap();
                        }
                        usize::from(work.is_some())
                    })
                })
                .collect();
            asking.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(got, 1, "round {round}");
    }
}

#[test]
fn who_lost_the_lease_publishes_nothing() {
    let Some(postgres) = postgres::server() else {
        return;
    };
    let database = postgres.database();
    let (a, b) = (server(&database, "a"), server(&database, "b"));
    add(&a, "asset", true);
    let variant = || a.variant("asset", "k", 0).unwrap().unwrap();

    let slow = a.claim(Lane::Render, "a/1", 0, 10).unwrap().unwrap();
    assert!(b.claim(Lane::Render, "b/1", 9, 19).unwrap().is_none());
    let taken = b.claim(Lane::Render, "b/1", 10, 20).unwrap().unwrap();
    assert_eq!(taken, slow);
    // The first one wakes up again.
    assert!(!a.renew(&slow, "a/1", 100).unwrap());
    a.fail_variant("asset", "k", "it is broken", None, Some("a/1"))
        .unwrap();
    assert!(!made(&a, &slow, "bafy-of-a", "a/1"));
    a.release(&slow, "a/1").unwrap();
    assert!(variant().made.is_none() && variant().error.is_none());
    // Nobody else is given it meanwhile.
    assert!(a.claim(Lane::Render, "a/2", 15, 25).unwrap().is_none());

    assert!(made(&b, &taken, "bafy-of-b", "b/1"));
    b.release(&taken, "b/1").unwrap();
    assert!(!made(&a, &slow, "bafy-of-a", "a/1"));
    assert_eq!(variant().made.unwrap().cid, "bafy-of-b");
    assert_eq!(
        variant().made.is_some(),
        variant().state() == VariantState::Done
    );
    // Its pin is the second one's, and what the first one pinned belongs to nothing.
    assert_eq!(b.made_variants().unwrap().len(), 1);
    assert!(a.made_variants().unwrap().is_empty() && a.known_variants().unwrap().is_empty());
}

#[test]
fn a_server_does_what_it_can_read() {
    let Some(postgres) = postgres::server() else {
        return;
    };
    let database = postgres.database();
    let (a, b) = (server(&database, "a"), server(&database, "b"));
    let alone = Catalog::connect(&database.url())
        .unwrap()
        .served_by("c", false);
    add(&a, "asset", false);
    for lane in [Lane::Long, Lane::Quick, Lane::Render] {
        assert!(b.claim(lane, "b/1", 0, 10).unwrap().is_none(), "{lane:?}");
    }
    assert_eq!(a.unshared_originals(10).unwrap().len(), 1);
    a.share_original("asset").unwrap();
    assert!(a.unshared_originals(10).unwrap().is_empty());
    assert!(alone.claim(Lane::Render, "c/1", 0, 10).unwrap().is_none());
    assert!(b.claim(Lane::Render, "b/1", 0, 10).unwrap().is_some());
    assert!(b.claim(Lane::Long, "b/1", 0, 10).unwrap().is_none());
    assert!(a.claim(Lane::Long, "a/1", 0, 10).unwrap().is_some());

    // A start ends its own leases.
    assert_eq!(a.end_leases().unwrap(), 1);
    assert_eq!(b.leases().unwrap(), ["render:asset.k"]);
    // What has its files at one server is removed by that one.
    assert!(b.delete_asset("asset").unwrap());
    b.forget_asset("asset").unwrap();
    assert!(b.deleted_assets().unwrap().is_empty());
    assert_eq!(a.deleted_assets().unwrap(), ["asset"]);
    a.forget_asset("asset").unwrap();
    assert!(a.known_assets().unwrap().is_empty());
}

/// Why a database is not opened, with all causes.
fn refusal(url: &str) -> String {
    let error = Catalog::connect(url).err().expect(url);
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_database_that_cannot_be_used_is_named_without_its_password() {
    let Some(postgres) = postgres::server() else {
        return;
    };
    let database = postgres.database();
    let why = |url: &str| {
        let text = refusal(url);
        for secret in ["mistaken", "secret", "hush"] {
            assert!(!text.contains(secret), "{text}");
        }
        text
    };
    let text = why(&database.url_as("kinora", "mistaken"));
    assert!(text.contains("password authentication failed"), "{text}");
    let text = why("postgres://kinora:hush@127.0.0.1:1/kinora");
    assert!(
        text.contains("kinora at 127.0.0.1:1") && text.contains("refused"),
        "{text}"
    );
    let text = why("mysql://kinora:hush@localhost/kinora");
    assert!(text.contains("postgres://"), "{text}");
    why("postgres://kinora:hush@localhost:many/kinora");

    drop(Catalog::connect(&database.url()).unwrap());
    database.ask("UPDATE schema_version SET version = 1000");
    let error = Catalog::connect(&database.url()).err().unwrap();
    assert!(
        matches!(error, Error::TooNew { found: 1000, .. }),
        "{error}"
    );
}

#[test]
fn a_connection_that_broke_is_made_again() {
    let Some(postgres) = postgres::server() else {
        return;
    };
    let database = postgres.database();
    let catalog = server(&database, "a");
    add(&catalog, "asset", true);
    catalog.originals().unwrap();
    database.ask(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE application_name = 'kinora' AND datname = current_database()",
    );
    assert_eq!(catalog.originals().unwrap().len(), 1);
    assert!(catalog.claim(Lane::Render, "a/1", 0, 10).unwrap().is_some());
    assert!(catalog.delete_asset("asset").unwrap());
}

#[test]
fn tls_is_spoken_and_the_certificate_checked_as_the_url_says() {
    let Some(postgres) = postgres::server().and_then(|_| postgres::Postgres::with_tls()) else {
        return;
    };
    let database = postgres.database();
    let certificate = format!("sslrootcert={}", database.certificate().display());
    let why = |host: &str, parameters: &str| refusal(&database.url_at(host, parameters));

    let checked = format!("sslmode=verify-full&{certificate}");
    for parameters in [&checked, "sslmode=require", ""] {
        let catalog = Catalog::connect(&database.url_at("localhost", parameters)).unwrap();
        add(&catalog, &format!("asset {parameters}"), true);
        catalog.originals().unwrap();
        let connections = database.ask(
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'kinora'",
        );
        assert_eq!(connections, "t", "{parameters}");
    }

    let text = why("localhost", "sslmode=verify-full");
    assert!(text.contains("UnknownIssuer"), "{text}");
    let text = why("127.0.0.1", &checked);
    assert!(text.contains("not valid for name"), "{text}");
    let text = why("localhost", "sslmode=disable");
    assert!(text.contains("no encryption"), "{text}");
    let text = why("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem");
    assert!(text.contains("No such file"), "{text}");
}
