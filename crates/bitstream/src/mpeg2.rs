//! MPEG-2 video headers, ITU-T H.262 (02/2012) clauses 6.2 and 6.3: sequence, group of pictures,
//! picture and quantiser matrices, and where the slices are.
//!
//! [`State`] holds what pictures leave to later ones: sequence, matrices, and the two reference
//! frames. [`State::parse`] reads a coded picture (a frame or a field, 6.1.1) against it and changes
//! nothing; [`State::decoded`] is told of the picture that was decoded. [`write_sequence`] and
//! [`write_picture`] make the headers that stand ahead of the slices a V4L2 client sends. What lies
//! within a slice stays unread. MPEG-1 video (ISO/IEC 11172-2) and the scalable extensions are
//! recognised and refused.

use crate::annexb::find_prefix;
use crate::bits::BitWriter;
use crate::fields::{self, FieldError, FieldReader};

/// Values of start codes (table 6-1).
pub mod start_code {
    /// `picture_start_code`.
    pub const PICTURE: u8 = 0x00;
    /// The first `slice_start_code`.
    pub const FIRST_SLICE: u8 = 0x01;
    /// The last `slice_start_code`.
    pub const LAST_SLICE: u8 = 0xaf;
    /// `sequence_header_code`.
    pub const SEQUENCE_HEADER: u8 = 0xb3;
    /// `extension_start_code`.
    pub const EXTENSION: u8 = 0xb5;
    /// `sequence_end_code`.
    pub const SEQUENCE_END: u8 = 0xb7;
    /// `group_start_code`.
    pub const GROUP: u8 = 0xb8;
}

/// Values of `extension_start_code_identifier` (table 6-2).
mod extension {
    pub const SEQUENCE: u32 = 1;
    pub const QUANT_MATRIX: u32 = 3;
    pub const SEQUENCE_SCALABLE: u32 = 5;
    pub const PICTURE_CODING: u32 = 8;
}

/// [`Sequence::flags`]: `progressive_sequence`.
pub const SEQ_PROGRESSIVE: u8 = 0x01;

/// [`Sequence::chroma_format`] of 4:2:0.
pub const CHROMA_420: u8 = 1;

/// Sequence header and extension (6.3.3, 6.3.5); `v4l2_ctrl_mpeg2_sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// Luma samples, 1 to 16383.
    pub horizontal_size: u16,
    /// Luma rows of a frame, 1 to 16383.
    pub vertical_size: u16,
    /// In units of 16384 bits, 18 bits.
    pub vbv_buffer_size: u32,
    /// 8 bits (clause 8).
    pub profile_and_level_indication: u16,
    /// 1: 4:2:0, 2: 4:2:2, 3: 4:4:4.
    pub chroma_format: u8,
    /// `SEQ_*`.
    pub flags: u8,
}

/// [`Picture::picture_coding_type`]: intra coded.
pub const CODING_TYPE_I: u8 = 1;
/// [`Picture::picture_coding_type`]: predicted from one earlier picture.
pub const CODING_TYPE_P: u8 = 2;
/// [`Picture::picture_coding_type`]: predicted from two pictures; nothing refers to it.
pub const CODING_TYPE_B: u8 = 3;

/// [`Picture::picture_structure`] of a top field.
pub const TOP_FIELD: u8 = 1;
/// [`Picture::picture_structure`] of a bottom field.
pub const BOTTOM_FIELD: u8 = 2;
/// [`Picture::picture_structure`] of a frame.
pub const FRAME: u8 = 3;

