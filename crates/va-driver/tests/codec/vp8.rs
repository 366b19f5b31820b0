//! VP8: the tag that FFmpeg takes off and GStreamer leaves, values of segments, frames left out.

use crate::{Buffer, Context, MANNERS, Manner, buffers, containers, streams, surface};
use bitstream::vp8::{
    FRAME_KEY_FRAME, FRAME_MB_NO_SKIP_COEFF, FRAME_SHOW_FRAME, FRAME_SIGN_BIAS_ALT,
    FRAME_SIGN_BIAS_GOLDEN, Frame, FrameTag, Header, LF_ADJ_ENABLE, LF_DELTA_UPDATE,
    LF_FILTER_TYPE_SIMPLE, SEGMENT_DELTA_VALUE_MODE, SEGMENT_ENABLED, SEGMENT_UPDATE_FEATURE_DATA,
    SEGMENT_UPDATE_MAP, State,
};
use v4l2::uapi::controls::vp8::{V4L2_CID_STATELESS_VP8_FRAME, v4l2_ctrl_vp8_frame};
use v4l2_request_drv_video::codec::vp8::control;
use v4l2_request_drv_video::codec::{Place, Refusal};
use v4l2_request_drv_video::va::dec::{
    VABoolCoderContextVPX, VAIQMatrixBufferVP8, VAPictureParameterBufferVP8,
    VAProbabilityDataBufferVP8, VASliceParameterBufferVP8,
};
use v4l2_request_drv_video::va::{
    VA_INVALID_SURFACE, VAIQMatrixBufferType, VAPictureParameterBufferType,
    VAProbabilityBufferType, VAProfileVP8Version0_3,
};
use zerocopy::FromZeros;

/// The frames of the carried stream.
pub fn frames() -> Vec<Vec<u8>> {
    let file = std::fs::read(&streams(&["vp8.webm"], "-", &[])[0]).unwrap();
    containers::packets(&file, "V_VP8").unwrap()
}

fn bits(rows: &[(u32, u32)]) -> u32 {
    rows.iter().fold(0, |all, (value, at)| all | value << at)
}

