//! H.264, ITU-T H.264 (08/2021): parameter sets ahead of the slices, and the references that each
//! slice predicts from.
//!
//! Slices pass through as they are. A parameter set is written when its content is new to the
//! decoder: the same content always gives the same bytes, and a set that the decoder has already
//! changes nothing. Clients hand on the PPS of the first slice only, so one that another slice
//! names must have been the first of an earlier picture.
//!
//! libavcodec keeps references by sliding window and marking, as the standard says, and so does
//! `bitstream`'s `Dpb` from the same slice headers. When the client's `dpb[]` names other pictures
//! than are held, the lists of every slice are built from both views. What counts is whether a place
//! of a list that both can fill is filled alike:
//!
//! ```text
//!   client \ decoder    picture         gap                          nothing
//!   picture             must be equal   wrong, unless it is a copy   wrong
//!   picture that        wrong           wrong                        wrong
//!     nobody has
//!   gap, no entry       good            good                         good
//! ```
//!
//! Nothing predicts from a gap in a stream that may have gaps, and nothing from a picture ahead of a
//! place where a client may begin (recovery points), of which it then has no entry.
//!
//! In a stream that may not have gaps one is a loss. The decoder makes pictures up without a word, what
//! the lost ones unmarked stays, and B pictures sort made-up order counts into their lists. So whatever
//! may predict from before the next intra picture is [`Plan::guessed`].

mod lists;

use super::{Fate, Held, Named, Plan, Refusal};
use crate::wire::{Capture, Controls, H264Controls, Job, Reference};
use bitstream::annexb;
use bitstream::h264::{
    self, Dpb, NalHeader, NalType, PicOrderCnt, Pps, ScalingMatrix, SliceHeader, Sps,
};
use lists::{BOTH, BOTTOM, Current, Entry, Place, TOP, Whose};
use thiserror::Error;
use v4l2::uapi::controls::h264::{
    V4L2_H264_DPB_ENTRY_FLAG_ACTIVE, V4L2_H264_DPB_ENTRY_FLAG_LONG_TERM,
    V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT,
    V4L2_H264_PPS_FLAG_CONSTRAINED_INTRA_PRED,
    V4L2_H264_PPS_FLAG_DEBLOCKING_FILTER_CONTROL_PRESENT, V4L2_H264_PPS_FLAG_ENTROPY_CODING_MODE,
    V4L2_H264_PPS_FLAG_REDUNDANT_PIC_CNT_PRESENT, V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT,
    V4L2_H264_PPS_FLAG_TRANSFORM_8X8_MODE, V4L2_H264_PPS_FLAG_WEIGHTED_PRED,
    V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO, V4L2_H264_SPS_FLAG_DIRECT_8X8_INFERENCE,
    V4L2_H264_SPS_FLAG_FRAME_MBS_ONLY, V4L2_H264_SPS_FLAG_GAPS_IN_FRAME_NUM_VALUE_ALLOWED,
    V4L2_H264_SPS_FLAG_MB_ADAPTIVE_FRAME_FIELD, V4L2_H264_SPS_FLAG_QPPRIME_Y_ZERO_TRANSFORM_BYPASS,
    V4L2_H264_SPS_FLAG_SEPARATE_COLOUR_PLANE, v4l2_ctrl_h264_pps, v4l2_ctrl_h264_sps,
};

/// Why a picture cannot be rebuilt.
#[derive(Debug, Error)]
pub enum Error {
    /// A control or a slice header has a value that is not allowed or not decoded.
    #[error("{what}")]
    Header {
        /// `parameter sets` or `slice n`.
        what: String,
        /// What is wrong.
        source: h264::Error,
    },
    /// The OUTPUT buffer holds no slice.
    #[error("no slice in {0} bytes")]
    NoSlice(usize),
    /// A slice belongs to another picture than the first.
    #[error("slice {0} begins another picture")]
    OtherPicture(usize),
    /// A slice names a PPS that was never the first of a picture.
    #[error("slice {slice} refers to PPS {pps}, which was not given")]
    NoPps {
        /// Which slice.
        slice: usize,
        /// `pic_parameter_set_id`
        pps: u8,
    },
    /// Nothing here decodes it.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
}

