//! PURE: what apps do with a claim that they have: look, watch, renew, tie it to a stream.
//! In: calls. Out: views and events at once, or callers that wait. Never: a renewal in an app's name, or
//! a view of a claim whose time is over (each is looked at first, by the clock of this very call).

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, Now};
use super::ending::Ending;
use super::handle::{
    ClaimAnswer, ClaimError, ClaimEvent, ClaimEventKind, ClaimState, ClaimView, Page, Reason,
};
use super::hold::{CallerId, Key, Stage};
use super::outbox::Purpose;
use crate::table::command::{EndCause, Operation};
use crate::table::id::ClaimId;
use crate::world::clock::Instant;

/// Most claims that one list walks past before it hands out a cursor instead.
const WALK_MAX: usize = 10_000;

type Viewed = Result<ClaimView, ClaimError>;

impl Desk {
    /// The answer to a caller that was told of a grant: the claim as it stands by now.
    pub fn confirm(
        &mut self,
        now: Instant,
        answer: ClaimAnswer,
    ) -> Result<ClaimAnswer, ClaimError> {
        let (granted, make): (ClaimView, fn(ClaimView) -> ClaimAnswer) = match answer {
            ClaimAnswer::Granted(view) => (view, ClaimAnswer::Granted),
            ClaimAnswer::AlreadyGranted(view) => (view, ClaimAnswer::AlreadyGranted),
            ClaimAnswer::Queued(view) => return Ok(ClaimAnswer::Queued(view)),
        };
        let mut view = self.view_now(now, &granted.claim_id)?;
        let key = self.by_id[&granted.claim_id];
        if let Some(hold) = self.holds.get_mut(&key) {
            hold.told = true;
        }
        view.replayed = granted.replayed;
        match view.state {
            ClaimState::Granted => Ok(make(view)),
            ClaimState::Jeopardy => Err(ClaimError::Jeopardy(Box::new(view))),
            ClaimState::Queued
            | ClaimState::Released
            | ClaimState::Expired
            | ClaimState::Lost
            | ClaimState::Cancelled
            | ClaimState::Revoked => Err(ClaimError::Ended(Box::new(view))),
        }
    }

    /// Shows a claim, which counts as attending to it.
    pub fn view_now(&mut self, now: Instant, id: &ClaimId) -> Viewed {
        let key = self
            .look(now, id)
            .ok_or_else(|| ClaimError::NotFound(id.clone()))?;
        self.attend(now, key);
        Ok(self.view(now, &self.holds[&key]))
    }

    /// Tells that caller when the claim changes; `None` if there is no such claim or it has ended.
    pub fn watch(&mut self, id: &ClaimId) -> Option<CallerId> {
        let key = *self.by_id.get(id)?;
        if self.holds[&key].has_ended() {
            return None;
        }
        let caller = self.new_caller();
        self.watchers.entry(key).or_default().push(caller);
        Some(caller)
    }

    /// What happened after `after`; empty if nothing yet. With `None`, or if that is not remembered, how
    /// it stands. The flag tells whether more may come.
    pub fn events(
        &mut self,
        now: Instant,
        id: &ClaimId,
        after: Option<u64>,
    ) -> Result<(Vec<ClaimEvent>, bool), ClaimError> {
        let view = self.view_now(now, id)?;
        let hold = &self.holds[&self.by_id[id]];
        let state = |kind, revision| ClaimEvent {
            revision,
            kind,
            view: view.clone(),
        };
        let known = after.and_then(|after| hold.journal.after(after));
        let events = match known {
            Some(news) => news.map(|(revision, kind)| state(kind, revision)).collect(),
            None => vec![state(ClaimEventKind::State, hold.journal.revision())],
        };
        Ok((events, !hold.has_ended()))
    }

