//! What waits to be written to each sidecar, and which stream of a session is the current one.
//! In: replies, events, and attaches. Out: one frame at a time, of all that has gathered.
//! Never: an event to a superseded stream, or memory without bound for a sidecar that does not read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::table::command::Effect;
use crate::table::id::{SessionId, SessionKey};
use crate::wire::convert;
use crate::wire::v1;

/// Most replies and events that wait for one sidecar to read; beyond, its stream is cut off. A sidecar
/// that reads at all is never near: some seconds of full load.
const UNREAD_MAX: usize = 262_144;
/// Most items in one frame, so that a renewal's answer never waits behind megabytes.
const FRAME_ITEMS_MAX: usize = 4_096;

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// A newer stream attached to the same session.
    Superseded,
    /// The sidecar does not read.
    Unread,
    /// The sidecar is gone. What it had asked for is done all the same.
    Gone,
}

/// What waits to be written to one stream. Shared by the stream's owner and those who answer it.
#[derive(Debug, Default)]
pub struct Outbox {
    gathered: Mutex<Gathered>,
    wake: Notify,
    barred: AtomicBool,
}

#[derive(Debug, Default)]
struct Gathered {
    end: Option<StreamEnd>,
    attached: Option<v1::Attached>,
    renewals: Vec<v1::RenewalReply>,
    replies: Vec<v1::OperationReply>,
    events: Vec<v1::Event>,
    queries: Vec<v1::QueryReply>,
}

impl Gathered {
    fn unread(&self) -> usize {
        self.renewals.len() + self.replies.len() + self.events.len() + self.queries.len()
    }
}

impl Outbox {
    /// Whether commands that came by this stream may still be proposed.
    pub fn is_current(&self) -> bool {
        !self.barred.load(Ordering::Acquire)
    }

    /// Gathers the answer to a renewal.
    pub fn push_renewal(&self, reply: v1::RenewalReply) {
        self.push(|gathered| gathered.renewals.push(reply));
    }

    /// Gathers the answer to an operation.
    pub fn push_reply(&self, reply: v1::OperationReply) {
        self.push(|gathered| gathered.replies.push(reply));
    }

    /// Gathers an event.
    pub fn push_event(&self, event: v1::Event) {
        self.push(|gathered| gathered.events.push(event));
    }

    /// Gathers the answer to a query.
    pub fn push_query(&self, reply: v1::QueryReply) {
        self.push(|gathered| gathered.queries.push(reply));
    }

    /// Starts the session's stream anew: all it holds, before anything else of the session. Events that
    /// had gathered are older than this and go.
    pub fn attach(&self, attached: v1::Attached) {
        self.push(|gathered| {
            gathered.events.clear();
            gathered.attached = Some(attached);
        });
    }

    /// Ends the stream: nothing more is gathered, and what waits is dropped.
    pub fn end(&self, why: StreamEnd) {
        match why {
            StreamEnd::Superseded | StreamEnd::Unread => self.barred.store(true, Ordering::Release),
            StreamEnd::Gone => {}
        }
        let mut gathered = self.lock();
        if gathered.end.is_none() {
            *gathered = Gathered {
                end: Some(why),
                ..Gathered::default()
            };
        }
        drop(gathered);
        self.wake.notify_one();
    }

