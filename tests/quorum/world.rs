//! The whole cell and its sidecars, and one step of it. In: a seed. Out: what they did, at each moment.
//! Never: real time, or anything that is not drawn from the seed.

use std::collections::BTreeMap;

use futures::channel::mpsc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sidelock::core::types::{DiskId, Member};
use sidelock::sidecar::handle::SidecarMode;
use sidelock::table::command::EndCause;
use sidelock::table::state::HistoryEvent;
use sidelock::wire::v1;
use tonic::Status;

use crate::apps::Apps;
use crate::faults::Faults;
use crate::laws::{agreement, alive, belief::Beliefs};
use crate::mail::Mail;
use crate::node::{Node, Outlets, Pace, StreamId};
use crate::pod::Pod;
use crate::seen::Seen;
use crate::trace::Trace;

pub const STEP_US: u64 = 5_000;
pub const PODS: usize = 3;
/// Two clocks differ by no more than twice this, which is within the bound that sidecars are told.
const RATE_PPM_MAX: i64 = 45_000;
/// What clocks do where the assumption is broken on purpose.
const WILD_PPM_MAX: i64 = 400_000;
/// Tables are compared so often, in steps.
const COMPARE_EVERY: u64 = 40;

/// The sending end of a stream, at its node.
pub type Upstream = mpsc::UnboundedSender<Result<v1::SidecarFrame, Status>>;

pub struct World {
    pub now_us: u64,
    pub steps: u64,
    pub dice: StdRng,
    /// Clocks keep to the bound.
    pub tame: bool,
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub outlets: Outlets,
    /// What is on its way, by when it comes and a number.
    pub mail: BTreeMap<(u64, u64), Mail>,
    pub mailed: u64,
    /// Of each stream and direction: when the last frame on it comes.
    pub last_due: BTreeMap<(StreamId, bool), u64>,
    /// Streams as their nodes see them.
    pub upstreams: BTreeMap<StreamId, Upstream>,
    pub faults: Faults,
    pub apps: Apps,
    pub beliefs: Beliefs,
    pub leader: Option<usize>,
    /// The greatest index that any node was seen to have applied.
    known_index: u64,
    /// How many holds a table was seen to remember that ended with their session.
    pub expired: u64,
    pub seen: Seen,
    pub trace: Trace,
}

