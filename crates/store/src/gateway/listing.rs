//! A directory as a page: names, sizes and CIDs, each a link (path gateway specification,
//! "Generated HTML with directory index"). It is plain HTML without scripts, in the words and with
//! the classes that others use, since programs read these pages as well.

use std::fmt::Write;

use super::address::Address;
use crate::dag::Link;

/// More entries than this are not listed; a CAR has them all.
pub(super) const MOST: usize = 10_000;

const HEAD: &str = "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;width:100%}td{padding:.2em .6em;border-top:1px solid #8884}\
td:nth-child(3){text-align:right;white-space:nowrap}.ipfs-hash{font-family:monospace}\
:root{color-scheme:light dark}</style>";

/// The entity tag of a listing: another release may write another page.
pub(super) fn etag(cid: &impl ToString) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("\"DirIndex-{version}_CID-{}\"", cid.to_string())
}

/// The page.
pub(super) fn page(address: &Address<'_>, entries: &[Link]) -> String {
    let mut at = format!("{}{}", space(address), escape_url(address.root_text));
    let mut crumbs = format!(
        "{}<a href=\"{at}\">{}</a>",
        space(address),
        escape(address.root_text)
    );
    for segment in &address.segments {
        at = format!("{at}/{}", escape_url(segment));
        let _ = write!(crumbs, "/<a href=\"{at}\">{}</a>", escape(segment));
    }
    let title = escape(&format!(
        "{}{}",
        address.root_text,
        address
            .segments
            .iter()
            .fold(String::new(), |path, s| path + "/" + s)
    ));
    let mut rows = String::new();
    if !address.segments.is_empty() {
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"{at}/..\">..</a></td><td></td><td></td></tr>\n"
        );
    }
    for entry in entries {
        let name = escape(&entry.name);
        let link = escape_url(&entry.name);
        // Escaped twice, as others do and the conformance suite demands.
        let filename = escape_url(&link);
        let cid = entry.cid;
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"{at}/{link}\">{name}</a></td>\
             <td><a class=\"ipfs-hash\" translate=\"no\" href=\"/ipfs/{cid}?filename={filename}\">{cid}</a></td>\
             <td>{}</td></tr>",
            entry.total
        );
    }
    let more = if entries.len() < MOST {
        ""
    } else {
        "<p>There may be more; these are the first that were found.</p>"
    };
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head>{HEAD}<title>{title}</title></head>\
         <body><h1>Index of {crumbs}</h1><table>\n{rows}</table>{more}</body></html>\n"
    )
}

fn space(address: &Address<'_>) -> &'static str {
    match (address.path.starts_with("/ipns/"), address.transport_stream) {
        (true, _) => "/ipns/",
        (false, true) => "/ipfs-ts/",
        (false, false) => "/ipfs/",
    }
}

/// Text within HTML, in an attribute too.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A segment of a path: all but the unreserved characters of RFC 3986 are escaped.
fn escape_url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::AnyCid;

    #[test]
    fn names_cannot_leave_their_place() {
        let cid = AnyCid::try_from("bafkqaaa").unwrap();
        let path = "/ipfs/bafkqaaa/%3Cscript%3E";
        let address = Address::parse(path).unwrap();
        let evil = Link {
            cid,
            name: "\"><script>alert('1')</script>&?#".into(),
            total: 1,
        };
        let page = page(&address, &[evil]);
        assert!(!page.contains("<script"), "{page}");
        assert!(
            !page.contains("\"\"") && page.contains("href=\"/ipfs/bafkqaaa/%3Cscript%3E/%22%3E")
        );
        assert!(page.contains("&#34;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;?#<"));
    }
}
