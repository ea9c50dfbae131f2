//! Hop 5: the door for sidecars. One stream from each to each node; the leader of a shard serves it.
//! In: a group and its clock. Out: the gRPC service, and the tasks that make a shard serve.
//! Never: a session served by a node that does not lead.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use super::applied::Applied;
use super::expiry::TICK;
use super::group::Group;
use super::proposer::Proposer;
use super::queries::Queries;
use super::reads::Reads;
use super::seen::Eyes;
use super::session::{Guest, SidecarStream};
use crate::table::id::ShardId;
use crate::telemetry::core::{Count, Instruments};
use crate::wire::v1::cell_server::{Cell, CellServer};
use crate::wire::{FRAME_BYTES_MAX, v1};
use crate::world::clock::SharedClock;

/// How one shard serves on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardOptions {
    /// The cell; streams meant for another are refused.
    pub cluster_id: String,
    /// Whether sidecars may break locks through this node, as in `sidelock dev`.
    pub breaks_allowed: bool,
}

/// One shard as served by this node. Clones share it.
#[derive(Clone)]
pub struct Shard(Arc<Inner>);

struct Inner {
    options: ShardOptions,
    group: Group,
    applied: Arc<Applied>,
    proposer: Proposer,
    reads: Reads,
    eyes: Eyes,
}

impl Shard {
    /// Takes over the listener of the group's table. The caller spawns the futures: one proposes until
    /// the group stops, one confirms reads and one ends sessions for as long as they are let. Each is a
    /// task of its own, since what wakes one of them means nothing to the others.
    pub fn start(
        group: Group,
        clock: SharedClock,
        options: ShardOptions,
        instruments: Arc<Instruments>,
    ) -> (Self, [BoxFuture<'static, ()>; 3]) {
        let eyes = Eyes::new(instruments, clock.clone());
        let applied = Arc::new(Applied::new(clock.clone(), eyes.clone()));
        group.table().set_listener(applied.clone());
        let proposer = Proposer::new(eyes.clone());
        let reads = Reads::new(group.clone(), applied.clone(), clock.clone());
        let shard = Self(Arc::new(Inner {
            options,
            group: group.clone(),
            applied,
            proposer: proposer.clone(),
            reads: reads.clone(),
            eyes,
        }));
        let timers = shard.clone();
        let tasks: [BoxFuture<'static, ()>; 3] = [
            Box::pin(proposer.run(group)),
            Box::pin(reads.run()),
            Box::pin(async move { timers.expire(clock).await }),
        ];
        (shard, tasks)
    }

    /// Its id.
    pub fn id(&self) -> ShardId {
        self.0.group.shard()
    }

    /// The options it was started with.
    pub fn options(&self) -> &ShardOptions {
        &self.0.options
    }

    /// Its Raft group.
    pub fn group(&self) -> &Group {
        &self.0.group
    }

    /// Where commands are proposed.
    pub fn proposer(&self) -> &Proposer {
        &self.0.proposer
    }

    /// Where its table is read.
    pub fn reads(&self) -> &Reads {
        &self.0.reads
    }

    /// How often a tick of its timers came too late.
    pub fn stalls(&self) -> u64 {
        self.0.applied.stalls()
    }

    /// What is seen of its work.
    pub fn eyes(&self) -> &Eyes {
        &self.0.eyes
    }

    /// What is told of each applied entry.
    pub(super) fn applied(&self) -> &Arc<Applied> {
        &self.0.applied
    }

    /// What answers queries.
    pub(super) fn queries(&self) -> Queries {
        Queries {
            reads: self.0.reads.clone(),
            proposer: self.0.proposer.clone(),
            breaks_allowed: self.0.options.breaks_allowed,
        }
    }

    /// The shell of `expiry.rs`: asks what is due, forever. Sleeping only wakes it; the clock decides.
    async fn expire(&self, clock: SharedClock) {
        let leadership = self.0.group.leadership();
        let mut followed = None;
        loop {
            tokio::time::sleep(TICK).await;
            let (serving, leader) = {
                let leadership = leadership.borrow();
                let serving = leadership.serving.then_some(leadership.term);
                (
                    serving,
                    leadership
                        .leader
                        .as_ref()
                        .map(|(id, _)| (leadership.term, *id)),
                )
            };
            if leader.is_some() && leader != followed {
                followed = leader;
                self.0.eyes.instruments().count(Count::Election);
            }
            let due = self.0.applied.tick(clock.now(), serving);
            if !due.is_empty() {
                tracing::debug!(commands = due.len(), "timers ran out");
                self.0.proposer.tell(due);
            }
        }
    }
}

/// The shards that this node serves. Empty while it belongs to no cell.
#[derive(Clone, Default)]
pub struct Shards(Arc<RwLock<BTreeMap<ShardId, Shard>>>);

impl Shards {
    /// Adds a shard; from now on it takes streams.
    pub fn insert(&self, shard: Shard) {
        let mut shards = self.0.write().unwrap_or_else(PoisonError::into_inner);
        shards.insert(shard.id(), shard);
    }

    /// The shard of this id, if this node serves it.
    pub fn get(&self, id: ShardId) -> Option<Shard> {
        let shards = self.0.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&id).cloned()
    }
}

/// The service of [`Shards`], ready to be added to a tonic server.
pub fn cell_server(shards: Shards, access: Access) -> CellServer<CellService> {
    CellServer::new(CellService { shards, access }).max_encoding_message_size(FRAME_BYTES_MAX)
}

/// See [`cell_server`].
pub struct CellService {
    shards: Shards,
    access: Access,
}

#[tonic::async_trait]
impl Cell for CellService {
    type SessionStream = BoxStream<'static, Result<v1::CoreFrame, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SidecarFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        // One shard for now: its frames go out before the sidecar has said which it means, and one that
        // means another is refused then.
        let shard = self
            .shards
            .get(ShardId::default())
            .ok_or_else(|| Status::unavailable("this node belongs to no cell yet"))?;
        let rights = self.access.admit(&request)?;
        let credentials = self.access.credentials.clone();
        let stream = SidecarStream::new(
            shard,
            Guest {
                rights,
                credentials,
            },
            request.into_inner(),
        );
        Ok(Response::new(stream.frames()))
    }
}
