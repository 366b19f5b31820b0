//! A collection never takes what a pin, a name, a lease, an open reader or a running put needs,
//! whoever else works on the same folder and whoever is killed in the middle.
//!
//! The test binary runs itself as the victim: threads that put, import, publish, read and let go,
//! beside one that does nothing but collect, all in one process or in two. Each checks what it was
//! promised while it lives, and writes down what it holds; after the kill the rest is checked.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a victim tells its parent what it holds, and a skipped test says so"
)]

mod content;
#[cfg(feature = "s3")]
mod servers;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use bytes::Bytes;
use cid::multihash::Multihash;
use content::{CHUNK, bytes, keyed};
use rand_chacha::rand_core::Rng;
use sha2::{Digest, Sha256};
use store::{
    Cid, PutOptions, Store,
    unixfs::{DAG_PB, RAW, SHA2_256},
};

const ROLE: &str = "KINORA_STORE_COLLECTING_ROOT";
const URL: &str = "KINORA_STORE_COLLECTING_URL";
const SEED: &str = "KINORA_STORE_COLLECTING_SEED";

fn cid(codec: u64, block: &[u8]) -> Cid {
    Cid::new_v1(
        codec,
        Multihash::wrap(SHA2_256, &Sha256::digest(block)).unwrap(),
    )
}

/// A dag-pb node with these links.
fn node(links: &[Cid]) -> Bytes {
    let mut node = Vec::new();
    for link in links {
        let hash = link.to_bytes();
        node.extend([0x12, hash.len() as u8 + 2, 0x0a, hash.len() as u8]);
        node.extend(hash);
    }
    node.into()
}

/// A worker of the victim and the random choices it makes.
struct Worker {
    store: Store,
    name: String,
    random: rand_chacha::ChaCha20Rng,
}

impl Worker {
    fn pick(&mut self, most: u32) -> u32 {
        self.random.next_u32() % most
    }

    fn some_pin(&mut self) -> String {
        let number = self.pick(6);
        format!("{}/pin/{number}", self.name)
    }

    /// Content that others put at the same time too: few contents, on both sides of a chunk.
    fn content(&mut self) -> Vec<u8> {
        let len = [0, 9, CHUNK / 3, CHUNK + 1][self.pick(4) as usize];
        bytes(&format!("shared {}", self.pick(12)), len)
    }

    fn whole(&self, cid: &Cid, content: &[u8], what: &str) {
        let object = self.store.get(cid).unwrap();
        let mut got = Vec::new();
        let object = object.unwrap_or_else(|| panic!("{}: {what} {cid} is gone", self.name));
        object.reader().unwrap().read_to_end(&mut got).unwrap();
        assert!(
            got == content,
            "{}: {what} {cid} is other content",
            self.name
        );
    }

    /// Puts under a pin, which the name of the worker makes its own.
    fn put(&mut self) {
        let pin = self.some_pin();
        let content = self.content();
        // What the pin held is let go of in the same moment.
        println!("unsure {pin}");
        let options = PutOptions {
            pin: Some(&pin),
            ..PutOptions::default()
        };
        let stored = self.store.put(content.as_slice(), &options).unwrap();
        println!("holds {pin} {}", stored.cid);
        self.whole(&stored.cid, &content, "pinned");
    }

    fn publish(&mut self) {
        let name = format!("{}/name", self.name);
        let content = bytes(&format!("{} {}", self.name, self.random.next_u32()), 300);
        let options = PutOptions {
            publish: Some(&name),
            ..PutOptions::default()
        };
        let cid = self.store.put(content.as_slice(), &options).unwrap().cid;
        println!("names {name} {cid}");
        for version in self.store.versions(&name).unwrap() {
            assert!(
                self.store.get(&version.cid).unwrap().is_some(),
                "{name}: version {}",
                version.seq
            );
        }
    }

