//! Everything the wire carries comes back as it was, and what is wrong is named by its field.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use sidelock::table::attachment::{AttachedClaim, Attachment};
use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::order::{LockClass, OrderEdge, OrderSample};
use sidelock::table::state::{HistoryEvent, HistoryRecord};
use sidelock::table::survey::{
    DeadlockView, Findings, HolderWhy, OrderView, SessionTally, SessionsView, Survey, WaiterWhy,
    WaitsView, WhyView,
};
use sidelock::table::view::{HistoryView, HolderView, LockView, WaiterView};
use sidelock::wire::convert::{self, ConvertError, Outcome, Problem};
use sidelock::wire::v1;

/// Through the bytes, not only through the structs.
fn wired<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("just encoded")
}

fn lock_name() -> impl Strategy<Value = LockName> {
    "[a-zA-Z0-9/äöü ]{1,20}".prop_map(|text| LockName::parse(&text).expect("valid"))
}

fn claim_id() -> impl Strategy<Value = ClaimId> {
    "[a-z0-9_~-]{1,20}".prop_map(|text| ClaimId::parse(&text).expect("valid"))
}

fn owner_id() -> impl Strategy<Value = OwnerId> {
    "[a-z0-9_~-]{1,20}".prop_map(|text| OwnerId::parse(&text).expect("valid"))
}

fn text() -> impl Strategy<Value = Arc<str>> {
    ".{0,12}".prop_map(Into::into)
}

fn token() -> impl Strategy<Value = Token> {
    (1..=TOKEN_MAX).prop_map(|value| Token::new(value).expect("in range"))
}

fn tokens() -> impl Strategy<Value = Vec<Token>> {
    prop::collection::vec(token(), 0..4)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Exclusive),
        Just(Mode::Shared),
        any::<(u32, u32)>().prop_map(|(permits, limit)| Mode::Semaphore { permits, limit }),
    ]
}

fn want() -> impl Strategy<Value = Want> {
    (lock_name(), mode()).prop_map(|(name, mode)| Want { name, mode })
}

fn metadata() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(".{0,5}", ".{0,5}", 0..3)
}

fn end_cause() -> impl Strategy<Value = EndCause> {
    prop::sample::select(vec![
        EndCause::Released,
        EndCause::Cancelled,
        EndCause::LeaseExpired,
        EndCause::StreamClosed,
        EndCause::GrantTooLate,
        EndCause::SessionExpired,
        EndCause::SessionClosed,
        EndCause::Broken,
        EndCause::Deadlock,
    ])
}

fn acquire() -> impl Strategy<Value = Acquire> {
    (
        claim_id(),
        owner_id(),
        prop::collection::vec(want(), 0..4),
        any::<bool>(),
        0..=PRIORITY_MAX,
        metadata(),
        prop::option::of(text()),
        text(),
    )
        .prop_map(
            |(claim_id, owner, locks, wait, priority, metadata, value, trace_id)| Acquire {
                claim_id,
                owner,
                locks,
                wait,
                priority,
                metadata,
                value,
                trace_id,
            },
        )
}

fn user() -> impl Strategy<Value = User> {
    (claim_id(), owner_id(), text()).prop_map(|(claim_id, owner, trace_id)| User {
        claim_id,
        owner,
        trace_id,
    })
}

fn local_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Exclusive), Just(Mode::Shared)]
}

fn kept() -> impl Strategy<Value = Kept> {
    (user(), local_mode(), token(), 0..=PRIORITY_MAX, metadata()).prop_map(
        |(user, mode, token, priority, metadata)| Kept {
            user,
            mode,
            token,
            priority,
            metadata,
        },
    )
}

fn local_end() -> impl Strategy<Value = LocalEnd> {
    let times = any::<(u64, u64)>();
    (user(), local_mode(), token(), end_cause(), times).prop_map(
        |(user, mode, token, cause, (waited_ms, held_ms))| LocalEnd {
            user,
            mode,
            token,
            cause,
            waited_ms,
            held_ms,
        },
    )
}