/// [`Picture::flags`]: `top_field_first`.
pub const PIC_TOP_FIELD_FIRST: u32 = 0x01;
/// [`Picture::flags`]: `frame_pred_frame_dct`.
pub const PIC_FRAME_PRED_DCT: u32 = 0x02;
/// [`Picture::flags`]: `concealment_motion_vectors`.
pub const PIC_CONCEALMENT_MV: u32 = 0x04;
/// [`Picture::flags`]: `q_scale_type`.
pub const PIC_Q_SCALE_TYPE: u32 = 0x08;
/// [`Picture::flags`]: `intra_vlc_format`.
pub const PIC_INTRA_VLC: u32 = 0x10;
/// [`Picture::flags`]: `alternate_scan`.
pub const PIC_ALT_SCAN: u32 = 0x20;
/// [`Picture::flags`]: `repeat_first_field`.
pub const PIC_REPEAT_FIRST: u32 = 0x40;
/// [`Picture::flags`]: `progressive_frame`.
pub const PIC_PROGRESSIVE: u32 = 0x80;

/// The flags of the picture coding extension, in the order in which it has them.
const PICTURE_FLAGS: [(&str, u32); 7] = [
    ("top_field_first", PIC_TOP_FIELD_FIRST),
    ("frame_pred_frame_dct", PIC_FRAME_PRED_DCT),
    ("concealment_motion_vectors", PIC_CONCEALMENT_MV),
    ("q_scale_type", PIC_Q_SCALE_TYPE),
    ("intra_vlc_format", PIC_INTRA_VLC),
    ("alternate_scan", PIC_ALT_SCAN),
    ("repeat_first_field", PIC_REPEAT_FIRST),
];

/// Picture header and picture coding extension (6.3.9, 6.3.10); `v4l2_ctrl_mpeg2_picture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// The reference behind the picture in time, as it was named to [`State::decoded`]; 0 for none.
    pub backward_ref_ts: u64,
    /// The reference ahead of the picture in time; 0 for none.
    pub forward_ref_ts: u64,
    /// `PIC_*`.
    pub flags: u32,
    /// By direction (forward, backward) and axis (horizontal, vertical): 1 to 9, or 15 where there is
    /// no such motion vector.
    pub f_code: [[u8; 2]; 2],
    /// `CODING_TYPE_*`.
    pub picture_coding_type: u8,
    /// [`TOP_FIELD`], [`BOTTOM_FIELD`] or [`FRAME`].
    pub picture_structure: u8,
    /// 0 to 3: 8 to 11 bits.
    pub intra_dc_precision: u8,
}

impl Picture {
    /// Whether motion vectors of a direction (0 forward, 1 backward) are in the picture (6.3.10).
    fn has_vectors(&self, direction: usize) -> bool {
        match (direction, self.picture_coding_type) {
            (0, CODING_TYPE_I) => self.flags & PIC_CONCEALMENT_MV != 0,
            (0, _) => true,
            (_, coding_type) => coding_type == CODING_TYPE_B,
        }
    }
}

/// Quantiser matrices (6.3.11), in zig-zag order; `v4l2_ctrl_mpeg2_quantisation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantisation {
    /// Intra coded macroblocks.
    pub intra_quantiser_matrix: [u8; 64],
    /// Other macroblocks.
    pub non_intra_quantiser_matrix: [u8; 64],
    /// Chroma of intra coded macroblocks in 4:2:2 and 4:4:4; in 4:2:0 the one of luma.
    pub chroma_intra_quantiser_matrix: [u8; 64],
    /// Chroma of other macroblocks in 4:2:2 and 4:4:4; in 4:2:0 the one of luma.
    pub chroma_non_intra_quantiser_matrix: [u8; 64],
}

impl Quantisation {
    /// The matrices of a sequence that has none of its own (6.3.11), here by the zig-zag scan.
    pub const DEFAULT: Self = Quantisation {
        intra_quantiser_matrix: DEFAULT_INTRA,
        non_intra_quantiser_matrix: [16; 64],
        chroma_intra_quantiser_matrix: DEFAULT_INTRA,
        chroma_non_intra_quantiser_matrix: [16; 64],
    };
}

