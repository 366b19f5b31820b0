//! The messages of `kernel/include/uapi/linux/kinora_dec.h` on a session descriptor, checked.
//!
//! [`check`] is the one function that a job passes before anything of it is believed: sizes,
//! offsets, counts, which controls there are and how large each is, that the CAPTURE buffer holds
//! the picture it is said to hold. What the fields of a control say is hostile still: that is for
//! the codec's file in `rebuild`. [`compose`] writes a message as the kernel does.

use thiserror::Error;
use v4l2::uapi::controls::h264::{
    V4L2_CID_STATELESS_H264_DECODE_PARAMS, V4L2_CID_STATELESS_H264_PPS,
    V4L2_CID_STATELESS_H264_SCALING_MATRIX, V4L2_CID_STATELESS_H264_SPS,
    V4L2_H264_DECODE_PARAM_FLAG_FIELD_PIC, v4l2_ctrl_h264_decode_params, v4l2_ctrl_h264_pps,
    v4l2_ctrl_h264_scaling_matrix, v4l2_ctrl_h264_sps,
};
use v4l2::uapi::controls::mpeg2::{
    V4L2_CID_STATELESS_MPEG2_PICTURE, V4L2_CID_STATELESS_MPEG2_QUANTISATION,
    V4L2_CID_STATELESS_MPEG2_SEQUENCE, V4L2_MPEG2_PIC_FRAME, v4l2_ctrl_mpeg2_picture,
    v4l2_ctrl_mpeg2_quantisation, v4l2_ctrl_mpeg2_sequence,
};
use v4l2::uapi::controls::vp8::{V4L2_CID_STATELESS_VP8_FRAME, v4l2_ctrl_vp8_frame};
use v4l2::uapi::controls::vp9::{V4L2_CID_STATELESS_VP9_FRAME, v4l2_ctrl_vp9_frame};
use v4l2::uapi::kinora::{
    KINORA_DEC_ABI, KINORA_DEC_JOB_CONTINUES, KINORA_DEC_JOB_HOLD, KINORA_DEC_MAX_REFERENCES,
    KINORA_DEC_NO_BUFFER, kinora_dec_control, kinora_dec_job, kinora_dec_reference,
};
use v4l2::uapi::videodev2::{
    V4L2_PIX_FMT_H264_SLICE, V4L2_PIX_FMT_MPEG2_SLICE, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_VP8_FRAME,
    V4L2_PIX_FMT_VP9_FRAME,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Largest message that is taken. The module bounds an OUTPUT buffer far below it.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Largest width and height of a CAPTURE buffer. No codec here goes beyond it.
pub const MAX_SIDE: u32 = 16384;

/// More controls than any codec has.
const MAX_CONTROLS: u32 = 64;

const HEAD: usize = size_of::<kinora_dec_job>();
const CONTROL_HEAD: usize = size_of::<kinora_dec_control>();

/// Why a message is not a job.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// There is less than a header.
    #[error("message of {0} bytes: shorter than its header")]
    Short(usize),
    /// Another version of the interface.
    #[error("message of ABI {0}: this is {KINORA_DEC_ABI}")]
    Abi(u32),
    /// The header's size is not what was read.
    #[error("message of {read} bytes: its header says {said}")]
    Size {
        /// Bytes that came.
        read: usize,
        /// Bytes that the header names.
        said: u32,
    },
    /// A job of another session.
    #[error("job of session {0}")]
    Session(u64),
    /// Jobs count from 1.
    #[error("job number 0")]
    Number,
    /// A format that was not advertised.
    #[error("{queue} format {fourcc:#010x}: not advertised")]
    Format {
        /// `OUTPUT` or `CAPTURE`.
        queue: &'static str,
        /// The fourcc.
        fourcc: u32,
    },
    /// Flags that the interface does not have.
    #[error("job flags {0:#x}")]
    Flags(u32),
    /// More references or controls than there can be.
    #[error("{count} {what}")]
    Count {
        /// `references` or `controls`.
        what: &'static str,
        /// How many.
        count: u32,
    },
    /// The bytes of the OUTPUT buffer are not where the controls end, or go beyond the message.
    #[error("{size} bytes of data at {offset}: not the rest of the message")]
    Data {
        /// Where they are said to begin.
        offset: u32,
        /// How many they are said to be.
        size: u32,
    },
    /// The CAPTURE buffer cannot hold a picture of its format.
    #[error("CAPTURE buffer of {size} bytes: no {width}x{height} picture of stride {stride}")]
    Capture {
        /// Its bytes.
        size: u32,
        /// Width of the format.
        width: u32,
        /// Height of the format.
        height: u32,
        /// Bytes per line.
        stride: u32,
    },
    /// A control does not end within the message.
    #[error("control {0}: beyond the message's controls")]
    ControlBeyond(u32),
    /// A control has another size than the struct that it is.
    #[error("control {id:#x}: {elems} elements, {size} bytes")]
    ControlSize {
        /// `V4L2_CID_STATELESS_*`.
        id: u32,
        /// Elements.
        elems: u32,
        /// Bytes.
        size: u32,
    },
    /// A control comes twice.
    #[error("control {0:#x}: given twice")]
    ControlTwice(u32),
    /// A control that the codec cannot do without is missing.
    #[error("control {0:#x}: missing")]
    ControlMissing(u32),
}

