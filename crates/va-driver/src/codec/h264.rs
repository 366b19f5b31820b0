//! H.264, ITU-T H.264 (08/2021): VA carries most of the parameter sets and all of the references;
//! the rest is read from the slice headers in the slice data, or made up so that the pictures come
//! out the same.
//!
//! | missing in VA | here |
//! |---|---|
//! | profile, constraint flags | of the context's profile |
//! | level | the least that the size and the references fit |
//! | offsets of `pic_order_cnt_type` 1 | none: slices are written anew with type 0 and their counts |
//! | default reference counts | of the latest slice of the same PPS that does not override them |
//! | whether there is a scaling matrix | whether it is another than the flat one |
//! | whether a reference was coded as fields | known from its own decoding |
//! | `idr_pic_id`, order count elements, bit sizes | from the first slice header |
//!
//! OUTPUT gets the slices with start codes (`V4L2_STATELESS_H264_START_CODE_ANNEX_B`), for devices
//! that decode whole pictures (`FRAME_BASED`). Redundant slices are left out.

use super::{
    Controls, FirstField, NO_PICTURE, Output, Picture, Place, Refusal, Slice, Unit, named, value,
};
use crate::va::dec::{
    VA_PICTURE_H264_BOTTOM_FIELD, VA_PICTURE_H264_INVALID, VA_PICTURE_H264_LONG_TERM_REFERENCE,
    VA_PICTURE_H264_TOP_FIELD, VAIQMatrixBufferH264, VAPictureH264, VAPictureParameterBufferH264,
    VASliceParameterBufferH264,
};
use crate::va::{
    self, VA_INVALID_SURFACE, VAIQMatrixBufferType, VAPictureParameterBufferType, VAProfile,
};
use bitstream::h264::{
    self, DecodeParams, DpbEntry, NalHeader, NalType, Pps, RECOUNT_LSB_MINUS4, Recount,
    ScalingMatrix, SliceHeader, SliceType, Sps,
};
use bitstream::list::List;
use v4l2::device::Control;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::h264::*;
use zerocopy::FromZeros;

/// A picture that was decoded and may be referred to.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    timestamp: Timestamp,
    frame_num: u16,
    /// Behind an operation 5 its number is 0 (7.4.3), which not every client heeds.
    is_restart: bool,
    by_fields: bool,
}

impl Seen {
    /// Whether a short-term reference of this number is this picture.
    fn is_numbered(&self, frame_num: u16) -> bool {
        self.frame_num == frame_num || self.is_restart && frame_num == 0
    }
}

/// Pictures to be remembered: more than may be referred to at a time.
const SEEN: usize = 48;

/// What is kept over a stream.
#[derive(Debug)]
pub(super) struct H264 {
    profile: VAProfile,
    first_field: Option<(FirstField, [i32; 2])>,
    seen: List<Seen, SEEN>,
    /// `num_ref_idx_lX_default_active_minus1` by PPS.
    default_counts: Box<[[u8; 2]; 256]>,
    recount: Recount,
    sps: v4l2_ctrl_h264_sps,
    pps: v4l2_ctrl_h264_pps,
    scaling: v4l2_ctrl_h264_scaling_matrix,
    params: v4l2_ctrl_h264_decode_params,
}

impl H264 {
    pub(super) fn new(profile: VAProfile) -> Self {
        H264 {
            profile,
            first_field: None,
            seen: List::new(),
            default_counts: Box::new([[0; 2]; 256]),
            recount: Recount::default(),
            sps: v4l2_ctrl_h264_sps::new_zeroed(),
            pps: v4l2_ctrl_h264_pps::new_zeroed(),
            scaling: v4l2_ctrl_h264_scaling_matrix::new_zeroed(),
            params: v4l2_ctrl_h264_decode_params::new_zeroed(),
        }
    }

