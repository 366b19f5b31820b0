//! MPEG-2 video, ITU-T H.262 (02/2012): VA carries all but the sequence's profile, level, VBV size
//! and `progressive_sequence`; matrices only when it likes to.
//!
//! OUTPUT gets the slices, each from its start code on. Frames come whole or as two pictures with
//! one surface.

use super::{Controls, FirstField, Output, Picture, Place, Refusal, Slice, Unit, named, value};
use crate::va::dec::{
    VAIQMatrixBufferMPEG2, VAPictureParameterBufferMPEG2, VASliceParameterBufferMPEG2,
};
use crate::va::{self, VAIQMatrixBufferType, VAPictureParameterBufferType, VAProfile};
use bitstream::mpeg2::{self, Quantisation, start_code};
use v4l2::device::Control;
use v4l2::uapi::controls::mpeg2::*;
use zerocopy::FromZeros;

/// What is kept over a stream.
#[derive(Debug)]
pub(super) struct Mpeg2 {
    profile: VAProfile,
    first_field: Option<FirstField>,
    /// Whether a picture of the sequence could not be one of a progressive sequence.
    interlaced: bool,
    sequence: v4l2_ctrl_mpeg2_sequence,
    picture: v4l2_ctrl_mpeg2_picture,
    quantisation: v4l2_ctrl_mpeg2_quantisation,
}

impl Mpeg2 {
    pub(super) fn new(profile: VAProfile) -> Self {
        Mpeg2 {
            profile,
            first_field: None,
            interlaced: false,
            sequence: v4l2_ctrl_mpeg2_sequence::new_zeroed(),
            picture: v4l2_ctrl_mpeg2_picture::new_zeroed(),
            quantisation: quantisation(&Quantisation::DEFAULT),
        }
    }

    pub(super) fn prepare(
        &mut self,
        given: &Picture<'_>,
        out: &mut Output<'_>,
    ) -> Result<Unit, Refusal> {
        let parameters = given.required(VAPictureParameterBufferType)?;
        let mut picture = picture(&parameters)?;
        let is_bottom = picture.picture_structure == V4L2_MPEG2_PIC_BOTTOM_FIELD;
        let first = self.first_field.filter(|first| {
            picture.picture_structure != V4L2_MPEG2_PIC_FRAME
                && parameters.picture_coding_extension & IS_FIRST_FIELD == 0
                && first.is_completed_by(given.target.surface, is_bottom)
        });
        let (place, timestamp) = match (picture.picture_structure, first) {
            (V4L2_MPEG2_PIC_FRAME, _) => (Place::Frame, given.target.fresh),
            (_, None) => (Place::FirstField, given.target.fresh),
            (_, Some(first)) => (Place::SecondField, first.timestamp),
        };
        if picture.picture_coding_type != V4L2_MPEG2_PIC_CODING_TYPE_I {
            let forward = given.decoded(parameters.forward_reference_picture);
            // At the beginning of a stream a second field has nothing but the first (7.6.2.1).
            picture.forward_ref_ts = named(forward.or(first.map(|first| first.timestamp)));
        }
        if picture.picture_coding_type == V4L2_MPEG2_PIC_CODING_TYPE_B {
            picture.backward_ref_ts = named(given.decoded(parameters.backward_reference_picture));
        }
        let quantisation = match given.optional(VAIQMatrixBufferType)? {
            Some(matrices) => loaded(&self.quantisation, &matrices)?,
            None => self.quantisation,
        };
        let rows = slices(given, out)?;

        let (width, height) = (parameters.horizontal_size, parameters.vertical_size);
        let same = (width, height) == (self.sequence.horizontal_size, self.sequence.vertical_size);
        self.interlaced = same && self.interlaced || !may_be_progressive(&picture, height, rows);
        self.sequence = v4l2_ctrl_mpeg2_sequence {
            horizontal_size: width,
            vertical_size: height,
            vbv_buffer_size: 0,
            profile_and_level_indication: profile_and_level(self.profile, width, height),
            chroma_format: mpeg2::CHROMA_420,
            flags: if self.interlaced {
                0
            } else {
                V4L2_MPEG2_SEQ_FLAG_PROGRESSIVE
            },
        };
        self.picture = picture;
        self.quantisation = quantisation;
        self.first_field = (place == Place::FirstField).then_some(FirstField {
            surface: given.target.surface,
            timestamp,
            is_bottom,
        });
        Ok(Unit {
            length: out.length,
            place,
            timestamp,
            size: (width.into(), height.into()),
        })
    }

