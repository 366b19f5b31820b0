//! `cargo xtask tidy`: holds the tree against the house rules of `house.rs`.
//!
//! Every rule is a function from what was read (the packages as cargo sees them, or one file's path
//! and text) to a list of findings, so the rules are tested on rows without a tree. A finding names
//! the file and, where there is one, the line. Formatting and lints are left to rustfmt and clippy,
//! licences of dependencies to cargo-deny.

use crate::house::{self, EMPTY_NAMES, FIXTURE_MEDIA_BYTES, LICENCE, OWNED};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A finding is one line: `where: what is wrong`.
type Findings = Vec<String>;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    rust_version: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Set for a dependency of this workspace.
    path: Option<PathBuf>,
}

impl Metadata {
    fn is_room(&self, package: &Package) -> bool {
        self.workspace_members.contains(&package.id)
    }

    fn rooms(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.is_room(package))
    }
}

pub fn run() -> Result<()> {
    let root = root();
    let metadata = metadata(&root)?;
    let mut findings = check_packages(&metadata);
    let files = tracked(&root)?;
    let mut code: BTreeMap<String, String> = BTreeMap::new();
    for file in &files {
        let bytes = std::fs::read(root.join(file)).with_context(|| format!("{file}: read"))?;
        findings.extend(check_name(file));
        if let Ok(text) = std::str::from_utf8(&bytes) {
            findings.extend(check_text(file, text));
            if file.ends_with(".rs") {
                *code.entry(place(file).0.to_owned()).or_default() += text;
            }
        }
    }
    for room in metadata.rooms() {
        let code = code.get(&room.name).map_or("", String::as_str);
        findings.extend(check_unused(room, code));
    }
    findings.extend(check_fixture_media(&root, &files)?);
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings in {} files", findings.len(), files.len());
    }
    writeln!(out, "tidy: {} files, no findings", files.len())?;
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .into()
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let done = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !done.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&done.stderr).trim_end()
        );
    }
    Ok(done.stdout)
}

/// The workspace and everything it is built from on this machine's target.
fn metadata(root: &Path) -> Result<Metadata> {
    let host = String::from_utf8(output(Command::new("rustc").arg("-vV"))?)?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc -vV names no host")?;
    let json = output(Command::new(env!("CARGO")).current_dir(root).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        &host,
    ]))?;
    serde_json::from_slice(&json).context("read cargo metadata")
}

/// Files that git has or would take, and that still exist.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let list = output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    Ok(String::from_utf8(list)
        .context("a file name is not UTF-8")?
        .split_terminator('\0')
        .filter(|file| root.join(file).is_file())
        .map(str::to_owned)
        .collect())
}

fn check_packages(metadata: &Metadata) -> Findings {
    let rooms: Vec<&Package> = metadata.rooms().collect();
    let others = metadata
        .packages
        .iter()
        .filter(|package| !metadata.is_room(package));
    let mut findings: Findings = rooms.iter().flat_map(|room| check_room(room)).collect();
    let ours = rooms.iter().find_map(|room| room.rust_version.as_deref());
    findings.extend(others.filter_map(|package| check_rust_version(package, ours)));
    findings
}

fn check_room(package: &Package) -> Findings {
    let name = &package.name;
    let mut findings = Vec::new();
    let mut say = |what: String| findings.push(format!("{name}/Cargo.toml: {what}"));
    let folder = package.manifest_path.parent().and_then(Path::file_name);
    let called = folder.and_then(OsStr::to_str).unwrap_or_default();
    if called != name && format!("{called}-tests") != *name {
        say(format!("the folder has another name: {folder:?}"));
    }
    if package.license.as_deref() != Some(LICENCE) {
        say(format!(
            "the licence is not {LICENCE}: {:?}",
            package.license
        ));
    }
    if package.rust_version.is_none() {
        say("rust-version is not taken from the workspace".into());
    }
    let Some(room) = house::find(name) else {
        say("no row in the house (xtask/src/house.rs)".into());
        return findings;
    };
    for dependency in &package.dependencies {
        let used = dependency.name.as_str();
        if dependency.path.is_some() && !room.may_use.contains(&used) {
            say(format!("may not use the room {used}"));
        }
        if let Some(owned) = OWNED.iter().find(|owned| owned.covers(used)) {
            if !owned.rooms.contains(&name.as_str()) {
                say(format!(
                    "may not use {used}, which belongs to {}",
                    owned.rooms.join(" and ")
                ));
            }
        }
    }
    findings
}

