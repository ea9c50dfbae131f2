//! The faults, and what of them is in force. In: the dice. Out: crashes, cuts, pauses, slow and dying disks,
//! lost and doubled messages, changes of leader and members. Never: a fault that the design does not promise
//! to stand; a node that comes back without its disk would be one.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::sync::oneshot;

use crate::wires::Answer;
use crate::world::{PODS, World};

/// What is in force.
pub struct Faults {
    /// From one end to another, until when nothing passes; nodes first, then pods.
    cut: Vec<Vec<u64>>,
    /// Of each end: until when its links are slow.
    slow: Vec<u64>,
    lossy_until: u64,
    doubling_until: u64,
    /// Of each node: when its process is started again.
    pub down_until: Vec<u64>,
    /// Nodes still to be restarted one after the other, and when the next one is due.
    rolling: Vec<usize>,
    rolling_at: u64,
    /// Calls that nobody will answer. Dropped, they would tell the caller so.
    pub unanswered: Vec<oneshot::Sender<Answer>>,
}

type Strike = fn(&mut World);

/// All faults by name.
pub const FAULTS: &[(&str, Strike)] = &[
    ("kill_one", kill_one),
    ("kill_leader", kill_leader),
    ("kill_all", kill_all),
    ("rolling_restart", rolling_restart),
    ("pause_node", pause_node),
    ("pause_leader", pause_leader),
    ("cut_one_off", cut_one_off),
    ("cut_leader_off", cut_leader_off),
    ("split", split),
    ("ring", ring),
    ("bridge", bridge),
    ("one_way", one_way),
    ("swizzle", swizzle),
    ("slow_links", slow_links),
    ("loss", loss),
    ("doubling", doubling),
    ("slow_disk", slow_disk),
    ("dying_disk", dying_disk),
    ("transfer", transfer),
    ("membership", membership),
    ("snapshot", snapshot),
    ("cut_pod_off", cut_pod_off),
    ("pause_pod", pause_pod),
    ("restart_pod", restart_pod),
    ("lose_pod", lose_pod),
];

impl Faults {
    pub fn new(nodes: usize) -> Self {
        let ends = nodes + PODS;
        Self {
            cut: vec![vec![0; ends]; ends],
            slow: vec![0; ends],
            lossy_until: 0,
            doubling_until: 0,
            down_until: vec![0; nodes],
            rolling: Vec::new(),
            rolling_at: 0,
            unanswered: Vec::new(),
        }
    }

    pub fn is_cut(&self, now_us: u64, from: usize, to: usize) -> bool {
        self.cut[from][to] > now_us
    }

    pub fn cut_until(&self, from: usize, to: usize) -> u64 {
        self.cut[from][to]
    }

    pub fn slow_link(&self, now_us: u64, from: usize, to: usize) -> bool {
        self.slow[from] > now_us || self.slow[to] > now_us
    }

    /// Whether the next message is lost, and whether it comes twice.
    pub fn loses_or_doubles(&self, now_us: u64, dice: &mut StdRng) -> (bool, bool) {
        let lost = self.lossy_until > now_us && dice.random_range(0..5) == 0;
        let doubled = self.doubling_until > now_us && dice.random_range(0..3) == 0;
        (lost, doubled)
    }

    fn cut_both(&mut self, one: usize, other: usize, until: u64) {
        self.cut[one][other] = until;
        self.cut[other][one] = until;
    }

    /// No fault from now on.
    pub fn heal(&mut self) {
        *self = Self {
            unanswered: std::mem::take(&mut self.unanswered),
            ..Self::new(self.down_until.len())
        };
    }
}

impl World {
    /// One of the faults strikes.
    pub fn strike(&mut self) {
        let (name, fault) = FAULTS[self.dice.random_range(0..FAULTS.len())];
        fault(self);
        self.seen.add(name, 1);
        self.seen.add("faults", 1);
    }