#[rustfmt::skip]
const DEFAULT_INTRA: [u8; 64] = [
     8, 16, 16, 19, 16, 19, 22, 22,
    22, 22, 22, 22, 26, 24, 26, 27,
    27, 27, 26, 26, 26, 26, 27, 27,
    27, 29, 29, 29, 34, 34, 34, 29,
    29, 29, 27, 27, 29, 29, 32, 32,
    34, 34, 37, 38, 37, 35, 35, 34,
    35, 38, 38, 40, 40, 40, 48, 48,
    46, 46, 56, 56, 58, 69, 69, 83,
];

/// Group of pictures header (6.3.8), without its time code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The B pictures behind the first I picture refer to nothing before it.
    pub closed: bool,
    /// Those B pictures cannot be decoded: what they refer to was cut off.
    pub broken_link: bool,
}

/// A coded picture: one frame, or one field of it, and all that holds for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodedPicture<'a> {
    /// Its sequence.
    pub sequence: Sequence,
    /// Its matrices.
    pub quantisation: Quantisation,
    /// Its own header.
    pub picture: Picture,
    /// Its place in the order of display within the group (6.3.9).
    pub temporal_reference: u16,
    /// The group that begins with it.
    pub group: Option<Group>,
    /// What it is predicted from; its control names the same pictures.
    pub prediction: Prediction,
    /// From its first slice start code to the end of its last slice.
    pub slices: &'a [u8],
}

/// What a picture is predicted from (7.6.2), by the names of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    /// The picture is the second field of the frame whose first was decoded last. It may be predicted
    /// from that one too.
    pub second_field: bool,
    /// The frame that is displayed earlier. Missing at the beginning of a stream, and for a B picture
    /// there that only refers backward. Where a second field has nothing but the first, its own frame.
    pub forward: Option<u64>,
    /// The frame that is displayed later.
    pub backward: Option<u64>,
}

/// Why a picture cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A field is cut off or forbidden.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No extension follows a sequence header (6.1.1.6).
    #[error("MPEG-1 video is not supported")]
    Mpeg1,
    /// Layers that only mean something together with others (clause 7.7 to 7.11).
    #[error("scalable MPEG-2 video is not supported")]
    Scalable,
    /// A part that every picture has.
    #[error("coded picture without a {0}")]
    Missing(&'static str),
}

/// What lies between one start code and the next (6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit<'a> {
    /// The start code's value.
    pub code: u8,
    /// Index of the start code's first byte in the stream.
    pub start: usize,
    /// From the start code to the next one.
    pub bytes: &'a [u8],
}

/// The units of a stream, in order. Bytes ahead of the first start code belong to none.
pub fn units(stream: &[u8]) -> Units<'_> {
    Units {
        stream,
        next: find_prefix(stream),
    }
}

/// See [`units`].
#[derive(Debug, Clone)]
pub struct Units<'a> {
    stream: &'a [u8],
    next: Option<usize>,
}

impl<'a> Iterator for Units<'a> {
    type Item = Unit<'a>;

    fn next(&mut self) -> Option<Unit<'a>> {
        let start = self.next?;
        let &code = self.stream.get(start + 3)?;
        let behind = start + 4;
        self.next = find_prefix(&self.stream[behind..]).map(|at| behind + at);
        Some(Unit {
            code,
            start,
            bytes: &self.stream[start..self.next.unwrap_or(self.stream.len())],
        })
    }
}

/// The coded pictures of an elementary stream, each with the headers ahead of it.
pub fn pictures(stream: &[u8]) -> Pictures<'_> {
    Pictures {
        stream,
        units: units(stream),
        start: None,
    }
}

/// See [`pictures`].
#[derive(Debug, Clone)]
pub struct Pictures<'a> {
    stream: &'a [u8],
    units: Units<'a>,
    start: Option<usize>,
}

impl<'a> Iterator for Pictures<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut slices = false;
        for unit in self.units.by_ref() {
            let start = *self.start.get_or_insert(unit.start);
            match unit.code {
                start_code::FIRST_SLICE..=start_code::LAST_SLICE => slices = true,
                start_code::PICTURE | start_code::SEQUENCE_HEADER | start_code::GROUP if slices => {
                    self.start = Some(unit.start);
                    return Some(&self.stream[start..unit.start]);
                }
                _ => {}
            }
        }
        // What has no slice is the end of the stream, not a picture.
        self.start
            .take()
            .filter(|_| slices)
            .map(|start| &self.stream[start..])
    }
}