    pub(super) fn controls(&self) -> Controls<'_> {
        Controls::from([
            Control::compound(V4L2_CID_STATELESS_MPEG2_SEQUENCE, &self.sequence),
            Control::compound(V4L2_CID_STATELESS_MPEG2_PICTURE, &self.picture),
            Control::compound(V4L2_CID_STATELESS_MPEG2_QUANTISATION, &self.quantisation),
        ])
    }

    pub(super) fn start_controls(&self) -> Controls<'_> {
        Controls::from([Control::compound(
            V4L2_CID_STATELESS_MPEG2_SEQUENCE,
            &self.sequence,
        )])
    }
}

/// `is_first_field` of `picture_coding_extension`.
const IS_FIRST_FIELD: u32 = 1 << 12;

/// The flags of `picture_coding_extension` are those of the control in the same order.
const FLAGS_SHIFT: u32 = 4;

fn picture(parameters: &VAPictureParameterBufferMPEG2) -> Result<v4l2_ctrl_mpeg2_picture, Refusal> {
    let wrong = |field, wrong: i64| value::<VAPictureParameterBufferMPEG2>(field, wrong);
    for (field, size) in [
        ("horizontal_size", parameters.horizontal_size),
        ("vertical_size", parameters.vertical_size),
    ] {
        if !(1..1 << 14).contains(&size) {
            return Err(wrong(field, size.into()));
        }
    }
    let coding_type = parameters.picture_coding_type;
    if !(1..=3).contains(&coding_type) {
        return Err(wrong("picture_coding_type", coding_type.into()));
    }
    let extension = parameters.picture_coding_extension;
    let structure = extension >> 2 & 3;
    if structure == 0 {
        return Err(wrong("picture_structure", 0));
    }
    if !(0..1 << 16).contains(&parameters.f_code) {
        return Err(wrong("f_code", parameters.f_code.into()));
    }
    let f_code = |shift: u32| (parameters.f_code >> shift & 15) as u8;
    Ok(v4l2_ctrl_mpeg2_picture {
        backward_ref_ts: 0,
        forward_ref_ts: 0,
        flags: extension >> FLAGS_SHIFT & 0xff,
        f_code: [[f_code(12), f_code(8)], [f_code(4), f_code(0)]],
        picture_coding_type: coding_type as u8,
        picture_structure: structure as u8,
        intra_dc_precision: (extension & 3) as u8,
        reserved: [0; 5],
    })
}

