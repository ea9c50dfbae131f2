//! What a reader sees beyond single locks: why a lock is as it is, who waits for whom, deadlocks, orders, sessions.
//! In: an ask, and how long ago revisions were. Out: plain copies, like those of `view.rs`.
//! Never: a change, a clock, or more than a stated number of objects.

use std::sync::Arc;
use std::time::Duration;

use super::claim::CLAIM_IS_LIVE;
use super::command::{CycleEdge, Mode, Party};
use super::contention::{ContentionView, Totals, Window};
use super::delegation::Patience;
use super::history::CYCLE_TOLD_MAX;
use super::id::{ClaimId, ClaimRef, LockName, Revision, SessionId};
use super::order::{LockClass, OrderEdge};
use super::state::{Lock, Stage, Table};
use super::view::{HistoryView, HolderView, WaiterView};

/// Most deadlocks that one read gives.
pub const DEADLOCKS_MAX: usize = 100;
/// Most edges of the wait-for graph that one read gives: more than anybody can look at.
pub const WAITS_MAX: usize = 1_000;
/// Most sessions that one read gives.
pub const SESSIONS_MAX: usize = 1_000;
/// Most claims that are counted for a list of sessions. A pod may have a hundred thousand, and nothing is
/// applied while they are counted.
pub const CLAIMS_COUNTED_MAX: usize = 20_000;
/// Most claims that a waiter is said to wait for.
pub const WAITS_FOR_MAX: usize = 10;
/// Transitions shown with a lock's reasons.
pub const RECORDS_SHOWN: usize = 5;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Survey {
    /// The newest deadlocks.
    Deadlocks {
        /// At most so many.
        limit: u32,
    },
    /// In which order classes of locks are taken.
    Order,
    /// Who waits for whom.
    Waits,
    /// The sessions and what they have.
    Sessions,
    /// Why a lock is as it is.
    Why(LockName),
    /// Which locks were waited for most.
    Contention {
        /// Over which time.
        window: Window,
        /// At most so many.
        limit: u32,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Findings {
    /// To [`Survey::Deadlocks`], newest first.
    Deadlocks(Vec<DeadlockView>),
    /// To [`Survey::Order`].
    Order(OrderView),
    /// To [`Survey::Waits`].
    Waits(WaitsView),
    /// To [`Survey::Sessions`].
    Sessions(SessionsView),
    /// To [`Survey::Why`].
    Why(Box<WhyView>),
    /// To [`Survey::Contention`].
    Contention(ContentionView),
}

impl Findings {
    /// Whether they are of the kind that was asked for.
    pub fn answer(&self, ask: &Survey) -> bool {
        match ask {
            Survey::Deadlocks { .. } => matches!(self, Self::Deadlocks(_)),
            Survey::Order => matches!(self, Self::Order(_)),
            Survey::Waits => matches!(self, Self::Waits(_)),
            Survey::Sessions => matches!(self, Self::Sessions(_)),
            Survey::Why(_) => matches!(self, Self::Why(_)),
            Survey::Contention { .. } => matches!(self, Self::Contention(_)),
        }
    }
}

/// One deadlock that was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlockView {
    /// Its place in the history.
    pub revision: Revision,
    /// Who had to go.
    pub victim: ClaimId,
    /// The cycle; of a very long one the first edges.
    pub edges: Arc<[CycleEdge]>,
}

impl DeadlockView {
    /// Whether the cycle is longer than what is told of it.
    pub fn is_cut(&self) -> bool {
        let party = |party: &Party| (party.claim.session, party.owner.clone());
        let ends = (self.edges.first(), self.edges.last());
        let closed = matches!(ends, (Some(first), Some(last)) if party(&first.waiter) == party(&last.blocker));
        self.edges.len() >= CYCLE_TOLD_MAX && !closed
    }
}

/// The observed orders of classes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderView {
    /// By class held, then class taken.
    pub edges: Vec<(LockClass, LockClass, OrderEdge)>,
    /// How often an order was seen that there was no room to note.
    pub missed: u64,
}

/// The wait-for graph. A waiter has edges to those directly before it; whom these wait for it awaits too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaitsView {
    /// By lock, then by place.
    pub edges: Vec<CycleEdge>,
    /// There are more.
    pub truncated: bool,
}

/// Sidecars and what they have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionsView {
    /// By id, the oldest first.
    pub sessions: Vec<SessionTally>,
    /// There are more sessions, or more claims than were counted.
    pub truncated: bool,
}

