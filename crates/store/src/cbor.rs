//! DAG-CBOR (ipld.io, "Specification: DAG-CBOR"), read item by item and written for the one map
//! that IPNS signs.
//!
//! The reader allocates nothing and does not recurse, so neither a claimed length nor nesting
//! costs more than the bytes that are there. It is strict where strictness guards (definite
//! lengths, no tag but 42) and lenient where canonical form alone is at stake.

/// One item, or the head of an array or map whose items follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item<'a> {
    Uint(u64),
    Bytes(&'a [u8]),
    Text(&'a str),
    /// So many items follow.
    Array(u64),
    /// So many pairs of items follow.
    Map(u64),
    /// Tag 42: the bytes of a CID.
    Link(&'a [u8]),
    /// Negative numbers, floats, booleans, null.
    Other,
}

/// The bytes are no DAG-CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn item(&mut self) -> Result<Item<'a>, Broken> {
        let (major, value) = self.head()?;
        Ok(match major {
            0 => Item::Uint(value),
            1 | 7 => Item::Other,
            2 => Item::Bytes(self.take(value)?),
            3 => Item::Text(std::str::from_utf8(self.take(value)?).map_err(|_| Broken)?),
            // An item is a byte at least, so a count that exceeds the bytes is a lie.
            4 if value <= self.rest.len() as u64 => Item::Array(value),
            5 if value <= self.rest.len() as u64 / 2 => Item::Map(value),
            6 if value == 42 => Item::Link(self.link()?),
            _ => return Err(Broken),
        })
    }

    /// Passes over one item with all that is in it.
    pub fn skip(&mut self) -> Result<(), Broken> {
        self.each_within(|_| {})
    }

    /// Shows one item and all that are in it, in order.
    pub fn each_within(&mut self, mut see: impl FnMut(Item<'a>)) -> Result<(), Broken> {
        let mut pending = 1_u64;
        while pending > 0 {
            let item = self.item()?;
            see(item);
            pending += match item {
                Item::Array(items) => items,
                Item::Map(pairs) => pairs * 2,
                _ => 0,
            };
            pending -= 1;
        }
        Ok(())
    }

    /// Goes to the value of a key in a map or to an index in an array; `false` if there is none.
    /// Afterwards the reader stands before that value.
    pub fn descend(&mut self, segment: &str) -> Result<bool, Broken> {
        match self.item()? {
            Item::Map(pairs) => {
                for _ in 0..pairs {
                    if self.item()? == Item::Text(segment) {
                        return Ok(true);
                    }
                    self.skip()?;
                }
                Ok(false)
            }
            Item::Array(items) => {
                let Some(index) = segment.parse().ok().filter(|index| *index < items) else {
                    return Ok(false);
                };
                for _ in 0..index {
                    self.skip()?;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn head(&mut self) -> Result<(u8, u64), Broken> {
        let first = self.take(1)?[0];
        let (major, short) = (first >> 5, first & 0x1f);
        let value = match short {
            0..24 => u64::from(short),
            24..28 => {
                let bytes = self.take(1 << (short - 24))?;
                bytes
                    .iter()
                    .fold(0, |value, byte| value << 8 | u64::from(*byte))
            }
            // Indefinite lengths are not DAG-CBOR.
            _ => return Err(Broken),
        };
        Ok((major, value))
    }

    fn link(&mut self) -> Result<&'a [u8], Broken> {
        let (2, len) = self.head()? else {
            return Err(Broken);
        };
        match self.take(len)? {
            // A multibase prefix for plain bytes stands before the CID.
            [0, cid @ ..] => Ok(cid),
            _ => Err(Broken),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Broken> {
        let len = usize::try_from(len).map_err(|_| Broken)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Broken)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The head of an item in its shortest form.
fn put_head(out: &mut Vec<u8>, major: u8, value: u64) {
    let bytes = value.to_be_bytes();
    let (short, from) = match value {
        0..24 => (value as u8, 8),
        24..0x100 => (24, 7),
        0x100..0x1_0000 => (25, 6),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 0),
    };
    out.push(major << 5 | short);
    out.extend_from_slice(&bytes[from..]);
}

pub(crate) fn put_map(out: &mut Vec<u8>, pairs: u64) {
    put_head(out, 5, pairs);
}

pub(crate) fn put_array(out: &mut Vec<u8>, items: u64) {
    put_head(out, 4, items);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_head(out, 2, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_uint(out: &mut Vec<u8>, value: u64) {
    put_head(out, 0, value);
}

pub(crate) fn put_link(out: &mut Vec<u8>, cid: &[u8]) {
    put_head(out, 6, 42);
    put_head(out, 2, cid.len() as u64 + 1);
    out.push(0);
    out.extend_from_slice(cid);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_their_shortest_form() {
        let rows: [(u64, &[u8]); 7] = [
            (0, &[0]),
            (23, &[23]),
            (24, &[24, 24]),
            (255, &[24, 255]),
            (256, &[25, 1, 0]),
            (1 << 16, &[26, 0, 1, 0, 0]),
            (1 << 32, &[27, 0, 0, 0, 1, 0, 0, 0, 0]),
        ];
        for (value, expected) in rows {
            let mut out = Vec::new();
            put_uint(&mut out, value);
            assert_eq!(out, expected);
            assert_eq!(Reader::new(&out).item(), Ok(Item::Uint(value)));
        }
    }

    #[test]
    fn ways_into_a_document() {
        // {"a": [1, {"b": 7}], "c": link}
        let mut document = Vec::new();
        put_map(&mut document, 2);
        put_text(&mut document, "a");
        put_array(&mut document, 2);
        put_uint(&mut document, 1);
        put_map(&mut document, 1);
        put_text(&mut document, "b");
        put_uint(&mut document, 7);
        put_text(&mut document, "c");
        put_link(&mut document, b"cid");
        let rows: [(&[&str], Option<Item<'_>>); 7] = [
            (&["a"], Some(Item::Array(2))),
            (&["a", "0"], Some(Item::Uint(1))),
            (&["a", "1", "b"], Some(Item::Uint(7))),
            (&["c"], Some(Item::Link(b"cid"))),
            (&["b"], None),
            (&["a", "2"], None),
            (&["a", "x"], None),
        ];
        for (path, expected) in rows {
            let mut reader = Reader::new(&document);
            let found = path.iter().all(|segment| reader.descend(segment).unwrap());
            let item = found.then(|| reader.item().unwrap());
            assert_eq!(item, expected, "{path:?}");
        }
        let mut whole = Reader::new(&document);
        whole.skip().unwrap();
        assert!(whole.is_at_end());
    }

    #[test]
    fn what_lies_is_broken() {
        let rows: [&[u8]; 8] = [
            &[],
            &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x9b, 0, 0, 0, 255, 255, 255, 255, 255],
            &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x81],
            &[0x9f, 0xff],
            &[0xc1, 0],
            &[0xd8, 42, 0x40],
        ];
        for bytes in rows {
            assert_eq!(Reader::new(bytes).skip(), Err(Broken), "{bytes:?}");
        }
        // Nesting costs nothing: here an array of an array of ….
        let deep = [&[0x81; 100_000][..], &[0]].concat();
        assert_eq!(Reader::new(&deep).skip(), Ok(()));
    }
}
