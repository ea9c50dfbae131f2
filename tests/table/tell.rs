//! Replies, effects, locks and history as the scripts tell them.
//! In: what the table answered. Out: words. Never: a number that means nothing to a reader.

use std::time::Duration;

use serde_json::Value;
use sidelock::table::command::*;
use sidelock::table::id::*;
use sidelock::table::order::LockClass;
use sidelock::table::state::{HistoryEvent, HistoryRecord, Stage};
use sidelock::table::survey::{DeadlockView, Findings};
use sidelock::views::survey::SurveyBody;
use sidelock::views::worth::Worth;

use crate::Script;

impl Script {
    pub(crate) fn reply(&self, reply: &Reply) -> String {
        match reply {
            Reply::SessionOpened { session, .. } => format!("session {}", self.who(*session)),
            Reply::SessionTakenOver => "taken over".into(),
            Reply::SessionOfAnother => "of another".into(),
            Reply::Renewed(replies) => match &replies[..] {
                [RenewalReply::Renewed { number, ttl_ms }] => {
                    format!("renewed {number} {ttl_ms}ms")
                }
                other => lower(&format!("{other:?}")),
            },
            Reply::Expired(true) => "expired".into(),
            Reply::Expired(false) => "not the last renewal".into(),
            Reply::Reopened(true) => "open".into(),
            Reply::Reopened(false) => "not that delay".into(),
            Reply::Broken(BreakReply::NotHeld) => "not held".into(),
            Reply::Broken(BreakReply::Freed) => "freed".into(),
            Reply::Broken(BreakReply::Asked) => "asked".into(),
            Reply::Done => "done".into(),
            Reply::Operated(OperateReply::Applied(applied)) => self.applied(applied),
            Reply::Operated(OperateReply::Gap { expected }) => {
                format!("gap, expected seq={expected}")
            }
            Reply::Operated(OperateReply::Forgotten) => "forgotten".into(),
            Reply::Operated(OperateReply::UnknownSession) => "unknown session".into(),
            Reply::Operated(OperateReply::Superseded) => "superseded".into(),
        }
    }

    fn applied(&self, reply: &OperationReply) -> String {
        match reply {
            OperationReply::Granted(grant) => format!("granted {}", tokens(&grant.tokens)),
            OperationReply::Queued { ahead, .. } => format!("queued ahead={ahead}"),
            OperationReply::Refused(refusal) => format!("refused: {}", self.refusal(refusal)),
            OperationReply::Ended { was: Was::Held, .. } => "ended, it held".into(),
            OperationReply::Ended {
                was: Was::Waiting, ..
            } => "ended, it waited".into(),
            OperationReply::Ended { was: Was::Gone, .. } => "gone".into(),
            OperationReply::ValueSet(true) => "set".into(),
            OperationReply::ValueSet(false) => "not a holder".into(),
            OperationReply::Closed => "closed".into(),
            OperationReply::Delegated(delegated) => format!(
                "delegated {} and {} more",
                tokens(&delegated.grant.tokens),
                delegated.block.len()
            ),
            OperationReply::Returned { kept: true, .. } => "returned".into(),
            OperationReply::Returned { kept: false, .. } => "was gone".into(),
            OperationReply::Refilled(block) => {
                format!("{} more", block.map_or(0, |block| block.len()))
            }
            OperationReply::Noted => "noted".into(),
        }
    }

