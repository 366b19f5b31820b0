//! File names from outside, made fit to show and to put into messages.
//!
//! A name is only ever shown, never used as a path. It still loses its folders (`../../etc/x` is
//! `x`), because some browsers send them and nobody wants to read them, its control characters
//! and line breaks, which would forge log lines, and the marks that turn text around.

/// The longest name kept, in bytes: what Linux file systems allow.
const LONGEST: usize = 255;

/// The name as it is kept; `None` when nothing of it is left.
pub(crate) fn clean(raw: &str) -> Option<String> {
    let last = raw
        .rsplit(['/', '\\'])
        .map(str::trim)
        .find(|part| !part.is_empty())?;
    let visible: String = last
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !turns_text(*c))
        .collect();
    let shown = shorten(visible.trim());
    let nothing = shown.is_empty() || shown.chars().all(|c| c == '.');
    (!nothing).then_some(shown)
}

/// Marks of Unicode's bidirectional algorithm (UAX 9), separators and the byte order mark: they
/// make `gpj.4pm` look like another file.
fn turns_text(c: char) -> bool {
    matches!(
        c,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// Cuts the stem and keeps the ending, which says what the file is.
fn shorten(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let ending = name
        .rfind('.')
        .map(|dot| &name[dot..])
        .filter(|ending| ending.len() <= 16)
        .unwrap_or_default();
    let mut cut = LONGEST - ending.len();
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{ending}", &name[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside() {
        let long = format!("{}.mp4", "é".repeat(200));
        let kept = format!("{}.mp4", "é".repeat(125));
        for (raw, expected) in [
            ("clip.mp4", Some("clip.mp4")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Videos\\clip.mp4", Some("clip.mp4")),
            ("folder/", Some("folder")),
            ("a\nb\r\tc.mp4", Some("a b  c.mp4")),
            ("a\u{0}\u{1b}[31mb.mp4", Some("a[31mb.mp4")),
            ("abc\u{202e}4pm.exe", Some("abc4pm.exe")),
            ("-rf.mp4", Some("-rf.mp4")),
            ("Zürich 東京.webm", Some("Zürich 東京.webm")),
            ("..", None),
            ("", None),
            (" / \\ ", None),
            ("\n", None),
            (long.as_str(), Some(kept.as_str())),
        ] {
            assert_eq!(clean(raw).as_deref(), expected, "{raw:?}");
        }
    }
}
