//! Sequence parameter sets: read (7.3.2.1.1, VUI E.1.1), and written from the control's struct.

use super::controls::{SE_MIN, Sps};
use super::{Error, Fields, NalHeader, NalType, ScalingLists};
use crate::annexb;
use crate::bits::BitWriter;

/// A sequence parameter set as a stream sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeqParameterSet {
    /// What the control carries.
    pub sps: Sps,
    /// Its scaling lists; `None` means flat ones.
    pub scaling: Option<ScalingLists>,
    /// What of the picture is shown.
    pub crop: Crop,
    /// How to show it, and what a decoder may need for it.
    pub vui: Option<Vui>,
}

/// Frame cropping offsets in their coded units (`CropUnitX`, `CropUnitY`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crop {
    /// `frame_crop_left_offset`.
    pub left: u32,
    /// `frame_crop_right_offset`.
    pub right: u32,
    /// `frame_crop_top_offset`.
    pub top: u32,
    /// `frame_crop_bottom_offset`.
    pub bottom: u32,
}

impl SeqParameterSet {
    /// Width and height of the shown picture in luma samples (7-19 to 7-22).
    pub fn display_size(&self) -> (u32, u32) {
        let (unit_x, unit_y) = self.sps.crop_units();
        let (width, height) = self.sps.size();
        let crop = &self.crop;
        (
            width - unit_x * (crop.left + crop.right),
            height - unit_y * (crop.top + crop.bottom),
        )
    }
}

impl Sps {
    /// Width and height of the decoded frame in luma samples.
    pub fn size(&self) -> (u32, u32) {
        (16 * self.width_in_mbs(), 16 * self.frame_height_in_mbs())
    }

    /// `CropUnitX` and `CropUnitY`.
    fn crop_units(&self) -> (u32, u32) {
        let (x, y) = match self.chroma_array_type() {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        (x, y << u32::from(!self.frame_mbs_only))
    }
}

/// Video usability information (E.2.1), without the HRD parameters, which no decoder needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vui {
    /// Sample aspect ratio.
    pub aspect_ratio: Option<AspectRatio>,
    /// `video_full_range_flag`, with `video_signal_type_present_flag`.
    pub full_range: Option<bool>,
    /// Colour description.
    pub colour: Option<ColourDescription>,
    /// `chroma_sample_loc_type_top_field` and `_bottom_field`, each 0 to 5.
    pub chroma_sample_loc: Option<[u8; 2]>,
    /// Timing.
    pub timing: Option<Timing>,
    /// `pic_struct_present_flag`.
    pub pic_struct_present: bool,
    /// Bounds on what the stream uses.
    pub bitstream_restriction: Option<BitstreamRestriction>,
}

/// Sample aspect ratio (Table E-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AspectRatio {
    /// `aspect_ratio_idc` below 255.
    Idc(u8),
    /// `Extended_SAR`: `sar_width` and `sar_height`.
    Extended(u16, u16),
}

/// Colour description (Tables E-3 to E-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColourDescription {
    /// `colour_primaries`.
    pub primaries: u8,
    /// `transfer_characteristics`.
    pub transfer: u8,
    /// `matrix_coefficients`.
    pub matrix: u8,
}

/// `num_units_in_tick / time_scale` is the time of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// `num_units_in_tick`.
    pub num_units_in_tick: u32,
    /// `time_scale`.
    pub time_scale: u32,
    /// `fixed_frame_rate_flag`.
    pub fixed_frame_rate: bool,
}

/// `bitstream_restriction_flag` and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitstreamRestriction {
    /// `max_num_reorder_frames`, 0 to 16.
    pub max_num_reorder_frames: u8,
    /// `max_dec_frame_buffering`, 0 to 16.
    pub max_dec_frame_buffering: u8,
}