    /// Nodes that were down come back, and rolling restarts go on.
    pub fn mend(&mut self) {
        let now = self.now_us;
        if self.faults.rolling_at <= now
            && let Some(node) = self.faults.rolling.pop()
        {
            self.kill(node, 300_000);
            self.faults.rolling_at = now + 1_500_000;
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_up() && self.faults.down_until[node] <= now {
                self.start(node);
            }
        }
    }

    fn a_while(&mut self, most_ms: u64) -> u64 {
        self.now_us + self.dice.random_range(50..most_ms) * 1_000
    }

    /// How long a process is down: now and then so short that nobody notices.
    fn short_or_long(&mut self) -> u64 {
        match self.dice.random_range(0..3) {
            0 => self.dice.random_range(1_000..50_000),
            _ => self.dice.random_range(50_000..3_000_000),
        }
    }

    fn any_node(&mut self) -> usize {
        self.dice.random_range(0..self.nodes.len())
    }

    fn leader_or_any(&mut self) -> usize {
        let leader = (0..self.nodes.len()).find(|node| self.nodes[*node].serves());
        leader.unwrap_or_else(|| self.any_node())
    }

    fn kill(&mut self, node: usize, down_us: u64) {
        self.crash(node);
        self.faults.down_until[node] = self.now_us + down_us;
    }

    /// Nothing passes between these nodes and the other ones.
    fn part(&mut self, side: &BTreeSet<usize>, until: u64) {
        for one in side {
            for other in (0..self.nodes.len()).filter(|other| !side.contains(other)) {
                self.faults.cut_both(*one, other, until);
            }
        }
    }
}

fn kill_one(world: &mut World) {
    let node = world.any_node();
    let down = world.short_or_long();
    world.kill(node, down);
}

fn kill_leader(world: &mut World) {
    let node = world.leader_or_any();
    let down = world.short_or_long();
    world.kill(node, down);
}

fn kill_all(world: &mut World) {
    for node in 0..world.nodes.len() {
        let down = world.dice.random_range(10_000..1_000_000);
        world.kill(node, down);
    }
}

fn rolling_restart(world: &mut World) {
    world.faults.rolling = (0..world.nodes.len()).collect();
    world.faults.rolling.shuffle(&mut world.dice);
}

fn pause_node(world: &mut World) {
    let node = world.any_node();
    world.nodes[node].paused_until = world.a_while(5_000);
}

fn pause_leader(world: &mut World) {
    let node = world.leader_or_any();
    world.nodes[node].paused_until = world.a_while(5_000);
}

fn cut_one_off(world: &mut World) {
    let (node, until) = (world.any_node(), world.a_while(4_000));
    world.part(&BTreeSet::from([node]), until);
}

fn cut_leader_off(world: &mut World) {
    let (node, until) = (world.leader_or_any(), world.a_while(4_000));
    world.part(&BTreeSet::from([node]), until);
}

/// A minority and a majority, whoever is in which, sidecars with either.
fn split(world: &mut World) {
    let (count, until) = (world.nodes.len(), world.a_while(4_000));
    let mut nodes: Vec<_> = (0..count).collect();
    nodes.shuffle(&mut world.dice);
    let side: BTreeSet<_> = nodes[..count / 2].iter().copied().collect();
    world.part(&side, until);
    for pod in count..count + PODS {
        let with_minority = world.dice.random_bool(0.5);
        for node in (0..count).filter(|node| side.contains(node) != with_minority) {
            world.faults.cut_both(pod, node, until);
        }
    }
}

/// Each node reaches its two neighbours only. (With three of them that is everybody.)
fn ring(world: &mut World) {
    let (count, until) = (world.nodes.len(), world.a_while(4_000));
    for one in 0..count {
        for other in one + 2..count {
            if (other + 1) % count != one {
                world.faults.cut_both(one, other, until);
            }
        }
    }
}

/// Two nodes do not reach each other, and both reach the others.
fn bridge(world: &mut World) {
    let (one, until) = (world.any_node(), world.a_while(4_000));
    let other = (one + 1) % world.nodes.len();
    world.faults.cut_both(one, other, until);
}