    pub(super) fn prepare(
        &mut self,
        given: &Picture<'_>,
        out: &mut Output<'_>,
    ) -> Result<Unit, Refusal> {
        let parameters = given.required(VAPictureParameterBufferType)?;
        let mut sps = sps(&parameters, self.profile)?;
        let mut pps = pps(&parameters);
        let scaling = scaling(given.optional(VAIQMatrixBufferType)?, &pps)?;
        pps.scaling_matrix_present = scaling != ScalingMatrix::FLAT;
        let current = &parameters.CurrPic;
        let poc = [current.TopFieldOrderCnt, current.BottomFieldOrderCnt];
        let (slice, counts) = slices(given, out, (&mut sps, &mut pps), (&mut self.recount, poc))?;
        let mut defaults = self.default_counts[usize::from(pps.pic_parameter_set_id)];
        for (default, count) in defaults.iter_mut().zip(counts) {
            *default = count.unwrap_or(*default);
        }
        [
            pps.num_ref_idx_l0_default_active_minus1,
            pps.num_ref_idx_l1_default_active_minus1,
        ] = defaults;

        let first = self.first_field.filter(|(first, _)| {
            slice.field_pic && first.is_completed_by(given.target.surface, slice.bottom_field)
        });
        let (place, timestamp) = match (slice.field_pic, first) {
            (false, _) => (Place::Frame, given.target.fresh),
            (true, None) => (Place::FirstField, given.target.fresh),
            (true, Some((first, _))) => (Place::SecondField, first.timestamp),
        };
        let mut params = slice.decode_params();
        let poc = order_counts(poc, &slice, first.map(|(_, poc)| poc));
        [params.top_field_order_cnt, params.bottom_field_order_cnt] = poc;
        let current = Current {
            slice: &slice,
            max_frame_num: sps.max_frame_num(),
            own: first.map(|(first, _)| first),
        };
        self.references(given, &parameters.ReferenceFrames, &current, &mut params)?;

        self.default_counts[usize::from(pps.pic_parameter_set_id)] = defaults;
        self.first_field = (place == Place::FirstField).then_some((
            FirstField {
                surface: given.target.surface,
                timestamp,
                is_bottom: slice.bottom_field,
            },
            poc,
        ));
        self.remember(&params, timestamp, &slice);
        self.sps = sps_control(&sps);
        self.pps = pps_control(&pps);
        self.scaling = scaling_control(&scaling);
        self.params = params_control(&params);
        Ok(Unit {
            length: out.length,
            place,
            timestamp,
            size: sps.size(),
        })
    }

