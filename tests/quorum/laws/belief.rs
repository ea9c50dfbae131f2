//! What apps believe: two incompatible claims never both believe that they hold, and tokens only grow.
//! In: all desks at one instant. Out: who is newly granted, or the first two that contradict each other.
//! Never: a look into the table: what counts is what apps believe.

use std::collections::{BTreeMap, BTreeSet};

use sidelock::sidecar::desk::Desk;
use sidelock::sidecar::handle::{ClaimState, ClaimView};
use sidelock::table::command::Mode;
use sidelock::table::id::ClaimId;
use sidelock::world::clock::Instant;

/// Who has believed what so far.
#[derive(Debug, Default)]
pub struct Beliefs {
    known: BTreeSet<(usize, ClaimId)>,
    /// Of each lock: the greatest token seen, and the greatest exclusive one.
    tokens: BTreeMap<String, (u64, u64)>,
}

/// One that believes that it holds: pod, claim, mode, token.
type Holder = (usize, ClaimId, Mode, u64);

impl Beliefs {
    /// What everybody believes at this moment; gives whom it did not know yet.
    pub fn look<'d>(
        &mut self,
        desks: impl Iterator<Item = (usize, &'d Desk, Instant)>,
    ) -> Result<Vec<(usize, ClaimView)>, String> {
        let mut held: BTreeMap<String, Vec<Holder>> = BTreeMap::new();
        let mut new = Vec::new();
        for (pod, desk, now) in desks {
            for view in desk.claims(now, 10_000, None).items {
                if view.state != ClaimState::Granted {
                    continue;
                }
                for (want, token) in view.locks.iter().zip(&view.tokens) {
                    let holder = (pod, view.claim_id.clone(), want.mode, token.get());
                    held.entry(want.name.to_string()).or_default().push(holder);
                }
                if self.known.insert((pod, view.claim_id.clone())) {
                    self.newly(pod, &view)?;
                    new.push((pod, view));
                }
            }
        }
        let clash = held.iter().find(|(_, holders)| !compatible(holders));
        match clash {
            None => Ok(new),
            Some((lock, holders)) => Err(format!("{lock} is believed to be held by {holders:?}")),
        }
    }

    /// A token is above all that it must shut out.
    fn newly(&mut self, pod: usize, view: &ClaimView) -> Result<(), String> {
        for (want, token) in view.locks.iter().zip(&view.tokens) {
            let (any, exclusive) = self.tokens.entry(want.name.to_string()).or_default();
            let token = token.get();
            let below = match want.mode {
                Mode::Exclusive => *any,
                Mode::Shared | Mode::Semaphore { .. } => *exclusive,
            };
            if token <= below {
                let (claim, lock) = (&view.claim_id, &want.name);
                return Err(format!(
                    "{claim} of pod {pod} got {lock} with token {token}, not above {below}"
                ));
            }
            *any = token.max(*any);
            if want.mode == Mode::Exclusive {
                *exclusive = token.max(*exclusive);
            }
        }
        Ok(())
    }
}

/// Whether all of them may hold one lock at the same time.
fn compatible(holders: &[Holder]) -> bool {
    let alone = holders.len() == 1;
    let shared = holders.iter().all(|(_, _, mode, _)| *mode == Mode::Shared);
    let limits = holders.iter().map(|(_, _, mode, _)| mode.limit());
    let limits: BTreeSet<_> = limits.collect();
    let permits = holders.iter().map(|(_, _, mode, _)| match mode {
        Mode::Semaphore { permits, .. } => *permits,
        Mode::Exclusive | Mode::Shared => 0,
    });
    let permits: u32 = permits.sum();
    let limit = limits.first().copied().flatten();
    alone || shared || (limits.len() == 1 && limit.is_some_and(|limit| permits <= limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(modes: &[Mode]) -> Vec<Holder> {
        let id = ClaimId::parse("c").expect("an id");
        let holder = |(pod, mode): (usize, &Mode)| (pod, id.clone(), *mode, 1);
        modes.iter().enumerate().map(holder).collect()
    }

    #[test]
    fn modes_that_share_are_told_from_those_that_do_not() {
        let of = |permits, limit| Mode::Semaphore { permits, limit };
        let (alone, shared) = (Mode::Exclusive, Mode::Shared);
        for good in [&[alone][..], &[shared, shared], &[of(1, 3), of(2, 3)]] {
            assert!(compatible(&holders(good)), "{good:?}");
        }
        let bad: [&[Mode]; 5] = [
            &[alone, alone],
            &[alone, shared],
            &[of(2, 3), of(2, 3)],
            &[of(1, 3), of(1, 5)],
            &[shared, of(1, 3)],
        ];
        for bad in bad {
            assert!(!compatible(&holders(bad)), "{bad:?}");
        }
    }
}
