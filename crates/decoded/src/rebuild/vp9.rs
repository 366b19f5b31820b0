//! VP9, Bitstream & Decoding Process Specification v0.6: frames pass through as they are; what is in
//! the 8 reference slots (7.20) is followed, and the three that a frame uses are compared.
//!
//! Probabilities go from frame to frame as well, and no client says whose they are. So after a
//! frame that could not be decoded only a frame that starts from defaults is: a key frame, or one
//! that resets them all and whose references are there.

use super::{Fate, Held, Lost, Named, Plan, Refusal};
use crate::wire::{Controls, Job};
use bitstream::vp9::{
    CodedFrame, FRAME_ERROR_RESILIENT, FRAME_INTRA_ONLY, FRAME_KEY_FRAME, Header, ParseError,
    RESET_FRAME_CTX_ALL, State,
};
use thiserror::Error;

/// Why a frame cannot be passed on.
#[derive(Debug, Error)]
pub enum Error {
    /// Its header cannot be read.
    #[error(transparent)]
    Header(#[from] ParseError),
    /// Clients show existing pictures themselves.
    #[error("a frame without a picture of its own")]
    ShowExisting,
}

const PLACES: [&str; 3] = ["last frame", "golden frame", "alternate frame"];

/// The state of a stream.
#[derive(Debug)]
pub struct Rebuild {
    state: State,
    slots: [Option<Held>; 8],
    lost: Option<Lost>,
    prepared: Option<(CodedFrame, Held)>,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self {
            state: State::new(),
            slots: [None; 8],
            lost: Some(Lost::Beginning),
            prepared: None,
        }
    }
}

impl Rebuild {
    pub(super) fn prepare(&mut self, job: &Job) -> Result<Plan, Refusal> {
        self.prepared = None;
        let outcome = self.check(job);
        if outcome.is_err() {
            self.lost.get_or_insert(Lost::Job(job.number));
        }
        let coded = outcome?;
        self.prepared = Some((coded, Held::new(job)));
        Ok(Plan {
            restart: false,
            fresh: coded.frame.flags & FRAME_KEY_FRAME != 0,
            guessed: false,
            picture_of: job.number,
            reference: coded.refresh_frame_flags != 0,
        })
    }

    fn check(&self, job: &Job) -> Result<CodedFrame, Refusal> {
        let Controls::Vp9(_) = &job.controls else {
            return Err(Refusal::OtherCodec(job.controls.codec()));
        };
        let coded = match self.state.parse_uncompressed(job.data).map_err(Error::from) {
            Ok(Header::Coded(coded)) => coded,
            Ok(Header::ShowExisting { .. }) => return Err(Error::ShowExisting.into()),
            // That a slot is empty is no fault of the header's when everything before is lost.
            Err(error) => {
                return Err(match (error, self.lost) {
                    (Error::Header(ParseError::NoReference { .. }), Some(lost)) => {
                        Refusal::Lost(lost)
                    }
                    (error, _) => error.into(),
                });
            }
        };
        if let Some(lost) = self.lost {
            if !can_follow(&coded, lost) {
                return Err(Refusal::Lost(lost));
            }
        }
        for (index, slot) in coded.ref_frame_idx.into_iter().flatten().enumerate() {
            let held = self.slots[usize::from(slot)];
            let Some(named) = job.references.get(index) else {
                continue;
            };
            if !held.is_some_and(|held| held.is_meant_by(named)) {
                return Err(Refusal::Mismatch {
                    place: format!("{} (slot {slot})", PLACES[index]),
                    named: named.named(),
                    held: held.map_or(Named::Nothing, |held| Held::named(Some(&held))),
                });
            }
        }
        Ok(coded)
    }

    pub(super) fn decoded(&mut self, fate: Fate) {
        let Some((coded, picture)) = self.prepared.take() else {
            return;
        };
        if fate == Fate::Nothing {
            self.lost.get_or_insert(Lost::Job(picture.job));
            if coded.refresh_frame_flags != 0 {
                // The decoder was emptied.
                self.state = State::new();
                self.slots = [None; 8];
            }
            return;
        }
        self.lost = None;
        self.state.decoded(&coded, picture.job);
        let picture = Held {
            failed: fate == Fate::Damaged,
            ..picture
        };
        for (bit, slot) in self.slots.iter_mut().enumerate() {
            if coded.refresh_frame_flags & 1 << bit != 0 {
                *slot = Some(picture);
            }
        }
    }
}

/// Whether the frame needs nothing of what was lost but the pictures it names (7.2).
fn can_follow(coded: &CodedFrame, lost: Lost) -> bool {
    let frame = &coded.frame;
    let intra_only = frame.flags & FRAME_INTRA_ONLY != 0;
    frame.flags & (FRAME_KEY_FRAME | FRAME_ERROR_RESILIENT) != 0
        || intra_only && frame.reset_frame_context == RESET_FRAME_CTX_ALL
        // A stream may begin with these: before the first frame all probabilities are the defaults.
        || intra_only && lost == Lost::Beginning
}