    pub(super) fn controls(&self) -> Controls<'_> {
        Controls::from([
            Control::compound(V4L2_CID_STATELESS_H264_SPS, &self.sps),
            Control::compound(V4L2_CID_STATELESS_H264_PPS, &self.pps),
            Control::compound(V4L2_CID_STATELESS_H264_SCALING_MATRIX, &self.scaling),
            Control::compound(V4L2_CID_STATELESS_H264_DECODE_PARAMS, &self.params),
        ])
    }

    pub(super) fn start_controls(&self) -> Controls<'_> {
        Controls::from([
            Control::integer(
                V4L2_CID_STATELESS_H264_DECODE_MODE,
                V4L2_STATELESS_H264_DECODE_MODE_FRAME_BASED as i32,
            ),
            Control::integer(
                V4L2_CID_STATELESS_H264_START_CODE,
                V4L2_STATELESS_H264_START_CODE_ANNEX_B as i32,
            ),
            Control::compound(V4L2_CID_STATELESS_H264_SPS, &self.sps),
        ])
    }

    /// Fills the DPB.
    fn references(
        &self,
        given: &Picture<'_>,
        references: &[VAPictureH264; 16],
        current: &Current<'_>,
        params: &mut DecodeParams,
    ) -> Result<(), Refusal> {
        let is_there = |reference: &&VAPictureH264| {
            reference.flags & VA_PICTURE_H264_INVALID == 0
                && reference.picture_id != VA_INVALID_SURFACE
        };
        let mut entries = params.dpb.iter_mut();
        for reference in references.iter().filter(is_there) {
            let Some(entry) = entries.next() else { break };
            *entry = current.entry(reference)?;
            let own = current
                .own
                .filter(|own| own.surface == reference.picture_id);
            if let Some(own) = own {
                entry.reference_ts = named(Some(own.timestamp));
                entry.field = true;
                continue;
            }
            let timestamp = given.decoded(reference.picture_id);
            let seen = self
                .seen
                .iter()
                .find(|seen| Some(seen.timestamp) == timestamp);
            entry.field = seen.is_some_and(|seen| seen.by_fields);
            // FFmpeg gives a surface to each frame that it infers for a gap (8.2.5.2), and decodes
            // nothing into it: what is there is an older picture.
            let is_other =
                seen.is_some_and(|seen| !entry.long_term && !seen.is_numbered(entry.frame_num));
            entry.reference_ts = if is_other {
                NO_PICTURE
            } else {
                named(timestamp)
            };
        }
        Ok(())
    }

    /// Remembers the picture, in place of the oldest one that is not referred to.
    fn remember(&mut self, params: &DecodeParams, timestamp: Timestamp, slice: &SliceHeader) {
        let is_restart = slice.unmarks_all();
        let known = self
            .seen
            .iter_mut()
            .find(|seen| seen.timestamp == timestamp);
        if let Some(first_field) = known {
            first_field.is_restart |= is_restart;
            return;
        }
        let seen = Seen {
            timestamp,
            frame_num: slice.frame_num,
            is_restart,
            by_fields: slice.field_pic,
        };
        if self.seen.len() == SEEN {
            let named = |seen: &Seen| {
                let name = seen.timestamp.nanos();
                params.dpb.iter().any(|entry| entry.reference_ts == name)
            };
            let oldest = self.seen.iter().find(|seen| !named(seen));
            let oldest = oldest.map(|oldest| oldest.timestamp);
            self.seen.retain(|seen| Some(seen.timestamp) != oldest);
        }
        // There is room: fewer are referred to than remembered.
        let _ = self.seen.push(seen);
    }
}

/// The picture from which references are looked at.
struct Current<'a> {
    slice: &'a SliceHeader,
    max_frame_num: u32,
    /// The first field, where this is the second.
    own: Option<FirstField>,
}

impl Current<'_> {
    /// The entry of a reference, without its timestamp.
    fn entry(&self, reference: &VAPictureH264) -> Result<DpbEntry, Refusal> {
        let flag = |flag: u32| reference.flags & flag != 0;
        let long_term = flag(VA_PICTURE_H264_LONG_TERM_REFERENCE);
        let frame_num = u16::try_from(reference.frame_idx)
            .map_err(|_| wrong("ReferenceFrames[].frame_idx", reference.frame_idx))?;
        let top = u8::from(flag(VA_PICTURE_H264_TOP_FIELD)) * V4L2_H264_TOP_FIELD_REF;
        let bottom = u8::from(flag(VA_PICTURE_H264_BOTTOM_FIELD)) * V4L2_H264_BOTTOM_FIELD_REF;
        let mut entry = DpbEntry {
            frame_num,
            fields: match top | bottom {
                0 => V4L2_H264_FRAME_REF,
                fields => fields,
            },
            top_field_order_cnt: reference.TopFieldOrderCnt,
            bottom_field_order_cnt: reference.BottomFieldOrderCnt,
            valid: true,
            active: true,
            long_term,
            ..DpbEntry::default()
        };
        // The frame of which this is the second field has no more than the first, whatever the
        // client knows of the second already.
        match self.own {
            Some(own) if own.surface == reference.picture_id && own.is_bottom => {
                entry.fields = V4L2_H264_BOTTOM_FIELD_REF;
                entry.top_field_order_cnt = 0;
            }
            Some(own) if own.surface == reference.picture_id => {
                entry.fields = V4L2_H264_TOP_FIELD_REF;
                entry.bottom_field_order_cnt = 0;
            }
            _ => {}
        }
        entry.pic_num = self.pic_num(&entry);
        Ok(entry)
    }

    /// `PicNum` or `LongTermPicNum` (8.2.4.1). Where a field is decoded each field of a reference has
    /// one; this is that of the field of the same parity, or else of the other.
    fn pic_num(&self, entry: &DpbEntry) -> i32 {
        let mut number = i32::from(entry.frame_num);
        if !entry.long_term && entry.frame_num > self.slice.frame_num {
            number -= self.max_frame_num as i32;
        }
        if !self.slice.field_pic {
            return number;
        }
        let parity = if self.slice.bottom_field {
            V4L2_H264_BOTTOM_FIELD_REF
        } else {
            V4L2_H264_TOP_FIELD_REF
        };
        2 * number + i32::from(entry.fields & parity != 0)
    }
}

