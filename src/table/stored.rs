//! The table as a set of stored objects, and back.
//! In: keys and objects, in any order. Out: the same table, with its derived maps rebuilt.
//! Never: a table from objects that do not fit together.

use super::claim::party_entry;
use super::delegation::{Pledge, Recall};
use super::id::{ClaimRef, LockName, SessionId};
use super::state::{Claim, Counters, Key, Lock, Object, Stage, Table};

/// Stored objects that no table can consist of: the data is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The object is not of the kind that its key names.
    #[error("{0:?} holds another kind of object")]
    Mismatch(Key),
    /// The key came twice.
    #[error("{0:?} came twice")]
    Twice(Key),
    /// Two sessions have one key.
    #[error("session {0} has the key of another")]
    SessionKey(SessionId),
    /// A claim or a reply of a session that is not there.
    #[error("{0:?} belongs to a session that does not exist")]
    NoSession(Key),
    /// A claim names a lock that is not there.
    #[error("{claim:?} names the lock {lock:?}, which does not exist")]
    NoLock {
        /// The claim.
        claim: ClaimRef,
        /// The lock.
        lock: LockName,
    },
    /// A claim has not one token for each lock, or the place of another.
    #[error("{0:?} has not one token for each lock, or the place of another")]
    BadStage(ClaimRef),
    /// A lock that nobody uses has no newest token either.
    #[error("the lock {0:?} is there for nothing")]
    IdleLock(LockName),
}

impl Table {
    /// The stored value of a key; `None` if there is none (any more).
    pub fn object(&self, key: &Key) -> Option<Object> {
        match key {
            Key::Counters => {
                let touched = self.counters != Counters::default();
                touched.then_some(Object::Counters(self.counters))
            }
            Key::Session(id) => self.sessions.get(id).cloned().map(Object::Session),
            Key::Reply(id, seq) => self.replies.get(&(*id, *seq)).cloned().map(Object::Reply),
            Key::Claim(name) => {
                let claim = self.claims.get(name)?;
                Some(Object::Claim(Claim::clone(claim)))
            }
            Key::Pledge(name) => self.pledges.get(name).cloned().map(Object::Pledge),
            Key::Lock(name) => self.locks.get(name).map(|lock| stored_lock(lock)),
            Key::Policy(prefix) => self.policies.get(prefix).copied().map(Object::Policy),
            Key::History(at) => self.history.get(at).cloned().map(Object::History),
            Key::Order(before, after) => {
                let edge = self.order.get(&(before.clone(), after.clone()));
                edge.cloned().map(Object::Order)
            }
        }
    }