/// What the bytes of the OUTPUT queue are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `V4L2_PIX_FMT_MPEG2_SLICE`
    Mpeg2,
    /// `V4L2_PIX_FMT_H264_SLICE`
    H264,
    /// `V4L2_PIX_FMT_VP8_FRAME`
    Vp8,
    /// `V4L2_PIX_FMT_VP9_FRAME`
    Vp9,
}

impl Codec {
    /// All of them, in the order in which they are advertised.
    pub const ALL: [Self; 4] = [Self::Mpeg2, Self::H264, Self::Vp8, Self::Vp9];

    /// The codec of an OUTPUT format.
    pub fn of(fourcc: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.fourcc() == fourcc)
    }

    /// The OUTPUT format.
    pub const fn fourcc(self) -> u32 {
        match self {
            Self::Mpeg2 => V4L2_PIX_FMT_MPEG2_SLICE,
            Self::H264 => V4L2_PIX_FMT_H264_SLICE,
            Self::Vp8 => V4L2_PIX_FMT_VP8_FRAME,
            Self::Vp9 => V4L2_PIX_FMT_VP9_FRAME,
        }
    }

    /// The name that logs and figures have.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mpeg2 => "mpeg2",
            Self::H264 => "h264",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
        }
    }
}

/// One access unit to decode, and where its picture goes.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The session.
    pub session: u64,
    /// Its number in the session.
    pub number: u64,
    /// Of the OUTPUT buffer, in nanoseconds.
    pub timestamp: u64,
    /// This is one field of two, and the CAPTURE buffer waits for the other.
    pub holds: bool,
    /// The CAPTURE buffer was kept: it is said to hold the other field.
    pub continues: bool,
    /// Where the picture goes.
    pub capture: Capture,
    /// The pictures that the controls refer to, in the order of the codec's control.
    pub references: References,
    /// The parsed headers.
    pub controls: Controls,
    /// The bytes of the OUTPUT buffer.
    pub data: &'a [u8],
}

/// The CAPTURE buffer of a job: NV12, the planes one after the other with the same stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// Width of the format in luma samples.
    pub width: u32,
    /// Height of the format in lines.
    pub height: u32,
    /// Bytes from a line to the next.
    pub stride: u32,
    /// Bytes of the buffer.
    pub size: u32,
    /// Which buffer of the queue.
    pub index: u32,
    /// The buffers of a session are told apart by this number.
    pub generation: u32,
    /// No buffer with a lower generation exists any longer.
    pub oldest_generation: u32,
}

/// The references of a job; an index beyond what the message holds names no picture.
#[derive(Debug, Clone, Copy)]
pub struct References {
    all: [kinora_dec_reference; KINORA_DEC_MAX_REFERENCES],
    used: usize,
}

/// A picture as the client names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// The timestamp in the control.
    pub timestamp: u64,
    /// The job that was decoded into the buffer last and without error.
    pub job: Option<u64>,
}

