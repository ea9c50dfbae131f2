//! The JSON of contention: which locks were waited for most.
//! In: what was gathered. Out: `Serialize` structs with their OpenAPI schemas. Never: null, a wall-clock time.

use serde::Serialize;
use utoipa::ToSchema;

use super::words::ms;
use super::worth::{Worth, WorthBody};
use crate::table::contention::{ContendedLock, ContentionView, WaitSample};

/// The most contended locks of a window of time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contention)]
pub struct ContentionBody<'a> {
    /// How far back it looks. Open enum: 1m, 10m, 1h.
    #[schema(example = "1m")]
    window: &'static str,
    /// Open enum: pod, cell.
    #[schema(example = "pod")]
    scope: &'static str,
    /// All locks together, none left out.
    total: TotalsBody,
    /// The most waited for first. Counted in bounded memory: see `overcount_ms`.
    items: Vec<ContendedBody<'a>>,
    #[serde(flatten)]
    worth: WorthBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContentionTotals)]
struct TotalsBody {
    /// Time waited, waits that are not over included.
    wait_ms: u64,
    /// Waits that ended with a grant.
    waits: u64,
    /// Holds that ended.
    holds: u64,
    /// Times that a lock was asked back from a sidecar.
    recalls: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContendedLock)]
struct ContendedBody<'a> {
    /// Its name.
    #[schema(min_length = 1, max_length = 512, example = "orders/42")]
    lock: &'a str,
    /// Time waited for it, all waits together, those that are not over included.
    wait_ms: u64,
    /// Waits that ended with a grant.
    waits: u64,
    /// The longest of them.
    wait_max_ms: u64,
    /// How many wait now. To the core all who wait in one pod for a lock that it keeps are one.
    waiters: u64,
    /// Most that waited at a time.
    waiters_max: u64,
    /// Holds that ended.
    holds: u64,
    /// Time held.
    hold_ms: u64,
    /// Times that it was asked back from a sidecar.
    recalls: u64,
    /// How much of `wait_ms` may be another lock's, which had to make room for it.
    overcount_ms: u64,
    /// Some of the waits, newest first; at most 20.
    samples: Vec<SampleBody<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WaitSample)]
struct SampleBody<'a> {
    /// Which claim waited.
    claim_id: &'a str,
    /// Its party.
    owner: &'a str,
    /// Its sidecar.
    identity: &'a str,
    /// How long.
    waited_ms: u64,
    /// One of the claims it waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    behind: Option<&'a str>,
    /// W3C trace id of its request.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    trace_id: &'a str,
    /// How long ago it was granted.
    ago_ms: u64,
}

impl<'a> ContentionBody<'a> {
    /// Of a pod or of the cell.
    pub fn new(worth: Worth, scope: &'static str, view: &'a ContentionView) -> Self {
        Self {
            window: view.window.word(),
            scope,
            total: TotalsBody {
                wait_ms: ms(view.total.waited),
                waits: view.total.waits,
                holds: view.total.holds,
                recalls: view.total.recalls,
            },
            items: view.locks.iter().map(ContendedBody::from).collect(),
            worth: worth.into(),
        }
    }
}

impl<'a> From<&'a ContendedLock> for ContendedBody<'a> {
    fn from(lock: &'a ContendedLock) -> Self {
        Self {
            lock: lock.name.as_str(),
            wait_ms: ms(lock.waited),
            waits: lock.waits,
            wait_max_ms: ms(lock.longest),
            waiters: lock.waiters,
            waiters_max: lock.waiters_max,
            holds: lock.holds,
            hold_ms: ms(lock.held),
            recalls: lock.recalls,
            overcount_ms: ms(lock.overcount),
            samples: lock.samples.iter().map(SampleBody::from).collect(),
        }
    }
}

impl<'a> From<&'a WaitSample> for SampleBody<'a> {
    fn from(sample: &'a WaitSample) -> Self {
        Self {
            claim_id: &sample.claim_id,
            owner: &sample.owner,
            identity: &sample.identity,
            waited_ms: ms(sample.waited),
            behind: sample.behind.as_deref(),
            trace_id: &sample.trace_id,
            ago_ms: ms(sample.ago),
        }
    }
}
