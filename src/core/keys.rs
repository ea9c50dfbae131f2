//! Every key on disk, its value and its lifetime; and the seal that every value carries.
//! In: shards, indexes, table keys. Out: bytes whose order is the order of what they name.
//! Never: a number reused. Kinds are only ever added; a new value format gets a new format byte.
//!
//! | space | key | value (`log.proto`) | lives |
//! |---|---|---|---|
//! | log | shard, index | Entry | until purged or truncated |
//! | meta | shard, 1 | sidelock.v1.Vote | for ever, overwritten |
//! | meta | shard, 2 | sidelock.v1.LogId: known to be committed | for ever, overwritten |
//! | meta | shard, 3 | sidelock.v1.LogId: purged up to here | for ever, overwritten |
//! | meta | 0xffffffff, 1 | Identity | for ever, overwritten |
//! | state | shard, 0 | Applied | for ever, overwritten by each write of state |
//! | state | shard, 1 | Counters | as the table says |
//! | state | shard, 2, session | Session | as the table says |
//! | state | shard, 3, session, seq | sidelock.v1.OperationReply | as the table says |
//! | state | shard, 4, session, seq | Claim | as the table says |
//! | state | shard, 5, name | Lock | as the table says |
//! | state | shard, 6, prefix | Policy | as the table says |
//! | state | shard, 7, revision | sidelock.v1.HistoryRecord | as the table says |
//! | state | shard, 8, session, seq | Pledge | as the table says |
//! | state | shard, 9, class, 0, class | sidelock.v1.OrderEdge | as the table says |
//!
//! Numbers are big-endian: shards and kinds as u32 and u8, the others as u64. A stored value is a
//! format byte, the message, and the CRC-32C of key, format and message. No class has a control character.

use crate::table::id::{ClaimRef, LockName, Revision, Seq, SessionId, ShardId};
use crate::table::order::LockClass;
use crate::table::state::Key;

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u8 = 1;
/// How much of a key names its shard.
pub const SHARD_BYTES: usize = 4;
/// What belongs to the node and no shard.
const NODE: u32 = u32::MAX;
const CHECKSUM: usize = 4;

/// The vote of a shard.
pub fn vote(shard: ShardId) -> Vec<u8> {
    kind(shard.0, 1)
}

/// The last entry of a shard that is known to be committed.
pub fn committed(shard: ShardId) -> Vec<u8> {
    kind(shard.0, 2)
}

/// The last entry of a shard that is purged.
pub fn purged(shard: ShardId) -> Vec<u8> {
    kind(shard.0, 3)
}

/// Who the disk is.
pub fn identity() -> Vec<u8> {
    kind(NODE, 1)
}

/// A log entry.
pub fn entry(shard: ShardId, index: u64) -> Vec<u8> {
    let mut key = shard.0.to_be_bytes().to_vec();
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The index of a log entry's key.
pub fn entry_index(key: &[u8]) -> Option<u64> {
    let index = key.get(4..)?;
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

/// What was applied last.
pub fn applied(shard: ShardId) -> Vec<u8> {
    kind(shard.0, 0)
}

/// All keys of a shard, of one space: from the first of these to before the second.
pub fn all(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    // The last shard number belongs to the node, so adding one cannot overflow.
    let next = shard.0 + 1;
    (shard.0.to_be_bytes().into(), next.to_be_bytes().into())
}

/// All stored objects of a shard's table, without [`applied`].
pub fn objects(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    (kind(shard.0, 1), all(shard).1)
}

/// A stored object of a shard's table.
pub fn object(shard: ShardId, key: &Key) -> Vec<u8> {
    match key {
        Key::Counters => kind(shard.0, 1),
        Key::Session(session) => numbers(shard, 2, &[session.0]),
        Key::Reply(session, seq) => numbers(shard, 3, &[session.0, seq.0]),
        Key::Claim(claim) => numbers(shard, 4, &[claim.session.0, claim.seq.0]),
        Key::Lock(name) => text(shard, 5, name.as_str()),
        Key::Policy(prefix) => text(shard, 6, prefix),
        Key::History(revision) => numbers(shard, 7, &[revision.0]),
        Key::Pledge(claim) => numbers(shard, 8, &[claim.session.0, claim.seq.0]),
        Key::Order(before, after) => text(shard, 9, &format!("{before}\0{after}")),
    }
}

/// The table key of a stored object's key; `None` if it is none.
pub fn parse_object(key: &[u8]) -> Option<Key> {
    let (kind, rest) = key.get(4..)?.split_first()?;
    let mut words = rest.chunks(8).map(|word| word.try_into().ok());
    let mut number = || words.next()?.map(u64::from_be_bytes);
    let text = || std::str::from_utf8(rest).ok();
    let (key, length) = match kind {
        1 => (Key::Counters, 0),
        2 => (Key::Session(SessionId(number()?)), 8),
        3 => (Key::Reply(SessionId(number()?), Seq(number()?)), 16),
        4 => {
            let (session, seq) = (SessionId(number()?), Seq(number()?));
            (Key::Claim(ClaimRef { session, seq }), 16)
        }
        5 => (Key::Lock(LockName::parse(text()?).ok()?), rest.len()),
        6 => (Key::Policy(text()?.into()), rest.len()),
        7 => (Key::History(Revision(number()?)), 8),
        8 => {
            let (session, seq) = (SessionId(number()?), Seq(number()?));
            (Key::Pledge(ClaimRef { session, seq }), 16)
        }
        9 => {
            let (before, after) = text()?.split_once('\0')?;
            let classes = (LockClass::parse(before)?, LockClass::parse(after)?);
            (Key::Order(classes.0, classes.1), rest.len())
        }
        _ => return None,
    };
    (rest.len() == length).then_some(key)
}

/// Why a stored value cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The checksum does not fit key and value.
    #[error("its checksum does not fit")]
    Checksum,
    /// A later version of Sidelock wrote it.
    #[error("its format is {0}, newer than this version of Sidelock knows; start a newer one")]
    Format(u8),
}

/// The value to store under `key` for an encoded message.
pub fn seal(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + message.len() + CHECKSUM);
    value.push(FORMAT);
    value.extend_from_slice(message);
    let checksum = checksum(key, &value);
    value.extend_from_slice(&checksum.to_le_bytes());
    value
}

/// The message bytes of a value stored under `key`.
pub fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], SealError> {
    let (body, stored) = value
        .split_last_chunk::<CHECKSUM>()
        .ok_or(SealError::Checksum)?;
    if u32::from_le_bytes(*stored) != checksum(key, body) {
        return Err(SealError::Checksum);
    }
    match body.split_first() {
        Some((&FORMAT, message)) => Ok(message),
        Some((&format, _)) => Err(SealError::Format(format)),
        None => Err(SealError::Checksum),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

fn kind(shard: u32, kind: u8) -> Vec<u8> {
    let mut key = shard.to_be_bytes().to_vec();
    key.push(kind);
    key
}

fn numbers(shard: ShardId, kind: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = self::kind(shard.0, kind);
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key
}

fn text(shard: ShardId, kind: u8, text: &str) -> Vec<u8> {
    let mut key = self::kind(shard.0, kind);
    key.extend_from_slice(text.as_bytes());
    key
}