/// Reads the SPS in `nal`, a NAL unit without start code.
pub fn parse_sps(nal: &[u8]) -> Result<SeqParameterSet, Error> {
    let header = NalHeader::parse(nal)?;
    if header.kind() != NalType::Sps {
        return Err(header.unexpected("an SPS"));
    }
    let mut fields = Fields::new(nal);
    let mut sps = Sps {
        profile_idc: fields.u("profile_idc", 8)? as u8,
        ..Sps::default()
    };
    // The flags of sets 0 to 5 and two reserved bits, first to last.
    let flags = fields.u("constraint_set_flags", 8)? as u8;
    sps.constraint_set_flags = flags.reverse_bits() & 0x3f;
    sps.level_idc = fields.u("level_idc", 8)? as u8;
    sps.seq_parameter_set_id = fields.ue8("seq_parameter_set_id", 31)?;
    let scaling = if sps.has_chroma_format() {
        parse_chroma_format(&mut fields, &mut sps)?
    } else {
        None
    };
    parse_order(&mut fields, &mut sps)?;
    parse_size(&mut fields, &mut sps)?;
    let crop = parse_crop(&mut fields, &sps)?;
    let vui = if fields.flag("vui_parameters_present_flag")? {
        Some(parse_vui(&mut fields)?)
    } else {
        None
    };
    Ok(SeqParameterSet {
        sps,
        scaling,
        crop,
        vui,
    })
}

fn parse_chroma_format(
    fields: &mut Fields<'_>,
    sps: &mut Sps,
) -> Result<Option<ScalingLists>, Error> {
    sps.chroma_format_idc = fields.ue8("chroma_format_idc", 3)?;
    if sps.chroma_format_idc == 3 {
        sps.separate_colour_plane = fields.flag("separate_colour_plane_flag")?;
    }
    sps.bit_depth_luma_minus8 = fields.ue8("bit_depth_luma_minus8", 6)?;
    sps.bit_depth_chroma_minus8 = fields.ue8("bit_depth_chroma_minus8", 6)?;
    sps.qpprime_y_zero_transform_bypass = fields.flag("qpprime_y_zero_transform_bypass_flag")?;
    if !fields.flag("seq_scaling_matrix_present_flag")? {
        return Ok(None);
    }
    let count_8x8 = if sps.chroma_format_idc == 3 { 6 } else { 2 };
    Ok(Some(ScalingLists::parse(fields, count_8x8)?))
}

fn parse_order(fields: &mut Fields<'_>, sps: &mut Sps) -> Result<(), Error> {
    sps.log2_max_frame_num_minus4 = fields.ue8("log2_max_frame_num_minus4", 12)?;
    sps.pic_order_cnt_type = fields.ue8("pic_order_cnt_type", 2)?;
    match sps.pic_order_cnt_type {
        0 => {
            sps.log2_max_pic_order_cnt_lsb_minus4 =
                fields.ue8("log2_max_pic_order_cnt_lsb_minus4", 12)?;
        }
        1 => {
            sps.delta_pic_order_always_zero = fields.flag("delta_pic_order_always_zero_flag")?;
            sps.offset_for_non_ref_pic = fields.se("offset_for_non_ref_pic", SE_MIN, i32::MAX)?;
            sps.offset_for_top_to_bottom_field =
                fields.se("offset_for_top_to_bottom_field", SE_MIN, i32::MAX)?;
            sps.num_ref_frames_in_pic_order_cnt_cycle =
                fields.ue8("num_ref_frames_in_pic_order_cnt_cycle", 255)?;
            let count = usize::from(sps.num_ref_frames_in_pic_order_cnt_cycle);
            for offset in &mut sps.offset_for_ref_frame[..count] {
                *offset = fields.se("offset_for_ref_frame", SE_MIN, i32::MAX)?;
            }
        }
        _ => {}
    }
    sps.max_num_ref_frames = fields.ue8("max_num_ref_frames", 16)?;
    sps.gaps_in_frame_num_value_allowed = fields.flag("gaps_in_frame_num_value_allowed_flag")?;
    Ok(())
}

fn parse_size(fields: &mut Fields<'_>, sps: &mut Sps) -> Result<(), Error> {
    let max = u32::from(u16::MAX);
    sps.pic_width_in_mbs_minus1 = fields.ue("pic_width_in_mbs_minus1", max)? as u16;
    sps.pic_height_in_map_units_minus1 = fields.ue("pic_height_in_map_units_minus1", max)? as u16;
    sps.frame_mbs_only = fields.flag("frame_mbs_only_flag")?;
    if !sps.frame_mbs_only {
        sps.mb_adaptive_frame_field = fields.flag("mb_adaptive_frame_field_flag")?;
    }
    sps.direct_8x8_inference = fields.flag("direct_8x8_inference_flag")?;
    sps.check()
}

