//! A table with sessions that number their own operations, and short words for what a rule needs.
//! In: what a test wants to happen. Out: replies and effects. Never: a step after which a law is broken.

use std::collections::BTreeMap;

use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::{Table, laws};

pub const X: Mode = Mode::Exclusive;
pub const S: Mode = Mode::Shared;

pub fn permits(permits: u32, limit: u32) -> Mode {
    Mode::Semaphore { permits, limit }
}

/// A table with sessions that number their own operations.
#[derive(Default)]
pub struct Cell {
    pub table: Table,
    pub log: Vec<Command>,
    pub seqs: BTreeMap<SessionId, u64>,
}

/// How a claim is made, apart from its locks.
#[derive(Clone, Copy)]
pub struct How {
    pub wait: bool,
    pub priority: u8,
    pub owner: Option<&'static str>,
}

pub const TRY: How = How {
    wait: false,
    priority: 0,
    owner: None,
};
pub const WAIT: How = How { wait: true, ..TRY };

pub fn owned(owner: &'static str) -> How {
    How {
        owner: Some(owner),
        ..WAIT
    }
}

impl Cell {
    pub fn with_sessions(count: u128) -> (Self, Vec<SessionId>) {
        let mut cell = Self::default();
        let sessions = (1..=count).map(|key| cell.open(key)).collect();
        (cell, sessions)
    }

    pub fn apply(&mut self, command: Command) -> (Reply, Vec<Effect>) {
        let answer = self.table.apply(self.log.len() as u64 + 1, &command);
        self.log.push(command);
        laws::check(&self.table).expect("every law holds after every command");
        answer
    }

    pub fn open(&mut self, key: u128) -> SessionId {
        let open = OpenSession {
            key: SessionKey(key),
            ttl_ms: 10_000,
            identity: format!("pod-{key}").into(),
            generation: Generation(1),
            principal: None,
        };
        match self.apply(Command::OpenSession(open)).0 {
            Reply::SessionOpened { session, .. } => session,
            other => panic!("no session: {other:?}"),
        }
    }

    pub fn operate(
        &mut self,
        session: SessionId,
        operation: Operation,
    ) -> (OperationReply, Vec<Effect>) {
        let seq = self.seqs.entry(session).or_insert(0);
        *seq += 1;
        let operate = operate(session, *seq, operation);
        match self.apply(Command::Operate(operate)) {
            (Reply::Operated(OperateReply::Applied(reply)), effects) => (reply, effects),
            other => panic!("not applied: {other:?}"),
        }
    }

    /// Asks for locks; the name of the claim comes with the reply.
    pub fn take(
        &mut self,
        session: SessionId,
        wants: &[(&str, Mode)],
        how: How,
    ) -> (ClaimRef, OperationReply) {
        let seq = self.seqs.get(&session).copied().unwrap_or(0) + 1;
        let name = ClaimRef {
            session,
            seq: Seq(seq),
        };
        (name, self.operate(session, acquire(seq, wants, how)).0)
    }

    /// A claim that must be granted at once; its tokens.
    pub fn granted(
        &mut self,
        session: SessionId,
        wants: &[(&str, Mode)],
        how: How,
    ) -> (ClaimRef, Vec<u64>) {
        match self.take(session, wants, how) {
            (name, OperationReply::Granted(grant)) => (name, numbers(&grant)),
            other => panic!("not granted: {other:?}"),
        }
    }

    /// A claim that must have to wait.
    pub fn queued(&mut self, session: SessionId, wants: &[(&str, Mode)], how: How) -> ClaimRef {
        match self.take(session, wants, how) {
            (name, OperationReply::Queued { .. }) => name,
            other => panic!("not queued: {other:?}"),
        }
    }

    pub fn refused(&mut self, session: SessionId, wants: &[(&str, Mode)], how: How) -> Refusal {
        match self.take(session, wants, how) {
            (_, OperationReply::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Ends a claim; who was granted in the same entry.
    pub fn release(&mut self, claim: ClaimRef, cause: EndCause) -> Vec<ClaimRef> {
        let release = Operation::Release(Release {
            claim: claim.seq,
            cause,
            waited_ms: 0,
            held_ms: 0,
        });
        grants(&self.operate(claim.session, release).1)
    }

    pub fn expire(&mut self, session: SessionId, number: u64) -> (bool, Vec<Effect>) {
        let number = RenewalNumber(number);
        match self.apply(Command::Expire { session, number }) {
            (Reply::Expired(expired), effects) => (expired, effects),
            other => panic!("no answer to an expiry: {other:?}"),
        }
    }

    pub fn renew(&mut self, session: SessionId, number: u64) -> (RenewalReply, Vec<Effect>) {
        let renewal = Renewal {
            session,
            generation: Generation(1),
            number: RenewalNumber(number),
            heard: RenewalNumber(0),
        };
        match self.apply(Command::Renew(vec![renewal])) {
            (Reply::Renewed(replies), effects) => (replies[0], effects),
            other => panic!("no answer to a renewal: {other:?}"),
        }
    }

    pub fn policy(&mut self, prefix: &str, policy: Policy) {
        let prefix = prefix.into();
        let policy = Some(policy);
        self.apply(Command::SetPolicy { prefix, policy });
    }

    pub fn verify(&self, lock: &str, token: u64) -> (bool, bool) {
        let found = self
            .table
            .verify(&name(lock), Token::new(token).expect("a token"));
        (found.current, found.held)
    }
}

pub fn operate(session: SessionId, seq: u64, operation: Operation) -> Operate {
    Operate {
        session,
        generation: Generation(1),
        seq: Seq(seq),
        acked: Seq(0),
        operation,
    }
}

pub fn acquire(id: u64, wants: &[(&str, Mode)], how: How) -> Operation {
    let id = format!("c{id}");
    let want = |(lock, mode): &(&str, Mode)| Want {
        name: name(lock),
        mode: *mode,
    };
    Operation::Acquire(Acquire {
        claim_id: ClaimId::parse(&id).expect("a claim id"),
        owner: OwnerId::parse(how.owner.unwrap_or(&id)).expect("an owner"),
        locks: wants.iter().map(want).collect(),
        wait: how.wait,
        priority: how.priority,
        metadata: BTreeMap::new(),
        value: None,
        trace_id: "".into(),
    })
}

pub fn name(text: &str) -> LockName {
    LockName::parse(text).expect("a lock's name")
}

pub fn numbers(grant: &Grant) -> Vec<u64> {
    grant.tokens.iter().map(|token| token.get()).collect()
}

pub fn grants(effects: &[Effect]) -> Vec<ClaimRef> {
    let granted = effects.iter().filter_map(|effect| match effect {
        Effect::Granted(grant) => Some(grant.claim),
        _ => None,
    });
    granted.collect()
}

pub fn cycle_of(refusal: Refusal) -> Vec<CycleEdge> {
    match refusal {
        Refusal::Deadlock(cycle) => cycle,
        other => panic!("no deadlock: {other:?}"),
    }
}
