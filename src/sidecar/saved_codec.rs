//! PURE: records of the state directory to their bytes and back.
//! In: records. Out: messages of `state.proto`. Never: a guess at what a later version has written.

use std::time::Duration;

use super::handle::{ClaimAsk, ClaimState, Reason};
use super::hold::Ended;
use super::saved::{Newest, Record, SavedHold, SavedSession, SavedStage};
use crate::table::command::Acquire;
use crate::table::id::{ClaimId, Generation, OwnerId, Seq, SessionId, SessionKey, Token};
use crate::wire::{state, v1};
use crate::world::clock::Instant;

/// By number; append only.
const STATES: &[ClaimState] = &[
    ClaimState::Released,
    ClaimState::Expired,
    ClaimState::Lost,
    ClaimState::Cancelled,
    ClaimState::Revoked,
];
/// By number, from 1; append only.
const REASONS: &[Reason] = &[
    Reason::TtlExpired,
    Reason::StreamClosed,
    Reason::SessionExpired,
    Reason::SessionLost,
    Reason::WaitTimeout,
    Reason::CallerGone,
    Reason::Unattended,
    Reason::Deleted,
    Reason::Deadlock,
    Reason::Broken,
    Reason::DeadlinePassed,
    Reason::Refused,
    Reason::Draining,
];

/// A record as a message.
pub fn encode(record: &Record) -> state::Record {
    use state::record::Record as Wire;
    let record = match record {
        Record::Session(session) => Wire::Session(state::Session {
            key: session.key.0.to_be_bytes().to_vec(),
            generation: session.generation.0,
            id: session.id.map_or(0, |id| id.0),
        }),
        Record::Hold(hold) => Wire::Hold(encode_hold(hold)),
        Record::Gone(id) => Wire::Gone(id.to_string()),
        Record::Newest(delegation, newest) => Wire::Newest(state::Newest {
            delegation: delegation.0,
            any: newest.any.map(Token::get),
            exclusive: newest.exclusive.map(Token::get),
        }),
    };
    state::Record {
        record: Some(record),
    }
}

/// The record in a message; `None` if it is none of ours.
pub fn decode(record: state::Record) -> Option<Record> {
    use state::record::Record as Wire;
    Some(match record.record? {
        Wire::Origin(_) => return None,
        Wire::Session(session) => Record::Session(SavedSession {
            key: SessionKey(u128::from_be_bytes(session.key.try_into().ok()?)),
            generation: Generation(session.generation),
            id: Some(SessionId(session.id)).filter(|id| id.0 > 0),
        }),
        Wire::Hold(hold) => Record::Hold(Box::new(decode_hold(hold)?)),
        Wire::Gone(id) => Record::Gone(ClaimId::parse(&id).ok()?),
        Wire::Newest(newest) => Record::Newest(
            Seq(newest.delegation),
            Newest {
                any: newest.any.and_then(Token::new),
                exclusive: newest.exclusive.and_then(Token::new),
            },
        ),
    })
}

fn encode_hold(hold: &SavedHold) -> state::Hold {
    use state::hold::Stage;
    let ask = &hold.ask;
    let (tokens, stage) = match &hold.stage {
        SavedStage::Waiting => (&[][..], Stage::Waiting(state::Waiting {})),
        SavedStage::Held {
            tokens,
            since,
            until,
        } => {
            let held = state::Held {
                since_us: instant_us(*since),
                until_us: instant_us(*until),
            };
            (tokens.as_slice(), Stage::Held(held))
        }
        SavedStage::Ended(ended) => {
            let wire = state::Ended {
                state: number(STATES, &ended.state),
                reason: ended
                    .reason
                    .map_or(0, |reason| number(REASONS, &reason) + 1),
                used_up: ended.used_up,
                release_at_us: ended.release_at.map(instant_us),
                forget_at_us: instant_us(ended.forget_at),
            };
            (ended.tokens.as_slice(), Stage::Ended(wire))
        }
    };
    let owner = ask.owner.clone();
    let owner_named = owner.is_some();
    let owner = owner.or_else(|| OwnerId::parse(hold.id.as_str()).ok());
    state::Hold {
        acquire: Some(v1::Acquire {
            claim_id: hold.id.to_string(),
            owner: owner.map_or_else(String::new, |owner| owner.to_string()),
            locks: ask.locks.iter().map(v1::Want::from).collect(),
            wait: ask.queue,
            priority: ask.priority.into(),
            metadata: ask.metadata.clone(),
            value: ask.value.as_deref().map(str::to_owned),
            trace_id: hold.trace_id.to_string(),
        }),
        owner_named,
        asked_ttl_ms: millis(ask.ttl),
        wait_ms: millis(ask.wait),
        min_hold_ms: millis(ask.min_hold),
        ttl_ms: millis(hold.ttl),
        queue: hold.queue,
        asked_us: instant_us(hold.asked),
        waited_us: hold.waited.map(micros),
        revision: hold.revision,
        seq: hold.seq.map(|seq| seq.0),
        under: hold.under.map(|seq| seq.0),
        local: hold.local,
        bound: hold.bound,
        value: hold.value.as_deref().map(str::to_owned),
        tokens: tokens.iter().map(|token| token.get()).collect(),
        stage: Some(stage),
    }
}

fn decode_hold(hold: state::Hold) -> Option<SavedHold> {
    use state::hold::Stage;
    let acquire = Acquire::try_from(hold.acquire?).ok()?;
    let tokens = hold.tokens.into_iter().map(Token::new);
    let tokens: Vec<Token> = tokens.collect::<Option<_>>()?;
    let stage = match hold.stage? {
        Stage::Waiting(state::Waiting {}) => SavedStage::Waiting,
        Stage::Held(held) => SavedStage::Held {
            tokens,
            since: instant(held.since_us),
            until: instant(held.until_us),
        },
        Stage::Ended(ended) => SavedStage::Ended(Ended {
            state: *STATES.get(place(ended.state)?)?,
            reason: match ended.reason {
                0 => None,
                number => Some(*REASONS.get(place(number - 1)?)?),
            },
            tokens,
            used_up: ended.used_up,
            release_at: ended.release_at_us.map(instant),
            forget_at: instant(ended.forget_at_us),
        }),
    };
    Some(SavedHold {
        id: acquire.claim_id,
        ask: ClaimAsk {
            locks: acquire.locks,
            ttl: Duration::from_millis(hold.asked_ttl_ms),
            wait: Duration::from_millis(hold.wait_ms),
            queue: acquire.wait,
            owner: hold.owner_named.then_some(acquire.owner),
            metadata: acquire.metadata,
            value: acquire.value,
            priority: acquire.priority,
            min_hold: Duration::from_millis(hold.min_hold_ms),
        },
        trace_id: acquire.trace_id,
        ttl: Duration::from_millis(hold.ttl_ms),
        queue: hold.queue,
        asked: instant(hold.asked_us),
        waited: hold.waited_us.map(Duration::from_micros),
        revision: hold.revision,
        seq: hold.seq.map(Seq),
        under: hold.under.map(Seq),
        local: hold.local,
        bound: hold.bound,
        value: hold.value.map(Into::into),
        stage,
    })
}

fn number<T: PartialEq>(list: &[T], one: &T) -> u32 {
    let place = list.iter().position(|other| other == one);
    place
        .and_then(|place| u32::try_from(place).ok())
        .unwrap_or(u32::MAX - 1)
}

fn place(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn instant_us(instant: Instant) -> u64 {
    micros(instant.since_boot())
}

fn instant(us: u64) -> Instant {
    Instant::from_boot(Duration::from_micros(us))
}
