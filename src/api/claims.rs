//! Hop 1: the routes under `/v1/claims`. Each reads a request, asks the sidecar, shows the answer.
//! In: requests that matched a path. Out: responses. Never: a decision about a lock.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::{self, RenewRequest};
use super::claim_body::{ClaimRequest, read_claim};
use super::events::{self, Bound};
use super::gate::{SIDELOCK_MODE, mode_value};
use super::problem::{self, Problem};
use super::query::{self, Asks as _, Query};
use super::request;
use super::router::Face;
use super::spans::{ClaimSpan, RequestTrace};
use super::views::{ClaimBody, ClaimList, is_over};
use crate::sidecar::handle::{
    ClaimAnswer, ClaimAsk, ClaimError, ClaimView, ReleaseAnswer, Unavailable,
};
use crate::table::id::ClaimId;
use crate::telemetry::sidecar::Outcome;
use crate::world::clock::{BootClock, Clock};

/// A claim decided so long after the end of its wait is late.
const LATE_AFTER: Duration = Duration::from_secs(1);

const SIDELOCK_TOKEN: HeaderName = HeaderName::from_static("sidelock-token");
const SIDELOCK_CLAIM_ID: HeaderName = HeaderName::from_static("sidelock-claim-id");

/// Claim with an id of yours
///
/// Idempotent: the same id with the same body finds the same claim. The claim id is the holder: make a
/// new one for each attempt. While it waits (`wait_ms`), closing the connection cancels the claim,
/// unless it asked to `queue`.
#[utoipa::path(
    put, path = "/v1/claims/{claim_id}", operation_id = "putClaim", tag = "claims",
    params(("claim_id" = String, Path, description = "1 to 128 of A-Z a-z 0-9 . _ ~ -, not \".\" or \"..\"",
        min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._~-]+$", example = "c-7f3a")),
    request_body = ClaimRequest,
    responses(
        (status = 200, description = "It had been granted before", body = ClaimBody),
        (status = 201, description = "Granted", body = ClaimBody),
        (status = 202, description = "Queued; only with `queue`", body = ClaimBody),
        (status = 409, description = "lock-held, wait-timeout, lock-delay, deadlock, semaphore-limit or claim-conflict"),
        (status = 410, description = "claim-lost: the id is used up"),
    ),
)]
pub(super) async fn put_claim(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let id = query::claim_id(request.uri())?;
    Query::read(request.uri(), &[])?;
    let trace = RequestTrace::of(&request);
    let ask = read_claim(&request::json(request).await?)?;
    let answer = claim(&face, id, ask, &trace).await?;
    Ok(show_answer(&answer, false))
}

/// Claim with an id made here
///
/// With `Accept: text/event-stream` it claims, binds and streams in one request: the claim lives as long
/// as the connection, and its events come as from `streamClaimEvents` (status 200). With `wait_ms` the
/// stream then begins at once and tells when it is granted, or that the wait was over.
#[utoipa::path(
    post, path = "/v1/claims", operation_id = "createClaim", tag = "claims",
    request_body = ClaimRequest,
    responses(
        (status = 200, description = "The stream of the claim, if that was asked for", content_type = "text/event-stream", body = String),
        (status = 201, description = "Granted", body = ClaimBody),
        (status = 202, description = "Queued; only with `queue`", body = ClaimBody),
        (status = 409, description = "lock-held, wait-timeout, lock-delay, deadlock or semaphore-limit"),
        (status = 410, description = "claim-lost: it ended before it could be streamed"),
    ),
)]
pub(super) async fn create_claim(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    let trace = RequestTrace::of(&request);
    let stream = wants_stream(&request);
    let line = stream.then(|| events::line(&request));
    let mut ask = read_claim(&request::json(request).await?)?;
    let id = ClaimId::parse(&request::random_hex()).expect("hexadecimal digits are allowed");
    let Some(line) = line else {
        let answer = claim(&face, id, ask, &trace).await?;
        return Ok(show_answer(&answer, true));
    };
    // The stream is the waiting connection: it begins at once and tells of the grant.
    ask.queue |= ask.wait > Duration::ZERO;
    claim(&face, id.clone(), ask, &trace).await?;
    let closing = line.closing();
    let bound = Bound::new(&face.sidecar, &id, line)?;
    let named = header_of(&id);
    let sidecar = face.sidecar.clone();
    let mut response = events::of_claim(sidecar, id, None, Some(bound), closing);
    response.headers_mut().insert(SIDELOCK_CLAIM_ID, named);
    Ok(response)
}

fn header_of(id: &ClaimId) -> HeaderValue {
    HeaderValue::try_from(id.as_str()).expect("claim ids are made of ASCII characters")
}

