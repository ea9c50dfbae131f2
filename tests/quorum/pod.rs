//! One sidecar: the real desk, its clock, what it has written down, its streams to all nodes.
//! In: frames. Out: frames, answers for apps. Never: a frame on a stream that is not up.

use std::collections::VecDeque;
use std::time::Duration;

use sidelock::sidecar::codec;
use sidelock::sidecar::desk::{Answer, Desk, Rules};
use sidelock::sidecar::handle::{ClaimAnswer, ClaimState};
use sidelock::sidecar::saved::Saved;
use sidelock::sidecar::saved_codec;
use sidelock::sidecar::session::StreamRef;
use sidelock::table::id::{ClaimId, ShardId};
use sidelock::wire::v1;
use sidelock::world::clock::Instant;

use crate::laws::refusing::Refusing;
use crate::node::{CELL, Pace, StreamId};
use crate::rules::rules;

/// One sidecar.
pub struct Pod {
    pub number: usize,
    pub desk: Desk,
    pub rules: Rules,
    pub pace: Pace,
    /// What it has written down, for the process after it.
    pub saved: Saved,
    /// Of each node: the stream that is up, and when another may be tried.
    pub links: Vec<PodLink>,
    /// It does nothing until then.
    pub paused_until: u64,
    /// What has come and was not heard yet.
    pub inbox: VecDeque<(StreamId, Option<v1::CoreFrame>)>,
    pub claims: Vec<ClaimId>,
    refusing: Refusing,
}

/// A sidecar's way to one node.
#[derive(Debug, Clone, Default)]
pub struct PodLink {
    pub up: Option<u64>,
    pub last: u64,
    pub retry_at: u64,
    /// Raft id of the node, once it has said so.
    pub peer: u64,
    /// The link has been cut since then.
    pub cut_since: Option<u64>,
}

impl Pod {
    pub fn new(number: usize, nodes: usize, pace: Pace, seed: [u8; 32], now_us: u64) -> Self {
        let rules = rules(number, nodes, seed);
        let now = Instant::from_boot(Duration::from_micros(pace.at(now_us)));
        Self {
            number,
            desk: Desk::new(rules.clone(), now),
            rules,
            pace,
            saved: Saved::default(),
            links: vec![PodLink::default(); nodes],
            paused_until: 0,
            inbox: VecDeque::new(),
            claims: Vec::new(),
            refusing: Refusing::default(),
        }
    }

    /// What its clock shows.
    pub fn clock(&self, now_us: u64) -> Instant {
        Instant::from_boot(Duration::from_micros(self.pace.at(now_us)))
    }

    pub fn stream_up(&mut self, now_us: u64, node: usize) -> StreamId {
        let now = self.clock(now_us);
        let link = &mut self.links[node];
        link.last += 1;
        link.up = Some(link.last);
        link.peer = 0;
        let number = link.last;
        self.desk.stream_up(now, StreamRef { node, number });
        StreamId {
            pod: self.number,
            node,
            number,
        }
    }

    /// The stream to this node is gone, if one was up.
    pub fn stream_down(&mut self, now_us: u64, node: usize) {
        let now = self.clock(now_us);
        if let Some(number) = self.links[node].up.take() {
            self.desk.stream_down(now, StreamRef { node, number });
        }
    }

    /// Hears what has come, does what is due; gives what it sends.
    pub fn work(&mut self, now_us: u64) -> Vec<(StreamId, v1::SidecarFrame)> {
        let now = self.clock(now_us);
        while let Some((id, frame)) = self.inbox.pop_front() {
            if self.links[id.node].up != Some(id.number) {
                continue;
            }
            let Some(frame) = frame else {
                self.stream_down(now_us, id.node);
                continue;
            };
            self.links[id.node].peer = frame.from;
            let frame = codec::decode(frame).expect("our own frame");
            let stream = StreamRef {
                node: id.node,
                number: id.number,
            };
            self.desk.advance(now);
            self.desk.hear(now, stream, frame);
            self.done(now);
        }
        self.desk.advance(now);
        self.done(now);
        let mut sent = Vec::new();
        for node in 0..self.links.len() {
            while let Some(number) = self.links[node].up
                && let stream = (StreamRef { node, number })
                && self.desk.has_frame(now, stream)
                && let Some(frame) = self.desk.take_frame(now, stream)
            {
                self.write_down();
                let frame = codec::encode(&frame, CELL, ShardId(0), self.links[node].peer);
                let id = StreamId {
                    pod: self.number,
                    node,
                    number,
                };
                sent.push((id, frame));
            }
        }
        for (_, answer) in self.desk.take_answers() {
            if let Answer::Claim(Ok(ClaimAnswer::Granted(view))) = answer {
                let state = view.state;
                assert_eq!(state, ClaimState::Granted, "told past its deadline");
            }
        }
        sent
    }

    /// After everything that the desk has heard or was asked.
    pub fn done(&mut self, now: Instant) {
        let looked = self.refusing.look(&self.desk, now);
        looked.unwrap_or_else(|broken| panic!("pod {}: {broken}", self.number));
        self.write_down();
    }

    /// What follows from a step does so after this.
    fn write_down(&mut self) {
        for record in self.desk.take_records() {
            let read = saved_codec::decode(saved_codec::encode(&record)).expect("our own record");
            self.saved.apply(read);
        }
    }

    /// The process dies and another one follows: with the state directory, or on another machine without.
    /// Gives how many holds it goes on with.
    pub fn restart(&mut self, now_us: u64, seed: Option<[u8; 32]>) -> usize {
        for node in 0..self.links.len() {
            self.stream_down(now_us, node);
        }
        self.inbox.clear();
        self.write_down();
        let now = self.clock(now_us);
        let saved = std::mem::take(&mut self.saved);
        if let Some(seed) = seed {
            self.rules.seed = seed;
            self.desk = Desk::new(self.rules.clone(), now);
            self.claims.clear();
            self.refusing = Refusing::default();
        } else {
            self.desk = Desk::taken_over(self.rules.clone(), saved, now);
            let records = self.desk.all_records(now);
            records
                .into_iter()
                .for_each(|record| self.saved.apply(record));
        }
        self.write_down();
        let claims = self.desk.claims(now, 10_000, None).items.into_iter();
        claims.filter(|claim| !claim.tokens.is_empty()).count()
    }
}