fn wrong(field: &'static str, wrong: u32) -> Refusal {
    value::<VAPictureParameterBufferH264>(field, wrong)
}

/// `TopFieldOrderCnt` and `BottomFieldOrderCnt` of the current picture: both of a frame, that of the
/// field alone, or with that of the field before it.
fn order_counts([top, bottom]: [i32; 2], slice: &SliceHeader, first: Option<[i32; 2]>) -> [i32; 2] {
    let [first_top, first_bottom] = first.unwrap_or_default();
    match (slice.field_pic, slice.bottom_field) {
        (false, _) => [top, bottom],
        (true, false) => [top, first_bottom],
        (true, true) => [first_top, bottom],
    }
}

/// A flag of `seq_fields` or `pic_fields`.
fn bit(fields: u32, at: u32) -> bool {
    fields >> at & 1 != 0
}

fn sps(parameters: &VAPictureParameterBufferH264, profile: VAProfile) -> Result<Sps, Refusal> {
    let fields = parameters.seq_fields;
    for (field, value, only) in [
        ("chroma_format_idc", fields & 3, 1),
        (
            "bit_depth_luma_minus8",
            parameters.bit_depth_luma_minus8.into(),
            0,
        ),
        (
            "bit_depth_chroma_minus8",
            parameters.bit_depth_chroma_minus8.into(),
            0,
        ),
        (
            "num_slice_groups_minus1",
            parameters.num_slice_groups_minus1.into(),
            0,
        ),
    ] {
        if value != only {
            return Err(wrong(field, value));
        }
    }
    let frame_mbs_only = bit(fields, 4);
    let height = parameters.picture_height_in_mbs_minus1;
    // Frames of fields have an even number of rows.
    if !frame_mbs_only && height % 2 == 0 {
        return Err(wrong("picture_height_in_mbs_minus1", height.into()));
    }
    let (profile_idc, constraint_set_flags) = match profile {
        va::VAProfileH264ConstrainedBaseline => (
            66,
            V4L2_H264_SPS_CONSTRAINT_SET0_FLAG | V4L2_H264_SPS_CONSTRAINT_SET1_FLAG,
        ),
        va::VAProfileH264Main => (77, V4L2_H264_SPS_CONSTRAINT_SET1_FLAG),
        _ => (100, 0),
    };
    let mut sps = Sps {
        profile_idc,
        constraint_set_flags,
        log2_max_frame_num_minus4: (fields >> 8 & 15) as u8,
        pic_order_cnt_type: (fields >> 12 & 3) as u8,
        log2_max_pic_order_cnt_lsb_minus4: (fields >> 14 & 15) as u8,
        delta_pic_order_always_zero: bit(fields, 18),
        max_num_ref_frames: parameters.num_ref_frames,
        gaps_in_frame_num_value_allowed: bit(fields, 3),
        pic_width_in_mbs_minus1: parameters.picture_width_in_mbs_minus1,
        pic_height_in_map_units_minus1: if frame_mbs_only { height } else { height / 2 },
        frame_mbs_only,
        mb_adaptive_frame_field: bit(fields, 5),
        direct_8x8_inference: bit(fields, 6),
        ..Sps::default()
    };
    if sps.pic_order_cnt_type != 0 {
        // Elements of other types have no meaning and are not looked at.
        sps.log2_max_pic_order_cnt_lsb_minus4 = 0;
    }
    sps.check().map_err(Refusal::H264Sets)?;
    sps.level_idc = level(&sps);
    Ok(sps)
}

