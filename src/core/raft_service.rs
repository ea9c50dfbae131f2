//! Raft messages in: checks who sent them to whom, and hands them to the group.
//! In: what peers send. Out: the group's answers. Never: anything done for a message of another cell,
//! another shard or another node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use openraft::errors::RaftError;
use tonic::{Request, Response, Status, Streaming};

use super::codec::vote_to_proto;
use super::frames::{self, Malformed};
use super::group::Group;
use super::network::{Home, MESSAGE_BYTES_MAX};
use super::snapshot::Incoming;
use super::storage::Storage;
use super::types::{Snapshot, SnapshotFile, TypeConfig};
use crate::table::id::ShardId;
use crate::wire::v1;
use crate::wire::v1::raft_server::{Raft, RaftServer};

/// The groups that run on this node. Empty while the node belongs to no cell: then it neither votes nor
/// stores.
#[derive(Clone, Default)]
pub struct Groups(Arc<RwLock<BTreeMap<ShardId, (Home, Group)>>>);

impl Groups {
    /// Adds a group; from now on it gets messages.
    pub fn insert(&self, home: Home, group: Group) {
        let mut groups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(home.shard, (home, group));
    }

    /// The group of a shard, if this node runs it.
    pub fn get(&self, shard: ShardId) -> Option<Group> {
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&shard).map(|(_, group)| group.clone())
    }

    /// The group that a message is meant for.
    ///
    /// # Errors
    /// If it is meant for another cell or node, or for a shard that is not here.
    pub fn route(&self, route: Option<&v1::Route>) -> Result<Group, Status> {
        let route = route.ok_or_else(|| Status::invalid_argument("no route"))?;
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some((home, group)) = groups.get(&ShardId(route.shard)) else {
            return Err(Status::unavailable("this node runs no such shard"));
        };
        if route.cluster_id != *home.cluster_id {
            return Err(Status::failed_precondition("another cell"));
        }
        if route.to != home.id {
            return Err(Status::failed_precondition("another node"));
        }
        if route.from == 0 || route.from == home.id {
            return Err(Status::failed_precondition("a sender that cannot be"));
        }
        Ok(group.clone())
    }
}

/// The server side of Raft between nodes.
pub struct RaftService {
    groups: Groups,
    storage: Storage,
}

impl RaftService {
    /// For the groups of one node and its disk.
    pub fn new(groups: Groups, storage: Storage) -> Self {
        Self { groups, storage }
    }
}

