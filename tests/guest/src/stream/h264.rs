//! H.264 byte streams (ITU-T H.264 Annex B): pictures of several slices, fields in pairs, and frames
//! shown by their order count.

use super::{Codec, Frame, Part, Show, Step, control, timestamp};
use crate::Result;
use bitstream::annexb::nal_units;
use bitstream::h264::{
    Dpb, NalHeader, NalType, ParameterSets, SeqParameterSet, SliceHeader, SliceType, Sps,
};
use std::borrow::Cow;
use std::ops::Range;
use v4l2::queue::Timestamp;
use v4l2::uapi::controls::h264::*;
use v4l2::uapi::videodev2::V4L2_PIX_FMT_H264_SLICE;
use va_driver::codec::h264::{params_control, pps_control, scaling_control, sps_control};

/// The stream's `V4L2_PIX_FMT_*`.
pub const CODED: u32 = V4L2_PIX_FMT_H264_SLICE;

/// The coded pictures (frames or fields), each with what stands ahead of it (7.4.1.2.3, 7.4.1.2.4).
pub fn pictures(stream: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut pictures = Vec::new();
    let mut sets = ParameterSets::new();
    let mut last: Option<SliceHeader> = None;
    let mut start = None;
    for nal in nal_units(stream) {
        let at = super::range_in(stream, nal).start - 3;
        let begin = *start.get_or_insert(at);
        let header = NalHeader::parse(nal)?;
        let begins = match header.kind() {
            NalType::Slice | NalType::IdrSlice => {
                let slice = sets.parse_slice_header(nal)?;
                if slice.redundant_pic_cnt > 0 {
                    continue;
                }
                let begins = last.as_ref().is_some_and(|last| slice.starts_picture(last));
                last = Some(slice);
                begins
            }
            // What stands ahead of a picture ends the one before; its slices may not be compared
            // with what comes now.
            NalType::Sps | NalType::Pps | NalType::Sei | NalType::Delimiter => {
                sets.add(nal)?;
                last.take().is_some()
            }
            _ => false,
        };
        if begins {
            pictures.push(begin..at);
            start = Some(at);
        }
    }
    // What has no slice is the end of the stream, not a picture.
    let rest = start.filter(|_| last.is_some());
    pictures.extend(rest.map(|start| start..stream.len()));
    Ok(pictures)
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct H264 {
    sets: ParameterSets,
    dpb: Dpb,
    references: Vec<Timestamp>,
}

impl Codec for H264 {
    fn read<'a>(&mut self, unit: &'a [u8], fresh: Timestamp) -> Result<Step<'a>> {
        let mut first: Option<SliceHeader> = None;
        let mut data = Vec::with_capacity(unit.len());
        for nal in nal_units(unit) {
            match NalHeader::parse(nal)?.kind() {
                NalType::Sps | NalType::Pps => self.sets.add(nal)?,
                NalType::Slice | NalType::IdrSlice => {
                    let slice = self.sets.parse_slice_header(nal)?;
                    if slice.redundant_pic_cnt > 0 {
                        continue;
                    }
                    data.extend_from_slice(&[0, 0, 1]);
                    data.extend_from_slice(nal);
                    first.get_or_insert(slice);
                }
                NalType::DataPartition(_) => return Err("data partitions are not decoded".into()),
                _ => {}
            }
        }
        let slice = first.ok_or("a picture without a slice")?;
        if matches!(slice.slice_type, SliceType::Sp | SliceType::Si) {
            return Err("SP and SI slices are not decoded".into());
        }
        let (sps, pps) = self.sets.pps(slice.pic_parameter_set_id)?;
        let (pps, matrix) = pps.controls(sps);
        if pps.num_slice_groups_minus1 > 0 {
            return Err("slice groups are not decoded".into());
        }
        let picture = self.dpb.decode(fresh.nanos(), &sps.sps, &slice)?;
        let name = timestamp(picture.id);
        let part = match (slice.field_pic, picture.is_second_field) {
            (false, _) => Part::Frame,
            (true, false) => Part::FirstField,
            (true, true) => Part::SecondField,
        };
        let order = match (slice.field_pic, slice.bottom_field) {
            (false, _) => picture.poc.top.min(picture.poc.bottom),
            (true, false) => picture.poc.top,
            (true, true) => picture.poc.bottom,
        };
        let unmarks_all = slice.unmarks_all();
        let frame = Frame {
            data: Cow::Owned(data),
            controls: vec![
                control(V4L2_CID_STATELESS_H264_SPS, &sps_control(&sps.sps)),
                control(V4L2_CID_STATELESS_H264_PPS, &pps_control(&pps)),
                control(
                    V4L2_CID_STATELESS_H264_SCALING_MATRIX,
                    &scaling_control(&matrix),
                ),
                control(
                    V4L2_CID_STATELESS_H264_DECODE_PARAMS,
                    &params_control(&picture.decode_params(&slice)),
                ),
            ],
            timestamp: name,
            size: sps.sps.size(),
            visible: visible(sps),
            is_key: slice.is_idr(),
            show: Show::Ordered {
                // Operation 5 begins a new count with this picture (8.2.1).
                order: if unmarks_all { 0 } else { order },
                restarts: slice.is_idr() || unmarks_all,
                delay: delay(sps),
            },
            part,
            slots: Vec::new(),
        };
        let held = picture.held.iter().map(|held| timestamp(held.id));
        self.references = held.chain([name]).collect();
        Ok(Step::Decode(frame))
    }

    fn references(&self) -> Vec<Timestamp> {
        self.references.clone()
    }

    fn is_entry(&self, unit: &[u8]) -> bool {
        let kinds = nal_units(unit).map(|nal| NalHeader::parse(nal).map(NalHeader::kind));
        let kinds: Vec<_> = kinds.filter_map(std::result::Result::ok).collect();
        kinds.contains(&NalType::IdrSlice)
    }

    fn reset(&mut self) {
        *self = H264::default();
    }

    fn pass_over(&mut self, unit: &[u8]) {
        // Parameter sets hold until others take their place: some streams send them once.
        for nal in nal_units(unit) {
            // One that cannot be read is missed where it is needed.
            let _ = self.sets.add(nal);
        }
    }
}