fn parse_crop(fields: &mut Fields<'_>, sps: &Sps) -> Result<Crop, Error> {
    if !fields.flag("frame_cropping_flag")? {
        return Ok(Crop::default());
    }
    // At least one sample is left in each direction.
    let ((width, height), (unit_x, unit_y)) = (sps.size(), sps.crop_units());
    let (max_x, max_y) = ((width - 1) / unit_x, (height - 1) / unit_y);
    let left = fields.ue("frame_crop_left_offset", max_x)?;
    let right = fields.ue("frame_crop_right_offset", max_x - left)?;
    let top = fields.ue("frame_crop_top_offset", max_y)?;
    let bottom = fields.ue("frame_crop_bottom_offset", max_y - top)?;
    Ok(Crop {
        left,
        right,
        top,
        bottom,
    })
}

fn parse_vui(fields: &mut Fields<'_>) -> Result<Vui, Error> {
    let mut vui = Vui::default();
    if fields.flag("aspect_ratio_info_present_flag")? {
        vui.aspect_ratio = Some(parse_aspect_ratio(fields)?);
    }
    if fields.flag("overscan_info_present_flag")? {
        fields.flag("overscan_appropriate_flag")?;
    }
    if fields.flag("video_signal_type_present_flag")? {
        fields.u("video_format", 3)?;
        vui.full_range = Some(fields.flag("video_full_range_flag")?);
        if fields.flag("colour_description_present_flag")? {
            vui.colour = Some(ColourDescription {
                primaries: fields.u("colour_primaries", 8)? as u8,
                transfer: fields.u("transfer_characteristics", 8)? as u8,
                matrix: fields.u("matrix_coefficients", 8)? as u8,
            });
        }
    }
    if fields.flag("chroma_loc_info_present_flag")? {
        vui.chroma_sample_loc = Some([
            fields.ue8("chroma_sample_loc_type_top_field", 5)?,
            fields.ue8("chroma_sample_loc_type_bottom_field", 5)?,
        ]);
    }
    if fields.flag("timing_info_present_flag")? {
        vui.timing = Some(Timing {
            num_units_in_tick: fields.u("num_units_in_tick", 32)?,
            time_scale: fields.u("time_scale", 32)?,
            fixed_frame_rate: fields.flag("fixed_frame_rate_flag")?,
        });
    }
    let nal_hrd = fields.flag("nal_hrd_parameters_present_flag")?;
    if nal_hrd {
        skip_hrd(fields)?;
    }
    let vcl_hrd = fields.flag("vcl_hrd_parameters_present_flag")?;
    if vcl_hrd {
        skip_hrd(fields)?;
    }
    if nal_hrd || vcl_hrd {
        fields.flag("low_delay_hrd_flag")?;
    }
    vui.pic_struct_present = fields.flag("pic_struct_present_flag")?;
    if fields.flag("bitstream_restriction_flag")? {
        vui.bitstream_restriction = Some(parse_bitstream_restriction(fields)?);
    }
    Ok(vui)
}

fn parse_aspect_ratio(fields: &mut Fields<'_>) -> Result<AspectRatio, Error> {
    match fields.u("aspect_ratio_idc", 8)? as u8 {
        255 => Ok(AspectRatio::Extended(
            fields.u("sar_width", 16)? as u16,
            fields.u("sar_height", 16)? as u16,
        )),
        idc => Ok(AspectRatio::Idc(idc)),
    }
}

/// `hrd_parameters()` (E.1.2).
fn skip_hrd(fields: &mut Fields<'_>) -> Result<(), Error> {
    let count = fields.ue("cpb_cnt_minus1", 31)? + 1;
    fields.u("bit_rate_scale", 4)?;
    fields.u("cpb_size_scale", 4)?;
    for _ in 0..count {
        fields.ue("bit_rate_value_minus1", u32::MAX - 1)?;
        fields.ue("cpb_size_value_minus1", u32::MAX - 1)?;
        fields.flag("cbr_flag")?;
    }
    fields.u("initial_cpb_removal_delay_length_minus1", 5)?;
    fields.u("cpb_removal_delay_length_minus1", 5)?;
    fields.u("dpb_output_delay_length_minus1", 5)?;
    fields.u("time_offset_length", 5)?;
    Ok(())
}

fn parse_bitstream_restriction(fields: &mut Fields<'_>) -> Result<BitstreamRestriction, Error> {
    fields.flag("motion_vectors_over_pic_boundaries_flag")?;
    fields.ue("max_bytes_per_pic_denom", 16)?;
    fields.ue("max_bits_per_mb_denom", 16)?;
    // At most 16 in editions before 2017, 15 since.
    fields.ue("log2_max_mv_length_horizontal", 16)?;
    fields.ue("log2_max_mv_length_vertical", 16)?;
    Ok(BitstreamRestriction {
        max_num_reorder_frames: fields.ue8("max_num_reorder_frames", 16)?,
        max_dec_frame_buffering: fields.ue8("max_dec_frame_buffering", 16)?,
    })
}

