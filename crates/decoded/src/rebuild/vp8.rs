//! VP8, RFC 6386: frames pass through as they are; the three reference buffers (9.7) are followed.
//!
//! Probabilities go from frame to frame as well, and no client says whose they are. So after a
//! frame that could not be decoded nothing is, until a key frame begins anew.

use super::{Fate, Held, Lost, Plan, Refusal};
use crate::wire::{Controls, Job};
use bitstream::vp8::{CopyFrom, Header, Refresh, State};

/// Last, golden, alternate: the order in which a job names them.
type Slots = [Held; 3];

const PLACES: [&str; 3] = ["last frame", "golden frame", "alternate frame"];

/// The state of a stream.
#[derive(Debug)]
pub struct Rebuild {
    state: State,
    slots: Option<Slots>,
    lost: Option<Lost>,
    prepared: Option<(Header, Held)>,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self {
            state: State::new(),
            slots: None,
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
        let header = outcome?;
        self.prepared = Some((header, Held::new(job)));
        let Refresh {
            last,
            golden,
            alternate,
            ..
        } = header.refresh;
        Ok(Plan {
            restart: false,
            fresh: header.frame.is_key_frame(),
            guessed: false,
            picture_of: job.number,
            reference: last || golden || alternate,
        })
    }

    fn check(&self, job: &Job) -> Result<Header, Refusal> {
        let Controls::Vp8(_) = &job.controls else {
            return Err(Refusal::OtherCodec(job.controls.codec()));
        };
        // Bit 0 of the frame tag is clear on key frames (9.1).
        let key_frame = job.data.first().is_some_and(|byte| byte & 1 == 0);
        if let (Some(lost), false) = (self.lost, key_frame) {
            return Err(Refusal::Lost(lost));
        }
        let header = self.state.parse(job.data)?;
        if let (Some(slots), false) = (&self.slots, key_frame) {
            for (index, (held, place)) in slots.iter().zip(PLACES).enumerate() {
                if let Some(named) = job.references.get(index) {
                    if !held.is_meant_by(named) {
                        return Err(Refusal::Mismatch {
                            place: place.to_owned(),
                            named: named.named(),
                            held: Held::named(Some(held)),
                        });
                    }
                }
            }
        }
        Ok(header)
    }

    pub(super) fn decoded(&mut self, fate: Fate) {
        let Some((header, picture)) = self.prepared.take() else {
            return;
        };
        if fate == Fate::Nothing {
            self.lost.get_or_insert(Lost::Job(picture.job));
            // The decoder may have been emptied; a key frame fills all three anyway.
            self.slots = None;
            return;
        }
        let picture = Held {
            failed: fate == Fate::Damaged,
            ..picture
        };
        if header.frame.is_key_frame() {
            self.lost = None;
        }
        self.state.decoded(&header, picture.job);
        self.slots = Some(match self.slots {
            Some(slots) if !header.frame.is_key_frame() => after(slots, &header.refresh, picture),
            _ => [picture; 3],
        });
    }
}

/// The buffers after a frame, as libavcodec has them: copies are made from what was there before
/// the frame, also when golden and alternate are each copied from the other.
fn after([last, golden, alternate]: Slots, refresh: &Refresh, picture: Held) -> Slots {
    let copy = |from, unchanged, other| match from {
        CopyFrom::None => unchanged,
        CopyFrom::Last => last,
        CopyFrom::Other => other,
    };
    let or_picture = |refreshed, otherwise| if refreshed { picture } else { otherwise };
    [
        or_picture(refresh.last, last),
        or_picture(
            refresh.golden,
            copy(refresh.copy_to_golden, golden, alternate),
        ),
        or_picture(
            refresh.alternate,
            copy(refresh.copy_to_alternate, alternate, golden),
        ),
    ]
}