fn back() -> impl Strategy<Value = Return> {
    let newest = || proptest::option::of(token());
    let kept = proptest::collection::vec(kept(), 0..3);
    let ended = proptest::collection::vec(local_end(), 0..3);
    (any::<(u64, u64)>(), newest(), newest(), kept, ended).prop_map(
        |((delegation, grants), newest, newest_exclusive, kept, ended)| Return {
            delegation: Seq(delegation),
            newest,
            newest_exclusive,
            grants,
            kept,
            ended,
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        acquire().prop_map(Operation::Acquire),
        (any::<u64>(), end_cause(), any::<u64>(), any::<u64>()).prop_map(
            |(claim, cause, waited_ms, held_ms)| Operation::Release(Release {
                claim: Seq(claim),
                cause,
                waited_ms,
                held_ms,
            })
        ),
        (any::<u64>(), text()).prop_map(|(claim, value)| Operation::SetValue {
            claim: Seq(claim),
            value,
        }),
        back().prop_map(Operation::Return),
        Just(Operation::Close),
        lock_name().prop_map(Operation::Denied),
    ]
}

fn operate() -> impl Strategy<Value = Operate> {
    (
        any::<u64>(),
        any::<u32>(),
        any::<u64>(),
        any::<u64>(),
        operation(),
    )
        .prop_map(|(session, generation, seq, acked, operation)| Operate {
            session: SessionId(session),
            generation: Generation(generation),
            seq: Seq(seq),
            acked: Seq(acked),
            operation,
        })
}

fn claim_ref() -> impl Strategy<Value = ClaimRef> {
    any::<(u64, u64)>().prop_map(|(session, seq)| ClaimRef {
        session: SessionId(session),
        seq: Seq(seq),
    })
}

fn party() -> impl Strategy<Value = Party> {
    let ids = (claim_ref(), claim_id(), owner_id());
    (ids, text(), text()).prop_map(|((claim, claim_id, owner), identity, trace_id)| Party {
        claim,
        claim_id,
        owner,
        identity,
        trace_id,
    })
}

fn edge() -> impl Strategy<Value = CycleEdge> {
    (lock_name(), party(), party(), any::<bool>()).prop_map(|(lock, waiter, blocker, held)| {
        CycleEdge {
            lock,
            waiter,
            blocker,
            held,
        }
    })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        (lock_name(), party(), any::<u32>(), any::<u32>()).prop_map(
            |(lock, holder, holders, waiters)| Refusal::Held {
                lock,
                holder,
                holders,
                waiters,
            }
        ),
        (lock_name(), any::<u32>())
            .prop_map(|(lock, delay_ms)| Refusal::LockDelay { lock, delay_ms }),
        prop::collection::vec(edge(), 0..3).prop_map(Refusal::Deadlock),
        (lock_name(), any::<u32>())
            .prop_map(|(lock, limit)| Refusal::SemaphoreLimit { lock, limit }),
        (lock_name(), any::<u32>(), text()).prop_map(|(lock, waiters_max, policy)| {
            Refusal::QueueFull {
                lock,
                waiters_max,
                policy,
            }
        }),
        text().prop_map(Refusal::Invalid),
        lock_name().prop_map(|lock| Refusal::Denied { lock }),
    ]
}

const SESSION: SessionId = SessionId(42);

fn own_claim() -> impl Strategy<Value = ClaimRef> {
    any::<u64>().prop_map(|seq| ClaimRef {
        session: SESSION,
        seq: Seq(seq),
    })
}

fn grant() -> impl Strategy<Value = Grant> {
    (own_claim(), any::<u64>(), tokens()).prop_map(|(claim, revision, tokens)| Grant {
        claim,
        revision: Revision(revision),
        tokens,
    })
}

fn operate_reply() -> impl Strategy<Value = OperateReply> {
    let was = prop::sample::select(vec![Was::Held, Was::Waiting, Was::Gone]);
    let applied = prop_oneof![
        grant().prop_map(OperationReply::Granted),
        any::<(u64, u32)>().prop_map(|(revision, ahead)| OperationReply::Queued {
            revision: Revision(revision),
            ahead,
            behind: None,
        }),
        refusal().prop_map(OperationReply::Refused),
        (any::<u64>(), was).prop_map(|(revision, was)| OperationReply::Ended {
            revision: Revision(revision),
            was,
        }),
        any::<bool>().prop_map(OperationReply::ValueSet),
        Just(OperationReply::Closed),
    ];
    prop_oneof![
        applied.prop_map(OperateReply::Applied),
        Just(OperateReply::Forgotten),
        any::<u64>().prop_map(|expected| OperateReply::Gap {
            expected: Seq(expected),
        }),
        Just(OperateReply::UnknownSession),
        Just(OperateReply::Superseded),
    ]
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        grant().prop_map(Effect::Granted),
        (
            own_claim(),
            any::<u64>(),
            end_cause(),
            prop::collection::vec(edge(), 0..3)
        )
            .prop_map(|(claim, revision, cause, cycle)| Effect::ClaimEnded {
                claim,
                revision: Revision(revision),
                cause,
                cycle,
            }),
        (
            own_claim(),
            any::<u64>(),
            any::<bool>(),
            prop::option::of(party())
        )
            .prop_map(|(claim, revision, answer, wanted_by)| Effect::Recalled {
                claim,
                revision: Revision(revision),
                answer,
                wanted_by,
            }),
        (own_claim(), any::<u64>()).prop_map(|(claim, revision)| Effect::BreakAsked {
            claim,
            revision: Revision(revision),
        }),
        end_cause().prop_map(|cause| Effect::SessionEnded {
            session: SESSION,
            cause,
        }),
    ]
}

