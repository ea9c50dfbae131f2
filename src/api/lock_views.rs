//! The JSON of what is done to locks: a token checked, a lock taken away; and what a read of one is worth.
//! In: answers of the sidecar. Out: `Serialize` structs with their OpenAPI schemas.
//! Never: null, a wall-clock time, a closed enum.

use serde::Serialize;
use utoipa::ToSchema;

use crate::sidecar::handle::{BreakAnswer, Read, SidecarMode, VerifyView};
use crate::table::id::{LockName, Token};
use crate::views::worth::Worth;

/// What a read of the sidecar is worth.
pub(super) fn worth_of(read: &Read<()>, mode: SidecarMode) -> Worth {
    Worth {
        linearizable: read.linearizable,
        age: read.age,
        mode: mode.word(),
    }
}

/// What a token is worth.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verified)]
pub(super) struct VerifyBody {
    /// No incompatible grant since.
    current: bool,
    /// Its claim holds now.
    held: bool,
    /// The newest token granted on this lock; absent if the cell remembers none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 42)]
    newest: Option<u64>,
    /// Open enum: normal, jeopardy, read-only.
    #[schema(example = "normal")]
    sidelock_mode: &'static str,
}

impl VerifyBody {
    pub(super) fn new(view: VerifyView, mode: SidecarMode) -> Self {
        Self {
            current: view.current,
            held: view.held,
            newest: view.newest.map(Token::get),
            sidelock_mode: mode.word(),
        }
    }
}

/// What became of a break.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Broken)]
pub(super) struct BreakBody<'a> {
    /// The lock.
    name: &'a str,
    /// Open enum: not-held, freed, asked.
    #[schema(example = "freed")]
    outcome: &'static str,
    /// Whether the old holder may still act, not knowing that it lost the lock.
    old_holder_may_still_act: bool,
    /// The same for people.
    detail: &'static str,
    /// Open enum: normal, jeopardy, read-only.
    #[schema(example = "normal")]
    sidelock_mode: &'static str,
}

impl<'a> BreakBody<'a> {
    pub(super) fn new(
        name: &'a LockName,
        answer: BreakAnswer,
        force: bool,
        mode: SidecarMode,
    ) -> Self {
        let (outcome, old_holder_may_still_act, detail) = match answer {
            BreakAnswer::NotHeld => ("not-held", false, "nobody held the lock"),
            BreakAnswer::Freed if force => (
                "freed",
                true,
                "the lock is free, but the old holder may still act until its session ends or its \
                 sidecar has heard of it: only the fencing token protects the resource meanwhile",
            ),
            BreakAnswer::Freed => ("freed", false, "the lock is free"),
            BreakAnswer::Asked => (
                "asked",
                true,
                "the holder's sidecar was asked; the lock is free once it has acknowledged or its \
                 session is gone",
            ),
        };
        Self {
            name: name.as_str(),
            outcome,
            old_holder_may_still_act,
            detail,
            sidelock_mode: mode.word(),
        }
    }
}