    fn refusal(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Held {
                lock,
                holder,
                holders,
                waiters,
            } => format!(
                "{lock} has {} (holders={holders} waiters={waiters})",
                self.claim(holder.claim)
            ),
            Refusal::LockDelay { lock, delay_ms } => format!("{lock} closed for {delay_ms}ms"),
            Refusal::Deadlock(cycle) => format!("deadlock, {}", self.cycle(cycle)),
            Refusal::SemaphoreLimit { lock, limit } => format!("{lock} has limit {limit}"),
            Refusal::QueueFull {
                lock,
                waiters_max,
                policy,
            } => format!("{lock} has {waiters_max} waiters, policy {policy:?}"),
            Refusal::Invalid(why) => why.to_string(),
            Refusal::Denied { lock } => format!("{lock} is denied"),
        }
    }

    fn cycle(&self, cycle: &[CycleEdge]) -> String {
        let edge = |edge: &CycleEdge| {
            let how = if edge.held {
                "held by"
            } else {
                "queued before by"
            };
            let (waiter, blocker) = (
                self.claim(edge.waiter.claim),
                self.claim(edge.blocker.claim),
            );
            format!("{waiter} for {} {how} {blocker}", edge.lock)
        };
        cycle.iter().map(edge).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn effect(&self, effect: &Effect) -> Option<String> {
        Some(match effect {
            Effect::SessionTimer {
                session, number, ..
            } => format!("timer {} renewal={number}", self.who(*session)),
            Effect::SessionEnded { session, cause } => {
                format!("session {} ended: {}", self.who(*session), kebab(*cause))
            }
            Effect::Granted(grant) => {
                format!(
                    "granted {} {}",
                    self.claim(grant.claim),
                    tokens(&grant.tokens)
                )
            }
            Effect::ClaimEnded {
                claim,
                cause,
                cycle,
                ..
            } if cycle.is_empty() => format!("ended {}: {}", self.claim(*claim), kebab(*cause)),
            Effect::ClaimEnded {
                claim,
                cause,
                cycle,
                ..
            } => {
                let cycle = self.cycle(cycle);
                format!("ended {}: {}, {cycle}", self.claim(*claim), kebab(*cause))
            }
            Effect::Delegated(delegated) => format!(
                "delegated {} {} and {} more",
                self.claim(delegated.grant.claim),
                tokens(&delegated.grant.tokens),
                delegated.block.len()
            ),
            Effect::Recalled {
                claim,
                answer,
                wanted_by,
                ..
            } => {
                let answer = if *answer { ", in use?" } else { "" };
                let by = wanted_by.as_ref().map(|party| self.claim(party.claim));
                let by = by.map_or(String::new(), |by| format!(" for {by}"));
                format!("recalled {}{by}{answer}", self.claim(*claim))
            }
            Effect::Wanted { claim } => format!("wanted {}", self.claim(*claim)),
            Effect::Refused { claim, refusal, .. } => {
                format!("refused {}: {}", self.claim(*claim), self.refusal(refusal))
            }
            Effect::BreakAsked { claim, .. } => format!("asked back {}", self.claim(*claim)),
            Effect::DelayTimer {
                lock,
                delay,
                delay_ms,
            } => format!("closed {lock} delay={delay} {delay_ms}ms"),
            Effect::OrderInverted(inversion) => format!(
                "inverted {}: {} held {}, took {}",
                classes(&inversion.classes),
                inversion.sample.claim_id,
                inversion.sample.held,
                inversion.sample.taken
            ),
            Effect::LockChanged { lock, .. } if self.watch => format!("changed {lock}"),
            Effect::LockChanged { .. } => return None,
        })
    }

    /// What operators see, with ages that are the revisions in seconds.
    pub(crate) fn findings(&self, found: &Findings) -> (String, Vec<String>) {
        match found {
            Findings::Order(order) => {
                let lines = order.edges.iter().map(|(before, after, edge)| {
                    let sample = &edge.sample;
                    let closes = if edge.closes.is_empty() {
                        String::new()
                    } else {
                        format!(", inverted {}", classes(&edge.closes))
                    };
                    let (held, taken) = (&sample.held, &sample.taken);
                    let first = format!("first {held}, {taken} by {}", sample.claim_id);
                    format!("{before} > {after} {}x, {first}{closes}", edge.count)
                });
                (format!("missed={}", order.missed), lines.collect())
            }
            Findings::Deadlocks(deadlocks) => {
                let line = |it: &DeadlockView| format!("{}: {}", it.victim, self.cycle(&it.edges));
                ("newest first".into(), deadlocks.iter().map(line).collect())
            }
            Findings::Waits(waits) => {
                let line = |edge: &CycleEdge| self.cycle(std::slice::from_ref(edge));
                let lines = waits.edges.iter().map(line).collect();
                (format!("truncated={}", waits.truncated), lines)
            }
            Findings::Sessions(sessions) => {
                let lines = sessions.sessions.iter().map(|it| {
                    let (claims, waiting) = (it.claims, it.waiting);
                    format!("{}: claims={claims} waiting={waiting}", it.identity)
                });
                (format!("truncated={}", sessions.truncated), lines.collect())
            }
            Findings::Contention(_) => ("a table knows no times".to_owned(), Vec::new()),
            Findings::Why(_) => {
                let worth = Worth {
                    linearizable: true,
                    age: Duration::ZERO,
                    mode: "normal",
                };
                let body = SurveyBody::new(worth, found);
                let body = serde_json::to_value(body).expect("bodies are JSON");
                let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
                let queue = body["queue"].as_array().into_iter().flatten();
                let line = |it: &Value| format!("{} {}", text(&it["claim_id"]), text(&it["why"]));
                (text(&body["why"]), queue.map(line).collect())
            }
        }
    }

    fn who(&self, session: SessionId) -> &str {
        let found = self.sessions.iter().find(|(_, id)| **id == session);
        found.map_or("?", |(name, _)| name)
    }

    fn claim(&self, claim: ClaimRef) -> &str {
        self.names.get(&claim).map_or("?", String::as_str)
    }

    pub(crate) fn show(&self, lock: &LockName) -> String {
        let Some(state) = self.table.lock(lock) else {
            return "forgotten".into();
        };
        let names = |claims: Vec<ClaimRef>| {
            let names: Vec<&str> = claims.iter().map(|claim| self.claim(*claim)).collect();
            if names.is_empty() {
                "nobody".into()
            } else {
                names.join(" ")
            }
        };
        let breaking = state.holders.iter().any(|holder| {
            self.table.claim(*holder).is_some_and(
                |claim| matches!(claim.stage, Stage::Holding { breaking, .. } if breaking),
            )
        });
        format!(
            "held by {}{}, awaited by {}{}",
            names(state.holders.iter().copied().collect()),
            if breaking { " (breaking)" } else { "" },
            names(state.queue.values().copied().collect()),
            state.closed.map_or(String::new(), |closed| format!(
                ", closed by delay {}",
                closed.delay
            )),
        )
    }

    pub(crate) fn history(&self, lock: &LockName) -> Vec<String> {
        let of_lock = |record: &&HistoryRecord| record.locks.iter().any(|want| want.name == *lock);
        let records = self
            .table
            .history()
            .map(|(_, record)| record)
            .filter(of_lock);
        let tell = |record: &HistoryRecord| {
            let what = match &record.event {
                HistoryEvent::Queued => "queued".into(),
                HistoryEvent::Granted { tokens: numbers } => format!("granted {}", tokens(numbers)),
                HistoryEvent::Ended {
                    tokens: numbers,
                    cause,
                    held_ms,
                    note,
                    ..
                } => format!(
                    "ended {} {} held={held_ms:?} note={note:?}",
                    tokens(numbers),
                    kebab(*cause)
                ),
                HistoryEvent::Left { cause, .. } => format!("left {}", kebab(*cause)),
                HistoryEvent::Deadlocked { .. } => "deadlocked".into(),
                HistoryEvent::BreakAsked { note } => format!("break asked note={note:?}"),
            };
            format!("{} of {}: {what}", record.claim_id, record.identity)
        };
        records.map(tell).collect()
    }
}

/// A cycle of classes, from the first back to it.
fn classes(cycle: &[LockClass]) -> String {
    let round = cycle.iter().chain(cycle.first()).map(LockClass::as_str);
    round.collect::<Vec<_>>().join(" > ")
}

fn tokens(tokens: &[Token]) -> String {
    let tokens: Vec<String> = tokens.iter().map(Token::to_string).collect();
    format!("token={}", tokens.join(","))
}

pub(crate) fn kebab(cause: EndCause) -> String {
    lower(&format!("{cause:?}"))
}

/// `LeaseExpired` as `lease-expired`.
fn lower(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_uppercase() && out.ends_with(|last: char| last.is_lowercase()) {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
