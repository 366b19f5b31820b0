//! VP8, RFC 6386: VA carries probabilities and loop filter deltas as they hold for the frame, and
//! quantisers and filter levels of segments worked out; V4L2 wants the segments' own values, which
//! are in the first partition.
//!
//! OUTPUT gets the whole frame. FFmpeg takes the frame tag off it (9.1), GStreamer and Chromium
//! point behind it: where it is not in the buffer it is written anew. It then says that the frame is
//! shown, which VA does not tell.

use super::{Controls, Output, Picture, Place, Refusal, Slice, Unit, named, value};
use crate::va::dec::{
    VAIQMatrixBufferVP8, VAPictureParameterBufferVP8, VAProbabilityDataBufferVP8,
    VASliceParameterBufferVP8,
};
use crate::va::{VAIQMatrixBufferType, VAPictureParameterBufferType, VAProbabilityBufferType};
use bitstream::vp8::{
    self, Frame, FrameTag, SEGMENT_DELTA_VALUE_MODE, SEGMENT_ENABLED, SEGMENT_UPDATE_FEATURE_DATA,
    Segment, Size, State,
};
use v4l2::device::Control;
use v4l2::uapi::controls::vp8::*;
use zerocopy::FromZeros;

/// What is kept over a stream.
#[derive(Debug)]
pub(super) struct Vp8 {
    state: State,
    frame: v4l2_ctrl_vp8_frame,
}

impl Default for Vp8 {
    fn default() -> Self {
        Vp8 {
            state: State::new(),
            frame: v4l2_ctrl_vp8_frame::new_zeroed(),
        }
    }
}

impl Vp8 {
    pub(super) fn prepare(
        &mut self,
        given: &Picture<'_>,
        out: &mut Output<'_>,
    ) -> Result<Unit, Refusal> {
        let parameters = given.required(VAPictureParameterBufferType)?;
        let slice: Slice<'_, VASliceParameterBufferVP8> = given.frame()?;
        let behind = slice.bytes_to_end()?;
        let tag = tag(&parameters, &slice)?;
        let mut header = self.state.parse_behind(&tag, behind)?;
        let frame = &mut header.frame;
        if !frame.is_key_frame() {
            // Clients may leave frames out, of which later ones keep probabilities.
            frame.entropy.y_mode_probs = parameters.y_mode_probs;
            frame.entropy.uv_mode_probs = parameters.uv_mode_probs;
            frame.entropy.mv_probs = parameters.mv_probs;
            if let Some(given) =
                given.optional::<VAProbabilityDataBufferVP8>(VAProbabilityBufferType)?
            {
                frame.entropy.coeff_probs = given.dct_coeff_probs;
            }
            frame.lf.ref_frm_delta = parameters.loop_filter_deltas_ref_frame;
            frame.lf.mb_mode_delta = parameters.loop_filter_deltas_mode;
            frame.last_frame_ts = named(given.decoded(parameters.last_ref_frame));
            frame.golden_frame_ts = named(given.decoded(parameters.golden_ref_frame));
            frame.alt_frame_ts = named(given.decoded(parameters.alt_ref_frame));
        }
        if let Some(quantisers) = given.optional(VAIQMatrixBufferType)? {
            let own = [frame.quant.y_ac_qi, frame.lf.level];
            let levels = &parameters.loop_filter_level;
            segments(&mut frame.segment, own, &quantisers, levels);
        }
        out.append(0, &tag.write().map_err(vp8::ParseError::from)?)?;
        out.append(0, behind)?;

        self.frame = control(&header.frame);
        self.state.decoded(&header, given.target.fresh.nanos());
        Ok(Unit {
            length: out.length,
            place: Place::Frame,
            timestamp: given.target.fresh,
            size: (self.frame.width.into(), self.frame.height.into()),
        })
    }

    pub(super) fn controls(&self) -> Controls<'_> {
        Controls::from([Control::compound(V4L2_CID_STATELESS_VP8_FRAME, &self.frame)])
    }
}

/// The frame's tag, from ahead of the slice data where it is there.
fn tag(
    parameters: &VAPictureParameterBufferVP8,
    slice: &Slice<'_, VASliceParameterBufferVP8>,
) -> Result<FrameTag, Refusal> {
    let wrong = |field, wrong: u32| value::<VAPictureParameterBufferVP8>(field, wrong);
    let dimension = |field, given: u32| match u16::try_from(given) {
        Ok(size @ 1..=0x3fff) => Ok(size),
        _ => Err(wrong(field, given)),
    };
    let is_key_frame = parameters.pic_fields & 1 == 0;
    let size = Size {
        width: dimension("frame_width", parameters.frame_width)?,
        height: dimension("frame_height", parameters.frame_height)?,
        horizontal_scale: 0,
        vertical_scale: 0,
    };
    let place = &slice.parameters;
    // GStreamer counts what is beyond a first partition that is read to its end: both numbers are off
    // by as much then, and what is left of their sum is right.
    let read = place.macroblock_offset.div_ceil(8);
    let first = place.partition_size[0].wrapping_add(read);
    let written = FrameTag {
        version: (parameters.pic_fields >> 1 & 7) as u8,
        show_frame: true,
        first_part_size: first,
        size: is_key_frame.then_some(size),
    };
    let start = (place.slice_data_offset as usize).checked_sub(written.length());
    let ahead = start.and_then(|start| slice.buffer.get(start..));
    let found = ahead.and_then(|ahead| FrameTag::parse(ahead).ok());
    Ok(match found {
        Some(found) if is_same(&found, &written) => found,
        _ => written,
    })
}

