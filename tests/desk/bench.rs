//! A desk, a virtual clock and a hand-fed core of one node.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sidelock::sidecar::desk::{Answer, Desk, Now, Rules};
use sidelock::sidecar::frame::{
    FrameIn, FrameOut, LeaderNews, News, OperationNews, RenewalNews, RenewalOutcome,
};
use sidelock::sidecar::handle::{
    ClaimAnswer, ClaimAsk, ClaimError, ClaimState, ClaimView, Reason, ReleaseAnswer,
};
use sidelock::sidecar::hold::CallerId;
use sidelock::sidecar::lease::Caution;
use sidelock::sidecar::session::StreamRef;
use sidelock::table::attachment::{AttachedClaim, Attachment};
use sidelock::table::command::{
    Acquire, EndCause, Grant, Mode, OperateReply, Operation, OperationReply, Party, Refusal,
    Release, Want, Was,
};
use sidelock::table::id::{
    ClaimId, ClaimRef, Generation, LockName, OwnerId, RenewalNumber, Revision, Seq, SessionId,
    Token,
};
use sidelock::world::clock::Instant;

/// The TTL of the session in these tests, and what is left of it by rule 5.1.
pub const SESSION_TTL: u64 = 10_000;
pub const SESSION_SAFE: u64 = 9_800;
/// How long requests are held while in doubt.
pub const BOUND: u64 = 3_000;
/// A renewal is due after this much.
pub const RENEW_EVERY: u64 = SESSION_TTL / 3 + 1;

pub struct Bench {
    pub desk: Desk,
    pub now_ms: u64,
    pub stream: StreamRef,
    pub session: SessionId,
    pub revision: u64,
    pub renewals: Vec<(RenewalNumber, u64)>,
    pub operations: Vec<(Seq, Operation)>,
    pub answers: HashMap<CallerId, Answer>,
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn id(text: &str) -> ClaimId {
    ClaimId::parse(text).expect("a valid id in a test")
}

pub fn token(value: u64) -> Token {
    Token::new(value).expect("a valid token in a test")
}

/// A try for one exclusive lock with the default TTL.
pub fn ask(lock: &str) -> ClaimAsk {
    ClaimAsk {
        locks: vec![Want {
            name: LockName::parse(lock).expect("a valid name in a test"),
            mode: Mode::Exclusive,
        }],
        ttl: ms(10_000),
        wait: ms(0),
        queue: false,
        owner: None,
        metadata: BTreeMap::new(),
        value: None,
        priority: 0,
        min_hold: ms(0),
    }
}

pub fn waiting(lock: &str, wait: u64) -> ClaimAsk {
    ClaimAsk {
        wait: ms(wait),
        ..ask(lock)
    }
}

pub fn queueing(lock: &str, wait: u64) -> ClaimAsk {
    ClaimAsk {
        queue: true,
        ..waiting(lock, wait)
    }
}

pub fn held_by_other() -> Refusal {
    Refusal::Held {
        lock: LockName::parse("a").expect("valid"),
        holder: Party {
            claim: ClaimRef {
                session: SessionId(99),
                seq: Seq(1),
            },
            claim_id: id("other"),
            owner: OwnerId::parse("other").expect("valid"),
            identity: Arc::from("elsewhere"),
            trace_id: Arc::from(""),
        },
        holders: 1,
        waiters: 0,
    }
}

/// How a bench is set up.
pub fn rules() -> Rules {
    Rules {
        nodes: 2,
        session_ttl: ms(SESSION_TTL),
        identity: Arc::from("bench"),
        caution: Caution {
            rho_ppm: 10_000,
            margin: ms(100),
        },
        no_quorum_after: ms(BOUND),
        prefix: Arc::from(""),
        delegate: false,
        records: false,
        seed: [7; 32],
    }
}

impl Bench {
    /// Nothing is known of the core yet.
    pub fn cold() -> Self {
        Self::with(rules())
    }

    pub fn with(rules: Rules) -> Self {
        let now_ms = 1_000_000;
        Self {
            desk: Desk::new(rules, Instant::from_boot(ms(now_ms))),
            now_ms,
            stream: StreamRef { node: 0, number: 1 },
            session: SessionId(7),
            revision: 100,
            renewals: Vec::new(),
            operations: Vec::new(),
            answers: HashMap::new(),
        }
    }

    /// The session is open and certain.
    pub fn open() -> Self {
        let mut bench = Self::cold();
        bench.connect();
        bench.attach(&[]);
        bench.acknowledge();
        bench
    }

    pub fn now(&self) -> Instant {
        Instant::from_boot(ms(self.now_ms))
    }

    /// A step, as the driver makes it.
    pub fn step<R>(&mut self, act: impl FnOnce(&mut Desk, Instant) -> R) -> R {
        let now = self.now();
        self.desk.advance(now);
        let result = act(&mut self.desk, now);
        self.answers.extend(self.desk.take_answers());
        result
    }

