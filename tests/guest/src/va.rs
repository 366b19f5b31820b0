//! What a client of VA-API renders for a coded picture: the controls of the stateless API told in
//! `va_dec_*.h`'s words, for streams that `stream` reads.
//!
//! The slices of H.264 are given the default reference counts of their PPS; those that have others say
//! so in their headers, which is where the driver looks.

use crate::Result;
use crate::stream::{Frame, Part};
use bitstream::annexb::nal_units;
use bitstream::mpeg2;
use bitstream::vp8::FrameTag;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::{h264::*, mpeg2::*, vp8::*};
use v4l2::uapi::videodev2::*;
use va_driver::va::dec::*;
use va_driver::va::*;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// A buffer for `vaRenderPicture`.
#[derive(Debug)]
pub struct Buffer {
    /// `VA*BufferType`.
    pub kind: VABufferType,
    /// What is in it, one element.
    pub bytes: Vec<u8>,
}

impl Buffer {
    fn of<T: IntoBytes + Immutable>(kind: VABufferType, value: &T) -> Buffer {
        let bytes = value.as_bytes().to_vec();
        Buffer { kind, bytes }
    }

    fn data(bytes: &[u8]) -> Buffer {
        let (kind, bytes) = (VASliceDataBufferType, bytes.to_vec());
        Buffer { kind, bytes }
    }
}

/// Which surface a picture is in.
pub type Places<'a> = &'a dyn Fn(Timestamp) -> VASurfaceID;

/// The buffers of a picture of the stream with this `V4L2_PIX_FMT_*`.
///
/// # Errors
/// The format is none of these, or a control is missing.
pub fn buffers(coded: u32, frame: &Frame<'_>, places: Places<'_>) -> Result<Vec<Buffer>> {
    match coded {
        V4L2_PIX_FMT_MPEG2_SLICE => mpeg2_buffers(frame, places),
        V4L2_PIX_FMT_H264_SLICE => h264_buffers(frame, places),
        V4L2_PIX_FMT_VP8_FRAME => vp8_buffers(frame, places),
        V4L2_PIX_FMT_VP9_FRAME => Ok(vp9_buffers(frame, places)),
        other => Err(format!("no coded format: {other:#x}").into()),
    }
}

/// The profile by which a stream of this format is decoded.
///
/// # Errors
/// As of `buffers`.
pub fn profile(coded: u32) -> Result<VAProfile> {
    match coded {
        V4L2_PIX_FMT_MPEG2_SLICE => Ok(VAProfileMPEG2Main),
        V4L2_PIX_FMT_H264_SLICE => Ok(VAProfileH264High),
        V4L2_PIX_FMT_VP8_FRAME => Ok(VAProfileVP8Version0_3),
        V4L2_PIX_FMT_VP9_FRAME => Ok(VAProfileVP9Profile0),
        other => Err(format!("no coded format: {other:#x}").into()),
    }
}

fn control<T: FromBytes>(frame: &Frame<'_>, id: u32) -> Result<T> {
    let found = frame.controls.iter().find(|control| control.0 == id);
    let value = found.and_then(|(_, bytes)| T::read_from_bytes(bytes).ok());
    value.ok_or_else(|| format!("no control {id:#x}").into())
}

/// The surface of a reference as controls name it.
fn place(reference: u64, places: Places<'_>) -> VASurfaceID {
    match reference {
        0 => VA_INVALID_SURFACE,
        nanos => places(Timestamp::from_micros(nanos / 1000)),
    }
}

