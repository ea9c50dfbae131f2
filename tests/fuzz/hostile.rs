//! Frames as a hostile sidecar would write them: well-formed mostly, and false in what they claim.
//! In: dice, and what the table knows of the sidecar. Out: parts of a `SidecarFrame`.
//! Never: a frame that only honest code could send.

use std::collections::BTreeMap;

use sidelock::table::Table;
use sidelock::table::command::Mode;
use sidelock::table::delegation::Pledge;
use sidelock::table::id::{SessionId, Token};
use sidelock::table::state::Stage;
use sidelock::wire::v1;

use crate::dice::Dice;

pub const LOCKS: [&str; 4] = ["a", "b", "c", "pool"];
const CLAIMS: [&str; 6] = ["c1", "c2", "c3", "c4", "c5", "c6"];
const OWNERS: [&str; 3] = ["o1", "o2", "o3"];

/// What a sidecar may know of its session, so that what it says comes near the truth.
#[derive(Debug, Default)]
pub struct Known {
    pub session: u64,
    pub generation: u32,
    pub next_seq: u64,
    pub acked: u64,
    pub renewal: u64,
    /// Its claims.
    pub claims: Vec<u64>,
    /// Of those, delegations.
    pub delegations: Vec<u64>,
    /// What they cover: the mode, and some of their tokens.
    pub covered: Vec<(Mode, Vec<u64>)>,
    /// It returns no more than it was given, and its renewals stay far from the last number there is.
    pub returns_fairly: bool,
    /// Those that wait.
    pub waiting: Vec<u64>,
    /// Of its claims and blocks.
    pub tokens: Vec<u64>,
}

impl Known {
    pub fn of(table: &Table, id: SessionId) -> Self {
        let Some(session) = table.session(id) else {
            return Self::default();
        };
        let mut known = Self {
            session: id.0,
            generation: session.generation.0,
            next_seq: session.seq.0.saturating_add(1),
            acked: session.acked.0,
            renewal: session.renewal.0,
            ..Self::default()
        };
        for (name, claim) in table.claims_of(id) {
            known.claims.push(name.seq.0);
            match &claim.stage {
                Stage::Waiting { .. } => known.waiting.push(name.seq.0),
                Stage::Holding { tokens, .. } => {
                    known.tokens.extend(tokens.iter().map(|token| token.get()));
                }
            }
            if let Some(Pledge::Given { block, .. }) = table.pledge(name) {
                known.delegations.push(name.seq.0);
                let tokens: Vec<u64> = block.tokens().take(3).map(Token::get).collect();
                known.tokens.extend(&tokens);
                known.covered.push((claim.locks[0].mode, tokens));
            }
        }
        known
    }
}

pub fn open(dice: &mut Dice, key: u8, generation: u32) -> v1::OpenSession {
    v1::OpenSession {
        key: vec![key; if dice.once_in(32) { 15 } else { 16 }],
        ttl_ms: dice.near32(&[3_000, 10_000]),
        identity: dice.text(&["pod-0", "pod-1"]),
        generation: dice.near32(&[
            generation,
            generation,
            generation,
            generation.saturating_add(1),
        ]),
        principal: String::new(),
    }
}

pub fn renewal(dice: &mut Dice, known: &Known) -> v1::Renewal {
    let next = known.renewal.saturating_add(1);
    let number = dice.near(&[next, next, next.saturating_add(1), known.renewal]);
    v1::Renewal {
        session: dice.near(&[known.session]),
        generation: dice.near32(&[known.generation]),
        number: if known.returns_fairly {
            number.min(1 << 60)
        } else {
            number
        },
        heard: dice.near(&[0, known.renewal]),
    }
}

pub fn operation(dice: &mut Dice, known: &Known) -> v1::Operation {
    use v1::operation::Operation as Wire;
    let operation = match dice.below(16) {
        0..=3 => Wire::Acquire(acquire(dice)),
        4..=6 => Wire::Delegate(v1::Delegate {
            acquire: Some(acquire(dice)),
            block: dice.near32(&[1, 3, 100]),
        }),
        7..=9 => Wire::ReturnDelegation(give_back(dice, known)),
        10 => Wire::InUse(v1::InUse {
            delegation: dice.near(&known.delegations),
            user: Some(user(dice)),
        }),
        11 => Wire::Refill(v1::Refill {
            delegation: dice.near(&known.delegations),
            block: dice.near32(&[0, 1, 3]),
        }),
        12 => Wire::Rename(v1::Rename {
            claim: dice.near(&known.waiting),
            user: Some(user(dice)),
            priority: dice.near32(&[0, 5, 9]),
        }),
        13..=14 => Wire::Release(v1::Release {
            claim: dice.near(&known.claims),
            cause: dice.near32(&[1, 2, 3, 4, 5]).cast_signed(),
            waited_ms: dice.near(&[10]),
            held_ms: dice.near(&[10]),
        }),
        _ if dice.once_in(4) => Wire::Close(v1::Close {}),
        _ => Wire::SetValue(v1::SetValue {
            claim: dice.near(&known.claims),
            value: dice.text(&["leader"]),
        }),
    };
    let mostly = known.next_seq;
    v1::Operation {
        session: dice.near(&[known.session]),
        generation: dice.near32(&[known.generation]),
        seq: dice.near(&[mostly, mostly, mostly, mostly, mostly.saturating_sub(1)]),
        acked: dice.near(&[known.acked, mostly.saturating_sub(2)]),
        traceparent: dice.text(&[
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ]),
        operation: (!dice.once_in(64)).then_some(operation),
    }
}

