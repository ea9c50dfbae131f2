//! The JSON of locks: who holds them and who waits.
//! In: views of the table. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null, a wall-clock time, a closed enum.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::words::{ms, state_word};
use super::worth::Worth;
use crate::table::command::Mode;
use crate::table::view::{HolderView, LockView, WaiterView};

fn permits(mode: Mode) -> (Option<u32>, Option<u32>) {
    match mode {
        Mode::Semaphore { permits, limit } => (Some(permits), Some(limit)),
        Mode::Exclusive | Mode::Shared => (None, None),
    }
}

/// One lock: who holds it and who waits for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lock)]
pub struct LockBody<'a> {
    /// Its name.
    #[schema(min_length = 1, max_length = 512, example = "orders/42")]
    name: &'a str,
    /// Open enum: free, held, closed (for a lock-delay, after its holder died).
    #[schema(example = "held")]
    state: &'static str,
    /// How it is held. Open enum: exclusive, shared, semaphore. Absent while nobody holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "exclusive")]
    mode: Option<&'static str>,
    /// The fencing token of the one exclusive holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        minimum = 1,
        maximum = 9007199254740991_i64,
        example = 42
    )]
    token: Option<u64>,
    /// Who holds it.
    holders: Vec<HolderBody<'a>>,
    /// How many claims wait in all.
    queue_length: u32,
    /// Who waits, in order; at most the first 100.
    queue: Vec<WaiterBody<'a>>,
    /// The whole lock-delay, while it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_delay_ms: Option<u32>,
    /// The last visible change of the lock; for `wait_revision`.
    revision: u64,
    /// Open enum: linearizable, cached.
    #[schema(example = "linearizable")]
    consistency: &'static str,
    /// Bound of the age of this answer; 0 when linearizable.
    age_ms: u64,
    /// Open enum: normal, jeopardy, read-only.
    #[schema(example = "normal")]
    sidelock_mode: &'static str,
}

/// One holder of a lock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Holder)]
pub struct HolderBody<'a> {
    /// The app's id of the claim, unique within its sidecar.
    claim_id: &'a str,
    /// The party it belongs to.
    owner: &'a str,
    /// Its sidecar: host or pod name.
    identity: &'a str,
    /// Open enum: exclusive, shared, semaphore.
    mode: &'static str,
    /// Of a semaphore.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    permits: Option<u32>,
    /// Of a semaphore.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<u32>,
    /// Its fencing token.
    #[schema(minimum = 1, maximum = 9007199254740991_i64)]
    token: u64,
    /// Free text of the app.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    metadata: &'a BTreeMap<String, String>,
    /// What it publishes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<&'a str>,
    /// Whether an operator wants it gone.
    breaking: bool,
}

/// One waiter of a lock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Waiter)]
pub struct WaiterBody<'a> {
    /// The app's id of the claim, unique within its sidecar.
    claim_id: &'a str,
    /// The party it belongs to.
    owner: &'a str,
    /// Its sidecar: host or pod name.
    identity: &'a str,
    /// Open enum: exclusive, shared, semaphore.
    mode: &'static str,
    /// Of a semaphore.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    permits: Option<u32>,
    /// Higher goes first.
    priority: u8,
}

impl<'a> LockBody<'a> {
    /// One lock, as it was read.
    pub fn new(worth: Worth, view: &'a LockView) -> Self {
        let token = match view.holders.as_slice() {
            [one] if one.mode == Mode::Exclusive => Some(one.token.get()),
            _ => None,
        };
        Self {
            name: view.name.as_str(),
            state: state_word(!view.holders.is_empty(), view.lock_delay_ms.is_some()),
            mode: view.holders.first().map(|holder| holder.mode.word()),
            token,
            holders: view.holders.iter().map(HolderBody::from).collect(),
            queue_length: view.waiters,
            queue: view.queue.iter().map(WaiterBody::from).collect(),
            lock_delay_ms: view.lock_delay_ms,
            revision: view.revision.0,
            consistency: worth.consistency(),
            age_ms: ms(worth.age),
            sidelock_mode: worth.mode,
        }
    }

    /// The name of the event that shows it.
    pub fn event_word(&self) -> &'static str {
        self.state
    }
}

impl<'a> From<&'a HolderView> for HolderBody<'a> {
    fn from(view: &'a HolderView) -> Self {
        let (permits, limit) = permits(view.mode);
        Self {
            claim_id: view.claim_id.as_str(),
            owner: view.owner.as_str(),
            identity: &view.identity,
            mode: view.mode.word(),
            permits,
            limit,
            token: view.token.get(),
            metadata: &view.metadata,
            value: view.value.as_deref(),
            breaking: view.breaking,
        }
    }
}

impl<'a> From<&'a WaiterView> for WaiterBody<'a> {
    fn from(view: &'a WaiterView) -> Self {
        Self {
            claim_id: view.claim_id.as_str(),
            owner: view.owner.as_str(),
            identity: &view.identity,
            mode: view.mode.word(),
            permits: permits(view.mode).0,
            priority: view.priority,
        }
    }
}

/// A page of locks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LockList)]
pub struct LockList<'a> {
    /// By name.
    items: Vec<LockBody<'a>>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<&'a str>,
}

impl<'a> LockList<'a> {
    /// A page, as it was read.
    pub fn new(worth: Worth, items: &'a [LockView], next_cursor: Option<&'a str>) -> Self {
        let items = items.iter().map(|view| LockBody::new(worth, view));
        Self {
            items: items.collect(),
            next_cursor,
        }
    }
}