fn mpeg2_buffers(frame: &Frame<'_>, places: Places<'_>) -> Result<Vec<Buffer>> {
    let sequence: v4l2_ctrl_mpeg2_sequence = control(frame, V4L2_CID_STATELESS_MPEG2_SEQUENCE)?;
    let picture: v4l2_ctrl_mpeg2_picture = control(frame, V4L2_CID_STATELESS_MPEG2_PICTURE)?;
    let given: v4l2_ctrl_mpeg2_quantisation =
        control(frame, V4L2_CID_STATELESS_MPEG2_QUANTISATION)?;
    let mut parameters = VAPictureParameterBufferMPEG2::new_zeroed();
    parameters.horizontal_size = sequence.horizontal_size;
    parameters.vertical_size = sequence.vertical_size;
    parameters.forward_reference_picture = place(picture.forward_ref_ts, places);
    parameters.backward_reference_picture = place(picture.backward_ref_ts, places);
    parameters.picture_coding_type = picture.picture_coding_type.into();
    let codes = picture.f_code.as_flattened().iter();
    parameters.f_code = codes.fold(0, |all, code| all << 4 | i32::from(*code));
    let is_first_field = u32::from(frame.part != Part::SecondField);
    parameters.picture_coding_extension = u32::from(picture.intra_dc_precision)
        | u32::from(picture.picture_structure) << 2
        | (picture.flags & 0xff) << 4
        | is_first_field << 12;
    let mut matrices = VAIQMatrixBufferMPEG2::new_zeroed();
    matrices.load_intra_quantiser_matrix = 1;
    matrices.load_non_intra_quantiser_matrix = 1;
    matrices.intra_quantiser_matrix = given.intra_quantiser_matrix;
    matrices.non_intra_quantiser_matrix = given.non_intra_quantiser_matrix;
    let mut buffers = vec![
        Buffer::of(VAPictureParameterBufferType, &parameters),
        Buffer::of(VAIQMatrixBufferType, &matrices),
    ];
    for slice in mpeg2::slices(&frame.data, sequence.vertical_size) {
        let slice = slice?;
        let mut parameters = VASliceParameterBufferMPEG2::new_zeroed();
        parameters.slice_data_size = slice.bytes.len() as u32;
        parameters.slice_vertical_position = slice.row.into();
        buffers.push(Buffer::of(VASliceParameterBufferType, &parameters));
        buffers.push(Buffer::data(slice.bytes));
    }
    Ok(buffers)
}

/// Sets bits of a word of flags, one for each row.
fn bits(rows: &[(bool, u32)]) -> u32 {
    let set = rows.iter().filter(|(is_set, _)| *is_set);
    set.fold(0, |all, (_, at)| all | 1 << at)
}

