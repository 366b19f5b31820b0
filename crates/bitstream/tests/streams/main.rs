//! Every stream of the shared media, read header by header: sizes and frame counts against its manifest,
//! references against what was decoded before, lengths against where the data ends.
//!
//! The media are where `KINORA_MEDIA` points; without it there is nothing to read and these tests pass.
//! What must hold without media is tested beside the code.

mod containers;
mod h264;
mod mpeg2;
mod vp8;
mod vp9;

use std::path::{Path, PathBuf};

/// A row of the media's manifest.
struct Row {
    path: PathBuf,
    /// Its path below the media's folder.
    file: String,
    codec: String,
    width: u32,
    height: u32,
    /// Frames that are shown, where a decoder found any.
    frames: Option<usize>,
}

/// The manifest's rows whose codec begins with `codec`, below `folders`.
fn rows(codec: &str, folders: &[&str]) -> Vec<Row> {
    let Some(root) = std::env::var_os("KINORA_MEDIA") else {
        return Vec::new();
    };
    let root = Path::new(&root);
    let manifest = std::fs::read_to_string(root.join("MANIFEST.tsv")).expect("manifest");
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let (width, height) = columns.get(2)?.split_once('x')?;
        Some(Row {
            path: root.join(columns[0]),
            file: columns[0].to_owned(),
            codec: columns[1].to_owned(),
            width: width.parse().ok()?,
            height: height.parse().ok()?,
            frames: columns[4].parse().ok(),
        })
    };
    let wanted = |row: &Row| {
        row.codec.starts_with(codec) && folders.iter().any(|folder| row.file.starts_with(folder))
    };
    manifest.lines().filter_map(row).filter(wanted).collect()
}

/// Checks how many streams were read, so that none is left out unseen.
fn assert_count(read: usize, expected: usize) {
    if std::env::var_os("KINORA_MEDIA").is_some() {
        assert_eq!(read, expected, "streams read");
    }
}