/// What VA says of a frame, for any client.
pub fn given(manner: Manner, header: &Header, data: &[u8]) -> Vec<Buffer> {
    let frame = &header.frame;
    let key = frame.is_key_frame();
    let flag = |flag: u32, of: u32| u32::from(of & flag != 0);
    let frame_flag = |flag: u64| u32::from(frame.flags & flag != 0);
    let mut picture = VAPictureParameterBufferVP8::new_zeroed();
    (picture.frame_width, picture.frame_height) = (frame.width.into(), frame.height.into());
    for (slot, id) in [
        (&mut picture.last_ref_frame, frame.last_frame_ts),
        (&mut picture.golden_ref_frame, frame.golden_frame_ts),
        (&mut picture.alt_ref_frame, frame.alt_frame_ts),
    ] {
        *slot = if key { VA_INVALID_SURFACE } else { surface(id) };
    }
    picture.out_of_loop_frame = VA_INVALID_SURFACE;
    let experimental = u32::from(FrameTag::of(frame).version);
    picture.pic_fields = bits(&[
        (1 - frame_flag(FRAME_KEY_FRAME), 0),
        (experimental, 1),
        (flag(SEGMENT_ENABLED, frame.segment.flags), 4),
        (flag(SEGMENT_UPDATE_MAP, frame.segment.flags), 5),
        (flag(SEGMENT_UPDATE_FEATURE_DATA, frame.segment.flags), 6),
        (flag(LF_FILTER_TYPE_SIMPLE, frame.lf.flags), 7),
        (frame.lf.sharpness_level.into(), 8),
        (flag(LF_ADJ_ENABLE, frame.lf.flags), 11),
        (flag(LF_DELTA_UPDATE, frame.lf.flags), 12),
        (frame_flag(FRAME_SIGN_BIAS_GOLDEN), 13),
        (frame_flag(FRAME_SIGN_BIAS_ALT), 14),
        (frame_flag(FRAME_MB_NO_SKIP_COEFF), 15),
        (u32::from(frame.lf.level == 0), 16),
    ]);
    picture.mb_segment_tree_probs = frame.segment.segment_probs;
    let is_delta = frame.segment.flags & SEGMENT_DELTA_VALUE_MODE != 0;
    let enabled = frame.segment.flags & SEGMENT_ENABLED != 0;
    let worked_out = |value: i8, base: u8, most: i16| {
        let base = i16::from(base);
        let value = match (enabled, is_delta) {
            (false, _) => base,
            (true, false) => value.into(),
            (true, true) => base + i16::from(value),
        };
        value.clamp(0, most)
    };
    picture.loop_filter_level =
        (frame.segment.lf_update).map(|value| worked_out(value, frame.lf.level, 63) as u8);
    picture.loop_filter_deltas_ref_frame = frame.lf.ref_frm_delta;
    picture.loop_filter_deltas_mode = frame.lf.mb_mode_delta;
    picture.prob_skip_false = frame.prob_skip_false;
    (picture.prob_intra, picture.prob_last) = (frame.prob_intra, frame.prob_last);
    picture.prob_gf = frame.prob_gf;
    picture.y_mode_probs = frame.entropy.y_mode_probs;
    picture.uv_mode_probs = frame.entropy.uv_mode_probs;
    picture.mv_probs = frame.entropy.mv_probs;
    picture.bool_coder_ctx = VABoolCoderContextVPX {
        range: frame.coder_state.range,
        value: frame.coder_state.value,
        count: frame.coder_state.bit_count,
    };
    let mut probabilities = VAProbabilityDataBufferVP8::new_zeroed();
    probabilities.dct_coeff_probs = frame.entropy.coeff_probs;
    let mut quantisers = VAIQMatrixBufferVP8::new_zeroed();
    for (indices, value) in quantisers
        .quantization_index
        .iter_mut()
        .zip(frame.segment.quant_update)
    {
        indices.fill(worked_out(value, frame.quant.y_ac_qi, 127) as u16);
    }

    let tag = FrameTag::of(frame).length();
    let mut slice = VASliceParameterBufferVP8::new_zeroed();
    slice.macroblock_offset = frame.first_part_header_bits;
    slice.num_of_partitions = frame.num_dct_parts + 1;
    if manner == Manner::GStreamer {
        // What it counts for a first partition that is read to its end, here for any.
        slice.macroblock_offset = slice.macroblock_offset.wrapping_sub(0x4000_0000);
    }
    let read = slice.macroblock_offset.div_ceil(8);
    slice.partition_size[0] = frame.first_part_size.wrapping_sub(read);
    slice.partition_size[1..].copy_from_slice(&frame.dct_part_sizes);
    let data = match manner {
        Manner::Ffmpeg | Manner::Heaped => &data[tag..],
        // GStreamer counts the tag into the size.
        Manner::GStreamer => data,
    };
    slice.slice_data_size = data.len() as u32;
    if manner == Manner::GStreamer {
        slice.slice_data_offset = tag as u32;
    }
    let picture = vec![
        Buffer::new(VAPictureParameterBufferType, &picture),
        Buffer::new(VAProbabilityBufferType, &probabilities),
        Buffer::new(VAIQMatrixBufferType, &quantisers),
    ];
    buffers(manner, picture, vec![(slice, data)], |_, _| {})
}

/// What a stripped tag takes with it.
fn without_tag(frame: &mut Frame) {
    frame.flags |= FRAME_SHOW_FRAME;
    (frame.horizontal_scale, frame.vertical_scale) = (0, 0);
}