/// What is shown of a picture (7-19 to 7-22): left, top, width and height.
fn visible(sps: &SeqParameterSet) -> [u32; 4] {
    let (width, height) = sps.display_size();
    let unit_x = if sps.sps.chroma_format_idc == 0 { 1 } else { 2 };
    let unit_y = if sps.sps.frame_mbs_only {
        unit_x
    } else {
        unit_x * 2
    };
    let crop = &sps.crop;
    [crop.left * unit_x, crop.top * unit_y, width, height]
}

/// How many frames may wait before the first of them is shown (C.4.5.3): what the stream says, or
/// what its level has room for.
fn delay(sps: &SeqParameterSet) -> usize {
    let vui = sps.vui.as_ref();
    let said = vui.and_then(|vui| vui.bitstream_restriction.as_ref());
    match said {
        _ if sps.sps.pic_order_cnt_type == 2 => 0,
        Some(said) => said.max_num_reorder_frames as usize,
        None => most_frames(&sps.sps),
    }
}

/// `MaxDpbFrames` (A.3.1, table A-1).
fn most_frames(sps: &Sps) -> usize {
    let is_1b = sps.level_idc == 11 && sps.constraint_set_flags & 8 != 0;
    let row = MAX_DPB_MBS
        .iter()
        .find(|(level, _)| *level >= sps.level_idc);
    let mbs = match row {
        _ if is_1b => 396,
        Some((_, mbs)) => *mbs,
        None => MAX_DPB_MBS[MAX_DPB_MBS.len() - 1].1,
    };
    let frame = sps.width_in_mbs() * sps.frame_height_in_mbs();
    (mbs / frame.max(1)).clamp(1, 16) as usize
}

#[rustfmt::skip]
const MAX_DPB_MBS: &[(u8, u32)] = &[
    (10, 396), (11, 900), (12, 2376), (13, 2376), (20, 2376), (21, 4752), (22, 8100), (30, 8100),
    (31, 18000), (32, 20480), (40, 32768), (41, 32768), (42, 34816), (50, 110_400), (51, 184_320),
    (52, 184_320), (60, 696_320), (61, 696_320), (62, 696_320),
];
