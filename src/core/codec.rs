//! Raft's types <-> protobuf: entries, votes, log ids, memberships. The only encoding they have.
//! In: openraft's types. Out: messages of `log.proto` and `sidelock.proto`, and back.
//! Never: serde, whose forms openraft does not keep stable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Buf;
use openraft::EntryPayload;
use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
use prost::Message;

use super::types::{
    Batch, DiskId, Entry, LogId, Member, Membership, SnapshotMeta, StoredMembership, Vote,
};
use crate::wire::convert::disk::{self as stored, StoredError};
use crate::wire::{disk, v1};

/// Bytes that are not what a node of this version writes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not protobuf of this schema.
    #[error("not decodable: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A field is missing or impossible.
    #[error("{0} is missing or impossible")]
    Field(&'static str),
    /// Commands that no node would propose.
    #[error(transparent)]
    Commands(#[from] StoredError),
    /// Written by a later version of Sidelock.
    #[error("an entry of format {0}, newer than this version of Sidelock knows")]
    Format(u32),
}

/// An entry as it is replicated: a `log.proto` Entry.
pub fn entry_to_bytes(entry: &Entry) -> Vec<u8> {
    entry_to_proto(entry).encode_to_vec()
}

/// The entry of [`entry_to_bytes`].
pub fn entry_from_bytes(bytes: impl Buf) -> Result<Entry, CodecError> {
    entry_from_proto(disk::Entry::decode(bytes)?)
}

pub(super) fn entry_to_proto(entry: &Entry) -> disk::Entry {
    use disk::entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(disk::Blank {}),
        EntryPayload::Normal(batch) => Payload::Normal(batch.encoded()),
        EntryPayload::Membership(membership) => {
            Payload::Membership(membership_to_proto(membership))
        }
    };
    disk::Entry {
        format: stored::ENTRY_FORMAT,
        log_id: Some(log_id_to_proto(&entry.log_id)),
        payload: Some(payload),
    }
}

pub(super) fn entry_from_proto(entry: disk::Entry) -> Result<Entry, CodecError> {
    use disk::entry::Payload;
    if entry.format > stored::ENTRY_FORMAT {
        return Err(CodecError::Format(entry.format));
    }
    let log_id = entry.log_id.ok_or(CodecError::Field("Entry.log_id"))?;
    let payload = match entry.payload.ok_or(CodecError::Field("Entry.payload"))? {
        Payload::Blank(disk::Blank {}) => EntryPayload::Blank,
        Payload::Normal(batch) => EntryPayload::Normal(Batch::decode(batch)?),
        Payload::Membership(membership) => {
            EntryPayload::Membership(membership_from_proto(membership)?)
        }
    };
    Ok(Entry {
        log_id: log_id_from_proto(&log_id),
        payload,
    })
}

/// A log id; with one leader a term, its node is 0.
pub fn log_id_to_proto(id: &LogId) -> v1::LogId {
    v1::LogId {
        term: id.leader_id.term,
        node: 0,
        index: id.index,
    }
}

/// The log id of [`log_id_to_proto`].
pub fn log_id_from_proto(id: &v1::LogId) -> LogId {
    LogId {
        leader_id: CommittedLeaderId::new(id.term),
        index: id.index,
    }
}

/// A vote.
pub fn vote_to_proto(vote: &Vote) -> v1::Vote {
    v1::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

/// The vote of [`vote_to_proto`].
pub fn vote_from_proto(vote: &v1::Vote) -> Vote {
    Vote {
        leader_id: LeaderId {
            term: vote.term,
            voted_for: vote.node,
        },
        committed: vote.committed,
    }
}

/// A member.
pub fn member_to_proto(member: &Member) -> v1::Member {
    v1::Member {
        place: member.place.into(),
        incarnation: member.incarnation.into(),
        disk: member.disk.0.to_be_bytes().into(),
        grpc_address: member.grpc.clone(),
        http_address: member.http.clone(),
        retired: member
            .retired
            .iter()
            .map(|(place, incarnation)| (u32::from(*place), u32::from(*incarnation)))
            .collect(),
    }
}

/// The member of [`member_to_proto`].
pub fn member_from_proto(member: v1::Member) -> Result<Member, CodecError> {
    let small = |field, number: u32| u16::try_from(number).map_err(|_| CodecError::Field(field));
    let disk = member
        .disk
        .try_into()
        .map_err(|_| CodecError::Field("Member.disk"))?;
    Ok(Member {
        place: small("Member.place", member.place)?,
        incarnation: small("Member.incarnation", member.incarnation)?,
        disk: DiskId(u128::from_be_bytes(disk)),
        grpc: member.grpc_address,
        http: member.http_address,
        retired: member
            .retired
            .into_iter()
            .map(|(place, incarnation)| {
                let field = "Member.retired";
                Ok((small(field, place)?, small(field, incarnation)?))
            })
            .collect::<Result<_, CodecError>>()?,
    })
}

/// A membership.
pub fn membership_to_proto(membership: &Membership) -> disk::Membership {
    let voters = membership.get_joint_config().iter();
    let configs = voters.map(|set| disk::VoterSet {
        ids: set.iter().copied().collect(),
    });
    let nodes = membership.nodes();
    disk::Membership {
        configs: configs.collect(),
        nodes: nodes
            .map(|(id, member)| (*id, member_to_proto(member)))
            .collect(),
    }
}

/// The membership of [`membership_to_proto`].
pub fn membership_from_proto(membership: disk::Membership) -> Result<Membership, CodecError> {
    let configs = membership.configs.into_iter();
    let configs = configs.map(|set| set.ids.into_iter().collect::<BTreeSet<_>>());
    let nodes = membership.nodes.into_iter();
    let nodes = nodes.map(|(id, member)| Ok((id, member_from_proto(member)?)));
    let nodes = nodes.collect::<Result<BTreeMap<_, _>, CodecError>>()?;
    Membership::new(configs.collect(), nodes).map_err(|_| CodecError::Field("Membership.configs"))
}

/// What was applied last, and the membership in force.
pub(super) fn applied_to_proto(
    last: Option<LogId>,
    membership: &StoredMembership,
) -> disk::Applied {
    disk::Applied {
        log_id: last.as_ref().map(log_id_to_proto),
        membership_log_id: membership.log_id().as_ref().map(log_id_to_proto),
        membership: Some(membership_to_proto(membership.membership())),
    }
}

pub(super) fn applied_from_proto(
    applied: disk::Applied,
) -> Result<(Option<LogId>, StoredMembership), CodecError> {
    let meta = snapshot_meta_from_proto(disk::SnapshotMeta {
        last_log_id: applied.log_id,
        membership_log_id: applied.membership_log_id,
        membership: applied.membership,
    })?;
    Ok((meta.last_log_id, meta.last_membership))
}

/// What a snapshot covers.
pub fn snapshot_meta_to_proto(meta: &SnapshotMeta) -> disk::SnapshotMeta {
    let applied = applied_to_proto(meta.last_log_id, &meta.last_membership);
    disk::SnapshotMeta {
        last_log_id: applied.log_id,
        membership_log_id: applied.membership_log_id,
        membership: applied.membership,
    }
}

/// The meta of [`snapshot_meta_to_proto`].
pub fn snapshot_meta_from_proto(meta: disk::SnapshotMeta) -> Result<SnapshotMeta, CodecError> {
    let membership = meta.membership.unwrap_or_default();
    Ok(SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_from_proto),
        last_membership: StoredMembership::new(
            meta.membership_log_id.as_ref().map(log_id_from_proto),
            membership_from_proto(membership)?,
        ),
    })
}
