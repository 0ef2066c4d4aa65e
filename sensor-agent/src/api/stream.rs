//! Alerts as they come, as server-sent events. A client that reconnects says which alert it saw last and gets what came
//! since, first from the store and then live, without gap or duplicate: it listens before it reads.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive, KeepAliveStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::State;
use super::alerts::{Wanted, blocking, position, query};
use super::problem::Problem;
use crate::shared::Shared;
use crate::store::{Filter, Row};

/// Alerts read from the store at once while catching up.
const CATCH_UP: usize = 200;
/// Alerts that wait for the client's connection.
const IN_FLIGHT: usize = 64;
/// A client that takes nothing for this long is cut off; it can resume.
const SLOWEST: Duration = Duration::from_secs(30);
/// Pause between comments that keep the connection alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Events = mpsc::Sender<Result<Event, Infallible>>;
type Feeding = ReceiverStream<Result<Event, Infallible>>;

/// `GET /api/security/alerts/stream`.
pub(super) async fn stream(
    api: State,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Sse<KeepAliveStream<Feeding>>, Problem> {
    let wanted = query(wanted)?;
    let filter = wanted.filter()?;
    let after = last_seen(&headers, &wanted)?;
    let Ok(permit) = api.streams.clone().try_acquire_owned() else {
        return Err(Problem::unavailable("as many clients listen as `api.max_stream_clients` allows"));
    };
    let (events, receiver) = mpsc::channel(IN_FLIGHT);
    let feed = Feed { shared: api.shared.clone(), filter, events, last: after.unwrap_or(0), _permit: permit };
    let live = api.shared.live.subscribe();
    tokio::spawn(feed.run(live, after.is_some()));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive))
}

/// The header wins: a browser that reconnects sends it along with the address it first asked.
fn last_seen(headers: &HeaderMap, wanted: &Wanted) -> Result<Option<u64>, Problem> {
    match (headers.get("last-event-id"), &wanted.after) {
        (Some(value), _) => position("Last-Event-ID", value.to_str().unwrap_or_default()).map(Some),
        (None, Some(text)) => position("after", text).map(Some),
        (None, None) => Ok(None),
    }
}

struct Feed {
    shared: Arc<Shared>,
    filter: Filter,
    events: Events,
    last: u64,
    _permit: OwnedSemaphorePermit,
}

/// The client is gone, too slow, or the agent stops.
struct Over;

impl Feed {
    async fn run(mut self, live: Receiver<Arc<Row>>, catch_up: bool) {
        let mut stopping = self.shared.stopping();
        let events = self.events.clone();
        let work = async {
            if catch_up {
                self.catch_up().await?;
            }
            self.follow(live).await
        };
        tokio::select! {
            _ = work => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = events.closed() => {}
        }
    }

    async fn catch_up(&mut self) -> Result<(), Over> {
        loop {
            let (shared, filter, last) = (self.shared.clone(), self.filter.clone(), self.last);
            let page =
                blocking(move || shared.store.after(last, &filter, CATCH_UP)).await.map_err(|_| Over)?;
            if page.is_empty() {
                return Ok(());
            }
            for stored in page {
                self.send(stored.id, &stored.event).await?;
            }
        }
    }

    async fn follow(&mut self, mut live: Receiver<Arc<Row>>) -> Result<(), Over> {
        loop {
            // Too far behind is an error too: the client resumes from the store.
            let row = live.recv().await.map_err(|_| Over)?;
            if row.id > self.last && self.filter.matches(&row) {
                self.send(row.id, &row.event).await?;
            }
        }
    }

    async fn send(&mut self, id: u64, event: &str) -> Result<(), Over> {
        let event = Event::default().id(id.to_string()).event("alert").data(event);
        let sent = tokio::time::timeout(SLOWEST, self.events.send(Ok(event))).await;
        sent.map_err(|_| Over)?.map_err(|_| Over)?;
        self.last = id;
        Ok(())
    }
}
