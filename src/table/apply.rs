//! Hop 9: the one door to the table: dispatches a command, then grants what it freed.
//! In: committed commands, in log order. Out: a reply, effects in order, the keys that changed.
//! Never: a waiter left that could be granted, or a cycle left standing, when it returns.

use super::claim::Ending;
use super::command::{Command, Effect, EndCause, Reply};
use super::deadlock::Deadlock;
use super::few::Few;
use super::history::told;
use super::id::{DelayNumber, LockName};
use super::state::{Key, OwnerKey, Table};
use super::verify::FREE_LOCKS_MAX;

/// What one command has set off so far.
pub(super) struct Step {
    /// Log index of the entry.
    pub(super) index: u64,
    /// For the outside.
    pub(super) effects: Vec<Effect>,
    /// Locks of which something was freed: their queues are to be served.
    pub(super) freed: Few<LockName>,
    /// Locks that changed visibly.
    pub(super) changed: Few<LockName>,
    /// Locks whose tries may be decided by now.
    pub(super) tried: Few<LockName>,
    /// Owners who may have come to stand on a cycle.
    pub(super) suspects: Few<OwnerKey>,
}

impl Table {
    /// Applies one command of the log entry at `index`. Equal logs give equal tables, replies and
    /// effects on every replica.
    pub fn apply(&mut self, index: u64, command: &Command) -> (Reply, Vec<Effect>) {
        let before = self.counters;
        let mut step = Step {
            index,
            effects: Vec::new(),
            freed: Few::default(),
            changed: Few::default(),
            tried: Few::default(),
            suspects: Few::default(),
        };
        let reply = self.dispatch(&mut step, command);
        self.settle(&mut step);
        self.remember_or_forget(&mut step);
        if self.counters != before {
            self.dirty.insert(Key::Counters);
        }
        (reply, step.effects)
    }

    fn dispatch(&mut self, step: &mut Step, command: &Command) -> Reply {
        match command {
            Command::OpenSession(open) => self.open_session(step, open),
            Command::Renew(renewals) => {
                let replies = renewals.iter().map(|renewal| self.renew(step, renewal));
                Reply::Renewed(replies.collect())
            }
            Command::Expire { session, number } => {
                Reply::Expired(self.expire(step, *session, *number))
            }
            Command::Operate(operate) => Reply::Operated(self.operate(step, operate)),
            Command::Reopen { lock, delay } => Reply::Reopened(self.reopen(step, lock, *delay)),
            Command::Break(ask) => Reply::Broken(self.break_lock(step, ask)),
            Command::SetPolicy { prefix, policy } => {
                self.set_policy(step, prefix, *policy);
                Reply::Done
            }
            Command::TrimHistory { up_to } => {
                self.trim_history(*up_to);
                Reply::Done
            }
        }
    }

    /// Ends a lock-delay if it is still that run of it. True if it was.
    fn reopen(&mut self, step: &mut Step, name: &LockName, delay: DelayNumber) -> bool {
        let Some(lock) = self.locks.get_mut(name) else {
            return false;
        };
        if lock.closed.is_none_or(|closed| closed.delay != delay) {
            return false;
        }
        lock.closed = None;
        let revision = self.bump();
        self.touch(step, name, revision);
        step.freed.insert(name.clone());
        true
    }

    /// Grants first, then looks for cycles: a grant may take an edge away, and never adds one. Ends,
    /// because each turn serves a lock, clears a suspect, looks at tries or ends a waiting claim, and only the granting
    /// or ending of a claim gives new work.
    fn settle(&mut self, step: &mut Step) {
        loop {
            if let Some(name) = step.freed.pop_first() {
                self.serve(step, &name);
                continue;
            }
            if let Some(suspect) = step.suspects.pop_first() {
                if let Some(deadlock) = self.find_deadlock(&suspect) {
                    self.end_victim(step, deadlock);
                    step.suspects.insert(suspect); // there may be a second cycle through the same owner
                }
                continue;
            }
            let Some(name) = step.tried.pop_first() else {
                return;
            };
            self.refuse_trials(step, &name);
        }
    }

    fn end_victim(&mut self, step: &mut Step, deadlock: Deadlock) {
        let ending = Ending {
            cycle: told(&deadlock.cycle),
            ..Ending::of(EndCause::Deadlock)
        };
        let revision = self.end(step, deadlock.victim, ending);
        step.effects.push(Effect::ClaimEnded {
            claim: deadlock.victim,
            revision,
            cause: EndCause::Deadlock,
            cycle: deadlock.cycle,
        });
    }

    /// Tells the watchers, remembers locks that are free now, and forgets the oldest beyond the bound.
    fn remember_or_forget(&mut self, step: &mut Step) {
        while let Some(name) = step.changed.pop_first() {
            self.recall(step, &name);
            let Some(lock) = self.locks.get(&name) else {
                continue;
            };
            let revision = lock.revision;
            if !lock.queue.is_empty() {
                self.contended.insert(name.clone());
            } else if !self.contended.is_empty() {
                self.contended.remove(&name);
            }
            if lock.is_idle() {
                if lock.newest.any.is_some() {
                    self.free.insert((revision, name.clone()));
                } else {
                    self.locks.remove(&name);
                }
            }
            step.effects.push(Effect::LockChanged {
                lock: name,
                revision,
            });
        }
        while self.free.len() > FREE_LOCKS_MAX
            && let Some((_, oldest)) = self.free.pop_first()
        {
            self.locks.remove(&oldest);
            self.dirty.insert(Key::Lock(oldest));
        }
    }
}
