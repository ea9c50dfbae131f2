//! A played disk: what was synced survives a crash, and of the rest a prefix.
//! In: batches, syncs. Out: reads, and syncs that end when the world says so, or fail.
//! Never: a later write that survives without an earlier one, or a sync that succeeds after one failed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng;
use rand::rngs::StdRng;
use sidelock::world::engine::{
    Change, Engine, PinnedWork, Reader, Space, Syncer, Visit, Waiter, Work, WriteBatch,
};

type Content = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// One disk. Clones are the same one; a process that dies leaves it as it was, but for what it had not synced.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What the running process reads.
    seen: Content,
    /// What a crash leaves.
    durable: Content,
    /// Written since, in order.
    unsynced: VecDeque<WriteBatch>,
    /// How many writes there have been, and how many of them are durable.
    written: u64,
    synced: u64,
    /// Syncs under way: how many writes they cover, when they end, and who waits.
    syncs: VecDeque<(u64, u64, Waiter)>,
    failed: bool,
}

fn apply(content: &mut Content, batch: &WriteBatch) {
    for change in &batch.0 {
        match change {
            Change::Put { space, key, value } => {
                content.insert((*space, key.clone()), value.clone());
            }
            Change::Delete { space, key } => {
                content.remove(&(*space, key.clone()));
            }
            Change::DeleteRange { space, from, to } => {
                content.retain(|(of, key), _| of != space || key < from || key >= to);
            }
        }
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time has come to `now`; what is asked for from now on ends after `delay` (both in microseconds).
    /// With `fails`, the first sync that is due fails, and all after it. Gives whether one did.
    pub fn tick(&self, now_us: u64, mut delay_us: impl FnMut() -> u64, fails: bool) -> bool {
        let mut told = Vec::new();
        let mut broke = false;
        {
            let mut state = self.state();
            for (_, due, _) in &mut state.syncs {
                if *due == u64::MAX {
                    *due = now_us + delay_us();
                }
            }
            while let Some((_, due, _)) = state.syncs.front()
                && *due <= now_us
                && let Some((covers, _, waiter)) = state.syncs.pop_front()
            {
                if fails && !state.failed {
                    state.failed = true;
                    broke = true;
                }
                if !state.failed {
                    state.sync(covers);
                }
                told.push((waiter, state.failed));
            }
        }
        for (waiter, failed) in told {
            waiter(match failed {
                false => Ok(()),
                true => Err(io::Error::other("a played fsync failed")),
            });
        }
        broke
    }

    /// The process has died: of what it had not synced, a prefix survives. Gives how many writes were lost.
    pub fn crash(&self, dice: &mut StdRng) -> u64 {
        let mut state = self.state();
        let kept = dice.random_range(0..=state.unsynced.len());
        let lost = state.unsynced.len() - kept;
        let survivors: Vec<_> = state.unsynced.drain(..kept).collect();
        for batch in survivors {
            apply(&mut state.durable, &batch);
        }
        state.unsynced.clear();
        state.seen = state.durable.clone();
        state.written = 0;
        state.synced = 0;
        state.syncs.clear();
        state.failed = false;
        lost as u64
    }
}

impl State {
    /// The first `covers` writes are durable from now on.
    fn sync(&mut self, covers: u64) {
        while self.synced < covers {
            let batch = self.unsynced.pop_front().expect("it was written");
            apply(&mut self.durable, &batch);
            self.synced += 1;
        }
    }
}

fn scan(content: &Content, space: Space, from: &[u8], to: &[u8], visit: &mut Visit<'_>) {
    let range = content.range((space, from.to_vec())..(space, to.to_vec()));
    for ((_, key), value) in range {
        if visit(key, value) == ControlFlow::Break(()) {
            break;
        }
    }
}

/// The content of one moment.
struct Pinned(Content);

impl Reader for Pinned {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        scan(&self.0, space, from, to, visit);
        Ok(())
    }
}

impl Reader for Disk {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().seen.get(&(space, key.to_vec())).cloned())
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        scan(&self.state().seen, space, from, to, visit);
        Ok(())
    }
}

impl Engine for Disk {
    fn write(&self, batch: &WriteBatch) -> io::Result<()> {
        let mut state = self.state();
        apply(&mut state.seen, batch);
        state.unsynced.push_back(batch.clone());
        state.written += 1;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let all = state.written;
        state.sync(all);
        Ok(())
    }

    /// At once: nothing else goes on meanwhile.
    fn pin(&self, work: PinnedWork) -> io::Result<()> {
        let pinned = Pinned(self.state().seen.clone());
        work(&pinned);
        Ok(())
    }

    fn aside(&self, work: Work) -> io::Result<()> {
        work();
        Ok(())
    }
}

impl Syncer for Disk {
    fn when_durable(&self, waiter: Waiter) {
        let mut state = self.state();
        let covers = state.written;
        state.syncs.push_back((covers, u64::MAX, waiter));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn put(disk: &Disk, key: u8) {
        let mut batch = WriteBatch::default();
        batch.put(Space::Log, vec![key], vec![key]);
        disk.write(&batch).expect("written");
    }

    fn holds(disk: &Disk, key: u8) -> bool {
        disk.get(Space::Log, &[key]).expect("readable").is_some()
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_a_prefix_of_the_rest() {
        let mut dice = StdRng::seed_from_u64(1);
        let (mut kept, mut lost) = (0, 0);
        for _ in 0..100 {
            let disk = Disk::default();
            put(&disk, 1);
            disk.when_durable(Box::new(|synced| synced.expect("synced")));
            put(&disk, 2);
            put(&disk, 3);
            disk.tick(0, || 5, false);
            assert!(!disk.tick(5, || 5, false));
            disk.crash(&mut dice);
            assert!(holds(&disk, 1), "it was synced");
            assert!(holds(&disk, 2) || !holds(&disk, 3), "a prefix");
            kept += u32::from(holds(&disk, 3));
            lost += u32::from(!holds(&disk, 2));
        }
        assert!(kept > 0 && lost > 0, "{kept} {lost}");
    }

    #[test]
    fn after_a_failed_sync_none_succeeds_until_the_process_has_died() {
        let disk = Disk::default();
        let results = Arc::new(Mutex::new(Vec::new()));
        let ask = |disk: &Disk| {
            let results = Arc::clone(&results);
            disk.when_durable(Box::new(move |synced| {
                results.lock().expect("no panic").push(synced.is_ok());
            }));
        };
        put(&disk, 1);
        ask(&disk);
        disk.tick(0, || 0, true);
        ask(&disk);
        disk.tick(1, || 0, false);
        disk.crash(&mut StdRng::seed_from_u64(1));
        ask(&disk);
        disk.tick(2, || 0, false);
        assert_eq!(*results.lock().expect("no panic"), [false, false, true]);
    }
}
