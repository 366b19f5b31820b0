//! Picture order count (8.2.1), types 0 to 2, from picture to picture.

use super::controls::Sps;
use super::{Error, SliceHeader, within};

/// `TopFieldOrderCnt` and `BottomFieldOrderCnt` of a picture. A field has only its own; the other is
/// 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PicOrderCnt {
    /// `TopFieldOrderCnt`.
    pub top: i32,
    /// `BottomFieldOrderCnt`.
    pub bottom: i32,
}

impl PicOrderCnt {
    /// What becomes of it after a memory management control operation 5: the picture is the first of
    /// a new count (8.2.1).
    pub(super) fn restarted(self, slice: &SliceHeader) -> Self {
        if slice.field_pic {
            return PicOrderCnt::default();
        }
        let first = self.top.min(self.bottom);
        // Only an absurd distance between the two wraps, and then nothing else is sane either.
        PicOrderCnt {
            top: self.top.wrapping_sub(first),
            bottom: self.bottom.wrapping_sub(first),
        }
    }
}

/// What the count of the next picture depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct PicOrder {
    /// `prevPicOrderCntMsb`.
    prev_msb: i32,
    /// `prevPicOrderCntLsb`.
    prev_lsb: i32,
    /// `prevFrameNumOffset`.
    prev_offset: i32,
    /// `prevFrameNum`.
    prev_frame_num: i32,
}

impl PicOrder {
    /// Before an IDR picture.
    pub fn new() -> Self {
        Self::default()
    }

    /// The count of the picture (frame or field) that starts with `slice`, pictures being given in
    /// decoding order. A count beyond 32 bits, which no stream may have, is an error and changes
    /// nothing.
    pub fn next(&mut self, sps: &Sps, slice: &SliceHeader) -> Result<PicOrderCnt, Error> {
        sps.check()?;
        let mut after = if slice.is_idr() { Self::new() } else { *self };
        let poc = match sps.pic_order_cnt_type {
            0 => after.by_lsb(sps, slice)?,
            1 => after.by_cycle(sps, slice)?,
            _ => after.by_frame_num(sps, slice)?,
        };
        if slice.unmarks_all() {
            // The next picture counts from this one, whose frame_num is taken as 0 (7.4.3). Its
            // bottom field alone leaves nothing to count from (8.2.1.1).
            after = PicOrder {
                prev_lsb: poc.restarted(slice).top,
                ..Self::new()
            };
        }
        *self = after;
        Ok(poc)
    }

    /// Type 0 (8.2.1.1).
    fn by_lsb(&mut self, sps: &Sps, slice: &SliceHeader) -> Result<PicOrderCnt, Error> {
        let lsb = i64::from(slice.pic_order_cnt_lsb);
        let max_lsb = i64::from(sps.max_pic_order_cnt_lsb());
        let (prev_lsb, prev_msb) = (i64::from(self.prev_lsb), i64::from(self.prev_msb));
        let msb = if lsb < prev_lsb && prev_lsb - lsb >= max_lsb / 2 {
            prev_msb + max_lsb
        } else if lsb > prev_lsb && lsb - prev_lsb > max_lsb / 2 {
            prev_msb - max_lsb
        } else {
            prev_msb
        };
        let poc = of_picture(
            slice,
            msb + lsb,
            msb + lsb + i64::from(slice.delta_pic_order_cnt_bottom),
        )?;
        if slice.nal.ref_idc != 0 {
            self.prev_msb = fit("PicOrderCntMsb", msb)?;
            self.prev_lsb = i32::from(slice.pic_order_cnt_lsb);
        }
        Ok(poc)
    }

    /// Type 1 (8.2.1.2).
    fn by_cycle(&mut self, sps: &Sps, slice: &SliceHeader) -> Result<PicOrderCnt, Error> {
        let frame_num_offset = self.frame_num_offset(sps, slice)?;
        let cycle = sps.pic_order_cnt_cycle();
        let mut abs_frame_num = if cycle.is_empty() {
            0
        } else {
            frame_num_offset + i64::from(slice.frame_num)
        };
        if slice.nal.ref_idc == 0 && abs_frame_num > 0 {
            abs_frame_num -= 1;
        }
        let mut expected = 0;
        if abs_frame_num > 0 {
            let length = cycle.len() as i64;
            let (cycles, in_cycle) = ((abs_frame_num - 1) / length, (abs_frame_num - 1) % length);
            let sum = |offsets: &[i32]| offsets.iter().copied().map(i64::from).sum::<i64>();
            // Below 2^31 cycles of at most 255 offsets of 31 bits: too much for 64 bits.
            expected = cycles
                .saturating_mul(sum(cycle))
                .saturating_add(sum(&cycle[..=in_cycle as usize]));
        }
        if slice.nal.ref_idc == 0 {
            expected = expected.saturating_add(i64::from(sps.offset_for_non_ref_pic));
        }
        let delta = slice.delta_pic_order_cnt.map(i64::from);
        let top = expected.saturating_add(delta[0]);
        let to_bottom = i64::from(sps.offset_for_top_to_bottom_field);
        of_picture(slice, top, top.saturating_add(to_bottom + delta[1]))
    }

    /// Type 2 (8.2.1.3): output order is decoding order.
    fn by_frame_num(&mut self, sps: &Sps, slice: &SliceHeader) -> Result<PicOrderCnt, Error> {
        let frame_num_offset = self.frame_num_offset(sps, slice)?;
        let count = if slice.is_idr() {
            0
        } else {
            2 * (frame_num_offset + i64::from(slice.frame_num)) - i64::from(slice.nal.ref_idc == 0)
        };
        of_picture(slice, count, count)
    }

    /// `FrameNumOffset` (8-6, 8-11). Frames inferred for a gap in `frame_num` wrap at most once
    /// between two pictures, as `frame_num` itself does, so they need no steps of their own here.
    fn frame_num_offset(&mut self, sps: &Sps, slice: &SliceHeader) -> Result<i64, Error> {
        let frame_num = i32::from(slice.frame_num);
        let mut offset = i64::from(self.prev_offset);
        if !slice.is_idr() && self.prev_frame_num > frame_num {
            offset += i64::from(sps.max_frame_num());
        }
        self.prev_offset = fit("FrameNumOffset", offset)?;
        self.prev_frame_num = frame_num;
        Ok(offset)
    }
}

/// A frame has both counts, a field its own.
fn of_picture(slice: &SliceHeader, top: i64, bottom: i64) -> Result<PicOrderCnt, Error> {
    let (has_top, has_bottom) = (
        !slice.field_pic || !slice.bottom_field,
        !slice.field_pic || slice.bottom_field,
    );
    Ok(PicOrderCnt {
        top: if has_top {
            fit("TopFieldOrderCnt", top)?
        } else {
            0
        },
        bottom: if has_bottom {
            fit("BottomFieldOrderCnt", bottom)?
        } else {
            0
        },
    })
}

fn fit(field: &'static str, value: i64) -> Result<i32, Error> {
    within(field, value, i32::MIN.into(), i32::MAX.into())?;
    Ok(value as i32)
}
