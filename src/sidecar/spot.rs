//! PURE: one lock at this sidecar: who waits for it here, who uses it, and what the core has given.
//! In: claims that come and go, what the core says. Out: who is next, with which token.
//! Never: two incompatible users, a token twice, or a user without the core's leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::hold::Key;
use super::turns::{Turns, Waiter};
use crate::planted::{self, Bug};
use crate::table::command::{LocalEnd, Mode, Party};
use crate::table::delegation::ENDED_TOLD_MAX;
use crate::table::id::{LockName, Revision, Seq, Token};
use crate::table::token::TokenBlock;
use crate::world::clock::Instant;

/// One lock at this sidecar; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpotId(pub u64);

/// A claim that uses the lock under a delegation.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// Which.
    pub key: Key,
    /// How.
    pub mode: Mode,
    /// Its token.
    pub token: Token,
}

/// The request that was sent for all who wait here.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The core's name of it.
    pub seq: Seq,
    /// The claim in whose name it was asked.
    pub named: Key,
    /// Its class there.
    pub priority: u8,
    /// How the lock was asked for.
    pub mode: Mode,
    /// The core may queue it.
    pub waits: bool,
    /// A new stream did not list it although the core has seen it: its reply is history.
    pub absent: bool,
    /// A recall that was told before the grant, and whether an answer is due.
    pub recalled: Option<bool>,
}

/// How far it is with the core.
#[derive(Debug)]
pub enum Stage {
    /// Not sent yet.
    Unsent,
    /// Sent, and not answered.
    Sent(Asked),
    /// In the core's queue.
    Queued {
        /// The request.
        asked: Asked,
        /// How many went before it.
        ahead: u32,
        /// One of those.
        behind: Option<Box<Party>>,
    },
    /// Delegated to this session.
    Given(Given),
}

/// A delegation.
#[derive(Debug)]
pub struct Given {
    /// The core's name of it.
    pub seq: Seq,
    /// Since when.
    pub revision: Revision,
    /// Exclusive, or shared with other sidecars.
    pub mode: Mode,
    /// The token that came with the grant, until it is used.
    pub first: Option<Token>,
    /// Tokens for further claims.
    pub block: TokenBlock,
    /// More of them.
    pub spare: TokenBlock,
    /// More were asked for.
    pub refilling: bool,
    /// How many to ask for next.
    pub refill: u32,
    /// Others want it.
    pub recalled: bool,
    /// They want to hear whether it is in use.
    pub answer_due: bool,
    /// The newest token used.
    pub newest: Option<Token>,
    /// The newest used exclusively.
    pub newest_exclusive: Option<Token>,
    /// Claims that needed no question to the core.
    pub hits: u64,
    /// The newest claims that have held under it and are over.
    pub ended: VecDeque<LocalEnd>,
}

/// One lock at this sidecar.
#[derive(Debug)]
pub struct Spot {
    name: LockName,
    /// How far it is with the core.
    pub stage: Stage,
    /// Who uses it.
    pub users: Vec<User>,
    queue: Turns,
    /// Of the queue, who has not been told that it waits.
    pub fresh: Vec<Key>,
    idle_since: Option<Instant>,
    /// When the last of those that used it was done.
    pub freed: Option<Instant>,
}

/// A claim that may use the lock now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Which.
    pub key: Key,
    /// Its token.
    pub token: Token,
    /// Without a question to the core.
    pub local: bool,
}

impl Given {
    /// Just granted.
    pub fn new(
        asked: &Asked,
        revision: Revision,
        first: Token,
        block: TokenBlock,
        refill: u32,
    ) -> Self {
        Self {
            seq: asked.seq,
            revision,
            mode: asked.mode,
            first: Some(first),
            block,
            spare: TokenBlock::default(),
            refilling: false,
            refill,
            recalled: asked.recalled.is_some(),
            answer_due: asked.recalled == Some(true),
            newest: None,
            newest_exclusive: None,
            hits: 0,
            ended: VecDeque::new(),
        }
    }

    /// A claim under it is over.
    pub fn tell_end(&mut self, end: LocalEnd) {
        if self.ended.len() == ENDED_TOLD_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(end);
    }

    /// How many tokens are left.
    pub fn tokens(&self) -> u64 {
        self.block.len() + self.spare.len()
    }

    fn take(&mut self, mode: Mode) -> Option<(Token, bool)> {
        let first = self.first.take();
        let local = first.is_none();
        // The first token was drawn for a claim of the delegation's own mode: `verify` knows it as that.
        let token = match first.filter(|_| mode == self.mode) {
            Some(first) => first,
            None => {
                if self.block.is_empty() {
                    self.block = std::mem::take(&mut self.spare);
                }
                self.block.take()?
            }
        };
        self.hits += u64::from(local);
        self.newest = self.newest.max(Some(token));
        if mode == Mode::Exclusive {
            self.newest_exclusive = self.newest_exclusive.max(Some(token));
        }
        Some((token, local))
    }
}