    /// Leaves first, root and pin last: until then only the lease holds them.
    fn import(&mut self) {
        let pin = format!("{}/graph", self.name);
        let lease = self.store.lease().unwrap();
        let leaves: Vec<Bytes> = (0..4).map(|_| self.content().into()).collect();
        let mut links = Vec::new();
        for leaf in leaves.iter().filter(|leaf| leaf.len() <= CHUNK) {
            links.push(cid(RAW, leaf));
            self.store.put_block(&cid(RAW, leaf), leaf.clone()).unwrap();
            thread::sleep(Duration::from_millis(2));
        }
        let inner = node(&links);
        self.store
            .put_block(&cid(DAG_PB, &inner), inner.clone())
            .unwrap();
        let root = node(&[cid(DAG_PB, &inner)]);
        let root_cid = cid(DAG_PB, &root);
        self.store.put_block(&root_cid, root).unwrap();
        println!("unsure {pin}");
        self.store.pin(&pin, &root_cid).unwrap();
        println!("holds {pin} {root_cid}");
        drop(lease);
        assert_graph(&self.store, &root_cid, &pin);
    }

    /// Finds something held, and reads it while its holder may let go.
    fn read(&mut self) {
        let lease = self.store.lease().unwrap();
        let pins = self.store.pins("").unwrap();
        if pins.is_empty() {
            return;
        }
        let pin = &pins[self.pick(pins.len() as u32) as usize];
        thread::sleep(Duration::from_millis(u64::from(self.pick(5))));
        // Held when it was found, under the lease: still there, whatever became of the pin.
        assert_graph(
            &self.store,
            &pin.cid,
            &format!("{}: read {}", self.name, pin.name),
        );
        drop(lease);
        // Whatever there is, held or not, is there whole or not at all; once open, it stays.
        let objects = self.store.ls().unwrap();
        if objects.is_empty() {
            return;
        }
        let cid = objects[self.pick(objects.len() as u32) as usize].cid;
        if let Some(object) = self.store.get(&cid).unwrap() {
            thread::sleep(Duration::from_millis(u64::from(self.pick(5))));
            let mut got = Vec::new();
            object.reader().unwrap().read_to_end(&mut got).unwrap();
            assert_eq!(store::cid_of(got.as_slice()).unwrap().0, cid);
        }
    }

    fn let_go(&mut self) {
        let pin = match self.pick(3) {
            0 => format!("{}/graph", self.name),
            _ => self.some_pin(),
        };
        println!("unsure {pin}");
        self.store.unpin(&pin).unwrap();
    }

    fn work(mut self) {
        loop {
            match self.pick(10) {
                0..3 => self.put(),
                3 => self.publish(),
                4 | 5 => self.import(),
                6..8 => self.read(),
                _ => self.let_go(),
            }
        }
    }
}

/// Everything below a CID is there and right.
fn assert_graph(store: &Store, root: &Cid, what: &str) {
    let mut pending = vec![*root];
    while let Some(cid) = pending.pop() {
        let block = store.get_block(&cid);
        let block = block.unwrap_or_else(|error| panic!("{what}: {cid}: {error}"));
        let block = block.unwrap_or_else(|| panic!("{what}: {cid} is gone"));
        pending.extend(store::dag::links(&cid, &block).unwrap());
    }
}

fn victim_main(root: &Path) {
    let url = env::var(URL).ok();
    let store = Store::open_url(root, url.as_deref()).unwrap();
    // A panic in a thread is what this test looks for: it ends all of them.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        println!("violated");
        std::process::abort();
    }));
    let mirror = store.mirror(|_| ()).unwrap();
    let seed = env::var(SEED).unwrap();
    thread::scope(|scope| {
        for n in 0..3 {
            let name = format!("worker/{}-{n}", std::process::id());
            let random = keyed(&format!("{seed} {n}"));
            let store = store.clone();
            scope.spawn(move || {
                Worker {
                    store,
                    name,
                    random,
                }
                .work()
            });
        }
        scope.spawn(|| {
            loop {
                store.collect(Duration::ZERO).unwrap();
            }
        });
    });
    drop(mirror);
}

