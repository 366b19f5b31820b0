//! From controls and slices back to what a whole decoder takes: one file per codec.
//!
//! Each codec's file does two things for an access unit. It writes the headers that the client has
//! parsed away (MPEG-2, H.264; VP8 and VP9 frames are whole), and it follows which pictures the
//! decoder holds as references, by the numbers of the jobs they came from. Before a unit is decoded
//! these are held against the pictures that the client names. libavcodec keeps references by its
//! own counting, so where both disagree the picture would be a wrong one: such a unit is refused.
//!
//! The rule that no exact stream is refused: only what both sides name can disagree. A picture that
//! the client cannot name any longer (its buffer was freed, a stream was cut) is none of its
//! references, and a picture that the decoder invented for a gap is never predicted from.

pub mod h264;
pub mod mpeg2;
pub mod vp8;
pub mod vp9;

use crate::wire::{Codec, Job, Reference};
use thiserror::Error;

/// Why an access unit is not decoded.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The client refers to a picture that the decoder does not hold in that place.
    #[error("{place}: the client means {named}, the decoder holds {held}")]
    Mismatch {
        /// Which reference.
        place: String,
        /// What the client names.
        named: Named,
        /// What the decoder would predict from.
        held: Named,
    },
    /// What was lost makes the unit undecodable.
    #[error("no key frame since {0}")]
    Lost(Lost),
    /// MPEG-2 headers cannot be written or slices not be found.
    #[error("mpeg2")]
    Mpeg2(#[from] mpeg2::Error),
    /// H.264 headers cannot be written or slices not be read.
    #[error("h264")]
    H264(#[from] h264::Error),
    /// The VP8 frame header cannot be read.
    #[error("vp8")]
    Vp8(#[from] bitstream::vp8::ParseError),
    /// The VP9 frame header cannot be read.
    #[error("vp9")]
    Vp9(#[from] vp9::Error),
    /// The controls are another codec's than the session's.
    #[error("controls of {0:?}")]
    OtherCodec(Codec),
}

/// A picture by the job it came from, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The picture of a job.
    Job(u64),
    /// No picture, or none that is known.
    Nothing,
    /// A picture that was made up for a gap.
    Gap,
    /// The picture of this timestamp, which no job has.
    Timestamp(u64),
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job(job) => write!(f, "job {job}"),
            Self::Nothing => f.write_str("nothing"),
            Self::Gap => f.write_str("a gap"),
            Self::Timestamp(timestamp) => write!(f, "a lost picture of timestamp {timestamp}"),
        }
    }
}

/// Since when nothing can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The beginning of the session.
    Beginning,
    /// A job that failed.
    Job(u64),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Beginning => f.write_str("the beginning"),
            Self::Job(job) => write!(f, "job {job} failed"),
        }
    }
}

/// What is to be done for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The stream begins anew here without saying so: the decoder must forget what it holds.
    pub restart: bool,
    /// No picture before this one matters any longer, to it or to later ones.
    pub fresh: bool,
    /// It may be predicted from what the decoder made up for pictures that are missing.
    pub guessed: bool,
    /// The job whose picture this unit decodes into: its own, or that of the first field.
    pub picture_of: u64,
    /// Later units may predict from this one.
    pub reference: bool,
}

/// What became of a unit that was given to the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The decoder has its picture.
    Decoded,
    /// The decoder has a picture, of which some samples are guessed.
    Damaged,
    /// There is no picture of it. The decoder was emptied if the unit was a reference.
    Nothing,
}

/// The state of one codec's stream.
#[derive(Debug)]
pub enum Rebuild {
    /// MPEG-2.
    Mpeg2(Box<mpeg2::Rebuild>),
    /// H.264.
    H264(Box<h264::Rebuild>),
    /// VP8.
    Vp8(Box<vp8::Rebuild>),
    /// VP9.
    Vp9(Box<vp9::Rebuild>),
}

