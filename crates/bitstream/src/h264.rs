//! H.264 headers, ITU-T H.264 (08/2021): NAL units, parameter sets, slice headers, picture order
//! count, reference marking.
//!
//! `controls` has the structs, shaped like the V4L2 stateless controls; `sps` and `pps` read NAL
//! units into them and write NAL units from them; `slice` reads slice headers; `poc` and `dpb` follow
//! what a decoder knows from picture to picture. Clause numbers in comments are this edition's.
//!
//! Only what a decoder of one view and one layer needs is here. NAL units of the extensions (Annex F
//! SVC, Annex G MVC, Annex I MVC with depth) are recognised and refused by name; FMO, SP and SI
//! slices and data partitions are read and named, so that the caller can refuse them.

mod controls;
mod dpb;
mod poc;
mod pps;
mod recount;
mod scaling;
mod slice;
mod sps;

pub use controls::{
    DecodeParams, DpbEntry, Pps, PredWeights, Reference, ScalingMatrix, SliceParams, Sps,
    WeightFactors,
};
pub use dpb::{Dpb, Held, Picture, Violation};
pub use poc::{PicOrder, PicOrderCnt};
pub use pps::{PicParameterSet, parse_pps, write_pps};
pub use recount::{RECOUNT_LSB_MINUS4, Recount};
pub use scaling::{ScalingList, ScalingLists};
pub use slice::{
    MAX_MARKING_OPERATIONS, MAX_REF_PIC_LIST, Marking, Mmco, RefPicListModification, SliceHeader,
    SliceType, parse_slice_header, slice_pps_id,
};
pub use sps::{
    AspectRatio, BitstreamRestriction, ColourDescription, Crop, SeqParameterSet, Timing, Vui,
    parse_sps, write_sps,
};

use crate::bits::{BitReader, BitsError};

/// Why a header could not be read or written. `field` is always the standard's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bits of a syntax element are not there, or are no code.
    #[error("{field}")]
    Bits {
        /// The syntax element.
        field: &'static str,
        /// What is wrong with its bits.
        source: BitsError,
    },
    /// A syntax element or struct field has a value that the standard does not allow here.
    #[error("{field} is not within {min} to {max}: {value}")]
    Range {
        /// The syntax element or variable.
        field: &'static str,
        /// Its value.
        value: i64,
        /// The least that is allowed.
        min: i64,
        /// The most that is allowed.
        max: i64,
    },
    /// A list is longer than any conforming stream has it.
    #[error("too many entries: {field}")]
    TooMany {
        /// The syntax structure.
        field: &'static str,
    },
    /// A NAL unit of no bytes, or one whose `forbidden_zero_bit` is set.
    #[error("not a NAL unit")]
    NotNal,
    /// The NAL unit is of another kind than the one that was asked for.
    #[error("not {expected}: nal_unit_type {found}")]
    NalType {
        /// What was asked for.
        expected: &'static str,
        /// `nal_unit_type`.
        found: u8,
    },
    /// The parameter set that this one or a slice refers to is not there.
    #[error("no such parameter set: {set} {id}")]
    NoParameterSet {
        /// `SPS` or `PPS`.
        set: &'static str,
        /// Its id.
        id: u8,
    },
    /// A part of H.264 that is recognised and not decoded here.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
}

/// What a NAL unit holds (Table 7-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NalType {
    /// 1: a slice of a picture that is no IDR picture.
    Slice,
    /// 2 to 4: slice data partition A, B or C (Extended profile).
    DataPartition(u8),
    /// 5: a slice of an IDR picture.
    IdrSlice,
    /// 6: supplemental enhancement information.
    Sei,
    /// 7: sequence parameter set.
    Sps,
    /// 8: picture parameter set.
    Pps,
    /// 9: access unit delimiter.
    Delimiter,
    /// 10 and 11: end of sequence, end of stream.
    End(u8),
    /// 12: filler data.
    Filler,
    /// 14, 15, 20 and 21: prefix NAL unit, subset SPS and slices of SVC, MVC and MVC with depth. A
    /// decoder of the base view or layer passes them over.
    Extension(u8),
    /// 19: a slice of an auxiliary coded picture (alpha).
    Auxiliary,
    /// Reserved or unspecified.
    Other(u8),
}

/// The first byte of a NAL unit (7.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NalHeader {
    /// `nal_ref_idc`, 0 to 3: 0 in slices of pictures that are no reference.
    pub ref_idc: u8,
    /// `nal_unit_type`, 0 to 31.
    pub unit_type: u8,
}

