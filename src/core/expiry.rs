//! PURE: when sessions and lock-delays run out, and what to propose then (design 5.2, 5.3, 5.6).
//! In: effects as they are applied, on every replica; now; whether this node serves.
//! Out: compare-and-expire commands, paced. Never: a clock reading, or an expiry by a node that stalled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::planted::{self, Bug};
use crate::table::command::{Command, Effect};
use crate::table::id::{DelayNumber, LockName, RenewalNumber, SessionId};
use crate::table::state::Table;
use crate::world::clock::Instant;

/// How often the shell asks. The bound of lateness of an expiry, besides its jitter.
pub const TICK: Duration = Duration::from_millis(50);
/// A tick that comes this long after the one before means that this process stalled: renewals that
/// arrived meanwhile are not read yet.
pub const STALL: Duration = Duration::from_millis(500);
/// Most expiries of one tick, 1280 a second: foreground work goes first.
pub const DUE_MAX: usize = 64;
/// An expiry without effect after this long is proposed again.
const RETRY: Duration = Duration::from_secs(2);
/// A session is expired up to this part of its TTL late, so that those that died together do not end
/// together.
const JITTER_PART: u64 = 16;
/// Sidecars renew at a third of the TTL.
const RENEWALS_PER_TTL: u32 = 3;

/// The timers of one shard on one replica.
#[derive(Debug, Default)]
pub struct Expiry {
    sessions: BTreeMap<SessionId, SessionTimer>,
    delays: BTreeMap<LockName, DelayTimer>,
    queue: BTreeSet<(Instant, Item)>,
    /// How many sessions have each TTL, for the longest.
    ttls: BTreeMap<u32, usize>,
    held: Hold,
}

#[derive(Debug)]
struct SessionTimer {
    number: RenewalNumber,
    ttl_ms: u32,
    due: Instant,
}

#[derive(Debug)]
struct DelayTimer {
    delay: DelayNumber,
    due: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Session(SessionId),
    Delay(LockName),
}

/// Until when nothing is proposed, and what that is judged by.
#[derive(Debug, Default)]
struct Hold {
    /// The term in which this node serves, if it does.
    term: Option<u64>,
    last_tick: Option<Instant>,
    until: Instant,
    stalls: u64,
}

impl Expiry {
    /// How many ticks came too late.
    pub fn stalls(&self) -> u64 {
        self.held.stalls
    }

