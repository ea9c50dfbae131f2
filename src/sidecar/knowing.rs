//! PURE: what this sidecar knows of a lock better than anybody: one that it has to itself.
//! In: reads. Out: answers that are linearizable without a message. Never: one past the session's
//! deadline, of a shared delegation, or of a lock that somebody else waits for.

use std::time::Duration;

use super::desk::Desk;
use super::frame::{ReadAsk, ReadReply};
use super::handle::{HolderView, LockView, Read, VerifyView, WaiterView};
use super::hold::{Hold, Stage};
use super::spot::Spot;
use crate::planted::{self, Bug};
use crate::table::command::Mode;
use crate::table::id::{ClaimRef, LockName, Revision, SessionId, Token};
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
            | ReadAsk::Survey(_)
            | ReadAsk::Break { .. } => return None,
        };
        let spot = self.spots.get(self.spots.of(&self.prefix.strip(name))?)?;
        let given = spot.given()?;
        // The deadline is read here, after which nothing but this answer happens.
        let recalled = given.recalled && !planted::is(Bug::StaleReadLinearizable);
        let mine = given.mode == Mode::Exclusive && !recalled && given.first.is_none();
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
        self.holders_here(name)
            .any(|(_, _, held)| held == *token)
            .then_some(Read {
                value: ReadReply::Verified(VerifyView {
                    current: true,
                    held: true,
                    newest: Some(*token),
                }),
                linearizable: true,
                age: Duration::ZERO,
            })
    }

    /// A lock that is held here, as far as that is known without asking: others may wait for it.
    pub(super) fn own_hold(&self, now: Instant, name: &LockName) -> Option<Read<LockView>> {
        self.session.certain(now)?;
        let session = self.session.id()?;
        let mut revision = Revision(0);
        let holders = self.holders_here(name).map(|(hold, mode, token)| {
            revision = revision.max(hold.news);
            let seq = hold.seq.or(hold.under).unwrap_or_default();
            HolderView {
                value: hold.ask.value.clone(),
                ..self.holder(hold, ClaimRef { session, seq }, mode, token)
            }
        });
        let holders: Vec<HolderView> = holders.collect();
        (!holders.is_empty()).then(|| Read {
            value: LockView {
                name: name.clone(),
                holders,
                queue: Vec::new(),
                waiters: 0,
                lock_delay_ms: None,
                revision,
            },
            linearizable: false,
            age: Duration::ZERO,
        })
    }

    /// Own holds, which are certain, and what was last seen of everybody else.
    pub(super) fn with_what_was_seen(
        &self,
        own: Read<LockView>,
        seen: Option<Read<LockView>>,
    ) -> Read<LockView> {
        let Some(mut seen) = seen else {
            return own;
        };
        let mine = self.session.id();
        let alone = own
            .value
            .holders
            .iter()
            .any(|one| one.mode == Mode::Exclusive);
        let others = seen.value.holders.drain(..);
        let others = others.filter(|one| !alone && Some(one.claim.session) != mine);
        let holders = own.value.holders.into_iter().chain(others).collect();
        seen.value.holders = holders;
        seen.value.revision = seen.value.revision.max(own.value.revision);
        seen
    }

    /// The claims here that hold a lock of this core's name.
    fn holders_here(&self, name: &LockName) -> impl Iterator<Item = (&Hold, Mode, Token)> {
        let name = self.prefix.strip(name);
        self.held().into_iter().filter_map(move |key| {
            let hold: &Hold = self.holds.get(&key)?;
            let Stage::Held { tokens, .. } = &hold.stage else {
                return None;
            };
            let mut locks = hold.ask.locks.iter().zip(tokens);
            let (want, token) = locks.find(|(want, _)| want.name == name)?;
            Some((hold, want.mode, *token))
        })
    }

    fn holder(&self, hold: &Hold, claim: ClaimRef, mode: Mode, token: Token) -> HolderView {
        HolderView {
            claim,
            claim_id: hold.id.clone(),
            owner: hold.owner(),
            identity: self.session.identity().clone(),
            mode,
            token,
            metadata: hold.ask.metadata.clone(),
            value: None,
            breaking: false,
        }
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
            Some(self.holder(hold, claim, user.mode, user.token))
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
