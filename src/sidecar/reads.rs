//! PURE: reads on their way: to the leader if they must be current, else to any node that answers.
//! In: questions, answers, links that come and go. Out: what to send where. Never: a stale answer to a
//! question that asked for a current one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::frame::{QueryNews, QueryOut, ReadAsk, ReadRefusal, ReadReply};
use super::handle::{Consistency, Read};
use super::hold::CallerId;
use super::session::StreamRef;
use super::timers::TimerId;
use crate::world::clock::Instant;

/// Most reads under way; one more is refused as overload.
pub const READS_MAX: usize = 10_000;
/// Most questions in one frame.
const FRAME_QUERIES_MAX: usize = 1_000;

/// One read under way.
#[derive(Debug)]
struct Pending {
    ask: ReadAsk,
    caller: CallerId,
    /// Must be current as things stand.
    linearizable: bool,
    /// How current it was asked to be.
    consistency: Consistency,
    /// May be answered from applied state if the leader cannot.
    may_fall_back: bool,
    /// Where it was sent.
    sent_on: Option<StreamRef>,
    /// This one has refused it; another may not.
    refused_by: Option<StreamRef>,
    timer: Option<TimerId>,
}

/// A read that is not under way any more.
#[derive(Debug)]
pub struct Over {
    /// Whom to tell.
    pub caller: CallerId,
    /// What would have ended it.
    pub timer: Option<TimerId>,
    /// What was asked.
    pub ask: ReadAsk,
    /// How current it was asked to be.
    pub consistency: Consistency,
}

/// How a read ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Answered(Read<ReadReply>),
    /// Nobody could decide.
    Unavailable,
    /// The core would not.
    Forbidden,
    /// The sidecar that has the lock does not answer.
    NoDelegate,
}

/// All reads under way, by number.
#[derive(Debug, Default)]
pub struct Reads {
    last: u64,
    pending: BTreeMap<u64, Pending>,
    /// Of `pending`, what is to be sent.
    unsent: BTreeSet<u64>,
    /// Of `pending`, what must be current.
    linearizable: BTreeSet<u64>,
    /// Of `linearizable`, what is answered at once if there is a quorum: that a watched lock does not change
    /// proves nothing.
    pressing: BTreeSet<u64>,
}

impl Reads {
    /// Takes a question; `None` when too many are under way.
    pub fn begin(
        &mut self,
        caller: CallerId,
        ask: ReadAsk,
        consistency: Consistency,
        leader_known: bool,
    ) -> Option<u64> {
        if self.pending.len() >= READS_MAX {
            return None;
        }
        self.last += 1;
        let (linearizable, may_fall_back) = match consistency {
            Consistency::Linearizable => (true, false),
            Consistency::Available => (leader_known, leader_known),
            Consistency::Cached => (false, false),
        };
        if linearizable {
            self.linearizable.insert(self.last);
            if !ask.waits() {
                self.pressing.insert(self.last);
            }
        }
        self.pending.insert(
            self.last,
            Pending {
                ask,
                caller,
                linearizable,
                consistency,
                may_fall_back,
                sent_on: None,
                refused_by: None,
                timer: None,
            },
        );
        self.unsent.insert(self.last);
        Some(self.last)
    }

