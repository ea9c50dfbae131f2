//! Every refusal as an RFC 9457 problem. The only file that knows a status code.
//! In: typed errors of the sidecar, faults of a request. Out: `application/problem+json`.
//! Never: a `_` in the map from errors, so that each new one picks its face.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::sidecar::handle::{ClaimError, ClaimView, Contention, Unavailable};
use crate::table::command::CycleEdge;
use crate::views::waits::{EdgeBody, PartyBody};
use crate::views::words::ms;

/// All problem types live under this one base; the last part is the code.
pub(super) const TYPE_BASE: &str = "https://sidelock.dev/problems/";
/// The media type of every refusal.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Granted by this request.
pub(super) const GRANTED: StatusCode = StatusCode::CREATED;
/// The claim was granted before, or another request succeeded.
pub(super) const DONE: StatusCode = StatusCode::OK;
/// Waits, or will be delivered later.
pub(super) const ACCEPTED: StatusCode = StatusCode::ACCEPTED;
/// Released, or nothing more to tell.
pub(super) const NOTHING_MORE: StatusCode = StatusCode::NO_CONTENT;

/// Makes the enum of codes and its one table.
macro_rules! codes {
    ($($name:ident = $code:literal, $status:ident, $retryable:literal, $title:literal;)*) => {
        /// What kind of problem; what a client switches on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code { $(#[doc = $title] $name),* }

        impl Code {
            /// Each of them, for the documentation.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word in `code` and at the end of `type`.
            pub(super) fn word(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            pub(super) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// Whether the same request may succeed later.
            fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable),* }
            }

            pub(super) fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid-request", BAD_REQUEST, false, "The request is not valid";
    Unauthorized = "unauthorized", UNAUTHORIZED, false, "A token is needed";
    Forbidden = "forbidden", FORBIDDEN, false, "This is not allowed here";
    NotFound = "not-found", NOT_FOUND, false, "There is no such thing";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, false, "The path has no such method";
    NotAcceptable = "not-acceptable", NOT_ACCEPTABLE, false, "There is no answer of an accepted media type";
    Timeout = "request-timeout", REQUEST_TIMEOUT, true, "The request did not arrive in time";
    LockHeld = "lock-held", CONFLICT, true, "The lock is held";
    WaitTimeout = "wait-timeout", CONFLICT, true, "The wait was over first";
    LockDelay = "lock-delay", CONFLICT, true, "The lock is closed after its holder died";
    Deadlock = "deadlock", CONFLICT, true, "Waiting would be a deadlock";
    ClaimConflict = "claim-conflict", CONFLICT, false, "The claim id is in use with another body";
    SemaphoreLimit = "semaphore-limit", CONFLICT, false, "The semaphore has another limit";
    ClaimLost = "claim-lost", GONE, false, "The claim has ended";
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, false, "The body is too large";
    UriTooLong = "uri-too-long", URI_TOO_LONG, false, "The request target is too long";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, false, "The body is not declared as JSON";
    QuotaExceeded = "quota-exceeded", TOO_MANY_REQUESTS, true, "A quota is used up";
    Overloaded = "overloaded", TOO_MANY_REQUESTS, true, "Too many requests are waiting";
    HeadTooLarge = "headers-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, false, "The request's header is too large";
    Internal = "internal", INTERNAL_SERVER_ERROR, false, "The sidecar made a mistake";
    NoQuorum = "no-quorum", SERVICE_UNAVAILABLE, true, "The cell has no quorum";
    CoreUnreachable = "core-unreachable", SERVICE_UNAVAILABLE, true, "No core node answers";
    Jeopardy = "jeopardy", SERVICE_UNAVAILABLE, true, "It is not known whether the session still stands";
    SessionLost = "session-lost", SERVICE_UNAVAILABLE, true, "The session was lost";
    Draining = "draining", SERVICE_UNAVAILABLE, true, "The sidecar is stopping";
}

/// One refusal. The gate adds `instance` and `trace_id` and writes it out.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// Extension members.
    more: Vec<(&'static str, Value)>,
    header: Option<(HeaderName, HeaderValue)>,
    trace_id: Option<String>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            retry_after: None,
            more: Vec::new(),
            header: None,
            trace_id: None,
        }))
    }

    /// The caller's mistake.
    pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// With an extension member.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.more.push((name, value.into()));
        self
    }

    /// Tells when trying again may make sense.
    pub(super) fn after(mut self, retry_after: Duration) -> Self {
        self.0.retry_after = Some(retry_after);
        self
    }

    /// With a header that the status asks for.
    pub(super) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.0.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// Names the trace that the request was handled under.
    pub(super) fn traced(mut self, trace_id: &str) -> Self {
        self.0.trace_id = Some(trace_id.to_owned());
        self
    }

    /// The stable word of what it is.
    pub(super) fn code_word(&self) -> &'static str {
        self.0.code.word()
    }

    pub(super) fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// What hyper or the connection refused before any handler saw it, by the status it chose.
    pub(super) fn of_refused_head(status: u16) -> Self {
        match status {
            408 => Self::new(Code::Timeout, "the request's header did not arrive in time"),
            414 => Self::new(Code::UriTooLong, "the request target is too long"),
            431 => Self::new(
                Code::HeadTooLarge,
                format!(
                    "the request line and header fields must have at most {} bytes and 100 fields",
                    crate::config::limits::HEAD_BYTES_MAX
                ),
            ),
            _ => Self::invalid("this is not a well-formed HTTP/1.1 request"),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// The body.
    pub(super) fn document<'a>(&'a self, instance: &'a str, trace_id: &'a str) -> Document<'a> {
        Document {
            parts: &self.0,
            instance,
            trace_id,
        }
    }

    /// Whole seconds for `Retry-After`, rounded up.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.0
            .retry_after
            .map(|after| u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// The finished response.
    pub(super) fn render(&self, instance: &str, trace_id: &str) -> Response {
        let body = serde_json::to_vec(&self.document(instance, trace_id))
            .expect("text and numbers always become JSON");
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some((name, value)) = &self.0.header {
            headers.insert(name.clone(), value.clone());
        }
        response
    }
}

