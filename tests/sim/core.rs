//! The core: one leader at a time, which takes frames as `core/session.rs` does, and its real timers.
//! In: frames, time. Out: commands applied to the real table, frames back.
//! Never: a session expired sooner than its TTL after its last renewal.

use rand::Rng;
use sidelock::core::expiry::TICK;
use sidelock::table::command::{
    Command, Effect, EndCause, OpenSession, Operate, OperateReply, Renewal, RenewalReply, Reply,
};
use sidelock::wire::{convert, v1};

use crate::rules::TTL_MS;
use crate::world::{PODS, World, at};

impl World {
    pub fn apply(&mut self, command: &Command) -> Reply {
        self.index += 1;
        let (reply, effects) = self.table.apply(self.index, command);
        self.expiry.applied(at(self.now), &self.table, &effects);
        for effect in &effects {
            match effect {
                Effect::Recalled { .. } => self.seen.recalls += 1,
                Effect::SessionTimer { session, .. } => {
                    self.renewed.insert(*session, self.now);
                }
                Effect::SessionEnded {
                    session,
                    cause: EndCause::SessionExpired,
                } => {
                    let stood = self.now - self.renewed[session];
                    assert!(
                        stood >= TTL_MS,
                        "at {}: session {session} is expired {stood} ms after its renewal",
                        self.now
                    );
                }
                _ => {}
            }
            let Some((session, event)) = convert::event(effect) else {
                continue;
            };
            let pod = self
                .pods
                .iter()
                .position(|pod| pod.session == Some(session));
            if let Some(pod) = pod {
                let frame = v1::CoreFrame {
                    events: vec![event],
                    ..v1::CoreFrame::default()
                };
                self.send_to_pod(pod, frame);
            }
        }
        reply
    }

    /// The leader takes a frame, as `core/session.rs` does.
    pub fn take(&mut self, pod: usize, frame: v1::SidecarFrame) {
        for renewal in frame.renewals {
            let renewal = Renewal::from(renewal);
            if self.pods[pod].session != Some(renewal.session) {
                continue;
            }
            let Reply::Renewed(replies) = self.apply(&Command::Renew(vec![renewal])) else {
                panic!("a renewal was answered otherwise")
            };
            let reply: &RenewalReply = &replies[0];
            let reply = convert::renewal_reply(renewal.session, renewal.number, reply);
            let frame = v1::CoreFrame {
                renewals: vec![reply],
                ..v1::CoreFrame::default()
            };
            self.send_to_pod(pod, frame);
        }
        if let Some(open) = frame.open {
            let open = OpenSession::try_from(open).expect("our own frame");
            let Reply::SessionOpened { session, .. } = self.apply(&Command::OpenSession(open))
            else {
                panic!("an open was answered otherwise")
            };
            self.pods[pod].session = Some(session);
            let attachment = self.table.attachment(session).expect("it is open");
            let frame = v1::CoreFrame {
                attached: Some((&attachment).into()),
                ..v1::CoreFrame::default()
            };
            self.send_to_pod(pod, frame);
        }
        for operation in frame.operations {
            let operate = Operate::try_from(operation).expect("our own frame");
            let seq = operate.seq;
            let reply = if self.pods[pod].session == Some(operate.session) {
                match self.apply(&Command::Operate(operate)) {
                    Reply::Operated(reply) => reply,
                    other => panic!("an operation was answered {other:?}"),
                }
            } else {
                OperateReply::UnknownSession
            };
            let frame = v1::CoreFrame {
                replies: vec![convert::operation_reply(seq, &reply)],
                ..v1::CoreFrame::default()
            };
            self.send_to_pod(pod, frame);
        }
    }

    /// The leader proposes what its timers say, and applies what it has proposed a while ago: renewals may
    /// come between.
    pub fn lead(&mut self) {
        if self.next_tick <= self.now {
            self.next_tick = self.now + u64::try_from(TICK.as_millis()).expect("short");
            for command in self.expiry.tick(at(self.now), Some(self.term)) {
                let due = self.now + self.rng.random_range(0..200);
                self.proposed.push_back((due, command));
            }
        }
        while let Some((due, _)) = self.proposed.front()
            && *due <= self.now
            && let Some((_, command)) = self.proposed.pop_front()
        {
            self.apply(&command);
        }
    }

    /// Another node leads from now on: all streams break, and its timers start anew.
    pub fn elect(&mut self) {
        self.term += 1;
        for pod in 0..PODS {
            self.cut(pod);
        }
        self.proposed.clear();
        self.expiry.reloaded(at(self.now), &self.table);
        self.seen.elections += 1;
    }
}