    /// Waits until there is something to write, or the stream has ended. For the stream's owner alone.
    pub async fn ready(&self) {
        loop {
            {
                let gathered = self.lock();
                if gathered.end.is_some() || gathered.attached.is_some() || gathered.unread() > 0 {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Moves what has gathered into a frame, renewals first, at most [`FRAME_ITEMS_MAX`] of it.
    ///
    /// # Errors
    /// The reason, if the stream has ended.
    pub fn fill(&self, frame: &mut v1::CoreFrame) -> Result<(), StreamEnd> {
        let mut gathered = self.lock();
        if let Some(why) = gathered.end {
            return Err(why);
        }
        let mut room = FRAME_ITEMS_MAX;
        frame.attached = gathered.attached.take();
        frame.renewals = take(&mut gathered.renewals, &mut room);
        frame.replies = take(&mut gathered.replies, &mut room);
        frame.events = take(&mut gathered.events, &mut room);
        frame.queries = take(&mut gathered.queries, &mut room);
        Ok(())
    }

    fn push(&self, add: impl FnOnce(&mut Gathered)) {
        let mut gathered = self.lock();
        if gathered.end.is_some() {
            return;
        }
        add(&mut gathered);
        let unread = gathered.unread() > UNREAD_MAX;
        drop(gathered);
        if unread {
            self.end(StreamEnd::Unread);
        }
        self.wake.notify_one();
    }

    /// Guards a few lines without `.await`.
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `room` items of a list; what does not fit stays, in order.
fn take<T>(list: &mut Vec<T>, room: &mut usize) -> Vec<T> {
    if list.len() <= *room {
        *room -= list.len();
        return std::mem::take(list);
    }
    let rest = list.split_off(*room);
    *room = 0;
    std::mem::replace(list, rest)
}

/// Which stream is the current one of each session.
#[derive(Debug, Default)]
pub struct Streams(Mutex<Current>);

#[derive(Debug, Default)]
struct Current {
    by_key: BTreeMap<SessionKey, Arc<Outbox>>,
    by_session: BTreeMap<SessionId, Arc<Outbox>>,
}

impl Streams {
    /// A stream asks for the session of this key: an older stream of it ends here and now, so nothing
    /// more is proposed in its name.
    pub fn claim(&self, key: SessionKey, outbox: &Arc<Outbox>) {
        let older = self.lock().by_key.insert(key, Arc::clone(outbox));
        if let Some(older) = older.filter(|older| !Arc::ptr_eq(older, outbox)) {
            older.end(StreamEnd::Superseded);
        }
    }

    /// From now on the events of this session go to this stream. Call it under the table's lock, with
    /// the session's [`v1::Attached`] as the table stands: then no event is lost or told twice.
    /// False if a newer stream has claimed the session meanwhile.
    pub fn attach(
        &self,
        key: SessionKey,
        session: SessionId,
        outbox: &Arc<Outbox>,
        attached: v1::Attached,
    ) -> bool {
        let mut current = self.lock();
        let newest = current.by_key.get(&key);
        if !newest.is_some_and(|newest| Arc::ptr_eq(newest, outbox)) {
            return false;
        }
        current.by_session.insert(session, Arc::clone(outbox));
        outbox.attach(attached);
        true
    }

    /// The stream is told nothing more: it ended, or this node does not lead any more.
    pub fn detach(&self, key: SessionKey, session: Option<SessionId>, outbox: &Arc<Outbox>) {
        let mut current = self.lock();
        let mine = |other: Option<&Arc<Outbox>>| other.is_some_and(|o| Arc::ptr_eq(o, outbox));
        if mine(current.by_key.get(&key)) {
            current.by_key.remove(&key);
        }
        if let Some(session) = session.filter(|session| mine(current.by_session.get(session))) {
            current.by_session.remove(&session);
        }
    }

    /// Tells one effect to the stream of its session, if there is one.
    pub fn tell_one(&self, effect: &Effect) {
        let current = self.lock();
        if let Some((session, event)) = convert::event(effect)
            && let Some(outbox) = current.by_session.get(&session)
        {
            outbox.push_event(event);
        }
    }

    /// Tells each effect to the stream of its session, if there is one. Called under the table's lock.
    pub fn tell(&self, effects: &[Effect]) {
        let mut current = self.lock();
        for effect in effects {
            let Some((session, event)) = convert::event(effect) else {
                continue;
            };
            if let Some(outbox) = current.by_session.get(&session) {
                outbox.push_event(event);
            }
            if let Effect::SessionEnded { session, .. } = effect {
                current.by_session.remove(session);
            }
        }
    }

    /// Guards a few lines without `.await`; taken inside the table's lock, never around it.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
