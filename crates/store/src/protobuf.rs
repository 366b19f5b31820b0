//! The wire format of Protocol Buffers, as far as dag-pb, UnixFS and IPNS records use it: varints
//! and length-delimited fields (protobuf.dev, "Encoding"); and the varints of multiformats, which
//! CAR files count with.
//!
//! What a field means is for those who read it. Nothing is allocated by what a length claims.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width, which nothing here uses.
    Fixed,
}

/// The bytes are no sequence of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// The fields of a message in the order they come in.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], Broken> {
        let len = usize::try_from(len).map_err(|_| Broken)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Broken)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Broken> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Varint(self.number()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.number()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups are no more.
            _ => return Err(Broken),
        };
        Ok((key >> 3, value))
    }

    fn number(&mut self) -> Result<u64, Broken> {
        let (value, len) = varint(self.rest).ok_or(Broken)?;
        self.rest = &self.rest[len..];
        Ok(value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // What follows a broken field cannot be told from it.
            self.rest = &[];
        }
        Some(field)
    }
}

/// The varint at the start and how many bytes it takes. `None` if it does not end, or does not
/// fit 64 bits.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        // The tenth byte has room for one bit.
        if i == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

pub(crate) fn put_number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    put_varint(out, value);
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_little_endian_base_128() {
        let check = |value, expected: &[u8]| {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, expected, "{value}");
            assert_eq!(varint(&out), Some((value, out.len())));
        };
        check(0, &[0]);
        check(127, &[0x7f]);
        check(128, &[0x80, 1]);
        check(1 << 20, &[0x80, 0x80, 0x40]);
        check(u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    }

    #[test]
    fn varints_that_do_not_end_or_fit_are_none() {
        let rows: [&[u8]; 4] = [
            &[],
            &[0x80],
            &[255; 10],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
        ];
        for bytes in rows {
            assert_eq!(varint(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn fields_are_read() {
        type Row<'a> = (&'a [u8], &'a [Result<(u64, Value<'a>), Broken>]);
        let rows: [Row<'_>; 6] = [
            (&[], &[]),
            (&[0x08, 0x05], &[Ok((1, Value::Varint(5)))]),
            (
                &[0x12, 2, b'h', b'i', 0x18, 1],
                &[Ok((2, Value::Bytes(b"hi"))), Ok((3, Value::Varint(1)))],
            ),
            (&[0x0d, 1, 2, 3, 4], &[Ok((1, Value::Fixed))]),
            // A length that lies, and a group.
            (&[0x12, 0xff, 0xff, 0xff, 0x0f, 1], &[Err(Broken)]),
            (&[0x0b], &[Err(Broken)]),
        ];
        for (bytes, expected) in rows {
            let read: Vec<_> = fields(bytes).collect();
            assert_eq!(read, expected, "{bytes:?}");
        }
    }
}
