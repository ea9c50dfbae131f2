//! The JSON of waits: who waits for whom, now and in deadlocks that were resolved.
//! In: edges of the wait-for graph. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null, a wall-clock time.

use serde::Serialize;
use utoipa::ToSchema;

use super::worth::{Worth, WorthBody};
use crate::table::command::{CycleEdge, Party};
use crate::table::survey::{DeadlockView, WaitsView};

/// One claim, as others see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Party)]
pub struct PartyBody<'a> {
    /// The app's id of the claim, unique within its sidecar.
    #[schema(example = "c-7f3a")]
    claim_id: &'a str,
    /// The party it belongs to.
    #[schema(example = "c-7f3a")]
    owner: &'a str,
    /// Its sidecar: host or pod name.
    #[schema(example = "pod-1")]
    identity: &'a str,
    /// The W3C trace id of its request.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    trace_id: &'a str,
}

impl<'a> From<&'a Party> for PartyBody<'a> {
    fn from(party: &'a Party) -> Self {
        Self {
            claim_id: party.claim_id.as_str(),
            owner: party.owner.as_str(),
            identity: &party.identity,
            trace_id: &party.trace_id,
        }
    }
}

/// One claim waits for another.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WaitEdge)]
pub struct EdgeBody<'a> {
    /// For which lock.
    #[schema(min_length = 1, max_length = 512, example = "orders/42")]
    lock: &'a str,
    /// Who waits.
    waiter: PartyBody<'a>,
    /// For whom.
    blocker: PartyBody<'a>,
    /// Whether the blocker holds the lock; else it waits before the waiter.
    held: bool,
}

impl<'a> From<&'a CycleEdge> for EdgeBody<'a> {
    fn from(edge: &'a CycleEdge) -> Self {
        Self {
            lock: edge.lock.as_str(),
            waiter: (&edge.waiter).into(),
            blocker: (&edge.blocker).into(),
            held: edge.held,
        }
    }
}

/// The wait-for graph.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Waits)]
pub struct WaitsBody<'a> {
    /// By lock and place. A waiter has edges to those directly before it; whom these wait for, it awaits too.
    edges: Vec<EdgeBody<'a>>,
    /// There are more edges than are shown.
    truncated: bool,
    #[serde(flatten)]
    worth: WorthBody,
}

impl<'a> WaitsBody<'a> {
    /// The graph, as it was read.
    pub fn new(worth: Worth, view: &'a WaitsView) -> Self {
        Self {
            edges: view.edges.iter().map(EdgeBody::from).collect(),
            truncated: view.truncated,
            worth: worth.into(),
        }
    }
}

/// A deadlock, and who had to go.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadlockItem)]
pub struct DeadlockBody<'a> {
    /// Its place in the history.
    #[schema(example = 881)]
    revision: u64,
    /// The youngest waiting claim of the cycle: it was refused or ended with `deadlock`.
    #[schema(example = "c-7f3a")]
    victim: &'a str,
    /// The cycle, each edge from where the one before led to.
    edges: Vec<EdgeBody<'a>>,
    /// The cycle was very long and only its first edges are shown; else absent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
}

/// Recent deadlocks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadlockList)]
pub struct DeadlockList<'a> {
    /// Newest first, as far as the history goes back.
    items: Vec<DeadlockBody<'a>>,
    #[serde(flatten)]
    worth: WorthBody,
}

impl<'a> DeadlockList<'a> {
    /// Deadlocks, as they were read.
    pub fn new(worth: Worth, deadlocks: &'a [DeadlockView]) -> Self {
        let items = deadlocks.iter().map(|view| DeadlockBody {
            revision: view.revision.0,
            victim: view.victim.as_str(),
            edges: view.edges.iter().map(EdgeBody::from).collect(),
            truncated: view.is_cut(),
        });
        Self {
            items: items.collect(),
            worth: worth.into(),
        }
    }
}