/// One slice (6.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice<'a> {
    /// Row of its macroblocks, from 0, within the frame or field.
    pub row: u16,
    /// From the start code on.
    pub bytes: &'a [u8],
}

/// The slices in `data`, of a picture whose frame has `vertical_size` rows of luma: above 2800 of them
/// the start code's value alone does not name the row (6.3.16).
pub fn slices(
    data: &[u8],
    vertical_size: u16,
) -> impl Iterator<Item = Result<Slice<'_>, FieldError>> {
    let slice =
        |unit: &Unit| (start_code::FIRST_SLICE..=start_code::LAST_SLICE).contains(&unit.code);
    units(data).filter(slice).map(move |unit| {
        let mut row = u16::from(unit.code) - 1;
        if vertical_size > 2800 {
            let mut reader =
                FieldReader::new(&data[..unit.start + unit.bytes.len()], unit.start + 4);
            row += u16::from(reader.u8("slice_vertical_position_extension", 3)?) << 7;
        }
        Ok(Slice {
            row,
            bytes: unit.bytes,
        })
    })
}

/// What the pictures so far leave to the next one.
#[derive(Debug, Clone)]
pub struct State {
    sequence: Option<Sequence>,
    quantisation: Quantisation,
    /// The last two reference frames, the later one behind.
    references: [Option<u64>; 2],
    first_field: Option<Field>,
}

/// A field whose other one may follow (6.1.1.4).
#[derive(Debug, Clone, Copy)]
struct Field {
    structure: u8,
    coding_type: u8,
}

impl Field {
    /// Whether `picture` is the other field of the same frame. The second field of an I field may be
    /// a P field.
    fn is_completed_by(self, picture: &Picture) -> bool {
        self.structure + picture.picture_structure == FRAME
            && (self.coding_type == CODING_TYPE_B) == (picture.picture_coding_type == CODING_TYPE_B)
    }
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
            sequence: None,
            quantisation: Quantisation::DEFAULT,
            references: [None; 2],
            first_field: None,
        }
    }

    /// Reads one coded picture, with whatever headers it has, as [`pictures`] gives it.
    pub fn parse<'a>(&self, data: &'a [u8]) -> Result<CodedPicture<'a>, ParseError> {
        let mut headers = Headers {
            sequence: self.sequence,
            sequence_header: None,
            quantisation: self.quantisation,
            picture: None,
            extended: false,
            group: None,
        };
        let mut range: Option<(usize, usize)> = None;
        for unit in units(data) {
            match unit.code {
                start_code::FIRST_SLICE..=start_code::LAST_SLICE => {
                    let start = range.map_or(unit.start, |(start, _)| start);
                    range = Some((start, unit.start + unit.bytes.len()));
                }
                _ if range.is_some() => break,
                _ => headers.read(data, &unit)?,
            }
        }
        let (sequence, temporal_reference, mut picture) = headers.complete()?;
        let mut quantisation = headers.quantisation;
        if sequence.chroma_format == CHROMA_420 {
            // Chroma has none of its own there; a stream that loads some all the same is not followed.
            quantisation.chroma_intra_quantiser_matrix = quantisation.intra_quantiser_matrix;
            quantisation.chroma_non_intra_quantiser_matrix =
                quantisation.non_intra_quantiser_matrix;
        }
        let (start, end) = range.ok_or(ParseError::Missing("slice"))?;
        let prediction = self.predict(&picture);
        picture.forward_ref_ts = prediction.forward.unwrap_or(0);
        picture.backward_ref_ts = prediction.backward.unwrap_or(0);
        Ok(CodedPicture {
            sequence,
            quantisation,
            picture,
            temporal_reference,
            group: headers.group,
            prediction,
            slices: &data[start..end],
        })
    }

    /// Takes over what a picture parsed against this state leaves. `id` names the frame: both fields
    /// of a frame have the same.
    pub fn decoded(&mut self, coded: &CodedPicture, id: u64) {
        self.sequence = Some(coded.sequence);
        self.quantisation = coded.quantisation;
        let picture = &coded.picture;
        if picture.picture_coding_type != CODING_TYPE_B && !coded.prediction.second_field {
            self.references = [self.references[1], Some(id)];
        }
        self.first_field = (picture.picture_structure != FRAME && !coded.prediction.second_field)
            .then_some(Field {
                structure: picture.picture_structure,
                coding_type: picture.picture_coding_type,
            });
    }

    /// What a picture that comes next is predicted from.
    fn predict(&self, picture: &Picture) -> Prediction {
        let [earlier, later] = self.references;
        let second_field = self
            .first_field
            .is_some_and(|field| field.is_completed_by(picture));
        let (forward, backward) = match picture.picture_coding_type {
            CODING_TYPE_I => (None, None),
            CODING_TYPE_P if second_field => (earlier.or(later), None),
            CODING_TYPE_P => (later, None),
            _ => (earlier, later),
        };
        Prediction {
            second_field,
            forward,
            backward,
        }
    }
}

