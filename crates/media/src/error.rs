//! What can go wrong, in words for the person whose file it is.
//!
//! Each variant names the file (or, for an encoder or muxer, what was being made), the operation
//! and libav's own last words, from its return code and its log.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::path::Path;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::log;

/// A result of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on a media file or codec.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system could not open or read the file.
    #[error("{file}: cannot read the file")]
    Io {
        /// The file as given.
        file: Arc<str>,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The operating system would not take what was written.
    #[error("{file}: cannot write the file")]
    Write {
        /// The file as given.
        file: Arc<str>,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// What was made of a file is not what it should be.
    #[error("{file}: the variant is not like the original: {difference}")]
    Unlike {
        /// The original as given.
        file: Arc<str>,
        /// What differs, and by how much.
        difference: String,
    },
    /// The file has no bytes.
    #[error("{file}: the file is empty")]
    Empty {
        /// The file as given.
        file: Arc<str>,
    },
    /// No demuxer recognises the bytes.
    #[error("{file}: not a media file: {message}")]
    NotMedia {
        /// The file as given.
        file: Arc<str>,
        /// libav's words.
        message: String,
    },
    /// The container is recognised, but cut short or damaged beyond reading.
    #[error("{file}: truncated or damaged: {message}")]
    Truncated {
        /// The file as given.
        file: Arc<str>,
        /// libav's words.
        message: String,
    },
    /// There is no picture in the file.
    #[error("{file}: no video stream")]
    NoVideo {
        /// The file as given.
        file: Arc<str>,
    },
    /// The FFmpeg in use has no decoder for the codec.
    #[error("{file}: unsupported codec: {codec}")]
    UnsupportedCodec {
        /// The file as given.
        file: Arc<str>,
        /// FFmpeg's name of the codec.
        codec: String,
    },
    /// An address that is none of a live source.
    #[error("{address}: not a live source: rtmp://, rtmps://, rtsp://, rtsps:// or srt://")]
    Address {
        /// The address, without its secrets.
        address: Arc<str>,
    },
    /// One call took longer than [`OpenOptions::deadline`](crate::OpenOptions::deadline).
    #[error("{file}: gave up on {operation}: no end after {seconds} s")]
    Timeout {
        /// The file as given.
        file: Arc<str>,
        /// What was being done.
        operation: &'static str,
        /// The deadline in seconds.
        seconds: f64,
    },
    /// The file is a playlist, or refers to media outside itself. Nothing outside was opened.
    #[error("{file}: refers to other files or addresses, which are never opened: {target}")]
    Reference {
        /// The file as given.
        file: Arc<str>,
        /// What the file asked to open, as it wrote it.
        target: String,
    },
    /// A picture exceeds the limits in [`OpenOptions`](crate::OpenOptions).
    #[error(
        "{file}: picture too large: {width}x{height} (at most {max_side} a side and {max_pixels} pixels)"
    )]
    TooLarge {
        /// The file as given.
        file: Arc<str>,
        /// Luma columns.
        width: u32,
        /// Luma rows.
        height: u32,
        /// The limit on each side.
        max_side: u32,
        /// The limit on width times height.
        max_pixels: u64,
    },
    /// Anything else that libav reports.
    #[error("{subject}: {operation} failed: {message}")]
    Libav {
        /// The file, or what was being made ("libx264 1920x1080").
        subject: Arc<str>,
        /// What was being done.
        operation: &'static str,
        /// libav's words.
        message: String,
    },
}

/// The path as error texts show it: control characters escaped, so that a name with a newline
/// cannot forge a second line.
pub(crate) fn display_name(path: &Path) -> Arc<str> {
    let mut name = String::new();
    for c in path.to_string_lossy().chars() {
        if c.is_control() {
            name.extend(c.escape_default());
        } else {
            name.push(c);
        }
    }
    name.into()
}

/// libav's text for a return code.
pub(crate) fn code_text(code: c_int) -> String {
    let mut text: [c_char; 128] = [0; 128];
    // SAFETY: the buffer is writable for the length passed and libav ends it with a zero byte.
    unsafe {
        sys::av_strerror(code, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

/// The code's text, followed by what libav logged on this thread during the operation.
pub(crate) fn message(code: c_int) -> String {
    let lines = log::take();
    let text = code_text(code);
    if lines.is_empty() {
        text
    } else {
        format!("{text} ({})", lines.join("; "))
    }
}

/// A libav failure that no more exact variant describes.
pub(crate) fn libav(subject: &Arc<str>, operation: &'static str, code: c_int) -> Error {
    Error::Libav {
        subject: Arc::clone(subject),
        operation,
        message: message(code),
    }
}

/// The same failure without a return code: an allocation or a lookup gave nothing.
pub(crate) fn plain(
    subject: &Arc<str>,
    operation: &'static str,
    reason: impl Into<String>,
) -> Error {
    Error::Libav {
        subject: Arc::clone(subject),
        operation,
        message: reason.into(),
    }
}

/// libav ran out of memory where no operation is to blame.
pub(crate) fn out_of_memory(subject: &Arc<str>, operation: &'static str) -> Error {
    plain(subject, operation, code_text(sys::AVERROR(libc::ENOMEM)))
}
