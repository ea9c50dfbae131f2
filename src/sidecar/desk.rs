//! Hop 3, PURE: decides all that happens to the claims of this sidecar: (now, event) -> actions.
//! In: calls of apps (`asking.rs`), news of cores (`hearing.rs`), timers (`firing.rs`). Out: answers to
//! callers, frames for nodes (`sending.rs`). Never: a clock, a socket, a grant that is not certain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::frame::ReadReply;
use super::graves::Graves;
use super::habit::Habits;
use super::handle::{
    ClaimAnswer, ClaimError, ClaimEventKind, ClaimView, Read, ReleaseAnswer, SidecarMode,
    Unavailable,
};
use super::hold::{CallerId, Hold, Key, Stage, min};
use super::keeping::{Inherited, Unsaved};
use super::lease::Caution;
use super::memory::Memory;
use super::mode::Quorum;
use super::outbox::Outbox;
use super::reads::Reads;
use super::retry::Estimates;
use super::session::{Session, StreamRef, Terms};
use super::sight::Sight;
use super::spot::Spots;
use super::timers::Wheel;
use super::view::{Light, Prefix, view};
use crate::table::id::{ClaimId, OwnerId, Seq, SessionKey};
use crate::world::clock::Instant;

/// Most live claims; one more is refused as overload. A bound on memory, far above what one pod holds.
pub const CLAIMS_MAX: usize = 2_000_000;
/// An ended claim is remembered at least so long.
pub const REMEMBERED_LEAST: Duration = Duration::from_secs(60);
/// Timers that one step fires, so that a mass expiry does not hold up a request; the rest follow in the
/// next step, and a claim that is asked for is looked at first.
const TIMERS_PER_STEP_MAX: usize = 4_096;

/// How the desk is set up.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How many core nodes there are.
    pub nodes: usize,
    /// TTL of the session.
    pub session_ttl: Duration,
    /// Who this sidecar is, for people.
    pub identity: Arc<str>,
    /// How far clocks are trusted.
    pub caution: Caution,
    /// How long requests are held while no quorum is seen.
    pub no_quorum_after: Duration,
    /// Before every lock name.
    pub prefix: Arc<str>,
    /// Whether locks may stay here after their release.
    pub delegate: bool,
    /// Whether what a later process must know is to be written down.
    pub records: bool,
    /// Of all random numbers: session keys and jitter.
    pub seed: [u8; 32],
}

/// What a caller is told at last.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To a claim.
    Claim(Result<ClaimAnswer, ClaimError>),
    /// To a release.
    Release(Result<ReleaseAnswer, ClaimError>),
    /// To a renewal with a value.
    Renew(Result<ClaimView, ClaimError>),
    /// The claim it watches has changed: look again.
    Changed,
    /// To a read.
    Read(Result<Read<ReadReply>, Unavailable>),
    /// The session is closed.
    Closed,
}

/// At once, or later to that caller.
#[derive(Debug, PartialEq)]
pub enum Now<T> {
    /// Decided.
    Done(T),
    /// An [`Answer`] to this caller follows.
    Later(CallerId),
}

/// One core node as the desk sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    /// The stream that stands.
    pub(super) stream: Option<u64>,
    /// It says that it leads.
    pub(super) serving: bool,
    /// In this term.
    pub(super) term: u64,
}

/// What the wheel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// Look at this claim.
    Claim(Key),
    /// This read's time is over.
    Read(u64),
}

