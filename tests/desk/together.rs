//! Several sidecars and one lock table on virtual time: what each believes never contradicts the others.
//! In: a seed. Out: the first moment at which two incompatible claims could both believe that they hold,
//! or a token that goes back. Real desks, the real table, and the real wire format between them; only the
//! network, the clock and the log are played.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sidelock::core::expiry::{Expiry, TICK};
use sidelock::sidecar::codec;
use sidelock::sidecar::desk::{Answer, Desk, Now, Rules};
use sidelock::sidecar::handle::{ClaimAnswer, ClaimAsk, ClaimError, ClaimState};
use sidelock::sidecar::lease::Caution;
use sidelock::sidecar::saved::Saved;
use sidelock::sidecar::saved_codec;
use sidelock::sidecar::session::StreamRef;
use sidelock::table::Table;
use sidelock::table::command::{
    Command, Effect, EndCause, Mode, OpenSession, Operate, OperateReply, Renewal, RenewalReply,
    Reply, Want,
};
use sidelock::table::id::{ClaimId, LockName, OwnerId, SessionId, ShardId};
use sidelock::table::laws;
use sidelock::wire::{convert, v1};
use sidelock::world::clock::Instant;

const TTL_MS: u64 = 3_000;
const STEP_MS: u64 = 5;
const LOCKS: [&str; 4] = ["a", "b", "c", "pool"];
/// Of these locks, one is a semaphore: mostly with the first of these limits.
const POOL: &str = "pool";
const LIMITS: [u32; 2] = [3, 5];
const PODS: usize = 3;
/// The rate of a sidecar's clock differs from the core's by no more than this, which is within the bound.
const RATE_PPM_MAX: i64 = 99_000;
const RHO_PPM: u32 = 100_000;

/// One sidecar and its stream to the core.
struct Pod {
    desk: Desk,
    rules: Rules,
    /// Its clock began elsewhere, and goes faster by so many parts per million.
    began_ms: u64,
    faster_ppm: i64,
    /// What it has written down, for the process after it.
    saved: Saved,
    stream: u64,
    up: bool,
    /// Whether the core serves its session on this stream.
    session: Option<SessionId>,
    to_core: VecDeque<(u64, v1::SidecarFrame)>,
    to_pod: VecDeque<(u64, v1::CoreFrame)>,
    /// Frames to it are held up until then, and those from it are not.
    deaf_until: u64,
    /// It does nothing until then.
    paused_until: u64,
    /// Nobody can be reached from it until then.
    cut_until: u64,
    /// Frames take long both ways until then.
    slow_until: u64,
    claims: Vec<ClaimId>,
}

/// What a run has seen, so that a test can tell that it saw anything.
#[derive(Debug, Default)]
pub struct Seen {
    pub grants: u64,
    pub local: u64,
    /// Of those, permits of a semaphore.
    pub permits: u64,
    pub recalls: u64,
    pub lost: u64,
    /// Holds that a later process went on with.
    pub inherited: u64,
    pub elections: u64,
}

struct World {
    now: u64,
    rng: StdRng,
    table: Table,
    index: u64,
    pods: Vec<Pod>,
    /// Frames of processes that have died, still on their way.
    stale: Vec<(u64, v1::SidecarFrame)>,
    /// The timers of the leader, and its term.
    expiry: Expiry,
    term: u64,
    next_tick: u64,
    /// It does nothing until then.
    stalled_until: u64,
    /// What it has proposed and has not applied yet.
    proposed: VecDeque<(u64, Command)>,
    known: BTreeSet<(usize, ClaimId)>,
    /// Of each lock: the greatest token seen, and the greatest exclusive one.
    tokens: BTreeMap<String, (u64, u64)>,
    /// When each session was last renewed.
    renewed: BTreeMap<SessionId, u64>,
    next_claim: u64,
    seen: Seen,
}

fn at(ms: u64) -> Instant {
    Instant::from_boot(Duration::from_millis(ms))
}

