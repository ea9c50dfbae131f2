//! The names and numbers of the lock table, valid by construction.
//! In: raw text and integers. Out: newtypes that carry their proof. Never: arithmetic on a token.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Longest lock name, in bytes of UTF-8.
pub const LOCK_NAME_BYTES_MAX: usize = 512;
/// Longest claim id or owner, in bytes of ASCII.
pub const CLAIM_ID_BYTES_MAX: usize = 128;
/// Tokens stay exactly representable in an IEEE 754 double, since JSON readers use one.
pub const TOKEN_MAX: u64 = (1 << 53) - 1;
/// Highest priority class; 0 is the default and the lowest.
pub const PRIORITY_MAX: u8 = 9;

/// Why a piece of text is not a valid name or id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text has no bytes.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than the bound, in bytes.
    #[error("must have at most {0} bytes")]
    TooLong(usize),
    /// The text holds a character that the grammar excludes.
    #[error("must not contain the character U+{0:04X}")]
    Character(u32),
    /// `.` and `..` would vanish when a client normalises the path.
    #[error("must not be \".\" or \"..\"")]
    Dots,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text once; whoever holds the value need not check again.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() {
                    return Err(IdError::Empty);
                }
                if text.len() > $max {
                    return Err(IdError::TooLong($max));
                }
                if text == "." || text == ".." {
                    return Err(IdError::Dots);
                }
                match text.chars().find(|c| !allowed(*c)) {
                    Some(c) => Err(IdError::Character(c as u32)),
                    None => Ok(Self(text.into())),
                }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            /// Sorts and compares as its text, so that maps can be searched by text.
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

text_id!(
    /// What claims contend for: 1 to 512 bytes of UTF-8 without control characters.
    LockName, LOCK_NAME_BYTES_MAX, |c| !c.is_control()
);
text_id!(
    /// The holder: `[A-Za-z0-9._~-]{1,128}`, unique within a sidecar, made anew for each attempt.
    ClaimId, CLAIM_ID_BYTES_MAX, |c| c.is_ascii_alphanumeric() || "._~-".contains(c)
);
text_id!(
    /// One sequential party within one sidecar; by default the claim itself.
    OwnerId, CLAIM_ID_BYTES_MAX, |c| c.is_ascii_alphanumeric() || "._~-".contains(c)
);

impl OwnerId {
    /// The owner by default: the claim itself. Shares its text, of which there may be a million.
    pub fn of(claim: &ClaimId) -> Self {
        Self(claim.0.clone())
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// One Raft group of a cell.
    ShardId(u32)
);
number_id!(
    /// A lease between one sidecar and one shard: the table's revision that opened it, so never reused.
    SessionId(u64)
);
number_id!(
    /// Counts the attaches of a session; operations of an older generation are refused.
    Generation(u32)
);
number_id!(
    /// Position of an operation in its session: they apply strictly in this order, from 1.
    Seq(u64)
);
number_id!(
    /// Number of a renewal within its session; each one sent has a new one, from 1.
    RenewalNumber(u64)
);
number_id!(
    /// Counts the transitions of one shard's table. The index at which something became true.
    Revision(u64)
);
number_id!(
    /// Names one run of a lock-delay, so that only that run can be ended (compare and reopen).
    DelayNumber(u64)
);

/// A random 128-bit key by which a sidecar names its session before it has an id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u128);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A claim as the core knows it: its session, and the sequence number of the operation that asked.
/// That number is also the wait number: release and cancel name it, so neither can hit a later attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimRef {
    /// Who asked.
    pub session: SessionId,
    /// Which of its operations asked.
    pub seq: Seq,
}

/// A fencing token: 1 to 2^53 - 1, greater than that of every earlier incompatible holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(NonZeroU64);

impl Token {
    /// `None` for zero and beyond [`TOKEN_MAX`].
    pub fn new(value: u64) -> Option<Self> {
        if value > TOKEN_MAX {
            return None;
        }
        NonZeroU64::new(value).map(Self)
    }

    /// The integer that resources compare.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
