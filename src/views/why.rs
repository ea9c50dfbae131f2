//! The JSON of why a lock is as it is: holders and since when, waiters and for whom, what happened last.
//! In: all that the table says of it. Out: `Serialize` structs with their OpenAPI schemas, and sentences.
//! Never: null, a wall-clock time, a time held that is too long.

use serde::Serialize;
use utoipa::ToSchema;

use super::history::HistoryBody;
use super::locks::{HolderBody, WaiterBody};
use super::sentence;
use super::waits::PartyBody;
use super::words::{ms, state_word};
use super::worth::{Worth, WorthBody};
use crate::table::survey::{HolderWhy, WaiterWhy, WhyView};

/// A holder, and since when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HolderWhy)]
pub struct HolderWhyBody<'a> {
    #[serde(flatten)]
    holder: HolderBody<'a>,
    /// For how long it has held, at least: a core node that was restarted counts from then on.
    #[schema(example = 1200)]
    held_ms: u64,
    /// Whether its sidecar has the lock to itself, and may or may not use it at the moment.
    delegated: bool,
    /// Who uses it there, if the sidecar has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<PartyBody<'a>>,
}

impl<'a> From<&'a HolderWhy> for HolderWhyBody<'a> {
    fn from(why: &'a HolderWhy) -> Self {
        Self {
            holder: (&why.holder).into(),
            held_ms: ms(why.held),
            delegated: why.delegated,
            user: why.user.as_ref().map(PartyBody::from),
        }
    }
}

/// A waiter, and for what it waits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WaiterWhy)]
pub struct WaiterWhyBody<'a> {
    #[serde(flatten)]
    waiter: WaiterBody<'a>,
    /// Its place in the queue, from 1.
    #[schema(minimum = 1, example = 1)]
    position: usize,
    /// Claims that keep it from this lock: holders, then those before it; at most the first 10.
    waits_for: Vec<&'a str>,
    /// The same in words.
    #[schema(example = "waits for c-7f3a, which holds the lock")]
    why: String,
}

/// Why a lock is as it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Why)]
pub struct WhyBody<'a> {
    /// Its name.
    #[schema(min_length = 1, max_length = 512, example = "orders/42")]
    name: &'a str,
    /// Open enum: free, held, closed (for a lock-delay, after its holder died).
    #[schema(example = "held")]
    state: &'static str,
    /// All of it in one sentence.
    #[schema(example = "held by c-7f3a on pod-1 for 1.2 s; nobody waits")]
    why: String,
    /// Who holds it.
    holders: Vec<HolderWhyBody<'a>>,
    /// Who waits, in order; at most the first 100.
    queue: Vec<WaiterWhyBody<'a>>,
    /// How many claims wait in all.
    queue_length: u32,
    /// The whole lock-delay, while it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_delay_ms: Option<u32>,
    /// The last five transitions, newest first.
    history: Vec<HistoryBody<'a>>,
    #[serde(flatten)]
    worth: WorthBody,
}

impl<'a> WhyBody<'a> {
    /// The reasons, as they were read.
    pub fn new(worth: Worth, view: &'a WhyView) -> Self {
        Self {
            name: view.name.as_str(),
            state: state_word(!view.holders.is_empty(), view.lock_delay_ms.is_some()),
            why: sentence::of_lock(view),
            holders: view.holders.iter().map(HolderWhyBody::from).collect(),
            queue: (1..)
                .zip(&view.queue)
                .map(|(position, waiter)| waiter_body(view, waiter, position))
                .collect(),
            queue_length: view.waiters,
            lock_delay_ms: view.lock_delay_ms,
            history: view.history.iter().map(HistoryBody::from).collect(),
            worth: worth.into(),
        }
    }
}

fn waiter_body<'a>(view: &WhyView, why: &'a WaiterWhy, position: usize) -> WaiterWhyBody<'a> {
    WaiterWhyBody {
        waiter: (&why.waiter).into(),
        position,
        waits_for: why.waits_for.iter().map(|id| id.as_str()).collect(),
        why: sentence::of_waiter(view, why),
    }
}
