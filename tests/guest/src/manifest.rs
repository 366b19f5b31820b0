//! The streams of a media folder, as its `MANIFEST.tsv` names them.

use crate::Result;
use crate::gstreamer::{CODECS, Codec};
use std::path::Path;

/// A row of the manifest that is decoded.
#[derive(Debug)]
pub struct Stream {
    /// Below the folder.
    pub file: String,
    /// What it is coded in.
    pub codec: &'static Codec,
    /// Samples and rows.
    pub size: (u32, u32),
    /// The conformance suite's MD5 over all frames.
    pub conformance: Option<String>,
    /// Damaged on purpose: no frame is the right one, but a decoder must come to an end.
    pub damaged: bool,
    /// Only so many access units of a long stream.
    pub first: Option<u32>,
}

/// The streams that this decoder decodes: its codecs, 8 bit, 4:2:0.
///
/// # Errors
/// The folder has no manifest.
pub fn streams(media: &Path) -> Result<Vec<Stream>> {
    let manifest = media.join("MANIFEST.tsv");
    let text = std::fs::read_to_string(&manifest)
        .map_err(|error| format!("{}: {error}", manifest.display()))?;
    Ok(text.lines().skip(1).filter_map(stream).collect())
}

fn stream(line: &str) -> Option<Stream> {
    let columns: Vec<&str> = line.split('\t').collect();
    let column = |at: usize| columns.get(at).copied().unwrap_or_default();
    let name = column(1).split('/').next().unwrap_or_default();
    let codec = CODECS.into_iter().find(|codec| codec.name == name)?;
    let (width, height) = column(2).split_once('x')?;
    if !matches!(column(3), "8 yuv420p" | "8 yuvj420p") {
        return None;
    }
    // Only where the software decoder outputs what the suite asks for: with spatial layers it
    // outputs each of them.
    let conformance = (column(13) == "yes").then(|| column(12).to_owned());
    Some(Stream {
        file: column(0).to_owned(),
        codec,
        size: (width.parse().ok()?, height.parse().ok()?),
        conformance,
        damaged: column(0).starts_with("robust/"),
        first: column(4)
            .strip_suffix("(first)")
            .and_then(|count| count.parse().ok()),
    })
}
