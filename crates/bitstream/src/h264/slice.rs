//! Slice headers (7.3.3, semantics 7.4.3), with the bit sizes that V4L2 drivers ask for.
//!
//! Reading one takes no memory but the struct it fills: lists have the length that the standard
//! allows and lie in place.

use super::controls::{DecodeParams, Pps, PredWeights, Reference, SliceParams, Sps, WeightFactors};
use super::{Error, Fields, NalHeader, within};
use crate::list::List;

/// `slice_type` modulo 5 (Table 7-6), with the numbers of the V4L2 control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceType {
    /// P slice.
    P = 0,
    /// B slice.
    B = 1,
    /// I slice.
    I = 2,
    /// SP slice (Extended profile).
    Sp = 3,
    /// SI slice (Extended profile).
    Si = 4,
}

impl SliceType {
    /// Lists that the slice predicts from: 0 to 2.
    pub fn ref_lists(self) -> usize {
        match self {
            SliceType::P | SliceType::Sp => 1,
            SliceType::B => 2,
            SliceType::I | SliceType::Si => 0,
        }
    }
}

/// One operation of `ref_pic_list_modification()` (7.3.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefPicListModification {
    /// `modification_of_pic_nums_idc` 0: `abs_diff_pic_num_minus1`.
    Subtract(u32),
    /// 1: `abs_diff_pic_num_minus1`.
    Add(u32),
    /// 2: `long_term_pic_num`.
    LongTerm(u32),
}

/// For empty places of a list only.
impl Default for RefPicListModification {
    fn default() -> Self {
        RefPicListModification::Subtract(0)
    }
}

/// A memory management control operation (Table 7-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mmco {
    /// 1: a short-term picture is no reference any more.
    UnmarkShortTerm {
        /// `difference_of_pic_nums_minus1`.
        difference_of_pic_nums_minus1: u32,
    },
    /// 2: a long-term picture is no reference any more.
    UnmarkLongTerm {
        /// `long_term_pic_num`.
        long_term_pic_num: u32,
    },
    /// 3: a short-term picture becomes a long-term one.
    MakeLongTerm {
        /// `difference_of_pic_nums_minus1`.
        difference_of_pic_nums_minus1: u32,
        /// `long_term_frame_idx`.
        long_term_frame_idx: u8,
    },
    /// 4: no long-term frame index may be this one or above it.
    MaxLongTermFrameIdx {
        /// `max_long_term_frame_idx_plus1`.
        plus1: u8,
    },
    /// 5: nothing is a reference any more, and numbering starts anew.
    UnmarkAll,
    /// 6: the current picture becomes a long-term one.
    CurrentLongTerm {
        /// `long_term_frame_idx`.
        long_term_frame_idx: u8,
    },
}

/// For empty places of a list only.
impl Default for Mmco {
    fn default() -> Self {
        Mmco::UnmarkAll
    }
}

/// A list has at most 32 entries, and no more operations than entries.
pub const MAX_REF_PIC_LIST: usize = 32;

/// Each of 32 fields can be removed or made long-term once or both, and operations 4 to 6 come once.
pub const MAX_MARKING_OPERATIONS: usize = 67;

/// `dec_ref_pic_marking()` (7.3.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marking {
    /// The picture is no reference: `nal_ref_idc` is 0.
    None,
    /// IDR picture.
    Idr {
        /// `no_output_of_prior_pics_flag`.
        no_output_of_prior_pics: bool,
        /// `long_term_reference_flag`.
        long_term_reference: bool,
    },
    /// The oldest short-term reference makes room (8.2.5.3).
    SlidingWindow,
    /// `adaptive_ref_pic_marking_mode_flag`: by [`SliceHeader::operations`] (8.2.5.4).
    Adaptive,
}

