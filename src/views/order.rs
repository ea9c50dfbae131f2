//! The JSON of the observed order of lock classes, and of inversions.
//! In: what the table has seen. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null, a wall-clock time.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

use super::worth::{Worth, WorthBody};
use crate::table::order::{LockClass, OrderEdge, OrderSample};
use crate::table::survey::OrderView;

/// A lock of one class was held while one of another was taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LockOrderItem)]
pub struct EdgeBody<'a> {
    /// The class that was held: the first path segment of a lock's name.
    #[schema(example = "orders")]
    before: &'a str,
    /// The class that was taken.
    #[schema(example = "stock")]
    after: &'a str,
    /// How often.
    #[schema(minimum = 1, example = 12)]
    count: u64,
    /// It is part of an inversion.
    inverted: bool,
    /// The first time.
    sample: SampleBody<'a>,
}

/// One time that a lock was held while another was taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LockOrderSample)]
pub struct SampleBody<'a> {
    /// The lock that was held.
    #[schema(example = "orders/1")]
    held: &'a str,
    /// The lock that was taken.
    #[schema(example = "stock/7")]
    taken: &'a str,
    /// The app's id of the claim that took it.
    claim_id: &'a str,
    /// Who held the one and took the other.
    owner: &'a str,
    /// Its sidecar: host or pod name.
    identity: &'a str,
    /// Its place in the history.
    revision: u64,
}

impl<'a> From<&'a OrderSample> for SampleBody<'a> {
    fn from(sample: &'a OrderSample) -> Self {
        Self {
            held: sample.held.as_str(),
            taken: sample.taken.as_str(),
            claim_id: sample.claim_id.as_str(),
            owner: sample.owner.as_str(),
            identity: &sample.identity,
            revision: sample.revision.0,
        }
    }
}

/// Classes that are taken in contradicting orders: owners that do so will deadlock one day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LockOrderInversion)]
pub struct InversionBody<'a> {
    /// A cycle: each was held while the next was taken, and the last while the first was.
    #[schema(example = json!(["stock", "orders"]))]
    classes: Vec<&'a str>,
    /// How often the first of them was held while the second was taken.
    #[schema(minimum = 1, example = 1)]
    count: u64,
    /// What contradicted the order that had been seen before.
    sample: SampleBody<'a>,
}

/// In which order classes of locks are taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LockOrder)]
pub struct OrderBody<'a> {
    /// By class held, then class taken.
    items: Vec<EdgeBody<'a>>,
    /// By class held, then class taken.
    inversions: Vec<InversionBody<'a>>,
    /// How often an order was seen that there was no room to note; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missed: Option<u64>,
    #[serde(flatten)]
    worth: WorthBody,
}

impl<'a> OrderBody<'a> {
    /// The order, as it was read.
    pub fn new(worth: Worth, view: &'a OrderView) -> Self {
        let inverted: BTreeSet<(&LockClass, &LockClass)> = view
            .edges
            .iter()
            .flat_map(|(_, _, edge)| steps(&edge.closes))
            .collect();
        let items = view.edges.iter().map(|(before, after, edge)| EdgeBody {
            before: before.as_str(),
            after: after.as_str(),
            count: edge.count,
            inverted: inverted.contains(&(before, after)),
            sample: (&edge.sample).into(),
        });
        let closing = view.edges.iter().map(|(_, _, edge)| edge);
        let closing = closing.filter(|edge| !edge.closes.is_empty());
        Self {
            items: items.collect(),
            inversions: closing.map(InversionBody::from).collect(),
            missed: (view.missed > 0).then_some(view.missed),
            worth: worth.into(),
        }
    }
}

impl<'a> From<&'a OrderEdge> for InversionBody<'a> {
    fn from(edge: &'a OrderEdge) -> Self {
        Self {
            classes: edge.closes.iter().map(LockClass::as_str).collect(),
            count: edge.count,
            sample: (&edge.sample).into(),
        }
    }
}

/// The edges of a cycle of classes.
fn steps(cycle: &[LockClass]) -> impl Iterator<Item = (&LockClass, &LockClass)> {
    cycle.iter().zip(cycle.iter().cycle().skip(1))
}