/// The JSON of a problem. Absent, never null.
pub(super) struct Document<'a> {
    parts: &'a Parts,
    instance: &'a str,
    trace_id: &'a str,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Parts {
            code,
            detail,
            retry_after,
            more,
            ..
        } = self.parts;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("{TYPE_BASE}{}", code.word()))?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("instance", self.instance)?;
        map.serialize_entry("code", code.word())?;
        map.serialize_entry("retryable", &code.retryable())?;
        if let Some(after) = retry_after {
            map.serialize_entry("retry_after_ms", &ms(*after))?;
        }
        map.serialize_entry("trace_id", self.trace_id)?;
        for (name, value) in more {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Hands the problem to the gate, which alone knows the request it answers.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ClaimError> for Problem {
    fn from(error: ClaimError) -> Self {
        let detail = error.to_string();
        match error {
            ClaimError::Held(contention) => contended(Code::LockHeld, detail, &contention),
            ClaimError::WaitTimeout { waited, contention } => {
                contended(Code::WaitTimeout, detail, &contention).with("waited_ms", ms(waited))
            }
            ClaimError::LockDelay { lock, delay } => Self::new(Code::LockDelay, detail)
                .with("lock", lock.as_str())
                .with("lock_delay_ms", ms(delay))
                .after(delay),
            ClaimError::Deadlock(cycle) => Self::new(Code::Deadlock, detail)
                .with("cycle", cycle.iter().map(edge).collect::<Value>()),
            ClaimError::SemaphoreLimit { lock, limit } => Self::new(Code::SemaphoreLimit, detail)
                .with("lock", lock.as_str())
                .with("limit", limit),
            ClaimError::QueueFull {
                lock,
                waiters_max,
                policy,
            } => Self::new(Code::QuotaExceeded, detail)
                .with("lock", lock.as_str())
                .with("waiters_max", waiters_max)
                .with("policy", &*policy)
                .after(Duration::from_secs(1)),
            ClaimError::Conflict(id) => {
                Self::new(Code::ClaimConflict, detail).with("claim_id", id.as_str())
            }
            ClaimError::Ended(view) => ended(Code::ClaimLost, detail, &view),
            ClaimError::NotFound(id) => {
                Self::new(Code::NotFound, detail).with("claim_id", id.as_str())
            }
            ClaimError::Jeopardy(view) => {
                ended(Code::Jeopardy, detail, &view).after(Duration::from_secs(1))
            }
            ClaimError::Invalid(_) => Self::invalid(detail),
            ClaimError::Denied { lock } => {
                Self::new(Code::Forbidden, detail).with("lock", lock.as_str())
            }
            ClaimError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        let detail = error.to_string();
        match error {
            Unavailable::NoQuorum { retry_after } => {
                Self::new(Code::NoQuorum, detail).after(retry_after)
            }
            Unavailable::CoreUnreachable { retry_after } => {
                Self::new(Code::CoreUnreachable, detail).after(retry_after)
            }
            // Its keeper is in jeopardy, or will be.
            Unavailable::Jeopardy { retry_after } | Unavailable::NoDelegate { retry_after } => {
                Self::new(Code::Jeopardy, detail).after(retry_after)
            }
            Unavailable::SessionLost { retry_after } => {
                Self::new(Code::SessionLost, detail).after(retry_after)
            }
            // Whoever asks again asks the process that takes this one's place.
            Unavailable::Draining => {
                Self::new(Code::Draining, detail).after(Duration::from_secs(1))
            }
            Unavailable::Forbidden => Self::new(Code::Forbidden, detail),
            Unavailable::Overloaded { retry_after } => {
                Self::new(Code::Overloaded, detail).after(retry_after)
            }
        }
    }
}

fn contended(code: Code, detail: String, contention: &Contention) -> Problem {
    let problem = Problem::new(code, detail)
        .with("lock", contention.lock.as_str())
        .with("queue_length", contention.waiters)
        .after(contention.retry_after);
    match &contention.holder {
        Some(holder) => problem.with("holder", json!(PartyBody::from(&**holder))),
        None => problem,
    }
}

fn ended(code: Code, detail: String, view: &ClaimView) -> Problem {
    let problem = Problem::new(code, detail)
        .with("claim_id", view.claim_id.as_str())
        .with("state", view.state.word());
    match view.reason {
        Some(reason) => problem.with("reason", reason.word()),
        None => problem,
    }
}

fn edge(edge: &CycleEdge) -> Value {
    json!(EdgeBody::from(edge))
}
