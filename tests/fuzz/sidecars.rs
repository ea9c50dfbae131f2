//! Frames of a sidecar, hostile or mangled, on their way into a real lock table.
//! In: dice. Out: a panic, a broken law of the table, a token out of order, or another's claim that ends.
//! Never: a frame for a session that its stream has not opened; the stream refuses those before.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use sidelock::core::expiry::Expiry;
use sidelock::table::command::{
    Break, Command, Effect, Mode, OpenSession, Operate, OperateReply, Operation, OperationReply,
    Policy, Renewal, Reply,
};
use sidelock::table::id::{
    ClaimRef, DelayNumber, LockName, RenewalNumber, Revision, SessionId, Token,
};
use sidelock::table::state::Stage;
use sidelock::table::{Table, laws};
use sidelock::wire::{convert, v1};
use sidelock::world::clock::Instant;

use crate::dice::Dice;
use crate::hostile::{self, Known, LOCKS};
use crate::throw;

const PODS: usize = 3;
const STEPS_MAX: usize = 40;

#[test]
fn bytes_of_a_sidecar_are_converted_or_refused() {
    throw!(|dice: Dice| convert_all(&decoded(dice.rest())));
}

#[test]
fn mangled_frames_of_a_sidecar_are_converted_or_refused() {
    throw!(|mut dice: Dice| {
        let known = Known {
            session: 1,
            generation: 1,
            next_seq: 3,
            claims: vec![1, 2],
            delegations: vec![1],
            waiting: vec![2],
            tokens: vec![1, 2, 3],
            ..Known::default()
        };
        let mut bytes = hostile::frame(&mut dice, &known).encode_to_vec();
        dice.mangle(&mut bytes);
        convert_all(&decoded(&bytes));
    });
}

#[test]
fn no_frame_of_a_sidecar_breaks_the_table() {
    throw!(|mut dice: Dice| {
        let mut core = Core::new(&mut dice, true);
        core.returns_fairly = true;
        core.run(&mut dice);
    });
}

#[test]
fn no_return_of_more_than_was_given_breaks_the_table() {
    throw!(|mut dice: Dice| Core::new(&mut dice, true).run(&mut dice));
}

fn decoded(bytes: &[u8]) -> v1::SidecarFrame {
    v1::SidecarFrame::decode(bytes).unwrap_or_default()
}

/// What converts is the same after another trip.
fn convert_all(frame: &v1::SidecarFrame) {
    if let Some(open) = frame.open.clone()
        && let Ok(open) = OpenSession::try_from(open)
    {
        let again = OpenSession::try_from(v1::OpenSession::from(&open));
        assert_eq!(again.as_ref(), Ok(&open));
    }
    for renewal in &frame.renewals {
        let renewal = Renewal::from(*renewal);
        assert_eq!(Renewal::from(v1::Renewal::from(&renewal)), renewal);
    }
    for operation in &frame.operations {
        if let Ok(operate) = Operate::try_from(operation.clone()) {
            let again = Operate::try_from(v1::Operation::from(&operate));
            assert_eq!(again.as_ref(), Ok(&operate));
        }
    }
    for query in frame
        .queries
        .iter()
        .filter_map(|query| query.query.as_ref())
    {
        if let v1::query::Query::ListLocks(list) = query {
            drop(convert::list_query(list.clone()));
        }
    }
}

/// A leader with a few streams.
pub struct Core {
    pub table: Table,
    /// Whether a broken law ends the run.
    judged: bool,
    returns_fairly: bool,
    index: u64,
    now: Instant,
    expiry: Expiry,
    streams: [Option<SessionId>; PODS],
    /// The newest token that the table itself has given out for each lock.
    given: BTreeMap<LockName, Token>,
    /// For what a failure shows.
    log: Vec<Command>,
}

impl Core {
    pub fn new(dice: &mut Dice, judged: bool) -> Self {
        let mut core = Self {
            table: Table::default(),
            judged,
            returns_fairly: false,
            index: 0,
            now: Instant::from_boot(Duration::from_secs(1_000)),
            expiry: Expiry::default(),
            streams: [None; PODS],
            given: BTreeMap::new(),
            log: Vec::new(),
        };
        for pod in 0..PODS {
            let open = v1::OpenSession {
                key: vec![u8::try_from(pod).expect("few"); 16],
                ttl_ms: 3_000,
                identity: format!("pod-{pod}"),
                generation: 1,
                principal: String::new(),
            };
            core.open(pod, open);
        }
        if dice.once_in(4) {
            core.operator(dice);
        }
        core
    }

    pub fn run(&mut self, dice: &mut Dice) {
        for _ in 0..STEPS_MAX {
            if dice.is_over() {
                return;
            }
            match dice.below(32) {
                0 => self.operator(dice),
                1 => self.pass(dice),
                _ => {
                    let pod = dice.below(PODS);
                    self.hear(pod, dice);
                }
            }
        }
    }

    /// Of a delegation's earlier blocks the table keeps no more than where they began, so a liar with two of
    /// them may name a token of another lock. It harms its own lock alone, but the law that no token is held
    /// twice would not hold: whoever lies about tokens gets no second block here.
    fn judges(&self, operate: &Operate) -> bool {
        self.returns_fairly
            || !self.judged
            || !matches!(operate.operation, Operation::Refill { .. })
    }

