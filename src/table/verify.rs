//! Whether a fencing token is still good, for resources that cannot compare it themselves.
//! In: a lock's name and a token. Out: current, held, newest. Never: a guess about a forgotten lock.

use super::command::Mode;
use super::id::{LockName, Token};
use super::state::{Newest, Stage, Table};
use super::view::VerifyView;

/// How many free locks are remembered for the tokens last granted on them, some 2 MiB.
pub const FREE_LOCKS_MAX: usize = 10_000;

impl Table {
    /// Checks a token of a lock. An exclusive token is current until any other is granted, a shared one
    /// until an exclusive one or one of a semaphore is, and a semaphore's as long as it is held. One that was never granted on it may look current between two others.
    pub fn verify(&self, name: &LockName, token: Token) -> VerifyView {
        let Some(lock) = self.lock(name) else {
            return VerifyView {
                current: false,
                held: false,
                newest: None,
            };
        };
        let held = lock.holders.iter().any(|holder| {
            let claim = &self.claims[holder];
            match &claim.stage {
                Stage::Holding { tokens, .. } => claim
                    .locks
                    .iter()
                    .zip(tokens.iter())
                    .any(|(want, held)| want.name == *name && *held == token),
                Stage::Waiting { .. } => false,
            }
        });
        VerifyView {
            current: held || lock.newest.outlives(token),
            held,
            newest: lock.newest.any,
        }
    }
}

impl Newest {
    /// Notes a grant, which may have been made at a sidecar some time ago.
    pub(super) fn granted(&mut self, mode: Mode, token: Token) {
        let token = Some(token);
        self.any = self.any.max(token);
        match mode {
            Mode::Exclusive => self.exclusive = self.exclusive.max(token),
            Mode::Shared => {}
            Mode::Semaphore { .. } => self.semaphore = self.semaphore.max(token),
        }
    }

    /// Whether a token that is not held any more has seen no incompatible grant after its own.
    fn outlives(&self, token: Token) -> bool {
        if self.exclusive == Some(token) {
            return self.any == Some(token);
        }
        // Older than an exclusive or a semaphore grant: overtaken if it was shared, and an ended hold
        // if it was a semaphore's. What is left can only be shared.
        Some(token) > self.exclusive && Some(token) > self.semaphore && Some(token) <= self.any
    }
}
