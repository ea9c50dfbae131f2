//! Raft messages as protobuf and back.
//! In: openraft's requests and replies, or what a peer sent. Out: the other form. Never: a guess; what
//! a peer left out is [`Malformed`].

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;

use super::codec::{
    entry_from_bytes, entry_to_bytes, log_id_from_proto, log_id_to_proto, snapshot_meta_from_proto,
    snapshot_meta_to_proto, vote_from_proto, vote_to_proto,
};
use super::types::{DiskId, SnapshotMeta, TypeConfig, Vote};
use crate::wire::{disk, v1};

/// A peer's message lacks something, or holds what cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// A vote; a message without one is malformed.
pub fn vote_from(vote: Option<&v1::Vote>) -> Result<Vote, Malformed> {
    vote.map(vote_from_proto).ok_or(Malformed("no vote"))
}

/// A node id, 1 to 65535.
pub fn place_from(place: u32) -> Result<u16, Malformed> {
    match u16::try_from(place) {
        Ok(0) | Err(_) => Err(Malformed("node id not within 1 to 65535")),
        Ok(place) => Ok(place),
    }
}

/// A disk id: 16 bytes.
pub fn disk_from(bytes: &[u8]) -> Result<DiskId, Malformed> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Malformed("disk id without its 16 bytes"))?;
    Ok(DiskId(u128::from_be_bytes(bytes)))
}

