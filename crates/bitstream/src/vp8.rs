//! VP8 frame headers, RFC 6386 clauses 9 and 19.2: the frame tag, and the header at the beginning of
//! the first partition, read with the boolean decoder.
//!
//! [`State`] holds what frames leave to later ones: probabilities, segment and loop filter values, and
//! which picture is last, golden and alternate (9.7). [`State::parse`] reads a frame against it and
//! changes nothing; [`State::decoded`] is told of the frame that was decoded. Partitions behind the
//! header stay unread. [`FrameTag::write`] puts back what VA-API clients take off a frame.

mod tables;

use crate::boolean::BoolDecoder;
use crate::fields::FieldError;
use crate::list::List;

/// [`Segment::flags`]: segmentation is on.
pub const SEGMENT_ENABLED: u32 = 0x01;
/// [`Segment::flags`]: the frame has a new segment map.
pub const SEGMENT_UPDATE_MAP: u32 = 0x02;
/// [`Segment::flags`]: the frame has new values for the segments.
pub const SEGMENT_UPDATE_FEATURE_DATA: u32 = 0x04;
/// [`Segment::flags`]: the values are added to the frame's, not put in their place.
pub const SEGMENT_DELTA_VALUE_MODE: u32 = 0x08;

/// Segment-based adjustments (9.3); `v4l2_vp8_segment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Quantiser index or its difference, -127 to 127.
    pub quant_update: [i8; 4],
    /// Loop filter level or its difference, -63 to 63.
    pub lf_update: [i8; 4],
    /// Branch probabilities of the segment map.
    pub segment_probs: [u8; 3],
    /// `SEGMENT_*`.
    pub flags: u32,
}

/// [`LoopFilter::flags`]: levels differ by reference frame and mode.
pub const LF_ADJ_ENABLE: u32 = 0x01;
/// [`LoopFilter::flags`]: the frame has new differences.
pub const LF_DELTA_UPDATE: u32 = 0x02;
/// [`LoopFilter::flags`]: the simple filter.
pub const LF_FILTER_TYPE_SIMPLE: u32 = 0x04;

/// Loop filter (9.3, 9.6); `v4l2_vp8_loop_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopFilter {
    /// Differences by reference frame: intra, last, golden, alternate; -63 to 63.
    pub ref_frm_delta: [i8; 4],
    /// Differences by mode: B_PRED, zero, nearest and such, split; -63 to 63.
    pub mb_mode_delta: [i8; 4],
    /// 0 to 7.
    pub sharpness_level: u8,
    /// 0 to 63.
    pub level: u8,
    /// `LF_*`.
    pub flags: u32,
}

/// Quantiser indices (9.6); `v4l2_vp8_quantization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// 0 to 127.
    pub y_ac_qi: u8,
    /// -15 to 15, as all that follow.
    pub y_dc_delta: i8,
    /// See `y_dc_delta`.
    pub y2_dc_delta: i8,
    /// See `y_dc_delta`.
    pub y2_ac_delta: i8,
    /// See `y_dc_delta`.
    pub uv_dc_delta: i8,
    /// See `y_dc_delta`.
    pub uv_ac_delta: i8,
}

/// All probabilities of a frame, its updates applied (13.4, 16.2, 17.2); `v4l2_vp8_entropy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entropy {
    /// By block type, coefficient band, context and token.
    pub coeff_probs: [[[[u8; 11]; 3]; 8]; 4],
    /// Luma modes; on a key frame the fixed ones.
    pub y_mode_probs: [u8; 4],
    /// Chroma modes; on a key frame the fixed ones.
    pub uv_mode_probs: [u8; 3],
    /// Rows and columns of motion vectors.
    pub mv_probs: [[u8; 19]; 2],
}

/// The boolean decoder behind the header, where the macroblocks' own begin;
/// `v4l2_vp8_entropy_coder_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoderState {
    /// 128 to 255.
    pub range: u8,
    /// The 8 bits that are divided next.
    pub value: u8,
    /// How many of a byte's bits are left behind `first_part_header_bits`, 0 to 7.
    pub bit_count: u8,
}

