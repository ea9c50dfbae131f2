//! The shell round the desk: callers, links and timers step it inline, under one lock.
//! In: calls of the HTTP face, frames of the links, the clock. Out: answers, wake-ups. Never: an `.await`
//! under the lock, or a task hop on the way of a request.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;
use rand::Rng;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use super::desk::{Answer, Desk, Now, Rules};
use super::drain::Drain;
use super::frame::{FrameIn, FrameOut};
use super::handle::{ClaimAnswer, Standing, Why};
use super::hold::CallerId;
use super::lease::Caution;
use super::link::{self, StreamError, Way};
use super::nodes::{LEARNT_MAX, Nodes};
use super::saved::Saved;
use super::seen::Eyes;
use super::session::StreamRef;
use super::state_dir::{Book, StateDir};
use crate::table::id::ClaimId;
use crate::telemetry::sidecar::Instruments;
use crate::tls::connect::Connector;
use crate::tls::credentials::Credentials;
use crate::wire::v1;
use crate::world::clock::{Instant, SharedClock};

/// The timers are looked at least so often: a sleeping task does not notice that the machine slept too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the metric of what is left of the certificate moves.
const LEFT_TOLD_EVERY: Duration = Duration::from_secs(10);

/// How a sidecar is set up.
#[derive(Clone)]
pub struct Config {
    /// HOST:PORT of each core node's gRPC; at least one.
    pub cores: Vec<String>,
    /// How long its locks outlive it.
    pub session_ttl: Duration,
    /// Who it is, for people.
    pub identity: String,
    /// Bound of the rate error between any two clocks, in parts per million.
    pub rho_ppm: u32,
    /// Taken off every safe deadline besides.
    pub margin: Duration,
    /// How long requests are held while no quorum is seen.
    pub no_quorum_after: Duration,
    /// Before every lock name.
    pub name_prefix: String,
    /// Whether locks may stay here after their release, to be granted again without the core.
    pub delegate: bool,
    /// How long a drain waits for those that hold.
    pub drain_timeout: Duration,
    /// Where it is measured.
    pub instruments: Arc<Instruments>,
    /// Our side of TLS towards the core.
    pub tls: Option<Credentials>,
    /// Where a token is that says who this is, instead of a certificate.
    pub token_file: Option<PathBuf>,
}

impl Config {
    /// The defaults, for these core nodes.
    pub fn new(cores: Vec<String>, identity: String) -> Self {
        Self {
            cores,
            session_ttl: Duration::from_secs(10),
            identity,
            rho_ppm: 10_000,
            margin: Duration::from_millis(100),
            no_quorum_after: Duration::from_secs(3),
            name_prefix: String::new(),
            delegate: true,
            drain_timeout: Duration::from_secs(20),
            instruments: Arc::default(),
            tls: None,
            token_file: None,
        }
    }

    fn rules(&self, records: bool) -> Rules {
        Rules {
            nodes: self.cores.len(),
            session_ttl: self.session_ttl,
            identity: self.identity.as_str().into(),
            caution: Caution {
                rho_ppm: self.rho_ppm,
                margin: self.margin,
            },
            no_quorum_after: self.no_quorum_after,
            prefix: self.name_prefix.as_str().into(),
            delegate: self.delegate,
            records,
            seed: rand::rng().random(),
        }
    }
}

/// A running sidecar.
pub struct Driver {
    pub(super) clock: SharedClock,
    nodes: Mutex<Nodes>,
    pub(super) way: Way,
    inner: Mutex<Inner>,
    /// Wakes the stream of each node when there is something to send.
    wakers: Vec<AtomicWaker>,
    /// Wakes the timer task when something is due earlier than it sleeps.
    sooner: Notify,
    streams: AtomicU64,
    cell: OnceLock<String>,
    pub(super) drain: Drain,
    pub(super) eyes: Eyes,
    pub(super) standing: watch::Sender<Standing>,
    /// `None` once it is stopped.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// What the lock guards.
pub(super) struct Inner {
    pub(super) desk: Desk,
    callers: HashMap<CallerId, oneshot::Sender<Answer>>,
    /// Where a later process finds what it must know.
    book: Option<Book>,
    /// Until when the timer task sleeps.
    armed: Option<Instant>,
}

impl Driver {
    /// Starts connecting, and serves at once. To be called within a tokio runtime.
    pub fn start(config: Config, clock: SharedClock) -> Arc<Self> {
        let desk = Desk::new(config.rules(false), clock.now());
        Self::run(config, clock, desk, None)
    }

    /// The same with a state directory: goes on where an earlier process ended, if one has left what is
    /// needed, and leaves it for the next.
    pub fn resume(
        config: Config,
        clock: SharedClock,
        (place, saved): (StateDir, Option<Saved>),
    ) -> io::Result<Arc<Self>> {
        let rules = config.rules(true);
        let now = clock.now();
        let desk = match saved {
            Some(saved) => Desk::taken_over(rules, saved, now),
            None => Desk::new(rules, now),
        };
        if desk.live() > 0 {
            let claims = desk.live();
            tracing::info!(claims, "goes on with the claims of an earlier process");
        }
        let book = place.begin(&desk.all_records(now))?;
        Ok(Self::run(config, clock, desk, Some(book)))
    }