impl NalHeader {
    /// Reads the first byte of `nal`.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        match nal.first() {
            Some(&byte) if byte & 0x80 == 0 => Ok(NalHeader {
                ref_idc: byte >> 5,
                unit_type: byte & 0x1f,
            }),
            _ => Err(Error::NotNal),
        }
    }

    /// What the NAL unit holds.
    pub fn kind(self) -> NalType {
        match self.unit_type {
            1 => NalType::Slice,
            partition @ 2..=4 => NalType::DataPartition(partition),
            5 => NalType::IdrSlice,
            6 => NalType::Sei,
            7 => NalType::Sps,
            8 => NalType::Pps,
            9 => NalType::Delimiter,
            end @ (10 | 11) => NalType::End(end),
            12 => NalType::Filler,
            extension @ (14 | 15 | 20 | 21) => NalType::Extension(extension),
            19 => NalType::Auxiliary,
            other => NalType::Other(other),
        }
    }

    /// Whether the NAL unit begins with a slice header of the primary (or a redundant) picture.
    pub fn has_slice_header(self) -> bool {
        matches!(self.unit_type, 1 | 2 | 5)
    }

    /// The error for a NAL unit that is not the one asked for.
    fn unexpected(self, expected: &'static str) -> Error {
        match self.kind() {
            NalType::Extension(14) => Error::Unsupported("prefix NAL unit (SVC or MVC)"),
            NalType::Extension(15) => Error::Unsupported("subset SPS (SVC or MVC)"),
            NalType::Extension(20) => Error::Unsupported("slice extension (SVC or MVC)"),
            NalType::Extension(_) => Error::Unsupported("slice extension (MVC with depth)"),
            _ => Error::NalType {
                expected,
                found: self.unit_type,
            },
        }
    }
}

/// The parameter sets that a stream has sent so far, by id.
#[derive(Debug, Clone)]
pub struct ParameterSets {
    sps: [Option<Box<SeqParameterSet>>; 32],
    pps: Vec<Option<Box<PicParameterSet>>>,
}

impl Default for ParameterSets {
    fn default() -> Self {
        ParameterSets {
            sps: Default::default(),
            pps: vec![None; 256],
        }
    }
}

impl ParameterSets {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the SPS or PPS in `nal`; any other NAL unit is passed over.
    pub fn add(&mut self, nal: &[u8]) -> Result<(), Error> {
        match NalHeader::parse(nal)?.kind() {
            NalType::Sps => {
                let set = parse_sps(nal)?;
                let id = usize::from(set.sps.seq_parameter_set_id);
                self.sps[id] = Some(Box::new(set));
            }
            NalType::Pps => {
                let set = parse_pps(nal, |id| Ok(self.sps(id)?.sps.chroma_format_idc))?;
                let id = usize::from(set.pps.pic_parameter_set_id);
                self.pps[id] = Some(Box::new(set));
            }
            _ => {}
        }
        Ok(())
    }

    /// The SPS of this id.
    pub fn sps(&self, id: u8) -> Result<&SeqParameterSet, Error> {
        let set = self.sps.get(usize::from(id)).and_then(Option::as_deref);
        set.ok_or(Error::NoParameterSet { set: "SPS", id })
    }

    /// The PPS of this id and the SPS it refers to.
    pub fn pps(&self, id: u8) -> Result<(&SeqParameterSet, &PicParameterSet), Error> {
        let set = self.pps.get(usize::from(id)).and_then(Option::as_deref);
        let pps = set.ok_or(Error::NoParameterSet { set: "PPS", id })?;
        Ok((self.sps(pps.pps.seq_parameter_set_id)?, pps))
    }

    /// Reads the slice header in `nal` with the parameter sets that it names.
    pub fn parse_slice_header(&self, nal: &[u8]) -> Result<SliceHeader, Error> {
        let (sps, pps) = self.pps(slice_pps_id(nal)?)?;
        parse_slice_header(nal, &sps.sps, &pps.pps)
    }
}

/// Reads syntax elements by name and range.
#[derive(Clone, Copy)]
struct Fields<'a>(BitReader<'a>);

impl<'a> Fields<'a> {
    /// Reads `nal` from behind its header byte; positions count from its first bit.
    fn new(nal: &'a [u8]) -> Self {
        let mut reader = BitReader::rbsp(nal);
        // An empty NAL unit has been refused with its header; here it just ends at once.
        let _ = reader.u(8);
        Fields(reader)
    }

    fn u(&mut self, field: &'static str, count: u32) -> Result<u32, Error> {
        self.0.u(count).map_err(|source| bits(field, source))
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, Error> {
        self.0.flag().map_err(|source| bits(field, source))
    }

    /// `ue(v)` of at most `max`.
    fn ue(&mut self, field: &'static str, max: u32) -> Result<u32, Error> {
        let value = self.0.ue().map_err(|source| bits(field, source))?;
        within(field, i64::from(value), 0, i64::from(max))?;
        Ok(value)
    }

    /// `ue(v)` of at most `max`, which fits a byte.
    fn ue8(&mut self, field: &'static str, max: u8) -> Result<u8, Error> {
        Ok(self.ue(field, u32::from(max))? as u8)
    }

    /// `se(v)` from `min` to `max`.
    fn se(&mut self, field: &'static str, min: i32, max: i32) -> Result<i32, Error> {
        let value = self.0.se().map_err(|source| bits(field, source))?;
        within(field, i64::from(value), i64::from(min), i64::from(max))?;
        Ok(value)
    }

    /// `se(v)` from `min` to `max`, which fits a byte.
    fn se8(&mut self, field: &'static str, min: i8, max: i8) -> Result<i8, Error> {
        Ok(self.se(field, i32::from(min), i32::from(max))? as i8)
    }
}

fn bits(field: &'static str, source: BitsError) -> Error {
    Error::Bits { field, source }
}

fn within(field: &'static str, value: i64, min: i64, max: i64) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::Range {
        field,
        value,
        min,
        max,
    })
}

#[cfg(test)]
mod tests;