/// [`Frame::flags`]: a key frame.
pub const FRAME_KEY_FRAME: u64 = 0x01;
/// [`Frame::flags`]: the third bit of the version number.
pub const FRAME_EXPERIMENTAL: u64 = 0x02;
/// [`Frame::flags`]: the frame is to be shown.
pub const FRAME_SHOW_FRAME: u64 = 0x04;
/// [`Frame::flags`]: macroblocks say whether they have coefficients.
pub const FRAME_MB_NO_SKIP_COEFF: u64 = 0x08;
/// [`Frame::flags`]: motion vectors to the golden frame are negated.
pub const FRAME_SIGN_BIAS_GOLDEN: u64 = 0x10;
/// [`Frame::flags`]: motion vectors to the alternate frame are negated.
pub const FRAME_SIGN_BIAS_ALT: u64 = 0x20;

/// One frame's header; `v4l2_ctrl_vp8_frame`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Segments; values the frame does not have are the latest ones.
    pub segment: Segment,
    /// Loop filter; differences the frame does not have are the latest ones.
    pub lf: LoopFilter,
    /// Quantiser indices.
    pub quant: Quantization,
    /// Probabilities.
    pub entropy: Entropy,
    /// The boolean decoder behind the header.
    pub coder_state: CoderState,
    /// Luma samples, 1 to 16383; between key frames the latest key frame's.
    pub width: u16,
    /// Luma rows, 1 to 16383.
    pub height: u16,
    /// 0 to 3: not at all, 5/4, 5/3, 2; a hint for whoever shows the picture.
    pub horizontal_scale: u8,
    /// See `horizontal_scale`.
    pub vertical_scale: u8,
    /// 0 to 3; a third bit is [`FRAME_EXPERIMENTAL`].
    pub version: u8,
    /// Probability that a macroblock has coefficients; 0 without [`FRAME_MB_NO_SKIP_COEFF`].
    pub prob_skip_false: u8,
    /// Probability that a macroblock is intra coded; 0 on key frames, as the next two.
    pub prob_intra: u8,
    /// Probability that the last frame is referred to.
    pub prob_last: u8,
    /// Probability that the golden frame is referred to, not the alternate one.
    pub prob_gf: u8,
    /// 1, 2, 4 or 8.
    pub num_dct_parts: u8,
    /// Bytes of the first partition.
    pub first_part_size: u32,
    /// Bits of the first partition that are used up by its header.
    pub first_part_header_bits: u32,
    /// Bytes of each partition of coefficients.
    pub dct_part_sizes: [u32; 8],
    /// The picture called last, as it was named to [`State::decoded`]; 0 on key frames.
    pub last_frame_ts: u64,
    /// The golden picture.
    pub golden_frame_ts: u64,
    /// The alternate picture.
    pub alt_frame_ts: u64,
    /// `FRAME_*`.
    pub flags: u64,
}

impl Frame {
    /// Whether nothing before this frame is needed.
    pub fn is_key_frame(&self) -> bool {
        self.flags & FRAME_KEY_FRAME != 0
    }
}

/// From where a buffer that the frame does not refresh is copied (9.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyFrom {
    /// It stays what it is.
    #[default]
    None,
    /// From the last frame.
    Last,
    /// Golden from alternate, or alternate from golden.
    Other,
}

/// What the frame does to the reference buffers and to the probabilities (9.7, 9.8, 9.11). V4L2 has
/// none of it: its clients resolve the buffers themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// The frame becomes the last one.
    pub last: bool,
    /// The frame becomes the golden one.
    pub golden: bool,
    /// The frame becomes the alternate one.
    pub alternate: bool,
    /// What else becomes the golden one.
    pub copy_to_golden: CopyFrom,
    /// What else becomes the alternate one.
    pub copy_to_alternate: CopyFrom,
    /// The frame's probabilities are those of later frames.
    pub entropy: bool,
}

/// A frame's header, as parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What V4L2 clients hand on.
    pub frame: Frame,
    /// What they keep.
    pub refresh: Refresh,
}

