//! H.264: parameter sets without their profile, references by surface, fields in pairs.

use crate::{Buffer, Context, MANNERS, Manner, buffers, containers, streams, surface};
use bitstream::annexb::nal_units;
use bitstream::h264::{
    DecodeParams, Dpb, Error, Held, NalHeader, NalType, ParameterSets, PicOrder, Picture, Pps,
    RECOUNT_LSB_MINUS4, ScalingMatrix, SliceHeader, SliceType, Sps, parse_slice_header,
};
use v4l2::uapi::controls::h264::*;
use v4l2_request_drv_video::codec::h264::{
    params_control, pps_control, scaling_control, sps_control,
};
use v4l2_request_drv_video::codec::{Place, Refusal};
use v4l2_request_drv_video::va::dec::*;
use v4l2_request_drv_video::va::{
    VA_INVALID_SURFACE, VAIQMatrixBufferType, VAPictureParameterBufferType, VAProfileH264High,
};
use zerocopy::FromZeros;

/// A picture (frame or field) of a stream.
pub struct Coded<'a> {
    pub sps: Sps,
    pub pps: Pps,
    pub scaling: ScalingMatrix,
    /// Headers and NAL units of its primary slices.
    pub slices: Vec<(SliceHeader, &'a [u8])>,
}

impl Coded<'_> {
    pub fn first(&self) -> &SliceHeader {
        &self.slices[0].0
    }
}

/// The pictures of a byte stream (7.4.1.2.4).
pub fn pictures(stream: &[u8]) -> Result<Vec<Coded<'_>>, Error> {
    let mut sets = ParameterSets::new();
    let mut pictures: Vec<Coded<'_>> = Vec::new();
    let mut fresh = true;
    for nal in nal_units(stream) {
        match NalHeader::parse(nal)?.kind() {
            NalType::Slice | NalType::IdrSlice => {}
            NalType::DataPartition(_) => return Err(Error::Unsupported("data partitions")),
            NalType::Sps | NalType::Pps | NalType::Sei | NalType::Delimiter => {
                sets.add(nal)?;
                fresh = true;
                continue;
            }
            _ => continue,
        }
        let slice = sets.parse_slice_header(nal)?;
        if slice.redundant_pic_cnt > 0 {
            continue;
        }
        if matches!(slice.slice_type, SliceType::Sp | SliceType::Si) {
            return Err(Error::Unsupported("SP and SI slices"));
        }
        let last = pictures.last_mut();
        if let Some(last) = last.filter(|last| !fresh && !slice.starts_picture(last.first())) {
            last.slices.push((slice, nal));
            continue;
        }
        let (sps, pps) = sets.pps(slice.pic_parameter_set_id)?;
        let (pps, scaling) = pps.controls(sps);
        if pps.num_slice_groups_minus1 > 0 {
            return Err(Error::Unsupported("slice groups"));
        }
        let plain = sps.sps.chroma_format_idc == 1 && sps.sps.bit_depth_luma_minus8 == 0;
        if !plain {
            return Err(Error::Unsupported("other than 4:2:0 of 8 bits"));
        }
        pictures.push(Coded {
            sps: sps.sps.clone(),
            pps,
            scaling,
            slices: vec![(slice, nal)],
        });
        fresh = false;
    }
    Ok(pictures)
}

fn bits(rows: &[(u32, u32)]) -> u32 {
    rows.iter().fold(0, |all, (value, at)| all | value << at)
}

fn no_picture() -> VAPictureH264 {
    let mut none = VAPictureH264::new_zeroed();
    (none.picture_id, none.flags) = (VA_INVALID_SURFACE, VA_PICTURE_H264_INVALID);
    none
}

/// `TOP` and `BOTTOM` flags of fields; a frame has neither.
fn field_flags(fields: u8) -> u32 {
    [
        0,
        VA_PICTURE_H264_TOP_FIELD,
        VA_PICTURE_H264_BOTTOM_FIELD,
        0,
    ][usize::from(fields)]
}

