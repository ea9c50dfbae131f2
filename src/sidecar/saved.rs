//! PURE: what a later process of this sidecar must know to go on where this one ended.
//! In: records in the order in which they were made. Out: the session and the claims they add up to.
//! Never: anything that can be had from the core instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::handle::ClaimAsk;
use super::hold::Ended;
use crate::table::command::Mode;
use crate::table::id::{ClaimId, Generation, Seq, SessionId, SessionKey, Token};
use crate::world::clock::Instant;

/// The session as far as it must be known to attach to it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedSession {
    /// By which the core finds it.
    pub key: SessionKey,
    /// How many processes have had it.
    pub generation: Generation,
    /// The core's id of it, once opened.
    pub id: Option<SessionId>,
}

/// One claim. Instants are of this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedHold {
    /// The app's id.
    pub id: ClaimId,
    /// What was asked for.
    pub ask: ClaimAsk,
    /// W3C trace id of its request, or empty.
    pub trace_id: Arc<str>,
    /// The app's lease now.
    pub ttl: Duration,
    /// Waits without a connection.
    pub queue: bool,
    /// When it was asked for.
    pub asked: Instant,
    /// How long it waited.
    pub waited: Option<Duration>,
    /// How many changes it has seen.
    pub revision: u64,
    /// Its name in the core.
    pub seq: Option<Seq>,
    /// The delegation under which it was granted.
    pub under: Option<Seq>,
    /// It was granted without the core.
    pub local: bool,
    /// A stream keeps it alive.
    pub bound: bool,
    /// To publish once granted.
    pub value: Option<Arc<str>>,
    /// Where it stands.
    pub stage: SavedStage,
}

/// Where a claim stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavedStage {
    /// Not granted, or not told.
    Waiting,
    /// Granted and told.
    Held {
        /// One for each lock.
        tokens: Vec<Token>,
        /// When it was told.
        since: Instant,
        /// End of the app's lease.
        until: Instant,
    },
    /// Over, and remembered.
    Ended(Ended),
}

/// The newest tokens given under a delegation: of all, and of exclusive claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Newest {
    /// The newest.
    pub any: Option<Token>,
    /// The newest exclusive one.
    pub exclusive: Option<Token>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The session is this one from now on.
    Session(SavedSession),
    /// A claim stands like this from now on.
    Hold(Box<SavedHold>),
    /// A claim is forgotten.
    Gone(ClaimId),
    /// Under this delegation tokens up to these were given.
    Newest(Seq, Newest),
}

/// All records together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// The session, if one was ever asked for.
    pub session: Option<SavedSession>,
    /// The claims.
    pub holds: BTreeMap<ClaimId, SavedHold>,
    /// The newest tokens of each delegation.
    pub newest: BTreeMap<Seq, Newest>,
}

impl Newest {
    /// One more was given, in this mode.
    pub fn saw(&mut self, token: Token, mode: Mode) {
        self.any = self.any.max(Some(token));
        if mode == Mode::Exclusive {
            self.exclusive = self.exclusive.max(Some(token));
        }
    }
}

impl Saved {
    /// Takes one more record in.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Session(session) => {
                // Another one: what the core called things under the one before means nothing any more.
                let another = |before: SavedSession| {
                    before.key != session.key || (before.id.is_some() && before.id != session.id)
                };
                if self.session.is_some_and(another) {
                    self.newest.clear();
                    for hold in self.holds.values_mut() {
                        (hold.seq, hold.under) = (None, None);
                    }
                }
                self.session = Some(session);
            }
            Record::Hold(hold) => {
                if let (Some(under), SavedStage::Held { tokens, .. }, [want]) =
                    (hold.under, &hold.stage, hold.ask.locks.as_slice())
                {
                    let newest = self.newest.entry(under).or_default();
                    tokens
                        .iter()
                        .for_each(|token| newest.saw(*token, want.mode));
                }
                self.holds.insert(hold.id.clone(), *hold);
            }
            Record::Gone(id) => {
                self.holds.remove(&id);
            }
            Record::Newest(delegation, newest) => {
                self.newest.insert(delegation, newest);
            }
        }
    }
}