fn header(what: &str) -> impl FnOnce(h264::Error) -> Error + '_ {
    move |source| Error::Header {
        what: what.to_owned(),
        source,
    }
}

/// A PPS that the decoder has, or has with the next unit that it is given.
#[derive(Debug)]
struct KnownPps {
    pps: Pps,
    bytes: Vec<u8>,
    sent: bool,
}

/// A frame that was decoded, as long as it may be referred to.
#[derive(Debug, Clone, Copy)]
struct Frame {
    held: Held,
    /// Fields that were decoded.
    fields: u8,
}

/// References were lost.
#[derive(Debug, Clone, Copy)]
struct Loss {
    /// The order count of an intra picture since: what is shown after it predicts from nothing
    /// before it.
    intra: Option<i32>,
}

/// A first field that its second may follow.
#[derive(Debug, Clone, Copy)]
struct FirstField {
    job: u64,
    fields: u8,
    capture: Capture,
}

#[derive(Debug)]
struct Prepared {
    /// What the decoder holds once this picture is decoded.
    dpb: Dpb,
    /// The name of its frame there.
    id: u64,
    picture: Held,
    fields: u8,
    first_field: Option<FirstField>,
    loss: Option<Loss>,
    plan: Plan,
}

/// The state of a stream.
#[derive(Debug, Default)]
pub struct Rebuild {
    headers: Vec<u8>,
    /// The slices were copied behind the headers, without what lay between them.
    copied: bool,
    sps: Vec<u8>,
    sps_sent: bool,
    pps: Vec<KnownPps>,
    slices: Vec<SliceHeader>,
    dpb: Dpb,
    frames: Vec<Frame>,
    first_field: Option<FirstField>,
    loss: Option<Loss>,
    prepared: Option<Prepared>,
}

impl Rebuild {
    pub(super) fn prepare(&mut self, job: &Job) -> Result<Plan, Refusal> {
        let Controls::H264(controls) = &job.controls else {
            return Err(Refusal::OtherCodec(job.controls.codec()));
        };
        self.prepared = None;
        let sps = sps_of(&controls.sps);
        self.read_slices(controls, &sps, job.data)?;
        let first = self.slices[0].clone();
        let fields = fields_of(&first);
        let completed = self.first_field.filter(|field| {
            fields != BOTH
                && field.fields | fields == BOTH
                && field.capture.index == job.capture.index
                && field.capture.generation == job.capture.generation
        });
        let named = self.named(controls, job);
        let mut dpb = self.dpb.clone();
        let mut decoded = dpb
            .decode(job.number, &sps, &first)
            .map_err(header("slice 0"))?;
        let gaps_allowed = sps.gaps_in_frame_num_value_allowed;
        let lost = decoded.frame_num_gap > 0 && !gaps_allowed;
        // What was made up for lost pictures may have pushed out all that the decoder held.
        let restart = completed.is_none()
            && !first.is_idr()
            && named.is_empty()
            && (lost || decoded.held.iter().any(|held| !held.non_existing));
        if restart {
            self.forget();
            dpb.clear();
            decoded = dpb
                .decode(job.number, &sps, &first)
                .map_err(header("slice 0"))?;
        }
        let current = Current {
            frame_num: first.frame_num.into(),
            max_frame_num: sps.max_frame_num() as i32,
            fields,
            poc: lower_count(&decoded.poc, fields),
        };
        self.check_references(&named, &decoded, &current, gaps_allowed)?;
        let fresh = restart || first.is_idr();
        let mut loss = self.loss.filter(|_| !fresh);
        if lost && !restart {
            loss = Some(Loss { intra: None });
        }
        let is_intra = |slice: &SliceHeader| slice.slice_type == h264::SliceType::I;
        let intra = self.slices.iter().all(is_intra);
        let guessed =
            !intra && loss.is_some_and(|loss| loss.intra.is_none_or(|count| current.poc < count));
        if let Some(loss) = loss.as_mut().filter(|_| intra && first.nal.ref_idc != 0) {
            loss.intra = Some(current.poc);
        }
        let plan = Plan {
            restart,
            fresh,
            guessed,
            picture_of: completed.map_or(job.number, |first| first.job),
            reference: first.nal.ref_idc != 0,
        };
        self.prepared = Some(Prepared {
            dpb,
            id: decoded.id,
            picture: Held::new(job),
            fields,
            first_field: (fields != BOTH && completed.is_none()).then_some(FirstField {
                job: job.number,
                fields,
                capture: job.capture,
            }),
            loss,
            plan,
        });
        Ok(plan)
    }