/// All claims of this sidecar, its session, and what is under way.
#[derive(Debug)]
pub struct Desk {
    pub(super) prefix: Prefix,
    pub(super) rng: StdRng,
    pub(super) started: Instant,
    pub(super) holds: BTreeMap<Key, Box<Hold>>,
    pub(super) by_id: BTreeMap<ClaimId, Key>,
    /// Claims of each owner that was named, while they live.
    pub(super) by_owner: BTreeMap<OwnerId, BTreeSet<Key>>,
    /// Locks that this sidecar asks for as one, or has.
    pub(super) spots: Spots,
    pub(super) habits: Habits,
    /// Some claims could not be granted only because it was not certain that they may.
    pub(super) stalled: bool,
    /// Claims that the core knows, by its name for them.
    pub(super) by_seq: BTreeMap<Seq, Key>,
    /// Ended claims that nothing is due for but to be remembered.
    pub(super) graves: Graves,
    /// Ended claims that may go there.
    pub(super) dying: Vec<Key>,
    pub(super) wheel: Wheel<Timer>,
    pub(super) session: Session,
    pub(super) outbox: Outbox,
    pub(super) quorum: Quorum,
    pub(super) reads: Reads,
    pub(super) memory: Memory,
    pub(super) links: Vec<Link>,
    pub(super) estimates: Estimates,
    /// Calls that wait for any change of a claim.
    pub(super) watchers: BTreeMap<Key, Vec<CallerId>>,
    /// Calls that wait for a release to be applied, by what it ends.
    pub(super) releasing: BTreeMap<Seq, Vec<CallerId>>,
    pub(super) answers: Vec<(CallerId, Answer)>,
    /// What the present step has set off, if anybody looks.
    pub(super) sights: Option<Vec<Sight>>,
    pub(super) unsaved: Unsaved,
    /// Until the first attach after an earlier process.
    pub(super) inherited: Option<Inherited>,
    pub(super) draining: bool,
    pub(super) granted: u64,
    pub(super) queued: u64,
    pub(super) frames_sent: u64,
    pub(super) granted_locally: u64,
    next_key: u64,
    next_caller: u64,
}

impl Desk {
    /// No claims, no session, nothing known of the core.
    pub fn new(rules: Rules, now: Instant) -> Self {
        let mut rng = StdRng::from_seed(rules.seed);
        let terms = Terms {
            ttl: rules.session_ttl,
            identity: rules.identity.clone(),
            caution: rules.caution,
            // Two may be lost. That the quorum is lost, the leader says; that the leader is, its silence.
            renew_every: rules.session_ttl / 3,
        };
        let key = SessionKey(rng.random());
        Self {
            prefix: Prefix(rules.prefix.clone()),
            started: now,
            holds: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            spots: Spots::default(),
            habits: Habits::new(rules.delegate),
            stalled: false,
            by_seq: BTreeMap::new(),
            graves: Graves::default(),
            dying: Vec::new(),
            wheel: Wheel::new(now),
            session: Session::new(terms, key),
            outbox: Outbox::new(Seq(0)),
            quorum: Quorum::new(now, rules.no_quorum_after),
            reads: Reads::default(),
            memory: Memory::default(),
            links: vec![Link::default(); rules.nodes],
            estimates: Estimates::default(),
            watchers: BTreeMap::new(),
            releasing: BTreeMap::new(),
            answers: Vec::new(),
            sights: None,
            unsaved: Unsaved::new(rules.records),
            inherited: None,
            draining: false,
            granted: 0,
            queued: 0,
            frames_sent: 0,
            granted_locally: 0,
            next_key: 0,
            next_caller: 0,
            rng,
        }
    }

    /// Does all that is due. To be called first in every step, so that each decision sees the world as it
    /// is at `now`.
    pub fn advance(&mut self, now: Instant) {
        self.bury(now);
        for _ in 0..TIMERS_PER_STEP_MAX {
            match self.wheel.pop(now) {
                Some(Timer::Claim(key)) => self.fire_claim(now, key),
                Some(Timer::Read(id)) => self.fire_read(now, id),
                None => break,
            }
        }
        self.fire_spots(now);
        self.fire_session(now);
    }