/// The least level (table A-1) that has room for frames of this size and for the references.
fn level(sps: &Sps) -> u8 {
    let frame = sps.width_in_mbs() * sps.frame_height_in_mbs();
    let held = frame * u32::from(sps.max_num_ref_frames);
    let row = LEVELS
        .iter()
        .find(|(_, max_frame, max_dpb)| frame <= *max_frame && held <= *max_dpb);
    row.map_or(62, |(level, ..)| *level)
}

/// `level_idc`, `MaxFS` and `MaxDpbMbs`, of levels that differ in these.
#[rustfmt::skip]
const LEVELS: &[(u8, u32, u32)] = &[
    (10, 99, 396), (11, 396, 900), (12, 396, 2376), (21, 792, 4752), (22, 1620, 8100),
    (31, 3600, 18000), (32, 5120, 20480), (40, 8192, 32768), (42, 8704, 34816),
    (50, 22080, 110_400), (51, 36864, 184_320), (60, 139_264, 696_320),
];

/// The PPS as far as the picture parameters tell it: not its id, nor default reference counts.
fn pps(parameters: &VAPictureParameterBufferH264) -> Pps {
    let fields = parameters.pic_fields;
    Pps {
        entropy_coding_mode: bit(fields, 0),
        weighted_pred: bit(fields, 1),
        weighted_bipred_idc: (fields >> 2 & 3) as u8,
        transform_8x8_mode: bit(fields, 4),
        constrained_intra_pred: bit(fields, 6),
        bottom_field_pic_order_in_frame_present: bit(fields, 7),
        deblocking_filter_control_present: bit(fields, 8),
        redundant_pic_cnt_present: bit(fields, 9),
        pic_init_qp_minus26: parameters.pic_init_qp_minus26,
        pic_init_qs_minus26: parameters.pic_init_qs_minus26,
        chroma_qp_index_offset: parameters.chroma_qp_index_offset,
        second_chroma_qp_index_offset: parameters.second_chroma_qp_index_offset,
        ..Pps::default()
    }
}

/// The scaling lists. Chroma's 8x8 lists are those of luma, which only 4:4:4 would use.
fn scaling(given: Option<VAIQMatrixBufferH264>, pps: &Pps) -> Result<ScalingMatrix, Refusal> {
    let Some(given) = given else {
        return Ok(ScalingMatrix::FLAT);
    };
    let is_zero = |list: &[u8]| list.contains(&0);
    let zero = |field| Err(value::<VAIQMatrixBufferH264>(field, 0));
    if is_zero(given.ScalingList4x4.as_flattened()) {
        return zero("ScalingList4x4");
    }
    if pps.transform_8x8_mode && is_zero(given.ScalingList8x8.as_flattened()) {
        return zero("ScalingList8x8");
    }
    let [intra, inter] = given.ScalingList8x8;
    Ok(ScalingMatrix {
        scaling_list_4x4: given.ScalingList4x4,
        scaling_list_8x8: [intra, inter, intra, inter, intra, inter],
    })
}

/// The default reference counts less one, of those lists of which a slice tells it.
type DefaultCounts = [Option<u8>; 2];