fn reference(manner: Manner, held: &Held, picture: &Picture) -> VAPictureH264 {
    let mut reference = VAPictureH264::new_zeroed();
    // FFmpeg has a surface for frames that it infers, and nothing was decoded into it.
    reference.picture_id = if held.non_existing {
        0x700_0000 + u32::from(held.frame_num)
    } else {
        surface(held.id)
    };
    reference.frame_idx = held.frame_num.into();
    reference.flags = field_flags(held.fields);
    reference.flags |= if held.long_term {
        VA_PICTURE_H264_LONG_TERM_REFERENCE
    } else {
        VA_PICTURE_H264_SHORT_TERM_REFERENCE
    };
    (reference.TopFieldOrderCnt, reference.BottomFieldOrderCnt) = (held.poc.top, held.poc.bottom);
    if manner == Manner::GStreamer && held.id == picture.id {
        // It takes the frame for whole as soon as its second field begins.
        reference.flags &= !(VA_PICTURE_H264_TOP_FIELD | VA_PICTURE_H264_BOTTOM_FIELD);
        (reference.TopFieldOrderCnt, reference.BottomFieldOrderCnt) =
            (picture.poc.top, picture.poc.bottom);
    }
    reference
}

/// The buffers of a picture.
pub fn given(manner: Manner, coded: &Coded<'_>, picture: &Picture) -> Vec<Buffer> {
    let (sps, pps, first) = (&coded.sps, &coded.pps, coded.first());
    let mut parameters = VAPictureParameterBufferH264::new_zeroed();
    let current = &mut parameters.CurrPic;
    current.picture_id = surface(picture.id);
    current.frame_idx = first.frame_num.into();
    current.flags = match (first.field_pic, first.bottom_field) {
        (false, _) => 0,
        (true, false) => VA_PICTURE_H264_TOP_FIELD,
        (true, true) => VA_PICTURE_H264_BOTTOM_FIELD,
    };
    (current.TopFieldOrderCnt, current.BottomFieldOrderCnt) = match manner {
        Manner::GStreamer if first.field_pic && first.bottom_field => (0, picture.poc.bottom),
        Manner::GStreamer if first.field_pic => (picture.poc.top, 0),
        _ => (picture.poc.top, picture.poc.bottom),
    };
    parameters.ReferenceFrames = [no_picture(); 16];
    let named = picture
        .held
        .iter()
        .filter(|held| manner == Manner::Ffmpeg || !held.non_existing);
    // Short-term references first.
    let mut named: Vec<&Held> = named.collect();
    named.sort_by_key(|held| held.long_term);
    for (place, held) in parameters.ReferenceFrames.iter_mut().zip(named) {
        *place = reference(manner, held, picture);
    }
    parameters.picture_width_in_mbs_minus1 = sps.pic_width_in_mbs_minus1;
    parameters.picture_height_in_mbs_minus1 = sps.frame_height_in_mbs() as u16 - 1;
    parameters.num_ref_frames = sps.max_num_ref_frames;
    parameters.seq_fields = bits(&[
        (sps.chroma_format_idc.into(), 0),
        (sps.gaps_in_frame_num_value_allowed.into(), 3),
        (sps.frame_mbs_only.into(), 4),
        (sps.mb_adaptive_frame_field.into(), 5),
        (sps.direct_8x8_inference.into(), 6),
        (sps.log2_max_frame_num_minus4.into(), 8),
        (sps.pic_order_cnt_type.into(), 12),
        (sps.log2_max_pic_order_cnt_lsb_minus4.into(), 14),
        (sps.delta_pic_order_always_zero.into(), 18),
    ]);
    parameters.pic_init_qp_minus26 = pps.pic_init_qp_minus26;
    parameters.pic_init_qs_minus26 = pps.pic_init_qs_minus26;
    parameters.chroma_qp_index_offset = pps.chroma_qp_index_offset;
    parameters.second_chroma_qp_index_offset = pps.second_chroma_qp_index_offset;
    parameters.pic_fields = bits(&[
        (pps.entropy_coding_mode.into(), 0),
        (pps.weighted_pred.into(), 1),
        (pps.weighted_bipred_idc.into(), 2),
        (pps.transform_8x8_mode.into(), 4),
        (first.field_pic.into(), 5),
        (pps.constrained_intra_pred.into(), 6),
        (pps.bottom_field_pic_order_in_frame_present.into(), 7),
        (pps.deblocking_filter_control_present.into(), 8),
        (pps.redundant_pic_cnt_present.into(), 9),
        ((first.nal.ref_idc != 0).into(), 10),
    ]);
    parameters.frame_num = first.frame_num;
    let mut scaling = VAIQMatrixBufferH264::new_zeroed();
    scaling.ScalingList4x4 = coded.scaling.scaling_list_4x4;
    scaling.ScalingList8x8 = [
        coded.scaling.scaling_list_8x8[0],
        coded.scaling.scaling_list_8x8[1],
    ];
    let picture = vec![
        Buffer::new(VAPictureParameterBufferType, &parameters),
        Buffer::new(VAIQMatrixBufferType, &scaling),
    ];
    let slices = coded.slices.iter().map(|(slice, nal)| {
        let mut parameters = VASliceParameterBufferH264::new_zeroed();
        parameters.slice_data_size = nal.len() as u32;
        let [l0, l1] = slice.num_ref_idx_active;
        parameters.num_ref_idx_l0_active_minus1 = l0.saturating_sub(1);
        parameters.num_ref_idx_l1_active_minus1 = l1.saturating_sub(1);
        (parameters, *nal)
    });
    buffers(manner, picture, slices.collect(), |slice, at| {
        slice.slice_data_offset = at;
    })
}

