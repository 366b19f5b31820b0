//! Picture parameter sets: read (7.3.2.2), and written from the controls' structs.

use super::controls::{Pps, ScalingMatrix, Sps};
use super::{Error, Fields, NalHeader, NalType, ScalingLists, SeqParameterSet, within};
use crate::annexb;
use crate::bits::BitWriter;

/// A picture parameter set as a stream sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PicParameterSet {
    /// What the control carries. `scaling_matrix_present` is about this PPS's own lists only; see
    /// [`PicParameterSet::controls`].
    pub pps: Pps,
    /// Its scaling lists; `None` means those of the SPS.
    pub scaling: Option<ScalingLists>,
}

impl PicParameterSet {
    /// The two controls of a picture that uses this PPS with `sps`.
    pub fn controls(&self, sps: &SeqParameterSet) -> (Pps, ScalingMatrix) {
        let matrix = ScalingLists::apply(sps.scaling.as_ref(), self.scaling.as_ref());
        let pps = Pps {
            scaling_matrix_present: matrix.is_some(),
            ..self.pps.clone()
        };
        (pps, matrix.unwrap_or(ScalingMatrix::FLAT))
    }
}

/// Reads the PPS in `nal`, a NAL unit without start code. How many 8x8 scaling lists there are
/// depends on the `chroma_format_idc` of the SPS it refers to, which `chroma_format_idc` looks up by
/// the SPS's id.
pub fn parse_pps(
    nal: &[u8],
    chroma_format_idc: impl FnOnce(u8) -> Result<u8, Error>,
) -> Result<PicParameterSet, Error> {
    let header = NalHeader::parse(nal)?;
    if header.kind() != NalType::Pps {
        return Err(header.unexpected("a PPS"));
    }
    let mut fields = Fields::new(nal);
    let mut pps = Pps {
        pic_parameter_set_id: fields.ue8("pic_parameter_set_id", 255)?,
        seq_parameter_set_id: fields.ue8("seq_parameter_set_id", 31)?,
        entropy_coding_mode: fields.flag("entropy_coding_mode_flag")?,
        bottom_field_pic_order_in_frame_present: fields
            .flag("bottom_field_pic_order_in_frame_present_flag")?,
        num_slice_groups_minus1: fields.ue8("num_slice_groups_minus1", 7)?,
        ..Pps::default()
    };
    if pps.num_slice_groups_minus1 > 0 {
        pps.slice_group_change_rate = parse_slice_groups(&mut fields, pps.num_slice_groups_minus1)?;
    }
    pps.num_ref_idx_l0_default_active_minus1 =
        fields.ue8("num_ref_idx_l0_default_active_minus1", 31)?;
    pps.num_ref_idx_l1_default_active_minus1 =
        fields.ue8("num_ref_idx_l1_default_active_minus1", 31)?;
    pps.weighted_pred = fields.flag("weighted_pred_flag")?;
    pps.weighted_bipred_idc = fields.u("weighted_bipred_idc", 2)? as u8;
    within("weighted_bipred_idc", pps.weighted_bipred_idc.into(), 0, 2)?;
    // The lower bound depends on the bit depth: this is the one of 14 bits.
    pps.pic_init_qp_minus26 = fields.se8("pic_init_qp_minus26", -62, 25)?;
    pps.pic_init_qs_minus26 = fields.se8("pic_init_qs_minus26", -26, 25)?;
    pps.chroma_qp_index_offset = fields.se8("chroma_qp_index_offset", -12, 12)?;
    pps.second_chroma_qp_index_offset = pps.chroma_qp_index_offset;
    pps.deblocking_filter_control_present =
        fields.flag("deblocking_filter_control_present_flag")?;
    pps.constrained_intra_pred = fields.flag("constrained_intra_pred_flag")?;
    pps.redundant_pic_cnt_present = fields.flag("redundant_pic_cnt_present_flag")?;
    let scaling = if fields.0.more_rbsp_data() {
        parse_extension(&mut fields, &mut pps, chroma_format_idc)?
    } else {
        None
    };
    Ok(PicParameterSet { pps, scaling })
}