/// Why a frame has no header to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A field is cut off or forbidden.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A partition is longer than what is left of the frame.
    #[error("{partition} of {size} bytes ends behind the frame of {length}")]
    Partition {
        /// `first partition` or `coefficient partition`.
        partition: &'static str,
        /// Its length in bytes.
        size: u32,
        /// The frame's length in bytes.
        length: usize,
    },
    /// The stream does not begin with a key frame.
    #[error("inter frame before the first key frame")]
    NoKeyFrame,
}

/// The three reference buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct References {
    /// The last frame.
    pub last: u64,
    /// The golden frame.
    pub golden: u64,
    /// The alternate frame.
    pub alternate: u64,
}

impl References {
    /// The buffers behind a frame named `id`.
    ///
    /// The standard's text leaves open which copy comes first; its decoder makes the alternate frame
    /// before the golden one, so that two copies from each other leave both the old golden frame.
    fn after(mut self, refresh: &Refresh, id: u64) -> Self {
        match refresh.copy_to_alternate {
            CopyFrom::None => {}
            CopyFrom::Last => self.alternate = self.last,
            CopyFrom::Other => self.alternate = self.golden,
        }
        match refresh.copy_to_golden {
            CopyFrom::None => {}
            CopyFrom::Last => self.golden = self.last,
            CopyFrom::Other => self.golden = self.alternate,
        }
        if refresh.golden {
            self.golden = id;
        }
        if refresh.alternate {
            self.alternate = id;
        }
        if refresh.last {
            self.last = id;
        }
        self
    }
}

/// What the frames so far leave to the next one.
#[derive(Debug, Clone)]
pub struct State {
    segment: Segment,
    lf: LoopFilter,
    entropy: Entropy,
    size: Size,
    references: Option<References>,
}

/// What a key frame says of the size of pictures (9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Luma samples, 1 to 16383.
    pub width: u16,
    /// Luma rows, 1 to 16383.
    pub height: u16,
    /// 0 to 3; see [`Frame::horizontal_scale`].
    pub horizontal_scale: u8,
    /// See `horizontal_scale`.
    pub vertical_scale: u8,
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
            segment: SEGMENT_DEFAULT,
            lf: LF_DEFAULT,
            entropy: ENTROPY_DEFAULT,
            size: Size::default(),
            references: None,
        }
    }

    /// The pictures that an inter frame may refer to, once there was a key frame.
    pub fn references(&self) -> Option<References> {
        self.references
    }

    /// Reads the header of a whole frame.
    pub fn parse(&self, data: &[u8]) -> Result<Header, ParseError> {
        let tag = FrameTag::parse(data)?;
        self.parse_behind(&tag, &data[tag.length()..])
    }

    /// Reads the header of a frame of which `tag` was taken off.
    pub fn parse_behind(&self, tag: &FrameTag, behind: &[u8]) -> Result<Header, ParseError> {
        let size = match (tag.size, self.references) {
            (Some(size), _) => size,
            (None, Some(_)) => self.size,
            (None, None) => return Err(ParseError::NoKeyFrame),
        };
        let start = tag.length();
        let length = start + behind.len();
        let Some((first, behind)) = behind.split_at_checked(tag.first_part_size as usize) else {
            return Err(ParseError::Partition {
                partition: "first partition",
                size: tag.first_part_size,
                length,
            });
        };
        let mut reader = HeaderReader {
            bits: BoolDecoder::new(first),
            base: start as u64 * 8,
            key_frame: tag.size.is_some(),
        };
        let mut header = reader.header(self, tag, size)?;
        partition_sizes(&mut header.frame, length, behind)?;
        Ok(header)
    }

    /// Takes over what a frame parsed against this state leaves; `id` names its picture.
    pub fn decoded(&mut self, header: &Header, id: u64) {
        let Header { frame, refresh } = header;
        self.segment = frame.segment;
        self.lf = frame.lf;
        self.size = Size {
            width: frame.width,
            height: frame.height,
            horizontal_scale: frame.horizontal_scale,
            vertical_scale: frame.vertical_scale,
        };
        if frame.is_key_frame() {
            // The fixed mode probabilities are the key frame's own; those behind it start anew.
            self.entropy = ENTROPY_DEFAULT;
            if refresh.entropy {
                self.entropy.coeff_probs = frame.entropy.coeff_probs;
            }
        } else if refresh.entropy {
            self.entropy = frame.entropy;
        }
        let all = References {
            last: id,
            golden: id,
            alternate: id,
        };
        self.references = Some(self.references.unwrap_or(all).after(refresh, id));
    }
}