impl Rebuild {
    /// A stream of which nothing is decoded yet.
    pub fn new(codec: Codec) -> Self {
        match codec {
            Codec::Mpeg2 => Self::Mpeg2(Box::default()),
            Codec::H264 => Self::H264(Box::default()),
            Codec::Vp8 => Self::Vp8(Box::default()),
            Codec::Vp9 => Self::Vp9(Box::default()),
        }
    }

    /// Whose stream it is.
    pub fn codec(&self) -> Codec {
        match self {
            Self::Mpeg2(_) => Codec::Mpeg2,
            Self::H264(_) => Codec::H264,
            Self::Vp8(_) => Codec::Vp8,
            Self::Vp9(_) => Codec::Vp9,
        }
    }

    /// The decoder was replaced by a new one.
    pub fn renew(&mut self) {
        *self = Self::new(self.codec());
    }

    /// Checks a unit and prepares it. [`Rebuild::decoded`] must follow if it is decoded.
    pub fn prepare(&mut self, job: &Job) -> Result<Plan, Refusal> {
        match self {
            Self::Mpeg2(stream) => stream.prepare(job),
            Self::H264(stream) => stream.prepare(job),
            Self::Vp8(stream) => stream.prepare(job),
            Self::Vp9(stream) => stream.prepare(job),
        }
    }

    /// The bytes of the unit that was prepared: what goes ahead of its data, and as much of its
    /// data as is to be decoded.
    pub fn parts<'a>(&'a self, data: &'a [u8]) -> [&'a [u8]; 2] {
        match self {
            Self::Mpeg2(stream) => stream.parts(data),
            Self::H264(stream) => stream.parts(data),
            Self::Vp8(_) | Self::Vp9(_) => [&[], data],
        }
    }

    /// Takes over what the unit that was prepared leaves to the next one.
    pub fn decoded(&mut self, fate: Fate) {
        match self {
            Self::Mpeg2(stream) => stream.decoded(fate),
            Self::H264(stream) => stream.decoded(fate),
            Self::Vp8(stream) => stream.decoded(fate),
            Self::Vp9(stream) => stream.decoded(fate),
        }
    }
}

/// A frame that the decoder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The job that it, or its first field, came from.
    pub job: u64,
    /// The job of its second field, or the same again.
    pub second: u64,
    /// Of its OUTPUT buffer.
    pub timestamp: u64,
    /// Its job ended with an error. The module does not name such a job, so nothing that a client
    /// says of it can be held against the decoder.
    pub failed: bool,
}

impl Held {
    pub(crate) fn new(job: &Job) -> Self {
        Self {
            job: job.number,
            second: job.number,
            timestamp: job.timestamp,
            failed: false,
        }
    }

    /// Whether the client can mean this picture.
    pub(crate) fn is_meant_by(&self, named: Reference) -> bool {
        self.failed
            || named.timestamp == self.timestamp
                && named
                    .job
                    // Without a job the buffer is gone, or another client's picture took its
                    // place; the timestamp is then all there is to go by.
                    .is_none_or(|job| job == self.job || job == self.second)
    }

    pub(crate) fn named(held: Option<&Self>) -> Named {
        held.map_or(Named::Nothing, |held| Named::Job(held.second))
    }
}

impl Reference {
    pub(crate) fn named(self) -> Named {
        self.job
            .map_or(Named::Timestamp(self.timestamp), Named::Job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_can_mean() {
        let held = Held {
            job: 4,
            second: 5,
            timestamp: 100,
            failed: false,
        };
        let failed = Held {
            failed: true,
            ..held
        };
        for (held, timestamp, job, meant) in [
            (held, 100, Some(4), true),
            (held, 100, Some(5), true),
            (held, 100, Some(6), false),
            // The job is right, but something failed to be decoded over it.
            (held, 200, Some(5), false),
            // The buffer is gone, as after a change of size.
            (held, 100, None, true),
            (held, 200, None, false),
            (failed, 200, Some(3), true),
        ] {
            let named = Reference { timestamp, job };
            assert_eq!(held.is_meant_by(named), meant, "{held:?} {named:?}");
        }
    }
}
