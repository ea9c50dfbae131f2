//! The cycle that a wait has closed, found exactly, and its victim.
//! In: an owner whose waits or holds have just changed. Out: nothing, or the cycle and who must go.
//! Never: a false deadlock; a walk over more than that owner can reach.
//!
//! An owner can finish once each of its waits fits beside what the others hold or want before it.
//! Deadlocked is what remains after all who can finish have been removed, again and again. Between two
//! commands nothing remains. A change only adds edges from or to the owner whose wait or grant it is,
//! so a deadlock that is there afterwards goes through that owner: without it, the rest could be removed
//! in the old order. Hence one search from that owner, along its waits, finds it or proves there is none.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::CLAIM_IS_LIVE;
use super::command::{CycleEdge, Mode};
use super::id::{ClaimRef, LockName, Seq};
use super::queue::Load;
use super::state::{Lock, OwnerKey, PartyEntry, Place, Stage, Table};
use crate::planted::{self, Bug};

/// How many claims of an owner are looked at for waiters behind them before a search is cheaper.
const CLAIMS_LOOKED_AT_MAX: usize = 32;

/// A deadlock and how it is resolved.
pub(super) struct Deadlock {
    /// The youngest waiting claim on the cycle.
    pub(super) victim: ClaimRef,
    /// From the suspected owner back to it.
    pub(super) cycle: Vec<CycleEdge>,
}

/// One wait of one claim for one lock.
struct Wait {
    claim: ClaimRef,
    owner: usize,
    lock: usize,
    mode: Mode,
    place: Place,
    /// It would fit if those removed so far had released.
    fits: bool,
}

/// A lock that somebody reachable waits for, as it would be without those removed so far.
struct Site<'a> {
    name: &'a LockName,
    lock: &'a Lock,
    limit: Option<u32>,
    load: Load,
    queue: BTreeMap<Place, usize>,
}

/// How far each lock's queue was read for each kind of reader of it, so that a thousand waiters of one
/// lock cost a thousand steps, not a million.
#[derive(Default)]
struct Marks(BTreeMap<(usize, bool), Place>);

/// All owners that the suspect waits for, directly or through others.
struct Search<'a> {
    table: &'a Table,
    owners: Vec<OwnerKey>,
    owner_index: BTreeMap<OwnerKey, usize>,
    sites: Vec<Site<'a>>,
    site_index: BTreeMap<&'a LockName, usize>,
    waits: Vec<Wait>,
    /// The waits of each owner.
    waits_of: Vec<Vec<usize>>,
    remains: Vec<bool>,
}

/// How an owner was reached in the search for a cycle.
#[derive(Clone, Copy)]
struct Edge {
    from: usize,
    wait: usize,
    blocker: ClaimRef,
    held: bool,
}

impl Table {
    /// The deadlock through this owner, if there is one.
    pub(super) fn find_deadlock(&self, owner: &OwnerKey) -> Option<Deadlock> {
        if !self.may_be_on_a_cycle(owner) || planted::is(Bug::DeadlockMissed) {
            return None;
        }
        let mut search = Search::reach(self, owner);
        search.reduce();
        if !search.remains[0] {
            return None;
        }
        let cycle = search.cycle()?;
        let waiting = cycle.iter().flat_map(|edge| {
            let blocker = (!edge.held).then_some(edge.blocker);
            std::iter::once(search.waits[edge.wait].claim).chain(blocker)
        });
        let victim = if planted::is(Bug::OldestIsVictim) {
            waiting.min_by_key(|claim| self.arrival_of(*claim))?
        } else {
            waiting.max_by_key(|claim| self.arrival_of(*claim))?
        };
        let cycle = cycle.iter().map(|edge| CycleEdge {
            lock: search.sites[search.waits[edge.wait].lock].name.clone(),
            waiter: self.party(search.waits[edge.wait].claim),
            blocker: self.party(edge.blocker),
            held: edge.held,
        });
        Some(Deadlock {
            victim,
            cycle: cycle.collect(),
        })
    }

    /// Whether there can be an edge from this owner and one to it. Without one of both it is on no
    /// cycle, which settles the usual claim in a few look-ups: it waits last in each of its queues, and
    /// its owner holds nothing that others wait for.
    fn may_be_on_a_cycle(&self, owner: &OwnerKey) -> bool {
        let mut claims = self.claims_of_owner(owner, false);
        if claims.next().is_none() {
            return false;
        }
        let all = self
            .claims_of_owner(owner, false)
            .chain(self.claims_of_owner(owner, true));
        let mut looked_at = 0;
        for name in all {
            looked_at += 1;
            if looked_at > CLAIMS_LOOKED_AT_MAX || self.is_waited_for(name) {
                return true;
            }
        }
        false
    }