    /// Lets time pass, stopping wherever the desk has something to do, with nobody answering.
    pub fn pass(&mut self, span_ms: u64) {
        let end = self.now_ms + span_ms;
        loop {
            self.step(|_, _| ());
            let next = self.desk.next_wake(self.now());
            let next = next.map_or(end, |at| at.since_boot().as_millis() as u64 + 1);
            if next > end {
                break;
            }
            self.now_ms = next.max(self.now_ms + 1);
        }
        self.now_ms = end;
        self.step(|_, _| ());
    }

    /// Lets time pass with a core that acknowledges renewals.
    pub fn pass_renewed(&mut self, span_ms: u64) {
        let end = self.now_ms + span_ms;
        while self.now_ms < end {
            let step = (end - self.now_ms).min(500);
            self.pass(step);
            self.acknowledge();
        }
    }

    /// The node accepts the stream and says that it leads.
    pub fn connect(&mut self) {
        let stream = self.stream;
        self.step(|desk, now| desk.stream_up(now, stream));
        self.leader(true);
    }

    pub fn leader(&mut self, serving: bool) {
        let leader = Some(LeaderNews {
            term: 1,
            serving,
            silent: Duration::ZERO,
        });
        self.hear(FrameIn {
            leader,
            ..FrameIn::default()
        });
    }

    pub fn disconnect(&mut self) {
        let stream = self.stream;
        self.step(|desk, now| desk.stream_down(now, stream));
        self.stream.number += 1;
    }

    pub fn hear(&mut self, frame: FrameIn) {
        let stream = self.stream;
        self.step(|desk, now| desk.hear(now, stream, frame));
    }

    /// Takes all frames; notes what they carry.
    pub fn send(&mut self) -> Vec<FrameOut> {
        let mut frames = Vec::new();
        let stream = self.stream;
        while let Some(frame) = self.step(|desk, now| desk.take_frame(now, stream)) {
            for renewal in &frame.renewals {
                self.renewals.push((renewal.number, self.now_ms));
            }
            for operate in &frame.operations {
                self.operations
                    .push((operate.seq, operate.operation.clone()));
            }
            frames.push(frame);
        }
        frames
    }

    /// The core answers the open with these live claims.
    pub fn attach(&mut self, claims: &[(u64, &[u64])]) {
        let last = self.operations.iter().map(|(seq, _)| *seq).max();
        self.attach_after(claims, last.unwrap_or(Seq(0)));
    }

    /// The same, with the operations up to `seq` applied.
    pub fn attach_after(&mut self, claims: &[(u64, &[u64])], seq: Seq) {
        let frames = self.send();
        assert!(
            frames.iter().any(|frame| frame.open.is_some()),
            "the session should be asked for on a new stream"
        );
        self.revision += 1;
        let session = self.session;
        let attached = Attachment {
            session,
            generation: Generation(1),
            ttl_ms: SESSION_TTL as u32,
            seq,
            renewal: RenewalNumber(0),
            revision: Revision(self.revision),
            claims: claims
                .iter()
                .map(|(claim, tokens)| AttachedClaim {
                    claim: ClaimRef {
                        session,
                        seq: Seq(*claim),
                    },
                    claim_id: id("whatever"),
                    tokens: tokens.iter().copied().map(token).collect(),
                    breaking: false,
                    delegation: None,
                })
                .collect(),
        };
        self.hear(FrameIn {
            attached: Some(attached),
            ..FrameIn::default()
        });
    }

    /// Acknowledges all renewals sent so far.
    pub fn acknowledge(&mut self) {
        self.send();
        for (number, _) in std::mem::take(&mut self.renewals) {
            self.renewed(number, RenewalOutcome::Renewed(ms(SESSION_TTL)));
        }
    }

    pub fn renewed(&mut self, number: RenewalNumber, outcome: RenewalOutcome) {
        let session = self.session;
        self.hear(FrameIn {
            renewals: vec![RenewalNews {
                session,
                number,
                outcome,
            }],
            ..FrameIn::default()
        });
    }

    pub fn reply(&mut self, seq: Seq, reply: OperationReply) {
        let reply = Some(OperateReply::Applied(reply));
        self.hear(FrameIn {
            replies: vec![OperationNews { seq, reply }],
            ..FrameIn::default()
        });
    }

    pub fn event(&mut self, news: News) {
        self.hear(FrameIn {
            events: vec![news],
            ..FrameIn::default()
        });
    }

    /// The last acquire that was sent.
    pub fn asked(&mut self) -> (Seq, Acquire) {
        self.send();
        let found = self
            .operations
            .iter()
            .rev()
            .find_map(|(seq, operation)| match operation {
                Operation::Acquire(acquire) => Some((*seq, acquire.clone())),
                _ => None,
            });
        found.expect("an acquire was sent")
    }

