//! MPEG-2: controls of frames and fields.

use crate::{Buffer, Context, MANNERS, Manner, buffers, containers, streams, surface};
use bitstream::mpeg2::{
    CODING_TYPE_B, CODING_TYPE_I, CodedPicture, FRAME, State, pictures, slices,
};
use v4l2::uapi::controls::mpeg2::*;
use v4l2_request_drv_video::codec::Place;
use v4l2_request_drv_video::codec::mpeg2::{header, quantisation, sequence};
use v4l2_request_drv_video::va::dec::{
    VAIQMatrixBufferMPEG2, VAPictureParameterBufferMPEG2, VASliceParameterBufferMPEG2,
};
use v4l2_request_drv_video::va::{
    VA_INVALID_ID, VAIQMatrixBufferType, VAPictureParameterBufferType, VAProfileMPEG2Main,
};
use zerocopy::FromZeros;

/// The carried stream.
pub fn stream() -> Vec<u8> {
    let path = &streams(&["sample_h262_mpeg_audio.ts"], "-", &[])[0];
    containers::elementary(&std::fs::read(path).unwrap())
}

/// The buffers of a picture, `before` being the frames that it may be predicted from as a client
/// knows them.
pub fn given(manner: Manner, coded: &CodedPicture<'_>) -> Vec<Buffer> {
    let picture = &coded.picture;
    let mut parameters = VAPictureParameterBufferMPEG2::new_zeroed();
    parameters.horizontal_size = coded.sequence.horizontal_size;
    parameters.vertical_size = coded.sequence.vertical_size;
    let reference = |id: Option<u64>| id.map_or(VA_INVALID_ID, surface);
    parameters.forward_reference_picture = VA_INVALID_ID;
    parameters.backward_reference_picture = VA_INVALID_ID;
    if picture.picture_coding_type != CODING_TYPE_I {
        parameters.forward_reference_picture = reference(coded.prediction.forward);
    }
    if picture.picture_coding_type == CODING_TYPE_B {
        parameters.backward_reference_picture = reference(coded.prediction.backward);
    }
    parameters.picture_coding_type = picture.picture_coding_type.into();
    let codes = picture.f_code.as_flattened().iter();
    parameters.f_code = codes.fold(0, |all, code| all << 4 | i32::from(*code));
    let is_first = picture.picture_structure == FRAME || !coded.prediction.second_field;
    parameters.picture_coding_extension = u32::from(picture.intra_dc_precision)
        | u32::from(picture.picture_structure) << 2
        | (picture.flags & 0xff) << 4
        | u32::from(is_first) << 12;
    let mut matrices = VAIQMatrixBufferMPEG2::new_zeroed();
    matrices.load_intra_quantiser_matrix = 1;
    matrices.load_non_intra_quantiser_matrix = 1;
    matrices.intra_quantiser_matrix = coded.quantisation.intra_quantiser_matrix;
    matrices.non_intra_quantiser_matrix = coded.quantisation.non_intra_quantiser_matrix;
    // GStreamer loads those of chroma only where they are in the stream.
    if manner != Manner::GStreamer {
        matrices.load_chroma_intra_quantiser_matrix = 1;
        matrices.load_chroma_non_intra_quantiser_matrix = 1;
        matrices.chroma_intra_quantiser_matrix = coded.quantisation.chroma_intra_quantiser_matrix;
        matrices.chroma_non_intra_quantiser_matrix =
            coded.quantisation.chroma_non_intra_quantiser_matrix;
    }
    let picture = vec![
        Buffer::new(VAPictureParameterBufferType, &parameters),
        Buffer::new(VAIQMatrixBufferType, &matrices),
    ];
    let slices = slices(coded.slices, coded.sequence.vertical_size).map(|slice| {
        let slice = slice.unwrap();
        let mut parameters = VASliceParameterBufferMPEG2::new_zeroed();
        parameters.slice_data_size = slice.bytes.len() as u32;
        parameters.slice_vertical_position = slice.row.into();
        (parameters, slice.bytes)
    });
    buffers(manner, picture, slices.collect(), |slice, at| {
        slice.slice_data_offset = at;
    })
}

#[test]
fn every_picture_has_the_controls_of_its_headers() {
    let folders = ["conformance/", "streams/", "ingest/"];
    let carried = [
        "sample_h262_mpeg_audio.ts",
        "field-pictures.m2v",
        "dual-prime.m2v",
    ];
    let all = streams(&carried, "mpeg2video/", &folders);
    let mut read = 0;
    for path in all {
        let stream = containers::elementary(&std::fs::read(&path).unwrap());
        for manner in MANNERS {
            let mut context = Context::new(VAProfileMPEG2Main);
            let mut state = State::new();
            let mut name = 0;
            for (nth, unit) in pictures(&stream).enumerate() {
                let place = format!("{} {manner:?}, picture {nth}", path.display());
                let coded = state.parse(unit).expect(&place);
                let fresh = context.fresh();
                if !coded.prediction.second_field {
                    name = fresh.nanos();
                }
                let unit = context
                    .prepare(&given(manner, &coded), surface(name), fresh)
                    .expect(&place);
                let structure = coded.picture.picture_structure;
                let expected = match (structure, coded.prediction.second_field) {
                    (FRAME, _) => Place::Frame,
                    (_, false) => Place::FirstField,
                    (_, true) => Place::SecondField,
                };
                assert_eq!((unit.place, unit.timestamp.nanos()), (expected, name));
                assert!(context.out == coded.slices, "{place}: data");

                let mut expected = sequence(&coded.sequence);
                let found: v4l2_ctrl_mpeg2_sequence =
                    context.control(V4L2_CID_STATELESS_MPEG2_SEQUENCE);
                // VA has neither, and no decoder needs them.
                expected.vbv_buffer_size = 0;
                expected.profile_and_level_indication = found.profile_and_level_indication;
                assert_eq!(found, expected, "{place}");
                let found: v4l2_ctrl_mpeg2_picture =
                    context.control(V4L2_CID_STATELESS_MPEG2_PICTURE);
                assert_eq!(found, header(&coded.picture), "{place}");
                let found: v4l2_ctrl_mpeg2_quantisation =
                    context.control(V4L2_CID_STATELESS_MPEG2_QUANTISATION);
                assert_eq!(found, quantisation(&coded.quantisation), "{place}");
                state.decoded(&coded, name);
                read += 1;
            }
        }
    }
    assert!(read > 0);
}
