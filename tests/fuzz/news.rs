//! Frames of a core as no core of ours would write them: about claims that exist, and false.
//! In: dice, and what the sidecar has sent. Out: a `CoreFrame`. Never: a field that is always valid.

use sidelock::wire::v1;

use crate::dice::Dice;
use crate::hostile;

pub const SESSION: u64 = 7;

/// What a core has heard from the sidecar.
#[derive(Debug, Default)]
pub struct Heard {
    pub seqs: Vec<u64>,
    pub renewals: Vec<u64>,
    pub queries: Vec<u64>,
    pub revision: u64,
    /// The core may name numbers at the end of their range.
    pub boundless: bool,
}

pub fn frame(dice: &mut Dice, heard: &mut Heard) -> v1::CoreFrame {
    heard.revision += 1;
    v1::CoreFrame {
        cluster_id: "cell".to_owned(),
        shard: 0,
        from: 1,
        leader: dice.once_in(16).then(|| leader(dice)),
        attached: dice.once_in(4).then(|| attached(dice, heard)),
        renewals: (0..dice.below(2)).map(|_| renewed(dice, heard)).collect(),
        replies: (0..dice.below(3)).map(|_| reply(dice, heard)).collect(),
        events: (0..dice.below(3)).map(|_| event(dice, heard)).collect(),
        queries: (0..dice.below(2)).map(|_| answer(dice, heard)).collect(),
        // These two are the link's, and never reach the desk.
        trust_bundle: bytes::Bytes::new(),
        members: None,
    }
}

pub fn leader(dice: &mut Dice) -> v1::Leader {
    v1::Leader {
        id: 1,
        address: String::new(),
        term: dice.near(&[1]),
        serving: !dice.once_in(8),
        silent_ms: dice.near32(&[0]),
    }
}

fn attached(dice: &mut Dice, heard: &Heard) -> v1::Attached {
    let last = heard.seqs.iter().max().copied().unwrap_or(0);
    let claims = (0..dice.below(3)).map(|_| v1::AttachedClaim {
        claim: dice.near(&heard.seqs),
        claim_id: dice.text(&["c1", "c2"]),
        tokens: tokens(dice),
        breaking: dice.once_in(8),
        block: dice.once_in(2).then(|| block(dice)),
        recalled: dice.once_in(2),
        answer: dice.once_in(2),
    });
    let mut claims: Vec<_> = claims.collect();
    if !dice.once_in(4) {
        claims.sort_by_key(|claim| claim.claim);
    }
    v1::Attached {
        session: dice.near(&[SESSION, SESSION, SESSION, 8]).max(1),
        generation: if heard.boundless {
            dice.near32(&[1])
        } else {
            1
        },
        ttl_ms: dice.near32(&[10_000]),
        seq: if heard.boundless {
            dice.near(&[last])
        } else {
            last
        },
        renewal: if heard.boundless { dice.near(&[0]) } else { 0 },
        revision: dice.near(&[heard.revision]),
        claims,
        unknown: false,
    }
}

fn renewed(dice: &mut Dice, heard: &Heard) -> v1::RenewalReply {
    use v1::renewal_reply::Outcome;
    let outcome = match dice.below(12) {
        0 => Outcome::UnknownSession(true),
        1 => Outcome::Superseded(true),
        2 => Outcome::NotLeader(true),
        _ => Outcome::RenewedTtlMs(dice.near32(&[10_000])),
    };
    v1::RenewalReply {
        session: dice.near(&[SESSION]),
        number: dice.near(&heard.renewals),
        outcome: Some(outcome),
    }
}

fn reply(dice: &mut Dice, heard: &Heard) -> v1::OperationReply {
    use v1::operation_reply::Outcome;
    let outcome = match dice.below(24) {
        0..=4 => Outcome::Granted(granted(dice, heard)),
        5..=7 => Outcome::Delegated(delegated(dice, heard)),
        8..=9 => Outcome::Queued(v1::Queued {
            revision: dice.near(&[heard.revision]),
            ahead: dice.near32(&[1]),
            behind: None,
        }),
        10..=11 => Outcome::Refused(refusal(dice)),
        12..=13 => Outcome::Ended(v1::Ended {
            revision: dice.near(&[heard.revision]),
            was: dice.near32(&[1, 2, 3]).cast_signed(),
        }),
        14..=15 => Outcome::Returned(v1::Returned {
            revision: dice.near(&[heard.revision]),
            kept: dice.once_in(2),
        }),
        16..=17 => Outcome::Refilled(v1::Refilled {
            block: dice.once_in(2).then(|| block(dice)),
        }),
        18 => Outcome::ValueSet(true),
        19 => Outcome::Noted(v1::Noted {}),
        20 => Outcome::Forgotten(v1::Forgotten {}),
        21 => Outcome::GapExpected(dice.near(&heard.seqs)),
        22 => Outcome::NotLeader(true),
        _ if dice.once_in(4) => Outcome::UnknownSession(true),
        _ => Outcome::Closed(v1::Closed {}),
    };
    v1::OperationReply {
        seq: dice.near(&heard.seqs),
        outcome: Some(outcome),
    }
}

