//! Delegations as the table sees them: design sections 3, 4 and 6, a test for each sentence.

use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::token::TokenBlock;

use crate::cell::{Cell, S, TRY, WAIT, X, acquire, grants, name, numbers};

/// A delegation with ten tokens besides that of its first claim.
pub fn lend(cell: &mut Cell, session: SessionId, lock: &str, mode: Mode) -> (ClaimRef, Delegated) {
    let seq = cell.seqs.get(&session).copied().unwrap_or(0) + 1;
    let Operation::Acquire(acquire) = acquire(seq, &[(lock, mode)], WAIT) else {
        unreachable!("it makes acquires")
    };
    let claim = ClaimRef {
        session,
        seq: Seq(seq),
    };
    match cell
        .operate(session, Operation::Delegate { acquire, block: 10 })
        .0
    {
        OperationReply::Delegated(delegated) => (claim, delegated),
        other => panic!("not delegated: {other:?}"),
    }
}

pub fn user(text: &str) -> User {
    User {
        claim_id: ClaimId::parse(text).expect("an id"),
        owner: OwnerId::parse(text).expect("an owner"),
        trace_id: "".into(),
    }
}

pub fn back(claim: ClaimRef, newest: Option<Token>, kept: Vec<Kept>) -> Operation {
    Operation::Return(Return {
        delegation: claim.seq,
        newest,
        newest_exclusive: newest,
        grants: 1,
        kept,
        ended: Vec::new(),
    })
}

pub fn recalls(effects: &[Effect]) -> Vec<(ClaimRef, bool)> {
    let recalled = effects.iter().filter_map(|effect| match effect {
        Effect::Recalled { claim, answer, .. } => Some((*claim, *answer)),
        _ => None,
    });
    recalled.collect()
}

pub fn tokens(mut block: TokenBlock) -> Vec<Token> {
    std::iter::from_fn(|| block.take()).collect()
}

#[test]
fn rule_4_a_block_belongs_to_one_delegation_and_its_tokens_are_never_given_out_again() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (one, first) = lend(&mut cell, pods[0], "a", X);
    let (_, other) = lend(&mut cell, pods[1], "b", X);
    let mine = tokens(first.block);
    assert_eq!(mine.len(), 10);
    assert!(numbers(&first.grant)[0] < mine[0].get());
    assert!(mine[9].get() < numbers(&other.grant)[0]);
    cell.operate(pods[0], back(one, Some(mine[3]), Vec::new()));
    let (_, next) = cell.granted(pods[1], &[("a", X)], TRY);
    assert!(next[0] > mine[9].get(), "unused ones die with their block");
    assert_eq!(cell.verify("a", mine[3].get()), (false, false));
}

#[test]
fn rule_6_a_waiter_calls_the_delegation_back_and_is_granted_with_its_return() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (lent, _) = lend(&mut cell, pods[0], "a", X);
    let wait = acquire(1, &[("a", X)], WAIT);
    let (reply, effects) = cell.operate(pods[1], wait);
    let OperationReply::Queued {
        behind: Some(behind),
        ..
    } = reply
    else {
        panic!("it is held: {reply:?}")
    };
    assert_eq!(behind.claim, lent);
    assert_eq!(recalls(&effects), [(lent, false)]);
    let wanted_by = effects.iter().find_map(|effect| match effect {
        Effect::Recalled { wanted_by, .. } => wanted_by.as_ref().map(|party| party.claim.session),
        _ => None,
    });
    assert_eq!(wanted_by, Some(pods[1]), "it is said for whom");
    let (reply, effects) = cell.operate(pods[0], back(lent, None, Vec::new()));
    assert!(matches!(reply, OperationReply::Returned { kept: true, .. }));
    assert_eq!(grants(&effects).len(), 1);
}