fn one_way(world: &mut World) {
    let (node, until) = (world.any_node(), world.a_while(4_000));
    let hears = world.dice.random_bool(0.5);
    for other in 0..world.nodes.len() + PODS {
        let (from, to) = if hears { (node, other) } else { (other, node) };
        if other != node && world.dice.random_range(0..3) > 0 {
            world.faults.cut[from][to] = until;
        }
    }
}

/// Nodes are cut off one after the other, and come back in another order.
fn swizzle(world: &mut World) {
    for node in 0..world.nodes.len() {
        let until = world.a_while(3_000);
        world.part(&BTreeSet::from([node]), until);
    }
}

fn slow_links(world: &mut World) {
    let end = world.dice.random_range(0..world.nodes.len() + PODS);
    world.faults.slow[end] = world.a_while(4_000);
}

fn loss(world: &mut World) {
    world.faults.lossy_until = world.a_while(4_000);
}

fn doubling(world: &mut World) {
    world.faults.doubling_until = world.a_while(4_000);
}

fn slow_disk(world: &mut World) {
    let node = world.any_node();
    world.nodes[node].slow_until = world.a_while(4_000);
}

fn dying_disk(world: &mut World) {
    let node = world.any_node();
    world.nodes[node].disk_dies = world.nodes[node].is_up();
}

fn transfer(world: &mut World) {
    let (leader, to) = (world.leader_or_any(), world.any_node());
    let to = world.nodes[to].id();
    world.nodes[leader].ask(async move |group| {
        // Whether it succeeds or not, nothing may break.
        group.raft().trigger().transfer_leader(to).await.ok();
    });
}

/// Three, four or five nodes vote from now on, if so many there are.
fn membership(world: &mut World) {
    let leader = world.leader_or_any();
    let mut members: Vec<_> = world.nodes.iter().map(|node| node.member.clone()).collect();
    members.shuffle(&mut world.dice);
    let count = world.dice.random_range(3..=members.len());
    members.truncate(count);
    world.nodes[leader].ask(async move |group| {
        for member in &members {
            let added = group
                .raft()
                .add_learner(member.raft_id(), member.clone(), false);
            // Whether it succeeds or not, nothing may break.
            added.await.ok();
        }
        let voters: BTreeSet<_> = members.iter().map(|member| member.raft_id()).collect();
        group.raft().change_membership(voters, true).await.ok();
    });
}

fn snapshot(world: &mut World) {
    let node = world.any_node();
    world.nodes[node].ask(async move |group| {
        group.raft().trigger().snapshot().await.ok();
    });
}

fn cut_pod_off(world: &mut World) {
    let pod = world.nodes.len() + world.dice.random_range(0..PODS);
    let until = world.a_while(8_000);
    for node in 0..world.nodes.len() {
        world.faults.cut_both(pod, node, until);
    }
}

fn pause_pod(world: &mut World) {
    let pod = world.dice.random_range(0..PODS);
    world.pods[pod].paused_until = world.a_while(6_000);
}

/// The process dies, and another one goes on from what it has written down.
fn restart_pod(world: &mut World) {
    let pod = world.dice.random_range(0..PODS);
    let holds = restart(world, pod, None);
    world.seen.add("inherited", holds as u64);
}

/// The pod is gone for good, and another one comes in its stead.
fn lose_pod(world: &mut World) {
    let pod = world.dice.random_range(0..PODS);
    let seed = world.dice.random();
    restart(world, pod, Some(seed));
}

fn restart(world: &mut World, pod: usize, seed: Option<[u8; 32]>) -> usize {
    let streams = world.pods[pod].links.clone().into_iter().enumerate();
    for (node, link) in streams {
        if let Some(number) = link.up {
            world.hang_up(crate::node::StreamId { pod, node, number });
        }
    }
    let holds = world.pods[pod].restart(world.now_us, seed);
    world.pods[pod].paused_until = world.a_while(1_500);
    holds
}
