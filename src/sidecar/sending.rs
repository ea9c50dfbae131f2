//! PURE: the next frame for a node: all that has gathered for it since the last one left.
//! In: the stream that can take a frame, now. Out: the frame. Never: an operation to a node that does not
//! serve, or before the session is attached to that very stream.

use super::desk::Desk;
use super::frame::FrameOut;
use super::hold::{Hold, Stage};
use super::outbox::AskOf;
use super::session::StreamRef;
use super::spot::Asked;
use super::view::Prefix;
use crate::table::command::{Acquire, Operation, Want};
use crate::table::id::Seq;
use crate::world::clock::Instant;

impl Desk {
    /// Whether [`Desk::take_frame`] would have something for this stream.
    pub fn has_frame(&self, now: Instant, stream: StreamRef) -> bool {
        let leads = self.home() == Some(stream);
        let session = leads
            && (self.session.wants_open(stream, now)
                || (self.session.is_attached_to(stream)
                    && (self.session.wants_renewal(now) || self.outbox.has_unsent())));
        self.is_current(stream) && (session || self.reads.wants(stream, leads))
    }

    /// The next frame. `now` must have been read right before this, and the frame must leave after: the
    /// safe deadline counts from it.
    pub fn take_frame(&mut self, now: Instant, stream: StreamRef) -> Option<FrameOut> {
        if !self.is_current(stream) {
            return None;
        }
        let leads = self.home() == Some(stream);
        let mut frame = FrameOut {
            queries: self.reads.fill(stream, leads),
            ..FrameOut::default()
        };
        if leads && self.session.wants_open(stream, now) {
            frame.open = Some(self.session.open_on(stream));
            self.quorum.doubt(now);
        }
        if leads && self.session.is_attached_to(stream) {
            if self.session.wants_renewal(now) {
                frame.renewals.extend(self.session.renew(now));
                self.quorum.doubt(now);
            }
            self.fill_operations(now, &mut frame);
        }
        if frame.is_empty() {
            return None;
        }
        self.frames_sent += 1;
        Some(frame)
    }

    /// Whether this is the newest stream to its node.
    pub(super) fn is_current(&self, stream: StreamRef) -> bool {
        let link = self.links.get(stream.node);
        link.is_some_and(|link| link.stream == Some(stream.number))
    }

    fn fill_operations(&mut self, now: Instant, frame: &mut FrameOut) {
        let Some(session) = self.session.id() else {
            return;
        };
        let (holds, by_seq, prefix) = (&mut self.holds, &mut self.by_seq, &self.prefix);
        let (spots, habits) = (&mut self.spots, &mut self.habits);
        let traces = &mut frame.traces;
        let ask = |of: AskOf, seq: Seq| match of {
            AskOf::Claim(key) => {
                let hold = holds.get_mut(&key).filter(|hold| hold.spot.is_none())?;
                let operation = acquire(hold, prefix)?;
                hold.asked_to_wait = hold.would_wait();
                hold.seq = Some(seq);
                hold.absent = false; // that was said of an earlier request
                by_seq.insert(seq, key);
                traces.extend(hold.trace.parent.clone().map(|parent| (seq, parent)));
                Some(operation)
            }
            AskOf::Spot(id) => {
                let spot = spots.get(id).filter(|spot| spot.is_unsent())?;
                let named = spot.best()?.key;
                let mode = spot.best()?.mode;
                let waits = spot.waiting().any(|key| holds[&key].would_wait());
                let hold = &holds[&named];
                let acquire = Acquire {
                    priority: spot.priority(),
                    locks: vec![Want {
                        name: prefix.add(spot.name()).ok()?,
                        mode,
                    }],
                    ..request(hold, prefix, waits)?
                };
                let block = habits.block(spot.name(), now);
                let asked = Asked {
                    seq,
                    named,
                    priority: acquire.priority,
                    mode,
                    waits,
                    absent: false,
                    recalled: None,
                };
                spots.sent(id, asked);
                traces.extend(hold.trace.parent.clone().map(|parent| (seq, parent)));
                Some(match block {
                    0 => Operation::Acquire(acquire),
                    block => Operation::Delegate { acquire, block },
                })
            }
        };
        let generation = self.session.generation();
        frame.operations = self.outbox.fill(session, generation, ask);
    }
}

/// The request of a claim; `None` if it was given up meanwhile.
fn acquire(hold: &Hold, prefix: &Prefix) -> Option<Operation> {
    if !matches!(hold.stage, Stage::Asking) {
        return None;
    }
    Some(Operation::Acquire(request(
        hold,
        prefix,
        hold.would_wait(),
    )?))
}

/// A claim as the core is asked for it.
fn request(hold: &Hold, prefix: &Prefix, wait: bool) -> Option<Acquire> {
    let ask = &hold.ask;
    Some(Acquire {
        claim_id: hold.id.clone(),
        owner: hold.owner(),
        locks: prefix.wants(ask).ok()?,
        wait,
        priority: ask.priority,
        metadata: ask.metadata.clone(),
        value: hold.value.clone().or_else(|| ask.value.clone()),
        trace_id: hold.trace.id.clone(),
    })
}
