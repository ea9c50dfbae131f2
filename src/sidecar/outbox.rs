//! PURE: operations on their way to the core: numbered when they leave, resent until answered.
//! In: releases and claims to ask for. Out: operations in the order of their seq, releases first.
//! Never: a gap or a second meaning of a seq; a shed release; an unbounded queue of claims.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;

use super::hold::{CallerId, Key};
use super::limit::Limit;
use super::retry::Retries;
use super::spot::SpotId;
use crate::planted::{self, Bug};
use crate::table::command::{Operate, Operation};
use crate::table::id::{Generation, Seq, SessionId};
use crate::world::clock::Instant;

/// Most operations in one frame, so that the first of them does not wait for the last.
const FRAME_OPERATIONS_MAX: usize = 2_048;
/// Most bytes of one frame, estimated; far below the receiver's limit of 4 MiB.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Why an operation was sent, so that its reply finds its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Asks for this claim.
    Ask(Key),
    /// Ends what this seq asked for.
    End(Seq),
    /// Publishes a value for a claim; the caller, if one still waits.
    Publish(Key, CallerId),
    /// Publishes a value that nobody waits for.
    PublishLate,
    /// Asks for this lock to be delegated.
    Delegate(SpotId),
    /// Gives a delegation back; so many claims, named by this seq and the next, hold on.
    Return(u32),
    /// Asks for more tokens for this one.
    Refill(SpotId),
    /// Tells what needs no answer.
    Note,
    /// Ends the session.
    Close(CallerId),
}

/// What a claim that waits to be sent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskOf {
    /// One claim.
    Claim(Key),
    /// All that wait for one lock here.
    Spot(SpotId),
}

/// An operation that was numbered and is not answered, or answered before an earlier one.
#[derive(Debug)]
struct Flight {
    seq: Seq,
    operation: Operation,
    purpose: Purpose,
    answered: bool,
    /// Of what asks for a claim: since when it waits for its answer.
    since: Option<Instant>,
}

/// What waits to be sent and what waits to be answered.
#[derive(Debug)]
pub struct Outbox {
    /// Claims to ask for; some may have been given up meanwhile.
    asks: VecDeque<(AskOf, Instant)>,
    /// How many claims may wait to be sent or answered; one more is refused as overload.
    limit: Limit,
    retries: Retries,
    /// Ascending by seq without gaps.
    flights: VecDeque<Flight>,
    /// How many of `flights` were sent on the present stream.
    sent: usize,
    /// Of `flights`, how many ask for a claim.
    asks_flying: usize,
    /// The seq of the next operation that is numbered.
    next: Seq,
    /// The core refused for the moment: resend from here on.
    resend_at: Option<Instant>,
    /// Operations that left, resent ones included.
    pub left: u64,
}

impl Outbox {
    /// Empty, for a session of which `applied` operations are applied.
    pub fn new(applied: Seq) -> Self {
        Self {
            asks: VecDeque::new(),
            limit: Limit::default(),
            retries: Retries::default(),
            flights: VecDeque::new(),
            sent: 0,
            asks_flying: 0,
            next: Seq(applied.0 + 1),
            resend_at: None,
            left: 0,
        }
    }

    /// Numbers a release, a cancel, a value, a return or the close: before claims not yet sent, and never
    /// refused (each belongs to a live claim or delegation). Tells its seq.
    pub fn push_urgent(&mut self, operation: Operation, purpose: Purpose) -> Seq {
        let seq = self.next;
        let further = operation.further_seqs();
        self.push_flight(operation, purpose, false, None);
        for _ in 0..further {
            // Used up by the operation before: nothing is sent under these numbers.
            self.push_flight(Operation::Close, Purpose::Note, true, None);
        }
        seq
    }

    /// Queues a claim to be asked for; false when too many wait already.
    #[must_use]
    pub fn push_ask(&mut self, of: AskOf, now: Instant) -> bool {
        if !self.has_room() {
            return false;
        }
        self.asks.push_back((of, now));
        true
    }

