//! Live changes: everybody who listens on `/api/events` gets each changed asset whole, and each update
//! of a stream.
//!
//! Events go through one bounded ring. Whoever reads slower than the ring turns is told to
//! `resync` and disconnected; a client that connects (again) reads the list and is up to date.
//! So no reader can make the server remember more than the ring.

use std::sync::Arc;

use ladder::publish::Update;
use serde::Serialize;
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

/// An update with the stream that it is about.
#[derive(Serialize)]
struct Told<'a> {
    stream: &'a str,
    #[serde(flatten)]
    update: &'a Update,
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

    /// A file that is fetched is new, further or given up.
    pub(crate) fn remote(&self, remote: &crate::api::remotes::Remote) {
        match serde_json::to_string(remote) {
            Ok(data) => self.tell("remote", data),
            Err(error) => tracing::error!(%error, "cannot write an event"),
        }
    }

    /// A live stream is new or changed.
    pub(crate) fn live(&self, stream: &crate::live::Stream) {
        match serde_json::to_string(stream) {
            Ok(data) => self.tell("live", data),
            Err(error) => tracing::error!(%error, "cannot write an event"),
        }
    }

    /// Something happened to a stream.
    pub(crate) fn stream(&self, stream: &str, update: &Update) {
        if self.is_idle() {
            return;
        }
        let told = Told { stream, update };
        match serde_json::to_string(&told) {
            Ok(data) => self.tell("stream", data),
            Err(error) => tracing::error!(stream, %error, "cannot write an event"),
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
