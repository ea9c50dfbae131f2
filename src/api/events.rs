//! Server-Sent Events of a claim or a lock, with a comment every 5 s and an `id:` to resume from.
//! In: what the sidecar tells. Out: a body that goes on until the claim ends or the client leaves.
//! Never: a bound stream that ends without the sidecar being told how.
//!
//! How a bound stream ended is told by the connection (`line`): a FIN of the peer is a close by the
//! app, be it by `close`, by its exit or by kill -9. A reset, a failed write, or the end of this process
//! is a stream that just broke. On one machine a reset means that the app died with unread events.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::ready;
use futures::stream::{Stream, StreamExt, once, select, unfold};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::lock_views::worth_of;
use super::node_views::ModeBody;
use super::problem::{self, Problem};
use super::views::{self, ClaimBody};
use crate::config::limits;
use crate::sidecar::handle::{
    ClaimError, ClaimEvent, Consistency, LockView, Read, Sidecar, Unavailable,
};
use crate::table::id::{ClaimId, LockName, Revision};
use crate::views::locks::LockBody;

/// The media type of a stream.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";
/// A line that only shows that both sides are there.
const COMMENT: &[u8] = b":\n\n";
/// Between two comments a lock's stream asks so often where there is nothing to wait for.
const SILENT_ROUNDS: u32 = 10;

/// The `Last-Event-ID` of a client that resumes.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(HeaderName::from_static("last-event-id")) else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(revision) => Ok(Some(revision)),
        None => Err(Problem::invalid(
            "the header `Last-Event-ID` is none of our ids",
        )),
    }
}

/// The connection of this request; one without end in a test that has no socket.
pub(super) fn line(request: &Request) -> Arc<Line> {
    let known = request.extensions().get::<Arc<Line>>();
    known.cloned().unwrap_or_default()
}

/// Tells the sidecar how a bound stream ended, whenever and wherever it is dropped.
pub(super) struct Bound {
    sidecar: Arc<dyn Sidecar>,
    id: ClaimId,
    line: Arc<Line>,
}

impl Bound {
    /// Ties the claim's life to what holds this.
    pub(super) fn new(
        sidecar: &Arc<dyn Sidecar>,
        id: &ClaimId,
        line: Arc<Line>,
    ) -> Result<Self, ClaimError> {
        sidecar.bind(id)?;
        Ok(Self {
            sidecar: sidecar.clone(),
            id: id.clone(),
            line,
        })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let closed_by_app = self.line.closed_by_peer();
        self.sidecar.unbind(&self.id, closed_by_app);
    }
}

struct ClaimStream {
    sidecar: Arc<dyn Sidecar>,
    id: ClaimId,
    after: Option<u64>,
    over: bool,
    /// Only for its drop.
    _bound: Option<Bound>,
}

/// The events of a claim after `after`; with `None`, first its current state.
pub(super) fn of_claim(
    sidecar: Arc<dyn Sidecar>,
    id: ClaimId,
    after: Option<u64>,
    bound: Option<Bound>,
    closing: CancellationToken,
) -> Response {
    let modes = mode_changes(sidecar.clone());
    let stream = ClaimStream {
        sidecar,
        id,
        after,
        over: false,
        _bound: bound,
    };
    let claim = unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((text, stream))
    });
    respond(claim, modes, closing)
}

impl ClaimStream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let events = self.sidecar.claim_events(&self.id, self.after);
        match tokio::time::timeout(limits::SSE_COMMENT_EVERY, events).await {
            Err(_elapsed) => Some(Bytes::from_static(COMMENT)),
            // Over, and all was told; or forgotten meanwhile.
            Ok(Err(_)) => None,
            Ok(Ok(events)) if events.is_empty() => None,
            Ok(Ok(events)) => Some(self.tell(&events)),
        }
    }

    fn tell(&mut self, events: &[ClaimEvent]) -> Bytes {
        let mut text = String::new();
        for event in events {
            let name = views::event_word(event.kind, event.view.state);
            write_event(
                &mut text,
                name,
                event.revision,
                &ClaimBody::from(&event.view),
            );
            self.after = Some(event.revision);
            self.over = views::is_over(event.view.state);
        }
        text.into()
    }
}

struct LockStream {
    sidecar: Arc<dyn Sidecar>,
    name: LockName,
    after: Option<Revision>,
    shown: Option<LockView>,
    /// An outage is told once.
    unavailable: bool,
    pause: Duration,
}

