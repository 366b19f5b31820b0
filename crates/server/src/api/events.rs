//! `/api/events`: changes as server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
use crate::events;

/// How often a silent connection is kept from being taken for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a client that lost the connection should come back.
const RETRY: Duration = Duration::from_secs(1);

/// Changes as they happen. `asset` carries the whole asset, `removed` its id. `resync` is the
/// last event for a client that reads too slowly: it connects again and reads the list.
#[utoipa::path(
    get, path = "/api/events", tag = "server",
    responses((status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"))
)]
pub(crate) async fn listen(
    State(app): State<Arc<App>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stopping = app.stopping.clone().cancelled_owned();
    let hello = Event::default().comment("listening").retry(RETRY);
    let changes = stream::unfold(Some(app.hub.listen()), next);
    let stream = stream::once(async move { hello })
        .chain(changes)
        .map(Ok)
        .take_until(stopping);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

type Listening = Option<Receiver<events::Event>>;

async fn next(listening: Listening) -> Option<(Event, Listening)> {
    let mut listening = listening?;
    match listening.recv().await {
        Ok(event) => {
            let event = Event::default().event(event.name).data(&*event.data);
            Some((event, Some(listening)))
        }
        Err(RecvError::Lagged(_)) => Some((Event::default().event("resync").data("{}"), None)),
        Err(RecvError::Closed) => None,
    }
}
