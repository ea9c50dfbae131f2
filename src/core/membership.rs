//! Who belongs to the cell: adds, promotes, removes and replaces nodes, hands over the leadership.
//! In: an operator's wish, at the leader. Out: a committed membership, or why not.
//! Never: two disks under one Raft id, or a change that the nodes heard of lately could not commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _, RaftMetrics, ServerState};
use tokio::time::{sleep, timeout};

use super::calls::CallError;
use super::formation::Local;
use super::group::Group;
use super::succession::{heir, next_incarnation};
use super::types::{Member, TypeConfig, place_and_incarnation};

/// Longest that one committed change of the membership takes.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest that a new node may take to catch up before it votes.
const CATCH_UP_WAIT_MAX: Duration = Duration::from_secs(40);
/// A node so few entries behind has caught up: it gets the rest while the change commits.
const CATCH_UP_ENTRIES: u64 = 1_000;
/// Between two looks at how far a node is.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node that has answered a heartbeat or an append so lately is alive.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);
/// Longest that a leader waits to hear of the nodes that a change needs.
const ALIVE_WAIT_MAX: Duration = Duration::from_secs(1);
/// Longest that a change waits for a leader to be known: an election takes no longer, most of the time.
const ELECTION_WAIT_MAX: Duration = Duration::from_secs(2);
/// Longest that a hand-over of the leadership takes.
const TRANSFER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why the membership did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes the membership.
    #[error("this node does not lead the cell")]
    NotLeader(Option<Box<Member>>),
    /// There is no such node, or it has not asked to be admitted.
    #[error("{0}")]
    NotFound(String),
    /// It would be wrong, or cannot be done now. Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// A node that has to take part does not answer.
    #[error("{0}")]
    Call(#[from] CallError),
    /// It may or may not have happened. The same wish again is safe.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// Changes the membership of one group, one change at a time.
#[derive(Clone)]
pub struct Members {
    group: Group,
    local: Local,
    cluster_id: Arc<str>,
    one: Arc<tokio::sync::Mutex<()>>,
}

/// One node of the cell as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its Raft id.
    pub id: u64,
    /// Who it is.
    pub member: Member,
    /// Whether it votes; else it is a learner.
    pub voter: bool,
    /// The last entry it is known to hold; only the leader knows.
    pub matched: Option<u64>,
}

impl Members {
    /// For a running group.
    pub fn new(group: Group, local: Local, cluster_id: Arc<str>) -> Self {
        Self {
            group,
            local,
            cluster_id,
            one: Arc::default(),
        }
    }

    /// Of which group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Of which cell.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// All nodes, by Raft id.
    pub fn standings(&self) -> Vec<Standing> {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| {
            let replication = metrics.replication.as_ref()?;
            replication.get(id)?.as_ref().map(|log| log.index)
        };
        let nodes = membership.nodes();
        nodes
            .map(|(id, member)| Standing {
                id: *id,
                member: member.clone(),
                voter: voters.contains(id),
                matched: matched(id),
            })
            .collect()
    }

    /// Admits the new node that applied for a place that is free, as a learner.
    pub async fn add(&self, place: u16) -> Result<(), ChangeError> {
        let _one = self.one.lock().await;
        self.leading().await?;
        let there = self.at(place);
        let applicant = self.local.applicants().remove(&place);
        match (there.last(), applicant) {
            (Some(there), Some(new)) if new.disk != there.member.disk => {
                Err(ChangeError::Refused(format!(
                    "node {place} is in the cell with another disk: use `cluster replace {place}`"
                )))
            }
            (Some(_), _) => Ok(()),
            (None, None) => Err(not_applied(place, "start it with --join")),
            (None, Some(new)) => self.admit(new).await.map(|_id| ()),
        }
    }

    /// Makes a learner a voter, once it has caught up.
    pub async fn promote(&self, place: u16) -> Result<(), ChangeError> {
        let _one = self.one.lock().await;
        self.leading().await?;
        let standing = self.the(place)?;
        if standing.voter {
            return Ok(());
        }
        self.caught_up(standing.id).await?;
        let mut voters = self.voters();
        voters.insert(standing.id);
        self.would_commit(&voters).await?;
        self.change(
            ChangeMembers::AddVoterIds(BTreeSet::from([standing.id])),
            true,
        )
        .await
    }

    /// Takes a node out of the cell. A leader hands over first and lets the next one do it.
    pub async fn remove(&self, place: u16) -> Result<(), ChangeError> {
        let _one = self.one.lock().await;
        self.leading().await?;
        let standing = self.the(place)?;
        if !standing.voter {
            return self.drop_node(&standing, None).await;
        }
        let mut rest = self.voters();
        rest.remove(&standing.id);
        if rest.is_empty() {
            return Err(ChangeError::Refused(
                "the last voter cannot be removed".into(),
            ));
        }
        self.would_commit(&rest).await?;
        if standing.id == self.group.id() {
            self.hand_over(None).await?;
            self.leading().await?;
            return Err(self.not_leader());
        }
        self.drop_node(&standing, Some(rest)).await
    }