/// A dependency that none of the room's code names: it costs every build and says nothing.
fn check_unused(package: &Package, code: &str) -> Findings {
    // A crate's name is its package's with underscores, or without hyphens (md-5).
    let unused = |dependency: &&Dependency| {
        let names = ["_", ""].map(|hyphen| dependency.name.replace('-', hyphen));
        !names.iter().any(|name| code.contains(name))
    };
    let mut names: Vec<&str> = package
        .dependencies
        .iter()
        .filter(unused)
        .map(|one| one.name.as_str())
        .collect();
    names.dedup();
    names
        .iter()
        .map(|name| format!("{}/Cargo.toml: {name} is not used", package.name))
        .collect()
}

/// A dependency that needs a newer compiler than we promise breaks Debian's own Rust unseen by
/// anybody whose compiler is newer.
fn check_rust_version(package: &Package, ours: Option<&str>) -> Option<String> {
    let (theirs, ours) = (package.rust_version.as_deref()?, ours?);
    (version(theirs) > version(ours)).then(|| {
        format!(
            "Cargo.lock: {} {} needs Rust {theirs}, we promise {ours}",
            package.name, package.version
        )
    })
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn check_name(file: &str) -> Findings {
    let path = Path::new(file);
    if path.extension().is_none_or(|ending| ending != "rs") {
        return Vec::new();
    }
    path.with_extension("")
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| format!("{file}: the name {part:?} says nothing about what is in it"))
        .collect()
}

fn check_text(file: &str, text: &str) -> Findings {
    let mut findings = check_words(file, text);
    if file.ends_with(".rs") {
        findings.extend(check_rust(file, text));
    }
    if file.ends_with("Cargo.toml") && file.contains('/') {
        findings.extend(check_manifest(file, text));
    }
    findings
}

fn check_rust(file: &str, text: &str) -> Findings {
    let mut findings = Vec::new();
    if !text.starts_with("//! ") {
        findings.push(format!("{file}:1: does not open with what it is for (//!)"));
    }
    findings.extend(
        lines_with(text, &LET_CHAIN)
            .into_iter()
            .map(|at| format!("{file}:{at}: a let chain needs Rust 1.88")),
    );
    let (room, inner) = place(file);
    let perimeter = house::find(room).map_or(&[][..], |room| room.may_hold_unsafe);
    let is_root = matches!(inner, "src/lib.rs" | "src/main.rs");
    if is_root && perimeter.is_empty() && !text.contains("#![forbid(unsafe_code)]") {
        findings.push(format!("{file}: does not say #![forbid(unsafe_code)]"));
    }
    if !perimeter
        .iter()
        .any(|part| inner == *part || part.ends_with('/') && inner.starts_with(part))
    {
        findings.extend(
            lines_with(text, &UNSAFE)
                .into_iter()
                .map(|at| format!("{file}:{at}: unsafe outside its perimeter")),
        );
    }
    findings
}

/// The room that a file lies in and its path there.
fn place(file: &str) -> (&str, &str) {
    let below_tests = file.strip_prefix("tests/");
    let file = below_tests.or(file.strip_prefix("crates/")).unwrap_or(file);
    let (folder, inner) = file.split_once('/').unwrap_or(("", file));
    let room = below_tests.and_then(|_| house::find(&format!("{folder}-tests")));
    (room.map_or(folder, |room| room.name), inner)
}

/// What opens something unsafe.
const UNSAFE: [&str; 5] = [
    "unsafe {",
    "unsafe fn",
    "unsafe impl",
    "unsafe extern",
    "#[unsafe(",
];

/// A condition that binds after another one: stable since Rust 1.88, and no lint tells, because a
/// newer compiler takes it without a word.
const LET_CHAIN: [&str; 1] = ["&& let "];

/// The numbers of the lines of code, not of comment or text, that hold one of the words.
fn lines_with(text: &str, words: &[&str]) -> Vec<usize> {
    let holds = |line: &str| {
        let code = line.split("//").next().unwrap_or("");
        let mut places = words.iter().filter_map(|word| code.find(word));
        places.any(|at| !code[..at].contains('"'))
    };
    let numbered = (1..).zip(text.lines());
    numbered
        .filter(|(_, line)| holds(line))
        .map(|(at, _)| at)
        .collect()
}

