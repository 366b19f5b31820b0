//! Surfaces: pictures as clients name them.
//!
//! ```text
//!            first decode, export or image            decode                   wait
//!  no memory ─────────────────────────────▶ memory ──────────▶ pending ─────────▶ decoded | failed
//! ```
//!
//! A surface is made without any device and gets its memory when it is first needed. Exported before
//! anything was decoded into it, or imported, it keeps that memory for good: the client shows what
//! it has exported once, as Chromium does. Otherwise a decode takes other memory when a consumer
//! still holds what the last one filled (`Frame::is_held`).

use crate::channel::Channel;
use crate::copy;
use crate::edge::lock;
use crate::error::Error;
use crate::frame::Frame;
use std::sync::{Arc, Mutex};
use v4l2::queue::Timestamp;

/// Largest width and height of surfaces and images: an image's fields have few more bits.
pub const LARGEST: u32 = 16384;

/// A surface.
#[derive(Debug)]
pub struct Surface {
    /// Visible luma samples and rows.
    pub size: (u32, u32),
    /// What changes.
    pub state: Mutex<State>,
}

/// What changes of a surface.
#[derive(Debug, Default)]
pub struct State {
    /// What exports, images and consumers see.
    pub memory: Option<Arc<Frame>>,
    /// The memory is the client's as well, or the client shows what it has exported of it.
    pub is_pinned: bool,
    /// The last decode.
    pub filled: Option<Filled>,
}

/// A decode into a surface.
#[derive(Debug)]
pub struct Filled {
    /// Where.
    pub channel: Arc<Channel>,
    /// What names it there.
    pub timestamp: Timestamp,
    /// The memory that was decoded into: the surface's, unless the decoder cannot use that.
    pub frame: Arc<Frame>,
    /// How it went.
    pub outcome: Outcome,
}

/// How a decode went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The decoder has it.
    Pending,
    /// The frame has the picture.
    Decoded,
    /// The surface's memory has the picture.
    Shown,
    /// There is no picture, or a damaged one.
    Failed,
}

impl Surface {
    /// A surface without memory.
    pub fn new(size: (u32, u32)) -> Surface {
        Surface {
            size,
            state: Mutex::default(),
        }
    }

    /// A surface of a client's memory.
    pub fn imported(size: (u32, u32), memory: Frame) -> Surface {
        let state = State {
            memory: Some(Arc::new(memory)),
            is_pinned: true,
            filled: None,
        };
        Surface {
            size,
            state: Mutex::new(state),
        }
    }

    /// The decode in a context that filled it, or is filling it.
    pub fn decoded_in(&self, channel: &Channel) -> Option<Timestamp> {
        let state = lock(&self.state);
        let filled = state.filled.as_ref()?;
        let is_here = std::ptr::eq(Arc::as_ptr(&filled.channel), channel);
        is_here.then_some(filled.timestamp)
    }

    /// Where it was decoded last.
    pub fn channel(&self) -> Option<Arc<Channel>> {
        let state = lock(&self.state);
        let filled = state.filled.as_ref()?;
        Some(Arc::clone(&filled.channel))
    }

    /// The decode that is on its way, and where.
    pub fn pending(&self) -> Option<(Arc<Channel>, Timestamp)> {
        let state = lock(&self.state);
        let filled = state.filled.as_ref()?;
        let is_pending = filled.outcome == Outcome::Pending;
        is_pending.then(|| (Arc::clone(&filled.channel), filled.timestamp))
    }

    /// Notes the end of a decode, unless another one has begun since.
    pub fn done(&self, channel: &Channel, timestamp: Timestamp, has_failed: bool) {
        let mut state = lock(&self.state);
        let Some(filled) = &mut state.filled else {
            return;
        };
        let is_it = std::ptr::eq(Arc::as_ptr(&filled.channel), channel)
            && filled.timestamp == timestamp
            && filled.outcome == Outcome::Pending;
        if is_it {
            filled.outcome = if has_failed {
                Outcome::Failed
            } else {
                Outcome::Decoded
            };
        }
    }

    /// Brings the picture to where the client sees it, once it is decoded; says whether there is one
    /// to be seen.
    ///
    /// # Errors
    /// One of the memories cannot be mapped.
    pub fn show(&self) -> Result<bool, Error> {
        let mut state = lock(&self.state);
        let State { memory, filled, .. } = &mut *state;
        let Some(filled) = filled else {
            return Ok(true);
        };
        if filled.outcome == Outcome::Failed {
            return Ok(false);
        }
        if filled.outcome != Outcome::Decoded {
            return Ok(true);
        }
        if let Some(memory) = memory {
            if !Arc::ptr_eq(memory, &filled.frame) {
                self.copy(&filled.frame, memory)?;
            }
        }
        filled.outcome = Outcome::Shown;
        Ok(true)
    }

    /// Copies what is visible from one memory to another. Where one of them has not as many samples,
    /// as when a stream changes its size and a client its surfaces later, what both have.
    pub fn copy(&self, from: &Frame, to: &Frame) -> Result<(), Error> {
        let (one, other) = (from.layout().extent(), to.layout().extent());
        let least = |visible: u32, one: u32, other: u32| visible.min(one).min(other);
        let size = (
            least(self.size.0, one.0, other.0),
            least(self.size.1, one.1, other.1),
        );
        from.sync(true);
        to.sync(true);
        let done = from
            .planes()
            .and_then(|source| copy::copy(&source, (0, 0), &to.planes()?, (0, 0), size));
        to.sync(false);
        from.sync(false);
        done
    }
}
