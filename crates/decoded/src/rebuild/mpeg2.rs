//! MPEG-2 video, ITU-T H.262 (02/2012): the headers ahead of the slices, and the two reference
//! frames (7.6.2).
//!
//! Sequence header and extension are written when they change and at every I picture, where a
//! client may begin; a group of pictures header that calls the group closed comes along, because
//! without one libavcodec passes over B pictures that have no earlier reference, which in a closed
//! group predict from the later one only. Syntax is `bitstream`'s.

use super::{Fate, Held, Plan, Refusal};
use crate::wire::{Capture, Controls, Job, Reference};
use bitstream::mpeg2::{self, start_code};
use thiserror::Error;
use v4l2::uapi::controls::mpeg2::{
    v4l2_ctrl_mpeg2_picture, v4l2_ctrl_mpeg2_quantisation, v4l2_ctrl_mpeg2_sequence,
};

/// Why a picture cannot be rebuilt.
#[derive(Debug, Error)]
pub enum Error {
    /// A control has a value that no header can have.
    #[error(transparent)]
    Header(#[from] bitstream::fields::FieldError),
    /// The OUTPUT buffer holds no slice.
    #[error("no slice in {0} bytes")]
    NoSlice(usize),
    /// Not 4:2:0: not advertised.
    #[error("chroma_format {0}")]
    ChromaFormat(u8),
}

/// `group_of_pictures_header` (6.2.2.6): time code 0, `closed_gop` set, `broken_link` clear.
const CLOSED_GROUP: [u8; 8] = [0, 0, 1, start_code::GROUP, 0x00, 0x08, 0x00, 0x40];

/// The vbv buffer has no part in decoding. Clients put bits where V4L2 wants units of 16 Kibit, so
/// the value would not even fit.
const VBV_BUFFER_SIZE: u32 = 112;

/// A field whose frame waits for the other one.
#[derive(Debug, Clone, Copy)]
struct FirstField {
    structure: u8,
    bidirectional: bool,
    capture: Capture,
    job: u64,
}

/// What a prepared picture leaves when it is decoded.
#[derive(Debug, Clone, Copy)]
struct Prepared {
    picture: Held,
    plan: Plan,
    first_field: Option<FirstField>,
}

/// The state of a stream.
#[derive(Debug, Default)]
pub struct Rebuild {
    headers: Vec<u8>,
    /// Sequence header and extension as they were written last.
    sequence: Vec<u8>,
    /// Bytes of the data up to the end of the last slice.
    slices: usize,
    /// The last two reference frames, the later one behind.
    references: [Option<Held>; 2],
    first_field: Option<FirstField>,
    prepared: Option<Prepared>,
}

impl Rebuild {
    pub(super) fn prepare(&mut self, job: &Job) -> Result<Plan, Refusal> {
        let Controls::Mpeg2 {
            sequence,
            picture,
            quantisation,
        } = &job.controls
        else {
            return Err(Refusal::OtherCodec(job.controls.codec()));
        };
        self.prepared = None;
        self.slices = slices_end(job.data)?;
        if sequence.chroma_format != mpeg2::CHROMA_420 {
            return Err(Error::ChromaFormat(sequence.chroma_format).into());
        }
        let completed = self.completed_by(picture, job);
        self.check_references(job, picture.picture_coding_type, completed.is_some())?;
        if let Err(error) = self.write(sequence, picture, quantisation, completed.is_some()) {
            // The decoder gets to see nothing of it.
            self.sequence.clear();
            return Err(error.into());
        }
        let bidirectional = picture.picture_coding_type == mpeg2::CODING_TYPE_B;
        let plan = Plan {
            restart: false,
            // B pictures behind an I picture may refer to what is before it.
            fresh: false,
            guessed: false,
            picture_of: completed.map_or(job.number, |first| first.job),
            reference: !bidirectional,
        };
        let is_first = picture.picture_structure != mpeg2::FRAME && completed.is_none();
        self.prepared = Some(Prepared {
            picture: Held::new(job),
            plan,
            first_field: is_first.then_some(FirstField {
                structure: picture.picture_structure,
                bidirectional,
                capture: job.capture,
                job: job.number,
            }),
        });
        Ok(plan)
    }

    pub(super) fn parts<'a>(&'a self, data: &'a [u8]) -> [&'a [u8]; 2] {
        [&self.headers, &data[..self.slices.min(data.len())]]
    }