/// An append or heartbeat.
pub fn append_to(
    route: v1::Route,
    request: &AppendEntriesRequest<TypeConfig>,
) -> v1::AppendRequest {
    v1::AppendRequest {
        route: Some(route),
        vote: Some(vote_to_proto(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to_proto),
        entries: request
            .entries
            .iter()
            .map(|entry| entry_to_bytes(entry).into())
            .collect(),
        commit: request.leader_commit.as_ref().map(log_id_to_proto),
    }
}

/// An append or heartbeat; its route has been checked.
pub fn append_from(
    request: &v1::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    let entries = request
        .entries
        .iter()
        .map(|bytes| entry_from_bytes(bytes.clone()));
    Ok(AppendEntriesRequest {
        vote: vote_from(request.vote.as_ref())?,
        prev_log_id: request.prev.as_ref().map(log_id_from_proto),
        entries: entries
            .collect::<Result<_, _>>()
            .map_err(|_error| Malformed("an entry of another format"))?,
        leader_commit: request.commit.as_ref().map(log_id_from_proto),
    })
}

/// What a snapshot covers.
pub fn meta_to_bytes(meta: &SnapshotMeta) -> Vec<u8> {
    snapshot_meta_to_proto(meta).encode_to_vec()
}

/// What a snapshot covers.
pub fn meta_from_bytes(bytes: &[u8]) -> Result<SnapshotMeta, Malformed> {
    let meta = disk::SnapshotMeta::decode(bytes).map_err(|_error| Malformed("snapshot meta"))?;
    snapshot_meta_from_proto(meta).map_err(|_error| Malformed("snapshot meta"))
}

/// The answer to one append of a stream.
pub fn streamed_to(result: &StreamAppendResult<TypeConfig>) -> v1::AppendReply {
    use v1::append_reply::Outcome;
    let outcome = match result {
        Ok(Some(id)) => Outcome::Partial(log_id_to_proto(id)),
        Ok(None) => Outcome::PartialNone(true),
        Err(StreamAppendError::Conflict(id)) => Outcome::ConflictAt(log_id_to_proto(id)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote_to_proto(vote)),
    };
    v1::AppendReply {
        outcome: Some(outcome),
    }
}

/// The answer to one append of a stream.
pub fn streamed_from(reply: &v1::AppendReply) -> Result<StreamAppendResult<TypeConfig>, Malformed> {
    use v1::append_reply::Outcome;
    match reply.outcome.as_ref() {
        Some(Outcome::Partial(id)) => Ok(Ok(Some(log_id_from_proto(id)))),
        Some(Outcome::PartialNone(_)) => Ok(Ok(None)),
        Some(Outcome::ConflictAt(id)) => {
            Ok(Err(StreamAppendError::Conflict(log_id_from_proto(id))))
        }
        Some(Outcome::HigherVote(vote)) => {
            Ok(Err(StreamAppendError::HigherVote(vote_from(Some(vote))?)))
        }
        Some(Outcome::Success(_) | Outcome::Conflict(_)) => {
            Err(Malformed("a single append's answer on a stream"))
        }
        None => Err(Malformed("no outcome")),
    }
}

/// The answer to a single append or heartbeat.
pub fn appended_to(response: &AppendEntriesResponse<TypeConfig>) -> v1::AppendReply {
    use v1::append_reply::Outcome;
    let outcome = match response {
        AppendEntriesResponse::Success => Outcome::Success(true),
        AppendEntriesResponse::PartialSuccess(Some(id)) => Outcome::Partial(log_id_to_proto(id)),
        AppendEntriesResponse::PartialSuccess(None) => Outcome::PartialNone(true),
        AppendEntriesResponse::Conflict => Outcome::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Outcome::HigherVote(vote_to_proto(vote)),
    };
    v1::AppendReply {
        outcome: Some(outcome),
    }
}

/// The answer to a single append or heartbeat.
pub fn appended_from(
    reply: &v1::AppendReply,
) -> Result<AppendEntriesResponse<TypeConfig>, Malformed> {
    use v1::append_reply::Outcome;
    match reply.outcome.as_ref() {
        Some(Outcome::Success(_)) => Ok(AppendEntriesResponse::Success),
        Some(Outcome::Partial(id)) => Ok(AppendEntriesResponse::PartialSuccess(Some(
            log_id_from_proto(id),
        ))),
        Some(Outcome::PartialNone(_)) => Ok(AppendEntriesResponse::PartialSuccess(None)),
        Some(Outcome::Conflict(_) | Outcome::ConflictAt(_)) => Ok(AppendEntriesResponse::Conflict),
        Some(Outcome::HigherVote(vote)) => {
            Ok(AppendEntriesResponse::HigherVote(vote_from(Some(vote))?))
        }
        None => Err(Malformed("no outcome")),
    }
}

/// A request for a vote or a pre-vote.
pub fn vote_request_to(route: v1::Route, request: &VoteRequest<TypeConfig>) -> v1::VoteRequest {
    v1::VoteRequest {
        route: Some(route),
        vote: Some(vote_to_proto(&request.vote)),
        last_log: request.last_log_id.as_ref().map(log_id_to_proto),
        leadership_transfer: request.leadership_transfer,
    }
}

/// A request for a vote or a pre-vote; its route has been checked.
pub fn vote_request_from(request: &v1::VoteRequest) -> Result<VoteRequest<TypeConfig>, Malformed> {
    Ok(VoteRequest {
        vote: vote_from(request.vote.as_ref())?,
        last_log_id: request.last_log.as_ref().map(log_id_from_proto),
        leadership_transfer: request.leadership_transfer,
    })
}

/// The answer to a vote or pre-vote.
pub fn vote_reply_to(response: &VoteResponse<TypeConfig>) -> v1::VoteReply {
    v1::VoteReply {
        vote: Some(vote_to_proto(&response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.as_ref().map(log_id_to_proto),
    }
}

/// The answer to a vote or pre-vote.
pub fn vote_reply_from(reply: &v1::VoteReply) -> Result<VoteResponse<TypeConfig>, Malformed> {
    Ok(VoteResponse {
        vote: vote_from(reply.vote.as_ref())?,
        vote_granted: reply.granted,
        last_log_id: reply.last_log.as_ref().map(log_id_from_proto),
    })
}

/// A request to take over the leadership.
pub fn transfer_to(
    route: v1::Route,
    request: &TransferLeaderRequest<TypeConfig>,
) -> v1::TransferRequest {
    v1::TransferRequest {
        route: Some(route),
        from_leader: Some(vote_to_proto(request.from_leader())),
        to_node: *request.to_node_id(),
        last_log: request.last_log_id().map(log_id_to_proto),
    }
}

/// A request to take over the leadership; its route has been checked.
pub fn transfer_from(
    request: &v1::TransferRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    Ok(TransferLeaderRequest::new(
        vote_from(request.from_leader.as_ref())?,
        request.to_node,
        request.last_log.as_ref().map(log_id_from_proto),
    ))
}

/// The answer to a transfer.
pub fn transferred_to(response: &TransferLeaderResponse<TypeConfig>) -> v1::TransferReply {
    use v1::transfer_reply::Refused;
    let refused = match response {
        Ok(()) => None,
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            Some(Refused::OtherVote(vote_to_proto(actual)))
        }
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => Some(match actual {
            Some(id) => Refused::NotFlushed(log_id_to_proto(id)),
            None => Refused::NotFlushedNone(true),
        }),
    };
    v1::TransferReply { refused }
}

/// The answer to this transfer.
pub fn transferred_from(
    reply: &v1::TransferReply,
    request: &TransferLeaderRequest<TypeConfig>,
) -> Result<TransferLeaderResponse<TypeConfig>, Malformed> {
    use v1::transfer_reply::Refused;
    let not_flushed = |actual| {
        Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().cloned(),
            actual,
        })
    };
    Ok(match reply.refused.as_ref() {
        None => Ok(()),
        Some(Refused::OtherVote(vote)) => Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: vote_from(Some(vote))?,
        }),
        Some(Refused::NotFlushed(id)) => not_flushed(Some(log_id_from_proto(id))),
        Some(Refused::NotFlushedNone(_)) => not_flushed(None),
    })
}