impl Spot {
    /// The app's name of the lock.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Takes a claim into the queue.
    pub fn push(&mut self, key: Key, mode: Mode, priority: u8) {
        self.queue.push(key, mode, priority);
        self.fresh.push(key);
    }

    /// Takes a claim out. True if it used the lock.
    pub fn remove(&mut self, key: Key) -> bool {
        let users = self.users.len();
        self.users.retain(|user| user.key != key);
        self.queue.remove(key);
        self.fresh.retain(|fresh| *fresh != key);
        self.users.len() < users
    }

    /// Who waits, in order of arrival.
    pub fn waiting(&self) -> impl Iterator<Item = Key> + '_ {
        self.queue.iter().map(|waiter| waiter.key)
    }

    /// How many that wait came before a claim.
    pub fn before(&self, key: Key) -> usize {
        self.queue.before(key)
    }

    /// How many wait.
    pub fn waiters(&self) -> usize {
        self.queue.len()
    }

    /// Whether any of those that wait would share the lock.
    pub fn has_readers(&self) -> bool {
        self.queue.has_readers()
    }

    /// Whether a claim waits here.
    pub fn has_waiter(&self, key: Key) -> bool {
        self.queue.get(key).is_some()
    }

    /// Whether what was asked for is what the claim wants in whose name it was: not if that is another
    /// one by now, which wants the lock in another mode.
    pub fn fits(&self, asked: &Asked) -> bool {
        let named = self.queue.get(asked.named);
        named.is_some_and(|waiter| waiter.mode == asked.mode)
    }

    /// Who is next: one that was passed too often, else the first of the highest class.
    pub fn best(&self) -> Option<Waiter> {
        self.queue.best()
    }

    /// The class in which to wait for them all.
    pub fn priority(&self) -> u8 {
        self.queue.priority()
    }

    /// Whether it is to be asked for.
    pub fn is_unsent(&self) -> bool {
        matches!(self.stage, Stage::Unsent)
    }

    /// The request under way.
    pub fn asked(&self) -> Option<&Asked> {
        match &self.stage {
            Stage::Sent(asked) | Stage::Queued { asked, .. } => Some(asked),
            Stage::Unsent | Stage::Given(_) => None,
        }
    }

    /// The request under way.
    pub fn asked_mut(&mut self) -> Option<&mut Asked> {
        match &mut self.stage {
            Stage::Sent(asked) | Stage::Queued { asked, .. } => Some(asked),
            Stage::Unsent | Stage::Given(_) => None,
        }
    }

    /// The delegation.
    pub fn given(&self) -> Option<&Given> {
        match &self.stage {
            Stage::Given(given) => Some(given),
            Stage::Unsent | Stage::Sent(_) | Stage::Queued { .. } => None,
        }
    }

    /// The delegation.
    pub fn given_mut(&mut self) -> Option<&mut Given> {
        match &mut self.stage {
            Stage::Given(given) => Some(given),
            Stage::Unsent | Stage::Sent(_) | Stage::Queued { .. } => None,
        }
    }

    /// Whether it is said and done who waits: new tries can be refused.
    pub fn is_decided(&self) -> bool {
        match &self.stage {
            Stage::Given(_) => true,
            Stage::Queued { asked, .. } => asked.waits,
            Stage::Unsent | Stage::Sent(_) => false,
        }
    }

    /// Whether the next claim could be granted but for a token that was asked for.
    pub fn awaits_tokens(&self) -> bool {
        self.given()
            .is_some_and(|given| given.refilling && given.tokens() == 0 && given.first.is_none())
    }

    /// Whether a claim that comes now gets the lock at once.
    pub fn is_free_for(&self, mode: Mode) -> bool {
        self.given()
            .is_some_and(|given| given.mode == mode && !given.recalled)
            && self.users.is_empty()
            && self.queue.is_empty()
    }

    /// Whether it is for permits of a semaphore.
    pub fn is_of_permits(&self) -> bool {
        let mode = match &self.stage {
            Stage::Unsent => self.queue.iter().next().map(|waiter| waiter.mode),
            Stage::Sent(asked) | Stage::Queued { asked, .. } => Some(asked.mode),
            Stage::Given(given) => Some(given.mode),
        };
        matches!(mode, Some(Mode::Semaphore { .. }))
    }

    /// Gives the lock to the next claim, if the delegation covers it, it fits beside the users, a token is
    /// left, and nobody else waits for the delegation.
    pub fn next_turn(&mut self) -> Option<Turn> {
        let waiter = self.queue.best()?;
        let Waiter { key, mode, .. } = waiter;
        let fits = match mode {
            Mode::Exclusive => self.users.is_empty(),
            Mode::Shared => self.users.iter().all(|user| user.mode == Mode::Shared),
            // Further permits are delegations of their own.
            Mode::Semaphore { .. } => self.users.is_empty(),
        };
        let Stage::Given(given) = &mut self.stage else {
            return None;
        };
        let covered = given.mode == mode || (given.mode, mode) == (Mode::Exclusive, Mode::Shared);
        // The claim that the core was asked for has waited its turn there; further ones have not.
        let covered = covered || planted::is(Bug::SharedDelegationCoversExclusive);
        let recalled = given.recalled && !planted::is(Bug::RecallIgnored);
        let due = given.first.is_some() || !recalled;
        if !fits || !covered || !due {
            return None;
        }
        let (token, local) = given.take(mode)?;
        self.queue.take(waiter);
        self.fresh.retain(|fresh| *fresh != key);
        self.users.push(User { key, mode, token });
        Some(Turn { key, token, local })
    }
}

