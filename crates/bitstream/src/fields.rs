//! Header fields with names: what ends early or holds a value its standard forbids says which field
//! it is and where.
//!
//! For the headers of fixed-length codes (MPEG-2, VP9); [`FieldError`] serves VP8's arithmetic coded
//! ones too. Which values a field may have is its codec's to know.

use std::ops::RangeInclusive;

use crate::bits::{BitReader, BitWriter};

/// A header field that could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The data is shorter than its header.
    #[error("data ends within {field} at bit {position}")]
    End {
        /// The field's name in its standard.
        field: &'static str,
        /// Bits ahead of the field, from the beginning of the data handed in.
        position: u64,
    },
    /// A value that the standard forbids or that the field is too short for.
    #[error("{field} at bit {position} may not be: {value}")]
    Value {
        /// The field's name in its standard.
        field: &'static str,
        /// Bits ahead of the field, from the beginning of what is read or written.
        position: u64,
        /// The value.
        value: i64,
    },
}

/// Reads named fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldReader<'a> {
    bits: BitReader<'a>,
    /// Bits of the data ahead of what `bits` reads.
    base: u64,
}

impl<'a> FieldReader<'a> {
    /// Reads `data` from its byte `start` on; positions count from the beginning of `data`.
    pub(crate) fn new(data: &'a [u8], start: usize) -> Self {
        FieldReader {
            bits: BitReader::new(data.get(start..).unwrap_or_default()),
            base: start as u64 * 8,
        }
    }

    /// Bits of the data up to the next field.
    pub(crate) fn position(&self) -> u64 {
        self.base + self.bits.position()
    }

    /// An unsigned number of `count` bits, at most 32.
    pub(crate) fn u(&mut self, field: &'static str, count: u32) -> Result<u32, FieldError> {
        let position = self.position();
        self.bits
            .u(count)
            .map_err(|_| FieldError::End { field, position })
    }

    /// An unsigned number of `count` bits that must be one of `allowed`.
    pub(crate) fn within(
        &mut self,
        field: &'static str,
        count: u32,
        allowed: RangeInclusive<u32>,
    ) -> Result<u32, FieldError> {
        let position = self.position();
        let value = self.u(field, count)?;
        if allowed.contains(&value) {
            return Ok(value);
        }
        Err(FieldError::Value {
            field,
            position,
            value: value.into(),
        })
    }

    /// At most 8 bits.
    pub(crate) fn u8(&mut self, field: &'static str, count: u32) -> Result<u8, FieldError> {
        debug_assert!(count <= 8);
        Ok(self.u(field, count)? as u8)
    }

    /// One bit.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, FieldError> {
        Ok(self.u(field, 1)? != 0)
    }
}

/// Writes a field of `count` bits that must be one of `allowed`.
pub(crate) fn write(
    bits: &mut BitWriter,
    field: &'static str,
    count: u32,
    value: impl Into<u32>,
    allowed: RangeInclusive<u32>,
) -> Result<(), FieldError> {
    let value = value.into();
    if allowed.contains(&value) && u64::from(value) < 1 << count {
        bits.u(count, value);
        return Ok(());
    }
    Err(FieldError::Value {
        field,
        position: bits.position(),
        value: value.into(),
    })
}
