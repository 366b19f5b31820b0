//! VP9 frame headers, VP9 Bitstream & Decoding Process Specification v0.6, clauses 6, 7 and annex B:
//! uncompressed header, compressed header, superframes.
//!
//! [`State`] holds what frames leave to later ones: loop filter deltas, segmentation, colour format, and
//! which picture is in each of the 8 reference slots. [`State::parse`] reads a frame against it and
//! changes nothing; [`State::decoded`] is told of the frame that was decoded. Probabilities are left to
//! decoders: a compressed header is a set of changes, and says nothing about what they change. Tiles
//! stay unread. All four profiles are read; which of them are decoded is not this room's.

mod compressed;
mod superframe;

pub use compressed::{CoefProbs, CompressedHeader, MvProbs};
pub use superframe::{MAX_FRAMES, Superframe, SuperframeError};

use crate::fields::{FieldError, FieldReader};

/// [`LoopFilter::flags`]: levels differ by reference frame and mode.
pub const LF_DELTA_ENABLED: u8 = 0x1;
/// [`LoopFilter::flags`]: the frame has new differences.
pub const LF_DELTA_UPDATE: u8 = 0x2;

/// Loop filter (7.2.8); `v4l2_vp9_loop_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopFilter {
    /// Differences by reference frame: intra, last, golden, alternate; -63 to 63.
    pub ref_deltas: [i8; 4],
    /// Differences by mode: zero motion and the others; -63 to 63.
    pub mode_deltas: [i8; 2],
    /// 0 to 63.
    pub level: u8,
    /// 0 to 7.
    pub sharpness: u8,
    /// `LF_*`.
    pub flags: u8,
}

/// Quantiser indices (7.2.9); `v4l2_vp9_quantization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// 0 to 255.
    pub base_q_idx: u8,
    /// -15 to 15, as the two that follow.
    pub delta_q_y_dc: i8,
    /// See `delta_q_y_dc`.
    pub delta_q_uv_dc: i8,
    /// See `delta_q_y_dc`.
    pub delta_q_uv_ac: i8,
}

impl Quantization {
    /// `Lossless` (7.2.9): no transform but the exact one.
    pub fn is_lossless(&self) -> bool {
        *self
            == Quantization {
                base_q_idx: 0,
                delta_q_y_dc: 0,
                delta_q_uv_dc: 0,
                delta_q_uv_ac: 0,
            }
    }
}

/// [`Segmentation::flags`]: segmentation is on.
pub const SEGMENTATION_ENABLED: u8 = 0x01;
/// [`Segmentation::flags`]: the frame has a new segment map.
pub const SEGMENTATION_UPDATE_MAP: u8 = 0x02;
/// [`Segmentation::flags`]: the map is predicted from the previous one.
pub const SEGMENTATION_TEMPORAL_UPDATE: u8 = 0x04;
/// [`Segmentation::flags`]: the frame has new features.
pub const SEGMENTATION_UPDATE_DATA: u8 = 0x08;
/// [`Segmentation::flags`]: features take the place of the frame's values.
pub const SEGMENTATION_ABS_OR_DELTA_UPDATE: u8 = 0x10;

/// Segmentation (7.2.10); `v4l2_vp9_segmentation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// By segment and feature: quantiser, loop filter, reference frame, skip.
    pub feature_data: [[i16; 4]; 8],
    /// By segment: bit n is feature n.
    pub feature_enabled: [u8; 8],
    /// Probabilities of the map, used by a frame that brings them.
    pub tree_probs: [u8; 7],
    /// Probabilities that the prediction of the map is right.
    pub pred_probs: [u8; 3],
    /// `SEGMENTATION_*`.
    pub flags: u8,
}

/// Bits and sign of the features' values (7.2.10).
const FEATURES: [(u32, bool); 4] = [(8, true), (6, true), (2, false), (0, false)];