/// The matrices, where those that are not loaded stay. Chroma has those of luma unless it has its
/// own (6.3.11), which only other formats than 4:2:0 use.
fn loaded(
    before: &v4l2_ctrl_mpeg2_quantisation,
    given: &VAIQMatrixBufferMPEG2,
) -> Result<v4l2_ctrl_mpeg2_quantisation, Refusal> {
    let load = |flag: i32, field, matrix: &[u8; 64]| match (flag, matrix.contains(&0)) {
        (0, _) => Ok(None),
        (_, false) => Ok(Some(*matrix)),
        (_, true) => Err(value::<VAIQMatrixBufferMPEG2>(field, 0)),
    };
    let intra = load(
        given.load_intra_quantiser_matrix,
        "intra_quantiser_matrix",
        &given.intra_quantiser_matrix,
    )?;
    let non_intra = load(
        given.load_non_intra_quantiser_matrix,
        "non_intra_quantiser_matrix",
        &given.non_intra_quantiser_matrix,
    )?;
    let chroma_intra = load(
        given.load_chroma_intra_quantiser_matrix,
        "chroma_intra_quantiser_matrix",
        &given.chroma_intra_quantiser_matrix,
    )?;
    let chroma_non_intra = load(
        given.load_chroma_non_intra_quantiser_matrix,
        "chroma_non_intra_quantiser_matrix",
        &given.chroma_non_intra_quantiser_matrix,
    )?;
    Ok(v4l2_ctrl_mpeg2_quantisation {
        intra_quantiser_matrix: intra.unwrap_or(before.intra_quantiser_matrix),
        non_intra_quantiser_matrix: non_intra.unwrap_or(before.non_intra_quantiser_matrix),
        chroma_intra_quantiser_matrix: chroma_intra
            .or(intra)
            .unwrap_or(before.chroma_intra_quantiser_matrix),
        chroma_non_intra_quantiser_matrix: chroma_non_intra
            .or(non_intra)
            .unwrap_or(before.chroma_non_intra_quantiser_matrix),
    })
}

/// Copies the slices and tells how many rows of macroblocks they reach.
fn slices(given: &Picture<'_>, out: &mut Output<'_>) -> Result<u8, Refusal> {
    let mut rows = 0;
    for slice in given.slices()? {
        let slice: Slice<'_, VASliceParameterBufferMPEG2> = slice?;
        let bytes = slice.bytes()?;
        let &[
            0,
            0,
            1,
            row @ start_code::FIRST_SLICE..=start_code::LAST_SLICE,
            ..,
        ] = bytes
        else {
            // The first bytes as a number, as far as there are any.
            let head = bytes.iter().take(4);
            let head = head.fold(0, |head: i64, byte| head << 8 | i64::from(*byte));
            return Err(value::<VASliceParameterBufferMPEG2>(
                "slice_start_code",
                head,
            ));
        };
        rows = rows.max(row);
        out.append(slice.number, bytes)?;
    }
    Ok(rows)
}

/// Whether a picture can be one of a progressive sequence (6.3.5, 6.3.10). Frames of other
/// sequences have an even number of macroblock rows, even where the last is not seen, so where the
/// height does not tell that number itself the slices do.
fn may_be_progressive(picture: &v4l2_ctrl_mpeg2_picture, height: u16, rows: u8) -> bool {
    let needed = V4L2_MPEG2_PIC_FLAG_PROGRESSIVE | V4L2_MPEG2_PIC_FLAG_FRAME_PRED_DCT;
    let shown = V4L2_MPEG2_PIC_FLAG_TOP_FIELD_FIRST | V4L2_MPEG2_PIC_FLAG_REPEAT_FIRST;
    picture.picture_structure == V4L2_MPEG2_PIC_FRAME
        && picture.flags & needed == needed
        && picture.flags & shown != V4L2_MPEG2_PIC_FLAG_TOP_FIELD_FIRST
        && u16::from(rows) <= height.div_ceil(16)
}

/// `profile_and_level_indication` (8.1) for the smallest level that the size fits.
fn profile_and_level(profile: VAProfile, width: u16, height: u16) -> u16 {
    const SIMPLE: u16 = 5 << 4;
    const MAIN: u16 = 4 << 4;
    let level = match (width, height) {
        (..=352, ..=288) => 10,
        (..=720, ..=576) => 8,
        (..=1440, ..=1152) => 6,
        _ => 4,
    };
    match profile {
        // It has no other level.
        va::VAProfileMPEG2Simple => SIMPLE | 8,
        _ => MAIN | level,
    }
}

