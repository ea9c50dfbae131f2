//! Raft messages out: one connection to each peer, and one long stream of appends on it.
//! In: openraft's requests. Out: the peer's answers, or why there are none.
//! Never: a message without its route (cell, shard, from, to), or a wait without an end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::codec::vote_to_proto;
use super::commits;
use super::frames::{self, Malformed};
use super::types::{Member, Snapshot, SnapshotFile, TypeConfig, Vote};
use crate::table::id::ShardId;
use crate::tls::connect::Connector;
use crate::wire::v1;
use crate::wire::v1::raft_client::RaftClient;

/// Longest message between nodes, in bytes. The log reader stays far below it; a larger one is a mistake.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A peer that answers nothing for so long, with appends outstanding, is given up and called anew.
const STALL_MAX: Duration = Duration::from_secs(3);
/// A dead address is found out within this.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A connection over which nothing comes back is probed and closed within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Bytes in flight on one stream before the sender waits.
const WINDOW_BYTES: u32 = 4 << 20;
/// A snapshot travels in pieces of this size.
const CHUNK_BYTES: usize = 256 << 10;

/// Which node of which cell and shard speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The cell.
    pub cluster_id: Arc<str>,
    /// The group.
    pub shard: ShardId,
    /// The Raft id of this node.
    pub id: u64,
}

impl Home {
    /// The route of a message to a peer.
    pub fn route(&self, to: u64) -> v1::Route {
        v1::Route {
            cluster_id: self.cluster_id.to_string(),
            shard: self.shard.0,
            from: self.id,
            to,
        }
    }
}

/// Connections by address, shared by all groups of a node. There are as many as peers were ever known.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    connector: Connector,
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
}

impl Peers {
    /// Connections that are made so.
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            channels: Arc::default(),
        }
    }

    /// The connection to `HOST:PORT`. It is made when first used and remade when lost; the name is
    /// resolved each time. Fails if the address is not one.
    pub fn channel(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_WAIT_MAX)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES)
            .connect_with_connector_lazy(self.connector.clone());
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// Makes the link to each peer of one group.
#[derive(Debug, Clone)]
pub struct Network {
    home: Home,
    peers: Peers,
}

impl Network {
    /// For the group of `home`, over connections that other groups use too.
    pub fn new(home: Home, peers: Peers) -> Self {
        Self { home, peers }
    }

    fn link(&self, to: u64, node: &Member, purpose: Purpose) -> Link {
        let client = self.peers.channel(&node.grpc).map(|channel| {
            RaftClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        });
        Link {
            route: self.home.route(to),
            client: client.map_err(|error| format!("address {:?}: {error}", node.grpc)),
            purpose,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Purpose::Replicate)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Purpose::Heartbeat)
    }
}

/// What a link is used for. A heartbeat is a single call: a stream for each would cost three times that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Replicate,
    Heartbeat,
}

/// One peer, as one task of openraft speaks to it.
#[derive(Debug)]
pub struct Link {
    route: v1::Route,
    client: Result<RaftClient<Channel>, String>,
    purpose: Purpose,
}

