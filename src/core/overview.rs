//! The cell as operators see it: who is in it, who leads, how far each node is.
//! In: this node's metrics, and what the others say when asked. Out: JSON and numbers.
//! Never: a wait for a node that does not answer, beyond the bound of one call.

use futures::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use serde_json::{Map, Value, json};

use super::formation::Local;
use super::group::Group;
use super::membership::{Members, Standing};

/// A node so many entries behind what it knows to be committed is not ready.
pub const READY_LAG_MAX: u64 = 1_000;

/// How far a group is on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The term.
    pub term: u64,
    /// The last entry in the log.
    pub last: u64,
    /// The last entry known to be committed in the cell.
    pub committed: u64,
    /// The last entry applied here.
    pub applied: u64,
    /// The last entry that a snapshot covers.
    pub snapshot: u64,
    /// The last entry that is no longer in the log.
    pub purged: u64,
}

impl Progress {
    /// Committed entries that are not applied here yet.
    pub fn lag(self) -> u64 {
        self.committed.saturating_sub(self.applied)
    }
}

/// How far a group is.
pub fn progress(group: &Group) -> Progress {
    let metrics = group.raft().metrics();
    let metrics = metrics.borrow_watched();
    let index = |id: &Option<super::types::LogId>| id.as_ref().map_or(0, |id| id.index);
    Progress {
        term: metrics.current_term,
        last: metrics.last_log_index.unwrap_or(0),
        committed: index(&metrics.cluster_committed),
        applied: index(&metrics.last_applied),
        snapshot: index(&metrics.snapshot),
        purged: index(&metrics.purged),
    }
}

/// The body of `GET /v1/cluster`. Nodes that do not answer are shown without their progress.
pub async fn cluster(local: &Local, members: Option<&Members>) -> Value {
    let mut body = Map::new();
    body.insert("node".into(), json!(local.place()));
    let applicants: Vec<Value> = local
        .applicants()
        .into_values()
        .map(|member| {
            json!({
                "node": member.place,
                "disk": member.disk.to_string(),
                "grpc": member.grpc,
                "http": member.http,
            })
        })
        .collect();
    let Some(members) = members else {
        body.insert("state".into(), json!("forming"));
        body.insert("members".into(), json!([]));
        body.insert("applicants".into(), json!(applicants));
        return Value::Object(body);
    };
    let group = members.group();
    let own = progress(group);
    let leader = group.leadership().borrow().leader.clone();
    let standings = members.standings();
    let answers = join_all(standings.iter().map(|node| async {
        if node.id == group.id() {
            return Some((own.applied, own.committed));
        }
        let reply = local.calls().identify(&node.member.grpc).await.ok()?;
        (reply.raft_id == node.id).then_some((reply.applied, reply.committed))
    }))
    .await;
    let committed = answers.iter().flatten().map(|(_, committed)| *committed);
    let committed = committed.max().unwrap_or(0).max(own.committed);
    let leader_id = leader.as_ref().map(|(id, _)| *id);
    let rows = standings.iter().zip(&answers);
    let rows: Vec<Value> = rows
        .map(|(node, answer)| row(node, answer.as_ref(), committed, leader_id))
        .collect();
    body.insert(
        "state".into(),
        json!(if rows.is_empty() { "forming" } else { "formed" }),
    );
    body.insert("cluster_id".into(), json!(members.cluster_id()));
    body.insert("shard".into(), json!(group.shard().0));
    body.insert("term".into(), json!(own.term));
    if let Some((id, member)) = &leader {
        body.insert("leader".into(), json!(member.place));
        body.insert("leader_raft_id".into(), json!(id));
    }
    body.insert("committed".into(), json!(committed));
    body.insert("applied".into(), json!(own.applied));
    body.insert("members".into(), json!(rows));
    body.insert("applicants".into(), json!(applicants));
    Value::Object(body)
}

fn row(node: &Standing, answer: Option<&(u64, u64)>, committed: u64, leader: Option<u64>) -> Value {
    let mut row = Map::new();
    row.insert("node".into(), json!(node.member.place));
    row.insert("incarnation".into(), json!(node.member.incarnation));
    row.insert("raft_id".into(), json!(node.id));
    row.insert("disk".into(), json!(node.member.disk.to_string()));
    row.insert(
        "role".into(),
        json!(if node.voter { "voter" } else { "learner" }),
    );
    row.insert("leader".into(), json!(leader == Some(node.id)));
    row.insert("grpc".into(), json!(node.member.grpc));
    row.insert("http".into(), json!(node.member.http));
    row.insert("reachable".into(), json!(answer.is_some()));
    if let Some(matched) = node.matched {
        row.insert("matched".into(), json!(matched));
    }
    if let Some((applied, _)) = answer {
        row.insert("applied".into(), json!(applied));
        row.insert("lag".into(), json!(committed.saturating_sub(*applied)));
    }
    Value::Object(row)
}
