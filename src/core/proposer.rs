//! Hop 6: what gathers while one entry is being written is the next entry.
//! In: commands of all streams and timers. Out: one entry of many, and each reply to its asker, in order.
//! Never: a timer to wait for more, a shed renewal or release, or a command of a superseded stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::{Notify, oneshot};

use super::group::{Group, ProposeError};
use super::seen::{self, Eyes};
use super::streams::Outbox;
use crate::table::command::{Command, Operate, Operation, Renewal, RenewalReply, Reply};
use crate::table::id::{ClaimRef, Seq};
use crate::telemetry::names;
use crate::telemetry::traces::Trail;
use crate::wire::convert;
use crate::world::clock::Instant;

/// Most commands of one entry; all renewals together are one.
pub const ENTRY_COMMANDS_MAX: usize = 4_096;
/// Most bytes of one entry, estimated: an entry is replicated and applied as a whole.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Most renewals of one entry; a renewal is some 20 bytes.
pub const ENTRY_RENEWALS_MAX: usize = 16_384;
/// With so many commands waiting (a second or so of full load), claims are sent back.
pub const QUEUED_ACQUIRES_MAX: usize = 65_536;
/// With so many waiting, everything but renewals is sent back: releases end live claims, so there can
/// be no more of them than were granted, but memory has a bound all the same.
pub const QUEUED_MAX: usize = 1_048_576;
/// Entries on their way at once. With two, each is smaller: measured, the nodes' time for a pair grows by a
/// tenth, and nothing gets faster by it.
pub const IN_FLIGHT_MAX: usize = 1;

/// Takes commands and answers them once they are applied. Clones share the queue.
#[derive(Clone)]
pub struct Proposer(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
    eyes: Eyes,
}

#[derive(Default)]
struct Queue {
    renewals: VecDeque<(Renewal, Arc<Outbox>)>,
    commands: VecDeque<(Command, Asker)>,
    /// Set once the group has stopped: nothing is taken any more.
    closed: bool,
}

/// Who wants to know.
enum Asker {
    /// An operation of a sidecar.
    Stream(Box<Asked>),
    /// One who waits here.
    One(oneshot::Sender<Result<Reply, ProposeError>>),
    /// Nobody: a compare-and-expire, which the effects tell of.
    Nobody,
}

/// An operation of a sidecar, but for what it asks for.
struct Asked {
    claim: ClaimRef,
    seq: Seq,
    outbox: Arc<Outbox>,
    /// In a word.
    kind: &'static str,
    arrived: Instant,
    /// Its span.
    trail: Trail,
}

/// One entry and who asked for its parts.
struct Entry {
    commands: Vec<Command>,
    /// Of the first command, if that renews many.
    renewals: VecDeque<(Renewal, Arc<Outbox>)>,
    /// Of the other commands.
    askers: VecDeque<Asker>,
    /// Its span, if any part of it has one.
    trail: Arc<Trail>,
    began: Instant,
    size: usize,
}

