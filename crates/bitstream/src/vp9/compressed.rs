//! The compressed header (VP9 specification v0.6, 6.3): changes to probabilities, read with the boolean
//! decoder. What is kept of each is the difference as `inv_map_table` gives it (6.3.5), because V4L2
//! wants that; applying it needs the probabilities, which are the decoder's.

use super::{
    FRAME_ALLOW_HIGH_PREC_MV, Frame, INTERP_FILTER_SWITCHABLE, REFERENCE_MODE_COMPOUND,
    REFERENCE_MODE_SELECT, REFERENCE_MODE_SINGLE,
};
use crate::boolean::BoolDecoder;
use crate::fields::FieldError;

/// Changes to motion vector probabilities: not differences but new values, which are odd;
/// `v4l2_vp9_mv_probs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MvProbs {
    /// Which of the two components are other than 0.
    pub joint: [u8; 3],
    /// By component, as all that follow.
    pub sign: [u8; 2],
    /// Magnitude classes.
    pub classes: [[u8; 10]; 2],
    /// The integer bit of class 0.
    pub class0_bit: [u8; 2],
    /// The integer bits of other classes.
    pub bits: [[u8; 10]; 2],
    /// Fractions in class 0, by the integer bit.
    pub class0_fr: [[[u8; 3]; 2]; 2],
    /// Fractions in other classes.
    pub fr: [[u8; 3]; 2],
    /// The eighth of class 0.
    pub class0_hp: [u8; 2],
    /// The eighth of other classes.
    pub hp: [u8; 2],
}

/// Coefficients of one transform size: luma or chroma, intra or inter, band and context. Band 0 has 3
/// contexts, not 6.
pub type CoefProbs = [[[[[u8; 3]; 6]; 6]; 2]; 2];

/// Changes to probabilities, 0 where there is none; `v4l2_ctrl_vp9_compressed_hdr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressedHeader {
    /// Largest transform: 0 to 3 for 4x4 to 32x32, 4 for one that each block names.
    pub tx_mode: u8,
    /// Transform sizes of blocks of 8x8.
    pub tx8: [[u8; 1]; 2],
    /// Transform sizes of blocks of 16x16.
    pub tx16: [[u8; 2]; 2],
    /// Transform sizes of larger blocks.
    pub tx32: [[u8; 3]; 2],
    /// Coefficients, by transform size.
    pub coef: [CoefProbs; 4],
    /// Blocks without coefficients.
    pub skip: [u8; 3],
    /// Inter modes.
    pub inter_mode: [[u8; 3]; 7],
    /// Interpolation filters.
    pub interp_filter: [[u8; 2]; 4],
    /// Blocks with references.
    pub is_inter: [u8; 4],
    /// Blocks with two of them.
    pub comp_mode: [u8; 5],
    /// Which reference, where there is one.
    pub single_ref: [[u8; 2]; 5],
    /// Which references, where there are two.
    pub comp_ref: [u8; 5],
    /// Luma modes of blocks in frames with references.
    pub y_mode: [[u8; 9]; 4],
    /// Chroma modes. Headers cannot change them: always 0.
    pub uv_mode: [[u8; 9]; 10],
    /// Partitions.
    pub partition: [[u8; 3]; 16],
    /// Motion vectors.
    pub mv: MvProbs,
}

impl CompressedHeader {
    /// No change.
    pub(super) const NONE: Self = CompressedHeader {
        tx_mode: 0,
        tx8: [[0; 1]; 2],
        tx16: [[0; 2]; 2],
        tx32: [[0; 3]; 2],
        coef: [[[[[[0; 3]; 6]; 6]; 2]; 2]; 4],
        skip: [0; 3],
        inter_mode: [[0; 3]; 7],
        interp_filter: [[0; 2]; 4],
        is_inter: [0; 4],
        comp_mode: [0; 5],
        single_ref: [[0; 2]; 5],
        comp_ref: [0; 5],
        y_mode: [[0; 9]; 4],
        uv_mode: [[0; 9]; 10],
        partition: [[0; 3]; 16],
        mv: MvProbs {
            joint: [0; 3],
            sign: [0; 2],
            classes: [[0; 10]; 2],
            class0_bit: [0; 2],
            bits: [[0; 10]; 2],
            class0_fr: [[[0; 3]; 2]; 2],
            fr: [[0; 3]; 2],
            class0_hp: [0; 2],
            hp: [0; 2],
        },
    };
}

/// `TX_MODE_SELECT`.
const TX_MODE_SELECT: u8 = 4;

/// `inv_map_table` (6.3.5): 20 coarse steps first, then every other difference in order. The syntax can
/// reach one entry more than the table of the specification has; decoders take it for the last.
const INV_MAP_TABLE: [u8; 255] = {
    let mut table = [253; 255];
    let mut coarse = 0;
    while coarse < 20 {
        table[coarse] = (7 + 13 * coarse) as u8;
        coarse += 1;
    }
    let mut at = coarse;
    let mut difference = 1;
    while difference < 254 {
        if difference % 13 != 7 {
            table[at] = difference;
            at += 1;
        }
        difference += 1;
    }
    table
};

/// Reads the compressed header, `start` bytes into its frame, whose uncompressed header is `frame`; also
/// tells the reference mode.
pub(super) fn parse(
    data: &[u8],
    start: usize,
    frame: &Frame,
) -> Result<(CompressedHeader, u8), FieldError> {
    let mut reader = Reader {
        bits: BoolDecoder::new(data),
        base: start as u64 * 8,
    };
    if reader.bits.flag() {
        return Err(FieldError::Value {
            field: "marker of the compressed header",
            position: reader.base,
            value: 1,
        });
    }
    let mut header = CompressedHeader::NONE;
    reader.transforms(&mut header, frame)?;
    reader.coefficients(&mut header)?;
    reader.differences(&mut header.skip);
    reader.check("read_skip_prob")?;
    let mut reference_mode = REFERENCE_MODE_SINGLE;
    if !frame.is_intra() {
        reference_mode = reader.inter(&mut header, frame)?;
        reader.motion_vectors(&mut header.mv, frame)?;
    }
    Ok((header, reference_mode))
}