    /// Admits the new disk of a node in the place of its former one, which is out of the cell then.
    pub async fn replace(&self, place: u16) -> Result<(), ChangeError> {
        let _one = self.one.lock().await;
        self.leading().await?;
        let mut there = self.at(place);
        let Some(newest) = there.pop() else {
            return Err(ChangeError::NotFound(format!(
                "node {place} is not in the cell: use `cluster add {place}`"
            )));
        };
        let applicant = self.local.applicants().remove(&place);
        let (old, new) = match (there.pop(), applicant) {
            // An earlier replace stopped half-way: the new disk is a learner beside the old one.
            (Some(old), _) => (old, newest.id),
            (None, Some(new)) if new.disk != newest.member.disk => {
                let id = self.admit(new).await?;
                (newest, id)
            }
            (None, Some(_) | None) => {
                return Err(not_applied(place, "start it with an empty data directory"));
            }
        };
        if !old.voter {
            return self.drop_node(&old, None).await;
        }
        self.caught_up(new).await?;
        let mut voters = self.voters();
        voters.remove(&old.id);
        voters.insert(new);
        self.would_commit(&voters).await?;
        self.drop_node(&old, Some(voters)).await
    }

    /// Hands the leadership to a voter: the one at `place`, or whichever is furthest.
    pub async fn transfer(&self, place: Option<u16>) -> Result<(), ChangeError> {
        let _one = self.one.lock().await;
        self.leading().await?;
        self.hand_over(place).await
    }

    async fn hand_over(&self, place: Option<u16>) -> Result<(), ChangeError> {
        let target = match place {
            Some(place) => self.the(place)?,
            None => {
                let others = self.standings().into_iter();
                let others = others.filter(|node| node.voter && node.id != self.group.id());
                self.soon(|alive| alive.len() > 1).await;
                let alive = self.alive();
                let others = others.filter(|node| alive.contains(&node.id));
                others
                    .max_by_key(|node| node.matched)
                    .ok_or_else(|| ChangeError::Refused("no other voter is there to lead".into()))?
            }
        };
        if !target.voter {
            return Err(ChangeError::Refused(format!(
                "node {} does not vote",
                target.member.place
            )));
        }
        if target.id == self.group.id() {
            return Ok(());
        }
        let there = self.soon(|alive| alive.contains(&target.id)).await;
        if !there {
            let place = target.member.place;
            return Err(ChangeError::Refused(format!(
                "node {place} does not answer"
            )));
        }
        let mut leadership = self.group.leadership();
        let started = self.group.raft().trigger().transfer_leader(target.id).await;
        started.map_err(|fatal| ChangeError::Unknown(fatal.to_string()))?;
        let done = leadership.wait_for(|now| {
            let leader = now.leader.as_ref().map(|(id, _)| *id);
            leader.is_some_and(|leader| leader != self.group.id())
        });
        match timeout(TRANSFER_WAIT_MAX, done).await {
            Ok(Ok(now)) => match &now.leader {
                Some((id, _)) if place.is_some() && *id != target.id => {
                    Err(ChangeError::Refused(format!(
                        "node {} did not take over: another one leads",
                        target.member.place
                    )))
                }
                _ => Ok(()),
            },
            Ok(Err(_ended)) => Err(ChangeError::Unknown("the group stopped".into())),
            Err(_elapsed) => Err(ChangeError::Unknown("no other node leads yet".into())),
        }
    }

    /// Binds an applicant's disk to a Raft id of this cell, then makes it a learner.
    async fn admit(&self, applicant: Member) -> Result<u64, ChangeError> {
        let place = applicant.place;
        let members: Vec<Member> = self
            .standings()
            .into_iter()
            .map(|node| node.member)
            .collect();
        let next = next_incarnation(&members, place);
        let next = next.ok_or_else(|| ChangeError::Refused("no incarnation is left".into()))?;
        // One that was bound before and never became a member keeps what it was given, if it can.
        let incarnation = match applicant.incarnation {
            0 => next,
            given if given >= next => given,
            _ => {
                return Err(ChangeError::Refused(format!(
                    "another disk has come after this one of node {place}: empty its directory"
                )));
            }
        };
        let retired = BTreeMap::new();
        let member = Member {
            incarnation,
            retired,
            ..applicant
        };
        let id = member.raft_id();
        let calls = self.local.calls();
        calls.admit(&member.grpc, &self.cluster_id, &member).await?;
        tracing::info!(id, place, disk = %member.disk, "admitted");
        let add = ChangeMembers::AddNodes(BTreeMap::from([(id, member)]));
        self.change(add, true).await?;
        Ok(id)
    }

