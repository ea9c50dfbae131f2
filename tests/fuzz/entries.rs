//! What a node reads from its disk and its peers: log entries, objects, keys, messages of Raft.
//! In: dice. Out: a value that is the same after another trip, or an error.
//! Never: a value whose checksum does not fit, or a table of objects that do not fit together.

use prost::Message;
use sidelock::core::{codec, frames, keys};
use sidelock::table::Table;
use sidelock::table::id::ShardId;
use sidelock::wire::convert::disk as stored;
use sidelock::wire::{disk, v1};

use crate::dice::Dice;
use crate::hostile::{self, Known};
use crate::sidecars::Core;
use crate::throw;

const SHARD: ShardId = ShardId(3);

#[test]
fn a_log_entry_is_read_as_it_was_written_or_refused() {
    throw!(|mut dice: Dice| {
        read_entry(dice.rest());
        let mut bytes = entry(&mut dice).encode_to_vec();
        read_entry(&bytes);
        dice.mangle(&mut bytes);
        read_entry(&bytes);
    });
}

#[test]
fn objects_of_a_table_come_back_and_mangled_ones_are_refused_or_mean_something() {
    throw!(|mut dice: Dice| {
        let mut core = Core::new(&mut dice, false);
        core.run(&mut dice);
        let mut mangler = dice;
        let objects: Vec<_> = core.table.objects().collect();
        let chosen = mangler.below(objects.len());
        let mut read = Vec::new();
        for (place, (key, object)) in objects.into_iter().enumerate() {
            let name = keys::object(SHARD, &key);
            assert_eq!(keys::parse_object(&name).as_ref(), Some(&key));
            let mut bytes = stored::object_to_bytes(&key, &object);
            assert_eq!(stored::object_from_bytes(&key, &bytes), Ok(object.clone()));
            sealed(&mut mangler, &name, &bytes);
            if place != chosen {
                read.push((key, object));
                continue;
            }
            mangler.mangle(&mut bytes);
            if let Ok(mangled) = stored::object_from_bytes(&key, &bytes) {
                let again = stored::object_to_bytes(&key, &mangled);
                assert_eq!(stored::object_from_bytes(&key, &again), Ok(mangled.clone()));
                read.push((key, mangled));
            }
        }
        drop(Table::load(read));
    });
}

#[test]
fn a_key_is_none_or_the_one_that_was_written() {
    throw!(|mut dice: Dice| {
        let mut key = vec![0, 0, 0, 3, dice.byte() % 10];
        key.extend_from_slice(&dice.rest()[..dice.rest().len().min(dice.below(24))]);
        if let Some(parsed) = keys::parse_object(&key) {
            assert_eq!(keys::object(SHARD, &parsed), key, "{parsed:?}");
        }
        assert_eq!(keys::entry_index(&key).is_some(), key.len() == 12);
    });
}

#[test]
fn messages_of_raft_are_read_or_refused() {
    throw!(|mut dice: Dice| {
        read_messages(dice.rest());
        let request = v1::AppendRequest {
            route: None,
            vote: Some(v1::Vote {
                term: dice.near(&[1]),
                node: dice.near(&[65_537]),
                committed: true,
            }),
            prev: Some(log_id(&mut dice)),
            entries: vec![entry(&mut dice).encode_to_vec().into()],
            commit: Some(log_id(&mut dice)),
        };
        let mut bytes = request.encode_to_vec();
        dice.mangle(&mut bytes);
        read_messages(&bytes);
        let mut meta = disk::SnapshotMeta {
            last_log_id: Some(log_id(&mut dice)),
            membership_log_id: Some(log_id(&mut dice)),
            membership: Some(membership(&mut dice)),
        }
        .encode_to_vec();
        if dice.once_in(2) {
            dice.mangle(&mut meta);
        }
        if let Ok(read) = frames::meta_from_bytes(&meta) {
            let again = frames::meta_from_bytes(&frames::meta_to_bytes(&read));
            assert_eq!(again.ok(), Some(read));
        }
    });
}

fn read_entry(bytes: &[u8]) {
    if let Ok(entry) = codec::entry_from_bytes(bytes) {
        let again = codec::entry_from_bytes(codec::entry_to_bytes(&entry).as_slice());
        assert_eq!(again.ok(), Some(entry));
    }
}

