//! What is between sidecars and the core: streams that break, are slow, or carry the words of the dead.
//! In: frames. Out: the same frames, later, in order. Never: a frame altered.

use rand::Rng;
use sidelock::sidecar::codec;
use sidelock::sidecar::desk::Answer;
use sidelock::table::command::{Command, OpenSession, Operate, Renewal};
use sidelock::table::id::ShardId;
use sidelock::wire::v1;

use crate::rules::TTL_MS;
use crate::world::World;

impl World {
    pub fn connect(&mut self, pod: usize) {
        let one = &mut self.pods[pod];
        one.stream += 1;
        one.up = true;
        one.session = None;
        one.to_core.clear();
        one.to_pod.clear();
        let (now, stream) = (self.clock(pod), self.stream(pod));
        self.pods[pod].desk.stream_up(now, stream);
        let leader = v1::CoreFrame {
            leader: Some(v1::Leader {
                id: 1,
                address: String::new(),
                term: self.term,
                serving: true,
                silent_ms: 0,
            }),
            ..v1::CoreFrame::default()
        };
        self.send_to_pod(pod, leader);
    }

    pub fn cut(&mut self, pod: usize) {
        let (now, stream) = (self.clock(pod), self.stream(pod));
        let one = &mut self.pods[pod];
        if one.up {
            one.up = false;
            one.session = None;
            one.to_core.clear();
            one.to_pod.clear();
            one.desk.stream_down(now, stream);
        }
    }

    /// How long a frame is on its way.
    pub fn delay(&mut self, pod: usize) -> u64 {
        let slow = self.pods[pod].slow_until > self.now;
        self.rng.random_range(0..if slow { TTL_MS / 2 } else { 30 })
    }

    pub fn send_to_pod(&mut self, pod: usize, frame: v1::CoreFrame) {
        let delay = self.delay(pod);
        self.trace.frame(self.now, pod, &frame);
        let one = &mut self.pods[pod];
        let after = one.to_pod.back().map_or(0, |(due, _)| *due);
        one.to_pod.push_back(((self.now + delay).max(after), frame));
    }

    /// A frame of a dead process is taken, and nobody hears the answers.
    pub fn take_stale(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.stale.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, frame) in due {
            let renewals = frame.renewals.into_iter().map(Renewal::from).collect();
            self.apply(&Command::Renew(renewals));
            if let Some(open) = frame.open {
                let open = OpenSession::try_from(open).expect("our own frame");
                self.apply(&Command::OpenSession(open));
            }
            for operation in frame.operations {
                let operate = Operate::try_from(operation).expect("our own frame");
                self.apply(&Command::Operate(operate));
            }
        }
    }

    /// One pod hears what has come, does what is due, and sends.
    pub fn work(&mut self, pod: usize) {
        let (now, stream) = (self.clock(pod), self.stream(pod));
        while self.pods[pod].deaf_until <= self.now
            && let Some((due, _)) = self.pods[pod].to_pod.front()
            && *due <= self.now
            && let Some((_, frame)) = self.pods[pod].to_pod.pop_front()
        {
            let frame = codec::decode(frame).expect("our own frame");
            let desk = &mut self.pods[pod].desk;
            desk.advance(now);
            desk.hear(now, stream, frame);
            self.write_down(pod);
            self.check();
        }
        self.pods[pod].desk.advance(now);
        self.write_down(pod);
        while self.pods[pod].up && self.pods[pod].desk.has_frame(now, stream) {
            let Some(frame) = self.pods[pod].desk.take_frame(now, stream) else {
                break;
            };
            self.write_down(pod);
            let delay = self.delay(pod);
            let frame = codec::encode(&frame, "", ShardId(0), 0);
            self.trace.frame(self.now, pod, &frame);
            let one = &mut self.pods[pod];
            let after = one.to_core.back().map_or(0, |(due, _)| *due);
            one.to_core
                .push_back(((self.now + delay).max(after), frame));
        }
        for (_, answer) in self.pods[pod].desk.take_answers() {
            if let Answer::Claim(answer) = answer {
                self.told(pod, &answer);
            }
        }
    }
}