    /// Whether anybody stands behind a claim, compatible or not.
    fn is_waited_for(&self, name: ClaimRef) -> bool {
        let claim = self.claims.get(&name).expect(CLAIM_IS_LIVE);
        let mut locks = claim
            .locks
            .iter()
            .filter_map(|want| self.locks.get(&want.name));
        locks.any(|lock| match (lock.queue.last_key_value(), &claim.stage) {
            (None, _) => false,
            (Some(_), Stage::Holding { .. }) => true,
            (Some((last, _)), Stage::Waiting { place, .. }) => last > place,
        })
    }

    /// Those claims of an owner that hold, or those that wait, by seq.
    pub(super) fn claims_of_owner(
        &self,
        owner: &OwnerKey,
        holds: bool,
    ) -> impl DoubleEndedIterator<Item = ClaimRef> {
        let session = owner.0;
        let entry = |seq| PartyEntry {
            owner: owner.clone(),
            holds,
            seq,
        };
        self.parties
            .range(entry(Seq(0))..=entry(Seq(u64::MAX)))
            .map(move |entry| ClaimRef {
                session,
                seq: entry.seq,
            })
    }

    fn arrival_of(&self, claim: ClaimRef) -> u64 {
        match self.claims.get(&claim).expect(CLAIM_IS_LIVE).stage {
            Stage::Waiting { place, .. } => place.arrival,
            Stage::Holding { .. } => 0,
        }
    }

    /// The claims that a wait may be for: holders and earlier waiters that it cannot be beside, of
    /// semaphores all. The youngest first, so that a cycle names the latest claim of each owner.
    fn blockers(&self, site: &Site<'_>, mode: Mode, unread: Unread) -> Vec<(ClaimRef, bool)> {
        let conflicts = |name: &ClaimRef| {
            let other = self.mode_of(*name, site.name).expect(CLAIM_IS_LIVE);
            // Whoever uses a delegation waits for nothing; see `delegation.rs`.
            let beside = mode == Mode::Shared && other == Mode::Shared;
            !beside && !self.is_delegated(*name)
        };
        let from = unread.from.unwrap_or(Place {
            rank: 0,
            arrival: 0,
        });
        let mut found = Vec::new();
        if from < unread.to {
            let earlier = site.lock.queue.range(from..unread.to).rev();
            let earlier = earlier.map(|(_, name)| *name).filter(&conflicts);
            found.extend(earlier.map(|name| (name, false)));
        }
        if unread.from.is_none() && !site.lock.used.is_clear_for(mode) {
            let holders = site.lock.holders.iter().copied().filter(&conflicts);
            found.extend(holders.map(|name| (name, true)));
        }
        found
    }
}

/// The part of a queue that a search has yet to read; nothing read yet includes the holders.
struct Unread {
    from: Option<Place>,
    to: Place,
}

impl Marks {
    /// What is left to read for a wait of this mode, which counts as read from now on. All modes but
    /// shared see the same blockers.
    fn advance(&mut self, lock: usize, mode: Mode, to: Place) -> Unread {
        let key = (lock, mode == Mode::Shared);
        let from = self.0.get(&key).copied();
        self.0.insert(key, from.map_or(to, |from| from.max(to)));
        Unread { from, to }
    }
}

impl<'a> Search<'a> {
    /// Collects all that `start` waits for, in the order found; `start` is owner 0.
    fn reach(table: &'a Table, start: &OwnerKey) -> Self {
        let mut search = Self {
            table,
            owners: Vec::new(),
            owner_index: BTreeMap::new(),
            sites: Vec::new(),
            site_index: BTreeMap::new(),
            waits: Vec::new(),
            waits_of: Vec::new(),
            remains: Vec::new(),
        };
        let mut marks = Marks::default();
        search.add_owner(start.clone());
        let mut next = 0;
        while next < search.owners.len() {
            let key = search.owners[next].clone();
            for name in table.claims_of_owner(&key, false) {
                for wait in search.add_waits(next, name) {
                    let Wait {
                        lock, mode, place, ..
                    } = search.waits[wait];
                    let unread = marks.advance(lock, mode, place);
                    for (blocker, _) in table.blockers(&search.sites[lock], mode, unread) {
                        search.add_owner(table.owner_of(blocker));
                    }
                }
            }
            next += 1;
        }
        search
    }

    fn add_owner(&mut self, key: OwnerKey) {
        if self.owner_index.contains_key(&key) {
            return;
        }
        self.owner_index.insert(key.clone(), self.owners.len());
        self.owners.push(key);
        self.waits_of.push(Vec::new());
        self.remains.push(true);
    }

