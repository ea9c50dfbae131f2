//! Raft's messages between nodes, as bytes that the world carries, delays, doubles or loses.
//! In: openraft's requests. Out: calls in the world's hands; their answers, when it brings them.
//! Never: a message that is not what would go over gRPC.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::Stream;
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;
use sidelock::core::codec::vote_to_proto;
use sidelock::core::network::{Appended, Home};
use sidelock::core::raft_service::{Groups, RaftService};
use sidelock::core::storage::Storage;
use sidelock::core::types::{Member, Snapshot, SnapshotFile, TypeConfig, Vote};
use sidelock::core::{commits, frames};
use sidelock::wire::v1;
use sidelock::wire::v1::raft_server::Raft;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

/// What is asked of the other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Append,
    Vote,
    PreVote,
    Snapshot,
    Transfer,
}

/// A connection over which nothing comes back is given up, as by gRPC's keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

pub type Answer = Result<Vec<u8>, String>;

/// One call on its way. Dropping `answer` breaks the connection; keeping it leaves the caller waiting.
pub struct Call {
    pub from: u64,
    pub to: u64,
    pub method: Method,
    pub body: Vec<u8>,
    pub answer: oneshot::Sender<Answer>,
}

/// What nodes have called and the world has not taken yet.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    fn add(&self, call: Call) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
    }

    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The network of one node.
#[derive(Clone)]
pub struct Network {
    pub home: Home,
    pub calls: Calls,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &Member) -> Link {
        Link {
            network: self.clone(),
            to: target,
        }
    }
}

/// One node's way to one other.
pub struct Link {
    network: Network,
    to: u64,
}

impl Link {
    fn route(&self) -> v1::Route {
        self.network.home.route(self.to)
    }

    async fn call<R: Message + Default>(
        &self,
        method: Method,
        request: &impl Message,
        option: &RPCOption,
    ) -> Result<R, RPCError<TypeConfig>> {
        let (sender, answer) = oneshot::channel();
        self.network.calls.add(Call {
            from: self.network.home.id,
            to: self.to,
            method,
            body: request.encode_to_vec(),
            answer: sender,
        });
        let answered = tokio::time::timeout(option.hard_ttl().min(KEEP_ALIVE), answer).await;
        let bytes = match answered {
            Err(_elapsed) => return Err(failed("no answer in time")),
            Ok(Err(_broken)) => return Err(failed("the connection broke")),
            Ok(Ok(Err(status))) => return Err(failed(&status)),
            Ok(Ok(Ok(bytes))) => bytes,
        };
        R::decode(&*bytes).map_err(|error| failed(&error.to_string()))
    }

    async fn ballot(
        &self,
        method: Method,
        rpc: &VoteRequest<TypeConfig>,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = frames::vote_request_to(self.route(), rpc);
        let reply: v1::VoteReply = self.call(method, &request, option).await?;
        frames::vote_reply_from(&reply).map_err(garbled)
    }
}

fn failed(why: &str) -> RPCError<TypeConfig> {
    NetworkError::from_string(why).into()
}

fn garbled(error: frames::Malformed) -> RPCError<TypeConfig> {
    failed(&error.to_string())
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = frames::append_to(self.route(), &rpc);
        let reply: v1::AppendReply = self.call(Method::Append, &request, &option).await?;
        frames::appended_from(&reply).map_err(garbled)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Appended<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        stream_append_sequential(self, commits::merged(input), option)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ballot(Method::Vote, &rpc, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ballot(Method::PreVote, &rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut data = vec![0; usize::try_from(snapshot.snapshot.bytes()).expect("a small one")];
        let read = snapshot.snapshot.read_at(0, &mut data);
        read.map_err(|error| NetworkError::new(&error))?;
        let request = v1::SnapshotChunk {
            route: Some(self.route()),
            vote: Some(vote_to_proto(&vote)),
            meta: frames::meta_to_bytes(&snapshot.meta),
            bytes: data.len() as u64,
            data: data.into(),
        };
        let sent = self.call::<v1::SnapshotReply>(Method::Snapshot, &request, &option);
        let reply = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            reply = sent => match reply {
                Ok(reply) => reply,
                Err(error) => return Err(NetworkError::from_string(error).into()),
            },
        };
        let vote = frames::vote_from(reply.vote.as_ref());
        let vote = vote.map_err(NetworkError::from_string)?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = frames::transfer_to(self.route(), &req);
        let reply: v1::TransferReply = self.call(Method::Transfer, &request, &option).await?;
        frames::transferred_from(&reply, &req).map_err(garbled)
    }
}

/// What a node does with a call: the real service, on the real storage.
pub struct Receiver {
    pub service: RaftService,
    pub groups: Groups,
    pub storage: Storage,
}

impl Receiver {
    pub async fn answer(&self, method: Method, body: &[u8]) -> Answer {
        let answered = self.serve(method, body).await;
        answered.map_err(|status| status.to_string())
    }

    async fn serve(&self, method: Method, body: &[u8]) -> Result<Vec<u8>, Status> {
        let service = &self.service;
        Ok(match method {
            Method::Append => encoded(service.heartbeat(decoded(body)?).await?),
            Method::Vote => encoded(service.vote(decoded(body)?).await?),
            Method::PreVote => encoded(service.pre_vote(decoded(body)?).await?),
            Method::Transfer => encoded(service.transfer_leader(decoded(body)?).await?),
            Method::Snapshot => self.install(decoded(body)?.into_inner()).await?,
        })
    }

    /// As the service does with a stream of chunks, here with a single one.
    async fn install(&self, chunk: v1::SnapshotChunk) -> Result<Vec<u8>, Status> {
        let group = self.groups.route(chunk.route.as_ref())?;
        let internal = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
        let vote = frames::vote_from(chunk.vote.as_ref()).map_err(|error| internal(&error))?;
        let meta = frames::meta_from_bytes(&chunk.meta).map_err(|error| internal(&error))?;
        let incoming = self.storage.receive_snapshot(group.shard());
        let mut incoming = incoming.map_err(|error| internal(&error))?;
        incoming
            .write(&chunk.data)
            .map_err(|error| internal(&error))?;
        let snapshot = incoming.finish().map_err(|error| internal(&error))?;
        let snapshot = Snapshot { meta, snapshot };
        let installed = group.raft().install_full_snapshot(vote, snapshot).await;
        let installed = installed.map_err(|error| internal(&error))?;
        let reply = v1::SnapshotReply {
            vote: Some(vote_to_proto(&installed.vote)),
        };
        Ok(reply.encode_to_vec())
    }
}

fn decoded<M: Message + Default>(body: &[u8]) -> Result<Request<M>, Status> {
    let decoded = M::decode(body).map(Request::new);
    decoded.map_err(|error| Status::invalid_argument(error.to_string()))
}

fn encoded(reply: Response<impl Message>) -> Vec<u8> {
    reply.into_inner().encode_to_vec()
}
