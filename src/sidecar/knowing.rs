//! PURE: what this sidecar knows of a lock better than anybody: one that it has to itself.
//! In: reads. Out: answers that are linearizable without a message. Never: one past the session's
//! deadline, of a shared delegation, or of a lock that somebody else waits for.

use std::time::Duration;

use super::desk::Desk;
use super::frame::{ReadAsk, ReadReply};
use super::handle::{HolderView, LockView, Read, VerifyView, WaiterView};
use super::hold::{Hold, Stage};
use super::spot::Spot;
use crate::table::command::Mode;
use crate::table::id::{ClaimRef, LockName, Revision, SessionId};
use crate::table::view::QUEUE_SHOWN_MAX;
use crate::world::clock::Instant;

impl Desk {
    /// The answer to a read, if it can be had here.
    pub(super) fn known_here(&self, now: Instant, ask: &ReadAsk) -> Option<Read<ReadReply>> {
        let name = match ask {
            ReadAsk::Lock {
                name, after: None, ..
            }
            | ReadAsk::Verify { name, .. } => name,
            ReadAsk::Lock { .. }
            | ReadAsk::Locks { .. }
            | ReadAsk::History { .. }
            | ReadAsk::Break { .. } => return None,
        };
        let spot = self.spots.get(self.spots.of(&self.prefix.strip(name))?)?;
        let given = spot.given()?;
        // The deadline is read here, after which nothing but this answer happens.
        let mine = given.mode == Mode::Exclusive && !given.recalled && given.first.is_none();
        if !mine || self.session.certain(now).is_none() {
            return None;
        }
        let value = match ask {
            ReadAsk::Verify { token, .. } => {
                // Of earlier tokens the core knows more.
                let held = spot.users.iter().any(|user| user.token == *token);
                ReadReply::Verified(VerifyView {
                    current: held.then_some(true)?,
                    held,
                    newest: given.newest,
                })
            }
            _ => ReadReply::Lock(self.lock_here(name, spot)),
        };
        Some(Read {
            value,
            linearizable: true,
            age: Duration::ZERO,
        })
    }

    /// Without a quorum a token can still be confirmed to whoever holds it here, while that is certain.
    /// With one, the core is asked: only it knows whether an operator has freed the lock by force.
    pub(super) fn held_here(&self, now: Instant, ask: &ReadAsk) -> Option<Read<ReadReply>> {
        let ReadAsk::Verify { name, token } = ask else {
            return None;
        };
        self.session.certain(now)?;
        let name = self.prefix.strip(name);
        let holds = self.held().into_iter().any(|key| {
            let hold = &self.holds[&key];
            let Stage::Held { tokens, .. } = &hold.stage else {
                return false;
            };
            let mut locks = hold.ask.locks.iter().zip(tokens);
            locks.any(|(want, held)| want.name == name && held == token)
        });
        let view = VerifyView {
            current: true,
            held: true,
            newest: Some(*token),
        };
        holds.then(|| Read {
            value: ReadReply::Verified(view),
            linearizable: true,
            age: Duration::ZERO,
        })
    }

    fn lock_here(&self, name: &LockName, spot: &Spot) -> LockView {
        let claim = ClaimRef {
            session: self.session.id().unwrap_or(SessionId(0)),
            seq: spot
                .given()
                .map_or_else(Default::default, |given| given.seq),
        };
        let identity = self.session.identity();
        let holders = spot.users.iter().filter_map(|user| {
            let hold: &Hold = self.holds.get(&user.key)?;
            Some(HolderView {
                claim,
                claim_id: hold.id.clone(),
                owner: hold.owner(),
                identity: identity.clone(),
                mode: user.mode,
                token: user.token,
                metadata: hold.ask.metadata.clone(),
                value: None,
                breaking: false,
            })
        });
        let queue = spot.waiting().take(QUEUE_SHOWN_MAX).filter_map(|key| {
            let hold: &Hold = self.holds.get(&key)?;
            Some(WaiterView {
                claim,
                claim_id: hold.id.clone(),
                owner: hold.owner(),
                identity: identity.clone(),
                mode: hold.ask.locks.first()?.mode,
                priority: hold.ask.priority,
            })
        });
        LockView {
            name: name.clone(),
            holders: holders.collect(),
            queue: queue.collect(),
            waiters: u32::try_from(spot.waiters()).unwrap_or(u32::MAX),
            lock_delay_ms: None,
            revision: spot.given().map_or(Revision(0), |given| given.revision),
        }
    }
}
