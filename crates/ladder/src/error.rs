//! What ends a run, in words for the person whose file it is.

use std::io;
use std::path::PathBuf;

/// The result of anything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no stream, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading, decoding or encoding failed; the text names the file.
    #[error(transparent)]
    Media(#[from] media::Error),
    /// The file has a video stream, but not one picture of it could be decoded.
    #[error("{}: no picture could be decoded: the file is damaged or cut off", file.display())]
    NoPicture {
        /// The file.
        file: PathBuf,
    },
    /// Pictures that come one by one are not what they should be.
    #[error("{name}: {reason}")]
    Pictures {
        /// Where they come from: `standard input`, `picture 17`.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A description of uncompressed pictures has no meaning.
    #[error("{reason}")]
    Format {
        /// What is wrong with it.
        reason: String,
    },
    /// Timestamps that no player could follow.
    #[error("{}: unusable timestamps: {reason}", file.display())]
    Timestamps {
        /// The file.
        file: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// H.264 allows no picture of this size.
    #[error("{}: picture too large to encode: {width}x{height}, at most {} macroblocks of 16x16", file.display(), crate::plan::MAX_MACROBLOCKS)]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Displayed width in pixels.
        width: u32,
        /// Displayed height in pixels.
        height: u32,
    },
    /// An option has no meaning.
    #[error("segment duration out of range: {seconds} s (1 to 30)")]
    SegmentDuration {
        /// What was asked for.
        seconds: f64,
    },
    /// A file of rungs that cannot be used.
    #[error("{}{line}: {reason}", file.display())]
    RungFile {
        /// The file.
        file: PathBuf,
        /// `, line 3`, or nothing.
        line: String,
        /// What is wrong there.
        reason: String,
    },
    /// A transport stream holds H.264 alone.
    #[error("rung {rung}: {codec} needs the container cmaf")]
    Codec {
        /// Rung name.
        rung: String,
        /// Name of the codec.
        codec: &'static str,
    },
    /// An option has no meaning.
    #[error(
        "part duration out of range: {seconds} s (0.2 to half a segment, for pictures that come at their own pace)"
    )]
    PartDuration {
        /// What was asked for.
        seconds: f64,
    },
    /// The encoder failed where no other can take its place.
    #[error(
        "rung {rung}: the encoder failed, and in CMAF another one cannot go on in the same stream"
    )]
    Encoder {
        /// Rung name.
        rung: String,
    },
    /// The encoder gave something that is not H.264 as it should be.
    #[error("rung {rung}, segment {index}: encoder {encoder} gave {problem}")]
    Bitstream {
        /// Rung name.
        rung: String,
        /// Segment.
        index: u32,
        /// FFmpeg's name of the encoder.
        encoder: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A finished segment or a playlist could not be delivered.
    #[error("cannot write the stream")]
    Sink(#[source] io::Error),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}