/// What PPSs of the High profiles have behind the rest.
fn parse_extension(
    fields: &mut Fields<'_>,
    pps: &mut Pps,
    chroma_format_idc: impl FnOnce(u8) -> Result<u8, Error>,
) -> Result<Option<ScalingLists>, Error> {
    pps.transform_8x8_mode = fields.flag("transform_8x8_mode_flag")?;
    pps.scaling_matrix_present = fields.flag("pic_scaling_matrix_present_flag")?;
    let mut scaling = None;
    if pps.scaling_matrix_present {
        let count_8x8 = if pps.transform_8x8_mode {
            count_8x8(chroma_format_idc(pps.seq_parameter_set_id)?)
        } else {
            0
        };
        scaling = Some(ScalingLists::parse(fields, count_8x8)?);
    }
    pps.second_chroma_qp_index_offset = fields.se8("second_chroma_qp_index_offset", -12, 12)?;
    Ok(scaling)
}

/// 8x8 lists for Cb and Cr exist in 4:4:4 only.
fn count_8x8(chroma_format_idc: u8) -> usize {
    if chroma_format_idc == 3 { 6 } else { 2 }
}

/// The slice group map, which is passed over, and `SliceGroupChangeRate` or 0.
fn parse_slice_groups(fields: &mut Fields<'_>, num_slice_groups_minus1: u8) -> Result<u32, Error> {
    let any = u32::MAX - 1;
    match fields.ue("slice_group_map_type", 6)? {
        0 => {
            for _ in 0..=num_slice_groups_minus1 {
                fields.ue("run_length_minus1", any)?;
            }
        }
        2 => {
            for _ in 0..num_slice_groups_minus1 {
                fields.ue("top_left", any)?;
                fields.ue("bottom_right", any)?;
            }
        }
        3..=5 => {
            fields.flag("slice_group_change_direction_flag")?;
            return Ok(fields.ue("slice_group_change_rate_minus1", any)? + 1);
        }
        6 => {
            let length = 8 - num_slice_groups_minus1.leading_zeros();
            // As many as the SPS has map units; the data's end bounds the loop.
            for _ in 0..=fields.ue("pic_size_in_map_units_minus1", any)? {
                fields.u("slice_group_id", length)?;
            }
        }
        _ => {}
    }
    Ok(0)
}

/// Appends `pps` to `out` as a NAL unit with start code. The same structs always give the same bytes.
///
/// `matrix` is written, list by list, where `pps.scaling_matrix_present` is set; without it the lists
/// are flat, for [`super::write_sps`] writes none. The part that only the High profiles know is left
/// out where it would say nothing.
pub fn write_pps(
    out: &mut Vec<u8>,
    sps: &Sps,
    pps: &Pps,
    matrix: &ScalingMatrix,
) -> Result<(), Error> {
    pps.check(sps)?;
    if pps.num_slice_groups_minus1 > 0 {
        return Err(Error::Unsupported("slice groups (FMO)"));
    }
    let mut writer = BitWriter::new();
    writer.ue(pps.pic_parameter_set_id.into());
    writer.ue(pps.seq_parameter_set_id.into());
    writer.flag(pps.entropy_coding_mode);
    writer.flag(pps.bottom_field_pic_order_in_frame_present);
    writer.ue(pps.num_slice_groups_minus1.into());
    writer.ue(pps.num_ref_idx_l0_default_active_minus1.into());
    writer.ue(pps.num_ref_idx_l1_default_active_minus1.into());
    writer.flag(pps.weighted_pred);
    writer.u(2, pps.weighted_bipred_idc.into());
    writer.se(pps.pic_init_qp_minus26.into());
    writer.se(pps.pic_init_qs_minus26.into());
    writer.se(pps.chroma_qp_index_offset.into());
    writer.flag(pps.deblocking_filter_control_present);
    writer.flag(pps.constrained_intra_pred);
    writer.flag(pps.redundant_pic_cnt_present);
    let plain_offset = pps.second_chroma_qp_index_offset == pps.chroma_qp_index_offset;
    if pps.transform_8x8_mode || pps.scaling_matrix_present || !plain_offset {
        writer.flag(pps.transform_8x8_mode);
        writer.flag(pps.scaling_matrix_present);
        if pps.scaling_matrix_present {
            let count = if pps.transform_8x8_mode {
                count_8x8(sps.chroma_format_idc)
            } else {
                0
            };
            matrix.write(&mut writer, count)?;
        }
        writer.se(pps.second_chroma_qp_index_offset.into());
    }
    writer.trailing_bits();
    annexb::write_nal(out, &[0x68], &writer.into_bytes());
    Ok(())
}