fn attachment() -> impl Strategy<Value = Attachment> {
    let claim = (own_claim(), claim_id(), tokens(), any::<bool>()).prop_map(
        |(claim, claim_id, tokens, breaking)| AttachedClaim {
            claim,
            claim_id,
            tokens,
            breaking,
            delegation: None,
        },
    );
    (
        any::<(u32, u32, u64, u64, u64)>(),
        prop::collection::vec(claim, 0..4),
    )
        .prop_map(
            |((generation, ttl_ms, seq, renewal, revision), claims)| Attachment {
                session: SESSION,
                generation: Generation(generation),
                ttl_ms,
                seq: Seq(seq),
                renewal: RenewalNumber(renewal),
                revision: Revision(revision),
                claims,
            },
        )
}

fn holder() -> impl Strategy<Value = HolderView> {
    (
        party(),
        mode(),
        token(),
        metadata(),
        prop::option::of(text()),
        any::<bool>(),
    )
        .prop_map(
            |(party, mode, token, metadata, value, breaking)| HolderView {
                claim: party.claim,
                claim_id: party.claim_id,
                owner: party.owner,
                identity: party.identity,
                mode,
                token,
                metadata,
                value,
                breaking,
            },
        )
}

fn waiter() -> impl Strategy<Value = WaiterView> {
    (party(), mode(), 0..=PRIORITY_MAX).prop_map(|(party, mode, priority)| WaiterView {
        claim: party.claim,
        claim_id: party.claim_id,
        owner: party.owner,
        identity: party.identity,
        mode,
        priority,
    })
}

fn lock_view() -> impl Strategy<Value = LockView> {
    (
        lock_name(),
        prop::collection::vec(holder(), 0..3),
        prop::collection::vec(waiter(), 0..3),
        any::<(u32, Option<u32>, u64)>(),
    )
        .prop_map(
            |(name, holders, queue, (waiters, lock_delay_ms, revision))| LockView {
                name,
                holders,
                queue,
                waiters,
                lock_delay_ms,
                revision: Revision(revision),
            },
        )
}

fn cycle() -> impl Strategy<Value = Arc<[CycleEdge]>> {
    prop::collection::vec(edge(), 0..3).prop_map(Into::into)
}

fn history_view() -> impl Strategy<Value = HistoryView> {
    let event = prop_oneof![
        Just(HistoryEvent::Queued),
        tokens().prop_map(|tokens| HistoryEvent::Granted {
            tokens: tokens.into()
        }),
        (
            tokens(),
            end_cause(),
            any::<(Option<u64>, Option<u64>)>(),
            text()
        )
            .prop_map(
                |(tokens, cause, (waited_ms, held_ms), note)| HistoryEvent::Ended {
                    tokens: tokens.into(),
                    cause,
                    waited_ms,
                    held_ms,
                    note,
                }
            ),
        (end_cause(), cycle()).prop_map(|(cause, cycle)| HistoryEvent::Left { cause, cycle }),
        cycle().prop_map(|cycle| HistoryEvent::Deadlocked { cycle }),
        text().prop_map(|note| HistoryEvent::BreakAsked { note }),
    ];
    (
        any::<(u64, u64)>(),
        event,
        prop::collection::vec(want(), 0..3),
        party(),
        text(),
    )
        .prop_map(
            |((revision, index), event, locks, party, trace_id)| HistoryView {
                revision: Revision(revision),
                record: HistoryRecord {
                    index,
                    event,
                    locks: locks.into(),
                    claim: party.claim,
                    claim_id: party.claim_id,
                    owner: party.owner,
                    identity: party.identity,
                    trace_id,
                },
            },
        )
}

fn order_edge() -> impl Strategy<Value = (LockClass, LockClass, OrderEdge)> {
    let names = (lock_name(), lock_name(), any::<bool>());
    (names, party(), any::<(u64, u64)>()).prop_map(
        |((held, taken, closes), party, (count, revision))| {
            let classes = [LockClass::of(&held), LockClass::of(&taken)];
            let edge = OrderEdge {
                count,
                sample: OrderSample {
                    held,
                    taken,
                    claim_id: party.claim_id,
                    owner: party.owner,
                    identity: party.identity,
                    revision: Revision(revision),
                },
                closes: classes.iter().filter(|_| closes).cloned().collect(),
            };
            let [before, after] = classes;
            (before, after, edge)
        },
    )
}

