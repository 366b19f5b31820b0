//! Names and messages as a terminal may show them.
//!
//! A file's name can hold anything but `/` and NUL: a newline that forges a second line, an escape
//! sequence, a mark that turns the reading direction round. What would act is written as an escape.

use std::path::Path;

/// A path, safe to print.
pub fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// A text from elsewhere, safe to print as part of one line.
pub fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Control characters, and the marks of Unicode's bidirectional algorithm (UAX 9).
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        #[track_caller]
        fn check(name: &str, expected: &str) {
            assert_eq!(path(Path::new(name)), expected);
        }
        check("holiday in Zürich.mp4", "holiday in Zürich.mp4");
        check("a\nb.mp4", "a\\nb.mp4");
        check("\x1b[31mred.mp4", "\\u{1b}[31mred.mp4");
        check("gpj\u{202e}4pm", "gpj\\u{202e}4pm");
        check("../映画.mkv", "../映画.mkv");
    }
}