impl Link {
    fn client(&self) -> Result<RaftClient<Channel>, Unreachable<TypeConfig>> {
        // A clone shares the connection.
        self.client.clone().map_err(Unreachable::from_string)
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = frames::append_to(self.route.clone(), &rpc);
        let reply = self.client()?.heartbeat(request).await.map_err(failed)?;
        frames::appended_from(reply.get_ref()).map_err(garbled)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Appended<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        match self.purpose {
            Purpose::Heartbeat => stream_append_sequential(self, input, option),
            Purpose::Replicate => Box::pin(pipeline(self, input)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = frames::vote_request_to(self.route.clone(), &rpc);
        let reply = self.client()?.vote(request).await.map_err(failed)?;
        frames::vote_reply_from(reply.get_ref()).map_err(garbled)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = frames::vote_request_to(self.route.clone(), &rpc);
        let reply = self.client()?.pre_vote(request).await.map_err(failed)?;
        frames::vote_reply_from(reply.get_ref()).map_err(garbled)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let chunks = chunks(self.route.clone(), &vote, snapshot);
        let sent = timeout(option.hard_ttl(), client.install_snapshot(chunks));
        let reply = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = sent => match sent {
                Err(_elapsed) => return Err(stalled("the snapshot was not installed in time").into()),
                Ok(reply) => reply.map_err(failed)?,
            },
        };
        let vote = frames::vote_from(reply.get_ref().vote.as_ref()).map_err(garbled)?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = frames::transfer_to(self.route.clone(), &req);
        let reply = self
            .client()?
            .transfer_leader(request)
            .await
            .map_err(failed)?;
        frames::transferred_from(reply.get_ref(), &req).map_err(garbled)
    }
}

/// The answers to a stream of appends.
pub type Appended<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

/// Appends without waiting for each answer; the answers come back in order.
async fn pipeline<'s, S>(link: &'s mut Link, input: S) -> Result<Appended<'s>, RPCError<TypeConfig>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let mut client = link.client()?;
    let route = link.route.clone();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let requests = commits::merged(input).map(move |request| {
        counter.fetch_add(1, Ordering::Relaxed);
        frames::append_to(route.clone(), &request)
    });
    let replies = match timeout(STALL_MAX, client.append(requests)).await {
        Err(_elapsed) => return Err(stalled("the peer did not take the stream").into()),
        Ok(replies) => replies.map_err(failed)?.into_inner(),
    };
    let state = Replies {
        replies,
        sent,
        received: 0,
    };
    Ok(Box::pin(stream::unfold(Some(state), |state| async {
        let mut state = state?;
        let item = state.next().await?;
        // An error ends the session; openraft opens another after its backoff.
        let more = matches!(&item, Ok(Ok(_)));
        Some((item, more.then_some(state)))
    })))
}

/// The answers on one append stream, and how many are still due.
struct Replies {
    replies: Streaming<v1::AppendReply>,
    sent: Arc<AtomicU64>,
    received: u64,
}

impl Replies {
    /// The next answer; none at the end of the stream. Idle streams wait for ever, busy ones do not.
    async fn next(
        &mut self,
    ) -> Option<Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> {
        loop {
            let due = self.sent.load(Ordering::Relaxed) > self.received;
            match timeout(STALL_MAX, self.replies.next()).await {
                Err(_elapsed) if due => {
                    return Some(Err(stalled("the peer answers no append").into()));
                }
                Err(_elapsed) => {}
                Ok(None) => return None,
                Ok(Some(Err(status))) => return Some(Err(failed(status))),
                Ok(Some(Ok(reply))) => {
                    self.received += 1;
                    return Some(frames::streamed_from(&reply).map_err(garbled));
                }
            }
        }
    }
}

/// The pieces of a snapshot; the first says what it is. An unreadable file ends them early, and the
/// receiver, missing the end that the meta announces, installs nothing.
fn chunks(
    route: v1::Route,
    vote: &Vote,
    snapshot: Snapshot,
) -> impl Stream<Item = v1::SnapshotChunk> + Send + 'static {
    let file = snapshot.snapshot;
    let head = v1::SnapshotChunk {
        route: Some(route),
        vote: Some(vote_to_proto(vote)),
        meta: frames::meta_to_bytes(&snapshot.meta),
        bytes: file.bytes(),
        data: bytes::Bytes::new(),
    };
    let data = stream::unfold((file, 0_u64), |(file, offset)| async move {
        let (file, read) = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; CHUNK_BYTES];
            let read = file.read_at(offset, &mut buffer).map(|read| {
                buffer.truncate(read);
                buffer
            });
            (file, read)
        })
        .await
        .ok()?;
        match read {
            Ok(data) if data.is_empty() => None,
            Ok(data) => {
                let next = offset + data.len() as u64;
                let chunk = v1::SnapshotChunk {
                    data: data.into(),
                    ..v1::SnapshotChunk::default()
                };
                Some((chunk, (file, next)))
            }
            Err(error) => {
                tracing::error!(%error, path = %file.path().display(), "cannot read the snapshot");
                None
            }
        }
    });
    stream::once(std::future::ready(head)).chain(data)
}

/// A peer that cannot be reached is left alone for a while; any other failure is tried again sooner.
fn failed(status: Status) -> RPCError<TypeConfig> {
    if status.code() == Code::Unavailable {
        Unreachable::new(&status).into()
    } else {
        NetworkError::new(&status).into()
    }
}

fn stalled(what: &str) -> NetworkError<TypeConfig> {
    NetworkError::from_string(what)
}

fn garbled(error: Malformed) -> RPCError<TypeConfig> {
    NetworkError::new(&error).into()
}