/// Copies the slices, and tells the first one's header and the default reference counts. Fills the
/// PPS's id.
///
/// Slices of `pic_order_cnt_type` 1 are written anew with the picture's counts, and the parameter
/// sets and the header are changed accordingly.
fn slices(
    given: &Picture<'_>,
    out: &mut Output<'_>,
    (sps, pps): (&mut Sps, &mut Pps),
    (recount, poc): (&mut Recount, [i32; 2]),
) -> Result<(SliceHeader, DefaultCounts), Refusal> {
    let mut first: Option<SliceHeader> = None;
    let mut recounted = None;
    let mut counts = [None; 2];
    for slice in given.slices()? {
        let slice: Slice<'_, VASliceParameterBufferH264> = slice?;
        let number = slice.number;
        let failed = |source| Refusal::H264 {
            slice: number,
            source,
        };
        let nal = without_start_code(slice.bytes()?);
        let header = slice_header(nal, &slice.parameters, sps, pps).map_err(failed)?;
        if header.redundant_pic_cnt > 0 {
            continue;
        }
        if !header.num_ref_idx_active_override {
            let lists = header.slice_type.ref_lists();
            for (count, active) in counts.iter_mut().zip(header.num_ref_idx_active).take(lists) {
                *count = Some(active - 1);
            }
        }
        if sps.pic_order_cnt_type == 1 {
            let written = recount.write(nal, &header, pps.entropy_coding_mode, poc);
            let (bytes, size) = written.map_err(failed)?;
            out.append(number, bytes)?;
            recounted.get_or_insert(size);
        } else {
            out.append(number, &[0, 0, 1])?;
            out.append(number, nal)?;
        }
        match &first {
            None => first = Some(header),
            Some(first) if header.starts_picture(first) => {
                return Err(Refusal::OtherPicture { slice: number });
            }
            Some(_) => {}
        }
    }
    let mut first = first.ok_or(Refusal::Missing("primary slice"))?;
    pps.pic_parameter_set_id = first.pic_parameter_set_id;
    if let Some(size) = recounted {
        sps.pic_order_cnt_type = 0;
        sps.log2_max_pic_order_cnt_lsb_minus4 = RECOUNT_LSB_MINUS4;
        sps.delta_pic_order_always_zero = false;
        pps.bottom_field_pic_order_in_frame_present = true;
        first.pic_order_cnt_lsb = poc[usize::from(first.bottom_field)] as u16;
        first.delta_pic_order_cnt = [0; 2];
        first.pic_order_cnt_bit_size = size;
        if !first.field_pic {
            first.delta_pic_order_cnt_bottom = poc[1].saturating_sub(poc[0]);
        }
    }
    Ok((first, counts))
}

/// Reads a slice header with the parameter sets of the picture.
fn slice_header(
    nal: &[u8],
    parameters: &VASliceParameterBufferH264,
    sps: &Sps,
    pps: &mut Pps,
) -> Result<SliceHeader, h264::Error> {
    if let NalType::DataPartition(_) = NalHeader::parse(nal)?.kind() {
        return Err(h264::Error::Unsupported("data partitions"));
    }
    pps.pic_parameter_set_id = h264::slice_pps_id(nal)?;
    // Without an override the counts of the slice are the default ones, so with these for the
    // default ones a header is read rightly either way.
    pps.num_ref_idx_l0_default_active_minus1 = parameters.num_ref_idx_l0_active_minus1;
    pps.num_ref_idx_l1_default_active_minus1 = parameters.num_ref_idx_l1_active_minus1;
    let header = h264::parse_slice_header(nal, sps, pps)?;
    if matches!(header.slice_type, SliceType::Sp | SliceType::Si) {
        return Err(h264::Error::Unsupported("SP and SI slices"));
    }
    Ok(header)
}

/// libva wants the NAL unit without a start code, which some clients leave on all the same. No slice
/// begins like this: a NAL unit's first byte is not 0.
fn without_start_code(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, 0, 1, nal @ ..] | [0, 0, 0, 1, nal @ ..] => nal,
        nal => nal,
    }
}

/// The flags that are set.
fn flags<T>(rows: &[(bool, T)]) -> T
where
    T: Copy + Default + std::ops::BitOr<Output = T>,
{
    let set = rows.iter().filter(|(is_set, _)| *is_set);
    set.fold(T::default(), |all, (_, flag)| all | *flag)
}

