//! Slices with another picture order count than they were coded with: of `pic_order_cnt_type` 0 in
//! place of another (7.3.3, 8.2.1).
//!
//! VA-API tells the counts of a picture and not what a stream of type 1 derives them from. A slice
//! that carries the counts itself is decoded alike by whoever reads slice headers.

use super::{Error, SliceHeader, bits};
use crate::annexb;
use crate::bits::{BitReader, BitWriter, BitsError};

/// `log2_max_pic_order_cnt_lsb_minus4` of the SPS that slices of [`Recount`] refer to.
pub const RECOUNT_LSB_MINUS4: u8 = 12;

/// Writes slices anew; its memory is kept from one to the next.
#[derive(Debug, Default)]
pub struct Recount {
    rbsp: Vec<u8>,
    nal: Vec<u8>,
}

impl Recount {
    /// The slice in `nal`, of which `slice` is the header, behind a start code; and the bits of its
    /// order count. The slice then refers to an SPS of type 0 with [`RECOUNT_LSB_MINUS4`], and to a
    /// PPS that is otherwise the same with `bottom_field_pic_order_in_frame_present`.
    ///
    /// `counts` are those of the top and the bottom field, of which a field has its own.
    pub fn write(
        &mut self,
        nal: &[u8],
        slice: &SliceHeader,
        entropy_coding_mode: bool,
        counts: [i32; 2],
    ) -> Result<(&[u8], u32), Error> {
        let [top, bottom] = counts;
        let mut reader = BitReader::rbsp(nal);
        self.rbsp.clear();
        let mut writer = BitWriter::from(std::mem::take(&mut self.rbsp));
        let mut header = || -> Result<u32, BitsError> {
            // The NAL unit's first byte is written with the start code.
            reader.skip(8)?;
            let before = slice.pic_order_cnt_bit_offset;
            copy(&mut reader, &mut writer, before)?;
            let start = writer.position();
            let count = if slice.bottom_field { bottom } else { top };
            writer.u(u32::from(RECOUNT_LSB_MINUS4) + 4, count as u32);
            if !slice.field_pic {
                writer.se(bottom.saturating_sub(top));
            }
            let size = writer.position() - start;
            reader.skip(slice.pic_order_cnt_bit_size.into())?;
            copy(&mut reader, &mut writer, slice.header_bit_size)?;
            // A few dozen bits.
            Ok(size as u32)
        };
        let size = header();
        if entropy_coding_mode {
            // cabac_alignment_one_bit.
            reader.align();
            while writer.position() % 8 != 0 {
                writer.flag(true);
            }
        }
        copy_rest(&mut reader, &mut writer);
        self.rbsp = writer.into_bytes();
        let size = size.map_err(|source| bits("slice_header", source))?;
        // What is left of a shifted end, and cabac_zero_words.
        let zeros = self.rbsp.iter().rev().take_while(|&&byte| byte == 0);
        self.rbsp.truncate(self.rbsp.len() - zeros.count());
        self.nal.clear();
        annexb::write_nal(&mut self.nal, &nal[..1], &self.rbsp);
        Ok((&self.nal, size))
    }
}

/// Copies bits up to a position of the reader.
fn copy(reader: &mut BitReader<'_>, writer: &mut BitWriter, to: u32) -> Result<(), BitsError> {
    while let Some(left) = u64::from(to).checked_sub(reader.position()) {
        if left == 0 {
            break;
        }
        let count = left.min(32) as u32;
        writer.u(count, reader.u(count)?);
    }
    Ok(())
}

/// Copies all bits that are left.
fn copy_rest(reader: &mut BitReader<'_>, writer: &mut BitWriter) {
    while let Ok(value) = reader.u(32) {
        writer.u(32, value);
    }
    while let Ok(bit) = reader.flag() {
        writer.flag(bit);
    }
}