/// One session and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTally {
    /// Which.
    pub session: SessionId,
    /// Its sidecar.
    pub identity: Arc<str>,
    /// How long it lives without renewal.
    pub ttl_ms: u32,
    /// Claims that hold or wait, delegations included.
    pub claims: u32,
    /// Of these, those that wait.
    pub waiting: u32,
    /// Of these, locks that it has to itself.
    pub delegations: u32,
}

/// All there is to say about one lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyView {
    /// Its name.
    pub name: LockName,
    /// Who holds it.
    pub holders: Vec<HolderWhy>,
    /// Who waits, in order; at most the first 100.
    pub queue: Vec<WaiterWhy>,
    /// How many wait in all.
    pub waiters: u32,
    /// Closed after its holder died: the whole delay, in milliseconds.
    pub lock_delay_ms: Option<u32>,
    /// The last transitions, newest first.
    pub history: Vec<HistoryView>,
}

/// One holder, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderWhy {
    /// The holder.
    pub holder: HolderView,
    /// For so long at least.
    pub held: Duration,
    /// Whether its sidecar has the lock to itself, and may or may not use it.
    pub delegated: bool,
    /// Who uses it there, as far as its sidecar has said.
    pub user: Option<Party>,
}

/// One waiter, and for what it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaiterWhy {
    /// The waiter.
    pub waiter: WaiterView,
    /// Who keeps it from this lock: holders, then those before it; at most [`WAITS_FOR_MAX`].
    pub waits_for: Vec<ClaimId>,
    /// How many keep it from this lock.
    pub behind: u32,
    /// Other locks of its claim that it cannot have now either.
    pub elsewhere: Vec<LockName>,
    /// It waits to hear whether what is kept at a sidecar is in use.
    pub trial: bool,
}

impl Table {
    /// The answer. `age` tells for how long at least a revision has been.
    pub fn survey(&self, ask: &Survey, age: impl Fn(Revision) -> Duration) -> Findings {
        match ask {
            Survey::Deadlocks { limit } => {
                let limit = usize::try_from(*limit).unwrap_or(DEADLOCKS_MAX);
                Findings::Deadlocks(self.deadlocks_told(limit.min(DEADLOCKS_MAX)))
            }
            Survey::Order => Findings::Order(self.order_view()),
            Survey::Waits => Findings::Waits(self.waits_view()),
            Survey::Sessions => Findings::Sessions(self.sessions_view()),
            Survey::Why(name) => Findings::Why(Box::new(self.why(name, age))),
            // A table knows no times: whoever has applied it to a clock knows more.
            Survey::Contention { window, .. } => Findings::Contention(ContentionView {
                window: *window,
                total: Totals::default(),
                locks: Vec::new(),
            }),
        }
    }

    fn deadlocks_told(&self, limit: usize) -> Vec<DeadlockView> {
        let newest = self.deadlocks.iter().rev().take(limit);
        let told = newest.filter_map(|revision| {
            let record = self.history.get(revision)?;
            Some(DeadlockView {
                revision: *revision,
                victim: record.claim_id.clone(),
                edges: record.event.cycle()?.clone(),
            })
        });
        told.collect()
    }

    fn order_view(&self) -> OrderView {
        let edges = self.order();
        let edges =
            edges.map(|(before, after, edge)| (before.clone(), after.clone(), edge.clone()));
        OrderView {
            edges: edges.collect(),
            missed: self.counters.order_missed,
        }
    }

    fn sessions_view(&self) -> SessionsView {
        let mut view = SessionsView::default();
        let mut left = CLAIMS_COUNTED_MAX;
        for (session, about) in self.sessions() {
            if view.sessions.len() >= SESSIONS_MAX {
                view.truncated = true;
                break;
            }
            let mut tally = SessionTally {
                session,
                identity: about.identity.clone(),
                ttl_ms: about.ttl_ms,
                claims: 0,
                waiting: 0,
                delegations: 0,
            };
            for (name, claim) in self.claims_of(session).take(left + 1) {
                if left == 0 {
                    view.truncated = true;
                    break;
                }
                left -= 1;
                tally.claims += 1;
                tally.waiting += u32::from(matches!(claim.stage, Stage::Waiting { .. }));
                tally.delegations += u32::from(self.is_delegated(name));
            }
            view.sessions.push(tally);
        }
        view
    }

    fn waits_view(&self) -> WaitsView {
        let mut view = WaitsView::default();
        for (name, lock) in self
            .contended
            .iter()
            .filter_map(|name| self.locks.get_key_value(name))
        {
            if self.waits_of(name, lock, &mut view.edges).is_none() {
                view.truncated = true;
                break;
            }
        }
        view
    }

