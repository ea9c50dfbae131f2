//! Permits under delegations: design sections 3 and 6. Permits that are kept and not used fix no limit.

use sidelock::table::command::*;
use sidelock::table::id::*;

use crate::cell::{Cell, TRY, WAIT, acquire, grants, permits};
use crate::delegations::{back, lend, recalls, user};

const OF_TWO: fn() -> Mode = || permits(1, 2);
const OF_FIVE: fn() -> Mode = || permits(1, 5);

fn in_use(delegation: Seq) -> Operation {
    Operation::InUse {
        delegation,
        user: user("local"),
    }
}

fn limits_refused(effects: &[Effect]) -> Vec<(ClaimRef, u32)> {
    let refused = effects.iter().filter_map(|effect| match effect {
        Effect::Refused {
            claim,
            refusal: Refusal::SemaphoreLimit { limit, .. },
            ..
        } => Some((*claim, *limit)),
        _ => None,
    });
    refused.collect()
}

#[test]
fn rule_6_permits_are_delegated_and_the_rest_stays_free() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (one, _) = lend(&mut cell, pods[0], "pool", OF_TWO());
    cell.granted(pods[1], &[("pool", OF_TWO())], TRY);
    let waits = acquire(2, &[("pool", OF_TWO())], WAIT);
    let (_, effects) = cell.operate(pods[1], waits);
    assert_eq!(recalls(&effects), [(one, false)]);
    let (_, effects) = cell.operate(pods[0], back(one, None, Vec::new()));
    assert_eq!(grants(&effects).len(), 1);
}

#[test]
fn rule_6_a_try_for_permits_waits_only_while_the_unused_ones_would_do() {
    let (mut cell, pods) = Cell::with_sessions(3);
    cell.granted(pods[1], &[("pool", OF_TWO())], TRY);
    let (lent, _) = lend(&mut cell, pods[0], "pool", OF_TWO());
    // The kept permit alone may be free, which is enough for one and not for two.
    let two = cell.refused(pods[2], &[("pool", permits(2, 2))], TRY);
    assert!(matches!(two, Refusal::Held { .. }));
    let tries = acquire(2, &[("pool", OF_TWO())], TRY);
    let (reply, effects) = cell.operate(pods[2], tries);
    assert!(matches!(reply, OperationReply::Queued { .. }));
    assert_eq!(recalls(&effects), [(lent, true)]);
    let (_, effects) = cell.operate(pods[0], back(lent, None, Vec::new()));
    assert_eq!(grants(&effects).len(), 1);
}

#[test]
fn rule_3_permits_kept_unused_fix_no_limit() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (lent, _) = lend(&mut cell, pods[0], "pool", OF_TWO());
    let other = acquire(1, &[("pool", OF_FIVE())], WAIT);
    let (reply, effects) = cell.operate(pods[1], other);
    assert!(matches!(reply, OperationReply::Queued { .. }), "{reply:?}");
    assert_eq!(recalls(&effects), [(lent, true)]);
    let (_, effects) = cell.operate(pods[0], back(lent, None, Vec::new()));
    assert_eq!(grants(&effects).len(), 1);
    let refused = cell.refused(pods[0], &[("pool", OF_TWO())], WAIT);
    assert!(matches!(refused, Refusal::SemaphoreLimit { limit: 5, .. }));
}

#[test]
fn rule_3_permits_in_use_fix_the_limit_for_claims_that_wait_too() {
    for how in [TRY, WAIT] {
        let (mut cell, pods) = Cell::with_sessions(2);
        let (lent, _) = lend(&mut cell, pods[0], "pool", OF_TWO());
        let other = acquire(1, &[("pool", OF_FIVE())], how);
        let (reply, _) = cell.operate(pods[1], other);
        assert!(matches!(reply, OperationReply::Queued { .. }), "{reply:?}");
        let (_, effects) = cell.operate(pods[0], in_use(lent.seq));
        let claim = ClaimRef {
            session: pods[1],
            seq: Seq(1),
        };
        assert_eq!(limits_refused(&effects), [(claim, 2)]);
        // Now it is known, and nobody need ask.
        let refused = cell.refused(pods[1], &[("pool", OF_FIVE())], how);
        assert!(matches!(refused, Refusal::SemaphoreLimit { limit: 2, .. }));
    }
}

#[test]
fn rule_3_of_two_new_limits_the_first_wins_and_they_never_mix() {
    let (mut cell, pods) = Cell::with_sessions(3);
    let (lent, _) = lend(&mut cell, pods[0], "pool", OF_TWO());
    let first = acquire(1, &[("pool", OF_FIVE())], WAIT);
    cell.operate(pods[1], first);
    let second = acquire(1, &[("pool", permits(1, 9))], WAIT);
    let (reply, _) = cell.operate(pods[2], second);
    assert!(matches!(reply, OperationReply::Queued { .. }), "{reply:?}");
    let (_, effects) = cell.operate(pods[0], back(lent, None, Vec::new()));
    let granted: Vec<SessionId> = grants(&effects).iter().map(|it| it.session).collect();
    assert_eq!(granted, [pods[1]]);
    let claim = ClaimRef {
        session: pods[2],
        seq: Seq(1),
    };
    assert_eq!(limits_refused(&effects), [(claim, 5)]);
}

#[test]
fn rule_3_a_policy_calls_permits_of_another_limit_back() {
    let (mut cell, pods) = Cell::with_sessions(1);
    let (lent, _) = lend(&mut cell, pods[0], "pool", OF_TWO());
    let policy = |limit| Command::SetPolicy {
        prefix: "po".into(),
        policy: Some(Policy {
            semaphore_limit: Some(limit),
            ..Policy::default()
        }),
    };
    let (_, effects) = cell.apply(policy(2));
    assert_eq!(recalls(&effects), [], "it is the same");
    let (_, effects) = cell.apply(policy(3));
    assert_eq!(recalls(&effects), [(lent, false)]);
}

#[test]
fn rule_6_a_token_of_permits_names_the_hold_and_nothing_after_it() {
    let (mut cell, pods) = Cell::with_sessions(1);
    let (lent, given) = lend(&mut cell, pods[0], "pool", OF_TWO());
    let mut block = given.block;
    let token = block.take().expect("ten of them");
    let back = Operation::Return(Return {
        delegation: lent.seq,
        newest: Some(token),
        newest_exclusive: None,
        grants: 1,
        kept: Vec::new(),
        ended: Vec::new(),
    });
    cell.operate(pods[0], back);
    assert_eq!(cell.verify("pool", token.get()), (false, false));
}