/// Headers on the way to the first slice.
struct Headers {
    sequence: Option<Sequence>,
    /// A sequence header that still waits for its extension.
    sequence_header: Option<SequenceHeader>,
    quantisation: Quantisation,
    picture: Option<(u16, Picture)>,
    /// Whether the picture's coding extension was there.
    extended: bool,
    group: Option<Group>,
}

/// The part of [`Sequence`] that MPEG-1 has too.
struct SequenceHeader {
    horizontal_size: u32,
    vertical_size: u32,
    vbv_buffer_size: u32,
}

impl Headers {
    fn read(&mut self, data: &[u8], unit: &Unit) -> Result<(), ParseError> {
        let end = unit.start + unit.bytes.len();
        let mut reader = FieldReader::new(&data[..end], unit.start + 4);
        match unit.code {
            start_code::SEQUENCE_HEADER => self.sequence_header(&mut reader)?,
            start_code::EXTENSION => return self.extension(&mut reader),
            start_code::GROUP => self.group = Some(group(&mut reader)?),
            start_code::PICTURE => {
                self.picture = Some(picture_header(&mut reader)?);
                self.extended = false;
            }
            // User data, sequence errors and ends.
            _ => {}
        }
        Ok(())
    }

    fn complete(&self) -> Result<(Sequence, u16, Picture), ParseError> {
        if self.sequence_header.is_some() {
            return Err(ParseError::Mpeg1);
        }
        let sequence = self
            .sequence
            .ok_or(ParseError::Missing("sequence header"))?;
        let (temporal_reference, picture) =
            self.picture.ok_or(ParseError::Missing("picture header"))?;
        if !self.extended {
            return Err(ParseError::Missing("picture coding extension"));
        }
        Ok((sequence, temporal_reference, picture))
    }

    fn sequence_header(&mut self, reader: &mut FieldReader) -> Result<(), FieldError> {
        let horizontal_size = reader.u("horizontal_size_value", 12)?;
        let vertical_size = reader.u("vertical_size_value", 12)?;
        reader.u("aspect_ratio_information", 4)?;
        reader.u("frame_rate_code", 4)?;
        reader.u("bit_rate_value", 18)?;
        reader.within("marker_bit", 1, 1..=1)?;
        let vbv_buffer_size = reader.u("vbv_buffer_size_value", 10)?;
        reader.flag("constrained_parameters_flag")?;
        self.quantisation = Quantisation::DEFAULT;
        self.matrices(reader, 2)?;
        self.sequence_header = Some(SequenceHeader {
            horizontal_size,
            vertical_size,
            vbv_buffer_size,
        });
        Ok(())
    }