impl World {
    /// A new cell of three nodes, or of five of which three are members at first.
    pub fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let tame = seed % 8 != 7;
        let bound = if tame { RATE_PPM_MAX } else { WILD_PPM_MAX };
        let outlets = Outlets::default();
        let count = if seed % 3 == 2 { 5 } else { 3 };
        let pace = |dice: &mut StdRng| Pace {
            began_us: dice.random_range(0..100_000_000),
            faster_ppm: dice.random_range(-bound..=bound),
        };
        let nodes = (0..count).map(|number| {
            let place = number as u16 + 1;
            let member = Member {
                place,
                incarnation: 1,
                disk: DiskId(u128::from(place)),
                grpc: format!("n{place}:5626"),
                http: format!("n{place}:5627"),
                retired: BTreeMap::new(),
            };
            Node::new(member, pace(&mut dice), outlets.clone())
        });
        let nodes: Vec<_> = nodes.collect();
        let now_us = 1_000_000;
        let pods = (0..PODS).map(|number| {
            let pace = pace(&mut dice);
            Pod::new(number, count, pace, dice.random(), now_us)
        });
        let pods = pods.collect();
        let mut world = Self {
            now_us,
            steps: 0,
            tame,
            nodes,
            pods,
            outlets,
            mail: BTreeMap::new(),
            mailed: 0,
            last_due: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            faults: Faults::new(count),
            apps: Apps::default(),
            beliefs: Beliefs::default(),
            leader: None,
            known_index: 0,
            expired: 0,
            seen: Seen::default(),
            trace: Trace::default(),
            dice,
        };
        for node in 0..count {
            world.start(node);
        }
        world
    }

    /// The process of a node begins. The first one gives a new cell its members.
    pub fn start(&mut self, node: usize) {
        let founders = (node == 0).then(|| {
            let members = self.nodes.iter().take(3).map(|node| node.member.clone());
            members.collect()
        });
        self.nodes[node].start(self.now_us, founders);
    }

    pub fn crash(&mut self, node: usize) {
        if self.nodes[node].is_up() {
            let lost = self.nodes[node].crash(&mut self.dice);
            self.seen.add("crashes", 1);
            self.seen.add("writes_lost", lost);
        }
    }

    /// Five milliseconds pass.
    pub fn step(&mut self) {
        self.now_us += STEP_US;
        self.steps += 1;
        self.deliver();
        for node in 0..self.nodes.len() {
            self.play(node);
        }
        self.collect();
        for pod in 0..PODS {
            if self.pods[pod].paused_until <= self.now_us {
                self.connect(pod);
                let sent = self.pods[pod].work(self.now_us);
                for (stream, frame) in sent {
                    self.send(stream, frame);
                }
            }
        }
        self.judge();
    }

    /// A node's disk ends syncs, and its process runs.
    fn play(&mut self, node: usize) {
        let now = self.now_us;
        let one = &mut self.nodes[node];
        if one.paused_until <= now {
            let longest = if one.slow_until > now { 400_000 } else { 8_000 };
            let dice = &mut self.dice;
            let broke = one
                .disk
                .tick(now, || dice.random_range(500..longest), one.disk_dies);
            if broke {
                self.seen.add("disks_died", 1);
            }
        }
        if let Some(why) = self.nodes[node].play(now) {
            assert!(
                self.nodes[node].disk_dies,
                "at {now}: node {node} stopped by itself: {why}"
            );
            self.crash(node);
            self.faults.down_until[node] = now + 500_000;
        }
        let awake = self.nodes[node].paused_until <= now;
        if awake && self.nodes[node].serves() && self.leader != Some(node) {
            self.leader = Some(node);
            self.seen.add("leaders", 1);
        }
    }

    /// Everything that must hold, does.
    fn judge(&mut self) {
        let now = self.now_us;
        let desks = self
            .pods
            .iter()
            .map(|pod| (pod.number, &pod.desk, pod.clock(now)));
        let new = match self.beliefs.look(desks) {
            Ok(new) => new,
            // Beyond the bound of clocks beliefs may clash: then tokens alone protect.
            Err(_) if !self.tame => {
                self.seen.add("clashes", 1);
                Vec::new()
            }
            Err(broken) => panic!("at {now}: {broken}"),
        };
        for pod in &self.pods {
            let mode = pod.desk.mode(pod.clock(now));
            match mode {
                SidecarMode::Normal => {}
                SidecarMode::Jeopardy => self.seen.add("jeopardy_steps", 1),
                SidecarMode::ReadOnly => self.seen.add("read_only_steps", 1),
            }
        }
        for (_, view) in &new {
            self.seen.add("grants", 1);
            self.seen.add("local", u64::from(view.local));
        }
        self.apps.granted(now, &new, &mut self.dice);
        self.apps.use_what_is_guarded(now);
        let lost = self.apps.lost();
        assert_eq!(
            lost, 0,
            "at {now}: an update was lost although tokens were compared"
        );
        if self.tame {
            self.judge_sessions();
        }
        if self.steps.is_multiple_of(COMPARE_EVERY) {
            self.compare();
        }
    }

    fn judge_sessions(&mut self) {
        let trusted = self.pods.iter().filter_map(|pod| {
            let session = alive::trusted(&pod.desk, pod.clock(self.now_us))?;
            Some((pod.number, session))
        });
        let trusted: Vec<_> = trusted.collect();
        let applied = |node: &Node| node.table(|_, index| index);
        let Some(newest) = self.nodes.iter().max_by_key(|node| applied(node)) else {
            return;
        };
        // After a restart of all the newest may still be behind what it once was.
        let index = applied(newest).unwrap_or(0);
        if index >= self.known_index {
            self.known_index = index;
            let checked = newest.table(|table, _| alive::check(&trusted, table));
            let checked = checked.unwrap_or(Ok(()));
            checked.unwrap_or_else(|broken| panic!("at {}: {broken}", self.now_us));
        }
    }

    /// Nodes that have applied as much have the same table.
    pub fn compare(&mut self) {
        let tables = self.nodes.iter().enumerate().filter_map(|(number, node)| {
            let (table, index) = node.table(|table, index| (table.clone(), index))?;
            Some((number, index, table))
        });
        let tables: Vec<_> = tables.collect();
        let expired = tables.iter().map(|(_, _, table)| {
            let ended = table.history().filter(|(_, it)| is_expiry(&it.event));
            ended.count() as u64
        });
        self.expired = self.expired.max(expired.max().unwrap_or(0));
        agreement::check(&tables).unwrap_or_else(|broken| panic!("at {}: {broken}", self.now_us));
    }
}

fn is_expiry(event: &HistoryEvent) -> bool {
    matches!(event, HistoryEvent::Ended { cause, .. } if *cause == EndCause::SessionExpired)
}