fn wants_stream(request: &Request) -> bool {
    let headers = request.headers();
    request::names(headers, events::MEDIA_TYPE)
        && (!request::names(headers, "application/json")
            || request::quality(headers, events::MEDIA_TYPE)
                > request::quality(headers, "application/json"))
}

async fn claim(
    face: &Face,
    id: ClaimId,
    ask: ClaimAsk,
    trace: &RequestTrace,
) -> Result<ClaimAnswer, Problem> {
    let span = ClaimSpan::begin(trace, &id, &ask);
    let (asked, wait) = (BootClock.now(), ask.wait);
    let answer = face.sidecar.claim(id, ask, span.trace.clone()).await;
    span.decided(&answer);
    let instruments = face.sidecar.instruments();
    if let Ok(ClaimAnswer::Granted(_)) = answer {
        instruments.granted();
    }
    let late = BootClock.now().since(asked) > wait + LATE_AFTER;
    instruments.decided(outcome(&answer, late));
    answer.map_err(|error| Problem::from(error).traced(&trace.id))
}

/// How a decision counts. That it is no does not matter; that there was none does.
fn outcome(answer: &Result<ClaimAnswer, ClaimError>, late: bool) -> Outcome {
    match answer {
        Err(ClaimError::Unavailable(Unavailable::Draining)) => Outcome::Refused,
        Err(ClaimError::Unavailable(_) | ClaimError::Jeopardy(_)) => Outcome::Failed,
        Ok(_) | Err(_) if late => Outcome::Late,
        Ok(_) => Outcome::Granted,
        Err(_) => Outcome::Refused,
    }
}

fn show_answer(answer: &ClaimAnswer, created: bool) -> Response {
    let (status, view) = match answer {
        ClaimAnswer::Granted(view) => (problem::GRANTED, view),
        ClaimAnswer::AlreadyGranted(view) => (problem::DONE, view),
        ClaimAnswer::Queued(view) => (problem::ACCEPTED, view),
    };
    let mut response = show(view);
    *response.status_mut() = status;
    if created {
        let place = format!("/v1/claims/{}", view.claim_id);
        let place = HeaderValue::try_from(place).expect("claim ids are made of ASCII characters");
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Show a claim
///
/// With `wait_revision`, waits until the claim has a later revision, at most `wait_ms`.
#[utoipa::path(
    get, path = "/v1/claims/{claim_id}", operation_id = "getClaim", tag = "claims",
    params(
        ("claim_id" = String, Path, description = "The claim", min_length = 1, max_length = 128,
            pattern = "^[A-Za-z0-9._~-]+$", example = "c-7f3a"),
        ("wait_revision" = inline(Option<u64>), Query, description = "Wait for a revision greater than this", minimum = 0),
        ("wait_ms" = inline(Option<u64>), Query, description = "How long to wait; 25000 if absent and a revision is given", minimum = 0, maximum = 3600000),
    ),
    responses(
        (status = 200, description = "How it stands, or how it ended", body = ClaimBody),
        (status = 404, description = "not-found"),
    ),
)]
pub(super) async fn get_claim(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let id = query::claim_id(request.uri())?;
    let poll = Query::read(request.uri(), &["wait_revision", "wait_ms"])?.poll()?;
    drop(request);
    let mut after = poll.after;
    if after.is_none() && poll.wait > Duration::ZERO {
        after = Some(
            face.sidecar
                .claim_view(&id, None, Duration::ZERO)
                .await?
                .revision,
        );
    }
    let view = face.sidecar.claim_view(&id, after, poll.wait).await?;
    Ok(show(&view))
}

/// Renew the lease of a claim
///
/// Local: the core is asked only to publish a `value`.
#[utoipa::path(
    post, path = "/v1/claims/{claim_id}/renew", operation_id = "renewClaim", tag = "claims",
    params(("claim_id" = String, Path, description = "The claim", min_length = 1, max_length = 128,
        pattern = "^[A-Za-z0-9._~-]+$", example = "c-7f3a")),
    request_body = RenewRequest,
    responses(
        (status = 200, description = "Renewed", body = ClaimBody),
        (status = 404, description = "not-found"),
        (status = 410, description = "claim-lost"),
    ),
)]
pub(super) async fn renew_claim(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let id = query::claim_id(request.uri())?;
    Query::read(request.uri(), &[])?;
    let (ttl, value) = body::renewal(&request::optional_json(request).await?)?;
    Ok(show(&face.sidecar.renew(&id, ttl, value).await?))
}

