//! PURE: what the app is shown of a claim, and how refusals of the core read to it.
//! In: a hold, the session's deadline, now. Out: views with relative, conservative times.
//! Never: a promise longer than what is certain.

use std::sync::Arc;
use std::time::Duration;

use super::handle::{
    ClaimAsk, ClaimError, ClaimState, ClaimView, Contention, Findings, HistoryView, Reason,
    SidecarMode,
};
use super::hold::{Hold, Stage};
use super::lease::left;
use crate::planted::{self, Bug};
use crate::table::command::{CycleEdge, Refusal, Want};
use crate::table::id::{ClaimId, LockName};
use crate::world::clock::Instant;

/// What a view depends on beside the claim itself.
#[derive(Debug, Clone, Copy)]
pub struct Light {
    /// The moment of the answer.
    pub now: Instant,
    /// The session's safe deadline, only if it is ahead of `now`.
    pub certain: Option<Instant>,
    /// The mode.
    pub mode: SidecarMode,
}

/// The claim as it stands. Its lease counts from a moment when the sidecar already had the request, and
/// the app counts from when it sent it, which is earlier: so the app always stops first.
pub fn view(hold: &Hold, light: Light) -> ClaimView {
    let mut view = ClaimView {
        claim_id: hold.id.clone(),
        state: ClaimState::Queued,
        reason: None,
        locks: hold.ask.locks.clone(),
        tokens: Vec::new(),
        expires_in: None,
        safe_for: None,
        safe_until: None,
        waited: hold.waited.unwrap_or_else(|| light.now.since(hold.asked)),
        local: hold.local,
        replayed: false,
        revision: hold.journal.revision(),
        obstacle: hold.obstacle.clone(),
        owner: hold.owner(),
        metadata: hold.ask.metadata.clone(),
        mode: light.mode,
    };
    match &hold.stage {
        Stage::Asking | Stage::Withheld { .. } | Stage::Waiting { .. } => {
            view.expires_in = attended(hold, light);
        }
        Stage::Held { tokens, until, .. } => {
            view.tokens.clone_from(tokens);
            let lease = lease_end(hold, *until, light.now);
            view.expires_in = Some(lease.since(light.now));
            match light.certain {
                Some(certain) => {
                    let safe = certain.min(lease);
                    view.state = ClaimState::Granted;
                    view.safe_for = Some(left(safe, light.now).unwrap_or(Duration::ZERO));
                    view.safe_until = Some(safe);
                }
                None if planted::is(Bug::GrantedPastDeadline) => view.state = ClaimState::Granted,
                None => {
                    view.state = ClaimState::Jeopardy;
                    view.reason = Some(Reason::DeadlinePassed);
                }
            }
        }
        Stage::Ended(ended) => {
            view.state = ended.state;
            view.reason = ended.reason;
            view.tokens.clone_from(&ended.tokens);
        }
    }
    view
}

/// While a stream keeps it alive, a lease always has its whole TTL left: that is what it keeps if the
/// stream breaks this very moment.
fn lease_end(hold: &Hold, until: Instant, now: Instant) -> Instant {
    if hold.bound > 0 {
        now + hold.ttl
    } else {
        until
    }
}

fn attended(hold: &Hold, light: Light) -> Option<Duration> {
    hold.queue
        .then(|| lease_end(hold, hold.attend_until, light.now).since(light.now))
}

/// Puts the sidecar's prefix before the names the apps use, and takes it off again.
#[derive(Debug, Clone)]
pub struct Prefix(pub Arc<str>);

impl Prefix {
    /// The core's name of an app's lock; an error in words if it becomes too long.
    pub fn add(&self, name: &LockName) -> Result<LockName, String> {
        if self.0.is_empty() {
            return Ok(name.clone());
        }
        LockName::parse(&format!("{}{name}", self.0))
            .map_err(|error| format!("the lock name with this sidecar's prefix {error}"))
    }