struct Reader<'a> {
    bits: BoolDecoder<'a>,
    /// Bits of the frame ahead of the compressed header.
    base: u64,
}

impl Reader<'_> {
    /// `read_tx_mode` and `tx_mode_probs` (6.3.1, 6.3.2).
    fn transforms(
        &mut self,
        header: &mut CompressedHeader,
        frame: &Frame,
    ) -> Result<(), FieldError> {
        if frame.quant.is_lossless() {
            return Ok(());
        }
        header.tx_mode = self.bits.u8(2);
        if header.tx_mode == TX_MODE_SELECT - 1 {
            header.tx_mode += u8::from(self.bits.flag());
        }
        if header.tx_mode == TX_MODE_SELECT {
            self.differences(header.tx8.as_flattened_mut());
            self.differences(header.tx16.as_flattened_mut());
            self.differences(header.tx32.as_flattened_mut());
        }
        self.check("tx_mode_probs")
    }

    /// `read_coef_probs` (6.3.7).
    fn coefficients(&mut self, header: &mut CompressedHeader) -> Result<(), FieldError> {
        let sizes = usize::from(header.tx_mode.min(3)) + 1;
        for size in &mut header.coef[..sizes] {
            if self.bits.flag() {
                for bands in size.as_flattened_mut() {
                    let [first, others @ ..] = bands;
                    self.differences(first[..3].as_flattened_mut());
                    self.differences(others.as_flattened_mut().as_flattened_mut());
                }
            }
            self.check("read_coef_probs")?;
        }
        Ok(())
    }

    /// What only frames with references have, up to the motion vectors (6.3.9 to 6.3.15); the reference
    /// mode.
    fn inter(&mut self, header: &mut CompressedHeader, frame: &Frame) -> Result<u8, FieldError> {
        self.differences(header.inter_mode.as_flattened_mut());
        if frame.interpolation_filter == INTERP_FILTER_SWITCHABLE {
            self.differences(header.interp_filter.as_flattened_mut());
        }
        self.differences(&mut header.is_inter);
        self.check("read_is_inter_probs")?;
        let mode = self.reference_mode(frame);
        if mode == REFERENCE_MODE_SELECT {
            self.differences(&mut header.comp_mode);
        }
        if mode != REFERENCE_MODE_COMPOUND {
            self.differences(header.single_ref.as_flattened_mut());
        }
        if mode != REFERENCE_MODE_SINGLE {
            self.differences(&mut header.comp_ref);
        }
        self.check("frame_reference_mode_probs")?;
        self.differences(header.y_mode.as_flattened_mut());
        self.differences(header.partition.as_flattened_mut());
        self.check("read_partition_probs")?;
        Ok(mode)
    }

    /// `frame_reference_mode` (6.3.12): two references must lie on both sides in time.
    fn reference_mode(&mut self, frame: &Frame) -> u8 {
        if matches!(frame.ref_frame_sign_bias, 0 | 7) || !self.bits.flag() {
            REFERENCE_MODE_SINGLE
        } else if self.bits.flag() {
            REFERENCE_MODE_SELECT
        } else {
            REFERENCE_MODE_COMPOUND
        }
    }

    /// `mv_probs` (6.3.16).
    fn motion_vectors(&mut self, mv: &mut MvProbs, frame: &Frame) -> Result<(), FieldError> {
        self.values(&mut mv.joint);
        for component in 0..2 {
            self.values(&mut mv.sign[component..][..1]);
            self.values(&mut mv.classes[component]);
            self.values(&mut mv.class0_bit[component..][..1]);
            self.values(&mut mv.bits[component]);
        }
        for component in 0..2 {
            self.values(mv.class0_fr[component].as_flattened_mut());
            self.values(&mut mv.fr[component]);
        }
        if frame.flags & FRAME_ALLOW_HIGH_PREC_MV != 0 {
            for component in 0..2 {
                self.values(&mut mv.class0_hp[component..][..1]);
                self.values(&mut mv.hp[component..][..1]);
            }
        }
        self.check("mv_probs")
    }

    /// `diff_update_prob` (6.3.4) for each.
    fn differences(&mut self, probs: &mut [u8]) {
        for prob in probs {
            if self.bits.read(252) {
                *prob = INV_MAP_TABLE[self.term_subexp()];
            }
        }
    }

    /// `update_mv_prob` (6.3.17) for each.
    fn values(&mut self, probs: &mut [u8]) {
        for prob in probs {
            if self.bits.read(252) {
                *prob = self.bits.u8(7) << 1 | 1;
            }
        }
    }

    /// `decode_term_subexp` (6.3.5): 0 to 254.
    fn term_subexp(&mut self) -> usize {
        let value = if !self.bits.flag() {
            self.bits.literal(4)
        } else if !self.bits.flag() {
            self.bits.literal(4) + 16
        } else if !self.bits.flag() {
            self.bits.literal(5) + 32
        } else {
            let value = self.bits.literal(7);
            if value < 65 {
                value + 64
            } else {
                (value << 1) - 1 + u32::from(self.bits.flag())
            }
        };
        value as usize
    }

    fn check(&self, field: &'static str) -> Result<(), FieldError> {
        self.bits.check(field, self.base)
    }
}