#[test]
fn rule_6_a_try_waits_for_no_more_than_whether_the_lock_is_used() {
    let (mut cell, pods) = Cell::with_sessions(3);
    let (lent, _) = lend(&mut cell, pods[0], "a", X);
    let attempt = acquire(1, &[("a", X)], TRY);
    let (reply, effects) = cell.operate(pods[1], attempt);
    assert!(matches!(reply, OperationReply::Queued { .. }));
    assert_eq!(recalls(&effects), [(lent, true)]);
    let told = Operation::InUse {
        delegation: lent.seq,
        user: user("local-7"),
    };
    let (_, effects) = cell.operate(pods[0], told);
    let refused = effects.iter().find_map(|effect| match effect {
        Effect::Refused {
            claim,
            refusal: Refusal::Held { holder, .. },
            ..
        } => Some((claim.session, holder.claim_id.to_string())),
        _ => None,
    });
    assert_eq!(refused, Some((pods[1], "local-7".to_owned())));
    // The next one need not ask.
    let refusal = cell.refused(pods[2], &[("a", X)], TRY);
    assert!(
        matches!(refusal, Refusal::Held { holder, .. } if holder.claim_id.as_str() == "local-7")
    );
}

#[test]
fn rule_6_local_claims_that_hold_go_on_as_plain_ones_in_the_entry_of_the_return() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (lent, delegated) = lend(&mut cell, pods[0], "a", X);
    let mine = tokens(delegated.block);
    cell.queued(pods[1], &[("a", X)], WAIT);
    let kept = |at: usize| Kept {
        user: user(&format!("local-{at}")),
        mode: S,
        token: mine[at],
        priority: 0,
        metadata: std::collections::BTreeMap::new(),
    };
    let back = Operation::Return(Return {
        delegation: lent.seq,
        newest: Some(mine[1]),
        newest_exclusive: None,
        grants: 2,
        kept: vec![kept(0), kept(1)],
        ended: Vec::new(),
    });
    let (_, effects) = cell.operate(pods[0], back);
    assert!(grants(&effects).is_empty(), "two readers are left");
    *cell.seqs.get_mut(&pods[0]).expect("it has asked") += 1; // the second reader's name
    let reader = |seq| ClaimRef {
        session: pods[0],
        seq: Seq(seq),
    };
    assert!(cell.release(reader(2), EndCause::Released).is_empty());
    assert_eq!(cell.release(reader(3), EndCause::Released).len(), 1);
}

#[test]
fn rule_6_no_sidecar_renews_and_ignores_recalls() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (lent, _) = lend(&mut cell, pods[0], "a", X);
    cell.queued(pods[1], &[("a", X)], WAIT);
    // Each answer tells of the recall; that none was heard shows in `heard`, which `renew` leaves at 0.
    let mut last = 0;
    for number in 1..=8 {
        let (reply, effects) = cell.renew(pods[0], number);
        assert!(
            matches!(reply, RenewalReply::Renewed { .. }),
            "in flight still"
        );
        assert_eq!(recalls(&effects), [(lent, false)]);
        last = number;
    }
    let (reply, _) = cell.renew(pods[0], last + 1);
    assert_eq!(reply, RenewalReply::Superseded);
    let (expired, effects) = cell.expire(pods[0], last);
    assert!(
        expired && grants(&effects).len() == 1,
        "it goes with its session"
    );
}

#[test]
fn rule_3_a_delegated_lock_is_no_edge_of_a_deadlock() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (lent, _) = lend(&mut cell, pods[0], "a", X);
    let owner = crate::cell::owned("c1"); // the owner in whose name `a` was asked for
    cell.granted(pods[1], &[("b", X)], crate::cell::owned("q"));
    cell.queued(pods[1], &[("a", X)], crate::cell::owned("q"));
    cell.queued(pods[0], &[("b", X)], owner);
    cell.operate(pods[0], back(lent, None, Vec::new()));
    assert!(cell.table.delegations_of(&name("a")).is_empty());
}

#[test]
fn rule_3_a_claim_kept_by_name_closes_the_cycle_that_it_is_on() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (lent, delegated) = lend(&mut cell, pods[0], "a", X);
    cell.granted(pods[1], &[("b", X)], crate::cell::owned("q"));
    cell.queued(pods[1], &[("a", X)], crate::cell::owned("q"));
    let kept = Kept {
        user: user("p"),
        mode: X,
        token: tokens(delegated.block)[0],
        priority: 0,
        metadata: std::collections::BTreeMap::new(),
    };
    let newest = Some(kept.token);
    cell.operate(pods[0], back(lent, newest, vec![kept]));
    let refusal = cell.refused(pods[0], &[("b", X)], crate::cell::owned("p"));
    assert_eq!(crate::cell::cycle_of(refusal).len(), 2);
}