    /// Starts, restarts or drops timers for what was applied. `now` is read after the entry was applied,
    /// so a timer runs at least its whole time; `table` is the state after it.
    pub fn applied(&mut self, now: Instant, table: &Table, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::SessionTimer {
                    session,
                    number,
                    ttl_ms,
                } => self.start_session(now, *session, *number, *ttl_ms),
                Effect::SessionEnded { session, .. } => self.drop_session(*session),
                Effect::DelayTimer {
                    lock,
                    delay,
                    delay_ms,
                } => self.start_delay(now, lock, *delay, *delay_ms),
                Effect::LockChanged { lock, .. } => self.check_delay(table, lock),
                Effect::Granted(_)
                | Effect::Delegated(_)
                | Effect::Recalled { .. }
                | Effect::Refused { .. }
                | Effect::Wanted { .. }
                | Effect::ClaimEnded { .. }
                | Effect::OrderInverted(_)
                | Effect::BreakAsked { .. } => {}
            }
        }
    }

    /// After a restart or a snapshot: drops all timers, and starts every session and every lock-delay
    /// with its full time. (That part of it had passed, only the lost timers knew.)
    pub fn reloaded(&mut self, now: Instant, table: &Table) {
        if planted::is(Bug::TimersSurviveElection) {
            return;
        }
        let held = std::mem::take(&mut self.held);
        *self = Self {
            held,
            ..Self::default()
        };
        for (id, session) in table.sessions() {
            let over = session.ending.is_some();
            let ttl_ms = if over { 0 } else { session.ttl_ms };
            self.start_session(now, id, session.renewal, ttl_ms);
        }
        for (name, lock) in table.locks_after(None) {
            if let Some(closed) = lock.closed {
                self.start_delay(now, name, closed.delay, closed.delay_ms);
            }
        }
    }

    /// What is due. `serving` is the term in which this node leads with a commit of its own, if it does.
    ///
    /// Nothing is due until one renewal interval (a third of the longest TTL) has passed since the first
    /// tick that saw the term, or since a late tick: whoever could not renew meanwhile gets the chance.
    pub fn tick(&mut self, now: Instant, serving: Option<u64>) -> Vec<Command> {
        let stalled = self
            .held
            .last_tick
            .is_some_and(|last| now.since(last) > STALL);
        let new_term = serving.is_some() && serving != self.held.term;
        self.held.last_tick = Some(now);
        self.held.term = serving;
        self.held.stalls += u64::from(stalled);
        let stalled = stalled && !planted::is(Bug::StalledLeaderExpires);
        let new_term = new_term && !planted::is(Bug::NewLeaderExpires);
        if stalled || new_term {
            self.held.until = self.held.until.max(now + self.renewal_interval());
        }
        if serving.is_none() || now < self.held.until {
            return Vec::new();
        }
        self.due(now)
    }

    /// A third of the longest TTL in force.
    pub fn renewal_interval(&self) -> Duration {
        let longest = self.ttls.last_key_value().map_or(0, |(ttl, _)| *ttl);
        Duration::from_millis(longest.into()) / RENEWALS_PER_TTL
    }

    fn due(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        while commands.len() < DUE_MAX {
            let Some((due, item)) = self.queue.first().cloned() else {
                break;
            };
            if due > now {
                break;
            }
            self.queue.pop_first();
            let retry = now + RETRY;
            let command = match &item {
                Item::Session(id) => self.sessions.get_mut(id).map(|timer| {
                    timer.due = retry;
                    Command::Expire {
                        session: *id,
                        number: timer.number,
                    }
                }),
                Item::Delay(lock) => self.delays.get_mut(lock).map(|timer| {
                    timer.due = retry;
                    Command::Reopen {
                        lock: lock.clone(),
                        delay: timer.delay,
                    }
                }),
            };
            if let Some(command) = command {
                commands.push(command);
                self.queue.insert((retry, item));
            }
        }
        commands
    }

    fn start_session(&mut self, now: Instant, id: SessionId, number: RenewalNumber, ttl_ms: u32) {
        self.drop_session(id);
        let due = now + Duration::from_millis(ttl_ms.into()) + jitter(id, number, ttl_ms);
        self.queue.insert((due, Item::Session(id)));
        *self.ttls.entry(ttl_ms).or_default() += 1;
        let timer = SessionTimer {
            number,
            ttl_ms,
            due,
        };
        self.sessions.insert(id, timer);
    }

    fn drop_session(&mut self, id: SessionId) {
        let Some(timer) = self.sessions.remove(&id) else {
            return;
        };
        self.queue.remove(&(timer.due, Item::Session(id)));
        if let Some(count) = self.ttls.get_mut(&timer.ttl_ms) {
            *count -= 1;
            if *count == 0 {
                self.ttls.remove(&timer.ttl_ms);
            }
        }
    }

    fn start_delay(&mut self, now: Instant, lock: &LockName, delay: DelayNumber, delay_ms: u32) {
        let due = now + Duration::from_millis(delay_ms.into());
        let item = Item::Delay(lock.clone());
        if let Some(older) = self.delays.insert(lock.clone(), DelayTimer { delay, due }) {
            self.queue.remove(&(older.due, item.clone()));
        }
        self.queue.insert((due, item));
    }

    /// Drops the timer of a delay that is over.
    fn check_delay(&mut self, table: &Table, lock: &LockName) {
        let Some(timer) = self.delays.get(lock) else {
            return;
        };
        let closed = table.lock(lock).and_then(|lock| lock.closed);
        if closed.is_none_or(|closed| closed.delay != timer.delay) {
            self.queue.remove(&(timer.due, Item::Delay(lock.clone())));
            self.delays.remove(lock);
        }
    }
}

/// Late by up to a sixteenth of the TTL; the same on every replica, different for each renewal.
fn jitter(id: SessionId, number: RenewalNumber, ttl_ms: u32) -> Duration {
    // Fibonacci hashing spreads neighbours evenly.
    let mixed = (id.0 ^ number.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = u64::from(ttl_ms) / JITTER_PART;
    Duration::from_millis(((mixed >> 32) * part) >> 32)
}