/// Release a claim, or cancel it while it waits
///
/// Repeats are answered alike. An unknown id is used up, so that a DELETE that overtakes its PUT wins.
#[utoipa::path(
    delete, path = "/v1/claims/{claim_id}", operation_id = "releaseClaim", tag = "claims",
    params(("claim_id" = String, Path, description = "The claim", min_length = 1, max_length = 128,
        pattern = "^[A-Za-z0-9._~-]+$", example = "c-7f3a")),
    responses(
        (status = 202, description = "Accepted; delivered when the core is back"),
        (status = 204, description = "Released: the hold was valid until now, or it waited, or this is a repeat"),
        (status = 410, description = "claim-lost: it had ended otherwise"),
    ),
)]
pub(super) async fn release_claim(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let id = query::claim_id(request.uri())?;
    Query::read(request.uri(), &[])?;
    Ok(match face.sidecar.release(&id).await? {
        ReleaseAnswer::Released => problem::NOTHING_MORE.into_response(),
        ReleaseAnswer::Accepted => problem::ACCEPTED.into_response(),
    })
}

/// Stream the events of a claim
///
/// First the current state, as an event named after it (`granted`, `queued`, ...), then `granted`,
/// `renewed`, `recall-requested`, `jeopardy`, `safe`, `lost`, `released`, `expired`, `cancelled`,
/// `revoked`; the data of each is a `Claim`. A comment comes every 5 s. With `bind=true` the claim needs
/// no renewal while the stream is open; closing it without DELETE is the death of the holder, and a
/// stream that just breaks leaves the claim its ttl.
#[utoipa::path(
    get, path = "/v1/claims/{claim_id}/events", operation_id = "streamClaimEvents", tag = "claims",
    params(
        ("claim_id" = String, Path, description = "The claim", min_length = 1, max_length = 128,
            pattern = "^[A-Za-z0-9._~-]+$", example = "c-7f3a"),
        ("bind" = inline(Option<bool>), Query, description = "Tie the claim's life to this stream"),
        ("Last-Event-ID" = inline(Option<u64>), Header, description = "Resume after this event", minimum = 0),
    ),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 204, description = "The claim has ended and `Last-Event-ID` was its last event"),
        (status = 404, description = "not-found"),
        (status = 410, description = "claim-lost: it cannot be bound any more"),
    ),
)]
pub(super) async fn stream_claim_events(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let id = query::claim_id(request.uri())?;
    let bind = Query::read(request.uri(), &["bind"])?.flag("bind")?;
    let after = events::last_event_id(request.headers())?;
    let line = events::line(&request);
    let closing = line.closing();
    drop(request);
    let view = face.sidecar.claim_view(&id, None, Duration::ZERO).await?;
    if is_over(view.state) && after.is_some_and(|after| after >= view.revision) {
        return Ok(problem::NOTHING_MORE.into_response());
    }
    let bound = match bind {
        true => Some(Bound::new(&face.sidecar, &id, line)?),
        false => None,
    };
    Ok(events::of_claim(
        face.sidecar.clone(),
        id,
        after,
        bound,
        closing,
    ))
}

/// List the claims of this sidecar
///
/// Those that hold or wait, in pages; one that has ended can still be read by its id for a while.
#[utoipa::path(
    get, path = "/v1/claims", operation_id = "listClaims", tag = "claims",
    params(
        ("limit" = inline(Option<u64>), Query, description = "Items of a page; 100 if absent", minimum = 1, maximum = 1000),
        ("cursor" = inline(Option<String>), Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128),
    ),
    responses((status = 200, description = "A page of claims, by id", body = ClaimList)),
)]
pub(super) async fn list_claims(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let (limit, cursor) = Query::read(request.uri(), &["limit", "cursor"])?
        .page(|cursor| ClaimId::parse(cursor).is_ok())?;
    let page = face.sidecar.claims(limit, cursor.as_deref());
    Ok(json(&ClaimList::from(&page)))
}

fn show(view: &ClaimView) -> Response {
    let mut response = json(&ClaimBody::from(view));
    let headers = response.headers_mut();
    headers.insert(SIDELOCK_MODE, mode_value(view.mode));
    if let [token] = view.tokens.as_slice() {
        headers.insert(SIDELOCK_TOKEN, HeaderValue::from(token.get()));
    }
    headers.insert(SIDELOCK_CLAIM_ID, header_of(&view.claim_id));
    response
}

/// An answer of 200 with this body.
pub(super) fn json(body: &impl Serialize) -> Response {
    // Most claims take less than half of it.
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, body).expect("text and numbers always become JSON");
    let mut response = Response::new(Body::from(bytes));
    // Made to fit at once: it would grow twice, and a claim's answer has seven.
    *response.headers_mut() = HeaderMap::with_capacity(8);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