fn event(dice: &mut Dice, heard: &Heard) -> v1::Event {
    use v1::event::Event as Wire;
    let claim = dice.near(&heard.seqs);
    let revision = dice.near(&[heard.revision]);
    let event = match dice.below(12) {
        0..=1 => Wire::Granted(granted(dice, heard)),
        2..=3 => Wire::Delegated(delegated(dice, heard)),
        4 => Wire::ClaimEnded(v1::ClaimEnded {
            claim,
            revision,
            cause: dice.near32(&[8, 9]).cast_signed(),
            cycle: Vec::new(),
        }),
        5 => Wire::BreakAsked(v1::BreakAsked { claim, revision }),
        6..=8 => Wire::Recalled(v1::Recalled {
            claim,
            revision,
            answer: dice.once_in(2),
            wanted_by: dice.once_in(2).then(|| v1::Party {
                claim_id: dice.text(&["c1"]),
                owner: dice.text(&["c1"]),
                ..v1::Party::default()
            }),
        }),
        9 => Wire::Wanted(v1::Wanted { claim }),
        10 => Wire::Refused(v1::Refused {
            claim,
            revision,
            refusal: Some(refusal(dice)),
        }),
        _ => Wire::SessionEnded(v1::SessionEnded {
            session: dice.near(&[8, 8, 8, SESSION]),
            cause: 6,
        }),
    };
    v1::Event { event: Some(event) }
}

fn answer(dice: &mut Dice, heard: &Heard) -> v1::QueryReply {
    use v1::query_reply::Reply;
    let lock = v1::Lock {
        name: dice.text(&hostile::LOCKS),
        revision: dice.near(&[heard.revision]),
        ..v1::Lock::default()
    };
    let reply = match dice.below(6) {
        0 => Reply::Lock(lock),
        1 => Reply::Locks(v1::Locks {
            locks: vec![lock],
            next_after: String::new(),
        }),
        2 => Reply::Verified(v1::Verified {
            current: true,
            held: true,
            newest: Some(dice.near(&[4])),
        }),
        3 => Reply::Broken(v1::Broken {
            outcome: dice.near32(&[1]).cast_signed(),
        }),
        4 => Reply::Findings(v1::Findings {
            findings: Some(v1::findings::Findings::Why(v1::Why {
                name: dice.text(&hostile::LOCKS),
                ..v1::Why::default()
            })),
        }),
        _ => Reply::Error(dice.near32(&[1, 2, 3, 4, 5]).cast_signed()),
    };
    v1::QueryReply {
        id: dice.near(&heard.queries),
        linearizable: dice.once_in(2),
        age_ms: dice.near32(&[10]),
        reply: Some(reply),
    }
}

fn granted(dice: &mut Dice, heard: &Heard) -> v1::Granted {
    v1::Granted {
        claim: dice.near(&heard.seqs),
        revision: dice.near(&[heard.revision]),
        tokens: tokens(dice),
    }
}

fn delegated(dice: &mut Dice, heard: &Heard) -> v1::Delegated {
    v1::Delegated {
        grant: Some(granted(dice, heard)),
        block: Some(block(dice)),
    }
}

fn block(dice: &mut Dice) -> v1::TokenBlock {
    v1::TokenBlock {
        first: dice.near(&[10, 20]),
        len: dice.near(&[0, 1, 3]),
    }
}

fn tokens(dice: &mut Dice) -> Vec<u64> {
    let count = dice.pick(&[1, 1, 1, 0, 2]);
    (0..count).map(|_| dice.near(&[4, 5, 6])).collect()
}

fn refusal(dice: &mut Dice) -> v1::Refusal {
    use v1::refusal::Refusal as Wire;
    let lock = dice.text(&hostile::LOCKS);
    v1::Refusal {
        refusal: Some(match dice.below(4) {
            0 => Wire::LockDelay(v1::LockDelay {
                lock,
                delay_ms: dice.near32(&[50]),
            }),
            1 => Wire::SemaphoreLimit(v1::SemaphoreLimit {
                lock,
                limit: dice.near32(&[3]),
            }),
            2 => Wire::QueueFull(v1::QueueFull {
                lock,
                waiters_max: dice.near32(&[1]),
                policy: String::new(),
            }),
            _ => Wire::Invalid(lock),
        }),
    }
}