fn h264_buffers(frame: &Frame<'_>, places: Places<'_>) -> Result<Vec<Buffer>> {
    let sps: v4l2_ctrl_h264_sps = control(frame, V4L2_CID_STATELESS_H264_SPS)?;
    let pps: v4l2_ctrl_h264_pps = control(frame, V4L2_CID_STATELESS_H264_PPS)?;
    let lists: v4l2_ctrl_h264_scaling_matrix =
        control(frame, V4L2_CID_STATELESS_H264_SCALING_MATRIX)?;
    let params: v4l2_ctrl_h264_decode_params =
        control(frame, V4L2_CID_STATELESS_H264_DECODE_PARAMS)?;
    let has = |flag: u32| params.flags & flag != 0;
    let is_field = has(V4L2_H264_DECODE_PARAM_FLAG_FIELD_PIC);
    let is_bottom = has(V4L2_H264_DECODE_PARAM_FLAG_BOTTOM_FIELD);

    let mut parameters = VAPictureParameterBufferH264::new_zeroed();
    parameters.CurrPic = VAPictureH264 {
        picture_id: places(frame.timestamp),
        frame_idx: params.frame_num.into(),
        flags: match (is_field, is_bottom) {
            (false, _) => 0,
            (true, false) => VA_PICTURE_H264_TOP_FIELD,
            (true, true) => VA_PICTURE_H264_BOTTOM_FIELD,
        },
        TopFieldOrderCnt: params.top_field_order_cnt,
        BottomFieldOrderCnt: params.bottom_field_order_cnt,
        va_reserved: [0; 4],
    };
    for (reference, held) in parameters.ReferenceFrames.iter_mut().zip(&params.dpb) {
        *reference = h264_reference(held, places);
    }
    let is_frame_mbs_only = sps.flags & V4L2_H264_SPS_FLAG_FRAME_MBS_ONLY != 0;
    let rows = (sps.pic_height_in_map_units_minus1 + 1) * if is_frame_mbs_only { 1 } else { 2 };
    parameters.picture_width_in_mbs_minus1 = sps.pic_width_in_mbs_minus1;
    parameters.picture_height_in_mbs_minus1 = rows - 1;
    parameters.num_ref_frames = sps.max_num_ref_frames;
    let has = |flag: u32| sps.flags & flag != 0;
    parameters.seq_fields = u32::from(sps.chroma_format_idc)
        | u32::from(sps.log2_max_frame_num_minus4) << 8
        | u32::from(sps.pic_order_cnt_type) << 12
        | u32::from(sps.log2_max_pic_order_cnt_lsb_minus4) << 14
        | bits(&[
            (has(V4L2_H264_SPS_FLAG_GAPS_IN_FRAME_NUM_VALUE_ALLOWED), 3),
            (is_frame_mbs_only, 4),
            (has(V4L2_H264_SPS_FLAG_MB_ADAPTIVE_FRAME_FIELD), 5),
            (has(V4L2_H264_SPS_FLAG_DIRECT_8X8_INFERENCE), 6),
            (has(V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO), 18),
        ]);
    parameters.pic_init_qp_minus26 = pps.pic_init_qp_minus26;
    parameters.pic_init_qs_minus26 = pps.pic_init_qs_minus26;
    parameters.chroma_qp_index_offset = pps.chroma_qp_index_offset;
    parameters.second_chroma_qp_index_offset = pps.second_chroma_qp_index_offset;
    let has = |flag: u16| pps.flags & flag != 0;
    parameters.pic_fields = u32::from(pps.weighted_bipred_idc) << 2
        | bits(&[
            (has(V4L2_H264_PPS_FLAG_ENTROPY_CODING_MODE), 0),
            (has(V4L2_H264_PPS_FLAG_WEIGHTED_PRED), 1),
            (has(V4L2_H264_PPS_FLAG_TRANSFORM_8X8_MODE), 4),
            (is_field, 5),
            (has(V4L2_H264_PPS_FLAG_CONSTRAINED_INTRA_PRED), 6),
            (
                has(V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT),
                7,
            ),
            (has(V4L2_H264_PPS_FLAG_DEBLOCKING_FILTER_CONTROL_PRESENT), 8),
            (has(V4L2_H264_PPS_FLAG_REDUNDANT_PIC_CNT_PRESENT), 9),
            (params.nal_ref_idc != 0, 10),
        ]);
    parameters.frame_num = params.frame_num;

    let mut matrices = VAIQMatrixBufferH264::new_zeroed();
    matrices.ScalingList4x4 = lists.scaling_list_4x4;
    matrices.ScalingList8x8 = [lists.scaling_list_8x8[0], lists.scaling_list_8x8[1]];
    let mut buffers = vec![
        Buffer::of(VAPictureParameterBufferType, &parameters),
        Buffer::of(VAIQMatrixBufferType, &matrices),
    ];
    for nal in nal_units(&frame.data) {
        let mut parameters = VASliceParameterBufferH264::new_zeroed();
        parameters.slice_data_size = nal.len() as u32;
        parameters.num_ref_idx_l0_active_minus1 = pps.num_ref_idx_l0_default_active_minus1;
        parameters.num_ref_idx_l1_active_minus1 = pps.num_ref_idx_l1_default_active_minus1;
        buffers.push(Buffer::of(VASliceParameterBufferType, &parameters));
        buffers.push(Buffer::data(nal));
    }
    Ok(buffers)
}

fn h264_reference(held: &v4l2_h264_dpb_entry, places: Places<'_>) -> VAPictureH264 {
    let mut reference = VAPictureH264::new_zeroed();
    reference.picture_id = VA_INVALID_SURFACE;
    reference.flags = VA_PICTURE_H264_INVALID;
    if held.flags & V4L2_H264_DPB_ENTRY_FLAG_VALID == 0 {
        return reference;
    }
    reference.picture_id = place(held.reference_ts, places);
    reference.frame_idx = held.frame_num.into();
    reference.flags = match held.flags & V4L2_H264_DPB_ENTRY_FLAG_LONG_TERM {
        0 => VA_PICTURE_H264_SHORT_TERM_REFERENCE,
        _ => VA_PICTURE_H264_LONG_TERM_REFERENCE,
    } | match held.fields {
        V4L2_H264_TOP_FIELD_REF => VA_PICTURE_H264_TOP_FIELD,
        V4L2_H264_BOTTOM_FIELD_REF => VA_PICTURE_H264_BOTTOM_FIELD,
        _ => 0,
    };
    reference.TopFieldOrderCnt = held.top_field_order_cnt;
    reference.BottomFieldOrderCnt = held.bottom_field_order_cnt;
    reference
}