/// [`Frame::flags`]: a key frame.
pub const FRAME_KEY_FRAME: u32 = 0x001;
/// [`Frame::flags`]: the frame is to be shown.
pub const FRAME_SHOW_FRAME: u32 = 0x002;
/// [`Frame::flags`]: nothing but pictures is taken from earlier frames.
pub const FRAME_ERROR_RESILIENT: u32 = 0x004;
/// [`Frame::flags`]: no key frame, and still without references.
pub const FRAME_INTRA_ONLY: u32 = 0x008;
/// [`Frame::flags`]: motion vectors of an eighth of a sample.
pub const FRAME_ALLOW_HIGH_PREC_MV: u32 = 0x010;
/// [`Frame::flags`]: the frame's probabilities are kept.
pub const FRAME_REFRESH_FRAME_CTX: u32 = 0x020;
/// [`Frame::flags`]: probabilities do not adapt to the frame.
pub const FRAME_PARALLEL_DEC_MODE: u32 = 0x040;
/// [`Frame::flags`]: chroma has half the columns.
pub const FRAME_X_SUBSAMPLING: u32 = 0x080;
/// [`Frame::flags`]: chroma has half the rows.
pub const FRAME_Y_SUBSAMPLING: u32 = 0x100;
/// [`Frame::flags`]: samples use their whole range.
pub const FRAME_COLOR_RANGE_FULL_SWING: u32 = 0x200;

/// [`Frame::reset_frame_context`]: none is reset.
pub const RESET_FRAME_CTX_NONE: u8 = 0;
/// [`Frame::reset_frame_context`]: the one that the frame names is reset.
pub const RESET_FRAME_CTX_SPEC: u8 = 1;
/// [`Frame::reset_frame_context`]: all are reset.
pub const RESET_FRAME_CTX_ALL: u8 = 2;

/// [`Frame::interpolation_filter`] of each `raw_interpolation_filter` (7.2.7): smooth, regular, sharp,
/// bilinear; V4L2 counts regular as 0 and smooth as 1.
const INTERPOLATION_FILTERS: [u8; 4] = [1, 0, 2, 3];
/// [`Frame::interpolation_filter`]: each block has its own.
pub const INTERP_FILTER_SWITCHABLE: u8 = 4;

/// [`Frame::reference_mode`]: each block has one reference.
pub const REFERENCE_MODE_SINGLE: u8 = 0;
/// [`Frame::reference_mode`]: each block has two.
pub const REFERENCE_MODE_COMPOUND: u8 = 1;
/// [`Frame::reference_mode`]: each block says how many.
pub const REFERENCE_MODE_SELECT: u8 = 2;

/// One frame's uncompressed header, and the reference mode from its compressed one;
/// `v4l2_ctrl_vp9_frame`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Loop filter; differences the frame does not have are the latest ones.
    pub lf: LoopFilter,
    /// Quantiser indices.
    pub quant: Quantization,
    /// Segmentation; features the frame does not have are the latest ones.
    pub seg: Segmentation,
    /// `FRAME_*`.
    pub flags: u32,
    /// Bytes, never 0.
    pub compressed_header_size: u16,
    /// Bytes, the frame marker's included.
    pub uncompressed_header_size: u16,
    /// Luma samples less one.
    pub frame_width_minus_1: u16,
    /// Luma rows less one.
    pub frame_height_minus_1: u16,
    /// A hint for whoever shows the picture.
    pub render_width_minus_1: u16,
    /// See `render_width_minus_1`.
    pub render_height_minus_1: u16,
    /// The picture called last, as it was named to [`State::decoded`]; 0 in frames without references,
    /// as the two that follow.
    pub last_frame_ts: u64,
    /// The golden picture.
    pub golden_frame_ts: u64,
    /// The alternate picture.
    pub alt_frame_ts: u64,
    /// Bits 0 to 2: motion vectors to last, golden, alternate are negated.
    pub ref_frame_sign_bias: u8,
    /// `RESET_FRAME_CTX_*`.
    pub reset_frame_context: u8,
    /// 0 to 3, as the header has it: frames without references and error resilient ones reset it, and
    /// then use 0 (7.2).
    pub frame_context_idx: u8,
    /// 0 to 3.
    pub profile: u8,
    /// 8, 10 or 12.
    pub bit_depth: u8,
    /// 0 regular, 1 smooth, 2 sharp, 3 bilinear, 4 by block; 0 in frames without references.
    pub interpolation_filter: u8,
    /// Of the number of tile columns, 0 to 6.
    pub tile_cols_log2: u8,
    /// Of the number of tile rows, 0 to 2.
    pub tile_rows_log2: u8,
    /// `REFERENCE_MODE_*`.
    pub reference_mode: u8,
}