    fn run(config: Config, clock: SharedClock, mut desk: Desk, book: Option<Book>) -> Arc<Self> {
        desk.be_seen();
        let standing = watch::Sender::new(desk.standing());
        let places = config.cores.len() + LEARNT_MAX;
        let way = Way {
            connector: Connector::new(config.tls),
            token_file: config.token_file,
        };
        let driver = Arc::new(Self {
            clock,
            wakers: (0..places).map(|_| AtomicWaker::new()).collect(),
            inner: Mutex::new(Inner {
                desk,
                callers: HashMap::new(),
                book,
                armed: None,
            }),
            sooner: Notify::new(),
            streams: AtomicU64::new(0),
            cell: OnceLock::new(),
            drain: Drain::new(config.drain_timeout),
            eyes: Eyes::new(config.instruments, config.identity.into()),
            standing,
            tasks: Mutex::new(None),
            nodes: Mutex::new(Nodes::new(config.cores.clone())),
            way,
        });
        let mut tasks = JoinSet::new();
        for (node, address) in config.cores.into_iter().enumerate() {
            tasks.spawn(link::keep(Arc::clone(&driver), node, address));
        }
        if let Some(credentials) = driver.way.connector.credentials().cloned() {
            let seen = Arc::clone(&driver.eyes.instruments);
            tasks.spawn(async move {
                let told = async {
                    loop {
                        seen.certified(credentials.seconds_left());
                        tokio::time::sleep(LEFT_TOLD_EVERY).await;
                    }
                };
                tokio::select! {
                    () = credentials.follow() => {}
                    () = told => {}
                }
            });
        }
        tasks.spawn(Arc::clone(&driver).tick());
        *driver.tasks() = Some(tasks);
        driver
    }

    /// Ends the streams and the timers.
    pub(super) async fn stop_tasks(&self) {
        let tasks = self.tasks().take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// Which core nodes are called.
    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell's members, as one of them lists them: those that nobody calls are called from now on. Only a node
    /// that answers says so: an address that does not is not gone round, since it may be a proxy that has to be taken.
    pub(super) fn learn(self: &Arc<Self>, members: &v1::Members) {
        let listed = members.nodes.iter();
        let listed = listed.map(|node| (node.id, node.address.clone()));
        let (called, left_out) = {
            let mut nodes = self.nodes();
            nodes.learn(members.index, listed.collect());
            (nodes.take_missing(), nodes.missing().count())
        };
        if left_out > 0 {
            tracing::warn!(left_out, "too many core nodes: some are not called");
        }
        if let Some(tasks) = self.tasks().as_mut() {
            for (node, address) in called {
                tasks.spawn(link::keep_learnt(Arc::clone(self), node, address));
            }
        }
    }

    /// One step of the desk at the clock's now, and all that follows from it.
    pub(super) fn step<R>(&self, act: impl FnOnce(&mut Inner, Instant) -> R) -> R {
        let mut inner = self.lock();
        // Read inside the lock, right before it decides: waiting for the lock must not age it.
        let now = self.clock.now();
        inner.desk.advance(now);
        let result = act(&mut inner, now);
        inner.write_down(now);
        self.eyes.see(now, inner.desk.take_sights());
        inner.deliver();
        self.drain.saw(&inner.desk);
        self.tell_standing(inner.desk.standing());
        let ready: Vec<usize> = inner
            .desk
            .streams()
            .filter(|stream| inner.desk.has_frame(now, *stream))
            .map(|stream| stream.node)
            .collect();
        let next = inner.desk.next_wake(now);
        let sooner = next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed));
        if sooner {
            inner.armed = next;
        }
        drop(inner);
        for node in ready {
            self.wakers[node].wake();
        }
        if sooner {
            self.sooner.notify_one();
        }
        result
    }

