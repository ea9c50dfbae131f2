//! Runs one schedule through the real table, a replica that restarts, and the slow model, step by step.
//! In: a profile and steps. Out: what was seen, or a panic that says what differs.
//! Never: a step without the laws.

use std::collections::BTreeMap;

use sidelock::table::command::{
    BreakReply, Command, EndCause, OperateReply, OperationReply, Refusal, RenewalReply, Reply,
};
use sidelock::table::id::{LockName, Revision, SessionId};
use sidelock::table::state::{Closed, Key, Object, Stage};
use sidelock::table::{Table, laws};

use super::heard::{Heard, Told, past, plain};
use super::schedule::{Profile, command};
use super::slow::Slow;
use super::witness;

/// How often each outcome was seen.
pub type Seen = BTreeMap<&'static str, u64>;

/// The table under test with a shadow of it on disk, and the model beside it.
#[derive(Default)]
pub struct Run {
    pub table: Table,
    pub slow: Slow,
    /// What the storage would hold, kept by `take_changes` alone.
    stored: BTreeMap<Key, Object>,
    /// Applies the same log, and is now and then loaded anew from the storage.
    replica: Table,
    index: u64,
    pub seen: Seen,
}

/// Runs a whole schedule. Panics on the first difference or broken law.
pub fn run(profile: &Profile, steps: &[u64], mut trace: Option<&mut Vec<Command>>) -> Seen {
    let mut run = Run::default();
    for step in steps {
        let command = command(profile, &run.slow, *step);
        if let Some(trace) = trace.as_deref_mut() {
            trace.push(command.clone());
        }
        run.step(&command);
        if step % 64 == 0 {
            run.restart();
        }
    }
    run.restart();
    run.seen
}

fn is_history_up_to(key: &Key, dropped: Revision) -> bool {
    matches!(key, Key::History(revision) if *revision <= dropped)
}

impl Run {
    /// Applies one command everywhere and judges what came of it.
    pub fn step(&mut self, command: &Command) -> Reply {
        self.index += 1;
        let before = witness::Before::new(self);
        let (reply, effects) = self.table.apply(self.index, command);
        let again = self.replica.apply(self.index, command);
        assert_eq!(again, (reply.clone(), effects.clone()), "a replica differs");
        let changes = self.table.take_changes();
        self.stored
            .retain(|key, _| !is_history_up_to(key, changes.history_dropped));
        for key in changes.keys {
            match self.table.object(&key) {
                Some(object) => self.stored.insert(key, object),
                None => self.stored.remove(&key),
            };
        }
        let heard = Heard::new(reply, effects);
        let expected = self.slow.apply(command, &heard);
        self.compare(expected, &heard);
        if let Err(violation) = laws::check(&self.table) {
            panic!("{violation}");
        }
        self.compare_state();
        before.judge(self, command, &heard);
        self.count(command, &heard);
        heard.raw
    }

    /// What was stored must be the whole table, and a table loaded from it must be the same.
    fn restart(&mut self) {
        let objects: BTreeMap<Key, Object> = self.table.objects().collect();
        assert_eq!(
            objects, self.stored,
            "the dirty keys do not tell all that changed"
        );
        let loaded = Table::load(self.stored.clone());
        self.replica = loaded.expect("what a table stored can be loaded");
        assert!(
            self.replica == self.table,
            "a loaded table differs from the stored one"
        );
    }

    fn compare(&self, expected: Reply, heard: &Heard) {
        let mut said = plain(heard.raw.clone());
        let mut expected = plain(expected);
        // A kept reply may show a claim that is gone: it must be the same to the letter.
        let kept = said == expected;
        if !kept
            && let (Some(said), Some(expected)) = (held_mut(&mut said), held_mut(&mut expected))
        {
            // Any of the holders may be shown; the first waiter only if there is none.
            let shown = self
                .slow
                .claim(said.0.claim)
                .expect("a live claim is shown");
            assert_eq!(*said.0, super::heard::party(shown));
            assert_eq!(shown.waits(), *said.1 == 0, "shown: {shown:?}");
            *said.0 = expected.0.clone();
        }
        assert_eq!(
            said, expected,
            "left: the table's reply, right: the model's"
        );
        assert_eq!(
            heard.told, self.slow.told,
            "left: the table's effects, right: the model's"
        );
    }