/// The parameter sets' controls, with what VA does not carry as it is in `found`.
fn expected_sets(
    coded: &Coded<'_>,
    found: (&v4l2_ctrl_h264_sps, &v4l2_ctrl_h264_pps),
) -> (v4l2_ctrl_h264_sps, v4l2_ctrl_h264_pps) {
    let mut sps = sps_control(&coded.sps);
    let (found_sps, found_pps) = found;
    // Taken from the context's profile and the size.
    sps.profile_idc = found_sps.profile_idc;
    sps.constraint_set_flags = found_sps.constraint_set_flags;
    sps.level_idc = found_sps.level_idc;
    // There is one SPS at a time.
    sps.seq_parameter_set_id = 0;
    if coded.sps.pic_order_cnt_type == 1 {
        // Slices have been written anew.
        sps.pic_order_cnt_type = 0;
        sps.log2_max_pic_order_cnt_lsb_minus4 = RECOUNT_LSB_MINUS4;
        sps.flags &= !V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO;
        sps.num_ref_frames_in_pic_order_cnt_cycle = 0;
        sps.offset_for_ref_frame = [0; 255];
        sps.offset_for_non_ref_pic = 0;
        sps.offset_for_top_to_bottom_field = 0;
    }
    let mut pps = pps_control(&coded.pps);
    pps.seq_parameter_set_id = 0;
    if coded.sps.pic_order_cnt_type == 1 {
        pps.flags |= V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT;
    }
    // A default count that no slice has used may be any.
    let uses = |list| {
        coded.slices.iter().any(|(slice, _)| {
            slice.slice_type.ref_lists() > list && !slice.num_ref_idx_active_override
        })
    };
    if !uses(0) {
        pps.num_ref_idx_l0_default_active_minus1 = found_pps.num_ref_idx_l0_default_active_minus1;
    }
    if !uses(1) {
        pps.num_ref_idx_l1_default_active_minus1 = found_pps.num_ref_idx_l1_default_active_minus1;
    }
    // Flat lists that are sent are none.
    if coded.scaling == ScalingMatrix::FLAT {
        pps.flags &= !V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT;
    }
    (sps, pps)
}

/// The entries of a DPB that name a picture, in the order of their names: theirs means nothing.
fn named(params: &v4l2_ctrl_h264_decode_params) -> Vec<v4l2_h264_dpb_entry> {
    let valid = |entry: &&v4l2_h264_dpb_entry| {
        entry.flags & V4L2_H264_DPB_ENTRY_FLAG_VALID != 0 && entry.reference_ts != 0
    };
    let mut entries: Vec<_> = params.dpb.iter().filter(valid).copied().collect();
    entries.sort_by_key(|entry| entry.reference_ts);
    entries
}

fn without_dpb(params: v4l2_ctrl_h264_decode_params) -> v4l2_ctrl_h264_decode_params {
    let none = v4l2_ctrl_h264_decode_params::new_zeroed().dpb;
    v4l2_ctrl_h264_decode_params {
        dpb: none,
        ..params
    }
}

fn check(place: &str, context: &Context, coded: &Coded<'_>, picture: &Picture) {
    let found_sps = context.control(V4L2_CID_STATELESS_H264_SPS);
    let found_pps = context.control(V4L2_CID_STATELESS_H264_PPS);
    let (sps, pps) = expected_sets(coded, (&found_sps, &found_pps));
    assert_eq!(found_sps, sps, "{place}");
    assert_eq!(found_pps, pps, "{place}");
    let scaling: v4l2_ctrl_h264_scaling_matrix =
        context.control(V4L2_CID_STATELESS_H264_SCALING_MATRIX);
    assert_eq!(scaling, scaling_control(&coded.scaling), "{place}");
    let found: v4l2_ctrl_h264_decode_params =
        context.control(V4L2_CID_STATELESS_H264_DECODE_PARAMS);
    let expected = params_control(&picture.decode_params(coded.first()));
    assert_eq!(named(&found), named(&expected), "{place}");
    if coded.sps.pic_order_cnt_type == 1 {
        check_recounted(place, context, coded, picture);
        return;
    }
    assert_eq!(without_dpb(found), without_dpb(expected), "{place}");
    let data: Vec<u8> = coded
        .slices
        .iter()
        .flat_map(|(_, nal)| [&[0, 0, 1], *nal].concat())
        .collect();
    assert!(context.out == data, "{place}: data");
}