/// The control of an SPS.
pub fn sps_control(sps: &Sps) -> v4l2_ctrl_h264_sps {
    v4l2_ctrl_h264_sps {
        profile_idc: sps.profile_idc,
        constraint_set_flags: sps.constraint_set_flags,
        level_idc: sps.level_idc,
        seq_parameter_set_id: sps.seq_parameter_set_id,
        chroma_format_idc: sps.chroma_format_idc,
        bit_depth_luma_minus8: sps.bit_depth_luma_minus8,
        bit_depth_chroma_minus8: sps.bit_depth_chroma_minus8,
        log2_max_frame_num_minus4: sps.log2_max_frame_num_minus4,
        pic_order_cnt_type: sps.pic_order_cnt_type,
        log2_max_pic_order_cnt_lsb_minus4: sps.log2_max_pic_order_cnt_lsb_minus4,
        max_num_ref_frames: sps.max_num_ref_frames,
        num_ref_frames_in_pic_order_cnt_cycle: sps.num_ref_frames_in_pic_order_cnt_cycle,
        offset_for_ref_frame: sps.offset_for_ref_frame,
        offset_for_non_ref_pic: sps.offset_for_non_ref_pic,
        offset_for_top_to_bottom_field: sps.offset_for_top_to_bottom_field,
        pic_width_in_mbs_minus1: sps.pic_width_in_mbs_minus1,
        pic_height_in_map_units_minus1: sps.pic_height_in_map_units_minus1,
        flags: flags(&[
            (
                sps.separate_colour_plane,
                V4L2_H264_SPS_FLAG_SEPARATE_COLOUR_PLANE,
            ),
            (
                sps.qpprime_y_zero_transform_bypass,
                V4L2_H264_SPS_FLAG_QPPRIME_Y_ZERO_TRANSFORM_BYPASS,
            ),
            (
                sps.delta_pic_order_always_zero,
                V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO,
            ),
            (
                sps.gaps_in_frame_num_value_allowed,
                V4L2_H264_SPS_FLAG_GAPS_IN_FRAME_NUM_VALUE_ALLOWED,
            ),
            (sps.frame_mbs_only, V4L2_H264_SPS_FLAG_FRAME_MBS_ONLY),
            (
                sps.mb_adaptive_frame_field,
                V4L2_H264_SPS_FLAG_MB_ADAPTIVE_FRAME_FIELD,
            ),
            (
                sps.direct_8x8_inference,
                V4L2_H264_SPS_FLAG_DIRECT_8X8_INFERENCE,
            ),
        ]),
    }
}

/// The control of a PPS.
pub fn pps_control(pps: &Pps) -> v4l2_ctrl_h264_pps {
    v4l2_ctrl_h264_pps {
        pic_parameter_set_id: pps.pic_parameter_set_id,
        seq_parameter_set_id: pps.seq_parameter_set_id,
        num_slice_groups_minus1: pps.num_slice_groups_minus1,
        num_ref_idx_l0_default_active_minus1: pps.num_ref_idx_l0_default_active_minus1,
        num_ref_idx_l1_default_active_minus1: pps.num_ref_idx_l1_default_active_minus1,
        weighted_bipred_idc: pps.weighted_bipred_idc,
        pic_init_qp_minus26: pps.pic_init_qp_minus26,
        pic_init_qs_minus26: pps.pic_init_qs_minus26,
        chroma_qp_index_offset: pps.chroma_qp_index_offset,
        second_chroma_qp_index_offset: pps.second_chroma_qp_index_offset,
        flags: flags(&[
            (
                pps.entropy_coding_mode,
                V4L2_H264_PPS_FLAG_ENTROPY_CODING_MODE,
            ),
            (
                pps.bottom_field_pic_order_in_frame_present,
                V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT,
            ),
            (pps.weighted_pred, V4L2_H264_PPS_FLAG_WEIGHTED_PRED),
            (
                pps.deblocking_filter_control_present,
                V4L2_H264_PPS_FLAG_DEBLOCKING_FILTER_CONTROL_PRESENT,
            ),
            (
                pps.constrained_intra_pred,
                V4L2_H264_PPS_FLAG_CONSTRAINED_INTRA_PRED,
            ),
            (
                pps.redundant_pic_cnt_present,
                V4L2_H264_PPS_FLAG_REDUNDANT_PIC_CNT_PRESENT,
            ),
            (
                pps.transform_8x8_mode,
                V4L2_H264_PPS_FLAG_TRANSFORM_8X8_MODE,
            ),
            (
                pps.scaling_matrix_present,
                V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT,
            ),
        ]),
    }
}

