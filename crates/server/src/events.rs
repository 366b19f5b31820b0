//! Live changes: everybody who listens on `/api/events` gets each changed asset whole.
//!
//! Events go through one bounded ring. Whoever reads slower than the ring turns is told to
//! `resync` and disconnected; a client that connects (again) reads the list and is up to date.
//! So no reader can make the server remember more than the ring.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::shown;

/// Events the ring holds: about a minute of one stream's progress.
pub(crate) const RING: usize = 256;

/// One event, written once for all readers.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) data: Arc<str>,
}

/// Where changes are told and listened to.
pub(crate) struct Hub {
    ring: broadcast::Sender<Event>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            ring: broadcast::Sender::new(RING),
        }
    }

    /// Whether nobody listens, so that nothing need be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.ring.receiver_count() == 0
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.ring.subscribe()
    }

    /// An asset is new or changed.
    pub(crate) fn asset(&self, asset: &shown::Asset) {
        match serde_json::to_string(asset) {
            Ok(data) => self.tell("asset", data),
            Err(error) => tracing::error!(asset = asset.id, %error, "cannot write an event"),
        }
    }

    /// An asset is gone.
    pub(crate) fn removed(&self, id: &str) {
        self.tell("removed", serde_json::json!({ "id": id }).to_string());
    }

    fn tell(&self, name: &'static str, data: String) {
        // The only error is that nobody listens.
        let _ = self.ring.send(Event {
            name,
            data: data.into(),
        });
    }
}
