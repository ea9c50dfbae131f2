//! How this disk comes to belong to a cell: by forming it with its peers, or by being admitted.
//! In: `--peers` or `--join`, and what other nodes and operators say. Out: a durable identity.
//! Never: an identity replaced; who has one keeps it until the directory is emptied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::{Request, Response, Status};

use super::applicants::Applicants;
use super::calls::{CallError, Calls};
use super::codec::member_from_proto;
use super::founding::{Answer, Peer, Plan, cell_id, plan};
use super::frames::{disk_from, place_from};
use super::group::Group;
use super::identity::Identity;
use super::overview::progress;
use super::raft_service::Groups;
use super::storage::Storage;
use super::types::{Member, place_and_incarnation, raft_id};
use crate::table::id::ShardId;
use crate::wire::v1;
use crate::wire::v1::formation_server::{Formation, FormationServer};
use crate::world::clock::SharedClock;

/// Between two looks at the peers while the cell forms.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two applications of a node that waits to be admitted.
const APPLY_EVERY: Duration = Duration::from_secs(1);
/// A node with an identity but no members for so long asks again to be admitted.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The cell that this disk belongs to, and as which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The cell.
    pub cluster_id: String,
    /// Its Raft id there.
    pub raft_id: u64,
}

/// What this node is, before and beside its groups.
#[derive(Clone)]
pub struct Local(Arc<Inner>);

struct Inner {
    storage: Storage,
    place: u16,
    peers: Vec<Peer>,
    join: Option<String>,
    grpc: String,
    http: String,
    groups: Groups,
    calls: Calls,
    clock: SharedClock,
    bound: watch::Sender<Option<Bound>>,
    /// One binding at a time; held over the write of the identity.
    binding: tokio::sync::Mutex<()>,
    applicants: Applicants,
}

/// What [`Local::new`] needs to know.
pub struct LocalConfig {
    /// The operator's node id.
    pub place: u16,
    /// `--peers`, sorted by place; read only with an empty data directory.
    pub peers: Vec<Peer>,
    /// A node of the cell to apply to.
    pub join: Option<String>,
    /// `HOST:PORT` by which others reach this node's gRPC.
    pub grpc: String,
    /// `HOST:PORT` by which operators reach it.
    pub http: String,
}

impl Local {
    /// For an open data directory.
    pub fn new(
        config: LocalConfig,
        storage: Storage,
        groups: Groups,
        calls: Calls,
        clock: SharedClock,
    ) -> Self {
        let identity = storage.identity();
        let (bound, _) = watch::channel(bound_of(&identity));
        Self(Arc::new(Inner {
            storage,
            place: config.place,
            peers: config.peers,
            join: config.join,
            grpc: config.grpc,
            http: config.http,
            groups,
            calls,
            clock,
            bound,
            binding: tokio::sync::Mutex::new(()),
            applicants: Applicants::default(),
        }))
    }

    /// The gRPC service that other nodes and operators' commands call.
    pub fn server(&self) -> FormationServer<Self> {
        FormationServer::new(self.clone())
    }

    /// The operator's node id.
    pub fn place(&self) -> u16 {
        self.0.place
    }

    /// The cell, once there is one.
    pub fn bound(&self) -> Option<Bound> {
        self.0.bound.borrow().clone()
    }

    /// Waits until this disk belongs to a cell: forms it, or applies to be admitted.
    pub async fn settle(&self) -> Bound {
        let mut bound = self.0.bound.subscribe();
        let mut said = String::new();
        loop {
            if let Some(bound) = bound.borrow_and_update().clone() {
                return bound;
            }
            let step = self.step(&mut said);
            tokio::select! {
                pause = step => { tokio::select! { () = sleep(pause) => {}, _ = bound.changed() => {} } }
                // The sender lives in `self`, so this is a change and never an end.
                _ = bound.changed() => {}
            }
        }
    }

