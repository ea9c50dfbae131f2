//! PURE: the lease between this sidecar and one shard: opened, renewed, attached to streams, lost.
//! In: what was sent when, what the core acknowledged. Out: the safe deadline. Never: a deadline moved by
//! anything but the acknowledgement of the very renewal whose send time is counted from (design 5.1).

use std::collections::BTreeMap;
use std::time::Duration;

use super::hold::min;
use super::lease::{Caution, left, safe_until};
use super::saved::SavedSession;
use crate::planted::{self, Bug};
use crate::table::command::{OpenSession, Renewal};
use crate::table::id::{Generation, RenewalNumber, SessionId, SessionKey};
use crate::world::clock::Instant;

/// Renewals whose answer is awaited; older ones than these no longer move the deadline.
const RENEWALS_OPEN_MAX: usize = 64;
/// After "not now" from the core, before the next renewal or attach.
pub const PAUSE: Duration = Duration::from_millis(100);

/// One stream to one core node; a later stream to the same node has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamRef {
    /// Place of the node in the sidecar's list.
    pub node: usize,
    /// Which stream to it.
    pub number: u64,
}

/// What is asked of a session.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Its TTL.
    pub ttl: Duration,
    /// Who the sidecar is, for people.
    pub identity: std::sync::Arc<str>,
    /// How far clocks are trusted.
    pub caution: Caution,
    /// Between two renewals: a third of the TTL, or less so that a lost quorum is noticed in time.
    pub renew_every: Duration,
}

/// The session of one shard.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    key: SessionKey,
    id: Option<SessionId>,
    generation: Generation,
    safe_until: Option<Instant>,
    /// A session was open once.
    had_one: bool,
    /// The deadline passed and the claims were told.
    jeopardy_told: bool,
    last: RenewalNumber,
    /// The latest renewal whose answer has come, and with it the recalls told until then.
    heard: RenewalNumber,
    /// Send time of each renewal that may still be acknowledged.
    open: BTreeMap<RenewalNumber, Instant>,
    renew_at: Option<Instant>,
    stream: Binding,
}

/// How the session stands with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// With none, or not before this instant.
    None { not_before: Option<Instant> },
    /// The request is under way on this one.
    Opening(StreamRef),
    /// The core sends and takes all of it on this one.
    Attached(StreamRef),
}

/// What an attach turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// The first of a new session; nothing was before.
    Opened,
    /// The session stood all the time.
    Resumed,
    /// The session before is gone; this is a new one under the same key.
    Replaced,
}

impl Session {
    /// None yet.
    pub fn new(terms: Terms, key: SessionKey) -> Self {
        Self {
            terms,
            key,
            id: None,
            generation: Generation(1),
            safe_until: None,
            had_one: false,
            jeopardy_told: false,
            last: RenewalNumber(0),
            heard: RenewalNumber(0),
            open: BTreeMap::new(),
            renew_at: None,
            stream: Binding::None { not_before: None },
        }
    }

    /// The one that an earlier process had: past its deadline until the core confirms it.
    pub fn taken_over(terms: Terms, saved: SavedSession, now: Instant) -> Self {
        Self {
            id: saved.id,
            generation: Generation(
                saved
                    .generation
                    .0
                    .saturating_add(u32::from(!planted::is(Bug::SameGeneration))),
            ),
            had_one: true,
            safe_until: Some(now),
            jeopardy_told: true,
            ..Self::new(terms, saved.key)
        }
    }

    /// What is asked of it.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What a later process needs to take it over.
    pub fn saved(&self) -> SavedSession {
        SavedSession {
            key: self.key,
            generation: self.generation,
            id: self.id,
        }
    }

    /// The core's id of it.
    pub fn id(&self) -> Option<SessionId> {
        self.id
    }

    /// Who the sidecar is, for people.
    pub fn identity(&self) -> &std::sync::Arc<str> {
        &self.terms.identity
    }

    /// Its generation, as the last attach told.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The safe deadline, if it is ahead: only then may anything be granted or promised.
    pub fn certain(&self, now: Instant) -> Option<Instant> {
        self.safe_until.filter(|until| left(*until, now).is_some())
    }

    /// Past a deadline it once had, and neither confirmed nor lost.
    pub fn is_in_jeopardy(&self, now: Instant) -> bool {
        self.safe_until.is_some() && self.certain(now).is_none()
    }

    /// Whether an earlier session was lost and the next is not open yet.
    pub fn is_between(&self) -> bool {
        self.id.is_none() && self.had_one
    }

    /// Whether everything of this session goes over this stream.
    pub fn is_attached_to(&self, stream: StreamRef) -> bool {
        self.stream == Binding::Attached(stream)
    }

    /// Whether the request is under way on this stream.
    pub fn is_opening_on(&self, stream: StreamRef) -> bool {
        self.stream == Binding::Opening(stream)
    }

    /// Whether it is attached to any stream.
    pub fn is_attached(&self) -> bool {
        matches!(self.stream, Binding::Attached(_))
    }

    /// Whether renewals are sent and not acknowledged.
    pub fn has_open_renewals(&self) -> bool {
        !self.open.is_empty()
    }