    /// One stream says something.
    fn hear(&mut self, pod: usize, dice: &mut Dice) {
        let held = self.held_by_others(pod);
        let mut known =
            self.streams[pod].map_or_else(Known::default, |id| Known::of(&self.table, id));
        known.returns_fairly = self.returns_fairly;
        match dice.below(16) {
            0 => {
                let key = u8::try_from(pod).expect("few");
                let open = hostile::open(dice, key, known.generation);
                self.open(pod, open);
            }
            1 => {
                let renewal = Renewal::from(hostile::renewal(dice, &known));
                if self.streams[pod] == Some(renewal.session) {
                    self.apply(Command::Renew(vec![renewal]));
                }
            }
            how => {
                let mut bytes = hostile::operation(dice, &known).encode_to_vec();
                if how == 2 && !self.returns_fairly {
                    dice.mangle(&mut bytes);
                }
                let operation = v1::Operation::decode(&*bytes).ok();
                let operate = operation.and_then(|operation| Operate::try_from(operation).ok());
                if let Some(operate) = operate
                    && self.streams[pod] == Some(operate.session)
                    && self.judges(&operate)
                {
                    self.apply(Command::Operate(operate));
                }
            }
        }
        for (name, tokens) in held {
            let now = self.table.claim(name).map(|claim| claim.stage.clone());
            let holds = matches!(now, Some(Stage::Holding { tokens: now, .. }) if *now == *tokens);
            assert!(
                holds || !self.judged,
                "{name:?} of another ended\n{}",
                self.story()
            );
        }
    }

    fn open(&mut self, pod: usize, open: v1::OpenSession) {
        let Ok(open) = OpenSession::try_from(open) else {
            return;
        };
        if let Reply::SessionOpened { session, .. } = self.apply(Command::OpenSession(open)) {
            self.streams[pod] = Some(session);
        }
    }

    /// What an operator and the leader's own timers do.
    fn operator(&mut self, dice: &mut Dice) {
        let lock = LockName::parse(dice.pick(&LOCKS)).expect("a valid name");
        let command = match dice.below(6) {
            0 | 1 => Command::SetPolicy {
                prefix: ["", "a", "pool"][dice.below(3)].into(),
                policy: (!dice.once_in(4)).then(|| Policy {
                    lock_delay_ms: dice.pick(&[0, 0, 50, u32::MAX]),
                    semaphore_limit: dice.once_in(2).then(|| dice.pick(&[0, 1, 3, 5])),
                    waiters_max: dice.once_in(2).then(|| dice.pick(&[0, 1, 2])),
                }),
            },
            2 => Command::Break(Break {
                lock,
                reason: "why".into(),
                force: dice.once_in(2),
                by: "who".into(),
            }),
            3 => Command::TrimHistory {
                up_to: Revision(dice.near(&[5, 20])),
            },
            4 => Command::Reopen {
                lock,
                delay: DelayNumber(dice.near(&[1, 2])),
            },
            _ => Command::Expire {
                session: self.streams[dice.below(PODS)].unwrap_or_default(),
                number: RenewalNumber(dice.near(&[0, 1, 2])),
            },
        };
        self.apply(command);
    }

    fn pass(&mut self, dice: &mut Dice) {
        self.now = self.now + Duration::from_millis(dice.pick(&[50, 400, 2_000]));
        for command in self.expiry.tick(self.now, Some(1)) {
            self.apply(command);
        }
    }

    fn apply(&mut self, command: Command) -> Reply {
        self.index += 1;
        self.log.push(command);
        let command = self.log.last().expect("pushed just now");
        let resent = matches!(command, Command::Operate(operate)
            if self.table.session(operate.session).is_some_and(|it| operate.seq <= it.seq));
        let (reply, effects) = self.table.apply(self.index, command);
        self.expiry.applied(self.now, &self.table, &effects);
        if !self.judged {
            return reply;
        }
        if let Err(broken) = laws::check(&self.table) {
            panic!("{broken}\n{}", self.story());
        }
        if let Reply::Operated(OperateReply::Applied(applied)) = &reply
            && !resent
        {
            match applied {
                OperationReply::Granted(grant) => self.granted(grant.claim, &grant.tokens),
                OperationReply::Delegated(all) => self.granted(all.grant.claim, &all.grant.tokens),
                _ => {}
            }
        }
        for effect in &effects {
            drop(convert::event(effect));
            match effect {
                Effect::Granted(grant) => self.granted(grant.claim, &grant.tokens),
                Effect::Delegated(all) => self.granted(all.grant.claim, &all.grant.tokens),
                _ => {}
            }
        }
        reply
    }

    /// A fencing token grows with each grant, and is greater than that of whoever shares the lock.
    fn granted(&mut self, name: ClaimRef, tokens: &[Token]) {
        let Some(claim) = self.table.claim(name) else {
            return; // over by the end of the same command
        };
        for (want, token) in claim.locks.iter().zip(tokens) {
            let before = self.given.get(&want.name).copied();
            let newest = self.table.lock(&want.name).and_then(|lock| lock.newest.any);
            if want.mode == Mode::Exclusive {
                assert!(
                    before < Some(*token) && newest == Some(*token),
                    "{token} for {:?} after {before:?}, newest {newest:?}\n{}",
                    want.name,
                    self.story()
                );
            }
            self.given.insert(
                want.name.clone(),
                before.max(Some(*token)).expect("one of them"),
            );
        }
    }

    /// What other streams' sessions hold.
    fn held_by_others(&self, pod: usize) -> Vec<(ClaimRef, Vec<Token>)> {
        let others = self.table.sessions().map(|(id, _)| id);
        let others = others.filter(|id| Some(*id) != self.streams[pod]);
        others
            .flat_map(|id| self.table.claims_of(id))
            .filter_map(|(name, claim)| match &claim.stage {
                Stage::Holding { tokens, .. } => Some((name, tokens.to_vec())),
                Stage::Waiting { .. } => None,
            })
            .collect()
    }

    fn story(&self) -> String {
        let lines = self.log.iter().map(|command| format!("  {command:?}\n"));
        lines.collect()
    }
}
