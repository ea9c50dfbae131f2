//! PURE: the next frame for a node: all that has gathered for it since the last one left.
//! In: the stream that can take a frame, now. Out: the frame. Never: an operation to a node that does not
//! serve, or before the session is attached to that very stream.

use super::desk::Desk;
use super::frame::FrameOut;
use super::hold::{Key, Stage};
use super::session::StreamRef;
use super::view::Prefix;
use crate::table::command::{Acquire, Operation};
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
            self.fill_operations(&mut frame);
        }
        (!frame.is_empty()).then_some(frame)
    }

    /// Whether this is the newest stream to its node.
    pub(super) fn is_current(&self, stream: StreamRef) -> bool {
        let link = self.links.get(stream.node);
        link.is_some_and(|link| link.stream == Some(stream.number))
    }

    fn fill_operations(&mut self, frame: &mut FrameOut) {
        let Some(session) = self.session.id() else {
            return;
        };
        let (holds, by_seq, prefix) = (&mut self.holds, &mut self.by_seq, &self.prefix);
        let acquire = |key: Key, seq: Seq| {
            let hold = holds.get_mut(&key)?;
            let operation = acquire(hold, prefix)?;
            hold.asked_to_wait = hold.would_wait();
            hold.seq = Some(seq);
            by_seq.insert(seq, key);
            Some(operation)
        };
        let generation = self.session.generation();
        frame.operations = self.outbox.fill(session, generation, acquire);
    }
}

/// The request of a claim; `None` if it was given up meanwhile.
fn acquire(hold: &super::hold::Hold, prefix: &Prefix) -> Option<Operation> {
    let Stage::Asking { trace_id } = &hold.stage else {
        return None;
    };
    let ask = &hold.ask;
    Some(Operation::Acquire(Acquire {
        claim_id: hold.id.clone(),
        owner: hold.owner(),
        locks: prefix.wants(ask).ok()?,
        wait: hold.would_wait(),
        priority: ask.priority,
        metadata: ask.metadata.clone(),
        value: hold.value.clone().or_else(|| ask.value.clone()),
        trace_id: trace_id.clone(),
    }))
}
