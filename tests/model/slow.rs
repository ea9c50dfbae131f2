//! The slow, obvious table: lists of claims, everything worked out anew for each decision.
//! In: a command, and the moves that the real table made (to follow its choice where several are legal).
//! Out: what should have been said and told. Never: an index, a counter of waiters, a shortcut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sidelock::table::command::{
    Acquire, BreakReply, Command, EndCause, Grant, Mode, Operate, OperateReply, Operation,
    OperationReply, Policy, Refusal, Release, Renewal, RenewalReply, Reply, Want, Was,
};
use sidelock::table::id::{
    ClaimRef, DelayNumber, Generation, LockName, OwnerId, PRIORITY_MAX, RenewalNumber, Revision,
    Seq, SessionId, SessionKey,
};

use super::heard::{Heard, Move, Past, Told};
use super::order::Orders;

/// A session as its sidecar would remember it.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub key: SessionKey,
    pub ttl_ms: u32,
    pub generation: Generation,
    pub renewal: u64,
    pub seq: u64,
    pub acked: u64,
    pub replies: BTreeMap<u64, OperationReply>,
}

/// A live claim; it holds if it has tokens.
#[derive(Clone, Debug)]
pub struct Claim {
    pub name: ClaimRef,
    pub owner: OwnerId,
    pub wants: Vec<Want>,
    pub priority: u8,
    pub arrival: u64,
    pub passed: u32,
    pub tokens: Vec<u64>,
    pub breaking: bool,
    pub value: Option<Arc<str>>,
}

impl Claim {
    pub fn waits(&self) -> bool {
        self.tokens.is_empty()
    }

    pub fn place(&self) -> (u8, u64) {
        let rank = if self.passed >= 64 {
            0
        } else {
            PRIORITY_MAX + 1 - self.priority
        };
        (rank, self.arrival)
    }

    pub fn mode(&self, lock: &LockName) -> Option<Mode> {
        self.wants
            .iter()
            .find(|want| want.name == *lock)
            .map(|want| want.mode)
    }
}

/// The whole state.
#[derive(Clone, Debug, Default)]
pub struct Slow {
    pub sessions: Vec<Session>,
    pub claims: Vec<Claim>,
    pub closed: Vec<(LockName, u64, u32)>,
    pub policies: Vec<(Arc<str>, Policy)>,
    pub token: u64,
    pub arrival: u64,
    pub delay: u64,
    /// What this step told the outside and left in history.
    pub told: Vec<Told>,
    pub past: Vec<Past>,
    /// Which classes of locks were held while which were taken.
    pub orders: Orders,
    /// The grants and victims that the real table chose in this step, in order.
    moves: VecDeque<Move>,
}

