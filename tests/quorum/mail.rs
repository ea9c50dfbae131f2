//! The network: what is on its way, how long it takes, what is lost. In: calls, answers, frames of streams.
//! Out: the same, later; calls perhaps twice, in any order, or never. Never: a stream's frames out of order.

use rand::Rng;
use sidelock::wire::v1;
use tokio::sync::oneshot;

use crate::node::{StreamId, lock};
use crate::wires::{Answer, Call, Method};
use crate::world::World;

/// A stream over a link that has been cut for so long is given up (keep-alives of the transport).
const KEEP_ALIVE_US: u64 = 3_000_000;

/// One thing on its way.
pub enum Mail {
    Call {
        call: Call,
        twice: bool,
    },
    Answer {
        to: u64,
        sender: oneshot::Sender<Answer>,
        answer: Answer,
    },
    ToCore(StreamId, v1::SidecarFrame),
    /// None when the node has ended the stream.
    ToPod(StreamId, Option<v1::CoreFrame>),
    /// The node learns that the sidecar is gone.
    Hangup(StreamId),
}

impl World {
    fn post(&mut self, due_us: u64, mail: Mail) {
        self.mailed += 1;
        self.mail.insert((due_us, self.mailed), mail);
    }

    /// How long something is on its way between two ends; nodes come first, then pods.
    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let slow = self.faults.slow_link(self.now_us, from, to);
        self.dice
            .random_range(200..if slow { 600_000 } else { 15_000 })
    }

    fn number_of(&self, id: u64) -> usize {
        let found = self.nodes.iter().position(|node| node.id() == id);
        found.expect("a node of this cell")
    }

    /// Whether a pod and a node reach each other, both ways.
    fn reaches(&self, pod: usize, node: usize) -> bool {
        let pod = self.nodes.len() + pod;
        !self.faults.is_cut(self.now_us, pod, node) && !self.faults.is_cut(self.now_us, node, pod)
    }

    /// Takes what nodes have said since the last step.
    pub fn collect(&mut self) {
        for call in self.outlets.calls.take() {
            let (from, to) = (self.number_of(call.from), self.number_of(call.to));
            self.trace.bytes(self.now_us, from, &call.body);
            let (lost, twice) = self.faults.loses_or_doubles(self.now_us, &mut self.dice);
            if lost {
                self.seen.add("messages_lost", 1);
                self.faults.unanswered.push(call.answer);
                continue;
            }
            self.seen.add("messages_doubled", u64::from(twice));
            let due = self.now_us + self.delay(from, to);
            self.post(due, Mail::Call { call, twice });
        }
        let answers = std::mem::take(&mut *lock(&self.outlets.answers));
        for (from, sender, to, answer) in answers {
            let (from, to_node) = (self.number_of(from), self.number_of(to));
            if self.faults.is_cut(self.now_us, from, to_node) {
                self.faults.unanswered.push(sender);
                continue;
            }
            let due = self.now_us + self.delay(from, to_node);
            self.post(due, Mail::Answer { to, sender, answer });
        }
        let frames = std::mem::take(&mut *lock(&self.outlets.frames));
        for (stream, frame) in frames {
            let pod = self.nodes.len() + stream.pod;
            let due = self.due_on(stream, false, stream.node, pod);
            self.post(due, Mail::ToPod(stream, frame));
        }
    }

    /// A sidecar's frame goes out.
    pub fn send(&mut self, stream: StreamId, frame: v1::SidecarFrame) {
        let pod = self.nodes.len() + stream.pod;
        let due = self.due_on(stream, true, pod, stream.node);
        self.post(due, Mail::ToCore(stream, frame));
    }

    /// When what is sent now on this stream comes: after what was sent before, and after the link is whole.
    fn due_on(&mut self, stream: StreamId, up: bool, from: usize, to: usize) -> u64 {
        let delay = self.delay(from, to);
        let healed = self.faults.cut_until(from, to).max(self.now_us);
        let last = self.last_due.entry((stream, up)).or_default();
        *last = (*last).max(healed + delay);
        *last
    }

    /// Whatever has come by now is there.
    pub fn deliver(&mut self) {
        while let Some(entry) = self.mail.first_entry()
            && entry.key().0 <= self.now_us
        {
            let mail = entry.remove();
            self.arrive(mail);
        }
    }

    fn arrive(&mut self, mail: Mail) {
        match mail {
            Mail::Call { call, twice } => {
                let (from, to) = (self.number_of(call.from), self.number_of(call.to));
                if self.faults.is_cut(self.now_us, from, to) {
                    self.faults.unanswered.push(call.answer);
                } else {
                    let snapshot = call.method == Method::Snapshot;
                    self.seen.add("snapshots_sent", u64::from(snapshot));
                    self.nodes[to].take(call, twice);
                }
            }
            Mail::Answer { to, sender, answer } => {
                if self.nodes[self.number_of(to)].is_up() {
                    // A caller that no longer waits has given it up.
                    sender.send(answer).ok();
                }
            }
            Mail::ToCore(stream, frame) => {
                if let Some(upstream) = self.upstreams.get(&stream) {
                    self.trace.frame(self.now_us, stream.pod, &frame);
                    // A process that is gone hears nothing.
                    upstream.unbounded_send(Ok(frame)).ok();
                }
            }
            Mail::ToPod(stream, frame) => {
                if let Some(frame) = &frame {
                    self.trace.frame(self.now_us, stream.pod, frame);
                }
                self.pods[stream.pod].inbox.push_back((stream, frame));
            }
            Mail::Hangup(stream) => {
                self.upstreams.remove(&stream);
            }
        }
    }

    /// A pod's streams: those over dead links or to dead processes break, and others come up.
    pub fn connect(&mut self, pod: usize) {
        let now = self.now_us;
        for node in 0..self.nodes.len() {
            let reaches = self.reaches(pod, node);
            let link = &mut self.pods[pod].links[node];
            if reaches {
                link.cut_since = None;
            } else {
                link.cut_since.get_or_insert(now);
            }
            if let Some(number) = link.up {
                let id = StreamId { pod, node, number };
                let given_up = link
                    .cut_since
                    .is_some_and(|since| now - since > KEEP_ALIVE_US);
                let refused = reaches
                    && self
                        .upstreams
                        .get(&id)
                        .is_none_or(|upstream| upstream.is_closed());
                if given_up || refused {
                    self.hang_up(id);
                }
            } else if reaches && link.retry_at <= now {
                self.pods[pod].links[node].retry_at = now + 200_000;
                if self.nodes[node].paused_until <= now && self.nodes[node].running().is_some() {
                    let id = self.pods[pod].stream_up(now, node);
                    let upstream = self.nodes[node].open(id).expect("it runs");
                    self.upstreams.insert(id, upstream);
                    self.seen.add("streams", 1);
                }
            }
        }
    }

    /// The pod's end is gone at once; the node notices later, and may take what was sent before.
    pub fn hang_up(&mut self, id: StreamId) {
        let now = self.now_us;
        self.pods[id.pod].stream_down(now, id.node);
        self.pods[id.pod].links[id.node].retry_at = now + self.dice.random_range(20_000..300_000);
        let noticed = now + self.dice.random_range(1_000..2_000_000);
        self.post(noticed, Mail::Hangup(id));
    }
}