/// What a clock shows that began at another time and goes faster, or slower.
fn clock(now_ms: u64, began_ms: u64, faster_ppm: i64) -> Instant {
    let us = i64::try_from(now_ms * 1_000).expect("a short run");
    let shown = us + us * faster_ppm / 1_000_000;
    Instant::from_boot(
        Duration::from_millis(began_ms) + Duration::from_micros(shown.unsigned_abs()),
    )
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let pods = (0..PODS).map(|pod| {
            let rules = Rules {
                nodes: 1,
                session_ttl: Duration::from_millis(TTL_MS),
                identity: Arc::from(format!("pod-{pod}")),
                caution: Caution {
                    rho_ppm: RHO_PPM,
                    margin: Duration::from_millis(20),
                },
                no_quorum_after: Duration::from_millis(1_000),
                prefix: Arc::from(""),
                delegate: true,
                records: true,
                seed: rng.random(),
            };
            let (began_ms, faster_ppm) = (
                rng.random_range(0..100_000),
                rng.random_range(-RATE_PPM_MAX..=RATE_PPM_MAX),
            );
            let now = clock(1_000, began_ms, faster_ppm);
            Pod {
                desk: Desk::new(rules.clone(), now),
                rules,
                began_ms,
                faster_ppm,
                saved: Saved::default(),
                stream: 0,
                up: false,
                session: None,
                to_core: VecDeque::new(),
                to_pod: VecDeque::new(),
                deaf_until: 0,
                paused_until: 0,
                cut_until: 0,
                slow_until: 0,
                claims: Vec::new(),
            }
        });
        Self {
            now: 1_000,
            pods: pods.collect(),
            rng,
            table: Table::default(),
            index: 0,
            stale: Vec::new(),
            expiry: Expiry::default(),
            term: 1,
            next_tick: 0,
            stalled_until: 0,
            proposed: VecDeque::new(),
            known: BTreeSet::new(),
            tokens: BTreeMap::new(),
            renewed: BTreeMap::new(),
            next_claim: 0,
            seen: Seen::default(),
        }
    }

    /// What this pod's clock shows.
    fn clock(&self, pod: usize) -> Instant {
        let one = &self.pods[pod];
        clock(self.now, one.began_ms, one.faster_ppm)
    }

    fn stream(&self, pod: usize) -> StreamRef {
        StreamRef {
            node: 0,
            number: self.pods[pod].stream,
        }
    }

    fn connect(&mut self, pod: usize) {
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

    fn cut(&mut self, pod: usize) {
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
    fn delay(&mut self, pod: usize) -> u64 {
        let slow = self.pods[pod].slow_until > self.now;
        self.rng.random_range(0..if slow { TTL_MS / 2 } else { 30 })
    }

    fn send_to_pod(&mut self, pod: usize, frame: v1::CoreFrame) {
        let delay = self.delay(pod);
        let one = &mut self.pods[pod];
        let after = one.to_pod.back().map_or(0, |(due, _)| *due);
        one.to_pod.push_back(((self.now + delay).max(after), frame));
    }

    fn apply(&mut self, command: &Command) -> Reply {
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
    fn take(&mut self, pod: usize, frame: v1::SidecarFrame) {
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

    fn step(&mut self) {
        self.now += STEP_MS;
        let leads = self.stalled_until <= self.now;
        if leads {
            self.lead();
        }
        self.take_stale();
        for pod in 0..PODS {
            while leads
                && let Some((due, _)) = self.pods[pod].to_core.front()
                && *due <= self.now
                && let Some((_, frame)) = self.pods[pod].to_core.pop_front()
            {
                self.take(pod, frame);
                laws::check(&self.table).unwrap_or_else(|broken| panic!("{broken}"));
            }
            if self.pods[pod].paused_until > self.now {
                continue;
            }
            self.work(pod);
            self.check();
        }
        self.check();
    }

    /// The leader proposes what its timers say, and applies what it has proposed a while ago: renewals may
    /// come between.
    fn lead(&mut self) {
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
    fn elect(&mut self) {
        self.term += 1;
        for pod in 0..PODS {
            self.cut(pod);
        }
        self.proposed.clear();
        self.expiry.reloaded(at(self.now), &self.table);
        self.seen.elections += 1;
    }

    /// What follows from a step does so after this.
    fn write_down(&mut self, pod: usize) {
        let one = &mut self.pods[pod];
        for record in one.desk.take_records() {
            let read = saved_codec::decode(saved_codec::encode(&record)).expect("our own record");
            assert_eq!(read, record);
            one.saved.apply(read);
        }
    }

    /// The process dies, and another one goes on from what it has written down. What it had sent may
    /// still come to the core, whenever.
    fn restart(&mut self, pod: usize) {
        let frames: Vec<_> = self.pods[pod].to_core.drain(..).collect();
        for (due, frame) in frames {
            let late = self.rng.random_range(0..2_000);
            self.stale.push((due + late, frame));
        }
        self.cut(pod);
        let down = self.rng.random_range(0..TTL_MS / 2);
        let now = self.clock(pod);
        let one = &mut self.pods[pod];
        one.desk.advance(now);
        let granted = |desk: &Desk| {
            let claims = desk.claims(now, 10_000, None).items.into_iter();
            let holds = claims.filter(|claim| !claim.tokens.is_empty());
            let holds = holds.map(|claim| (claim.claim_id, claim.tokens));
            holds.collect::<Vec<_>>()
        };
        self.write_down(pod);
        let one = &mut self.pods[pod];
        let before = granted(&one.desk);
        let saved = std::mem::take(&mut one.saved);
        one.desk = Desk::taken_over(one.rules.clone(), saved, now);
        one.desk
            .all_records(now)
            .into_iter()
            .for_each(|record| one.saved.apply(record));
        assert_eq!(
            granted(&one.desk),
            before,
            "each hold is known, with its tokens"
        );
        one.paused_until = self.now + down;
        self.seen.inherited += before.len() as u64;
        self.write_down(pod);
    }

    /// A frame of a dead process is taken, and nobody hears the answers.
    fn take_stale(&mut self) {
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
    fn work(&mut self, pod: usize) {
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

    /// What an app is told must be true at that moment.
    fn told(&self, pod: usize, answer: &Result<ClaimAnswer, ClaimError>) {
        if let Ok(ClaimAnswer::Granted(view)) = answer {
            assert_eq!(
                view.state,
                ClaimState::Granted,
                "at {}: pod {pod} tells that it granted {} past its deadline",
                self.now,
                view.claim_id
            );
        }
    }

    /// Something happens at one pod: its apps, or its network.
    fn act(&mut self) {
        let pod = self.rng.random_range(0..PODS);
        let now = self.clock(pod);
        if self.pods[pod].paused_until > self.now {
            return;
        }
        self.pods[pod].desk.advance(now);
        match self.rng.random_range(0..1_000) {
            0..400 => self.claim(pod),
            400..960 => {
                let live = self.pods[pod].claims.len();
                if live > 0 {
                    let which = self.rng.random_range(0..live);
                    let id = self.pods[pod].claims.swap_remove(which);
                    self.pods[pod].desk.release(now, &id);
                    self.write_down(pod);
                }
            }
            960..970 => self.cut(pod),
            970..973 => {
                self.cut(pod);
                self.pods[pod].cut_until = self.now + self.rng.random_range(0..2 * TTL_MS);
            }
            973..975 => {
                self.pods[pod].slow_until = self.now + self.rng.random_range(0..2 * TTL_MS);
            }
            990..996 => self.restart(pod),
            975..985 => {
                let long = self.rng.random_range(100..2 * TTL_MS);
                self.pods[pod].deaf_until = self.now + long;
            }
            985..990 => {
                let long = self.rng.random_range(100..2 * TTL_MS);
                self.pods[pod].paused_until = self.now + long;
            }
            996..998 => self.elect(),
            998 => self.stalled_until = self.now + self.rng.random_range(50..2 * TTL_MS),
            _ => {}
        }
        let reachable = self.pods[pod].cut_until <= self.now;
        if !self.pods[pod].up && reachable && self.rng.random_range(0..10) < 3 {
            self.connect(pod);
        }
    }

    fn claim(&mut self, pod: usize) {
        self.next_claim += 1;
        let id = ClaimId::parse(&format!("c{}", self.next_claim)).expect("an id");
        let want = |rng: &mut StdRng, name: &str| Want {
            name: LockName::parse(name).expect("a name"),
            mode: match rng.random_range(0..20) {
                1.. if name == POOL => Mode::Semaphore {
                    permits: rng.random_range(1..3),
                    limit: LIMITS[usize::from(rng.random_range(0..8) == 0)],
                },
                ..12 => Mode::Exclusive,
                12.. => Mode::Shared,
            },
        };
        let first = self.rng.random_range(0..LOCKS.len());
        let mut locks = vec![want(&mut self.rng, LOCKS[first])];
        if self.rng.random_range(0..10) == 0 {
            let second = (first + 1) % LOCKS.len();
            locks.push(want(&mut self.rng, LOCKS[second]));
        }
        let owner = (self.rng.random_range(0..5) == 0).then(|| {
            let which = self.rng.random_range(0..2);
            OwnerId::parse(&format!("o{which}")).expect("an owner")
        });
        let wait = [0, 0, 300, 4_000][self.rng.random_range(0..4)];
        let ask = ClaimAsk {
            locks,
            ttl: Duration::from_secs(600),
            wait: Duration::from_millis(wait),
            queue: self.rng.random_range(0..5) == 0,
            owner,
            metadata: BTreeMap::new(),
            value: (self.rng.random_range(0..20) == 0).then(|| Arc::from("v")),
            priority: self.rng.random_range(0..3),
            min_hold: Duration::ZERO,
        };
        let now = self.clock(pod);
        let desk = &mut self.pods[pod].desk;
        if let Now::Done(answer) = desk.claim(now, id.clone(), ask, Arc::from("")) {
            self.told(pod, &answer);
        }
        self.write_down(pod);
        self.pods[pod].claims.push(id);
    }

    /// What everybody believes at this moment.
    fn check(&mut self) {
        let mut held: BTreeMap<String, Vec<(usize, ClaimId, Mode, u64)>> = BTreeMap::new();
        for (number, pod) in self.pods.iter().enumerate() {
            let now = clock(self.now, pod.began_ms, pod.faster_ppm);
            for view in pod.desk.claims(now, 10_000, None).items {
                if view.state != ClaimState::Granted {
                    continue;
                }
                for (want, token) in view.locks.iter().zip(&view.tokens) {
                    let holder = (number, view.claim_id.clone(), want.mode, token.get());
                    held.entry(want.name.to_string()).or_default().push(holder);
                }
                if self.known.insert((number, view.claim_id.clone())) {
                    self.seen.grants += 1;
                    self.seen.local += u64::from(view.local);
                    let of_permits = view.locks[0].mode.limit().is_some();
                    self.seen.permits += u64::from(view.local && of_permits);
                    for (want, token) in view.locks.iter().zip(&view.tokens) {
                        let (any, exclusive) =
                            self.tokens.entry(want.name.to_string()).or_default();
                        let (token, least) = match want.mode {
                            Mode::Exclusive => (token.get(), *any),
                            Mode::Shared | Mode::Semaphore { .. } => (token.get(), *exclusive),
                        };
                        assert!(
                            token > least,
                            "at {}: {} of pod {number} got {} with token {token}, not above {least}",
                            self.now,
                            view.claim_id,
                            want.name
                        );
                        *any = token.max(*any);
                        if want.mode == Mode::Exclusive {
                            *exclusive = token.max(*exclusive);
                        }
                    }
                }
            }
        }
        for (lock, holders) in &held {
            let alone = holders.len() == 1;
            let shared = holders.iter().all(|(_, _, mode, _)| *mode == Mode::Shared);
            let limits = holders.iter().map(|(_, _, mode, _)| mode.limit());
            let limits: BTreeSet<_> = limits.collect();
            let permits = holders.iter().map(|(_, _, mode, _)| match mode {
                Mode::Semaphore { permits, .. } => *permits,
                Mode::Exclusive | Mode::Shared => 0,
            });
            let permits: u32 = permits.sum();
            let within = limits.len() == 1
                && limits
                    .first()
                    .copied()
                    .flatten()
                    .is_some_and(|limit| permits <= limit);
            assert!(
                alone || shared || within,
                "at {}: {lock} is believed to be held by {holders:?}",
                self.now
            );
        }
    }

    /// The network heals, nobody wants anything new, whoever holds lets go: all is served and settles.
    fn settle(&mut self) {
        self.stalled_until = 0;
        for pod in 0..PODS {
            self.pods[pod].deaf_until = 0;
            self.pods[pod].paused_until = 0;
            self.pods[pod].cut_until = 0;
            self.pods[pod].slow_until = 0;
            if !self.pods[pod].up {
                self.connect(pod);
            }
        }
        let end = self.now + 60_000;
        loop {
            self.step();
            let mut live = 0;
            for pod in 0..PODS {
                let now = self.clock(pod);
                let desk = &mut self.pods[pod].desk;
                for view in desk.claims(now, 10_000, None).items {
                    live += 1;
                    if view.state == ClaimState::Granted {
                        desk.release(now, &view.claim_id);
                    }
                }
            }
            let idle = self.pods.iter().all(|pod| pod.desk.is_settled());
            if live == 0 && idle {
                break;
            }
            if self.now >= end {
                let waiting =
                    |pod: usize| self.pods[pod].desk.claims(self.clock(pod), 100, None).items;
                let waiting: Vec<_> = (0..PODS).map(waiting).collect();
                let claims = self
                    .table
                    .sessions()
                    .flat_map(|(id, _)| self.table.claims_of(id));
                let claims: Vec<_> = claims
                    .map(|(name, claim)| (name, claim, self.table.pledge(name)))
                    .collect();
                panic!("never served: {waiting:#?} with {claims:#?}");
            }
        }
        let plain = self
            .table
            .sessions()
            .flat_map(|(id, _)| self.table.claims_of(id));
        let plain: Vec<_> = plain
            .filter(|(name, _)| self.table.pledge(*name).is_none())
            .collect();
        let ids: BTreeSet<_> = plain.iter().map(|(_, claim)| &claim.claim_id).collect();
        let of_these = self
            .table
            .history()
            .filter(|(_, it)| ids.contains(&it.claim_id));
        let told: Vec<_> = of_these.map(|(at, it)| (at, it.claim, &it.event)).collect();
        assert!(
            plain.is_empty(),
            "the table holds what nobody has: {plain:?}, {told:#?}"
        );
    }
}

pub fn run(seed: u64, actions: u32) -> Seen {
    let mut world = World::new(seed);
    for pod in 0..PODS {
        world.connect(pod);
    }
    for _ in 0..actions {
        world.act();
        world.check();
        // Mostly much happens at once; now and then so little that leases run out meanwhile.
        let steps = match world.rng.random_range(0..40) {
            0 => world.rng.random_range(0..2 * TTL_MS / STEP_MS / 3),
            _ => world.rng.random_range(0..4),
        };
        for _ in 0..steps {
            world.step();
        }
    }
    world.settle();
    let lost = world.table.history().filter(|(_, record)| {
        matches!(&record.event, sidelock::table::state::HistoryEvent::Ended { cause, .. }
            if *cause == EndCause::SessionExpired)
    });
    world.seen.lost += lost.count() as u64;
    world.seen
}

#[test]
fn what_sidecars_believe_never_contradicts_and_everyone_is_served() {
    let seeds: u64 =
        std::env::var("SIDELOCK_SEEDS").map_or(40, |text| text.parse().expect("a number"));
    let first: u64 =
        std::env::var("SIDELOCK_SEED").map_or(0, |text| text.parse().expect("a number"));
    let mut all = Seen::default();
    for seed in first..first + seeds {
        let seen = std::panic::catch_unwind(|| run(seed, 600));
        let seen = seen.unwrap_or_else(|_| {
            panic!("seed {seed}: run it alone with SIDELOCK_SEED={seed} SIDELOCK_SEEDS=1")
        });
        all.grants += seen.grants;
        all.local += seen.local;
        all.permits += seen.permits;
        all.recalls += seen.recalls;
        all.lost += seen.lost;
        all.inherited += seen.inherited;
        all.elections += seen.elections;
    }
    // It proves something only if all of this happened.
    assert!(
        all.local > seeds
            && all.permits > seeds / 4
            && all.recalls > seeds
            && all.lost > seeds / 4
            && all.inherited > seeds / 4
            && all.elections > seeds / 4,
        "{all:?}"
    );
}