    /// All stored objects, ordered by key.
    pub fn objects(&self) -> impl Iterator<Item = (Key, Object)> + '_ {
        let counters = self.object(&Key::Counters);
        let counters = counters.map(|counters| (Key::Counters, counters));
        let sessions = self.sessions.iter();
        let sessions = sessions.map(|(id, it)| (Key::Session(*id), Object::Session(it.clone())));
        let replies = self.replies.iter();
        let replies =
            replies.map(|((id, seq), it)| (Key::Reply(*id, *seq), Object::Reply(it.clone())));
        let claims = self.claims.iter();
        let claims = claims.map(|(name, it)| (Key::Claim(*name), Object::Claim(Claim::clone(it))));
        let pledges = self.pledges.iter();
        let pledges = pledges.map(|(name, it)| (Key::Pledge(*name), Object::Pledge(it.clone())));
        let locks = self.locks.iter();
        let locks = locks.map(|(name, it)| (Key::Lock(name.clone()), stored_lock(it)));
        let policies = self.policies.iter();
        let policies = policies.map(|(name, it)| (Key::Policy(name.clone()), Object::Policy(*it)));
        let history = self.history.iter();
        let history = history.map(|(at, it)| (Key::History(*at), Object::History(it.clone())));
        let order = self.order.iter();
        let order = order.map(|((before, after), it)| {
            let key = Key::Order(before.clone(), after.clone());
            (key, Object::Order(it.clone()))
        });
        counters
            .into_iter()
            .chain(sessions)
            .chain(replies)
            .chain(claims)
            .chain(locks)
            .chain(policies)
            .chain(history)
            .chain(pledges)
            .chain(order)
    }

    /// A table of stored objects, in any order. Nothing of it is to be stored again.
    ///
    /// # Errors
    /// [`LoadError`] if they do not fit together; the data is damaged then.
    pub fn load(objects: impl IntoIterator<Item = (Key, Object)>) -> Result<Self, LoadError> {
        let mut table = Self::default();
        let mut counted = false;
        for (key, object) in objects {
            if key == Key::Counters && std::mem::replace(&mut counted, true) {
                return Err(LoadError::Twice(key));
            }
            table.put(key, object)?;
        }
        table.link_sessions()?;
        let names: Vec<ClaimRef> = table.claims.keys().copied().collect();
        for name in names {
            table.link_claim(name)?;
        }
        table.link_pledges()?;
        table.link_locks()?;
        table.link_history();
        table.told = table.counters.revision;
        Ok(table)
    }

    fn put(&mut self, key: Key, object: Object) -> Result<(), LoadError> {
        let twice = match (key.clone(), object) {
            (Key::Counters, Object::Counters(it)) => {
                self.counters = it;
                false
            }
            (Key::Session(id), Object::Session(it)) => self.sessions.insert(id, it).is_some(),
            (Key::Reply(id, seq), Object::Reply(it)) => {
                self.replies.insert((id, seq), it).is_some()
            }
            (Key::Claim(name), Object::Claim(it)) => {
                self.claims.insert(name, Box::new(it)).is_some()
            }
            (Key::Pledge(name), Object::Pledge(it)) => self.pledges.insert(name, it).is_some(),
            (
                Key::Lock(name),
                Object::Lock {
                    closed,
                    newest,
                    revision,
                },
            ) => {
                let lock = Lock {
                    closed,
                    newest,
                    revision,
                    ..Lock::default()
                };
                self.locks.insert(name, Box::new(lock)).is_some()
            }
            (Key::Policy(prefix), Object::Policy(it)) => self.policies.insert(prefix, it).is_some(),
            (Key::History(at), Object::History(it)) => self.history.insert(at, it).is_some(),
            (Key::Order(before, after), Object::Order(it)) => {
                self.order.insert((before, after), it).is_some()
            }
            (
                Key::Counters
                | Key::Session(_)
                | Key::Reply(..)
                | Key::Claim(_)
                | Key::Pledge(_)
                | Key::Lock(_)
                | Key::Policy(_)
                | Key::History(_)
                | Key::Order(..),
                _mismatch,
            ) => return Err(LoadError::Mismatch(key)),
        };
        if twice {
            return Err(LoadError::Twice(key));
        }
        Ok(())
    }

    fn link_sessions(&mut self) -> Result<(), LoadError> {
        let sessions = self.sessions.iter();
        for (id, session) in sessions.filter(|(_, session)| session.ending.is_none()) {
            if self.keys.insert(session.key, *id).is_some() {
                return Err(LoadError::SessionKey(*id));
            }
        }
        for (id, seq) in self.replies.keys() {
            if !self.sessions.contains_key(id) {
                return Err(LoadError::NoSession(Key::Reply(*id, *seq)));
            }
        }
        Ok(())
    }

    /// Puts a claim where its locks and its owner will find it.
    fn link_claim(&mut self, name: ClaimRef) -> Result<(), LoadError> {
        if !self.sessions.contains_key(&name.session) {
            return Err(LoadError::NoSession(Key::Claim(name)));
        }
        let claim = &self.claims[&name];
        self.parties.insert(party_entry(name, claim));
        for want in claim.locks.iter() {
            let Some(lock) = self.locks.get_mut(&want.name) else {
                return Err(LoadError::NoLock {
                    claim: name,
                    lock: want.name.clone(),
                });
            };
            lock.limits.add(want.mode);
            let fits = match &claim.stage {
                Stage::Waiting { place, .. } => lock.queue.insert(*place, name).is_none(),
                Stage::Holding { tokens, .. } => {
                    lock.used.add(want.mode);
                    lock.holders.insert(name) && tokens.len() == claim.locks.len()
                }
            };
            if !fits {
                return Err(LoadError::BadStage(name));
            }
        }
        Ok(())
    }

    fn link_pledges(&mut self) -> Result<(), LoadError> {
        for (name, pledge) in &self.pledges {
            let holds = self.claims.get(name).map(|claim| &claim.stage);
            match (holds, pledge) {
                (Some(Stage::Waiting { .. }), Pledge::Asked { .. }) => {}
                (Some(Stage::Holding { .. }), Pledge::Given { recall, .. }) => {
                    if *recall != Recall::None {
                        self.recalled.insert(*name);
                    }
                }
                (Some(_) | None, _) => return Err(LoadError::BadStage(*name)),
            }
        }
        Ok(())
    }

    fn link_locks(&mut self) -> Result<(), LoadError> {
        for (name, lock) in &self.locks {
            if !lock.queue.is_empty() {
                self.contended.insert(name.clone());
            }
            if !lock.is_idle() {
                continue;
            }
            if lock.newest.any.is_none() {
                return Err(LoadError::IdleLock(name.clone()));
            }
            self.free.insert((lock.revision, name.clone()));
        }
        Ok(())
    }

    fn link_history(&mut self) {
        let deadlocks = self.history.iter();
        let deadlocks = deadlocks.filter(|(_, record)| record.event.cycle().is_some());
        self.deadlocks = deadlocks.map(|(at, _)| *at).collect();
    }
}

fn stored_lock(lock: &Lock) -> Object {
    Object::Lock {
        closed: lock.closed,
        newest: lock.newest,
        revision: lock.revision,
    }
}
