//! What a sidecar has written down for its next process, mangled record by record.
//! In: dice. Out: a record that is the same after another trip, and a desk that goes on from what decodes.
//! Never: a claim out of a record that says something else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use sidelock::sidecar::desk::{Desk, Rules};
use sidelock::sidecar::handle::{ClaimAsk, ClaimState, Reason};
use sidelock::sidecar::hold::Ended;
use sidelock::sidecar::lease::Caution;
use sidelock::sidecar::saved::{Newest, Record, Saved, SavedHold, SavedSession, SavedStage};
use sidelock::sidecar::saved_codec;
use sidelock::sidecar::session::StreamRef;
use sidelock::table::command::{Mode, Want};
use sidelock::table::id::{ClaimId, Generation, LockName, Seq, SessionId, SessionKey, Token};
use sidelock::wire::state;
use sidelock::world::clock::Instant;

use crate::dice::Dice;
use crate::throw;

const NOW: Instant = Instant::from_boot(Duration::from_secs(1_000));

#[test]
fn a_mangled_record_is_refused_or_means_what_it_says() {
    throw!(|dice: Dice| {
        let saved = mangled(dice);
        let session = saved.session;
        let last = session.is_some_and(|session| session.generation.0 == u32::MAX);
        let mut holds = saved.holds.values();
        if !last && holds.all(|hold| hold.revision < u64::MAX / 2) {
            go_on(saved);
        }
    });
}

#[test]
fn no_record_that_decodes_panics_the_process_that_takes_over() {
    throw!(|dice: Dice| go_on(mangled(dice)));
}

fn mangled(mut dice: Dice) -> Saved {
    let mut saved = Saved::default();
    while !dice.is_over() {
        let honest = record(&mut dice);
        let encoded = saved_codec::encode(&honest);
        assert_eq!(saved_codec::decode(encoded.clone()).as_ref(), Some(&honest));
        let mut bytes = encoded.encode_to_vec();
        if dice.once_in(2) {
            dice.mangle(&mut bytes);
        }
        let Ok(message) = state::Record::decode(&*bytes) else {
            continue;
        };
        if let Some(record) = saved_codec::decode(message) {
            let again = saved_codec::decode(saved_codec::encode(&record));
            assert_eq!(again.as_ref(), Some(&record));
            saved.apply(record);
        }
    }
    saved
}

#[test]
fn arbitrary_bytes_are_no_record_that_breaks_a_desk() {
    throw!(|dice: Dice| {
        let message = state::Record::decode(dice.rest()).ok();
        if let Some(record) = message.and_then(saved_codec::decode) {
            let mut saved = Saved::default();
            saved.apply(record);
            go_on(saved);
        }
    });
}

/// A process that takes over, connects and lets a minute pass.
fn go_on(saved: Saved) {
    let mut desk = Desk::taken_over(rules(), saved, NOW);
    let stream = StreamRef { node: 0, number: 1 };
    desk.stream_up(NOW, stream);
    // Instants too far ahead to be written come back as the last that can be.
    for record in desk.all_records(NOW) {
        assert!(saved_codec::decode(saved_codec::encode(&record)).is_some());
    }
    for seconds in [0, 1, 20, 60, 3_600] {
        let now = NOW + Duration::from_secs(seconds);
        desk.advance(now);
        drop(desk.claims(now, 100, None));
        drop(desk.take_frame(now, stream));
        drop(desk.take_records());
        drop(desk.take_answers());
    }
}

pub fn rules() -> Rules {
    Rules {
        nodes: 2,
        session_ttl: Duration::from_secs(10),
        identity: Arc::from("fuzzed"),
        caution: Caution {
            rho_ppm: 10_000,
            margin: Duration::from_millis(100),
        },
        no_quorum_after: Duration::from_secs(3),
        prefix: Arc::from(""),
        delegate: true,
        records: true,
        seed: [7; 32],
    }
}

pub fn claim_id(dice: &mut Dice) -> ClaimId {
    ClaimId::parse(dice.pick(&["c1", "c2", "c3", "c4"])).expect("valid")
}

/// One that a desk could have written.
pub fn record(dice: &mut Dice) -> Record {
    match dice.below(8) {
        0 => Record::Session(SavedSession {
            key: SessionKey(u128::from(dice.byte() % 3)),
            generation: Generation(dice.near32(&[1, 2])),
            id: Some(SessionId(dice.near(&[7]))).filter(|id| id.0 > 0),
        }),
        1 => Record::Gone(claim_id(dice)),
        2 => Record::Newest(
            Seq(dice.near(&[1, 2])),
            Newest {
                any: Token::new(dice.near(&[5, 6])),
                exclusive: Token::new(dice.near(&[5, 6])),
            },
        ),
        _ => Record::Hold(Box::new(hold(dice))),
    }
}

fn hold(dice: &mut Dice) -> SavedHold {
    SavedHold {
        id: claim_id(dice),
        ask: ask(dice),
        trace_id: Arc::from(""),
        ttl: Duration::from_millis(dice.near(&[10_000])),
        queue: dice.once_in(2),
        asked: instant(dice),
        waited: dice
            .once_in(2)
            .then(|| Duration::from_micros(dice.near(&[100]))),
        revision: dice.near(&[1, 2]),
        seq: dice.once_in(2).then(|| Seq(dice.near(&[1, 2, 3]))),
        under: dice.once_in(2).then(|| Seq(dice.near(&[1, 2]))),
        local: dice.once_in(2),
        bound: dice.once_in(4),
        value: None,
        stage: match dice.below(3) {
            0 => SavedStage::Waiting,
            1 => SavedStage::Held {
                tokens: tokens(dice),
                since: instant(dice),
                until: instant(dice),
            },
            _ => SavedStage::Ended(Ended {
                state: dice.pick(&[ClaimState::Released, ClaimState::Lost, ClaimState::Expired]),
                reason: dice.pick(&[None, Some(Reason::TtlExpired), Some(Reason::Deleted)]),
                tokens: tokens(dice),
                used_up: dice.once_in(2),
                release_at: dice.once_in(2).then(|| instant(dice)),
                forget_at: instant(dice),
            }),
        },
    }
}

pub fn ask(dice: &mut Dice) -> ClaimAsk {
    let locks = dice.below(2) + 1;
    let limit = dice.pick(&[3, 5]);
    ClaimAsk {
        locks: ["a", "b", "pool"][dice.below(2)..][..locks]
            .iter()
            .map(|name| Want {
                name: LockName::parse(name).expect("valid"),
                mode: match dice.below(3) {
                    _ if *name == "pool" => Mode::Semaphore { permits: 1, limit },
                    0 => Mode::Shared,
                    _ => Mode::Exclusive,
                },
            })
            .collect(),
        ttl: Duration::from_millis(dice.pick(&[2_000, 10_000])),
        wait: Duration::from_millis(dice.pick(&[0, 0, 5_000])),
        queue: dice.once_in(4),
        owner: None,
        metadata: BTreeMap::new(),
        value: dice.once_in(8).then(|| Arc::from("v")),
        priority: dice.pick(&[0, 0, 9]),
        min_hold: Duration::from_millis(dice.pick(&[0, 0, 500])),
    }
}

fn instant(dice: &mut Dice) -> Instant {
    Instant::from_boot(Duration::from_micros(
        dice.near(&[990_000_000, 1_005_000_000]),
    ))
}

fn tokens(dice: &mut Dice) -> Vec<Token> {
    let raw: Vec<u64> = (0..dice.below(3)).map(|_| dice.near(&[4, 5])).collect();
    raw.into_iter().filter_map(Token::new).collect()
}
