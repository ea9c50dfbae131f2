//! What must hold, each in a file with its own tests. In: the world. Out: what is broken, for people.
//! Never: code shared with what it judges.

pub mod agreement;
pub mod alive;
pub mod belief;
pub mod refusing;
