//! The spans of a request and of the claim in it: what it asked for, what stood in its way, what it got.
//! In: headers, asks, answers. Out: spans, if the request is sampled. Never: a span of a request that is not.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use opentelemetry::propagation::Extractor;

use super::problem::Problem;
use super::request;
use crate::sidecar::handle::{ClaimAnswer, ClaimAsk, ClaimError, ClaimView, Trace};
use crate::table::command::Party;
use crate::table::id::ClaimId;
use crate::telemetry::names;
use crate::telemetry::traces::{self, Trail};

/// The trace of a request, as its handler finds it.
#[derive(Debug, Clone)]
pub(super) struct RequestTrace {
    /// W3C trace id: the caller's, or a new one.
    pub(super) id: Arc<str>,
    /// Its span.
    pub(super) trail: Trail,
}

impl RequestTrace {
    /// Begins the span of a request, if anybody would see it.
    pub(super) fn begin(request: &mut Request, route: &'static str) -> Trail {
        if !traces::is_on() {
            return Trail::default();
        }
        let method = request.method().as_str();
        let trail = Trail::incoming(method, route, &Headers(request.headers()));
        let Some(id) = trail.trace_id() else {
            return trail;
        };
        trail.set("http.request.method", method.to_owned());
        trail.set("http.route", route);
        let trace = Self {
            id: id.into(),
            trail: trail.clone(),
        };
        request.extensions_mut().insert(trace);
        trail
    }

    /// Of a request that went through the gate.
    pub(super) fn of(request: &Request) -> Self {
        let begun = request.extensions().get::<Self>().cloned();
        begun.unwrap_or_else(|| Self {
            id: request::trace_id(request.headers()),
            trail: Trail::default(),
        })
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// The span of a claim, from the request to its decision.
pub(super) struct ClaimSpan {
    trail: Trail,
    /// For whatever is done for it elsewhere.
    pub(super) trace: Trace,
}

impl ClaimSpan {
    /// Begins it. Its id is computed, so that the holder's span can be linked to it.
    pub(super) fn begin(request: &RequestTrace, id: &ClaimId, ask: &ClaimAsk) -> Self {
        let own = request
            .trail
            .is_on()
            .then(|| traces::acquire_span(&request.id, id.as_str()));
        let trail = request
            .trail
            .child("lock.acquire", own.flatten().map(|own| own.span_id()));
        if let Some(want) = ask.locks.first().filter(|_| trail.is_on()) {
            trail.set(names::LOCK_NAME, want.name.to_string());
            trail.set(names::LOCK_MODE, want.mode.word());
            trail.set_number(names::LOCK_COUNT, ask.locks.len());
            trail.set(names::LOCK_CLAIM_ID, id.to_string());
            if let Some(owner) = &ask.owner {
                trail.set(names::LOCK_OWNER, owner.to_string());
            }
        }
        let trace = Trace {
            id: Arc::clone(&request.id),
            parent: trail.traceparent(),
        };
        Self { trail, trace }
    }

    /// Ends it with the decision.
    pub(super) fn decided(&self, answer: &Result<ClaimAnswer, ClaimError>) {
        if !self.trail.is_on() {
            return;
        }
        match answer {
            Ok(ClaimAnswer::Granted(view) | ClaimAnswer::AlreadyGranted(view)) => {
                self.trail.set(names::LOCK_OUTCOME, "granted");
                if let Some(token) = view.tokens.first() {
                    self.trail.set_number(names::LOCK_TOKEN, token.get());
                }
                self.shown(view);
            }
            Ok(ClaimAnswer::Queued(view)) => {
                self.trail.set(names::LOCK_OUTCOME, "queued");
                self.shown(view);
            }
            Err(error) => self.refused(error),
        }
    }

    fn shown(&self, view: &ClaimView) {
        self.trail.set(names::LOCK_CACHED, view.local);
        self.trail
            .set(names::LOCK_WAIT_DURATION, view.waited.as_secs_f64());
        self.trail
            .set(names::LOCK_CONTENDED, view.obstacle.is_some());
        if let Some(obstacle) = &view.obstacle {
            self.trail
                .set(names::LOCK_QUEUE_POSITION, i64::from(obstacle.ahead));
            self.behind(obstacle.behind.as_ref());
        }
    }

    fn refused(&self, error: &ClaimError) {
        let problem = Problem::from(error.clone());
        self.trail.set(names::LOCK_OUTCOME, problem.code_word());
        match error {
            ClaimError::Held(contention) | ClaimError::WaitTimeout { contention, .. } => {
                self.trail.set(names::LOCK_CONTENDED, true);
                self.trail
                    .set(names::LOCK_QUEUE_WAITERS, i64::from(contention.waiters));
                self.behind(contention.holder.as_deref());
            }
            ClaimError::Unavailable(_) | ClaimError::Jeopardy(_) => {
                self.trail.fail(error.to_string());
            }
            ClaimError::LockDelay { .. }
            | ClaimError::Deadlock(_)
            | ClaimError::SemaphoreLimit { .. }
            | ClaimError::QueueFull { .. }
            | ClaimError::Conflict(_)
            | ClaimError::Ended(_)
            | ClaimError::NotFound(_)
            | ClaimError::Invalid(_)
            | ClaimError::Denied { .. } => {}
        }
    }

    /// Links it to the span of the hold in its way.
    fn behind(&self, party: Option<&Party>) {
        let Some(party) = party else {
            return;
        };
        let id = party.claim_id.as_str();
        self.trail.set_behind(id, &party.identity, &party.trace_id);
    }
}