    pub(super) fn parts<'a>(&'a self, data: &'a [u8]) -> [&'a [u8]; 2] {
        [&self.headers, if self.copied { &[] } else { data }]
    }

    pub(super) fn decoded(&mut self, fate: Fate) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        // What could not be decoded may have been refused from its first byte on.
        let sent = fate != Fate::Nothing;
        self.sps_sent = sent;
        for known in &mut self.pps {
            known.sent = sent;
        }
        if fate == Fate::Nothing && prepared.plan.reference {
            self.forget();
            return;
        }
        self.first_field = prepared.first_field;
        self.loss = prepared.loss;
        self.dpb = prepared.dpb;
        if !prepared.plan.reference {
            return;
        }
        let failed = fate != Fate::Decoded;
        let frame = self
            .frames
            .iter_mut()
            .find(|frame| frame.held.job == prepared.id);
        match frame {
            Some(frame) => {
                frame.held.second = prepared.picture.job;
                frame.held.failed |= failed;
                frame.fields |= prepared.fields;
            }
            None => {
                // One entry for each reference, and a few that are none any longer.
                const KEPT: usize = 32;
                if self.frames.len() == KEPT {
                    self.frames.remove(0);
                }
                self.frames.push(Frame {
                    held: Held {
                        failed,
                        ..prepared.picture
                    },
                    fields: prepared.fields,
                });
            }
        }
    }

    /// The decoder holds nothing any longer.
    fn forget(&mut self) {
        self.dpb.clear();
        self.frames.clear();
        self.first_field = None;
        self.loss = None;
    }

    /// Reads the headers of all slices and puts together what the decoder needs ahead of them.
    fn read_slices(
        &mut self,
        controls: &H264Controls,
        sps: &Sps,
        data: &[u8],
    ) -> Result<(), Error> {
        self.headers.clear();
        self.slices.clear();
        // Anything but slices would tell the decoder something that the controls do not.
        self.copied = !data.starts_with(&[0, 0, 1]) && !data.starts_with(&[0, 0, 0, 1]);
        for nal in annexb::nal_units(data) {
            let kind = NalHeader::parse(nal).map_err(header("slices"))?.kind();
            match kind {
                NalType::Slice | NalType::IdrSlice if self.slices.is_empty() => {
                    self.write_parameter_sets(controls, sps, nal)?;
                    self.read_slice(sps, nal)?;
                }
                NalType::Slice | NalType::IdrSlice => self.read_slice(sps, nal)?,
                NalType::DataPartition(_) => {
                    return Err(Error::Unsupported("data partitions (Extended profile)"));
                }
                _ => self.copied = true,
            }
        }
        if self.slices.is_empty() {
            return Err(Error::NoSlice(data.len()));
        }
        if self.copied {
            for nal in annexb::nal_units(data) {
                if matches!(nal[0] & 0x1f, 1 | 5) {
                    self.headers.extend_from_slice(&annexb::START_CODE);
                    self.headers.extend_from_slice(nal);
                }
            }
        }
        Ok(())
    }

    fn write_parameter_sets(
        &mut self,
        controls: &H264Controls,
        sps: &Sps,
        first_slice: &[u8],
    ) -> Result<(), Error> {
        let what = "parameter sets";
        h264::write_sps(&mut self.headers, sps).map_err(header(what))?;
        if self.headers != self.sps {
            // libavcodec drops the picture parameter sets of a sequence that changes.
            self.sps.clone_from(&self.headers);
            self.sps_sent = false;
            self.pps.clear();
        }
        if self.sps_sent {
            self.headers.clear();
        }
        let id = h264::slice_pps_id(first_slice).map_err(header("slice 0"))?;
        let mut pps = pps_of(&controls.pps);
        // By definition these are the ids, whatever a client fills in.
        pps.pic_parameter_set_id = id;
        pps.seq_parameter_set_id = sps.seq_parameter_set_id;
        let matrix = ScalingMatrix {
            scaling_list_4x4: controls.scaling.scaling_list_4x4,
            scaling_list_8x8: controls.scaling.scaling_list_8x8,
        };
        let start = self.headers.len();
        h264::write_pps(&mut self.headers, sps, &pps, &matrix).map_err(header(what))?;
        let bytes = &self.headers[start..];
        let known = self
            .pps
            .iter()
            .position(|known| known.pps.pic_parameter_set_id == id);
        if let Some(index) = known {
            if self.pps[index].bytes == bytes {
                if self.pps[index].sent {
                    self.headers.truncate(start);
                }
                return Ok(());
            }
            self.pps.remove(index);
        }
        self.pps.push(KnownPps {
            pps,
            bytes: bytes.to_owned(),
            sent: false,
        });
        Ok(())
    }

    fn read_slice(&mut self, sps: &Sps, nal: &[u8]) -> Result<(), Error> {
        let nth = self.slices.len();
        let what = format!("slice {nth}");
        let id = h264::slice_pps_id(nal).map_err(header(&what))?;
        let known = self
            .pps
            .iter()
            .find(|known| known.pps.pic_parameter_set_id == id)
            .ok_or(Error::NoPps {
                slice: nth,
                pps: id,
            })?;
        let slice = h264::parse_slice_header(nal, sps, &known.pps).map_err(header(&what))?;
        if matches!(slice.slice_type, h264::SliceType::Sp | h264::SliceType::Si) {
            return Err(Error::Unsupported("SP and SI slices (Extended profile)"));
        }
        // The decoder passes over redundant pictures, which are there in case the primary is lost.
        if slice.redundant_pic_cnt > 0 && nth > 0 {
            return Ok(());
        }
        if self
            .slices
            .first()
            .is_some_and(|first| slice.starts_picture(first))
        {
            return Err(Error::OtherPicture(nth));
        }
        self.slices.push(slice);
        Ok(())
    }

    /// The references that the client names, each once. Their numbers count where the decoder has
    /// none of its own: GStreamer's of long-term references are not what V4L2 asks for.
    fn named(&self, controls: &H264Controls, job: &Job) -> Vec<Entry> {
        let mut all: Vec<Entry> = Vec::new();
        for (index, entry) in controls.decode.dpb.iter().enumerate() {
            if entry.flags & V4L2_H264_DPB_ENTRY_FLAG_ACTIVE == 0 {
                continue;
            }
            let Some(named) = job.references.get(index) else {
                continue;
            };
            let job = self.meant(named).map(|frame| frame.held.job).or(named.job);
            let timestamp = named.timestamp;
            let whose = job.map_or(Whose::Nobody { timestamp }, Whose::Job);
            if all.iter().any(|other| other.whose == whose) {
                continue;
            }
            let count = PicOrderCnt {
                top: entry.top_field_order_cnt,
                bottom: entry.bottom_field_order_cnt,
            };
            all.push(Entry {
                whose,
                timestamp,
                fields: entry.fields & BOTH,
                long_term: entry.flags & V4L2_H264_DPB_ENTRY_FLAG_LONG_TERM != 0,
                number: entry.frame_num.into(),
                poc: lower_count(&count, entry.fields),
            });
        }
        all
    }

    /// The frame that the client means.
    fn meant(&self, named: Reference) -> Option<&Frame> {
        let newest_first = || self.frames.iter().rev();
        newest_first()
            .find(|frame| !frame.held.failed && frame.held.is_meant_by(named))
            .or_else(|| {
                newest_first()
                    .find(|frame| frame.held.failed && frame.held.timestamp == named.timestamp)
            })
    }

    /// The references as the decoder has them.
    fn held(&self, picture: &h264::Picture) -> Vec<Entry> {
        // libavcodec makes a gap a copy of the short-term reference before it, counted on by 2.
        let mut before: Option<(u64, i32)> = None;
        let mut entries = Vec::with_capacity(picture.held.len());
        for held in picture.held.iter() {
            if held.non_existing {
                before = before.map(|(job, count)| (job, count.wrapping_add(2)));
            }
            let decoded = self
                .frames
                .iter()
                .find(|frame| frame.held.job == held.id)
                .map_or(held.fields, |frame| frame.fields);
            let entry = Entry {
                whose: if held.non_existing {
                    Whose::Gap {
                        copy_of: before.map(|(job, _)| job),
                    }
                } else {
                    Whose::Job(held.id)
                },
                timestamp: 0,
                fields: held.fields,
                long_term: held.long_term,
                number: held.frame_num.into(),
                poc: match before {
                    Some((_, count)) if held.non_existing => count,
                    _ => lower_count(&held.poc, decoded),
                },
            };
            if !held.non_existing && !held.long_term {
                before = Some((held.id, entry.poc));
            }
            entries.push(entry);
        }
        entries
    }

    fn check_references(
        &self,
        named: &[Entry],
        picture: &h264::Picture,
        current: &Current,
        gaps_allowed: bool,
    ) -> Result<(), Refusal> {
        let held = self.held(picture);
        let is_in = |entries: &[Entry], whose| entries.iter().any(|entry| entry.whose == whose);
        // GStreamer fills entries for gaps too, all with the first picture's timestamp.
        let is_gap = |named: &Entry| {
            gaps_allowed
                && named.timestamp == 0
                && held.iter().any(|entry| {
                    matches!(entry.whose, Whose::Gap { .. })
                        && !named.long_term
                        && entry.number == named.number
                })
        };
        let missing: Vec<Entry> = named
            .iter()
            .filter(|named| !is_in(&held, named.whose) && !is_gap(named))
            .copied()
            .collect();
        // What the client sees of what is held. It need not name the first field of the frame that
        // this field completes, and where it has a picture there is no gap.
        let is_seen = |entry: &&Entry| match entry.whose {
            Whose::Job(job) => job == picture.id || is_in(named, entry.whose),
            _ => !missing
                .iter()
                .any(|missing| !missing.long_term && missing.number == entry.number),
        };
        let view: Vec<Entry> = held.iter().filter(is_seen).copied().collect();
        if view.len() == held.len() && missing.is_empty() {
            return Ok(());
        }
        let view = [view, missing].concat();
        for (nth, slice) in self.slices.iter().enumerate() {
            let lists = [&view, &held].map(|entries| lists::build(entries, current, slice));
            for (list, (named, held)) in lists[0].iter().zip(&lists[1]).enumerate() {
                for (index, (named, held)) in named.iter().zip(held).enumerate() {
                    if !is_good(*named, *held) {
                        return Err(Refusal::Mismatch {
                            place: format!("slice {nth}, list {list}, place {index}"),
                            named: place(*named),
                            held: place(*held),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// The table at the top of this file.
fn is_good(named: Option<Place>, held: Option<Place>) -> bool {
    let Some(named) = named else {
        return true;
    };
    let held = held.filter(|held| held.fields == named.fields);
    match (named.whose, held.map(|held| held.whose)) {
        (Whose::Gap { .. }, _) => true,
        (Whose::Job(job), Some(Whose::Job(other))) => job == other,
        (Whose::Job(job), Some(Whose::Gap { copy_of })) => copy_of == Some(job),
        (Whose::Job(_) | Whose::Nobody { .. }, _) => false,
    }
}

fn place(place: Option<Place>) -> Named {
    match place.map(|place| place.whose) {
        None => Named::Nothing,
        Some(Whose::Gap { .. }) => Named::Gap,
        Some(Whose::Job(job)) => Named::Job(job),
        Some(Whose::Nobody { timestamp }) => Named::Timestamp(timestamp),
    }
}

fn fields_of(slice: &SliceHeader) -> u8 {
    match (slice.field_pic, slice.bottom_field) {
        (false, _) => BOTH,
        (true, false) => TOP,
        (true, true) => BOTTOM,
    }
}

/// `PicOrderCnt` (8-1) of these fields.
fn lower_count(count: &PicOrderCnt, fields: u8) -> i32 {
    match fields & BOTH {
        TOP => count.top,
        BOTTOM => count.bottom,
        _ => count.top.min(count.bottom),
    }
}

fn sps_of(control: &v4l2_ctrl_h264_sps) -> Sps {
    let flag = |flag| control.flags & flag != 0;
    Sps {
        profile_idc: control.profile_idc,
        constraint_set_flags: control.constraint_set_flags,
        level_idc: control.level_idc,
        seq_parameter_set_id: control.seq_parameter_set_id,
        chroma_format_idc: control.chroma_format_idc,
        separate_colour_plane: flag(V4L2_H264_SPS_FLAG_SEPARATE_COLOUR_PLANE),
        bit_depth_luma_minus8: control.bit_depth_luma_minus8,
        bit_depth_chroma_minus8: control.bit_depth_chroma_minus8,
        qpprime_y_zero_transform_bypass: flag(V4L2_H264_SPS_FLAG_QPPRIME_Y_ZERO_TRANSFORM_BYPASS),
        log2_max_frame_num_minus4: control.log2_max_frame_num_minus4,
        pic_order_cnt_type: control.pic_order_cnt_type,
        log2_max_pic_order_cnt_lsb_minus4: control.log2_max_pic_order_cnt_lsb_minus4,
        delta_pic_order_always_zero: flag(V4L2_H264_SPS_FLAG_DELTA_PIC_ORDER_ALWAYS_ZERO),
        offset_for_non_ref_pic: control.offset_for_non_ref_pic,
        offset_for_top_to_bottom_field: control.offset_for_top_to_bottom_field,
        num_ref_frames_in_pic_order_cnt_cycle: control.num_ref_frames_in_pic_order_cnt_cycle,
        offset_for_ref_frame: control.offset_for_ref_frame,
        max_num_ref_frames: control.max_num_ref_frames,
        gaps_in_frame_num_value_allowed: flag(V4L2_H264_SPS_FLAG_GAPS_IN_FRAME_NUM_VALUE_ALLOWED),
        pic_width_in_mbs_minus1: control.pic_width_in_mbs_minus1,
        pic_height_in_map_units_minus1: control.pic_height_in_map_units_minus1,
        frame_mbs_only: flag(V4L2_H264_SPS_FLAG_FRAME_MBS_ONLY),
        mb_adaptive_frame_field: flag(V4L2_H264_SPS_FLAG_MB_ADAPTIVE_FRAME_FIELD),
        direct_8x8_inference: flag(V4L2_H264_SPS_FLAG_DIRECT_8X8_INFERENCE),
    }
}

fn pps_of(control: &v4l2_ctrl_h264_pps) -> Pps {
    let flag = |flag| control.flags & flag != 0;
    Pps {
        pic_parameter_set_id: control.pic_parameter_set_id,
        seq_parameter_set_id: control.seq_parameter_set_id,
        entropy_coding_mode: flag(V4L2_H264_PPS_FLAG_ENTROPY_CODING_MODE),
        bottom_field_pic_order_in_frame_present: flag(
            V4L2_H264_PPS_FLAG_BOTTOM_FIELD_PIC_ORDER_IN_FRAME_PRESENT,
        ),
        num_slice_groups_minus1: control.num_slice_groups_minus1,
        // Not in the control: pictures with slice groups are refused.
        slice_group_change_rate: 0,
        num_ref_idx_l0_default_active_minus1: control.num_ref_idx_l0_default_active_minus1,
        num_ref_idx_l1_default_active_minus1: control.num_ref_idx_l1_default_active_minus1,
        weighted_pred: flag(V4L2_H264_PPS_FLAG_WEIGHTED_PRED),
        weighted_bipred_idc: control.weighted_bipred_idc,
        pic_init_qp_minus26: control.pic_init_qp_minus26,
        pic_init_qs_minus26: control.pic_init_qs_minus26,
        chroma_qp_index_offset: control.chroma_qp_index_offset,
        second_chroma_qp_index_offset: control.second_chroma_qp_index_offset,
        deblocking_filter_control_present: flag(
            V4L2_H264_PPS_FLAG_DEBLOCKING_FILTER_CONTROL_PRESENT,
        ),
        constrained_intra_pred: flag(V4L2_H264_PPS_FLAG_CONSTRAINED_INTRA_PRED),
        redundant_pic_cnt_present: flag(V4L2_H264_PPS_FLAG_REDUNDANT_PIC_CNT_PRESENT),
        transform_8x8_mode: flag(V4L2_H264_PPS_FLAG_TRANSFORM_8X8_MODE),
        scaling_matrix_present: flag(V4L2_H264_PPS_FLAG_SCALING_MATRIX_PRESENT),
    }
}
