//! VP9: controls of whole frames, superframes taken apart as the clients do it.

use crate::{Buffer, Context, MANNERS, Manner, buffers, containers, streams, surface};
use bitstream::vp9::{CodedFrame, Header, State, Superframe};
use v4l2::uapi::controls::vp9::{
    V4L2_CID_STATELESS_VP9_COMPRESSED_HDR, V4L2_CID_STATELESS_VP9_FRAME,
    v4l2_ctrl_vp9_compressed_hdr, v4l2_ctrl_vp9_frame,
};
use v4l2_request_drv_video::codec::Place;
use v4l2_request_drv_video::codec::vp9::{compressed, control};
use v4l2_request_drv_video::va::dec::{VADecPictureParameterBufferVP9, VASliceParameterBufferVP9};
use v4l2_request_drv_video::va::{
    VA_INVALID_SURFACE, VAPictureParameterBufferType, VAProfileVP9Profile0,
};
use zerocopy::FromZeros;

/// The packets of the carried stream.
pub fn packets() -> Vec<Vec<u8>> {
    let path = &streams(&["bear-vp9-odd-dimensions.webm"], "-", &[])[0];
    containers::packets(&std::fs::read(path).unwrap(), "V_VP9").unwrap()
}

/// The buffers of a frame with these pictures in the reference slots. Only what the driver looks at
/// is filled: the rest is in the frame.
pub fn given(
    manner: Manner,
    coded: &CodedFrame,
    slots: [Option<u64>; 8],
    data: &[u8],
) -> Vec<Buffer> {
    let mut picture = VADecPictureParameterBufferVP9::new_zeroed();
    picture.frame_width = coded.frame.frame_width_minus_1.wrapping_add(1);
    picture.frame_height = coded.frame.frame_height_minus_1.wrapping_add(1);
    picture.reference_frames = slots.map(|slot| slot.map_or(VA_INVALID_SURFACE, surface));
    let mut slice = VASliceParameterBufferVP9::new_zeroed();
    slice.slice_data_size = data.len() as u32;
    let picture = vec![Buffer::new(VAPictureParameterBufferType, &picture)];
    buffers(manner, picture, vec![(slice, data)], |_, _| {})
}

#[test]
fn every_frame_has_the_controls_of_its_headers() {
    let folders = ["conformance/", "streams/"];
    let all = streams(&["bear-vp9-odd-dimensions.webm"], "vp9/Profile 0", &folders);
    let mut read = 0;
    for path in all {
        let file = std::fs::read(&path).unwrap();
        let Some(packets) = containers::packets(&file, "V_VP9") else {
            continue;
        };
        // They differ in the order of buffers only.
        for manner in [Manner::Ffmpeg, Manner::Heaped] {
            assert!(MANNERS.contains(&manner));
            let mut context = Context::new(VAProfileVP9Profile0);
            let mut state = State::new();
            let frames = packets
                .iter()
                .flat_map(|packet| Superframe::parse(packet).unwrap());
            for (nth, data) in frames.enumerate() {
                let place = format!("{} {manner:?}, frame {nth}", path.display());
                // Streams of the conformance suite may begin with frames that lack references.
                let Ok(Header::Coded(coded)) = state.parse(data) else {
                    continue;
                };
                let fresh = context.fresh();
                let given = given(manner, &coded, state.references(), data);
                let unit = context
                    .prepare(&given, surface(fresh.nanos()), fresh)
                    .expect(&place);
                assert_eq!((unit.place, unit.timestamp), (Place::Frame, fresh));
                let frame: v4l2_ctrl_vp9_frame = context.control(V4L2_CID_STATELESS_VP9_FRAME);
                assert_eq!(frame, control(&coded.frame), "{place}");
                let header: v4l2_ctrl_vp9_compressed_hdr =
                    context.control(V4L2_CID_STATELESS_VP9_COMPRESSED_HDR);
                assert_eq!(header, compressed(&coded.compressed), "{place}");
                assert!(context.out == data, "{place}: data");
                state.decoded(&coded, fresh.nanos());
                read += 1;
            }
        }
    }
    assert!(read > 0);
}