/// A damaged value is never taken for another.
fn sealed(dice: &mut Dice, key: &[u8], message: &[u8]) {
    let whole = keys::seal(key, message);
    assert_eq!(keys::unseal(key, &whole), Ok(message));
    let mut value = whole.clone();
    dice.damage(&mut value);
    if value != whole {
        assert!(
            keys::unseal(key, &value).is_err(),
            "{value:?} for {whole:?}"
        );
    }
}

fn read_messages(bytes: &[u8]) {
    fn read<M: Message + Default>(bytes: &[u8]) -> M {
        M::decode(bytes).unwrap_or_default()
    }
    drop(frames::append_from(&read(bytes)));
    drop(frames::meta_from_bytes(bytes));
    drop(frames::streamed_from(&read(bytes)));
    drop(frames::appended_from(&read(bytes)));
    drop(frames::vote_request_from(&read(bytes)));
    drop(frames::vote_reply_from(&read(bytes)));
    drop(frames::transfer_from(&read(bytes)));
    drop(codec::member_from_proto(read(bytes)));
}

fn log_id(dice: &mut Dice) -> v1::LogId {
    v1::LogId {
        term: dice.near(&[1, 2]),
        node: 0,
        index: dice.near(&[1, 2]),
    }
}

fn entry(dice: &mut Dice) -> disk::Entry {
    use disk::entry::Payload;
    let payload = match dice.below(8) {
        0 => Payload::Blank(disk::Blank {}),
        1 => Payload::Membership(membership(dice)),
        _ => Payload::Normal(batch(dice).encode_to_vec().into()),
    };
    disk::Entry {
        format: dice.near32(&[1]),
        log_id: Some(log_id(dice)),
        payload: Some(payload),
    }
}

fn batch(dice: &mut Dice) -> disk::Batch {
    disk::Batch {
        commands: (0..dice.below(4)).map(|_| command(dice)).collect(),
    }
}

fn command(dice: &mut Dice) -> disk::Command {
    use disk::command::Command as Wire;
    let known = Known::default();
    let command = match dice.below(10) {
        0 => Wire::OpenSession(hostile::open(dice, 1, 1)),
        1 => Wire::Renew(disk::Renewals {
            renewals: (0..dice.below(3))
                .map(|_| hostile::renewal(dice, &known))
                .collect(),
        }),
        2 => Wire::Expire(disk::Expire {
            session: dice.near(&[1]),
            number: dice.near(&[1]),
        }),
        3 => Wire::Reopen(disk::Reopen {
            lock: dice.text(&hostile::LOCKS),
            delay: dice.near(&[1]),
        }),
        4 => Wire::BreakLock(disk::Break {
            lock: dice.text(&hostile::LOCKS),
            reason: dice.text(&["why"]),
            force: dice.once_in(2),
            by: String::new(),
        }),
        5 => Wire::SetPolicy(disk::SetPolicy {
            prefix: dice.text(&hostile::LOCKS),
            policy: dice.once_in(2).then(|| disk::Policy {
                lock_delay_ms: dice.near32(&[0]),
                semaphore_limit: dice.once_in(2).then_some(3),
                waiters_max: None,
            }),
        }),
        6 => Wire::TrimHistoryUpTo(dice.near(&[1])),
        _ => Wire::Operate(hostile::operation(dice, &known)),
    };
    disk::Command {
        command: Some(command),
    }
}

fn membership(dice: &mut Dice) -> disk::Membership {
    let ids = [65_537, 131_073, 196_609];
    let nodes = ids.iter().map(|id| {
        let member = v1::Member {
            place: dice.near32(&[(id >> 16) as u32]),
            incarnation: dice.near32(&[1]),
            disk: vec![7; if dice.once_in(32) { 3 } else { 16 }],
            grpc_address: dice.text(&["10.0.0.1:5626"]),
            http_address: String::new(),
            retired: std::iter::once((dice.near32(&[4]), dice.near32(&[1]))).collect(),
        };
        (*id, member)
    });
    let nodes = nodes.collect();
    disk::Membership {
        configs: (0..dice.below(3))
            .map(|_| disk::VoterSet {
                ids: (0..dice.below(4)).map(|_| dice.near(&ids)).collect(),
            })
            .collect(),
        nodes,
    }
}