    /// The first `count` matrices as far as they are there. Those for luma are also chroma's, until
    /// chroma has its own (6.3.11).
    fn matrices(&mut self, reader: &mut FieldReader, count: usize) -> Result<(), FieldError> {
        let matrices = &mut self.quantisation;
        let mut intra = [
            &mut matrices.intra_quantiser_matrix,
            &mut matrices.chroma_intra_quantiser_matrix,
        ];
        let mut non_intra = [
            &mut matrices.non_intra_quantiser_matrix,
            &mut matrices.chroma_non_intra_quantiser_matrix,
        ];
        for (loads, field) in MATRICES.into_iter().enumerate().take(count) {
            if !reader.flag(loads_field(loads))? {
                continue;
            }
            let matrix = matrix(reader, field)?;
            let targets = if loads % 2 == 0 {
                &mut intra
            } else {
                &mut non_intra
            };
            for target in &mut targets[loads / 2..] {
                **target = matrix;
            }
        }
        Ok(())
    }

    fn extension(&mut self, reader: &mut FieldReader) -> Result<(), ParseError> {
        match reader.u("extension_start_code_identifier", 4)? {
            extension::SEQUENCE => {
                // Only the one that directly follows a header counts.
                if let Some(header) = self.sequence_header.take() {
                    self.sequence = Some(sequence_extension(reader, &header)?);
                }
            }
            extension::QUANT_MATRIX => self.matrices(reader, 4)?,
            extension::SEQUENCE_SCALABLE => return Err(ParseError::Scalable),
            extension::PICTURE_CODING => {
                if let Some((_, picture)) = &mut self.picture {
                    picture_coding_extension(reader, picture)?;
                    self.extended = true;
                }
            }
            // Display, copyright and reserved ones.
            _ => {}
        }
        Ok(())
    }
}

/// The matrices in the order in which headers have them.
const MATRICES: [&str; 4] = [
    "intra_quantiser_matrix",
    "non_intra_quantiser_matrix",
    "chroma_intra_quantiser_matrix",
    "chroma_non_intra_quantiser_matrix",
];

fn loads_field(matrix: usize) -> &'static str {
    [
        "load_intra_quantiser_matrix",
        "load_non_intra_quantiser_matrix",
        "load_chroma_intra_quantiser_matrix",
        "load_chroma_non_intra_quantiser_matrix",
    ][matrix]
}

/// 64 values. That the first one of an intra matrix is 8 (6.3.11) is left to encoders: some streams
/// break it, and no decoder uses it.
fn matrix(reader: &mut FieldReader, field: &'static str) -> Result<[u8; 64], FieldError> {
    let mut matrix = [0; 64];
    for value in &mut matrix {
        *value = reader.within(field, 8, 1..=255)? as u8;
    }
    Ok(matrix)
}

fn sequence_extension(
    reader: &mut FieldReader,
    header: &SequenceHeader,
) -> Result<Sequence, FieldError> {
    let profile_and_level_indication = reader.u("profile_and_level_indication", 8)?;
    let progressive = reader.flag("progressive_sequence")?;
    let chroma_format = reader.within("chroma_format", 2, 1..=3)?;
    let horizontal_size = reader.u("horizontal_size_extension", 2)? << 12 | header.horizontal_size;
    let vertical_size = reader.u("vertical_size_extension", 2)? << 12 | header.vertical_size;
    let position = reader.position();
    for (field, value) in [
        ("horizontal_size", horizontal_size),
        ("vertical_size", vertical_size),
    ] {
        if value == 0 {
            return Err(FieldError::Value {
                field,
                position,
                value: 0,
            });
        }
    }
    reader.u("bit_rate_extension", 12)?;
    reader.within("marker_bit", 1, 1..=1)?;
    let vbv_buffer_size = reader.u("vbv_buffer_size_extension", 8)? << 10 | header.vbv_buffer_size;
    reader.flag("low_delay")?;
    reader.u("frame_rate_extension_n", 2)?;
    reader.u("frame_rate_extension_d", 5)?;
    Ok(Sequence {
        horizontal_size: horizontal_size as u16,
        vertical_size: vertical_size as u16,
        vbv_buffer_size,
        profile_and_level_indication: profile_and_level_indication as u16,
        chroma_format: chroma_format as u8,
        flags: if progressive { SEQ_PROGRESSIVE } else { 0 },
    })
}