/// The changes of a lock after `after`; with `None`, first its current state.
pub(super) fn of_lock(
    sidecar: Arc<dyn Sidecar>,
    name: LockName,
    after: Option<u64>,
    closing: CancellationToken,
) -> Response {
    let modes = mode_changes(sidecar.clone());
    let stream = LockStream {
        sidecar,
        name,
        after: after.map(Revision),
        shown: None,
        unavailable: false,
        pause: Duration::ZERO,
    };
    let lock = unfold(stream, |mut stream| async move {
        let text = stream.next().await;
        Some((text, stream))
    });
    respond(lock, modes, closing)
}

impl LockStream {
    async fn next(&mut self) -> Bytes {
        for _ in 0..SILENT_ROUNDS {
            tokio::time::sleep(std::mem::take(&mut self.pause)).await;
            let wait = limits::SSE_COMMENT_EVERY;
            let consistency = Consistency::Available;
            let read = self
                .sidecar
                .lock(&self.name, consistency, self.after, wait)
                .await;
            let news = match read {
                Ok(read) if self.after.is_some_and(|after| read.value.revision <= after) => break,
                Ok(read) => self.show(read),
                Err(error) => self.lament(error),
            };
            if let Some(news) = news {
                return news;
            }
        }
        Bytes::from_static(COMMENT)
    }

    fn show(&mut self, read: Read<LockView>) -> Option<Bytes> {
        let Read {
            value: view,
            linearizable,
            age,
        } = read;
        self.unavailable = false;
        self.after = Some(view.revision);
        // A lock that nobody uses shows the revision of the whole table, which moves on its own.
        let same = self.shown.as_ref().is_some_and(|shown| {
            shown.holders == view.holders
                && shown.queue == view.queue
                && shown.waiters == view.waiters
                && shown.lock_delay_ms == view.lock_delay_ms
        });
        if same {
            self.pause = limits::SSE_COMMENT_EVERY / SILENT_ROUNDS;
            return None;
        }
        let about = Read {
            value: (),
            linearizable,
            age,
        };
        let worth = worth_of(&about, self.sidecar.current_mode());
        let body = LockBody::new(worth, &view);
        let mut text = String::new();
        write_event(&mut text, body.event_word(), view.revision.0, &body);
        self.shown = Some(view);
        Some(text.into())
    }

    fn lament(&mut self, error: Unavailable) -> Option<Bytes> {
        self.pause = limits::SSE_COMMENT_EVERY / SILENT_ROUNDS;
        if std::mem::replace(&mut self.unavailable, true) {
            return None;
        }
        let path = format!("/v1/locks/{}/events", self.name);
        let problem = Problem::from(error);
        let mut text = String::new();
        let revision = self.after.unwrap_or_default().0;
        write_event(
            &mut text,
            "unavailable",
            revision,
            &problem.document(&path, ""),
        );
        Some(text.into())
    }
}

/// What every stream tells besides: each change of the sidecar's mode, or of the reason for it. These
/// have no `id:`, since there is nothing to resume: a stream begins with what holds then.
fn mode_changes(sidecar: Arc<dyn Sidecar>) -> impl Stream<Item = Bytes> + Send {
    let standing = sidecar.standing();
    unfold((sidecar, standing), |(sidecar, mut standing)| async move {
        standing.changed().await.ok()?;
        let body = ModeBody::from(&sidecar.mode());
        let data = serde_json::to_string(&body).expect("text and numbers always become JSON");
        let text = format!("event: mode\ndata: {data}\n\n");
        Some((text.into(), (sidecar, standing)))
    })
}

fn write_event(text: &mut String, name: &str, revision: u64, body: &impl Serialize) {
    let data = serde_json::to_string(body).expect("text and numbers always become JSON");
    write!(text, "event: {name}\nid: {revision}\ndata: {data}\n\n")
        .expect("a String takes all that is written");
}

/// `main` with `besides` in between; ends with `main`, or when the process stops serving.
fn respond(
    main: impl Stream<Item = Bytes> + Send + 'static,
    besides: impl Stream<Item = Bytes> + Send + 'static,
    closing: CancellationToken,
) -> Response {
    let ending = main.map(Some).chain(once(ready(None)));
    let all = select(ending, besides.map(Some))
        .take_while(|text| ready(text.is_some()))
        .filter_map(|text| ready(text.map(Ok::<Bytes, Infallible>)))
        .take_until(closing.cancelled_owned());
    let mut response = (problem::DONE, Body::from_stream(all)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