/// Ahead of a key frame's size (9.1).
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

const SEGMENT_DEFAULT: Segment = Segment {
    quant_update: [0; 4],
    lf_update: [0; 4],
    segment_probs: [255; 3],
    flags: SEGMENT_DELTA_VALUE_MODE,
};

const LF_DEFAULT: LoopFilter = LoopFilter {
    ref_frm_delta: [0; 4],
    mb_mode_delta: [0; 4],
    sharpness_level: 0,
    level: 0,
    flags: 0,
};

const ENTROPY_DEFAULT: Entropy = Entropy {
    coeff_probs: tables::COEFF_DEFAULT,
    y_mode_probs: tables::Y_MODE_DEFAULT,
    uv_mode_probs: tables::UV_MODE_DEFAULT,
    mv_probs: tables::MV_DEFAULT,
};

/// What stands ahead of the first partition (9.1): the frame tag, and on key frames start code and
/// size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTag {
    /// 0 to 7.
    pub version: u8,
    /// The frame is to be shown.
    pub show_frame: bool,
    /// Bytes of the first partition, 19 bits.
    pub first_part_size: u32,
    /// Key frames only.
    pub size: Option<Size>,
}

impl FrameTag {
    /// The tag of a frame.
    pub fn of(frame: &Frame) -> Self {
        let experimental = u8::from(frame.flags & FRAME_EXPERIMENTAL != 0);
        FrameTag {
            version: frame.version | experimental << 2,
            show_frame: frame.flags & FRAME_SHOW_FRAME != 0,
            first_part_size: frame.first_part_size,
            size: frame.is_key_frame().then_some(Size {
                width: frame.width,
                height: frame.height,
                horizontal_scale: frame.horizontal_scale,
                vertical_scale: frame.vertical_scale,
            }),
        }
    }

    /// Reads the tag that `data` begins with.
    pub fn parse(data: &[u8]) -> Result<Self, FieldError> {
        let Some(&[low, middle, high]) = data.get(..3) else {
            return Err(FieldError::End {
                field: "frame_tag",
                position: 0,
            });
        };
        let tag = u32::from_le_bytes([low, middle, high, 0]);
        let key_frame = tag & 1 == 0;
        Ok(FrameTag {
            version: (tag >> 1 & 7) as u8,
            show_frame: tag >> 4 & 1 != 0,
            first_part_size: tag >> 5,
            size: key_frame.then(|| key_frame_size(data)).transpose()?,
        })
    }

    /// Bytes that it takes.
    pub fn length(&self) -> usize {
        if self.size.is_some() { 10 } else { 3 }
    }

    /// Its bytes.
    pub fn write(&self) -> Result<List<u8, 10>, FieldError> {
        let value = |field, position, value: u32, most: u32| {
            if value <= most {
                return Ok(value);
            }
            Err(FieldError::Value {
                field,
                position,
                value: value.into(),
            })
        };
        let version = value("version", 1, self.version.into(), 7)?;
        let first = value("first_part_size", 5, self.first_part_size, (1 << 19) - 1)?;
        let inter = u32::from(self.size.is_none());
        let tag = inter | version << 1 | u32::from(self.show_frame) << 4 | first << 5;
        let mut bytes = List::new();
        let mut push = |more: &[u8]| {
            for &byte in more {
                // Ten of them at most.
                let _ = bytes.push(byte);
            }
        };
        push(&tag.to_le_bytes()[..3]);
        if let Some(size) = self.size {
            let width = value("width", 48, size.width.into(), 0x3fff)?;
            let horizontal = value("horizontal_scale", 62, size.horizontal_scale.into(), 3)?;
            let height = value("height", 64, size.height.into(), 0x3fff)?;
            let vertical = value("vertical_scale", 78, size.vertical_scale.into(), 3)?;
            push(&START_CODE);
            push(&((width | horizontal << 14) as u16).to_le_bytes());
            push(&((height | vertical << 14) as u16).to_le_bytes());
        }
        Ok(bytes)
    }
}