fn group(reader: &mut FieldReader) -> Result<Group, FieldError> {
    reader.u("time_code", 25)?;
    Ok(Group {
        closed: reader.flag("closed_gop")?,
        broken_link: reader.flag("broken_link")?,
    })
}

/// `picture_header` (6.2.3): only two of its fields mean anything in MPEG-2.
fn picture_header(reader: &mut FieldReader) -> Result<(u16, Picture), FieldError> {
    let temporal_reference = reader.u("temporal_reference", 10)? as u16;
    let picture_coding_type = reader.within("picture_coding_type", 3, 1..=3)? as u8;
    let picture = Picture {
        backward_ref_ts: 0,
        forward_ref_ts: 0,
        flags: 0,
        f_code: [[15; 2]; 2],
        picture_coding_type,
        picture_structure: FRAME,
        intra_dc_precision: 0,
    };
    Ok((temporal_reference, picture))
}

fn picture_coding_extension(
    reader: &mut FieldReader,
    picture: &mut Picture,
) -> Result<(), FieldError> {
    for f_code in picture.f_code.as_flattened_mut() {
        *f_code = reader.u8("f_code", 4)?;
    }
    picture.intra_dc_precision = reader.u8("intra_dc_precision", 2)?;
    picture.picture_structure = reader.within("picture_structure", 2, 1..=3)? as u8;
    for (field, flag) in PICTURE_FLAGS {
        if reader.flag(field)? {
            picture.flags |= flag;
        }
    }
    reader.flag("chroma_420_type")?;
    if reader.flag("progressive_frame")? {
        picture.flags |= PIC_PROGRESSIVE;
    }
    reader.flag("composite_display_flag")?;
    Ok(())
}

/// Appends sequence header and sequence extension. The same sequence and matrices always give the
/// same bytes; what V4L2 does not tell (rates, aspect ratio) has no part in decoding and is constant.
pub fn write_sequence(
    out: &mut Vec<u8>,
    sequence: &Sequence,
    quantisation: &Quantisation,
) -> Result<(), FieldError> {
    append(out, |bits| {
        start_code(bits, start_code::SEQUENCE_HEADER);
        let (width, height) = (sequence.horizontal_size, sequence.vertical_size);
        size(bits, "horizontal_size", width)?;
        size(bits, "vertical_size", height)?;
        // Square samples, 25 frames a second, the highest bit rate.
        bits.u(4, 1);
        bits.u(4, 3);
        bits.u(18, 0x3_ffff);
        bits.flag(true);
        if sequence.vbv_buffer_size >= 1 << 18 {
            return Err(FieldError::Value {
                field: "vbv_buffer_size",
                position: bits.position(),
                value: sequence.vbv_buffer_size.into(),
            });
        }
        bits.u(10, sequence.vbv_buffer_size);
        bits.flag(false);
        bits.flag(true);
        write_matrix(bits, 0, &quantisation.intra_quantiser_matrix)?;
        bits.flag(true);
        write_matrix(bits, 1, &quantisation.non_intra_quantiser_matrix)?;
        bits.align();

        start_code(bits, start_code::EXTENSION);
        bits.u(4, extension::SEQUENCE);
        let profile = sequence.profile_and_level_indication;
        fields::write(bits, "profile_and_level_indication", 8, profile, 0..=255)?;
        bits.flag(sequence.flags & SEQ_PROGRESSIVE != 0);
        fields::write(bits, "chroma_format", 2, sequence.chroma_format, 1..=3)?;
        bits.u(2, u32::from(width) >> 12);
        bits.u(2, u32::from(height) >> 12);
        bits.u(12, 0);
        bits.flag(true);
        bits.u(8, sequence.vbv_buffer_size >> 10);
        // low_delay 0: pictures come in any order.
        bits.u(8, 0);
        Ok(())
    })
}