impl Frame {
    /// Whether it is a key frame or an intra-only one (`FrameIsIntra`).
    pub fn is_intra(&self) -> bool {
        self.flags & (FRAME_KEY_FRAME | FRAME_INTRA_ONLY) != 0
    }
}

/// A frame that has a picture to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodedFrame {
    /// What V4L2 clients hand on.
    pub frame: Frame,
    /// What they hand on to drivers that ask for it.
    pub compressed: CompressedHeader,
    /// What they keep: bit n puts the picture in slot n.
    pub refresh_frame_flags: u8,
    /// Slots of last, golden and alternate; `None` in frames without references.
    pub ref_frame_idx: Option<[u8; 3]>,
    color: Color,
}

/// What a frame is, as parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// One is read for each frame and lives as long as the frame is looked at: a box would be one
// allocation a frame, for nothing.
#[allow(clippy::large_enum_variant)]
pub enum Header {
    /// No picture to decode: the one in a slot is shown (`show_existing_frame`).
    ShowExisting {
        /// `frame_to_show_map_idx`.
        slot: u8,
        /// The picture there.
        id: u64,
    },
    /// A picture.
    Coded(CodedFrame),
}

/// Why a frame has no header to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A field is cut off or forbidden.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The compressed header is longer than what is left of the frame.
    #[error(
        "compressed header of {size} bytes at byte {position} ends behind the frame of {length}"
    )]
    CompressedHeader {
        /// `header_size_in_bytes`.
        size: u16,
        /// Bytes ahead of it.
        position: u16,
        /// Bytes of the frame.
        length: usize,
    },
    /// Nothing was decoded into a slot that the frame needs.
    #[error("no picture in reference slot {slot}")]
    NoReference {
        /// 0 to 7.
        slot: u8,
    },
}

/// Colour format of a frame (7.2.2). Frames with references have that of the last one without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Color {
    bit_depth: u8,
    /// `FRAME_X_SUBSAMPLING`, `FRAME_Y_SUBSAMPLING`, `FRAME_COLOR_RANGE_FULL_SWING`.
    flags: u32,
}

impl Color {
    /// What intra-only frames of profile 0 have.
    const PROFILE_0: Self = Color {
        bit_depth: 8,
        flags: FRAME_X_SUBSAMPLING | FRAME_Y_SUBSAMPLING,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width_minus_1: u16,
    height_minus_1: u16,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    id: u64,
    size: Size,
}

/// What the frames so far leave to the next one.
#[derive(Debug, Clone)]
pub struct State {
    lf: LoopFilter,
    seg: Segmentation,
    color: Color,
    slots: [Option<Slot>; 8],
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Nothing is decoded yet.
    pub fn new() -> Self {
        State {
            lf: LF_DEFAULT,
            seg: SEG_DEFAULT,
            color: Color::PROFILE_0,
            slots: [None; 8],
        }
    }

    /// The pictures in the reference slots.
    pub fn references(&self) -> [Option<u64>; 8] {
        self.slots.map(|slot| slot.map(|slot| slot.id))
    }

    /// Puts pictures into the reference slots, for a caller who is told what is in them. The next
    /// frame that takes its size from one of them has this size, in luma samples and rows.
    pub fn refer(&mut self, pictures: [Option<u64>; 8], size: (u16, u16)) {
        let size = Size {
            width_minus_1: size.0.saturating_sub(1),
            height_minus_1: size.1.saturating_sub(1),
        };
        self.slots = pictures.map(|picture| picture.map(|id| Slot { id, size }));
    }

    /// Reads the headers of one frame; of a superframe each frame is read by itself.
    pub fn parse(&self, data: &[u8]) -> Result<Header, ParseError> {
        let mut header = self.parse_uncompressed(data)?;
        if let Header::Coded(CodedFrame {
            frame, compressed, ..
        }) = &mut header
        {
            let start = usize::from(frame.uncompressed_header_size);
            let length = usize::from(frame.compressed_header_size);
            let bytes = &data[start..start + length];
            (*compressed, frame.reference_mode) = compressed::parse(bytes, start, frame)?;
        }
        Ok(header)
    }