/// Whether a tag in the buffer is the one of the frame: it agrees in all that VA tells too.
fn is_same(found: &FrameTag, written: &FrameTag) -> bool {
    let size = |tag: &FrameTag| tag.size.map(|size| (size.width, size.height));
    (found.version, found.first_part_size) == (written.version, written.first_part_size)
        && size(found) == size(written)
}

/// Sees to it that the segments' values give what VA says, for a frame of this quantiser index and
/// filter level: they are of an earlier frame, and the client may have left that out. Where they do
/// not, absolute values do.
fn segments(segment: &mut Segment, frame: [u8; 2], given: &VAIQMatrixBufferVP8, levels: &[u8; 4]) {
    if segment.flags & (SEGMENT_ENABLED | SEGMENT_UPDATE_FEATURE_DATA) != SEGMENT_ENABLED {
        return;
    }
    let is_delta = segment.flags & SEGMENT_DELTA_VALUE_MODE != 0;
    let worked_out = |value: i8, base: u8, most: i16| {
        let value = i16::from(value) + if is_delta { base.into() } else { 0 };
        value.clamp(0, most)
    };
    let quantisers = given
        .quantization_index
        .map(|indices| indices[0].min(127) as i16);
    let levels = levels.map(|level| i16::from(level.min(63)));
    let [quantiser, level] = frame;
    let agrees = segment
        .quant_update
        .map(|value| worked_out(value, quantiser, 127))
        == quantisers
        && segment.lf_update.map(|value| worked_out(value, level, 63)) == levels;
    if !agrees {
        segment.flags &= !SEGMENT_DELTA_VALUE_MODE;
        segment.quant_update = quantisers.map(|index| index as i8);
        segment.lf_update = levels.map(|level| level as i8);
    }
}

/// The control of a frame.
pub fn control(frame: &Frame) -> v4l2_ctrl_vp8_frame {
    v4l2_ctrl_vp8_frame {
        segment: v4l2_vp8_segment {
            quant_update: frame.segment.quant_update,
            lf_update: frame.segment.lf_update,
            segment_probs: frame.segment.segment_probs,
            padding: 0,
            flags: frame.segment.flags,
        },
        lf: v4l2_vp8_loop_filter {
            ref_frm_delta: frame.lf.ref_frm_delta,
            mb_mode_delta: frame.lf.mb_mode_delta,
            sharpness_level: frame.lf.sharpness_level,
            level: frame.lf.level,
            padding: 0,
            flags: frame.lf.flags,
        },
        quant: v4l2_vp8_quantization {
            y_ac_qi: frame.quant.y_ac_qi,
            y_dc_delta: frame.quant.y_dc_delta,
            y2_dc_delta: frame.quant.y2_dc_delta,
            y2_ac_delta: frame.quant.y2_ac_delta,
            uv_dc_delta: frame.quant.uv_dc_delta,
            uv_ac_delta: frame.quant.uv_ac_delta,
            padding: 0,
        },
        entropy: v4l2_vp8_entropy {
            coeff_probs: frame.entropy.coeff_probs,
            y_mode_probs: frame.entropy.y_mode_probs,
            uv_mode_probs: frame.entropy.uv_mode_probs,
            mv_probs: frame.entropy.mv_probs,
            padding: [0; 3],
        },
        coder_state: v4l2_vp8_entropy_coder_state {
            range: frame.coder_state.range,
            value: frame.coder_state.value,
            bit_count: frame.coder_state.bit_count,
            padding: 0,
        },
        width: frame.width,
        height: frame.height,
        horizontal_scale: frame.horizontal_scale,
        vertical_scale: frame.vertical_scale,
        version: frame.version,
        prob_skip_false: frame.prob_skip_false,
        prob_intra: frame.prob_intra,
        prob_last: frame.prob_last,
        prob_gf: frame.prob_gf,
        num_dct_parts: frame.num_dct_parts,
        first_part_size: frame.first_part_size,
        first_part_header_bits: frame.first_part_header_bits,
        dct_part_sizes: frame.dct_part_sizes,
        last_frame_ts: frame.last_frame_ts,
        golden_frame_ts: frame.golden_frame_ts,
        alt_frame_ts: frame.alt_frame_ts,
        flags: frame.flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_what_va_says() {
        let (delta, update) = (SEGMENT_DELTA_VALUE_MODE, SEGMENT_UPDATE_FEATURE_DATA);
        let kept = [1, -2, 3, -127];
        let absolute = [9, 8, 7, 6];
        // Flags, worked out quantisers, and the values that are left.
        for (flags, given, expected) in [
            (SEGMENT_ENABLED | delta, [101, 98, 103, 0], kept),
            (SEGMENT_ENABLED | delta, [9, 8, 7, 6], absolute),
            (SEGMENT_ENABLED, [1, 0, 3, 0], kept),
            (SEGMENT_ENABLED, [9, 8, 7, 6], absolute),
            (SEGMENT_ENABLED, [500, 0, 3, 0], [127, 0, 3, 0]),
            // The frame has its own, or needs none.
            (SEGMENT_ENABLED | update | delta, [9, 8, 7, 6], kept),
            (delta, [9, 8, 7, 6], kept),
        ] {
            let mut segment = Segment {
                quant_update: kept,
                lf_update: [0; 4],
                segment_probs: [255; 3],
                flags,
            };
            let mut quantisers = VAIQMatrixBufferVP8::new_zeroed();
            quantisers.quantization_index = given.map(|index| [index; 6]);
            let level = if flags & delta == 0 { 0 } else { 20 };
            segments(&mut segment, [100, 20], &quantisers, &[level; 4]);
            assert_eq!(segment.quant_update, expected, "{flags:#x} {given:?}");
            let is_absolute = expected != kept;
            let left = if is_absolute { flags & !delta } else { flags };
            assert_eq!(segment.flags, left, "{flags:#x} {given:?}");
        }
    }
}