/// The control of scaling matrices.
pub fn scaling_control(matrix: &ScalingMatrix) -> v4l2_ctrl_h264_scaling_matrix {
    v4l2_ctrl_h264_scaling_matrix {
        scaling_list_4x4: matrix.scaling_list_4x4,
        scaling_list_8x8: matrix.scaling_list_8x8,
    }
}

/// The control of a picture.
pub fn params_control(params: &DecodeParams) -> v4l2_ctrl_h264_decode_params {
    let mut control = v4l2_ctrl_h264_decode_params::new_zeroed();
    for (entry, held) in control.dpb.iter_mut().zip(&params.dpb) {
        *entry = v4l2_h264_dpb_entry {
            reference_ts: held.reference_ts,
            pic_num: held.pic_num as u32,
            frame_num: held.frame_num,
            fields: held.fields,
            reserved: [0; 5],
            top_field_order_cnt: held.top_field_order_cnt,
            bottom_field_order_cnt: held.bottom_field_order_cnt,
            flags: flags(&[
                (held.valid, V4L2_H264_DPB_ENTRY_FLAG_VALID),
                (held.active, V4L2_H264_DPB_ENTRY_FLAG_ACTIVE),
                (held.long_term, V4L2_H264_DPB_ENTRY_FLAG_LONG_TERM),
                (held.field, V4L2_H264_DPB_ENTRY_FLAG_FIELD),
            ]),
        };
    }
    v4l2_ctrl_h264_decode_params {
        nal_ref_idc: params.nal_ref_idc.into(),
        frame_num: params.frame_num,
        top_field_order_cnt: params.top_field_order_cnt,
        bottom_field_order_cnt: params.bottom_field_order_cnt,
        idr_pic_id: params.idr_pic_id,
        pic_order_cnt_lsb: params.pic_order_cnt_lsb,
        delta_pic_order_cnt_bottom: params.delta_pic_order_cnt_bottom,
        delta_pic_order_cnt0: params.delta_pic_order_cnt0,
        delta_pic_order_cnt1: params.delta_pic_order_cnt1,
        dec_ref_pic_marking_bit_size: params.dec_ref_pic_marking_bit_size,
        pic_order_cnt_bit_size: params.pic_order_cnt_bit_size,
        slice_group_change_cycle: params.slice_group_change_cycle,
        flags: flags(&[
            (params.idr_pic, V4L2_H264_DECODE_PARAM_FLAG_IDR_PIC),
            (params.field_pic, V4L2_H264_DECODE_PARAM_FLAG_FIELD_PIC),
            (
                params.bottom_field,
                V4L2_H264_DECODE_PARAM_FLAG_BOTTOM_FIELD,
            ),
            (params.p_frame, V4L2_H264_DECODE_PARAM_FLAG_PFRAME),
            (params.b_frame, V4L2_H264_DECODE_PARAM_FLAG_BFRAME),
        ]),
        ..control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_room_for_frames_and_references() {
        for (width, height, references, expected) in [
            (11, 9, 4, 10),
            (11, 9, 5, 11),
            (22, 18, 6, 12),
            (80, 45, 5, 31),
            (120, 68, 4, 40),
            (120, 68, 5, 50),
            (240, 135, 5, 51),
            (512, 300, 1, 62),
        ] {
            let sps = Sps {
                pic_width_in_mbs_minus1: width - 1,
                pic_height_in_map_units_minus1: height - 1,
                max_num_ref_frames: references,
                frame_mbs_only: true,
                ..Sps::default()
            };
            assert_eq!(level(&sps), expected, "{width}x{height}, {references}");
        }
    }
}
