//! The JSON of what can be seen of a cell: the same from a sidecar and from a core, which never see each other.
//!
//! Reading order: `words` and `worth` are in every body; `locks`, `history`, `waits`, `order` and `sessions` each
//! show one view of the table; `why` is all of them for one lock, with `sentence` to say it; `survey` picks. `query` reads
//! what is asked.

pub mod words;
pub mod worth;

pub mod contention;
pub mod history;
pub mod locks;
pub mod order;
pub mod sessions;
pub mod waits;

pub mod query;
pub mod survey;
pub mod why;

mod sentence;
