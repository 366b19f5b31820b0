//! `Content-Disposition` (RFC 6266): the name once in ASCII for old clients and once in UTF-8 by
//! RFC 8187.

/// The header's value. Whatever the name holds, the result is one line of visible ASCII, and its
/// ASCII form has no path in it.
pub(super) fn content_disposition(attachment: bool, name: &str) -> String {
    let kind = if attachment { "attachment" } else { "inline" };
    let ascii: String = name.chars().map(ascii_char).collect();
    let mut value = format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''");
    for byte in name.chars().map(safe_char).collect::<String>().bytes() {
        // attr-char of RFC 8187 section 3.2.1.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            value.push(byte as char);
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    value
}

fn safe_char(c: char) -> char {
    if c.is_control() || matches!(c, '/' | '\\') {
        '_'
    } else {
        c
    }
}

fn ascii_char(c: char) -> char {
    match safe_char(c) {
        // Quoting has been read in different ways; so has a percent sign.
        '"' | '%' => '_',
        c if c.is_ascii() => c,
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let rows = [
            (
                false,
                "clip.mp4",
                "inline; filename=\"clip.mp4\"; filename*=UTF-8''clip.mp4",
            ),
            (
                true,
                "a b.ts",
                "attachment; filename=\"a b.ts\"; filename*=UTF-8''a%20b.ts",
            ),
            (
                true,
                "Übung \"1\".mp4",
                "attachment; filename=\"_bung _1_.mp4\"; filename*=UTF-8''%C3%9Cbung%20%221%22.mp4",
            ),
            (
                false,
                "../x\r\nSet-Cookie: a=b",
                "inline; filename=\".._x__Set-Cookie: a=b\"; \
                 filename*=UTF-8''.._x__Set-Cookie%3A%20a%3Db",
            ),
        ];
        for (attachment, name, expected) in rows {
            assert_eq!(content_disposition(attachment, name), expected, "{name:?}");
        }
    }
}