    fn compare_state(&self) {
        let mut sessions: Vec<_> = self.slow.sessions.iter().collect();
        sessions.sort_by_key(|session| session.id);
        let ids: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
        assert_eq!(
            self.table.sessions().map(|(id, _)| id).collect::<Vec<_>>(),
            ids
        );
        for expected in sessions {
            let session = self.table.session(expected.id).expect("compared above");
            let numbers = (
                session.ttl_ms,
                session.renewal.0,
                session.seq.0,
                session.acked.0,
            );
            let right = (
                expected.ttl_ms,
                expected.renewal,
                expected.seq,
                expected.acked,
            );
            assert_eq!(
                numbers, right,
                "ttl, renewal, seq, acked of session {}",
                expected.id
            );
        }
        let live = self
            .table
            .sessions()
            .map(|(id, _)| self.table.claims_of(id).count());
        assert_eq!(live.sum::<usize>(), self.slow.claims.len(), "live claims");
        for expected in &self.slow.claims {
            let claim = self
                .table
                .claim(expected.name)
                .expect("as many, so the same");
            match &claim.stage {
                Stage::Waiting { place, passed } => {
                    assert!(expected.waits(), "{claim:?} should hold");
                    assert_eq!((*passed, place.rank), (expected.passed, expected.place().0));
                }
                Stage::Holding {
                    tokens, breaking, ..
                } => {
                    let tokens: Vec<u64> = tokens.iter().map(|token| token.get()).collect();
                    assert_eq!((&tokens, *breaking), (&expected.tokens, expected.breaking));
                }
            }
            assert_eq!(claim.value, expected.value);
        }
        for (name, lock) in self.table.locks_after(None) {
            let closed = |closed: Closed| (name.clone(), closed.delay.0, closed.delay_ms);
            let expected = self
                .slow
                .closed
                .iter()
                .find(|(lock, _, _)| lock == name)
                .cloned();
            assert_eq!(lock.closed.map(closed), expected, "{name} closed");
            let order: Vec<_> = lock.queue.values().copied().collect();
            let waits = self
                .slow
                .claims
                .iter()
                .filter(|one| one.waits() && one.mode(name).is_some());
            let mut queue: Vec<_> = waits.collect();
            queue.sort_by_key(|claim| claim.place());
            let queue: Vec<_> = queue.iter().map(|claim| claim.name).collect();
            assert_eq!(order, queue, "the queue of {name}");
        }
        let order = self.table.order().map(|(before, after, edge)| {
            let key = (before.to_string(), after.to_string());
            (key, (edge.count, !edge.closes.is_empty()))
        });
        assert_eq!(order.collect::<BTreeMap<_, _>>(), self.slow.orders.edges);
        let known = |name: &LockName| self.table.lock(name).is_some();
        assert!(
            self.slow.closed.iter().all(|(name, _, _)| known(name)),
            "a delay was forgotten"
        );
    }

    fn count(&mut self, command: &Command, heard: &Heard) {
        let mut saw = |what| *self.seen.entry(what).or_default() += 1;
        saw(reply_name(&heard.raw));
        if let Reply::Renewed(all) = &heard.raw {
            all.iter().for_each(|one| saw(renewal_name(one)));
        }
        for told in &heard.told {
            saw(match told {
                Told::Granted(_) => "granted after a wait",
                Told::ClaimEnded(_, EndCause::Deadlock) => "another was the victim",
                Told::ClaimEnded(..) => "broken by force",
                Told::BreakAsked(_) => "asked to let go",
                Told::Delay(..) => "closed for a delay",
                Told::SessionEnded(..) => "session ended",
                Told::Timer(..) => "timer",
                Told::Inverted(..) => "orders inverted",
            });
        }
        if matches!(command, Command::TrimHistory { .. }) {
            saw("history trimmed");
        }
        if self
            .slow
            .claims
            .iter()
            .any(|claim| claim.waits() && claim.passed >= 64)
        {
            saw("promoted");
        }
    }

    /// What the history gained since a revision, oldest first.
    pub fn past_since(&self, revision: Revision) -> Vec<super::heard::Past> {
        let newer = self.table.history().take_while(|(at, _)| *at > revision);
        let mut newer: Vec<_> = newer.map(|(_, record)| past(record)).collect();
        newer.reverse();
        newer
    }
}

fn held_mut(reply: &mut Reply) -> Option<(&mut sidelock::table::command::Party, &mut u32)> {
    match reply {
        Reply::Operated(OperateReply::Applied(OperationReply::Refused(Refusal::Held {
            holder,
            holders,
            ..
        }))) => Some((holder, holders)),
        _ => None,
    }
}

fn renewal_name(reply: &RenewalReply) -> &'static str {
    match reply {
        RenewalReply::Renewed { .. } => "renewed",
        RenewalReply::UnknownSession => "renewed: unknown",
        RenewalReply::Superseded => "renewed: superseded",
    }
}

fn reply_name(reply: &Reply) -> &'static str {
    match reply {
        Reply::SessionOpened { .. } => "session opened",
        Reply::SessionTakenOver => "session taken over",
        Reply::SessionOfAnother => "session of another",
        Reply::Renewed(_) => "renewals",
        Reply::Expired(true) => "expired",
        Reply::Expired(false) => "not expired",
        Reply::Reopened(true) => "reopened",
        Reply::Reopened(false) => "not reopened",
        Reply::Broken(BreakReply::NotHeld) => "broken: not held",
        Reply::Broken(BreakReply::Freed) => "broken: freed",
        Reply::Broken(BreakReply::Asked) => "broken: asked",
        Reply::Done => "done",
        Reply::Operated(OperateReply::Forgotten) => "forgotten",
        Reply::Operated(OperateReply::Gap { .. }) => "gap",
        Reply::Operated(OperateReply::UnknownSession) => "unknown session",
        Reply::Operated(OperateReply::Superseded) => "superseded",
        Reply::Operated(OperateReply::Applied(reply)) => match reply {
            OperationReply::Granted(_) => "granted at once",
            OperationReply::Queued { .. } => "queued",
            OperationReply::Ended { .. } => "ended",
            OperationReply::ValueSet(true) => "value set",
            OperationReply::ValueSet(false) => "value not set",
            OperationReply::Closed => "closed",
            OperationReply::Delegated(_)
            | OperationReply::Returned { .. }
            | OperationReply::Refilled(_)
            | OperationReply::Noted => unreachable!("these schedules delegate nothing"),
            OperationReply::Refused(refusal) => match refusal {
                Refusal::Held { .. } => "refused: held",
                Refusal::LockDelay { .. } => "refused: lock-delay",
                Refusal::Deadlock(_) => "refused: deadlock",
                Refusal::SemaphoreLimit { .. } => "refused: semaphore-limit",
                Refusal::QueueFull { .. } => "refused: queue full",
                Refusal::Invalid(_) => "refused: invalid",
                Refusal::Denied { .. } => "refused: denied",
            },
        },
    }
}