    /// Whether one more claim may be asked for.
    pub fn has_room(&self) -> bool {
        self.under_way() < self.limit.get()
    }

    /// How long claims wait for their answer at present.
    pub fn delay(&self) -> Duration {
        self.limit.delay()
    }

    fn under_way(&self) -> usize {
        self.asks.len() + self.asks_flying
    }

    /// Queues what has been admitted before and must be asked for again.
    pub fn push_ask_again(&mut self, of: AskOf, now: Instant) {
        self.asks.push_back((of, now));
    }

    /// Whether there is something that `fill` would send.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.flights.len() || !self.asks.is_empty()
    }

    /// Whether an answer is awaited or due to be asked for.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.asks.is_empty()
    }

    /// How many operations are sent and not answered.
    pub fn in_flight(&self) -> usize {
        self.flights
            .iter()
            .filter(|flight| !flight.answered)
            .count()
    }

    /// Claims that are not sent, or sent and not answered.
    pub fn open_asks(&self) -> Vec<Key> {
        let flying = self
            .flights
            .iter()
            .filter_map(|flight| match flight.purpose {
                Purpose::Ask(key) if !flight.answered => Some(key),
                Purpose::Ask(_)
                | Purpose::End(_)
                | Purpose::Publish(..)
                | Purpose::PublishLate
                | Purpose::Delegate(_)
                | Purpose::Return(_)
                | Purpose::Refill(_)
                | Purpose::Note
                | Purpose::Close(_) => None,
            });
        let unsent = self.asks.iter().filter_map(|(of, _)| match of {
            AskOf::Claim(key) => Some(*key),
            AskOf::Spot(_) => None,
        });
        flying.chain(unsent).collect()
    }

    /// Forgets the claims not yet sent (all were refused).
    pub fn drop_unsent_asks(&mut self) {
        self.asks.clear();
    }

    /// The next frame's operations for the present stream. `acquire` makes the request of a claim and is
    /// told its seq; `None` if it was given up meanwhile.
    pub fn fill(
        &mut self,
        session: SessionId,
        generation: Generation,
        mut acquire: impl FnMut(AskOf, Seq) -> Option<Operation>,
    ) -> Vec<Operate> {
        let acked = Seq(self
            .flights
            .front()
            .map_or(self.next, |flight| flight.seq)
            .0
            - 1);
        let mut operations = Vec::new();
        let mut bytes = 0;
        while operations.len() < FRAME_OPERATIONS_MAX && bytes < FRAME_BYTES_MAX {
            if self.sent == self.flights.len() && !self.number_next(&mut acquire) {
                break;
            }
            let flight = &self.flights[self.sent];
            self.retries.sends(flight.seq);
            self.sent += 1;
            self.left += u64::from(!flight.answered);
            if flight.answered {
                continue;
            }
            bytes += estimate(&flight.operation);
            operations.push(Operate {
                session,
                generation,
                seq: flight.seq,
                acked,
                operation: flight.operation.clone(),
            });
        }
        operations
    }

    /// A reply came: why its operation was sent, unless it had been answered before; and of what asks for a
    /// claim, how long it waited for that.
    pub fn answered(&mut self, seq: Seq, now: Instant) -> Option<(Purpose, Option<Duration>)> {
        let first = self.flights.front()?.seq.0;
        let place = usize::try_from(seq.0.checked_sub(first)?).ok()?;
        let flight = self.flights.get_mut(place)?;
        if flight.answered {
            return None;
        }
        flight.answered = true;
        let (purpose, since) = (flight.purpose, flight.since);
        self.retries.answered();
        if let Some(since) = since {
            let under_way = self.under_way();
            self.limit.answered(now, since, under_way);
        }
        if matches!(purpose, Purpose::Ask(_) | Purpose::Delegate(_)) {
            self.asks_flying -= 1;
        }
        while self.flights.front().is_some_and(|flight| flight.answered) {
            self.flights.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        Some((purpose, since.map(|since| now.since(since))))
    }

    /// The first seq without an answer, or the next to be given.
    pub fn first_open(&self) -> Seq {
        self.flights.front().map_or(self.next, |flight| flight.seq)
    }

    /// A new stream: all that is unanswered goes again, as it was.
    pub fn rewind_anew(&mut self, now: Instant) {
        self.limit.calm(now);
        self.rewind();
    }

    /// All that is unanswered goes again, as it was.
    pub fn rewind(&mut self) {
        if planted::is(Bug::NotSentAgain) {
            return;
        }
        self.sent = 0;
        self.resend_at = None;
    }

    /// Rewinds a little later, since the core could not take it now.
    pub fn rewind_later(&mut self, now: Instant, rng: &mut StdRng) {
        if self.resend_at.is_none() {
            self.resend_at = Some(now + self.retries.pause(rng));
        }
    }

    /// When to rewind.
    pub fn resend_at(&self) -> Option<Instant> {
        self.resend_at
    }

    /// The session is gone: whatever was sent or numbered is void. Claims not yet sent go to the next one.
    /// Answers the purposes of what will never be answered.
    pub fn reset(&mut self) -> Vec<Purpose> {
        let flying = self.flights.drain(..).filter(|flight| !flight.answered);
        let void: Vec<Purpose> = flying.map(|flight| flight.purpose).collect();
        let before = std::mem::replace(self, Self::new(Seq(0)));
        (self.asks, self.limit, self.left) = (before.asks, before.limit, before.left);
        void
    }

    /// Starts the numbers of a session just opened.
    pub fn start_after(&mut self, applied: Seq) {
        self.next = Seq(applied.0.saturating_add(1));
    }

    fn number_next(&mut self, acquire: &mut impl FnMut(AskOf, Seq) -> Option<Operation>) -> bool {
        while let Some((of, since)) = self.asks.pop_front() {
            if let Some(operation) = acquire(of, self.next) {
                self.asks_flying += 1;
                let purpose = match of {
                    AskOf::Claim(key) => Purpose::Ask(key),
                    AskOf::Spot(id) => Purpose::Delegate(id),
                };
                self.push_flight(operation, purpose, false, Some(since));
                return true;
            }
        }
        false
    }

    fn push_flight(
        &mut self,
        operation: Operation,
        purpose: Purpose,
        answered: bool,
        since: Option<Instant>,
    ) {
        self.flights.push_back(Flight {
            seq: self.next,
            operation,
            purpose,
            answered,
            since,
        });
        self.next = Seq(self.next.0.saturating_add(1));
    }
}

/// Roughly how many bytes an operation takes on the wire.
fn estimate(operation: &Operation) -> usize {
    match operation {
        Operation::Acquire(acquire) | Operation::Delegate { acquire, .. } => {
            let names: usize = acquire
                .locks
                .iter()
                .map(|want| want.name.as_str().len() + 16)
                .sum();
            let metadata = &acquire.metadata;
            let pairs: usize = metadata.iter().map(|(k, v)| k.len() + v.len() + 8).sum();
            names + pairs + acquire.value.as_ref().map_or(0, |value| value.len()) + 256
        }
        Operation::SetValue { value, .. } => value.len() + 32,
        Operation::Return(back) => {
            let kept = back.kept.iter().map(|kept| {
                let pairs = kept.metadata.iter().map(|(k, v)| k.len() + v.len() + 8);
                pairs.sum::<usize>() + 256
            });
            kept.sum::<usize>() + 256 * back.ended.len() + 64
        }
        Operation::InUse { .. } | Operation::Rename { .. } | Operation::Denied(_) => 256,
        Operation::Release(_) | Operation::Refill { .. } | Operation::Close => 32,
    }
}