/// All locks that claims of this sidecar wait for or use without being known to the core by name.
#[derive(Debug, Default)]
pub struct Spots {
    by_id: BTreeMap<SpotId, Box<Spot>>,
    /// One of each lock; of a semaphore, one for each claim of this sidecar.
    by_name: BTreeSet<(LockName, SpotId)>,
    by_seq: BTreeMap<Seq, SpotId>,
    /// Kept and not used, oldest first.
    idle: BTreeSet<(Instant, SpotId)>,
    last: u64,
}

impl Spots {
    /// The spot of a lock, if there is one; of a semaphore, the oldest.
    pub fn of(&self, name: &LockName) -> Option<SpotId> {
        self.all_of(name).next()
    }

    /// The spots of a lock, by age.
    pub fn all_of<'a>(&'a self, name: &'a LockName) -> impl Iterator<Item = SpotId> + 'a {
        self.by_name
            .range((name.clone(), SpotId(0))..)
            .take_while(move |(of, _)| of == name)
            .map(|(_, id)| *id)
    }

    /// The spot of this core's name.
    pub fn of_seq(&self, seq: Seq) -> Option<SpotId> {
        self.by_seq.get(&seq).copied()
    }

    /// A spot.
    pub fn get(&self, id: SpotId) -> Option<&Spot> {
        self.by_id.get(&id).map(Box::as_ref)
    }

    /// A spot.
    pub fn get_mut(&mut self, id: SpotId) -> Option<&mut Spot> {
        self.by_id.get_mut(&id).map(Box::as_mut)
    }

    /// All, by age.
    pub fn ids(&self) -> Vec<SpotId> {
        self.by_id.keys().copied().collect()
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (SpotId, &Spot)> {
        self.by_id.iter().map(|(id, spot)| (*id, spot.as_ref()))
    }

    /// A new one, to be asked for.
    pub fn insert(&mut self, name: LockName) -> SpotId {
        self.last += 1;
        let id = SpotId(self.last);
        let spot = Spot {
            name: name.clone(),
            stage: Stage::Unsent,
            users: Vec::new(),
            queue: Turns::default(),
            fresh: Vec::new(),
            idle_since: None,
            freed: None,
        };
        self.by_name.insert((name, id));
        self.by_id.insert(id, Box::new(spot));
        id
    }

    /// Takes one out.
    pub fn remove(&mut self, id: SpotId) -> Option<Spot> {
        self.forget_seq(id);
        self.set_idle(id, None);
        let spot = self.by_id.remove(&id)?;
        self.by_name.remove(&(spot.name.clone(), id));
        Some(*spot)
    }

    /// The request of a spot leaves.
    pub fn sent(&mut self, id: SpotId, asked: Asked) {
        self.by_seq.insert(asked.seq, id);
        if let Some(spot) = self.get_mut(id) {
            spot.stage = Stage::Sent(asked);
        }
    }

    /// To be asked for once more: what the core called it means nothing any more.
    pub fn ask_again(&mut self, id: SpotId) {
        self.forget_seq(id);
        self.set_idle(id, None);
        if let Some(spot) = self.get_mut(id) {
            let waiting: Vec<Key> = spot.waiting().collect();
            spot.fresh = waiting;
            spot.stage = Stage::Unsent;
            spot.freed = None; // what becomes of it elsewhere is not seen here
        }
    }

    /// Marks a kept lock as unused since then, or as used.
    pub fn set_idle(&mut self, id: SpotId, since: Option<Instant>) {
        let Some(spot) = self.by_id.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut spot.idle_since, since);
        if let Some(before) = before {
            self.idle.remove(&(before, id));
        }
        if let Some(since) = since {
            self.idle.insert((since, id));
        }
    }

    /// The one that has been unused for longest.
    pub fn longest_idle(&self) -> Option<(Instant, SpotId)> {
        self.idle.first().copied()
    }

    /// How many are kept unused.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    fn forget_seq(&mut self, id: SpotId) {
        let Some(spot) = self.by_id.get(&id) else {
            return;
        };
        let seq = match &spot.stage {
            Stage::Unsent => None,
            Stage::Sent(asked) | Stage::Queued { asked, .. } => Some(asked.seq),
            Stage::Given(given) => Some(given.seq),
        };
        if let Some(seq) = seq {
            self.by_seq.remove(&seq);
        }
    }
}