/// Appends `sps` to `out` as a NAL unit with start code. The same struct always gives the same bytes,
/// so that a decoder sees a change only where there is one.
///
/// No cropping is written: a V4L2 client crops by itself. No scaling lists either: [`super::write_pps`]
/// writes the ones that apply. A VUI says that no frame waits for reordering: whoever decodes the
/// rebuilt stream takes each picture when it is decoded, and a decoder that would hold pictures back
/// to put them in output order needs up to 16 frames more for it.
pub fn write_sps(out: &mut Vec<u8>, sps: &Sps) -> Result<(), Error> {
    sps.check()?;
    let mut writer = BitWriter::new();
    writer.u(8, sps.profile_idc.into());
    writer.u(8, sps.constraint_set_flags.reverse_bits().into());
    writer.u(8, sps.level_idc.into());
    writer.ue(sps.seq_parameter_set_id.into());
    if sps.has_chroma_format() {
        write_chroma_format(&mut writer, sps);
    }
    write_order(&mut writer, sps);
    writer.ue(sps.pic_width_in_mbs_minus1.into());
    writer.ue(sps.pic_height_in_map_units_minus1.into());
    writer.flag(sps.frame_mbs_only);
    if !sps.frame_mbs_only {
        writer.flag(sps.mb_adaptive_frame_field);
    }
    writer.flag(sps.direct_8x8_inference);
    let frame_cropping_flag = false;
    writer.flag(frame_cropping_flag);
    write_vui(&mut writer, sps);
    writer.trailing_bits();
    annexb::write_nal(out, &[0x67], &writer.into_bytes());
    Ok(())
}

fn write_chroma_format(writer: &mut BitWriter, sps: &Sps) {
    writer.ue(sps.chroma_format_idc.into());
    if sps.chroma_format_idc == 3 {
        writer.flag(sps.separate_colour_plane);
    }
    writer.ue(sps.bit_depth_luma_minus8.into());
    writer.ue(sps.bit_depth_chroma_minus8.into());
    writer.flag(sps.qpprime_y_zero_transform_bypass);
    let seq_scaling_matrix_present_flag = false;
    writer.flag(seq_scaling_matrix_present_flag);
}

fn write_order(writer: &mut BitWriter, sps: &Sps) {
    writer.ue(sps.log2_max_frame_num_minus4.into());
    writer.ue(sps.pic_order_cnt_type.into());
    match sps.pic_order_cnt_type {
        0 => writer.ue(sps.log2_max_pic_order_cnt_lsb_minus4.into()),
        1 => {
            writer.flag(sps.delta_pic_order_always_zero);
            writer.se(sps.offset_for_non_ref_pic);
            writer.se(sps.offset_for_top_to_bottom_field);
            writer.ue(sps.num_ref_frames_in_pic_order_cnt_cycle.into());
            for &offset in sps.pic_order_cnt_cycle() {
                writer.se(offset);
            }
        }
        _ => {}
    }
    writer.ue(sps.max_num_ref_frames.into());
    writer.flag(sps.gaps_in_frame_num_value_allowed);
}

/// `bitstream_restriction` alone, with no bound on anything but reordering.
fn write_vui(writer: &mut BitWriter, sps: &Sps) {
    let vui_parameters_present_flag = true;
    writer.flag(vui_parameters_present_flag);
    // No aspect ratio, overscan, signal type, chroma location, timing, HRD (two) or pic_struct.
    writer.u(8, 0);
    let bitstream_restriction_flag = true;
    writer.flag(bitstream_restriction_flag);
    let motion_vectors_over_pic_boundaries_flag = true;
    writer.flag(motion_vectors_over_pic_boundaries_flag);
    let (max_bytes_per_pic_denom, max_bits_per_mb_denom) = (0, 0);
    writer.ue(max_bytes_per_pic_denom);
    writer.ue(max_bits_per_mb_denom);
    let log2_max_mv_length = 15;
    writer.ue(log2_max_mv_length);
    writer.ue(log2_max_mv_length);
    let max_num_reorder_frames = 0;
    writer.ue(max_num_reorder_frames);
    let max_dec_frame_buffering = sps.max_num_ref_frames;
    writer.ue(max_dec_frame_buffering.into());
}