impl References {
    /// The reference at `index`, if the client has a buffer for it or has at least named one.
    pub fn get(&self, index: usize) -> Option<Reference> {
        let reference = self.all[..self.used].get(index)?;
        let found = reference.index != KINORA_DEC_NO_BUFFER && reference.job != 0;
        Some(Reference {
            timestamp: reference.timestamp,
            job: found.then_some(reference.job),
        })
    }
}

/// The controls that a codec's access unit is rebuilt from.
#[derive(Debug, Clone)]
pub enum Controls {
    /// MPEG-2.
    Mpeg2 {
        /// Sequence header and extension.
        sequence: v4l2_ctrl_mpeg2_sequence,
        /// Picture header and coding extension.
        picture: v4l2_ctrl_mpeg2_picture,
        /// Matrices.
        quantisation: v4l2_ctrl_mpeg2_quantisation,
    },
    /// H.264.
    H264(Box<H264Controls>),
    /// VP8.
    Vp8(Box<v4l2_ctrl_vp8_frame>),
    /// VP9.
    Vp9(v4l2_ctrl_vp9_frame),
}

/// The controls of H.264.
#[derive(Debug, Clone)]
pub struct H264Controls {
    /// Sequence parameter set.
    pub sps: v4l2_ctrl_h264_sps,
    /// Picture parameter set of the first slice.
    pub pps: v4l2_ctrl_h264_pps,
    /// Scaling lists; they mean something when the PPS says so.
    pub scaling: v4l2_ctrl_h264_scaling_matrix,
    /// What belongs to the picture.
    pub decode: v4l2_ctrl_h264_decode_params,
}

impl Controls {
    /// Whose controls they are.
    pub fn codec(&self) -> Codec {
        match self {
            Self::Mpeg2 { .. } => Codec::Mpeg2,
            Self::H264(_) => Codec::H264,
            Self::Vp8(_) => Codec::Vp8,
            Self::Vp9(_) => Codec::Vp9,
        }
    }

    /// Whether the job is one field of two.
    pub fn is_field(&self) -> bool {
        match self {
            Self::Mpeg2 { picture, .. } => picture.picture_structure != V4L2_MPEG2_PIC_FRAME,
            Self::H264(h264) => h264.decode.flags & V4L2_H264_DECODE_PARAM_FLAG_FIELD_PIC != 0,
            Self::Vp8(_) | Self::Vp9(_) => false,
        }
    }
}

/// The job number of a message that [`check`] may refuse, so that it can be answered.
pub fn number(message: &[u8]) -> Option<u64> {
    let (head, _) = v4l2::from_bytes::<kinora_dec_job>(message)?;
    (head.abi == KINORA_DEC_ABI && head.job != 0).then_some(head.job)
}

/// Checks a message wholly. `session` is the only one whose jobs are expected, if that is known.
pub fn check(message: &[u8], session: Option<u64>) -> Result<Job<'_>, Error> {
    let (head, rest) =
        v4l2::from_bytes::<kinora_dec_job>(message).ok_or(Error::Short(message.len()))?;
    if head.abi != KINORA_DEC_ABI {
        return Err(Error::Abi(head.abi));
    }
    if usize::try_from(head.size) != Ok(message.len()) || message.len() > MAX_MESSAGE {
        return Err(Error::Size {
            read: message.len(),
            said: head.size,
        });
    }
    if session.is_some_and(|expected| expected != head.session) {
        return Err(Error::Session(head.session));
    }
    if head.job == 0 {
        return Err(Error::Number);
    }
    if head.flags & !(KINORA_DEC_JOB_HOLD | KINORA_DEC_JOB_CONTINUES) != 0 {
        return Err(Error::Flags(head.flags));
    }
    let used = head.references_used;
    if used as usize > KINORA_DEC_MAX_REFERENCES {
        return Err(Error::Count {
            what: "references",
            count: used,
        });
    }
    let codec = Codec::of(head.coded).ok_or(Error::Format {
        queue: "OUTPUT",
        fourcc: head.coded,
    })?;
    let capture = check_capture(&head)?;
    let (controls, data) = split_data(&head, rest)?;
    let controls = Values::check(head.controls, controls)?.of(codec)?;
    Ok(Job {
        session: head.session,
        number: head.job,
        timestamp: head.timestamp,
        holds: head.flags & KINORA_DEC_JOB_HOLD != 0,
        continues: head.flags & KINORA_DEC_JOB_CONTINUES != 0,
        capture,
        references: References {
            all: head.references,
            used: used as usize,
        },
        controls,
        data,
    })
}