    /// The request to put on this stream now, if it is not under way or done.
    pub fn wants_open(&self, stream: StreamRef, now: Instant) -> bool {
        match self.stream {
            Binding::None { not_before } => not_before.is_none_or(|at| at <= now),
            Binding::Opening(on) | Binding::Attached(on) => on != stream,
        }
    }

    /// Makes the request; the answer to an earlier one on another stream is void from now on.
    pub fn open_on(&mut self, stream: StreamRef) -> OpenSession {
        self.stream = Binding::Opening(stream);
        OpenSession {
            key: self.key,
            ttl_ms: u32::try_from(self.terms.ttl.as_millis()).unwrap_or(u32::MAX),
            identity: self.terms.identity.clone(),
            generation: self.generation,
            principal: None,
        }
    }

    /// The core answered the request; `None` if that was not asked for on this stream.
    /// The deadline does not move: a request that found an open session started no timer.
    pub fn attached(
        &mut self,
        now: Instant,
        stream: StreamRef,
        id: SessionId,
        generation: Generation,
        last: RenewalNumber,
    ) -> Option<Attach> {
        if self.stream != Binding::Opening(stream) {
            return None;
        }
        self.stream = Binding::Attached(stream);
        let before = self.id.replace(id);
        self.had_one = true;
        self.generation = generation;
        let attach = match before {
            None => Attach::Opened,
            Some(before) if before == id => Attach::Resumed,
            Some(_) => Attach::Replaced,
        };
        if attach == Attach::Replaced {
            self.forget_deadlines();
        }
        self.last = self.last.max(last);
        // The attach lists all recalls.
        self.heard = last;
        // Acknowledgements of what went over earlier streams are void.
        self.open.clear();
        self.renew_at = Some(now);
        Some(attach)
    }

    /// Nothing goes over any stream; try again from `not_before` on.
    pub fn detach(&mut self, not_before: Option<Instant>) {
        self.stream = Binding::None { not_before };
        self.renew_at = None;
        self.open.clear();
    }

    /// Whether a renewal should be in the next frame.
    pub fn wants_renewal(&self, now: Instant) -> bool {
        self.is_attached() && self.renew_at.is_some_and(|at| at <= now)
    }

    /// A renewal that leaves right now: `now` must have been read just before it is handed to the stream.
    pub fn renew(&mut self, now: Instant) -> Option<Renewal> {
        let session = self.id?;
        self.last = RenewalNumber(self.last.0.saturating_add(1));
        self.open.insert(self.last, now);
        if self.open.len() > RENEWALS_OPEN_MAX {
            self.open.pop_first();
        }
        self.renew_at = Some(now + self.terms.renew_every);
        Some(Renewal {
            session,
            generation: self.generation,
            number: self.last,
            heard: self.heard,
        })
    }

    /// The core acknowledged that renewal with this TTL. True if the session is certain now and its claims
    /// had been told of jeopardy.
    pub fn renewed(&mut self, now: Instant, number: RenewalNumber, ttl: Duration) -> bool {
        let Some(sent) = self.open.remove(&number) else {
            return false;
        };
        self.heard = self.heard.max(number);
        // An earlier one that is still open can only state an earlier deadline.
        self.open.retain(|open, _| *open > number);
        let newest = self.open.values().next_back().copied();
        let from = match newest {
            _ if planted::is(Bug::DeadlineFromReceive) => now,
            Some(newest) if planted::is(Bug::AnyAckMovesDeadline) => newest,
            Some(_) | None => sent,
        };
        let until = safe_until(from, ttl, self.terms.caution);
        self.safe_until = Some(self.safe_until.map_or(until, |before| before.max(until)));
        if self.certain(now).is_some() && self.jeopardy_told {
            self.jeopardy_told = false;
            return true;
        }
        false
    }

    /// Sends a renewal no later than this: something is suspicious, or the core said "not now".
    pub fn renew_by(&mut self, at: Instant) {
        if self.is_attached() {
            self.renew_at = min(self.renew_at, Some(at));
        }
    }

    /// True once, when the deadline has passed: the claims must be told.
    pub fn falls_into_jeopardy(&mut self, now: Instant) -> bool {
        let falls = !self.jeopardy_told && self.is_in_jeopardy(now);
        self.jeopardy_told |= falls;
        falls
    }

    /// The core does not know it any more. The next one opens with a fresh key.
    pub fn lost(&mut self, key: SessionKey) {
        self.key = key;
        self.generation = Generation(1);
        self.id = None;
        self.forget_deadlines();
        self.detach(None);
    }

    /// When something is to be done: a renewal, jeopardy to be told, another attempt to attach. What is
    /// due already waits for the stream, not for the clock.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let jeopardy = self.safe_until.filter(|_| !self.jeopardy_told);
        let retry = match self.stream {
            Binding::None { not_before } => not_before,
            Binding::Opening(_) | Binding::Attached(_) => None,
        };
        let ahead = |at: &Instant| *at > now;
        min(
            min(self.renew_at.filter(ahead), jeopardy),
            retry.filter(ahead),
        )
    }

    fn forget_deadlines(&mut self) {
        self.safe_until = None;
        self.jeopardy_told = false;
        self.last = RenewalNumber(0);
        self.heard = RenewalNumber(0);
        self.open.clear();
    }
}
