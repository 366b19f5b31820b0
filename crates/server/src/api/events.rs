//! `/api/events`: changes as server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
use crate::auth::Caller;
use crate::events;

/// How often a silent connection is kept from being taken for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a client that lost the connection should come back.
const RETRY: Duration = Duration::from_secs(1);

/// Changes as they happen. `asset` carries the whole asset, `live` a whole live stream, `remote` a file that is fetched, `removed` the
/// id or name of what is gone, `stream` one update of a stream: that a segment is there (`segment`),
/// that a playlist was replaced (`playlist`), that it begins (`planned`) or is whole (`ended`). `resync` is the
/// last event for a client that reads too slowly: it connects again and reads the list.
#[utoipa::path(
    get, path = "/api/events", tag = "server",
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"))
)]
pub(crate) async fn listen(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stopping = app.stopping.clone().cancelled_owned();
    let hello = Event::default().comment("listening").retry(RETRY);
    let changes = stream::unfold(Some(app.hub.listen()), next);
    let stream = stream::once(async move { hello })
        .chain(changes)
        .map(Ok)
        .take_until(stopping)
        .take_until(caller.gone(Arc::clone(&app)));
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

type Listening = Option<Receiver<events::Event>>;

async fn next(listening: Listening) -> Option<(Event, Listening)> {
    let (name, data, rest) = next_named(listening).await?;
    Some((Event::default().event(name).data(&*data), rest))
}

/// The next event's name and data, and what to go on with: nothing after a reader fell behind.
async fn next_named(listening: Listening) -> Option<(&'static str, Arc<str>, Listening)> {
    let mut listening = listening?;
    match listening.recv().await {
        Ok(event) => Some((event.name, event.data, Some(listening))),
        Err(RecvError::Lagged(_)) => Some(("resync", "{}".into(), None)),
        Err(RecvError::Closed) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Hub, RING};

    /// Names of what a listener is told after so many changes that it did not read.
    fn told(changes: usize) -> Vec<&'static str> {
        let hub = Hub::new();
        let mut listening = Some(hub.listen());
        for _ in 0..changes {
            hub.removed("id");
        }
        drop(hub);
        let mut names = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            while let Some((name, _, rest)) = next_named(listening).await {
                names.push(name);
                listening = rest;
            }
        });
        names
    }

    #[test]
    fn a_slow_reader_is_told_to_start_again() {
        assert_eq!(told(0), [""; 0]);
        assert_eq!(told(3), ["removed"; 3]);
        assert_eq!(told(RING), ["removed"; RING]);
        assert_eq!(told(RING + 1), ["resync"]);
    }
}