    /// Takes a node out, with the voters that are to remain if it was one; a remaining voter remembers it.
    async fn drop_node(
        &self,
        leaver: &Standing,
        voters: Option<BTreeSet<u64>>,
    ) -> Result<(), ChangeError> {
        let keeper = self
            .standings()
            .into_iter()
            .find(|node| node.voter && node.id != leaver.id);
        let keeper = keeper.ok_or_else(|| ChangeError::Refused("no voter would be left".into()))?;
        let heir = BTreeMap::from([(keeper.id, heir(&keeper.member, &leaver.member))]);
        let leave = match voters {
            Some(voters) => ChangeMembers::ReplaceAllVoters(voters),
            None => ChangeMembers::RemoveNodes(BTreeSet::from([leaver.id])),
        };
        self.change(
            ChangeMembers::Batch(vec![ChangeMembers::SetNodes(heir), leave]),
            false,
        )
        .await
    }

    /// Waits until a node holds nearly the whole log.
    async fn caught_up(&self, id: u64) -> Result<(), ChangeError> {
        let wait = async {
            loop {
                let metrics = self.metrics();
                let last = metrics.last_log_index.unwrap_or(0);
                let replication = metrics.replication.as_ref();
                let Some(replication) = replication else {
                    return Err(self.not_leader());
                };
                let matched = replication.get(&id).and_then(|log| log.as_ref());
                if matched.is_some_and(|log| log.index + CATCH_UP_ENTRIES >= last) {
                    return Ok(());
                }
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(CATCH_UP_WAIT_MAX, wait)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(ChangeError::Refused(
                    "the new node has not caught up yet: try again".into(),
                ))
            })
    }

    /// Commits one change. Going on after an interrupted one is the same call.
    async fn change(
        &self,
        change: ChangeMembers<u64, Member>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        let write = self.group.raft().change_membership(change, retain);
        match timeout(CHANGE_WAIT_MAX, write).await {
            Ok(Ok(response)) => {
                tracing::info!(membership = ?response.membership, "the membership has changed");
                Ok(())
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(self.not_leader())
            }
            Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) => {
                Err(ChangeError::Unknown("the leader changed".into()))
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(ChangeError::Refused(error.to_string()))
            }
            Ok(Err(RaftError::APIError(ClientWriteError::PreconditionFailed(error)))) => {
                Err(ChangeError::Refused(error.to_string()))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ChangeError::Unknown(fatal.to_string())),
            Err(_elapsed) => Err(ChangeError::Unknown(
                "no quorum has confirmed it yet".into(),
            )),
        }
    }

    /// Refuses what could not commit: a majority of the voters to be must have been heard lately.
    async fn would_commit(&self, voters: &BTreeSet<u64>) -> Result<(), ChangeError> {
        let heard = |alive: &BTreeSet<u64>| voters.intersection(alive).count();
        if self.soon(|alive| heard(alive) * 2 > voters.len()).await {
            return Ok(());
        }
        Err(ChangeError::Refused(format!(
            "of the {} voters that the cell would have, only {} answer: it would lose its quorum",
            voters.len(),
            heard(&self.alive())
        )))
    }

    /// Whether enough nodes are alive, now or within some heartbeats: a new leader has heard none yet.
    async fn soon(&self, enough: impl Fn(&BTreeSet<u64>) -> bool) -> bool {
        let wait = async {
            while !enough(&self.alive()) {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(ALIVE_WAIT_MAX, wait).await.is_ok()
    }

    /// This node, and those that have answered it lately.
    fn alive(&self) -> BTreeSet<u64> {
        let metrics = self.metrics();
        let heard = metrics.heartbeat.iter().flatten();
        let heard =
            heard.filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() < ALIVE_WITHIN));
        heard.map(|(id, _)| *id).chain([self.group.id()]).collect()
    }

    /// Whether this node leads. While nobody is known to, as in the middle of a hand-over, it waits.
    async fn leading(&self) -> Result<(), ChangeError> {
        let mut leadership = self.group.leadership();
        let known = leadership.wait_for(|now| {
            now.leader
                .as_ref()
                .is_some_and(|(id, _)| *id != self.group.id())
                || self.metrics().state == ServerState::Leader
        });
        if timeout(ELECTION_WAIT_MAX, known).await.is_err() {
            tracing::debug!("nobody is known to lead");
        }
        if self.metrics().state == ServerState::Leader {
            Ok(())
        } else {
            Err(self.not_leader())
        }
    }

    fn not_leader(&self) -> ChangeError {
        let leader = self.group.leadership().borrow().leader.clone();
        let other = leader.filter(|(id, _)| *id != self.group.id());
        ChangeError::NotLeader(other.map(|(_, member)| Box::new(member)))
    }

    /// The nodes at a place, oldest incarnation first: one, or two while it is being replaced.
    fn at(&self, place: u16) -> Vec<Standing> {
        let mut there = self.standings();
        there.retain(|node| place_and_incarnation(node.id).is_some_and(|(at, _)| at == place));
        there
    }

    fn the(&self, place: u16) -> Result<Standing, ChangeError> {
        let there = self.at(place).pop();
        there.ok_or_else(|| ChangeError::NotFound(format!("node {place} is not in the cell")))
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.group.raft().voter_ids().collect()
    }

    fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.group.raft().metrics().borrow_watched().clone()
    }
}

fn not_applied(place: u16, how: &str) -> ChangeError {
    ChangeError::NotFound(format!(
        "no new node {place} has asked to be admitted: {how}"
    ))
}