/// A slice header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceHeader {
    /// Of the NAL unit.
    pub nal: NalHeader,
    /// `first_mb_in_slice`.
    pub first_mb_in_slice: u32,
    /// `slice_type` modulo 5.
    pub slice_type: SliceType,
    /// `slice_type` of 5 to 9: all slices of the picture are of this type.
    pub all_of_this_type: bool,
    /// `pic_parameter_set_id`.
    pub pic_parameter_set_id: u8,
    /// 0 to 2, with separate colour planes.
    pub colour_plane_id: u8,
    /// `frame_num`.
    pub frame_num: u16,
    /// `field_pic_flag`.
    pub field_pic: bool,
    /// `bottom_field_flag`.
    pub bottom_field: bool,
    /// `idr_pic_id`, of IDR pictures.
    pub idr_pic_id: u16,
    /// `pic_order_cnt_lsb`.
    pub pic_order_cnt_lsb: u16,
    /// `delta_pic_order_cnt_bottom`.
    pub delta_pic_order_cnt_bottom: i32,
    /// `delta_pic_order_cnt[]`.
    pub delta_pic_order_cnt: [i32; 2],
    /// 0 to 127; above 0 in redundant coded pictures, which a decoder passes over.
    pub redundant_pic_cnt: u8,
    /// `direct_spatial_mv_pred_flag`, of B slices.
    pub direct_spatial_mv_pred: bool,
    /// `num_ref_idx_active_override_flag`: the slice has its own numbers of entries, not the PPS's.
    pub num_ref_idx_active_override: bool,
    /// Entries of lists 0 and 1 (`num_ref_idx_lX_active_minus1 + 1`), 0 to 32; 0 for a list that the
    /// slice does not have.
    pub num_ref_idx_active: [u8; 2],
    /// Modifications of lists 0 and 1.
    pub ref_pic_list_modification: [List<RefPicListModification, MAX_REF_PIC_LIST>; 2],
    /// `pred_weight_table()`, where there is one.
    pub pred_weights: Option<PredWeights>,
    /// What becomes of the references after this picture.
    pub marking: Marking,
    /// The operations of adaptive marking, in order.
    pub operations: List<Mmco, MAX_MARKING_OPERATIONS>,
    /// 0 to 2.
    pub cabac_init_idc: u8,
    /// `slice_qp_delta`.
    pub slice_qp_delta: i8,
    /// `sp_for_switch_flag`, of SP slices.
    pub sp_for_switch: bool,
    /// `slice_qs_delta`, of SP and SI slices.
    pub slice_qs_delta: i8,
    /// 0 to 2.
    pub disable_deblocking_filter_idc: u8,
    /// -6 to 6.
    pub slice_alpha_c0_offset_div2: i8,
    /// -6 to 6.
    pub slice_beta_offset_div2: i8,
    /// `slice_group_change_cycle`.
    pub slice_group_change_cycle: u32,
    /// Bits from the NAL unit's first to `pic_order_cnt_lsb` or `delta_pic_order_cnt[0]`, or where one
    /// of them would be, without emulation prevention.
    pub pic_order_cnt_bit_offset: u32,
    /// Bits from `pic_order_cnt_lsb` or `delta_pic_order_cnt[0]` to the end of these elements, without
    /// emulation prevention.
    pub pic_order_cnt_bit_size: u32,
    /// Bits of `dec_ref_pic_marking()`, without emulation prevention.
    pub dec_ref_pic_marking_bit_size: u32,
    /// Bits from the NAL unit's first to `slice_data()`, without emulation prevention.
    pub header_bit_size: u32,
}

impl SliceHeader {
    /// `IdrPicFlag`.
    pub fn is_idr(&self) -> bool {
        self.nal.unit_type == 5
    }

    /// Whether a memory management control operation 5 is among the marking's.
    pub fn unmarks_all(&self) -> bool {
        self.operations.contains(&Mmco::UnmarkAll)
    }