    /// The same without a look into the compressed header, for whoever hands frames on whole: as if
    /// it changed nothing and each block had one reference.
    pub fn parse_uncompressed(&self, data: &[u8]) -> Result<Header, ParseError> {
        let mut reader = HeaderReader {
            fields: FieldReader::new(data, 0),
            state: self,
        };
        let profile = reader.profile()?;
        if reader.fields.flag("show_existing_frame")? {
            let slot = reader.fields.u8("frame_to_show_map_idx", 3)?;
            let id = self.slot(slot)?.id;
            return Ok(Header::ShowExisting { slot, id });
        }
        let coded = reader.frame(profile)?;
        let frame = &coded.frame;
        let behind = data.get(usize::from(frame.uncompressed_header_size)..);
        if behind.is_none_or(|behind| behind.len() < usize::from(frame.compressed_header_size)) {
            return Err(ParseError::CompressedHeader {
                size: frame.compressed_header_size,
                position: frame.uncompressed_header_size,
                length: data.len(),
            });
        }
        Ok(Header::Coded(coded))
    }

    /// Takes over what a frame parsed against this state leaves; `id` names its picture.
    pub fn decoded(&mut self, coded: &CodedFrame, id: u64) {
        self.lf = coded.frame.lf;
        self.seg = coded.frame.seg;
        self.color = coded.color;
        let size = Size {
            width_minus_1: coded.frame.frame_width_minus_1,
            height_minus_1: coded.frame.frame_height_minus_1,
        };
        for (bit, slot) in self.slots.iter_mut().enumerate() {
            if coded.refresh_frame_flags & 1 << bit != 0 {
                *slot = Some(Slot { id, size });
            }
        }
    }

    fn slot(&self, slot: u8) -> Result<Slot, ParseError> {
        self.slots[usize::from(slot)].ok_or(ParseError::NoReference { slot })
    }
}

/// `setup_past_independence` (7.2).
const LF_DEFAULT: LoopFilter = LoopFilter {
    ref_deltas: [1, 0, -1, -1],
    mode_deltas: [0; 2],
    level: 0,
    sharpness: 0,
    flags: 0,
};

const SEG_DEFAULT: Segmentation = Segmentation {
    feature_data: [[0; 4]; 8],
    feature_enabled: [0; 8],
    tree_probs: [255; 7],
    pred_probs: [255; 3],
    flags: 0,
};

/// Reads the uncompressed header, part after part in the order of 6.2.
struct HeaderReader<'a> {
    fields: FieldReader<'a>,
    state: &'a State,
}