/// Appends picture header and picture coding extension, and the quant matrix extension where chroma
/// has matrices of its own. The same content always gives the same bytes.
pub fn write_picture(
    out: &mut Vec<u8>,
    sequence: &Sequence,
    picture: &Picture,
    quantisation: &Quantisation,
) -> Result<(), FieldError> {
    append(out, |bits| {
        start_code(bits, start_code::PICTURE);
        // V4L2 does not tell the temporal reference, and decoding does not need it.
        bits.u(10, 0);
        let coding_type = picture.picture_coding_type;
        fields::write(bits, "picture_coding_type", 3, coding_type, 1..=3)?;
        bits.u(16, 0xffff);
        // full_pel_vector and f_code of MPEG-1, once for each direction (6.3.9).
        for _ in 1..coding_type {
            bits.u(4, 7);
        }
        bits.flag(false);
        bits.align();

        start_code(bits, start_code::EXTENSION);
        bits.u(4, extension::PICTURE_CODING);
        for (direction, f_codes) in picture.f_code.iter().enumerate() {
            for &f_code in f_codes {
                // Clients leave anything in what is not used; the standard wants 15 there.
                if picture.has_vectors(direction) {
                    fields::write(bits, "f_code", 4, f_code, 1..=9)?;
                } else {
                    bits.u(4, 15);
                }
            }
        }
        let precision = picture.intra_dc_precision;
        fields::write(bits, "intra_dc_precision", 2, precision, 0..=3)?;
        let structure = picture.picture_structure;
        fields::write(bits, "picture_structure", 2, structure, 1..=3)?;
        for (_, flag) in PICTURE_FLAGS {
            bits.flag(picture.flags & flag != 0);
        }
        let progressive = picture.flags & PIC_PROGRESSIVE != 0;
        bits.flag(progressive && sequence.chroma_format == CHROMA_420);
        bits.flag(progressive);
        bits.flag(false);
        bits.align();

        if sequence.chroma_format != CHROMA_420 {
            start_code(bits, start_code::EXTENSION);
            bits.u(4, extension::QUANT_MATRIX);
            bits.u(2, 0);
            bits.flag(true);
            write_matrix(bits, 2, &quantisation.chroma_intra_quantiser_matrix)?;
            bits.flag(true);
            write_matrix(bits, 3, &quantisation.chroma_non_intra_quantiser_matrix)?;
        }
        Ok(())
    })
}

/// Lets `write` go on behind what is in `out`; an error leaves `out` as it was.
fn append(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut BitWriter) -> Result<(), FieldError>,
) -> Result<(), FieldError> {
    let length = out.len();
    let mut bits = BitWriter::from(std::mem::take(out));
    let written = write(&mut bits);
    *out = bits.into_bytes();
    if written.is_err() {
        out.truncate(length);
    }
    written
}

fn start_code(bits: &mut BitWriter, code: u8) {
    bits.u(32, 0x100 | u32::from(code));
}

/// The low 12 bits of a size, whose high 2 bits come in the extension.
fn size(bits: &mut BitWriter, field: &'static str, value: u16) -> Result<(), FieldError> {
    // A low part of 0 is forbidden (6.3.3): MPEG-1 decoders would see no picture.
    if value < 1 << 14 && value & 0xfff != 0 {
        bits.u(12, value.into());
        return Ok(());
    }
    Err(FieldError::Value {
        field,
        position: bits.position(),
        value: value.into(),
    })
}

fn write_matrix(bits: &mut BitWriter, index: usize, matrix: &[u8; 64]) -> Result<(), FieldError> {
    for &value in matrix {
        fields::write(bits, MATRICES[index], 8, value, 1..=255)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
