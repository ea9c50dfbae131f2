//! One thread a node that makes writes durable: one fsync for all that gathered during the last one.
//! In: writes, and those who wait for them, in order. Out: their answers, in that order.
//! Never: a second fsync after a failed one; a failed disk stays failed until the process restarts.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use crate::world::engine::{Engine, WriteBatch};

/// Most that wait for one fsync; more block their callers until it ends.
const WAITING_MAX: usize = 4096;

/// Told once what it waits for is durable, or never will be.
type Waiter = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Writes to the engine, and the thread that syncs them.
pub(super) struct Flusher {
    engine: Arc<dyn Engine>,
    failed: Arc<Failed>,
    /// Both are there until dropped.
    queue: Option<SyncSender<Waiter>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread.
    pub fn start(engine: Arc<dyn Engine>) -> io::Result<Self> {
        let failed = Arc::new(Failed(watch::Sender::new(None)));
        let (queue, waiters) = mpsc::sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("sidelock-flush".into())
            .spawn({
                let (engine, failed) = (Arc::clone(&engine), Arc::clone(&failed));
                move || flush(&*engine, &failed, &waiters)
            })?;
        Ok(Self {
            engine,
            failed,
            queue: Some(queue),
            thread: Some(thread),
        })
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

    /// Calls `waiter` once all writes that returned before this call are durable, after those who asked
    /// earlier. Blocks while [`WAITING_MAX`] are waiting.
    pub fn when_durable(&self, waiter: impl FnOnce(io::Result<()>) + Send + 'static) {
        let queue = self.queue.as_ref().expect("it is there until dropped");
        if let Err(mpsc::SendError(waiter)) = queue.send(Box::new(waiter)) {
            waiter(Err(io::Error::other("the flusher has stopped")));
        }
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

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the flusher panicked");
        }
    }
}

fn flush(engine: &dyn Engine, failed: &Failed, waiters: &Receiver<Waiter>) {
    let mut waiting = Vec::new();
    while let Ok(first) = waiters.recv() {
        waiting.push(first);
        // At most as many as the queue holds: whoever comes later waits for the next sync.
        waiting.extend(waiters.try_iter().take(WAITING_MAX));
        let result = failed.check().and_then(|()| {
            let synced = engine.sync();
            synced.map_err(|error| failed.set("fsync", &error))
        });
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
        tracing::error!("{reason}");
        self.0.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| reason.as_str().into());
            first
        });
        io::Error::new(error.kind(), reason)
    }
}