impl Proposer {
    /// Nothing waits yet.
    pub fn new(eyes: Eyes) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Notify::default(),
            eyes,
        }))
    }

    /// Queues a renewal, before everything else. Answered to `outbox`.
    pub fn renew(&self, renewal: Renewal, outbox: &Arc<Outbox>) {
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            outbox.push_renewal(convert::renewal_not_leader(renewal.session, renewal.number));
            return;
        }
        queue.renewals.push_back((renewal, Arc::clone(outbox)));
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Queues an operation. Answered to `outbox`; under overload at once, that nothing was done. Its span
    /// `trail` ends with the answer.
    pub fn operate(&self, operate: Operate, trail: Trail, outbox: &Arc<Outbox>) {
        let bound = match &operate.operation {
            Operation::Acquire(_) | Operation::Delegate { .. } => QUEUED_ACQUIRES_MAX,
            Operation::Release(_)
            | Operation::Return(_)
            | Operation::InUse { .. }
            | Operation::Refill { .. }
            | Operation::Rename { .. }
            | Operation::SetValue { .. }
            | Operation::Close
            | Operation::Denied(_) => QUEUED_MAX,
        };
        let asked = Asked {
            claim: ClaimRef {
                session: operate.session,
                seq: operate.seq,
            },
            seq: operate.seq,
            outbox: Arc::clone(outbox),
            kind: seen::kind(&operate.operation),
            arrived: self.0.eyes.now(),
            trail,
        };
        let mut queue = self.lock();
        if queue.closed || queue.commands.len() >= bound {
            drop(queue);
            outbox.push_reply(convert::operation_not_leader(operate.seq));
            return;
        }
        self.0.eyes.traced(asked.claim, &asked.trail);
        let asker = Asker::Stream(Box::new(asked));
        queue.commands.push_back((Command::Operate(operate), asker));
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Queues commands whose replies nobody needs.
    pub fn tell(&self, commands: Vec<Command>) {
        let mut queue = self.lock();
        let room = QUEUED_MAX.saturating_sub(queue.commands.len());
        let commands = commands.into_iter().take(room);
        queue
            .commands
            .extend(commands.map(|command| (command, Asker::Nobody)));
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Queues one command behind what waits already, and gives its reply.
    ///
    /// # Errors
    /// As [`Group::propose`].
    pub async fn ask(&self, command: Command) -> Result<Reply, ProposeError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut queue = self.lock();
            if queue.closed || queue.commands.len() >= QUEUED_ACQUIRES_MAX {
                return Err(ProposeError::NotLeader);
            }
            queue.commands.push_back((command, Asker::One(sender)));
        }
        self.0.wake.notify_one();
        receiver.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// How many commands wait.
    pub fn queued(&self) -> usize {
        self.lock().commands.len()
    }

    /// Proposes until the group stops. To be spawned once.
    pub async fn run(self, group: Group) {
        let mut leadership = group.leadership();
        let mut flying = FuturesOrdered::new();
        loop {
            let serving = leadership.borrow_and_update().serving;
            self.0.eyes.serves(serving);
            if !serving {
                // What flies is answered too: whether it is done is not known, and asking again is safe.
                flying.clear();
                self.send_back();
            }
            while serving && flying.len() < IN_FLIGHT_MAX {
                let Some(entry) = self.next_entry() else {
                    break;
                };
                flying.push_back(propose(&group, entry));
                // Polled before the next is made, so that entries enter the log in this order.
                if let Poll::Ready(Some(done)) = futures::poll!(flying.next()) {
                    self.answer(done);
                }
            }
            tokio::select! {
                biased;
                Some(done) = flying.next(), if !flying.is_empty() => self.answer(done),
                changed = leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = self.0.wake.notified(), if flying.len() < IN_FLIGHT_MAX => {
                    // What other tasks have at hand already goes along: no delay, but larger entries.
                    tokio::task::yield_now().await;
                }
            }
        }
        drop(flying);
        self.lock().closed = true;
        self.send_back();
    }

    /// Renewals first, all in one command; then commands in order, up to the bounds of an entry.
    fn next_entry(&self) -> Option<Entry> {
        let mut queue = self.lock();
        let mut entry = Entry {
            commands: Vec::new(),
            renewals: VecDeque::new(),
            askers: VecDeque::new(),
            trail: Arc::default(),
            began: self.0.eyes.now(),
            size: 0,
        };
        let mut renewals = Vec::new();
        while renewals.len() < ENTRY_RENEWALS_MAX {
            let Some((renewal, outbox)) = queue.renewals.pop_front() else {
                break;
            };
            if outbox.is_current() {
                renewals.push(renewal);
                entry.renewals.push_back((renewal, outbox));
            }
        }
        if !renewals.is_empty() {
            entry.commands.push(Command::Renew(renewals));
        }
        let mut bytes = 0;
        while entry.commands.len() < ENTRY_COMMANDS_MAX && bytes < ENTRY_BYTES_MAX {
            let Some((command, asker)) = queue.commands.pop_front() else {
                break;
            };
            if !asker.still_asks() {
                continue;
            }
            bytes += estimate(&command);
            entry.askers.push_back(asker);
            entry.commands.push(command);
        }
        drop(queue);
        if entry.commands.is_empty() {
            return None;
        }
        entry.size = entry.commands.len();
        entry.trail = Arc::new(entry_trail(&entry));
        let arrived = entry.arrived().unwrap_or(entry.began);
        self.0.eyes.proposes(Some(arrived));
        Some(entry)
    }

    /// Hands each reply to its asker, renewals first.
    fn answer(&self, (mut entry, result): (Entry, Result<Vec<Reply>, ProposeError>)) {
        let eyes = &self.0.eyes;
        let trace_id = entry.trail.trace_id().unwrap_or_default();
        let took = eyes.now().since(entry.began);
        eyes.instruments().committed(entry.size, took, &trace_id);
        let replies = match result {
            Ok(replies) => replies,
            Err(error) => {
                entry.claims().for_each(|claim| eyes.untraced(claim));
                return entry.fail(&error);
            }
        };
        let mut replies = replies.into_iter();
        if !entry.renewals.is_empty() {
            let renewed = match replies.next() {
                Some(Reply::Renewed(renewed)) => renewed,
                other => unreachable!("the first command renews, and was answered {other:?}"),
            };
            entry.answer_renewals(&renewed);
        }
        for (asker, reply) in std::mem::take(&mut entry.askers).into_iter().zip(replies) {
            if let (Asker::Stream(asked), Reply::Operated(reply)) = (&asker, &reply) {
                eyes.answered(asked.kind, asked.claim, reply);
            }
            asker.answer(reply);
        }
    }

    /// Answers all that waits: this node does not lead.
    fn send_back(&self) {
        let (renewals, commands) = {
            let mut queue = self.lock();
            (
                std::mem::take(&mut queue.renewals),
                std::mem::take(&mut queue.commands),
            )
        };
        for (renewal, outbox) in renewals {
            outbox.push_renewal(convert::renewal_not_leader(renewal.session, renewal.number));
        }
        for (_command, asker) in commands {
            asker.fail(ProposeError::NotLeader);
        }
    }

    /// Guards a few lines without `.await`.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One entry on its way. Dropped before it is done, its askers are told that the outcome is unknown.
async fn propose(group: &Group, mut entry: Entry) -> (Entry, Result<Vec<Reply>, ProposeError>) {
    let commands = std::mem::take(&mut entry.commands);
    let result = group.propose_traced(commands, &entry.trail).await;
    (entry, result)
}

/// The span of an entry: in a trace of its own, since it serves many, linked with the spans of its parts.
fn entry_trail(entry: &Entry) -> Trail {
    let parts = || entry.askers.iter().filter_map(Asker::trail);
    let trail = Trail::linked("raft.entry", parts());
    if trail.is_on() {
        trail.set_number(names::LOCK_ENTRY_COMMANDS, entry.size);
        parts().for_each(|part| part.link_to(&trail));
    }
    trail
}

impl Entry {
    /// What its operations are called.
    fn claims(&self) -> impl Iterator<Item = ClaimRef> {
        self.askers.iter().filter_map(|asker| match asker {
            Asker::Stream(asked) => Some(asked.claim),
            Asker::One(_) | Asker::Nobody => None,
        })
    }

    /// When the oldest operation in it came.
    fn arrived(&self) -> Option<Instant> {
        self.askers.iter().find_map(|asker| match asker {
            Asker::Stream(asked) => Some(asked.arrived),
            Asker::One(_) | Asker::Nobody => None,
        })
    }

    fn answer_renewals(&mut self, replies: &[RenewalReply]) {
        let askers = std::mem::take(&mut self.renewals);
        for ((renewal, outbox), reply) in askers.into_iter().zip(replies) {
            outbox.push_renewal(convert::renewal_reply(
                renewal.session,
                renewal.number,
                reply,
            ));
        }
    }

    fn fail(&mut self, error: &ProposeError) {
        for (renewal, outbox) in std::mem::take(&mut self.renewals) {
            outbox.push_renewal(convert::renewal_not_leader(renewal.session, renewal.number));
        }
        for asker in std::mem::take(&mut self.askers) {
            asker.fail(error.clone());
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.fail(&ProposeError::Unknown);
    }
}

impl Asker {
    /// Its span, if it has one.
    fn trail(&self) -> Option<&Trail> {
        match self {
            Self::Stream(asked) => Some(&asked.trail).filter(|trail| trail.is_on()),
            Self::One(_) | Self::Nobody => None,
        }
    }

    /// Whether the command is still to be proposed: not for a superseded stream, or one who left.
    fn still_asks(&self) -> bool {
        match self {
            Self::Stream(asked) => asked.outbox.is_current(),
            Self::One(sender) => !sender.is_closed(),
            Self::Nobody => true,
        }
    }

    fn answer(self, reply: Reply) {
        match (self, reply) {
            (Self::Stream(asked), Reply::Operated(reply)) => {
                asked
                    .outbox
                    .push_reply(convert::operation_reply(asked.seq, &reply));
            }
            (Self::Stream(asked), other) => {
                unreachable!("operation {} was answered {other:?}", asked.seq)
            }
            // One who does not wait any more needs no reply.
            (Self::One(sender), reply) => drop(sender.send(Ok(reply))),
            (Self::Nobody, _) => {}
        }
    }

    fn fail(self, error: ProposeError) {
        match self {
            Self::Stream(asked) => {
                let answer = convert::operation_not_leader(asked.seq);
                asked.outbox.push_reply(answer);
            }
            Self::One(sender) => drop(sender.send(Err(error))),
            Self::Nobody => {}
        }
    }
}

/// Bytes of a command in the log, roughly.
fn estimate(command: &Command) -> usize {
    const FIXED: usize = 48;
    let text = match command {
        Command::Operate(operate) => match &operate.operation {
            Operation::Acquire(acquire) | Operation::Delegate { acquire, .. } => {
                let locks: usize = acquire
                    .locks
                    .iter()
                    .map(|want| want.name.as_str().len() + 16)
                    .sum();
                let metadata: usize = acquire
                    .metadata
                    .iter()
                    .map(|(key, value)| key.len() + value.len() + 8)
                    .sum();
                let value = acquire.value.as_ref().map_or(0, |value| value.len());
                locks + metadata + value + acquire.claim_id.as_str().len() + 64
            }
            Operation::SetValue { value, .. } => value.len(),
            Operation::Return(back) => {
                let kept = back.kept.iter().map(|kept| {
                    let metadata = &kept.metadata;
                    let pairs = metadata.iter().map(|(k, v)| k.len() + v.len() + 8);
                    pairs.sum::<usize>() + 128
                });
                kept.sum()
            }
            Operation::InUse { .. } | Operation::Rename { .. } => 128,
            Operation::Denied(lock) => lock.as_str().len(),
            Operation::Release(_) | Operation::Refill { .. } | Operation::Close => 0,
        },
        Command::OpenSession(open) => {
            open.identity.len()
                + open
                    .principal
                    .as_ref()
                    .map_or(0, |principal| principal.len())
        }
        Command::Reopen { lock, .. } => lock.as_str().len(),
        Command::Break(ask) => ask.lock.as_str().len() + ask.reason.len() + ask.by.len(),
        Command::SetPolicy { prefix, .. } => prefix.len(),
        Command::Renew(renewals) => renewals.len() * 20,
        Command::Expire { .. } | Command::TrimHistory { .. } => 0,
    };
    FIXED + text
}