fn check_capture(head: &kinora_dec_job) -> Result<Capture, Error> {
    if head.raw != V4L2_PIX_FMT_NV12 {
        return Err(Error::Format {
            queue: "CAPTURE",
            fourcc: head.raw,
        });
    }
    let sides = 1..=MAX_SIDE;
    let lines = u64::from(head.height) + u64::from(head.height.div_ceil(2));
    let fits = sides.contains(&head.width)
        && sides.contains(&head.height)
        && head.stride >= head.width.next_multiple_of(2)
        && lines * u64::from(head.stride) <= u64::from(head.capture_size);
    if !fits {
        return Err(Error::Capture {
            size: head.capture_size,
            width: head.width,
            height: head.height,
            stride: head.stride,
        });
    }
    Ok(Capture {
        width: head.width,
        height: head.height,
        stride: head.stride,
        size: head.capture_size,
        index: head.capture_index,
        generation: head.capture_generation,
        oldest_generation: head.oldest_generation,
    })
}

/// Splits what follows the header into controls and data.
fn split_data<'a>(head: &kinora_dec_job, rest: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Error> {
    let wrong = Error::Data {
        offset: head.data_offset,
        size: head.data_size,
    };
    let Some((controls, data)) = (head.data_offset as usize)
        .checked_sub(HEAD)
        .and_then(|length| rest.split_at_checked(length))
    else {
        return Err(wrong);
    };
    if data.len() == head.data_size as usize {
        Ok((controls, data))
    } else {
        Err(wrong)
    }
}

/// The controls of a message by their identifiers, each within its bounds.
struct Values<'a>(Vec<(kinora_dec_control, &'a [u8])>);

impl<'a> Values<'a> {
    fn check(count: u32, mut rest: &'a [u8]) -> Result<Self, Error> {
        if count > MAX_CONTROLS {
            return Err(Error::Count {
                what: "controls",
                count,
            });
        }
        let mut values: Vec<(kinora_dec_control, &[u8])> = Vec::with_capacity(count as usize);
        for nth in 0..count {
            let (head, value, left) = split_control(rest).ok_or(Error::ControlBeyond(nth))?;
            if values.iter().any(|(other, _)| other.id == head.id) {
                return Err(Error::ControlTwice(head.id));
            }
            values.push((head, value));
            rest = left;
        }
        if rest.is_empty() {
            Ok(Self(values))
        } else {
            Err(Error::ControlBeyond(count))
        }
    }

    fn of(&self, codec: Codec) -> Result<Controls, Error> {
        Ok(match codec {
            Codec::Mpeg2 => Controls::Mpeg2 {
                sequence: self.get(V4L2_CID_STATELESS_MPEG2_SEQUENCE)?,
                picture: self.get(V4L2_CID_STATELESS_MPEG2_PICTURE)?,
                quantisation: self.get(V4L2_CID_STATELESS_MPEG2_QUANTISATION)?,
            },
            Codec::H264 => Controls::H264(Box::new(H264Controls {
                sps: self.get(V4L2_CID_STATELESS_H264_SPS)?,
                pps: self.get(V4L2_CID_STATELESS_H264_PPS)?,
                scaling: self.get(V4L2_CID_STATELESS_H264_SCALING_MATRIX)?,
                decode: self.get(V4L2_CID_STATELESS_H264_DECODE_PARAMS)?,
            })),
            Codec::Vp8 => Controls::Vp8(Box::new(self.get(V4L2_CID_STATELESS_VP8_FRAME)?)),
            Codec::Vp9 => Controls::Vp9(self.get(V4L2_CID_STATELESS_VP9_FRAME)?),
        })
    }

