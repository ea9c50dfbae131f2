//! The newest log entries, in memory: apply and replication read from here, not from the disk.
//! In: appended entries. Out: clones of them, whose commands are shared. Never: a gap within.

use std::collections::VecDeque;

use super::types::Entry;

/// Most entries kept.
const ENTRIES_MAX: usize = 8192;
/// Most bytes kept, as stored; the youngest entry stays even beyond it.
const BYTES_MAX: usize = 16 << 20;

/// A gapless run of entries that ends with the log.
#[derive(Default)]
pub(super) struct EntryCache {
    /// With their size as stored.
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
}

impl EntryCache {
    /// The index of the oldest entry.
    pub fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|(entry, _)| entry.log_id.index)
    }

    /// Appends; what it does not follow on, or has no room beside it, goes.
    pub fn push(&mut self, entry: Entry, bytes: usize) {
        let index = entry.log_id.index;
        let follows = |(last, _): &(Entry, usize)| last.log_id.index + 1 == index;
        if !self.entries.back().is_none_or(follows) {
            self.entries.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
        while self.entries.len() > ENTRIES_MAX || (self.bytes > BYTES_MAX && self.entries.len() > 1)
        {
            self.pop_front();
        }
    }

    /// Clones of `start..end`, as far as they are here; once `bytes_max` are reached, no more.
    pub fn range(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
        let Some(first) = self.first_index().filter(|first| *first <= start) else {
            return Vec::new();
        };
        let skip = usize::try_from(start - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let entries = self.entries.iter().skip(skip).take_while(|(entry, size)| {
            let more = entry.log_id.index < end && bytes < bytes_max;
            bytes += size;
            more
        });
        entries.map(|(entry, _)| entry.clone()).collect()
    }

    /// Drops the entries from `from` on.
    pub fn truncate(&mut self, from: u64) {
        let newer = |(entry, _): &(Entry, usize)| entry.log_id.index >= from;
        while let Some((_, bytes)) = self.entries.pop_back_if(|last| newer(last)) {
            self.bytes -= bytes;
        }
    }

    /// Drops the entries up to `upto`.
    pub fn purge(&mut self, upto: u64) {
        while self.first_index().is_some_and(|first| first <= upto) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.entries.pop_front() {
            self.bytes -= bytes;
        }
    }
}