    /// Renews the app's lease, and publishes a value.
    pub fn renew(
        &mut self,
        now: Instant,
        id: &ClaimId,
        ttl: Option<Duration>,
        value: Option<Arc<str>>,
    ) -> Now<Viewed> {
        let Some(key) = self.look(now, id) else {
            return Now::Done(Err(ClaimError::NotFound(id.clone())));
        };
        let view = self.view(now, &self.holds[&key]);
        match view.state {
            ClaimState::Granted | ClaimState::Queued => {}
            ClaimState::Jeopardy => return Now::Done(Err(ClaimError::Jeopardy(Box::new(view)))),
            ClaimState::Released
            | ClaimState::Expired
            | ClaimState::Lost
            | ClaimState::Cancelled
            | ClaimState::Revoked => return Now::Done(Err(ClaimError::Ended(Box::new(view)))),
        }
        if value.is_some()
            && let Some(spot) = self.holds[&key].spot
            && view.state == ClaimState::Granted
        {
            // What it publishes is for all to see, so it holds by name.
            self.surrender(now, spot);
        }
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        hold.ttl = ttl.unwrap_or(hold.ttl);
        hold.attend_until = now + hold.ttl;
        let mut publish = None;
        if let Stage::Held { until, .. } = &mut hold.stage {
            *until = now + hold.ttl;
            publish = hold.seq.zip(value);
        } else if value.is_some() {
            hold.value = value;
        }
        self.note(key, ClaimEventKind::Renewed);
        self.rearm(key);
        let Some((claim, value)) = publish else {
            return Now::Done(Ok(self.view(now, &self.holds[&key])));
        };
        if self.quorum.is_lost(now) {
            return Now::Done(Err(self.unavailable().into()));
        }
        let caller = self.new_caller();
        let set = Operation::SetValue { claim, value };
        self.outbox.push_urgent(set, Purpose::Publish(key, caller));
        self.quorum.doubt(now);
        Now::Later(caller)
    }

    /// Ties a claim to a stream.
    pub fn bind(&mut self, now: Instant, id: &ClaimId) -> Result<(), ClaimError> {
        let view = self.view_now(now, id)?;
        let key = self.by_id[id];
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        if hold.has_ended() {
            return Err(ClaimError::Ended(Box::new(view)));
        }
        hold.bound += 1;
        self.unsaved(key);
        self.rearm(key);
        Ok(())
    }

    /// A stream that kept a claim alive is gone.
    pub fn unbind(&mut self, now: Instant, id: &ClaimId, closed_by_app: bool) {
        let Some(key) = self.look(now, id) else {
            return;
        };
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        hold.bound = hold.bound.saturating_sub(1);
        if hold.bound > 0 || hold.has_ended() {
            return;
        }
        hold.attend_until = now + hold.ttl;
        self.unsaved(key);
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        let waits = match &mut hold.stage {
            Stage::Held { until, .. } => {
                *until = now + hold.ttl;
                false
            }
            Stage::Asking | Stage::Waiting { .. } | Stage::Withheld { .. } => true,
            Stage::Ended(_) => return,
        };
        if !closed_by_app {
            self.rearm(key);
            return;
        }
        if waits {
            self.cancel(now, key, Reason::CallerGone);
        } else {
            let how = Ending {
                state: ClaimState::Expired,
                reason: Some(Reason::StreamClosed),
                cause: Some(EndCause::StreamClosed),
                used_up: true,
                release_at: None,
            };
            self.end(now, key, how);
        }
    }

    /// A caller was answered with a grant and closed its connection before it could be told. If nobody
    /// else was told, the grant is given back.
    pub fn untold(&mut self, now: Instant, id: &ClaimId) {
        let Some(key) = self.look(now, id) else {
            return;
        };
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        hold.telling = hold.telling.saturating_sub(1);
        let known = hold.told || hold.telling > 0 || hold.queue || hold.bound > 0;
        if known || !matches!(hold.stage, Stage::Held { .. }) {
            return;
        }
        let how = Ending {
            state: ClaimState::Cancelled,
            reason: Some(Reason::CallerGone),
            cause: Some(EndCause::GrantTooLate),
            used_up: false,
            release_at: None,
        };
        self.end(now, key, how);
    }

    /// Live claims by id, after a cursor.
    pub fn claims(&self, now: Instant, limit: usize, cursor: Option<&str>) -> Page<ClaimView> {
        use std::ops::Bound;
        let after = cursor.and_then(|cursor| ClaimId::parse(cursor).ok());
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut items = Vec::new();
        let walk = self.by_id.range((from, Bound::Unbounded));
        for (walked, (id, key)) in walk.enumerate() {
            let hold = &self.holds[key];
            if !hold.has_ended() {
                items.push(self.view(now, hold));
            }
            if items.len() >= limit || walked + 1 >= WALK_MAX {
                let next_cursor = Some(id.to_string());
                return Page { items, next_cursor };
            }
        }
        Page {
            items,
            next_cursor: None,
        }
    }

    fn attend(&mut self, now: Instant, key: Key) {
        let hold = self.holds.get_mut(&key).expect("looked up just now");
        if hold.queue && !hold.has_ended() {
            hold.attend(now);
            self.rearm(key);
        }
    }
}
