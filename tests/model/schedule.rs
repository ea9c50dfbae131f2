//! Random schedules: steps that mean something in whatever state they meet, so that any can be left out.
//! In: a seed. Out: commands, and of a failing schedule a short one that still fails.
//! Never: a random number that the seed does not fix.

use std::sync::Arc;

use sidelock::table::command::{
    Acquire, Break, Command, EndCause, Mode, OpenSession, Operate, Operation, Policy, Release,
    Renewal, Want,
};
use sidelock::table::id::{
    ClaimRef, DelayNumber, Generation, LockName, OwnerId, RenewalNumber, Revision, Seq, SessionId,
    SessionKey,
};

use super::heard;
use super::slow::{Session, Slow};

pub const COMMANDS: usize = 200;

/// SplitMix64: small, well mixed, and the same on every machine and in every version.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `bound`, which is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len().max(1) as u64);
        from.get(usize::try_from(index).ok()?)
    }
}

/// What a schedule is rich in.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    sessions: u64,
    owners: u64,
    locks: u64,
    /// Chances in percent.
    semaphores: u64,
    shared: u64,
    several: u64,
    waits: u64,
    upheaval: u64,
    /// Claims of one lock that come and go while the first one stays: only so is a waiter passed 64 times.
    crowd: bool,
}

const PROFILES: &[Profile] = &[
    // Of everything some.
    Profile {
        sessions: 3,
        owners: 3,
        locks: 4,
        semaphores: 25,
        shared: 30,
        several: 35,
        waits: 75,
        upheaval: 25,
        crowd: false,
    },
    // Many owners who hold while they wait: deadlocks.
    Profile {
        sessions: 2,
        owners: 3,
        locks: 3,
        semaphores: 20,
        shared: 25,
        several: 30,
        waits: 97,
        upheaval: 5,
        crowd: false,
    },
    // Permits.
    Profile {
        sessions: 3,
        owners: 4,
        locks: 2,
        semaphores: 92,
        shared: 40,
        several: 40,
        waits: 85,
        upheaval: 15,
        crowd: false,
    },
    // Sessions and policies come and go.
    Profile {
        sessions: 4,
        owners: 2,
        locks: 5,
        semaphores: 30,
        shared: 30,
        several: 30,
        waits: 60,
        upheaval: 55,
        crowd: false,
    },
    Profile {
        sessions: 2,
        owners: 40,
        locks: 1,
        semaphores: 0,
        shared: 97,
        several: 0,
        waits: 100,
        upheaval: 0,
        crowd: true,
    },
];

const LOCKS: &[&str] = &["a", "ab", "abc", "b", "ba"];
const PREFIXES: &[&str] = &["", "a", "ab", "b"];

/// The profile and the dice of each step.
pub fn schedule(seed: u64) -> (Profile, Vec<u64>) {
    let mut dice = Dice::new(seed);
    let profile = PROFILES[usize::try_from(seed).unwrap_or(0) % PROFILES.len()];
    (profile, (0..COMMANDS).map(|_| dice.next()).collect())
}

/// What a step means here and now.
pub fn command(profile: &Profile, slow: &Slow, step: u64) -> Command {
    let mut dice = Dice::new(step);
    let dice = &mut dice;
    let Some(session) = dice.pick(&slow.sessions) else {
        return open(profile, dice);
    };
    if dice.percent(profile.upheaval) {
        return upheaval(profile, slow, session, dice);
    }
    let mine: Vec<&super::slow::Claim> = slow
        .claims
        .iter()
        .filter(|claim| claim.name.session == session.id)
        .collect();
    let newest = mine.iter().skip(1).rfind(|claim| !claim.waits());
    let next = session.seq + 1;
    let operation = match dice.below(100) {
        0..=51 => Operation::Acquire(acquire(profile, slow, session, dice)),
        52..=95 => {
            let claim = if profile.crowd {
                newest
            } else {
                dice.pick(&mine)
            };
            let claim = claim.map_or(Seq(dice.below(next + 2)), |claim| claim.name.seq);
            let causes = [
                EndCause::Released,
                EndCause::Cancelled,
                EndCause::LeaseExpired,
                EndCause::StreamClosed,
                EndCause::GrantTooLate,
                EndCause::Broken,
            ];
            let cause = if dice.percent(70) {
                0
            } else {
                dice.below(causes.len() as u64)
            };
            let cause = causes[usize::try_from(cause).unwrap_or(0)];
            Operation::Release(Release {
                claim,
                cause,
                waited_ms: dice.below(9),
                held_ms: 5,
            })
        }
        _ => {
            let claim = dice
                .pick(&mine)
                .map_or(Seq(dice.below(next)), |claim| claim.name.seq);
            Operation::SetValue {
                claim,
                value: format!("v{}", dice.below(9)).into(),
            }
        }
    };
    let acked = Seq(if dice.percent(80) {
        session.seq
    } else {
        dice.below(next + 3)
    });
    let (seq, acked) = (Seq(next), if dice.percent(50) { acked } else { Seq(0) });
    let generation = session.generation;
    Command::Operate(Operate {
        session: session.id,
        generation,
        seq,
        acked,
        operation,
    })
}