pub fn acquire(dice: &mut Dice) -> v1::Acquire {
    let locks = match dice.byte() {
        0..=179 => 1,
        180..=239 => 2,
        240..=251 => 3,
        _ => 0,
    };
    v1::Acquire {
        claim_id: dice.text(&CLAIMS),
        owner: dice.text(&OWNERS),
        locks: (0..locks).map(|_| want(dice)).collect(),
        wait: !dice.once_in(4),
        priority: dice.near32(&[0, 0, 5, 9]),
        metadata: metadata(dice),
        value: dice.once_in(8).then(|| dice.text(&["v"])),
        trace_id: String::new(),
    }
}

fn want(dice: &mut Dice) -> v1::Want {
    let name = dice.text(&LOCKS);
    let (mode, permits, limit) = mode(dice, &name);
    v1::Want {
        name,
        mode,
        permits,
        limit,
    }
}

fn mode(dice: &mut Dice, name: &str) -> (i32, u32, u32) {
    let semaphore = name == "pool" || dice.once_in(16);
    if semaphore && !dice.once_in(16) {
        return (3, dice.near32(&[1, 1, 2, 3]), dice.near32(&[3, 3, 3, 5]));
    }
    (dice.near32(&[1, 1, 2, 2]).cast_signed(), 0, 0)
}

fn user(dice: &mut Dice) -> v1::User {
    v1::User {
        claim_id: dice.text(&CLAIMS),
        owner: dice.text(&OWNERS),
        trace_id: String::new(),
    }
}

fn metadata(dice: &mut Dice) -> BTreeMap<String, String> {
    let some = dice.once_in(8).then(|| ("k".to_owned(), "v".to_owned()));
    some.into_iter().collect()
}

fn give_back(dice: &mut Dice, known: &Known) -> v1::Return {
    if known.returns_fairly {
        return give_back_fairly(dice, known);
    }
    let kept = match dice.byte() {
        0..=99 => 0,
        100..=199 => 1,
        200..=250 => 2,
        _ => 5,
    };
    v1::Return {
        delegation: dice.near(&known.delegations),
        newest: token_or_none(dice, known),
        newest_exclusive: token_or_none(dice, known),
        grants: dice.near(&[1]),
        kept: (0..kept).map(|_| keep(dice, known)).collect(),
        ended: (0..dice.below(3)).map(|_| ended(dice, known)).collect(),
    }
}

/// With at most one claim that goes on, in the mode and with a token of the delegation.
fn give_back_fairly(dice: &mut Dice, known: &Known) -> v1::Return {
    let place = dice.below(known.delegations.len());
    let Some((mode, tokens)) = known.covered.get(place) else {
        return v1::Return::default();
    };
    let newest = (dice.once_in(2) && !tokens.is_empty()).then(|| dice.pick(tokens));
    let (raw, permits, limit) = match *mode {
        Mode::Exclusive => (1, 0, 0),
        Mode::Shared => (2, 0, 0),
        Mode::Semaphore { permits, limit } => (3, permits, limit),
    };
    let kept = newest.filter(|_| dice.once_in(2)).map(|token| v1::Kept {
        user: Some(user(dice)),
        mode: raw,
        token,
        priority: dice.near32(&[0, 5, 9]),
        metadata: metadata(dice),
        permits,
        limit,
    });
    v1::Return {
        delegation: known.delegations[place],
        newest: newest.unwrap_or(0),
        newest_exclusive: newest.filter(|_| *mode == Mode::Exclusive).unwrap_or(0),
        grants: dice.near(&[1]),
        kept: kept.into_iter().collect(),
        ended: (0..dice.below(3)).map(|_| ended(dice, known)).collect(),
    }
}

fn token_or_none(dice: &mut Dice, known: &Known) -> u64 {
    if dice.once_in(2) {
        return 0;
    }
    dice.near(&known.tokens)
}

fn keep(dice: &mut Dice, known: &Known) -> v1::Kept {
    let lock = dice.pick(&LOCKS);
    let (mode, permits, limit) = mode(dice, lock);
    v1::Kept {
        user: Some(user(dice)),
        mode,
        token: dice.near(&known.tokens),
        priority: dice.near32(&[0, 5, 9]),
        metadata: metadata(dice),
        permits,
        limit,
    }
}

fn ended(dice: &mut Dice, known: &Known) -> v1::LocalEnd {
    let lock = dice.pick(&LOCKS);
    let (mode, permits, limit) = mode(dice, lock);
    v1::LocalEnd {
        user: Some(user(dice)),
        mode,
        token: dice.near(&known.tokens),
        cause: dice.near32(&[1, 2, 3]).cast_signed(),
        waited_ms: dice.near(&[10]),
        held_ms: dice.near(&[10]),
        permits,
        limit,
    }
}

/// A whole frame of many parts, valid in form.
pub fn frame(dice: &mut Dice, known: &Known) -> v1::SidecarFrame {
    v1::SidecarFrame {
        cluster_id: dice.text(&["cell"]),
        shard: dice.near32(&[0]),
        to: dice.near(&[1]),
        open: dice.once_in(2).then(|| open(dice, 1, 1)),
        renewals: (0..dice.below(2)).map(|_| renewal(dice, known)).collect(),
        operations: (0..=dice.below(3))
            .map(|_| operation(dice, known))
            .collect(),
        queries: Vec::new(),
    }
}
