//! The routes under `/v1/locks`: who holds what, since when, and whether a token is still good.
//! In: requests that matched a path. Out: responses. Never: a read without saying what it is worth.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

use super::body::{self, BreakRequest, VerifyRequest};
use super::claims::json;
use super::events;
use super::lock_views::{BreakBody, VerifyBody, worth_of};
use super::problem::{self, Code, Problem};
use super::query::{self, Asks as _, Query};
use super::request;
use super::router::Face;
use crate::sidecar::handle::{BreakAnswer, Read};
use crate::table::id::Revision;
use crate::views::history::HistoryList;
use crate::views::locks::{LockBody, LockList};
use crate::views::worth::Worth;

const SIDELOCK_CONSISTENCY: HeaderName = HeaderName::from_static("sidelock-consistency");

/// List the locks that are in use
///
/// Those that are held, waited for or closed, in pages; nobody lists free ones.
#[utoipa::path(
    get, path = "/v1/locks", operation_id = "listLocks", tag = "locks",
    params(
        ("prefix" = inline(Option<String>), Query, description = "Only names that start with this"),
        ("state" = inline(Option<LockStateParam>), Query, description = "Only locks in this state"),
        ("limit" = inline(Option<u64>), Query, description = "Items of a page; 100 if absent", minimum = 1, maximum = 1000),
        ("cursor" = inline(Option<String>), Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 512),
        ("consistency" = inline(Option<ConsistencyParam>), Query, description = "Where the answer may come from"),
    ),
    responses((status = 200, description = "A page of locks, by name", body = LockList)),
)]
pub(super) async fn list_locks(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    const KNOWN: &[&str] = &["prefix", "state", "limit", "cursor", "consistency"];
    let query = Query::read(request.uri(), KNOWN)?.locks()?;
    drop(request);
    let (about, page) = split(face.sidecar.locks(query).await?);
    let read = worth_of(&about, face.sidecar.current_mode());
    let list = LockList::new(read, &page.items, page.next_cursor.as_deref());
    Ok(worth(read, json(&list)))
}

/// Show a lock
///
/// A lock that nobody uses is free. With `wait_revision`, waits until the lock has a later revision, at
/// most `wait_ms`.
#[utoipa::path(
    get, path = "/v1/locks/{name}", operation_id = "getLock", tag = "locks",
    params(
        ("name" = String, Path, description = "The lock's name, percent-encoded (`orders%2F42`)",
            min_length = 1, max_length = 512, example = "orders/42"),
        ("wait_revision" = inline(Option<u64>), Query, description = "Wait for a revision greater than this", minimum = 0),
        ("wait_ms" = inline(Option<u64>), Query, description = "How long to wait; 25000 if absent and a revision is given. The core answers after 60000 at the latest", minimum = 0, maximum = 3600000),
        ("consistency" = inline(Option<ConsistencyParam>), Query, description = "Where the answer may come from"),
    ),
    responses((status = 200, description = "How it stands", body = LockBody)),
)]
pub(super) async fn get_lock(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let name = query::lock_name(request.uri())?;
    let query = Query::read(request.uri(), &["wait_revision", "wait_ms", "consistency"])?;
    let (poll, consistency) = (query.poll()?, query.consistency()?);
    drop(request);
    let mut after = poll.after.map(Revision);
    if after.is_none() && poll.wait > Duration::ZERO {
        let now = face
            .sidecar
            .lock(&name, consistency, None, Duration::ZERO)
            .await?;
        after = Some(now.value.revision);
    }
    let (about, view) = split(
        face.sidecar
            .lock(&name, consistency, after, poll.wait)
            .await?,
    );
    let read = worth_of(&about, face.sidecar.current_mode());
    Ok(worth(read, json(&LockBody::new(read, &view))))
}

/// Stream the changes of a lock
///
/// First the current state, then each change, as an event named after the state (`free`, `held`,
/// `closed`) whose data is a `Lock`; `unavailable` with a problem while the lock cannot be read.
#[utoipa::path(
    get, path = "/v1/locks/{name}/events", operation_id = "streamLockEvents", tag = "locks",
    params(
        ("name" = String, Path, description = "The lock's name, percent-encoded", min_length = 1,
            max_length = 512, example = "orders/42"),
        ("Last-Event-ID" = inline(Option<u64>), Header, description = "Resume after this event", minimum = 0),
    ),
    responses((status = 200, description = "The events", content_type = "text/event-stream", body = String)),
)]
pub(super) async fn stream_lock_events(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let name = query::lock_name(request.uri())?;
    Query::read(request.uri(), &[])?;
    let after = events::last_event_id(request.headers())?;
    let closing = events::line(&request).closing();
    Ok(events::of_lock(face.sidecar.clone(), name, after, closing))
}

