//! The JSON that goes out: one schema for each thing, times in relative milliseconds.
//! In: views of the sidecar. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null (what is absent is left out), a wall-clock time, a closed enum.

use serde::Serialize;
use utoipa::ToSchema;

use crate::sidecar::handle::{ClaimEventKind, ClaimState, ClaimView, Page, Reason};
use crate::views::words::ms;

/// Whether the claim has ended.
pub(super) fn is_over(state: ClaimState) -> bool {
    match state {
        ClaimState::Queued | ClaimState::Granted | ClaimState::Jeopardy => false,
        ClaimState::Released
        | ClaimState::Expired
        | ClaimState::Lost
        | ClaimState::Cancelled
        | ClaimState::Revoked => true,
    }
}

/// The name of an event. The first of a stream is named after the state it shows, so that a client
/// that listens for `granted` hears of it whenever it was granted.
pub(super) fn event_word(kind: ClaimEventKind, state: ClaimState) -> &'static str {
    match kind {
        ClaimEventKind::State => state.word(),
        ClaimEventKind::Queued => "queued",
        ClaimEventKind::Granted => "granted",
        ClaimEventKind::Renewed => "renewed",
        ClaimEventKind::RecallRequested => "recall-requested",
        ClaimEventKind::Jeopardy => "jeopardy",
        ClaimEventKind::Safe => "safe",
        ClaimEventKind::Lost => "lost",
        ClaimEventKind::Released => "released",
        ClaimEventKind::Expired => "expired",
        ClaimEventKind::Cancelled => "cancelled",
        ClaimEventKind::Revoked => "revoked",
    }
}

/// One claim: the request for one or more locks and, once granted, the hold. All times are relative
/// milliseconds; those that remain count from when the request was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Claim)]
pub(super) struct ClaimBody<'a> {
    /// The holder.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9._~-]+$",
        example = "c-7f3a"
    )]
    claim_id: &'a str,
    /// Open enum: queued, granted, jeopardy, released, expired, lost, cancelled, revoked.
    #[schema(example = "granted")]
    state: &'static str,
    /// Why it is in this state, where that is not obvious. Open enum: ttl-expired, stream-closed,
    /// session-expired, session-lost, wait-timeout, caller-gone, unattended, deleted, deadlock,
    /// broken, deadline-passed, refused, draining.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// The fencing token: only of a claim on one lock, once granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        minimum = 1,
        maximum = 9007199254740991_i64,
        example = 42
    )]
    token: Option<u64>,
    /// The locks in the order asked for.
    locks: Vec<ClaimLock<'a>>,
    /// Left of the app's own lease; renew at a third of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 10000)]
    expires_in_ms: Option<u64>,
    /// For so long the hold is certain even if the core is never heard of again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 9650)]
    safe_for_ms: Option<u64>,
    /// The end of that, as milliseconds of this machine's CLOCK_BOOTTIME.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 86409650)]
    safe_until_boottime_ms: Option<u64>,
    /// How long it waited, or has been waiting.
    #[schema(example = 0)]
    waited_ms: u64,
    /// Granted without asking the core.
    local: bool,
    /// This answer repeats an earlier one.
    replayed: bool,
    /// Open enum: normal, jeopardy, read-only.
    #[schema(example = "normal")]
    sidelock_mode: &'static str,
    /// Counts the changes of this claim.
    #[schema(minimum = 1, example = 1)]
    revision: u64,
}

/// One lock of a claim.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClaimLock)]
pub(super) struct ClaimLock<'a> {
    /// Its name.
    #[schema(min_length = 1, max_length = 512, example = "orders/42")]
    name: &'a str,
    /// Open enum: exclusive, shared, semaphore.
    #[schema(example = "exclusive")]
    mode: &'static str,
    /// Its fencing token, once granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        minimum = 1,
        maximum = 9007199254740991_i64,
        example = 42
    )]
    token: Option<u64>,
}

impl<'a> From<&'a ClaimView> for ClaimBody<'a> {
    fn from(view: &'a ClaimView) -> Self {
        let token = match view.tokens.as_slice() {
            [one] if view.locks.len() == 1 => Some(one.get()),
            _ => None,
        };
        Self {
            claim_id: view.claim_id.as_str(),
            state: view.state.word(),
            reason: view.reason.map(Reason::word),
            token,
            locks: view
                .locks
                .iter()
                .enumerate()
                .map(|(place, want)| ClaimLock {
                    name: want.name.as_str(),
                    mode: want.mode.word(),
                    token: view.tokens.get(place).map(|token| token.get()),
                })
                .collect(),
            expires_in_ms: view.expires_in.map(ms),
            safe_for_ms: view.safe_for.map(ms),
            safe_until_boottime_ms: view.safe_until.map(|until| ms(until.since_boot())),
            waited_ms: ms(view.waited),
            local: view.local,
            replayed: view.replayed,
            sidelock_mode: view.mode.word(),
            revision: view.revision,
        }
    }
}

/// A page of claims.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClaimList)]
pub(super) struct ClaimList<'a> {
    /// By claim id.
    items: Vec<ClaimBody<'a>>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<&'a str>,
}

impl<'a> From<&'a Page<ClaimView>> for ClaimList<'a> {
    fn from(page: &'a Page<ClaimView>) -> Self {
        Self {
            items: page.items.iter().map(ClaimBody::from).collect(),
            next_cursor: page.next_cursor.as_deref(),
        }
    }
}