    /// When to call [`Desk::advance`] again at the latest.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let session = min(self.session.due(now), self.outbox.resend_at());
        let spots = min(self.wheel.next(), self.spots_due());
        min(min(spots, self.quorum.due()), session)
    }

    /// The answers that have become due since the last call.
    pub fn take_answers(&mut self) -> Vec<(CallerId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// Claims that are not over.
    pub fn live(&self) -> u64 {
        self.granted + self.queued
    }

    /// What a stop waits for: live claims, and then those that linger.
    pub fn unfinished(&self) -> u64 {
        match self.live() {
            0 => self.lingering(),
            live => live,
        }
    }

    /// Claims that are over for their apps, and hold on for their `min_hold`. Looks at all that is remembered.
    pub fn lingering(&self) -> u64 {
        let stages = self.holds.values().map(|hold| &hold.stage);
        let lingers =
            |stage: &&Stage| matches!(stage, Stage::Ended(ended) if ended.release_at.is_some());
        stages.filter(lingers).count() as u64
    }

    /// The newest stream to each node to which one stands.
    pub fn streams(&self) -> impl Iterator<Item = StreamRef> {
        (0..self.links.len()).filter_map(|node| self.stream_of(node))
    }

    pub(super) fn stream_of(&self, node: usize) -> Option<StreamRef> {
        let number = self.links.get(node)?.stream?;
        Some(StreamRef { node, number })
    }

    /// Whether no new claims are taken any more.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether the core has answered all that was sent and nothing waits to be.
    pub fn is_settled(&self) -> bool {
        self.outbox.is_idle() && self.inherited.is_none()
    }

    /// What comes before every lock name.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// How long a call is held while no quorum is seen.
    pub fn no_quorum_after(&self) -> Duration {
        self.quorum.bound()
    }

    /// The node that serves the shard, and the stream to it.
    pub(super) fn home(&self) -> Option<StreamRef> {
        let serving = self
            .links
            .iter()
            .enumerate()
            .filter(|(_, link)| link.serving);
        serving
            .filter_map(|(node, link)| Some((link.term, node, link.stream?)))
            .max()
            .map(|(_, node, number)| StreamRef { node, number })
    }

    pub(super) fn mode_at(&self, now: Instant) -> SidecarMode {
        self.quorum.mode(now, self.session.is_in_jeopardy(now))
    }

    pub(super) fn light(&self, now: Instant) -> Light {
        Light {
            now,
            certain: self.session.certain(now),
            mode: self.mode_at(now),
        }
    }

    pub(super) fn view(&self, now: Instant, hold: &Hold) -> ClaimView {
        view(hold, self.light(now))
    }

    /// Why nothing can be had of the core at the moment.
    pub(super) fn unavailable(&mut self) -> Unavailable {
        let retry_after = self.estimates.unavailable(&mut self.rng);
        if self.reaches_any() {
            Unavailable::NoQuorum { retry_after }
        } else {
            Unavailable::CoreUnreachable { retry_after }
        }
    }

    /// Whether a stream to any core node stands.
    pub(super) fn reaches_any(&self) -> bool {
        self.links.iter().any(|link| link.stream.is_some())
    }

    pub(super) fn overloaded(&mut self) -> Unavailable {
        Unavailable::Overloaded {
            retry_after: self
                .estimates
                .overloaded(self.outbox.delay(), &mut self.rng),
        }
    }

    pub(super) fn new_key(&mut self) -> Key {
        self.next_key += 1;
        Key(self.next_key)
    }

    pub(super) fn new_caller(&mut self) -> CallerId {
        self.next_caller += 1;
        CallerId(self.next_caller)
    }

    pub(super) fn answer(&mut self, caller: CallerId, answer: Answer) {
        self.answers.push((caller, answer));
    }

    /// Answers all calls that wait for a claim.
    pub(super) fn answer_claim(&mut self, key: Key, result: &Result<ClaimAnswer, ClaimError>) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        hold.telling = u32::try_from(hold.callers.len()).unwrap_or(u32::MAX);
        for caller in std::mem::take(&mut hold.callers) {
            let answer = Answer::Claim(result.clone());
            self.answers.push((caller.id, answer));
        }
    }

    /// Notes a change of a claim and wakes those who watch it.
    pub(super) fn note(&mut self, key: Key, kind: ClaimEventKind) {
        if let Some(hold) = self.holds.get_mut(&key) {
            hold.journal.note(kind);
            self.unsaved(key);
        }
        for caller in self.watchers.remove(&key).unwrap_or_default() {
            self.answer(caller, Answer::Changed);
        }
    }

    /// Moves a claim to another stage and keeps count.
    pub(super) fn set_stage(&mut self, key: Key, stage: Stage) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        let old = std::mem::replace(&mut hold.stage, stage);
        let new = kind_of(&hold.stage);
        self.unsaved(key);
        let (was_held, was_ended) = kind_of(&old);
        let (is_held, is_ended) = new;
        self.granted = self.granted + u64::from(is_held) - u64::from(was_held);
        self.queued =
            self.queued + u64::from(!is_held && !is_ended) - u64::from(!was_held && !was_ended);
    }

    /// Sets the claim's one timer to what it is due for next.
    pub(super) fn rearm(&mut self, key: Key) {
        let Some(hold) = self.holds.get_mut(&key) else {
            return;
        };
        if let Some(timer) = hold.timer.take() {
            self.wheel.cancel(timer);
        }
        if let Some(due) = hold.due() {
            hold.timer = Some(self.wheel.set(due, Timer::Claim(key)));
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a stage holds, and whether it is over.
pub(super) fn kind_of(stage: &Stage) -> (bool, bool) {
    match stage {
        Stage::Held { .. } => (true, false),
        Stage::Ended(_) => (false, true),
        Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. } => (false, false),
    }
}
