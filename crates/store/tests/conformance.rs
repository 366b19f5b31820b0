//! What the gateway conformance suite of IPFS (ipfs/gateway-conformance at 22c7644) expects of path
//! and trustless gateways, in the order and with the names of that suite: raw blocks, CAR, UnixFS,
//! CORS and IPNS. The fixtures are the suite's own; the expectations are written anew.
//!
//! A row is a request and what must come back. Where the suite allows several answers the row has
//! the one that is given here.

use std::{collections::HashMap, path::PathBuf};

use http::{Method, Request};
use store::{
    Pinning, Store,
    car::CarReader,
    dag::{AnyCid, Blocks, Entity, Node, entity, path},
    gateway::{Body, respond},
    ipns::{Name, Record},
};

const RAW: &str = "application/vnd.ipld.raw";
const CAR: &str = "application/vnd.ipld.car";
const RECORD: &str = "application/vnd.ipfs.ipns-record";
const IMMUTABLE: &str = "public, max-age=29030400, immutable";

/// A CAR of the suite.
struct Fixture {
    root: AnyCid,
    /// In the order of the file, which is depth first.
    cids: Vec<AnyCid>,
    blocks: HashMap<AnyCid, bytes::Bytes>,
}

impl Fixture {
    fn open(name: &str, store: &Store) -> Self {
        let car = std::fs::read(folder().join(name)).unwrap();
        store.import(car.as_slice(), Pinning::None, |_| {}).unwrap();
        let reader = CarReader::new(car.as_slice()).unwrap();
        let root = reader.roots()[0];
        let (mut cids, mut blocks) = (Vec::new(), HashMap::new());
        for block in reader {
            let block = block.unwrap();
            let cid = AnyCid::try_from(block.cid.to_bytes()).unwrap();
            cids.push(cid);
            blocks.insert(cid, block.bytes);
        }
        Self { root, cids, blocks }
    }

    fn cid(&self, path: &str) -> AnyCid {
        let segments: Vec<_> = path.split_terminator('/').map(str::to_owned).collect();
        path::resolve(self, &self.root, &segments).unwrap().cid
    }

    fn raw(&self, path: &str) -> Vec<u8> {
        self.blocks[&self.cid(path)].to_vec()
    }

    fn children(&self, cid: &AnyCid) -> Vec<AnyCid> {
        let node = Node::decode(&self.blocks[cid]).unwrap();
        node.links.iter().map(|link| link.cid).collect()
    }

    fn is_shard(&self, cid: &AnyCid) -> bool {
        matches!(entity(cid, &self.blocks[cid]), Ok(Some(Entity::Shard(_))))
    }

    fn shards(&self) -> Vec<AnyCid> {
        let shards = self.cids.iter().filter(|cid| self.is_shard(cid));
        shards.copied().collect()
    }

    /// The shards on the way to an entry and the entry, found by looking at all of them.
    fn way_to_entry(&self, name: &str) -> Vec<AnyCid> {
        let parent = |child: &dyn Fn(&store::dag::Link) -> bool| {
            self.shards().into_iter().find_map(|shard| {
                let node = Node::decode(&self.blocks[&shard]).unwrap();
                let link = node.links.into_iter().find(|link| child(link))?;
                Some((shard, link.cid))
            })
        };
        let entry = |link: &store::dag::Link| link.name.get(2..) == Some(name);
        let (mut shard, cid) = parent(&entry).unwrap();
        let mut way = vec![cid, shard];
        while let Some((above, _)) = parent(&|link| link.cid == shard && link.name.len() == 2) {
            way.push(above);
            shard = above;
        }
        way.reverse();
        way
    }
}

impl Blocks for Fixture {
    fn block(&self, cid: &AnyCid) -> Result<Option<bytes::Bytes>, store::Error> {
        Ok(self.blocks.get(cid).cloned())
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/gateway"
    ))
}