    pub(super) fn decoded(&mut self, fate: Fate) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        self.first_field = prepared.first_field;
        if !prepared.plan.reference {
            return;
        }
        match fate {
            Fate::Nothing => {
                self.references = [None; 2];
                self.first_field = None;
                self.sequence.clear();
            }
            Fate::Decoded | Fate::Damaged => {
                let failed = fate == Fate::Damaged;
                let [earlier, later] = self.references;
                self.references = match later {
                    Some(first) if first.job == prepared.plan.picture_of => {
                        let frame = Held {
                            second: prepared.picture.job,
                            failed: failed || first.failed,
                            ..first
                        };
                        [earlier, Some(frame)]
                    }
                    _ => {
                        let frame = Held {
                            failed,
                            ..prepared.picture
                        };
                        [later, Some(frame)]
                    }
                };
            }
        }
    }

    /// The first field that this one completes (6.1.1.4): of the other parity, and in the same
    /// buffer, which clients keep until both are decoded.
    fn completed_by(&self, picture: &v4l2_ctrl_mpeg2_picture, job: &Job) -> Option<FirstField> {
        let bidirectional = picture.picture_coding_type == mpeg2::CODING_TYPE_B;
        self.first_field.filter(|first| {
            first.structure.wrapping_add(picture.picture_structure) == mpeg2::FRAME
                && first.bidirectional == bidirectional
                && first.capture.index == job.capture.index
                && first.capture.generation == job.capture.generation
        })
    }

    fn check_references(&self, job: &Job, coding_type: u8, second: bool) -> Result<(), Refusal> {
        let [earlier, later] = &self.references;
        let [backward, forward] = [1, 0].map(|index| job.references.get(index));
        match coding_type {
            // The other field of its own frame is a reference as well, and may be the only one.
            mpeg2::CODING_TYPE_P if second && is_nothing(forward) => Ok(()),
            mpeg2::CODING_TYPE_P if second => check("forward", forward, &[earlier, later]),
            mpeg2::CODING_TYPE_P => check("forward", forward, &[later]),
            mpeg2::CODING_TYPE_B => {
                check("backward", backward, &[later])?;
                // At the head of a closed group there is none, whatever the decoder still holds.
                if is_nothing(forward) {
                    return Ok(());
                }
                check("forward", forward, &[earlier])
            }
            _ => Ok(()),
        }
    }

    fn write(
        &mut self,
        sequence: &v4l2_ctrl_mpeg2_sequence,
        picture: &v4l2_ctrl_mpeg2_picture,
        quantisation: &v4l2_ctrl_mpeg2_quantisation,
        second_field: bool,
    ) -> Result<(), Error> {
        let sequence = mpeg2::Sequence {
            horizontal_size: sequence.horizontal_size,
            vertical_size: sequence.vertical_size,
            vbv_buffer_size: VBV_BUFFER_SIZE,
            profile_and_level_indication: sequence.profile_and_level_indication,
            chroma_format: sequence.chroma_format,
            flags: sequence.flags,
        };
        let quantisation = mpeg2::Quantisation {
            intra_quantiser_matrix: quantisation.intra_quantiser_matrix,
            non_intra_quantiser_matrix: quantisation.non_intra_quantiser_matrix,
            chroma_intra_quantiser_matrix: quantisation.chroma_intra_quantiser_matrix,
            chroma_non_intra_quantiser_matrix: quantisation.chroma_non_intra_quantiser_matrix,
        };
        let mut picture = mpeg2::Picture {
            backward_ref_ts: 0,
            forward_ref_ts: 0,
            flags: picture.flags,
            f_code: picture.f_code,
            picture_coding_type: picture.picture_coding_type,
            picture_structure: picture.picture_structure,
            intra_dc_precision: picture.intra_dc_precision,
        };
        self.headers.clear();
        mpeg2::write_sequence(&mut self.headers, &sequence, &quantisation)?;
        let intra = picture.picture_coding_type == mpeg2::CODING_TYPE_I && !second_field;
        if self.headers == self.sequence && !intra {
            self.headers.clear();
        } else {
            self.sequence.clone_from(&self.headers);
        }
        if intra {
            self.headers.extend_from_slice(&CLOSED_GROUP);
        }
        if self.first_field.is_some() && !second_field {
            // libavcodec takes any field after a first one for the second. The header of a frame,
            // of which no slice follows, makes it expect a first field again.
            let structure = std::mem::replace(&mut picture.picture_structure, mpeg2::FRAME);
            mpeg2::write_picture(&mut self.headers, &sequence, &picture, &quantisation)?;
            picture.picture_structure = structure;
        }
        mpeg2::write_picture(&mut self.headers, &sequence, &picture, &quantisation)?;
        Ok(())
    }
}

/// Whether the client says that there is no such picture: GStreamer by the highest timestamp, FFmpeg
/// by 0, which may also be the first frame's.
fn is_nothing(named: Option<Reference>) -> bool {
    named.is_none_or(|named| named.job.is_none() && matches!(named.timestamp, 0 | u64::MAX))
}

/// Holds a reference that the client names against what the decoder would take for it.
fn check(place: &str, named: Option<Reference>, held: &[&Option<Held>]) -> Result<(), Refusal> {
    let Some(named) = named else {
        return Ok(());
    };
    if held
        .iter()
        .copied()
        .flatten()
        .any(|held| held.is_meant_by(named))
    {
        return Ok(());
    }
    Err(Refusal::Mismatch {
        place: place.to_owned(),
        named: named.named(),
        held: Held::named(held.last().and_then(|held| held.as_ref())),
    })
}

/// Where the slices at the beginning of the data end. Nothing but slices is decoded: headers are
/// the controls' business.
fn slices_end(data: &[u8]) -> Result<usize, Error> {
    let is_slice = |code: u8| (start_code::FIRST_SLICE..=start_code::LAST_SLICE).contains(&code);
    let last = mpeg2::units(data)
        .take_while(|unit| is_slice(unit.code))
        .last()
        .ok_or(Error::NoSlice(data.len()))?;
    Ok(last.start + last.bytes.len())
}