    /// A control that is one struct.
    fn get<T>(&self, id: u32) -> Result<T, Error>
    where
        T: FromBytes + Immutable + KnownLayout,
    {
        let (head, value) = self
            .0
            .iter()
            .find(|(head, _)| head.id == id)
            .ok_or(Error::ControlMissing(id))?;
        match v4l2::from_bytes(value) {
            Some((value, [])) if head.elems == 1 => Ok(value),
            _ => Err(Error::ControlSize {
                id,
                elems: head.elems,
                size: head.size,
            }),
        }
    }
}

/// The first control: head, value, and what follows its padding.
fn split_control(bytes: &[u8]) -> Option<(kinora_dec_control, &[u8], &[u8])> {
    let (head, rest) = v4l2::from_bytes::<kinora_dec_control>(bytes)?;
    let size = usize::try_from(head.size).ok()?;
    let value = rest.get(..size)?;
    let left = rest.get(size.checked_next_multiple_of(8)?..)?;
    Some((head, value, left))
}

/// Writes a message as the kernel does: `head` with what follows from the rest filled in, the
/// controls (identifier and one element each), the data.
pub fn compose(head: &kinora_dec_job, controls: &[(u32, &[u8])], data: &[u8]) -> Vec<u8> {
    let lengths = controls
        .iter()
        .map(|(_, value)| CONTROL_HEAD + value.len().next_multiple_of(8));
    let data_offset = HEAD + lengths.sum::<usize>();
    let size = data_offset + data.len();
    let short = |length: usize| u32::try_from(length).expect("a message is shorter than 4 GiB");
    let head = kinora_dec_job {
        abi: KINORA_DEC_ABI,
        size: short(size),
        controls: short(controls.len()),
        data_offset: short(data_offset),
        data_size: short(data.len()),
        ..*head
    };
    let mut message = Vec::with_capacity(size);
    message.extend_from_slice(head.as_bytes());
    for &(id, value) in controls {
        let head = kinora_dec_control {
            id,
            elems: 1,
            size: short(value.len()),
            reserved: 0,
        };
        message.extend_from_slice(head.as_bytes());
        message.extend_from_slice(value);
        message.resize(message.len().next_multiple_of(8), 0);
    }
    message.extend_from_slice(data);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn head() -> kinora_dec_job {
        kinora_dec_job {
            session: 3,
            job: 7,
            timestamp: 40_000_000,
            coded: V4L2_PIX_FMT_VP9_FRAME,
            raw: V4L2_PIX_FMT_NV12,
            width: 175,
            height: 143,
            stride: 192,
            capture_size: 192 * (143 + 72),
            references_used: 3,
            ..kinora_dec_job::new_zeroed()
        }
    }

    fn message() -> Vec<u8> {
        let frame = v4l2_ctrl_vp9_frame {
            frame_width_minus_1: 174,
            ..v4l2_ctrl_vp9_frame::new_zeroed()
        };
        let controls = [
            // Not needed, and of a size that needs padding.
            (0x00a4_0aff, &[1, 2, 3][..]),
            (V4L2_CID_STATELESS_VP9_FRAME, frame.as_bytes()),
        ];
        compose(&head(), &controls, b"frame")
    }

    #[test]
    fn a_composed_message_is_a_job() {
        let message = message();
        let job = check(&message, Some(3)).unwrap();
        assert_eq!((job.session, job.number, job.timestamp), (3, 7, 40_000_000));
        assert_eq!(job.data, b"frame");
        assert_eq!((job.capture.width, job.capture.stride), (175, 192));
        let Controls::Vp9(frame) = job.controls else {
            panic!("{:?}", job.controls);
        };
        assert_eq!(frame.frame_width_minus_1, 174);
        assert_eq!(number(&message), Some(7));
    }

    #[test]
    fn references_name_pictures_or_none() {
        let mut head = head();
        head.references[0] = kinora_dec_reference {
            timestamp: 5,
            job: 2,
            index: 1,
            generation: 1,
        };
        head.references[1] = kinora_dec_reference {
            timestamp: 6,
            job: 0,
            index: KINORA_DEC_NO_BUFFER,
            generation: 0,
        };
        head.references_used = 2;
        let frame = v4l2_ctrl_vp9_frame::new_zeroed();
        let message = compose(
            &head,
            &[(V4L2_CID_STATELESS_VP9_FRAME, frame.as_bytes())],
            &[],
        );
        let references = check(&message, None).unwrap().references;
        let picture = |timestamp, job| Some(Reference { timestamp, job });
        assert_eq!(references.get(0), picture(5, Some(2)));
        assert_eq!(references.get(1), picture(6, None));
        assert_eq!(references.get(2), None);
        assert_eq!(references.get(99), None);
    }

    /// One row per rule: how the message is spoilt, and what is said about it.
    #[test]
    fn what_no_message_may_be() {
        type Spoil = fn(&mut Vec<u8>);
        fn with_head(message: &mut [u8], change: impl Fn(&mut kinora_dec_job)) {
            let (mut head, _) = v4l2::from_bytes::<kinora_dec_job>(message).unwrap();
            change(&mut head);
            message[..HEAD].copy_from_slice(head.as_bytes());
        }
        /// Heads of the two controls.
        const FIRST: usize = HEAD;
        const SECOND: usize = HEAD + CONTROL_HEAD + 8;
        let rows: &[(Spoil, &str)] = &[
            (
                |message| message.truncate(HEAD - 1),
                "message of 471 bytes: shorter than its header",
            ),
            (
                |message| message.clear(),
                "message of 0 bytes: shorter than its header",
            ),
            (|message| message.push(0), "its header says"),
            (|message| message[0] = 9, "message of ABI 9: this is 1"),
            (
                |message| with_head(message, |head| head.session = 4),
                "job of session 4",
            ),
            (
                |message| with_head(message, |head| head.job = 0),
                "job number 0",
            ),
            (
                |message| with_head(message, |head| head.flags = 4),
                "job flags 0x4",
            ),
            (
                |message| with_head(message, |head| head.references_used = 17),
                "17 references",
            ),
            (
                |message| with_head(message, |head| head.controls = u32::MAX),
                "4294967295 controls",
            ),
            (
                |message| with_head(message, |head| head.controls = 3),
                "control 2: beyond",
            ),
            (
                |message| with_head(message, |head| head.controls = 1),
                "control 1: beyond",
            ),
            (
                |message| with_head(message, |head| head.coded = 1),
                "OUTPUT format 0x00000001",
            ),
            (
                |message| with_head(message, |head| head.raw = 1),
                "CAPTURE format 0x00000001",
            ),
            (
                |message| with_head(message, |head| head.width = 0),
                "no 0x143 picture",
            ),
            (
                |message| with_head(message, |head| head.height = u32::MAX),
                "no 175x4294967295",
            ),
            (
                |message| with_head(message, |head| head.stride = 175),
                "of stride 175",
            ),
            (
                |message| with_head(message, |head| head.stride = u32::MAX),
                "of stride 4294967295",
            ),
            (
                |message| with_head(message, |head| head.capture_size -= 1),
                "CAPTURE buffer of 41279",
            ),
            (
                |message| with_head(message, |head| head.data_offset = 0),
                "5 bytes of data at 0",
            ),
            (
                |message| with_head(message, |head| head.data_offset = u32::MAX),
                "not the rest",
            ),
            (
                |message| with_head(message, |head| head.data_size += 1),
                "6 bytes of data",
            ),
            (
                |message| {
                    message.copy_within(SECOND..SECOND + 4, FIRST);
                    message[SECOND] ^= 1;
                },
                "control 0xa40a2c: 1 elements, 3 bytes",
            ),
            (|message| message[FIRST + 11] = 0xff, "control 0: beyond"),
            (
                |message| message[SECOND + 4] = 2,
                "control 0xa40a2c: 2 elements",
            ),
            (|message| message[SECOND] ^= 1, "control 0xa40a2c: missing"),
            (
                |message| message.copy_within(SECOND..SECOND + 4, FIRST),
                "control 0xa40a2c: given twice",
            ),
        ];
        for (nth, (spoil, said)) in rows.iter().enumerate() {
            let mut message = message();
            spoil(&mut message);
            match check(&message, Some(3)) {
                Ok(_) => panic!("row {nth} ({said}) is taken for a job"),
                Err(error) => assert!(error.to_string().contains(said), "{error}: not {said}"),
            }
        }
    }
}