fn check_manifest(file: &str, text: &str) -> Findings {
    let parsed: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("{file}: {error}")],
    };
    let asked = parsed
        .get("lints")
        .and_then(|lints| lints.get("workspace")?.as_bool());
    if asked == Some(true) {
        Vec::new()
    } else {
        vec![format!("{file}: does not take the workspace's lints")]
    }
}

/// Words that must not stand anywhere, and why. Written in two parts so that this file passes.
const WORDS: &[(&str, &str, &str)] = &[
    ("TO", "DO", "a marker for later: open an issue instead"),
    ("FIX", "ME", "a marker for later: open an issue instead"),
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    (
        "artif",
        "actory",
        "a package registry's host: the client's configuration names it",
    ),
    (
        "registry.n",
        "pmjs",
        "a package registry's host: the client's configuration names it",
    ),
    (
        "static.crates",
        ".io",
        "a package registry's host: the client's configuration names it",
    ),
];

fn check_words(file: &str, text: &str) -> Findings {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (first, second, why) in WORDS {
            if holds_word(line, &format!("{first}{second}")) {
                findings.push(format!("{file}:{}: {why}", at + 1));
            }
        }
    }
    findings
}

/// Whether the word stands in the line by itself: `data/work/1` is no path of a machine, and a
/// base64 blob is no remark.
fn holds_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_ascii_alphanumeric() || "_-+}>)$.~*".contains(c);
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        let before = line[..at].chars().next_back();
        !before.is_some_and(joins)
            && (word.ends_with('/') || !after.is_some_and(|c| c.is_ascii_alphanumeric()))
    })
}