    /// Whether this is the first slice of a primary coded picture, `previous` being the slice of a
    /// primary coded picture ahead of it (7.4.1.2.4). The comparisons that depend on the picture
    /// order count's type need no type: elements that are not sent are 0 in both.
    pub fn starts_picture(&self, previous: &SliceHeader) -> bool {
        let of_picture = |slice: &SliceHeader| {
            (
                slice.frame_num,
                slice.pic_parameter_set_id,
                (slice.field_pic, slice.bottom_field),
                slice.nal.ref_idc == 0,
                (slice.pic_order_cnt_lsb, slice.delta_pic_order_cnt_bottom),
                slice.delta_pic_order_cnt,
                (slice.is_idr(), slice.idr_pic_id),
            )
        };
        of_picture(self) != of_picture(previous)
    }

    /// The control's parameters that slices of a picture may differ in, with empty reference lists.
    pub fn slice_params(&self) -> SliceParams {
        SliceParams {
            header_bit_size: self.header_bit_size,
            first_mb_in_slice: self.first_mb_in_slice,
            slice_type: self.slice_type,
            colour_plane_id: self.colour_plane_id,
            redundant_pic_cnt: self.redundant_pic_cnt,
            cabac_init_idc: self.cabac_init_idc,
            slice_qp_delta: self.slice_qp_delta,
            slice_qs_delta: self.slice_qs_delta,
            disable_deblocking_filter_idc: self.disable_deblocking_filter_idc,
            slice_alpha_c0_offset_div2: self.slice_alpha_c0_offset_div2,
            slice_beta_offset_div2: self.slice_beta_offset_div2,
            num_ref_idx_l0_active_minus1: self.num_ref_idx_active[0].saturating_sub(1),
            num_ref_idx_l1_active_minus1: self.num_ref_idx_active[1].saturating_sub(1),
            ref_pic_list: [[Reference::default(); 32]; 2],
            direct_spatial_mv_pred: self.direct_spatial_mv_pred,
            sp_for_switch: self.sp_for_switch,
        }
    }

    /// The control's parameters that all slices of the picture share, with an empty `dpb` and no
    /// picture order count: see [`super::Picture::decode_params`].
    pub fn decode_params(&self) -> DecodeParams {
        DecodeParams {
            nal_ref_idc: self.nal.ref_idc,
            frame_num: self.frame_num,
            idr_pic_id: self.idr_pic_id,
            pic_order_cnt_lsb: self.pic_order_cnt_lsb,
            delta_pic_order_cnt_bottom: self.delta_pic_order_cnt_bottom,
            delta_pic_order_cnt0: self.delta_pic_order_cnt[0],
            delta_pic_order_cnt1: self.delta_pic_order_cnt[1],
            dec_ref_pic_marking_bit_size: self.dec_ref_pic_marking_bit_size,
            pic_order_cnt_bit_size: self.pic_order_cnt_bit_size,
            slice_group_change_cycle: self.slice_group_change_cycle,
            idr_pic: self.is_idr(),
            field_pic: self.field_pic,
            bottom_field: self.bottom_field,
            p_frame: self.slice_type == SliceType::P,
            b_frame: self.slice_type == SliceType::B,
            ..DecodeParams::default()
        }
    }
}

/// The PPS that the slice in `nal`, a NAL unit without start code, refers to.
pub fn slice_pps_id(nal: &[u8]) -> Result<u8, Error> {
    let header = NalHeader::parse(nal)?;
    if !header.has_slice_header() {
        return Err(header.unexpected("a slice"));
    }
    let mut fields = Fields::new(nal);
    fields.ue("first_mb_in_slice", u32::MAX - 1)?;
    fields.ue("slice_type", 9)?;
    fields.ue8("pic_parameter_set_id", 255)
}