/// The service, ready to be added to a tonic server.
pub fn raft_server(groups: Groups, storage: Storage) -> RaftServer<RaftService> {
    RaftServer::new(RaftService::new(groups, storage))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl Raft for RaftService {
    type AppendStream = BoxStream<'static, Result<v1::AppendReply, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        // Answered at once: an idle leader opens its stream long before it has something to append.
        let appended = append(self.groups.clone(), request.into_inner());
        let answers = stream::once(appended).try_flatten();
        Ok(Response::new(answers.boxed()))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendReply>, Status> {
        let request = request.into_inner();
        let group = self.groups.route(request.route.as_ref())?;
        let rpc = frames::append_from(&request).map_err(malformed)?;
        let response = group.raft().append_entries(rpc).await.map_err(ended)?;
        Ok(Response::new(frames::appended_to(&response)))
    }

    async fn vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteReply>, Status> {
        let request = request.into_inner();
        let group = self.groups.route(request.route.as_ref())?;
        let rpc = frames::vote_request_from(&request).map_err(malformed)?;
        let response = group.raft().vote(rpc).await.map_err(ended)?;
        Ok(Response::new(frames::vote_reply_to(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteReply>, Status> {
        let request = request.into_inner();
        let group = self.groups.route(request.route.as_ref())?;
        let rpc = frames::vote_request_from(&request).map_err(malformed)?;
        let response = group.raft().pre_vote(rpc).await.map_err(ended)?;
        Ok(Response::new(frames::vote_reply_to(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Result<Response<v1::SnapshotReply>, Status> {
        let mut chunks = request.into_inner();
        let head = chunks.message().await?;
        let head = head.ok_or_else(|| Status::invalid_argument("an empty snapshot stream"))?;
        let group = self.groups.route(head.route.as_ref())?;
        let vote = frames::vote_from(head.vote.as_ref()).map_err(malformed)?;
        let meta = frames::meta_from_bytes(&head.meta).map_err(malformed)?;
        let incoming = self.storage.receive_snapshot(group.shard()).map_err(disk)?;
        let snapshot = receive(incoming, head.bytes, chunks).await?;
        let snapshot = Snapshot { meta, snapshot };
        let response = group.raft().install_full_snapshot(vote, snapshot).await;
        let response = response.map_err(|fatal| stopped(&fatal))?;
        Ok(Response::new(v1::SnapshotReply {
            vote: Some(vote_to_proto(&response.vote)),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferReply>, Status> {
        let request = request.into_inner();
        let group = self.groups.route(request.route.as_ref())?;
        let rpc = frames::transfer_from(&request).map_err(malformed)?;
        let response = group.raft().handle_transfer_leader(rpc).await;
        let response = response.map_err(|fatal| stopped(&fatal))?;
        Ok(Response::new(frames::transferred_to(&response)))
    }
}

/// The answers to a stream of appends, which all go to the group that the first one names.
async fn append(
    groups: Groups,
    mut incoming: Streaming<v1::AppendRequest>,
) -> Result<BoxStream<'static, Result<v1::AppendReply, Status>>, Status> {
    let Some(first) = incoming.message().await? else {
        return Ok(stream::empty().boxed());
    };
    let group = groups.route(first.route.as_ref())?;
    let refusal = Arc::new(Mutex::new(None));
    let refused = Arc::clone(&refusal);
    // The first message that is wrong ends the input; its refusal ends the output, after the answers
    // to all before it.
    let input = stream::once(std::future::ready(Ok(first)))
        .chain(incoming)
        .scan((), move |(), message| {
            let checked = message.and_then(|message| {
                groups.route(message.route.as_ref())?;
                frames::append_from(&message).map_err(malformed)
            });
            let passed = checked.map_err(|status| set(&refused, status)).ok();
            std::future::ready(passed)
        });
    let answers = group.raft().stream_append(input);
    let answers = answers.map(|answer| match answer {
        Ok(result) => Ok(frames::streamed_to(&result)),
        Err(fatal) => Err(stopped(&fatal)),
    });
    let end = stream::once(async move { take(&refusal) })
        .filter_map(|status| std::future::ready(status.map(Err)));
    Ok(answers.chain(end).boxed())
}

/// Writes the chunks to the disk until the announced length is there.
async fn receive(
    mut incoming: Incoming,
    bytes: u64,
    mut chunks: Streaming<v1::SnapshotChunk>,
) -> Result<SnapshotFile, Status> {
    let mut received = 0;
    while let Some(chunk) = chunks.message().await? {
        received += chunk.data.len() as u64;
        if received > bytes {
            return Err(Status::invalid_argument("more bytes than announced"));
        }
        incoming = blocking(move || {
            incoming.write(&chunk.data)?;
            Ok(incoming)
        })
        .await?;
    }
    if received < bytes {
        return Err(Status::invalid_argument("fewer bytes than announced"));
    }
    blocking(move || incoming.finish()).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(disk),
        Err(_panicked) => Err(Status::internal("the disk task ended early")),
    }
}

fn set(place: &Mutex<Option<Status>>, status: Status) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
}

fn take(place: &Mutex<Option<Status>>) -> Option<Status> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn malformed(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn disk(error: std::io::Error) -> Status {
    Status::unavailable(format!("disk: {error}"))
}

fn stopped(fatal: &openraft::errors::Fatal<TypeConfig>) -> Status {
    Status::unavailable(fatal.to_string())
}

fn ended(error: RaftError<TypeConfig>) -> Status {
    Status::unavailable(error.to_string())
}