#[test]
fn rule_6_locks_with_a_lock_delay_are_not_delegated() {
    let (mut cell, pods) = Cell::with_sessions(1);
    let policy = Policy {
        lock_delay_ms: 1_000,
        ..Policy::default()
    };
    cell.policy("a", policy);
    let Operation::Acquire(acquire) = acquire(1, &[("a", X)], TRY) else {
        unreachable!("it makes acquires")
    };
    let (reply, _) = cell.operate(pods[0], Operation::Delegate { acquire, block: 10 });
    assert!(matches!(reply, OperationReply::Granted(_)));
}

#[test]
fn rule_3_local_grants_are_in_the_history_once_the_lock_is_returned() {
    use sidelock::table::state::HistoryEvent;
    let (mut cell, pods) = Cell::with_sessions(1);
    let (lent, given) = lend(&mut cell, pods[0], "a", X);
    let mine = tokens(given.block);
    let end = |who: &str, token, held_ms| LocalEnd {
        user: user(who),
        mode: X,
        token,
        cause: EndCause::LeaseExpired,
        waited_ms: 1,
        held_ms,
    };
    let first = cell.table.history().next().expect("it was granted");
    let first = first.1.claim_id.to_string();
    let ended = vec![
        end(&first, given.grant.tokens[0], 10),
        end("second", mine[0], 20),
    ];
    let back = Operation::Return(Return {
        delegation: lent.seq,
        newest: Some(mine[1]),
        newest_exclusive: Some(mine[1]),
        grants: 2,
        kept: vec![Kept {
            user: user("third"),
            mode: X,
            token: mine[1],
            priority: 0,
            metadata: std::collections::BTreeMap::new(),
        }],
        ended,
    });
    cell.operate(pods[0], back);
    let told = cell.table.history().map(|(_, record)| {
        let event = match &record.event {
            HistoryEvent::Granted { tokens } => format!("granted {}", tokens[0]),
            HistoryEvent::Ended { cause, held_ms, .. } => format!("{cause:?} {held_ms:?}"),
            other => format!("{other:?}"),
        };
        format!("{} {event}", record.claim_id)
    });
    let mut told: Vec<String> = told.collect();
    told.reverse(); // it is told newest first
    let expected = [
        format!("{first} granted {}", given.grant.tokens[0]),
        format!("{first} LeaseExpired Some(10)"),
        format!("second granted {}", mine[0]),
        "second LeaseExpired Some(20)".to_owned(),
        format!("third granted {}", mine[1]),
    ];
    assert_eq!(told, expected);
}

#[test]
fn rule_4_a_refill_is_a_new_block_above_all_tokens_given_so_far() {
    let (mut cell, pods) = Cell::with_sessions(2);
    let (lent, given) = lend(&mut cell, pods[0], "a", X);
    let (_, other) = cell.granted(pods[1], &[("b", X)], TRY);
    let refill = Operation::Refill {
        delegation: lent.seq,
        block: 5,
    };
    let (reply, _) = cell.operate(pods[0], refill);
    let OperationReply::Refilled(Some(block)) = reply else {
        panic!("{reply:?}")
    };
    assert!(tokens(given.block)[9].get() < other[0]);
    assert!(other[0] < tokens(block)[0].get());
}

#[test]
fn rule_4_a_shared_token_of_a_delegation_is_current_after_its_return() {
    let (mut cell, pods) = Cell::with_sessions(1);
    let (lent, given) = lend(&mut cell, pods[0], "a", S);
    let token = tokens(given.block)[2];
    let back = Operation::Return(Return {
        delegation: lent.seq,
        newest: Some(token),
        newest_exclusive: None,
        grants: 3,
        kept: Vec::new(),
        ended: Vec::new(),
    });
    cell.operate(pods[0], back);
    // Ended, and no writer has come since: what was read under it is still so.
    assert_eq!(cell.verify("a", token.get()), (true, false));
    cell.granted(pods[0], &[("a", X)], TRY);
    assert_eq!(cell.verify("a", token.get()), (false, false));
}