/// Show the history of a lock
///
/// Who got it and when, who waited and why each hold ended, as far back as the cell keeps it, in pages.
#[utoipa::path(
    get, path = "/v1/locks/{name}/history", operation_id = "getLockHistory", tag = "locks",
    params(
        ("name" = String, Path, description = "The lock's name, percent-encoded", min_length = 1,
            max_length = 512, example = "orders/42"),
        ("limit" = inline(Option<u64>), Query, description = "Items of a page; 100 if absent", minimum = 1, maximum = 1000),
        ("cursor" = inline(Option<String>), Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 20, pattern = "^[0-9]+$"),
    ),
    responses((status = 200, description = "A page of transitions, newest first", body = HistoryList)),
)]
pub(super) async fn get_lock_history(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let name = query::lock_name(request.uri())?;
    let (limit, cursor) = Query::read(request.uri(), &["limit", "cursor"])?
        .page(|cursor| cursor.len() <= 20 && cursor.parse::<u64>().is_ok())?;
    drop(request);
    let (about, page) = split(face.sidecar.history(&name, limit, cursor).await?);
    let list = HistoryList::new(&page.items, page.next_cursor.as_deref());
    let read = worth_of(&about, face.sidecar.current_mode());
    Ok(worth(read, json(&list)))
}

/// Check a fencing token
///
/// Always linearizable. `current`: no incompatible grant since; `held`: its claim holds now.
#[utoipa::path(
    post, path = "/v1/locks/{name}/verify", operation_id = "verifyToken", tag = "locks",
    params(("name" = String, Path, description = "The lock's name, percent-encoded", min_length = 1,
        max_length = 512, example = "orders/42")),
    request_body = VerifyRequest,
    responses((status = 200, description = "What the token is worth", body = VerifyBody)),
)]
pub(super) async fn verify_token(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let name = query::lock_name(request.uri())?;
    Query::read(request.uri(), &[])?;
    let token = body::token(&request::json(request).await?)?;
    let verified = face.sidecar.verify(&name, token).await?;
    Ok(json(&VerifyBody::new(
        verified,
        face.sidecar.current_mode(),
    )))
}

/// Take a lock away from its holders
///
/// For operators: served by the core's port, and here only in `dev` or with `--operator-routes`. The
/// lock is free when the holder's sidecar has acknowledged or its session is gone; with `force` at
/// once, although the old holder may still act.
#[utoipa::path(
    post, path = "/v1/locks/{name}/break", operation_id = "breakLock", tag = "locks",
    params(("name" = String, Path, description = "The lock's name, percent-encoded", min_length = 1,
        max_length = 512, example = "orders/42")),
    request_body = BreakRequest,
    responses(
        (status = 200, description = "Free, or nobody held it", body = BreakBody),
        (status = 202, description = "The holder's sidecar was asked", body = BreakBody),
    ),
)]
pub(super) async fn break_lock(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    if !face.operator_routes {
        return Err(Problem::new(
            Code::Forbidden,
            "breaking a lock is for operators: use the core's port, or start the sidecar with \
             --operator-routes",
        ));
    }
    let name = query::lock_name(request.uri())?;
    Query::read(request.uri(), &[])?;
    let (reason, force) = body::breaking(&request::json(request).await?)?;
    let answer = face.sidecar.break_lock(&name, reason, force).await?;
    let body = BreakBody::new(&name, answer, force, face.sidecar.current_mode());
    let mut response = json(&body);
    *response.status_mut() = match answer {
        BreakAnswer::NotHeld | BreakAnswer::Freed => problem::DONE,
        BreakAnswer::Asked => problem::ACCEPTED,
    };
    Ok(response)
}

/// Where a read may be answered from; available if absent.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(
    dead_code,
    reason = "only its schema is used: parameters are read as text"
)]
pub(super) enum ConsistencyParam {
    Available,
    Linearizable,
    Cached,
}

/// States by which locks can be listed.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(
    dead_code,
    reason = "only its schema is used: parameters are read as text"
)]
pub(super) enum LockStateParam {
    Held,
    Contended,
    Closed,
}

pub(super) fn split<T>(read: Read<T>) -> (Read<()>, T) {
    let Read {
        value,
        linearizable,
        age,
    } = read;
    let about = Read {
        value: (),
        linearizable,
        age,
    };
    (about, value)
}

/// Says in headers what the answer is worth.
pub(super) fn worth(read: Worth, mut response: Response) -> Response {
    let headers = response.headers_mut();
    let word = HeaderValue::from_static(read.consistency());
    headers.insert(SIDELOCK_CONSISTENCY, word);
    headers.insert(header::AGE, HeaderValue::from(read.age_seconds()));
    response
}