fn spawn(test: &str, root: &Path, url: Option<&str>, seed: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, root)
        .env(SEED, seed)
        .stdout(Stdio::piped());
    if let Some(url) = url {
        command.env(URL, url);
    }
    command.spawn().unwrap()
}

/// Lets a victim work, kills it, and takes what it said it held for sure.
fn kill(mut child: Child, after: Duration, held: &mut BTreeMap<String, Cid>) {
    let out = child.stdout.take().unwrap();
    let said = thread::spawn(move || {
        BufReader::new(out)
            .lines()
            .map_while(Result::ok)
            .collect::<Vec<_>>()
    });
    thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    for line in said.join().unwrap() {
        // The test harness prints onto the first line.
        let Some(start) = ["unsure ", "holds ", "names ", "violated"]
            .iter()
            .find_map(|word| line.find(word))
        else {
            continue;
        };
        let mut words = line[start..].split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("violated"), ..) => panic!("a promise was broken; see above"),
            (Some("unsure"), Some(name), _) => {
                held.remove(name);
            }
            (Some("holds" | "names"), Some(name), Some(text)) => {
                // The last line may be cut.
                if let Ok(cid) = Cid::try_from(text) {
                    held.insert(name.to_owned(), cid);
                }
            }
            _ => {}
        }
    }
}

fn check(test: &str, url: Option<&str>, rounds: u32) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut random = keyed("when to kill a collection");
    let mut seen = 0;
    for round in 0..rounds {
        let mut held = BTreeMap::new();
        let children: Vec<_> = (0..1 + round % 2)
            .map(|n| spawn(test, &root, url, &format!("{round} {n}")))
            .collect();
        let after = Duration::from_millis(u64::from(400 + random.next_u32() % 900));
        for child in children {
            kill(child, after, &mut held);
        }
        let store = Store::open_url(&root, url).unwrap();
        // The dead hold nothing by leases any more.
        store.collect(Duration::ZERO).unwrap();
        let findings = store.verify(true, |_| ()).unwrap().findings;
        assert_eq!(findings, [], "round {round}");
        let pins: BTreeMap<_, _> = store
            .pins("")
            .unwrap()
            .into_iter()
            .map(|pin| (pin.name, pin.cid))
            .collect();
        for (name, cid) in &held {
            seen += 1;
            let kept = match pins.get(name) {
                Some(pinned) => pinned == cid,
                None => store.versions(name).unwrap().iter().any(|v| v.cid == *cid),
            };
            assert!(kept, "round {round}: {name} does not hold {cid}");
        }
        for (name, cid) in &pins {
            assert_graph(&store, cid, &format!("round {round}: {name}"));
        }
        // Once nothing is held, nothing is left, here and there.
        for name in store.names("").unwrap() {
            store.unpublish(&name).unwrap();
        }
        store.unpin_prefix("").unwrap();
        store.collect(Duration::ZERO).unwrap();
        assert_eq!(store.ls().unwrap(), [], "round {round}");
        if url.is_some() {
            assert!(store.sync(|_| ()).unwrap());
            let status = store.backend_status().unwrap().unwrap();
            assert_eq!((status.copied, status.removals), (0, 0), "round {round}");
        }
    }
    assert!(seen > rounds as usize, "the victims held something: {seen}");
}

#[test]
fn what_is_needed_is_never_collected() {
    if let Some(root) = env::var_os(ROLE).map(PathBuf::from) {
        return victim_main(&root);
    }
    check("what_is_needed_is_never_collected", None, 10);
}

/// The same with the bytes in S3 and no room here.
#[cfg(feature = "s3")]
#[test]
fn what_is_needed_is_never_collected_from_a_backend() {
    if let Some(root) = env::var_os(ROLE).map(PathBuf::from) {
        return victim_main(&root);
    }
    let Some(moto) = servers::Moto::start() else {
        return servers::skipped("moto_server");
    };
    let url = format!("{}&cache=0", moto.url("collecting"));
    check(
        "what_is_needed_is_never_collected_from_a_backend",
        Some(&url),
        4,
    );
}