/// The control of a sequence.
pub fn sequence(sequence: &mpeg2::Sequence) -> v4l2_ctrl_mpeg2_sequence {
    v4l2_ctrl_mpeg2_sequence {
        horizontal_size: sequence.horizontal_size,
        vertical_size: sequence.vertical_size,
        vbv_buffer_size: sequence.vbv_buffer_size,
        profile_and_level_indication: sequence.profile_and_level_indication,
        chroma_format: sequence.chroma_format,
        flags: sequence.flags,
    }
}

/// The control of a picture.
pub fn header(picture: &mpeg2::Picture) -> v4l2_ctrl_mpeg2_picture {
    v4l2_ctrl_mpeg2_picture {
        backward_ref_ts: picture.backward_ref_ts,
        forward_ref_ts: picture.forward_ref_ts,
        flags: picture.flags,
        f_code: picture.f_code,
        picture_coding_type: picture.picture_coding_type,
        picture_structure: picture.picture_structure,
        intra_dc_precision: picture.intra_dc_precision,
        reserved: [0; 5],
    }
}

/// The control of matrices.
pub fn quantisation(matrices: &Quantisation) -> v4l2_ctrl_mpeg2_quantisation {
    v4l2_ctrl_mpeg2_quantisation {
        intra_quantiser_matrix: matrices.intra_quantiser_matrix,
        non_intra_quantiser_matrix: matrices.non_intra_quantiser_matrix,
        chroma_intra_quantiser_matrix: matrices.chroma_intra_quantiser_matrix,
        chroma_non_intra_quantiser_matrix: matrices.chroma_non_intra_quantiser_matrix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_progressive_until_a_picture_is_not() {
        let (progressive, frame_dct) = (
            V4L2_MPEG2_PIC_FLAG_PROGRESSIVE,
            V4L2_MPEG2_PIC_FLAG_FRAME_PRED_DCT,
        );
        let (top_first, repeat) = (
            V4L2_MPEG2_PIC_FLAG_TOP_FIELD_FIRST,
            V4L2_MPEG2_PIC_FLAG_REPEAT_FIRST,
        );
        let plain = progressive | frame_dct;
        for (structure, flags, height, rows, expected) in [
            (V4L2_MPEG2_PIC_FRAME, plain, 720, 45, true),
            // 46 rows of macroblocks, of which the last is not seen.
            (V4L2_MPEG2_PIC_FRAME, plain, 720, 46, false),
            (V4L2_MPEG2_PIC_FRAME, plain, 1080, 68, true),
            (V4L2_MPEG2_PIC_TOP_FIELD, plain, 576, 18, false),
            (V4L2_MPEG2_PIC_FRAME, progressive, 576, 36, false),
            (V4L2_MPEG2_PIC_FRAME, frame_dct, 576, 36, false),
            (V4L2_MPEG2_PIC_FRAME, plain | top_first, 576, 36, false),
            // Three frames of one (6.3.10).
            (
                V4L2_MPEG2_PIC_FRAME,
                plain | top_first | repeat,
                576,
                36,
                true,
            ),
        ] {
            let mut picture = v4l2_ctrl_mpeg2_picture::new_zeroed();
            (picture.picture_structure, picture.flags) = (structure, flags);
            let found = may_be_progressive(&picture, height, rows);
            assert_eq!(found, expected, "{structure} {flags:#x} {height} {rows}");
        }
    }

    #[test]
    fn levels_have_room_for_the_size() {
        for (profile, size, expected) in [
            (va::VAProfileMPEG2Main, (352, 288), 0x4a),
            (va::VAProfileMPEG2Main, (720, 576), 0x48),
            (va::VAProfileMPEG2Main, (1440, 1080), 0x46),
            (va::VAProfileMPEG2Main, (1920, 1080), 0x44),
            (va::VAProfileMPEG2Simple, (352, 288), 0x58),
        ] {
            assert_eq!(profile_and_level(profile, size.0, size.1), expected);
        }
    }
}
