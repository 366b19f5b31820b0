//! Puts the page into the program: every file of `web/` that a browser is to get, and the player
//! (hls.js) from its npm package. Writes `page.rs`, a table of the files, for `src/page.rs`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The player as its package carries it, and the address it gets.
const PLAYER: (&str, &str) = ("node_modules/hls.js/dist/hls.min.js", "hls.min.js");

/// Files of `web/` that serve its making and not the browser.
const MAKING: &[&str] = &["package.json", "package-lock.json", "README.md"];

fn main() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
    println!("cargo::rerun-if-changed={}", web.display());
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let player = web.join(PLAYER.0);
    // The folder above changes with any package; the file itself says which version it is.
    println!("cargo::rerun-if-changed={}", player.display());
    if !player.is_file() {
        println!(
            "cargo::error=the page's player is missing ({}): run `npm ci --prefix web` first",
            player.display()
        );
        return;
    }
    let mut files = vec![(PLAYER.1.to_owned(), player)];
    collect(&web, "", &mut files);
    files.sort();
    let mut table = String::from("static FILES: &[Embedded] = &[\n");
    for (number, (name, path)) in files.iter().enumerate() {
        row(
            &mut table,
            name,
            path,
            &out.join(format!("page-{number}.gz")),
        );
    }
    table.push_str("];\n");
    fs::write(out.join("page.rs"), table).expect("OUT_DIR can be written");
}

/// The files below `folder`, each with its address.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder entry").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            panic!("{}: not a UTF-8 name", path.display());
        };
        if name.starts_with('.') || MAKING.contains(&name) || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files);
        } else if mime(name).is_some() {
            files.push((format!("{prefix}{name}"), path));
        }
    }
}

fn row(table: &mut String, name: &str, path: &Path, packed: &Path) {
    let plain = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mime = mime(name).expect("only files with a known ending are collected");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&plain).expect("memory can be written");
    let gzip = gzip.finish().expect("memory can be written");
    let gzip = if gzip.len() * 10 < plain.len() * 9 {
        fs::write(packed, &gzip).unwrap_or_else(|e| panic!("{}: {e}", packed.display()));
        format!("Some(include_bytes!({packed:?}))")
    } else {
        "None".to_owned()
    };
    writeln!(
        table,
        "    Embedded {{ path: {:?}, mime: {mime:?}, etag: \"{:016x}\", plain: include_bytes!({:?}), gzip: {gzip} }},",
        format!("/{name}"),
        fingerprint(&plain),
        fs::canonicalize(path).expect("the file was just read"),
    )
    .expect("a String can be written");
}

/// FNV-1a (64 bit): enough to tell a new version of the page from the one in a browser's cache.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Media types of what a page is made of.
fn mime(name: &str) -> Option<&'static str> {
    Some(match Path::new(name).extension()?.to_str()? {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}
