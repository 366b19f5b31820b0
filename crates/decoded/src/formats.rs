//! What the daemon advertises: one row per codec. Another codec or pixel format is another row.

use crate::wire::Codec;
use v4l2::uapi::controls::h264::{
    V4L2_MPEG_VIDEO_H264_LEVEL_6_2, V4L2_MPEG_VIDEO_H264_PROFILE_BASELINE,
    V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE,
    V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_HIGH, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH,
    V4L2_MPEG_VIDEO_H264_PROFILE_MAIN,
};
use v4l2::uapi::controls::mpeg2::{
    V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH, V4L2_MPEG_VIDEO_MPEG2_PROFILE_MAIN,
    V4L2_MPEG_VIDEO_MPEG2_PROFILE_SIMPLE,
};
use v4l2::uapi::controls::vp8::{
    V4L2_MPEG_VIDEO_VP8_PROFILE_0, V4L2_MPEG_VIDEO_VP8_PROFILE_1, V4L2_MPEG_VIDEO_VP8_PROFILE_2,
    V4L2_MPEG_VIDEO_VP8_PROFILE_3,
};
use v4l2::uapi::controls::vp9::{V4L2_MPEG_VIDEO_VP9_LEVEL_6_2, V4L2_MPEG_VIDEO_VP9_PROFILE_0};
use v4l2::uapi::kinora::{
    KINORA_DEC_ABI, KINORA_DEC_MAX_FORMATS, kinora_dec_advertise, kinora_dec_format,
};
use v4l2::uapi::videodev2::V4L2_PIX_FMT_NV12;
use zerocopy::FromZeros;

/// Largest width and height that is decoded: libavcodec goes further, but no client asks for it and
/// each doubling quadruples what a session may cost.
pub const MAX_SIDE: u32 = 4096;

struct Row {
    codec: Codec,
    /// Entries of the profile menu.
    profiles: &'static [u32],
    /// Entry of the level menu; 0 where there is none.
    max_level: u32,
}

/// H.264: 4:2:0 of 8 bit. FMO and ASO, which Baseline streams could have and hardly any has, fail
/// picture by picture; Extended profile (data partitions, SP and SI slices) is left out whole.
const ROWS: [Row; 4] = [
    Row {
        codec: Codec::Mpeg2,
        profiles: &[
            V4L2_MPEG_VIDEO_MPEG2_PROFILE_SIMPLE,
            V4L2_MPEG_VIDEO_MPEG2_PROFILE_MAIN,
        ],
        max_level: V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH,
    },
    Row {
        codec: Codec::H264,
        profiles: &[
            V4L2_MPEG_VIDEO_H264_PROFILE_BASELINE,
            V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE,
            V4L2_MPEG_VIDEO_H264_PROFILE_MAIN,
            V4L2_MPEG_VIDEO_H264_PROFILE_HIGH,
            V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_HIGH,
        ],
        max_level: V4L2_MPEG_VIDEO_H264_LEVEL_6_2,
    },
    Row {
        codec: Codec::Vp8,
        profiles: &[
            V4L2_MPEG_VIDEO_VP8_PROFILE_0,
            V4L2_MPEG_VIDEO_VP8_PROFILE_1,
            V4L2_MPEG_VIDEO_VP8_PROFILE_2,
            V4L2_MPEG_VIDEO_VP8_PROFILE_3,
        ],
        max_level: 0,
    },
    Row {
        codec: Codec::Vp9,
        profiles: &[V4L2_MPEG_VIDEO_VP9_PROFILE_0],
        max_level: V4L2_MPEG_VIDEO_VP9_LEVEL_6_2,
    },
];

/// All rows as the module takes them.
pub fn advertisement() -> kinora_dec_advertise {
    let mut formats = [kinora_dec_format::new_zeroed(); KINORA_DEC_MAX_FORMATS];
    for (format, row) in formats.iter_mut().zip(&ROWS) {
        *format = kinora_dec_format {
            coded: row.codec.fourcc(),
            raw: V4L2_PIX_FMT_NV12,
            min_width: 1,
            max_width: MAX_SIDE,
            step_width: 1,
            min_height: 1,
            max_height: MAX_SIDE,
            step_height: 1,
            profiles: row.profiles.iter().fold(0, |all, menu| all | 1 << menu),
            max_level: row.max_level,
            reserved: [0; 5],
        };
    }
    kinora_dec_advertise {
        abi: KINORA_DEC_ABI,
        count: ROWS.len() as u32,
        formats,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_has_one_row() {
        let advertised = advertisement();
        let rows = &advertised.formats[..advertised.count as usize];
        assert_eq!(rows.len(), Codec::ALL.len());
        for (codec, row) in Codec::ALL.into_iter().zip(rows) {
            assert_eq!(Codec::of(row.coded), Some(codec));
            assert_ne!(row.profiles, 0);
        }
        // Extended profile is entry 3 of H.264's menu.
        assert_eq!(
            rows[1].profiles,
            1 << 0 | 1 << 1 | 1 << 2 | 1 << 4 | 1 << 17
        );
    }
}
