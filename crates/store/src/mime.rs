//! Media types, by our own rule: common tables call `.ts` a translation file of Qt or a DLNA
//! type and do not know `.m4s`, and players believe the header.
//!
//! The order is: what was recorded at the put, else the extension of the file name, else the first
//! bytes. Bytes alone never make a type that a browser would run (HTML, SVG, scripts).

/// Said when nothing else is known.
pub const UNKNOWN: &str = "application/octet-stream";

/// Bytes from the start that [`sniff`] looks at.
pub const SNIFF: usize = 512;

/// MPEG transport stream (RFC 3555).
pub const MPEG_TS: &str = "video/mp2t";

/// Extension, lower case, and type; RFC 8216 section 4 for playlists, section 3 for WebVTT.
const EXTENSIONS: &[(&str, &str)] = &[
    ("ts", MPEG_TS),
    ("mts", MPEG_TS),
    ("m2ts", MPEG_TS),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("mpd", "application/dash+xml"),
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("m4s", "video/mp4"),
    ("cmfv", "video/mp4"),
    ("m4a", "audio/mp4"),
    ("cmfa", "audio/mp4"),
    ("mov", "video/quicktime"),
    ("mkv", "video/x-matroska"),
    ("webm", "video/webm"),
    ("avi", "video/x-msvideo"),
    ("mpg", "video/mpeg"),
    ("mpeg", "video/mpeg"),
    ("ogv", "video/ogg"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("srt", "application/x-subrip"),
    ("aac", "audio/aac"),
    ("mp3", "audio/mpeg"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("flac", "audio/flac"),
    ("wav", "audio/wav"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("heic", "image/heic"),
    ("svg", "image/svg+xml"),
    ("pdf", "application/pdf"),
    ("json", "application/json"),
    ("txt", "text/plain; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
];

/// Bytes at an offset, and the type they show.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"#EXTM3U", "application/vnd.apple.mpegurl"),
    (0, b"\xef\xbb\xbf#EXTM3U", "application/vnd.apple.mpegurl"),
    (0, b"WEBVTT", "text/vtt; charset=utf-8"),
    (0, b"\xef\xbb\xbfWEBVTT", "text/vtt; charset=utf-8"),
    (4, b"ftypM4A ", "audio/mp4"),
    (4, b"ftypqt  ", "video/quicktime"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypheix", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftyp", "video/mp4"),
    (4, b"styp", "video/mp4"),
    (4, b"moof", "video/mp4"),
    (4, b"sidx", "video/mp4"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"\x00\x00\x01\xba", "video/mpeg"),
    (0, b"%PDF-", "application/pdf"),
];

/// Whether a text is a media type (RFC 9110 section 8.3.1) and says more than "some bytes".
pub fn says_something(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let known = essence
        .split_once('/')
        .is_some_and(|(kind, sub)| token(kind) && token(sub));
    known
        && !essence.eq_ignore_ascii_case(UNKNOWN)
        && text.len() <= 255
        && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// Type by the extension of a file name or path.
pub fn by_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    EXTENSIONS
        .iter()
        .find(|(known, _)| extension.eq_ignore_ascii_case(known))
        .map(|(_, mime)| *mime)
}

/// Type by the first [`SNIFF`] bytes.
pub fn sniff(start: &[u8]) -> &'static str {
    if is_transport_stream(start) {
        return MPEG_TS;
    }
    if start.starts_with(b"\x1a\x45\xdf\xa3") {
        // The EBML header names its DocType within a few bytes.
        let header = &start[..start.len().min(64)];
        let webm = header.windows(4).any(|w| w == b"webm");
        return if webm {
            "video/webm"
        } else {
            "video/x-matroska"
        };
    }
    SIGNATURES
        .iter()
        .find(|(offset, bytes, _)| start.get(*offset..).is_some_and(|s| s.starts_with(bytes)))
        .map_or_else(|| text_or_unknown(start), |(_, _, mime)| mime)
}

/// A sync byte at the start of each packet of 188 bytes, as many as there are of the first three.
fn is_transport_stream(start: &[u8]) -> bool {
    start.len() >= 188 && start.iter().step_by(188).take(3).all(|byte| *byte == 0x47)
}

fn text_or_unknown(start: &[u8]) -> &'static str {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return UNKNOWN,
    };
    let plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}');
    if !text.is_empty() && text.chars().all(plain) {
        "text/plain; charset=utf-8"
    } else {
        UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        let packets = |n: usize| {
            let mut ts = vec![0; n * 188];
            ts.iter_mut().step_by(188).for_each(|b| *b = 0x47);
            ts
        };
        let mut one_off = packets(3);
        one_off[376] = 0;
        let rows: &[(&[u8], &str)] = &[
            (&packets(1), MPEG_TS),
            (&packets(3), MPEG_TS),
            (&one_off, UNKNOWN),
            (b"G", "text/plain; charset=utf-8"),
            (
                b"#EXTM3U\n#EXT-X-VERSION:6",
                "application/vnd.apple.mpegurl",
            ),
            (b"WEBVTT\n\n", "text/vtt; charset=utf-8"),
            (b"\0\0\0\x18ftypisom", "video/mp4"),
            (b"\0\0\0\x18styphlsf", "video/mp4"),
            (b"\0\0\0\x18moof", "video/mp4"),
            (b"\0\0\0\x18ftypM4A ", "audio/mp4"),
            (
                b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x84webm",
                "video/webm",
            ),
            (
                b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x23\x42\x82\x88matroska",
                "video/x-matroska",
            ),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
            (b"hello world", "text/plain; charset=utf-8"),
            (b"caf\xc3", "text/plain; charset=utf-8"),
            (
                b"<html><script>alert(1)</script>",
                "text/plain; charset=utf-8",
            ),
            (
                b"<svg xmlns='http://www.w3.org/2000/svg'/>",
                "text/plain; charset=utf-8",
            ),
            (b"", UNKNOWN),
            (b"\0\x01\x02", UNKNOWN),
        ];
        for (bytes, expected) in rows {
            assert_eq!(
                sniff(bytes),
                *expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn extensions_tell() {
        let rows = [
            ("seg00042.ts", Some(MPEG_TS)),
            ("LIVE.M3U8", Some("application/vnd.apple.mpegurl")),
            ("a.b/c.m4s", Some("video/mp4")),
            ("noextension", None),
            ("trailing.", None),
            (".ts.unknown", None),
        ];
        for (name, expected) in rows {
            assert_eq!(by_name(name), expected, "{name}");
        }
    }

    #[test]
    fn media_types_are_checked() {
        let rows = [
            ("video/mp4", true),
            ("text/html; charset=utf-8", true),
            ("video/mp4; codecs=\"avc1.640028\"", true),
            ("application/octet-stream", false),
            ("Application/Octet-Stream; x=y", false),
            ("video", false),
            ("video/", false),
            ("video/mp4\r\nX: y", false),
            ("vidéo/mp4", false),
            ("", false),
        ];
        for (text, expected) in rows {
            assert_eq!(says_something(text), expected, "{text}");
        }
    }
}