    /// With the group running but empty: the lowest place gives it its members; others wait for them,
    /// and, if they are long in coming, ask again. Ends when the group has members, from whomever.
    pub async fn found(&self, group: &Group, cluster_id: &str) {
        let started = self.0.clock.now();
        // The engine is asked first: right after a restart its metrics do not tell yet.
        while !matches!(group.raft().is_initialized().await, Ok(true) | Err(_)) {
            if self.is_lowest()
                && let Plan::Form {
                    cluster_id: id,
                    members,
                } = self.look().await
                && id == cluster_id
            {
                let members: BTreeMap<u64, Member> = members
                    .into_iter()
                    .map(|member| (member.raft_id(), member))
                    .collect();
                match group.raft().initialize(members).await {
                    Ok(()) => tracing::info!(cluster_id, "the cell is formed"),
                    Err(error) => tracing::warn!(%error, "the cell is not formed yet"),
                }
            }
            if self.0.clock.now().since(started) > ASK_AGAIN_AFTER {
                self.apply().await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Those who asked to be admitted lately, by place.
    pub fn applicants(&self) -> BTreeMap<u16, Member> {
        self.0.applicants.lately(self.0.clock.now())
    }

    /// The calls to other nodes.
    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// One step towards a cell; gives how long to pause before the next.
    async fn step(&self, said: &mut String) -> Duration {
        let why = if self.0.join.is_some() || self.0.peers.is_empty() {
            String::from("this node was started to join a cell")
        } else {
            match self.look().await {
                Plan::Apply(why) => why,
                Plan::Wait(why) => {
                    say(said, format!("waiting for the cell to form: {why}"));
                    return LOOK_EVERY;
                }
                Plan::Form {
                    cluster_id,
                    members,
                } => {
                    if !self.is_lowest() {
                        say(
                            said,
                            String::from("waiting for the lowest node id to form the cell"),
                        );
                    } else if let Err(error) = self.form(&cluster_id, &members).await {
                        say(said, format!("the cell is not formed yet: {error}"));
                    }
                    return LOOK_EVERY;
                }
            }
        };
        let place = self.0.place;
        say(
            said,
            format!(
                "{why}; this disk neither votes nor stores until an operator runs `sidelock cluster replace {place}` or `add {place}`"
            ),
        );
        self.apply().await;
        APPLY_EVERY
    }

    fn is_lowest(&self) -> bool {
        self.0
            .peers
            .first()
            .is_some_and(|lowest| lowest.place == self.0.place)
    }

    /// Asks all peers who they are, at once.
    async fn look(&self) -> Plan {
        let asked = self.0.peers.iter().map(|peer| async move {
            if peer.place == self.0.place {
                return Some(self.answer());
            }
            let reply = self.0.calls.identify(&peer.address).await.ok()?;
            answer_from(&reply).filter(|answer| answer.place == peer.place)
        });
        let answers = join_all(asked).await.into_iter().flatten();
        let answers = answers.map(|answer| (answer.place, answer)).collect();
        plan(self.0.place, &self.0.peers, &answers)
    }

    /// What this node says of itself.
    fn answer(&self) -> Answer {
        Answer {
            place: self.0.place,
            disk: self.0.storage.identity().disk,
            cluster_id: self.bound().map(|bound| bound.cluster_id),
            formed: self
                .0
                .groups
                .get(ShardId(0))
                .as_ref()
                .is_some_and(is_formed),
            peers: self.0.peers.clone(),
            http: self.0.http.clone(),
        }
    }

    /// The others first, each durably; then this node. Repeated until all have it.
    async fn form(&self, cluster_id: &str, members: &[Member]) -> Result<(), CallError> {
        for member in members.iter().filter(|member| member.place != self.0.place) {
            self.0.calls.form(&member.grpc, cluster_id, members).await?;
        }
        let id = raft_id(self.0.place, 1);
        let bound = self.bind(cluster_id, id).await;
        bound.map_err(|status| CallError::new(&self.0.grpc, status.message()))
    }

    /// Tells the cell that this node waits to be admitted: those it knows, and the leader they name.
    async fn apply(&self) {
        let given = self.bound();
        let given = given.and_then(|bound| place_and_incarnation(bound.raft_id));
        let own = Member {
            place: self.0.place,
            incarnation: given.map_or(0, |(_, incarnation)| incarnation),
            disk: self.0.storage.identity().disk,
            grpc: self.0.grpc.clone(),
            http: self.0.http.clone(),
            retired: BTreeMap::new(),
        };
        let peers = self
            .0
            .peers
            .iter()
            .filter(|peer| peer.place != self.0.place);
        let known = peers
            .map(|peer| peer.address.as_str())
            .chain(self.0.join.as_deref());
        for address in known {
            match self.0.calls.announce(address, &own).await {
                Ok(leader) if leader.is_empty() || leader == address => {}
                Ok(leader) => {
                    if let Err(error) = self.0.calls.announce(&leader, &own).await {
                        tracing::debug!(%error, "cannot apply to the leader");
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot apply"),
            }
        }
    }

    /// Makes this disk part of a cell, durably, if it is part of none. The same again is fine.
    async fn bind(&self, cluster_id: &str, raft_id: u64) -> Result<(), Status> {
        let _one = self.0.binding.lock().await;
        let wanted = Bound {
            cluster_id: cluster_id.to_owned(),
            raft_id,
        };
        match self.bound() {
            Some(bound) if bound == wanted => return Ok(()),
            Some(bound) => {
                return Err(Status::failed_precondition(format!(
                    "this disk belongs to cell {} as {}; empty the directory to use it anew",
                    bound.cluster_id, bound.raft_id
                )));
            }
            None => {}
        }
        let storage = self.0.storage.clone();
        let identity = Identity {
            place: Some(self.0.place),
            cluster_id: Some(wanted.cluster_id.clone()),
            raft_id: Some(raft_id),
            ..storage.identity()
        };
        let kept = storage.set_identity(identity).await;
        kept.map_err(|error| Status::unavailable(format!("disk: {error}")))?;
        self.0.bound.send_replace(Some(wanted));
        Ok(())
    }
}

#[tonic::async_trait]
impl Formation for Local {
    async fn announce(
        &self,
        request: Request<v1::AnnounceRequest>,
    ) -> Result<Response<v1::AnnounceReply>, Status> {
        let member = request.into_inner().member;
        let member = member.ok_or_else(|| Status::invalid_argument("no member"))?;
        let member = member_from_proto(member)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.0.applicants.note(self.0.clock.now(), member);
        let leader = self.0.groups.get(ShardId(0)).and_then(|group| {
            let leader = group.leadership().borrow().leader.clone();
            leader.map(|(_, member)| member.grpc)
        });
        Ok(Response::new(v1::AnnounceReply {
            leader_address: leader.unwrap_or_default(),
        }))
    }

    async fn identify(
        &self,
        _request: Request<v1::IdentifyRequest>,
    ) -> Result<Response<v1::IdentifyReply>, Status> {
        let answer = self.answer();
        let group = self.0.groups.get(ShardId(0));
        let progress = group.as_ref().map(progress).unwrap_or_default();
        let peers = answer
            .peers
            .iter()
            .map(|peer| format!("{}={}", peer.place, peer.address));
        Ok(Response::new(v1::IdentifyReply {
            place: u32::from(answer.place),
            disk: answer.disk.0.to_be_bytes().to_vec(),
            cluster_id: answer.cluster_id.unwrap_or_default(),
            raft_id: self.bound().map_or(0, |bound| bound.raft_id),
            formed: answer.formed,
            peers: peers.collect(),
            http_address: answer.http,
            grpc_address: self.0.grpc.clone(),
            applied: progress.applied,
            committed: progress.committed,
        }))
    }

    async fn form(
        &self,
        request: Request<v1::FormRequest>,
    ) -> Result<Response<v1::FormReply>, Status> {
        let request = request.into_inner();
        let members: Result<Vec<Member>, _> =
            request.members.into_iter().map(member_from_proto).collect();
        let members = members.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let peers = members.iter().map(|member| Peer {
            place: member.place,
            address: member.grpc.clone(),
        });
        if !peers.eq(self.0.peers.iter().cloned()) {
            return Err(Status::failed_precondition(
                "these are not this node's --peers",
            ));
        }
        let disk = self.0.storage.identity().disk;
        let own = members.iter().find(|member| member.place == self.0.place);
        let own = own.filter(|own| own.disk == disk && own.incarnation == 1);
        let own = own.ok_or_else(|| Status::failed_precondition("this disk is not meant"))?;
        if cell_id(&members) != request.cluster_id {
            return Err(Status::invalid_argument(
                "not the id that these members make",
            ));
        }
        self.bind(&request.cluster_id, own.raft_id()).await?;
        Ok(Response::new(v1::FormReply {}))
    }

    async fn admit(
        &self,
        request: Request<v1::AdmitRequest>,
    ) -> Result<Response<v1::AdmitReply>, Status> {
        let request = request.into_inner();
        let member = request
            .member
            .ok_or_else(|| Status::invalid_argument("no member"))?;
        let member = member_from_proto(member)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let disk = self.0.storage.identity().disk;
        if member.place != self.0.place || member.disk != disk || member.incarnation == 0 {
            return Err(Status::failed_precondition("another node or disk is meant"));
        }
        if request.cluster_id.is_empty() {
            return Err(Status::invalid_argument("no cell"));
        }
        self.bind(&request.cluster_id, member.raft_id()).await?;
        Ok(Response::new(v1::AdmitReply {}))
    }
}

/// What a reply to `Identify` tells; `None` if it is malformed.
pub fn answer_from(reply: &v1::IdentifyReply) -> Option<Answer> {
    let mut peers = reply
        .peers
        .iter()
        .map(|peer| parse_peer(peer))
        .collect::<Option<Vec<_>>>()?;
    peers.sort();
    Some(Answer {
        place: place_from(reply.place).ok()?,
        disk: disk_from(&reply.disk).ok()?,
        cluster_id: Some(reply.cluster_id.clone()).filter(|id| !id.is_empty()),
        formed: reply.formed,
        peers,
        http: reply.http_address.clone(),
    })
}

/// One entry of `--peers`: `1=HOST:PORT`.
pub fn parse_peer(text: &str) -> Option<Peer> {
    let (place, address) = text.split_once('=')?;
    let place = place.parse().ok().filter(|place| *place != 0)?;
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    (!host.is_empty()).then(|| Peer {
        place,
        address: address.to_owned(),
    })
}

fn bound_of(identity: &Identity) -> Option<Bound> {
    Some(Bound {
        cluster_id: identity.cluster_id.clone()?,
        raft_id: identity.raft_id?,
    })
}

fn is_formed(group: &Group) -> bool {
    group.raft().voter_ids().next().is_some()
}

fn say(said: &mut String, text: String) {
    if *said != text {
        tracing::info!("{text}");
        *said = text;
    }
}