/// The slices of `pic_order_cnt_type` 1, written anew: with the controls' parameter sets whoever reads
/// them comes to the counts of the picture.
fn check_recounted(place: &str, context: &Context, coded: &Coded<'_>, picture: &Picture) {
    let found: v4l2_ctrl_h264_decode_params =
        context.control(V4L2_CID_STATELESS_H264_DECODE_PARAMS);
    let sps = Sps {
        pic_order_cnt_type: 0,
        log2_max_pic_order_cnt_lsb_minus4: RECOUNT_LSB_MINUS4,
        ..coded.sps.clone()
    };
    let pps = Pps {
        bottom_field_pic_order_in_frame_present: true,
        ..coded.pps.clone()
    };
    let nals: Vec<&[u8]> = nal_units(&context.out).collect();
    assert_eq!(nals.len(), coded.slices.len(), "{place}");
    for (nal, (slice, _)) in nals.iter().zip(&coded.slices) {
        let again = parse_slice_header(nal, &sps, &pps).expect(place);
        assert_eq!(again.first_mb_in_slice, slice.first_mb_in_slice, "{place}");
        let expected = params_control(&DecodeParams {
            top_field_order_cnt: picture.poc.top,
            bottom_field_order_cnt: picture.poc.bottom,
            ..again.decode_params()
        });
        if slice == coded.first() {
            assert_eq!(without_dpb(found), without_dpb(expected), "{place}");
        }
        // What the first picture of a type 0 stream would count from is 0.
        let mut order = PicOrder::new();
        let poc = order.next(&sps, &again).expect(place);
        let low = |count: i32| count as u16;
        assert_eq!(low(poc.top), low(picture.poc.top), "{place}");
        assert_eq!(low(poc.bottom), low(picture.poc.bottom), "{place}");
    }
}

/// What of H.264 the streams have shown.
#[derive(Debug, Default)]
struct Shown {
    pictures: usize,
    second_fields: usize,
    long_terms: usize,
    several_slices: usize,
    scaling: usize,
}

#[test]
fn every_picture_has_the_controls_of_its_headers() {
    let carried = ["64x64-I-P-B-P.h264", "cars_320x240.h264", "clip-a.h264"];
    let folders = ["conformance/", "streams/", "ingest/"];
    let mut shown = Shown::default();
    for path in streams(&carried, "h264/", &folders) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let file = std::fs::read(&path).unwrap();
        let stream = match extension.unwrap_or_default() {
            "264" | "h264" | "jsv" | "avc" => file,
            "ts" => containers::elementary(&file),
            _ => continue,
        };
        // Streams of what is not decoded here.
        let Ok(pictures) = pictures(&stream) else {
            continue;
        };
        for manner in MANNERS {
            let mut context = Context::new(VAProfileH264High);
            let mut dpb = Dpb::new();
            for (nth, coded) in pictures.iter().enumerate() {
                let place = format!("{} {manner:?}, picture {nth}", path.display());
                let fresh = context.fresh();
                let first = coded.first();
                let picture = dpb.decode(fresh.nanos(), &coded.sps, first).expect(&place);
                let unit = context
                    .prepare(&given(manner, coded, &picture), surface(picture.id), fresh)
                    .expect(&place);
                let expected = match (first.field_pic, picture.is_second_field) {
                    (false, _) => Place::Frame,
                    (true, false) => Place::FirstField,
                    (true, true) => Place::SecondField,
                };
                assert_eq!(unit.place, expected, "{place}");
                assert_eq!(unit.timestamp.nanos(), picture.id, "{place}");
                assert_eq!(unit.size, coded.sps.size(), "{place}");
                check(&place, &context, coded, &picture);
                shown.pictures += 1;
                shown.second_fields += usize::from(picture.is_second_field);
                let any = |what: fn(&Held) -> bool| usize::from(picture.held.iter().any(what));
                shown.long_terms += any(|held| held.long_term);
                shown.several_slices += usize::from(coded.slices.len() > 1);
                shown.scaling += usize::from(coded.pps.scaling_matrix_present);
            }
        }
    }
    assert!(shown.pictures > 0);
    if std::env::var_os("KINORA_MEDIA").is_some() {
        let seldom = [
            shown.second_fields,
            shown.long_terms,
            shown.several_slices,
            shown.scaling,
        ];
        assert!(!seldom.contains(&0), "{shown:?}");
    }
}