    /// Registers for the answer to a call that was put off.
    pub(super) fn later<'a, T>(
        &'a self,
        id: Option<&'a ClaimId>,
        act: impl FnOnce(&mut Inner, Instant) -> Now<T>,
    ) -> Result<T, Waiting<'a>> {
        self.step(|inner, now| match act(inner, now) {
            Now::Done(done) => Ok(done),
            Now::Later(caller) => Err(Waiting {
                driver: self,
                id,
                caller,
                answer: Some(inner.wait_for(caller)),
            }),
        })
    }

    pub(super) fn new_stream(&self, node: usize) -> StreamRef {
        let number = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        StreamRef { node, number }
    }

    pub(super) fn stream_up(&self, stream: StreamRef) {
        self.step(|inner, now| inner.desk.stream_up(now, stream));
    }

    pub(super) fn stream_down(&self, stream: StreamRef) {
        self.step(|inner, now| inner.desk.stream_down(now, stream));
    }

    pub(super) fn hear(&self, stream: StreamRef, frame: FrameIn) {
        self.step(|inner, now| inner.desk.hear(now, stream, frame));
    }

    /// The next frame for this stream. The clock is read inside, just before: safe deadlines count from it.
    pub(super) fn take_frame(&self, stream: StreamRef) -> Option<FrameOut> {
        self.step(|inner, now| inner.desk.take_frame(now, stream))
    }

    /// Whether there is something to send on this stream. Cheaper than a step, and changes nothing.
    pub(super) fn has_frame(&self, stream: StreamRef) -> bool {
        let inner = self.lock();
        inner.desk.has_frame(self.clock.now(), stream)
    }

    pub(super) fn register(&self, node: usize, waker: &Waker) {
        self.wakers[node].register(waker);
    }

    /// The cell's id; empty until a node has told it.
    pub(super) fn cell(&self) -> &str {
        self.cell.get().map_or("", String::as_str)
    }

    /// All nodes must be of the cell of the first that answered.
    pub(super) fn check_cell(&self, theirs: &str) -> Result<(), StreamError> {
        if theirs.is_empty() {
            return Ok(()); // a node that belongs to none yet
        }
        let ours = self.cell.get_or_init(|| theirs.to_owned());
        if ours == theirs {
            return Ok(());
        }
        tracing::error!(ours, theirs, "a core node belongs to another cell");
        Err(StreamError::AnotherCell {
            ours: ours.clone(),
            theirs: theirs.to_owned(),
        })
    }

    /// Steps the desk whenever something is due.
    async fn tick(self: Arc<Self>) {
        loop {
            let sleep = self.step(|inner, now| {
                inner.armed = inner.desk.next_wake(now);
                inner.armed.map_or(LOOK_EVERY, |at| at.since(now))
            });
            tokio::select! {
                () = tokio::time::sleep(sleep.min(LOOK_EVERY)) => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    /// Wakes all who follow the mode, if it has changed, and notes it in the log.
    fn tell_standing(&self, standing: Standing) {
        let changed = self.standing.send_if_modified(|before| {
            let changed = *before != standing;
            *before = standing;
            changed
        });
        if changed {
            let mode = standing.mode.word();
            let reason = standing.why.map_or("", Why::word);
            tracing::warn!(mode, reason, "the mode has changed");
        }
    }

    /// Guards a few lines without `.await`. A panic under it is a bug; what was decided stays decided.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Where the answer to this caller will come.
    pub(super) fn wait_for(&mut self, caller: CallerId) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.callers.insert(caller, sender);
        receiver
    }

    /// Writes down what a later process must know, before anything follows from it.
    fn write_down(&mut self, now: Instant) {
        let Some(book) = &mut self.book else {
            return;
        };
        let records = self.desk.take_records();
        if records.is_empty() {
            return;
        }
        let written = match book.is_bloated() {
            true => book.rewrite(&self.desk.all_records(now)),
            false => book.write(&records),
        };
        // It may be full of what is out of date.
        let written = written.or_else(|_full| book.rewrite(&self.desk.all_records(now)));
        if let Err(error) = written {
            tracing::error!(%error, "cannot write to the state directory: the next process starts afresh");
            self.forget_book();
        }
    }

    /// What a later process would find is not true any more, or of no use.
    pub(super) fn forget_book(&mut self) {
        if let Some(Err(error)) = self.book.take().map(Book::remove) {
            tracing::error!(%error, "what is left in the state directory must be removed by hand");
        }
    }

    /// Hands out the answers that are due.
    fn deliver(&mut self) {
        for (caller, answer) in self.desk.take_answers() {
            if let Some(sender) = self.callers.remove(&caller)
                && sender.send(answer).is_err()
            {
                // Its `Waiting` is being dropped at this moment and tells the desk right after.
                tracing::trace!(?caller, "nobody waits for this answer any more");
            }
        }
    }
}

/// A call that waits. Dropped halfway, it takes its claim along (unless that queues or others wait).
pub(super) struct Waiting<'a> {
    driver: &'a Driver,
    id: Option<&'a ClaimId>,
    caller: CallerId,
    /// `None` once the answer was taken.
    answer: Option<oneshot::Receiver<Answer>>,
}

impl Waiting<'_> {
    /// The answer; `None` only if the driver is gone.
    pub(super) async fn answer(mut self) -> Option<Answer> {
        let receiver = self.answer.as_mut()?;
        let answer = receiver.await.ok();
        // Taken: what follows from it is the caller's.
        self.answer = None;
        answer
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut receiver) = self.answer.take() else {
            return;
        };
        self.driver.step(|inner, now| {
            inner.callers.remove(&self.caller);
            match (receiver.try_recv(), self.id) {
                // Granted at the very moment when the connection closed: nobody will ever know.
                (Ok(Answer::Claim(Ok(ClaimAnswer::Granted(_)))), Some(id)) => {
                    inner.desk.untold(now, id);
                }
                (Ok(_) | Err(_), id) => inner.desk.gone(now, self.caller, id),
            }
        });
    }
}