fn key_frame_size(data: &[u8]) -> Result<Size, FieldError> {
    let Some(
        &[
            first,
            second,
            third,
            width_low,
            width_high,
            height_low,
            height_high,
        ],
    ) = data.get(3..10)
    else {
        return Err(FieldError::End {
            field: "start_code and size",
            position: 24,
        });
    };
    if [first, second, third] != START_CODE {
        return Err(FieldError::Value {
            field: "start_code",
            position: 24,
            value: u32::from_be_bytes([0, first, second, third]).into(),
        });
    }
    let width = u16::from_le_bytes([width_low, width_high]);
    let height = u16::from_le_bytes([height_low, height_high]);
    for (field, position, value) in [("width", 48, width), ("height", 64, height)] {
        if value & 0x3fff == 0 {
            return Err(FieldError::Value {
                field,
                position,
                value: 0,
            });
        }
    }
    Ok(Size {
        width: width & 0x3fff,
        height: height & 0x3fff,
        horizontal_scale: (width >> 14) as u8,
        vertical_scale: (height >> 14) as u8,
    })
}

/// Fills in the sizes of the coefficient partitions (9.5), which lie `behind` the first one: three
/// bytes for each but the last, which is what remains. `length` is the whole frame's.
fn partition_sizes(frame: &mut Frame, length: usize, behind: &[u8]) -> Result<(), ParseError> {
    let sizes = usize::from(frame.num_dct_parts) - 1;
    let Some((sizes, mut partitions)) = behind.split_at_checked(3 * sizes) else {
        return Err(ParseError::Field(FieldError::End {
            field: "partition_size",
            position: (length - behind.len()) as u64 * 8,
        }));
    };
    let (last, others) = (sizes.len() / 3, sizes.chunks_exact(3));
    for (slot, size) in frame.dct_part_sizes.iter_mut().zip(others) {
        let size = u32::from_le_bytes([size[0], size[1], size[2], 0]);
        let Some((_, rest)) = partitions.split_at_checked(size as usize) else {
            return Err(ParseError::Partition {
                partition: "coefficient partition",
                size,
                length,
            });
        };
        (*slot, partitions) = (size, rest);
    }
    frame.dct_part_sizes[last] = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
    Ok(())
}

/// Reads the first partition's header, part after part in the order of 19.2.
struct HeaderReader<'a> {
    bits: BoolDecoder<'a>,
    /// Bits of the frame ahead of the first partition.
    base: u64,
    key_frame: bool,
}