#[test]
fn every_frame_has_the_controls_of_its_header() {
    let all = streams(&["vp8.webm"], "vp8/", &["conformance/", "streams/"]);
    let mut read = 0;
    for path in all {
        let file = std::fs::read(&path).unwrap();
        let Some(frames) = containers::packets(&file, "V_VP8") else {
            continue;
        };
        for manner in MANNERS {
            let mut context = Context::new(VAProfileVP8Version0_3);
            let mut state = State::new();
            for (nth, data) in frames.iter().enumerate() {
                let place = format!("{} {manner:?}, frame {nth}", path.display());
                if data.is_empty() {
                    continue;
                }
                let header = state.parse(data).expect(&place);
                let fresh = context.fresh();
                let given = given(manner, &header, data);
                let unit = context
                    .prepare(&given, surface(fresh.nanos()), fresh)
                    .expect(&place);
                assert_eq!((unit.place, unit.timestamp), (Place::Frame, fresh));
                let mut expected = header.frame;
                let mut whole = data.clone();
                if manner != Manner::GStreamer {
                    without_tag(&mut expected);
                    let tag = FrameTag::of(&expected).write().unwrap();
                    whole[..tag.len()].copy_from_slice(&tag);
                }
                assert!(context.out == whole, "{place}: data");
                let control_given: v4l2_ctrl_vp8_frame =
                    context.control(V4L2_CID_STATELESS_VP8_FRAME);
                assert_eq!(control_given, control(&expected), "{place}");
                state.decoded(&header, fresh.nanos());
                read += 1;
            }
        }
    }
    assert!(read > 0);
}

/// A client that hands on only what is referred to, as players that lag do: probabilities and
/// segments of frames that were left out are those of VA.
#[test]
fn frames_may_be_left_out() {
    let mut context = Context::new(VAProfileVP8Version0_3);
    let mut state = State::new();
    let decode = |header: &Header, context: &mut Context, data: &[u8]| {
        let fresh = context.fresh();
        let given = given(Manner::Ffmpeg, header, data);
        context
            .prepare(&given, surface(fresh.nanos()), fresh)
            .unwrap();
        fresh.nanos()
    };
    let frames = frames();
    let key = state.parse(&frames[0]).unwrap();
    let id = decode(&key, &mut context, &frames[0]);
    state.decoded(&key, id);

    // As if frames between had brought these.
    let mut inter = state.parse(&frames[1]).unwrap();
    inter.frame.segment.flags = SEGMENT_ENABLED;
    inter.frame.entropy.coeff_probs[1][2][1][3] = 77;
    inter.frame.entropy.mv_probs[1][4] = 6;
    inter.frame.entropy.y_mode_probs = [1, 2, 3, 4];
    inter.frame.lf.ref_frm_delta = [5, -6, 7, -8];
    decode(&inter, &mut context, &frames[1]);
    let frame: v4l2_ctrl_vp8_frame = context.control(V4L2_CID_STATELESS_VP8_FRAME);
    assert_eq!(frame.entropy, control(&inter.frame).entropy);
    assert_eq!(frame.lf, control(&inter.frame).lf);
}

#[test]
fn a_stream_that_begins_with_an_inter_frame_waits_for_a_key_frame() {
    let frames = frames();
    let mut state = State::new();
    let key = state.parse(&frames[0]).unwrap();
    state.decoded(&key, 1000);
    let inter = state.parse(&frames[1]).unwrap();
    let mut context = Context::new(VAProfileVP8Version0_3);
    let refused = context.prepare(
        &given(Manner::Ffmpeg, &inter, &frames[1]),
        surface(2000),
        v4l2::queue::Timestamp::from_micros(2),
    );
    assert_eq!(
        refused,
        Err(Refusal::Vp8(bitstream::vp8::ParseError::NoKeyFrame))
    );
    let fresh = context.fresh();
    context
        .prepare(
            &given(Manner::Ffmpeg, &key, &frames[0]),
            surface(1000),
            fresh,
        )
        .unwrap();
}
