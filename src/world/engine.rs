//! The disk as the core sees it: atomic batches, one sync for all of them, ordered reads.
//! In: batches of puts and deletes. Out: values and scans. Never: a write half done after a crash, nor a
//! later one that survived without an earlier one.

use std::io;
use std::ops::ControlFlow;

/// A keyspace of its own: keys of one never meet those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Log entries.
    Log,
    /// Vote, committed, purged, identity.
    Meta,
    /// Applied state.
    State,
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put {
        /// Where.
        space: Space,
        /// Which.
        key: Vec<u8>,
        /// To what.
        value: Vec<u8>,
    },
    /// Removes a key; it need not exist.
    Delete {
        /// Where.
        space: Space,
        /// Which.
        key: Vec<u8>,
    },
    /// Removes all keys with `from <= key < to`.
    DeleteRange {
        /// Where.
        space: Space,
        /// First key to go.
        from: Vec<u8>,
        /// First key to stay.
        to: Vec<u8>,
    },
}

/// Changes that become visible, and survive a crash, together or not at all; applied in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteBatch(pub Vec<Change>);

impl WriteBatch {
    /// Adds a put.
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.0.push(Change::Put { space, key, value });
    }

    /// Adds a delete.
    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.0.push(Change::Delete { space, key });
    }

    /// Adds a delete of `from <= key < to`.
    pub fn delete_range(&mut self, space: Space, from: Vec<u8>, to: Vec<u8>) {
        self.0.push(Change::DeleteRange { space, from, to });
    }
}

/// What a scan calls for each key and value, in key order; it may end the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reads of one moment, or of now.
pub trait Reader {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Visits `from <= key < to` in order.
    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()>;
}

/// Work that takes long and is done apart.
pub type Work = Box<dyn FnOnce() + Send>;

/// Work on a [`Reader`] that is fixed at one moment.
pub type PinnedWork = Box<dyn FnOnce(&dyn Reader) + Send>;

/// A store of ordered keys with one write-ahead log. Writes survive a crash as a prefix of the order
/// in which they returned, and that prefix holds all that came before the last [`Engine::sync`].
pub trait Engine: Reader + Send + Sync + 'static {
    /// Writes atomically, readable on return, durable only after [`Engine::sync`].
    fn write(&self, batch: &WriteBatch) -> io::Result<()>;

    /// Makes durable all writes that returned before the call. After an error nobody may retry: the
    /// kernel may have dropped the dirty pages and would then report success.
    fn sync(&self) -> io::Result<()>;

    /// Runs `work` on a thread of its own with the state of this moment; returns once that is fixed.
    fn pin(&self, work: PinnedWork) -> io::Result<()>;

    /// Runs long work on files of the same disk, on a thread of its own.
    fn aside(&self, work: Work) -> io::Result<()>;
}

/// Told once what it waits for is durable, or never will be.
pub type Waiter = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Makes the writes of one engine durable and tells those who wait.
pub trait Syncer: Send + Sync + 'static {
    /// Calls `waiter` once all writes that returned before this call are durable, after those who asked
    /// earlier. After the first failure every waiter fails. May block while very many wait.
    fn when_durable(&self, waiter: Waiter);
}
