//! One test for each bug that the schedules found, by number, at its smallest.
//! In: a few commands. Out: the model's judgement of each step, and the outcome in words. Never: a random number.

use sidelock::table::Command;
use sidelock::table::command::{
    Acquire, EndCause, Mode, OpenSession, Operate, OperateReply, Operation, OperationReply, Policy,
    Refusal, Release, Reply, Want,
};
use sidelock::table::id::{ClaimRef, Generation, LockName, OwnerId, Seq, SessionId, SessionKey};

use super::heard;
use super::run::Run;

const PERMIT: fn(u32, u32) -> Mode = |permits, limit| Mode::Semaphore { permits, limit };

/// One session that claims under a new owner each time.
struct Scene {
    run: Run,
    session: SessionId,
    seq: u64,
}

impl Scene {
    fn new() -> Self {
        let mut run = Run::default();
        let (key, identity) = (SessionKey(1), heard::identity());
        let open = Command::OpenSession(OpenSession {
            key,
            ttl_ms: 1_000,
            identity,
            generation: Generation(1),
            principal: None,
        });
        let Reply::SessionOpened { session, .. } = run.step(&open) else {
            panic!("a session opens");
        };
        Self {
            run,
            session,
            seq: 0,
        }
    }

    fn operate(&mut self, operation: Operation) -> OperationReply {
        self.seq += 1;
        let command = Command::Operate(Operate {
            session: self.session,
            generation: Generation(1),
            seq: Seq(self.seq),
            acked: Seq(0),
            operation,
        });
        match self.run.step(&command) {
            Reply::Operated(OperateReply::Applied(reply)) => reply,
            other => panic!("{command:?} was answered by {other:?}"),
        }
    }

    fn acquire(&mut self, wants: &[(&str, Mode)]) -> OperationReply {
        let name = ClaimRef {
            session: self.session,
            seq: Seq(self.seq + 1),
        };
        let lock = |name: &str| LockName::parse(name).expect("a valid name");
        let wants = wants.iter().map(|(name, mode)| Want {
            name: lock(name),
            mode: *mode,
        });
        self.operate(Operation::Acquire(Acquire {
            claim_id: heard::claim_id(name),
            owner: OwnerId::parse(&format!("o{}", self.seq)).expect("a letter and digits"),
            locks: wants.collect(),
            wait: true,
            priority: 0,
            metadata: [].into(),
            value: None,
            trace_id: "".into(),
        }))
    }

    fn policy(&mut self, prefix: &str, policy: Option<Policy>) {
        self.run.step(&Command::SetPolicy {
            prefix: prefix.into(),
            policy,
        });
    }
}

fn limit(limit: u32) -> Option<Policy> {
    Some(Policy {
        semaphore_limit: Some(limit),
        ..Policy::default()
    })
}

#[test]
fn bug_0001_a_policy_without_a_limit_shadows_one_with_a_limit() {
    let mut scene = Scene::new();
    scene.policy("a", Some(Policy::default()));
    assert!(matches!(
        scene.acquire(&[("a", PERMIT(2, 2))]),
        OperationReply::Granted(_)
    ));
    assert!(matches!(
        scene.acquire(&[("a", PERMIT(1, 2))]),
        OperationReply::Queued { .. }
    ));
    scene.policy("", limit(4));
    assert!(
        scene.run.slow.claims.iter().any(|claim| claim.waits()),
        "the policy of `a` holds"
    );
    scene.policy("a", None); // now that of the empty prefix does: there is room
    assert!(!scene.run.slow.claims.iter().any(|claim| claim.waits()));
}

#[test]
fn bug_0002_nobody_waits_for_a_lock_whose_policy_lets_nobody_wait_though_it_was_never_used() {
    let mut scene = Scene::new();
    let nobody = Policy {
        waiters_max: Some(0),
        ..Policy::default()
    };
    scene.policy("b", Some(nobody));
    assert!(matches!(
        scene.acquire(&[("a", Mode::Exclusive)]),
        OperationReply::Granted(_)
    ));
    let both = [("a", Mode::Exclusive), ("b", Mode::Exclusive)];
    let reply = scene.acquire(&both);
    assert!(
        matches!(&reply, OperationReply::Refused(Refusal::QueueFull { lock, .. }) if lock.as_str() == "b"),
        "{reply:?}"
    );
    // The claim that would have waited leaves nothing behind.
    let (claim, cause) = (Seq(1), EndCause::Released);
    scene.operate(Operation::Release(Release {
        claim,
        cause,
        waited_ms: 0,
        held_ms: 0,
    }));
    assert!(matches!(scene.acquire(&both), OperationReply::Granted(_)));
}