/// Reads the slice header in `nal`, a NAL unit (types 1, 2 and 5) without start code. `sps` and `pps`
/// are the ones it refers to; a slice that names another PPS is refused.
pub fn parse_slice_header(nal: &[u8], sps: &Sps, pps: &Pps) -> Result<SliceHeader, Error> {
    let header = NalHeader::parse(nal)?;
    if !header.has_slice_header() {
        return Err(header.unexpected("a slice"));
    }
    sps.check()?;
    pps.check(sps)?;
    Parser {
        fields: Fields::new(nal),
        sps,
        pps,
        slice: empty(header),
    }
    .parse()
}

pub(super) fn empty(nal: NalHeader) -> SliceHeader {
    SliceHeader {
        nal,
        first_mb_in_slice: 0,
        slice_type: SliceType::I,
        all_of_this_type: false,
        pic_parameter_set_id: 0,
        colour_plane_id: 0,
        frame_num: 0,
        field_pic: false,
        bottom_field: false,
        idr_pic_id: 0,
        pic_order_cnt_lsb: 0,
        delta_pic_order_cnt_bottom: 0,
        delta_pic_order_cnt: [0; 2],
        redundant_pic_cnt: 0,
        direct_spatial_mv_pred: false,
        num_ref_idx_active_override: false,
        num_ref_idx_active: [0; 2],
        ref_pic_list_modification: [List::new(); 2],
        pred_weights: None,
        marking: Marking::None,
        operations: List::new(),
        cabac_init_idc: 0,
        slice_qp_delta: 0,
        sp_for_switch: false,
        slice_qs_delta: 0,
        disable_deblocking_filter_idc: 0,
        slice_alpha_c0_offset_div2: 0,
        slice_beta_offset_div2: 0,
        slice_group_change_cycle: 0,
        pic_order_cnt_bit_offset: 0,
        pic_order_cnt_bit_size: 0,
        dec_ref_pic_marking_bit_size: 0,
        header_bit_size: 0,
    }
}

struct Parser<'a> {
    fields: Fields<'a>,
    sps: &'a Sps,
    pps: &'a Pps,
    slice: SliceHeader,
}