fn open(profile: &Profile, dice: &mut Dice) -> Command {
    let key = SessionKey(u128::from(dice.below(profile.sessions)));
    let ttl_ms = 1_000 * (1 + u32::try_from(dice.below(9)).unwrap_or(0));
    Command::OpenSession(OpenSession {
        key,
        ttl_ms,
        identity: heard::identity(),
        // Rarely another process, or one that was thought dead.
        generation: Generation(1 + u32::try_from(dice.below(40) / 38).unwrap_or(0)),
        principal: None,
    })
}

/// Everything but the next operation of a session in its turn.
fn upheaval(profile: &Profile, slow: &Slow, session: &Session, dice: &mut Dice) -> Command {
    let id = session.id;
    match dice.below(100) {
        0..=17 => open(profile, dice),
        18..=31 => {
            let renewals = (0..1 + dice.below(3)).map(|_| {
                let session = dice.pick(&slow.sessions).unwrap_or(session);
                let stale = dice.percent(20);
                Renewal {
                    session: if dice.percent(95) {
                        session.id
                    } else {
                        SessionId(dice.below(99))
                    },
                    generation: other_than(session.generation, dice.percent(5)),
                    heard: RenewalNumber(0),
                    number: RenewalNumber(if stale {
                        session.renewal
                    } else {
                        session.renewal + 1 + dice.below(2)
                    }),
                }
            });
            Command::Renew(renewals.collect())
        }
        32..=39 => {
            let stale = dice.percent(30);
            let number = if stale {
                session.renewal.wrapping_sub(1)
            } else {
                session.renewal
            };
            Command::Expire {
                session: id,
                number: RenewalNumber(number),
            }
        }
        40..=55 => odd_operate(slow, session, dice),
        56..=59 => Command::Operate(Operate {
            session: id,
            generation: Generation(1),
            seq: Seq(session.seq + 1),
            acked: Seq(0),
            operation: Operation::Close,
        }),
        60..=71 => match dice.pick(&slow.closed) {
            Some((lock, delay, _)) => {
                let delay = if dice.percent(85) {
                    *delay
                } else {
                    dice.below(delay + 2)
                };
                Command::Reopen {
                    lock: lock.clone(),
                    delay: DelayNumber(delay),
                }
            }
            None => Command::Reopen {
                lock: lock(LOCKS.len() as u64, dice),
                delay: DelayNumber(1),
            },
        },
        72..=81 => Command::Break(Break {
            lock: lock(profile.locks, dice),
            reason: "stuck".into(),
            force: dice.percent(40),
            by: "ops".into(),
        }),
        82..=96 => {
            let prefix = PREFIXES[usize::try_from(dice.below(PREFIXES.len() as u64)).unwrap_or(0)];
            let small = |dice: &mut Dice, bound| u32::try_from(dice.below(bound)).unwrap_or(0);
            let policy = dice.percent(70).then(|| Policy {
                lock_delay_ms: 100 * small(dice, 3),
                semaphore_limit: dice.percent(50).then(|| 1 + small(dice, 4)),
                waiters_max: dice.percent(30).then(|| small(dice, 4)),
            });
            Command::SetPolicy {
                prefix: prefix.into(),
                policy,
            }
        }
        _ => Command::TrimHistory {
            up_to: Revision(dice.below(2 * slow.token + 2)),
        },
    }
}