    /// Remembers the timer that ends this read.
    pub fn set_timer(&mut self, id: u64, timer: TimerId) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.timer = Some(timer);
        }
    }

    /// Whether one is unanswered that a quorum would have answered.
    pub fn has_pressing(&self) -> bool {
        !self.pressing.is_empty()
    }

    /// Whether something would be sent to this node.
    pub fn wants(&self, stream: StreamRef, leads: bool) -> bool {
        let unsent = self.unsent.iter().filter_map(|id| self.pending.get(id));
        unsent.into_iter().any(|read| read.fits(stream, leads))
    }

    /// The questions for this node, noted as sent.
    pub fn fill(&mut self, stream: StreamRef, leads: bool) -> Vec<QueryOut> {
        let mut questions = Vec::new();
        self.unsent.retain(|id| {
            let Some(read) = self.pending.get_mut(id) else {
                return false;
            };
            if questions.len() >= FRAME_QUERIES_MAX || !read.fits(stream, leads) {
                return true;
            }
            read.sent_on = Some(stream);
            questions.push(QueryOut {
                id: *id,
                linearizable: read.linearizable,
                ask: read.ask.clone(),
            });
            false
        });
        questions
    }

    /// A node answered. The caller to tell, unless the read goes on elsewhere.
    pub fn answered(&mut self, stream: StreamRef, news: QueryNews) -> Option<(Over, Outcome)> {
        let read = self.pending.get_mut(&news.id)?;
        if read.sent_on != Some(stream) {
            return None;
        }
        let outcome = match news.reply {
            // Sent as a question for the present; an answer from the past does not do.
            Ok(_) if read.linearizable && !news.linearizable => {
                self.refused(news.id, stream);
                return None;
            }
            Ok(value) => Outcome::Answered(Read {
                value,
                linearizable: news.linearizable,
                age: news.age,
            }),
            Err(ReadRefusal::NotLeader | ReadRefusal::NoQuorum) => {
                self.refused(news.id, stream);
                return None;
            }
            Err(ReadRefusal::Forbidden) => Outcome::Forbidden,
            Err(ReadRefusal::Delegate) if read.may_fall_back => {
                self.refused(news.id, stream);
                return None;
            }
            Err(ReadRefusal::Delegate) => Outcome::NoDelegate,
            Err(ReadRefusal::Invalid) => Outcome::Unavailable,
        };
        self.end(news.id).map(|over| (over, outcome))
    }

    /// A stream is gone: what it was to answer goes elsewhere.
    pub fn stream_down(&mut self, stream: StreamRef) {
        for (id, read) in &mut self.pending {
            if read.sent_on == Some(stream) {
                read.sent_on = None;
                self.unsent.insert(*id);
            }
        }
    }

    /// A node leads (again): it may be asked again.
    pub fn retry(&mut self, stream: StreamRef) {
        let unsent = &self.unsent;
        for id in unsent {
            if let Some(read) = self.pending.get_mut(id) {
                read.refused_by = read.refused_by.filter(|by| *by != stream);
            }
        }
    }

    /// There is no quorum: what may fall back does. Answers what may not.
    pub fn quorum_lost(&mut self) -> Vec<Over> {
        let mut refused = Vec::new();
        self.pressing.clear();
        for id in std::mem::take(&mut self.linearizable) {
            let Some(read) = self.pending.get_mut(&id) else {
                continue;
            };
            if read.may_fall_back {
                read.fall_back();
                self.unsent.insert(id);
            } else {
                refused.push(id);
            }
        }
        refused.into_iter().filter_map(|id| self.end(id)).collect()
    }

    /// Its time is over.
    pub fn expire(&mut self, id: u64) -> Option<Over> {
        self.end(id)
    }

    /// Nobody waits for it any more.
    pub fn forget(&mut self, caller: CallerId) -> Option<TimerId> {
        let mut of_caller = self
            .pending
            .iter()
            .filter(|(_, read)| read.caller == caller);
        let id = of_caller.next().map(|(id, _)| *id)?;
        self.end(id).and_then(|over| over.timer)
    }

    /// How long the core may take by itself.
    pub fn patience(ask: &ReadAsk) -> Duration {
        match ask {
            ReadAsk::Lock { wait, .. } => *wait,
            ReadAsk::Locks { .. }
            | ReadAsk::History { .. }
            | ReadAsk::Verify { .. }
            | ReadAsk::Survey(_)
            | ReadAsk::Break { .. } => Duration::ZERO,
        }
    }

    /// By when there must be an answer.
    pub fn deadline(now: Instant, ask: &ReadAsk, bound: Duration) -> Instant {
        now + Self::patience(ask) + bound
    }

    fn refused(&mut self, id: u64, stream: StreamRef) {
        let Some(read) = self.pending.get_mut(&id) else {
            return;
        };
        self.unsent.insert(id);
        read.sent_on = None;
        if read.linearizable && read.may_fall_back {
            read.fall_back();
            self.linearizable.remove(&id);
            self.pressing.remove(&id);
        } else {
            read.refused_by = Some(stream);
        }
    }

    fn end(&mut self, id: u64) -> Option<Over> {
        let read = self.pending.remove(&id)?;
        self.unsent.remove(&id);
        self.linearizable.remove(&id);
        self.pressing.remove(&id);
        Some(Over {
            caller: read.caller,
            timer: read.timer,
            ask: read.ask,
            consistency: read.consistency,
        })
    }
}

impl Pending {
    fn fits(&self, stream: StreamRef, leads: bool) -> bool {
        self.sent_on.is_none() && self.refused_by != Some(stream) && (leads || !self.linearizable)
    }

    fn fall_back(&mut self) {
        self.linearizable = false;
        self.may_fall_back = false;
        self.sent_on = None;
        self.refused_by = None;
    }
}