impl HeaderReader<'_> {
    fn profile(&mut self) -> Result<u8, FieldError> {
        self.fields.within("frame_marker", 2, 2..=2)?;
        let low = self.fields.u8("profile_low_bit", 1)?;
        let profile = self.fields.u8("profile_high_bit", 1)? << 1 | low;
        if profile == 3 {
            self.reserved()?;
        }
        Ok(profile)
    }

    /// From `frame_type` on. The compressed header's part of the result is still empty.
    fn frame(&mut self, profile: u8) -> Result<CodedFrame, ParseError> {
        let key_frame = !self.fields.flag("frame_type")?;
        let show_frame = self.fields.flag("show_frame")?;
        let error_resilient = self.fields.flag("error_resilient_mode")?;
        let mut intra_only = false;
        let mut reset_frame_context = RESET_FRAME_CTX_NONE;
        if !key_frame {
            intra_only = !show_frame && self.fields.flag("intra_only")?;
            if !error_resilient {
                // 0 and 1 mean the same.
                let reset = self.fields.u8("reset_frame_context", 2)?;
                reset_frame_context = reset.saturating_sub(1);
            }
        }
        let body = if key_frame || intra_only {
            self.intra(profile, key_frame)?
        } else {
            self.inter()?
        };
        let mut refresh_frame_context = false;
        let mut parallel = true;
        if !error_resilient {
            refresh_frame_context = self.fields.flag("refresh_frame_context")?;
            parallel = self.fields.flag("frame_parallel_decoding_mode")?;
        }
        let frame_context_idx = self.fields.u8("frame_context_idx", 2)?;

        let independent = key_frame || intra_only || error_resilient;
        let (mut lf, mut seg) = if independent {
            (LF_DEFAULT, SEG_DEFAULT)
        } else {
            (self.state.lf, self.state.seg)
        };
        self.loop_filter(&mut lf)?;
        let quant = self.quantization()?;
        self.segmentation(&mut seg)?;
        let (tile_cols_log2, tile_rows_log2) = self.tile_info(body.size)?;
        let size = self.fields.within("header_size_in_bytes", 16, 1..=0xffff)?;

        let mut pictures = [0; 3];
        for (picture, slot) in pictures
            .iter_mut()
            .zip(body.ref_frame_idx.into_iter().flatten())
        {
            *picture = self.state.slot(slot)?.id;
        }
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let frame = Frame {
            lf,
            quant,
            seg,
            flags: body.flags
                | body.color.flags
                | flag(key_frame, FRAME_KEY_FRAME)
                | flag(show_frame, FRAME_SHOW_FRAME)
                | flag(error_resilient, FRAME_ERROR_RESILIENT)
                | flag(intra_only, FRAME_INTRA_ONLY)
                | flag(refresh_frame_context, FRAME_REFRESH_FRAME_CTX)
                | flag(parallel, FRAME_PARALLEL_DEC_MODE),
            compressed_header_size: size as u16,
            uncompressed_header_size: self.fields.position().div_ceil(8) as u16,
            frame_width_minus_1: body.size.width_minus_1,
            frame_height_minus_1: body.size.height_minus_1,
            render_width_minus_1: body.render.width_minus_1,
            render_height_minus_1: body.render.height_minus_1,
            last_frame_ts: pictures[0],
            golden_frame_ts: pictures[1],
            alt_frame_ts: pictures[2],
            ref_frame_sign_bias: body.sign_bias,
            reset_frame_context,
            frame_context_idx,
            profile,
            bit_depth: body.color.bit_depth,
            interpolation_filter: body.interpolation_filter,
            tile_cols_log2,
            tile_rows_log2,
            reference_mode: REFERENCE_MODE_SINGLE,
        };
        Ok(CodedFrame {
            frame,
            compressed: CompressedHeader::NONE,
            refresh_frame_flags: body.refresh_frame_flags,
            ref_frame_idx: body.ref_frame_idx,
            color: body.color,
        })
    }

    /// A key frame's or an intra-only frame's part.
    fn intra(&mut self, profile: u8, key_frame: bool) -> Result<Body, FieldError> {
        self.fields
            .within("frame_sync_code", 24, SYNC_CODE..=SYNC_CODE)?;
        let color = if key_frame || profile > 0 {
            self.color_config(profile)?
        } else {
            Color::PROFILE_0
        };
        let refresh_frame_flags = if key_frame {
            0xff
        } else {
            self.fields.u8("refresh_frame_flags", 8)?
        };
        let size = self.frame_size()?;
        let render = self.render_size(size)?;
        Ok(Body {
            color,
            refresh_frame_flags,
            ref_frame_idx: None,
            sign_bias: 0,
            size,
            render,
            flags: 0,
            interpolation_filter: 0,
        })
    }

    /// The part of a frame with references.
    fn inter(&mut self) -> Result<Body, ParseError> {
        let refresh_frame_flags = self.fields.u8("refresh_frame_flags", 8)?;
        let mut ref_frame_idx = [0; 3];
        let mut sign_bias = 0;
        for (at, slot) in ref_frame_idx.iter_mut().enumerate() {
            *slot = self.fields.u8("ref_frame_idx", 3)?;
            sign_bias |= self.fields.u8("ref_frame_sign_bias", 1)? << at;
        }
        let size = self.frame_size_with_refs(ref_frame_idx)?;
        let render = self.render_size(size)?;
        let mut flags = 0;
        if self.fields.flag("allow_high_precision_mv")? {
            flags |= FRAME_ALLOW_HIGH_PREC_MV;
        }
        let interpolation_filter = if self.fields.flag("is_filter_switchable")? {
            INTERP_FILTER_SWITCHABLE
        } else {
            INTERPOLATION_FILTERS[usize::from(self.fields.u8("raw_interpolation_filter", 2)?)]
        };
        Ok(Body {
            color: self.state.color,
            refresh_frame_flags,
            ref_frame_idx: Some(ref_frame_idx),
            sign_bias,
            size,
            render,
            flags,
            interpolation_filter,
        })
    }

    /// 6.2.2
    fn color_config(&mut self, profile: u8) -> Result<Color, FieldError> {
        const CS_RGB: u32 = 7;
        let mut bit_depth = 8;
        if profile >= 2 {
            bit_depth = if self.fields.flag("ten_or_twelve_bit")? {
                12
            } else {
                10
            };
        }
        // Profiles 0 and 2 have 4:2:0, which RGB cannot be.
        let most = if profile % 2 == 0 { CS_RGB - 1 } else { CS_RGB };
        let rgb = self.fields.within("color_space", 3, 0..=most)? == CS_RGB;
        let mut flags = FRAME_COLOR_RANGE_FULL_SWING;
        if !rgb && !self.fields.flag("color_range")? {
            flags = 0;
        }
        if profile % 2 == 0 {
            flags |= FRAME_X_SUBSAMPLING | FRAME_Y_SUBSAMPLING;
        } else {
            for (field, flag) in [
                ("subsampling_x", FRAME_X_SUBSAMPLING),
                ("subsampling_y", FRAME_Y_SUBSAMPLING),
            ] {
                if !rgb && self.fields.flag(field)? {
                    flags |= flag;
                }
            }
            self.reserved()?;
        }
        Ok(Color { bit_depth, flags })
    }

    fn reserved(&mut self) -> Result<(), FieldError> {
        self.fields.within("reserved_zero", 1, 0..=0)?;
        Ok(())
    }

    /// 6.2.3
    fn frame_size(&mut self) -> Result<Size, FieldError> {
        Ok(Size {
            width_minus_1: self.fields.u("frame_width_minus_1", 16)? as u16,
            height_minus_1: self.fields.u("frame_height_minus_1", 16)? as u16,
        })
    }

    /// 6.2.5
    fn frame_size_with_refs(&mut self, ref_frame_idx: [u8; 3]) -> Result<Size, ParseError> {
        for slot in ref_frame_idx {
            if self.fields.flag("found_ref")? {
                return Ok(self.state.slot(slot)?.size);
            }
        }
        Ok(self.frame_size()?)
    }

    /// 6.2.4
    fn render_size(&mut self, size: Size) -> Result<Size, FieldError> {
        if !self.fields.flag("render_and_frame_size_different")? {
            return Ok(size);
        }
        Ok(Size {
            width_minus_1: self.fields.u("render_width_minus_1", 16)? as u16,
            height_minus_1: self.fields.u("render_height_minus_1", 16)? as u16,
        })
    }

    /// 6.2.8
    fn loop_filter(&mut self, lf: &mut LoopFilter) -> Result<(), FieldError> {
        lf.level = self.fields.u8("loop_filter_level", 6)?;
        lf.sharpness = self.fields.u8("loop_filter_sharpness", 3)?;
        lf.flags = 0;
        if !self.fields.flag("loop_filter_delta_enabled")? {
            return Ok(());
        }
        lf.flags = LF_DELTA_ENABLED;
        if self.fields.flag("loop_filter_delta_update")? {
            lf.flags |= LF_DELTA_UPDATE;
            for delta in &mut lf.ref_deltas {
                if self.fields.flag("update_ref_delta")? {
                    *delta = self.su("loop_filter_ref_deltas", 6)?;
                }
            }
            for delta in &mut lf.mode_deltas {
                if self.fields.flag("update_mode_delta")? {
                    *delta = self.su("loop_filter_mode_deltas", 6)?;
                }
            }
        }
        Ok(())
    }

    /// 6.2.9
    fn quantization(&mut self) -> Result<Quantization, FieldError> {
        Ok(Quantization {
            base_q_idx: self.fields.u8("base_q_idx", 8)?,
            delta_q_y_dc: self.delta_q("delta_q_y_dc")?,
            delta_q_uv_dc: self.delta_q("delta_q_uv_dc")?,
            delta_q_uv_ac: self.delta_q("delta_q_uv_ac")?,
        })
    }

    fn delta_q(&mut self, field: &'static str) -> Result<i8, FieldError> {
        if !self.fields.flag("delta_coded")? {
            return Ok(0);
        }
        self.su(field, 4)
    }

    /// 6.2.11
    fn segmentation(&mut self, seg: &mut Segmentation) -> Result<(), FieldError> {
        seg.flags &= SEGMENTATION_ABS_OR_DELTA_UPDATE;
        if !self.fields.flag("segmentation_enabled")? {
            return Ok(());
        }
        seg.flags |= SEGMENTATION_ENABLED;
        if self.fields.flag("segmentation_update_map")? {
            seg.flags |= SEGMENTATION_UPDATE_MAP;
            for prob in &mut seg.tree_probs {
                *prob = self.prob("segmentation_tree_probs")?;
            }
            seg.pred_probs = [255; 3];
            if self.fields.flag("segmentation_temporal_update")? {
                seg.flags |= SEGMENTATION_TEMPORAL_UPDATE;
                for prob in &mut seg.pred_probs {
                    *prob = self.prob("segmentation_pred_prob")?;
                }
            }
        }
        if self.fields.flag("segmentation_update_data")? {
            seg.flags &= !SEGMENTATION_ABS_OR_DELTA_UPDATE;
            seg.flags |= SEGMENTATION_UPDATE_DATA;
            if self.fields.flag("segmentation_abs_or_delta_update")? {
                seg.flags |= SEGMENTATION_ABS_OR_DELTA_UPDATE;
            }
            for (data, enabled) in seg.feature_data.iter_mut().zip(&mut seg.feature_enabled) {
                *enabled = 0;
                for (feature, (value, (bits, signed))) in data.iter_mut().zip(FEATURES).enumerate()
                {
                    *value = 0;
                    if self.fields.flag("feature_enabled")? {
                        *enabled |= 1 << feature;
                        *value = self.fields.u("feature_value", bits)? as i16;
                        if signed && self.fields.flag("feature_sign")? {
                            *value = -*value;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn prob(&mut self, field: &'static str) -> Result<u8, FieldError> {
        if self.fields.flag("prob_coded")? {
            self.fields.u8(field, 8)
        } else {
            Ok(255)
        }
    }

    /// 6.2.13: logarithms of tile columns and rows. Columns are 256 to 4096 samples wide (7.2.11).
    fn tile_info(&mut self, size: Size) -> Result<(u8, u8), FieldError> {
        let superblocks = (u32::from(size.width_minus_1) + 1).div_ceil(64);
        let mut columns = 0;
        while 64 << columns < superblocks {
            columns += 1;
        }
        let position = self.fields.position();
        while superblocks >> (columns + 1) >= 4 && self.fields.flag("increment_tile_cols_log2")? {
            columns += 1;
        }
        if columns > 6 {
            return Err(FieldError::Value {
                field: "tile_cols_log2",
                position,
                value: columns.into(),
            });
        }
        let mut rows = self.fields.u8("tile_rows_log2", 1)?;
        if rows != 0 {
            rows += self.fields.u8("increment_tile_rows_log2", 1)?;
        }
        Ok((columns, rows))
    }

    /// A magnitude and then its sign, `su(n)`.
    fn su(&mut self, field: &'static str, count: u32) -> Result<i8, FieldError> {
        let magnitude = self.fields.u8(field, count)? as i8;
        Ok(if self.fields.flag(field)? {
            -magnitude
        } else {
            magnitude
        })
    }
}

/// `frame_sync_code`.
const SYNC_CODE: u32 = 0x49_83_42;

/// What frames with and without references both have, in different syntax.
struct Body {
    color: Color,
    refresh_frame_flags: u8,
    ref_frame_idx: Option<[u8; 3]>,
    sign_bias: u8,
    size: Size,
    render: Size,
    flags: u32,
    interpolation_filter: u8,
}

#[cfg(test)]
mod tests;
