//! One stream: jobs in, pictures out.
//!
//! A session lives as long as somebody is attached to a stream. For each job it asks the codec's
//! [`Rebuild`] whether the decoder holds the pictures that the client refers to and what bytes to
//! decode, decodes, and makes sure that the picture it got is this job's.
//!
//! ```text
//!            prepare                decode
//!   job ──────────────▶ prepared ──────────▶ decoded ──▶ picture
//!    ▲       │ refused               │  │ damaged: picture and error
//!    │       ▼                       ▼  ▼
//!    └──── error ◀────────── nothing: the decoder is emptied if later
//!                            pictures would have referred to this one
//! ```
//!
//! An error is the job's own: the next job is decoded unless it depends on what is missing.

use crate::rebuild::{Fate, Plan, Rebuild, Refusal};
use crate::wire::{Codec, Job};
use media::{
    AccessUnitDecoder, AccessUnitLimits, Destination, Picture, PixelFormat, Place, Rows,
    StatelessCodec,
};
use thiserror::Error;

/// Largest side of a picture: what is advertised, rounded up to whole macroblocks.
const MAX_SIDE: u32 = crate::formats::MAX_SIDE;

/// Most memory for the pictures of a session: 16 references and as many that libavcodec would
/// still show, at the largest size that H.264's levels have for them.
const MAX_PICTURE_BYTES: usize = 512 << 20;

/// Why a job ends with an error; what job it was is the caller's to add.
#[derive(Debug, Error)]
pub enum Error {
    /// It was not given to the decoder.
    #[error("not decodable")]
    Refused(#[from] Refusal),
    /// libavcodec refused it.
    #[error("not decoded")]
    Decoder(#[source] media::Error),
    /// libavcodec made no picture of it.
    #[error("nothing was decoded")]
    NoPicture,
    /// libavcodec decoded it into another picture.
    #[error("decoded into the picture of job {found}: not of job {expected}")]
    OtherPicture {
        /// The job whose picture it should have been.
        expected: u64,
        /// The job whose picture it was.
        found: u64,
    },
    /// The picture has samples that do not go into NV12.
    #[error("decoded into samples that are not 4:2:0 of 8 bit")]
    Samples,
    /// Some samples are guessed.
    #[error("damaged: {0}")]
    Damaged(String),
    /// What it was predicted from is, or may be.
    #[error("may be predicted from a picture that is missing")]
    Guessed,
    /// It is one field of two, and the other was not decoded here.
    #[error("the first field is missing")]
    FirstField,
}

/// A stream that is being decoded.
#[derive(Debug)]
pub struct Session {
    decoder: AccessUnitDecoder,
    rebuild: Rebuild,
    /// The decoder holds pictures that `rebuild` knows nothing of, and must be emptied first.
    stale: bool,
    /// The decoder met something broken. libavcodec may then still have coefficients of the
    /// macroblock where it stopped, which would show up in a later one.
    spoilt: bool,
}

/// What came of a job that has a picture.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The picture, as it is until the next job.
    pub picture: Picture<'a>,
    /// Why it must not be called good all the same.
    pub error: Option<Error>,
}

impl Session {
    /// A stream of which nothing is decoded yet.
    pub fn open(codec: Codec) -> Result<Self, media::Error> {
        Ok(Self {
            decoder: open(codec)?,
            rebuild: Rebuild::new(codec),
            stale: false,
            spoilt: false,
        })
    }

    /// What is decoded.
    pub fn codec(&self) -> Codec {
        self.rebuild.codec()
    }

    /// Bytes that the decoder holds for pictures.
    pub fn memory(&self) -> usize {
        self.decoder.memory()
    }

    /// Decodes a job. Its luma goes to `place` if it can; `ready` is given rows of its picture as soon
    /// as they are finished; it need not take them, and rows that it was given may still turn out to be
    /// no good.
    ///
    /// # Errors
    /// When there is no picture; a picture that is there but wrong comes with its error.
    pub fn decode(
        &mut self,
        job: &Job,
        place: Option<Place>,
        ready: &mut dyn FnMut(Rows<'_>),
    ) -> Result<Outcome<'_>, Error> {
        // The second field may go to another buffer.
        let place = place.filter(|_| !job.controls.is_field());
        let Self {
            decoder,
            rebuild,
            stale,
            spoilt,
        } = self;
        let mut plan = rebuild.prepare(job)?;
        if plan.fresh && std::mem::take(spoilt) {
            *decoder = open(rebuild.codec()).map_err(Error::Decoder)?;
            rebuild.renew();
            plan = rebuild.prepare(job)?;
        }
        if plan.restart || std::mem::take(stale) {
            decoder.flush();
        }
        match consume(decoder, rebuild, &plan, job, place, ready) {
            Ok(outcome) => {
                *spoilt |= outcome.error.is_some();
                rebuild.decoded(match outcome.error {
                    None => Fate::Decoded,
                    Some(_) => Fate::Damaged,
                });
                Ok(outcome)
            }
            Err(error) => {
                *stale = plan.reference;
                *spoilt = true;
                rebuild.decoded(Fate::Nothing);
                Err(error)
            }
        }
    }
}

fn open(codec: Codec) -> Result<AccessUnitDecoder, media::Error> {
    let stateless = match codec {
        Codec::Mpeg2 => StatelessCodec::Mpeg2,
        Codec::H264 => StatelessCodec::H264,
        Codec::Vp8 => StatelessCodec::Vp8,
        Codec::Vp9 => StatelessCodec::Vp9,
    };
    let limits = AccessUnitLimits {
        max_width: MAX_SIDE,
        max_height: MAX_SIDE,
        max_bytes: MAX_PICTURE_BYTES,
        ..AccessUnitLimits::default()
    };
    AccessUnitDecoder::open(stateless, limits)
}

/// Decodes a prepared unit and finds its picture.
fn consume<'a>(
    decoder: &'a mut AccessUnitDecoder,
    rebuild: &Rebuild,
    plan: &Plan,
    job: &Job,
    place: Option<Place>,
    ready: &mut dyn FnMut(Rows<'_>),
) -> Result<Outcome<'a>, Error> {
    let destination = match place {
        _ if plan.picture_of != job.number => Destination::Continued,
        Some(place) => Destination::Place(place),
        None => Destination::Own,
    };
    let decoded = decoder
        .decode_with(&rebuild.parts(job.data), job.number, destination, ready)
        .map_err(Error::Decoder)?;
    let alone = job.continues && job.controls.is_field() && plan.picture_of == job.number;
    let damage = decoded
        .damage
        .map(Error::Damaged)
        .or(plan.guessed.then_some(Error::Guessed))
        .or(alone.then_some(Error::FirstField));
    let Some(picture) = decoded.picture else {
        return Err(damage.unwrap_or(Error::NoPicture));
    };
    if picture.unit() != plan.picture_of {
        return Err(Error::OtherPicture {
            expected: plan.picture_of,
            found: picture.unit(),
        });
    }
    let format = picture.format();
    if format != PixelFormat::YUV420P && format != PixelFormat::YUVJ420P {
        return Err(Error::Samples);
    }
    Ok(Outcome {
        picture,
        error: damage,
    })
}