fn why() -> impl Strategy<Value = WhyView> {
    let holder = (holder(), any::<(u32, bool)>(), prop::option::of(party()));
    let holder = holder.prop_map(|(holder, (held_ms, delegated), user)| HolderWhy {
        holder,
        held: Duration::from_millis(held_ms.into()),
        delegated,
        user,
    });
    let waits_for = prop::collection::vec(claim_id(), 0..3);
    let elsewhere = prop::collection::vec(lock_name(), 0..3);
    let waiter = (waiter(), waits_for, elsewhere, any::<(u32, bool)>());
    let waiter = waiter.prop_map(
        |(waiter, waits_for, elsewhere, (behind, trial))| WaiterWhy {
            waiter,
            waits_for,
            behind,
            elsewhere,
            trial,
        },
    );
    (
        lock_name(),
        prop::collection::vec(holder, 0..3),
        prop::collection::vec(waiter, 0..3),
        any::<(u32, Option<u32>)>(),
        prop::collection::vec(history_view(), 0..3),
    )
        .prop_map(
            |(name, holders, queue, (waiters, lock_delay_ms), history)| WhyView {
                name,
                holders,
                queue,
                waiters,
                lock_delay_ms,
                history,
            },
        )
}

fn findings() -> impl Strategy<Value = Findings> {
    let deadlock = (any::<u64>(), claim_id(), cycle());
    let deadlock = deadlock.prop_map(|(revision, victim, edges)| DeadlockView {
        revision: Revision(revision),
        victim,
        edges,
    });
    let tally = (any::<u64>(), text(), any::<(u32, u32, u32, u32)>());
    let tally = tally.prop_map(
        |(session, identity, (ttl_ms, claims, waiting, delegations))| SessionTally {
            session: SessionId(session),
            identity,
            ttl_ms,
            claims,
            waiting,
            delegations,
        },
    );
    prop_oneof![
        prop::collection::vec(deadlock, 0..3).prop_map(Findings::Deadlocks),
        (prop::collection::vec(order_edge(), 0..3), any::<u64>())
            .prop_map(|(edges, missed)| Findings::Order(OrderView { edges, missed })),
        (prop::collection::vec(edge(), 0..3), any::<bool>())
            .prop_map(|(edges, truncated)| Findings::Waits(WaitsView { edges, truncated })),
        (prop::collection::vec(tally, 0..3), any::<bool>()).prop_map(|(sessions, truncated)| {
            Findings::Sessions(SessionsView {
                sessions,
                truncated,
            })
        }),
        why().prop_map(|why| Findings::Why(Box::new(why))),
    ]
}