    /// Adds the waits for one lock; `None` when there is no room for all of them.
    fn waits_of(&self, name: &LockName, lock: &Lock, edges: &mut Vec<CycleEdge>) -> Option<()> {
        // Everything but readers beside readers keeps each other out, so a waiter that is no reader stands for
        // all that come before it.
        let mut last: Option<ClaimRef> = None;
        let mut readers: Vec<ClaimRef> = Vec::new();
        for waiter in lock.queue.values() {
            let mode = self.mode_of(*waiter, name).expect(CLAIM_IS_LIVE);
            let is_reader = mode == Mode::Shared;
            let before = readers.iter().filter(|_| !is_reader);
            let mut blockers: Vec<(ClaimRef, bool)> = before.map(|name| (*name, false)).collect();
            match last {
                Some(last) if blockers.is_empty() => blockers.push((last, false)),
                Some(_) => {} // the readers wait for it
                None if lock.used.is_clear_for(mode) => {}
                None if !blockers.is_empty() && !lock.used.is_clear_for(Mode::Shared) => {}
                None => {
                    let room = (WAITS_MAX + 1).saturating_sub(edges.len());
                    let holders = lock.holders.iter().take(room);
                    blockers.extend(holders.map(|holder| (*holder, true)));
                }
            }
            for (blocker, held) in blockers {
                if edges.len() >= WAITS_MAX {
                    return None;
                }
                edges.push(CycleEdge {
                    lock: name.clone(),
                    waiter: self.party(*waiter),
                    blocker: self.user_of(blocker).unwrap_or_else(|| self.party(blocker)),
                    held,
                });
            }
            if is_reader {
                readers.push(*waiter);
            } else {
                readers.clear();
                last = Some(*waiter);
            }
        }
        Some(())
    }

    fn why(&self, name: &LockName, age: impl Fn(Revision) -> Duration) -> WhyView {
        let lock = self.view(name);
        let holders = lock.holders.into_iter().map(|holder| HolderWhy {
            held: age(self.granted_at(holder.claim)),
            delegated: self.is_delegated(holder.claim),
            user: self.user_of(holder.claim),
            holder,
        });
        let queue = lock.queue.into_iter();
        let queue = queue.map(|waiter| self.waiter_why(name, waiter));
        WhyView {
            holders: holders.collect(),
            queue: queue.collect(),
            history: self.history_of(name, None, RECORDS_SHOWN).0,
            name: lock.name,
            waiters: lock.waiters,
            lock_delay_ms: lock.lock_delay_ms,
        }
    }

    fn granted_at(&self, holder: ClaimRef) -> Revision {
        match self.claims.get(&holder).expect(CLAIM_IS_LIVE).stage {
            Stage::Holding { granted, .. } => granted,
            Stage::Waiting { .. } => self.counters.revision,
        }
    }

    fn waiter_why(&self, name: &LockName, waiter: WaiterView) -> WaiterWhy {
        let claim = self.claims.get(&waiter.claim).expect(CLAIM_IS_LIVE);
        let lock = self.locks.get(name);
        let lock = lock.expect("a lock that is waited for exists");
        let mode = waiter.mode;
        let mut why = WaiterWhy {
            waits_for: Vec::new(),
            behind: 0,
            elsewhere: Vec::new(),
            trial: self.patience_of(waiter.claim) != Patience::Turn,
            waiter,
        };
        let Stage::Waiting { place, .. } = claim.stage else {
            return why;
        };
        let blocked = claim
            .locks
            .iter()
            .filter(|want| !self.admits_at(want, place));
        let mut here = false;
        for want in blocked {
            if want.name == *name {
                here = true;
            } else {
                why.elsewhere.push(want.name.clone());
            }
        }
        if here && lock.closed.is_none() {
            // Holders of one lock are of one kind: all of them keep it out, or none.
            let holders = lock
                .holders
                .iter()
                .filter(|_| !lock.used.is_clear_for(mode));
            let is_beside = |other: &ClaimRef| {
                mode == Mode::Shared && self.mode_of(*other, name) == Some(Mode::Shared)
            };
            let before = lock.queue.range(..place).map(|(_, other)| other);
            for other in holders.chain(before.filter(|other| !is_beside(other))) {
                why.behind += 1;
                if why.waits_for.len() < WAITS_FOR_MAX {
                    let user = self.user_of(*other).unwrap_or_else(|| self.party(*other));
                    why.waits_for.push(user.claim_id);
                }
            }
        }
        why
    }
}
