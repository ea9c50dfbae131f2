//! The operators' refusals as RFC 9457 problems. The only file of the core that knows a status code.
//! In: what a handler refuses. Out: `application/problem+json`. Never: a status without its code.

use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::group::{ProposeError, ReadError};
use super::membership::ChangeError;

/// Every problem's type is this and its code; the local API has the same base.
const TYPE_BASE: &str = "https://sidelock.dev/problems/";

/// It was accepted, and is not done yet.
pub const ACCEPTED: StatusCode = StatusCode::ACCEPTED;

/// What a problem is about: its code, status, title and whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed.
    InvalidRequest,
    /// Not from here.
    Forbidden,
    /// No such route, node or applicant.
    NotFound,
    /// The route has other methods.
    MethodNotAllowed,
    /// It would be wrong now.
    MembershipConflict,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// The body is too large.
    TooLarge,
    /// Another node leads.
    NotLeader,
    /// No leader is known, or no quorum answers.
    NoQuorum,
    /// The node is not ready.
    NotReady,
    /// A node that has to take part does not answer.
    NodeUnreachable,
}

impl Kind {
    fn face(self) -> (&'static str, StatusCode, &'static str, bool) {
        match self {
            Self::InvalidRequest => (
                "invalid-request",
                StatusCode::BAD_REQUEST,
                "Invalid request",
                false,
            ),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "Forbidden", false),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "Not found", false),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                false,
            ),
            Self::MembershipConflict => (
                "membership-conflict",
                StatusCode::CONFLICT,
                "The membership cannot change so",
                false,
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type",
                false,
            ),
            Self::TooLarge => (
                "too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Body too large",
                false,
            ),
            Self::NotLeader => (
                "not-leader",
                StatusCode::TEMPORARY_REDIRECT,
                "Another node leads",
                true,
            ),
            Self::NoQuorum => (
                "no-quorum",
                StatusCode::SERVICE_UNAVAILABLE,
                "No quorum",
                true,
            ),
            Self::NotReady => (
                "not-ready",
                StatusCode::SERVICE_UNAVAILABLE,
                "Not ready",
                true,
            ),
            Self::NodeUnreachable => (
                "node-unreachable",
                StatusCode::SERVICE_UNAVAILABLE,
                "A node does not answer",
                true,
            ),
        }
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    detail: String,
    instance: Option<String>,
    /// The same with its query, for `Location`.
    target: Option<String>,
    /// `HOST:PORT` of the leader's operator HTTP, for [`Kind::NotLeader`].
    leader: Option<String>,
}

impl Problem {
    /// A body that did not come whole, or has more bytes than `most`.
    pub fn of_body(refused: &BytesRejection, most: usize) -> Self {
        match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(Kind::TooLarge, format!("a body has at most {most} bytes"))
            }
            _ => Self::new(Kind::InvalidRequest, refused.body_text()),
        }
    }

    /// A refusal with a text for people.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            instance: None,
            target: None,
            leader: None,
        }
    }

    /// With the path that was asked for.
    #[must_use]
    pub fn at(mut self, uri: &Uri) -> Self {
        self.instance = Some(uri.path().to_owned());
        self.target = uri.path_and_query().map(ToString::to_string);
        self
    }

    /// A read that cannot be confirmed; `leader` as in [`Self::of_proposal`].
    pub fn of_read(error: &ReadError, leader: Option<String>) -> Self {
        match error {
            ReadError::NotLeader => Self::not_leader(leader),
            ReadError::NoQuorum => Self::new(Kind::NoQuorum, error.to_string()),
            ReadError::Stopped(_) => Self::new(Kind::NotReady, error.to_string()),
        }
    }

    fn not_leader(leader: Option<String>) -> Self {
        match leader {
            Some(leader) => Self {
                leader: Some(leader),
                ..Self::new(
                    Kind::NotLeader,
                    "ask the leader, whose address is in Location",
                )
            },
            None => Self::new(Kind::NoQuorum, "no leader is known"),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::NotLeader(leader) => Self::not_leader(leader.map(|leader| leader.http)),
            ChangeError::NotFound(_) => Self::new(Kind::NotFound, detail),
            ChangeError::Refused(_) => Self::new(Kind::MembershipConflict, detail),
            ChangeError::Call(_) => Self::new(Kind::NodeUnreachable, detail),
            ChangeError::Unknown(_) => Self::new(Kind::NoQuorum, detail),
        }
    }
}

impl Problem {
    /// For a proposal that has no reply; `leader` is the leader's operator HTTP if another node leads.
    pub fn of_proposal(error: &ProposeError, leader: Option<String>) -> Self {
        match error {
            ProposeError::NotLeader => Self::not_leader(leader),
            ProposeError::Unknown => Self::new(Kind::NoQuorum, error.to_string()),
            ProposeError::Stopped(_) => Self::new(Kind::NotReady, error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, status, title, retryable) = self.kind.face();
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("{TYPE_BASE}{code}")));
        body.insert("title".into(), json!(title));
        body.insert("status".into(), json!(status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        if let Some(instance) = &self.instance {
            body.insert("instance".into(), json!(instance));
        }
        body.insert("code".into(), json!(code));
        body.insert("retryable".into(), json!(retryable));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            body.insert("retry_after_ms".into(), json!(1_000));
        }
        if let Some(leader) = &self.leader {
            body.insert("leader".into(), json!(leader));
        }
        let mut response = (status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let (Some(leader), Some(path)) = (&self.leader, &self.target) {
            // A path that came as a URI and an address that we bound make a header value.
            if let Ok(location) = HeaderValue::from_str(&format!("http://{leader}{path}")) {
                headers.insert(header::LOCATION, location);
            }
        }
        response
    }
}