impl HeaderReader<'_> {
    fn header(&mut self, state: &State, tag: &FrameTag, size: Size) -> Result<Header, FieldError> {
        // A key frame starts from nothing (9.3, 9.6, 9.11), except that the segment map's
        // probabilities are only ever used by a frame that brings them.
        let (mut segment, mut lf, mut entropy) = if self.key_frame {
            (SEGMENT_DEFAULT, LF_DEFAULT, ENTROPY_DEFAULT)
        } else {
            (state.segment, state.lf, state.entropy)
        };
        if self.key_frame {
            entropy.y_mode_probs = tables::KEY_Y_MODE;
            entropy.uv_mode_probs = tables::KEY_UV_MODE;
            // color_space and clamping_type: no V4L2 client tells them.
            self.bits.literal(2);
        }
        self.segment(&mut segment)?;
        self.loop_filter(&mut lf)?;
        let num_dct_parts = 1 << self.bits.literal(2);
        let quant = self.quantization()?;
        let (mut refresh, sign_bias) = self.refresh()?;
        refresh.entropy = self.bits.flag();
        refresh.last = self.key_frame || self.bits.flag();
        self.coefficients(&mut entropy)?;
        let no_skip_coeff = self.bits.flag();
        let prob_skip_false = if no_skip_coeff { self.bits.u8(8) } else { 0 };
        let [mut prob_intra, mut prob_last, mut prob_gf] = [0; 3];
        if !self.key_frame {
            prob_intra = self.bits.u8(8);
            prob_last = self.bits.u8(8);
            prob_gf = self.bits.u8(8);
            self.modes(&mut entropy)?;
        }
        self.check("mb_no_coeff_skip and what follows it")?;

        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        let references = state.references.filter(|_| !self.key_frame);
        let frame = Frame {
            segment,
            lf,
            quant,
            entropy,
            coder_state: self.coder_state(),
            width: size.width,
            height: size.height,
            horizontal_scale: size.horizontal_scale,
            vertical_scale: size.vertical_scale,
            version: tag.version & 3,
            prob_skip_false,
            prob_intra,
            prob_last,
            prob_gf,
            num_dct_parts,
            first_part_size: tag.first_part_size,
            first_part_header_bits: self.bits.position() as u32,
            dct_part_sizes: [0; 8],
            last_frame_ts: references.map_or(0, |pictures| pictures.last),
            golden_frame_ts: references.map_or(0, |pictures| pictures.golden),
            alt_frame_ts: references.map_or(0, |pictures| pictures.alternate),
            flags: sign_bias
                | flag(self.key_frame, FRAME_KEY_FRAME)
                | flag(tag.version & 4 != 0, FRAME_EXPERIMENTAL)
                | flag(tag.show_frame, FRAME_SHOW_FRAME)
                | flag(no_skip_coeff, FRAME_MB_NO_SKIP_COEFF),
        };
        Ok(Header { frame, refresh })
    }

    /// `update_segmentation` (9.3).
    fn segment(&mut self, segment: &mut Segment) -> Result<(), FieldError> {
        segment.flags &= SEGMENT_DELTA_VALUE_MODE;
        if !self.bits.flag() {
            return Ok(());
        }
        segment.flags |= SEGMENT_ENABLED;
        let update_map = self.bits.flag();
        if self.bits.flag() {
            segment.flags = SEGMENT_ENABLED | SEGMENT_UPDATE_FEATURE_DATA;
            if !self.bits.flag() {
                segment.flags |= SEGMENT_DELTA_VALUE_MODE;
            }
            for value in &mut segment.quant_update {
                *value = if self.bits.flag() { self.bits.i8(7) } else { 0 };
            }
            for value in &mut segment.lf_update {
                *value = if self.bits.flag() { self.bits.i8(6) } else { 0 };
            }
        }
        if update_map {
            segment.flags |= SEGMENT_UPDATE_MAP;
            for prob in &mut segment.segment_probs {
                *prob = if self.bits.flag() {
                    self.bits.u8(8)
                } else {
                    255
                };
            }
        }
        self.check("update_segmentation")
    }

    /// Filter type, levels and `mb_lf_adjustments` (9.6).
    fn loop_filter(&mut self, lf: &mut LoopFilter) -> Result<(), FieldError> {
        lf.flags = 0;
        if self.bits.flag() {
            lf.flags |= LF_FILTER_TYPE_SIMPLE;
        }
        lf.level = self.bits.u8(6);
        lf.sharpness_level = self.bits.u8(3);
        if self.bits.flag() {
            lf.flags |= LF_ADJ_ENABLE;
            if self.bits.flag() {
                lf.flags |= LF_DELTA_UPDATE;
                for delta in lf.ref_frm_delta.iter_mut().chain(&mut lf.mb_mode_delta) {
                    if self.bits.flag() {
                        *delta = self.bits.i8(6);
                    }
                }
            }
        }
        self.check("mb_lf_adjustments")
    }

    /// `quant_indices` (9.6).
    fn quantization(&mut self) -> Result<Quantization, FieldError> {
        let y_ac_qi = self.bits.u8(7);
        let mut deltas = [0; 5];
        for delta in &mut deltas {
            if self.bits.flag() {
                *delta = self.bits.i8(4);
            }
        }
        self.check("quant_indices")?;
        let [y_dc, y2_dc, y2_ac, uv_dc, uv_ac] = deltas;
        Ok(Quantization {
            y_ac_qi,
            y_dc_delta: y_dc,
            y2_dc_delta: y2_dc,
            y2_ac_delta: y2_ac,
            uv_dc_delta: uv_dc,
            uv_ac_delta: uv_ac,
        })
    }

    /// Golden and alternate frame (9.7), and the sign biases as `FRAME_*` flags.
    fn refresh(&mut self) -> Result<(Refresh, u64), FieldError> {
        let mut refresh = Refresh {
            last: true,
            golden: true,
            alternate: true,
            copy_to_golden: CopyFrom::None,
            copy_to_alternate: CopyFrom::None,
            entropy: true,
        };
        if self.key_frame {
            return Ok((refresh, 0));
        }
        refresh.golden = self.bits.flag();
        refresh.alternate = self.bits.flag();
        if !refresh.golden {
            refresh.copy_to_golden = self.copy("copy_buffer_to_golden")?;
        }
        if !refresh.alternate {
            refresh.copy_to_alternate = self.copy("copy_buffer_to_alternate")?;
        }
        let mut sign_bias = 0;
        for flag in [FRAME_SIGN_BIAS_GOLDEN, FRAME_SIGN_BIAS_ALT] {
            if self.bits.flag() {
                sign_bias |= flag;
            }
        }
        Ok((refresh, sign_bias))
    }

    fn copy(&mut self, field: &'static str) -> Result<CopyFrom, FieldError> {
        let position = self.base + self.bits.position();
        match self.bits.literal(2) {
            0 => Ok(CopyFrom::None),
            1 => Ok(CopyFrom::Last),
            2 => Ok(CopyFrom::Other),
            value => Err(FieldError::Value {
                field,
                position,
                value: value.into(),
            }),
        }
    }

    /// `token_prob_update` (13.4).
    fn coefficients(&mut self, entropy: &mut Entropy) -> Result<(), FieldError> {
        let probs = entropy.coeff_probs.as_flattened_mut().as_flattened_mut();
        let updates = tables::COEFF_UPDATE.as_flattened().as_flattened();
        for (probs, updates) in probs.iter_mut().zip(updates) {
            for (prob, &update) in probs.iter_mut().zip(updates) {
                if self.bits.read(update) {
                    *prob = self.bits.u8(8);
                }
            }
        }
        self.check("token_prob_update")
    }

    /// Intra mode probabilities (16.2) and `mv_prob_update` (17.2).
    fn modes(&mut self, entropy: &mut Entropy) -> Result<(), FieldError> {
        if self.bits.flag() {
            entropy.y_mode_probs = [(); 4].map(|()| self.bits.u8(8));
        }
        if self.bits.flag() {
            entropy.uv_mode_probs = [(); 3].map(|()| self.bits.u8(8));
        }
        self.check("intra_16x16_prob and intra_chroma_prob")?;
        let probs = entropy.mv_probs.as_flattened_mut().iter_mut();
        for (prob, &update) in probs.zip(tables::MV_UPDATE.as_flattened()) {
            if self.bits.read(update) {
                // Seven bits, of which zero stands for the one odd probability, 1.
                *prob = (self.bits.u8(7) << 1).max(1);
            }
        }
        self.check("mv_prob_update")
    }

    fn coder_state(&mut self) -> CoderState {
        let (range, value) = self.bits.state();
        CoderState {
            range,
            value,
            bit_count: (self.bits.position().wrapping_neg() % 8) as u8,
        }
    }

    fn check(&self, field: &'static str) -> Result<(), FieldError> {
        self.bits.check(field, self.base)
    }
}

#[cfg(test)]
mod tests;
