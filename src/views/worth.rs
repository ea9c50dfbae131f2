//! What an answer is worth: current or not, how old, in which mode it was given.
//! In: how it was read. Out: three fields of every body. Never: an age that is understated.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::words::ms;

/// How something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    /// True if it was current at some moment during the call.
    pub linearizable: bool,
    /// Bound of its age when not.
    pub age: Duration,
    /// The word in `sidelock_mode`.
    pub mode: &'static str,
}

impl Worth {
    /// The word in `consistency` and in the header `Sidelock-Consistency`.
    pub fn consistency(self) -> &'static str {
        if self.linearizable {
            "linearizable"
        } else {
            "cached"
        }
    }

    /// The header `Age`: whole seconds, rounded up.
    pub fn age_seconds(self) -> u64 {
        u64::try_from(self.age.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// What the answer is worth.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worth)]
pub struct WorthBody {
    /// Open enum: linearizable, cached.
    #[schema(example = "linearizable")]
    consistency: &'static str,
    /// Bound of the age of this answer; 0 when linearizable.
    age_ms: u64,
    /// Open enum: normal, jeopardy, read-only.
    #[schema(example = "normal")]
    sidelock_mode: &'static str,
}

impl From<Worth> for WorthBody {
    fn from(worth: Worth) -> Self {
        Self {
            consistency: worth.consistency(),
            age_ms: ms(worth.age),
            sidelock_mode: worth.mode,
        }
    }
}
