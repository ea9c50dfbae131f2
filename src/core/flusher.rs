//! Writes to the disk, and one thread a node that makes them durable: one fsync for all that gathered
//! during the last one. In: writes, and those who wait for them, in order. Out: their answers, in that order.
//! Never: a second fsync after a failed one; a failed disk stays failed until the process restarts.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::storage::Looking;
use crate::world::clock::{BootClock, Clock};
use crate::world::engine::{Engine, Syncer, Waiter, WriteBatch};

/// Most that wait for one fsync; more block their callers until it ends.
const WAITING_MAX: usize = 4096;

/// Writes to the engine, and what syncs them.
pub(super) struct Flusher {
    engine: Arc<dyn Engine>,
    syncer: Arc<dyn Syncer>,
    failed: Arc<Failed>,
}

impl Flusher {
    /// `syncer` makes durable what is written to `engine`.
    pub fn new(engine: Arc<dyn Engine>, syncer: Arc<dyn Syncer>) -> Self {
        let failed = Arc::new(Failed(watch::Sender::new(None)));
        Self {
            engine,
            syncer,
            failed,
        }
    }

    /// The engine, for reads.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Becomes `Some(reason)` once a write or a sync has failed.
    pub fn failed(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.failed.0.subscribe()
    }

    /// The failure, if a write or a sync has failed: nothing may go on as if it had not.
    pub fn check(&self) -> io::Result<()> {
        self.failed.check()
    }

    /// Writes: readable on return, not durable. After a failure nothing is written any more.
    pub fn write(&self, batch: &WriteBatch) -> io::Result<()> {
        self.failed.check()?;
        self.engine
            .write(batch)
            .map_err(|error| self.failed.set("write", &error))
    }

    /// As [`Syncer::when_durable`]; after a failed write every waiter fails too.
    pub fn when_durable(&self, waiter: impl FnOnce(io::Result<()>) + Send + 'static) {
        let failed = Arc::clone(&self.failed);
        self.syncer.when_durable(Box::new(move |synced| {
            let synced = synced.map_err(|error| failed.set("fsync", &error));
            waiter(synced.and_then(|()| failed.check()));
        }));
    }

    /// Waits until all writes that returned before this call are durable.
    pub async fn durable(&self) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.when_durable(move |result| {
            // Whoever no longer waits need not know.
            sender.send(result).ok();
        });
        receiver.await.map_err(io::Error::other)?
    }
}

/// The thread that syncs.
pub(super) struct SyncThread {
    /// Both are there until dropped.
    queue: Option<SyncSender<Waiter>>,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    /// Starts it.
    pub fn start(engine: Arc<dyn Engine>, looking: Looking) -> io::Result<Self> {
        let (queue, waiters) = mpsc::sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("sidelock-flush".into());
        let thread = thread.spawn(move || sync_all(&*engine, &looking, &waiters))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }
}

impl Syncer for SyncThread {
    /// Blocks while [`WAITING_MAX`] are waiting.
    fn when_durable(&self, waiter: Waiter) {
        let queue = self.queue.as_ref().expect("it is there until dropped");
        if let Err(mpsc::SendError(waiter)) = queue.send(waiter) {
            waiter(Err(io::Error::other("the thread that syncs has stopped")));
        }
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs panicked");
        }
    }
}

fn sync_all(engine: &dyn Engine, looking: &Looking, waiters: &Receiver<Waiter>) {
    let mut waiting = Vec::new();
    let mut result = Ok(());
    while let Ok(first) = waiters.recv() {
        waiting.push(first);
        // At most as many as the queue holds: whoever comes later waits for the next sync.
        waiting.extend(waiters.try_iter().take(WAITING_MAX));
        let began = BootClock.now();
        // Never again after a failure.
        result = result.and_then(|()| engine.sync());
        if let Some(instruments) = looking.get() {
            instruments.synced(BootClock.now().since(began));
        }
        for waiter in waiting.drain(..) {
            waiter(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }
}

/// The first failure, for good.
struct Failed(watch::Sender<Option<Arc<str>>>);

impl Failed {
    fn check(&self) -> io::Result<()> {
        match &*self.0.borrow() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(reason.to_string())),
        }
    }

    fn set(&self, what: &str, error: &io::Error) -> io::Error {
        let reason = format!(
            "storage: {what} failed: {error}; this node stops, since what is on its disk is known \
             only after a restart"
        );
        // Everybody who waits comes here; one line says it.
        let first = self.0.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| reason.as_str().into());
            first
        });
        if first {
            tracing::error!("{reason}");
        }
        io::Error::new(error.kind(), reason)
    }
}
