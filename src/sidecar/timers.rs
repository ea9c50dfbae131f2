//! PURE: one hierarchical timer wheel for all local deadlines of the sidecar.
//! In: deadlines to set and cancel, and now. Out: what is due, never early. Never: a clock, or a scan of
//! what is not due: setting and cancelling cost the same with one timer as with a million.

use std::time::Duration;

use crate::world::clock::Instant;

/// Slots of a level; one bit each in a word that tells which are in use.
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
/// 64^6 ticks of a millisecond are over two years; what lies further waits in the last level again.
const LEVELS: usize = 6;
/// One slot of the last level less than a whole round, so that no timer lands in the present slot.
const HORIZON: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - (1 << (SLOT_BITS * (LEVELS as u32 - 1)));
/// "No entry" in the lists below.
const NONE: u32 = u32::MAX;

/// Names one timer that was set. Stale once it fired or was cancelled; a stale name cancels nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId {
    slab: u32,
    /// Tells apart those that used the same place one after the other.
    turn: u32,
}

/// Timers, each with something to say when it fires.
#[derive(Debug)]
pub struct Wheel<T> {
    /// The next tick to look at; all before it have fired.
    tick: u64,
    levels: [Level; LEVELS],
    slab: Vec<Entry<T>>,
    free: u32,
    live: usize,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    used: u64,
    heads: [u32; SLOTS],
}

#[derive(Debug)]
struct Entry<T> {
    due: u64,
    turn: u32,
    next: u32,
    previous: u32,
    /// Level and slot that hold it, so that unlinking finds the head.
    home: (u8, u8),
    /// `None` while the place is free.
    what: Option<T>,
}

impl<T> Wheel<T> {
    /// Empty, with nothing due before `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            tick: floor(now),
            levels: [Level {
                used: 0,
                heads: [NONE; SLOTS],
            }; LEVELS],
            slab: Vec::new(),
            free: NONE,
            live: 0,
        }
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Sets a timer. It fires at the first [`Wheel::pop`] at or after `deadline`, at most a tick late.
    pub fn set(&mut self, deadline: Instant, what: T) -> TimerId {
        let due = ceil(deadline);
        let slab = self.take_place(due, what);
        self.link(slab);
        self.live += 1;
        TimerId {
            slab,
            turn: self.entry(slab).turn,
        }
    }

    /// Takes a timer back; `None` if it has fired or was cancelled already.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let entry = self.slab.get(id.slab as usize)?;
        if entry.turn != id.turn || entry.what.is_none() {
            return None;
        }
        self.unlink(id.slab);
        self.give_back(id.slab)
    }

    /// One timer that is due, or `None`: then nothing is due at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let now = floor(now);
        loop {
            let Some((level, slot, at)) = self.first().filter(|(_, _, at)| *at <= now) else {
                // No slot begins between here and now, so the hand may go there.
                self.tick = self.tick.max(now);
                return None;
            };
            self.tick = self.tick.max(at);
            let head = self.levels[level].heads[slot];
            self.unlink(head);
            if self.entry(head).due <= self.tick {
                return self.give_back(head);
            }
            // A slot of a higher level has come: its timers go where they now belong.
            self.link(head);
        }
    }

    /// No timer is due before this. It may be earlier than the first deadline, never later.
    pub fn next(&self) -> Option<Instant> {
        let (_, _, at) = self.first()?;
        Some(Instant::from_boot(Duration::from_millis(at)))
    }

    /// The first slot in use, with the tick at which it must be looked at.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let mut best: Option<(usize, usize, u64)> = None;
        for (level, state) in self.levels.iter().enumerate() {
            if state.used == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let here = (self.tick >> shift) & (SLOTS as u64 - 1);
            // Slots are ordered from the present one on, round the level once.
            let ahead = u64::from(state.used.rotate_right(here as u32).trailing_zeros());
            let slot = ((here + ahead) & (SLOTS as u64 - 1)) as usize;
            let at = (((self.tick >> shift) + ahead) << shift).max(self.tick);
            // On a tie the higher level goes first: it may hold timers of the same tick.
            if best.is_none_or(|(_, _, least)| at <= least) {
                best = Some((level, slot, at));
            }
        }
        best
    }

    fn link(&mut self, slab: u32) {
        let due = self.entry(slab).due.max(self.tick);
        // What lies beyond the horizon waits in the last slot of the last level and is looked at again.
        let due = due.min(self.tick.saturating_add(HORIZON));
        let differs = due ^ self.tick;
        let mut level = if differs == 0 {
            0
        } else {
            ((63 - differs.leading_zeros()) / SLOT_BITS) as usize
        };
        level = level.min(LEVELS - 1);
        let slot = ((due >> (SLOT_BITS * level as u32)) & (SLOTS as u64 - 1)) as usize;
        let head = self.levels[level].heads[slot];
        let entry = self.entry_mut(slab);
        entry.home = (level as u8, slot as u8);
        entry.previous = NONE;
        entry.next = head;
        if head != NONE {
            self.entry_mut(head).previous = slab;
        }
        self.levels[level].heads[slot] = slab;
        self.levels[level].used |= 1 << slot;
    }

    fn unlink(&mut self, slab: u32) {
        let entry = self.entry(slab);
        let (previous, next) = (entry.previous, entry.next);
        let (level, slot) = (usize::from(entry.home.0), usize::from(entry.home.1));
        if next != NONE {
            self.entry_mut(next).previous = previous;
        }
        if previous != NONE {
            self.entry_mut(previous).next = next;
            return;
        }
        self.levels[level].heads[slot] = next;
        if next == NONE {
            self.levels[level].used &= !(1 << slot);
        }
    }

    fn take_place(&mut self, due: u64, what: T) -> u32 {
        if self.free != NONE {
            let slab = self.free;
            let entry = self.entry_mut(slab);
            entry.due = due;
            entry.what = Some(what);
            self.free = entry.next;
            return slab;
        }
        let slab = u32::try_from(self.slab.len()).expect("claims are bounded far below 2^32");
        self.slab.push(Entry {
            due,
            turn: 0,
            next: NONE,
            previous: NONE,
            home: (0, 0),
            what: Some(what),
        });
        slab
    }

    fn give_back(&mut self, slab: u32) -> Option<T> {
        let free = self.free;
        let entry = self.entry_mut(slab);
        entry.turn = entry.turn.wrapping_add(1);
        entry.next = free;
        let what = entry.what.take();
        self.free = slab;
        self.live -= 1;
        what
    }

    fn entry(&self, slab: u32) -> &Entry<T> {
        &self.slab[slab as usize]
    }

    fn entry_mut(&mut self, slab: u32) -> &mut Entry<T> {
        &mut self.slab[slab as usize]
    }
}

/// The tick in which an instant lies.
fn floor(at: Instant) -> u64 {
    u64::try_from(at.since_boot().as_millis()).unwrap_or(u64::MAX)
}

/// The first tick at or after an instant: rounding up, so that no timer fires early.
fn ceil(at: Instant) -> u64 {
    let since = at.since_boot();
    let whole = floor(at);
    if since.subsec_nanos().is_multiple_of(1_000_000) {
        whole
    } else {
        whole.saturating_add(1)
    }
}
