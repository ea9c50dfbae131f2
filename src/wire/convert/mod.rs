//! The one place that says "malformed": messages of `sidelock.proto` to the table's types and back.
//! In: decoded protobuf. Out: types that carry their proof, or an error that names the field.
//! Never: a default for what is missing, where that would change a meaning.
//!
//! Encoding borrows and cannot fail (`From<&T>`); decoding consumes and can (`TryFrom`). What means
//! something only within a session (replies, events) is converted by functions that take the session.

mod contention;
mod delegation;
pub mod disk;
mod error;
mod event;
mod read;
mod reply;
mod request;
mod survey;

pub use error::{ConvertError, Problem};
pub use event::{effect, event};
pub use read::{list_query, lock_state};
pub use reply::{
    Outcome, applied_reply, operate_reply, operation_not_leader, operation_reply,
    renewal_not_leader, renewal_outcome, renewal_reply,
};