/// Each carried clip has its row (source, licence), and together they stay small.
fn check_fixture_media(root: &Path, files: &[String]) -> Result<Findings> {
    const FOLDER: &str = "fixtures/media/";
    const LIST: &str = "fixtures/media/README.md";
    let media: BTreeMap<&str, &String> = files
        .iter()
        .filter_map(|file| Some((file.strip_prefix(FOLDER)?, file)))
        .filter(|(_, file)| *file != LIST)
        .collect();
    let list = if media.is_empty() {
        String::new()
    } else {
        std::fs::read_to_string(root.join(LIST)).with_context(|| format!("{LIST}: read"))?
    };
    let mut findings = Vec::new();
    let mut bytes = 0;
    for (name, file) in media {
        bytes += root.join(file).metadata()?.len();
        if !list.contains(name) {
            findings.push(format!("{LIST}: no row for {name}"));
        }
    }
    if bytes > FIXTURE_MEDIA_BYTES {
        findings.push(format!(
            "{FOLDER}: {bytes} bytes, more than {FIXTURE_MEDIA_BYTES}"
        ));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[(&str, bool)]) -> Package {
        Package {
            id: name.into(),
            name: name.into(),
            version: "0.1.0".into(),
            license: Some(LICENCE.into()),
            rust_version: Some("1.85".into()),
            manifest_path: format!("crates/{name}/Cargo.toml").into(),
            dependencies: uses
                .iter()
                .map(|(name, room)| Dependency {
                    name: (*name).into(),
                    path: room.then(PathBuf::new),
                })
                .collect(),
        }
    }

    #[track_caller]
    fn check(found: Findings, expected: &[&str]) {
        assert_eq!(found, expected);
    }

    #[test]
    fn arrows_between_rooms() {
        check(
            check_room(&package("ladder", &[("media", true), ("serde", false)])),
            &[],
        );
        check(
            check_room(&package("media", &[("ladder", true)])),
            &["media/Cargo.toml: may not use the room ladder"],
        );
        check(check_room(&package("catalog", &[("rusqlite", false)])), &[]);
        check(
            check_room(&package("server", &[("rusqlite", false)])),
            &["server/Cargo.toml: may not use rusqlite, which belongs to store and catalog"],
        );
        check(
            check_room(&package("ladder", &[("ffmpeg-sys-the-third", false)])),
            &["ladder/Cargo.toml: may not use ffmpeg-sys-the-third, which belongs to media"],
        );
        check(
            check_room(&package("garden", &[])),
            &["garden/Cargo.toml: no row in the house (xtask/src/house.rs)"],
        );
    }

    #[test]
    fn dependencies_that_nothing_names() {
        let room = package(
            "store",
            &[
                ("serde_json", false),
                ("rand-chacha", false),
                ("cid", false),
            ],
        );
        check(
            check_unused(&room, "use cid::Cid;\nlet seed = rand_chacha::seed();\n"),
            &["store/Cargo.toml: serde_json is not used"],
        );
    }

    #[test]
    fn rows_name_rooms_that_have_a_row_and_no_circle() {
        fn depth(name: &str, above: usize) -> usize {
            let room = house::find(name).unwrap_or_else(|| panic!("{name} has no row"));
            assert!(above < house::ROOMS.len(), "{name} is in a circle");
            room.may_use
                .iter()
                .map(|used| depth(used, above + 1))
                .max()
                .unwrap_or(above)
        }
        assert!(house::ROOMS.iter().map(|room| depth(room.name, 0)).max() >= Some(2));
    }

    #[test]
    fn compilers_that_dependencies_need() {
        let needs = |rust: &str| Package {
            rust_version: Some(rust.into()),
            ..package("dep", &[])
        };
        assert_eq!(check_rust_version(&needs("1.85.0"), Some("1.85")), None);
        assert_eq!(check_rust_version(&needs("1.9"), Some("1.85")), None);
        assert_eq!(
            check_rust_version(&needs("1.88"), Some("1.85")).as_deref(),
            Some("Cargo.lock: dep 0.1.0 needs Rust 1.88, we promise 1.85")
        );
    }

    #[test]
    fn beginnings_of_files_and_unsafe() {
        let opened = "//! What it is.\n#![forbid(unsafe_code)]\n";
        check(check_rust("crates/store/src/lib.rs", opened), &[]);
        check(
            check_rust("crates/store/src/lib.rs", "//! What it is.\n"),
            &["crates/store/src/lib.rs: does not say #![forbid(unsafe_code)]"],
        );
        check(
            check_rust("crates/store/src/put.rs", "use std::io;\n"),
            &["crates/store/src/put.rs:1: does not open with what it is for (//!)"],
        );
        let crossing = format!("//! What it is.\nlet x = {}afe {{ y() }};\n", "uns");
        check(check_rust("crates/media/src/packet.rs", &crossing), &[]);
        check(check_rust("crates/cli/src/guard.rs", &crossing), &[]);
        check(check_rust("tests/guest/src/chardev.rs", &crossing), &[]);
        check(
            check_rust("tests/guest/src/bin/stress.rs", &crossing),
            &["tests/guest/src/bin/stress.rs:2: unsafe outside its perimeter"],
        );
        check(
            check_rust("crates/cli/src/ls.rs", &crossing),
            &["crates/cli/src/ls.rs:2: unsafe outside its perimeter"],
        );
        let chain = format!("//! What it is.\nif a {} let Some(b) = c {{\n", "&&");
        check(
            check_rust("crates/store/src/put.rs", &chain),
            &["crates/store/src/put.rs:2: a let chain needs Rust 1.88"],
        );
        check(
            check_rust(
                "crates/store/src/put.rs",
                "//! What.\n// An unsafe fn would not help.\n",
            ),
            &[],
        );
    }

    #[test]
    fn names_that_say_nothing() {
        check(check_name("crates/store/src/gateway.rs"), &[]);
        check(
            check_name("crates/store/src/utils.rs"),
            &["crates/store/src/utils.rs: the name \"utils\" says nothing about what is in it"],
        );
        check(
            check_name("crates/store/src/common/put.rs"),
            &[
                "crates/store/src/common/put.rs: the name \"common\" says nothing about what is in it",
            ],
        );
    }

    #[test]
    fn words_that_must_not_stand() {
        let marker = format!("// TO{}: later", "DO");
        check(
            check_words("a.rs", &marker),
            &["a.rs:1: a marker for later: open an issue instead"],
        );
        check(check_words("a.rs", "let tOdO = 1;"), &[]);
        let machine = format!("see /wo{}main", "rk/");
        check(
            check_words("a.md", &machine),
            &["a.md:1: a path of one machine"],
        );
        check(check_words("a.md", "in data/work/7 and $DATA/work/7"), &[]);
    }

    #[test]
    fn lints_of_the_workspace() {
        check(
            check_manifest("crates/a/Cargo.toml", "[lints]\nworkspace = true\n"),
            &[],
        );
        check(
            check_manifest("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"),
            &["crates/a/Cargo.toml: does not take the workspace's lints"],
        );
    }
}
