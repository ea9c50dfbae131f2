//! The JSON of sessions: the sidecars of a cell and what they have.
//! In: tallies of the table. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null, a wall-clock time.

use serde::Serialize;
use utoipa::ToSchema;

use super::worth::{Worth, WorthBody};
use crate::table::survey::{SessionTally, SessionsView};

/// One sidecar and what it has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionItem)]
pub struct SessionBody<'a> {
    /// The core's number of the session.
    #[schema(example = 7)]
    session: u64,
    /// The sidecar: host or pod name.
    #[schema(example = "pod-1")]
    identity: &'a str,
    /// How long it lives without renewal.
    #[schema(example = 10000)]
    ttl_ms: u32,
    /// Claims that the core knows of, held or waiting.
    claims: u32,
    /// Of these, those that wait.
    waiting: u32,
    /// Of these, locks that the sidecar has to itself.
    delegations: u32,
}

impl<'a> From<&'a SessionTally> for SessionBody<'a> {
    fn from(tally: &'a SessionTally) -> Self {
        Self {
            session: tally.session.0,
            identity: &tally.identity,
            ttl_ms: tally.ttl_ms,
            claims: tally.claims,
            waiting: tally.waiting,
            delegations: tally.delegations,
        }
    }
}

/// The sidecars of the cell.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionList)]
pub struct SessionList<'a> {
    /// The oldest first.
    items: Vec<SessionBody<'a>>,
    /// There are more sessions, or more claims than were counted.
    truncated: bool,
    #[serde(flatten)]
    worth: WorthBody,
}

impl<'a> SessionList<'a> {
    /// Sessions, as they were read.
    pub fn new(worth: Worth, view: &'a SessionsView) -> Self {
        Self {
            items: view.sessions.iter().map(SessionBody::from).collect(),
            truncated: view.truncated,
            worth: worth.into(),
        }
    }
}