/// What a header's value has to be.
enum Value {
    Is(String),
    Has(&'static str),
    /// From the first to the second, whatever is between.
    Around(&'static str, String),
    There,
}

/// What a body has to be.
enum Expected {
    Anything,
    Is(Vec<u8>),
    Has(Vec<String>, Vec<String>),
    /// A CAR of exactly these blocks in this order.
    Blocks(Vec<AnyCid>),
    Record(Name, &'static str),
}

struct Row {
    name: &'static str,
    method: Method,
    uri: String,
    sent: Vec<(&'static str, String)>,
    status: std::ops::RangeInclusive<u16>,
    answers: Vec<(&'static str, Value)>,
    body: Expected,
    /// Asked for by `format=car` and once more by `Accept`, with the headers all CARs have.
    car: bool,
}

fn row(name: &'static str, uri: impl Into<String>) -> Row {
    Row {
        name,
        method: Method::GET,
        uri: uri.into(),
        sent: Vec::new(),
        status: 200..=200,
        answers: Vec::new(),
        body: Expected::Anything,
        car: false,
    }
}

impl Row {
    fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.sent.push((header, value.into()));
        self
    }

    fn status(mut self, status: u16) -> Self {
        self.status = status..=status;
        self
    }

    fn fails(mut self) -> Self {
        self.status = 500..=599;
        self
    }

    fn is(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.answers.push((header, Value::Is(value.into())));
        self
    }

    fn has(mut self, header: &'static str, part: &'static str) -> Self {
        self.answers.push((header, Value::Has(part)));
        self
    }

    fn answer(mut self, header: &'static str, value: Value) -> Self {
        self.answers.push((header, value));
        self
    }

    fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body = Expected::Is(bytes.as_ref().to_vec());
        self
    }

    fn text(mut self, has: &[String], lacks: &[String]) -> Self {
        self.body = Expected::Has(has.to_vec(), lacks.to_vec());
        self
    }

    fn blocks(mut self, cids: impl IntoIterator<Item = AnyCid>) -> Self {
        self.body = Expected::Blocks(cids.into_iter().collect());
        self
    }

    /// See the field of this name. The URI is given without `format`.
    fn car(mut self) -> Self {
        self.car = true;
        self.has("x-content-type-options", "nosniff")
            .is("accept-ranges", "none")
            .has("content-type", CAR)
            .answer(
                "content-disposition",
                Value::Around("attachment; filename=\"", ".car\"".into()),
            )
            .answer("etag", Value::There)
    }

    fn record(mut self, name: Name, value: &'static str) -> Self {
        self.body = Expected::Record(name, value);
        self.has("content-disposition", "attachment;")
            .has("content-type", RECORD)
            .has("cache-control", "public, max-age=1800")
    }

    fn check(&self, store: &Store) {
        if !self.car {
            return self.check_as(store, &self.uri, None);
        }
        let joint = if self.uri.contains('?') { "&" } else { "?" };
        self.check_as(store, &format!("{}{joint}format=car", self.uri), None);
        self.check_as(store, &self.uri, Some(("accept", CAR)));
    }

    fn check_as(&self, store: &Store, uri: &str, more: Option<(&str, &str)>) {
        let name = format!("{}: {} {uri}", self.name, self.method);
        let mut request = Request::builder().method(&self.method).uri(uri);
        for (header, value) in &self.sent {
            request = request.header(*header, value);
        }
        if let Some((header, value)) = more {
            request = request.header(header, value);
        }
        let response = respond(store, &request.body(()).unwrap());
        let (parts, body) = response.into_parts();
        let body = bytes_of(body);
        let status = parts.status.as_u16();
        assert!(
            self.status.contains(&status),
            "{name}: status {status}: {}",
            String::from_utf8_lossy(&body)
        );
        for (header, value) in &self.answers {
            let found = parts.headers.get(*header).map(|v| v.to_str().unwrap());
            let found = found.unwrap_or_else(|| panic!("{name}: no {header}"));
            let good = match value {
                Value::Is(value) => found == value,
                Value::Has(part) => found.contains(part),
                Value::Around(start, end) => found
                    .split_once(start)
                    .is_some_and(|(_, rest)| rest.contains(end.as_str())),
                Value::There => !found.is_empty(),
            };
            assert!(good, "{name}: {header}: {found}");
        }
        self.check_body(&name, &body);
    }

    fn check_body(&self, name: &str, body: &[u8]) {
        match &self.body {
            Expected::Anything => {}
            Expected::Is(bytes) => assert_eq!(body, bytes, "{name}"),
            Expected::Has(has, lacks) => {
                let text = std::str::from_utf8(body).unwrap();
                for part in has {
                    assert!(text.contains(part), "{name}: no {part} in {text}");
                }
                for part in lacks {
                    assert!(!text.contains(part), "{name}: {part} in {text}");
                }
            }
            Expected::Blocks(cids) => {
                let reader = CarReader::new(body).unwrap();
                let found: Vec<_> = reader
                    .map(|block| AnyCid::try_from(block.unwrap().cid.to_bytes()).unwrap())
                    .collect();
                assert_eq!(&found, cids, "{name}");
            }
            Expected::Record(key, value) => {
                let record = Record::verify(key, body, std::time::SystemTime::now()).unwrap();
                assert_eq!(record.value, *value, "{name}");
            }
        }
    }
}

fn bytes_of(body: Body) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    match body {
        Body::Empty => Vec::new(),
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::File { file, offset, len } => {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
            bytes
        }
        Body::Pieces { pieces, .. } => pieces.map(Result::unwrap).collect::<Vec<_>>().concat(),
    }
}

fn world() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// Keeps a record of the suite and gives back its name.
fn keep(store: &Store, file: &str) -> Name {
    let bytes = std::fs::read(folder().join(file)).unwrap();
    let (_, file) = file.rsplit_once('/').unwrap();
    let (name, _) = file.split_once(['_', '.']).unwrap();
    let name = Name::parse(name).unwrap();
    assert!(store.keep_record(&name, &bytes).unwrap());
    name
}

fn check(store: &Store, rows: &[Row], count: usize) {
    assert_eq!(rows.len(), count, "as many as the suite has");
    for row in rows {
        row.check(store);
    }
}

/// `TestTrustlessRaw`, `TestTrustlessRawRanges`.
#[test]
fn trustless_raw() {
    let (_dir, store) = world();
    let fixture = Fixture::open("gateway-raw-block.car", &store);
    let (dir, file) = (fixture.cid("dir"), fixture.cid("dir/ascii.txt"));
    let (dir_bytes, file_bytes) = (fixture.raw("dir"), fixture.raw("dir/ascii.txt"));
    let at_file = format!("/ipfs/{file}");
    let rows = [
        row(
            "GET with format=raw param returns a raw block",
            format!("/ipfs/{dir}?format=raw"),
        )
        .body(&dir_bytes),
        row(
            "GET with application/vnd.ipld.raw header returns a raw block",
            format!("/ipfs/{dir}"),
        )
        .with("accept", RAW)
        .body(&dir_bytes),
        row(
            "GET with application/vnd.ipld.raw header returns expected response headers",
            &at_file,
        )
        .with("accept", RAW)
        .is("content-type", RAW)
        .is("content-length", file_bytes.len().to_string())
        .has("content-disposition", "attachment;")
        .is("x-content-type-options", "nosniff")
        .body(&file_bytes),
        row(
            "… with filename param returns Content-Disposition with custom filename",
            format!("{at_file}?filename=foobar.bin"),
        )
        .with("accept", RAW)
        .has("content-disposition", "attachment;")
        .has("content-disposition", "filename=\"foobar.bin"),
        row("… returns expected caching headers", &at_file)
            .with("accept", RAW)
            .answer("etag", Value::There)
            .is("x-ipfs-path", &at_file)
            .is("x-ipfs-roots", file.to_string())
            .is("cache-control", IMMUTABLE),
        row("… with range request includes correct bytes", &at_file)
            .with("accept", RAW)
            .with("range", "bytes=6-16")
            .status(206)
            .is("content-range", format!("bytes 6-16/{}", file_bytes.len()))
            .is("content-type", RAW)
            .body(&file_bytes[6..17]),
    ];
    check(&store, &rows, 6);
}

/// `TestTrustlessCarPathing`, `…DagScopeBlock`, `…DagScopeEntity`, `…DagScopeAll`.
#[test]
fn trustless_car_paths_and_scopes() {
    let (_dir, store) = world();
    let open = |name| Fixture::open(&format!("trustless_gateway_car/{name}.car"), &store);
    let two = open("subdir-with-two-single-block-files");
    let hamt = open("single-layer-hamt-with-multi-block-files");
    let mixed = open("subdir-with-mixed-block-files");
    let cbor = open("dir-with-dag-cbor-with-links");
    let at = |fixture: &Fixture, rest: &str| format!("/ipfs/{}{rest}", fixture.root);
    let way = |fixture: &Fixture, path: &str| {
        let mut cids = vec![fixture.root];
        let ends = path.match_indices('/').map(|(at, _)| at);
        cids.extend(
            ends.chain([path.len()])
                .map(|end| fixture.cid(&path[..end])),
        );
        cids
    };
    let entry = |name: &str, below: bool| {
        let mut cids = hamt.way_to_entry(name);
        if below {
            cids.extend(hamt.children(cids.last().unwrap()));
        }
        cids
    };
    let document = cbor.cid("document");
    let chunked = |fixture: &Fixture| {
        let mut cids = way(fixture, "subdir/multiblock.txt");
        cids.extend(fixture.children(cids.last().unwrap()));
        cids
    };
    let rows = [
        // Pathing
        row(
            "GET default CAR response with pathing through UnixFS Directory",
            at(&two, "/subdir/ascii.txt"),
        )
        .car()
        .blocks(way(&two, "subdir/ascii.txt")),
        row(
            "… of UnixFS file on a path with HAMT-sharded directory",
            at(&hamt, "/685.txt"),
        )
        .car()
        .blocks(entry("685.txt", true)),
        row(
            "… of UnixFS file on a path with DAG-CBOR as root CID",
            format!("/ipfs/{document}/files/single"),
        )
        .car()
        .blocks([document, cbor.cid("document/files/single")]),
        Row {
            // Headers of a CAR belong to the other answer that is allowed.
            answers: Vec::new(),
            ..row(
                "… for non-existing file",
                at(&two, "/subdir/i-do-not-exist"),
            )
            .car()
            .status(404)
        },
        // dag-scope=block
        row(
            "dag-scope=block of UnixFS directory on a path",
            at(&two, "/subdir?dag-scope=block"),
        )
        .car()
        .blocks(way(&two, "subdir")),
        row(
            "dag-scope=block of UnixFS file on a path",
            at(&two, "/subdir/ascii.txt?dag-scope=block"),
        )
        .car()
        .blocks(way(&two, "subdir/ascii.txt")),
        row(
            "dag-scope=block of UnixFS file on a path with sharded directory",
            at(&hamt, "/1.txt?dag-scope=block"),
        )
        .car()
        .blocks(entry("1.txt", false)),
        // dag-scope=entity
        row(
            "dag-scope=entity of a UnixFS directory",
            at(&two, "?dag-scope=entity"),
        )
        .car()
        .blocks([two.root]),
        row(
            "dag-scope=entity of a UnixFS sharded directory",
            at(&hamt, "?dag-scope=entity"),
        )
        .car()
        .blocks(hamt.shards()),
        row(
            "dag-scope=entity of a UnixFS file",
            at(&mixed, "/subdir/ascii.txt?dag-scope=entity"),
        )
        .car()
        .blocks(way(&mixed, "subdir/ascii.txt")),
        row(
            "dag-scope=entity of a chunked UnixFS file",
            at(&mixed, "/subdir/multiblock.txt?dag-scope=entity"),
        )
        .car()
        .blocks(chunked(&mixed)),
        row(
            "dag-scope=entity of DAG-CBOR with Links",
            at(&cbor, "/document?dag-scope=entity"),
        )
        .car()
        .blocks([cbor.root, document]),
        // dag-scope=all
        row(
            "dag-scope=all of UnixFS directory with multiple files",
            at(&mixed, "/subdir?dag-scope=all"),
        )
        .car()
        .blocks(mixed.cids.clone()),
        row(
            "dag-scope=all of a chunked UnixFS file",
            at(&mixed, "/subdir/multiblock.txt?dag-scope=all"),
        )
        .car()
        .blocks(chunked(&mixed)),
    ];
    check(&store, &rows, 14);
}

/// `TestTrustlessCarEntityBytes`.
#[test]
fn trustless_car_entity_bytes() {
    let (_dir, store) = world();
    let open = |name| Fixture::open(&format!("trustless_gateway_car/{name}.car"), &store);
    let hamt = open("single-layer-hamt-with-multi-block-files");
    let mixed = open("subdir-with-mixed-block-files");
    let hole = open("file-3k-and-3-blocks-missing-block");
    let file = mixed.cid("subdir/multiblock.txt");
    let parts = mixed.children(&file);
    let of_hole = hole.children(&hole.root);
    let bytes =
        |cid: AnyCid, range: &str| format!("/ipfs/{cid}?dag-scope=entity&entity-bytes={range}");
    let slice = |parts: &[AnyCid]| [&[file], parts].concat();
    let rows = [
        row(
            "succeeds even if the gateway is missing a block after the requested range",
            bytes(hole.root, "0:1000"),
        )
        .car()
        .blocks([hole.root, of_hole[0]]),
        row(
            "succeeds even if the gateway is missing a block before the requested range",
            bytes(hole.root, "2200:*"),
        )
        .car()
        .blocks([hole.root, of_hole[2]]),
        row(
            "of a full UnixFS file",
            format!(
                "/ipfs/{}/subdir/multiblock.txt?dag-scope=entity&entity-bytes=0:*",
                mixed.root
            ),
        )
        .car()
        .blocks([&[mixed.root, mixed.cid("subdir")][..], &slice(&parts)].concat()),
        row("of a UnixFS directory", bytes(hamt.root, "0:*"))
            .car()
            .blocks(hamt.shards()),
        row("from the middle of a file to the end", bytes(file, "512:*"))
            .car()
            .blocks(slice(&parts[2..])),
        row("for the middle of a file", bytes(file, "512:1023"))
            .car()
            .blocks(slice(&parts[2..4])),
        row(
            "for the middle of a file (negative ending)",
            bytes(file, "512:-256"),
        )
        .car()
        .blocks(slice(&parts[2..4])),
        row(
            "equivalent to HTTP Suffix Range Request for part of a file",
            bytes(file, "-5:*"),
        )
        .car()
        .blocks(slice(&parts[3..])),
        row(
            "a negative range bigger than the length of a file",
            bytes(file, "-9999:*"),
        )
        .car()
        .blocks(slice(&parts)),
        row(
            "a range from the end of a file that is bigger than a file itself",
            bytes(file, "-9999:-3"),
        )
        .car()
        .blocks(slice(&parts[..4])),
        row(
            "only the blocks for the first byte of a file",
            bytes(file, "0:0"),
        )
        .car()
        .blocks(slice(&parts[..1])),
    ];
    check(&store, &rows, 11);
}

/// `TestTrustlessCarOrderAndDuplicates`, `TestTrustlessCarFormatPrecedence`.
#[test]
fn trustless_car_parameters() {
    let (_dir, store) = world();
    let fixture = Fixture::open("trustless_gateway_car/dir-with-duplicate-files.car", &store);
    let raw = Fixture::open("gateway-raw-block.car", &store);
    let at = format!("/ipfs/{}", fixture.root);
    let once = fixture.cids.clone();
    let mut twice = once.clone();
    // ascii-copy.txt and ascii.txt are one block.
    twice.insert(1, fixture.cid("ascii.txt"));
    let inline = "/ipfs/bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa";
    let raw_dir = format!("/ipfs/{}", raw.cid("dir"));
    let car = |row: Row, accept: &str, has: &'static str| {
        row.with("accept", format!("{CAR}; {accept}"))
            .has("content-type", CAR)
            .has("content-type", has)
    };
    let dups_y = "version=1; order=dfs; dups=y";
    let rows = [
        car(
            row(
                "order=dfs and dups=y of UnixFS Directory With Duplicate Files",
                &at,
            ),
            dups_y,
            "order=dfs; dups=y",
        )
        .blocks(twice.clone()),
        car(
            row(
                "order=dfs and dups=n of UnixFS Directory With Duplicate Files",
                &at,
            ),
            "version=1; order=dfs; dups=n",
            "order=dfs; dups=n",
        )
        .blocks(once.clone()),
        car(
            row("smoke-test with order=unk of UnixFS Directory", &at),
            "version=1; order=unk",
            "order=",
        )
        .blocks(once),
        car(
            row("order=dfs and dups=y of identity CID", inline),
            "dups=y",
            "dups=y",
        )
        .blocks([]),
        car(
            row(
                "?format=car respects Accept header order and dups params",
                format!("{at}?format=car"),
            ),
            dups_y,
            "order=dfs; dups=y",
        )
        .blocks(twice),
        car(
            row(
                "?car-order=dfs takes precedence over order=unk in Accept",
                format!("{at}?format=car&car-order=dfs"),
            ),
            "order=unk",
            "order=dfs",
        ),
        car(
            row(
                "?car-dups=y takes precedence over dups=n in Accept",
                format!("{at}?format=car&car-dups=y"),
            ),
            "dups=n",
            "dups=y",
        ),
        row(
            "format=car query parameter takes precedence over Accept header",
            format!("{raw_dir}?format=car"),
        )
        .with("accept", RAW)
        .has("content-type", CAR),
        row(
            "format=raw query parameter takes precedence over Accept header",
            format!("{raw_dir}?format=raw"),
        )
        .with("accept", CAR)
        .is("content-type", RAW),
    ];
    check(&store, &rows, 9);
}

/// `TestGatewayBlock`.
#[test]
fn path_raw() {
    let (_dir, store) = world();
    let fixture = Fixture::open("gateway-raw-block.car", &store);
    let dir = format!("/ipfs/{}/dir", fixture.root);
    let file = format!("{dir}/ascii.txt");
    let (dir_bytes, file_bytes) = (fixture.raw("dir"), fixture.raw("dir/ascii.txt"));
    let rows = [
        row(
            "GET with format=raw param returns a raw block",
            format!("{dir}?format=raw"),
        )
        .body(&dir_bytes),
        row("GET with Accept returns a raw block", &dir)
            .with("accept", RAW)
            .body(&dir_bytes),
        row("… with single range request includes correct bytes", &dir)
            .with("accept", RAW)
            .with("range", "bytes=6-16")
            .status(206)
            .is("content-type", RAW)
            .is("content-range", "bytes 6-16/57")
            .body(&dir_bytes[6..17]),
        row("… returns expected response headers", &file)
            .with("accept", RAW)
            .is("content-type", RAW)
            .is("content-length", file_bytes.len().to_string())
            .has("content-disposition", "attachment;")
            .is("x-content-type-options", "nosniff")
            .body(&file_bytes),
        row(
            "… and filename param returns expected Content-Disposition",
            format!("{file}?filename=foobar.bin"),
        )
        .with("accept", RAW)
        .has("content-disposition", "attachment;")
        .has("content-disposition", "filename=\"foobar.bin"),
        row("… returns expected caching headers", &file)
            .with("accept", RAW)
            .answer("etag", Value::There)
            .is("x-ipfs-path", &file)
            .answer("x-ipfs-roots", Value::Around("", fixture.root.to_string()))
            .is("cache-control", IMMUTABLE),
    ];
    check(&store, &rows, 6);
}

/// The block of `root2/root3/root4/`, as the suite spells it.
const ROOT4: &[u8] =
    b"\x12\x34\x0a\x24\x01\x55\x12\x20\x58\x91\xb5\xb5\x22\xd5\xdf\x08\x6d\x0f\xf0\
    \xb1\x10\xfb\xd9\xd2\x1b\xb4\xfc\x71\x63\xaf\x34\xd0\x82\x86\xa2\xe8\x46\xf6\xbe\x03\x12\x0a\
    index.html\x18\x06\x0a\x02\x08\x01";

/// `TestUnixFSDirectoryListing`, `TestGatewaySymlink`, `TestGatewayUnixFSFileRanges`,
/// `TestPathGatewayMiscellaneous`.
#[test]
fn path_unixfs() {
    let (_dir, store) = world();
    let listed = Fixture::open("dir_listing/fixtures.car", &store);
    let linked = Fixture::open("path_gateway_unixfs/symlink.car", &store);
    let files = Fixture::open("path_gateway_unixfs/dir-with-files.car", &store);
    let percent = Fixture::open(
        "path_gateway_unixfs/dir-with-percent-encoded-filename.car",
        &store,
    );
    let hole = Fixture::open(
        "trustless_gateway_car/file-3k-and-3-blocks-missing-block.car",
        &store,
    );
    let root = format!("/ipfs/{}", listed.root);
    let deep = format!("{root}/%C4%85/%C4%99");
    let file = listed.cid("ą/ę/file-źł.txt");
    let ascii = format!("/ipfs/{}/ascii.txt", files.root);
    let text = files.raw("ascii.txt");
    let rows = [
        row("backlink on root CID should be hidden", format!("{root}/")).text(
            &["Index of".into()],
            &[format!("<a href=\"{root}/\">..</a>"), ">..<".into()],
        ),
        row("redirect dir listing to URL with trailing slash", &deep)
            .status(301)
            .is("location", format!("{deep}/")),
        row("dir listing HTML response", format!("{deep}/"))
            .has("etag", "\"DirIndex-")
            .text(
                &[
                    "Index of".into(),
                    format!(
                        "/ipfs/<a href=\"{root}\">{}</a>/<a href=\"{root}/%C4%85\">ą</a>/\
                         <a href=\"{deep}\">ę</a>",
                        listed.root
                    ),
                    format!("<a href=\"{deep}/..\">..</a>"),
                    format!("<a href=\"{deep}/file-%C5%BA%C5%82.txt\">file-źł.txt</a>"),
                    format!(
                        "<a class=\"ipfs-hash\" translate=\"no\" \
                         href=\"/ipfs/{file}?filename=file-%25C5%25BA%25C5%2582.txt\">"
                    ),
                ],
                &[],
            ),
        row(
            "GET for /ipfs/cid/file UnixFS file that does not exist returns 404",
            format!("{root}/i-do-not-exist"),
        )
        .status(404),
        row(
            "Test the directory listing",
            format!("/ipfs/{}/", linked.root),
        )
        .text(&[">foo<".into(), ">bar<".into()], &[]),
        row(
            "Test the directory raw query",
            format!("/ipfs/{}?format=raw", linked.root),
        )
        .body(linked.raw("")),
        row("Test the symlink", format!("/ipfs/{}/bar", linked.root)).body("foo"),
        row("GET for /ipfs/ file includes Accept-Ranges header", &ascii)
            .is("accept-ranges", "bytes")
            .body(&text),
        row("single range request includes correct bytes", &ascii)
            .with("range", "bytes=6-16")
            .status(206)
            .is("content-range", "bytes 6-16/31")
            .body(&text[6..17]),
        row("suffix range request includes correct bytes", &ascii)
            .with("range", "bytes=-3")
            .status(206)
            .is("content-range", "bytes 28-30/31")
            .body(&text[28..31]),
        row("multiple range request returns correct bytes", &ascii)
            .with("range", "bytes=6-16,0-4")
            .status(206)
            .is("content-range", "bytes 6-16/31")
            .body(&text[6..17]),
        row(
            "GET Range succeeds even if a block AFTER the range is missing",
            format!("/ipfs/{}", hole.root),
        )
        .with("range", "bytes=997-1000")
        .status(206)
        .is("content-range", "bytes 997-1000/3072"),
        row(
            "GET Range succeeds even if a block BEFORE the range is missing",
            format!("/ipfs/{}", hole.root),
        )
        .with("range", "bytes=2200-2201")
        .status(206)
        .is("content-range", "bytes 2200-2201/3072"),
        row(
            "filename contains percentage-encoded characters works",
            format!(
                "/ipfs/{}/Portugal%252C+Espa%C3%B1a=Peninsula%20Ib%C3%A9rica.txt",
                percent.root
            ),
        )
        .body("hello from a percent encoded filename\n"),
    ];
    check(&store, &rows, 14);
}

/// `TestGatewayCache`, `TestGatewayCacheWithIPNS`.
#[test]
fn path_cache() {
    let (_dir, store) = world();
    let fixture = Fixture::open("gateway-cache/fixtures.car", &store);
    let key = keep(
        &store,
        "gateway-cache/k51qzi5uqu5dlxdsdu5fpuu7h69wu4ohp32iwm9pdt9nq3y5rpn3ln9j12zfhe.ipns-record",
    );
    let cid = |depth: usize| fixture.cid(["root2", "root2/root3", "root2/root3/root4"][depth - 2]);
    let roots = |depth: usize| {
        let mut roots = vec![fixture.root.to_string()];
        roots.extend((2..=depth.min(4)).map(|depth| cid(depth).to_string()));
        if depth == 5 {
            roots.push(fixture.cid("root2/root3/root4/index.html").to_string());
        }
        roots.join(",")
    };
    let tag = |cid: AnyCid| format!("\"{cid}\"");
    let index = fixture.cid("root2/root3/root4/index.html");
    let paths = |space: String| {
        let listing = format!("{space}/root2/root3/");
        let with_index = format!("{space}/root2/root3/root4/");
        let file = format!("{with_index}index.html");
        (listing, with_index, file)
    };
    let (listing, with_index, file) = paths(format!("/ipfs/{}", fixture.root));
    let raw = format!("{with_index}?format=raw");
    let absent = "/ipfs/QmYzfKSE55XCjD1MW128RfciAf2DViABhEiXfgVFMabSjN";
    let cached = |row: Row| row.with("cache-control", "only-if-cached");
    let if_none_match = |name, uri: &str, tag: String| {
        row(name, uri)
            .with("if-none-match", tag)
            .status(304)
            .body("")
    };
    let listing_tag = format!("\"DirIndex-{}_CID-{}\"", env!("CARGO_PKG_VERSION"), cid(3));
    let dir_index = || Value::Around("\"DirIndex-", format!("_CID-{}", cid(3)));
    let rows = [
        row("GET for /ipfs/ unixfs dir listing succeeds", &listing)
            .is("x-ipfs-path", &listing)
            .is("x-ipfs-roots", roots(3))
            .answer("etag", dir_index())
            .is(
                "cache-control",
                "public, max-age=604800, stale-while-revalidate=2678400",
            ),
        row("… dir with index.html succeeds", &with_index)
            .is("cache-control", IMMUTABLE)
            .is("x-ipfs-path", &with_index)
            .is("x-ipfs-roots", roots(4))
            .is("etag", tag(cid(4)))
            .body("hello\n"),
        row("… file succeeds", &file)
            .is("cache-control", IMMUTABLE)
            .is("x-ipfs-path", &file)
            .is("x-ipfs-roots", roots(5))
            .is("etag", tag(index)),
        row("… dir as raw block succeeds", &raw)
            .is("cache-control", IMMUTABLE)
            .body(ROOT4),
        cached(row("HEAD with only-if-cached succeeds", &raw).method(Method::HEAD)),
        cached(row("HEAD with only-if-cached fails", absent).method(Method::HEAD)).status(412),
        cached(row("GET with only-if-cached succeeds", &raw)),
        cached(row("GET with only-if-cached fails", absent)).status(412),
        if_none_match("file with matching Etag", &file, tag(index)),
        if_none_match(
            "dir with index.html with matching Etag",
            &with_index,
            tag(cid(4)),
        ),
        if_none_match(
            "file with matching third Etag",
            &file,
            format!("\"fakeEtag1\", \"fakeEtag2\", \"{index}\""),
        ),
        if_none_match(
            "file with matching weak Etag",
            &file,
            format!("W/\"{index}\""),
        ),
        if_none_match("file with wildcard Etag", &file, "*".into()),
        row("DirIndex etag", &listing).is("etag", &listing_tag),
        if_none_match(
            "dir listing with matching strong Etag",
            &listing,
            listing_tag.clone(),
        ),
        if_none_match(
            "dir listing with matching weak Etag",
            &listing,
            format!("W/{listing_tag}"),
        ),
    ];
    check(&store, &rows, 16);

    let (listing, with_index, file) = paths(format!("/ipns/{key}"));
    let mutable = || Value::Around("public, max-age=", String::new());
    let rows = [
        row("GET for /ipns/ unixfs dir listing succeeds", &listing)
            .is("x-ipfs-path", &listing)
            .is("x-ipfs-roots", roots(3))
            .answer("etag", dir_index())
            .answer("cache-control", mutable()),
        row("… dir with index.html succeeds", &with_index)
            .is("x-ipfs-path", &with_index)
            .is("x-ipfs-roots", roots(4))
            .is("etag", tag(cid(4)))
            .answer("cache-control", mutable()),
        row("… file succeeds", &file)
            .is("x-ipfs-path", &file)
            .is("x-ipfs-roots", roots(5))
            .is("etag", tag(index))
            .answer("cache-control", mutable()),
        row(
            "… dir as raw block succeeds",
            format!("{with_index}?format=raw"),
        )
        .answer("cache-control", mutable())
        .body(ROOT4),
        if_none_match("… file with matching Etag", &file, tag(index)),
    ];
    check(&store, &rows, 5);
}

/// `TestCors`.
#[test]
fn cors() {
    let (_dir, store) = world();
    let allowed = |row: Row| {
        row.is("access-control-allow-origin", "*")
            .is("access-control-allow-methods", "GET, HEAD, OPTIONS")
            .is(
                "access-control-allow-headers",
                "Content-Type, Range, User-Agent, X-Requested-With",
            )
            .is(
                "access-control-expose-headers",
                "Content-Range, Content-Length, X-Ipfs-Path, X-Ipfs-Roots, X-Chunked-Output, \
                 X-Stream-Output",
            )
    };
    let hello = "/ipfs/bafkqabtimvwgy3yk/";
    let rows = [
        // A file is no directory; the headers are there all the same.
        allowed(row("GET Responses should include CORS headers", hello)).status(404),
        allowed(row("OPTIONS to Gateway succeeds", hello).method(Method::OPTIONS)).status(204),
    ];
    check(&store, &rows, 2);
}

/// `TestGatewayIPNSPath`, `TestRedirectCanonicalIPNS`, `TestGatewayIPNSRecordWithSubpath`,
/// `TestGatewayIPNSRecord`.
#[test]
fn ipns() {
    let (_dir, store) = world();
    Fixture::open("gateway-cache/fixtures.car", &store);
    let keep = |file: &str| keep(&store, file);
    let v1 = keep(
        "ipns_records/k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku_v1.ipns-record",
    );
    let both = keep(
        "ipns_records/k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w_v1-v2.ipns-record",
    );
    let v2 = keep(
        "ipns_records/k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f_v2.ipns-record",
    );
    let other_value = keep(
        "ipns_records/k51qzi5uqu5dlmit2tuwdvnx4sbnyqgmvbxftl0eo3f33wwtb9gr7yozae9kpw_v1-v2-broken-v1-value.ipns-record",
    );
    let broken_v1 = keep(
        "ipns_records/k51qzi5uqu5dilgf7gorsh9vcqqq4myo6jd4zmqkuy9pxyxi5fua3uf7axph4y_v1-v2-broken-signature-v1.ipns-record",
    );
    let broken_v2 = keep(
        "ipns_records/k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c_v1-v2-broken-signature-v2.ipns-record",
    );
    let subpath = keep(
        "gateway-cache/k51qzi5uqu5djokp3m1keo36hoxtd6u3a1d2rg1camf6al7p3huy63dojlm57c.ipns-record",
    );
    let at = |name: &Name| format!("/ipns/{name}");
    let (both_value, v2_value) = (
        "/ipfs/bafkqaddwgevxmmraojswg33smq",
        "/ipfs/bafkqadtwgiww63tmpeqhezldn5zgi",
    );
    let rows = [
        row("V1-only signature MUST fail with 5XX", at(&v1)).fails(),
        row(
            "valid V1+V2 with V1-vs-V2 value mismatch MUST fail",
            at(&other_value),
        )
        .fails(),
        row("valid V2 and broken V1 signature succeeds", at(&broken_v1))
            .body("v1+v2 with broken signature v1"),
        row("valid V1+V2 signatures succeeds", at(&both)).body("v1+v2 record"),
        row("valid V2-only signature succeeds", at(&v2)).body("v2-only record"),
        row("valid V1 and broken V2 signature MUST fail", at(&broken_v2)).fails(),
        row(
            "/ipns/{b58-multihash-of-ed25519-key} redirects",
            "/ipns/12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK/root2/",
        )
        .status(302)
        .is(
            "location",
            "/ipns/k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8/root2/",
        ),
        row(
            "/ipns/{cidv0-like-b58-multihash-of-rsa-key} redirects",
            "/ipns/QmcJM7PRfkSbcM5cf1QugM5R37TLRKyJGgBEhXjLTB8uA2/root2/",
        )
        .status(302)
        .is(
            "location",
            "/ipns/k2k4r8ol4m8kkcqz509c1rcjwunebj02gcnm5excpx842u736nja8ger/root2/",
        ),
        row(
            "returns file when IPNS record Value has sub-path",
            format!("/ipns/{subpath}/root3/root4/index.html"),
        )
        .body("hello\n"),
        row(
            "GET IPNS Record (V1+V2) with format=ipns-record",
            format!("{}?format=ipns-record", at(&both)),
        )
        .record(both, both_value),
        row(
            "GET IPNS Record (V2) with format=ipns-record",
            format!("{}?format=ipns-record", at(&v2)),
        )
        .record(v2, v2_value),
        row("GET IPNS Record (V1+V2) with Accept", at(&both))
            .with("accept", RECORD)
            .record(both, both_value),
        row("GET IPNS Record (V2) with Accept", at(&v2))
            .with("accept", RECORD)
            .record(v2, v2_value),
        row(
            "GET IPNS Record with explicit ?filename=",
            format!(
                "{}?format=ipns-record&filename=test%D1%82%D0%B5%D1%81%D1%82.ipns-record",
                at(&both)
            ),
        )
        .is(
            "content-disposition",
            "attachment; filename=\"test____.ipns-record\"; \
             filename*=UTF-8''test%D1%82%D0%B5%D1%81%D1%82.ipns-record",
        ),
    ];
    check(&store, &rows, 14);
}