/// The generation in force, or not.
fn other_than(generation: Generation, other: bool) -> Generation {
    Generation(generation.0 ^ u32::from(other))
}

/// A resend, a gap, an older generation or a session that is gone.
fn odd_operate(slow: &Slow, session: &Session, dice: &mut Dice) -> Command {
    let seq = match dice.below(10) {
        0..=6 => dice.below(session.seq + 1),
        _ => session.seq + 2 + dice.below(3),
    };
    let unknown = dice.percent(10);
    let claim = dice
        .pick(&slow.claims)
        .map_or(Seq(1), |claim| claim.name.seq);
    Command::Operate(Operate {
        session: if unknown {
            SessionId(dice.below(99))
        } else {
            session.id
        },
        generation: other_than(session.generation, dice.percent(10)),
        seq: if seq == 0 {
            Seq(session.seq + 2)
        } else {
            Seq(seq)
        },
        acked: Seq(if dice.percent(20) {
            dice.below(session.seq + 3)
        } else {
            0
        }),
        operation: Operation::Release(Release {
            claim,
            cause: EndCause::Released,
            waited_ms: 0,
            held_ms: 0,
        }),
    })
}

fn acquire(profile: &Profile, slow: &Slow, session: &Session, dice: &mut Dice) -> Acquire {
    let several = if dice.percent(profile.several) {
        2 + dice.below(2)
    } else {
        1
    };
    let mut locks: Vec<Want> = Vec::new();
    for _ in 0..several {
        let name = lock(profile.locks, dice);
        // Twice the same is refused: seldom worth a step.
        if dice.percent(2) || !locks.iter().any(|want| want.name == name) {
            let mode = mode(profile, slow, &name, dice);
            locks.push(Want { name, mode });
        }
    }
    if dice.percent(1) {
        locks.clear();
    }
    let exclusive = locks
        .first()
        .is_some_and(|want| want.mode == Mode::Exclusive);
    let priority = match (profile.crowd, dice.below(10)) {
        (true, _) if exclusive => 0,
        (true, dots) => 1 + u8::try_from(dots % 9).unwrap_or(0),
        (false, 0..=5) => 0,
        (false, 6..=8) => u8::try_from(1 + dice.below(3)).unwrap_or(0),
        (false, _) => u8::try_from(dice.below(11)).unwrap_or(0),
    };
    let name = ClaimRef {
        session: session.id,
        seq: Seq(session.seq + 1),
    };
    let owner = format!("o{}", dice.below(profile.owners));
    Acquire {
        claim_id: heard::claim_id(name),
        owner: OwnerId::parse(&owner).expect("a letter and digits"),
        locks,
        wait: dice.percent(profile.waits),
        priority,
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        value: dice.percent(10).then(|| Arc::from("first")),
        trace_id: "".into(),
    }
}

fn lock(bound: u64, dice: &mut Dice) -> LockName {
    let index = usize::try_from(dice.below(bound)).unwrap_or(0);
    LockName::parse(LOCKS[index]).expect("a valid name")
}

fn mode(profile: &Profile, slow: &Slow, name: &LockName, dice: &mut Dice) -> Mode {
    if dice.percent(profile.semaphores) {
        let stated = 1 + u32::try_from(dice.below(4)).unwrap_or(0);
        let in_force = slow.limit(name).filter(|_| dice.percent(93));
        let limit = in_force.unwrap_or(stated);
        let permits = 1 + u32::try_from(dice.below(u64::from(limit))).unwrap_or(0);
        return match dice.below(100) {
            0 => Mode::Semaphore { permits: 0, limit },
            1 => Mode::Semaphore {
                permits: limit + 1,
                limit,
            },
            _ => Mode::Semaphore { permits, limit },
        };
    }
    if dice.percent(profile.shared) {
        Mode::Shared
    } else {
        Mode::Exclusive
    }
}

/// Leaves out steps, many at first, then one by one, as long as the rest still fails.
pub fn shrink(mut steps: Vec<u64>, fails: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let mut chunk = steps.len();
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut without = steps.clone();
            without.drain(at..(at + chunk).min(steps.len()));
            if fails(&without) {
                steps = without;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    steps
}