fn vp8_buffers(frame: &Frame<'_>, places: Places<'_>) -> Result<Vec<Buffer>> {
    let given: v4l2_ctrl_vp8_frame = control(frame, V4L2_CID_STATELESS_VP8_FRAME)?;
    let is_key = given.flags & V4L2_VP8_FRAME_FLAG_KEY_FRAME != 0;
    let mut parameters = VAPictureParameterBufferVP8::new_zeroed();
    parameters.frame_width = given.width.into();
    parameters.frame_height = given.height.into();
    parameters.last_ref_frame = place(given.last_frame_ts, places);
    parameters.golden_ref_frame = place(given.golden_frame_ts, places);
    parameters.alt_ref_frame = place(given.alt_frame_ts, places);
    parameters.out_of_loop_frame = VA_INVALID_SURFACE;
    parameters.pic_fields = u32::from(!is_key) | u32::from(given.version) << 1;
    parameters.mb_segment_tree_probs = given.segment.segment_probs;
    parameters.loop_filter_deltas_ref_frame = given.lf.ref_frm_delta;
    parameters.loop_filter_deltas_mode = given.lf.mb_mode_delta;
    parameters.prob_skip_false = given.prob_skip_false;
    parameters.prob_intra = given.prob_intra;
    parameters.prob_last = given.prob_last;
    parameters.prob_gf = given.prob_gf;
    parameters.y_mode_probs = given.entropy.y_mode_probs;
    parameters.uv_mode_probs = given.entropy.uv_mode_probs;
    parameters.mv_probs = given.entropy.mv_probs;
    parameters.bool_coder_ctx = VABoolCoderContextVPX {
        range: given.coder_state.range,
        value: given.coder_state.value,
        count: given.coder_state.bit_count,
    };
    let mut quantisers = VAIQMatrixBufferVP8::new_zeroed();
    for segment in 0..4 {
        // Values of segments stand in place of the frame's, or are added to it (9.3, 9.6).
        let worked_out = |own: u8, value: i8, most: i16| {
            let is_on = given.segment.flags & V4L2_VP8_SEGMENT_FLAG_ENABLED != 0;
            let is_delta = given.segment.flags & V4L2_VP8_SEGMENT_FLAG_DELTA_VALUE_MODE != 0;
            let own = i16::from(own);
            match (is_on, is_delta) {
                (false, _) => own,
                (true, false) => i16::from(value),
                (true, true) => own + i16::from(value),
            }
            .clamp(0, most)
        };
        let quantiser = worked_out(
            given.quant.y_ac_qi,
            given.segment.quant_update[segment],
            127,
        );
        quantisers.quantization_index[segment] = [quantiser as u16; 6];
        let level = worked_out(given.lf.level, given.segment.lf_update[segment], 63);
        parameters.loop_filter_level[segment] = level as u8;
    }
    let mut probabilities = VAProbabilityDataBufferVP8::new_zeroed();
    probabilities.dct_coeff_probs = given.entropy.coeff_probs;
    let tag = FrameTag::parse(&frame.data)?.length();
    let read = given.first_part_header_bits.div_ceil(8);
    let mut slice = VASliceParameterBufferVP8::new_zeroed();
    slice.slice_data_size = (frame.data.len() - tag) as u32;
    slice.slice_data_offset = tag as u32;
    slice.macroblock_offset = given.first_part_header_bits;
    slice.num_of_partitions = given.num_dct_parts + 1;
    slice.partition_size[0] = given.first_part_size - read;
    slice.partition_size[1..].copy_from_slice(&given.dct_part_sizes);
    Ok(vec![
        Buffer::of(VAPictureParameterBufferType, &parameters),
        Buffer::of(VAIQMatrixBufferType, &quantisers),
        Buffer::of(VAProbabilityBufferType, &probabilities),
        Buffer::of(VASliceParameterBufferType, &slice),
        Buffer::data(&frame.data),
    ])
}

/// The driver reads the rest from the frame.
fn vp9_buffers(frame: &Frame<'_>, places: Places<'_>) -> Vec<Buffer> {
    let mut parameters = VADecPictureParameterBufferVP9::new_zeroed();
    parameters.frame_width = frame.size.0 as u16;
    parameters.frame_height = frame.size.1 as u16;
    for (surface, slot) in parameters.reference_frames.iter_mut().zip(&frame.slots) {
        *surface = slot.map_or(VA_INVALID_SURFACE, places);
    }
    let mut slice = VASliceParameterBufferVP9::new_zeroed();
    slice.slice_data_size = frame.data.len() as u32;
    vec![
        Buffer::of(VAPictureParameterBufferType, &parameters),
        Buffer::of(VASliceParameterBufferType, &slice),
        Buffer::data(&frame.data),
    ]
}