/// The carried stream's pictures with what their references are, up to `count`.
fn decoded(stream: &[u8], count: usize) -> Vec<(Coded<'_>, Picture)> {
    let mut dpb = Dpb::new();
    let pictures = pictures(stream).unwrap().into_iter().take(count);
    let numbered = pictures.zip(1..).map(|(coded, number): (_, u64)| {
        let picture = dpb.decode(number * 1000, &coded.sps, coded.first());
        (coded, picture.unwrap())
    });
    numbered.collect()
}

/// The carried stream of B pictures.
pub fn stream() -> Vec<u8> {
    std::fs::read(&streams(&["64x64-I-P-B-P.h264"], "-", &[])[0]).unwrap()
}

/// FFmpeg infers frames for a gap into surfaces that hold what was in them before: such a reference
/// is of nobody.
#[test]
fn a_surface_with_an_older_picture_is_no_reference() {
    let stream = stream();
    let decoded = decoded(&stream, 2);
    let mut context = Context::new(VAProfileH264High);
    for (index, (coded, picture)) in decoded.iter().enumerate() {
        let mut picture = *picture;
        if index == 1 {
            for held in picture.held.iter_mut() {
                held.frame_num += 1;
            }
        }
        let fresh = context.fresh();
        let given = given(Manner::Ffmpeg, coded, &picture);
        context.prepare(&given, surface(picture.id), fresh).unwrap();
    }
    let params: v4l2_ctrl_h264_decode_params =
        context.control(V4L2_CID_STATELESS_H264_DECODE_PARAMS);
    assert_eq!(named(&params), []);
    assert_eq!(params.dpb[0].flags & 1, V4L2_H264_DPB_ENTRY_FLAG_VALID);
}

#[test]
fn a_slice_of_another_picture_is_refused() {
    let stream = stream();
    let mut decoded = decoded(&stream, 2);
    let (other, _) = decoded.pop().unwrap();
    let (mut coded, picture) = decoded.pop().unwrap();
    let count = coded.slices.len();
    coded.slices.extend(other.slices);
    let mut context = Context::new(VAProfileH264High);
    let fresh = context.fresh();
    let given = given(Manner::Ffmpeg, &coded, &picture);
    assert_eq!(
        context.prepare(&given, surface(picture.id), fresh),
        Err(Refusal::OtherPicture { slice: count })
    );
}

#[test]
fn a_start_code_ahead_of_a_slice_is_left_out() {
    let stream = stream();
    let (coded, picture) = decoded(&stream, 1).pop().unwrap();
    let marked: Vec<Vec<u8>> = (coded.slices.iter())
        .map(|(_, nal)| [&[0, 0, 0, 1], *nal].concat())
        .collect();
    let with_codes = Coded {
        sps: coded.sps.clone(),
        pps: coded.pps.clone(),
        scaling: coded.scaling.clone(),
        slices: (coded.slices.iter().zip(&marked))
            .map(|((slice, _), nal)| (slice.clone(), nal.as_slice()))
            .collect(),
    };
    let mut context = Context::new(VAProfileH264High);
    let fresh = context.fresh();
    let given = given(Manner::Ffmpeg, &with_codes, &picture);
    context.prepare(&given, surface(picture.id), fresh).unwrap();
    check("start code", &context, &coded, &picture);
}

/// Headers of type 2, which have no order count elements, are those of a type 1 without any.
#[test]
fn slices_of_order_count_type_1_are_written_anew() {
    let stream = stream();
    let mut context = Context::new(VAProfileH264High);
    for (mut coded, picture) in decoded(&stream, 4) {
        assert_eq!(coded.sps.pic_order_cnt_type, 2);
        coded.sps.pic_order_cnt_type = 1;
        coded.sps.delta_pic_order_always_zero = true;
        let fresh = context.fresh();
        let given = given(Manner::Ffmpeg, &coded, &picture);
        context.prepare(&given, surface(picture.id), fresh).unwrap();
        check("type 1", &context, &coded, &picture);
    }
}