    fn add_waits(&mut self, owner: usize, name: ClaimRef) -> std::ops::Range<usize> {
        let claim = self.table.claims.get(&name).expect(CLAIM_IS_LIVE);
        let first = self.waits.len();
        let Stage::Waiting { place, .. } = claim.stage else {
            return first..first;
        };
        for want in claim.locks.iter() {
            let site = self.add_site(&want.name);
            let wait = self.waits.len();
            self.sites[site].queue.insert(place, wait);
            self.waits_of[owner].push(wait);
            self.waits.push(Wait {
                claim: name,
                owner,
                lock: site,
                mode: want.mode,
                place,
                fits: false,
            });
        }
        first..self.waits.len()
    }

    fn add_site(&mut self, name: &LockName) -> usize {
        if let Some(site) = self.site_index.get(name) {
            return *site;
        }
        let (name, lock) = self
            .table
            .locks
            .get_key_value(name)
            .expect("a lock that is waited for exists");
        self.site_index.insert(name, self.sites.len());
        self.sites.push(Site {
            name,
            lock,
            limit: self.table.limit_of(name, Some(lock)),
            load: Load::default(),
            queue: BTreeMap::new(),
        });
        self.sites.len() - 1
    }

    /// Removes every owner that could finish once those removed have released. Each turn serves one
    /// lock as `queue.rs` does; a removal brings its locks back for another.
    fn reduce(&mut self) {
        let mut held_by: Vec<Vec<(usize, Mode)>> = vec![Vec::new(); self.owners.len()];
        for (at, site) in self.sites.iter_mut().enumerate() {
            for holder in site.lock.holders.iter() {
                if self.table.is_delegated(*holder) {
                    continue;
                }
                // Whoever is not reachable blocks nobody who is: as good as gone.
                let owner = self.owner_index.get(&self.table.owner_of(*holder));
                let mode = self.table.mode_of(*holder, site.name);
                if let (Some(owner), Some(mode)) = (owner, mode) {
                    site.load.add(mode);
                    held_by[*owner].push((at, mode));
                }
            }
        }
        let mut unfit: Vec<usize> = self.waits_of.iter().map(Vec::len).collect();
        let mut turns: BTreeSet<usize> = (0..self.sites.len()).collect();
        let mut done: Vec<usize> = (0..unfit.len()).filter(|at| unfit[*at] == 0).collect();
        loop {
            for owner in done.drain(..) {
                self.remains[owner] = false;
                for (site, mode) in held_by[owner].drain(..) {
                    self.sites[site].load.remove(mode);
                    turns.insert(site);
                }
                for wait in &self.waits_of[owner] {
                    let Wait { lock, place, .. } = self.waits[*wait];
                    self.sites[lock].queue.remove(&place);
                    turns.insert(lock);
                }
            }
            let Some(site) = turns.pop_first() else {
                return;
            };
            self.serve(site, &mut unfit, &mut done);
        }
    }

    /// Marks the waits of a lock that would fit now; owners of whom all fit are done.
    fn serve(&mut self, site: usize, unfit: &mut [usize], done: &mut Vec<usize>) {
        let site = &self.sites[site];
        let mut load = site.load;
        for wait in site.queue.values() {
            if load.is_full(site.limit) {
                return;
            }
            let wait = &mut self.waits[*wait];
            if !wait.fits && load.admits(wait.mode, site.limit) {
                wait.fits = true;
                unfit[wait.owner] -= 1;
                if unfit[wait.owner] == 0 {
                    done.push(wait.owner);
                }
            }
            load.add(wait.mode);
        }
    }

    /// A shortest cycle of what remains, from owner 0 back to it.
    fn cycle(&self) -> Option<Vec<Edge>> {
        let mut reached: Vec<Option<Edge>> = vec![None; self.owners.len()];
        let mut marks = Marks::default();
        let mut todo = vec![0];
        let mut next = 0;
        while next < todo.len() && reached[0].is_none() {
            let from = todo[next];
            next += 1;
            for wait in self.waits_of[from].iter().copied() {
                let Wait {
                    lock,
                    mode,
                    place,
                    fits,
                    ..
                } = self.waits[wait];
                if fits {
                    continue;
                }
                let unread = marks.advance(lock, mode, place);
                for (blocker, held) in self.table.blockers(&self.sites[lock], mode, unread) {
                    let to = self.owner_index[&self.table.owner_of(blocker)];
                    if self.remains[to] && reached[to].is_none() {
                        reached[to] = Some(Edge {
                            from,
                            wait,
                            blocker,
                            held,
                        });
                        todo.push(to);
                    }
                }
            }
        }
        let mut edges = vec![reached[0]?];
        while let Some(edge) = edges.last()
            && edge.from != 0
        {
            edges.push(reached[edge.from]?);
        }
        edges.reverse();
        Some(edges)
    }
}