proptest! {
    #[test]
    fn opens_come_back(key in any::<u128>(), ttl_ms in 1..u32::MAX, identity in text(), generation in 1..u32::MAX) {
        let generation = Generation(generation);
        let open = OpenSession { key: SessionKey(key), ttl_ms, identity, generation, principal: None };
        prop_assert_eq!(OpenSession::try_from(wired(v1::OpenSession::from(&open))), Ok(open));
    }

    #[test]
    fn operations_come_back(operate in operate()) {
        prop_assert_eq!(Operate::try_from(wired(v1::Operation::from(&operate))), Ok(operate));
    }

    #[test]
    fn operation_replies_come_back(seq in any::<u64>(), reply in operate_reply()) {
        let wire = wired(convert::operation_reply(Seq(seq), &reply));
        prop_assert_eq!(
            convert::operate_reply(SESSION, wire),
            Ok((Seq(seq), Outcome::Decided(reply)))
        );
    }

    #[test]
    fn renewals_and_their_replies_come_back(
        session: u64, generation: u32, number: u64, heard: u64, ttl_ms: u32, kind in 0..3,
    ) {
        let (session, number) = (SessionId(session), RenewalNumber(number));
        let renewal = Renewal { session, generation: Generation(generation), number, heard: RenewalNumber(heard) };
        prop_assert_eq!(Renewal::from(wired(v1::Renewal::from(&renewal))), renewal);
        let reply = match kind {
            0 => RenewalReply::Renewed { number, ttl_ms },
            1 => RenewalReply::UnknownSession,
            _ => RenewalReply::Superseded,
        };
        let wire = wired(convert::renewal_reply(session, number, &reply));
        prop_assert_eq!(
            convert::renewal_outcome(wire),
            Ok((session, number, Outcome::Decided(reply)))
        );
    }

    #[test]
    fn events_come_back(effect in effect()) {
        let (session, event) = convert::event(&effect).expect("a session's business");
        prop_assert_eq!(session, SESSION);
        prop_assert_eq!(convert::effect(SESSION, wired(event)), Ok(effect));
    }

    #[test]
    fn attachments_come_back(attachment in attachment()) {
        let wire = wired(v1::Attached::from(&attachment));
        prop_assert_eq!(Attachment::try_from(wire), Ok(attachment));
    }

    #[test]
    fn views_come_back(lock in lock_view(), record in history_view()) {
        prop_assert_eq!(LockView::try_from(wired(v1::Lock::from(&lock))), Ok(lock));
        let wire = wired(v1::HistoryRecord::from(&record));
        prop_assert_eq!(HistoryView::try_from(wire), Ok(record));
    }

    #[test]
    fn surveys_come_back(name in lock_name(), limit in any::<u32>(), found in findings()) {
        for ask in [
            Survey::Deadlocks { limit },
            Survey::Order,
            Survey::Waits,
            Survey::Sessions,
            Survey::Why(name),
        ] {
            prop_assert_eq!(Survey::try_from(wired(v1::Survey::from(&ask))), Ok(ask));
        }
        prop_assert_eq!(Findings::try_from(wired(v1::Findings::from(&found))), Ok(found));
    }

    #[test]
    fn no_frame_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(operation) = v1::Operation::decode(bytes.as_slice())
            && let Ok(operate) = Operate::try_from(operation)
        {
            prop_assert_eq!(Operate::try_from(v1::Operation::from(&operate)), Ok(operate));
        }
    }
}

#[test]
fn not_leader_comes_back() {
    let seq = Seq(3);
    let wire = wired(convert::operation_not_leader(seq));
    assert_eq!(
        convert::operate_reply(SESSION, wire),
        Ok((seq, Outcome::NotLeader))
    );
    let number = RenewalNumber(9);
    let wire = wired(convert::renewal_not_leader(SESSION, number));
    assert_eq!(
        convert::renewal_outcome(wire),
        Ok((SESSION, number, Outcome::NotLeader))
    );
}

#[test]
fn a_fault_names_its_field() {
    let sound = || v1::Acquire {
        claim_id: "c".into(),
        owner: "o".into(),
        locks: vec![v1::Want {
            name: "a".into(),
            mode: v1::Mode::Exclusive.into(),
            ..v1::Want::default()
        }],
        ..v1::Acquire::default()
    };
    type Damage = fn(&mut v1::Acquire);
    let cases: [(&str, Damage, Problem); 6] = [
        (
            "Acquire.claim_id",
            |a| a.claim_id.clear(),
            Problem::Id(IdError::Empty),
        ),
        (
            "Acquire.owner",
            |a| a.owner = "a b".into(),
            Problem::Id(IdError::Character(0x20)),
        ),
        ("Acquire.priority", |a| a.priority = 10, Problem::Range),
        (
            "Want.name",
            |a| a.locks[0].name = "..".into(),
            Problem::Id(IdError::Dots),
        ),
        ("Want.mode", |a| a.locks[0].mode = 0, Problem::Missing),
        ("Want.mode", |a| a.locks[0].mode = 99, Problem::Missing),
    ];
    assert!(Acquire::try_from(sound()).is_ok());
    for (field, damage, problem) in cases {
        let mut acquire = sound();
        damage(&mut acquire);
        assert_eq!(
            Acquire::try_from(acquire),
            Err(ConvertError { field, problem })
        );
    }
    let open = v1::OpenSession {
        key: vec![0; 15],
        ttl_ms: 1,
        identity: String::new(),
        generation: 1,
        principal: String::new(),
    };
    let problem = Problem::Length;
    let field = "OpenSession.key";
    assert_eq!(
        OpenSession::try_from(open),
        Err(ConvertError { field, problem })
    );
    let empty = v1::Operation::default();
    let (field, problem) = ("Operation.operation", Problem::Missing);
    assert_eq!(
        Operate::try_from(empty),
        Err(ConvertError { field, problem })
    );
    let zero = v1::Granted {
        tokens: vec![0],
        ..v1::Granted::default()
    };
    let event = v1::Event {
        event: Some(v1::event::Event::Granted(zero)),
    };
    let (field, problem) = ("Granted.tokens", Problem::Range);
    assert_eq!(
        convert::effect(SESSION, event),
        Err(ConvertError { field, problem })
    );
}