impl Slow {
    /// Applies one command, to which the real table did what was `heard`.
    pub fn apply(&mut self, command: &Command, heard: &Heard) -> Reply {
        self.told.clear();
        self.past.clear();
        self.moves = heard.moves.iter().cloned().collect();
        let reply = match command {
            Command::OpenSession(open) => self.open(open.key, open.ttl_ms, open.generation, heard),
            Command::Renew(all) => Reply::Renewed(all.iter().map(|one| self.renew(one)).collect()),
            Command::Expire { session, number } => {
                let last = self.session(*session).map(|session| session.renewal);
                let expires = last == Some(number.0);
                if expires {
                    self.end_session(*session, EndCause::SessionExpired);
                }
                Reply::Expired(expires)
            }
            Command::Operate(operate) => Reply::Operated(self.operate(operate, heard)),
            Command::Reopen { lock, delay } => {
                let before = self.closed.len();
                self.closed
                    .retain(|(name, run, _)| name != lock || *run != delay.0);
                Reply::Reopened(self.closed.len() < before)
            }
            Command::Break(request) => Reply::Broken(self.break_lock(&request.lock, request.force)),
            Command::SetPolicy { prefix, policy } => {
                self.policies.retain(|(old, _)| old != prefix);
                self.policies
                    .extend(policy.map(|policy| (prefix.clone(), policy)));
                Reply::Done
            }
            Command::TrimHistory { .. } => Reply::Done,
        };
        self.settle();
        reply
    }

    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    pub fn claim(&self, name: ClaimRef) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.name == name)
    }

    /// The longest prefix wins.
    pub fn policy(&self, lock: &LockName) -> Option<&(Arc<str>, Policy)> {
        let fits = self
            .policies
            .iter()
            .filter(|(prefix, _)| lock.as_str().starts_with(&**prefix));
        fits.max_by_key(|(prefix, _)| prefix.len())
    }

    /// The claims in the way of `claim` on `lock`: its holders, and the waiters before it.
    pub fn ahead<'a>(
        &'a self,
        claim: &'a Claim,
        lock: &'a LockName,
    ) -> impl Iterator<Item = &'a Claim> {
        self.claims.iter().filter(move |other| {
            let before = !other.waits() || other.place() < claim.place();
            other.name != claim.name && other.mode(lock).is_some() && before
        })
    }

    /// Whether the claims ahead would let `claim` have `lock`.
    pub fn fits<'a>(
        &self,
        claim: &Claim,
        lock: &LockName,
        ahead: impl Iterator<Item = &'a Claim>,
    ) -> bool {
        let modes: Vec<Mode> = ahead.filter_map(|other| other.mode(lock)).collect();
        let taken = modes.iter().map(|mode| match mode {
            Mode::Semaphore { permits, .. } => Some(u64::from(*permits)),
            Mode::Exclusive | Mode::Shared => None,
        });
        match claim.mode(lock) {
            None => false,
            Some(Mode::Exclusive) => modes.is_empty(),
            Some(Mode::Shared) => modes.iter().all(|mode| *mode == Mode::Shared),
            Some(Mode::Semaphore { permits, limit }) => {
                let limit = self.limit(lock).unwrap_or(limit);
                // Accepted under a greater limit than there is now: it needs all that there are.
                let need = u64::from(permits.min(limit));
                let taken = taken.sum::<Option<u64>>();
                taken.is_some_and(|taken| taken + need <= u64::from(limit))
            }
        }
    }

    /// The limit in force: the policy's, else the least that a live claim states.
    pub fn limit(&self, lock: &LockName) -> Option<u32> {
        let stated = self
            .claims
            .iter()
            .filter_map(|claim| match claim.mode(lock) {
                Some(Mode::Semaphore { limit, .. }) => Some(limit),
                Some(Mode::Exclusive | Mode::Shared) | None => None,
            });
        let policy = self
            .policy(lock)
            .and_then(|(_, policy)| policy.semaphore_limit);
        policy.or(stated.min())
    }

    fn delay_of(&self, lock: &LockName) -> Option<u32> {
        self.closed
            .iter()
            .find(|(name, _, _)| name == lock)
            .map(|(_, _, delay_ms)| *delay_ms)
    }

    fn open(
        &mut self,
        key: SessionKey,
        ttl_ms: u32,
        generation: Generation,
        heard: &Heard,
    ) -> Reply {
        if !self.sessions.iter().any(|session| session.key == key) {
            let id = heard.fresh_session();
            let (acked, replies) = (0, BTreeMap::new());
            self.sessions.push(Session {
                id,
                key,
                ttl_ms,
                generation,
                renewal: 0,
                seq: 0,
                acked,
                replies,
            });
            self.told.push(Told::Timer(id, 0, ttl_ms));
        }
        let found = self.sessions.iter_mut().find(|session| session.key == key);
        let session = found.expect("just opened, if it was not there");
        if generation < session.generation {
            return Reply::SessionTakenOver;
        }
        if generation > session.generation {
            session.generation = generation;
            session.acked = session.seq;
            session.replies.clear();
        }
        Reply::SessionOpened {
            session: session.id,
            generation,
            ttl_ms: session.ttl_ms,
        }
    }

    fn renew(&mut self, renewal: &Renewal) -> RenewalReply {
        let Some(session) = self
            .sessions
            .iter_mut()
            .find(|one| one.id == renewal.session)
        else {
            return RenewalReply::UnknownSession;
        };
        if renewal.generation != session.generation || renewal.number.0 <= session.renewal {
            return RenewalReply::Superseded;
        }
        session.renewal = renewal.number.0;
        self.told
            .push(Told::Timer(session.id, session.renewal, session.ttl_ms));
        RenewalReply::Renewed {
            number: RenewalNumber(session.renewal),
            ttl_ms: session.ttl_ms,
        }
    }

    fn end_session(&mut self, id: SessionId, cause: EndCause) {
        self.told.push(Told::SessionEnded(id, cause));
        // Whoever waits leaves first, so that nothing of the session stands in a line any more.
        for waits in [true, false] {
            let ended = |claim: &&Claim| claim.name.session == id && claim.waits() == waits;
            let names = self.claims.iter().filter(ended).map(|claim| claim.name);
            for name in names.collect::<Vec<ClaimRef>>() {
                self.end_claim(name, cause);
            }
        }
        self.sessions.retain(|session| session.id != id);
    }

    /// Takes a claim away; its death closes what it held for the delay of each lock.
    fn end_claim(&mut self, name: ClaimRef, cause: EndCause) {
        let index = self.claims.iter().position(|claim| claim.name == name);
        let claim = self
            .claims
            .remove(index.expect("only live claims are ended"));
        if claim.waits() {
            self.past.push(Past::Left(name, cause));
            return;
        }
        self.past.push(Past::Ended(name, claim.tokens, cause));
        if !cause.is_death() {
            return;
        }
        for want in &claim.wants {
            let delay_ms = self
                .policy(&want.name)
                .map_or(0, |(_, policy)| policy.lock_delay_ms);
            if delay_ms > 0 {
                self.delay += 1;
                let delay_ms = self
                    .delay_of(&want.name)
                    .map_or(delay_ms, |old| old.max(delay_ms));
                self.closed.retain(|(lock, _, _)| *lock != want.name);
                self.closed.push((want.name.clone(), self.delay, delay_ms));
                self.told.push(Told::Delay(
                    want.name.clone(),
                    DelayNumber(self.delay),
                    delay_ms,
                ));
            }
        }
    }

    fn operate(&mut self, operate: &Operate, heard: &Heard) -> OperateReply {
        let Some(session) = self
            .sessions
            .iter_mut()
            .find(|one| one.id == operate.session)
        else {
            return OperateReply::UnknownSession;
        };
        if operate.generation != session.generation {
            return OperateReply::Superseded;
        }
        if operate.seq.0 > session.seq + 1 {
            return OperateReply::Gap {
                expected: Seq(session.seq + 1),
            };
        }
        session.acked = session.acked.max(operate.acked.0.min(session.seq));
        let acked = session.acked;
        session.replies.retain(|seq, _| *seq > acked);
        if operate.seq.0 <= session.seq {
            let kept = session.replies.get(&operate.seq.0).cloned();
            return kept.map_or(OperateReply::Forgotten, OperateReply::Applied);
        }
        session.seq += 1;
        let name = ClaimRef {
            session: operate.session,
            seq: operate.seq,
        };
        let reply = match &operate.operation {
            Operation::Acquire(acquire) => self.acquire(name, acquire, heard),
            Operation::Release(release) => self.release(operate.session, release),
            Operation::Denied(lock) => {
                OperationReply::Refused(Refusal::Denied { lock: lock.clone() })
            }
            Operation::SetValue { claim, value } => {
                let name = ClaimRef {
                    session: operate.session,
                    seq: *claim,
                };
                let holds = |claim: &&mut Claim| claim.name == name && !claim.waits();
                let claim = self.claims.iter_mut().find(holds);
                let found = claim.map(|claim| claim.value = Some(value.clone()));
                OperationReply::ValueSet(found.is_some())
            }
            Operation::Delegate { .. }
            | Operation::Return(_)
            | Operation::InUse { .. }
            | Operation::Refill { .. }
            | Operation::Rename { .. } => unreachable!("these schedules delegate nothing"),
            Operation::Close => {
                self.end_session(operate.session, EndCause::SessionClosed);
                OperationReply::Closed
            }
        };
        if let Some(session) = self
            .sessions
            .iter_mut()
            .find(|one| one.id == operate.session)
        {
            // A resend must get what was really said, to the letter.
            session
                .replies
                .extend(heard.applied().map(|said| (operate.seq.0, said)));
        }
        OperateReply::Applied(reply)
    }

    fn release(&mut self, session: SessionId, release: &Release) -> OperationReply {
        let name = ClaimRef {
            session,
            seq: release.claim,
        };
        let was = match self.claim(name) {
            None => Was::Gone,
            Some(claim) if claim.waits() => Was::Waiting,
            Some(_) => Was::Held,
        };
        if was != Was::Gone {
            self.end_claim(name, release.cause);
        }
        OperationReply::Ended {
            revision: Revision(0),
            was,
        }
    }

    fn break_lock(&mut self, lock: &LockName, force: bool) -> BreakReply {
        let holds = |claim: &&Claim| claim.mode(lock).is_some() && !claim.waits();
        let holders = self.claims.iter().filter(holds).map(|claim| claim.name);
        let mut holders: Vec<ClaimRef> = holders.collect();
        holders.sort_unstable();
        for name in &holders {
            if force {
                self.end_claim(*name, EndCause::Broken);
                self.told.push(Told::ClaimEnded(*name, EndCause::Broken));
            } else {
                let claim = self.claims.iter_mut().find(|claim| claim.name == *name);
                let claim = claim.expect("it is one of the holders");
                if !std::mem::replace(&mut claim.breaking, true) {
                    self.past.push(Past::BreakAsked(*name));
                    self.told.push(Told::BreakAsked(*name));
                }
            }
        }
        match (holders.is_empty(), force) {
            (true, _) => BreakReply::NotHeld,
            (false, true) => BreakReply::Freed,
            (false, false) => BreakReply::Asked,
        }
    }

    fn acquire(&mut self, name: ClaimRef, acquire: &Acquire, heard: &Heard) -> OperationReply {
        let complaints = self.complaints(acquire);
        if let Some(first) = complaints.first() {
            // With several things wrong, any of them may be told.
            let told = complaints
                .iter()
                .find(|one| heard.refusal().as_ref() == Some(*one));
            return OperationReply::Refused(told.unwrap_or(first).clone());
        }
        self.arrival += 1;
        self.claims.push(Claim {
            name,
            owner: acquire.owner.clone(),
            wants: acquire.locks.clone(),
            priority: acquire.priority,
            arrival: self.arrival,
            passed: 0,
            tokens: Vec::new(),
            breaking: false,
            value: acquire.value.clone(),
        });
        let claim = self.claims.last().expect("just pushed");
        if self.grantable(claim) {
            return OperationReply::Granted(self.grant(name));
        }
        if !acquire.wait {
            let refusal = self.why_not(claim);
            self.claims.pop();
            return OperationReply::Refused(refusal);
        }
        if let Some(refusal) = self.full(claim) {
            self.claims.pop();
            return OperationReply::Refused(refusal);
        }
        let ahead = claim.wants.iter().map(|want| {
            self.ahead(claim, &want.name)
                .filter(|other| other.waits())
                .count()
        });
        let ahead = u32::try_from(ahead.max().unwrap_or(0)).expect("few claims");
        if let Some(Refusal::Deadlock(cycle)) = heard.raw_refusal() {
            super::deadlock::judge(self, name, cycle);
            self.claims.pop();
            self.past.push(Past::Deadlocked(name));
            return OperationReply::Refused(Refusal::Deadlock(Vec::new()));
        }
        self.past.push(Past::Queued(name));
        OperationReply::Queued {
            revision: Revision(0),
            ahead,
            behind: None,
        }
    }

    /// All that is wrong with a request, whoever holds and waits.
    fn complaints(&self, acquire: &Acquire) -> Vec<Refusal> {
        let mut all = Vec::new();
        if acquire.locks.is_empty() || acquire.priority > PRIORITY_MAX {
            all.push(Refusal::Invalid("".into()));
        }
        for (index, want) in acquire.locks.iter().enumerate() {
            if acquire.locks[..index]
                .iter()
                .any(|earlier| earlier.name == want.name)
            {
                all.push(Refusal::Invalid("".into()));
            }
            let Mode::Semaphore {
                permits,
                limit: stated,
            } = want.mode
            else {
                continue;
            };
            if permits == 0 || permits > stated {
                all.push(Refusal::Invalid("".into()));
            }
            let lock = want.name.clone();
            let other = self.limit(&lock).filter(|limit| *limit != stated);
            all.extend(other.map(|limit| Refusal::SemaphoreLimit { lock, limit }));
        }
        all
    }

    fn full(&self, claim: &Claim) -> Option<Refusal> {
        claim.wants.iter().find_map(|want| {
            let (prefix, policy) = self.policy(&want.name)?;
            let waiters_max = policy.waiters_max?;
            let waits = |other: &&Claim| {
                other.waits() && other.name != claim.name && other.mode(&want.name).is_some()
            };
            let full = self.claims.iter().filter(waits).count() >= waiters_max as usize;
            let (lock, policy) = (want.name.clone(), prefix.clone());
            full.then_some(Refusal::QueueFull {
                lock,
                waiters_max,
                policy,
            })
        })
    }

    /// Why a claim that would not wait cannot be granted.
    fn why_not(&self, claim: &Claim) -> Refusal {
        let blocks = |want: &&Want| {
            let ahead = self.ahead(claim, &want.name);
            self.delay_of(&want.name).is_some() || !self.fits(claim, &want.name, ahead)
        };
        let want = claim
            .wants
            .iter()
            .find(blocks)
            .expect("it was not grantable");
        let lock = want.name.clone();
        if let Some(delay_ms) = self.delay_of(&lock) {
            return Refusal::LockDelay { lock, delay_ms };
        }
        let others = || {
            let others = self.claims.iter().filter(|other| other.name != claim.name);
            others.filter(|other| other.mode(&want.name).is_some())
        };
        let count = |waits| others().filter(|other| other.waits() == waits).count() as u32;
        let shown = others().min_by_key(|other| (other.waits(), other.place()));
        let shown = shown.expect("somebody is in the way");
        Refusal::Held {
            lock,
            holder: super::heard::party(shown),
            holders: count(false),
            waiters: count(true),
        }
    }

    pub fn grantable(&self, claim: &Claim) -> bool {
        claim.wants.iter().all(|want| {
            self.delay_of(&want.name).is_none()
                && self.fits(claim, &want.name, self.ahead(claim, &want.name))
        })
    }

    /// Gives a claim its tokens and counts it as passed by those of lower classes that it overtook.
    fn grant(&mut self, name: ClaimRef) -> Grant {
        let claim = self.claim(name).expect("granted while live").clone();
        for other in self
            .claims
            .iter_mut()
            .filter(|other| other.waits() && other.passed < 64)
        {
            let overtaken = other.priority < claim.priority && other.arrival < claim.arrival;
            if overtaken
                && claim
                    .wants
                    .iter()
                    .any(|want| other.mode(&want.name).is_some())
            {
                other.passed += 1;
            }
        }
        let inverted = self.orders.note(&self.claims, &claim);
        let inverted = inverted.into_iter();
        self.told
            .extend(inverted.map(|(edge, len)| Told::Inverted(edge, len)));
        let first = self.token + 1;
        self.token += claim.wants.len() as u64;
        let tokens: Vec<u64> = (first..=self.token).collect();
        let granted = self.claims.iter_mut().find(|one| one.name == name);
        granted.expect("looked up above").tokens.clone_from(&tokens);
        self.past.push(Past::Granted(name, tokens.clone()));
        super::heard::grant(name, &tokens)
    }

    /// Grants whatever can be and ends a victim of each deadlock, until there is neither. Where several
    /// moves are legal it makes that of the real table.
    fn settle(&mut self) {
        while let Some(next) = self.moves.pop_front() {
            match next {
                Move::Grant(name) => {
                    let legal = self
                        .claim(name)
                        .is_some_and(|one| one.waits() && self.grantable(one));
                    assert!(legal, "{name:?} was granted, but must wait");
                    let grant = self.grant(name);
                    self.told.push(Told::Granted(grant));
                }
                Move::Abort(name, cycle) => {
                    super::deadlock::judge(self, name, &cycle);
                    self.end_claim(name, EndCause::Deadlock);
                    self.told.push(Told::ClaimEnded(name, EndCause::Deadlock));
                }
            }
        }
        let left = self
            .claims
            .iter()
            .find(|claim| claim.waits() && self.grantable(claim));
        assert!(
            left.is_none(),
            "could be granted, but was left waiting: {left:?}"
        );
        let stuck = super::deadlock::on_cycles(self);
        assert!(stuck.is_empty(), "an undetected deadlock of {stuck:?}");
    }
}