    /// The app's name of a lock; names that are not under the prefix stay as they are.
    pub fn strip(&self, name: &LockName) -> LockName {
        let rest = name.as_str().strip_prefix(&*self.0);
        rest.filter(|_| !self.0.is_empty())
            .and_then(|rest| LockName::parse(rest).ok())
            .unwrap_or_else(|| name.clone())
    }

    /// The locks of a request with the core's names.
    pub fn wants(&self, ask: &ClaimAsk) -> Result<Vec<Want>, String> {
        let wants = ask.locks.iter().map(|want| {
            Ok(Want {
                name: self.add(&want.name)?,
                mode: want.mode,
            })
        });
        wants.collect()
    }

    /// A cycle with the app's names.
    pub fn cycle(&self, mut cycle: Vec<CycleEdge>) -> Vec<CycleEdge> {
        self.edges(&mut cycle);
        cycle
    }

    /// History with the app's names.
    pub fn history(&self, records: &mut [HistoryView]) {
        for want in records
            .iter_mut()
            .flat_map(|view| Arc::make_mut(&mut view.record.locks))
        {
            want.name = self.strip(&want.name);
        }
    }

    /// Findings with the app's names. Classes of locks stay as the core has them: those of the locks under a
    /// prefix are one.
    pub fn findings(&self, mut found: Findings) -> Findings {
        match &mut found {
            Findings::Deadlocks(deadlocks) => {
                let deadlocks = deadlocks.iter_mut();
                deadlocks.for_each(|it| self.edges(Arc::make_mut(&mut it.edges)));
            }
            Findings::Waits(waits) => self.edges(&mut waits.edges),
            Findings::Why(why) => {
                why.name = self.strip(&why.name);
                for name in why.queue.iter_mut().flat_map(|it| &mut it.elsewhere) {
                    *name = self.strip(name);
                }
                self.history(&mut why.history);
            }
            Findings::Contention(view) => {
                for lock in &mut view.locks {
                    lock.name = self.strip(&lock.name);
                }
            }
            Findings::Order(_) | Findings::Sessions(_) => {}
        }
        found
    }

    fn edges(&self, edges: &mut [CycleEdge]) {
        for edge in edges {
            edge.lock = self.strip(&edge.lock);
        }
    }
}

/// What the app reads when the core refuses a claim. `retry_after` estimates by number of waiters.
pub fn refusal(
    refusal: Refusal,
    prefix: &Prefix,
    retry_after: impl FnOnce(u32) -> Duration,
) -> ClaimError {
    match refusal {
        Refusal::Held {
            lock,
            holder,
            holders: _,
            waiters,
        } => ClaimError::Held(Contention {
            lock: prefix.strip(&lock),
            holder: Some(Box::new(holder)),
            waiters,
            retry_after: retry_after(waiters),
        }),
        Refusal::LockDelay { lock, delay_ms } => ClaimError::LockDelay {
            lock: prefix.strip(&lock),
            delay: Duration::from_millis(u64::from(delay_ms)),
        },
        Refusal::Deadlock(cycle) => ClaimError::Deadlock(prefix.cycle(cycle)),
        Refusal::SemaphoreLimit { lock, limit } => ClaimError::SemaphoreLimit {
            lock: prefix.strip(&lock),
            limit,
        },
        Refusal::QueueFull {
            lock,
            waiters_max,
            policy,
        } => ClaimError::QueueFull {
            lock: prefix.strip(&lock),
            waiters_max,
            policy,
        },
        Refusal::Invalid(text) => ClaimError::Invalid(text.to_string()),
        Refusal::Denied { lock } => ClaimError::Denied {
            lock: prefix.strip(&lock),
        },
    }
}

/// A claim id that was DELETEd before any PUT came.
pub fn nobody(id: &ClaimId) -> ClaimAsk {
    ClaimAsk {
        locks: Vec::new(),
        ttl: Duration::ZERO,
        wait: Duration::ZERO,
        queue: false,
        owner: crate::table::id::OwnerId::parse(id.as_str()).ok(),
        metadata: std::collections::BTreeMap::new(),
        value: None,
        priority: 0,
        min_hold: Duration::ZERO,
    }
}