impl Parser<'_> {
    fn parse(mut self) -> Result<SliceHeader, Error> {
        self.picture()?;
        self.picture_order()?;
        if self.pps.redundant_pic_cnt_present {
            self.slice.redundant_pic_cnt = self.fields.ue8("redundant_pic_cnt", 127)?;
        }
        if self.slice.slice_type == SliceType::B {
            self.slice.direct_spatial_mv_pred = self.fields.flag("direct_spatial_mv_pred_flag")?;
        }
        self.ref_counts()?;
        for list in 0..self.slice.slice_type.ref_lists() {
            self.ref_pic_list_modification(list)?;
        }
        if self.has_pred_weights() {
            self.slice.pred_weights = Some(self.pred_weight_table()?);
        }
        if self.slice.nal.ref_idc != 0 {
            let start = self.position();
            self.slice.marking = self.dec_ref_pic_marking()?;
            self.slice.dec_ref_pic_marking_bit_size = self.position() - start;
        }
        self.quantisers()?;
        if self.pps.deblocking_filter_control_present {
            self.deblocking()?;
        }
        if self.pps.slice_group_change_rate > 0 {
            self.slice_group_change_cycle()?;
        }
        self.slice.header_bit_size = self.position();
        Ok(self.slice)
    }

    /// A header is far shorter than 2^32 bits: no element or list of it is unbounded.
    fn position(&self) -> u32 {
        self.fields.0.position() as u32
    }

    fn picture(&mut self) -> Result<(), Error> {
        let (fields, slice, sps) = (&mut self.fields, &mut self.slice, self.sps);
        slice.first_mb_in_slice = fields.ue("first_mb_in_slice", u32::MAX - 1)?;
        let slice_type = fields.ue("slice_type", 9)?;
        slice.all_of_this_type = slice_type >= 5;
        slice.slice_type = match slice_type % 5 {
            0 => SliceType::P,
            1 => SliceType::B,
            2 => SliceType::I,
            3 => SliceType::Sp,
            _ => SliceType::Si,
        };
        let id = fields.ue8("pic_parameter_set_id", 255)?;
        slice.pic_parameter_set_id = id;
        if id != self.pps.pic_parameter_set_id {
            return Err(Error::NoParameterSet { set: "PPS", id });
        }
        if sps.separate_colour_plane {
            slice.colour_plane_id = fields.u("colour_plane_id", 2)? as u8;
            within("colour_plane_id", slice.colour_plane_id.into(), 0, 2)?;
        }
        let length = u32::from(sps.log2_max_frame_num_minus4) + 4;
        slice.frame_num = fields.u("frame_num", length)? as u16;
        if !sps.frame_mbs_only {
            slice.field_pic = fields.flag("field_pic_flag")?;
            if slice.field_pic {
                slice.bottom_field = fields.flag("bottom_field_flag")?;
            }
        }
        if slice.is_idr() {
            slice.idr_pic_id = fields.ue("idr_pic_id", 65535)? as u16;
            within("frame_num", slice.frame_num.into(), 0, 0)?;
        }
        let mbaff = sps.mb_adaptive_frame_field && !slice.field_pic;
        let frame_mbs = sps.width_in_mbs() * sps.frame_height_in_mbs();
        // A field has half of them, and in an MBAFF frame pairs are counted (7-34 and 7.4.3).
        let mbs = frame_mbs >> u32::from(slice.field_pic || mbaff);
        let first_mb = slice.first_mb_in_slice;
        within("first_mb_in_slice", first_mb.into(), 0, i64::from(mbs) - 1)
    }

    fn picture_order(&mut self) -> Result<(), Error> {
        let start = self.position();
        let (fields, slice, sps) = (&mut self.fields, &mut self.slice, self.sps);
        let both = self.pps.bottom_field_pic_order_in_frame_present && !slice.field_pic;
        let (min, max) = (-i32::MAX, i32::MAX);
        if sps.pic_order_cnt_type == 0 {
            let length = u32::from(sps.log2_max_pic_order_cnt_lsb_minus4) + 4;
            slice.pic_order_cnt_lsb = fields.u("pic_order_cnt_lsb", length)? as u16;
            if both {
                slice.delta_pic_order_cnt_bottom =
                    fields.se("delta_pic_order_cnt_bottom", min, max)?;
            }
        }
        if sps.pic_order_cnt_type == 1 && !sps.delta_pic_order_always_zero {
            slice.delta_pic_order_cnt[0] = fields.se("delta_pic_order_cnt[0]", min, max)?;
            if both {
                slice.delta_pic_order_cnt[1] = fields.se("delta_pic_order_cnt[1]", min, max)?;
            }
        }
        self.slice.pic_order_cnt_bit_offset = start;
        self.slice.pic_order_cnt_bit_size = self.position() - start;
        Ok(())
    }

    fn ref_counts(&mut self) -> Result<(), Error> {
        let lists = self.slice.slice_type.ref_lists();
        if lists == 0 {
            return Ok(());
        }
        let mut minus1 = [
            self.pps.num_ref_idx_l0_default_active_minus1,
            self.pps.num_ref_idx_l1_default_active_minus1,
        ];
        const NAMES: [&str; 2] = [
            "num_ref_idx_l0_active_minus1",
            "num_ref_idx_l1_active_minus1",
        ];
        let max = if self.slice.field_pic { 31 } else { 15 };
        let overridden = self.fields.flag("num_ref_idx_active_override_flag")?;
        self.slice.num_ref_idx_active_override = overridden;
        for list in 0..lists {
            if overridden {
                minus1[list] = self.fields.ue8(NAMES[list], max)?;
            }
            within(NAMES[list], minus1[list].into(), 0, max.into())?;
            self.slice.num_ref_idx_active[list] = minus1[list] + 1;
        }
        Ok(())
    }

    fn ref_pic_list_modification(&mut self, list: usize) -> Result<(), Error> {
        let field = "ref_pic_list_modification";
        if !self.fields.flag("ref_pic_list_modification_flag")? {
            return Ok(());
        }
        // MaxPicNum, less 1.
        let max = (self.sps.max_frame_num() << u32::from(self.slice.field_pic)) - 1;
        loop {
            let modification = match self.fields.ue("modification_of_pic_nums_idc", 3)? {
                0 => RefPicListModification::Subtract(
                    self.fields.ue("abs_diff_pic_num_minus1", max)?,
                ),
                1 => RefPicListModification::Add(self.fields.ue("abs_diff_pic_num_minus1", max)?),
                2 => RefPicListModification::LongTerm(self.fields.ue("long_term_pic_num", 31)?),
                _ => return Ok(()),
            };
            let modifications = &mut self.slice.ref_pic_list_modification[list];
            if modifications.len() == usize::from(self.slice.num_ref_idx_active[list]) {
                return Err(Error::TooMany { field });
            }
            let pushed = modifications.push(modification);
            pushed.map_err(|_| Error::TooMany { field })?;
        }
    }

    fn has_pred_weights(&self) -> bool {
        match self.slice.slice_type {
            SliceType::P | SliceType::Sp => self.pps.weighted_pred,
            SliceType::B => self.pps.weighted_bipred_idc == 1,
            SliceType::I | SliceType::Si => false,
        }
    }

    /// `pred_weight_table()` (7.3.3.2).
    fn pred_weight_table(&mut self) -> Result<PredWeights, Error> {
        let fields = &mut self.fields;
        let chroma = self.sps.chroma_array_type() != 0;
        let luma_denom = fields.ue8("luma_log2_weight_denom", 7)?;
        let chroma_denom = if chroma {
            fields.ue8("chroma_log2_weight_denom", 7)?
        } else {
            0
        };
        let inferred = WeightFactors {
            luma_weight: [1 << luma_denom; 32],
            luma_offset: [0; 32],
            chroma_weight: [[1 << chroma_denom; 2]; 32],
            chroma_offset: [[0; 2]; 32],
        };
        let mut table = PredWeights {
            luma_log2_weight_denom: luma_denom,
            chroma_log2_weight_denom: chroma_denom,
            weight_factors: [inferred; 2],
        };
        let counts = self.slice.num_ref_idx_active;
        for (factors, count) in table.weight_factors.iter_mut().zip(counts) {
            for index in 0..usize::from(count) {
                if fields.flag("luma_weight_flag")? {
                    factors.luma_weight[index] = fields.se("luma_weight", -128, 127)? as i16;
                    factors.luma_offset[index] = fields.se("luma_offset", -128, 127)? as i16;
                }
                if chroma && fields.flag("chroma_weight_flag")? {
                    for plane in 0..2 {
                        factors.chroma_weight[index][plane] =
                            fields.se("chroma_weight", -128, 127)? as i16;
                        factors.chroma_offset[index][plane] =
                            fields.se("chroma_offset", -128, 127)? as i16;
                    }
                }
            }
        }
        Ok(table)
    }

    fn dec_ref_pic_marking(&mut self) -> Result<Marking, Error> {
        if self.slice.is_idr() {
            return Ok(Marking::Idr {
                no_output_of_prior_pics: self.fields.flag("no_output_of_prior_pics_flag")?,
                long_term_reference: self.fields.flag("long_term_reference_flag")?,
            });
        }
        if !self.fields.flag("adaptive_ref_pic_marking_mode_flag")? {
            return Ok(Marking::SlidingWindow);
        }
        let field = "memory_management_control_operation";
        while let Some(operation) = self.mmco()? {
            let pushed = self.slice.operations.push(operation);
            pushed.map_err(|_| Error::TooMany { field })?;
        }
        Ok(Marking::Adaptive)
    }

    /// The next operation; `None` at the end of the list.
    fn mmco(&mut self) -> Result<Option<Mmco>, Error> {
        let fields = &mut self.fields;
        let max_difference = (self.sps.max_frame_num() << u32::from(self.slice.field_pic)) - 1;
        Ok(Some(
            match fields.ue("memory_management_control_operation", 6)? {
                0 => return Ok(None),
                1 => Mmco::UnmarkShortTerm {
                    difference_of_pic_nums_minus1: fields
                        .ue("difference_of_pic_nums_minus1", max_difference)?,
                },
                2 => Mmco::UnmarkLongTerm {
                    long_term_pic_num: fields.ue("long_term_pic_num", 31)?,
                },
                3 => Mmco::MakeLongTerm {
                    difference_of_pic_nums_minus1: fields
                        .ue("difference_of_pic_nums_minus1", max_difference)?,
                    long_term_frame_idx: fields.ue8("long_term_frame_idx", 15)?,
                },
                4 => Mmco::MaxLongTermFrameIdx {
                    plus1: fields.ue8("max_long_term_frame_idx_plus1", 16)?,
                },
                5 => Mmco::UnmarkAll,
                _ => Mmco::CurrentLongTerm {
                    long_term_frame_idx: fields.ue8("long_term_frame_idx", 15)?,
                },
            },
        ))
    }

    fn quantisers(&mut self) -> Result<(), Error> {
        let (fields, slice) = (&mut self.fields, &mut self.slice);
        let intra = slice.slice_type.ref_lists() == 0;
        if self.pps.entropy_coding_mode && !intra {
            slice.cabac_init_idc = fields.ue8("cabac_init_idc", 2)?;
        }
        // SliceQPY is -QpBdOffsetY to 51, and QSY is 0 to 51.
        let qp = 26 + self.pps.pic_init_qp_minus26;
        let min_qp = -self.sps.qp_bd_offset_luma();
        slice.slice_qp_delta = fields.se8("slice_qp_delta", min_qp - qp, 51 - qp)?;
        if matches!(slice.slice_type, SliceType::Sp | SliceType::Si) {
            if slice.slice_type == SliceType::Sp {
                slice.sp_for_switch = fields.flag("sp_for_switch_flag")?;
            }
            let qs = 26 + self.pps.pic_init_qs_minus26;
            slice.slice_qs_delta = fields.se8("slice_qs_delta", -qs, 51 - qs)?;
        }
        Ok(())
    }

    fn deblocking(&mut self) -> Result<(), Error> {
        let (fields, slice) = (&mut self.fields, &mut self.slice);
        slice.disable_deblocking_filter_idc = fields.ue8("disable_deblocking_filter_idc", 2)?;
        if slice.disable_deblocking_filter_idc != 1 {
            slice.slice_alpha_c0_offset_div2 = fields.se8("slice_alpha_c0_offset_div2", -6, 6)?;
            slice.slice_beta_offset_div2 = fields.se8("slice_beta_offset_div2", -6, 6)?;
        }
        Ok(())
    }

    /// `Ceil(Log2(PicSizeInMapUnits ÷ SliceGroupChangeRate + 1))` bits (7-36), where the quotient is
    /// not rounded: the number of values is that of whole and begun changes, and 0.
    fn slice_group_change_cycle(&mut self) -> Result<(), Error> {
        let map_height = u32::from(self.sps.pic_height_in_map_units_minus1) + 1;
        let map_units = self.sps.width_in_mbs() * map_height;
        let changes = map_units.div_ceil(self.pps.slice_group_change_rate);
        let length = 32 - changes.leading_zeros();
        let value = self.fields.u("slice_group_change_cycle", length)?;
        within("slice_group_change_cycle", value.into(), 0, changes.into())?;
        self.slice.slice_group_change_cycle = value;
        Ok(())
    }
}
