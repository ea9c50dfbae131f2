//! The JSON of a lock's history.
//! In: history records. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null, a wall-clock time, a closed enum.

use serde::Serialize;
use utoipa::ToSchema;

use super::words::cause_word;
use crate::table::id::Token;
use crate::table::state::HistoryEvent;
use crate::table::view::HistoryView;

/// One transition of a claim on the lock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryItem)]
pub struct HistoryBody<'a> {
    /// Its place in the history.
    revision: u64,
    /// The log index at which it happened.
    log_index: u64,
    /// Open enum: queued, granted, ended (it held), left (it waited), deadlocked, break-asked.
    #[schema(example = "granted")]
    event: &'static str,
    /// Why it ended. Open enum: released, cancelled, lease-expired, stream-closed, grant-too-late,
    /// session-expired, session-closed, broken, deadlock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cause: Option<&'static str>,
    /// All locks of the claim.
    locks: Vec<HistoryLock<'a>>,
    /// The app's id of the claim.
    claim_id: &'a str,
    /// The party it belongs to.
    owner: &'a str,
    /// Its sidecar: host or pod name.
    identity: &'a str,
    /// The W3C trace id of the request.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    trace_id: &'a str,
    /// How long it waited, as its sidecar measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waited_ms: Option<u64>,
    /// How long it held, as its sidecar measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    held_ms: Option<u64>,
    /// Operator and reason, for a break.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    note: &'a str,
}

/// One lock in a history record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryLock)]
pub struct HistoryLock<'a> {
    /// Its name.
    name: &'a str,
    /// Open enum: exclusive, shared, semaphore.
    mode: &'static str,
    /// The fencing token, if it held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<u64>,
}

impl<'a> From<&'a HistoryView> for HistoryBody<'a> {
    fn from(view: &'a HistoryView) -> Self {
        let record = &view.record;
        let mut body = Self {
            revision: view.revision.0,
            log_index: record.index,
            event: "queued",
            cause: None,
            locks: Vec::new(),
            claim_id: record.claim_id.as_str(),
            owner: record.owner.as_str(),
            identity: &record.identity,
            trace_id: &record.trace_id,
            waited_ms: None,
            held_ms: None,
            note: "",
        };
        let mut held: &[Token] = &[];
        match view.event() {
            HistoryEvent::Queued => {}
            HistoryEvent::Granted { tokens } => {
                body.event = "granted";
                held = tokens;
            }
            HistoryEvent::Ended {
                tokens,
                cause,
                waited_ms,
                held_ms,
                note,
            } => {
                body.event = "ended";
                body.cause = Some(cause_word(*cause));
                body.waited_ms = *waited_ms;
                body.held_ms = *held_ms;
                body.note = note;
                held = tokens;
            }
            HistoryEvent::Left { cause, .. } => {
                body.event = "left";
                body.cause = Some(cause_word(*cause));
            }
            HistoryEvent::Deadlocked { .. } => body.event = "deadlocked",
            HistoryEvent::BreakAsked { note } => {
                body.event = "break-asked";
                body.note = note;
            }
        }
        body.locks = record
            .locks
            .iter()
            .enumerate()
            .map(|(place, want)| HistoryLock {
                name: want.name.as_str(),
                mode: want.mode.word(),
                token: held.get(place).map(|token| token.get()),
            })
            .collect();
        body
    }
}

impl HistoryBody<'_> {
    /// The same for people.
    pub fn sentence(&self) -> String {
        let (claim, on) = (self.claim_id, self.identity);
        match self.cause {
            Some(cause) => format!("{claim} on {on} {}, {cause}", self.event),
            None => format!("{claim} on {on} {}", self.event),
        }
    }
}

/// A page of history, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryList)]
pub struct HistoryList<'a> {
    /// Newest first.
    items: Vec<HistoryBody<'a>>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<&'a str>,
}

impl<'a> HistoryList<'a> {
    /// A page, as it was read.
    pub fn new(items: &'a [HistoryView], next_cursor: Option<&'a str>) -> Self {
        Self {
            items: items.iter().map(HistoryBody::from).collect(),
            next_cursor,
        }
    }
}