    /// All releases that were sent, as (what, why).
    pub fn releases(&mut self) -> Vec<(Seq, EndCause)> {
        self.send();
        let releases = self
            .operations
            .iter()
            .filter_map(|(_, operation)| match operation {
                Operation::Release(Release { claim, cause, .. }) => Some((*claim, *cause)),
                _ => None,
            });
        releases.collect()
    }

    /// The core grants the last acquire.
    pub fn grant(&mut self, value: u64) -> Seq {
        let (seq, _) = self.asked();
        self.revision += 1;
        let claim = ClaimRef {
            session: self.session,
            seq,
        };
        let grant = Grant {
            claim,
            revision: Revision(self.revision),
            tokens: vec![token(value)],
        };
        self.reply(seq, OperationReply::Granted(grant));
        seq
    }

    /// The core queues the last acquire.
    pub fn enqueue(&mut self) -> Seq {
        let (seq, _) = self.asked();
        self.revision += 1;
        let revision = Revision(self.revision);
        self.reply(
            seq,
            OperationReply::Queued {
                revision,
                ahead: 1,
                behind: None,
            },
        );
        seq
    }

    pub fn refuse(&mut self, refusal: Refusal) {
        let (seq, _) = self.asked();
        self.reply(seq, OperationReply::Refused(refusal));
    }

    /// A waiting claim is granted.
    pub fn hand_over(&mut self, claim: Seq, value: u64) {
        self.revision += 1;
        self.event(News::Granted {
            claim,
            revision: Revision(self.revision),
            tokens: vec![token(value)],
        });
    }

    /// The core applies the last release.
    pub fn applied_release(&mut self, was: Was) {
        self.send();
        let last = self
            .operations
            .iter()
            .rev()
            .find(|(_, operation)| matches!(operation, Operation::Release(_)));
        let seq = last.expect("a release was sent").0;
        self.revision += 1;
        let revision = Revision(self.revision);
        self.reply(seq, OperationReply::Ended { revision, was });
    }

    pub fn claim(&mut self, name: &str, ask: ClaimAsk) -> Now<Result<ClaimAnswer, ClaimError>> {
        self.step(|desk, now| desk.claim(now, id(name), ask, Arc::from("")))
    }

    /// Claims and must wait for the answer.
    pub fn claim_later(&mut self, name: &str, ask: ClaimAsk) -> CallerId {
        match self.claim(name, ask) {
            Now::Later(caller) => caller,
            Now::Done(done) => panic!("{name} should wait, but was answered {done:?}"),
        }
    }

    /// Claims and must be answered at once.
    pub fn claim_now(&mut self, name: &str, ask: ClaimAsk) -> Result<ClaimAnswer, ClaimError> {
        match self.claim(name, ask) {
            Now::Done(done) => done,
            Now::Later(_) => panic!("{name} should be answered at once"),
        }
    }

    /// Claims and is granted by the core.
    pub fn hold(&mut self, name: &str, ask: ClaimAsk, value: u64) -> (Seq, ClaimView) {
        let caller = self.claim_later(name, ask);
        let seq = self.grant(value);
        match self.claimed(caller) {
            Ok(ClaimAnswer::Granted(view)) => (seq, view),
            other => panic!("{name} should hold, but was answered {other:?}"),
        }
    }

    pub fn answered(&mut self, caller: CallerId) -> Option<Answer> {
        self.step(|_, _| ());
        self.answers.remove(&caller)
    }

    pub fn claimed(&mut self, caller: CallerId) -> Result<ClaimAnswer, ClaimError> {
        match self.answered(caller) {
            Some(Answer::Claim(result)) => result,
            other => panic!("expected the answer to a claim, not {other:?}"),
        }
    }

    pub fn release(&mut self, name: &str) -> Now<Result<ReleaseAnswer, ClaimError>> {
        self.step(|desk, now| desk.release(now, &id(name)))
    }

    /// Releases, with a core that applies it.
    pub fn released(&mut self, name: &str) -> Result<ReleaseAnswer, ClaimError> {
        let caller = match self.release(name) {
            Now::Done(done) => return done,
            Now::Later(caller) => caller,
        };
        self.applied_release(Was::Held);
        match self.answered(caller) {
            Some(Answer::Release(result)) => result,
            other => panic!("expected the answer to a release, not {other:?}"),
        }
    }

    pub fn renew(&mut self, name: &str) -> Result<ClaimView, ClaimError> {
        match self.step(|desk, now| desk.renew(now, &id(name), None, None)) {
            Now::Done(done) => done,
            Now::Later(_) => panic!("a renewal without a value is local"),
        }
    }

    pub fn view(&mut self, name: &str) -> ClaimView {
        self.step(|desk, now| desk.view_now(now, &id(name)))
            .expect("the claim is known")
    }

    /// State and reason.
    pub fn state(&mut self, name: &str) -> (ClaimState, Option<Reason>) {
        let view = self.view(name);
        (view.state, view.reason)
    }
}
