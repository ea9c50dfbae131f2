//! The webhook's refusals as RFC 9457 problems. The only file of the injector that knows a status code.
//! In: what is wrong with a request. Out: `application/problem+json`. Never: a pod refused; that is no problem.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Every problem's type is this and its code; the local API has the same base.
const TYPE_BASE: &str = "https://sidelock.dev/problems/";

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not an AdmissionReview.
    InvalidRequest,
    /// No such route.
    NotFound,
    /// The route has another method.
    MethodNotAllowed,
    /// The review took too long to arrive.
    Timeout,
    /// The review is larger than any can be.
    TooLarge,
    /// Not now.
    NotReady,
}

impl Kind {
    fn face(self) -> (&'static str, StatusCode, &'static str, bool) {
        match self {
            Self::InvalidRequest => (
                "invalid-request",
                StatusCode::BAD_REQUEST,
                "The request is not valid",
                false,
            ),
            Self::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "There is no such thing",
                false,
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The path has no such method",
                false,
            ),
            Self::Timeout => (
                "request-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "The request did not arrive in time",
                true,
            ),
            Self::TooLarge => (
                "too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large",
                false,
            ),
            Self::NotReady => (
                "not-ready",
                StatusCode::SERVICE_UNAVAILABLE,
                "Not ready",
                true,
            ),
        }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
}

impl Problem {
    /// With words for people.
    pub(super) fn new(kind: Kind, detail: impl std::fmt::Display) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, status, title, retryable) = self.kind.face();
        let body = json!({
            "type": format!("{TYPE_BASE}{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
            "code": code,
            "retryable": retryable,
        });
        let media_type = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, media_type, body.to_string()).into_response()
    }
}
