//! Waiting for room on the disk: every lane's work waits, says so, and goes on when there is some.

use std::time::{Duration, Instant};

use catalog::WorkKind;

use super::{Job, Trouble, child};
use crate::disk;

/// How often a full disk is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long a write that failed for want of room is left alone, whatever the disk says is free.
const FULL_PAUSE: Duration = Duration::from_secs(5);

impl Job<'_> {
    /// Waits while less than that many bytes may be taken. With one byte: while the disk is so full
    /// that not even this could be written down. `name` is the file's, for messages.
    pub(super) fn need_room(&self, name: &str, bytes: u64) -> Result<(), Trouble> {
        loop {
            match self.app.disk.need(bytes) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(full)) => {
                    let left = disk::human(full.usable);
                    self.wait(&is_full(name, &format!("{left} left to take")), LOOK)?;
                }
                Err(error) => {
                    let what = "cannot see how full the disk is";
                    return Err(child::failed(name, what, &error));
                }
            }
        }
    }

    /// Something could not be written: waits until it is worth another try.
    pub(super) fn wait_after(&self, name: &str, why: &str) -> Result<(), Trouble> {
        self.wait(&is_full(name, why), FULL_PAUSE)?;
        self.need_room(name, 1)
    }

    /// Says what the work waits for, and lets some time pass.
    pub(super) fn wait(&self, waiting: &str, time: Duration) -> Result<(), Trouble> {
        if self.app.set_waiting(&self.work.name(), waiting) {
            tracing::warn!(asset = self.asset(), waiting, "work waits");
            self.announce();
        }
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.pause(until)?;
        }
        Ok(())
    }

    /// Tells everybody who listens how what is worked on is now.
    pub(super) fn announce(&self) {
        match self.work.kind {
            WorkKind::Live => self.app.announce_live(self.asset()),
            _ => self.app.announce(self.asset()),
        }
    }
}

fn is_full(name: &str, why: &str) -> String {
    format!("{name}: the disk is full ({why}); it goes on when there is room")
}
