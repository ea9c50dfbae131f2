//! PURE: what is worth seeing of each step of the desk, for whoever counts and traces.
//! In: claims that wait, hold and end; recalls. Out: plain data, which the shell takes after each step.
//! Never: a decision that depends on being seen, or more than a step has set off.

use std::sync::Arc;
use std::time::Duration;

use super::desk::Desk;
use super::ending::Ending;
use super::handle::{ClaimState, Obstacle, Reason, Trace};
use super::hold::Key;
use super::spot::SpotId;
use crate::table::command::{Mode, Party};
use crate::table::id::{ClaimId, LockName, OwnerId, Token};
use crate::world::clock::Instant;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// A claim has to wait.
    Queued(LockName),
    /// A claim that waited does so no more, and was not granted.
    GaveUp {
        /// Its first lock.
        lock: LockName,
        /// Since when it waited.
        since: Instant,
    },
    /// A claim that waited was granted.
    Waited(Box<Waited>),
    /// A claim whose request is traced was granted.
    Held(Box<Held>),
    /// A claim is over.
    Ended {
        /// Its first lock.
        lock: LockName,
        /// How.
        state: ClaimState,
        /// Why.
        reason: Option<Reason>,
        /// How long it held, if it did.
        held: Option<Duration>,
        /// Which, if its request was traced.
        traced: Option<ClaimId>,
    },
    /// The core asks for a lock back.
    Recalled {
        /// Which.
        lock: LockName,
        /// For whom.
        wanted_by: Option<Party>,
        /// Those that use it and are traced.
        users: Vec<ClaimId>,
    },
    /// The core has answered a claim for the first time.
    CoreAnswered(Duration),
    /// The session is past its safe deadline.
    Jeopardy,
}

/// See [`Sight::Waited`].
#[derive(Debug, Clone, PartialEq)]
pub struct Waited {
    /// Its first lock.
    pub lock: LockName,
    /// Which.
    pub claim_id: ClaimId,
    /// Its party.
    pub owner: OwnerId,
    /// How long.
    pub waited: Duration,
    /// How long the lock was free and wanted before, if it was free here.
    pub handed_over: Option<Duration>,
    /// What it waited for.
    pub obstacle: Arc<Obstacle>,
    /// Its trace.
    pub trace_id: Arc<str>,
}

/// See [`Sight::Held`].
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Its first lock.
    pub lock: LockName,
    /// How.
    pub mode: Mode,
    /// Its token.
    pub token: Token,
    /// Which.
    pub claim_id: ClaimId,
    /// Its trace.
    pub trace: Trace,
}

impl Desk {
    /// From now on each step is seen; whoever says so takes the sights after each.
    pub fn be_seen(&mut self) {
        self.sights.get_or_insert_default();
    }

    /// What happened since the last call.
    pub fn take_sights(&mut self) -> Vec<Sight> {
        self.sights.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn sight(&mut self, sight: impl FnOnce() -> Sight) {
        if let Some(sights) = &mut self.sights {
            sights.push(sight());
        }
    }

    /// A claim was just told that it is granted.
    pub(super) fn sight_grant(&mut self, key: Key, token: Option<Token>) {
        let (Some(sights), Some(hold)) = (&mut self.sights, self.holds.get(&key)) else {
            return;
        };
        let Some(want) = hold.ask.locks.first() else {
            return;
        };
        if let Some(obstacle) = &hold.obstacle {
            sights.push(Sight::Waited(Box::new(Waited {
                lock: want.name.clone(),
                claim_id: hold.id.clone(),
                owner: hold.owner(),
                waited: hold.waited.unwrap_or_default(),
                handed_over: hold.handed_over,
                obstacle: Arc::clone(obstacle),
                trace_id: Arc::clone(&hold.trace.id),
            })));
        }
        if let Some(token) = token.filter(|_| hold.trace.parent.is_some()) {
            sights.push(Sight::Held(Box::new(Held {
                lock: want.name.clone(),
                mode: want.mode,
                token,
                claim_id: hold.id.clone(),
                trace: hold.trace.clone(),
            })));
        }
    }

    /// A claim is about to end.
    pub(super) fn sight_end(&mut self, key: Key, how: &Ending, held: Option<Duration>) {
        let (Some(sights), Some(hold)) = (&mut self.sights, self.holds.get(&key)) else {
            return;
        };
        let Some(want) = hold.ask.locks.first() else {
            return; // an id that was used up and never claimed
        };
        if let Some(obstacle) = hold.obstacle.as_ref().filter(|_| held.is_none()) {
            sights.push(Sight::GaveUp {
                lock: want.name.clone(),
                since: obstacle.since,
            });
        } else if held.is_none() {
            return; // a try that was refused: nothing that had begun has ended
        }
        let traced = hold.trace.parent.is_some() && held.is_some();
        sights.push(Sight::Ended {
            lock: want.name.clone(),
            state: how.state,
            reason: how.reason,
            held,
            traced: traced.then(|| hold.id.clone()),
        });
    }

    /// A lock is asked back from those that use it.
    pub(super) fn sight_recall(&mut self, id: SpotId, wanted_by: Option<Party>) {
        let (Some(sights), Some(spot)) = (&mut self.sights, self.spots.get(id)) else {
            return;
        };
        let users = spot
            .users
            .iter()
            .filter_map(|user| self.holds.get(&user.key));
        let users = users.filter(|hold| hold.trace.parent.is_some());
        let users = users.map(|hold| hold.id.clone()).collect();
        sights.push(Sight::Recalled {
            lock: spot.name().clone(),
            wanted_by,
            users,
        });
    }
}
